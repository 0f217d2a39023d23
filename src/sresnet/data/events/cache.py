"""Frames of a whole data set, made once and kept in a cache folder.

Two files for each data set and choice of options: the clips, uint8 [clips, T, 2, H, W] and nothing else, and a JSON
file that describes them. The second is written last, so where it exists, the first is complete.

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
import os
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sresnet.config import check_fields, to_dict
from sresnet.data.cached import Watch, believed, cache_folder, status_of, text_of, using
from sresnet.data.events.frames import input_scale, to_frames
from sresnet.data.events.recording import Recording
from sresnet.data.events.sets import EventConfig, Listing, Source, list_recordings
from sresnet.data.stored import SampleFile
from sresnet.errors import UserError
from sresnet.files import one_at_a_time, read_json, replacing, write_whole
from sresnet.limits import MEMORY_LIMIT

VERSION = 1
"""To be raised with every change of the clips that the same options give."""

ENDING = ".frames"

MOST_STEPS = 10_000
"""Frames of a clip; the paper has up to 50."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The frames of a data set, on disk."""

    file: SampleFile
    recordings: tuple[dict[str, Any], ...]
    """In the order of the clips, each {name, class, group, content, clips, events, saturated}, {skipped: why} for one
    that could not be read, and {left_out: {kind: records}} for what else a file held."""
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


def prepare(
    config: EventConfig,
    data_dir: str,
    num_steps: int,
    *,
    cache_dir: str = "",
    watch: Watch = lambda done, total, name: None,
    check: Callable[[Sequence[Source]], None] = lambda sources: None,
    memory_limit: float = MEMORY_LIMIT,
) -> Prepared:
    """The frames of a data set from the cache folder, made first if they are not there.

    A second process waits for the first and uses its frames. A process that is killed leaves nothing that looks
    complete.

    Args:
        config: data set and options; split, held-out part and augmentation do not matter here.
        cache_dir: where to keep frames; "": `cache_folder()`.
        check: called with the recordings before any frame is made; may raise.

    Raises:
        UserError: as the reader of the data set, recordings of different sensors, or a full disk.
    """
    if num_steps < 1:
        raise UserError(f"num_steps {num_steps} is less than 1: a clip has at least one frame")
    if num_steps > MOST_STEPS:
        raise UserError(f"num_steps {num_steps} is more than {MOST_STEPS:,} frames of a clip: most would be empty")
    listing = list_recordings(config, data_dir, memory_limit=memory_limit)
    check(listing.sources)
    folder = Path(cache_dir) if cache_dir else cache_folder()
    with using(folder):
        # Before anything is read: a file that changes meanwhile has another status the next time.
        seen, files = time.time_ns(), _statuses(listing.sources)
        path = folder / f"{config.name}-{_key(config, listing, num_steps, files)}{ENDING}"
        with one_at_a_time(path.with_suffix(".lock"), lambda: watch(0, len(listing.sources), "another process")):
            found = _load(path, listing, num_steps)
            if found is not None and not _unchanged(path, found, listing, seen, files):
                found = None
            if found is None:
                _fill(path, config, listing, num_steps, watch, memory_limit, _known_now(seen, files))
                found = _load(path, listing, num_steps, made_now=True)
    assert found is not None
    return replace(found, contents=_contents(config, listing, num_steps, found.recordings), notes=listing.notes)


def sources_of(path: Path) -> tuple[str, ...]:
    """The files that cached clips were made of, as far as noted; UserError where they are not clips of ours."""
    return tuple(_parsed(path).get("files", {}))


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
    """What else decides the clips; digests and caches of earlier versions are of exactly this."""
    return {
        "version": VERSION,
        "name": config.name,
        "frames": to_dict(config.frames),
        "num_steps": num_steps,
        "window_seconds": config.window_seconds,
        "damaged": config.damaged,
        "simulation": to_dict(config.simulation) if config.simulated else None,
        "contents": listing.contents,
    }


def _contents(config: EventConfig, listing: Listing, num_steps: int, recordings: Sequence[dict[str, Any]]) -> str:
    """Digest of what the clips are made of, whatever its place and name."""
    made_of = [[each["class"], each["content"], each["clips"], each["events"]] for each in recordings]
    given = _options(config, listing, num_steps) | {"recordings": made_of}
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()


def _load(path: Path, listing: Listing, num_steps: int, *, made_now: bool = False) -> Prepared | None:
    """The result of an earlier `_fill`, or with `made_now` of the one just finished; None if missing or damaged."""
    try:
        about = _parsed(path)
        _check_about(about, listing, num_steps)
        file = SampleFile(path, about["clips"], about["shape"], about.get("checksums"))
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
    memory_limit: float,
    known: Mapping[str, Any],
) -> None:
    """Make the frames of every recording and write them, with what is `known` of the files; errors as `prepare`."""
    with contextlib.suppress(OSError):
        path.with_suffix(".part").unlink()  # left by an earlier version that was killed
    sensor: tuple[str, tuple[int, int]] | None = None
    shape: tuple[int, ...] = ()
    recordings: list[dict[str, Any]] = []
    checksums: list[int] = []
    with replacing(path) as file:
        for done, source in enumerate(listing.sources):
            watch(done, len(listing.sources), source.name)
            entry = {"name": source.name, "class": source.class_name, "group": source.group, "content": ""}
            recordings.append(entry | {"clips": 0, "events": 0, "saturated": 0})
            try:
                recording, recordings[-1]["content"] = listing.read(source)
            except UserError as error:
                if config.damaged == "error":
                    raise
                recordings[-1] |= {"skipped": str(error), "skipped_content": listing.digest(source)}
                continue
            if recording.skipped:
                recordings[-1]["left_out"] = recording.skipped
            size = (recording.width, recording.height)
            if sensor is not None and sensor[1] != size:
                raise UserError(
                    f"{source.name} is of {size[0]}x{size[1]} pixels and {sensor[0]} of "
                    f"{sensor[1][0]}x{sensor[1][1]}: keep recordings of different sensors apart"
                )
            sensor = sensor or (source.name, size)
            entry = recordings[-1]
            made = _write_clips(file, recording, config, num_steps, entry, checksums, source, memory_limit)
            shape = made or shape
        clips = sum(recording["clips"] for recording in recordings)
        if sensor is None or not clips:
            fault = f"{recordings[0]['name']}: {recordings[0].get('skipped', 'it has no events')}"
            raise UserError(f"none of the {len(recordings)} recordings can be used: the first, {fault}")
    about = {
        "clips": clips,
        "shape": shape,
        "scale": input_scale(*sensor[1], config.frames),
        "class_names": listing.class_names,
        "recordings": recordings,
        "checksums": checksums,
        "frames_seen": time.time_ns(),
        "frames": text_of(status_of(path.stat())),
        **known,
    }
    _write_about(path, about)
    watch(len(recordings), len(recordings), "")


def _write_clips(
    file: BinaryIO,
    recording: Recording,
    config: EventConfig,
    num_steps: int,
    entry: dict[str, Any],
    checksums: list[int],
    source: Source,
    memory_limit: float,
) -> tuple[int, ...]:
    """Append the clips of one recording, counted in `entry`, checksums in `checksums`; their shape, () for none."""
    shape: tuple[int, ...] = ()
    for span in windows(recording, config.window_seconds):
        try:
            frames, saturated = to_frames(recording, config.frames, num_steps, span=span, memory_limit=memory_limit)
        except UserError as error:
            raise UserError(f"{source.name}: {error}") from None
        file.write(frames.data)
        checksums.append(zlib.crc32(frames.data))
        shape = frames.shape
        entry["clips"] += 1
        entry["events"] += int(frames.sum(dtype="int64")) + saturated
        entry["saturated"] += saturated
    return shape


def windows(recording: Recording, seconds: float) -> Iterator[tuple[int, int] | None]:
    """(first, end) in microseconds of each window of a recording that has events; None is the whole of it.

    Windows follow each other from the first event on. The rest after the last complete one is not used, unless the
    recording is shorter than a window: then it is one.
    """
    if not seconds:
        yield None
        return
    length, first = max(1, round(1e6 * seconds)), int(recording.t[0])
    whole = max(1, (int(recording.t[-1]) + 1 - first) // length)
    # From event to event, not from window to window: between two events may lie fifty years of empty ones.
    window = (recording.t - first) // length
    for number in window[np.flatnonzero(np.diff(window, prepend=-1))].tolist():
        if number < whole:
            yield (first + number * length, first + (number + 1) * length)
