"""Zip files, and members that claim too much memory."""

import zipfile
from pathlib import Path
from typing import BinaryIO

from sresnet.errors import UserError
from sresnet.limits import check_claim

PACKED = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}
"""Compression of members. With others, zipfile unpacks more than it is asked for."""
METHODS = {zipfile.ZIP_BZIP2: "bzip2", zipfile.ZIP_LZMA: "LZMA"}


def open_zip(path: Path, file: BinaryIO | None = None) -> zipfile.ZipFile:
    """A zip file with its list of members; `file` where it is open already. UserError for an incomplete zip file."""
    try:
        return zipfile.ZipFile(file or path)
    except MemoryError:
        raise
    # zipfile raises whatever damage makes it trip over, BadZipFile or anything else.
    except Exception as error:
        raise UserError(f"{path} is not a complete zip file ({_reason(error)}): get it again") from None


def read_member(archive: zipfile.ZipFile, name: str, where: str, *, memory_limit: float, times: int = 1) -> bytes:
    """The bytes of a member, which messages call `where`; its reader takes `times` the unpacked length in memory.

    UserError where it is missing, has an unusual compression, claims too much, or does not unpack.
    """
    try:
        member = archive.getinfo(name)
        what = f"the {member.file_size:,} bytes that it unpacks to"
        check_claim(where, what, times * member.file_size, member.compress_size, memory_limit)
        if member.compress_type not in PACKED:
            method = METHODS.get(member.compress_type, f"method {member.compress_type}")
            raise UserError(
                f"{where} is compressed by {method}: make it again with members {' or '.join(PACKED.values())}"
            )
        with archive.open(member) as file:
            content = file.read(member.file_size)  # with a number, no more than that is unpacked
        if len(content) < member.file_size:
            raise EOFError(f"it ends at byte {len(content):,} of {member.file_size:,}")
        return content
    except (UserError, MemoryError):
        raise
    # The file comes from elsewhere: encrypted members, headers that do not agree, streams that end.
    except Exception as error:
        raise UserError(f"{where} cannot be read ({_reason(error)}): replace it or remove it") from None


def _reason(error: Exception) -> str:
    """What an exception says, or what it is called."""
    return " ".join(str(error).split()) or type(error).__name__
