"""The fields in which the recipes of several runs differ, and what the runs are called by them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any

from sresnet.report.document import Number, Value
from sresnet.report.palette import SERIES
from sresnet.report.records import Records
from sresnet.train.command import flat, full_dict

FIELDS = {
    "model.num_steps": "time steps",
    "model.base_filters": "filters",
    "data.name": "data",
    "data.validation": "held out",
    "model.in_channels": "input channels",
    "model.steps": "layers",
    "data.family": "kind of data",
    "data.contents": "contents of the data",
}
"""Fields that are called otherwise in words."""
NAMED_BY = 3
"""Runs that differ in more fields are called by as few of them as tell the runs apart."""
_LONGEST = 60
"""Runs whose fields need more characters are called by their folders."""
_ABSENT = object()
"""The value of a field that a recipe does not have."""
_UNTRAINED = object()
"""The value of a field of training for a network that was converted: its recipe has defaults that trained nothing."""


@dataclass(frozen=True)
class Difference:
    """A field in which recipes differ."""

    field: str
    """With dots, such as model.num_steps."""
    values: tuple[Any, ...]
    """Of each run; `cell_of` and `value_in_words` know those that a recipe does not have."""

    @property
    def flag(self) -> str:
        """The field as its flag has it, without the dashes in front."""
        return self.field.replace("_", "-")

    @property
    def everywhere(self) -> bool:
        """Whether every recipe has it."""
        return all(value is not _ABSENT for value in self.values)


def differences(runs: Sequence[Records]) -> tuple[Difference, ...]:
    """The fields in which the recipes of runs differ, in the order of a recipe; none for equal recipes.

    A field that an older run does not have counts as its default. Networks and data of several families have fields of
    their own: `model.family` and `data.family` are named first, and fields that a recipe does not have are empty.
    A network that was converted was not trained by its recipe, and has no fields of training.
    Beside the fields stand what a network was converted or imported from, and `data.contents`, the digest of the
    training samples, where runs of equal fields and seed had others.
    """
    recipes = [_fields_of(run) for run in runs]
    every = dict.fromkeys(field for recipe in recipes for field in recipe)
    found = []
    for field in every:
        values = tuple(recipe.get(field, _ABSENT) for recipe in recipes)
        told = [value for value in values if value is not _UNTRAINED]
        if any(value != told[0] for value in told):
            found.append(Difference(field, values))
    if contents := _other_contents(runs, recipes):
        found.append(Difference("data.contents", contents))
    order = {"model": 1, "data": 2, "train": 3}  # fields of other families behind those of the first, part by part

    def rank(each: Difference) -> int:
        return 0 if each.field.endswith(".family") else order.get(each.field.partition(".")[0], 4)

    return tuple(sorted(found, key=rank))


def _fields_of(run: Records) -> dict[str, Any]:
    """All fields of a run's recipe, family and origin, the families first."""
    recipe = run.recipe
    parts = {"model": recipe.model, "data": recipe.data}
    families = {f"{name}.family": getattr(type(part), "family", "") for name, part in parts.items()}
    origin = {name: str(run.environment.get(name, "")) for name in ("converted_from", "imported_from")}
    fields = flat(full_dict(recipe))
    if origin["converted_from"]:
        fields |= {field: _UNTRAINED for field in fields if field.startswith("train.")}
    return families | fields | origin


def _other_contents(runs: Sequence[Records], recipes: Sequence[dict[str, Any]]) -> tuple[Any, ...]:
    """The digests of the training samples, where they differ between runs whose fields say the same of their data."""
    known: dict[str, set[str]] = {}
    for run, recipe in zip(runs, recipes, strict=True):
        said = {field: value for field, value in recipe.items() if field.startswith("data.") or field == "seed"}
        known.setdefault(repr(said), set()).update(filter(None, [run.contents]))
    if all(len(digests) < 2 for digests in known.values()):
        return ()
    return tuple(run.contents[:8] or _ABSENT for run in runs)


def equal_runs(runs: Sequence[Records], found: Sequence[Difference]) -> list[list[str]]:
    """Names of the runs whose recipes are equal in all fields, by groups of two or more."""
    groups: dict[str, list[str]] = {}
    for place, run in enumerate(runs):
        groups.setdefault(repr([each.values[place] for each in found]), []).append(run.name)
    return [names for names in groups.values() if len(names) > 1]


def differences_in_brief(runs: Sequence[Records]) -> dict[str, list[Any]]:
    """Field -> its value in each run, for JSON: None where a recipe does not have it; a network's steps in words."""
    return {
        each.field: [
            None
            if value in (_ABSENT, _UNTRAINED)
            else value_in_words(value)
            if isinstance(value, tuple | list)
            else value
            for value in each.values
        ]
        for each in differences(runs)
    }


def cell_of(value: Any) -> Value:
    """The value of a field as a cell of a table."""
    if value in (_ABSENT, _UNTRAINED):
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Number(value, value_in_words(value))
    return value_in_words(value)


def field_in_words(field: str) -> str:
    """A field of a recipe in words: model.num_steps -> time steps."""
    rest = field.partition(".")[2] or field
    return FIELDS.get(field, rest.replace("_", " ").replace(".", " "))


def value_in_words(value: Any) -> str:
    """The value of a field in words; "" for one that a recipe does not have, or that trained nothing."""
    if value in (_ABSENT, _UNTRAINED):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list):
        if any(map(is_dataclass, value)):  # a network as a list of its steps
            return f"{len(value)} ({hashlib.sha256(repr(value).encode()).hexdigest()[:6]})"
        return ", ".join(map(value_in_words, value)) or "none"
    return "none" if value is None or value == "" else f"{value:g}" if isinstance(value, float) else str(value)


# Names and looks ------------------------------------------------------------------------------------------------------


def labels_of(runs: Sequence[Records], found: Sequence[Difference]) -> list[str]:
    """What runs are called beside each other, such as "neuron plif, leak 0.9", each differently.

    By all fields in which they differ where these are few, otherwise by as few as tell them apart, and then behind the
    name of the folder where networks or data are of several kinds. Runs that no fields tell apart, and those with too
    many to name, are called by their folders.
    """
    mixed = len(found) > NAMED_BY and {"model.family", "data.family", "data.name"} & {each.field for each in found}
    chosen = found if len(found) <= NAMED_BY else _telling(found, len(runs))
    leaves = [field_in_words(each.field) for each in chosen]
    names = [
        each.field.partition(".")[0] + " " + leaf if leaves.count(leaf) > 1 else leaf
        for each, leaf in zip(chosen, leaves, strict=True)
    ]
    labels = []
    for place, run in enumerate(runs):
        said = [
            f"{name} {value_in_words(each.values[place])}"
            for name, each in zip(names, chosen, strict=True)
            if each.values[place] is not _ABSENT
        ]
        label = f"{run.name}: {', '.join(said)}" if mixed and said else ", ".join(said)
        labels.append(label if 0 < len(label) <= _LONGEST else run.name)
    return [
        label if labels.count(label) == 1 or label == run.name else f"{label} ({run.name})"
        for label, run in zip(labels, runs, strict=True)
    ]


def _telling(found: Sequence[Difference], runs: int) -> list[Difference]:
    """As few fields as tell runs apart, or nearly: one after the other, that which divides them most.

    Of fields that do so equally, the network's come before those of data and training, the seed last.
    """
    rank = {"model": 0, "data": 1, "train": 2}
    order = sorted(found, key=lambda each: rank.get(each.field.partition(".")[0], 3 + (each.field == "seed")))
    chosen: list[Difference] = []
    groups = 1
    while groups < runs:
        counts = [_groups([*chosen, each], runs) for each in order]
        if not counts or max(counts) == groups:
            break
        groups = max(counts)
        chosen.append(order[counts.index(groups)])
    return [each for each in found if each in chosen]


def _groups(found: Sequence[Difference], runs: int) -> int:
    """How many kinds of runs these fields tell apart."""
    return len({repr([each.values[place] for each in found]) for place in range(runs)})


def styles_of(runs: Sequence[Records], found: Sequence[Difference]) -> tuple[list[int], str]:
    """(the number of colour, marker and dashes of each run, what the colours tell apart).

    Where there are more runs than colours, those of equal value in one field have one colour: in the field of the
    most values, as far as there are colours for them. "" where each has its own.
    """
    places = list(range(len(runs)))
    counts = {each.field: len({repr(value) for value in each.values}) for each in found if each.field != "seed"}
    fitting = {field: count for field, count in counts.items() if count <= SERIES}
    if len(runs) <= SERIES or not fitting:
        return places, ""
    field = max(fitting, key=lambda each: fitting[each])
    values = next(each.values for each in found if each.field == field)
    colours = {each: colour for colour, each in enumerate(dict.fromkeys(map(repr, values)))}
    seen = dict.fromkeys(colours, 0)
    styles = []
    for value in map(repr, values):
        styles.append(colours[value] + SERIES * seen[value])
        seen[value] += 1
    return styles, field_in_words(field)
