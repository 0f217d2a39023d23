"""Augmentation as a data set's configuration says, drawn from the seed and the step alone."""

import torch
from torch import Tensor

from sresnet.data.config import AnyData
from sresnet.data.events.sets import EventConfig
from sresnet.data.transforms import random_crop, random_erase, random_flip, random_roll
from sresnet.data.trivial_augment import trivial_augment
from sresnet.randomness import seed_of


def augmented(samples: Tensor, config: AnyData, seed: int, step: int) -> Tensor:
    """The uint8 batch of training step `step`, changed at random as `config` says.

    All frames of a clip [N, T, 2, H, W] are changed alike, as if they were the channels of one image.
    """
    generator = torch.Generator().manual_seed(seed_of("augment", seed, step))
    x = samples.flatten(1, 2) if isinstance(config, EventConfig) else samples
    if config.flip:
        x = random_flip(x, generator)
    if isinstance(config, EventConfig):
        if config.shift:
            x = (random_roll if config.shift_fill == "roll" else random_crop)(x, config.shift, generator)
        if config.cutout:
            x = random_erase(x, config.cutout, generator, fill="zero")
        return x.view_as(samples)
    if config.crop_padding:
        x = random_crop(x, config.crop_padding, generator)
    if config.policy == "trivial":
        x = trivial_augment(x, generator)
    if config.erase:
        x = random_erase(x, config.erase, generator)
    return x
