"""The 40-bit records of N-MNIST and N-Caltech101 (`.bin`, `.bs2`), recorded by an ATIS camera.

Source: Orchard, Jayawant, Cohen, Thakor: Converting Static Image Datasets to Spiking Neuromorphic Datasets Using
Saccades, Frontiers in Neuroscience 9, 2015, and the reader published with it.
"""

import numpy as np

from sresnet.data.events.chips import Sensor, likely_sensor
from sresnet.data.events.columns import Columns, Damaged, EventFile, finish
from sresnet.data.events.recording import Recording

_RECORD = 5
_OVERFLOW_ROW = 240
_OVERFLOW_TIME = 1 << 13
_SENSORS = (Sensor("N-MNIST", 34, 34), Sensor("ATIS", 304, 240))


def parse_nmnist(data: bytes, name: str, *, damaged: Damaged = "error") -> Recording:
    """Records without a header: byte 0 the column, byte 1 the row, then a bit of polarity and 23 bits of microseconds.

    Column 0 is left and row 0 on top, so that the digits stand upright. A record of row 240 is not an event: it says
    that the camera's counter overflowed, and adds 2^13 microseconds to what follows (N-Caltech101 has them). The clock
    wraps at 2^23 microseconds. UserError for an incomplete record, and as `finish`.
    """
    file = EventFile(data, name, damaged)
    rows = np.frombuffer(data, dtype=np.uint8, count=_RECORD * file.records(0, _RECORD)).reshape(-1, _RECORD)
    t = (rows[:, 2] & 127).astype(np.int64) << 16
    t |= rows[:, 3].astype(np.int64) << 8
    t |= rows[:, 4]
    x, y = rows[:, 0].astype(np.uint16), rows[:, 1].astype(np.uint16)
    on = rows[:, 2] >= 128
    kept = None
    overflow = y == _OVERFLOW_ROW
    if overflow.any():
        file.skip("overflow", int(overflow.sum()))
        t += _OVERFLOW_TIME * np.cumsum(overflow)
        kept = np.flatnonzero(~overflow)
        t, x, y, on = t[kept], x[kept], y[kept], on[kept]

    def offset(index: int) -> int:
        return _RECORD * (index if kept is None else int(kept[index]))

    sensor = likely_sensor(_SENSORS, x, y)
    return finish(Columns(file=file, t=t, x=x, y=y, on=on, sensor=sensor, offset=offset, wraps=(1 << 23,)))
