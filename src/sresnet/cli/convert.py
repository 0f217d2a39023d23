"""`sresnet convert`."""

import functools
import hashlib
import itertools
import json
import shlex
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from sresnet.analysis.walk import Batches, batches_of, spread
from sresnet.cli.parse import at_least, check_minutes, name_and_flags, parse, take_option
from sresnet.cli.runs import RuntimeOptions, accuracy, other_data, part_of, print_split, trained
from sresnet.cli.terminal import print_table, stop_asked
from sresnet.config import closest
from sresnet.convert import FewSpikesConfig, Method, RateConfig, WhetstoneConfig
from sresnet.data import AnyData, EventConfig, Splits
from sresnet.data.scaling import Scaling
from sresnet.errors import UserError
from sresnet.files import write_json
from sresnet.models.summary import describe
from sresnet.ops.dispatch import implementation
from sresnet.ops.memory import keep_freed_memory
from sresnet.printing import give, going_on, say
from sresnet.randomness import seed_of
from sresnet.report import analysis_files
from sresnet.report.analysis_files import save_conversions
from sresnet.studies.conversions import (
    CALIBRATION_IMAGES,
    EventFrames,
    calibration,
    check_folder,
    compared,
    convert,
    data_of,
    made_by,
    measured,
    save_converted,
)
from sresnet.studies.study import CONVERSIONS, Conversion
from sresnet.train import record
from sresnet.train.evaluate import evaluate
from sresnet.train.recipe import Recipe
from sresnet.train.record import recipe_of
from sresnet.train.tandem import TandemConfig, TandemEpoch

C = TypeVar("C", bound=Conversion)


@dataclass(frozen=True, kw_only=True)
class _ConvertOptions(RuntimeOptions):
    """Flags of `sresnet convert` that all methods have."""

    calibration_images: int = CALIBRATION_IMAGES
    """Training images, evenly spread, from which thresholds are taken."""
    batch_size: int = 250
    """Images at a time in the evaluation; affects only memory and speed, and which spikes a Poisson encoder draws."""
    out: str = ""
    """Run folder to make; by default that of the ANN with method, time steps and what else is not usual behind it."""


@dataclass(frozen=True, kw_only=True)
class _RateOptions(_ConvertOptions, RateConfig):
    """Those of firing rates: the method, field by field."""

    event_frames: EventFrames = "whole"
    """Of an ANN of events, whole: the frame of all events at every step, as an image; steps: at each step the events of
    its own time window, as they come, whose order then matters."""


@dataclass(frozen=True, kw_only=True)
class _FewSpikesOptions(_ConvertOptions, FewSpikesConfig):
    """Those of few spikes."""


@dataclass(frozen=True, kw_only=True)
class _WhetstoneOptions(_ConvertOptions, WhetstoneConfig):
    """Those of single spikes."""


@dataclass(frozen=True, kw_only=True)
class _TandemOptions(_ConvertOptions, TandemConfig):
    """Those of tandem learning, which trains."""

    max_minutes: float = float("inf")
    """Stop after the first epoch that ends later than this; the same command goes on."""
    seed: int = 0
    """Of order and augmentation of the images."""

    def __post_init__(self) -> None:
        _part_of(self, TandemConfig)  # checks the schedule
        check_minutes(self.max_minutes)


def _part_of(options: _ConvertOptions, kind: type[C]) -> C:
    """The method alone, without the flags that all have; it checks itself."""
    return kind(**{field.name: getattr(options, field.name) for field in fields(kind)})


_OPTIONS: dict[type, type[_ConvertOptions]] = {
    RateConfig: _RateOptions,
    FewSpikesConfig: _FewSpikesOptions,
    WhetstoneConfig: _WhetstoneOptions,
    TandemConfig: _TandemOptions,
}


@dataclass(frozen=True, kw_only=True)
class _CompareOptions(RuntimeOptions):
    """Flags of `sresnet convert RUN --compare`."""

    compare: tuple[str, ...] = ("deng",)
    """Methods, each as it is by default."""
    num_steps: tuple[int, ...] = (8, 16, 32, 64)
    """Numbers of time steps to try with each method of firing rates."""
    internal_steps: tuple[int, ...] = (4, 6, 8, 10)
    """Numbers of steps within the one time step of few-spikes."""
    beside: tuple[str, ...] = ()
    """Runs of networks that were trained as spiking ones, to be measured too."""
    part: str = ""
    """Images to measure on: validation, test or train; by default those that the run held out, else test."""
    images: int = 1000
    """How many of them, evenly spread; 0: all."""
    calibration_images: int = 1000
    """Training images, evenly spread, from which thresholds are taken."""
    batch_size: int = 100
    """Images at a time; affects only memory and speed, and which spikes a Poisson encoder draws."""
    out: str = ""
    """Folder for the table as numbers and the figure; by default conversions in the run folder."""
    force: bool = False
    """Overwrite what is in the way, even if sresnet did not make it."""


@going_on()
def convert_verb(words: list[str]) -> int:
    """`sresnet convert RUN --method NAME`, or `sresnet convert RUN --compare NAME ...`."""
    source, rest = name_and_flags(words, "run", "give the folder of a trained ANN, of neuron relu and one time step")
    source = _by_name(source)
    if any(word.partition("=")[0] == "--compare" for word in rest):
        return _compare(source, rest, shlex.join(["sresnet", "convert", *words]))
    given, rest = take_option(rest, "--method")
    method = given or "deng"
    usual = _method(method)
    options = parse(
        _OPTIONS[type(usual)](**asdict(usual)),
        rest,
        f"sresnet convert {source} --method {method}",
        "A trained ANN as a spiking network, in a run folder of its own. --method NAME, "
        f"of {', '.join(CONVERSIONS)}, sets what the flags below then change.",
    )
    at_least(1, calibration_images=options.calibration_images, batch_size=options.batch_size)
    recipe = recipe_of(source, memory_limit=options.memory_limit)
    config = _part_of(options, type(usual))
    _check_data(recipe, source, config)
    made = made_by(config, options.calibration_images, method=method)
    suffix = _suffix(method, config, options.calibration_images)
    if getattr(options, "event_frames", "whole") != "whole":
        made, suffix = made | {"event_frames": "steps"}, f"{suffix}-steps"
    folder = Path(options.out or source + suffix)
    check_folder(folder, source, made)
    device, splits = options.torch_device(), options.open_again(recipe, source)
    data, frames = data_of(recipe, config, getattr(options, "event_frames", "whole"))
    for_spikes = _splits_of(options, recipe, source, splits, data, frames)
    if device.type == "cpu":
        keep_freed_memory()
    ann, scaling, about = trained(source, device, options.memory_limit, splits.test)
    if ann.config != recipe.model:
        raise UserError(
            f"{source} holds the weights of {describe(ann.config)}, and its {record.CONFIG} is of "
            f"{describe(recipe.model)}: the folder holds files of two runs"
        )
    epochs: list[TandemEpoch] = []

    def watch(epoch: TandemEpoch) -> None:
        epochs.append(epoch)
        say(
            f"epoch {epoch.epoch}/{epoch.epochs}  {epoch.spiking} of {epoch.layers} layers spiking  "
            f"loss {epoch.loss:.3f}  validation {epoch.validation_top1:.2f} %",
            flush=True,
        )

    until = stop_asked(options.max_minutes) if isinstance(options, _TandemOptions) else nullcontext(str)
    with until as asked, implementation(options.engine):
        found = convert(
            *(ann, replace(recipe, data=data), for_spikes, scaling, config, folder),
            device=device,
            calibration_images=options.calibration_images,
            seed=options.seed if isinstance(options, _TandemOptions) else 0,
            watch=watch,
            should_stop=lambda: bool(asked()),
            note=say,
        )
        if found is None:
            say(f"stopped after epoch {epochs[-1].epoch} ({asked()}): run the same command again to resume")
            return {"SIGINT": 130, "SIGTERM": 143}.get(asked(), 0)
    network = found.network
    about = {"class_names": about["class_names"], "image_size": about["image_size"], **scaling.plain()}
    save_converted(found, replace(recipe, data=data), source, folder, about, made)
    say(f"run folder: {folder}")
    settings: dict[str, Any] = {"batch_size": options.batch_size, "seed": seed_of("evaluate", recipe.seed)}
    with implementation(options.engine):
        before = evaluate(ann, splits.test, scaling, **settings)
        after = evaluate(network, for_spikes.test, scaling, **settings)
    result = {"test_top1": after.top1, "test_images": after.images, "ann_test_top1": before.top1}
    write_json(folder / record.RESULT, result)
    give({"run": folder, "of": source, "num_steps": network.config.num_steps} | result | other_data(splits))
    of = accuracy("test", splits.about)
    steps = f"{network.config.num_steps} time step{'s' if network.config.num_steps > 1 else ''}"
    say(f"{of}: {after.top1:.2f} % after {steps}, the ANN {before.top1:.2f} %")
    print_split(recipe.data, splits)
    return 0


def _compare(source: str, words: list[str], line: str) -> int:
    """Several methods and numbers of time steps, measured on the same images: a table, and files of it."""
    options = parse(_CompareOptions(), words, f"sresnet convert {source}", "Conversions of one ANN side by side.")
    at_least(1, calibration_images=options.calibration_images, batch_size=options.batch_size)
    at_least(0, images=options.images)
    if not options.compare or not options.num_steps or not options.internal_steps:
        raise UserError("--compare and numbers of steps need at least one value, such as --compare deng --num-steps 32")
    methods = {name: _with_steps(_method(name), options.num_steps, options.internal_steps) for name in options.compare}
    recipe = recipe_of(source, memory_limit=options.memory_limit)
    for each in itertools.chain.from_iterable(methods.values()):
        _check_data(recipe, source, each)
    folder = Path(options.out or Path(source) / "conversions")
    analysis_files.claim(folder, analysis_files.CONVERSIONS, analysis_files.CONVERSIONS_KIND, force=options.force)
    device, splits = options.torch_device(), options.open_again(recipe, source)
    part = options.part or ("test" if splits.validation is None else "validation")
    ann, scaling, _ = trained(source, device, options.memory_limit, splits.test)
    beside = {run: trained(run, device, options.memory_limit, splits.test) for run in options.beside}
    seed = seed_of("evaluate", recipe.seed)

    @functools.cache
    def of(data: AnyData, frames: int) -> Splits:
        return _splits_of(options, recipe, source, splits, data, frames)

    def images(method: Method) -> Tensor:
        return calibration(of(*data_of(recipe, method)).train, scaling, options.calibration_images, device)

    def batches(data: AnyData, frames: int, scaling: Scaling = scaling) -> Batches:
        samples = part_of(of(data, frames), part)
        samples = samples.subset(spread(len(samples), options.images)) if options.images else samples
        return batches_of(samples, scaling, batch_size=options.batch_size, device=device)

    def of_method(method: Method) -> Batches:
        return batches(*data_of(recipe, method))

    part_of(splits, part)
    with implementation(options.engine):
        before = measured("the ANN", ann, batches(recipe.data, 1))
        points = list(compared(ann, methods, images, of_method, seed=seed))
        for run, (network, its_scaling, _) in beside.items():
            its = recipe_of(run, memory_limit=options.memory_limit)
            points.append(measured(run, network, batches(its.data, its.model.num_steps, its_scaling), seed=seed))
    rows = [(p.name, p.num_steps, p.top1, p.spikes, p.synaptic_operations, p.energy) for p in points]
    print_table(
        "network | time steps | accuracy %:.2f | spikes:,.0f | synaptic operations:,.0f | energy (µJ):.3g", rows
    )
    say(f"on {before.images:,} {part} images; the ANN: {before.top1:.2f} %")
    print_split(recipe.data, splits)
    about = {"run": source, "data": recipe.data.name, "part": part, "images": before.images}
    about |= other_data(splits) | record.provenance(line, device)
    paths = save_conversions(points, before.top1, folder, about)
    give(about | {"ann_top1": before.top1, "points": points})
    say(f"written to {folder}: {', '.join(path.name for path in paths)}")
    return 0


def _method(name: str) -> Conversion:
    """The method of this name; UserError for none."""
    if name not in CONVERSIONS:
        raise UserError(f"method {name!r} is unknown: {closest(name, list(CONVERSIONS))}")
    return CONVERSIONS[name]


def _with_steps(method: Conversion, num_steps: Sequence[int], internal_steps: Sequence[int]) -> list[Method]:
    """The method with each number of steps that it can have; UserError for one that trains."""
    if isinstance(method, TandemConfig):
        raise UserError("method 'tandem' trains for hours: convert with it first, and name its run after --beside")
    if isinstance(method, RateConfig):
        return [replace(method, num_steps=each) for each in num_steps]
    if isinstance(method, FewSpikesConfig):
        return [replace(method, internal_steps=each) for each in internal_steps]
    return [method]


def _suffix(name: str, config: Conversion, calibration_images: int) -> str:
    """What the folder of a conversion has behind the ANN's name: method, steps, and a digest of what is not usual."""
    steps, usual = "", CONVERSIONS[name]
    if isinstance(usual, RateConfig | TandemConfig) and isinstance(config, RateConfig | TandemConfig):
        steps, usual = f"-T{config.num_steps}", replace(usual, num_steps=config.num_steps)
    if isinstance(usual, FewSpikesConfig) and isinstance(config, FewSpikesConfig):
        steps, usual = f"-K{config.internal_steps}", replace(usual, internal_steps=config.internal_steps)
    if config == usual and calibration_images == _ConvertOptions.calibration_images:
        return f"-{name}{steps}"
    text = json.dumps([asdict(config), calibration_images])
    return f"-{name}{steps}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _by_name(source: str) -> str:
    """The same run, called alike however its path was typed, so that others can be named after it."""
    path = Path(source)
    return source if not source else str(path if path.name not in ("", "..") else path.resolve())


def _splits_of(
    options: RuntimeOptions, recipe: Recipe, source: str, splits: Splits, data: AnyData, frames: int
) -> Splits:
    """The data of a run; of recordings of events, clips of so many frames, counted as `data` says."""
    if not isinstance(recipe.data, EventConfig) or (data == recipe.data and frames == recipe.model.num_steps):
        return splits
    return options.open_again(replace(recipe, data=data), source, frames)


def _check_data(recipe: Recipe, source: str, method: Conversion) -> None:
    """Raise UserError for events or pixels that the method cannot encode."""
    if isinstance(recipe.data, EventConfig):
        if isinstance(method, TandemConfig):
            raise UserError(
                f"{source} was trained on events, and tandem learning gives all of an input at the first time step: "
                "choose a method of rates, such as --method deng, or few-spikes"
            )
        if isinstance(method, RateConfig) and method.encoder != "direct":
            raise UserError(
                f"encoder {method.encoder!r} encodes images, and {source} was trained on events, whose frames are "
                "taken as they are: add --encoder direct"
            )
        return
    if isinstance(method, RateConfig) and method.encoder == "poisson" and recipe.data.pixels != "intensity":
        raise UserError(
            f"encoder 'poisson' takes intensities, and {source} was trained on normalised pixels: use poisson-signed, "
            "or train with --data.pixels intensity"
        )
