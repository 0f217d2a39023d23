"""What a run has recorded about itself, read back."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sresnet.config import from_dict
from sresnet.data import AnyData, EventConfig
from sresnet.errors import UserError
from sresnet.export.written import Written, read_written
from sresnet.limits import MEMORY_LIMIT
from sresnet.models.pretrained import Card
from sresnet.train import record
from sresnet.train.command import command
from sresnet.train.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Records:
    """What a run has recorded about itself."""

    name: str
    recipe: Recipe
    command: str
    """The command that trains it again; "" where no named recipe does."""
    environment: Mapping[str, Any]
    class_names: tuple[str, ...]
    metrics: tuple[Mapping[str, Any], ...]
    """A line per epoch; none for networks that were not trained here."""
    result: Mapping[str, Any]
    """As result.json; empty while the run is not finished."""
    exports: tuple[Written, ...] = ()
    """What has been exported of it."""
    contents: str = ""
    """Digest of the samples that it was trained on; "" where it is not on record."""

    @property
    def kind(self) -> str:
        """What the data are called."""
        return kind_of(self.recipe.data)

    @property
    def simulated(self) -> bool:
        """Whether the data are simulated."""
        return bool(self.result.get("split", {}).get("simulated")) or (
            isinstance(self.recipe.data, EventConfig) and self.recipe.data.simulated
        )


def kind_of(data: AnyData) -> str:
    """What samples of these data are called."""
    return "clips" if isinstance(data, EventConfig) else "images"


def records_of(folder: Path, *, memory_limit: float = MEMORY_LIMIT) -> Records:
    """The records of a run folder, finished or not; its network may claim so many gigabytes, see `limits`.

    Raises:
        UserError: it is not a run folder, or its files are damaged.
    """
    recipe = record.read_recipe(folder, memory_limit=memory_limit)

    def there(name: str, read: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
        return read(folder) if (folder / name).exists() else {}

    environment = there(record.ENVIRONMENT, record.read_environment)
    about = there(record.DATA, record.read_about)
    return Records(
        name=folder.resolve().name,
        recipe=recipe,
        command=_made_by(recipe, environment),
        environment=environment,
        class_names=tuple(about.get("class_names", ())),
        metrics=tuple(_told_apart(line, recipe) for line in record.read_metrics(folder)),
        result=there(record.RESULT, record.read_result),
        exports=read_written(folder),
        contents=_contents(about),
    )


def _contents(about: Mapping[str, Any]) -> str:
    """The digest of the training samples in data.json; "" where it has none."""
    found: Any = about
    for key in ("fingerprint", "train", "contents"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, str) else ""


def _told_apart(line: Mapping[str, Any], recipe: Recipe) -> Mapping[str, Any]:
    """A line of metrics.jsonl in which `spike_rate` is of the neurons' own spikes, and `sent` of what they send on.

    Earlier versions wrote what is sent as `spike_rate`. Where neurons send their own spikes and nothing else, it is
    both; where they do not, their own spikes are not known.
    """
    if "sent" in line or "spike_rate" not in line:
        return line
    rest = {name: value for name, value in line.items() if name != "spike_rate"}
    own = recipe.model.neuron != "relu" and getattr(recipe.model, "connection", "none") != "s2s"
    return rest | {"sent": line["spike_rate"]} | ({"spike_rate": line["spike_rate"]} if own else {})


def records_of_card(card: Card) -> Records:
    """What is known of a network that comes with the package."""
    return Records(
        name=card.name,
        recipe=from_dict(Recipe, card.recipe, f"recipe of {card.name}"),
        command=card.command,
        environment=card.environment,
        class_names=card.class_names,
        metrics=(),
        result={"test_top1": card.test_top1, "test_images": card.test_images, "split": {"simulated": card.simulated}},
    )


def _made_by(recipe: Recipe, environment: Mapping[str, Any]) -> str:
    """The command that makes a run: of the nearest recipe with the fields that differ, and where its data lie."""
    if {"imported_from", "converted_from"} & set(environment):
        return ""
    try:
        line = command(recipe)
    except UserError:
        return ""
    folder = environment.get("data_dir")
    return f"{line} {shlex.join(['--data-dir', folder])}" if folder else line
