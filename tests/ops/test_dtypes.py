"""Every dtype gives the numbers of the definition or an error; no bits are read as of another type.

All values are multiples of 1/8 that every dtype holds, and so are all sums; potentials are 0.03 and more from the
threshold. So spikes are the same in every precision, and gradients as far as its rounding allows.
"""

import contextlib

import pytest
import torch

from sresnet import create_model
from sresnet.ops.dispatch import IMPLEMENTATIONS, implementation
from sresnet.ops.surrogate import Rectangle
from tests.ops.flat import batch_norm, bntt_lif, conv_batch_norm, conv_bntt_lif, lif, membrane

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
T, N, C, H, W = 2, 2, 3, 4, 3
NEURON = {"threshold": 1.03, "surrogate": Rectangle(width=2.3)}


def eighths(*shape, low=-8, high=9):
    return torch.randint(low, high, shape) / 8


def norm_rows(*shape):
    """With eps in the variance, so that the norm is the identity but for signs."""
    return {
        "gamma": eighths(*shape).sign() + 0.0,
        "beta": eighths(*shape),
        "running_mean": eighths(*shape),
        "running_var": torch.full(shape, 0.5),
    }


def neurons():
    inputs = {"current": eighths(T, N, C), "leak": torch.tensor(0.5), "v": eighths(N, C)}
    return lambda **given: lif(**given, **NEURON), inputs


def behind(*shape):
    inputs = {name: eighths(T, N, C, H, W) for name in ("x", "residual_current", "residual_spikes")}
    inputs |= {"v": eighths(N, C, H, W), "leak": torch.tensor(0.5), **(norm_rows(*shape) if shape else {})}
    constants = NEURON | {"training": False, "eps": 0.5, "return_current": True}
    return lambda **given: bntt_lif(**given, **constants), inputs


def layer(*shape):
    _, inputs = behind(*shape)
    inputs |= {"x": eighths(T, N, 2, H, W, low=0, high=2) * 8, "weight": eighths(C, 2, 3, 3, low=-3, high=4)}
    constants = NEURON | {"training": False, "eps": 0.5, "return_current": True, "padding": (1, 1)}
    return lambda **given: conv_bntt_lif(**given, **constants)[:3], inputs


def norm():
    inputs = {"x": eighths(T, N, C, H, W), **norm_rows(T, C)}
    return lambda **given: (batch_norm(**given, training=False, eps=0.5),), inputs


def skip():
    inputs = {"x": eighths(T, N, 2, H, W), "weight": eighths(C, 2, 1, 1, low=-3, high=4), **norm_rows(C)}
    return lambda **given: (conv_batch_norm(**given, training=False, eps=0.5),), inputs


OPS = {
    "neurons": neurons,
    "norm": norm,
    "behind, no norm": behind,
    "behind, norm per step": lambda: behind(T, C),
    "layer, no norm": layer,
    "layer, norm per step": lambda: layer(T, C),
    "layer, norm over time": lambda: layer(C),
    "skip": skip,
}


def everything(op, inputs, name, autocast=None):
    """Outputs and gradients; the leaves take one, the averages none."""
    inputs = {k: v.clone().requires_grad_("running" not in k) for k, v in inputs.items()}
    with torch.autocast("cpu", autocast) if autocast else contextlib.nullcontext(), implementation(name):
        outputs = op(**inputs)
    generator = torch.Generator().manual_seed(1)
    gradients = [torch.randint(-2, 3, o.shape, generator=generator).to(o.dtype) for o in outputs]
    leaves = {k: v for k, v in inputs.items() if v.requires_grad}
    found = torch.autograd.grad(outputs, [*leaves.values()], gradients)
    return [o.detach() for o in outputs], dict(zip(leaves, found, strict=True))


@pytest.mark.parametrize("autocast", [None, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("op", OPS)
def test_one_input_of_another_type(op, autocast):
    call, inputs = OPS[op]()
    expected, gradients = everything(call, {k: v.double() for k, v in inputs.items()}, "reference")
    lowest = 2**-9 if autocast is None else 2**-6
    for changed in [*inputs, *([] if "leak" not in inputs else ["residual_current and residual_spikes"]), "all"]:
        for dtype in FLOATS:
            names = inputs if changed == "all" else changed.split(" and ")
            given = inputs | {k: inputs[k].to(dtype) for k in names if k in inputs}
            dtypes = []
            for name in IMPLEMENTATIONS[::-1]:
                try:
                    outputs, found = everything(call, given, name, autocast)
                except RuntimeError:  # torch's own, of a convolution or a norm of two types
                    assert not dtypes, f"{changed} {dtype}, {name} raises and the definition does not"
                    continue
                where = f"{changed} {dtype}, {name}"
                dtypes.append([each.dtype for each in outputs])
                tolerance = max(lowest, 2**-6 if dtype == torch.bfloat16 else 0)
                assert torch.equal(outputs[0].double(), expected[0]) or op in ("norm", "skip"), where
                pairs = zip([*outputs, *found.values()], [*expected, *gradients.values()], strict=True)
                for one, right in pairs:
                    scale = right.abs().max().item()
                    assert (one.double() - right).abs().max().item() <= tolerance * scale + 1e-9, where
                for key, gradient in found.items():
                    assert gradient.dtype == given[key].dtype
            assert all(each == dtypes[0] for each in dtypes), (changed, dtype, dtypes)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_potentials_are_summed_in_float32(dtype):
    """2048 and 1 is 2048 in either type."""
    x = torch.tensor([2048.0, 1.0, 1.0], dtype=dtype).view(3, 1, 1, 1, 1).expand(3, 2, 1, 1, 1)
    gamma, zero, one = torch.ones(1, dtype=dtype), torch.zeros(1, dtype=dtype), torch.ones(1, dtype=dtype)
    for rows in ((), (gamma, None, zero, one), (gamma.expand(3, 1), None, zero.expand(3, 1), one.expand(3, 1))):
        out = bntt_lif(x, *rows, leak=1.0, threshold=1e4, training=False, eps=0.0)
        assert out.v.flatten().tolist() == [2050.0] * 2
        assert out.output.dtype == dtype
    assert lif(x, leak=1.0, threshold=1e4).v.flatten().tolist() == [2050.0] * 2
    assert membrane(x, leak=1.0, threshold=1e4)[:, 0].flatten().tolist() == [2048.0, 2049.0, 2050.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_a_network_under_autocast_fires_as_without(dtype, name):
    torch.manual_seed(1)
    model = create_model("sresnet8", base_filters=8, num_steps=4, connection="s2s")
    images = torch.randn(4, 3, 12, 12)
    rates = []
    for context in (contextlib.nullcontext(), torch.autocast("cpu", dtype)):
        sent = []
        hook = model.layers["stage1_block1"].register_forward_hook(lambda *given, sent=sent: sent.append(given[2]))
        with torch.no_grad(), implementation(name), context:
            model(images)
        hook.remove()
        rates.append(float(sent[0].spikes.float().mean()))
    assert rates[0] > 0.05
    assert rates[1] == pytest.approx(rates[0], rel=0.05)


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_layers_of_two_types(name):
    """What a layer under autocast keeps in bits, and what it adds to, is given to one outside, and back."""
    torch.manual_seed(2)
    x, weight = torch.randn(3, 2, 4, 6, 6), [torch.randn(4, 4, 3, 3).div_(4).requires_grad_() for _ in range(3)]
    constants = {"leak": 0.5, "padding": (1, 1), "surrogate": Rectangle(width=2.3)}

    def gradients(name, kinds, dtype=torch.float32):
        signal, packed = x.to(dtype), None
        for each, kind in zip(weight, kinds, strict=True):
            with torch.autocast("cpu", torch.bfloat16, enabled=kind), implementation(name):
                signal = signal if kind else signal.float()
                out = conv_bntt_lif(
                    signal, each.to(dtype), **constants, packed=packed, residual_spikes=signal, residual_packed=packed
                )
            signal, packed = out.output, out.packed
        return torch.autograd.grad(signal.float().sum(), weight)

    for kinds in ((False, True, False), (True, False, True)):
        for one, right in zip(gradients(name, kinds), gradients("reference", kinds), strict=True):
            assert (one - right).norm() <= 0.1 * right.norm()  # a rounding in bfloat16 may flip a spike
