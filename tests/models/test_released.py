import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

from sresnet import UserError, load_released
from tests.golden.reduce import read
from tests.models.test_golden import SMALL, released_checkpoint


@pytest.fixture
def checkpoint(tmp_path):
    return released_checkpoint(read(SMALL / "plain.safetensors.xz"), tmp_path / "best.pth.tar")


def renamed_numpy(path, old, new):
    """The same checkpoint, pickled under the module name of another numpy."""
    with zipfile.ZipFile(path) as source:
        files = {info.filename: source.read(info) for info in source.infolist()}
    changed = path.with_name("other.pth.tar")
    with zipfile.ZipFile(changed, "w") as target:
        for name, content in files.items():
            if name.endswith("data.pkl"):
                assert old in content
                content = content.replace(old, new)
            target.writestr(name, content)
    return changed


def test_reads_the_accuracy_scalar_of_old_and_new_numpy(checkpoint):
    new = load_released(checkpoint, leak=0.874)
    old = load_released(renamed_numpy(checkpoint, b"numpy._core.multiarray", b"numpy.core.multiarray"), leak=0.874)
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(new(x), old(x))


class Bomb:
    def __reduce__(self):
        return os.system, ("touch exploded",)


def test_no_code_in_a_checkpoint_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bomb.pth.tar"
    torch.save({"global_step": 1, "state_dict": {}, "accuracy": Bomb()}, path)
    with pytest.raises(UserError, match=r"bomb\.pth\.tar is not a complete checkpoint"):
        load_released(path)
    (tmp_path / "bare.pth.tar").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match=r"bare\.pth\.tar is not a complete checkpoint"):
        load_released(tmp_path / "bare.pth.tar")
    assert not (tmp_path / "exploded").exists()


def altered(checkpoint, change):
    with torch.serialization.safe_globals([]):
        content = torch.load(checkpoint, weights_only=False)
    content = change(content)
    torch.save(content, checkpoint)
    return checkpoint


def without(name):
    def change(content):
        del content["state_dict"][name]
        return content

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["state_dict"], "has no state_dict"),
        (lambda c: [1, 2], "has no state_dict"),
        (lambda c: c | {"state_dict": {"a": torch.zeros(1)}}, "has no conv1.weight"),
        (without("fc.weight"), "has no conv1.weight and fc.weight"),
        (without("conv_list.3.weight"), "missing"),
        (without("bntt1.1.weight"), "missing"),
        (without("conv_list.6.weight"), "depth 7 is not 6n"),
        (without("bntt_list.4.2.running_var"), "lacks 'bntt_list.4.2.running_var'"),
        (without("resize_bn_2.0.weight"), "lacks 'resize_bn_2.0.weight'"),
    ],
    ids=range(9),
)
def test_other_checkpoints_are_refused(checkpoint, change, words):
    with pytest.raises(UserError, match=words):
        load_released(altered(checkpoint, change))


def test_wrong_shape_is_refused(checkpoint):
    def change(content):
        content["state_dict"]["conv_list.2.weight"] = torch.zeros(8, 8, 5, 5)
        return content

    with pytest.raises(UserError, match=r"conv2.weight has shape \(8, 8, 5, 5\)"):
        load_released(altered(checkpoint, change))


def test_truncated_missing_and_foreign_files(checkpoint, tmp_path):
    content = checkpoint.read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 40):
        checkpoint.write_bytes(content[:length])
        with pytest.raises(UserError, match="not a complete checkpoint"):
            load_released(checkpoint)
    with pytest.raises(UserError, match="does not exist"):
        load_released(tmp_path / "nowhere")
    with pytest.raises(UserError, match="is a folder: give the checkpoint file"):
        load_released(tmp_path)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(UserError, match="not a complete checkpoint"):
        load_released(tmp_path / "text")
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    (tmp_path / "array.npy").write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match="not a complete checkpoint"):
        load_released(tmp_path / "array.npy")


def test_number_of_classes_must_fit(checkpoint):
    with pytest.raises(UserError, match="10 outputs, not the 100 of num_classes=10, boosting=True"):
        load_released(checkpoint, boosting=True)
