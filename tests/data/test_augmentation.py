import pytest
import torch

from sresnet.data import DataConfig, EventConfig
from sresnet.data.augmentation import augmented

PLAIN = {"flip": False, "crop_padding": 0, "policy": "none", "erase": 0.0}


def images():
    return torch.randint(1, 256, (8, 3, 8, 8), dtype=torch.uint8)


@pytest.mark.parametrize(
    "change", [{"flip": True}, {"crop_padding": 2}, {"policy": "trivial"}, {"erase": 1.0}], ids=str
)
def test_each_augmentation_of_images_does_something_alone(change):
    x = images()
    assert torch.equal(augmented(x, DataConfig(name="digits", **PLAIN), 0, 5), x)
    changed = augmented(x, DataConfig(name="digits", **PLAIN | change), 0, 5)
    assert not torch.equal(changed, x)
    assert changed.shape == x.shape
    assert torch.equal(changed, augmented(x, DataConfig(name="digits", **PLAIN | change), 0, 5))
    assert not torch.equal(changed, augmented(x, DataConfig(name="digits", **PLAIN | change), 0, 6))


@pytest.mark.parametrize(
    "change", [{"flip": True}, {"shift": 2}, {"shift": 2, "shift_fill": "zero"}, {"cutout": 0.9}], ids=str
)
def test_each_augmentation_of_clips_does_something_alone_and_alike_in_all_frames(change):
    x = images()[:, None, :2].repeat(1, 3, 1, 1, 1)  # [N, T, 2, H, W]
    plain = {"flip": False, "shift": 0, "cutout": 0.0}
    assert torch.equal(augmented(x, EventConfig(**plain), 0, 5), x)
    changed = augmented(x, EventConfig(**plain | change), 0, 5)
    assert changed.shape == x.shape
    assert not torch.equal(changed, x)
    assert torch.equal(changed, changed[:, :1].expand_as(x))
    if change.get("shift_fill") == "zero":
        assert (changed == 0).any()
    elif "shift" in change:
        assert torch.equal(changed.flatten(1).sort().values, x.flatten(1).sort().values)
