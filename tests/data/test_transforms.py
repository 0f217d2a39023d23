import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from sresnet.data.transforms import (
    channel_statistics,
    intensity,
    normalise,
    random_crop,
    random_erase,
    random_flip,
    random_roll,
    shrunk,
    value_counts,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images():
    return torch.randint(1, 256, (64, 3, 12, 10), dtype=torch.uint8, generator=generator(7))


def the_erase(x, generator):
    return random_erase(x, 0.5, generator)


def the_crop(x, generator):
    return random_crop(x, 2, generator)


def the_roll(x, generator):
    return random_roll(x, 2, generator)


random_functions = pytest.mark.parametrize("change", [random_flip, the_crop, the_erase, the_roll])


@random_functions
def test_same_generator_state_gives_the_same_batch(change, images):
    torch.manual_seed(1)
    first = change(images, generator(3))
    torch.manual_seed(2)
    assert torch.equal(change(images, generator(3)), first)
    assert not torch.equal(change(images, generator(4)), first)


@random_functions
def test_the_batch_itself_is_left_alone(change, images):
    before = images.clone()
    change(images, generator())
    assert torch.equal(images, before)


@random_functions
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
def test_shape_and_type_stay(change, dtype, images):
    changed = change(images.to(dtype), generator())
    assert changed.dtype == dtype
    assert changed.shape == images.shape


@random_functions
def test_an_image_does_not_depend_on_the_others(change, images):
    changed = change(images, generator(5))
    others = torch.zeros_like(images)
    others[10] = images[10]
    assert torch.equal(change(others, generator(5))[10], changed[10])


@random_functions
def test_an_empty_batch_stays_empty(change, images):
    assert change(images[:0], generator()).shape == (0, 3, 12, 10)


def test_flip_mirrors_about_half_of_the_images(images):
    flipped = random_flip(images, generator())
    mirrored = [torch.equal(new, old.flip(-1)) for new, old in zip(flipped, images, strict=True)]
    kept = [torch.equal(new, old) for new, old in zip(flipped, images, strict=True)]
    assert [not m for m in mirrored] == kept
    assert 16 < sum(kept) < 48


def test_each_crop_is_one_window_of_the_padded_image(images):
    padding = 2
    cropped = random_crop(images, padding, generator())
    padded = functional.pad(images, (padding,) * 4)
    found = []
    for new, old in zip(cropped, padded, strict=True):
        windows = [
            (top, left)
            for top in range(2 * padding + 1)
            for left in range(2 * padding + 1)
            if torch.equal(old[:, top : top + 12, left : left + 10], new)
        ]
        assert len(windows) == 1
        found += windows
    assert {top for top, _ in found} == {left for _, left in found} == set(range(2 * padding + 1))
    # The two offsets are drawn apart.
    assert len(set(found)) > 2 * padding + 1


def test_every_offset_is_equally_likely():
    # One bright pixel on black tells where the window was.
    x = torch.zeros(9000, 1, 3, 3)
    x[:, :, 1, 1] = 1
    cropped = random_crop(x, 1, generator())
    assert ((cropped.sum(0) - 1000).abs() < 150).all()


def test_padding_zero_changes_nothing(images):
    assert torch.equal(random_crop(images, 0, generator()), images)


def test_erased_is_one_square_filled_with_the_mean(images):
    x = images.double()
    erased = random_erase(x, 1.0, generator())
    for new, old in zip(erased, x, strict=True):
        covered = (new != old).all(0)
        rows, columns = covered.any(1).nonzero().flatten(), covered.any(0).nonzero().flatten()
        assert covered.sum() == len(rows) * len(columns)
        assert torch.equal(new != old, covered.expand_as(new))
        # Half of the shorter side, less what hangs over an edge.
        for lines, length in ((rows, 12), (columns, 10)):
            assert len(lines) == int(lines[-1] - lines[0]) + 1
            assert len(lines) == 5 or lines[0] == 0 or lines[-1] == length - 1
            assert 2 <= len(lines) <= 5
        mean = old.mean((1, 2))
        torch.testing.assert_close(new[:, covered], mean[:, None].expand(-1, int(covered.sum())))


@pytest.mark.parametrize(("probability", "low", "high"), [(0.0, 0, 0), (0.25, 4, 30), (1.0, 64, 64)])
def test_erase_probability(probability, low, high, images):
    erased = random_erase(images, probability, generator())
    assert low <= int((erased != images).flatten(1).any(1).sum()) <= high


def test_erasing_means_the_same_before_and_after_normalising(images):
    mean, std = channel_statistics(value_counts(images))
    before = normalise(random_erase(images, 1.0, generator()), mean, std)
    after = random_erase(normalise(images, mean, std), 1.0, generator())
    # uint8 rounds the mean to the nearest of 256 values.
    assert (before - after).abs().max() <= 0.51 / 255 / float(std.min())


@pytest.mark.parametrize(("height", "width"), [(32, 32), (12, 10), (17, 9), (2, 1)])
def test_shrunk_is_what_pillow_makes_of_it(height, width):
    x = torch.rand(2, 3, height, width, generator=generator())
    small = shrunk(x)
    size = {32: 24, 12: 9, 10: 8, 17: 13, 9: 7, 2: 2, 1: 1}
    assert small.shape == (2, 3, size[height], size[width])
    for image, one in zip(x.flatten(0, 1), small.flatten(0, 1), strict=True):
        picture = Image.fromarray(image.numpy())
        by_pillow = picture.resize((size[width], size[height]), Image.Resampling.BILINEAR)
        torch.testing.assert_close(one, torch.from_numpy(np.array(by_pillow)), rtol=0, atol=1e-5)


def test_normalise_is_its_formula(images):
    mean, std = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2470, 0.2435, 0.2616])
    expected = (images.double() / 255 - mean[:, None, None]) / std[:, None, None]
    found = normalise(images, mean, std)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


def test_intensity_runs_from_0_to_1():
    x = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert intensity(x).dtype == torch.float32
    assert torch.equal(intensity(x), x.float() / 255)
    assert intensity(x).max() == 1


def test_statistics_are_those_of_all_pixels(images):
    mean, std = channel_statistics(value_counts(images))
    pixels = images.double().transpose(0, 1).flatten(1) / 255
    torch.testing.assert_close(mean, pixels.mean(1).float())
    torch.testing.assert_close(std, pixels.std(1, correction=0).float())
    shuffled = channel_statistics(value_counts(images[torch.randperm(len(images), generator=generator())]))
    assert torch.equal(shuffled[0], mean)
    assert torch.equal(shuffled[1], std)


def test_normalised_by_its_own_statistics_has_mean_0_and_std_1(images):
    x = normalise(images, *channel_statistics(value_counts(images))).transpose(0, 1).flatten(1)
    torch.testing.assert_close(x.mean(1), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std(1, correction=0), torch.ones(3), atol=1e-5, rtol=0)


def test_a_constant_channel_normalises_to_0():
    images = torch.full((4, 1, 2, 2), 200, dtype=torch.uint8)
    assert normalise(images, *channel_statistics(value_counts(images))).abs().max() < 1e-6


def test_each_roll_is_one_of_torch():
    x = torch.randint(0, 256, (200, 2, 5, 7), generator=generator(1))
    rolled = random_roll(x, 1, generator())
    seen = set()
    for before, after in zip(x, rolled, strict=True):
        shifts = [s for s in torch.cartesian_prod(*[torch.arange(-1, 2)] * 2).tolist()
                  if torch.equal(before.roll(s, (1, 2)), after)]  # fmt: skip
        assert len(shifts) == 1
        seen.add(tuple(shifts[0]))
    assert len(seen) == 9


def test_erasing_with_zero_is_erasing_where_the_mean_goes():
    x = torch.randint(1, 256, (64, 3, 12, 10), dtype=torch.uint8, generator=generator(7))
    emptied = random_erase(x, 0.5, generator(), fill="zero")
    filled = random_erase(x.float(), 0.5, generator())
    assert torch.equal(emptied == 0, (filled != x.float()) | (emptied == 0))
    assert (emptied[emptied != 0] == x[emptied != 0]).all()
    assert 20 < int((emptied == 0).flatten(1).any(1).sum()) < 44
