"""The command line: one function per verb. Only this file prints."""

import contextlib
import dataclasses
import io
import multiprocessing
import os
import re
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import torch
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn, track
from rich.table import Table
from rich.text import Text

from sresnet.analysis import (
    Analysis,
    Batches,
    EarlyExit,
    LayerActivity,
    analyse,
    batches_of,
    early_exit,
    spread,
)
from sresnet.analysis.early_exit import THRESHOLDS, check_threshold, evaluate_until_sure
from sresnet.analysis.prediction import Prediction, probabilities_by_step
from sresnet.config import check_number, closest, from_dict
from sresnet.data import (
    CLASSES,
    DATA_SETS,
    EVENT_SETS,
    AnyData,
    DataConfig,
    EventConfig,
    Samples,
    Splits,
    open_data,
    usual_data,
)
from sresnet.data.events import view
from sresnet.data.events.cache import Prepared, Watch, cache_folder, is_cache, prepare, windows
from sresnet.data.events.clips import FrameSet
from sresnet.data.events.columns import Damaged
from sresnet.data.events.describe import Facts, SetFacts, describe_file, describe_set, find_recordings, to_read
from sresnet.data.events.frames import FrameConfig, frame_shape, input_scale, to_frames
from sresnet.data.events.read import read_recording
from sresnet.data.events.sets import CIFAR10_CLASSES
from sresnet.data.events.splits import check_split, event_splits
from sresnet.data.fingerprint import difference, fingerprint
from sresnet.data.folder import read_picture
from sresnet.data.samples import unnamed
from sresnet.data.scaling import CIFAR10_STATISTICS, Counts, Pixels, Scaling, scaling_from_plain
from sresnet.errors import UserError, mendable
from sresnet.files import check_free, make_folder, only_writer, read_regular, state_of, write_json
from sresnet.limits import MEMORY_LIMIT, check_claim
from sresnet.models import SpikingNetwork, list_models, model_config
from sresnet.models.int8 import to_int8
from sresnet.models.network import NetworkConfig
from sresnet.models.pretrained import Card, card_of, load_shipped, shipped
from sresnet.models.released import load_released
from sresnet.models.saved import WEIGHTS, load, model_bytes, save_model
from sresnet.models.summary import describe, summarise
from sresnet.ops.dispatch import implementation
from sresnet.printing import cut, drop, emit, encodable, going_on, one_line, printable, say
from sresnet.randomness import seed_of
from sresnet.report import plots
from sresnet.report.analysis_files import EARLY_EXIT, EARLY_EXIT_KIND, claim, save, save_early_exit
from sresnet.report.figures import predictions as picture_of_predictions
from sresnet.report.files import check_folder, save_files
from sresnet.report.html import page
from sresnet.report.look import Looked, look
from sresnet.report.records import Records, records_of, records_of_card
from sresnet.report.results import write_page
from sresnet.report.several import Shown, sections_of, title_of
from sresnet.report.studies import study_sections
from sresnet.report.write import REPORT, save_page
from sresnet.report.write import check_free as check_page
from sresnet.studies.paper import STUDIES
from sresnet.studies.results import failures, forget_failures
from sresnet.studies.results import read as read_results
from sresnet.studies.rows import rows_of
from sresnet.studies.run import to_train, work
from sresnet.studies.scale import ScaleName, about, scaled
from sresnet.studies.study import Study, trainings_of
from sresnet.train import record
from sresnet.train.display import display, line_of
from sresnet.train.evaluate import evaluate
from sresnet.train.loop import Outcome, check_settings, train
from sresnet.train.loop import Progress as Stand
from sresnet.train.recipe import Recipe, TrainConfig, with_compat
from sresnet.train.recipes import RECIPES

C = TypeVar("C")

_parsing = threading.Lock()

USAGE = """usage: sresnet VERB ...

  train RECIPE        train a network; the same command again goes on where it stopped
  evaluate RUN        accuracy of a trained network, also with fewer time steps
  finetune RUN        train a trained network on other data
  predict RUN FILE    classify pictures or event recordings
  import FILE         turn a checkpoint of the paper's released code into a run
  analyse RUN         who fires, what it costs, what hardware it needs
  report RUN|STUDY... all of that and more as one HTML page
  info MODEL|RUN      layers, shapes, parameters and operations of a network
  data info PATH      what an event recording, or a folder of them, holds
  data view PATH      draw an event recording
  data prepare NAME   make the frames of event recordings beforehand
  study NAME...       train what tables and figures of the paper need, and set the numbers beside the paper's
  list                models, recipes, data sets, pretrained networks

RUN may be the name of a pretrained network too.

sresnet VERB --help explains the options; --debug shows the traceback of an error. With train and info, --compat paper
or --compat released-code sets every field on which the paper and its released code differ (docs/paper-and-code.md)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 2 for a mistake of the user's, 1 for one of ours."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    return answered(lambda: run([at_home(word) for word in words]), debug=debug)


def answered(work: Callable[[], int], *, debug: bool = False) -> int:
    """The exit status of `work`; what it raises becomes one line on the error output.

    0 or what `work` returns; 2 for a mistake of the user's, and where the system refuses or memory does not suffice;
    130 where it is interrupted, 141 where nobody reads the output; 1 for a fault of ours.
    """
    try:
        try:
            status = work()
        except SystemExit as stop:  # of a help text
            status = int(stop.code or 0)
        if sys.stdout is not None:
            sys.stdout.flush()  # a disk that is full is told now, while somebody listens
        return status
    except BrokenPipeError:  # the reader, such as head, has seen enough
        return 141  # as shells say it: 128 and the number of SIGPIPE
    except KeyboardInterrupt:
        complain("interrupted: what was saved is kept; run the same command again to go on")
        return 130
    except Exception as error:
        if debug:
            raise
        said = str(error) if isinstance(error, UserError) else mendable(error)
        if said:
            complain(said)
            return 2
        text = " ".join(str(error).split())
        complain(f"{type(error).__name__}: {cut(text, 1000)}: this is a fault of sresnet; --debug shows where")
        return 1
    finally:
        drop_unwritten()


def complain(line: str) -> None:
    """The last line of a command that failed; where it cannot be written, the exit status has to do."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        say(one_line(f"sresnet: {line}"), error=True, flush=True)


def drop_unwritten() -> None:
    """Let go of output that a full disk refused: Python would complain about it when it ends, with status 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            drop(stream)
        except (ValueError, AttributeError):  # closed, or none
            pass


def at_home(word: str) -> str:
    """A word of the command line with `~` as the home folder, also where the shell leaves it, as in --out=~/run.

    Raises:
        UserError: no home folder is known, or the word holds what no path can.
    """
    if "\0" in word:
        raise UserError(f"argument {word!r} holds a NUL character: leave it out")
    flag = named[0] if (named := re.match(r"--?[\w.-]+=", word)) else ""
    path = word.removeprefix(flag)
    if not path.startswith("~"):
        return word
    path = os.path.expanduser(path)
    if path == "~" or path.startswith("~/"):
        raise UserError(f"{word} is in the home folder, and none is known: set HOME, or write the path out")
    return flag + path


def run(words: list[str]) -> int:
    """Find the verb and call it."""
    if not words or words[0] in ("-h", "--help"):
        say(*USAGE.splitlines())
        return 0
    if words[0] == "--version":
        from sresnet import __version__

        say(__version__)
        return 0
    if words[0] not in VERBS:
        raise UserError(f"verb {words[0]!r} is unknown: {closest(words[0], list(VERBS))}")
    check_settings()
    return VERBS[words[0]](words[1:])


def parse(options: C, words: Sequence[str], prog: str, description: str) -> C:
    """Read flags into a copy of the dataclass `options`; a mistake becomes a one-line UserError."""
    prog, description = shown(cut(prog, 200)), shown(cut(description, 200))
    if "-h" in words or "--help" in words:
        options = shown(options)
    with _parsing, contextlib.redirect_stderr(Complaint()) as complaint:
        try:
            found = tyro.cli(
                type(options),
                default=options,
                args=list(words),
                prog=prog,
                description=description,
                config=(tyro.conf.AvoidSubcommands,),
            )
        except SystemExit as stop:
            if not stop.code:
                raise
            cause = stop.__context__
            while cause is not None:
                if isinstance(cause, UserError):  # of a dataclass that checked its fields: it says all there is to say
                    raise cause from None
                cause = cause.__context__
            raise UserError(complaint_of(complaint.getvalue(), prog)) from None
    for field in dataclasses.fields(found):  # type: ignore[arg-type]
        check_number(field.name, getattr(found, field.name), endless=True)
    return found


class Complaint(io.StringIO):
    """What this thread writes in place of the error output, which is the process's: other threads write past it."""

    def __init__(self) -> None:
        super().__init__()
        self.thread, self.past = threading.get_ident(), sys.stderr

    def write(self, text: str) -> int:
        return super().write(text) if threading.get_ident() == self.thread else self.past.write(text)


def shown(value: Any) -> Any:
    """A value, or a dataclass of values, with every text in it as it can be printed: for a help text."""
    if isinstance(value, str):
        return encodable(printable(value), sys.stdout)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: shown(getattr(value, field.name)) for field in dataclasses.fields(value)})
    return value


def complaint_of(complaint: str, prog: str) -> str:
    """Tyro's framed error report as one sentence: its first paragraph and the first suggestion."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip("│|+ ╭╮╰╯") for line in complaint.splitlines()]
    text, _, rest = re.sub("[─-]{10,}", "─", "\n".join(lines[1:])).lstrip("─\n").partition("─")
    suggestion = re.search(r"(--[\w.-]+)", rest.partition("Perhaps you meant:")[2])
    cure = f"did you mean {suggestion[1]}?" if suggestion else f"see {prog} --help"
    return f"{' '.join(text.split()).rstrip('.:')}: {cure}"


def first_word(words: list[str], what: str, choices: str) -> str:
    """The positional argument in front of the flags."""
    if not words or words[0].startswith("-"):
        raise UserError(f"{what} is missing: {choices}")
    return words[0]


def names_and_flags(words: list[str]) -> tuple[list[str], list[str]]:
    """The words in front of the flags, each once, and the flags."""
    at = next((index for index, word in enumerate(words) if word.startswith("-")), len(words))
    return list(dict.fromkeys(words[:at])), words[at:]


def wants_help(words: list[str]) -> bool:
    """Whether the first word asks for help instead of naming something."""
    return bool(words) and words[0] in ("-h", "--help")


# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Trust:
    """How far a command trusts the files it reads."""

    memory_limit: float = MEMORY_LIMIT
    """Gigabytes that a file may claim, whatever its length; one that claims more is refused. Raise it for files that
    you trust."""


@dataclass(frozen=True, kw_only=True)
class Place(Trust):
    """Where a command finds things and does its work."""

    data_dir: str = ""
    """Folder of the data set."""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; auto takes a GPU if there is one."""
    download: bool = False
    """Fetch CIFAR from its publisher into the data folder."""
    engine: Literal["fastest", "low-memory", "reference"] = "fastest"
    """How layers are computed; numbers change by rounding only. low-memory keeps nothing but bits of the spikes for the
    backward pass and convolves again; reference is the plain PyTorch that the others are tested against."""
    cache_dir: str = ""
    """Where frames of event recordings are kept; by default ~/.cache/sresnet/frames."""

    def torch_device(self) -> torch.device:
        """The device meant.

        Raises:
            UserError: no such device.
        """
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(self.device)
            torch.zeros(1, device=device).item()  # meta has no numbers
        except (RuntimeError, AssertionError, ImportError, ValueError, TypeError):
            raise UserError(f"device {self.device!r} is not to be had here: try --device cpu") from None
        return device

    def open(self, data: AnyData, seed: int, num_steps: int) -> Splits:
        """The data set, with a bar while frames of event recordings are made; errors as `open_data`."""
        with filling() as watch:
            return open_data(
                data,
                self.data_dir,
                seed=seed,
                num_steps=num_steps,
                download=self.download,
                cache_dir=self.cache_dir,
                watch=watch,
                memory_limit=self.memory_limit,
            )

    def open_again(self, recipe: Recipe, run: str) -> Splits:
        """The data set of a run, found and cached where `sresnet train` did where nothing else is said.

        Classes are numbered as the run's. "other_data" in `about` is how the data differ from those of the run, where
        they do and the run says what its own were.

        Raises:
            UserError: as `open_data`, a class that the run does not have, or images of another size than its own.
        """
        environment = {} if is_shipped(run) else record.read_environment(Path(run))
        noted = environment.get("cache_dir", "")
        if noted and not self.cache_dir and isinstance(recipe.data, EventConfig) and not is_cache(Path(noted)):
            # A run may be somebody else's; what it names is written to only if frames were kept there before.
            say(f"note: {noted} of {run} holds no frames; they are kept in {cache_folder()}", error=True)
            noted = ""
        if self.download and not self.data_dir and environment.get("data_dir"):
            raise UserError("--download needs --data-dir DIR, the folder to fetch the data into")
        place = replace(
            self,
            data_dir=self.data_dir or environment.get("data_dir", ""),
            cache_dir=self.cache_dir or noted,
        )
        about = about_run(run)
        splits = place.open(recipe.data, recipe.seed, recipe.model.num_steps).matched(about["class_names"])
        height, width = splits.train.shape[-2:]
        if [height, width] != list(about["image_size"]):
            raise UserError(
                f"the data are of {height}x{width} pixels, and {run} was trained on "
                f"{'x'.join(map(str, about['image_size']))}: give such data"
            )
        differing = difference(about, fingerprint(splits))
        return replace(splits, about=splits.about | {"other_data": differing}) if differing else splits


@dataclass(frozen=True, kw_only=True)
class TrainOptions(Recipe, Place):
    """Flags of `sresnet train`: the fields of the recipe, and where and how long to run."""

    out: str = ""
    """Run folder; by default runs/RECIPE-FINGERPRINT, so that the same command finds its run again."""
    max_minutes: float = float("inf")
    """Stop cleanly after this long; the same command goes on."""
    checkpoint_seconds: float = 60.0
    """Time between checkpoints within an epoch."""
    tensorboard: bool = False
    """Also write TensorBoard events into the run folder."""
    report: bool = False
    """At the end, also write the page of sresnet report into the run folder."""
    force: bool = False
    """Write over what is in the way, also what sresnet did not make."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_minutes(self.max_minutes)
        if not self.checkpoint_seconds >= 0:
            raise UserError(f"checkpoint_seconds {self.checkpoint_seconds:g} is no length of time: 60 is a good choice")

    def recipe(self) -> Recipe:
        """The part that decides the numbers."""
        return Recipe(**recipe_fields(self))


def check_minutes(max_minutes: float) -> None:
    """Raise UserError for what is no length of time; NaN would never be over."""
    if not max_minutes >= 0:
        raise UserError(f"max_minutes {max_minutes:g} is no length of time: give minutes from 0 up, or leave it out")


def at_least(least: int, **numbers: int) -> None:
    """Raise UserError for the first of `numbers` that is less than `least`."""
    for name, number in numbers.items():
        if number < least:
            raise UserError(f"{name} {number} is less than {least}: leave --{name.replace('_', '-')} out, or give more")


def recipe_fields(recipe: Recipe) -> dict[str, Any]:
    """The fields of a recipe, without those that options add."""
    return {field.name: getattr(recipe, field.name) for field in dataclasses.fields(Recipe)}


def train_verb(words: list[str]) -> int:
    """`sresnet train RECIPE [--field value ...]`."""
    if wants_help(words):
        say("usage: sresnet train RECIPE [--field value ...]", "")
        say(*(f"  {name:24} {line}" for name, (line, _) in RECIPES.items()))
        say("", "sresnet train RECIPE --help explains every field.")
        return 0
    name = first_word(words, "recipe", f"choose from {', '.join(RECIPES)}")
    if name not in RECIPES:
        raise UserError(f"recipe {name!r} is unknown: {closest(name, list(RECIPES))}")
    line, recipe = RECIPES[name]
    compat, rest = take_option(words[1:], "--compat")
    recipe = with_compat(recipe, compat) if compat else recipe
    options = parse(
        TrainOptions(**recipe_fields(recipe)),
        rest,
        f"sresnet train {name}",
        f"{line}.",
    )
    return train_and_report(options, name)


def finetune_verb(words: list[str]) -> int:
    """`sresnet finetune RUN --data NAME [--field value ...]`."""
    prog = "sresnet finetune"
    if wants_help(words):
        say("usage: sresnet finetune RUN --data NAME [--field value ...]", "", "NAME: " + ", ".join(DATA_SETS))
        say("RUN's recipe, its fields as flags like in sresnet train. Stem convolution and readout start anew.")
        return 0
    source = first_word(words, "run", "give the folder of a trained run")
    limit, _ = take_option(words, "--memory-limit")
    recipe = read_run(source, gigabytes(limit) if limit else MEMORY_LIMIT)
    name, words = take_option(words[1:], "--data")
    if name not in DATA_SETS:
        fault = f"{name!r} is no data set" if name else "is missing"
        raise UserError(f"--data {fault}: choose from {', '.join(DATA_SETS)}")
    events = name in EVENT_SETS
    classes, channels = CLASSES.get(name, (recipe.model.num_classes, 2 if events else 3))
    fields: dict[str, Any] = {"num_classes": classes, "in_channels": channels}
    fields |= {"encoder": "direct"} if events else {}  # the others make spikes of images
    recipe = replace(
        recipe,
        pretrained=source,
        data=usual_data(name, recipe.data),
        model=replace(recipe.model, **fields),
        train=replace(recipe.train, small_epochs=0) if events else recipe.train,  # only images have them
    )
    options = parse(
        TrainOptions(**recipe_fields(recipe)),
        words,
        f"{prog} {source} --data {name}",
        f"Train {source} further, on {name}.",
    )
    return train_and_report(options, f"{name}-from-{Path(source).name}")


def take_option(words: list[str], flag: str) -> tuple[str, list[str]]:
    """The value of a flag, "" where it is not among `words`, and the other words; UserError for a flag alone."""
    for at, word in enumerate(words):
        if word == flag:
            if at + 1 == len(words):
                raise UserError(f"{flag} has no value: give one behind it")
            return words[at + 1], words[:at] + words[at + 2 :]
        if word.startswith(f"{flag}="):
            return word.removeprefix(f"{flag}="), words[:at] + words[at + 1 :]
    return "", words


@going_on()
def train_and_report(options: TrainOptions, name: str) -> int:
    """Train as `options` say, show how it goes and what came out."""
    recipe = options.recipe()
    device = options.torch_device()
    splits = options.open(recipe.data, recipe.seed, recipe.model.num_steps)
    if recipe.data.name in ("folder", "event-folder"):  # how many classes somebody's pictures have, only they tell
        recipe = replace(recipe, model=replace(recipe.model, num_classes=len(splits.train.class_names)))
    if recipe.train.precision == "bf16" and device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        say("note: this processor has no bfloat16 convolutions, bf16 will be several times slower than fp32")
    folder = Path(options.out or f"runs/{name}-{recipe.fingerprint()}")
    if options.report:
        check_page(folder / REPORT, options.force)
    kind = "clips" if isinstance(recipe.data, EventConfig) else "images"
    say(f"{describe(recipe.model)} on {device}: {len(splits.train):,} training {kind}, run folder {folder}")
    print_split(recipe.data, splits)
    with (
        implementation(options.engine),
        stop_asked(options.max_minutes) as asked,
        display(folder, options.tensorboard) as watch,
    ):
        outcome = train(
            recipe,
            splits,
            folder,
            device=device,
            watch=watch,
            should_stop=lambda: bool(asked()),
            checkpoint_seconds=options.checkpoint_seconds,
            data_dir=options.data_dir,
            cache_dir=options.cache_dir,
            note=lambda line: say(line, flush=True),
            memory_limit=options.memory_limit,
        )
    if outcome.state == "stopped":
        say(f"stopped at step {outcome.step} ({asked()}): run the same command again to go on")
        return {"SIGINT": 130, "SIGTERM": 143}.get(asked(), 0)
    report(outcome)
    if options.report:
        records = records_of(folder, memory_limit=options.memory_limit)
        looked = looked_at(str(folder), records, options, 0, splits)
        write_report(folder / REPORT, [Shown(records, looked)], force=options.force)
    return 0


def print_split(data: AnyData, splits: Splits) -> None:
    """What a result must say beside its number."""
    about = splits.about
    if isinstance(data, EventConfig):
        print_recordings(data, splits)
    if "other_data" in about:
        say(f"note: these are not the data of the run ({about['other_data']})")
    for note in splits.notes:
        say(f"note: {note}")


def other_data(splits: Splits) -> dict[str, Any]:
    """What a file about a run must say where it was looked at with other data than its own."""
    return {name: value for name, value in splits.about.items() if name == "other_data"}


def print_recordings(data: EventConfig, splits: Splits) -> None:
    """The split of event recordings, and what it leaves out."""
    about = splits.about
    simulated = ", SIMULATED recordings" if about["simulated"] else ""
    group = f" (tested on {about['test_group']})" if "test_group" in about else ""
    recordings = ", ".join(f"{count:,} {part}" for part, count in about["recordings"].items() if count)
    samples = ", ".join(
        f"{len(samples):,} {part}"
        for part, samples in (("train", splits.train), ("validation", splits.validation), ("test", splits.test))
        if samples is not None
    )
    say(f"{data.name}{simulated}, split {about['name']}{group}: recordings {recordings}; clips {samples}")
    if about["classes_left_out"]:
        names = ", ".join(about["classes_left_out"])
        count = sum(about["classes_left_out"].values())
        say(f"note: {count} test recordings of classes that are not trained on are left out: {names}")
    if about["skipped_recordings"]:
        say(f"note: {about['skipped_recordings']} recordings that could not be read are left out")
    if about["saturated_events"]:
        say(f"note: {about['saturated_events']:,} events are beyond the 255 that a pixel of a frame can count")


@contextlib.contextmanager
def filling() -> Iterator[Watch]:
    """A function that shows how far the making of frames is: a bar on a terminal, a line now and then elsewhere."""
    console = Console(stderr=True)
    last = time.monotonic()

    def lines(done: int, total: int, name: str) -> None:
        nonlocal last
        if name == "another process":
            say("another process makes these frames: waiting for it", error=True, flush=True)
        elif time.monotonic() - last > 30:
            say(f"frames of {done:,} of {total:,} recordings", error=True, flush=True)
            last = time.monotonic()

    if not console.is_terminal:
        yield lines
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as screen:
        task = screen.add_task("frames", total=None, visible=False)

        def watch(done: int, total: int, name: str) -> None:
            waiting = name == "another process"
            description = "waiting for another process" if waiting else "frames of recordings"
            screen.update(task, completed=done, total=total, description=description, visible=True)

        yield watch


def report(outcome: Outcome) -> None:
    """The last lines of a finished run."""
    result = outcome.result
    simulated = " on simulated recordings" if result.get("split", {}).get("simulated") else ""
    say(f"test accuracy{simulated}: {result['test_top1']:.2f} %")
    if "best_test_epoch_top1" in result:
        say(
            f"best test epoch: {result['best_test_epoch_top1']:.2f} % (epoch {result['best_test_epoch']}; picked on "
            "the test images, as in the paper's Tables 14, 16, 17)"
        )
    say(f"run folder: {outcome.folder}")


@contextlib.contextmanager
def stop_asked(max_minutes: float) -> Iterator[Callable[[], str]]:
    """A function that says why to stop, "" while there is no reason: a signal, or the time is up.

    The first Ctrl-C or SIGTERM asks; a second Ctrl-C stops at once. Signals are the main thread's: in another one they
    are left to whoever handles them there, and only time ends a training.
    """
    reasons: list[str] = []
    end = time.monotonic() + 60 * max_minutes

    def note(number: int, frame: Any) -> None:
        reasons.append(signal.Signals(number).name)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def reason() -> str:
        if not reasons and time.monotonic() >= end:
            reasons.append(f"{max_minutes:g} minutes are over")
        return reasons[0] if reasons else ""

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield reason
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: set by another language, lost to Python


# ---------------------------------------------------------------------------------------------------------------------


def is_shipped(source: str) -> bool:
    """Whether a network that comes with the package is meant, and not a folder or file of that name."""
    return not Path(source).exists() and source in shipped()


def read_run(folder: str, memory_limit: float) -> Recipe:
    """The recipe of a run that has saved its network, or of a network that comes with the package."""
    if is_shipped(folder):
        return from_dict(Recipe, card_of(folder).recipe, f"recipe of {folder}")
    check_run(folder)
    if not (Path(folder) / WEIGHTS).exists():
        raise UserError(f"run {folder!r} has no {WEIGHTS} yet: train it to the end first")
    return record.read_recipe(Path(folder), memory_limit=memory_limit)


def check_run(folder: str) -> None:
    """Raise UserError where there is no folder of this name."""
    if not Path(folder).is_dir():
        raise UserError(
            f"run {folder!r} {state_of(Path(folder))}: give the folder that sresnet train printed, or a network that "
            "sresnet list calls pretrained"
        )


def trained(
    folder: str, device: torch.device, memory_limit: float, samples: Samples | None = None
) -> tuple[SpikingNetwork, Scaling, dict[str, Any]]:
    """Network of a run or of the package, scaling of its input, and what its data.json or card says.

    Counts of event frames are scaled as their sensor asks, which `samples` know: it need not be that of the training.
    """
    about = about_run(folder)
    model = load_shipped(folder) if is_shipped(folder) else load(folder, memory_limit=memory_limit)
    record.check_about(about, model.config, folder)
    check_image(about["image_size"], model.config, folder, memory_limit)
    scaling = Counts(samples.scale) if isinstance(samples, FrameSet) else scaling_from_plain(about)
    return model.to(device), scaling, about


def check_image(size: Sequence[int], config: NetworkConfig, where: str, memory_limit: float) -> None:
    """Refuse a run whose images take more memory than it may claim: the first layer's spikes of one step of one."""
    height, width = size
    claimed = 4 * height * width * getattr(config, "base_filters", 64)
    check_claim(f"{where}/{record.DATA}", f"images of {height}x{width} pixels", claimed, 0, memory_limit)


def about_run(run: str) -> dict[str, Any]:
    """What data.json of a run says, or the same of a network that comes with the package."""
    if not is_shipped(run):
        return record.read_about(Path(run))
    card = card_of(run)
    return {"class_names": card.class_names, "image_size": card.image_size, **card.scaling}


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(Place):
    """Flags of `sresnet evaluate`."""

    num_steps: int = 0
    """Run only this many time steps, the first of those trained; 0: all."""
    part: str = "test"
    """test, validation or train."""
    batch_size: int = 250
    """Images at a time; only Poisson encoders draw other spikes for another number."""
    precision: Literal["fp32", "bf16", "int8"] = "fp32"
    """bf16: convolutions in bfloat16; int8: their weights in eight bits where spikes come in, otherwise as bf16."""
    exit_confidence: float = 0.0
    """Stop an image as soon as the network is this sure of it, such as 0.95, and show what other values give; 0: no
    image stops before the last step."""
    calibrate: Literal["validation", "train", "none"] = "validation"
    """Images that exit-confidence is calibrated on; train: those the network has learned, of which it is too sure."""
    out: str = ""
    """Folder for the curve of accuracy over mean time steps, as numbers and as a figure; with exit-confidence."""
    force: bool = False
    """Write over what is in the way, also what sresnet did not make."""


def evaluate_verb(words: list[str]) -> int:
    """`sresnet evaluate RUN`."""
    source = "RUN" if wants_help(words) else first_word(words, "run", "give the folder of a trained run")
    rest = words if wants_help(words) else words[1:]
    options = parse(EvaluateOptions(), rest, f"sresnet evaluate {source}", "Accuracy of a trained network.")
    recipe = read_run(source, options.memory_limit)
    at_least(0, num_steps=options.num_steps)
    at_least(1, batch_size=options.batch_size)
    device = options.torch_device()
    splits = options.open_again(recipe, source)
    samples = part_of(splits, options.part)
    model, scaling, _ = trained(source, device, options.memory_limit, samples)
    model = to_int8(model) if options.precision == "int8" else model
    if options.exit_confidence:
        with going_on() if options.out else contextlib.nullcontext():
            line = shlex.join(["sresnet", "evaluate", *words])
            return evaluate_with_exit(options, line, source, recipe, splits, model, scaling)
    if options.out:
        raise UserError("--out is for the curve of --exit-confidence: add that, such as --exit-confidence 0.95")
    started = time.monotonic()
    with implementation(options.engine):
        result = evaluate(
            model,
            samples,
            scaling,
            num_steps=options.num_steps or None,
            batch_size=options.batch_size,
            precision="bf16" if options.precision == "int8" else options.precision,
            seed=seed_of("evaluate", recipe.seed),
        )
    seconds = time.monotonic() - started
    steps = options.num_steps or recipe.model.num_steps
    kind = "clips" if isinstance(recipe.data, EventConfig) else "images"
    simulated = " on simulated recordings" if splits.about.get("simulated") else ""
    say(f"{options.part} accuracy{simulated}: {result.top1:.2f} %")
    say(
        f"top-5 {result.top5:.2f} %, loss {result.loss:.4f}, {result.images:,} {kind}, {steps} of "
        f"{recipe.model.num_steps} time steps, {result.images / seconds:,.0f} {kind}/s"
    )
    print_split(recipe.data, splits)
    return 0


CALIBRATION_IMAGES = 5000
"""So many are enough for a number per step."""


def evaluate_with_exit(
    options: EvaluateOptions,
    line: str,
    source: str,
    recipe: Recipe,
    splits: Splits,
    model: SpikingNetwork,
    scaling: Scaling,
) -> int:
    """`sresnet evaluate RUN --exit-confidence 0.95`, which is `line`: the curve over confidences, and what this one
    really gives."""
    threshold = check_threshold(options.exit_confidence)
    folder = Path(options.out) if options.out else None
    if folder:
        claim(folder, EARLY_EXIT, EARLY_EXIT_KIND, force=options.force)
    samples, held_out = part_of(splits, options.part), calibration_of(options, splits)
    some = partial(batches_of, scaling=scaling, batch_size=options.batch_size, device=options.torch_device())
    settings: dict[str, Any] = {
        "precision": "bf16" if options.precision == "int8" else options.precision,
        "seed": seed_of("evaluate", recipe.seed),
    }
    with implementation(options.engine):
        found = early_exit(
            model,
            some(samples),
            calibration=some(held_out) if held_out is not None else None,
            thresholds=sorted({*THRESHOLDS, threshold}),
            num_steps=options.num_steps or None,
            **settings,
        )
        started = time.monotonic()
        exited = evaluate_until_sure(
            model, some(samples), threshold=threshold, temperatures=found.temperatures, **settings
        )
    kind = "clips" if isinstance(recipe.data, EventConfig) else "images"
    simulated = " on simulated recordings" if splits.about.get("simulated") else ""
    steps, speed = len(found.top1_by_step), exited.images / (time.monotonic() - started)
    left = ", ".join(f"{count:,} after {step}" for step, count in enumerate(exited.left_after, 1))
    say(f"{options.part} accuracy{simulated} with exit at confidence {threshold:g}: {exited.top1:.2f} %")
    say(
        f"{exited.mean_steps:.3f} of {steps} time steps on average ({left}), {exited.images:,} {kind}, "
        f"{speed:,.0f} {kind}/s; all {steps} steps: {found.top1_by_step[-1]:.2f} %"
    )
    print_calibration(options, found, kind)
    print_split(recipe.data, splits)
    print_table(
        ("confidence", "mean steps", "accuracy %"),
        [[f"{point.threshold:g}", f"{point.mean_steps:.3f}", f"{point.top1:.2f}"] for point in found.points],
    )
    if folder:
        about = {"run": source, "data": recipe.data.name, "part": options.part, "calibrated_on": options.calibrate}
        about |= {} if found.calibration_images else {"calibrated_on": "none"}
        about |= other_data(splits) | record.provenance(line, options.torch_device())
        paths = save_early_exit(found, exited, threshold, folder, about)
        say(f"written to {folder}: {', '.join(path.name for path in paths)}")
        if len(paths) == 1:
            say("note: for the figure, pip install 'sresnet[report]' and run the same command again")
    return 0


def calibration_of(options: EvaluateOptions, splits: Splits) -> Samples | None:
    """The images or clips that confidences are calibrated on; None where there are none, or none are asked for."""
    if options.calibrate == options.part:
        raise UserError(
            f"--calibrate {options.calibrate} and --part {options.part} are the same images, so the confidences would "
            "look better than they are: choose another part, or --calibrate none"
        )
    if options.calibrate == "none" or getattr(splits, options.calibrate) is None:
        return None
    samples = part_of(splits, options.calibrate)
    return samples.subset(spread(len(samples), CALIBRATION_IMAGES))


def print_calibration(options: EvaluateOptions, found: EarlyExit, kind: str) -> None:
    """What the confidences rest on."""
    if not found.calibration_images:
        say("confidence: as the network claims it, not calibrated")
        if options.calibrate == "validation":
            say(
                f"note: this run held no training {kind} out to calibrate on; train with --data.validation 0.1, or use "
                f"--calibrate train, whose {kind} the network has learned and is too sure of"
            )
        return
    temperatures = " ".join(f"{temperature:.3g}" for temperature in found.temperatures)
    say(
        f"confidence: calibrated on {found.calibration_images:,} {options.calibrate} {kind}, temperature by step "
        f"{temperatures}"
    )
    if options.calibrate == "train":
        say(f"warning: the network has learned these {kind} and is surer of them than it is right about others")


def part_of(splits: Splits, part: str) -> Samples:
    """The images or clips called `part`."""
    samples: Samples | None = getattr(splits, part) if part in ("train", "validation", "test") else None
    if samples is None:
        raise UserError(f"part {part!r} is not there: choose test or train, or validation where some is held out")
    return samples


@dataclass(frozen=True, kw_only=True)
class AnalyseOptions(Place):
    """Flags of `sresnet analyse`."""

    images: int = 500
    """How many to look at, evenly spread over the part."""
    part: str = "test"
    """test, validation or train."""
    num_steps: int = 0
    """Run only this many time steps, the first of those trained; 0: all."""
    batch_size: int = 25
    """Images at a time; decides the memory only, and which spikes a Poisson encoder draws."""
    out: str = ""
    """Folder for the numbers and figures; by default RUN/analysis, or analysis-NAME for a shipped network."""
    force: bool = False
    """Write over what is in the way, also what sresnet did not make."""


@going_on()
def analyse_verb(words: list[str]) -> int:
    """`sresnet analyse RUN`."""
    source = "RUN" if wants_help(words) else first_word(words, "run", "give the folder of a trained run")
    rest = words if wants_help(words) else words[1:]
    options = parse(AnalyseOptions(), rest, f"sresnet analyse {source}", "Activity, cost and needs of a network.")
    recipe = read_run(source, options.memory_limit)
    at_least(0, num_steps=options.num_steps)
    at_least(1, batch_size=options.batch_size)
    device = options.torch_device()
    splits = options.open_again(recipe, source)
    samples = part_of(splits, options.part)
    samples = samples.subset(spread(len(samples), options.images))
    model, scaling, _ = trained(source, device, options.memory_limit, samples)
    folder = Path(options.out or (f"analysis-{source}" if is_shipped(source) else f"{source}/analysis"))
    if not options.out and folder.is_symlink():
        raise UserError(f"{folder} is a link, which is followed only where you name it: add --out DIR")
    claim(folder, force=options.force)
    with implementation(options.engine):
        analysis = analyse(
            model,
            signs_of_life(batches_of(samples, scaling, batch_size=options.batch_size, device=device), len(samples)),
            num_steps=options.num_steps or None,
            seed=seed_of("evaluate", recipe.seed),
        )
    print_analysis(analysis, options.part, recipe.model.num_steps)
    print_split(recipe.data, splits)
    about = {"run": source, "data": recipe.data.name, "part": options.part}
    about |= other_data(splits) | record.provenance(shlex.join(["sresnet", "analyse", *words]), device)
    paths = save(analysis, folder, about)
    say("", f"written to {folder}: {', '.join(path.name for path in paths)}")
    if len(paths) == 1:
        say("note: for figures, pip install 'sresnet[report]' and run the same command again")
    return 0


def signs_of_life(batches: Batches, total: int) -> Batches:
    """The same batches, and a line every half minute that says how far they are."""
    last, done = time.monotonic(), 0
    for x, labels in batches:
        yield x, labels
        done += len(labels)
        if time.monotonic() - last > 30:
            say(f"{done:,} of {total:,} images", error=True, flush=True)
            last = time.monotonic()


def print_analysis(analysis: Analysis, part: str, trained_steps: int) -> None:
    """What `sresnet analyse` found, a line per layer and the sums."""
    activity, cost = analysis.activity, analysis.cost
    print_table(
        ("layer", "output", "active %", "spikes", "dead %", "saturated %", "input", "additions", "MAC"),
        [
            [
                layer.name,
                "x".join(map(str, layer.output)),
                *(["", "", "", ""] if neurons is None else neuron_cells(neurons)),
                layer.input_kind,
                f"{layer.additions:,.0f}" if layer.additions else "",
                f"{layer.multiply_accumulates:,.0f}" if layer.multiply_accumulates else "",
            ]
            for layer, neurons in analysis.rows()
        ],
    )
    energy, hardware = cost.energy(), describe_hardware(analysis)
    say(
        "",
        f"per image, of {activity.images:,} {part} images, {activity.num_steps} of {trained_steps} time steps",
        f"accuracy: {analysis.steps.top1[-1]:.2f} %",
        f"spikes: {activity.spikes:,.0f}, {activity.rate:.3f} per neuron and step",
        f"synaptic operations: {cost.additions:,.0f} additions, {cost.multiply_accumulates:,.0f} multiply-accumulates "
        f"(MAC); non-spiking twin {cost.twin_multiply_accumulates:,.0f} MAC",
        f"energy of the arithmetic (45 nm, float32): synapses {energy.synapses:.3g} microjoules, neuron updates "
        f"{energy.updates:.3g}; non-spiking twin {energy.twin:.3g}",
        "hardware: " + hardware[0],
        *(f"  {line}" for line in hardware[1:]),
    )


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Rows under headings, words to the left and numbers to the right."""
    screen, text = Console(), io.StringIO()
    console = Console(file=text, width=screen.width if screen.is_terminal else 120, force_terminal=screen.is_terminal)
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(
            heading, justify="left" if heading in ("layer", "kernel", "input") else "right", overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(encodable(printable(cell), sys.stdout)) for cell in row))  # no markup of rich's
    console.print(table)
    emit(text.getvalue(), sys.stdout)


def neuron_cells(layer: LayerActivity) -> list[str]:
    """A layer of neurons in a table."""
    return [f"{100 * layer.rate:.1f}", f"{layer.spikes:,.0f}", f"{layer.dead:.1f}", f"{layer.saturated:.1f}"]


def describe_hardware(analysis: Analysis) -> list[str]:
    """The hardware view in a few lines."""
    view = analysis.hardware
    if view is None:
        return [analysis.no_hardware]
    lines = [f"{view.connection} sends {view.sends}"]
    if view.extra_connections:
        lines.append(
            f"with single spikes: {view.extra_connections} extra connections, {view.extra_synapses:,} extra synapses "
            f"beside {view.plain_synapses:,}"
        )
    if view.needs_graded_spikes:
        lines.append(
            f"with graded spikes: {view.intermediate_neurons:,} intermediate neurons, {view.intermediate_synapses:,} "
            "extra synapses"
        )
    if view.weights_per_step:
        lines.append("BNTT makes weights on these paths change with the time step")
    return lines


@dataclass(frozen=True, kw_only=True)
class ReportOptions(Place):
    """Flags of `sresnet report`."""

    out: Annotated[str, tyro.conf.arg(aliases=["-o"])] = ""
    """Page to write; by default RUN/report.html, or report-NAME.html for a shipped network."""
    images: int = 0
    """How many test images or clips to look at, evenly spread; 0: all."""
    files: str = ""
    """Folder for figures (SVG, some as PNG with matplotlib) and tables (CSV, Markdown) as files of their own."""
    scale: ScaleName = "tiny"
    """Scale of studies."""
    results: str = ""
    """Folder of results of studies; by default results/studies/SCALE."""
    force: bool = False
    """Write over what is in the way, also what sresnet did not make."""


@going_on()
def report_verb(words: list[str]) -> int:
    """`sresnet report RUN [RUN ...]`, `sresnet report STUDY [STUDY ...]`."""
    if not wants_help(words):
        first_word(words, "run", "give the folder of a run")
    runs, flags = names_and_flags(words)
    prog = f"sresnet report {' '.join(runs) or 'RUN|STUDY ...'}"
    options = parse(ReportOptions(), flags, prog, "Runs or studies as one HTML page that needs nothing else.")
    if any(is_study(name) for name in runs):
        return report_studies(runs, options)
    at_least(0, images=options.images)
    if len(runs) > 1 and not options.out:
        raise UserError("--out is missing: name the page about these runs, such as -o report.html")
    path = Path(options.out or (f"report-{runs[0]}.html" if is_shipped(runs[0]) else f"{runs[0]}/{REPORT}"))
    records = [records_of_run(run, options.memory_limit) for run in runs]
    if len({each.name for each in records}) < len(records):  # folders of one name in several places
        records = [replace(each, name=run) for each, run in zip(records, runs, strict=True)]
    check_page(path, options.force)
    if options.files:
        check_folder(Path(options.files), options.force)
    shown = [
        Shown(each, looked_at(run, each, options, options.images)) for run, each in zip(runs, records, strict=True)
    ]
    write_report(path, shown, Path(options.files) if options.files else None, force=options.force)
    return 0


def results_folder(folder: str, scale: str) -> Path:
    """Where results of studies at a scale are, if nothing else is said."""
    return Path(folder or f"results/studies/{scale}")


def studies_at(scale: str) -> dict[str, Study]:
    """Name -> study at a scale, all of them."""
    return {name: scaled(study, scale) for name, study in STUDIES.items()}


def is_study(name: str) -> bool:
    """Whether a study is meant, and not a folder of that name."""
    return name in (*STUDIES, "all") and not Path(name).exists()


def report_studies(names: list[str], options: ReportOptions) -> int:
    """`sresnet report STUDY [STUDY ...]`: from the results that are there; nothing is trained."""
    if others := [name for name in names if not is_study(name)]:
        raise UserError(f"{others[0]!r} is no study: give studies or runs, a page for each kind")
    if not options.out:
        raise UserError("--out is missing: name the page about these studies, such as -o report.html")
    path = Path(options.out)
    check_page(path, options.force)
    every = studies_at(options.scale)
    wanted = list(every.values()) if "all" in names else [every[name] for name in names]
    kept = results_folder(options.results, options.scale)
    found = read_results(kept)
    if not found:
        raise UserError(f"{kept} holds no results of scale {options.scale}: run sresnet study first")
    sections = study_sections(options.scale, wanted, every, found, failures(kept))
    title = wanted[0].title if len(wanted) == 1 else "The paper's tables, run again"
    save_page(path, page(f"{title}, scale {options.scale}", sections), options.force)
    say(f"report: {path}")
    if options.files:
        say(f"files: {len(save_files(Path(options.files), sections, (), force=options.force))} in {options.files}")
    return 0


def records_of_run(run: str, memory_limit: float) -> Records:
    """What is known of a run, finished or not, or of a network that comes with the package."""
    if is_shipped(run):
        return records_of_card(card_of(run))
    check_run(run)
    return records_of(Path(run), memory_limit=memory_limit)


def looked_at(run: str, records: Records, place: Place, images: int, splits: Splits | None = None) -> Looked | str:
    """What a pass over the test data of a run shows, or why there was none; `splits` where they are open already."""
    if not is_shipped(run) and not (Path(run) / WEIGHTS).exists():
        return f"the run has no {WEIGHTS} yet"
    device = place.torch_device()
    try:
        splits = splits or place.open_again(records.recipe, run)
    except UserError as error:
        return f"data not at hand: {error}"
    samples = splits.test
    model, scaling, _ = trained(run, device, place.memory_limit, samples)
    total = min(images, len(samples)) if images else len(samples)
    with implementation(place.engine):
        found = look(
            model,
            samples,
            scaling,
            seed=records.recipe.seed,
            images=images,
            watch=lambda batches: signs_of_life(batches, total),
        )
    return replace(found, other_data=splits.about.get("other_data", ""))


def write_report(path: Path, runs: Sequence[Shown], files: Path | None = None, *, force: bool = False) -> None:
    """Write the page about runs, and its figures and tables if asked for; say where they are."""
    sections = sections_of(runs)
    save_page(path, page(title_of(runs), sections), force)
    for records, looked in runs:
        if isinstance(looked, str):
            name = f"{records.name}: " if len(runs) > 1 else ""
            say(f"note: {name}{looked}; what needs a pass over the test data is left out")
    say(f"report: {path}")
    if files:
        say(f"files: {len(save_files(files, sections, runs, force=force))} in {files}")


def predict_verb(words: list[str]) -> int:
    """`sresnet predict RUN FILE ...`, or with `--model NAME` in the place of RUN."""
    if wants_help(words):
        say("usage: sresnet predict RUN FILE [FILE ...] [--out PICTURE.png]")
        say("       sresnet predict --model NAME FILE [FILE ...] [--out PICTURE.png]", "")
        say("The three most likely classes of each picture, or, for a run on event recordings, of each recording;")
        say("where it is cut into windows, their mean probabilities. NAME: a pretrained network of sresnet list.")
        say("--out draws what was classified and how the probabilities came about, step by step (.png or .svg);")
        say("--force writes over a file of that name that sresnet did not make.")
        say(f"--memory-limit {MEMORY_LIMIT:g}: gigabytes that a file may claim, whatever its length.")
        return 0
    out, rest = take_option(words, "--out")
    source, rest = take_option(rest, "--model")
    limit, rest = take_option(rest, "--memory-limit")
    force, rest = "--force" in rest, [word for word in rest if word != "--force"]
    memory_limit = gigabytes(limit) if limit else MEMORY_LIMIT
    source, paths = (
        (source, rest) if source else (first_word(rest, "run", "give its folder, or --model NAME"), rest[1:])
    )
    if not paths:
        raise UserError("file is missing: give pictures, or recordings of events")
    for path in paths:
        if path.startswith("--"):
            raise UserError(f"option {path!r} is unknown: predict takes --model, --out, --force and --memory-limit")
    picture = picture_to_write(out, force) if out else None
    data = read_run(source, memory_limit).data
    model, scaling, about = trained(source, torch.device("cpu"), memory_limit)
    names = tuple(about["class_names"])
    with going_on() if picture else contextlib.nullcontext():
        predictions = []
        for path in paths:
            if isinstance(data, EventConfig):
                x = clips_of_file(Path(path), data, model.config.num_steps, about, memory_limit)
                shown = x.sum(0)
            else:
                shown = image_of_file(Path(path), model.config.in_channels, about, memory_limit)
                x = scaling(shown[None])
            by_step = tuple(tuple(step) for step in probabilities_by_step(model, x).tolist())
            found = Prediction(title=Path(path).name, picture=shown, class_names=names, by_step=by_step)
            guesses = ", ".join(f"{name} {100 * by_step[-1][index]:.1f} %" for name, index in found.best(3))
            say(f"{path}: {guesses}")
            predictions.append(found)
        if picture:
            plots.save_as(plots.draw(picture_of_predictions(predictions)), picture)
            say(f"drawn into {picture}")
    return 0


def picture_to_write(out: str, force: bool) -> Path:
    """The path itself; UserError where it names no kind of picture, or what we did not make and `force` is off."""
    path = Path(out)
    if path.suffix.lower() not in plots.ENDINGS:
        raise UserError(f"--out {out} does not end in {' or '.join(plots.ENDINGS)}: choose one of them")
    check_free(path, plots.MARKS, force=force)
    if not plots.available():
        raise UserError("--out needs matplotlib, which is not installed: pip install 'sresnet[report]'")
    return path


def gigabytes(text: str) -> float:
    """A number of gigabytes that a flag gives."""
    try:
        return float(text)
    except ValueError:
        raise UserError(f"memory-limit {text!r} is no number: give gigabytes, such as {MEMORY_LIMIT:g}") from None


def image_of_file(path: Path, channels: int, about: dict[str, Any], memory_limit: float) -> torch.Tensor:
    """A picture as a run takes it, uint8 [C, H, W]; errors as `read_picture`."""
    image, _, plain = read_picture(path, tuple(about["image_size"]), memory_limit=memory_limit)
    if plain:
        say(f"note: {path} is of one colour but for transparency, which is dropped: put it onto a background")
    return image.float().mean(0, keepdim=True).round().to(torch.uint8) if channels == 1 else image


def clips_of_file(
    path: Path, data: EventConfig, num_steps: int, about: dict[str, Any], memory_limit: float
) -> torch.Tensor:
    """A recording as a run takes it, float32 [windows, T, 2, H, W].

    Raises:
        UserError: it cannot be read, or its frames are of another size than those of training.
    """
    recording = read_recording(path, damaged=data.damaged, memory_limit=memory_limit)
    spans = list(windows(recording, data.window_seconds))
    rows, columns = frame_shape(recording, data.frames)
    what = f"{len(spans):,} x {num_steps} frames of {columns}x{rows} pixels"
    # As bytes twice, and as float32.
    claimed = 6 * len(spans) * num_steps * 2 * rows * columns
    check_claim(str(path), what, claimed, 8 * len(recording), memory_limit)
    made = partial(to_frames, recording, data.frames, num_steps, memory_limit=memory_limit)
    frames = torch.stack([torch.from_numpy(made(span=span)[0]) for span in spans])
    if list(frames.shape[-2:]) != list(about["image_size"]):
        raise UserError(
            f"{path} gives frames of {list(frames.shape[-2:])} pixels, the run was trained on {about['image_size']}: "
            "give a recording of the same camera"
        )
    return Counts(input_scale(recording.width, recording.height, data.frames))(frames)


@dataclass(frozen=True, kw_only=True)
class ImportOptions(Trust):
    """Flags of `sresnet import`."""

    data: str = "cifar10"
    """Data set that it was trained on: cifar10, cifar100 or dvs-cifar10; event networks are known by their input."""
    boosting: bool = False
    """Whether it was trained with a boosting layer."""
    leak: float = 0.8744
    """Leak that it was trained with; 0.8744 in the README of the released code."""
    out: str = ""
    """Run folder to make; by default runs/NAME."""


@going_on()
def import_verb(words: list[str]) -> int:
    """`sresnet import FILE`."""
    path = "FILE" if wants_help(words) else first_word(words, "file", "give a checkpoint of the released code")
    rest = words if wants_help(words) else words[1:]
    options = parse(ImportOptions(), rest, f"sresnet import {path}", "A checkpoint of the released code as a run.")
    if options.data not in ("cifar10", "cifar100", "dvs-cifar10"):
        raise UserError(f"data {options.data!r} is unknown: choose cifar10, cifar100 or dvs-cifar10")
    classes = CLASSES[options.data][0]
    model = load_released(
        path, num_classes=classes, boosting=options.boosting, leak=options.leak, memory_limit=options.memory_limit
    )
    events = model.config.in_channels == 2
    if options.data == "dvs-cifar10" and not events:
        raise UserError(f"{path} holds a network for images: choose --data cifar10 or cifar100")
    name = "dvs-cifar10" if events else options.data
    recipe = Recipe(
        model=model.config,
        data=RELEASED_EVENTS if events else DataConfig(name=name),  # type: ignore[arg-type]
        train=TrainConfig(protocol="released-code"),
    )
    folder = Path(options.out or f"runs/{Path(path).name.split('.')[0]}")
    names = CIFAR10_CLASSES if classes == 10 else unnamed(classes)
    scaling = (
        Counts(input_scale(128, 128, RELEASED_EVENTS.frames))
        if events
        else Pixels(*map(torch.tensor, CIFAR10_STATISTICS))
    )
    size = (64, 64) if events else (32, 32)
    make_folder(folder)
    with only_writer(folder):
        record.claim(folder, recipe)
        environment = record.read_environment(folder) if (folder / record.ENVIRONMENT).exists() else None
        trained_here = environment is not None and "imported_from" not in environment
        weights = folder / WEIGHTS
        if trained_here or (weights.exists() and read_regular(weights) != model_bytes(model)):
            raise UserError(f"{folder} holds a run: choose another --out")
        # Weights come last: where they are, an import is whole. One that was killed goes on, a whole one stays so.
        write_json(folder / record.ENVIRONMENT, {"imported_from": str(path)})
        write_json(folder / record.DATA, {"class_names": names, "image_size": size, **scaling.plain()})
        save_model(model, weights)
    say(f"{describe(recipe.model)}, trained on {name}")
    say(f"run folder: {folder}")
    return 0


RELEASED_EVENTS = EventConfig(
    name="dvs-cifar10",
    split="first900-by-name",
    frames=FrameConfig(by="count", size=64, resize="mean", orientation="spikingjelly"),
)
"""What the released code's event networks were trained on."""


@dataclass(frozen=True, kw_only=True)
class PrepareOptions(Trust):
    """Flags of `sresnet data prepare`."""

    data_dir: str = ""
    """Folder of the data set."""
    cache_dir: str = ""
    """Where the frames are kept; by default ~/.cache/sresnet/frames."""
    data: EventConfig
    """Data set and frames; split, held-out part and augmentation do not change what is made."""
    num_steps: int
    """Frames of a clip."""


@going_on()
def prepare_verb(words: list[str]) -> int:
    """`sresnet data prepare NAME`."""
    known = {name: recipe for name, (_, recipe) in RECIPES.items() if isinstance(recipe.data, EventConfig)}
    choices = list(dict.fromkeys([*known, *EVENT_SETS]))
    if wants_help(words):
        say("usage: sresnet data prepare NAME --data-dir DIR [--field value ...]", "")
        say("Makes the frames of all recordings once, as sresnet train NAME would, and keeps them in the cache.", "")
        say("NAME: " + ", ".join(choices), "")
        say("sresnet data prepare NAME --help explains every field.")
        return 0
    name = first_word(words, "name", f"choose from {', '.join(choices)}")
    if name not in choices:
        raise UserError(f"name {name!r} is unknown: {closest(name, choices)}")
    data = known[name].data if name in known else usual_data(name)
    assert isinstance(data, EventConfig)
    options = parse(
        PrepareOptions(data=data, num_steps=known[name].model.num_steps if name in known else 10),
        words[1:],
        f"sresnet data prepare {name}",
        "Make the frames of event recordings and keep them.",
    )
    started = time.monotonic()
    with filling() as watch:
        prepared = prepare(
            options.data,
            options.data_dir,
            options.num_steps,
            cache_dir=options.cache_dir,
            watch=watch,
            check=partial(check_split, options.data),
            memory_limit=options.memory_limit,
        )
    print_prepared(prepared, time.monotonic() - started)
    print_split(options.data, event_splits(options.data, prepared, seed=0))
    return 0


def print_prepared(prepared: Prepared, seconds: float) -> None:
    """What is in the cache."""
    file = prepared.file
    events = sum(each["events"] for each in prepared.recordings)
    how = f"made in {seconds:.1f} s" if prepared.made_now else "were there already"
    steps, _, height, width = file.shape
    say(
        f"{file.count:,} clips of {steps} frames, {width}x{height} pixels, of {len(prepared.recordings):,} recordings, "
        f"{events:,} events: {file.count * file.clip_bytes / 1e6:,.1f} MB, {how}"
    )
    say(f"cache: {file.path}")


def info_verb(words: list[str]) -> int:
    """`sresnet info MODEL|RUN [--field value ...]`."""
    if wants_help(words):
        say("usage: sresnet info MODEL|RUN [--image-size 32|16x24] [--field value ...]", "", "MODEL: see sresnet list")
        say("image-size: side, or height and width; without it that of RUN, or 32.")
        say("sresnet info MODEL --help explains every field of a model.")
        return 0
    name = first_word(words, "model", "see sresnet list")
    compat, rest = take_option(words[1:], "--compat")
    text, rest = take_option(rest, "--image-size")
    limit, rest = take_option(rest, "--memory-limit")
    memory_limit = gigabytes(limit) if limit else MEMORY_LIMIT
    of_run = None
    if Path(name).is_dir():
        of_run = record.read_recipe(Path(name), memory_limit=memory_limit)
    elif is_shipped(name):
        of_run = read_run(name, memory_limit)
    config = of_run.model if of_run else model_config(name, compat=compat or None)
    config = parse(config, rest, f"sresnet info {name}", "A network, its layers and what they cost.")
    size = image_size(text) if text else image_size_of(name) if of_run else (32, 32)
    if of_run and not text:
        check_image(size, config, name, memory_limit)
    summary = summarise(config, size)
    print_table(
        ("layer", "kernel", "output", "parameters", "input", "MAC / step", "additions / step"),
        [
            [
                layer.name,
                layer.kernel,
                "x".join(map(str, layer.output)),
                f"{layer.parameters:,}",
                layer.input_kind,
                f"{layer.multiply_accumulates:,}" if layer.multiply_accumulates else "",
                f"{layer.spike_additions:,}" if layer.spike_additions else "",
            ]
            for layer in summary.layers
        ],
    )
    say(
        "",
        f"{describe(config)}, {config.in_channels}x{size[0]}x{size[1]} images",
        f"parameters: {summary.parameters:,}",
        f"spiking neurons: {summary.neurons:,}",
        f"multiply-accumulates per step: {sum(layer.multiply_accumulates for layer in summary.layers):,}",
        f"spike additions per step: {sum(layer.spike_additions for layer in summary.layers):,}, "
        "times the mean number of spikes that an input sends",
    )
    return 0


def image_size(text: str) -> tuple[int, int]:
    """Height and width of an image, from a side such as 32, or both, such as 16x24."""
    found = re.fullmatch(r"([0-9]{1,4})(?:x([0-9]{1,4}))?", text)
    sides = [int(side) for side in found.groups(default=found[1])] if found else [0]
    if min(sides) < 1:
        raise UserError(f"image-size {text!r} is no side of 1 to 9999 pixels, nor height and width: try 32, or 16x24")
    return sides[0], sides[1]


def image_size_of(run: str) -> tuple[int, int]:
    """Height and width of what a run was trained on; 32 each where its training has not said yet."""
    if not is_shipped(run) and not (Path(run) / record.DATA).exists():
        return 32, 32
    height, width = about_run(run)["image_size"]
    return height, width


@dataclass(frozen=True, kw_only=True)
class DataInfoOptions(Trust):
    """Flags of `sresnet data info`."""

    damaged: Damaged = "error"
    """skip: leave out what is damaged in a file, and count it, instead of refusing the file."""
    chip: str = ""
    """Camera of AEDAT 2.0 and 3.1 files, such as DAVIS240, where their headers should not decide."""


@dataclass(frozen=True, kw_only=True)
class DataViewOptions(DataInfoOptions):
    """Flags of `sresnet data view`."""

    out: str = ""
    """Picture to write: .png for frames, raster and rates on one page, .gif for the frames one after the other."""
    frames: int = 8
    """Parts of equal time that the recording is cut into."""
    window_ms: float = 0.0
    """Milliseconds that a frame shows, from the beginning of its part on; 0: as much as is not a blur."""
    force: bool = False
    """Write over what is in the way, also what sresnet did not make."""


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


def data_info_verb(words: list[str]) -> int:
    """`sresnet data info PATH`: what an event recording, or a folder of them, holds."""
    path, options = path_and_options(words, DataInfoOptions(), "info", "What an event recording, or a folder, holds.")
    trust: Any = {"damaged": options.damaged, "chip": options.chip, "memory_limit": options.memory_limit}
    if not path.is_dir():
        print_facts(describe_file(path, **trust))
        return 0
    found, notes = find_recordings(path)
    shown = track(found, "reading", console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    print_set_facts(path, describe_set(to_read(shown, **trust)))
    for note in notes:
        say(f"note: {note}")
    return 0


@going_on()
def data_view_verb(words: list[str]) -> int:
    """`sresnet data view PATH --out FILE`: draw an event recording, as .png or .gif."""
    path, options = path_and_options(words, DataViewOptions(), "view", "Draw an event recording.")
    if not options.out:
        raise UserError("--out is missing: name the picture to write, such as recording.png or recording.gif")
    if not 0 <= options.window_ms <= 1e9:  # eleven days
        raise UserError(f"window-ms {options.window_ms:g} is out of range: give milliseconds, or 0 for a fitting time")
    check_free(Path(options.out), view.MARKS, force=options.force)
    recording = read_recording(path, damaged=options.damaged, chip=options.chip, memory_limit=options.memory_limit)
    window = round(1000 * options.window_ms)
    view.save_view(
        recording,
        Path(options.out),
        frames=options.frames,
        window=window,
        title=path.name,
        memory_limit=options.memory_limit,
    )
    say(f"{len(recording):,} events of {path} drawn into {options.out}")
    return 0


def path_and_options(words: list[str], options: C, verb: str, description: str) -> tuple[Path, C]:
    """The path in front of the flags of `sresnet data VERB`, and the flags."""
    path = "PATH" if wants_help(words) else first_word(words, "path", "give a recording, or a folder of recordings")
    rest = words if wants_help(words) else words[1:]
    return Path(path), parse(options, rest, f"sresnet data {verb} {path}", description)


def print_facts(facts: Facts) -> None:
    """A recording, a line for each kind of fact."""
    column, row = facts.busiest_pixel
    say(f"file: {facts.name}")
    say(f"format: {facts.format}")
    say(f"sensor: {facts.sensor}, {facts.width}x{facts.height}")
    say(f"events: {facts.events:,}, {100 * facts.on / facts.events:.1f} % ON")
    say(f"duration: {facts.seconds:.6f} s, from {facts.first:,} to {facts.last:,} microseconds")
    say(f"rate: {facts.rate:,.0f} events/s")
    say(f"pixels with events: {facts.active_pixels:,} of {facts.width * facts.height:,}")
    say(f"busiest pixel: column {column}, row {row}, {facts.busiest_events:,} events")
    say(f"skipped: {counted(facts.skipped)}")


def print_set_facts(folder: Path, facts: SetFacts) -> None:
    """A folder of recordings: in all, by class, and what could not be read."""
    say(f"folder: {folder}")
    say(f"recordings: {facts.recordings:,} in {len(facts.by_class):,} folders")
    for label, count in facts.by_class.items():
        say(f"  {label:24} {count:,}")
    if facts.recordings:
        say(f"sensors: {counted(facts.sensors)}")
        events, seconds = facts.events, facts.seconds
        middle = facts.recordings // 2
        say(f"events: {sum(events):,}; least {events[0]:,}, median {events[middle]:,}, most {events[-1]:,}")
        least, median, most = (f"{seconds[at]:.3f}" for at in (0, middle, -1))
        say(f"seconds: {sum(seconds):,.1f}; least {least}, median {median}, most {most}")
        say(f"skipped: {counted(facts.skipped)}")
    say(f"unreadable: {len(facts.unreadable):,}")
    for reason in facts.unreadable:
        say(f"  {reason}")


def counted(kinds: dict[str, int]) -> str:
    """Names with their numbers."""
    return "; ".join(f"{kind}: {count:,}" for kind, count in kinds.items()) or "nothing"


DATA_VERBS: dict[str, Callable[[list[str]], int]] = {
    "prepare": prepare_verb,
    "info": data_info_verb,
    "view": data_view_verb,
}


@dataclass(frozen=True, kw_only=True)
class StudyOptions(Place):
    """Flags of `sresnet study`."""

    scale: ScaleName = "tiny"
    """paper: the paper's networks and epochs, far more than a CPU can do; small: all tables in about two hours on
    two cores; tiny: a minute a table, on digits, to see that it runs."""
    runs: str = ""
    """Folder of run folders; by default runs/studies/SCALE."""
    results: str = ""
    """Folder of results, small files worth keeping; by default results/studies/SCALE."""
    events_dir: str = ""
    """Folder of DVS-CIFAR10, for scale paper."""
    workers: int = 1
    """Processes that train beside each other, each on its share of the cores, or on a GPU of its own."""
    seeds: int = 0
    """Seeds 0 to seeds - 1 of every row; 0: as many as the scale has."""
    max_minutes: float = float("inf")
    """Stop cleanly after this long; the same command goes on."""
    show: bool = False
    """Train nothing, show what there is."""
    out: str = "docs/results.md"
    """Page that `sresnet study page` writes."""
    force: bool = False
    """Of `sresnet study page`: write over what is in the way, also what sresnet did not make."""

    def folders(self) -> tuple[Path, Path]:
        """Run folders and results."""
        return Path(self.runs or f"runs/studies/{self.scale}"), results_folder(self.results, self.scale)

    def place_of(self, data: AnyData) -> Place:
        """Where a data set is."""
        return replace(self, data_dir=self.events_dir) if data.name == "dvs-cifar10" else self


MOST_WORKERS, MOST_SEEDS = 256, 1000


def study_verb(words: list[str]) -> int:
    """`sresnet study list`, `sresnet study NAME...`."""
    if wants_help(words):
        say("usage: sresnet study list | page | NAME... [--scale tiny|small|paper] [--data-dir DIR] [--show]", "")
        say("NAME: all, or any of those that sresnet study list shows. page: all tables, and what they say of the")
        say("paper's claims, from the results that are there. sresnet study NAME --help explains the flags.")
        return 0
    first_word(words, "study", "sresnet study list shows them")
    names, flags = names_and_flags(words)
    if names == ["list"]:
        for study in STUDIES.values():
            say(f"  {study.name:12} {study.title} ({len(study.trainings())} trainings)")
        return 0
    options = parse(
        StudyOptions(), flags, f"sresnet study {' '.join(names)}", "Train what tables need, and show the tables."
    )
    if names == ["page"]:
        return write_study_page(options)
    studies = chosen_studies(names, options)
    if not options.show:
        stopped = run_studies(studies, options)
        if stopped:
            say(f"stopped ({stopped}): run the same command again to go on")
            return {"SIGINT": 130, "SIGTERM": 143}.get(stopped, 0)
    return show_studies(studies, options.folders()[1])


@going_on()
def write_study_page(options: StudyOptions) -> int:
    """`sresnet study page`."""
    _, kept = options.folders()
    found = read_results(kept)
    if not found:
        raise UserError(f"{kept} holds no results of scale {options.scale}: run sresnet study all first")
    failed, studies = failures(kept), studies_at(options.scale)
    for path in write_page(options.scale, studies, found, failed, Path(options.out), kept, force=options.force):
        say(str(path))
    return 0


def chosen_studies(names: Sequence[str], options: StudyOptions) -> list[Study]:
    """The studies of these names at the scale and with the seeds asked for.

    Raises:
        UserError: no such study, or fewer than one worker or than no seeds.
    """
    at_least(1, workers=options.workers)
    at_least(0, seeds=options.seeds)
    check_minutes(options.max_minutes)
    if options.workers > MOST_WORKERS:
        raise UserError(f"workers {options.workers} is more than {MOST_WORKERS}: give one for each core or GPU at most")
    if options.seeds > MOST_SEEDS:
        raise UserError(f"seeds {options.seeds} is more than {MOST_SEEDS}: the paper shows means of few")
    for name in names:
        if name not in STUDIES and name != "all":
            raise UserError(f"study {name!r} is unknown: {closest(name, [*STUDIES, 'all'])}")
    wanted = list(STUDIES) if "all" in names else names
    studies = [scaled(STUDIES[name], options.scale) for name in wanted]
    return [replace(study, seeds=options.seeds or study.seeds) for study in studies]


@going_on()
def run_studies(studies: Sequence[Study], options: StudyOptions) -> str:
    """Train what they need and is not there yet; returns why it stopped before the end, or ""."""
    runs, kept = options.folders()
    left = to_train(studies, runs, kept)
    if not left:
        return ""
    check_data((training.recipe for _, training in left.values()), options)
    forget_failures(kept, left)
    say(f"{len(left)} trainings, run folders in {runs}, results in {kept}", flush=True)
    names = [study.name for study in studies]
    with stop_asked(options.max_minutes) as asked:
        if options.workers == 1:
            study_worker(names, options, asked)
        else:
            watch_workers(names, options, asked)
        return asked() if to_train(studies, runs, kept) else ""


def check_data(recipes: Iterable[Recipe], options: StudyOptions) -> None:
    """Open each data set of images once, so that a folder that is missing is said before anything is trained.

    Raises:
        UserError: as `open_data`.
    """
    for name, recipe in {recipe.data.name: recipe for recipe in recipes}.items():
        place = options.place_of(recipe.data)
        if isinstance(recipe.data, DataConfig):
            place.open(recipe.data, recipe.seed, recipe.model.num_steps)
        elif name != "digits-dvs" and not place.data_dir:
            flag = "--events-dir" if name == "dvs-cifar10" else "--data-dir"
            raise UserError(f"{name} is read from a folder of yours: add {flag} DIR, the folder that holds it")


def watch_workers(names: list[str], options: StudyOptions, asked: Callable[[], str]) -> None:
    """Start processes that train beside each other, and wait for them; when asked to stop, pass it on."""
    start = multiprocessing.get_context("spawn")
    workers = [
        start.Process(target=study_process, args=(names, options, index), daemon=True)
        for index in range(options.workers)
    ]
    for worker in workers:
        worker.start()
    told = False
    while any(worker.is_alive() for worker in workers):
        if asked() and not told:
            for worker in workers:
                worker.terminate()  # SIGTERM: each stops after its step, with a checkpoint
            told = True
        for worker in workers:
            worker.join(0.2)
    statuses = {worker.exitcode for worker in workers} - {0, -signal.SIGTERM}
    if statuses == {2}:
        raise UserError("a worker could not go on: mend what is said above, and run the same command again")
    if statuses:
        raise RuntimeError("a worker ended with an error, see above")


def study_process(names: list[str], options: StudyOptions, index: int) -> None:
    """Process number `index` of several; their parent tells it when to stop, and so does that it is gone."""
    parent = multiprocessing.parent_process()

    def orphaned() -> str:
        return "" if parent is None or parent.is_alive() else "the process that began it is gone"

    with stop_asked(float("inf")) as asked:

        def train_on() -> int:
            study_worker(names, options, lambda: asked() or orphaned(), index)
            return 0

        sys.exit(answered(train_on))


@going_on()
def study_worker(names: list[str], options: StudyOptions, asked: Callable[[], str], index: int | None = None) -> None:
    """Train what studies need, by itself, or beside other processes as number `index`, until `asked` to stop."""
    studies = chosen_studies(names, options)
    runs, kept = options.folders()
    device = options.torch_device()
    if index is not None and device.type == "cuda" and device.index is None:
        device = torch.device("cuda", index % torch.cuda.device_count())
    if index is not None and device.type == "cpu":
        torch.set_num_threads(max(1, torch.get_num_threads() // options.workers))

    def open_(data: AnyData, seed: int, num_steps: int) -> Splits:
        return options.place_of(data).open(data, seed, num_steps)

    last: dict[str, float] = {}

    def tell(name: str, what: Stand | str) -> None:
        if isinstance(what, str):
            say(f"{name}: {what}", flush=True)
        elif what.metrics or time.monotonic() - last.setdefault(name, time.monotonic()) > 60:
            say(f"{name}: {line_of(what)}", flush=True)
            last[name] = time.monotonic()

    left = to_train(studies, runs, kept)
    with implementation(options.engine):
        work(
            left,
            runs,
            kept,
            open_,
            device=device,
            tell=tell,
            should_stop=lambda: bool(asked()),
            memory_limit=options.memory_limit,
        )


def show_studies(studies: Sequence[Study], kept: Path) -> int:
    """Print what the studies gave; 1 where a training that they need failed."""
    needed, found = trainings_of(studies), read_results(kept)
    failed = {key: reason for key, reason in failures(kept).items() if key in needed}
    for study in studies:
        say("", f"{study.name}: {study.title}", *filter(None, [f"{study.note} {about(study.scale)}".strip()]))
        texts = [row.texts() for row in rows_of(study, found, failed)]
        headings = ("row", "column", "paper", "measured", "seeds")
        print_table(headings, [[text[heading] for heading in headings] for text in texts])
    if failed:
        say("", "failed trainings:")
        for key, reason in failed.items():
            say(f"  {key}: {reason}")
    return 1 if failed else 0


def describe_card(card: Card) -> str:
    """A shipped network in a line."""
    model = describe(from_dict(Recipe, card.recipe).model)
    simulated = ", simulated recordings" if card.simulated else ""
    return f"{model}, trained on {card.data}{simulated}: {card.test_top1:.2f} % of {card.test_images:,} test images"


def list_verb(words: list[str]) -> int:
    """`sresnet list`."""
    if words and not wants_help(words):
        raise UserError(f"argument {words[0]!r} is one too many: sresnet list takes none")
    groups = {
        "models": list_models(),
        "recipes": {name: line for name, (line, _) in RECIPES.items()},
        "data sets": DATA_SETS,
        "pretrained": {name: describe_card(card) for name, card in shipped().items()},
    }
    for group, entries in groups.items():
        say(f"{group}:")
        for name, line in entries.items():
            say(f"  {name:24} {line}")
    return 0


VERBS: dict[str, Callable[[list[str]], int]] = {
    "train": train_verb,
    "evaluate": evaluate_verb,
    "finetune": finetune_verb,
    "predict": predict_verb,
    "analyse": analyse_verb,
    "report": report_verb,
    "import": import_verb,
    "info": info_verb,
    "data": data_verb,
    "study": study_verb,
    "list": list_verb,
}
