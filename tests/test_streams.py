"""A stream's answers are those of the same network on whole clips, however the events arrive."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sresnet
from sresnet import UserError
from sresnet.analysis.exits import mean_scores
from sresnet.data.events.filters import FilterConfig, SliceFilters, filtered
from sresnet.data.events.frames import FrameConfig, to_frames
from sresnet.data.events.parts import held
from sresnet.data.events.recording import Recording
from sresnet.data.events.sets import EventConfig
from sresnet.data.events.windows import WindowConfig, cut
from sresnet.data.scaling import Counts
from sresnet.streams import Stream, live, stream

SIZE = 8


def network(**fields):
    torch.manual_seed(0)
    wanted = {"base_filters": 2, "num_steps": 3, "num_classes": 4, "in_channels": 2, "threshold": 0.2} | fields
    return sresnet.create_model("sresnet8", **wanted).eval()


def recording(times, seed=0):
    draw = np.random.default_rng(seed)
    t = np.sort(np.asarray(times, np.int64))
    x, y = draw.integers(0, SIZE, (2, len(t))).astype(np.uint16)
    return Recording(t=t, x=x, y=y, on=draw.random(len(t)) < 0.5, width=SIZE, height=SIZE, sensor="made up")


def part_of(whole, first, end):
    part = slice(first, end)
    return replace(whole, t=whole.t[part], x=whole.x[part], y=whole.y[part], on=whole.on[part])


def in_slices(whole, cuts):
    ends = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    return [part_of(whole, *pair) for pair in itertools.pairwise(ends)]


@torch.inference_mode()
def batch_answers(model, whole, spans, frames, least_step=1):
    """(start, step, probabilities) of each window and step that has had an event, by one pass over each clip."""
    found = []
    for start, end in spans:
        clip, _ = to_frames(whole, frames, model.config.num_steps, span=(start, end))
        scores = mean_scores(model.forward_steps(torch.from_numpy(clip)[None].float()))[:, 0]
        counted, _ = to_frames(whole, replace(frames, representation="counts"), len(clip), span=(start, end))
        counts = counted.sum((1, 2, 3), dtype=np.int64).cumsum()
        for step, each in enumerate(scores.softmax(1), start=1):
            if counts[step - 1] and step >= least_step:
                found.append((start, step, each.tolist()))
    return found


def windows(whole, seconds, **fields):
    return [each.span for each in cut(held(whole), WindowConfig(seconds=seconds, **fields)).windows]


def as_told(answers):
    return [(each.start, each.step, list(each.probabilities)) for each in answers]


def assert_alike(found, wanted):
    assert [each[:2] for each in found] == [each[:2] for each in wanted]
    assert found
    ours, theirs = ([each[2] for each in answers] for answers in (found, wanted))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def test_the_network_is_not_silent():
    answers = list(stream(MODEL, [recording(range(0, 900, 7))], frames=BY_TIME, step=50e-6))
    assert len({each.probabilities for each in answers}) == len(answers) > 10
    assert min(each.confidence for each in answers) > 0.26


MODEL = network()
BY_TIME = FrameConfig()


@settings(max_examples=40, deadline=None)
@given(
    times=st.lists(st.integers(-50, 700), min_size=1, max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=8),
    length=st.sampled_from([31, 90, 100, 2000]),
)
def test_windows_one_behind_the_other_are_the_clips_of_training(times, cuts, length):
    """At every step, for slices of any length; a window without events is none, a recording in one is unfinished."""
    whole = recording(times)
    running = Stream(MODEL, frames=BY_TIME, step=1)
    running.length = running.stride = length  # microseconds, which seconds of a step alone would not give
    answers = [each for part in in_slices(whole, cuts) for each in running.push(part)] + running.finish()
    spans = windows(whole, length / 1e6)
    complete = [each for each in as_told(answers) if each[0] in {start for start, _ in spans}]
    wanted = batch_answers(MODEL, whole, spans, BY_TIME)
    if whole.t[-1] + 1 - whole.t[0] < length:  # the one window has not ended
        wanted = wanted[: len(complete)]
    if complete or wanted:
        assert_alike(complete, wanted)
    assert [each.whole for each in answers] == [each.step == 3 for each in answers]
    counts = [int(((whole.t >= each.start) & (whole.t < each.end)).sum()) for each in answers]
    assert [each.events for each in answers] == counts


@settings(max_examples=30, deadline=None)
@given(
    times=st.lists(st.integers(0, 900), min_size=1, max_size=50),
    cuts=st.lists(st.integers(0, 50), max_size=5),
    stride=st.sampled_from([30, 45, 60, 77, 200]),
)
def test_windows_that_overlap_are_the_clips_that_begin_there(times, cuts, stride):
    whole = recording(times)
    answers = list(stream(MODEL, in_slices(whole, cuts), frames=BY_TIME, step=30e-6, stride=stride / 1e6))
    first, last = int(whole.t[0]), int(whole.t[-1])
    starts = range(first, last + 1 - 90 + 1, stride)
    spans = [(start, start + 90) for start in starts if ((whole.t >= start) & (whole.t < start + 90)).any()]
    wanted = batch_answers(MODEL, whole, spans, BY_TIME, least_step=3)
    found = [each for each in as_told(answers) if each[1] == 3]
    if wanted or found:
        assert_alike(found, wanted)
    assert [each.end for each in answers] == sorted({each.end for each in answers})
    for each in answers:  # it is of the window that has run longest
        for start in range(first, each.start, stride):
            assert start + 90 <= each.end


KINDS = [{"by": "count"}, {"by": "whole"}, {"size": 4, "resize": "mean"}]
KINDS += [{"representation": name} for name in ("binary", "log", "voxel", "surface")]


@pytest.mark.parametrize("fields", KINDS, ids=str)
def test_frames_of_every_kind(fields):
    whole, frames = recording(range(0, 800, 7)), FrameConfig(**fields)
    found = list(stream(MODEL, in_slices(whole, [3, 40, 41]), frames=frames, step=50e-6))
    spans = windows(whole, 150e-6)
    assert len(spans) == 5
    scale = 0.25 if frames.size else 1
    scaled = network()
    scaled.forward_steps = lambda x: MODEL.forward_steps(Counts(scale, frames.shown)(x))
    at_steps = frames.by == "time" and not frames.real
    wanted = batch_answers(scaled, whole, spans, frames, least_step=1 if at_steps else 3)
    assert_alike([each for each in as_told(found) if each[0] in dict(spans)], wanted)
    if not at_steps:
        assert len(found) == 5
        assert all(each.whole for each in found)


@pytest.mark.parametrize(
    "fields",
    [{"stride": 0.5}, {"stride": 2.0}, {"origin": "zero"}, {"least_events": 12}, {"origin": "zero", "stride": 0.7}],
    ids=str,
)
def test_windows_are_those_of_the_run(fields, monkeypatch):
    """From a run, all that says which windows there are."""
    whole, config = recording(range(1017, 2000, 9)), WindowConfig(seconds=100e-6, **fields)
    data = EventConfig(name="event-folder", split="random90", windows=config)
    monkeypatch.setattr(live, "_of_run", lambda run, memory_limit: (MODEL, data))
    found = as_told(each for each in stream("run", in_slices(whole, [3, 40, 41])) if each.whole)
    wanted = batch_answers(MODEL, whole, windows(whole, 100e-6, **fields), BY_TIME, least_step=3)
    first = min(each[0] for each in wanted)
    assert_alike([each for each in found if each[0] >= first], wanted)


@settings(max_examples=60, deadline=None)
@given(
    times=st.lists(st.integers(0, 5000), min_size=1, max_size=120),
    cuts=st.lists(st.integers(0, 120), max_size=10),
    refractory=st.sampled_from([0, 0.3, 2]),
    background=st.sampled_from([0, 0.2, 1]),
)
def test_filters_leave_the_same_whatever_the_slices(times, cuts, refractory, background):
    whole = recording(times)
    config = FilterConfig(refractory_ms=refractory, background_ms=background)
    wanted, _ = filtered(whole, config)
    filters = SliceFilters(config, None)
    parts = [filters.left(part) for part in in_slices(whole, cuts)]
    for name in ("t", "x", "y", "on"):
        np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(wanted, name))


@pytest.mark.parametrize("fields", [{"refractory_ms": 0.3}, {"background_ms": 0.1}], ids=str)
def test_filters_of_crowded_pixels(fields):
    """Of what came before a slice, a filter needs what it left, not what it was given, or the other way round."""
    draw, config = np.random.default_rng(0), FilterConfig(**fields)
    for seed in range(20):
        whole = recording(draw.integers(0, 5000, 100), seed)
        whole.x[:], whole.y[:] = whole.x % 4, whole.y % 3
        wanted, removed = filtered(whole, config)
        assert sum(removed.values()) > 20
        filters = SliceFilters(config, None)
        parts = [filters.left(part) for part in in_slices(whole, draw.integers(0, 100, 8))]
        np.testing.assert_array_equal(np.concatenate([part.t for part in parts]), wanted.t)


def test_hot_pixels_are_those_of_the_whole_recording_or_given(monkeypatch):
    spread = np.random.default_rng(0).integers(0, 16, (2, 300)).astype(np.uint16)
    whole = replace(recording(range(0, 900, 3)), x=spread[0], y=spread[1], width=16, height=16)
    whole.x[::2], whole.y[::2] = 5, 2
    config = FilterConfig(hot_pixels=2, refractory_ms=0.01)
    data = EventConfig(name="event-folder", split="random90", windows=WindowConfig(seconds=90e-6), filters=config)
    monkeypatch.setattr(live, "_of_run", lambda run, memory_limit: (MODEL, data))
    kept, removed = filtered(whole, config)
    assert removed["hot_pixels"] >= 150
    spans = [each.span for each in cut(held(kept), data.windows, whole=held(whole)).windows]
    wanted = batch_answers(MODEL, kept, spans, BY_TIME)
    running = Stream("run")
    running.begin([whole])
    assert_alike([each for each in as_told(running.push(whole) + running.finish()) if each[0] < 810], wanted)
    hot = np.zeros((16, 16), bool)
    hot[2, 5] = True
    found = as_told(stream("run", in_slices(whole, [7, 99]), hot_pixels=hot))
    assert_alike([each for each in found if each[0] < 810], wanted)
    with pytest.raises(UserError, match="trained without hot pixels, which a whole recording tells"):
        list(stream("run", [whole]))
    with pytest.raises(UserError, match=r"hot_pixels has shape \(8, 9\), and the sensor 16x16"):
        list(stream("run", [whole], hot_pixels=np.zeros((8, 9), bool)))


def test_frames_by_change_have_an_answer_at_the_end_of_each_window():
    model, whole = network(encoder="delta"), recording(range(0, 800, 7))
    found = list(stream(model, [whole], frames=BY_TIME, step=50e-6))
    assert_alike(as_told(found), batch_answers(model, whole, windows(whole, 150e-6), BY_TIME, least_step=3))


@pytest.mark.parametrize("fields", [{"norm": "per-step"}, {"norm": "tdbn", "readout": "leaky"}], ids=str)
def test_potentials_that_are_carried_are_those_of_one_long_clip(fields):
    """The readout's last T steps count, each as much as is left of it."""
    model, whole = network(**fields), recording(range(5, 1205, 3))
    found = list(stream(model, in_slices(whole, [50, 50, 333]), frames=BY_TIME, step=40e-6, carry=True))
    clip, _ = to_frames(whole, BY_TIME, 29, span=(5, 5 + 29 * 40))
    clip = torch.from_numpy(clip)[None].float()
    with torch.inference_mode():
        wanted = []
        for end in range(1, 30):
            begin = max(0, end - 3)
            outputs = model.forward_steps(clip[:, :end])[begin:]
            wanted.append((5 + begin * 40, end - begin, outputs.mean(0)[0].softmax(0).tolist()))
    assert_alike(as_told(found), wanted)


def test_after_a_silence_carried_potentials_are_gone():
    model = network(norm="none")
    first, second = recording(range(0, 200, 3)), recording(range(0, 200, 3), seed=1)
    later = replace(second, t=second.t + 50 * 365 * 86_400_000_000)  # fifty years
    alone = list(stream(model, [second], frames=BY_TIME, step=40e-6, carry=True))
    found = list(stream(model, [first, later], frames=BY_TIME, step=40e-6, carry=True))
    ours = [each.probabilities for each in found if each.start >= later.t[0]]
    assert len(found) > len(ours) == len(alone) > 3
    assert ours == [each.probabilities for each in alone]


def test_fifty_years_without_events_take_no_time():
    whole = recording([0, 10, 50 * 365 * 86_400_000_000, 50 * 365 * 86_400_000_000 + 5000])
    found = list(stream(MODEL, [whole], frames=BY_TIME, step=1e-3, stride=1e-3))
    assert {each.events for each in found} <= {1, 2}
    assert len(found) < 12


def test_an_answer_comes_with_the_event_that_ends_its_step():
    running = Stream(MODEL, frames=BY_TIME, step=100e-6)
    assert running.push(recording([7, 50, 106])) == []
    assert running.push(recording([])) == []
    (answer,) = running.push(recording([107]))
    assert (answer.start, answer.end, answer.step, answer.events, answer.whole) == (7, 107, 1, 3, False)
    assert answer.class_name == str(np.argmax(answer.probabilities))
    assert answer.confidence == max(answer.probabilities)
    assert [each.step for each in running.push(recording([]), until=320)] == [2, 3]
    with pytest.raises(UserError, match=r"begins at 300 us, and time has come to 320"):
        running.push(recording([300]))
    with pytest.raises(UserError, match="until 319 lies before events that have come, at 320"):
        running.push(recording([]), until=319)
    assert Stream(MODEL, frames=BY_TIME, step=1).finish() == []


def arrays(whole):
    return whole.t, whole.x, whole.y, whole.on


def test_arrays_of_many_kinds_are_events():
    whole = recording(range(0, 700, 7))
    wanted = list(stream(MODEL, [whole], frames=BY_TIME, step=50e-6))
    t, x, y, on = arrays(whole)
    fields = np.zeros(len(t), [("x", "u2"), ("y", "u2"), ("p", "i2"), ("t", "i8")])
    fields["t"], fields["x"], fields["y"], fields["p"] = t, x, y, on
    others = [
        (t, x, y, on.astype(int)),
        (t.astype(np.uint32), x.astype(int), y, np.where(on, 1, -1)),
        [torch.from_numpy(t), x, y, on],
        (t.tolist(), x.tolist(), y.tolist(), on.tolist()),
        fields,
    ]
    for each in others:
        assert list(stream(MODEL, [each], frames=BY_TIME, step=50e-6, size=(SIZE, SIZE))) == wanted
    empty = ([], [], [], [])
    assert list(stream(MODEL, [empty, others[0], empty], frames=BY_TIME, step=50e-6, size=(SIZE, SIZE))) == wanted


T, X, Y, ON = arrays(recording(range(0, 700, 7)))
WRONG = {
    "text": ("abc", "of type str: give arrays"),
    "three": ((T, X, Y), "of type tuple: give arrays"),
    "seconds": ((T / 1e6, X, Y, ON), "t is of float64: give whole microseconds"),
    "floats": ((T, X.astype(float), Y, ON), "x is of float64: give whole numbers"),
    "float polarity": ((T, X, Y, ON.astype(float)), "on is of float64"),
    "lengths": ((T, X[1:], Y, ON), "t, x, y and on have 100, 99, 100 and 100 values"),
    "a column": ((T[:, None], X, Y, ON), r"t has shape \(100, 1\)"),
    "too wide": ((T, X + 1, Y, ON), "x runs from 1 to 8, and the sensor has 8x8 pixels"),
    "negative": ((T, X.astype(int), Y.astype(int) - 1, ON), "y runs from -1 to 6"),
    "polarity": ((T, X, Y, ON + 1), "on runs from 1 to 2: give True or 1"),
    "backwards": ((T[::-1], X, Y, ON), "event 1 of a slice is at 686 us, and the one before at 693"),
    "other fields": (np.zeros(3, [("x", "u2"), ("y", "u2"), ("t", "i8")]), "has fields x, y, t: on or p or polarity"),
    "impossible times": ((T + 2**62, X, Y, ON), "beyond 62 bits: give microseconds"),
    "times that wrap": (replace(recording([1]), t=np.array([2**63 + 1], np.uint64)), "beyond 62 bits: give micros"),
    "unsigned backwards": (replace(recording([1, 2]), t=np.array([9, 2], np.uint64)), "event 1 of a slice is at 2 us"),
    "beyond its sensor": (replace(recording([1]), x=np.array([8])), "x runs from 8 to 8, and the sensor has 8x8"),
    "another sensor": (replace(recording([1]), width=9), "sensor of 9x8 pixels, and those before or `size` of 8x8"),
}


@pytest.mark.parametrize("name", WRONG)
def test_events_that_are_none(name):
    events, fault = WRONG[name]
    with pytest.raises(UserError, match=fault):
        list(stream(MODEL, [events], frames=BY_TIME, step=50e-6, size=(SIZE, SIZE)))


def test_a_recording_of_unsigned_times_is_the_same():
    whole = recording(range(0, 700, 7))
    unsigned = replace(whole, t=whole.t.astype(np.uint64))
    wanted = list(stream(MODEL, [whole], frames=BY_TIME, step=50e-6))
    assert list(stream(MODEL, [unsigned], frames=BY_TIME, step=50e-6)) == wanted


def test_time_does_not_go_on_beyond_62_bits():
    running = Stream(MODEL, frames=BY_TIME, step=50e-6, size=(SIZE, SIZE))
    for until in (1 << 62, np.uint64(2**63 + 1), 2**70):
        with pytest.raises(UserError, match=f"until {until} is beyond 62 bits: give microseconds"):
            running.push(([], [], [], []), until=until)


def test_arrays_without_a_sensor():
    with pytest.raises(UserError, match=r"give size=\(width, height\)"):
        list(stream(MODEL, [(T, X, Y, ON)], frames=BY_TIME, step=50e-6))


REFUSED = {
    "carry by step": ({"carry": True}, {}, "norms of this network are of time step 1 to 3, and no later one"),
    "carry by count": ({"carry": True, "frames": FrameConfig(by="count")}, {"norm": "none"}, "known at the end"),
    "carry and stride": ({"carry": True, "stride": 1.0}, {"norm": "none"}, "leave one of them out"),
    "no step": ({"step": None}, {}, "no length of a time step is known"),
    "no time": ({"step": 0}, {}, "step 0 is not a length of time"),
    "nan": ({"step": float("nan")}, {}, "step nan is not a length of time"),
    "text": ({"step": "50ms"}, {}, "step '50ms' is not a length of time"),
    "no stride": ({"stride": -1.0}, {}, r"stride -1\.0 is not a length of time"),
    "no size": ({"size": 8}, {}, r"size 8 is no sensor: give its pixels, \(width, height\)"),
    "half a size": ({"size": (8,)}, {}, r"size \(8,\) is no sensor"),
    "negative size": ({"size": (8, -8)}, {}, "is no sensor"),
    "frames in words": ({"frames": "time"}, {}, "frames are of type str: give FrameConfig"),
    "no frames": ({"frames": None}, {}, "does not say how events become frames"),
    "pictures": ({}, {"in_channels": 3}, "this network takes pictures"),
    "spikes": ({}, {"encoder": "poisson"}, "encoder 'poisson' encodes pictures"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_defined_is_refused_before_any_event(name):
    options, fields, fault = REFUSED[name]
    with pytest.raises(UserError, match=fault):
        stream(network(**fields), [], **({"frames": BY_TIME, "step": 50e-6} | options))


def test_what_is_neither_network_nor_slices():
    with pytest.raises(UserError, match="a network of type Linear runs on no stream"):
        stream(torch.nn.Linear(2, 2), [], frames=BY_TIME, step=1)
    with pytest.raises(UserError, match="slices are of type NoneType: give a list"):
        stream(MODEL, None, frames=BY_TIME, step=1)
    with pytest.raises(UserError, match=r"until 0\.5 is no time"):
        Stream(MODEL, frames=BY_TIME, step=1).push(recording([1]), until=0.5)


def test_one_slice_in_place_of_several():
    whole = recording(range(0, 700, 7))
    wanted = list(stream(MODEL, [whole], frames=BY_TIME, step=50e-6))
    assert list(stream(MODEL, whole, frames=BY_TIME, step=50e-6)) == wanted
    assert list(stream(MODEL, arrays(whole), frames=BY_TIME, step=50e-6, size=(SIZE, SIZE))) == wanted
    four = tuple(in_slices(whole, [20, 40, 60]))
    assert len(four) == 4
    assert as_told(stream(MODEL, four, frames=BY_TIME, step=50e-6))[-1][:2] == as_told(wanted)[-1][:2]


def test_a_stream_at_its_end_begins_anew_only_when_told():
    running = Stream(MODEL, frames=BY_TIME, step=50e-6)
    whole = recording(range(0, 700, 7))
    wanted = running.push(whole) + running.finish()
    with pytest.raises(UserError, match=r"at its end: call restart\(\)"):
        running.push(whole)
    running.restart()
    assert running.push(whole) + running.finish() == wanted


def test_a_network_in_training_mode():
    with pytest.raises(UserError, match="call model.eval"):
        stream(network().train(), [], frames=BY_TIME, step=1)
