"""Events in columns of numbers that some program has stored: which column is what, and in which units."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sresnet.data.events.chips import Sensor, given_chip
from sresnet.data.events.columns import Block, EventFile, Events
from sresnet.errors import UserError

SPELLINGS = {
    "t": ("t", "ts", "timestamp", "timestamps", "time", "times"),
    "x": ("x", "xs", "x_pos", "x_position", "col", "column"),
    "y": ("y", "ys", "y_pos", "y_position", "row"),
    "p": ("p", "ps", "pol", "pols", "polarity", "polarities", "on", "sign"),
}
"""Names of each column, in any case."""

_SENSORS = tuple(
    Sensor("sensor of unknown name", width, height)
    for width, height in ((128, 128), (240, 180), (304, 240), (346, 260), (640, 480), (1280, 720), (2048, 2048))
)
_NO_PLACE = np.iinfo(np.uint16).max
_LONGEST_SECONDS = 1e6
"""Times with fractions that span more than that, eleven days if they were seconds, are microseconds."""

Columns = dict[str, NDArray[Any]]
"""t, x, y and p of some events, in whatever types the file has."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns of a file that can be gone through more than once."""

    passes: Callable[[], Iterator[Columns]]
    """Goes through all events from the first, some at a time."""
    count: int
    """Events that are in the file at most; 0: not known, as it is compressed."""
    width: int = 0
    """Of the sensor; 0: the file does not say it."""
    height: int = 0
    sensor: str = ""
    offset: int = 0
    """Microseconds that are added to the times."""
    clock: str = ""
    """What the times are, where the format says it; "": whole numbers are microseconds, see `table_events`."""


def table_events(file: EventFile, table: Table) -> Events:
    """The events of a table, as any reader gives them.

    Whole numbers are microseconds, whatever type they are stored in. Numbers with fractions are seconds, or
    microseconds if they span more than a million. ON is 1 or true; OFF is 0, -1, false, or the largest number of an
    unsigned type, which is what -1 becomes in one. A table without a size is of the smallest usual sensor that holds
    99 of 100 events.

    Raises:
        UserError: while it is read, another polarity, a coordinate or time that is no number, or as `finish`.
    """
    unit, clock = ("us", table.clock) if table.clock else _unit(table)

    def blocks(file: EventFile) -> Iterator[Block]:
        read = 0
        for columns in table.passes():
            block, count = _block(file, columns, unit, table.offset, read), len(columns["t"])
            read += count
            yield block

    sensors: tuple[Sensor, ...] = _SENSORS
    if file.config.chip:
        sensors = (given_chip(file.config.chip, table.sensor or "sensor"),)
    elif table.width and table.height:
        sensors = (Sensor(table.sensor or "sensor", table.width, table.height),)
    return Events(file=file, blocks=blocks, sensors=sensors, most=table.count, clock=clock)


def columns_named(names: Mapping[str, Any], where: str) -> dict[str, str]:
    """The name in `names` of each column; UserError where one is missing or there twice."""
    found = {}
    for column, spellings in SPELLINGS.items():
        fitting = [name for name in names if name.lower() in spellings]
        if len(fitting) != 1:
            several = ", ".join(f"{name[:40]!a}" for name in fitting[:12])
            fault = f"has several columns of {column}: {several}" if fitting else f"has no column of {column}"
            listed = ", ".join(f"{name[:40]!a}" for name in list(names)[:12]) or "none"
            raise UserError(
                f"{where} {fault} (its names: {listed}): store events as t, x, y and p, in microseconds, pixels, 0 or 1"
            )
        found[column] = fitting[0]
    return found


def columns_by_content(rows: Callable[[], Iterator[NDArray[Any]]], width: int, where: str) -> dict[str, int]:
    """Which column of an array [events, width] without names is what, as far as its numbers say.

    The polarity is the one column of nothing but -1, 0 and 1, both ON and OFF among them; the time the one of the
    others that never falls; the two that are left are x and y in this order. UserError where that is not clear.
    """
    rising, signs = np.ones(width, dtype=bool), np.ones(width, dtype=bool)
    low, high = np.full(width, np.inf), np.full(width, -np.inf)
    last = None
    for part in rows():
        if not len(part):
            continue
        part = part.astype(np.float64)
        before = part if last is None else np.concatenate([last, part])
        rising &= (before[1:] >= before[:-1]).all(0)
        signs &= np.isin(part, (-1, 0, 1)).all(0)
        low, high, last = np.minimum(low, part.min(0)), np.maximum(high, part.max(0)), part[-1:]
    signs &= (high > 0) & (low < high)
    # A column of one number throughout, such as the -1 of jAER's exports, says nothing.
    useful = [index for index in range(width) if low[index] < high[index]]
    polarity = [index for index in useful if signs[index]]
    time = [index for index in useful if rising[index] and index not in polarity]
    places = [index for index in useful if index not in (*polarity[:1], *time[:1])]
    if len(polarity) != 1 or len(time) != 1 or len(places) != 2:
        raise UserError(
            f"{where} is an array of {width} columns without names, and its numbers do not tell which is t, x, y and "
            "p: store it as a structured array, or as an .npz file, with these names"
        )
    return {"t": time[0], "x": places[0], "y": places[1], "p": polarity[0]}


TAKEN = "taken for microseconds"
"""In what is said of times whose unit nothing tells."""


def _unit(table: Table) -> tuple[str, str]:
    """("s" or "us", what that is taken from) of the times of a table."""
    whole, low, high = True, np.inf, -np.inf
    for columns in table.passes():
        t = columns["t"]
        if t.dtype.kind != "f":
            kinds = {"m": "durations", "M": "dates"}
            return "us", f"{kinds[t.dtype.kind]}" if t.dtype.kind in kinds else f"whole numbers, {TAKEN}"
        t = t[np.isfinite(t)]
        if len(t):
            whole = whole and bool((t == np.floor(t)).all())
            low, high = min(low, float(t.min())), max(high, float(t.max()))
    if whole:
        return "us", f"whole numbers in floating point, {TAKEN}"
    if high - low > _LONGEST_SECONDS:
        return "us", f"fractions that span more than {_LONGEST_SECONDS:,.0f}, {TAKEN}"
    return "s", "fractions, taken for seconds"


def _block(file: EventFile, columns: Columns, unit: str, offset: int, read: int) -> Block:
    """Columns as the events of a reader; what cannot be is left out."""
    t, possible = _microseconds(columns["t"], unit)
    possible &= np.abs(t) < (1 << 62) - abs(offset)
    t += offset
    (x, whole_x), (y, whole_y) = _pixels(columns["x"]), _pixels(columns["y"])
    on, known = _on(columns["p"])
    keep: NDArray[np.bool_] = np.ones(len(t), dtype=bool)
    for kind, right, column in (
        ("impossible time", possible, "t"),
        ("coordinate that is no whole number", whole_x, "x"),
        ("coordinate that is no whole number", whole_y, "y"),
        ("impossible polarity", known, "p"),
    ):
        wrong = keep & ~right
        if wrong.any():
            index = int(np.argmax(wrong))
            fault = f": event {read + index:,} has {column} {columns[column][index]} ({kind})"
            file.skip_damage(kind, int(np.count_nonzero(wrong)), fault)
            keep &= right
    if not keep.all():
        t, x, y, on = t[keep], x[keep], y[keep], on[keep]
    return Block(t=t, x=x, y=y, on=on, offset=None)


def _microseconds(t: NDArray[Any], unit: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(whole microseconds, which of them can be)."""
    if t.dtype.kind in "mM":
        kind = "timedelta64[us]" if t.dtype.kind == "m" else "datetime64[us]"
        return t.astype(kind).astype(np.int64), ~np.isnat(t)
    if t.dtype.kind == "f":
        scaled = np.rint(t.astype(np.float64) * (1e6 if unit == "s" else 1))
        possible = np.abs(scaled) < 1 << 62  # false for what is no number
        return np.where(possible, scaled, 0).astype(np.int64), possible
    if t.dtype.kind not in "iu":
        return np.zeros(len(t), dtype=np.int64), np.zeros(len(t), dtype=bool)
    if t.dtype.kind == "u":
        possible = t < 1 << 62
        return np.where(possible, t, 0).astype(np.int64), possible
    whole = t.astype(np.int64)
    possible = (whole > -(1 << 62)) & (whole < 1 << 62)
    return np.where(possible, whole, 0), possible


def _pixels(place: NDArray[Any]) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    """(columns or rows, which are whole numbers); what no sensor has becomes the largest number."""
    if place.dtype.kind not in "iuf":
        return np.zeros(len(place), dtype=np.uint16), np.zeros(len(place), dtype=bool)
    whole = place == np.floor(place) if place.dtype.kind == "f" else np.ones(len(place), dtype=bool)
    inside = whole & (place >= 0) & (place < _NO_PLACE)
    return np.where(inside, place, _NO_PLACE).astype(np.uint16), whole


def _on(polarity: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(which are ON, which are a polarity at all)."""
    if polarity.dtype.kind == "b":
        return polarity.astype(bool), np.ones(len(polarity), dtype=bool)
    if polarity.dtype.kind not in "iuf":
        return np.zeros(len(polarity), dtype=bool), np.zeros(len(polarity), dtype=bool)
    on = polarity == 1
    minus_one = np.iinfo(polarity.dtype).max if polarity.dtype.kind == "u" else -1
    return on, on | (polarity == 0) | (polarity == minus_one)


def size_said(text: object) -> tuple[int, int]:
    """Width and height in a text such as 1280x720; zeros for another."""
    found = re.fullmatch(r"\s*(\d{1,5})x(\d{1,5})\s*", str(text))
    return (int(found[1]), int(found[2])) if found else (0, 0)
