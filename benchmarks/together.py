"""Time of a training step in two processes of one thread, over that in one process of two threads.

    python benchmarks/together.py [--rounds 5] [--record benchmarks/data/together.json]

Both train the same batches, one after the other in every round, so that what else the machine does is much the same for
both; the ratio is the median over rounds of the ratio of medians over steps. The spread is said beside it.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from sresnet.data import DataConfig, ImageSet, Splits
from sresnet.models import model_config
from sresnet.processes import joined
from sresnet.train import record
from sresnet.train.loop import Run
from sresnet.train.recipe import Recipe, TrainConfig

SETTINGS = {
    "S-ResNet20, 16 filters, T = 4, batch 128": {"model": "sresnet20", "base_filters": 16, "num_steps": 4},
    "S-ResNet8, 64 filters, T = 2, batch 128": {"model": "sresnet8", "base_filters": 64, "num_steps": 2},
}
STEPS = 5
"""Of a round; the first is not counted."""


def train(setting: str, statistics_of: str) -> None:
    """Print the seconds of each step, in each of the processes that were started together."""
    fields: dict[str, Any] = dict(SETTINGS[setting])
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (1024, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 10, (1024,), generator=generator)
    images = ImageSet(images=pixels, labels=labels, class_names=tuple("abcdefghij"))
    config = TrainConfig(batch_size=128, statistics=statistics_of)  # type: ignore[arg-type]
    recipe = Recipe(model=model_config(fields.pop("model"), **fields), data=DataConfig(name="cifar10"), train=config)
    with joined(gpu=False) as processes, tempfile.TemporaryDirectory() as folder:
        splits = Splits(train=images, validation=None, test=images)
        run = Run(recipe, splits, Path(folder), torch.device("cpu"), processes=processes)
        run.model.train()
        seconds = []
        for step in range(STEPS):
            start = time.perf_counter()
            run.step(torch.arange(128) + 128 * step)
            processes.asks(False)
            seconds.append(time.perf_counter() - start)
        if processes.first:
            print(json.dumps(seconds[1:]))


def timed(count: int, threads: int, setting: str, statistics_of: str) -> float:
    """Median seconds of a step in so many processes of so many threads each."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    together = {"MASTER_ADDR": "localhost", "MASTER_PORT": port, "OMP_NUM_THREADS": str(threads)}
    started = []
    for rank in range(count):
        names = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
        words = [sys.executable, __file__, "--setting", setting, "--statistics", statistics_of]
        started.append(subprocess.Popen(words, env=os.environ | together | names, stdout=subprocess.PIPE, text=True))
    said = [process.communicate()[0] for process in started]
    return statistics.median(json.loads(said[0]))


def main() -> None:
    """Compare, or be one of the processes that are compared."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--setting", help=argparse.SUPPRESS)
    parser.add_argument("--statistics", default="synchronised", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.setting:
        train(chosen.setting, chosen.statistics)
        return
    found: dict[str, Any] = {"environment": record.environment(torch.device("cpu")), "rounds": chosen.rounds}
    for setting in SETTINGS:
        times: dict[str, list[float]] = {"one": [], "two": [], "two, local": []}
        for _ in range(chosen.rounds):
            times["one"].append(timed(1, 2, setting, "synchronised"))
            times["two"].append(timed(2, 1, setting, "synchronised"))
            times["two, local"].append(timed(2, 1, setting, "local"))
        found[setting] = {"seconds": times, "load": os.getloadavg()[0]}
        for name in ("two", "two, local"):
            ratios = [two / one for one, two in zip(times["one"], times[name], strict=True)]
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            print(f"{setting}, {name}: {statistics.median(ratios):.2f} of the time of one ({spread})", flush=True)
        if chosen.record:
            chosen.record.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
