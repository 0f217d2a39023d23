"""What a compiled file in C computes is what the network computes."""

import itertools
import re
import shutil
from dataclasses import replace

import pytest
import torch

import sresnet
from sresnet.convert import METHODS, to_spiking
from sresnet.errors import UserError
from sresnet.export.c import to_c
from sresnet.export.run_c import CProgram
from sresnet.models.program import in_few_bits, program_of, run
from sresnet.models.written_out import written_out
from tests.models.test_program import CONNECTIONS, NORMS, ZOO, exact, trained

pytestmark = pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler")


def difference(model, size=(16, 16), write_out="no", weight_bits=32):
    """The largest between the scores of a file after any step, and those of the program in float64."""
    model = model.double()
    images = torch.randn(2, model.config.in_channels, *size, dtype=torch.float64)
    with torch.no_grad():
        encoded = model.encode(images, None)
        program = written_out(model, size) if write_out == "binary" and weight_bits != 32 else program_of(model)
        program = in_few_bits(program, weight_bits) if weight_bits != 32 else program
        expected = run(program, encoded).transpose(0, 1)
    made = to_c(model, images, write_out=write_out, weight_bits=weight_bits)
    file = CProgram(made.text, "-Wall", "-Wextra", "-Wpedantic", "-Werror")
    assert file.state_bytes == made.state
    arrays = re.findall(r"^static const (float|signed char) \w+\[(\d+)\]", made.text, re.M)
    assert made.weights == sum(int(length) * (4 if kind == "float" else 1) for kind, length in arrays)
    found = file.scores(encoded.transpose(0, 1))
    assert found.shape == expected.shape
    return float((found - expected).abs().max())


@pytest.mark.parametrize(("connection", "norm"), list(itertools.product(CONNECTIONS, NORMS)))
def test_every_connection_and_norm(connection, norm):
    fields = {"connection": connection, "norm": norm, "norm_bias": norm != "none", "base_filters": 4, "num_steps": 3}
    assert difference(trained("sresnet8", **fields)) < 1e-4


@pytest.mark.parametrize("name", ZOO)
def test_networks_of_others(name):
    size = ZOO[name].get("image_size", 32)
    assert difference(trained(name, **ZOO[name]), (size, size)) < 1e-4


@pytest.mark.parametrize("downsample", ["stride", "avg", "max"])
def test_odd_sizes(downsample):
    assert difference(trained("sresnet8", downsample=downsample, base_filters=4, num_steps=2), (13, 11)) < 1e-4


@pytest.mark.parametrize("join", ["and", "iand"])
def test_joins(join):
    model = trained("sew_resnet18", join=join, base_filters=4, num_steps=2, num_classes=10)
    assert difference(model, (32, 32)) < 1e-4


@pytest.mark.parametrize("readout", ["potential", "leaky", "spikes"])
@pytest.mark.parametrize("boosting", [False, True])
def test_every_readout(readout, boosting):
    model = trained("sresnet8", readout=readout, boosting=boosting, readout_bias=True, base_filters=4, num_steps=3)
    assert difference(model) < 1e-4


@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("fires_at_threshold", [False, True])
def test_every_reset(reset, fires_at_threshold):
    fields = {"reset": reset, "fires_at_threshold": fires_at_threshold, "threshold": 0.75, "neuron": "plif"}
    assert difference(trained("sresnet8", base_filters=4, num_steps=4, **fields)) < 1e-4


@pytest.mark.parametrize("method", ["deng", "rmp", "few-spikes"])
def test_converted_networks(method):
    ann = trained("resnet8", base_filters=4, neuron="relu", num_steps=1, downsample="avg", connection="s2m")
    config = METHODS[method]
    if hasattr(config, "num_steps"):
        config = replace(config, num_steps=6)
    assert difference(to_spiking(ann, torch.randn(8, 3, 16, 16, dtype=torch.float64), config)) < 1e-3


@pytest.mark.parametrize("name", ["deng-resnet20", "deng-vgg16", "wu-vgg11", "stoeckl-resnet50"])
def test_anns(name):
    model = trained(name, width=1 / 16, image_size=32)
    with torch.no_grad():
        scale = float(model(torch.randn(2, 3, 32, 32, dtype=torch.float64)).abs().max())
    assert difference(model, (32, 32)) < 1e-4 * max(1, scale)


@pytest.mark.parametrize(("activation", "groups"), [("relu", 1), ("silu", 1), ("sigmoid", 1), ("tanh", 1), ("relu", 2)])
def test_units_groups_and_dilation(activation, groups):
    module = {"relu": torch.nn.ReLU, "silu": torch.nn.SiLU, "sigmoid": torch.nn.Sigmoid, "tanh": torch.nn.Tanh}
    layers = [torch.nn.Conv2d(4, 6, 3, stride=(2, 1), padding=(1, 2), groups=groups, dilation=(1, 2))]
    layers += [module[activation](), torch.nn.Flatten(), torch.nn.Linear(6 * 4 * 8, 10)]
    ann = torch.nn.Sequential(*layers).double().eval()
    network = sresnet.convert.traced(ann, torch.randn(1, 4, 8, 8, dtype=torch.float64))
    assert difference(network, (8, 8)) < 1e-4


def test_buffers_are_used_again():
    shallow, deep = (
        to_c(trained(name, base_filters=4, num_steps=2), torch.zeros(1, 3, 16, 16).double())
        for name in ("sresnet8", "sresnet20")
    )
    assert deep.text.count("float map") <= shallow.text.count("float map") + 1


def test_activations_that_c_does_not_know():
    ann = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.GELU(), torch.nn.Flatten(), torch.nn.Linear(144, 10))
    network = sresnet.convert.traced(ann.eval(), torch.randn(1, 3, 8, 8))
    with pytest.raises(UserError, match="computes gelu, which is not written in C"):
        to_c(network, torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("name", ["sresnet8", "fang-cifar", "lee-resnet11"])
def test_weights_in_few_bits(name, bits):
    model = trained(name, **ZOO.get(name, {"base_filters": 3, "num_steps": 3}))
    size = 16
    assert difference(model, (size, size), weight_bits=bits) < 1e-4
    example = torch.zeros(1, 3, size, size, dtype=torch.float64)
    small, large = to_c(model, example, weight_bits=bits), to_c(model, example)
    assert small.weights < {8: 0.45, 4: 0.35}[bits] * large.weights
    assert small.state == large.state


@pytest.mark.parametrize("bits", [8, 4])
def test_weights_that_change_with_the_step_in_few_bits(bits):
    model = trained("sresnet8", base_filters=3, num_steps=3)
    assert difference(model, write_out="binary", weight_bits=bits) < 1e-4


@pytest.mark.parametrize("fires_at_threshold", [False, True])
def test_spikes_are_the_same_bit_by_bit(fires_at_threshold, monkeypatch):
    """Of weights whose sums are exact, so that potentials are often just at the threshold."""
    model = trained("sresnet8", fires_at_threshold=fires_at_threshold, leak=0.5, base_filters=4, num_steps=4)
    program = exact(model)
    monkeypatch.setattr("sresnet.export.source.program_of", lambda *_, **__: program)
    frames = (torch.randint(-4, 5, (2, 3, 16, 16)) / 2).expand(4, -1, -1, -1, -1)
    ties = []
    expected = run(program, frames, lambda stepped: ties.extend(int((u == 1).sum()) for u in stepped.u.values()))
    assert sum(ties) > 10
    found = CProgram(to_c(model, frames[0]).text).scores(frames.transpose(0, 1))
    assert torch.equal(found, expected.transpose(0, 1))


@pytest.mark.parametrize("readout", ["potential", "leaky"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_input_that_is_not_finite_has_no_answer_from_then_on(readout, bad):
    """Neurons that receive NaN stay silent, so that scores would be numbers."""
    model = trained("sresnet8", readout=readout, base_filters=2, num_steps=3).float()
    frames = torch.rand(2, 3, 3, 8, 8)
    frames[1, 1, 2, 3, 4] = bad
    found = CProgram(to_c(model, frames[:, 0]).text).scores(frames)
    assert found.isnan().all(-1).tolist() == [[False] * 3, [False, True, True]]


def test_after_the_last_step_there_is_no_answer():
    """A step more would read gains behind the end of their tables."""
    model = trained("sresnet8", base_filters=2, num_steps=2)
    frames = torch.rand(1, 4, 3, 8, 8)
    found = CProgram(to_c(model, frames[:, 0].double()).text).scores(frames)
    assert found.isnan().all(-1).tolist() == [[False, False, True, True]]
    free = CProgram(to_c(trained("sresnet8", norm="none", base_filters=2, num_steps=2), frames[:, 0].double()).text)
    assert free.scores(frames).isfinite().all()
