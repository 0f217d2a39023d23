"""The record of a search: one file of JSON with all its trials, small and worth keeping; reading it needs no Optuna.

kind         "search of sresnet"
command      what makes such a search
config       what was searched and how, as search.json has it
environment  versions, revision of the source and machine
trials       number, state, values, accuracies as [epoch, percent], objectives, seconds, fault
"""

import shlex
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sresnet.config import check_fields, from_dict
from sresnet.errors import UserError
from sresnet.files import check_free, make_folder, read_json, write_json
from sresnet.search.config import SEARCH, config_in
from sresnet.search.trials import Outcome, Trial
from sresnet.train.command import command

_KIND = "search of sresnet"
"""By which a record is known."""


def is_search(place: Path) -> bool:
    """Whether the folder or the record of a search is meant; of a file, by its name, whatever is in it."""
    return (place / SEARCH).exists() or (place.suffix == ".json" and place.is_file())


def write_record(found: Outcome, path: Path, *, force: bool = False) -> None:
    """Write the record of a search, in place of an earlier one of the same search.

    Raises:
        UserError: something else is there and not `force`, the record of another search or one that knows more of this
            one too; or the disk refuses.
    """
    if is_search(path.parent) and path.name == SEARCH:
        raise UserError(f"{path} is what the search goes on from: choose another --record")
    check_free(path, [f'"kind": "{_KIND}"'.encode()], force=force, flag="--record")
    if path.exists() and not force:
        before = read_record(path)
        if before.config != found.config:
            raise UserError(f"{path} is the record of another search: choose another --record, or add --force")
        if len(before.finished) > len(found.finished) or len(before.trials) > len(found.trials):
            raise UserError(f"{path} has more trials than there are here: choose another --record, or add --force")
    make_folder(path.parent, "--record")
    write_json(path, as_record(found))


def as_record(found: Outcome) -> dict[str, Any]:
    """What is written; a trial that is not at its end is written as far as it is."""
    return {
        "kind": _KIND,
        "command": _command_of(found),
        "config": found.config.plain(),
        "environment": dict(found.environment),
        "trials": [asdict(each) | {"seconds": round(each.seconds, 1)} for each in found.trials],
    }


def _command_of(found: Outcome) -> str:
    """The `sresnet search` line of a search; DIR stands for its data, FILE.toml for a recipe that is like none."""
    config, recipe = found.config, found.config.recipe
    try:
        words = shlex.split(command(recipe))[2:]
    except UserError:
        words = ["FILE.toml"]
    for field, each in config.space.items():
        words += [f"--search.{field.replace('_', '-')}", str(each)]
    words += ["--sampler", config.sampler, "--objectives", *config.objectives]
    words += ["--min-epochs", str(config.min_epochs), "--reduction", str(config.reduction)]
    first = [",".join(f"{field}={value}" for field, value in values.items()) for values in config.enqueue]
    words += ["--enqueue", *(first or ["none"]), "--trials", str(len(found.trials))]
    data = "" if recipe.data.name in ("digits", "digits-dvs") else " --data-dir DIR"
    return shlex.join(["sresnet", "search", *words]) + data


def read_record(path: Path) -> Outcome:
    """The search in a record.

    Raises:
        UserError: there is no such file, it is no record of a search, or it is damaged.
    """
    values = read_json(path)
    if not isinstance(values, dict) or values.get("kind") != _KIND:
        raise UserError(f"{path} is no record of a search: write one with sresnet search FOLDER --record FILE.json")
    needed = {"config": dict[str, Any], "environment": dict[str, Any], "trials": list[dict[str, Any]]}
    check_fields(values, str(path), needed, {})
    config = config_in(values["config"], f"{path}: config")
    damaged = f"it is damaged, or was changed by hand: write it again with sresnet search FOLDER --record {path.name}"
    trials = tuple(from_dict(Trial, each, f"{path}: trial {at}") for at, each in enumerate(values["trials"]))
    if len({each.number for each in trials}) < len(trials):
        raise UserError(f"{path} has two trials of one number: {damaged}")
    for each in trials:
        where = f"{path}: trial {each.number}"
        if each.state == "finished" and len(each.objectives) != len(config.objectives):
            raise UserError(f"{where} is finished and has {len(each.objectives)} objectives: {damaged}")
        if unknown := next((field for field in config.space if field not in each.values), None):
            raise UserError(f"{where} lacks {unknown}: {damaged}")
        for field, value in each.values.items():
            if field not in config.space or value not in config.space[field]:
                raise UserError(f"{where} has {field} {value!r}, which was not searched: {damaged}")
        percents = [percent for _, percent in each.accuracies]
        if each.objectives and "accuracy" in config.objectives:
            percents.append(each.objectives[config.objectives.index("accuracy")])
        if odd := next((percent for percent in percents if not 0 <= percent <= 100), None):
            raise UserError(f"{where} has an accuracy of {odd:g} %: {damaged}")
    return Outcome(config=config, trials=trials, environment=values["environment"])


def read_records(folder: Path) -> Mapping[str, Outcome]:
    """Name of the file, without its ending -> search, of all records in a folder; none where there is no folder.

    Raises:
        UserError: as `read_record`.
    """
    return {path.stem: read_record(path) for path in sorted(folder.glob("*.json"))}
