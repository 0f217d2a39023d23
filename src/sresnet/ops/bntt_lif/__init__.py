"""Everything of a spiking layer behind its convolution, in one pass over time: norm, residual, neurons."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sresnet.errors import UserError
from sresnet.ops import scan
from sresnet.ops.bntt_lif.reference import bntt_lif_reference
from sresnet.ops.dispatch import reference_chosen
from sresnet.ops.neuron import LIFConstants
from sresnet.ops.norm import NormState, batch_norm_reference, check_norm
from sresnet.ops.over_time import OneStep, constant

__all__ = ["BNTTLIFOutput", "batch_norm", "bntt_lif"]


class BNTTLIFOutput(NamedTuple):
    """What a layer returns."""

    output: Float[Tensor, "T N C H W"]
    """Spikes, with `residual_spikes` added to them: [T, N, C, H, W] in the dtype of x, channels last in memory."""
    current: Float[Tensor, "T N C H W"] | None
    """Input current of the neurons, as `output`; None unless `return_current`."""
    v: Float[Tensor, "N C H W"]
    """Membrane potential after the last step, [N, C, H, W], float32: pass it to the next call to continue."""


def bntt_lif(
    x: Float[Tensor, "steps N C H W"],
    norm: NormState | None,
    neuron: LIFConstants,
    *,
    num_steps: int | None = None,
    residual_current: Float[Tensor, "T N C H W"] | None = None,
    residual_spikes: Float[Tensor, "T N C H W"] | None = None,
    v: Float[Tensor, "N C H W"] | None = None,
    return_current: bool = False,
) -> BNTTLIFOutput:
    """Batch norm of a convolution's output, residual current, LIF neurons over T steps, residual spikes.

        y[t]       = gamma[t] * (x[t] - mean[t]) / sqrt(var[t] + eps) + beta[t]
        current[t] = y[t] + residual_current[t]           S2M, V2V (Eqs. 7, 15)
        u[t]       = leak * v[t-1] + current[t]           Eqs. 3, 5
        o[t]       = 1 where u[t] > threshold, else 0     Eqs. 4, 6
        v[t]       = u[t] - threshold * o[t]
        output[t]  = o[t] + residual_spikes[t]            S2S (Eqs. 10, 13)

    mean and var are, in training, those of x over N, H, W (and over T where gamma is [C]), and the running averages,
    which take the unbiased variance, are updated in place; else they are the running averages.

    On the CPU, float32 and bfloat16 are computed by one native kernel that keeps nothing but x and the residual current
    for the backward pass; on a GPU, these and float16 by Triton's, which keep bits of the spikes besides. Arithmetic
    and sums are in float32. Everything else is computed by the PyTorch of `reference.py`.

    Args:
        x: [T, N, C, H, W], read fastest where channels are last in memory; another layout is copied once. A view of
            one step expanded over time is normalised once (unless it is itself a leaf that takes a gradient).
        norm: of these steps; None, no norm.
        neuron: constants of the neurons.
        num_steps: T, where x is one step [1, N, C, H, W] that every step receives (direct encoding).
        residual_current: [T, N, C, H, W], in the unit of the potential: s2m gives threshold * skip(spikes), v2v
            skip(current). Stored in the dtype of x.
        residual_spikes: [T, N, C, H, W]: 0 or 1, or real numbers behind a 1x1 skip. Stored in the dtype of x.
        v: potential left by an earlier call, [N, C, H, W]; None is zero.
        return_current: return the current too, which v2v passes on; its gradient flows back.

    Raises:
        UserError: a shape that does not fit, no time step, or one value per channel to take statistics of.

    Source: paper Sections 3.1, 3.2; Kim & Panda 2021 (BNTT).
    """
    num_steps = x.shape[0] if num_steps is None and x.ndim else num_steps
    _check_layer(x, num_steps, norm, residual_current, residual_spikes, v)
    assert num_steps is not None
    streams = (residual_current, residual_spikes)
    apart = norm is not None and norm.gathers  # what runs without a convolution is not divided at the statistics
    if (
        apart
        or reference_chosen()
        or not scan.runs(x, norm, neuron, v, *streams, num_steps=num_steps, return_current=return_current)
    ):
        output, current, v_last = bntt_lif_reference(
            x.expand(num_steps, *x.shape[1:]),
            norm,
            neuron,
            residual_current=residual_current,
            residual_spikes=residual_spikes,
            v=v,
        )
        return BNTTLIFOutput(output, current if return_current else None, v_last)
    if constant(x):
        x = x[:1] if torch.compiler.is_compiling() else OneStep.apply(x)
    output, current, v_last = scan.scan(
        x,
        norm,
        neuron,
        num_steps=num_steps,
        residual_current=residual_current,
        residual_spikes=residual_spikes,
        v=v,
        return_current=return_current,
    )
    return BNTTLIFOutput(output, current if return_current else None, v_last)


def batch_norm(x: Float[Tensor, "T N C H W"], norm: NormState) -> Float[Tensor, "T N C H W"]:
    """The norm of `bntt_lif` alone, for a path without neurons such as the 1x1 convolution of a skip.

    Args:
        x: [T, N, C, H, W].
        norm: as in `bntt_lif`.

    Returns:
        y, [T, N, C, H, W] in the dtype of x, channels last in memory where the native kernel runs.

    Raises:
        UserError: as `bntt_lif`.
    """
    _check_layer(x, x.shape[0], norm, None, None, None)
    if norm.gathers or reference_chosen() or not scan.runs(x, norm, None, None):
        return batch_norm_reference(x, norm).to(x.dtype)
    return scan.scan(x, norm, None, num_steps=x.shape[0])[0]


def _check_layer(
    x: Tensor,
    num_steps: int | None,
    norm: NormState | None,
    residual_current: Tensor | None,
    residual_spikes: Tensor | None,
    v: Tensor | None,
) -> None:
    """Raise the errors that `bntt_lif` documents."""
    if not x.is_floating_point():
        raise UserError(f"x has dtype {x.dtype}: expected real numbers, the output of a convolution")
    check_shapes(x.shape, num_steps, norm, residual_current, residual_spikes, v)


def check_shapes(
    shape: tuple[int, ...],
    num_steps: int | None,
    norm: NormState | None,
    residual_current: Tensor | None,
    residual_spikes: Tensor | None,
    v: Tensor | None,
) -> None:
    """The same for an x of this shape."""
    if len(shape) != 5 or shape[0] == 0:
        raise UserError(f"x has shape {tuple(shape)}: expected [T, N, C, H, W] with at least one time step")
    if num_steps is None or num_steps < 1 or shape[0] not in (1, num_steps):
        raise UserError(f"num_steps is {num_steps} and x holds {shape[0]} steps: give x one step, or num_steps")
    steps = (num_steps, *shape[1:])
    for name, tensor, expected in (
        ("residual_current", residual_current, steps),
        ("residual_spikes", residual_spikes, steps),
        ("v", v, steps[1:]),
    ):
        if tensor is not None and tensor.shape != expected:
            cure = "as x says" if name != "v" else "what the call before left of these samples and this layer"
            raise UserError(f"{name} has shape {tuple(tensor.shape)}: expected {tuple(expected)}, {cure}")
    if norm is not None:
        check_norm(norm, shape, num_steps)
