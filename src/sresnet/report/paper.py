"""A run beside the paper's: its value where the recipe is one of the paper's, and what differs where it is not."""

from dataclasses import dataclass
from typing import Any

from sresnet.data import EventConfig
from sresnet.studies.paper import STUDIES
from sresnet.studies.study import Cell, Study, Training
from sresnet.train.command import flat, full_dict
from sresnet.train.recipe import Recipe

IGNORED = ("seed", "pretrained", "train.protocol", "data.simulation.", "data.image_size")
"""Fields that do not make another experiment: chance, a folder's name, what is read off beside the last epoch; and
those that matter only to data which the paper does not have, and whose name tells."""


@dataclass(frozen=True, kw_only=True)
class PaperValue:
    """A number of the paper for exactly this recipe."""

    table: str
    """Such as Table 2."""
    row: str
    value: float
    best_epoch: bool
    """It is the best of all epochs on the test images."""
    note: str


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A field in which a run and the paper's nearest recipe differ."""

    field: str
    here: Any
    paper: Any


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A run and the paper."""

    values: tuple[PaperValue, ...]
    """Where the recipe is one of the paper's."""
    nearest: str
    """The paper's recipe that is most alike, by table and row."""
    differences: tuple[Difference, ...]
    """From it; none where the recipe is the paper's."""


def compare(recipe: Recipe) -> Comparison | None:
    """What the paper has to say about a recipe; None where it has no such network on such data.

    What a fine-tuned run started from is not looked into: it is compared with the paper's fine-tuned networks.
    """
    ours = fields_of(recipe)
    best: tuple[int, Study, Cell] | None = None
    values: list[PaperValue] = []
    for study in STUDIES.values():
        for cell in study.cells:
            if not same_kind(recipe, cell.training):
                continue
            count = len(differences(ours, fields_of(cell.training.recipe)))
            if best is None or count < best[0]:
                best = (count, study, cell)
            if count == 0 and (value := paper_value(study, cell)):
                values.append(value)
    if best is None:
        return None
    _, study, cell = best
    return Comparison(
        values=tuple(dict.fromkeys(values)),
        nearest=f"{study.table or study.title}, {cell.row}",
        differences=differences(ours, fields_of(cell.training.recipe)),
    )


def same_kind(recipe: Recipe, training: Training) -> bool:
    """Whether both are networks of one family on images or on events, from scratch or fine-tuned."""
    return (
        type(recipe.model) is type(training.recipe.model)
        and isinstance(recipe.data, EventConfig) == isinstance(training.recipe.data, EventConfig)
        and bool(recipe.pretrained) == (training.start is not None)
    )


def fields_of(recipe: Recipe) -> dict[str, Any]:
    """The fields that make a recipe what it is."""
    fields = flat(full_dict(recipe))
    return {key: value for key, value in fields.items() if not key.startswith(IGNORED)}


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> tuple[Difference, ...]:
    """Fields with two values, in the order of the recipe."""
    return tuple(
        Difference(field=key, here=ours.get(key), paper=theirs.get(key))
        for key in dict.fromkeys([*ours, *theirs])
        if ours.get(key) != theirs.get(key)
    )


def paper_value(study: Study, cell: Cell) -> PaperValue | None:
    """The accuracy that a cell reports for all time steps, if that is what it reports."""
    if cell.paper is None or cell.num_steps or cell.quantity not in ("last-epoch", "best-test-epoch"):
        return None
    return PaperValue(
        table=study.table or study.title,
        row=cell.row,
        value=cell.paper,
        best_epoch=cell.quantity == "best-test-epoch",
        note=cell.remarks,
    )
