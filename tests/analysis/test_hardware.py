"""Section 3.2.1: networks written out with extra synapses or graded spikes give what the networks give."""

import dataclasses
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sresnet import UserError, create_model
from sresnet.analysis import hardware_network, hardware_view
from sresnet.analysis.hardware import SENDS
from sresnet.models.synapses import Synapses, composed
from sresnet.nn.residual import Connection
from tests.analysis.networks import batch, trained

CONNECTIONS = get_args(Connection)
VARIANTS = {
    **{
        f"{connection}, {norm}": {"connection": connection, "norm": norm}
        for connection in CONNECTIONS
        for norm in ("bntt", "time-averaged", "none")
    },
    "deep s2s": {"name": "sresnet14"},
    "deep v2v": {"name": "sresnet14", "connection": "v2v"},
    "tdbn": {"norm": "tdbn", "skip": "tdbn", "threshold": 0.7},
    "tdbn s2m": {"norm": "tdbn", "skip": "tdbn", "threshold": 0.7, "connection": "s2m"},
    "learned s2s": {"skip": "learned"},
    "learned v2v": {"skip": "learned", "connection": "v2v"},
    "spiking": {"skip": "spiking"},
    "spiking s2m": {"skip": "spiking", "connection": "s2m"},
    "bare skip": {"skip_norm": False},
    "beta, boosting": {"norm_bias": True, "boosting": True},
    "plif, small stem": {"neuron": "plif", "stem": "c3s2"},
    "leaky readout with a bias": {"readout": "leaky", "readout_bias": True},
    "8 channels": {"base_filters": 8},  # `Skip` picks its pixels itself below 8
    **{f"avg, {connection}": {"downsample": "avg", "connection": connection} for connection in CONNECTIONS},
    "deep avg": {"name": "sresnet14", "downsample": "avg"},
    "deep avg v2v": {"name": "sresnet14", "downsample": "avg", "connection": "v2v"},
    "avg, time-averaged": {"downsample": "avg", "norm": "time-averaged"},
    "avg, stem of stride 2, bare skip": {"downsample": "avg", "stem": "c3s2", "skip_norm": False},
}


@pytest.mark.parametrize("form", ["binary", "graded"])
@pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS)
def test_outputs_are_equal(fields, form):
    """Eqs. 12, 14, 18, and the intermediate neuron; odd sizes, so that all borders differ, where there are no pools."""
    size = {"c3": (8, 12), "c3s2": (15, 24)}[fields.get("stem", "c3")] if "downsample" in fields else (7, 10)
    model = trained(**fields, size=size).double()
    x = torch.randn(3, 2, *size, dtype=torch.float64)
    with torch.no_grad():
        scores, records = model(x, record=model.neuron_names)
        found = hardware_network(model, size, form=form).run(x)
    torch.testing.assert_close(found.scores, scores, atol=1e-10, rtol=1e-10)
    assert 0.05 < torch.stack([record.spikes.mean() for record in records.values()]).mean() < 0.95
    for name, record in records.items():
        assert torch.equal(found.messages[name], record.spikes), name


@pytest.mark.parametrize("connection", ["s2s", "s2m", "v2v"])
def test_messages_are_spikes_in_the_binary_form(connection):
    model = trained("sresnet14", connection=connection)
    x, _ = batch(model)
    with torch.no_grad():
        binary = hardware_network(model, (7, 9), form="binary").run(x).messages
        graded = hardware_network(model, (7, 9), form="graded").run(x).messages
    assert list(binary) == model.neuron_names
    assert all(set(messages.unique().tolist()) <= {0, 1} for messages in binary.values())
    sums = {name: messages for name, messages in graded.items() if name.endswith(".sum")}
    assert len(sums) == {"s2s": 6, "s2m": 0, "v2v": 7}[connection]
    if connection == "s2s":  # Eq. 10 in stage 1: stem and two blocks
        assert set(sums["stage1_block2.sum"].unique().tolist()) == {0, 1, 2, 3}
        assert not torch.equal(sums["stage2_block1.sum"], sums["stage2_block1.sum"].round())


def test_frames_early_stop_and_boosting():
    model = trained(boosting=True).double()
    frames = torch.randn(2, 3, 2, 7, 9, dtype=torch.float64)
    with torch.no_grad():
        network = hardware_network(model, (7, 9))
        torch.testing.assert_close(network.run(frames, num_steps=2).scores, model(frames, num_steps=2))


@pytest.mark.parametrize("size", [(8, 8), (7, 10), (9, 5), (1, 2)])
@pytest.mark.parametrize("stride", [1, 2])
def test_w_after_w_is_one_convolution_of_stride_and_dilation_2(stride, size):
    """Eq. 14: W_l W'' with W'' 1x1 of stride 2, then again behind a second one."""
    first = Synapses(source="x", kernel=torch.randn(1, 4, 3, 1, 1).double(), stride=(2, 2))
    second = Synapses(source="", kernel=torch.randn(1, 5, 4, 1, 1).double(), stride=(2, 2))
    outer = Synapses(source="", kernel=torch.randn(1, 6, 4, 3, 3).double(), stride=(stride,) * 2, padding=(1, 1))
    x = torch.randn(2, 3, *size).double()
    once = composed(outer, first)
    sizes = ((2 * stride,) * 2, (2, 2), (2, 2), (1, 6, 3, 3, 3))
    assert (once.stride, once.dilation, once.padding, once.kernel.shape) == sizes
    assert str(once) == f"3x3 /{2 * stride} dilation 2"
    torch.testing.assert_close(once.arriving(x, 0), outer.arriving(first.arriving(x, 0), 0))
    outer = dataclasses.replace(outer, kernel=torch.randn(1, 6, 5, 3, 3).double())
    twice = composed(outer, composed(second, first))
    assert (twice.stride, twice.dilation, twice.padding) == ((4 * stride,) * 2, (4, 4), (4, 4))
    torch.testing.assert_close(
        twice.arriving(x, 0), outer.arriving(second.arriving(first.arriving(x, 0), 0), 0), atol=1e-12, rtol=1e-12
    )


@pytest.mark.parametrize("size", [(4, 4), (8, 12)])
def test_a_convolution_behind_averages_is_one_of_6x6_or_12x12(size):
    average = Synapses(source="x", kernel=torch.eye(3).double()[None, :, :, None, None].expand(-1, -1, -1, 2, 2) / 4)
    average = dataclasses.replace(average, stride=(2, 2))
    outer = Synapses(source="", kernel=torch.randn(1, 4, 3, 3, 3).double(), padding=(1, 1))
    x = torch.randn(2, 3, *size).double()
    once = composed(outer, average)
    assert (str(once), once.padding, once.kernel.shape) == ("6x6 /2", (2, 2), (1, 4, 3, 6, 6))
    torch.testing.assert_close(once.arriving(x, 0), outer.arriving(F.avg_pool2d(x, 2), 0))
    twice = composed(outer, composed(average, average))
    assert (str(twice), twice.padding, twice.kernel.shape) == ("12x12 /4", (4, 4), (1, 4, 3, 12, 12))
    torch.testing.assert_close(twice.arriving(x, 0), outer.arriving(F.avg_pool2d(x, 4), 0))
    # An average behind a 3x3 convolution, as V2V has it.
    inner = dataclasses.replace(outer, source="x", kernel=torch.randn(1, 3, 3, 3, 3).double())
    behind = composed(average, inner)
    assert (str(behind), behind.padding) == ("4x4 /2", (1, 1))
    torch.testing.assert_close(behind.arriving(x, 0), F.avg_pool2d(inner.arriving(x, 0), 2))
    with pytest.raises(AssertionError):
        composed(outer, inner)


def test_a_shift_becomes_a_bias_that_depends_on_the_position_at_borders():
    model = trained("sresnet14").double()
    network = hardware_network(model, (8, 8))
    by_name = {population.name: population for population in network.populations}
    bias = by_name["stage2_block2.neuron1"].bias  # the first 3x3 convolution behind a 1x1 skip
    assert bias.shape == (3, 6, 4, 4)
    inside = bias[..., 1:-1, 1:-1]
    assert torch.allclose(inside, inside[..., :1, :1].expand_as(inside))
    assert not torch.allclose(bias[..., 0, 1], inside[..., 0, 0])
    assert not torch.allclose(bias[..., 0, 0], bias[..., 0, 1])
    # By hand: the norm of the layer, on the convolution of the skip's shift.
    block, skip = model.layers["stage2_block2"], model.layers["stage2_block1"].skip
    shift = -skip.norm.weight * skip.norm.running_mean / (skip.norm.running_var + 1e-4).sqrt()
    y = F.conv2d(shift[:, :, None, None].expand(3, 6, 4, 4), block.conv1.weight, padding=1)
    torch.testing.assert_close(bias, block.norm1(y[:, None])[:, 0])
    # In front of the first 1x1 skip no bias depends on the position; nor for V2V anywhere.
    assert by_name["stage1_block2.neuron1"].bias.shape[-2:] == (1, 1)
    v2v = hardware_view(trained("sresnet14", connection="v2v"), (8, 8))
    assert not any(layer.bias_per_position for layer in v2v.layers)
    s2s = hardware_view(model, (8, 8))
    positional = [layer.name for layer in s2s.layers if layer.bias_per_position]
    assert positional == ["stage2_block2.neuron1", "stage3_block1.neuron1", "stage3_block2.neuron1"]


def view_of(connection, **fields):
    return hardware_view(create_model("sresnet38", connection=connection, num_steps=2, **fields), (32, 32))


def test_v2v_has_l_over_n_minus_1_extra_connections():
    """Eq. 18 with n = 2, the stem as layer l = 2: block k ends at l = 2k + 2."""
    layers = [layer for layer in view_of("v2v").layers if layer.extra_connections]
    assert [layer.name.rpartition(".")[2] for layer in layers] == ["neuron2"] * 18
    for block, layer in enumerate(layers, start=1):
        assert layer.extra_connections == (2 * block + 2) / 2 - 1
    assert layers[6].kernels == ("3x3 /2",) * 7  # stem and six blocks of stage 1, seen from stage 2
    assert layers[-1].kernels == ("3x3",) * 5 + ("3x3 /2",) * 6 + ("3x3 /4",) * 7


def test_s2s_has_as_many_extra_connections_and_s2m_one_per_block():
    s2s, s2m, v2v, none = (view_of(connection) for connection in ("s2s", "s2m", "v2v", "none"))
    layers = [layer for layer in s2s.layers if layer.name.endswith("neuron1") or layer.name == "readout"]
    assert [layer.extra_connections for layer in layers] == list(range(19))
    assert s2s.extra_connections == v2v.extra_connections == 18 * 19 / 2
    assert layers[1].kernels == ("3x3",)
    assert layers[-2].kernels == ("3x3",) * 4 + ("3x3 /2 dilation 2",) * 6 + ("3x3 /4 dilation 4",) * 7
    assert s2m.extra_connections == 18
    assert [layer.extra_connections for layer in s2m.layers if layer.name.endswith("neuron2")] == [1] * 18
    # A conventional synapse per neuron, one to one where the shape stays.
    assert s2m.extra_synapses == (6 * 16 * 1024 + 5 * 32 * 256 + 5 * 64 * 64) + (32 * 16 * 256 + 64 * 32 * 64)
    assert (s2m.intermediate_neurons, s2m.needs_graded_spikes) == (0, False)
    assert (none.extra_connections, none.extra_synapses, none.needs_graded_spikes) == (0, 0, False)
    assert s2s.synapses - s2s.extra_synapses == v2v.synapses - v2v.extra_synapses == none.synapses
    neurons = [6 * 16 * 1024, 6 * 32 * 256, 6 * 64 * 64]
    assert s2s.intermediate_neurons == sum(neurons)
    assert v2v.intermediate_neurons == sum(neurons) + 16 * 1024  # the stem's current is passed on too


def test_synapses_are_those_of_the_convolutions():
    """Counted one by one: a kernel of ones on ones is the number of taps inside the image."""
    model = trained("sresnet14")
    network = hardware_network(model, (7, 9))
    shapes = {"input": (2, 7, 9)} | {population.name: population.shape for population in network.populations}
    for population in network.populations:
        for synapses, count in zip(population.incoming, network.synapses(population), strict=True):
            ones = dataclasses.replace(
                synapses, kernel=None if synapses.kernel is None else torch.ones_like(synapses.kernel)
            )
            assert ones.arriving(torch.ones(1, *shapes[synapses.source]), 0).sum() == count
    assert hardware_view(model, (7, 9)).synapses == sum(
        sum(network.synapses(population)) for population in network.populations
    )


@pytest.mark.parametrize(
    ("fields", "gains", "weights"),
    [
        ({"connection": "s2s"}, True, True),
        ({"connection": "s2m"}, True, True),  # the norm's gain is for the convolution, not for the skip beside it
        ({"connection": "v2v"}, True, True),
        ({"connection": "none"}, True, False),  # a gain per neuron does
        ({"connection": "s2s", "norm": "time-averaged"}, False, False),
        ({"connection": "v2v", "norm": "none"}, False, False),
        ({"connection": "s2s", "skip_norm": False}, True, False),
    ],
    ids=str,
)
def test_gains_that_vary_per_step_are_flagged(fields, gains, weights):
    view = hardware_view(trained("sresnet14", **fields), (8, 8))
    assert (view.gains_per_step, view.weights_per_step) == (gains, weights)
    if fields == {"connection": "s2s"}:  # in stage 1 the extra synapses share the gain of the neuron that they reach
        assert not any(layer.weights_per_step for layer in view.layers if layer.name.startswith("stage1"))


def test_a_view_makes_no_weights():
    """Depth 44 with 50 steps: composed kernels would take gigabytes."""
    view = hardware_view(create_model("sresnet44", base_filters=32), (32, 32))
    assert view.extra_connections == 21 * 22 / 2


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: trained("resnet8", num_steps=1), "neuron 'relu' sends no spikes"),
        (
            lambda: trained("vgg11", width=0.05, hidden=4, num_steps=1, in_channels=2, size=(16, 16)),
            "global_pool is a GlobalAveragePool: only convolutions",
        ),
        (lambda: trained(downsample="max"), "stage2_pool is a max pool"),
        (lambda: trained(stem="c5s2-pool", size=(16, 16)), "stem_pool is a max pool"),
    ],
)
def test_networks_without_a_view(make, words):
    with pytest.raises(UserError, match=words):
        hardware_view(make(), (8, 8))


def test_averages_over_the_edge():
    with pytest.raises(UserError, match="stage3_pool averages 2x2 pixels of 6x5: written out are windows within"):
        hardware_view(trained(downsample="avg"), (12, 10))


def test_kernels_behind_averages():
    s2s = hardware_view(create_model("sresnet14", downsample="avg", num_steps=2), (32, 32))
    assert [layer.extra_connections for layer in s2s.layers] == [0, 0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6]
    assert s2s.layers[-3].kernels == ("6x6 /2",) * 2 + ("12x12 /4",) * 3
    plain = hardware_view(create_model("sresnet14", downsample="avg", num_steps=2, connection="none"), (32, 32))
    # Nine taps, at borders fewer, over four pixels each, where a convolution of stride 2 has nine.
    strided = hardware_view(create_model("sresnet14", num_steps=2, connection="none"), (32, 32))
    taps = {size: (6 * size - 4) ** 2 - (3 * size - 1) ** 2 for size in (16, 8)}
    assert plain.synapses - strided.synapses == 16 * 32 * taps[16] + 32 * 64 * taps[8]


def test_more_steps_than_norms():
    with pytest.raises(UserError, match="time step 4 has no norm"):
        hardware_network(trained(), (7, 9)).run(torch.randn(1, 2, 7, 9), num_steps=4)


def test_an_unknown_form():
    with pytest.raises(UserError, match="form 'binry' is unknown: did you mean 'binary'"):
        hardware_network(trained(), (8, 8), form="binry")


def test_nothing_is_shared_with_the_meta_copy():
    model = trained()
    hardware_view(model, (8, 8))
    assert all(parameter.device.type == "cpu" for parameter in model.parameters())
    assert isinstance(model.layers["stem"].conv, nn.Conv2d)


def test_every_connection_says_what_its_layers_send():
    assert list(SENDS) == list(CONNECTIONS)
