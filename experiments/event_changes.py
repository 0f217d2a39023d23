"""Which filters, windows and random changes help: python experiments/event_changes.py NMNIST_DIR BIOLAB_DIR.

The folders are those of experiments/short_events.py. First, small networks are trained with one addition at a time, and
classify held-out recordings of the training set; no test recording is classified. Of the BioLab recordings the last
third in time of each of session A is held out, half a second or more apart from the others; of N-MNIST a fifth. Some
are trained for longer, alone and together. Then what was chosen by that (`tested`) is trained on all training
recordings, three seeds, and classifies the test recordings once; the others too, one seed, to compare. Writes
results/event-changes.json and a table beside it; `--finished` trains nothing and writes what there is. Several
processes may run it: each run is made once.
"""

from collections.abc import Mapping
from dataclasses import replace
from statistics import mean
from typing import Any

from experiment import accuracy, carry_out, flags, heading, machine, numbers, save, study
from short_events import biolab

from sresnet.data import AnyData, Splits, open_data
from sresnet.data.events.changes import ChangeConfig
from sresnet.data.events.filters import FilterConfig
from sresnet.data.events.frames import FrameConfig
from sresnet.data.events.windows import WindowConfig
from sresnet.models import SResNetConfig
from sresnet.studies.rows import spread
from sresnet.studies.study import Result
from sresnet.train.recipe import Recipe
from sresnet.train.recipes import RECIPES

COMMAND = "python experiments/event_changes.py NMNIST_DIR BIOLAB_DIR"
"""What makes the records."""

CHOICE_SEEDS, LONGER_SEEDS, TEST_SEEDS, OTHER_SEEDS = 1, 1, 3, 1
LONGER = 30
"""Epochs of the second choice, and of tests."""
PLAIN = "as the recipe"

Fields = Mapping[str, Any]
"""Fields of the data's configuration."""

CHANGES: dict[str, Fields] = {
    "cut-out of half the clips": {"cutout": 0.5},
    "NDA": {"changes": ChangeConfig(nda=True)},
    "crops from 0.7 of each side": {"changes": ChangeConfig(crop=0.7)},
    "EventDrop": {"changes": ChangeConfig(drop="any")},
    "polarity exchanged in half": {"changes": ChangeConfig(polarity=0.5)},
    "time reversed in half": {"changes": ChangeConfig(reverse=0.5)},
    "jitter of 1 pixel": {"changes": ChangeConfig(space_jitter=1.0)},
    "jitter of half a step": {"changes": ChangeConfig(time_jitter=0.5)},
    "mixup": {"changes": ChangeConfig(mix="mixup")},
    "EventMix": {"changes": ChangeConfig(mix="eventmix")},
}

FILTERS: dict[str, Fields] = {
    "background filter, 20 ms": {"filters": FilterConfig(background_ms=20.0)},
    "background filter, 5 ms": {"filters": FilterConfig(background_ms=5.0)},
    "refractory filter, 1 ms": {"filters": FilterConfig(refractory_ms=1.0)},
}

WINDOWS: dict[str, Fields] = {
    "windows of 1 s": {"windows": WindowConfig(seconds=1.0)},
    "windows of 1 s, each half of the next": {"windows": WindowConfig(seconds=1.0, stride=0.5)},
}


def small(recipe: Recipe, fields: Fields, *, base_filters: int) -> Recipe:
    """A recipe with some fields of its data, on S-ResNet8, T = 4."""
    data = replace(recipe.data, **fields)
    assert isinstance(recipe.model, SResNetConfig)
    return replace(recipe, data=data, model=replace(recipe.model, depth=8, num_steps=4, base_filters=base_filters))


def choices() -> dict[str, Recipe]:
    """Row -> recipe, of what is chosen by."""
    found = {}
    last: Fields = {"validation": 1 / 3, "held_out": "last"}
    for name, fields in {PLAIN: {}, **FILTERS, **WINDOWS, **CHANGES}.items():
        recipe = small(biolab(), {**last, **fields}, base_filters=16)
        found[f"BioLab, {name}"] = replace(recipe, train=replace(recipe.train, epochs=12, batch_size=16))
    for name, fields in {PLAIN: {}, **FILTERS, **CHANGES}.items():
        recipe = small(RECIPES["nmnist"][1], {"validation": 0.2, **fields}, base_filters=8)
        found[f"N-MNIST, {name}"] = replace(recipe, train=replace(recipe.train, epochs=10))
    return found


OVERLAPPING = WINDOWS["windows of 1 s, each half of the next"]
NDA, JITTER = CHANGES["NDA"], CHANGES["jitter of half a step"]
FILTER = FILTERS["background filter, 20 ms"]

LOG, BINARY = ({"frames": FrameConfig(size=17, representation=shown)} for shown in ("log", "binary"))
"""The recipe's frames of N-MNIST, as another representation of their counts."""

TOGETHER: dict[str, dict[str, Fields]] = {
    "BioLab": {
        PLAIN: {},
        "NDA": NDA,
        "jitter of half a step": JITTER,
        "background filter, 20 ms": FILTER,
        "windows of 1 s, each half of the next": OVERLAPPING,
        "these windows and NDA": {**OVERLAPPING, **NDA},
        "these windows, NDA and jitter of half a step": {
            **OVERLAPPING,
            "changes": ChangeConfig(nda=True, time_jitter=0.5),
        },
        "these windows and background filter, 20 ms": {**OVERLAPPING, **FILTER},
        "these windows, background filter, 20 ms, NDA and jitter of half a step": {
            **OVERLAPPING,
            **FILTER,
            "changes": ChangeConfig(nda=True, time_jitter=0.5),
        },
    },
    "N-MNIST": {
        PLAIN: {},
        "NDA": NDA,
        "jitter of half a step": JITTER,
        "log": LOG,
        "binary": BINARY,
        "log, NDA": {**LOG, **NDA},
    },
}
"""Set -> row -> fields, of what is trained for longer."""


def longer() -> dict[str, Recipe]:
    """Row -> recipe, of what is chosen by after more epochs."""
    found = {}
    for name, rows in TOGETHER.items():
        recipe = choices()[f"{name}, {PLAIN}"]
        for row, fields in rows.items():
            data, train = replace(recipe.data, **fields), replace(recipe.train, epochs=LONGER)
            found[f"{name}, {LONGER} epochs, {row}"] = replace(recipe, data=data, train=train)
    return found


CHOSEN = {"BioLab": "windows of 1 s, each half of the next", "N-MNIST": "log"}
"""Set -> row of `TOGETHER` that was chosen, and is tested beside the recipe as it is."""


def tested(*, chosen: bool) -> dict[str, Recipe]:
    """Row -> recipe, of what is tested: nothing is held out. Without `chosen`, the rows that were not chosen."""
    found = {}
    for name, row in CHOSEN.items():
        for each in TOGETHER[name]:
            if (each in (PLAIN, row)) != chosen:
                continue
            recipe = longer()[f"{name}, {LONGER} epochs, {each}"]
            held_out: Fields = {"validation": 0.0, **({"held_out": "recordings"} if name == "BioLab" else {})}
            found[f"{name}, tested, {each}"] = replace(recipe, data=replace(recipe.data, **held_out))
    return found


def main() -> None:
    """Run and write."""
    parser = flags(__doc__, "runs/event-changes", "nmnist_dir", "biolab_dir")
    parser.add_argument("--cache-dir", default="", help="where frames are kept; by default ~/.cache/sresnet/frames")
    options = parser.parse_args()
    folders = {"nmnist": options.nmnist_dir, "event-folder": options.biolab_dir}

    def open_(data: AnyData, seed: int, num_steps: int) -> Splits:
        splits = open_data(data, folders[data.name], seed=0, num_steps=num_steps, cache_dir=options.cache_dir)
        if splits.validation is None:
            return splits
        about = splits.about | {"tested_on": "the held-out part; no test recording is classified"}
        return replace(splits, test=splits.validation, about=about)

    wanted = [
        study("test", tested(chosen=True), TEST_SEEDS),
        study("others", tested(chosen=False), OTHER_SEEDS),
        study("longer", longer(), LONGER_SEEDS),
        study("choice", choices(), CHOICE_SEEDS),
    ]
    if carry_out(wanted, open_, options):
        save("event-changes", wanted, options, table, COMMAND)


def table(found: Mapping[str, list[Result]]) -> list[str]:
    """The lines of results/event-changes.md."""
    lines = heading("Filters, windows and random changes of event recordings", COMMAND, "event-changes")
    for name in ("BioLab", "N-MNIST"):
        rows = {row: group for row, group in found.items() if row.startswith(f"{name}, ") and _is_choice(group[0])}
        for longer_ in (False, True):
            some = {row: group for row, group in rows.items() if (f"{LONGER} epochs" in row) == longer_}
            if some:
                title = f"{name}: what is chosen by{', after more epochs' if longer_ else ''}"
                lines += ["", f"## {title}", "", *_of_held_out(name, some)]
    if tested := {row: group for row, group in found.items() if not _is_choice(group[0])}:
        lines += ["", "## On the test recordings, read once", "", *_of_tests(tested)]
    return [*lines, *missing(found), "", f"{machine(found)}."]


def missing(found: Mapping[str, list[Result]]) -> list[str]:
    """Says which runs were not finished; nothing where all were."""
    wanted = dict.fromkeys(choices(), CHOICE_SEEDS) | dict.fromkeys(longer(), LONGER_SEEDS)
    wanted |= dict.fromkeys(tested(chosen=True), TEST_SEEDS) | dict.fromkeys(tested(chosen=False), OTHER_SEEDS)
    left = {row: count - len(found.get(row, [])) for row, count in wanted.items()}
    names = "; ".join(f"{row}, {count} of {wanted[row]}" for row, count in left.items() if count > 0)
    return ["", f"Runs that are not finished and not in this record: {names}."] if names else []


def _is_choice(result: Result) -> bool:
    """Whether held-out recordings were classified in place of the test recordings."""
    return "tested_on" in result.result["split"]


def _of_held_out(name: str, rows: Mapping[str, list[Result]]) -> list[str]:
    """The table of one set's choices, best first."""
    first = next(iter(rows.values()))[0]
    model, train, split = first.config["model"], first.config["train"], first.result["split"]
    lines = [
        f"S-ResNet{model['depth']}, {model['base_filters']} filters, T = {model['num_steps']}, {train['epochs']} "
        "epochs;",
        f"{split['train']:,} training clips and {split['validation']:,} held-out ones, with other windows as many or "
        "half as many.",
        "",
        "| addition | seeds | held-out loss | held-out accuracy, % | training accuracy, % |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row, group in sorted(rows.items(), key=lambda each: mean(numbers(each[1], "validation_loss"))):
        cells = [
            row.removeprefix(f"{name}, ").removeprefix(f"{LONGER} epochs, "),
            str(len(group)),
            spread(numbers(group, "validation_loss"), 3),
            spread(numbers(group, "validation_top1"), 2),
            f"{mean(result.metrics[-1]['train_top1'] for result in group):.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _of_tests(rows: Mapping[str, list[Result]]) -> list[str]:
    """The table of what was tested."""
    chosen = "; ".join(f"{name}, {row}" for name, row in CHOSEN.items())
    lines = [
        f"Chosen on held-out clips: {chosen}.",
        "It is tested beside the recipe as it is; what was not chosen is there to compare.",
        "",
        "| row | network | seeds | test accuracy, % | clips, train / test | epochs |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row, group in rows.items():
        model, split = group[0].config["model"], group[0].result["split"]
        cells = [
            row,
            f"S-ResNet{model['depth']}, {model['base_filters']} filters, T = {model['num_steps']}",
            str(len(group)),
            accuracy(group),
            f"{split['train']:,} / {split['test']:,}",
            str(group[0].config["train"]["epochs"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
