"""Trials of a search, by any number of processes that share its folder.

    FOLDER/search.json     what is searched, and how; the same command goes on, another one is refused
    FOLDER/journal.log     the trials, as Optuna keeps them
    FOLDER/trials/N        run folder of trial N
    FOLDER/.held/N         locked by the process that trains it

There is no coordinator. A process goes on with a trial that nobody holds, from its checkpoint, and else asks for a new
one. A trial trains towards the full number of epochs with the learning rates of a full training; after each epoch of a
rung it goes on or ends, so nothing is ever trained anew.
"""

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import optuna
import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState, create_trial

from sresnet.analysis import batches_of, spread
from sresnet.analysis.cost import CostCounter
from sresnet.analysis.walk import walk
from sresnet.data import AnyData, Splits
from sresnet.data.scaling import scaling_from_plain
from sresnet.errors import UserError, mendable
from sresnet.files import InUseError, make_folder, one_at_a_time, only_writer
from sresnet.limits import MEMORY_LIMIT
from sresnet.models.saved import load
from sresnet.randomness import seed_of
from sresnet.search.bohb import BOHBSampler
from sresnet.search.config import Objective, SearchConfig
from sresnet.search.space import Choice, Dimension, in_short, name_of, with_values
from sresnet.search.storage import Direction, open_study
from sresnet.train import record
from sresnet.train.loop import DivergedError, Progress, train
from sresnet.train.recipe import Recipe

MEASURED_IMAGES = 200
"""Held-out images that operations are counted on."""
WAIT_SECONDS = 2.0
"""Between two looks, where other processes hold all that is left."""
HOPELESS = 3
"""If so many trials fail and none does not, the search ends."""
_ENDED = "ended"
"""Attribute of a trial that ends early."""
FAULT = "fault"
"""Attribute of a trial: why it failed or diverged."""

Open = Callable[[AnyData, int, int], Splits]
"""(data, seed, num_steps) -> images or clips."""


def study_of(config: SearchConfig, folder: Path) -> optuna.Study:
    """The trials of a search; errors as `open_study`."""
    pruner = _pruner(config)
    study = open_study(folder, directions_of(config), RandomSampler(), pruner)
    # Hyperband makes its brackets when it is first asked; before that, samplers would be shown the trials of all.
    pruner.prune(study, create_trial(state=TrialState.RUNNING))
    return study


def directions_of(config: SearchConfig) -> list[Direction]:
    """Whether more or less of each objective is better."""
    return ["maximize" if each == "accuracy" else "minimize" for each in config.objectives]


def _pruner(config: SearchConfig) -> BasePruner:
    """What ends trials early."""
    epochs = config.recipe.train.epochs
    if not config.reduction or len(config.objectives) > 1 or config.min_epochs == epochs:
        return NopPruner()
    return HyperbandPruner(min_resource=config.min_epochs, max_resource=epochs, reduction_factor=config.reduction)


def _sampler(config: SearchConfig, number: int) -> BaseSampler:
    """What draws the values of trial `number`, so that a search that is interrupted draws what it would have drawn."""
    seed = seed_of("search", config.recipe.seed, number) % 2**32
    if config.sampler == "random":
        return RandomSampler(seed=seed)
    if config.sampler == "bohb":
        return BOHBSampler({field: distribution(each) for field, each in config.space.items()}, seed)
    return TPESampler(seed=seed, multivariate=True, constant_liar=True)


def distribution(dimension: Dimension) -> BaseDistribution:
    """A dimension as Optuna has it."""
    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.values)
    if dimension.whole:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(float(dimension.low), float(dimension.high), log=dimension.log)


def work(
    config: SearchConfig,
    folder: Path,
    open_: Open,
    *,
    device: torch.device,
    trials: int,
    hours: float = float("inf"),
    one: bool = False,
    tell: Callable[[str, Progress | str], None] = lambda name, what: None,
    should_stop: Callable[[], bool] = lambda: False,
    memory_limit: float = MEMORY_LIMIT,
) -> None:
    """Run trials until there are enough, or until `should_stop`; a trial that fails does not stop the others.

    Args:
        config: what is searched.
        folder: that `claim` has made.
        open_: how data are opened.
        device: where to train.
        trials: how many are wanted in all.
        hours: of training in all trials, after which no new one begins.
        one: run one trial, and where none is left but those that other processes hold, wait for these: one of them may
            be killed.
        tell: told the name of a trial, and how far it is.
        should_stop: asked after every training step; a trial that it stops goes on with the next call.
        memory_limit: as in `train`.

    Raises:
        UserError: the folder cannot be written, or the first trials all failed.
    """
    study = study_of(config, folder)
    _enqueue(config, study, folder)
    while not should_stop():
        with ExitStack() as held:
            trial = _next_trial(config, study, folder, held, trials, hours)
            if trial is None:
                if not one or all(each.state != TrialState.RUNNING for each in study.get_trials(deepcopy=False)):
                    return
                time.sleep(WAIT_SECONDS)
                continue
            say = partial(tell, f"trial {trial.number}")
            say(", ".join(f"{name_of(field)} {in_short(value)}" for field, value in trial.params.items()))
            say(_run_trial(config, study, trial, folder, open_, device, say, should_stop, memory_limit))
        if one:
            return


def ended(config: SearchConfig, folder: Path) -> int:
    """How many trials have come to their end."""
    states = [each.state for each in study_of(config, folder).get_trials(deepcopy=False)]
    return sum(state not in (TrialState.WAITING, TrialState.RUNNING) for state in states)


def _enqueue(config: SearchConfig, study: optuna.Study, folder: Path) -> None:
    """Put what is tried first in the queue, once."""
    with one_at_a_time(folder / ".asking"):
        if not study.get_trials(deepcopy=False):
            for values in config.enqueue:
                study.enqueue_trial(dict(values))


def _next_trial(
    config: SearchConfig, study: optuna.Study, folder: Path, held: ExitStack, trials: int, hours: float
) -> optuna.Trial | None:
    """A trial that nobody holds, one that goes on before a new one, held until `held` ends; None where all are done.

    Raises:
        UserError: the first trials all failed.
    """
    with one_at_a_time(folder / ".asking"):
        there = study.get_trials(deepcopy=False)
        begun = [each for each in there if each.state != TrialState.WAITING]
        failed = [each for each in begun if each.state == TrialState.FAIL]
        if len(failed) >= HOPELESS and len(failed) == len(begun):
            raise UserError(f"the first {len(failed)} trials failed, the last because: {failed[-1].user_attrs[FAULT]}")
        for each in begun:
            if each.state == TrialState.RUNNING and _hold(folder, each.number, held):
                return _asked(config, optuna.Trial(study, each._trial_id))
        if len(begun) >= trials:
            return None
        if math.isfinite(hours) and sum(seconds_of(folder, each.number) for each in begun) >= 3600 * hours:
            return None
        study.sampler = _sampler(config, len(begun))
        trial = _asked(config, study.ask())
        if not _hold(folder, trial.number, held):
            raise UserError(
                f"{folder / '.held' / str(trial.number)} is held, and the trial is new: choose another --out"
            )
        return trial


def _hold(folder: Path, number: int, held: ExitStack) -> bool:
    """Lock a trial; False where another process holds it."""
    place = folder / ".held" / str(number)
    make_folder(place)
    try:
        held.enter_context(only_writer(place))
    except InUseError:
        return False
    return True


def _asked(config: SearchConfig, trial: optuna.Trial) -> optuna.Trial:
    """A trial with all its values, those that it has and those that are drawn now."""
    for field, each in config.space.items():
        trial._suggest(field, distribution(each))
    return trial


def seconds_of(folder: Path, number: int) -> float:
    """Of training in a trial."""
    run = run_of(folder, number)
    return sum(line.get("seconds", 0.0) for line in record.read_metrics(run)) if run.exists() else 0.0


def run_of(folder: Path, number: int) -> Path:
    """The run folder of a trial."""
    return folder / "trials" / str(number)


def _run_trial(
    config: SearchConfig,
    study: optuna.Study,
    trial: optuna.Trial,
    folder: Path,
    open_: Open,
    device: torch.device,
    tell: Callable[[Progress | str], None],
    should_stop: Callable[[], bool],
    memory_limit: float,
) -> str:
    """Train one trial to its end or until `should_stop`; returns what has become of it, for people."""
    run, halving = run_of(folder, trial.number), len(config.objectives) == 1
    ended = False

    def report(epoch: int, accuracy: float) -> bool:
        """Keep the accuracy of an epoch; whether the trial ends there."""
        if not halving:
            return False
        if epoch not in study.get_trials(deepcopy=False)[trial.number].intermediate_values:
            trial.report(accuracy, epoch)
        if epoch < config.recipe.train.epochs and trial.should_prune():
            trial.set_user_attr(_ENDED, True)  # Optuna answers no when it is asked again, as after a kill
        return _ENDED in trial.user_attrs

    def watch(progress: Progress) -> None:
        nonlocal ended
        tell(progress)
        if progress.metrics:
            ended = report(progress.epoch, progress.metrics["validation_top1"])

    def failed(fault: str) -> str:
        """Keep why; a diverged trial tells the others that its values are bad."""
        trial.set_user_attr(FAULT, fault)
        study.tell(trial, state=TrialState.FAIL)
        return f"failed: {fault}"

    try:
        recipe = with_values(config.recipe, trial.params)
        splits = open_(recipe.data, recipe.seed, recipe.model.num_steps)
        for line in record.read_metrics(run) if run.exists() else ():  # reported or not before the last one stopped
            ended = report(line["epoch"], line["validation_top1"])
        if not ended:
            outcome = train(
                recipe,
                splits,
                run,
                device=device,
                watch=watch,
                should_stop=lambda: ended or should_stop(),
                memory_limit=memory_limit,
            )
            if outcome.state == "finished":
                values = [_measured(each, recipe, splits, run, device, memory_limit) for each in config.objectives]
                study.tell(trial, values)
                return "finished: " + ", ".join(
                    f"{each} {value:,.6g}" for each, value in zip(config.objectives, values, strict=True)
                )
        if not ended:
            return "stopped: the same command goes on"
    except DivergedError as error:
        if not halving:
            return failed(str(error))
        trial.set_user_attr(FAULT, str(error))
        last = max(study.get_trials(deepcopy=False)[trial.number].intermediate_values, default=0)
        trial.report(float("nan"), last + 1)
        study.tell(trial, state=TrialState.PRUNED)
        return f"diverged: {error}"
    except UserError as error:
        return failed(str(error))
    except Exception as error:
        return failed(mendable(error) or f"{type(error).__name__}: {' '.join(str(error).split())}")
    study.tell(trial, state=TrialState.PRUNED)
    return "ended early: others are better after as many epochs"


def _measured(
    objective: Objective, recipe: Recipe, splits: Splits, run: Path, device: torch.device, memory_limit: float
) -> float:
    """One objective of a finished trial."""
    if objective == "steps":
        return float(recipe.model.num_steps)
    if objective == "accuracy":
        return float(record.read_result(run)["validation_top1"])
    samples = splits.validation
    assert samples is not None  # `SearchConfig` has seen to it
    model = load(run, memory_limit=memory_limit).to(device)
    scaling = scaling_from_plain(record.read_about(run))
    some = samples.subset(spread(len(samples), MEASURED_IMAGES))
    counter = CostCounter(model)
    walk(model, batches_of(some, scaling, device=device), [counter], seed=seed_of("evaluate", recipe.seed))
    return counter.result().synaptic_operations
