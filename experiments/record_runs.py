"""Trains a recipe that a benchmark lists, and keeps what came out in results/."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from sresnet.cli.display import display
from sresnet.config import to_dict
from sresnet.data import Splits
from sresnet.files import read_json
from sresnet.studies.rows import spread
from sresnet.train import record
from sresnet.train.loop import train
from sresnet.train.recipe import Recipe

RESULTS = Path(__file__).parents[1] / "results"


def run(
    row: str,
    recipe: Recipe,
    splits: Splits,
    runs: Path,
    should_stop: Callable[[], bool] = lambda: False,
    *,
    command: str,
) -> dict[str, Any]:
    """Train `recipe` in the run folder `runs`/`row`/SEED, and return command, configuration, environment, metrics and
    result. `command` is what makes the row.

    A run that was stopped resumes, a finished one is not repeated. The result is empty where `should_stop`, asked after
    every step, said so.
    """
    print(f"{row}, seed {recipe.seed}", flush=True)
    folder = runs / row / str(recipe.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with display(folder, tensorboard=False) as watch:
        outcome = train(recipe, splits, folder, device=device, watch=watch, should_stop=should_stop)
    return {
        "row": row,
        "command": command,
        "config": to_dict(recipe),
        "environment": record.without_places(read_json(folder / record.ENVIRONMENT)),
        "metrics": record.read_metrics(folder),
        "result": outcome.result,
    }


def finished(row: str, seed: int, runs: Path) -> bool:
    """Whether the run of a row and seed has come to its end."""
    return (runs / row / str(seed) / record.RESULT).exists()


def save(name: str, rows: list[dict[str, Any]], lines: list[str]) -> None:
    """Write results/NAME.json and NAME.md.

    Once, after the last run: a file of results that is changed is a change of the tree, which a run's revision names.
    """
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n")
    (RESULTS / f"{name}.md").write_text("\n".join(lines) + "\n")


def by_row(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Row -> its runs, one for each seed."""
    return {name: [row for row in rows if row["row"] == name] for name in dict.fromkeys(row["row"] for row in rows)}


def accuracy(group: list[dict[str, Any]]) -> str:
    """Mean over the seeds and, where there are several, the standard deviation."""
    return spread([row["result"]["test_top1"] for row in group], 2)


def machine(rows: list[dict[str, Any]]) -> str:
    """What the last run ran on, and how many threads any of them had."""
    environment = rows[-1]["environment"]
    threads = sorted({row["environment"]["threads"] for row in rows})
    words = f"{' or '.join(map(str, threads))} thread{'' if threads == [1] else 's'}"
    return f"{environment['device']}, {words}, torch {environment['torch']}"
