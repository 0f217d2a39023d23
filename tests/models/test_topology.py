"""The description of a network is what it does: run node by node, it gives what the network gives."""

import itertools
from typing import get_args

import pytest
import torch
from torch import nn

import sresnet
from sresnet import UserError
from sresnet.models.topology import INPUT, layer_in_short, layer_in_words, topology_of
from sresnet.nn import (
    BNTT,
    Flatten,
    GlobalAveragePool,
    Neuron,
    PerStepNorm,
    Pool,
    Readout,
    Skip,
    TimeAveragedNorm,
    over_time,
)
from sresnet.nn.residual import Connection, SkipKind
from sresnet.ops.dispatch import implementation
from tests.models.test_network import OTHERS


def networks():
    """One of every connection, skip, norm, stem and pool, and of every family."""
    for connection, skip in itertools.product(get_args(Connection), get_args(SkipKind)):
        if (connection, skip) != ("v2v", "spiking"):
            yield "sresnet14", {"connection": connection, "skip": skip}
    for connection in ("s2s", "s2m", "v2v"):
        for fields in (
            {"norm": "none"},
            {"norm": "tdbn", "skip_norm": False},
            {"downsample": "avg", "norm": "time-averaged"},
            {"downsample": "max", "stem": "c5s2-pool"},
            {"base_filters": 2, "boosting": True},
        ):
            yield "sresnet8", {"connection": connection} | fields
    yield "sresnet8", {"connection": "s2m", "threshold": 0.7}
    yield "sresnet8", {"connection": "s2m", "threshold": 0.7, "skip_scale": "one", "norm": "per-step"}
    for join in ("and", "iand"):
        yield "sresnet8", {"join": join, "skip": "spiking", "readout": "spikes", "readout_bias": True, "boosting": True}
    yield "resnet8", {}
    yield "vgg11", {"width": 0.05, "hidden": 6}
    for name, fields in OTHERS.items():
        yield name, fields


def made(name, fields):
    torch.manual_seed(2)
    small = {"num_steps": 3, "base_filters": 6}
    small = {"vgg11": {"num_steps": 3}, "resnet8": {"base_filters": 4}}.get(name, small) | fields
    if name in OTHERS:
        small = fields | {"num_steps": 3, "in_channels": 3} | ({"image_size": 32} if "image_size" in fields else {})
    model = sresnet.create_model(name, **small)
    model(torch.rand(2, 3, 32, 32))  # so that statistics are of something
    return model.eval()


def run(model, x):
    """The network, node by node of its topology."""
    values = {INPUT: model.encode(x, None)}
    for node in model.topology.nodes[1:]:
        module = None
        if node.module:
            owner = model if node.module.startswith("readout") else model.layers
            module = owner.get_submodule(node.module)
        inputs = [values[name] for name in node.inputs]
        if node.kind == "convolution":
            values[node.name] = over_time(module, inputs[0][..., :: node.every, :: node.every])
        elif node.kind == "pool":
            values[node.name] = inputs[0].mean((-2, -1), keepdim=not isinstance(module, Readout))
            if isinstance(module, Pool):
                values[node.name] = over_time(module.pool, inputs[0])
        elif node.kind == "factor":
            values[node.name] = inputs[0] * (module.weight if isinstance(module, Skip) else module.skip_factor)
        elif node.kind in ("sum of currents", "sum of spikes"):
            values[node.name] = sum(inputs)
        elif node.kind in ("and of spikes", "iand of spikes"):
            own = inputs[0] if node.kind == "and of spikes" else 1 - inputs[0]
            values[node.name] = own * inputs[1]
        elif node.kind == "subsample":
            values[node.name] = inputs[0][..., :: node.every, :: node.every]
        elif node.kind == "flatten":
            values[node.name] = inputs[0].flatten(2)[..., None, None]
        else:  # norm, neurons, linear
            values[node.name] = module(sum(inputs))
    last = values[model.topology.nodes[-1].name]
    if model.readout.leak != 1:
        last = model.readout.leaked(last, None)
    votes = model.readout.votes
    return (last if votes == 1 else last.unflatten(-1, (-1, votes)).mean(-1)).mean(0)


@pytest.mark.parametrize(("name", "fields"), list(networks()), ids=str)
def test_nodes_run_one_by_one_give_what_the_network_gives(name, fields):
    model, x = made(name, fields), torch.rand(2, 3, 32, 32)
    with torch.no_grad(), implementation("reference"):
        torch.testing.assert_close(run(model, x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "fields"), list(networks()), ids=str)
def test_nodes_are_all_modules_in_the_order_in_which_they_run(name, fields):
    model, called = made(name, fields), []
    parts = (nn.Conv2d, nn.Linear, BNTT, PerStepNorm, TimeAveragedNorm, Neuron, Flatten, GlobalAveragePool, Pool)
    wanted = {
        name.removeprefix("layers."): module for name, module in model.named_modules() if isinstance(module, parts)
    }
    for key, module in wanted.items():
        module.register_forward_hook(lambda *_, key=key: called.append(key))
    model(torch.rand(1, 3, 32, 32))
    described = [node.module for node in model.topology.nodes if node.module in wanted]
    assert list(dict.fromkeys(called)) == list(dict.fromkeys(described))
    assert set(called) == set(wanted)
    names = [node.name for node in model.topology.nodes]
    assert len(set(names)) == len(names)


def test_what_stands_before_and_behind():
    topology = made("sresnet14", {"connection": "s2m"}).topology
    block = "stage2_block1"
    assert topology.norm_behind(f"{block}.conv1") == f"{block}.norm1"
    assert topology.norm_before(f"{block}.neuron2") == f"{block}.norm2"
    assert topology.neurons_behind(f"{block}.conv2") == f"{block}.neuron2"
    assert topology.neurons_behind(f"{block}.skip.conv") is None
    assert topology.norm_behind("readout.linear") is None
    v2v = made("sresnet14", {"connection": "v2v", "norm": "none"}).topology
    assert v2v.norm_before("stem.neuron") is None
    assert v2v.neurons_behind("stem.conv") == "stem.neuron"
    assert v2v.by_name[f"{block}.sum"].inputs == (f"{block}.conv2", f"{block}.skip.conv")


def test_a_module_that_does_not_describe_itself():
    with pytest.raises(
        UserError, match=r"^layer mine, a Identity, does not say .*: give .* describe\(name, x\)[^\n]*$"
    ):
        topology_of([("mine", nn.Identity())], Readout(3, 2))


@pytest.mark.parametrize(
    ("name", "words", "short"),
    [
        ("stem.neuron", "stem", "stem"),
        ("stage1_block1", "stage 1, block 1", "1.1"),
        ("stage1_block12.neuron1", "stage 1, block 12, first", "1.12 first"),
        ("stage3_block2.conv2", "stage 3, block 2, second", "3.2 second"),
        ("stage2_block1.skip.conv", "stage 2, block 1, 1x1 skip", "2.1 1x1 skip"),
        ("stage2_block1.skip", "stage 2, block 1, join", "2.1 join"),
        ("stage2_block1.skip.neuron", "stage 2, block 1, neurons of the skip", "2.1 neurons of the skip"),
        ("wiring.steps.stage1_block1_conv3", "stage 1, block 1, third", "1.1 third"),
        ("wiring.steps.stage1_block1_skip", "stage 1, block 1, 1x1 skip", "1.1 1x1 skip"),
        ("wiring.steps.stage1_block1_sum", "stage 1, block 1, join", "1.1 join"),
        ("block3.neuron1", "block 3, first", "3 first"),
        ("conv4.neuron", "convolution 4", "convolution 4"),
        ("wiring.steps.fc1_units", "linear 1", "linear 1"),
        ("readout.linear", "readout", "readout"),
        ("mine.block", "mine.block", "mine.block"),
        ("stage1_block1.other", "stage 1, block 1, other", "1.1 other"),
    ],
)
def test_names_in_words(name, words, short):
    assert layer_in_words(name) == words
    assert layer_in_short(name) == short


@pytest.mark.parametrize(("name", "fields"), list(networks()), ids=str)
def test_names_in_words_tell_layers_apart(name, fields):
    """No two convolutions, and no two layers of neurons, of a network are called the same."""
    topology = made(name, fields).topology
    for kinds in (("convolution", "linear"), ("neurons",)):
        found = [node.name for node in topology.of_kind(*kinds)]
        words = [layer_in_words(each) for each in found]
        assert len(set(words)) == len(found)
        assert [each for each in words if "_" in each] == []
        assert len(set(map(layer_in_short, found))) == len(found)
