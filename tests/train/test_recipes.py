"""The command that runs a recipe."""

import dataclasses
import shlex
from dataclasses import replace

import pytest

from sresnet.cli.parse import parse
from sresnet.cli.train import TrainOptions
from sresnet.config import from_dict
from sresnet.errors import UserError
from sresnet.models import NetworkConfig
from sresnet.train.command import _flag, command
from sresnet.train.recipe import Recipe, TrainConfig
from sresnet.train.recipes import RECIPES


def parsed(line):
    """The recipe that a command line asks for."""
    program, verb, name, *flags = shlex.split(line)
    assert (program, verb) == ("sresnet", "train")
    recipe = RECIPES[name][1]
    options = TrainOptions(**{field.name: getattr(recipe, field.name) for field in dataclasses.fields(Recipe)})
    return parse(options, flags, line, "").recipe()


FINGERPRINTS = {
    "digits": "9432ecb0",
    "cifar10": "9fd3f69b",
    "cifar100": "6e4c9a98",
    "cifar10-small": "c8077812",
    "fast-cifar10": "22e79d52",
    "fast-cifar10-small": "49101cc6",
    "fast-cifar10-wide": "a39b0cff",
    "fast-cifar100": "aba5f193",
    "folder": "28e83d34",
    "digits-dvs": "7d013fa2",
    "nmnist": "43a58614",
    "dvs-gesture": "05ef8847",
    "dvs-cifar10": "650d5783",
    "cifar10-dvs-sim": "a76d1343",
    "event-folder": "75ef0660",
    "paper-cifar10": "e7df2ab9",
    "paper-cifar10-s2m": "4647a008",
    "paper-cifar10-s2s": "d876240a",
    "paper-cifar10-v2v": "12e56fb1",
    "paper-cifar100": "de43dc3f",
    "paper-dvs-cifar10-32": "dffdac53",
    "paper-dvs-cifar10-64": "d5db41fc",
    "paper-dvs-cifar10-128": "96d86c6f",
    "paper-dvs-cifar10-16f": "17e9387d",
    "paper-dvs-cifar10-boosting": "f29b6adb",
    "fang-cifar": "37b27d66",
    "fang-cifar-small": "eadd55b9",
    "fang-dvs": "bf27b3d3",
    "fang-dvs-small": "3e4ce099",
    "fang-wide-7b": "00a78033",
    "fang-wide-7b-small": "c84e2150",
    "kim-vgg9": "3375659f",
    "kim-vgg9-small": "69c9beff",
    "kim-vgg9-dvs": "ea5d49a9",
    "kim-vgg9-dvs-small": "b6e3b6cf",
    "kim-vgg11": "7daf6c3c",
    "kim-vgg11-small": "4bbbec6a",
    "lee-resnet11": "2ceac50d",
    "lee-resnet11-small": "fab5c48a",
    "zheng-resnet19": "ce5507b5",
    "zheng-resnet19-dvs": "37a7cf54",
    "zheng-resnet19-small": "17906e03",
    "deng-resnet20": "bf2c5e68",
    "deng-resnet20-small": "e766f467",
    "deng-vgg16": "36acd829",
    "deng-vgg16-small": "3d48aba0",
    "sengupta-vgg16": "e9e325aa",
    "sengupta-vgg16-small": "89835e90",
    "stoeckl-resnet50": "b94103e0",
    "stoeckl-resnet50-small": "ff806588",
    "wu-vgg11": "3342ceb8",
    "wu-vgg11-small": "5d65b4eb",
    "sew_resnet18-small": "b6c76191",
    "ms_resnet18-small": "3e19f667",
}


def test_named_recipes_are_what_was_measured():
    """Whoever changes one changes numbers: say so in CHANGELOG.md, and measure again what docs/ say of it."""
    assert {name: recipe.fingerprint() for name, (_, recipe) in RECIPES.items()} == FINGERPRINTS


def test_progressive_epochs_end_below_all_time_steps():
    """1, 2 and 4 time steps, and then 5."""
    model = replace(RECIPES["digits"][1].model, num_steps=5)
    recipe = Recipe(model=model, train=TrainConfig(epochs=5, progressive_epochs=(1, 1, 1)))
    assert [recipe.num_steps_in(epoch) for epoch in range(5)] == [1, 2, 4, 5, 5]
    with pytest.raises(UserError, match="ends with 4 time steps, and the network has 4"):
        replace(recipe, model=replace(model, num_steps=4))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("seed", 3, ["--seed", "3"]),
        ("data.flip", True, ["--data.flip"]),
        ("model.skip_norm", False, ["--model.no-skip-norm"]),
        ("force", False, ["--no-force"]),
        ("train.milestones", (0.5, 0.75), ["--train.milestones", "0.5", "0.75"]),
    ],
)
def test_flags(field, value, words):
    assert _flag(field, value) == words


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
        command(replace(RECIPES["digits"][1], model=NetworkConfig()))
    assert from_dict(Recipe, {}) == Recipe()
