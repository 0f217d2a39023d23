"""The progress of a run: a bar on a terminal, lines elsewhere, loggers if asked for."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from rich import progress as bars
from rich.console import Console

from sresnet.printing import json_asked, say
from sresnet.train.loggers import LoggerName, logged
from sresnet.train.loop import Progress
from sresnet.train.recipe import Recipe


@contextlib.contextmanager
def display(names: Iterable[LoggerName], folder: Path, recipe: Recipe) -> Iterator[Callable[[Progress], None]]:
    """A function that shows progress: a bar on a terminal, a line now and then elsewhere; and what `logged` gives."""
    with contextlib.ExitStack() as stack:
        watchers = [stack.enter_context(_bar()) if Console(stderr=json_asked()).is_terminal else _log_lines()]
        watchers.append(stack.enter_context(logged(names, folder, recipe, _say_now)))

        def watch(progress: Progress) -> None:
            for watcher in watchers:
                watcher(progress)

        yield watch


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    """Progress on a terminal."""
    with bars.Progress(
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.TextColumn("{task.fields[numbers]}"),
        console=Console(stderr=json_asked()),
    ) as screen:
        task = screen.add_task("", total=None, numbers="")

        def watch(progress: Progress) -> None:
            screen.update(
                task,
                total=progress.steps,
                completed=progress.step,
                description=f"epoch {progress.epoch}/{progress.epochs}",
                numbers=_numbers(progress),
            )
            if progress.metrics:
                screen.console.print(_epoch_line(progress), highlight=False, soft_wrap=True)

        yield watch


def _log_lines() -> Callable[[Progress], None]:
    """Progress in a file or pipe: a line per epoch, and every half minute within one."""
    last = time.monotonic()

    def watch(progress: Progress) -> None:
        nonlocal last
        if progress.metrics or time.monotonic() - last > 30:
            say(_line_of(progress), flush=True)
            last = time.monotonic()

    return watch


def _say_now(line: str) -> None:
    """Print a line at once."""
    say(line, flush=True)


def run_lines(write: Callable[[str], object] = _say_now) -> Callable[[str, Progress | str], None]:
    """Progress of several runs by their names: a line per epoch, every minute within one, and what becomes of a run."""
    last: dict[str, float] = {}

    def tell(name: str, what: Progress | str) -> None:
        if isinstance(what, str):
            write(f"{name}: {what}")
        elif what.metrics or time.monotonic() - last.setdefault(name, time.monotonic()) > 60:
            write(f"{name}: {_line_of(what)}")
            last[name] = time.monotonic()

    return tell


def _line_of(progress: Progress) -> str:
    """The progress of a run in a line: results at the end of an epoch, the current numbers within one."""
    return _epoch_line(progress) if progress.metrics else f"step {progress.step}/{progress.steps}  {_numbers(progress)}"


def _numbers(progress: Progress) -> str:
    """The numbers to show while an epoch runs."""
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    return (
        f"loss {progress.loss:.3f}  train {progress.accuracy:.2f} %  {progress.images_per_second:,.0f} images/s  "
        f"{minutes}:{seconds:02d} left"
    )


def _epoch_line(progress: Progress) -> str:
    """The numbers to show at the end of an epoch."""
    metrics = progress.metrics or {}
    validation = f"  validation {metrics['validation_top1']:.2f} %" if "validation_top1" in metrics else ""
    steps = f"  T = {metrics['num_steps']}" if "num_steps" in metrics else ""
    size = "  3/4 size" if metrics.get("small_images") else ""
    return (
        f"epoch {progress.epoch}/{progress.epochs}  loss {progress.loss:.3f}  train {progress.accuracy:.2f} %"
        f"{validation}{steps}{size}  firing rate {metrics['spikes_per_neuron_and_step']:.3f}  "
        f"{metrics['images_per_second']:,.0f} images/s"
    )
