"""Dropout with one mask for all time steps."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from sresnet import UserError
from sresnet.models.network import NetworkConfig, SpikingNetwork, StreamState, make_readout
from sresnet.nn import ForwardState, SharedDropout, Signal, SpikingLayer


@dataclass(frozen=True, kw_only=True)
class DroppingConfig(NetworkConfig):
    family: ClassVar[str] = ""


def network(p=0.5):
    torch.manual_seed(0)
    config = DroppingConfig(num_steps=6, in_channels=2, num_classes=3)
    parts = {"norm": config.norm_config(), "neuron": config.neuron_config()}
    layers = {"one": SpikingLayer(2, 4, **parts), "drop": SharedDropout(p), "two": SpikingLayer(4, 4, **parts)}
    return SpikingNetwork(config, layers, make_readout(config, 4))


def test_one_mask_for_each_image_and_unit_at_all_steps():
    out = SharedDropout(0.25)(Signal(torch.ones(5, 3, 8, 16, 16), None)).spikes
    assert torch.equal(out, out[:1].expand_as(out))
    assert set(out.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert abs(float((out[0] == 0).float().mean()) - 0.25) < 0.03
    assert not torch.equal(out[0, 0], out[0, 1])
    assert not torch.equal(out[0, 0, 0], out[0, 0, 1])


def test_evaluation_leaves_spikes_alone():
    signal = Signal(torch.rand(2, 1, 3, 4, 4), torch.rand(2, 1, 3, 4, 4))
    assert SharedDropout(0.5).eval()(signal) is signal
    assert SharedDropout(0.0)(signal) is signal


@pytest.mark.parametrize("segments", [2, 3, (2, 3), 6])
def test_segments_and_what_is_computed_again_have_the_same_mask(segments):
    gradients = []
    for time_segments in ((), segments):
        model, x = network(), torch.randn(3, 2, 5, 5)
        torch.manual_seed(7)
        model(x, time_segments=time_segments).square().sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for whole, parts in zip(*gradients, strict=True):
        torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-4)


def test_masks_are_the_generator_s_and_new_in_every_pass():
    model, x = network(), torch.randn(3, 2, 5, 5)
    masks = []
    for seed in (7, 7, 8):
        torch.manual_seed(seed)
        state = ForwardState(v=None)
        model.forward_steps(x, state=state)
        masks.append(state.masks[model.layers["drop"]])
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_a_mask_of_ones_own():
    model, x = network(), torch.randn(3, 2, 5, 5)
    state = ForwardState(v=None, masks={model.layers["drop"]: torch.ones(3, 4, 5, 5)})
    assert torch.equal(model.forward_steps(x, state=state), network(0.0).forward_steps(x))


def test_a_stream_in_training_mode_has_lost_its_mask():
    model, x = network(), torch.randn(3, 2, 5, 5)
    _, state = model(x, num_steps=2, state=StreamState())
    with pytest.raises(UserError, match=r"^dropout has one mask for all time steps, .*: train on all [^\n]*$"):
        model(x, num_steps=2, state=state)
    model.eval()(x, num_steps=2, state=state)


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_impossible_probabilities(p):
    with pytest.raises(UserError, match=rf"^dropout {p} is outside \[0, 1\): [^\n]*try 0.5$"):
        SharedDropout(p)
