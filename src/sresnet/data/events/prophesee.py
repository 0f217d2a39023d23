"""Prophesee's `.dat` files, of which N-CARS consists.

Source: the DAT format as Prophesee documents it for its Metavision SDK; Sironi et al., HATS, CVPR 2018, for N-CARS.
"""

import re

import numpy as np

from sresnet.data.events.chips import Sensor, likely_sensor
from sresnet.data.events.columns import Columns, Damaged, EventFile, finish
from sresnet.data.events.recording import Recording
from sresnet.errors import UserError

# Text up to the end of the line: an N-MNIST file may begin with the byte of "%" too.
HEADER_LINE = re.compile(rb"%[\t\x20-\x7e]*\r?\n")

_RECORD = 8
# 0x00 in older software.
_CHANGE_EVENTS = (0x00, 0x0C)
# Of old files, which do not say their size.
_SENSORS = (
    Sensor("N-CARS", 120, 100),
    Sensor("ATIS", 304, 240),
    Sensor("Prophesee VGA", 640, 480),
    Sensor("Prophesee HD", 1280, 720),
)


def parse_prophesee(data: bytes, name: str, *, damaged: Damaged = "error") -> Recording:
    """Header lines `% ...`, a byte for the type of the events and one for their size, then records of 8 bytes.

    A record is two little-endian words: microseconds; and 14 bits of column, 14 of row, 4 of polarity (1: brighter)
    from the lowest bit on (before version 2: 9, 8 and 1 bits). Column 0 is left and row 0 on top. The clock wraps at
    2^32 microseconds. UserError for another type or size of events, an incomplete record, and as `finish`.
    """
    fields, at = _header(data)
    if len(data) < at + 2:
        raise UserError(f"{name} ends inside its header, at byte {len(data):,}: get the file again")
    kind, size = data[at], data[at + 1]
    if kind not in _CHANGE_EVENTS or size != _RECORD:
        raise UserError(
            f"{name} holds events of type {kind:#04x} and {size} bytes (byte {at:,}): expected type 0x00 or 0x0c and 8 "
            "bytes, so convert it to contrast events first"
        )
    at += 2
    file = EventFile(data, name, damaged)
    words = np.frombuffer(data, dtype="<u4", count=2 * file.records(at, _RECORD), offset=at).reshape(-1, 2)
    t, address = words[:, 0].astype(np.int64), words[:, 1]
    x_bits, y_bits = (14, 14) if fields.get("version", 2) >= 2 else (9, 8)
    x = (address & ((1 << x_bits) - 1)).astype(np.uint16)
    y = ((address >> x_bits) & ((1 << y_bits) - 1)).astype(np.uint16)
    on = (address >> (x_bits + y_bits)) & 1 == 1
    sensor = likely_sensor(_SENSORS, x, y)
    if fields.get("width") and fields.get("height"):
        # Addresses have 14 bits at most, whatever the header claims.
        sensor = Sensor("Prophesee", min(fields["width"], 1 << 14), min(fields["height"], 1 << 14))

    def offset(index: int) -> int:
        return at + _RECORD * index

    return finish(Columns(file=file, t=t, x=x, y=y, on=on, sensor=sensor, offset=offset, wraps=(1 << 32,)))


def _header(data: bytes) -> tuple[dict[str, int], int]:
    """Whole numbers of the header by name in lower case, and the byte behind it."""
    fields: dict[str, int] = {}
    at = 0
    while line := HEADER_LINE.match(data, at):
        if match := re.match(rb"%\s*(\w+)\s+(\d{1,9})\s*$", line[0]):
            fields[match[1].decode("ascii").lower()] = int(match[2])
        at = line.end()
    return fields, at
