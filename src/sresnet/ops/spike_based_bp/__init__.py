"""Spike-based backpropagation (Lee et al. 2020): a gradient of spikes that needs no surrogate."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sresnet.ops.spike_based_bp.reference import current_gradient

__all__ = ["current_gradient", "spike_based_bp"]


class _SpikeBased(torch.autograd.Function):
    """Spikes forward, `current_gradient` backward."""

    generate_vmap_rule = True

    @staticmethod
    def forward(current: Tensor, spikes: Tensor, leak: float) -> Tensor:
        return spikes.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, spikes, ctx.leak = inputs
        ctx.save_for_backward(spikes)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (spikes,) = ctx.saved_tensors
        return current_gradient(gradient, spikes, ctx.leak), None, None


def spike_based_bp(
    current: Float[Tensor, "T *neurons"], spikes: Float[Tensor, "T *neurons"], leak: float
) -> Float[Tensor, "T *neurons"]:
    """The spikes of neurons that reset to zero, with the gradient of `reference.current_gradient` in their current.

    Args:
        current: what the neurons received, [T, ...].
        spikes: what they sent, all steps of the sequence, [T, ...].
        leak: fraction of the potential kept per step; 1 for neurons without leak.
    """
    return _SpikeBased.apply(current, spikes, leak)
