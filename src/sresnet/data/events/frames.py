"""Events -> frames `[T, 2, H, W]`, the input of a network (Section 3.4)."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sresnet.config import added_later, check_types
from sresnet.data.events.recording import Recording
from sresnet.errors import UserError
from sresnet.limits import MEMORY_LIMIT, check_claim

SATURATED = 255
"""The largest count of frames that saturate."""

LOST = 0.01
"""A share of events lost that is worth a warning."""

WIDTHS = ("uint8", "uint16", "int32")
"""What counts are kept in: the first that holds the largest."""

_CHUNK = 65_536
"""Events whose addresses are computed at a time, so that they stay in a core's cache until they are counted."""


@dataclass(frozen=True, kw_only=True)
class FrameConfig:
    """How the events of a recording are counted into frames; UserError for a field out of range."""

    by: Literal["time", "count", "whole"] = "time"
    """time: time windows of equal length (Section 3.4); count: equal numbers of events (released code); whole: every
    step shows all events, as an image at every step (converted networks)."""
    size: int = 0
    """Side in pixels of the square frames, which show the whole sensor; 0: the sensor's own width and height."""
    resize: Literal["sum", "mean"] = "sum"
    """What a pixel of a smaller frame shows of the sensor's pixels in it: sum of their counts, or mean (released)."""
    orientation: Literal["sensor", "spikingjelly"] = "sensor"
    """sensor: as the camera's viewer shows the scene; spikingjelly: rows and columns exchanged (DVS128 only)."""
    counts: Literal["exact", "saturate"] = added_later("exact")
    """exact: every event counts; saturate: at most 255 events at a pixel and step, the others are lost, as in runs of
    earlier versions."""

    def __post_init__(self) -> None:
        check_types(self)
        if self.size < 0:
            raise UserError(f"size {self.size} is less than 0: it counts pixels, 0 keeps the sensor's own size")


def to_frames(
    recording: Recording,
    config: FrameConfig,
    num_steps: int,
    *,
    span: tuple[int, int] | None = None,
    memory_limit: float = MEMORY_LIMIT,
) -> tuple[NDArray[np.integer[Any]], int]:
    """Count the events of a recording into frames.

    Channel 0 is OFF (darker), channel 1 is ON (brighter). By time, step k holds the events with
    k * D <= (t - first) * T < (k + 1) * D, where D is the time from the first event to the last, both included, in
    microseconds. By count, each of the T steps has n // T events and the last also the rest, as in SpikingJelly's
    `split_by="number"`. As a whole, all steps are the frame of all events.

    Row y of the sensor goes to row y * size // height, columns likewise, so that every event is
    in exactly one pixel. `resize="mean"` gives the same sums: the mean is them times `input_scale`.

    "spikingjelly" is how SpikingJelly orients DVS-CIFAR10: x = 127 - y_raw, y = 127 - x_raw, p = 1 - p_raw of the raw
    address. A DVS128 shows its viewer x = 127 - x_raw, row 127 - y_raw and ON = 1 - p_raw, so theirs is the transpose
    of this package with the same channels.

    Args:
        span: (first, end) in the recording's microseconds, end excluded: only these events, D = end - first; None:
            all events.

    Returns:
        (frames [T, 2, H, W], number of events beyond the largest count, where their pixels saturate). The frames are
        uint8 if that holds their largest count, else uint16, else int32; saturated, always uint8.

    Raises:
        UserError: no events, frames larger than the sensor or too large for memory, or SpikingJelly's orientation
            for another sensor.
    """
    rows, columns = frame_shape(recording, config)
    bounds = _step_bounds(recording, config, num_steps, span)
    if config.by == "whole" and num_steps > 1:
        one, saturated = to_frames(recording, config, 1, span=span, memory_limit=memory_limit)
        check_claim(
            f"a recording of {recording.sensor}",
            f"{num_steps} frames of {columns}x{rows} pixels",
            one.nbytes * num_steps,
            8 * len(recording),
            memory_limit,
        )
        return np.repeat(one, num_steps, axis=0), saturated
    x, y, width, height = recording.x, recording.y, recording.width, recording.height
    if config.orientation == "spikingjelly":
        x, y, width, height = y, x, height, width
    bins = 2 * rows * columns

    def claim(bytes_each: int) -> None:
        """Ask for the memory of the frames, and while one is counted of its counts as int64 twice."""
        claimed = bins * (num_steps * bytes_each + 16)
        what = f"{num_steps} frames of {columns}x{rows} pixels"
        check_claim(f"a recording of {recording.sensor}", what, claimed, 8 * len(recording), memory_limit)

    claim(1)
    frames: NDArray[np.integer[Any]] = np.empty((num_steps, bins), dtype=np.uint8)
    limit = SATURATED
    saturated = 0
    step = 0
    while step < num_steps:
        end = step + 1
        while end < num_steps and bounds[end + 1] - bounds[step] <= _CHUNK:
            end += 1
        first, part = bounds[step], slice(bounds[step], bounds[end])
        address = _binned(y[part], height, rows)
        address *= columns
        address += _binned(x[part], width, columns)
        address += recording.on[part].view(np.uint8) * np.int32(rows * columns)
        for each in range(step, end):
            counts = np.bincount(address[bounds[each] - first : bounds[each + 1] - first], minlength=bins)
            if (largest := int(counts.max())) > limit:
                if config.counts == "saturate":
                    saturated += int((counts - limit).clip(0).sum())
                    np.minimum(counts, limit, out=counts)
                else:
                    dtype: np.dtype[Any] = np.dtype(width_of(largest))
                    claim(frames.itemsize + dtype.itemsize)
                    frames, limit = frames.astype(dtype), np.iinfo(dtype).max
            frames[each] = counts
        step = end
    return frames.reshape(num_steps, 2, rows, columns), saturated


def width_of(largest: int) -> str:
    """The narrowest of `WIDTHS` for counts up to this; UserError where none is wide enough."""
    for dtype in WIDTHS:
        if largest <= np.iinfo(dtype).max:
            return dtype
    raise UserError(f"{largest:,} events at one pixel and step are beyond 32 bits: use more steps or shorter windows")


def frame_shape(recording: Recording, config: FrameConfig) -> tuple[int, int]:
    """Rows and columns of the frames of a recording; errors as `to_frames`."""
    width, height = recording.width, recording.height
    if config.orientation == "spikingjelly":
        if (width, height) != (128, 128):
            raise UserError(
                f"orientation 'spikingjelly' is that of a DVS128, and this {recording.sensor} has {width}x{height} "
                "pixels: choose 'sensor'"
            )
        width, height = height, width
    size = config.size
    if size > min(width, height):
        raise UserError(
            f"frames of {size}x{size} pixels are larger than the sensor, {width}x{height}: choose a size of at most "
            f"{min(width, height)}, or 0"
        )
    if config.resize == "mean" and size and (width % size or height % size):
        raise UserError(
            f"resize 'mean' from {width}x{height} to {size}x{size} pixels would mean over unequal areas: choose a size "
            "that divides both, or 'sum'"
        )
    return (size, size) if size else (height, width)


def input_scale(width: int, height: int, config: FrameConfig) -> float:
    """Factor on counts before a network sees them: 1, or 1 / area for the mean over an area."""
    if config.resize == "sum" or not config.size:
        return 1.0
    return config.size**2 / (width * height)


def _step_bounds(
    recording: Recording, config: FrameConfig, num_steps: int, span: tuple[int, int] | None = None
) -> list[int]:
    """Indices [T + 1]: step k holds the events from bounds[k] up to bounds[k + 1], excluded; errors as `to_frames`."""
    t = recording.t
    low, high = (0, len(t)) if span is None else np.searchsorted(t, span).tolist()
    if low == high:
        where = "" if span is None else f" from {span[0]} to {span[1]} us"
        raise UserError(f"the recording has no events{where}: there is nothing to make frames of")
    if config.by == "count":
        share = (high - low) // num_steps
        return [low + step * share for step in range(num_steps)] + [high]
    first, end = (int(t[0]), int(t[-1]) + 1) if span is None else span
    # The first whole microsecond that belongs to a step: k * D / T, rounded up.
    edges = [first - (first - end) * step // num_steps for step in range(num_steps + 1)]
    return [*(low + np.searchsorted(t[low:high], edges[:-1])).tolist(), high]


def _binned(coordinate: NDArray[np.uint16], size: int, bins: int) -> NDArray[np.int32]:
    """Coordinate * bins // size of every event, int32; a shift where that is a power of two, for speed."""
    ratio, rest = divmod(size, bins)
    if not rest and ratio & (ratio - 1) == 0:
        return (coordinate >> (ratio.bit_length() - 1)).astype(np.int32)
    scaled = coordinate.astype(np.int32)
    scaled *= bins
    scaled //= size
    return scaled
