import json

import pytest
import safetensors.torch
import torch

import sresnet
from sresnet import UserError, create_model


@pytest.fixture
def weights(tmp_path):
    model = create_model("sresnet8", base_filters=2, num_steps=2)
    path = tmp_path / "weights.safetensors"
    sresnet.save_model(model, path)
    return path


def rewritten(path, change_tensors=lambda tensors: tensors, change_metadata=lambda metadata: metadata):
    tensors = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    safetensors.torch.save_file(change_tensors(tensors), path, metadata=change_metadata(metadata))


def test_file_and_folder(weights):
    assert sresnet.load(weights).config == sresnet.load(weights.parent).config
    assert not sresnet.load(weights).training


def test_missing(tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist"):
        sresnet.load(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"holds no weights.safetensors"):
        sresnet.load(tmp_path)


@pytest.mark.parametrize("part", [0.0, 0.001, 0.5, 0.99])
def test_truncated(weights, part):
    content = weights.read_bytes()
    weights.write_bytes(content[: int(part * len(content))])
    with pytest.raises(UserError, match="not a whole safetensors file"):
        sresnet.load(weights)


def test_a_pytorch_checkpoint_is_not_ours(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "best.pth.tar")
    with pytest.raises(UserError, match="need sresnet.load_released"):
        sresnet.load(tmp_path / "best.pth.tar")


def change_field(**fields):
    def change(metadata):
        return {"model": json.dumps(json.loads(metadata["model"]) | fields)}

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: {}, "says nothing of its network"),
        (lambda m: {"model": "{"}, "damaged configuration"),
        (lambda m: {"model": "[]"}, "expected an object"),
        (change_field(family="transformer"), "family is 'transformer': choose from sresnet, vgg"),
        (change_field(leek=1), "has no field 'leek': did you mean 'leak'"),
        (change_field(leak="high"), "leak is 'high': expected float"),
        (change_field(num_steps=3), r"has shape \(2, 2\), this network needs \(3, 2\)"),
        (change_field(depth=14), "lacks 'layers.stage1_block2"),
        (change_field(connection="none"), "unknown to this network"),
    ],
    ids=range(9),
)
def test_damaged_or_foreign_configuration(weights, change, words):
    rewritten(weights, change_metadata=change)
    with pytest.raises(UserError, match=words):
        sresnet.load(weights)


def test_surplus_tensor(weights):
    rewritten(weights, change_tensors=lambda tensors: tensors | {"layers.stem.conv.bias": torch.zeros(2)})
    with pytest.raises(UserError, match=r"'layers.stem.conv.bias', unknown to this network: did you mean"):
        sresnet.load(weights)


def test_saving_over_keeps_the_old_file_when_the_disk_is_full(weights, monkeypatch):
    before = weights.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="No space left on device.*is kept"):
        sresnet.save_model(create_model("sresnet8", base_filters=4), weights)
    assert weights.read_bytes() == before
    assert [path.name for path in weights.parent.iterdir()] == ["weights.safetensors"]
