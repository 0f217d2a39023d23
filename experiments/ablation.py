"""What each part of the fast recipes brings: python experiments/ablation.py DATA_DIR [--runs runs/ablation].

Trains a small network on a part of CIFAR-10's training images, plain and with one addition at a time, `SEEDS` times
each, and classifies held-out training images after the last epoch; no test image is read. One run after the other; a
run that was stopped resumes, a finished one is not repeated. Writes results/ablation-fast.json with configuration,
environment, metrics and result of each run, and a table beside it. `--finished` trains nothing and writes what there
is; `--tiny` is for trying the script.
"""

from collections.abc import Mapping
from dataclasses import replace
from statistics import mean
from typing import Any

from experiment import carry_out, flags, groups, kept_in, machine, numbers, save, study

from sresnet.data import AnyData, DataConfig, ImageSet, Splits, open_data
from sresnet.data.split import stratified_split
from sresnet.models import SResNetConfig
from sresnet.studies import results
from sresnet.studies.rows import spread
from sresnet.studies.study import Result
from sresnet.train.recipe import Recipe, TrainConfig

COMMAND = "python experiments/ablation.py DATA_DIR"
"""What makes the records."""

SEEDS = 3
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
    parser = flags(__doc__, "runs/ablation", "data_dir")
    parser.add_argument("--tiny", action="store_true", help="200 images, one epoch, one seed; prints, writes nothing")
    options = parser.parse_args()
    base = with_fields(BASE, {"train": {"epochs": 1}}) if options.tiny else BASE
    wanted = [study("ablation", rows(base), 1 if options.tiny else SEEDS)]

    def open_(data: AnyData, seed: int, num_steps: int) -> Splits:
        return split(options.data_dir, 200 if options.tiny else TRAINED_ON)

    if not carry_out(wanted, open_, options):
        return
    if options.tiny:
        found = {key: held_out(result) for key, result in results.read(kept_in(options.runs)).items()}
        print("\n".join(table(groups(wanted, found))))
    else:
        save("ablation-fast", wanted, options, table, COMMAND, held_out)


def held_out(found: Result) -> Result:
    """A result whose numbers are named after the images they are of, and that of a network stopped after a step."""
    result = {name.replace("test_", "held_out_"): value for name, value in found.result.items() if name != "split"}
    counts = {"train": found.result["split"]["train"], "held_out": found.result["split"]["test"]}
    return replace(found, result=result | {"held_out_top1_first_step": found.by_steps[0], "split": counts})


def table(found: Mapping[str, list[Result]]) -> list[str]:
    """The lines of results/ablation-fast.md, from results of at least the plain row."""
    plain = {result.config["seed"]: result.result["held_out_top1"] for result in found[PLAIN]}
    first = found[PLAIN][0]
    counts, model, training = first.result["split"], first.config["model"], first.config["train"]
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
    for name, group in found.items():
        pairs = [
            result.result["held_out_top1"] - plain[result.config["seed"]]
            for result in group
            if result.config["seed"] in plain
        ]
        difference = "" if name == PLAIN or not pairs else spread(pairs, 2, signed=True)
        top1, early = (spread(numbers(group, number), 2) for number in ("held_out_top1", "held_out_top1_first_step"))
        training_top1 = mean(result.metrics[-1]["train_top1"] for result in group)
        lines.append(f"| {name} | {len(group)} | {top1} | {difference} | {early} | {training_top1:.2f} |")
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
