import pytest
import torch

from sresnet.ops.dispatch import implementation
from sresnet.train import record


@pytest.mark.parametrize(
    ("chosen", "compiled", "triton", "device", "expected"),
    [
        ("fastest", True, False, "cpu", "fastest"),
        ("fastest", False, True, "cpu", "reference, as nothing could be compiled"),
        ("fastest", False, True, "cuda", "fastest"),  # what the compiler makes is for processors alone
        ("fastest", True, False, "cuda", "reference, as triton is not installed"),
        ("low-memory", True, False, "cpu", "low-memory"),
        ("low-memory", False, True, "cpu", "reference, as nothing could be compiled"),
        ("low-memory", False, True, "cuda", "low-memory"),
        ("low-memory", True, False, "cuda", "reference, as triton is not installed"),
        ("reference", True, True, "cpu", "reference"),
        ("reference", False, False, "cpu", "reference"),
        ("reference", False, False, "cuda", "reference"),
    ],
)
def test_the_engine_that_computes_is_named(monkeypatch, chosen, compiled, triton, device, expected):
    monkeypatch.setattr(record, "available", lambda: compiled)
    monkeypatch.setattr(record, "triton_available", lambda: triton)
    with implementation(chosen):
        assert record._engine(torch.device(device)) == expected
