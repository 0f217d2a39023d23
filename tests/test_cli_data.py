"""The verbs on other people's pictures: classes by name, and what is said of the data."""

import json
import shutil

import pytest
import torch

from sresnet.cli import main

Image = pytest.importorskip("PIL.Image")

COLOURS = {"ant": (200, 30, 30), "bee": (30, 200, 30), "cat": (30, 30, 200)}
TINY = "--model.base-filters 4 --model.num-steps 2 --train.epochs 12 --train.batch-size 6 --data.image-size 8".split()


def pictures(folder, names, count=10, size=(8, 8)):
    """Class folders below `folder`; `names` says which class the pictures of each are really of."""
    for name, really in names.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            colour = tuple(min(255, max(0, value + 3 * number)) for value in COLOURS[really])
            Image.new("RGB", size, colour).save(folder / name / f"{number}.png")
    return folder


def as_they_are(*names):
    return {name: name for name in names}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that tells three colours apart, and the folder of its pictures."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("colours")
    data = pictures(folder / "data", as_they_are("ant", "bee", "cat"))
    command = ["train", "folder", *TINY, "--data-dir", str(data), "--data.validation", "0.2", "--train.learning-rate"]
    assert main([*command, "0.1", "--data.crop-padding", "0", "--out", str(folder / "run")]) == 0
    assert json.loads((folder / "run" / "result.json").read_text())["test_top1"] == 100
    return folder / "run"


OTHERS = {
    "fewer classes": as_they_are("bee", "cat"),
    "fewer classes, the first ones": as_they_are("ant", "bee"),
}


@pytest.mark.parametrize("names", OTHERS.values(), ids=OTHERS)
def test_classes_of_other_data_are_matched_by_name(run, tmp_path, capsys, names):
    data = str(pictures(tmp_path / "other", names))
    assert main(["evaluate", str(run), "--data-dir", data]) == 0
    out = capsys.readouterr().out
    assert "test accuracy: 100.00 %" in out
    assert "note: these are not the data of the run (18 train samples, now 12)" in out
    assert (
        main(["evaluate", str(run), "--data-dir", data, "--exit-confidence", "0.9", "--out", str(tmp_path / "e")]) == 0
    )
    out = capsys.readouterr().out
    assert "all 2 steps: 100.00 %" in out
    assert "note: these are not the data of the run" in out
    assert "samples, now" in json.loads((tmp_path / "e" / "early-exit.json").read_text())["other_data"]
    assert main(["analyse", str(run), "--data-dir", data, "--out", str(tmp_path / "a")]) == 0
    out = capsys.readouterr().out
    assert "accuracy: 100.00 %" in out
    assert "note: these are not the data of the run" in out
    assert "samples, now" in json.loads((tmp_path / "a" / "analysis.json").read_text())["other_data"]
    assert main(["report", str(run), "--data-dir", data, "-o", str(tmp_path / "page.html")]) == 0
    assert "not the data of the run" in (tmp_path / "page.html").read_text()


def test_the_data_of_the_run_are_known_again(run, tmp_path, capsys):
    moved = shutil.copytree(run.parent / "data", tmp_path / "moved")
    for words in ([], ["--data-dir", str(moved)]):
        assert main(["evaluate", str(run), *words]) == 0
        assert "not the data" not in capsys.readouterr().out
    assert main(["report", str(run), "-o", str(tmp_path / "page.html")]) == 0
    assert "not the data" not in (tmp_path / "page.html").read_text()


def test_unknown_classes_are_refused_with_both_lists(run, tmp_path, capsys):
    data = str(pictures(tmp_path / "other", {"ant": "ant", "bee": "bee", "owl": "cat"}))
    for words in (["evaluate"], ["evaluate", "--exit-confidence", "0.9"], ["analyse", "--out", str(tmp_path / "a")]):
        assert main([words[0], str(run), *words[1:], "--data-dir", data]) == 2
        assert capsys.readouterr().err.startswith(
            "sresnet: the data have class owl, unknown to the network: they are of ant, bee, owl, and the network "
            "knows ant, bee, cat"
        )
    assert main(["report", str(run), "--data-dir", data, "-o", str(tmp_path / "page.html")]) == 0
    assert "the data have class owl, unknown to the network" in capsys.readouterr().out


def test_pictures_that_were_added_are_not_trained_on_in_the_middle(run, tmp_path, capsys):
    data = shutil.copytree(run.parent / "data", tmp_path / "data")
    command = ["train", "folder", *TINY, "--data-dir", str(data), "--out", str(tmp_path / "run")]
    assert main([*command, "--max-minutes", "0"]) == 0
    pictures(tmp_path / "more", {"ant": "ant"}, count=14)
    shutil.copytree(tmp_path / "more" / "ant", data / "ant", dirs_exist_ok=True)
    capsys.readouterr()
    assert main(command) == 2
    assert "run on other data (21 train samples, now 24)" in capsys.readouterr().err


def test_a_run_whose_network_has_other_classes_than_it_names(run, tmp_path, capsys):
    copy = shutil.copytree(run, tmp_path / "copy")
    about = json.loads((copy / "data.json").read_text())
    (copy / "data.json").write_text(json.dumps(about | {"class_names": ["ant", "bee"]}))
    assert main(["predict", str(copy), str(run.parent / "data" / "ant" / "0.png")]) == 2
    assert "names 2 classes in data.json, and its network has 3" in capsys.readouterr().err
