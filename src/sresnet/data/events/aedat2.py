"""AEDAT 2.0, as jAER writes it: DVS128 (DVS-CIFAR10, MNIST-DVS) and the DAVIS cameras.

Source: iniVation's description of AEDAT 2.0, and the event extractors of jAER's chip classes, which say what the bits
of an address mean.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sresnet.data.events.chips import Sensor, find_chip, given_chip
from sresnet.data.events.columns import Block, EventFile, Events, ReadConfig
from sresnet.files import Content

MAGIC = b"#!AER-DAT2.0"

LONGEST_HEADER = 1 << 20
"""Bytes at the beginning of a file that its header may take."""

_RECORD = 8


@dataclass(frozen=True)
class _Layout:
    """Meaning of the 32 bits of an address."""

    x_shift: int
    x_mask: int
    y_shift: int
    y_mask: int
    polarity: int
    """Mask of the polarity bit."""
    on_when_set: bool
    """Whether the bit says "brighter" where it is 1."""
    other: int
    """Bits that are set where the record is not a polarity event."""
    unused: int
    """Bits that are 0 in every polarity event."""


# Of a DVS128, bit 15 marks the synchronisation input, bit 31 jAER's own marks.
_DVS128 = _Layout(1, 0x7F, 8, 0x7F, 0x1, False, 0x80008000, 0x7FFF0000)
# Of a DAVIS, bit 31 marks samples of frames and of the inertial sensor, bit 10 the synchronisation input.
_DAVIS = _Layout(12, 0x3FF, 22, 0x1FF, 0x800, True, 0x80000400, 0)


def open_aedat2(data: Content, name: str, config: ReadConfig) -> Events:
    """Header lines `#...`, then big-endian pairs of address and microseconds, 32 bits each.

    Of a DVS128, bits 1 to 7 of the address are x, bits 8 to 14 y, and bit 0 is 0 where the pixel became brighter. Of
    a DAVIS, bits 12 to 21 are x, bits 22 to 30 y, and bit 11 is 1 where the pixel became brighter. Both count x from
    the right and y from the bottom of what jAER shows, so column = width - 1 - x and row = height - 1 - y: hand-held
    objects, BioLab's for instance, stand upright. Samples of frames (`frame`) and of the inertial sensor (`imu`) and
    synchronisation pulses (`trigger`) are left out and counted, a record each. The clock wraps at 2^32 microseconds,
    of some software at 2^31.

    A header that names no camera means a DVS128. Of a `config.chip` that is a size, 128x128 means a DVS128, else a
    DAVIS.

    Raises:
        UserError: an unknown camera; while it is read, an incomplete record, or as `finish`.
    """
    header = data[:LONGEST_HEADER]
    at = _header_length(header)
    found = _chip(header[:at], name, config.chip)
    layout = _DVS128 if found.name == "DVS128" else _DAVIS

    def blocks(file: EventFile) -> Iterator[Block]:
        for start, records in file.records(at, _RECORD):
            yield _decode(np.frombuffer(records, dtype=">u4").reshape(-1, 2), start, found, layout, file)

    wraps, most = (1 << 31, 1 << 32), max(0, len(data) - at) // _RECORD
    return Events(file=EventFile(data, name, config), blocks=blocks, sensors=(found,), wraps=wraps, most=most)


def _header_length(data: bytes) -> int:
    """Bytes of the header: lines of text that begin with `#`, up to the one that ends it.

    An event may begin with the byte of `#` too, but is hardly ever followed by text.
    """
    at = 0
    while match := _HEADER_LINE.match(data, at):
        at = match.end()
        if match[0].startswith(b"#End Of ASCII Header"):
            break
    return at


_HEADER_LINE = re.compile(rb"#[\t\x20-\x7e\x80-\xff]*\r?\n")


def _chip(header: bytes, name: str, chip: str) -> Sensor:
    if chip:
        given = given_chip(chip, "DAVIS")
        return replace(given, name="DVS128") if (given.width, given.height) == (128, 128) else given
    match = re.search(rb"^# ?AEChip: *(.+?)\r?$", header, re.MULTILINE)
    return find_chip(match[1].decode("latin-1") if match else "DVS128", f"the header of {name}")


def _decode(words: NDArray[np.uint32], start: int, chip: Sensor, layout: _Layout, file: EventFile) -> Block:
    """Polarity events of big-endian pairs [records, 2] that begin at byte `start`; the others are counted."""
    # In the machine's byte order all following passes are several times faster.
    address, time = words[:, 0].astype(np.uint32), words[:, 1].astype(np.uint32)
    marks = int(np.bitwise_or.reduce(address))
    if marks & layout.other:
        event = address & layout.other == 0
        _count_others(address[~event], layout, file)
        address, time = address[event], time[event]
    # A mirrored address off the sensor wraps around to a number beyond it.
    x = (address >> layout.x_shift).astype(np.uint16)
    x &= layout.x_mask
    np.subtract(chip.width - 1, x, out=x)
    y = (address >> layout.y_shift).astype(np.uint16)
    y &= layout.y_mask
    np.subtract(chip.height - 1, y, out=y)
    on = (address & layout.polarity) == layout.polarity * layout.on_when_set
    if marks & layout.unused:
        x[address & layout.unused != 0] = np.iinfo(np.uint16).max

    def offset(index: int) -> int:
        events = np.flatnonzero(words[:, 0] & layout.other == 0)
        return start + _RECORD * int(events[index])

    return Block(t=time, x=x, y=y, on=on, offset=offset)


def _count_others(address: NDArray[np.uint32], layout: _Layout, file: EventFile) -> None:
    kinds = {"trigger": len(address)}
    if layout is _DAVIS:
        samples = address[address >> 31 == 1]
        inertial = int(np.count_nonzero(samples >> 10 & 3 == 3))
        kinds = {"frame": len(samples) - inertial, "imu": inertial, "trigger": len(address) - len(samples)}
    for kind, count in kinds.items():
        file.skip(kind, count)
