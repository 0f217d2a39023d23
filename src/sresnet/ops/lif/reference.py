"""The leaky integrate-and-fire neuron in plain PyTorch. This file is the definition; anything faster must equal it."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sresnet.ops.neuron import LIFConstants
from sresnet.ops.spike_based_bp import spike_based_bp
from sresnet.ops.surrogate import Surrogate, slope_at


class _Spike(torch.autograd.Function):
    """The hard step forward (Eq. 4), the surrogate backward (Eq. 24), and likewise in forward mode."""

    generate_vmap_rule = True

    @staticmethod
    def forward(u: Tensor, threshold: float, surrogate: Surrogate, fires_at_threshold: bool) -> Tensor:
        return (u >= threshold if fires_at_threshold else u > threshold).to(u.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        u, ctx.threshold, ctx.surrogate, _ = inputs
        ctx.save_for_backward(u)
        ctx.save_for_forward(u)

    @staticmethod
    def backward(ctx: Any, grad_spikes: Tensor) -> tuple[Tensor, None, None, None]:
        (u,) = ctx.saved_tensors
        return grad_spikes * slope_at(u, ctx.threshold, ctx.surrogate), None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        (u,) = ctx.saved_tensors
        return tangent * slope_at(u, ctx.threshold, ctx.surrogate)


def spike(
    u: Float[Tensor, "*neurons"], threshold: float, surrogate: Surrogate, fires_at_threshold: bool
) -> Float[Tensor, "*neurons"]:
    """Spikes o = g(u): 1 where the membrane potential u passes the threshold, else 0 (Eqs. 4, 6)."""
    return _Spike.apply(u, threshold, surrogate, fires_at_threshold)


def lif_steps(
    current: Float[Tensor, "T *neurons"], neuron: LIFConstants, v: Float[Tensor, "*neurons"] | None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """One (u, o, v) per time step of a layer whose input is current [T, ...].

        u[t] = leak * v[t-1] + current[t]       charge (Eqs. 3, 5)
        o[t] = g(u[t])                          fire   (Eqs. 4, 6)
        v[t] = u[t] - threshold * o[t]          reset by subtraction (Section 3.1)
        v[t] = u[t] * (1 - o[t])                reset to zero

    With `input_scale` "one-minus-leak" the current is multiplied by 1 - leak before. With `detach_reset` no gradient
    flows through the spike that resets, so du[t+1]/du[t] = leak (Eq. 23), or leak * (1 - o[t]) with reset to zero;
    without it, leak * (1 - threshold * do/du), or leak * (1 - o[t] - u[t] * do/du).
    """
    v = torch.zeros_like(current[0]) if v is None else v
    for current_t in current:
        u = neuron.leak * v + (current_t if neuron.input_scale == "one" else (1 - neuron.leak) * current_t)
        o = spike(u, neuron.threshold, neuron.surrogate, neuron.fires_at_threshold)
        resets = o.detach() if neuron.detach_reset else o
        v = u - neuron.threshold * resets if neuron.reset == "subtract" else u * (1 - resets)
        yield u, o, v


def lif_reference(
    current: Float[Tensor, "T *neurons"], neuron: LIFConstants, v: Float[Tensor, "*neurons"] | None
) -> tuple[Float[Tensor, "T *neurons"], Float[Tensor, "*neurons"]]:
    """Spikes o [T, ...] and the potential v after the last step [...] of the neurons that `lif_steps` defines."""
    spikes, v_last = [], v
    for _, o, v_last in lif_steps(current, neuron, v):  # noqa: B007 - the last one is a result
        spikes.append(o)
    assert v_last is not None
    if neuron.gradient == "spike-based":
        return spike_based_bp(current, torch.stack(spikes).detach(), neuron.fixed_leak), v_last.detach()
    return torch.stack(spikes), v_last


def membrane_reference(
    current: Float[Tensor, "T *neurons"], neuron: LIFConstants, v: Float[Tensor, "*neurons"] | None
) -> Float[Tensor, "T *neurons"]:
    """Membrane potentials before reset, u [T, ...]."""
    return torch.stack([u for u, _, _ in lif_steps(current, neuron, v)])
