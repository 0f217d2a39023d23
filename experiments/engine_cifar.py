"""Real CIFAR-10 with the engine on and off: python experiments/engine_cifar.py DATA_DIR [--runs runs/engine].

S-ResNet8, one epoch of half the training images, the other half held out; the same seeds with `fastest` and with the
reference. Rounding sends two runs apart, so what is to agree is the accuracy, within its spread over seeds. A run that
was stopped resumes, a finished one is not repeated. Writes results/engine-cifar.json and a table beside it.
"""

from collections.abc import Mapping
from dataclasses import replace
from statistics import mean
from typing import Literal

from experiment import accuracy, carry_out, flags, images_in, machine, save, study

from sresnet.ops.dispatch import implementation
from sresnet.studies.study import Result, Study
from sresnet.train.recipe import Recipe
from sresnet.train.recipes import RECIPES

COMMAND = "python experiments/engine_cifar.py DATA_DIR"
"""What makes the records."""

Engine = Literal["fastest", "reference"]
SEEDS = 2
ENGINES: tuple[Engine, ...] = ("fastest", "reference")


def half_epoch() -> Recipe:
    """The recipe "cifar10-small", one epoch of half the images."""
    recipe = RECIPES["cifar10-small"][1]
    return replace(recipe, data=replace(recipe.data, validation=0.5), train=replace(recipe.train, epochs=1))


def row(engine: Engine) -> Study:
    """The row of an engine; the recipe is the same for all."""
    return study("engine", {engine: half_epoch()}, SEEDS)


def main() -> None:
    """Run and write."""
    options = flags(__doc__, "runs/engine", "data_dir").parse_args()
    for engine in ENGINES:
        with implementation(engine):
            if not carry_out([row(engine)], images_in(options.data_dir), options):
                return
    save("engine-cifar", list(map(row, ENGINES)), options, table, COMMAND)


def table(found: Mapping[str, list[Result]]) -> list[str]:
    """The lines of results/engine-cifar.md."""
    lines = [
        "# CIFAR-10 with the engine on and off",
        "",
        "Made by `python experiments/engine_cifar.py DATA_DIR`: S-ResNet8, 16 filters, T = 4, one epoch of 25,000",
        "images in float32; test accuracy on all 10,000 test images, mean and standard deviation over the seeds.",
        "",
        "| engine | seeds | validation accuracy, % | test accuracy, % |",
        "| --- | --- | --- | --- |",
    ]
    for engine, group in found.items():
        held_out = mean(result.metrics[-1]["validation_top1"] for result in group)
        lines.append(f"| {engine} | {len(group)} | {held_out:.2f} | {accuracy(group)} |")
    return [*lines, "", f"{machine(found)}. The machine did other things meanwhile, so no speeds."]


if __name__ == "__main__":
    main()
