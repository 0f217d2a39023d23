import math

import pytest
import torch

from sresnet.data import DataConfig
from sresnet.data.augmentation import augmented
from sresnet.data.trivial_augment import CHANGES, _posterise, _rotate, trivial_augment

STRENGTHLESS = ("auto_contrast", "equalise")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images():
    return torch.randint(1, 255, (70, 3, 12, 10), dtype=torch.uint8, generator=generator(7))


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_amount_0_changes_nothing_and_other_amounts_do(name, channels, images):
    x = images[:, :channels]
    if name not in STRENGTHLESS:
        assert torch.equal(CHANGES[name](x, torch.zeros(70)), x)
    if name != "identity" and not (name == "colour" and channels != 3):
        for sign in (-1, 1):
            changed = CHANGES[name](x, torch.full((70,), 0.9 * sign))
            assert changed.dtype == torch.uint8
            assert changed.shape == x.shape
            assert (changed != x).flatten(1).any(1).all()


@pytest.mark.parametrize("name", CHANGES)
def test_each_image_is_changed_by_its_own_amount(name, images):
    amounts = torch.linspace(-1, 1, 70)
    together = CHANGES[name](images, amounts)
    for index in (0, 20, 69):
        alone = CHANGES[name](images[index : index + 1], amounts[index : index + 1])
        assert torch.equal(together[index : index + 1], alone)


def by_name(name, x, amount):
    return CHANGES[name](x, torch.tensor([amount]))


def test_moves_pixel_by_pixel():
    x = torch.arange(1, 26, dtype=torch.uint8).view(1, 1, 5, 5)
    assert torch.equal(by_name("translate_x", x, 2 / 32)[..., :3], x[..., 2:])
    assert by_name("translate_x", x, 2 / 32)[..., 3:].sum() == 0
    assert torch.equal(by_name("translate_y", x, -1 / 32)[..., 1:, :], x[..., :4, :])
    assert by_name("translate_x", x, 5 / 32).sum() == 0
    quarter = 90 / 135
    assert torch.equal(by_name("rotate", x, quarter), torch.rot90(x, 1, (2, 3)))
    assert torch.equal(by_name("rotate", x, -quarter), torch.rot90(x, -1, (2, 3)))
    sheared = by_name("shear_x", x, 1 / 0.99)
    assert torch.equal(sheared[0, 0, 2], x[0, 0, 2])  # the middle row stays
    assert sheared[0, 0, 0].tolist() == [0, 0, 1, 2, 3]
    assert sheared[0, 0, 4].tolist() == [23, 24, 25, 0, 0]
    assert torch.equal(by_name("shear_y", x.mT, 1 / 0.99), sheared.mT)


def test_the_largest_rotation_is_135_degrees():
    bright = torch.zeros(1, 1, 33, 33, dtype=torch.uint8)
    bright[0, 0, 15:18, 27:30] = 1  # 12 pixels to the right of the middle
    row, column = by_name("rotate", bright, 1.0)[0, 0].nonzero().double().mean(0).tolist()
    angle = math.degrees(math.atan2(16 - row, column - 16))
    assert angle == pytest.approx(135, abs=3)


def test_colours_at_the_ends_of_their_range(images):
    ends = {sign: {name: CHANGES[name](images, torch.full((70,), sign)) for name in CHANGES} for sign in (-1.0, 1.0)}
    assert ends[-1.0]["brightness"].max() <= 3
    torch.testing.assert_close(ends[1.0]["brightness"].float(), (1.99 * images.float()).round().clamp(max=255))
    flat = ends[-1.0]["contrast"].float()
    assert float((flat.amax((1, 2, 3)) - flat.amin((1, 2, 3))).max()) <= 4
    shades = ends[-1.0]["colour"].float()
    assert float((shades.amax(1) - shades.amin(1)).max()) <= 4
    assert ends[1.0]["contrast"].float().std() > images.float().std()
    smooth = ends[-1.0]["sharpness"].float()
    expected = (images[:, :, :3, :3].float().sum((2, 3)) + 4 * images[:, :, 1, 1].float()) / 13
    assert float((smooth[:, :, 1, 1] - expected).abs().max()) <= 0.5 + 0.01 * 255
    assert torch.equal(smooth[..., 0, :], images[..., 0, :].float())
    assert torch.equal(ends[-1.0]["solarise"], 255 - images)
    assert ends[1.0]["posterise"].unique().tolist() == [0, 64, 128, 192]


def test_posterise_drops_bits():
    x = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    for dropped in range(7):
        assert torch.equal(_posterise(x, torch.tensor([dropped / 6])), x >> dropped << dropped)


def test_solarise_inverts_from_the_threshold_on():
    x = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    changed = by_name("solarise", x, 0.5)
    assert torch.equal(changed.flatten(), torch.cat([torch.arange(128), 255 - torch.arange(128, 256)]).byte())


def test_auto_contrast_and_equalise():
    x = torch.tensor([[50, 60], [60, 100]], dtype=torch.uint8).view(1, 1, 2, 2)
    assert by_name("auto_contrast", x, 0.5).flatten().tolist() == [0, 51, 51, 255]
    assert by_name("equalise", x, 0.5).flatten().tolist() == [0, 85, 85, 255]
    constant = torch.full((1, 2, 3, 3), 9, dtype=torch.uint8)
    assert torch.equal(by_name("auto_contrast", constant, 1.0), constant)
    assert torch.equal(by_name("equalise", constant, 1.0), constant)
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(by_name("equalise", ramp, 1.0), ramp)
    assert torch.equal(by_name("equalise", ramp // 4, 1.0), (ramp // 4).float().mul(255 / 63).round().byte())


def test_same_generator_state_gives_the_same_batch(images):
    torch.manual_seed(1)
    first = trivial_augment(images, generator(3))
    before = images.clone()
    torch.manual_seed(2)
    assert torch.equal(trivial_augment(images, generator(3)), first)
    assert torch.equal(images, before)
    assert not torch.equal(trivial_augment(images, generator(4)), first)
    others = torch.zeros_like(images)
    others[10] = images[10]
    assert torch.equal(trivial_augment(others, generator(3))[10], first[10])
    assert trivial_augment(images[:0], generator()).shape == (0, 3, 12, 10)


def test_every_change_strength_and_sign_is_drawn_about_equally_often(monkeypatch):
    seen = {}
    for name in CHANGES:

        def note(x, amount, name=name):
            seen.setdefault(name, []).extend(amount.tolist())
            return x

        monkeypatch.setitem(CHANGES, name, note)
    trivial_augment(torch.zeros(14 * 31 * 40, 1, 1, 1, dtype=torch.uint8), generator())
    assert set(seen) == set(CHANGES)
    assert all(abs(len(amounts) - 31 * 40) < 5 * math.sqrt(31 * 40) for amounts in seen.values())
    amounts = torch.tensor([amount for each in seen.values() for amount in each])
    assert torch.equal((amounts * 30).round().unique(), torch.arange(-30.0, 31.0))
    assert abs(float(amounts.mean())) < 0.02


def test_a_recipe_asks_for_it(images):
    config = DataConfig(flip=False, crop_padding=0, policy="trivial")
    changed = augmented(images, config, 1, 5)
    assert torch.equal(changed, augmented(images, config, 1, 5))
    assert not torch.equal(changed, augmented(images, config, 1, 6))
    assert 40 < int((changed != images).flatten(1).any(1).sum()) < 70
    assert torch.equal(_rotate(images[:0], torch.zeros(0)), images[:0])
