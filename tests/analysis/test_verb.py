"""`sresnet analyse`."""

import json

import pytest
import torch

from sresnet import UserError, load
from sresnet.analysis import analyse
from sresnet.cli import main
from sresnet.report import plots
from sresnet.report.analysis_files import claim
from tests.analysis.networks import batch, trained

FIGURES = {f"{name}.{ending}" for name in ("activity", "cost", "accuracy", "gradients") for ending in ("png", "svg")}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    fields = "--model.base-filters 2 --model.num-steps 2 --train.epochs 1 --data.validation 0.1".split()
    assert main(["train", "digits", *fields, "--out", str(folder)]) == 0
    return folder


def test_table_totals_and_files(run, capsys):
    pytest.importorskip("matplotlib")
    assert main(["analyse", str(run), "--images", "1000", "--batch-size", "200"]) == 0
    out = capsys.readouterr().out
    assert "of 359 test images, 2 of 2 time steps" in out
    result = json.loads((run / "result.json").read_text())
    assert f"accuracy: {result['test_top1']:.2f} %" in out
    written = json.loads((run / "analysis" / "analysis.json").read_text())
    assert {path.name for path in (run / "analysis").iterdir()} == {"analysis.json"} | FIGURES
    assert (written["data"], written["part"], written["images"]) == ("digits", "test", 359)
    assert written["by_step"]["top1"][-1] == pytest.approx(result["test_top1"])
    totals = written["totals"]
    assert f"{totals['additions']:,.0f} additions, {totals['multiply_accumulates']:,.0f} multiply-acc" in out
    assert f"spikes: {totals['spikes']:,.0f}, firing rate {totals['spikes_per_neuron_and_step']:.3f} per" in out
    assert sum(layer["additions"] for layer in written["cost"]) == pytest.approx(totals["additions"])
    stem = written["activity"][0]
    (line,) = [line for line in out.splitlines() if line.startswith("stem ")]
    numbers = [f"{sum(stem['active']) / 2:.1f}", f"{stem['spikes']:,.0f}"]
    numbers += [f"{stem['dead']:.1f}", f"{stem['saturated']:.1f}"]
    assert line.split()[1:6] == ["2x8x8", *numbers]
    assert "stage 1, block 1, second  " in out
    assert "stage1_block1.conv2" not in out
    assert written["cost"][2]["name"] == "stage1_block1.conv2"
    assert "with single spikes: 6 extra connections" in out
    assert written["hardware"]["extra_connections"] == 6


def test_again_replaces_its_own_files_and_nothing_else(run, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    command = ["analyse", str(run), "--images", "10", "--out", str(out)]
    monkeypatch.setattr(plots, "available", lambda: False)
    assert main(command) == 0
    assert "pip install 'sresnet[report]'" in capsys.readouterr().out
    assert [path.name for path in out.iterdir()] == ["analysis.json"]
    (out / "mine.txt").write_text("mine")
    assert main([*command, "--num-steps", "1", "--part", "validation"]) == 0
    assert json.loads((out / "analysis.json").read_text())["num_steps"] == 1
    assert (out / "mine.txt").read_text() == "mine"


def test_a_folder_with_other_things_is_refused(run, tmp_path, capsys):
    (tmp_path / "analysis.json").write_text('{"kind": "something else"}')
    assert main(["analyse", str(run), "--images", "10", "--out", str(tmp_path)]) == 2
    assert "is not empty (analysis.json) and holds no analysis: choose another --out" in capsys.readouterr().err
    assert (tmp_path / "analysis.json").read_text() == '{"kind": "something else"}'
    assert main(["analyse", str(run), "--images", "10", "--out", str(run)]) == 2
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be used"):
        claim(tmp_path / "file" / "below")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--images", "0"], "images 0 is less than 1"),
        (["--num-steps", "-1"], "num_steps -1 is less than 0"),
        (["--num-steps", "3"], "time step 3 has no norm"),
        (["--batch-size", "0"], "batch_size 0 is less than 1"),
        (["--part", "all"], "part 'all' is not available"),
        (["--device", "abacus"], "device 'abacus'"),
    ],
)
def test_mistakes_are_answered_in_one_line(run, tmp_path, flags, words, capsys):
    assert main(["analyse", str(run), "--out", str(tmp_path / "new"), *flags]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


def test_no_run(tmp_path, capsys):
    assert main(["analyse"]) == 2
    assert main(["analyse", str(tmp_path)]) == 2
    assert "has no weights.safetensors yet" in capsys.readouterr().err
    assert main(["analyse", "--help"]) == 0
    assert "--batch-size" in capsys.readouterr().out


def test_one_image_has_no_gradients_and_no_images_is_an_error(run):
    model = load(run)
    x = torch.randn(1, 1, 8, 8)
    assert analyse(model, [(x, torch.zeros(1, dtype=torch.long))]).gradients == ()
    with pytest.raises(UserError, match="no images to analyse"):
        analyse(model, [])


def test_networks_without_a_hardware_view_say_why():
    ann = trained("resnet8", num_steps=1)
    found = analyse(ann, [batch(ann)])
    assert found.hardware is None
    assert "sends no spikes" in found.plain()["hardware"]["not_available"]
    json.dumps(found.plain())
