"""How the time of a training step divides: convolutions, the kernel behind them, and everything else."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from contenders import PRECISIONS, SETTINGS, network, precise
from quiet import sample, wait_for_quiet

from sresnet.ops.scan import cpu

PROFILED = ("A", "C")
COPIES = 6
"""Pairs that are copied in turn, of at least 5 MB each: more than a core's own cache."""
PARTS = ("convolutions, forward", "convolutions, backward", "kernel", "rest")
"""The kernel is norm, scan and the reading back of bits; the rest is Python, autograd, copies and the optimiser."""


def _calls() -> list[tuple[Any, str, str]]:
    """Owner and name of each function that a layer calls for its work, and which part of a step it is."""
    code = cpu.kernel()
    return [
        (F, "conv2d", "convolutions, forward"),
        (torch.ops.aten, "convolution_backward", "convolutions, backward"),
        *((code, name, "kernel") for name in ("scan_forward", "scan_backward", "spikes_unpack")),
    ]


@contextlib.contextmanager
def timed(seconds: dict[str, float]) -> Iterator[None]:
    """Inside, what each call takes is added to its part of `seconds`."""

    def watched(call: Callable[..., Any], part: str) -> Callable[..., Any]:
        def inner(*arguments: Any) -> Any:
            start = time.perf_counter()
            given = call(*arguments)
            seconds[part] += time.perf_counter() - start
            return given

        return inner

    before = [(owner, name, getattr(owner, name)) for owner, name, _ in _calls()]
    try:
        for (owner, name, part), (_, _, call) in zip(_calls(), before, strict=True):
            setattr(owner, name, watched(call, part))
        yield
    finally:
        for owner, name, call in before:
            setattr(owner, name, call)


def copy_speed(setting: str, precision: str) -> float:
    """Bytes that a copy of the largest layer's activity reads and writes in a second, from memory and not the cache."""
    _, filters, steps, batch = SETTINGS[setting]
    shape = (2, COPIES, steps * batch * filters * 32 * 32)
    one, other = torch.ones(shape, dtype=PRECISIONS[precision])  # zeros would all be one page
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        for to, source in zip(other, one, strict=True):
            to.copy_(source)
        best = max(best, 2 * one.numel() * one.element_size() / (time.perf_counter() - start))
    return best


def divided(setting: str, precision: str, threads: int, at_most_seconds: float) -> dict[str, float]:
    """Seconds of a training step of `fastest`, with the optimiser, and of its parts: of all steps that with the least.

    `others` are the cores that other processes took meanwhile, `copy` see `copy_speed`.
    """
    model, x, labels = network(SETTINGS[setting])
    optimiser = torch.optim.SGD(model.train().parameters(), lr=0.0, momentum=0.9)  # so that all steps are alike

    def step() -> None:
        with precise(precision, x.device):
            loss = F.cross_entropy(model(x).float(), labels)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    found: list[dict[str, float]] = []
    try:
        end = time.perf_counter() + at_most_seconds
        step()
        wait_for_quiet(end)
        speed = copy_speed(setting, precision)
        while len(found) < 3 or time.perf_counter() < end:
            parts = dict.fromkeys(PARTS[:-1], 0.0)
            wait_for_quiet(end)
            with timed(parts):
                whole = sample(step)
            rest = whole.seconds - sum(parts.values())
            found.append({"step": whole.seconds, **parts, "rest": rest, "others": whole.others, "copy": speed})
    finally:
        torch.set_num_threads(before)
    return min(found, key=lambda each: each["step"])


def division_table(divisions: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    """Parts of a step as milliseconds, and over its convolutions, for each revision that was measured."""
    if not divisions:
        return []
    lines = [
        "How a training step of `fastest` with SGD divides, milliseconds of the fastest step (over its convolutions):",
        "",
        f"| revision | setting | step | {' | '.join(PARTS)} | kernel and rest | copy, GB/s | others' cores |",
        "| --- | --- | --- |" + " --- |" * (len(PARTS) + 3),
    ]
    for revision, rows in divisions.items():
        for key, row in rows.items():
            convolutions = row[PARTS[0]] + row[PARTS[1]]
            ours = row["kernel"] + row["rest"]
            times = [f"{1e3 * row[part]:.1f} ({row[part] / convolutions:.2f})" for part in PARTS]
            cells = [
                revision[:7],
                key,
                f"{1e3 * row['step']:.1f}",
                *times,
                f"{1e3 * ours:.1f} ({ours / convolutions:.2f})",
            ]
            speed = f"{row['copy'] / 1e9:.1f}" if "copy" in row else ""  # not where others disturbed it
            lines.append(f"| {' | '.join(cells)} | {speed} | {row['others']:.2f} |")
    return lines
