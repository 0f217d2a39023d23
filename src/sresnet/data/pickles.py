"""Reads pickles of plain values and arrays of bytes, and runs nothing.

The python version of CIFAR is published as pickles, and Python's unpickler runs whatever a pickle names. Refusing names
in its `find_class` is not enough: numpy's `__setstate__` trusts the flags in a pickled dtype, so a crafted array can
pass bytes off as object pointers, and a few bytes can ask the memo for gigabytes. So here are the 34 instructions of
protocol 2 that such files use, and nothing that a file names is called: names are labels, and arrays are made from
checked sizes. A `Dialect` says which labels there are and what they stand for; `models.torch_files` has one for
PyTorch's checkpoints.
"""

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sresnet.errors import UserError


class PickleFault(ValueError):
    """The bytes are not such a pickle."""


@dataclass(frozen=True)
class _Name:
    """A name that a pickle holds, by what it stands for."""

    meaning: str


def _no_references(value: Any) -> Any:
    """Refuse references to values outside of the pickle."""
    raise PickleFault("it refers to something outside")


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """What a kind of pickles may name, and what that does here."""

    names: Mapping[bytes, str]
    """Name in the file -> what it stands for."""
    call: Callable[[str, tuple[Any, ...]], Any]
    """What a call of a name, by what it stands for, gives for these arguments."""
    set_state: Callable[[Any, Any], None]
    """Gives a value the state that the pickle holds for it."""
    load: Callable[[Any], Any] = _no_references
    """The value that is kept outside of the pickle under this reference."""


class _ByteType:
    """The dtype uint8, the only one."""


class ByteArray:
    """An array of a pickle; `values` (uint8, read-only) is None until the pickle has given its contents."""

    def __init__(self) -> None:
        self.values: NDArray[np.uint8] | None = None


def read_pickle(raw: bytes, where: str) -> Any:
    """The value of a pickle of dict, list, tuple, int, float, bytes, str, bool, None and `ByteArray`; UserError else.

    The strings of Python 2 become bytes.
    """
    try:
        value, end = run_pickle(raw, ARRAYS)
        if end != len(raw):
            raise PickleFault(f"{len(raw) - end} bytes follow its end")
        return value
    except PickleFault as fault:
        raise UserError(
            f"{where} is not a pickle of plain values and byte arrays ({fault}): delete it and download it again"
        ) from None


def run_pickle(raw: bytes, dialect: Dialect, start: int = 0) -> tuple[Any, int]:
    """(value, byte behind it) of the pickle at byte `start`; PickleFault for what is not of `dialect`."""
    try:
        return _run(raw, dialect, start)
    except PickleFault:
        raise
    # What Python says about a missing stack or memo entry means nothing to the reader.
    except (IndexError, KeyError, ValueError, TypeError, struct.error):
        raise PickleFault("its instructions do not fit together") from None


def _run(raw: bytes, dialect: Dialect, position: int) -> tuple[Any, int]:
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def take(count: int) -> bytes:
        nonlocal position
        if count < 0 or position + count > len(raw):
            raise PickleFault(f"it ends at byte {len(raw)}, inside a value")
        position += count
        return raw[position - count : position]

    def number(layout: str) -> int:
        return int(struct.unpack(layout, take(struct.calcsize(layout)))[0])

    def line() -> bytes:
        nonlocal position
        start, position = position, raw.index(b"\n", position) + 1
        return raw[start : position - 1]

    def since_mark() -> list[Any]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    pushed: dict[bytes, Callable[[], Any]] = {
        b"K": lambda: take(1)[0],
        b"M": lambda: number("<H"),
        b"J": lambda: number("<i"),
        b"\x8a": lambda: int.from_bytes(take(take(1)[0]), "little", signed=True),
        b"G": lambda: struct.unpack(">d", take(8))[0],
        b"U": lambda: take(take(1)[0]),
        b"T": lambda: take(number("<i")),
        b"X": lambda: take(number("<I")).decode("utf-8"),
        b"N": lambda: None,
        b"\x88": lambda: True,
        b"\x89": lambda: False,
        b"h": lambda: memo[take(1)[0]],
        b"j": lambda: memo[number("<I")],
        b"]": list,
        b"}": dict,
        b")": tuple,
        b"\x85": lambda: (stack.pop(),),
        b"t": lambda: tuple(since_mark()),
        b"Q": lambda: dialect.load(stack.pop()),
    }
    while True:
        code = take(1)
        if push := pushed.get(code):
            stack.append(push())
        elif code == b"q":
            memo[take(1)[0]] = stack[-1]
        elif code == b"r":
            memo[number("<I")] = stack[-1]
        elif code == b"(":
            marks.append(len(stack))
        elif code == b"a":
            value = stack.pop()
            expect(stack[-1], list).append(value)
        elif code == b"e":
            items = since_mark()
            expect(stack[-1], list).extend(items)
        elif code == b"s":
            value, key = stack.pop(), stack.pop()
            _set_items(stack[-1], [key, value])
        elif code == b"u":
            items = since_mark()
            _set_items(stack[-1], items)
        elif code == b"\x86":
            stack[-2:] = [(stack[-2], stack[-1])]
        elif code == b"\x87":
            stack[-3:] = [(stack[-3], stack[-2], stack[-1])]
        elif code == b"c":
            name = line() + b"." + line()
            if name not in dialect.names:
                raise PickleFault(f"it asks for {name[:80].decode('ascii', 'backslashreplace')!r}")
            stack.append(_Name(dialect.names[name]))
        elif code == b"R":
            arguments, called = expect(stack.pop(), tuple), expect(stack.pop(), _Name)
            stack.append(dialect.call(called.meaning, arguments))
        elif code == b"b":
            state = stack.pop()
            dialect.set_state(stack[-1], state)
        elif code == b"\x80":
            if take(1) != b"\x02":
                raise PickleFault("it is not of protocol 2")
        elif code == b".":
            return stack.pop(), position
        else:
            raise PickleFault(f"byte {position - 1} is the instruction 0x{code.hex()}")


def expect(value: Any, kind: type) -> Any:
    """The value, which has to be of a type."""
    if type(value) is not kind:
        raise PickleFault(f"a {type(value).__name__} stands where a {kind.__name__} belongs")
    return value


def _set_items(target: Any, items: list[Any]) -> None:
    for key, value in zip(items[::2], items[1::2], strict=True):
        # Only names and numbers as keys: hashing a tuple of tuples could take for ever.
        if type(key) not in (bytes, str, int):
            raise PickleFault(f"a {type(key).__name__} is a key")
        expect(target, dict)[key] = value


def _call(meaning: str, arguments: tuple[Any, ...]) -> Any:
    if meaning == "array":
        return ByteArray()
    if meaning == "dtype":
        if not arguments or arguments[0] not in ("u1", b"u1"):
            raise PickleFault("an array is not of bytes")
        return _ByteType()
    if meaning == "encode":
        return encoded(arguments)
    raise PickleFault(f"{meaning} is called")


def encoded(arguments: tuple[Any, ...]) -> bytes:
    """Bytes as Python 3 writes them in protocol 2, as text and the name of its encoding."""
    if len(arguments) != 2 or arguments[1] not in ("latin1", b"latin1"):
        raise PickleFault("bytes are not encoded as Python does it")
    text: str = expect(arguments[0], str)
    return text.encode("latin1")


def _set_state(target: Any, state: Any) -> None:
    if type(target) is _ByteType:
        return  # byte order and alignment: of no consequence for bytes
    expect(target, ByteArray)
    if type(state) is not tuple or len(state) != 5:
        raise PickleFault("the contents of an array do not have five parts")
    _, shape, kind, column_major, contents = state
    expect(kind, _ByteType)
    if column_major is not False:
        raise PickleFault("an array is in column order")
    if any(type(length) is not int or length < 0 for length in expect(shape, tuple)):
        raise PickleFault("the shape of an array is not of whole numbers")
    # The product is of Python's integers, which do not overflow; more axes than a few would only make it slow.
    if len(shape) > 8 or math.prod(shape) != len(expect(contents, bytes)):
        raise PickleFault("the size of an array is not its number of bytes")
    target.values = np.frombuffer(contents, dtype=np.uint8).reshape(shape)


ARRAYS = Dialect(
    # numpy 2 moved _reconstruct; `encode` is how Python 3 writes bytes.
    names={
        b"numpy.core.multiarray._reconstruct": "array",
        b"numpy._core.multiarray._reconstruct": "array",
        b"numpy.ndarray": "array type",
        b"numpy.dtype": "dtype",
        b"_codecs.encode": "encode",
    },
    call=_call,
    set_state=_set_state,
)
"""Arrays of bytes."""
