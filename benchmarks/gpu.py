"""What a GPU makes of this package, in one command of less than ten minutes.

    make gpu [DATA_DIR=DIR]      on a machine with a GPU; DIR holds CIFAR-10
    make gpu-dry                 every line of it on a CPU, at sizes that say nothing

Parts run in the order of `PARTS`, each for its share of the time. Each is written down as soon as it is done, so that a
limit loses only what comes after it; one that fails is noted with its error, and the others go on. Writes
benchmarks/data/GPU.json and GPU.md. Milliseconds are medians between events of the device.

The tests are those of the kernels, convolutions are the floor of any step, steps are forward, loss and backward, eager
and as a CUDA graph, at `bench.py`'s settings and at the paper's size, kernels are a step's, and the bandwidth that ours
reach beside a copy of the same card.

SpikingJelly is measured where it is installed, on the same card: as shipped, with a vectorised norm behind its own
neurons, that compiled, and as shipped through torch.compile.
"""

import argparse
import datetime
import importlib.util
import json
import os
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
from contenders import PRECISIONS, SETTINGS, network, train_step, with_engine
from peers import PEERS
from torch import Tensor

import sresnet
from sresnet.data import Splits, open_data
from sresnet.models.summary import summarise
from sresnet.ops.dispatch import Implementation, implementation
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
    images: int | None
    """That they are trained on and tested on; None: all."""
    data_dir: str
    """Of CIFAR-10; "": it is left out."""
    until: float
    """By time.monotonic: nothing begins after it."""
    engine: Implementation = "fastest"
    """The kernels for GPUs: what "fastest" is on one, "triton" where they are interpreted."""


PAPER = (38, 32, 50, 128)
"""The paper's network, its time steps, and a batch that fills a GPU."""


def milliseconds(call: Callable[[], object], device: torch.device, seconds: float = 0.5) -> float:
    """Median time of a call after warming up, of as many calls as take so long, three at least; on a CPU of one."""
    if device.type != "cuda":
        start = time.perf_counter()
        call()
        return 1e3 * (time.perf_counter() - start)
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    taken: list[float] = []
    end = time.perf_counter() + seconds
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
    if importlib.util.find_spec("pytest") is None:
        return {"all": {"result": "pytest is not installed: pip install pytest hypothesis pytest-xdist"}}
    on_gpu = sizes.device.type == "cuda"
    words = ["-q", "-rf", "--tb=line", "-p", "no:cacheprovider", *([] if on_gpu else ["-k", "same_bits or forward"])]
    if on_gpu and importlib.util.find_spec("xdist"):
        words += ["-n", str(min(16, os.cpu_count() or 1))]  # compiling takes most of the time
    seconds = max(30.0, sizes.until - time.monotonic())
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        command = [sys.executable, "-m", "pytest", *words, TESTS]
        try:
            subprocess.run(
                command,
                stdout=said,
                stderr=subprocess.STDOUT,
                cwd=Path(__file__).parents[1],
                timeout=seconds,
                check=False,
            )
            end = ""
        except subprocess.TimeoutExpired:
            end = f" (stopped after {seconds:.0f} s)"
        said.seek(0)
        lines = said.read().splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return {line: {"result": "failed"} for line in failed} | {"all": {"result": (lines or ["nothing"])[-1] + end}}


def convolutions(sizes: Sizes) -> Rows:
    """The floor: cuDNN's convolutions of each stage, forward and backward, by type and layout; float32 in TF32."""
    found: Rows = {}
    _, _, steps, batch = sizes.settings["paper"]
    layouts = {"channels last": torch.channels_last, "as torch has it": torch.contiguous_format}
    kinds = [(channels, channels, side, steps * batch) for channels, side in sizes.maps.items()]
    first, side = next(iter(sizes.maps.items()))
    kinds.append((3, first, side, batch))  # the stem's, of an image that all steps share
    for inputs, channels, side, images in kinds:
        for dtype in (torch.bfloat16, torch.float16, torch.float32):
            for words, layout in layouts.items():
                if time.monotonic() > sizes.until:
                    return found
                shape = (images, channels, side, side)
                x = torch.rand(images, inputs, side, side, device=sizes.device) > 0.8
                gradient = torch.randn(shape, device=sizes.device).to(dtype).contiguous(memory_format=layout)
                weight = torch.randn(channels, inputs, 3, 3, device=sizes.device).to(dtype)
                row = convolution(
                    x.to(dtype).contiguous(memory_format=layout), weight.contiguous(memory_format=layout), gradient
                )
                name = "float32 (TF32)" if dtype == torch.float32 else str(dtype).removeprefix("torch.")
                found[f"{inputs} to {channels} channels, {side}x{side}, {name}, {words}"] = row
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
        row |= {f"{name}, ms": ms, f"{name}, TFLOP/s": 2 * gradient.numel() * weight[0].numel() / ms / 1e9}
    return row


def steps_of(sizes: Sizes) -> Iterator[tuple[str, tuple[int, int, int, int], str, str]]:
    """(name, setting, precision, engine) of the training steps that are measured, the most telling first."""
    yield "paper", sizes.settings["paper"], "bf16", sizes.engine
    yield "paper", sizes.settings["paper"], "bf16", "low-memory"
    for name, setting in sizes.settings.items():
        if name != "paper":
            for precision in ("bf16", "fp32"):
                yield name, setting, precision, sizes.engine
    for precision in PRECISIONS:
        if precision != "bf16":
            yield "paper", sizes.settings["paper"], precision, sizes.engine
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
        try:
            model, x, labels = placed(setting, sizes.device)
            step = with_engine(engine, train_step(model.train(), x, labels, precision))
            row = timed(step, setting, sizes)
        except RuntimeError as error:  # such as too little memory
            row = {"result": " ".join(str(error).split())[:200]}
        found[f"{name}, {precision}, {engine}"] = row
    return found


def counted_bytes(sizes: Sizes) -> dict[str, tuple[int, int]]:
    """Launches and bytes of each kernel of ours in a step of the paper's size, by `roofline.py`; {} without triton."""
    if importlib.util.find_spec("triton") is None:
        return {}
    depth, filters, steps, batch = map(str, sizes.settings["paper"])
    words = ["--depth", depth, "--filters", filters, "--steps", steps, "--batch", batch, "--json"]
    command = [sys.executable, str(Path(__file__).with_name("roofline.py")), *words]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        raise RuntimeError(f"roofline.py: {done.stderr[-300:]}")
    return {name: (calls, moved) for name, (calls, moved) in json.loads(done.stdout).items()}


def kernels(sizes: Sizes) -> Rows:
    """What a step of the paper's size consists of, by torch's profiler; our kernels' bandwidth beside a copy's."""
    on_gpu = sizes.device.type == "cuda"
    model, x, labels = placed(sizes.settings["paper"], sizes.device)
    step = with_engine(sizes.engine, train_step(model.train(), x, labels, "bf16"))
    step()
    kinds = [torch.profiler.ProfilerActivity.CUDA if on_gpu else torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=kinds) as profile:
        step()
    taken = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    times = {each.key: (each.count, getattr(each, taken) / 1e3) for each in profile.key_averages()}
    whole = sum(ms for _, ms in times.values())
    longest = sorted(times, key=lambda name: -times[name][1])[:25]
    found: Rows = {}
    copied = card(sizes)["copy"]["TB/s"]
    for name, (calls, moved) in counted_bytes(sizes).items():
        row: dict[str, Any] = {"calls": calls, "GB": moved / 1e9}
        if name in times:
            reached = moved / times[name][1] / 1e9
            row = (
                {"calls": times[name][0], "ms": times[name][1]} | row | {"TB/s": reached, "of a copy": reached / copied}
            )
        found[name] = row
    found |= {name[:80]: {"calls": times[name][0], "ms": times[name][1]} for name in longest if name not in found}
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
    """The same step of SpikingJelly in the settings that its users have on a GPU; one that fails says why."""
    if not PEERS:
        return {"spikingjelly": {"result": "not installed: pip install --no-deps spikingjelly==2.0.0 loguru"}}
    found: Rows = {}
    fused = "vectorised norm, channels-last"
    for setting, compiles in (("as shipped", False), (fused, False), (fused, True), ("compiled", False)):
        for name in ("paper", "D"):
            peer = PEERS.get(f"spikingjelly {setting}")
            if peer is None or time.monotonic() > sizes.until:
                continue
            row = f"{name}, {peer.library}, {setting}{', compiled' if compiles else ''}, bf16"
            try:
                model, x, labels = placed(sizes.settings[name], sizes.device)
                theirs = peer.build(model.cpu()).to(sizes.device).train()
                if compiles:
                    theirs.compile()
                found[row] = eager(train_step(theirs, x, labels, "bf16"), sizes.device)
            except Exception as error:  # such as too little memory, or a compiler that refuses
                found[row] = {"result": " ".join(f"{type(error).__name__}: {error}".split())[:200]}
    return found


def trainings(sizes: Sizes) -> Rows:
    """Short trainings with real data, that of the digits on the CPU as well: both should learn the same."""
    found: Rows = {}
    jobs = [("digits", sizes.device)]
    if sizes.data_dir:
        jobs.append(("fast-cifar10-small", sizes.device))
    if sizes.device.type != "cpu":
        jobs.append(("digits", torch.device("cpu")))
    for name, device in jobs:
        if time.monotonic() > sizes.until:
            break
        recipe = RECIPES[name][1]
        if sizes.epochs:
            short: dict[str, Any] = {"epochs": sizes.epochs, "progressive_epochs": (), "low_res_epochs": 0}
            recipe = replace(recipe, train=replace(recipe.train, warmup_epochs=0, **short))
        splits = open_data(recipe.data, sizes.data_dir, seed=recipe.seed)
        if sizes.images:
            few = torch.arange(sizes.images)
            splits = Splits(train=splits.train.subset(few), validation=None, test=splits.test.subset(few))
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            stop = lambda: time.monotonic() > sizes.until  # noqa: E731
            with implementation(sizes.engine if device == sizes.device else "fastest"):
                outcome = train(recipe, splits, Path(folder) / "run", device=device, should_stop=stop)
            lines = record.read_metrics(Path(folder) / "run")
        row: dict[str, Any] = {"s": time.monotonic() - start, "epochs": len(lines), "state": outcome.state}
        if lines:
            row |= {"training loss": lines[-1]["train_loss"], "images/s": lines[-1]["images_per_second"]}
        found[f"{name}, {device.type}"] = row | {"test": outcome.result.get("test_top1", "")}
    return found


PARTS: dict[str, tuple[Callable[[Sizes], Rows], float]] = {
    "card": (card, 20),
    "tests": (tests, 140),
    "convolutions": (convolutions, 50),
    "steps": (steps, 150),
    "kernels": (kernels, 40),
    "trainings": (trainings, 80),
    "peers": (peers, 60),
}
"""What it does, and the seconds after which nothing more of it begins: together less than ten minutes."""


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
    interpreted = options.dry and os.environ.get("TRITON_INTERPRET") == "1"
    torch.backends.cudnn.benchmark = True
    settings = {"paper": PAPER} | SETTINGS
    tiny = {"paper": (8, 2, 2, 2), "D": (8, 2, 1, 2)}
    sizes = Sizes(
        device=device,
        copied=2**20 if options.dry else 2**31,
        multiplied=64 if options.dry else 8192,
        maps={4: 8, 8: 4} if options.dry else {32: 32, 64: 16, 128: 8},
        settings=tiny if options.dry else settings,
        epochs=1 if options.dry else None,
        images=8 if options.dry else None,
        data_dir=options.data_dir,
        until=time.monotonic() + options.seconds,
        engine="triton" if interpreted else "fastest",
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
            torch.cuda.empty_cache()
            try:
                with warnings.catch_warnings(record=True) as said:
                    warnings.simplefilter("always")
                    measure, seconds = PARTS[name]
                    part["rows"] = measure(replace(sizes, until=min(sizes.until, start + seconds)))
                part |= {"warnings": sorted({str(each.message)[:300] for each in said})} if said else {}
            except Exception as error:  # the other parts go on, whatever this one met
                traceback.print_exc()
                part["error"] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        part["seconds"] = time.monotonic() - start
        print(f"{name}: {part['seconds']:.0f} s {part.get('error', '')}", flush=True)
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        path.with_suffix(".md").write_text(page(found), encoding="utf-8")
    print(page(found))
    print(f"written to {path}")
    if options.dry and any("error" in part for part in found["parts"].values()):
        sys.exit("a part failed")


if __name__ == "__main__":
    main()
