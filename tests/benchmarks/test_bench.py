import copy
import subprocess

import pytest
from torch import nn

from tests.scripts import script

bench, contenders, division, memory = (
    script(f"benchmarks/{name}") for name in ("bench", "contenders", "division", "memory")
)
Peer = script("benchmarks/peers").Peer
SMALL = (8, 2, 4, 2)


def test_best_and_as_shipped_ratios_are_of_neighbours(monkeypatch):
    peers = {f"x {setting}": Peer("x", setting, nn.Identity) for setting in ("as shipped", "tuned", "absent")}
    monkeypatch.setattr(bench, "PEERS", peers)
    times = {"fastest": [1.0, 2.0, 4.0], "x as shipped": [4.0, 8.0, 16.0], "x tuned": [3.0, 6.0, 12.0]}
    found = bench.against_ours({name: [bench.Sample(s, 0.0) for s in each] for name, each in times.items()})
    assert found["best of all peers over ours"] == {"which": "x tuned", "median": 3.0, "low": 3.0, "high": 3.0}
    assert found["as shipped over ours"] == {"x": {"median": 4.0, "low": 4.0, "high": 4.0}}


def test_a_peer_that_computes_another_network_is_refused(monkeypatch):
    def other(ours):
        theirs = copy.deepcopy(ours)
        theirs.readout.linear.weight.data[0, 0] += 1e-3
        return theirs

    monkeypatch.setattr(contenders, "PEERS", {"x": Peer("spikingjelly", "as shipped", copy.deepcopy)})
    assert contenders.check_same(SMALL) == {"x": 0.0}
    monkeypatch.setattr(contenders, "PEERS", {"y": Peer("spikingjelly", "as shipped", other)})
    with pytest.raises(ValueError, match=r"y at .* computes another network"):
        contenders.check_same(SMALL)


def test_the_curve_leaves_out_what_would_take_too_much(monkeypatch):
    def cost(job):
        return {"bytes": job.setting[2] * 5e8 / max(1, *job.segments, 1), "seconds": 0.1}

    monkeypatch.setattr(memory, "cost_alone", cost)
    found = memory.curve(50)
    assert [*found["fastest"]] == ["4", "8", "16", "50"]
    assert "bytes" in found["fastest"]["16"]
    assert found["fastest"]["50"] == {"left out": "more than 12 GB"}
    assert found["one level of segments"]["50"]["segments"] == (7,)


def test_the_curve_leaves_out_what_would_take_too_long(monkeypatch):
    monkeypatch.setattr(memory, "cost_alone", lambda job: {"bytes": 1.0, "seconds": job.setting[2] ** 2 / 16})
    found = memory.curve(100)["fastest"]
    assert [*found] == ["4", "8", "16", "50", "100"]
    assert found["16"]["seconds"] == 16.0  # so that 50 is expected to take 50 and takes 156
    assert found["50"]["seconds"] > memory.SLOWEST
    assert found["100"] == {"left out": "more than 120 s"}


def test_a_contender_that_does_not_fit_is_left_out(monkeypatch):
    said = "RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."
    program = "import sys; sys.exit(sys.argv[1])"
    monkeypatch.setattr(memory.json, "dumps", lambda job: said)
    run = subprocess.run
    monkeypatch.setattr(
        memory.subprocess, "run", lambda command, **more: run([command[0], "-c", program, command[2]], **more)
    )
    found = memory.curve(8)
    assert found["fastest"] == {key: {"left out": "more than 12 GB"} for key in ("4", "8")}
    said = "ValueError: a fault"
    with pytest.raises(subprocess.CalledProcessError):
        memory.curve(4)


def test_parts_of_a_step_make_up_the_step(monkeypatch):
    calls = [(owner, name, getattr(owner, name)) for owner, name, _ in division._calls()]
    monkeypatch.setitem(division.SETTINGS, "small", SMALL)
    row = division.divided("small", "fp32", 1, 0.0)
    assert all(row[part] > 0 for part in division.PARTS)
    assert sum(row[part] for part in division.PARTS) == pytest.approx(row["step"])
    assert all(getattr(owner, name) is call for owner, name, call in calls)
    line = division.division_table({"0123456789": {"A": row}})[-1]
    assert line.startswith("| 0123456 | A | ")
    assert f"({(row['step'] / sum(row[part] for part in division.PARTS[:2])) - 1:.2f}) |" in line
    assert row["copy"] > 1e8
