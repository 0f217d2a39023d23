"""A recording in parts that are read again for each pass over them, so that it need not fit into memory."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from sresnet.data.events.recording import Recording
from sresnet.errors import UserError

HELD = 1 << 20
"""Events of a recording that is held in memory from the first pass on."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A recording with at least one event, a part after the other: each iteration goes through it from the start.

    Parts without events are passed over. UserError while it is gone through, where its file has changed since the first
    pass.
    """

    passes: Callable[[], Iterator[Recording]]
    """Begins a pass over the events in the order of time."""
    first: int
    """Time of the first event in microseconds."""
    last: int
    """That of the last one."""
    events: int
    width: int
    height: int
    sensor: str
    skipped: dict[str, int] = field(default_factory=dict)
    """As of a `Recording`, of all parts."""

    def __len__(self) -> int:
        return self.events

    def __iter__(self) -> Iterator[Recording]:
        count, last = 0, self.first
        for part in self.passes():
            if not len(part):
                continue
            count, last = count + len(part), int(part.t[-1])
            if count <= self.events:
                yield part
        if (count, last) != (self.events, self.last):
            raise UserError(
                f"a recording of {self.events:,} events had {count:,} when it was read again: leave its file alone, "
                "and run the same command again"
            )

    @property
    def seconds(self) -> float:
        """Time from the first event to the last."""
        return (self.last - self.first) / 1e6

    def whole(self) -> Recording:
        """All events in memory."""
        parts = list(self)
        return replace(joined(parts[0], parts), skipped=self.skipped)


def held(recording: Recording) -> Parts:
    """A recording that is in memory, with at least one event, as its only part."""
    return Parts(
        passes=lambda: iter((recording,)),
        first=int(recording.t[0]),
        last=int(recording.t[-1]),
        events=len(recording),
        width=recording.width,
        height=recording.height,
        sensor=recording.sensor,
        skipped=recording.skipped,
    )


def gone_through(passes: Callable[[], Iterator[Recording]]) -> Parts | None:
    """What `passes` gives, by one pass over it; None without events. What is short (`HELD`) is held in memory."""
    kept: list[Recording] | None = []
    first = last = None
    events = 0
    skipped: Counter[str] = Counter()
    sensor: Recording | None = None
    for part in passes():
        skipped.update(part.skipped)
        events += len(part)
        sensor = sensor or part
        if len(part):
            first, last = int(part.t[0]) if first is None else first, int(part.t[-1])
        if kept is not None:
            kept = [*kept, part] if events <= HELD else None
    if sensor is None or first is None or last is None:
        return None
    if kept is not None:
        return held(replace(joined(sensor, kept), skipped=dict(skipped)))
    return Parts(
        passes=passes,
        first=first,
        last=last,
        events=events,
        width=sensor.width,
        height=sensor.height,
        sensor=sensor.sensor,
        skipped=dict(skipped),
    )


def between(recording: Recording, first: int, end: int) -> Recording:
    """The events of a recording from one index up to another, excluded."""
    part = slice(first, end)
    return replace(recording, t=recording.t[part], x=recording.x[part], y=recording.y[part], on=recording.on[part])


def in_time(recording: Recording, start: int, end: int) -> Recording:
    """The events of a recording from one microsecond up to another, excluded."""
    return between(recording, *np.searchsorted(recording.t, (start, end)).tolist())


def joined(sensor: Recording, parts: Iterable[Recording]) -> Recording:
    """Recordings of one sensor, that of the first argument, one behind the other."""
    parts = list(parts)
    if len(parts) == 1:
        return parts[0]
    return replace(
        sensor,
        t=np.concatenate([each.t for each in parts]),
        x=np.concatenate([each.x for each in parts]),
        y=np.concatenate([each.y for each in parts]),
        on=np.concatenate([each.on for each in parts]),
    )
