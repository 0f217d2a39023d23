"""Converted networks of every method, written out as populations and synapses."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sresnet import UserError, create_model
from sresnet.analysis import analyse, hardware_network, hardware_view
from sresnet.convert import (
    METHODS,
    FewSpikesConfig,
    RateConfig,
    WhetstoneConfig,
    rewired,
    tandem_coded,
    to_spiking,
)
from sresnet.models.program import run
from sresnet.models.synapses import Synapses, composed
from sresnet.models.written_out import written_out
from sresnet.nn import Sharpened
from tests.analysis.networks import trained as trained_of_ours
from tests.convert.anns import ANNS, trained

IMAGES = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double()


class SumsOfSpikes(nn.Module):
    """A layer that takes a sum of spikes of two layers, and one that takes them pooled; images of 8x6 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, (3, 1), padding=(1, 0), groups=2)
        self.third = nn.Conv2d(4, 6, 3, stride=(2, 1), padding=(2, 1), dilation=(2, 1), groups=2, bias=False)
        self.out = nn.Linear(6 * 2 * 3, 5)

    def forward(self, x):
        x = F.relu(self.first(x))
        x = x + F.relu(self.second(x))
        x = F.relu(self.third(x))
        return self.out(F.avg_pool2d(x, 2).flatten(1))


def ours() -> nn.Module:
    """An ANN counterpart of this package whose skips join a membrane, with averages."""
    fields = {"neuron": "relu", "num_steps": 1, "in_channels": 3, "connection": "s2m", "downsample": "avg"}
    return trained_of_ours("resnet8", size=(8, 8), **fields).double()


NETWORKS = {**{name: lambda name=name: trained(ANNS[name]) for name in ANNS}, "ours": ours}
NETWORKS["sums of spikes"] = lambda: trained_on(SumsOfSpikes(), (8, 6))


def trained_on(module: nn.Module, size: tuple[int, int]) -> nn.Module:
    """In float64, with weights of a seed; there are no norms."""
    generator = torch.Generator().manual_seed(1)
    for parameter in module.double().parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 3
    return module.eval()


def whetstone():
    """Units that are steps."""
    ann = create_model("resnet8", base_filters=4, neuron="sharpened", num_steps=1, connection="s2m").double()
    for module in ann.modules():
        if isinstance(module, Sharpened):
            module.sharpness.fill_(1)
    return to_spiking(ann.eval(), IMAGES, WhetstoneConfig())


def tandem():
    """Thresholds as they come; the image is there at the first step alone."""
    ann = create_model("wu-vgg11", width=0.03, image_size=16, dropout=0.0).double().eval()
    return tandem_coded(ann, {step.name: 0.1 for step in rewired(ann).config.steps if step.kind == "neurons"}, 6)


METHODS_TRIED = {
    "deng": dataclasses.replace(METHODS["deng"], num_steps=7),
    "rmp": dataclasses.replace(METHODS["rmp"], num_steps=6),
    "spikenorm": dataclasses.replace(METHODS["spikenorm"], num_steps=6),
    "tsc": dataclasses.replace(METHODS["tsc"], num_steps=6),
    "few-spikes": FewSpikesConfig(internal_steps=6, largest="calibrated"),
}


def agree(network, images, form):
    """The form gives the network's scores, and every layer its spikes."""
    torch.manual_seed(0)
    with torch.no_grad():
        scores, records = network(images, record=network.neuron_names)
    torch.manual_seed(0)
    with torch.no_grad():
        found = hardware_network(network, images.shape[-2:], form=form).run(images)
    torch.testing.assert_close(found.scores, scores, atol=1e-10, rtol=1e-10)
    for name, record in records.items():
        sent = found.messages[name]
        if network.config.neuron == "few-spikes":
            sent = sent.sum(0, keepdim=True)
        assert torch.equal(sent, record.spikes), name
    if form == "binary":
        assert list(found.messages) == network.neuron_names
        assert all(set(each.unique().tolist()) <= {0, 1} for each in found.messages.values())
    assert sum(float(record.spikes.sum()) for record in records.values()) > 0


@pytest.mark.parametrize("form", ["binary", "graded"])
@pytest.mark.parametrize("method", METHODS_TRIED)
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_equal(name, method, form):
    images = IMAGES[..., :6] if name == "sums of spikes" else IMAGES
    agree(to_spiking(NETWORKS[name](), images, METHODS_TRIED[method]), images, form)


@pytest.mark.parametrize("form", ["binary", "graded"])
@pytest.mark.parametrize("make", [whetstone, tandem])
def test_outputs_of_trained_methods_are_equal(make, form):
    network = make()
    size = 16 if make is tandem else 8
    agree(network, 3 * torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(2)).double(), form)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("method", ["deng", "tsc"])
def test_written_out_as_a_program(name, method):
    images = IMAGES[..., :6] if name == "sums of spikes" else IMAGES
    network = to_spiking(NETWORKS[name](), images, METHODS_TRIED[method])
    with torch.no_grad():
        scores = run(written_out(network, images.shape[-2:]), network.encode(images, None))
        torch.testing.assert_close(scores[-1], network(images), atol=1e-10, rtol=1e-10)


def test_few_spikes_are_no_such_program():
    network = to_spiking(NETWORKS["resnet"](), IMAGES, METHODS_TRIED["few-spikes"])
    with pytest.raises(UserError, match="send several spikes within a time step"):
        written_out(network, (8, 8))


def test_sums_of_spikes_need_graded_spikes_or_a_connection_each():
    """By hand: maps of 8x6, the third layer 6x4x6 with 3x3 taps, dilation 2 and stride 2 along the height."""
    network = to_spiking(NETWORKS["sums of spikes"](), IMAGES[..., :6], METHODS_TRIED["few-spikes"])
    view = hardware_view(network, (8, 6))
    assert (view.connection, view.sends) == ("a converted network", "sums of spikes, each of its layer's height")
    layers = {layer.name.rpartition(".")[2]: layer for layer in view.layers}
    third = layers["relu_2"]
    assert (third.connections, third.extra_connections) == (2, 1)
    # Rows: outputs at 0, 2, 4, 6 see rows -2, 0, 2 and so on, in all 10 of 12 within; columns 16 of 18.
    assert third.synapses == 2 * 6 * 2 * 10 * 16
    assert third.extra_synapses == third.synapses // 2
    assert third.kernels == ("3x3 /2x1 dilation 2x1 in 2 groups",)
    assert layers["relu_1"].synapses == 4 * 2 * (3 * 8 - 2) * 6
    assert layers["readout"].synapses == 5 * 6 * 4 * 6
    assert (view.intermediate_neurons, view.internal_steps) == (4 * 8 * 6, 6)
    deng = hardware_view(to_spiking(NETWORKS["resnet"](), IMAGES, METHODS_TRIED["deng"]), (8, 8))
    assert (deng.sends, deng.needs_graded_spikes, deng.internal_steps) == ("spikes", False, 1)
    assert deng.extra_connections == 2  # one per block


@pytest.mark.parametrize("name", NETWORKS)
def test_synapses_are_those_of_the_convolutions(name):
    """Counted one by one: weights of 1 that are there, on ones, are the number of taps inside the image."""
    size = (8, 6) if name == "sums of spikes" else (8, 8)
    model = to_spiking(NETWORKS[name](), IMAGES[..., : size[1]], METHODS_TRIED["deng"])
    network = hardware_network(model, size)
    shapes = {"input": (3, *size)} | {population.name: population.shape for population in network.populations}
    for population in network.populations:
        for synapses, count in zip(population.incoming, network.synapses(population), strict=True):
            kernel = None if synapses.kernel is None else torch.ones_like(synapses.kernel)
            ones = dataclasses.replace(synapses, kernel=kernel)
            assert ones.arriving(torch.ones(1, *shapes[synapses.source]).double(), 0).sum() == count
    assert hardware_view(model, size).synapses == sum(map(sum, map(network.synapses, network.populations)))


@given(
    st.tuples(*[st.sampled_from([1, 2, 3]) for _ in range(6)]),
    st.tuples(*[st.integers(1, 2) for _ in range(6)]),
    st.sampled_from([(1, 1), (2, 1), (1, 2), (2, 4), (4, 2), (4, 4), (1, 4), (4, 1)]),
)
@settings(max_examples=60, deadline=None)
def test_composed_synapses_do_what_both_do(kernels, strides, groups):
    """Kernels, strides and dilations that differ along height and width, and groups of channels."""
    torch.manual_seed(0)
    first = Synapses(
        source="x",
        kernel=torch.randn(1, 4, 8 // groups[0], *kernels[:2]).double(),
        stride=strides[:2],
        dilation=(1, kernels[4]),
        padding=(1, 2),
        groups=groups[0],
    )
    second = Synapses(
        source="",
        kernel=torch.randn(1, 8, 4 // groups[1], *kernels[2:4]).double(),
        stride=strides[2:4],
        dilation=(kernels[5], 1),
        groups=groups[1],
    )
    x = torch.randn(2, 8, 16, 17).double()
    both = composed(second, first)
    torch.testing.assert_close(both.arriving(x, 0), second.arriving(first.arriving(x, 0), 0))
    scale = Synapses(source="y", kernel=torch.randn(1, 8).double())
    torch.testing.assert_close(composed(first, scale).arriving(x, 0), first.arriving(scale.arriving(x, 0), 0))


class Chained(nn.Module):
    """What has no form of one kernel: currents that pass on without neurons between."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.conv, self.then = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.fc = nn.Linear(4 * 8 * 8 if kind == "conv" else 4 * 4 * 4 if kind == "ceil" else 4 * 3 * 3, 5)

    def forward(self, x):
        x = self.conv(x)
        if self.kind == "conv":
            return self.fc(F.relu(self.then(x)).flatten(1))
        x = F.relu(x)
        if self.kind == "ceil":
            return self.fc(F.relu(F.avg_pool2d(x, 2, ceil_mode=True)).flatten(1))
        return self.fc(F.relu(self.then(F.avg_pool2d(x, 2))).flatten(1))


@pytest.mark.parametrize(
    ("kind", "size", "fault"),
    [
        ("conv", 8, "a convolution padded by 1 takes what a 3x3 convolution or average of 8 pixels gives: no synapses"),
        ("ceil", 7, "averages 2x2 pixels of 7x7: written out are windows within"),
        ("floor", 7, "a convolution padded by 1 takes what a 2x2 /2 in 4 groups convolution or average of 3 pixels"),
    ],
)
def test_what_has_no_such_form_is_said(kind, size, fault):
    images = torch.rand(4, 3, size, size).double()
    network = to_spiking(trained_on(Chained(kind), (size, size)), images, RateConfig(num_steps=4))
    with pytest.raises(UserError, match=fault):
        hardware_view(network, (size, size))
    found = analyse(network, [(images, torch.zeros(4, dtype=torch.long))])
    assert fault.partition(":")[0] in found.no_hardware


def test_images_of_another_size():
    network = to_spiking(NETWORKS["functional"](), IMAGES, RateConfig(num_steps=4))
    with pytest.raises(UserError, match=r"fully connected layer of 128 inputs are \[8, 8, 8\]: give the size"):
        hardware_view(network, (16, 16))
    with pytest.raises(UserError, match="maps of 1x1 are smaller than a kernel of 2x2 /2 in 8 groups: give larger"):
        hardware_view(network, (1, 1))
