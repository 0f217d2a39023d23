"""Reads an event file of any format."""

from pathlib import Path

from sresnet.data.events import aedat2, aedat3, aedat4, prophesee
from sresnet.data.events.aedat2 import parse_aedat2
from sresnet.data.events.aedat3 import parse_aedat3
from sresnet.data.events.aedat4 import parse_aedat4
from sresnet.data.events.columns import Damaged
from sresnet.data.events.nmnist import parse_nmnist
from sresnet.data.events.prophesee import parse_prophesee
from sresnet.data.events.recording import Recording
from sresnet.errors import UserError
from sresnet.files import read_regular
from sresnet.limits import MEMORY_LIMIT

EXTENSIONS = (".aedat", ".aedat2", ".aedat4", ".bin", ".bs2", ".dat")
"""Endings, in any case, of files that may be recordings."""

FORMATS = ("AEDAT 2.0", "AEDAT 3.1", "AEDAT 4.0", "N-MNIST", "Prophesee DAT")


def read_recording(
    path: Path, *, damaged: Damaged = "error", chip: str = "", memory_limit: float = MEMORY_LIMIT
) -> Recording:
    """The events of one file.

    Args:
        path: the file; the first bytes tell its format, or else its ending.
        damaged: "error" refuses a damaged file; "skip" leaves out as little as possible and counts it in `skipped`.
        chip: camera of an AEDAT 2.0 or 3.1 file, such as "DAVIS240", where its header should not decide.

    Raises:
        UserError: a file that cannot be read, is of no known format, has no events, claims too much, or is damaged.
    """
    return parse_recording(read_bytes(path), str(path), damaged=damaged, chip=chip, memory_limit=memory_limit)


def read_bytes(path: Path) -> bytes:
    """The bytes of a file; UserError where there is none, or the system refuses."""
    try:
        return read_regular(path)
    except FileNotFoundError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): give a file with events") from None


def parse_recording(
    data: bytes, name: str, *, damaged: Damaged = "error", chip: str = "", memory_limit: float = MEMORY_LIMIT
) -> Recording:
    """The events in the bytes of a file, `name` for messages and the ending; UserError for other or damaged bytes."""
    match format_of(data, name):
        case "AEDAT 2.0":
            return parse_aedat2(data, name, damaged=damaged, chip=chip)
        case "AEDAT 3.1":
            return parse_aedat3(data, name, damaged=damaged, chip=chip)
        case "AEDAT 4.0":
            return parse_aedat4(data, name, damaged=damaged, memory_limit=memory_limit)
        case "N-MNIST":
            return parse_nmnist(data, name, damaged=damaged)
        case _:
            return parse_prophesee(data, name, damaged=damaged)


def format_of(data: bytes, name: str) -> str:
    """Which of FORMATS, by the first bytes or else the ending of `name`; UserError for none."""
    if not data:
        raise UserError(f"{name} is empty: remove it or get it again")
    for magic, form in ((aedat2.MAGIC, FORMATS[0]), (aedat3.MAGIC, FORMATS[1]), (aedat4.MAGIC, FORMATS[2])):
        if data.startswith(magic):
            return form
    if data.startswith(b"#!AER-DAT"):
        version = data[9:12].decode("latin-1")
        raise UserError(f"{name} is AEDAT {version!r}, which is not read: convert it to AEDAT 2.0, 3.1 or 4.0")
    ending = Path(name).suffix.lower()
    if prophesee.HEADER_LINE.match(data) or ending == ".dat":
        return FORMATS[4]
    if ending in (".bin", ".bs2"):
        return FORMATS[3]
    # Some recordings have a header without the line that says the version, and some none; addresses of a DVS128, the
    # only camera that needs no header, begin with two zeros.
    if ending in (".aedat", ".aedat2") and (data[:1] == b"#" or data[:2] == b"\0\0"):
        return FORMATS[0]
    raise UserError(
        f"{name} begins with {data[:12]!r}, which is not an event file: give AEDAT 2.0, 3.1 or 4.0, N-MNIST "
        "(.bin, .bs2) or Prophesee (.dat)"
    )
