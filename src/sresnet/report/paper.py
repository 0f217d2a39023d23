"""A run beside the paper's: its value where the recipe is one of the paper's, and what differs where it is not."""

from dataclasses import dataclass, replace
from typing import Any

from sresnet.data import EventConfig
from sresnet.studies.paper import STUDIES
from sresnet.studies.study import Cell, Training
from sresnet.train.command import flat, full_dict
from sresnet.train.recipe import Recipe

IGNORED = ("seed", "pretrained", "train.protocol", "data.simulation.", "data.image_size")
"""Fields that do not make another experiment: chance, a folder's name, what is read off beside the last epoch; and
those that matter only to data which the paper does not have, and whose name tells."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A run and the paper."""

    values: tuple[tuple[str, Cell], ...]
    """(table, such as Table 2, and its cell) of accuracies for exactly this recipe."""
    nearest: str
    """The paper's recipe that is most alike, by table and row."""
    differences: tuple[tuple[str, Any, Any], ...]
    """(field, its value here, and there) of fields that differ from it; none where the recipe is the paper's."""


def compare(recipe: Recipe) -> Comparison | None:
    """What the paper has to say about a recipe; None where it has no such network on such data.

    What a fine-tuned run started from is not looked into: it is compared with the paper's fine-tuned networks.
    """
    ours = _fields_of(recipe)
    best: Comparison | None = None
    values = []
    for study in STUDIES.values():
        table = study.table or study.title
        for cell in study.cells:
            if not _same_kind(recipe, cell.training):
                continue
            differing = _differences(ours, _fields_of(cell.training.recipe))
            if best is None or len(differing) < len(best.differences):
                best = Comparison(values=(), nearest=f"{table}, {cell.row}", differences=differing)
            accuracy = cell.quantity in ("last-epoch", "best-test-epoch") and not cell.num_steps
            if not differing and accuracy and cell.paper is not None:
                values.append((table, cell))
    return best and replace(best, values=tuple(values))


def _same_kind(recipe: Recipe, training: Training) -> bool:
    """Whether both are networks of one family on images or on events, from scratch or fine-tuned."""
    return (
        type(recipe.model) is type(training.recipe.model)
        and isinstance(recipe.data, EventConfig) == isinstance(training.recipe.data, EventConfig)
        and bool(recipe.pretrained) == (training.start is not None)
    )


def _fields_of(recipe: Recipe) -> dict[str, Any]:
    """The fields that make a recipe what it is."""
    return {key: value for key, value in flat(full_dict(recipe)).items() if not key.startswith(IGNORED)}


def _differences(ours: dict[str, Any], theirs: dict[str, Any]) -> tuple[tuple[str, Any, Any], ...]:
    """Fields with two values, in the order of the recipe."""
    pairs = ((key, ours.get(key), theirs.get(key)) for key in dict.fromkeys([*ours, *theirs]))
    return tuple((key, here, there) for key, here, there in pairs if here != there)
