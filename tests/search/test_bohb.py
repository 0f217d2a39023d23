"""BOHB's model of good configurations."""

import math

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from sresnet.search.bohb import GOOD, BOHBSampler, _best_candidate, _log_density, _split, _unit, _value

SPACE = {
    "leak": FloatDistribution(0.5, 1.0),
    "rate": FloatDistribution(1e-4, 1.0, log=True),
    "steps": IntDistribution(1, 9),
    "norm": CategoricalDistribution(("bntt", "tdbn", "none")),
}


@pytest.fixture(autouse=True)
def quiet():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


def suggested(trial):
    return {name: trial._suggest(name, each) for name, each in SPACE.items()}


def cost(values, budget=9):
    """Lowest, 0, at leak 0.9, rate 0.01, 6 steps, bntt; the same at every budget but for an offset."""
    away = abs(values["leak"] - 0.9) * 2 + abs(math.log10(values["rate"]) + 2) / 4 + abs(values["steps"] - 6) / 8
    return away + (values["norm"] != "bntt") * 0.5 + 1 / budget


def lowest(sampler, count, seed=0):
    study = optuna.create_study(sampler=sampler)
    for _ in range(count):
        trial = study.ask()
        values = suggested(trial)
        for budget in (1, 3, 9):
            trial.report(cost(values, budget), budget)
        study.tell(trial, cost(values))
    return study


def test_it_finds_a_known_optimum_sooner_than_random_search():
    """Means over eight seeds of the best of 60 configurations."""
    by_model = [lowest(BOHBSampler(SPACE, seed), 60).best_value - 1 / 9 for seed in range(8)]
    at_random = [lowest(optuna.samplers.RandomSampler(seed=seed), 60).best_value - 1 / 9 for seed in range(8)]
    assert np.mean(by_model) < 0.75 * np.mean(at_random)


def test_the_same_seed_draws_the_same():
    first, second, other = (lowest(BOHBSampler(SPACE, seed), 20) for seed in (3, 3, 4))
    assert [each.params for each in first.trials] == [each.params for each in second.trials]
    assert [each.params for each in first.trials] != [each.params for each in other.trials]


def test_before_there_are_enough_trials_values_are_uniform():
    sampler = BOHBSampler(SPACE, 0)
    study = optuna.create_study(sampler=sampler)
    found = [suggested(study.ask()) for _ in range(600)]  # none is ever finished
    leaks, rates = (np.array([each[name] for each in found]) for name in ("leak", "rate"))
    for quarter in range(4):
        assert abs(np.mean((leaks >= 0.5 + quarter / 8) & (leaks < 0.625 + quarter / 8)) - 0.25) < 0.06
        assert abs(np.mean((rates >= 10.0 ** (quarter - 4)) & (rates < 10.0 ** (quarter - 3))) - 0.25) < 0.06
    steps = [each["steps"] for each in found]
    assert all(abs(steps.count(number) / 600 - 1 / 9) < 0.05 for number in range(1, 10))
    norms = [each["norm"] for each in found]
    assert all(abs(norms.count(name) / 600 - 1 / 3) < 0.06 for name in SPACE["norm"].choices)


def test_a_third_stays_random():
    """With a model that is sure, only random ones are far from the optimum."""
    study = lowest(BOHBSampler(SPACE, 1), 150)
    far = [each.params["norm"] != "bntt" for each in study.trials[60:]]
    assert 0.1 < np.mean(far) < 0.35  # two thirds of a third, and what the kernel of a name lets through


def test_the_largest_budget_with_enough_trials_counts():
    """At budget 1 the order is turned round, so that a model of it would lead away."""
    sampler = BOHBSampler(SPACE, 0)
    study = optuna.create_study(sampler=sampler)
    for number in range(40):
        trial = study.ask()
        values = suggested(trial)
        trial.report(-cost(values, 1), 1)
        if number % 3 == 0:
            trial.report(cost(values, 3), 3)
        study.tell(trial, state=TrialState.PRUNED)
    trial = study.get_trials()[-1]
    points = sampler._observed(study, trial, list(SPACE))
    assert len(points) == 13  # those of budget 3, less the trial itself
    good = [_value(SPACE["leak"], x) for x in points[:, 0]]
    assert abs(good[0] - 0.9) < abs(good[-1] - 0.9) + 0.2


def test_diverged_and_failed_trials():
    sampler = BOHBSampler(SPACE, 0)
    study = optuna.create_study(sampler=sampler, direction="maximize")
    for number in range(12):
        trial = study.ask()
        suggested(trial)
        trial.report(math.nan if number < 3 else float(number), 1)
        study.tell(trial, state=TrialState.FAIL if number == 11 else TrialState.PRUNED)
    points = sampler._observed(study, study.ask(), list(SPACE))
    assert len(points) == 11
    rates = [study.trials[number].params["leak"] for number in (10, 0, 1, 2)]
    assert points[0, 0] == pytest.approx(_unit(SPACE["leak"], rates[0]))
    assert {round(x, 9) for x in points[-3:, 0]} == {round(_unit(SPACE["leak"], rate), 9) for rate in rates[1:]}


@pytest.mark.parametrize("name", SPACE)
def test_values_and_places_are_inverse(name):
    each = SPACE[name]
    some = each.choices if name == "norm" else range(1, 10) if name == "steps" else np.linspace(each.low, each.high, 9)
    for value in some:
        assert _value(each, _unit(each, value)) == pytest.approx(value) if name != "norm" else True
        assert name != "norm" or _value(each, _unit(each, value)) == value


def test_densities_sum_to_one():
    points, widths = np.array([[0.3, 0.0], [0.6, 1.0], [0.5, 1.0]]), np.array([0.05, 0.2])
    x = np.linspace(-0.5, 1.5, 2001)
    total = sum(
        np.exp(_log_density(np.stack([x, np.full_like(x, name)], 1), points, widths, [0, 3])).sum() * (x[1] - x[0])
        for name in (0.0, 1.0, 2.0)
    )
    assert total == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("count", "good", "others"), [(6, None, None), (7, 5, 5), (20, 5, 15), (100, 15, 85)])
def test_how_trials_are_divided(count, good, others):
    points = np.arange(count, dtype=float)[:, None].repeat(4, 1)
    found = _split(points, 4)
    assert (None if found is None else len(found[0])) == good
    assert (None if found is None else len(found[1])) == others
    if good == 15:
        assert good == GOOD * count


def test_candidates_come_from_where_the_good_ones_are():
    rng = np.random.default_rng(0)
    good = np.stack([rng.normal(0.8, 0.02, 20), np.zeros(20)], 1)
    others = np.stack([rng.uniform(0, 1, 80), rng.integers(0, 3, 80)], 1)
    found = np.array([_best_candidate(good, others, [0, 3], np.random.default_rng(seed)) for seed in range(50)])
    assert abs(found[:, 0] - 0.8).max() < 0.2
    assert (found[:, 1] == 0).mean() > 0.9
    assert ((found[:, 0] >= 0) & (found[:, 0] <= 1)).all()
