"""What is committed in results/: every record says what makes it, and with what it was made."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from sresnet.cli import main
from sresnet.cli.parse import parse
from sresnet.cli.search import _config_of
from sresnet.cli.train import TrainOptions, recipe_fields
from sresnet.config import from_dict
from sresnet.search.config import config_in
from sresnet.search.record import read_records
from sresnet.train.recipe import Recipe
from sresnet.train.recipes import RECIPES
from tests.scripts import script

RESULTS = Path(__file__).parents[2] / "results"
FILES = sorted(
    path
    for path in RESULTS.rglob("*.json")
    if not path.name.endswith(".failed.json")
    and path.name not in ("mutants.json", "kernel-faults.json")  # of tests, in tests/tools
)
VERSIONS = ("sresnet", "python", "torch", "numpy", "safetensors")


def records(path):
    content = json.loads(path.read_text(), parse_constant=pytest.fail)  # NaN is not JSON
    return content if isinstance(content, list) else [content]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(RESULTS)))
def test_a_record_has_command_revision_and_versions(path):
    """`python experiments/campaign.py --tables` adds the command to records of the campaign that lack it."""
    for record in records(path):
        assert record.get("command", "").startswith(("sresnet ", "python experiments/", "python benchmarks/"))
        environment = record["environment"]
        assert re.fullmatch(r"[0-9a-f]{40}(\+changes)?", environment["revision"])
        assert all(environment[name] for name in VERSIONS)
        assert environment["device"]
        assert not {"data_dir", "cache_dir"} & set(environment)


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.parent != RESULTS], ids=lambda path: str(path.relative_to(RESULTS))
)
def test_the_command_is_of_the_configuration(path):
    (record,) = records(path)
    first, verb, name, *flags = shlex.split(record["command"].removesuffix(" --data-dir DIR"))
    if verb == "search":
        assert _config_of(name, flags)[1] == config_in(record["config"], "")
        return
    if verb == "study":  # no recipe is for such a network
        assert record["config"]["model"]["family"] == "vgg"
        return
    assert (first, verb) == ("sresnet", "train")
    recipe = parse(TrainOptions(**recipe_fields(RECIPES[name][1])), flags, "", "").recipe()
    config = from_dict(Recipe, record["config"])
    assert bool(recipe.pretrained) == bool(config.pretrained)
    assert replace(recipe, pretrained="") == replace(config, pretrained="")


def test_what_early_exit_and_analysis_write(tmp_path):
    exit_words = ["evaluate", "digits-t4", "--exit-confidence", "0.9", "--calibrate", "train", "--out", "exit"]
    for words, name in (
        (exit_words, "exit/early-exit.json"),
        (["analyse", "digits-t4", "--images", "5", "--out", "look"], "look/analysis.json"),
    ):
        words = [str(tmp_path / word) if word in ("exit", "look") else word for word in words]
        assert main(words) == 0
        written = json.loads((tmp_path / name).read_text())
        assert written["command"] == shlex.join(["sresnet", *words])
        assert set(VERSIONS) | {"revision", "device"} <= set(written["environment"])


def test_the_page_of_searches_is_made_of_their_records():
    searches = script("experiments/searches")
    found = read_records(RESULTS / "searches")
    assert (RESULTS / "searches.md").read_text().splitlines() == searches.page(found)
    for name, outcome in found.items():
        assert name in searches.SEARCHES
        for figure in searches.figures_of(outcome):
            assert (RESULTS / "searches" / f"{name}-{figure.name}.svg").exists()


def rows_of(name):
    """What an experiment trains."""
    experiment = script(f"experiments/{name}")
    if name == "ablation":
        return [experiment.study("ablation", experiment.rows(experiment.BASE), experiment.SEEDS)]
    if name == "short_events":
        return [experiment.study("events", experiment.RUNS, experiment.SEEDS)]
    if name == "simulated_gestures":
        return experiment.studies()
    if name == "finetune":
        return experiment.reported()
    return experiment.rows() if name == "short_cifar" else list(map(experiment.row, experiment.ENGINES))


def test_what_defaults_of_fine_tuning_were_chosen_from():
    finetune, shared = script("experiments/finetune"), script("experiments/experiment")
    grouped = shared.groups(finetune.choice(), shared.read(RESULTS / "finetune-choice.json"))
    assert (RESULTS / "finetune-choice.md").read_text().splitlines() == finetune.choice_table(grouped)
    for name, (result,) in grouped.items():
        assert replace(from_dict(Recipe, result.config), seed=0) == finetune.CANDIDATES[name]


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("ablation", "ablation-fast"),
        ("short_cifar", "short-cifar"),
        ("short_events", "short-events"),
        ("simulated_gestures", "simulated-gestures"),
        ("engine_cifar", "engine-cifar"),
        ("finetune", "finetune"),
    ],
)
def test_a_table_is_made_of_its_record(name, record, tmp_path, monkeypatch):
    experiment, shared = script(f"experiments/{name}"), script("experiments/experiment")
    found = shared.read(RESULTS / f"{record}.json")
    grouped = shared.groups(rows_of(name), found)
    assert sum(map(len, grouped.values())) == len(found)
    page = (RESULTS / f"{record}.md").read_text()
    assert page.splitlines() == experiment.table(grouped)

    # The same from results as the study engine keeps them, once through a record of today.
    runs = tmp_path / "runs"
    for result in found.values():
        shared.results.write(shared.kept_in(runs), replace(result, result={"test_top1": 0.0} | result.result))
    monkeypatch.setattr(shared, "RESULTS", tmp_path)
    options = shared.flags("", str(runs)).parse_args(["--finished"])
    shared.save(record, rows_of(name), options, experiment.table, experiment.COMMAND)
    assert (tmp_path / f"{record}.md").read_text() == page
    assert shared.read(tmp_path / f"{record}.json").keys() == found.keys()
