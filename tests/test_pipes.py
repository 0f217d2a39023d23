"""Readers that leave, such as head: work goes on and says nothing, what only prints ends and says that it did not."""

import contextlib
import os
import subprocess
import sys

import pytest

from sresnet import printing
from sresnet.cli import main
from sresnet.printing import going_on, say
from tests.report.runs import TINY, train_tiny

ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}


@contextlib.contextmanager
def unread():
    """An output that nobody reads; within a test, as pytest sets its own for each phase."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stream, contextlib.redirect_stdout(stream):
        try:
            yield
        finally:
            printing.drop(stream)


@pytest.mark.parametrize("verb", [["list"], ["info", "sresnet8"], ["study", "list"]])
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
