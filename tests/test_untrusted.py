"""Run folders of somebody else: what they hold or name is not written to, and nothing that never ends is read."""

import os
import shutil
from pathlib import Path

import pytest

from sresnet.cli import main
from sresnet.files import read_json, write_json
from tests.report.runs import TINY
from tests.test_overwrite import digit

IMAGES = "--data.train-images 20 --data.test-images 20".split()
FEW = [*"--model.base-filters 2 --model.num-steps 2 --train.epochs 1".split(), *IMAGES]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run on digits that was stopped after a step."""
    run = tmp_path_factory.mktemp("stopped") / "run"
    assert main(["train", "digits", *TINY, "--max-minutes", "0", "--out", str(run)]) == 0
    return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run on digits."""
    run = tmp_path_factory.mktemp("finished") / "run"
    assert main(["train", "digits", *TINY, "--out", str(run)]) == 0
    return run


@pytest.fixture
def foreign(tmp_path, monkeypatch, finished):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "mine").write_text("mine")
    digit(tmp_path / "three.png")
    return Path("run")


VERBS = {
    "evaluate": ["evaluate", "run"],
    "report": ["report", "run", "--images", "5", "-o", "page.html"],
    "predict": ["predict", "run", "three.png"],
    "analyse": ["analyse", "run", "--images", "5"],
    "info": ["info", "run"],
    "finetune": ["finetune", "run", "--data", "digits", "--out", "tuned", "--train.epochs", "1"],
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    "name", ["config.json", "data.json", "environment.json", "weights.safetensors", "metrics.jsonl"]
)
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(foreign, capsys, verb, name):
    (foreign / name).unlink()
    os.mkfifo(foreign / name)
    status = main(VERBS[verb])
    assert status in (0, 2)  # not every verb reads every file
    if status:
        assert f"{name} cannot be read to its end" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["config.json", "checkpoint.safetensors", "metrics.jsonl", "environment.json"])
def test_a_training_waits_for_no_pipe(tmp_path, capsys, stopped, name):
    run = tmp_path / "run"
    shutil.copytree(stopped, run)
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    assert main(["train", "digits", *TINY, "--out", str(run)]) == 2
    assert f"{name} cannot be read to its end" in capsys.readouterr().err


def test_a_pipe_among_the_files_to_classify(foreign, capsys):
    os.mkfifo("pipe.png")
    assert main(["predict", "run", "pipe.png"]) == 2
    assert "pipe.png cannot be read to its end" in capsys.readouterr().err
    os.mkfifo("pipe.aedat")
    assert main(["data", "info", "pipe.aedat"]) == 2
    assert main(["data", "view", "pipe.aedat", "--out", "view.png"]) == 2
    assert main(["import", "pipe.aedat"]) == 2


LINKS = [".lock", ".environment.json.part", ".data.json.part", "environment.json", "data.json", "metrics.jsonl"]


@pytest.mark.parametrize(
    "name", [*LINKS, "checkpoint.safetensors", "weights.safetensors", "result.json", "report.html"]
)
def test_links_in_a_run_are_not_written_through(tmp_path, stopped, name):
    run = tmp_path / "run"
    shutil.copytree(stopped, run)
    mine = tmp_path / "mine"
    if (run / name).exists():
        shutil.copy(run / name, mine)
        (run / name).unlink()
    if not mine.exists() or not mine.read_bytes():  # of an empty one, nobody sees that it is emptied
        mine.write_text("mine")
    before = mine.read_bytes()
    (run / name).symlink_to(mine)
    assert main(["train", "digits", *TINY, "--out", str(run), "--report"]) in (0, 2)
    assert mine.read_bytes() == before


def test_metrics_are_not_added_to_what_a_link_names(tmp_path, capsys, stopped):
    """An empty file: there is nothing to cut off before the first epoch's line."""
    run, mine = tmp_path / "run", tmp_path / "mine"
    shutil.copytree(stopped, run)
    mine.touch()
    (run / "metrics.jsonl").symlink_to(mine)
    assert main(["train", "digits", *TINY, "--out", str(run)]) == 2
    assert "metrics.jsonl could not be written (it is a link)" in capsys.readouterr().err
    assert mine.read_bytes() == b""


def test_the_folder_of_an_analysis_is_no_link_unless_it_is_named(foreign, tmp_path, capsys):
    (tmp_path / "elsewhere").mkdir()
    (foreign / "analysis").symlink_to(tmp_path / "elsewhere")
    assert main(VERBS["analyse"]) == 2
    assert "run/analysis is a link, which is followed only where you name it: add --out DIR" in capsys.readouterr().err
    assert not any((tmp_path / "elsewhere").iterdir())
    assert main([*VERBS["analyse"], "--out", "run/analysis"]) == 0


def test_data_are_fetched_into_no_folder_that_a_run_names(foreign, tmp_path, capsys):
    environment = read_json(foreign / "environment.json")
    write_json(foreign / "environment.json", environment | {"data_dir": str(tmp_path / "victim")})
    assert main([*VERBS["evaluate"], "--download"]) == 2
    assert "--download needs --data-dir DIR" in capsys.readouterr().err
    assert not (tmp_path / "victim").exists()


def test_frames_are_kept_in_no_folder_that_only_a_run_names(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    assert main(["train", "digits-dvs", *FEW, "--out", "run", "--cache-dir", "chosen"]) == 0
    chosen = {path.name for path in Path("chosen").iterdir()}
    environment = read_json(Path("run/environment.json"))
    assert environment["cache_dir"] == "chosen"
    capsys.readouterr()
    assert main(["evaluate", "run"]) == 0  # where frames of ours are
    assert capsys.readouterr().err == ""
    assert not Path("own/sresnet/frames").exists()  # beside it may be the compiled kernel
    Path("victim").mkdir()
    mine = {"mine.txt", "film.frames", "film.json"}  # of another program
    for name in mine:
        (Path("victim") / name).write_text('{"clips": 3}')
    for folder in ("victim", "new"):
        write_json(Path("run/environment.json"), environment | {"cache_dir": folder})
        for command in (["evaluate", "run"], ["analyse", "run", "--images", "5"], ["report", "run", "--images", "5"]):
            assert main(command) == 0
            said = capsys.readouterr().err
            assert said == f"note: {folder} of run holds no frames; they are kept in {tmp_path}/own/sresnet/frames\n"
    assert {path.name for path in Path("victim").iterdir()} == mine
    assert not Path("new").exists()
    assert {path.name for path in Path("chosen").iterdir()} == chosen


def test_links_in_a_cache_are_not_written_through(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    prepare = ["data", "prepare", "digits-dvs", *IMAGES]
    assert main([*prepare, "--num-steps", "2", "--cache-dir", "own"]) == 0
    (frames,) = Path("own").glob("*.frames")
    whole = frames.read_bytes()
    for ending in (".part", ".begun", ".list", ".frames", ".json", ".lock"):
        Path("mine").write_text("mine", encoding="utf-8")
        shutil.rmtree("own")
        Path("own").mkdir()
        frames.with_suffix(ending).symlink_to(tmp_path / "mine")
        assert main([*prepare, "--num-steps", "2", "--cache-dir", "own"]) == (2 if ending in (".lock", ".begun") else 0)
        assert Path("mine").read_text(encoding="utf-8") == "mine"
        assert ending in (".lock", ".begun") or frames.read_bytes() == whole
