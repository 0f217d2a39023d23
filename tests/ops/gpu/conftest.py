"""Tests of the engine for GPUs: on one, or on the CPU in Triton's interpreter (make triton-tests).

The interpreter is made faster here, and made to notice what a GPU would not forgive.
"""

import importlib.util
import os

import pytest
import torch

from sresnet.ops.scan import choice, operator

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
WHY_NOT = (
    "triton is not installed: make triton-tests"
    if importlib.util.find_spec("triton") is None
    else "no GPU, and TRITON_INTERPRET=1 is not set: make triton-tests"
    if not INTERPRETED and not torch.cuda.is_available()
    else None
)


def pytest_collection_modifyitems(items):
    """Skip, with the reason, what needs kernels that run; tests of machine code need a compiler alone."""
    for item in items:
        if "tests/ops/gpu" not in str(item.path):
            continue
        if "test_compiled" in item.path.name:
            if importlib.util.find_spec("triton") is None:
                item.add_marker(pytest.mark.skip(reason="triton is not installed: make triton-tests"))
            elif INTERPRETED:
                item.add_marker(pytest.mark.skip(reason="nothing is compiled under TRITON_INTERPRET=1"))
        elif WHY_NOT:
            item.add_marker(pytest.mark.skip(reason=WHY_NOT))


@pytest.fixture
def on_gpu(monkeypatch):
    """Layers run the Triton kernels, unchecked; on the CPU where they are interpreted."""
    monkeypatch.setattr(operator, "passes", lambda values, device: True)
    if INTERPRETED:
        monkeypatch.setattr(choice, "_lies_on_gpu", lambda x: True)


if INTERPRETED and WHY_NOT is None:
    import numpy as np
    from triton.runtime import interpreter

    # It patches the language again at every call of a device function; once per module is enough.
    patched: set[str] = set()
    device_call = interpreter.InterpretedFunction.__call__

    def call(self, *args, **more):
        if self.fn.__module__ in patched:
            return self.rewrite()(*args, **more)
        patched.add(self.fn.__module__)
        return device_call(self, *args, **more)

    interpreter.InterpretedFunction.__call__ = call

    # It reads and writes whatever an address leads to: every address has to lie in a tensor of the launch.
    ranges: list[tuple[int, int]] = []
    convert, launch = interpreter._implicit_cvt, interpreter.GridExecutor.__call__

    def noted(argument):
        if hasattr(argument, "data_ptr"):
            ranges.append((argument.data_ptr(), argument.data_ptr() + argument.numel() * argument.element_size()))
        return convert(argument)

    def launched(self, *args, **more):
        ranges.clear()
        return launch(self, *args, **more)

    def check(pointers, mask):
        addresses = pointers.data[mask.data.astype(bool)] if mask is not None else pointers.data.ravel()
        size = pointers.get_element_ty().primitive_bitwidth // 8
        inside = np.zeros(addresses.shape, bool)
        for first, end in ranges:
            inside |= (addresses >= first) & (addresses + np.uint64(size) <= end)
        assert inside.all(), "an address outside every tensor of the launch"

    def load(self, pointers, mask, *rest, original=interpreter.InterpreterBuilder.create_masked_load):
        check(pointers, mask)
        return original(self, pointers, mask, *rest)

    def store(self, pointers, value, mask, *rest, original=interpreter.InterpreterBuilder.create_masked_store):
        check(pointers, mask)
        return original(self, pointers, value, mask, *rest)

    interpreter._implicit_cvt = noted
    interpreter.GridExecutor.__call__ = launched
    interpreter.InterpreterBuilder.create_masked_load = load
    interpreter.InterpreterBuilder.create_masked_store = store
