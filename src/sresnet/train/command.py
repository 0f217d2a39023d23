"""A recipe as a `sresnet train` command."""

import dataclasses
import shlex
from collections.abc import Mapping
from typing import Any

from sresnet.errors import UserError
from sresnet.train.recipe import Recipe
from sresnet.train.recipes import RECIPES


def flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested dictionaries as one: {"model": {"depth": 8}} -> {"model.depth": 8}."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": value}
    return found


def command(recipe: Recipe) -> str:
    """The `sresnet train` line of a recipe: the nearest named recipe and flags for the rest; UserError for none."""
    if recipe.data.name == "dataset":
        raise UserError("its clips are of a data set that is given in Python: train it from there")
    best: list[str] | None = None
    for name, (_, named) in RECIPES.items():
        if type(named.model) is not type(recipe.model) or type(named.data) is not type(recipe.data):
            continue
        theirs, words = flat(full_dict(named)), [name]
        for field, value in flat(full_dict(recipe)).items():
            if theirs[field] != value:
                words += _flag(field, value)
        if best is None or len(words) < len(best):
            best = words
    if best is None:
        raise UserError("no recipe is for such a network and such data: train it from Python")
    return shlex.join(["sresnet", "train", *best])


def full_dict(config: Any) -> dict[str, Any]:
    """All fields of nested dataclasses, including those with their default value."""
    fields = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return {key: full_dict(value) if dataclasses.is_dataclass(value) else value for key, value in fields.items()}


def _flag(field: str, value: Any) -> list[str]:
    """The words that set a field on the command line."""
    name = field.replace("_", "-")
    if isinstance(value, bool):
        before, _, last = name.rpartition(".")
        return [f"--{before}.{'' if value else 'no-'}{last}" if before else f"--{'' if value else 'no-'}{last}"]
    return [f"--{name}", *map(str, value if isinstance(value, tuple) else [value])]
