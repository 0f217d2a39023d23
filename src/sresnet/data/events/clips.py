"""Clips of event frames that stay on disk and are read batch by batch."""

import hashlib
from dataclasses import dataclass

from sresnet.data.stored import StoredSet


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameSet(StoredSet):
    """Labelled clips, [N, T, 2, H, W]: uint8, or int32 where counts need it."""

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
