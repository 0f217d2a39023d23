"""Files that are complete or absent, locks, and reading files that may be damaged."""

import contextlib
import errno
import hashlib
import io
import json
import math
import os
import re
import secrets
import stat
import threading
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import filelock

from sresnet.errors import UserError

LOCK = ".lock"
"""Name of the file that `only_writer` holds in a folder."""
LARGEST_JSON = 16 << 20
"""Bytes of JSON that `read_json` takes by default: Python needs up to thirty times as many to hold it."""
DEEPEST_JSON = 50
"""Objects and lists within each other that `read_json` takes."""

# Windows has no such flags; there, files are text unless O_BINARY says otherwise.
PLAIN = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
NO_SURPRISE = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
NO_LINK = getattr(os, "O_NOFOLLOW", 0)
LARGEST_TOML = 1 << 20
"""Bytes of a TOML file."""
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:/")
"""How an address begins, also as a path."""
PART = re.compile(r"\.[0-9a-f]{16}\.part\Z")
_SEEKING = threading.Lock()
"""Held between the move to a place and what is done there, on systems that cannot do both at once."""


def read_at(descriptor: int, part: memoryview, place: int) -> int:
    """Read bytes from a place of an open file into memory; how many there were. OSError where the disk refuses.

    Threads may read the same file. Windows lacks `preadv`: there, one moves and reads at a time.
    """
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [part], place)
    with _SEEKING:
        os.lseek(descriptor, place, os.SEEK_SET)
        got = os.read(descriptor, len(part))
    part[: len(got)] = got
    return len(got)


def write_at(descriptor: int, part: memoryview | bytes, place: int) -> int:
    """Write bytes at a place of an open file; how many were written. OSError as `read_at`."""
    if hasattr(os, "pwrite"):
        return os.pwrite(descriptor, part, place)
    with _SEEKING:
        os.lseek(descriptor, place, os.SEEK_SET)
        return os.write(descriptor, part)


def write_whole(path: Path, content: bytes) -> None:
    """Replace `path` by `content`; `path` holds the old or the new bytes at all times. Errors as `_replacing`."""
    with _replacing(path) as file:
        file.write(content)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that becomes `path` at the end of the context, unless an error ends it.

    The bytes are written to a part of its own name, which is locked meanwhile, and renamed once they are on the disk.
    So several writers may write the same file, the last one wins, and the next one removes the part of a killed one. A
    link at `path` is replaced, not followed.

    Raises:
        UserError: the disk is full or refuses, or `path` is a folder or a device; what is there is untouched.
    """
    part: Path | None = None
    try:
        if "\0" in str(path):
            raise OSError(errno.EINVAL, "no name holds a zero byte")
        mode = _mode_of(path)
        if mode and not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        part, descriptor = _new_part(path)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
            if os.name != "nt":  # renamed while locked, so that no other process removes it
                part.replace(path)
        if os.name == "nt":  # which cannot rename an open file
            part.replace(path)
        _sync_folder(path.parent)
    except BaseException as error:
        if part is not None:
            with contextlib.suppress(OSError):
                part.unlink()
        if not isinstance(error, OSError):
            raise
        cure = "the file as it was before is kept; make room" if os.path.isfile(path) else "make room"
        raise UserError(
            f"{path} could not be written ({error.strerror}): {cure} or choose another place, and run the same command "
            "again"
        ) from None
    _sweep(path.parent, path.name)


def _mode_of(path: Path) -> int:
    """What `os.lstat` says of a path, 0 where there is nothing."""
    try:
        return os.lstat(path).st_mode
    except FileNotFoundError:
        return 0


def _new_part(path: Path) -> tuple[Path, int]:
    """An empty part of `path`, open and locked by this process; OSError where it fails."""
    while True:
        part = path.with_name(f"{_start_of_parts(path.name)}{secrets.token_hex(8)}.part")
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | NO_LINK | PLAIN, 0o666)
        with contextlib.suppress(OSError):  # without locks, leftovers are not removed
            filelock.lock_descriptor(descriptor)
        if os.name == "nt" or os.fstat(descriptor).st_nlink:
            return part, descriptor
        os.close(descriptor)  # another process removed it before it was locked


def _start_of_parts(name: str) -> str:
    """Beginning of the names of parts of the file `name`; names have at most 255 bytes."""
    whole = os.fsencode(name)
    return f".{name if len(whole) <= 200 else hashlib.sha256(whole).hexdigest()}."


def _sweep(folder: Path, name: str = "") -> None:
    """Remove the parts of killed writers of the file `name`, or of all files of a folder; not on Windows."""
    if os.name == "nt":
        return
    start = _start_of_parts(name) if name else "."
    with contextlib.suppress(OSError):
        for part in (folder / entry for entry in os.listdir(folder) if entry.startswith(start) and PART.search(entry)):
            with contextlib.suppress(OSError, UserError), _opened_to_lock(part, create=False) as descriptor:
                if filelock.lock_descriptor(descriptor, blocking=False):
                    part.unlink()


def _sync_folder(folder: Path) -> None:
    """Write the names in a folder to the disk, where the system can."""
    if os.name == "nt":
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | PLAIN)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def strangers(folder: Path) -> list[str]:
    """Sorted names in a folder except lock and unfinished parts, if it exists; UserError if it cannot be read."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{folder} cannot be used ({error.strerror}): choose another folder") from None
    return sorted(name for name in names if name != LOCK and not (name.startswith(".") and name.endswith(".part")))


def check_no_address(folder: Path) -> None:
    """Raise UserError where a folder that is to be written to is an address, such as s3://bucket."""
    if _SCHEME.match(str(folder)):
        raise UserError(
            f"{folder} is an address, and files are locked there and appended to, which needs a folder: mount it as "
            "one, or give a folder on a disk, with --ray one that all nodes share"
        )


def make_folder(folder: Path, flag: str = "--out") -> None:
    """Make a folder and those above it where they are missing.

    Raises:
        UserError: that fails (the `flag` is named), or it is an address.
    """
    check_no_address(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"folder {folder} cannot be made ({error.strerror}): choose another {flag}") from None


def check_free(path: Path, marks: Sequence[bytes] | None, *, force: bool = False, flag: str = "--out") -> None:
    """Raise UserError unless a file may be written: nothing is at `path`, or a file of ours, or with `force` any file.

    Args:
        marks: a file is ours if one of them is among its first bytes; None: nothing tells.
        flag: the flag that names another path.
    """
    try:
        mode = _mode_of(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be written ({reason}): choose another {flag}") from None
    if stat.S_ISDIR(mode):
        raise UserError(f"{path} is a folder: name a file")
    if mode and not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
        raise UserError(f"{path} is a device or pipe: choose another {flag}")
    if not mode or force or (stat.S_ISREG(mode) and any(mark in beginning(path) for mark in marks or ())):
        return
    whose = "" if marks is None else " and was not made by sresnet"
    raise UserError(f"{path} exists{whose}: choose another {flag}, or replace it with --force")


def beginning(path: Path) -> bytes:
    """The first bytes of a file; none if it cannot be read."""
    try:
        with open(os.open(path, os.O_RDONLY | NO_SURPRISE | NO_LINK | PLAIN), "rb") as file:
            return file.read(4096)
    except OSError:
        return b""


def claim_folder(
    folder: Path, listing: str, kind: str, names: Sequence[str] = (), *, force: bool = False, flag: str = "--out"
) -> list[str]:
    """Make a folder for the files of a command, or check that the command made it before.

    Args:
        listing: name of its JSON file {"kind": `kind`, "files": [names]}.
        names: files that are about to be written.
        force: use the folder and replace files whatever they are.
        flag: the flag that names another folder.

    Returns:
        Names of files that were written there before, `names` where an older listing does not say.

    Raises:
        UserError: the folder holds something and no such listing, or one of `names` that is not listed, or cannot be
            made.
    """
    others, before = strangers(folder), _listed(folder / listing, kind, names)
    cure = f"choose another {flag}, or use it with --force"
    if others and before is None and not force:
        raise UserError(f"{folder} is not empty ({others[0]}) and holds no {kind.removeprefix('sresnet ')}: {cure}")
    make_folder(folder, flag)
    check_listed(folder, before or (), names, force=force, flag=flag)
    return list(before or ())


def check_listed(
    folder: Path, before: Sequence[str], names: Iterable[str], *, force: bool = False, flag: str = "--out"
) -> None:
    """Raise UserError where one of `names` is in a folder of ours and not listed in `before`, unless `force`."""
    for name in names:
        if name not in before:
            check_free(folder / name, (), force=force, flag=flag)


def _listed(path: Path, kind: str, names: Sequence[str] = ()) -> list[str] | None:
    """The files in a listing of `claim_folder`, `names` where it does not say; None: not our listing."""
    try:
        content = read_json(path)
    except UserError:
        return None
    if not isinstance(content, dict) or content.get("kind") != kind:
        return None
    files = content.get("files", names)
    return [str(name) for name in files] if isinstance(files, list | tuple) else []


@contextlib.contextmanager
def _opened_to_lock(path: Path, *, create: bool = True) -> Iterator[int]:
    """The descriptor of a lock file, created if missing; UserError where it is not a file, a link included."""
    try:
        descriptor = _open_own(path, os.O_CREAT if create else 0)
    except OSError as error:
        raise UserError(
            f"lock file {path} cannot be used ({error.strerror}): delete it, or choose another folder"
        ) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)  # which lets go of the lock


@contextlib.contextmanager
def opened_to_change(path: Path) -> Iterator[int]:
    """The descriptor of one of our files to append to or to cut, created if missing; a link is not followed.

    UserError where it is not a file or the disk refuses, also inside the context.
    """
    try:
        descriptor = _open_own(path, os.O_CREAT)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UserError(
            f"{path} could not be written ({error.strerror}): make room or remove what is in its place, and run the "
            "same command again"
        ) from None


def _open_own(path: Path, more: int) -> int:
    """Open a file to read and write; OSError where that fails or a link, pipe, device or folder is there."""
    try:
        descriptor = os.open(path, os.O_RDWR | NO_SURPRISE | NO_LINK | PLAIN | more, 0o666)
    except OSError as error:
        raise OSError(error.errno, "it is a link" if error.errno == errno.ELOOP else error.strerror) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return descriptor


def _locked(descriptor: int, path: Path, *, wait: bool) -> bool:
    """Lock an open file, False if another process holds it and `wait` is off; UserError where there are no locks."""
    try:
        return filelock.lock_descriptor(descriptor, blocking=wait)
    except OSError as error:
        cure = "choose a folder on another disk"
        if error.errno == errno.ENOSYS:  # no disk has any
            cure = "use a Python with file locks, which has the module fcntl"
        raise UserError(f"lock file {path} cannot be locked ({error.strerror}): {cure}") from None


class InUseError(UserError):
    """A folder that another process holds."""


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Lock `folder` until this process ends; InUseError if another process holds it, UserError without locks."""
    path = folder / LOCK
    with _opened_to_lock(path) as descriptor:
        if not _locked(descriptor, path, wait=False):
            raise InUseError(f"{folder} is in use by another process: wait for it, or choose another --out")
        _sweep(folder)
        yield


@contextlib.contextmanager
def one_at_a_time(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Lock the file `path`, created if missing, after the process that holds it now; UserError where that fails.

    `waiting` is called if another process holds it. A killed process holds nothing. The holder may delete the file.
    """
    while True:
        with _opened_to_lock(path) as descriptor:
            if not _locked(descriptor, path, wait=False):
                waiting()
                _locked(descriptor, path, wait=True)
            if os.name == "nt" or os.fstat(descriptor).st_nlink:
                yield
                return


KINDS = (
    (stat.S_ISREG, "file"),
    (stat.S_ISDIR, "folder"),
    (stat.S_ISFIFO, "pipe"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISBLK, "device"),
    (stat.S_ISCHR, "device"),
)


def kind_of(path: Path) -> str:
    """file, folder, pipe, socket, device, dead link, or "" for nothing; PermissionError from a folder above."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:  # ValueError: a zero byte
        if not isinstance(error, ValueError) and os.path.islink(path):
            return "dead link"
        if isinstance(error, PermissionError):
            raise
        return ""
    return next((name for is_one, name in KINDS if is_one(mode)), "device")


def state_of(path: Path) -> str:
    """`kind_of` as the rest of a sentence about a path that is not what it should be."""
    kind = kind_of(path)
    return f"is a {kind}" if kind else "does not exist"


def read_regular(path: Path, limit: int | None = None) -> bytes:
    """The bytes of a file, links followed, but not of a pipe or device, which might never end.

    Raises:
        FileNotFoundError: nothing is there.
        UserError: it is not a file, has more than `limit` bytes, or the disk refuses.
    """
    with _readable(path), _open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if limit is not None and size > limit:
            raise UserError(f"{path} has {size:,} bytes, more than the {limit:,} that it may: it is damaged")
        # Not up to the limit: so much memory would be taken before anything is read.
        return file.read() if limit is None else file.read(min(limit, size))


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What the system says of a file that it does not read, as UserError; FileNotFoundError stays what it is."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # UserError is a ValueError; another one is of a path with a zero byte
        if isinstance(error, UserError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be read ({reason}): give a file that is there and may be read") from None


def _open_regular(path: Path) -> io.FileIO:
    """A plain file, opened to be read without a buffer; UserError for a pipe or device, errors of the system."""
    descriptor = os.open(path, os.O_RDONLY | NO_SURPRISE | PLAIN)
    try:
        file = io.FileIO(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise UserError(f"{path} cannot be read to its end: give a plain file")
    return file


class Content(Protocol):
    """The bytes of a file: `bytes`, or a `FileContent` that reads them where they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> bytes: ...


class FileContent:
    """The bytes of a file that stay on the disk: a slice reads them, so that a long file takes no memory.

    Its length is that of the moment when it was opened; errors as `read_regular`, and UserError where a slice within
    that length cannot be read any more.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _readable(path):
            self._file = _open_regular(path)
            found = os.fstat(self._file.fileno())
        self._length = found.st_size
        self.status = found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
        """What the system says of the file, which changes with its bytes."""

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, part: slice) -> bytes:
        start, stop, step = part.indices(self._length)
        assert step == 1
        parts, left = [], max(0, stop - start)
        with _readable(self.path):
            self._file.seek(start)
            while left:
                parts.append(self._file.read(left))
                if not parts[-1]:
                    raise UserError(f"{self.path} became shorter while it was read: leave it alone, and read it again")
                left -= len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


class ReadAhead:
    """The bytes of a `Content`, from which a megabyte at a time is read where short slices follow one another."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._start, self._held = 0, b""

    def __len__(self) -> int:
        return len(self._content)

    def __getitem__(self, part: slice) -> bytes:
        start, stop, step = part.indices(len(self._content))
        assert step == 1
        stop = max(start, stop)
        if not self._start <= start <= stop <= self._start + len(self._held):
            if stop - start > _AHEAD or isinstance(self._content, bytes):
                return self._content[start:stop]
            self._start, self._held = start, self._content[start : start + _AHEAD]
        return self._held[start - self._start : stop - self._start]


_AHEAD = 1 << 20


class _Sliced(io.RawIOBase):
    """Bytes by slices as a file that is read."""

    def __init__(self, content: Content) -> None:
        super().__init__()
        self._content = content
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._content)}[whence]
        if start + offset < 0:
            raise ValueError(f"byte {start + offset} is before the file")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        part = self._content[self._at : self._at + len(view)]
        view[: len(part)] = part
        self._at += len(part)
        return len(part)


def as_file(content: Content) -> BinaryIO:
    """The bytes of a file as an open file, for packages that want one; closing it leaves `content` alone."""
    return cast(BinaryIO, io.BufferedReader(_Sliced(content), 1 << 16))


def write_json(path: Path, value: Any) -> None:
    """Indented JSON, complete or not at all; errors as `write_whole`, and ValueError for NaN or infinity, a bug."""
    write_whole(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path, limit: int = LARGEST_JSON) -> Any:
    """The value in a JSON file of at most `limit` bytes, with finite numbers and 64-bit integers, or UserError."""
    try:
        content = read_regular(path, limit)
    except FileNotFoundError:
        raise UserError(f"{path.parent} holds no {path.name}: give the folder of a run") from None
    return parse_json(content, str(path))


def parse_json(content: bytes | str, where: str) -> Any:
    """The value in JSON text from `where`; errors as `read_json`."""
    try:
        text = content.decode() if isinstance(content, bytes) else content
        value = json.loads(text, parse_constant=_no_number, parse_float=_finite, parse_int=_small)
        level = [value]
        for _ in range(DEEPEST_JSON):
            level = [
                inner
                for outer in level
                if isinstance(outer, dict | list)
                for inner in (outer.values() if isinstance(outer, dict) else outer)
            ]
        if level:
            raise ValueError(f"more than {DEEPEST_JSON} levels")
    except RecursionError:
        reason = f"more than {DEEPEST_JSON} levels"
    except ValueError as error:
        reason = str(error)
    else:
        return value
    raise UserError(f"{where} cannot be read ({reason}): it is damaged, or not a file of a run")


def _no_number(text: str) -> float:
    """Refuse NaN, Infinity and -Infinity, which JSON does not have."""
    raise ValueError(f"{text} is not a number")


def _finite(text: str) -> float:
    """A finite number."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is too large")
    return number


def _small(text: str) -> int:
    """An integer of at most 64 bits."""
    if len(text) > 20 or not -(1 << 63) <= int(text) < 1 << 64:
        raise ValueError(f"{text[:20]} is too large")
    return int(text)


def read_toml(path: Path, cure: str) -> dict[str, Any]:
    """The tables and values in a TOML file, which somebody may have written by hand.

    Args:
        path: of the file.
        cure: what to do where it is not there or no TOML.

    Raises:
        UserError: it is not there, no TOML, larger than a megabyte, or cannot be read.
    """
    try:
        content = read_regular(path, LARGEST_TOML)
    except FileNotFoundError:
        raise UserError(f"{path} {state_of(path)}: {cure}") from None
    try:
        return tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is not TOML ({reason}): {cure}") from None
