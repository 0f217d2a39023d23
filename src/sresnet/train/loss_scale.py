"""The factor of the loss in float16, whose gradients would else be too small for its range (Micikevicius et al. 2018).

Gradients are those of factor * loss, and are divided by it in float32. Where one overflows, the step is left out and
the factor halved; after `INTERVAL` steps without, it is doubled. It is a power of two, so that only the range of
gradients depends on it, and stays on the device: nobody waits to know whether a step counts.
"""

import torch
from torch import Tensor

from sresnet.models.tensors import finite_sums

FIRST, INTERVAL = 2.0**16, 2000
"""As torch's GradScaler has them."""


class LossScale:
    """The factor, and what it follows; all that it changes it changes in place.

    Args:
        device: of the training.
    """

    def __init__(self, device: torch.device) -> None:
        self.factor = torch.full((), FIRST, device=device)
        self.steps = torch.zeros((), device=device)
        """Since the last overflow, or since it was doubled."""

    def tensors(self) -> dict[str, Tensor]:
        """What training resumes with."""
        return {"factor": self.factor, "steps": self.steps}

    def unscale(self, gradients: list[Tensor]) -> Tensor:
        """Divide gradients of factor * loss by it, in place; float32 []: 1 where one is not finite, else 0."""
        torch._foreach_mul_(gradients, 1 / self.factor)
        return 1 - finite_sums(dict(zip(map(str, range(len(gradients))), gradients, strict=True)))[1].all().float()

    def follow(self, overflowed: Tensor) -> None:
        """Halve or double the factor, or leave it, after a step."""
        steps = (self.steps + 1) * (1 - overflowed)
        grown = (steps >= INTERVAL).float()
        self.steps.copy_(steps * (1 - grown))
        self.factor.mul_((1 + grown) * (1 - 0.5 * overflowed))
