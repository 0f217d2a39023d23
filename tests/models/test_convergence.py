"""Training with the engine and with the reference goes the same way."""

import pytest
import torch
import torch.nn.functional as F

import sresnet
from sresnet.ops.dispatch import implementation


def losses(name, dtype=torch.float32, **fields):
    """Of 20 steps of a tiny network on the same images."""
    torch.manual_seed(0)
    model = sresnet.create_model("sresnet8", base_filters=4, num_steps=5, surrogate_height=1.0, **fields)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    images, labels = torch.randn(16, 3, 12, 12), torch.arange(16) % 10
    found = []
    with implementation(name):
        for _ in range(20):
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                loss = F.cross_entropy(model(images).float(), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            found.append(loss.item())
    return torch.tensor(found)


FIELDS = [{}, {"connection": "s2m", "neuron": "plif"}, {"connection": "v2v", "norm": "time-averaged"}]
FIELDS += [{"neuron": "plif", "leak": 0.5, "reset": "zero", "input_scale": "one-minus-leak", "norm": "per-step"}]


@pytest.mark.parametrize("fields", FIELDS, ids=["s2s", "s2m plif", "v2v time-averaged", "plif as published"])
@pytest.mark.parametrize("name", ["fastest", "low-memory"])
def test_same_losses(name, fields):
    expected = losses("reference", **fields)
    assert expected[-1] < 0.9 * expected[0]
    found = losses(name, **fields)
    torch.testing.assert_close(found[:3], expected[:3], rtol=1e-4, atol=1e-5)
    # One spike that rounding decides sends two runs apart, a little.
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.02)


def test_storing_bfloat16_learns_as_well():
    expected, found = losses("reference"), losses("fastest", torch.bfloat16)
    assert (found - expected).abs().mean() < 0.1
    assert found[-1] < 0.9 * found[0]
