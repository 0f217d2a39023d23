"""Convolutions give channels last for channels last; on a GPU, where one does not, a line says so.

`tests/ops/gpu/test_layer.py` asks the same of cuDNN.
"""

import pytest
import torch

from sresnet.ops.conv_bntt_lif import operator
from sresnet.ops.scan import choice
from sresnet.ops.scan.contract import KernelConstants
from sresnet.ops.scan.rows import as_rows, is_rows
from sresnet.printing import tell_once

GEOMETRIES = [(3, (1, 1), (1, 1)), (3, (2, 2), (1, 1)), (1, (2, 2), (0, 0)), (1, (1, 1), (0, 0))]


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch):
    monkeypatch.setattr(choice, "_lies_on_gpu", lambda x: True)
    tell_once.cache_clear()
    yield
    tell_once.cache_clear()


def both(dtype, size=3, stride=(1, 1), padding=(1, 1), channels=(3, 4)):
    """Output and input gradient of a layer's convolution."""
    inputs, outputs = channels
    x = as_rows(torch.randn(2, 2, inputs, 6, 5), dtype)
    weight = torch.randn(outputs, inputs, size, size).to(dtype, memory_format=torch.channels_last)
    call = operator.Call(
        num_steps=2, stride=stride, padding=padding, training=True, constants=KernelConstants(), storage=dtype,
        return_current=False, return_packed=False, learns=True, recompute=False, together=None, values=0,
    )  # fmt: skip
    y = operator._convolve(x, weight, call)
    return y, operator._convolve_back(torch.randn_like(y), x, weight, call, True, True)[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(("size", "stride", "padding"), GEOMETRIES)
@pytest.mark.parametrize("channels", [(3, 4), (1, 8), (8, 1)])
def test_nothing_is_said_where_they_do(size, stride, padding, channels, dtype, capsys):
    assert all(map(is_rows, both(dtype, size, stride, padding, channels))) or 1 in channels
    assert capsys.readouterr().err == ""


def test_it_is_said_once_where_they_do_not(monkeypatch, capsys):
    right = both(torch.float32)[0]
    convolve = operator.F.conv2d
    monkeypatch.setattr(operator.F, "conv2d", lambda *given: convolve(*given).contiguous())
    for _ in range(2):
        torch.manual_seed(1)
        y, _ = both(torch.float32)
    assert is_rows(y)
    assert y.shape == right.shape
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert (
        "a convolution's output of torch.float32 on cpu is not channels last in memory: layers copy it, slowly" in said
    )
    assert f"Please report this line: torch {torch.__version__}" in said


def test_it_is_said_of_gradients_too(monkeypatch, capsys):
    back = torch.ops.aten.convolution_backward

    def contiguous(*given):
        dx, dweight, _ = back(*given)
        return dx.contiguous(), dweight, None

    monkeypatch.setattr(torch.ops.aten, "convolution_backward", contiguous)
    both(torch.float32)
    assert "a convolution's input gradient of torch.float32" in capsys.readouterr().err


def test_a_processor_says_nothing(monkeypatch, capsys):
    monkeypatch.setattr(choice, "_lies_on_gpu", lambda x: False)
    operator._expect_rows(*[torch.zeros(2, 3, 4, 5)] * 2, "output")
    assert capsys.readouterr().err == ""
