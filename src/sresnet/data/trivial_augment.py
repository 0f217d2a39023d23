"""TrivialAugment (Müller and Hutter 2021, the wide ranges): one change per image, drawn anew, with nothing to tune.

Each image gets one of fourteen changes, each as likely as another, at one of 31 strengths from 0 to the largest, with a
random sign where the change has one:

    identity
    shear_x, shear_y            up to 0.99 pixels per pixel
    translate_x, translate_y    up to 32 pixels
    rotate                      up to 135 degrees
    brightness, contrast, colour, sharpness    a factor from 1 - 0.99 to 1 + 0.99
    posterise                   from 8 down to 2 bits
    solarise                    pixels from a threshold on are inverted: from 256, which no pixel reaches, down to 0
    auto_contrast, equalise     have no strength

What comes into the image from outside is 0. Every change is a function of a batch uint8 [N, C, H, W] and `amount`,
float [N] from -1 to 1, the strength as a part of the largest; amount 0 changes nothing.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from sresnet.data.transforms import ForPart, moved
from sresnet.processes import Part

STRENGTHS = 31
"""Levels of strength, 0 to 30."""
GREY = (0.299, 0.587, 0.114)
"""How bright red, green and blue are (ITU-R BT.601)."""


def trivial_augment(x: Tensor, source: torch.Generator | ForPart) -> Tensor:
    """One random change for each image: uint8 [N, C, H, W] -> the same shape and type; three draws of N numbers."""
    generator, part = source if isinstance(source, ForPart) else (source, Part(0, len(x), len(x)))

    def integers(end: int) -> Tensor:
        # Drawn where the generator lives, so that a CPU generator gives the same images on any device.
        return part.of(torch.randint(end, (part.whole,), generator=generator, device=generator.device))

    change, strength, sign = integers(len(CHANGES)), integers(STRENGTHS), integers(2)
    amount = (strength / (STRENGTHS - 1) * (1 - 2 * sign)).to(x.device, non_blocking=True)
    out = x.clone()
    for number, function in enumerate(CHANGES.values()):
        chosen = (change == number).nonzero().squeeze(1)
        if len(chosen):
            chosen = chosen.to(x.device, non_blocking=True)
            out[chosen] = function(x[chosen], amount[chosen])
    return out


def _identity(x: Tensor, amount: Tensor) -> Tensor:
    """The images as they are."""
    return x


# Moves


def _shear_x(x: Tensor, amount: Tensor) -> Tensor:
    """Rows slide sideways, by up to 0.99 pixels per row away from the middle."""
    return moved(x, [[1.0, 0.99 * amount], [0.0, 1.0]])


def _shear_y(x: Tensor, amount: Tensor) -> Tensor:
    """Columns slide up and down, by up to 0.99 pixels per column away from the middle."""
    return moved(x, [[1.0, 0.0], [0.99 * amount, 1.0]])


def _translate_x(x: Tensor, amount: Tensor) -> Tensor:
    """The image moves sideways by up to 32 pixels."""
    return moved(x, [[1.0, 0.0], [0.0, 1.0]], shift=(32 * amount, 0.0))


def _translate_y(x: Tensor, amount: Tensor) -> Tensor:
    """The image moves up or down by up to 32 pixels."""
    return moved(x, [[1.0, 0.0], [0.0, 1.0]], shift=(0.0, 32 * amount))


def _rotate(x: Tensor, amount: Tensor) -> Tensor:
    """The image turns about its middle, by up to 135 degrees."""
    angle = amount.double() * math.radians(135)
    return moved(x, [[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])


# Colours


def _brightness(x: Tensor, amount: Tensor) -> Tensor:
    """Towards black, or away from it."""
    return _blended(x, torch.zeros_like(x, dtype=torch.float32), amount)


def _contrast(x: Tensor, amount: Tensor) -> Tensor:
    """Towards the mean grey of the image, or away from it."""
    return _blended(x, _grey(x).mean((2, 3), keepdim=True).round(), amount)


def _colour(x: Tensor, amount: Tensor) -> Tensor:
    """Towards shades of grey, or away from them; an image without colours stays."""
    return _blended(x, _grey(x), amount) if x.shape[1] == len(GREY) else x


def _sharpness(x: Tensor, amount: Tensor) -> Tensor:
    """Towards the mean of 3x3 pixels, the middle one five times, or away from it; the border stays."""
    kernel = torch.ones(3, 3, device=x.device)
    kernel[1, 1] = 5
    smooth = x.float()
    if min(x.shape[-2:]) > 2:
        weight = (kernel / kernel.sum()).expand(x.shape[1], 1, 3, 3)
        smooth[..., 1:-1, 1:-1] = F.conv2d(x.float(), weight, groups=x.shape[1])
    return _blended(x, smooth.round(), amount)


def _grey(x: Tensor) -> Tensor:
    """How bright each pixel is, float32 [N, 1, H, W]."""
    if x.shape[1] != len(GREY):
        return x.float().mean(1, keepdim=True)
    weights = torch.tensor(GREY, device=x.device)[:, None, None]
    return (x.float() * weights).sum(1, keepdim=True).round()


def _blended(x: Tensor, other: Tensor, amount: Tensor) -> Tensor:
    """The sum other + factor (x - other), with factor = 1 + 0.99 amount, rounded and kept in 0 to 255."""
    factor = (1 + 0.99 * amount.to(x.device, torch.float32))[:, None, None, None]
    return (other + factor * (x.float() - other)).round().clamp(0, 255).to(torch.uint8)


# Values


def _posterise(x: Tensor, amount: Tensor) -> Tensor:
    """Only the highest bits of each pixel, 8 down to 2."""
    dropped = (6 * amount.abs()).round().to(torch.int32)
    step = (2**dropped).to(x.device)[:, None, None, None]
    return (x.to(torch.int32) // step * step).to(torch.uint8)


def _solarise(x: Tensor, amount: Tensor) -> Tensor:
    """Pixels that are at least as bright as a threshold are inverted; it falls from 256 to 0."""
    threshold = (256 * (1 - amount.abs())).to(x.device)[:, None, None, None]
    return torch.where(x >= threshold, 255 - x, x)


def _auto_contrast(x: Tensor, amount: Tensor) -> Tensor:
    """Each channel is stretched so that its darkest pixel is 0 and its brightest 255; a constant channel stays."""
    low, high = x.amin((2, 3), keepdim=True).float(), x.amax((2, 3), keepdim=True).float()
    stretched = ((x.float() - low) * (255 / (high - low).clamp(min=1))).round().to(torch.uint8)
    return torch.where(high > low, stretched, x)


def _equalise(x: Tensor, amount: Tensor) -> Tensor:
    """Each channel's values are spread so that each part of 0 to 255 has as many pixels; a constant channel stays.

    A value becomes 255 (pixels below it) / (pixels below the brightest value), rounded, so that the darkest becomes 0
    and the brightest 255.
    """
    planes = x.flatten(0, 1).flatten(1).long()
    counts = torch.zeros(len(planes), 256, dtype=torch.long, device=x.device)
    counts.scatter_add_(1, planes, torch.ones_like(planes))
    below = counts.cumsum(1) - counts
    brightest = planes.amax(1, keepdim=True)
    total = below.gather(1, brightest)
    table = (255 * below / total.clamp(min=1)).round().clamp(max=255)
    return torch.where(total > 0, table.gather(1, planes), planes).to(torch.uint8).view_as(x)


CHANGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    function.__name__.removeprefix("_"): function
    for function in (
        _identity,
        _shear_x,
        _shear_y,
        _translate_x,
        _translate_y,
        _rotate,
        _brightness,
        _contrast,
        _colour,
        _sharpness,
        _posterise,
        _solarise,
        _auto_contrast,
        _equalise,
    )
}
"""Name -> change, in the order they are drawn from."""
