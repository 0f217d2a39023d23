"""Which data sets there are, and the configuration of a set of images."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from sresnet.config import added_later, check_types
from sresnet.data.events.sets import EVENT_SETS, GESTURES, USUAL, EventConfig
from sresnet.errors import UserError

DataName = Literal["digits", "cifar10", "cifar100", "folder"]

DATA_SETS: dict[str, str] = {
    "digits": "1,797 handwritten digits of 8x8 pixels that come with scikit-learn; no download",
    "cifar10": "60,000 colour images of 32x32 pixels, 10 classes",
    "cifar100": "60,000 colour images of 32x32 pixels, 100 classes",
    "folder": "your own pictures, one folder per class, or a CSV file that lists them",
    **{name: line for name, (line, _) in EVENT_SETS.items()},
}

CLASSES: dict[str, tuple[int, int]] = {
    "digits": (10, 1),
    "cifar10": (10, 3),
    "cifar100": (100, 3),
    **{name: (10, 2) for name in EVENT_SETS if name not in ("event-folder", "dataset")},
    "dvs-gesture": (len(GESTURES), 2),
}
"""Classes and channels of the data sets for which they are fixed."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images to train on, and how they are augmented and scaled; UserError for a field out of range."""

    family: ClassVar[str] = "images"
    implicit: ClassVar[bool] = True

    name: DataName = "cifar10"
    """Data set: digits, cifar10, cifar100, folder."""
    validation: float = 0.0
    """Fraction of the training images held out, stratified and seeded; choices use these, never test images."""
    flip: bool = True
    """Mirror every other training image at random."""
    crop_padding: int = 4
    """Shift training images at random by up to this many pixels."""
    erase: float = 0.0
    """Probability that a square of a training image is blanked out."""
    policy: Literal["none", "trivial"] = added_later("none")
    """trivial: one more random change of each training image, see `data.trivial_augment`."""
    pixels: Literal["normalised", "intensity"] = "normalised"
    """normalised: to mean 0 and deviation 1 per channel; intensity: in [0, 1], what the poisson encoder needs."""
    image_size: int = 32
    """Side in pixels to which the pictures of a folder are resized."""
    label_column: str = added_later("")
    """Of a list of pictures, the column of their classes; by default the one called label, class or target."""
    sampling: Literal["all", "balanced"] = added_later("all")
    """all: an epoch shows each training image once; balanced: as many of each class, those of small ones repeatedly."""
    train_images: int = added_later(0)
    """Use only this many training images, as many of each class, always the same ones; 0: all."""

    def __post_init__(self) -> None:
        check_types(self)
        if not 0 <= self.validation < 1:
            raise UserError(f"validation {self.validation} is outside [0, 1): it is a fraction of the training images")
        if not 0 <= self.erase <= 1:
            raise UserError(f"erase {self.erase} is outside [0, 1]: it is a probability")
        if self.crop_padding < 0 or self.image_size < 1:
            raise UserError("crop_padding and image_size count pixels: give numbers that are not negative")
        if self.train_images < 0:
            raise UserError(f"train_images {self.train_images} is less than 0: it counts images, 0 takes all")


AnyData = DataConfig | EventConfig


def as_trained(data: AnyData, about: Mapping[str, Any]) -> AnyData:
    """The data of a run as it was trained on them, by what its data.json says.

    Event frames of a run of before there were exact counts are those that saturate.
    """
    if not isinstance(data, EventConfig):
        return data
    return replace(data, frames=replace(data.frames, counts=about.get("counts", "saturate")))


def usual_data(name: str, like: AnyData | None = None) -> AnyData:
    """The usual configuration of data set `name`, with options of `like` that fit; UserError for an unknown name."""
    if name not in DATA_SETS:
        raise UserError(f"data {name!r} is not a known data set: choose from {', '.join(DATA_SETS)}")
    if name in USUAL:
        return like if isinstance(like, EventConfig) and like.name == name else USUAL[name]
    return replace(like if isinstance(like, DataConfig) else DataConfig(), name=name)  # type: ignore[arg-type]
