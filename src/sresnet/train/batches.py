"""Batches for training: order, augmentation and scaling, each a function of the seed and the step alone.

Nothing random is carried from one step to the next, so a run that was stopped anywhere goes on as it would have.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sresnet.data import DataConfig, ImageSet
from sresnet.data.augment import channel_statistics, intensity, normalise, random_crop, random_erase, random_flip


def seed_of(*parts: int | str) -> int:
    """A seed for one purpose at one moment, such as ("augment", recipe seed, step): 63 bits, none like another."""
    text = "/".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


@dataclass(frozen=True)
class Pixels:
    """uint8 images -> the network's input, float32, as `DataConfig.pixels` says."""

    mean: Tensor | None = None
    """Per channel, of the training images, pixels in [0, 1]; None: intensities, not normalised."""
    std: Tensor | None = None

    def __call__(self, images: Tensor) -> Tensor:
        if self.mean is None or self.std is None:
            return intensity(images)
        return normalise(images, self.mean, self.std)

    def plain(self) -> dict[str, Any]:
        """As JSON holds it; `pixels_from_plain` is the inverse."""
        if self.mean is None or self.std is None:
            return {"mean": None, "std": None}
        return {"mean": self.mean.tolist(), "std": self.std.tolist()}


def pixels_from_plain(values: dict[str, Any]) -> Pixels:
    """The inverse of `Pixels.plain`."""
    if values["mean"] is None:
        return Pixels()
    return Pixels(torch.tensor(values["mean"]), torch.tensor(values["std"]))


CIFAR10_STATISTICS = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
"""Mean and deviation per channel that the released code uses for CIFAR-10, and by mistake for CIFAR-100."""


def make_pixels(config: DataConfig, train: ImageSet, *, released_code: bool = False) -> Pixels:
    """The scaling for a data set, from the statistics of its training images (Section 3.4)."""
    if config.pixels == "intensity":
        return Pixels()
    if released_code and config.name in ("cifar10", "cifar100"):
        mean, std = map(torch.tensor, CIFAR10_STATISTICS)
        return Pixels(mean, std)
    return Pixels(*channel_statistics(train.images))


def order(images: int, seed: int, epoch: int) -> Tensor:
    """Indices of all images in the order of one epoch, int64 [images]."""
    return torch.randperm(images, generator=torch.Generator().manual_seed(seed_of("order", seed, epoch)))


def augmented(images: Tensor, config: DataConfig, seed: int, step: int) -> Tensor:
    """The uint8 batch of training step `step`, changed at random as `config` says."""
    generator = torch.Generator().manual_seed(seed_of("augment", seed, step))
    if config.flip:
        images = random_flip(images, generator)
    if config.crop_padding:
        images = random_crop(images, config.crop_padding, generator)
    if config.erase:
        images = random_erase(images, config.erase, generator)
    return images
