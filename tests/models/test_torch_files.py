"""What torch.save wrote reads as torch reads it, and nothing in a file takes more memory than the file has."""

import io
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch

from sresnet import UserError, load_released
from sresnet.data.pickles import PickleFault
from sresnet.models.torch_files import Mark, read_torch_file
from tests.bounded import outcomes
from tests.golden.reduce import read
from tests.models.test_golden import SMALL, released_checkpoint


def checkpoint(path, zipped=True):
    released_checkpoint(read(SMALL / "plain.safetensors.xz"), path)
    if not zipped:
        with torch.serialization.safe_globals([]):
            content = torch.load(path, weights_only=False)
        torch.save(content, path, _use_new_zipfile_serialization=False)
    return path


SHARED = torch.arange(24.0)
VALUES = {
    "plain": {"a": 1, "b": [2.5, None, True], "c": ("x", -(2**40)), 7: "number"},
    "kinds": [
        torch.tensor([[1, 0], [3, 4]]).to(dtype)
        for dtype in (
            *(torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64),
            *(torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
        )
    ],
    "views": [SHARED, SHARED[3:7], SHARED.view(4, 6).T, SHARED.view(2, 3, 4)[:, 1], torch.tensor(5.0)],
    "ordered": OrderedDict(x=torch.ones(2), y=torch.nn.Parameter(torch.zeros(3))),
    "module": torch.nn.BatchNorm2d(3).state_dict(),
    "numpy": {"accuracy": np.float64(50.0)},
}


def resolved(value, tensor):
    if isinstance(value, Mark):
        return tensor(value)
    if isinstance(value, dict):
        return {key: resolved(inner, tensor) for key, inner in value.items()}
    return [resolved(inner, tensor) for inner in value] if isinstance(value, list | tuple) else value


def same(ours, theirs):
    if isinstance(theirs, torch.Tensor):
        return ours.dtype == theirs.dtype and torch.equal(ours, theirs)
    if isinstance(theirs, dict):
        return list(ours) == list(theirs) and all(same(ours[key], theirs[key]) for key in theirs)
    if isinstance(theirs, list | tuple):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return ours == theirs or isinstance(theirs, np.generic)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "stream"])
@pytest.mark.parametrize("name", VALUES)
def test_values_read_as_they_were_saved(tmp_path, name, zipped):
    torch.save(VALUES[name], tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    assert same(resolved(*read_torch_file(tmp_path / "x.pt", 1.0)), VALUES[name])


def test_the_older_form_gives_the_same_network(tmp_path):
    new, old = (load_released(checkpoint(tmp_path / f"{zipped}.tar", zipped)) for zipped in (True, False))
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(new(x), old(x))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "stream"])
def test_nan_is_refused(tmp_path, zipped):
    path = checkpoint(tmp_path / "x.tar", zipped)
    with torch.serialization.safe_globals([]):
        content = torch.load(path, weights_only=False)
    content["state_dict"]["bntt_list.4.2.running_var"][0] = float("inf")
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match="bntt_list.4.2.running_var holds NaN or infinity"):
        load_released(path)


class Storage:
    """Pickled as torch does it, with a number of elements of its own."""

    def __init__(self, count, key="0", kind=torch.FloatStorage):
        self.reference = ("storage", kind, key, "cpu", count)


class Rebuilt:
    def __init__(self, *arguments):
        self.arguments = arguments

    def __reduce__(self):
        return torch._utils._rebuild_tensor_v2, self.arguments


def crafted(path, state, storages, zipped=True):
    """A checkpoint whose pickle says what it likes of `storages` (key -> bytes)."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return value.reference + (() if zipped else (None,)) if isinstance(value, Storage) else None

    def pickled(value):
        file = io.BytesIO()
        Pickler(file, protocol=2).dump(value)
        return file.getvalue()

    checkpoint = pickled({"state_dict": state})
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x/data.pkl", checkpoint)
            for key, content in storages.items():
                archive.writestr(f"x/data/{key}", content)
        return path
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    parts = [pickled(0x1950A86A20F9469CFC6C), pickled(1001), pickled(system), checkpoint, pickled(list(storages))]
    parts += [(len(content) // 4).to_bytes(8, "little") + content for content in storages.values()]
    path.write_bytes(b"".join(parts))
    return path


def of(size, stride, offset=0, count=1):
    return Rebuilt(Storage(count), offset, size, stride, False, OrderedDict())


def loaded(path):
    return load_released(path).config.base_filters


ONE = {"0": bytes(4)}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "stream"])
@pytest.mark.parametrize(
    ("tensor", "storages", "words"),
    [
        (of((9000, 3, 3, 3), (0, 0, 0, 0)), ONE, "a tensor of [9000, 3, 3, 3] is not within its storage of 1"),
        (of((9000, 3, 3, 3), (27, 9, 3, 1), count=243_000), ONE, "storage 0 has 4 bytes, not 972,000"),
        (of((1 << 20, 1 << 20, 1 << 20, 3), (1, 1, 1, 1)), ONE, "not within its storage of 1"),
        (of((1, 0, 1 << 40), (1, 1, 1)), ONE, "not within its storage of 1"),
        (of((1, 1, 1, 1), (1, 1, 1, 1), offset=1), ONE, "not within its storage"),
        (of((1, 1, 1, 1), (1, 1, 1, 1), offset=-1), ONE, "the shape of a tensor is not of whole numbers"),
        (of((1, 1, 1, 1), (1, 1, 1, -1)), ONE, "the shape of a tensor is not of whole numbers"),
        (of((1, 1, 1, 1), (1, 1, 1)), ONE, "the shape of a tensor is not of whole numbers"),
        (of((1, 1, 1, 1), (1, 1, 1, 1)), {}, "it lacks"),
        (of((1, 1, 1, 1), (1, 1, 1, 1), count=-1), ONE, "a storage is not of numbers"),
        (Rebuilt(Storage(1), 0, (1,)), ONE, "a tensor is made of 3 values"),
        (Rebuilt(Storage(1), 0, (1,) * 9, (1,) * 9), ONE, "not of whole numbers"),
        (Rebuilt(ONE, 0, (1,), (1,)), ONE, "a dict stands where a Storage belongs"),
    ],
    ids=range(13),
)
def test_a_tensor_is_not_larger_than_its_bytes(tmp_path, tensor, storages, words, zipped):
    ((kind, text),) = outcomes(read_all, [crafted(tmp_path / "x.tar", {"a": tensor}, storages, zipped)])
    assert (kind, words in text) == ("refused", True), text


def read_all(path):
    try:
        return resolved(*read_torch_file(path, 1.0))
    except PickleFault as fault:
        raise UserError(str(fault)) from None


def test_a_checkpoint_of_a_few_bytes_makes_no_network_of_gigabytes(tmp_path):
    """One number, shown as often as anybody likes."""
    state = {"conv1.weight": of((1000, 3, 3, 3), (0, 0, 0, 0)), "fc.weight": of((10, 4000), (0, 0))}
    state |= {f"conv_list.{index}.weight": of((1,), (0,)) for index in range(7)} | {"bntt1.0.weight": of((1,), (0,))}
    path = crafted(tmp_path / "x.tar", state, ONE)
    assert path.stat().st_size < 1000
    ((kind, text),) = outcomes(loaded, [path])
    words = "claims 1.2 GB of memory for a network of 298,130,000 numbers, more than 32 times its 9"
    assert (kind, words in text) == ("refused", True), text


def test_names_of_one_storage_do_not_add_up_to_gigabytes(tmp_path):
    """A file of 4 MB whose tensors are all the same one."""
    same_one = of((1_000_000,), (1,), count=1_000_000)
    state = {f"bntt1.{step}.weight": same_one for step in range(300)}
    state |= {"conv1.weight": of((1, 1, 1, 1), (1, 1, 1, 1), count=1_000_000), "fc.weight": same_one}
    crafted(tmp_path / "x.tar", state, {"0": bytes(4_000_000)})
    with pytest.raises(UserError, match=r"claims 1.2 GB of memory for 302 tensors, more than 32 times its 4,0"):
        load_released(tmp_path / "x.tar")


def test_a_zip_file_of_large_claims_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.tar", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes(100_000_000))
        archive.writestr("x/data/0", bytes(500_000_000))
    assert (tmp_path / "x.tar").stat().st_size < 1_000_000
    ((kind, text),) = outcomes(loaded, [tmp_path / "x.tar"])
    assert (kind, "claims 1.2 GB of memory for 2 members" in text) == ("refused", True), text
