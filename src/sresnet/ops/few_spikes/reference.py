"""The few-spikes neuron in plain PyTorch. This file is the definition."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class _Fires(torch.autograd.Function):
    """z = [v > T] forward; backward as if z were a smooth function of the distance to the threshold.

    dz/du = max(0, 1 - |u|),   u = (v - T) / (|v| + 1)
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(v: Tensor, threshold: Tensor, fires_at_threshold: bool) -> Tensor:
        return (v >= threshold if fires_at_threshold else v > threshold).to(v.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        v, threshold, _ = inputs
        ctx.save_for_backward(v, threshold)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        v, threshold = ctx.saved_tensors
        scale = v.abs() + 1
        u = (v - threshold) / scale
        grad_u = grad * (1 - u.abs()).clamp(min=0) / scale
        return grad_u * (1 - u * v.sign()), -grad_u.sum_to_size(threshold.shape), None


def few_spikes_steps(
    x: Float[Tensor, "*neurons"],
    thresholds: Float[Tensor, "K *functions"],
    resets: Float[Tensor, "K *functions"],
    fires_at_threshold: bool,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(v[k], z[k], v[k+1]) of each internal step; see `few_spikes_reference`.

    Coefficients may be of several functions, [K, ...] with dimensions that broadcast with those of x.
    """
    v = x
    for threshold, reset in zip(thresholds, resets, strict=True):
        before = v
        z = _Fires.apply(v, threshold, fires_at_threshold)
        v = v - reset * z
        yield before, z, v


def few_spikes_reference(
    x: Float[Tensor, "*neurons"],
    thresholds: Float[Tensor, "K"],
    resets: Float[Tensor, "K"],
    heights: Float[Tensor, "K"],
    fires_at_threshold: bool,
) -> tuple[Float[Tensor, "*neurons"], Float[Tensor, "*neurons"], Float[Tensor, "*neurons"]]:
    """Output y, the number of spikes and what is left of the potential, v[K + 1], of neurons that receive x.

    The neuron spikes in K internal steps, within one time step of the network:

        v[1] = x
        z[k] = [v[k] > T[k]]                fire
        y = sum over k of d[k] z[k]         what a spike is worth where it arrives
        v[k+1] = v[k] - h[k] z[k]           reset

    with thresholds T, resets h and heights d (Stöckl & Maass 2021).
    """
    y, number, left = torch.zeros_like(x), torch.zeros_like(x), x
    for (_, z, v), height in zip(few_spikes_steps(x, thresholds, resets, fires_at_threshold), heights, strict=True):
        y = y + height * z
        number = number + z.detach()
        left = v
    return y, number, left
