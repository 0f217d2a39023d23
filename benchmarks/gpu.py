"""What a GPU makes of this package, in one command of less than ten minutes.

    make gpu [DATA_DIR=DIR]      on a machine with a GPU; DIR holds CIFAR-10
    make gpu-dry                 every line of it on a CPU, at sizes that say nothing

Parts run in the order of `PARTS`. Each is timed and written down as soon as it is done, so that a time limit loses only
what comes after it; one that fails is noted with its error, and the others go on. Writes benchmarks/data/GPU.json and
GPU.md. Milliseconds are medians between events of the device.

SpikingJelly is measured where it is installed, on the same card, in the settings of `peers.py` that its users have on
a GPU.
"""

import argparse
import datetime
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from contenders import SETTINGS, network, train_step, with_engine
from peers import PEERS
from torch import Tensor

import sresnet
from sresnet.data import open_data
from sresnet.models.summary import summarise
from sresnet.train import record
from sresnet.train.loop import train
from sresnet.train.passes import cuda_graph
from sresnet.train.recipes import RECIPES

DATA = Path(__file__).parent / "data"
TESTS = "tests/ops/gpu"
"""Tests that say on a GPU whether its kernels are right; on a CPU they are skipped here, see make triton-tests."""

Rows = dict[str, dict[str, Any]]
"""Name of a row -> name of a column -> number or word."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large everything is."""

    device: torch.device
    copied: int
    """Bytes that are copied to measure the memory."""
    multiplied: int
    """Side of the matrices that are multiplied to measure arithmetic."""
    maps: dict[int, int]
    """Channels -> height and width, of the convolutions of one stage."""
    settings: dict[str, tuple[int, int, int, int]]
    """Depth, filters, T, batch."""
    epochs: int | None
    """Of the trainings; None: as many as the recipe has."""
    data_dir: str
    """Of CIFAR-10; "": it is left out."""
    until: float
    """By time.monotonic: nothing begins after it."""


PAPER = (38, 32, 50, 128)
"""The paper's network, its time steps, and a batch that fills a GPU."""


def milliseconds(call: Callable[[], object], device: torch.device, seconds: float = 0.5) -> float:
    """Median time of a call after warming up, of as many calls as take so long, three at least."""
    for _ in range(3):
        call()
    if device.type != "cuda":
        taken = []
        for _ in range(3):
            start = time.perf_counter()
            call()
            taken.append(1e3 * (time.perf_counter() - start))
        return statistics.median(taken)
    torch.cuda.synchronize()
    taken, end = [], time.perf_counter() + seconds
    while len(taken) < 3 or time.perf_counter() < end:
        before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        before.record()
        call()
        after.record()
        after.synchronize()
        taken.append(before.elapsed_time(after))
    return statistics.median(taken)


def peak_gigabytes(step: Callable[[], object], device: torch.device) -> float:
    """What a call takes at its height, above what lies there before it; 0 on a CPU."""
    if device.type != "cuda":
        step()
        return 0.0
    step()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 1e9


def eager(step: Callable[[], object], device: torch.device) -> dict[str, Any]:
    """Memory and time of a step."""
    return {"GB": peak_gigabytes(step, device), "ms": milliseconds(step, device)}


def card(sizes: Sizes) -> Rows:
    """How fast the card copies and multiplies."""
    source = torch.empty(sizes.copied, dtype=torch.uint8, device=sizes.device)
    target = torch.empty_like(source)
    found: Rows = {}
    ms = milliseconds(lambda: target.copy_(source), sizes.device)
    found["copy"] = {"ms": ms, "TB/s": 2 * sizes.copied / ms / 1e9}
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        side = sizes.multiplied
        a, b = (torch.randn(side, side, device=sizes.device, dtype=dtype) for _ in range(2))
        ms = milliseconds(lambda: a @ b, sizes.device)  # noqa: B023
        found[f"matrices, {str(dtype).removeprefix('torch.')}"] = {"ms": ms, "TFLOP/s": 2 * side**3 / ms / 1e9}
    return found


def tests(sizes: Sizes) -> Rows:
    """The tests of the kernels, for real; one line of each that fails."""
    words = ["-q", "--tb=line", "-p", "no:cacheprovider", *(["-n", "8"] if sizes.device.type == "cuda" else [])]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, TESTS],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        timeout=max(30.0, sizes.until - time.monotonic()),
    )
    lines = done.stdout.splitlines()
    failed = [line for line in lines if line.startswith("FAILED")]
    return {line: {"result": "failed"} for line in failed} | {"all": {"result": lines[-1] if lines else done.stderr}}


def convolutions(sizes: Sizes) -> Rows:
    """The floor: cuDNN's convolutions of each stage, forward and backward, by type and layout; float32 in TF32."""
    found: Rows = {}
    _, _, steps, batch = sizes.settings["paper"]
    layouts = {"channels last": torch.channels_last, "as torch has it": torch.contiguous_format}
    for channels, side in sizes.maps.items():
        for dtype in (torch.bfloat16, torch.float16, torch.float32):
            for words, layout in layouts.items():
                shape = (steps * batch, channels, side, side)
                x = (torch.rand(shape, device=sizes.device) > 0.8).to(dtype).contiguous(memory_format=layout)
                gradient = torch.randn(shape, device=sizes.device).to(dtype).contiguous(memory_format=layout)
                weight = torch.randn(channels, channels, 3, 3, device=sizes.device).to(dtype)
                row = convolution(x, weight.contiguous(memory_format=layout), gradient)
                found[f"{channels} channels, {side}x{side}, {str(dtype).removeprefix('torch.')}, {words}"] = row
    return found


def convolution(x: Tensor, weight: Tensor, gradient: Tensor) -> dict[str, Any]:
    """A convolution's three passes, each alone."""

    def backward(wanted: list[bool]) -> object:
        geometry = ([1, 1], [1, 1], [1, 1], False, [0, 0], 1)
        return torch.ops.aten.convolution_backward(gradient, x, weight, None, *geometry, wanted)

    calls: dict[str, Callable[[], object]] = {
        "forward": lambda: F.conv2d(x, weight, padding=1),
        "of the input": lambda: backward([True, False, False]),
        "of the weight": lambda: backward([False, True, False]),
    }
    y = F.conv2d(x, weight, padding=1)
    row: dict[str, Any] = {"output channels last": str(y.is_contiguous(memory_format=torch.channels_last))}
    for name, call in calls.items():
        ms = milliseconds(call, x.device, 0.2)
        row |= {f"{name}, ms": ms, f"{name}, TFLOP/s": 2 * gradient.numel() * 9 * len(weight) / ms / 1e9}
    return row


def steps_of(sizes: Sizes) -> Iterator[tuple[str, tuple[int, int, int, int], str, str]]:
    """(name, setting, precision, engine) of the training steps that are measured, the most telling first."""
    yield "paper", sizes.settings["paper"], "bf16", "fastest"
    yield "paper", sizes.settings["paper"], "bf16", "low-memory"
    for name, setting in sizes.settings.items():
        if name != "paper":
            for precision in ("bf16", "fp32"):
                yield name, setting, precision, "fastest"
    yield "paper", sizes.settings["paper"], "fp32", "fastest"
    for name, setting in sizes.settings.items():
        if name != "paper":
            yield name, setting, "bf16", "reference"


def placed(setting: tuple[int, int, int, int], device: torch.device) -> tuple[sresnet.SpikingNetwork, Tensor, Tensor]:
    """Network, images, channels last, and labels on the device."""
    model, x, labels = network(setting)
    return model.to(device), x.to(device).contiguous(memory_format=torch.channels_last), labels.to(device)


def steps(sizes: Sizes) -> Rows:
    """Forward, loss and backward: eager, as a CUDA graph, and what they take of the memory."""
    found: Rows = {}
    for name, setting, precision, engine in steps_of(sizes):
        if time.monotonic() > sizes.until:
            break
        model, x, labels = placed(setting, sizes.device)
        step = with_engine(engine, train_step(model.train(), x, labels, precision))
        found[f"{name}, {precision}, {engine}"] = timed(step, setting, sizes)
    return found


def kernels(sizes: Sizes) -> Rows:
    """What a step of the paper's size consists of: the longest kernels, as torch's profiler sees them."""
    on_gpu = sizes.device.type == "cuda"
    model, x, labels = placed(sizes.settings["paper"], sizes.device)
    step = train_step(model.train(), x, labels, "bf16")
    step()
    kinds = [torch.profiler.ProfilerActivity.CUDA if on_gpu else torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=kinds) as profile:
        step()
    taken = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    times = {each.key: (each.count, getattr(each, taken) / 1e3) for each in profile.key_averages()}
    whole = sum(ms for _, ms in times.values())
    longest = sorted(times, key=lambda name: -times[name][1])[:25]
    found: Rows = {name[:80]: {"calls": times[name][0], "ms": times[name][1]} for name in longest}
    return found | {"all": {"calls": sum(calls for calls, _ in times.values()), "ms": whole}}


def timed(step: Callable[[], object], setting: tuple[int, int, int, int], sizes: Sizes) -> dict[str, Any]:
    """A training step's row; an error of the graph stands in its column."""
    depth, filters, T, batch = setting
    neurons = summarise(sresnet.SResNetConfig(depth=depth, base_filters=filters, num_steps=T)).neurons
    row = eager(step, sizes.device)
    row |= {"bytes / neuron-step": 1e9 * row["GB"] / (neurons * T * batch), "images/s": 1e3 * batch / row["ms"]}
    try:
        replay = cuda_graph(step)[1] if sizes.device.type == "cuda" else step
        row["graph, ms"] = milliseconds(replay, sizes.device)
    except RuntimeError as error:
        row["graph, ms"] = " ".join(str(error).split())[:100]
    return row


def peers(sizes: Sizes) -> Rows:
    """The same step of SpikingJelly in the settings that its users have on a GPU."""
    found: Rows = {}
    for setting in ("as shipped", "vectorised norm, channels-last", "compiled"):
        for name in ("paper", "D"):
            peer = PEERS.get(f"spikingjelly {setting}")
            if peer is None or time.monotonic() > sizes.until:
                continue
            model, x, labels = placed(sizes.settings[name], sizes.device)
            theirs = peer.build(model.cpu()).to(sizes.device).train()
            step = train_step(theirs, x, labels, "bf16")
            found[f"{name}, {peer.library}, {setting}, bf16"] = eager(step, sizes.device)
    return found


def trainings(sizes: Sizes) -> Rows:
    """Short trainings with real data, that of the digits on the CPU as well: both should learn the same."""
    found: Rows = {}
    jobs = [("digits", device) for device in dict.fromkeys((torch.device("cpu"), sizes.device))]
    if sizes.data_dir:
        jobs.append(("fast-cifar10-small", sizes.device))
    for name, device in jobs:
        if time.monotonic() > sizes.until:
            break
        recipe = RECIPES[name][1]
        if sizes.epochs:
            short: dict[str, Any] = {"epochs": sizes.epochs, "progressive_epochs": (), "low_res_epochs": 0}
            recipe = replace(recipe, train=replace(recipe.train, warmup_epochs=0, **short))
        splits = open_data(recipe.data, sizes.data_dir, seed=recipe.seed)
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            stop = lambda: time.monotonic() > sizes.until  # noqa: E731
            outcome = train(recipe, splits, Path(folder) / "run", device=device, should_stop=stop)
            lines = record.read_metrics(Path(folder) / "run")
        row: dict[str, Any] = {"s": time.monotonic() - start, "epochs": len(lines), "state": outcome.state}
        if lines:
            row |= {"training loss": lines[-1]["train_loss"], "images/s": lines[-1]["images_per_second"]}
        found[f"{name}, {device.type}"] = row | {"test": outcome.result.get("test_top1", "")}
    return found


PARTS: dict[str, Callable[[Sizes], Rows]] = {
    "card": card,
    "tests": tests,
    "convolutions": convolutions,
    "steps": steps,
    "kernels": kernels,
    "trainings": trainings,
    "peers": peers,
}


def machine(device: torch.device) -> dict[str, Any]:
    """What the numbers hold for."""
    return {
        "command": "make gpu" if device.type == "cuda" else "make gpu-dry",
        "script": "benchmarks/gpu.py",
        "device": torch.cuda.get_device_name() if device.type == "cuda" else record.processor(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda or "",
        "cudnn": torch.backends.cudnn.version() or 0,
        "sresnet": sresnet.__version__,
        "revision": record.revision(),
        "system": platform.platform(),
        "date": datetime.date.today().isoformat(),
    }


def page(found: dict[str, Any]) -> str:
    """The numbers as a page."""
    about = found["machine"]
    lines = [
        f"# {about['device']}",
        "",
        f"torch {about['torch']}, CUDA {about['cuda']}, cuDNN {about['cudnn']}, {about['date']}, revision "
        f"{about['revision'][:7]}. Made by `{about['command']}`; `benchmarks/gpu.py` says what each part is.",
    ]
    for name, part in found["parts"].items():
        lines += ["", f"## {name.capitalize()}", "", f"{part['seconds']:.0f} s."]
        if error := part.get("error"):
            lines += ["", f"It failed: {error}"]
        lines += ["", *(f"- warning: {each}" for each in part["warnings"])] if "warnings" in part else []
        rows: Rows = part.get("rows", {})
        columns = list(dict.fromkeys(column for row in rows.values() for column in row))
        if rows:
            lines += ["", f"| | {' | '.join(columns)} |", "| --- |" + " --- |" * len(columns)]
        for title, row in rows.items():
            cells = (row.get(column, "") for column in columns)
            lines.append(f"| {title} | {' | '.join(f'{c:.3g}' if isinstance(c, float) else str(c) for c in cells)} |")
    return "\n".join(lines) + "\n"


def main(words: list[str] | None = None) -> None:
    """Measure and write, part by part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--seconds", type=float, default=540.0, help="after which no part begins")
    parser.add_argument("--data-dir", default="", help="of CIFAR-10; without it none is trained")
    parser.add_argument("--dry", action="store_true", help="tiny sizes, on the CPU where there is no GPU")
    parser.add_argument("--out", type=Path, help="by default benchmarks/data/GPU.json, and with --dry a temporary file")
    options = parser.parse_args(words)
    if not options.dry and not torch.cuda.is_available():
        sys.exit("torch finds no GPU here: run it on a machine with one, or try its lines with --dry (make gpu-dry)")
    device = torch.device("cpu" if options.dry else "cuda")
    torch.backends.cudnn.benchmark = True
    settings = {"paper": PAPER} | SETTINGS
    sizes = Sizes(
        device=device,
        copied=2**20 if options.dry else 2**31,
        multiplied=64 if options.dry else 8192,
        maps={4: 8, 8: 4} if options.dry else {32: 32, 64: 16, 128: 8},
        settings=dict.fromkeys(settings, (8, 2, 2, 2)) if options.dry else settings,
        epochs=1 if options.dry else None,
        data_dir=options.data_dir,
        until=time.monotonic() + options.seconds,
    )
    about = machine(device)
    name = "-".join(str(about["device"]).lower().replace(",", "").split())
    usual = Path(tempfile.gettempdir()) / "sresnet-gpu-dry.json" if options.dry else DATA / f"{name}.json"
    path = options.out or usual
    if path.suffix != ".json" or not path.parent.is_dir():
        sys.exit(f"--out {path}: give a file that ends in .json, in a folder that is there")
    for each in (path, path.with_suffix(".md")):
        if each.exists() and b"benchmarks/gpu.py" not in each.read_bytes():
            sys.exit(f"{each} exists and is no earlier record of a GPU: choose another --out")
    found: dict[str, Any] = {"machine": about, "parts": {}}
    for name in options.parts:
        start = time.monotonic()
        part: dict[str, Any] = {"seconds": 0.0}
        found["parts"][name] = part
        if start > sizes.until:
            part["error"] = "left out: the time was over"
        else:
            try:
                with warnings.catch_warnings(record=True) as said:
                    warnings.simplefilter("always")
                    part["rows"] = PARTS[name](sizes)
                part |= {"warnings": sorted({str(each.message)[:300] for each in said})} if said else {}
            except Exception as error:  # the other parts go on, whatever this one met
                traceback.print_exc()
                part["error"] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        part["seconds"] = time.monotonic() - start
        print(f"{name}: {part['seconds']:.0f} s {part.get('error', '')}", flush=True)
        path.write_text(json.dumps(found, indent=1) + "\n")
        path.with_suffix(".md").write_text(page(found))
    print(page(found))
    print(f"written to {path}")
    if options.dry and any("error" in part for part in found["parts"].values()):
        sys.exit("a part failed")


if __name__ == "__main__":
    main()
