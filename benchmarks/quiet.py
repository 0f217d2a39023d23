"""Timing on a machine that does other things too: one benchmark at a time, contenders in turn, disturbed rounds out."""

import contextlib
import fcntl
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
OTHERS_ALLOWED = 0.15
"""Cores that other processes (and the host of a virtual machine) may take during a sample that counts."""


@contextlib.contextmanager
def only_benchmark() -> Iterator[None]:
    """Wait until no other benchmark of this machine runs."""
    with (Path(tempfile.gettempdir()) / "sresnet-benchmark.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def busy_seconds() -> float:
    """Core-seconds that all processes together and the host have taken since the start, where the system tells."""
    try:
        with open("/proc/stat", encoding="utf-8") as file:
            user, nice, system, _, _, irq, softirq, steal = map(int, file.readline().split()[1:9])
    except OSError:
        return time.process_time()
    return (user + nice + system + irq + softirq + steal) / TICKS


def wait_for_quiet(until: float) -> None:
    """Until others leave the cores to this process for a moment, or it is `until` by time.perf_counter."""
    others = 1.0
    while others > OTHERS_ALLOWED and time.perf_counter() < until:
        others = sample(lambda: time.sleep(0.3)).others


@dataclass(frozen=True)
class Sample:
    """One timing of one contender."""

    seconds: float
    others: float
    """Cores that others took meanwhile."""


def sample(call: Callable[[], object]) -> Sample:
    """Time one call."""
    own, everybody, start = time.process_time(), busy_seconds(), time.perf_counter()
    call()
    seconds = time.perf_counter() - start
    others = (busy_seconds() - everybody) - (time.process_time() - own)
    return Sample(seconds, max(0.0, others - 2 / TICKS) / seconds)  # clocks of the system are that coarse


def _second(call: Callable[[], object]) -> Sample:
    """Time the second of two calls."""
    call()
    return sample(call)


def in_turn(
    contenders: Mapping[str, Callable[[], object]], *, rounds: int, at_most_seconds: float
) -> tuple[dict[str, list[Sample]], int]:
    """Call the contenders in turn until `rounds` rounds were undisturbed.

    Each is called twice and the second call counts: a step of training follows one of the same network, and finds the
    memory that it needs as that one left it, not as another contender did.

    Returns:
        Samples by contender, those of undisturbed rounds; the number of disturbed rounds. When the time is over before
        three rounds were undisturbed, the least disturbed ones are given.
    """
    for call in contenders.values():  # the first calls compile, allocate and choose algorithms
        call()
    taken: list[dict[str, Sample]] = []
    end = time.perf_counter() + at_most_seconds

    def good() -> list[dict[str, Sample]]:
        return [each for each in taken if max(s.others for s in each.values()) <= OTHERS_ALLOWED]

    while len(good()) < rounds and (time.perf_counter() < end or len(taken) < 3):
        taken.append({name: _second(call) for name, call in contenders.items()})
    kept = good()
    if len(kept) < 3:
        kept = sorted(taken, key=lambda each: max(s.others for s in each.values()))[:3]
    return {name: [each[name] for each in kept] for name in contenders}, len(taken) - len(good())


def spread(values: list[float]) -> dict[str, float]:
    """Median and the middle half."""
    if len(values) < 2:
        return {"median": values[0], "low": values[0], "high": values[0]}
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": middle, "low": low, "high": high}


def summary(samples: dict[str, list[Sample]], beside: str) -> dict[str, dict[str, dict[str, float]]]:
    """Seconds of each contender, and its ratio to that of `beside` in the same round."""
    base = [each.seconds for each in samples[beside]]
    return {
        name: {
            "seconds": spread([each.seconds for each in ours]),
            f"over {beside}": spread([each.seconds / other for each, other in zip(ours, base, strict=True)]),
        }
        for name, ours in samples.items()
    }
