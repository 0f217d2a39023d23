"""Time of a training step in two processes of one thread, over that in one process of two threads.

    python benchmarks/together.py [--rounds 10] [--record benchmarks/data/together.json]

Two processes take a step together, then the first takes one alone, with two threads, while the other waits; and so on,
so that what else the machine does is much the same for both. The ratio is the median over these pairs; quartiles are
said beside it.
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
from sresnet.processes import ALONE, Processes, joined
from sresnet.train import record
from sresnet.train.loop import Run
from sresnet.train.recipe import Recipe, TrainConfig

SETTINGS = {
    "S-ResNet20, 16 filters, T = 4, batch 128": {"model": "sresnet20", "base_filters": 16, "num_steps": 4},
    "S-ResNet8, 64 filters, T = 2, batch 128": {"model": "sresnet8", "base_filters": 64, "num_steps": 2},
}
BATCH = 128


def measured(setting: str, rounds: int, processes: Processes) -> dict[str, list[float]]:
    """Seconds of each step: in one process of two threads, together, and together with local statistics."""
    fields: dict[str, Any] = dict(SETTINGS[setting])
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (BATCH, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 10, (BATCH,), generator=generator)
    images = ImageSet(images=pixels, labels=labels, class_names=tuple("abcdefghij"))
    model, splits = model_config(fields.pop("model"), **fields), Splits(train=images, validation=None, test=images)

    def run(folder: str, those: Processes, **train: Any) -> Run:
        config = TrainConfig(batch_size=BATCH, epochs=1000, **train)
        made = Run(
            Recipe(model=model, data=DataConfig(name="cifar10"), train=config),
            splits,
            Path(folder),
            torch.device("cpu"),
            processes=those,
        )
        made.model.train()
        return made

    seconds: dict[str, list[float]] = {"one": [], "two": [], "two, local statistics": []}
    with tempfile.TemporaryDirectory() as folder:
        runs = {
            "one": run(folder, ALONE),
            "two": run(folder, processes),
            "two, local statistics": run(folder, processes, statistics="local"),
        }
        for number in range(rounds + 1):
            for name, each in runs.items():
                torch.set_num_threads(2 if name == "one" else 1)
                processes.asks(False)
                start = time.perf_counter()
                if name != "one" or processes.first:
                    each.step(torch.arange(BATCH))
                if number:  # the first is not counted
                    seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    """Start two processes, or be one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--record", type=Path)
    chosen = parser.parse_args()
    if "WORLD_SIZE" not in os.environ:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            together = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1])}
        for rank in ("1", "0"):
            environment = os.environ | together | {"RANK": rank, "LOCAL_RANK": rank}
            process = subprocess.Popen([sys.executable, *sys.argv], env=environment)
        sys.exit(process.wait())
    found: dict[str, Any] = {"environment": record.environment(torch.device("cpu")), "rounds": chosen.rounds}
    with joined(gpu=False) as processes:
        for setting in SETTINGS:
            seconds = measured(setting, chosen.rounds, processes)
            found[setting] = {"seconds": seconds, "load": os.getloadavg()[0]}
            for name in list(seconds)[1:] if processes.first else ():
                ratios = [two / one for one, two in zip(seconds["one"], seconds[name], strict=True)]
                low, middle, high = statistics.quantiles(ratios, n=4)
                print(f"{setting}, {name}: {middle:.2f} of the time of one ({low:.2f} to {high:.2f})", flush=True)
            if processes.first and chosen.record:
                chosen.record.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
