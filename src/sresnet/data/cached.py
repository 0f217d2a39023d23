"""What caches on disk have in common: their folder, which files are believed, room on the disk, lists that grow."""

import contextlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from sresnet.errors import UserError
from sresnet.files import beginning, read_at, read_regular, write_at, write_whole

COARSE = 2_000_000_000
"""Nanoseconds within which two changes of a file may have the same time, on the coarsest file system (FAT)."""

Watch = Callable[[int, int, str], None]
"""Called with (files done, files, name of the next one, or "another process" while waiting)."""

Note = Callable[[str], None]
"""Called with a line about what is going to be written."""

LARGEST_LIST = 1 << 32
"""Bytes that a list may have: some 300 for each picture."""


class NotWrittenError(UserError):
    """A disk that is full or refuses; what was written before is as it was."""


def cache_folder(kind: Literal["frames", "pictures"] = "frames") -> Path:
    """$XDG_CACHE_HOME/sresnet/KIND, by default ~/.cache/sresnet/KIND; UserError where no home folder is known."""
    try:
        base = os.environ.get("XDG_CACHE_HOME")
        return (Path(base) if base else Path.home() / ".cache") / "sresnet" / kind
    except RuntimeError:
        raise UserError(
            f"{kind} are kept in the home folder, and none is known: add --cache-dir DIR, or set HOME"
        ) from None


@contextlib.contextmanager
def using(folder: Path) -> Iterator[None]:
    """Around the use of a cache folder, made if missing: what the system refuses there becomes a UserError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cache folder {folder} cannot be used ({reason}): choose another --cache-dir") from None


def status_of(status: os.stat_result) -> list[int]:
    """[size, mtime, ctime, inode] of a file, times in nanoseconds.

    Users can set mtime but not ctime, which on Windows is the time of creation.
    """
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def text_of(status: list[int]) -> str:
    """A status as text, since numbers in JSON have 63 bits."""
    return " ".join(map(str, status))


def believed(known: str, seen: int, status: list[int]) -> bool:
    """Whether a file is what it was, without reading it.

    It is if its status is the known one, and was seen long enough after the file's last change for another change to
    have another time.
    """
    return os.name != "nt" and known == text_of(status) and status[2] < seen - COARSE


def size_said(size: int) -> str:
    """Bytes for people."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def check_room(folder: Path, needed: int, what: str) -> int:
    """Bytes free in a folder; NotWrittenError where they are fewer than what is going to be written there."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise NotWrittenError(
            f"cache folder {folder} has {size_said(free)} free, and {what} take {size_said(needed)}: make room there "
            "or choose another --cache-dir"
        )
    return free


def list_beside(path: Path) -> Path:
    """The list of what a file of samples holds."""
    return path.with_suffix(".list")


def _line_of(entry: Mapping[str, Any]) -> bytes:
    """An entry of a list, as a line that begins with a checksum of the rest."""
    text = json.dumps(dict(entry)).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def write_list(path: Path, entries: Iterable[Mapping[str, Any]]) -> None:
    """A list anew, whole or not at all; errors as `files.write_whole`."""
    write_whole(path, b"".join(map(_line_of, entries)))


def first_entry(path: Path) -> dict[str, Any]:
    """The first entry of a list, of at most 4,000 bytes; empty where there is none."""
    found = _entry_in(beginning(path).split(b"\n")[0])
    return found or {}


def _entry_in(line: bytes) -> dict[str, Any] | None:
    """What a line says; None where it is torn or damaged."""
    if line[:9] != b"%08x " % zlib.crc32(line[9:]):
        return None
    try:
        entry = json.loads(line[9:])
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def entries_of(path: Path) -> list[dict[str, Any]]:
    """The entries of a list; none where it is missing. Lines that are torn or damaged are left out.

    Raises:
        UserError: it is no plain file, or the disk refuses.
    """
    try:
        content = read_regular(path, LARGEST_LIST)
    except FileNotFoundError:
        return []
    found = map(_entry_in, content.split(b"\n"))
    return [entry for entry in found if entry is not None]


def end_line(descriptor: int) -> None:
    """End the line that a killed process left torn in a list, so that the next one is whole."""
    size = os.fstat(descriptor).st_size
    last = bytearray(1)
    if size and read_at(descriptor, memoryview(last), size - 1) and last != b"\n":
        write_at(descriptor, b"\n", size)


def append_line(descriptor: int, entry: Mapping[str, Any], path: Path) -> None:
    """Add an entry to the open list `path`, which nobody else writes; errors as `write_all`."""
    write_all(descriptor, _line_of(entry), os.fstat(descriptor).st_size, path)


def write_all(descriptor: int, content: memoryview | bytes, place: int, path: Path) -> None:
    """Write bytes at a place of the open file `path`; NotWrittenError where the disk is full or refuses."""
    rest = memoryview(content).cast("B")
    try:
        while rest:
            done = write_at(descriptor, rest, place)
            rest, place = rest[done:], place + done
    except OSError as error:
        raise NotWrittenError(
            f"{path} could not be written ({error.strerror}): what it holds already is kept; make room or choose "
            "another --cache-dir, and run the same command again"
        ) from None
