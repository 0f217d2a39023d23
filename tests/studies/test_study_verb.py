"""`sresnet study` as a user calls it."""

import os
import signal
import subprocess
import sys

import pytest

from sresnet.cli import main
from sresnet.files import InUseError, only_writer
from sresnet.studies import run as running
from sresnet.studies.paper import STUDIES
from sresnet.studies.results import failures, read
from sresnet.studies.rows import _values
from sresnet.studies.scale import scaled
from sresnet.studies.study import Result


def test_list(capsys):
    assert main(["study", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(STUDIES)
    assert "Residual connections S2M, S2S and V2V (6 training runs)" in lines[0]


def test_three_tiny_studies(tmp_path, capfd, monkeypatch):
    """Norms, the ANN counterpart, and a learned leak beside early stops, by two processes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    names = ["table5", "table15", "table17"]
    assert main(["study", *names, "--workers", "2"]) == 0
    out = capfd.readouterr().out
    found = read(tmp_path / "results/studies/tiny")
    studies = [scaled(STUDIES[name], "tiny") for name in names]
    assert set(found) == {training.key() for study in studies for training in study.training_runs()}
    for study in studies:
        assert f"\n{study.name}: {study.title}\n" in out
        for cell in study.cells:
            (number,), digits = _values(cell, 1, found), 3 if "leak" in cell.quantity else 2
            assert any(
                cell.row in line and f"{cell.paper:.{digits}f}" in line and f" {number:.{digits}f} " in line
                for line in out.splitlines()
            ), cell
    # There is nothing left to train: the same command shows the tables, and does as --show does.
    assert main(["study", *names]) == 0
    again = capfd.readouterr().out
    assert out.endswith(again)
    assert main(["study", *names, "--show"]) == 0
    assert capfd.readouterr().out == again
    # And a page with all tables.
    assert main(["study", "page", "--out", "page.md"]) == 0
    assert capfd.readouterr().out.splitlines()[0] == "page.md"
    page = (tmp_path / "page.md").read_text()
    assert all(f"{number:.2f}" in page for number in _values(studies[0].cells[0], 1, found))
    assert (tmp_path / "results/studies/tiny/tables/table5.csv").read_text().startswith("study,row,column,paper")


def test_show_of_what_was_not_run(tmp_path, capsys):
    assert main(["study", "table2", "--scale", "paper", "--show", "--results", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.count("CIFAR-10 Accuracy") == 3
    assert "94.01" in out
    assert "nothing" not in out


@pytest.mark.slow
def test_all_tiny_studies(tmp_path):
    folders = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    assert main(["study", "all", *folders]) == 0
    found = read(tmp_path / "results")
    assert failures(tmp_path / "results") == {}
    for study in STUDIES.values():
        for cell in scaled(study, "tiny").cells:
            assert len(_values(cell, 1, found)) == (not cell.search), (study.name, cell.row, cell.column)


def test_seeds_and_rows_that_fail(tmp_path, capsys, monkeypatch):
    def some_fail(training, *_, **__):
        if training.recipe.seed == 1 and training.recipe.model.norm == "bntt":
            raise RuntimeError("the lights went out")
        result = {"test_top1": 40.0 + training.recipe.seed}
        return Result(key=training.key(), config={}, environment={}, metrics=(), result=result)

    monkeypatch.setattr(running, "_run_one", some_fail)
    monkeypatch.chdir(tmp_path)
    assert main(["study", "table5", "--seeds", "3"]) == 1
    out = capsys.readouterr().out
    assert "failed training runs:" in out
    assert out.count("RuntimeError: the lights went out") == 2  # as it happened, and in the end
    rows = [line.split() for line in out.splitlines() if "100 Accuracy  " in line]
    assert [row[-4:] for row in rows] == [["1.41", "2", "of", "3"], ["41.00", "±", "1.00", "3"]]
    assert main(["study", "table12", "--seeds", "3", "--show"]) == 0  # which does not need what failed
    assert "failed training runs:" not in capsys.readouterr().out
    assert main(["study", "table5", "--seeds", "1", "--show"]) == 0
    assert main(["study", "table5", "--seeds", "3", "--show"]) == 1


@pytest.mark.parametrize("workers", ["1", "2"])
def test_stopped_by_sigterm_it_goes_on(tmp_path, workers):
    command = [sys.executable, "-m", "sresnet", "study", "table5", "--workers", workers]
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if "begins" in line:
                break
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
    assert process.returncode == 143
    assert "stopped (SIGTERM): run the same command again to resume" in rest
    assert "Traceback" not in rest


def held(folder):
    """Whether a process holds a training."""
    try:
        with only_writer(folder):
            return False
    except InUseError:
        return True


def test_workers_stop_where_their_parent_was_killed(tmp_path):
    command = [sys.executable, "-m", "sresnet", "study", "table5", "--workers", "2"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        begun = 0
        for line in process.stdout:
            begun += "begins" in line
            if begun == 2:
                break
        process.kill()
        process.wait()
        rest = process.stdout.read()  # until the last worker has ended
    runs = tmp_path / "runs/studies/tiny"
    claims = list((runs / ".held").iterdir())
    assert len(claims) == 2
    assert not any(held(claim) for claim in claims)
    assert not list((tmp_path / "results/studies/tiny").iterdir())  # none was finished, none failed
    assert "Traceback" not in rest
    assert rest.count("stopped: the same command resumes it") == 2


def test_a_mistake_that_a_worker_meets_is_no_fault_of_ours(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").write_text("mine")
    assert main(["study", "table5", "--workers", "2", "--results", "kept", "--runs", "results/below"]) == 2
    said = capfd.readouterr().err
    assert "folder results/below" in said
    assert "sresnet: a worker could not continue: fix what is reported above" in said
    assert "Traceback" not in said
    assert "bug in sresnet" not in said


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "study is missing: sresnet study list shows them"),
        (["tabel2"], "study 'tabel2' is unknown: did you mean 'table2'?"),
        (["table2", "--scale", "huge"], "invalid choice"),
        (["table2", "--scale", "small"], "cifar10 is read from your own folder: add --data-dir DIR"),
        (["table13", "--scale", "small", "--data-dir", "nowhere"], "nowhere"),
        (["table2", "--workers", "0"], "workers 0 is less than 1: leave --workers out, or give more"),
        (["page"], "results/studies/tiny holds no results of scale tiny: run sresnet study first"),
        (["table2", "--seeds", "-1"], "seeds -1 is less than 0"),
        (["table2", "--device", "quantum"], "device 'quantum' is not available here"),
    ],
)
def test_mistakes(words, complaint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["study", *words]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
