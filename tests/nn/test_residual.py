"""The paper's claims about residual connections (Section 3.2.1)."""

import math

import pytest
import torch
from torch import nn

from sresnet.errors import UserError
from sresnet.nn import (
    ForwardState,
    LayerRecord,
    NeuronConfig,
    NormConfig,
    Readout,
    Recorder,
    ResidualBlock,
    Signal,
    Skip,
    SpikingLayer,
    TimeAveragedNorm,
    direct,
)
from sresnet.nn.graph import Ends
from sresnet.ops.scan import cpu
from sresnet.ops.surrogate import Triangle
from tests.ops.flat import lif, membrane

NUM_STEPS = 7


def block(connection, *, channels=4, neuron=None, **options):
    return ResidualBlock(
        channels,
        options.pop("out_channels", channels),
        norm=NormConfig(kind=options.pop("norm", "bntt"), num_steps=NUM_STEPS),
        neuron=neuron or NeuronConfig(),
        connection=connection,
        **options,
    )


def random_spikes(rate=0.5, channels=4):
    return (torch.rand(NUM_STEPS, 2, channels, 6, 6) < rate).float()


@pytest.mark.parametrize("fires_at_threshold", [False, True])
@pytest.mark.parametrize("connection", ["s2s", "s2m", "v2v"])
def test_zero_weight_block_is_an_identity(connection, fires_at_threshold):
    """S2S and V2V under both spike conditions, S2M under u >= threshold only."""
    neuron = NeuronConfig(fires_at_threshold=fires_at_threshold, leak=0.874)
    zero = block(connection, neuron=neuron).eval()
    nn.init.zeros_(zero.conv2.weight)
    current = torch.randn(NUM_STEPS, 2, 4, 6, 6) + 0.5
    spikes = lif(current, leak=0.874, fires_at_threshold=fires_at_threshold).spikes
    assert 0.1 < spikes.mean() < 0.9
    out = zero(Signal(spikes, current))
    identical = torch.equal(out.spikes, spikes)
    assert identical == (connection != "s2m" or fires_at_threshold)
    if connection == "v2v":
        assert torch.equal(out.current, current)


def test_zero_weight_s2m_block_under_the_strict_condition():
    """A spike charges the membrane to the threshold and no further: it fires only with what an earlier one left."""
    zero = block("s2m", channels=1, neuron=NeuronConfig(fires_at_threshold=False)).eval()
    nn.init.zeros_(zero.conv2.weight)
    spikes = torch.tensor([1.0, 1, 0, 1, 0, 0, 1]).view(NUM_STEPS, 1, 1, 1, 1)
    assert zero(Signal(spikes, spikes)).spikes.flatten().tolist() == [0, 1, 0, 1, 0, 0, 1]


def test_gradient_through_the_s2s_skip_is_one():
    """Eq. 11: with the learned path cut, d o / d o_in = 1 everywhere, whatever the surrogate says."""
    s2s = block("s2s").eval()
    nn.init.zeros_(s2s.conv1.weight)
    spikes = random_spikes().requires_grad_()
    weight = torch.randn(NUM_STEPS, 2, 4, 6, 6)
    (s2s(Signal(spikes, spikes)).spikes * weight).sum().backward()
    torch.testing.assert_close(spikes.grad, weight)


def test_gradient_through_the_s2m_skip_is_scaled_by_the_surrogate():
    """Eq. 9: the same through S2M is W' * do/du, summed over the steps that the potential lasts."""
    threshold, leak, surrogate = 1.2, 0.8, Triangle(height=0.6)
    neuron = NeuronConfig(threshold=threshold, leak=leak, surrogate=surrogate)
    s2m = block("s2m", neuron=neuron).eval()
    nn.init.zeros_(s2m.conv1.weight)
    spikes = random_spikes().requires_grad_()
    s2m(Signal(spikes, spikes)).spikes.sum().backward()
    u = membrane(threshold * spikes.detach(), leak=leak, threshold=threshold)
    slope = surrogate.derivative(u / threshold - 1)
    expected = torch.stack(
        [sum(threshold * leak ** (t - s) * slope[t] for t in range(s, NUM_STEPS)) for s in range(NUM_STEPS)]
    )
    torch.testing.assert_close(spikes.grad, expected)
    assert spikes.grad.max() < 4
    assert (spikes.grad != 1).all()


def test_gradient_along_the_v2v_stream_meets_no_surrogate():
    """Eqs. 15, 17: what one block hands to the next, r, depends on the incoming current with derivative 1."""
    v2v = block("v2v").eval()
    current = torch.randn(NUM_STEPS, 2, 4, 6, 6, requires_grad=True)
    out = v2v(Signal(random_spikes(), current))
    weight = torch.randn_like(out.current)
    (out.current * weight).sum().backward()
    torch.testing.assert_close(current.grad, weight)


def test_gradient_of_v2v_spikes_meets_the_surrogate_once():
    """Eq. 17: where spikes leave the stream, d o / d r is do/du, however many blocks the stream has come through."""
    leak, surrogate = 0.8, Triangle(height=0.6)
    blocks = [block("v2v", neuron=NeuronConfig(leak=leak, surrogate=surrogate)).eval() for _ in range(3)]
    current = torch.randn(NUM_STEPS, 2, 4, 6, 6, requires_grad=True)
    signal = Signal(random_spikes(), current)
    for v2v in blocks:
        nn.init.zeros_(v2v.conv2.weight)
        signal = v2v(signal)
    signal.spikes.sum().backward()
    slope = surrogate.derivative(membrane(current.detach(), leak=leak) - 1)
    expected = torch.stack([sum(leak ** (t - s) * slope[t] for t in range(s, NUM_STEPS)) for s in range(NUM_STEPS)])
    torch.testing.assert_close(current.grad, expected)


def test_the_v2v_stream_is_the_sum_of_all_currents_before():
    """Eq. 18: r of the last block is what the stem and every block before have added."""
    blocks = [block("v2v").eval() for _ in range(3)]
    first = torch.randn(NUM_STEPS, 2, 4, 6, 6)
    signal, added = Signal(random_spikes(), first), [first]
    for v2v in blocks:
        signal_after = v2v(signal)
        added.append(v2v(Signal(signal.spikes, torch.zeros_like(first))).current)
        signal = signal_after
    torch.testing.assert_close(signal.current, sum(added))


def test_bare_skip_is_the_convolution_alone():
    """Eq. 13: o = o' + W'' o_in."""
    bare = block("s2s", out_channels=8, stride=2, skip_norm=False).eval()
    plain = block("none", out_channels=8, stride=2).eval()
    plain.load_state_dict({k: v for k, v in bare.state_dict().items() if not k.startswith("skip")})
    signal = Signal(random_spikes(), random_spikes())
    skipped = torch.stack([nn.functional.conv2d(o, bare.skip.conv.weight, stride=2) for o in signal.spikes])
    torch.testing.assert_close(bare(signal).spikes, plain(signal).spikes + skipped)


def test_s2s_sums_are_integers_until_the_first_convolution_of_the_skip():
    spikes = random_spikes()
    first = block("s2s").eval()(Signal(spikes, spikes))
    assert torch.equal(first.spikes, first.spikes.round())
    assert first.spikes.max() == 2
    wider = block("s2s", out_channels=8, stride=2).eval()(first)
    assert wider.spikes.shape == (NUM_STEPS, 2, 8, 3, 3)
    assert not torch.equal(wider.spikes, wider.spikes.round())


@pytest.mark.parametrize(("skip", "neurons"), [("plain", 2), ("spiking", 3), ("tdbn", 2), ("learned", 2)])
def test_skips(skip, neurons):
    from sresnet.nn import Neuron

    wider = block("s2s", out_channels=8, stride=2, skip=skip, neuron=NeuronConfig(threshold=0.5)).train()
    assert sum(isinstance(module, Neuron) for module in wider.modules()) == neurons
    out = wider(Signal(random_spikes(), random_spikes()))
    binary = torch.equal(out.spikes, out.spikes.round())
    assert binary == (skip == "spiking")
    assert out.spikes.shape == (NUM_STEPS, 2, 8, 3, 3)


def test_learned_skip_starts_as_the_plain_one_and_learns():
    torch.manual_seed(1)
    plain = block("s2m", norm="none")
    torch.manual_seed(1)
    learned = block("s2m", norm="none", skip="learned")
    spikes = random_spikes()
    out = learned(Signal(spikes, spikes)).spikes
    assert torch.equal(out, plain(Signal(spikes, spikes)).spikes)
    out.sum().backward()
    assert learned.skip.weight.grad.abs().min() > 0


def test_tdbn_skip_weighs_identities_too():
    weighed = block("s2m", norm="tdbn", skip="tdbn", neuron=NeuronConfig(threshold=2.0)).train()
    assert weighed.skip.conv is None
    assert weighed.skip.norm.scale == pytest.approx(2.0 / 2**0.5)
    assert weighed.norm1.scale == pytest.approx(2.0)
    assert weighed.norm2.scale == pytest.approx(2.0 / 2**0.5)
    # Two branches of variance theta^2 / 2 each: their sum has the threshold for its deviation.
    signal = Signal(random_spikes(), None)
    branches = weighed.norm2(torch.randn(NUM_STEPS, 2, 4, 6, 6)), 2.0 * weighed.skip(Signal(signal.spikes, None)).spikes
    assert 1.3 < branches[0].std() < 1.5
    assert 2.6 < branches[1].std() < 3.0  # the skip's share is multiplied by the threshold once more


@pytest.mark.parametrize("given", [None, NormConfig(num_steps=4), NormConfig(num_steps=4, bias=True)], ids=str)
@pytest.mark.parametrize("out_channels", [4, 6])
def test_the_norm_of_a_tdbn_skip(out_channels, given):
    neuron = NeuronConfig(threshold=0.5)
    skip = Skip(4, out_channels, stride=1, kind="tdbn", norm=given, neuron=neuron, shared_leak=None)
    assert isinstance(skip.norm, TimeAveragedNorm)
    assert skip.norm.scale == pytest.approx(0.5 / math.sqrt(2))
    assert (skip.norm.bias is not None) == (given is not None and given.bias)


@pytest.mark.parametrize(("channels", "pick", "stride"), [(4, 2, 1), (7, 2, 1), (8, 1, 2)])
def test_skips_of_few_channels_pick_their_pixels_first(channels, pick, stride):
    skip = Skip(channels, 9, stride=2, kind="plain", norm=None, neuron=NeuronConfig(), shared_leak=None)
    assert (skip.pick, skip.conv.stride) == (pick, (stride, stride))
    x = random_spikes(channels=channels)
    expected = nn.functional.conv2d(x.flatten(0, 1), skip.conv.weight, stride=2).unflatten(0, x.shape[:2])
    torch.testing.assert_close(skip(Signal(x, None)).spikes, expected)


@pytest.mark.parametrize("connection", ["s2s", "s2m", "v2v", "none"])
def test_only_v2v_hands_its_current_on(connection):
    spikes = random_spikes()
    current = block(connection)(Signal(spikes, spikes)).current
    assert (current is not None) == (connection == "v2v")


@pytest.mark.parametrize("kind", ["lif", "relu"])
def test_a_record_tells_what_is_fired_from_what_is_sent(kind):
    both = block("s2s", neuron=NeuronConfig(kind=kind)).eval()
    x = Signal(random_spikes(), None)
    recorder = Recorder([both.neuron2])
    state = ForwardState(recorder=recorder)
    out = both(x, state).spikes
    record = recorder.records[both.neuron2]
    assert torch.equal(record.output, out)
    assert torch.equal(record.spikes + x.spikes, out)
    torch.testing.assert_close(both(x).spikes, out)


@pytest.mark.skipif(not cpu.available(), reason="no C++ compiler")
def test_spikes_are_kept_as_bits_for_the_backward_pass():
    """Of a stem and two s2s blocks, only the five convolutions' outputs are kept in full."""
    shared = {"norm": NormConfig(num_steps=NUM_STEPS), "neuron": NeuronConfig()}
    stem = SpikingLayer(3, 8, **shared)
    blocks = [block("s2s", channels=8) for _ in range(2)]
    assert kept_in_full(stem, *blocks) == 4  # that of the stem is of one step


@pytest.mark.skipif(not cpu.available(), reason="no C++ compiler")
def test_spikes_that_enter_a_skip_are_kept_as_bits():
    """Of a stem and a block with a 1x1 skip, the three outputs of the block's convolutions are kept in full."""
    stem = SpikingLayer(3, 8, norm=NormConfig(num_steps=NUM_STEPS), neuron=NeuronConfig())
    assert kept_in_full(stem, block("s2s", channels=8, out_channels=9)) == 3


def kept_in_full(stem, *blocks):
    """How many tensors as large as the stem's spikes are kept for the backward pass."""
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.setdefault(t.data_ptr(), t), lambda t: t):
        x = sent = stem(Signal(direct(torch.randn(2, 3, 6, 6), NUM_STEPS), None))
        for each in blocks:
            x = each(x)
    return sum(t.numel() * t.element_size() >= sent.spikes.numel() * 4 for t in kept.values())


def test_unknown_connections_and_skips():
    for options, words in (({"connection": "s2v"}, "connection 's2v'"), ({"skip": "spike"}, "skip 'spike'")):
        with pytest.raises(UserError, match=f"{words} is unknown"):
            block(**{"connection": "s2s"} | options)
    assert repr(block("s2m")).startswith("ResidualBlock(\n  s2m\n")


def test_what_fires():
    spikes = torch.tensor([0.0, 1.0, 0.5])
    assert LayerRecord(spikes, spikes, spikes).fired.tolist() == [False, True, True]


def test_blocks_fit_into_a_network_of_ones_own():
    class MyNetwork(nn.Module):
        def __init__(self):
            super().__init__()
            shared = {"norm": NormConfig(num_steps=4), "neuron": NeuronConfig(kind="plif", leak=0.5)}
            self.stem = SpikingLayer(3, 8, return_current=True, **shared)
            self.block = ResidualBlock(8, 16, stride=2, connection="v2v", **shared)
            self.readout = Readout(16, 10)

        def forward(self, x):
            x = direct(x, num_steps=4)
            return self.readout(self.block(self.stem(Signal(x, None))).spikes).mean(0)

    with pytest.raises(UserError, match="return_current=True"):
        block("v2v")(Signal(random_spikes(), None))
    network = MyNetwork()
    x = torch.randn(2, 3, 12, 12)
    assert network(x).shape == (2, 10)
    network(x).sum().backward()
    assert network.stem.neuron.leak_logit.grad is not None


@pytest.mark.parametrize("join", ["add", "and", "iand"])
def test_spikes_join_as_they_say(join):
    """Table 1 of Fang et al. 2021 (SEW): o + s, o AND s, (NOT o) AND s."""
    joined = block("s2s", join=join, neuron=NeuronConfig(threshold=0.2))
    x = Signal(random_spikes(), None)
    recorder = Recorder([joined.neuron2])
    sent = joined(x, ForwardState(recorder=recorder)).spikes
    record = recorder.records[joined.neuron2]
    own, skipped = record.spikes.bool(), x.spikes.bool()
    assert own.any()
    expected = {"add": own.float() + skipped, "and": own & skipped, "iand": ~own & skipped}[join]
    assert torch.equal(sent, expected.float())
    assert torch.equal(record.output, sent)
    assert torch.equal(joined(x).spikes, sent)


def test_skip_spikes_of_one_charge_the_membrane_by_one():
    neuron = NeuronConfig(threshold=0.3, leak=1.0)
    torch.manual_seed(1)
    scaled = block("s2m", neuron=neuron, norm="none")
    torch.manual_seed(1)
    plain = block("s2m", neuron=neuron, norm="none", skip_scale="one")
    x, membranes = Signal(random_spikes(), None), []
    for each in (scaled, plain):
        recorder = Recorder([each.neuron2])
        each(x, ForwardState(recorder=recorder))
        membranes.append(recorder.records[each.neuron2].membrane[0])
    torch.testing.assert_close(membranes[1] - membranes[0], 0.7 * x.spikes[0])


def test_a_skip_that_picks_every_second_pixel():
    picking = block("s2m", stride=2, skip="subsample", stride_at=2, skip_scale="one", norm="none")
    assert (picking.conv1.stride, picking.conv2.stride) == ((1, 1), (2, 2))
    assert [name for name, _ in picking.skip.named_parameters()] == []
    x = Signal(random_spikes(), None)
    assert torch.equal(picking.skip(x).spikes, x.spikes[..., ::2, ::2])
    assert picking(x).spikes.shape[-2:] == (3, 3)
    nodes, _ = picking.describe("b", Ends("x"))
    assert [(node.kind, node.every) for node in nodes if node.kind == "subsample"] == [("subsample", 2)]
    with pytest.raises(
        UserError, match=r"^skip 'subsample' has no convolution, and channels change from 4 to 8: [^\n]*$"
    ):
        block("s2m", stride=2, skip="subsample", out_channels=8)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"connection": "v2v", "join": "and"}, "join 'and' is of spikes"),
        ({"connection": "s2s", "skip_scale": "one"}, "skip_scale 'one' is of skip spikes on currents"),
        ({"connection": "s2s", "join": "or"}, "join 'or' is unknown"),
    ],
)
def test_what_does_not_go_together(fields, message):
    with pytest.raises(UserError, match=rf"^{message}[^\n]*: [^\n]*$"):
        block(**fields)
