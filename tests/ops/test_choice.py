"""Which engine computes where, without a GPU and without triton."""

import os
import subprocess
import sys

import pytest
import torch

from sresnet import UserError
from sresnet.ops.dispatch import implementation
from sresnet.ops.lif import lif
from sresnet.ops.neuron import LIFConstants
from sresnet.ops.scan import choice, cpu
from sresnet.ops.surrogate import Triangle
from sresnet.printing import tell_once

X, NEURON = torch.ones(2, 3), LIFConstants(leak=0.8, surrogate=Triangle())


def in_process(code, **environment):
    """Status and error output of another process, whose environment says so."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=False)
    return done.returncode, done.stderr


def test_a_cpu_has_the_compiled_kernel():
    assert choice.engine_of(X) is cpu
    if cpu.available():
        assert choice.stored_here(X) == (torch.float32, torch.bfloat16)
    assert not choice.on_gpu(X)
    assert choice.stored_here(X.to("meta")) == ()


def test_triton_is_refused_where_it_cannot_run(monkeypatch, capsys):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(choice, "_installed", lambda: True)
    with implementation("triton"), pytest.raises(UserError, match="'triton' runs on a GPU, and this layer is on cpu: "):
        lif(X, NEURON)
    monkeypatch.setattr(choice, "_installed", lambda: False)
    with implementation("triton"), pytest.raises(UserError, match="run pip install 'sresnet\\[triton\\]', or use 'fas"):
        lif(X, NEURON)
    assert not capsys.readouterr().err  # the line for GPUs is not for a CPU


def test_a_gpu_without_triton_has_the_reference(monkeypatch, capsys):
    monkeypatch.setattr(choice, "_lies_on_gpu", lambda x: True)
    monkeypatch.setattr(choice.importlib.util, "find_spec", lambda name: None)
    choice._found.cache_clear()
    tell_once.cache_clear()
    try:
        for _ in range(2):
            assert lif(X, NEURON).spikes.tolist() == [[0.0] * 3, [1.0] * 3]
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "triton is not installed: layers on a GPU run in PyTorch, slowly" in said
    finally:
        choice._found.cache_clear()
        tell_once.cache_clear()


CALL = """
import sys, torch, threading
from sresnet.ops.dispatch import chosen_implementation, implementation, low_memory_chosen, triton_chosen
assert chosen_implementation() == {name!r}
other = []
threading.Thread(target=lambda: other.append(chosen_implementation())).start()
while not other: pass
assert other == [{name!r}]
with implementation("low-memory"):
    assert triton_chosen() == ({name!r} == "triton")
    assert low_memory_chosen()
for other in ("reference", "fastest"):
    with implementation(other):
        assert not triton_chosen()
from sresnet.cli.runs import RuntimeOptions
assert RuntimeOptions().engine == {name!r}
import sresnet.train.loop
assert "triton" not in sys.modules
"""


@pytest.mark.parametrize("name", ["reference", "triton"])
def test_the_environment_says_what_all_threads_run(name):
    assert in_process(CALL.format(name=name), SRESNET_ENGINE=name) == (0, "")


def test_an_unknown_engine_in_the_environment():
    code = "import sys; from sresnet.cli import main; sys.exit(main(['info', 'sresnet8']))"
    status, said = in_process(code, SRESNET_ENGINE="tritn")
    assert status == 2
    assert said == "sresnet: SRESNET_ENGINE 'tritn' is unknown: did you mean 'triton'?\n"
