import pytest
import torch
from torch import nn

from sresnet.errors import UserError
from sresnet.nn import (
    BNTT,
    ForwardState,
    Neuron,
    NeuronConfig,
    NormConfig,
    Pool,
    Readout,
    Signal,
    SpikingLayer,
    TimeAveragedNorm,
    conv,
    direct,
    make_norm,
    over_time,
    poisson,
    poisson_signed,
)


def test_over_time_applies_a_layer_to_every_step():
    layer = conv(3, 5, 3, stride=2)
    x = torch.randn(4, 2, 3, 9, 7)
    y = over_time(layer, x)
    assert y.shape == (4, 2, 5, 5, 4)
    for t in range(4):
        torch.testing.assert_close(y[t], layer(x[t]))


def test_constant_input_is_convolved_once():
    calls = []
    layer = conv(3, 5, 3)
    layer.register_forward_hook(lambda module, inputs, output: calls.append(inputs[0].shape))
    x = torch.randn(2, 3, 8, 8)
    once = over_time(layer, direct(x, 6))
    assert calls == [(2, 3, 8, 8)]
    assert once.shape == (6, 2, 5, 8, 8)
    torch.testing.assert_close(once, over_time(layer, direct(x, 6).contiguous()))


def test_convolutions_start_as_in_the_released_code():
    layer = conv(16, 32, 3)
    bound = 2 * (6 / (16 * 9 + 32 * 9)) ** 0.5
    assert layer.bias is None
    assert 0.98 * bound < layer.weight.abs().max() <= bound
    readout = Readout(64, 10).linear
    assert readout.bias is None
    bound = 2 * (6 / (64 + 10)) ** 0.5
    assert 0.95 * bound < readout.weight.abs().max() <= bound


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions_keep_the_size_or_divide_it_rounding_up(size, stride):
    assert conv(2, 3, size, stride)(torch.zeros(1, 2, 9, 8)).shape == (1, 3, -(-9 // stride), -(-8 // stride))


def spiking_layer(norm):
    layer = SpikingLayer(3, 5, norm=NormConfig(kind=norm, num_steps=4), neuron=NeuronConfig(), return_current=True)
    return layer.eval(), Signal(torch.randn(4, 2, 3, 6, 6, requires_grad=True), None)


HOOKS = ["forward_hook", "forward_pre_hook", "full_backward_hook", "full_backward_pre_hook"]


@pytest.mark.parametrize("hook", HOOKS)
def test_hooks_of_a_convolution_are_called(hook):
    layer, x = spiking_layer("bntt")
    plain, calls = layer(x), []
    getattr(layer.conv, f"register_{hook}")(lambda *_: calls.append(1))
    out = layer(x)
    out.current.sum().backward()
    assert calls == [1]
    torch.testing.assert_close(out.current, plain.current)
    assert torch.equal(out.spikes, plain.spikes)


def test_a_convolution_of_another_kind_is_called():
    class Doubled(nn.Conv2d):
        def forward(self, x):
            return 2 * super().forward(x)

    layer, x = spiking_layer("none")
    layer.conv = Doubled(3, 5, 3, padding=1, bias=False)
    torch.testing.assert_close(layer(x).current, over_time(layer.conv, x.spikes))


def test_voting_averages_ten_neurons_per_class():
    plain, boosted = Readout(6, 30), Readout(6, 3, boosting=True)
    boosted.linear.weight.data.copy_(plain.linear.weight)
    spikes = torch.rand(2, 4, 6, 5, 5)
    votes = plain(spikes)
    torch.testing.assert_close(boosted(spikes), votes.unflatten(-1, (3, 10)).mean(-1))
    torch.testing.assert_close(votes[1, 2], plain.linear.weight @ spikes[1, 2].mean((1, 2)))


@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pool_halves_rounding_up(kind):
    spikes = (torch.rand(2, 3, 4, 5, 7) < 0.5).float()
    out = Pool(kind)(Signal(spikes, spikes))
    assert out.spikes.shape == (2, 3, 4, 3, 4)
    assert torch.equal(out.spikes, out.spikes.round()) == (kind == "max")
    assert out.spikes[0, 0, 0, 2, 3] == spikes[0, 0, 0, 4, 6]  # a corner window holds one pixel
    current = torch.randn(2, 3, 4, 5, 7)
    assert Pool(kind)(Signal(spikes, current)).current[0, 0, 0, 2, 3] == current[0, 0, 0, 4, 6]


def test_poisson_rates():
    x = torch.tensor([-0.5, 0.0, 0.25, 0.75, 1.0, 1.5]).view(1, 1, 1, 6)
    rates = poisson(x, 4000).mean((0, 1, 2, 3))
    torch.testing.assert_close(rates, torch.tensor([0, 0, 0.25, 0.75, 1, 1]), atol=0.03, rtol=0)


def test_signed_poisson_rates():
    x = torch.tensor([-3.0, -1.0, 0.0, 0.5, 2.5]).view(1, 1, 1, 5)
    spikes = poisson_signed(x, 4000)
    assert set(spikes.unique().tolist()) <= {-1.0, 0.0, 1.0}
    rates = spikes.mean((0, 1, 2, 3))
    torch.testing.assert_close(rates, torch.tensor([-1, -0.5, 0, 0.25, 1]), atol=0.03, rtol=0)


def test_bntt_rows_follow_the_step():
    norm = BNTT(2, num_steps=5).eval()
    norm.weight.data.copy_(torch.arange(10.0).view(5, 2))
    x = torch.ones(2, 1, 2, 1, 1)
    torch.testing.assert_close(
        norm(x, ForwardState(first_step=3)).flatten(), torch.arange(6.0, 10.0), atol=1e-3, rtol=0
    )
    with pytest.raises(UserError, match="time step 6 has no norm"):
        norm(x, ForwardState(first_step=4))


def test_make_norm():
    assert isinstance(make_norm(NormConfig(kind="time-averaged"), 3), TimeAveragedNorm)
    assert make_norm(NormConfig(kind="time-averaged"), 3, tdbn_scale=0.5).scale == 1
    assert make_norm(NormConfig(kind="tdbn"), 3, tdbn_scale=0.5).scale == 0.5
    assert make_norm(NormConfig(bias=True), 3).bias is not None
    assert list(make_norm(NormConfig(kind="none"), 3).parameters()) == []
    with pytest.raises(UserError, match="norm 'bnt' is unknown: did you mean 'bntt'"):
        NormConfig(kind="bnt")


def test_norms_by_default():
    assert BNTT(3, num_steps=2).bias is None
    norm = TimeAveragedNorm(3)
    assert norm.bias is None
    assert norm.scale == 1


def test_norms_say_what_they_are():
    assert repr(BNTT(2, num_steps=5, bias=True)) == "BNTT(2, num_steps=5, bias=True)"
    assert repr(TimeAveragedNorm(3, scale=0.25)) == "TimeAveragedNorm(3, bias=False, scale=0.25)"


def test_neuron_kinds():
    assert Neuron(NeuronConfig(kind="if", leak=0.5)).leak() == 1
    assert Neuron(NeuronConfig(leak=0.5)).leak() == 0.5
    learned = Neuron(NeuronConfig(kind="plif", leak=0.3))
    assert learned.leak_value() == pytest.approx(0.3)
    learned(torch.rand(3, 5)).sum().backward()
    assert learned.leak_logit.grad is not None
    with pytest.raises(UserError, match="no shared_leak"):
        Neuron(NeuronConfig(kind="plif-shared"))
    with pytest.raises(UserError, match="neuron 'liff' is unknown: did you mean 'lif'"):
        NeuronConfig(kind="liff")
    assert "plif, leak=0.3" in repr(learned)
    assert "num_steps=5" in repr(BNTT(2, num_steps=5))
    assert isinstance(learned, nn.Module)
