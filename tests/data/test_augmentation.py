import pytest
import torch

from sresnet.data import DataConfig, EventConfig
from sresnet.data.augmentation import augmented, changed, numbers_of

PLAIN = {"flip": False, "crop_padding": 0, "policy": "none", "erase": 0.0}


def images():
    return torch.randint(1, 256, (8, 3, 8, 8), dtype=torch.uint8)


@pytest.mark.parametrize(
    "change", [{"flip": True}, {"crop_padding": 2}, {"policy": "trivial"}, {"erase": 1.0}], ids=str
)
def test_each_augmentation_of_images_does_something_alone(change):
    x = images()
    assert torch.equal(augmented(x, DataConfig(name="digits", **PLAIN), 0, 5), x)
    out = augmented(x, DataConfig(name="digits", **PLAIN | change), 0, 5)
    assert not torch.equal(out, x)
    assert out.shape == x.shape
    assert torch.equal(out, augmented(x, DataConfig(name="digits", **PLAIN | change), 0, 5))
    assert not torch.equal(out, augmented(x, DataConfig(name="digits", **PLAIN | change), 0, 6))


@pytest.mark.parametrize(
    "change", [{"flip": True}, {"shift": 2}, {"shift": 2, "shift_fill": "zero"}, {"cutout": 0.9}], ids=str
)
def test_each_augmentation_of_clips_does_something_alone_and_alike_in_all_frames(change):
    x = images()[:, None, :2].repeat(1, 3, 1, 1, 1)  # [N, T, 2, H, W]
    plain = {"flip": False, "shift": 0, "cutout": 0.0}
    assert torch.equal(augmented(x, EventConfig(**plain), 0, 5), x)
    out = augmented(x, EventConfig(**plain | change), 0, 5)
    assert out.shape == x.shape
    assert not torch.equal(out, x)
    assert torch.equal(out, out[:, :1].expand_as(x))
    if change.get("shift_fill") == "zero":
        assert (out == 0).any()
    elif "shift" in change:
        assert torch.equal(out.flatten(1).sort().values, x.flatten(1).sort().values)


ALL = [(flip, moved, erased) for flip in (True, False) for moved in (0, 3) for erased in (0.0, 0.7)]


@pytest.mark.parametrize(("flip", "moved", "erased"), ALL)
def test_numbers_that_were_drawn_before_change_a_batch_as_drawing_does(flip, moved, erased):
    """Also on a device whose generators have nothing to do with it."""
    configs = [DataConfig(name="digits", flip=flip, crop_padding=moved, policy="none", erase=erased)]
    configs += [EventConfig(flip=flip, shift=moved, shift_fill=fill, cutout=erased) for fill in ("roll", "zero")]
    for config in configs:
        x = images() if isinstance(config, DataConfig) else images()[:, None, :2].repeat(1, 3, 1, 1, 1)
        drawn = numbers_of(x.shape, config, 4, 9)
        rows = iter(drawn)
        assert torch.equal(changed(x, config, rows), augmented(x, config, 4, 9))
        assert next(rows, None) is None
        assert drawn.shape == (flip + 2 * (moved > 0) + 3 * (erased > 0), 8)


def test_a_policy_has_no_numbers_that_fit_every_step():
    assert numbers_of((8, 3, 8, 8), DataConfig(name="digits", policy="trivial"), 0, 0) is None
