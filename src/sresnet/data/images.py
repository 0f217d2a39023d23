"""Labelled images in memory."""

import hashlib
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sresnet.data.samples import check_labels
from sresnet.data.transforms import value_counts
from sresnet.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Labelled images in memory, methods as in `Samples`; UserError for other tensors and labels without name."""

    images: Tensor
    """Pixels, uint8 [N, C, H, W], 0 to 255."""
    labels: Tensor
    """Class of each image, int64 [N]."""
    class_names: tuple[str, ...]
    """Name of class 0, 1, ..."""

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise UserError(
                f"images are {self.images.dtype} {tuple(self.images.shape)}: expected torch.uint8 [N, C, H, W]"
            )
        check_labels(self.labels, len(self.images), self.class_names, "image")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.images.shape[1:])

    def subset(self, indices: Tensor) -> "ImageSet":
        return replace(self, images=self.images[indices], labels=self.labels[indices])

    def batch(self, indices: Tensor) -> Tensor:
        return self.images[indices]

    def to(self, device: torch.device) -> "ImageSet":
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def renamed(self, labels: Tensor, class_names: tuple[str, ...]) -> "ImageSet":
        return replace(self, labels=labels, class_names=class_names)

    def counts(self) -> Tensor:
        """As `transforms.value_counts` of all images."""
        return value_counts(self.images)

    def digest(self) -> str:
        return hashlib.blake2b(self.images.cpu().contiguous().view(-1).numpy().data, digest_size=16).hexdigest()
