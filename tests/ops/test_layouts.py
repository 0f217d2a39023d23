"""Memory layout changes no number: every axis of size 1, every layout of what is given, every implementation.

An axis of size 1 may have any stride, so one tensor can be contiguous in two layouts at the same time, and code that
asks for the layout once of one tensor and once of another can read memory in the wrong order. The measure is the
definition in float64 on contiguous copies, and for the norm plain arithmetic.
"""

import copy
import itertools
import math

import pytest
import torch

from sresnet import create_model
from sresnet.nn.layer import GlobalAveragePool, Pool
from sresnet.nn.readout import Readout
from sresnet.nn.signal import Signal
from sresnet.ops.dispatch import IMPLEMENTATIONS, implementation
from sresnet.ops.surrogate import ArcTan
from tests.ops.flat import batch_norm, bntt_lif, conv_batch_norm, conv_bntt_lif, lif
from tests.ops.flat import over_time as batch_norm_over_time
from tests.ops.flat import through_time as batch_norm_through_time

SHAPE = (2, 2, 3, 4, 5)  # T, N, C, H, W; of each axis also size 1
SHAPES = [s for s in itertools.product(*[(1, size) for size in SHAPE]) if s[1] * s[3] * s[4] > 1]


def odd_ones(x, stride):
    """X, its axes of size 1 with this stride."""
    return torch.as_strided(x, x.shape, [stride if n == 1 else s for n, s in zip(x.shape, x.stride(), strict=True)])


def rows(x):
    """Channels last in memory; what has no H and W with its first axis last."""
    axis = -3 if x.ndim >= 3 else 0
    return x.movedim(axis, -1).contiguous().movedim(-1, axis)


def batch_first(x):
    """The second axis outermost in memory."""
    return x.transpose(0, 1).contiguous().transpose(0, 1) if x.ndim > 1 else x


def every_second(x):
    """Every second value of something larger."""
    return torch.stack([x, torch.full_like(x, math.nan)], -1).flatten(-2)[..., ::2]


LAYOUTS = {
    "contiguous": lambda x: x.contiguous(),
    "channels last": rows,
    "batch first": batch_first,
    "channels last, batch first": lambda x: rows(x.transpose(0, 1)).transpose(0, 1) if x.ndim == 5 else x,
    "every second": every_second,
    "contiguous, odd": lambda x: odd_ones(x.contiguous(), 1),
    "channels last, odd": lambda x: odd_ones(rows(x), x.shape[max(-3, -x.ndim)]),
    "channels last, 1000": lambda x: odd_ones(rows(x), 1000),
}


def in_layout(x, layout):
    """X with this layout, as a leaf that shares no memory with x."""
    if not isinstance(x, torch.Tensor) or x.ndim == 0:
        return x
    if layout == "as it is":
        return x.detach() if 0 in x.stride() else x.clone()
    return LAYOUTS[layout](x.clone()).detach()


def everything(op, inputs, gradients, layouts=("contiguous", "contiguous"), name="reference", wide=True):
    """What `op` gives, the gradients of its inputs, and its inputs, some of which it changes."""
    inputs = {k: (v.double() if wide and isinstance(v, torch.Tensor) else v) for k, v in inputs.items()}
    inputs = {k: in_layout(v, layouts[0]) for k, v in inputs.items()}
    wanted = [k for k, v in inputs.items() if isinstance(v, torch.Tensor) and "running" not in k]
    for k in wanted:
        inputs[k].requires_grad_()
    with implementation(name):
        out = [each for each in op(**inputs) if isinstance(each, torch.Tensor)]
    gradients = [in_layout(g.to(o.dtype), layouts[1]) for g, o in zip(gradients, out, strict=True)]
    found = torch.autograd.grad(out, [inputs[k] for k in wanted], gradients)
    result = {f"output {i}": each.detach() for i, each in enumerate(out)}
    result |= {f"d {k}": each for k, each in zip(wanted, found, strict=True)}
    return result | {k: inputs[k] for k in inputs if "running" in k}


def check_equal(ours, expected, words):
    for key, right in expected.items():
        assert ours[key].shape == right.shape
        scale = right.abs().max().item()
        error = (ours[key].double() - right).abs().max().item()
        assert error <= 2e-5 * scale + 1e-5, f"{key}: {error:.1e} of {scale:.1e}, {words}"


def draw(*shape):
    return torch.randn(shape)


def norm_of(T, C, kind):
    shape = (T, C) if kind == "per step" else (C,)
    given = {"gamma": torch.rand(shape) + 0.5, "beta": draw(*shape)}
    return given | {"running_mean": draw(*shape), "running_var": torch.rand(shape) + 0.5}


def tuple_of(op):
    """An op of one output as one of several."""
    return lambda **inputs: (op(**inputs),)


def norm_alone(shape, kind):
    T, _, C, _, _ = shape
    inputs = {"x": draw(*shape), **norm_of(T, C, kind)}
    return tuple_of(lambda **given: batch_norm(**given, training=True)), inputs, [draw(*shape)]


def neurons_alone(shape, kind):
    inputs = {"current": draw(*shape) + 0.5, "leak": torch.tensor(0.8), "v": draw(*shape[1:])}
    return lif, inputs, [draw(*shape), draw(*shape[1:])]


def behind_convolution(shape, kind):
    T, _, C, _, _ = shape
    inputs = {
        "x": draw(*shape),
        "residual_current": draw(*shape),
        "residual_spikes": draw(*shape),
        "v": draw(*shape[1:]),
    }
    inputs |= {"leak": torch.tensor(0.8)} | ({} if kind == "none" else norm_of(T, C, kind))
    op = lambda **given: bntt_lif(**given, return_current=True, surrogate=ArcTan())  # noqa: E731
    return op, inputs, [draw(*shape), draw(*shape), draw(*shape[1:])]


def layer(shape, kind):
    T, N, C, H, W = shape
    op, inputs, gradients = behind_convolution(shape, kind)
    inputs |= {"x": draw(T, N, 2, H, W), "weight": draw(C, 2, 3, 3)}
    op = lambda **given: conv_bntt_lif(**given, return_current=True, surrogate=ArcTan(), padding=(1, 1))  # noqa: E731
    return op, inputs, gradients


def skip(shape, kind):
    T, N, C, H, W = shape
    inputs = {"x": draw(T, N, 2, H, W), "weight": draw(C, 2, 1, 1), **norm_of(T, C, kind)}
    return tuple_of(lambda **given: conv_batch_norm(**given, training=True)), inputs, [draw(*shape)]


OPS = {
    "norm per step": (norm_alone, "per step"),
    "norm over time": (norm_alone, "over time"),
    "neurons": (neurons_alone, "none"),
    "behind a convolution, norm per step": (behind_convolution, "per step"),
    "behind a convolution, norm over time": (behind_convolution, "over time"),
    "behind a convolution, no norm": (behind_convolution, "none"),
    "layer, norm per step": (layer, "per step"),
    "layer, norm over time": (layer, "over time"),
    "layer, no norm": (layer, "none"),
    "skip, norm per step": (skip, "per step"),
    "skip, norm over time": (skip, "over time"),
}


@pytest.mark.parametrize("op", OPS)
def test_every_op(op):
    make, kind = OPS[op]
    for i, shape in enumerate(SHAPES):
        call, inputs, gradients = make(shape, kind)
        expected = everything(call, inputs, gradients)
        for j, (layout, name) in enumerate(itertools.product(LAYOUTS, IMPLEMENTATIONS)):
            layouts = layout, [*LAYOUTS][(i + j) % len(LAYOUTS)]
            ours = everything(call, inputs, gradients, layouts, name, wide=False)
            check_equal(ours, expected, f"{name}, {shape}, {layouts}")


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
@pytest.mark.parametrize("op", OPS)
def test_what_is_expanded_has_a_gradient_for_each_value(op, name):
    """Stride 0 along any axis, that of time too: whoever asks for a gradient there gets one for each step."""
    make, kind = OPS[op]
    for axis in range(5):
        call, inputs, gradients = make(SHAPE, kind)
        given = {k: v for k, v in inputs.items() if isinstance(v, torch.Tensor) and v.ndim > 1 and "running" not in k}
        one = {k: v.narrow(at, 0, 1) for k, v in given.items() for at in [axis % v.ndim]}
        expected = everything(call, inputs | {k: v.expand_as(given[k]).clone() for k, v in one.items()}, gradients)
        leaves = inputs | {k: v.expand_as(given[k]) for k, v in one.items()}
        ours = everything(call, leaves, gradients, ("as it is", "contiguous"), name, wide=False)
        check_equal(ours, expected, f"axis {axis}")


def plain_norm(x, gamma, beta, running_mean, running_var):
    """Batch norm in plain arithmetic, over all axes that gamma lacks; the averages become those after a step."""
    axes = (1, 3, 4) if gamma.ndim == 2 else (0, 1, 3, 4)
    wide = lambda row: row[:, None, :, None, None] if row.ndim == 2 else row[None, None, :, None, None]  # noqa: E731
    var, mean = torch.var_mean(x, axes, correction=0)
    with torch.no_grad():
        running_mean.lerp_(mean, 0.1)
        running_var.lerp_(x.var(axes), 0.1)
    return wide(gamma) * (x - wide(mean)) / (wide(var) + 1e-4).sqrt() + wide(beta)


@pytest.mark.parametrize("kind", ["per step", "over time"])
def test_the_definition_of_the_norm(kind):
    definition = batch_norm_through_time if kind == "per step" else batch_norm_over_time
    op = lambda **given: definition(**given, training=True, momentum=0.1, eps=1e-4)  # noqa: E731
    for shape in SHAPES:
        _, inputs, gradients = norm_alone(shape, kind)
        expected = everything(tuple_of(plain_norm), inputs, gradients)
        for layouts in itertools.product(LAYOUTS, LAYOUTS):
            ours = everything(tuple_of(op), inputs, gradients, layouts)
            check_equal(ours, expected, f"{shape}, {layouts}")


@pytest.mark.parametrize(
    "module",
    [lambda C: Pool("max"), lambda C: Pool("avg"), lambda C: GlobalAveragePool(), lambda C: Readout(C, 3)],
    ids=["max", "avg", "global", "readout"],
)
def test_layers_without_neurons(module):
    for shape in SHAPES:
        made = module(shape[2])
        call = lambda x, made=made: (made(x) if isinstance(made, Readout) else made(Signal(x, None)).spikes,)  # noqa: E731
        inputs = {"x": draw(*shape)}
        gradients = [torch.randn_like(call(**inputs)[0])]
        made.double()
        expected = everything(call, inputs, gradients)
        for layouts in zip(LAYOUTS, [*LAYOUTS][3:] + [*LAYOUTS][:3], strict=True):
            made.double()
            check_equal(everything(call, inputs, gradients, layouts), expected, f"{shape}, {layouts}")
            made.float()
            ours = everything(call, inputs, gradients, layouts, wide=False)
            check_equal(ours, expected, f"float32, {shape}, {layouts}")


def gradients_of(model, images, name, dtype):
    """Scores of a copy of `model` in this precision, and gradients of the images and of every parameter."""
    model = copy.deepcopy(model).to(dtype)
    images = images.to(dtype).requires_grad_()
    with implementation(name):
        scores = model(images)
    given = [images, *model.parameters()]
    gradients = torch.autograd.grad(scores[:, 3].sum(), given, allow_unused=True, materialize_grads=True)
    return scores.detach().double(), torch.cat([gradient.flatten().double() for gradient in gradients])


@pytest.mark.parametrize("images", [(1, 3, 8, 8), (1, 3, 1, 5), (1, 3, 5, 1), (2, 3, 1, 1), (1, 1, 8, 8)])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"norm": "time-averaged", "norm_bias": True, "num_steps": 1},
        {"connection": "v2v", "neuron": "plif", "downsample": "max"},
        {"connection": "s2m", "norm": "tdbn", "skip": "learned", "downsample": "avg"},
        {"connection": "none", "neuron": "if", "norm": "none", "surrogate": "arctan"},
        {"skip": "spiking", "neuron": "plif-shared", "detach_reset": False, "surrogate": "arctan"},
    ],
    ids=["s2s", "time-averaged", "v2v", "tdbn", "none", "spiking skip"],
)
def test_a_network_of_one_image(fields, images):
    """In every implementation, against float64, where no potential comes so near the threshold that a spike differs."""
    made = {"base_filters": 4, "num_steps": 3, "in_channels": images[1]} | fields
    for name in IMPLEMENTATIONS:
        for seed in range(9):
            torch.manual_seed(seed)
            model, x = create_model("sresnet8", **made), torch.randn(images)
            (scores, ours), (right, expected) = (
                gradients_of(model, x, *how) for how in ((name, torch.float32), ("reference", torch.float64))
            )
            if torch.allclose(scores, right, atol=1e-5, rtol=1e-4):
                break
        torch.testing.assert_close(scores, right, atol=1e-5, rtol=1e-4)
        assert (ours - expected).norm() <= 1e-3 * expected.norm(), name
        assert expected.norm() > 0


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_frames_that_are_one_picture_have_a_gradient_each(name):
    model = create_model("sresnet8", base_filters=4, num_steps=3)
    picture = torch.randn(2, 1, 3, 8, 8)
    found = []
    expanded = picture.expand(2, 3, 3, 8, 8)
    for frames in (expanded.contiguous(), expanded.detach(), expanded):
        with implementation(name):
            scores = model(frames.requires_grad_())
        found += torch.autograd.grad(scores[:, 3].sum(), frames)
    for gradient in found[1:]:
        torch.testing.assert_close(gradient, found[0])
