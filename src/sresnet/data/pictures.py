"""Decoded pictures of a folder, kept in a cache folder: decoded once, however large the set.

Two files for each folder of pictures and size: the pictures, uint8 [slots, 3, H, W] and nothing else, and a list of
which file is in which slot, a line each. Both only grow. A picture is written first and its line after it, so what a
killed process leaves is as good as what it would have written, and the next one goes on there.

A picture belongs to the bytes of its file, known by a digest. At each start the system is asked for size, times and
number of every file (`cached.believed`); one that differs is read, and decoded anew if its bytes are others. What is
decoded anew takes a new slot, so a training that reads the old one is not disturbed. A picture's checksum is compared
whenever it is read, and all are compared at the start if the file of pictures may have changed.

The list also holds, for each part of the data (training, test, ...), the digest and the counts of values that are
otherwise taken from all its pixels.
"""

import contextlib
import hashlib
import json
import math
import os
import shutil
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import torch
from torch import Tensor

from sresnet.data.cached import (
    Note,
    Watch,
    append_line,
    believed,
    cache_folder,
    check_room,
    end_line,
    entries_of,
    first_entry,
    list_beside,
    size_said,
    status_of,
    text_of,
    using,
    write_all,
    write_list,
)
from sresnet.data.stored import SampleFile, StoredSet
from sresnet.data.transforms import value_counts
from sresnet.errors import UserError
from sresnet.files import InUseError, one_at_a_time, opened_to_change, read_regular, state_of

VERSION = 2
"""To be raised with every change of the pixels that the same files give."""

ENDING = ".pictures"
KIND = "sresnet pictures"

_MANY = 1_000
"""Pictures that are worth a cache: to decode a thousand photographs takes some 16 seconds."""
_MUCH = 256_000_000
"""Bytes of decoded pictures that are worth one."""
_LINE_BYTES = 400
"""Of the list, for a picture, at least as many as a usual name takes."""
_AT_ONCE = 16 << 20
"""Bytes that are read at a time to digest and count them."""


class Picture(NamedTuple):
    """What a file held."""

    pixels: Tensor
    """uint8 [3, H, W]."""
    digest: bytes
    """Of the bytes of the file."""
    plain: bool
    """It shows nothing without its transparency, which is dropped."""
    depth: int = 0
    """Of a file with 16 bits for each channel, how many its own values need; 0: it has 8."""
    bits: int = 0
    """Likewise, how many were taken to count."""


def digest_of(content: bytes) -> bytes:
    """Of the bytes of a file."""
    return hashlib.blake2b(content, digest_size=16).digest()


class _Entry(TypedDict):
    """A picture, as a line of the list."""

    name: str
    """Path below the folder, with slashes."""
    slot: int
    status: str
    """Of the file, as `cached.text_of`."""
    seen: int
    """When it had that status, nanoseconds since 1970."""
    content: str
    """Digest of the file's bytes."""
    plain: bool
    depth: int
    """As in `Picture`."""
    bits: int
    crc: int
    """CRC-32 of the pixels."""


_FIELDS = {
    "name": str,
    "slot": int,
    "status": str,
    "seen": int,
    "content": str,
    "plain": bool,
    "depth": int,
    "bits": int,
    "crc": int,
}
"""The types of an `_Entry`, which a file need not keep to."""


class _About(TypedDict):
    """What is otherwise read from all pixels of a part."""

    digest: str
    counts: list[list[int]]
    """How often each of the 256 values occurs, for each channel."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Pictures in a cache."""

    file: SampleFile
    entries: tuple[_Entry, ...]
    """Of the files asked for, in their order."""
    contents: dict[int, str]
    """Slot -> digest of the file's bytes, and of how many of 16 bits the pixels are."""
    parts: dict[str, _About]
    """By a digest of the contents of their pictures; grows."""
    decoded: int
    """How many were not there."""
    bits: int
    """Of files with 16 bits for each channel, how many count."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PictureSet(StoredSet):
    """Labelled pictures, uint8 [N, 3, H, W]."""

    kept: Kept

    def digest(self) -> str:
        return self._about()["digest"]

    def counts(self) -> Tensor:
        """As `transforms.value_counts` of all pictures."""
        return torch.tensor(self._about()["counts"], device="cpu")

    def _about(self) -> _About:
        """Digest and counts, read from all pictures once and then noted in the list."""
        numbers, kept = self.numbers.tolist(), self.kept
        key = hashlib.sha256("".join(kept.contents[number] for number in numbers).encode()).hexdigest()
        if key in kept.parts:
            return kept.parts[key]
        digest = hashlib.blake2b(digest_size=16)
        counts = torch.zeros(self.shape[0], 256, dtype=torch.int64, device="cpu")
        for some in self.numbers.split(max(1, _AT_ONCE // self.file.sample_bytes)):
            pictures = self.file.read(some.tolist())
            digest.update(pictures.view(-1).numpy().data)
            counts += value_counts(pictures)
        about = _About(digest=digest.hexdigest(), counts=counts.tolist())
        kept.parts[key] = about
        _note_part(self.file.path, key, about)
        return about


def worth_keeping(data_dir: Path, count: int, image_size: int, decoder: str, cache_dir: str, note: Note) -> bool:
    """Whether so many pictures go through a cache: many or large ones, those of which one is there, or on request.

    Many that fit into memory do without, and `note` is told, where the user's cache folder cannot be written.
    """
    size = 3 * image_size**2 * count
    if cache_dir or size >= _MUCH:
        return True
    try:
        folder = cache_folder("pictures")
        if count < _MANY or _place(folder, data_dir, image_size, decoder).exists():
            return _place(folder, data_dir, image_size, decoder).exists()
        folder.mkdir(parents=True, exist_ok=True)
        reason = "" if os.access(folder, os.W_OK) else "it cannot be written"
        free = shutil.disk_usage(folder).free
        reason = reason if free > size + _LINE_BYTES * count else f"{size_said(free)} are free there"
    except UserError:  # no home folder; whoever fills a cache says so
        return count >= _MANY
    except OSError as error:
        if count < _MANY:
            return False
        reason = str(error.strerror or error)
    if reason:
        note(
            f"{count:,} pictures are decoded into memory at every start, as {folder} cannot keep them ({reason}): "
            "--cache-dir DIR names another place"
        )
    return not reason


def kept_pictures(
    data_dir: Path,
    paths: Sequence[Path],
    image_size: int,
    decode: Callable[[Path, int], Picture],
    *,
    decoder: str,
    bits: int = 0,
    cache_dir: str = "",
    watch: Watch = lambda done, total, name: None,
    note: Note = lambda line: None,
) -> Kept:
    """The pictures of files below `data_dir`, uint8 [slots, 3, image_size, image_size], those not in the cache decoded.

    A second process waits for the first. One that is killed, or that finds a file that does not decode, or a full disk,
    leaves what it has decoded to the next.

    Args:
        decode: gives the picture of a file, of whose 16 bits so many count; what it raises is raised.
        decoder: its version; another one may give other pixels.
        bits: how many count in all files; 0: as many as any of them needs.
        cache_dir: where they are kept; "": `cache_folder("pictures")`.
        watch: told how far decoding is.
        note: told how much is going to be written.

    Raises:
        UserError: the cache cannot be written, has no room, lies within `data_dir`, or what `decode` raises.
    """
    folder = Path(cache_dir) if cache_dir else cache_folder("pictures")
    if folder.resolve().is_relative_to(data_dir.resolve()):
        raise UserError(f"cache folder {folder} is within {data_dir}, whose folders are classes: choose another one")
    with using(folder):
        path = _place(folder, data_dir, image_size, decoder)
        filler = _Filler(path, data_dir, image_size, decode, watch, note)
        with one_at_a_time(path.with_suffix(".lock"), lambda: watch(0, len(paths), "another process")):
            return filler.filled(paths, bits)


def _place(folder: Path, data_dir: Path, image_size: int, decoder: str) -> Path:
    """The file of pictures."""
    given = json.dumps([VERSION, decoder, str(data_dir.resolve()), image_size])
    return folder / f"folder-{hashlib.sha256(given.encode()).hexdigest()[:16]}{ENDING}"


def _note_part(path: Path, key: str, about: _About) -> None:
    """Add what is known of a part to the list, unless another process is writing or there is no room."""

    def busy() -> None:
        raise InUseError("the next one notes it")

    try:
        if not list_beside(path).exists():  # it was removed meanwhile
            return
        with one_at_a_time(path.with_suffix(".lock"), busy), opened_to_change(list_beside(path)) as descriptor:
            append_line(descriptor, {"part": key, **about}, list_beside(path))
    except (UserError, OSError):
        pass


class _Filler:
    """Completes one cache, which this process has locked."""

    def __init__(
        self,
        path: Path,
        data_dir: Path,
        image_size: int,
        decode: Callable[[Path, int], Picture],
        watch: Watch,
        note: Note,
    ) -> None:
        self.path, self.data_dir, self.decode, self.watch, self.note = path, data_dir, decode, watch, note
        self.shape = (3, image_size, image_size)
        self.size = math.prod(self.shape)
        self.entries: dict[tuple[str, int], _Entry] = {}
        """By name and the bits that were taken to count, 0 of files of 8 bits."""
        self.known: dict[str, list[int]] = {}
        """Name -> bits of its entries, the latest last."""
        self.parts: dict[str, _About] = {}
        self.slots = 0
        """Used, by files that are no longer there too."""
        self.status, self.status_seen = "", 0
        """Of the file of pictures when it was last known to be whole."""

    def filled(self, paths: Sequence[Path], given: int) -> Kept:
        """What `kept_pictures` returns; errors as there."""
        self.load()
        names = [path.relative_to(self.data_dir).as_posix() for path in paths]
        files = list(zip(paths, names, strict=True))
        with contextlib.ExitStack() as open_now:
            pictures = open_now.enter_context(opened_to_change(self.path))
            whole = self.checked(status_of(os.fstat(pictures)))
            if self.torn():
                self.write_list()
            list_ = open_now.enter_context(opened_to_change(list_beside(self.path)))
            end_line(list_)
            if not os.fstat(list_).st_size:
                append_line(list_, self.head(), list_beside(self.path))
            # Before they are read: a file that changes meanwhile has another status the next time.
            statuses = {name: (time.time_ns(), status_of(_status(path))) for path, name in files}
            found: dict[str, _Entry] = {}
            missing = []
            for path, name in files:
                entry = self.still(path, name, given, *statuses[name], list_)
                if entry is None:
                    missing.append((path, name))
                else:
                    found[name] = entry
            decoded = len(missing)
            bits = given or max((entry["depth"] for entry in found.values()), default=0)
            if missing:
                found |= self.decode_all(missing, bits, list_, pictures, fixed=bool(given))
                bits = given or max((entry["depth"] for entry in found.values()), default=0)
            # Pictures of which fewer or more bits were taken to count, by a run of its own scale or before the set's
            # was known.
            other = [(path, name) for path, name in files if found[name]["bits"] not in (0, bits)]
            missing = []
            for path, name in other:
                entry = self.still(path, name, bits, *statuses[name], list_, only=True)
                if entry is None:
                    missing.append((path, name))
                else:
                    found[name] = entry
            if missing:
                decoded = max(decoded, len(missing))
                found |= self.decode_all(missing, bits, list_, pictures, fixed=True)
            if decoded or not whole:
                os.fsync(pictures)
                os.fsync(list_)
                known = {"file": text_of(status_of(os.fstat(pictures))), "seen": time.time_ns()}
                append_line(list_, known, list_beside(self.path))
        entries = tuple(found[name] for name in names)
        checksums = {entry["slot"]: entry["crc"] for entry in entries}
        contents = {entry["slot"]: f"{entry['content']}{entry['bits'] or ''}" for entry in entries}
        file = SampleFile(self.path, self.slots, self.shape, checksums, kind="picture", longer=True)
        return Kept(file=file, entries=entries, contents=contents, parts=self.parts, decoded=decoded, bits=bits)

    def add(self, entry: _Entry) -> None:
        """Know an entry."""
        self.entries[entry["name"], entry["bits"]] = entry
        bits = self.known.setdefault(entry["name"], [])
        if entry["bits"] in bits:
            bits.remove(entry["bits"])
        bits.append(entry["bits"])

    def load(self) -> None:
        """Read the list."""
        for entry in entries_of(list_beside(self.path)):
            if isinstance(part := entry.get("part"), str) and _is_about(entry):
                self.parts[part] = _About(digest=entry["digest"], counts=entry["counts"])
            elif isinstance(entry.get("file"), str) and isinstance(entry.get("seen"), int):
                self.status, self.status_seen = entry["file"], entry["seen"]
            elif all(type(entry.get(name)) is kind for name, kind in _FIELDS.items()) and entry["slot"] >= 0:
                self.add(_Entry(**{name: entry[name] for name in _FIELDS}))  # type: ignore[typeddict-item]
                self.slots = max(self.slots, entry["slot"] + 1)

    def checked(self, status: list[int]) -> bool:
        """Drop the pictures that are not on the disk as they were written; whether the file is known to be whole.

        They are read only if the file may have changed since that was last known.
        """
        there = status[0] // self.size
        if self.slots <= there and believed(self.status, self.status_seen, status):
            return True
        file = SampleFile(self.path, there, self.shape, kind="picture", longer=True)
        part = memoryview(bytearray(self.size))
        good = [
            entry
            for entry in self.entries.values()
            if entry["slot"] < there and file.read_into(part, entry["slot"]) == entry["crc"]
        ]
        if len(good) < len(self.entries):  # the slots of the others are used again, so their lines have to go
            self.entries, self.known, self.slots = {}, {}, min(self.slots, there)
            for entry in good:
                self.add(entry)
            self.write_list()
        return False

    def write_list(self) -> None:
        """The list anew, of what is known."""
        lines = [self.head(), *({"part": key, **about} for key, about in self.parts.items()), *self.entries.values()]
        write_list(list_beside(self.path), lines)

    def torn(self) -> bool:
        """Whether there is a list that does not begin with its head: one that lost it, by which cleaning knows it."""
        path = list_beside(self.path)
        return path.exists() and path.stat().st_size > 0 and first_entry(path) != self.head()

    def head(self) -> dict[str, Any]:
        """The first line of a list."""
        return {"kind": KIND, "folder": str(self.data_dir.resolve()), "size": self.shape[1]}

    def still(
        self, path: Path, name: str, bits: int, seen: int, status: list[int], list_: int, *, only: bool = False
    ) -> _Entry | None:
        """The entry of a file that is what it was, with so many `bits` if there is one, and no other where `only`.

        Noted where the file had to be read to know.
        """
        known = self.known.get(name, [])
        chosen = [bits] if bits in known else []
        chosen += [] if only else [each for each in reversed(known) if each != bits]
        entries = [self.entries[name, each] for each in chosen]
        if good := next((each for each in entries if believed(each["status"], each["seen"], status)), None):
            return good
        content = digest_of(_content(path)).hex() if entries else ""
        for entry in entries:
            if entry["content"] == content:
                entry = _Entry(**entry | {"status": text_of(status), "seen": seen})
                self.add(entry)
                append_line(list_, entry, list_beside(self.path))
                return entry
        return None

    def decode_all(
        self, missing: list[tuple[Path, str]], bits: int, list_: int, pictures: int, *, fixed: bool
    ) -> dict[str, _Entry]:
        """Decode files into new slots; of their 16 bits, `bits` count, or, unless `fixed`, those that one needs."""
        what = f"{len(missing):,} pictures of {self.shape[1]}x{self.shape[2]} pixels"
        # A slot that was begun and has no line is written over, so what is there already counts as room.
        needed = max(0, (self.slots + len(missing)) * self.size - os.fstat(pictures).st_size)
        free = check_room(self.path.parent, needed + _LINE_BYTES * len(missing), what)
        total = size_said(len(missing) * self.size)
        self.note(f"{what} are decoded into {self.path}: {total}, {size_said(free)} are free")
        found = {}
        for done, (path, name) in enumerate(missing):
            self.watch(done, len(missing), name)
            seen, status = time.time_ns(), status_of(_status(path))
            picture = self.decode(path, bits)
            if not fixed and picture.depth > bits:
                bits = picture.depth
                if picture.bits != bits:
                    picture = self.decode(path, bits)
            pixels = picture.pixels.contiguous().view(-1).numpy().data
            write_all(pictures, pixels, self.slots * self.size, self.path)
            entry = _Entry(
                name=name,
                slot=self.slots,
                status=text_of(status),
                seen=seen,
                content=picture.digest.hex(),
                plain=picture.plain,
                depth=picture.depth,
                bits=picture.bits,
                crc=zlib.crc32(pixels),
            )
            append_line(list_, entry, list_beside(self.path))
            self.add(entry)
            found[name] = entry
            self.slots += 1
        self.watch(len(missing), len(missing), "")
        return found


def _status(path: Path) -> os.stat_result:
    """Of a picture; UserError where it is gone."""
    try:
        return path.stat()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): run the same command again") from None


def _content(path: Path) -> bytes:
    """The bytes of a picture; errors as `read_regular`."""
    try:
        return read_regular(path)
    except FileNotFoundError:
        raise UserError(f"{path} {state_of(path)}: give a picture") from None


def _is_about(entry: dict[str, Any]) -> bool:
    """Whether a line says what `_About` does, of pictures in RGB."""
    counts = entry.get("counts")
    return (
        isinstance(entry.get("digest"), str)
        and isinstance(counts, list)
        and len(counts) == 3
        and all(isinstance(row, list) and len(row) == 256 for row in counts)
        and all(type(number) is int and number >= 0 for row in counts for number in row)
    )
