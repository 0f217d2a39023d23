"""Few-spikes neurons: an activation function computed by a few spikes of given heights; one checked function."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sresnet.errors import UserError
from sresnet.ops.few_spikes.reference import few_spikes_reference

__all__ = ["FewSpikesOutput", "few_spikes"]


class FewSpikesOutput(NamedTuple):
    """What a layer of few-spikes neurons gives."""

    y: Float[Tensor, "*neurons"]
    """The sum of the heights of its spikes, in the dtype of x."""
    number: Float[Tensor, "*neurons"]
    """How many spikes each neuron sends, 0 to K."""
    v: Float[Tensor, "*neurons"]
    """What is left of the potential, in float32 or wider."""


def few_spikes(
    x: Float[Tensor, "*neurons"],
    thresholds: Tensor,
    resets: Tensor,
    heights: Tensor,
    *,
    fires_at_threshold: bool = False,
) -> FewSpikesOutput:
    """Few-spikes neurons (Stöckl & Maass 2021); the equations are in `reference.few_spikes_reference`.

    Gradients flow to x and to the coefficients, through the pseudo-derivative with which those were found.

    Args:
        x: what the neurons receive, of any shape.
        thresholds, resets, heights: T, h and d, [K] each; `published` has some.
        fires_at_threshold: v >= T fires instead of v > T.

    Raises:
        UserError: coefficients that are not three lists of one length of at least one.
    """
    shapes = [tuple(each.shape) for each in (thresholds, resets, heights)]
    if len(set(shapes)) != 1 or len(shapes[0]) != 1 or not len(thresholds):
        raise UserError(f"thresholds, resets and heights have shapes {shapes}: expected [K] each, with K at least 1")
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    y, number, v = few_spikes_reference(
        wide, thresholds.to(wide.dtype), resets.to(wide.dtype), heights.to(wide.dtype), fires_at_threshold
    )
    return FewSpikesOutput(y.to(x.dtype), number.to(x.dtype), v)
