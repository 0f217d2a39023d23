"""What a search is of, and the folder that says so."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from sresnet.config import check_types, from_dict, to_dict
from sresnet.data import CLASSES
from sresnet.errors import UserError, optional
from sresnet.files import make_folder, read_json, strangers, write_json
from sresnet.search.space import Choice, Dimension, Value, Values, dimension
from sresnet.train.recipe import Recipe

SEARCH = "search.json"
"""Name of the file that says what is searched."""
HELD_OUT = 0.1
"""Share of the training images that is held out where the recipe holds out none."""
Objective = Literal["accuracy", "operations", "steps"]
"""accuracy: percent of the held-out images; operations: synaptic operations per image; steps: time steps."""
Sampler = Literal["tpe", "bohb", "random"]


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """What is searched, and how.

    Raises:
        UserError: nothing to search, a field out of range, or given values that the space does not have.
    """

    recipe: Recipe
    """Its seed is also that of what is drawn."""
    space: Mapping[str, Dimension]
    sampler: Sampler = "tpe"
    """tpe: Optuna's multivariate tree-structured Parzen estimator, BOHB-style with its Hyperband; bohb: the densities
    of Falkner et al. 2018; random: uniform."""
    objectives: tuple[Objective, ...] = ("accuracy",)
    """With several, all trials train to the end, and the result is a Pareto front."""
    min_epochs: int = 1
    """Epochs after which a trial may end first."""
    reduction: int = 3
    """One of so many goes on from rung to rung; 0: all train to the end."""
    enqueue: tuple[Values, ...] = ()
    """Values that are tried first."""

    def __post_init__(self) -> None:
        check_types(self)
        if not self.space:
            raise UserError("the space is empty: give fields to search, such as --search.leak 0.5:0.999")
        if not self.objectives or len(set(self.objectives)) < len(self.objectives):
            raise UserError(f"objectives {' '.join(self.objectives) or 'none'}: give each once, and one at least")
        if self.sampler == "bohb" and len(self.objectives) > 1:
            raise UserError("sampler bohb knows one objective: use --sampler tpe for several")
        if not 1 <= self.min_epochs <= self.recipe.train.epochs:
            raise UserError(
                f"min_epochs {self.min_epochs} is outside 1 to {self.recipe.train.epochs} epochs: give one between, "
                "or more --train.epochs"
            )
        if self.reduction < 0 or self.reduction == 1:
            raise UserError(f"reduction {self.reduction}: give 2 or more, such as 3, or 0 to train all to the end")
        # a folder of the user's may hold out images of its own, which is known when it is opened
        if self.recipe.data.validation <= 0 and self.recipe.data.name in CLASSES:
            raise UserError(f"the recipe holds out no images: add --data.validation {HELD_OUT}")
        for values in self.enqueue:
            for field, value in values.items():
                if field not in self.space:
                    raise UserError(f"{field} is given and not searched: leave it out, or add it to the space")
                if value not in self.space[field]:
                    raise UserError(
                        f"{field} {value} is given and outside {self.space[field]}: give one inside, or widen the range"
                    )

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        values = {
            "recipe": to_dict(self.recipe),
            "space": {field: _plain(each) for field, each in self.space.items()},
            **{name: getattr(self, name) for name in ("sampler", "min_epochs", "reduction")},
            "objectives": list(self.objectives),
            "enqueue": [dict(values) for values in self.enqueue],
        }
        found: dict[str, Any] = json.loads(json.dumps(values))
        return found

    def fingerprint(self) -> str:
        """Eight hexadecimal digits that change with every field."""
        return hashlib.sha256(json.dumps(self.plain(), sort_keys=True).encode()).hexdigest()[:8]


def _plain(dimension: Dimension) -> str | list[Value]:
    """A dimension as `space.dimension` reads it."""
    return list(dimension.values) if isinstance(dimension, Choice) else str(dimension)


def fitted(
    recipe: Recipe, space: Mapping[str, Dimension], min_epochs: int, *, held_out: bool = False
) -> tuple[Recipe, int, list[str]]:
    """A recipe whose trainings can be compared from epoch to epoch.

    Args:
        recipe: what is trained.
        space: what is searched.
        min_epochs: epochs after which a trial may end first; 0: about a ninth of all.
        held_out: the data have held-out images of their own.

    Returns:
        the recipe, the epochs, and lines about what was changed.
    """
    notes = []
    if recipe.data.validation <= 0 and not held_out:
        recipe = replace(recipe, data=replace(recipe.data, validation=HELD_OUT))
        notes.append(f"a share of {HELD_OUT} of the training images is held out: the objective is accuracy on them")
    if recipe.train.progressive_epochs and "model.num_steps" in space:
        recipe = replace(recipe, train=replace(recipe.train, progressive_epochs=()))
        notes.append("num_steps is searched, so no epochs run fewer time steps: progressive_epochs are off")
    first = sum(recipe.train.progressive_epochs) + 1
    least = max(min_epochs or max(1, recipe.train.epochs // 9), first if recipe.train.progressive_epochs else 1)
    if min_epochs and least > min_epochs:
        notes.append(f"epochs of fewer time steps are not compared: trials run {least} epochs at least")
    return recipe, least, notes


def claim(config: SearchConfig, folder: Path) -> None:
    """Make `folder` that of a search, or check that it is.

    Raises:
        UserError: it holds another search, or something else.
    """
    path, plain = folder / SEARCH, config.plain()
    if path.exists():
        there = read_json(path)
        if there != plain:
            known = there if isinstance(there, dict) else {}
            differing = next((name for name in plain if known.get(name) != plain[name]), "format")
            raise UserError(
                f"{folder} holds a search with another {differing}: choose another --out, or the same flags"
            )
        return
    if others := strangers(folder):  # but for what another process that begins the same search is about to rename
        raise UserError(f"{folder} is not empty ({others[0]}) and holds no search: choose another --out")
    make_folder(folder)
    write_json(path, plain)


def check_installed(what: str) -> None:
    """Raise UserError where Optuna is not there; `what` needs it, such as "search needs"."""
    with optional(what, "optuna", "search"):
        import_module("optuna")


def read_config(folder: Path) -> SearchConfig:
    """What the search in a folder is of.

    Raises:
        UserError: it holds no search, or its file is damaged.
    """
    path = folder / SEARCH
    if not path.is_file():
        raise UserError(f"{folder} holds no search: give the folder of one, runs/search-... by default")
    return config_in(read_json(path), str(path))


def config_in(plain: Any, where: str) -> SearchConfig:
    """What `SearchConfig.plain` gave, as JSON has it; UserError where the text from `where` is damaged."""
    try:
        plain = dict(plain)
        recipe: Recipe = from_dict(Recipe, plain.pop("recipe"), f"{where}: recipe")
        space = {field: dimension(field, given, recipe) for field, given in plain.pop("space").items()}
        objectives: tuple[Objective, ...] = tuple(plain.pop("objectives"))
        return SearchConfig(
            recipe=recipe, space=space, objectives=objectives, enqueue=tuple(plain.pop("enqueue")), **plain
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{where} is no description of a search ({error!r}): it is damaged") from None
