"""--json: the output of every verb that prints results is one JSON value, and nothing else."""

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from sresnet.cli import main
from sresnet.models import num_parameters
from sresnet.models.pretrained import card_of, load_shipped
from sresnet.printing import as_json, give, say
from tests.data.events.made_up_sets import aedat2
from tests.golden.reduce import read
from tests.models.test_golden import released_checkpoint

TINY = "--model.base-filters 2 --model.num-steps 2 --train.epochs 1 --train.batch-size 64".split()


def given(capsys, *words):
    """What a command prints as JSON, and its text."""
    assert main([*map(str, words), "--json"]) == 0, capsys.readouterr().err
    said = capsys.readouterr()
    return json.loads(said.out), said.err


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("json") / "run"
    assert main(["train", "digits", *TINY, "--data.validation", "0.2", "--out", str(folder)]) == 0
    return folder


def test_train_gives_its_result(tmp_path, capsys):
    found, said = given(capsys, "train", "digits", *TINY, "--out", tmp_path / "run")
    assert found == {"run": str(tmp_path / "run"), "state": "finished"} | json.loads(
        (tmp_path / "run/result.json").read_text()
    )
    assert f"test accuracy: {found['test_top1']:.2f} %" in said
    found, _ = given(capsys, "train", "digits", *TINY, "--out", tmp_path / "other", "--max-minutes", "0")
    assert found == {"run": str(tmp_path / "other"), "state": "stopped", "step": 1}
    recipe, _ = given(capsys, "train", "digits", *TINY, "--toml")
    assert recipe["model"]["base_filters"] == 2


def test_evaluate(run, capsys):
    result = json.loads((run / "result.json").read_text())
    found, said = given(capsys, "evaluate", run)
    assert (found["top1"], found["precision"], found["part"]) == (result["test_top1"], "fp32", "test")
    assert "test accuracy" in said
    found, _ = given(capsys, "evaluate", run, "--exit-confidence", "0.5")
    assert found["ran"]["threshold"] == 0.5
    assert found["top1_by_step"][-1] == result["test_top1"]


def test_analyse_and_predict(run, tmp_path, capsys):
    found, _ = given(capsys, "analyse", run, "--images", 5, "--out", tmp_path / "analysis")
    kept = json.loads((tmp_path / "analysis/analysis.json").read_text())
    assert kept.pop("files") is not None
    assert found == kept
    Image.fromarray(np.full((8, 8), 200, np.uint8)).save(tmp_path / "a.png")
    found, said = given(capsys, "predict", run, tmp_path / "a.png")
    assert found[0]["file"] == str(tmp_path / "a.png")
    assert math.isclose(sum(each["probability"] for each in found[0]["classes"]), 1, abs_tol=1e-5)
    best = found[0]["classes"][0]
    assert f"{best['name']} {100 * best['probability']:.1f} %" in said


def test_info_and_list(run, capsys):
    found, said = given(capsys, "info", "sresnet8", "--num-steps", "2")
    assert found["model"]["num_steps"] == 2
    assert f"parameters: {found['parameters']:,}" in said
    assert sum(each["multiply_accumulates"] for each in found["layers"]) > 0
    found, _ = given(capsys, "info", run, "--toml")
    assert found["data"]["name"] == "digits"
    found, said = given(capsys, "list")
    card = card_of("cifar10-t4")
    assert found["pretrained"]["cifar10-t4"] == {
        "model": "sresnet20",
        "data": "cifar10",
        "simulated": False,
        "num_steps": 4,
        "parameters": num_parameters(load_shipped("cifar10-t4")),
        "test_top1": card.test_top1,
        "test_images": 10_000,
        "energy_against_ann": card.energy_against_ann,
        "bytes": card.bytes,
    }
    assert f"test images; energy {100 * card.energy_against_ann:.0f} % of an ANN's" in said


def test_report(run, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    recipe = json.loads((copy / "config.json").read_text())
    recipe["seed"] = 7
    (copy / "config.json").write_text(json.dumps(recipe))
    found, said = given(capsys, "report", run, copy, "--images", 5, "--out", tmp_path / "page.html")
    assert found["report"] == str(tmp_path / "page.html")
    assert [each["run"] for each in found["runs"]] == ["run", "copy"]
    assert found["runs"][0]["test_top1"] == json.loads((run / "result.json").read_text())["test_top1"]
    assert found["differences"] == {"seed": [0, 7]}
    assert "report: " in said


def test_export_and_its_file(run, tmp_path, capsys):
    found, _ = given(capsys, "export", run, "--to", "c", "--out", tmp_path / "net.c", "--images", 20)
    assert found["path"] == str(tmp_path / "net.c")
    assert found["comparison"]["images"] == 20
    about, _ = given(capsys, "info", tmp_path / "net.c")
    assert about["about"]["top1_after"] == found["comparison"]["top1_after"]
    assert main(["export", str(run), "--check", "speck", "--json"]) == 3
    check = json.loads(capsys.readouterr().out)
    assert check["fits"] is False
    assert {"what", "cure", "layer"} <= set(check["violations"][0])


def test_conversions(tmp_path, capsys):
    ann = tmp_path / "ann"
    words = ["--model.neuron", "relu", "--model.num-steps", "1", "--model.base-filters", "2", "--train.epochs", "1"]
    assert main(["train", "digits", *words, "--out", str(ann)]) == 0
    capsys.readouterr()
    few = ["--calibration-images", 20]
    found, said = given(capsys, "convert", ann, "--num-steps", 2, *few, "--out", tmp_path / "snn")
    assert f"{found['test_top1']:.2f} % after 2 time steps, the ANN {found['ann_test_top1']:.2f} %" in said
    words = ["--compare", "deng", "--num-steps", 1, 2, "--images", 20]
    found, _ = given(capsys, "convert", ann, *words, *few, "--out", tmp_path / "table")
    assert [each["num_steps"] for each in found["points"]] == [1, 2]


def test_searches_and_studies(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--search.leak", "0.5:0.9", "--enqueue", "none", "--trials", "1", "--out", "search"]
    found, said = given(capsys, "search", "digits", *TINY, *words)
    assert len(found["trials"]) == 1
    assert found["best"] == [0]
    assert "the best trials:" in said
    recipe, _ = given(capsys, "search", "search", "--best")
    assert recipe["model"]["leak"] == found["trials"][0]["values"]["model.leak"]
    found, _ = given(capsys, "study", "table5", "--show")
    assert found["studies"]["table5"]["rows"][0]["measured"] == "not run"
    assert found["failed"] == {}
    found, _ = given(capsys, "study", "list")
    assert found["table5"]["runs"] > 0


def test_recordings(tmp_path, capsys):
    (tmp_path / "a.aedat").write_bytes(aedat2(40))
    found, said = given(capsys, "data", "info", tmp_path / "a.aedat")
    assert found["events"] == 40
    assert "events: 40" in said
    found, _ = given(capsys, "data", "info", tmp_path)
    assert found["recordings"] == 1


def test_data_that_is_made_drawn_and_removed(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "a.aedat").write_bytes(aedat2(40))
    found, said = given(capsys, "data", "view", tmp_path / "a.aedat", "--out", tmp_path / "a.png")
    assert found == {"picture": str(tmp_path / "a.png"), "events": 40, "filtered_events": {}}
    assert "40 events of" in said
    for number in range(10):
        place = tmp_path / "photos" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), 20 * number, np.uint8)).save(place / f"{number}.png")
    found, _ = given(capsys, "data", "prepare", "folder", "--data-dir", tmp_path / "photos")
    assert (found["pictures"], found["decoded"]) == (10, 10)
    file = found["cache"]
    found, said = given(capsys, "data", "clean", "--dry-run")
    assert found["would_remove"][0]["files"][0] == file
    assert "would remove" in said
    found, _ = given(capsys, "data", "clean")
    assert [each["files"][0] for each in found["removed"]] == [file]
    assert given(capsys, "data", "clean")[0] == {"removed": [], "left": 0}
    found, _ = given(capsys, "data", "prepare", "digits-dvs", "--num-steps", "2")
    assert found["clips"] == found["recordings"] == 1797
    assert found["made"] > 0


def test_networks_that_come_and_go(run, tmp_path, capsys):
    released_checkpoint(read(Path(__file__).parents[1] / "golden" / "plain.safetensors.xz"), tmp_path / "best.pth.tar")
    found, _ = given(capsys, "import", tmp_path / "best.pth.tar", "--data", "cifar10", "--out", tmp_path / "imported")
    assert found["run"] == str(tmp_path / "imported")
    assert len(found["classes"]) == 10
    found, _ = given(capsys, "push", run, "me/digits", "--out", tmp_path / "sent")
    assert found == {"name": "me/digits", "sent": False, "folder": str(tmp_path / "sent")}


def test_without_a_verb_it_changes_nothing(capsys):
    assert main(["--json"]) == main(["--help", "--json"]) == 0
    assert capsys.readouterr().out.count("usage: sresnet VERB") == 2
    assert main(["data", "--json"]) == main(["evalate", "--json"]) == 2
    assert capsys.readouterr().out == ""


def test_not_beside_other_processes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["study", "table5", "--workers", "2", "--json"]) == 2
    assert "--json is of one process" in capsys.readouterr().err


def test_a_mistake_is_one_line_and_no_json(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "none", "--json"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1


def test_values_of_every_kind(capsys):
    @dataclass
    class Data:
        path: Path
        numbers: tuple[float, ...]

    class Named(NamedTuple):
        count: int
        text: str

    give(1)  # outside, nothing
    assert capsys.readouterr().out == ""
    values = {"a": Data(Path("x"), (1.5, math.nan, math.inf)), 2: Named(3, "\x1b[31mé"), "none": None, "yes": True}
    with as_json():
        say("text")
        give(values)
    said = capsys.readouterr()
    assert said.err == "text\n"
    assert "\x1b" not in said.out
    assert said.out.isascii()
    assert json.loads(said.out) == {
        "a": {"path": "x", "numbers": [1.5, None, None]},
        "2": {"count": 3, "text": "\x1b[31mé"},
        "none": None,
        "yes": True,
    }
