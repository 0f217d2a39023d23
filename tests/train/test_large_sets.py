"""Sets of 20,000 samples train in less memory than the samples take, which those in memory do not."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.data.events.made_up_sets import nmnist

Image = pytest.importorskip("PIL.Image")

COUNT = 20_000
ROOM = 210 << 20
"""Bytes of data that a process may have beyond its imports; the samples are 246 and 370 million."""

LIMITED = """
import resource, sys
from importlib import import_module
from sresnet.cli import MODULES, main
from sresnet.data import pictures
for name in MODULES.values():
    import_module(f"sresnet.cli.{name}")
if sys.argv[1] == "memory":
    pictures._MANY = pictures._MUCH = 10**18
(line,) = [line for line in open("/proc/self/status") if line.startswith("VmData")]
room = 1024 * int(line.split()[1]) + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_DATA, (room, room))
sys.exit(main(sys.argv[3:]))
"""

NETWORK = "--model.depth 8 --model.base-filters 1 --train.epochs 1 --train.batch-size 50".split()


def put_pictures(folder):
    """Of 200 kinds, each in 100 files."""
    draw = np.random.default_rng(0)
    for kind in range(200):
        path = folder / f"class{kind % 2}" / f"{kind}-0.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
        content = path.read_bytes()
        for number in range(1, COUNT // 200):
            path.with_name(f"{kind}-{number}.png").write_bytes(content)


def put_recordings(folder):
    """N-MNIST's folders, each of ten recordings in many files."""
    for part, count, first in (("Train", COUNT - 1000, 0), ("Test", 1000, 10)):
        for digit in range(10):
            (folder / part / str(digit)).mkdir(parents=True)
            content = nmnist(seed=first + digit)
            for number in range(count // 10):
                (folder / part / str(digit) / f"{number:05}.bin").write_bytes(content)


def trained(folder, kept, words, room=ROOM):
    """(exit status, error output, output) of a training that may have so much memory."""
    command = [sys.executable, "-c", LIMITED, kept, str(room), "train", *words, *NETWORK]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    environment |= {"XDG_CACHE_HOME": str(folder / "cache")}
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr, done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_pictures_train_in_less_memory_than_they_take(tmp_path):
    put_pictures(tmp_path / "data")
    words = "digits --data.name folder --data-dir data --data.image-size 64 --model.in-channels 3".split()
    words += ["--model.num-steps", "1", "--out"]
    status, complaint, _ = trained(tmp_path, "memory", [*words, "memory"])
    assert status == 2, complaint
    assert "memory does not suffice" in complaint
    assert not (tmp_path / "memory").exists()
    status, complaint, said = trained(tmp_path, "disk", [*words, "disk"])
    assert status == 0, complaint
    assert "20,000 pictures of 64x64 pixels are decoded into " in said
    assert ": 245.8 MB, " in said
    assert "16,000 training images" in said
    assert (tmp_path / "disk" / "result.json").exists()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_recordings_train_in_less_memory_than_their_frames_take(tmp_path):
    put_recordings(tmp_path / "data")
    words = "nmnist --data-dir data --data.frames.size 34 --model.num-steps 8 --max-minutes 1.5 --out run".split()
    status, complaint, said = trained(tmp_path, "disk", words)
    assert status == 0, complaint
    assert "20,000 clips of 8 frames, 34x34 pixels, are made in " in said
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()
    assert 1.5 * ROOM < COUNT * 8 * 2 * 34 * 34
