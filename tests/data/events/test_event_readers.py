"""Files written record by record come back as they were written; damage is named, or left out and counted."""

import struct
import sys
from pathlib import Path

import made_up_events as made_up
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sresnet.data.events.chips import Sensor, given_chip
from sresnet.data.events.columns import ReadConfig, _longest_in_order
from sresnet.data.events.read import EXTENSIONS, parse_recording, read_recording
from sresnet.errors import UserError

SOME = made_up.events()
# Other records that the writers put into a file of SOME.
ALONGSIDE = {
    "davis.aedat": {"frame": 24, "imu": 12, "trigger": 12},
    "three.aedat": {"special": 1, "imu": 6},
    "four.aedat4": {"imu packet": 3},
}
SENSORS = {
    "dvs128.aedat": ("DVS128", 128, 128),
    "davis.aedat": ("DAVIS240", 240, 180),
    "three.aedat": ("DVS128", 128, 128),
    "four.aedat4": ("DVXplorer", 34, 34),
    "nmnist.bin": ("N-MNIST", 34, 34),
    "prophesee.dat": ("Prophesee", 304, 240),
    "two.raw": ("Prophesee", 304, 240),
    "two-one.raw": ("Prophesee", 304, 240),
    "three.raw": ("Prophesee", 304, 240),
}


def listed(recording):
    columns = (recording.t, recording.x, recording.y, recording.on)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def needs_decoder(name):
    if name.endswith("4"):
        pytest.importorskip("lz4")


@pytest.mark.parametrize("name", made_up.FILES)
def test_what_was_written_is_read(name):
    needs_decoder(name)
    recording = parse_recording(made_up.FILES[name](SOME), name)
    assert listed(recording) == SOME
    assert (recording.sensor, recording.width, recording.height) == SENSORS[name]
    assert recording.skipped == ALONGSIDE.get(name, {})
    assert [column.dtype for column in (recording.t, recording.x, recording.y, recording.on)] == [
        np.int64,
        np.uint16,
        np.uint16,
        np.bool_,
    ]
    assert recording.seconds == pytest.approx(1100e-6)


times = st.lists(st.integers(0, 2**23 // 300), min_size=1, max_size=300).map(lambda steps: np.cumsum(steps).tolist())
pixels = st.tuples(st.integers(0, 33), st.integers(0, 33), st.booleans())


@pytest.mark.parametrize("name", made_up.FILES)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_events_survive_writing_and_reading(name, data):
    needs_decoder(name)
    drawn = [(t, *data.draw(pixels)) for t in data.draw(times)]
    assert listed(parse_recording(made_up.FILES[name](drawn), name)) == drawn


@pytest.mark.parametrize("count", [1, 16383, 16384, 16385, 40_000])
def test_blocks_join_without_a_seam(count):
    """The reader of AEDAT 2.0 goes through a file in blocks of 16,384 records."""
    many = made_up.events(count, width=128, height=128, step=3)
    assert listed(parse_recording(made_up.aedat2(many), "x.aedat")) == many
    wide = made_up.events(count, width=240, height=180, step=3)
    recording = parse_recording(made_up.aedat2_davis(wide), "x.aedat")
    assert listed(recording) == wide
    assert recording.skipped == {"frame": 2 * count, "imu": count, "trigger": count}


def test_corners_of_the_sensor():
    """jAER: x counts from the right, y from the bottom; bit 0 of a DVS128 is 0 for ON, bit 11 of a DAVIS 1."""
    word = struct.pack(">II", 0, 1)
    assert listed(parse_recording(made_up.DVS128 + word, "x.aedat")) == [(1, 127, 127, True)]
    assert listed(parse_recording(made_up.DAVIS240 + word, "x.aedat")) == [(1, 239, 179, False)]
    word = struct.pack(">II", 127 << 8 | 127 << 1 | 1, 1)
    assert listed(parse_recording(made_up.DVS128 + word, "x.aedat")) == [(1, 0, 0, False)]
    word = struct.pack(">II", 179 << 22 | 239 << 12 | 1 << 11, 1)
    assert listed(parse_recording(made_up.DAVIS240 + word, "x.aedat")) == [(1, 0, 0, True)]


def test_synchronisation_pulses_of_a_dvs128_are_no_events():
    pulses = struct.pack(">IIII", 0x8000, 3, 0x80000001, 4)
    recording = parse_recording(made_up.aedat2(SOME) + pulses, "x.aedat")
    assert (listed(recording), recording.skipped) == (SOME, {"trigger": 2})


def test_the_camera_is_told_by_the_header_or_the_option():
    plain = made_up.aedat2_davis(SOME).removeprefix(made_up.DAVIS240)
    named = made_up.DVS128 + plain
    for raw, chip in ((named, "DAVIS240C"), (named, "eu.seebetter.ini.chips.davis.DAVIS240C"), (plain, "davis240")):
        # Without any header, only an address of a DVS128 tells the format.
        magic = b"" if raw is named else b"#!AER-DAT2.0\r\n"
        recording = parse_recording(magic + raw, "x.aedat", ReadConfig(chip=chip))
        assert listed(recording) == SOME
    with pytest.raises(UserError, match="off the sensor"):
        parse_recording(named, "x.aedat")
    with pytest.raises(UserError, match="option chip names the camera 'Kodak'.*DVS128"):
        parse_recording(named, "x.aedat", ReadConfig(chip="Kodak"))
    with pytest.raises(UserError, match="header of x.aedat names the camera 'a.b.Kodak 3'"):
        parse_recording(b"#!AER-DAT2.0\r\n# AEChip: a.b.Kodak 3\r\n", "x.aedat")
    wide = made_up.aedat3(made_up.events(width=346), source=b"DAVIS346Cbsi")
    assert parse_recording(wide, "x.aedat").width == 346
    assert (
        parse_recording(made_up.aedat3(SOME, source=b"Kodak"), "x.aedat", ReadConfig(chip="DVS128")).sensor == "DVS128"
    )


def test_a_header_is_whole_lines_of_text():
    assert listed(parse_recording(made_up.aedat2(SOME, header=b""), "x.aedat")) == SOME
    assert listed(parse_recording(made_up.aedat2(SOME, header=b"# only a comment\n"), "x.aedat")) == SOME
    # The first byte of this address is that of "#", and a line feed follows.
    word = ord("#") << 24 | 10
    raw = made_up.DAVIS240.removesuffix(b"#End Of ASCII Header\r\n") + struct.pack(">II", word, 1)
    assert listed(parse_recording(raw, "x.aedat")) == [(1, 239, 179 - (word >> 22), False)]
    # Behind the line that ends the header, even text is events.
    raw = made_up.DAVIS240 + b"#Aaade\r\n"
    assert parse_recording(raw, "x.aedat").t.tolist() == [int.from_bytes(b"de\r\n", "big")]


@pytest.mark.parametrize(
    ("name", "period"),
    [("a.aedat", 1 << 31), ("a.aedat", 1 << 32), ("a.bin", 1 << 23), ("a.dat", 1 << 32)],
)
def test_time_goes_on_where_a_clock_wraps(name, period):
    straight = made_up.events(12, start=period - 450)
    wrapped = [(t % period, *rest) for t, *rest in straight]
    writer = {"a.aedat": made_up.aedat2, "a.bin": made_up.nmnist, "a.dat": made_up.prophesee}[name]
    assert listed(parse_recording(writer(wrapped), name)) == straight
    twice = [(t + period, *rest) for t, *rest in straight]
    wrapped += [(period // 2, *SOME[0][1:]), *wrapped]
    assert listed(parse_recording(writer(wrapped), name)) == [
        *straight,
        (period + period // 2, *SOME[0][1:]),
        *twice,
    ]


def test_the_overflows_of_aedat3_and_the_long_time_of_aedat4():
    late = made_up.events(start=2**31 - 450)
    assert listed(parse_recording(made_up.aedat3(late), "x.aedat")) == late
    pytest.importorskip("lz4")
    late = made_up.events(start=1_605_537_493_718_345)
    assert listed(parse_recording(made_up.aedat4(late), "x.aedat4")) == late


def test_overflow_records_of_ncaltech():
    """Row 240 adds 2^13 microseconds to all that follows."""
    raw = made_up.nmnist([*SOME[:6], (600, 0, 240, False), *SOME[6:]])
    recording = parse_recording(raw, "x.bin")
    assert listed(recording) == SOME[:6] + [(t + 8192, *rest) for t, *rest in SOME[6:]]
    assert recording.skipped == {"overflow": 1}


def test_the_smallest_sensor_that_holds_nearly_all():
    wide = made_up.events(width=200, height=180)
    assert parse_recording(made_up.nmnist(wide), "x.bin").sensor == "ATIS"
    old = b"% Version 2\n"
    for width, sensor in ((120, "N-CARS"), (304, "ATIS"), (640, "Prophesee VGA"), (1280, "Prophesee HD")):
        many = made_up.events(400, width=width, height=100)
        assert parse_recording(made_up.prophesee(many, header=old), "x.dat").sensor == sensor


def test_an_event_may_begin_like_a_header():
    """N-Caltech101: column 37 and row 32 are the bytes of "% "."""
    first = [(5, 37, 32, True), *made_up.events(width=200, height=180)]
    assert listed(parse_recording(made_up.nmnist(first), "x.bin")) == first


def test_prophesee_before_version_2():
    words = b"".join(struct.pack("<II", t, on << 17 | y << 9 | x) for t, x, y, on in SOME)
    assert listed(parse_recording(b"% Version 1\n\x00\x08" + words, "x.dat")) == SOME


def test_invalid_events_of_aedat3_are_counted():
    raw = made_up.aedat3(SOME)
    raw += made_up.aedat3_packet(1, [made_up.aedat3_event(5000, 1, 1, True, valid=0)])
    assert parse_recording(raw, "x.aedat").skipped == {"special": 1, "imu": 6, "invalid": 1}


# ---------------------------------------------------------------------------------------------------------------------
# Damage. The byte at which event `index` of a file begins, by kind of file:
FIRST_BYTE = {
    "dvs128.aedat": lambda index: len(made_up.DVS128) + 8 * index,
    "davis.aedat": lambda index: len(made_up.DAVIS240) + 40 * index,
    "nmnist.bin": lambda index: 5 * index,
    "prophesee.dat": lambda index: len(made_up.prophesee([])) + 8 * index,
    # Header, a special packet of one event; packets of five events, each followed by two of 36 bytes.
    "three.aedat": lambda index: (
        made_up.aedat3(SOME).index(b"END-HEADER\r\n") + 12 + 36 + index // 5 * (28 + 40 + 28 + 72) + 28 + index % 5 * 8
    ),
    # That of its packet: five events, followed by a packet of 4 bytes.
    "four.aedat4": lambda index: len(made_up.aedat4([])) + index // 5 * (8 + 36 + 80 + 12),
}


@pytest.mark.parametrize("name", FIRST_BYTE)
def test_a_step_back_in_time(name):
    needs_decoder(name)
    wrong = list(SOME)
    wrong[7] = (3, *SOME[7][1:])
    raw = made_up.FILES[name](wrong)
    at = FIRST_BYTE[name](7)
    with pytest.raises(UserError, match=f"{name}: time goes back from 605 to 3 microseconds at event 7, byte {at:,}:"):
        parse_recording(raw, name)
    recording = parse_recording(raw, name, ReadConfig(damaged="skip"))
    assert listed(recording) == SOME[:7] + SOME[8:]
    assert recording.skipped == ALONGSIDE.get(name, {}) | {"back in time": 1}


@pytest.mark.parametrize("name", made_up.FILES)
def test_of_events_out_of_order_the_fewest_are_left_out(name):
    """A time that is far too late is one event too many, not all that come after it."""
    needs_decoder(name)
    wrong = list(SOME)
    wrong[2] = (2_000_000, *SOME[2][1:])
    recording = parse_recording(made_up.FILES[name](wrong), name, ReadConfig(damaged="skip"))
    assert listed(recording) == SOME[:2] + SOME[3:]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("dvs128.aedat", None),
        ("davis.aedat", None),
        ("three.aedat", (128, 5)),
        ("four.aedat4", (34, 0)),
        ("nmnist.bin", (34, 3)),
        ("prophesee.dat", (3, 240)),
    ],
)
def test_an_address_off_the_sensor(name, place):
    needs_decoder(name)
    many = made_up.events(120)
    wrong = list(many)
    if place:
        wrong[7] = (many[7][0], *place, many[7][3])
    raw = made_up.FILES[name](wrong)
    at = FIRST_BYTE[name](7)
    if not place:  # bits that a DVS128 never sets, a row that a DAVIS has not
        word = 1 << 16 if name == "dvs128.aedat" else 300 << 22
        raw = raw[:at] + struct.pack(">I", word) + raw[at + 4 :]
    with pytest.raises(UserError, match=f"{name}: the address of event 7 at byte {at:,} is off the sensor"):
        parse_recording(raw, name)
    recording = parse_recording(raw, name, ReadConfig(damaged="skip"))
    assert listed(recording) == many[:7] + many[8:]
    assert recording.skipped["off the sensor"] == 1


def test_both_kinds_of_damage_at_once():
    wrong = made_up.events(120)
    wrong[50] = (wrong[50][0], 40, 3, True)
    wrong[60] = (1, *wrong[60][1:])
    recording = parse_recording(made_up.nmnist(wrong), "x.bin", ReadConfig(damaged="skip"))
    assert recording.skipped == {"off the sensor": 1, "back in time": 1}
    assert len(recording) == 118


@pytest.mark.parametrize("name", FIRST_BYTE)
def test_a_file_that_is_cut_short(name):
    needs_decoder(name)
    raw = made_up.FILES[name](SOME)
    cut = FIRST_BYTE[name](10) + 3
    kind = "packet" if name in ("three.aedat", "four.aedat4") else "record"
    start = {"three.aedat": FIRST_BYTE["three.aedat"](10) - 28}.get(name, FIRST_BYTE[name](10))
    if name == "davis.aedat":
        start = cut - 3
    with pytest.raises(
        UserError, match=f"{name} ends at byte {cut:,}, inside the {kind} that starts at byte {start:,}:"
    ):
        parse_recording(raw[:cut], name)
    recording = parse_recording(raw[:cut], name, ReadConfig(damaged="skip"))
    assert listed(recording) == SOME[:10]
    assert recording.skipped[f"incomplete {kind}"] == 1


def test_a_cut_packet_of_aedat3_gives_its_whole_events():
    raw = made_up.aedat3(SOME)[: FIRST_BYTE["three.aedat"](8) + 3]
    assert listed(parse_recording(raw, "x.aedat", ReadConfig(damaged="skip"))) == SOME[:8]


def test_packets_that_cannot_be():
    start = FIRST_BYTE["three.aedat"](5) - 28
    raw = bytearray(made_up.aedat3(SOME))
    raw[start + 4 : start + 8] = struct.pack("<i", -8)
    with pytest.raises(UserError, match=f"the packet at byte {start:,} has 5 events of -8 bytes"):
        parse_recording(bytes(raw), "x.aedat")
    recording = parse_recording(bytes(raw), "x.aedat", ReadConfig(damaged="skip"))
    assert listed(recording) == SOME[:5]
    assert recording.skipped["damaged bytes"] == len(raw) - start
    for size in (0, -36):  # of a packet that is only counted; going back by so much would never end
        raw = made_up.aedat3(SOME) + made_up.aedat3_packet(3, [bytes(36)])
        start = len(raw) - 64
        raw = raw[: start + 4] + struct.pack("<i", size) + raw[start + 8 :]
        with pytest.raises(UserError, match=f"the packet at byte {start:,} has 1 events of {size} bytes"):
            parse_recording(raw, "x.aedat")
    pytest.importorskip("lz4")
    start = FIRST_BYTE["four.aedat4"](5)
    raw = bytearray(made_up.aedat4(SOME))
    raw[start : start + 4] = struct.pack("<i", 9)
    with pytest.raises(UserError, match=f"the packet at byte {start:,} is of stream 9"):
        parse_recording(bytes(raw), "x.aedat4")
    assert listed(parse_recording(bytes(raw), "x.aedat4", ReadConfig(damaged="skip"))) == SOME[:5]


def test_a_packet_of_aedat4_that_does_not_decode():
    pytest.importorskip("lz4")
    start = FIRST_BYTE["four.aedat4"](5)
    raw = bytearray(made_up.aedat4(SOME))
    raw[start + 8 : start + 40] = bytes(32)
    with pytest.raises(UserError, match=f"x.aedat4: the packet at byte {start:,} does not decode"):
        parse_recording(bytes(raw), "x.aedat4")
    recording = parse_recording(bytes(raw), "x.aedat4", ReadConfig(damaged="skip"))
    assert listed(recording) == SOME[:5] + SOME[10:]
    assert recording.skipped == {"imu packet": 3, "damaged packet": 1}


@pytest.mark.parametrize("t", [-1, -(1 << 63), 1 << 62])
def test_times_of_aedat4_that_cannot_be(t):
    pytest.importorskip("lz4")
    wrong = [*SOME[:6], (t, *SOME[6][1:]), *SOME[7:]]
    at = FIRST_BYTE["four.aedat4"](6)
    with pytest.raises(UserError, match=f"x.aedat4: event 6, in the packet at byte {at:,}, is at {t:,} microseconds"):
        parse_recording(made_up.aedat4(wrong), "x.aedat4")
    recording = parse_recording(made_up.aedat4(wrong), "x.aedat4", ReadConfig(damaged="skip"))
    assert listed(recording) == SOME[:6] + SOME[7:]
    assert recording.skipped == {"imu packet": 3, "impossible time": 1}


@pytest.mark.parametrize("name", made_up.PACKERS)
def test_aedat4_without_what_unpacks_it(monkeypatch, name):
    compression, pack = made_up.PACKERS[name]
    monkeypatch.setitem(sys.modules, {"lz4": "lz4.frame"}.get(name, name), None)
    with pytest.raises(UserError, match=rf"need the package {name}.*pip install 'sresnet\[events\]'"):
        parse_recording(made_up.aedat4_packed([pack(made_up.aedat4_events(SOME))], compression), "x.aedat4")
    assert listed(parse_recording(made_up.aedat4(SOME), "x.aedat4")) == SOME


def test_a_header_of_aedat4_that_cannot_be_read():
    good = made_up.aedat4(SOME)
    for wrong, fault in (
        (good[:40], "ends at byte 40"),
        (good.replace(b"<dv", b"<!d"), "document type"),
        (good.replace(b"</dv>", b"</vd>"), "mismatched tag"),
        (good.replace(b"<dv ", b"<\xff\xfe "), "its XML is not UTF-8"),
        (good.replace(b'sizeX" type="int">34', b'sizeX" type="int">00'), "0x34 pixels"),
        (good[:18] + b"\xff\xff\xff\x7f" + good[22:], "a place that it names is beyond its end"),
        (good[:14], "it ends at byte 14"),
        (good[:16], "it ends at byte 16"),
        (good[:14] + b"\3\0\0\0" + good[18:], "a place that it names is beyond its end"),
        (good.replace(b'sizeX" type="int">34', b'sizeX" type="int">3x'), "its XML has '3x' for a number"),
    ):
        with pytest.raises(UserError, match=f"x.aedat4 has a header that cannot be read \\(.*{fault}"):
            parse_recording(wrong, "x.aedat4")
    with pytest.raises(UserError, match="has no stream of events"):
        parse_recording(good.replace(b">EVTS<", b">EVTX<"), "x.aedat4")


@pytest.mark.parametrize("name", made_up.FILES)
def test_no_events(name):
    needs_decoder(name)
    with pytest.raises(UserError, match="no (polarity )?events"):
        parse_recording(made_up.FILES[name]([]) or b"", name) if name != "nmnist.bin" else parse_recording(
            made_up.nmnist([(5, 0, 240, False)]), name
        )


@pytest.mark.parametrize(
    ("raw", "name", "message"),
    [
        (b"", "x.bin", "x.bin is empty"),
        (b"#!AER-DAT1.0\r\n", "x.aedat", "is AEDAT '1.0', which is not read: convert"),
        (b"#!AER-DAT3.0\r\n", "x.aedat", "is AEDAT '3.0'"),
        (b"PK\x03\x04", "x.aedat", "begins with b'PK"),
        (b"\x89PNG", "x.png", "is not an event file"),
        (b"% Version 2\n", "x.dat", "ends inside its header"),
        (
            b"% Version 2",
            "x.dat",
            r"begins with b'% Version 2', where a .dat file of Prophesee has lines % ... or bytes",
        ),
        (b"t,x,y,p\n1,2,3,1\n", "x.dat", "begins with b't,x,y,p.n1,2,'.*if it is of another kind, convert it"),
        (b"% Version 2\n\x28\x08", "x.dat", "events of type 0x28 and 8 bytes"),
        (b"#!AER-DAT3.1\r\n#Format: RAW\r\n", "x.aedat", "has no line #!END-HEADER"),
        (b"#!AER-DAT3.1\r\n#Format: Compressed\r\n#!END-HEADER\r\n", "x.aedat", "format 'Compressed'"),
        (b"#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n", "x.aedat", "no polarity events"),
    ],
)
def test_what_is_no_recording(raw, name, message):
    with pytest.raises(UserError, match=message):
        parse_recording(raw, name)


def test_files_on_the_disk(tmp_path):
    path = tmp_path / "a.bs2"
    path.write_bytes(made_up.nmnist(SOME))
    assert listed(read_recording(path)) == SOME
    with pytest.raises(UserError, match="none.bin cannot be read"):
        read_recording(tmp_path / "none.bin")
    with pytest.raises(UserError, match="cannot be read"):
        read_recording(tmp_path)
    assert {Path(name).suffix for name in made_up.FILES} <= set(EXTENSIONS)


@given(st.lists(st.integers(0, 30), max_size=9))
def test_longest_in_order_against_all_choices(values):
    kept = _longest_in_order(np.array(values, dtype=np.int64)).tolist()
    assert kept == sorted(set(kept))
    chosen = [values[index] for index in kept]
    assert chosen == sorted(chosen)
    best = 0
    for choice in range(1 << len(values)):
        some = [value for index, value in enumerate(values) if choice >> index & 1]
        if some == sorted(some):
            best = max(best, len(some))
    assert len(kept) == best


def test_a_packet_of_aedat4_with_a_place_beyond_its_end():
    body = bytearray(made_up.aedat4_events(SOME))
    body[4:8] = b"\xff\xff\xff\x7f"
    raw = made_up.aedat4_header(34, 34) + np.array([0, len(body)], "<i4").tobytes() + bytes(body)
    with pytest.raises(UserError, match=r"does not decode \(a place that it names is beyond its end\)"):
        parse_recording(raw, "x.aedat4")


@pytest.mark.parametrize("chip", ["640x480", "640X480", "640×480", " 640 * 480 "])
def test_a_size_may_be_written_in_several_ways(chip):
    assert given_chip(chip) == Sensor("sensor", 640, 480)


@pytest.mark.parametrize("chip", ["640", "640 480", "0x480", "NOSUCH"])
def test_what_is_no_camera_and_no_size_is_told_of_sizes(chip):
    with pytest.raises(UserError, match="such as 640x480"):
        given_chip(chip)


@pytest.mark.parametrize("name", made_up.FILES)
def test_off_a_sensor_that_was_given_the_option_is_to_be_checked(name):
    raw = made_up.FILES[name](SOME)
    fault = r"is off the sensor \(\w+, 2x2\): check --chip 2x2, which says so, or leave out what is damaged"
    with pytest.raises(UserError, match=fault):
        parse_recording(raw, name, ReadConfig(chip="2x2"))


def test_off_a_sensor_that_the_file_says_it_is_to_be_had_again():
    raw = made_up.aedat4([*SOME, (9_000_000, 40, 3, True)])
    with pytest.raises(UserError, match="is off the sensor .*: get the file again, or leave out"):
        parse_recording(raw, "x.aedat4")
