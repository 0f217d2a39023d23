"""More time steps than a conversion was made for, and what is left of an activation after T of them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sresnet import UserError, create_model
from sresnet.convert import FewSpikesConfig, RateConfig, WhetstoneConfig, tandem_coded, to_spiking, traced
from sresnet.export.source import program_for
from sresnet.models.network import SpikingNetwork
from sresnet.nn import Sharpened
from tests.convert.anns import ANNS, ResNet, trained

IMAGES = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double()


def converted(method: str) -> SpikingNetwork:
    """A small ANN by a method that fixes its number of time steps."""
    if method == "whetstone":
        ann = create_model("resnet8", base_filters=4, neuron="sharpened", num_steps=1).double()
        for module in ann.modules():
            if isinstance(module, Sharpened):
                module.sharpness.fill_(1)
        return to_spiking(ann.eval(), IMAGES, WhetstoneConfig())
    if method == "tandem":
        ann = create_model("wu-vgg11", width=0.03, image_size=16).double().eval()
        names = [name.rpartition(".")[2] for name in ann.neuron_names]
        return tandem_coded(ann, dict.fromkeys(names, 0.5), 4)
    config = {"few-spikes": FewSpikesConfig(internal_steps=6), "tsc": RateConfig(num_steps=4, encoder="two-spikes")}
    return to_spiking(trained(ResNet), IMAGES, config[method])


@pytest.mark.parametrize(
    ("method", "fault"),
    [
        ("few-spikes", "num_steps 5 is more than the 1 that .* convert the ANN with more --internal-steps, 6"),
        ("whetstone", "num_steps 5 is more than the 1 that .* need one alone, so leave num_steps out"),
        ("tandem", "num_steps 5 is more than the 4 that .* at the first step alone: convert with --method tandem"),
        ("tsc", "num_steps 5 is more than the 4 in which encoder 'two-spikes' sends an image"),
    ],
)
def test_methods_with_a_time_of_their_own_say_so(method, fault):
    network, images = converted(method), IMAGES.repeat(1, 1, 2, 2) if method == "tandem" else IMAGES
    with torch.no_grad():
        assert network(images, num_steps=network.config.num_steps).isfinite().all()
        with pytest.raises(UserError, match=fault):
            network(images, num_steps=5)
    if method != "tsc":  # what encodes an image is no part of a program
        with pytest.raises(UserError, match=fault):
            program_for(network, images, num_steps=5)


def test_event_frames_are_each_a_step_of_few_spikes():
    network = converted("few-spikes")
    frames = torch.stack([IMAGES, 1 - IMAGES], 1)
    with torch.no_grad():
        torch.testing.assert_close(network(frames), (network(IMAGES) + network(1 - IMAGES)) / 2)


@pytest.mark.parametrize("name", ANNS)
def test_rates_go_on_towards_the_ann(name):
    """Made for 8 steps and run for 512, where thresholds do not depend on T."""
    ann = traced(trained(ANNS[name]), IMAGES)
    network = to_spiking(trained(ANNS[name]), IMAGES, RateConfig(num_steps=8))
    with torch.no_grad():
        wanted = ann(IMAGES)
        error = [float((network(IMAGES, num_steps=steps) - wanted).abs().max()) for steps in (8, 512)]
        own = to_spiking(trained(ANNS[name]), IMAGES, RateConfig(num_steps=512))(IMAGES)
    assert error[1] < error[0] / 4
    assert torch.equal(network(IMAGES, num_steps=512), own)


@given(
    num_steps=st.integers(1, 40),
    weights=st.lists(st.floats(0.1, 3.0), min_size=1, max_size=5),
    factor=st.floats(1.0, 2.0),
    share=st.floats(0.0, 1.0),
)
@settings(max_examples=60, deadline=None)
def test_soft_reset_is_within_the_sum_of_thetas_over_t(num_steps, weights, factor, share):
    """Each of L layers keeps back less than theta, of which the weights behind it make theta of the last layer."""
    layers = [nn.Flatten()]
    for weight in weights:
        layers += [nn.Linear(1, 1, bias=False), nn.ReLU()]
        layers[-2].weight.data.fill_(weight)
    layers.append(nn.Linear(1, 1, bias=False))
    layers[-1].weight.data.fill_(1.0)
    ann = nn.Sequential(*layers).double()
    largest = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    network = to_spiking(ann, largest, RateConfig(num_steps=num_steps, factor=factor))
    with torch.no_grad():
        missing = float(ann(share * largest) - network(share * largest))
        threshold = factor * float(ann(largest))
    assert -1e-9 <= missing <= len(weights) * threshold / num_steps + 1e-9


def test_soft_reset_equals_the_ann_where_thresholds_divide():
    """Not below the bound only because nothing is lost: 8 steps of 1/8 bring 1 exactly, one layer later each."""
    ann = nn.Sequential(nn.Flatten(), nn.Linear(1, 1, bias=False), nn.ReLU(), nn.Linear(1, 1, bias=False)).double()
    for parameter in ann.parameters():
        parameter.data.fill_(1.0)
    network = to_spiking(ann, torch.ones(1, 1, 1, 1).double(), RateConfig(num_steps=8))
    images = torch.arange(0, 9).view(-1, 1, 1, 1) / 8
    assert torch.equal(network(images.double()).flatten(), images.double().flatten())
