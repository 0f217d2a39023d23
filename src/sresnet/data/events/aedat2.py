"""AEDAT 2.0, as jAER writes it: DVS128 (DVS-CIFAR10, MNIST-DVS) and the DAVIS cameras.

Source: iniVation's description of AEDAT 2.0, and the event extractors of jAER's chip classes, which say what the bits
of an address mean.
"""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sresnet.data.events.chips import Sensor, find_chip
from sresnet.data.events.columns import Columns, Damaged, EventFile, finish
from sresnet.data.events.recording import Recording

MAGIC = b"#!AER-DAT2.0"

_RECORD = 8
# Records that stay in the processor's cache between passes.
_BLOCK = 1 << 14


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


def parse_aedat2(data: bytes, name: str, *, damaged: Damaged = "error", chip: str = "") -> Recording:
    """Header lines `#...`, then big-endian pairs of address and microseconds, 32 bits each.

    Of a DVS128, bits 1 to 7 of the address are x, bits 8 to 14 y, and bit 0 is 0 where the pixel became brighter. Of
    a DAVIS, bits 12 to 21 are x, bits 22 to 30 y, and bit 11 is 1 where the pixel became brighter. Both count x from
    the right and y from the bottom of what jAER shows, so column = width - 1 - x and row = height - 1 - y: hand-held
    objects, BioLab's for instance, stand upright. Samples of frames (`frame`) and of the inertial sensor (`imu`) and
    synchronisation pulses (`trigger`) are left out and counted, a record each. The clock wraps at 2^32 microseconds,
    of some software at 2^31.

    Args:
        chip: camera, where the header should not decide; a header that names none means a DVS128.

    Raises:
        UserError: an unknown camera, an incomplete record, or as `finish`.
    """
    at = _header_length(data)
    found = _chip(data[:at], name, chip)
    layout = _DVS128 if found.name == "DVS128" else _DAVIS
    file = EventFile(data, name, damaged)
    words = np.frombuffer(data, dtype=">u4", count=2 * file.records(at, _RECORD), offset=at).reshape(-1, 2)
    t, x, y, on = _decode(words, found, layout, file)

    def offset(index: int) -> int:
        events = np.flatnonzero(words[:, 0] & layout.other == 0)
        return at + _RECORD * int(events[index])

    wraps = (1 << 31, 1 << 32)
    return finish(Columns(file=file, t=t, x=x, y=y, on=on, sensor=found, offset=offset, wraps=wraps))


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
        return find_chip(chip, "the option chip")
    match = re.search(rb"^# ?AEChip: *(.+?)\r?$", header, re.MULTILINE)
    return find_chip(match[1].decode("latin-1") if match else "DVS128", f"the header of {name}")


def _decode(
    words: NDArray[np.uint32], chip: Sensor, layout: _Layout, file: EventFile
) -> tuple[NDArray[np.int64], NDArray[np.uint16], NDArray[np.uint16], NDArray[np.bool_]]:
    """Polarity events of big-endian pairs [records, 2] as (t, x, y, on); the others are counted."""
    count = len(words)
    t, on = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.bool_)
    x, y = np.empty(count, dtype=np.uint16), np.empty(count, dtype=np.uint16)
    end = 0
    for begin in range(0, count, _BLOCK):
        block = words[begin : begin + _BLOCK]
        # In the machine's byte order all following passes are several times faster.
        address, time = block[:, 0].astype(np.uint32), block[:, 1]
        marks = int(np.bitwise_or.reduce(address))
        if marks & layout.other:
            event = address & layout.other == 0
            _count_others(address[~event], layout, file)
            address, time = address[event], time[event]
        start, end = end, end + len(address)
        t[start:end] = time
        # A mirrored address off the sensor wraps around to a number beyond it.
        np.subtract(chip.width - 1, (address >> layout.x_shift) & layout.x_mask, out=x[start:end], casting="unsafe")
        np.subtract(chip.height - 1, (address >> layout.y_shift) & layout.y_mask, out=y[start:end], casting="unsafe")
        np.equal(address & layout.polarity, layout.polarity * layout.on_when_set, out=on[start:end])
        if marks & layout.unused:
            x[start:end][address & layout.unused != 0] = np.iinfo(np.uint16).max
    if end < count:
        return t[:end].copy(), x[:end].copy(), y[:end].copy(), on[:end].copy()
    return t, x, y, on


def _count_others(address: NDArray[np.uint32], layout: _Layout, file: EventFile) -> None:
    kinds = {"trigger": len(address)}
    if layout is _DAVIS:
        samples = address[address >> 31 == 1]
        inertial = int(np.count_nonzero(samples >> 10 & 3 == 3))
        kinds = {"frame": len(samples) - inertial, "imu": inertial, "trigger": len(address) - len(samples)}
    for kind, count in kinds.items():
        file.skip(kind, count)
