"""Named splits of recordings into training and test; a recording is never divided."""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import PurePosixPath
from typing import Any

import torch

from sresnet.data.events.cache import Prepared
from sresnet.data.events.chips import of_all
from sresnet.data.events.clips import FrameSet
from sresnet.data.events.lengths import lengths_of_all
from sresnet.data.events.sets import EventConfig
from sresnet.data.events.source import Source
from sresnet.data.events.windows import WindowConfig
from sresnet.data.samples import Splits
from sresnet.data.split import hold_out, stratified_split
from sresnet.errors import UserError

TRAIN_SHARE, TEST_SHARE = 0.9, 0.1
"""Of each class, where a split is by place in the list or drawn."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """What a split depends on."""

    name: str
    class_name: str
    group: str
    content: str = ""
    """Digest of the bytes; "" where none were read."""
    whole: str = ""
    """Name of the recording that it is one of several parts of."""
    span: tuple[float, float] = (-math.inf, math.inf)
    """Of a part of a recording, in microseconds, the end excluded."""


def divide(config: EventConfig, recordings: Sequence[Listed]) -> tuple[list[int], list[int]]:
    """Indices of the training and of the test recordings, ascending.

    official, images: the test recordings are those of the group "test". by-group: those of `config.test_group`. Of each
    class, first900-by-name trains on the first 90 % (rounded up: 900 of 1,000) in the order of the file names, in which
    _10 comes before _2, as SpikingJelly lists them; first900-by-number in the order of the last number in the name;
    last900-by-number on the last 90 % in that order, and tests on 0 to 99 (TEBN's code, Duan et al. 2022); random90 on
    90 % drawn with `config.split_seed`, and where recordings have several parts on 90 % of the recordings.

    Raises:
        UserError: no such group, a class with too few recordings, or the same content on both sides.
    """
    if config.split in ("official", "images", "by-group"):
        test_group = config.test_group if config.split == "by-group" else "test"
        _check_group(test_group, recordings)
        test = [index for index, each in enumerate(recordings) if each.group == test_group]
    elif config.split == "random90":
        divided = any(each.whole for each in recordings)
        test = (_drawn_as_a_whole if divided else _drawn)(recordings, config.split_seed)
    else:
        key = _by_name if config.split == "first900-by-name" else _by_number
        test = _tenth_of_each_class(recordings, key, first=config.split == "last900-by-number")
    chosen = set(test)
    train = [index for index in range(len(recordings)) if index not in chosen]
    _check_leak(recordings, train, test)
    return train, test


def _divided(config: EventConfig, recordings: Sequence[Listed]) -> tuple[list[int], list[int], list[int]]:
    """`divide`, and the recordings that an official split has for validation."""
    held = [index for index, each in enumerate(recordings) if config.split == "official" and each.group == "validation"]
    others = sorted(set(range(len(recordings))) - set(held))
    train, test = divide(config, [recordings[index] for index in others])
    return [others[index] for index in train], [others[index] for index in test], held


def check_split(config: EventConfig, sources: Sequence[Source]) -> None:
    """Raise UserError where `divide` would, as far as names and classes tell."""
    listed = [
        Listed(name=each.name, class_name=each.class_name, group=each.group, whole=each.whole) for each in sources
    ]
    _divided(config, listed)


def _check_group(test_group: str, recordings: Sequence[Listed]) -> None:
    """Raise UserError for a missing group, or for the only one."""
    groups = sorted({each.group for each in recordings})
    if test_group not in groups:
        fault = f"test_group {test_group!r} is not there" if test_group else "the group to test on is missing"
        raise UserError(f"{fault}: add --data.test-group NAME, one of {', '.join(groups)}")
    if len(groups) < 2:
        raise UserError(f"{test_group!r} is the only group: there is nothing to train on")


def _by_name(each: Listed) -> tuple[Any, ...]:
    """Sorts like the file names."""
    return (PurePosixPath(each.name).name, each.name)


def _by_number(each: Listed) -> tuple[Any, ...]:
    """Sorts like the last number in the file name."""
    numbers = re.findall(r"\d+", PurePosixPath(each.name).stem)
    return (int(numbers[-1]) if numbers else -1, each.name)


def _tenth_of_each_class(
    recordings: Sequence[Listed], key: Callable[[Listed], tuple[Any, ...]], *, first: bool
) -> list[int]:
    """Indices of the first or else the last tenth of each class in the order of `key`, ascending."""
    test: list[int] = []
    for class_name in dict.fromkeys(each.class_name for each in recordings):
        members = [index for index, each in enumerate(recordings) if each.class_name == class_name]
        members.sort(key=lambda index: key(recordings[index]))
        kept = math.ceil(len(members) * TRAIN_SHARE)  # as SpikingJelly, rounding errors included
        if kept == len(members):
            raise _too_few(class_name, len(members))
        test += members[: len(members) - kept] if first else members[kept:]
    return sorted(test)


def _drawn(recordings: Sequence[Listed], seed: int) -> list[int]:
    """Indices of a tenth of each class, drawn, ascending."""
    names = list(dict.fromkeys(each.class_name for each in recordings))
    labels = torch.tensor([names.index(each.class_name) for each in recordings])
    test = stratified_split(labels, TEST_SHARE, seed)[1]
    held_out = labels[test].bincount(minlength=len(names)).tolist()
    for name, count, total in zip(names, held_out, labels.bincount().tolist(), strict=True):
        if not count:
            raise _too_few(name, total)
    return test.tolist()


def _drawn_as_a_whole(recordings: Sequence[Listed], seed: int) -> list[int]:
    """The same of recordings of which several parts are listed: all parts of a drawn one, ascending."""
    train, test = _wholes_held_out(recordings, TEST_SHARE, seed)
    kept, held = ({recordings[index].class_name for index in part} for part in (train, test))
    if missing := sorted((kept | held) - (kept & held)):
        raise UserError(
            f"class {missing[0]!r} is not both in the recordings drawn to train on and in those to test on: try "
            "another --data.split-seed, or add a column split, or a column group with --data.split by-group"
        )
    return test


def _wholes_held_out(recordings: Sequence[Listed], fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """(rest, held out): indices, ascending, with all parts of a recording on one side.

    Of n recordings n * fraction are drawn, rounded to the nearest whole number, one at least.
    """
    names = list(dict.fromkeys(each.whole or each.name for each in recordings))
    count = max(1, int(len(names) * fraction + 0.5))
    drawn = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))[:count].tolist()
    held = {names[number] for number in drawn}
    sides: tuple[list[int], list[int]] = ([], [])
    for index, each in enumerate(recordings):
        sides[(each.whole or each.name) in held].append(index)
    return sides


def _too_few(class_name: str, count: int) -> UserError:
    """The error for a class with too few recordings for a tenth."""
    return UserError(
        f"class {class_name!r} has {count} recordings, too few to test on a tenth of them: add some, or divide them "
        "yourself into train/ and test/ with --data.split official, or into groups"
    )


def _check_leak(recordings: Sequence[Listed], train: list[int], test: list[int]) -> None:
    """Raise UserError where a recording, known by its bytes, or a stretch of it, is on both sides."""
    trained: dict[str, list[Listed]] = {}
    for index in train:
        if recordings[index].content:
            trained.setdefault(recordings[index].content, []).append(recordings[index])
    for index in test:
        each = recordings[index]
        for other in trained.get(each.content, []):
            if max(each.span[0], other.span[0]) < min(each.span[1], other.span[1]):
                shared = "overlaps with" if each.whole and each.whole == other.whole else "has the same bytes as"
                raise UserError(
                    f"{each.name}, to be tested on, {shared} {other.name}, to be trained on: take one of the two away"
                )


def _unused(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What windows leave out, of all recordings that could be read; None where it was not counted.

    {"events", "of": those there are, "most": the largest share of a recording, "recording": which, "windows": those
    with too few events}.
    """
    read = [each for each in entries if "skipped" not in each]
    if not all("unused" in each for each in read):
        return None
    shares = {each["name"]: each["unused"] / max(1, each["of_events"]) for each in read}
    worst = max(shares, key=lambda name: shares[name], default="")
    return {
        "events": sum(each["unused"] for each in read),
        "of": sum(each["of_events"] for each in read),
        "most": shares.get(worst, 0.0),
        "recording": worst,
        "windows": sum(each["few"] for each in read),
    }


def _last_windows(config: EventConfig, name: str, clips: int) -> tuple[int, int]:
    """How many of a recording's windows come first, to train on, and how many last, to validate on.

    Windows that begin `stride` lengths after each other are one length apart where ceil(2 / stride) - 1 lie between.
    UserError for too few.
    """
    held = max(1, round(config.validation * clips))
    kept = clips - held - (math.ceil(2 / config.windows.stride) - 1)
    if kept < 1:
        raise UserError(f"{name} has {clips} windows, too few to hold the last {config.validation:g} of them out")
    return kept, held


def _listed_as(entry: Mapping[str, Any]) -> Listed:
    """What a split depends on of `Prepared.recordings`."""
    start, stop = entry.get("span", (None, None))
    return Listed(
        name=entry["name"],
        class_name=entry["class"],
        group=entry["group"],
        content=entry["content"].partition(" ")[0],
        whole=entry.get("whole", ""),
        span=(-math.inf if start is None else start, math.inf if stop is None else stop),
    )


def _counted(config: EventConfig, prepared: Prepared) -> dict[str, Any]:
    """How events were counted, and how many are lost."""
    events, lost, largest = (
        sum(each["events"] for each in prepared.recordings),
        sum(each["saturated"] for each in prepared.recordings),
        max(each.get("largest", 0) for each in prepared.recordings),
    )
    if config.frames.by == "whole":  # they count again at each step, those that are lost do not
        events = (events - lost) // prepared.file.shape[0] + lost
    said = {"counts": config.frames.counts, "events": events, "saturated_events": lost}
    return said | ({"largest_count": largest} if largest else {})


def event_splits(config: EventConfig, prepared: Prepared, seed: int) -> Splits:
    """The clips of a data set by use; all clips of a recording are on one side.

    Classes are numbered in the order of their names. Test recordings of a class that is not trained on are left out,
    with a note. UserError as `divide`, and for a part without clips.
    """
    config = replace(config, split=prepared.split or config.split)
    entries = prepared.recordings
    listed = [_listed_as(each) for each in entries]
    train, test, part_held = _divided(config, listed)
    train = [index for index in train if entries[index]["clips"]]
    class_names = prepared.class_names or tuple(sorted({listed[index].class_name for index in train}))
    trained = {listed[index].class_name for index in train}
    if len(trained) == 1:
        raise UserError(
            f"{config.name}, split {config.split}, leaves one class to train on, {min(trained)!r}: two at least can be "
            "told apart; add recordings of others, or divide them otherwise"
        )
    unknown = Counter(listed[index].class_name for index in test if listed[index].class_name not in class_names)
    if test and unknown.total() == len(test):
        raise UserError(
            f"{config.name}, split {config.split}, leaves nothing to test on: the classes of its recordings, "
            f"{', '.join(sorted(unknown))}, are not trained on; add recordings of them, or divide them otherwise"
        )
    test, held = (
        [index for index in part if entries[index]["clips"] and listed[index].class_name in class_names]
        for part in (test, part_held)
    )
    notes = list(prepared.notes)
    if strange := sorted({listed[index].class_name for index in part_held} - set(class_names)):
        notes.append(f"left out: recordings to validate on of classes that are not trained on, {', '.join(strange)}")
    others = {listed[index].content for index in (*train, *test)} - {""}
    wholes = [{listed[index].whole for index in part} - {""} for part in (train, test, held)]
    if shared := sorted((wholes[0] & (wholes[1] | wholes[2])) | (wholes[1] & wholes[2])):
        notes.append(
            f"recordings with parts to train on and parts to test or to validate on ({len(shared):,}), such as "
            f"{shared[0]}: accuracy says nothing of other recordings"
        )
    if copies := [listed[i].name for i in held if listed[i].content in others and not listed[i].whole]:
        notes.append(f"recordings to validate on with the bytes of others ({len(copies):,}), such as {copies[0]}")
    last: dict[int, tuple[int, int]] = {}
    if config.validation and train and held:
        notes.append("left out: recordings to validate on, as --data.validation holds some of the others out")
    if config.held_out == "last":
        clips = {index: entries[index]["clips"] for index in train}
        last = {index: _last_windows(config, listed[index].name, clips[index]) for index in train}
        between = sum(clips[index] - sum(last[index]) for index in train)
        notes.append(f"left out: {between:,} windows between those to train on and the last ones, to validate on")
        held = train
    elif config.validation and train:
        if any(listed[index].whole for index in train):
            rest, chosen = _wholes_held_out([listed[index] for index in train], config.validation, seed)
        else:
            labels = torch.tensor([class_names.index(listed[index].class_name) for index in train], dtype=torch.int64)
            kept, drawn, said = hold_out(labels, class_names, config.validation, seed, "recordings")
            rest, chosen = kept.tolist(), drawn.tolist()
            notes += said
        train, held = [train[index] for index in rest], [train[index] for index in chosen]
    parts = {"train": train, "validation": held, "test": test}
    for part in ("train", "test"):
        if not parts[part]:
            cure = "add recordings, or hold fewer out" if config.validation else "add recordings"
            raise UserError(f"{config.name}, split {config.split}, leaves no recording for {part}: {cure}")
    starts = [0, *accumulate(each["clips"] for each in entries)]

    def clips_of(part: str) -> FrameSet:
        numbers: list[int] = []
        labels: list[int] = []
        for index in parts[part]:
            clips = range(starts[index], starts[index + 1])
            if index in last:
                kept, validated = last[index]
                clips = clips[:kept] if part == "train" else clips[-validated:]
            numbers += clips
            labels += [class_names.index(listed[index].class_name)] * len(clips)
        return FrameSet(
            file=prepared.file,
            numbers=torch.tensor(numbers),
            labels=torch.tensor(labels),
            class_names=class_names,
            scale=prepared.scale,
            contents=prepared.contents,
        )

    about = {
        "name": config.split,
        "simulated": config.simulated,
        "recordings": {part: len(indices) for part, indices in parts.items()},
        "skipped_recordings": sum("skipped" in each for each in entries),
        **_counted(config, prepared),
        "classes_left_out": dict(unknown),
    }
    if config.filters.active:
        about["events_read"] = sum(each.get("read", 0) for each in entries)
        removed = Counter[str]()
        for each in entries:
            removed.update(each.get("filtered", {}))
        about["filtered_events"] = dict(removed)
    if config.held_out != "recordings":
        about["held_out"] = config.held_out
    if prepared.sensor is not None:
        named = (entries[index].get("sensor", "") for part in ("train", "test") for index in parts[part])
        about["sensor"] = of_all(prepared.sensor, filter(None, named)).plain()
    if lasting := lengths_of_all(entries[index] for index in train):
        about["clip_seconds"] = lasting.plain()
    if config.test_group:
        about["test_group"] = config.test_group
    if config.windows != WindowConfig():
        about["unused"] = _unused(entries)
        if about["unused"] is None:
            notes.append(
                "these frames are of an earlier version, which did not count the events that lie in no window: sresnet "
                "data clean removes them, and they are made anew"
            )
    return Splits(
        train=clips_of("train"),
        validation=clips_of("validation") if held else None,
        test=clips_of("test"),
        about=about,
        notes=tuple(notes),
    )
