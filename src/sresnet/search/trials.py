"""The trials of a search, as tables, figures and studies read them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sresnet.search.config import SearchConfig
from sresnet.search.space import Values, with_values
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
    environment: Mapping[str, Any] = field(default_factory=dict)
    """Versions, revision of the source and machine of the last trial; "sessions" has all, where they differ."""

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
