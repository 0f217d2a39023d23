"""Fine-tuning on 300 photos: python experiments/finetune.py DATA_DIR [--choose] [--runs runs/finetune].

DATA_DIR holds CIFAR-100. Of twelve of its classes, drawn by a seed, pictures are written as PNG files into folders: six
classes to choose the defaults of `sresnet finetune` on, six others to report on, each with 50 training pictures of a
class and 60 to test on. Of the six to choose on all are from the training images of CIFAR-100; the test pictures of the
six to report on are test images of it.

--choose trains the candidates (results/finetune-choice.json); without it what is reported (results/finetune.json).
"""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import mean

import torch
from experiment import accuracy, carry_out, flags, machine, save, study
from PIL import Image

from sresnet.data import AnyData, DataConfig, Splits, open_data
from sresnet.data.cifar import load_cifar
from sresnet.data.images import ImageSet
from sresnet.models.pretrained import card_of, config_of
from sresnet.randomness import order
from sresnet.studies.run import Open
from sresnet.studies.study import Result, Study
from sresnet.train.finetune import finetuning
from sresnet.train.recipe import Recipe, TrainConfig
from sresnet.train.recipes import FAST

COMMAND = "python experiments/finetune.py DATA_DIR"
SOURCES = ("cifar10-t4", "cifar10-wide-t2")
"""What is fine-tuned, both trained on CIFAR-10, whose classes CIFAR-100 does not have."""
CLASSES, TRAIN, TEST = 6, 50, 60
"""Classes of a set, and pictures of each."""
SEEDS = 3
DATA = DataConfig(name="folder")


def draw(data_dir: str, folder: Path) -> None:
    """Write both sets of pictures, `folder`/choose and `folder`/report, where they are not there yet."""
    if (folder / "done").exists():
        return
    train, test = load_cifar("cifar100", data_dir)
    chosen = order(len(train.class_names), 0, 0)[: 2 * CLASSES].tolist()
    for name, labels in (("choose", chosen[:CLASSES]), ("report", chosen[CLASSES:])):
        for label in labels:
            own = _of_class(train, label)
            others = own[TRAIN : TRAIN + TEST] if name == "choose" else _of_class(test, label)[:TEST]
            source = train if name == "choose" else test
            _write(train, own[:TRAIN], folder / name / "train" / train.class_names[label])
            _write(source, others, folder / name / "test" / train.class_names[label])
    (folder / "done").touch()


def _of_class(images: ImageSet, label: int) -> torch.Tensor:
    """Numbers of the images of a class, in an order drawn by a seed."""
    found = (images.labels == label).nonzero()[:, 0]
    return found[order(len(found), 0, 1)]


def _write(images: ImageSet, chosen: torch.Tensor, folder: Path) -> None:
    """The images with these numbers as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, pixels in zip(chosen.tolist(), images.batch(chosen), strict=True):
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(folder / f"{number:05}.png")


def pictures_in(folder: Path) -> Open:
    """Opens one of the sets of pictures."""

    def open_(data: AnyData, seed: int, num_steps: int) -> Splits:
        return open_data(data, str(folder), seed=seed, num_steps=num_steps)

    return open_


def candidate(source: str = "cifar10-t4", *, keep_stem: bool = True, **train: object) -> Recipe:
    """A recipe to choose from: no curriculum, a cosine without warm-up, and `train` otherwise."""
    fields: dict[str, object] = {"schedule": "cosine", "loss": "per-step", "label_smoothing": 0.1, "precision": "bf16"}
    fields |= {"epochs": 20, "batch_size": 16, "learning_rate": 0.05, "muon_lr": 0.005}
    return Recipe(
        model=replace(config_of(card_of(source)), num_classes=CLASSES),
        data=DATA,
        train=TrainConfig(**fields | train),  # type: ignore[arg-type]
        pretrained=source,
        keep_stem=keep_stem,
    )


CANDIDATES: dict[str, Recipe] = {
    "0.05, filters 0.005, batch 16": candidate(),
    "filters 0.0015": candidate(muon_lr=0.0015),
    "filters 0.015": candidate(muon_lr=0.015),
    "rate 0.02": candidate(learning_rate=0.02),
    "rate 0.2": candidate(learning_rate=0.2),
    "plain SGD, 0.02": candidate(learning_rate=0.02, muon_lr=0.0),
    "stem anew": candidate(keep_stem=False),
    "batch 32": candidate(batch_size=32),
    "wide, 0.05, filters 0.005, batch 16": candidate("cifar10-wide-t2"),
    "wide, filters 0.0015": candidate("cifar10-wide-t2", muon_lr=0.0015),
}


def choice() -> list[Study]:
    """The candidates."""
    return [study("finetune-choice", CANDIDATES)]


def inherited(source: str) -> Recipe:
    """What `sresnet finetune` did before it had defaults: the source's recipe, its curriculum in proportion."""
    recipe = candidate(source, keep_stem=False)
    theirs = card_of(source).recipe["train"]
    epochs, whole = 20, theirs["epochs"]
    low_res = theirs.get("small_epochs", 0) * epochs // whole
    short = theirs["short_epochs"][0] * epochs // whole
    train = replace(FAST, epochs=epochs, progressive_epochs=(short,), low_res_epochs=low_res, ema=theirs["ema"])
    erase = card_of(source).recipe["data"]["erase"]
    return replace(recipe, train=replace(train, precision="bf16"), data=replace(DATA, erase=erase))


def rows(source: str) -> dict[str, Recipe]:
    """What is reported of a source."""
    new = finetuning(source, DATA, num_classes=CLASSES, in_channels=3)
    new = replace(new, train=replace(new.train, precision="bf16"))
    old = inherited(source)
    found = {f"{source}, defaults": new, f"{source}, inherited recipe": old}
    if source != SOURCES[0]:
        return found
    by_hand = replace(old.train, progressive_epochs=(), batch_size=32, learning_rate=0.01, muon_lr=0.0015, ema=0.0)
    return found | {
        f"{source}, defaults, freeze stem,stage1": replace(new, freeze=("stem", "stage1")),
        f"{source}, by hand": replace(old, train=by_hand),
        f"{source}, from scratch": replace(old, pretrained=""),
    }


def reported() -> list[Study]:
    """All rows, those of the smaller network first."""
    return [study("finetune", rows(source), SEEDS) for source in SOURCES]


def main() -> None:
    """Write the pictures, run, write the record."""
    parser = flags(__doc__, "runs/finetune", "data_dir")
    parser.add_argument("--source", choices=SOURCES, help="train only what starts from it")
    parser.add_argument("--choose", action="store_true", help="train the candidates, on the other six classes")
    options: argparse.Namespace = parser.parse_args()
    torch.set_num_threads(1)
    pictures = options.runs / "pictures"
    if not (options.finished or options.tables):
        draw(options.data_dir, pictures)
    name, wanted = ("finetune-choice", choice()) if options.choose else ("finetune", reported())
    options.runs = options.runs / name
    if options.source and not options.choose:
        wanted = [study("finetune", rows(options.source), SEEDS)]
    if carry_out(wanted, pictures_in(pictures / ("choose" if options.choose else "report")), options):
        page = choice_table if options.choose else table
        save(name, wanted, options, page, COMMAND + (" --choose" if options.choose else ""))


def choice_table(found: Mapping[str, list[Result]]) -> list[str]:
    """The lines of results/finetune-choice.md."""
    lines = [
        "# Defaults of fine-tuning: what was tried",
        "",
        f"Made by `{COMMAND} --choose` from `finetune-choice.json`, which has the",
        f"configuration, the versions and the machine of every run. {CLASSES} classes of CIFAR-100, {TRAIN} training",
        f"pictures of each and {TEST} to choose on, all from its training images; 20 epochs from cifar10-t4 unless the",
        "row says wide, bfloat16, seed 0. A row says how it differs from the first. The standard error of an accuracy",
        "is about 2.2 points.",
        "",
        "| candidate | held-out pictures, % |",
        "| --- | --- |",
        *(f"| {name} | {accuracy(group)} |" for name, group in found.items()),
    ]
    left = "; ".join(name for name in CANDIDATES if name not in found)
    return [*lines, "", f"{machine(found)}.{f' Not run: {left}.' if left else ''}"]


def table(found: Mapping[str, list[Result]]) -> list[str]:
    """The lines of results/finetune.md."""
    lines = [
        "# Fine-tuning on 300 photos",
        "",
        f"Made by `{COMMAND}` from `finetune.json`, which has the configuration, the versions",
        f"and the machine of every run. {CLASSES} classes of CIFAR-100 that CIFAR-10 lacks, {TRAIN} of its training",
        f"images of each to train on and {TEST} of its test images of each to test on, as PNG files; 20 epochs,",
        "bfloat16, one thread. The test pictures were read once, after the last epoch; defaults were chosen on six",
        "other classes before ([finetune-choice.md](finetune-choice.md)).",
        "",
        "- defaults: what `sresnet finetune NETWORK --data folder` does.",
        "- inherited recipe: what it did before, the recipe that trained NETWORK, its curriculum in proportion to 20",
        "  epochs: batches of 128, most epochs of one time step; stem convolution and readout anew.",
        "- by hand: that without curriculum and weight average, batches of 32, a tenth of the rates.",
        "- from scratch: the inherited recipe without the trained network.",
        "",
        "| network | seeds | test accuracy, % | training accuracy in the last epoch, % |",
        "| --- | --- | --- | --- |",
    ]
    for name, group in found.items():
        last = [result.metrics[-1]["train_top1"] for result in group]
        lines.append(f"| {name} | {len(group)} | {accuracy(group)} | {mean(last):.1f} |")
    left = {row: SEEDS - len(found.get(row, [])) for source in SOURCES for row in rows(source)}
    lines += ["", f"{machine(found)}. Mean and standard deviation over the seeds.", "", "Not run yet:", ""]
    missing = [f"- {row}: {count} of {SEEDS} seeds" for row, count in left.items() if count]
    return lines + missing if missing else lines[:-3]


if __name__ == "__main__":
    main()
