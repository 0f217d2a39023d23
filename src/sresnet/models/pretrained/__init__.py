"""Trained networks that come with the package: a file of weights and a card for each.

NAME.safetensors   weights and configuration, as `save_model` writes them
NAME.json          the card, see `Card`
NAME.md            the card for people, generated from it

`tools/publish.py` makes all three from the records of a finished run.
"""

import hashlib
import json
from dataclasses import dataclass
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from sresnet.config import added_later, check_types, closest, from_dict
from sresnet.errors import UserError
from sresnet.models.network import NetworkConfig, SpikingNetwork, num_parameters
from sresnet.models.saved import load
from sresnet.models.size import sketch
from sresnet.models.summary import describe
from sresnet.models.trained import trained_from_plain

SHIPPED: Traversable = files("sresnet.models.pretrained")
"""Where they are."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """Facts about a shipped network, from its run or, where they differ, its file; UserError for a wrong type."""

    name: str
    """What `pretrained=` and `sresnet predict --model` take."""
    model: str
    """Name of the model, such as sresnet8."""
    data: str
    """Data set it was trained on."""
    command: str
    """What trains it again."""
    recipe: dict[str, Any]
    """The whole configuration of that run."""
    seed: int
    """Of its one run; other seeds may give other results."""
    test_top1: float
    """Test accuracy in percent of the shipped file in float32, as from `sresnet evaluate`; of the last epoch unless
    `protocol` says otherwise."""
    test_images: int
    protocol: str
    """How the epoch was chosen, see `train.recipe.TrainConfig.protocol`."""
    simulated: bool
    """Whether the data are simulated."""
    energy: dict[str, Any] | None
    """Operations and microjoules per image, from `sresnet analyse` on the run, or counted on the file, whose "sha256"
    it has then; None: not counted."""
    class_names: tuple[str, ...]
    image_size: tuple[int, ...]
    """Height and width of an input."""
    scaling: dict[str, Any]
    """How pixels or counts become the network's input, see `data.scaling.scaling_from_plain`."""
    licence: str
    """Of the weights."""
    data_licence: str
    """Of the images they were learned from."""
    environment: dict[str, Any]
    """Versions, revision of the source and machine of the run."""
    bytes: int
    """Size of the weights file."""
    sha256: str
    """Its checksum."""
    rounding: dict[str, Any] | None = added_later(None)
    """Where weights are stored in less than float32: how, and accuracy on held-out images before and after."""
    recorded_top1: float | None = added_later(None)
    """Test accuracy that the run recorded, where weights or precision differ from those of the file; None: as
    `test_top1`."""

    def __post_init__(self) -> None:
        check_types(self)

    @property
    def energy_against_ann(self) -> float | None:
        """Energy of the arithmetic in float32, neurons included, over that of the ANN counterpart; None: not counted.

        As `analysis.cost.Cost.energy` has them; memory is not counted.
        """
        if self.energy is None:
            return None
        joules: dict[str, float] = self.energy["microjoules_float32_45nm"]
        return (joules["synapses"] + joules["updates"]) / joules["ann"]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What `sresnet list` shows of a shipped network."""

    model: str
    """Name of the model, such as sresnet8."""
    data: str
    """Data set it was trained on."""
    simulated: bool
    """Whether the data are simulated."""
    num_steps: int
    """Time steps T."""
    parameters: int
    """Trainable numbers."""
    test_top1: float
    """Test accuracy in percent, see `Card.test_top1`."""
    test_images: int
    energy_against_ann: float | None
    """See `Card.energy_against_ann`."""
    bytes: int
    """Size of the weights file."""


def shipped_names() -> list[str]:
    """Names of the networks that come with the package; no card is read."""
    return sorted(file.name.removesuffix(".json") for file in SHIPPED.iterdir() if file.name.endswith(".json"))


def is_shipped(source: str) -> bool:
    """Whether a network that comes with the package is meant, and not a folder or file of that name."""
    return source in shipped_names() and not Path(source).exists()


def shipped() -> dict[str, Card]:
    """Name -> card of every network that comes with the package; UserError for a damaged card."""
    return {name: card_of(name) for name in shipped_names()}


def card_of(name: str) -> Card:
    """The card of a shipped network; UserError for an unknown name or a damaged card."""
    names = shipped_names()
    if name not in names:
        raise UserError(f"pretrained {name!r} is not shipped: {closest(name, names) if names else 'none is'}")
    file = SHIPPED / f"{name}.json"
    try:
        return from_dict(Card, json.loads(file.read_text(encoding="utf-8")), file.name)
    except json.JSONDecodeError as error:
        raise UserError(f"{file.name} of the package is damaged ({error}): install sresnet again") from None


def config_of(card: Card) -> NetworkConfig:
    """The configuration of a shipped network."""
    return from_dict(NetworkConfig, card.recipe["model"], f"recipe of {card.name}")


def line_of(card: Card) -> str:
    """A shipped network in one line: the network, its data, its accuracy."""
    simulated = ", simulated recordings" if card.simulated else ""
    measured = f"{card.test_top1:.2f} % of {card.test_images:,} test images"
    if card.energy_against_ann is not None:
        measured += f"; energy {100 * card.energy_against_ann:.0f} % of an ANN's"
    return f"{describe(config_of(card))}, trained on {card.data}{simulated}: {measured}"


def facts_of(card: Card) -> Facts:
    """The same as numbers."""
    config = config_of(card)
    return Facts(
        model=card.model,
        data=card.data,
        simulated=card.simulated,
        num_steps=config.num_steps,
        parameters=num_parameters(sketch(config)),
        test_top1=card.test_top1,
        test_images=card.test_images,
        energy_against_ann=card.energy_against_ann,
        bytes=card.bytes,
    )


def load_shipped(name: str) -> SpikingNetwork:
    """A shipped network on the CPU, in float32, in evaluation mode; UserError for an unknown name or another file."""
    card = card_of(name)
    with as_file(SHIPPED / f"{name}.safetensors") as path:
        if not path.exists():
            raise UserError(f"the weights of {name} are not in the package: install sresnet again")
        content = path.read_bytes()
        if len(content) != card.bytes or hashlib.sha256(content).hexdigest() != card.sha256:
            raise UserError(
                f"the weights of {name} are {len(content):,} bytes, not the {card.bytes:,} that its card was written "
                "for, or others: install sresnet again"
            )
        model = load(path)
    model.trained = trained_from_plain(about_of(card) | {"name": name})
    return model


def about_of(card: Card) -> dict[str, Any]:
    """What data.json of its run would say of a shipped network: classes, size and scaling.

    None was trained on pictures of more than 8 bits, so that each of these has the bits that it needs.
    """
    return {"class_names": card.class_names, "image_size": card.image_size, "bits": 0, **card.scaling}
