"""Events as arrays of NumPy (`.npy`, `.npz`) and MATLAB (`.mat`).

Source: the description of the NPY format.
"""

import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from sresnet.archives import PACKED
from sresnet.data.events.columns import BLOCK, EventFile, Events, ReadConfig
from sresnet.data.events.matlab import variables
from sresnet.data.events.tables import Columns, Table, columns_by_content, columns_named, table_events
from sresnet.errors import UserError
from sresnet.files import Content, as_file
from sresnet.limits import check_claim

NPY, ZIP = b"\x93NUMPY", b"PK\x03\x04"

_ROWS = Callable[[], Iterator[NDArray[Any]]]


def open_npy(data: Content, name: str, config: ReadConfig) -> Events:
    """A structured array [events] with fields such as t, x, y and p, or an array [events, 4] whose numbers say it.

    UserError for other arrays; the rest as `table_events`.
    """
    dtype, shape, opened = _array(lambda: as_file(data), name)
    file = EventFile(data, name, config)
    rows = partial(_rows, opened, dtype, shape, name)
    return table_events(file, _table(dtype, shape, rows, name, len(data)))


def open_npz(data: Content, name: str, config: ReadConfig) -> Events:
    """Arrays t, x, y and p of one length, or one array as in a `.npy` file; other arrays are left alone.

    UserError for a file without them; the rest as `table_events`.
    """
    try:
        archive = zipfile.ZipFile(as_file(data))
        members = {each.filename.removesuffix(".npy"): each for each in archive.infolist()}
    except MemoryError:
        raise
    except Exception as error:  # zipfile raises whatever damage makes it trip over
        raise UserError(f"{name} is not a complete .npz file ({_reason(error)}): get it again") from None
    for each in members.values():
        if each.compress_type not in PACKED:
            raise UserError(f"{name} is not compressed as NumPy does it: save it again by numpy.savez")
    arrays = {key: _array(partial(archive.open, each), f"{name}, {key!a}") for key, each in members.items()}
    file = EventFile(data, name, config)
    whole = [key for key, (dtype, shape, _) in arrays.items() if dtype.names or (len(shape) == 2 and shape[1] >= 4)]
    if len(whole) == 1:
        dtype, shape, opened = arrays[whole[0]]
        rows = partial(_rows, opened, dtype, shape, f"{name}, {whole[0]!a}")
        return table_events(file, _table(dtype, shape, rows, f"{name}, {whole[0]!a}", 0))
    names = columns_named(arrays, name)
    counts = {names[column]: int(np.prod(arrays[names[column]][1])) for column in names}
    _check_lengths(counts, name)

    def passes() -> Iterator[Columns]:
        parts = {}
        for column, key in names.items():
            dtype, shape, opened = arrays[key]
            parts[column] = _rows(opened, dtype, (int(np.prod(shape)),), f"{name}, {key!a}")
        for each in zip(*parts.values(), strict=True):
            yield dict(zip(parts, each, strict=True))

    return table_events(file, Table(passes=passes, count=0))


def open_mat(data: Content, name: str, config: ReadConfig) -> Events:
    """Variables such as ts, x, y and pol (ASL-DVS), a structure of them, or one array [events, 4 or more].

    The file is read whole. Rows are as they are stored: ASL-DVS and tonic do not agree on which is the top one.

    Raises:
        UserError: a file that cannot be read, claims too much, or holds no such variables; the rest as `table_events`.
    """
    content = data[: len(data)]

    def claim(unpacked: int) -> None:
        check_claim(name, f"{unpacked:,} bytes that it unpacks to", 3 * unpacked, len(content), config.memory_limit)

    try:
        found = variables(content, claim)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{name} cannot be read as a MAT file ({_reason(error)}): get it again") from None
    file = EventFile(data, name, config)
    matrices = {key: each for key, each in found.items() if each.ndim == 2 and min(each.shape) > 1}
    if len(found) == len(matrices) == 1:
        key, only = next(iter(matrices.items()))
        order = only if only.shape[1] <= only.shape[0] else only.T
        table = _table(order.dtype, order.shape, partial(_slices, order), f"{name}, {key!a}", order.nbytes)
        return table_events(file, table)
    # Of a structure, its fields.
    names = columns_named({key.rpartition(".")[2]: key for key in found}, name)
    fields = {key.rpartition(".")[2]: each.ravel() for key, each in found.items()}
    columns = {column: fields[field] for column, field in names.items()}
    _check_lengths({names[column]: len(array) for column, array in columns.items()}, name)

    def passes() -> Iterator[Columns]:
        for start in range(0, len(columns["t"]), BLOCK):
            yield {column: array[start : start + BLOCK] for column, array in columns.items()}

    return table_events(file, Table(passes=passes, count=len(columns["t"])))


def _table(dtype: np.dtype[Any], shape: tuple[int, ...], rows: _ROWS, where: str, length: int) -> Table:
    """The table of an array, structured or with a column for each kind of number, in a file of `length` bytes, or 0."""
    held = min(shape[0], length // max(1, dtype.itemsize)) if shape else 0
    names: dict[str, Any]
    if dtype.names and len(shape) == 1:
        names = columns_named(dict.fromkeys(dtype.names), where)
        if any(dtype[each].shape for each in names.values()):
            raise UserError(f"{where} has arrays for fields: store a number for each event and field")
        return Table(passes=lambda: ({key: part[at] for key, at in names.items()} for part in rows()), count=held)
    if dtype.kind in "iuf" and len(shape) == 2 and 4 <= shape[1] <= 64:
        places = columns_by_content(rows, shape[1], where)
        return Table(passes=lambda: ({key: part[:, at] for key, at in places.items()} for part in rows()), count=held)
    raise UserError(
        f"{where} is an array of {dtype} and shape {shape}, which holds no events: store a structured array with the "
        "fields t, x, y and p"
    )


def _check_lengths(counts: dict[str, int], name: str) -> None:
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{key[:40]!a}: {count:,}" for key, count in counts.items())
        raise UserError(f"{name} has columns of different lengths ({listed}): store them again")


def _array(
    opened: Callable[[], IO[bytes]], where: str
) -> tuple[np.dtype[Any], tuple[int, ...], Callable[[], IO[bytes]]]:
    """(type, shape, how it is opened at its first number) of an array in the NPY format; UserError for none."""

    def header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
        version = npy.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"its version is {version[0]}.{version[1]}")
        return npy.read_array_header_1_0(stream) if version == (1, 0) else npy.read_array_header_2_0(stream)

    def numbers() -> IO[bytes]:
        stream = opened()
        header(stream)
        return stream

    try:
        with opened() as stream:
            shape, columns_first, dtype = header(stream)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # of a text that is evaluated, or of zipfile
        raise UserError(f"{where} cannot be read as an array of NumPy ({_reason(error)}): save it again") from None
    if dtype.hasobject:
        raise UserError(f"{where} holds objects of Python, which could run code: save numbers")
    if columns_first and len(shape) > 1:
        raise UserError(f"{where} is stored column by column: save numpy.ascontiguousarray of it")
    return dtype, shape, numbers


def _rows(
    opened: Callable[[], IO[bytes]], dtype: np.dtype[Any], shape: tuple[int, ...], where: str
) -> Iterator[NDArray[Any]]:
    """The rows of an array, BLOCK at a time; UserError where the file ends before them."""
    size = dtype.itemsize * int(np.prod(shape[1:]))
    try:
        with opened() as stream:
            for start in range(0, shape[0], BLOCK):
                count = min(BLOCK, shape[0] - start)
                content = _exactly(stream, count * size)
                if len(content) < count * size:
                    raise EOFError(f"it ends before event {start + count:,} of {shape[0]:,}")
                yield np.frombuffer(content, dtype).reshape(count, *shape[1:])
    except (UserError, MemoryError):
        raise
    # A RuntimeError also where zipfile does not know the compression, or asks for a password.
    except (EOFError, OSError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{where} cannot be read ({_reason(error)}): get it again") from None


def _exactly(stream: IO[bytes], size: int) -> bytes:
    """So many bytes, or all that are left."""
    parts = []
    while size and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _slices(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    return (array[start : start + BLOCK] for start in range(0, len(array), BLOCK))


def _reason(error: Exception) -> str:
    """What an exception says, in a line, or what it is called."""
    return " ".join(str(error).split())[:200] or type(error).__name__
