"""The comparison of the kernels with the reference, on the GPU where a layer is about to run them.

Nobody can try every GPU, driver and version of Triton before a release. So before a layer first runs a variant of the
kernels, that variant computes a small input, forward and backward, and the reference in float64 the same. What passed
is remembered beside the compiled kernel of the CPU, by a digest of all that it depends on.
"""

import dataclasses
import functools
import hashlib
import inspect
import math
import sys
from collections.abc import Sequence

import torch
from torch import Tensor

from sresnet.ops.lif.reference import lif_reference, membrane_reference
from sresnet.ops.neuron import LIFConstants
from sresnet.ops.norm import NormState, batch_norm_reference
from sresnet.ops.scan import native
from sresnet.ops.scan.contract import Kept, NormRows, kernel_constants
from sresnet.ops.scan.gpu.variant import LARGEST_TILE, SMALLEST_TILE, Variant, width_of
from sresnet.ops.scan.rows import as_rows, empty_rows
from sresnet.ops.surrogate import make_surrogate
from sresnet.printing import tell_once

ROUNDING = {torch.float32: 3e-5, torch.bfloat16: 2**-7, torch.float16: 2**-10}
"""Largest difference, of the largest value; the fp32 sums of a few thousand values are as exact as that."""
MARGIN = 1e-4
"""Neurons whose potential comes so near to where spikes or slopes jump take no part."""
WIDTH, CENTER = 0.6, 0.9
"""Of the surrogates."""
EDGES = (CENTER - WIDTH, CENTER + WIDTH)
"""Where the rectangle jumps, in units of the threshold."""


def compare(variant: Variant, device: torch.device, *, first: bool) -> bool:
    """The kernels pass for this variant, now or as is remembered; the `first` that does not is told on stderr."""
    line = variant.words()
    try:
        file = _file(device)
        if line in native.recall(file):
            return True
        problem = _difference(variant, device)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever Triton, its compiler, its launcher or the driver raise
        problem = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    if problem is None:
        native.remember(file, line)
        return True
    if first:
        tell_once(
            f"a Triton kernel fails its comparison with the reference on {_place(device)}: {problem}; such layers run "
            f"in PyTorch, slowly. Please report this line: torch {torch.__version__}, triton {_version()}, {line}"
        )
    return False


def _version() -> str:
    """Of triton, which may not even be importable."""
    return getattr(sys.modules.get("triton"), "__version__", "that cannot be imported")


def _place(device: torch.device) -> str:
    """What computes."""
    if device.type != "cuda":
        return device.type
    return f"{torch.cuda.get_device_name(device)} {torch.cuda.get_device_capability(device)}"


@functools.cache
def _file(device: torch.device) -> str:
    """Where what passed on this GPU is remembered: a name that changes with all that it depends on."""
    from sresnet.ops.scan.gpu import kernels, launch

    code = [inspect.getsource(module) for module in (kernels, launch, sys.modules[__name__])]
    parts = [*code, launch.VERSION, torch.__version__, str(torch.version.cuda), _place(device)]
    return f"triton-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:20]}.txt"


class _Case:
    """A small input of a variant on a device: streams, rows of the norm, and gradients of what the layer gives."""

    def __init__(self, variant: Variant, device: torch.device) -> None:
        draw = torch.Generator().manual_seed(0)
        self.storage: torch.dtype = getattr(torch, variant.storage)
        # Two tiles at least in every kernel that goes through several; in the others one that is not full.
        width = width_of(variant.channels)
        height = 2 * LARGEST_TILE // width if variant.whole else 2 * SMALLEST_TILE // width - 1
        steps, step = variant.num_steps, (1, variant.channels, height, 1)

        def stream(shape: Sequence[int], dtype: torch.dtype = self.storage) -> Tensor:
            return as_rows(torch.randn(*shape, generator=draw).to(device), dtype)

        def row(low: float, high: float) -> Tensor:
            shape = (steps, variant.channels) if variant.norm == "per-step" else (variant.channels,)
            return (torch.rand(shape, generator=draw) * (high - low) + low).to(device)

        self.variant = variant
        self.x = stream((1 if variant.one_step else steps, *step)) * 2
        self.residual_current = stream((steps, *step)) if variant.residual_current else None
        self.residual_spikes = stream((steps, *step)) if variant.residual_spikes else None
        self.v = stream(step, torch.float32) if variant.v else None
        self.leak = torch.tensor(0.8, device=device) if variant.learned_leak else None
        self.rows = NormRows(None, None, None, None)
        if variant.norm != "none":
            beta = row(-0.3, 0.3) if variant.beta else None
            self.rows = NormRows(row(0.5, 1.5), beta, row(-0.5, 0.5), row(3.0, 5.0))
        self.gradients = [
            stream((steps, *step)),
            stream((steps, *step)) if variant.return_current else None,
            stream(step, torch.float32) if variant.v else None,
        ]

    def neuron(self, leak: float | Tensor) -> LIFConstants | None:
        """The neurons, with any numbers where a number decides nothing."""
        kind = self.variant
        if kind.surrogate == "none":
            return None
        return LIFConstants(
            leak=leak,
            surrogate=make_surrogate(kind.surrogate, height=0.7, width=WIDTH, center=CENTER),
            threshold=0.8,
            fires_at_threshold=kind.fires_at_threshold,
            detach_reset=kind.detach_reset,
            reset=kind.reset,  # type: ignore[arg-type]
            input_scale=kind.input_scale,  # type: ignore[arg-type]
        )

    def norm(self, rows: NormRows) -> NormState | None:
        """The norm of these rows; with momentum 1 the reference leaves the statistics it used in the averages."""
        if rows.gamma is None or rows.mean is None or rows.var is None:
            return None
        return NormState(
            gamma=rows.gamma,
            beta=rows.beta,
            running_mean=rows.mean,
            running_var=rows.var,
            training=self.variant.training,
            momentum=1.0,
        )


def _difference(variant: Variant, device: torch.device) -> str | None:
    """What of the kernels' results differs from those of the reference, in words; None where nothing does."""
    case = _Case(variant, device)
    expected, safe = _expected(case)
    found = _found(case)
    for name, right in expected.items():
        ours = found[name].double()
        if name in ("output", "current", "v"):
            ours, right = torch.where(safe, ours, 0), torch.where(safe, right, 0)
        exact = name == "output" and case.residual_spikes is None and variant.surrogate != "none"
        of = name.removesuffix(", two ways")
        rounding = ROUNDING[found[name].dtype] * (4 if of == "d x" else 1)  # which is stored twice
        largest = max(right.abs().max().item(), math.sqrt(case.x.numel()) if of == "d leak" else 0.0)
        apart = (ours - right).abs().max().item()
        if not apart <= (0.0 if exact else rounding * largest + 1e-7):  # NaN is not
            return f"{name} differs by {apart:.2g} where the largest value is {largest:.2g}"
    return None


def _expected(case: _Case) -> tuple[dict[str, Tensor], Tensor]:
    """What the reference gives in float64, by name, and which neurons [N, C, H, W] to compare.

    The gradients that come to other neurons are set to zero, for these and for the kernels.
    """
    variant, steps = case.variant, case.variant.num_steps

    def wide(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.detach().double().requires_grad_(variant.learns)

    x, residual_current, v, leak = map(wide, (case.x, case.residual_current, case.v, case.leak))
    residual_spikes, gamma, beta = wide(case.residual_spikes), wide(case.rows.gamma), wide(case.rows.beta)
    averages = [None if row is None else row.double() for row in case.rows[2:]]
    norm, neuron = case.norm(NormRows(gamma, beta, *averages)), case.neuron(0.8 if leak is None else leak)
    assert x is not None
    with torch.set_grad_enabled(variant.learns):
        current = x.expand(steps, *x.shape[1:])
        current = current if norm is None else batch_norm_reference(current, norm)
        current = current if residual_current is None else current + residual_current
        if neuron is None:
            output, v_last = current, None
        else:
            output, v_last = lif_reference(current, neuron, v)
        output = output if residual_spikes is None else output + residual_spikes
    safe = torch.ones_like(x[0], dtype=torch.bool)
    if neuron is not None:
        u = membrane_reference(
            current.detach(), dataclasses.replace(neuron, leak=0.8), None if v is None else v.detach()
        )
        edges = [neuron.threshold * at for at in (1.0, *(EDGES if variant.surrogate == "rectangle" else ()))]
        safe = torch.stack([(u - edge).abs() > MARGIN for edge in edges]).all(0).all(0)
    given = {"output": output}
    if variant.return_current:
        given["current"] = current
    if v_last is not None:
        given["v"] = v_last
    found = {name: each.detach() for name, each in given.items()}
    if norm is not None and variant.training:
        values = case.x[0, :, 0].numel() * (1 if norm.per_step else steps)
        found |= {"mean": norm.running_mean, "var": norm.running_var * ((values - 1) / values)}
    if variant.learns:
        case.gradients = [each if each is None else each * safe for each in case.gradients]
        outputs, incoming = [], []
        for one, gradient in zip((output, current, v_last), case.gradients, strict=True):
            if one is not None and gradient is not None:
                outputs.append(one)
                incoming.append(gradient.double())
        named = {"x": x, "residual current": residual_current, "v": v, "gamma": gamma, "beta": beta, "leak": leak}
        leaves = {f"d {name}": each for name, each in named.items() if each is not None}
        gradients = torch.autograd.grad(outputs, [*leaves.values()], incoming)
        found |= dict(zip(leaves, gradients, strict=True))
        if variant.two_ways:
            found |= {f"{name}, two ways": each for name, each in zip(leaves, gradients, strict=True)}
            found["d residual spikes"] = incoming[0]
    return found, safe


def _found(case: _Case) -> dict[str, Tensor]:
    """What the kernels give, by name, in memory that holds NaN before."""
    from sresnet.ops.scan.gpu import launch

    variant, steps, x = case.variant, case.variant.num_steps, case.x
    constants = kernel_constants(case.norm(case.rows), case.neuron(0.8))

    def memory(like: Tensor | None) -> Tensor | None:
        return None if like is None else torch.full_like(like, math.nan)

    stream = empty_rows(x, (steps, *x.shape[1:])).fill_(math.nan)
    output, current = stream, memory(stream) if variant.return_current else None
    v_last = as_rows(torch.full_like(x[0], math.nan), torch.float32) if constants.neurons else None
    rows = case.rows
    if variant.training:
        rows = NormRows(rows.gamma, rows.beta, memory(rows.mean), memory(rows.var))
    kept = launch.new_kept(x, stream.shape) if variant.learns and constants.neurons else Kept()
    launch.run_forward(
        x,
        rows,
        case.residual_current,
        case.residual_spikes,
        case.v,
        case.leak,
        (output, current, v_last),
        kept,
        steps,
        variant.training,
        constants,
    )
    found = {"output": output, "current": current, "v": v_last}
    if variant.training:
        found |= {"mean": rows.mean, "var": rows.var}
    if variant.learns:
        takers = {"x": x, "residual current": case.residual_current, "v": case.v}
        takers |= {"gamma": rows.gamma, "beta": rows.beta, "leak": case.leak}
        given = [memory(each) for each in takers.values()]

        def backward(gradients: Sequence[Tensor | None], given: Sequence[Tensor | None]) -> None:
            launch.run_backward(
                gradients,
                x,
                rows,
                case.residual_current,
                case.v,
                case.leak,
                given,
                kept,
                steps,
                variant.training,
                constants,
                programs=2 if variant.whole else 1,  # so that one has several tiles, as it has on large inputs
            )

        backward([*case.gradients, None], [*given, None])
        found |= {f"d {name}": each for name, each in zip(takers, given, strict=True)}
        if variant.two_ways:
            apart = [memory(each) for each in takers.values()]
            total, *others = case.gradients
            assert total is not None
            part = as_rows(torch.where(total.abs() < 1, 0.5 * total, 0), x.dtype)
            rest, summed = as_rows(total - part, x.dtype), memory(stream)
            backward([part, *others, rest], [*apart, summed])
            found |= {f"d {name}, two ways": each for name, each in zip(takers, apart, strict=True)}
            found["d residual spikes"] = summed
    return {name: each for name, each in found.items() if each is not None}
