"""What a training step and an inference cost: time, memory, growth with T and depth, beside other ways to do the same.

    make bench          this package
    make bench-peers    also SpikingJelly and snnTorch, installed in an environment of their own

Contenders run in turn in one process, so that whatever the machine does falls on all of them; rounds disturbed by other
processes are dropped and counted. "floor" is the network's convolutions alone, forward and backward, channels last, and
is what ratios refer to. Writes benchmarks/data/MACHINE.json and prints a table. Memory is measured in a process of its
own: the most that lay in it during a step, above what lay there before, where freed memory goes back at once.
"""

import argparse
import datetime
import gc
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from peers import PEERS
from quiet import in_turn, only_benchmark, spread, summary
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import sresnet  # before torch: it sets how idle threads wait
from sresnet.models.int8 import to_int8
from sresnet.models.network import SpikingNetwork
from sresnet.models.summary import summarise
from sresnet.ops.dispatch import implementation
from sresnet.ops.memory import keep_freed_memory
from sresnet.train import record

DATA = Path(__file__).parent / "data"
SETTINGS: dict[str, tuple[int, int, int, int]] = {
    "A": (38, 16, 10, 16),
    "B": (38, 32, 10, 16),
    "C": (8, 16, 50, 32),
    "D": (20, 16, 4, 64),
}
"""name -> depth, filters, T, batch; 32x32 images, S2S, BNTT, the paper's neurons."""
PARTS = ("training", "inference", "memory", "profile", "growth")
ENGINES = ("fastest", "low-memory", "reference")
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def network(setting: tuple[int, int, int, int]) -> tuple[SpikingNetwork, Tensor, Tensor]:
    """The network, images and labels."""
    depth, filters, steps, batch = setting
    torch.manual_seed(0)
    model = sresnet.create_model(f"sresnet{depth}", base_filters=filters, num_steps=steps)
    return model, torch.randn(batch, 3, 32, 32), torch.randint(0, 10, (batch,))


def precise(precision: str) -> torch.autocast:
    """Autocast for bf16, nothing for fp32."""
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")


def train_step(model: Callable[[Tensor], Tensor], x: Tensor, labels: Tensor, precision: str) -> Callable[[], None]:
    """Forward, loss, backward."""
    parameters = [p for p in model.parameters() if p.requires_grad]  # type: ignore[attr-defined]

    def step() -> None:
        with precise(precision):
            loss = F.cross_entropy(model(x).float(), labels)
        torch.autograd.grad(loss, parameters)

    return step


def inference(model: Callable[[Tensor], Tensor], x: Tensor, precision: str) -> Callable[[], None]:
    """Forward alone."""

    def step() -> None:
        with torch.inference_mode(), precise(precision):
            model(x)

    return step


def with_engine(name: str, step: Callable[[], None]) -> Callable[[], None]:
    """The same with one implementation of the ops."""

    def chosen() -> None:
        with implementation(name):  # type: ignore[arg-type]
            step()

    return chosen


def floor(model: SpikingNetwork, x: Tensor, precision: str, *, training: bool) -> Callable[[], None]:
    """The convolutions alone: the stem's once, the others for all steps; gradients of weights and of spikes."""
    dtype = PRECISIONS[precision]
    shapes: dict[str, torch.Size] = {}
    handles = [
        module.register_forward_pre_hook(lambda m, inputs, name=name: shapes.__setitem__(name, inputs[0].shape))
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    with torch.inference_mode():
        model(x)
    for handle in handles:
        handle.remove()
    inputs: dict[torch.Size, Tensor] = {}
    outputs: dict[torch.Size, Tensor] = {}
    work = []
    for number, (name, shape) in enumerate(shapes.items()):
        module = model.get_submodule(name)
        assert isinstance(module, nn.Conv2d)
        if shape not in inputs:
            spikes = (torch.rand(shape) > 0.8).to(dtype).contiguous(memory_format=torch.channels_last)
            inputs[shape] = spikes.requires_grad_(training and number > 0)
        weight = module.weight.detach().to(dtype).requires_grad_(training)
        work.append((inputs[shape], weight, module.stride, module.padding))

    def step() -> None:
        for x, weight, stride, padding in work:
            y = F.conv2d(x, weight, None, stride, padding)
            if training:
                if y.shape not in outputs:
                    outputs[y.shape] = torch.randn_like(y)
                torch.autograd.grad(y, [t for t in (x, weight) if t.requires_grad], outputs[y.shape])

    if training:
        return step

    def without_gradients() -> None:
        with torch.inference_mode():
            step()

    return without_gradients


def is_emulated(precision: str) -> bool:
    """The processor has no convolutions of that type: ours are computed in float32, and so is the floor.

    Those of the other contenders would take torch's plain loop, about ten times as long; they are left out.
    """
    return precision == "bf16" and not torch.ops.mkldnn._is_mkldnn_bf16_supported()


def compared(name: str, precision: str, *, training: bool) -> dict[str, Callable[[], None]]:
    """Everything that is compared at one setting."""
    model, x, labels = network(SETTINGS[name])
    computed_in = "fp32" if is_emulated(precision) else precision
    given: dict[str, Callable[[], None]] = {"floor": floor(model, x, computed_in, training=training)}
    peers = {} if is_emulated(precision) else PEERS
    if training:
        model.train()
        for engine in ENGINES[:2] if is_emulated(precision) else ENGINES:
            given[engine] = with_engine(engine, train_step(model, x, labels, precision))
    else:
        model.eval()
        for engine in ("fastest",) if is_emulated(precision) else ("fastest", "reference"):
            given[engine] = with_engine(engine, inference(model, x, precision))
        if precision == "fp32":
            given["int8"] = inference(to_int8(model), x, precision)
    for peer, build in peers.items():
        other = build(model)
        other.train(training)
        given[peer] = train_step(other, x, labels, precision) if training else inference(other, x, precision)
    return given


# Memory


def status(key: str) -> int:
    """A size in bytes from this process's status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return 1024 * int(line.split()[1])
    raise KeyError(key)


def memory_of(name: str, precision: str, contender: str) -> int:
    """Bytes above the model at the height of a training step, of this process; see `measure_memory`."""
    model, x, labels = network(SETTINGS[name])
    if contender in PEERS:
        other: Any = PEERS[contender](model)
        few, step = (train_step(other, each, labels[: len(each)], precision) for each in (x[:2], x))
    else:
        few, step = (
            with_engine(contender, train_step(model, each, labels[: len(each)], precision)) for each in (x[:2], x)
        )
    few()
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far is forgotten
    before = status("VmRSS")
    step()
    return status("VmHWM") - before


def measure_memory(name: str, precision: str, contender: str) -> int | None:
    """Bytes above the model at the height of a training step, in a process whose freed memory goes back at once."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    sizes = {f"MALLOC_{each}_THRESHOLD_": str(2**16) for each in ("MMAP", "TRIM")}
    command = [sys.executable, __file__, "--memory-of", name, precision, contender]
    done = subprocess.run(command, env=os.environ | sizes, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


# The whole


def measure(name: str, precision: str, *, training: bool, rounds: int, seconds: float) -> dict[str, Any]:
    """Times of one setting, with what they were measured on."""
    samples, disturbed = in_turn(compared(name, precision, training=training), rounds=rounds, at_most_seconds=seconds)
    batch = SETTINGS[name][3]
    rows = summary(samples, "floor")
    for row in rows.values():
        row["images/s"] = spread([batch / row["seconds"]["median"]])
    return {"rounds": len(samples["floor"]), "disturbed": disturbed, "contenders": rows}


def growth(seconds: float) -> dict[str, Any]:
    """Seconds of a training step of S-ResNet8 over T, and at T = 4 over depth; batch 16, the least of several."""
    steps = {T: train_step(*network((8, 16, T, 16)), "fp32") for T in (1, 2, 4, 8, 16, 32, 64)}
    depths = {d: train_step(*network((d, 16, 4, 16)), "fp32") for d in (8, 14, 20, 26, 32, 38, 44)}
    given = {}
    for name, calls in (("T", steps), ("depth", depths)):
        samples, _ = in_turn({str(k): call for k, call in calls.items()}, rounds=5, at_most_seconds=seconds)
        given[name] = {k: min(each.seconds for each in v) for k, v in samples.items()}
    return given


GROUPS = {
    "aten::mkldnn_convolution": "convolution, forward",
    "aten::convolution_backward": "convolution, backward",
    "Layer": "kernel, forward",
    "LayerBackward": "kernel, backward, and bits read back",
    "aten::add": "sums of gradients",
    "aten::add_": "sums of gradients",
}


def profile_of(name: str) -> dict[str, float]:
    """Where a training step of `fastest` in fp32 spends its time, percent."""
    model, x, labels = network(SETTINGS[name])
    step = train_step(model.train(), x, labels, "fp32")
    step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        step()
    shares = dict.fromkeys([*GROUPS.values(), "everything else"], 0.0)
    rows = profiler.key_averages()
    total = sum(row.self_cpu_time_total for row in rows)
    for row in rows:
        shares[GROUPS.get(row.key, "everything else")] += 100 * row.self_cpu_time_total / total
    return shares


def machine() -> dict[str, Any]:
    """What the numbers hold for."""
    capability = torch.backends.cpu.get_cpu_capability()
    return {
        "command": "make bench-peers",
        "processor": record.processor(),
        "instructions": capability,
        "bfloat16 convolutions": torch.ops.mkldnn._is_mkldnn_bf16_supported(),
        "AMX": torch.cpu._is_amx_tile_supported(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "torch": torch.__version__,
        "sresnet": sresnet.__version__,
        "revision": record.revision(),
        "peers": {name: importlib.metadata.version(name) for name in PEERS},
        "date": datetime.date.today().isoformat(),
    }


def markdown(found: dict[str, Any]) -> str:
    """The numbers as a page."""
    about = found["machine"]
    lines = [
        f"# {about['processor']}, {about['instructions']}",
        "",
        f"torch {about['torch']}, {about['threads']} threads, {about['date']}, revision {about['revision'][:7]}. Made "
        "by `make bench-peers`; settings are in `benchmarks/bench.py`. Seconds are medians; ratios are those to the "
        "convolutions alone (floor) in the same round, with the middle half of the rounds.",
        "",
        "| setting | contender | s / step | over floor | middle half | images/s | rounds (disturbed) |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for key, entry in found["times"].items():
        for name, row in entry["contenders"].items():
            seconds, ratio = row["seconds"]["median"], row["over floor"]
            half = f"{ratio['low']:.2f} to {ratio['high']:.2f}"
            rounds = f"{entry['rounds']} ({entry['disturbed']})"
            speed = f"{row['images/s']['median']:,.0f}"
            lines.append(f"| {key} | {name} | {seconds:.3f} | {ratio['median']:.2f} | {half} | {speed} | {rounds} |")
    lines += ["", "Memory at the height of a training step, above the model, in bytes per neuron and time step:", ""]
    names = list(dict.fromkeys(name for row in found["memory"].values() for name in row))
    lines += [f"| setting | {' | '.join(names)} |", "| --- |" + " --- |" * len(names)]
    for key, row in found["memory"].items():
        cells = [f"{row[name]:.2f}" if row.get(name) else "" for name in names]
        lines.append(f"| {key} | {' | '.join(cells)} |")
    lines += ["", "Where a training step of `fastest` in fp32 spends its time, percent:", ""]
    groups = [*dict.fromkeys(GROUPS.values()), "everything else"]
    lines += [f"| setting | {' | '.join(groups)} |", "| --- |" + " --- |" * len(groups)]
    for key, row in found["profile"].items():
        lines.append(f"| {key} | {' | '.join(f'{row[group]:.1f}' for group in groups)} |")
    for what, words in (("T", "over T, S-ResNet8, batch 16"), ("depth", "over depth, T = 4, batch 16")):
        row = found["growth"].get(what, {})
        lines += ["", f"Least seconds of a training step {words}, fastest, fp32:", ""]
        lines += ["| " + " | ".join(row) + " |", "|" + " --- |" * len(row)]
        lines += ["| " + " | ".join(f"{value:.3f}" for value in row.values()) + " |"]
    return "\n".join(lines) + "\n"


def print_tables(found: dict[str, Any]) -> None:
    """The numbers for people."""
    console = Console(width=None if Console().is_terminal else 120)
    for key, entry in found["times"].items():
        table = Table("contender", "s / step", "over floor", "middle half", "images/s", title=key, box=None)
        for name, row in entry["contenders"].items():
            ratio = row["over floor"]
            table.add_row(
                name,
                f"{row['seconds']['median']:.3f}",
                f"{ratio['median']:.2f}",
                f"{ratio['low']:.2f} to {ratio['high']:.2f}",
                f"{row['images/s']['median']:,.0f}",
            )
        console.print(table, f"{entry['rounds']} rounds, {entry['disturbed']} disturbed\n")
    table = Table(
        "setting", *next(iter(found["memory"].values()), {}), title="bytes per neuron and time step", box=None
    )
    for key, row in found["memory"].items():
        table.add_row(key, *(f"{value:.2f}" if value else "" for value in row.values()))
    console.print(table)
    console.print("seconds over T:", found["growth"].get("T"), "\nseconds over depth:", found["growth"].get("depth"))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=list(PRECISIONS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=90.0, help="at most, for each row of the table")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--out", type=Path, help="by default benchmarks/data/MACHINE.json, added to what is there")
    parser.add_argument("--memory-of", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        print(memory_of(*options.memory_of))
        return
    about = machine()
    words = f"{about['processor']} {about['instructions']}".lower().replace(",", "").split()
    path = options.out or DATA / f"{'-'.join(words)}.json"
    keep_freed_memory()
    found: dict[str, Any] = {"machine": about, "times": {}, "memory": {}, "profile": {}, "growth": {}}
    if path.exists():
        found |= json.loads(path.read_text()) | {"machine": about}
    with only_benchmark():
        for name in options.settings:
            for precision in options.precisions:
                for kind in ("training", "inference"):
                    if kind in options.parts:
                        found["times"][f"{name} {kind} {precision}"] = measure(
                            name,
                            precision,
                            training=kind == "training",
                            rounds=options.rounds,
                            seconds=options.seconds,
                        )
                        save(path, found)
                if "memory" in options.parts:
                    depth, filters, steps, batch = SETTINGS[name]
                    config = sresnet.SResNetConfig(depth=depth, base_filters=filters, num_steps=steps)
                    neuron_steps = summarise(config).neurons * steps * batch
                    contenders = ENGINES[:2] if is_emulated(precision) else (*ENGINES, *PEERS)
                    sizes = {each: measure_memory(name, precision, each) for each in contenders}
                    found["memory"][f"{name} {precision}"] = {k: v and v / neuron_steps for k, v in sizes.items()}
                    save(path, found)
            if "profile" in options.parts:
                found["profile"][name] = profile_of(name)
                save(path, found)
        if "growth" in options.parts:
            found["growth"] = growth(options.seconds)
            save(path, found)
    print_tables(found)
    print(f"written to {path}")


def save(path: Path, found: dict[str, Any]) -> None:
    """Write what was found so far."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
    path.with_suffix(".md").write_text(markdown(found))


if __name__ == "__main__":
    main()
