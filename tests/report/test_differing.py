"""In which fields recipes differ, and names and looks that tell runs apart."""

import itertools
from dataclasses import replace

import pytest

from sresnet.config import from_dict, to_dict
from sresnet.report.differing import (
    differences,
    differences_in_brief,
    equal_runs,
    labels_of,
    styles_of,
    value_in_words,
)
from sresnet.report.document import Table
from sresnet.report.palette import colour_of, dash_of, marker_of
from sresnet.report.records import Records
from sresnet.report.several import Shown, sections_of
from sresnet.train.recipe import Recipe
from sresnet.train.recipes import RECIPES

DIGITS = RECIPES["digits"][1]


def run(name, recipe=DIGITS, contents="", environment=None, **model):
    recipe = replace(recipe, model=replace(recipe.model, **model))
    return Records(
        name=name,
        recipe=recipe,
        command="",
        environment=environment or {},
        class_names=(),
        metrics=(),
        result={},
        contents=contents,
    )


def fields(*runs):
    return {each.field: each.values for each in differences(runs)}


def test_exactly_the_fields_that_differ():
    plif, other = run("a", neuron="plif", leak=0.9), run("b")
    assert fields(plif, other) == {"model.neuron": ("plif", "lif"), "model.leak": (0.9, 0.874)}
    assert labels_of([plif, other], differences([plif, other])) == ["neuron plif, leak 0.9", "neuron lif, leak 0.874"]
    trained = replace(DIGITS, train=replace(DIGITS.train, epochs=3), data=replace(DIGITS.data, flip=True), seed=2)
    assert list(fields(run("a"), run("b", trained))) == ["data.flip", "train.epochs", "seed"]
    found = differences([run("a"), run("b", num_steps=7)])
    assert [each.flag for each in found] == ["model.num-steps"]


def test_equal_runs_say_so():
    assert fields(run("a"), run("b")) == {}
    assert labels_of([run("a"), run("b")], ()) == ["a", "b"]
    runs = [run("a"), run("b", leak=0.5), run("c")]
    found = differences(runs)
    assert equal_runs(runs, found) == [["a", "c"]]
    assert labels_of(runs, found) == ["leak 0.874 (a)", "leak 0.5", "leak 0.874 (c)"]
    page = sections_of([Shown(each, "no data") for each in runs])[0]
    assert any("Equal in all fields: a, c." in getattr(block, "text", "") for block in page.content)
    page = sections_of([Shown(each, "no data") for each in runs[::2]])[0]
    assert any("equal in all fields" in getattr(block, "text", "") for block in page.content)


def test_a_field_that_an_older_run_lacks_has_its_default():
    plain = to_dict(DIGITS)
    assert "pretrained_layers" not in plain
    old = from_dict(Recipe, plain, "old")
    new = replace(DIGITS, calibrate=False, pretrained="x", pretrained_layers="all")
    assert fields(run("a", old), run("b", new)) == {"pretrained": ("", "x"), "pretrained_layers": ("inner", "all")}


def test_networks_and_data_of_other_families():
    found = differences([run("a"), run("b", RECIPES["fang-dvs-small"][1])])
    names = [each.field for each in found]
    assert names[:2] == ["model.family", "data.family"]
    brief = differences_in_brief([run("a"), run("b", RECIPES["fang-dvs-small"][1])])
    assert brief["model.depth"] == [8, None]
    assert brief["data.split"][0] is None
    assert brief["data.name"] == ["digits", "digits-dvs"]
    first, second = labels_of([run("a"), run("b", RECIPES["fang-dvs-small"][1])], found)
    assert first != second
    shown = [Shown(run("a"), "no data"), Shown(run("b", RECIPES["fang-dvs-small"][1]), "no data")]
    common, kinds = [block for block in sections_of(shown)[0].content if "differences" in getattr(block, "name", "")]
    assert (common.folded, kinds.folded) == (False, True)
    told = [row[0].name for table in (common, kinds) for row in table.rows]
    assert sorted(told) == sorted(names)
    assert "model.depth" in [row[0].name for row in kinds.rows]
    every = [run(name, recipe) for name, (_, recipe) in RECIPES.items()]
    labels = labels_of(every, differences(every))
    assert len(set(labels)) == len(every)
    assert first == "a: family sresnet"
    ranks = [("model", "data", "train").index(each.field.partition(".")[0]) for each in found[2:]]
    assert ranks == sorted(ranks)


def test_what_a_network_was_made_from():
    converted = run("a", environment={"converted_from": "runs/ann"})
    assert fields(converted, run("b")) == {"converted_from": ("runs/ann", "")}


def test_a_converted_network_has_no_fields_of_training():
    longer = replace(DIGITS, train=replace(DIGITS.train, epochs=99))
    converted = run("a", environment={"converted_from": "runs/ann"})
    assert fields(converted, run("b", longer)) == {"converted_from": ("runs/ann", "")}
    three = [converted, run("b", longer), run("c")]
    epochs = next(each for each in differences(three) if each.field == "train.epochs")
    assert [value_in_words(value) for value in epochs.values] == ["", "99", str(DIGITS.train.epochs)]
    assert differences_in_brief(three)["train.epochs"] == [None, 99, DIGITS.train.epochs]


def test_other_contents_of_data_of_the_same_name():
    one, other = run("a", contents="0123456789"), run("b", contents="abcdefghij")
    assert fields(one, other) == {"data.contents": ("01234567", "abcdefgh")}
    assert fields(one, run("b", replace(DIGITS, seed=1), contents="abcdefghij")) == {"seed": (0, 1)}
    assert fields(one, run("b")) == {}


def test_many_runs_are_called_by_as_few_fields_as_tell_them_apart():
    made = itertools.product(("lif", "plif"), ("s2s", "s2m", "v2v"), (0.8, 0.874, 0.9, 0.95, 0.99))
    runs = [
        run(f"r{at}", replace(DIGITS, seed=at % 3), neuron=neuron, connection=connection, leak=leak)
        for at, (neuron, connection, leak) in enumerate(made)
    ]
    found = differences(runs)
    assert len(found) == 4
    labels = labels_of(runs, found)
    assert len(set(labels)) == 30
    assert labels[7] == "neuron lif, leak 0.9, connection s2m"
    styles, told = styles_of(runs, found)
    assert told == "leak"
    assert [colour_of(style) for style in styles[:7]] == ["s1", "s2", "s3", "s4", "s5", "s1", "s2"]
    assert len({(colour_of(each), marker_of(each), dash_of(each)) for each in styles}) == 30
    (table,) = [
        block
        for block in sections_of([Shown(each, "no data") for each in runs])[0].content
        if isinstance(block, Table) and block.name == "differences"
    ]
    assert table.headings == ["run", "model.neuron", "model.leak", "model.connection", "seed"]
    assert table.texts()[7] == ["r7", "lif", "0.9", "s2m", "1"]


@pytest.mark.parametrize("count", [2, 6, 7, 30])
def test_looks_tell_runs_apart_whatever_differs(count):
    for fields_of in (
        lambda at: {"leak": 0.5 + at / 100},
        lambda at: {"depth": 8 if at % 2 else 14, "leak": 0.5 + at / 100},
        lambda _: {},
    ):
        runs = [run(f"r{at}", **fields_of(at)) for at in range(count)]
        styles, _ = styles_of(runs, differences(runs))
        assert len({(colour_of(each), marker_of(each), dash_of(each)) for each in styles}) == count
