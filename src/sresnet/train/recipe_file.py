"""Recipes as TOML files: every field by name, with tables [model], [data] and [train]."""

from pathlib import Path

import tomli_w

from sresnet.config import from_dict, to_dict
from sresnet.files import read_toml
from sresnet.train.recipe import Recipe

ENDING = ".toml"
"""Of the names of these files."""


def as_toml(recipe: Recipe) -> str:
    """A recipe as TOML, which `read_recipe_file` reads to an equal one.

    Every field is written but those that older versions did not have, where they have their default.
    """
    return tomli_w.dumps(to_dict(recipe))


def read_recipe_file(path: Path) -> Recipe:
    """The recipe in a TOML file; fields that it leaves out have their defaults.

    Raises:
        UserError: there is no such file, it is no TOML, it has an unknown field or one of another type, or the recipe
            is impossible.
    """
    values = read_toml(path, "give a recipe such as sresnet train RECIPE --toml shows")
    found: Recipe = from_dict(Recipe, values, str(path))
    return found
