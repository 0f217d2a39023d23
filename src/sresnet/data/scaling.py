"""How uint8 samples become the network's input, as saved in the run folder."""

import functools
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from sresnet.data.config import AnyData
from sresnet.data.events.clips import ClipSet, FrameSet
from sresnet.data.events.frames import Shown
from sresnet.data.events.sets import EventConfig
from sresnet.data.images import ImageSet
from sresnet.data.pictures import PictureSet
from sresnet.data.samples import Samples
from sresnet.data.transforms import channel_statistics, intensity, normalise
from sresnet.errors import UserError


class Scaling(Protocol):
    """uint8 samples -> the network's input, float32: `Pixels` and `Counts`."""

    def __call__(self, samples: Tensor, /) -> Tensor: ...

    def to(self, device: torch.device) -> Self:
        """The same, whose constants lie on `device`: nothing is copied there for a batch."""

    def plain(self) -> dict[str, Any]:
        """As JSON holds it; `scaling_from_plain` is the inverse."""


@dataclass(frozen=True)
class Pixels:
    """uint8 images -> the network's input, float32, as `DataConfig.pixels` says."""

    mean: Tensor | None = None
    """Per channel, of the training images, pixels in [0, 1]; None: intensities, not normalised."""
    std: Tensor | None = None

    def __call__(self, images: Tensor) -> Tensor:
        if self.mean is None or self.std is None:
            return intensity(images)
        return normalise(images, self.mean, self.std)

    @functools.cached_property
    def span(self) -> tuple[float, float]:
        """The smallest and the largest input that it gives."""
        if self.mean is None or self.std is None:
            return 0.0, 1.0
        return float((-self.mean / self.std).min()), float(((1 - self.mean) / self.std).max())

    def to(self, device: torch.device) -> Self:
        if self.mean is None or self.std is None:
            return self
        return replace(self, mean=self.mean.to(device), std=self.std.to(device))

    def plain(self) -> dict[str, Any]:
        """As JSON holds it; `scaling_from_plain` is the inverse."""
        if self.mean is None or self.std is None:
            return {"mean": None, "std": None}
        return {"mean": self.mean.tolist(), "std": self.std.tolist()}


@dataclass(frozen=True)
class Counts:
    """Event frames -> the network's input, float32: the counts themselves (Section 3.4), times a constant.

    With n a count times the constant: "counts" is n; "log" is log(1 + n), whose inverse is exp(x) - 1; "binary" is 1
    where n > 0, else 0, which is the count itself where no pixel has more than one event in a step. Frames of real
    numbers are as they are.
    """

    scale: float = 1.0
    """1, or 1 / area where a frame's pixel shows the mean of an area, see `sresnet.data.events.frames.input_scale`."""
    shown: Shown = "counts"
    """What is shown of a count."""

    def __call__(self, frames: Tensor) -> Tensor:
        if self.shown == "binary":
            return (frames > 0).to(torch.float32)
        x = frames.to(torch.float32)
        x = x if self.scale == 1 else x * self.scale
        return x.log1p() if self.shown == "log" else x

    def to(self, device: torch.device) -> Self:
        return self

    def plain(self) -> dict[str, Any]:
        """As JSON holds it; `scaling_from_plain` is the inverse."""
        return {"scale": self.scale} | ({} if self.shown == "counts" else {"shown": self.shown})


def scaling_from_plain(values: dict[str, Any]) -> Scaling:
    """The inverse of `Pixels.plain` and `Counts.plain`."""
    if "scale" in values:
        return Counts(values["scale"], values.get("shown", "counts"))
    if values["mean"] is None:
        return Pixels()
    mean, std = (torch.tensor(values[name], dtype=torch.float32, device="cpu") for name in ("mean", "std"))
    return Pixels(mean, std)


CIFAR10_STATISTICS = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
"""Mean and deviation per channel that the released code uses for CIFAR-10, and by mistake for CIFAR-100."""


def make_scaling(config: AnyData, train: Samples, *, released_code: bool = False) -> Scaling:
    """The scaling for a data set: from the statistics of its training images (Section 3.4), or counts as they are."""
    if isinstance(config, EventConfig):
        if not isinstance(train, FrameSet | ClipSet):
            raise UserError(f"data {config.name!r} is of clips, and the samples are pictures: use DataConfig(...)")
        return Counts(train.scale, config.frames.shown)
    if not isinstance(train, ImageSet | PictureSet):
        raise UserError(
            f"data {config.name!r} is of pictures, and the samples are clips: use EventConfig(name='dataset', "
            "split='given')"
        )
    if config.pixels == "intensity":
        return Pixels()
    if released_code and config.name in ("cifar10", "cifar100"):
        mean, std = map(torch.tensor, CIFAR10_STATISTICS)
        return Pixels(mean, std)
    return Pixels(*channel_statistics(train.counts()))
