"""Samples that stay on disk: read batch by batch, shared by all processes of a machine."""

import math
import os
import weakref
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from sresnet.data.samples import check_labels
from sresnet.errors import UserError
from sresnet.files import PLAIN, read_at


class SampleFile:
    """An open file of samples of one shape and type, one after the other.

    All processes share the pages that the system keeps of it. They are read by position, not through a map of this
    process: a file that is cut short is then an error and not a SIGBUS, and pages do not count as memory of this
    process. A map is faster by less than a hundredth of a training step (`benchmarks/events.py`, `benchmarks/sets.py`).

    Args:
        count: samples in it.
        shape: of one sample, (T, 2, H, W) or (C, H, W).
        checksums: CRC-32 of each sample, compared whenever it is read, which costs a fiftieth of the time of reading;
            None: not known.
        kind: what a sample is.
        longer: the file may go on behind them.
        dtype: of their numbers: uint8, uint16, int32 or float32.

    Raises:
        UserError: it is not there, or has another size.
    """

    def __init__(
        self,
        path: Path,
        count: int,
        shape: Sequence[int],
        checksums: Sequence[int] | Mapping[int, int] | None = None,
        *,
        kind: str = "clip",
        longer: bool = False,
        dtype: str = "uint8",
    ) -> None:
        self.path, self.count, self.shape, self.checksums, self.kind = path, count, tuple(shape), checksums, kind
        self.dtype = np.dtype(dtype)
        self.sample_bytes = math.prod(self.shape) * self.dtype.itemsize
        try:
            self.descriptor = os.open(path, os.O_RDONLY | PLAIN)
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}): run the same command again") from None
        weakref.finalize(self, os.close, self.descriptor)
        size = os.fstat(self.descriptor).st_size
        if size < count * self.sample_bytes or (size > count * self.sample_bytes and not longer):
            raise UserError(f"{path} has not the {count} {kind}s it should: delete it and run the same command again")

    def read(self, numbers: Sequence[int]) -> Tensor:
        """Samples by number, [len(numbers), *shape]; UserError where file or disk are damaged.

        They are uint8, int32 or float32: torch computes with little of uint16, which becomes int32.
        """
        samples = torch.empty(len(numbers), *self.shape, dtype=getattr(torch, self.dtype.name), device="cpu")
        memory, size, checksums = samples.view(-1).view(torch.uint8).numpy().data, self.sample_bytes, self.checksums
        for place, number in enumerate(numbers):
            checksum = self.read_into(memory[place * size : (place + 1) * size], number)
            if checksums is not None and checksum != checksums[number]:
                raise UserError(
                    f"{self.kind} {number} of {self.path} is damaged: delete it and run the same command again"
                )
        return samples.to(torch.int32) if self.dtype == np.uint16 else samples

    def read_into(self, part: memoryview, number: int) -> int:
        """Put a sample into memory; its CRC-32. Errors as `read`."""
        try:
            got = read_at(self.descriptor, part, number * self.sample_bytes)
        except OSError as error:
            raise UserError(f"{self.path} cannot be read ({error.strerror}): is the disk still there?") from None
        if got != self.sample_bytes:
            raise UserError(
                f"{self.path} was cut short at {self.kind} {number}: delete it and run the same command again"
            )
        return zlib.crc32(part)

    def all_checksums(self) -> list[int]:
        """CRC-32 of each sample on the disk, about a second for four gigabytes in the page cache; errors as `read`."""
        part = memoryview(bytearray(self.sample_bytes))
        return [self.read_into(part, number) for number in range(self.count)]


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredSet:
    """Labelled samples on disk, read when asked for, methods as in `Samples`; UserError for labels that do not fit."""

    file: SampleFile
    numbers: Tensor
    """Number of each sample in the file, int64 [N]."""
    labels: Tensor
    """Class of each sample, int64 [N]."""
    class_names: tuple[str, ...]
    """Name of class 0, 1, ..."""
    device: torch.device = torch.device("cpu")
    """Where batches are put."""

    def __post_init__(self) -> None:
        check_labels(self.labels, len(self.numbers), self.class_names, self.file.kind)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.file.shape

    def subset(self, indices: Tensor) -> Self:
        return replace(self, numbers=self.numbers[indices.cpu()], labels=self.labels[indices.to(self.labels.device)])

    def read(self, indices: Tensor) -> Tensor:
        """As `batch`, but in this computer's memory; indices on the CPU. Any thread may call it."""
        return self.file.read(self.numbers[indices].tolist())

    def batch(self, indices: Tensor) -> Tensor:
        """As in `Samples`; errors as `SampleFile.read`."""
        return self.read(indices.cpu()).to(self.device)

    def to(self, device: torch.device) -> Self:
        return replace(self, device=device, labels=self.labels.to(device))

    def renamed(self, labels: Tensor, class_names: tuple[str, ...]) -> Self:
        return replace(self, labels=labels, class_names=class_names)
