import contextlib
import json
import math
import random

import pytest
import safetensors.torch
import torch

import sresnet
from sresnet import UserError, create_model
from sresnet.models.saved import model_bytes
from sresnet.models.tensors import read_tensors, tensors_to_bytes


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
    with pytest.raises(UserError, match="not a complete safetensors file"):
        sresnet.load(weights)


def test_a_pytorch_checkpoint_is_not_ours(tmp_path):
    for zipped in (True, False):
        torch.save({"state_dict": {}}, tmp_path / "best.pth.tar", _use_new_zipfile_serialization=zipped)
        with pytest.raises(UserError, match=r"is a file of torch.save.*need sresnet.load_released, or sresnet import"):
            sresnet.load(tmp_path / "best.pth.tar")


def test_damaged_weights_of_ours_are_not_called_somebody_elses(weights):
    content = weights.read_bytes()
    for damaged in (content[:-1], content[:-1] + bytes([content[-1] ^ 1]), content[:4], b""):
        weights.write_bytes(damaged)
        with pytest.raises(UserError, match="use an intact copy; the weights of a run are made again") as caught:
            sresnet.load(weights)
        assert "load_released" not in str(caught.value)


def test_weights_beyond_float32(weights):
    def grown(tensors):
        name = "layers.stem.conv.weight"
        return tensors | {name: tensors[name].double() + 1e300}

    rewritten(weights, grown, without_checksum)
    with pytest.raises(UserError, match=r"layers.stem.conv.weight holds numbers that are too large for float32"):
        sresnet.load(weights)


def test_weights_that_are_no_file(tmp_path):
    (tmp_path / "gone").symlink_to("nowhere")
    with pytest.raises(UserError, match="gone is a dead link: give a run folder or a weights file"):
        sresnet.load(tmp_path / "gone")


def change_field(**fields):
    def change(metadata):
        return {"model": json.dumps(json.loads(metadata["model"]) | fields)}

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: {}, "does not describe its network"),
        (lambda m: {"model": "{"}, "configuration in .* cannot be read"),
        (lambda m: {"model": "[]"}, "expected an object"),
        (
            change_field(family="transformer"),
            "family is 'transformer': choose from sresnet, ann, fang, four-stages, lee, ",
        ),
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


def without_checksum(metadata):
    """As files were before they had one."""
    return {"model": metadata["model"]}


def test_older_files_load_and_gain_a_checksum_when_saved_again(weights):
    model, whole = sresnet.load(weights), weights.read_bytes()
    rewritten(weights, change_metadata=without_checksum)
    assert weights.read_bytes() != whole
    old = sresnet.load(weights)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), old.parameters(), strict=True))
    sresnet.save_model(old, weights)
    assert weights.read_bytes() == whole


def test_equal_networks_are_equal_files():
    model = create_model("sresnet8", base_filters=2, num_steps=2)
    assert len({model_bytes(model) for _ in range(8)}) == 1


def test_several_texts_are_in_one_order(tmp_path):
    tensors, texts = {"a": torch.arange(3.0)}, {name: name for name in "zyxw"}
    contents = {tensors_to_bytes(tensors, dict(sorted(texts.items(), reverse=bool(turn % 2)))) for turn in range(8)}
    assert len(contents) == 1
    (tmp_path / "a").write_bytes(contents.pop())
    found, metadata = read_tensors(tmp_path / "a", tuple(texts))
    assert torch.equal(found["a"], tensors["a"])
    assert {name: metadata[name] for name in texts} == texts


def test_any_changed_byte_is_noticed(weights):
    whole = weights.read_bytes()
    moments = random.Random(3)
    for _ in range(300):
        at, bit = moments.randrange(len(whole)), moments.randrange(8)
        weights.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        with contextlib.suppress(UserError):
            assert model_bytes(sresnet.load(weights)) == whole  # spaces of the header, which say nothing


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_no_numbers_are_refused(weights, value):
    def change(tensors):
        tensors["layers.stem.norm.running_var"][1, 0] = value
        return tensors

    rewritten(weights, change, without_checksum)
    with pytest.raises(UserError, match="'layers.stem.norm.running_var' holds NaN or infinity"):
        sresnet.load(weights)


def test_integers_are_no_weights(weights):
    def change(tensors):
        return tensors | {"layers.stem.conv.weight": tensors["layers.stem.conv.weight"].view(torch.int32)}

    rewritten(weights, change, without_checksum)
    with pytest.raises(UserError, match=r"layers.stem.conv.weight is torch.int32, this network needs torch.float32"):
        sresnet.load(weights)


def test_metadata_of_no_meaning_are_damage(weights):
    rewritten(weights, change_metadata=lambda metadata: {**without_checksum(metadata), "sha257": "0"})
    with pytest.raises(UserError, match="its metadata hold 'sha257'"):
        sresnet.load(weights)


@pytest.mark.parametrize(
    "content", [b"", b"\x02" + bytes(7) + b"[]", b"\x14" + bytes(7) + b'{"__metadata__": 1}  ', b"\xff" * 9]
)
def test_headers_that_are_none(weights, content):
    weights.write_bytes(content)
    with pytest.raises(UserError, match="not a complete safetensors file"):
        sresnet.load(weights)


def test_surplus_tensor(weights):
    rewritten(weights, lambda tensors: tensors | {"layers.stem.conv.bias": torch.zeros(2)}, without_checksum)
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
