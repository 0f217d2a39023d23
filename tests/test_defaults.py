"""Torch's default dtype and device: trained networks are of float32 on the CPU, and commands refuse other defaults."""

import shutil
from pathlib import Path

import pytest
import torch

import sresnet
from sresnet import UserError, create_model
from sresnet.analysis.gradients import gradients_by_connection
from sresnet.cli import VERBS, main
from sresnet.data import Splits, open_data
from sresnet.data.scaling import scaling_from_plain
from sresnet.models import model_config
from sresnet.models.pretrained import load_shipped
from sresnet.models.summary import summarise
from sresnet.train.evaluate import evaluate
from sresnet.train.finetune import load_pretrained
from sresnet.train.loop import train
from sresnet.train.record import read_about, read_recipe
from tests.golden.reduce import read
from tests.models.test_golden import SMALL, released_checkpoint
from tests.ops.test_settings import SETTINGS
from tests.report.runs import train_tiny
from tests.test_overwrite import digit

NAMES = ["default float64", "default float16", "default bfloat16", "default device", "a device's context"]
FAULTS = {f"default {name}": f"dtype is torch.{name}" for name in ("float64", "float16", "bfloat16")}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a finished run, a picture and a checkpoint of the released code."""
    place = tmp_path_factory.mktemp("defaults")
    train_tiny(place / "run")
    digit(place / "three.png")
    released_checkpoint(read(SMALL / "plain.safetensors.xz"), place / "best.pth.tar")
    return place


def float32_on_the_cpu(model):
    tensors = [*model.parameters(), *model.buffers()]
    return {(tensor.dtype, tensor.device) for tensor in tensors} == {(torch.float32, CPU)}


@pytest.mark.parametrize("name", NAMES)
def test_trained_networks_are_the_same_under_all_defaults(folder, name):
    calls = {
        "load": lambda: sresnet.load(folder / "run"),
        "load_shipped": lambda: load_shipped("digits-t4"),
        "load_released": lambda: sresnet.load_released(folder / "best.pth.tar"),
        "pretrained": lambda: create_model("sresnet8", pretrained="digits-t4"),
    }
    for call in calls.values():
        expected = call().state_dict()
        with SETTINGS[name]():
            model = call()
        assert float32_on_the_cpu(model)
        assert not model.training
        for key, tensor in model.state_dict().items():
            assert torch.equal(tensor, expected[key]), key


@pytest.mark.parametrize("name", NAMES)
def test_another_readout_and_a_source_to_start_from(folder, name):
    torch.manual_seed(5)
    expected = create_model("sresnet8", pretrained="digits-t4", num_classes=3).readout.linear.weight
    with SETTINGS[name]():
        torch.manual_seed(5)
        model = create_model("sresnet8", pretrained="digits-t4", num_classes=3)
        load_pretrained(model, "digits-t4")
    assert float32_on_the_cpu(model)
    if "device" in name:
        assert torch.equal(model.readout.linear.weight, expected)
    x = torch.randn(2, 1, 8, 8)
    assert model(x).shape == (2, 3)


@pytest.mark.parametrize("name", NAMES[:3])
def test_a_trained_network_sees_the_same_under_all_default_dtypes(folder, name):
    def seen():
        test = open_data(read_recipe(folder / "run").data, "", seed=0, num_steps=2).test
        return evaluate(sresnet.load(folder / "run"), test, scaling_from_plain(read_about(folder / "run")))

    expected = seen()
    with SETTINGS[name]():
        assert seen() == expected


@pytest.mark.parametrize("name", NAMES)
def test_what_is_said_of_networks_is_the_same_under_all_defaults(name):
    config = model_config("sresnet8", base_filters=2, num_steps=2)
    x, labels = torch.rand(2, 3, 8, 8), torch.tensor([1, 2])
    summary, gradients = summarise(config, (8, 8)), gradients_by_connection(config, x, labels)
    with SETTINGS[name]():
        assert summarise(config, (8, 8)) == summary
        found = gradients_by_connection(config, x, labels)
    assert found.keys() == gradients.keys()
    assert "device" not in name or found == gradients  # another dtype draws other weights


@pytest.mark.parametrize("name", NAMES)
def test_a_fresh_network_follows_them(name):
    with SETTINGS[name]():
        model = create_model("sresnet8", base_filters=2, num_steps=2, neuron="plif")
        wanted = (torch.get_default_dtype(), torch.get_default_device())
    assert {(tensor.dtype, tensor.device) for tensor in [*model.parameters(), *model.buffers()]} == {wanted}


COMMANDS = {
    "train": "train digits --out new",
    "finetune": "finetune run --data digits --out new",
    "evaluate": "evaluate run",
    "evaluate, shipped": "evaluate digits-t4",
    "predict": "predict digits-t4 three.png",
    "analyse": "analyse digits-t4 --images 5",
    "report": "report digits-t4 --images 5",
    "convert": "convert digits-t4 --out new",
    "export": "export digits-t4 --out new.onnx",
    "import": "import best.pth.tar --out new",
    "push": "push run me/network --out new",
    "pull": "pull me/network --out new",
    "info": "info digits-t4",
    "data": "data prepare digits-dvs",
    "study": "study table12",
    "search": "search digits --out new",
    "list": "list",
}


@pytest.mark.parametrize("name", NAMES)
def test_commands_refuse_them_in_a_line(folder, tmp_path, monkeypatch, capsys, name):
    assert {words.split()[0] for words in COMMANDS.values()} == set(VERBS)
    monkeypatch.chdir(tmp_path)
    for each in ("run", "three.png", "best.pth.tar"):
        (shutil.copytree if (folder / each).is_dir() else shutil.copy)(folder / each, each)
    before = sorted(Path().rglob("*"))
    for words in COMMANDS.values():
        with SETTINGS[name]():
            assert main(words.split()) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"sresnet: torch's default {FAULTS.get(name, 'device is meta')}")
        assert said.count("\n") == 1
    assert sorted(Path().rglob("*")) == before
    with SETTINGS[name]():
        assert main(["--help"]) == 0


@pytest.mark.parametrize("name", NAMES)
def test_train_refuses_them(folder, tmp_path, name):
    recipe = read_recipe(folder / "run")
    splits: Splits = open_data(recipe.data, "", seed=0, num_steps=2)
    with SETTINGS[name](), pytest.raises(UserError, match=f"torch's default {FAULTS.get(name, 'device is meta')}"):
        train(recipe, splits, tmp_path / "new", device=CPU)
    assert not (tmp_path / "new").exists()
