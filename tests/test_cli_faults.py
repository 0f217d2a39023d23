"""What the command line does where the system, the terminal or the words given to it are not as usual."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sresnet import cli
from sresnet.cli import main
from sresnet.errors import UserError

TINY = "--model.base-filters 2 --model.num-steps 2 --train.epochs 1".split()


def complaint(capsys):
    """The one line on the error output, without `sresnet: `."""
    err = capsys.readouterr().err
    assert err.endswith("\n")
    line = err.removesuffix("\n")
    assert line.isprintable()
    assert len(line) <= 2000
    assert line.startswith("sresnet: ")
    assert "fault of sresnet" not in line
    return line.removeprefix("sresnet: ")


def sresnet(*words, **options):
    """A process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | options.pop("env", {})
    return subprocess.run(
        [sys.executable, "-m", "sresnet", *words], capture_output=True, env=environment, check=False, **options
    )


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "x"), "x: No space left on device: make room"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "x: Permission denied: choose a place"),
        (PermissionError(errno.EACCES, "Permission denied", "x\nsresnet: y\x1b[2J"), r"x\nsresnet: y\x1b[2J: Permi"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 5000), "x...[5,001 characters]...x"),
        (MemoryError(), "memory does not suffice"),
        (torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB"), "memory does not suffice (CUDA out"),
    ],
)
def test_what_the_system_refuses_is_one_line_and_2(error, said, capsys, monkeypatch):
    def refuse(words):
        raise error

    monkeypatch.setitem(cli.VERBS, "list", refuse)
    assert main(["list"]) == 2
    assert said in complaint(capsys)
    with pytest.raises(type(error)):
        main(["list", "--debug"])


def test_memory_that_torch_does_not_get(capsys, monkeypatch):
    monkeypatch.setitem(cli.VERBS, "list", lambda words: len(torch.empty(2**50)))
    assert main(["list"]) == 2
    assert complaint(capsys).startswith("memory does not suffice (")


def test_our_faults_are_one_short_line_too(capsys, monkeypatch):
    def fail(words):
        raise KeyError("a\n\x1b[2J" + "b" * 10_000)

    monkeypatch.setitem(cli.VERBS, "list", fail)
    assert main(["list"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert len(err) < 2000
    assert "\x1b" not in err
    assert err.endswith("this is a fault of sresnet; --debug shows where\n")


def test_interrupted(capsys, monkeypatch):
    def interrupt(words):
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.VERBS, "list", interrupt)
    assert main(["list"]) == 130
    assert complaint(capsys).startswith("interrupted: ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("words", [["train", "digits", "--help"]])
def test_output_on_a_full_disk(words):
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "sresnet", *words], stdout=full, stderr=-1, check=False)
    assert done.returncode == 2
    assert done.stderr.decode().count("\n") == 1
    assert b"No space left on device" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_nowhere_to_complain():
    with open("/dev/full", "w") as full:
        assert subprocess.run([sys.executable, "-m", "sresnet", "x"], stderr=full, check=False).returncode == 2


@pytest.mark.parametrize("words", [["evaluate", "caf\udce9\x1b[2J\nsresnet: fine", "--help"], ["list"]])
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_help_on_a_stream_of_another_encoding(words, encoding, monkeypatch, capfdbinary):
    import io

    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding=encoding))
    assert main(words) == 0
    out = raw.getvalue().decode(encoding)
    assert "\x1b" not in out
    assert "\nsresnet: fine" not in out


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "FOO"],
        ["train", "digits", "--out", "FOO"],
        ["train", "digits", "--device", "FOO"],
        ["train", "digits", "--train.epochs", "FOO"],
        ["train", "digits", "--modelFOO", "3"],
        ["train", "folder", "--data-dir", "FOO"],
        ["trainFOO"],
        ["train", "FOO"],
        ["info", "FOO"],
        ["info", "sresnet8", "--image-size", "FOO"],
        ["predict", "digits-t4", "FOO"],
        ["import", "FOO"],
        ["data", "info", "FOO"],
        ["data", "view", "FOO", "--out", "x.png"],
        ["data", "FOO"],
        ["data", "prepare", "FOO"],
        ["study", "FOO"],
        ["report", "FOO"],
        ["finetune", "digits-t4", "--data", "FOO"],
        ["list", "FOO"],
    ],
    ids="-".join,
)
@pytest.mark.parametrize(
    "name",
    [
        "\x1b]0;x\x07\x1b[2J",
        "x\nsresnet: test accuracy: 100 %",
        "caf\udce9\u202e",
        "x" * 300,
        "y " * 3000,
        "\0",
        "[/]",
    ],
)
def test_whatever_is_named_the_complaint_is_one_clean_line(words, name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "train_and_report", lambda options, name: Path(options.out or ".").mkdir() or 0)
    status = main([word.replace("FOO", name) for word in words])
    if status:
        complaint(capsys)
    assert status in ((0, 2) if "--out" in words else (2,))


@pytest.mark.parametrize("form", ["--out=~/run", "--out ~/run", "--out=~", "--out ~"])
def test_the_home_folder_is_meant_where_the_shell_leaves_the_sign(form, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(cli, "train_and_report", lambda options, name: options.out)
    assert main(["train", "digits", *form.split()]) == str(tmp_path / ("run" if "run" in form else ""))


def test_signs_that_are_no_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert cli.at_home("./~") == "./~"
    assert cli.at_home("a~") == "a~"
    assert cli.at_home("--a=b=~") == "--a=b=~"
    assert cli.at_home("~/a") == "/home/me/a"
    assert cli.at_home("-o=~/a\n~") == "-o=/home/me/a\n~"


def test_no_home_folder(monkeypatch):
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(UserError, match="--out=~/x is in the home folder, and none is known: set HOME"):
        cli.at_home("--out=~/x")
