"""What has come out of a search, finished or not."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from optuna.importance import get_param_importances
from optuna.study import create_study
from optuna.trial import FrozenTrial, TrialState, create_trial

from sresnet.search.config import SearchConfig, read_config
from sresnet.search.run import FAULT, directions_of, distribution, seconds_of, study_of
from sresnet.search.space import Values, with_values
from sresnet.search.storage import quiet
from sresnet.train.recipe import Recipe

State = Literal["finished", "ended early", "diverged", "failed", "running"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training of a search."""

    number: int
    state: State
    values: Values
    """Field -> what it was set to."""
    accuracies: tuple[tuple[int, float], ...]
    """(epoch, percent of the held-out images), where there is one objective."""
    objectives: tuple[float, ...]
    """Of a finished trial, in the order of the search's objectives; else nothing."""
    seconds: float
    """Of training."""
    fault: str
    """Why it failed or diverged."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """All trials of a search."""

    config: SearchConfig
    trials: tuple[Trial, ...]

    @property
    def finished(self) -> tuple[Trial, ...]:
        """Those that were trained to the end."""
        return tuple(each for each in self.trials if each.state == "finished")

    def best(self, count: int) -> tuple[Trial, ...]:
        """The finished trials of the highest accuracy, the best first, earlier ones first among equals."""
        at = self.accuracy_at
        return tuple(sorted(self.finished, key=lambda each: -each.objectives[at])[:count])

    @property
    def accuracy_at(self) -> int:
        """Where accuracy is among the objectives; the first objective where it is none."""
        return self.config.objectives.index("accuracy") if "accuracy" in self.config.objectives else 0

    def front(self) -> tuple[Trial, ...]:
        """The finished trials that no other beats in one objective without losing in another: the Pareto front."""
        signs = [-1.0 if each == "accuracy" else 1.0 for each in self.config.objectives]
        costs = {each.number: [s * v for s, v in zip(signs, each.objectives, strict=True)] for each in self.finished}

        def beaten(number: int) -> bool:
            own = costs[number]
            return any(
                other != own and all(theirs <= ours for theirs, ours in zip(other, own, strict=True))
                for other in costs.values()
            )

        return tuple(each for each in self.finished if not beaten(each.number))

    def recipe(self, trial: Trial) -> Recipe:
        """The recipe that a trial trained."""
        return with_values(self.config.recipe, trial.values)


def outcome_of(folder: Path) -> Outcome:
    """What has come out of the search in a folder; errors as `read_config` and `open_study`."""
    config = read_config(folder)
    study = study_of(config, folder)
    found = [each for each in study.get_trials(deepcopy=False) if each.state != TrialState.WAITING]
    return Outcome(config=config, trials=tuple(_trial(each, seconds_of(folder, each.number)) for each in found))


def _trial(each: FrozenTrial, seconds: float) -> Trial:
    """A trial of Optuna's as ours."""
    fault = str(each.user_attrs.get(FAULT, ""))
    states: dict[TrialState, State] = {
        TrialState.COMPLETE: "finished",
        TrialState.PRUNED: "diverged" if fault else "ended early",
        TrialState.FAIL: "failed",
        TrialState.RUNNING: "running",
    }
    return Trial(
        number=each.number,
        state=states[each.state],
        values=dict(each.params),
        accuracies=tuple((step, value) for step, value in sorted(each.intermediate_values.items()) if value == value),
        objectives=tuple(each.values) if each.state == TrialState.COMPLETE else (),
        seconds=seconds,
        fault=fault,
    )


def importances(found: Outcome) -> dict[str, float]:
    """Field -> share of the variation of the accuracy that it explains, the largest first (PED-ANOVA of Watanabe et al.
    2023), or of the first objective where accuracy is none; nothing where fewer than four trials are finished or all
    are alike."""
    values = [each.objectives[found.accuracy_at] for each in found.finished]
    if len(values) < 4 or len(set(values)) < 2:
        return {}
    with quiet():
        study = create_study(direction=directions_of(found.config)[found.accuracy_at])
    distributions = {field: distribution(each) for field, each in found.config.space.items()}
    study.add_trials(
        [
            create_trial(params=dict(each.values), distributions=distributions, value=value)
            for each, value in zip(found.finished, values, strict=True)
        ]
    )
    return {field: share for field, share in get_param_importances(study).items() if math.isfinite(share)}
