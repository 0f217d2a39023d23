"""Memory and time of one contender in a process of its own, and how they grow with T.

Every contender as its user runs it: ours as `sresnet train` does, which keeps freed memory; others with the C library's
malloc as it comes, without settings from the environment.
"""

import ctypes
import gc
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from contenders import ENGINES, inference, network, train_step, with_engine
from peers import PEERS
from torch import Tensor

from sresnet.ops.memory import keep_freed_memory

LIMIT = 12e9
"""Bytes that a contender may take."""
SLOWEST = 120.0
"""Seconds that a step of a contender may take in the curve."""
CURVE_T = (4, 8, 16, 50, 100, 200, 400)


class Job(NamedTuple):
    """What one process measures."""

    setting: tuple[int, int, int, int]
    precision: str
    contender: str
    training: bool = True
    segments: tuple[int, ...] = ()


def status(key: str) -> int:
    """A size in bytes from this process's status."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(key):
            return 1024 * int(line.split()[1])
    raise KeyError(key)


def cost(job: Job) -> dict[str, float]:
    """Bytes above the model at the height of the third step of this process, seconds of its fastest from the second."""
    model, x, labels = network(job.setting)
    net: Any = model if job.contender in ENGINES else PEERS[job.contender].build(model)
    net.train(job.training)

    def step_of(images: Tensor) -> Callable[[], None]:
        if job.training:
            step = train_step(net, images, labels[: len(images)], job.precision, job.segments)
        else:
            step = inference(net, images, job.precision)
        return with_engine(job.contender, step) if net is model else step

    step_of(x[:1])()  # code, and what oneDNN keeps
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    if net is model:
        keep_freed_memory()
    before, step = status("VmRSS"), step_of(x)
    seconds: list[float] = []
    while len(seconds) < 3 or (sum(seconds) < 2 and len(seconds) < 8):
        if len(seconds) == 2:
            Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the highest so far is forgotten
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
        if len(seconds) == 3:
            peak = status("VmHWM") - before
    return {"bytes": peak, "seconds": min(seconds[1:])}


class TooLargeError(Exception):
    """The contender takes more than `LIMIT`."""


def cost_alone(job: Job) -> dict[str, float] | None:
    """`cost` in a process of its own; None where the system does not tell memory, TooLargeError beyond `LIMIT`."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    command = [sys.executable, __file__, json.dumps(job)]
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=False)
    if done.returncode and ("allocate memory" in done.stderr or "MemoryError" in done.stderr or done.returncode == -9):
        raise TooLargeError
    done.check_returncode()
    return json.loads(done.stdout.splitlines()[-1])


def _too_much(row: dict[str, dict[str, Any]], T: int) -> str:
    """Why a contender is left out at T, as what it took with fewer steps lets expect; "" where it is not."""
    if not row:
        return ""
    steps, last = next(reversed(row.items()))
    if "left out" in last:
        return str(last["left out"])
    longer = T / int(steps)
    if last["bytes"] * longer > LIMIT:
        return f"more than {LIMIT / 1e9:.0f} GB"
    if last["seconds"] * longer > SLOWEST:
        return f"more than {SLOWEST:.0f} s"
    return ""


def curve(largest: int) -> dict[str, dict[str, Any]]:
    """{contender: {T: cost, or why it is left out}} of a training step of S-ResNet8, 16 filters, batch 32, bf16."""
    peers = ("spikingjelly as shipped", "spikingjelly memory-optimised", "snntorch as shipped")
    names = ("fastest", "one level of segments", "nested segments", *(each for each in peers if each in PEERS))
    found: dict[str, dict[str, Any]] = {name: {} for name in names}
    for T in (each for each in CURVE_T if each <= largest):
        one, two = round(T**0.5), max(2, round(T ** (1 / 3)))
        segments = {"one level of segments": (one,), "nested segments": (two, two)}
        for name, row in found.items():
            if reason := _too_much(row, T):
                row[str(T)] = {"left out": reason}
                continue
            job = Job((8, 16, T, 32), "bf16", "fastest" if name in segments else name, True, segments.get(name, ()))
            try:
                measured = cost_alone(job)
            except TooLargeError:
                row[str(T)] = {"left out": f"more than {LIMIT / 1e9:.0f} GB"}
                continue
            if measured is None:
                return {}
            row[str(T)] = measured | {"segments": job.segments}
            print(f"T = {T}, {name}: {row[str(T)]}", flush=True)
    return found


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_DATA, (int(LIMIT), resource.getrlimit(resource.RLIMIT_DATA)[1]))
    setting, precision, contender, training, segments = json.loads(sys.argv[1])
    print(json.dumps(cost(Job(tuple(setting), precision, contender, training, tuple(segments)))))
