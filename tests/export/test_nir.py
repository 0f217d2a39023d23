"""A graph of NIR computes what its network computes, as three readers have it: ours, one in numpy, and nirtorch."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch

import sresnet
from sresnet.convert import METHODS, to_spiking
from sresnet.errors import UserError
from sresnet.models.program import program_of, run
from tests.models.test_program import CONNECTIONS, ZOO, trained

nir = pytest.importorskip("nir", reason="the extra nir is not installed")

from sresnet.export.nir import to_nir  # noqa: E402
from sresnet.export.run_nir import NirProgram  # noqa: E402


def difference(model, size=(16, 16), **fields):
    """The largest between the scores of a graph after any step, written and read again, and those of the program."""
    model = model.double()
    images = torch.randn(2, model.config.in_channels, *size, dtype=torch.float64)
    with torch.no_grad():
        encoded = model.encode(images, None)
        expected = run(program_of(model), encoded).transpose(0, 1)
    graph = to_nir(model, images, dtype=torch.float64, **fields)
    buffer = io.BytesIO()
    nir.write(buffer, graph)
    found = NirProgram(nir.read(buffer), "graph").scores(encoded.transpose(0, 1))
    assert found.shape == expected.shape
    return float((found - expected).abs().max())


@pytest.mark.parametrize("norm", ["per-step", "time-averaged", "tdbn", "none"])
@pytest.mark.parametrize("connection", CONNECTIONS)
def test_every_connection_and_norm(connection, norm):
    fields = {"connection": connection, "norm": norm, "norm_bias": norm != "none", "base_filters": 4, "num_steps": 4}
    assert difference(trained("sresnet8", **fields)) < 1e-9


@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("neuron", ["lif", "if", "plif"])
@pytest.mark.parametrize("fires_at_threshold", [False, True])
def test_every_neuron(reset, neuron, fires_at_threshold):
    fields = {"reset": reset, "neuron": neuron, "fires_at_threshold": fires_at_threshold, "threshold": 0.7}
    assert difference(trained("sresnet8", norm="tdbn", base_filters=4, num_steps=5, **fields)) < 1e-9


@pytest.mark.parametrize("readout", ["potential", "leaky", "spikes"])
@pytest.mark.parametrize("boosting", [False, True])
def test_every_readout(readout, boosting):
    fields = {"readout": readout, "boosting": boosting, "readout_bias": True, "norm": "time-averaged"}
    assert difference(trained("sresnet8", base_filters=4, num_steps=3, **fields)) < 1e-9


@pytest.mark.parametrize("name", ["lee-resnet11", "zheng-resnet19", "ms_resnet18"])
def test_networks_of_others(name):
    fields = ZOO[name] | ({"stem": "c3"} if name.startswith("ms") else {})
    size = fields.get("image_size", 32)
    assert difference(trained(name, **fields), (size, size)) < 1e-8


@pytest.mark.parametrize("method", ["deng", "rmp", "spikenorm"])
def test_converted_networks(method):
    ann = trained("resnet8", base_filters=4, neuron="relu", num_steps=1, downsample="avg", connection="s2m")
    config = replace(METHODS[method], num_steps=6)
    assert difference(to_spiking(ann, torch.randn(8, 3, 16, 16, dtype=torch.float64), config)) < 1e-8


def test_groups_strides_and_other_shapes():
    layers = [torch.nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), torch.nn.ReLU(), torch.nn.AvgPool2d(2)]
    ann = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(6 * 4, 10)).double().eval()
    network = to_spiking(ann, torch.rand(8, 4, 8, 8, dtype=torch.float64), replace(METHODS["deng"], num_steps=5))
    assert difference(network, (8, 8)) < 1e-9


def test_a_size_that_is_not_square():
    assert difference(trained("sresnet8", norm="tdbn", base_filters=4, num_steps=3), (16, 8)) < 1e-9


# Witnesses ------------------------------------------------------------------------------------------------------------


def in_numpy(graph, frames):
    """Output after every step [T, ...] of one sequence [T, C, H, W], in loops; cycles are one step late."""
    given = {name: [source for source, target in graph.edges if target == name] for name in graph.nodes}
    late = {(source, target) for source, target in graph.edges if source.endswith(".reset")}
    order = sorted_by(given, late, graph.nodes)
    (end,) = [name for name, node in graph.nodes.items() if type(node).__name__ == "Output"]
    v = dict.fromkeys(graph.nodes, 0.0)
    before, found = {}, []
    for frame in frames:
        now = {}
        for name in order:
            node = graph.nodes[name]
            x = sum((before.get(s, 0.0) if (s, name) in late else now[s] for s in given[name]), np.float64(0))
            now[name] = value_of(node, type(node).__name__, frame, x, v, name)
        before = now
        found.append(now[end])
    return np.stack(found)


def sorted_by(given, late, names):
    """Names such that what a node is given comes first, but for what comes late."""
    left, done = list(names), []
    while left:
        ready = [name for name in left if all((s, name) in late or s in done for s in given[name])]
        done += ready
        left = [name for name in left if name not in ready]
    return done


def value_of(node, kind, frame, x, v, name):
    if kind == "Input":
        return frame
    if kind == "Scale":
        return node.scale * x
    if kind == "Threshold":
        return (x > node.threshold).astype(float)
    if kind in ("I", "IF"):
        v[name] = v[name] + node.r * x
    elif kind in ("LI", "LIF"):
        v[name] = v[name] + (node.v_leak - v[name] + node.r * x) / node.tau
    elif kind == "AvgPool2d":
        (h, w), (a, b) = node.kernel_size, node.stride
        rows, columns = (x.shape[1] - h) // a + 1, (x.shape[2] - w) // b + 1
        parts = [[x[:, i * a : i * a + h, j * b : j * b + w].mean((1, 2)) for j in range(columns)] for i in range(rows)]
        return np.moveaxis(np.array(parts), -1, 0)
    elif kind == "Conv2d":
        (a, b), (p, q) = node.stride, node.padding
        x = np.pad(x, ((0, 0), (p, p), (q, q)))
        h, w = node.weight.shape[2:]
        rows, columns = (x.shape[1] - h) // a + 1, (x.shape[2] - w) // b + 1
        made = [
            [np.tensordot(node.weight, x[:, i * a : i * a + h, j * b : j * b + w], 3) for j in range(columns)]
            for i in range(rows)
        ]
        return np.moveaxis(np.array(made), -1, 0) + node.bias[:, None, None]
    else:
        return x
    if kind in ("IF", "LIF"):
        spikes = (v[name] > node.v_threshold).astype(float)
        v[name] = np.where(spikes > 0, node.v_reset, v[name])
        return spikes
    return v[name]


@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("connection", CONNECTIONS)
def test_a_reader_in_numpy(connection, reset):
    fields = {"connection": connection, "reset": reset, "norm": "time-averaged", "downsample": "avg"}
    model = trained("sresnet8", base_filters=2, num_steps=4, **fields)
    image = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    frames = model.encode(image, None)
    with torch.no_grad():
        expected = run(program_of(model), frames)[:, 0] * torch.arange(1, 5)[:, None]
    found = in_numpy(to_nir(model, image, dtype=torch.float64), frames[:, 0].numpy())
    np.testing.assert_allclose(found[:, :, 0, 0], expected.numpy(), atol=1e-9)


class Potential(torch.nn.Module):
    """I, LI, IF and LIF for nirtorch, by Euler steps."""

    def __init__(self, node):
        super().__init__()
        for name, value in vars(node).items():
            if isinstance(value, np.ndarray):
                self.register_buffer(name, torch.from_numpy(value))

    def forward(self, x, state=None):
        v = torch.zeros_like(x) if state is None else state
        v = v + ((self.v_leak - v + self.r * x) / self.tau if hasattr(self, "tau") else self.r * x)
        if not hasattr(self, "v_threshold"):
            return v, v
        spikes = (v > self.v_threshold).to(x.dtype)
        return spikes, torch.where(spikes > 0, self.v_reset, v)


class Elementwise(torch.nn.Module):
    """Scale and Threshold for nirtorch."""

    def __init__(self, node):
        super().__init__()
        self.is_scale = isinstance(node, nir.Scale)
        self.register_buffer("values", torch.from_numpy(node.scale if self.is_scale else node.threshold))

    def forward(self, x):
        return x * self.values if self.is_scale else (x > self.values).to(x.dtype)


@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("connection", CONNECTIONS)
def test_nirtorch(connection, reset):
    nirtorch = pytest.importorskip("nirtorch", reason="nirtorch is not installed")
    fields = {"connection": connection, "reset": reset, "norm": "time-averaged", "downsample": "avg"}
    model = trained("sresnet8", base_filters=4, num_steps=4, **fields)
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    frames = model.encode(images, None)
    with torch.no_grad():
        expected = run(program_of(model), frames)
    nodes = dict.fromkeys((nir.I, nir.LI, nir.IF, nir.LIF), Potential)
    nodes |= dict.fromkeys((nir.Scale, nir.Threshold), Elementwise)
    module = nirtorch.nir_to_torch(to_nir(model, images, dtype=torch.float64), nodes, dtype=torch.float64)
    state = None
    for step, frame in enumerate(frames):
        with torch.no_grad():
            output, state = module(frame, state)
        torch.testing.assert_close(output.flatten(1) / (step + 1), expected[step], atol=1e-9, rtol=1e-9)


# What NIR cannot say --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "NIR knows no time steps: make its norms one for all, sresnet finetune RUN --model.norm time-averaged"),
        ({"norm": "tdbn", "downsample": "max"}, "takes maxima, which NIR does not know: .* --model.downsample avg"),
        ({"neuron": "relu", "num_steps": 1}, "does not spike over time, and NIR is of spiking networks"),
        ({"neuron": "relu"}, "does not spike over time, and NIR is of spiking networks"),  # with norms per step
    ],
)
def test_what_nir_cannot_say(fields, message):
    model = sresnet.create_model("sresnet8", **{"base_filters": 4, "num_steps": 3} | fields).eval()
    with pytest.raises(UserError, match=message):
        to_nir(model, torch.zeros(1, 3, 8, 8))


def test_more_that_nir_cannot_say():
    model = sresnet.create_model("sresnet8", norm="tdbn", base_filters=4, num_steps=2, downsample="avg").eval()
    with pytest.raises(UserError, match="reach over the edge of 13x9, which NIR cannot say"):
        to_nir(model, torch.zeros(1, 3, 13, 9))
    with pytest.raises(UserError, match="resets by subtraction, which takes a cycle in NIR: leave out --strict"):
        to_nir(model, torch.zeros(1, 3, 16, 16), strict=True)
    joined = sresnet.create_model("sew_resnet18", join="and", stem="c3", norm="tdbn", base_filters=4, num_steps=2)
    with pytest.raises(UserError, match="joins spikes by and, which NIR does not know"):
        to_nir(joined.eval(), torch.zeros(1, 3, 32, 32))
