"""Event data sets: which recordings there are, of which class and group, and how one is read."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

import torch

from sresnet.archives import open_zip
from sresnet.config import added_later, check_types
from sresnet.data.cifar import load_cifar
from sresnet.data.digits import load_digits
from sresnet.data.events.changes import ChangeConfig
from sresnet.data.events.columns import ReadConfig
from sresnet.data.events.filters import FilterConfig
from sresnet.data.events.frames import FrameConfig
from sresnet.data.events.parts import Parts, held
from sresnet.data.events.read import EXTENSIONS
from sresnet.data.events.recording_list import ENDINGS, is_recording_list, read_recording_list
from sresnet.data.events.simulate import DVSConfig, simulate
from sresnet.data.events.source import Source, readers, span_said
from sresnet.data.events.windows import WindowConfig
from sresnet.data.split import some_of_each_class
from sresnet.data.tree import LeftOut, below, files_below, files_in, folders_in, parts_of, such_as
from sresnet.errors import UserError
from sresnet.files import read_regular, state_of
from sresnet.limits import MEMORY_LIMIT

EventName = Literal["dvs-cifar10", "nmnist", "dvs-gesture", "event-folder", "digits-dvs", "cifar10-dvs-sim", "dataset"]
SplitName = Literal[
    "official", "first900-by-name", "first900-by-number", "last900-by-number", "random90", "by-group", "images", "given"
]

EVENT_SETS: dict[str, tuple[str, tuple[str, ...]]] = {
    "dvs-cifar10": (
        "10,000 recordings of CIFAR-10 images by a DVS128, 10 classes",
        ("first900-by-name", "first900-by-number", "last900-by-number", "random90"),
    ),
    "nmnist": ("N-MNIST, handwritten digits before an ATIS camera, 34x34 pixels", ("official",)),
    "dvs-gesture": ("29 people's gestures before a DVS128, 11 classes, with labels in lists", ("official", "by-group")),
    "event-folder": (
        "your own event recordings, one folder per class, or a CSV or TOML file that lists them",
        ("random90", "official", "by-group", "first900-by-name", "first900-by-number", "last900-by-number"),
    ),
    "digits-dvs": ("scikit-learn's digits before a simulated event camera; no download", ("images",)),
    "cifar10-dvs-sim": ("CIFAR-10 before a simulated event camera", ("images",)),
    "dataset": ("clips of any data set in Python, by sresnet.data.from_dataset", ("given",)),
}
"""name -> (one line, the splits that it can be used with, the usual one first)."""

SIMULATED = ("digits-dvs", "cifar10-dvs-sim")

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

GESTURES = (
    "hand clapping",
    "right hand wave",
    "left hand wave",
    "right arm clockwise",
    "right arm counter clockwise",
    "left arm clockwise",
    "left arm counter clockwise",
    "arm roll",
    "air drums",
    "air guitar",
    "other gestures",
)
"""Classes 1 to 11 of DVS128 Gesture, as its gesture_mapping.csv names them."""


@dataclass(frozen=True, kw_only=True)
class EventConfig:
    """Event recordings, their frames, and augmentation; UserError for a field out of range or a split of other sets."""

    family: ClassVar[str] = "events"

    name: EventName = "dvs-cifar10"
    """Data set: dvs-cifar10, nmnist, dvs-gesture, event-folder, digits-dvs, cifar10-dvs-sim; dataset: given in
    Python."""
    split: SplitName = "first900-by-name"
    """official: train/ and test/, or those of a list; first900-by-name: SpikingJelly's, in order _0, _1, _10;
    first900-by-number: _0, _1, _2; last900-by-number: TEBN's, tested on the first of these; random90: drawn at
    random, stratified; by-group: test_group is the test set; images: that of the images they are simulated from;
    given: of a dataset."""
    split_seed: int = 0
    """Seed of random90."""
    test_group: str = ""
    """Group, such as a session, whose recordings are the test set; with split by-group."""
    validation: float = 0.0
    """Fraction of the training recordings held out, stratified and seeded."""
    held_out: Literal["recordings", "last"] = added_later("recordings")
    """What `validation` is a fraction of. recordings: of those of each class; last: of the windows of each training
    recording, the last ones in time; the windows just before them are left out, so that a window's length lies between.
    """
    frames: FrameConfig = field(default_factory=FrameConfig)
    """How events are counted into frames."""
    windows: WindowConfig = added_later(WindowConfig(), holds={"window_seconds": "seconds"})
    """How recordings are cut into windows, each a sample."""
    sampling: Literal["all", "balanced"] = added_later("all")
    """all: an epoch shows each training clip once; balanced: as many of each class, those of small ones repeatedly."""
    damaged: Literal["error", "skip"] = "error"
    """Damaged recordings: stop, or leave out what is damaged and count it."""
    chip: str = added_later("")
    """Camera of the recordings, such as DAVIS240, or size, such as 640x480, where their files should not decide."""
    event_stream: int = added_later(-1)
    """Number of the stream of events, where AEDAT 4.0 files have several."""
    filters: FilterConfig = added_later(FilterConfig())
    """Events that are left out as noise, before frames are made."""
    flip: bool = False
    """Mirror every other training clip at random."""
    shift: int = 0
    """Shift training clips at random by up to this many pixels."""
    shift_fill: Literal["roll", "zero"] = "roll"
    """What enters at an edge: what left at the other, or nothing."""
    cutout: float = 0.0
    """Probability that a square of a training clip is emptied."""
    changes: ChangeConfig = added_later(ChangeConfig())
    """More random changes of training clips."""
    simulation: DVSConfig = field(default_factory=DVSConfig)
    """The simulated camera, for digits-dvs and cifar10-dvs-sim."""
    train_images: int = added_later(0)
    """Simulate recordings of only this many training images, as many of each class; 0: of all."""
    test_images: int = added_later(0)
    """Likewise for the test images."""

    def __post_init__(self) -> None:
        check_types(self)
        splits = EVENT_SETS[self.name][1]
        if self.split not in splits:
            raise UserError(f"split {self.split!r} is not one of {self.name}'s: choose from {', '.join(splits)}")
        if not 0 <= self.validation < 1:
            raise UserError(
                f"validation {self.validation} is outside [0, 1): it is a fraction of the training recordings"
            )
        if self.held_out == "last" and not (self.validation and self.windows.cut):
            raise UserError(
                "held_out 'last' holds the last windows of each recording out: give --data.windows.seconds, and how "
                "many with --data.validation, such as 0.33"
            )
        if not 0 <= self.cutout <= 1:
            raise UserError(f"cutout {self.cutout} is outside [0, 1]: it is a probability")
        if self.shift < 0:
            raise UserError(f"shift {self.shift} is less than 0: it counts pixels")
        for name, count in (("train_images", self.train_images), ("test_images", self.test_images)):
            if count < 0 or (count and not self.simulated):
                raise UserError(f"{name} {count}: give 0, or for {' and '.join(SIMULATED)} a number of images")
        self.reading(MEMORY_LIMIT)
        if self.chip and self.simulated:
            raise UserError(f"chip {self.chip!r} means nothing to simulated recordings: leave it out")
        shown = self.frames.representation
        if self.frames.real and (self.changes.drop != "none" or self.changes.space_jitter or self.changes.time_jitter):
            raise UserError(
                f"changes.drop and jitter are of single events, which representation {shown!r} has not: use 0"
            )
        if shown == "surface" and self.changes.reverse:
            raise UserError(
                "changes.reverse of representation 'surface' is not the surface of what runs backwards: use 0"
            )
        if shown == "binary" and self.changes.mix == "mixup":
            raise UserError(
                "changes.mix 'mixup' weighs two clips, which representation 'binary' cannot show: use eventmix"
            )
        if self.test_group and self.split != "by-group":
            raise UserError(f"test_group {self.test_group!r} means nothing to split {self.split!r}: choose by-group")

    def reading(self, memory_limit: float) -> ReadConfig:
        """How the files are read, which may claim so many gigabytes; UserError for a number that no stream has."""
        return ReadConfig(
            damaged=self.damaged, chip=self.chip, event_stream=self.event_stream, memory_limit=memory_limit
        )

    @property
    def simulated(self) -> bool:
        """Whether the recordings are simulated, not those of a camera."""
        return self.name in SIMULATED


USUAL: dict[str, EventConfig] = {
    "dvs-cifar10": EventConfig(),
    "nmnist": EventConfig(name="nmnist", split="official"),
    "dvs-gesture": EventConfig(name="dvs-gesture", split="official", frames=FrameConfig(size=32)),
    "event-folder": EventConfig(name="event-folder", split="random90", frames=FrameConfig(size=32)),
    "digits-dvs": EventConfig(name="digits-dvs", split="images", simulation=DVSConfig(size=16, amplitude=2.0)),
    # Before the camera, a few of CIFAR-10's images have so little contrast that it sees nothing.
    "cifar10-dvs-sim": EventConfig(
        name="cifar10-dvs-sim",
        split="images",
        damaged="skip",
        simulation=DVSConfig(size=32, amplitude=2.0, loops=2, duration=200_000),
    ),
    "dataset": EventConfig(name="dataset", split="given"),
}
"""Where recipes, fine-tuning and `sresnet data prepare` start from."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """All recordings of a data set in a fixed order, and how to read them."""

    sources: tuple[Source, ...]
    class_names: tuple[str, ...]
    """Known beforehand; empty: the classes found."""
    read: Callable[[Source], tuple[Parts, str]]
    """The recording, and a digest of its bytes ("" where it is simulated)."""
    digest: Callable[[Source], str] = lambda source: ""
    """Digest of its bytes now; "" where they cannot be read."""
    contents: str = ""
    """Digest of the images of a simulated set."""
    notes: tuple[str, ...] = ()
    """What was left out, one sentence each."""
    split: SplitName
    """How they are to be divided: as configured, or as a list or folders of the user's are divided already."""


def list_recordings(config: EventConfig, data_dir: str, *, memory_limit: float = MEMORY_LIMIT) -> Listing:
    """The recordings of `config` in `data_dir`; only names are read, and the images of a simulated set.

    UserError without data folder, without recordings of a class, or for a zip file that cannot be read.
    """
    if config.simulated:
        return _simulated(config, data_dir)
    if config.name == "dataset":
        raise UserError(
            "these clips are of a data set that was given in Python, and no command reads it: give it again, to "
            "sresnet.data.from_dataset (docs/events.md)"
        )
    if not data_dir:
        raise UserError(f"{config.name} is read from your own folder: add --data-dir DIR, the folder that holds it")
    root = Path(data_dir)
    left, split = LeftOut(), config.split
    if config.name == "event-folder" and is_recording_list(root):
        root, (split, sources) = root.parent, _listed(root, split, left)
    elif not root.is_dir():
        also = f", or a list of recordings ({', '.join(ENDINGS)})" if config.name == "event-folder" else ""
        raise UserError(f"data folder {root} {state_of(root)}: give the folder that holds {config.name}{also}")
    elif config.name == "event-folder":
        split = _split_of(root, split, left)
        sources = tuple(_event_folder(root, split, left))
    elif config.name == "dvs-gesture":
        sources = tuple(_dvs_gesture(root, split, left))
    else:
        sources = tuple((dvs_cifar10 if config.name == "dvs-cifar10" else _nmnist)(root, left))
    known = {"dvs-cifar10": CIFAR10_CLASSES, "nmnist": tuple("0123456789"), "dvs-gesture": GESTURES}
    names = known.get(config.name, ())
    found = {source.class_name for source in sources}
    if missing := [name for name in names if name not in found]:
        raise UserError(
            f"{root} has no recordings of {config.name}'s class {missing[0]!r}: add them, all {len(names)} are needed"
        )
    if len(found) < 2:
        raise UserError(f"{root} has recordings of {len(found)} class: two at least can be told apart")

    read, digest = readers(config.reading(memory_limit))
    notes = tuple(left.said(root, "recordings"))
    return Listing(sources=sources, class_names=names, read=read, digest=digest, notes=notes, split=split)


def _listed(path: Path, split: SplitName, left: LeftOut) -> tuple[SplitName, tuple[Source, ...]]:
    """How the recordings of a list are divided, and these; errors as `read_recording_list`.

    A column of parts divides them, whatever `split` says, but by-group.
    """
    found = read_recording_list(path)
    left.notes.extend(found.notes)
    if split == "by-group":
        if not found.grouped:
            raise UserError(f"{path} has no column group: add one, or choose another --data.split")
        if found.divided:
            left.notes.append(f"{path.name} has a column split, which split by-group does not use")
    elif found.divided:
        if split != "official":
            left.notes.append(f"{path.name} divides the recordings in its column split, not {split}")
        split = "official"
    elif split == "official":
        raise UserError(f"{path} has no column split: add one, or choose another --data.split")
    parts = {row.part for row in found.rows}
    if split == "official" and not {"train"} < parts:
        missing = "train" if "train" not in parts else "test or val"
        raise UserError(f"{path} has no row of split {missing}: add some, or leave the column split out")
    instead = {"validation": "test"} if "test" not in parts else {}
    if split == "official" and instead:
        left.notes.append(f"{path.name} has no rows of split test: those of val are the test set")
    files = Counter(row.path for row in found.rows)
    several = [file for file, count in files.items() if count > 1]
    if several and split.endswith(("by-number", "by-name")):
        raise UserError(
            f"{path} has several rows of {several[0].name}, which split {split} would divide: choose random90, or add "
            "a column split or group"
        )
    sources = []
    for row in sorted(found.rows, key=lambda row: list(files).index(row.path)):
        span = None if row.start is None and row.stop is None else (row.start, row.stop)
        name = below(path.parent, row.path)
        if span is not None:
            name = f"{name} {span_said(span, from_first=found.from_first)}"
        group = {"official": instead.get(row.part, row.part), "by-group": row.group}.get(split, "")
        whole = below(path.parent, row.path) if files[row.path] > 1 else ""
        place: Any = {"path": row.path, "span": span, "from_first": found.from_first, "whole": whole}
        sources.append(Source(name=name, class_name=row.class_name, group=group, **place))
    beside = [file for file in files_below(path.parent)[0] if file.suffix.lower() in EXTENSIONS and file not in files]
    if beside:
        left.notes.append(
            such_as(f"left out: recordings beside {path.name} that it does not name", path.parent, beside)
        )
    return split, tuple(sources)


def _split_of(root: Path, split: SplitName, left: LeftOut) -> SplitName:
    """How a folder of recordings is divided: one with train/ and test/ or val/ is divided already."""
    if split in ("official", "by-group"):
        return split
    parts, _ = parts_of(root)
    if "train" not in parts or "test" not in parts or not folders_in(parts["train"]):
        return split
    left.notes.append(f"{root.name}/ is divided into folders for training and testing already, not by {split}")
    return "official"


def dvs_cifar10(root: Path, left: LeftOut) -> Iterator[Source]:
    """Ten folders or zip files named after the classes of CIFAR-10, in `root` or where SpikingJelly and tonic put them.

    Source: Li et al. 2017, CIFAR10-DVS, doi.org/10.3389/fnins.2017.00309; a zip file per class on figshare.
    """
    places = [root, *(root / name for name in ("extract", "download", "CIFAR10DVS"))]
    classes = [(place, name) for place in places for name in CIFAR10_CLASSES]
    found = (place for place, name in classes if (place / name).is_dir() or (place / f"{name}.zip").is_file())
    home = next(found, None)
    if home is None:
        raise UserError(
            f"{root} has neither class folders nor zip files of DVS-CIFAR10, such as airplane/ or airplane.zip: give "
            "the folder that holds them"
        )
    for name in CIFAR10_CLASSES:
        if (home / name).is_dir():
            yield from _sources_of_folder(root, home / name, name, left)
        elif (home / f"{name}.zip").is_file():
            yield from _sources_of_zip(root, home / f"{name}.zip", left, name)


def _nmnist(root: Path, left: LeftOut) -> Iterator[Source]:
    """Train.zip and Test.zip, or these unpacked, `Train/5/00001.bin`; or the small set with train1K.txt, test100.txt.

    Source: Orchard et al. 2015, doi.org/10.3389/fnins.2015.00437. The small set (by the authors of SLAYER) has the same
    records in files `1.bs2` and their classes in two lists.
    """
    for place in (root, root / "NMNISTsmall"):
        if (place / "train1K.txt").is_file():
            yield from _small_nmnist(root, place)
            return
    for part, group in (("Train", "train"), ("Test", "test")):
        if (root / part).is_dir():
            for digit in "0123456789":
                yield from _sources_of_folder(root, root / part / digit, digit, left, group)
        elif (root / f"{part}.zip").is_file():
            yield from _sources_of_zip(root, root / f"{part}.zip", left, group=group)
        else:
            raise UserError(
                f"{root} has neither {part}/ nor {part}.zip, nor the small set's train1K.txt: give the folder that "
                "holds N-MNIST"
            )


def _small_nmnist(root: Path, place: Path) -> Iterator[Source]:
    """The recordings that the two lists of the small set name: a number and a class in each line."""
    for group, name in (("train", "train1K.txt"), ("test", "test100.txt")):
        path = place / name
        if not path.is_file():
            raise UserError(f"{path} is missing: the small set of N-MNIST has train1K.txt and test100.txt")
        for number, line in enumerate(path.read_text(errors="replace", encoding="utf-8").splitlines(), start=1):
            if not line.strip() or line.startswith("#"):
                continue
            words = line.split()
            if len(words) != 2 or not words[0].isdecimal() or words[1] not in tuple("0123456789"):
                raise UserError(f"{path}, line {number}, is {line[:40]!r}: expected a number and a class, such as 1 5")
            file = place / f"{words[0]}.bs2"
            if not file.is_file():
                raise UserError(f"{file} is missing, though line {number} of {path} names it: unpack the set again")
            yield Source(name=below(root, file), class_name=words[1], group=group, path=file)


def _dvs_gesture(root: Path, split: str, left: LeftOut) -> Iterator[Source]:
    """`user01_fluorescent.aedat` with `user01_fluorescent_labels.csv`, ..., in `root` or in `DvsGesture/`.

    A labels file has a line `class,startTime_usec,endTime_usec` for each gesture, by the clock of the recording. The
    recordings to train on and to test on stand in trials_to_train.txt and trials_to_test.txt; by group, one is that of
    a user.

    Source: Amir et al. 2017, A Low Power, Fully Event-Based Gesture Recognition System, CVPR.
    """
    home = _home_of_gestures(root)
    if home is None:
        raise UserError(f"{root} has no trials_to_train.txt: give the folder that DVS128 Gesture was unpacked into")
    used = set()
    for group, name in (("train", "trials_to_train.txt"), ("test", "trials_to_test.txt")):
        for number, line in enumerate(_read_text(home / name).splitlines(), start=1):
            if not line.strip():
                continue
            file = home / line.strip()
            if not file.is_file():
                raise UserError(f"{home / name} line {number} names {line.strip()}, which {state_of(file)}: unpack it")
            used.add(file)
            user = file.name.partition("_")[0]
            yield from _gestures(root, file, user if split == "by-group" else group)
    recordings = left.sorted_out(files_in(home), (*EXTENSIONS, ".csv", ".txt"))
    beside = [file for file in recordings if file.suffix.lower() in EXTENSIONS and file not in used]
    if beside:
        left.notes.append(such_as("left out: recordings in neither list of trials", root, beside))


def _home_of_gestures(root: Path) -> Path | None:
    """Where the lists of trials of DVS128 Gesture are, if they are."""
    places = [root, *(root / name for name in ("DvsGesture", "extract/DvsGesture"))]
    return next((place for place in places if (place / "trials_to_train.txt").is_file()), None)


def labelled_parts(path: Path) -> tuple[Source, ...]:
    """The parts of recordings that a list names, or the files of labels of DVS128 Gesture; () for what is neither.

    Errors as `list_recordings`, but for classes, of which there may be any number.
    """
    if is_recording_list(path):
        return _listed(path, "random90", LeftOut())[1]
    return tuple(_dvs_gesture(path, "official", LeftOut())) if _home_of_gestures(path) else ()


def _gestures(root: Path, file: Path, group: str) -> Iterator[Source]:
    """The gestures of a recording of DVS128 Gesture, as its file of labels says."""
    labels = file.with_name(f"{file.stem}_labels.csv")
    for number, line in enumerate(_read_text(labels).splitlines(), start=1):
        words = [word.strip() for word in line.split(",")]
        if number == 1 or not any(words):
            continue
        numbers = [int(word) if word.isdecimal() else 0 for word in words]
        if len(numbers) != 3 or not 1 <= numbers[0] <= len(GESTURES) or not numbers[1] < numbers[2]:
            raise UserError(
                f"{labels} line {number} is {line[:60]!r}: expected a class from 1 to {len(GESTURES)}, a start and a "
                "later end in microseconds"
            )
        span = numbers[1], numbers[2]
        name = f"{below(root, file)} {span_said(span, from_first=False)}"
        place: Any = {"path": file, "span": span, "whole": below(root, file)}
        yield Source(name=name, class_name=GESTURES[numbers[0] - 1], group=group, **place)


def _read_text(path: Path) -> str:
    """A small text file of a data set; UserError where it is missing."""
    try:
        return read_regular(path).decode("utf-8-sig", errors="replace")
    except FileNotFoundError:
        raise UserError(f"{path} is missing: unpack the data set again") from None


def _event_folder(root: Path, split: str, left: LeftOut) -> Iterator[Source]:
    """Your own recordings: `CLASS/FILE`; in `train/` and `test/` with split official; in `GROUP/` by group.

    Instead of class folders there may be files `CLASS.ext` or `CLASS_1.ext`. `val/`, `valid/` or `validation/` beside
    `train/` and `test/` is the group "validation"; without `test/` it is the test set. UserError for a class or group
    without recordings, and for recordings beside class folders.
    """
    if split == "official":
        parts, notes = parts_of(root)
        left.notes.extend(notes)
        for part in ("train", "test"):
            if part not in parts:
                raise UserError(f"{root} has no {part}/: split 'official' needs train/ and test/ with class folders")
        _note_beside(root, parts.values(), left)
        for part, folder in parts.items():
            yield from _sources_of_group(root, folder, part, left)
    elif split == "by-group":
        folders = folders_in(root)
        if len(folders) < 2:
            raise UserError(
                f"{root} has {len(folders)} folders: split 'by-group' needs one for each of two groups or more"
            )
        _note_beside(root, folders, left)
        for folder in folders:
            yield from _sources_of_group(root, folder, folder.name, left)
    else:
        yield from _sources_of_group(root, root, "", left)


def _note_beside(root: Path, folders: Iterable[Path], left: LeftOut) -> None:
    """Note files beside the folders of parts or groups, none of which is read."""
    beside = left.sorted_out(files_in(root), EXTENSIONS)
    if beside:
        names = ", ".join(f"{folder.name}/" for folder in folders)
        left.notes.append(such_as(f"left out: recordings beside {names}", root, beside))


def _sources_of_group(root: Path, folder: Path, group: str, left: LeftOut) -> Iterator[Source]:
    """The recordings of one group: class folders, or files `Cup.aedat` and `Cup_1.aedat` of the class Cup."""
    folders, recordings = folders_in(folder), left.sorted_out(files_in(folder), EXTENSIONS)
    if folders and recordings:
        raise UserError(f"{recordings[0]} lies beside class folders such as {folders[0].name}/: move it into its class")
    if not folders and not recordings:
        raise UserError(f"{folder} has no recordings ({', '.join(EXTENSIONS)}): add some or remove the folder")
    for class_folder in folders:
        yield from _sources_of_folder(root, class_folder, class_folder.name, left, group)
    for file in recordings:
        class_name = re.sub(r"_\d+$", "", file.stem)
        yield Source(name=below(root, file), class_name=class_name, group=group, path=file)


def _sources_of_folder(root: Path, folder: Path, class_name: str, left: LeftOut, group: str = "") -> Iterator[Source]:
    """All recordings in a class folder and the folders in it, by name."""
    recordings = left.sorted_out(files_below(folder), EXTENSIONS) if folder.is_dir() else []
    if not recordings:
        raise UserError(
            f"class folder {folder} has no recordings ({', '.join(EXTENSIONS)}): add some or remove the folder"
        )
    for file in recordings:
        yield Source(name=below(root, file), class_name=class_name, group=group, path=file)


def _sources_of_zip(root: Path, path: Path, left: LeftOut, class_name: str = "", group: str = "") -> Iterator[Source]:
    """All recordings in a zip file, by name; the class is `class_name`, or the folder that a member is in."""
    with open_zip(path) as archive:
        found = sorted(
            name for name in archive.namelist() if not name.endswith("/") and not _is_hidden(PurePosixPath(name))
        )
    members = [member for member in found if PurePosixPath(member).suffix.lower() in EXTENSIONS]
    left.unread.extend(path / member for member in found if PurePosixPath(member).suffix.lower() not in EXTENSIONS)
    if not members:
        raise UserError(f"{path} has no recordings ({', '.join(EXTENSIONS)}) in it: download it again")
    for member in members:
        yield Source(
            name=f"{below(root, path)}/{member}",
            class_name=class_name or PurePosixPath(member).parent.name,
            group=group,
            path=path,
            member=member,
        )


def _is_hidden(member: PurePosixPath) -> bool:
    """Whether a system added this member to a zip file."""
    return any(part.startswith(".") or part == "__MACOSX" for part in member.parts)


def _simulated(config: EventConfig, data_dir: str) -> Listing:
    """A recording of each image, made when it is read, with the images' split; errors as their reader."""
    if config.name == "digits-dvs":
        train, test = load_digits()
    elif data_dir:
        train, test = load_cifar("cifar10", data_dir)
    else:
        raise UserError("cifar10-dvs-sim is made of CIFAR-10: add --data-dir DIR, the folder that holds it")
    chosen_train, chosen_test = (
        some_of_each_class(images.labels, count) if count else torch.arange(len(images))
        for images, count in ((train, config.train_images), (test, config.test_images))
    )
    images = torch.cat([train.images, test.images])
    labels = torch.cat([train.labels, test.labels]).tolist()
    sources = tuple(
        Source(
            name=f"image {index}",
            class_name=train.class_names[labels[index]],
            group="train" if index < len(train) else "test",
            image=index,
        )
        for index in [*chosen_train.tolist(), *(len(train) + chosen_test).tolist()]
    )

    def read(source: Source) -> tuple[Parts, str]:
        # The number of the image is the seed: no recording depends on which others are made.
        recording = simulate(images[source.image].numpy(), config.simulation, source.image)
        if not len(recording):
            raise UserError(
                f"{source.name} has too little contrast, the simulated camera sees no events: leave such images out "
                "with damaged skip, or lower simulation.threshold"
            )
        return held(recording), ""

    contents = hashlib.blake2b(images.numpy().tobytes(), digest_size=16).hexdigest()
    return Listing(sources=sources, class_names=train.class_names, read=read, contents=contents, split=config.split)
