"""Prophesee's compression of events in HDF5 files, ECF, the filter 0x8ECF.

Source: the codec that Prophesee publishes as hdf5_ecf. A chunk is a word of 32 bits, the number of events and, in the
lowest two bits, how addresses are packed; the first time, 64 bits; and the columns one behind the other, little-endian:

- times as bytes: upper four bits, how much later than the one before; lower four, how many events then. 15 of these
  are said by two more bytes. Upper bits of 15 mean that the lower are four bits of a larger step, lowest first.
- addresses packed whole (bit 1): 24 bits an event, row, column and polarity from the top, four events in three words of
  32 bits.
- else rows as words of 16 bits: row, and in the lowest five bits how many events; 31 is said by the next word. Then
  either (bit 0) column and polarity, 12 bits an event, four events in three words of 16 bits; or columns as words of 16
  bits, a column and in the lowest five bits which of the next five columns have an event too, and polarities as bytes:
  the highest bit, and how many events; 127 is said by two more bytes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

FILTER = 0x8ECF
EVENT = np.dtype({"names": ["x", "y", "p", "t"], "formats": ["<u2", "<u2", "<i2", "<i8"], "offsets": [0, 2, 4, 8]})
"""An event in the files, 16 bytes."""
_MOST = 65_535
"""Events of a chunk."""


def unpack(chunk: bytes) -> NDArray[Any]:
    """The events [count] of a chunk, of type EVENT; ValueError for a damaged one."""
    if len(chunk) < 12:
        raise ValueError(f"it has {len(chunk)} bytes")
    info = int.from_bytes(chunk[:4], "little")
    count = info >> 2
    if count > _MOST:
        raise ValueError(f"it claims {count:,} events")
    events = np.zeros(count, dtype=EVENT)
    first = int.from_bytes(chunk[4:12], "little")
    if first >= 1 << 62:
        raise ValueError(f"it begins at {first:,} microseconds")
    events["t"], at = _times(chunk, 12, first, count)
    if info & 2:
        words = _words(chunk, at, "<u4", 3 * -(-count // 4)).astype(np.int64).reshape(-1, 3).T
        # Of the second and third event, the lower bits come first.
        packed = (
            words[0] >> 8,
            words[0] & 0xFF | (words[1] >> 16) << 8,
            words[1] & 0xFFFF | (words[2] >> 24) << 16,
            words[2] & 0xFFFFFF,
        )
        whole = np.stack(packed, 1).ravel()[:count]
        events["y"], events["x"], events["p"] = whole >> 12 & 0x7FF, whole >> 1 & 0x7FF, whole & 1
        return events
    events["y"], at = _rows(chunk, at, count)
    if info & 1:
        words = _words(chunk, at, "<u2", 3 * -(-count // 4)).astype(np.int64).reshape(-1, 3).T
        halves = (
            words[0] >> 4,
            words[0] & 0xF | (words[1] >> 8) << 4,
            words[1] & 0xFF | (words[2] >> 12) << 8,
            words[2] & 0xFFF,
        )
        whole = np.stack(halves, 1).ravel()[:count]
        events["x"], events["p"] = whole >> 1, whole & 1
        return events
    events["x"], at = _columns(chunk, at, count)
    events["p"] = _polarities(chunk, at, count)
    return events


def _words(chunk: bytes, at: int, kind: str, count: int = -1) -> NDArray[Any]:
    """So many words from byte `at` on, or all that fit; ValueError where there are fewer."""
    size = np.dtype(kind).itemsize
    return np.frombuffer(chunk, kind, (len(chunk) - at) // size if count < 0 else count, at)


def _behind(special: NDArray[np.bool_], more: int) -> NDArray[np.bool_]:
    """Which units belong to the special one before them, each of which takes `more` units, whatever these look like."""
    taken = np.zeros(len(special) + more, dtype=bool)
    free = 0
    for at in np.flatnonzero(special).tolist():
        if at >= free:
            taken[at + 1 : at + 1 + more] = True
            free = at + 1 + more
    return taken[: len(special)]


def _until(counts: NDArray[np.int64], count: int) -> int:
    """How many of the runs make up `count` events; ValueError where they do not."""
    total = np.cumsum(counts)
    runs = int(np.searchsorted(total, count)) + 1
    if count == 0:
        return 0
    if runs > len(total) or int(total[runs - 1]) != count:
        raise ValueError(f"its runs do not make {count:,} events")
    return runs


def _times(chunk: bytes, at: int, first: int, count: int) -> tuple[NDArray[np.int64], int]:
    """(times, byte behind them)."""
    units = _words(chunk, at, "u1").astype(np.int64)
    upper, lower = units >> 4, units & 15
    taken = _behind((upper != 15) & (lower == 15), 2)
    step = (upper == 15) & ~taken
    # How many bytes of a larger step were before this one.
    places = np.arange(len(units))
    started = np.maximum.accumulate(np.where(step, -1, places)) if len(units) else places
    nibble = places - started - 1
    if (step & (nibble > 14)).any():
        # Behind the times come other columns, whose bytes mean nothing here.
        step &= nibble <= 14
    added = np.where(taken, 0, np.where(step, lower << 4 * np.clip(nibble, 0, 14), upper))
    runs = np.flatnonzero(~taken & ~step)
    counts = _counts(lower[runs], 15, units, runs, 256)
    number = _until(counts, count)
    if not number:
        return np.empty(0, dtype=np.int64), at
    last = int(runs[number - 1])
    t = first + np.cumsum(added[: last + 1])[runs[:number]]
    if t[-1] >= 1 << 62 or (np.diff(t) < 0).any():
        raise ValueError("its times are beyond 62 bits")
    return np.repeat(t, counts[:number]), at + last + 1 + 2 * int(lower[last] == 15)


def _counts(
    said: NDArray[np.int64], special: int, units: NDArray[np.int64], runs: NDArray[np.int64], second: int
) -> NDArray[np.int64]:
    """Events of each run: what it says itself, or the units behind it, the second of which counts `second`-fold."""
    longer = np.concatenate([units, [0, 0]])
    behind = longer[runs + 1] + (second * longer[runs + 2] if second else 0)
    return np.where(said == special, behind, said)


def _rows(chunk: bytes, at: int, count: int) -> tuple[NDArray[np.int64], int]:
    """(rows, byte behind them)."""
    units = _words(chunk, at, "<u2").astype(np.int64)
    taken = _behind(units & 31 == 31, 1)
    runs = np.flatnonzero(~taken)
    counts = _counts(units[runs] & 31, 31, units, runs, 0)
    number = _until(counts, count)
    if not number:
        return np.empty(0, dtype=np.int64), at
    last = int(runs[number - 1])
    return np.repeat(units[runs[:number]] >> 5, counts[:number]), at + 2 * (last + 1 + int(units[last] & 31 == 31))


def _columns(chunk: bytes, at: int, count: int) -> tuple[NDArray[np.int64], int]:
    """(columns, byte behind them); the last word may speak of events beyond the last."""
    units = _words(chunk, at, "<u2").astype(np.int64)
    here = np.stack([np.ones(len(units), dtype=bool), *(units >> bit & 1 == 1 for bit in (4, 3, 2, 1, 0))], 1)
    number = int(np.searchsorted(np.cumsum(here.sum(1)), count)) + 1 if count else 0
    if number > len(units):
        raise ValueError(f"it has columns for fewer than {count:,} events")
    columns = (units[:number, None] >> 5) + np.arange(6)
    return columns[here[:number]][:count], at + 2 * number


def _polarities(chunk: bytes, at: int, count: int) -> NDArray[np.int64]:
    units = _words(chunk, at, "u1").astype(np.int64)
    runs = np.flatnonzero(~_behind(units & 127 == 127, 2))
    counts = _counts(units[runs] & 127, 127, units, runs, 256)
    number = _until(counts, count)
    return np.repeat(units[runs[:number]] >> 7, counts[:number])
