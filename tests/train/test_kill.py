"""Killed with SIGKILL at random moments, saving included, a run ends bit-identical to one that was left alone."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from sresnet.data import Splits
from sresnet.train.loop import train
from tests.train.test_loop import TINY, changed, final, images

KILLS = 6

SPLITS = Splits(train=images(320, 1), validation=images(20, 2), test=images(33, 3))
RECIPES = {"plain": changed(TINY, epochs=8), "segments": changed(TINY, epochs=8, time_segments=(2,))}


def run(folder, name, watch=lambda progress: None):
    torch.set_num_threads(1)
    # A checkpoint after every step: about half of the time is spent in saving.
    return train(RECIPES[name], SPLITS, folder, device=torch.device("cpu"), checkpoint_seconds=0, watch=watch)


def kill_again_and_again(parent, name):
    """Start, kill after a step or more, start, ... in child processes; after a run's end comes a fresh one."""
    moments = random.Random(5)
    folder, killed = parent / "0", 0
    while killed < KILLS:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                run(folder, name, lambda progress, done=writing: os.write(done, b"."))
            finally:
                os._exit(0)
        os.close(writing)
        os.read(reading, 1)
        time.sleep(moments.uniform(0, 0.1))
        os.kill(child, signal.SIGKILL)
        os.close(reading)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            killed += 1
        else:
            folder = parent / str(int(folder.name) + 1)


@pytest.mark.parametrize("name", RECIPES)
def test_six_kills_change_nothing(tmp_path, name):
    whole = run(tmp_path / "whole", name)
    # In a process of its own: a fork of this one, whose thread pools have started, would hang.
    program = "import sys; from tests.train.test_kill import *; kill_again_and_again(Path(sys.argv[1]), sys.argv[2])"
    command = [sys.executable, "-c", program, tmp_path / "killed", name]
    (tmp_path / "killed").mkdir()
    subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, check=True)
    folders = sorted((tmp_path / "killed").iterdir())
    assert folders
    for folder in folders:
        run(folder, name)
        assert final(whole.folder) == final(folder)
