"""Recordings in chunks are the recordings cut into parts, and take no more memory where the file is longer."""

import random
import re
import tracemalloc
from functools import partial

import made_up_events as made_up
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_event_readers import SOME, listed

from sresnet.cli import main
from sresnet.data import EventConfig
from sresnet.data.events import columns
from sresnet.data.events.columns import ReadConfig
from sresnet.data.events.describe import describe_file
from sresnet.data.events.read import parse_recording, read_chunks, read_recording
from sresnet.errors import UserError
from sresnet.files import FileContent


def joined(chunks):
    """(events, what was left out, sizes) of chunks."""
    events, skipped, sizes = [], {}, []
    for chunk in chunks:
        events += listed(chunk)
        sizes.append(len(chunk))
        for kind, count in chunk.skipped.items():
            skipped[kind] = skipped.get(kind, 0) + count
    return events, skipped, sizes


def outcome(call):
    """(what a call gives, the message of its UserError)."""
    try:
        return call(), ""
    except UserError as error:
        return None, str(error)


@pytest.mark.parametrize("name", made_up.FILES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_chunks_are_the_recording_cut_into_parts(name, data, tmp_path_factory):
    damage = data.draw(st.sampled_from(["none", "time", "address", "cut"]))
    drawn = made_up.events(data.draw(st.integers(1, 90)), width=30, height=30, step=data.draw(st.integers(0, 90)))
    place = data.draw(st.integers(0, len(drawn) - 1))
    if damage == "time":
        drawn[place] = (data.draw(st.integers(0, 9000)), *drawn[place][1:])
    if damage == "address":
        drawn[place] = (drawn[place][0], 33, 33, True)
    raw = made_up.FILES[name](drawn)
    if damage == "cut":
        raw = raw[: -data.draw(st.integers(1, 9))]
    path = tmp_path_factory.mktemp("chunks") / name
    path.write_bytes(raw)
    count, block = data.draw(st.integers(1, 99)), data.draw(st.sampled_from([1, 3, 16, 1 << 16]))
    how = {"damaged": data.draw(st.sampled_from(["error", "skip"])), "chip": data.draw(st.sampled_from(["", "32x32"]))}
    before, columns.BLOCK = columns.BLOCK, block
    try:
        whole, refused = outcome(lambda: parse_recording(raw, str(path), ReadConfig(**how)))
        if refused:
            assert outcome(lambda: list(read_chunks(path, count, ReadConfig(**how))))[1] == refused
            return
        events, skipped, sizes = joined(read_chunks(path, count, ReadConfig(**how)))
        assert listed(read_recording(path, ReadConfig(**how))) == listed(whole)
    finally:
        columns.BLOCK = before
    assert events == listed(whole)
    assert skipped == whole.skipped
    assert sizes == [count] * (len(whole) // count) + [len(whole) % count] * (len(whole) % count > 0)


def peak(call):
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["a.dat", "a.aedat", "two.raw", "three.raw", "four.aedat4"])
def test_memory_does_not_grow_with_the_recording(tmp_path, name):
    draw = np.random.default_rng(0)
    count = 300_000

    def write(times):
        t, pixel = np.arange(times * count, dtype=np.uint32), draw.integers(0, 30, times * count, dtype=np.uint32)
        pairs = np.stack([t, pixel], 1)
        packet = made_up.aedat4_events([(5, 1, 2, True)] * 1000)
        words = np.stack([0x6000 | t * 0, pixel, 0x2000 | pixel], 1).astype("<u2")
        content = {
            "a.dat": lambda: made_up.prophesee([]) + pairs.tobytes(),
            "a.aedat": lambda: made_up.DVS128 + pairs[:, ::-1].astype(">u4").tobytes(),
            "two.raw": lambda: made_up.evt2([]) + b"\0\0\0\x80" + (pixel << 11 | pixel).tobytes(),
            "three.raw": lambda: made_up.evt3([]) + b"\0\x80" + words.tobytes(),
            "four.aedat4": lambda: made_up.aedat4_packed([packet] * (times * count // 1000), 0),
        }[name]
        path = tmp_path / f"{times}-{name}"
        path.write_bytes(content())
        return path

    def walk(path):
        assert sum(len(chunk) for chunk in read_chunks(path, 50_000, ReadConfig(chip="128x128"))) % count == 0

    short, long = (peak(partial(walk, path)) for path in (write(1), write(4)))
    assert long < 1.2 * short
    assert long < 9 << 20


def test_info_walks_chunks(tmp_path, monkeypatch):
    path = tmp_path / "x.dat"
    path.write_bytes(made_up.prophesee(made_up.events(500, width=300, height=200)))
    whole = describe_file(path)
    monkeypatch.setattr("sresnet.data.events.read.finish", None)
    monkeypatch.setattr("sresnet.data.events.read.read_chunks.__defaults__", (7,))
    assert describe_file(path) == whole


def test_a_count_that_is_none(tmp_path):
    (tmp_path / "x.bin").write_bytes(made_up.nmnist(SOME))
    with pytest.raises(UserError, match="count 0 is less than 1: give the number of events"):
        next(read_chunks(tmp_path / "x.bin", 0))


def test_a_file_that_becomes_shorter_while_it_is_read(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(bytes(range(100)))
    content = FileContent(path)
    assert (len(content), content[10:13], content[98:200], content[50:40]) == (100, b"\n\x0b\x0c", b"bc", b"")
    path.write_bytes(bytes(50))
    with pytest.raises(UserError, match="became shorter while it was read"):
        content[40:60]
    content.close()


# AEDAT 4.0


def two_streams():
    raw = made_up.aedat4_header(34, 34).replace(b">IMUS<", b">EVTS<")
    other = [(t + 1, 3, 4, True) for t, *_ in SOME]
    for number, some in ((0, SOME[:5]), (2, other), (0, SOME[5:])):
        body = made_up.aedat4_events(some)
        raw += np.array([number, len(body)], "<i4").tobytes() + body
    return raw, other


def test_of_two_streams_of_events_one_is_chosen_in_a_folder(tmp_path, capsys):
    raw, _ = two_streams()
    (tmp_path / "a.aedat4").write_bytes(raw)
    words = ["data", "info", str(tmp_path), "--event-stream", "2", "--num-steps", "2"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert f"events: {len(SOME):,}; least" in said
    assert "unreadable: 0" in said
    assert re.search(r"^frames: .*\b1 clips?\b", said, re.M), said


def test_of_two_streams_of_events_one_is_chosen_for_a_network(tmp_path, capsys):
    raw, _ = two_streams()
    for number, place in enumerate(("train/a", "train/b", "test/a", "test/b")):
        (tmp_path / "data" / place).mkdir(parents=True)
        header = made_up.aedat4_header(34, 34)
        body = made_up.aedat4_events([(t + number, x, y, on) for t, x, y, on in SOME])
        content = header + np.array([0, len(body)], "<i4").tobytes() + body
        (tmp_path / "data" / place / "1.aedat4").write_bytes(content)
    (tmp_path / "two.aedat4").write_bytes(raw)
    words = "--model.base-filters 2 --model.num-steps 2 --model.depth 8 --train.epochs 1 --data.frames.size 8".split()
    place = ["--data-dir", str(tmp_path / "data"), "--out", str(tmp_path / "run"), "--cache-dir", str(tmp_path / "c")]
    assert main(["train", "event-folder", "--device", "cpu", *place, *words]) == 0
    predict = ["predict", str(tmp_path / "run"), str(tmp_path / "two.aedat4")]
    for more in ([], ["--stream", "1us"]):
        assert main([*predict, *more]) == 2
        assert "choose one with --event-stream" in capsys.readouterr().err
        assert main([*predict, *more, "--event-stream", "1"]) == 2
        assert "is none of" in capsys.readouterr().err
        assert main([*predict, *more, "--data.event-stream", "2"]) == 0
    assert main([*predict, "--event-stream", "two"]) == 2
    assert "event-stream 'two' is no number of a stream" in capsys.readouterr().err


def test_of_two_streams_of_events_one_is_chosen(tmp_path):
    raw, other = two_streams()
    with pytest.raises(UserError, match=r"events of several streams \(0: DVXplorer, 2: DVXplorer\): choose one with"):
        parse_recording(raw, "x.aedat4")
    assert listed(parse_recording(raw, "x.aedat4", ReadConfig(event_stream=0))) == SOME
    recording = parse_recording(raw, "x.aedat4", ReadConfig(event_stream=2))
    assert (listed(recording), recording.skipped) == (other, {"event packet of another stream": 2})
    with pytest.raises(UserError, match="event-stream 1 is none of x.aedat4's streams of events: choose from 0, 2"):
        parse_recording(raw, "x.aedat4", ReadConfig(event_stream=1))


@pytest.mark.parametrize("chosen", [0, 1, 7])
def test_files_without_several_streams_are_read_whichever_is_chosen(chosen, tmp_path, capsys):
    several, _ = two_streams()
    files = {"x.bin": made_up.nmnist(SOME), "x.dat": made_up.prophesee(SOME), "one.aedat4": made_up.aedat4(SOME)}
    for name, raw in files.items():
        assert listed(parse_recording(raw, name, ReadConfig(event_stream=chosen))) == SOME
        (tmp_path / name).write_bytes(raw)
    (tmp_path / "two.aedat4").write_bytes(several)
    assert main(["data", "info", str(tmp_path), "--event-stream", str(chosen)]) == 0
    said = capsys.readouterr().out
    assert f"recordings: {3 + (chosen == 0)} in" in said
    assert ("event-stream 7 is none of" in said) == (chosen == 7)


@pytest.mark.parametrize("number", [-2, -5])
def test_no_stream_has_a_negative_number(number, tmp_path, capsys):
    fault = f"event-stream {number} is no number of a stream: give 0 or more, or leave it out"
    with pytest.raises(UserError, match=fault):
        parse_recording(made_up.aedat4(SOME), "x.aedat4", ReadConfig(event_stream=number))
    with pytest.raises(UserError, match=fault):
        EventConfig(event_stream=number)
    (tmp_path / "x.bin").write_bytes(made_up.nmnist(SOME))
    camera = ["--event-stream", str(number)]
    for words in (
        ["data", "info", str(tmp_path), *camera],
        ["data", "view", str(tmp_path / "x.bin"), "--out", str(tmp_path / "x.png"), *camera],
        ["data", "prepare", "event-folder", "--data-dir", str(tmp_path), *camera],
        ["train", "event-folder", "--data-dir", str(tmp_path), "--data.event-stream", str(number)],
    ):
        assert main(words) == 2
        said = capsys.readouterr()
        assert (said.err, said.out) == (f"sresnet: {fault}\n", "")


def test_packets_out_of_order():
    many = made_up.events(400, width=34)
    parts = [many[at : at + 10] for at in range(0, 400, 10)]
    rng = random.Random(0)
    for _ in range(20):
        order = sorted(range(len(parts)), key=lambda index: index + rng.uniform(0, 8))
        raw = made_up.aedat4_packed([made_up.aedat4_events(parts[index]) for index in order], 0)
        assert listed(parse_recording(raw, "x.aedat4")) == many
    raw = made_up.aedat4_packed([made_up.aedat4_events(part) for part in [*parts[1:], parts[0]]], 0)
    with pytest.raises(UserError, match="time goes back"):
        parse_recording(raw, "x.aedat4")
    # Packets that overlap are no matter of order.
    raw = made_up.aedat4_packed([made_up.aedat4_events(part) for part in (many[0:20:2], many[1:20:2])], 0)
    with pytest.raises(UserError, match="time goes back"):
        parse_recording(raw, "x.aedat4")


def test_frames_beside_events_and_packets_of_no_events():
    raw = made_up.aedat4_header(34, 34).replace(b">IMUS<", b">FRME<")
    frame = np.arange(34 * 34, dtype="<u2").tobytes()
    for number, body in ((2, frame), (0, made_up.aedat4_events(SOME)), (2, frame), (0, made_up.aedat4_events([]))):
        raw += np.array([number, len(body)], "<i4").tobytes() + body
    recording = parse_recording(raw, "x.aedat4")
    assert (listed(recording), recording.skipped) == (SOME, {"frame packet": 2})
