"""Events -> frames `[T, 2, H, W]`, the input of a network (Section 3.4)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
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

Shown = Literal["counts", "binary", "log"]
"""Representations that are made of a count alone, when a network is given it; clips on disk are of counts."""

REAL = "float32"
"""What the other representations, voxel and surface, are kept in."""

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
    representation: Literal["counts", "binary", "log", "voxel", "surface"] = added_later("counts")
    """What is shown of the events at a pixel and step. counts: how many; binary: 1 if there are any; log: log(1 +
    count); voxel: each event divided between the two steps nearest in time; surface: a time surface, how long ago the
    last event was."""
    surface_ms: float = added_later(50.0)
    """Time in milliseconds after which representation "surface" has fallen to 1/e."""

    def __post_init__(self) -> None:
        check_types(self)
        if self.size < 0:
            raise UserError(f"size {self.size} is less than 0: it counts pixels, 0 keeps the sensor's own size")
        if self.real and self.by != "time":
            raise UserError(f"representation {self.representation!r} is of steps by 'time', and by is {self.by!r}")
        if self.representation == "surface" and self.resize == "mean":
            raise UserError("representation 'surface' is of times, which have no mean over an area: use resize 'sum'")
        if not 0 < self.surface_ms <= 1e9:
            raise UserError(f"surface_ms {self.surface_ms:g} is not a length of time: give milliseconds, such as 50")
        if self.representation != "surface" and self.surface_ms != 50.0:
            raise UserError(
                f"surface_ms {self.surface_ms:g} means nothing to representation {self.representation!r}: choose "
                "'surface', or leave it out"
            )

    @property
    def real(self) -> bool:
        """Whether frames are real numbers, and not counts."""
        return self.representation in ("voxel", "surface")

    @property
    def shown(self) -> Shown:
        """What a network is shown of the numbers of a clip."""
        if self.representation == "binary" or self.representation == "log":
            return self.representation
        return "counts"

    @property
    def stored(self) -> "FrameConfig":
        """The options that decide the clips on disk, the same for all that are made of counts; `counts` is left out."""
        made = {} if self.real else {"representation": "counts"}
        return replace(self, counts="exact", **made)  # type: ignore[arg-type]


def to_frames(
    recording: Recording,
    config: FrameConfig,
    num_steps: int,
    *,
    span: tuple[int, int] | None = None,
    memory_limit: float = MEMORY_LIMIT,
) -> tuple[NDArray[Any], int]:
    """Count the events of a recording into frames; of representation "voxel" and "surface", `_voxels`, `_surfaces`.

    Those of "binary" and "log" are counts too: `data.scaling.Counts` makes of them what a network is given.

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
        uint8 if that holds their largest count, else uint16, else int32; saturated, always uint8; of real numbers,
        float32.

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
    bins = 2 * rows * columns

    def claim(bytes_each: int) -> None:
        """Ask for the memory of the frames, and while one is counted of its numbers as 64 bits, two or three times."""
        claimed = bins * (num_steps * bytes_each + (24 if config.real else 16))
        what = f"{num_steps} frames of {columns}x{rows} pixels"
        check_claim(f"a recording of {recording.sensor}", what, claimed, 8 * len(recording), memory_limit)

    if config.real:
        claim(4)
        real = _voxels if config.representation == "voxel" else _surfaces
        return real(recording, config, bounds, span).reshape(num_steps, 2, rows, columns), 0
    claim(1)
    frames: NDArray[np.integer[Any]] = np.empty((num_steps, bins), dtype=np.uint8)
    limit = SATURATED
    saturated = 0
    step = 0
    while step < num_steps:
        end = step + 1
        while end < num_steps and bounds[end + 1] - bounds[step] <= _CHUNK:
            end += 1
        first, address = bounds[step], _addresses(recording, config, bounds[step], bounds[end])
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


def _addresses(recording: Recording, config: FrameConfig, first: int, end: int) -> NDArray[np.int32]:
    """Of each event from index `first` up to `end`, where in a frame of [2, H, W] it counts."""
    rows, columns = frame_shape(recording, config)
    x, y, width, height = recording.x[first:end], recording.y[first:end], recording.width, recording.height
    if config.orientation == "spikingjelly":
        x, y, width, height = y, x, height, width
    address = _binned(y, height, rows)
    address *= columns
    address += _binned(x, width, columns)
    address += recording.on[first:end].view(np.uint8) * np.int32(rows * columns)
    return address


def _voxels(
    recording: Recording, config: FrameConfig, bounds: Sequence[int], span: tuple[int, int] | None
) -> NDArray[np.float32]:
    """Voxel grid: each event counts in the two steps nearest to it in time, linearly less with the distance.

        V[k] = sum over events i of max(0, 1 - |k - s_i|),   s_i = (T - 1) (t_i - t_0) / (t_N - t_0),   k = 0 ... T - 1

    with t_0 and t_N the first and the last microsecond: so the sum over the steps is the number of events, and the sum
    of k V[k] that of their places s_i. Zhu, Yuan, Chaney, Daniilidis: Unsupervised Event-based Learning of Optical
    Flow, Depth, and Egomotion, CVPR 2019; of each polarity by itself, where they add them up with signs.

    Weights are whole numbers of (t_N - t_0), added up as such and divided once: what is rounded is the float32.

    Returns:
        float32 [T, 2 * H * W].
    """
    rows, columns = frame_shape(recording, config)
    steps, bins = len(bounds) - 1, 2 * rows * columns
    low, high = bounds[0], bounds[-1]
    t = recording.t[low:high]
    start, last = (int(t[0]), int(t[-1])) if span is None else (span[0], span[1] - 1)
    length = last - start
    if steps == 1 or not length:
        frames = np.zeros((steps, bins), np.float32)
        frames[0] = np.bincount(_addresses(recording, config, low, high), minlength=bins)
        return frames
    # The first event at or behind each step: s_i >= k where t_i - t_0 >= k * length / (T - 1), rounded up.
    edges = [start - (-length * step) // (steps - 1) for step in range(steps)]
    at = [*np.searchsorted(t, edges).tolist(), high - low]
    frames = np.empty((steps, bins), np.float32)
    behind: NDArray[Any] = np.zeros(bins)  # what events between the step before and this one give to this one
    for step in range(steps):
        first, end = at[step], at[step + 1]
        address = _addresses(recording, config, low + first, low + end)
        further = ((t[first:end] - start) * (steps - 1) - step * length).astype(np.float64)
        frames[step] = (behind + np.bincount(address, length - further, bins)) / length
        behind = np.bincount(address, further, bins)
    return frames


def _surfaces(
    recording: Recording, config: FrameConfig, bounds: Sequence[int], span: tuple[int, int] | None
) -> NDArray[np.float32]:
    """Time surface: how long ago the last event at a pixel was, at the end of each step.

        S[k] = exp(-(t_k - t_last) / tau),   t_k = t_0 + (k + 1) D / T,   0 where there was no event yet

    with t_last the time of the last event of that polarity at the pixel before t_k, also in an earlier step, and tau
    `surface_ms`. Lagorce, Orchard, Galluppi, Shi, Benosman: HOTS: A Hierarchy of Event-Based Time-Surfaces for Pattern
    Recognition, TPAMI 39 (2017), whose surfaces are of each event, about its pixel; these are of all pixels at the ends
    of steps. A pixel of smaller frames has the last event of all the sensor's pixels in it.

    Returns:
        float32 [T, 2 * H * W]; 0 also beyond about 100 tau.
    """
    rows, columns = frame_shape(recording, config)
    steps, bins = len(bounds) - 1, 2 * rows * columns
    t = recording.t
    start, end = (int(t[bounds[0]]), int(t[bounds[-1] - 1]) + 1) if span is None else span
    frames = np.empty((steps, bins), np.float32)
    last = np.full(bins, -np.inf)  # microseconds from the start on; of addresses that repeat, numpy keeps the last
    for step in range(steps):
        first, behind = bounds[step], bounds[step + 1]
        last[_addresses(recording, config, first, behind)] = t[first:behind] - start
        now = (end - start) * (step + 1) / steps
        frames[step] = np.exp((last - now) / (1000 * config.surface_ms))
    return frames


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
