"""The files of a run folder, which docs/architecture.md lists."""

import dataclasses
import difflib
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sresnet.config import check_fields, from_dict, to_dict
from sresnet.data.fingerprint import Fingerprint, difference
from sresnet.errors import UserError
from sresnet.files import opened_to_change, parse_json, read_json, read_regular, state_of, strangers, write_json
from sresnet.limits import MEMORY_LIMIT
from sresnet.models import trained
from sresnet.models.network import NetworkConfig
from sresnet.models.pretrained import card_of, is_shipped, shipped_names
from sresnet.models.saved import WEIGHTS
from sresnet.models.size import check_network
from sresnet.ops.dispatch import chosen_implementation, reference_chosen
from sresnet.ops.scan.choice import triton_available
from sresnet.ops.scan.cpu import available
from sresnet.train.recipe import Recipe

CONFIG, ENVIRONMENT, DATA = "config.json", "environment.json", trained.ABOUT
METRICS, RESULT = "metrics.jsonl", "result.json"
CHECKPOINT = "checkpoint.safetensors"
LARGEST_METRICS = 256 << 20
"""Bytes of metrics.jsonl: a hundred thousand epochs of a network of a hundred layers."""


def read_recipe(folder: Path, *, memory_limit: float = MEMORY_LIMIT) -> Recipe:
    """The recipe of a run folder; errors as `_recipe_in`, and UserError for a network larger than its files tell."""
    recipe = _recipe_in(folder)
    lengths = [(folder / name).stat().st_size for name in (WEIGHTS, CHECKPOINT) if (folder / name).is_file()]
    check_network(recipe.model, str(folder / CONFIG), max(lengths, default=0), memory_limit)
    return recipe


def recipe_of(source: str, *, memory_limit: float = MEMORY_LIMIT) -> Recipe:
    """The recipe of a run that has saved its network, or of a network that comes with the package; UserError for no
    such."""
    if is_shipped(source):
        return from_dict(Recipe, card_of(source).recipe, f"recipe of {source}")
    check_run(source)
    if not (Path(source) / WEIGHTS).exists():
        raise UserError(f"run {source!r} has no {WEIGHTS} yet: train it to the end first")
    return read_recipe(Path(source), memory_limit=memory_limit)


def check_run(folder: str) -> None:
    """Raise UserError where there is no folder of this name."""
    if not Path(folder).is_dir():
        near = difflib.get_close_matches(folder, shipped_names(), n=1)
        raise UserError(
            f"run {folder!r} {state_of(Path(folder))}: "
            + (f"did you mean {near[0]!r}? Else " if near else "")
            + "give the folder that sresnet train printed, or a network that sresnet list calls pretrained"
        )


def _recipe_in(folder: Path) -> Recipe:
    """The recipe in config.json of a run folder; UserError for one of another version, and as `read_json`."""
    return from_dict(Recipe, read_json(folder / CONFIG), "recipe")


Numbers = dict[str, int | float]


def read_about(folder: Path) -> dict[str, Any]:
    """What a run was trained on, by data.json in its folder; errors as `models.trained.read_about`."""
    return trained.read_about(folder / DATA)


def bits_of(folder: Path) -> int:
    """How many of 16 bits for each channel of a picture count in a run folder; 0 where no such run has begun there."""
    return trained.bits_of(read_about(folder)) if (folder / DATA).exists() else 0


def check_about(about: Mapping[str, Any], model: NetworkConfig, where: str) -> None:
    """Raise UserError where data.json does not fit the network."""
    pairs = [("classes", len(about["class_names"]), model.num_classes)]
    if "channels" in about:
        pairs.append(("channels", about["channels"], model.in_channels))
    if about.get("mean") is not None:
        pairs.append(("channels", len(about["mean"]), model.in_channels))
    for what, said, has in pairs:
        if said != has:
            raise UserError(
                f"{where} names {said} {what} in {DATA}, and its network has {has}: the folder holds files of two runs"
            )


def read_environment(folder: Path) -> dict[str, Any]:
    """environment.json of a run folder; errors as `read_json`, and for folders that are not text."""
    texts = (*PLACES, "imported_from", "converted_from")
    known = {**dict.fromkeys(texts, str), "threads": int, "seconds": float, "sessions": list[dict[str, Any]]}
    found = check_fields(read_json(folder / ENVIRONMENT), str(folder / ENVIRONMENT), {}, known)
    for session in found.get("sessions", ()):
        check_fields(session, f"{folder / ENVIRONMENT}: sessions", {"from_step": int}, {})
    return found


def read_result(folder: Path) -> dict[str, Any]:
    """result.json of a run folder; errors as `read_json` and `check_result`."""
    path = folder / RESULT
    result = check_result(read_json(path), str(path))
    return check_fields(result, str(path), {"test_images": int}, {})


def check_result(values: Any, where: str) -> dict[str, Any]:
    """A result, as in result.json and in records; UserError for what is not a number."""
    result = check_fields(
        values,
        where,
        {"test_top1": float},
        {
            "steps": int,
            "best_test_epoch_top1": float,
            "best_test_epoch": int,
            "validation_top1": float,
            "split": dict[str, Any],
        },
    )
    counts = dict.fromkeys(("train", "validation", "test"), int)
    split = check_fields(
        result.get("split", {}),
        f"{where}: split",
        {},
        counts | {"simulated": bool, "name": str, "events": int, "saturated_events": int},
    )
    for part in counts:
        if split.get(part, 0) < 0:
            raise UserError(f"{where}: split: {part} is {split[part]}: it is damaged, or not a file of a run")
    return result


def check_line(line: Any, where: str) -> dict[str, Any]:
    """A line of metrics.jsonl: numbers, and numbers by layer; UserError for anything else."""
    by_layer = ("spike_rate", "sent", "leak")
    checked = check_fields(line, where, {"epoch": int, "step": int}, dict.fromkeys(by_layer, Numbers))
    for name, value in checked.items():
        if name not in by_layer and not isinstance(value, int | float | str):
            raise UserError(f"{where}: {name} is not a number: the file is damaged, or not that of a run")
    return checked


def claim(folder: Path, recipe: Recipe) -> None:
    """Make `folder` the run folder of `recipe`, or check that it is; UserError where it holds something else."""
    if (folder / CONFIG).exists():
        theirs, ours = _recipe_in(folder).effective(), recipe.effective()
        if to_dict(theirs) != to_dict(ours):
            differing = _first_difference(dataclasses.asdict(theirs), dataclasses.asdict(ours))
            raise UserError(f"{folder} holds a run with {differing}: choose another --out, or the same fields")
        return
    if others := strangers(folder):
        raise UserError(f"{folder} is not empty ({others[0]}) and holds no run: choose another --out")
    write_json(folder / CONFIG, to_dict(recipe))


def check_data(folder: Path, data: Fingerprint) -> None:
    """Raise UserError where a run folder names other data or its fingerprint is damaged."""
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


def check_statistics(folder: Path, scaling: Mapping[str, Any]) -> None:
    """Raise UserError where a run of before there were fingerprints has other data, by mean and deviation."""
    about = read_about(folder) if (folder / DATA).exists() else {}
    if "fingerprint" in about:
        return
    for name in ("mean", "std"):
        before, now = about.get(name), scaling.get(name)
        # Both come from exact counts: other data differ by more than the rounding of float32.
        if not before or not now:
            continue
        if len(before) != len(now) or any(abs(old - new) > 1e-6 for old, new in zip(before, now, strict=True)):
            raise UserError(
                f"{folder} holds a run on other data ({name} {before}, now {now}): choose another --out, or give the "
                "data as they were"
            )


def _first_difference(theirs: Any, ours: Any, name: str = "") -> str:
    """Where two configurations differ first, for people: `train.epochs 2, not 3`."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in dict.fromkeys([*theirs, *ours]):
            if theirs.get(key) != ours.get(key):
                return _first_difference(theirs.get(key), ours.get(key), f"{name}.{key}".lstrip("."))
    return f"{name} {_in_words(theirs)}, not {_in_words(ours)}"


def _in_words(value: Any) -> str:
    """A value of a configuration as a flag takes it."""
    return " ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)


def environment(device: torch.device, processes: int = 1) -> dict[str, Any]:
    """Versions, source revision and machine, which also decide the numbers or the time of a run."""
    from sresnet import __version__

    return {
        "sresnet": __version__,
        "revision": revision(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "safetensors": version("safetensors"),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "threads": torch.get_num_threads(),
        "engine": _engine(device),
        "system": platform.platform(),
    } | ({"processes": processes} if processes > 1 else {})


def _engine(device: torch.device) -> str:
    """Which implementation of the layers computes on `device`."""
    if reference_chosen():
        return "reference"
    if device.type == "cpu" and not available():
        return "reference, as nothing could be compiled"
    if device.type == "cuda" and not triton_available():
        return "reference, as triton is not installed"
    return chosen_implementation()


def enter_session(folder: Path, now: dict[str, Any], step: int) -> str:
    """Write the conditions (`environment` and `PLACES`) under which a run resumes after `step` training steps.

    The fields are those of the last session. Where sessions differ, "sessions" lists all, each with "from_step":
    rounding may differ between them. Returns how the last two differ, or "".
    """
    path = folder / ENVIRONMENT
    before = read_environment(folder) if path.exists() else {}
    earlier = before.get("sessions") or [before | {"from_step": 0}]
    earlier = [session for session in earlier if session["from_step"] < step]  # of others nothing is left
    session, differing = without_places(now), ""
    if earlier:
        one = {"processes": 1}  # where it is not said
        then, here = one | without_places(earlier[-1]), one | session
        last = {name: value for name, value in then.items() if name in here}
        differing = ", ".join(
            f"{name} {here[name]}, before {value}" for name, value in last.items() if here[name] != value
        )
    if differing or len(earlier) > 1:
        kept = [without_places({k: v for k, v in each.items() if k != "sessions"}) for each in earlier]
        now = now | {"sessions": [*kept, session | {"from_step": step}] if differing else kept}
    write_json(path, now)
    return differing


def provenance(command: str, device: torch.device) -> dict[str, Any]:
    """Where numbers of a record are from: the command, versions, revision and machine."""
    return {"command": command, "environment": environment(device)}


def processor() -> str:
    """Name of the processor, where the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def revision() -> str:
    """Git revision of the installed source, "+changes" where the tree differs from it, "" outside a checkout."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments], capture_output=True, encoding="utf-8", check=True
        ).stdout.strip()

    try:
        if git("ls-files", __file__) == "":
            return ""
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


PLACES = ("data_dir", "cache_dir")
"""Fields of environment.json that name folders of the machine."""


def without_places(environment: dict[str, Any]) -> dict[str, Any]:
    """The content of environment.json for others to read."""
    return {name: value for name, value in environment.items() if name not in PLACES}


_TOLD = ("sresnet", "revision", "python", "torch", "numpy", "safetensors", "device", "threads", "engine", "system")
"""Fields of environment.json that anybody may know."""


def told_of(environment: dict[str, Any]) -> dict[str, Any]:
    """What strangers are told of environment.json, and all that is taken of theirs: versions and the machine."""

    def known(fields: dict[str, Any]) -> dict[str, Any]:
        names = (*_TOLD, "processes", "seconds", "from_step")
        return {name: fields[name] for name in names if isinstance(fields.get(name), str | int | float)}

    sessions = environment.get("sessions")
    return known(environment) | ({"sessions": [known(each) for each in sessions]} if sessions else {})


def append_metrics(folder: Path, line: dict[str, Any]) -> None:
    """Add one line to metrics.jsonl; UserError where the disk is full, ValueError for NaN or infinity."""
    text = json.dumps(line, allow_nan=False) + "\n"
    with opened_to_change(folder / METRICS) as descriptor:
        os.lseek(descriptor, 0, os.SEEK_END)
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(text.encode())
        os.fsync(descriptor)


def _metrics_bytes(folder: Path) -> bytes:
    """What metrics.jsonl holds, nothing where there is none."""
    try:
        return read_regular(folder / METRICS, LARGEST_METRICS)
    except FileNotFoundError:
        return b""


def metrics_so_far(folder: Path) -> tuple[int, str]:
    """Length of metrics.jsonl in bytes and its checksum, for the checkpoint that is saved with it."""
    content = _metrics_bytes(folder)
    return len(content), hashlib.sha256(content).hexdigest()


def cut_metrics(folder: Path, length: int, checksum: str) -> None:
    """Drop what was written to metrics.jsonl after the checkpoint; UserError where what is before it has changed."""
    path, content = folder / METRICS, _metrics_bytes(folder)
    kept = content[:length]
    whole = len(kept) == length and kept[-1:] in (b"", b"\n")
    if not whole or (checksum and hashlib.sha256(kept).hexdigest() != checksum):
        fault = f"has {len(content):,} bytes of {length:,}" if len(content) < length else "was changed"
        raise UserError(
            f"{path} {fault} since the checkpoint was saved: put it back, or delete {CHECKPOINT} to train from the "
            "start"
        )
    if len(content) > length:
        with opened_to_change(path) as descriptor:
            os.ftruncate(descriptor, length)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, none where there is no file; UserError where it is damaged."""
    lines = _metrics_bytes(folder).splitlines()
    places = [f"{folder / METRICS}, line {number}" for number in range(1, len(lines) + 1)]
    return [check_line(parse_json(line, where), where) for line, where in zip(lines, places, strict=True)]
