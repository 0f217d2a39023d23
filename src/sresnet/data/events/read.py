"""Reads an event file of any format, whole or in chunks."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from sresnet.data.events import aedat2, aedat3, aedat4, hdf5, matlab
from sresnet.data.events.aedat2 import open_aedat2
from sresnet.data.events.aedat3 import open_aedat3
from sresnet.data.events.aedat4 import open_aedat4
from sresnet.data.events.arrays import NPY, ZIP, open_mat, open_npy, open_npz
from sresnet.data.events.columns import Damaged, Events, finish, finish_in_chunks
from sresnet.data.events.dat import open_dat
from sresnet.data.events.evt import ENCODINGS, encoding_of, open_raw
from sresnet.data.events.hdf5 import open_hdf5
from sresnet.data.events.nmnist import open_nmnist
from sresnet.data.events.percent import HEADER_LINE, header_of
from sresnet.data.events.recording import Recording
from sresnet.errors import UserError
from sresnet.files import Content, FileContent
from sresnet.limits import MEMORY_LIMIT

EXTENSIONS = (".aedat", ".aedat2", ".aedat4", ".bin", ".bs2", ".dat", ".h5", ".hdf5", ".mat", ".npy", ".npz", ".raw")
"""Endings, in any case, of files that may be recordings."""

FORMATS = (
    "AEDAT 2.0",
    "AEDAT 3.1",
    "AEDAT 4.0",
    "N-MNIST",
    "Prophesee DAT",
    *ENCODINGS.values(),
    *("NumPy array", "NumPy arrays", "MAT", "HDF5"),
)

CHUNK = 1 << 20
"""Events of a chunk by default."""


def read_recording(
    path: Path,
    *,
    damaged: Damaged = "error",
    chip: str = "",
    event_stream: int = -1,
    memory_limit: float = MEMORY_LIMIT,
) -> Recording:
    """The events of one file.

    Args:
        path: the file; the first bytes tell its format, or else its ending.
        damaged: "error" refuses a damaged file; "skip" leaves out as little as possible and counts it in `skipped`.
        chip: camera, such as "DAVIS240", or size of the sensor, such as "640x480", where the file should not decide.
        event_stream: number of the stream of events, where an AEDAT 4.0 file has several; it means nothing to others.

    Raises:
        UserError: a file that cannot be read, is of no known format, has no events, claims too much, or is damaged.
    """
    content = _content(path)
    try:
        events = _opened(content, str(path), damaged, chip, event_stream, memory_limit)
        return finish(events)
    finally:
        content.close()


def read_chunks(
    path: Path,
    count: int = CHUNK,
    *,
    damaged: Damaged = "error",
    chip: str = "",
    event_stream: int = -1,
    memory_limit: float = MEMORY_LIMIT,
) -> Iterator[Recording]:
    """The events of one file, `count` at a time and at last the rest: `read_recording` cut into parts.

    Memory does not grow with the length of the file, unless `damaged` is "skip" and time goes back in it. What the file
    held beside events stands in `skipped` of the chunk that it was found with. Arguments and errors as
    `read_recording`; damage is noticed when it is reached, and a `count` below 1 is a UserError.
    """
    if count < 1:
        raise UserError(f"count {count} is less than 1: give the number of events of a chunk, such as {CHUNK}")
    content = _content(path)
    try:
        events = _opened(content, str(path), damaged, chip, event_stream, memory_limit)
        yield from finish_in_chunks(events, count)
    finally:
        content.close()


def file_format(
    path: Path, *, chip: str = "", event_stream: int = -1, memory_limit: float = MEMORY_LIMIT
) -> tuple[str, str]:
    """(which of FORMATS a file is in, what its times are); errors as `read_recording`."""
    content = _content(path)
    try:
        events = _opened(content, str(path), "skip", chip, event_stream, memory_limit)
        return _format_of(content, str(path)), events.clock
    finally:
        content.close()


def _content(path: Path) -> FileContent:
    """The bytes of a file; UserError where there is none, or the system refuses."""
    try:
        return FileContent(path)
    except FileNotFoundError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): give a file with events") from None


def parse_recording(
    data: bytes,
    name: str,
    *,
    damaged: Damaged = "error",
    chip: str = "",
    event_stream: int = -1,
    memory_limit: float = MEMORY_LIMIT,
) -> Recording:
    """The events in the bytes of a file, `name` for messages and the ending; UserError for other or damaged bytes."""
    return finish(_opened(data, name, damaged, chip, event_stream, memory_limit))


def check_event_stream(event_stream: int) -> None:
    """Raise UserError for a number that no stream has; -1 stands for none given."""
    if event_stream < -1:
        raise UserError(f"event-stream {event_stream} is no number of a stream: give 0 or more, or leave it out")


def _opened(data: Content, name: str, damaged: Damaged, chip: str, event_stream: int, memory_limit: float) -> Events:
    check_event_stream(event_stream)
    form = _format_of(data, name)
    how: Any = {"damaged": damaged, "chip": chip}
    if form == "AEDAT 4.0":
        how |= {"event_stream": event_stream, "memory_limit": memory_limit}
    if form == "MAT":
        how |= {"memory_limit": memory_limit}
    openers: dict[str, Callable[..., Events]] = {
        "AEDAT 2.0": open_aedat2,
        "AEDAT 3.1": open_aedat3,
        "AEDAT 4.0": open_aedat4,
        "N-MNIST": open_nmnist,
        "Prophesee DAT": open_dat,
        "NumPy array": open_npy,
        "NumPy arrays": open_npz,
        "MAT": open_mat,
        "HDF5": open_hdf5,
    }
    return replace(openers.get(form, open_raw)(data, name, **how), chip=chip, memory_limit=memory_limit)


def _format_of(data: Content, name: str) -> str:
    """Which of FORMATS, by the first bytes or else the ending of `name`; UserError for none."""
    if not len(data):
        raise UserError(f"{name} is empty: remove it or get it again")
    head, ending = data[:64], Path(name).suffix.lower()
    for magic, form in ((aedat2.MAGIC, FORMATS[0]), (aedat3.MAGIC, FORMATS[1]), (aedat4.MAGIC, FORMATS[2])):
        if head.startswith(magic):
            return form
    for magic, form in ((NPY, "NumPy array"), (matlab.MAGIC, "MAT"), (hdf5.MAGIC, "HDF5")):
        if head.startswith(magic):
            return form
    if head.startswith(ZIP) and ending == ".npz":
        return "NumPy arrays"
    if ending == ".mat" and data[512:520] == hdf5.MAGIC:
        return "HDF5"
    if ending == ".mat" and matlab.is_version_4(data[:128]):
        raise UserError(
            f"{name} is a MAT file of version 4, which is not read: save it as version 5 or later, in MATLAB by "
            "save(FILE, '-v7'), in SciPy by savemat(FILE, ..., format='5')"
        )
    if head.startswith(b"#!AER-DAT"):
        version = head[9:12].decode("latin-1")
        raise UserError(f"{name} is AEDAT {version!r}, which is not read: convert it to AEDAT 2.0, 3.1 or 4.0")
    if HEADER_LINE.match(data[: 1 << 16]) or ending in (".dat", ".raw"):
        return _prophesee(data, name, ending)
    if ending in (".bin", ".bs2"):
        return "N-MNIST"
    # Some recordings have a header without the line that says the version, and some none; addresses of a DVS128, the
    # only camera that needs no header, begin with two zeros.
    if ending in (".aedat", ".aedat2") and (head[:1] == b"#" or head[:2] == b"\0\0"):
        return "AEDAT 2.0"
    raise UserError(
        f"{name} begins with {head[:12]!r}, which is not an event file: give AEDAT 2.0, 3.1 or 4.0, N-MNIST "
        "(.bin, .bs2), Prophesee (.dat, .raw), HDF5 (.h5, .hdf5), or arrays of NumPy (.npy, .npz) or MATLAB (.mat)"
    )


def _prophesee(data: Content, name: str, ending: str) -> str:
    """Of a file with lines `% key value` or an ending of Prophesee's: by what the lines say of the encoding."""
    header = header_of(data)
    encoding = encoding_of(header)
    if encoding in FORMATS:
        return encoding
    # A .dat file says its version, and nothing of an encoding.
    if not encoding and (ending != ".raw" or "version" in header.fields):
        return "Prophesee DAT"
    said = (
        f"is a Prophesee file in the encoding {encoding!r}, which is not read"
        if encoding
        else "has no header line that says its encoding, such as % evt 3.0"
    )
    raise UserError(f"{name} {said}: record it, or convert it, as one of {', '.join(ENCODINGS.values())}, or .dat")
