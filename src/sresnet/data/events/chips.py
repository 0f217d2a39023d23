"""Sensors: by the names that AEDAT files give them, or by their events."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sresnet.errors import UserError


@dataclass(frozen=True)
class Sensor:
    """An event sensor, or the data set of one that files do not name."""

    name: str
    width: int
    height: int


CHIPS = (
    Sensor("DVS128", 128, 128),
    Sensor("DAVIS128", 128, 128),
    Sensor("DAVIS208", 208, 192),
    Sensor("DAVIS240", 240, 180),
    Sensor("DAVIS346", 346, 260),
    Sensor("DAVIS640", 640, 480),
    Sensor("DAVISHet640", 640, 480),
)


def find_chip(text: str, where: str) -> Sensor:
    """The sensor that `text` names, by class or model, `a.b.davis.DAVIS240C` or `DVS128`; UserError for others."""
    model = re.split(r"[.\s]", text.strip())[-1] if "." in text else text.strip()
    for chip in CHIPS:
        if model.lower().startswith(chip.name.lower()):
            return chip
    raise UserError(
        f"{where} names the camera {text.strip()[:80]!r}, which is not known: if its files are like those of another, "
        f"name that as chip: {', '.join(chip.name for chip in CHIPS)}"
    )


def likely_sensor(sensors: Sequence[Sensor], x: NDArray[np.uint16], y: NDArray[np.uint16]) -> Sensor:
    """The first of `sensors` that holds 99 of 100 events, else the last: for files that do not name theirs."""
    inside = ((x < each.width) & (y < each.height) for each in sensors[:-1])
    fitting = (each for each, found in zip(sensors, inside, strict=False) if np.count_nonzero(found) >= 0.99 * len(x))
    return next(fitting, sensors[-1])
