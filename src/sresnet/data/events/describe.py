"""Facts about recordings."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sresnet.data.events.columns import ReadConfig, finish_in_chunks
from sresnet.data.events.read import CHUNK, EXTENSIONS, opened_recording
from sresnet.data.events.recording_list import read_recording_list
from sresnet.data.events.tables import TAKEN
from sresnet.data.samples import listed
from sresnet.data.tree import LeftOut, files_below
from sresnet.errors import UserError
from sresnet.limits import check_claim

_PLAIN = ReadConfig()

SEVERAL = "parts of several classes"
"""The class of a recording of which a list names such."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """One recording."""

    name: str
    format: str
    """One of the names in `read.FORMATS`."""
    clock: str
    """What its times are."""
    sensor: str
    width: int
    height: int
    events: int
    first: int
    """Time of the first event in microseconds."""
    last: int
    """Time of the last one."""
    on: int
    """ON events; the others are OFF."""
    active_pixels: int
    """Pixels with at least one event."""
    busiest_pixel: tuple[int, int]
    """Column and row of the pixel with most events, the uppermost if there are several."""
    busiest_events: int
    """Its events."""
    skipped: dict[str, int] = field(default_factory=dict)
    """What else the file held, by kind."""
    coarse: bool = False
    """Nothing tells the unit of its times, and all are whole thousands apart: they may be nanoseconds."""

    @property
    def seconds(self) -> float:
        """Time from the first event to the last."""
        return (self.last - self.first) / 1e6

    @property
    def rate(self) -> float:
        """Events per second; infinite for events that are all at one time."""
        return self.events / self.seconds if self.last > self.first else float("inf")


@dataclass(frozen=True, kw_only=True)
class SetFacts:
    """Many recordings."""

    by_class: dict[str, int]
    """Recordings by class, in order of appearance."""
    sensors: dict[str, int]
    """Recordings by sensor and size, such as {"DVS128, 128x128": 1000}."""
    events: tuple[int, ...]
    """Events of each recording, rising."""
    seconds: tuple[float, ...]
    """Duration of each recording, rising."""
    skipped: dict[str, int]
    """What else the files held, by kind."""
    unreadable: tuple[str, ...]
    """Why files could not be read, one reason each."""
    coarse: int = 0
    """Recordings whose times may be nanoseconds, see `Facts.coarse`."""

    @property
    def recordings(self) -> int:
        """Those that could be read."""
        return len(self.events)


def describe_file(path: Path, config: ReadConfig = _PLAIN) -> Facts:
    """Facts of a file, read in chunks; errors as `read_recording`, and where its sensor claims too many pixels."""
    first, chunk = None, None
    events = on = 0
    skipped: Counter[str] = Counter()
    with opened_recording(path, config) as opened:
        coarse = TAKEN in opened.clock
        for chunk in finish_in_chunks(opened, CHUNK):
            if first is None:
                what = f"a sensor of {chunk.width}x{chunk.height} pixels"
                pixels = chunk.width * chunk.height
                check_claim(str(path), what, 24 * pixels, 8 * len(chunk), config.memory_limit)
                first, counts = int(chunk.t[0]), np.zeros(pixels, dtype=np.int64)
            np.add(counts, np.bincount(chunk.y.astype(np.int64) * chunk.width + chunk.x, minlength=pixels), out=counts)
            # A camera's clock counts microseconds: as nanoseconds, and rarely otherwise, they are whole thousands.
            coarse = coarse and not ((chunk.t - first) % 1000).any()
            events, on = events + len(chunk), on + int(np.count_nonzero(chunk.on))
            skipped.update(chunk.skipped)
    assert chunk is not None
    assert first is not None
    busiest = int(counts.argmax())
    return Facts(
        name=str(path),
        format=opened.form,
        clock=opened.clock,
        sensor=chunk.sensor,
        width=chunk.width,
        height=chunk.height,
        events=events,
        first=first,
        last=int(chunk.t[-1]),
        on=on,
        active_pixels=int(np.count_nonzero(counts)),
        busiest_pixel=(busiest % chunk.width, busiest // chunk.width),
        busiest_events=int(counts[busiest]),
        skipped=dict(skipped),
        coarse=coarse and int(chunk.t[-1]) > first,
    )


def find_recordings(folder: Path) -> tuple[list[tuple[str, Path]], list[str]]:
    """(class, file) of every recording below a folder, by name, and notes on other files.

    The class is the path of its folder. Hidden files and folders are ignored, links are followed. UserError for none.
    """
    left = LeftOut()
    recordings = left.sorted_out(files_below(folder), EXTENSIONS)
    if not recordings:
        raise UserError(
            f"{folder} holds no recordings ({', '.join(EXTENSIONS)}) and no pictures: give a folder that does"
        )
    found = [(str(path.relative_to(folder).parent), path) for path in recordings]
    return found, left.said(folder, "recordings")


def listed_recordings(path: Path) -> tuple[list[tuple[str, Path]], list[str]]:
    """(class, file) of every recording that a list names, and notes on the list; errors as `read_recording_list`.

    The class is `SEVERAL` where a file has parts of different ones.
    """
    found = read_recording_list(path)
    classes: dict[Path, set[str]] = {}
    for row in found.rows:
        classes.setdefault(row.path, set()).add(row.class_name)
    by_class, by_part, by_group = (
        Counter(getattr(row, field) for row in found.rows) for field in ("class_name", "part", "group")
    )
    notes = []
    for what, counts in (("class", by_class), ("split", by_part), ("group", by_group)):
        if set(counts) != {""}:
            each = listed([f"{name} {count:,}" for name, count in sorted(counts.items())])
            notes.append(f"{len(found.rows):,} rows by {what}: {each}")
    recordings = [(names.pop() if len(names) == 1 else SEVERAL, file) for file, names in classes.items()]
    if found.divided and found.grouped:
        notes.append("the column split divides them; with --data.split by-group it is not used, and group divides them")
    return recordings, [*notes, *found.notes]


def describe_set(found: Iterable[tuple[str, Path]], config: ReadConfig = _PLAIN) -> SetFacts:
    """Facts of the recordings that `found` names (class, file), each read in chunks, and which cannot be read."""
    by_class: Counter[str] = Counter()
    sensors: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    events, seconds, unreadable = [], [], []
    coarse = 0
    for label, path in found:
        try:
            facts = describe_file(path, config)
        except UserError as error:
            unreadable.append(str(error))
            continue
        by_class[label] += 1
        sensors[f"{facts.sensor}, {facts.width}x{facts.height}"] += 1
        skipped.update(facts.skipped)
        coarse += facts.coarse
        events.append(facts.events)
        seconds.append(facts.seconds)
    return SetFacts(
        by_class=dict(by_class),
        sensors=dict(sensors),
        events=tuple(sorted(events)),
        seconds=tuple(sorted(seconds)),
        skipped=dict(skipped),
        unreadable=tuple(unreadable),
        coarse=coarse,
    )
