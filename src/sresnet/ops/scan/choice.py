"""Which engine of the scan computes on a tensor: the C++ kernel on a CPU, the Triton kernels on a GPU."""

import functools
import importlib.util
import os

import torch
from torch import Tensor

from sresnet.errors import UserError
from sresnet.ops.dispatch import triton_chosen
from sresnet.ops.scan import cpu
from sresnet.ops.scan.contract import Engine
from sresnet.printing import tell_once

GPU_STORAGES = (torch.float32, torch.bfloat16, torch.float16)
"""What the Triton kernels read and write activity in."""
LARGEST_STEP = 2**31 - 2**20
"""Values of a time step: offsets inside one are of 32 bits, and the last tile goes a little further."""


def on_gpu(x: Tensor) -> bool:
    """The Triton kernels are meant: x lies on a GPU, or they are asked for, and interpreted, on a CPU.

    Raises:
        UserError: they are asked for where they cannot run.
    """
    if triton_chosen():
        check_triton(x.device, gpu=_lies_on_gpu(x))
        return True
    return _lies_on_gpu(x)


def check_triton(device: torch.device, *, gpu: bool) -> None:
    """Raise UserError where the Triton kernels are asked for and cannot run on a device, which is a `gpu` or not."""
    if not _installed():
        raise UserError("engine 'triton' needs the package triton: run pip install 'sresnet[triton]', or use 'fastest'")
    if not gpu and not (device.type == "cpu" and _interpreted()):
        raise UserError(
            f"engine 'triton' runs on a GPU, and this layer is on {device}: use engine 'fastest', or set "
            "TRITON_INTERPRET=1 to interpret its kernels, slowly"
        )


def _lies_on_gpu(x: Tensor) -> bool:
    """The one place to replace where the interpreter, or tensors without memory, stand for a GPU."""
    return x.is_cuda


def triton_available() -> bool:
    """Triton is there, which is not imported for that; else a line on stderr says what is lost."""
    return _found()


@functools.cache
def _found() -> bool:
    """The same, looked for once."""
    if _installed():
        return True
    tell_once("triton is not installed: layers on a GPU run in PyTorch, slowly: run pip install 'sresnet[triton]'")
    return False


def _installed() -> bool:
    """Triton is there."""
    return importlib.util.find_spec("triton") is not None


def _interpreted() -> bool:
    """Triton's kernels run in its interpreter, on tensors of the CPU."""
    return os.environ.get("TRITON_INTERPRET") == "1"


triton_available._dynamo_marked_constant = True  # type: ignore[attr-defined]
_installed._dynamo_marked_constant = True  # type: ignore[attr-defined]
_interpreted._dynamo_marked_constant = True  # type: ignore[attr-defined]


def stored_here(x: Tensor) -> tuple[torch.dtype, ...]:
    """The dtypes in which an engine takes activity where x lies; none where there is no engine."""
    if on_gpu(x):
        return GPU_STORAGES if triton_available() else ()
    return tuple(cpu.WIDE) if x.is_cpu and cpu.available() else ()


def engine_of(x: Tensor) -> Engine:
    """The engine where x lies, one of those that `stored_here` knows."""
    if not on_gpu(x):
        return cpu
    from sresnet.ops.scan.gpu import launch

    return launch
