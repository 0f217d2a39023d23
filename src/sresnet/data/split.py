"""Seeded splits that keep the share of every class."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sresnet.data.samples import listed
from sresnet.errors import UserError


def stratified_split(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Hold out a random `fraction` of each class.

    Of a class with n images, n * fraction rounded to the nearest whole number (a half upwards) are held out, so a small
    class may keep or lose all images. The same labels int64 [N], fraction and seed give the same split everywhere.

    Returns:
        (rest, held_out): indices int64, ascending, disjoint, together 0 to N - 1; UserError for an impossible fraction.
    """
    if not 0 <= fraction <= 1:
        raise UserError(f"fraction {fraction} of a split is not a share: choose a number from 0 to 1, such as 0.1")
    generator = torch.Generator().manual_seed(seed)
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    labels = labels.cpu()
    for label in torch.unique(labels).tolist():
        members = (labels == label).nonzero().squeeze(1)
        count = int(len(members) * fraction + 0.5)
        held_out[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    return (~held_out).nonzero().squeeze(1), held_out.nonzero().squeeze(1)


def hold_out(
    labels: Tensor, class_names: Sequence[str], fraction: float, seed: int, kind: str = "images"
) -> tuple[Tensor, Tensor, list[str]]:
    """`stratified_split` for a validation part, with notes on classes that it does not divide.

    Returns (rest, held_out, notes); `kind` is what is divided. UserError where nothing is held out.
    """
    rest, held_out = stratified_split(labels, fraction, seed)
    if not len(held_out):
        raise UserError(
            f"validation {fraction:g} holds out none of {len(labels):,} training {kind}, as no class has enough: "
            "choose a larger --data.validation, or 0"
        )
    counts = (labels.cpu()[indices].bincount(minlength=len(class_names)).tolist() for indices in (rest, held_out))
    kept, held = ({name for name, count in zip(class_names, part, strict=True) if count} for part in counts)
    notes = []
    if too_small := [name for name in class_names if name in kept - held]:
        notes.append(f"validation {fraction:g} holds out nothing of classes with few {kind}: {listed(too_small)}")
    if emptied := [name for name in class_names if name in held - kept]:
        notes.append(
            f"validation {fraction:g} leaves nothing to train on of classes with few {kind}: {listed(emptied)}"
        )
    return rest, held_out, notes


def some_of_each_class(labels: Tensor, count: int) -> Tensor:
    """Choose `count` images, equally many of each class or one more.

    The choice depends on labels int64 [N] and `count` only, so runs with different seeds see the same images. Where a
    class has too few, the others give more. Returns indices int64, ascending; UserError for more than N.
    """
    if not 0 < count <= len(labels):
        raise UserError(f"{count:,} images cannot be chosen from {len(labels):,}: give 1 to {len(labels):,}")
    generator = torch.Generator().manual_seed(0)
    labels = labels.cpu()
    shuffled = torch.randperm(len(labels), generator=generator)
    # Place of each image among those of its class; the first places of all classes are taken first.
    place = torch.empty_like(labels)
    for label in torch.unique(labels).tolist():
        members = shuffled[labels[shuffled] == label]
        place[members] = torch.arange(len(members))
    ranked = shuffled[place[shuffled].argsort(stable=True)]
    return ranked[:count].sort().values
