"""Real CIFAR-10 with the engine on and off: python experiments/engine_cifar.py DATA_DIR [--runs runs/engine].

S-ResNet8, one epoch of half the training images, the other half held out; the same seeds with `fastest` and with the
reference. Rounding sends two runs apart, so what is to agree is the accuracy, within its spread over seeds. A run that
was stopped resumes, a finished one is not repeated. Writes results/engine-cifar.json and a table beside it.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from statistics import mean

from record_runs import accuracy, by_row, machine, run, save

from sresnet.data import open_data
from sresnet.ops.dispatch import implementation
from sresnet.train.recipe import Recipe
from sresnet.train.recipes import RECIPES

COMMAND = "python experiments/engine_cifar.py DATA_DIR"
"""What makes the records."""

SEEDS = (0, 1)


def half_epoch(seed: int) -> Recipe:
    """The recipe "cifar10-small", one epoch of half the images."""
    recipe = RECIPES["cifar10-small"][1]
    return replace(recipe, data=replace(recipe.data, validation=0.5), train=replace(recipe.train, epochs=1), seed=seed)


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir")
    parser.add_argument("--runs", type=Path, default=Path("runs/engine"))
    options = parser.parse_args()
    rows = []
    for seed in SEEDS:
        recipe = half_epoch(seed)
        splits = open_data(recipe.data, options.data_dir, seed=seed)
        for engine in ("fastest", "reference"):
            with implementation(engine):
                rows.append(run(engine, recipe, splits, options.runs, command=COMMAND))
    lines = [
        "# CIFAR-10 with the engine on and off",
        "",
        "Made by `python experiments/engine_cifar.py DATA_DIR`: S-ResNet8, 16 filters, T = 4, one epoch of 25,000",
        "images in float32; test accuracy on all 10,000 test images, mean and standard deviation over the seeds.",
        "",
        "| engine | seeds | validation accuracy, % | test accuracy, % |",
        "| --- | --- | --- | --- |",
    ]
    for engine, group in by_row(rows).items():
        held_out = mean(row["metrics"][-1]["validation_top1"] for row in group)
        lines.append(f"| {engine} | {len(group)} | {held_out:.2f} | {accuracy(group)} |")
    save("engine-cifar", rows, [*lines, "", f"{machine(rows)}. The machine did other things meanwhile, so no speeds."])


if __name__ == "__main__":
    main()
