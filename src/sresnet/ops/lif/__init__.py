"""Leaky integrate-and-fire neurons over T steps: one checked function, whatever computes it."""

import math
from typing import NamedTuple

from torch import Tensor

from sresnet.errors import UserError
from sresnet.ops.lif.reference import lif_reference, membrane_reference
from sresnet.ops.surrogate import Surrogate, Triangle

__all__ = ["LIFOutput", "check_constants", "lif", "membrane"]

PAPER_SURROGATE = Triangle()


class LIFOutput(NamedTuple):
    """What a layer of neurons gives back."""

    spikes: Tensor
    """o, [T, ...], 0 or 1 in the dtype of the current."""
    v: Tensor
    """Membrane potential after the last step, [...]: give it to the next call to continue the sequence."""


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
    return LIFOutput(
        *lif_reference(
            current,
            leak=leak,
            threshold=threshold,
            surrogate=surrogate,
            fires_at_threshold=fires_at_threshold,
            detach_reset=detach_reset,
            v=v,
        )
    )


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

    Training never needs them, so `lif` does not keep them: this walks the steps again for whoever wants to look.
    """
    check_arguments(current, leak, threshold, v)
    return membrane_reference(
        current,
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


def check_constants(leak: float | Tensor, threshold: float) -> None:
    """Raise UserError for a threshold that is not positive or a fixed leak outside (0, 1]."""
    if not 0 < threshold < math.inf:
        raise UserError(f"threshold {threshold} is not positive: neurons would fire at rest; the paper uses 1")
    if not isinstance(leak, Tensor) and not 0 < leak <= 1:
        raise UserError(
            f"leak {leak} is outside (0, 1]: it is the fraction of the potential kept per step, 0.874 in the paper"
        )
