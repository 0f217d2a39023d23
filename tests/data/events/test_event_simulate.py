"""The simulated camera: what an ideal event camera promises, and where its events must be."""

import time

import numpy as np
import pytest

from sresnet.data.events.simulate import SENSOR, DVSConfig, simulate, simulate_film
from sresnet.errors import UserError

SMALL = DVSConfig(size=24, amplitude=2.0, loops=2, duration=100_000, samples=40)
IMAGE = np.random.default_rng(3).integers(0, 256, (3, 12, 12), dtype=np.uint8)


def picture(config, image, down, right):
    """Logarithm of what each pixel sees of a grey image moved by so many pixels; one pixel at a time."""
    height, width = image.shape
    seen = np.empty((config.size, config.size))
    for row in range(config.size):
        for column in range(config.size):
            y = min(max((row + 0.5 - down) * height / config.size - 0.5, 0), height - 1)
            x = min(max((column + 0.5 - right) * width / config.size - 0.5, 0), width - 1)
            top, left = min(int(y), height - 2), min(int(x), width - 2)
            b, a = y - top, x - left
            corners = image[top : top + 2, left : left + 2] / 255
            seen[row, column] = np.array([1 - b, b]) @ corners @ np.array([1 - a, a])
    return np.log(seen + config.dark)


def begun(seen, image, config):
    """What each pixel remembers at the start: it has come from the mean by whole thresholds."""
    grey = np.log(image.mean() / 255 + config.dark)
    steps = (np.abs(seen - grey) / config.threshold).astype(int)
    return grey + np.sign(seen - grey) * steps * config.threshold


def balance(recording, until, config):
    """ON less OFF events of every pixel up to a time."""
    some = recording.t <= until
    total = np.zeros((config.size, config.size))
    np.add.at(total, (recording.y[some], recording.x[some]), np.where(recording.on[some], 1, -1))
    return total


@pytest.mark.parametrize("quarter", [1, 2, 3, 5, 8])
def test_events_add_up_to_what_the_logarithm_did(quarter):
    """At every moment, the balance of a pixel times the threshold is its change since it began to remember, to less
    than a threshold."""
    grey = IMAGE[0]
    recording = simulate(grey, SMALL)
    angle = quarter * np.pi / 2
    start = picture(SMALL, grey, 0, SMALL.amplitude)
    now = picture(SMALL, grey, SMALL.amplitude * np.sin(angle), SMALL.amplitude * np.cos(angle))
    until = SMALL.duration * quarter / (4 * SMALL.loops)
    told = SMALL.threshold * balance(recording, until, SMALL)
    assert np.abs(told - (now - begun(start, grey, SMALL))).max() < SMALL.threshold + 1e-9
    assert np.abs(now - start).max() > (3 * SMALL.threshold if quarter % 4 else -1)


def test_a_closed_path_ends_where_it_began():
    for spread in (0.0, 0.3):
        config = DVSConfig(size=24, amplitude=2.0, threshold_spread=spread)
        recording = simulate(IMAGE, config)
        assert np.abs(balance(recording, config.duration, config)).max() <= 1
        assert len(recording) > 5 * config.size**2


@pytest.mark.parametrize("image", [np.full((3, 9, 7), 77, np.uint8), np.zeros((5, 5), np.uint8)])
def test_nothing_moves_in_an_image_of_one_colour(image):
    assert len(simulate(image, SMALL)) == 0


def test_an_image_at_rest_is_not_seen():
    assert len(simulate(IMAGE, DVSConfig(amplitude=0.0))) == 0


def test_a_brighter_edge_gives_on():
    """The right half is white; it moves to the left first, from the right end of the circle."""
    image = np.zeros((24, 24), np.uint8)
    image[:, 12:] = 255
    config = DVSConfig(size=24, amplitude=3.0, loops=1, duration=1000)
    recording = simulate(image, config)
    first = recording.t < 490
    assert recording.on[first].all()
    assert not recording.on[recording.t > 510].any()
    assert first.any()
    # The edge lies between columns 11 and 12 and goes 3 pixels to either side; 8 and 15 see no more than its end.
    assert (int(recording.x.min()), int(recording.x.max())) == (9, 14)
    # At the beginning it is at its right end, half a round later at its left.
    assert recording.x[recording.t < 100].min() >= 13
    assert recording.x[(recording.t > 400) & (recording.t < 600)].max() <= 10


def test_times_are_those_of_the_crossings_not_of_the_samples():
    """A ramp in the logarithm that moves by a known function of time."""
    columns = np.arange(64)
    image = np.round(255 * np.exp(-3 + 3 * columns / 63)).astype(np.uint8)[None].repeat(64, 0)
    config = DVSConfig(size=64, threshold=0.05, dark=1e-9, amplitude=10.0, loops=1, duration=1_000_000, samples=64)
    recording = simulate(image, config)
    at = (recording.y == 20) & (recording.x == 40) & (recording.t < 500_000)
    # The image is right by 10 cos(angle), so the pixel sees -3/63 * 10 cos(angle), more whenever it moves left.
    slope = 3 / 63
    start = picture(config, image, 0, 10.0)[20, 40]
    levels = begun(start, image, config) - start + 0.05 * np.arange(1, 1 + at.sum())
    expected = 1e6 * np.arccos(1 - levels / (10 * slope)) / (2 * np.pi)
    # Rounding of the pixels to whole numbers moves a crossing a little.
    assert np.abs(recording.t[at] - expected).max() < 6000
    assert abs(at.sum() - 20 * slope / 0.05) < 2
    period = 1_000_000 / 64
    assert (recording.t % period > 1).mean() > 0.99


def test_rounds_do_not_end_in_a_burst():
    recording = simulate(IMAGE, DVSConfig())
    rates = np.histogram(recording.t, bins=96, range=(0, 400_000))[0]
    assert rates.max() < 2 * np.median(rates)


def test_the_order_and_the_form_of_the_events():
    recording = simulate(IMAGE, DVSConfig(noise_rate=5.0))
    assert (np.diff(recording.t) >= 0).all()
    assert 0 <= recording.t[0] < recording.t[-1] <= 400_000
    assert (recording.width, recording.height, recording.sensor) == (64, 64, SENSOR)
    columns = (recording.t, recording.x, recording.y, recording.on)
    assert [column.dtype for column in columns] == [np.int64, np.uint16, np.uint16, np.bool_]
    assert int(recording.x.max()) == int(recording.y.max()) == 63


def test_rows_and_columns_are_not_confused():
    """A bright spot low on the left of a wide image."""
    image = np.zeros((20, 40), np.uint8)
    image[15:17, 6:10] = 255
    recording = simulate(image, DVSConfig(size=40, amplitude=1.0))
    assert abs(recording.x.mean() - 7.5) < 1
    assert abs(recording.y.mean() - 2 * 15.5) < 1


def test_the_seed_decides_thresholds_and_noise_only():
    def same(a, b):
        return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("t", "x", "y", "on"))

    assert same(simulate(IMAGE, SMALL, 0), simulate(IMAGE, SMALL, 1))
    for config in (DVSConfig(threshold_spread=0.2), DVSConfig(noise_rate=10.0)):
        assert same(simulate(IMAGE, config, 4), simulate(IMAGE, config, 4))
        assert not same(simulate(IMAGE, config, 4), simulate(IMAGE, config, 5))


def test_noise_has_its_rate():
    config = DVSConfig(noise_rate=100.0)
    recording = simulate(np.zeros((8, 8), np.uint8), config)
    expected = 100 * 0.4 * 64**2
    assert abs(len(recording) - expected) < 5 * expected**0.5
    assert abs(recording.on.mean() - 0.5) < 0.01


def test_colours_count_as_luminance():
    grey = np.round(np.tensordot([0.299, 0.587, 0.114], IMAGE, axes=1)).astype(np.uint8)
    coloured, plain = simulate(IMAGE, SMALL), simulate(grey, SMALL)
    assert abs(len(coloured) - len(plain)) < 0.02 * len(plain)
    assert len(simulate(grey[None], SMALL)) == len(plain)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"threshold": 0.0}, "threshold 0.0 is out of range"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"amplitude": -1.0}, "amplitude -1.0"),
        ({"loops": 0}, "loops 0"),
        ({"samples": 3}, "samples 3 are too few for a circle"),
        ({"size": 100_000}, "size 100000"),
        ({"noise_rate": float("inf")}, "noise_rate is inf"),
        ({"size": 1.5}, "DVSConfig.size is 1.5"),
        ({"threshold": 1e-4}, "threshold 0.0001 is finer than any camera's: give 0.001 or more"),
        ({"noise_rate": 1e5}, "noise_rate 100000.0 is more than any camera has: give 10000 or less"),
        ({"amplitude": 1e9}, "amplitude 1000000000.0 is more than any camera has: give 4096 or less"),
        ({"loops": 1000}, "loops 1000 is more"),
    ],
)
def test_impossible_cameras(fields, message):
    with pytest.raises(UserError, match=message):
        DVSConfig(**fields)


@pytest.mark.parametrize("image", [np.zeros((4, 4)), np.zeros((2, 4, 4), np.uint8), np.zeros((4, 0), np.uint8)])
def test_impossible_images(image):
    with pytest.raises(UserError, match="expected uint8"):
        simulate(image, SMALL)


@pytest.mark.slow
def test_speed():
    """50,000 images of 64x64 in well under an hour."""
    simulate(IMAGE, DVSConfig())
    started = time.process_time()
    for _ in range(10):
        simulate(IMAGE, DVSConfig())
    assert (time.process_time() - started) / 10 < 0.05


def test_a_film_of_the_image_on_its_circle_gives_the_events_of_the_image():
    """A round of pictures, the first one again at its end; without noise, of another number of draws."""
    config = DVSConfig(size=9, amplitude=2.0, loops=1, duration=100_000, samples=16, threshold_spread=0.2)
    grey = IMAGE[0]
    angle = 2 * np.pi * np.arange(17) / 16
    seen = [picture(config, grey, 2 * np.sin(each), 2 * np.cos(each)) for each in angle]
    film = np.clip(np.exp(seen) - config.dark, 0, 1)
    # What pixels adapt to differs by whole thresholds at most, once the mean is that of the image.
    found, expected = simulate_film(film, config, seed=4), simulate(grey, config, seed=4)
    assert (found.width, found.height, found.sensor) == (9, 9, SENSOR)
    assert abs(len(found) - len(expected)) < 0.02 * len(expected)
    assert np.abs(balance(found, config.duration, config)).max() <= 1


def test_a_film_is_wide_or_high_and_its_crossings_lie_between_pictures():
    film = np.full((3, 2, 5), 0.1)
    film[1:, 1, 3] = 0.9
    config = DVSConfig(threshold=0.3, dark=0.1, duration=1000)
    found = simulate_film(film, config)
    # log(1.0 / 0.2) is 1.61, five thresholds on, the fifth of them at 500 * 5 * 0.3 / 1.61 microseconds; pixels come
    # from the mean of the first picture, which all of that have.
    assert (found.width, found.height) == (5, 2)
    assert found.t.tolist() == [int(500 * k * 0.3 / np.log(5)) for k in range(1, 6)]
    assert set(zip(found.x.tolist(), found.y.tolist(), found.on.tolist(), strict=True)) == {(3, 1, True)}
    noisy = simulate_film(film, DVSConfig(duration=1_000_000, noise_rate=100.0))
    assert 800 < len(noisy) < 1200


@pytest.mark.parametrize(
    ("film", "fault"),
    [
        (np.zeros((1, 4, 4)), r"float64 \[1, 4, 4\]"),
        (np.zeros((4, 4)), r"float64 \[4, 4\]"),
        (np.zeros((3, 4, 4), np.uint8), "uint8"),
        (np.full((3, 4, 4), 1.5), "from 1.5 to 1.5"),
        (np.full((3, 4, 4), np.nan), "from nan to nan"),
        (np.zeros((2, 4097, 1)), "1x4097"),
    ],
)
def test_what_is_no_film(film, fault):
    with pytest.raises(UserError, match=fault):
        simulate_film(film, DVSConfig())
