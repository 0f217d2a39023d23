"""Leaky integrate-and-fire neurons over T steps: one checked function, whatever computes it."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from sresnet.errors import UserError
from sresnet.ops.bntt_lif import cpu
from sresnet.ops.constants import PAPER_SURROGATE, check_constants
from sresnet.ops.implementation import reference_chosen
from sresnet.ops.lif.reference import lif_reference, membrane_reference
from sresnet.ops.surrogate import Surrogate

__all__ = ["LIFOutput", "lif", "membrane"]


class LIFOutput(NamedTuple):
    """What a layer of neurons gives back."""

    spikes: Tensor
    """o, [T, ...], 0 or 1 in the dtype of the current."""
    v: Tensor
    """Membrane potential after the last step, [...], float32 or wider: give it to the next call to continue."""


def lif(
    current: Tensor,
    *,
    leak: float | Tensor,
    threshold: float = 1.0,
    surrogate: Surrogate = PAPER_SURROGATE,
    fires_at_threshold: bool = False,
    detach_reset: bool = True,
    v: Tensor | None = None,
) -> LIFOutput:
    """Leaky integrate-and-fire neurons with reset by subtraction; the equations are in `reference.lif_steps`.

    Args:
        current: synaptic input [T, ...], time first, any number of further dimensions.
        leak: fraction of the potential kept per step, in (0, 1]; 1 is the non-leaky IF neuron. A scalar tensor
            receives a gradient (PLIF).
        threshold: firing threshold theta, in the unit of the potential.
        surrogate: derivative of the spike in backward (Eq. 24).
        fires_at_threshold: u >= theta fires (Eq. 4) instead of u > theta (released code).
        detach_reset: no gradient through the reset, as the released code; False differentiates it too.
        v: potential left by an earlier call, [...]; None is zero.

    Raises:
        UserError: no time steps, a threshold that is not positive, a fixed leak outside (0, 1], or a `v` whose shape
            is not that of one step.

    Source: paper Section 3.1, Eqs. 3-6, 23, 24.
    """
    check_arguments(current, leak, threshold, v)
    neuron: dict[str, Any] = {
        "leak": leak,
        "threshold": threshold,
        "surrogate": surrogate,
        "fires_at_threshold": fires_at_threshold,
        "detach_reset": detach_reset,
    }
    if reference_chosen() or not cpu.runs(current, None, None, None, None, leak, v):
        spikes, v_last = lif_reference(current.to(torch.promote_types(current.dtype, torch.float32)), v=v, **neuron)
        return LIFOutput(spikes.to(current.dtype), v_last)
    return LIFOutput(*lif_cpu(current, v, neuron))


def lif_cpu(current: Tensor, v: Tensor | None, neuron: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """The kernel of `bntt_lif` without a norm, on neurons in a row: [T, ...] as [T, 1, 1, 1, neurons].

    Maps with channels last in memory are taken as they are.
    """
    steps, shape = current.shape[0], current.shape[1:]
    if current.ndim == 5 and cpu.is_rows(current):
        x, start = current, v
    else:
        x, start = current.reshape(steps, 1, 1, 1, -1), None if v is None else v.reshape(1, 1, 1, -1)
    spikes, _, v_last = cpu.bntt_lif_cpu(
        x,
        None,
        None,
        None,
        None,
        num_steps=steps,
        training=False,
        momentum=0.0,
        eps=0.0,
        charge=None,
        added=None,
        v=start,
        need_current=False,
        **neuron,
    )
    return spikes.reshape(current.shape), v_last.reshape(shape)


def membrane(
    current: Tensor,
    *,
    leak: float | Tensor,
    threshold: float = 1.0,
    surrogate: Surrogate = PAPER_SURROGATE,
    fires_at_threshold: bool = False,
    detach_reset: bool = True,
    v: Tensor | None = None,
) -> Tensor:
    """Membrane potentials before reset, u [T, ...], of the neurons that `lif` simulates; same arguments and errors.

    In float32 or wider, as `lif` computes them.

    Training never needs them, so `lif` does not keep them: this walks the steps again for whoever wants to look.
    """
    check_arguments(current, leak, threshold, v)
    return membrane_reference(
        current.to(torch.promote_types(current.dtype, torch.float32)),
        leak=leak,
        threshold=threshold,
        surrogate=surrogate,
        fires_at_threshold=fires_at_threshold,
        detach_reset=detach_reset,
        v=v,
    )


def check_arguments(current: Tensor, leak: float | Tensor, threshold: float, v: Tensor | None) -> None:
    """Raise the errors that `lif` documents."""
    if current.ndim < 1 or current.shape[0] == 0:
        raise UserError(f"current has shape {tuple(current.shape)}: expected [T, ...] with at least one time step")
    check_constants(leak, threshold)
    if v is not None and v.shape != current.shape[1:]:
        raise UserError(
            f"v has shape {tuple(v.shape)}, one step of the current {tuple(current.shape[1:])}: "
            "pass the v that the previous call returned for the same batch"
        )
