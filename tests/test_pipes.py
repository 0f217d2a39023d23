"""Readers that leave, such as head: work goes on and says nothing, what only prints ends and says that it did not."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sresnet import printing
from sresnet.cli import main
from sresnet.printing import going_on, say
from sresnet.report import plots
from sresnet.studies import results
from sresnet.studies import run as running
from sresnet.studies.study import Result
from tests.golden.reduce import read
from tests.models.test_golden import SMALL, released_checkpoint
from tests.report.runs import TINY, train_tiny
from tests.studies.made_up import result_of, studies_at
from tests.test_overwrite import digit, made_up_events, needs_matplotlib

ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}


@contextlib.contextmanager
def unread():
    """An output that nobody reads; within a test, as pytest sets its own for each phase."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8") as stream, contextlib.redirect_stdout(stream):
        try:
            yield
        finally:
            printing.drop(stream)


@pytest.mark.parametrize(
    "verb",
    [
        ["list"],
        ["info", "sresnet8"],
        ["study", "list"],
        ["list", "--json"],
        ["info", "digits-t4", "--json"],
        ["--help"],
    ],
)
def test_what_only_prints_ends(verb):
    with unread():
        assert main(verb) == 141


def test_work_goes_on(tmp_path, capfd):
    with unread():
        run = train_tiny(tmp_path / "run")
    for command in (
        ["analyse", str(run), "--images", "10", "--out", str(tmp_path / "analysis")],
        ["evaluate", str(run), "--exit-confidence", "0.9", "--out", str(tmp_path / "exit")],
        ["report", str(run), "--images", "10"],
    ):
        with unread():
            assert main(command) == 0
    assert (tmp_path / "analysis" / "analysis.json").exists()
    assert (tmp_path / "exit" / "early-exit.json").exists()
    assert (run / "report.html").exists()
    assert capfd.readouterr().err == ""
    with unread():
        assert main(["evaluate", str(run)]) == 141


def test_work_goes_on_and_says_that_its_results_had_no_reader(tmp_path, capfd):
    run = tmp_path / "run"
    with unread():
        assert main(["train", "digits", *TINY, "--out", str(run), "--json"]) == 141
    assert (run / "result.json").exists()
    said = capfd.readouterr().err
    assert "test accuracy" in said
    assert "Traceback" not in said
    with unread():
        assert main(["analyse", str(run), "--images", "10", "--json", "--out", str(tmp_path / "analysis")]) == 141
    assert (tmp_path / "analysis" / "analysis.json").exists()
    digit(tmp_path / "three.png")
    with unread():
        words = ["predict", str(run), str(tmp_path / "three.png"), "--out", str(tmp_path / "drawn.png"), "--json"]
        assert main(words) == 141
    assert (tmp_path / "drawn.png").exists()


WRITES = {
    "import": ("import best.pth.tar --out imported", "imported/weights.safetensors"),
    "data view": ("data view davis.aedat --out view.png", "view.png"),
    "data prepare": (
        "data prepare digits-dvs --data.train-images 20 --data.test-images 20 --num-steps 2 --cache-dir frames",
        "frames/*.frames",
    ),
    "predict": ("predict --model digits-t4 three.png --out drawn.png", "drawn.png"),
    "study page": ("study page --results kept --out page.md", "page.md"),
    "study": ("study table5 --results kept", "kept/*.json"),
}


@needs_matplotlib
@pytest.mark.parametrize("verb", WRITES)
def test_what_writes_goes_on(tmp_path, monkeypatch, capfd, verb):
    def trained(training, *_, **__):
        return Result(key=training.key(), config={}, environment={}, metrics=(), result={"test_top1": 40.0})

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(running, "_run_one", trained)
    monkeypatch.setattr(plots, "written", lambda *figure: plots.MARKS[0])
    command, made = WRITES[verb]
    if verb == "import":
        released_checkpoint(read(SMALL / "plain.safetensors.xz"), Path("best.pth.tar"))
    elif verb == "data view":
        Path("davis.aedat").write_bytes(made_up_events.aedat2_davis(made_up_events.events(1200)))
    elif verb == "predict":
        digit("three.png")
    elif verb == "study page":
        results.write(Path("kept"), result_of(studies_at("tiny")["table5"].training_runs()[0]))
    with unread():
        assert main(command.split()) == 0
    assert list(tmp_path.glob(made))
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_workers_of_a_study_go_on_where_nobody_reads(tmp_path):
    command = [sys.executable, "-m", "sresnet", "study", "table5", "--workers", "2"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=ONE_THREAD, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert "2 training runs" in process.stdout.readline()
        process.stdout.close()
        assert process.wait() == 141  # of the tables at the end, when everything is trained
        assert process.stderr.read() == ""
    assert len(list((tmp_path / "results/studies/tiny").glob("*.json"))) == 2


def test_going_on_ends_with_its_context():
    with unread(), going_on():
        say("unheard", flush=True)
        say("unheard" * 10_000)
    assert not printing.GOING_ON.get()
    with unread(), pytest.raises(BrokenPipeError):
        say("unheard", flush=True)


@pytest.mark.parametrize("both", [False, True])
def test_a_training_goes_on_where_nobody_reads(tmp_path, both):
    command = [sys.executable, "-m", "sresnet", "train", "digits", *TINY, "--out", "run"]
    error = subprocess.STDOUT if both else subprocess.PIPE
    with subprocess.Popen(
        command, cwd=tmp_path, env=ONE_THREAD, stdout=subprocess.PIPE, stderr=error, text=True
    ) as process:
        assert "sresnet8" in process.stdout.readline()
        process.stdout.close()
        assert process.wait() == 0
        assert both or process.stderr.read() == ""
    assert (tmp_path / "run" / "result.json").exists()


@pytest.mark.parametrize("verb", [["list"], ["--help"]])
def test_a_process_that_only_prints_ends_with_a_status(tmp_path, verb):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "sresnet", *verb], cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert done.returncode == 141
    assert done.stderr == b""
