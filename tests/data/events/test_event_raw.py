"""Prophesee's .raw files against a state machine that reads them word by word, and what their owners complain of."""

import itertools
import struct

import made_up_events as made_up
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_event_readers import SOME, listed

from sresnet.data.events import columns
from sresnet.data.events.columns import ReadConfig
from sresnet.data.events.read import parse_recording, read_recording
from sresnet.errors import UserError

HEADER = made_up.raw_header("EVT3").replace(b"304", b"2048").replace(b"240", b"2048")


def three(words, header=HEADER, **options):
    return parse_recording(header + struct.pack(f"<{len(words)}H", *words), "x.raw", ReadConfig(**options))


def slowly(words):
    """(events, what is left out) of words of EVT 3.0, one after the other."""
    high = low = row = base = None
    loops = 0
    events, skipped = [], dict.fromkeys(("before the first time", "without an address"), 0)
    for word in words:
        kind, value = word >> 12, word & 0xFFF
        if kind == 0:
            row = value & 0x7FF
        elif kind == 6:
            low = value
        elif kind == 8:
            if high is not None:
                loops += high >= 4096 - 256 and value < 256
            if value != high:
                low = 0
            high = value
        elif kind == 3:
            base, polarity = value & 0x7FF, value >> 11
        elif kind in (2, 4, 5):
            bits = {2: 1, 4: 12, 5: 8}[kind]
            pixels = [each for each in range(bits) if value >> each & 1] if kind != 2 else [0]
            if high is None:
                skipped["before the first time"] += len(pixels)
            elif row is None or (kind != 2 and base is None):
                skipped["without an address"] += len(pixels)
            else:
                start, on = (value & 0x7FF, value >> 11) if kind == 2 else (base, polarity)
                t = ((loops << 12 | high) << 12) + (low or 0)
                events += [(t, start + each, row, bool(on)) for each in pixels]
            if kind != 2 and base is not None:
                base += bits
        else:
            name = {0xA: "trigger", 0x7: "other word", 0xE: "other word", 0xF: "other word"}.get(kind, "unknown word")
            skipped[name] = skipped.get(name, 0) + 1
    return events, {kind: count for kind, count in skipped.items() if count}


kinds = st.sampled_from([0, 2, 2, 2, 3, 4, 4, 5, 6, 6, 8, 8, 0xA, 0xE, 1, 7, 9, 0xB, 0xF])
values = st.one_of(st.integers(0, 30), st.integers(4000, 4095), st.integers(0, 4095))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(kinds, values).map(lambda pair: pair[0] << 12 | pair[1]), max_size=60), st.data())
def test_any_words_of_evt3_are_read_as_one_by_one(words, data):
    block = data.draw(st.sampled_from([1, 2, 3, 7, 1 << 16]))
    expected, skipped = slowly(words)
    before, columns.BLOCK = columns.BLOCK, block
    inside = [event for event in expected if event[1] < 2048]
    off = len(expected) - len(inside)
    try:
        if not inside:
            with pytest.raises(UserError, match="no events"):
                three(words, damaged="skip")
            return
        found = three(words, damaged="skip")
    finally:
        columns.BLOCK = before
    if any(after[0] < event[0] for event, after in itertools.pairwise(inside)):
        assert found.skipped["back in time"] == len(inside) - len(found)
        assert set(listed(found)) <= set(inside)
    else:
        assert listed(found) == inside
        assert found.skipped == skipped | ({"off the sensor": off} if off else {})


def test_a_vector_goes_on_behind_other_words():
    words = [0x8000, 5, 0x3000 | 1 << 11 | 40, 0x4001, 0x6007, 0xA001, 0x4800, 0x8000, 0x5081, 0x2003, 0x5001]
    assert listed(three(words)) == [
        (0, 40, 5, True),
        (7, 40 + 12 + 11, 5, True),
        (7, 40 + 24, 5, True),
        (7, 40 + 24 + 7, 5, True),
        (7, 3, 5, False),
        (7, 40 + 32, 5, True),
    ]


def test_what_cannot_be_placed_is_counted():
    recording = three([0x2001, 5, 0x2002, 0x4007, 0x8001, 0x4003, 0x2009])
    assert listed(recording) == [(4096, 9, 5, False)]
    assert recording.skipped == {"before the first time": 5, "without an address": 2}
    with pytest.raises(UserError, match="x.raw holds no events \\(but 1 x before the first time\\)"):
        three([0x2001])
    head = made_up.raw_header("EVT2")
    words = [
        5 << 22 | 7 << 11 | 8,
        8 << 28 | 3,
        1 << 28 | 4 << 22 | 9 << 11 | 10,
        0xA << 28,
        0xE << 28,
        0xF << 28,
        2 << 28,
    ]
    recording = parse_recording(head + struct.pack("<7I", *words), "x.raw")
    assert listed(recording) == [(3 << 6 | 4, 9, 10, True)]
    assert recording.skipped == {"before the first time": 1, "trigger": 1, "other word": 2, "unknown word": 1}


@pytest.mark.parametrize("high", [0, 1])
def test_the_lower_time_before_the_first_upper_one_is_of_another(high):
    words = [0x6000 | 4000, 5, 0x2001, 0x8000 | high, 0x2002, 0x6007, 0x2003]
    assert [event[0] - (high << 12) for event in listed(three(words))] == [0, 7]


def test_a_clock_that_wraps_and_one_that_falls_back():
    words = [5, 0x8000 | 4095, 0x2001, 0x8000, 0x2002, 0x6009, 0x2003]
    assert [event[0] for event in listed(three(words))] == [4095 << 12, 1 << 24, (1 << 24) + 9]
    back = [5, 0x8000 | 900, 0x2001, 0x8000 | 100, 0x2002]
    with pytest.raises(UserError, match="goes back from 3,686,400 to 409,600 microseconds at event 1, byte"):
        three(back)
    assert three([*back, 0x8000 | 101, 0x2003], damaged="skip").skipped == {"back in time": 1}
    late = [(t, 1, 1, True) for t in ((1 << 34) - 5, 1 << 34, (1 << 34) + 70)]
    for write in (made_up.evt2, made_up.evt21):
        assert listed(parse_recording(write(late), "x.raw")) == late


def test_time_between_two_events_may_be_longer_than_the_clock_of_evt3():
    """Words of time go on coming; a wrap is seen in them, not in the events."""
    times = range(0, 40_000_000, 100_000)
    words = [3, 0x2001, *(0x8000 | t >> 12 & 0xFFF for t in times), 0x2002]
    found = three([3, 0x8000, *words])
    assert [event[0] for event in listed(found)] == [0, times[-1] >> 12 << 12]


def test_both_orders_of_evt21():
    for some in (SOME, made_up.events(5000, width=300, height=200, step=3)):
        whole = made_up.evt21(some, legacy=True)
        assert listed(parse_recording(whole, "x.raw")) == some
        for raw in (whole, made_up.evt21(some)):
            for said in (b"endianness=legacy;", b"% format EVT21;height=240;width=304\n"):
                raw = raw.replace(said, b"")
            # Without a word on the order, the words show it.
            assert listed(parse_recording(raw, "x.raw", ReadConfig(chip="304x240"))) == some
    word = struct.pack("<II", 0, 8 << 28) + struct.pack("<II", 0b1001, 1 << 28 | 3 << 22 | 64 << 11 | 9)
    recording = parse_recording(made_up.raw_header("EVT21") + word, "x.raw")
    assert listed(recording) == [(3, 64, 9, True), (3, 67, 9, True)]


def test_the_size_is_the_headers_or_the_hand_s():
    plain = b"% evt 3.0\n"
    for header, size in (
        (made_up.raw_header("EVT3"), (304, 240)),
        (plain + b"% geometry 346x260\n", (346, 260)),
        (plain, (640, 480)),
    ):
        recording = parse_recording(made_up.evt3(SOME, header), "x.raw")
        assert (recording.width, recording.height) == size
        recording = parse_recording(made_up.evt3(SOME, header), "x.raw", ReadConfig(chip="320x320"))
        assert (recording.sensor, recording.width, recording.height) == ("Prophesee", 320, 320)
    wide = [(t, x + 700, y, on) for t, x, y, on in SOME]
    assert parse_recording(made_up.evt3(wide, plain), "x.raw").width == 1280
    for wrong in ("0x5", "640x", "99999x9"):
        with pytest.raises(UserError, match=f"(chip|camera) '{wrong}'"):
            parse_recording(made_up.evt3(SOME), "x.raw", ReadConfig(chip=wrong))


@pytest.mark.parametrize("name", ["x.aedat", "x.bin", "x.dat", "x.raw", "x.aedat4"])
def test_a_size_given_by_hand_for_every_format(name):
    write = {"x.aedat": made_up.aedat2, "x.bin": made_up.nmnist, "x.dat": made_up.prophesee, "x.raw": made_up.evt3}
    recording = parse_recording(write.get(name, made_up.aedat4)(SOME), name, ReadConfig(chip="128x128"))
    assert (recording.width, recording.height, len(recording)) == (128, 128, len(SOME))


def test_the_encoding_is_told_by_the_header_whatever_the_ending():
    for write in (made_up.evt2, made_up.evt21, made_up.evt3):
        assert listed(parse_recording(write(SOME), "x.dat")) == SOME
    assert listed(parse_recording(made_up.prophesee(SOME), "x.raw", ReadConfig(chip="640x480"))) == SOME
    assert listed(parse_recording(made_up.evt2(SOME, b"% Date today \n% evt 2.0 \n"), "x.raw")) == SOME
    for header, fault in (
        (b"", "has no header line that says its encoding"),
        (b"% date x\n", "has no header line"),
        (b"% evt 4.0\n", "encoding 'EVT 4.0', which is not read: record it, or convert it, as one of EVT 2.0"),
        (b"% format HISTO3D;height=5\n", "encoding 'HISTO3D'"),
    ):
        with pytest.raises(UserError, match=fault):
            parse_recording(made_up.evt2(SOME, header), "x.raw")
    with pytest.raises(UserError, match="holds no events"):
        parse_recording(made_up.evt3([]), "x.raw")


def test_a_last_word_that_is_cut():
    for write, size in ((made_up.evt2, 4), (made_up.evt21, 8), (made_up.evt3, 2)):
        raw = write(SOME)
        with pytest.raises(UserError, match=f"ends at byte {len(raw) - 1:,}, inside the word that starts at byte"):
            parse_recording(raw[:-1], "x.raw")
        recording = parse_recording(raw[:-1], "x.raw", ReadConfig(damaged="skip"))
        assert (listed(recording), recording.skipped) == (SOME[:-1], {"incomplete word": 1})
        assert len(raw) % size == len(write([])) % size


@pytest.mark.parametrize("encoding", ["evt2", "evt3", "dat"])
def test_files_of_an_independent_writer(tmp_path, encoding):
    expelliarmus = pytest.importorskip("expelliarmus")
    draw = np.random.default_rng(0)
    events = np.zeros(100_000, dtype=[("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "u1")])
    # That writer's EVT 3.0 gives the upper part of the time once only.
    events["t"] = np.sort(draw.integers(0, 4096 if encoding == "evt3" else 2_000_000_000, len(events)))
    events["x"], events["y"] = draw.integers(0, 1280, len(events)), draw.integers(0, 720, len(events))
    events["p"] = draw.integers(0, 2, len(events))
    path = tmp_path / f"a.{'dat' if encoding == 'dat' else 'raw'}"
    expelliarmus.Wizard(encoding=encoding).save(fpath=path, arr=events)
    recording = read_recording(path)
    for mine, theirs in (("t", "t"), ("x", "x"), ("y", "y"), ("on", "p")):
        assert np.array_equal(getattr(recording, mine), events[theirs])
    assert (recording.width, recording.height, recording.skipped) == (1280, 720, {})
