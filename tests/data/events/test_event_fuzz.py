"""Damaged event files: the readers give a recording that keeps its promises, or UserError.

What compiled code decodes, `.raw`, `.dat` and `.aedat4`, gives the same by numpy, events and messages.

SRESNET_FUZZ_CASES is the number of cases of all tests here together, 2,000 if unset.
"""

import contextlib
import functools
import importlib
import io
import random
import struct
import tracemalloc

import made_up_events as made_up
import numpy as np
import pytest

from sresnet.data.events import columns, compiled
from sresnet.data.events.columns import ReadConfig
from sresnet.data.events.read import parse_recording
from sresnet.errors import UserError
from sresnet.ops.dispatch import implementation
from tests import bounded
from tests.bounded import check, outcomes

SEEDS = {name: write(made_up.events(40)) for name, write in made_up.FILES.items()}
HALVES = made_up.events(40)[:20], made_up.events(40)[20:]
SEEDS |= {
    f"four-{name}.aedat4": made_up.aedat4_packed([pack(made_up.aedat4_events(some)) for some in HALVES], compression)
    for name, (compression, pack) in made_up.PACKERS.items()
}
NEEDS = {"x.mat": "scipy.io", "packed.mat": "scipy.io", "x.h5": "h5py", "four": "lz4.frame"}
for package in NEEDS.values():  # here, so that their import does not count as memory of a file
    with contextlib.suppress(ImportError):
        importlib.import_module(package)


def stored():
    """Arrays of events as other programs store them."""
    t, x, y, on = (np.array(column) for column in zip(*made_up.events(40), strict=True))
    columns = {"t": t, "x": x.astype(np.uint16), "y": y.astype(np.uint16), "p": on}
    whole = np.zeros(40, dtype=[("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "?")])
    for name, column in columns.items():
        whole[name] = column
    files = {name: io.BytesIO() for name in ("x.npy", "x.npz", "x.mat", "packed.mat", "x.h5")}
    np.save(files["x.npy"], whole)
    np.savez(files["x.npz"], **columns)
    with contextlib.suppress(ImportError):
        import scipy.io

        variables = {"ts": t, "x": x, "y": y, "pol": on}
        scipy.io.savemat(files["x.mat"], variables)
        scipy.io.savemat(files["packed.mat"], {"TD": variables}, do_compression=True)
    with contextlib.suppress(ImportError):
        import h5py

        with h5py.File(files["x.h5"], "w") as file:
            file.create_dataset("CD/events", data=whole, chunks=(16,))
    return {name: file.getvalue() for name, file in files.items()}


def vectors():
    """EVT 3.0 with vectors of 12 and 8 pixels, several from one start."""
    draw = np.random.default_rng(0)
    words = []
    for time in range(10):
        words += [0x8000, 0x6000 | 300 * time, time, 0x3000 | int(draw.integers(0x1000)) & 0x8FF]
        words += [0x4000 | int(draw.integers(0x1000)), 0x4001, 0x5000 | int(draw.integers(0x100)), 0x5000]
    return made_up.raw_header("EVT3") + np.array(words, "<u2").tobytes()


SEEDS |= {"vectors.raw": vectors(), **stored()}
CASES = bounded.CASES // len(SEEDS)
SNIPPETS = [
    *(struct.pack("<i", number) for number in (-1, -(1 << 31), (1 << 31) - 1, 1 << 28, 0, 1, 7, 1 << 16)),
    *(struct.pack(">i", number) for number in ((1 << 31) - 1, 1 << 28, 1, 240 << 16)),
    b"#",
    b"\r\n",
    b"\xff",
    b"% Width 99999999999\n",
    b"% Width 999999999\n% Height 999999999\n",
    b"# AEChip: x.DAVIS346\r\n",
    b"#Source 1: DAVIS640\r\n",
    b"#!END-HEADER\r\n",
    b'<!ENTITY a "aaaaaaaa">',
    b"<attr/>",
    b'key="sizeX" type="int">99999999999999999999<',
]


def damage(raw, rng):
    data = bytearray(raw)
    # Most of what can go wrong is in and just behind the header.
    near = max(raw.rfind(b"\n"), raw.rfind(b"</dv>"), 0) + 60
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        spot = rng.randrange(min(near, len(data)) + 1) if rng.random() < 0.5 else rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0 if spot < len(data):
                data[spot] ^= 1 << rng.randrange(8)
            case 1 if rng.random() < 0.3:
                data[spot:] = b""
            case 2:
                data[spot:spot] = rng.choice(SNIPPETS)
            case 3:
                data[spot:spot] = rng.randbytes(rng.randrange(1, 20))
            case 4:
                del data[spot : spot + rng.randrange(1, 20)]
            case _:
                piece = rng.choice(SNIPPETS)
                data[spot : spot + len(piece)] = piece
    return bytes(data) if rng.random() < 0.97 else raw[: near - 60] + rng.randbytes(rng.randrange(200))


def check_recording(recording):
    count = len(recording)
    assert count > 0
    assert [len(column) for column in (recording.x, recording.y, recording.on)] == [count] * 3
    assert [column.dtype.str for column in (recording.t, recording.x, recording.y, recording.on)] == [
        "<i8",
        "<u2",
        "<u2",
        "|b1",
    ]
    assert (np.diff(recording.t) >= 0).all()
    assert int(recording.x.max()) < recording.width
    assert int(recording.y.max()) < recording.height
    assert all(number > 0 for number in recording.skipped.values())


def parse(name, damaged, raw):
    """Read a recording, and see that what a header claims is not made room for: the files have about 1,000 bytes."""
    tracemalloc.start()
    try:
        recording = parse_recording(raw, name, ReadConfig(damaged=damaged))
        check_recording(recording)
    finally:
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 4 << 20
    return len(recording)


def everything(name, damaged, raw):
    """All that a reader says of a file: every field of the recording, or the message."""
    try:
        found = parse_recording(raw, name, ReadConfig(damaged=damaged))
    except UserError as error:
        return str(error)
    events = [column.tobytes() for column in (found.t, found.x, found.y, found.on)]
    return events, found.skipped, found.sensor, found.width, found.height


def parse_both(name, damaged, raw):
    """`parse` by compiled code, which the numpy definitions equal, in blocks of a few records too."""
    assert compiled.words_decoder("3.0")
    assert compiled.dat_decoder(14, 14)
    assert compiled.aedat4_decoder()
    size, found = columns.BLOCK, []
    try:
        for columns.BLOCK in (size, 1 + sum(raw) % 7):
            found.append(everything(name, damaged, raw))
            with implementation("reference"):
                assert everything(name, damaged, raw) == found[-1]
    finally:
        columns.BLOCK = size
    # Of several faults another may be met first.
    assert found[0] == found[1] or all(isinstance(each, str) for each in found)
    return parse(name, damaged, raw)


@pytest.mark.parametrize("name", SEEDS)
def test_fuzz_readers_give_a_recording_or_user_error(name):
    for part, package in NEEDS.items():
        if part in name:
            pytest.importorskip(package)
    both = name.endswith((".raw", ".dat", ".aedat4")) and compiled.words_decoder("3.0")
    accepted = {}
    for damaged in ("error", "skip"):
        rng = random.Random(name)
        case = functools.partial(parse_both if both else parse, name, damaged)
        found = outcomes(case, (damage(SEEDS[name], rng) for _ in range(CASES)))
        # Members of zip files and compressed variables have checksums, which notice nearly everything: in a small run
        # it may be all.
        valid = 0 if name in ("x.npz", "packed.mat") else 0.02
        check(found, valid=valid, refused=0.02 if damaged == "error" else 0)
        accepted[damaged] = sum(kind == "valid" for kind, _ in found)
    # Skipping rescues some.
    assert accepted["skip"] > accepted["error"] or name in ("x.npz", "packed.mat")
