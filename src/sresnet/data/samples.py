"""What training and evaluation need from a data set, in memory or on disk."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import Tensor

from sresnet.errors import UserError


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
        """Samples at `indices`, int64 [M]: [M, *shape], where `to` put them; uint8, of event frames also int32 or
        float32."""

    def to(self, device: torch.device) -> Self:
        """The same samples, whose batches and labels lie on `device`."""

    def renamed(self, labels: Tensor, class_names: tuple[str, ...]) -> Self:
        """The same samples with other numbers and names of their classes."""

    def digest(self) -> str:
        """Hexadecimal digits that change with every sample, and with their order; labels are not part of it."""


S = TypeVar("S", bound=Samples)


def check_labels(labels: Tensor, samples: int, class_names: Sequence[str], kind: str) -> None:
    """Raise UserError unless `labels` are int64 [samples], each the index of a class name; a sample is a `kind`."""
    if labels.dtype != torch.int64 or labels.shape != (samples,):
        found = f"{labels.dtype} {tuple(labels.shape)}"
        raise UserError(f"labels are {found}: expected torch.int64, one per {kind}, [{samples}]")
    if samples and not 0 <= int(labels.min()) <= int(labels.max()) < len(class_names):
        raise UserError(
            f"labels run from {int(labels.min())} to {int(labels.max())}: expected 0 to {len(class_names) - 1}, the "
            "index of a class name"
        )


def unnamed(count: int) -> tuple[str, ...]:
    """Names for classes whose names are not known, such as those of an imported checkpoint."""
    return tuple(f"class {number}" for number in range(count))


def matched(samples: S, class_names: Sequence[str], *, owner: str = "the network") -> S:
    """The samples with the classes of `owner`: labels of two origins are matched by name before they are compared.

    Names may come in another order, and some of the owner's may be missing. Classes of an owner that are `unnamed` are
    matched by number.

    Raises:
        UserError: samples of a class that the owner does not have, or one name for two classes.
    """
    theirs, ours = samples.class_names, tuple(class_names)
    if theirs == ours:
        return samples
    if ours == unnamed(len(theirs)):
        return samples.renamed(samples.labels, ours)
    for names in (theirs, ours):
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise UserError(f"class name {twice[0]!r} stands for two classes: give each class a name of its own")
    numbers = {name: number for number, name in enumerate(ours)}
    present = torch.unique(samples.labels).tolist()
    unknown = [theirs[label] for label in present if theirs[label] not in numbers]
    if unknown:
        raise UserError(
            f"the data have {'class' if len(unknown) == 1 else 'classes'} {listed(unknown)}, unknown to {owner}: they "
            f"are of {listed(theirs)}, and {owner} knows {listed(ours)}; rename classes or leave them out"
        )
    number_of = torch.tensor([numbers.get(name, -1) for name in theirs], device=samples.labels.device)
    return samples.renamed(number_of[samples.labels], ours)


def listed(names: Sequence[str]) -> str:
    """Names separated by commas; the first twelve of many."""
    others = len(names) - 12
    return ", ".join(names) if others < 2 else f"{', '.join(names[:12])} and {others:,} others"


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The samples of a data set by use, with the classes of the training samples; errors as `matched`."""

    train: Samples
    validation: Samples | None
    test: Samples
    about: dict[str, Any] = field(default_factory=dict)
    """What a result must state beside its numbers, such as {"name": "random90", "simulated": False}."""
    notes: tuple[str, ...] = ()
    """What was left out or may surprise, one sentence each."""

    def __post_init__(self) -> None:
        for part in ("validation", "test"):
            samples: Samples | None = getattr(self, part)
            if samples is not None:
                samples = matched(samples, self.train.class_names, owner="the training set")
                object.__setattr__(self, part, samples)

    def matched(self, class_names: Sequence[str]) -> "Splits":
        """All parts with the classes of a network; errors as the function of that name."""
        return replace(
            self,
            train=matched(self.train, class_names),
            validation=None if self.validation is None else matched(self.validation, class_names),
            test=matched(self.test, class_names),
        )
