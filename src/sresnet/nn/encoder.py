"""Image -> input of the first layer at every time step (Section 3.4). Part of the network, not of the data."""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

EncoderKind = Literal["direct", "poisson", "poisson-signed"]


def direct(x: Float[Tensor, "N C H W"], num_steps: int) -> Float[Tensor, "T N C H W"]:
    """The image itself at every step: [N, C, H, W] -> [T, N, C, H, W], a view that takes no memory."""
    return x.expand(num_steps, *x.shape)


def poisson(x: Float[Tensor, "N C H W"], num_steps: int) -> Float[Tensor, "T N C H W"]:
    """A spike with probability x at every step: intensities [N, C, H, W] in [0, 1] -> 0 or 1, [T, N, C, H, W].

    Intensities outside [0, 1] act as the nearest end, so images must not be normalised to zero mean.
    """
    return torch.stack([(torch.rand_like(x) < x).to(x.dtype) for _ in range(num_steps)])


def poisson_signed(x: Float[Tensor, "N C H W"], num_steps: int) -> Float[Tensor, "T N C H W"]:
    """sign(x) with probability |x| / 2 at every step: normalised images [N, C, H, W] -> -1, 0 or 1, [T, N, C, H, W].

    The generator of the released code and of Kim & Panda 2021.
    """
    return torch.stack([torch.where(2 * torch.rand_like(x) <= x.abs(), x.sign(), 0) for _ in range(num_steps)])


ENCODERS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "direct": direct,
    "poisson": poisson,
    "poisson-signed": poisson_signed,
}
