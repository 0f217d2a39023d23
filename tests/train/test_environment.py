import pytest
import torch

from sresnet.ops.dispatch import implementation
from sresnet.train import record


@pytest.mark.parametrize(
    ("chosen", "compiled", "device", "expected"),
    [
        ("fastest", True, "cpu", "fastest"),
        ("fastest", False, "cpu", "reference, as nothing could be compiled"),
        ("fastest", False, "cuda", "fastest"),  # the kernel that is compiled is for processors alone
        ("low-memory", True, "cpu", "low-memory"),
        ("low-memory", False, "cpu", "reference, as nothing could be compiled"),
        ("low-memory", False, "cuda", "low-memory"),
        ("reference", True, "cpu", "reference"),
        ("reference", False, "cpu", "reference"),
        ("reference", False, "cuda", "reference"),
    ],
)
def test_the_engine_that_computes_is_named(monkeypatch, chosen, compiled, device, expected):
    monkeypatch.setattr(record, "available", lambda: compiled)
    with implementation(chosen):
        assert record._engine(torch.device(device)) == expected
