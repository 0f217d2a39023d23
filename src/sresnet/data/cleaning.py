"""Cache folders looked through and emptied: frames of event recordings, and decoded pictures."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sresnet.data import pictures
from sresnet.data.cached import first_entry, list_beside, using
from sresnet.data.events import cache as frames
from sresnet.errors import UserError
from sresnet.files import InUseError, one_at_a_time


@dataclass(frozen=True, kw_only=True)
class CachedSet:
    """One data set in a cache folder, whole or begun."""

    kind: Literal["frames", "pictures"]
    files: tuple[Path, ...]
    """All that belong to it; the first is the samples."""
    sources: tuple[str, ...]
    """Files, or the folder, that it was made of; none for simulated recordings."""
    size: int
    """Bytes of all files."""


def is_cache(folder: Path) -> bool:
    """Whether a folder holds frames or pictures of ours, as files beside them say, so that more may be put there."""
    with contextlib.suppress(OSError, ValueError):
        return any(True for _ in _sets_in(folder))
    return False


def cached_sets(folder: Path) -> list[CachedSet]:
    """What of ours is in a cache folder, by name; nothing where there is no such folder.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return sorted(_sets_in(folder), key=lambda found: found.files[0])
    except OSError as error:
        raise UserError(
            f"cache folder {folder} cannot be read ({error.strerror}): choose another --cache-dir"
        ) from None


def _sets_in(folder: Path) -> Iterator[CachedSet]:
    """Each set that is known by its JSON file or list."""
    for path in folder.glob(f"*{frames.ENDING}"):
        with contextlib.suppress(UserError):
            yield _set_of("frames", (path, path.with_suffix(".json")), frames.sources_of(path))
    for list_ in folder.glob("*.list"):
        path = list_.with_suffix(".begun")
        if first_entry(list_).get("kind") == frames.KIND and path.exists():
            yield _set_of("frames", (path, list_), frames.sources_so_far(list_))
    for path in folder.glob(f"*{pictures.ENDING}"):
        head = first_entry(list_beside(path))
        if head.get("kind") == pictures.KIND:
            yield _set_of("pictures", (path, list_beside(path)), (str(head.get("folder")),))


def _set_of(kind: Literal["frames", "pictures"], files: tuple[Path, ...], sources: tuple[str, ...]) -> CachedSet:
    """The set of these files, the samples first."""
    return CachedSet(kind=kind, files=files, sources=sources, size=sum(each.stat().st_size for each in files))


def remove(found: CachedSet) -> None:
    """Delete a set; a process that reads it goes on reading. InUseError where another process is filling it."""
    path = found.files[0]
    lock = path.with_suffix(".lock")

    def busy() -> None:
        raise InUseError(f"{path} is being filled by another process: wait for it, or end it")

    with using(path.parent), one_at_a_time(lock, busy):
        # Killed in between, it leaves what the next start or clean still knows: frames are none without the file beside
        # them, and a list of pictures that are gone is small.
        for each in found.files if found.kind == "pictures" else reversed(found.files):
            each.unlink(missing_ok=True)
        if os.name != "nt":
            lock.unlink(missing_ok=True)
    if os.name == "nt":  # which deletes no open file; another process may have opened this one by now
        with contextlib.suppress(OSError):
            lock.unlink()
