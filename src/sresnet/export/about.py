"""What an exported file says of itself, so that somebody who has nothing else can use it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from sresnet.config import added_later, from_dict, to_dict
from sresnet.data import AnyData
from sresnet.data.events.frames import Shown
from sresnet.errors import UserError
from sresnet.files import parse_json
from sresnet.nn.encoder import EncoderKind, delta, encode

PREFIX = "sresnet."
"""In front of the names of fields in the metadata of a file."""
Takes = Literal["images", "frames", "steps"]
"""images: [N, C, H, W]; frames: [N, T, C, H, W]; steps: one time step [N, C, H, W], with potentials in and out."""
DRAWN: tuple[EncoderKind, ...] = ("poisson", "poisson-signed")
"""Encoders that draw: a file takes what they have drawn."""


@dataclass(frozen=True, kw_only=True)
class About:
    """Of one file.

    Raises:
        UserError: a number that cannot be.
    """

    network: str
    """In a few words."""
    version: str
    """Of sresnet."""
    takes: Takes
    num_steps: int
    """Time steps that it runs, or that there are norms for."""
    in_channels: int
    image_size: tuple[int, int]
    """(H, W)."""
    channels: str
    """What the channels are, in order."""
    class_names: tuple[str, ...]
    """In the order of the scores."""
    encoder: EncoderKind
    encodes: bool
    """The encoder is part of the file, or there is none; else it takes what that has made of an image."""
    encoder_steps: int
    """Time steps of the encoder's code."""
    poisson_scale: float
    """Of encoder "poisson-signed"."""
    delta_threshold: float
    """Of encoder "delta"."""
    mean: tuple[float, ...] | None
    """Of each channel, of pixels in [0, 1]: an input is (pixel - mean) / std. None: pixels in [0, 1] as they are, or
    counts of events."""
    std: tuple[float, ...] | None
    scale: float | None
    """What counts of events are multiplied by; None: pixels."""
    shown: Shown = added_later("counts")
    """What the file takes of a count, see `data.scaling.Counts`."""
    data: AnyData
    """The data set, to evaluate the file on it again."""
    seed: int
    """Of the run, on which its split depends."""
    part: str = ""
    """What it was tried on; "" before that."""
    images: int = 0
    """How many of them."""
    top1_before: float | None = None
    """Accuracy of the network on them, percent."""
    top1_after: float | None = None
    """Accuracy of the file."""

    def __post_init__(self) -> None:
        scaled = [values for values in (self.mean, self.std) if values is not None]
        above: list[float] = [
            self.num_steps,
            *self.image_size,
            self.in_channels,
            self.encoder_steps,
            len(self.class_names),
        ]
        above += [self.poisson_scale, self.delta_threshold, 1.0 if self.scale is None else self.scale]
        accuracies = [each for each in (self.top1_before, self.top1_after) if each is not None]
        if (
            not all(each > 0 for each in above)
            or min(self.images, 0, *(self.std or ())) < 0
            or not all(0 <= each <= 100 for each in accuracies)
            or [len(values) for values in scaled] not in ([], [self.in_channels] * 2)
        ):
            raise UserError("an exported file says of itself what cannot be: it is damaged, export it again")

    def texts(self) -> dict[str, str]:
        """Names and texts, as metadata hold them; `about_of` is the inverse."""
        return {PREFIX + name: json.dumps(value, allow_nan=False) for name, value in to_dict(self).items()}


def encoded(about: About, x: Float[Tensor, "N *T C H W"]) -> Float[Tensor, "T N C H W"]:
    """Images or event frames as a file takes them, step by step."""
    if x.ndim == 5:
        frames = x.transpose(0, 1)[: about.num_steps]
        return frames if about.encodes else delta(frames, about.delta_threshold)
    return encode(
        "direct" if about.encodes else about.encoder,
        x,
        about.num_steps,
        first=0,
        total=about.encoder_steps,
        poisson_scale=about.poisson_scale,
        delta_threshold=about.delta_threshold,
    )


def about_of(metadata: Mapping[str, str], where: str) -> About:
    """What a file says of itself.

    Args:
        metadata: its own.
        where: its name, for messages.

    Raises:
        UserError: it was not exported by sresnet, or its metadata are damaged.
    """
    texts = all(isinstance(each, str) for item in metadata.items() for each in item)  # some are bytes
    fields = {name.removeprefix(PREFIX): text for name, text in metadata.items() if texts and name.startswith(PREFIX)}
    if not fields:
        raise UserError(f"{where} does not say what network it is: give a file that sresnet export wrote")
    values = {name: parse_json(text, f"{name} in {where}") for name, text in fields.items()}
    return from_dict(About, values, where)


def metadata_in(text: str | bytes, where: str) -> dict[str, str]:
    """Metadata that a file has as JSON, nothing where it is no object; UserError where it is no JSON."""
    found = parse_json(text, where)
    return found if isinstance(found, dict) else {}


_COMMENT = "/* sresnet: "
"""Beginning of the first line of a file in C."""


def comment(about: About) -> str:
    """What a file says of itself, as a comment in C of one line; `about_of_comment` is the inverse."""
    return _COMMENT + json.dumps(about.texts()).replace("*/", "*\\/") + " */"


def about_of_comment(text: str, where: str) -> About:
    """What the first line of a file in C says; errors as `about_of`."""
    line = text.partition("\n")[0]
    if not (line.startswith(_COMMENT) and line.endswith(" */")):
        raise UserError(f"{where} does not say what network it is: give a file that sresnet export wrote")
    return about_of(metadata_in(line.removeprefix(_COMMENT).removesuffix(" */"), where), where)
