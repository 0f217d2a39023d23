"""What a trained network knows of its input and answers: size, scaling and classes. It makes a picture an answer."""

import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from sresnet.config import check_fields
from sresnet.data.events.chips import Sensor, sensor_from_plain
from sresnet.data.events.lengths import Lengths, lengths_from_plain
from sresnet.data.folder import picture_of
from sresnet.data.scaling import Pixels, Scaling, scaling_from_plain
from sresnet.errors import UserError
from sresnet.files import read_json
from sresnet.models.inference import check_scores
from sresnet.randomness import seeded

if TYPE_CHECKING:
    from sresnet.models.network import SpikingNetwork

ABOUT = "data.json"
"""Name of the file of a run folder that says what its network was trained on."""
_LARGEST_SIDE = 16384
"""Pixels of a side of an input."""
_ALL_BITS = 16
"""Of each channel of a deep picture: so many count where nothing is said, as in files of before."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a network was trained on; `SpikingNetwork.trained`."""

    class_names: tuple[str, ...]
    """Of its scores, in their order; empty where its classifier has been replaced."""
    image_size: tuple[int, int]
    """Height and width of an input in pixels."""
    scaling: Scaling
    """uint8 images or event frames [N, ...] -> the network's input, float32."""
    bits: int = _ALL_BITS
    """Of pictures with 16 bits for each channel, how many count; 0: as many as each needs, as training had none."""
    sensor: Sensor | None = None
    """What event recordings were of; None where that is not known, or these were pictures."""
    lengths: Lengths | None = None
    """Of the clips of event recordings; None where that is not known, or these were pictures."""
    name: str = ""
    """That of a network that comes with the package; `card_of` has its card."""

    def plain(self) -> dict[str, Any]:
        """As JSON holds it; `trained_from_plain` is the inverse."""
        about: dict[str, Any] = {"class_names": list(self.class_names), "image_size": list(self.image_size)}
        about |= {} if self.bits == _ALL_BITS else {"bits": self.bits}
        about |= {"sensor": self.sensor.plain()} if self.sensor else {}
        about |= {"clip_seconds": self.lengths.plain()} if self.lengths else {}
        return about | self.scaling.plain() | ({"name": self.name} if self.name else {})


def trained_from_plain(values: Mapping[str, Any]) -> Trained:
    """The inverse of `Trained.plain`, of what `checked_about` gives."""
    height, width = values["image_size"]
    return Trained(
        class_names=tuple(values["class_names"]),
        image_size=(height, width),
        scaling=scaling_from_plain(dict(values)),
        bits=bits_of(values),
        sensor=sensor_from_plain(values.get("sensor")),
        lengths=lengths_from_plain(values.get("clip_seconds")),
        name=values.get("name", ""),
    )


def bits_of(about: Mapping[str, Any]) -> int:
    """`Trained.bits` of what `checked_about` gives."""
    return int(about.get("bits", _ALL_BITS))


def read_about(path: Path) -> dict[str, Any]:
    """What `ABOUT` of a run folder says: class names, height and width of an input, scaling; UserError if damaged."""
    return checked_about(read_json(path), str(path))


def checked_about(values: Any, where: str) -> dict[str, Any]:
    """A plain `Trained` that a file holds; UserError, naming the file, where it is none."""
    about = check_fields(
        values,
        where,
        {"class_names": list[str], "image_size": list[int]},
        {
            "scale": float,
            "mean": list[float] | None,
            "std": list[float] | None,
            "bits": int,
            "name": str,
            "channels": int,
            "counts": Literal["exact", "saturate"],
            "sensor": dict[str, Any],
            "clip_seconds": list[float],
            "shown": Literal["binary", "log"],
        },
    )
    if fault := _fault_of(about):
        raise UserError(f"{where} cannot be read ({fault}): it is damaged, or not a file of a run")
    return about


def _fault_of(about: Mapping[str, Any]) -> str:
    """What is impossible in a plain `Trained`, whose fields have their types; "" for nothing."""
    sides, mean, std = about["image_size"], about.get("mean"), about.get("std")
    if len(sides) != 2 or not all(0 < side <= _LARGEST_SIDE for side in sides):
        return f"image_size is {sides[:3]}: expected height and width"
    if not 0 <= bits_of(about) <= _ALL_BITS:
        return f"bits is {about['bits']}"
    if "scale" in about:
        return "" if about["scale"] > 0 else f"scale is {about['scale']}"
    if "mean" not in about or (mean is None) != (std is None):
        return "it has no scaling"
    if mean is not None and std is not None and len(mean) != len(std):
        return "it has not as many means as deviations"
    return "" if std is None or min(std, default=0) > 0 else f"std is {std[:3]}"


def predicted(model: "SpikingNetwork", image: Any, top: int) -> list[tuple[str, float]]:
    """See `SpikingNetwork.predict`."""
    about = model.trained
    if about is None or not about.class_names:
        raise UserError(
            "this network does not know what it was trained on, or its classifier is new: predict works for "
            "load_pretrained and load of a run folder; else use model(images).softmax(1)"
        )
    if not isinstance(about.scaling, Pixels):
        raise UserError("this network takes event frames: give them to model, or a recording to sresnet predict")
    if model.training:
        raise UserError("this network is in training mode, in which an image changes its norms: call model.eval()")
    if type(top) is not int or top < 1:
        raise UserError(f"top {top!r} is not 1 or more: it is how many classes to give")
    pixels = picture_of(image, about.image_size, model.config.in_channels, about.bits)
    weight = next(model.parameters())
    with torch.inference_mode(), seeded(0, weight.device):  # a Poisson encoder draws
        scores = model(about.scaling(pixels[None]).to(weight.device, weight.dtype))
        check_scores(scores)
        found = scores[0].float().softmax(0).topk(min(top, len(about.class_names)))
    pairs = zip(found.indices.tolist(), found.values.tolist(), strict=True)
    return [(about.class_names[index], probability) for index, probability in pairs]


def look_at_pixels(about: Trained, x: Tensor) -> bool:
    """Warn where images [N, C, H, W] or frames [N, T, C, H, W] are pixels that nobody has scaled as in training.

    These run from 0 to 1, where the network was trained on others, or far beyond what the scaling gives. A scaled
    picture may lie between 0 and 1 too, if it is of little contrast; so pixels count as raw there only if they are
    whole 255ths, or fill that range. Functions of the package scale what they give to a network and are not warned.

    Returns:
        Whether the network's next inputs need not be looked at, as the user knows, or looking would wait for a device.
    """
    if not isinstance(about.scaling, Pixels) or not x.numel():
        return True
    if x.is_cuda and torch.cuda.is_current_stream_capturing():
        return False
    try:
        low, high = (each.item() for each in torch.aminmax(x.detach()))
        said = _said_of_pixels(about.scaling, x.detach(), low, high) if 0 <= low < high else ""
    except RuntimeError:  # no numbers to look at: under vmap, or on the meta device
        return True
    level = _level_of_user() if said else 0
    if level:
        warnings.warn(
            f"{said}, as before the scaling that this network was trained with, and its scores would be poor: give "
            "model.predict(image), or model.trained.scaling(uint8 images)",
            stacklevel=level,
        )
    return bool(level) or not x.is_cpu


_FILLED = 0.95
"""Part of the range from 0 to 1 that raw pixels fill; scaled ones would have to begin at the mean and end a deviation
above it, in all channels."""


def _said_of_pixels(scaling: Pixels, x: Tensor, low: float, high: float) -> str:
    """What is wrong with inputs that run from `low`, 0 or more, to `high`; "" for nothing."""
    darkest, brightest = scaling.span
    if high > 2 * max(1.0, brightest):
        return f"pixels run from {low:.4g} to {high:.4g}"
    if darkest < 0 and high <= 1 and (high - low > _FILLED or _whole_255ths(x)):
        return "all pixels lie between 0 and 1"
    return ""


def _whole_255ths(x: Tensor) -> bool:
    """Whether x is bytes divided by 255."""
    found = x.float() * 255
    return bool((found - found.round()).abs().max() < 1e-3)


_INSIDE = ("sresnet.models.network", "sresnet.models.features", "sresnet.models.segments", __name__)
"""Modules through which an input gets here from whoever calls a network."""


def _level_of_user() -> int:
    """How far above this function's caller the caller of the network is, for a warning; 0 if in the package."""
    frame: FrameType | None = sys._getframe(1)
    level = 1
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if frame.f_code is predicted.__code__:
            return 0
        if name not in _INSIDE and name.partition(".")[0] != "torch":
            return 0 if name.partition(".")[0] == "sresnet" else level
        frame, level = frame.f_back, level + 1
    return 1


def pretrained_cfg(model: "SpikingNetwork") -> dict[str, Any]:
    """See `SpikingNetwork.pretrained_cfg`."""
    about = model.trained
    if about is None:
        return {}
    scaling = about.scaling.plain()
    mean, std = scaling.get("mean"), scaling.get("std")
    channels = model.config.in_channels
    return {
        "architecture": f"{model.config.family}{getattr(model.config, 'depth', '')}",
        "tag": about.name,
        "input_size": (channels, *about.image_size),
        "mean": tuple(mean or [0.0] * channels),
        "std": tuple(std or [1.0] * channels),
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": "center",
        "num_classes": model.config.num_classes,
        "label_names": about.class_names,
        "first_conv": next((name for name, part in model.named_modules() if isinstance(part, nn.Conv2d)), ""),
        "classifier": "readout.linear",
    }
