"""AEDAT 4, as iniVation's DV writes it; compressed packets need the packages lz4 or zstandard (extra `events`).

Source: iniVation's description of AEDAT 4.0; the binary format of FlatBuffers.
"""

import functools
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from sresnet.data.events.chips import LARGEST_SIDE, Sensor, given_chip
from sresnet.data.events.columns import Block, EventFile, Events, ReadConfig
from sresnet.data.events.compiled import Columns, aedat4_decoder
from sresnet.data.events.packed import most_unpacked
from sresnet.errors import UserError, optional
from sresnet.files import Content, ReadAhead
from sresnet.limits import check_claim

MAGIC = b"#!AER-DAT4.0"

_COMPRESSIONS = ("NONE", "LZ4", "LZ4_HIGH", "ZSTD", "ZSTD_HIGH")
_KINDS = {"FRME": "frame packet", "IMUS": "imu packet", "TRIG": "trigger packet"}
_FIRST = re.compile(rb"#!AER-DAT4\.0\r?\n")
_PACKET = struct.Struct("<ii")
_LARGEST_HEADER = 1 << 26
_TIMES = 5
"""Memory for reading a packet, as a multiple of its unpacked length."""
_EVENT = np.dtype({"names": ["t", "x", "y", "on"], "formats": ["<i8", "<u2", "<u2", "u1"], "itemsize": 16})
_AHEAD = 16
"""Packets among which the one with the earliest events comes first."""


@dataclass(frozen=True)
class _Stream:
    number: int
    kind: str
    sensor: Sensor


@dataclass(frozen=True)
class _Packet:
    at: int
    events: Columns
    """Each column by itself: checks of what lies 16 bytes apart take three times as long."""

    @property
    def t(self) -> NDArray[np.int64]:
        return self.events[0]

    @functools.cached_property
    def falls(self) -> bool:
        """Whether time goes back within it."""
        return bool((self.t[1:] < self.t[:-1]).any())


def open_aedat4(data: Content, name: str, config: ReadConfig) -> Events:
    """A header with the streams as XML, then packets of a stream number, a size, and a compressed flatbuffer.

    x counts from the left and y from the top; the time is microseconds, of most cameras since 1970. Packets of other
    streams are left out and counted, a packet each (`frame packet`, `imu packet`, `trigger packet`, `other packet`).
    A file that was not closed ends with its last byte. Packets that lie out of order, among sixteen, are put in order.

    Raises:
        UserError: a damaged header, no stream of events, or several with no choice of one; while it is read, a package
            that is not installed, a packet that is incomplete, does not decode or unpacks to too much, an impossible
            time, or as `finish`.
    """
    compression, end, streams, at = _header(data, name)
    file = EventFile(ReadAhead(data), name, config)
    stream = _event_stream(file, at, end, streams, config.event_stream)
    unpack = _Unpack(compression, name, config.memory_limit, len(data))

    def blocks(file: EventFile) -> Iterator[Block]:
        read = 0
        for packet in _in_order(_decoded(file, at, end, streams, stream, unpack)):
            block = _block(file, packet, read)
            read += len(packet.t)
            yield block

    sensor = given_chip(config.chip, stream.sensor.name) if config.chip else stream.sensor
    return Events(file=file, blocks=blocks, sensors=(sensor,))


def _block(file: EventFile, packet: _Packet, read: int) -> Block:
    """The events of a packet, those at impossible times left out; `read` came before them."""
    t, x, y, on = packet.events
    # 62 bits are 146,000 years, and leave room to subtract two of them. A negative number is a large one without sign.
    # Where time does not go back, its first and its last event tell of all.
    possible = t.view(np.uint64) < 1 << 62 if packet.falls else np.array([t[0] >= 0, t[-1] < 1 << 62])
    if not possible.all():
        possible = t.view(np.uint64) < 1 << 62
        index = int(np.argmin(possible))
        place = f"event {read + index:,}, in the packet at byte {packet.at:,}"
        fault = f": {place}, is at {t[index]:,} microseconds"
        file.skip_damage("impossible time", int(np.count_nonzero(~possible)), fault)
        t, x, y, on = t[possible], x[possible], y[possible], on[possible]
    # Behind compression an event has no byte of its own: that of its packet.
    return Block(t=t, x=x, y=y, on=on, offset=lambda index: packet.at)


def _in_order(packets: Iterator[_Packet]) -> Iterator[_Packet]:
    """The earliest of the next packets first; one whose own events are not in order stays in its place."""
    ahead: list[_Packet] = []
    for packet in packets:
        t = packet.t
        if not len(t):
            continue
        if packet.falls:
            yield from ahead
            yield packet
            ahead = []
            continue
        at = len(ahead)
        while at and ahead[at - 1].t[-1] > t[0] and ahead[at - 1].t[0] >= t[-1]:
            at -= 1
        ahead.insert(at, packet)
        if len(ahead) > _AHEAD:
            yield ahead.pop(0)
    yield from ahead


def _header(data: Content, name: str) -> tuple[int, int, dict[int, _Stream], int]:
    """Compression, end of the packets, streams by number, and first byte of the packets."""
    first = _FIRST.match(data[: len(MAGIC) + 2])
    start = first.end() if first else len(data)
    try:
        if len(data) < start + 4:
            raise ValueError(f"it ends at byte {len(data):,}")
        size = _number(data[start : start + 4], 0, "<I")
        if size > min(_LARGEST_HEADER, len(data) - start - 4):
            raise ValueError(f"it ends at byte {len(data):,} of {start + 4 + size:,}")
        table = data[start + 4 : start + 4 + size]
        compression = _field(table, 0, "<i")
        end = _field(table, 1, "<q")
        streams = _streams(_text(table, 2))
    except (ValueError, ElementTree.ParseError) as error:
        raise UserError(f"{name} has a header that cannot be read ({error}): get the file again") from None
    if not 0 <= compression < len(_COMPRESSIONS):
        raise UserError(f"{name} has compression {compression}: expected 0 to 4, so get the file again")
    at = start + 4 + size
    return compression, end if at <= end <= len(data) else len(data), streams, at


def _number(table: bytes | memoryview, at: int, form: str) -> int:
    """The number at a byte of a flatbuffer; ValueError where it has no such byte."""
    try:
        return int(struct.unpack_from(form, table, at)[0])
    except struct.error:
        raise ValueError("a place that it names is beyond its end") from None


def _place(table: bytes | memoryview, field: int) -> int:
    """Byte of a field of the root table of a flatbuffer; 0: it has the default value."""
    root = _number(table, 0, "<I")
    back = _number(table, root, "<i")
    slots = root - back
    if not 0 <= slots <= len(table) - 4:
        raise ValueError("its table is not where it should be")
    size = _number(table, slots, "<H")
    if 4 + 2 * field + 2 > size:
        return 0
    shift = _number(table, slots + 4 + 2 * field, "<H")
    return root + shift if shift else 0


def _field(table: bytes, field: int, form: str) -> int:
    place = _place(table, field)
    return _number(table, place, form) if place else 0


def _text(table: bytes, field: int) -> str:
    place = _place(table, field)
    if not place:
        raise ValueError("it does not name the streams")
    place += _number(table, place, "<I")
    size = _number(table, place, "<I")
    try:
        return table[place + 4 : place + 4 + size].decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("its XML is not UTF-8") from None


def _streams(xml: str) -> dict[int, _Stream]:
    # Entities could make a short text unfold into gigabytes.
    if "<!" in xml:
        raise ValueError("its XML has a document type or a comment")
    streams = {}
    for node in ElementTree.fromstring(xml).iterfind("./node[@name='outInfo']/node"):
        about = {attr.get("key"): attr.text or "" for attr in node.iterfind(".//attr")}
        said = [node.get("name", ""), about.get("sizeX", "0"), about.get("sizeY", "0")]
        if wrong := [text for text in said if not re.fullmatch(r"\s*-?\d{1,9}\s*", text, re.ASCII)]:
            raise ValueError(f"its XML has {wrong[0][:40]!a} for a number")
        number, width, height = map(int, said)
        kind = about.get("typeIdentifier", "")
        if kind == "EVTS" and not (0 < width < LARGEST_SIDE and 0 < height < LARGEST_SIDE):
            raise ValueError(f"stream {number} is {width}x{height} pixels")
        name = about.get("source", "").split("_")[0] or "AEDAT4"
        streams[number] = _Stream(number, kind, Sensor(name, width, height))
    return streams


def _walk(file: EventFile, at: int, end: int, streams: dict[int, _Stream]) -> Iterator[tuple[_Stream, int, int]]:
    """(stream, first byte, bytes behind its header) of every packet."""
    while at < end:
        number, size = _PACKET.unpack(file.data[at : at + 8]) if at + _PACKET.size <= end else (0, end)
        if size < 0 or number not in streams:
            # Where the next packet starts, only this one could say.
            fault = f": the packet at byte {at:,} is of stream {number} and {size:,} bytes"
            file.skip_damage("damaged bytes", end - at, fault)
            return
        if at + _PACKET.size + size > end:
            file.skip_incomplete("packet", at, end)
            return
        yield streams[number], at, size
        at += _PACKET.size + size


def _event_stream(file: EventFile, at: int, end: int, streams: dict[int, _Stream], chosen: int) -> _Stream:
    """The stream that is chosen, where there are several; the only one, or the only one with events."""
    found = [stream for stream in streams.values() if stream.kind == "EVTS"]
    if not found:
        raise UserError(f"{file.name} has no stream of events: record one, or remove the file")
    if len(found) == 1:  # whatever was chosen: it is meant for files of several
        return found[0]
    if chosen >= 0:
        listed = ", ".join(str(stream.number) for stream in found)
        by_number = {stream.number: stream for stream in found}
        if chosen not in by_number:
            raise UserError(f"event-stream {chosen} is none of {file.name}'s streams of events: choose from {listed}")
        return by_number[chosen]
    filled: set[int] = set()
    for stream, _, _ in _walk(EventFile(file.data, file.name, ReadConfig(damaged="skip")), at, end, streams):
        if stream.kind == "EVTS":
            filled.add(stream.number)
    if len(filled) > 1:
        listed = ", ".join(f"{each.number}: {each.sensor.name}" for each in found if each.number in filled)
        raise UserError(
            f"{file.name} holds events of several streams ({listed}): choose one with --event-stream (event_stream in "
            "Python)"
        )
    return next((stream for stream in found if stream.number in filled), found[0])


class _DamagedError(Exception):
    """A packet does not decode."""


def _decoded(
    file: EventFile, at: int, end: int, streams: dict[int, _Stream], stream: _Stream, unpack: "_Unpack"
) -> Iterator[_Packet]:
    """The packets of a stream; those of others and damaged ones are counted."""
    decode = aedat4_decoder() or _decode
    for theirs, start, size in _walk(file, at, end, streams):
        if theirs.kind != "EVTS":
            file.skip(_KINDS.get(theirs.kind, "other packet"))
            continue
        if theirs.number != stream.number:
            file.skip("event packet of another stream")
            continue
        body = start + _PACKET.size
        try:
            packet = unpack(file.data[body : body + size])
            yield _Packet(start, decode(packet, *_events_in(packet)))
        except _DamagedError as error:
            file.skip_damage("damaged packet", 1, f": the packet at byte {start:,} does not decode ({error})")


def _decode(packet: bytes, at: int, count: int) -> Columns:
    """So many events of an unpacked packet from a byte on, structures of 16 bytes each."""
    events = np.frombuffer(packet, dtype=_EVENT, count=count, offset=at) if count else np.empty(0, dtype=_EVENT)
    t, x, y = (np.ascontiguousarray(events[name]) for name in ("t", "x", "y"))
    return t, x, y, events["on"] != 0


def _events_in(packet: bytes) -> tuple[int, int]:
    """The byte at which events begin in an unpacked packet, and how many: a flatbuffer behind its size with a vector.

    _DamagedError where it is none.
    """
    try:
        size = _number(packet, 0, "<I")
        table = memoryview(packet)[4:]
        kind = bytes(table[4:8])
        if kind != b"EVTS" or size > len(table):
            raise ValueError(f"it is {kind!r} of {size:,} bytes, not 'EVTS' of {len(table):,} at most")
        place = _place(table, 0)
        if not place:
            return 0, 0
        place += _number(table, place, "<I")
        count = _number(table, place, "<I")
        if place + 4 + _EVENT.itemsize * count > len(table):
            raise ValueError(f"it ends within its {count:,} events")
        return 4 + place + 4, count
    except ValueError as error:
        raise _DamagedError(str(error)) from None


@dataclass(frozen=True)
class _Unpack:
    """Packets -> what they hold; UserError where that is too much."""

    compression: int
    name: str
    memory_limit: float
    length: int

    def __call__(self, packet: bytes) -> bytes:
        """_DamagedError where it does not unpack."""
        self._check(packet)
        if self.compression == 0:
            return packet
        parts = []
        while packet:
            part, packet = self._decompress(packet)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    @functools.cached_property
    def _decompress(self) -> "_Decompress":
        return _lz4() if self.compression < 3 else _zstandard()

    def _check(self, packet: bytes) -> None:
        """Refuse a packet before it is unpacked."""
        try:
            try:
                self._claim(most_unpacked(packet, self.compression))
            except UserError:  # the sizes of blocks alone may overstate it
                self._claim(most_unpacked(packet, self.compression, exact=True))
        except UserError:
            raise
        except ValueError as error:
            raise _DamagedError(str(error)) from None

    def _claim(self, unpacked: int) -> None:
        what = f"a packet that unpacks to {unpacked:,} bytes"
        check_claim(self.name, what, _TIMES * unpacked, self.length, self.memory_limit)


_Decompress = Callable[[bytes], tuple[bytes, bytes]]
"""A frame -> what it holds, and what follows it."""


def _lz4() -> _Decompress:
    with optional("AEDAT4 files need", "the package lz4", "events"):
        from lz4.frame import LZ4FrameDecompressor

    def decompress(packet: bytes) -> tuple[bytes, bytes]:
        decoder = LZ4FrameDecompressor()
        try:
            found = decoder.decompress(packet)
        except RuntimeError as error:
            raise _DamagedError(" ".join(str(error).split())) from None
        if not decoder.eof:
            raise _DamagedError("it ends inside a frame")
        return found, decoder.unused_data or b""

    return decompress


def _zstandard() -> _Decompress:
    with optional("AEDAT4 files need", "the package zstandard", "events"):
        from zstandard import ZstdDecompressor, ZstdError

    def decompress(packet: bytes) -> tuple[bytes, bytes]:
        decoder = ZstdDecompressor().decompressobj()
        try:
            found = decoder.decompress(packet)
        except ZstdError as error:
            raise _DamagedError(" ".join(str(error).split())) from None
        if not decoder.eof:
            raise _DamagedError("it ends inside a frame")
        return found, decoder.unused_data

    return decompress
