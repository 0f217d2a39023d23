"""What scale medium costs: the page is made of the record, and hours are reckoned as they are said to be."""

from dataclasses import replace

import pytest

from sresnet.files import read_json
from sresnet.studies.run import ACTIVITY_IMAGES
from sresnet.train.recipes import RECIPES
from tests.scripts import ROOT, script

medium = script("experiments/medium")


def test_the_page_is_made_of_the_record_and_the_budget_is_kept():
    record = read_json(ROOT / "results" / "medium.json")
    lines = medium.page(record)
    assert (ROOT / "results" / "medium.md").read_text().splitlines() == lines
    speeds, left = record["images_per_second"], medium.runs()
    assert {medium.network_of(training.recipe) for _, training in left.values()} == speeds.keys()
    total = sum(medium.hours_of(each, speeds[medium.network_of(each.recipe)]) for _, each in left.values())
    assert total <= medium.BUDGET
    text = " ".join(lines)
    assert f"26 training runs for Tables 2, 3, 4, 5, 8, 15, 16, 17, {total:.1f} hours of one core as reckoned" in text
    assert [training.recipe.seed for _, training in left.values()] == [0] * 21 + [1] * 5


def test_hours():
    training = next(each for _, each in medium.runs().values() if each.recipe.train.protocol == "last-epoch")
    images = 11 * 50_000 + 2 * 10_000 / 3 + 3 * ACTIVITY_IMAGES
    assert medium.hours_of(training, 100.0) == pytest.approx(images / 100 / 3600)
    best = replace(training.recipe, train=replace(training.recipe.train, protocol="best-test-epoch"))
    images += 11 * 10_000 / 3
    assert medium.hours_of(replace(training, recipe=best), 100.0) == pytest.approx(images / 100 / 3600)


def test_a_speed_is_measured():
    recipe = RECIPES["cifar10-small"][1]
    recipe = replace(recipe, model=replace(recipe.model, base_filters=2, num_steps=1))
    recipe = replace(recipe, train=replace(recipe.train, batch_size=10))
    one, double = (medium.images_per_second(each, 0.3) for each in (recipe, doubled(recipe)))
    assert 0 < double < one


def doubled(recipe):
    return replace(recipe, model=replace(recipe.model, base_filters=32, num_steps=4))
