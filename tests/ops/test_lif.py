import math

import pytest
import torch

from sresnet.errors import UserError
from sresnet.ops.dispatch import implementation
from sresnet.ops.lif.reference import spike
from sresnet.ops.surrogate import SURROGATES as SHAPES
from sresnet.ops.surrogate import ArcTan, FastSigmoid, Gaussian, Rectangle, Sigmoid, Triangle, make_surrogate
from tests.ops.flat import lif, membrane

SURROGATES = [made() for made in SHAPES.values()] + [Triangle(height=1.3, width=0.7, center=0.0)]


def by_hand(current, leak, threshold, fires_at_threshold, reset="subtract", input_scale="one"):
    """The equations once more, one neuron and step at a time, in plain Python."""
    v, spikes = 0.0, []
    for x in current:
        u = leak * v + (x if input_scale == "one" else x * (1 - leak))
        o = u >= threshold if fires_at_threshold else u > threshold
        v = u - threshold * o if reset == "subtract" else 0.0 if o else u
        spikes.append(float(o))
    return spikes, v


@pytest.mark.parametrize("input_scale", ["one", "one-minus-leak"])
@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("fires_at_threshold", [False, True])
@pytest.mark.parametrize("leak", [0.875, 1.0])
def test_equals_the_equations(leak, fires_at_threshold, reset, input_scale):
    # Multiples of 1/16 and leak 7/8 are exact in float32 for a few steps, so thresholds are really hit.
    current = torch.randint(-8, 40, (6, 50)).float() / 16
    current = current if input_scale == "one" else 8 * current
    kinds = {"fires_at_threshold": fires_at_threshold, "reset": reset, "input_scale": input_scale}
    out = lif(current, leak=leak, threshold=1.5, **kinds)
    for neuron in range(50):
        spikes, v = by_hand(current[:, neuron].tolist(), leak, 1.5, **kinds)
        assert out.spikes[:, neuron].tolist() == spikes
        assert out.v[neuron].item() == pytest.approx(v, abs=1e-6)


def test_spike_condition_at_the_threshold():
    current = torch.tensor([[1.0]])
    assert lif(current, leak=1.0, fires_at_threshold=True).spikes.item() == 1
    assert lif(current, leak=1.0, fires_at_threshold=False).spikes.item() == 0


@pytest.mark.parametrize("current", [0.25, 0.4, 0.75, 1.0, 1.7])
def test_constant_current_into_if_neuron(current):
    # Without leak nothing is lost: after T steps the spikes count the whole thresholds charged, one a step at most.
    num_steps = 40
    spikes = lif(torch.full((num_steps, 1), current), leak=1.0, fires_at_threshold=True).spikes
    assert spikes.sum() == min(num_steps, math.floor(num_steps * current + 1e-4))


def test_silent_below_the_leaky_limit():
    # u tends to I / (1 - leak) from below.
    leak, threshold = 0.8, 1.0
    silent = lif(torch.full((200, 1), 0.99 * threshold * (1 - leak)), leak=leak, threshold=threshold)
    firing = lif(torch.full((200, 1), 1.01 * threshold * (1 - leak)), leak=leak, threshold=threshold)
    assert silent.spikes.sum() == 0
    assert firing.spikes.sum() > 0


def test_goes_on_from_v():
    current = torch.randn(9, 4, 3)
    whole = lif(current, leak=0.9)
    first = lif(current[:4], leak=0.9)
    second = lif(current[4:], leak=0.9, v=first.v)
    assert torch.equal(torch.cat([first.spikes, second.spikes]), whole.spikes)
    assert torch.equal(second.v, whole.v)
    torch.testing.assert_close(membrane(current, leak=0.9)[4:], membrane(current[4:], leak=0.9, v=first.v))


def smooth_lif(current, leak, threshold, surrogate, detach_reset):
    """LIF with the step replaced by the surrogate's integral: differentiable, with the same gradient as `lif`'s."""
    v, spikes = torch.zeros_like(current[0]), []
    for x in current:
        u = leak * v + x
        o = threshold * surrogate.integral(u / threshold - surrogate.center)
        v = u - threshold * (o.detach() if detach_reset else o)
        spikes.append(o)
    return torch.stack(spikes)


@pytest.mark.parametrize(
    ("reset", "input_scale"), [("subtract", "one"), ("zero", "one"), ("subtract", "one-minus-leak")]
)
@pytest.mark.parametrize("surrogate", SURROGATES, ids=str)
def test_gradcheck_of_the_smooth_neuron(surrogate, reset, input_scale, monkeypatch):
    """Finite differences agree with backward once the step is smooth; that backward is the code under test."""
    import sresnet.ops.lif.reference as reference

    class SmoothSpike(reference._Spike):
        @staticmethod
        def forward(u, threshold, surrogate, fires_at_threshold):
            return threshold * surrogate.integral(u / threshold - surrogate.center)

    monkeypatch.setattr(reference, "_Spike", SmoothSpike)
    current = (torch.rand(5, 7, dtype=torch.float64) * 2).requires_grad_()
    leak = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)

    def run(current, leak):
        kinds = {"detach_reset": False, "reset": reset, "input_scale": input_scale}
        out = lif(current, leak=leak, threshold=1.3, surrogate=surrogate, **kinds)
        return out.spikes, out.v

    assert torch.autograd.gradcheck(run, (current, leak))


def test_detached_gradient_of_a_reset_to_zero_has_its_closed_form():
    """A spike ends the past: du[t+1] / du[t] = leak * (1 - o[t])."""
    current = torch.randn(5, 40, dtype=torch.float64, requires_grad=True)
    constants = {"leak": 0.5, "surrogate": ArcTan(), "reset": "zero"}
    spikes = lif(current, **constants).spikes
    spikes[-1].sum().backward()
    expected = [ArcTan().derivative(membrane(current, **constants).detach()[-1] - 1)]
    for t in range(3, -1, -1):
        expected.insert(0, expected[0] * 0.5 * (1 - spikes[t].detach()))
    torch.testing.assert_close(current.grad, torch.stack(expected))


@pytest.mark.parametrize("surrogate", SURROGATES, ids=str)
def test_detached_gradient_has_its_closed_form(surrogate):
    """d sum(w o) / d current[s] = sum over t >= s of w[t] g'(u[t]) leak^(t - s)   (Eq. 23 with the reset detached)."""
    leak, threshold, num_steps = 0.85, 1.2, 7
    current = torch.randn(num_steps, 11, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(num_steps, 11, dtype=torch.float64)
    constants = {"leak": leak, "threshold": threshold, "surrogate": surrogate}
    (lif(current, **constants).spikes * weight).sum().backward()
    u = membrane(current, **constants).detach()
    slope = weight * surrogate.derivative(u / threshold - surrogate.center)
    expected = torch.stack([sum(slope[t] * leak ** (t - s) for t in range(s, num_steps)) for s in range(num_steps)])
    torch.testing.assert_close(current.grad, expected)


def test_gradient_through_a_reset_to_zero_has_its_closed_form():
    """du[t+1] / du[t] = leak * (1 - o[t]) - leak * u[t] * do/du[t] (Zheng et al. 2021)."""
    leak, threshold, surrogate = 0.25, 0.5, Rectangle(width=1.0)
    current = torch.randn(5, 40, dtype=torch.float64, requires_grad=True)
    constants = {"leak": leak, "threshold": threshold, "surrogate": surrogate, "reset": "zero", "detach_reset": False}
    spikes = lif(current, **constants).spikes
    spikes[-1].sum().backward()
    u, o = membrane(current, **constants).detach(), spikes.detach()
    slope = ((u - threshold).abs() < 0.5).double()  # a = 1, in units of potential
    expected = [slope[-1]]
    for t in range(3, -1, -1):
        expected.insert(0, expected[0] * (leak * (1 - o[t]) - leak * u[t] * slope[t]))
    torch.testing.assert_close(current.grad, torch.stack(expected))


def test_leak_gradient_has_its_closed_form():
    """d u[t] / d leak = v[t-1] + leak * d u[t-1] / d leak   with the reset detached."""
    num_steps, surrogate = 6, Triangle(height=1.0)
    current = torch.rand(num_steps, 9, dtype=torch.float64) * 1.5
    leak = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    out = lif(current, leak=leak, surrogate=surrogate)
    out.spikes.sum().backward()
    u = membrane(current, leak=0.7)
    expected, sensitivity, v = 0.0, torch.zeros(9, dtype=torch.float64), torch.zeros(9, dtype=torch.float64)
    for t in range(num_steps):
        sensitivity = v + 0.7 * sensitivity
        expected += float((surrogate.derivative(u[t] - 1) * sensitivity).sum())
        v = u[t] - out.spikes[t].detach()
    assert leak.grad.item() == pytest.approx(expected)


def test_reset_gradient_differs_when_it_is_not_detached():
    gradients = []
    for detach_reset in (True, False):
        current = torch.full((4, 1), 0.9, requires_grad=True)
        lif(current, leak=1.0, detach_reset=detach_reset).spikes.sum().backward()
        gradients.append(current.grad)
    assert not torch.allclose(*gradients)


def test_surrogate_is_in_units_of_the_threshold():
    u = torch.tensor([0.5, 2.0, 3.5], requires_grad=True)
    spike(u, 2.0, Triangle(height=0.3), False).sum().backward()
    torch.testing.assert_close(u.grad, 0.3 * torch.tensor([0.25, 1.0, 0.25]))


@pytest.mark.parametrize("surrogate", SURROGATES, ids=str)
def test_integral_is_the_integral(surrogate):
    x = torch.linspace(-4, 4, 2001, dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(surrogate.integral(x).sum(), x)
    edge = (x.abs() - surrogate.width).abs() < 5e-3 if isinstance(surrogate, Rectangle) else torch.zeros_like(x).bool()
    torch.testing.assert_close(slope[~edge], surrogate.derivative(x.detach())[~edge])
    assert surrogate.derivative(torch.zeros(1)).item() == pytest.approx(surrogate.height)
    assert surrogate.integral(torch.tensor(-1e9)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("triangle", Triangle),
        ("rectangle", Rectangle),
        ("arctan", ArcTan),
        ("sigmoid", Sigmoid),
        ("fast-sigmoid", FastSigmoid),
        ("gaussian", Gaussian),
    ],
)
def test_a_surrogate_by_name(name, made):
    numbers = {"height": 0.4, "width": 0.6, "center": 0.2}
    assert make_surrogate(name, **numbers) == made(**numbers)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: lif(torch.zeros(0, 3), leak=0.9), "at least one time step"),
        (lambda: lif(torch.zeros(2, 3), leak=2.0), "leak 2.0"),
        (lambda: lif(torch.zeros(2, 3), leak=0.0), "leak 0.0"),
        (lambda: lif(torch.zeros(2, 3), leak=0.9, threshold=0.0), "threshold 0.0"),
        (lambda: lif(torch.zeros(2, 3), leak=0.9, threshold=float("nan")), "threshold nan"),
        (lambda: lif(torch.zeros(2, 3), leak=0.9, v=torch.zeros(4)), r"v has shape \(4,\)"),
        (lambda: membrane(torch.zeros(0, 3), leak=0.9), r"current has shape \(0, 3\)"),
        (lambda: make_surrogate("round", height=1, width=1, center=1), "surrogate 'round'"),
        (lambda: make_surrogate("triangle", height=0, width=1, center=1), "height 0"),
        (lambda: make_surrogate("triangle", height=1, width=-1, center=1), "width -1"),
    ],
)
def test_errors_name_the_value(call, words):
    with pytest.raises(UserError, match=words):
        call()


@pytest.mark.parametrize("shape", [(5,), (1, 1), (4, 3), (6, 2, 7), (3, 2, 5, 4, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("detach_reset", [True, False])
def test_the_native_neuron_equals_the_reference(shape, dtype, detach_reset):
    # Multiples of 1/64 and leak 7/8 are exact in float32 for these few steps, so no spike is a matter of rounding.
    current = (torch.randint(-32, 96, shape) / 64).to(dtype)
    v = torch.randint(0, 64, shape[1:]) / 64
    weight = torch.randint(-4, 5, shape).to(dtype)

    def everything(name):
        inputs = [t.clone().requires_grad_() for t in (current, torch.tensor(0.875), v)]
        with implementation(name):
            out = lif(inputs[0], leak=inputs[1], v=inputs[2], detach_reset=detach_reset, surrogate=ArcTan())
        loss = (out.spikes * weight).float().sum() + out.v.sum()
        return out.spikes, out.v, *torch.autograd.grad(loss, inputs)

    for ours, theirs in zip(everything("fastest"), everything("reference"), strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 2**-6, "atol": 2**-6}
        torch.testing.assert_close(ours, theirs, **tolerance)


def test_channels_last_maps_are_taken_as_they_are():
    current = torch.randn(4, 2, 6, 6, 5).movedim(-1, -3)
    spikes, v = lif(current, leak=0.9)
    assert spikes.stride() == current.stride()
    again = lif(current.contiguous(), leak=0.9)
    assert torch.equal(spikes, again.spikes)
    assert torch.equal(v, again.v)


def test_works_in_a_graph():
    def f(x):
        return lif(x, leak=0.9).spikes * 2

    x = torch.randn(3, 4, 5)
    compiled = torch.compile(f, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), f(x))


@pytest.mark.parametrize("name", SHAPES)
def test_slopes_far_out_and_of_what_is_no_number(name):
    """NaN in the potential is NaN in the gradient, as in the reference: a network that diverges must show it."""
    surrogate = make_surrogate(name, height=0.7, width=0.4, center=1.0)
    far = [0.0, 1.0, -1.0, 50.0, -50.0, 1e10, -1e18, 1e20, -3e38, math.inf, -math.inf, math.nan]
    slopes = []
    for engine in ("reference", "fastest"):
        current = torch.tensor([far], requires_grad=True)
        with implementation(engine):
            slopes += torch.autograd.grad(lif(current, leak=0.9, surrogate=surrogate).spikes.sum(), current)
    torch.testing.assert_close(slopes[1], slopes[0], equal_nan=True, rtol=1e-5, atol=1e-30)
    assert slopes[1][0, 1] == pytest.approx(0.7)
