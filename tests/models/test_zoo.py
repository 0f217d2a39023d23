"""The networks that the paper compares with: parameters, neurons and norms as published, and what tools see of them."""

import pytest
import torch

import sresnet
from sresnet import UserError
from sresnet.analysis.cost import cost
from sresnet.models import model_config, num_parameters
from sresnet.models.size import sketch
from sresnet.nn import BNTT, Neuron, PerStepNorm, SharedDropout, TimeAveragedNorm


@pytest.mark.parametrize(
    ("name", "fields", "parameters"),
    [
        ("kim-vgg9", {}, 5_993_280),
        ("kim-vgg11", {}, 11_929_920),
        ("kim-vgg11", {"num_steps": 25}, 11_895_680),
        ("kim-vgg11", {"num_steps": 50}, 12_066_880),
        ("kim-vgg9-dvs", {}, 5_938_304 + 2_176 * 20),
        ("fang-cifar", {}, 36_718_344),
        ("fang-dvs", {}, 17_427_718),
        ("fang-wide-7b", {}, 1_192_218),
        ("fang-wide-7b", {"join": "iand"}, 1_192_218),
        ("fang-wide-7b", {"widening": 3}, 1_258_778),
        ("zheng-resnet19", {}, 12_697_994),
        ("zheng-resnet19", {"in_channels": 2}, 12_696_842),
        ("zheng-resnet19-64", {}, 12_630_858),
        ("zheng-resnet19-64", {"in_channels": 2}, 12_630_282),
        ("zheng-resnet19-64-tdbn", {}, 12_633_418),
        (
            "zheng-resnet19-tdbn",
            {},
            12_697_994 + 2 * (3 * 128 + 2 * 256 + 512),
        ),  # all identities, the first block's too
        ("lee-resnet11", {}, 17_936_064),
        ("sew_resnet18", {"neuron": "if"}, 11_689_512),  # as many as ResNet-18 of He et al.
        ("sew_resnet34", {}, 21_797_672),
        ("ms_resnet18", {}, 11_689_512),
    ],
)
def test_parameters(name, fields, parameters):
    assert num_parameters(sketch(model_config(name, **fields))) == parameters


PUBLISHED = {
    "kim-vgg9": (BNTT, False, 1e-4, {"leak": 0.95, "reset": "subtract", "threshold": 1.0}),
    "kim-vgg11": (BNTT, False, 1e-4, {"leak": 0.99, "reset": "subtract", "threshold": 1.0}),
    "fang-cifar": (PerStepNorm, True, 1e-5, {"reset": "zero", "input_scale": "one-minus-leak", "detach_reset": True}),
    "fang-dvs": (PerStepNorm, True, 1e-5, {"reset": "zero", "fires_at_threshold": True, "leak": 0.5}),
    "fang-wide-7b": (TimeAveragedNorm, True, 1e-5, {"kind": "plif", "reset": "zero"}),
    "zheng-resnet19": (TimeAveragedNorm, True, 1e-5, {"leak": 0.25, "threshold": 0.5, "detach_reset": False}),
    "sew_resnet18": (TimeAveragedNorm, True, 1e-5, {"kind": "if", "reset": "zero", "input_scale": "one"}),
    "ms_resnet18": (TimeAveragedNorm, True, 1e-5, {"leak": 0.25, "threshold": 0.5, "reset": "zero"}),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_neurons_and_norms_are_the_published_ones(name):
    kind, bias, eps, constants = PUBLISHED[name]
    model = sketch(model_config(name))
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms
    for norm in norms:
        assert type(norm) is kind
        assert (norm.bias is not None) == bias
        assert (norm.added, norm.momentum) == (eps, 0.1)
    for module in model.modules():
        if isinstance(module, Neuron):
            assert {field: getattr(module.config, field) for field in constants} == constants


def test_surrogates_have_the_published_slope():
    """Fang et al.: 1 / (1 + (pi x)^2); Zheng et al.: 1 where |x| < 0.5, x = u - theta."""
    x = torch.linspace(-2, 2, 41) + 0.013
    plif = model_config("fang-cifar").neuron_config().surrogate
    torch.testing.assert_close(plif.derivative(x), 1 / (1 + (torch.pi * x) ** 2))
    tdbn = model_config("zheng-resnet19").neuron_config()
    assert torch.equal(tdbn.surrogate.derivative(x / tdbn.threshold), (x.abs() < 0.5).float())


def test_dropout_stands_where_it_was_published():
    def places(name):
        layers = list(sketch(model_config(name)).layers.items())
        return [layers[k - 1][0] for k, (_, layer) in enumerate(layers) if isinstance(layer, SharedDropout)]

    assert places("fang-cifar") == ["flatten"]
    assert places("fang-dvs") == ["flatten", "hidden"]


def test_averages_before_a_fully_connected_layer_count_as_spikes():
    torch.manual_seed(0)
    model = sresnet.create_model(
        "kim-vgg9", width=1 / 16, hidden=8, image_size=16, num_steps=3, encoder="direct", threshold=0.3
    )
    model(2 * torch.randn(8, 3, 16, 16))  # so that statistics are of something
    found = cost(model.eval(), [(torch.rand(2, 3, 16, 16), torch.zeros(2, dtype=torch.int64))]).layers
    hidden = next(layer for layer in found if layer.name == "hidden.conv")
    assert hidden.input_kind == "sums of spikes"
    assert hidden.multiply_accumulates == 0 < hidden.additions == hidden.spikes * 8


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("fang-cifar", {"width": 0.0}, "width 0.0 is outside"),
        ("fang-cifar", {"dropout": 1.0}, "dropout 1.0 is outside"),
        ("fang-cifar", {"image_size": 30}, "image_size 30 is not halved 2 times before .*: use 32"),
        ("fang-cifar", {"neuron": "if"}, "input_scale 'one-minus-leak' is 0 for neurons that do not leak"),
        ("sresnet8", {"input_scale": "one-minus-leak", "leak": 1.0}, "input_scale 'one-minus-leak' is 0"),
        ("resnet8", {"readout": "spikes"}, "readout 'spikes' needs neurons that spike"),
        ("fang-dvs", {"encoder": "latency"}, "encoder 'latency' encodes images"),
        ("kim-vgg9", {"image_size": 0}, "image_size 0 is less than 1"),
        ("kim-vgg11", {"image_size": -8}, "image_size -8 is less than 1"),
        ("stoeckl-resnet50", {"image_size": 0}, "image_size 0 is less than 1"),
        ("kim-vgg9", {"depth": 10}, "depth is 10: expected one of 9, 11"),
        ("zheng-resnet19", {"stem_filters": 0}, "stem_filters 0"),
        ("sew_resnet18", {"connection": "v2v"}, "skip 'spiking' turns"),
        ("sew_resnet18", {"base_filters": 0}, "base_filters 0"),
        ("fang-wide-7b", {"join": "or"}, "join is 'or': expected one of 'add'"),
        ("fang-wide-7b", {"width": 16.0, "num_steps": 10**6}, "is too large"),
        ("sew_resnet50", {}, "model 'sew_resnet50' is unknown: did you mean 'sew_resnet34'|18"),
    ],
)
def test_errors_name_value_fault_and_cure(name, fields, words):
    with pytest.raises(UserError, match=words) as raised:
        sresnet.create_model(name, **fields)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", [*PUBLISHED, "lee-resnet11", "kim-vgg9-dvs"])
def test_compat_is_of_the_papers_networks_alone(name):
    before = model_config(name)
    for compat in ("paper", "released-code"):
        with pytest.raises(UserError, match=rf"^compat '{compat}' is of the paper's networks, and {name} is [^\n]*$"):
            model_config(name, compat=compat)
    assert model_config(name) == before
    assert model_config("vgg11", compat="released-code").leak == 0.8744
    assert model_config("vgg11").leak == 0.874


def test_an_image_of_another_size():
    model = sresnet.create_model("fang-cifar", width=1 / 64, num_steps=1)
    with pytest.raises(UserError, match=r"^maps before the fully connected layer are \[4, 4, 4\], not \[4, 8, 8\]: "):
        model(torch.rand(2, 3, 16, 16))
