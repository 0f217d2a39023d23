"""What is read off searches of hyper-parameters: Table 9's leak, a leak per T, and what a search gives S2M.

A search is known by the name of its record, results/searches/NAME.json; experiments/searches.py has the commands. What
is read of each, and what decides between two, was written down before the first of these searches had a result.
"""

from collections.abc import Iterable, Mapping
from statistics import stdev
from typing import Any

from sresnet.data import DataConfig
from sresnet.models import SResNetConfig
from sresnet.search.space import PAPERS_VALUES
from sresnet.search.trials import Outcome, Trial

BEST = 6
"""Trials whose mean is a search's answer, as in Table 9: those of the highest held-out accuracy after all epochs."""
FOR_TABLE_9 = "cifar100"
"""The search that Table 9 reads: on CIFAR-100, as the paper's."""
BY_STEPS = {2: "cifar10-t2", 4: "cifar10-t4", 8: "cifar10-t8"}
"""Time steps -> search; alike but for these."""
BY_CONNECTION = {"s2m": "cifar10-s2m", "s2s": "cifar10-s2s"}
"""Connection -> search; alike but for it. All trials are trained to the end: the first has the paper's values."""

LEAK = "model.leak"


def _best_of(found: Outcome) -> tuple[Trial, ...]:
    """The six best trials; none where fewer were trained to the end."""
    best = found.best(BEST)
    return best if len(best) == BEST else ()


def leaks(found: Outcome) -> tuple[float, ...]:
    """Leaks of the six best trials; none where there are fewer, or no leak was searched."""
    return tuple(float(each.values[LEAK]) for each in _best_of(found)) if LEAK in found.config.space else ()


def accuracies(found: Outcome) -> tuple[float, ...]:
    """Held-out accuracies of the six best trials, in percent; none where there are fewer."""
    return tuple(each.objectives[found.accuracy_at] for each in _best_of(found))


def first_accuracy(found: Outcome) -> float | None:
    """That of the first trial, if it has the paper's values; None where it was not trained to the end."""
    values = {field: value for field, value in PAPERS_VALUES.items() if field in found.config.space}
    first = next(
        (each for each in found.finished if each.number == 0 and {**each.values, **values} == each.values), None
    )
    return None if first is None else first.objectives[found.accuracy_at]


def held_out(found: Outcome) -> int:
    """Images that accuracy is counted on: a share of what is trained with, of all 50,000 of CIFAR by default."""
    data = found.config.recipe.data
    images = data.train_images if isinstance(data, DataConfig) else 0
    return round((images or 50_000) * data.validation)


def pooled(groups: Iterable[tuple[float, ...]]) -> float:
    """Standard deviation within groups of equal size, all together; 0 where there is none."""
    found = [stdev(group) ** 2 for group in groups if len(group) > 1]
    return float((sum(found) / len(found)) ** 0.5) if found else 0.0


def first_difference(one: Outcome, other: Outcome, field: str) -> str:
    """The first part of two searches, but for `field` of the network, that differs; "" where they are alike."""

    def parts(found: Outcome) -> dict[str, Any]:
        plain = found.config.plain()
        recipe = plain.pop("recipe")
        model = {name: value for name, value in recipe.pop("model").items() if name != field}
        return plain | {f"recipe.{name}": value for name, value in recipe.items()} | {"recipe.model": model}

    ours, theirs = parts(one), parts(other)
    return next((name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)), "")


def in_words(found: Outcome) -> str:
    """What was searched, at which size, for a note in one line."""
    recipe = found.config.recipe
    model = recipe.model
    network = model.family
    if isinstance(model, SResNetConfig):
        kinds = {"s2s": "", "s2m": f" S2M (spikes where u {'>=' if model.fires_at_threshold else '>'} theta)"}
        kind = kinds.get(model.connection, f" {model.connection.upper()}")
        network = f"S-ResNet{model.depth}{kind}, {model.base_filters} filters"
    images = recipe.data.train_images if isinstance(recipe.data, DataConfig) else 0
    shown = f"{images:,}" if images else "all"
    return (
        f"{network}, T = {model.num_steps}, {recipe.data.name}, {shown} training images, {held_out(found):,} "
        f"of them held out; {len(found.trials)} trials of at most {recipe.train.epochs} epochs, {len(found.finished)} "
        f"trained to the end"
    )


def lacking(name: str, searches: Mapping[str, Outcome]) -> str:
    """Why a search has no answer yet; "" where it has one."""
    if name not in searches:
        return f"search {name}"
    count = len(searches[name].finished)
    return "" if count >= BEST else f"search {name} to the end ({count} of {BEST} trials)"
