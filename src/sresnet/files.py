"""Files that are there whole or not at all."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from sresnet.errors import UserError


def write_whole(path: Path, content: bytes) -> None:
    """Replace `path` by `content`; whatever happens meanwhile, `path` holds the old bytes or the new ones.

    Raises:
        UserError: the disk is full or refuses; the old file is untouched.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise UserError(
            f"{path} could not be written ({error.strerror}): the file as it was before is kept; make room and run the "
            "same command again"
        ) from None


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process; the operating system lets go of it however the process ends.

    Raises:
        UserError: another process holds it.
    """
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"{folder} is in use by another process: wait for it, or choose another --out") from None
        yield


@contextlib.contextmanager
def one_at_a_time(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock file `path` for this process, after whoever holds it now; a killed process holds nothing.

    Args:
        path: the lock file, made if need be.
        waiting: called once if another process holds it.
    """
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            waiting()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
