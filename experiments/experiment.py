"""An experiment: rows that the study engine trains, the record of what came out in results/, and the table of it."""

import argparse
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

from sresnet.cli.display import run_lines
from sresnet.cli.terminal import stop_asked
from sresnet.cli.workers import WorkerOptions, rows_on_cluster
from sresnet.config import from_dict
from sresnet.data import AnyData, Splits, open_data
from sresnet.errors import UserError
from sresnet.files import read_json, write_whole
from sresnet.studies import results
from sresnet.studies.rows import results_of, spread
from sresnet.studies.run import Open, to_train, work
from sresnet.studies.study import Cell, Result, Study, Training
from sresnet.train.recipe import Recipe

RESULTS = Path(__file__).parents[1] / "results"


def study(name: str, rows: Mapping[str, Recipe | Training], seeds: int = 1) -> Study:
    """Rows that are each trained with seeds 0 to `seeds` - 1, in the run folders ROW/SEED."""
    trainings = {
        row: Training(recipe=each, name=row) if isinstance(each, Recipe) else each for row, each in rows.items()
    }
    cells = tuple(Cell(row=row, column="", training=training, paper=None) for row, training in trainings.items())
    return Study(name=name, title="", cells=cells, seeds=seeds)


def flags(description: str, runs: str, *folders: str) -> argparse.ArgumentParser:
    """The flags of an experiment: `folders` of data, where its run folders are (`runs` by default), what to do."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for folder in folders:
        parser.add_argument(folder, nargs="?", default="")
    parser.add_argument("--runs", type=Path, default=Path(runs))
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so long; the same command resumes")
    cluster_flags(parser)
    parser.add_argument("--finished", action="store_true", help="train nothing, write what is finished")
    parser.add_argument("--tables", action="store_true", help="train nothing, write the table of the record again")
    return parser


def cluster_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that send the trainings to a Ray cluster."""
    parser.add_argument("--ray", default="", help="train on a Ray cluster: auto, or HOST:PORT of its head")
    parser.add_argument("--cpus", type=int, default=1, help="CPUs and threads of a task on it")
    parser.add_argument("--gpus", type=float, default=0.0, help="GPUs of a task on it")


def places_of(options: argparse.Namespace) -> WorkerOptions:
    """Where and how long to train, of these flags and `minutes`; UserError for what is none."""
    places = WorkerOptions(ray=options.ray, cpus=options.cpus, gpus=options.gpus, max_minutes=options.minutes)
    places.check_places()
    return places


def images_in(folder: str) -> Open:
    """Opens the images in a folder; UserError where none is given."""

    def open_(data: AnyData, seed: int, num_steps: int) -> Splits:
        if not folder and data.name != "digits":
            raise UserError(f"{data.name} is read from your own folder: give it, as DATA_DIR")
        return open_data(data, folder, seed=seed, num_steps=num_steps)

    return open_


def train(left: Mapping[str, tuple[str, Training]], runs: Path, kept: Path, open_: Open, places: WorkerOptions) -> bool:
    """Train what `to_train` says is left, until the minutes are over or a signal asks to stop; whether all is finished.

    Raises:
        UserError: as `open_`, before anything is trained, and as `rows_on_cluster`.
    """
    recipes = {training.recipe.data.name: training.recipe for _, training in left.values()}
    for recipe in recipes.values():
        open_(recipe.data, recipe.seed, recipe.model.num_steps)
    results.forget_failures(kept, left)
    if places.ray:
        rows_on_cluster(left, runs, kept, open_, places, places.cluster(runs, kept))
    else:
        with stop_asked(places.max_minutes) as asked:
            device, tell = places.torch_device(), run_lines()
            work(left, runs, kept, open_, device=device, tell=tell, should_stop=lambda: bool(asked()))
    return all(results.path_of(kept, key).exists() for key in left)


def carry_out(wanted: Sequence[Study], open_: Open, options: argparse.Namespace) -> bool:
    """Do what `flags` ask for but for the writing; whether there is something to write."""
    if options.finished or options.tables:
        return True
    kept = kept_in(options.runs)
    try:
        return train(to_train(wanted, options.runs, kept), options.runs, kept, open_, places_of(options))
    except UserError as error:
        raise SystemExit(f"{wanted[0].name}: {error}") from None


def kept_in(runs: Path) -> Path:
    """Folder of the results that the record is made of."""
    return runs / "results"


Table = Callable[[Mapping[str, list[Result]]], list[str]]
"""Row -> its results, one for each seed -> the lines of a page."""


def save(
    name: str,
    wanted: Sequence[Study],
    options: argparse.Namespace,
    table: Table,
    command: str,
    look: Callable[[Result], Result] = lambda result: result,
) -> None:
    """Write results/NAME.json, of what is finished, and NAME.md.

    Once, after the last run: a file of results that is changed is a change of the tree, which a run's revision names.

    Args:
        name: of the record.
        wanted: the rows.
        options: of `flags`.
        table: writes the page.
        command: what makes the record.
        look: what the experiment makes of each result.
    """
    path = RESULTS / f"{name}.json"
    if not options.tables:
        found = results.read(kept_in(options.runs))
        chosen = [replace(look(each), command=command) for group in groups(wanted, found).values() for each in group]
        write_whole(path, (json.dumps([asdict(each) for each in chosen], indent=1, allow_nan=False) + "\n").encode())
    lines = table(groups(wanted, read(path)))
    write_whole(path.with_suffix(".md"), ("\n".join(lines) + "\n").encode())


def read(path: Path) -> dict[str, Result]:
    """Key -> result, of a record.

    Those of earlier versions name the row in place of the key, and have beside the result what was added to it.
    """
    known = {field.name for field in fields(Result)}
    found = []
    for values in read_json(path):
        if "row" in values:
            key = f"{values.pop('row')}-seed{values['config']['seed']}"
            added = {name: values.pop(name) for name in values.keys() - known}
            values |= {"key": key, "result": values["result"] | added}
        found.append(from_dict(Result, values, str(path)))
    return {result.key: result for result in found}


def groups(wanted: Sequence[Study], found: Mapping[str, Result]) -> dict[str, list[Result]]:
    """Row -> its results in order of seeds, of the rows that have any."""
    rows = {cell.row: results_of(cell, each.seeds, found) for each in wanted for cell in each.cells}
    return {row: group for row, group in rows.items() if group}


def numbers(group: Iterable[Result], name: str = "test_top1") -> list[float]:
    """A number of each result."""
    return [result.result[name] for result in group]


def accuracy(group: Iterable[Result]) -> str:
    """Mean over the seeds and, where there are several, the standard deviation."""
    return spread(numbers(group), 2)


def heading(title: str, command: str, name: str) -> list[str]:
    """The first lines of a page: its title, and what made it from which record."""
    return [
        f"# {title}",
        "",
        f"Made by `{command}` from `{name}.json`,",
        "which has the configuration, the versions, the machine and the curves of every run.",
    ]


def machine(found: Mapping[str, list[Result]]) -> str:
    """What the last run ran on, and how many threads any of them had."""
    environments = [result.environment for group in found.values() for result in group]
    threads = sorted({each["threads"] for each in environments})
    words = f"{' or '.join(map(str, threads))} thread{'' if threads == [1] else 's'}"
    return f"{environments[-1]['device']}, {words}, torch {environments[-1]['torch']}"
