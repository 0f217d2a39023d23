"""What has come out of a search, finished or not: from the trials that Optuna keeps of it."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from optuna.importance import get_param_importances
from optuna.study import create_study
from optuna.trial import FrozenTrial, TrialState, create_trial

from sresnet.search.config import read_config
from sresnet.search.record import read_record
from sresnet.search.run import FAULT, directions_of, distribution, run_of, seconds_of, study_of
from sresnet.search.storage import quiet
from sresnet.search.trials import Outcome, State, Trial
from sresnet.train import record


def outcome_of(folder: Path) -> Outcome:
    """What has come out of a search, by its folder or record; errors as `read_config`, `open_study`, `read_record`."""
    if folder.is_file():
        return read_record(folder)
    config = read_config(folder)
    study = study_of(config, folder)
    found = [each for each in study.get_trials(deepcopy=False) if each.state != TrialState.WAITING]
    trials = tuple(_trial(each, seconds_of(folder, each.number)) for each in found)
    return Outcome(config=config, trials=trials, environment=_environment(folder, trials))


def _environment(folder: Path, trials: Iterable[Trial]) -> dict[str, Any]:
    """What trials were trained with: of the last, and under "sessions" all, those that are alike once."""
    found: list[dict[str, Any]] = []
    for each in trials:
        run = run_of(folder, each.number)
        if (run / record.ENVIRONMENT).exists():
            environment = record.without_places(record.read_environment(run))
            parts = environment.pop("sessions", None) or [environment]
            found += [{name: value for name, value in part.items() if name != "from_step"} for part in parts]
    different = [each for at, each in enumerate(found) if each not in found[:at]]
    return {**found[-1], **({"sessions": different} if len(different) > 1 else {})} if found else {}


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
