"""What reading, framing and loading event recordings costs.

    python benchmarks/events.py [RECORDINGS] [--out results/events.json] [--seconds 3] [--threads 2]

RECORDINGS is a folder of AEDAT 2.0 files of a DVS128, such as MNIST-DVS or DVS-CIFAR10, from which the size of the
cache is computed; without it, made-up recordings in the same byte format. Parsing, framing and loading run on one
core, the fastest of many runs is given. Files on disk are read in turns with other people's readers, those that are
installed: `.dat` and EVT 3.0 by expelliarmus and faery, AEDAT 2.0 by tonic, AEDAT 4.0 by aedat (`pip install
expelliarmus faery tonic aedat`); which give other events than were written is recorded. Training steps run on
`--threads` cores. Writes a JSON record with machine and versions, and prints a table.
"""

import sresnet  # noqa: F401, I001 - before torch, so that threads that wait sleep

import argparse
import contextlib
import importlib
import importlib.metadata
import json
import runpy
import struct
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch

from sresnet.data import EventConfig, Splits
from sresnet.data.events.clips import FrameSet
from sresnet.data.stored import SampleFile
from sresnet.data.events.frames import FrameConfig, to_frames
from sresnet.data.events.read import parse_recording, read_recording
from sresnet.ops.memory import keep_freed_memory
from sresnet.train import record
from sresnet.train.loop import Run
from sresnet.train.recipes import RECIPES

TARGETS = {"parsing": 50e6, "framing": 100e6, "cache": 5e9}
"""Events per second, events per second, bytes for 10,000 recordings at 64x64, T = 50."""

CLIPS = 200
"""In the made-up cache that loading is measured on."""


def aedat2(events: int, seed: int = 0) -> bytes:
    """A made-up DVS128 recording of 1.3 s."""
    draw = np.random.default_rng(seed)
    address = draw.integers(0, 128, events) << 1 | draw.integers(0, 128, events) << 8 | draw.integers(0, 2, events)
    t = np.sort(draw.integers(0, 1_300_000, events))
    return b"#!AER-DAT2.0\r\n# AEChip: DVS128\r\n" + np.stack([address, t], 1).astype(">u4").tobytes()


def fastest(call: Callable[[], object], seconds: float, least: int = 5) -> float:
    """Seconds of the fastest of the calls that fit into `seconds`, `least` at least."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def parsing(seconds: float) -> dict[str, float]:
    """Events per second of the AEDAT 2.0 reader, for recordings of this many events."""
    rates = {}
    for events in (20_000, 200_000, 2_000_000):
        content = aedat2(events)
        rates[f"{events:,}"] = events / fastest(partial(parse_recording, content, "a.aedat"), seconds)
    return rates


Columns = tuple[Any, Any, Any, Any]
"""Microseconds, columns, rows and polarities."""


def beside_others(seconds: float) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """Events per second of files on disk, read by this package and by others, in turns; those that are installed.

    Also, by file and reader, the columns in which what was read is not what was written.
    """
    rates: dict[str, dict[str, float]] = {}
    wrong: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as place:
        for name, (size, write) in FILES.items():
            events = made_up(size)
            path = Path(place) / name
            path.write_bytes(write(*events))
            readers: dict[str, Callable[[], Columns]] = {"sresnet": partial(_by_sresnet, path)}
            for who, read in OTHERS.get(name, {}).items():
                with contextlib.suppress(ImportError):
                    importlib.import_module(who)
                    readers[who] = partial(read, path)
            for who, call in readers.items():
                pairs = zip(["t", "x", "y", "on"], call(), events, strict=True)
                other = [column for column, found, written in pairs if not np.array_equal(found, written)]
                if other:
                    wrong[f"{name} by {who}"] = ", ".join(other)
            took = dict.fromkeys(readers, float("inf"))
            for _ in range(12):
                for who, call in readers.items():
                    took[who] = min(took[who], fastest(call, seconds / 12 / len(readers), 1))
            rates[name] = {who: len(events[0]) / each for who, each in took.items()}
    return rates, wrong


def made_up(size: tuple[int, int], count: int = 2_000_000) -> Columns:
    """Events of ten seconds all over a sensor of this width and height."""
    draw = np.random.default_rng(0)
    t = np.sort(draw.integers(0, 10_000_000, count))
    x, y, on = (draw.integers(0, end, count) for end in (*size, 2))
    return t, x, y, on


def _dat(t: Any, x: Any, y: Any, on: Any) -> bytes:
    words = np.stack([t, on << 28 | y << 14 | x], 1).astype("<u4")
    return b"% Version 2\n% Width 640\n% Height 480\n\x0c\x08" + words.tobytes()


def _evt3(t: Any, x: Any, y: Any, on: Any) -> bytes:
    words = np.stack([0x8000 | t >> 12, 0x6000 | t & 0xFFF, y, 0x2000 | on << 11 | x], 1)
    needed = np.ones(words.shape, dtype=bool)
    needed[1:, 0] = words[1:, 0] != words[:-1, 0]
    header = b"% evt 3.0\n% format EVT3;height=480;width=640\n% geometry 640x480\n% end\n"
    return header + words[needed].astype("<u2").tobytes()


def _davis346(t: Any, x: Any, y: Any, on: Any) -> bytes:
    address = (345 - x) << 12 | (259 - y) << 22 | on << 11
    header = b"#!AER-DAT2.0\r\n# AEChip: eu.seebetter.ini.chips.davis.DAVIS346B\r\n"
    return header + np.stack([address, t], 1).astype(">u4").tobytes()


def _aedat4(t: Any, x: Any, y: Any, on: Any, per_packet: int = 5000) -> bytes:
    """With LZ4, as cameras write it; without compression where lz4 is not installed."""
    parts = runpy.run_path(str(Path(__file__).parents[1] / "tests" / "data" / "events" / "made_up_events.py"))
    records = np.zeros(len(t), dtype=[("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("on", "u1"), ("unused", "V3")])
    records["t"], records["x"], records["y"], records["on"] = t, x, y, on
    # A table of no events ends with their number.
    start = parts["aedat4_events"]([])[4:-4]
    packets = []
    for at in range(0, len(t), per_packet):
        body = start + struct.pack("<I", len(records[at : at + per_packet])) + records[at : at + per_packet].tobytes()
        packets.append(struct.pack("<I", len(body)) + body)
    try:
        lz4 = importlib.import_module("lz4.frame")
    except ImportError:
        return bytes(parts["aedat4_packed"](packets, 0, (346, 260)))
    return bytes(parts["aedat4_packed"]([lz4.compress(each) for each in packets], 1, (346, 260)))


def _by_sresnet(path: Path) -> Columns:
    recording = read_recording(path)
    return recording.t, recording.x, recording.y, recording.on


def _by_expelliarmus(form: str, path: Path) -> Columns:
    events = importlib.import_module("expelliarmus").Wizard(encoding=form, fpath=path).read()
    return events["t"], events["x"], events["y"], events["p"]


def _by_faery(path: Path) -> Columns:
    events = importlib.import_module("faery").events_stream_from_file(path).to_array()
    return events["t"], events["x"], events["y"], events["on"]


def _by_tonic(path: Path) -> Columns:
    events = importlib.import_module("tonic.io").read_davis_346(str(path))[-1]
    return events["t"], events["x"], events["y"], events["p"]


def _by_aedat(path: Path) -> Columns:
    packets = importlib.import_module("aedat").Decoder(str(path))
    events = np.concatenate([packet["events"] for packet in packets if "events" in packet])
    return events["t"], events["x"], events["y"], events["on"]


FILES: dict[str, tuple[tuple[int, int], Callable[..., bytes]]] = {
    "a.dat": ((640, 480), _dat),
    "a.raw": ((640, 480), _evt3),
    "a.aedat": ((346, 260), _davis346),
    "a.aedat4": ((346, 260), _aedat4),
}
"""Name -> size of the sensor, and what writes such a file."""
OTHERS: dict[str, dict[str, Callable[[Path], Columns]]] = {
    "a.dat": {"expelliarmus": partial(_by_expelliarmus, "dat"), "faery": _by_faery},
    "a.raw": {"expelliarmus": partial(_by_expelliarmus, "evt3"), "faery": _by_faery},
    "a.aedat": {"tonic": _by_tonic},
    "a.aedat4": {"aedat": _by_aedat},
}


def versions() -> dict[str, str]:
    """Of the packages that are compared."""
    found = {}
    for name in sorted({name for readers in OTHERS.values() for name in readers}):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def framing(seconds: float) -> dict[str, float]:
    """Events per second of a recording of 200,000 events, about as many as DVS-CIFAR10's have."""
    recording = parse_recording(aedat2(200_000), "a.aedat")
    rates = {}
    for size, num_steps in ((32, 50), (64, 50), (128, 50), (64, 10)):
        config = FrameConfig(size=size)
        took = fastest(partial(to_frames, recording, config, num_steps), seconds)
        rates[f"{size}x{size}, T = {num_steps}"] = len(recording) / took
    return rates


def cache_size(folder: Path | None, seconds: float) -> dict[str, Any]:
    """Bytes of one clip at 64x64, T = 50, as it is and compressed, and what reading it costs either way."""
    if folder is None:
        contents = {f"made-up {seed}": aedat2(200_000, seed) for seed in range(4)}
    else:
        contents = {path.name: path.read_bytes() for path in sorted(folder.rglob("*.aedat"))}
    if not contents:
        raise SystemExit(f"{folder} has no .aedat files: give a folder of recordings")
    raw, packed, unpack, events = [], [], [], []
    for name, content in contents.items():
        recording = parse_recording(content, name)
        clip = to_frames(recording, FrameConfig(size=64), 50)[0].tobytes()
        small = zlib.compress(clip, 1)
        raw.append(len(clip))
        packed.append(len(small))
        events.append(len(recording))
        unpack.append(fastest(partial(zlib.decompress, small), seconds / len(contents)))
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "clips"
        path.write_bytes(clip * CLIPS)
        file = SampleFile(path, CLIPS, (50, 2, 64, 64))
        numbers = np.random.default_rng(0).permutation(CLIPS)[:21].tolist()
        by_position = fastest(lambda: file.read(numbers), seconds) / 21
        mapped = np.memmap(path, dtype=np.uint8, mode="r", shape=(CLIPS, 50, 2, 64, 64))
        by_map = fastest(lambda: torch.from_numpy(mapped[numbers]), seconds) / 21
    return {
        "recordings": list(contents),
        "events_per_recording": mean(events),
        "bytes_per_clip": mean(raw),
        "bytes_of_10000": 10_000 * mean(raw),
        "bytes_per_clip_zlib_1": mean(packed),
        "ms_per_clip_by_position": 1e3 * by_position,
        "ms_per_clip_by_memory_map": 1e3 * by_map,
        "ms_per_clip_unpacking_alone": 1e3 * mean(unpack),
    }


def loading(threads: int, steps: int) -> dict[str, dict[str, float]]:
    """Milliseconds of a batch, augmented and made float, and of the training step that it is for."""
    results = {}
    for name, shape in (
        ("digits-dvs", (5, 2, 16, 16)),
        ("nmnist", (8, 2, 17, 17)),
        ("dvs-cifar10", (10, 2, 64, 64)),
    ):
        with tempfile.TemporaryDirectory() as place:
            recipe = replace(RECIPES[name][1], train=replace(RECIPES[name][1].train, epochs=10))
            assert isinstance(recipe.data, EventConfig)
            draw = np.random.default_rng(0)
            path = Path(place) / "clips"
            path.write_bytes(draw.poisson(0.4, (CLIPS, *shape)).astype(np.uint8).tobytes())
            clips = FrameSet(
                file=SampleFile(path, CLIPS, shape),
                numbers=torch.arange(CLIPS),
                labels=torch.arange(CLIPS) % 10,
                class_names=tuple("0123456789"),
            )
            (Path(place) / "run").mkdir()
            splits = Splits(train=clips, validation=None, test=clips)
            torch.set_num_threads(threads)
            run = Run(recipe, splits, Path(place) / "run", torch.device("cpu"))
            run.model.train()
            times = []
            for step in range(steps + 1):
                chosen = torch.arange(step * run.batch_size, (step + 1) * run.batch_size) % CLIPS
                start = time.perf_counter()
                run.step(chosen)
                times.append(time.perf_counter() - start)
            torch.set_num_threads(1)
            took = fastest(partial(run.batch, chosen, 0), 0.5)
            results[name] = {
                "batch_size": run.batch_size,
                "ms_per_batch": 1e3 * took,
                "ms_per_step": 1e3 * median(times[1:]),
            }
    return results


def table(results: dict[str, Any]) -> str:
    """The record for people."""
    lines = [f"{results['environment']['device']}, torch {results['environment']['torch']}", ""]
    lines += [
        f"parsing AEDAT 2.0, {events} events: {rate / 1e6:,.0f} million events/s"
        for events, rate in results["parsing"].items()
    ]
    lines += [
        f"framing 200,000 events, {what}: {rate / 1e6:,.0f} million events/s"
        for what, rate in results["framing"].items()
    ]
    lines += [
        f"{name}: "
        + ", ".join(f"{who} {rate / 1e6:,.1f}" for who, rate in rates.items())
        + " million events/s"
        + "".join(f"; {rates['sresnet'] / rate:.2f} of {who}" for who, rate in rates.items() if who != "sresnet")
        for name, rates in results.get("beside_others", {}).items()
    ]
    lines += [f"{which} is not what was written: {columns}" for which, columns in results["read_otherwise"].items()]
    size = results["cache"]
    lines += [
        f"cache, 64x64, T = 50, from {len(size['recordings'])} recordings: {size['bytes_per_clip']:,.0f} bytes a clip, "
        f"{size['bytes_of_10000'] / 1e9:.2f} GB for 10,000; zlib level 1 {size['bytes_per_clip_zlib_1']:,.0f} bytes",
        f"a clip: read by position {size['ms_per_clip_by_position']:.3f} ms, by memory map "
        f"{size['ms_per_clip_by_memory_map']:.3f} ms, unpacking alone {size['ms_per_clip_unpacking_alone']:.3f} ms",
    ]
    lines += [
        f"{name}, batch of {each['batch_size']}: loaded and augmented in {each['ms_per_batch']:.1f} ms, "
        f"step {each['ms_per_step']:,.0f} ms"
        for name, each in results["loading"].items()
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path, nargs="?")
    parser.add_argument("--out", type=Path, default=Path("results/events.json"))
    parser.add_argument("--seconds", type=float, default=3.0, help="for a number")
    parser.add_argument("--steps", type=int, default=5, help="of training, for the median")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    beside, wrong = beside_others(options.seconds)
    results: dict[str, Any] = {
        "command": f"python benchmarks/events.py{' RECORDINGS' if options.recordings else ''} "
        f"--seconds {options.seconds:g} --steps {options.steps} --threads {options.threads}",
        "environment": record.environment(torch.device("cpu")) | {"threads": options.threads} | versions(),
        "targets": TARGETS,
        "parsing": parsing(options.seconds),
        "beside_others": beside,
        "read_otherwise": wrong,
        "framing": framing(options.seconds),
        "cache": cache_size(options.recordings, options.seconds),
        "loading": loading(options.threads, options.steps),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    main()
