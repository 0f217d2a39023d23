"""`sresnet predict`."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from sresnet.analysis.prediction import predict_file
from sresnet.cli.parse import first_word, seconds_of, take_memory_limit, take_option
from sresnet.cli.runs import trained
from sresnet.data import AnyData, EventConfig
from sresnet.data.events.columns import ReadConfig
from sresnet.data.events.lengths import time_said
from sresnet.errors import UserError
from sresnet.files import check_free, write_whole
from sresnet.limits import MEMORY_LIMIT
from sresnet.printing import give, going_on, say
from sresnet.report import plots
from sresnet.report.figures import over_time, predictions
from sresnet.streams import Answer, Stream
from sresnet.streams.walk import COLUMNS, Stretch, Walk, stretches, walk_file, walked, walks_csv
from sresnet.train.record import recipe_of


def predict_verb(words: list[str]) -> int:
    """`sresnet predict RUN FILE ...`, or with `--model NAME` in place of RUN."""
    if "-h" in words or "--help" in words:
        say("usage: sresnet predict RUN FILE [FILE ...] [--out PICTURE.png]")
        say("       sresnet predict --model NAME FILE [FILE ...] [--out PICTURE.png]")
        say("       sresnet predict RUN RECORDING [...] --stream 50ms [--stride TIME] [--csv TABLE.csv] [...]", "")
        say("The three most likely classes of each picture, or, after training on event recordings, of each recording;")
        say("where it is cut into windows, their mean probabilities. NAME: a pretrained network of sresnet list.")
        say("--out draws the input and the class probabilities after every step (.png or .svg);")
        say("--force overwrites a file of that name that sresnet did not make.")
        say("--stream walks through a long recording with time steps of this length, or (auto) of the usual one of")
        say("training: a class for every window of T steps. --stride: from the start of a window to that of")
        say("the next, by default its length. --csv writes the class after every step; --out draws them over time.")
        say("--chip: camera of the recordings, such as DAVIS240, where their files should not decide.")
        say("--event-stream: number of the stream of events, where an AEDAT 4.0 file has several.")
        say("--damaged error, or skip: stop at damage of a recording, or leave it out; by default as in training.")
        say(f"--memory-limit {MEMORY_LIMIT:g}: gigabytes that a file may claim, whatever its length.")
        return 0
    out, rest = take_option(words, "--out")
    source, rest = take_option(rest, "--model")
    memory_limit, rest = take_memory_limit(rest)
    camera = []
    for flag in ("chip", "event-stream", "damaged"):
        short, rest = take_option(rest, f"--{flag}")
        long, rest = take_option(rest, f"--data.{flag}")
        camera.append(short or long)
    step, rest = take_option(rest, "--stream")
    stride, rest = take_option(rest, "--stride")
    table, rest = take_option(rest, "--csv")
    force, rest = "--force" in rest, [word for word in rest if word != "--force"]
    if not source:
        source, rest = first_word(rest, "run", "give its folder, or --model NAME"), rest[1:]
    if not rest:
        raise UserError("file is missing: give pictures, or recordings of events")
    for path in rest:
        if path.startswith("--"):
            raise UserError(
                f"option {path!r} is unknown: predict takes --model, --out, --force, --chip, --event-stream, "
                "--damaged, --stream, --stride, --csv and --memory-limit"
            )
    if not step and (stride or table):
        raise UserError(f"{'--stride' if stride else '--csv'} belongs to a stream: add --stream 50ms, or leave it out")
    picture = _picture_to_write(out, force) if out else None
    if step:
        return _walk(source, rest, step, stride, table, picture, *camera, force=force, memory_limit=memory_limit)
    data = _with_camera(recipe_of(source, memory_limit=memory_limit).data, *camera)
    model, scaling, about = trained(source, torch.device("cpu"), memory_limit)
    with going_on() if picture else contextlib.nullcontext():
        found, answers = [], []
        for path in rest:
            each = predict_file(model, Path(path), data, scaling, about, memory_limit=memory_limit, note=say)
            last = each.by_step[-1]
            guesses = ", ".join(f"{name} {100 * last[index]:.1f} %" for name, index in each.best(3))
            say(f"{path}: {guesses}")
            found.append(each)
            classes = [{"name": name, "probability": last[index]} for name, index in each.best(len(last))]
            answers.append({"file": path, "classes": classes, "by_step": each.by_step})
        if picture:
            plots.save_as(plots.draw(predictions(found)), picture)
            say(f"drawn into {picture}")
        give(answers)
    return 0


def _with_camera(data: AnyData, chip: str, stream: str, damaged: str) -> AnyData:
    """The data of a run, read otherwise than in training where that is said; UserError for pictures."""
    camera, number = ("chip", chip, "names a camera"), ("event-stream", stream, "names a stream")
    for name, value, what in (camera, number, ("damaged", damaged, "is for recordings")):
        if value and not isinstance(data, EventConfig):
            raise UserError(f"{name} {value!r} {what} of events, and the run was trained on pictures: leave it out")
    if not isinstance(data, EventConfig):
        return data
    if stream and not (stream.isdecimal() and len(stream) < 10):
        raise UserError(f"event-stream {stream!r} is no number of a stream: give a whole number, such as 0")
    if damaged not in ("", "error", "skip"):
        raise UserError(f"damaged {damaged!r} is unknown: choose error, or skip to leave out what is damaged")
    said = {"chip": chip, "event_stream": int(stream) if stream else "", "damaged": damaged}
    given: Any = {field: value for field, value in said.items() if value != ""}
    return replace(data, **given)


def _walk(
    source: str,
    files: list[str],
    step: str,
    stride: str,
    table: str,
    picture: Path | None,
    chip: str,
    stream: str,
    damaged: str,
    *,
    force: bool,
    memory_limit: float,
) -> int:
    """Say which class a network sees in recordings as time goes on."""
    if table:
        check_free(Path(table), [",".join(COLUMNS).encode()], force=force, flag="--csv")
    data = _with_camera(recipe_of(source, memory_limit=memory_limit).data, chip, stream, damaged)
    running = Stream(
        source,
        step=None if step == "auto" else seconds_of("--stream", step),
        stride=seconds_of("--stride", stride) if stride else None,
        memory_limit=memory_limit,
    )
    length, trained = running.length / 1e6, running.trained_steps
    each_step = length / running.num_steps
    said = f"steps of {time_said(each_step)}, windows of {running.num_steps} steps ({time_said(length)})"
    say(f"{said}, one every {time_said(running.stride / 1e6)}" if stride else said)
    if trained and not 0.99 * trained.shortest <= each_step <= 1.01 * trained.longest:
        say(f"note: the network was trained on steps of {trained}: on others it may be less accurate")
    config = data.reading(memory_limit) if isinstance(data, EventConfig) else ReadConfig(memory_limit=memory_limit)
    walks, answers = [], []
    with going_on() if picture or table else contextlib.nullcontext():
        for path in files:
            say(f"{path}:")
            heard: list[Answer] = []
            end = None
            for stretch in stretches(_noted(walk_file(running, Path(path), config), heard)):
                if end is not None and stretch.start > end:
                    say(f"  {_span_said(end, stretch.start, running)}: no events")
                say(_stretch_said(stretch, running), flush=True)
                end = stretch.end
            walk = walked(running, Path(path).name, heard)
            if walk.rest:
                left = walk.end - walk.answers[-1].end
                whole = "step" if running.stepwise else "window"
                short = f"less than a {whole} and " if left < running.shortest else ""
                events = f"{walk.rest:,} event{'s' * (walk.rest > 1)}"
                say(f"  the last {time_said(left / 1e6)} with {events} are {short}in no answer")
            walks.append(walk)
            answers.append(_as_json(path, walk, each_step))
        if table:
            write_whole(Path(table), walks_csv(walks).encode())
            say(f"written into {table}")
        if picture:
            plots.save_as(plots.draw(over_time(walks)), picture)
            say(f"drawn into {picture}")
        give(answers)
    return 0


def _noted(answers: Iterable[Answer], heard: list[Answer]) -> Iterator[Answer]:
    """The answers, each of which is put into a list as it passes."""
    for each in answers:
        heard.append(each)
        yield each


def _stretch_said(stretch: Stretch, running: Stream) -> str:
    """A line of text, such as `0.000 to 1.200 s: cup, 92.1 % (85.3 to 98.0 %), 6 windows`."""
    percent = [100 * each for each in stretch.confidences]
    said = f"  {_span_said(stretch.start, stretch.end, running)}: {stretch.class_name}, "
    said += f"{sum(percent) / len(percent):.1f} %"
    if len(percent) > 1:
        said += f" ({min(percent):.1f} to {max(percent):.1f} %), {len(percent)} windows"
    return said if stretch.whole else f"{said} after {stretch.step} of {running.num_steps} steps"


def _span_said(start: int, end: int, running: Stream) -> str:
    """Two microseconds as seconds since the first event."""
    first, last = ((each - (running.origin or 0)) / 1e6 for each in (start, end))
    return f"{first:.3f} to {last:.3f} s"


def _as_json(path: str, walk: Walk, step: float) -> dict[str, object]:
    """A recording for --json."""

    def plain(each: Answer) -> dict[str, object]:
        span = {"start": walk.seconds(each.start), "end": walk.seconds(each.end)}
        said = {"step": each.step, "whole": each.whole, "events": each.events}
        best = {"class": each.class_name, "confidence": each.confidence, "probabilities": each.probabilities}
        return span | said | best

    about = {"file": path, "step_seconds": step, "first_event_us": walk.origin, "events_left_out": walk.rest}
    return about | {"class_names": walk.class_names, "answers": [plain(each) for each in walk.answers]}


def _picture_to_write(out: str, force: bool) -> Path:
    """The path itself; UserError where it names no kind of picture, or what we did not make and `force` is off."""
    path = Path(out)
    if path.suffix.lower() not in plots.ENDINGS:
        raise UserError(f"--out {out} does not end in {' or '.join(plots.ENDINGS)}: choose one of them")
    check_free(path, plots.MARKS, force=force)
    if not plots.available():
        raise UserError("--out needs matplotlib, which is not installed: pip install 'sresnet[report]'")
    return path
