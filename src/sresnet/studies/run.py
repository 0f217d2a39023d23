"""Trains what studies need, each network once, by any number of processes that share two folders.

There is no coordinator. Every worker goes through the list, takes the first run that is open and that nobody
holds, and trains it in its run folder, RUNS/KEY, or RUNS/NAME/SEED where it has a name. What is finished is written to
RESULTS/KEY.json. A worker that is stopped or killed leaves a checkpoint, from which the next worker resumes. So more
workers are more processes with the same two folders, on one machine or on several that share a disk.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from sresnet.analysis import Batches, analyse, batches_of, early_exit, spread
from sresnet.analysis.exits import best_class, mean_scores
from sresnet.config import to_dict
from sresnet.data import AnyData, Samples, Splits
from sresnet.data.scaling import Scaling, scaling_from_plain
from sresnet.errors import UserError, mendable
from sresnet.files import InUseError, make_folder, only_writer, write_json
from sresnet.limits import MEMORY_LIMIT
from sresnet.models.inference import check_scores, evaluating
from sresnet.models.network import SpikingNetwork
from sresnet.models.saved import BEST_WEIGHTS, WEIGHTS, load
from sresnet.ops.memory import keep_freed_memory
from sresnet.randomness import seed_of
from sresnet.studies import results
from sresnet.studies.conversions import check_folder, convert, converted_before, made_by, save_converted
from sresnet.studies.study import Result, Study, Training
from sresnet.train import record
from sresnet.train.command import command
from sresnet.train.loop import Progress, train
from sresnet.train.tandem import TandemEpoch

ACTIVITY_IMAGES = 1000
"""Test images that activity and operations are counted on, evenly spread."""
WAIT_SECONDS = 2.0
"""Between two looks, where everything left waits for what another worker trains."""

Open = Callable[[AnyData, int, int], Splits]
"""(data, seed, num_steps) -> images or clips."""
Told = Progress | str
"""How far a training run is, or what has become of it."""


def _nothing(*_: Any) -> None:
    """Ignore what is told."""


def to_train(studies: Iterable[Study], runs: Path, kept: Path) -> dict[str, tuple[str, Training]]:
    """Key -> (name for people, training) of all that is left to do, in an order to do it.

    Seed 0 of all rows of all studies comes before seed 1 of any, so that wherever it stops there is something of each.
    What a network is fine-tuned from is trained again where only its result was kept and not its weights.

    Args:
        studies: what is wanted.
        runs: folder of run folders.
        kept: folder of results.
    """
    left: dict[str, tuple[str, Training]] = {}
    for study in studies:
        names, wanted = _names_of(study), study.training_runs()
        unfinished = [training for training in wanted if not _done(training, runs, kept)]
        starts = {start.key() for training in unfinished for start in training.chain()[:-1]}
        for training in wanted:
            key = training.key()
            if not _done(training, runs, kept, weights=key in starts):
                left.setdefault(key, (names[key], training))
    return dict(sorted(left.items(), key=lambda item: item[1][1].recipe.seed))


def _names_of(study: Study) -> dict[str, str]:
    """Key of a training run -> table, row, column and seed, of the first cell that looks at it."""
    names: dict[str, str] = {}
    for seed in range(study.seeds):
        for cell in study.cells:
            name = ", ".join(filter(None, (study.name, cell.row, cell.column, f"seed {seed}")))
            for training in cell.training_runs():
                own = training.with_seed(seed)
                detail = f" (leak {own.recipe.model.leak:g})" if len(cell.training_runs()) > 1 else ""
                names.setdefault(own.key(), name + detail)
                for start in own.chain()[:-1]:
                    names.setdefault(start.key(), f"{name}: {'the ANN' if own.conversion else 'what it starts from'}")
    return names


def work(
    left: Mapping[str, tuple[str, Training]],
    runs: Path,
    kept: Path,
    open_: Open,
    *,
    device: torch.device,
    only: str = "",
    tell: Callable[[str, Told], None] = _nothing,
    should_stop: Callable[[], bool] = lambda: False,
    memory_limit: float = MEMORY_LIMIT,
) -> None:
    """Train what is left until nothing is, or until `should_stop`; a run that fails does not stop the others.

    Args:
        left: as `to_train` gives it.
        runs: folder of run folders.
        kept: folder of results.
        open_: how data are opened.
        device: where to train.
        only: key of the one to train; it is waited for where another process trains it.
        tell: told the name of a training run, and how far it is.
        should_stop: asked after every step of training.
        memory_limit: as in `train`.

    Raises:
        UserError: a folder that cannot be written.
    """
    make_folder(kept, "--results")
    starts = {start.key() for _, training in left.values() for start in training.chain()[:-1]}
    one = partial(_run_one, runs=runs, open_=open_, device=device, should_stop=should_stop, memory_limit=memory_limit)
    while not should_stop():
        failed = results.failures(kept)
        undone = [
            (name, training)
            for key, (name, training) in left.items()
            if key not in failed and only in ("", key) and not _done(training, runs, kept, weights=key in starts)
        ]
        for name, training in undone:
            lost = next((start.key() for start in training.chain()[:-1] if start.key() in failed), None)
            if lost:
                results.write_failure(kept, training.key(), name, f"what it starts from failed: {failed[lost]}")
                break
            weights = training.key() in starts
            if _ready(training, runs, kept) and _attempt(training, runs, kept, weights, one, partial(tell, name), name):
                break
        else:
            if not undone or (not only and all(_ready(training, runs, kept) for _, training in undone)):
                return  # nothing is left, or other workers hold it
            time.sleep(WAIT_SECONDS)


def _ready(training: Training, runs: Path, kept: Path) -> bool:
    """Whether the network that a run starts from is there."""
    return training.start is None or _done(training.start, runs, kept, weights=True)


def _done(training: Training, runs: Path, kept: Path, weights: bool = False) -> bool:
    """Whether a run is finished and its result kept; with `weights`, whether its network is there as well."""
    there = results.path_of(kept, training.key()).exists()
    return there and (not weights or (runs / training.folder / WEIGHTS).exists())


def _attempt(
    training: Training,
    runs: Path,
    kept: Path,
    weights: bool,
    one: Callable[..., Result | None],
    tell: Callable[[Told], None],
    name: str,
) -> bool:
    """Train one run by `one`, which is `_run_one` of this worker, and keep its result; False where another holds it.

    `weights`: its network is wanted too. `name`: of the run, for people.
    """
    key = training.key()
    claim = runs / ".held" / key
    make_folder(claim, "--runs")
    with ExitStack() as stack:
        try:
            stack.enter_context(only_writer(claim))
        except InUseError:
            return False
        if _done(training, runs, kept, weights):  # another worker has just finished it
            return True
        tell(f"begins, {key}")
        try:
            result = one(training, tell=tell)
        except Exception as error:
            said = str(error) if isinstance(error, UserError) else mendable(error)
            reason = said or f"{type(error).__name__}: {error}"
            results.write_failure(kept, key, name, " ".join(reason.split()))
            tell(f"failed: {reason}")
            return True
        if result is None:
            tell("stopped: the same command resumes it")
            return True
        if not results.path_of(kept, key).exists():  # trained again for its weights
            results.write(kept, result)
        tell(f"finished: {result.result['test_top1']:.2f} %")
    return True


def _run_one(
    training: Training,
    runs: Path,
    open_: Open,
    *,
    device: torch.device,
    tell: Callable[[Told], None] = _nothing,
    should_stop: Callable[[], bool] = lambda: False,
    memory_limit: float = MEMORY_LIMIT,
) -> Result | None:
    """Train in its run folder and analyse the network; None where it was stopped. Arguments and errors as `train`."""
    if training.conversion is not None:
        return _convert_one(training, runs, open_, device, tell, should_stop, memory_limit)
    key, recipe = training.key(), training.recipe
    splits = open_(recipe.data, recipe.seed, recipe.model.num_steps)
    folder = runs / training.folder
    outcome = train(
        replace(recipe, pretrained=str(runs / training.start.folder) if training.start else recipe.pretrained),
        splits,
        folder,
        device=device,
        watch=tell,
        should_stop=should_stop,
        note=tell,
        memory_limit=memory_limit,
    )
    if outcome.state == "stopped":
        return None
    scaling, seed = scaling_from_plain(record.read_about(folder)), seed_of("evaluate", recipe.seed)

    def by_steps(model: SpikingNetwork) -> tuple[float, ...]:
        batches = batches_of(splits.test, scaling, batch_size=2 * recipe.train.batch_size, device=device)
        return early_exit(model, batches, seed=seed).top1_by_step

    model = load(folder, memory_limit=memory_limit).to(device)
    best_by_steps: tuple[float, ...] = ()
    if recipe.train.protocol == "best-test-epoch":
        best_by_steps = by_steps(load(folder / BEST_WEIGHTS, memory_limit=memory_limit).to(device))
    return Result(
        key=key,
        command=command_of(training),
        config=to_dict(recipe) | {"pretrained": training.start.key() if training.start else recipe.pretrained},
        environment=record.without_places(record.read_environment(folder)),
        metrics=record.read_metrics(folder),
        result=outcome.result,
        by_steps=by_steps(model),
        best_by_steps=best_by_steps,
        activity=_activity_of(model, splits.test, scaling, seed),
    )


def _convert_one(
    training: Training,
    runs: Path,
    open_: Open,
    device: torch.device,
    tell: Callable[[Told], None],
    should_stop: Callable[[], bool],
    memory_limit: float,
) -> Result | None:
    """Convert the ANN that it starts from, measure and analyse the spiking network; None where it was stopped.

    Arguments and errors as `_run_one`, and as `convert`. Tandem learning goes on where it was stopped.
    """
    start, config, recipe = training.start, training.conversion, training.recipe
    assert start is not None
    assert config is not None
    folder, source = runs / training.folder, runs / start.folder
    splits = open_(recipe.data, recipe.seed, recipe.model.num_steps)
    about = record.read_about(source)
    scaling = scaling_from_plain(about)

    def watch(epoch: TandemEpoch) -> None:
        tell(
            f"epoch {epoch.epoch}/{epoch.epochs}  {epoch.spiking} of {epoch.layers} layers spiking  "
            f"loss {epoch.loss:.3f}  validation {epoch.validation_top1:.2f} %"
        )

    if device.type == "cpu":
        keep_freed_memory()
    made = made_by(config)
    check_folder(folder, str(source), made)
    found = converted_before(folder, str(source), memory_limit)
    if found is None:
        ann = load(source, memory_limit=memory_limit).to(device)
        found = convert(
            *(ann, recipe, splits, scaling, config, folder),
            device=device,
            seed=recipe.seed,
            watch=watch,
            should_stop=should_stop,
        )
        if found is None:
            return None
        shape = {"class_names": about["class_names"], "image_size": about["image_size"]}
        save_converted(found, recipe, str(source), folder, shape | scaling.plain(), made)
    network = found.network.to(device)
    seed = seed_of("evaluate", recipe.seed)
    batches = batches_of(splits.test, scaling, batch_size=2 * recipe.train.batch_size, device=device)
    by_steps = _top1_by_step(network, batches, seed)
    before = record.read_result(source)
    result = {
        "test_top1": by_steps[-1],
        "test_images": len(splits.test),
        "ann_test_top1": before["test_top1"],
        "conversion_seconds": round(found.seconds, 2),
        "split": before.get("split", {}),
    }
    write_json(folder / record.RESULT, result)
    return Result(
        key=training.key(),
        command=command_of(training),
        config=to_dict(recipe) | {"pretrained": start.key(), "conversion": to_dict(config)},
        environment=record.environment(device),
        metrics=(),
        result=result,
        by_steps=by_steps,
        activity=_activity_of(network, splits.test, scaling, seed),
    )


def _top1_by_step(model: SpikingNetwork, batches: Batches, seed: int) -> tuple[float, ...]:
    """Test accuracy after 1, 2, ... T steps, as `early_exit` has it, with the scores of one batch in memory."""
    hits, images = torch.zeros(model.config.num_steps, dtype=torch.float64), 0
    with evaluating(model, seed):
        for x, labels in batches:
            scores = mean_scores(model.forward_steps(x))
            check_scores(scores, images)
            hits += (best_class(scores) == labels).sum(1).cpu()
            images += len(labels)
    return tuple((100 * hits / images).tolist())


def command_of(training: Training) -> str:
    """The `sresnet train` line of a training run; DIR and RUN stand for its data and for the run that it starts from.

    Where no recipe is for such a network, or it is converted, what makes it is the study, at the SCALE of the folder of
    results.
    """
    recipe = replace(training.recipe, pretrained="RUN" if training.start else training.recipe.pretrained)
    data = "" if recipe.data.name in ("digits", "digits-dvs") else " --data-dir DIR"
    of_study = f"sresnet study all --scale SCALE{data}"
    if training.conversion is not None:
        return of_study
    try:
        return command(recipe) + data
    except UserError:
        return of_study


def _activity_of(model: SpikingNetwork, test: Samples, scaling: Scaling, seed: int) -> dict[str, Any]:
    """Firing rates and operations, for `Result.activity`; means over `ACTIVITY_IMAGES` test images.

    images; spikes, synaptic_operations, multiply_accumulates and energy per image, this in microjoules of the
    arithmetic in float32, of synapses and updates of neurons (docs/analysis.md); layers: name, shape, active and gamma
    by step, leak, spikes; gradients: block and norm, in network order.
    """
    device = next(model.parameters()).device
    some = test.subset(spread(len(test), ACTIVITY_IMAGES))
    found = analyse(model, batches_of(some, scaling, batch_size=50, device=device), seed=seed)
    energy = found.cost.energy()
    return {
        "images": found.activity.images,
        "spikes": found.activity.spikes,
        "synaptic_operations": found.cost.synaptic_operations,
        "multiply_accumulates": found.cost.multiply_accumulates,
        "energy": energy.synapses + energy.updates,
        "layers": [
            {
                "name": layer.name,
                "shape": list(layer.shape),
                "active": _rounded(layer.active),
                "gamma": _rounded(layer.gamma) if layer.gamma else None,
                "leak": layer.leak,
                "spikes": layer.spikes,
            }
            for layer in found.activity.layers
        ],
        "gradients": [{"block": block.name, "norm": block.norm} for block in found.gradients],
    }


def _rounded(numbers: Sequence[float]) -> list[float]:
    """Six significant digits: enough for a map."""
    return [float(f"{number:.6g}") for number in numbers]
