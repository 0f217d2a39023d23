"""What each part of the fast recipes brings: python experiments/ablation.py DATA_DIR [--runs runs/ablation].

Trains a small network on a part of CIFAR-10's training images, plain and with one addition at a time, `SEEDS` times
each, and classifies held-out training images after the last epoch; no test image is read. One run after the other; a
run that was stopped resumes, a finished one is not repeated. Writes results/ablation-fast.json with configuration,
environment, metrics and result of each run, and a table beside it. `--finished` trains nothing and writes what there
is; `--tiny` is for trying the script.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from record_runs import by_row, finished, machine, run, save

from sresnet.data import DataConfig, ImageSet, Splits, open_data
from sresnet.data.scaling import scaling_from_plain
from sresnet.data.split import stratified_split
from sresnet.files import read_json
from sresnet.models import SResNetConfig
from sresnet.models.saved import load
from sresnet.studies.rows import spread
from sresnet.train import record
from sresnet.train.evaluate import evaluate
from sresnet.train.recipe import Recipe, TrainConfig

COMMAND = "python experiments/ablation.py DATA_DIR"
"""What makes the records."""

SEEDS = (0, 1, 2)
HELD_OUT = 0.1
"""Part of the 50,000 training images that is classified at the end."""
TRAINED_ON = 8_000
"""Images of the others."""
PLAIN = "plain"

BASE = Recipe(
    model=SResNetConfig(depth=8, base_filters=8, num_steps=4, surrogate_height=1.0),
    data=DataConfig(name="cifar10", validation=HELD_OUT),
    train=TrainConfig(epochs=5, batch_size=64, learning_rate=0.1, schedule="cosine", warmup_epochs=1),
)

ADDITIONS: dict[str, dict[str, dict[str, Any]]] = {
    "2x2 average instead of stride 2": {"model": {"downsample": "avg"}},
    "orthogonal steps for the filters": {"train": {"muon_lr": 0.03}},
    "one time step in 8 of 11 epochs, as long in all": {"train": {"epochs": 11, "progressive_epochs": (8,)}},
    "smaller images in 5 of 7 epochs, as long in all": {"train": {"epochs": 7, "low_res_epochs": 5}},
    "leak 0.5 instead of 0.874": {"model": {"leak": 0.5}},
    "loss of every step": {"train": {"loss": "per-step"}},
    "label smoothing 0.1": {"train": {"label_smoothing": 0.1}},
    "weight average, 0.99 a step": {"train": {"ema": 0.99}},
    "TrivialAugment": {"data": {"policy": "trivial"}},
    "erasing half of the images": {"data": {"erase": 0.5}},
    "leak learned per layer": {"model": {"neuron": "plif"}},
    "learning rate 0.3": {"train": {"learning_rate": 0.3}},
}
"""Row -> fields of the recipe's parts."""

FAST = tuple(ADDITIONS)[:8]
"""The additions that the fast recipes of eight layers have."""

BOTH = {"train": {"epochs": 15, "progressive_epochs": (12,), "low_res_epochs": 10}}
"""The two additions that concern some of the epochs, together; as long in all as each alone."""

OTHERS: dict[str, dict[str, dict[str, Any]]] = {
    "2x2 max-pool instead of stride 2": {"model": {"downsample": "max"}},
    "surrogate of height 0.3, the paper's, not 1": {"model": {"surrogate_height": 0.3}},
    "convolutions in bfloat16": {"train": {"precision": "bf16"}},
}
"""Rows that are not additions: another way to shrink, what every fast recipe differs in from the paper, and what only
a processor decides."""


def with_fields(recipe: Recipe, fields: dict[str, dict[str, Any]]) -> Recipe:
    """The recipe with some fields of its parts changed."""
    return replace(recipe, **{part: replace(getattr(recipe, part), **values) for part, values in fields.items()})


def rows(base: Recipe) -> dict[str, Recipe]:
    """Row -> recipe with seed 0: plain, each addition alone, all of them, those of the fast recipes, other changes."""
    alone = {name: with_fields(base, fields) for name, fields in ADDITIONS.items()}
    together = {"all of them": tuple(ADDITIONS), "the first eight, those of the fast recipes": FAST}
    combined = {}
    for name, additions in together.items():
        combined[name] = with_fields(base, BOTH)
        for addition in additions:
            fields = ADDITIONS[addition]
            if "epochs" not in fields.get("train", {}):  # those are in BOTH
                combined[name] = with_fields(combined[name], fields)
    return {PLAIN: base} | alone | combined | {name: with_fields(base, fields) for name, fields in OTHERS.items()}


def split(data_dir: str, count: int = TRAINED_ON) -> Splits:
    """`count` training images to train on, and held-out training images in place of the test images.

    The same images for every row and seed, so that a seed's runs differ by the addition alone.
    """
    splits = open_data(BASE.data, data_dir, seed=0)
    assert isinstance(splits.train, ImageSet)
    assert splits.validation is not None
    _, some = stratified_split(splits.train.labels, count / len(splits.train), seed=0)
    return Splits(
        train=splits.train.subset(some),
        validation=None,
        test=splits.validation,
        about={"name": "held-out training images in place of the test images"},
    )


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir")
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--finished", action="store_true", help="train nothing, write what is finished")
    parser.add_argument("--tiny", action="store_true", help="200 images, one epoch, one seed; prints, writes nothing")
    options = parser.parse_args()
    base = with_fields(BASE, {"train": {"epochs": 1}}) if options.tiny else BASE
    splits = split(options.data_dir, 200 if options.tiny else TRAINED_ON)
    found = []
    for seed in SEEDS[:1] if options.tiny else SEEDS:
        for name, recipe in rows(base).items():
            if not options.finished or finished(name, seed, options.runs):
                row = held_out(run(name, replace(recipe, seed=seed), splits, options.runs, command=COMMAND))
                row["result"]["held_out_top1_first_step"] = first_step(options.runs / name / str(seed), splits)
                found.append(row)
    if options.tiny:
        print("\n".join(table(found)))
    else:
        save("ablation-fast", found, table(found))


def held_out(row: dict[str, Any]) -> dict[str, Any]:
    """A run's row whose results are named after the images they are of."""
    result = {name.replace("test_", "held_out_"): value for name, value in row["result"].items() if name != "split"}
    counts = {"train": row["result"]["split"]["train"], "held_out": row["result"]["split"]["test"]}
    return row | {"result": result | {"split": counts}}


def first_step(folder: Path, splits: Splits) -> float:
    """Held-out accuracy of a finished run after the first time step: what the loss of every step is for."""
    scaling = scaling_from_plain(read_json(folder / record.DATA))
    return evaluate(load(folder), splits.test, scaling, num_steps=1).top1


def table(found: list[dict[str, Any]]) -> list[str]:
    """The lines of results/ablation-fast.md, from runs of at least the plain row."""
    groups = by_row(found)
    plain = {row["config"]["seed"]: row["result"]["held_out_top1"] for row in groups[PLAIN]}
    counts, config = found[0]["result"]["split"], found[0]["config"]
    model, training = config["model"], config["train"]
    lines = [
        "# What each part of the fast recipes brings",
        "",
        "Made by `python experiments/ablation.py DATA_DIR` from `ablation-fast.json`, which has the configuration, the",
        "versions, the machine and the curves of every run.",
        f"S-ResNet{model['depth']}, {model['base_filters']} filters, T = {model['num_steps']}, "
        f"{counts['train']:,} training images of CIFAR-10, epochs: {training['epochs']}.",
        f"Accuracy on {counts['held_out']:,} training images that were held out, after the last epoch; no test image",
        "was read. The difference is that to the plain run of the same seed. After the first step: of the same network",
        "stopped there. Training accuracy: of the last epoch. Mean and standard deviation over seeds.",
        "",
        "| change | seeds | held-out accuracy, % | difference | after the first step, % | training accuracy, % |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, group in groups.items():
        top1 = [row["result"]["held_out_top1"] for row in group]
        pairs = [
            row["result"]["held_out_top1"] - plain[row["config"]["seed"]]
            for row in group
            if row["config"]["seed"] in plain
        ]
        difference = "" if name == PLAIN or not pairs else spread(pairs, 2, signed=True)
        training_top1 = mean(row["metrics"][-1]["train_top1"] for row in group)
        early = spread([row["result"]["held_out_top1_first_step"] for row in group], 2)
        lines.append(f"| {name} | {len(group)} | {spread(top1, 2)} | {difference} | {early} | {training_top1:.2f} |")
    return [
        *lines,
        "",
        "A short training of a small network on few images: what changes little here may matter in a long one, and",
        "stronger augmentation and smoothing cost accuracy before they bring any. A difference within its deviation is",
        "undecided.",
        "",
        f"{machine(found)}.",
    ]


if __name__ == "__main__":
    main()
