"""The model of bytes and operations, in a process of its own, as it replaces the kernels for good."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("engine", "kept"), [("fastest", (2.0, 2.6)), ("low-memory", (0.2, 0.9))])
def test_a_small_network_is_counted(engine, kept):
    words = "--depth 8 --filters 16 --steps 4 --batch 1000".split()
    script = ROOT / "benchmarks" / "roofline.py"
    done = subprocess.run(
        [sys.executable, str(script), *words, "--engine", engine], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    # Neurons of S-ResNet8 with 16 filters on 32 by 32 pixels: three layers of 16 maps, then two blocks.
    neurons = 16 * 1024 * 3 + 32 * 256 * 2 + 64 * 64 * 2
    skips = 32 * 256 + 64 * 64
    assert f"{1000 * 4 * (neurons + skips) / 1e9:.2f} G neuron-steps" in done.stdout
    found = re.search(r"([\d.]+) bytes per neuron and step\.", done.stdout)
    assert kept[0] <= float(found[1]) <= kept[1], done.stdout
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    counts = {row[0].strip("| `"): row[1] for row in rows}
    assert counts["scan"] == counts["scan_back"] == counts["norm_back"] == "9"
    assert counts["convolutions, weight gradient"] == "9"
    assert counts["convolutions, forward"] == ("9" if engine == "fastest" else "18")
    assert rows[-1][0].startswith("| an epoch")
