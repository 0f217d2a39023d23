"""Clips of event frames: on disk, read batch by batch, or in memory."""

import hashlib
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sresnet.data.samples import check_labels
from sresnet.data.stored import StoredSet
from sresnet.errors import UserError


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameSet(StoredSet):
    """Labelled clips, [N, T, 2, H, W]: uint8, int32 where counts need it, or float32."""

    scale: float = 1.0
    """Factor on counts before a network sees them, see `input_scale`."""
    contents: str = ""
    """Digest of what the clips of the file are made of; "": not known, the file itself is read."""

    def digest(self) -> str:
        # By what the clips are made of, where that is known.
        found = hashlib.blake2b(self.contents.encode(), digest_size=16)
        if self.contents:
            found.update(self.numbers.contiguous().numpy().data)
        else:
            for number in self.numbers.tolist():
                found.update(self.file.read([number]).view(-1).numpy().data)
        return found.hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipSet:
    """Labelled clips in memory, methods as in `Samples`; UserError for labels that do not fit."""

    clips: Tensor
    """uint8, int32 or float32 [N, T, C, H, W]; a network sees them as they are."""
    labels: Tensor
    """Class of each clip, int64 [N]."""
    class_names: tuple[str, ...]
    """Name of class 0, 1, ..."""

    @property
    def scale(self) -> float:
        """As of a `FrameSet`."""
        return 1.0

    def __post_init__(self) -> None:
        if self.clips.ndim != 5 or self.clips.dtype not in (torch.uint8, torch.int32, torch.float32):
            found = f"{self.clips.dtype} {tuple(self.clips.shape)}"
            raise UserError(f"clips are {found}: expected uint8, int32 or float32 [N, T, C, H, W]")
        check_labels(self.labels, len(self.clips), self.class_names, "clip")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.clips.shape[1:])

    def subset(self, indices: Tensor) -> "ClipSet":
        return replace(self, clips=self.clips[indices], labels=self.labels[indices])

    def batch(self, indices: Tensor) -> Tensor:
        return self.clips[indices]

    def to(self, device: torch.device) -> "ClipSet":
        return replace(self, clips=self.clips.to(device), labels=self.labels.to(device))

    def renamed(self, labels: Tensor, class_names: tuple[str, ...]) -> "ClipSet":
        return replace(self, labels=labels, class_names=class_names)

    def digest(self) -> str:
        found = hashlib.blake2b(str(self.clips.dtype).encode(), digest_size=16)
        for clip in self.clips:
            found.update(clip.cpu().contiguous().view(-1).numpy().data)
        return found.hexdigest()
