"""The list of training runs, and the tables made from what is finished."""

import json
import re
import signal
from dataclasses import replace

import pytest
import torch

from sresnet import UserError
from sresnet.cli.workers import WorkerOptions
from sresnet.config import to_dict
from sresnet.models import SResNetConfig
from sresnet.studies.study import Result
from sresnet.train.loop import train
from sresnet.train.recipe import Recipe, TrainConfig
from sresnet.train.recipes import RECIPES
from tests.scripts import script

campaign = script("experiments/campaign")
RESULTS = campaign.ROOT / "results"
ITEMS = campaign.read_items(RESULTS / "campaign.toml")

TINY = """
[[item]]
name = "first"
for = "a try"
recipe = "digits"
seeds = [0, 1]
hours = 0.1
overrides = { "model.base_filters" = 2, "model.num_steps" = 2, "train.epochs" = 1, "data.validation" = 0.1 }

[[item]]
name = "second"
for = "another"
recipe = "digits"
seeds = [0]
hours = 0.1
earlier = true
overrides = { "model.base_filters" = 3, "model.num_steps" = 2, "train.epochs" = 1 }

[[item]]
name = "long"
for = "too long"
recipe = "digits"
seeds = [0]
hours = 100
"""


@pytest.fixture
def items(tmp_path):
    (tmp_path / "campaign.toml").write_text(TINY)
    return campaign.read_items(tmp_path / "campaign.toml")


def test_tables_are_up_to_date():
    assert (RESULTS / "campaign.md").read_text().splitlines() == campaign.page(ITEMS, RESULTS / "campaign")


def test_hours_are_those_computed():
    for item in ITEMS:
        assert item.hours == campaign.estimated_hours(item.recipe), item.name
    said = {name: re.search(r"estimated ([\d.]+) h on two AVX2 cores", line) for name, (line, _) in RECIPES.items()}
    told = {name: float(match[1]) for name, match in said.items() if match}
    assert set(told) == {name for name in RECIPES if name.startswith(("fast-", "paper-"))}
    for name, hours in told.items():
        assert hours == campaign.estimated_hours(RECIPES[name][1]), name


def test_recipes_say_what_was_measured_of_them():
    fast = {name: recipe for name, (_, recipe) in RECIPES.items() if name.startswith("fast-")}
    said_of = []
    for item in ITEMS:
        plain = replace(item.recipe, train=replace(item.recipe.train, precision="fp32"))
        if plain not in fast.values():
            continue
        said_of += [name for name, recipe in fast.items() if recipe == plain]
        found = campaign.results_of(item, RESULTS / "campaign")
        said = f": {campaign.accuracy(found)} %" if found else ": not measured yet"
        assert said in RECIPES[said_of[-1]][0], item.name
    assert sorted(said_of) == sorted(fast)


def test_hours_of_a_setting_that_was_measured():
    speeds = json.loads(campaign.SPEEDS.read_text())["times"]
    images_per_second = speeds["D training fp32"]["contenders"]["fastest"]["images/s"]["median"]
    recipe = Recipe(model=SResNetConfig(depth=20, num_steps=4), train=TrainConfig(epochs=3))
    assert campaign.estimated_hours(recipe) == pytest.approx(3 * 50000 / images_per_second / 3600, rel=0.05)
    longer = Recipe(model=SResNetConfig(depth=20, num_steps=8), train=TrainConfig(epochs=30))
    assert campaign.estimated_hours(longer) == pytest.approx(20 * campaign.estimated_hours(recipe), rel=0.1)


def test_core_hours():
    """Two epochs of 10 and 20 batches of 5 images, at 1 and 2 images/s, on two threads."""
    lines = [{"step": 10, "images_per_second": 1.0}, {"step": 30, "images_per_second": 2.0}]
    config = {"train": {"batch_size": 5}}
    found = Result(key="", config=config, environment={"threads": 2}, metrics=lines, result={})
    assert campaign.core_hours(found) == pytest.approx((50 + 50) * 2 / 3600)


def test_only_some_items(items):
    assert campaign.only(items, [], []) == items
    assert [item.name for item in campaign.only(items, ["second"], [])] == ["second"]
    assert [(item.name, item.seeds) for item in campaign.only(items, [], [1])] == [("first", (1,))]
    with pytest.raises(UserError, match="item 'secnd' is unknown: did you mean 'second'"):
        campaign.only(items, ["secnd"], [])
    with pytest.raises(UserError, match="seed 1 is not one of the seeds of second"):
        campaign.only(items, ["second"], [1])


def test_it_holds_what_no_small_machine_can_finish():
    wanted = {
        ("cifar10", 16, "s2s"),
        ("cifar100", 16, "s2s"),
        ("cifar10", 32, "s2s"),
        ("cifar10", 32, "s2m"),
        ("cifar10", 32, "v2v"),
        ("cifar100", 32, "s2s"),
    }
    found = {
        (item.recipe.data.name, item.recipe.model.base_filters, item.recipe.model.connection)
        for item in ITEMS
        if (item.recipe.model.depth, item.recipe.model.num_steps) == (38, 50)
    }
    assert found == wanted


class Counted:
    """Asked after every step; says to stop after `steps` of them."""

    def __init__(self, steps):
        self.left = steps

    def __call__(self):
        self.left -= 1
        return self.left == 0


def test_slices_of_a_campaign(items, tmp_path, capsys):
    torch.set_num_threads(1)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    runs, folder = tmp_path / "runs", tmp_path / "results" / "campaign"

    def go(minutes):
        left = campaign.left_of(items, runs, folder, 24.0)
        return campaign.train(left, runs, folder, campaign.images_in(""), WorkerOptions(max_minutes=minutes))

    # As the campaign of earlier versions left it: a run folder, and nothing of the study engine's beside it.
    recipe = items[0].recipe
    begun = runs / "first" / "0"
    begun.parent.mkdir(parents=True)
    outcome = train(
        recipe, campaign.images_in("")(recipe.data, 0, 2), begun, device=torch.device("cpu"), should_stop=Counted(3)
    )
    assert (outcome.state, outcome.step) == ("stopped", 3)

    assert not go(0)
    assert not list(folder.glob("*.json"))
    assert go(10)
    said = capsys.readouterr().out
    order = [said.index(f"{name}: finished") for name in ("first, seed 0", "second, seed 0", "first, seed 1")]
    assert order == sorted(order)
    assert {path.name for path in folder.iterdir()} == {"first-seed0.json", "first-seed1.json", "second-seed0.json"}
    assert (begun / "result.json").exists()  # resumed, and not begun anew elsewhere
    whole = train(recipe, campaign.images_in("")(recipe.data, 0, 2), tmp_path / "whole", device=torch.device("cpu"))
    assert json.loads((folder / "first-seed0.json").read_text())["result"] == json.loads(json.dumps(whole.result))
    assert campaign.left_of(items, runs, folder, 24.0) == {}
    assert list(campaign.left_of(items, runs, folder, 200.0)) == ["long-seed0"]
    assert go(10)
    row = json.loads((folder / "first-seed1.json").read_text())
    assert row["config"] == json.loads(json.dumps(to_dict(items[0].trainings[1].recipe)))
    assert row["result"]["test_images"] == 359
    assert "data_dir" not in row["environment"]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers

    campaign.write_tables(items, tmp_path)
    top1 = [json.loads((folder / f"first-seed{seed}.json").read_text())["result"]["test_top1"] for seed in (0, 1)]
    deviation = abs(top1[0] - top1[1]) / 2**0.5
    command = "sresnet train digits --model.num-steps 2 --model.base-filters 2 --data.validation 0.1 --train.epochs 1"
    cost = sum(map(campaign.core_hours, campaign.results_of(items[0], folder))) / 2
    line = f"| a try | `{command}` | 0.1 | {cost:.2g} | 2 of 2 | {sum(top1) / 2:.2f} ± {deviation:.2f} |"
    page = (tmp_path / "results" / "campaign.md").read_text()
    now, _, before = page.partition("## Recipes as they were before")
    assert line in now
    assert "| too long |" in now
    assert "| another |" not in now  # an earlier recipe
    assert "| another |" in before
    held_out = row["metrics"][0]["validation_top1"]
    assert f"| first | 1 | {held_out:.1f} |" in page
    assert "| second | 0 |" not in page  # it held nothing out
    campaign.write_tables(items, tmp_path)
    assert (tmp_path / "results" / "campaign.md").read_text() == page


@pytest.mark.parametrize(
    ("part", "changed", "words"),
    [
        ("metrics", None, "metrics is None"),
        ("metrics", [{"epoch": 1, "step": 2}], "metrics 1 lacks 'images_per_second'"),
        ("metrics", [{"epoch": 1, "step": 2, "images_per_second": 0}], "metrics 1: images_per_second is 0"),
        ("environment", {"threads": "two"}, "environment: threads is 'two'"),
        ("result", {"test_top1": [50]}, "result: test_top1 is"),
    ],
)
def test_a_damaged_record_is_refused(items, tmp_path, part, changed, words):
    line = {"epoch": 1, "step": 22, "images_per_second": 20.0}
    row = {"row": "first", "metrics": [line], "environment": {"threads": 2}, "result": {"test_top1": 50.0}}
    row["config"] = to_dict(items[0].recipe)
    (tmp_path / "first-seed0.json").write_text(json.dumps(row))
    assert [found.key for found in campaign.results_of(items[0], tmp_path)] == ["first-seed0"]
    (tmp_path / "first-seed0.json").write_text(json.dumps(row | {part: changed}))
    with pytest.raises(UserError, match=words):
        campaign.results_of(items[0], tmp_path)
    (tmp_path / "first-seed0.json").write_text("{")
    with pytest.raises(UserError, match="first-seed0.json cannot be read"):
        campaign.results_of(items[0], tmp_path)


def test_a_record_of_another_configuration_is_refused(items, tmp_path):
    row = {"row": "first", "config": {}, "environment": {"threads": 1}, "metrics": [], "result": {"test_top1": 99.0}}
    (tmp_path / "first-seed0.json").write_text(json.dumps(row))
    with pytest.raises(UserError, match="is of another configuration than first: give the changed item a new name"):
        campaign.table(items, tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('recipe = "digits"', 'recipe = "digit"', "recipe 'digit' is unknown: did you mean 'digits'"),
        ('"model.num_steps"', '"model.num_stepz"', "num_stepz"),
        ('name = "second"', 'name = "first"', "two items called 'first'"),
        ("hours = 0.1", "hours = 0.1\nhuors = 1", "has no field 'huors'"),
        ('for = "a try"', "", "is not a list of items"),
        ("[[item]]", "[[itme]]", "is not a list of items"),
        ('for = "a try"', "for = ", "is not a list of items"),
    ],
)
def test_mistakes_in_the_list(old, new, words, tmp_path):
    text = TINY.replace(old, new) if old == "[[item]]" else TINY.replace(old, new, 1)
    (tmp_path / "campaign.toml").write_text(text)
    with pytest.raises(UserError, match=words):
        campaign.read_items(tmp_path / "campaign.toml")


def test_no_folder(tmp_path):
    left = campaign.left_of(ITEMS[-1:], tmp_path, tmp_path, 1e9)
    with pytest.raises(UserError, match="is read from your own folder: give it, as DATA_DIR"):
        campaign.train(left, tmp_path, tmp_path, campaign.images_in(""), WorkerOptions(max_minutes=1))
