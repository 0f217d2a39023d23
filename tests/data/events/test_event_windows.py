"""Windows of a recording, against a second and slower way to find them, and what is said of the events in none."""

import dataclasses
import json
import re

import made_up_sets as made_up
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sresnet.cli import main
from sresnet.config import from_dict, renamed_fields, to_dict
from sresnet.data import EventConfig, open_data
from sresnet.data.events.cache import prepare
from sresnet.data.events.frames import FrameConfig
from sresnet.data.events.parts import held
from sresnet.data.events.read import parse_recording
from sresnet.data.events.recording import Recording
from sresnet.data.events.sets import USUAL
from sresnet.data.events.windows import WindowConfig, cut, in_windows
from sresnet.errors import UserError
from sresnet.train.recipe import Recipe
from sresnet.train.recipes import RECIPES


def recording(times):
    column = np.zeros(len(times), dtype=np.uint16)
    return Recording(t=np.array(times), x=column, y=column, on=column == 0, width=1, height=1, sensor="made up")


def spans(found, config):
    return [each.span for each in cut(held(found), config).windows]


def test_windows_of_time():
    found = parse_recording(made_up.aedat2(count=2000, duration=1_000_000), "a.aedat")
    first, last = int(found.t[0]), int(found.t[-1])
    expected = [(first + n * 300_000, first + (n + 1) * 300_000) for n in range(3)]
    assert spans(found, WindowConfig(seconds=0.3)) == expected
    assert spans(found, WindowConfig(seconds=5.0)) == [(first, first + 5_000_000)]  # shorter than a window: one
    assert spans(found, WindowConfig()) == [(first, last + 1)]
    assert last < first + 1_000_000
    gap = dataclasses.replace(found, t=np.where(found.t < 500_000, 0, 999_999))
    assert spans(gap, WindowConfig(seconds=0.25)) == [(0, 250_000), (750_000, 1_000_000)]  # none without events


@given(
    times=st.lists(st.integers(0, 60), min_size=1, max_size=40),
    length=st.integers(1, 30),
    stride=st.sampled_from([0.1, 0.5, 0.7, 1.0, 1.6, 2.0]),
    origin=st.sampled_from(["first", "zero"]),
    least=st.integers(0, 4),
)
def test_windows_are_those_of_a_slower_way(times, length, stride, origin, least):
    """Which looks at every window from the first to the last event, and at every event for each."""
    times = sorted(times)
    config = WindowConfig(seconds=1e-6 * length, stride=stride, origin=origin, least_events=least)
    step, start = max(1, round(stride * length)), times[0] if origin == "first" else 0
    starts = list(range(start + (times[0] - start) // step * step, times[-1] + 1, step))
    whole = [each for each in starts if each + length <= times[-1] + 1] or starts[:1]
    inside = {each: [i for i, t in enumerate(times) if each <= t < each + length] for each in whole}
    kept = {each: found for each, found in inside.items() if found and len(found) >= least}
    found = cut(held(recording(times)), config)
    assert [each.span for each in found.windows] == [(each, each + length) for each in kept]
    assert [list(range(each.first, each.end)) for each in found.windows] == list(kept.values())
    assert found.unused == len(times) - len({i for each in kept.values() for i in each})
    assert found.few == sum(bool(each) for each in inside.values()) - len(kept)
    parts = in_windows(held(recording(times)), found.windows)
    for window, (part,) in zip(found.windows, parts, strict=True):
        assert part.t.tolist() == times[window.first : window.end]


@given(events=st.integers(1, 60), length=st.integers(1, 30), stride=st.sampled_from([0.1, 0.5, 1.0, 1.6]))
def test_windows_of_events(events, length, stride):
    found = cut(held(recording(range(events))), WindowConfig(events=length, stride=stride))
    step = max(1, round(stride * length))
    firsts = [first for first in range(0, events, step) if first + length <= events] or [0]
    assert [each.first for each in found.windows] == firsts
    assert {each.end - each.first for each in found.windows} == {min(length, events)}
    used = {i for first in firsts for i in range(first, min(first + length, events))}
    assert found.unused == events - len(used)


def test_recordings_with_too_few_events_are_left_out_and_counted():
    found = cut(held(recording([1, 2, 3])), WindowConfig(least_events=4))
    assert (found.windows, found.unused, found.few) == ((), 3, 1)
    assert len(cut(held(recording([1, 2, 3])), WindowConfig(least_events=3)).windows) == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"seconds": -0.1}, "windows.seconds -0.1 is not a length of time"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"seconds": 1e-9}, "windows.seconds 1e-09 is not a length of time"),
        ({"seconds": 1e6}, "is not a length of time"),
        ({"events": -1}, "windows.events -1 is less than 0"),
        ({"least_events": -1}, "windows.least_events -1 is less than 0"),
        ({"seconds": 0.5, "events": 10}, "windows are of 0.5 seconds and of 10 events: choose one"),
        ({"stride": 0.0}, "windows.stride 0 is outside 0.01 to 1000"),
        ({"origin": "last"}, "origin is 'last'"),
    ],
)
def test_values_out_of_range(fields, words):
    with pytest.raises(UserError, match=words):
        WindowConfig(**fields)


def test_the_former_name_means_the_same():
    recipe = RECIPES["event-folder"][1]
    old = json.loads(json.dumps(to_dict(recipe)))
    assert "windows" not in old["data"]
    old["data"]["window_seconds"] = 0.5
    found = from_dict(Recipe, old)
    assert found.data.windows == WindowConfig(seconds=0.5)
    assert from_dict(Recipe, to_dict(found)) == found
    assert to_dict(found)["data"]["windows"] == {"seconds": 0.5}
    # Numbers of version 0.2.0, with the field beside the others: runs are found again.
    assert recipe.fingerprint() == "75ef0660"
    assert found.fingerprint() == "0217f81b"
    assert renamed_fields(recipe)["data.window_seconds"] == "data.windows.seconds"
    old["data"]["windows"] = {"seconds": 0.5}
    with pytest.raises(UserError, match="'windows.seconds' and its former name 'window_seconds'"):
        from_dict(Recipe, old)
    old["data"]["windows"] = 3
    with pytest.raises(UserError, match="has no field 'window_seconds'|expected an object"):
        from_dict(Recipe, old)


def test_clips_are_the_windows(tmp_path):
    """Of events and of time, each with its own frames."""
    data = made_up.small_nmnist(tmp_path / "data")
    for config, steps in ((WindowConfig(events=15), 3), (WindowConfig(seconds=0.1, stride=0.5), 2)):
        options = dataclasses.replace(USUAL["nmnist"], windows=config)
        found = prepare(options, str(data), steps, cache_dir=str(tmp_path / "cache"))
        frames, at = found.file.read(list(range(found.file.count))), 0
        for entry in found.recordings:
            whole = parse_recording((data / entry["name"]).read_bytes(), entry["name"])
            windows = cut(held(whole), config).windows
            assert entry["clips"] == len(windows) > 1
            counts = [window.end - window.first for window in windows]
            assert frames[at : at + len(windows)].flatten(1).sum(1).tolist() == counts
            at += len(windows)
            assert entry["of_events"] == len(whole) == 40
            assert entry["unused"] == cut(held(whole), config).unused
        assert at == found.file.count


def folder(root):
    """Two classes of ten recordings, 40 events in a tenth of a second each."""
    for label, name in enumerate(("cat", "dog")):
        for index in range(10):
            made_up.put(root / name / f"{name}_{index}.aedat", made_up.aedat2(seed=100 * label + index))
    return root


def test_what_windows_leave_out_is_said_and_stands_in_the_result(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "data")
    words = "--data-dir data --cache-dir cache --data.windows.events 15 --data.windows.least-events 15".split()
    assert main(["data", "prepare", "event-folder", *words, "--num-steps", "2"]) == 0
    said = capsys.readouterr().out
    line = "windows: 25.0 % of all events, 200, lie in none, at most 25.0 % of a recording (cat/cat_0.aedat)"
    assert line in said
    small = "--model.num-steps 2 --model.base-filters 2 --model.depth 8 --train.epochs 1 --out run".split()
    assert main(["train", "event-folder", *words, *small]) == 0
    assert line in capsys.readouterr().out
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    expected = {"events": 200, "of": 800, "most": 0.25, "recording": "cat/cat_0.aedat", "windows": 0}
    assert result["split"]["unused"] == expected
    assert main(["predict", "run", "data/cat/cat_0.aedat"]) == 0
    short = made_up.put(tmp_path / "short.aedat", made_up.aedat2(count=9))
    capsys.readouterr()
    assert main(["predict", "run", str(short)]) == 2
    assert "has 9 events, and the run was trained on 15 or more in each window" in capsys.readouterr().err


def test_windows_with_few_events_are_said(tmp_path, capsys):
    folder(tmp_path / "data")
    words = ["--data-dir", str(tmp_path / "data"), "--cache-dir", str(tmp_path / "cache"), "--num-steps", "2"]
    options = "--data.window-seconds 0.01 --data.windows.least-events 4".split()
    assert main(["data", "prepare", "event-folder", *words, *options]) == 0
    said = capsys.readouterr().out
    config = WindowConfig(seconds=0.01, least_events=4)
    found = [
        cut(held(parse_recording(path.read_bytes(), path.name)), config)
        for path in (tmp_path / "data").rglob("*.aedat")
    ]
    few = sum(each.few for each in found)
    assert few
    assert f"{few:,} windows with fewer events than 4 are left out" in said
    assert main(["data", "prepare", "event-folder", *words, *options[:-1], "9999"]) == 2
    wanted = r"can be used: the first, \S+: each of its \d+ windows has fewer events than 9,999, so ask for fewer"
    assert re.search(wanted, capsys.readouterr().err)


def test_frames_of_an_earlier_version_did_not_count_it(tmp_path):
    """Which is said, as no number may stand for what is not known."""
    config = EventConfig(
        name="event-folder", split="random90", frames=FrameConfig(size=32), windows=WindowConfig(seconds=0.03)
    )
    options = {"seed": 0, "num_steps": 2, "cache_dir": str(tmp_path / "cache")}
    splits = open_data(config, str(folder(tmp_path / "data")), **options)
    assert splits.about["unused"]["events"] > 0
    (path,) = (tmp_path / "cache").glob("*.json")
    about = json.loads(path.read_text())
    del about["checksum"]
    for entry in about["recordings"]:
        for name in ("of_events", "unused", "few"):
            del entry[name]
    path.write_text(json.dumps(about))
    splits = open_data(config, str(tmp_path / "data"), **options)
    assert splits.about["unused"] is None
    assert any("did not count the events that lie in no window" in note for note in splits.notes)
