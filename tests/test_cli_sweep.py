"""Every flag of every verb with values that somebody may give it: one clean line and status 2, or it works."""

import contextlib
import dataclasses
import io
import random
import shutil
import types
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints
from unittest import mock

import pytest
import torch

from sresnet.cli import main
from sresnet.cli.analyse import _AnalyseOptions
from sresnet.cli.convert import _CompareOptions, _FewSpikesOptions, _RateOptions
from sresnet.cli.data import (
    _CleanOptions,
    _DataInfoOptions,
    _DataViewOptions,
    _PrepareOptions,
    _PreparePicturesOptions,
)
from sresnet.cli.evaluate import _EvaluateOptions
from sresnet.cli.importing import _ImportOptions
from sresnet.cli.report import _ReportOptions
from sresnet.cli.runs import RuntimeOptions
from sresnet.cli.study import _StudyOptions
from sresnet.cli.train import TrainOptions, recipe_fields
from sresnet.models import SResNetConfig, VGGConfig
from sresnet.train.recipes import RECIPES
from tests.bounded import outcomes
from tests.data.events.made_up_events import aedat2, events

NUMBERS = (
    *("-1", "0", "1", "2", "3", "-0.0", "0.5", "1e-300", "1e308", "1e400", "nan", "inf", "-inf", "1e3", "1_000"),
    *("0x10", "99999999999999999999", "2147483648", "1000000", "²", "１２", "1,5"),
)
WORDS = (
    *("", " ", "x", "x y", "\x1b[2J", "a\nsresnet: b", "caf\udce9", "猫", "\u202e", "-", "--", "--x", "=", "[/]", "%s"),
    *("{0}", "~", "~nobody/x", ".", "..", "/", "/dev/null", "/dev/null/x", "nothing/here", "meta", "cuda:9", "a" * 300),
    *("b" * 5000, "\0", "None", "True", "digits", "report.html", "x.png", "x.svg"),
)


@dataclass(frozen=True)
class Command:
    """Words that work, and the flags that may be added to them."""

    words: tuple[str, ...]
    flags: tuple[tuple[str, Any], ...]
    """Name and type."""


def flags_of(cls: Any, default: Any = None, prefix: str = "--") -> list[tuple[str, Any]]:
    """Flags of a dataclass of options, those of the dataclasses in it included."""
    found = []
    for field, kind in get_type_hints(cls, include_extras=True).items():
        kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
        if field in ("family", "implicit"):
            continue
        name = prefix + field.replace("_", "-")
        value = getattr(default, field, None)
        if dataclasses.is_dataclass(value):
            found += flags_of(type(value), value, f"{name}.")
        elif not dataclasses.is_dataclass(kind) and get_origin(kind) not in (Union, types.UnionType):
            found.append((name, kind))
    return found


def train_flags(recipe):
    options = TrainOptions(**recipe_fields(RECIPES[recipe][1]))
    return tuple(flag for flag in flags_of(TrainOptions, options) if flag[0] != "--download")


def commands():
    tiny = "--model.base-filters 2 --model.num-steps 2 --train.epochs 2 --data.train-images 60 --max-minutes 0".split()
    runtime = tuple(flags_of(RuntimeOptions))
    prepare = _PrepareOptions(data=RECIPES["digits-dvs"][1].data, num_steps=2)
    few = "--data.train-images 20 --data.test-images 20 --num-steps 2".split()
    text = ("--out", str), ("--model", str), ("--memory-limit", float)
    return {
        "train": Command(("train", "digits", *tiny, "--out", "new"), (*train_flags("digits"), ("--compat", str))),
        "finetune": Command(("finetune", "RUN", "--data", "digits", *tiny, "--out", "new"), train_flags("digits")),
        "evaluate": Command(("evaluate", "RUN"), tuple(flags_of(_EvaluateOptions))),
        "exit": Command(("evaluate", "RUN", "--exit-confidence", "0.9"), tuple(flags_of(_EvaluateOptions))),
        "analyse": Command(("analyse", "RUN", "--images", "5"), tuple(flags_of(_AnalyseOptions))),
        "report": Command(("report", "RUN", "--images", "5"), tuple(flags_of(_ReportOptions))),
        "predict": Command(("predict", "RUN", "PICTURE"), text),
        "convert": Command(
            ("convert", "ANN", "--calibration-images", "5"), (*flags_of(_RateOptions), ("--method", str))
        ),
        "few-spikes": Command(
            ("convert", "ANN", "--method", "few-spikes", "--calibration-images", "5"),
            tuple(flags_of(_FewSpikesOptions)),
        ),
        "compare": Command(
            ("convert", "ANN", "--compare", "deng", "--num-steps", "2", "--images", "5", "--calibration-images", "5"),
            tuple(flags_of(_CompareOptions)),
        ),
        "import": Command(("import", "PICTURE"), tuple(flags_of(_ImportOptions))),
        "info": Command(
            ("info", "sresnet8", "--num-steps", "2", "--base-filters", "2"),
            (*flags_of(SResNetConfig), ("--image-size", int), ("--compat", str)),
        ),
        "info-vgg": Command(
            ("info", "vgg11", "--num-steps", "2", "--hidden", "3", "--width", "0.02"), tuple(flags_of(VGGConfig))
        ),
        "data-info": Command(("data", "info", "EVENTS"), tuple(flags_of(_DataInfoOptions))),
        "data-view": Command(("data", "view", "EVENTS", "--out", "new.png"), tuple(flags_of(_DataViewOptions))),
        "data-prepare": Command(
            ("data", "prepare", "digits-dvs", *few, "--cache-dir", "cache"),
            tuple(flags_of(_PrepareOptions, prepare)),
        ),
        "data-prepare-folder": Command(
            ("data", "prepare", "folder", "--cache-dir", "cache"), tuple(flags_of(_PreparePicturesOptions))
        ),
        "data-clean": Command(("data", "clean", "--cache-dir", "cache"), tuple(flags_of(_CleanOptions))),
        "study": Command(("study", "table2", "--show"), tuple(flags_of(_StudyOptions))),
        "study-page": Command(("study", "page"), tuple(flags_of(_StudyOptions))),
        "list": Command(("list",), runtime),
    }


COMMANDS = commands()


@pytest.fixture(scope="module")
def things(tmp_path_factory):
    """A folder with a run, a picture and a recording: what commands work on."""
    from PIL import Image

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("things")
    words = "--model.base-filters 2 --model.num-steps 2 --train.epochs 1 --data.train-images 60 --data.validation 0.2"
    assert main(["train", "digits", *words.split(), "--out", str(folder / "RUN")]) == 0
    ann = words.replace("num-steps 2", "num-steps 1") + " --model.neuron relu"
    assert main(["train", "digits", *ann.split(), "--out", str(folder / "ANN")]) == 0
    Image.new("L", (8, 8), 99).save(folder / "PICTURE", "png")
    (folder / "EVENTS").write_bytes(aedat2(events()))
    return folder


def answer(things, words):
    """Run a command in an empty folder; its status and what it said on the error output."""
    folder = things / "here"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    out, err = io.StringIO(), io.StringIO()
    named = [str(things / word) if word in ("RUN", "ANN", "PICTURE", "EVENTS") else word for word in words]
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch("sresnet.report.plots.available", return_value=words[0] == "predict"),  # seconds for each figure
    ):
        status = main(named)
    said = err.getvalue().removesuffix("\n")
    lines = said.split("\n")
    assert status in (0, 2), f"status {status}: {said}"
    assert "bug in sresnet" not in said
    assert "Traceback" not in said
    assert all(line.isprintable() and len(line) <= 2000 for line in lines), said
    assert status == 0 or (said.startswith("sresnet: ") and len(lines) == 1), said
    assert not [char for char in "\x1b\0\u202e\udce9" if char in out.getvalue()], out.getvalue()
    assert "\nsresnet: b" not in out.getvalue()
    return f"{status} {said}"


def sweep(things, cases):
    """Give every (command, added words) to a worker of little time and memory; what was wrong."""
    # Layers of very many shapes, each of which torch keeps a plan for, need more memory than one training.
    words = [[*COMMANDS[name].words, *added] for name, added in cases]
    found = outcomes(partial(answer, things), words, memory=4 << 30)
    return [f"{case}: {each.text[-1500:]}" for case, each in zip(cases, found, strict=True) if each.kind != "valid"]


def values_for(kind: Any) -> list[str]:
    if kind in (int, float) or get_origin(kind) is tuple:
        return [*NUMBERS, "", "x", "\x1b[2J"]
    if get_origin(kind) is Literal:
        return [*map(str, get_args(kind)), "", "x\ny", "1"]
    return [*WORDS, "nan"] if kind is str else ["", "True", "x"]


LONG = (("--data.simulation.size", "1_000"), ("--model.base-filters", "1_000"))
"""What may well be wanted, and keeps a computer busy for minutes."""
EVERY = [
    (name, (f"{flag}={value}",) if index % 2 or value.startswith("-") else (flag, value))
    for name, each in COMMANDS.items()
    for flag, kind in each.flags
    for index, value in enumerate(values_for(kind))
    if (flag, value) not in LONG
]


def test_some_flags_with_any_value(things):
    some = random.Random(22).sample(EVERY, 100)
    wrong = sweep(things, some)
    assert not wrong, "\n".join([f"{len(wrong)} of {len(some)}", *wrong[:5]])


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_with_every_value(name, things):
    every = [case for case in EVERY if case[0] == name]
    wrong = sweep(things, every)
    assert not wrong, "\n".join([f"{len(wrong)} of {len(every)}", *wrong[:5]])
