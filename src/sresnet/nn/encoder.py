"""Image -> input of the first layer at every time step (Section 3.4). Part of the network, not of the data."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from sresnet.errors import UserError
from sresnet.processes import Part

EncoderKind = Literal["direct", "poisson", "poisson-signed", "first-step", "latency", "delta", "two-spikes"]


def direct(x: Float[Tensor, "N C H W"], num_steps: int) -> Float[Tensor, "T N C H W"]:
    """The image itself at every step: [N, C, H, W] -> [T, N, C, H, W], a view that takes no memory."""
    return x.expand(num_steps, *x.shape)


def poisson(x: Float[Tensor, "N C H W"], num_steps: int, part: Part | None = None) -> Float[Tensor, "T N C H W"]:
    """A spike with probability x at every step: intensities [N, C, H, W] in [0, 1] -> 0 or 1, [T, N, C, H, W].

    Intensities outside [0, 1] act as the nearest end, so images must not be normalised to zero mean.

    Args:
        part: which images of a batch x is; None: all.
    """
    return torch.stack([(_uniform(x, part) < x).to(x.dtype) for _ in range(num_steps)])


def poisson_signed(
    x: Float[Tensor, "N C H W"], num_steps: int, scale: float = 2.0, part: Part | None = None
) -> Float[Tensor, "T N C H W"]:
    """sign(x) with probability |x| / scale at every step: normalised images [N, C, H, W] -> -1, 0, 1, [T, N, C, H, W].

    The generator of the released code and of Kim & Panda 2021; with scale 1 that of Lee et al. 2020. `part` as there.
    """
    return torch.stack([torch.where(scale * _uniform(x, part) <= x.abs(), x.sign(), 0) for _ in range(num_steps)])


def like_all(x: Float[Tensor, "N *map"], part: Part) -> Float[Tensor, "all *map"]:
    """Memory for all images of a batch of which x is a part, in the order that x has: draws fill it in that order."""
    strides = torch.empty_like(x).stride()
    return x.new_empty_strided((part.whole, *x.shape[1:]), (x[0].numel(), *strides[1:]))


def _uniform(x: Float[Tensor, "N C H W"], part: Part | None) -> Float[Tensor, "N C H W"]:
    """Random numbers from 0 to 1 for each value of x; those of a part of a batch are as if drawn with the others."""
    return torch.rand_like(x) if part is None else part.of(like_all(x, part).uniform_())


def first_step(x: Float[Tensor, "N C H W"], num_steps: int, first: int = 0) -> Float[Tensor, "T N C H W"]:
    """The image at the first step and nothing after it (Wu et al. 2021): [N, C, H, W] -> [T, N, C, H, W].

    Args:
        first: index of the first of these steps.
    """
    steps = torch.zeros_like(x).repeat(num_steps, 1, 1, 1, 1)
    if first == 0:
        steps[0] = x
    return steps


def latency(x: Float[Tensor, "N C H W"], num_steps: int, first: int = 0, total: int = 0) -> Float[Tensor, "T N C H W"]:
    """One spike a pixel, the earlier the brighter: intensities [N, C, H, W] in [0, 1] -> 0 or 1, [T, N, C, H, W].

    The spike comes at step round((1 - x) (total - 1)), counted from 0; a pixel of 0 or less sends none.

    Args:
        first: index of the first of these steps.
        total: time steps of the code; 0: these.
    """
    when = ((1 - x.clamp(0, 1)) * ((total or num_steps) - 1)).round()
    return torch.stack([((when == step) & (x > 0)).to(x.dtype) for step in range(first, first + num_steps)])


def delta(
    frames: Float[Tensor, "T N C H W"], threshold: float, before: Float[Tensor, "N C H W"] | None = None
) -> Float[Tensor, "T N C H W"]:
    """A signed spike where a pixel has changed by `threshold` or more since the step before: -1, 0 or 1.

    Args:
        frames: [T, N, C, H, W]; of an image that stays, only the first step sends spikes.
        before: the frame before them; None is 0 everywhere.
    """
    first = torch.zeros_like(frames[:1]) if before is None else before[None]
    change = frames - torch.cat([first, frames[:-1]])
    return torch.where(change.abs() >= threshold, change.sign(), 0)


def two_spikes(x: Float[Tensor, "N C H W"], num_steps: int) -> Float[Tensor, "T N C H W"]:
    """Two spikes a pixel, further apart the larger it is: [N, C, H, W] in [-1, 1] -> -1, 0 or 1, [T, N, C, H, W].

        sign(x) at step 1,  -sign(x) at step p = floor(|x| (T - 1)) + 1,  none where p < 2

    The temporal-switch coding of Han & Roy 2020, as a survey has it. Values outside [-1, 1] act as the nearest end; NaN
    sends none, as in the other codes.
    """
    size = x.nan_to_num(nan=0).abs().clamp(max=1)
    after = (size * (num_steps - 1)).floor()  # steps from the first spike to the second
    steps = torch.zeros_like(x).repeat(num_steps, 1, 1, 1, 1)
    steps[0] = torch.where(after > 0, x.sign(), 0)
    return steps.scatter_add(0, after.long()[None], torch.where(after > 0, -x.sign(), 0)[None])


def switched(x: Float[Tensor, "N C H W"], num_steps: int, first: int = 0, total: int = 0) -> Float[Tensor, "T N C H W"]:
    """What synapses that the first of `two_spikes` switches on, and the second off, make of a pixel: their sum so far.

    So a pixel drives the first layer for floor(|x| (T - 1)) of T steps; arguments as `latency`.
    """
    return two_spikes(x, total or num_steps).cumsum(0)[first : first + num_steps]


def encode(
    kind: EncoderKind,
    x: Float[Tensor, "N C H W"],
    num_steps: int,
    *,
    first: int,
    total: int,
    poisson_scale: float,
    delta_threshold: float = 0.1,
    part: Part | None = None,
) -> Float[Tensor, "T N C H W"]:
    """Images [N, C, H, W] as the `num_steps` steps from `first` on of `total`, [T, N, C, H, W], by the encoder `kind`.

    Args:
        poisson_scale: of "poisson-signed", see `poisson_signed`.
        delta_threshold: of "delta", see `delta`.
        part: of "poisson" and "poisson-signed", see `poisson`.

    Raises:
        UserError: more steps than those in which "two-spikes" sends an image.
    """
    if kind == "two-spikes" and first + num_steps > total:
        raise UserError(
            f"num_steps {first + num_steps} is more than the {total} in which encoder 'two-spikes' sends an image: "
            "train or convert for more, or ask for at most that"
        )
    if kind == "direct":
        return direct(x, num_steps)
    if kind == "poisson":
        return poisson(x, num_steps, part)
    if kind == "poisson-signed":
        return poisson_signed(x, num_steps, poisson_scale, part)
    if kind == "first-step":
        return first_step(x, num_steps, first)
    if kind == "delta":
        return delta(direct(x, num_steps), delta_threshold, x if first else None)
    if kind == "two-spikes":
        return switched(x, num_steps, first, total)
    return latency(x, num_steps, first, total)
