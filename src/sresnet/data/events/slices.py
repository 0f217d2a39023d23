"""Events that come in slices of time, as arrays or recordings: each as a recording, checked."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sresnet.data.events.recording import Recording
from sresnet.errors import UserError

Slice = Recording | NDArray[Any] | Sequence[Any]
"""Events of a stretch of time: a recording; arrays (t, x, y, on); or a structured array with such fields."""

_FIELDS = (("t", "timestamp", "ts"), ("x",), ("y",), ("on", "p", "polarity"))
"""Names that fields of structured arrays go by."""


def is_one(slices: Any) -> bool:
    """Whether what was given for slices is one: a recording, a structured array, or a tuple of four arrays."""
    if isinstance(slices, tuple) and len(slices) == 4:
        return all(isinstance(each, np.ndarray | Tensor) and not _has_fields(each) for each in slices)
    return isinstance(slices, Recording) or _has_fields(slices)


def _has_fields(events: Any) -> bool:
    """Whether this is a structured array."""
    return isinstance(events, np.ndarray) and events.dtype.names is not None


def as_recording(events: Any, size: tuple[int, int] | None) -> Recording:
    """Events as a recording; `size` of the sensor, for arrays. UserError for what are none."""
    sensor = "stream"
    if isinstance(events, Recording):
        columns = [events.t, events.x, events.y, events.on]
        sensor, size = events.sensor, (events.width, events.height)
    elif _has_fields(events):
        columns = []
        for names in _FIELDS:
            found = [name for name in names if name in events.dtype.names]
            if not found:
                raise UserError(f"a slice has fields {', '.join(events.dtype.names)}: {' or '.join(names)} is missing")
            columns.append(events[found[0]])
    elif isinstance(events, tuple | list) and len(events) == 4:
        columns = list(events)
    else:
        raise UserError(
            f"a slice of events is of type {type(events).__name__}: give arrays (t, x, y, on), a Recording, or a "
            "structured array"
        )
    if size is None:
        raise UserError("arrays do not say how large their sensor is: give size=(width, height)")
    width, height = size
    t, x, y, on = (_column(name, column) for name, column in zip(("t", "x", "y", "on"), columns, strict=True))
    if not len(t) == len(x) == len(y) == len(on):
        raise UserError(
            f"t, x, y and on have {len(t)}, {len(x)}, {len(y)} and {len(on)} values: give one each an event"
        )
    if len(t) and max(abs(int(t.min())), abs(int(t.max()))) >= 1 << 62:
        raise UserError(f"t runs from {t.min()} to {t.max()}, beyond 62 bits: give microseconds")
    for name, column, most in (("x", x, width), ("y", y, height)):
        if len(column) and not 0 <= int(column.min()) <= int(column.max()) < most:
            raise UserError(
                f"{name} runs from {column.min()} to {column.max()}, and the sensor has {width}x{height} pixels: is "
                "size (width, height) right?"
            )
    if len(on) and on.dtype != np.bool_ and not -1 <= int(on.min()) <= int(on.max()) <= 1:
        raise UserError(
            f"on runs from {on.min()} to {on.max()}: give True or 1 for brighter, False, 0 or -1 for darker"
        )
    return Recording(
        t=t.astype(np.int64, copy=False),
        x=x.astype(np.uint16, copy=False),
        y=y.astype(np.uint16, copy=False),
        on=on > 0,
        width=width,
        height=height,
        sensor=sensor,
    )


def _column(name: str, values: Any) -> NDArray[Any]:
    """One column of a slice; UserError for what is no row of whole numbers."""
    found = np.asarray(values)
    if found.ndim != 1:
        raise UserError(f"{name} has shape {found.shape}: give one value for each event, [events]")
    if not len(found):
        return found.astype(np.int64)
    if found.dtype.kind not in ("iub" if name == "on" else "iu"):
        unit = "whole microseconds" if name == "t" else "whole numbers"
        raise UserError(f"{name} is of {found.dtype}: give {unit}")
    return found
