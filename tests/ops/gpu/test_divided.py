"""Layers of processes that share a batch, on the Triton kernels: divided at the statistics, they give the same."""

import pytest
import torch

from sresnet.processes import ALONE
from tests.ops.gpu.test_kernels import DEVICE, _poisoned
from tests.train.together import LAYERS, layer

__all__ = ["_poisoned"]
pytestmark = pytest.mark.usefixtures("on_gpu")


@pytest.mark.skipif(DEVICE != "cpu", reason="these inputs are made on the CPU")
@pytest.mark.parametrize("name", [name for name in LAYERS if name != "reference"])
def test_a_layer_divided_at_its_statistics_gives_what_it_gives_whole(name):
    whole, parts = (layer(ALONE, **LAYERS[name], divided=divided) for divided in (False, True))
    tolerance = {"rtol": 0.02, "atol": 0.06} if name == "bfloat16" else {"rtol": 1e-4, "atol": 1e-5}
    for key, tensor in whole.items():
        torch.testing.assert_close(parts[key], tensor, **tolerance, msg=lambda text, key=key: f"{key}: {text}")
