"""Short CIFAR runs on whatever is at hand: python benchmarks/short_cifar.py DATA_DIR [--runs runs/short].

Trains what `RUNS` lists, one after the other (a run that was stopped goes on, a finished one is not repeated), then
writes results/short-cifar.json with configuration, environment, metrics and result of each, and a table beside it.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

import torch

from sresnet.config import to_dict
from sresnet.data import open_data
from sresnet.train import record
from sresnet.train.display import display
from sresnet.train.loop import train
from sresnet.train.recipe import Recipe
from sresnet.train.recipes import RECIPES

RESULTS = Path(__file__).parents[1] / "results"


def small(*, epochs: int, depth: int = 8, classes: int = 10, seed: int = 0, pretrained: str = "") -> Recipe:
    """The recipe "cifar10-small" with a few fields changed."""
    recipe = RECIPES["cifar10-small"][1]
    return replace(
        recipe,
        model=replace(recipe.model, depth=depth, num_classes=classes),
        data=replace(recipe.data, name=f"cifar{classes}"),
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
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = []
    for name, recipes in runs(options.runs).items():
        for recipe in recipes:
            folder = options.runs / name / str(recipe.seed)
            print(f"{name}, seed {recipe.seed}", flush=True)
            splits = open_data(recipe.data, options.data_dir, seed=recipe.seed)
            with display(folder, tensorboard=False) as watch:
                outcome = train(recipe, splits, folder, device=device, watch=watch)
            environment = record.read_json(folder / record.ENVIRONMENT)
            del environment["data_dir"]
            rows.append(
                {
                    "row": name,
                    "config": to_dict(replace(recipe, pretrained=recipe.pretrained and "the row before")),
                    "environment": environment,
                    "metrics": record.read_metrics(folder),
                    "result": outcome.result,
                }
            )
            write(rows)


def write(rows: list[dict]) -> None:
    """The record and its table, as far as the runs have come."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "short-cifar.json").write_text(json.dumps(rows, indent=1) + "\n")
    lines = [
        "# Short CIFAR runs",
        "",
        "Made by `python benchmarks/short_cifar.py DATA_DIR` from `short-cifar.json`, which has the configuration,",
        "the versions and the machine of every run. T = 4, 16 filters, 45,000 training images, 5,000 held out for the",
        "validation accuracy after each epoch; the 10,000 test images are read once, after the last.",
        "",
        "| network | seeds | validation accuracy after each epoch, % | test accuracy, % | images/s |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in dict.fromkeys(row["row"] for row in rows):
        group = [row for row in rows if row["row"] == name]
        curves = zip(*[[line["validation_top1"] for line in row["metrics"]] for row in group], strict=True)
        curve = " ".join(f"{mean(values):.1f}" for values in curves)
        tests = [row["result"]["test_top1"] for row in group]
        spread = f" ± {stdev(tests):.2f}" if len(tests) > 1 else ""
        speed = mean(line["images_per_second"] for row in group for line in row["metrics"])
        lines.append(f"| {name} | {len(group)} | {curve} | {mean(tests):.2f}{spread} | {speed:,.0f} |")
    environment = rows[-1]["environment"]
    lines += [
        "",
        f"{environment['device']}, {environment['threads']} threads, torch {environment['torch']}. Where there are "
        "several seeds, mean and standard deviation.",
    ]
    (RESULTS / "short-cifar.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
