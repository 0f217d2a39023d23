"""The exception for what the user can mend, and which other exceptions are of that kind."""

import contextlib
import errno
import re
from collections.abc import Iterator

from sresnet.printing import one_line


class UserError(ValueError):
    """A mistake in what the user gave: one line with the value, what is wrong with it, and the cure.

    The command line prints it without a traceback and exits with status 2. The message is made printable, on one line
    of at most `printing.MOST` characters.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(str(message)))


@contextlib.contextmanager
def optional(what: str, package: str, extra: str) -> Iterator[None]:
    """Around the import of a package that an extra of ours installs: UserError where it is missing."""
    try:
        yield
    except ImportError:
        raise UserError(f"{what} {package}, which is not installed: run pip install 'sresnet[{extra}]'") from None


CURES = {
    errno.ENOSPC: "make room and run the same command again",
    errno.EDQUOT: "make room and run the same command again",
    errno.EFBIG: "choose a disk that takes files of this size",
    errno.EACCES: "choose a place that you may read and write",
    errno.EPERM: "choose a place that you may read and write",
    errno.EROFS: "choose a place that can be written",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOENT: "check the name",
    errno.ENOTDIR: "a file is in place of a folder: choose another path",
    errno.EEXIST: "choose another path",
    errno.EISDIR: "name a file, not a folder",
    errno.ELOOP: "a link leads back to itself: name the file or folder it stands for",
    errno.EMFILE: "raise the limit of open files, ulimit -n",
    errno.EIO: "check the disk or the network",
}
"""What helps against an error of the system."""

MEMORY = re.compile(
    r"out of memory|not enough memory|can't allocate memory|cannot allocate memory|unable to mmap|bad_alloc"
    r"|storage size calculation overflowed|integer multiplication overflow|array is too big"
    r"|maximum allowed size exceeded|maximum supported dimension|could not create a primitive",
    re.IGNORECASE,
)
"""How torch, oneDNN, numpy and the system say that something does not fit into memory."""


def mendable(error: BaseException) -> str:
    """The message for an exception of the system that the user can mend, or for too little memory; "" for our bugs."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or (
        isinstance(error, (RuntimeError, OverflowError, ValueError)) and MEMORY.search(text)
    ):
        said = f" ({text})" if text else ""
        return f"memory does not suffice{said}: use smaller batches, fewer images or time steps, or a smaller network"
    if isinstance(error, OSError):
        if error.errno is None:
            return f"the system refuses ({text or type(error).__name__}): check the files that are named"
        named = (str(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes)))
        where = " -> ".join(named) or "an output or input"
        reason = error.strerror or errno.errorcode.get(error.errno, text)
        return f"{where}: {reason}: {CURES.get(error.errno, 'check the path and the disk')}"
    return ""
