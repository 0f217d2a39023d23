import copy
import json
import math
import os
import re
import shutil
import subprocess

import pytest

from sresnet import UserError
from sresnet.cli import main
from sresnet.cli.runs import trained
from sresnet.files import read_json, write_json
from sresnet.limits import MEMORY_LIMIT
from sresnet.ops.dispatch import implementation
from sresnet.ops.scan.cpu import available
from sresnet.report.records import records_of
from sresnet.report.run import run_sections
from sresnet.train import record
from sresnet.train.loop import train
from tests.report.runs import TINY as FEW
from tests.train.test_loop import CPU, SPLITS, TINY, changed

ODD = (None, True, -1, 10**18, 1.5, "", "text", [], ["a", 1], {}, {"a": {"b": None}})
"""What a damaged file may hold in place of anything."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run."""
    return train(changed(TINY, epochs=2), SPLITS, tmp_path_factory.mktemp("record") / "run", device=CPU).folder


def places(value, path=()):
    """The path of every value within a value of JSON."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from places(each, (*path, key))


def replaced(value, path, new):
    """A copy of a value of JSON with another one at a path; "gone" takes away what was there."""
    value = copy.deepcopy(value)
    if not path:
        return new
    at = value
    for key in path[:-1]:
        at = at[key]
    if isinstance(new, str) and new == "gone":
        del at[path[-1]]
    else:
        at[path[-1]] = new
    return value


@pytest.mark.parametrize("name", ["config.json", "environment.json", "data.json", "result.json", "metrics.jsonl"])
def test_damaged_json_of_a_run_is_read_or_refused(run, name):
    whole = (run / name).read_text()
    content = json.loads(whole.splitlines()[0] if name.endswith("l") else whole)
    refused = 0
    try:
        for path in places(content):
            for new in (*ODD, "gone"):
                (run / name).write_text(json.dumps(replaced(content, path, new)) + "\n")
                try:
                    records_of(run)
                    if name == "data.json":
                        trained(str(run), CPU, MEMORY_LIMIT)
                except UserError:
                    refused += 1
    finally:
        (run / name).write_text(whole)
    assert refused


def test_data_that_do_not_fit_the_network_are_refused(run):
    about, path = read_json(run / "data.json"), run / "data.json"
    wrong = {
        "names 3 classes in data.json, and its network has 4": {"class_names": ["a", "b", "c"]},
        "image_size is [8]": {"image_size": [8]},
        "image_size is [8, 0]": {"image_size": [8, 0]},
        "image_size is [8, 1000000]": {"image_size": [8, 10**6]},
        "names 2 channels in data.json, and its network has 1": {"mean": [0.1, 0.2], "std": [0.1, 0.2]},
        "not as many means": {"mean": [0.1, 0.2]},
        "std is [0.0]": {"std": [0.0]},
        "no scaling": {"mean": None},
        "scale is -1": {"scale": -1},
    }
    try:
        for fault, fields in wrong.items():
            write_json(path, about | fields)
            with pytest.raises(UserError, match=re.escape(fault)):
                trained(str(run), CPU, MEMORY_LIMIT)
    finally:
        write_json(path, about)
    assert record.read_about(run) == about


def test_damaged_lines_of_metrics_are_named(run, capsys):
    path = run / "metrics.jsonl"
    whole = path.read_text()
    try:
        for bad in ("{", '{"epoch": 2}', '{"epoch": 2, "step": 10, "train_loss": NaN}', "[]", ""):
            path.write_text(whole.splitlines()[0] + "\n" + bad + "\n")
            assert main(["report", str(run), "-o", str(run.parent / "page.html")]) == 2
            assert "metrics.jsonl, line 2" in capsys.readouterr().err
    finally:
        path.write_text(whole)


def test_no_nan_is_written_to_metrics(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        record.append_metrics(tmp_path, {"epoch": 1, "train_loss": math.nan})
    assert not (tmp_path / "metrics.jsonl").exists()


def piece(folder, notes, steps=1, **options):
    """A few steps of a run; what was said goes to `notes`."""
    done = []
    return train(
        TINY,
        SPLITS,
        folder,
        device=CPU,
        watch=done.append,
        should_stop=lambda: len(done) >= steps - 1,
        note=notes.append,
    )


def test_going_on_under_other_conditions_is_said_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    notes = []
    with implementation("reference"):
        piece(tmp_path, notes)
        piece(tmp_path, notes)
    assert notes == []
    first = record.read_environment(tmp_path)
    assert (first["threads"], first["engine"]) == (2, "reference")
    assert "sessions" not in first
    monkeypatch.setattr("torch.get_num_threads", lambda: 1)
    with implementation("low-memory"):
        piece(tmp_path, notes, steps=2)
        piece(tmp_path, notes)
    engine = "low-memory" if available() else "reference, as nothing could be compiled"
    (note,) = notes
    assert f"resumes under other conditions (threads 1, before 2, engine {engine}, before reference): rounding" in note
    found = record.read_environment(tmp_path)
    assert (found["threads"], found["engine"]) == (1, engine)
    sessions = found["sessions"]
    assert [session["from_step"] for session in sessions] == [0, 2]
    assert [session["threads"] for session in sessions] == [2, 1]
    assert not any(set(session) & {"data_dir", "sessions"} for session in sessions)
    monkeypatch.setattr("torch.__version__", "9.9")
    with implementation("low-memory"):
        train(TINY, SPLITS, tmp_path, device=CPU, note=notes.append)
    assert "(torch 9.9, before " in notes[1]
    assert [session["from_step"] for session in record.read_environment(tmp_path)["sessions"]] == [0, 2, 5]
    page = str(run_sections(records_of(tmp_path), "no data", ""))
    assert "Not all of it ran under the same conditions" in page
    assert "from step 2" in page


def test_conditions_under_which_nothing_was_done_are_forgotten(tmp_path):
    notes = []
    (tmp_path / "run").mkdir()
    record.claim(tmp_path / "run", TINY)
    write_json(tmp_path / "run" / "environment.json", {"threads": 99, "torch": "1.0"})
    piece(tmp_path / "run", notes)
    assert notes == []
    assert "sessions" not in record.read_environment(tmp_path / "run")


def test_runs_of_before_there_were_sessions(tmp_path):
    notes = []
    piece(tmp_path, notes)
    before = record.read_environment(tmp_path)
    del before["engine"]
    write_json(tmp_path / "environment.json", before)
    piece(tmp_path, notes)
    assert notes == []
    write_json(tmp_path / "environment.json", before | {"threads": 99})
    piece(tmp_path, notes)
    assert "(threads " in notes[0]
    write_json(tmp_path / "environment.json", before | {"sessions": [{"threads": 1}]})
    with pytest.raises(UserError, match="environment.json: sessions lacks 'from_step'"):
        piece(tmp_path, notes)


def test_the_command_says_it(tmp_path, capsys):
    words = ["train", "digits", *FEW, "--out", str(tmp_path / "run")]
    assert main([*words, "--max-minutes", "0"]) == 0
    assert main([*words, "--engine", "reference"]) == 0
    assert "\nnote: this run resumes under other conditions (engine reference, before " in capsys.readouterr().out


@pytest.mark.skipif(not shutil.which("git"), reason="no git")
def test_revisions(tmp_path, monkeypatch):
    """Of the source's own repository, and of no other."""
    source, mine = tmp_path / "source.py", tmp_path / "mine.py"
    monkeypatch.setattr(record, "__file__", str(source))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)

    def git(*arguments):
        names = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        command = ["git", "-C", str(tmp_path), *names, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    source.write_text("1")
    assert record.revision() == ""
    git("init", "-q")
    mine.write_text("1")
    git("add", "mine.py")
    git("commit", "-qm", "mine")
    assert record.revision() == ""  # installed into somebody's project, say
    git("add", ".")
    git("commit", "-qm", "all")
    head = git("rev-parse", "HEAD")
    assert record.revision() == head
    (tmp_path / "new").write_text("1")
    assert record.revision() == head
    mine.write_text("2")
    assert record.revision() == f"{head}+changes"
