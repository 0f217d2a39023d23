"""A recording of an event camera in memory."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Recording:
    """The events of one recording in the order of time.

    Column 0 is at the left and row 0 at the top as the camera's viewer shows the scene; readers say which bits that is.
    """

    t: NDArray[np.int64]
    """Microseconds [events], never falling; the origin depends on the format."""
    x: NDArray[np.uint16]
    """Column [events], below `width`."""
    y: NDArray[np.uint16]
    """Row [events], below `height`."""
    on: NDArray[np.bool_]
    """Polarity [events]: True where the pixel became brighter."""
    width: int
    height: int
    sensor: str
    """Camera, such as "DVS128"; the data set where its files do not name one."""
    skipped: dict[str, int] = field(default_factory=dict)
    """What else the file held, by kind, such as {"frame": 12, "imu": 700}, and damage that was left out."""

    def __len__(self) -> int:
        return len(self.t)

    @property
    def seconds(self) -> float:
        """Time from the first event to the last; 0 without events."""
        return float(self.t[-1] - self.t[0]) / 1e6 if len(self.t) else 0.0
