"""Augmentation as a data set's configuration says, drawn from the seed and the step alone."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sresnet.data.config import AnyData
from sresnet.data.events.sets import EventConfig
from sresnet.data.transforms import ForPart, Source, draws, random_crop, random_erase, random_flip, random_roll
from sresnet.data.trivial_augment import trivial_augment
from sresnet.processes import Part
from sresnet.randomness import seed_of


def augmented(samples: Tensor, config: AnyData, seed: int, step: int, part: Part | None = None) -> Tensor:
    """The uint8 batch of training step `step`, or a part of it, changed at random as `config` says."""
    generator = _generator(seed, step)
    return changed(samples, config, generator if part is None else ForPart(generator, part))


def changed(samples: Tensor, config: AnyData, source: Source) -> Tensor:
    """The same, by a generator or by what `numbers_of` gives, row by row and where the samples lie.

    All frames of a clip [N, T, 2, H, W] are changed alike, as if they were the channels of one image.
    """
    x = samples.flatten(1, 2) if isinstance(config, EventConfig) else samples
    if config.flip:
        x = random_flip(x, source)
    if isinstance(config, EventConfig):
        if config.shift:
            x = (random_roll if config.shift_fill == "roll" else random_crop)(x, config.shift, source)
        if config.cutout:
            x = random_erase(x, config.cutout, source, fill="zero")
        return x.view_as(samples)
    if config.crop_padding:
        x = random_crop(x, config.crop_padding, source)
    if config.policy == "trivial":
        assert isinstance(source, torch.Generator | ForPart)
        x = trivial_augment(x, source)
    if config.erase:
        x = random_erase(x, config.erase, source)
    return x


def numbers_of(shape: Sequence[int], config: AnyData, seed: int, step: int) -> Tensor | None:
    """All that `augmented` draws for samples of this shape [N, ..., H, W] at a step, float32 [draws, N] on the CPU.

    With them the shapes of all that it computes are the same in every step. None where they cannot be: a policy
    changes some of the images one way and some another.
    """
    if isinstance(config, EventConfig):
        moved, erased = config.shift, config.cutout
    elif config.policy != "none":
        return None
    else:
        moved, erased = config.crop_padding, config.erase
    ends = [0] * config.flip + [2 * moved + 1] * (2 * bool(moved)) + [0, *shape[-2:]] * bool(erased)
    return draws(shape[0], ends, _generator(seed, step))


def _generator(seed: int, step: int) -> torch.Generator:
    """Of a training step."""
    return torch.Generator().manual_seed(seed_of("augment", seed, step))
