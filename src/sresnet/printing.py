"""Text as it is shown: no name of a file or class drives a terminal, forges a line, fills a screen or fails to print.

Everything that the package prints goes through `say`; a `UserError` puts its message through `one_line` when it is
made. Ruff refuses a bare print elsewhere.
"""

import contextlib
import csv
import functools
import io
import os
import re
import sys
import threading
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import IO

MOST = 1900
"""Characters of a message, so that with what is printed in front of it the line stays below 2,000."""
LONG_WORD = 400
"""Characters of a single word, such as a path or a value that is quoted, before its middle is left out."""
HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's categories of characters that do something instead of showing something: controls, marks that reorder or
join, surrogates, and separators of lines and paragraphs."""
JOINERS = "\u200c\u200d"
"""Of those, the two that scripts such as Persian and Hindi need within words, and that do nothing else."""


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
    """`printable` with line breaks and tabs left as they are.

    So text may stand in HTML and XML, which hold no control characters; no file holds the half of a character, and
    marks that reorder text would go on beyond it.
    """
    return "".join(part if part in ("\n", "\t") else printable(part) for part in re.split(r"([\n\t])", text))


def escaped(char: str) -> str:
    r"""A character as Python writes it; the stand-in for a byte that did not decode as that byte."""
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()


def one_line(text: str) -> str:
    """A message of one line: printable, and the middle left out of a long word, and of what is too long as a whole."""
    text = re.sub(rf"\S{{{LONG_WORD + 1},}}", lambda word: cut(word[0], LONG_WORD), printable(text))
    return cut(text, MOST)


def cut(text: str, most: int) -> str:
    """The beginning and the end of a text of more than `most` characters, and how many there were."""
    if len(text) <= most:
        return text
    mark = f"...[{len(text):,} characters]..."
    end = (most - len(mark)) // 3
    return text[: most - len(mark) - end] + mark + text[-end:]


def say(*lines: str, error: bool = False, flush: bool = False) -> None:
    """Print each of `lines` on one line of its own, on the output or, with `error`, on the error output.

    What the stream's encoding lacks is escaped like what does not show, so that printing never fails over a name.
    """
    stream = sys.stderr if error else sys.stdout
    emit("".join(f"{encodable(printable(line), stream)}\n" for line in lines), stream, flush=flush)


def emit(text: str, stream: IO[str], *, flush: bool = False) -> None:
    """Write text as it is; where it has no reader any more and `going_on` says so, drop it from then on."""
    try:
        print(text, end="", file=stream, flush=flush)
    except BrokenPipeError:
        if not GOING_ON.get():
            raise
        drop(stream)


def drop(stream: IO[str] | None) -> None:
    """Let go of what a stream could not write, and of all that will be written to it."""
    with contextlib.suppress(OSError, ValueError, AttributeError), open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())  # type: ignore[union-attr]


GOING_ON: ContextVar[bool] = ContextVar("going_on", default=False)
"""Whether work goes on where its output has no reader any more."""


@contextlib.contextmanager
def going_on() -> Iterator[None]:
    """Work that is worth more than its output: within this context, a reader such as head that leaves ends nothing."""
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
    """Comma-separated values in which text is text for a spreadsheet too, and a number a number."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([_inert(value) if isinstance(value, str) else value for value in row] for row in rows)
    return file.getvalue()


def _inert(text: str) -> str:
    """`text` in printable characters, with an apostrophe where a spreadsheet would take it for a formula.

    Spreadsheets compute cells that begin with = + - @, also in their wide forms, and some look behind blanks.
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
    """Warnings of this kind whose text begins as this regular expression says are not shown inside.

    Python's filters are the process's: one thread at a time puts them back as they were.
    """
    with _unwarned, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=message, category=kind)
        yield
