"""The constants of a layer of spiking neurons: one value from a network's configuration down to every kernel."""

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from sresnet.errors import UserError
from sresnet.ops.surrogate import Surrogate

Reset = Literal["subtract", "zero"]
"""What a spike does to the potential."""
InputScale = Literal["one", "one-minus-leak"]
"""What the input current is multiplied by."""
Gradient = Literal["surrogate", "spike-based"]
"""What takes the place of the spike's derivative."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LIFConstants:
    """Of leaky integrate-and-fire neurons; the equations are in `lif.reference.lif_steps`.

    A new constant is a field here, a line in `lif_steps`, and, in each kernel that supports it, its entry in the
    kernel's table of constants; where another value than the default is asked of a kernel without it, the layer runs
    its reference.

    Raises:
        UserError: a threshold that is not positive, a fixed leak outside (0, 1], or a spike-based gradient with reset
            by subtraction or a learned leak.

    Source: paper Section 3.1, Eqs. 3-6, 23, 24.
    """

    leak: float | Tensor
    """Fraction of the potential kept per step, in (0, 1]; 1 is the non-leaky IF neuron. A scalar tensor receives a
    gradient (PLIF)."""
    surrogate: Surrogate
    """Derivative of the spike in the backward pass; `Triangle()` is the paper's (Eq. 24)."""
    threshold: float = 1.0
    """Firing threshold theta, in the unit of the potential."""
    fires_at_threshold: bool = False
    """u >= theta fires (Eq. 4) instead of u > theta (released code)."""
    detach_reset: bool = True
    """No gradient through the reset, as in the released code; False differentiates it too."""
    reset: Reset = "subtract"
    """A spike takes theta off the potential (Section 3.1), or sets it to zero (Fang et al. 2021, Zheng et al. 2021)."""
    input_scale: InputScale = "one"
    """The input as it is, or times 1 - leak (PLIF of Fang et al. 2021, whose time constant is 1 / (1 - leak))."""
    gradient: Gradient = "surrogate"
    """The surrogate's, or that of `ops.spike_based_bp` (Lee et al. 2020), which knows all steps of a call and none
    before."""

    def __post_init__(self) -> None:
        check_constants(self.leak, self.threshold)
        check_gradient(self.gradient, self.reset, self.learned_leak is not None)

    @property
    def learned_leak(self) -> Tensor | None:
        """The leak where it is a tensor, which may take a gradient; else None."""
        return self.leak if isinstance(self.leak, Tensor) else None

    @property
    def fixed_leak(self) -> float:
        """The leak where it is a number; else 1, a placeholder."""
        return 1.0 if isinstance(self.leak, Tensor) else self.leak


def check_constants(leak: float | Tensor, threshold: float) -> None:
    """Raise UserError for a threshold that is not positive or a fixed leak outside (0, 1]."""
    if not 0 < threshold < math.inf:
        raise UserError(f"threshold {threshold} is not positive: neurons would fire at rest; the paper uses 1")
    if not isinstance(leak, Tensor) and not 0 < leak <= 1:
        raise UserError(
            f"leak {leak} is outside (0, 1]: it is the fraction of the potential kept per step, 0.874 in the paper"
        )


def check_gradient(gradient: str, reset: str, learns_leak: bool) -> None:
    """Raise UserError for a spike-based gradient of neurons that it is not made for."""
    if gradient == "spike-based" and (reset != "zero" or learns_leak):
        raise UserError("gradient 'spike-based' is of neurons that reset to zero, with a fixed leak: use reset 'zero'")
