"""Random changes to batches of images, and their scaling: pure functions of a batch and a generator.

The usual recipe for CIFAR is `random_flip`, `random_crop` with padding 4, then `normalise`. Each image draws its own
random numbers, in one vectorised draw; the same generator state gives the same result on every device. In the place of
a generator may stand the numbers that it would draw, see `Source`.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from sresnet.processes import Part


class Rows(NamedTuple):
    """Any images of a batch, for all of which random numbers are drawn."""

    numbers: Tensor
    """Places in the batch, int64 [N]."""
    whole: int
    """Images of the batch."""

    def of(self, drawn: Tensor) -> Tensor:
        """What was drawn for these, of what was drawn for all, [whole, ...]."""
        return drawn[self.numbers.to(drawn.device)]


class ForPart(NamedTuple):
    """Draws for all images of a batch, and gives those of the part that is here."""

    generator: torch.Generator
    part: Part | Rows


Source = torch.Generator | ForPart | Iterator[Tensor]
"""What draws, or float32 [N] of what was drawn before, in its order, on the device of the images."""


def random_flip(x: Tensor, generator: Source) -> Tensor:
    """Mirror each image left to right with probability 1/2: [N, C, H, W] -> the same shape and type."""
    flipped = uniform(len(x), generator, x) < 0.5
    return torch.where(flipped[:, None, None, None], x.flip(-1), x)


def random_crop(x: Tensor, padding: int, generator: Source) -> Tensor:
    """Shift each image by up to `padding` pixels each way: [N, C, H, W] -> the same shape and type.

    The image gets a border of zeros and a random window of its own size is cut out (He et al. 2016, section 4.2). Zero
    is black before `normalise`, where torchvision's RandomCrop(padding=4) pads too; after it, it would be the mean.

    The `generator` draws two offsets for each image.
    """
    count, _, height, width = x.shape
    top, left = (integers(count, 2 * padding + 1, generator, x) for _ in range(2))
    rows = top[:, None] + torch.arange(height, device=x.device)
    columns = left[:, None] + torch.arange(width, device=x.device)
    return gathered(functional.pad(x, (padding,) * 4), rows, columns)


def random_roll(x: Tensor, shift: int, generator: Source) -> Tensor:
    """As `random_crop` by up to `shift` pixels, but what leaves at one edge enters at the other."""
    count, _, height, width = x.shape
    down, right = (integers(count, 2 * shift + 1, generator, x) - shift for _ in range(2))
    rows = (torch.arange(height, device=x.device) + down[:, None]) % height
    columns = (torch.arange(width, device=x.device) + right[:, None]) % width
    return gathered(x, rows, columns)


def random_erase(x: Tensor, probability: float, generator: Source, fill: Literal["mean", "zero"] = "mean") -> Tensor:
    """Cover a square of half the shorter side with the image's own mean: [N, C, H, W] -> the same shape and type.

    Cutout (DeVries and Taylor 2017): the centre is anywhere in the image, so the square may reach over the edge. The
    paper fills with the mean of the data set; the mean of each image and channel needs no constants and is the same
    before and after `normalise`.

    Each image is erased with a `probability`. Event frames are filled with "zero": no events.
    """
    count, _, height, width = x.shape
    side = min(height, width) // 2
    chosen = uniform(count, generator, x) < probability
    top = integers(count, height, generator, x) - side // 2
    left = integers(count, width, generator, x) - side // 2
    rows = torch.arange(height, device=x.device) - top[:, None]
    columns = torch.arange(width, device=x.device) - left[:, None]
    inside_rows = (rows >= 0) & (rows < side) & chosen[:, None]
    inside_columns = (columns >= 0) & (columns < side)
    inside = inside_rows[:, None, :, None] & inside_columns[:, None, None, :]
    if fill == "zero":
        return x.masked_fill(inside, 0)
    mean = x.mean((2, 3), keepdim=True, dtype=None if x.is_floating_point() else torch.float32)
    return torch.where(inside, mean if x.is_floating_point() else mean.round().to(x.dtype), x)


SHRUNK = 3 / 4
"""Height and width of `shrunk` images, in parts of what they were."""


def shrunk(x: Tensor) -> Tensor:
    """Images at three quarters of their height and width: float [N, C, H, W] -> [N, C, 3H/4, 3W/4], rounded.

    Bilinear, with a filter as wide as the step, so that fine patterns fade instead of turning into coarse ones.
    """
    size = [max(1, round(SHRUNK * side)) for side in x.shape[-2:]]
    return functional.interpolate(x, size=size, mode="bilinear", antialias=True)


def normalise(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(x / 255 - mean) / std for each channel: uint8 [N, C, H, W] -> float32 of the same shape.

    Mean and std [C] are of pixels from 0 to 1, see `channel_statistics`.
    """
    mean, std = (each.to(x.device, torch.float32, non_blocking=True) for each in (mean, std))
    return x.to(torch.float32) * (1 / (255 * std))[:, None, None] - (mean / std)[:, None, None]


def intensity(x: Tensor) -> Tensor:
    """Pixels / 255, the rate of a Poisson code: uint8 [N, C, H, W] -> float32 of the same shape, 0 to 1."""
    return x.to(torch.float32) / 255


def value_counts(images: Tensor) -> Tensor:
    """How often each of the 256 values occurs in each channel: uint8 [N, C, H, W] -> int64 [C, 256], on the CPU."""
    channels = range(images.shape[1])
    return torch.stack([torch.bincount(images[:, each].flatten(), minlength=256).cpu() for each in channels])


def channel_statistics(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel: `value_counts` -> two float32 [C], pixels scaled to 0 to 1.

    Over all N * H * W pixels (divided by their number, not one less), from exact counts of the 256 values, so the order
    of the images does not matter. A channel with one value everywhere has std 1: `normalise` then gives 0, not 0 / 0.
    """
    values = torch.arange(256, dtype=torch.float64, device="cpu") / 255
    means, stds = [], []
    for row in counts:
        share = row.double() / row.sum()
        mean = (share * values).sum()
        means.append(mean)
        constant = int((row > 0).sum()) == 1
        stds.append(torch.ones_like(mean) if constant else (share * (values - mean) ** 2).sum().sqrt())
    return torch.stack(means).float(), torch.stack(stds).float()


def moved(
    x: Tensor, matrix: Sequence[Sequence[Tensor | float]], shift: tuple[Tensor | float, Tensor | float] = (0, 0)
) -> Tensor:
    """The pixel at p from the middle is the old one nearest to matrix p + shift, or 0 where that is outside.

    The elements of the 2x2 matrix and of the shift, in x and y, are numbers or tensors [N], in pixels.
    """
    count, _, height, width = x.shape

    def column(value: Tensor | float) -> Tensor:
        return torch.as_tensor(value, dtype=torch.float64, device=x.device).expand(count)[:, None, None]

    across = torch.arange(width, dtype=torch.float64, device=x.device) - (width - 1) / 2
    down = torch.arange(height, dtype=torch.float64, device=x.device)[:, None] - (height - 1) / 2
    (a, b), (c, d) = matrix
    columns = (column(a) * across + column(b) * down + column(shift[0]) + (width - 1) / 2).round().long()
    rows = (column(c) * across + column(d) * down + column(shift[1]) + (height - 1) / 2).round().long()
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    index = (rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)).flatten(1)[:, None]
    found = x.flatten(2).gather(2, index.expand(-1, x.shape[1], -1)).view_as(x)
    return found * inside[:, None]


def gathered(planes: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The pixels of [N, C, H, W] in these rows [N, h] and columns [N, w] of each image: [N, C, h, w]."""
    # One gather from the flattened planes: the index of each pixel of the window, the same for every channel.
    channels, width = planes.shape[1], planes.shape[3]
    index = (rows[:, :, None] * width + columns[:, None, :]).flatten(1).unsqueeze(1)
    return planes.flatten(2).gather(2, index.expand(-1, channels, -1)).unflatten(2, (rows.shape[1], columns.shape[1]))


def uniform(count: int, source: Source, like: Tensor) -> Tensor:
    """Numbers in [0, 1) for `count` images, or for the part of them that is here, on the device of `like`."""
    # Drawn where the generator lives, so that a CPU generator gives the same images on any device. An accelerator gets
    # the numbers without being waited for.
    if isinstance(source, ForPart):
        return source.part.of(uniform(source.part.whole, source.generator, like))
    if not isinstance(source, torch.Generator):
        return next(source)
    return torch.rand(count, generator=source, device=source.device).to(like.device, non_blocking=True)


def integers(count: int, end: int, source: Source, like: Tensor) -> Tensor:
    """Whole numbers from 0 to below `end`, int64, otherwise as `uniform`."""
    if isinstance(source, ForPart):
        return source.part.of(integers(source.part.whole, end, source.generator, like))
    if not isinstance(source, torch.Generator):
        return next(source).long()
    return torch.randint(end, (count,), generator=source, device=source.device).to(like.device, non_blocking=True)


def draws(count: int, ends: Sequence[int], generator: torch.Generator) -> Tensor:
    """What the functions above draw for a batch, as `Source` has it: float32 [draws, count].

    Args:
        ends: of each draw in their order: integers below it, or 0 for numbers in [0, 1).
    """
    rows = [
        torch.randint(end, (count,), generator=generator) if end else torch.rand(count, generator=generator)
        for end in ends
    ]
    return torch.stack([row.float() for row in rows]) if rows else torch.empty(0, count)
