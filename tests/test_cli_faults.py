"""What the command line does where the system, the terminal or the words given to it are not as usual."""

import errno
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sresnet import cli
from sresnet.cli import main
from sresnet.errors import UserError
from sresnet.train.recipes import RECIPES
from tests.data.events.made_up_events import aedat2, events
from tests.golden.reduce import read as golden
from tests.models.test_golden import SMALL, released_checkpoint

TINY = "--model.base-filters 2 --model.num-steps 2 --train.epochs 1".split()


def complaint(capsys):
    """The one line on the error output, without `sresnet: `."""
    err = capsys.readouterr().err
    assert err.endswith("\n")
    line = err.removesuffix("\n")
    assert line.isprintable()
    assert len(line) <= 2000
    assert line.startswith("sresnet: ")
    assert "bug in sresnet" not in line
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
    assert err.endswith("this is a bug in sresnet; --debug shows where\n")


def test_interrupted(capsys, monkeypatch):
    def interrupt(words):
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.VERBS, "list", interrupt)
    assert main(["list"]) == 130
    assert complaint(capsys).startswith("interrupted: ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_output_on_a_full_disk():
    """A few lines, which wait in a buffer until the end, and Python would complain about in its own way, with 120."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w", encoding="utf-8") as full:
        command = [sys.executable, "-m", "sresnet", "--version"]
        done = subprocess.run(command, stdout=full, stderr=-1, check=False, env=environment)
        assert done.returncode == 2
        assert done.stderr.count(b"\n") == 1
        assert b"No space left on device" in done.stderr
        command[-1] = "nonsense"
        assert subprocess.run(command, stdout=full, stderr=full, check=False, env=environment).returncode == 2


@pytest.mark.parametrize("words", [["evaluate", "caf\udce9\x1b[2J\nsresnet: fine", "--help"], ["list"]])
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_help_on_a_stream_of_another_encoding(words, encoding, monkeypatch, capfdbinary):
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding=encoding))
    assert main(words) == 0
    out = raw.getvalue().decode(encoding)
    assert "\x1b" not in out
    assert "\nsresnet: fine" not in out


def test_help_shows_defaults_that_hold_anything(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sresnet.cli.finetune.recipe_of", lambda *arguments, **options: RECIPES["digits"][1])
    assert main(["finetune", "\x1b[2J\nsresnet: fine", "--data", "digits", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "\x1b[2J" not in shown
    assert "\nsresnet: fine" not in shown


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
    made = "sresnet.cli.train.train_and_report"
    monkeypatch.setattr(made, lambda options, *others: Path(options.out or ".").mkdir() or 0)
    status = main([word.replace("FOO", name) for word in words])
    if status:
        complaint(capsys)
    assert status in ((0, 2) if "--out" in words else (2,))


@pytest.mark.parametrize("form", ["--out=~/run", "--out ~/run", "--out=~", "--out ~"])
def test_the_home_folder_is_meant_where_the_shell_leaves_the_sign(form, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sresnet.cli.train.train_and_report", lambda options, *others: options.out)
    assert main(["train", "digits", *form.split()]) == str(tmp_path / ("run" if "run" in form else ""))


def test_signs_that_are_no_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert cli._at_home("./~") == "./~"
    assert cli._at_home("a~") == "a~"
    assert cli._at_home("--a=b=~") == "--a=b=~"
    assert cli._at_home("~/a") == "/home/me/a"
    assert cli._at_home("-o=~/a\n~") == "-o=/home/me/a\n~"


def test_no_home_folder(monkeypatch):
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(UserError, match="--out=~/x is in the home folder, and none is known: set HOME"):
        cli._at_home("--out=~/x")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    assert main(["train", "digits", *TINY, "--data.train-images", "60", "--out", str(folder)]) == 0
    return folder


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train digits --max-minutes nan", "max_minutes nan is not a length of time: give minutes"),
        ("train digits --max-minutes -1", "max_minutes -1 is not a length of time"),
        ("train digits --checkpoint-seconds nan", "checkpoint_seconds nan is not a length of time"),
        ("train digits --checkpoint-seconds -1", "checkpoint_seconds -1 is not a length of time"),
        ("train digits --train.learning-rate nan", "learning_rate is nan"),
        ("train digits --model.num-steps 99999999999", "num_steps is 99999999999: it is out of range"),
        ("train digits --model.num-steps 1000000000", "weights and statistics is too large"),
        ("train digits --model.base-filters 1000000", "weights and statistics is too large"),
        ("info vgg11 --hidden 2000000000", "weights and statistics is too large"),
        ("info sresnet2147483646", "depth 2147483646 is more than 2000"),
        ("info sresnet8 --image-size ²", "image-size '²'"),
        ("train digits --device meta", "device 'meta' is not available here"),
        ("evaluate RUN --batch-size 0", "batch_size 0 is less than 1: leave --batch-size out"),
        ("evaluate RUN --exit-confidence nan", "exit_confidence is nan"),
        ("evaluate RUN --device meta", "device 'meta' is not available here"),
        ("analyse RUN --images 0", "images 0 is less than 1"),
        ("report RUN --images -1", "images -1 is less than 0"),
        ("predict", "run is missing: give its folder"),
        ("predict digits-t4", "file is missing: give pictures"),
        ("predict --model digits-t4", "file is missing: give pictures"),
        ("predict digits-t4 FILE --out", "--out has no value"),
        ("predict digits-t4 FILE --bogus", "option '--bogus' is unknown"),
        ("finetune digits-t4 --data", "--data has no value"),
        ("study table2 --workers 0", "workers 0 is less than 1"),
        ("study table2 --workers 1000000", "workers 1000000 is more than 256"),
        ("study table2 --seeds 1000000", "seeds 1000000 is more than 1000"),
        ("study table2 --max-minutes nan", "max_minutes is nan"),
        ("import RUN --leak nan", "leak is nan"),
        ("train digits --out FILE", "FILE"),
        ("train digits --out FILE/run", "FILE"),
        ("train digits --out /dev/null/run", "/dev/null"),
        (f"train digits --out {'x' * 300}", "File name too long"),
        (
            "train fast-cifar10-wide --train.epochs 5",
            "progressive_epochs (16,) leave none of 5 epochs for all time steps and low_res_epochs 14 leave none of 5 "
            "epochs for images of full size: add --train.progressive-epochs 4 --train.low-res-epochs 4, or train for "
            "more than 16 epochs",
        ),
        ("finetune cifar10-t4 --data digits --train.epochs 0", "epochs 0 is less than 1"),
        (
            "finetune cifar10-t4 --data digits --freeze stage9",
            "freeze 'stage9': no layer is called so: choose from stem",
        ),
    ],
)
def test_numbers_and_places_that_cannot_be(words, said, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").write_text("mine")
    assert main(words.replace("RUN", str(run)).split()) == 2
    line = complaint(capsys)
    assert said in line
    assert "--help" not in line  # the message has a cure of its own
    assert [path.name for path in tmp_path.iterdir()] == ["FILE"]
    assert (tmp_path / "FILE").read_text() == "mine"


def test_the_cure_for_too_few_epochs_works(tmp_path, monkeypatch):
    monkeypatch.setattr("sresnet.cli.train.train_and_report", lambda options, *others: options.train.progressive_epochs)
    flags = "--train.epochs 5 --train.progressive-epochs 4 --train.low-res-epochs 4".split()
    assert main(["train", "fast-cifar10-wide", *flags]) == (4,)


def pictures(folder, names):
    """Folders of five pictures each."""
    Image = pytest.importorskip("PIL.Image")
    for index, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for number in range(5):
            Image.new("RGB", (10, 12), (60 * index, 20 * number, 99)).save(folder / name / f"{number}.png")


def test_fine_tuning_a_shipped_network_on_pictures(tmp_path, monkeypatch, capsys):
    pictures(tmp_path / "pictures", ("bee", "owl", "猫"))
    monkeypatch.chdir(tmp_path)
    words = (
        "finetune digits-t4 --data folder --data-dir pictures --data.image-size 8 --train.epochs 1 --out run".split()
    )
    assert main(words) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())["model"]
    assert (config["num_classes"], config["in_channels"]) == (3, 3)
    assert main(["predict", "run", "pictures/owl/0.png"]) == 0
    assert re.search("bee|owl|猫", capsys.readouterr().out.splitlines()[-1])


def test_fine_tuning_from_images_to_events_drops_what_only_images_have(tmp_path, monkeypatch):
    monkeypatch.setattr("sresnet.cli.finetune.train_and_report", lambda options, *others, **more: options)
    options = main("finetune cifar10-wide-t2 --data digits-dvs".split())
    assert (options.train.low_res_epochs, options.model.in_channels, options.data.name) == (0, 2, "digits-dvs")


WILD = (
    os.fsdecode(b"caf\xe9"),
    "=cmd|'x'!A1",
    "a\nsresnet: fine",
    "\x1b[2J\x1b]0;t\x07",
    "$x^{",
    "\u202eabc",
    "[red]",
    "猫",
)
"""Names of classes, all of which a folder may have."""


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_folders_of_any_name_from_beginning_to_end(encoding, tmp_path, monkeypatch):
    place = tmp_path / os.fsdecode(b"b\xff\x1b[31m")
    pictures(place / "pictures", WILD)
    monkeypatch.chdir(place)
    monkeypatch.setattr("sresnet.report.plots.available", lambda: False)  # test_plots.py draws such names
    small = [*TINY, "--data.image-size", "8", "--data.validation", "0.25"]
    for words in (
        ["train", "folder", "--data-dir", str(place / "pictures"), "--out", str(place / "run"), "--report", *small],
        ["evaluate", str(place / "run"), "--exit-confidence", "0.9", "--out", "exits"],
        ["predict", "run", *(str(place / "pictures" / name / "0.png") for name in WILD)],
        ["analyse", str(place / "run"), "--images", "4"],
        ["report", "run", "--files", "files", "--out", "page.html"],
    ):
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding=encoding)
        with monkeypatch.context() as patched:
            patched.setattr("sys.stdout", stream)
            assert main(words) == 0
        out = raw.getvalue().decode(encoding)
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", out)
        assert "\nsresnet: fine" not in out
    names = json.loads((place / "run" / "data.json").read_text())["class_names"]
    assert sorted(names) == sorted(WILD)  # nothing is escaped that is read again
    page = (place / "page.html").read_text()
    assert r"caf\xe9" in page
    assert "猫" in page
    cells = "\n".join(path.read_text() for path in (place / "files").glob("*.csv"))
    assert "'=cmd|'x'!A1" in cells
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", cells)


def test_frames_without_a_home_folder(tmp_path, monkeypatch, capsys):
    def none():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", none)
    assert main(["data", "prepare", "digits-dvs"]) == 2
    assert "none is known: add --cache-dir DIR, or set HOME" in complaint(capsys)


# A root that lacks its privileges: it may read the interpreter, and not write what is read-only.
PLAIN = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="a system without users")
def test_folders_that_may_not_be_read_or_written(run, tmp_path):
    """In a process of its own, which has to do without the rights of root if these tests have them."""
    prefix = [] if os.geteuid() else PLAIN
    if prefix and not shutil.which("setpriv"):
        pytest.skip("root may do everything, and there is no setpriv to take that away")
    closed, secret = tmp_path / "closed", tmp_path / "secret"
    for folder in (closed, secret):
        folder.mkdir()
    (closed / "a.png").write_bytes(b"x")
    shutil.copytree(run, tmp_path / "mine")
    (tmp_path / "mine" / "weights.safetensors").chmod(0)
    commands = [
        ["train", "digits", *TINY, "--out", str(closed / "run")],
        ["evaluate", str(run), "--exit-confidence", "0.9", "--out", str(closed / "exits")],
        ["analyse", str(run), "--images", "2", "--out", str(closed / "analysis")],
        ["report", str(run), "--images", "2", "--out", str(closed / "page.html")],
        ["report", str(run), "--images", "2", "--out", str(tmp_path / "page.html"), "--files", str(closed / "files")],
        ["predict", "digits-t4", str(secret / "a.png")],
        ["train", "folder", "--data-dir", str(secret)],
        ["data", "info", str(secret)],
        ["evaluate", str(tmp_path / "mine")],
        ["train", "digits", *TINY, "--out", str(secret / "run")],
    ]
    code = "import sys, json; from sresnet.cli import main; print([main(words) for words in json.loads(sys.argv[1])])"
    try:
        closed.chmod(0o500)
        secret.chmod(0)
        words = [*prefix, sys.executable, "-c", code, json.dumps(commands)]
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    finally:
        closed.chmod(0o700)
        secret.chmod(0o700)
    assert done.stdout.splitlines()[-1] == str([2] * len(commands)), done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("sresnet: ")]
    assert len(said) == len(done.stderr.splitlines()) == len(commands), done.stderr
    assert all("ermission denied" in line for line in said), done.stderr


FEW = "--data.train-images 10 --data.test-images 10".split()
WRITING = {
    "train": ["train", "digits", *TINY, "--data.train-images", "60", "--out", "new/run", "--report"],
    "evaluate": ["evaluate", "RUN", "--exit-confidence", "0.9", "--out", "new/exits"],
    "analyse": ["analyse", "RUN", "--images", "2", "--out", "new/analysis"],
    "report": ["report", "RUN", "--images", "2", "--out", "new/page.html", "--files", "new/files"],
    "predict": ["predict", "digits-t4", "PICTURE", "--out", "new.svg"],
    "import": ["import", "RELEASED", "--leak", "0.874", "--out", "new/run"],
    "data view": ["data", "view", "EVENTS", "--out", "new.gif"],
    "data prepare": ["data", "prepare", "digits-dvs", *FEW, "--cache-dir", "new/cache"],
    "data prepare folder": ["data", "prepare", "folder", "--data-dir", "PICTURES", "--cache-dir", "new/cache"],
    "study": "study table12 --runs new/runs --results new/results".split(),
}
"""A command for everything that writes."""


@pytest.fixture(scope="module")
def things(run, tmp_path_factory):
    """What the commands read."""
    folder = tmp_path_factory.mktemp("things")
    pictures(folder, ["a", "b"])
    (folder / "events.aedat").write_bytes(aedat2(events()))
    found = {
        "RUN": run,
        "PICTURE": folder / "a" / "0.png",
        "PICTURES": folder,
        "EVENTS": folder / "events.aedat",
        "RELEASED": released_checkpoint(golden(SMALL / "plain.safetensors.xz"), folder / "released.pth.tar"),
    }
    return {name: str(path) for name, path in found.items()}


REFUSALS = {
    "mkdir": OSError(errno.EROFS, "Read-only file system"),
    "fsync": OSError(errno.ENOSPC, "No space left on device"),
    "replace": PermissionError(errno.EACCES, "Permission denied"),
}


@pytest.mark.parametrize("function", REFUSALS)
@pytest.mark.parametrize("verb", WRITING)
def test_a_disk_that_refuses(verb, function, things, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def refuse(*arguments, **options):
        raise REFUSALS[function]

    with monkeypatch.context() as patched:
        patched.setattr(os, function, refuse)
        status = main([things.get(word, word) for word in WRITING[verb]])
    if verb in ("predict", "data view") and function == "mkdir":
        assert status == 0  # they make no folder
    elif verb == "data prepare folder" and function == "replace":
        assert status == 0  # its files grow where they are
    elif verb == "study":
        assert status in (1, 2)  # 1: some of its training runs failed, each with its reason
        assert "bug in sresnet" not in capsys.readouterr().err
    else:
        assert status == 2
        assert REFUSALS[function].strerror in complaint(capsys)


@pytest.mark.skipif(sys.platform != "linux", reason="file sizes are limited as on Linux")
def test_a_disk_that_is_full_in_truth(things, tmp_path):
    """No file may be longer than a few bytes: the system itself refuses."""
    verbs = [verb for verb in WRITING if verb != "study"]
    code = (
        "import json, resource, sys, sklearn.datasets; from sresnet.cli import MODULES, main;"
        "from importlib import import_module; from sresnet.report import plots;"
        "[import_module(f'sresnet.cli.{name}') for name in MODULES.values()];"
        "plots.available() and plots._import_matplotlib();"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20));"
        "print([main(words) for words in json.loads(sys.argv[1])], file=sys.stderr)"
    )
    commands = [[things.get(word, word) for word in WRITING[verb]] for verb in verbs]
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(commands)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    *said, statuses = done.stderr.splitlines()
    assert statuses == str([2] * len(verbs)), done.stderr
    assert len(said) == len(verbs)
    assert all(line.startswith("sresnet: ") and "File too large" in line for line in said), done.stderr
