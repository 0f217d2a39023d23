"""The run folder: what ran, on what, and what came out.

config.json          the whole recipe
environment.json     versions, revision, machine, device
data.json            class names, how pixels were scaled, and a fingerprint of the data
metrics.jsonl        one line per epoch
checkpoint.safetensors   to go on from
weights.safetensors  the trained network, for `sresnet.load`
weights-best-test-epoch.safetensors   the same of the best test epoch, where the protocol picks one
result.json          there when the run is finished
tensorboard/         events, if asked for
.lock                held by the process that writes
"""

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch

from sresnet.config import check_value, from_dict, to_dict
from sresnet.data.fingerprint import Fingerprint, difference
from sresnet.errors import UserError
from sresnet.files import read_json as read_json
from sresnet.files import strangers
from sresnet.files import write_json as write_json
from sresnet.train.recipe import Recipe

CONFIG, ENVIRONMENT, DATA = "config.json", "environment.json", "data.json"
METRICS, RESULT = "metrics.jsonl", "result.json"


def read_recipe(folder: Path) -> Recipe:
    """The recipe of a run folder; errors as `read_json`, and UserError for a recipe of another version."""
    return from_dict(Recipe, read_json(folder / CONFIG), "recipe")


def claim(folder: Path, recipe: Recipe) -> None:
    """Make `folder` the run folder of `recipe`, or check that it is.

    Raises:
        UserError: it holds another recipe, or something that is no run; nothing is written over.
    """
    if (folder / CONFIG).exists():
        theirs, ours = to_dict(read_recipe(folder)), to_dict(recipe)
        if theirs != ours:
            raise UserError(
                f"{folder} holds a run with {first_difference(theirs, ours)}: choose another --out, or the same fields"
            )
        return
    if others := strangers(folder):
        raise UserError(f"{folder} is not empty ({others[0]}) and holds no run: choose another --out")
    write_json(folder / CONFIG, to_dict(recipe))


def read_about(folder: Path) -> dict[str, Any]:
    """What data.json of a run folder says: class names, height and width of its input, and how that is scaled.

    Raises:
        UserError: there is none, or something else in it.
    """
    about = read_json(folder / DATA)
    try:
        if not isinstance(about, dict):
            raise UserError("it is no object")
        check_value("class_names", about.get("class_names"), list[str])
        check_value("image_size", about.get("image_size"), list[int])
        if len(about["image_size"]) != 2 or min(about["image_size"]) < 1:
            raise UserError(f"image_size is {about['image_size']}: expected height and width")
        if "scale" in about:
            check_value("scale", about["scale"], float)
        else:
            check_value("mean", about.get("mean"), list[float] | None)
            check_value("std", about.get("std"), list[float] | None)
            if len(about["mean"] or ()) != len(about["std"] or ()):
                raise UserError("it has not as many means as deviations")
    except UserError as error:
        raise UserError(f"{folder / DATA} cannot be read ({error}): it is damaged, or no file of a run") from None
    return about


def check_data(folder: Path, data: Fingerprint) -> None:
    """Check that a run folder is of these data, as far as it says.

    Raises:
        UserError: it is of others, or what it says is damaged.
    """
    if not (folder / DATA).exists():
        return
    about = read_about(folder)
    try:
        differing = difference(about, data)
    except UserError as error:
        raise UserError(f"{folder / DATA} cannot be read ({error}): choose another --out") from None
    if differing:
        raise UserError(
            f"{folder} holds a run on other data ({differing}): choose another --out, or give the data as they were"
        )


def first_difference(theirs: Any, ours: Any, name: str = "") -> str:
    """Where two configurations differ first, for people: `train.epochs 2, not 3`."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in dict.fromkeys([*theirs, *ours]):
            if theirs.get(key) != ours.get(key):
                return first_difference(theirs.get(key), ours.get(key), f"{name}.{key}".lstrip("."))
    return f"{name} {theirs}, not {ours}"


def environment(device: torch.device) -> dict[str, Any]:
    """What else decides the numbers or the time of a run: versions, source revision, machine."""
    from sresnet import __version__

    return {
        "sresnet": __version__,
        "revision": revision(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "safetensors": safetensors.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
    }


def processor() -> str:
    """Name of the processor, where the system tells."""
    info = Path("/proc/cpuinfo")
    names = (
        [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def revision() -> str:
    """Git revision of the installed source, "+changes" where the tree differs from it, "" outside a checkout."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        if git("ls-files", __file__) == "":
            return ""
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


PLACES = ("data_dir", "cache_dir")
"""What environment.json says of the machine's folders, which nobody else has."""


def without_places(environment: dict[str, Any]) -> dict[str, Any]:
    """The content of environment.json for others to read."""
    return {name: value for name, value in environment.items() if name not in PLACES}


def append_metrics(folder: Path, line: dict[str, Any]) -> int:
    """Add one line to metrics.jsonl; returns the length of the file after it, in bytes.

    Raises:
        UserError: the disk is full.
    """
    path = folder / METRICS
    try:
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
            return file.tell()
    except OSError as error:
        raise UserError(
            f"{path} could not be written ({error.strerror}): make room and run the same command again"
        ) from None


def cut_metrics(folder: Path, length: int) -> None:
    """Drop what was written to metrics.jsonl after the checkpoint that says `length`."""
    path = folder / METRICS
    if path.exists():
        os.truncate(path, length)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl."""
    path = folder / METRICS
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
