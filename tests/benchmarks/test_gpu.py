import json
import warnings

import pytest

from tests.scripts import script

gpu = script("benchmarks/gpu")


def test_parts_are_written_down_one_by_one(tmp_path, monkeypatch, capsys):
    """One that fails is noted, and the others go on; on a CPU, at sizes that say nothing."""

    def broken(sizes):
        raise RuntimeError("CUDA error: an illegal\nmemory access")

    def warning(sizes):
        warnings.warn("a kernel differs", stacklevel=1)
        return {"row": {"column": 1.5}}

    monkeypatch.setitem(gpu.PARTS, "steps", broken)
    monkeypatch.setitem(gpu.PARTS, "kernels", warning)
    with pytest.raises(SystemExit, match="a part failed"):
        gpu.main(["--dry", "--parts", "card", "steps", "kernels", "convolutions", "--out", str(tmp_path / "gpu.json")])
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert parts["card"]["rows"]["copy"]["TB/s"] > 0
    assert parts["steps"]["error"] == "RuntimeError: CUDA error: an illegal memory access"
    assert parts["kernels"]["warnings"] == ["a kernel differs"]
    assert len(parts["convolutions"]["rows"]) == 12
    said = (tmp_path / "gpu.md").read_text()
    assert "It failed: RuntimeError: CUDA error: an illegal memory access" in said
    assert "| 4 channels, 8x8, bfloat16, channels last | True | " in said
    assert "illegal" in capsys.readouterr().err


def test_no_part_begins_when_the_time_is_over(tmp_path):
    with pytest.raises(SystemExit):
        gpu.main(["--dry", "--seconds", "-1", "--parts", "card", "--out", str(tmp_path / "gpu.json")])
    assert json.loads((tmp_path / "gpu.json").read_text())["parts"]["card"]["error"] == "left out: the time was over"


def test_a_machine_without_a_gpu(monkeypatch):
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="torch finds no GPU here"):
        gpu.main([])


def test_a_step_and_a_training(tmp_path):
    """Every column is there."""
    sizes = gpu.Sizes(
        device=gpu.torch.device("cpu"),
        copied=64,
        multiplied=8,
        maps={4: 8},
        settings={"paper": (8, 2, 2, 2)},
        epochs=1,
        data_dir="",
        until=gpu.time.monotonic() + 600,
    )
    rows = gpu.steps(sizes)
    assert [*rows] == ["paper, bf16, fastest", "paper, bf16, low-memory", "paper, fp32, fastest"]
    assert {*rows["paper, bf16, fastest"]} == {"GB", "ms", "bytes / neuron-step", "images/s", "graph, ms"}
    profiled = gpu.kernels(sizes)
    assert profiled["all"]["ms"] == pytest.approx(sum(row["ms"] for row in profiled.values()) / 2, rel=0.5)
    assert any("conv" in name for name in profiled)
    trained = gpu.trainings(sizes)["digits, cpu"]
    assert trained["state"] == "finished"
    assert trained["test"] > 10
