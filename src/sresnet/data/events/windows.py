"""Recordings cut into windows, each of which becomes a clip, and what lies in none of them."""

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sresnet.config import added_later, check_types
from sresnet.data.events.parts import Parts, between
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
    span: tuple[int, int]
    """(start, end) in microseconds, end excluded: of a window of time; or from its first event to its last."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A recording in windows."""

    windows: tuple[Window, ...]
    unused: int
    """Events that are in none of them."""
    few: int
    """Windows that were left out, as they have fewer events than are asked for."""


def cut(recording: Parts, config: WindowConfig, *, whole: Parts | None = None) -> Cut:
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
    if config.seconds:
        found = _by_time(recording, config, recording if whole is None else whole)
    elif config.events:
        found = _by_count(recording, config)
    else:
        found = [Window(first=0, end=len(recording), span=(recording.first, recording.last + 1))]
    kept = tuple(each for each in found if each.end - each.first >= config.least_events)
    used = behind = 0
    for each in kept:  # neither their firsts nor their ends ever fall
        used += max(0, each.end - max(each.first, behind))
        behind = max(behind, each.end)
    return Cut(windows=kept, unused=len(recording) - used, few=len(found) - len(kept))


def _by_time(recording: Parts, config: WindowConfig, whole: Parts) -> list[Window]:
    """Windows of equal time that hold events of `recording`, which is all or a part of `whole`."""
    length = max(1, round(1e6 * config.seconds))
    step = max(1, round(length * config.stride))
    origin = whole.first if config.origin == "first" else 0
    least = (whole.first - origin) // step
    most = max(least, (whole.last + 1 - origin - length) // step)
    # From event to event, not from window to window: between two events may lie fifty years of empty ones.
    begun = np.zeros(0, np.int64)
    for part in recording:
        numbers = (part.t - origin) // step
        begun = np.concatenate([begun, numbers[np.flatnonzero(np.diff(numbers, prepend=numbers[:1] - 1))]])
    numbers = np.unique(begun[:, None] - np.arange(-(-length // step)))
    starts = origin + numbers[(numbers >= least) & (numbers <= most)] * step
    # Of an event that lies at or behind an edge, as many come before as there are before the edge in all parts.
    bounds = np.zeros((2, len(starts)), np.int64)
    for part in recording:
        bounds += np.searchsorted(part.t, [starts, starts + length])
    firsts, ends = bounds.tolist()
    found = zip(starts.tolist(), firsts, ends, strict=True)
    return [Window(first=first, end=end, span=(start, start + length)) for start, first, end in found if end > first]


def _by_count(recording: Parts, config: WindowConfig) -> list[Window]:
    """Windows of equal numbers of events."""
    length = min(config.events, len(recording))
    firsts = np.arange(0, len(recording) - length + 1, max(1, round(config.events * config.stride)))
    wanted = np.stack([firsts, firsts + length - 1])
    times, behind = np.zeros(wanted.shape, np.int64), 0
    for part in recording:
        here = (wanted >= behind) & (wanted < behind + len(part))
        times[here] = part.t[wanted[here] - behind]
        behind += len(part)
    found = zip(firsts.tolist(), times[0].tolist(), times[1].tolist(), strict=True)
    return [Window(first=first, end=first + length, span=(start, last + 1)) for first, start, last in found]


def in_windows(recording: Parts, windows: Sequence[Window]) -> Iterator[Iterator[Recording]]:
    """The events of each window in parts; those of one are to be gone through before the next window is asked for.

    One pass over the recording. Of windows that overlap, what the next one needs is kept in memory.

    Args:
        windows: neither their first events nor their ends ever fall.
    """
    coming, at = iter(recording), 0
    kept: list[tuple[int, Recording]] = []  # parts that the next window needs, and the index of the first event of each

    def events_of(window: Window, needed: int) -> Iterator[Recording]:
        nonlocal at, kept
        waiting, kept = deque(kept), []
        while waiting or at < window.end:
            if waiting:
                start, part = waiting.popleft()
            else:
                start, part = at, next(coming)
                at += len(part)
            if start + len(part) > needed:
                kept.append((start, part))
            low, high = max(0, window.first - start), min(len(part), window.end - start)
            if low < high:
                yield between(part, low, high)

    for window, following in itertools.zip_longest(windows, windows[1:]):
        yield events_of(window, len(recording) if following is None else following.first)
    for _ in coming:  # to its end, where a file that has changed is noticed
        pass
