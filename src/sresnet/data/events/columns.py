"""The common part of all readers: what is left out of a file, and its columns -> a checked Recording."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from sresnet.data.events.chips import Sensor
from sresnet.data.events.recording import Recording
from sresnet.errors import UserError

Damaged = Literal["error", "skip"]
"""What to do with damage: refuse the file, or leave out as little as possible and count it."""

D = TypeVar("D", bound=np.generic)


@dataclass(frozen=True)
class EventFile:
    """A file that is being read, and what of it is left out."""

    data: bytes
    name: str
    """For messages."""
    damaged: Damaged = "error"
    skipped: dict[str, int] = field(default_factory=dict)
    """What was left out, by kind."""

    def skip(self, kind: str, count: int = 1) -> None:
        """Leave out so many of a kind."""
        if count:
            self.skipped[kind] = self.skipped.get(kind, 0) + count

    def skip_damage(self, kind: str, count: int, fault: str) -> None:
        """Leave out damage; where that is not wanted, UserError with the file and its `fault`."""
        if self.damaged == "error":
            raise UserError(f"{self.name}{fault}: get the file again, or leave out what is damaged (damaged skip)")
        self.skip(kind, count)

    def skip_incomplete(self, kind: str, at: int, end: int | None = None) -> None:
        """Likewise for a record or packet that begins at byte `at` and is cut off at `end`, the file's by default."""
        end = len(self.data) if end is None else end
        self.skip_damage(
            f"incomplete {kind}", 1, f" ends at byte {end:,}, inside the {kind} that starts at byte {at:,}"
        )

    def records(self, at: int, size: int) -> int:
        """How many records of `size` bytes there are from byte `at` on; the last may be incomplete."""
        count = (len(self.data) - at) // size
        if at + count * size < len(self.data):
            self.skip_incomplete("record", at + count * size)
        return count


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Polarity events in the order of the file, unchecked."""

    file: EventFile
    t: NDArray[np.int64]
    """Microseconds [events] as the file says, a clock that may have wrapped."""
    x: NDArray[np.uint16]
    """Column [events], 0 at the left; the sensor's width or more where it is off the sensor."""
    y: NDArray[np.uint16]
    """Row [events], 0 at the top; likewise."""
    on: NDArray[np.bool_]
    """Polarity [events]."""
    sensor: Sensor
    offset: Callable[[int], int]
    """Byte of the file at which the event of an index begins."""
    wraps: tuple[int, ...] = ()
    """Values at which clocks of this format start again from 0."""


def finish(columns: Columns) -> Recording:
    """The recording: every address on the sensor, time never falling.

    A step back in time from the last 16th of a clock's range into the first is a wrap of the clock, after which time
    goes on. Any other step back is damage.

    Raises:
        UserError: no events; and, unless damage is to be left out, an address off the sensor or a step back in time.
    """
    file, inside = columns.file, _on_sensor(columns)
    t = columns.t if inside is None else columns.t[inside]
    in_order = None
    if len(t) and (back := 1 + np.flatnonzero(t[1:] < t[:-1])).size:
        t, back = _unwrap(t, back, columns.wraps)
        if back.size:
            in_order = _longest_in_order(t)
            # Where damage is refused, all addresses were right: the index is one of the file.
            index, count = int(back[0]), len(t)
            file.skip_damage(
                "back in time",
                count - len(in_order),
                f": time goes back from {int(columns.t[index - 1]):,} to {int(columns.t[index]):,} microseconds "
                f"at event {index:,}, byte {columns.offset(index):,}",
            )
            t = t[in_order]
    if not len(t):
        listed = ", ".join(f"{count:,} x {kind}" for kind, count in file.skipped.items())
        raise UserError(f"{file.name} holds no events{f' (but {listed})' if listed else ''}: remove it or get it again")

    def kept(column: NDArray[D]) -> NDArray[D]:
        column = column if inside is None else column[inside]
        return column if in_order is None else column[in_order]

    return Recording(
        t=t,
        x=kept(columns.x),
        y=kept(columns.y),
        on=kept(columns.on),
        width=columns.sensor.width,
        height=columns.sensor.height,
        sensor=columns.sensor.name,
        skipped=file.skipped,
    )


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


def _on_sensor(columns: Columns) -> NDArray[np.bool_] | None:
    """Which events are on the sensor; None: all."""
    if not len(columns.t):
        return None
    sensor = columns.sensor
    if int(columns.x.max()) < sensor.width and int(columns.y.max()) < sensor.height:
        return None
    inside: NDArray[np.bool_] = (columns.x < sensor.width) & (columns.y < sensor.height)
    index = int(np.argmin(inside))
    columns.file.skip_damage(
        "off the sensor",
        int(np.count_nonzero(~inside)),
        f": the address of event {index:,} at byte {columns.offset(index):,} is off the sensor "
        f"({sensor.name}, {sensor.width}x{sensor.height})",
    )
    return inside


def _unwrap(
    t: NDArray[np.int64], back: NDArray[np.int64], periods: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Time without wraps of the clock, and the indices of the other steps back."""
    before, after = t[back - 1], t[back]
    period = np.zeros(len(back), dtype=np.int64)
    for candidate in periods:
        edge = candidate // 16
        period[(before >= candidate - edge) & (before < candidate) & (after < edge)] = candidate
    wrapped = period > 0
    if not wrapped.any():
        return t, back
    added = np.zeros(len(t), dtype=np.int64)
    added[back[wrapped]] = period[wrapped]
    return t + np.cumsum(added), back[~wrapped]
