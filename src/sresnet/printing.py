"""Printing: no name of a file or class can control a terminal, forge a line, fill a screen or fail to print.

All that the package prints goes through `say`, and the message of a `UserError` through `one_line`. Ruff refuses a bare
print elsewhere.
"""

import contextlib
import csv
import dataclasses
import functools
import io
import json
import math
import os
import re
import sys
import threading
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import IO, Any

MOST = 1900
"""Characters of a message, so that a line with its prefix stays below 2,000."""
LONG_WORD = 400
"""Characters of a word, such as a path, before its middle is left out."""
HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories of characters that show nothing: controls, marks that reorder or join, surrogates, and separators
of lines and paragraphs."""
JOINERS = "\u200c\u200d"
"""The two of these that scripts such as Persian and Hindi need within words; they do no harm."""


def printable(text: str) -> str:
    r"""`text` with every character that shows nothing written as Python would: `\n`, `\x1b`, `\u202e`.

    A byte of a file name that is not UTF-8 is shown as that byte, `\xff`.
    """
    if text.isprintable():
        return text
    return "".join(
        escaped(char) if unicodedata.category(char) in HIDDEN and char not in JOINERS else char for char in text
    )


def printable_lines(text: str) -> str:
    """`printable` except for line breaks and tabs: text for HTML and XML, which hold no control characters."""
    return "".join(part if part in ("\n", "\t") else printable(part) for part in re.split(r"([\n\t])", text))


def escaped(char: str) -> str:
    r"""A character as Python writes it; the stand-in for a byte that did not decode as that byte."""
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()


def one_line(text: str) -> str:
    """A printable message on one line, without the middle of long words and of a long message."""
    text = re.sub(rf"\S{{{LONG_WORD + 1},}}", lambda word: cut(word[0], LONG_WORD), printable(text))
    return cut(text, MOST)


def cut(text: str, most: int) -> str:
    """Beginning and end of a text of more than `most` characters, and its length."""
    if len(text) <= most:
        return text
    mark = f"...[{len(text):,} characters]..."
    end = (most - len(mark)) // 3
    return text[: most - len(mark) - end] + mark + text[-end:]


def say(*lines: str, error: bool = False, flush: bool = False) -> None:
    """Print each of `lines` on a line of its own, on the output or, with `error`, on the error output.

    Characters that the stream's encoding lacks are escaped, so that printing never fails.
    """
    stream = sys.stderr if error else text_output()
    emit("".join(f"{encodable(printable(line), stream)}\n" for line in lines), stream, flush=flush)


_AS_JSON: ContextVar[list[BrokenPipeError] | None] = ContextVar("as_json", default=None)
"""Inside `as_json`, what became of results that had no reader."""


@contextlib.contextmanager
def as_json() -> Iterator[None]:
    """Inside, the output is what `give` is given, as JSON, and text goes to the error output.

    Raises:
        BrokenPipeError: at the end, where results had no reader; work that is `going_on` has been done.
    """
    unread: list[BrokenPipeError] = []
    before = _AS_JSON.set(unread)
    try:
        yield
    finally:
        _AS_JSON.reset(before)
    if unread:
        raise unread[0]


def json_asked() -> bool:
    """Whether this is inside `as_json`."""
    return _AS_JSON.get() is not None


def text_output() -> IO[str]:
    """Where text for people goes."""
    return sys.stderr if json_asked() else sys.stdout


def give(found: Any) -> None:
    """Print what a command found as JSON, inside `as_json`; elsewhere nothing.

    Args:
        found: dataclasses, named tuples, mappings, sequences, numbers (NaN and infinity become null), texts and paths.
    """
    if (unread := _AS_JSON.get()) is None:
        return
    try:
        print(json.dumps(_plain(found), indent=2), file=sys.stdout, flush=True)
    except BrokenPipeError as error:
        if not GOING_ON.get():
            raise
        drop(sys.stdout)
        unread.append(error)


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def emit(text: str, stream: IO[str], *, flush: bool = False) -> None:
    """Write text as it is; inside `going_on`, drop it once its reader is gone."""
    try:
        print(text, end="", file=stream, flush=flush)
    except BrokenPipeError:
        if not GOING_ON.get():
            raise
        drop(stream)


def drop(stream: IO[str] | None) -> None:
    """Discard what a stream could not write, and all that will be written to it."""
    with contextlib.suppress(OSError, ValueError, AttributeError), open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())  # type: ignore[union-attr]


GOING_ON: ContextVar[bool] = ContextVar("going_on", default=False)
"""Whether work goes on when the reader of its output is gone."""


@contextlib.contextmanager
def going_on() -> Iterator[None]:
    """Work that is worth more than its output: inside, it does not end when a reader such as head does."""
    before = GOING_ON.set(True)
    try:
        yield
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                emit("", stream, flush=True)
    finally:
        GOING_ON.reset(before)


def encodable(text: str, stream: IO[str]) -> str:
    r"""`text` as a stream can write it: on one of ASCII, é is `\xe9`."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def csv_of(rows: Iterable[Sequence[str | int | float | None]]) -> str:
    """Comma-separated values in which spreadsheets see text as text and numbers as numbers."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([_inert(value) if isinstance(value, str) else value for value in row] for row in rows)
    return file.getvalue()


def _inert(text: str) -> str:
    """Printable `text`, with an apostrophe where a spreadsheet would see a formula.

    Formulas begin with = + - @, also in their wide forms, for some programs after blanks.
    """
    text = printable(text)
    if not text.lstrip().startswith(tuple("=+-@＝＋－＠")):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


@functools.cache
def tell_once(line: str) -> None:
    """Print a line on stderr, once per process."""
    say(one_line(f"sresnet: {line}"), error=True, flush=True)


_unwarned = threading.RLock()


@contextlib.contextmanager
def unwarned(kind: type[Warning] = Warning, message: str = "") -> Iterator[None]:
    """Inside, hide warnings of this kind whose text begins with this regular expression.

    Filters belong to the process: one thread at a time changes them.
    """
    with _unwarned, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=message, category=kind)
        yield
