"""BOHB's model of good configurations (Falkner, Klein and Hutter 2018), as a sampler of Optuna.

Of the trials that have a value at the largest budget with enough of them, the best 15 % and the others each make a
density l and g of kernels, one at each trial. A third of the configurations are drawn uniformly; of 64 candidates that
are drawn from l, with kernels three times as wide, the one with the largest l / g is tried otherwise:

    l(x) = mean_i prod_d k_d(x_d, x_id),   h_d = max(0.001, 1.06 * std_d * n^(-1 / (4 + D)))

k_d is a Gaussian of deviation h_d on a number, scaled to [0, 1]; for one of c names it is 1 - h_d where both are the
same and h_d / (c - 1) where not (Aitchison and Aitken 1976). Halving is a pruner's; with Optuna's HyperbandPruner, this
is the paper's method, but that a rung does not wait for its last trial.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

GOOD = 0.15
"""Share of the trials that l is made of."""
RANDOM = 1 / 3
"""Share of the configurations that are drawn uniformly."""
CANDIDATES = 64
WIDER = 3.0
"""What bandwidths are multiplied by when candidates are drawn."""
NARROWEST = 1e-3
"""Smallest bandwidth."""

Points = np.ndarray
"""[n, D]: numbers in [0, 1], and numbers of names."""


class BOHBSampler(BaseSampler):
    """Configurations as BOHB draws them, see above.

    Args:
        space: every parameter and what it may be.
        seed: with the number of a trial, of what is drawn for it.
    """

    def __init__(self, space: Mapping[str, BaseDistribution], seed: int) -> None:
        self.space = dict(space)
        self.seed = seed

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All parameters: they are drawn together."""
        return self.space

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """One configuration."""
        rng = np.random.default_rng((self.seed, trial.number))
        names = list(search_space)
        levels = [_levels(search_space[name]) for name in names]
        model = None if rng.random() < RANDOM else _split(self._observed(study, trial, names), len(names))
        if model is None:
            point = np.array([rng.integers(count) if count else rng.random() for count in levels], dtype=float)
        else:
            point = _best_candidate(*model, levels, rng)
        return {name: _value(search_space[name], x) for name, x in zip(names, point, strict=True)}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A parameter that is not in the space, uniformly."""
        rng = np.random.default_rng((self.seed, trial.number, len(trial.params)))
        count = _levels(param_distribution)
        return _value(param_distribution, float(rng.integers(count)) if count else rng.random())

    def _observed(self, study: Study, trial: FrozenTrial, names: Sequence[str]) -> Points:
        """The trials with a value at the largest budget that has enough of them, the best first; none: [0, D]."""
        whole = getattr(study, "_study", study)  # behind Hyperband, Optuna shows a sampler the trials of one bracket
        known = [
            each
            for each in whole.get_trials(deepcopy=False)
            if each.number != trial.number and each.state != TrialState.FAIL and set(names) <= set(each.params)
        ]
        sign = -1 if study.direction == StudyDirection.MAXIMIZE else 1
        for budget in sorted({step for each in known for step in each.intermediate_values}, reverse=True):
            there = [each for each in known if budget in each.intermediate_values]
            if len(there) >= len(names) + 3:
                values = {each.number: sign * each.intermediate_values[budget] for each in there}
                there.sort(key=lambda each: (math.isnan(values[each.number]), values[each.number]))  # diverged: last
                return np.array([[_unit(self.space[name], each.params[name]) for name in names] for each in there])
        return np.empty((0, len(names)))


def _split(points: Points, dimensions: int) -> tuple[Points, Points] | None:
    """Good and other trials; None where there are too few."""
    count, least = len(points), dimensions + 1
    if count < least + 2:
        return None
    good = max(least, int(GOOD * count))
    return points[:good], points[good:] if count - good >= least else points[-least:]


def _best_candidate(good: Points, others: Points, levels: Sequence[int], rng: np.random.Generator) -> Points:
    """The candidate with the largest l / g."""
    widths, widths_of_others = _bandwidths(good), _bandwidths(others)
    centres = good[rng.integers(len(good), size=CANDIDATES)]
    candidates = np.empty_like(centres)
    for axis, count in enumerate(levels):
        centre, width = centres[:, axis], widths[axis]
        if count:
            moved = rng.random(CANDIDATES) < min(1.0, WIDER * width)
            candidates[:, axis] = np.where(moved, rng.integers(count, size=CANDIDATES), centre)
        else:
            candidates[:, axis] = _truncated(centre, WIDER * width, rng)
    ratio = _log_density(candidates, good, widths, levels) - _log_density(candidates, others, widths_of_others, levels)
    return candidates[int(np.argmax(ratio))]


def _truncated(centres: np.ndarray, width: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussians around centres in [0, 1], drawn again until they are in [0, 1]."""
    found = rng.normal(centres, width)
    while (outside := (found < 0) | (found > 1)).any():
        found[outside] = rng.normal(centres[outside], width)
    return found


def _bandwidths(points: Points) -> np.ndarray:
    """Of each dimension, by the rule for a normal density."""
    count, dimensions = points.shape
    return np.maximum(NARROWEST, 1.06 * points.std(0) * count ** (-1 / (4 + dimensions)))


def _log_density(x: Points, points: Points, widths: np.ndarray, levels: Sequence[int]) -> np.ndarray:
    """Logarithm of the density of kernels at `points`, at each x."""
    total = np.zeros((len(x), len(points)))
    for axis, count in enumerate(levels):
        apart = x[:, axis, None] - points[None, :, axis]
        if count:
            width = min(widths[axis], (count - 1) / count)  # at most uniform
            total += np.log(np.where(apart == 0, 1 - width, width / (count - 1)))
        else:
            total += -0.5 * (apart / widths[axis]) ** 2 - np.log(widths[axis] * np.sqrt(2 * np.pi))
    largest = total.max(1)
    return largest + np.log(np.exp(total - largest[:, None]).mean(1))


def _levels(distribution: BaseDistribution) -> int:
    """How many names there are; 0 for numbers."""
    return len(distribution.choices) if isinstance(distribution, CategoricalDistribution) else 0


def _ends(distribution: BaseDistribution) -> tuple[float, float, bool]:
    """Lowest and highest number, and whether they are logarithms; whole numbers reach half a number beyond."""
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        raise TypeError(f"a distribution of Optuna that is not known here: {distribution}")
    beyond = 0.5 if isinstance(distribution, IntDistribution) else 0.0
    low, high = distribution.low - beyond, distribution.high + beyond
    return (np.log(low), np.log(high), True) if distribution.log else (low, high, False)


def _unit(distribution: BaseDistribution, value: Any) -> float:
    """A value of a parameter as a number in [0, 1], or the number of a name."""
    if isinstance(distribution, CategoricalDistribution):
        return float(distribution.to_internal_repr(value))
    low, high, log = _ends(distribution)
    return float(((np.log(value) if log else value) - low) / (high - low))


def _value(distribution: BaseDistribution, x: float) -> Any:
    """The inverse of `_unit`."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(x)]
    low, high, log = _ends(distribution)
    found = np.exp(low + x * (high - low)) if log else low + x * (high - low)
    found = float(np.clip(found, distribution.low, distribution.high))  # type: ignore[attr-defined]
    return round(found) if isinstance(distribution, IntDistribution) else found
