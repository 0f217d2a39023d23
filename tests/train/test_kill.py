"""Killed with SIGKILL at random moments, saving included, a run ends bit-identical to one that was left alone."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from sresnet.data import Splits
from sresnet.train.loop import train
from tests.train.test_loop import TINY, changed, final, images

KILLS = 20

SPLITS = Splits(train=images(320, 1), validation=images(20, 2), test=images(33, 3))
RECIPE = changed(TINY, epochs=8)


def run(folder):
    torch.set_num_threads(1)
    # A checkpoint after every step: about half of the time is spent in saving.
    return train(RECIPE, SPLITS, folder, device=torch.device("cpu"), checkpoint_seconds=0)


def kill_again_and_again(parent):
    """Start, kill, start, ... in child processes; a run that gets to its end is followed by a fresh one."""
    moments = random.Random(5)
    folder, killed = parent / "0", 0
    while killed < KILLS:
        child = os.fork()
        if child == 0:
            try:
                run(folder)
            finally:
                os._exit(0)
        time.sleep(moments.uniform(0.02, 0.5))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            killed += 1
        else:
            folder = parent / str(int(folder.name) + 1)


def test_twenty_kills_change_nothing(tmp_path):
    whole = run(tmp_path / "whole")
    # In a process of its own: a fork of this one, whose thread pools have started, would hang.
    program = "import sys; from tests.train.test_kill import *; kill_again_and_again(Path(sys.argv[1]))"
    command = [sys.executable, "-c", program, tmp_path / "killed"]
    (tmp_path / "killed").mkdir()
    subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, check=True)
    folders = sorted((tmp_path / "killed").iterdir())
    assert folders
    for folder in folders:
        run(folder)
        assert final(whole.folder) == final(folder)
