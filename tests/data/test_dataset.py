"""Data sets of clips that others' libraries give, with the interfaces of tonic and SpikingJelly, and mistakes in them.

The stand-ins have what was found in tonic 1.7.0 and SpikingJelly 2.0.0, whose data sets are downloads of gigabytes.
"""

import hashlib
import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset

import sresnet
from sresnet.cli import main
from sresnet.data import DataConfig, EventConfig, from_dataset
from sresnet.data.events.changes import ChangeConfig
from sresnet.data.scaling import make_scaling
from sresnet.errors import UserError
from sresnet.train.evaluate import evaluate
from sresnet.train.loop import train
from sresnet.train.recipe import Recipe, TrainConfig

CPU = torch.device("cpu")


def counts(seed, steps=3, size=12):
    """Frames of class seed % 2: events at the left, or everywhere."""
    frames = np.random.default_rng(seed).poisson(0.3, (steps, 2, size, size))
    frames[..., : size // 2 if seed % 2 else size] += 1
    return frames


class Tonic:
    """As `tonic.datasets.NMNIST` with `transforms.ToFrame`: (int16 [T, C, H, W], int), and no class of torch's."""

    classes: ClassVar = ["0 - zero", "1 - one"]
    sensor_size = (12, 12, 2)

    def __init__(self, first=0, count=24, steps=lambda index: 3):
        self.first, self.count, self.steps = first, count, steps

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return counts(self.first + index, self.steps(index)).astype(np.int16), (self.first + index) % 2


class SpikingJelly(torch.utils.data.Dataset):
    """As `DVS128Gesture(data_type="frame")`: a folder of .npz, (float32 [T, 2, H, W], int), `classes` by folder."""

    def __init__(self, root, first=0, count=24):
        self.classes = ["arm", "wave"]
        self.class_to_idx = {"arm": 0, "wave": 1}
        self.samples = []
        for index in range(first, first + count):
            path = Path(root) / self.classes[index % 2] / f"{index}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, frames=counts(index))
            self.samples.append((path, index % 2))

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        path, target = self.samples[index]
        with np.load(path) as file:
            return file["frames"].astype(np.float32), target


def wanted(indices):
    return torch.from_numpy(np.stack([counts(index) for index in indices])).to(torch.uint8)


def test_a_set_as_tonic_has_it():
    splits = from_dataset(Tonic(), Tonic(100, 10), validation=Tonic(50, 6))
    assert torch.equal(splits.train.clips, wanted(range(24)))
    assert torch.equal(splits.test.batch(torch.tensor([3, 1])), wanted([103, 101]))
    assert splits.train.class_names == splits.validation.class_names == ("0 - zero", "1 - one")
    assert splits.validation.labels.tolist() == [0, 1] * 3
    assert splits.notes == ()


def test_a_set_as_spikingjelly_has_it(tmp_path):
    whole = SpikingJelly(tmp_path)
    splits = from_dataset(Subset(Subset(whole, range(20)), range(16)), Subset(whole, [20, 21]))
    assert splits.train.class_names == ("arm", "wave")
    assert torch.equal(splits.train.clips, wanted(range(16)))
    assert torch.equal(splits.test.clips, wanted([20, 21]))
    assert splits.train.digest() == from_dataset(Tonic(0, 16), Tonic()).train.digest()


def listed(*clips, label=0):
    return [(clip, label) for clip in clips]


ONE = np.ones((2, 1, 4, 4))
KINDS = {
    "bool": (ONE.astype(bool), torch.uint8),
    "uint8": (ONE.astype(np.uint8), torch.uint8),
    "big-endian": (ONE.astype(">i2"), torch.uint8),
    "whole floats": (ONE, torch.uint8),
    "counts": (1000 * ONE.astype(np.uint16), torch.int32),
    "signed": (-ONE.astype(np.int64), torch.int32),
    "float": (0.5 * ONE, torch.float32),
    "negative float": (-ONE.astype(np.float16), torch.float32),
    "tensor": (torch.from_numpy(0.25 * ONE), torch.float32),
    "bfloat16": (torch.from_numpy(1.5 * ONE).bfloat16(), torch.float32),
    "with a gradient": (torch.full((2, 1, 4, 4), 0.75, requires_grad=True), torch.float32),
    "turned": (np.ones((1, 2, 4, 4))[:, :, ::-1].transpose(1, 0, 2, 3), torch.uint8),
    "read only": (np.broadcast_to(np.float32(2), (2, 1, 4, 4)), torch.uint8),
}


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_every_kind_are_kept(kind):
    clip, dtype = KINDS[kind]
    found = from_dataset(listed(clip), listed(clip)).train.clips
    assert found.dtype == dtype
    numbers = clip.detach().float().numpy() if isinstance(clip, torch.Tensor) else clip.astype(np.float32)
    np.testing.assert_array_equal(found[0].float().numpy(), numbers)


def test_the_widest_clip_decides():
    clips = [ONE, 300 * ONE.astype(int), ONE / 2]
    found = from_dataset(listed(*clips), listed(ONE)).train.clips
    np.testing.assert_array_equal(found.numpy(), np.stack(clips))
    assert from_dataset(listed(*clips[:2]), listed(ONE)).train.clips.dtype == torch.int32


@pytest.mark.parametrize("label", [1, np.int64(1), np.array(1), np.array([1]), torch.tensor(1), torch.tensor([1])])
def test_labels_of_every_kind(label):
    assert from_dataset([(ONE, label)], [(ONE, 0)]).train.labels.tolist() == [1]


def test_clips_of_other_lengths_are_cut_and_filled_where_a_length_is_given():
    uneven = Tonic(steps=lambda index: 2 + index % 3)
    splits = from_dataset(uneven, Tonic(), num_steps=3)
    assert splits.notes == (
        "8 training clips were longer: their first 3 frames are used",
        "8 training clips were shorter: frames without events stand behind them",
    )
    np.testing.assert_array_equal(splits.train.clips[0], np.concatenate([counts(0, 2), np.zeros((1, 2, 12, 12))]))
    np.testing.assert_array_equal(splits.train.clips[2], counts(2, 4)[:3])


class Endless(IterableDataset):
    def __iter__(self):
        yield ONE, 0


EVENTS = np.zeros(5, [("x", "i8"), ("y", "i8"), ("t", "i8"), ("p", "i8")])
WRONG = {
    "lengths": (
        Tonic(steps=lambda index: 3 + (index == 5)),
        {},
        r"entry 5 of the training set has shape \[4, 2, 12, 12\]",
    ),
    "cure": (Tonic(steps=lambda index: 3 + index), {}, "num_steps=T takes the first T frames of each"),
    "size": (
        listed(ONE, np.ones((2, 1, 5, 4))),
        {},
        r"\[2, 1, 5, 4\], and the first one \[2, 1, 4, 4\]: make all alike",
    ),
    "events": (listed(EVENTS), {}, "is an array of events, not of frames.*ToFrame"),
    "axes": (
        listed(np.ones((2, 34, 34, 2))),
        {},
        r"34 channels: expected \[T, C, H, W\], and this looks \[T, H, W, C\]",
    ),
    "batch": (listed(np.ones((1, 2, 2, 4, 4))), {}, r"has shape \[1, 2, 2, 4, 4\]: expected \[T, C, H, W\]"),
    "no step": (listed(np.ones((0, 2, 4, 4))), {}, r"has shape \[0, 2, 4, 4\]"),
    "nan": (listed(np.full((2, 1, 4, 4), np.nan)), {}, "entry 0 of the training set holds NaN or infinity"),
    "large": (listed(1e300 * ONE), {}, "holds numbers beyond float32"),
    "larger": (listed(2**40 * ONE.astype(int)), {}, "holds numbers beyond 32 bits"),
    "complex": (listed(ONE.astype(complex)), {}, r"is of complex128 \(2, 1, 4, 4\): give an array"),
    "sparse": (listed(torch.ones(2, 1, 4, 4).to_sparse()), {}, "tensor without plain numbers"),
    "text": (listed("clip"), {}, "is of type str: give an array"),
    "no pair": ([ONE], {}, r"entry 0 of the training set is of float64 \(2, 1, 4, 4\), not a \(clip, label\) pair"),
    "three": ([(ONE, 0, 1)], {}, "is of type tuple, not a"),
    "a name": (listed(ONE, label="cup"), {}, "the label of entry 0 of the training set is of type str"),
    "one-hot": (listed(ONE, label=np.eye(3)[0]), {}, r"is of float64 \(3,\), not a whole number"),
    "a float": (listed(ONE, label=torch.tensor(1.0)), {}, "not a whole number"),
    "negative": (listed(ONE, label=-1), {}, "is -1: classes count from 0"),
    "a hash": (listed(ONE, label=2**40), {}, "is 1099511627776: classes count from 0"),
    "too few names": (listed(ONE, label=2), {"class_names": ["a", "b"]}, "label 2 has no class name, there are 2"),
    "empty": ([], {}, "the training set is empty"),
    "endless": (Endless(), {}, "of type Endless, which has no length"),
    "a loader": (
        DataLoader(TensorDataset(torch.ones(4, 2, 1, 4, 4))),
        {},
        "cannot be indexed: give the data set itself",
    ),
    "a number of steps": (listed(ONE), {"num_steps": -1}, "num_steps -1 is no number of frames"),
    "steps of pictures": (listed(np.ones((4, 4))), {"num_steps": 2}, "is of clips, and these are pictures"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_in_one_line(name):
    dataset, options, fault = WRONG[name]
    with pytest.raises(UserError, match=fault) as raised:
        from_dataset(dataset, listed(ONE), **options)
    assert "\n" not in str(raised.value)


def test_parts_that_are_not_alike():
    with pytest.raises(UserError, match=r"test clips have shape \[3, 1, 4, 4\].*\[2, 1, 4, 4\].*num_steps cuts them"):
        from_dataset(listed(ONE), listed(np.ones((3, 1, 4, 4))))
    with pytest.raises(UserError, match="the validation set is empty"):
        from_dataset(listed(ONE), listed(ONE), validation=[])


def test_pictures_are_taken_as_pictures():
    pictures = TensorDataset(torch.rand(6, 3, 8, 8), torch.arange(6) % 2)
    splits = from_dataset(pictures, pictures, class_names=["even", "odd"])
    assert splits.train.images.shape == (6, 3, 8, 8)
    assert splits.test.class_names == ("even", "odd")


def recipe(**fields):
    data = EventConfig(name="dataset", split="given", **({"flip": True, "shift": 1} | fields))
    model = sresnet.SResNetConfig(depth=8, base_filters=4, num_steps=3, num_classes=2, in_channels=2)
    return Recipe(model=model, data=data, train=TrainConfig(epochs=2, batch_size=8, learning_rate=0.05))


def weights(folder):
    return hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", ["uint8", "int32", "float32"])
def test_a_training_resumes_bit_by_bit_and_knows_its_data(tmp_path, kind, capsys):
    factor = {"uint8": 1, "int32": 1000, "float32": 0.5}[kind]

    class Scaled(Tonic):
        def __getitem__(self, index):
            frames, label = super().__getitem__(index)
            return frames * factor, label

    def splits(first=0):
        return from_dataset(Scaled(first), Scaled(100, 10), validation=Scaled(50, 6))

    assert str(splits().train.clips.dtype) == f"torch.{kind}"
    config = recipe(changes=ChangeConfig(drop="any")) if kind == "uint8" else recipe()
    whole = train(config, splits(), tmp_path / "whole", device=CPU)
    stopped = train(config, splits(), tmp_path / "parts", device=CPU, should_stop=lambda: True)
    assert (stopped.state, stopped.step) == ("stopped", 1)
    assert train(config, splits(), tmp_path / "parts", device=CPU).result == whole.result
    assert weights(tmp_path / "whole") == weights(tmp_path / "parts")
    with pytest.raises(UserError, match=r"holds a run on other data \(24 train samples, now as many others\)"):
        train(config, splits(first=2), tmp_path / "parts", device=CPU)
    about = json.loads((tmp_path / "whole" / "data.json").read_text())
    assert about["class_names"] == Tonic.classes
    assert about["fingerprint"]["train"]["shape"] == [3, 2, 12, 12]
    network = sresnet.load(tmp_path / "whole")
    found = evaluate(network, splits().test, make_scaling(config.data, splits().train), num_steps=3)
    assert (found.top1, found.loss) == (whole.result["test_top1"], whole.result["test_loss"])
    assert whole.result["split"] == {"train": 24, "validation": 6, "test": 10, "name": "given", "simulated": False}


def test_commands_say_that_the_data_are_in_python(tmp_path, capsys):
    run = str(tmp_path / "run")
    train(recipe(), from_dataset(Tonic(), Tonic(100, 10)), tmp_path / "run", device=CPU)
    recording = tmp_path / "a.bin"
    recording.write_bytes(b"\x01\x02\x80\x00\x05" * 3)
    for words in (["evaluate", run], ["analyse", run], ["predict", run, str(recording)]):
        assert main(words) == 2
        assert "given in Python" in (found := capsys.readouterr().err)
        assert found.count("\n") == 1
    assert main(["predict", run, str(recording), "--stream", "50ms"]) == 2
    assert "does not say how these were made of events" in capsys.readouterr().err
    assert main(["report", run, "-o", str(tmp_path / "page.html")]) == 0
    assert (
        "the data are not available: these clips are of a data set that was given in Python" in capsys.readouterr().out
    )
    assert "0 - zero" in (tmp_path / "run" / "data.json").read_text()
    page = (tmp_path / "page.html").read_text()
    assert "No sresnet command trains this network" in page
    assert "sresnet train " not in page


def test_a_recipe_for_the_other_kind_of_data(tmp_path):
    splits = from_dataset(Tonic(), Tonic(100, 10))
    pictures = TensorDataset(torch.rand(24, 2, 8, 8), torch.arange(24) % 2)
    with pytest.raises(UserError, match=r"data 'folder' is of pictures, and the samples are clips: use EventConfig"):
        make_scaling(DataConfig(name="folder"), splits.train)
    with pytest.raises(UserError, match=r"data 'dataset' is of clips, and the samples are pictures"):
        make_scaling(recipe().data, from_dataset(pictures, pictures).train)
