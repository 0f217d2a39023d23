"""CIFAR-10 and CIFAR-100 from the published files.

Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009;
https://www.cs.toronto.edu/~kriz/cifar.html describes both formats. 50,000 training and 10,000 test images of 32 x 32
pixels, one row of 3,072 bytes each: the red plane, the green, the blue.
"""

import hashlib
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sresnet.config import closest
from sresnet.data.images import ImageSet
from sresnet.data.pickles import ByteArray, read_pickle
from sresnet.errors import UserError
from sresnet.files import state_of

CifarName = Literal["cifar10", "cifar100"]

SITE = "https://www.cs.toronto.edu/~kriz/"
"""Where the archives are published."""

_ROW = 3 * 32 * 32
_LARGEST_NAMES = 1 << 16
"""Bytes of a file of class names, of which only the lines are published."""
# Of the labels of a batch, the ones that name the class, and how many classes there are.
_CLASS_LABELS = {b"labels": 10, b"fine_labels": 100}


@dataclass(frozen=True, kw_only=True)
class Version:
    """The files of one published version of a data set, python or binary."""

    archive: str
    archive_md5: str
    folder: str
    """Its only folder."""
    train: tuple[str, ...]
    """Files of the training images, in order."""
    test: tuple[str, ...]
    names: str
    """The file with the class names."""
    sums: Mapping[str, tuple[int, str]]
    """Size in bytes and md5 of each file; the text files of class names are checked by `_NAMES_MD5` instead."""
    label_bytes: int | None
    """Labels before each row of the binary version; None: the python version."""

    @property
    def files(self) -> tuple[str, ...]:
        """All that are read."""
        return (*self.train, *self.test, self.names)


VERSIONS: dict[str, tuple[Version, Version]] = {
    "cifar10": (
        Version(
            archive="cifar-10-python.tar.gz",
            archive_md5="c58f30108f718f92721af3b95e74349a",
            folder="cifar-10-batches-py",
            train=tuple(f"data_batch_{i}" for i in range(1, 6)),
            test=("test_batch",),
            names="batches.meta",
            sums={
                "data_batch_1": (31_035_704, "c99cafc152244af753f735de768cd75f"),
                "data_batch_2": (31_035_320, "d4bba439e000b95fd0a9bffe97cbabec"),
                "data_batch_3": (31_035_999, "54ebc095f3ab1f0389bbae665268c751"),
                "data_batch_4": (31_035_696, "634d18415352ddfa80567beed471001a"),
                "data_batch_5": (31_035_623, "482c414d41f54cd18b22e5b47cb7c3cb"),
                "test_batch": (31_035_526, "40351d587109b95175f43aff81a1287e"),
                "batches.meta": (158, "5ff9c542aee3614f3951f8cda6e48888"),
            },
            label_bytes=None,
        ),
        Version(
            archive="cifar-10-binary.tar.gz",
            archive_md5="c32a1d4ab5d03f1284b67883e8d87530",
            folder="cifar-10-batches-bin",
            train=tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
            test=("test_batch.bin",),
            names="batches.meta.txt",
            sums={
                "data_batch_1.bin": (30_730_000, "5dd7e06a14cb22eb9f671a540d1b7c25"),
                "data_batch_2.bin": (30_730_000, "5ea93a67294ea407fff1d09f752e9692"),
                "data_batch_3.bin": (30_730_000, "942cd6a4bcdd0dd3c604fbe906cb4421"),
                "data_batch_4.bin": (30_730_000, "ae636b3ba5c66a11e91e8cb52e771fcb"),
                "data_batch_5.bin": (30_730_000, "53f37980c15c3d472c316c40844f3f0d"),
                "test_batch.bin": (30_730_000, "803d5f7f4d78ea53de84dbe85f74fb6d"),
            },
            label_bytes=1,
        ),
    ),
    "cifar100": (
        Version(
            archive="cifar-100-python.tar.gz",
            archive_md5="eb9058c3a382ffc7106e4002c42a8d85",
            folder="cifar-100-python",
            train=("train",),
            test=("test",),
            names="meta",
            sums={
                "train": (155_249_918, "16019d7e3df5f24257cddd939b257f8d"),
                "test": (31_049_707, "f0ef6b0ae62326f3e7ffdfab6717acfc"),
                "meta": (1_473, "7973b15100ade9c7d40fb424638fde48"),
            },
            label_bytes=None,
        ),
        Version(
            archive="cifar-100-binary.tar.gz",
            archive_md5="03b5dce01913d631647c71ecec9e9cb8",
            folder="cifar-100-binary",
            train=("train.bin",),
            test=("test.bin",),
            names="fine_label_names.txt",
            sums={
                "train.bin": (153_700_000, "6172c7755cfe09b2fe270c85cebc1b15"),
                "test.bin": (30_740_000, "4499cfba6c016c1be1438163640a0898"),
            },
            label_bytes=2,
        ),
    ),
}
"""Python version, then binary version."""

# md5 of the class names with a newline between: whatever line ends a text file has been given, its names are checked.
_NAMES_MD5 = {"cifar10": "c4a53feb1b64ee5c7b132f9a245e037b", "cifar100": "18d2388358c0483ca2d2be3aac2d399e"}


def load_cifar(name: CifarName, data_dir: str | Path) -> tuple[ImageSet, ImageSet]:
    """CIFAR-10 or CIFAR-100 as (train, test): uint8 [50000, 3, 32, 32] and [10000, 3, 32, 32], in the published order.

    The labels of CIFAR-100 are the fine ones. Every file is checked against its published md5 before it is parsed.

    Args:
        data_dir: the folder that holds the extracted python or binary version or one of the four archives as they were
            downloaded, or that extracted folder itself. Of several, the first complete one in that order is read.

    Raises:
        UserError: no such folder, no such files in it, a file that is missing, cut short or altered.
    """
    version, place = locate(name, data_dir)
    contents = _archive_files(version, place) if place.is_file() else _folder_files(version, place)
    batches: dict[str, tuple[Tensor, Tensor]] = {}
    class_names: tuple[str, ...] = ()
    for file, where, raw in contents:
        if file in version.sums:
            _check(raw, version.sums[file], where)
        if file == version.names:
            class_names = _class_names(raw, name, version, where)
        elif version.label_bytes is None:
            batches[file] = _parse_python_batch(raw, where)
        else:
            batches[file] = _parse_binary_batch(raw, version.label_bytes, where)
    train, test = (
        ImageSet(
            images=torch.cat([batches[file][0] for file in files]),
            labels=torch.cat([batches[file][1] for file in files]),
            class_names=class_names,
        )
        for files in (version.train, version.test)
    )
    return train, test


def _parse_python_batch(raw: bytes, where: str) -> tuple[Tensor, Tensor]:
    """Images uint8 [N, 3, 32, 32] and (fine) labels int64 [N] of a batch of the python version; UserError for others.

    The file is a pickled dictionary of Python 2; nothing that it names is run, see `pickles`.
    """
    batch = read_pickle(raw, where)
    key = next((key for key in _CLASS_LABELS if isinstance(batch, dict) and key in batch), None)
    if key is None or not isinstance(batch.get(b"data"), ByteArray):
        raise _not_a_batch(where, "it has no b'data' and b'labels' or b'fine_labels'")
    rows, labels = batch[b"data"].values, batch[key]
    if rows is None or rows.ndim != 2 or rows.shape[1] != _ROW:
        shape = None if rows is None else rows.shape
        raise _not_a_batch(where, f"its data are of shape {shape}, not [N, {_ROW}]")
    if not isinstance(labels, list) or any(type(label) is not int for label in labels):
        raise _not_a_batch(where, "its labels are not a list of integers")
    return _batch(rows, np.array(labels, dtype=np.int64), _CLASS_LABELS[key], where)


def _parse_binary_batch(raw: bytes, label_bytes: int, where: str) -> tuple[Tensor, Tensor]:
    """The same of the binary version: rows of `label_bytes`, 1, or 2 with the fine label last, and 3,072 pixels."""
    length = label_bytes + _ROW
    if not raw or len(raw) % length:
        raise _not_a_batch(where, f"its {len(raw):,} bytes are not rows of {length:,} bytes")
    rows = np.frombuffer(raw, dtype=np.uint8).reshape(-1, length)
    return _batch(rows[:, label_bytes:], rows[:, label_bytes - 1].astype(np.int64), 10**label_bytes, where)


def locate(name: CifarName, data_dir: str | Path) -> tuple[Version, Path]:
    """The version in `data_dir` and its folder or archive, by which files exist; UserError where none is complete."""
    if name not in VERSIONS:
        raise UserError(f"there is no CIFAR data set {name!r}: {closest(name, list(VERSIONS))}")
    versions = VERSIONS[name]
    data_dir = Path(data_dir)
    if not data_dir.is_dir():
        raise UserError(
            f"data folder {data_dir} {state_of(data_dir)}: give the folder that holds the {name} files, or {_get(name)}"
        )
    lacking = ""
    for version in versions:
        for folder in (data_dir / version.folder, data_dir):
            missing = [file for file in version.files if not (folder / file).is_file()]
            if not missing:
                return version, folder
            if len(missing) < len(version.files):
                lacking = lacking or f"{folder} lacks {', '.join(missing)}"
    for version in versions:
        if (data_dir / version.archive).is_file():
            return version, data_dir / version.archive
    if lacking:
        raise UserError(f"{lacking}: extract {name} again, or {_get(name)}")
    looked_for = ", ".join(f"{version.folder}/" for version in versions) + ", "
    looked_for += ", ".join(version.archive for version in versions)
    raise UserError(f"no {name} files in {data_dir} (looked for {looked_for}): {_get(name)}")


def _get(name: str) -> str:
    return f"get them with --download, or put {SITE}{VERSIONS[name][1].archive} into the data folder"


def _folder_files(version: Version, folder: Path) -> Iterator[tuple[str, str, bytes]]:
    for file in version.files:
        path = folder / file
        published = version.sums[file][0] if file in version.sums else _LARGEST_NAMES
        try:
            size = path.stat().st_size
            if size > published:  # before it is read: a file of this name may have any size
                raise UserError(
                    f"{path} is {size:,} bytes, expected {published:,} at most, so it is another file: delete it and "
                    "download it again"
                )
            yield file, str(path), path.read_bytes()
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}): check its permissions and the disk") from None


def _archive_files(version: Version, archive: Path) -> Iterator[tuple[str, str, bytes]]:
    wanted = {f"{version.folder}/{file}": file for file in version.files}
    try:
        with archive.open("rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
            if found != version.archive_md5:
                size = archive.stat().st_size
                raise UserError(
                    f"{archive} ({size:,} bytes) has md5 {found}, expected {version.archive_md5}, so it is cut short "
                    "or altered: delete it and download it again"
                )
            file.seek(0)
            # As a stream: the files come in whatever order the archive has them, and it is decompressed once.
            with tarfile.open(fileobj=file, mode="r|gz") as tar:
                for member in tar:
                    content = tar.extractfile(member) if member.name in wanted else None
                    if content is not None:
                        yield wanted.pop(member.name), f"{archive}:{member.name}", content.read()
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise UserError(f"{archive} cannot be read ({error}): delete it and download it again") from None
    if wanted:
        raise UserError(f"{archive} lacks {', '.join(wanted)}: delete it and download it again")


def _check(raw: bytes, published: tuple[int, str], where: str) -> None:
    size, md5 = published
    found = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    if found != md5:
        raise UserError(
            f"{where} is {len(raw):,} bytes with md5 {found}, expected {size:,} bytes with md5 {md5}, so it is "
            f"{'cut short' if len(raw) < size else 'altered'}: delete it and download it again"
        )


def _class_names(raw: bytes, name: str, version: Version, where: str) -> tuple[str, ...]:
    if version.label_bytes is None:
        meta = read_pickle(raw, where)
        lines = meta.get(b"label_names", meta.get(b"fine_label_names")) if isinstance(meta, dict) else None
        if not isinstance(lines, list) or any(type(line) is not bytes for line in lines):
            raise _not_a_batch(where, "it has no class names")
    else:
        lines = raw.split()
    found = hashlib.md5(b"\n".join(lines), usedforsecurity=False).hexdigest()
    if found != _NAMES_MD5[name]:
        raise UserError(f"{where} does not hold the class names of {name}: delete it and extract the archive again")
    return tuple(line.decode("ascii") for line in lines)


def _batch(rows: NDArray[np.uint8], labels: NDArray[np.int64], num_classes: int, where: str) -> tuple[Tensor, Tensor]:
    if len(rows) != len(labels) or not len(rows):
        raise _not_a_batch(where, f"it has {len(rows)} images and {len(labels)} labels")
    wrong = labels[(labels < 0) | (labels >= num_classes)]
    if len(wrong):
        raise _not_a_batch(where, f"a label is {wrong[0]}, outside 0 to {num_classes - 1}")
    # A copy: the rows belong to the bytes of the file, which are read-only and should not be kept.
    return torch.from_numpy(rows.copy()).view(-1, 3, 32, 32), torch.from_numpy(labels)


def _not_a_batch(where: str, fault: str) -> UserError:
    return UserError(f"{where} is not a CIFAR file ({fault}): delete it and download it again")
