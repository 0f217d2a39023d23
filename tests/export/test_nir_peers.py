"""NIR graphs in snnTorch and Norse, which run in an environment of their own: `make nir-peers`, SRESNET_NIR_PEERS.

What they read, their spikes are ours at every step. Both have their own units, and neither reads a whole network.
"""

import copy
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from sresnet.models.program import program_of, run
from tests.models.test_program import trained

nir = pytest.importorskip("nir", reason="the extra nir is not installed")

from sresnet.export.nir import to_nir  # noqa: E402

PEER = Path(__file__).with_name("nir_peer.py")


@pytest.fixture(scope="module")
def peers():
    """The interpreter that has the libraries."""
    python = os.environ.get("SRESNET_NIR_PEERS", "")
    if not python:
        pytest.skip("SRESNET_NIR_PEERS names no interpreter that has snntorch and norse: make nir-peers")
    found = subprocess.run([python, "-W", "ignore", "-c", "import snntorch, norse, nir, nirtorch"], capture_output=True)
    if found.returncode:
        pytest.skip(f"{python} (SRESNET_NIR_PEERS) lacks snntorch, norse, nir or nirtorch")
    return python


def network(**fields):
    """A graph without skips, its input, and what each of its nodes gives at every step."""
    model = trained("sresnet8", base_filters=4, num_steps=6, norm="time-averaged", **fields).float()
    images = torch.randn(2, 3, 8, 8)
    frames, program, steps = model.encode(images, None), program_of(model), []
    with torch.no_grad():
        run(program, frames, lambda stepped: steps.append(stepped.outputs))
    expected = {each.name: np.stack([step[each.name] for step in steps]) for each in program.operations}
    return to_nir(model, images), frames.numpy(), expected


def cut(graph, last, change=lambda node, before: None):
    """The chain of nodes up to `last`, each changed together with the one before it."""
    onward, names = dict(graph.edges), ["input"]
    while names[-1] != last:
        names.append(onward[names[-1]])
    nodes = {name: copy.deepcopy(graph.nodes[name]) for name in names}
    for before, name in zip(names, names[1:], strict=False):
        change(nodes[name], nodes[before])
    nodes["output"] = nir.Output(output_type={"output": nodes[last].output_type["output"]})
    return nir.NIRGraph(nodes=nodes, edges=list(zip(names, [*names[1:], "output"], strict=True)), metadata={})


def of_snntorch(node, before):
    """Its time step is fixed, 0.1 ms: tau in seconds."""
    if isinstance(node, nir.LIF):
        node.tau = node.tau * 1e-4


def of_norse(node, before):
    """It takes r for 1, says so, and goes on: r as part of the weights."""
    if isinstance(node, nir.LIF):
        before.weight, before.bias = before.weight * node.r.flat[0], before.bias * node.r.flat[0]
        node.r = np.ones_like(node.r)


def outputs(python, library, graph, frames, folder):
    """What a library gives at every step; its complaint, where it has one."""
    nir.write(folder / "graph.nir", graph)
    np.save(folder / "frames.npy", frames)
    files = (str(folder / name) for name in ("graph.nir", "frames.npy", "outputs.npy"))
    done = subprocess.run([python, "-W", "ignore", str(PEER), library, *files], capture_output=True, text=True)
    return done.stderr if done.returncode else np.load(folder / "outputs.npy")


LEAKY, NO_LEAK = {"leak": 0.75}, {"neuron": "if"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "fields", "change"),
    [
        ("snntorch", LEAKY, of_snntorch),
        ("norse", LEAKY, of_norse),
        ("norse", NO_LEAK, of_norse),
        ("norse", NO_LEAK | {"fires_at_threshold": True}, of_norse),
    ],
)
def test_spikes_are_the_same_at_every_step(peers, tmp_path, library, fields, change):
    graph, frames, expected = network(connection="none", reset="zero", **fields)
    for last in ("stem.neuron", "stage2_block1.neuron2", "stage3_block1.neuron2"):
        found = outputs(peers, library, cut(graph, last, change), frames, tmp_path)
        assert 0.01 < expected[last].mean() < 0.6
        np.testing.assert_array_equal(found, expected[last], last)


def test_what_snntorch_makes_of_the_readout(peers, tmp_path):
    graph, frames, expected = network(connection="none", reset="zero", leak=0.75)
    found = outputs(peers, "snntorch", cut(graph, "readout.linear", of_snntorch), frames, tmp_path)
    np.testing.assert_allclose(found, expected["readout.linear"], atol=1e-5)


@pytest.mark.parametrize("library", ["snntorch", "norse"])
def test_a_leak_without_the_units_of_a_library_is_another_network(peers, tmp_path, library):
    graph, frames, expected = network(connection="none", reset="zero", leak=0.75)
    found = outputs(peers, library, cut(graph, "stem.neuron"), frames, tmp_path)
    assert (found != expected["stem.neuron"]).mean() > 0.1


@pytest.mark.parametrize(
    ("library", "fields", "complaint"),
    [
        ("snntorch", {"connection": "none", "reset": "zero"}, "Unknown node type <class 'nir.ir.neuron.I'>"),
        ("snntorch", {"connection": "s2s", "reset": "zero"}, "Unknown node type"),
        ("snntorch", {"connection": "none", "reset": "subtract"}, "Unknown node type"),
        ("norse", {"connection": "none", "reset": "zero"}, "KeyError: 'readout_pool'"),
        ("norse", {"connection": "s2s", "reset": "zero"}, "KeyError: 'stage1_block1_sum'"),
        ("norse", {"connection": "none", "reset": "subtract"}, "KeyError: 'stem_neuron_potential'"),
    ],
)
def test_what_they_do_not_read(peers, tmp_path, library, fields, complaint):
    graph, frames, _ = network(**fields)
    assert complaint in outputs(peers, library, graph, frames, tmp_path)


def test_snntorch_has_another_neuron_for_if(peers, tmp_path):
    """One with a leak of 0.9, whose import does not run."""
    graph, frames, _ = network(connection="none", reset="zero", neuron="if")
    assert isinstance(outputs(peers, "snntorch", cut(graph, "stem.neuron"), frames, tmp_path), str)
