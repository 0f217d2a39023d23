"""Data sets: from files on disk to labelled uint8 images in memory, or clips of event frames on disk."""

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

from sresnet.config import added_later, check_types
from sresnet.data.cifar import load_cifar
from sresnet.data.digits import load_digits
from sresnet.data.download import fetch_cifar
from sresnet.data.events.cache import Watch, prepare
from sresnet.data.events.sets import EVENT_SETS, USUAL, EventConfig
from sresnet.data.events.splits import check_split, event_splits
from sresnet.data.folder import open_folder
from sresnet.data.images import ImageSet
from sresnet.data.samples import Samples, Splits
from sresnet.data.split import hold_out, some_of_each_class
from sresnet.errors import UserError
from sresnet.limits import MEMORY_LIMIT

__all__ = [
    "CLASSES",
    "DATA_SETS",
    "EVENT_SETS",
    "AnyData",
    "DataConfig",
    "EventConfig",
    "ImageSet",
    "Samples",
    "Splits",
    "open_data",
    "usual_data",
]

DataName = Literal["digits", "cifar10", "cifar100", "folder"]

DATA_SETS: dict[str, str] = {
    "digits": "1,797 handwritten digits of 8x8 pixels that come with scikit-learn; no download",
    "cifar10": "60,000 colour images of 32x32 pixels, 10 classes",
    "cifar100": "60,000 colour images of 32x32 pixels, 100 classes",
    "folder": "your own pictures, one folder per class",
    **{name: line for name, (line, _) in EVENT_SETS.items()},
}

CLASSES: dict[str, tuple[int, int]] = {
    "digits": (10, 1),
    "cifar10": (10, 3),
    "cifar100": (100, 3),
    **{name: (10, 2) for name in EVENT_SETS if name != "event-folder"},
}
"""Classes and channels of the data sets that always have the same."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What images to train on, and how they are changed on the way.

    Raises:
        UserError: a field of the wrong type or out of range.
    """

    family: ClassVar[str] = "images"
    implicit: ClassVar[bool] = True

    name: DataName = "cifar10"
    """Data set: digits, cifar10, cifar100, folder."""
    validation: float = 0.0
    """Part of the training images held out, stratified and seeded; any choice may use these, none the test images."""
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
    """Side to which the pictures of a folder are brought."""
    train_images: int = added_later(0)
    """Use only so many of the training images, each class alike, always the same ones; 0: all."""

    def __post_init__(self) -> None:
        check_types(self)
        if not 0 <= self.validation < 1:
            raise UserError(f"validation {self.validation} is outside [0, 1): it is the part of the training images")
        if not 0 <= self.erase <= 1:
            raise UserError(f"erase {self.erase} is outside [0, 1]: it is a probability")
        if self.crop_padding < 0 or self.image_size < 1:
            raise UserError("crop_padding and image_size count pixels: give numbers that are not negative")
        if self.train_images < 0:
            raise UserError(f"train_images {self.train_images} is less than 0: it counts images, 0 takes all")


AnyData = DataConfig | EventConfig


def usual_data(name: str, like: AnyData | None = None) -> AnyData:
    """The configuration to start from for the data set called `name`, with the options of `like` where it has them.

    Raises:
        UserError: no data set of that name.
    """
    if name not in DATA_SETS:
        raise UserError(f"data {name!r} is no data set: choose from {', '.join(DATA_SETS)}")
    if name in USUAL:
        return like if isinstance(like, EventConfig) and like.name == name else USUAL[name]
    return replace(like if isinstance(like, DataConfig) else DataConfig(), name=name)  # type: ignore[arg-type]


def open_data(
    config: AnyData,
    data_dir: str,
    *,
    seed: int,
    num_steps: int = 0,
    download: bool = False,
    cache_dir: str = "",
    watch: Watch = lambda done, total, name: None,
    memory_limit: float = MEMORY_LIMIT,
) -> Splits:
    """The images or clips that `config` names.

    Args:
        config: what to open.
        data_dir: folder that holds it; "digits" and "digits-dvs" need none.
        seed: of the held-out part.
        num_steps: frames of a clip, for event recordings.
        download: fetch CIFAR from its publisher if it is not in `data_dir`.
        cache_dir: where frames are kept; "": in the user's cache folder.
        watch: told how far the making of frames is, where they are not in the cache yet.
        memory_limit: gigabytes that one file may claim, see `limits`.

    Raises:
        UserError: no data_dir, or whatever the reader of the data set finds wrong.
    """
    if isinstance(config, EventConfig):
        if download and config.name == "cifar10-dvs-sim":
            fetch_cifar("cifar10", data_dir)
        check = partial(check_split, config)
        prepared = prepare(
            config,
            data_dir,
            num_steps,
            cache_dir=cache_dir,
            watch=watch,
            check=check,
            memory_limit=memory_limit,
        )
        return event_splits(config, prepared, seed)
    splits = read(config, data_dir, download, memory_limit)
    if config.train_images:
        splits = replace(
            splits, train=splits.train.subset(some_of_each_class(splits.train.labels, config.train_images))
        )
    if not config.validation:
        return splits
    train = splits.train
    rest, held_out, notes = hold_out(train.labels, train.class_names, config.validation, seed)
    return replace(splits, train=train.subset(rest), validation=train.subset(held_out), notes=(*splits.notes, *notes))


def read(config: DataConfig, data_dir: str, download: bool, memory_limit: float = MEMORY_LIMIT) -> Splits:
    """The parts as published; errors as `open_data`."""
    if config.name == "digits":
        train, test = load_digits()
        return Splits(train=train, validation=None, test=test)
    if not data_dir:
        raise UserError(f"{config.name} is read from a folder of yours: add --data-dir DIR, the folder that holds it")
    if config.name == "folder":
        return open_folder(data_dir, config.image_size, memory_limit=memory_limit, held_out=not config.validation)
    if download:
        fetch_cifar(config.name, data_dir)
    train, test = load_cifar(config.name, data_dir)
    return Splits(train=train, validation=None, test=test)
