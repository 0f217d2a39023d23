"""Real recordings, which the repository does not hold: every event counted, and decoded, a second and slower way.

They are looked for in ../shared/data/events beside the checkout; without them these tests are skipped.
"""

import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

from sresnet.data.events.read import read_recording
from sresnet.errors import UserError

FILES = Path(__file__).parents[3].parent / "shared" / "data" / "events"

pytestmark = pytest.mark.skipif(not FILES.is_dir(), reason="no real recordings beside this checkout")


def listed(recording):
    columns = (recording.t, recording.x, recording.y, recording.on)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def records(raw):
    """(address, time) of AEDAT 2.0, one after the other."""
    at = 0
    while raw[at : at + 1] == b"#":
        at = raw.index(b"\n", at) + 1
    return struct.iter_unpack(">II", raw[at:])


def dvs128(raw):
    return [(t, 127 - (a >> 1) % 128, 127 - (a >> 8) % 128, a % 2 == 0) for a, t in records(raw)]


def davis240(raw):
    return [(t, 239 - (a >> 12) % 1024, 179 - (a >> 22), (a >> 11) % 2 == 1) for a, t in records(raw) if a < 1 << 31]


def nmnist(raw):
    rows = struct.iter_unpack(">BBBH", raw)
    return [(high % 128 * 65536 + low, x, y, high > 127) for x, y, high, low in rows]


def prophesee(raw):
    body = raw[raw.rindex(b"\n% ") :].partition(b"\n% ")[2].partition(b"\n")[2][2:]
    return [(t, a % 16384, (a >> 14) % 16384, a >> 28 == 1) for t, a in struct.iter_unpack("<II", body)]


def aedat4(raw):
    """Events of an LZ4 file; where its packets end is a number in its header."""
    at = 18 + struct.unpack_from("<I", raw, 14)[0]
    (end,) = struct.unpack_from("<q", raw, 18 + 36)
    events = []
    while at < end:
        stream, size = struct.unpack_from("<ii", raw, at)
        if stream == 0:
            table = lz4(raw[at + 8 : at + 8 + size])
            root = 4 + struct.unpack_from("<I", table, 4)[0]
            slots = root - struct.unpack_from("<i", table, root)[0]
            vector = root + struct.unpack_from("<H", table, slots + 4)[0]
            vector += struct.unpack_from("<I", table, vector)[0]
            (count,) = struct.unpack_from("<I", table, vector)
            events += struct.iter_unpack("<qhh?3x", table[vector + 4 : vector + 4 + 16 * count])
        at += 8 + size
    return events


def lz4(frame):
    """One LZ4 frame, byte by byte as its description says."""
    magic, flags, _ = struct.unpack_from("<IBB", frame)
    assert magic == 0x184D2204
    at, out = 7 + 8 * (flags >> 3 & 1), bytearray()
    while (size := struct.unpack_from("<I", frame, at)[0]) != 0:
        at += 4
        block = frame[at : at + size % (1 << 31)]
        at += len(block) + 4 * (flags >> 4 & 1)
        if size >> 31:
            out += block
            continue
        place = 0
        while place < len(block):
            token = block[place]
            place += 1
            literals, place = length(token >> 4, block, place)
            out += block[place : place + literals]
            place += literals
            if place == len(block):
                break
            back = block[place] + 256 * block[place + 1]
            matched, place = length(token & 15, block, place + 2)
            for _ in range(matched + 4):
                out.append(out[-back])
    return bytes(out)


def length(short, block, place):
    if short == 15:
        while True:
            short += block[place]
            place += 1
            if block[place - 1] != 255:
                break
    return short, place


# Sensor, events, ON events, first event; counted by the loops above, which share nothing with the readers.
SINGLE = [
    ("mnist-dvs/mnist_0_scale04_0001.aedat", dvs128, "DVS128", 15_744, 7_870, (0, 55, 60, True), {}),
    ("mnist-dvs/mnist_0_scale04_0001_qt1.aedat", dvs128, "DVS128", 1_782, 943, (0, 55, 60, True), {}),
    ("mnist-dvs/mnist_0_scale08_0001_qt1.aedat", dvs128, "DVS128", 5_078, 2_734, (0, 59, 88, False), {}),
    ("mnist-dvs/mnist_0_scale16_0001_qt1.aedat", dvs128, "DVS128", 11_209, 5_858, (0, 37, 104, True), {}),
    ("fixtures/foam90.aedat", dvs128, "DVS128", 1_575, 1_247, (2_693_326_797, 112, 55, True), {}),
    (
        "fixtures/davis240_IMU_translBoxes.aedat",
        davis240,
        "DAVIS240",
        162_771,
        82_944,
        (294_976_755, 83, 143, False),
        {"imu": 196_608 - 162_771},
    ),
    ("fixtures/tonic_sample_nmnist.bin", nmnist, "N-MNIST", 4_325, 2_145, (654, 7, 15, True), {}),
    ("fixtures/tonic_sample_ncars.dat", prophesee, "N-CARS", 2_009, 1_350, (0, 25, 8, False), {}),
    (
        "fixtures/tonic_sample.aedat4",
        aedat4,
        "DVXplorer",
        111_954,
        55_023,
        (1_605_537_493_718_345, 154, 204, False),
        {"imu packet": 59},
    ),
]


@pytest.mark.parametrize(("path", "slowly", "sensor", "count", "on", "first", "skipped"), SINGLE)
def test_every_event_of_a_real_file(path, slowly, sensor, count, on, first, skipped):
    if path.endswith("4"):
        pytest.importorskip("lz4")
    recording = read_recording(FILES / path)
    expected = slowly((FILES / path).read_bytes())
    assert listed(recording) == expected
    assert (len(expected), sum(event[3] for event in expected), expected[0]) == (count, on, first)
    assert (recording.sensor, recording.skipped) == (sensor, skipped)
    assert (np.diff(recording.t) >= 0).all()
    assert int(recording.x.max()) < recording.width
    assert int(recording.y.max()) < recording.height


def test_a_real_file_without_events():
    with pytest.raises(UserError, match="tonic_sample_aedat_header.aedat holds no events"):
        read_recording(FILES / "fixtures" / "tonic_sample_aedat_header.aedat")


def unpacked(archive, folder):
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder


def test_hand_held_objects(tmp_path):
    """BioLab: 4.6 million events of a DVS128 in 14 files, which stand upright."""
    unpacked(FILES / "biolab-dvs128-objects.tar.xz", tmp_path)
    counts = {}
    for path in sorted(tmp_path.rglob("*.aedat")):
        recording = read_recording(path)
        raw = path.read_bytes()
        assert 8 * len(recording) == len(raw) - raw.index(b"#End Of ASCII Header\r\n") - 22
        assert recording.skipped == {}
        assert recording.sensor == "DVS128"
        counts[f"{path.parent.name}/{path.stem}"] = len(recording)
        if path.stem == "Caneca":
            assert listed(recording) == dvs128(raw)
        if path.parent.name == "session_A_DataSet2" and path.stem == "Caneca":
            # A mug: its rim reaches further to the left than its bottom; on the right is its handle.
            x, y = recording.x[60_000:68_000], recording.y[60_000:68_000]
            rim, bottom = (np.percentile(x[(y >= top) & (y < top + 10)], 10) for top in (25, 88))
            assert rim < bottom - 6
    assert counts == {
        "session_A_DataSet2/Caixa": 201_523,
        "session_A_DataSet2/Caneca": 351_217,
        "session_A_DataSet2/Celular": 307_531,
        "session_A_DataSet2/Estilete": 314_257,
        "session_A_DataSet2/Lapiseira": 126_164,
        "session_A_DataSet2/Mouse": 293_096,
        "session_A_DataSet2/Tesoura": 143_655,
        "session_B_100/Caixa": 374_039,
        "session_B_100/Caneca": 518_133,
        "session_B_100/Cubo": 494_435,
        "session_B_100/Estilete": 413_436,
        "session_B_100/Estilete_1": 408_860,
        "session_B_100/Lapiseira": 249_545,
        "session_B_100/Tesoura": 263_941,
    }


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return unpacked(FILES / "nmnist-small" / "NMNISTsmall_bs2.tar.xz", tmp_path_factory.mktemp("nmnist"))


def test_eleven_hundred_digits(digits):
    paths = sorted(digits.rglob("*.bs2"))
    events = on = 0
    for index, path in enumerate(paths):
        recording = read_recording(path)
        assert 5 * len(recording) == path.stat().st_size
        assert (recording.width, recording.height, recording.skipped) == (34, 34, {})
        if index % 100 == 0:
            assert listed(recording) == nmnist(path.read_bytes())
        events += len(recording)
        on += int(recording.on.sum())
    assert (len(paths), events, on) == (1100, 4_518_827, 2_250_078)


def test_digits_stand_upright(digits):
    """A seven has its bar on top, and its stem goes down to the left."""
    (labels,) = digits.rglob("train1K.txt")
    rows = [line.split() for line in labels.read_text().splitlines()[1:]]
    picture = np.zeros((34, 34))
    for number, digit in rows[:300]:
        if digit == "7":
            recording = read_recording(labels.parent / f"{number}.bs2")
            np.add.at(picture, (recording.y, recording.x), 1)
    bar, stem = (part.sum(0) / part.sum() for part in (picture[6:14], picture[20:28]))
    assert (bar**2).sum() < 0.8 * (stem**2).sum()
    assert bar @ np.arange(34) > stem @ np.arange(34)
