"""The memory layout of the scan: rows [T, N, H, W, C], channels last. Outside they are seen as [T, N, C, H, W]."""

from collections.abc import Sequence

import torch
from torch import Tensor


def is_rows(x: Tensor) -> bool:
    """The memory of x [..., C, H, W] is rows [..., H, W, C]."""
    return x.movedim(-3, -1).is_contiguous()


def as_rows(x: Tensor, dtype: torch.dtype) -> Tensor:
    """X in this dtype and with channels last in memory; x itself where it is so already."""
    if x.dtype == dtype and is_rows(x):
        return x
    return x.to(dtype).movedim(-3, -1).contiguous().movedim(-1, -3)


def in_rows(*streams: Tensor | None) -> list[Tensor | None]:
    """Each with channels last in memory; the caller must hold them while a kernel runs."""
    return [stream if stream is None else as_rows(stream, stream.dtype) for stream in streams]


def empty_rows(like: Tensor, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
    """Uninitialised [..., C, H, W] of this shape, with channels last in memory; else `like` that, but for a dtype."""
    *before, channels, height, width = shape
    # Not a view of something else: autograd adds up gradients in place only in memory that nothing else refers to.
    stride = [1, width * channels, channels]
    step = height * width * channels
    for size in reversed(before):
        stride.insert(0, step)
        step *= size
    return like.new_empty_strided(shape, stride, dtype=dtype)
