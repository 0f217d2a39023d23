"""Reads files of `torch.save`: plain values and tensors, none larger than the file.

torch's restricted unpickler runs no code either, but takes memory for whatever sizes a file claims and raises nearly
anything for damage. Here `data.pickles` reads the pickle, tensors are marks until it is complete, and their sizes are
checked against the bytes that are there.

Two forms are read: the zip file that PyTorch writes since 1.6, and the stream of pickles before it.
"""

import io
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sresnet.archives import open_zip, read_member
from sresnet.data.pickles import Dialect, PickleFault, encoded, expect, run_pickle
from sresnet.errors import UserError
from sresnet.files import read_regular, state_of
from sresnet.limits import check_claim

ZIP = b"PK\x03\x04"
STREAM = 0x1950A86A20F9469CFC6C
"""The number that a stream of pickles begins with."""
PICKLE_TIMES = 64
"""Memory for the values of a pickle, as a multiple of its length, at most."""
STORAGES: dict[str, torch.dtype] = {
    "Float": torch.float32,
    "Double": torch.float64,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
}


@dataclass(frozen=True)
class Storage:
    """A row of numbers that is kept outside of the pickle."""

    key: str
    dtype: torch.dtype
    count: int


@dataclass(frozen=True)
class Mark:
    """A tensor of which only the pickle has been read."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _Label:
    """A value that is not needed: a dtype, a NumPy number."""


def read_torch_file(path: Path, memory_limit: float) -> tuple[Any, Callable[[Mark], Tensor]]:
    """The value in a file of `torch.save`, with a `Mark` for each tensor, and a function from marks to tensors.

    Tensors that share their numbers in the file share memory.

    Raises:
        UserError: nothing there, or a claim that is too large.
        PickleFault: anything but a complete file of plain values and tensors.
    """
    try:
        content = read_regular(path)
    except FileNotFoundError:
        raise UserError(f"{path} {state_of(path)}: give the checkpoint file that the authors publish") from None
    read = _read_zip if content.startswith(ZIP) else _read_stream
    value, rows = read(content, path, memory_limit)
    made: dict[str, Tensor] = {}

    def tensor(mark: Mark) -> Tensor:
        storage = mark.storage
        if storage.key not in made:
            raw, dtype = rows(storage), storage.dtype
            expected = storage.count * dtype.itemsize
            if len(raw) != expected:
                raise PickleFault(f"storage {storage.key} has {len(raw):,} bytes, not {expected:,}")
            # A copy that may be written to: torch warns about others.
            made[storage.key] = torch.frombuffer(bytearray(raw), dtype=dtype) if raw else torch.empty(0, dtype=dtype)
        row = made[storage.key]
        if row.dtype != storage.dtype or len(row) != storage.count:
            raise PickleFault(f"storage {storage.key} is of two kinds")
        return _placed(row, mark)

    return value, tensor


def _placed(row: Tensor, mark: Mark) -> Tensor:
    """The tensor of a mark, a view of its storage; PickleFault where it does not fit."""
    last = mark.offset + sum((length - 1) * step for length, step in zip(mark.size, mark.stride, strict=True))
    count = math.prod(mark.size)
    if not count or last >= len(row) or count > len(row):
        raise PickleFault(f"a tensor of {list(mark.size)} is not within its storage of {len(row):,}")
    return row.as_strided(mark.size, mark.stride, mark.offset)


Rows = Callable[[Storage], bytes]
"""The bytes of a storage."""


def _read_zip(content: bytes, path: Path, memory_limit: float) -> tuple[Any, Rows]:
    """Value and storages of a zip file: NAME/data.pkl, and NAME/data/KEY for each storage."""
    try:
        archive = open_zip(path, io.BytesIO(content))
    except UserError as error:
        raise PickleFault(str(error)) from None
    members = archive.infolist()
    claimed = 2 * sum(member.file_size for member in members)
    check_claim(str(path), f"{len(members):,} members", claimed, len(content), memory_limit)
    names = {member.filename for member in members}
    pickles = [name for name in names if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise PickleFault("it is a zip file of something else")
    start = pickles[0].removesuffix("data.pkl")

    def member(name: str, times: int = 1) -> bytes:
        if name not in names:
            raise PickleFault(f"it lacks {name}")
        try:
            return read_member(archive, name, name, memory_limit=memory_limit, times=times)
        except UserError as error:
            raise PickleFault(str(error)) from None

    order = f"{start}byteorder"
    if order in names and member(order) != b"little":
        raise PickleFault("its numbers are not little-endian")
    value, _ = run_pickle(member(pickles[0], PICKLE_TIMES), TENSORS)
    return value, lambda storage: member(f"{start}data/{storage.key}")


def _read_stream(content: bytes, *_: Any) -> tuple[Any, Rows]:
    """Value and storages of a stream: four pickles, one of the keys of the storages, and each of them by its length."""
    at = 0
    values: list[Any] = []
    while len(values) < 5:
        value, at = run_pickle(content, TENSORS, at)
        values.append(value)
        if values[0] != STREAM:
            raise PickleFault("it does not begin as such a file does")
    _, _, system, value, keys = values
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise PickleFault("its numbers are not little-endian")
    widths = {storage.key: storage.dtype.itemsize for storage in _marks_in(value)}
    places: dict[str, tuple[int, int]] = {}
    for key in expect(keys, list):
        if type(key) is not str or key not in widths or key in places or at + 8 > len(content):
            raise PickleFault("its storages are not those of its tensors")
        count = int(struct.unpack_from("<q", content, at)[0])
        end = at + 8 + count * widths[key]
        if count < 0 or end > len(content):
            raise PickleFault(f"it ends at byte {len(content):,}, inside a storage")
        places[key] = (at + 8, end)
        at = end

    def rows(storage: Storage) -> bytes:
        if storage.key not in places:
            raise PickleFault(f"it lacks storage {storage.key}")
        place = slice(*places[storage.key])
        return content[place]

    return value, rows


def _marks_in(value: Any) -> list[Storage]:
    """The storages of all tensors in a value, however deep."""
    found, left = [], [value]
    seen: set[int] = set()
    while left:
        value = left.pop()
        if isinstance(value, Mark):
            found.append(value.storage)
        elif isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            left += value.values() if isinstance(value, dict) else value
    return found


def _call(meaning: str, arguments: tuple[Any, ...]) -> Any:
    if meaning == "dictionary" and not arguments:
        return {}
    if meaning == "tensor":
        return _mark(arguments)
    if meaning == "parameter" and arguments:
        return expect(arguments[0], Mark)
    if meaning == "encode":
        return encoded(arguments)
    if meaning in ("dtype", "number", "device", "size"):
        return _Label()
    raise PickleFault(f"{meaning} is called")


def _mark(arguments: tuple[Any, ...]) -> Mark:
    if not 4 <= len(arguments) <= 7:
        raise PickleFault(f"a tensor is made of {len(arguments)} values")
    storage, offset, size, stride = arguments[:4]
    expect(storage, Storage)
    numbers = (offset, *expect(size, tuple), *expect(stride, tuple))
    if len(size) != len(stride) or len(size) > 8 or any(type(n) is not int or not 0 <= n < 1 << 48 for n in numbers):
        raise PickleFault("the shape of a tensor is not of whole numbers")
    return Mark(storage, offset, size, stride)


def _set_state(target: Any, state: Any) -> None:
    if type(target) not in (dict, _Label):  # what an OrderedDict has beside its items is left aside
        raise PickleFault(f"a {type(target).__name__} is given a state")


def _load(reference: Any) -> Storage:
    if type(reference) is not tuple or len(reference) not in (5, 6) or reference[0] != "storage":
        raise PickleFault("it refers to something else than a storage")
    _, kind, key, _, count = reference[:5]
    if len(reference) == 6 and reference[5] is not None:
        raise PickleFault("a storage is part of another")
    if getattr(kind, "meaning", "") not in STORAGES or type(key) is not str or type(count) is not int or count < 0:
        raise PickleFault("a storage is not of numbers")
    return Storage(key, STORAGES[kind.meaning], count)


TENSORS = Dialect(
    names={
        b"collections.OrderedDict": "dictionary",
        b"torch._utils._rebuild_tensor_v2": "tensor",
        b"torch._utils._rebuild_parameter": "parameter",
        b"torch.Size": "size",
        b"torch.device": "device",
        b"numpy.core.multiarray.scalar": "number",
        b"numpy._core.multiarray.scalar": "number",
        b"numpy.dtype": "dtype",
        b"_codecs.encode": "encode",
        **{f"torch.{name}Storage".encode(): name for name in STORAGES},
    },
    call=_call,
    set_state=_set_state,
    load=_load,
)
"""Dictionaries of tensors, and the numbers beside them."""
