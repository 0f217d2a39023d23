"""Simulated recordings: an image that moves in front of an ideal event camera, or a film before it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sresnet.config import check_types
from sresnet.data.events.recording import Recording
from sresnet.errors import UserError

SENSOR = "simulated DVS"

MOST = {"size": 4096, "amplitude": 4096, "loops": 256, "samples": 4096, "threshold_spread": 10, "noise_rate": 1e4}
"""Of fields of `DVSConfig`: more takes hours, or is not a number to compute with."""
_LUMINANCE = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


@dataclass(frozen=True, kw_only=True)
class DVSConfig:
    """The camera, and how the image moves in front of it; UserError for values out of range."""

    size: int = 64
    """Side of the square sensor in pixels; the image is scaled to fill it."""
    threshold: float = 0.3
    """Change of log intensity that causes an event."""
    dark: float = 0.1
    """Added to the intensity, 0 to 1, before the logarithm: how bright black is to the camera."""
    amplitude: float = 3.0
    """Radius of the circle on which the image moves, in pixels of the sensor."""
    loops: int = 4
    """Times that the image goes around the circle."""
    duration: int = 400_000
    """Microseconds that all loops take together."""
    samples: int = 48
    """Positions per loop at which the intensity is computed; in between, its logarithm is interpolated linearly."""
    threshold_spread: float = 0.0
    """Standard deviation of the threshold from pixel to pixel, as a fraction of it."""
    noise_rate: float = 0.0
    """Noise events per pixel and second, ON and OFF alike."""

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("size", "threshold", "dark", "loops", "duration"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UserError(f"{name} {getattr(self, name)} is out of range: give more than 0")
        for name in ("amplitude", "threshold_spread", "noise_rate"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UserError(f"{name} {getattr(self, name)} is out of range: give 0 or more")
        for name, most in MOST.items():
            if getattr(self, name) > most:
                raise UserError(f"{name} {getattr(self, name)} is more than any camera has: give {most:g} or less")
        if self.threshold < 1e-3:
            raise UserError(f"threshold {self.threshold} is finer than any camera's: give 0.001 or more")
        if self.samples < 8:
            raise UserError(f"samples {self.samples} are too few for a circle: give 8 or more")


def simulate(image: NDArray[np.uint8], config: DVSConfig, seed: int = 0) -> Recording:
    """What the camera records of an image [C, H, W] (1 or 3 channels) or [H, W] that goes round in circles.

    DVS-CIFAR10 was recorded from images on a monitor in repeated closed-loop smooth movement (Li, Liu, Ji, Li, Shi:
    CIFAR10-DVS: An Event-Stream Dataset for Object Classification, Frontiers in Neuroscience 11, 2017); here the path
    is a circle, at even speed, around where the image fills the sensor. Beyond its edge the image goes on as it is
    there.

    A pixel sees the logarithm of (intensity + dark) and remembers a value of it; whenever it sees a threshold more or
    less, it sends an event, ON or OFF, and remembers a threshold more or less. Before recording starts, all pixels
    adapt to the mean intensity of the image and then to the image. (If they started at what they see, all would return
    to that at the very end of a round, in a burst.) There is no refractory period, latency or limit of bandwidth.
    Colours become luminance; between pixels the image is interpolated bilinearly.

    The `seed` is of random thresholds and noise; the movement is always the same. UserError for other images.
    """
    intensity = _luminance(image)
    grey = float(np.log(intensity.mean() + config.dark))
    steps, size = config.loops * config.samples, config.size
    return _recorded(_one_round(intensity, config), grey, steps, (size, size), config, seed)


def simulate_film(frames: NDArray[np.floating], config: DVSConfig, seed: int = 0) -> Recording:
    """What the camera records of a film: intensities [S, H, W] from 0 to 1, S pictures at even distances in time.

    A pixel of the film is one of the sensor. The first picture is seen at time 0 and the last after the `duration` of
    `config`; in between, the logarithm of (intensity + dark) is interpolated linearly, so that nothing should move by
    more than a pixel or so from one picture to the next. Pixels send events as in `simulate`, once they have adapted to
    the mean intensity of the first picture and then to that picture. Of `config` the fields of the movement (size,
    amplitude, loops, samples) have no meaning here. UserError for less than two pictures, or other intensities.
    """
    if frames.ndim != 3 or len(frames) < 2 or not frames.size or not np.issubdtype(frames.dtype, np.floating):
        raise UserError(
            f"the film is {frames.dtype} {list(frames.shape)}: expected floating point [S, H, W] with two pictures or "
            "more"
        )
    if not (frames.min() >= 0 and frames.max() <= 1):
        raise UserError(f"the film has intensities from {frames.min():g} to {frames.max():g}: scale them to 0 to 1")
    if max(frames.shape[1:]) > MOST["size"]:
        raise UserError(
            f"the film has pictures of {frames.shape[2]}x{frames.shape[1]}, larger than any camera's: give "
            f"{MOST['size']} pixels a side or less"
        )
    log_intensity = np.log(frames.reshape(len(frames), -1).astype(np.float64) + config.dark)
    grey = float(np.log(frames[0].mean() + config.dark))
    height, width = frames.shape[1:]
    return _recorded(log_intensity, grey, len(frames) - 1, (height, width), config, seed)


def _recorded(
    log_intensity: NDArray[np.float64],
    grey: float,
    steps: int,
    size: tuple[int, int],
    config: DVSConfig,
    seed: int,
) -> Recording:
    """The recording of what pixels see in turn, [samples, H * W], over so many steps, by a sensor of (H, W) pixels."""
    rng = np.random.default_rng(seed)
    height, width = size
    pixels = height * width
    threshold = np.full(pixels, config.threshold)
    if config.threshold_spread:
        factor = 1 + config.threshold_spread * rng.standard_normal(pixels)
        threshold *= np.maximum(factor, 0.1)  # a threshold of 0 would never be done
    t, pixel, on = _events(log_intensity, grey, threshold, steps, config.duration)
    if config.noise_rate:
        count = int(rng.poisson(config.noise_rate * config.duration / 1e6 * pixels))
        t = np.concatenate([t, rng.integers(0, config.duration, count)])
        pixel = np.concatenate([pixel, rng.integers(0, pixels, count)])
        on = np.concatenate([on, rng.random(count) < 0.5])
    order = np.argsort(t, kind="stable")
    row, column = np.divmod(pixel[order], width)
    return Recording(
        t=t[order],
        x=column.astype(np.uint16),
        y=row.astype(np.uint16),
        on=on[order],
        width=width,
        height=height,
        sensor=SENSOR,
    )


def _luminance(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Intensity [H, W], 0 to 1."""
    channels = 1 if image.ndim == 2 else len(image)
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or channels not in (1, 3) or not image.size:
        raise UserError(
            f"the image is {image.dtype} {list(image.shape)}: expected uint8 [C, H, W] with 1 or 3 channels, or [H, W]"
        )
    if channels == 1:
        return image.reshape(image.shape[-2:]) / 255.0
    intensity: NDArray[np.float64] = np.tensordot(_LUMINANCE, image, axes=1) / 255.0
    return intensity


def _one_round(intensity: NDArray[np.float64], config: DVSConfig) -> NDArray[np.float64]:
    """Logarithm of what every pixel sees at every position of a round, [samples, size * size]."""
    angle = 2 * np.pi * np.arange(config.samples) / config.samples
    down = _bilinear(intensity.shape[0], config, config.amplitude * np.sin(angle))
    right = _bilinear(intensity.shape[1], config, config.amplitude * np.cos(angle))
    # All pixels are moved alike, so rows and columns can be interpolated one after the other.
    seen = down @ intensity @ right.transpose(0, 2, 1)
    return np.log(seen + config.dark).reshape(config.samples, -1)


def _bilinear(length: int, config: DVSConfig, shift: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights [samples, size, length] that scale one axis of the image to the sensor and move it by `shift` pixels."""
    at = (np.arange(config.size) + 0.5 - shift[:, None]) * length / config.size - 0.5
    at = np.clip(at, 0, length - 1)
    return np.maximum(0, 1 - np.abs(at[:, :, None] - np.arange(length)))


def _events(
    log_intensity: NDArray[np.float64], grey: float, threshold: NDArray[np.float64], steps: int, duration: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Time, pixel and polarity of the events of all steps, in the order of the samples; the first follows the last."""
    samples = len(log_intensity)
    remembered = grey + np.trunc((log_intensity[0] - grey) / threshold) * threshold
    numbers, pixels, counts, levels = [], [], [], []
    # Which pixels cross how many thresholds at each step, and from which level; their events are made at the end.
    for now in range(1, steps + 1):
        difference = (log_intensity[now % samples] - remembered) / threshold
        # Rounded towards 0: whole thresholds only.
        crossed = difference.astype(np.int64)
        changed = np.flatnonzero(crossed)
        numbers.append(np.full(len(changed), now))
        pixels.append(changed)
        counts.append(crossed[changed])
        levels.append(remembered[changed])
        remembered[changed] += crossed[changed] * threshold[changed]
    step, pixel, count, level = (np.concatenate(parts) for parts in (numbers, pixels, counts, levels))
    before = log_intensity[(step - 1) % samples, pixel]
    after = log_intensity[step % samples, pixel]
    # The part of the way between two samples after which the first threshold is crossed, and from one to the next.
    first = (level - before) / (after - before)
    each = np.sign(count) * threshold[pixel] / (after - before)
    number = np.abs(count)
    # 1, 2, ..., number for each of them.
    rank = 1 + np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
    fraction = np.clip(np.repeat(first, number) + rank * np.repeat(each, number), 0, 1)
    microseconds = duration / steps
    t = ((np.repeat(step, number) - 1 + fraction) * microseconds).astype(np.int64)
    return t, np.repeat(pixel, number), np.repeat(count > 0, number)
