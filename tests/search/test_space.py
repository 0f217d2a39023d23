"""What a search may change."""

from dataclasses import make_dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sresnet.cli.search import _config_of
from sresnet.errors import UserError
from sresnet.search.config import SearchConfig, claim, fitted, read_config
from sresnet.search.space import (
    NAMED,
    Choice,
    Range,
    dimension,
    field_named,
    named_space,
    read_space,
    read_values,
    with_values,
)
from sresnet.train.recipes import RECIPES

DIGITS = RECIPES["digits"][1]
BOTH = make_dataclass("Both", [("model", object), ("data", object)], frozen=True)
HELD_OUT = replace(DIGITS, data=replace(DIGITS.data, validation=0.2))


def test_ranges_and_lists():
    assert dimension("model.leak", "0.5:0.999", DIGITS) == Range(low=0.5, high=0.999)
    assert dimension("train.learning_rate", "1e-3:0.1:log", DIGITS) == Range(low=0.001, high=0.1, log=True)
    assert dimension("model.num_steps", "2:8", DIGITS).whole
    assert dimension("model.num_steps", "2, 4,8", DIGITS) == Choice(values=(2, 4, 8))
    assert dimension("model.connection", "s2s,s2m", DIGITS) == Choice(values=("s2s", "s2m"))
    assert dimension("model.boosting", "true,false", DIGITS) == Choice(values=(True, False))
    assert dimension("model.threshold", [1, 2.0], DIGITS) == Choice(values=(1.0, 2.0))


@given(st.floats(1e-6, 1.0), st.floats(1e-6, 1.0), st.booleans())
def test_a_range_is_read_as_it_is_written(a, b, log):
    if a == b:
        return
    each = Range(low=min(a, b), high=max(a, b), log=log)
    assert dimension("train.learning_rate", str(each), DIGITS) == each
    assert a in each
    assert b in each
    assert 2.0 not in each


@pytest.mark.parametrize(
    ("field", "given", "message"),
    [
        ("model.leak", "0.9:0.5", "range 0.9:0.5 is empty"),
        ("model.leak", "0.5:0.5", "is empty"),
        ("model.leak", "0.5:1.5", "leak 1.5"),
        ("train.learning_rate", "0:1:log", "reaches 0: begin it above 0"),
        ("train.learning_rate", "0.1:1:exp", "give low:high or low:high:log"),
        ("train.learning_rate", "0.1:many", "which is not a number"),
        ("train.learning_rate", "nan:1", "is empty|nan"),
        (
            "train.epochs",
            "1:3",
            r"train.epochs is the same in all trials of a search \(.*\): set it with --train.epochs",
        ),
        ("data.validation", "0.1:0.2", "is the same in all trials of a search"),
        ("model.num_steps", "2:4.5", "'4.5', which is not a whole number: give one, such as 4"),
        ("model.num_steps", "4,4", "has a value twice"),
        ("model.num_steps", "0,4", "num_steps"),
        ("model.num_steps", [4], "leaves nothing to choose"),
        ("model.num_steps", ["4", 5], "expected int"),
        ("model.connection", "s2s:s2m", "is no number"),
        ("model.connection", "s2s,s3s", "s3s"),
        ("model.connection", [1, 2], "expected one of"),
        ("model.boosting", "yes,no", "give true,false"),
        ("model.leak", "0.5", "give a range"),
        ("model.leak", 3, "give a range"),
    ],
)
def test_what_cannot_be_searched_is_said_in_a_line(field, given, message):
    with pytest.raises(UserError, match=message) as caught:
        dimension(field, given, DIGITS)
    assert "\n" not in str(caught.value)


def test_names_of_fields():
    assert field_named("leak", DIGITS) == "model.leak"
    assert field_named("learning-rate", DIGITS) == "train.learning_rate"
    assert field_named("train.epochs", DIGITS) == "train.epochs"
    assert field_named("seed", DIGITS) == "seed"
    with pytest.raises(UserError, match=r"no field 'leek' to search: did you mean 'leak'\?"):
        field_named("leek", DIGITS)
    with pytest.raises(UserError, match=r"no field 'model\.leek' to search: did you mean 'model\.leak'\?"):
        field_named("model.leek", DIGITS)
    with pytest.raises(UserError, match="ambiguous: choose from"):
        field_named("validation", BOTH(model=DIGITS.data, data=DIGITS.data))


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("recipe", ["digits", "paper-cifar10-s2s"])
def test_spaces_with_names(name, recipe):
    recipe = RECIPES[recipe][1]
    space = named_space(name, recipe)
    assert set(space) == set(NAMED[name])
    assert recipe.model.num_steps in space["model.num_steps"]


def test_a_file(tmp_path):
    path = tmp_path / "space.toml"
    path.write_text('leak = "0.5:0.9"\nnum_steps = [2, 4]\n[train]\nlearning_rate = "0.01:0.1:log"\n')
    assert {field: str(each) for field, each in read_space(path, DIGITS).items()} == {
        "model.leak": "0.5:0.9",
        "model.num_steps": "2,4",
        "train.learning_rate": "0.01:0.1:log",
    }
    for text, message in {
        "[": "is not TOML",
        'leek = "0:1"': "no field 'leek'",
        'leak = "0.1:0.2"\nmodel.leak = "0.1:0.3"': "has model.leak twice",
    }.items():
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            read_space(path, DIGITS)
    with pytest.raises(UserError, match="does not exist: give paper or wide"):
        read_space(tmp_path / "none.toml", DIGITS)


def test_values_go_where_they_belong():
    recipe = RECIPES["digits-dvs"][1]
    changed = with_values(recipe, {"model.leak": 0.5, "data.frames.size": 16, "data.flip": True, "seed": 3})
    assert (changed.model.leak, changed.data.frames.size, changed.data.flip, changed.seed) == (0.5, 16, True, 3)
    assert replace(changed, model=recipe.model, data=recipe.data, seed=0) == recipe
    with pytest.raises(UserError, match="progressive_epochs"):
        with_values(
            replace(DIGITS, train=replace(DIGITS.train, progressive_epochs=(1, 1, 1), epochs=9)), {"model.num_steps": 2}
        )


def test_values_to_try_first():
    space = {"model.leak": dimension("model.leak", "0.5:0.999", DIGITS)}
    space["model.num_steps"] = dimension("model.num_steps", "2:8", DIGITS)
    assert read_values("paper", space, DIGITS) == {"model.leak": 0.874}  # 50 steps are outside
    assert read_values("leak=0.6, num-steps=4", space, DIGITS) == {"model.leak": 0.6, "model.num_steps": 4}
    for text, message in {
        "leak": "give leak=0.9",
        "leek=1": "no field 'leek'",
        "num_steps=x": "not a whole number",
    }.items():
        with pytest.raises(UserError, match=message):
            read_values(text, space, DIGITS)


LEAK = {"model.leak": dimension("model.leak", "0.5:0.999", DIGITS)}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"space": {}}, "the space is empty"),
        ({"recipe": DIGITS}, "holds out no images"),
        ({"objectives": ()}, "objectives none"),
        ({"objectives": ("accuracy", "accuracy")}, "give each once"),
        ({"objectives": ("accuracy", "steps"), "sampler": "bohb"}, "bohb knows one objective"),
        ({"min_epochs": 0}, "min_epochs 0 is outside"),
        ({"min_epochs": 10**6}, "min_epochs 1000000 is outside"),
        ({"reduction": 1}, "reduction 1"),
        ({"enqueue": ({"model.num_steps": 3},)}, "is given and not searched"),
        ({"enqueue": ({"model.leak": 0.1},)}, "is given and outside"),
        ({"sampler": "best"}, "sampler is 'best'"),
    ],
)
def test_what_no_search_can_be_of(fields, message):
    with pytest.raises(UserError, match=message):
        SearchConfig(**({"recipe": HELD_OUT, "space": LEAK} | fields))


def test_a_search_is_read_as_it_was_written(tmp_path):
    space = LEAK | {"model.connection": Choice(values=("s2s", "s2m")), "model.boosting": Choice(values=(True, False))}
    config = SearchConfig(recipe=HELD_OUT, space=space, min_epochs=2, enqueue=({"model.leak": 0.9},))
    claim(config, tmp_path / "search")
    assert read_config(tmp_path / "search") == config
    claim(config, tmp_path / "search")
    with pytest.raises(UserError, match="holds a search with another min_epochs"):
        claim(replace(config, min_epochs=1), tmp_path / "search")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(UserError, match=r"is not empty \(file\)"):
        claim(config, tmp_path / "other")
    with pytest.raises(UserError, match="holds no search"):
        read_config(tmp_path / "other")
    for text in ("[]", "{}", '{"recipe": 3}', "no"):
        (tmp_path / "search" / "search.json").write_text(text)
        with pytest.raises(UserError):
            read_config(tmp_path / "search")


def test_a_folder_that_holds_images_out_is_searched_on_them(tmp_path):
    for part in ("train", "val", "test"):
        (tmp_path / part).mkdir()
    words = ["--data.name", "folder", "--data-dir", str(tmp_path), "--search.leak", "0.5:0.9"]
    _, config, notes = _config_of("digits", words)
    assert config.recipe.data.validation == 0
    assert not any("held out" in note for note in notes)
    (tmp_path / "val").rmdir()
    _, config, notes = _config_of("digits", words)
    assert config.recipe.data.validation > 0
    assert any("is held out" in note for note in notes)


def test_recipes_are_fitted():
    recipe, least, notes = fitted(DIGITS, LEAK, 0)
    assert recipe.data.validation == 0.1
    assert least == max(1, DIGITS.train.epochs // 9)
    assert len(notes) == 1
    short = replace(HELD_OUT, train=replace(HELD_OUT.train, progressive_epochs=(2, 1)))
    recipe, least, notes = fitted(short, LEAK, 1)
    assert (recipe, least) == (short, 4)
    assert "epochs of fewer time steps are not compared" in notes[0]
    recipe, least, notes = fitted(short, {"model.num_steps": Choice(values=(2, 4))}, 1)
    assert recipe.train.progressive_epochs == ()
    assert least == 1
    assert "progressive_epochs are off" in notes[0]
