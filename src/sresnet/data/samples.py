"""What training and evaluation need of a data set, in memory or on disk."""

from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import torch
from torch import Tensor


class Samples(Protocol):
    """Labelled images, or clips of event frames: `ImageSet` and `FrameSet`."""

    @property
    def labels(self) -> Tensor:
        """Class of each sample, int64 [N]."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of class 0, 1, ..."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample: (C, H, W), or (T, 2, H, W)."""

    def __len__(self) -> int: ...

    def subset(self, indices: Tensor) -> Self:
        """The samples at `indices`, int64 [M], in that order."""

    def batch(self, indices: Tensor) -> Tensor:
        """Samples at `indices`, int64 [M]: uint8 [M, *shape], where `to` put them."""

    def to(self, device: torch.device) -> Self:
        """The same samples, whose batches and labels lie on `device`."""


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The samples of a data set by what they may be used for."""

    train: Samples
    validation: Samples | None
    test: Samples
    about: dict[str, Any] = field(default_factory=dict)
    """What a result must say beside its numbers, such as {"name": "random90", "simulated": False}."""
