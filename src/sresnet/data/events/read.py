"""Reads an event file of any format, whole or in chunks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sresnet.data.events import aedat2, aedat3, aedat4, hdf5, matlab
from sresnet.data.events.aedat2 import open_aedat2
from sresnet.data.events.aedat3 import open_aedat3
from sresnet.data.events.aedat4 import open_aedat4
from sresnet.data.events.arrays import NPY, ZIP, open_mat, open_npy, open_npz
from sresnet.data.events.columns import Events, ReadConfig, finish, finish_in_chunks
from sresnet.data.events.dat import open_dat
from sresnet.data.events.evt import ENCODINGS, encoding_of, open_raw
from sresnet.data.events.hdf5 import open_hdf5
from sresnet.data.events.nmnist import open_nmnist
from sresnet.data.events.percent import HEADER_LINE, header_of
from sresnet.data.events.recording import Recording
from sresnet.errors import UserError
from sresnet.files import Content, FileContent

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

_PLAIN = ReadConfig()


def read_recording(path: Path, config: ReadConfig = _PLAIN) -> Recording:
    """The events of one file.

    Args:
        path: the file; the first bytes tell its format, or else its ending.

    Raises:
        UserError: a file that cannot be read, is of no known format, has no events, claims too much, or is damaged.
    """
    with opened_recording(path, config) as events:
        return finish(events)


def read_chunks(path: Path, count: int = CHUNK, config: ReadConfig = _PLAIN) -> Iterator[Recording]:
    """The events of one file, `count` at a time and at last the rest: `read_recording` cut into parts.

    Memory does not grow with the length of the file, unless `config.damaged` is "skip" and time goes back in it. What
    the file held beside events stands in `skipped` of the chunk that it was found with. Errors as `read_recording`;
    damage is noticed when it is reached, and a `count` below 1 is a UserError.
    """
    if count < 1:
        raise UserError(f"count {count} is less than 1: give the number of events of a chunk, such as {CHUNK}")
    with opened_recording(path, config) as events:
        yield from finish_in_chunks(events, count)


def chunks_of(data: Content, name: str, config: ReadConfig = _PLAIN) -> Iterator[Recording]:
    """As `read_chunks`, of the bytes of a file, `name` for messages and the ending."""
    return finish_in_chunks(_opened(data, name, config), CHUNK)


@contextmanager
def opened_recording(path: Path, config: ReadConfig = _PLAIN) -> Iterator[Events]:
    """A file whose header has been read, of which `columns.finish` and `finish_in_chunks` make recordings.

    It is closed at the end. UserError where it cannot be read or is of no known format.
    """
    content = _content(path)
    try:
        yield _opened(content, str(path), config)
    finally:
        content.close()


def _content(path: Path) -> FileContent:
    """The bytes of a file; UserError where there is none, or the system refuses."""
    try:
        return FileContent(path)
    except FileNotFoundError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): give a file with events") from None


def parse_recording(data: bytes, name: str, config: ReadConfig = _PLAIN) -> Recording:
    """The events in the bytes of a file, `name` for messages and the ending; UserError for other or damaged bytes."""
    return finish(_opened(data, name, config))


def _opened(data: Content, name: str, config: ReadConfig) -> Events:
    form = _format_of(data, name)
    openers: dict[str, Callable[[Content, str, ReadConfig], Events]] = {
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
    return replace(openers.get(form, open_raw)(data, name, config), form=form)


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
