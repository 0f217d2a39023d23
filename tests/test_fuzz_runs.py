"""Damaged run folders and results: every verb that reads them says what is wrong in a line, or does as before.

SRESNET_FUZZ_CASES is the number of cases of all tests here together; unset, it is a fifth of 2,000, as a case is a
whole command. They run in a worker with little time and memory (tests/bounded.py), a few targets in one worker, as it
imports what commands need but once.
"""

import contextlib
import functools
import hashlib
import inspect
import io
import json
import os
import random
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import sresnet
from sresnet import UserError
from sresnet.cli import main
from sresnet.config import to_dict
from sresnet.models.tensors import CHECKSUM
from sresnet.report import plots
from sresnet.studies import results
from tests.bounded import CASES, check, outcomes
from tests.damage import damaged_json, damaged_lines, damaged_older, damaged_safetensors
from tests.scripts import script
from tests.studies.made_up import all_results, studies_at

CPU = ["--device", "cpu"]
TRAIN = """train folder --data-dir ../pictures --model.depth 8 --model.base-filters 2 --model.num-steps 2
--data.image-size 8 --data.crop-padding 1 --data.validation 0.25 --train.epochs 3 --train.batch-size 8
--device cpu --out run""".split()
EVALUATE = ["evaluate", "run", *CPU]
EXIT = [*EVALUATE, "--part", "validation", "--calibrate", "train", "--exit-confidence", "0.9", "--out", "curve"]
PREDICT = ["predict", "run", "../pictures/above/0.png"]
ANALYSE = ["analyse", "run", "--images", "2", *CPU]
REPORT = ["report", "run", "--images", "2", *CPU]
FILES = [*REPORT, "--files", "figures"]
INFO = ["info", "run", "--image-size", "8"]
FINETUNE = """finetune run --data folder --data-dir ../pictures --train.epochs 1 --train.batch-size 8 --device cpu
--out tuned""".split()
SHOW = ["study", "table5", "--show", "--results", "results"]
STUDIES = ["report", "table5", "--results", "results", "--out", "studies.html"]
PAGE = ["study", "page", "--results", "results", "--out", "page.md"]
LOAD, CAMPAIGN = ["load"], ["campaign"]

TARGETS = {
    # State of the run, file, damage, commands that read it.
    "config": ("finished", "run/config.json", damaged_json, [INFO, EVALUATE, PREDICT, REPORT, TRAIN, FINETUNE]),
    "environment": ("finished", "run/environment.json", damaged_json, [EVALUATE, REPORT, ANALYSE]),
    "data": ("finished", "run/data.json", damaged_json, [EVALUATE, PREDICT, ANALYSE, REPORT]),
    "metrics": ("finished", "run/metrics.jsonl", damaged_lines, [REPORT, TRAIN]),
    "weights": ("finished", "run/weights.safetensors", damaged_safetensors, [LOAD, EVALUATE, PREDICT, FINETUNE]),
    "older weights": ("finished", "run/weights.safetensors", damaged_older, [LOAD, EVALUATE, PREDICT, FINETUNE]),
    "result": ("finished", "run/result.json", damaged_json, [REPORT, TRAIN]),
    "analysis": ("finished", "run/analysis/analysis.json", damaged_json, [ANALYSE]),
    "early exit": ("finished", "curve/early-exit.json", damaged_json, [EXIT]),
    "files": ("finished", "figures/files.json", damaged_json, [FILES]),
    "unfinished config": ("unfinished", "run/config.json", damaged_json, [TRAIN, REPORT]),
    "unfinished environment": ("unfinished", "run/environment.json", damaged_json, [TRAIN, REPORT]),
    "unfinished data": ("unfinished", "run/data.json", damaged_json, [TRAIN, REPORT]),
    "unfinished metrics": ("unfinished", "run/metrics.jsonl", damaged_lines, [TRAIN, REPORT]),
    "checkpoint": ("unfinished", "run/checkpoint.safetensors", damaged_safetensors, [TRAIN]),
    "older checkpoint": ("unfinished", "run/checkpoint.safetensors", damaged_older, [TRAIN]),
    "results": ("studies", "results/*[!d].json", damaged_json, [SHOW, SHOW, STUDIES, PAGE]),
    "failed": ("studies", "results/0123456789ab.failed.json", damaged_json, [SHOW, SHOW, STUDIES, PAGE]),
    "campaign": ("studies", "campaign/first-seed0.json", damaged_json, [CAMPAIGN]),
}
SHARE = CASES // 5
SOURCE = functools.cache(inspect.getsource)


def pictures():
    """Two classes of pictures, bright above and bright below."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for name, rows in (("above", slice(4)), ("below", slice(4, 8))):
        Path("pictures", name).mkdir(parents=True)
        for index in range(16):
            pixels = rng.integers(0, 60, (8, 8, 3), np.uint8)
            pixels[rows] += 150
            Image.fromarray(pixels).save(f"pictures/{name}/{index}.png")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A finished run, an unfinished one, and results, as nobody has damaged them."""
    base = tmp_path_factory.mktemp("fuzz")
    before = Path.cwd()
    torch.set_num_threads(1)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(plots, "available", lambda: False)
            os.chdir(base)
            pictures()
            for state, words in {"finished": [TRAIN, ANALYSE, EXIT, FILES], "unfinished": [], "studies": []}.items():
                (base / state).mkdir()
                os.chdir(base / state)
                assert all(main(each) == 0 for each in words)
                if state == "unfinished":
                    stop_in_the_middle()
                elif state == "studies":
                    record_some()
    finally:
        os.chdir(before)
    return base


def stop_in_the_middle():
    """A training that was told to stop in its last epoch."""
    from sresnet.cli import train as verb

    real = verb.train
    calls = []

    def stopped(*arguments, should_stop, **options):
        return real(*arguments, should_stop=lambda: calls.append(0) or len(calls) == 5, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verb, "train", stopped)
        assert main(TRAIN) == 0
    assert not Path("run/result.json").exists()
    assert Path("run/metrics.jsonl").read_text(encoding="utf-8").count("\n") == 2


def record_some():
    """Results of a table, a failure, and a record of a campaign."""
    results.write(Path("results"), next(iter(all_results([studies_at("tiny")["table5"]]).values())))
    results.write_failure(Path("results"), "0123456789ab", "some row", "it was late")
    scripted = script("experiments/campaign")
    Path("campaign.toml").write_text(TINY_CAMPAIGN, encoding="utf-8")
    (item,) = scripted.read_items(Path("campaign.toml"))
    row = {
        "row": "first",
        "config": to_dict(item.recipe),
        "environment": {"device": "a processor, 2 cores", "threads": 2, "torch": "2.11"},
        "metrics": [{"epoch": 1, "step": 22, "seconds": 60.0, "images_per_second": 20.0, "validation_top1": 50.0}],
        "result": {"test_top1": 50.0},
    }
    Path("campaign").mkdir()
    Path("campaign/first-seed0.json").write_text(json.dumps(row), encoding="utf-8")


TINY_CAMPAIGN = """
[[item]]
name = "first"
for = "a try"
recipe = "digits"
seeds = [0]
hours = 0.1
"""


def command(folder, argument):
    """What a command says and leaves, with other bytes in a file; UserError where it refuses them."""
    state, file, words, content = argument
    work = folder / f"work-{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(folder / state, work)
    os.chdir(work)
    if content is not None:
        Path(file).write_bytes(content)
    # Drawing takes seconds, and fsync waits for a disk that nobody takes away here.
    plots.available = lambda: words == PAGE
    plots.written = lambda *figure: b""
    os.fsync = lambda descriptor: None
    inspect.getsource = SOURCE  # of which tyro makes help texts: a sixth of the time
    if words == LOAD:
        return digest(sresnet.load("run"))
    if words == CAMPAIGN:
        scripted = script("experiments/campaign")
        return scripted.page(scripted.read_items(Path("campaign.toml")), Path("campaign"))
    said, complaint = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complaint):
        status = main(words)
    assert "Traceback" not in complaint.getvalue()
    if status == 2:
        *notes, line = complaint.getvalue().splitlines()
        assert line.startswith("sresnet: ")
        known = ("note: ", "sresnet: compiling", "sresnet: no native code")
        assert all(note.startswith(known) for note in notes), notes
        raise UserError(line)
    if status:
        main([*words, "--debug"])  # raises, so that the report says where
    assert status == 0, complaint.getvalue()
    left = final(Path(words[-1])) if words in (TRAIN, FINETUNE) else ""
    return re.sub(r"[\d,]+ images/s", "", said.getvalue()) + left


def digest(model):
    """Of all numbers of a network."""
    content = b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())
    return hashlib.sha256(content).hexdigest()


def final(folder):
    """What a training gave."""
    return digest(sresnet.load(folder)) + (folder / "result.json").read_text()


@pytest.mark.parametrize("part", ["finished", "others"])
def test_fuzz_commands_refuse_in_a_line_or_do_as_before(part, folders):
    rng = random.Random(part)
    arguments = []
    for state, file, damage, commands in TARGETS.values():
        if (state == "finished") != (part == "finished"):
            continue
        (path,) = (folders / state).glob(file)
        arguments += [(state, file, words, None) for words in commands]
        content, file = path.read_bytes(), str(path.relative_to(folders / state))
        arguments += [(state, file, rng.choice(commands), damage(content, rng)) for _ in range(SHARE // len(TARGETS))]
    found = outcomes(functools.partial(command, folders), arguments)
    right = {}
    for (state, _, words, content), outcome in zip(arguments, found, strict=True):
        if content is None:
            assert outcome.kind == "valid", (words, outcome)
            right[state, *words] = outcome.text
        elif outcome.kind == "valid" and CHECKSUM.encode() in content:  # older files have none
            assert outcome.text == right[state, *words], words
    check(found)
