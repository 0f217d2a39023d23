"""Fully connected layers, what stands before them, readouts that spike, and initial weights."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import sresnet
from sresnet import UserError
from sresnet.analysis.cost import cost
from sresnet.models.network import make_readout
from sresnet.nn import Flatten, NeuronConfig, NormConfig, Pool, Readout, Signal, SpikingLinear
from sresnet.ops.surrogate import Triangle
from tests.ops.flat import lif

NEURON = NeuronConfig(leak=0.5)


def test_all_pixels_become_channels():
    x = torch.rand(2, 3, 4, 5, 5).to(memory_format=torch.channels_last_3d)
    flat = Flatten(4, 5)(Signal(x, None)).spikes
    assert torch.equal(flat, x.flatten(2)[..., None, None])
    with pytest.raises(UserError, match=r"^maps before .* are \[4, 5, 5\], not \[4, 8, 8\]: .*image_size$"):
        Flatten(4, 8)(Signal(x, None))


@pytest.mark.parametrize("bias", [False, True])
def test_a_fully_connected_layer_is_linear_and_neurons(bias):
    layer = SpikingLinear(6, 5, norm=NormConfig(kind="none"), neuron=NEURON, bias=bias)
    assert (layer.conv.bias is not None) == bias
    x = 3 * torch.rand(4, 2, 6, 1, 1)
    current = F.linear(x.flatten(2), layer.conv.weight.flatten(1), layer.conv.bias)
    expected = lif(current, leak=0.5, surrogate=Triangle()).spikes
    assert 0 < expected.mean() < 1
    assert torch.equal(layer(Signal(x, None)).spikes.flatten(2), expected)


@pytest.mark.parametrize("kind", ["max", "avg"])
def test_windows_of_three_pixels(kind):
    x = torch.rand(2, 1, 3, 9, 8)
    pool = nn.MaxPool2d(3, 2, 1) if kind == "max" else nn.AvgPool2d(3, 2, 1)
    assert torch.equal(Pool(kind, 3)(Signal(x, None)).spikes[1], pool(x[1]))
    assert repr(Pool(kind, 3)) == f"Pool(3x3 {kind})"


def test_a_readout_that_spikes_gives_firing_rates():
    readout = Readout(6, 3, boosting=True, bias=True, neuron=NEURON)
    x = 2 * torch.rand(5, 2, 6, 4, 4)
    current = readout.linear(x.mean((-2, -1)))
    spikes = lif(current, leak=0.5, surrogate=Triangle()).spikes
    assert 0 < spikes.mean() < 1
    torch.testing.assert_close(readout(x), spikes.unflatten(-1, (3, 10)).mean(-1))
    x[2, 1, 3] = float("nan")
    assert readout(x)[2].isnan().any(-1).tolist() == [False, True]


def test_a_new_readout_is_of_the_same_kind():
    model = sresnet.create_model(
        "sresnet8", base_filters=4, num_steps=2, readout="spikes", readout_bias=True, neuron="plif-shared"
    )
    model.reset_classifier(7, boosting=True)
    assert model(torch.rand(2, 3, 8, 8)).shape == (2, 7)
    assert model.readout.linear.bias.shape == (70,)
    assert model.readout.neuron.leak_logit is model.layers["stem"].neuron.leak_logit
    plain = sresnet.create_model("sresnet8", base_filters=4, num_steps=2)
    assert plain.readout.neuron is None
    assert make_readout(plain.config, 4).linear.bias is None


def test_the_neurons_of_a_readout_are_counted():
    torch.manual_seed(0)
    model = sresnet.create_model(
        "sresnet8", base_filters=4, num_steps=3, readout="spikes", readout_bias=True, norm="none", init="kaiming"
    )
    with torch.no_grad():
        model.readout.linear.bias.fill_(0.8)
    x = torch.rand(4, 3, 8, 8)
    last = cost(model.eval(), [(x, torch.zeros(4, dtype=torch.int64))]).layers[-1]
    fired = float(model(x, record=["readout.neuron"])[1]["readout.neuron"].spikes.detach().sum()) / 4
    assert fired > 0
    assert (last.name, last.neurons) == ("readout.linear", "readout.neuron")
    assert last.update_multiplications == 10 * 3
    assert last.update_additions == 10 * 3 * 2 + fired  # bias, current; resets


def test_where_weights_start():
    def made(init):
        torch.manual_seed(0)
        return sresnet.create_model("sresnet8", base_filters=32, num_steps=1, init=init, readout_bias=True)

    for init, variance in (("xavier", 4 * 2 / (288 + 288)), ("torch", 1 / (3 * 288)), ("kaiming", 2 / 288)):
        weight = made(init).layers["stage1_block1"].conv2.weight
        assert float(weight.detach().var()) == pytest.approx(variance, rel=0.05)
    assert float(made("kaiming").readout.linear.weight.detach().var()) == pytest.approx(2 / 10, rel=0.15)
    assert made("torch").readout.linear.bias.abs().max() <= 1 / 128**0.5
