"""A training for each group of recordings, tested on that group and trained on the others."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from sresnet.data import AnyData, EventConfig
from sresnet.data.events.sets import list_recordings
from sresnet.errors import UserError
from sresnet.files import write_json
from sresnet.limits import MEMORY_LIMIT
from sresnet.train.recipe import Recipe
from sresnet.train.record import RESULT, read_result

GROUPS = "groups.json"
"""Name of the file of accuracies beside the run folders."""


def groups_of(data: AnyData, data_dir: str, *, memory_limit: float = MEMORY_LIMIT) -> tuple[str, ...]:
    """Names of the groups of a data set of event recordings, sorted.

    Raises:
        UserError: pictures, a data set without groups or with a single one, a group that cannot be tested on as its
            classes are in no other, or without which one class is left; or as `list_recordings`.
    """
    if not isinstance(data, EventConfig):
        raise UserError(f"every-group trains on event recordings, which have groups, and {data.name} has pictures")
    listing = list_recordings(replace(data, split="by-group"), data_dir, memory_limit=memory_limit)
    groups = tuple(sorted({source.group for source in listing.sources}))
    if len(groups) < 2:
        raise UserError(f"{data_dir} has one group, {groups[0]!r}: every-group needs two at least")
    for group in groups:
        own, others = ({s.class_name for s in listing.sources if (s.group == group) is here} for here in (True, False))
        if len(others) < 2:
            raise UserError(
                f"without group {group!r} there is one class to train on, {min(others)!r}: every-group needs two "
                "in the others, so take this group away or join it with another"
            )
        if not own & others:
            raise UserError(
                f"group {group!r} has no class that another group has, only {', '.join(sorted(own))}, so that it "
                "cannot be tested on: take it away or join it with another"
            )
    return groups


def tested_on(recipe: Recipe, group: str) -> Recipe:
    """The recipe that leaves a group out; "" for none in particular. UserError as `groups_of` for pictures."""
    if not isinstance(recipe.data, EventConfig):
        raise UserError(f"every-group trains on event recordings, which have groups, and {recipe.data.name} has none")
    return replace(recipe, data=replace(recipe.data, split="by-group", test_group=group))


def folder_of(group: str) -> str:
    """Name of the run folder for a group, whose own name may have any characters."""
    name = re.sub(r"[^\w.-]+", "_", group).strip(".") or "group"
    return name if name == group != GROUPS else f"{name}-{hashlib.sha256(group.encode()).hexdigest()[:6]}"


def write_groups(folder: Path, groups: Sequence[str]) -> dict[str, Any]:
    """Write `GROUPS` of what the run folders of all groups hold, and return it.

    {"groups": {name: {"test_top1", "test_clips"}}, "mean_top1", "deviation_top1"}: mean and standard deviation (of a
    sample, n - 1) of the groups' accuracies in percent, each group counting alike.
    """
    results: Mapping[str, dict[str, Any]] = {name: read_result(folder / folder_of(name)) for name in groups}
    accuracies = [result["test_top1"] for result in results.values()]
    found = {
        "groups": {
            name: {"test_top1": result["test_top1"], "test_clips": result["split"]["test"]}
            for name, result in results.items()
        },
        "mean_top1": fmean(accuracies),
        "deviation_top1": stdev(accuracies),
    }
    write_json(folder / GROUPS, found)
    return found


def is_finished(folder: Path) -> bool:
    """Whether a run folder has a result."""
    return (folder / RESULT).exists()
