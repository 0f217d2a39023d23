"""What sets on disk cost against sets in memory: the start of a training, and its second epoch.

    python benchmarks/sets.py [--samples 20000] [--size 64] [--threads 2] [--out benchmarks/data/sets-MACHINE.json]

Made-up pictures (JPEG) and recordings (N-MNIST's format, few events each) are written into a temporary folder. Starts
are timed in processes of their own, in seconds of CPU behind the import of torch: data opened, fingerprint taken,
statistics known. Two trainings of one small network, on samples in memory and on disk, go through their second epoch in
turns of a few steps, so that both see the same machine. Writes a record with machine and versions, and prints it.
"""

import sresnet  # noqa: F401, I001 - before torch, so that threads that wait sleep

import argparse
import dataclasses
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sresnet.data import AnyData, DataConfig, Samples, Splits, open_data, usual_data
from sresnet.data.events.clips import FrameSet
from sresnet.data.stored import SampleFile, StoredSet
from sresnet.models import SResNetConfig
from sresnet.ops.memory import keep_freed_memory
from sresnet.train import record
from sresnet.train.loop import Run
from sresnet.train.recipe import Recipe, TrainConfig

STEPS = 2
"""Frames of a clip, and time steps of the networks on clips."""

TURN = 15
"""Training steps of one contender before the other goes on."""

START = """
import json, resource, sys, time
import torch
imported = time.process_time()
from pathlib import Path
from sresnet.data.fingerprint import fingerprint
from sresnet.data.scaling import make_scaling
sys.path.insert(0, sys.argv[1])
import sets
data, kept, where, size = sys.argv[2:]
config, splits = sets.opened(data, Path(where), int(size), kept)
fingerprint(splits)
make_scaling(config, splits.train)
seconds = time.process_time() - imported
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


def pictures(folder: Path, count: int) -> None:
    """Stand-ins for photographs, 96x72 pixels, in ten classes, a tenth for testing."""
    draw = np.random.default_rng(0)
    for part, share in (("train", 0.9), ("test", 0.1)):
        for kind in range(10):
            place = folder / part / f"class{kind}"
            place.mkdir(parents=True)
            for number in range(round(count * share) // 10):
                small = Image.fromarray(draw.integers(0, 256, (9, 12, 3), dtype=np.uint8))
                small.resize((96, 72)).save(place / f"{number:06}.jpg", quality=85)


def recordings(folder: Path, count: int) -> None:
    """Recordings of 40 events in N-MNIST's format and folders."""
    draw = np.random.default_rng(0)
    for part, share in (("Train", 0.9), ("Test", 0.1)):
        for kind in range(10):
            place = folder / part / str(kind)
            place.mkdir(parents=True)
            for number in range(round(count * share) // 10):
                t = np.sort(draw.integers(0, 300_000, 40))
                columns = [draw.integers(0, 34, 40), draw.integers(0, 34, 40)]
                columns += [draw.integers(0, 2, 40) << 7 | t >> 16, t >> 8 & 255, t & 255]
                (place / f"{number:05}.bin").write_bytes(np.stack(columns, 1).astype(np.uint8).tobytes())


def opened(data: str, where: Path, size: int, kept: str) -> tuple[AnyData, Splits]:
    """The samples below `where`, "disk" or "memory" `kept`; clips always on disk."""
    config = usual_data("nmnist") if data == "recordings" else DataConfig(name="folder", image_size=size)
    if kept == "memory" and isinstance(config, DataConfig):
        worth_keeping = "sresnet.data.folder.worth_keeping"
        with mock.patch(worth_keeping, return_value=False):
            return config, open_data(config, str(where / data), seed=0)
    cache = str(where / "cache")
    return config, open_data(config, str(where / data), seed=0, num_steps=STEPS, cache_dir=cache)


def start(data: str, kept: str, where: Path, size: int) -> dict[str, float]:
    """CPU seconds and megabytes of a process that opens a set, as a training does."""
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", START, here, data, kept, str(where), str(size)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8")
    seconds, megabytes = json.loads(done.stdout.splitlines()[-1])
    return {"cpu_seconds": round(seconds, 2), "megabytes": round(megabytes)}


@dataclass(frozen=True, kw_only=True, eq=False)
class InMemory(FrameSet):
    """Clips as a tensor."""

    clips: Tensor

    def batch(self, indices: Tensor) -> Tensor:
        return self.clips[self.numbers[indices.cpu()]]

    read = batch


def in_memory(samples: Samples) -> Samples:
    """The same samples, none of them on disk."""
    if not isinstance(samples, FrameSet):
        return samples
    fields = {each.name: getattr(samples, each.name) for each in dataclasses.fields(samples)}
    return InMemory(**fields, clips=samples.file.read(range(samples.file.count)))


class Training:
    """A training that goes on a few steps at a time."""

    def __init__(self, config: AnyData, splits: Splits, folder: Path) -> None:
        channels = splits.train.shape[-3]
        self.recipe = Recipe(
            model=SResNetConfig(depth=8, base_filters=4, num_steps=STEPS, in_channels=channels, num_classes=10),
            data=config,
            train=TrainConfig(epochs=2, batch_size=100),
        )
        folder.mkdir()
        self.run = Run(self.recipe, splits, folder, torch.device("cpu"))
        self.seconds: list[float] = []
        self.cpu: list[float] = []

    def turn(self, steps: int) -> bool:
        """So many steps; whether the training is at its end."""
        end = self.run.position.step + steps
        before, cpu = time.perf_counter(), time.process_time()
        outcome = self.run.go(lambda progress: None, lambda: self.run.position.step >= end, 1e9)
        self.seconds.append(time.perf_counter() - before)
        self.cpu.append(time.process_time() - cpu)
        return outcome.state == "finished"


def second_epoch(data: str, where: Path, size: int) -> dict[str, Any]:
    """The second epoch of a training on disk over that of one in memory, and whether they end with the same weights."""
    config, stored = opened(data, where, size, "disk")
    _, memory = opened(data, where, size, "memory")
    memory = replace(memory, train=in_memory(memory.train), test=in_memory(memory.test))
    both = {
        name: Training(config, each, where / f"{data}-{name}") for name, each in (("memory", memory), ("disk", stored))
    }
    for each in both.values():
        each.turn(each.run.steps_per_epoch)
        each.seconds.clear()
        each.cpu.clear()
    ended = [False]
    order = list(both.values())
    while not all(ended):
        ended = [each.turn(TURN) for each in order]
        order.reverse()
    weights = {name: (each.run.folder / "weights.safetensors").read_bytes() for name, each in both.items()}
    turns = [disk / memory for disk, memory in zip(both["disk"].seconds, both["memory"].seconds, strict=True)]
    return {
        "samples": len(stored.train),
        "shape": list(stored.train.shape),
        "steps": both["disk"].run.steps_per_epoch,
        "seconds": {name: round(sum(each.seconds), 2) for name, each in both.items()},
        "cpu_seconds": {name: round(sum(each.cpu), 2) for name, each in both.items()},
        "ratio": round(sum(both["disk"].seconds) / sum(both["memory"].seconds), 3),
        "median_ratio_of_turns": round(statistics.median(turns), 3),
        "cpu_ratio": round(sum(both["disk"].cpu) / sum(both["memory"].cpu), 3),
        "same_weights": weights["memory"] == weights["disk"],
    }


def reading(where: Path, size: int) -> dict[str, float]:
    """Milliseconds of a batch of 100 pictures, by position as here, and by a memory map, neither with checksums."""
    _, splits = opened("pictures", where, size, "disk")
    assert isinstance(splits.train, StoredSet)
    file = splits.train.file
    bare = SampleFile(file.path, file.count, file.shape)
    mapped = np.memmap(file.path, dtype=np.uint8, mode="r", shape=(file.count, *file.shape))
    times: dict[str, list[float]] = {"checked": [], "by_position": [], "by_map": []}
    calls: dict[str, Callable[[Tensor], object]] = {
        "checked": lambda some: file.read(some.tolist()),
        "by_position": lambda some: bare.read(some.tolist()),
        "by_map": lambda some: torch.from_numpy(mapped[some.numpy()]),
    }
    for some in torch.randperm(file.count)[:20_000].split(100):
        for name, call in calls.items():
            before = time.perf_counter()
            call(some)
            times[name].append(1e3 * (time.perf_counter() - before))
    return {name: round(statistics.median(each), 3) for name, each in times.items()}


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=64, help="of the pictures")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="by default benchmarks/data/sets-MACHINE.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    environment = record.environment(torch.device("cpu")) | {"threads": options.threads}
    results: dict[str, Any] = {
        "command": f"python benchmarks/sets.py --samples {options.samples} --size {options.size} "
        f"--threads {options.threads}",
        "environment": environment,
    }
    with tempfile.TemporaryDirectory() as place:
        where = Path(place)
        pictures(where / "pictures", options.samples)
        recordings(where / "recordings", options.samples)
        time.sleep(3)  # what was written a moment ago is read again, see `cached.believed`
        starts: dict[str, dict[str, float]] = {}
        for name, data, kept in (
            ("pictures, decoded into memory", "pictures", "memory"),
            ("pictures, decoded into the cache", "pictures", "disk"),
            ("pictures, in the cache", "pictures", "disk"),
            ("recordings, made into frames", "recordings", "disk"),
            ("recordings, frames in the cache", "recordings", "disk"),
        ):
            starts[name] = start(data, kept, where, options.size)
            print(f"start with {options.samples:,} {name}: {starts[name]}", flush=True)
        results["start"] = starts
        results["reading_100_ms"] = reading(where, options.size)
        print(f"a batch of 100: {results['reading_100_ms']} ms", flush=True)
        for data in ("pictures", "recordings"):
            results[data] = second_epoch(data, where, options.size)
            print(f"second epoch, {data}: {results[data]}", flush=True)
    device = re.sub("[^a-z0-9]+", "-", re.sub(r"\(.*?\)", "", str(environment["device"]).lower())).strip("-")
    out = options.out or Path(__file__).parent / "data" / f"sets-{device}.json"
    out.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(f"written to {out}")


if __name__ == "__main__":
    main()
