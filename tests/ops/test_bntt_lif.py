"""The native op against its reference in float64, which no rounding disturbs."""

import math
from pathlib import Path

import pytest
import torch

from sresnet.errors import UserError
from sresnet.ops import bntt_lif as typed
from sresnet.ops.dispatch import implementation
from sresnet.ops.lif.reference import membrane_reference
from sresnet.ops.neuron import LIFConstants
from sresnet.ops.norm import NormState
from sresnet.ops.scan import cpu
from sresnet.ops.scan.rows import as_rows
from sresnet.ops.surrogate import ArcTan, FastSigmoid, Gaussian, Rectangle, Sigmoid, Triangle
from tests.ops.flat import batch_norm, bntt_lif

SURROGATES = [
    Triangle(),
    Rectangle(height=0.8),
    ArcTan(height=1.2),
    Triangle(height=1.3, width=0.7, center=0.2),
    Rectangle(width=0.8, center=0.3),
    ArcTan(center=0.0),
    Sigmoid(),
    Sigmoid(height=0.7, width=0.02, center=0.3),
    FastSigmoid(),
    FastSigmoid(height=1.4, width=0.9, center=0.0),
    Gaussian(),
    Gaussian(height=0.6, width=0.05, center=0.4),
]
EVERYTHING = {
    "beta": True,
    "residual_current": True,
    "residual_spikes": True,
    "v": True,
    "learned_leak": True,
    "return_current": True,
}
MARGIN = 2e-5
PAPER = Triangle()


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch):
    """Fresh memory holds NaN, so whatever the kernel leaves unwritten shows."""
    for owner, name in ((torch, "empty"), (torch, "empty_like"), (torch.Tensor, "new_empty")):
        original = getattr(owner, name)

        def poisoned(*args, original=original, **kwargs):
            tensor = original(*args, **kwargs)
            return tensor.fill_(math.nan) if tensor.is_floating_point() else tensor

        monkeypatch.setattr(owner, name, poisoned)
    assert torch.empty(3).isnan().all()
    assert torch.zeros(3).new_empty(2).isnan().all()


@pytest.fixture(autouse=True)
def _native():
    if not cpu.available():
        pytest.skip("no C++ compiler")


def made(shape, seed, *, norm="per step", dtype=torch.float32, layout="rows", one_step=False, **given):
    """Inputs of one call, and gradients of what it gives."""
    draw = torch.Generator().manual_seed(seed)
    T, N, C, H, W = shape

    def stream(steps, dtype=dtype):
        x = torch.randn(steps, N, H, W, C, generator=draw).to(dtype).movedim(-1, -3)
        return x.contiguous() if layout == "contiguous" else x

    steps = (T, C) if norm == "per step" else (C,)
    inputs = {"x": stream(1 if one_step else T)}
    if norm != "none":
        inputs["x"] = inputs["x"] * 2 + 3
        inputs["gamma"] = torch.rand(steps, generator=draw) + 0.5
        inputs["running_mean"] = 3 + 0.1 * torch.randn(steps, generator=draw)
        inputs["running_var"] = torch.rand(steps, generator=draw) + 3.5
    if one_step == "expanded":
        inputs["x"] = inputs["x"].expand(T, N, C, H, W)
    if given.get("beta") and norm != "none":
        inputs["beta"] = torch.randn(steps, generator=draw) * 0.3
    for name in ("residual_current", "residual_spikes"):
        if given.get(name):
            inputs[name] = stream(T)
    if given.get("v"):
        inputs["v"] = stream(1, torch.float32)[0] * 0.5
    inputs["leak"] = torch.tensor(0.8) if given.get("learned_leak") else 0.8
    gradients = [stream(T), stream(T), stream(1, torch.float32)[0]]
    return inputs, gradients[:1] + (gradients[1:2] if given.get("return_current") else []) + gradients[2:]


def leaves(inputs):
    """Inputs of a call, all tensors copied, and those that take a gradient: of an expanded x the image under it."""
    inputs, tensors = dict(inputs), {}
    for name, value in inputs.items():
        if not isinstance(value, torch.Tensor):
            continue
        expanded = name == "x" and len(value) > 1 and value.stride(0) == 0
        tensors[name] = (value[0] if expanded else value).detach().clone()
        if "running" not in name:
            tensors[name].requires_grad_()
        inputs[name] = tensors[name].expand_as(value) if expanded else tensors[name]
    return inputs, {name: tensor for name, tensor in tensors.items() if tensor.requires_grad}


def run(inputs, gradients, **constants):
    """Everything that a call gives, and every gradient, by name."""
    inputs, tensors = leaves(inputs)
    out = bntt_lif(**inputs, **constants)
    wanted = [each for each in out if each is not None]
    gradients = [g.to(o.dtype) for o, g in zip(wanted, gradients, strict=True)]
    grads = torch.autograd.grad(wanted, [*tensors.values()], gradients)
    result = dict(zip(("output", "current", "v_last"), out, strict=True))
    result |= {f"d {name}": grad for name, grad in zip(tensors, grads, strict=True)}
    return result | {name: inputs[name] for name in ("running_mean", "running_var") if name in inputs}


def exact(inputs, gradients, **constants):
    """The same by the reference in float64."""
    wide = {k: v.detach().double() if isinstance(v, torch.Tensor) else v for k, v in inputs.items()}
    with implementation("reference"):
        return run(wide, [g.double() for g in gradients], **constants)


def margin(inputs, **constants):
    """The least distance of a potential from where rounding changes what a neuron does."""
    wide = {k: v.detach().double() if isinstance(v, torch.Tensor) else v for k, v in inputs.items()}
    constants = constants | {"return_current": True}
    with implementation("reference"):
        current = bntt_lif(**wide, **constants).current
    threshold, surrogate = constants.get("threshold", 1.0), constants.get("surrogate", Triangle())
    fires_at_threshold = constants.get("fires_at_threshold", False)
    spiking = {"surrogate": surrogate, "threshold": threshold, "fires_at_threshold": fires_at_threshold}
    neuron = LIFConstants(leak=wide["leak"], **spiking)
    u = membrane_reference(current, neuron, wide.get("v"))
    edges = [threshold]
    if isinstance(surrogate, Rectangle):
        edges += [threshold * (surrogate.center + side * surrogate.width) for side in (-1, 1)]
    return min((u - edge).abs().min().item() for edge in edges)


def made_safe(shape, *, options=None, **constants):
    """Inputs of which no potential comes near an edge; what is wrong then cannot be rounding."""
    for seed in range(200):
        inputs, gradients = made(shape, seed, **(options or {}))
        if margin(inputs, **constants) > MARGIN:
            return inputs, gradients
    raise AssertionError("no safe inputs found: use a smaller shape")


ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 2**-8, torch.float16: 2**-11}
"""How far a result may be off, of its largest value, by the type that it is stored in."""


def check(shape, options=None, *, run=run, rounding=ROUNDING, **constants):
    """The op equals the reference in whatever it gives; in a half as far as storing the result allows."""
    options = options or {}
    if options.get("return_current"):
        constants["return_current"] = True
    inputs, gradients = made_safe(shape, options=options, **constants)
    ours, theirs = run(inputs, gradients, **constants), exact(inputs, gradients, **constants)
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        if expected is None:
            assert ours[name] is None
            continue
        if name == "d x" and options.get("one_step") == "expanded":
            expected = expected.sum(0)
        assert ours[name].shape == expected.shape, name
        assert ours[name].isfinite().all(), name
        # The gradient of x passes through a half twice, and what the first time rounds is partly cancelled later.
        twice = name == "d x" and ours[name].dtype != torch.float32
        tolerance = rounding[ours[name].dtype] * (4 if twice else 1)
        scale = expected.abs().max().item()
        if name == "d leak":  # a sum of many terms of both signs: relative to what is added, about the root of that
            scale = max(scale, math.sqrt(gradients[0].numel()))
        error = (ours[name].double() - expected).abs().max().item()
        assert error <= tolerance * scale + 1e-7, f"{name}: {error / scale:.1e}"
    assert ours["output"].dtype == inputs["x"].dtype
    assert ours["v_last"].dtype == torch.float32
    if "residual_spikes" not in inputs:
        assert torch.equal(ours["output"].double(), theirs["output"])


DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])


@DTYPES
@pytest.mark.parametrize("T", [1, 2, 7])
@pytest.mark.parametrize("C", [1, 3, 16, 17, 88])
def test_any_shape(C, T, dtype):
    check((T, 3, C, 5, 3), {"dtype": dtype, **EVERYTHING})


@DTYPES
@pytest.mark.parametrize(
    "shape", [(3, 1, 16, 1, 3), (2, 1, 3, 3, 1), (2, 5, 1, 1, 1), (1, 2, 88, 1, 1), (60, 1, 2, 1, 5)]
)
def test_degenerate_shapes(shape, dtype):
    check(shape, {"dtype": dtype, **EVERYTHING})


@pytest.mark.parametrize("shape", [(2, 40, 5, 9, 7), (3, 21, 33, 3, 5), (2, 700, 8, 1, 1), (40, 2, 521, 1, 1)])
def test_many_slabs(shape):
    """Several slabs of partial sums, a last vector partly filled, blocks shorter than the period of the channels."""
    inputs, gradients = made(shape, 0, **EVERYTHING)
    constants = {"return_current": True, "surrogate": ArcTan(), "threshold": 1e3}
    ours, theirs = run(inputs, gradients, **constants), exact(inputs, gradients, **constants)
    for name, expected in theirs.items():
        scale = expected.abs().max().clamp(min=1)
        torch.testing.assert_close(ours[name].double() / scale, expected / scale, atol=1e-5, rtol=0, msg=name)


@DTYPES
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("beta", [True, False], ids=["beta", "no beta"])
@pytest.mark.parametrize("norm", ["per step", "over time", "none"])
def test_norms(norm, beta, training, dtype):
    check((4, 2, 5, 3, 3), {"norm": norm, "beta": beta, "dtype": dtype}, training=training, eps=1e-2, momentum=0.3)
    check((4, 2, 5, 3, 3), {"norm": norm, "beta": beta, "dtype": dtype, "residual_current": True}, training=training)


@pytest.mark.parametrize("detach_reset", [True, False], ids=["detached", "through reset"])
@pytest.mark.parametrize("fires_at_threshold", [True, False], ids=["at", "above"])
@pytest.mark.parametrize("surrogate", SURROGATES, ids=str)
def test_neurons(surrogate, fires_at_threshold, detach_reset):
    constants = {"surrogate": surrogate, "fires_at_threshold": fires_at_threshold, "detach_reset": detach_reset}
    check((5, 2, 7, 3, 3), EVERYTHING, threshold=0.7, **constants)
    check((5, 2, 7, 3, 3), {}, threshold=1.3, **constants)


@DTYPES
@pytest.mark.parametrize("learned_leak", [True, False], ids=["learned leak", "fixed leak"])
@pytest.mark.parametrize("detach_reset", [True, False], ids=["detached", "through reset"])
@pytest.mark.parametrize("input_scale", ["one", "one-minus-leak"])
@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_resets_and_input_scales(reset, input_scale, detach_reset, learned_leak, dtype):
    constants = {"reset": reset, "input_scale": input_scale, "detach_reset": detach_reset, "surrogate": ArcTan()}
    given = EVERYTHING | {"learned_leak": learned_leak, "dtype": dtype}
    check((5, 2, 7, 3, 3), given, threshold=0.4, **constants)
    check((5, 2, 7, 3, 3), {"learned_leak": learned_leak, "dtype": dtype}, threshold=0.3, **constants)
    check((4, 1, 3, 2, 2), {"learned_leak": learned_leak, "norm": "none"}, threshold=0.2, **constants)


@DTYPES
@pytest.mark.parametrize("number", range(32))
def test_optional_inputs(number, dtype):
    names = ("residual_current", "residual_spikes", "v", "learned_leak", "return_current")
    check((3, 2, 9, 3, 3), {"dtype": dtype} | {name: bool(number >> i & 1) for i, name in enumerate(names)})


@DTYPES
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("norm", ["per step", "over time"])
@pytest.mark.parametrize("C", [3, 16, 17])
def test_norm_alone(C, norm, training, dtype):
    inputs, (gradient, _) = made((3, 2, C, 5, 3), 0, norm=norm, dtype=dtype, beta=True)
    del inputs["leak"]

    def everything(wide):
        given = {k: v.double() if wide else v.clone() for k, v in inputs.items()}
        wanted = [given[name].requires_grad_() for name in ("x", "gamma", "beta")]
        y = batch_norm(**given, training=training)
        averages = given["running_mean"], given["running_var"]
        return y, *torch.autograd.grad(y, wanted, gradient.to(y.dtype)), *averages

    ours = everything(False)
    with implementation("reference"):
        theirs = everything(True)
    for i, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        assert one.isfinite().all()
        tolerance = 2**-6 if one.dtype == torch.bfloat16 else 1e-5
        scale = other.abs().max()
        torch.testing.assert_close(one.double() / scale, other / scale, rtol=0, atol=tolerance, msg=str(i))


@DTYPES
@pytest.mark.parametrize("norm", ["per step", "over time", "none"])
@pytest.mark.parametrize("one_step", ["expanded", "num_steps"])
@pytest.mark.parametrize("residual", [True, False], ids=["residual current", "none"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_one_step_for_all(training, residual, one_step, norm, dtype):
    options = {"norm": norm, "one_step": one_step, "dtype": dtype, "residual_current": residual, "learned_leak": True}
    check((5, 2, 6, 3, 3), options, num_steps=5, training=training)


def test_the_gradient_of_an_expanded_image():
    image = torch.randn(2, 3, 4, 5, requires_grad=True)
    weight = torch.randn(6, 2, 3, 4, 5)

    def gradient(name):
        with implementation(name):
            norm = torch.ones(6, 3), None, torch.zeros(6, 3), torch.ones(6, 3)
            output = bntt_lif(image.expand(6, *image.shape), *norm, leak=0.8).output
        return torch.autograd.grad((output * weight).sum(), image)[0]

    torch.testing.assert_close(gradient("fastest"), gradient("reference"))


@DTYPES
def test_contiguous_input(dtype):
    check((3, 2, 17, 3, 5), {"layout": "contiguous", "dtype": dtype, **EVERYTHING})


def test_spikes_at_the_threshold_are_exact():
    # Multiples of 1/16 and leak 7/8 are exact in float32 for a few steps, so thresholds are really hit.
    x = torch.randint(-8, 40, (6, 2, 5, 3, 3)).float() / 16
    for fires_at_threshold in (False, True):
        constants = {"leak": 0.875, "threshold": 1.5, "fires_at_threshold": fires_at_threshold}
        ours = bntt_lif(x, **constants)
        with implementation("reference"):
            theirs = bntt_lif(x, **constants)
        assert torch.equal(ours.output, theirs.output)
        assert torch.equal(ours.v, theirs.v)
    one = torch.ones(1, 1, 1, 1, 1)
    assert bntt_lif(one, leak=1.0, fires_at_threshold=True).output.item() == 1
    assert bntt_lif(one, leak=1.0, fires_at_threshold=False).output.item() == 0


def test_a_large_mean_costs_no_digits():
    x = torch.randn(2, 8, 3, 9, 9) + torch.tensor([1e3, -3e3])[:, None, None, None, None]
    mean, var = torch.zeros(2, 3), torch.ones(2, 3)
    bntt_lif(x, torch.ones(2, 3), None, mean, var, leak=0.9, momentum=1.0)
    torch.testing.assert_close(mean.double(), x.double().mean((1, 3, 4)), rtol=1e-6, atol=0)
    torch.testing.assert_close(var.double(), x.double().var((1, 3, 4)), rtol=1e-5, atol=0)


def test_not_a_number_is_not_hidden():
    x = torch.randn(2, 2, 3, 2, 2, dtype=torch.bfloat16)
    x[0, 0, 1, 0, 0] = math.nan
    out = bntt_lif(x, torch.ones(2, 3), None, torch.zeros(2, 3), torch.ones(2, 3), leak=0.9, return_current=True)
    assert out.current[0, :, 1].isnan().all()
    assert out.current[:, :, ::2].isfinite().all()
    assert out.v[:, 1].isnan().all()


def test_goes_on_from_v():
    x = torch.randn(7, 2, 3, 4, 4)
    whole = bntt_lif(x, leak=0.9)
    first = bntt_lif(x[:3], leak=0.9)
    second = bntt_lif(x[3:], leak=0.9, v=first.v)
    assert torch.equal(torch.cat([first.output, second.output]), whole.output)
    assert torch.equal(second.v, whole.v)


def test_running_averages_that_are_rows_of_a_longer_norm():
    mean, var = torch.zeros(9, 3), torch.ones(9, 3)
    x = torch.randn(4, 2, 3, 4, 4) + 5
    bntt_lif(x, torch.ones(9, 3)[2:6], None, mean[2:6], var[2:6], leak=0.9)
    torch.testing.assert_close(mean[2:6], 0.1 * x.mean((1, 3, 4)))
    assert (mean[[0, 1, 6, 7, 8]] == 0).all()
    assert (var[[0, 1, 6, 7, 8]] == 1).all()


def test_evaluation_changes_nothing_in_place():
    inputs, gradients = made((3, 2, 4, 3, 3), 0)
    after = run(inputs, gradients, training=False)
    assert torch.equal(after["running_mean"], inputs["running_mean"])
    assert torch.equal(after["running_var"], inputs["running_var"])


def test_the_next_convolution_takes_the_output_as_it_is():
    y = torch.randn(6, 8, 5, 5).contiguous(memory_format=torch.channels_last)  # what a convolution gives, T * N images
    x = y.unflatten(0, (3, 2))
    assert as_rows(x, x.dtype) is x
    output = bntt_lif(x, leak=0.9).output
    images = output.flatten(0, 1)
    assert images.data_ptr() == output.data_ptr()
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_keeps_only_what_it_was_given():
    inputs, _ = made((4, 2, 8, 6, 6), 0, residual_current=True, residual_spikes=True)
    x = inputs.pop("x").requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        bntt_lif(x, **inputs)
    known = {x.data_ptr(), inputs["residual_current"].data_ptr()}
    assert {t.data_ptr() for t in kept if t.numel() >= x.numel() // 4} == known


def test_keeps_an_expanded_image_once():
    image = torch.randn(2, 8, 6, 6, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        bntt_lif(image.expand(4, *image.shape), leak=0.8)
    assert max(t.untyped_storage().nbytes() for t in kept) == image.untyped_storage().nbytes()


class Deaf(torch.autograd.Function):
    """Gives what it gets, and no gradient back."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return None


def test_a_result_that_sends_no_gradient_back():
    x = torch.randn(2, 2, 3, 4, 4, requires_grad=True)
    assert torch.autograd.grad(Deaf.apply(bntt_lif(x, leak=0.9).v).sum(), x, allow_unused=True) == (None,)


def test_bits_of_more_neurons_than_32_bits_count():
    assert cpu.kernel().packed_size(2**40) in (2**37, 2**38)  # 8 or 16 neurons, or 4, to a byte or two


def test_same_bits_again_and_with_more_threads():
    inputs, gradients = made((3, 9, 17, 16, 16), 0, **EVERYTHING)
    first = run(inputs, gradients, return_current=True)
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        again = run(inputs, gradients, return_current=True)
        assert all(torch.equal(first[name], again[name]) for name in first), threads


@pytest.mark.parametrize("only", ["output", "current", "v"])
def test_gradient_of_one_result(only):
    inputs, _ = made((3, 2, 5, 3, 3), 1, **EVERYTHING)
    weight = torch.randn(3, 2, 5, 3, 3)

    def gradient(name):
        x = inputs["x"].clone().requires_grad_()
        with implementation(name):
            out = getattr(bntt_lif(**inputs | {"x": x}, return_current=True), only)
        return torch.autograd.grad((out * (weight[0] if only == "v" else weight)).sum(), x)[0]

    torch.testing.assert_close(gradient("fastest"), gradient("reference"), rtol=1e-4, atol=1e-5)


def test_residual_inputs_are_stored_as_x():
    x = torch.randn(3, 2, 5, 3, 3, dtype=torch.bfloat16)
    added = torch.randint(0, 3, x.shape)
    output = bntt_lif(x, leak=0.9, residual_spikes=added, residual_current=torch.zeros(x.shape)).output
    assert torch.equal(output, bntt_lif(x, leak=0.9).output + added)
    assert output.dtype == torch.bfloat16


def test_what_the_kernel_does_not_do_is_done_by_the_reference(monkeypatch):
    x = torch.randn(2, 3, 4, 5, 5)
    monkeypatch.setattr(cpu, "kernel", lambda: None)
    without = bntt_lif(x, leak=0.9)
    monkeypatch.undo()
    assert torch.equal(without.output, bntt_lif(x, leak=0.9).output)
    assert bntt_lif(x.double(), leak=0.9).v.dtype == torch.float64
    assert bntt_lif(x.half(), leak=0.9).output.dtype == torch.float16
    assert bntt_lif(x.to("meta"), leak=0.9).output.shape == x.shape
    assert bntt_lif(x[:, :0], leak=0.9).output.shape == (2, 0, 4, 5, 5)


def test_leaks_of_more_than_one_number_are_for_the_reference():
    leak = torch.rand(4, 1, 1, requires_grad=True)
    bntt_lif(torch.randn(2, 3, 4, 5, 5), leak=leak).v.sum().backward()
    assert leak.grad.shape == leak.shape


def test_there_is_no_second_derivative():
    x = torch.randn(2, 3, 4, 5, 5, requires_grad=True)
    (gradient,) = torch.autograd.grad(bntt_lif(x, leak=0.9).v.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def operator_arguments(**options):
    """Arguments of the operators of torch.library, forward and backward."""
    inputs, (grad_output, grad_current, grad_v) = made((2, 2, 3, 2, 2), 0, **EVERYTHING, **options)
    get = inputs.get
    constants = (2, True, 1e-4, 1.0, 1.0, "triangle", 0.3, 1.0, 1.0, False, True, "zero", "one-minus-leak")
    statistics = [get("running_mean"), get("running_var")]
    residual = get("residual_current"), get("residual_spikes")
    forward = (
        get("x"),
        get("gamma"),
        get("beta"),
        *statistics,
        *residual,
        get("v"),
        get("leak"),
        *constants,
        True,
        True,
    )
    empty = [torch.zeros(0) if each is None else each for each in statistics]
    kept = torch.zeros(0, dtype=torch.int8), torch.zeros(0)
    mains = [get("x"), get("gamma"), get("beta"), *empty, *kept, get("residual_current"), get("v"), get("leak")]
    return forward, (grad_output, grad_current, grad_v, *mains, *constants, True)


@pytest.mark.parametrize("norm", ["per step", "over time", "none"])
def test_operators_are_registered_rightly(norm, monkeypatch):
    monkeypatch.undo()  # opcheck compares memory that is not there
    forward, backward = operator_arguments(norm=norm)
    for tensor in forward[:3] + forward[5:9]:
        if tensor is not None:
            tensor.requires_grad_()
    torch.library.opcheck(torch.ops.sresnet.bntt_lif.default, forward)
    backward = tuple(each.detach() if isinstance(each, torch.Tensor) else each for each in backward)
    torch.library.opcheck(torch.ops.sresnet.bntt_lif_backward.default, backward)


class Layer(torch.nn.Module):
    """A convolution and this op, as a network uses them."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 5, 3, padding=1, bias=False).to(memory_format=torch.channels_last)
        self.gamma = torch.nn.Parameter(torch.ones(4, 5))
        self.leak = torch.nn.Parameter(torch.tensor(0.8))
        self.register_buffer("mean", torch.zeros(4, 5))
        self.register_buffer("var", torch.ones(4, 5))

    def forward(self, x):
        y = self.conv(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        norm = NormState(gamma=self.gamma, running_mean=self.mean, running_var=self.var, training=self.training)
        out = typed.bntt_lif(y, norm, LIFConstants(leak=self.leak, surrogate=PAPER), return_current=True)
        return out.output + out.current


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, in torch
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiles_as_one_graph(backend, monkeypatch):
    monkeypatch.undo()
    x = torch.randn(4, 2, 3, 6, 6)
    layer = Layer()
    state = {k: v.clone() for k, v in layer.state_dict().items()}
    expected = layer(x)
    expected_grads = torch.autograd.grad(expected.square().sum(), list(layer.parameters()))
    mean = layer.mean.clone()
    layer.load_state_dict(state)
    compiled = torch.compile(layer, fullgraph=True, backend=backend)
    out = compiled(x)
    grads = torch.autograd.grad(out.square().sum(), list(layer.parameters()))
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(grads, expected_grads)
    torch.testing.assert_close(layer.mean, mean)


def test_compiles_with_an_expanded_image(monkeypatch):
    monkeypatch.undo()
    image = torch.randn(2, 3, 4, 5, requires_grad=True)

    def loss(image):
        norm = NormState(gamma=torch.ones(6, 3), running_mean=torch.zeros(6, 3), running_var=torch.ones(6, 3))
        neuron = LIFConstants(leak=0.8, surrogate=PAPER)
        return typed.bntt_lif(image.expand(6, *image.shape), norm, neuron).output.cumsum(0).square().sum()

    (expected,) = torch.autograd.grad(loss(image), image)
    (gradient,) = torch.autograd.grad(torch.compile(loss, fullgraph=True, backend="aot_eager")(image), image)
    torch.testing.assert_close(gradient, expected)


def test_exports():
    layer = Layer().eval()
    x = torch.randn(4, 2, 3, 6, 6)
    program = torch.export.export(layer, (x,))
    assert not any("sresnet" in str(node.target) for node in program.graph.nodes)  # for those who lack the kernel
    torch.testing.assert_close(program.module()(x), layer(x))


def builds():
    """Flags of builds that this processor runs, and why not for the others."""
    try:
        features = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        features = ""
    for name, needs, flags in (
        ("plain", "", ()),
        ("avx2", "avx2", ("-mavx2", "-mfma")),
        ("avx512", "avx512f", ("-mavx512f", "-mfma")),
        ("16 lanes", "", ("-march=native", "-DLANES=16")),  # as AVX-512 has, on any processor
    ):
        skip = pytest.mark.skipif(needs not in features, reason=f"this processor has no {needs}")
        yield pytest.param(flags, id=name, marks=[skip, pytest.mark.slow])


@pytest.mark.parametrize("flags", list(builds()))
def test_builds_agree(flags, monkeypatch):
    code = cpu._library(flags)
    monkeypatch.setattr(cpu, "kernel", lambda: code)
    for dtype in (torch.float32, torch.bfloat16):
        for C in (1, 3, 16, 17, 88):
            check((3, 3, C, 5, 3), {"dtype": dtype, **EVERYTHING})
        check((4, 2, 6, 3, 3), {"dtype": dtype, "norm": "over time", "one_step": "expanded"}, num_steps=4)
    for surrogate in SURROGATES:
        check((5, 2, 7, 3, 3), EVERYTHING, surrogate=surrogate, detach_reset=False)


X = torch.zeros(2, 3, 4, 5, 5)
ROW = torch.ones(2, 4)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bntt_lif(torch.zeros(2, 3), leak=0.9), r"x has shape \(2, 3\)"),
        (lambda: bntt_lif(X[:0], leak=0.9), "at least one time step"),
        (lambda: bntt_lif(X.int(), leak=0.9), "dtype torch.int32"),
        (lambda: bntt_lif(X, leak=0.9, num_steps=3), "num_steps is 3 and x holds 2"),
        (lambda: bntt_lif(X, leak=1.5), "leak 1.5"),
        (lambda: bntt_lif(X, leak=0.9, threshold=-1.0), "threshold -1.0"),
        (lambda: bntt_lif(X, leak=0.9, residual_current=X[:1]), r"residual_current has shape \(1, 3, 4, 5, 5\)"),
        (lambda: bntt_lif(X, leak=0.9, residual_spikes=X[0]), r"residual_spikes has shape \(3, 4, 5, 5\)"),
        (lambda: bntt_lif(X, leak=0.9, v=X), r"v has shape \(2, 3, 4, 5, 5\)"),
        (lambda: bntt_lif(X, ROW[:1], None, ROW, ROW, leak=0.9), r"gamma has shape \(1, 4\)"),
        (lambda: bntt_lif(X, ROW, ROW[0], ROW, ROW, leak=0.9), r"beta has shape \(4,\)"),
        (lambda: bntt_lif(X[:, :1, :, :1, :1], ROW, None, ROW, ROW, leak=0.9), "1 value per channel"),
        (lambda: implementation("fast").__enter__(), "implementation 'fast'"),
    ],
)
def test_errors_name_the_value(call, words):
    with pytest.raises(UserError, match=words):
        call()
