"""Leaky integrate-and-fire neurons over T steps: one checked function, whatever computes it."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sresnet.errors import UserError
from sresnet.ops import scan
from sresnet.ops.dispatch import reference_chosen
from sresnet.ops.lif.reference import lif_reference, membrane_reference
from sresnet.ops.neuron import LIFConstants

__all__ = ["LIFOutput", "lif", "membrane"]


class LIFOutput(NamedTuple):
    """What a layer of neurons returns."""

    spikes: Float[Tensor, "T *neurons"]
    """o, [T, ...], 0 or 1 in the dtype of the current."""
    v: Float[Tensor, "*neurons"]
    """Membrane potential after the last step, [...], float32 or wider: pass it to the next call to continue."""


def lif(
    current: Float[Tensor, "T *neurons"], neuron: LIFConstants, *, v: Float[Tensor, "*neurons"] | None = None
) -> LIFOutput:
    """Leaky integrate-and-fire neurons; the equations are in `reference.lif_steps`.

    Args:
        current: synaptic input [T, ...], time first, any number of further dimensions.
        neuron: constants of the neurons.
        v: potential left by an earlier call, [...]; None is zero.

    Raises:
        UserError: no time steps, or a `v` whose shape is not that of one step.

    Source: paper Section 3.1, Eqs. 3-6, 23, 24.
    """
    _check_arguments(current, v)
    if reference_chosen() or not scan.runs(current, None, neuron, v):
        spikes, v_last = lif_reference(current.to(torch.promote_types(current.dtype, torch.float32)), neuron, v)
        return LIFOutput(spikes.to(current.dtype), v_last)
    # The scan of a layer without a norm, on neurons in a row: [T, ...] as [T, 1, 1, 1, neurons]. Maps with channels
    # last in memory are taken as they are.
    x, start = current, v
    if current.ndim != 5 or not scan.is_rows(current):
        x = current.reshape(current.shape[0], 1, 1, 1, -1)
        start = None if v is None else v.reshape(1, 1, 1, -1)
    spikes, _, v_last = scan.scan(x, None, neuron, num_steps=current.shape[0], v=start)
    return LIFOutput(spikes.reshape(current.shape), v_last.reshape(current.shape[1:]))


def membrane(
    current: Float[Tensor, "T *neurons"], neuron: LIFConstants, *, v: Float[Tensor, "*neurons"] | None = None
) -> Float[Tensor, "T *neurons"]:
    """Membrane potentials before reset, u [T, ...], of the neurons that `lif` simulates; same arguments and errors.

    In float32 or wider, as `lif` computes them.

    Training never needs them, so `lif` does not keep them: this computes the steps again, for inspection.
    """
    _check_arguments(current, v)
    return membrane_reference(current.to(torch.promote_types(current.dtype, torch.float32)), neuron, v)


def _check_arguments(current: Tensor, v: Tensor | None) -> None:
    """Raise the errors that `lif` documents."""
    if current.ndim < 1 or current.shape[0] == 0:
        raise UserError(f"current has shape {tuple(current.shape)}: expected [T, ...] with at least one time step")
    if v is not None and v.shape != current.shape[1:]:
        raise UserError(
            f"v has shape {tuple(v.shape)}, one step of the current {tuple(current.shape[1:])}: "
            "pass the v that the previous call returned for the same batch"
        )
