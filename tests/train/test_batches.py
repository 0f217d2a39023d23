import pytest
import torch

from sresnet.data import DataConfig, EventConfig
from sresnet.train.batches import Counts, Pixels, augmented, order, scaling_from_plain, seed_of

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


@pytest.mark.parametrize(
    "scaling", [Pixels(), Pixels(torch.tensor([0.5, 0.25]), torch.tensor([0.5, 2.0])), Counts(), Counts(0.25)], ids=str
)
def test_scalings_go_through_json(scaling):
    x = images()[:, :2]
    again = scaling_from_plain(scaling.plain())
    assert torch.equal(again(x), scaling(x))
    assert again(x).dtype == torch.float32


def test_what_scalings_compute():
    x = torch.full((1, 2, 1, 1), 51, dtype=torch.uint8)
    assert Counts(0.5)(x).flatten().tolist() == [25.5, 25.5]
    assert Counts()(x).flatten().tolist() == [51, 51]
    assert Pixels()(x).flatten().tolist() == pytest.approx([0.2, 0.2])
    mean, std = torch.tensor([0.1, 0.4]), torch.tensor([0.5, 0.25])
    assert Pixels(mean, std)(x).flatten().tolist() == pytest.approx([0.2, -0.8])


def test_seeds_and_orders_differ_in_every_part():
    assert seed_of("order", 0, 1) == seed_of("order", 0, 1)
    assert len({seed_of("order", 0, 1), seed_of("order", 1, 0), seed_of("augment", 0, 1), seed_of("order", 0, 2)}) == 4
    assert 0 <= seed_of("order", 0, 1) < 2**63
    assert sorted(order(9, 0, 1).tolist()) == list(range(9))
    assert len({tuple(order(9, seed, epoch).tolist()) for seed in (0, 1) for epoch in (0, 1)}) == 4
