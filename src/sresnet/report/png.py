"""Pictures inside the page: PNG files in a few lines, as data addresses."""

import base64
import struct
import zlib

import torch
from torch import Tensor

from sresnet.report.palette import COLOURS, rgb


def _png(pixels: Tensor) -> bytes:
    """A PNG file of a picture, uint8 [H, W, 3]; eight bits per channel, no filter (PNG specification, 3rd edition)."""
    height, width, _ = pixels.shape
    # Each row starts with the number of its filter, 0.
    rows = torch.cat([pixels.new_zeros(height, 1), pixels.reshape(height, width * 3)], dim=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.contiguous().numpy().tobytes(), 9)), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def data_address(pixels: Tensor) -> str:
    """What an <img> takes as its source."""
    return f"data:image/png;base64,{base64.b64encode(_png(pixels)).decode()}"


def picture_of(sample: Tensor) -> Tensor:
    """What a network was shown, as a picture uint8 [H, W, 3].

    Args:
        sample: an image uint8 [C, H, W], grey unless C is 3; or a clip of event frames uint8 [T, 2, H, W], which
            becomes its sum over time, ON less OFF events: ON towards orange, OFF towards blue, none white.
    """
    if sample.ndim == 4:
        return _signed_colours(sample.float().sum(0))
    if len(sample) == 3:
        return sample.permute(1, 2, 0)
    grey = sample.float().mean(0).round().to(torch.uint8)
    return grey[:, :, None].expand(-1, -1, 3)


ON, OFF = rgb(COLOURS["s2"][0]), rgb(COLOURS["s1"][0])
"""Red, green, blue of the most events of each kind: orange and blue."""


def _signed_colours(events: Tensor) -> Tensor:
    """Counts of OFF and ON events, float [2, H, W], as colours uint8 [H, W, 3]."""
    difference = events[1] - events[0]
    share = (difference / difference.abs().max().clamp(min=1))[:, :, None]
    strength = share.abs().sqrt()  # so that a single event is seen beside many
    full = torch.where(share > 0, torch.tensor(ON).float(), torch.tensor(OFF).float())
    return (255 + (full - 255) * strength).round().to(torch.uint8)
