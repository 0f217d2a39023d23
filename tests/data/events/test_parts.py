"""Recordings gone through in parts: the same windows, filters, frames and pictures as of the whole in memory."""

import tracemalloc
from dataclasses import replace

import made_up_events as made_up
import made_up_sets
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_frames import recordings

from sresnet.cli import main
from sresnet.data.events import columns, read, source
from sresnet.data.events import parts as parts_module
from sresnet.data.events.cache import prepare
from sresnet.data.events.columns import ReadConfig
from sresnet.data.events.filters import FilterConfig, filtered, left_by
from sresnet.data.events.frames import FrameConfig, clips_of, to_frames
from sresnet.data.events.parts import between, gone_through, held, in_time
from sresnet.data.events.read import read_recording
from sresnet.data.events.sets import USUAL
from sresnet.data.events.source import Source, _Onward, readers, recording_in
from sresnet.data.events.view import _animate
from sresnet.data.events.windows import WindowConfig, cut
from sresnet.errors import UserError


@pytest.fixture(autouse=True)
def nothing_is_held(monkeypatch):
    """As of recordings that are too long for it, or files too long to be read at once."""
    monkeypatch.setattr(parts_module, "HELD", 0)
    monkeypatch.setattr(source, "_SHORT", 100)


def in_parts(recording, seed):
    """The recording cut at random places, some of them the same: parts without events too."""
    draw = np.random.default_rng(seed)
    edges = [0, *np.sort(draw.integers(0, len(recording) + 1, draw.integers(0, 7))).tolist(), len(recording)]
    return gone_through(lambda: (between(recording, *pair) for pair in zip(edges[:-1], edges[1:], strict=True)))


window_configs = st.one_of(
    st.builds(
        WindowConfig,
        seconds=st.sampled_from([0.0, 3e-6, 1e-4, 1e-3]),
        stride=st.sampled_from([0.1, 0.5, 1.0, 2.5]),
        origin=st.sampled_from(["first", "zero"]),
        least_events=st.sampled_from([0, 3]),
    ),
    st.builds(WindowConfig, events=st.integers(1, 90), stride=st.sampled_from([0.1, 0.5, 1.0, 2.5])),
)
frame_configs = st.one_of(
    st.builds(
        FrameConfig,
        by=st.sampled_from(["time", "count", "whole"]),
        counts=st.sampled_from(["exact", "saturate"]),
        size=st.sampled_from([0, 1]),
    ),
    st.builds(FrameConfig, representation=st.sampled_from(["voxel", "surface"]), size=st.sampled_from([0, 1])),
)


@given(
    recording=recordings,
    seed=st.integers(0, 1000),
    config=window_configs,
    frames=frame_configs,
    num_steps=st.integers(1, 9),
    repeat=st.sampled_from([1, 1, 300]),
)
@settings(max_examples=120, deadline=None)
def test_clips_of_parts_are_those_of_the_whole(recording, seed, config, frames, num_steps, repeat):
    """`repeat`: so many events at a pixel and step that counts are widened, or saturate."""
    columns = {name: np.repeat(getattr(recording, name), repeat) for name in ("t", "x", "y", "on")}
    whole = replace(recording, **columns)
    windows = cut(held(whole), config).windows
    parts = in_parts(whole, seed)
    assert cut(parts, config) == cut(held(whole), config)
    found = list(clips_of(parts, windows, frames, num_steps, memory_limit=1))
    assert len(found) == len(windows)
    for window, (clip, saturated) in zip(windows, found, strict=True):
        some = between(whole, window.first, window.end)
        expected, lost = to_frames(some, frames, num_steps, span=window.span if config.seconds else None)
        assert clip.dtype == expected.dtype
        assert np.array_equal(clip, expected)
        assert saturated == lost


@given(
    recording=recordings,
    seed=st.integers(0, 1000),
    hot=st.sampled_from([0.0, 1.0, 2.0]),
    rest=st.sampled_from([0.0, 0.002, 1.0]),
    background=st.sampled_from([0.0, 0.002, 6.0]),
)
@settings(max_examples=80, deadline=None)
def test_what_filters_leave_of_parts_is_what_they_leave_of_the_whole(recording, seed, hot, rest, background):
    config = FilterConfig(hot_pixels=hot, refractory_ms=rest, background_ms=background)
    expected, removed = filtered(recording, config)
    parts = in_parts(recording, seed)
    if not len(expected):
        with pytest.raises(UserError, match=f"x: the filters leave none of its {len(recording):,} events"):
            left_by(parts, config, "x")
        return
    kept, found = left_by(parts, config, "x")
    assert found == removed
    assert len(kept) == len(expected)
    for name in ("t", "x", "y", "on"):
        assert np.array_equal(getattr(kept.whole(), name), getattr(expected, name))


@given(recording=recordings, seed=st.integers(0, 1000), window=st.sampled_from([0, 7, 900]))
@settings(max_examples=40, deadline=None)
def test_pictures_of_parts_are_those_of_the_whole(recording, seed, window):
    pytest.importorskip("PIL.Image")
    found, expected = (_animate(each, frames=3, window=window) for each in (in_parts(recording, seed), held(recording)))
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))


def test_no_events_are_no_recording():
    nothing = replace(made_recording(), **{name: np.zeros(0, np.int64) for name in ("t", "x", "y", "on")})
    assert gone_through(lambda: iter([nothing])) is None
    assert gone_through(lambda: iter([])) is None


def made_recording():
    return read.parse_recording(made_up_sets.aedat2(count=500), "a.aedat")


def test_a_file_that_changes_between_two_passes_is_noticed(tmp_path):
    path = tmp_path / "a.aedat"
    for other in (made_up_sets.aedat2(count=500), made_up_sets.aedat2(count=700), made_up_sets.aedat2(count=500)[:-8]):
        path.write_bytes(made_up_sets.aedat2(count=600))
        recording = recording_in(path, ReadConfig())
        path.write_bytes(other)
        with pytest.raises(UserError, match="a recording of 600 events had [4567]"):
            list(recording)
        with pytest.raises(UserError, match="leave its file alone"):
            list(
                clips_of(
                    recording, cut(held(made_recording()), WindowConfig()).windows, FrameConfig(), 2, memory_limit=1
                )
            )


@pytest.mark.parametrize("name", ["a.aedat", "a.dat", "a.raw"])
def test_files_are_gone_through_again_and_again(tmp_path, name, monkeypatch):
    monkeypatch.setattr(read, "CHUNK", 64)
    write = {"a.aedat": made_up.aedat2, "a.dat": made_up.prophesee, "a.raw": made_up.evt3}[name]
    path = tmp_path / name
    path.write_bytes(write(made_up.events(1000)))
    whole, found = read_recording(path), recording_in(path, ReadConfig())
    for _ in range(2):
        again = found.whole()
        for column in ("t", "x", "y", "on"):
            assert np.array_equal(getattr(again, column), getattr(whole, column))
    assert (found.first, found.last, len(found)) == (whole.t[0], whole.t[-1], 1000)


def test_frames_of_files_read_in_chunks_are_those_of_files_read_at_once(tmp_path, monkeypatch):
    """Folders, zip files and the rows of lists, with filters and windows; a cache of the one is found by the other."""
    made_up_sets.official_nmnist(tmp_path / "folders")
    made_up_sets.zipped(tmp_path / "folders", tmp_path / "zips")
    spans = [(f"folders/Train/{digit}/00001.bin", digit, *span) for digit in (1, 2) for span in ((0, 0.1), (0.1, 9))]
    rows = [f"{file},{digit},{start},{stop},{'train' if start else 'test'}" for file, digit, start, stop in spans]
    head = "file,label,start_seconds,stop_seconds,split"
    (tmp_path / "list.csv").write_text("\n".join([head, *rows]), encoding="utf-8")
    noise = FilterConfig(refractory_ms=1.0, hot_pixels=20.0)
    windows = WindowConfig(events=15, stride=0.5)
    for data, config in (("folders", USUAL["nmnist"]), ("zips", USUAL["nmnist"]), ("list.csv", USUAL["event-folder"])):
        config = replace(config, frames=FrameConfig(size=17), filters=noise, windows=windows)
        made = {}
        for chunk in (1 << 20, 7):
            monkeypatch.setattr(read, "CHUNK", chunk)
            monkeypatch.setattr(source, "_SHORT", 100 if chunk == 7 else 1 << 20)
            made[chunk] = prepare(config, str(tmp_path / data), 3, cache_dir=str(tmp_path / f"cache{chunk}"))
        one, other = made.values()
        assert one.file.count == other.file.count > 3
        assert torch.equal(one.file.read(range(one.file.count)), other.file.read(range(other.file.count)))
        assert (one.recordings, one.contents) == (other.recordings, other.contents)


def test_memory_does_not_grow_with_the_length_of_a_recording(tmp_path, monkeypatch):
    """But for the million bytes in which a header is looked for. The events of 180,000 more would take 2,340,000."""
    monkeypatch.setattr(read, "CHUNK", 1000)
    monkeypatch.setattr(columns, "BLOCK", 1000)
    peaks = {}
    for count in (20_000, 200_000):
        folder = tmp_path / str(count)
        for start, name in enumerate(("train/one", "train/two", "test/one", "test/two")):
            events = made_up.events(count, 128, 128, step=5, start=start)
            made_up_sets.put(folder / name / "1.aedat", made_up.aedat2(events))
        for kind, words in {
            "whole": [],
            "windows": ["--data.windows.seconds", "0.05", "--data.windows.stride", "0.5"],
            "filters": ["--data.filters.refractory-ms", "0.1", "--data.filters.hot-pixels", "30"],
        }.items():
            tracemalloc.start()
            words = [
                "--data-dir",
                str(folder),
                "--cache-dir",
                str(tmp_path / "cache" / kind),
                "--num-steps",
                "2",
                *words,
            ]
            assert main(["data", "prepare", "event-folder", *words]) == 0
            peaks[kind, count] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    for kind in ("whole", "windows", "filters"):
        assert peaks[kind, 200_000] < peaks[kind, 20_000] + 1_300_000, kind


def test_a_file_whose_bytes_change_between_two_passes_is_noticed(tmp_path):
    """Though it has as many events as before, to the same microsecond."""
    path, source_ = tmp_path / "a.aedat", Source(name="a.aedat", class_name="a", path=tmp_path / "a.aedat")
    path.write_bytes(made_up_sets.aedat2(count=600))
    read_source, _ = readers(ReadConfig())
    recording, _ = read_source(source_)
    assert len(list(recording)) == 1
    path.write_bytes(bytes([*made_up_sets.aedat2(count=600)[:-5], 1, *made_up_sets.aedat2(count=600)[-4:]]))
    with pytest.raises(UserError, match=r"a.aedat has changed while it was read: leave the file alone"):
        list(recording)


def test_events_behind_the_last_window_that_were_not_there_are_noticed(tmp_path, monkeypatch):
    passes = []

    def chunks(data, name, config):
        passes.append(name)
        parts = list(read.chunks_of(data, name, config))
        # The second pass is that in which clips are made.
        yield from parts * (2 if passes.count(name) == 2 else 1)

    for name in ("train/one", "train/two", "test/one", "test/two"):
        made_up_sets.put(tmp_path / "data" / name / "1.aedat", made_up_sets.aedat2(count=60, seed=len(name)))
    monkeypatch.setattr(source, "chunks_of", chunks)
    with pytest.raises(UserError, match=r"1.aedat: a recording of 60 events had 120 when it was read again"):
        prepare(USUAL["event-folder"], str(tmp_path / "data"), 2, cache_dir=str(tmp_path / "cache"))


moments = st.one_of(st.none(), st.integers(-4, 9))


@given(
    gaps=st.lists(st.sampled_from([0, 0, 1]), min_size=9, max_size=30),
    seed=st.integers(0, 1000),
    spans=st.lists(st.tuples(moments, moments, st.sampled_from([False, False, True])), min_size=3, max_size=12),
)
@settings(max_examples=200, deadline=None)
def test_stretches_of_a_recording_in_any_order(gaps, seed, spans):
    """Each is what lies in it, whichever was asked for before, and where one was not gone through to its end."""
    t = np.cumsum(gaps) - 3
    some = np.arange(len(t), dtype=np.uint16)
    whole = replace(made_recording(), t=t, x=some % 128, y=some % 128, on=some % 2 > 0)
    onward = _Onward(in_parts(whole, seed))
    for start, stop, broken_off in spans:
        found = onward.events(start, stop)
        if broken_off:
            next(found, None)
            continue
        found = list(found)
        low, high = (-9 if start is None else start), (99 if stop is None else stop)
        expected = in_time(whole, low, max(low, high))
        assert [*(row for part in found for row in zip(part.t, part.x, strict=True))] == [
            *zip(expected.t, expected.x, strict=True)
        ]


def test_many_rows_of_a_list_in_the_order_of_time_are_one_pass_over_their_file(tmp_path, monkeypatch):
    """Behind the first, in which its first event is found."""
    passes = []
    monkeypatch.setattr(read, "CHUNK", 7)
    monkeypatch.setattr(source, "chunks_of", lambda *words: [passes.append(0), read.chunks_of(*words)][1])
    monkeypatch.setattr(parts_module, "HELD", 100)
    path = tmp_path / "a.bin"
    path.write_bytes(made_up.nmnist(made_up.events(800, 30, 30, step=100)))
    read_source, _ = readers(ReadConfig())
    rows = [
        Source(name=str(number), class_name="", path=path, span=(4000 * number, 4000 * number + 3900))
        for number in range(20)
    ]
    found = [read_source(row)[0].whole() for row in rows]
    assert sum(map(len, found)) > 700
    assert len(passes) == 2


@pytest.mark.parametrize("field", ["hot_pixels", "refractory_ms", "background_ms"])
def test_filters_ask_before_they_take_memory_for_a_sensor_that_a_file_claims(field):
    large = replace(held(made_recording()), width=30_000, height=30_000)
    with pytest.raises(UserError, match=r"x claims [\d.]+ GB of memory for filters on a sensor of 30000x30000 pixels"):
        left_by(large, FilterConfig(**{field: 5.0}), "x")
    assert left_by(large, FilterConfig(), "x") == (large, {})
