"""Constants of spiking neurons, and what they may be."""

import math

from torch import Tensor

from sresnet.errors import UserError
from sresnet.ops.surrogate import Triangle

PAPER_SURROGATE = Triangle()


def check_constants(leak: float | Tensor, threshold: float) -> None:
    """Raise UserError for a threshold that is not positive or a fixed leak outside (0, 1]."""
    if not 0 < threshold < math.inf:
        raise UserError(f"threshold {threshold} is not positive: neurons would fire at rest; the paper uses 1")
    if not isinstance(leak, Tensor) and not 0 < leak <= 1:
        raise UserError(
            f"leak {leak} is outside (0, 1]: it is the fraction of the potential kept per step, 0.874 in the paper"
        )
