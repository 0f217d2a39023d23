"""Frames of a whole data set, made once and kept in a cache folder.

Two files for each data set and choice of options: the clips, [clips, T, 2, H, W] and nothing else, and a JSON file
that describes them. Counts are of one byte until the first that needs more: then all clips are widened (`_retyped`).
The second is written last, so where it exists, the first is complete. Until then the clips
have another ending, and a list beside them says which recordings they are of (`_fill`).

Clips belong to the bytes of their recordings, known by a digest. At each start the system is asked for size, times and
number of every file, and a file is read again only if these differ (`_unchanged`).

The JSON file holds a checksum of itself and of each clip. A clip's checksum is compared whenever the clip is read, and
all are compared at the start if the file of clips may have changed (`_checked`). If anything differs, the clips are
made again. Caches of earlier versions get their checksums when they are opened.

Clips are not compressed. One of DVS-CIFAR10 at 64x64, T = 50, takes 50 * 2 * 64 * 64 = 409,600 bytes, 10,000 of them
4.1 GB. docs/events.md has what zlib would save and cost (`benchmarks/events.py`).
"""

import contextlib
import hashlib
import json
import math
import os
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from sresnet.config import check_fields, check_value, to_dict
from sresnet.data.cached import (
    Note,
    NotWrittenError,
    Watch,
    append_line,
    believed,
    cache_folder,
    check_room,
    entries_of,
    list_beside,
    size_said,
    status_of,
    text_of,
    using,
    write_all,
    write_list,
)
from sresnet.data.events.chips import Sensor, sensor_from_plain
from sresnet.data.events.filters import left_by
from sresnet.data.events.frames import REAL, WIDTHS, FrameConfig, clips_of, input_scale, width_of
from sresnet.data.events.lengths import lengths_of
from sresnet.data.events.parts import Parts
from sresnet.data.events.sets import EventConfig, Listing, SplitName, list_recordings
from sresnet.data.events.source import Source
from sresnet.data.events.windows import WindowConfig, cut
from sresnet.data.stored import SampleFile
from sresnet.errors import UserError
from sresnet.files import one_at_a_time, opened_to_change, read_at, read_json, write_whole
from sresnet.limits import MEMORY_LIMIT

VERSION = 1
"""To be raised with every change of the clips that the same options give."""

ENDING = ".frames"
KIND = "sresnet frames"

MOST_STEPS = 10_000
"""Frames of a clip; the paper has up to 50."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The frames of a data set, on disk."""

    file: SampleFile
    recordings: tuple[dict[str, Any], ...]
    """In the order of the clips, each {name, class, group, content, clips, events, saturated}, {skipped: why} for one
    that could not be read, {sensor: its name} for others, {left_out: {kind: records}} for what else a file held, with
    filters {read: events, filtered: {filter: events}} for how many it had and what they have left out, of one cut
    into windows {of_events: those that were left, unused: those in no window, few: windows left out},
    {largest: count} for a largest count that is beyond a byte, and {lasts: `Lengths.plain` of its clips}, which earlier
    versions did not note."""
    class_names: tuple[str, ...]
    """Known beforehand; empty: the classes found."""
    scale: float
    """Factor on counts before a network sees them."""
    files: dict[str, str]
    """Status of each file when it was last known to hold these recordings, see `_statuses`, as text."""
    seen: int
    """When that was, nanoseconds since 1970."""
    made_now: bool
    """Whether they were not in the cache before."""
    contents: str = ""
    """Digest of recordings, their order, and how they became frames."""
    notes: tuple[str, ...] = ()
    """What was left out of the data folder, one sentence each."""
    sensor: Sensor | None = None
    """What the recordings are of; None where none of them can be read any more."""
    split: SplitName | None = None
    """How the recordings are to be divided, see `sets.Listing`; None: as configured."""


def prepare(
    config: EventConfig,
    data_dir: str,
    num_steps: int,
    *,
    cache_dir: str = "",
    watch: Watch = lambda done, total, name: None,
    note: Note = lambda line: None,
    check: Callable[[EventConfig, Sequence[Source]], None] = lambda config, sources: None,
    memory_limit: float = MEMORY_LIMIT,
) -> Prepared:
    """The frames of a data set from the cache folder, made first if they are not there.

    A second process waits for the first and uses its frames. A process that is killed leaves nothing that looks
    complete, and the next one goes on there.

    Args:
        config: data set and options; split, held-out part and augmentation do not matter here.
        cache_dir: where to keep frames; "": `cache_folder()`.
        watch: told how far it is.
        note: told how much is going to be written.
        check: called with the configuration, whose split is that of the data, and the recordings before any frame is
            made; may raise.

    Raises:
        UserError: as the reader of the data set, recordings of different sensors, or a full disk.
    """
    if num_steps < 1:
        raise UserError(f"num_steps {num_steps} is less than 1: a clip has at least one frame")
    if num_steps > MOST_STEPS:
        raise UserError(f"num_steps {num_steps} is more than {MOST_STEPS:,} frames of a clip: most would be empty")
    listing = list_recordings(config, data_dir, memory_limit=memory_limit)
    check(replace(config, split=listing.split), listing.sources)
    folder = Path(cache_dir) if cache_dir else cache_folder()
    with using(folder):
        # Before anything is read: a file that changes meanwhile has another status the next time.
        seen, files = time.time_ns(), _statuses(listing.sources)
        path = _place(folder, config, listing, num_steps, files)
        with one_at_a_time(path.with_suffix(".lock"), lambda: watch(0, len(listing.sources), "another process")):
            found = _load(path, config, listing, num_steps)
            if found is not None and not _unchanged(path, found, listing, seen, files):
                found = None
            if found is None:
                _keep_saturated(path, config)
                _fill(path, config, listing, num_steps, watch, note, memory_limit, seen, files)
                found = _load(path, config, listing, num_steps, made_now=True)
            list_beside(path).unlink(missing_ok=True)  # by which the making of frames would go on
    assert found is not None
    if found.sensor is None:  # made by an earlier version
        found = replace(found, sensor=_sensor_of(listing))
        with contextlib.suppress(UserError):
            _write_about(found.file.path, _parsed(found.file.path) | _said_of(found.sensor))
    contents = _contents(config, listing, num_steps, found)
    return replace(found, contents=contents, notes=listing.notes, split=listing.split)


def _place(folder: Path, config: EventConfig, listing: Listing, num_steps: int, files: Mapping[str, list[int]]) -> Path:
    """Where clips are kept.

    Where no count is beyond a byte, those that saturate are the same clips as those that are exact; and in an earlier
    version all saturated. Else they have a file of their own.
    """
    path = folder / f"{config.name}-{_key(config, listing, num_steps, files)}{ENDING}"
    if config.frames.counts == "exact" or config.frames.real:
        return path
    try:
        return path if _parsed(path).get("dtype", WIDTHS[0]) == WIDTHS[0] else _saturated_beside(path)
    except UserError:
        return _saturated_beside(path)


def _saturated_beside(path: Path) -> Path:
    """The file of clips that saturate."""
    return path.with_name(f"{path.stem}-saturated{ENDING}")


def _keep_saturated(path: Path, config: EventConfig) -> None:
    """Where clips of an earlier version, which saturate, are in the place of exact ones, give them a name of their own.

    A run of then goes on with them. The JSON file comes last: without it, clips are made anew.
    """
    beside = _saturated_beside(path)
    try:
        saturate = any(entry["saturated"] for entry in _parsed(path)["recordings"])
    except UserError:
        return
    if config.frames.counts == "exact" and saturate and not os.path.lexists(beside.with_suffix(".json")):
        with contextlib.suppress(OSError):
            path.replace(beside)
            path.with_suffix(".json").replace(beside.with_suffix(".json"))


def _said_of(sensor: Sensor | None) -> dict[str, Any]:
    """The field of the JSON file on the sensor, where it is known."""
    return {"sensor": sensor.plain()} if sensor else {}


def _sensor_of(listing: Listing) -> Sensor | None:
    """The sensor of the first recording that can be read."""
    for source in listing.sources:
        with contextlib.suppress(UserError):
            recording, _ = listing.read(source)
            return Sensor(recording.sensor, recording.width, recording.height)
    return None


def sources_of(path: Path) -> tuple[str, ...]:
    """The files that cached clips were made of, as far as noted; UserError where they are not clips of ours."""
    return tuple(_parsed(path).get("files", {}))


def sources_so_far(list_: Path) -> tuple[str, ...]:
    """Likewise of clips that are not all there, by their list."""
    return tuple(str(name) for each in entries_of(list_)[1:2] for name in each.get("files", ()))


def _statuses(sources: Sequence[Source]) -> dict[str, list[int]]:
    """Path of each file of recordings -> its status, as `cached.status_of`."""
    found = {}
    for path in {source.path for source in sources if source.path is not None}:
        found[str(path.resolve())] = status_of(path.stat())
    return found


def _known_now(seen: int, files: Mapping[str, list[int]]) -> dict[str, Any]:
    """Fields of the JSON file on the recordings' files."""
    return {"seen": seen, "files": {name: text_of(status) for name, status in files.items()}}


def _key(config: EventConfig, listing: Listing, num_steps: int, files: Mapping[str, list[int]]) -> str:
    """Sixteen hexadecimal digits that change with all that clips depend on; of files, with size and time of change."""
    sources = [[source.name, source.class_name, source.group] for source in listing.sources]
    given = _options(config, listing, num_steps) | {
        "sources": sources,
        "files": {path: status[:2] for path, status in files.items()},
    }
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:16]


def _unchanged(path: Path, found: Prepared, listing: Listing, seen: int, files: Mapping[str, list[int]]) -> bool:
    """Whether the clips were made of these recordings.

    A file that is not `believed` is read, and its status noted. Caches of earlier versions have no such note, so their
    recordings are read once; of those that were skipped there, nothing is known.
    """
    known = {name for name, status in files.items() if believed(found.files.get(name, ""), found.seen, status)}
    if len(known) == len(files):
        return True
    if [source.name for source in listing.sources] != [entry["name"] for entry in found.recordings]:
        return False
    for source, entry in zip(listing.sources, found.recordings, strict=True):
        if source.path is None or str(source.path.resolve()) in known:
            continue
        digest = listing.digest(source)
        if digest != (entry["content"] or entry.get("skipped_content", digest)):
            return False
        if "skipped" in entry:
            entry["skipped_content"] = digest
    with contextlib.suppress(UserError):  # a full disk: read again the next time
        _write_about(path, _parsed(path) | {"recordings": found.recordings, **_known_now(seen, files)})
    return True


def _options(config: EventConfig, listing: Listing, num_steps: int) -> dict[str, Any]:
    """What else decides the clips; digests and caches of earlier versions are of exactly this.

    How counts beyond a byte are kept makes no difference where there are none: see `_place` and `_contents`. Nor does
    what a network is shown of counts.
    """
    return (
        {
            "version": VERSION,
            "name": config.name,
            "frames": to_dict(config.frames.stored),
            "num_steps": num_steps,
            "damaged": config.damaged,
            "simulation": to_dict(config.simulation) if config.simulated else None,
            "contents": listing.contents,
        }
        | _window_options(config.windows)
        | ({"filters": to_dict(config.filters)} if config.filters.active else {})
        | _camera_options(config)
    )


def _camera_options(config: EventConfig) -> dict[str, Any]:
    """Likewise of what says which camera and stream files are of, where they do not decide."""
    chip = {"chip": config.chip} if config.chip else {}
    return chip | ({"event_stream": config.event_stream} if config.event_stream >= 0 else {})


def _window_options(config: WindowConfig) -> dict[str, Any]:
    """Likewise of windows, which once were nothing but a length of time."""
    others = {name: value for name, value in to_dict(config).items() if name != "seconds"}
    return {"window_seconds": config.seconds} | ({"windows": others} if others else {})


def _contents(config: EventConfig, listing: Listing, num_steps: int, found: Prepared) -> str:
    """Digest of what the clips are made of, whatever its place and name."""
    made_of = [[each["class"], each["content"], each["clips"], each["events"]] for each in found.recordings]
    given = _options(config, listing, num_steps) | {"recordings": made_of}
    if found.file.dtype.name in WIDTHS[1:]:
        given |= {"counts": "exact"}  # and not as in an earlier version
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()


def _load(
    path: Path, config: EventConfig, listing: Listing, num_steps: int, *, made_now: bool = False
) -> Prepared | None:
    """The result of an earlier `_fill`, or with `made_now` of the one just finished.

    None if missing or damaged, or if what was lost in them, or not, is not as `config` wants it.
    """
    try:
        about = _parsed(path)
        _check_about(about, listing, num_steps)
        dtype = about.get("dtype", WIDTHS[0])
        if config.frames.counts == "exact" and any(entry["saturated"] for entry in about["recordings"]):
            return None
        if dtype not in _types(config.frames):
            return None
        file = SampleFile(path, about["clips"], about["shape"], about.get("checksums"), dtype=dtype)
        if not made_now and not _checked(file, about):
            return None
    except UserError:
        return None
    return Prepared(
        file=file,
        recordings=tuple(about["recordings"]),
        class_names=tuple(about["class_names"]),
        scale=about["scale"],
        files=about.get("files", {}),
        seen=about.get("seen", 0),
        made_now=made_now,
        sensor=sensor_from_plain(about.get("sensor")),
    )


def _check_about(about: Mapping[str, Any], listing: Listing, num_steps: int) -> None:
    """Raise UserError where a JSON file without a checksum does not fit these recordings."""
    entries, shape = about["recordings"], about["shape"]
    if (
        len(shape) != 4
        or shape[:2] != [num_steps, 2]
        or not all(0 < side < 1 << 15 for side in shape[2:])
        or not about["scale"] > 0
        or tuple(about["class_names"]) != listing.class_names
        or sum(entry["clips"] for entry in entries) != about["clips"]
        or any(entry[count] < 0 for entry in entries for count in ("clips", "events", "saturated"))
        or [(entry["name"], entry["class"], entry["group"]) for entry in entries]
        != [(source.name, source.class_name, source.group) for source in listing.sources]
        or len(about.get("checksums", range(about["clips"]))) != about["clips"]
        or about.get("dtype", WIDTHS[0]) not in (*WIDTHS, REAL)
    ):
        raise UserError("the JSON file of a cache is damaged: the frames are made again")


def _checked(file: SampleFile, about: dict[str, Any]) -> bool:
    """Whether the clips have their checksums; noted where they had to be read for it.

    They are not read if their file is `believed`.
    """
    seen, status = time.time_ns(), status_of(os.fstat(file.descriptor))
    known, since = about.get("frames", ""), about.get("frames_seen", 0)
    if file.checksums is not None:
        if believed(known, since, status):
            return True
        if file.all_checksums() != file.checksums:
            return False
    else:
        about["checksums"] = file.checksums = file.all_checksums()
    with contextlib.suppress(UserError):  # a full disk: read again the next time
        _write_about(file.path, about | {"frames": text_of(status), "frames_seen": seen})
    return True


def _write_about(path: Path, about: Mapping[str, Any]) -> None:
    """Write the JSON file beside clips, and a checksum of it."""
    about = {name: value for name, value in about.items() if name != CHECKSUM}
    whole = about | {CHECKSUM: _checksum_of(about)}
    write_whole(path.with_suffix(".json"), (json.dumps(whole) + "\n").encode())


def _checksum_of(about: Mapping[str, Any]) -> str:
    """SHA-256 of all other fields of the JSON file."""
    rest = {name: value for name, value in about.items() if name != CHECKSUM}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


CHECKSUM = "checksum"


def _parsed(path: Path) -> dict[str, Any]:
    """The JSON file beside clips; UserError where it is missing or damaged."""
    place = path.with_suffix(".json")
    about = check_fields(
        read_json(place, LARGEST_ABOUT),
        str(place),
        {
            "clips": int,
            "shape": list[int],
            "scale": float,
            "class_names": list[str],
            "recordings": list[dict[str, Any]],
        },
        {
            "files": dict[str, str],
            "seen": int,
            "checksums": list[int],
            "frames": str,
            "frames_seen": int,
            "dtype": str,
            "sensor": dict[str, Any],
            CHECKSUM: str,
        },
    )
    if CHECKSUM in about and about[CHECKSUM] != _checksum_of(about):
        raise UserError(f"{place} is not as it was written: it is damaged")
    for entry in about["recordings"]:  # tens of thousands
        if not all(isinstance(entry.get(name), kind) for name, kind in ENTRY.items()):
            raise UserError(f"{place} does not say what a recording is: it is damaged")
    return about


ENTRY = {"name": str, "class": str, "group": str, "content": str, "clips": int, "events": int, "saturated": int}
"""Fields of every recording in the JSON file."""

LARGEST_ABOUT = 1 << 28
"""Bytes that the JSON file may have: some 200 for each recording."""


def _fill(
    path: Path,
    config: EventConfig,
    listing: Listing,
    num_steps: int,
    watch: Watch,
    note: Note,
    memory_limit: float,
    seen: int,
    files: Mapping[str, list[int]],
) -> None:
    """Make the frames of every recording and write them, with what is known of the files; errors as `prepare`.

    Clips go to a file of their own and what they are made of to a list beside it, a line for each recording, so that
    the next process goes on where one was killed, or found the disk full. Recordings that cannot be used end both.

    Counts are of one byte. A recording that needs wider ones has all clips before it widened, and is read again.
    """
    with contextlib.suppress(OSError):
        path.with_suffix(".part").unlink()  # left by an earlier version that was killed
    begun, list_ = _begun_beside(path), list_beside(path)
    if list_.exists() and not os.path.lexists(begun) and path.is_file() and not path.is_symlink():
        path.replace(begun)  # it had its name, and was killed before its JSON file was there
    with opened_to_change(begun) as clips:
        lines, dtype = _lines_that_hold(begun, config, listing, files)
        known = _known_now(seen, files)
        about: dict[str, Any] = {}
        while not about:
            write_list(list_, (_head(dtype), known, *lines))
            with opened_to_change(list_) as descriptor:
                filler = _Filler(path, config, listing, num_steps, note, memory_limit, clips, descriptor, lines, dtype)
                try:
                    for done, source in enumerate(listing.sources):
                        watch(done, len(listing.sources), source.name)
                        if done >= len(lines):
                            filler.add(source)
                    about = filler.about() | known
                except _OtherTypeError as needed:
                    lines, dtype = _retyped(clips, begun, filler.lines, dtype, needed.dtype), needed.dtype
                except NotWrittenError:
                    raise
                except UserError:
                    for each in (list_, begun):
                        with contextlib.suppress(OSError):
                            each.unlink()
                    raise
        os.fsync(clips)
    begun.replace(path)
    about |= {"frames_seen": time.time_ns(), "frames": text_of(status_of(path.stat()))}
    _write_about(path, about)
    watch(len(listing.sources), len(listing.sources), "")


def _begun_beside(path: Path) -> Path:
    """Where clips are written that are not all there yet."""
    return path.with_suffix(".begun")


class _OtherTypeError(Exception):
    """Counts that do not fit into the numbers of the clips so far, or need none so wide."""

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype)
        self.dtype = dtype


def _types(frames: FrameConfig) -> tuple[str, ...]:
    """What the numbers of such clips may be, at first the first."""
    if frames.real:
        return (REAL,)
    return WIDTHS if frames.counts == "exact" else WIDTHS[:1]


def _head(dtype: str) -> dict[str, Any]:
    """The first entry of the list."""
    return {"kind": KIND} | ({} if dtype == WIDTHS[0] else {"dtype": dtype})


class _Line(TypedDict):
    """A recording whose clips are written, in the list."""

    entry: dict[str, Any]
    """As in `Prepared.recordings`."""
    checksums: list[int]
    sensor: list[int]
    """Columns and rows; none where it could not be read."""
    shape: list[int]
    """Of a clip; none where there are no clips."""


def _lines_that_hold(
    begun: Path, config: EventConfig, listing: Listing, files: Mapping[str, list[int]]
) -> tuple[list[_Line], str]:
    """The beginning of the list, as far as recordings and clips are what they were, and the type of their numbers.

    The file ends where it does.
    """
    entries = entries_of(list_beside(begun))
    types = _types(config.frames)
    dtype = entries[0].get("dtype", WIDTHS[0]) if entries else types[0]
    if dtype not in types:
        entries, dtype = [], types[0]
    known: dict[str, Any] = entries[1] if len(entries) > 1 else {}
    seen, noted = known.get("seen"), known.get("files")
    if type(seen) is not int or not isinstance(noted, dict):
        seen, noted = 0, {}
    lines: list[_Line] = []
    size = 0
    for source, line in zip(listing.sources, entries[2:], strict=False):
        try:
            check_value("line", line, _Line)
            entry = line["entry"]
            if not all(isinstance(entry.get(name), kind) for name, kind in ENTRY.items()):
                break
            if (entry["name"], entry["class"], entry["group"]) != (source.name, source.class_name, source.group):
                break
            place = "" if source.path is None else str(source.path.resolve())
            if config.frames.counts == "exact" and entry["saturated"]:
                break  # of an earlier version
            content = entry["content"] or entry.get("skipped_content")
            if place and not believed(noted.get(place, ""), seen, files[place]) and listing.digest(source) != content:
                break
            count, clip_bytes = len(line["checksums"]), math.prod(line["shape"]) * np.dtype(dtype).itemsize
            if count != entry["clips"] or clip_bytes <= 0 or size % clip_bytes:
                break
            before = size // clip_bytes if count else 0
            file = SampleFile(begun, before + count, line["shape"], longer=True, dtype=dtype)
            part = memoryview(bytearray(file.sample_bytes))
            if [file.read_into(part, number) for number in range(before, before + count)] != line["checksums"]:
                break
        except UserError:
            break
        size += count * file.sample_bytes
        lines.append(_Line(**line))  # type: ignore[typeddict-item]
    os.truncate(begun, size)
    return lines, dtype


def _retyped(clips: int, begun: Path, lines: Sequence[_Line], before: str, dtype: str) -> list[_Line]:
    """Give the clips in the open file numbers of another type, and return their lines; errors as `write_all`.

    Wider clips are written from the last to the first, each to its new place: there lie clips that have been moved. A
    process that is killed leaves the first clips as the list has them, and the next one finds which of them hold.
    """
    written = [number for line in lines for number in line["checksums"]]
    shape = next((line["shape"] for line in lines if line["shape"]), [])
    old: NDArray[np.integer[Any]] = np.empty(math.prod(shape), dtype=before)
    size = old.nbytes * np.dtype(dtype).itemsize // old.itemsize
    check_room(begun.parent, len(written) * (size - old.nbytes), f"{len(written):,} clips with wider counts")
    for number in sorted(range(len(written)), reverse=size > old.nbytes):
        if read_at(clips, old.view(np.uint8).data, number * old.nbytes) != old.nbytes:
            raise NotWrittenError(f"{begun} was cut short at clip {number}: run the same command again")
        new = old.astype(dtype)
        write_all(clips, new.data, number * size, begun)
        written[number] = zlib.crc32(new.data)
    os.truncate(clips, len(written) * size)
    checksums = iter(written)
    return [_Line(**line | {"checksums": [next(checksums) for _ in line["checksums"]]}) for line in lines]


class _Filler:
    """Writes the clips of one recording after the other."""

    def __init__(
        self,
        path: Path,
        config: EventConfig,
        listing: Listing,
        num_steps: int,
        note: Note,
        memory_limit: float,
        clips: int,
        list_: int,
        lines: Sequence[_Line],
        dtype: str,
    ) -> None:
        self.path, self.config, self.listing, self.num_steps = path, config, listing, num_steps
        self.note, self.memory_limit = note, memory_limit
        self.clips, self.list = clips, list_
        self.size = os.fstat(clips).st_size
        self.lines, self.dtype = list(lines), dtype
        self.sensor = next(((each["entry"]["name"], each["sensor"]) for each in lines if each["sensor"]), None)
        self.said = False

    def add(self, source: Source) -> None:
        """Make and write the clips of a recording; errors as `prepare`."""
        entry: dict[str, Any] = {"name": source.name, "class": source.class_name, "group": source.group, "content": ""}
        if source.whole or source.span is not None:
            entry |= {"whole": source.whole, "span": list(source.span or (None, None))}
        line = _Line(entry=entry | {"clips": 0, "events": 0, "saturated": 0}, checksums=[], sensor=[], shape=[])
        entry = line["entry"]
        try:
            recording, content = self.listing.read(source)
            kept, removed = left_by(recording, self.config.filters, source.name, memory_limit=self.memory_limit)
        except UserError as error:
            if self.config.damaged == "error":
                raise
            entry |= {"skipped": str(error), "skipped_content": self.listing.digest(source)}
        else:
            entry["content"] = content
            if recording.skipped:
                entry["left_out"] = recording.skipped
            if removed:
                entry |= {"read": len(recording), "filtered": removed}
            line["sensor"] = [recording.width, recording.height]
            entry["sensor"] = recording.sensor
            self.check_sensor(source.name, line["sensor"])
            _write_clips(self, recording, kept, line, source)
        append_line(self.list, line, list_beside(self.path))
        self.lines.append(line)

    def check_sensor(self, name: str, size: list[int]) -> None:
        """Raise UserError where a recording is of another sensor than the first."""
        self.sensor = self.sensor or (name, size)
        if self.sensor[1] != size:
            raise UserError(
                f"{name} is of {size[0]}x{size[1]} pixels and {self.sensor[0]} of "
                f"{self.sensor[1][0]}x{self.sensor[1][1]}: keep recordings of different sensors apart"
            )

    def say(self, clips: int, clip: np.ndarray[Any, Any]) -> None:
        """Say before the first clip is written how large all will be, by the `clips` of its recording; check the room.

        Where recordings are cut into windows, others may have more or fewer.
        """
        if self.said:
            return
        self.said = True
        count = clips * (len(self.listing.sources) - len(self.lines))
        what = f"{count:,} clips of {clip.shape[0]} frames, {clip.shape[3]}x{clip.shape[2]} pixels,"
        total, folder = count * clip.size * np.dtype(self.dtype).itemsize, self.path.parent
        divided = self.config.windows.cut
        free = check_room(folder, 0 if divided else total, what.removesuffix(","))
        about = "about " if divided else ""
        self.note(f"{about}{what} are made in {self.path}: {size_said(total)}, {size_said(free)} are free")

    def _empty(self, entry: Mapping[str, Any]) -> str:
        """Why a recording that could be read has no clips, and what helps."""
        if not entry.get("few"):
            return "it has no events"
        least = self.config.windows.least_events
        few = f"each of its {entry['few']:,} windows" if entry["few"] > 1 else "its only window"
        return f"{few} has fewer events than {least:,}, so ask for fewer (least-events)"

    def about(self) -> dict[str, Any]:
        """The fields of the JSON file; UserError where there is no clip."""
        recordings = [line["entry"] for line in self.lines]
        shapes = [line["shape"] for line in self.lines if line["shape"]]
        if self.sensor is None or not shapes:
            fault = f"{recordings[0]['name']}: {recordings[0].get('skipped') or self._empty(recordings[0])}"
            raise UserError(f"none of the {len(recordings)} recordings can be used: the first, {fault}")
        needed = width_of(max(entry.get("largest", 0) for entry in recordings))
        if self.dtype not in (needed, REAL):
            raise _OtherTypeError(needed)  # the recording that asked for wider ones has changed since
        columns, rows = self.sensor[1]
        named = next((each["sensor"] for each in recordings if "sensor" in each), None)
        camera = None if named is None else Sensor(named, columns, rows)
        return {
            **_said_of(camera or _sensor_of(self.listing)),
            "clips": sum(entry["clips"] for entry in recordings),
            "shape": shapes[-1],
            "scale": input_scale(columns, rows, self.config.frames),
            "class_names": self.listing.class_names,
            "recordings": recordings,
            "checksums": [checksum for line in self.lines for checksum in line["checksums"]],
            **({} if self.dtype == WIDTHS[0] else {"dtype": self.dtype}),
        }


def _named(clips: Iterator[Any], name: str) -> Iterator[Any]:
    """Clips to the end of their recording, whose `name` stands in an error of theirs."""
    try:
        yield from clips
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


def _write_clips(filler: _Filler, recording: Parts, kept: Parts, line: _Line, source: Source) -> None:
    """Write the clips of one recording behind the others, and count them in its line.

    Args:
        recording: as it was read, which the windows are of.
        kept: what the filters have left of it.
    """
    entry, config = line["entry"], filler.config
    found = cut(kept, config.windows, whole=recording)
    if config.windows != WindowConfig():
        entry |= {"of_events": len(kept), "unused": found.unused, "few": found.few}
    if lasting := lengths_of(each.span for each in found.windows):
        entry["lasts"] = lasting.plain()
    clips = clips_of(kept, found.windows, config.frames, filler.num_steps, memory_limit=filler.memory_limit)
    for window, (frames, saturated) in zip(found.windows, _named(clips, source.name), strict=True):
        if not np.can_cast(frames.dtype, filler.dtype):
            raise _OtherTypeError(frames.dtype.name)
        filler.say(len(found.windows), frames)
        stored = np.ascontiguousarray(frames, dtype=filler.dtype)
        write_all(filler.clips, stored.data, filler.size, _begun_beside(filler.path))
        filler.size += stored.nbytes
        line["checksums"].append(zlib.crc32(stored.data))
        line["shape"] = list(frames.shape)
        if frames.dtype.name in WIDTHS[1:]:
            entry["largest"] = max(int(frames.max()), entry.get("largest", 0))
        entry["clips"] += 1
        counted = window.end - window.first if config.frames.real else int(frames.sum(dtype="int64")) + saturated
        entry["events"] += counted
        entry["saturated"] += saturated
