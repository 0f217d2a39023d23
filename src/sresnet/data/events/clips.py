"""Clips of event frames that stay on disk and are read batch by batch."""

import hashlib
import math
import os
import weakref
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from sresnet.errors import UserError


class FrameFile:
    """An open file of uint8 clips of one shape, one after the other.

    Clips are read by position, not through a memory map: a file that is cut short is then an error and not a SIGBUS,
    pages do not count as memory of this process, and a map is not noticeably faster (`benchmarks/events.py`).

    Args:
        count: clips in it.
        shape: of one clip, (T, 2, H, W).
        checksums: CRC-32 of each clip, compared whenever it is read, which costs a fiftieth of the time of reading;
            None: not known.

    Raises:
        UserError: it is not there, or has another size.
    """

    def __init__(self, path: Path, count: int, shape: Sequence[int], checksums: Sequence[int] | None = None) -> None:
        self.path, self.count, self.shape, self.checksums = path, count, tuple(shape), checksums
        self.clip_bytes = math.prod(self.shape)
        try:
            self.descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}): run the same command again") from None
        weakref.finalize(self, os.close, self.descriptor)
        if os.fstat(self.descriptor).st_size != count * self.clip_bytes:
            raise UserError(f"{path} has not the {count} clips it should: delete it and run the same command again")

    def read(self, numbers: Sequence[int]) -> Tensor:
        """Clips by number, uint8 [len(numbers), T, 2, H, W]; UserError where file or disk are damaged."""
        clips = torch.empty(len(numbers), *self.shape, dtype=torch.uint8)
        memory = clips.view(-1).numpy().data
        for place, number in enumerate(numbers):
            checksum = self.read_into(memory[place * self.clip_bytes : (place + 1) * self.clip_bytes], number)
            if self.checksums is not None and checksum != self.checksums[number]:
                raise UserError(f"clip {number} of {self.path} is damaged: delete it and run the same command again")
        return clips

    def read_into(self, part: memoryview, number: int) -> int:
        """Put a clip into memory; its CRC-32. Errors as `read`."""
        try:
            got = os.preadv(self.descriptor, [part], number * self.clip_bytes)
        except OSError as error:
            raise UserError(f"{self.path} cannot be read ({error.strerror}): is the disk still there?") from None
        if got != self.clip_bytes:
            raise UserError(f"{self.path} was cut short at clip {number}: delete it and run the same command again")
        return zlib.crc32(part)

    def all_checksums(self) -> list[int]:
        """CRC-32 of each clip on the disk, about a second for four gigabytes in the page cache; errors as `read`."""
        part = memoryview(bytearray(self.clip_bytes))
        return [self.read_into(part, number) for number in range(self.count)]


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameSet:
    """Labelled clips on disk, read when asked for, methods as in `Samples`; UserError for labels that do not fit."""

    file: FrameFile
    numbers: Tensor
    """Number of each clip in the file, int64 [N]."""
    labels: Tensor
    """Class of each clip, int64 [N]."""
    class_names: tuple[str, ...]
    """Name of class 0, 1, ..."""
    scale: float = 1.0
    """Factor on counts before a network sees them, see `input_scale`."""
    contents: str = ""
    """Digest of what the clips of the file are made of; "": not known, the file itself is read."""
    device: torch.device = torch.device("cpu")
    """Where batches are put."""

    def __post_init__(self) -> None:
        if self.labels.dtype != torch.int64 or self.labels.shape != self.numbers.shape:
            raise UserError(f"labels are {self.labels.dtype} {tuple(self.labels.shape)}: expected int64, one per clip")
        if len(self) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.class_names):
            raise UserError(f"a label is outside 0 to {len(self.class_names) - 1}, the indices of the class names")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.file.shape

    def subset(self, indices: Tensor) -> "FrameSet":
        return replace(self, numbers=self.numbers[indices.cpu()], labels=self.labels[indices.to(self.labels.device)])

    def batch(self, indices: Tensor) -> Tensor:
        """As in `Samples`; errors as `FrameFile.read`."""
        return self.file.read(self.numbers[indices.cpu()].tolist()).to(self.device)

    def to(self, device: torch.device) -> "FrameSet":
        return replace(self, device=device, labels=self.labels.to(device))

    def renamed(self, labels: Tensor, class_names: tuple[str, ...]) -> "FrameSet":
        return replace(self, labels=labels, class_names=class_names)

    def digest(self) -> str:
        # By what the clips are made of, where that is known.
        found = hashlib.blake2b(self.contents.encode(), digest_size=16)
        if self.contents:
            found.update(self.numbers.contiguous().numpy().data)
        else:
            for number in self.numbers.tolist():
                found.update(self.file.read([number]).view(-1).numpy().data)
        return found.hexdigest()
