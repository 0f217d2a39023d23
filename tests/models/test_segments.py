"""Time segments: the same losses, gradients and averages as without, whatever the network, and refusals in a line."""

import contextlib
import itertools
import subprocess
import sys
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import sresnet
from sresnet import StreamState, UserError
from sresnet.models import segments
from sresnet.models.int8 import to_int8
from sresnet.models.segments import _even_lengths, _height_of, _lengths_of, free_segments, segments_within
from sresnet.nn import register_neuron, register_norm
from sresnet.nn.encoder import EncoderKind
from sresnet.nn.state import ForwardState
from sresnet.ops.conv_bntt_lif import operator
from sresnet.ops.dispatch import implementation

T = 5
LABELS = torch.tensor([1, 0, 3])


def network(dtype=torch.float64, seed=0, **fields):
    torch.manual_seed(seed)
    fields = {"base_filters": 2, "num_steps": T, "num_classes": 4, "surrogate_height": 1.0} | fields
    return sresnet.create_model("sresnet8", **fields).to(dtype).train()


def everything(model, x, time_segments, *, engine="fastest", bf16=False):
    """Loss, gradients of parameters and input, and statistics after one training step."""
    x = x.clone().requires_grad_()
    torch.manual_seed(7)
    with implementation(engine), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        scores = model(x, time_segments=time_segments)
        loss = F.cross_entropy(scores if not bf16 else scores.float(), LABELS)
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters()} | {"x": x.grad}
    return loss.detach(), gradients, dict(model.named_buffers())


def compare(fields, x, time_segments, *, dtype=torch.float64, engine="fastest", bf16=False, tolerance=1e-12):
    whole = everything(network(dtype, **fields), x, (), engine=engine, bf16=bf16)
    parts = everything(network(dtype, **fields), x, time_segments, engine=engine, bf16=bf16)
    torch.testing.assert_close(parts[0], whole[0], rtol=tolerance, atol=0)
    for name, gradient in whole[1].items():
        if gradient is None:
            assert parts[1][name] is None
        else:
            scale = float(gradient.abs().max())
            torch.testing.assert_close(parts[1][name], gradient, rtol=0, atol=tolerance * scale + 1e-30, msg=name)
    for name, buffer in whole[2].items():
        torch.testing.assert_close(
            parts[2][name], buffer, rtol=min(tolerance, 1e-5), atol=min(tolerance, 1e-6), msg=name
        )


CONNECTIONS = ("s2s", "s2m", "v2v", "none")
ENGINES = ("fastest", "low-memory", "reference")
NEURONS = ("lif", "if", "plif", "plif-shared", "relu")


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    connection=st.sampled_from(CONNECTIONS),
    neuron=st.sampled_from(NEURONS),
    norm=st.sampled_from(["bntt", "none"]),
    encoder=st.sampled_from(["direct", "poisson", "poisson-signed", "frames"]),
    time_segments=st.sampled_from([1, 2, T, (2, 2), (3, 2), (2, 1, 5)]),
    skip=st.sampled_from(["plain", "learned"]),
    norm_bias=st.booleans(),
    boosting=st.booleans(),
    detach_reset=st.booleans(),
)
def test_segments_change_nothing(encoder, time_segments, **fields):
    torch.manual_seed(1)
    frames = encoder == "frames"
    x = torch.rand(3, T, 3, 9, 7, dtype=torch.float64) if frames else torch.rand(3, 3, 9, 7, dtype=torch.float64)
    compare(fields | {"encoder": "direct" if frames else encoder}, x, time_segments)


NORMS = ("bntt", "per-step", "none")
READOUTS = ("potential", "leaky", "spikes")


@pytest.mark.parametrize("time_segments", [1, 2, T])
@pytest.mark.parametrize("encoder", [*get_args(EncoderKind), "frames"])
def test_every_kind_in_one_two_and_all_parts(encoder, time_segments):
    """Each connection with each neuron, and each of both with each encoder; norms and readouts in turn."""
    torch.manual_seed(1)
    frames = encoder in ("frames", "delta")
    x = torch.rand(3, *[T] * frames, 3, 6, 5, dtype=torch.float64)
    for number, (neuron, connection) in enumerate(itertools.product(NEURONS, CONNECTIONS)):
        fields = {"connection": connection, "neuron": neuron, "norm": NORMS[number % 3]}
        readout = "potential" if neuron == "relu" else READOUTS[number // 3 % 3]
        compare(
            fields | {"encoder": "direct" if encoder == "frames" else encoder, "readout": readout}, x, time_segments
        )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("bf16", "tolerance"), [(False, 2e-5), (True, 4e-2)])
@pytest.mark.parametrize("encoder", ["direct", "poisson"])
def test_engines_and_precisions(engine, bf16, tolerance, encoder):
    torch.manual_seed(1)
    x = torch.rand(3, 3, 9, 7)
    for connection, time_segments in itertools.product(CONNECTIONS, (1, 2, T, (2, 2))):
        fields = {"connection": connection, "neuron": "plif", "encoder": encoder, "num_steps": T}
        compare(fields, x, time_segments, dtype=torch.float32, engine=engine, bf16=bf16, tolerance=tolerance)


def test_vgg_and_pools():
    torch.manual_seed(1)
    x = torch.rand(3, 3, 16, 16, dtype=torch.float64)

    def make():
        torch.manual_seed(0)
        return sresnet.create_model("vgg11", width=0.03, hidden=5, num_steps=T, num_classes=4).double().train()

    whole, parts = everything(make(), x, ()), everything(make(), x, 2)
    assert whole[0] == parts[0]
    for name, gradient in whole[1].items():
        torch.testing.assert_close(parts[1][name], gradient, rtol=1e-10, atol=1e-14)


def test_an_average_over_all_batches_counts_each_once():
    model = network()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    x = torch.rand(3, 3, 8, 8, dtype=torch.float64)
    everything(model, x, 2)
    first = {name: buffer.clone() for name, buffer in model.named_buffers()}
    everything(model, x, 2)  # the same weights: the mean of two equal batches
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(buffer, first[name])


def test_the_stem_convolves_an_image_once():
    model, calls = network(), []
    model.layers["stem"].conv.register_forward_hook(lambda *_: calls.append(1))
    everything(model, torch.rand(3, 3, 8, 8, dtype=torch.float64), T)
    assert len(calls) == 1


def test_memory_kept_between_the_passes(monkeypatch):
    """What autograd keeps of a step: potentials at the ends of segments, and the last segment."""

    def kept(time_segments):
        model, sizes = network(num_steps=40).train(), {}

        def pack(tensor):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(torch.rand(2, 3, 16, 16, dtype=torch.float64), time_segments=time_segments)
        return sum(sizes.values())

    assert kept(8) < kept(()) / 4


def test_potentials_that_nobody_asks_for_are_dropped(monkeypatch):
    """Those behind the last segment, unless a stream goes on, and those behind what is computed again."""
    kept, leaves = [], ForwardState.leaves

    def watched(self, neurons, v):
        leaves(self, neurons, v)
        if self.v.get(neurons) is v:
            kept.append(self.again)

    monkeypatch.setattr(ForwardState, "leaves", watched)
    model, x = network(), torch.rand(3, T, 3, 8, 8, dtype=torch.float64)
    loss = model(x, time_segments=3).sum()
    assert kept == 2 * 7 * [False]
    loss.backward()
    assert len(kept) == 2 * 7
    kept.clear()
    scores, _ = model(x, state=StreamState(), time_segments=(2, 2))  # 3 and 2 steps: 2, 1 and 1, 1
    assert kept == 4 * 7 * [False]
    scores.sum().backward()
    assert kept[4 * 7 :] == 7 * [True]  # between the first two, computed again


def test_gradients_without_the_input_and_of_frozen_layers():
    model = network()
    model.freeze_backbone()
    model.train()
    F.cross_entropy(model(torch.rand(3, 3, 8, 8, dtype=torch.float64), time_segments=2), LABELS).backward()
    assert [name for name, p in model.named_parameters() if p.grad is not None] == ["readout.linear.weight"]


def test_backward_twice_with_a_kept_graph():
    model = network()
    loss = F.cross_entropy(model(torch.rand(3, 3, 8, 8, dtype=torch.float64), time_segments=(2, 2)), LABELS)
    loss.backward(retain_graph=True)
    once = {name: p.grad.clone() for name, p in model.named_parameters()}
    loss.backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, 2 * once[name])


def test_a_network_that_has_changed_is_refused():
    model = network()
    x = torch.rand(3, 3, 8, 8, dtype=torch.float64)
    loss = model(x, time_segments=2).sum()
    with torch.no_grad():
        model.layers["stem"].conv.weight.mul_(2)
    with pytest.raises(UserError, match=r"have changed since the forward pass"):
        loss.backward()
    loss = model(x, time_segments=2).sum()
    model.eval()
    with pytest.raises(UserError, match=r"call backward\(\) before"):
        loss.backward()


def test_backward_runs_the_engine_of_the_forward_pass(monkeypatch):
    model, chosen = network(torch.float32), []
    run = segments.run_segments
    monkeypatch.setattr(
        segments, "run_segments", lambda *given: (chosen.append(segments.chosen_implementation()), run(*given))[1]
    )
    with implementation("reference"):
        loss = model(torch.rand(3, 3, 8, 8), time_segments=2).sum()
    chosen.clear()
    loss.backward()
    assert chosen
    assert set(chosen) == {"reference"}


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # by torch, about torch
def test_a_compiled_network():
    model, x = network(torch.float32), torch.rand(3, 3, 8, 8)
    compiled = torch.compile(network(torch.float32), backend="eager")
    compiled(x, time_segments=2).sum().backward()
    model(x).sum().backward()
    for found, expected in zip(compiled.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-4, atol=1e-5)
    torch.compiler.reset()


def test_weights_that_are_there_for_the_forward_pass_alone_are_refused():
    model, x = network(), torch.rand(3, 3, 8, 8, dtype=torch.float64)
    given = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    loss = torch.func.functional_call(model, given, (x,), {"time_segments": 2}).sum()
    with pytest.raises(UserError, match="functional_call"):
        loss.backward()
    with pytest.raises(UserError, match=r"transforms of torch\.func do not know them"):
        torch.func.grad(lambda x: model(x, time_segments=2).sum())(x)


@pytest.mark.parametrize(
    ("fields", "time_segments", "words"),
    [
        ({}, None, r"None is no number of segments: give one, such as 8"),
        ({}, "auto", r"'auto' is no number"),
        ({}, 2.0, r"2\.0 is no number"),
        ({}, 0, r"time_segments has 0, which is below 1"),
        ({}, (2, -1), r"time_segments has -1, which"),
        ({"norm": "time-averaged"}, 2, r"stem\.norm takes its statistics over all time steps.*use norm 'bntt'"),
        ({"skip": "tdbn"}, 2, r"skip\.norm takes its statistics over all"),
    ],
)
def test_refusals(fields, time_segments, words):
    with pytest.raises(UserError, match=words) as error:
        network(**fields)(torch.rand(3, 3, 8, 8, dtype=torch.float64), time_segments=time_segments)
    assert "\n" not in str(error.value)


def test_norms_over_time_may_be_divided_in_evaluation():
    model = network(norm="time-averaged").eval()
    x = torch.rand(3, 3, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(model(x, time_segments=2), model(x))


def test_record_keeps_everything():
    with pytest.raises(UserError, match=r"record keeps all time steps"):
        network()(torch.rand(1, 3, 8, 8, dtype=torch.float64), record=["stem.neuron"], time_segments=2)


class Counting(nn.Module):
    """A norm with a number of its own, and a random one."""

    def __init__(self, per_step):
        super().__init__()
        self.per_step = per_step
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x, first_step):
        self.calls += x.shape[0]
        return F.dropout(x, 0.5)


def test_norms_and_neurons_of_your_own():
    register_norm("counting", lambda config, channels: Counting(True))
    register_norm("all-at-once", lambda config, channels: Counting(False))

    def soft(config):
        def steps(current, v):
            v, spikes = torch.zeros_like(current[0]) if v is None else v, []
            for x in current:
                v = 0.5 * v + x
                spikes.append(torch.sigmoid(v))
            return torch.stack(spikes), v

        return steps

    register_neuron("soft-segments", soft)
    x = torch.rand(3, 3, 8, 8, dtype=torch.float64)
    model = network(norm="counting")
    everything(model, x, (2, 2))
    assert {float(buffer) for name, buffer in model.named_buffers() if name.endswith("calls")} == {T}
    with pytest.raises(UserError, match=r"stem\.norm is a norm of your own.*per_step = True"):
        network(norm="all-at-once")(x, time_segments=2)
    compare({"neuron": "soft-segments"}, x, 2)


def test_random_numbers_of_layers_are_drawn_again():
    """The gradient of the weights knows the mask of the forward pass: a step along it is what it says."""
    register_norm("counting", lambda config, channels: Counting(True))
    model, x = network(norm="counting", neuron="relu"), torch.rand(3, 3, 8, 8, dtype=torch.float64)
    weight = model.layers["stage1_block1"].conv1.weight

    def loss():
        torch.manual_seed(3)
        return model(x, time_segments=(2, 2)).square().sum()

    (gradient,) = torch.autograd.grad(loss(), [weight])
    direction = torch.randn_like(weight)
    direction /= direction.norm()
    with torch.no_grad():
        before = weight.clone()
        weight.copy_(before + 1e-6 * direction)
    up = loss().detach()  # with gradients: without, segments are of other lengths, and so are the masks
    with torch.no_grad():
        weight.copy_(before - 1e-6 * direction)
    down = loss().detach()
    assert float((up - down) / 2e-6) == pytest.approx(float((gradient * direction).sum()), rel=1e-5)


# Without gradients


def test_inference_goes_in_segments_by_itself(monkeypatch):
    model = network(torch.float32, num_steps=60).eval()
    x = torch.rand(12, 3, 8, 8)
    monkeypatch.setattr(segments, "_IMAGES_AT_ONCE", 10**9)
    with torch.no_grad():
        whole = model.forward_steps(x)
    monkeypatch.undo()
    seen = []
    run = segments.run_segments
    monkeypatch.setattr("sresnet.models.network.run_segments", lambda *given: (seen.append(given[3]), run(*given))[1])
    with torch.inference_mode():
        parts = model.forward_steps(x)
    assert seen == [(2,)]
    torch.testing.assert_close(parts, whole)
    model(x)  # with gradients
    assert len(seen) == 1


@pytest.mark.parametrize(("bf16", "tolerance"), [(False, 2e-5), (True, 4e-2)])
@pytest.mark.parametrize("connection", CONNECTIONS)
def test_low_memory_training_goes_in_segments_that_are_computed_once(connection, bf16, tolerance, monkeypatch):
    torch.manual_seed(1)
    x, fields = torch.rand(3, 3, 9, 7), {"connection": connection, "neuron": "plif", "num_steps": 9}
    monkeypatch.setattr(segments, "_IMAGES_AT_ONCE", 9)
    lengths, convolve = [], operator._convolve
    monkeypatch.setattr(operator, "_convolve", lambda *given: lengths.append(len(given[0])) or convolve(*given))
    whole = everything(network(torch.float32, **fields), x, (), bf16=bf16)
    convolutions = lengths.count(9)
    lengths.clear()
    parts = everything(network(torch.float32, **fields), x, (), engine="low-memory", bf16=bf16)
    assert lengths.count(3) == 6 * convolutions  # three segments, there and back
    assert set(lengths) == {1, 3}  # 1: the image of all steps, behind the stem's convolution
    for ours, theirs in zip(parts, whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("norm", ["bntt", "time-averaged"])
def test_which_low_memory_training_goes_in_segments(norm):
    model = network(torch.float32, num_steps=60, norm=norm)
    for name in ENGINES:
        with implementation(name):
            whole = () if norm == "time-averaged" or name != "low-memory" else (2,)
            assert free_segments(model.layers, 12, 60) == whole
    with implementation("low-memory"):
        spikes = network(torch.float32, num_steps=60, reset="zero", gradient="spike-based")
        assert free_segments(spikes.layers, 12, 60) == ()
        assert free_segments(spikes.eval().layers, 12, 60) == (2,)


def images_seen(model, x, **options):
    """Scores, and how many images went through the layers together each time."""
    seen, features = [], model.forward_features
    model.forward_features = lambda x, **others: (seen.append(len(x)), features(x, **others))[1]
    scores = model(x, **options)
    del model.forward_features
    return scores, seen


@pytest.mark.parametrize("frames", [False, True])
def test_inference_takes_a_few_images_at_a_time(frames, monkeypatch):
    monkeypatch.setattr(segments, "_PIXELS_AT_ONCE", 3 * T * 9 * 7 + 1)
    model, x = network(torch.float32).eval(), torch.rand(8, *[T] * frames, 3, 9, 7)
    whole, seen = images_seen(model, x)  # with gradients
    assert seen == [8]
    with torch.no_grad():
        parts, seen = images_seen(model, x)
        assert seen == [3, 3, 2]
        torch.testing.assert_close(parts, whole)
        assert images_seen(model, x[:3])[1] == [3]
        assert images_seen(model, x, num_steps=1)[1] == [8]
        monkeypatch.setattr(segments, "_PIXELS_AT_ONCE", 1)
        assert images_seen(model, x[:2])[1] == [1, 1]


def test_which_inference_takes_all_images_at_once(monkeypatch):
    monkeypatch.setattr(segments, "_PIXELS_AT_ONCE", 1)
    x = torch.rand(4, 3, 8, 8)
    with torch.no_grad():
        assert images_seen(network(torch.float32), x)[1] == [4]  # statistics are those of the batch
        assert images_seen(network(torch.float32, encoder="poisson").eval(), x)[1] == [4]
        model = network(torch.float32).eval()
        assert images_seen(model, x, state=StreamState())[1] == [4]
        assert images_seen(model, x, time_segments=T)[1] == [4] * T
        assert images_seen(model, x[:0])[1] == [0]
        handle = model.readout.linear.register_forward_hook(lambda *_: None)
        assert images_seen(model, x)[1] == [4]
        handle.remove()
        assert images_seen(model, x)[1] == [1, 1, 1, 1]


def test_eight_bits_are_used_in_segments_too():
    model = network(torch.float32, base_filters=8)
    x = torch.rand(4, 3, 8, 8)
    model(x)
    model = to_int8(model.eval())
    with torch.no_grad():
        torch.testing.assert_close(model.forward_steps(x, time_segments=2), model.forward_steps(x))


@torch.no_grad()
def test_hooks_see_all_steps_at_once():
    model, shapes = network(torch.float32, num_steps=60).eval(), []
    handle = model.layers["stage1_block1"].conv1.register_forward_hook(lambda m, i, o: shapes.append(o.shape[0]))
    model(torch.rand(12, 3, 8, 8))
    assert shapes == [720]
    handle.remove()
    assert free_segments(model.layers, 12, 60) == (2,)
    model.layers["stage1_block1"].conv1 = type("Own", (nn.Conv2d,), {"__module__": "elsewhere"})(2, 2, 3)
    assert free_segments(model.layers, 12, 60) == ()


@pytest.mark.parametrize("fields", [{"norm": "time-averaged"}, {"skip": "tdbn"}])
@torch.no_grad()
def test_statistics_over_time_are_taken_at_once(fields):
    model = network(**fields)
    assert free_segments(model.layers, 100, 60) == ()
    assert free_segments(model.eval().layers, 100, 60) != ()


# Streams


@pytest.mark.parametrize("neuron", ["lif", "plif", "relu"])
@pytest.mark.parametrize("time_segments", [(), 2])
def test_a_stream_in_chunks(neuron, time_segments):
    model = network(num_steps=7, neuron=neuron, norm="bntt")
    frames = torch.rand(3, 7, 3, 8, 8, dtype=torch.float64)
    state, seen = StreamState(), 0
    for first, last in itertools.pairwise((0, 3, 4, 7)):
        scores, state = model(frames[:, first:last], state=state, time_segments=time_segments)
        seen += last - first
        torch.testing.assert_close(scores, model(frames, num_steps=seen))
        assert state.steps == seen
    with pytest.raises(UserError, match="record and state"):
        model(frames, state=state, record=["stem.neuron"])


def test_gradients_flow_through_the_state_and_end_where_it_is_detached():
    model = network(num_steps=6)
    frames = torch.rand(3, 6, 3, 8, 8, dtype=torch.float64)

    def gradient(detached):
        _, state = model(frames[:, :3], state=StreamState())
        scores, _ = model(frames[:, 3:], state=state.detach() if detached else state)
        (found,) = torch.autograd.grad(F.cross_entropy(scores, LABELS), [model.layers["stem"].norm.weight])
        return found

    (whole,) = torch.autograd.grad(F.cross_entropy(model(frames), LABELS), [model.layers["stem"].norm.weight])
    torch.testing.assert_close(gradient(False), whole)
    cut = gradient(True)
    assert (cut[:3] == 0).all()
    assert (cut[3:] != 0).any()


def test_the_state_of_some_samples():
    model = network()
    _, state = model(torch.rand(3, 2, 3, 8, 8, dtype=torch.float64), state=StreamState())
    _, state = model(torch.rand(2, 1, 3, 8, 8, dtype=torch.float64), state=state.of(torch.tensor([0, 2])))
    assert state.steps == 3


# How many


@given(count=st.integers(1, 60), number=st.integers(1, 80))
def test_parts_without_a_backward_pass_are_as_even_as_can_be(count, number):
    lengths = _even_lengths(count, number)
    assert sum(lengths) == count
    assert len(lengths) == min(number, count)
    assert max(lengths) - min(lengths) <= 1


def highest(count, numbers, end):
    """Of the memory of every segment, as the docstring of the file counts it; and how many steps each has."""
    if not numbers:
        return count, [count]
    found = [highest(each, numbers[1:], end) for each in _lengths_of(count, numbers, end)]
    return max(end * i + height for i, (height, _) in enumerate(found)), [n for _, each in found for n in each]


@given(
    count=st.integers(1, 60),
    numbers=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    end=st.floats(0.0, 3.0),
)
def test_parts_with_a_backward_pass_take_the_same_memory(count, numbers, end):
    numbers = tuple(numbers)
    height, lengths = highest(count, numbers, end)
    assert sum(lengths) == count
    assert min(lengths) >= 1
    assert len(_lengths_of(count, numbers, end)) == min(numbers[0], count)
    assert height == _height_of(count, numbers, end)
    even = _even_lengths(count, numbers[0])
    if len(numbers) == 1:
        assert height <= max(end * i + each for i, each in enumerate(even)) + 0.02  # what the search leaves


@pytest.mark.parametrize(
    ("count", "numbers", "end", "lengths"),
    [
        (50, (5,), 1.0, [12, 11, 10, 9, 8]),
        (50, (5,), 0.0, [10, 10, 10, 10, 10]),
        (16, (2, 2), 2.0, [6, 4, 4, 2]),
        (3, (9,), 1.0, [1, 1, 1]),
    ],
)
def test_the_earlier_a_part_the_longer(count, numbers, end, lengths):
    """An end that weighs two steps leaves two fewer to each part behind it: 6, 4, 4 and, behind two, 2."""
    assert highest(count, numbers, end)[1] == lengths


@given(
    limit=st.floats(1e6, 1e12),
    neurons=st.integers(1, 10**9),
    steps=st.integers(1, 200),
    precision=st.sampled_from(["fp32", "bf16"]),
)
def test_the_cheapest_division_that_fits(limit, neurons, steps, precision):
    step = segments._STEP_BYTES[precision]

    def size(found):
        return neurons * (step * _height_of(steps, found, 4 / step) + (4 if found else 0))

    tried = [(), *((number,) * levels for levels in (1, 2, 3, 4) for number in (2, 3, 5))]
    if any(size(each) <= limit for each in tried):
        found = segments_within(limit, neurons, steps, precision)
    else:
        with contextlib.suppress(UserError):
            segments_within(limit, neurons, steps, precision)
        return
    assert size(found) <= limit
    if found:
        assert size(()) > limit
        assert found[0] == 2 or size((found[0] - 1,) * len(found)) > limit


def test_a_long_training_fits_by_nesting_where_one_level_does_not():
    """T = 400 in float32, a million neurons: one level takes 140 bytes each and more."""
    assert segments_within(250e6, 10**6, 400, "fp32") == (11,)
    assert segments_within(100e6, 10**6, 400, "fp32") == (6, 6)
    with pytest.raises(UserError, match="takes 0.0"):
        segments_within(20e6, 10**6, 400, "fp32")


LIMITED = """
import resource, sys
import torch
import torch.nn.functional as F
import sresnet

model = sresnet.create_model("sresnet8", base_filters=16, num_steps=400).train()
model(torch.randn(2, 3, 32, 32), num_steps=1).sum().backward()  # what comes once: kernels, threads
resource.setrlimit(resource.RLIMIT_DATA, (2 * 10**9, 2 * 10**9))
segments = int(sys.argv[1])
loss = F.cross_entropy(model(torch.randn(32, 3, 32, 32), time_segments=segments or ()), torch.zeros(32).long())
loss.backward()
print(float(loss))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="setrlimit counts memory only there")
def test_four_hundred_steps_fit_in_two_gigabytes():
    def run(number):
        return subprocess.run([sys.executable, "-c", LIMITED, str(number)], capture_output=True, text=True, check=False)

    assert run(20).returncode == 0
    whole = run(0)
    assert whole.returncode != 0
    assert "allocate" in whole.stderr
