"""Sensors: by the names that AEDAT files give them, or by their size."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from sresnet.errors import UserError


@dataclass(frozen=True)
class Sensor:
    """An event sensor, or the data set of one that files do not name."""

    name: str
    width: int
    height: int

    def plain(self) -> dict[str, str | int]:
        """As JSON holds it."""
        return {"name": self.name, "width": self.width, "height": self.height}

    def __str__(self) -> str:
        return f"{self.name}, {self.width}x{self.height} pixels"


def sensor_from_plain(values: Any) -> Sensor | None:
    """The inverse of `Sensor.plain`; None for what is none, as in files of earlier versions."""
    if not isinstance(values, dict):
        return None
    name, width, height = (values.get(key) for key in ("name", "width", "height"))
    if not (isinstance(name, str) and type(width) is int and type(height) is int and width > 0 and height > 0):
        return None
    return Sensor(name, width, height)


_OR = " or "


def of_all(sensor: Sensor, names: Iterable[str]) -> Sensor:
    """A sensor with the names of all cameras, which are of one size: "DVS128 or Prophesee"; its own without any."""
    return replace(sensor, name=_OR.join(dict.fromkeys(names)) or sensor.name)


def another_sensor(trained: Sensor | None, found: Sensor | None, where: str) -> str:
    """A note on events of another sensor than a network's; "" where it is the same, or its own is not known.

    Either may be of several cameras of one size, as `of_all` has them. UserError for one of another size.
    """
    if trained is None or found is None:
        return ""
    if (trained.width, trained.height) == (found.width, found.height):
        if {*found.name.split(_OR)} <= {*trained.name.split(_OR)}:
            return ""
        return f"note: {where} is of a sensor {found}, and the network was trained on {trained}"
    raise UserError(
        f"{where} is of a sensor {found}, and the network was trained on {trained}: give recordings of such a camera, "
        "or name the camera with --chip, of predict and train, where the file says it wrongly"
    )


CHIPS = (
    Sensor("DVS128", 128, 128),
    Sensor("DAVIS128", 128, 128),
    Sensor("DAVIS208", 208, 192),
    Sensor("DAVIS240", 240, 180),
    Sensor("DAVIS346", 346, 260),
    Sensor("DAVIS640", 640, 480),
    Sensor("DAVISHet640", 640, 480),
)

LARGEST_SIDE = 1 << 15
"""Pixels that a side of a sensor has fewer than."""


def find_chip(text: str, where: str) -> Sensor:
    """The sensor that `text` names, by class or model, `a.b.davis.DAVIS240C` or `DVS128`; UserError for others."""
    model = re.split(r"[.\s]", text.strip())[-1] if "." in text else text.strip()
    for chip in CHIPS:
        if model.lower().startswith(chip.name.lower()):
            return chip
    raise UserError(
        f"{where} names the camera {text.strip()[:80]!r}, which is not known: if its files are like those of another, "
        f"name that as chip: {', '.join(chip.name for chip in CHIPS)}, or a size such as 640x480"
    )


def given_chip(chip: str, name: str = "sensor") -> Sensor:
    """The sensor of the option `chip`: a camera by name, or a size such as 640x480, called `name`.

    UserError for another text.
    """
    if size := re.fullmatch(r"\s*(\d{1,5})\s*[xX×*]\s*(\d{1,5})\s*", chip):
        width, height = int(size[1]), int(size[2])
        if not (0 < width < LARGEST_SIDE and 0 < height < LARGEST_SIDE):
            raise UserError(f"chip {chip!r} is no size of a sensor: give width and height in pixels, such as 640x480")
        return Sensor(name, width, height)
    found = next((each for each in CHIPS if chip.strip().lower() == each.name.lower()), None)
    return found or find_chip(chip, "the option chip")
