"""Killed with SIGKILL at any file operation, every verb that writes goes on with the same command: tests/kills.py."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kills import VERBS


def faults(*words):
    # In a process of its own: a fork of this one, whose thread pools have started, would hang.
    command = [sys.executable, "-m", "tests.kills", *map(str, words)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_twenty_kills_of_all_verbs(tmp_path):
    assert faults(tmp_path, "some", 0) == []


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_a_kill_at_every_file_operation(tmp_path, verb):
    assert faults(tmp_path, "sweep", verb) == []
