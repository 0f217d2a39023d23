"""Events in HDF5 files: Prophesee's, DSEC's, and others with columns that are named so (extra `hdf5`).

Source: Prophesee's description of its HDF5 event files; Gehrig et al., DSEC, IEEE RA-L 6, 2021, and its description of
the files.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sresnet.data.events import ecf
from sresnet.data.events.columns import BLOCK, EventFile, Events, ReadConfig
from sresnet.data.events.tables import SPELLINGS, Columns, Table, columns_named, size_said, table_events
from sresnet.errors import UserError, optional
from sresnet.files import Content, as_file

MAGIC = b"\x89HDF\r\n\x1a\n"

_GROUPS = ("CD/events", "events", "")
"""Where columns are looked for."""
_FILTERS = {32000: "LZF", 32001: "Blosc", 32004: "LZ4", 32015: "Zstandard", 32026: "Blosc2", 32008: "bitshuffle"}


def open_hdf5(data: Content, name: str, config: ReadConfig) -> Events:
    """`/CD/events`, a table of x, y, p and t (Prophesee); or `/events`, or the file itself, with such columns.

    DSEC's have `t_offset` beside `events`, which is added to the times; its cameras have 640x480 pixels. Prophesee's
    files say their size (`geometry`), and are compressed by ECF, which is unpacked here; other compressions are left to
    HDF5 and the package hdf5plugin. Events of `EXT_TRIGGER` are left out and counted (`trigger`).

    Raises:
        UserError: h5py or what unpacks the file is not installed, a file that HDF5 cannot read, no such columns; the
            rest as `table_events`.
    """
    with optional("HDF5 files need", "h5py", "hdf5"):
        import h5py
    try:
        source = h5py.File(as_file(data), "r")
        table, triggers = _table(source, name, h5py)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # HDF5 says of damage what it trips over
        raise UserError(f"{name} cannot be read by HDF5 ({_reason(error)}): get it again") from None
    file = EventFile(data, name, config)
    events = table_events(file, table)
    read = events.blocks

    def blocks(file: EventFile) -> Iterator[Any]:
        file.skip("trigger", triggers)
        yield from read(file)

    return Events(**{**vars(events), "blocks": blocks})


def _table(source: Any, name: str, h5py: Any) -> tuple[Table, int]:
    """The columns of an open file, and how many triggers are beside them."""
    where = next((place for place in _GROUPS if _holds(source, place, h5py)), None)
    if where is None:
        listed = ", ".join(f"{name[:40]!a}" for name in list(source)[:12]) or "nothing"
        raise UserError(
            f"{name} has no events where they are looked for (at its top: {listed}): expected CD/events with x, y, p "
            "and t, or events/t, events/x, events/y and events/p"
        )
    found = source[where] if where else source
    if isinstance(found, h5py.Dataset):
        names = columns_named(found.dtype.fields or {}, f"{name}, {where}")
        parts: dict[str, Any] = {where: found}
        packed = _check_filters(found, name, h5py)
        count = len(found)

        def passes() -> Iterator[Columns]:
            for part in _unpacked(found, name) if packed else _read(found, name):
                yield {key: part[field] for key, field in names.items()}

    else:
        datasets = {key: each for key, each in found.items() if isinstance(each, h5py.Dataset) and each.ndim == 1}
        names = columns_named(datasets, f"{name}, {where or 'top'}")
        parts = {key: datasets[each] for key, each in names.items()}
        if any(_check_filters(each, name, h5py) for each in parts.values()):
            raise UserError(f"{name} has columns compressed by ECF, which is for whole events: store it again")
        if len({len(each) for each in parts.values()}) > 1:
            listed = ", ".join(f"{key}: {len(each):,}" for key, each in parts.items())
            raise UserError(f"{name} has columns of different lengths ({listed}): get it again")
        count = len(parts["t"])

        def passes() -> Iterator[Columns]:
            for each in zip(*(_read(part, name) for part in parts.values()), strict=True):
                yield dict(zip(parts, each, strict=True))

    offset = int(np.asarray(source["t_offset"][()]).ravel()[0]) if "t_offset" in source else 0
    width, height = _size(source, found)
    sensor = "Prophesee" if where == "CD/events" else ""
    if "t_offset" in source and "ms_to_idx" in source:
        sensor, (width, height) = "DSEC", (width, height) if width else (640, 480)
    triggers = source["EXT_TRIGGER/events"].shape[0] if "EXT_TRIGGER/events" in source else 0
    clock = "microseconds, t_offset added" if offset else ""
    if where == "CD/events":
        clock = "microseconds of the camera's clock, or shifted to zero where the program that wrote the file did so"
    # A compressed file may claim any number of events.
    held = count if all(part.id.get_storage_size() >= part.dtype.itemsize * count for part in parts.values()) else 0
    size: dict[str, int] = {"width": width, "height": height, "offset": offset}
    return Table(passes=passes, count=held, sensor=sensor, clock=clock, **size), triggers


def _holds(source: Any, place: str, h5py: Any) -> bool:
    """Whether columns may be at a place of a file."""
    found = source if not place else source.get(place)
    if isinstance(found, h5py.Dataset):
        return found.ndim == 1 and found.dtype.fields is not None
    names = {str(each).lower() for each in found} if isinstance(found, h5py.Group) else set()
    return all(names & set(spellings) for spellings in SPELLINGS.values())


def _size(source: Any, found: Any) -> tuple[int, int]:
    """Width and height, where an attribute gives them."""
    for attributes in (source.attrs, found.attrs):
        if (size := size_said(attributes.get("geometry", "")))[0]:
            return size
        if "width" in attributes and "height" in attributes:
            return int(attributes["width"]), int(attributes["height"])
        # As event_utils and others write it: rows first.
        resolution = np.asarray(attributes.get("sensor_resolution", ())).ravel()
        if len(resolution) >= 2:
            return int(resolution[1]), int(resolution[0])
    return 0, 0


def _check_filters(dataset: Any, name: str, h5py: Any) -> bool:
    """Whether a data set is compressed by ECF; UserError where what it is compressed by is not there."""
    properties = dataset.id.get_create_plist()
    numbers = [int(properties.get_filter(index)[0]) for index in range(properties.get_nfilters())]
    if ecf.FILTER in numbers:
        if numbers != [ecf.FILTER]:
            raise UserError(f"{name} is compressed by ECF and something else, which is not read: store it again")
        return True
    for number in numbers:
        if not h5py.h5z.filter_avail(number):
            said = _FILTERS.get(number, f"the filter {number}")
            with optional(f"{name} is compressed by {said} and needs", "hdf5plugin", "hdf5"):
                import hdf5plugin
            assert hdf5plugin
        if not h5py.h5z.filter_avail(number):
            raise UserError(f"{name} is compressed by {said}, which HDF5 does not find: store it again by gzip")
    return False


def _read(dataset: Any, name: str) -> Iterator[NDArray[Any]]:
    """The rows of a data set, BLOCK at a time."""
    for start in range(0, len(dataset), BLOCK):
        try:
            yield dataset[start : start + BLOCK]
        except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"{name} cannot be read by HDF5 ({_reason(error)}): get it again") from None


def _unpacked(dataset: Any, name: str) -> Iterator[NDArray[Any]]:
    """The events of a data set that is compressed by ECF, a chunk of it at a time."""
    (size,), count = dataset.chunks, len(dataset)
    for start in range(0, count, size):
        try:
            mask, chunk = dataset.id.read_direct_chunk((start,))
            events = np.frombuffer(chunk, ecf.EVENT) if mask & 1 else ecf.unpack(chunk)
            wanted = min(size, count - start)
            if len(events) < wanted:
                raise ValueError(f"it has {len(events):,} of {wanted:,} events")
        except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"{name} has a chunk at event {start:,} that does not unpack ({_reason(error)}): get it again"
            ) from None
        yield events[:wanted]


def _reason(error: Exception) -> str:
    """What an exception says, in a line, or what it is called."""
    return " ".join(str(error).split())[:200] or type(error).__name__
