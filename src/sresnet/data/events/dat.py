"""Prophesee's `.dat` files, of which N-CARS consists.

Source: the DAT format as Prophesee documents it for its Metavision SDK; Sironi et al., HATS, CVPR 2018, for N-CARS.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sresnet.data.events.chips import Sensor, given_chip
from sresnet.data.events.columns import Block, EventFile, Events, ReadConfig
from sresnet.data.events.compiled import dat_decoder
from sresnet.data.events.percent import header_of
from sresnet.errors import UserError
from sresnet.files import Content

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


def open_dat(data: Content, name: str, config: ReadConfig) -> Events:
    """Header lines `% ...`, a byte for the type of the events and one for their size, then records of 8 bytes.

    A record is two little-endian words: microseconds; and 14 bits of column, 14 of row, 4 of polarity (1: brighter)
    from the lowest bit on (before version 2: 9, 8 and 1 bits). Column 0 is left and row 0 on top. The clock wraps at
    2^32 microseconds.

    Raises:
        UserError: another type or size of events; while it is read, an incomplete record, or as `finish`.
    """
    header = header_of(data)
    at = header.length
    if not at and len(data) > 1 and data[:2] not in (bytes([kind, _RECORD]) for kind in _CHANGE_EVENTS):
        raise UserError(
            f"{name} begins with {data[:12]!r}, where a .dat file of Prophesee has lines % ... or bytes 0c 08: get it "
            "again, or if it is of another kind, convert it to a format that is read"
        )
    kind, size = (*data[at : at + 2], 0, 0)[:2]
    if len(data) < at + 2:
        raise UserError(f"{name} ends inside its header, at byte {len(data):,}: get the file again")
    if kind not in _CHANGE_EVENTS or size != _RECORD:
        raise UserError(
            f"{name} holds events of type {kind:#04x} and {size} bytes (byte {at:,}): expected type 0x00 or 0x0c and 8 "
            "bytes, so convert it to contrast events first"
        )
    at += 2
    x_bits, y_bits = (14, 14) if header.number("version", 2) >= 2 else (9, 8)

    def blocks(file: EventFile) -> Iterator[Block]:
        decode = dat_decoder(x_bits, y_bits) or partial(_decode, x_bits, y_bits)
        for start, records in file.records(at, _RECORD):
            t, x, y, on = decode(records)
            yield Block(t=t, x=x, y=y, on=on, offset=partial(_offset, start))

    sensors: tuple[Sensor, ...] = _SENSORS
    width, height = header.number("width", 0), header.number("height", 0)
    if config.chip:
        sensors = (given_chip(config.chip, "Prophesee"),)
    elif width and height:
        # Addresses have 14 bits at most, whatever the header claims.
        sensors = (Sensor("Prophesee", min(width, 1 << 14), min(height, 1 << 14)),)
    file, most = EventFile(data, name, config), max(0, len(data) - at) // _RECORD
    return Events(file=file, blocks=blocks, sensors=sensors, wraps=(1 << 32,), most=most)


def _decode(x_bits: int, y_bits: int, records: bytes) -> tuple[NDArray[Any], ...]:
    """Time, column, row and polarity of records whose addresses have so many bits."""
    words = np.frombuffer(records, dtype="<u4").reshape(-1, 2)
    address = words[:, 1].astype(np.uint32)
    x = address.astype(np.uint16)
    x &= (1 << x_bits) - 1
    y = (address >> x_bits).astype(np.uint16)
    y &= (1 << y_bits) - 1
    return words[:, 0], x, y, address & (1 << (x_bits + y_bits)) != 0


def _offset(start: int, index: int) -> int:
    return start + _RECORD * index
