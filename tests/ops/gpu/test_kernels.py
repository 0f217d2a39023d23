"""The Triton kernels against the reference in float64: all variants, odd shapes, shrunken tilings, poisoned memory.

Inputs are drawn until no potential comes near an edge, so a difference is never rounding.
"""

import math

import pytest
import torch

from sresnet.ops.dispatch import implementation
from sresnet.ops.scan.gpu.variant import rows_of
from sresnet.ops.surrogate import ArcTan, FastSigmoid, Gaussian, Rectangle, Sigmoid, Triangle
from tests.ops import test_bntt_lif as behind
from tests.ops.flat import batch_norm, bntt_lif, lif
from tests.ops.gpu.conftest import INTERPRETED

pytestmark = pytest.mark.usefixtures("on_gpu")
DEVICE = "cpu" if INTERPRETED else "cuda"
EVERYTHING, made, exact = behind.EVERYTHING, behind.made, behind.exact
ROUNDING = behind.ROUNDING | ({torch.bfloat16: 2**-7} if INTERPRETED else {})
"""The interpreter cuts bfloat16 off where a GPU rounds to nearest."""
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=["fp32", "bf16", "fp16"])


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch):
    """Fresh memory holds NaN, or bits that nobody set: whatever a kernel leaves unwritten shows."""
    for owner, name in ((torch, "empty"), (torch, "empty_like"), (torch.Tensor, "new_empty")):
        for kind in (name, f"{name}_strided"):
            if not hasattr(owner, kind):
                continue
            original = getattr(owner, kind)

            def poisoned(*args, original=original, **kwargs):
                tensor = original(*args, **kwargs)
                return tensor.fill_(math.nan) if tensor.is_floating_point() else tensor.fill_(-86)

            monkeypatch.setattr(owner, kind, poisoned)


@pytest.fixture
def launch():
    from sresnet.ops.scan.gpu import launch

    return launch


@pytest.fixture
def small_tiles(launch, monkeypatch):
    """Several partial sums, several tiles of a program in backward, several blocks of channels."""
    monkeypatch.setattr(launch, "ROWS_PER_SUM", 32)
    monkeypatch.setattr(launch, "PROGRAMS", 2)
    monkeypatch.setattr(launch, "BACKWARD", launch._Tiling(1, 2))


def run(inputs, gradients, **constants):
    """`behind.run` where the kernels are."""
    inputs = {k: v.to(DEVICE) if isinstance(v, torch.Tensor) else v for k, v in inputs.items()}
    found = behind.run(inputs, [gradient.to(DEVICE) for gradient in gradients], **constants)
    return {name: None if each is None else each.cpu() for name, each in found.items()}


def check(shape, options=None, **constants):
    behind.check(shape, options, run=run, rounding=ROUNDING, **constants)


def compared(inputs, gradients, **constants):
    """Without safe inputs: neurons that never fire, whose slopes do not jump."""
    constants |= {"surrogate": ArcTan(), "threshold": 1e3}
    ours, theirs = run(inputs, gradients, **constants), exact(inputs, gradients, **constants)
    for name, expected in theirs.items():
        if expected is None:
            continue
        scale = expected.abs().max().clamp(min=1)
        torch.testing.assert_close(ours[name].double() / scale, expected / scale, atol=1e-5, rtol=0, msg=name)


def test_these_are_the_kernels(launch, monkeypatch):
    """And not the engine for CPUs, which would pass as well."""
    called = []
    for name in ("run_forward", "run_backward"):
        original = getattr(launch, name)
        monkeypatch.setattr(
            launch, name, lambda *given, original=original, name=name: (called.append(name), original(*given))[1]
        )
    check((2, 1, 3, 2, 2))
    assert called == ["run_forward", "run_backward"]


@DTYPES
@pytest.mark.parametrize("T", [1, 7, 17])
@pytest.mark.parametrize("C", [1, 3, 17])
def test_any_shape(C, T, dtype):
    check((T, 2, C, 5 if T < 17 else 1, 3), {"dtype": dtype, **EVERYTHING})


@pytest.mark.parametrize(
    "shape", [(3, 1, 16, 1, 3), (2, 1, 3, 3, 1), (2, 5, 1, 1, 1), (1, 2, 88, 1, 1), (33, 1, 2, 1, 3)]
)
def test_degenerate_shapes(shape):
    check(shape, EVERYTHING)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("one_step", [True, False], ids=["one step", "steps"])
@pytest.mark.parametrize("norm", ["per step", "over time", "none"])
@pytest.mark.parametrize("shape", [(3, 7, 5, 3, 5), (2, 5, 66, 1, 3), (18, 7, 3, 1, 1), (20, 3, 2, 3, 3)])
def test_many_blocks_and_segments(shape, norm, one_step):
    inputs, gradients = made(shape, 0, norm=norm, one_step=one_step, **EVERYTHING)
    compared(inputs, gradients, return_current=True, num_steps=shape[0])


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_full_tiles_are_read_without_masks(launch, monkeypatch, reset):
    """Each kernel in its unmasked form, spikes included."""
    seen = []
    blocks = launch._blocks
    monkeypatch.setattr(launch, "_blocks", lambda *given: (found := blocks(*given), seen.append(found[1]["WHOLE"]))[0])
    for name in ("FORWARD", "NORM", "STATISTICS"):
        monkeypatch.setattr(launch, name, launch._Tiling(1, 2))
    check((3, 4, 2, 4, 4), EVERYTHING, reset=reset, threshold=0.7)
    assert seen
    assert all(seen)


@DTYPES
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("norm", ["per step", "over time", "none"])
def test_norms(norm, training, dtype):
    check((4, 2, 5, 3, 3), {"norm": norm, "beta": True, "dtype": dtype}, training=training, eps=1e-2, momentum=0.3)
    check((4, 2, 5, 3, 3), {"norm": norm, "dtype": dtype, "residual_current": True}, training=training)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("norm", ["per step", "over time"])
def test_norm_alone(norm, dtype):
    inputs, (gradient, _) = made((3, 2, 5, 5, 3), 0, norm=norm, dtype=dtype, beta=True)
    del inputs["leak"]

    def both(name, place, kind):
        given = {k: v.to(place, kind) if k == "x" else v.to(place, kind and torch.float64) for k, v in inputs.items()}
        leaves = [given[k].clone().requires_grad_() for k in ("x", "gamma", "beta")]
        with implementation(name):
            y = batch_norm(*leaves, given["running_mean"].clone(), given["running_var"].clone())
        return [y.cpu(), *(g.cpu() for g in torch.autograd.grad(y, leaves, gradient.to(place, y.dtype)))]

    for ours, right in zip(both("fastest", DEVICE, None), both("reference", "cpu", torch.float64), strict=True):
        error = (ours.double() - right).abs().max().item()
        assert error <= 4 * ROUNDING[ours.dtype] * right.abs().max().item()


@pytest.mark.parametrize(
    ("mean", "spread"), [(1e3, 1.0), (-50.0, 1e-2), (0.0, 30.0)], ids=["far from 0", "narrow", "wide"]
)
def test_the_variance_keeps_its_digits(mean, spread):
    """What is left of y = scale * x + shift is another matter: float32 holds seven digits of a large x."""
    inputs, gradients = made((2, 3, 4, 5, 5), 0)
    inputs["x"] = (inputs["x"] - 3) * spread / 2 + mean
    ours, right = (f(inputs, gradients, momentum=1.0, surrogate=ArcTan()) for f in (run, exact))
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(ours[name].double(), right[name], rtol=1e-5, atol=1e-6 * spread, msg=name)


SURROGATES = [
    Triangle(height=1.3, width=0.7, center=0.2),
    Rectangle(height=0.8),
    ArcTan(),
    Sigmoid(),
    FastSigmoid(),
    Gaussian(),
]


@pytest.mark.parametrize("detach_reset", [True, False], ids=["detached", "through reset"])
@pytest.mark.parametrize("fires_at_threshold", [True, False], ids=["at", "above"])
@pytest.mark.parametrize("surrogate", SURROGATES, ids=lambda each: type(each).__name__)
def test_neurons(surrogate, fires_at_threshold, detach_reset):
    constants = {"surrogate": surrogate, "fires_at_threshold": fires_at_threshold, "detach_reset": detach_reset}
    check((5, 2, 7, 3, 3), EVERYTHING, threshold=0.7, **constants)


@pytest.mark.parametrize("learned_leak", [True, False], ids=["learned leak", "fixed leak"])
@pytest.mark.parametrize("detach_reset", [True, False], ids=["detached", "through reset"])
@pytest.mark.parametrize("input_scale", ["one", "one-minus-leak"])
@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_resets_and_input_scales(reset, input_scale, detach_reset, learned_leak):
    constants = {"reset": reset, "input_scale": input_scale, "detach_reset": detach_reset, "surrogate": ArcTan()}
    check((5, 2, 7, 3, 3), EVERYTHING | {"learned_leak": learned_leak}, threshold=0.4, **constants)
    check((4, 1, 3, 2, 2), {"learned_leak": learned_leak, "norm": "none"}, threshold=0.2, **constants)


@pytest.mark.parametrize("number", range(32))
def test_optional_inputs(number):
    names = ("residual_current", "residual_spikes", "v", "learned_leak", "return_current")
    check((3, 2, 5, 3, 3), {name: bool(number >> i & 1) for i, name in enumerate(names)})


@pytest.mark.parametrize("norm", ["per step", "over time", "none"])
@pytest.mark.parametrize("residual_current", [True, False], ids=["residual current", "none"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_one_step_for_all(training, residual_current, norm):
    for dtype in (torch.float32, torch.bfloat16):
        options = {"norm": norm, "one_step": True, "dtype": dtype, "residual_current": residual_current}
        check((5, 2, 6, 3, 3), options | {"learned_leak": True}, num_steps=5, training=training)


def test_an_expanded_image_and_other_layouts():
    check((4, 2, 3, 3, 3), {"one_step": "expanded", "beta": True})
    check((4, 2, 3, 3, 3), EVERYTHING | {"layout": "contiguous"})


def test_without_gradients_nothing_is_kept(launch, monkeypatch):
    monkeypatch.setattr(launch, "new_kept", None)  # would fail
    inputs, _ = made((5, 2, 6, 3, 3), 0, beta=True)
    place = {k: v.to(DEVICE) if isinstance(v, torch.Tensor) else v for k, v in inputs.items()}
    with torch.no_grad():
        ours = bntt_lif(**place, training=False)
        with implementation("reference"):
            right = bntt_lif(**inputs, training=False)
    assert (ours.output.cpu() != right.output).float().mean() < 0.01
    assert right.output.mean() > 0.1


def test_the_same_bits_twice():
    inputs, gradients = made((3, 4, 16, 5, 5), 0, **EVERYTHING)
    first, second = (run(inputs, gradients, return_current=True) for _ in range(2))
    for name, each in first.items():
        assert torch.equal(each, second[name]), name


@pytest.mark.parametrize("fires_at_threshold", [True, False])
def test_exactly_at_the_threshold(fires_at_threshold):
    """Whole numbers, no norm, no leak: u = 1 is exact."""
    x = torch.tensor([1.0, 0.0, 1.0, 2.0, -1.0, 3.0], device=DEVICE).reshape(6, 1, 1, 1, 1)
    out = bntt_lif(x, leak=1.0, fires_at_threshold=fires_at_threshold)
    assert out.output.flatten().tolist() == ([1, 0, 1, 1, 0, 1] if fires_at_threshold else [0, 0, 1, 1, 0, 1])
    assert out.v.item() == (2 if fires_at_threshold else 3)


@pytest.mark.parametrize("shape", [(3,), (4, 5, 6), (2, 3, 4, 5, 6), (17, 64)])
def test_neurons_of_any_shape(shape):
    current = torch.randn(shape, device=DEVICE) * 2
    for name in ("fastest", "reference"):
        leaf = current.clone().requires_grad_()
        with implementation(name):
            spikes, v = lif(leaf, leak=0.8, surrogate=ArcTan())
        (gradient,) = torch.autograd.grad(spikes.cumsum(0).sum() + v.sum(), leaf)
        if name == "fastest":
            ours = spikes, v, gradient
    for one, right in zip(ours, (spikes, v, gradient), strict=True):
        torch.testing.assert_close(one, right, atol=1e-5, rtol=1e-5)


def test_nan_stays_nan():
    inputs, gradients = made((3, 1, 2, 2, 2), 0, norm="none")
    inputs["x"][1, 0, 1, 0, 1] = math.nan
    for surrogate in (Triangle(), ArcTan(), Sigmoid(), FastSigmoid(), Gaussian()):
        ours, right = run(inputs, gradients, surrogate=surrogate), exact(inputs, gradients, surrogate=surrogate)
        for name in ("v_last", "d x"):
            assert torch.equal(ours[name].isnan(), right[name].isnan()), (name, surrogate)


@pytest.mark.parametrize("T", [3, 16, 17, 50])
@pytest.mark.parametrize("base", [True, False])
@DTYPES
def test_bits_bring_the_sums_back(T, base, dtype, launch):
    """Three layers with S2S: what `unpack` gives is bit by bit what the layers sent, whatever the rounding."""
    torch.manual_seed(T)
    shape = (T, 2, 5, 3, 1)
    total = torch.randn(shape).to(dtype).to(DEVICE) if base else None
    first, planes = total, []
    call = (None, None, None, None), (None, total, None, None)
    from sresnet.ops.scan.contract import KernelConstants, NormRows
    from sresnet.ops.scan.rows import as_rows, empty_rows

    constants = KernelConstants(0.0, 0.8, 1.0, "triangle")
    for _ in range(3):
        x = as_rows((torch.randn(shape) * 2).to(DEVICE), dtype)
        output, kept = empty_rows(x, shape), launch.new_kept(x, shape)
        given = (output, None, empty_rows(x, shape[1:], torch.float32))
        residual = None if total is None else as_rows(total, dtype)
        launch.run_forward(x, NormRows(*call[0]), None, residual, None, None, given, kept, T, True, constants)
        total = output
        planes.append(kept.bits)
    got = launch.unpack(planes, None if first is None else as_rows(first, dtype), shape, dtype)
    assert torch.equal(got, total)


@pytest.mark.parametrize("number", [256, 257])
def test_more_planes_than_a_half_counts(number, launch):
    """bfloat16 counts to 256; a sum of more spikes is rounded at each, as it was when they were added."""
    shape = (1, 1, 4, 1, 1)
    words = torch.ones(1, 1, 1, 1, 4, dtype=torch.int8, device=DEVICE)
    got = launch.unpack([words] * number, None, shape, torch.bfloat16)
    assert got.flatten().tolist() == [min(number, 256)] * 4


def test_segments_hold_all_steps(launch):
    for T in range(1, 300):
        K, number = launch._segments(T)
        assert K <= 16
        assert (number - 1) * K < T <= number * K


def test_without_a_norm_tiles_are_full_whatever_the_axes():
    assert rows_of((3, 2, 5, 8, 8), norm=False) == (10, 64)
    assert rows_of((3, 2, 5, 8, 8), norm=True) == (128, 5)
    assert rows_of((3, 1, 1, 1, 7), norm=False) == (7, 1)


def test_memory_that_is_not_in_rows_is_a_fault(launch):
    x = torch.zeros(2, 1, 3, 2, 2, device=DEVICE)
    with pytest.raises(TypeError, match="expects torch.float32 in rows"):
        launch._in_rows(x, torch.float32, x)
    with pytest.raises(TypeError, match="expects torch.float16 in rows"):
        launch._in_rows(x[:, :, :1], torch.float16, x)
    assert launch._in_rows(x[:0], torch.float32, x) is None
