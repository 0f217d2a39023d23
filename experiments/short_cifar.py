"""Short CIFAR runs on whatever is at hand: python experiments/short_cifar.py DATA_DIR [--runs runs/short].

Trains what `RUNS` lists, one after the other (a run that was stopped resumes, a finished one is not repeated), then
writes results/short-cifar.json with configuration, environment, metrics and result of each, and a table beside it.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from record_runs import accuracy, by_row, machine, run, save

from sresnet.data import open_data, usual_data
from sresnet.models import SResNetConfig
from sresnet.train.recipe import Recipe
from sresnet.train.recipes import RECIPES

COMMAND = "python experiments/short_cifar.py DATA_DIR"
"""What makes the records."""


def small(*, epochs: int, depth: int = 8, classes: int = 10, seed: int = 0, pretrained: str = "") -> Recipe:
    """The recipe "cifar10-small" with a few fields changed."""
    recipe = RECIPES["cifar10-small"][1]
    assert isinstance(recipe.model, SResNetConfig)
    return replace(
        recipe,
        model=replace(recipe.model, depth=depth, num_classes=classes),
        data=usual_data(f"cifar{classes}", recipe.data),
        train=replace(recipe.train, epochs=epochs),
        seed=seed,
        pretrained=pretrained,
    )


def runs(folder: Path) -> dict[str, list[Recipe]]:
    """Row -> one recipe per seed, in the order to run."""
    return {
        "S-ResNet8, 3 epochs": [small(epochs=3, seed=seed) for seed in (0, 1, 2)],
        "S-ResNet8 on CIFAR-100, 1 epoch": [small(epochs=1, classes=100)],
        "S-ResNet8, that epoch on CIFAR-100, then 2 on CIFAR-10": [
            small(epochs=2, pretrained=str(folder / "S-ResNet8 on CIFAR-100, 1 epoch" / "0"))
        ],
        "S-ResNet14, 2 epochs": [small(epochs=2, depth=14)],
    }


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir")
    parser.add_argument("--runs", type=Path, default=Path("runs/short"))
    options = parser.parse_args()
    rows = []
    for name, recipes in runs(options.runs).items():
        for recipe in recipes:
            splits = open_data(recipe.data, options.data_dir, seed=recipe.seed)
            row = run(name, recipe, splits, options.runs, command=COMMAND)
            row["config"]["pretrained"] = recipe.pretrained and "the row before"
            rows.append(row)
    save("short-cifar", rows, table(rows))


def table(rows: list[dict[str, Any]]) -> list[str]:
    """The lines of results/short-cifar.md."""
    lines = [
        "# Short CIFAR runs",
        "",
        "Made by `python experiments/short_cifar.py DATA_DIR` from `short-cifar.json`, which has the configuration,",
        "the versions and the machine of every run. T = 4, 16 filters, 45,000 training images, 5,000 held out for the",
        "validation accuracy after each epoch; the 10,000 test images are read once, after the last.",
        "",
        "| network | seeds | validation accuracy after each epoch, % | test accuracy, % | images/s |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, group in by_row(rows).items():
        curves = zip(*[[line["validation_top1"] for line in row["metrics"]] for row in group], strict=True)
        curve = " ".join(f"{mean(values):.1f}" for values in curves)
        speed = mean(line["images_per_second"] for row in group for line in row["metrics"])
        lines.append(f"| {name} | {len(group)} | {curve} | {accuracy(group)} | {speed:,.0f} |")
    return [*lines, "", f"{machine(rows)}. Where there are several seeds, mean and standard deviation."]


if __name__ == "__main__":
    main()
