"""Pictures of more than 8 bits for each channel: their values, which Pillow cuts, and how many of their bits count."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

DEPTHS = (8, 10, 12, 14, 16)
"""Bits that cameras and scanners have; files hold 16 for each channel, whatever they have."""

_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_OTHER_BYTE = {
    f"{mode};16{order}": f"{mode};16{other}"
    for mode in ("RGB", "RGBA", "RGBX")
    for order, other in _OTHER_ORDER.items()
}
"""How Pillow reads the upper bytes of 16-bit colours -> how it reads the lower ones: in the other order of bytes."""


def deep_values(opened: Any, again: Callable[[], Any], upright: Callable[[Any], None]) -> NDArray[np.uint16] | None:
    """The values of a picture with 16 bits for each channel, uint16 [H, W] or [H, W, C], C 2 to 4 with alpha last.

    Pillow has a mode for greys of 16 bits. Of colours it keeps the upper bytes, so they are read twice.

    Args:
        opened: a PIL image that is not loaded.
        again: opens the same picture once more.
        upright: turns one in place.

    Returns:
        None: a picture of 8 bits, or of a kind of which Pillow gives 8 bits only.

    Raises:
        ValueError: its values are neither of 8 nor of 16 bits. What Pillow raises is raised.
    """
    if opened.mode.startswith(("I", "F")):
        upright(opened)
        return grey_values(opened)
    if not colours_cut(opened):
        return None
    raw = _raw_mode(opened)
    second = again()
    if raw == "LA;16B":  # four bytes: of the grey and of alpha, the upper one first
        _read_as(second, "RGBA")
        upright(second)
        return _joined(np.array(second)[..., ::2], np.array(second)[..., 1::2])
    _read_as(second, _OTHER_BYTE[raw])
    upright(opened)
    upright(second)
    return _joined(np.array(opened), np.array(second))


def _joined(upper: NDArray[np.uint8], lower: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Values of two bytes."""
    values = upper.astype(np.uint16)
    values <<= 8
    values |= lower
    return values


def grey_values(image: Any) -> NDArray[np.uint16] | None:
    """The values of a PIL image in one of the modes for more than 8 bits, uint16 [H, W]; None for other modes.

    Raises:
        ValueError: its values are not of 16 bits.
    """
    if not image.mode.startswith(("I", "F")):
        return None
    # Pillow scales greys of PGM files to all 16 bits, and calls them 32-bit integers.
    if not image.mode.startswith("I;16") and not (image.mode == "I" and image.format == "PPM"):
        raise ValueError(f"its pixels are of Pillow's mode {image.mode}, not of 8 or 16 bits")
    return np.array(image).astype(np.uint16)


def colours_cut(opened: Any) -> bool:
    """Whether a picture that is not loaded has colours of 16 bits, of which Pillow would keep 8."""
    raw = _raw_mode(opened)
    return raw in _OTHER_BYTE or raw == "LA;16B"


def _raw_mode(opened: Any) -> str:
    """How Pillow is going to read a picture."""
    args = opened.tile[0].args if opened.tile else ""
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def _read_as(opened: Any, raw: str) -> None:
    """Have Pillow read a picture that is not loaded in another way."""
    opened.tile = [
        part._replace(args=(raw, *part.args[1:]) if isinstance(part.args, tuple) else raw) for part in opened.tile
    ]


def depth_of(values: NDArray[np.uint16], content: bytes = b"") -> int:
    """How many bits of 16 count in a picture: the fewest of `DEPTHS` that hold its values.

    Args:
        values: as `deep_values`.
        content: of its file: the chunk sBIT of a PNG may name more, as of a picture that happens to be dark.
    """
    highest = int(values.max(initial=0))
    own = next(depth for depth in DEPTHS if highest < 1 << depth)
    said = _significant_bits(content)
    return max(own, next((depth for depth in DEPTHS if said <= depth), 16))


def _significant_bits(content: bytes) -> int:
    """The most bits of a colour by the chunk sBIT of a PNG; 0 where there is none."""
    if content[:8] != b"\x89PNG\r\n\x1a\n":
        return 0
    place = 8
    while place + 8 <= len(content):
        length, kind = int.from_bytes(content[place : place + 4]), content[place + 4 : place + 8]
        if kind == b"sBIT":
            return max(content[place + 8 : place + 8 + min(length, 3)], default=0)
        if kind in (b"IDAT", b"PLTE"):  # it comes before these
            return 0
        place += 12 + length
    return 0


def _eight_bits(values: NDArray[np.uint16], bits: int) -> NDArray[np.uint8]:
    """The upper 8 of the `bits` bits that count, uint8 as `values`; what is above them is as bright as can be."""
    return np.minimum(values >> max(0, bits - 8), 255).astype(np.uint8)


def eight_bit_image(values: NDArray[np.uint16], bits: int) -> Any:
    """The same as a PIL image, alpha as the upper 8 of 16 bits."""
    from PIL import Image

    found = _eight_bits(values, bits)
    if found.ndim == 3 and found.shape[2] in (2, 4):
        found[..., -1] = values[..., -1] >> 8
    return Image.fromarray(found)
