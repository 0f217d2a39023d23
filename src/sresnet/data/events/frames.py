"""Events -> frames `[T, 2, H, W]`, the input of a network (Section 3.4)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sresnet.config import added_later, check_types
from sresnet.data.events.parts import Parts, in_time
from sresnet.data.events.recording import Recording
from sresnet.data.events.windows import Window, in_windows
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
    some = recording if span is None else in_time(recording, *span)
    if not len(some):
        frame_shape(recording, config)
        where = "" if span is None else f" from {span[0]} to {span[1]} us"
        raise UserError(f"the recording has no events{where}: there is nothing to make frames of")
    first, end = (int(some.t[0]), int(some.t[-1]) + 1) if span is None else span
    clip = _Clip(num_steps=num_steps, first=first, end=end, events=len(some), limit=memory_limit)
    return _frames(iter([some]), recording, config, clip)


def clips_of(
    recording: Parts, windows: Sequence[Window], config: FrameConfig, num_steps: int, *, memory_limit: float
) -> Iterator[tuple[NDArray[Any], int]]:
    """What `to_frames` gives for each window of a recording, in one pass over it; errors as `to_frames`."""
    for window, parts in zip(windows, in_windows(recording, windows), strict=True):
        (first, end), events = window.span, window.end - window.first
        clip = _Clip(num_steps=num_steps, first=first, end=end, events=events, limit=memory_limit)
        yield _frames(parts, recording, config, clip)


@dataclass(frozen=True, kw_only=True)
class _Clip:
    """What the frames of a stretch of a recording are, before its events are gone through."""

    num_steps: int
    first: int
    """Microsecond at which it begins."""
    end: int
    """At which it ends, excluded."""
    events: int
    """In it."""
    limit: float
    """Of memory, in gigabytes."""

    @property
    def edges(self) -> list[int]:
        """[T]: the first whole microsecond of each step by time, first + k * D / T, rounded up."""
        return [self.first - (self.first - self.end) * step // self.num_steps for step in range(self.num_steps)]


def _frames(
    parts: Iterator[Recording], sensor: Recording | Parts, config: FrameConfig, clip: _Clip
) -> tuple[NDArray[Any], int]:
    """Frames of the events in `parts`, one behind the other; as `to_frames`."""
    rows, columns = frame_shape(sensor, config)
    steps, bins = clip.num_steps, 2 * rows * columns

    def claim(claimed: int) -> None:
        """Ask for so many bytes."""
        what = f"{steps} frames of {columns}x{rows} pixels"
        check_claim(f"a recording of {sensor.sensor}", what, claimed, 8 * clip.events, clip.limit)

    if config.by == "whole" and steps > 1:
        one, saturated = _frames(parts, sensor, config, replace(clip, num_steps=1))
        claim(one.nbytes * steps)
        return np.repeat(one, steps, axis=0), saturated
    # Of one frame that is counted, its numbers as 64 bits, two or three times.
    if config.real:
        claim(bins * (4 * steps + 24))
        real = _voxels if config.representation == "voxel" else _surfaces
        return real(parts, config, clip, bins).reshape(steps, 2, rows, columns), 0

    def widened(frames: NDArray[np.integer[Any]], dtype: np.dtype[Any]) -> NDArray[np.integer[Any]]:
        claim(bins * (steps * (frames.itemsize + dtype.itemsize) + 16))
        return frames.astype(dtype)

    claim(bins * (steps + 16))
    frames, saturated = _counts(parts, config, clip, bins, widened)
    return frames.reshape(steps, 2, rows, columns), saturated


def _counts(
    parts: Iterator[Recording],
    config: FrameConfig,
    clip: _Clip,
    bins: int,
    widened: Callable[[NDArray[np.integer[Any]], np.dtype[Any]], NDArray[np.integer[Any]]],
) -> tuple[NDArray[np.integer[Any]], int]:
    """Numbers of events [T, bins], and how many are beyond the largest one, where counts saturate.

    Args:
        widened: gives frames numbers of another type.
    """
    steps = clip.num_steps
    frames: NDArray[np.integer[Any]] = np.zeros((steps, bins), dtype=np.uint8)
    limit, saturated, given = SATURATED, [0] * steps, 0
    # The last step with events of the part before, which may have more in the next one.
    begun, so_far = -1, np.zeros(0, np.int64)
    for part in parts:
        bounds = _step_bounds(part, config, clip, given)
        given += len(part)
        step = 0
        while step < steps:
            end = step + 1
            while end < steps and bounds[end + 1] - bounds[step] <= _CHUNK:
                end += 1
            first, address = bounds[step], _addresses(part, config, bounds[step], bounds[end])
            for each in range(step, end):
                if bounds[each] == bounds[each + 1]:
                    continue
                counts = np.bincount(address[bounds[each] - first : bounds[each + 1] - first], minlength=bins)
                if each == begun:
                    counts += so_far
                if (largest := int(counts.max())) > limit:
                    if config.counts == "saturate":
                        saturated[each] = int((counts - limit).clip(0).sum())
                    else:
                        dtype: np.dtype[Any] = np.dtype(width_of(largest))
                        frames = widened(frames, dtype)
                        limit = np.iinfo(dtype).max
                frames[each] = counts if largest <= limit else np.minimum(counts, limit)
                begun, so_far = each, counts
            step = end
    return frames, sum(saturated)


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


def _voxels(parts: Iterator[Recording], config: FrameConfig, clip: _Clip, bins: int) -> NDArray[np.float32]:
    """Voxel grid: each event counts in the two steps nearest to it in time, linearly less with the distance.

        V[k] = sum over events i of max(0, 1 - |k - s_i|),   s_i = (T - 1) (t_i - t_0) / (t_N - t_0),   k = 0 ... T - 1

    with t_0 and t_N the first and the last microsecond: so the sum over the steps is the number of events, and the sum
    of k V[k] that of their places s_i. Zhu, Yuan, Chaney, Daniilidis: Unsupervised Event-based Learning of Optical
    Flow, Depth, and Egomotion, CVPR 2019; of each polarity by itself, where they add them up with signs.

    Weights are whole numbers of (t_N - t_0), added up as such and divided once: what is rounded is the float32.

    Returns:
        float32 [T, 2 * H * W].
    """
    steps = clip.num_steps
    length = clip.end - 1 - clip.first
    if steps == 1 or not length:
        frames = np.zeros((steps, bins), np.float32)
        numbers = np.zeros(bins, np.int64)
        for part in parts:
            numbers += np.bincount(_addresses(part, config, 0, len(part)), minlength=bins)
        frames[0] = numbers
        return frames
    # The first event at or behind each step: s_i >= k where t_i - t_0 >= k * length / (T - 1), rounded up.
    edges = [clip.first - (-length * step) // (steps - 1) for step in range(steps)]
    frames = np.empty((steps, bins), np.float32)
    step = 0
    # What events at or behind this step, and those between the step before and this one, give to this one and the next.
    here: NDArray[Any] = np.zeros(bins)
    behind: NDArray[Any] = np.zeros(bins)
    for part in parts:
        at = [*np.searchsorted(part.t, edges).tolist(), len(part)]
        for each in range(step, steps):
            if each > step:
                frames[step] = here / length
                step, here, behind = each, behind, np.zeros(bins)
            first, end = at[each], at[each + 1]
            if first < end:
                address = _addresses(part, config, first, end)
                further = ((part.t[first:end] - clip.first) * (steps - 1) - each * length).astype(np.float64)
                here += np.bincount(address, length - further, bins)
                behind += np.bincount(address, further, bins)
            if end == len(part):
                break
    for each in range(step, steps):
        frames[each] = here / length
        here, behind = behind, np.zeros(bins)
    return frames


def _surfaces(parts: Iterator[Recording], config: FrameConfig, clip: _Clip, bins: int) -> NDArray[np.float32]:
    """Time surface: how long ago the last event at a pixel was, at the end of each step.

        S[k] = exp(-(t_k - t_last) / tau),   t_k = t_0 + (k + 1) D / T,   0 where there was no event yet

    with t_last the time of the last event of that polarity at the pixel before t_k, also in an earlier step, and tau
    `surface_ms`. Lagorce, Orchard, Galluppi, Shi, Benosman: HOTS: A Hierarchy of Event-Based Time-Surfaces for Pattern
    Recognition, TPAMI 39 (2017), whose surfaces are of each event, about its pixel; these are of all pixels at the ends
    of steps. A pixel of smaller frames has the last event of all the sensor's pixels in it.

    Returns:
        float32 [T, 2 * H * W]; 0 also beyond about 100 tau.
    """
    steps, edges = clip.num_steps, clip.edges
    frames = np.empty((steps, bins), np.float32)
    last = np.full(bins, -np.inf)  # microseconds from the start on; of addresses that repeat, numpy keeps the last

    def ended(step: int) -> None:
        now = (clip.end - clip.first) * (step + 1) / steps
        frames[step] = np.exp((last - now) / (1000 * config.surface_ms))

    step = 0
    for part in parts:
        bounds = [*np.searchsorted(part.t, edges).tolist(), len(part)]
        for each in range(step, steps):
            if each > step:
                ended(step)
                step = each
            first, end = bounds[each], bounds[each + 1]
            last[_addresses(part, config, first, end)] = part.t[first:end] - clip.first
            if end == len(part):
                break
    for each in range(step, steps):
        ended(each)
    return frames


def width_of(largest: int) -> str:
    """The narrowest of `WIDTHS` for counts up to this; UserError where none is wide enough."""
    for dtype in WIDTHS:
        if largest <= np.iinfo(dtype).max:
            return dtype
    raise UserError(f"{largest:,} events at one pixel and step are beyond 32 bits: use more steps or shorter windows")


def frame_shape(recording: Recording | Parts, config: FrameConfig) -> tuple[int, int]:
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


def _step_bounds(part: Recording, config: FrameConfig, clip: _Clip, given: int) -> list[int]:
    """Indices [T + 1] into a part of the events, before which `given` came: step k has those from bounds[k] on."""
    if config.by == "count":
        share = clip.events // clip.num_steps
        bounds = [*(step * share for step in range(clip.num_steps)), clip.events]
        return [min(max(bound - given, 0), len(part)) for bound in bounds]
    return [*np.searchsorted(part.t, clip.edges).tolist(), len(part)]


def _binned(coordinate: NDArray[np.uint16], size: int, bins: int) -> NDArray[np.int32]:
    """Coordinate * bins // size of every event, int32; a shift where that is a power of two, for speed."""
    ratio, rest = divmod(size, bins)
    if not rest and ratio & (ratio - 1) == 0:
        return (coordinate >> (ratio.bit_length() - 1)).astype(np.int32)
    scaled = coordinate.astype(np.int32)
    scaled *= bins
    scaled //= size
    return scaled
