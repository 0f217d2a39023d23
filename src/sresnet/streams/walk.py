"""What a network makes of a recording from its beginning to its end, as lines, tables and stretches of time."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sresnet.data.events.columns import ReadConfig
from sresnet.data.events.lengths import time_said
from sresnet.data.events.read import read_chunks
from sresnet.errors import UserError
from sresnet.printing import csv_of
from sresnet.streams.live import Answer, Stream


@dataclass(frozen=True, kw_only=True)
class Walk:
    """What a network makes of a recording from its beginning to its end."""

    title: str
    origin: int
    """Microsecond of the first event, from which times are shown."""
    end: int
    """Microsecond behind the last event."""
    rest: int
    """Events behind the last answer, which are in none."""
    class_names: tuple[str, ...]
    answers: tuple[Answer, ...]

    def seconds(self, microsecond: int) -> float:
        """Time since the first event."""
        return (microsecond - self.origin) / 1e6


def walk_file(running: Stream, path: Path, config: ReadConfig) -> Iterator[Answer]:
    """Answers over a recording, which is given to a stream a part after the other.

    Args:
        running: begins anew.
        path: of an event file.
        config: how it is read.

    Raises:
        UserError: the file cannot be read or does not fit the network, or there is no answer about it: it ends before
            the first step does, or no window has events, or enough of them.
    """
    if running.needs_all:
        running.begin(read_chunks(path, config=config))
    else:
        running.restart()
    count = 0
    try:
        for part in read_chunks(path, config=config):
            for answer in running.push(part):
                count += 1
                yield answer
        for answer in running.finish():
            count += 1
            yield answer
    except UserError as error:
        said = str(error)
        raise UserError(said if str(path) in said else f"{path}: {said}") from None
    if not count:
        lasts = running.end - (running.origin or 0)
        whole = f"{'step' if running.stepwise else 'window'} ({time_said(running.shortest / 1e6)})"
        if lasts < running.shortest:
            said = f"no {whole} ends within it: choose a shorter one"
        else:
            least = max(1, running.least_events)
            events = f"{least:,} event{'s' * (least > 1)}{' that the filters leave' * running.filtering}"
            said = f"no {whole} that ends within it has {events}: choose a longer one, or a shorter --stride"
        raise UserError(f"{path} lasts {time_said(lasts / 1e6)}, and {said}")


def walked(running: Stream, title: str, answers: Sequence[Answer]) -> Walk:
    """A stream that has come to the end of a recording, and its answers."""
    assert running.origin is not None
    return Walk(
        title=title,
        origin=running.origin,
        end=running.end,
        rest=running.rest,
        class_names=running.class_names,
        answers=tuple(answers),
    )


@dataclass(kw_only=True)
class Stretch:
    """Answers one behind the other that name the same class."""

    start: int
    """Microseconds: of the first answer, or the end of the stretch before, where windows overlap."""
    end: int
    """Of the last answer."""
    class_name: str
    confidences: list[float]
    """Of each answer."""
    step: int
    """Time steps that each is of."""
    whole: bool


def stretches(answers: Iterable[Answer]) -> Iterator[Stretch]:
    """Answers of whole windows, those of one class together; and the last one, where the last window is not whole."""
    current: Stretch | None = None
    unfinished: Answer | None = None
    for each in answers:
        if not each.whole:
            unfinished = each
            continue
        unfinished = None
        if current and current.class_name == each.class_name and each.start <= current.end:
            current.end = each.end
            current.confidences.append(each.confidence)
            continue
        if current:
            yield current
        current = _stretch_of(each, current)
    if current:
        yield current
    if unfinished:
        yield _stretch_of(unfinished, current)


def _stretch_of(answer: Answer, before: Stretch | None) -> Stretch:
    """Of one answer, from the end of the stretch before it where its window begins within that."""
    return Stretch(
        start=answer.start if before is None else max(answer.start, before.end),
        end=answer.end,
        class_name=answer.class_name,
        confidences=[answer.confidence],
        step=answer.step,
        whole=answer.whole,
    )


COLUMNS = ("file", "start_s", "end_s", "step", "events", "class", "confidence")
"""Of a table of answers, before the probability of each class."""


def walks_csv(walks: Sequence[Walk]) -> str:
    """All answers of recordings as comma-separated values, a line each; seconds since the first event."""
    rows: list[Sequence[str | int | float | None]] = [[*COLUMNS, *walks[0].class_names]]
    for walk in walks:
        for each in walk.answers:
            start, end = walk.seconds(each.start), walk.seconds(each.end)
            best = each.class_name, each.confidence
            rows.append([walk.title, start, end, each.step, each.events, *best, *each.probabilities])
    return csv_of(rows)
