"""The command that runs a recipe."""

import dataclasses
import shlex
from dataclasses import replace

import pytest

from sresnet.cli import TrainOptions, parse
from sresnet.config import from_dict
from sresnet.errors import UserError
from sresnet.models import VGGConfig
from sresnet.train.recipe import Recipe
from sresnet.train.recipes import RECIPES, command


def parsed(line):
    """The recipe that a command line asks for."""
    program, verb, name, *flags = shlex.split(line)
    assert (program, verb) == ("sresnet", "train")
    recipe = RECIPES[name][1]
    options = TrainOptions(**{field.name: getattr(recipe, field.name) for field in dataclasses.fields(Recipe)})
    return parse(options, flags, line, "").recipe()


@pytest.mark.parametrize("name", RECIPES)
def test_a_named_recipe_is_its_name(name):
    line = command(RECIPES[name][1])
    assert line.startswith("sresnet train ")
    assert parsed(line) == RECIPES[name][1]
    if name in ("digits", "fast-cifar10", "paper-cifar10-v2v", "nmnist"):
        assert line == f"sresnet train {name}"


def test_flags_for_every_difference():
    digits = RECIPES["digits"][1]
    changed = replace(
        digits,
        model=replace(digits.model, connection="v2v", boosting=True, skip_norm=False, leak=0.5),
        data=replace(digits.data, flip=True, policy="trivial"),
        train=replace(digits.train, milestones=(0.5, 0.75), ema=0.9),
        seed=3,
        pretrained="a folder",
    )
    line = command(changed)
    assert "--model.no-skip-norm" in line
    assert "--train.milestones 0.5 0.75" in line
    assert parsed(line) == changed
    events = RECIPES["nmnist"][1]
    changed = replace(events, data=replace(events.data, frames=replace(events.data.frames, by="count")))
    assert command(changed) == "sresnet train nmnist --data.frames.by count"
    assert parsed(command(changed)) == changed


def test_a_network_without_a_recipe():
    with pytest.raises(UserError, match="no recipe is for such a network"):
        command(replace(RECIPES["digits"][1], model=VGGConfig()))
    assert from_dict(Recipe, {}) == Recipe()
