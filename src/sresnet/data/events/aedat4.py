"""AEDAT 4, as iniVation's DV writes it; the packets are decoded by the package `aedat` (extra `events`).

Source: iniVation's description of AEDAT 4.0.

That package reads sound files exactly, but a damaged header makes it end the whole process, and it stops at the first
packet that it cannot decode. So the header is read here, and the package gets a file with a new header, which names the
stream of events only, and the packets of that stream.
"""

import re
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from sresnet.data.events.chips import Sensor
from sresnet.data.events.columns import Columns, Damaged, EventFile, finish
from sresnet.data.events.packed import most_unpacked
from sresnet.data.events.recording import Recording
from sresnet.errors import UserError, optional
from sresnet.limits import MEMORY_LIMIT, check_claim

MAGIC = b"#!AER-DAT4.0"

_COMPRESSIONS = ("NONE", "LZ4", "LZ4_HIGH", "ZSTD", "ZSTD_HIGH")
_KINDS = {"FRME": "frame packet", "IMUS": "imu packet", "TRIG": "trigger packet"}
_FIRST = re.compile(rb"#!AER-DAT4\.0\r?\n")
_PACKET = struct.Struct("<ii")
_TIMES = 5
"""Memory for reading packets, as a multiple of their unpacked length."""
_UNPACKED = 16
"""Bytes of an event in a packet."""
_EVENT = np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("on", "?")])


@dataclass(frozen=True)
class _Stream:
    number: int
    kind: str
    sensor: Sensor


@dataclass(frozen=True)
class _Packet:
    at: int
    body: bytes


def parse_aedat4(
    data: bytes, name: str, *, damaged: Damaged = "error", memory_limit: float = MEMORY_LIMIT
) -> Recording:
    """A header with the streams as XML, then packets of a stream number, a size, and a compressed flatbuffer.

    x counts from the left and y from the top; the time is microseconds, of most cameras since 1970. Packets of other
    streams are left out and counted, a packet each (`frame packet`, `imu packet`, `trigger packet`, `other packet`).

    Raises:
        UserError: the package aedat is not installed, a damaged header, no stream of events or several, a packet that
            is incomplete, does not decode or unpacks to too much, an impossible time, or as `finish`.
    """

    def claim(unpacked: int) -> None:
        what = f"packets that unpack to {unpacked:,} bytes"
        check_claim(name, what, _TIMES * unpacked, len(data), memory_limit)

    compression, end, streams, at = _header(data, name)
    file = EventFile(data, name, damaged)
    packets = _packets(file, at, end, streams)
    stream = _event_stream(streams, {number for number, found in packets.items() if found}, name)
    found = packets.get(stream.number, [])
    parts, starts = _decode(found, compression, stream, file, claim)
    events = np.concatenate(parts) if parts else np.empty(0, dtype=_EVENT)
    # Behind compression an event has no byte of its own: that of its packet.
    places = np.repeat(np.array(starts, dtype=np.int64), [len(part) for part in parts])
    # 62 bits are 146,000 years, and leave room to subtract two of them.
    possible = (events["t"] >= 0) & (events["t"] < 1 << 62)
    if not possible.all():
        index = int(np.argmin(possible))
        place = f"event {index:,}, in the packet at byte {places[index]:,}"
        fault = f": {place}, is at {events['t'][index]:,} microseconds"
        file.skip_damage("impossible time", int(np.count_nonzero(~possible)), fault)
        events, places = events[possible], places[possible]
    t, x, y, on = (np.ascontiguousarray(events[name]) for name in _EVENT.names or ())
    return finish(
        Columns(file=file, t=t, x=x, y=y, on=on, sensor=stream.sensor, offset=lambda index: int(places[index]))
    )


def _header(data: bytes, name: str) -> tuple[int, int, dict[int, _Stream], int]:
    """Compression, end of the packets, streams by number, and first byte of the packets."""
    first = _FIRST.match(data)
    start = first.end() if first else len(data)
    try:
        (size,) = struct.unpack_from("<I", data, start)
        table = data[start + 4 : start + 4 + size]
        if len(table) < size:
            raise ValueError(f"it ends at byte {len(data):,} of {start + 4 + size:,}")
        compression = _field(table, 0, "<i")
        end = _field(table, 1, "<q")
        streams = _streams(_text(table, 2))
    except (struct.error, ValueError, ElementTree.ParseError) as error:
        raise UserError(f"{name} has a header that cannot be read ({error}): get the file again") from None
    if not 0 <= compression < len(_COMPRESSIONS):
        raise UserError(f"{name} has compression {compression}: expected 0 to 4, so get the file again")
    at = start + 4 + size
    return compression, end if at <= end <= len(data) else len(data), streams, at


def _place(table: bytes, field: int) -> int:
    """Byte of a field of the root table of a flatbuffer; 0: it has the default value."""
    (root,) = struct.unpack_from("<I", table, 0)
    (back,) = struct.unpack_from("<i", table, root)
    slots = root - back
    if not 0 <= slots <= len(table) - 4:
        raise ValueError("its table is not where it should be")
    (size,) = struct.unpack_from("<H", table, slots)
    if 4 + 2 * field + 2 > size:
        return 0
    (shift,) = struct.unpack_from("<H", table, slots + 4 + 2 * field)
    return root + shift if shift else 0


def _field(table: bytes, field: int, form: str) -> int:
    place = _place(table, field)
    return int(struct.unpack_from(form, table, place)[0]) if place else 0


def _text(table: bytes, field: int) -> str:
    place = _place(table, field)
    if not place:
        raise ValueError("it does not name the streams")
    place += struct.unpack_from("<I", table, place)[0]
    (size,) = struct.unpack_from("<I", table, place)
    return table[place + 4 : place + 4 + size].decode("utf-8")


def _streams(xml: str) -> dict[int, _Stream]:
    # Entities could make a short text unfold into gigabytes.
    if "<!" in xml:
        raise ValueError("its XML has a document type or a comment")
    streams = {}
    for node in ElementTree.fromstring(xml).iterfind("./node[@name='outInfo']/node"):
        about = {attr.get("key"): attr.text or "" for attr in node.iterfind(".//attr")}
        number = int(node.get("name", ""))
        width, height = (int(about.get(key, "0")) for key in ("sizeX", "sizeY"))
        kind = about.get("typeIdentifier", "")
        if kind == "EVTS" and not (0 < width < 1 << 15 and 0 < height < 1 << 15):
            raise ValueError(f"stream {number} is {width}x{height} pixels")
        name = about.get("source", "").split("_")[0] or "AEDAT4"
        streams[number] = _Stream(number, kind, Sensor(name, width, height))
    return streams


def _packets(file: EventFile, at: int, end: int, streams: dict[int, _Stream]) -> dict[int, list[_Packet]]:
    """Packets of the streams of events by number of the stream; the others are counted."""
    packets: dict[int, list[_Packet]] = {number: [] for number, stream in streams.items() if stream.kind == "EVTS"}
    while at < end:
        number, size = _PACKET.unpack_from(file.data, at) if at + _PACKET.size <= end else (0, end)
        if size < 0 or number not in streams:
            # Where the next packet starts, only this one could say.
            fault = f": the packet at byte {at:,} is of stream {number} and {size:,} bytes"
            file.skip_damage("damaged bytes", end - at, fault)
            break
        if at + _PACKET.size + size > end:
            file.skip_incomplete("packet", at, end)
            break
        body = at + _PACKET.size
        if number in packets:
            packets[number].append(_Packet(at, file.data[body : body + size]))
        else:
            file.skip(_KINDS.get(streams[number].kind, "other packet"))
        at = body + size
    return packets


def _event_stream(streams: dict[int, _Stream], filled: set[int], name: str) -> _Stream:
    found = [stream for stream in streams.values() if stream.kind == "EVTS"]
    if not found:
        raise UserError(f"{name} has no stream of events: record one, or remove the file")
    if len(filled) > 1:
        listed = ", ".join(map(str, sorted(filled)))
        raise UserError(f"{name} holds events of several streams ({listed}): write each into a file of its own")
    return next((stream for stream in found if stream.number in filled), found[0])


def _decode(
    packets: list[_Packet],
    compression: int,
    stream: _Stream,
    file: EventFile,
    claim: Callable[[int], None],
) -> tuple[list[NDArray[Any]], list[int]]:
    """Events of every packet, and where in the file the packet begins; `claim` refuses what unpacks to too much."""
    decoder = _decoder()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.aedat4"
        try:
            parts = _run(decoder, path, packets, compression, stream, claim)
            return parts, [packet.at for packet in packets]
        except _DamagedError:
            parts, starts = [], []
        for packet in packets:  # to find out which
            try:
                parts += _run(decoder, path, [packet], compression, stream, claim)
                starts.append(packet.at)
            except _DamagedError as error:
                fault = f": the packet at byte {packet.at:,} does not decode ({error})"
                file.skip_damage("damaged packet", 1, fault)
            claim(_UNPACKED * sum(len(part) for part in parts))
    return parts, starts


class _DamagedError(Exception):
    """A packet does not decode."""


def _decoder() -> Any:
    with optional("AEDAT4 files need", "the package aedat", "events"):
        from aedat import Decoder
    return Decoder


def _run(
    decoder: Any,
    path: Path,
    packets: list[_Packet],
    compression: int,
    stream: _Stream,
    claim: Callable[[int], None],
) -> list[NDArray[Any]]:
    """Decoded packets; _DamagedError if one does not decode."""
    parts = [_made_header(compression, stream)]
    for packet in packets:
        _check_packet(packet.body, compression, claim)
        parts += [_PACKET.pack(stream.number, len(packet.body)), packet.body]
    path.write_bytes(b"".join(parts))
    events: list[NDArray[Any]] = []
    unpacked = 0
    try:
        for packet in decoder(path):  # one at a time, so that no more than one is in memory before it is counted
            theirs = packet["events"]
            unpacked += _UNPACKED * len(theirs)
            claim(unpacked)
            mine = np.empty(len(theirs), dtype=_EVENT)
            for key in ("t", "x", "y", "on"):
                mine[key] = theirs[key]
            events.append(mine)
    except (UserError, MemoryError):
        raise
    # A panic of the decoder is not an Exception.
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise _DamagedError(" ".join(str(error).split())) from None
    if len(events) != len(packets):
        raise _DamagedError(f"{len(events)} of {len(packets)} packets are there")
    return events


def _check_packet(body: bytes, compression: int, claim: Callable[[int], None]) -> None:
    """Refuse a packet before it is unpacked: _DamagedError where its blocks do not fit together, else as `claim`."""
    try:
        try:
            claim(most_unpacked(body, compression))
        except UserError:  # the sizes of blocks alone may overstate it
            claim(most_unpacked(body, compression, exact=True))
    except UserError:
        raise
    except ValueError as error:
        raise _DamagedError(str(error)) from None


def _made_header(compression: int, stream: _Stream) -> bytes:
    """Header that names one stream of events and whose packets go to the end of the file."""
    where = f"/mainloop/Recorder/outInfo/{stream.number}/"
    xml = (
        '<dv version="2.0"><node name="outInfo" path="/mainloop/Recorder/outInfo/">'
        f'<node name="{stream.number}" path="{where}">'
        f'<attr key="compression" type="string">{_COMPRESSIONS[compression]}</attr>'
        '<attr key="typeIdentifier" type="string">EVTS</attr>'
        f'<node name="info" path="{where}info/">'
        f'<attr key="sizeX" type="int">{stream.sensor.width}</attr>'
        f'<attr key="sizeY" type="int">{stream.sensor.height}</attr>'
        "</node></node></node></dv>"
    ).encode()
    # Root, identifier, slots of the table (size, size of the table, where its three fields are), the table, the text.
    table = struct.pack("<I4s6x5HiiIqI", 24, b"IOHE", 10, 20, 4, 12, 8, 10, compression, 12, -1, len(xml)) + xml
    table += bytes(4 - len(table) % 4)
    return MAGIC + b"\r\n" + struct.pack("<I", len(table)) + table
