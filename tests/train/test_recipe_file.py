"""Recipes as TOML files."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sresnet.cli import main
from sresnet.errors import UserError
from sresnet.train import record
from sresnet.train.recipe_file import as_toml, read_recipe_file
from sresnet.train.recipes import RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_read_as_it_was_written(name, tmp_path):
    recipe = RECIPES[name][1]
    (tmp_path / "recipe.toml").write_text(as_toml(recipe))
    assert read_recipe_file(tmp_path / "recipe.toml") == recipe


@given(st.integers(0, 2**31 - 1), st.floats(0, 1e9), st.floats(0.01, 1), st.text(), st.lists(st.integers(0, 3)))
def test_any_values(tmp_path_factory, seed, rate, leak, pretrained, short):
    base = RECIPES["digits"][1]
    train = replace(base.train, learning_rate=rate, epochs=100, progressive_epochs=tuple(short[:2]))
    recipe = replace(base, seed=seed, pretrained=pretrained, train=train, model=replace(base.model, leak=leak))
    path = tmp_path_factory.mktemp("recipes") / "recipe.toml"
    path.write_bytes(as_toml(recipe).encode(errors="surrogatepass"))
    assert read_recipe_file(path) == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "is not TOML"),
        ("seed = 0\nseed = 1", "is not TOML"),
        ("sead = 0", "has no field 'sead': did you mean 'seed'?"),
        ("[train]\nepochs = 'many'", "train.epochs is 'many'"),
        ("[train]\nepochs = 0", "epochs 0 is less than 1"),
        ("[model]\nfamily = 'sresnet'\nnum_stepps = 3", "has no field 'num_stepps'"),
        ("[model]\nfamily = 'resnet'", "model.family is 'resnet': choose from"),
        ("model = 3", "expected an object with named fields"),
        ("a = " + "[" * 10_000, "is not TOML"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(text, message, tmp_path):
    (tmp_path / "recipe.toml").write_text(text)
    with pytest.raises(UserError, match=message.replace("?", r"\?")) as caught:
        read_recipe_file(tmp_path / "recipe.toml")
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "recipe.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="is not TOML"):
        read_recipe_file(tmp_path / "recipe.toml")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="does not exist: give a recipe"):
        read_recipe_file(tmp_path / "recipe.toml")


def test_the_command_line_writes_and_trains_what_it_wrote(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = "--train.epochs 1 --model.base-filters 2 --data.train-images 100".split()
    assert main(["train", "digits", *flags, "--toml"]) == 0
    (tmp_path / "small.toml").write_text(capsys.readouterr().out)
    assert not (tmp_path / "runs").exists()
    assert main(["train", "small.toml", "--seed", "3"]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("small-")
    recipe = record.read_recipe(folder)
    assert (recipe.seed, recipe.model.base_filters) == (3, 2)
    capsys.readouterr()
    assert main(["info", str(folder), "--toml"]) == 0
    assert capsys.readouterr().out == as_toml(recipe)
    assert main(["info", "sresnet8", "--toml"]) == 2
    assert "--toml shows the recipe of a run alone" in capsys.readouterr().err
