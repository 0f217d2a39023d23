"""The lines `% key value` that Prophesee's `.dat` and `.raw` files begin with.

Source: the RAW and DAT file formats as Prophesee documents them for its Metavision SDK.
"""

import re
from dataclasses import dataclass

from sresnet.files import Content

LONGEST_HEADER = 1 << 20
"""Bytes at the beginning of a file that are searched for lines."""

# Text up to the end of the line: an N-MNIST file may begin with the byte of "%" too.
HEADER_LINE = re.compile(rb"%[\t\x20-\x7e]*\r?\n")
_END = re.compile(rb"% *end\s*$")
_FIELD = re.compile(rb"%\s*(\w+)\s+(.*?)\s*$")


@dataclass(frozen=True, kw_only=True)
class Header:
    """What the lines say."""

    fields: dict[str, str]
    """Values by key in lower case."""
    length: int
    """Bytes of the lines."""

    def number(self, key: str, otherwise: int) -> int:
        """A whole number of up to nine digits."""
        value = self.fields.get(key, "")
        return int(value) if re.fullmatch(r"\d{1,9}", value, re.ASCII) else otherwise


def header_of(data: Content) -> Header:
    """The lines at the beginning of a file, up to `% end` or the first that is none."""
    head = data[:LONGEST_HEADER]
    fields: dict[str, str] = {}
    at = 0
    while line := HEADER_LINE.match(head, at):
        at = line.end()
        if _END.match(line[0]):
            break
        if match := _FIELD.match(line[0]):
            fields[match[1].decode("ascii").lower()] = match[2].decode("ascii")
    return Header(fields=fields, length=at)
