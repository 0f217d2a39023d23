"""Cameras by the names that AEDAT files give them."""

import re
from dataclasses import dataclass

from sresnet.errors import UserError


@dataclass(frozen=True)
class Chip:
    """An event sensor."""

    name: str
    width: int
    height: int


CHIPS = (
    Chip("DVS128", 128, 128),
    Chip("DAVIS128", 128, 128),
    Chip("DAVIS208", 208, 192),
    Chip("DAVIS240", 240, 180),
    Chip("DAVIS346", 346, 260),
    Chip("DAVIS640", 640, 480),
    Chip("DAVISHet640", 640, 480),
)


def find_chip(text: str, where: str) -> Chip:
    """The chip that `text` names, by class or model: `eu.seebetter.ini.chips.davis.DAVIS240C`, `DVS128`.

    Raises:
        UserError: a name that is not one of these.
    """
    model = re.split(r"[.\s]", text.strip())[-1] if "." in text else text.strip()
    for chip in CHIPS:
        if model.lower().startswith(chip.name.lower()):
            return chip
    raise UserError(
        f"{where} names the camera {text.strip()[:80]!r}, which is not known: if its files are like those of another, "
        f"name that as chip: {', '.join(chip.name for chip in CHIPS)}"
    )
