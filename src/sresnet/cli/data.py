"""`sresnet data prepare`, `clean`, `info` and `view`."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from sresnet.cli import USAGE
from sresnet.cli.parse import C, LabelColumn, first_word, name_and_flags, parse, take_option, wants_help
from sresnet.cli.runs import ReadOptions, print_split
from sresnet.cli.terminal import filling, reading
from sresnet.config import closest
from sresnet.data import EVENT_SETS, DataConfig, EventConfig, open_data, usual_data
from sresnet.data.cached import cache_folder, size_said
from sresnet.data.cleaning import cached_sets, remove
from sresnet.data.events import view
from sresnet.data.events.cache import Prepared, prepare
from sresnet.data.events.columns import ReadConfig
from sresnet.data.events.describe import (
    SEVERAL,
    Facts,
    SetFacts,
    describe_file,
    describe_set,
    find_recordings,
    listed_recordings,
)
from sresnet.data.events.filters import FilterConfig, left_by, removed_said
from sresnet.data.events.frame_facts import FrameFacts, describe_frames
from sresnet.data.events.frames import LOST, SATURATED, FrameConfig
from sresnet.data.events.recording_list import is_recording_list, names_recordings
from sresnet.data.events.sets import labelled_parts
from sresnet.data.events.source import Source, readers, recording_in
from sresnet.data.events.splits import check_split, event_splits
from sresnet.data.events.windows import WindowConfig
from sresnet.data.fingerprint import fingerprint
from sresnet.data.folder import SUFFIXES, decoded_picture, pictures_in
from sresnet.data.picture_facts import Pair, PictureFacts, describe_pictures, more_pictures
from sresnet.data.picture_list import is_list
from sresnet.data.pictures import PictureSet
from sresnet.errors import UserError
from sresnet.files import InUseError, check_free
from sresnet.printing import give, going_on, say
from sresnet.train.recipes import RECIPES
from sresnet.train.record import recipe_of


@dataclass(frozen=True, kw_only=True)
class _PrepareOptions(ReadOptions):
    """Flags of `sresnet data prepare`."""

    data_dir: str = ""
    """Folder of the data set, or a CSV or TOML file that lists recordings."""
    cache_dir: str = ""
    """Where the frames are kept; by default ~/.cache/sresnet/frames."""
    data: EventConfig
    """Data set and frames; split, held-out part and augmentation do not change what is made."""
    num_steps: int
    """Frames of a clip."""


@dataclass(frozen=True, kw_only=True)
class _PreparePicturesOptions(ReadOptions):
    """Flags of `sresnet data prepare folder`."""

    data_dir: str = ""
    """Folder of the class folders."""
    cache_dir: str = ""
    """Where the pictures are kept; by default ~/.cache/sresnet/pictures."""
    data: DataConfig = field(default_factory=lambda: DataConfig(name="folder"))
    """Pictures; only image_size changes what is kept."""


@dataclass(frozen=True, kw_only=True)
class _CleanOptions:
    """Flags of `sresnet data clean`."""

    cache_dir: str = ""
    """Cache folder; by default ~/.cache/sresnet/frames and ~/.cache/sresnet/pictures."""
    data_dir: str = ""
    """Remove only what was made of this folder of data."""
    dry_run: bool = False
    """Only say what would be removed."""


def _clean_verb(words: list[str]) -> int:
    """`sresnet data clean`: remove frames and pictures from the cache folders; their sources are left alone."""
    options = parse(_CleanOptions(), words, "sresnet data clean", "Remove cached frames and decoded pictures.")
    folders = [Path(options.cache_dir)] if options.cache_dir else [cache_folder("frames"), cache_folder("pictures")]
    made_of = Path(options.data_dir).resolve() if options.data_dir else None
    removed = left = 0
    given = []
    for found in (found for folder in folders for found in cached_sets(folder)):
        if made_of and not any(made_of in (Path(source), *Path(source).parents) for source in found.sources):
            continue
        what = f"{found.kind}: {found.files[0]}, {size_said(found.size)}"
        try:
            if not options.dry_run:
                remove(found)
        except InUseError as error:
            say(f"note: left, {error}")
            left += 1
            continue
        given.append({"kind": found.kind, "files": list(found.files), "bytes": found.size})
        say(f"{'would remove' if options.dry_run else 'removed'} {what}")
        removed += found.size
    give({"removed" if not options.dry_run else "would_remove": given, "left": left})
    if not removed and not left:
        say(f"nothing to remove in {' or '.join(map(str, folders))}")
    return 0


def _prepare_pictures(words: list[str]) -> int:
    """`sresnet data prepare folder`."""
    about = "Decode the pictures of a folder and cache them."
    options = parse(_PreparePicturesOptions(), words, "sresnet data prepare folder", about)
    started = time.monotonic()
    with filling("pictures") as watch:
        where: Any = {"watch": watch, "note": partial(say, flush=True)}
        folder = options.cache_dir or str(cache_folder("pictures"))
        splits = open_data(
            options.data, options.data_dir, seed=0, cache_dir=folder, memory_limit=options.memory_limit, **where
        )
    fingerprint(splits)  # and what it reads is noted too
    assert isinstance(splits.train, PictureSet)
    kept, seconds = splits.train.kept, time.monotonic() - started
    how = f"{kept.decoded:,} decoded now, in {seconds:.1f} s" if kept.decoded else "which were there already"
    side, count = kept.file.shape[-1], len(kept.entries)
    say(f"{count:,} pictures of {side}x{side} pixels: {size_said(count * kept.file.sample_bytes)}, {how}")
    say(f"cache: {kept.file.path}")
    give({"cache": kept.file.path, "pictures": count, "decoded": kept.decoded, "notes": splits.notes})
    print_split(options.data, splits)
    return 0


@going_on()
def _prepare_verb(words: list[str]) -> int:
    """`sresnet data prepare NAME`."""
    known = {name: recipe for name, (_, recipe) in RECIPES.items() if isinstance(recipe.data, EventConfig)}
    choices = list(dict.fromkeys([*known, *EVENT_SETS, "folder"]))
    if wants_help(words):
        say("usage: sresnet data prepare NAME --data-dir DIR [--field value ...]", "")
        say("Makes the frames of all recordings once, as sresnet train NAME would, and keeps them in the cache;")
        say("folder: decodes the pictures of your own folder, and keeps them likewise.", "")
        say("NAME: " + ", ".join(choices), "")
        say("sresnet data prepare NAME --help explains every field.")
        return 0
    name = first_word(words, "name", f"choose from {', '.join(choices)}")
    if name not in choices:
        raise UserError(f"name {name!r} is unknown: {closest(name, choices)}")
    if name == "folder":
        return _prepare_pictures(words[1:])
    data = known[name].data if name in known else usual_data(name)
    assert isinstance(data, EventConfig)
    about = "Make the frames of event recordings and cache them."
    defaults = _PrepareOptions(data=data, num_steps=known[name].model.num_steps if name in known else 10)
    options = parse(defaults, words[1:], f"sresnet data prepare {name}", about)
    started = time.monotonic()
    with filling() as watch:
        prepared = prepare(
            options.data,
            options.data_dir,
            options.num_steps,
            cache_dir=options.cache_dir,
            watch=watch,
            note=partial(say, flush=True),
            check=check_split,
            memory_limit=options.memory_limit,
        )
    _print_prepared(prepared, time.monotonic() - started)
    print_split(options.data, event_splits(options.data, prepared, seed=0))
    return 0


def _print_prepared(prepared: Prepared, seconds: float) -> None:
    """What is in the cache."""
    file = prepared.file
    events = sum(each["events"] for each in prepared.recordings)
    how = f"made in {seconds:.1f} s" if prepared.made_now else "were there already"
    steps, _, height, width = file.shape
    give(
        {
            **{"cache": file.path, "clips": file.count, "recordings": len(prepared.recordings), "events": events},
            "made": prepared.made_now,
        }
    )
    say(
        f"{file.count:,} clips of {steps} frames, {width}x{height} pixels, of {len(prepared.recordings):,} recordings, "
        f"{events:,} events: {file.count * file.sample_bytes / 1e6:,.1f} MB, {how}",
        f"cache: {file.path}",
    )


@dataclass(frozen=True, kw_only=True)
class _DataInfoOptions(ReadConfig):
    """Flags of `sresnet data info`."""

    label_column: LabelColumn = ""
    """Of a list of pictures, the column of their classes; by default the one called label, class or target."""
    recipe: str = ""
    """Of recordings, say what the frames of this recipe of sresnet list would take, such as nmnist."""
    num_steps: int = 0
    """Frames of a clip, likewise; 0: those of the recipe, or none."""
    frames: FrameConfig = field(default_factory=FrameConfig)
    """How events would be counted into frames."""
    windows: WindowConfig = field(default_factory=WindowConfig)
    """Windows that recordings would be cut into."""


@dataclass(frozen=True, kw_only=True)
class _DataViewOptions(ReadConfig):
    """Flags of `sresnet data view`."""

    out: str = ""
    """Picture to write: .png for frames, raster and rates on one page, .gif for the frames one after the other."""
    frames: int = 8
    """Parts of equal time that the recording is cut into."""
    filters: FilterConfig = field(default_factory=FilterConfig)
    """Events to leave out as noise, as before training."""
    filters_of: str = ""
    """Run whose filters do that."""
    window_ms: float = 0.0
    """Milliseconds that a frame shows, from the beginning of its part on; 0: as much as is not a blur."""
    force: bool = False
    """Overwrite what is in the way, even if sresnet did not make it."""


def data_verb(words: list[str]) -> int:
    """`sresnet data VERB PATH`."""
    if wants_help(words):
        say("usage: sresnet data VERB ...", "")
        say(*(line for line in USAGE.splitlines() if line.startswith("  data ")), "")
        say("sresnet data VERB --help explains the options.")
        return 0
    name = first_word(words, "what to do with data", f"choose from {', '.join(DATA_VERBS)}")
    if name not in DATA_VERBS:
        raise UserError(f"data verb {name!r} is unknown: {closest(name, list(DATA_VERBS))}")
    return DATA_VERBS[name](words[1:])


def _data_info_verb(words: list[str]) -> int:
    """`sresnet data info PATH`: what an event recording or a picture holds, or a folder or list of them."""
    about = "What a recording or a picture holds, a folder of them, or a CSV or TOML file that lists them."
    recipe, words = take_option(words, "--recipe")
    path, options = _path_and_options(words, _info_of(recipe), "info", about)
    list_of_recordings = is_recording_list(path) and names_recordings(path)
    if not list_of_recordings and (is_list(path) or (path.is_dir() and more_pictures(path))):
        found = pictures_in(path, options.label_column)
        facts = describe_pictures(found, reading(found.files), memory_limit=options.memory_limit)
        give({"pictures": path} | asdict(facts))
        _print_picture_facts(path, facts)
        return 0
    if path.suffix.lower() in SUFFIXES and not path.is_dir():
        picture = decoded_picture(path, memory_limit=options.memory_limit)
        (width, height), bits = picture.size, picture.depth or 8
        give({"picture": path, "width": width, "height": height, "mode": picture.mode, "bits": bits})
        say(f"file: {path}", f"size: {width}x{height}", f"mode: {picture.mode}", f"bits: {bits}")
        return 0
    if not path.is_dir() and not list_of_recordings:
        of_file = describe_file(path, options)
        give(asdict(of_file) | {"seconds": of_file.seconds, "events_per_second": of_file.rate})
        _print_facts(of_file)
        return 0
    recordings, notes = listed_recordings(path) if list_of_recordings else find_recordings(path)
    of_set = describe_set(reading(recordings), options)
    of_frames = None
    if options.num_steps:
        parts = labelled_parts(path)
        sources = parts or [Source(name=str(file), class_name=label, path=file) for label, file in recordings]
        read, _ = readers(options)
        asked = options.frames, options.windows, options.num_steps
        of_frames = describe_frames(reading(sources), read, *asked, memory_limit=options.memory_limit)
        if any(part.whole for part in parts):
            notes = [*notes, "frames are of the parts of recordings that are labelled, the rest of the facts of all"]
    framed = {"frames": asdict(of_frames)} if of_frames else {}
    give({"folder": path, "recordings": of_set.recordings, "notes": notes} | asdict(of_set) | framed)
    _print_set_facts(path, of_set)
    if of_frames:
        _print_frame_facts(of_frames, options.frames)
    say(*(f"note: {note}" for note in notes))
    return 0


def _info_of(recipe: str) -> _DataInfoOptions:
    """Options whose frames are those of a recipe; UserError for one that is not of events."""
    if not recipe:
        return _DataInfoOptions()
    known = {name: each for name, (_, each) in RECIPES.items() if isinstance(each.data, EventConfig)}
    if recipe not in known:
        raise UserError(f"recipe {recipe!r} is not one of event recordings: {closest(recipe, list(known))}")
    data = known[recipe].data
    assert isinstance(data, EventConfig)
    frames: Any = {"num_steps": known[recipe].model.num_steps, "frames": data.frames, "windows": data.windows}
    return _DataInfoOptions(recipe=recipe, **frames)


def _print_frame_facts(facts: FrameFacts, config: FrameConfig) -> None:
    """What the frames of recordings would take, and what a byte a count would lose."""
    share = 100 * facts.beyond / facts.events
    size = f"{facts.width}x{facts.height} pixels, T = {facts.num_steps}"
    each = "byte" if facts.bytes_each == 1 else "bytes"
    say(f"frames: {facts.clips:,} clips of {size}, up to {facts.largest:,} events at a pixel and step")
    say(f"counts: {facts.bytes_each} {each} each; {share:.2g} % of {facts.events:,} events are beyond {SATURATED}")
    if config.counts == "saturate" and facts.beyond >= LOST * facts.events:
        say(f"warning: with counts 'saturate' {share:.2g} % of the events are lost: leave --frames.counts saturate out")


def _print_picture_facts(path: Path, facts: PictureFacts) -> None:
    """Pictures: how many of each class and part, what they are, and what is there twice."""
    counts = {part: sum(by_class.values()) for part, by_class in facts.by_class.items()}
    parts = (f"{count:,} {part} ({facts.parts[part]})" for part, count in counts.items())
    say(f"{'list' if is_list(path) else 'folder'}: {path}", f"pictures: {', '.join(parts)}")
    names = dict.fromkeys(name for by_class in facts.by_class.values() for name in by_class)
    for name in names:
        each = ", ".join(f"{by_class.get(name, 0):,} {part}" for part, by_class in facts.by_class.items())
        say(f"  {name:24} {each}")
    if facts.sizes:
        common, count = next(iter(facts.sizes.items()))
        said = f"{len(facts.sizes):,} sizes, {facts.smallest} to {facts.largest}, most often {common} ({count:,})"
        say(f"size: {common}" if len(facts.sizes) == 1 else f"size: {said}")
        say(f"modes: {_counted(facts.modes)}", f"bits: {_counted({str(key): n for key, n in facts.bits.items()})}")
    say(f"damaged: {len(facts.damaged):,}", *(f"  {reason}" for reason in facts.damaged))
    within = "; ".join(f"{count:,} of {part}" for part, count in facts.copies_within.items())
    say(f"copies of other files in the same part: {within or 'none'}")
    _print_pairs("copies of files in another part", facts.copies)
    if facts.alike is None:
        say("pictures that look like one in another part: not looked for, as they are too many")
    else:
        _print_pairs("pictures that look like one in another part", facts.alike)
    say(*(f"note: {note}" for note in facts.notes))


def _print_pairs(what: str, pairs: Sequence[Pair]) -> None:
    """Pairs of pictures, the first ten."""
    say(f"{what}: {len(pairs):,}" if pairs else f"{what}: none")
    for pair in pairs[:10]:
        alike = "" if pair.correlation == 1 else f", correlation {pair.correlation:.3f}"
        say(f"  {pair.path} ({pair.part}) and {pair.other} ({pair.other_part}){alike}")
    if len(pairs) > 10:
        say(f"  and {len(pairs) - 10:,} more; --json lists them all")


@going_on()
def _data_view_verb(words: list[str]) -> int:
    """`sresnet data view PATH --out FILE`: draw an event recording, as .png or .gif."""
    path, options = _path_and_options(words, _DataViewOptions(), "view", "Draw an event recording.")
    if not options.out:
        raise UserError("--out is missing: name the picture to write, such as recording.png or recording.gif")
    if not 0 <= options.window_ms <= 1e9:  # eleven days
        raise UserError(f"window-ms {options.window_ms:g} is out of range: give milliseconds, or 0 for a fitting time")
    filters = options.filters
    if options.filters_of:
        if filters.active:
            raise UserError(f"filters are given, and those of {options.filters_of} too: leave one of the two out")
        data = recipe_of(options.filters_of, memory_limit=options.memory_limit).data
        if not isinstance(data, EventConfig):
            raise UserError(f"{options.filters_of} was trained on {data.name}, not on recordings: it has no filters")
        filters = data.filters
    check_free(Path(options.out), view.MARKS, force=options.force)
    limit, window = options.memory_limit, round(1000 * options.window_ms)
    recording, removed = left_by(recording_in(path, options), filters, str(path), memory_limit=limit)
    if removed:
        say(removed_said(removed, sum(removed.values()) + len(recording)))
    look: Any = {"frames": options.frames, "window": window, "title": path.name}
    view.save_view(recording, Path(options.out), **look, memory_limit=limit)
    say(f"{len(recording):,} event{'s' * (len(recording) > 1)} of {path} drawn into {options.out}")
    give({"picture": options.out, "events": len(recording), "filtered_events": removed})
    return 0


def _path_and_options(words: list[str], options: C, verb: str, description: str) -> tuple[Path, C]:
    """The path in front of the flags of `sresnet data VERB`, and the flags."""
    path, rest = name_and_flags(words, "path", "give a recording, or a folder of recordings")
    return Path(path), parse(options, rest, f"sresnet data {verb} {path}", description)


_COARSE = "are whole thousands apart: if they are nanoseconds, store them divided by 1,000, as microseconds"


def _print_facts(facts: Facts) -> None:
    """A recording, a line for each kind of fact."""
    column, row = facts.busiest_pixel
    say(
        f"file: {facts.name}",
        f"format: {facts.format}",
        f"sensor: {facts.sensor}, {facts.width}x{facts.height}",
        f"events: {facts.events:,}, {100 * facts.on / facts.events:.1f} % ON",
        f"duration: {facts.seconds:.6f} s, from {facts.first:,} to {facts.last:,} microseconds",
        f"times: {facts.clock}",
        *([f"note: all times {_COARSE}"] if facts.coarse else []),
        f"rate: {facts.rate:,.0f} events/s",
        f"pixels with events: {facts.active_pixels:,} of {facts.width * facts.height:,}",
        f"busiest pixel: column {column}, row {row}, {facts.busiest_events:,} events",
        f"skipped: {_counted(facts.skipped)}",
    )


def _print_set_facts(folder: Path, facts: SetFacts) -> None:
    """A folder of recordings: in all, by class, and what could not be read."""
    say(f"{'folder' if folder.is_dir() else 'list'}: {folder}")
    one, several = ("folder", "folders") if folder.is_dir() else ("class", "classes")
    count = len(facts.by_class)
    classes = "" if SEVERAL in facts.by_class else f" in {count:,} {one if count == 1 else several}"
    say(f"recordings: {facts.recordings:,}{classes}")
    say(*(f"  {label:24} {number:,}" for label, number in facts.by_class.items()))
    if facts.recordings:
        say(f"sensors: {_counted(facts.sensors)}")
        events, seconds = facts.events, facts.seconds
        middle = facts.recordings // 2
        say(f"events: {sum(events):,}; least {events[0]:,}, median {events[middle]:,}, most {events[-1]:,}")
        least, median, most = (f"{seconds[at]:.3f}" for at in (0, middle, -1))
        say(f"seconds: {sum(seconds):,.1f}; least {least}, median {median}, most {most}")
        say(f"skipped: {_counted(facts.skipped)}")
        if facts.coarse:
            say(f"note: all times of {facts.coarse:,} of {facts.recordings:,} recordings {_COARSE}")
    say(f"unreadable: {len(facts.unreadable):,}", *(f"  {reason}" for reason in facts.unreadable))


def _counted(kinds: dict[str, int]) -> str:
    """Names with their numbers."""
    return "; ".join(f"{kind}: {count:,}" for kind, count in kinds.items()) or "nothing"


DATA_VERBS: dict[str, Callable[[list[str]], int]] = {
    "prepare": _prepare_verb,
    "clean": _clean_verb,
    "info": _data_info_verb,
    "view": _data_view_verb,
}
