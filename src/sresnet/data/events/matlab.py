"""Variables of MAT-files of level 5, numbers and structures of numbers.

Source: MathWorks' description of the format, MAT-File Level 5. SciPy reads it too, but damaged files can end the
process.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = b"MATLAB 5.0 MAT-file"

Variables = dict[str, NDArray[Any]]
"""Arrays by name; the fields of a structure by the names of variable and field, with a dot between."""

_COMPRESSED, _MATRIX, _STRUCTURE = 15, 14, 2
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_NUMBERS = range(6, 16)
_LOGICAL = 0x200
_STEP = 1 << 20


def is_version_4(head: bytes) -> bool:
    """Whether a file of version 4 begins so: with five numbers, the first of which has digits for order and type, and a
    short name that ends with 0."""
    for order in "<>" if len(head) >= 20 else "":
        kind, rows, columns, complex_numbers, length = struct.unpack(f"{order}5i", head[:20])
        machine, zero, precision, what = (kind // 10**digit % 10 for digit in (3, 2, 1, 0))
        known = 0 <= kind < 5000 and machine <= 4 and zero == 0 and precision <= 5 and what <= 2
        if known and min(rows, columns) >= 0 and complex_numbers in (0, 1) and 1 < length <= 64:
            return head[20:][length - 1 : length] == b"\0"
    return False


def variables(content: bytes, claim: Callable[[int], None]) -> Variables:
    """The variables of a file; others than numbers are left out.

    Args:
        content: the whole file.
        claim: is told how many bytes have been unpacked so far, and may raise.

    Raises:
        ValueError: a file that is damaged.
    """
    order = "<" if content[126:128] == b"IM" else ">"
    found: Variables = {}
    unpacked = 0
    try:
        for kind, body in _elements(content, 128, order):
            if kind == _COMPRESSED:
                decoder, parts, left = zlib.decompressobj(), [], body
                while left and not decoder.eof:
                    parts.append(decoder.decompress(left, _STEP))
                    left = decoder.unconsumed_tail
                    unpacked += len(parts[-1])
                    claim(unpacked)
                inner = list(_elements(b"".join(parts), 0, order))
                if len(inner) != 1:
                    raise ValueError("a compressed variable is none")
                kind, body = inner[0]
            if kind == _MATRIX:
                found |= _matrix(body, order, "", True)
    except zlib.error:
        raise ValueError("a compressed variable does not unpack") from None
    except (struct.error, IndexError, OverflowError):
        raise ValueError("an element is shorter than what it must hold") from None
    return found


def _elements(content: bytes, at: int, order: str) -> Iterator[tuple[int, bytes]]:
    """(type, bytes) of the elements one behind the other; ValueError for one that ends behind the last byte."""
    while at + 8 <= len(content):
        kind, size = struct.unpack_from(f"{order}II", content, at)
        start, end = at + 8, at + 8 + size
        if kind >> 16:  # a small one, whose size and bytes stand in these eight
            kind, size = kind & 0xFFFF, kind >> 16
            start, end = at + 4, at + 4 + min(size, 4)
        if end > len(content):
            raise ValueError(f"an element of {size:,} bytes ends behind the last one")
        yield kind, content[start:end]
        at = max(at + 8, end if kind == _COMPRESSED else end + -(end - at) % 8)


def _matrix(body: bytes, order: str, name: str, structures: bool) -> Variables:
    """A matrix by its name, or by that of the field it is; those of its fields where it is one structure."""
    parts = list(_elements(body, 0, order))
    if len(parts) < 3:
        return {}
    flags = struct.unpack_from(f"{order}I", parts[0][1])[0]
    shape = tuple(int(size) for size in _numbers(parts[1], order))
    name = name or parts[2][1].decode("latin-1")
    if flags & 0xFF in _NUMBERS and len(parts) > 3:
        array = _numbers(parts[3], order)
        if any(size < 0 for size in shape) or len(array) != int(np.prod(shape, dtype=np.float64)):
            raise ValueError(f"the variable {name!r} has {len(array):,} numbers for its shape {shape}")
        array = array.reshape(shape, order="F")
        return {name: array != 0 if flags & _LOGICAL else array}
    if flags & 0xFF == _STRUCTURE and structures and all(size == 1 for size in shape) and len(parts) > 4:
        width = int(_numbers(parts[3], order)[0])
        if width < 1:
            raise ValueError(f"the fields of {name!r} have names of {width} letters")
        text = parts[4][1]
        fields = [text[at : at + width].split(b"\0")[0].decode("latin-1") for at in range(0, len(text), width)]
        found: Variables = {}
        for field, (kind, inner) in zip(fields, parts[5:], strict=False):
            if kind == _MATRIX:
                found |= _matrix(inner, order, f"{name}.{field}", False)
        return found
    return {}


def _numbers(element: tuple[int, bytes], order: str) -> NDArray[Any]:
    """The numbers of an element."""
    kind, content = element
    if kind not in _TYPES:
        raise ValueError(f"an element is of type {kind}, which is no number")
    numbers = np.dtype(order + _TYPES[kind])
    if len(content) % numbers.itemsize:
        raise ValueError(f"an element of {len(content):,} bytes ends inside a number")
    return np.frombuffer(content, numbers)
