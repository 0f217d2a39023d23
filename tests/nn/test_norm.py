"""Norms as modules: what torch's own would give, and what they count in their averages."""

import itertools

import pytest
import torch
from torch import nn

import sresnet
from sresnet import UserError
from sresnet.nn import NormConfig, make_norm
from sresnet.nn.norm import BNTT, PerStepNorm, affine, merge_steps, set_affine
from sresnet.nn.state import ForwardState
from sresnet.ops.dispatch import implementation

ENGINES = ["fastest", "reference"]


def pair(**fields):
    """A norm with statistics per step and one average, and torch's own, alike."""
    ours, theirs = PerStepNorm(3, bias=True, **fields), nn.BatchNorm2d(3, **fields)
    with torch.no_grad():
        for name in ("weight", "bias"):
            values = torch.rand(3) + 0.5
            getattr(ours, name).copy_(values)
            getattr(theirs, name).copy_(values)
    return ours, theirs


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("num_steps", [1, 4])
def test_per_step_is_the_norm_of_torch_at_every_step(num_steps, engine):
    ours, theirs = pair(eps=1e-3, momentum=0.3)
    x = (3 * torch.randn(num_steps, 2, 3, 4, 5) + torch.arange(num_steps).view(-1, 1, 1, 1, 1)).requires_grad_()
    weight = torch.randn(x.shape)
    with implementation(engine):
        y = ours(x)
        (y * weight).sum().backward()
    mine, x.grad = x.grad, None
    expected = torch.stack([theirs(step) for step in x])
    (expected * weight).sum().backward()
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mine, x.grad, atol=1e-5, rtol=1e-4)
    for name in ("weight", "bias"):
        torch.testing.assert_close(getattr(ours, name).grad, getattr(theirs, name).grad, atol=1e-4, rtol=1e-4)
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), atol=1e-5, rtol=1e-5)
    with implementation(engine):
        again = ours.eval()(x)
    torch.testing.assert_close(again, torch.stack([theirs.eval()(step) for step in x]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_image_that_all_steps_receive_counts_once(engine):
    """Fang et al. 2021 pass it through the first convolution and its norm once."""
    torch.manual_seed(0)
    model = sresnet.create_model("sresnet8", base_filters=4, num_steps=3, norm="per-step")
    images, stem, momentum = torch.randn(2, 3, 8, 8), model.layers["stem"], 0.1
    with implementation(engine):
        model(images)
    mean = stem.conv(images).mean((0, 2, 3))
    torch.testing.assert_close(stem.norm.running_mean, momentum * mean)
    with implementation(engine):
        model(images[:, None].repeat(1, 3, 1, 1, 1))  # as frames: three batches
    torch.testing.assert_close(stem.norm.running_mean, mean * (1 - (1 - momentum) ** 4), atol=1e-6, rtol=1e-4)


def test_averages_are_those_of_all_steps_at_once_in_segments():
    averages = []
    for segments in (0, 2, 3):
        torch.manual_seed(0)
        model = sresnet.create_model("sresnet8", base_filters=4, num_steps=3, norm="per-step")
        model(torch.randn(2, 3, 8, 8), time_segments=segments or ()).sum().backward()
        averages.append([buffer for _, buffer in model.named_buffers()])
    for others in averages[1:]:
        for first, second in zip(averages[0], others, strict=True):
            torch.testing.assert_close(first, second)


def test_without_momentum_the_average_is_the_mean_of_all_steps():
    norm = PerStepNorm(3)
    norm.momentum = None
    norm.reset_running_stats()
    batches = [torch.randn(4, 2, 3, 5, 5) for _ in range(3)]
    for batch in batches:
        norm(batch)
    torch.testing.assert_close(norm.running_mean, torch.cat(batches).mean((0, 1, 3, 4)))
    before = norm.running_mean.clone()
    norm(batches[0], ForwardState(again=True))
    assert torch.equal(norm.running_mean, before)


@pytest.mark.parametrize("kind", ["bntt", "per-step", "time-averaged", "tdbn"])
def test_eps_and_momentum_are_fields(kind):
    x = torch.randn(2, 3, 3, 4, 4) * 1e-2
    for eps, momentum in itertools.product((1e-5, 0.25), (0.2, 1.0)):
        norm = make_norm(NormConfig(kind=kind, num_steps=2, eps=eps, momentum=momentum), 3)
        y = norm(x)
        first = x[:, :, 0] if kind in ("time-averaged", "tdbn") else x[0, :, 0]
        mean, var = first.mean(), first.var(unbiased=False)
        torch.testing.assert_close(y[0, :, 0], (x[0, :, 0] - mean) / (var + eps).sqrt(), atol=1e-5, rtol=1e-4)
        moved = norm.running_var.flatten()[0]
        if kind != "per-step" or momentum == 1:
            last = x[1, :, 0] if kind == "per-step" else first
            torch.testing.assert_close(moved, 1 - momentum + momentum * last.var())


@pytest.mark.parametrize(
    ("field", "value"), [("eps", 0.0), ("eps", float("nan")), ("momentum", 0.0), ("momentum", 2.0)]
)
def test_impossible_numbers(field, value):
    with pytest.raises(UserError, match=rf"^norm_{field} {value} is outside \(0, 1\]: [^\n]*$"):
        NormConfig(**{field: value})


def like_trained(norm):
    """Numbers as a trained norm has, one channel turned around."""
    torch.manual_seed(1)
    norm.running_mean.normal_(0, 0.5)
    norm.running_var.uniform_(0.5, 2)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 1.5)
        norm.weight[..., 1] *= -1
        if norm.bias is not None:
            norm.bias.normal_()
    return norm.eval()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", ["time-averaged", "per-step", "tdbn"])
def test_one_norm_of_those_of_all_steps_is_their_average(kind, bias):
    norm = like_trained(BNTT(3, num_steps=4, bias=True))
    into = make_norm(NormConfig(kind=kind, bias=bias), 3, tdbn_scale=0.7).eval()
    x = torch.randn(2, 3, 4, 5)
    for steps in (4, 2):  # a network of fewer time steps has the first ones
        merge_steps(norm, into, steps)
        expected = norm(x.expand(4, -1, -1, -1, -1))[:steps].mean(0)
        torch.testing.assert_close(into(x[None])[0], expected, atol=1e-5, rtol=1e-5)
        mean, var = norm.running_mean[:steps], norm.running_var[:steps]
        torch.testing.assert_close(into.running_var, (var + mean**2).mean(0) - mean.mean(0) ** 2)
        if bias:
            torch.testing.assert_close(into.running_mean, mean.mean(0))


def test_a_shift_without_a_gain():
    """Where nothing varies there is no gain to divide a shift by, and no beta to hold it."""
    norm = make_norm(NormConfig(kind="time-averaged"), 3)
    zero, shift = torch.zeros(3), torch.tensor([-2.0, 0.0, 3.0])
    set_affine(norm, zero, shift, zero, zero)
    gain, found = affine(norm.eval())
    assert gain.abs().max() <= 0.011  # 1e-4 / sqrt(eps)
    torch.testing.assert_close(found[0], shift)
    assert norm.weight.isfinite().all()
