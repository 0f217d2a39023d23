"""What is kept of the training runs that studies need: a folder with a file KEY.json for each that is finished.

The folder is small and meant to be committed; run folders, with weights and checkpoints, are not needed to make tables.
A training that failed leaves KEY.failed.json with the reason, until it is tried again.
"""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sresnet.config import check_fields, from_dict
from sresnet.errors import UserError
from sresnet.files import make_folder, read_json, write_json
from sresnet.studies.study import Result
from sresnet.train import record

FAILED = ".failed.json"
LARGEST = 3.5e38
"""Size of numbers of an activity, which were float32 once; the squares of larger ones overflow."""


def path_of(folder: Path, key: str) -> Path:
    """The file of a finished training."""
    return folder / f"{key}.json"


def write(folder: Path, result: Result) -> None:
    """Keep a finished training, and forget that it failed before; UserError where the disk refuses."""
    make_folder(folder, "--results")
    write_json(path_of(folder, result.key), asdict(result))
    forget_failures(folder, [result.key])


def read(folder: Path) -> dict[str, Result]:
    """Key -> finished training, of all files in a folder; none where there is no folder.

    Raises:
        UserError: a file that is damaged or not of this kind.
    """
    files = sorted(path for path in folder.glob("*.json") if not path.name.endswith(FAILED))
    return {result.key: result for result in map(read_one, files)}


def read_one(path: Path) -> Result:
    """One file; errors as `read`."""
    values = read_json(path)
    if isinstance(values, dict) and "row" in values:  # of a campaign of earlier versions
        values = {"key": path.stem} | {name: value for name, value in values.items() if name != "row"}
    result = from_dict(Result, values, str(path))
    if result.key != path.stem:
        raise UserError(f"{path} holds the training run {result.key}: give the file its name back")
    _check(result, str(path))
    return result


def _check(result: Result, where: str) -> None:
    """Raise UserError where a record lacks what tables, claims and figures read, or has something else there."""
    parts = dict.fromkeys(("model", "data", "train"), dict[str, Any])
    check_fields(result.config, f"{where}: config", {}, {**parts, "seed": int})
    record.check_result(result.result, f"{where}: result")
    for number, line in enumerate(result.metrics, 1):
        record.check_line(line, f"{where}: metrics {number}")
    if result.activity is not None:
        _check_activity(result.activity, f"{where}: activity", len(result.by_steps))


def _check_activity(activity: dict[str, Any], where: str, num_steps: int) -> None:
    """Raise UserError where counts of `studies.run._activity_of` are none, or of another number of time steps."""
    numbers = dict.fromkeys(("spikes", "synaptic_operations", "multiply_accumulates", "energy"), float)
    check_fields(activity, where, {}, {**numbers, "images": int, "layers": list[Any], "gradients": list[Any]})
    steps = list[float]
    for number, layer in enumerate(activity.get("layers", ()), 1):
        each = f"{where}: layer {number}"
        needed = {"name": str, "shape": list[int], "active": steps, "gamma": steps | None, "spikes": float}
        check_fields(layer, each, needed, {"leak": float | None})
        if min(layer["shape"], default=0) < 1:
            raise UserError(f"{each}: shape is {layer['shape'][:4]}: it is damaged")
        for name in ("active", "gamma"):
            if (layer[name] or name == "active") and len(layer[name]) != num_steps:
                raise UserError(f"{each}: {name} has {len(layer[name])} time steps, not {num_steps}: it is damaged")
        if num_steps < 1:
            raise UserError(f"{where} is of no time step: it is damaged")
        if not all(abs(value) <= LARGEST for value in (layer["spikes"], *layer["active"], *(layer["gamma"] or ()))):
            raise UserError(f"{each} holds a number above {LARGEST:g}: it is damaged")
    for number, block in enumerate(activity.get("gradients", ()), 1):
        check_fields(block, f"{where}: gradient {number}", {"block": str, "norm": float}, {})


def write_failure(folder: Path, key: str, row: str, reason: str) -> None:
    """Note that a training run failed, and why; UserError where the disk refuses."""
    make_folder(folder, "--results")
    write_json(folder / f"{key}{FAILED}", {"key": key, "row": row, "reason": reason})


def failures(folder: Path) -> dict[str, str]:
    """Key -> reason, of the training runs that failed when they were last tried; UserError for a damaged note."""
    found = {
        path.name: check_fields(read_json(path), str(path), {}, {"reason": str})
        for path in sorted(folder.glob(f"*{FAILED}"))
    }
    return {name.removesuffix(FAILED): about.get("reason", "") for name, about in found.items()}


def forget_failures(folder: Path, keys: Iterable[str]) -> None:
    """Take back the notes of `write_failure`, so that the training runs are tried again."""
    for key in keys:
        (folder / f"{key}{FAILED}").unlink(missing_ok=True)
