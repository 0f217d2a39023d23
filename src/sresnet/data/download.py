"""Downloads that resume, are checked, and never touch a file of the user's."""

import contextlib
import hashlib
import http.client
import io
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import filelock

from sresnet.data import cifar
from sresnet.errors import UserError

_CHUNK = 1 << 17
_TIMEOUT_SECONDS = 30
_PAUSES = (1.0, 2.0, 4.0, 8.0)


class _BrokenError(Exception):
    """The connection failed in a way that another attempt may cure."""


def fetch_cifar(name: cifar.CifarName, data_dir: str | Path) -> Path:
    """Put the archive of the binary version into `data_dir`, where `cifar.load_cifar` finds it.

    Args:
        name: "cifar10" (162 MiB) or "cifar100" (161 MiB).
        data_dir: created if missing.

    Returns:
        The archive, or the folder or archive of another version that `data_dir` holds; errors as `_download`.
    """
    if Path(data_dir).is_dir():
        with contextlib.suppress(UserError):
            return cifar.locate(name, data_dir)[1]
    _, binary = cifar.VERSIONS[name]
    path = Path(data_dir) / binary.archive
    _download(cifar.SITE + binary.archive, path, binary.archive_md5)
    return path


def _download(url: str, path: Path, md5: str, pauses: Sequence[float] = _PAUSES) -> None:
    """Fetch `url` into `path`, with this `md5`, unless it is there already.

    The bytes go to `<path>.part`, which a later call continues, and which is renamed once its md5 is right. Other
    processes wait meanwhile (not on Windows, which has no such lock). `pauses` are the seconds to wait before each
    further attempt after a broken connection.

    Raises:
        UserError: another file is at `path` (it is left alone), the server refuses, the connection keeps failing, the
            md5 is wrong (the part is deleted), or the disk cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if _is_there(path, md5):
            return
        with _locked(part) as file:
            # Another process may have finished it while this one waited for the lock.
            if _is_there(path, md5):
                part.unlink(missing_ok=True)
                return
            _fetch(url, file, path, pauses)
            found = _md5(part)
            if sys.platform == "win32":
                file.close()  # an open file can be neither renamed nor deleted there
            if found != md5:
                part.unlink()
                raise UserError(
                    f"what {url} sent has md5 {found}, expected {md5}, and was deleted: try again, or fetch the file "
                    f"by hand and put it at {path}"
                )
            # The user may have put the file there by hand in the meantime.
            if _is_there(path, md5):
                part.unlink()
            else:
                part.rename(path)
    except OSError as error:
        raise UserError(f"cannot write {part} ({error.strerror or error}): choose another data folder") from None


def _is_there(path: Path, md5: str) -> bool:
    if not path.exists():
        return False
    found = _md5(path)
    if found != md5:
        raise UserError(f"{path} has md5 {found}, expected {md5}, so it is another file: move it away and try again")
    return True


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


@contextlib.contextmanager
def _locked(part: Path) -> Iterator[io.FileIO]:
    """The part, unbuffered, for writing by this process alone."""
    while True:
        # Not truncated, and created if need be: mode "a" would ignore seek.
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        with io.FileIO(descriptor, "r+") as file:
            if sys.platform != "win32":
                filelock.lock_descriptor(descriptor)
            # The process that had the lock may have renamed or deleted the file that was opened here.
            try:
                current = os.path.samestat(os.fstat(descriptor), part.stat())
            except FileNotFoundError:
                current = False
            if current:
                yield file
                return


def _fetch(url: str, file: io.FileIO, path: Path, pauses: Sequence[float]) -> None:
    for pause in (*pauses, None):
        try:
            _continue(url, file, path)
            return
        except _BrokenError as error:
            if pause is None:
                raise UserError(
                    f"cannot download {url} ({error}): check the network and try again, which continues where it "
                    f"stopped, or fetch the file by hand and put it at {path}"
                ) from None
            time.sleep(pause)


def _continue(url: str, file: io.FileIO, path: Path) -> None:
    """Append what is missing; return when the server has sent all."""
    start = file.seek(0, os.SEEK_END)
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if start and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # there is nothing after `start`: the part is whole, or wrong, as its md5 will tell
        if error.code >= 500 or error.code == http.client.TOO_MANY_REQUESTS:
            raise _BrokenError(f"the server answers {error.code} {error.reason}") from None
        raise UserError(
            f"{url} is refused ({error.code} {error.reason}): fetch the file by hand and put it at {path}"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenError(getattr(error, "reason", error)) from None
    with response:
        if response.status != http.client.PARTIAL_CONTENT:
            start = 0  # the server ignores ranges and sends all of it
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            file.truncate(0)
            raise _BrokenError("the server sends another part than was asked for")
        file.truncate(start)
        file.seek(start)
        done = start
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else None
        while chunk := _read(response):
            file.write(chunk)
            done += len(chunk)
    if total is not None and done < total:
        raise _BrokenError(f"the connection ended after {done:,} of {total:,} bytes")


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenError(error) from None
