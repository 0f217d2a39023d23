"""A trained ANN as a spiking network, by any method, in a run folder; and several conversions side by side."""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from sresnet.analysis.activity import ActivityCounter
from sresnet.analysis.cost import CostCounter
from sresnet.analysis.steps import StepCounter
from sresnet.analysis.walk import Batches, batches_of, spread, walk
from sresnet.convert import Method, RateConfig, tandem_coded, to_spiking
from sresnet.data import AnyData, DataConfig, EventConfig, Samples, Splits
from sresnet.data.scaling import Scaling
from sresnet.errors import UserError
from sresnet.files import make_folder, only_writer, read_json, read_regular, strangers, write_json
from sresnet.models.network import SpikingNetwork
from sresnet.models.saved import WEIGHTS, load, model_bytes, save_model
from sresnet.randomness import seed_of, seeded
from sresnet.studies.study import CONVERSIONS, Conversion
from sresnet.train import record
from sresnet.train.recipe import Recipe, TrainConfig
from sresnet.train.tandem import CHECKPOINT, TandemConfig, TandemEpoch, TandemRun

CALIBRATION_IMAGES = 1000
"""Training images, evenly spread, from which thresholds are taken by default."""
_CONVERSION = "conversion.json"
"""In the folder of a converted run: how it was made."""


class Converted(NamedTuple):
    """A conversion that is done."""

    network: SpikingNetwork
    seconds: float
    """That it took, tandem learning of earlier calls included."""


def convert(
    ann: SpikingNetwork,
    recipe: Recipe,
    splits: Splits,
    scaling: Scaling,
    config: Conversion,
    folder: Path,
    *,
    device: torch.device,
    calibration_images: int = CALIBRATION_IMAGES,
    seed: int = 0,
    watch: Callable[[TandemEpoch], None] = lambda epoch: None,
    should_stop: Callable[[], bool] = lambda: False,
    note: Callable[[str], None] = lambda line: None,
) -> Converted | None:
    """The spiking network of a trained ANN; None where tandem learning was stopped, which the same call goes on with.

    Args:
        ann: the network that `recipe` has trained.
        recipe, splits: the ANN's, of event recordings with the data of `data_of`.
        folder: of the converted run; what tandem learning needs to go on is in another beside it.
        calibration_images: how many training images thresholds are taken from, where they are.
        seed: of Poisson spikes, and of order and augmentation of the images of tandem learning.
        watch: told of every epoch of it, after which `should_stop` is asked.
        note: told when it begins, and which part of the pixels an encoder cuts.

    Raises:
        UserError: as `to_spiking` and `TandemRun`, or another training in its folder.
    """
    started = time.monotonic()
    if not isinstance(config, TandemConfig):
        with seeded(seed_of("convert", seed), device):  # Poisson spikes that thresholds are balanced on
            images = calibration(splits.train, scaling, calibration_images, device)
            if cut := _cut(images, config):
                note(cut)
            network = to_spiking(ann, images, config, input_scale=_input_scale(recipe.data, config))
        return Converted(network, time.monotonic() - started)
    work = Path(f"{folder}-training")
    make_folder(work)
    with only_writer(work):
        if others := [name for name in strangers(work) if name != CHECKPOINT]:
            raise UserError(f"{work} is not empty ({others[0]}) and holds no such training: choose another --out")
        assert isinstance(recipe.data, DataConfig)
        run = TandemRun(ann, recipe.data, splits, scaling, config, work, seed=seed, device=device)
        note(f"tandem learning of {len(run.names)} layers, at most {config.epochs} epochs; it is kept in {work}")
        if not run.go(watch, should_stop):
            return None
    return Converted(tandem_coded(run.ann, run.position.thresholds, config.num_steps), run.position.seconds)


EventFrames = Literal["whole", "steps"]
"""What a network of rates receives where its ANN was trained on one frame of all events of a recording.

whole: that frame at every step, as an image, so that rates approach the ANN. steps: at each step T times the events of
its own window; their mean is the same, but a neuron cannot take back a spike when others come to outweigh it later.
"""


def data_of(recipe: Recipe, config: Conversion, event_frames: EventFrames = "whole") -> tuple[AnyData, int]:
    """The data that a converted network takes, and the frames of a clip of events: one for each time step.

    UserError for a representation of frames that cannot be given so.
    """
    data = recipe.data
    if not isinstance(data, EventConfig) or not isinstance(config, RateConfig):
        return data, 1
    if event_frames == "steps" and data.frames.representation not in ("counts", "voxel"):
        raise UserError(
            f"event_frames 'steps' divides what the ANN took among the time steps, and representation "
            f"{data.frames.representation!r} of parts does not add up to that of all: leave --event-frames out"
        )
    by = "whole" if event_frames == "whole" else "time" if data.frames.by == "whole" else data.frames.by
    return replace(data, frames=replace(data.frames, by=by)), config.num_steps


def _input_scale(data: AnyData, config: Conversion) -> float:
    """What event frames are multiplied by so that their mean is the frame of all events."""
    in_steps = isinstance(data, EventConfig) and data.frames.by != "whole" and isinstance(config, RateConfig)
    return float(config.num_steps) if in_steps and isinstance(config, RateConfig) else 1.0


def calibration(samples: Samples, scaling: Scaling, count: int, device: torch.device) -> Tensor:
    """So many training images, evenly spread, scaled for the network."""
    some = samples.subset(spread(len(samples), count))
    return torch.cat([images for images, _ in batches_of(some, scaling, batch_size=250, device=device)])


def made_by(config: Conversion, calibration_images: int = CALIBRATION_IMAGES, *, method: str = "") -> dict[str, Any]:
    """What conversion.json holds; `method` is what the user called it, by default the name it is known by."""
    return {"method": method or _name_of(config), "convert": asdict(config), "calibration_images": calibration_images}


def _name_of(config: Conversion) -> str:
    """What a method is called whose number of steps alone is not usual; "" for one with other fields."""
    for name, usual in CONVERSIONS.items():
        if type(usual) is type(config) and asdict(usual) | _steps_of(config) == asdict(config):
            return name
    return ""


def _steps_of(config: Conversion) -> dict[str, int]:
    """The fields that count time steps, and how long tandem learning goes on."""
    names = ("num_steps", "internal_steps", "epochs", "stage_epochs", "batch_size")
    return {name: getattr(config, name) for name in names if hasattr(config, name)}


def _cut(images: Tensor, config: Method) -> str:
    """Which part of the pixels an encoder of spikes cuts, and what to do; "" where it cuts none."""
    if not isinstance(config, RateConfig) or config.encoder not in ("poisson-signed", "two-spikes") or images.ndim == 5:
        return ""
    cut, least = float((images.abs() > config.input_height).float().mean()), float(images.abs().max())
    cure = f"; --poisson-scale {math.ceil(100 * least) / 100:g} cuts none" if config.encoder == "poisson-signed" else ""
    said = f"{100 * cut:.3g} % of the pixels are beyond {config.input_height:g} and cut by {config.encoder}{cure}"
    return said if cut > 0 else ""


def check_folder(folder: Path, source: str, made: Mapping[str, Any]) -> None:
    """Raise UserError where a folder holds something else than this conversion, before time is spent on it."""
    if (folder / _CONVERSION).exists():
        if read_json(folder / _CONVERSION) != made:
            raise UserError(f"{folder} holds a conversion with other fields ({_CONVERSION}): choose another --out")
    elif others := set(strangers(folder)) - {record.CONFIG, record.ENVIRONMENT}:
        raise UserError(f"{folder} is not empty ({min(others)}) and holds no conversion: choose another --out")
    if (folder / record.ENVIRONMENT).exists() and not _is_of(folder, source):
        theirs = record.read_environment(folder).get("converted_from", "training")
        raise UserError(f"{folder} holds a run made of {theirs}: choose another --out")


def _is_of(folder: Path, source: str) -> bool:
    """Whether a run folder was converted from `source`, by whatever path."""
    theirs = record.read_environment(folder).get("converted_from")
    return theirs is not None and Path(theirs).resolve() == Path(source).resolve()


def check_steps(folder: Path, made_for: int, num_steps: int) -> None:
    """Raise UserError where a converted run is to go on for more time steps than its currents are shifted for.

    A shift, theta / (2 T) in every current, rounds the rates of its own T; after more steps it is an error that stays.
    """
    if num_steps <= made_for or not (folder / _CONVERSION).exists():
        return
    if '"shift": true' in json.dumps(read_json(folder / _CONVERSION)):  # whatever else a damaged file holds
        raise UserError(
            f"num_steps {num_steps} is more than the {made_for} of {folder}, for which the shift of its currents is: "
            f"convert again with --num-steps {num_steps}"
        )


def converted_before(folder: Path, source: str, memory_limit: float) -> Converted | None:
    """The network of a run folder that was converted from `source` and saved; None where there is none."""
    if not (folder / WEIGHTS).exists() or not (folder / _CONVERSION).exists():
        return None
    if not _is_of(folder, source):
        return None
    seconds = float(record.read_environment(folder).get("seconds", 0.0))
    return Converted(load(folder, memory_limit=memory_limit), seconds)


def save_converted(
    found: Converted, recipe: Recipe, source: str, folder: Path, about: Mapping[str, Any], made: dict[str, Any]
) -> None:
    """Write the run folder of a network converted from `source`; UserError where another run is in the way.

    Args:
        found: of `convert`.
        recipe: of the ANN.
        about: class names, image size and scaling, as in the data.json of the ANN's run.
        made: see `made_by`.
    """
    network = found.network
    own = Recipe(model=network.config, data=recipe.data, train=TrainConfig(), seed=recipe.seed)
    make_folder(folder)
    with only_writer(folder):
        check_folder(folder, source, made)
        record.claim(folder, own)
        weights = folder / WEIGHTS
        if weights.exists() and read_regular(weights) != model_bytes(network):
            raise UserError(f"{folder} was made of other weights of {source}: choose another --out")
        theirs = record.read_environment(Path(source)) if (Path(source) / record.ENVIRONMENT).exists() else {}
        where = {name: theirs[name] for name in record.PLACES if theirs.get(name)}
        own_about = {"converted_from": source, "seconds": round(found.seconds, 2)}
        write_json(folder / record.ENVIRONMENT, own_about | where)
        write_json(folder / _CONVERSION, made)
        write_json(folder / record.DATA, dict(about))
        save_model(network, weights)


@dataclass(frozen=True, kw_only=True)
class Point:
    """A network on some images; numbers are per image."""

    name: str
    """Method, or run of a network that was trained as it is."""
    num_steps: int
    """Time steps; of few-spikes neurons those within the one time step."""
    top1: float
    """Percent of the images whose class has the highest score after all time steps."""
    spikes: float
    synaptic_operations: float
    """Additions and multiply-accumulates."""
    energy: float
    """Microjoules of the arithmetic in float32, estimated: synapses and updates of the neurons."""
    images: int


def measured(name: str, model: SpikingNetwork, batches: Batches, *, seed: int = 0) -> Point:
    """Accuracy, spikes, operations and energy from one pass over the images; arguments and errors as `walk`."""
    steps, activity, cost = StepCounter(), ActivityCounter(model), CostCounter(model)
    walk(model, batches, [steps, activity, cost], seed=seed)
    found, counted, spent = steps.result(), activity.result(), cost.result()
    energy = spent.energy()
    return Point(
        name=name,
        num_steps=len(found.top1),
        top1=found.top1[-1],
        spikes=counted.spikes,
        synaptic_operations=spent.synaptic_operations,
        energy=energy.synapses + energy.updates,
        images=found.images,
    )


def compared(
    ann: SpikingNetwork,
    methods: Mapping[str, Sequence[Method]],
    calibration: Callable[[Method], Tensor],
    batches: Callable[[Method], Batches],
    *,
    seed: int = 0,
) -> Iterator[Point]:
    """Every method, one after the other.

    Args:
        ann: the trained ANN.
        methods: name -> the same method with several numbers of steps.
        calibration: gives some of its training images, [N, C, H, W], or clips of event frames for a method.
        batches: gives the images or clips to measure on, anew at each call.
        seed: of the Poisson encoders.

    Raises:
        UserError: as `to_spiking` and `walk`.
    """
    for name, versions in methods.items():
        for method in versions:
            point = measured(name, to_spiking(ann, calibration(method), method), batches(method), seed=seed)
            yield replace(point, num_steps=getattr(method, "internal_steps", point.num_steps))
