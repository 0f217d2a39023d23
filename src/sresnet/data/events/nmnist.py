"""The 40-bit records of N-MNIST and N-Caltech101 (`.bin`, `.bs2`), recorded by an ATIS camera.

Source: Orchard, Jayawant, Cohen, Thakor: Converting Static Image Datasets to Spiking Neuromorphic Datasets Using
Saccades, Frontiers in Neuroscience 9, 2015, and the reader published with it.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sresnet.data.events.chips import Sensor, given_chip
from sresnet.data.events.columns import Block, EventFile, Events, ReadConfig
from sresnet.files import Content

_RECORD = 5
_OVERFLOW_ROW = 240
_OVERFLOW_TIME = 1 << 13
_SENSORS = (Sensor("N-MNIST", 34, 34), Sensor("ATIS", 304, 240))


def open_nmnist(data: Content, name: str, config: ReadConfig) -> Events:
    """Records without a header: byte 0 the column, byte 1 the row, then a bit of polarity and 23 bits of microseconds.

    Column 0 is left and row 0 on top, so that the digits stand upright. A record of row 240 is not an event: it says
    that the camera's counter overflowed, and adds 2^13 microseconds to what follows (N-Caltech101 has them). The clock
    wraps at 2^23 microseconds. UserError, while it is read, for an incomplete record, and as `finish`.
    """
    sensors = (given_chip(config.chip, "ATIS"),) if config.chip else _SENSORS
    file = EventFile(data, name, config)
    return Events(file=file, blocks=_blocks, sensors=sensors, wraps=(1 << 23,), most=len(data) // _RECORD)


def _blocks(file: EventFile) -> Iterator[Block]:
    overflows = 0
    for start, records in file.records(0, _RECORD):
        rows = np.frombuffer(records, dtype=np.uint8).reshape(-1, _RECORD)
        t = (rows[:, 2] & 127).astype(np.int64) << 16
        t |= rows[:, 3].astype(np.int64) << 8
        t |= rows[:, 4]
        x, y = rows[:, 0].astype(np.uint16), rows[:, 1].astype(np.uint16)
        on = rows[:, 2] >= 128
        kept = np.arange(len(t))
        overflow = y == _OVERFLOW_ROW
        if overflows or overflow.any():
            count = overflows + np.cumsum(overflow)
            file.skip("overflow", int(count[-1]) - overflows)
            overflows = int(count[-1])
            t += _OVERFLOW_TIME * count
            kept = np.flatnonzero(~overflow)
            t, x, y, on = t[kept], x[kept], y[kept], on[kept]
        yield Block(t=t, x=x, y=y, on=on, offset=partial(_offset, start, kept))


def _offset(start: int, kept: NDArray[np.int64], index: int) -> int:
    return start + _RECORD * int(kept[index])
