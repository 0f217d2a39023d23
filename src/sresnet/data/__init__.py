"""Data sets: from files on disk to labelled uint8 images in memory."""

from dataclasses import dataclass
from typing import Literal

from sresnet.config import check_types
from sresnet.data.cifar import load_cifar
from sresnet.data.digits import load_digits
from sresnet.data.download import fetch_cifar
from sresnet.data.folder import load_folder
from sresnet.data.images import ImageSet
from sresnet.data.split import stratified_split
from sresnet.errors import UserError

__all__ = ["CLASSES", "DATA_SETS", "DataConfig", "ImageSet", "Splits", "open_data"]

DataName = Literal["digits", "cifar10", "cifar100", "folder"]

DATA_SETS: dict[str, str] = {
    "digits": "1,797 handwritten digits of 8x8 pixels that come with scikit-learn; no download",
    "cifar10": "60,000 colour images of 32x32 pixels, 10 classes",
    "cifar100": "60,000 colour images of 32x32 pixels, 100 classes",
    "folder": "your own pictures, one folder per class",
}

CLASSES: dict[str, tuple[int, int]] = {"digits": (10, 1), "cifar10": (10, 3), "cifar100": (100, 3)}
"""Classes and channels of the data sets that always have the same."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What to train on, and how images are changed on the way.

    Raises:
        UserError: a field of the wrong type or out of range.
    """

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
    pixels: Literal["normalised", "intensity"] = "normalised"
    """normalised: to mean 0 and deviation 1 per channel; intensity: in [0, 1], what the poisson encoder needs."""
    image_size: int = 32
    """Side to which the pictures of a folder are brought."""

    def __post_init__(self) -> None:
        check_types(self)
        if not 0 <= self.validation < 1:
            raise UserError(f"validation {self.validation} is outside [0, 1): it is the part of the training images")
        if not 0 <= self.erase <= 1:
            raise UserError(f"erase {self.erase} is outside [0, 1]: it is a probability")
        if self.crop_padding < 0 or self.image_size < 1:
            raise UserError("crop_padding and image_size count pixels: give numbers that are not negative")


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The images of a data set by what they may be used for."""

    train: ImageSet
    validation: ImageSet | None
    test: ImageSet


def open_data(config: DataConfig, data_dir: str, *, seed: int, download: bool = False) -> Splits:
    """The images that `config` names.

    Args:
        config: what to open.
        data_dir: folder that holds it; "digits" needs none.
        seed: of the held-out part.
        download: fetch CIFAR from its publisher if it is not in `data_dir`.

    Raises:
        UserError: no data_dir, or whatever the reader of the data set finds wrong.
    """
    train, test = read(config, data_dir, download)
    if not config.validation:
        return Splits(train=train, validation=None, test=test)
    rest, held_out = stratified_split(train.labels, config.validation, seed)
    return Splits(train=train.subset(rest), validation=train.subset(held_out), test=test)


def read(config: DataConfig, data_dir: str, download: bool) -> tuple[ImageSet, ImageSet]:
    """(train, test) as published; errors as `open_data`."""
    if config.name == "digits":
        return load_digits()
    if not data_dir:
        raise UserError(f"{config.name} is read from a folder of yours: add --data-dir DIR, the folder that holds it")
    if config.name == "folder":
        return load_folder(data_dir, config.image_size)
    if download:
        fetch_cifar(config.name, data_dir)
    return load_cifar(config.name, data_dir)
