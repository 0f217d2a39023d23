import json
import warnings

import pytest

from tests.scripts import script

gpu = script("benchmarks/gpu")
peers_of = script("benchmarks/peers")


def test_parts_are_written_down_one_by_one(tmp_path, monkeypatch, capsys):
    """One that fails is noted, and the others go on; on a CPU, at sizes that say nothing."""

    def broken(sizes):
        raise RuntimeError("CUDA error: an illegal\nmemory access")

    def warning(sizes):
        warnings.warn("a kernel differs", stacklevel=1)
        return {"row": {"column": 1.5}}

    monkeypatch.setitem(gpu.PARTS, "steps", (broken, 9))
    monkeypatch.setitem(gpu.PARTS, "kernels", (warning, 9))
    with pytest.raises(SystemExit, match="a part failed"):
        gpu.main(["--dry", "--parts", "card", "steps", "kernels", "convolutions", "--out", str(tmp_path / "gpu.json")])
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert parts["card"]["rows"]["copy"]["TB/s"] > 0
    assert parts["steps"]["error"] == "RuntimeError: CUDA error: an illegal memory access"
    assert parts["kernels"]["warnings"] == ["a kernel differs"]
    assert len(parts["convolutions"]["rows"]) == 18
    said = (tmp_path / "gpu.md").read_text()
    assert "It failed: RuntimeError: CUDA error: an illegal memory access" in said
    assert "| 4 to 4 channels, 8x8, bfloat16, channels last | True | " in said
    assert "illegal" in capsys.readouterr().err


def test_no_part_begins_when_the_time_is_over(tmp_path):
    with pytest.raises(SystemExit):
        gpu.main(["--dry", "--seconds", "-1", "--parts", "card", "--out", str(tmp_path / "gpu.json")])
    assert json.loads((tmp_path / "gpu.json").read_text())["parts"]["card"]["error"] == "left out: the time was over"


def test_a_machine_without_a_gpu(monkeypatch):
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="torch finds no GPU here"):
        gpu.main([])


def test_a_step_and_a_training(tmp_path, monkeypatch):
    """Every column is there."""
    sizes = gpu.Sizes(
        device=gpu.torch.device("cpu"),
        copied=64,
        multiplied=8,
        maps={4: 8},
        settings={"paper": (8, 2, 2, 2)},
        epochs=1,
        images=None,
        data_dir="",
        until=gpu.time.monotonic() + 600,
    )
    rows = gpu.steps(sizes)
    halves = ["paper, bf16, fastest", "paper, bf16, low-memory"]
    assert [*rows] == [*halves, "paper, fp32, fastest", "paper, fp16, fastest"]
    assert {*rows["paper, bf16, fastest"]} == {"GB", "ms", "bytes / neuron-step", "images/s", "graph, ms"}
    monkeypatch.setattr(gpu, "counted_bytes", lambda sizes: {"aten::conv2d": (9, 10**9), "scan": (9, 10**9)})
    profiled = gpu.kernels(sizes)
    longest = sum(row.get("ms", 0.0) for name, row in profiled.items() if name != "all")
    assert profiled["all"]["ms"] == pytest.approx(longest, rel=0.5)
    found = profiled["aten::conv2d"]
    assert found["TB/s"] == pytest.approx(1 / found["ms"])
    assert found["of a copy"] > 0
    assert profiled["scan"] == {"calls": 9, "GB": 1.0}
    assert any("conv" in name for name in profiled)
    trained = gpu.trainings(sizes)["digits, cpu"]
    assert trained["state"] == "finished"
    assert trained["test"] > 10


def test_parts_that_take_too_long_leave_time_for_others(tmp_path, monkeypatch):
    """What a part gets is its own share; steps that fail say why, and the next one is tried."""
    assert sum(seconds for _, seconds in gpu.PARTS.values()) <= 540
    seen = []
    monkeypatch.setitem(gpu.PARTS, "card", (lambda sizes: seen.append(sizes.until - gpu.time.monotonic()) or {}, 20))
    gpu.main(["--dry", "--parts", "card", "--out", str(tmp_path / "gpu.json")])
    assert 19 < seen[0] <= 20

    def full(*given):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(gpu, "timed", full)
    sizes = gpu.Sizes(
        device=gpu.torch.device("cpu"), copied=1, multiplied=1, maps={}, settings={"paper": (8, 2, 1, 2)}, epochs=1,
        images=1, data_dir="", until=gpu.time.monotonic() + 600,
    )  # fmt: skip
    assert {row["result"] for row in gpu.steps(sizes).values()} == {"out of memory"}


def test_tests_that_do_not_end(tmp_path, monkeypatch):
    (tmp_path / "test_slow.py").write_text("import time\ndef test(): time.sleep(99)\n")
    monkeypatch.setattr(gpu, "TESTS", str(tmp_path / "test_slow.py"))
    wait = gpu.subprocess.run
    monkeypatch.setattr(
        gpu.subprocess, "run", lambda command, timeout, **more: wait(["sleep", "9"], timeout=0.1, **more)
    )
    sizes = gpu.Sizes(
        device=gpu.torch.device("cpu"), copied=1, multiplied=1, maps={}, settings={}, epochs=1, images=1, data_dir="",
        until=gpu.time.monotonic(),
    )  # fmt: skip
    assert gpu.tests(sizes) == {"all": {"result": "nothing (stopped after 30 s)"}}


def test_without_spikingjelly_it_says_so(monkeypatch):
    monkeypatch.setattr(gpu, "PEERS", {})
    assert "pip install --no-deps spikingjelly" in gpu.peers(None)["spikingjelly"]["result"]


def test_spikingjelly_in_four_ways(monkeypatch):
    """With a network of ours in its place; one way fails."""

    def broken(ours):
        raise RuntimeError("no such\nlayer")

    settings = {
        "as shipped": broken,
        "vectorised norm, channels-last": lambda ours: ours,
        "compiled": lambda ours: ours,
    }
    peers = {f"spikingjelly {name}": peers_of.Peer("spikingjelly", name, build) for name, build in settings.items()}
    monkeypatch.setattr(gpu, "PEERS", peers)
    compiled = []
    monkeypatch.setattr(gpu.torch.nn.Module, "compile", lambda self: compiled.append(self))
    sizes = gpu.Sizes(
        device=gpu.torch.device("cpu"), copied=1, multiplied=1, maps={}, epochs=1, images=1, data_dir="",
        settings={"paper": (8, 2, 1, 2), "D": (8, 2, 1, 1)}, until=gpu.time.monotonic() + 600,
    )  # fmt: skip
    rows = gpu.peers(sizes)
    assert len(rows) == 8
    assert rows["paper, spikingjelly, as shipped, bf16"] == {"result": "RuntimeError: no such layer"}
    assert rows["D, spikingjelly, vectorised norm, channels-last, compiled, bf16"]["ms"] > 0
    assert len(compiled) == 2
