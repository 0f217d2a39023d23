"""The training runs that are to be done, a slice at a time: make campaign DATA_DIR=DIR [CAMPAIGN_MINUTES=90].

results/campaign.toml lists them. This trains the next unfinished one, and the one after it, until the minutes are over
or it is told to stop (Ctrl-C, SIGTERM), and stops cleanly at a step; the same command resumes there. Seed 0 of every
item goes before seed 1. A finished training is written to results/campaign/NAME-seedSEED.json with configuration,
environment, curve and result, and the tables in results/campaign.md are made again from
these files. Commit them before the next slice: a run's revision says whether the tree was changed.

On a CPU, items that are estimated at more than --longest hours are left to other machines.

Hours are computed, not measured, for two AVX2 cores and float32: of the settings that benchmarks/data/ has the speed
of, the one whose operations per time step are nearest in proportion gives the time of an operation; times operations
per step, time steps, training images and epochs. Evaluation after the epochs is not counted.
"""

import argparse
import json
import math
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from experiment import accuracy, cluster_flags, images_in, places_of, study, train

from sresnet.config import check_fields, closest, from_dict, to_dict
from sresnet.data import EventConfig
from sresnet.errors import UserError
from sresnet.files import write_whole
from sresnet.models import ModelConfig, SResNetConfig
from sresnet.models.summary import summarise
from sresnet.studies import results
from sresnet.studies.run import command_of, to_train
from sresnet.studies.study import Result, Training
from sresnet.train.command import command
from sresnet.train.recipe import Recipe
from sresnet.train.recipes import RECIPES

ROOT = Path(__file__).parents[1]
SPEEDS = ROOT / "benchmarks" / "data" / "amd-epyc-2-cores-avx2.json"
SETTINGS = {"A": (38, 16, 10), "B": (38, 32, 10), "C": (8, 16, 50), "D": (20, 16, 4)}
"""Depth, filters and time steps of the settings in it, as in bench.py."""
CIFAR_IMAGES = 50_000
DVS_CIFAR10_RECORDINGS = 9_000
"""Nine tenths of DVS-CIFAR10, whatever the split."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """A training, once per seed."""

    name: str
    purpose: str
    recipe: Recipe
    """With seed 0."""
    seeds: tuple[int, ...]
    hours: float
    """Estimated for one seed, see the top of this file."""
    earlier: bool = False
    """A recipe as it was before; the page has a table of these below the others."""

    @property
    def trainings(self) -> list[Training]:
        """One for each seed."""
        return [Training(recipe=self.recipe, name=self.name).with_seed(seed) for seed in self.seeds]


def read_items(path: Path) -> list[Item]:
    """The items of a campaign.

    Raises:
        UserError: a file that is no such list, an unknown recipe or field, or two items of one name.
    """
    try:
        listed = tomllib.loads(path.read_text(encoding="utf-8"))["item"]
        items = [read_item(values) for values in listed]
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a list of items ({type(error).__name__}: {error})") from None
    names = [item.name for item in items]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{path} has two items called {name!r}: give each a name of its own")
    return items


def read_item(values: dict[str, Any]) -> Item:
    """One table of the file; errors as `read_items`."""
    values = dict(values)
    name = values.pop("recipe")
    if name not in RECIPES:
        raise UserError(f"recipe {name!r} is unknown: {closest(name, list(RECIPES))}")
    recipe = to_dict(RECIPES[name][1])
    for field, value in values.pop("overrides", {}).items():
        *parts, last = field.split(".")
        inner = recipe
        for part in parts:
            inner = inner[part]
        inner[last] = value
    item = Item(
        name=values.pop("name"),
        purpose=values.pop("for"),
        recipe=from_dict(Recipe, recipe),
        seeds=tuple(values.pop("seeds")),
        hours=values.pop("hours"),
        earlier=values.pop("earlier", False),
    )
    if values:
        raise UserError(
            f"item {item.name!r} has no field {next(iter(values))!r}: "
            "there are name, for, recipe, overrides, seeds, hours, earlier"
        )
    return item


# Hours


def operations(model: ModelConfig, image_size: int = 32) -> int:
    """Multiply-accumulates and additions of one time step of one square image, all neurons firing."""
    return sum(
        layer.multiply_accumulates + layer.spike_additions
        for layer in summarise(model, (image_size, image_size)).layers
    )


def estimated_hours(recipe: Recipe) -> float:
    """Hours of training on CIFAR-10, CIFAR-100 or DVS-CIFAR10, two significant digits; see the top of this file."""
    times = json.loads(SPEEDS.read_text(encoding="utf-8"))["times"]
    if isinstance(recipe.data, EventConfig):
        wanted, samples = operations(recipe.model, recipe.data.frames.size), DVS_CIFAR10_RECORDINGS
    else:
        wanted, samples = operations(recipe.model), CIFAR_IMAGES
    costs = {}  # how far a setting is -> seconds per operation
    for name, (depth, filters, steps) in SETTINGS.items():
        theirs = operations(SResNetConfig(depth=depth, base_filters=filters, num_steps=steps))
        speed = times[f"{name} training fp32"]["contenders"]["fastest"]["images/s"]["median"]
        costs[abs(math.log(wanted / theirs))] = 1 / (speed * steps * theirs)
    images = samples * (1 - recipe.data.validation)
    work = sum(recipe.work_in(epoch) for epoch in range(recipe.train.epochs))
    hours = images * work * wanted * costs[min(costs)] / 3600
    return float(f"{hours:.2g}")


def core_hours(found: Result) -> float:
    """Hours of training times threads, as measured, of a finished run; evaluation is left out, as in the estimate."""
    seconds, before = 0.0, 0
    for line in found.metrics:
        images = (line["step"] - before) * found.config["train"]["batch_size"]
        seconds, before = seconds + images / line["images_per_second"], line["step"]
    return seconds * found.environment["threads"] / 3600


# Results


def results_of(item: Item, folder: Path) -> list[Result]:
    """What was recorded of the item's finished trainings, in order of seeds.

    Raises:
        UserError: a record that is damaged, or of another configuration than the item's.
    """
    found = []
    for training in item.trainings:
        path = results.path_of(folder, training.key())
        if path.exists():
            result = results.read_one(path)
            check_speeds(result, str(path))
            if from_dict(Recipe, result.config, f"{path}: config") != training.recipe:
                raise UserError(
                    f"{path} is of another configuration than {item.name}: give the changed item a new name"
                )
            found.append(result)
    return found


def check_speeds(found: Result, where: str) -> None:
    """Raise UserError where a record lacks what `core_hours` reads."""
    check_fields(found.environment, f"{where}: environment", {"threads": int}, {})
    for number, line in enumerate(found.metrics, 1):
        each = f"{where}: metrics {number}"
        check_fields(line, each, {"step": int, "images_per_second": float}, {"validation_top1": float})
        if line["images_per_second"] <= 0:
            raise UserError(f"{each}: images_per_second is {line['images_per_second']}: it is damaged")


def only(items: list[Item], names: list[str], seeds: list[int]) -> list[Item]:
    """The items of these names, with these of their seeds; all where there are none.

    Raises:
        UserError: a name that no item has, or a seed that none of the chosen ones has.
    """
    for name in names:
        if name not in [item.name for item in items]:
            raise UserError(f"item {name!r} is unknown: {closest(name, [item.name for item in items])}")
    chosen = [item for item in items if not names or item.name in names]
    for seed in seeds:
        if not any(seed in item.seeds for item in chosen):
            raise UserError(f"seed {seed} is not one of the seeds of {', '.join(item.name for item in chosen)}")
    if not seeds:
        return chosen
    narrowed = [replace(item, seeds=tuple(seed for seed in item.seeds if seed in seeds)) for item in chosen]
    return [item for item in narrowed if item.seeds]


def left_of(items: Iterable[Item], runs: Path, folder: Path, longest: float) -> dict[str, tuple[str, Training]]:
    """What is left to train, as `to_train` of the study engine gives it, of the items that are not too long."""
    chosen = [item for item in items if item.hours <= longest]
    for item in chosen:
        results_of(item, folder)  # refuses records of other configurations
    wanted = {training.key() for item in chosen for training in item.trainings}
    studies = [study(item.name, {"": item.trainings[0].with_seed(0)}, max(item.seeds) + 1) for item in chosen]
    return {key: what for key, what in to_train(studies, runs, folder).items() if key in wanted}


def table(items: list[Item], folder: Path) -> list[str]:
    """The table of results."""
    lines = [
        "| what for | command | hours a run, estimated | core-hours, measured | finished | test accuracy, % |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for item in items:
        found = results_of(item, folder)
        shown = accuracy(found) if found else ""
        cost = f"{mean(map(core_hours, found)):.2g}" if found else ""
        counts = f"{len(found)} of {len(item.seeds)}"
        lines.append(f"| {item.purpose} | `{command(item.recipe)}` | {item.hours:g} | {cost} | {counts} | {shown} |")
    return lines


def page(items: list[Item], folder: Path) -> list[str]:
    """The lines of results/campaign.md."""
    lines = [
        "# The campaign",
        "",
        "Made by `python experiments/campaign.py` from `campaign.toml`, which lists the training runs, and",
        "`campaign/`, which has configuration, environment, curve and result of each that is finished. `make",
        "campaign DATA_DIR=DIR` runs the next one. Hours are computed from a measured speed",
        "([record](../benchmarks/data/amd-epyc-2-cores-avx2.md)) for two AVX2 cores and float32; core-hours are",
        "those of the training steps on the machine that the records name, in the precision that the command names.",
        "Nothing is claimed of unfinished training runs. Test images are read once, after the last epoch. Mean",
        "and standard deviation where several seeds are finished.",
        "",
        *table([item for item in items if not item.earlier], folder),
    ]
    if earlier := [item for item in items if item.earlier]:
        lines += ["", "## Recipes as they were before", "", *table(earlier, folder)]
    curves = []
    for item in items:
        for found in results_of(item, folder):
            values = [line.get("validation_top1") for line in found.metrics]
            if None not in values:
                curve = " ".join(f"{value:.1f}" for value in values)
                curves.append(f"| {item.name} | {found.config['seed']} | {curve} |")
    if curves:
        lines += [
            "",
            "## Curves",
            "",
            "Accuracy on held-out training images after each epoch, %:",
            "",
            "| item | seed | by epoch |",
            "| --- | --- | --- |",
            *curves,
        ]
    return lines


def write_tables(items: list[Item], root: Path = ROOT) -> None:
    """results/campaign.md, from what is recorded.

    Records of earlier versions get the command that they lack.
    """
    folder = root / "results" / "campaign"
    for item in items:
        by_key = {training.key(): training for training in item.trainings}
        for found in results_of(item, folder):
            if not found.command:
                results.write(folder, replace(found, command=command_of(by_key[found.key])))
    write_whole(root / "results" / "campaign.md", ("\n".join(page(items, folder)) + "\n").encode())


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", nargs="?", default="", help="folder of CIFAR-10 and CIFAR-100")
    parser.add_argument("--minutes", type=float, default=90.0, help="stop after so long")
    parser.add_argument("--only", nargs="+", default=[], help="names of items")
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=[], help="of these; two processes need different training runs"
    )
    parser.add_argument("--longest", type=float, default=24.0, help="hours; longer items are left out on a CPU")
    parser.add_argument("--runs", type=Path, default=Path("runs/campaign"))
    cluster_flags(parser)
    parser.add_argument("--tables", action="store_true", help="train nothing, write the tables")
    parser.add_argument("--hours", action="store_true", help="train nothing, print the estimated hours")
    options = parser.parse_args()
    folder = ROOT / "results" / "campaign"
    try:
        items = read_items(ROOT / "results" / "campaign.toml")
        if options.hours:
            for item in items:
                print(f"{item.name:24} {estimated_hours(item.recipe):g}")
            return
        if not options.tables:
            longest = math.inf if torch.cuda.is_available() else options.longest
            chosen = only(items, options.only, options.seeds)
            left = left_of(chosen, options.runs, folder, longest)
            if not left:
                print("nothing is left to do" + ("" if longest == math.inf else f" in {longest:g} hours on a CPU"))
            train(left, options.runs, folder, images_in(options.data_dir), places_of(options))
        write_tables(items)
    except UserError as error:
        raise SystemExit(f"campaign: {error}") from None


if __name__ == "__main__":
    main()
