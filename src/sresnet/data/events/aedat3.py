"""AEDAT 3.1, as cAER writes it (DVS128 Gesture).

Source: iniVation's description of AEDAT 3.1.
"""

import re
import struct

import numpy as np
from numpy.typing import NDArray

from sresnet.data.events.chips import find_chip
from sresnet.data.events.columns import Columns, Damaged, EventFile, finish
from sresnet.data.events.recording import Recording
from sresnet.errors import UserError

MAGIC = b"#!AER-DAT3.1"

_HEADER_END = re.compile(rb"^#!END-HEADER\r?\n", re.MULTILINE)
# Type, source, size of an event, place of its time in it, overflows, capacity, number, number valid.
_PACKET = struct.Struct("<hhiiiiii")
_POLARITY, _RECORD = 1, 8
_KINDS = {0: "special", 2: "frame", 3: "imu", 4: "imu"}


def parse_aedat3(data: bytes, name: str, *, damaged: Damaged = "error", chip: str = "") -> Recording:
    """Header lines `#...` up to `#!END-HEADER`, then packets of 28 bytes and so many events of one type.

    A polarity event is two little-endian words: bit 0 says whether it is valid, bit 1 is 1 where the pixel became
    brighter, bits 2 to 16 are y, bits 17 to 31 x, and the second word holds 31 bits of microseconds, to which the
    packet adds its number of overflows. x counts from the left and y from the top. Events of other types (`special`,
    `frame`, `imu`, `other`) and invalid ones (`invalid`) are left out and counted.

    Args:
        chip: camera, where the header should not decide.

    Raises:
        UserError: a header that does not end, a format other than RAW, an unknown camera, events of two cameras, an
            impossible or incomplete packet, or as `finish`.
    """
    end = _HEADER_END.search(data)
    if not end:
        raise UserError(f"{name} has no line #!END-HEADER: it is cut short or altered, so get the file again")
    header = data[: end.end()]
    form = re.search(rb"^#Format: *(\S+)", header, re.MULTILINE)
    if form and form[1] != b"RAW":
        raise UserError(f"{name} is in the format {form[1].decode('latin-1')!r}: write it again as RAW")
    file = EventFile(data, name, damaged)
    packets, source = _packets(file, end.end())
    named = re.search(rb"^#Source %d: *(.+?)\r?$" % source, header, re.MULTILINE)
    found = find_chip(chip or (named[1].decode("latin-1") if named else ""), f"the header of {name}")
    t, address, starts = _events(file, packets)

    x, y, on = (address >> 17).astype(np.uint16), (address >> 2 & 0x7FFF).astype(np.uint16), address & 2 == 2
    return finish(Columns(file=file, t=t, x=x, y=y, on=on, sensor=found, offset=lambda index: int(starts[index])))


def _packets(file: EventFile, at: int) -> tuple[list[tuple[int, int, int]], int]:
    """(first byte, events, overflows) of every packet of polarity events, and their source."""
    packets: list[tuple[int, int, int]] = []
    sources: set[int] = set()
    data = file.data
    while at < len(data):
        if at + _PACKET.size > len(data):
            file.skip_incomplete("packet", at)
            break
        kind, source, size, _, overflows, _, number, _ = _PACKET.unpack_from(data, at)
        if size < 1 or number < 0 or overflows < 0 or (kind == _POLARITY and size != _RECORD):
            # Where the next packet starts, only this one could say.
            fault = f": the packet at byte {at:,} has {number:,} events of {size:,} bytes"
            file.skip_damage("damaged bytes", len(data) - at, fault)
            break
        body = at + _PACKET.size
        end = body + size * number
        if end > len(data):
            file.skip_incomplete("packet", at)
            number = (len(data) - body) // size
        if kind == _POLARITY:
            packets.append((body, number, overflows))
            sources.add(source)
        else:
            file.skip(_KINDS.get(kind, "other"), number)
        at = end
    if len(sources) > 1:
        listed = ", ".join(map(str, sorted(sources)))
        raise UserError(
            f"{file.name} holds events of several cameras (sources {listed}): write each into a file of its own"
        )
    if not packets:
        raise UserError(f"{file.name} holds no polarity events: remove it or get it again")
    return packets, sources.pop()


def _events(
    file: EventFile, packets: list[tuple[int, int, int]]
) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.int64]]:
    """Time, first word and place in the file of every valid event."""
    parts = [np.frombuffer(file.data, "<u4", 2 * number, body).reshape(-1, 2) for body, number, _ in packets]
    words = np.concatenate(parts)
    numbers = np.array([number for _, number, _ in packets])
    bodies = np.array([body for body, _, _ in packets])
    overflows = np.array([count for _, _, count in packets], dtype=np.int64)
    first = np.cumsum(numbers) - numbers
    starts = np.repeat(bodies - _RECORD * first, numbers) + _RECORD * np.arange(len(words))
    t = words[:, 1].astype(np.int64) + np.repeat(overflows << 31, numbers)
    address = words[:, 0]
    valid = address & 1 == 1
    if not valid.all():
        file.skip("invalid", int(np.count_nonzero(~valid)))
        t, address, starts = t[valid], address[valid], starts[valid]
    return t, address, starts
