"""`sresnet predict`."""

import contextlib
from pathlib import Path

import torch

from sresnet.analysis.prediction import predict_file
from sresnet.cli.parse import first_word, take_memory_limit, take_option
from sresnet.cli.runs import trained
from sresnet.errors import UserError
from sresnet.files import check_free
from sresnet.limits import MEMORY_LIMIT
from sresnet.printing import give, going_on, say
from sresnet.report import plots
from sresnet.report.figures import predictions
from sresnet.train.record import recipe_of


def predict_verb(words: list[str]) -> int:
    """`sresnet predict RUN FILE ...`, or with `--model NAME` in place of RUN."""
    if "-h" in words or "--help" in words:
        say("usage: sresnet predict RUN FILE [FILE ...] [--out PICTURE.png]")
        say("       sresnet predict --model NAME FILE [FILE ...] [--out PICTURE.png]", "")
        say("The three most likely classes of each picture, or, after training on event recordings, of each recording;")
        say("where it is cut into windows, their mean probabilities. NAME: a pretrained network of sresnet list.")
        say("--out draws the input and the class probabilities after every step (.png or .svg);")
        say("--force overwrites a file of that name that sresnet did not make.")
        say(f"--memory-limit {MEMORY_LIMIT:g}: gigabytes that a file may claim, whatever its length.")
        return 0
    out, rest = take_option(words, "--out")
    source, rest = take_option(rest, "--model")
    memory_limit, rest = take_memory_limit(rest)
    force, rest = "--force" in rest, [word for word in rest if word != "--force"]
    if not source:
        source, rest = first_word(rest, "run", "give its folder, or --model NAME"), rest[1:]
    if not rest:
        raise UserError("file is missing: give pictures, or recordings of events")
    for path in rest:
        if path.startswith("--"):
            raise UserError(f"option {path!r} is unknown: predict takes --model, --out, --force and --memory-limit")
    picture = _picture_to_write(out, force) if out else None
    data = recipe_of(source, memory_limit=memory_limit).data
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


def _picture_to_write(out: str, force: bool) -> Path:
    """The path itself; UserError where it names no kind of picture, or what we did not make and `force` is off."""
    path = Path(out)
    if path.suffix.lower() not in plots.ENDINGS:
        raise UserError(f"--out {out} does not end in {' or '.join(plots.ENDINGS)}: choose one of them")
    check_free(path, plots.MARKS, force=force)
    if not plots.available():
        raise UserError("--out needs matplotlib, which is not installed: pip install 'sresnet[report]'")
    return path
