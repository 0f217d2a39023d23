"""The last step of every reader: columns as a file holds them -> a Recording that keeps its promises."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from sresnet.data.events.recording import Recording
from sresnet.errors import UserError

Damaged = Literal["error", "skip"]
"""What to do with damage: refuse the file, or leave out the least that makes the rest a recording, and count it."""

D = TypeVar("D", bound=np.generic)

CURE = "get the file again, or leave out what is damaged (damaged skip)"


@dataclass(kw_only=True)
class Columns:
    """Polarity events in the order of the file, unchecked."""

    name: str
    """File, for messages."""
    t: NDArray[np.int64]
    """Microseconds [events] as the file says, a clock that may have wrapped."""
    x: NDArray[np.uint16]
    """Column [events], 0 at the left; `width` or more where it is off the sensor."""
    y: NDArray[np.uint16]
    """Row [events], 0 at the top; `height` or more where it is off the sensor."""
    on: NDArray[np.bool_]
    """Polarity [events]."""
    width: int
    height: int
    sensor: str
    offset: Callable[[int], int]
    """Byte of the file at which the event of an index begins."""
    wraps: tuple[int, ...] = ()
    """Values at which clocks of this format start again from 0."""
    skipped: dict[str, int] = field(default_factory=dict)


def finish(columns: Columns, damaged: Damaged) -> Recording:
    """The recording: every address on the sensor, time never falling.

    A step back in time is a wrap of the clock where it leads from the last 16th of a clock's range into its first;
    the time then goes on from there. Any other step back is damage.

    Raises:
        UserError: no events; and, unless damage is to be left out, an address off the sensor or a step back in time.
    """
    on_sensor = _on_sensor(columns, damaged)
    t = columns.t if on_sensor is None else columns.t[on_sensor]
    in_order = None
    if len(t) and (back := 1 + np.flatnonzero(t[1:] < t[:-1])).size:
        t, back = _unwrap(t, back, columns.wraps)
        if back.size:
            if damaged == "error":
                raise _backwards(columns, int(back[0]))
            in_order = longest_in_order(t)
            t = t[in_order]
            columns.skipped["back in time"] = len(columns.t) - columns.skipped.get("off the sensor", 0) - len(t)
    if not len(t):
        raise UserError(f"{columns.name} holds no events{_but(columns.skipped)}: remove it or get it again")
    return Recording(
        t=t,
        x=_pick(columns.x, on_sensor, in_order),
        y=_pick(columns.y, on_sensor, in_order),
        on=_pick(columns.on, on_sensor, in_order),
        width=columns.width,
        height=columns.height,
        sensor=columns.sensor,
        skipped=columns.skipped,
    )


def count_incomplete(name: str, kind: str, at: int, end: int, skipped: dict[str, int], damaged: Damaged) -> None:
    """Note a record or packet that starts at byte `at` of a file of `end` bytes and is not all there.

    Raises:
        UserError: damage is not to be left out.
    """
    if damaged == "error":
        raise UserError(f"{name} ends at byte {end:,}, inside the {kind} that starts at byte {at:,}: {CURE}")
    skipped[f"incomplete {kind}"] = 1


def longest_in_order(t: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of the most values that can stay for the rest never to fall, so that the fewest are left out.

    The longest non-decreasing subsequence, by patience sorting (Fredman 1975), in n log n.
    """
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


def _on_sensor(columns: Columns, damaged: Damaged) -> NDArray[np.bool_] | None:
    """Which events are on the sensor; None: all."""
    if not len(columns.t):
        return None
    if int(columns.x.max()) < columns.width and int(columns.y.max()) < columns.height:
        return None
    inside: NDArray[np.bool_] = (columns.x < columns.width) & (columns.y < columns.height)
    if damaged == "error":
        index = int(np.argmin(inside))
        raise UserError(
            f"{columns.name}: the address of event {index:,} at byte {columns.offset(index):,} is off the sensor "
            f"({columns.sensor}, {columns.width}x{columns.height}): {CURE}"
        )
    columns.skipped["off the sensor"] = int(len(inside) - inside.sum())
    return inside


def _unwrap(
    t: NDArray[np.int64], back: NDArray[np.int64], periods: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Time that goes on where the clock wrapped, and the indices of the steps back that are left."""
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


def _backwards(columns: Columns, index: int) -> UserError:
    # Addresses were all right, or this would not be reached: indices are those of the file.
    before, after = int(columns.t[index - 1]), int(columns.t[index])
    return UserError(
        f"{columns.name}: time goes back from {before:,} to {after:,} microseconds at event {index:,}, byte "
        f"{columns.offset(index):,}: {CURE}"
    )


def _pick(column: NDArray[D], inside: NDArray[np.bool_] | None, in_order: NDArray[np.int64] | None) -> NDArray[D]:
    column = column if inside is None else column[inside]
    return column if in_order is None else column[in_order]


def _but(skipped: dict[str, int]) -> str:
    listed = ", ".join(f"{count:,} x {kind}" for kind, count in skipped.items() if count)
    return f" (but {listed})" if listed else ""
