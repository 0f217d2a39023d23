"""What is kept of the trainings that studies need: a folder with a file KEY.json for each that is finished.

The folder is small and meant to be committed; run folders, with weights and checkpoints, are not needed to make tables.
A training that failed leaves KEY.failed.json with the reason, until it is tried again.
"""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sresnet.config import from_dict
from sresnet.errors import UserError
from sresnet.files import make_folder
from sresnet.studies.study import Result
from sresnet.train import record

FAILED = ".failed.json"


def path_of(folder: Path, key: str) -> Path:
    """The file of a finished training."""
    return folder / f"{key}.json"


def write(folder: Path, result: Result) -> None:
    """Keep a finished training, and forget that it failed before; UserError where the disk refuses."""
    make_folder(folder, "--results")
    record.write_json(path_of(folder, result.key), asdict(result))
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
    result = from_dict(Result, record.read_json(path), str(path))
    if result.key != path.stem:
        raise UserError(f"{path} holds the training {result.key}: give the file its name back")
    return result


def write_failure(folder: Path, key: str, row: str, reason: str) -> None:
    """Note that a training failed, and why; UserError where the disk refuses."""
    make_folder(folder, "--results")
    record.write_json(folder / f"{key}{FAILED}", {"key": key, "row": row, "reason": reason})


def failures(folder: Path) -> dict[str, str]:
    """Key -> reason, of the trainings that failed when they were last tried."""
    found: dict[str, Any] = {path.name: record.read_json(path) for path in sorted(folder.glob(f"*{FAILED}"))}
    return {name.removesuffix(FAILED): str(about.get("reason", "")) for name, about in found.items()}


def forget_failures(folder: Path, keys: Iterable[str]) -> None:
    """Take back the notes of `write_failure`, so that the trainings are tried again."""
    for key in keys:
        (folder / f"{key}{FAILED}").unlink(missing_ok=True)
