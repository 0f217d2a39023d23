"""Training runs on event recordings: python experiments/short_events.py NMNIST_DIR BIOLAB_DIR [--runs runs/events].

NMNIST_DIR holds the small set of N-MNIST (NMNISTsmall/, or what is in it), BIOLAB_DIR the sessions of the BioLab
recordings and no other folders: session_A_DataSet2/ to train on and session_B_100/ to test on. Trains what `RUNS`
lists with three seeds each, one after the other (a run that was stopped resumes, a finished one is not repeated), then
writes results/short-events.json with configuration, environment, metrics, result and what to compare with of each, and
a table beside it. Where other programs run beside it, set OMP_WAIT_POLICY=PASSIVE (docs/log.md says why).
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from statistics import median
from typing import Any

from experiment import accuracy, carry_out, flags, machine, save, study
from nearest_neighbour import largest_class, nearest_neighbour

from sresnet.data import AnyData, EventConfig, Splits, open_data
from sresnet.data.events.windows import WindowConfig
from sresnet.studies.study import Result
from sresnet.train.recipe import Recipe
from sresnet.train.recipes import RECIPES

COMMAND = "python experiments/short_events.py NMNIST_DIR BIOLAB_DIR"
"""What makes the records."""

SEEDS = 3


def biolab() -> Recipe:
    """The recipe "event-folder" on half seconds of the BioLab recordings, tested on another session."""
    recipe = RECIPES["event-folder"][1]
    assert isinstance(recipe.data, EventConfig)
    data = replace(recipe.data, split="by-group", test_group="session_B_100", windows=WindowConfig(seconds=0.5))
    return replace(recipe, data=data, model=replace(recipe.model, num_classes=7))


RUNS = {
    "digits-dvs": RECIPES["digits-dvs"][1],
    "N-MNIST, small set": RECIPES["nmnist"][1],
    "BioLab, session A to B": biolab(),
}
"""Row -> recipe."""


def main() -> None:
    """Run and write."""
    parser = flags(__doc__, "runs/events", "nmnist_dir", "biolab_dir")
    parser.add_argument("--cache-dir", default="", help="where frames are kept; by default ~/.cache/sresnet/frames")
    options = parser.parse_args()
    folders = {"digits-dvs": "", "nmnist": options.nmnist_dir, "event-folder": options.biolab_dir}

    def open_(data: AnyData, seed: int, num_steps: int) -> Splits:
        # The seed is of the held-out part, and there is none.
        return open_data(data, folders[data.name], seed=0, num_steps=num_steps, cache_dir=options.cache_dir)

    @cache
    def compare(name: str) -> dict[str, float]:
        recipe = next(recipe for recipe in RUNS.values() if recipe.data.name == name)
        splits = open_(recipe.data, 0, recipe.model.num_steps)
        return {"nearest_neighbour": nearest_neighbour(splits), "largest_class": largest_class(splits.test)}

    def look(found: Result) -> Result:
        return replace(found, result=found.result | {"compare": compare(found.config["data"]["name"])})

    wanted = [study("events", RUNS, SEEDS)]
    if carry_out(wanted, open_, options):
        save("short-events", wanted, options, table, COMMAND, look)


def table(found: Mapping[str, list[Result]]) -> list[str]:
    """The lines of results/short-events.md."""
    lines = [
        "# Training runs on event recordings",
        "",
        "Made by `python experiments/short_events.py NMNIST_DIR BIOLAB_DIR` from `short-events.json`, which has the",
        "configuration, the versions, the machine and the curves of every run. No recording is held out for",
        "validation; the test clips are read once, after the last epoch.",
        "",
        "| set | recordings are | split | recordings, train / test | clips, train / test | seeds | test accuracy, % "
        "| nearest neighbour, % | largest class, % | epochs | clips/s | a run takes, s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    networks = []
    for name, group in found.items():
        first = group[0]
        config, split, compare = first.config, first.result["split"], first.result["compare"]
        speed = median(line["images_per_second"] for result in group for line in result.metrics)
        seconds = config["train"]["epochs"] * median(line["seconds"] for result in group for line in result.metrics)
        cells = [
            name,
            "**simulated**" if split["simulated"] else "real",
            split["name"] + (f", tested on {split['test_group']}" if "test_group" in split else ""),
            f"{split['recordings']['train']:,} / {split['recordings']['test']:,}",
            f"{split['train']:,} / {split['test']:,}",
            str(len(group)),
            accuracy(group),
            f"{compare['nearest_neighbour']:.2f}",
            f"{compare['largest_class']:.2f}",
            str(config["train"]["epochs"]),
            f"{speed:,.0f}",
            f"{seconds:,.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
        networks.append(describe(name, config, split))
    return [
        *lines,
        "",
        *networks,
        "",
        "Accuracies are mean and standard deviation over the seeds. The nearest neighbour is that of",
        "`experiments/nearest_neighbour.py`: it sees the sums of the same frames over time, without their order. The",
        "largest class is what always naming it would give on the test clips. Clips/s is the median over epochs, and a",
        "run takes as many epochs of median length, without the frames, which are made once, and the test clips.",
        *missing(found),
        "",
        f"{machine(found)}.",
    ]


def missing(found: Mapping[str, list[Result]]) -> list[str]:
    """Says which runs were not finished; nothing where all were."""
    open_runs = {name: SEEDS - len(found.get(name, [])) for name in RUNS}
    names = "; ".join(f"{name}, {count} of {SEEDS}" for name, count in open_runs.items() if count)
    return ["", f"Runs that are not finished and not in this record: {names}."] if names else []


def describe(name: str, config: dict[str, Any], split: dict[str, Any]) -> str:
    """Network and frames of a row, and what of its recordings is not used."""
    model, data = config["model"], config["data"]
    size = data["frames"]["size"] or data["simulation"]["size"]
    seconds = data.get("windows", {}).get("seconds", data.get("window_seconds", 0.0))  # once it stood alone
    window = f", windows of {seconds:g} s" if seconds else ""
    left_out = sum(split["classes_left_out"].values())
    note = f"; {left_out} test recording of a class that is not trained on is left out" if left_out else ""
    return (
        f"- {name}: S-ResNet{model['depth']}, {model['base_filters']} filters, T = {model['num_steps']}, frames of "
        f"{size}x{size}{window}{note}"
    )


if __name__ == "__main__":
    main()
