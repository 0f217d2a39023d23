"""Random changes of clips of event frames, for training: each draws for each clip, and the same draws do the same.

A clip holds counts, [T, 2, H, W]: so many events at a step, of a polarity, at a pixel. What is done to single events
(thinning, jitter) is done to each of so many, so that what comes out are counts of whole events again. Where within its
step an event was is not known; jitter in time moves it by whole steps.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sresnet.config import check_types
from sresnet.data.transforms import Source, gathered, integers, moved, uniform
from sresnet.errors import UserError

_NDA_ROLL = 5 / 48
"""Furthest roll of NDA in parts of a side: 5 pixels at the 48 of its CIFAR10-DVS."""
_NDA_DEGREES = 30.0
"""Largest angle of its rotation and of its shear."""

_SHARES = 9
"""Of EventDrop: a tenth to nine tenths of the events, or of the time."""
_AREAS = 5
"""A twentieth to five twentieths of each side."""

_COMPONENTS = 3
"""Of the mixture of Gaussians that a mask of EventMix is drawn by."""


@dataclass(frozen=True, kw_only=True)
class ChangeConfig:
    """Random changes of training clips beside flip, shift and cut-out; UserError for a field out of range."""

    polarity: float = 0.0
    """Probability that ON and OFF of a training clip are exchanged."""
    reverse: float = 0.0
    """Probability that a training clip runs backwards; what became brighter then becomes darker, so ON and OFF are
    exchanged too."""
    crop: float = 0.0
    """Smallest side of a random part of the frames that is enlarged to their size, in parts of theirs, such as 0.7; 0:
    no crop."""
    nda: bool = False
    """Roll, rotate, shear or cut out of each training clip, as NDA does (Li et al. 2022)."""
    drop: Literal["none", "any", "events", "time", "area"] = "none"
    """EventDrop (Gu et al. 2021): leave out single events at random, all of a time, or all of an area; any: one of them
    or nothing, as published."""
    space_jitter: float = 0.0
    """Standard deviation in pixels by which each event is moved; what leaves the frame is lost."""
    time_jitter: float = 0.0
    """Standard deviation in time steps by which each event is moved; what leaves the clip is lost."""
    mix: Literal["none", "mixup", "eventmix"] = "none"
    """Each training clip is mixed with another of its batch, and so are their classes. mixup: a weighted sum (Zhang et
    al. 2018); eventmix: the events of a random region of space and time come from the other (Shen et al. 2023)."""
    mix_alpha: float = 1.0
    """The share of each clip is drawn from a beta distribution with this twice: 1: all shares are as likely; less: most
    are near 0 or 1."""

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("polarity", "reverse"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} {getattr(self, name)} is outside [0, 1]: it is a probability")
        if self.crop and not 0.1 <= self.crop <= 1:
            raise UserError(f"crop {self.crop} is outside [0.1, 1]: it is a part of each side, such as 0.7; 0: no crop")
        for name in ("space_jitter", "time_jitter"):
            if not 0 <= getattr(self, name) <= 1000:
                raise UserError(f"{name} {getattr(self, name)} is outside [0, 1000]: it is a standard deviation")
        if not 0.01 <= self.mix_alpha <= 100:
            raise UserError(f"mix_alpha {self.mix_alpha} is outside [0.01, 100]: try 1")

    @property
    def active(self) -> bool:
        """Whether it changes anything."""
        return self != ChangeConfig(mix_alpha=self.mix_alpha)


def change_clips(x: Tensor, config: ChangeConfig, source: Source) -> Tensor:
    """Clips [N, T, 2, H, W] changed at random as `config` says, but not mixed; the same shape and type."""
    if config.crop:
        x = _cropped(x, config.crop, source)
    if config.nda:
        x = _nda(x, source)
    if config.polarity:
        x = torch.where(_chosen(x, config.polarity, source), x.flip(2), x)
    if config.reverse:
        x = torch.where(_chosen(x, config.reverse, source), x.flip(1, 2), x)
    if config.drop != "none":
        x = _dropped(x, config.drop, source)
    if config.space_jitter or config.time_jitter:
        x = _jittered(x, config.space_jitter, config.time_jitter, integers(len(x), 1 << 31, source, x).tolist())
    return x


def _chosen(x: Tensor, probability: float, source: Source) -> Tensor:
    """Which clips are changed, bool [N, 1, 1, 1, 1]."""
    return (uniform(len(x), source, x) < probability)[:, None, None, None, None]


def _cropped(x: Tensor, least: float, source: Source) -> Tensor:
    """A part of each clip's frames, of a share s of each side, s evenly from `least` to 1, anywhere, enlarged to them.

    Pixel r of the enlarged frame shows pixel floor(top + (r + 1/2) s), columns likewise: the nearest one, so that
    counts stay counts.
    """
    height, width = x.shape[-2:]
    share = least + (1 - least) * uniform(len(x), source, x)
    top, left = ((1 - share) * side * uniform(len(x), source, x) for side in (height, width))

    def shown(first: Tensor, side: int) -> Tensor:
        middles = torch.arange(side, device=x.device) + 0.5
        return (first[:, None] + middles * share[:, None]).floor().long().clamp(0, side - 1)

    return gathered(x.flatten(1, 2), shown(top, height), shown(left, width)).view_as(x)


def _nda(x: Tensor, source: Source) -> Tensor:
    """One of four changes of each clip, each as likely: roll, rotation, shear, cut-out.

    A roll of up to 5/48 of each side, in whole pixels, what leaves entering at the other edge; a rotation about the
    middle by up to 30 degrees; a shear of the rows by up to 30 degrees; a square of half the shorter side emptied.
    Nearest pixels, and nothing from outside. Li, Kim, Park, Geller, Panda: Neuromorphic Data Augmentation for Training
    Spiking Neural Networks, ECCV 2022. Roll, rotation and shear have the numbers of their code for CIFAR10-DVS, which
    chooses among these three; the cut-out beside them and the side of its square are ours. The flip that goes with it
    is `--data.flip`.
    """
    count, _, _, height, width = x.shape
    kind = integers(count, 4, source, x)
    first, second = (2 * uniform(count, source, x) - 1 for _ in range(2))
    planes = x.flatten(1, 2)

    def rolled(side: int, by: Tensor) -> Tensor:
        furthest = max(1, round(_NDA_ROLL * side))
        steps = (by * (furthest + 0.5)).round().clamp(-furthest, furthest).long()
        return (torch.arange(side, device=x.device) - steps[:, None]) % side

    angle = first.double() * math.radians(_NDA_DEGREES)
    side = min(height, width) // 2
    rows, columns = torch.arange(height, device=x.device), torch.arange(width, device=x.device)
    top, left = (((by + 1) / 2 * length).floor() - side // 2 for by, length in ((first, height), (second, width)))
    in_rows = (rows >= top[:, None]) & (rows < top[:, None] + side)
    in_columns = (columns >= left[:, None]) & (columns < left[:, None] + side)
    cut = (in_rows[:, :, None] & in_columns[:, None, :])[:, None]
    down, right = rolled(height, first), rolled(width, second)
    changed: tuple[Callable[[Tensor], Tensor], ...] = (
        lambda some: gathered(planes[some], down[some], right[some]),
        lambda some: _turned(planes[some], angle[some]),
        lambda some: moved(planes[some], [[1.0, angle[some].tan()], [0.0, 1.0]]),
        lambda some: planes[some].masked_fill(cut[some], 0),
    )
    out = torch.empty_like(planes)
    for number, change in enumerate(changed):
        some = (kind == number).nonzero().squeeze(1)
        if len(some):
            out[some] = change(some)
    return out.view_as(x)


def _turned(planes: Tensor, angle: Tensor) -> Tensor:
    """Frames turned about their middle: [N, C, H, W] and radians [N]."""
    return moved(planes, [[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])


def _dropped(x: Tensor, drop: str, source: Source) -> Tensor:
    """EventDrop: events left out of each clip, in one of three ways, or in none where `drop` is "any".

    events: each with probability r, r one of 0.1, 0.2, ..., 0.9, so that a count n becomes binomial(n, 1 - r). time:
    all of a part r of the clip's time, anywhere in it; a step is left out if its middle is in that part. Of a clip of
    few steps that would be all of them, and so the first or the last stays, on the side where more time is left. area:
    all of a rectangle of a part s of each side, s one of 0.05, 0.1, ..., 0.25, anywhere within the frame. Of "any" the
    four are as likely. Gu, Sng, Hu, Yu: EventDrop: Data Augmentation for Event-based Learning, IJCAI 2021.
    """
    count, steps, _, height, width = x.shape
    kinds = ("none", "events", "time", "area")
    share = (integers(count, _SHARES, source, x) + 1) / 10
    side = (integers(count, _AREAS, source, x) + 1) / 20
    places = [uniform(count, source, x) for _ in range(2)]
    seeds = integers(count, 1 << 31, source, x)
    kind = integers(count, len(kinds), source, x) if drop == "any" else torch.full_like(seeds, kinds.index(drop))

    def within(length: int, part: Tensor, place: Tensor) -> Tensor:
        middles = (torch.arange(length, device=x.device) + 0.5) / length
        first = ((1 - part) * place)[:, None]
        return (middles >= first) & (middles < first + part[:, None])

    gone_steps = within(steps, share, places[0])
    kept = torch.where(places[0] < 0.5, steps - 1, 0)
    gone_steps[torch.arange(count, device=x.device), kept] &= ~gone_steps.all(1)
    gone_steps &= (kind == 2)[:, None]
    x = x.masked_fill(gone_steps[:, :, None, None, None], 0)
    rows, columns = within(height, side, places[0]), within(width, side, places[1])
    gone = rows[:, :, None] & columns[:, None, :] & (kind == 3)[:, None, None]
    x = x.masked_fill(gone[:, None, None], 0)
    numbers = (kind == 1).nonzero().squeeze(1).tolist()
    for number in numbers:
        x[number] = thinned(x[number], 1 - float(share[number]), int(seeds[number]))
    return x


def thinned(clip: Tensor, keep: float, seed: int) -> Tensor:
    """A clip of which each event stays with probability `keep`: a count n becomes binomial(n, keep)."""
    _check_counts(clip)
    flat = clip.reshape(-1).cpu()
    places = flat.nonzero().squeeze(1)
    generator = torch.Generator().manual_seed(seed)
    counts = flat[places].double()
    left = torch.binomial(counts, torch.full_like(counts, keep), generator=generator)
    out = torch.zeros_like(flat)
    out[places] = left.to(flat.dtype)
    return out.view(clip.shape).to(clip.device)


def _jittered(x: Tensor, space: float, time: float, seeds: Sequence[int]) -> Tensor:
    """Clips [N, T, 2, H, W] of which each event is moved by normal numbers, rounded, in time, row and column.

    Deviations are `space` pixels and `time` steps; a deviation far below 1/2 moves few. What would leave the clip is
    lost; where more events meet at a pixel than the type of `x` counts, the clips become int32.
    """
    _check_counts(x)
    _, steps, _, height, width = x.shape
    flat = x.reshape(-1).cpu()
    places = flat.nonzero().squeeze(1)
    address = places.repeat_interleave(flat[places].long())  # of each event
    of_clip = flat.view(len(x), -1).sum(1).tolist()
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    inside = torch.ones(len(address), dtype=torch.bool, device="cpu")
    found = address.clone()
    axes = ((time, steps, 2 * height * width), (space, height, width), (space, width, 1))
    for deviation, length, stride in axes:
        if deviation:
            drawn = zip(of_clip, generators, strict=True)
            by = torch.cat([torch.randn(events, generator=each, device="cpu") for events, each in drawn])
            by = (by * deviation).round_().long()
            place = address.div(stride, rounding_mode="floor").remainder_(length).add_(by)
            inside &= (place >= 0) & (place < length)
            found += by * stride
    counts = torch.bincount(found[inside], minlength=len(flat))
    kept = x.dtype if not len(counts) or int(counts.max()) <= torch.iinfo(x.dtype).max else torch.int32
    return counts.to(kept).view(x.shape).to(x.device)


def _check_counts(clip: Tensor) -> None:
    """Raise UserError for frames that are no counts of events."""
    if clip.is_floating_point():
        raise UserError("drop and jitter are of single events, and these frames are no counts: choose other changes")


class Mixing(NamedTuple):
    """With which other clip of its batch each clip is mixed, and how."""

    partner: Tensor
    """Place in the batch, int64 [N]."""
    share: Tensor
    """Of the clip itself, float32 [N]."""
    seeds: Tensor
    """Of what else is drawn, int64 [N]."""

    def of(self, first: int, last: int) -> "Mixing":
        """Of a part of the batch."""
        return Mixing(*(each[first:last] for each in self))


def draw_mixing(clips: int, config: ChangeConfig, seed: int) -> Mixing:
    """How the clips of a batch are mixed: a random order of them beside them, shares from Beta(alpha, alpha)."""
    random = np.random.default_rng(seed)
    partner = torch.from_numpy(random.permutation(clips))
    share = torch.from_numpy(random.beta(config.mix_alpha, config.mix_alpha, clips)).float()
    return Mixing(partner=partner, share=share, seeds=torch.from_numpy(random.integers(0, 1 << 62, clips)))


def mix_clips(x: Tensor, others: Tensor, config: ChangeConfig, mixing: Mixing) -> tuple[Tensor, Tensor]:
    """Clips [N, T, 2, H, W] mixed with others, and the share lambda of its own class that each keeps, float32 [N].

    mixup: lambda x + (1 - lambda) x', float32. Zhang, Cisse, Dauphin, Lopez-Paz: mixup, ICLR 2018.

    eventmix: where a mask of steps and pixels says so, the events of x, elsewhere those of x'. The mask is where a
    mixture of three Gaussians in time and space is highest, a drawn share of all places. lambda is the share of the
    mix's events that are of x; without any, that of the places. Shen, Zhao, Zeng: EventMix, Information Sciences 644,
    2023, with labels by numbers of events.
    """
    share = mixing.share.to(x.device)
    if config.mix == "mixup":
        weight = share[:, None, None, None, None]
        return weight * x.float() + (1 - weight) * others.float(), share
    shape = x.shape[1], *x.shape[-2:]
    masks = [_mask(shape, each, seed) for each, seed in zip(mixing.share.tolist(), mixing.seeds.tolist(), strict=True)]
    mask = torch.from_numpy(np.stack(masks)).to(x.device)[:, :, None]
    out = torch.where(mask, x, others)
    events, own = (each.flatten(1).sum(1, dtype=torch.float64) for each in (out, x * mask))
    return out, torch.where(events > 0, own / events.clamp(min=1e-12), share.double()).float()


def _mask(shape: tuple[int, int, int], share: float, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Where a mixture of Gaussians over [0, 1]^3 is highest: bool [T, H, W], True at round(share * places) of them.

    Means are even in the cube, standard deviations in each direction even from 0.1 to 0.5, weights even.
    """
    random = np.random.default_rng(seed)
    axes = [(np.arange(length, dtype=np.float32) + 0.5) / length for length in shape]
    height = np.zeros(shape, np.float32)
    for _ in range(_COMPONENTS):
        means, deviations, weight = random.random(3), random.uniform(0.1, 0.5, 3), random.random()
        of_axes = zip(axes, means.tolist(), deviations.tolist(), strict=True)
        along, down, across = (np.exp(-(((axis - mean) / each) ** 2) / 2) / each for axis, mean, each in of_axes)
        height += weight * (along[:, None, None] * (down[:, None] * across))
    places = round(share * height.size)
    mask = np.zeros(height.size, np.bool_)
    if places:
        mask[np.argpartition(-height, places - 1, axis=None)[:places]] = True
    return mask.reshape(shape)


def soft_labels(labels: Tensor, others: Tensor, share: Tensor, classes: int) -> Tensor:
    """Share lambda of each clip's class and 1 - lambda of its partner's: float32 [N, classes], rows add up to 1."""
    own, other = (torch.nn.functional.one_hot(each, classes).float() for each in (labels, others))
    return share[:, None] * own + (1 - share[:, None]) * other
