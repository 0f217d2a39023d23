"""Events that programs store as arrays: NumPy, MATLAB and HDF5, whatever the columns are called and their types."""

import importlib.util
import io
import pickle
import re
import struct
import sys
import zipfile

import made_up_ecf
import made_up_events as made_up
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_event_readers import SOME, listed

from sresnet.cli import main
from sresnet.data.events import ecf
from sresnet.data.events.columns import ReadConfig
from sresnet.data.events.describe import describe_file
from sresnet.data.events.read import parse_recording, read_chunks, read_recording
from sresnet.errors import UserError

MANY = made_up.events(700, width=120, height=100, step=37)
T, X, Y, P = (np.array(column) for column in zip(*MANY, strict=True))


def npy(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def npz(compressed=False, **arrays):
    content = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(content, **arrays)
    return content.getvalue()


def structured(names="txyp", types=("<i8", "<u2", "<u2", "?"), columns=(T, X, Y, P)):
    array = np.zeros(len(columns[0]), dtype=list(zip(names, types, strict=True)))
    for name, column in zip(names, columns, strict=True):
        array[name] = column
    return array


def mat(**variables):
    scipy_io = pytest.importorskip("scipy.io")
    content = io.BytesIO()
    scipy_io.savemat(content, variables, do_compression=True)
    return content.getvalue()


def hdf5(tmp_path, write):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        write(file)
    return path


@pytest.mark.parametrize(
    ("names", "types"),
    [
        ("txyp", ("<i8", "<u2", "<u2", "?")),
        (("timestamp", "x", "y", "polarity"), ("<u8", ">i2", "<i4", "<u4")),
        (("ts", "X", "Y", "Pol"), (">u4", "<f4", "<f8", "<i1")),
        (("time", "col", "row", "on"), ("<f8", "<u1", "<u1", "<f4")),
        (("t", "x", "y", "p"), ("<m8[us]", "<u2", "<u2", "<u1")),
    ],
)
def test_structured_arrays_of_any_spelling_and_type(names, types):
    assert listed(parse_recording(npy(structured(names, types)), "x.npy")) == MANY
    assert listed(parse_recording(npz(compressed=True, events=structured(names, types), label=3), "x.npz")) == MANY


@pytest.mark.parametrize(
    "polarity",
    [
        P.astype(np.int8) * 2 - 1,
        (P.astype(np.int64) * 2 - 1).astype(np.uint32),
        P.astype(np.float32) * 2 - 1,
        P,
        P.astype(np.uint64),
    ],
    ids=["-1/1", "-1/1 as unsigned", "-1/1 as float", "bool", "unsigned"],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_by_name(polarity, compressed):
    raw = npz(compressed, t=T, x=X, y=Y, p=polarity, labels=np.arange(4))
    assert listed(parse_recording(raw, "x.npz")) == MANY


def test_seconds_and_microseconds(tmp_path):
    for t, said in (
        (T / 1e6, "fractions, taken for seconds"),
        (T.astype(np.float64), "whole numbers in floating point, taken for microseconds"),
        (T, "whole numbers, taken for microseconds"),
    ):
        path = tmp_path / "x.npz"
        path.write_bytes(npz(t=t, x=X, y=Y, p=P))
        assert listed(read_recording(path)) == MANY
        assert describe_file(path).clock == said
    long = np.sort(np.random.default_rng(0).uniform(0, 5e9, len(X)))
    found = parse_recording(npz(t=long, x=X, y=Y, p=P), "x.npz")
    assert found.t.tolist() == np.rint(long).astype(int).tolist()


def test_times_that_may_be_nanoseconds_are_noticed(tmp_path, capsys):
    apart = 7 * np.arange(len(X))
    taken = {
        "microseconds": apart,
        "nanoseconds": 1000 * apart + 3,
        "float": 1000.0 * apart,
        "seconds": apart / 1e3 + 0.5,
    }
    taken |= {"one time": 0 * apart, "durations": (1000 * apart).astype("m8[us]")}
    for name, t in taken.items():
        (tmp_path / "of").mkdir(exist_ok=True)
        path = tmp_path / "of" / f"{name}.npz"
        path.write_bytes(npz(t=t, x=X, y=Y, p=P))
        assert describe_file(path).coarse == (name in ("nanoseconds", "float"))
        main(["data", "info", str(path)])
        assert ("note: all times are whole thousands apart" in capsys.readouterr().out) == describe_file(path).coarse
    main(["data", "info", str(tmp_path / "of")])
    assert "note: all times of 2 of 6 recordings are whole thousands apart" in capsys.readouterr().out


def test_an_array_without_names_is_told_by_its_numbers():
    for columns in ((T, X, Y, P), (X, Y, T, P.astype(int)), (X, Y, P * 2 - 1, T / 1e6)):
        array = np.stack([np.asarray(column, dtype=np.float64) for column in columns], 1)
        assert listed(parse_recording(npy(array), "x.npy")) == MANY
    constant = np.stack([T, T * 0 - 1, T * 0 - 1, X, Y, P * 2 - 1], 1)  # jAER's export to MATLAB
    assert listed(parse_recording(npy(constant), "x.npy")) == MANY
    for columns in ((X, Y, P, P), (T, T, X, P), (T, X, Y, X)):
        with pytest.raises(
            UserError, match="columns without names, and its numbers do not tell which is t, x, y and p"
        ):
            parse_recording(npy(np.stack(columns, 1)), "x.npy")


def test_the_size_is_the_smallest_that_fits_or_that_given():
    assert parse_recording(npy(structured()), "x.npy").width == 128
    wide = structured(columns=(T, X * 9, Y, P))
    assert parse_recording(npy(wide), "x.npy").width == 1280
    found = parse_recording(npy(structured()), "x.npy", ReadConfig(chip="DVS128"))
    assert (found.sensor, found.width) == ("DVS128", 128)
    with pytest.raises(UserError, match="address of event 0 is off the sensor \\(sensor, 2x100"):
        parse_recording(npy(structured()), "x.npy", ReadConfig(chip="2x100"))


def test_what_cannot_be_is_named_or_left_out():
    fine = {"t": T.astype(float) + 0.5, "x": X.astype(float), "y": Y, "p": P.astype(int)}
    for column, value, kind in (
        ("t", np.nan, "impossible time"),
        ("t", np.inf, "impossible time"),
        ("x", 3.5, "coordinate that is no whole number"),
        ("x", np.nan, "coordinate that is no whole number"),
        ("x", -1.0, "off the sensor"),
        ("y", 1 << 40, "off the sensor"),
        ("p", 2, "impossible polarity"),
        ("p", -3, "impossible polarity"),
    ):
        wrong = {key: array.copy() for key, array in fine.items()}
        wrong[column] = wrong[column].astype(np.int64) if column in "yp" else wrong[column]
        wrong[column][5] = value
        with pytest.raises(UserError, match=f"event 5.*{kind}.*damaged skip"):
            parse_recording(npz(**wrong), "x.npz")
        found = parse_recording(npz(**wrong), "x.npz", ReadConfig(damaged="skip"))
        assert found.skipped == {kind: 1}
        assert len(found) == len(MANY) - 1
    back = T.copy()
    back[7] = 0
    with pytest.raises(UserError, match="time goes back from 227 to 0 microseconds at event 7: get"):
        parse_recording(npz(t=back, x=X, y=Y, p=P), "x.npz")


def test_what_holds_no_events_is_named():
    good = npy(structured())
    for raw, name, fault in (
        (npy(np.zeros((3, 4, 5))), "x.npy", "array of float64 and shape \\(3, 4, 5\\), which holds no events"),
        (npy(np.zeros(7)), "x.npy", "holds no events"),
        (npy(structured(names="abcd")), "x.npy", "has no column of t \\(its names: 'a', 'b', 'c', 'd'\\)"),
        (npz(t=T, ts=T, x=X, y=Y, p=P), "x.npz", "has several columns of t: 't', 'ts' \\("),
        (npz(t=T, x=X, y=Y), "x.npz", "has no column of p"),
        (npz(t=T, x=X, y=Y, p=P[:-1]), "x.npz", "columns of different lengths"),
        (npy(np.array([{}])), "x.npy", "objects of Python, which could run code"),
        (good[:-20], "x.npy", "ends before event 700 of 700"),
        (good[:20], "x.npy", "cannot be read as an array of NumPy"),
        (npz(t=T, x=X, y=Y, p=P)[:-30], "x.npz", "is not a complete .npz file"),
        (npy(structured()[:0]), "x.npy", "holds no events"),
    ):
        with pytest.raises(UserError, match=fault):
            parse_recording(raw, name)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("t.npy", good)
    with pytest.raises(UserError, match="not compressed as NumPy does it"):
        parse_recording(content.getvalue(), "x.npz")
    with pytest.raises(UserError, match="is not an event file: give .*MATLAB"):
        parse_recording(pickle.dumps([1]), "x.npy")


def test_arrays_in_chunks_without_reading_them_whole(tmp_path):
    for name, raw in (("x.npy", npy(structured())), ("y.npz", npz(True, t=T, x=X, y=Y, p=P))):
        (tmp_path / name).write_bytes(raw)
        chunks = list(read_chunks(tmp_path / name, 97, ReadConfig(chip="128x128")))
        assert [event for chunk in chunks for event in listed(chunk)] == MANY
        assert [len(chunk) for chunk in chunks] == [97] * 7 + [21]


def test_a_header_that_claims_more_than_there_is_takes_no_memory():
    raw = npy(structured()).replace(b"(700,)", b"(9000000000000,)".ljust(6))
    with pytest.raises(UserError, match="cannot be read|ends before"):
        parse_recording(raw, "x.npy")


# MATLAB


def test_variables_of_a_mat_file():
    expected = MANY
    columns = {"ts": T[:, None].astype(np.int32), "x": X[None], "y": Y[:, None].astype(np.uint8)}
    assert listed(parse_recording(mat(**columns, pol=P[:, None]), "x.mat")) == expected  # ASL-DVS
    signs = (P.astype(np.int8) * 2 - 1)[:, None]
    assert listed(parse_recording(mat(TD={**columns, "p": signs}), "x.mat")) == expected
    assert listed(parse_recording(mat(out1=np.stack([T, X, Y, P * 2.0 - 1], 1)), "x.mat")) == expected
    assert listed(parse_recording(mat(ts=T[:1], x=X[:1], y=Y[:1], pol=P[:1]), "x.mat")) == expected[:1]
    with pytest.raises(UserError, match="has no column of t \\(its names: 'a'\\)"):
        parse_recording(mat(a=np.zeros(3)), "x.mat")
    with pytest.raises(UserError, match="cannot be read as a MAT file"):
        parse_recording(mat(**columns, pol=P[:, None])[:300], "x.mat")


def test_a_mat_file_of_version_4_is_named():
    scipy_io = pytest.importorskip("scipy.io")
    for columns in ({"ts": T, "x": X, "y": Y, "pol": P * 1.0}, {"TD": np.stack([T, X, Y, P], 1)}):
        content = io.BytesIO()
        scipy_io.savemat(content, columns, format="4")
        for raw in (content.getvalue(), _turned(content.getvalue())):
            with pytest.raises(UserError, match=r"^x.MAT is a MAT file of version 4, which is not read: .*'-v7'"):
                parse_recording(raw, "x.MAT")
    for raw in (b"# Created by Octave 8.4.0, Tue Dec 01", b"t,x,y,p\n", bytes(100), b"\0" * 10):
        with pytest.raises(UserError, match="is not an event file"):
            parse_recording(raw, "x.mat")


def _turned(raw):
    """With the header of a machine of the other order of bytes."""
    kind, *others = struct.unpack("<5i", raw[:20])
    return struct.pack(">5i", kind + 1000, *others) + raw[20:]


def test_what_is_wrong_with_a_mat_file_is_not_said_in_the_words_of_python():
    scipy_io = pytest.importorskip("scipy.io")
    content = io.BytesIO()
    scipy_io.savemat(content, {"ts": T, "x": X, "y": Y, "pol": P})
    good, draw = content.getvalue(), np.random.default_rng(0)
    said = set()
    for _ in range(300):
        raw = bytearray(good)
        for place in draw.integers(128, 300, 3):
            raw[place] = draw.integers(256)
        try:
            parse_recording(bytes(raw), "x.mat")
        except UserError as error:
            said.add(str(error))
    assert any("an element" in each for each in said)
    assert not any(word in each for each in said for word in ("unpack requires", "buffer", "list index", "Error "))


@pytest.mark.parametrize("name", ["a\u00a0\u2028b\udcff", "x" * 500])
def test_names_of_columns_are_shown_as_text(name, tmp_path):
    def fault(raw, file):
        with pytest.raises(UserError) as refused:
            parse_recording(raw, file)
        return str(refused.value)

    known = name.replace("\udcff", "")
    array = structured(names=[known, "x", "y", "p"])
    files = [(npy(array), "x.npy"), (npz(**{known: T, "x": X, "y": Y, "p": P}), "x.npz")]
    path = hdf5(tmp_path, lambda file: file.create_dataset(known, data=T))
    for raw, file in [*files, (path.read_bytes(), "a.h5")]:
        said = fault(raw, file)
        assert f"{known[:40]!a}" in said
        assert re.fullmatch(r"[ -~]{20,400}", said), said
    said = fault(npz(t=T, T=T, x=X, y=Y, p=P), "x.npz")
    assert "has several columns of t: 't', 'T' (" in said


def test_a_mat_file_that_unpacks_to_gigabytes():
    raw = mat(ts=np.zeros(500_000_000 // 8))
    assert len(raw) < 2_000_000
    with pytest.raises(UserError, match="claims 1.0 GB of memory for .* bytes that it unpacks to"):
        parse_recording(raw, "x.mat")


def test_hdf5_without_its_package(monkeypatch, tmp_path):
    path = hdf5(tmp_path, lambda file: file.create_dataset("t", data=T))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match=r"HDF5 files need h5py, which is not installed: .*'sresnet\[hdf5\]'"):
        read_recording(path)


# HDF5


def prophesee(file, ecf_chunks=None, size=64):
    file.attrs["geometry"] = "304x240"
    triggers = np.zeros(3, dtype=[("p", "<i2"), ("t", "<i8"), ("id", "<i2")])
    file.create_dataset("EXT_TRIGGER/events", data=triggers)
    events = structured("xypt", ("<u2", "<u2", "<i2", "<i8"), (X, Y, P, T)).astype(ecf.EVENT)
    if not ecf_chunks:
        file.create_dataset("CD/events", data=events, chunks=(size,), compression="gzip")
        return
    import h5py

    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((size,))
    properties.set_filter(ecf.FILTER, h5py.h5z.FLAG_OPTIONAL, ())
    space, kind = h5py.h5s.create_simple((len(events),)), h5py.h5t.py_create(events.dtype)
    dataset = h5py.h5d.create(
        file["CD"].id if "CD" in file else file.create_group("CD").id, b"events", kind, space, properties
    )
    for at, chunk in ecf_chunks:
        dataset.write_direct_chunk((at,), chunk)


def test_events_as_prophesee_stores_them(tmp_path):
    found = read_recording(hdf5(tmp_path, prophesee))
    assert listed(found) == MANY
    assert (found.sensor, found.width, found.height, found.skipped) == ("Prophesee", 304, 240, {"trigger": 3})


@pytest.mark.parametrize("how", ["whole", "halves", "runs"])
def test_events_that_ecf_compresses(tmp_path, how):
    padded = [*MANY, *[(0, 0, 0, False)] * 4]  # the last chunk is full, whatever the length
    chunks = [(at, made_up_ecf.ecf(padded[at : at + 64], how)) for at in range(0, 640, 64)]
    chunks.append((640, made_up_ecf.ecf([*MANY[640:], *[(MANY[-1][0], 0, 0, False)] * 4], how)))
    path = hdf5(tmp_path, lambda file: prophesee(file, chunks))
    assert listed(read_recording(path)) == MANY
    assert [event for chunk in read_chunks(path, 13) for event in listed(chunk)] == MANY
    broken = [(at, chunk[:-40] if at == 128 else chunk) for at, chunk in chunks]
    path = hdf5(tmp_path, lambda file: prophesee(file, broken))
    with pytest.raises(UserError, match="has a chunk at event 128 that does not unpack"):
        read_recording(path)


steps = st.lists(st.sampled_from([0, 0, 0, 0, 1, 3, 14, 15, 16, 300, 70_000, 1 << 33]), min_size=1, max_size=400)


@pytest.mark.parametrize("how", ["whole", "halves", "runs"])
@settings(max_examples=60, deadline=None)
@given(steps, st.data())
def test_ecf_of_any_events(how, steps, data):
    t = np.cumsum(steps).tolist()
    few = st.sampled_from([0, 1, 2, 3, 4, 5, 9, 1279, 2047])
    kind = data.draw(st.sampled_from(["few", "same", "rising"]))
    if kind == "few":
        places = [(data.draw(few), data.draw(few), data.draw(st.booleans())) for _ in t]
    else:
        places = [
            (at % 7 if kind == "rising" else 5, at // 50, kind == "same" or at % 200 < 150) for at in range(len(t))
        ]
    events = [(time, *place) for time, place in zip(t, places, strict=True)]
    found = ecf.unpack(made_up_ecf.ecf(events, how))
    assert list(zip(*(found[name].tolist() for name in "txyp"), strict=True)) == events


def test_dsec_s_columns_and_their_offset(tmp_path):
    def write(file):
        for name, column in (("t", T.astype(np.uint32)), ("x", X), ("y", Y), ("p", P.astype(np.uint8))):
            file.create_dataset(f"events/{name}", data=column, chunks=(100,), compression="gzip")
        file["t_offset"] = np.int64(49_599_300_523)
        file["ms_to_idx"] = np.zeros(4, dtype=np.uint64)

    path = hdf5(tmp_path, write)
    found = read_recording(path)
    assert listed(found) == [(t + 49_599_300_523, x, y, on) for t, x, y, on in MANY]
    assert (found.sensor, found.width, found.height) == ("DSEC", 640, 480)
    assert describe_file(path).clock == "microseconds, t_offset added"


def test_columns_elsewhere_and_in_seconds(tmp_path):
    def write(file):
        for name, column in (("ts", T / 1e6), ("xs", X), ("ys", Y), ("ps", P)):
            file[f"events/{name}"] = column
        file.attrs["sensor_resolution"] = (180, 240)

    found = read_recording(hdf5(tmp_path, write))
    assert (listed(found), found.width, found.height) == (MANY, 240, 180)
    with pytest.raises(UserError, match="no events where they are looked for \\(at its top: 'images'\\)"):
        read_recording(hdf5(tmp_path, lambda file: file.create_dataset("images", data=X)))
    path = hdf5(
        tmp_path,
        lambda file: [
            file.create_dataset(name, data=column) for name, column in zip("txyp", (T, X, Y, P), strict=True)
        ],
    )
    assert listed(read_recording(path)) == MANY
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(UserError, match="cannot be read by HDF5"):
        read_recording(path)


def test_blosc_needs_its_package(tmp_path, monkeypatch):
    """In a process of its own, as a filter that is registered stays."""
    hdf5plugin = pytest.importorskip("hdf5plugin")
    columns = tuple(zip("txyp", (T, X, Y, P.astype(np.uint8)), strict=True))

    def write(file):
        for name, column in columns:
            file.create_dataset(f"events/{name}", data=column, chunks=(100,), **hdf5plugin.Blosc())

    path = hdf5(tmp_path, write)
    assert listed(read_recording(path)) == MANY
    import subprocess

    code = (
        "import sys; sys.modules['hdf5plugin'] = None\n"
        "from pathlib import Path\nfrom sresnet.data.events.read import read_recording\n"
        f"read_recording(Path({str(path)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (
        "is compressed by Blosc and needs hdf5plugin, which is not installed: run pip install 'sresnet[hdf5]'"
        in done.stderr
    )


def test_each_format_is_told_from_its_content(tmp_path):
    path = hdf5(tmp_path, prophesee)
    assert listed(parse_recording(path.read_bytes(), "x.dat")) == MANY
    assert listed(parse_recording(npy(structured()), "x.bin")) == MANY
    assert importlib.util.find_spec("numpy")
    assert listed(parse_recording(made_up.nmnist(SOME), "x.bin")) == SOME
