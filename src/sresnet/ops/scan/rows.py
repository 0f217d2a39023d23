"""The memory layout of the scan: rows [T, N, H, W, C], channels last. Outside they are seen as [T, N, C, H, W]."""

import torch
from torch import Tensor


def is_rows(x: Tensor) -> bool:
    """The memory of x [..., C, H, W] is rows [..., H, W, C]."""
    return x.movedim(-3, -1).is_contiguous()


def _rows(x: Tensor) -> Tensor:
    """X [..., C, H, W] as contiguous rows [..., H, W, C]: a view where it is laid out so, else a copy."""
    return x.movedim(-3, -1).contiguous()


def as_rows(x: Tensor, dtype: torch.dtype) -> Tensor:
    """X in this dtype and with channels last in memory; x itself where it is so already."""
    x = x.to(dtype)
    return x if is_rows(x) else _rows(x).movedim(-1, -3)


def in_rows(*streams: Tensor | None) -> list[Tensor | None]:
    """Each with channels last in memory; the caller must hold them while a kernel runs."""
    return [stream if stream is None else as_rows(stream, stream.dtype) for stream in streams]


def empty_rows(x: Tensor, *before: int, dtype: torch.dtype | None = None) -> Tensor:
    """Uninitialised [*before, C, H, W] with channels last in memory."""
    channels, height, width = x.shape[-3:]
    return x.new_empty((*before, height, width, channels), dtype=dtype).movedim(-1, -3)
