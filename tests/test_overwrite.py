"""Every verb that writes refuses what it did not make, and --force is the cure; its own files it replaces."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch

from sresnet.cli import main
from sresnet.models.saved import load, save_model
from sresnet.report import plots
from sresnet.studies import results
from sresnet.studies.paper import STUDIES
from sresnet.studies.run import WEIGHTS
from sresnet.studies.scale import scaled
from tests.golden.reduce import read
from tests.models.test_golden import SMALL, released_checkpoint
from tests.report.runs import train_tiny
from tests.studies.made_up import result_of

sys.path.append(str(Path(__file__).parent / "data" / "events"))
import made_up_events

FAST = "--images 10 --batch-size 10".split()
needs_matplotlib = pytest.mark.skipif(not plots.available(), reason="matplotlib is not installed")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run."""
    return train_tiny(tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture
def here(tmp_path, monkeypatch, trained):
    """A folder to be in, with a run, a recording, a picture, a checkpoint of the released code, and results."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "davis.aedat").write_bytes(made_up_events.aedat2_davis(made_up_events.events(1200)))
    digit(tmp_path / "three.png")
    released_checkpoint(read(SMALL / "plain.safetensors.xz"), tmp_path / "best.pth.tar")
    return tmp_path


def digit(path):
    from PIL import Image
    from sklearn.datasets import load_digits

    Image.fromarray((load_digits().images[3] * 255 / 16).round().astype("uint8")).save(path)


FILES = {
    "data view": "data view davis.aedat --out OUT.png",
    "data view, moving": "data view davis.aedat --out OUT.gif",
    "predict": "predict run three.png --out OUT.png",
    "predict, drawn": "predict run three.png --out OUT.svg",
    "report": "report run --images 5 -o OUT.html",
}


@needs_matplotlib
@pytest.mark.parametrize("kind", FILES)
def test_a_file_of_somebody_else(here, capsys, kind):
    words = FILES[kind].split()
    out = Path(words[-1])
    out.write_bytes(b"\x89PNG mine, drawn for sresnet")
    assert main(words) == 2
    said = capsys.readouterr().err
    assert f"{out} exists and was not made by sresnet: choose another --out, or replace it with --force" in said
    assert said.count("\n") == 1
    assert out.read_bytes() == b"\x89PNG mine, drawn for sresnet"
    assert main([*words, "--force"]) == 0
    ours = out.read_bytes()
    assert len(ours) > 1000
    assert main(words) == 0  # what it made itself
    out.unlink()
    out.symlink_to("three.png")
    before = Path("three.png").read_bytes()
    assert main(words) == 2
    assert main([*words, "--force"]) == 0
    assert Path("three.png").read_bytes() == before
    assert not out.is_symlink()
    out.unlink()
    Path("ours").write_bytes(ours)
    out.symlink_to("ours")  # a link is not one of ours, whatever it leads to
    assert main(words) == 2
    out.unlink()
    out.mkdir()
    capsys.readouterr()
    assert main([*words, "--force"]) == 2
    assert capsys.readouterr().err == f"sresnet: {out} is a folder: name a file\n"
    out.rmdir()
    os.mkfifo(out)
    assert main([*words, "--force"]) == 2
    assert capsys.readouterr().err == f"sresnet: {out} is a device or pipe: choose another --out\n"
    assert not list(here.glob(".*.part"))


FOLDERS = {
    "analyse": (f"analyse run {' '.join(FAST)} --out OUT", "cost.png"),
    "evaluate": ("evaluate run --exit-confidence 0.9 --out OUT", "early-exit.svg"),
    "report": ("report run --images 5 -o page.html --files OUT", "classes.csv"),
}


@needs_matplotlib
@pytest.mark.parametrize("kind", FOLDERS)
def test_a_folder_of_somebody_else(here, capsys, kind):
    command, name = FOLDERS[kind]
    words, out = command.split(), Path("OUT")
    out.mkdir()
    (out / name).write_text("mine")
    assert main(words) == 2
    assert "OUT is not empty" in (said := capsys.readouterr().err)
    assert "or use it with --force" in said
    assert [path.name for path in out.iterdir()] == [name]
    assert main([*words, "--force"]) == 0
    assert (out / name).stat().st_size > 10
    assert main(words) == 0  # what it made itself
    # A file of somebody else's among ours is known to be that.
    listing = next(out.glob("*.json"))
    about = json.loads(listing.read_text())
    listing.write_text(json.dumps(about | {"files": [each for each in about["files"] if each != name]}))
    (out / name).write_text("mine")
    capsys.readouterr()
    assert main(words) == 2
    assert f"{out / name} exists and was not made by sresnet" in capsys.readouterr().err
    assert (out / name).read_text() == "mine"


@pytest.mark.parametrize("kind", FOLDERS)
@pytest.mark.parametrize("left", [".first.json.part", ".analysis.json.0123456789abcdef.part", ".lock"])
def test_a_folder_with_nothing_but_unfinished_parts_is_ours(here, kind, left):
    Path("OUT").mkdir()
    (Path("OUT") / left).write_text('{"kind": ')
    assert main(FOLDERS[kind][0].split()) == 0


TINY = "--model.base-filters 2 --model.num-steps 2 --train.epochs 1 --data.train-images 60".split()
RUNS = {
    "train": ["train", "digits", *TINY],
    "finetune": ["finetune", "run", "--data", "digits", "--train.epochs", "1", "--data.train-images", "60"],
    "import": ["import", "best.pth.tar"],
}


@pytest.mark.parametrize("kind", RUNS)
def test_a_run_folder_with_nothing_but_unfinished_parts_is_ours(here, kind):
    Path("OUT").mkdir()
    parts = [f".{name}.0123456789abcdef.part" for name in ("config.json", "of-an-earlier-version.json")]
    for left in (".config.json.part", *parts, ".lock"):
        (Path("OUT") / left).write_text("{")
    assert main([*RUNS[kind], "--out", "OUT"]) == 0
    assert (Path("OUT") / "weights.safetensors").exists()
    assert not any((Path("OUT") / left).exists() for left in parts)


@pytest.mark.parametrize("kind", RUNS)
def test_a_run_folder_of_somebody_else(here, capsys, kind):
    Path("OUT").mkdir()
    (Path("OUT") / "thesis.tex").write_text("mine")
    assert main([*RUNS[kind], "--out", "OUT"]) == 2
    assert "OUT is not empty (thesis.tex) and holds no run: choose another --out" in capsys.readouterr().err
    assert main([*RUNS[kind], "--out", "three.png"]) == 2
    assert "folder three.png cannot be made" in capsys.readouterr().err
    assert main([*RUNS[kind], "--out", "three.png/below"]) == 2


@pytest.mark.parametrize("files", [1, 2, 3])
def test_an_import_that_was_cut_off_goes_on(here, capsys, monkeypatch, files):
    assert main([*RUNS["import"], "--out", "whole"]) == 0
    written = []

    def full(descriptor):
        written.append(descriptor)
        if len(written) > 2 * files:  # each file and its folder
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr("os.fsync", full)
        assert main([*RUNS["import"], "--out", "OUT"]) == 2
        assert "No space left on device" in capsys.readouterr().err
    assert not list(Path("OUT").glob(".*.part"))
    assert not (Path("OUT") / WEIGHTS).exists()
    assert main([*RUNS["import"], "--out", "OUT"]) == 0
    for path in Path("whole").iterdir():
        assert (Path("OUT") / path.name).read_bytes() == path.read_bytes()


def test_an_import_that_is_whole_stays_so_and_other_weights_are_kept(here, capsys):
    for _ in range(2):
        assert main([*RUNS["import"], "--out", "OUT"]) == 0
    network = load("OUT")
    with torch.no_grad():
        network.readout.linear.weight[0, 0] += 1
    save_model(network, Path("OUT") / WEIGHTS)
    other = (Path("OUT") / WEIGHTS).read_bytes()
    assert main([*RUNS["import"], "--out", "OUT"]) == 2
    assert "OUT holds a run: choose another --out" in capsys.readouterr().err
    assert (Path("OUT") / WEIGHTS).read_bytes() == other


def test_a_training_of_the_same_recipe_is_no_import(here, capsys):
    assert main([*RUNS["import"], "--out", "OUT"]) == 0
    (Path("OUT") / WEIGHTS).unlink()
    (Path("OUT") / "environment.json").write_text("{}")
    assert main([*RUNS["import"], "--out", "OUT"]) == 2
    assert "OUT holds a run: choose another --out" in capsys.readouterr().err


def test_the_report_of_a_training(here, capsys):
    words = [*RUNS["train"], "--out", "OUT", "--report"]
    assert main(words) == 0
    (Path("OUT") / "report.html").write_text("mine")
    assert main(words) == 2
    assert "or replace it with --force" in capsys.readouterr().err
    assert (Path("OUT") / "report.html").read_text() == "mine"
    assert main([*words, "--force"]) == 0
    assert main(words) == 0


def test_a_page_in_the_way_is_said_before_the_work(here, monkeypatch, capsys):
    Path("mine.html").write_text("mine", encoding="utf-8")
    with monkeypatch.context() as context:
        context.setattr("sresnet.cli.report.inspect_run", None)  # would fail
        assert main(["report", "run", "-o", "mine.html"]) == 2
    words = [*RUNS["train"], "--train.batch-size", "20", "--out", "OUT"]
    assert main([*words, "--max-minutes", "0"]) == 0
    (Path("OUT") / "report.html").write_text("mine")
    assert main([*words, "--report"]) == 2
    assert capsys.readouterr().err.count("html exists and was not made by sresnet") == 2
    assert not (Path("OUT") / "result.json").exists()


@needs_matplotlib
@pytest.mark.parametrize("mine", ["page.md", "kept/tables/table3.csv", "kept/figures/FIGURE"])
def test_the_page_of_studies(here, capsys, mine):
    words = "study page --results kept --out page.md".split()
    for training in scaled(STUDIES["table3"], "tiny").training_runs():
        results.write(here / "kept", result_of(training))
    assert main(words) == 0
    assert main(words) == 0  # what it made itself
    if "FIGURE" in mine:
        shutil.rmtree(here / "kept" / "tables")
        mine = str(next((here / "kept" / "figures").iterdir()))
    Path(mine).write_text("mine", encoding="utf-8")
    capsys.readouterr()
    assert main(words) == 2
    assert "exists and was not made by sresnet" in capsys.readouterr().err
    assert Path(mine).read_text(encoding="utf-8") == "mine"
    assert main([*words, "--force"]) == 0
    assert Path(mine).read_bytes() != b"mine"
