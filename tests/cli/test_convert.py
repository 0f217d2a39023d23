import json
import re
import shutil

import pytest
import torch

from sresnet import create_model
from sresnet.cli import main
from sresnet.models.saved import save_model

ANN = "--model.base-filters 4 --model.num-steps 1 --model.neuron relu --model.connection s2m --train.epochs 3".split()


@pytest.fixture(scope="module")
def ann(tmp_path_factory):
    """A trained ANN's run folder."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs") / "ann"
    assert main(["train", "digits", *ANN, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def spiking(ann):
    """What its conversion by default makes."""
    assert main(["convert", str(ann)]) == 0
    return ann.parent / "ann-deng-T32"


def top1(text):
    return float(re.search(r"test accuracy: (\d+\.\d\d) %", text)[1])


def test_it_says_both_accuracies_and_keeps_them(spiking, ann, capsys):
    result = json.loads((spiking / "result.json").read_text())
    assert main(["convert", str(ann)]) == 0  # the same folder again
    said = capsys.readouterr().out
    assert f"run folder: {spiking}" in said
    assert f"{result['test_top1']:.2f} % after 32 time steps, the ANN {result['ann_test_top1']:.2f} %" in said
    assert result["test_top1"] > result["ann_test_top1"] - 25
    made = json.loads((spiking / "conversion.json").read_text())
    assert made["calibration_images"] == 1000
    assert made["convert"]["shift"] is True


def test_other_verbs_take_it(spiking, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = json.loads((spiking / "result.json").read_text())
    assert main(["evaluate", str(spiking)]) == 0
    assert top1(capsys.readouterr().out) == pytest.approx(result["test_top1"], abs=0.005)
    assert main(["evaluate", str(spiking), "--exit-confidence", "0.9", "--calibrate", "train"]) == 0
    assert main(["analyse", str(spiking), "--images", "20", "--out", "a"]) == 0
    said = capsys.readouterr().out
    assert "stem" in said
    assert "wiring.steps" not in said
    assert "hardware: a converted network sends spikes\n  with single spikes: 3 extra connections, " in said
    assert main(["report", str(spiking), "--images", "20", "-o", "page.html"]) == 0
    assert "converted from" in (tmp_path / "page.html").read_text()
    assert main(["info", str(spiking)]) == 0


def test_more_steps_than_it_was_made_for(ann, spiking, tmp_path, capsys):
    """A shift is that of its own T; without one, rates go on; few spikes are all within one step."""
    for verb in ("evaluate", "analyse"):
        assert main([verb, str(spiking), "--num-steps", "33"]) == 2
        error = capsys.readouterr().err
        assert "for which the shift of its currents is: convert again with --num-steps 33" in error
        assert error.count("\n") == 1
    few = ["--calibration-images", "20", "--out"]
    assert main(["convert", str(ann), "--num-steps", "4", "--no-shift", *few, str(tmp_path / "rates")]) == 0
    assert main(["evaluate", str(tmp_path / "rates"), "--num-steps", "16"]) == 0
    assert "16 time steps, made for 4, " in capsys.readouterr().out
    assert main(["analyse", str(tmp_path / "rates"), "--num-steps", "16", "--images", "20"]) == 0
    assert "16 time steps, made for 4\n" in capsys.readouterr().out
    assert main(["convert", str(ann), "--method", "few-spikes", *few, str(tmp_path / "few")]) == 0
    assert main(["evaluate", str(tmp_path / "few"), "--num-steps", "2"]) == 2
    assert "convert the ANN with more --internal-steps, 10" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "field", "value"),
    [
        (["--method", "few-spikes", "--internal-steps", "6"], "internal_steps", 6),
        (["--method", "few-spikes", "--largest", "calibrated"], "largest", "calibrated"),
        (["--method", "rmp", "--num-steps", "4"], "encoder", "poisson-signed"),
        (["--method", "spikenorm", "--num-steps", "4", "--factor", "0.7"], "factor", 0.7),
        (["--thresholds", "percentile", "--percentile", "99", "--num-steps", "4"], "percentile", 99.0),
    ],
)
def test_methods_and_their_fields(ann, tmp_path, flags, field, value):
    assert main(["convert", str(ann), *flags, "--out", str(tmp_path / "run"), "--calibration-images", "20"]) == 0
    assert json.loads((tmp_path / "run" / "conversion.json").read_text())["convert"][field] == value


def test_mistakes(ann, spiking, tmp_path, capsys):
    def said(*words):
        assert main(["convert", *words]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    assert "deng, few-spikes, rmp, spikenorm, tandem, tsc, whetstone" in said(str(ann), "--method", "x")
    assert "num_steps 0 is outside 1 to 10,000" in said(str(ann), "--num-steps", "0")
    assert "a conversion starts from an ANN" in said(str(spiking))
    assert "calibration_images 0" in said(str(ann), "--calibration-images", "0")
    assert "holds a conversion with other fields" in said(str(ann), "--out", str(spiking), "--num-steps", "8")
    assert "holds no conversion" in said(str(ann), "--out", str(ann))
    assert "--method has no value" in said(str(ann), "--method", "")
    assert "--method has no value" in said(str(ann), "--method=")
    assert "takes intensities, and" in said(str(ann), "--encoder", "poisson")
    assert "invalid choice 'delta'" in said(str(ann), "--encoder", "delta")
    assert " factor is nan" in said(str(ann), "--factor", "nan")
    assert "does not exist" in said(str(tmp_path / "nothing"))


def test_weights_of_another_network(ann, tmp_path, capsys):
    shutil.copytree(ann, tmp_path / "ann")
    save_model(create_model("resnet14", base_filters=4, in_channels=1), tmp_path / "ann" / "weights.safetensors")
    assert main(["convert", str(tmp_path / "ann"), "--calibration-images", "20"]) == 2
    error = capsys.readouterr().err
    assert "holds the weights of resnet14, " in error
    assert "config.json is of resnet8, 4 filters" in error
    assert "the folder holds files of two runs" in error
    assert error.count("\n") == 1


def test_several_methods_side_by_side(ann, spiking, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["convert", str(ann), "--compare", "deng", "few-spikes", "--images", "20", "--out", "c"]
    words += ["--num-steps", "2", "8", "--internal-steps", "4", "10"]
    assert main([*words, "--calibration-images", "20", "--beside", str(spiking)]) == 0
    said = capsys.readouterr().out
    found = json.loads((tmp_path / "c" / "conversions.json").read_text())
    assert [(point["name"], point["num_steps"]) for point in found["points"]] == [
        ("deng", 2), ("deng", 8), ("few-spikes", 4), ("few-spikes", 10), (str(spiking), 32),
    ]  # fmt: skip
    assert all(point["synaptic_operations"] > 0 and point["energy"] > 0 for point in found["points"])
    assert "on 20 test images; the ANN: " in said
    assert (tmp_path / "c" / "conversions.svg").exists()


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        (["--compare", "x"], "method 'x' is unknown"),
        (["--compare"], "need at least one value"),
        (["--compare", "tandem"], "trains for hours"),
        (["--compare", "deng", "--num-steps", "0"], "num_steps 0 is outside"),
        (["--compare", "deng", "--part", "validation"], "part 'validation' is not available"),
        (["--compare", "deng", "--images", "-1"], "images -1"),
    ],
)
def test_mistakes_in_a_comparison(ann, tmp_path, capsys, flags, fault):
    assert main(["convert", str(ann), *flags, "--out", str(tmp_path / "c")]) == 2
    assert fault in capsys.readouterr().err


def test_a_run_has_one_name_however_its_path_is_typed(ann, tmp_path, monkeypatch, capsys):
    """With spikes that are drawn, too, the same command makes the same network."""
    folder = tmp_path / "runs" / "ann"
    shutil.copytree(ann, folder)
    few = ["--method", "rmp", "--num-steps", "4", "--calibration-images", "20"]
    monkeypatch.chdir(tmp_path)
    for source in ("runs/ann", "runs/ann/", "./runs/ann", str(folder)):
        assert main(["convert", source, *few]) == 0, capsys.readouterr().err
    monkeypatch.chdir(folder)
    assert main(["convert", ".", *few]) == 0
    assert " % of the pixels are beyond 1 and cut by poisson-signed; --poisson-scale " in capsys.readouterr().out
    assert [path.name[:11] for path in sorted(folder.parent.iterdir())] == ["ann", "ann-rmp-T4-"]


@pytest.mark.parametrize("name", ["notes.txt", "weights.safetensors", "result.json"])
def test_what_is_in_the_way_is_said_before_the_work(ann, tmp_path, monkeypatch, capsys, name):
    monkeypatch.setattr("sresnet.studies.conversions.to_spiking", lambda *given: pytest.fail("it was converted"))
    monkeypatch.setattr("sresnet.cli.convert.trained", lambda *given: pytest.fail("the ANN was loaded"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / name).write_text("mine")
    assert main(["convert", str(ann), "--out", str(tmp_path / "full")]) == 2
    assert f"is not empty ({name}) and holds no conversion" in capsys.readouterr().err
    assert (tmp_path / "full" / name).read_text() == "mine"
    (tmp_path / "full" / name).unlink()
    (tmp_path / "full" / "environment.json").write_text('{"converted_from": "another"}')
    assert main(["convert", str(ann), "--out", str(tmp_path / "full")]) == 2
    assert "holds a run made of another" in capsys.readouterr().err


def test_runs_beside_are_opened_before_the_work(ann, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sresnet.cli.convert.compared", lambda *given, **named: pytest.fail("it was compared"))
    words = ["convert", str(ann), "--compare", "deng", "--out", str(tmp_path / "c")]
    assert main([*words, "--beside", str(tmp_path)]) == 2
    assert "holds no data.json" in capsys.readouterr().err


VGG = "--model.width 0.03 --model.in-channels 1 --model.image-size 16 --data.image-size 16".split()


def test_tandem_learning_is_stopped_and_goes_on(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = ["--data.name", "digits", "--data.train-images", "200", "--data.validation", "0.2"]
    assert main(["train", "wu-vgg11-small", *VGG, *data, "--train.epochs", "1", "--out", "ann"]) == 0
    words = ["convert", "ann", "--method", "tandem", "--num-steps", "2", "--epochs", "3", "--stage-epochs", "1"]
    capsys.readouterr()
    assert main([*words, "--max-minutes", "0"]) == 0
    assert "stopped after epoch 1" in capsys.readouterr().out
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "epoch 2/3  2 of 10 layers spiking" in said
    (folder,) = (path for path in tmp_path.glob("ann-tandem-T2-*") if not path.name.endswith("-training"))
    made = json.loads((folder / "conversion.json").read_text())
    assert made["convert"]["stage_epochs"] == 1
    assert main(["evaluate", str(folder)]) == 0
    result = json.loads((folder / "result.json").read_text())
    assert top1(capsys.readouterr().out) == pytest.approx(result["test_top1"], abs=0.005)
    (tmp_path / "b-training").mkdir()
    (tmp_path / "b-training" / "mine").write_text("")
    assert main([*words, "--out", "b"]) == 2
    assert "holds no such training" in capsys.readouterr().err
