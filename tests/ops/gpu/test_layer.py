"""Layers and networks on the Triton kernels: the convolution, bits, low memory, time segments, torch.compile."""

import copy

import pytest
import torch

from sresnet import create_model
from sresnet.ops.dispatch import implementation
from sresnet.ops.lif import lif as typed_lif
from sresnet.ops.neuron import LIFConstants
from sresnet.ops.scan.rows import is_rows
from sresnet.ops.surrogate import ArcTan, Triangle
from sresnet.printing import tell_once
from tests.ops import test_conv_bntt_lif as layers
from tests.ops.gpu.test_kernels import DEVICE, _poisoned

__all__ = ["_poisoned"]
pytestmark = pytest.mark.usefixtures("on_gpu")
NAMES = ["fastest", "low-memory"]
CPU_ONLY = pytest.mark.skipif(DEVICE != "cpu", reason="these inputs are made on the CPU")


@CPU_ONLY
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("channels", "size", "stride"), [(3, 3, 2), (17, 1, 1)])
def test_a_layer(channels, size, stride, name):
    layers.check(name, (3, 2, 4, 5, 3), channels, size, {"stride": stride, **layers.EVERYTHING})
    layers.check(name, (3, 2, 4, 5, 3), channels, size, {"stride": stride, "x": "spikes"})


@CPU_ONLY
@pytest.mark.parametrize("norm", ["per step", "over time", "none"])
def test_a_layer_that_sees_an_image(norm):
    options = {"norm": norm, "x": "constant", "beta": True, "residual_current": True}
    layers.check("fastest", (3, 2, 3, 4, 3), options=options)


NETWORKS = {
    "s2s": {},
    "time-averaged": {"norm": "time-averaged", "norm_bias": True},
    "v2v, plif": {"connection": "v2v", "neuron": "plif", "downsample": "max"},
    "s2m, tdbn": {"connection": "s2m", "norm": "tdbn", "skip": "learned", "downsample": "avg"},
    "none, no norm": {"connection": "none", "neuron": "if", "norm": "none", "surrogate": "arctan"},
    "spiking skip, shared leak": {"skip": "spiking", "neuron": "plif-shared", "detach_reset": False},
}


def trained(model, images, name, dtype, place):
    """Scores, gradients of images and parameters together, and running averages of a copy of `model`."""
    model = copy.deepcopy(model).to(place, dtype)
    images = images.to(place, dtype).requires_grad_()
    with implementation(name):
        scores = model(images)
    given = [images, *model.parameters()]
    gradients = torch.autograd.grad(scores[:, 3].sum(), given, allow_unused=True, materialize_grads=True)
    averages = [value.double().cpu().flatten() for key, value in model.state_dict().items() if "running" in key]
    return (
        scores.detach().double().cpu(),
        torch.cat([gradient.double().cpu().flatten() for gradient in gradients]),
        torch.cat(averages) if averages else torch.zeros(1),
    )


@pytest.mark.parametrize(("name", "kind"), [("fastest", kind) for kind in NETWORKS] + [("low-memory", "s2s")])
def test_a_network(name, kind, capsys):
    """Against float64, where no potential comes so near the threshold that a spike differs; nothing is copied."""
    tell_once.cache_clear()
    fields = {"base_filters": 4, "num_steps": 2} | NETWORKS[kind]
    for seed in range(9):
        torch.manual_seed(seed)
        model, images = create_model("sresnet8", **fields), torch.randn(2, 3, 6, 6)
        ours = trained(model, images, name, torch.float32, DEVICE)
        right = trained(model, images, "reference", torch.float64, "cpu")
        if torch.allclose(ours[0], right[0], atol=1e-5, rtol=1e-4):
            break
    torch.testing.assert_close(ours[0], right[0], atol=1e-5, rtol=1e-4)
    assert (ours[1] - right[1]).norm() <= 1e-3 * right[1].norm()
    assert right[1].norm() > 0
    torch.testing.assert_close(ours[2], right[2], atol=1e-5, rtol=1e-4)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(("channels", "side", "stride"), [((3, 32), 32, 1), ((32, 32), 32, 1), ((32, 64), 16, 2)])
def test_convolutions_give_channels_last(channels, side, stride, dtype):
    """Of what computes here, cuDNN or oneDNN, forward and of the input."""
    inputs, outputs = channels
    x = torch.randn(2, inputs, side, side, device=DEVICE).to(dtype, memory_format=torch.channels_last)
    weight = torch.randn(outputs, inputs, 3, 3, device=DEVICE).to(dtype, memory_format=torch.channels_last)
    y = torch.nn.functional.conv2d(x, weight, None, stride, 1)
    given = (torch.randn_like(y), x, weight, None, [stride] * 2, [1, 1], [1, 1], False, [0, 0], 1, [True, True, False])
    dx = torch.ops.aten.convolution_backward(*given)[0]
    assert is_rows(y)
    assert is_rows(dx)


def gradients(model, images, **more):
    return torch.cat(
        [g.flatten() for g in torch.autograd.grad(model(images, **more).square().sum(), model.parameters())]
    )


def test_the_two_ways_of_a_block_are_added_by_the_kernel(monkeypatch):
    """Every layer in front of a block and none inside; autograd adds nothing of that size."""
    from sresnet.ops.scan.gpu import launch

    seen, original = [], launch.run_backward
    monkeypatch.setattr(launch, "run_backward", lambda *given: (seen.append(given), original(*given))[1])
    model = create_model("sresnet8", base_filters=2, num_steps=2).to(DEVICE)
    gradients(model, torch.randn(2, 3, 4, 4, device=DEVICE))
    ways = [given[0][3] is not None for given in seen]
    assert ways.count(True) == 3  # the stem, and two blocks of three; the last goes to the readout alone
    handed_on = [given[6][6] is not None for given in seen]
    assert handed_on.count(True) == 2  # the stem has no skip to hand it on to
    assert not any(one and not two for one, two in zip(handed_on, ways, strict=True))


def test_time_segments_and_low_memory_give_the_same_gradients():
    model = create_model("sresnet8", base_filters=2, num_steps=2).to(DEVICE)
    images = torch.randn(2, 3, 4, 4, device=DEVICE)
    before = copy.deepcopy(model.state_dict())
    whole = gradients(model, images)
    model.load_state_dict(before)
    torch.testing.assert_close(gradients(model, images, time_segments=2), whole, atol=1e-6, rtol=1e-4)
    model.load_state_dict(before)
    with implementation("low-memory"):
        assert torch.equal(gradients(model, images), whole)


def test_a_network_evaluated_step_by_step():
    model = create_model("sresnet8", base_filters=4, num_steps=3).to(DEVICE).eval()
    images = torch.randn(2, 3, 6, 6, device=DEVICE)
    with torch.no_grad():
        ours = model(images)
        with implementation("reference"):
            right = model(images)
    torch.testing.assert_close(ours, right, atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of torch.compile, about torch
@pytest.mark.parametrize("surrogate", [ArcTan()], ids=["arctan"])
def test_compiled_code_runs_the_same_operators(surrogate):
    x = (torch.randn(5, 2, 3, 2, 2) * 2).to(DEVICE)
    neuron, found = LIFConstants(leak=0.8, surrogate=surrogate), []

    def loss(x):
        return typed_lif(x, neuron).spikes.cumsum(0).sum()

    for f in (loss, torch.compile(loss, fullgraph=True, backend="aot_eager")):
        leaf = x.clone().requires_grad_()
        found += torch.autograd.grad(f(leaf), leaf)
    assert torch.equal(*found)
    assert found[0].any()


def test_what_the_operators_promise():
    """Shapes, strides and types of fakes, and that nothing given is changed."""
    x = torch.randn(3, 2, 4, 2, 2).movedim(2, -1).contiguous().movedim(-1, 2).to(DEVICE).requires_grad_()
    rows = [torch.rand(3, 4, device=DEVICE) + 0.5 for _ in range(4)]
    constants = (1e-4, 0.8, 1.0, "triangle", 0.3, 1.0, 1.0, False, True, "subtract", "one")
    for learns in (True, False):
        arguments = (x, *rows, None, None, None, None, 3, True, *constants, True, learns)
        torch.library.opcheck(
            torch.ops.sresnet.bntt_lif.default, arguments, test_utils=("test_schema", "test_faketensor")
        )


@pytest.mark.parametrize(("name", "T", "most"), [("fastest", 10, 2.35), ("low-memory", 10, 0.3)])
def test_what_is_kept_for_backward(name, T, most):
    """Bytes per neuron and step of a chain of s2s layers in bfloat16, the first and its input apart."""
    from sresnet.ops.conv_bntt_lif import Convolution, conv_bntt_lif

    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weight = torch.randn(8, 8, 3, 3, device=DEVICE).div_(4).requires_grad_()
    neuron, signal, packed, sizes = LIFConstants(leak=0.9, surrogate=Triangle()), None, None, []
    x = torch.randn(T, 1, 8, 6, 6, device=DEVICE).bfloat16()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda each: each), implementation(name):
        for _ in range(3):
            signal = conv_bntt_lif(
                x, Convolution(weight, padding=(1, 1)), None, neuron, packed=packed, residual_packed=packed,
                residual_spikes=None if packed is None else x,
            )  # fmt: skip
            x, packed = signal.output, signal.packed
            sizes.append(sum(kept.values()))
    assert packed is not None
    assert len(packed.planes) == 3
    neuron_steps = signal.output.numel()
    fixed = 2 * weight.numel()  # the weight in bfloat16, of each layer
    assert 0 < (sizes[2] - sizes[1] - fixed) / neuron_steps <= most
    loss = signal.output.float().square().sum()
    (gradient,) = torch.autograd.grad(loss, weight)
    assert gradient.isfinite().all()
    assert gradient.any()
