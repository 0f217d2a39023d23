"""Recordings cut into windows, each of which becomes a clip, and what lies in none of them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sresnet.config import added_later, check_types
from sresnet.data.events.recording import Recording
from sresnet.errors import UserError

_LEAST_STRIDE, _MOST_STRIDE = 0.01, 1000.0
"""In lengths of a window."""


@dataclass(frozen=True, kw_only=True)
class WindowConfig:
    """How recordings are cut into windows; UserError for a field out of range, or two kinds of length."""

    seconds: float = added_later(0.0)
    """Recordings are cut into windows of this length, each a sample; 0: a recording is a sample."""
    events: int = added_later(0)
    """Or into windows of so many events."""
    stride: float = added_later(1.0)
    """From the start of a window to that of the next, in lengths of a window. 1: one behind the other; 0.5: each
    shares its second half with the next; 2: every other one is left out."""
    origin: Literal["first", "zero"] = added_later("first")
    """Where windows of `seconds` are counted from. first: the recording's first event; zero: time 0 of its clock."""
    least_events: int = added_later(0)
    """Windows, or recordings that are not cut, with fewer events are left out and counted."""

    def __post_init__(self) -> None:
        check_types(self)
        if self.seconds and not 1e-6 <= self.seconds < 1e6:
            raise UserError(
                f"windows.seconds {self.seconds} is not a length of time: try 0.5, or 0 for no windows of time"
            )
        for name in ("events", "least_events"):
            if getattr(self, name) < 0:
                raise UserError(f"windows.{name} {getattr(self, name)} is less than 0: it counts events")
        if self.seconds and self.events:
            raise UserError(
                f"windows are of {self.seconds:g} seconds and of {self.events} events: choose one, and 0 for the other"
            )
        if not _LEAST_STRIDE <= self.stride <= _MOST_STRIDE:
            raise UserError(
                f"windows.stride {self.stride:g} is outside {_LEAST_STRIDE:g} to {_MOST_STRIDE:g}: it is in lengths of "
                "a window, 0.5 overlaps them by half"
            )

    @property
    def cut(self) -> bool:
        """Whether recordings are divided at all."""
        return bool(self.seconds or self.events)


@dataclass(frozen=True, kw_only=True)
class Window:
    """A part of a recording."""

    first: int
    """Index of its first event."""
    end: int
    """That behind its last one."""
    span: tuple[int, int] | None
    """(start, end) of a window of time in microseconds, end excluded; None: from its first event to its last."""

    def of(self, recording: Recording) -> Recording:
        """Its events."""
        return between(recording, self.first, self.end)


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A recording in windows."""

    windows: tuple[Window, ...]
    unused: int
    """Events that are in none of them."""
    few: int
    """Windows that were left out, as they have fewer events than are asked for."""


def between(recording: Recording, first: int, end: int) -> Recording:
    """The events of a recording from one index up to another, excluded."""
    part = slice(first, end)
    return replace(recording, t=recording.t[part], x=recording.x[part], y=recording.y[part], on=recording.on[part])


def cut(recording: Recording, config: WindowConfig, *, whole: Recording | None = None) -> Cut:
    """Cut a recording into windows.

    Window k of length L and stride s, S = max(1, round(s * L)), holds the events with k * S <= t - t0 < k * S + L in
    microseconds, or those with the indices k * S up to k * S + L. Of time, t0 is that of the first event, or 0, where
    the first window is the last that begins no later than the first event. A window without events is none. One that
    does not end by the last event is not used, unless it is the only one: a recording that is shorter than a window is
    one window.

    Args:
        whole: the recording before filters left events out of it, whose first and last event count here; by default
            the recording itself. Filters do not move windows of time.
    """
    if not len(recording):
        return Cut(windows=(), unused=0, few=0)
    if config.seconds:
        found = list(_by_time(recording.t, config, recording.t if whole is None else whole.t))
    elif config.events:
        found = list(_by_count(len(recording), config))
    else:
        found = [Window(first=0, end=len(recording), span=None)]
    kept = tuple(each for each in found if each.end - each.first >= config.least_events)
    used = behind = 0
    for each in kept:  # neither their firsts nor their ends ever fall
        used += max(0, each.end - max(each.first, behind))
        behind = max(behind, each.end)
    return Cut(windows=kept, unused=len(recording) - used, few=len(found) - len(kept))


def _by_time(t: NDArray[np.int64], config: WindowConfig, whole: NDArray[np.int64]) -> Iterator[Window]:
    """Windows of equal time that hold events `t` of `whole`."""
    length = max(1, round(1e6 * config.seconds))
    step = max(1, round(length * config.stride))
    origin = int(whole[0]) if config.origin == "first" else 0
    least = (int(whole[0]) - origin) // step
    most = max(least, (int(whole[-1]) + 1 - origin - length) // step)
    # From event to event, not from window to window: between two events may lie fifty years of empty ones.
    begun = (t - origin) // step
    begun = begun[np.flatnonzero(np.diff(begun, prepend=begun[0] - 1))]
    earlier = np.arange(-(-length // step))
    numbers = begun if len(earlier) == 1 else np.unique(begun[:, None] - earlier)
    starts = origin + numbers[(numbers >= least) & (numbers <= most)] * step
    bounds = np.searchsorted(t, [starts, starts + length])
    for start, first, end in zip(starts.tolist(), *bounds.tolist(), strict=True):
        if end > first:
            yield Window(first=first, end=end, span=(start, start + length))


def _by_count(events: int, config: WindowConfig) -> Iterator[Window]:
    """Windows of equal numbers of events."""
    length = min(config.events, events)
    for first in range(0, events - length + 1, max(1, round(config.events * config.stride))):
        yield Window(first=first, end=first + length, span=None)
