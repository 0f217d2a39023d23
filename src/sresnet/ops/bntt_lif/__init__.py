"""Everything of a spiking layer behind its convolution, in one pass over time: norm, residual, neurons."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sresnet.errors import UserError
from sresnet.ops.bntt_lif import cpu
from sresnet.ops.bntt_lif.reference import batch_norm_reference, bntt_lif_reference
from sresnet.ops.constants import PAPER_SURROGATE, check_constants
from sresnet.ops.implementation import reference_chosen
from sresnet.ops.surrogate import Surrogate
from sresnet.ops.time import constant

__all__ = ["BNTTLIFOutput", "batch_norm", "bntt_lif"]


class BNTTLIFOutput(NamedTuple):
    """What a layer gives back."""

    output: Tensor
    """Spikes, with `added` added to them: [T, N, C, H, W] in the dtype of x, channels last in memory."""
    current: Tensor | None
    """Input current of the neurons, as `output`; None unless `need_current`."""
    v: Tensor
    """Membrane potential after the last step, [N, C, H, W], float32: give it to the next call to continue."""


def bntt_lif(
    x: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    *,
    leak: float | Tensor,
    num_steps: int | None = None,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-4,
    threshold: float = 1.0,
    surrogate: Surrogate = PAPER_SURROGATE,
    fires_at_threshold: bool = False,
    detach_reset: bool = True,
    charge: Tensor | None = None,
    added: Tensor | None = None,
    v: Tensor | None = None,
    need_current: bool = False,
) -> BNTTLIFOutput:
    """Batch norm of a convolution's output, residual current, LIF neurons over T steps, residual spikes.

        y[t]       = gamma[t] * (x[t] - mean[t]) / sqrt(var[t] + eps) + beta[t]
        current[t] = y[t] + charge[t]                     S2M, V2V (Eqs. 7, 15)
        u[t]       = leak * v[t-1] + current[t]           Eqs. 3, 5
        o[t]       = 1 where u[t] > threshold, else 0     Eqs. 4, 6
        v[t]       = u[t] - threshold * o[t]
        output[t]  = o[t] + added[t]                      S2S (Eqs. 10, 13)

    mean and var are, in training, those of x over N, H, W (and over T where gamma is [C]), and the running averages,
    which take the unbiased variance, are updated in place; else they are the running averages.

    On the CPU, float32 and bfloat16 are computed by one native kernel that keeps nothing but x and charge for the
    backward pass; arithmetic and sums are in float32. Everything else is computed by the PyTorch of `reference.py`.

    Args:
        x: [T, N, C, H, W], read fastest where channels are last in memory; another layout is copied once. A view of
            one step expanded over time is normalised once (unless it is itself a leaf that takes a gradient).
        gamma: [T, C], a norm for every step (BNTT); [C], one set over time (a scale such as that of tdBN is folded in
            by the caller); None, no norm.
        beta: as gamma; None is zero.
        running_mean, running_var: as gamma, updated in place in training.
        leak: fraction of the potential kept per step, in (0, 1]. A scalar tensor receives a gradient (PLIF).
        num_steps: T, where x is one step [1, N, C, H, W] that every step receives (direct encoding).
        momentum: weight of the new statistics in the running averages.
        eps: added to the variance.
        threshold, surrogate, fires_at_threshold, detach_reset: as in `ops.lif`.
        charge: residual current [T, N, C, H, W], in the unit of the potential: s2m gives threshold * skip(spikes), v2v
            skip(current). Stored in the dtype of x.
        added: residual spikes [T, N, C, H, W]: 0 or 1, or real numbers behind a 1x1 skip. Stored in the dtype of x.
        v: potential left by an earlier call, [N, C, H, W]; None is zero.
        need_current: give the current too, which v2v hands on; its gradient flows back.

    Raises:
        UserError: a shape that does not fit, no time step, one value per channel to take statistics of, running
            averages without gamma or the other way round, a threshold or leak out of range.

    Source: paper Sections 3.1, 3.2; Kim & Panda 2021 (BNTT).
    """
    num_steps = x.shape[0] if num_steps is None and x.ndim else num_steps
    check_arguments(x, gamma, beta, running_mean, running_var, num_steps, training, leak, threshold, charge, added, v)
    assert num_steps is not None
    neuron: dict[str, Any] = {
        "leak": leak,
        "threshold": threshold,
        "surrogate": surrogate,
        "fires_at_threshold": fires_at_threshold,
        "detach_reset": detach_reset,
    }
    norm: dict[str, Any] = {"training": training, "momentum": momentum, "eps": eps}
    if reference_chosen() or not cpu.runs(x, gamma, beta, running_mean, running_var, leak, v, charge, added):
        x = x.expand(num_steps, *x.shape[1:])
        output, current, v_last = bntt_lif_reference(
            x, gamma, beta, running_mean, running_var, charge=charge, added=added, v=v, **norm, **neuron
        )
        return BNTTLIFOutput(output, current if need_current else None, v_last)
    if constant(x):
        x = x[:1] if torch.compiler.is_compiling() else OneStep.apply(x)
    output, current, v_last = cpu.bntt_lif_cpu(
        x,
        gamma,
        beta,
        running_mean,
        running_var,
        num_steps=num_steps,
        charge=charge,
        added=added,
        v=v,
        need_current=need_current,
        **norm,
        **neuron,
    )
    return BNTTLIFOutput(output, current if need_current else None, v_last)


def batch_norm(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor | None,
    running_mean: Tensor,
    running_var: Tensor,
    *,
    training: bool,
    momentum: float = 0.1,
    eps: float = 1e-4,
) -> Tensor:
    """The norm of `bntt_lif` alone, for a path without neurons such as the 1x1 convolution of a skip.

    Args:
        x: [T, N, C, H, W].
        gamma, beta, running_mean, running_var, training, momentum, eps: as in `bntt_lif`.

    Returns:
        y, [T, N, C, H, W] in the dtype of x, channels last in memory where the native kernel runs.

    Raises:
        UserError: as `bntt_lif`.
    """
    check_arguments(x, gamma, beta, running_mean, running_var, x.shape[0], training, 1.0, 1.0, None, None, None)
    constants: dict[str, Any] = {"training": training, "momentum": momentum, "eps": eps}
    if reference_chosen() or not cpu.runs(x, gamma, beta, running_mean, running_var, 1.0, None):
        y = batch_norm_reference(gamma)(x, gamma, beta, running_mean, running_var, **constants)
        return y.to(x.dtype)
    y, _, _ = cpu.bntt_lif_cpu(
        x,
        gamma,
        beta,
        running_mean,
        running_var,
        num_steps=x.shape[0],
        leak=1.0,
        threshold=1.0,
        surrogate=None,
        fires_at_threshold=False,
        detach_reset=True,
        charge=None,
        added=None,
        v=None,
        need_current=False,
        **constants,
    )
    return y


class OneStep(torch.autograd.Function):
    """The step [1, ...] of which x [T, ...] is an expanded view, without ever holding T copies of its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.num_steps = x.shape[0]
        return x[:1].view_as(x[:1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # The gradient of expand sums over T.
        return (gradient / ctx.num_steps).expand(ctx.num_steps, *gradient.shape[1:])


def check_arguments(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    num_steps: int | None,
    training: bool,
    leak: float | Tensor,
    threshold: float,
    charge: Tensor | None,
    added: Tensor | None,
    v: Tensor | None,
) -> None:
    """Raise the errors that `bntt_lif` documents."""
    if x.ndim != 5 or x.shape[0] == 0:
        raise UserError(f"x has shape {tuple(x.shape)}: expected [T, N, C, H, W] with at least one time step")
    if not x.is_floating_point():
        raise UserError(f"x has dtype {x.dtype}: expected real numbers, the output of a convolution")
    if num_steps is None or num_steps < 1 or x.shape[0] not in (1, num_steps):
        raise UserError(f"num_steps is {num_steps} and x holds {x.shape[0]} steps: give x one step, or num_steps")
    check_constants(leak, threshold)
    steps, channels = (num_steps, *x.shape[1:]), x.shape[2]
    for name, tensor, expected in (("charge", charge, steps), ("added", added, steps), ("v", v, steps[1:])):
        if tensor is not None and tensor.shape != expected:
            raise UserError(f"{name} has shape {tuple(tensor.shape)}: expected {tuple(expected)}, as x says")
    if gamma is None:
        if beta is not None or running_mean is not None or running_var is not None:
            raise UserError("beta or running averages without gamma: there is no norm; give gamma or leave them out")
        return
    if running_mean is None or running_var is None:
        raise UserError("gamma without running_mean and running_var: a norm needs them; give both")
    if gamma.shape not in ((num_steps, channels), (channels,)):
        raise UserError(
            f"gamma has shape {tuple(gamma.shape)}: expected {(num_steps, channels)} for a norm per time step, "
            f"or {(channels,)} for one over time"
        )
    for name, tensor in (("beta", beta), ("running_mean", running_mean), ("running_var", running_var)):
        if tensor is not None and tensor.shape != gamma.shape:
            raise UserError(f"{name} has shape {tuple(tensor.shape)}: expected that of gamma, {tuple(gamma.shape)}")
    values = x.shape[1] * x.shape[3] * x.shape[4] * (num_steps if gamma.ndim == 1 else 1)
    if training and values < 2:
        raise UserError(f"x has shape {tuple(x.shape)}, {values} value per channel to normalise: use a larger batch")
