"""`torchrun -m sresnet train` itself: stopped, killed and started again."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sresnet.train import record

WORDS = "-m sresnet train digits --train.epochs 2 --model.num-steps 1 --model.base-filters 4".split()


def started(folder, *options):
    """torchrun with two processes that train in `folder`."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *options]
    words = [*torchrun, *WORDS, "--checkpoint-seconds", "0.2", "--out", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def worker(folder, torchrun, rank):
    """The process of this rank, once there is a checkpoint."""
    while not (folder / record.CHECKPOINT).exists():
        assert torchrun.poll() is None, torchrun.communicate()[0]
        time.sleep(0.02)
    for process in Path(f"/proc/{torchrun.pid}/task/{torchrun.pid}/children").read_text(encoding="utf-8").split():
        if f"\0RANK={rank}\0" in "\0" + Path(f"/proc/{process}/environ").read_text(encoding="utf-8"):
            return int(process)
    raise AssertionError(f"no process {rank}")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to find the workers")
def test_a_killed_worker_and_a_run_that_is_asked_to_stop(tmp_path):
    """Started again from the last checkpoint, both end as the run that nobody disturbed."""
    whole = started(tmp_path / "whole")
    assert whole.communicate()[0].count("epoch 2/2") == 1
    assert whole.returncode == 0
    expected = (tmp_path / "whole" / "weights.safetensors").read_bytes()

    for rank in (0, 1):
        folder = tmp_path / f"killed{rank}"
        killed = started(folder, "--max-restarts", "3")
        os.kill(worker(folder, killed, rank), signal.SIGKILL)
        said = killed.communicate()[0]
        assert killed.returncode == 0, said
        assert said.count("2 processes: ") == 2, said  # it began twice
        assert (folder / "weights.safetensors").read_bytes() == expected

    folder = tmp_path / "asked"
    asked = started(folder)
    worker(folder, asked, 0)
    asked.send_signal(signal.SIGTERM)
    said = asked.communicate()[0]
    assert len(re.findall(r"stopped at step \d+ \(SIGTERM\)", said)) == 1, said
    again = started(folder)
    said = again.communicate()[0]
    assert again.returncode == 0, said
    assert (folder / "weights.safetensors").read_bytes() == expected


PAGE = (Path(__file__).parents[2] / "docs" / "scale.md").read_text()
SRUN = """#!/bin/bash
# Starts a command once on each of two nodes, both here.
[[ $1 == --cpus-per-task=1 ]] || exit 1
shift
for node in 0 1; do SLURM_PROCID=$node "$@" & done
wait
"""
TORCHRUN = """#!/bin/bash
# The same command, made small.
words="$*"
words=${{words/paper-cifar10-s2s --data-dir {home}\\/data/digits --model.num-steps 1 --model.base-filters 2}}
exec {python} -m torch.distributed.run $words --train.epochs 1
"""


@pytest.mark.slow
def test_the_script_for_slurm(tmp_path):
    (text,) = re.findall("```bash\n(.*?)```", PAGE, re.DOTALL)
    assert "#SBATCH --ntasks-per-node=1\n" in text
    (tmp_path / "train.sbatch").write_text(text)
    (tmp_path / "bin").mkdir()
    home = str(tmp_path).replace("/", "\\/")
    for name, program in {"srun": SRUN, "torchrun": TORCHRUN.format(python=sys.executable, home=home)}.items():
        (tmp_path / "bin" / name).write_text(program)
        (tmp_path / "bin" / name).chmod(0o755)
    environment = os.environ | {
        "PATH": os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]]),
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
        "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
        "OMP_NUM_THREADS": "1",
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_NNODES": "2",
        "SLURM_CPUS_PER_TASK": "1",
        "SLURM_GPUS_ON_NODE": "1",
    }
    done = subprocess.run(
        ["bash", "train.sbatch"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("2 processes: ") == 1, done.stdout + done.stderr
    assert (tmp_path / "runs" / "paper" / "result.json").exists()
