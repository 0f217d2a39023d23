"""Filters of recordings: events that are noise are left out before frames are made.

Each is a function of the events that came before (`hot`: of the whole recording), gives back which events stay, and
keeps their order. They are computed for 65,536 events at a time, sorted by pixel: no event is visited by itself, and
memory beyond a number for each event does not grow with the recording.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sresnet.config import check_types
from sresnet.data.events.parts import Parts, gone_through, in_time, joined
from sresnet.data.events.recording import Recording
from sresnet.errors import UserError
from sresnet.limits import MEMORY_LIMIT, check_claim

_BITS = 16
_CHUNK = 1 << _BITS
"""Events that are sorted at a time; their numbers fit beside a pixel's into int64."""

_NEVER = -(1 << 62)
"""Before all times, which have 62 bits."""

_LONGEST = 1e9
"""Milliseconds, eleven days; a longer time would not be one between events that belong together."""

_HOT_PERCENTILE = 99
"""Of the counts of pixels with events, what hot pixels are measured by."""


@dataclass(frozen=True, kw_only=True)
class FilterConfig:
    """Which events of a recording are left out as noise, before frames are made; UserError for a field out of range."""

    hot_pixels: float = 0.0
    """Leave out pixels with more than this many times the events that 99 of 100 pixels with events stay below, such as
    5; 0: none."""
    refractory_ms: float = 0.0
    """Leave out an event that comes less than this after the last one of its pixel that stayed; 0: none."""
    background_ms: float = 0.0
    """Leave out an event without an event of one of the eight pixels around it within this time before; 0: none."""

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("refractory_ms", "background_ms"):
            if not 0 <= getattr(self, name) <= _LONGEST:
                raise UserError(f"{name} {getattr(self, name)} is no time: give milliseconds, such as 5, or 0 for off")
        if self.hot_pixels and not self.hot_pixels >= 1:
            raise UserError(f"hot_pixels {self.hot_pixels} is below 1: give a multiple, such as 5, or 0 for off")

    @property
    def active(self) -> bool:
        """Whether any event can be left out."""
        return bool(self.hot_pixels or self.refractory_ms or self.background_ms)


def check_sensor(sensor: Recording | Parts, config: FilterConfig, name: str, memory_limit: float) -> None:
    """Raise UserError where filters would take too much memory for so large a sensor, which a file claims."""
    pixels = sensor.width * sensor.height
    claimed = (24 if config.hot_pixels else 9) * pixels * config.active
    what = f"filters on a sensor of {sensor.width}x{sensor.height} pixels"
    check_claim(name, what, claimed, 8 * len(sensor), memory_limit)


def left_by(
    recording: Parts, config: FilterConfig, name: str, *, memory_limit: float = MEMORY_LIMIT
) -> tuple[Parts, dict[str, int]]:
    """What the filters leave of a recording, and how many events each has left out, by its field's name.

    Args:
        name: of the recording, for messages.

    Raises:
        UserError: nothing is left of it, or its sensor claims too many pixels.
    """
    if not config.active:
        return recording, {}
    check_sensor(recording, config, name, memory_limit)
    hot = hot_pixels_of(recording, config.hot_pixels) if config.hot_pixels else None
    removed = SliceFilters(config, hot).removed

    def passes() -> Iterator[Recording]:
        filters = SliceFilters(config, hot)
        for part in recording:
            yield filters.left(part)
        removed.update(filters.removed)

    kept = gone_through(passes)
    if kept is None:
        parts = ", ".join(f"{count:,} by {field}" for field, count in removed.items())
        raise UserError(f"{name}: the filters leave none of its {len(recording):,} events ({parts}): loosen them")
    return replace(kept, skipped=recording.skipped), removed


def filtered(recording: Recording, config: FilterConfig) -> tuple[Recording, dict[str, int]]:
    """The recording without what the filters leave out, and how many events each has, by its field's name.

    Hot pixels go first, as their events would support those of their neighbours, then what comes too soon, then the
    background. A recording that nothing is left of is given back as one without events.
    """
    filters = SliceFilters(config, hot_pixels_of([recording], config.hot_pixels) if config.hot_pixels else None)
    return filters.left(recording), filters.removed


class SliceFilters:
    """Filters of events that come in slices, in order: what stays is what stays of all of them together.

    Args:
        hot: pixels whose events are left out, bool [height, width]; with `config.hot_pixels`.
    """

    def __init__(self, config: FilterConfig, hot: NDArray[np.bool_] | None) -> None:
        self._config, self._hot = config, hot
        fields = ("hot_pixels", "refractory_ms", "background_ms")
        self.removed = {name: 0 for name in fields if getattr(config, name)}
        """Events that each has left out, by its field's name."""
        self._before: dict[str, Recording] = {}
        # Field of a filter -> the latest events that it was given, or for `refractory_ms` of those that it left.

    def left(self, part: Recording) -> Recording:
        """The events of the next slice that stay."""
        if self._hot is not None:
            part = self._counted("hot_pixels", part, picked(part, ~np.asarray(self._hot, np.bool_)[part.y, part.x]))
        for name, keep_of in (("refractory_ms", _rested), ("background_ms", _supported)):
            milliseconds: float = getattr(self._config, name)
            if milliseconds and len(part):
                part = self._counted(name, part, self._left(name, keep_of, milliseconds, part))
        return part

    def _left(
        self, name: str, keep_of: Callable[[Recording, float], NDArray[np.bool_]], milliseconds: float, part: Recording
    ) -> Recording:
        """The events of a slice that one filter leaves."""
        before = self._before.get(name)
        given = part if before is None else joined(part, [before, part])
        # Neither filter looks ahead, so of what was before stays what stays of it alone.
        keep = keep_of(given, milliseconds)
        since = int(part.t[-1]) - _microseconds(milliseconds)
        latest = in_time(picked(given, keep) if name == "refractory_ms" else given, since, int(part.t[-1]) + 1)
        # A copy: a view would keep all events of a long slice in memory.
        self._before[name] = picked(latest, np.arange(len(latest)))
        behind = len(given) - len(part)
        return picked(part, keep[behind:])

    def _counted(self, name: str, given: Recording, left: Recording) -> Recording:
        """What a filter has left of what it was given, which is counted."""
        self.removed[name] = self.removed.get(name, 0) + len(given) - len(left)
        return left


def picked(events: Recording, which: NDArray[Any]) -> Recording:
    """The events at an index each, or where a mask is true."""
    return replace(events, t=events.t[which], x=events.x[which], y=events.y[which], on=events.on[which])


def removed_said(removed: dict[str, int], events: int) -> str:
    """How many of so many events each filter has left out, as a line."""
    each = ", ".join(f"{count:,} by {field}" for field, count in removed.items())
    return f"filters left out {sum(removed.values()):,} of {events:,} events: {each}"


def hot_pixels_of(recording: Iterable[Recording], times: float) -> NDArray[np.bool_]:
    """Which pixels of a recording, given in parts, are hot, bool [height, width].

    With n_p the number of events of pixel p, of both polarities, and Q the 99th percentile of all n_p above 0 (the
    smallest count that 99 % of them do not exceed), a pixel is hot if n_p > times * Q. A pixel that a moving edge
    passes often has neighbours that it passes too, and these are among those that Q is of; a hot pixel is alone.

    As dvs_tools (C. Scheerlinck) it goes by counts of the whole recording; the bound there is the mean and five
    standard deviations, which hot pixels themselves lift.
    """
    counts: Any = 0
    shape = (0, 0)
    for part in recording:
        shape = (part.height, part.width)
        pixel = part.y.astype(np.int32) * part.width + part.x
        counts = counts + np.bincount(pixel, minlength=part.width * part.height)
    counts = np.asarray(counts).reshape(shape)
    with_events = counts[counts > 0]
    if not len(with_events):
        return np.zeros(shape, np.bool_)
    hot: NDArray[np.bool_] = counts > times * np.percentile(with_events, _HOT_PERCENTILE, method="inverted_cdf")
    return hot


def _rested(recording: Recording, milliseconds: float) -> NDArray[np.bool_]:
    """Which events come no sooner than `milliseconds` after the last event of their pixel that stays, bool [events].

    t_i stays if t_i - t_j >= dt, where j is the last event before i at the same pixel, of any polarity, that stays; the
    first event of a pixel stays. So does a pixel whose comparators rest after each event, its refractory period
    (Lichtsteiner, Posch, Delbruck, IEEE Journal of Solid-State Circuits 43, 2008). What it leaves it leaves again.
    """
    microseconds = _microseconds(milliseconds)
    keep = np.zeros(len(recording), np.bool_)
    last = np.full(recording.width * recording.height, _NEVER)
    for part, pixel in _chunks(recording, recording.width, 0):
        t = recording.t[part]
        none = len(t)
        order = _by_pixel(pixel)
        # Of each event, the first one of its pixel that may follow it: the place in `order`, `none` where none does.
        soonest = np.searchsorted(t, t + microseconds)
        following = order.first_from(order.pixel, soonest[order.number], none)
        # Of each pixel, the first one that may follow its last one of earlier parts.
        heads = order.heads
        rested = np.searchsorted(t, last[order.pixel[heads]] + microseconds)
        reached = order.first_from(order.pixel[heads], rested, none)
        stays = np.zeros(none + 1, np.bool_)
        stays[reached] = True
        # What a chain of such steps reaches, in steps of twice the length each time.
        jump = np.append(following, none)
        while (jump[:-1] < none).any():
            stays[jump[np.flatnonzero(stays)]] = True
            jump = jump[jump]
        kept = np.sort(order.number[stays[:-1]])
        keep[part.start + kept] = True
        last[pixel[kept]] = t[kept]  # of several events of a pixel the last one is assigned
    return keep


def _supported(recording: Recording, milliseconds: float) -> NDArray[np.bool_]:
    """Which events have an earlier one within `milliseconds` at one of the eight pixels around theirs, bool [events].

    Event i stays if there is an event j < i with t_i - t_j <= dt and max(|x_i - x_j|, |y_i - y_j|) = 1, of any
    polarity, whether or not j itself stays: noise has no neighbours, edges have. Source: T. Delbruck, Frame-free
    dynamic digital vision, 2008, and jAER's BackgroundActivityFilter. Applied again it may leave out more.
    """
    microseconds = _microseconds(milliseconds)
    keep = np.zeros(len(recording), np.bool_)
    width = recording.width + 2  # a border, so that no neighbour is on the other side of the sensor
    last = np.full(width * (recording.height + 2), _NEVER)
    around = [down * width + right for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right]
    for part, pixel in _chunks(recording, width, 1):
        t = recording.t[part]
        order = _by_pixel(pixel)
        earliest = t - microseconds
        open_ = np.arange(len(t))  # places in `order` of events that nothing supports so far
        for offset in around:
            index = order.number[open_]
            beside = order.pixel[open_] + offset
            place = order.last_before(beside, index)
            found = (place >= 0) & (order.pixel[place] == beside) & (t[order.number[place]] >= earliest[index])
            found |= last[beside] >= earliest[index]
            keep[part.start + index[found]] = True
            open_ = open_[~found]
        last[pixel] = t  # of several events of a pixel the last one is assigned
    return keep


def _microseconds(milliseconds: float) -> int:
    """At least one: times are whole microseconds."""
    return max(1, round(1000 * milliseconds))


def _chunks(recording: Recording, width: int, border: int) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """Parts of the events one after the other, and the pixel of each of theirs, on a sensor with a border."""
    for first in range(0, len(recording), _CHUNK):
        part = slice(first, min(first + _CHUNK, len(recording)))
        pixel = (recording.y[part].astype(np.int64) + border) * width
        pixel += recording.x[part]
        pixel += border
        yield part, pixel


class _ByPixel(NamedTuple):
    """Events in the order of their pixels, and in the order of time within one."""

    key: NDArray[np.int64]
    """Pixel, and behind it the event's number."""
    pixel: NDArray[np.int64]
    number: NDArray[np.int64]
    """Of the event, in the order of time."""

    @property
    def heads(self) -> NDArray[np.int64]:
        """Places of the first event of each pixel."""
        return np.flatnonzero(np.diff(self.pixel, prepend=-1))

    def first_from(self, pixel: NDArray[np.int64], index: NDArray[np.int64], none: int) -> NDArray[np.int64]:
        """Place of the first event of each pixel whose number is `index` or more; `none` where there is none.

        The pixels are in order, which makes the search fast.
        """
        # An index of `_CHUNK` carries into the pixel: the place behind its last event.
        place = np.searchsorted(self.key, (pixel << _BITS) + index)
        found = np.append(self.pixel, -1)[place]
        return np.where(found == pixel, place, none)

    def last_before(self, pixel: NDArray[np.int64], index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Place of the last event of this pixel, or of one before it, whose number is below `index`; -1 for none."""
        return np.searchsorted(self.key, (pixel << _BITS) + index) - 1


def _by_pixel(pixel: NDArray[np.int64]) -> _ByPixel:
    """The order of up to `_CHUNK` events of these pixels."""
    key = np.sort((pixel << _BITS) + np.arange(len(pixel)))
    return _ByPixel(key=key, pixel=key >> _BITS, number=key & (_CHUNK - 1))
