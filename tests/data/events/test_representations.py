"""What frames may show of events beside their counts, against slower definitions, and what can be had back of each."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_frames import by_hand, made_up, recordings

from sresnet.data import EventConfig
from sresnet.data.events.changes import ChangeConfig
from sresnet.data.events.frames import FrameConfig, to_frames
from sresnet.data.scaling import Counts, scaling_from_plain
from sresnet.errors import UserError


def places_of(recording, start, last, num_steps):
    """The place of each event among the steps, from 0 to T - 1."""
    return [(num_steps - 1) * (int(t) - start) / max(1, last - start) for t in recording.t]


def spans(recording):
    """None, or a span about the recording."""
    wide = st.tuples(st.integers(0, 50), st.integers(1, 50))
    return st.one_of(st.none(), wide.map(lambda by: (int(recording.t[0]) - by[0], int(recording.t[-1]) + by[1])))


def pixels_of(recording, size):
    """Of each event: (polarity, row, column) in the frames."""
    rows, columns = (size, size) if size else (recording.height, recording.width)
    y, x = recording.y.astype(int) * rows // recording.height, recording.x.astype(int) * columns // recording.width
    return list(zip(recording.on.astype(int).tolist(), y.tolist(), x.tolist(), strict=True)), (rows, columns)


@settings(max_examples=150, deadline=None)
@given(recording=recordings, num_steps=st.integers(1, 12), shrink=st.integers(0, 40), data=st.data())
def test_voxels_divide_each_event_between_two_steps(recording, num_steps, shrink, data):
    """Sums over the steps are the counts, and sums of k V[k] those of the events' places: both can be had back."""
    size, span = min(shrink, recording.width, recording.height), data.draw(spans(recording))
    config = FrameConfig(representation="voxel", size=size)
    frames, lost = to_frames(recording, config, num_steps, span=span)
    start, end = span or (int(recording.t[0]), int(recording.t[-1]) + 1)
    pixels, shape = pixels_of(recording, size)
    expected = np.zeros((num_steps, 2, *shape))
    moments = np.zeros((2, *shape))
    for place, pixel in zip(places_of(recording, start, end - 1, num_steps), pixels, strict=True):
        moments[pixel] += place
        for step in range(num_steps):
            expected[(step, *pixel)] += max(0.0, 1 - abs(step - place))
    assert (frames.dtype, lost) == (np.float32, 0)
    np.testing.assert_allclose(frames, expected, rtol=2e-7, atol=1e-9)
    counts = to_frames(recording, dataclasses.replace(config, representation="counts"), num_steps, span=span)[0]
    np.testing.assert_allclose(frames.sum(0, dtype=np.float64), counts.sum(0, dtype=np.int64), rtol=1e-6)
    steps = np.arange(num_steps)[:, None, None, None]
    np.testing.assert_allclose((steps * frames.astype(np.float64)).sum(0), moments, rtol=1e-6, atol=1e-6)


def test_the_time_of_a_single_event_is_in_its_voxels():
    recording = dataclasses.replace(made_up(1), t=np.array([1234]))
    frames, _ = to_frames(recording, FrameConfig(representation="voxel"), 8, span=(1000, 2000))
    place = float((np.arange(8) * frames.sum((1, 2, 3), dtype=np.float64)).sum())
    assert 1000 + place * 999 / 7 == pytest.approx(1234, abs=1e-4)


@settings(max_examples=150, deadline=None)
@given(
    recording=recordings,
    num_steps=st.integers(1, 12),
    shrink=st.integers(0, 40),
    tau=st.floats(0.5, 50),
    data=st.data(),
)
def test_a_surface_says_when_the_last_event_was(recording, num_steps, shrink, tau, data):
    size, span = min(shrink, recording.width, recording.height), data.draw(spans(recording))
    config = FrameConfig(representation="surface", size=size, surface_ms=tau)
    frames, lost = to_frames(recording, config, num_steps, span=span)
    start, end = span or (int(recording.t[0]), int(recording.t[-1]) + 1)
    pixels, shape = pixels_of(recording, size)
    assert (frames.shape, frames.dtype, lost) == ((num_steps, 2, *shape), np.float32, 0)
    for step in range(num_steps):
        now = start + (end - start) * (step + 1) / num_steps
        last = {}
        for t, pixel in zip(recording.t.tolist(), pixels, strict=True):
            if t < now:
                last[pixel] = t
        assert np.count_nonzero(frames[step]) == len(last)
        for pixel, t in last.items():
            value = float(frames[step][pixel])
            assert 0 < value < 1
            # The inverse: t_last = t_k + tau ln S, as far as float32 tells numbers near 1 apart.
            assert now + 1000 * tau * math.log(value) == pytest.approx(t, abs=1000 * tau * 1.3e-7 / value + 1e-3)


@settings(max_examples=100, deadline=None)
@given(recording=recordings, num_steps=st.integers(1, 8), scale=st.sampled_from([1.0, 0.25]))
def test_counts_come_back_of_their_logarithms(recording, num_steps, scale):
    counts = torch.from_numpy(to_frames(recording, FrameConfig(representation="log"), num_steps)[0].astype(np.int32))
    shown = Counts(scale, "log")(counts)
    torch.testing.assert_close(shown, (1 + scale * counts.double()).log().float(), rtol=1e-6, atol=0)
    assert torch.equal((shown.double().expm1() / scale).round().int(), counts)


@settings(max_examples=100, deadline=None)
@given(recording=recordings, num_steps=st.integers(1, 8))
def test_binary_is_whether_there_is_an_event(recording, num_steps):
    """Twice is once; where no pixel has more than one event in a step, it is the counts."""
    config = FrameConfig(representation="binary")
    counts = torch.from_numpy(to_frames(recording, config, num_steps)[0].astype(np.int32))
    shown = Counts(0.25, "binary")(counts)
    assert set(shown.unique().tolist()) <= {0.0, 1.0}
    assert np.array_equal(shown.bool(), by_hand(recording, config, num_steps) > 0)
    assert torch.equal(Counts(shown="binary")(shown), shown)
    first = counts.clamp(max=1)
    assert torch.equal(Counts(shown="binary")(first), Counts()(first))


@pytest.mark.parametrize("representation", ["voxel", "surface"])
def test_a_step_with_more_events_than_a_chunk(representation):
    """And more events at one pixel than float32 can count one by one."""
    recording = made_up(300_000, width=2, height=1, duration=1000)
    frames, _ = to_frames(recording, FrameConfig(representation=representation), 4)
    if representation == "voxel":
        assert frames.sum(dtype=np.float64) == pytest.approx(300_000, rel=1e-7)
        assert frames[1].sum() == pytest.approx(100_000, rel=0.01)
    else:
        assert frames.min() > 0.99
    same = dataclasses.replace(recording, t=np.full(300_000, 5))
    frames, _ = to_frames(same, FrameConfig(representation=representation), 4)
    if representation == "voxel":  # all at the first step, which a microsecond has not left
        assert frames.sum((1, 2, 3)).tolist() == [300_000, 0, 0, 0]
    else:
        assert frames.min() > 0.99


@pytest.mark.parametrize("orientation", ["sensor", "spikingjelly"])
@pytest.mark.parametrize("representation", ["voxel", "surface"])
def test_pixels_are_those_of_counts(representation, orientation):
    recording = made_up(500)
    config = FrameConfig(size=16, orientation=orientation)
    counts = to_frames(recording, config, 1)[0]
    frames = to_frames(recording, dataclasses.replace(config, representation=representation), 1)[0]
    assert np.array_equal(frames > 0, counts > 0)


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"representation": "voxel", "by": "count"}, "representation 'voxel' is of steps by 'time', and by is 'count'"),
        ({"representation": "surface", "by": "whole"}, "representation 'surface' is of steps by 'time'"),
        ({"representation": "surface", "resize": "mean"}, "which have no mean over an area: use resize 'sum'"),
        ({"representation": "surface", "surface_ms": 0.0}, "surface_ms 0 is not a length of time"),
        ({"surface_ms": 20.0}, "surface_ms 20 means nothing to representation 'counts': choose 'surface'"),
        ({"representation": "frames"}, "representation is 'frames'"),
    ],
)
def test_what_does_not_go_together(fields, fault):
    with pytest.raises(UserError, match=fault):
        FrameConfig(**fields)


@pytest.mark.parametrize(
    ("representation", "changes", "fault"),
    [
        ("voxel", {"drop": "events"}, "changes.drop and jitter are of single events, which representation 'voxel'"),
        ("surface", {"space_jitter": 1.0}, "changes.drop and jitter are of single events"),
        ("surface", {"reverse": 0.5}, "is not the surface of what runs backwards"),
        ("binary", {"mix": "mixup"}, "which representation 'binary' cannot show: use eventmix"),
    ],
)
def test_changes_that_a_representation_cannot_have(representation, changes, fault):
    frames = FrameConfig(representation=representation)
    with pytest.raises(UserError, match=fault):
        EventConfig(frames=frames, changes=ChangeConfig(**changes))
    EventConfig(changes=ChangeConfig(**changes))


@pytest.mark.parametrize("shown", ["counts", "binary", "log"])
def test_what_is_shown_is_kept(shown):
    assert scaling_from_plain(Counts(0.5, shown).plain()) == Counts(0.5, shown)
