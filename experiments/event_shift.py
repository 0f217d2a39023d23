"""What helps against another session: python experiments/event_shift.py BIOLAB_DIR.

Held-out clips of the session that was trained on say little about another (results/event-changes.md): all of them are
soon classified. Here the held-out clips of session A, the last third in time of each recording, are also shown as
another session might bring them (`SHIFTS`): the object elsewhere, nearer, farther, turned; fewer events, more, noise.
The row with the least mean loss over all of them is chosen, first among single additions to the recipe, then among
combinations; no recording of session B is classified meanwhile. Then the chosen row (`CHOSEN`) and the recipe as it is
are trained on all of session A, by the small network that chose and by the recipe's own, and session B is classified.
Session B is then classified once more, with norms set anew by its clips, whose labels are not used (`with_norms_of`).
BIOLAB_DIR is that of experiments/short_events.py.

Writes results/event-shift.json and a table beside it; `--finished` trains nothing and writes what there is. Several
processes may run it: each run is made once.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from statistics import mean

import torch
from event_changes import CHANGES, OVERLAPPING, PLAIN, Fields, small
from experiment import RESULTS, accuracy, carry_out, flags, heading, machine, numbers, read, save, study
from short_events import biolab
from torch import Tensor
from torch.optim.swa_utils import update_bn

import sresnet
from sresnet.config import from_dict
from sresnet.data import AnyData, Samples, Splits, open_data
from sresnet.data.events.changes import ChangeConfig, thinned
from sresnet.data.events.clips import ClipSet
from sresnet.data.events.frames import FrameConfig
from sresnet.data.scaling import Scaling, scaling_from_plain
from sresnet.data.transforms import moved
from sresnet.models import SpikingNetwork
from sresnet.randomness import order
from sresnet.studies.rows import spread
from sresnet.studies.study import Result
from sresnet.train.evaluate import evaluate
from sresnet.train.recipe import Recipe
from sresnet.train.record import read_about

COMMAND = "python experiments/event_shift.py BIOLAB_DIR"
"""What makes the records."""

SEEDS, TEST_SEEDS = 2, 3
EPOCHS, LONGER = 30, 60
"""Of single additions and the recipe; of combinations, which need longer."""


def seen(*, scale: float = 1.0, degrees: float = 0.0, right: int = 0, down: int = 0) -> Callable[[Tensor], Tensor]:
    """Clips enlarged by `scale`, turned about their middle, or moved by pixels; nothing comes in from outside."""
    angle = math.radians(degrees)
    sine, cosine = math.sin(angle) / scale, math.cos(angle) / scale
    matrix = ((cosine, -sine), (sine, cosine))

    def change(clips: Tensor) -> Tensor:
        return moved(clips.flatten(1, 2), matrix, (-right, -down)).view_as(clips)

    return change


def noisy(clips: Tensor) -> Tensor:
    """Events at random besides, one at a pixel in fifty steps on average."""
    rate = torch.full(clips.shape, 0.02)
    return clips + torch.poisson(rate, generator=torch.Generator().manual_seed(0)).to(clips.dtype)


SHIFTS: dict[str, Callable[[Tensor], Tensor]] = {
    "as they are": lambda clips: clips,
    "4 pixels to the right": seen(right=4),
    "4 pixels to the left": seen(right=-4),
    "4 pixels down": seen(down=4),
    "4 pixels up": seen(down=-4),
    "nearer by a quarter": seen(scale=1.25),
    "farther by a fifth": seen(scale=0.8),
    "turned by 15 degrees": seen(degrees=15),
    "turned by -15 degrees": seen(degrees=-15),
    "half of the events": lambda clips: thinned(clips, 0.5, seed=0),
    "twice the events": lambda clips: 2 * clips,
    "with noise": noisy,
}
"""What another session may bring to frames of 32x32 pixels, without having seen one: chosen before any training."""


def as_elsewhere(held_out: Samples) -> ClipSet:
    """Held-out clips once for each of `SHIFTS`."""
    clips = held_out.batch(torch.arange(len(held_out))).to(torch.int32)
    return ClipSet(
        clips=torch.cat([change(clips) for change in SHIFTS.values()]),
        labels=held_out.labels.repeat(len(SHIFTS)),
        class_names=held_out.class_names,
    )


def shown(representation: str) -> Fields:
    """Frames of 32x32 pixels as another representation of their counts."""
    return {"frames": FrameConfig(size=32, representation=representation)}  # type: ignore[arg-type]


SINGLE: dict[str, Fields] = {
    PLAIN: {},
    "log": shown("log"),
    "binary": shown("binary"),
    "shift of up to 6 pixels": {"shift": 6},
    **{name: CHANGES[name] for name in ("crops from 0.7 of each side", "NDA", "EventDrop", "jitter of half a step")},
    "windows of 1 s, each half of the next": OVERLAPPING,
}
"""Row -> fields of the data, of single additions."""

_CROP_DROP = ChangeConfig(crop=0.7, drop="any")
_ALL = ChangeConfig(crop=0.7, drop="any", nda=True)
TOGETHER: dict[str, Fields] = {
    "crops and EventDrop": {"changes": _CROP_DROP},
    "crops, EventDrop and NDA": {"changes": _ALL},
    "log, crops and EventDrop": {**shown("log"), "changes": _CROP_DROP},
    "binary, crops and EventDrop": {**shown("binary"), "changes": _CROP_DROP},
    "log, crops, EventDrop and NDA": {**shown("log"), "changes": _ALL},
    "binary, crops, EventDrop and NDA": {**shown("binary"), "changes": _ALL},
}
"""Row -> fields, of combinations."""

LAST: Fields = {"validation": 1 / 3, "held_out": "last"}
"""What is held out of session A: the last third in time of each recording, half a second behind the rest."""


def choices() -> dict[str, Recipe]:
    """Row -> recipe, of what is chosen by: S-ResNet8, T = 4."""
    found = {}
    for rows, epochs in ((SINGLE, EPOCHS), ({PLAIN: {}} | TOGETHER, LONGER)):
        for row, fields in rows.items():
            recipe = small(biolab(), {**LAST, **fields}, base_filters=16)
            train = replace(recipe.train, epochs=epochs, batch_size=16)
            found[f"BioLab, {epochs} epochs, {row}"] = replace(recipe, train=train)
    return found


CHOSEN = "log, crops and EventDrop"
"""Row of `TOGETHER` or `SINGLE` that was chosen."""


def tested() -> dict[str, Recipe]:
    """Row -> recipe, of what is tested: nothing is held out."""
    found = {}
    epochs = LONGER if CHOSEN in TOGETHER else EPOCHS
    for row in dict.fromkeys((PLAIN, CHOSEN)):
        fields = (SINGLE | TOGETHER)[row]
        little = small(biolab(), fields, base_filters=16)
        found[f"S-ResNet8, T = 4, {row}"] = replace(little, train=replace(little.train, epochs=epochs, batch_size=16))
        own = biolab()
        data, train = replace(own.data, **fields), replace(own.train, epochs=epochs)
        found[f"S-ResNet14, T = 8, {row}"] = replace(own, data=data, train=train)
    return found


def main() -> None:
    """Run and write."""
    parser = flags(__doc__, "runs/event-shift", "biolab_dir")
    parser.add_argument("--cache-dir", default="", help="where frames are kept; by default ~/.cache/sresnet/frames")
    options = parser.parse_args()

    def open_(data: AnyData, seed: int, num_steps: int) -> Splits:
        splits = open_data(data, options.biolab_dir, seed=0, num_steps=num_steps, cache_dir=options.cache_dir)
        if splits.validation is None:
            return splits
        about = splits.about | {"tested_on": "the held-out part, changed; no test recording is classified"}
        return replace(splits, test=as_elsewhere(splits.validation), about=about)

    def look(found: Result) -> Result:
        """Adds the accuracy with norms of session B, where the run's folder or the record has it."""
        row, _, seed = found.key.rpartition("-seed")
        folder, before = options.runs / row / seed, recorded.get(found.key)
        if row not in tested() or not (folder / "weights.safetensors").exists():
            adapted = before.result.get("adapted_top1") if before else None
        else:
            recipe = from_dict(Recipe, found.config)
            splits = open_(recipe.data, 0, recipe.model.num_steps)
            model, scaling = sresnet.load(folder), scaling_from_plain(read_about(folder))
            with_norms_of(model, splits.test, scaling)
            adapted = evaluate(model, splits.test, scaling, seed=0).top1
        return found if adapted is None else replace(found, result=found.result | {"adapted_top1": adapted})

    recorded = read(RESULTS / "event-shift.json")
    wanted = [study("choice", choices(), SEEDS), study("test", tested(), TEST_SEEDS)]
    if carry_out(wanted[:1], open_, options) and (CHOSEN == PLAIN or carry_out(wanted[1:], open_, options)):
        save("event-shift", wanted, options, table, COMMAND, look)


def with_norms_of(model: SpikingNetwork, clips: Samples, scaling: Scaling) -> None:
    """Set the running averages of a network by clips, the mean over one shuffled pass in batches of 32; no label.

    Li, Wang, Shi, Liu, Hou: Revisiting Batch Normalization For Practical Domain Adaptation, 2016. The rest of the last
    batch is left out.
    """
    batches = order(len(clips), 0, 0).split(32)
    update_bn((scaling(clips.batch(some)) for some in batches if len(some) == 32), model)


def table(found: Mapping[str, list[Result]]) -> list[str]:
    """The lines of results/event-shift.md."""
    lines = [
        *heading("What helps against another session", COMMAND, "event-shift"),
        "",
        "## BioLab: what is chosen by",
        "",
        "S-ResNet8, 16 filters, T = 4. Held out are the last third in time of each recording of session A. Changed:",
        f"all held-out clips {len(SHIFTS)} times: {', '.join(SHIFTS)}.",
        "",
        "| addition | epochs | seeds | changed: loss | changed: accuracy, % | as they are: accuracy, % |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    chosen_by = {row: group for row, group in found.items() if "tested_on" in group[0].result["split"]}
    for row, group in sorted(chosen_by.items(), key=lambda each: mean(numbers(each[1], "test_loss"))):
        cells = [
            row.split(" epochs, ")[1],
            str(group[0].config["train"]["epochs"]),
            str(len(group)),
            spread(numbers(group, "test_loss"), 3),
            spread(numbers(group, "test_top1"), 2),
            spread(numbers(group, "validation_top1"), 2),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    if tests := {row: group for row, group in found.items() if row not in chosen_by}:
        lines += ["", "## On session B", "", f"Chosen: {CHOSEN}.", ""]
        columns = "epochs | seeds | test accuracy, % | with norms of session B, % | clips, train / test"
        lines += [f"| network, addition | {columns} |"]
        lines += ["| --- | --- | --- | --- | --- | --- |"]
    for row, group in tests.items():
        split = group[0].result["split"]
        adapted = [result.result["adapted_top1"] for result in group if "adapted_top1" in result.result]
        cells = [row, str(group[0].config["train"]["epochs"]), str(len(group)), accuracy(group)]
        some = f" ({len(adapted)} of them)" if len(adapted) < len(group) else ""
        cells += [f"{spread(adapted, 2)}{some}" if adapted else "not measured"]
        lines.append(f"| {' | '.join(cells)} | {split['train']:,} / {split['test']:,} |")
    return [*lines, "", f"{machine(found)}."]


if __name__ == "__main__":
    main()
