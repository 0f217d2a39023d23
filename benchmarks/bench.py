"""What a training step and an inference cost: time, memory, growth with T and depth, beside other ways to do the same.

    make bench          this package
    make bench-peers    also SpikingJelly and snnTorch in every setting of `peers.py`, in an environment of their own

Contenders run in turn in one process, so that whatever the machine does falls on all of them; rounds disturbed by other
processes are dropped and counted. All of them have the allocator that `sresnet train` uses, which other libraries do
not bring along. "floor" is the network's convolutions alone, forward and backward, channels last, and is what ratios
refer to; "over ours" is over `fastest`. First every peer is checked to compute the same network. Writes
benchmarks/data/MACHINE.json and prints a table. Memory is measured in processes of their own: the most that lay in one
during its third step, above what lay there before.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

import torch
from compiles import why_not
from contenders import ENGINES, PRECISIONS, SETTINGS, check_same, compared, is_emulated, network, train_step
from division import PROFILED, divided
from memory import CURVE_T, Job, cost_alone, curve
from page import markdown, print_tables
from peers import PEERS
from quiet import OTHERS_ALLOWED, Sample, in_turn, only_benchmark, spread, summary

import sresnet  # before torch: it sets how idle threads wait
from sresnet.models.summary import summarise
from sresnet.ops.memory import keep_freed_memory
from sresnet.train import record

DATA = Path(__file__).parent / "data"
PARTS = ("training", "inference", "memory", "profile", "growth", "curve")
MEMORY_OF = (
    "spikingjelly as shipped",
    "spikingjelly single-step",
    "spikingjelly memory-optimised",
    "snntorch as shipped",
)
"""Peers whose memory is measured."""


def against_ours(samples: dict[str, list[Sample]]) -> dict[str, Any]:
    """Time of the peer with the least median over ours in the same round, and of each library as shipped."""
    over = {
        name: spread([a.seconds / b.seconds for a, b in zip(samples[name], samples["fastest"], strict=True)])
        for name in PEERS
        if name in samples
    }
    if not over:
        return {}
    best = min(over, key=lambda name: over[name]["median"])
    shipped = {PEERS[name].library: each for name, each in over.items() if PEERS[name].setting == "as shipped"}
    return {"best of all peers over ours": {"which": best} | over[best], "as shipped over ours": shipped}


def measure(name: str, precision: str, *, training: bool, options: argparse.Namespace) -> dict[str, Any]:
    """Times of one setting, with what they were measured on."""
    left_out = {}
    for peer in () if is_emulated(precision) else PEERS:
        seconds = options.compile_seconds
        if PEERS[peer].compiled and (reason := why_not(peer, name, precision, training=training, seconds=seconds)):
            left_out[peer] = reason
    contenders = compared(name, precision, training=training, left_out=left_out)
    samples, disturbed = in_turn(contenders, rounds=options.rounds, at_most_seconds=options.seconds)
    batch = SETTINGS[name][3]
    rows = summary(samples, "floor")
    for row in rows.values():
        row["images/s"] = spread([batch / row["seconds"]["median"]])
    found = {"rounds": len(samples["floor"]), "disturbed": disturbed, "contenders": rows} | against_ours(samples)
    return found | ({"left out": left_out} if left_out else {})


def memory(name: str, precision: str) -> tuple[dict[str, float | None], dict[str, float | None]]:
    """Of a training step, in bytes per neuron and time step; of an inference, in bytes."""
    depth, filters, steps, batch = SETTINGS[name]
    config = sresnet.SResNetConfig(depth=depth, base_filters=filters, num_steps=steps)
    neuron_steps = summarise(config).neurons * steps * batch
    peers = [each for each in MEMORY_OF if each in PEERS and not is_emulated(precision)]
    found: list[dict[str, float | None]] = []
    for training, ours in ((True, ENGINES[:2]), (False, ENGINES[:1])):
        given = [each for each in peers if training or each != "spikingjelly memory-optimised"]
        costs = {each: cost_alone(Job(SETTINGS[name], precision, each, training)) for each in (*ours, *given)}
        over = neuron_steps if training else 1
        found.append({each: cost["bytes"] / over if cost else None for each, cost in costs.items()})
    return found[0], found[1]


def growth(seconds: float) -> dict[str, Any]:
    """Seconds of a training step of S-ResNet8 over T, and at T = 4 over depth; batch 16, the least of several."""
    steps = {T: train_step(*network((8, 16, T, 16)), "fp32") for T in (1, 2, 4, 8, 16, 32, 64)}
    depths = {d: train_step(*network((d, 16, 4, 16)), "fp32") for d in (8, 14, 20, 26, 32, 38, 44)}
    given = {}
    for name, calls in (("T", steps), ("depth", depths)):
        samples, _ = in_turn({str(k): call for k, call in calls.items()}, rounds=5, at_most_seconds=seconds)
        given[name] = {k: min(each.seconds for each in v) for k, v in samples.items()}
    return given


def profile_of(name: str, precisions: list[str], seconds: float, before: dict[str, Any]) -> dict[str, Any]:
    """How a training step divides with one thread and with two, seconds; what was faster before stays.

    With a thread for each core, a step that others disturbed says nothing and is left out.
    """
    found = dict(before)
    for precision in precisions:
        for threads in sorted({1, min(2, torch.get_num_threads())}):
            key = f"{name} {precision}, {threads} thread{'s' * (threads > 1)}"
            rows = [divided(name, precision, threads, seconds), *([found[key]] if key in found else [])]
            rows = [row for row in rows if row["others"] <= OTHERS_ALLOWED or threads < (os.cpu_count() or 1)]
            if rows:
                speed = max(row["copy"] for row in rows)
                found[key] = min(rows, key=lambda row: row["step"]) | {"copy": speed}
    return found


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
        "peers": {name: importlib.metadata.version(name) for name in {each.library for each in PEERS.values()}},
        "date": datetime.date.today().isoformat(),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], choices=list(PRECISIONS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=90.0, help="at most, for each row of the table")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--out", type=Path, help="by default benchmarks/data/MACHINE.json, added to what is there")
    parser.add_argument("--compile-seconds", type=float, default=300.0, help="at most, to compile another library's")
    parser.add_argument("--longest", type=int, default=CURVE_T[-1], help="the last T of the curve")
    options = parser.parse_args()
    about = machine()
    words = f"{about['processor']} {about['instructions']}{' amx' * about['AMX']}".lower()
    parts = words.replace(",", "").replace("(r)", "").split()
    path = options.out or DATA / f"{'-'.join(parts)}.json"
    keep_freed_memory()
    found: dict[str, Any] = {"machine": about, "times": {}, "memory": {}, "inference memory": {}, "divisions": {}}
    found |= {"growth": {}, "curve": {}, "same network": {}, "revisions": {}}
    if path.exists():
        found |= json.loads(path.read_text(encoding="utf-8")) | {"machine": about}
    found["revisions"] |= dict.fromkeys(options.parts, about["revision"])
    with only_benchmark():
        for name in options.settings:
            if set(options.parts) - {"profile", "growth"}:  # those with peers
                found["same network"][name] = check_same(SETTINGS[name])
            for precision in options.precisions:
                key = f"{name} {precision}"
                for kind in ("training", "inference"):
                    if kind in options.parts:
                        measured = measure(name, precision, training=kind == "training", options=options)
                        found["times"][f"{name} {kind} {precision}"] = measured
                        save(path, found)
                if "memory" in options.parts:
                    found["memory"][key], found["inference memory"][key] = memory(name, precision)
                    save(path, found)
            if "profile" in options.parts and name in PROFILED:
                divisions = found["divisions"].get(about["revision"], {})
                divisions = profile_of(name, options.precisions, options.seconds, divisions)
                found["divisions"][about["revision"]] = divisions
                save(path, found)
        if "growth" in options.parts:
            found["growth"] = growth(options.seconds)
            save(path, found)
        if "curve" in options.parts:
            found["curve"] = curve(options.longest)
            save(path, found)
    print_tables(found)
    print(f"written to {path}")


def save(path: Path, found: dict[str, Any]) -> None:
    """Write what was found so far."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(markdown(found), encoding="utf-8")


if __name__ == "__main__":
    main()
