"""A program computes what its network computes, and nothing of the network's own modules is left in it."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import nn

import sresnet
from sresnet.convert import METHODS, FewSpikesConfig, to_spiking
from sresnet.errors import UserError
from sresnet.models.network import SpikingNetwork
from sresnet.models.program import Affine, Convolution, Linear, in_few_bits, integers, output_sizes, program_of, run
from sresnet.nn.norm import BatchNorm

CONNECTIONS = ("s2s", "s2m", "v2v", "none")
NORMS = ("bntt", "per-step", "time-averaged", "tdbn", "none")


def trained(name: str, **fields: object) -> SpikingNetwork:
    """A network in float64 whose norms, gains and shifts are like a trained one's."""
    torch.manual_seed(0)
    model = sresnet.create_model(name, **fields).double().eval()
    for module in model.modules():
        if isinstance(module, BatchNorm):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            if module.bias is not None:
                nn.init.normal_(module.bias, 0, 0.3)
    return model


def exact(model):
    """The network with so few bits in its numbers that all sums are exact in float32, in whatever order."""
    program = program_of(model.float())
    rounded = {
        each.name: replace(
            each,
            **{name: (value * 4).round() / 4 for name, value in vars(each).items() if isinstance(value, torch.Tensor)},
        )
        for each in program.operations
    }
    return replace(program, operations=tuple(rounded.values()))


def agree(model: SpikingNetwork, size: tuple[int, int] = (16, 16)) -> None:
    """Scores after every step, and what every layer of neurons sends, in float64."""
    channels = model.config.in_channels
    images = torch.randn(2, channels, *size, dtype=torch.float64)
    with torch.no_grad():
        found = run(program_of(model), model.encode(images, None))
        torch.testing.assert_close(found[-1], model(images), atol=1e-10, rtol=1e-10)
        if model.readout.leak == 1:
            steps = model.forward_steps(images)
            count = torch.arange(1, len(steps) + 1)[:, None, None]
            torch.testing.assert_close(found, steps.cumsum(0) / count, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize(("connection", "norm"), list(itertools.product(CONNECTIONS, NORMS)))
def test_every_connection_and_norm(connection, norm):
    fields = {"connection": connection, "norm": norm, "norm_bias": norm != "none", "base_filters": 4, "num_steps": 3}
    agree(trained("sresnet8", **fields))


@pytest.mark.parametrize("skip", ["spiking", "tdbn", "learned"])
@pytest.mark.parametrize("connection", ["s2s", "s2m"])
def test_every_skip(connection, skip):
    agree(trained("sresnet8", connection=connection, skip=skip, base_filters=4, num_steps=3, threshold=0.7))


@pytest.mark.parametrize("downsample", ["stride", "avg", "max"])
def test_every_downsampling_at_odd_sizes(downsample):
    agree(trained("sresnet8", downsample=downsample, base_filters=4, num_steps=2), (13, 11))


@pytest.mark.parametrize("neuron", ["lif", "if", "plif", "plif-shared"])
@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("input_scale", ["one", "one-minus-leak"])
def test_every_neuron(neuron, reset, input_scale):
    if neuron == "if" and input_scale != "one":
        pytest.skip("a neuron without leak has no such scale")
    agree(trained("sresnet8", neuron=neuron, reset=reset, input_scale=input_scale, base_filters=4, num_steps=4))


@pytest.mark.parametrize("readout", ["potential", "leaky", "spikes"])
@pytest.mark.parametrize("boosting", [False, True])
def test_every_readout(readout, boosting):
    agree(trained("sresnet8", readout=readout, boosting=boosting, readout_bias=True, base_filters=4, num_steps=3))


ZOO = {
    "kim-vgg9": {"width": 1 / 16, "hidden": 16, "image_size": 16, "num_steps": 3},
    "lee-resnet11": {"width": 1 / 16, "image_size": 16, "num_steps": 4, "encoder": "direct"},
    "zheng-resnet19": {"width": 1 / 16, "num_steps": 3},
    "zheng-resnet19-64-tdbn": {"width": 1 / 16, "num_steps": 3},
    "fang-cifar": {"width": 1 / 16, "image_size": 16, "num_steps": 3},
    "fang-dvs": {"width": 1 / 16, "image_size": 32, "num_steps": 3},
    "fang-wide-7b": {"width": 1 / 8, "num_steps": 3},
    "sew_resnet18": {"base_filters": 4, "num_steps": 2, "num_classes": 10},
    "ms_resnet18": {"base_filters": 4, "num_steps": 2, "num_classes": 10},
    "vgg11": {"width": 1 / 16, "num_steps": 2},
}


@pytest.mark.parametrize("name", ZOO)
def test_networks_of_others(name):
    fields = ZOO[name] | ({"encoder": "direct"} if name.startswith("kim") else {})
    size = fields.get("image_size", 32)
    agree(trained(name, **fields), (size, size))


@pytest.mark.parametrize("join", ["and", "iand"])
def test_joins(join):
    agree(trained("sew_resnet18", join=join, base_filters=4, num_steps=2, num_classes=10), (32, 32))


@pytest.mark.parametrize("name", ["deng-resnet20", "deng-vgg16", "wu-vgg11", "stoeckl-resnet50"])
def test_anns(name):
    agree(trained(name, width=1 / 16, image_size=32), (32, 32))


@pytest.mark.parametrize("method", ["deng", "rmp", "few-spikes"])
def test_converted_networks(method):
    ann = trained("resnet8", base_filters=4, neuron="relu", num_steps=1, downsample="avg", connection="s2m")
    images = torch.randn(8, 3, 16, 16, dtype=torch.float64)
    config = METHODS[method]
    fields = {} if isinstance(config, FewSpikesConfig) else {"num_steps": 6, "encoder": "direct"}
    agree(to_spiking(ann, images, replace(config, **fields) if fields else config))


def test_norms_of_all_steps_are_part_of_the_weights():
    averaged = program_of(trained("sresnet8", norm="time-averaged", base_filters=4, num_steps=3))
    by_step = program_of(trained("sresnet8", norm="bntt", base_filters=4, num_steps=3))
    assert not [each for each in averaged.operations if isinstance(each, Affine)]
    assert {len(each.gain) for each in by_step.operations if isinstance(each, Affine)} == {3}
    assert averaged.most_steps is None
    assert by_step.most_steps == 3


def test_more_steps_than_norms():
    program = program_of(trained("sresnet8", base_filters=4, num_steps=2))
    with pytest.raises(UserError, match="num_steps 3 is outside 1 to 2"):
        run(program, torch.zeros(3, 1, 3, 8, 8, dtype=torch.float64))


def test_sizes():
    program = program_of(trained("sresnet8", base_filters=4, num_steps=2))
    sizes = output_sizes(program, (16, 16))
    assert {sizes[each.name] for each in program.neurons} == {(4, 16, 16), (8, 8, 8), (16, 4, 4)}
    assert sizes["readout.linear"] == (10, 1, 1)


def test_own_neurons_are_refused():
    sresnet.nn.register_neuron("program-test", lambda config: lambda current, v: (current, v))
    model = sresnet.create_model("sresnet8", base_filters=4, neuron="program-test")
    with pytest.raises(UserError, match=r"stem\.neuron are neurons of your own"):
        program_of(model)


def test_hooks_are_refused():
    model = trained("sresnet8", base_filters=4, num_steps=2)
    handle = model.layers["stem"].register_forward_hook(lambda module, inputs, output: None)
    with pytest.raises(UserError, match=r"layers\.stem has a hook"):
        program_of(model)
    handle.remove()
    program_of(model)


@pytest.mark.parametrize(("bits", "largest"), [(8, 127), (4, 7)])
def test_rounded_weights_are_whole_numbers_times_a_scale_of_their_channel(bits, largest):
    program = program_of(trained("sresnet8", norm="tdbn", base_filters=4, num_steps=2))
    weighted = [each for each in program.operations if isinstance(each, Convolution | Linear)]
    rounded = {each.name: each for each in in_few_bits(program, bits).operations}
    for each in weighted:
        after, whole = rounded[each.name], integers(rounded[each.name])
        assert whole.dtype == torch.int8
        assert (whole.abs().flatten(1).amax(1) == largest).all()
        by_channel = after.scale.view(-1, *[1] * (whole.ndim - 1))
        torch.testing.assert_close(after.weight, whole * by_channel)
        assert ((after.weight - each.weight).abs() <= 0.501 * by_channel).all()
