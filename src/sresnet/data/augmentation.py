"""Augmentation as a data set's configuration says it: what is drawn is a function of the seed and the step alone."""

from collections.abc import Callable

import torch
from torch import Tensor

from sresnet.data.config import AnyData, DataConfig
from sresnet.data.events.sets import EventConfig
from sresnet.data.transforms import random_crop, random_erase, random_flip, random_roll
from sresnet.data.trivial_augment import trivial_augment
from sresnet.randomness import seed_of


def augmented(samples: Tensor, config: AnyData, seed: int, step: int) -> Tensor:
    """The uint8 batch of training step `step`, changed at random as `config` says.

    All frames of a clip [N, T, 2, H, W] are changed alike, as if they were the channels of one image.
    """
    generator = torch.Generator().manual_seed(seed_of("augment", seed, step))
    if isinstance(config, EventConfig):
        return _augmented_clips(samples.flatten(1, 2), config, generator).view_as(samples)
    return _augmented_images(samples, config, generator)


def _augmented_clips(clips: Tensor, config: EventConfig, generator: torch.Generator) -> Tensor:
    """Clips [N, T * 2, H, W] changed at random."""
    if config.flip:
        clips = random_flip(clips, generator)
    if config.shift:
        move: Callable[[Tensor, int, torch.Generator], Tensor]
        move = random_roll if config.shift_fill == "roll" else random_crop
        clips = move(clips, config.shift, generator)
    if config.cutout:
        clips = random_erase(clips, config.cutout, generator, fill="zero")
    return clips


def _augmented_images(images: Tensor, config: DataConfig, generator: torch.Generator) -> Tensor:
    """Images [N, C, H, W] changed at random."""
    if config.flip:
        images = random_flip(images, generator)
    if config.crop_padding:
        images = random_crop(images, config.crop_padding, generator)
    if config.policy == "trivial":
        images = trivial_augment(images, generator)
    if config.erase:
        images = random_erase(images, config.erase, generator)
    return images
