import dataclasses
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sresnet.data.events.frames import FrameConfig, input_scale, to_frames
from sresnet.data.events.read import read_recording
from sresnet.data.events.recording import Recording
from sresnet.errors import UserError

SHARED = Path(__file__).parents[3].parent / "shared" / "data" / "events"


def made_up(count, *, width=128, height=128, seed=0, duration=100_000, start=0, sensor="DVS128"):
    draw = np.random.default_rng(seed)
    return Recording(
        t=np.sort(draw.integers(start, start + duration, count)),
        x=draw.integers(0, width, count).astype(np.uint16),
        y=draw.integers(0, height, count).astype(np.uint16),
        on=draw.integers(0, 2, count).astype(bool),
        width=width,
        height=height,
        sensor=sensor,
    )


recordings = st.builds(
    made_up,
    st.integers(1, 300),
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    seed=st.integers(0, 1000),
    duration=st.integers(1, 5000),
    start=st.integers(0, 2**40),
)


def by_hand(recording, config, num_steps):
    """One event after the other, in exact fractions."""
    size_y, size_x = (config.size, config.size) if config.size else (recording.height, recording.width)
    frames = np.zeros((num_steps, 2, size_y, size_x), dtype=np.int64)
    duration = int(recording.t[-1] - recording.t[0]) + 1
    for index, (t, x, y, on) in enumerate(
        zip(*(getattr(recording, name).tolist() for name in ("t", "x", "y", "on")), strict=True)
    ):
        if config.by == "time":
            step = int(Fraction(t - int(recording.t[0])) * num_steps / duration)
        else:
            step = min(index // max(1, len(recording) // num_steps), num_steps - 1)
            step = step if len(recording) >= num_steps else num_steps - 1
        frames[step, int(on), y * size_y // recording.height, x * size_x // recording.width] += 1
    return frames


@settings(max_examples=200, deadline=None)
@given(
    recording=recordings,
    by=st.sampled_from(["time", "count"]),
    num_steps=st.integers(1, 20),
    shrink=st.integers(0, 40),
)
def test_frames_are_the_events_counted_one_by_one(recording, by, num_steps, shrink):
    size = min(shrink, recording.width, recording.height)
    config = FrameConfig(by=by, size=size)
    frames, saturated = to_frames(recording, config, num_steps)
    expected = by_hand(recording, config, num_steps)
    assert np.array_equal(frames, expected)
    assert saturated == 0
    frames, saturated = to_frames(recording, dataclasses.replace(config, counts="saturate"), num_steps)
    assert np.array_equal(frames, expected.clip(max=255))
    assert saturated == (expected - 255).clip(0).sum()
    assert int(frames.sum(dtype=np.int64)) + saturated == len(recording)


@settings(max_examples=50, deadline=None)
@given(recording=recordings, num_steps=st.integers(1, 8))
def test_as_a_whole_every_step_shows_all_events(recording, num_steps):
    frames, saturated = to_frames(recording, FrameConfig(by="whole"), num_steps)
    one, once = to_frames(recording, FrameConfig(), 1)
    assert frames.shape == (num_steps, *one.shape[1:])
    assert all(np.array_equal(frame, one[0]) for frame in frames)
    assert saturated == once


@settings(max_examples=100, deadline=None)
@given(recording=recordings, num_steps=st.integers(1, 8), data=st.data())
def test_no_event_of_a_span_is_lost_or_invented(recording, num_steps, data):
    first = data.draw(st.integers(int(recording.t[0]) - 10, int(recording.t[-1])))
    end = data.draw(st.integers(first + 1, int(recording.t[-1]) + 10))
    inside = int(((recording.t >= first) & (recording.t < end)).sum())
    if not inside:
        with pytest.raises(UserError, match="no events from"):
            to_frames(recording, FrameConfig(), num_steps, span=(first, end))
        return
    frames, saturated = to_frames(recording, FrameConfig(), num_steps, span=(first, end))
    assert int(frames.sum(dtype=np.int64)) + saturated == inside


def test_many_events_at_one_pixel_are_all_counted_or_saturate():
    one = made_up(1000, width=1, height=1)
    off, on = int((~one.on).sum()), int(one.on.sum())
    frames, lost = to_frames(one, FrameConfig(), 1)
    assert (frames.ravel().tolist(), frames.dtype, lost) == ([off, on], np.uint16, 0)
    frames, lost = to_frames(one, FrameConfig(counts="saturate"), 1)
    assert (frames.ravel().tolist(), frames.dtype, lost) == ([255, 255], np.uint8, off - 255 + on - 255)


@pytest.mark.parametrize(
    ("most", "dtype"), [(255, np.uint8), (256, np.uint16), (65_535, np.uint16), (65_536, np.int32), (200_000, np.int32)]
)
@pytest.mark.parametrize("by", ["time", "whole"])
def test_counts_are_as_wide_as_the_largest_needs(most, dtype, by):
    """The busy pixel is in the second of three steps, so that frames before and behind it are widened too."""
    t = np.concatenate([np.arange(100), np.full(most, 150), np.arange(200, 300)])
    x = np.where(t == 150, 3, t % 3).astype(np.uint16)
    recording = Recording(t=t, x=x, y=x, on=t % 2 == 0, width=4, height=4, sensor="made up")
    frames, lost = to_frames(recording, FrameConfig(by=by), 3)
    assert (frames.dtype, frames.max(), lost) == (dtype, most, 0)
    if by == "time":
        assert np.array_equal(frames, by_hand(recording, FrameConfig(), 3))
    else:
        assert all(np.array_equal(frame, by_hand(recording, FrameConfig(), 1)[0]) for frame in frames)


def test_counts_that_grow_are_widened_twice():
    t = np.concatenate([np.zeros(300, int), np.full(70_000, 60), [99]])
    x = np.zeros(len(t), np.uint16)
    recording = Recording(t=t, x=x, y=x, on=t == 60, width=1, height=1, sensor="made up")
    frames, _ = to_frames(recording, FrameConfig(), 2)
    assert frames.ravel().tolist() == [300, 0, 1, 70_000]


def hd_recording(seconds, rate=500_000, spread=32.0, seed=0):
    """1280x720 pixels, events about a spot that drifts through the picture, `spread` pixels wide."""
    draw = np.random.default_rng(seed)
    count = int(rate * seconds)
    t = np.sort(draw.integers(0, int(1e6 * seconds), count))
    x = 640 + 200 * t / (1e6 * seconds) + spread * draw.standard_normal(count)
    y = 360 + spread * draw.standard_normal(count)
    columns, rows = x.clip(0, 1279).astype(np.uint16), y.clip(0, 719).astype(np.uint16)
    return Recording(t=t, x=columns, y=rows, on=draw.random(count) < 0.5, width=1280, height=720, sensor="made up")


@pytest.mark.parametrize(("size", "least", "most"), [(32, 0.5, 0.7), (64, 0.1, 0.25), (128, 0, 0)])
def test_no_event_of_a_high_definition_recording_is_lost(size, least, most):
    """Half a million events a second, windows of half a second, T = 8: what a byte a count would lose."""
    recording = hd_recording(1)
    lost = 0
    for span in ((0, 500_000), (500_000, 1_000_000)):
        frames, none = to_frames(recording, FrameConfig(size=size), 8, span=span)
        inside = int(((recording.t >= span[0]) & (recording.t < span[1])).sum())
        assert (int(frames.sum(dtype=np.int64)), none) == (inside, 0)
        saturated, beyond = to_frames(recording, FrameConfig(size=size, counts="saturate"), 8, span=span)
        assert np.array_equal(saturated, frames.clip(max=255))
        assert int(saturated.sum(dtype=np.int64)) + beyond == inside
        lost += beyond
    assert least <= lost / len(recording) <= most


def test_more_events_in_a_step_than_fit_a_chunk():
    recording = made_up(140_000)
    for steps in (1, 50):
        frames, saturated = to_frames(recording, FrameConfig(size=32), steps)
        assert int(frames.sum(dtype=np.int64)) + saturated == len(recording)
        assert np.array_equal(frames, by_hand(recording, FrameConfig(size=32), steps))


def test_equal_counts_are_those_of_spikingjelly():
    recording = made_up(23, width=9, height=9)
    frames, _ = to_frames(recording, FrameConfig(by="count"), 5)
    assert frames.sum((1, 2, 3)).tolist() == [4, 4, 4, 4, 7]  # n // T each, the last takes the rest


def test_orientation_of_spikingjelly():
    """From raw addresses: ours is x = 127 - x_raw, y = 127 - y_raw; theirs x = 127 - y_raw, y = 127 - x_raw."""
    draw = np.random.default_rng(0)
    x_raw, y_raw, p_raw = draw.integers(0, 128, 500), draw.integers(0, 128, 500), draw.integers(0, 2, 500)
    ours = dataclasses.replace(
        made_up(500), x=(127 - x_raw).astype(np.uint16), y=(127 - y_raw).astype(np.uint16), on=p_raw == 0
    )
    theirs = np.zeros((2, 128, 128), dtype=int)
    np.add.at(theirs, (1 - p_raw, 127 - x_raw, 127 - y_raw), 1)  # [p, y, x]
    frames, _ = to_frames(ours, FrameConfig(orientation="spikingjelly"), 1)
    assert np.array_equal(frames[0], theirs)
    assert not np.array_equal(to_frames(ours, FrameConfig(), 1)[0][0], theirs)
    with pytest.raises(UserError, match="that of a DVS128, and this ATIS has 34x34 pixels: choose 'sensor'"):
        to_frames(made_up(5, width=34, height=34, sensor="ATIS"), FrameConfig(orientation="spikingjelly"), 1)


@pytest.mark.skipif(not (SHARED / "mnist-dvs").is_dir(), reason="the real recordings are not here")
@pytest.mark.parametrize("by", ["time", "count"])
@pytest.mark.parametrize("size", [0, 32, 64, 100])
def test_no_event_of_a_real_recording_is_lost(by, size):
    paths = sorted((SHARED / "mnist-dvs").glob("*.aedat"))
    assert paths
    for path in paths:
        recording = read_recording(path)
        frames, saturated = to_frames(recording, FrameConfig(by=by, size=size), 50)
        assert int(frames.sum(dtype=np.int64)) + saturated == len(recording)
        assert frames.any((1, 2, 3)).all()  # events in every step


def test_mean_is_the_sum_scaled():
    recording = made_up(5000)
    config = FrameConfig(size=64, resize="mean")
    full = to_frames(recording, FrameConfig(), 4)[0].astype(np.float64)
    mean = full.reshape(4, 2, 64, 2, 64, 2).mean((3, 5))
    assert input_scale(128, 128, config) == 0.25
    assert np.array_equal(to_frames(recording, config, 4)[0] * input_scale(128, 128, config), mean)
    assert input_scale(128, 128, FrameConfig(size=64)) == input_scale(34, 34, FrameConfig(resize="mean")) == 1
    with pytest.raises(UserError, match="unequal areas: choose a size that divides both"):
        to_frames(recording, FrameConfig(size=48, resize="mean"), 1)


def test_what_cannot_be_framed():
    with pytest.raises(UserError, match="64x64 pixels are larger than the sensor, 34x34: choose a size of at most 34"):
        to_frames(made_up(5, width=34, height=34), FrameConfig(size=64), 1)
    with pytest.raises(UserError, match="no events: there is nothing"):
        to_frames(made_up(0), FrameConfig(), 1)
    with pytest.raises(UserError, match="size -1"):
        FrameConfig(size=-1)
    with pytest.raises(UserError, match="by is 'number'"):
        FrameConfig(by="number")
