"""`decode.cpp`, called: decoders that equal those of `evt.py`, `dat.py` and `aedat4.py` and are faster.

It is compiled on first use. Without a compiler, on Windows or with the engine "reference" there is none, and the numpy
definitions decode.
"""

import ctypes
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sresnet.ops.dispatch import reference_chosen
from sresnet.ops.scan import native

SOURCE = Path(__file__).with_name("decode.cpp")
LEFT_OUT = ("trigger", "other word", "unknown word", "before the first time", "without an address")
"""What a decoder of words counts."""

Columns = tuple[NDArray[np.int64], NDArray[np.uint16], NDArray[np.uint16], NDArray[np.bool_]]
"""Microseconds, columns, rows and polarities of events."""

Encoding = Literal["2.0", "2.1", "3.0"]
_WORD = {"2.0": 4, "2.1": 8, "3.0": 2}
_STATE, _COUNTS = ctypes.c_int64 * 6, ctypes.c_int64 * len(LEFT_OUT)


@functools.cache
def _library() -> ctypes.CDLL | None:
    """The compiled decoders with the types of their functions; None where they cannot be had."""
    if sys.byteorder != "little" or (library := native.load(SOURCE, silent=True)) is None:
        return None
    memory, number, count = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
    for encoding in _WORD:
        most, decode = _functions(library, encoding)
        most.argtypes, most.restype = [ctypes.c_char_p, count, number], count
        decode.argtypes, decode.restype = [*most.argtypes, memory, memory, *[memory] * 4], count
    library.decode_dat.argtypes = [ctypes.c_char_p, count, number, number, *[memory] * 4]
    library.decode_aedat4.argtypes = [ctypes.c_char_p, count, count, *[memory] * 4]
    library.decode_dat.restype = library.decode_aedat4.restype = None
    return library


def _functions(library: ctypes.CDLL, encoding: str) -> tuple[Any, Any]:
    """What says how many events words are at most, and their decoder."""
    name = encoding.replace(".", "_")
    return getattr(library, f"most_{name}"), getattr(library, f"decode_{name}")


class _Room:
    """Arrays for the events of a block, the same for all blocks of a file: new memory costs more than decoding."""

    def __init__(self, count: int = 0) -> None:
        self.columns = _empty(count)
        self.addresses = [column.ctypes.data for column in self.columns]

    def make(self, count: int) -> None:
        """Room for so many events, at least."""
        if len(self.columns[0]) < count:
            self.columns = _empty(count + count // 8)
            self.addresses = [column.ctypes.data for column in self.columns]


def _empty(count: int) -> Columns:
    return np.empty(count, np.int64), np.empty(count, np.uint16), np.empty(count, np.uint16), np.empty(count, bool)


def words_decoder(encoding: Encoding) -> Callable[[bytes, list[int], bool], tuple[Columns, list[int]]] | None:
    """A decoder of the words of one EVT file, block after block; None where there is no compiled code.

    It is called with the bytes of whole words, the numbers of `_State` in `evt.py`, which it changes, and, of EVT 2.1,
    whether the upper half of a word comes first. It gives the events, in arrays that the next call overwrites, and how
    many there were of each of LEFT_OUT.
    """
    if reference_chosen() or (library := _library()) is None:
        return None
    (most, function), room = _functions(library, encoding), _Room()

    def decode(content: bytes, state: list[int], swapped: bool) -> tuple[Columns, list[int]]:
        words = len(content) // _WORD[encoding]
        numbers, counts = _STATE(*state), _COUNTS()
        room.make(most(content, words, swapped))
        count = function(content, words, swapped, ctypes.addressof(numbers), ctypes.addressof(counts), *room.addresses)
        state[:] = numbers
        t, x, y, on = room.columns
        return (t[:count], x[:count], y[:count], on[:count]), list(counts)

    return decode


def dat_decoder(x_bits: int, y_bits: int) -> Callable[[bytes], Columns] | None:
    """A decoder of records of a `.dat` file whose addresses have these bits, likewise."""
    if reference_chosen() or (library := _library()) is None:
        return None
    room = _Room()

    def decode(content: bytes) -> Columns:
        count = len(content) // 8
        room.make(count)
        library.decode_dat(content, count, x_bits, y_bits, *room.addresses)
        t, x, y, on = room.columns
        return t[:count], x[:count], y[:count], on[:count]

    return decode


def aedat4_decoder() -> Callable[[bytes, int, int], Columns] | None:
    """A decoder of the events of an unpacked packet, from a byte on and so many; likewise, but nothing overwrites them.

    Packets are short, so they share arrays: those of one would take longer to make than to fill.
    """
    if reference_chosen() or (library := _library()) is None:
        return None
    room, used = _Room(_SHARED), 0

    def decode(packet: bytes, at: int, count: int) -> Columns:
        nonlocal room, used
        if used + count > len(room.columns[0]):
            room, used = _Room(max(count, _SHARED)), 0
        part = slice(used, used + count)
        t, x, y, on = room.columns
        (times, columns, rows, polarities), done = room.addresses, used
        library.decode_aedat4(
            packet, at, count, times + 8 * done, columns + 2 * done, rows + 2 * done, polarities + done
        )
        used += count
        return t[part], x[part], y[part], on[part]

    return decode


_SHARED = 1 << 17
"""Events of packets that share arrays."""
