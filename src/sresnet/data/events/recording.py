"""What every recording of an event camera is turned into."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Recording:
    """The events of one recording, in the order of time, whole in memory.

    Column 0 is the left one and row 0 the top one as the camera's own viewer shows the scene; which bits of a file
    that is, each reader says.
    """

    t: NDArray[np.int64]
    """Microseconds [events], never falling; where 0 is, each format decides."""
    x: NDArray[np.uint16]
    """Column [events], below `width`."""
    y: NDArray[np.uint16]
    """Row [events], below `height`."""
    on: NDArray[np.bool_]
    """Polarity [events]: True where the pixel became brighter."""
    width: int
    height: int
    sensor: str
    """Camera, such as "DVS128"; or the data set, where its files tell no more."""
    skipped: dict[str, int] = field(default_factory=dict)
    """What else the file held, by kind, such as {"frame": 12, "imu": 700}; and, where damage was to be passed over,
    what of it was left out."""

    def __len__(self) -> int:
        return len(self.t)

    @property
    def seconds(self) -> float:
        """Time from the first event to the last; 0 without events."""
        return float(self.t[-1] - self.t[0]) / 1e6 if len(self.t) else 0.0
