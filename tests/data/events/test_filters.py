"""Filters of recordings against plain loops over the events, and where they are applied."""

import json
from dataclasses import replace

import made_up_sets as made_up
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sresnet.cli import main
from sresnet.data.config import usual_data
from sresnet.data.events import filters
from sresnet.data.events.cache import prepare
from sresnet.data.events.filters import FilterConfig, _rested, _supported, filtered, hot_pixels_of, left_by
from sresnet.data.events.frames import to_frames
from sresnet.data.events.parts import held
from sresnet.data.events.read import parse_recording
from sresnet.data.events.recording import Recording
from sresnet.data.events.windows import WindowConfig, cut
from sresnet.errors import UserError


def recording(t, x, y, width=5, height=3, on=None):
    on = np.zeros(len(t), bool) if on is None else np.array(on, bool)
    x, y = np.array(x, np.uint16), np.array(y, np.uint16)
    return Recording(t=np.array(t, np.int64), x=x, y=y, on=on, width=width, height=height, sensor="made up")


@st.composite
def recordings(draw):
    width, height = draw(st.integers(1, 7)), draw(st.integers(1, 6))
    first = draw(st.sampled_from([0, 5, 1 << 61, -3000]))
    steps = draw(st.lists(st.sampled_from([0, 0, 1, 2, 7, 900, 5000]), max_size=60))
    random = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    count = len(steps)
    columns, rows = random.integers(0, width, count), random.integers(0, height, count)
    return recording(first + np.cumsum(steps, dtype=np.int64), columns, rows, width, height, random.random(count) < 0.5)


def rested_by_loop(events, microseconds):
    last, keep = {}, []
    for t, x, y in zip(events.t.tolist(), events.x.tolist(), events.y.tolist(), strict=True):
        keep.append((x, y) not in last or t - last[x, y] >= microseconds)
        if keep[-1]:
            last[x, y] = t
    return keep


def supported_by_loop(events, microseconds):
    last, keep = {}, []
    for t, x, y in zip(events.t.tolist(), events.x.tolist(), events.y.tolist(), strict=True):
        around = [(x + i, y + j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]
        keep.append(any(t - last[each] <= microseconds for each in around if each in last))
        last[x, y] = t
    return keep


def cool_by_loop(events, times):
    pixels = list(zip(events.x.tolist(), events.y.tolist(), strict=True))
    counts = sorted(pixels.count(each) for each in set(pixels))
    # The smallest count that 99 % of them do not exceed.
    bound = next((each for each in counts if sum(n <= each for n in counts) * 100 >= 99 * len(counts)), 0)
    return [pixels.count(each) <= times * bound for each in pixels]


def cool(events, times):
    return ~hot_pixels_of([events], times)[events.y, events.x]


BY_LOOP = {
    _rested: (rested_by_loop, 1000),
    _supported: (supported_by_loop, 1000),
    cool: (cool_by_loop, 1),
}


@pytest.mark.parametrize("bits", [1, 3, 16])
@pytest.mark.parametrize("keep", BY_LOOP)
@given(events=recordings(), setting=st.sampled_from([1.0, 0.001, 0.002, 0.9, 5.9, 20.0]))
@settings(max_examples=60, deadline=None)
def test_each_equals_a_loop_over_the_events_however_they_are_divided(keep, bits, events, setting):
    loop, unit = BY_LOOP[keep]
    if keep is cool:
        setting = max(setting, 1.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filters, "_BITS", bits)
        patch.setattr(filters, "_CHUNK", 1 << bits)
        found = keep(events, setting)
    assert found.dtype == np.bool_
    assert found.tolist() == loop(events, setting * unit if keep is cool else round(setting * unit))


@given(
    events=recordings(),
    hot=st.sampled_from([0.0, 1.0, 2.0]),
    rest=st.sampled_from([0.0, 0.002, 1.0]),
    background=st.sampled_from([0.0, 0.002, 6.0]),
)
@settings(max_examples=100, deadline=None)
def test_what_is_left_is_part_of_what_was_there_in_its_order(events, hot, rest, background):
    config = FilterConfig(hot_pixels=hot, refractory_ms=rest, background_ms=background)
    kept, removed = filtered(events, config)
    assert list(removed) == [name for name, setting in vars(config).items() if setting]
    assert len(kept) + sum(removed.values()) == len(events)
    left = iter(zip(events.t, events.x, events.y, events.on, strict=True))
    for each in zip(kept.t, kept.x, kept.y, kept.on, strict=True):
        assert each in left  # which goes on behind it
    assert (kept.width, kept.height, kept.sensor) == (events.width, events.height, events.sensor)


@given(events=recordings(), milliseconds=st.sampled_from([0.001, 0.002, 0.9, 5.0, 50.0]))
@settings(max_examples=60, deadline=None)
def test_a_rested_recording_is_rested(events, milliseconds):
    once, _ = filtered(events, FilterConfig(refractory_ms=milliseconds))
    assert _rested(once, milliseconds).all()


def test_an_event_supports_its_neighbours_and_not_itself_or_those_across_an_edge():
    events = recording([0, 10, 20, 1020, 1021], [4, 0, 0, 1, 2], [0, 1, 1, 2, 1])
    assert _supported(events, 1).tolist() == [False, False, False, True, True]


def test_a_flickering_pixel_is_hot_and_an_edge_is_not():
    x, y = np.meshgrid(np.arange(20), np.arange(20))
    columns, rows = np.tile(x.ravel(), 6), np.tile(y.ravel(), 6)
    events = recording(np.arange(2460), [*columns, *[7] * 60], [*rows, *[9] * 60], 20, 20)
    kept, removed = filtered(events, FilterConfig(hot_pixels=5.0))
    assert removed == {"hot_pixels": 66}
    assert not ((kept.x == 7) & (kept.y == 9)).any()


def test_hot_is_measured_by_the_count_that_99_of_100_pixels_do_not_exceed():
    pixels = np.repeat(np.arange(400), np.arange(1, 401))  # pixel p has p + 1 events; the 396th is the 99th percentile
    events = recording(np.arange(len(pixels)), pixels % 20, pixels // 20, 20, 20)
    assert sorted(set(pixels[~cool(events, 1.0)])) == [396, 397, 398, 399]


@pytest.mark.parametrize(
    "fields", [{"background_ms": -1.0}, {"refractory_ms": 2e9}, {"hot_pixels": 0.5}, {"hot_pixels": -1.0}]
)
def test_fields_out_of_range(fields):
    with pytest.raises(UserError, match=next(iter(fields))):
        FilterConfig(**fields)


def test_a_recording_of_which_nothing_is_left_is_named():
    with pytest.raises(UserError, match=r"noise: the filters leave none of its 2 events \(2 by background_ms\)"):
        left_by(held(recording([0, 9], [0, 4], [0, 0])), FilterConfig(background_ms=1.0), "noise")


def config(filters, **fields):
    return replace(usual_data("nmnist"), filters=filters, **fields)


def test_windows_lie_where_they_lie_without_filters():
    events = recording([0, 100, 1_000_000, 1_000_001, 2_000_000], [0, 4, 0, 1, 4], [0] * 5)
    kept, _ = filtered(events, FilterConfig(background_ms=1.0))
    assert kept.t.tolist() == [1_000_001]
    seconds = WindowConfig(seconds=1.0)
    assert [each.span for each in cut(held(events), seconds).windows] == [(0, 1_000_000), (1_000_000, 2_000_000)]
    assert [each.span for each in cut(held(kept), seconds, whole=held(events)).windows] == [(1_000_000, 2_000_000)]


def test_frames_are_of_what_is_left_and_the_cache_tells_filters_apart(tmp_path):
    data = made_up.small_nmnist(tmp_path / "data")
    noise = FilterConfig(background_ms=200.0)
    made = {}
    for name, each in (("all", FilterConfig()), ("filtered", noise)):
        made[name] = prepare(config(each), str(data), 3, cache_dir=str(tmp_path / "cache"))
    assert made["all"].file.path != made["filtered"].file.path
    assert made["all"].contents != made["filtered"].contents
    assert "filtered" not in made["all"].recordings[0]
    for number, entry in enumerate(made["filtered"].recordings):
        whole = parse_recording((data / entry["name"]).read_bytes(), entry["name"])
        kept, removed = filtered(whole, noise)
        assert 0 < len(kept) < len(whole)
        assert (entry["read"], entry["filtered"], entry["events"]) == (len(whole), removed, len(kept))
        clip = made["filtered"].file.read([number])[0].numpy()
        assert np.array_equal(clip, to_frames(kept, config(noise).frames, 3)[0])


def test_a_recording_without_anything_left_stops_or_is_counted(tmp_path):
    data = made_up.small_nmnist(tmp_path / "data")
    (data / "1.bs2").write_bytes(made_up.nmnist(count=2))
    noise = FilterConfig(background_ms=150.0)
    with pytest.raises(UserError, match=r"1\.bs2: the filters leave none of its 2 events"):
        prepare(config(noise), str(data), 3, cache_dir=str(tmp_path / "cache"))
    found = prepare(config(noise, damaged="skip"), str(data), 3, cache_dir=str(tmp_path / "cache"))
    assert "the filters leave none" in found.recordings[0]["skipped"]
    assert found.file.count == sum("skipped" not in each for each in found.recordings) < 30


def test_commands_apply_the_filters_of_a_run_and_say_so(tmp_path, capsys):
    data, run = made_up.small_nmnist(tmp_path / "data"), tmp_path / "run"
    words = ["--data-dir", str(data), "--cache-dir", str(tmp_path / "cache"), "--out", str(run)]
    words += ["--model.num-steps", "2", "--model.base-filters", "2", "--train.epochs", "1", "--train.batch-size", "10"]
    assert main(["train", "nmnist", *words, "--data.filters.background-ms", "200"]) == 0
    said = capsys.readouterr().out
    split = json.loads((run / "result.json").read_text())["split"]
    removed = split["filtered_events"]["background_ms"]
    assert split["events_read"] == 30 * 40
    assert f"filters left out {removed:,} of 1,200 events: {removed:,} by background_ms" in said
    recording_ = data / "1.bs2"
    count = filtered(parse_recording(recording_.read_bytes(), "1.bs2"), FilterConfig(background_ms=200.0))[1]
    line = f"filters left out {count['background_ms']} of 40 events"
    assert main(["predict", str(run), str(recording_)]) == 0
    assert line in capsys.readouterr().out
    assert main(["evaluate", str(run)]) == 0
    assert f"filters left out {removed:,} of 1,200 events" in capsys.readouterr().out
    picture = tmp_path / "a.png"
    words = ["data", "view", str(recording_), "--out", str(picture), "--filters.background-ms", "200"]
    assert main(words) == 0
    assert line in capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["events"] == 40 - count["background_ms"]
    assert main([*words[:-2], "--filters-of", str(run)]) == 0
    assert line in capsys.readouterr().out
    assert main([*words, "--filters-of", str(run)]) == 2
    assert "leave one of the two out" in capsys.readouterr().err
    assert main([*words[:-2], "--filters-of", "digits-t4"]) == 2
    assert "trained on digits" in capsys.readouterr().err
