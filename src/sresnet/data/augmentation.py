"""Augmentation as a data set's configuration says, drawn from the seed and the step alone."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sresnet.data.config import AnyData
from sresnet.data.events.changes import change_clips, draw_mixing, mix_clips, soft_labels
from sresnet.data.events.sets import EventConfig
from sresnet.data.transforms import ForPart, Rows, Source, draws, random_crop, random_erase, random_flip, random_roll
from sresnet.data.trivial_augment import trivial_augment
from sresnet.processes import Part
from sresnet.randomness import seed_of


def training_batch(
    read: Callable[[Tensor], Tensor],
    labels: Tensor,
    indices: Tensor,
    config: AnyData,
    classes: int,
    seed: int,
    step: int,
    part: Part | None = None,
) -> tuple[Tensor, Tensor]:
    """Samples of training step `step`, changed at random as `config` says, and what they are to be taken for.

    Args:
        read: the samples at indices, uint8 or counts, [N, ...].
        labels: of all samples, int64.
        indices: of the samples of the whole batch.
        part: of which samples are wanted; None: all.

    Returns:
        The samples, and their classes, int64 [N]; of mixed clips the shares of all classes, float32 [N, classes].
    """
    here = indices if part is None else indices[part.first : part.last]
    x = augmented(read(here), config, seed, step, part)
    if not _mixes(config):
        return x, labels[here]
    assert isinstance(config, EventConfig)
    mixing = draw_mixing(len(indices), config.changes, seed_of("mix", seed, step))
    if part is not None:
        mixing = mixing.of(part.first, part.last)
    if len(here) == len(indices):
        partners = x[mixing.partner.to(x.device)]
    else:  # clips that another process or part has changed in the same way
        others = read(indices[mixing.partner.to(indices.device)])
        partners = augmented(others, config, seed, step, Rows(mixing.partner, len(indices)))
    mixed, share = mix_clips(x, partners, config.changes, mixing)
    theirs = labels[indices[mixing.partner.to(indices.device)]]
    return mixed, soft_labels(labels[here], theirs, share.to(labels.device), classes)


def _mixes(config: AnyData) -> bool:
    """Whether training clips are mixed, so that labels are shares of classes."""
    return isinstance(config, EventConfig) and config.changes.mix != "none"


def augmented(samples: Tensor, config: AnyData, seed: int, step: int, part: Part | Rows | None = None) -> Tensor:
    """The batch of training step `step`, or a part of it, changed at random as `config` says, but not mixed."""
    generator = _generator(seed, step)
    return changed(samples, config, generator if part is None else ForPart(generator, part))


def changed(samples: Tensor, config: AnyData, source: Source) -> Tensor:
    """The same, by a generator or by what `numbers_of` gives, row by row and where the samples lie.

    By flip, shift and cut-out all frames of a clip [N, T, 2, H, W] are changed alike, as if they were the channels of
    one image.
    """
    x = samples.flatten(1, 2) if isinstance(config, EventConfig) else samples
    if config.flip:
        x = random_flip(x, source)
    if isinstance(config, EventConfig):
        if config.shift:
            x = (random_roll if config.shift_fill == "roll" else random_crop)(x, config.shift, source)
        if config.cutout:
            x = random_erase(x, config.cutout, source, fill="zero")
        return change_clips(x.view_as(samples), config.changes, source)
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
    changes some of the images one way and some another, and so do `changes` of clips.
    """
    if isinstance(config, EventConfig):
        if config.changes.active:
            return None
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
