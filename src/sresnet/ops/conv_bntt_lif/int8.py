"""Convolutions of whole numbers with weights of eight bits, for inference."""

from typing import NamedTuple

import torch
from torch import Tensor

from sresnet.errors import UserError

LARGEST = 127
"""What may come in: processors without VNNI add two products in sixteen bits, which hold no more."""


class Int8Weight(NamedTuple):
    """A convolution's weight in eight bits, w = scale * integer with one scale for each output channel."""

    prepared: Tensor
    """As oneDNN wants it; only its operators can read it."""
    scale: Tensor
    """float32 [C]."""


def round_weight(weight: Tensor, *, largest: int = 127) -> tuple[Tensor, Tensor]:
    """(integers int8 [C, ...], scale [C]) of a weight [C, ...]: the largest of an output channel is `largest`."""
    scale = weight.abs().flatten(1).amax(1).clamp(min=torch.finfo(torch.float32).tiny) / largest
    return (weight / scale.view(-1, *[1] * (weight.ndim - 1))).round().to(torch.int8), scale


def prepare(weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Int8Weight:
    """Round a float32 weight [C, C_in, height, width] and lay it out for `convolve_int8` with this stride.

    Raises:
        UserError: a weight of another dtype, or not on a CPU.
    """
    if weight.dtype != torch.float32 or weight.device.type != "cpu":
        raise UserError(
            f"an 8-bit network is for float32 on the CPU, and its weight is {weight.dtype} on {weight.device}: "
            "make it from a float32 network there, and do not move or cast it"
        )
    integers, scale = round_weight(weight.detach())
    prepared = torch.ops.onednn.qconv_prepack(integers, scale, 1.0, 0, stride, padding, (1, 1), 1, None)
    return Int8Weight(prepared, scale)


def convolve_int8(x: Tensor, weight: Int8Weight, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
    """Convolution of whole numbers x, uint8 [N, C_in, H, W], summed exactly: float32 [N, C, H, W], channels last.

    Up to LARGEST in x.
    """
    x_scale, x_zero = 1.0, 0
    zeros = torch.zeros_like(weight.scale, dtype=torch.int64)
    geometry = (stride, padding, (1, 1), 1)
    output = (1.0, 0, torch.float32)
    return torch.ops.onednn.qconv2d_pointwise(
        x, x_scale, x_zero, weight.prepared, weight.scale, zeros, None, *geometry, *output, "none", [], ""
    )
