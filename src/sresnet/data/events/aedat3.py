"""AEDAT 3.1, as cAER writes it (DVS128 Gesture).

Source: iniVation's description of AEDAT 3.1.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from sresnet.data.events.aedat2 import LONGEST_HEADER
from sresnet.data.events.chips import find_chip, given_chip
from sresnet.data.events.columns import BLOCK, Block, EventFile, Events, ReadConfig
from sresnet.errors import UserError
from sresnet.files import Content

MAGIC = b"#!AER-DAT3.1"

_HEADER_END = re.compile(rb"^#!END-HEADER\r?\n", re.MULTILINE)
# Type, source, size of an event, place of its time in it, overflows, capacity, number, number valid.
_PACKET = struct.Struct("<hhiiiiii")
_POLARITY, _RECORD = 1, 8
_TOGETHER = 1 << 10
"""Packets that are decoded at once, at most."""
_KINDS = {0: "special", 2: "frame", 3: "imu", 4: "imu"}


def open_aedat3(data: Content, name: str, config: ReadConfig) -> Events:
    """Header lines `#...` up to `#!END-HEADER`, then packets of 28 bytes and so many events of one type.

    A polarity event is two little-endian words: bit 0 says whether it is valid, bit 1 is 1 where the pixel became
    brighter, bits 2 to 16 are y, bits 17 to 31 x, and the second word holds 31 bits of microseconds, to which the
    packet adds its number of overflows. x counts from the left and y from the top. Events of other types (`special`,
    `frame`, `imu`, `other`) and invalid ones (`invalid`) are left out and counted.

    Raises:
        UserError: a header that does not end, a format other than RAW, an unknown camera; while it is read, events of
            two cameras, an impossible or incomplete packet, or as `finish`.
    """
    header = data[:LONGEST_HEADER]
    end = _HEADER_END.search(header)
    if not end:
        raise UserError(f"{name} has no line #!END-HEADER: it is cut short or altered, so get the file again")
    at = end.end()
    header = header[:at]
    form = re.search(rb"^#Format: *(\S+)", header, re.MULTILINE)
    if form and form[1] != b"RAW":
        raise UserError(f"{name} is in the format {form[1].decode('latin-1')!r}: write it again as RAW")
    file = EventFile(data, name, config)
    source = _source(file, at)
    named = re.search(rb"^#Source %d: *(.+?)\r?$" % source, header, re.MULTILINE)
    camera = named[1].decode("latin-1") if named else ""
    found = given_chip(config.chip) if config.chip else find_chip(camera, f"the header of {name}")

    def blocks(file: EventFile) -> Iterator[Block]:
        waiting: list[tuple[int, int, int]] = []
        for first, number, overflows in _packets(file, at, source):
            for start in range(0, number, BLOCK):
                waiting.append((first + _RECORD * start, min(BLOCK, number - start), overflows))
                if sum(each for _, each, _ in waiting) >= BLOCK or len(waiting) >= _TOGETHER:
                    yield _decode(file, waiting)
                    waiting = []
        if waiting:
            yield _decode(file, waiting)

    return Events(file=file, blocks=blocks, sensors=(found,))


def _source(file: EventFile, at: int) -> int:
    """The camera that the first packet of polarity events is from; UserError where there is none."""
    for kind, source, _, _, _ in _walk(replace(file, skipped={}), at):
        if kind == _POLARITY:
            return source
    raise UserError(f"{file.name} holds no polarity events: remove it or get it again")


def _walk(file: EventFile, at: int) -> Iterator[tuple[int, int, int, int, int]]:
    """(type, source, first byte, events, overflows) of every packet."""
    length = len(file.data)
    while at < length:
        if at + _PACKET.size > length:
            file.skip_incomplete("packet", at)
            return
        kind, source, size, _, overflows, _, number, _ = _PACKET.unpack(file.data[at : at + _PACKET.size])
        if size < 1 or number < 0 or overflows < 0 or (kind == _POLARITY and size != _RECORD):
            # Where the next packet starts, only this one could say.
            fault = f": the packet at byte {at:,} has {number:,} events of {size:,} bytes"
            file.skip_damage("damaged bytes", length - at, fault)
            return
        body = at + _PACKET.size
        end = body + size * number
        yield kind, source, body, min(number, (length - body) // size), overflows
        if end > length:
            file.skip_incomplete("packet", at)
        at = end


def _packets(file: EventFile, at: int, source: int) -> Iterator[tuple[int, int, int]]:
    """(first byte, events, overflows) of every packet of polarity events; the others are counted."""
    for kind, theirs, body, number, overflows in _walk(file, at):
        if kind != _POLARITY:
            file.skip(_KINDS.get(kind, "other"), number)
            continue
        if theirs != source:
            listed = ", ".join(map(str, sorted((source, theirs))))
            raise UserError(
                f"{file.name} holds events of several cameras (sources {listed}): write each into a file of its own"
            )
        yield body, number, overflows


def _decode(file: EventFile, packets: list[tuple[int, int, int]]) -> Block:
    """The valid events of some parts of packets, (first byte, events, overflows) each."""
    parts = [file.data[first : first + _RECORD * number] for first, number, _ in packets]
    words = np.frombuffer(b"".join(parts), "<u4").reshape(-1, 2)
    numbers = [number for _, number, _ in packets]
    overflows = np.repeat(np.array([each for _, _, each in packets], dtype=np.int64), numbers)
    address, kept = words[:, 0], np.arange(len(words))
    t = words[:, 1] + (overflows << 31)
    valid = address & 1 == 1
    if not valid.all():
        file.skip("invalid", int(np.count_nonzero(~valid)))
        t, address, kept = t[valid], address[valid], kept[valid]
    x, y, on = (address >> 17).astype(np.uint16), (address >> 2 & 0x7FFF).astype(np.uint16), address & 2 == 2

    def offset(index: int) -> int:
        starts = [first + _RECORD * at for first, number, _ in packets for at in range(number)]
        return starts[int(kept[index])]

    return Block(t=t, x=x, y=y, on=on, offset=offset)
