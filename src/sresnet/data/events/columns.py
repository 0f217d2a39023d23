"""The common part of all readers: what is left out of a file, and its blocks of events -> checked recordings."""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sresnet.data.events.chips import Sensor
from sresnet.data.events.recording import Recording
from sresnet.errors import UserError
from sresnet.files import Content
from sresnet.limits import MEMORY_LIMIT, check_claim

BLOCK = 1 << 16
"""Records that are decoded at once: so few that they stay in the processor's cache between passes."""


# While blocks are put together, their events are in memory twice.
_EVENT_BYTES = 2 * 13


@dataclass(frozen=True, kw_only=True)
class ReadConfig:
    """How event files are read; UserError for a number that no stream has."""

    damaged: Literal["error", "skip"] = "error"
    """error: refuse a damaged file; skip: leave out as little as possible of what is damaged, and count it."""
    chip: str = ""
    """Camera, such as DAVIS240, or size, such as 640x480, where the files should not decide."""
    event_stream: int = -1
    """Number of the stream of events, where an AEDAT 4.0 file has several; it means nothing to others."""
    memory_limit: float = MEMORY_LIMIT
    """Gigabytes that a file may claim, whatever its length; one that claims more is refused. Raise it for files that
    you trust."""

    def __post_init__(self) -> None:
        if self.damaged not in ("error", "skip"):
            raise UserError(f"damaged {self.damaged!r} is unknown: choose from error, skip")
        if self.event_stream < -1:
            raise UserError(
                f"event-stream {self.event_stream} is no number of a stream: give 0 or more, or leave it out"
            )


@dataclass(frozen=True)
class EventFile:
    """A file that is being read, and what of it is left out."""

    data: Content
    name: str
    """For messages."""
    config: ReadConfig = ReadConfig()
    skipped: dict[str, int] = field(default_factory=dict)
    """What was left out, by kind."""

    def skip(self, kind: str, count: int = 1) -> None:
        """Leave out so many of a kind."""
        if count:
            self.skipped[kind] = self.skipped.get(kind, 0) + count

    def skip_damage(self, kind: str, count: int, fault: str, cure: str = "get the file again") -> None:
        """Leave out damage; where that is not wanted, UserError with the file, its `fault` and a cure."""
        if self.config.damaged == "error":
            raise UserError(f"{self.name}{fault}: {cure}, or leave out what is damaged (damaged skip)")
        self.skip(kind, count)

    def skip_incomplete(self, kind: str, at: int, end: int | None = None) -> None:
        """Likewise for a record or packet that begins at byte `at` and is cut off at `end`, the file's by default."""
        end = len(self.data) if end is None else end
        self.skip_damage(
            f"incomplete {kind}", 1, f" ends at byte {end:,}, inside the {kind} that starts at byte {at:,}"
        )

    def records(self, at: int, size: int, kind: str = "record") -> Iterator[tuple[int, bytes]]:
        """(first byte, bytes) of up to BLOCK whole records of `size` bytes from byte `at` on.

        The last of the file may be incomplete; that is said when the others have been had.
        """
        end = at + max(0, len(self.data) - at) // size * size
        for start in range(at, end, BLOCK * size):
            yield start, self.data[start : min(start + BLOCK * size, end)]
        if end < len(self.data):
            self.skip_incomplete(kind, end)


@dataclass(frozen=True, kw_only=True)
class Block:
    """Some polarity events in the order of the file, unchecked; until the next block is read."""

    t: NDArray[Any]
    """Microseconds [events] as the file says, whole numbers of a clock that may have wrapped."""
    x: NDArray[np.uint16]
    """Column [events], 0 at the left; the sensor's width or more where it is off the sensor."""
    y: NDArray[np.uint16]
    """Row [events], 0 at the top; likewise."""
    on: NDArray[np.bool_]
    """Polarity [events]."""
    offset: Callable[[int], int] | None
    """Byte of the file at which the event of an index of this block begins; None: nobody knows."""

    def place(self, index: int) -> str:
        """Where that is, for messages."""
        return f" at byte {self.offset(index):,}" if self.offset else ""


@dataclass(frozen=True, kw_only=True)
class Events:
    """A file whose header has been read, and how its events are."""

    file: EventFile
    blocks: Callable[[EventFile], Iterator[Block]]
    """Reads the events from the first to the last; what is left out is counted in the file that it is given."""
    sensors: tuple[Sensor, ...]
    """The sensor; or, where the file does not say it, those that it may be, each one larger than the one before."""
    wraps: tuple[int, ...] = ()
    """Values at which the clock of this format starts again from 0."""
    most: int = 0
    """Events that the file holds at most; 0: not known beforehand, as a few bytes can be many."""
    clock: str = "microseconds of the camera's clock, not shifted"
    """What the times are."""
    form: str = ""
    """Which of `read.FORMATS` it is."""


def finish(events: Events) -> Recording:
    """The recording: every address on the sensor, time never falling.

    A step back in time from the last 16th of a clock's range into the first is a wrap of the clock, after which time
    goes on. Any other step back is damage: the fewest events that must go are left out. A file that does not name its
    sensor has the smallest that holds 99 of 100 events.

    Raises:
        UserError: no events, or so many in so short a file that they would take too much memory; and, unless damage is
            to be left out, an address off the sensor or a step back in time.
    """
    scan = _Scan(events, events.sensors[-1])
    columns = _Columns(events.most)
    for block in scan.blocks():
        if not events.most:
            count = columns.count + len(block.t)
            claimed, length, limit = _EVENT_BYTES * count, len(scan.file.data), scan.file.config.memory_limit
            check_claim(scan.file.name, f"{count:,} events", claimed, length, limit)
        columns.add(block)
    sensor = scan.likely_sensor()
    if sensor != scan.sensor and scan.beyond(sensor):
        return finish(replace(events, sensors=(sensor,), file=replace(events.file, skipped={})))
    t, x, y, on = columns.whole()
    _check_some(len(t), scan.file)
    if scan.disordered:
        in_order = _longest_in_order(t)
        scan.file.skip("back in time", len(t) - len(in_order))
        t, x, y, on = t[in_order], x[in_order], y[in_order], on[in_order]
    return _recording((t, x, y, on), sensor, scan.file.skipped)


def finish_in_chunks(events: Events, count: int) -> Iterator[Recording]:
    """What `finish` gives, `count` events at a time, the last with the rest; the same errors, when they are reached.

    Only so many are in memory. Where the file does not name its sensor, or damage is to be left out, it is read twice,
    and where time goes back in it, which events have to go can only be said of all together: then they are in memory.
    What else the file held stands with the events that it was found with.
    """
    if len(events.sensors) > 1 or events.file.config.damaged == "skip":
        scan = _Scan(events, events.sensors[-1])
        for _ in scan.blocks():
            pass
        sensor = scan.likely_sensor()
        if scan.disordered:
            yield from _cut(finish(replace(events, sensors=(sensor,))), count)
            return
        events = replace(events, sensors=(sensor,))
    scan = _Scan(events, events.sensors[0])
    said: dict[str, int] = {}

    def left_out() -> dict[str, int]:
        """What was left out since the last time."""
        new = {kind: number - said.get(kind, 0) for kind, number in scan.file.skipped.items()}
        said.update(scan.file.skipped)
        return {kind: number for kind, number in new.items() if number}

    waiting = _Columns(0)
    for block in scan.blocks():
        waiting.add(block)
        # One more than a chunk is there before it goes, so that the last has what follows the last event.
        while waiting.count > count:
            yield _recording(waiting.take(count), scan.sensor, left_out())
    _check_some(scan.kept, scan.file)
    yield _recording(waiting.whole(), scan.sensor, left_out())


def _cut(recording: Recording, count: int) -> Iterator[Recording]:
    """A recording in parts; what was left out stands with the last."""
    for start in range(0, len(recording), count):
        part = slice(start, start + count)
        t, x, y, on = recording.t[part], recording.x[part], recording.y[part], recording.on[part]
        skipped = recording.skipped if start + count >= len(recording) else {}
        yield replace(recording, t=t, x=x, y=y, on=on, skipped=skipped)


def _recording(columns: "_Arrays", sensor: Sensor, skipped: dict[str, int]) -> Recording:
    t, x, y, on = columns
    width, height = sensor.width, sensor.height
    return Recording(t=t, x=x, y=y, on=on, width=width, height=height, sensor=sensor.name, skipped=skipped)


def _check_some(count: int, file: EventFile) -> None:
    if not count:
        listed = ", ".join(f"{count:,} x {kind}" for kind, count in file.skipped.items())
        raise UserError(f"{file.name} holds no events{f' (but {listed})' if listed else ''}: remove it or get it again")


_Arrays = tuple[NDArray[np.int64], NDArray[np.uint16], NDArray[np.uint16], NDArray[np.bool_]]


class _Columns:
    """Events that are gathered block by block; into arrays for `most` events where that many are known of."""

    def __init__(self, most: int) -> None:
        self.count = 0
        self._parts: list[_Arrays] = []
        self._room = _empty(most) if most else None

    def add(self, block: Block) -> None:
        """Copy the events of a block."""
        start, self.count = self.count, self.count + len(block.t)
        if self._room is not None:
            t, x, y, on = self._room
            part = slice(start, self.count)
            t[part], x[part], y[part], on[part] = block.t, block.x, block.y, block.on
        elif len(block.t):
            self._parts.append((block.t.astype(np.int64), block.x.copy(), block.y.copy(), block.on.copy()))

    def take(self, count: int) -> _Arrays:
        """The first `count` events, which are here no longer."""
        t, x, y, on = self.whole()
        self._parts, self.count = [(t[count:], x[count:], y[count:], on[count:])], len(t) - count
        return t[:count], x[:count], y[:count], on[:count]

    def whole(self) -> _Arrays:
        """All of them."""
        if self._room is not None:
            t, x, y, on = self._room
            if self.count == len(t):
                return t, x, y, on
            return t[: self.count].copy(), x[: self.count].copy(), y[: self.count].copy(), on[: self.count].copy()
        if len(self._parts) == 1:
            return self._parts[0]
        t, x, y, on = _empty(self.count)
        at = 0
        for part in self._parts:
            end = at + len(part[0])
            t[at:end], x[at:end], y[at:end], on[at:end] = part
            at = end
        return t, x, y, on


def _empty(count: int) -> _Arrays:
    coordinate = np.uint16
    return np.empty(count, np.int64), np.empty(count, coordinate), np.empty(count, coordinate), np.empty(count, bool)


_NONE = np.empty(0, np.intp)


class _Scan:
    """One pass over the events of a file, in which addresses and times are checked."""

    def __init__(self, events: Events, sensor: Sensor) -> None:
        self.file = replace(events.file, skipped={})
        self.sensor = sensor
        self.disordered = False
        """Whether time goes back, other than by a wrap of the clock."""
        self.kept = 0
        """Events on the sensor."""
        self._events = events
        self._read = 0
        self._inside = [0] * len(events.sensors)
        self._last: int | None = None
        self._added = 0

    def blocks(self) -> Iterator[Block]:
        """Events on the sensor, their clock's wraps undone; UserError for damage, unless it is to be left out."""
        for block in self._events.blocks(self.file):
            if len(block.t):
                checked = self._in_time(self._on_sensor(block))
                self._read += len(block.t)
                self.kept += len(checked.t)
                yield checked

    def likely_sensor(self) -> Sensor:
        """The first of the sensors that holds 99 of 100 events, else the last."""
        pairs = zip(self._events.sensors, self._inside, strict=True)
        return next((each for each, inside in pairs if inside >= 0.99 * self._read), self._events.sensors[-1])

    def beyond(self, sensor: Sensor) -> int:
        """Events that are not on one of the sensors."""
        return self._read - self._inside[self._events.sensors.index(sensor)]

    def _on_sensor(self, block: Block) -> Block:
        right, bottom = int(block.x.max()), int(block.y.max())
        for index, each in enumerate(self._events.sensors):
            if right < each.width and bottom < each.height:
                self._inside[index] += len(block.t)
            elif each != self._events.sensors[-1]:
                self._inside[index] += int(np.count_nonzero((block.x < each.width) & (block.y < each.height)))
        sensor = self.sensor
        if right < sensor.width and bottom < sensor.height:
            return block
        inside: NDArray[np.bool_] = (block.x < sensor.width) & (block.y < sensor.height)
        index = int(np.argmin(inside))
        self.file.skip_damage(
            "off the sensor",
            int(np.count_nonzero(~inside)),
            f": the address of event {self._read + index:,}{block.place(index)} is off the sensor "
            f"({sensor.name}, {sensor.width}x{sensor.height})",
            *([f"check --chip {self.file.config.chip}, which says so"] if self.file.config.chip else []),
        )
        # The offset stays that of the whole block: it is asked for where damage is refused, and nothing is left out.
        return replace(block, t=block.t[inside], x=block.x[inside], y=block.y[inside], on=block.on[inside])

    def _in_time(self, block: Block) -> Block:
        t = block.t
        if not len(t):
            return block
        last, self._last = self._last, int(t[-1])
        falls = t[1:] < t[:-1]
        # Where there is none, as nearly always, it is not searched for.
        back = np.flatnonzero(falls) + 1 if falls.any() else _NONE
        if last is not None and int(t[0]) < last:
            back = np.concatenate([[0], back])
        if not back.size:
            return replace(block, t=t.astype(np.int64) + self._added) if self._added else block
        t = t.astype(np.int64)
        before, after = t[back - 1], t[back]
        if back[0] == 0 and last is not None:
            before[0] = last
        period = np.zeros(len(back), dtype=np.int64)
        for candidate in self._events.wraps:
            edge = candidate // 16
            period[(before >= candidate - edge) & (before < candidate) & (after < edge)] = candidate
        added = np.zeros(len(t), dtype=np.int64)
        added[back] = period
        added = self._added + np.cumsum(added)
        self._added = int(added[-1])
        if not period.all():
            which = int(np.argmin(period > 0))
            # Where damage is refused, all addresses were right: the index is one of the file.
            index = int(back[which])
            self.file.skip_damage(
                "back in time",
                0,
                f": time goes back from {before[which]:,} to {after[which]:,} microseconds at event "
                f"{self._read + index:,}{block.place(index).replace(' at', ',')}",
            )
            self.disordered = True
        return replace(block, t=t + added)


def _longest_in_order(t: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of the longest non-decreasing subsequence, by patience sorting (Fredman 1975), in n log n."""
    ends: list[int] = []  # the smallest last value of a subsequence of each length
    where: list[int] = []  # its index
    previous = np.empty(len(t), dtype=np.int64)
    for index, value in enumerate(t.tolist()):
        length = bisect_right(ends, value)
        previous[index] = where[length - 1] if length else -1
        ends[length : length + 1] = [value]
        where[length : length + 1] = [index]
    kept = np.empty(len(ends), dtype=np.int64)
    index = where[-1] if where else -1
    for at in range(len(ends) - 1, -1, -1):
        kept[at] = index
        index = int(previous[index])
    return kept
