"""The layer op against a convolution and `bntt_lif`'s reference in float64."""

import math

import pytest
import torch
import torch.nn.functional as F

from sresnet.errors import UserError
from sresnet.ops.conv_bntt_lif import conv_bntt_lif as layer_op
from sresnet.ops.conv_bntt_lif import operator
from sresnet.ops.conv_bntt_lif.int8 import prepare
from sresnet.ops.dispatch import implementation
from sresnet.ops.scan import cpu as kernel
from sresnet.ops.scan.rows import is_rows
from sresnet.ops.surrogate import ArcTan
from tests.ops import test_bntt_lif as behind
from tests.ops.flat import conv_batch_norm, conv_bntt_lif, neuron_of

_poisoned, _native = behind._poisoned, behind._native
EVERYTHING = behind.EVERYTHING
IMPLEMENTATIONS = pytest.mark.parametrize("name", ["fastest", "low-memory"])
DTYPES = behind.DTYPES


def made(shape, channels, size, seed, *, stride=1, x="image", dtype=torch.float32, **given):
    """Inputs of one layer of `channels` filters of `size`, and gradients of what it gives."""
    T, N, C, H, W = shape
    pad = size // 2
    out = [(side + 2 * pad - size) // stride + 1 for side in (H, W)]
    inputs, gradients = behind.made((T, N, channels, *out), seed, dtype=dtype, **given)
    draw = torch.Generator().manual_seed(seed + 1000)
    images = torch.randn(T, N, H, W, C, generator=draw).movedim(-1, -3)
    inputs["x"] = {"image": images, "spikes": (images > 0.5).float(), "constant": images[:1].expand_as(images)}[x]
    inputs["x"] = inputs["x"].to(dtype)
    inputs["weight"] = torch.randn(channels, C, size, size, generator=draw) / math.sqrt(C * size * size)
    return inputs | {"stride": (stride, stride), "padding": (pad, pad)}, gradients


def run(inputs, gradients, name, **constants):
    """Everything that a call gives, and every gradient, by name."""
    inputs, tensors = behind.leaves(inputs)
    with implementation(name):
        out = conv_bntt_lif(**inputs, **constants)
    wanted = [each for each in out[:3] if each is not None]
    gradients = [g.to(o.dtype) for o, g in zip(wanted, gradients, strict=True)]
    grads = torch.autograd.grad(wanted, [*tensors.values()], gradients)
    result = {"output": out.output, "current": out.current, "v": out.v}
    result |= {f"d {k}": grad for k, grad in zip(tensors, grads, strict=True)}
    return result | {k: inputs[k] for k in ("running_mean", "running_var") if k in inputs}


def exact(inputs, gradients, **constants):
    """The same by the reference in float64."""
    wide = {k: v.detach().double() if isinstance(v, torch.Tensor) else v for k, v in inputs.items()}
    return run(wide, [g.double() for g in gradients], "reference", **constants)


def margin(inputs, **constants):
    wide = {k: v.detach().double() if isinstance(v, torch.Tensor) else v for k, v in inputs.items()}
    stride, padding = wide.pop("stride"), wide.pop("padding")
    y = F.conv2d(wide["x"].flatten(0, 1), wide.pop("weight"), None, stride, padding)
    constants.pop("return_current", None)
    return behind.margin(wide | {"x": y.unflatten(0, wide["x"].shape[:2])}, **constants)


def check(name, shape, channels=5, size=3, options=None, **constants):
    """The op equals the reference in whatever it gives."""
    options = options or {}
    if options.get("return_current"):
        constants["return_current"] = True
    for seed in range(300):
        inputs, gradients = made(shape, channels, size, seed, **options)
        if margin(inputs, **constants) > behind.MARGIN:
            break
    else:
        raise AssertionError("no safe inputs found: use a smaller shape")
    ours, theirs = run(inputs, gradients, name, **constants), exact(inputs, gradients, **constants)
    for key, expected in theirs.items():
        if expected is None:
            assert ours[key] is None
            continue
        if key == "d x" and options.get("x") == "constant":
            expected = expected.sum(0)
        assert ours[key].shape == expected.shape, key
        assert ours[key].isfinite().all(), key
        scale = expected.abs().max().item()
        if key == "d leak":
            scale = max(scale, math.sqrt(gradients[0].numel()))
        error = (ours[key].double() - expected).abs().max().item()
        assert error <= 2e-5 * scale + 1e-7, f"{key}: {error / scale:.1e}"


@IMPLEMENTATIONS
@pytest.mark.parametrize("T", [1, 2, 7])
@pytest.mark.parametrize(("channels", "size", "stride"), [(1, 1, 1), (3, 3, 2), (16, 3, 1), (17, 5, 2), (8, 1, 2)])
def test_any_shape(channels, size, stride, T, name):
    check(name, (T, 2, 9, 5, 4), channels, size, {"stride": stride, **EVERYTHING})
    check(name, (T, 2, 9, 5, 4), channels, size, {"stride": stride, "x": "spikes"})


@IMPLEMENTATIONS
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("norm", ["per step", "over time", "none"])
@pytest.mark.parametrize("x", ["image", "constant"])
def test_norms_and_constant_input(x, norm, training, name):
    check(
        name, (5, 2, 4, 4, 3), options={"norm": norm, "x": x, "beta": True, "residual_current": True}, training=training
    )


@IMPLEMENTATIONS
def test_neurons(name):
    for constants in ({"surrogate": ArcTan(), "detach_reset": False}, {"threshold": 0.7, "fires_at_threshold": True}):
        check(name, (5, 2, 4, 3, 3), options=EVERYTHING, **constants)


def chain(x, name, *, kept=None, dtype=torch.float32, pack=True):
    """A stage of s2s blocks behind a real-valued skip, as a network runs it; output and gradients."""
    torch.manual_seed(3)
    T, C = x.shape[0], 6
    weights = [torch.randn(C, C, 3, 3).div_(6).requires_grad_() for _ in range(5)]
    norms = [(torch.full((T, C), 1.5).requires_grad_(), None, torch.zeros(T, C), torch.ones(T, C)) for _ in range(5)]
    skip, skip_norm = (
        torch.randn(C, x.shape[2], 1, 1).requires_grad_(),
        (torch.ones(T, C), None, torch.zeros(T, C), torch.ones(T, C)),
    )
    first = torch.randn(C, x.shape[2], 3, 3).div_(4).requires_grad_()
    constants = {"padding": (1, 1), "leak": 0.9}
    hooks = torch.autograd.graph.saved_tensors_hooks
    with implementation(name), hooks(lambda t: t if kept is None else (kept.append(t), t)[1], lambda t: t):
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            skipped = conv_batch_norm(
                x, skip, *(row.clone() if row is not None else None for row in skip_norm), training=True
            )
            out = conv_bntt_lif(x, first, *norms[4], **constants, residual_spikes=skipped)
            for i in (0, 2):
                sent = out.packed if pack else None
                hidden = conv_bntt_lif(out.output, weights[i], *norms[i], packed=sent, **constants)
                out = conv_bntt_lif(
                    hidden.output,
                    weights[i + 1],
                    *norms[i + 1],
                    packed=hidden.packed if pack else None,
                    residual_spikes=out.output,
                    residual_packed=sent,
                    **constants,
                )
    loss = (out.output.float() * torch.linspace(-1, 1, out.output.numel()).view_as(out.output)).sum()
    return out, torch.autograd.grad(loss, [x, first, skip, *weights[:4]])


@DTYPES
def test_bits_stand_for_what_was_sent(dtype):
    x = torch.randn(5, 3, 3, 5, 5, requires_grad=True)
    out, gradients = chain(x, "fastest", dtype=dtype)
    whole, expected = chain(x, "fastest", dtype=dtype, pack=False)
    assert torch.equal(out.output, whole.output)
    for gradient, other in zip(gradients, expected, strict=True):
        assert torch.equal(gradient, other)
    assert len(out.packed.planes) == 3
    assert torch.equal(kernel.unpack(*out.packed, out.output.shape, dtype), out.output)


@DTYPES
def test_low_memory_gives_the_same(dtype):
    x = torch.randn(5, 3, 3, 5, 5, requires_grad=True)
    out, gradients = chain(x, "fastest", dtype=dtype)
    low, others = chain(x, "low-memory", dtype=dtype)
    assert torch.equal(out.output, low.output)
    for gradient, other in zip(gradients, others, strict=True):
        assert torch.equal(gradient, other)


@pytest.mark.parametrize("neurons", [1, 7, 8, 40, 123])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.uint8])
def test_unpacks_any_number_of_neurons(neurons, dtype):
    planes, sums = [], torch.zeros(3, 1, neurons, 1, 1)
    for _ in range(3):
        x = torch.randn(3, 1, 1, 1, 1)
        weight = torch.randn(neurons, 1, 1, 1)
        out = conv_bntt_lif(x.requires_grad_(), weight, leak=0.9, threshold=0.2)
        planes += out.packed.planes
        sums += out.output
    assert torch.equal(kernel.unpack(planes, None, sums.shape, dtype), sums.to(dtype))


@pytest.mark.parametrize("number", [3, 256, 300])
@pytest.mark.parametrize("based", [False, True])
def test_sums_of_spikes_are_rounded_as_often_as_the_layers_did(number, based):
    """In bfloat16: a sum with real numbers every time, and one of spikes from 257 on, where it stays."""
    out = conv_bntt_lif((torch.rand(2, 1, 5, 7, 9) > 0.5).float(), torch.randn(5, 5, 1, 1), leak=0.9, threshold=0.2)
    base = torch.randn(2, 1, 7, 9, 5).bfloat16().movedim(-1, -3) if based else None
    expected = torch.zeros(2, 1, 5, 7, 9).bfloat16() if base is None else base
    for _ in range(number):
        expected = expected + out.output.bfloat16()
    assert torch.equal(kernel.unpack(out.packed.planes * number, base, expected.shape, torch.bfloat16), expected)
    assert 0.2 < out.output.mean() < 0.8


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.uint8])
def test_unpacking_writes_nothing_behind_its_output(dtype, monkeypatch):
    neurons, steps = 64, 3
    out = conv_bntt_lif(torch.randn(steps, 1, 1, 1, 1), torch.randn(neurons, 1, 1, 1), leak=0.9, threshold=0.2)
    memory = torch.full((steps * neurons + 100,), 9, dtype=dtype)
    rows = memory[: steps * neurons].view(steps, 1, neurons, 1, 1)
    monkeypatch.setattr(kernel, "empty_rows", lambda *_, **__: rows)
    assert torch.equal(kernel.unpack(out.packed.planes, None, rows.shape, dtype), out.output.to(dtype))
    assert (memory[steps * neurons :] == 9).all()


def test_bfloat16_is_float32_rounded_where_it_is_stored():
    x = (torch.randn(4, 2, 5, 6, 6) > 0.4).float()
    weight = torch.randn(7, 5, 3, 3) / 7
    norm = torch.ones(4, 7), None, torch.zeros(4, 7), torch.ones(4, 7)
    averages = [row.clone() for row in norm[2:]]
    with torch.autocast("cpu", torch.bfloat16):
        out = conv_bntt_lif(x, weight, *norm, padding=(1, 1), leak=0.9, return_current=True)
    y = F.conv2d(x.flatten(0, 1), weight.bfloat16().float(), padding=1).bfloat16().float().unflatten(0, (4, 2))
    with implementation("reference"):
        expected = behind.bntt_lif(y, *norm[:2], *averages, leak=0.9, return_current=True)
    assert out.output.dtype == torch.bfloat16
    torch.testing.assert_close(out.current.float(), expected.current, rtol=2**-7, atol=2**-5)
    assert (out.output.float() != expected.output).float().mean() < 0.02


def test_processors_without_bfloat16_convolutions(monkeypatch):
    """They convert a few images at a time to float32, here three of eight, and store what comes out in bfloat16."""
    monkeypatch.setattr(operator, "arithmetic", lambda storage, x: torch.float32)
    monkeypatch.setattr(operator, "BLOCK_BYTES", 3 * 5 * 6 * 6 * 2)
    x, weight, gamma = torch.randn(4, 2, 5, 6, 6).bfloat16(), torch.randn(7, 5, 3, 3) / 7, torch.rand(4, 7) + 0.5
    given = [each.requires_grad_() for each in (x, weight, gamma)]
    assert operator._blocks(x.flatten(0, 1)) == [slice(0, 3), slice(3, 6), slice(6, 9)]
    averages = torch.zeros(4, 7), torch.ones(4, 7)
    ours = conv_batch_norm(x, weight, gamma, None, *averages, padding=(1, 1), training=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(conv_batch_norm(x, weight, gamma, None, *averages, padding=(1, 1), training=True), ours)
    y = F.conv2d(x.flatten(0, 1).float(), weight, padding=1).bfloat16().unflatten(0, (4, 2))
    theirs = behind.batch_norm(y, gamma, None, *averages, training=True)
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(ours, theirs, rtol=2**-7, atol=2**-7)
    gradient = torch.randn(ours.shape).bfloat16()
    pairs = zip(torch.autograd.grad(ours, given, gradient), torch.autograd.grad(theirs, given, gradient), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=0, atol=2**-6 * other.abs().max().item())


def test_what_the_backward_pass_keeps():
    x = torch.randn(4, 3, 8, 8, 3).movedim(-1, -3).requires_grad_()
    neuron_steps = 4 * 3 * 6 * 64

    def kept_by(name, **options):
        kept = []
        chain(x, name, kept=kept, **options)
        return sum(t.numel() * t.element_size() for t in {t.data_ptr(): t for t in kept if t.numel() > 500}.values())

    # x, what the skip adds, and the bits of the four layers before the last.
    ends = 4 * x.numel() + 4 * neuron_steps + 4 * neuron_steps / 8
    assert kept_by("low-memory") == ends
    assert kept_by("fastest") == ends + 6 * 4 * neuron_steps  # and six convolutions
    assert kept_by("fastest", dtype=torch.bfloat16) < 0.6 * kept_by("fastest")


@IMPLEMENTATIONS
@DTYPES
def test_gradients_refer_to_no_other_memory(name, dtype, monkeypatch):
    """Autograd adds up those of a sum of spikes in place then."""
    monkeypatch.setattr(operator, "arithmetic", lambda storage, x: torch.float32)  # as without bfloat16, in blocks
    for emulated in (True, False):
        if not emulated:
            monkeypatch.undo()
        x = torch.randn(3, 2, 4, 5, 5).to(dtype).requires_grad_()
        with implementation(name):
            out = conv_bntt_lif(x, torch.randn(6, 4, 3, 3), leak=0.9, v=torch.zeros(2, 6, 3, 3, requires_grad=True))
        (gradient,) = torch.autograd.grad(out.v.sum(), x)
        assert not gradient._is_view()
        assert gradient.shape == x.shape
        assert is_rows(gradient)


def test_eight_bits_are_for_calls_of_which_nothing_takes_a_gradient():
    before = conv_bntt_lif(torch.randn(3, 2, 3, 7, 7), torch.randn(4, 3, 3, 3), leak=0.9, threshold=0.5)
    given = {"packed": before.packed, "leak": 0.9, "threshold": 0.5}
    x, weight = before.output.detach(), torch.randn(5, 4, 3, 3)
    given["int8"] = prepare(weight, (1, 1), (0, 0))
    with torch.no_grad():
        expected = conv_bntt_lif(x, weight, **given).v
        assert not torch.equal(expected, conv_bntt_lif(x, weight, **given | {"int8": None}).v)
    assert torch.equal(conv_bntt_lif(x, weight, **given).v, expected)
    with pytest.raises(UserError, match="an 8-bit network has no gradients"):
        conv_bntt_lif(x, weight.requires_grad_(), **given)


def test_inference_keeps_and_packs_nothing():
    x = torch.randn(4, 2, 3, 5, 5)
    with torch.no_grad():
        out = conv_bntt_lif(x, torch.randn(6, 3, 3, 3), leak=0.9)
    assert out.packed is None


def test_what_the_kernel_does_not_do_is_a_convolution_and_what_is_behind_it():
    x, weight = torch.randn(3, 2, 3, 5, 5), torch.randn(4, 3, 3, 3)
    for change in (lambda t: t.double(), lambda t: t.to("meta")):
        out = conv_bntt_lif(change(x), change(weight), leak=0.9)
        assert out.output.shape == (3, 2, 4, 3, 3)
        assert out.packed is None


def test_goes_on_from_v():
    x, weight = torch.randn(7, 2, 3, 5, 5), torch.randn(4, 3, 3, 3)
    whole = conv_bntt_lif(x, weight, leak=0.9)
    first = conv_bntt_lif(x[:3], weight, leak=0.9)
    second = conv_bntt_lif(x[3:], weight, leak=0.9, v=first.v)
    assert torch.equal(torch.cat([first.output, second.output]), whole.output)


@pytest.mark.parametrize("name", ["fastest", "low-memory", "reference"])
def test_one_step_that_every_step_receives(name):
    y = torch.randn(1, 2, 4, 3, 3, requires_grad=True)
    neuron = neuron_of({"leak": 0.9})
    with implementation(name):
        one = layer_op(y, None, None, neuron, num_steps=5)
        whole = layer_op(y[0].expand(5, -1, -1, -1, -1), None, None, neuron)
    assert torch.equal(one.output, whole.output)
    assert torch.equal(one.v, whole.v)
    (expected,) = torch.autograd.grad(whole.v.square().sum(), y)
    (gradient,) = torch.autograd.grad(one.v.square().sum(), y)
    torch.testing.assert_close(gradient, expected)
    with pytest.raises(UserError, match="num_steps is 4 and x holds 3 steps"):
        layer_op(torch.zeros(3, 2, 4, 3, 3), None, None, neuron, num_steps=4)


def test_second_derivatives_are_refused():
    x = torch.randn(2, 2, 3, 4, 4, requires_grad=True)
    out = conv_bntt_lif(x, torch.randn(4, 3, 3, 3), leak=0.9).v
    (gradient,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_a_result_that_sends_no_gradient_back():
    x, weight = torch.randn(2, 2, 3, 4, 4, requires_grad=True), torch.randn(4, 3, 3, 3, requires_grad=True)
    out = behind.Deaf.apply(conv_bntt_lif(x, weight, leak=0.9).v)
    assert torch.autograd.grad(out.sum(), [x, weight], allow_unused=True) == (None, None)


def test_errors_name_the_value():
    x = torch.zeros(2, 3, 4, 5, 5)
    with pytest.raises(UserError, match=r"weight has shape \(6, 3, 3, 3\)"):
        conv_bntt_lif(x, torch.zeros(6, 3, 3, 3), leak=0.9)
    with pytest.raises(UserError, match=r"residual_spikes has shape \(2, 3, 6, 5, 5\)"):
        conv_bntt_lif(x, torch.zeros(6, 4, 3, 3), leak=0.9, residual_spikes=torch.zeros(2, 3, 6, 5, 5))
    with pytest.raises(UserError, match="leak 2"):
        conv_bntt_lif(x, torch.zeros(6, 4, 3, 3), leak=2.0)


def test_the_gradient_of_a_sum_of_spikes_is_handed_on_in_rows():
    """A pool gives one in another layout, which every layer of the stage would bring into rows again."""
    x, given = torch.randn(2, 3, 4, 5, 6), torch.randn(2, 3, 4, 5, 6)
    before = torch.randn(2, 3, 4, 5, 6).requires_grad_()
    weight = torch.randn(4, 4, 3, 3)
    for output in (
        conv_bntt_lif(x, weight, padding=(1, 1), leak=0.9, residual_spikes=before).output,
        behind.bntt_lif(x, leak=0.9, residual_spikes=before).output,
    ):
        (gradient,) = torch.autograd.grad(output, before, given)
        assert torch.equal(gradient, given)
        assert is_rows(gradient) or not kernel.available()
