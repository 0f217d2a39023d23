"""Tandem learning (Wu et al. 2021): the definition, which is all there is."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from sresnet.errors import UserError


class _Tandem(torch.autograd.Function):
    """See `tandem`."""

    @staticmethod
    def forward(ctx: Any, activations: Tensor, counts: Tensor) -> Tensor:
        return counts.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def tandem(activations: Float[Tensor, "*units"], counts: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
    """What a tandem layer sends on: forward the counts of its spikes, backward the gradient of the ANN's activations.

        forward   c = sum over t of o[t]            backward   dL/dy = dL/dc, and nothing for c

    Args:
        activations: y of the units of the ANN, [...].
        counts: c of the spiking neurons in their place, as activations.

    Raises:
        UserError: two shapes.
    """
    if activations.shape != counts.shape:
        raise UserError(
            f"activations of shape {tuple(activations.shape)} and counts of shape {tuple(counts.shape)}: give one each"
        )
    return _Tandem.apply(activations, counts)
