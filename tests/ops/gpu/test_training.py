"""Training with the kernels: in float16, whose loss scale is part of what a stopped run goes on from."""

import pytest
import torch

from sresnet.data import ImageSet, Splits
from sresnet.models import SResNetConfig
from sresnet.models.tensors import read_tensors
from sresnet.train import loss_scale
from sresnet.train.loop import train
from sresnet.train.recipe import DataConfig, Recipe, TrainConfig
from sresnet.train.record import CHECKPOINT
from tests.ops.gpu.test_kernels import DEVICE, _poisoned

__all__ = ["_poisoned"]
pytestmark = pytest.mark.usefixtures("on_gpu")


def images(count):
    pixels = torch.randint(0, 256, (count, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(count))
    return ImageSet(images=pixels, labels=torch.arange(count) % 2, class_names=("a", "b"))


RECIPE = Recipe(
    model=SResNetConfig(depth=8, base_filters=2, num_steps=1, in_channels=1, num_classes=2, surrogate_height=1.0),
    data=DataConfig(name="digits", flip=False, crop_padding=0),
    train=TrainConfig(epochs=1, batch_size=4, learning_rate=0.1, precision="fp16"),
)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numpy in the interpreter, where gradients overflow
def test_float16(tmp_path, monkeypatch):
    """The first step overflows and is left out; a run that was stopped ends as one that was not."""
    monkeypatch.setattr(loss_scale, "FIRST", 2.0**40)
    monkeypatch.setattr(loss_scale, "INTERVAL", 1)
    splits = Splits(train=images(16), validation=None, test=images(2))
    for name, stops in (("whole", (100,)), ("parts", (2, 100))):
        for stop in stops:
            seen = []
            train(
                RECIPE, splits, tmp_path / name, device=torch.device(DEVICE), watch=seen.append,
                should_stop=lambda stop=stop, seen=seen: len(seen) + 1 >= stop,
            )  # fmt: skip
    whole, parts = (read_tensors(tmp_path / name / CHECKPOINT, ("position",))[0] for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(each, parts[name]) for name, each in whole.items())
    assert whole["loss-scale/factor"] < 2.0**40
