"""Short CIFAR runs on whatever is at hand: python experiments/short_cifar.py DATA_DIR [--runs runs/short].

Trains what `rows` lists, one after the other (a run that was stopped resumes, a finished one is not repeated), then
writes results/short-cifar.json with configuration, environment, metrics and result of each, and a table beside it.
"""

from collections.abc import Mapping
from dataclasses import replace
from statistics import mean

from experiment import accuracy, carry_out, flags, images_in, machine, save, study

from sresnet.data import usual_data
from sresnet.models import SResNetConfig
from sresnet.studies.study import Result, Study, Training
from sresnet.train.recipe import Recipe
from sresnet.train.recipes import RECIPES

COMMAND = "python experiments/short_cifar.py DATA_DIR"
"""What makes the records."""


def small(*, epochs: int, depth: int = 8, classes: int = 10) -> Recipe:
    """The recipe "cifar10-small" with a few fields changed."""
    recipe = RECIPES["cifar10-small"][1]
    assert isinstance(recipe.model, SResNetConfig)
    return replace(
        recipe,
        model=replace(recipe.model, depth=depth, num_classes=classes),
        data=usual_data(f"cifar{classes}", recipe.data),
        train=replace(recipe.train, epochs=epochs),
    )


def rows() -> list[Study]:
    """All rows, in the order of the table."""
    begun = Training(recipe=small(epochs=1, classes=100), name="S-ResNet8 on CIFAR-100, 1 epoch")
    tuned = "S-ResNet8, that epoch on CIFAR-100, then 2 on CIFAR-10"
    others: dict[str, Recipe | Training] = {
        begun.name: begun,
        tuned: Training(recipe=small(epochs=2), start=begun, name=tuned),
        "S-ResNet14, 2 epochs": small(epochs=2, depth=14),
    }
    return [study("short", {"S-ResNet8, 3 epochs": small(epochs=3)}, seeds=3), study("short", others)]


def main() -> None:
    """Run and write."""
    options = flags(__doc__, "runs/short", "data_dir").parse_args()
    if carry_out(rows(), images_in(options.data_dir), options):
        save("short-cifar", rows(), options, table, COMMAND)


def table(found: Mapping[str, list[Result]]) -> list[str]:
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
    for name, group in found.items():
        curves = zip(*[[line["validation_top1"] for line in result.metrics] for result in group], strict=True)
        curve = " ".join(f"{mean(values):.1f}" for values in curves)
        speed = mean(line["images_per_second"] for result in group for line in result.metrics)
        lines.append(f"| {name} | {len(group)} | {curve} | {accuracy(group)} | {speed:,.0f} |")
    return [*lines, "", f"{machine(found)}. Where there are several seeds, mean and standard deviation."]


if __name__ == "__main__":
    main()
