"""Fully connected layers, what stands before them, readouts that spike, and initial weights."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import sresnet
from sresnet import UserError
from sresnet.analysis.cost import cost
from sresnet.analysis.walk import walk
from sresnet.models.network import make_readout
from sresnet.nn import Flatten, NeuronConfig, NormConfig, Pool, PoolNeurons, Readout, Signal, SpikingLinear
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


def test_a_readout_that_leaks():
    """V[t] = leak (V[t-1] + I[t]); the score is V[T] / T, and its gradient that of neurons without leak."""
    readout = Readout(6, 3, leak=0.9)
    x = torch.rand(5, 2, 6, 1, 1, requires_grad=True)
    v = torch.zeros(2, 3)
    for current in readout.linear(x.detach()[..., 0, 0]):
        v = 0.9 * (v + current)
    scores = readout(x).mean(0)
    torch.testing.assert_close(scores, v / 5)
    scores.sum().backward()
    leaky, x.grad = x.grad, None
    readout.leak = 1.0
    readout(x).mean(0).sum().backward()
    torch.testing.assert_close(leaky, x.grad)


def test_streams_segments_and_analysis_know_that_it_leaks():
    torch.manual_seed(0)
    model = sresnet.create_model("sresnet8", base_filters=4, num_steps=4, readout="leaky", leak=0.7).eval()
    frames, state = torch.rand(2, 4, 3, 8, 8), None
    v = torch.zeros(2, 10)
    for step, current in enumerate(model.readout.linear(model.forward_features(frames).mean((-2, -1)))):
        v = 0.7 * (v + current)
        scores, state = model.step(frames[:, step], state)
        torch.testing.assert_close(scores, v / (step + 1))
    torch.testing.assert_close(model(frames), v / 4)
    torch.testing.assert_close(model(frames, time_segments=2), v / 4)
    seen = []
    walk(model, [(frames, torch.zeros(2, dtype=torch.int64))], [SimpleNamespace(add=seen.append)])
    torch.testing.assert_close(seen[-1].scores, v / 4)


def test_pools_that_spike():
    pool = PoolNeurons(NeuronConfig(kind="if", reset="zero", threshold=0.75))
    spikes = (torch.rand(6, 2, 3, 4, 4) < 0.5).float()
    average = torch.stack([F.avg_pool2d(step, 2) for step in spikes])
    expected = lif(average, leak=1.0, threshold=0.75, reset="zero").spikes
    assert 0 < expected.mean() < 1
    assert torch.equal(pool(Signal(spikes, None)).spikes, expected)
