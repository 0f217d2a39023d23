"""Tables, progress bars and signs of life on the terminal, and stopping on signals."""

import contextlib
import io
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn, track
from rich.table import Table
from rich.text import Text

from sresnet.analysis import Batches
from sresnet.data.cached import Watch
from sresnet.printing import emit, encodable, json_asked, printable, say, text_output
from sresnet.report.document import Value, columns, shown

T = TypeVar("T")


@contextlib.contextmanager
def filling(kind: str = "recordings") -> Iterator[Watch]:
    """A function that shows how far a cache is filled, with the frames of recordings or with decoded pictures.

    A bar on a terminal, a line now and then elsewhere.
    """
    what = {"recordings": "frames of recordings", "pictures": "decoded pictures"}[kind]
    console = Console(stderr=True)
    last = time.monotonic()

    def lines(done: int, total: int, name: str) -> None:
        nonlocal last
        if name == "another process":
            say(f"another process is making these {what.split(' of ')[0]}: waiting for it", error=True, flush=True)
        elif time.monotonic() - last > 30:
            say(f"{what}: {done:,} of {total:,}", error=True, flush=True)
            last = time.monotonic()

    if not console.is_terminal:
        yield lines
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as screen:
        task = screen.add_task(what, total=None, visible=False)

        def watch(done: int, total: int, name: str) -> None:
            waiting = name == "another process"
            description = "waiting for another process" if waiting else what
            screen.update(task, completed=done, total=total, description=description, visible=True)

        yield watch


@contextlib.contextmanager
def stop_asked(max_minutes: float) -> Iterator[Callable[[], str]]:
    """A function that says why to stop, "" while there is no reason: a signal, or the time is up.

    The first Ctrl-C or SIGTERM asks; a second Ctrl-C stops at once. Signals are the main thread's: in another one they
    are left to their handlers there, and only time ends a run.
    """
    reasons: list[str] = []
    end = time.monotonic() + 60 * max_minutes

    def note(number: int, frame: Any) -> None:
        reasons.append(signal.Signals(number).name)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def reason() -> str:
        if not reasons and time.monotonic() >= end:
            reasons.append(f"{max_minutes:g} minutes are over")
        return reasons[0] if reasons else ""

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield reason
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: set by another language, lost to Python


def signs_of_life(batches: Batches, total: int) -> Batches:
    """The same batches, with a line of progress every half minute."""
    last, done = time.monotonic(), 0
    for x, labels in batches:
        yield x, labels
        done += len(labels)
        if time.monotonic() - last > 30:
            say(f"{done:,} of {total:,} images", error=True, flush=True)
            last = time.monotonic()


def print_table(header: str, rows: Iterable[Sequence[Value]]) -> None:
    """Rows under the headings of `document.columns`; words to the left, the rest to the right."""
    screen, text = Console(stderr=json_asked()), io.StringIO()
    console = Console(file=text, width=screen.width if screen.is_terminal else 120, force_terminal=screen.is_terminal)
    table, heads = Table(box=None, pad_edge=False), columns(header)
    for heading, _ in heads:
        side: Any = "left" if heading in ("layer", "kernel", "input", "receives", "violated") else "right"
        table.add_column(heading, justify=side, overflow="fold")
    for row in rows:
        cells = [shown(value, form) for value, (_, form) in zip(row, heads, strict=True)]
        table.add_row(*(Text(encodable(printable(cell), sys.stdout)) for cell in cells))  # no markup of rich's
    console.print(table)
    emit(text.getvalue(), text_output())


def reading(paths: Sequence[T]) -> Iterable[T]:
    """The same paths, with a progress bar on a terminal."""
    return track(paths, "reading", console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
