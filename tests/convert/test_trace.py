from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune

from sresnet import UserError, create_model
from sresnet.convert import (
    METHODS,
    FewSpikesConfig,
    RateConfig,
    few_spikes_coded,
    rate_coded,
    rewired,
    to_spiking,
    traced,
    with_steps,
)
from sresnet.models.saved import load, save_model
from sresnet.models.summary import summarise
from sresnet.nn.neuron import NeuronConfig, make_neuron
from tests.convert.anns import ANNS, trained

IMAGES = torch.randn(4, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ANNS)
def test_computes_the_same(name):
    ann = trained(ANNS[name])
    torch.testing.assert_close(traced(ann, IMAGES[:1])(IMAGES), ann(IMAGES), rtol=1e-12, atol=1e-12)


def test_the_module_stays_as_it_is():
    ann = trained(ANNS["resnet"]).train()
    before = {name: tensor.clone() for name, tensor in ann.state_dict().items()}
    traced(ann, IMAGES)
    assert ann.training
    assert all(torch.equal(before[name], tensor) for name, tensor in ann.state_dict().items())


def test_a_norm_that_others_take_too_stays_a_layer_of_its_own():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.out = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 2)

        def forward(self, x):
            y = self.conv(x)
            return self.out((F.relu(self.norm(y)) + y).mean((2, 3)))

    ann = trained(Shared)
    torch.testing.assert_close(traced(ann, IMAGES)(IMAGES), ann(IMAGES), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ANNS)
def test_is_saved_and_loaded(name, tmp_path):
    network = traced(trained(ANNS[name]), IMAGES).float()
    save_model(network, tmp_path / "weights.safetensors")
    again = load(tmp_path / "weights.safetensors")
    assert again.config == network.config
    assert torch.equal(again(IMAGES.float()), network(IMAGES.float()))


def test_its_summary_counts_what_is_there():
    ann = trained(ANNS["all convolutional"])
    network = traced(ann, IMAGES)
    assert summarise(network.config, (8, 8)).parameters == sum(p.numel() for p in ann.parameters()) + 25  # readout


class Called(nn.Module):
    """One convolution, a call, and scores."""

    def __init__(self, call):
        super().__init__()
        self.conv, self.call = nn.Conv2d(3, 5, 1), call

    def forward(self, x):
        return self.call(self.conv(x)).mean((2, 3))


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        (nn.MaxPool2d(2), "call is a max pool, .*: replace it by an average pool"),
        (lambda x: F.max_pool2d(x, 2), "what gives max_pool2d is a max pool"),
        (lambda x: F.adaptive_max_pool2d(x, 2), "is a max pool"),
        (nn.Softplus(), "call is a Softplus"),
        (F.mish, "what gives mish is a call of mish"),
        (nn.LeakyReLU(), "call is a LeakyReLU"),
        (lambda x: x + 1, "an addition of different shapes or of a number"),
        (lambda x: 2 * x, "a call of mul"),
        (lambda x: x.clamp(-1, 1), "a clamp to -1 and 1"),
        (nn.Hardtanh(), "a clamp to -1.0 and 1.0"),
        (nn.AvgPool2d(3, padding=1), "an average pool with padding"),
        (lambda x: F.adaptive_avg_pool2d(x, 3), "an adaptive pool from"),
        (nn.BatchNorm2d(5, track_running_stats=False), "a norm without running averages"),
        (nn.Conv2d(5, 5, 4, padding="same"), "pad with zeros"),
        (lambda x: F.dropout(x, 0.5), "dropout that goes on in evaluation, .*training=self.training"),
        (nn.Conv2d(5, 5, 3, padding=1, padding_mode="reflect"), "pad with zeros"),
        (lambda x: x if x.sum() > 0 else -x, "torch.fx cannot follow Called"),
        (lambda x: x.transpose(1, 2), "a call of transpose"),
        (lambda x: x.view(-1, 5, 32, 2), "a change of shape"),
    ],
)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_what_has_no_spiking_form_is_named(call, fault):
    with pytest.raises(UserError, match=fault):
        traced(Called(call).double(), IMAGES)


def test_an_output_that_is_no_scores():
    with pytest.raises(UserError, match="expected scores"):
        traced(nn.Conv2d(3, 4, 1).double(), IMAGES)


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        ([nn.Flatten(), nn.BatchNorm1d(320), nn.Linear(320, 2)], "a norm of 320 values of 5 maps, .*: use BatchNorm2d"),
        ([nn.Flatten(), nn.Identity(), nn.Unflatten(1, (5, 64))], "gives .*: expected scores"),
    ],
)
def test_flattened_maps(parts, fault):
    with pytest.raises(UserError, match=fault):
        traced(nn.Sequential(nn.Conv2d(3, 5, 1), *parts).double().eval(), IMAGES)


def test_a_sum_of_a_flattened_map_and_a_vector():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc, self.out = nn.Conv2d(3, 1, 1), nn.Linear(192, 64), nn.Linear(64, 2)

        def forward(self, x):
            return self.out(self.conv(x).flatten(1) + self.fc(x.flatten(1)))

    with pytest.raises(UserError, match="an addition of a flattened map and of other values"):
        traced(Both().double(), IMAGES)


ANN = {"neuron": "relu", "readout": "potential"}
OURS = {
    "resnet": ("resnet8", {"base_filters": 4}),
    "odd sizes and pools": ("resnet8", {"base_filters": 4, "connection": "s2s", "downsample": "avg"}),
    "v2v, votes": ("resnet8", {"base_filters": 4, "connection": "v2v", "boosting": True}),
    "vgg": ("vgg11", {"neuron": "relu", "width": 0.06, "hidden": 8}),
    "learned skip, threshold": ("resnet8", {"base_filters": 8, "skip": "learned", "norm_bias": True, "threshold": 0.7}),
    "tdbn": ("resnet8", {"base_filters": 4, "skip": "tdbn", "norm": "tdbn", "stem": "c3s2"}),
    "flattened maps": ("kim-vgg9", {**ANN, "encoder": "direct", "width": 0.06, "hidden": 8, "image_size": 16}),
    "picked pixels": (
        "lee-resnet11",
        {**ANN, "encoder": "direct", "width": 0.06, "image_size": 16, "gradient": "surrogate"},
    ),
    "weighted identities": ("zheng-resnet19-tdbn", {**ANN, "width": 0.06}),
    "SEW": ("sew_resnet18", {**ANN, "base_filters": 4, "stem": "c3", "num_classes": 10}),
    "no norm": ("resnet8", {"base_filters": 4, "connection": "none", "norm": "none"}),
}


@pytest.mark.parametrize("name", OURS)
def test_ours_compute_the_same(name):
    model, fields = OURS[name]
    torch.manual_seed(2)
    network = create_model(model, num_steps=1, **fields).double()
    images = torch.randn(4, 3, *[fields.get("image_size", 18)] * 2, dtype=torch.float64)
    for _ in range(2):
        network(images)
    given = rewired(network)
    network.eval()
    torch.testing.assert_close(given(images), network(images), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"num_steps": 1, "neuron": "lif"}, "neuron 'lif' and 1 time steps"),
        ({"num_steps": 3}, "neuron 'relu' and 3 time steps"),
        ({"num_steps": 1, "downsample": "max"}, "downsample avg"),
        ({"num_steps": 1, "stem": "c5s2-pool"}, "train with --model.stem c3, which has no pool"),
        ({"num_steps": 1, "connection": "s2s", "join": "iand"}, "multiplies what joins in it, .*use --model.join add"),
        ({"num_steps": 1, "encoder": "poisson"}, "encoder 'poisson' and readout 'potential': a conversion starts from"),
        ({"num_steps": 1, "readout": "leaky"}, "encoder 'direct' and readout 'leaky'"),
    ],
)
def test_ours_that_are_no_such_ann(fields, fault):
    with pytest.raises(UserError, match=fault):
        rewired(create_model("resnet8", base_filters=4, **fields))


class Written(nn.Module):
    """Two convolutions, a linear layer, and a forward of one's own."""

    def __init__(self, forward):
        super().__init__()
        self.conv, self.other, self.relu = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True)
        self.fc, self.way = nn.Linear(192, 4), forward

    def forward(self, x):
        return self.fc(self.way(self, x).flatten(1))


def reused(self, x):
    """ResNets before activation are written so: the skip takes what the rectifier has changed in place."""
    y = self.conv(x)
    return self.other(self.relu(y)) + y


def dropped(self, x):
    y = self.conv(x)
    F.relu_(y)
    return self.other(y)


def through_a_view(self, x):
    y = self.conv(x)
    torch.flatten(y, 1).clamp_(0, 0.5)
    return self.other(y)


def images_changed(self, x):
    return self.other(torch.relu_(x)) + self.conv(x)


def summed(self, x):
    return F.relu(sum(layer(x) for layer in (self.conv, self.other)))


def handed_on_twice(self, x):
    """A norm behind something that changes nothing, and another that takes the same convolution."""
    y = self.conv(x)
    return self.fc.norm(F.dropout(y, training=self.training)) + y


WAYS = [reused, dropped, through_a_view, images_changed, summed, handed_on_twice]


@pytest.mark.parametrize("forward", WAYS, ids=lambda each: each.__name__)
def test_ways_to_write_it(forward):
    torch.manual_seed(0)
    ann = Written(forward).double().eval()
    if forward is handed_on_twice:
        ann.fc.norm = nn.BatchNorm2d(3).double().eval()
        ann.fc.norm.running_mean.fill_(0.3)
    torch.testing.assert_close(traced(ann, IMAGES)(IMAGES), ann(IMAGES.clone()), rtol=1e-12, atol=1e-12)


def test_names_of_modules_are_anybodys():
    """Names that the readout, spiking scores and torch's dictionaries of modules have for their own."""
    names = ("readout", "scores", "scores_neurons", "keys", "values", "items")
    parts = {name: nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()) for name in names}

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            for name, part in parts.items():
                self.add_module(name, part[0])
            self.input = nn.Linear(192, 4)

        def forward(self, x):
            for name in parts:
                x = F.relu(self._modules[name](x))
            return self.input(x.flatten(1))

    torch.manual_seed(0)
    ann = Named().double()
    for parameter in ann.parameters():
        parameter.data.abs_()  # no unit is silent
    network = traced(ann, IMAGES)
    torch.testing.assert_close(network(IMAGES), ann(IMAGES), rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        spiking = to_spiking(ann, IMAGES.abs(), RateConfig(num_steps=4, spiking_output=True))
    assert sum(step.kind == "neurons" for step in spiking.config.steps) == len(names) + 1


def test_what_nobody_takes_is_left_out():
    class Auxiliary(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.out, self.auxiliary = nn.Conv2d(3, 4, 1), nn.Linear(4, 2), nn.Linear(256, 2)

        def forward(self, x):
            x = F.relu(self.conv(x))
            scores = self.out(x.mean((2, 3)))
            self.auxiliary(x.flatten(1))
            return scores

    ann = trained(Auxiliary)
    network = traced(ann, IMAGES)
    torch.testing.assert_close(network(IMAGES), ann(IMAGES), rtol=1e-12, atol=1e-12)
    assert [step.kind for step in network.config.steps] == ["convolution", "neurons", "global pool"]


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_padding_by_words(padding):
    ann = nn.Sequential(nn.Conv2d(3, 4, (3, 5), dilation=(2, 1), padding=padding), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    ann = nn.Sequential(ann, nn.Flatten()).double()
    torch.testing.assert_close(traced(ann, IMAGES)(IMAGES), ann(IMAGES), rtol=1e-12, atol=1e-12)


def plain(**changed):
    parts = {"conv": nn.Conv2d(3, 2, 1), "relu": nn.ReLU(), "flat": nn.Flatten(), "fc": nn.Linear(128, 3)}
    return nn.Sequential(OrderedDict(parts | changed)).double()


def hooked():
    ann = plain()
    ann.conv.register_forward_hook(lambda module, inputs, output: 2 * output)
    return ann


def pruned():
    ann = plain()
    prune.l1_unstructured(ann.conv, "weight", 0.5)
    ann(IMAGES).sum().backward()
    return ann


def diverged():
    ann = plain()
    ann.conv.weight.data[0] = torch.nan
    return ann


@pytest.mark.parametrize(
    ("ann", "images", "fault"),
    [
        (hooked(), IMAGES, "leave out hooks"),
        (pruned(), IMAGES, "cannot be copied .*prune.remove"),
        (diverged(), IMAGES, "weights of conv are infinite or no numbers"),
        (plain(), IMAGES[:0], "there are no calibration images"),
        (plain(), IMAGES[0], r"images have shape \[3, 8, 8\]: expected \[N, C, H, W\]"),
        (plain(), IMAGES.float(), r"fails on images \[4, 3, 8, 8\] of torch.float32"),
        (plain(), IMAGES[:, :1], r"fails on images \[4, 1, 8, 8\]"),
        (plain(), IMAGES / 0, "calibration images hold infinite values"),
        (plain(conv=nn.LazyConv2d(2, 1)), IMAGES, "conv.weight of Sequential has no values yet"),
        (plain().to("meta"), IMAGES, "conv.weight of Sequential has no values yet"),
        (nn.DataParallel(plain()), IMAGES, "DataParallel is around the module to be read: give its .module"),
        (nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).double(), IMAGES, "a linear layer alone"),
        (nn.Linear, IMAGES, "is no nn.Module"),
        (None, IMAGES, "None is no nn.Module"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(ann, images, fault):
    with pytest.raises(UserError, match=fault) as caught:
        traced(ann, images)
    assert "\n" not in str(caught.value)


def test_ours_with_neurons_that_are_no_units():
    network = create_model("resnet8", base_filters=4)
    network.layers["stem"].neuron = make_neuron(NeuronConfig(kind="if"))
    with pytest.raises(UserError, match="stem.neuron is a Neuron, not the unit of an ANN"):
        rewired(network)


def test_ours_without_another_pool():
    network = create_model("fang-cifar", neuron="relu", readout="potential", num_steps=1, width=1 / 16, image_size=8)
    with pytest.raises(UserError, match="networks of family 'fang' have no other pools"):
        rewired(network)


def test_in_inference_mode():
    ann = Written(reused).double().eval()
    with torch.inference_mode():
        images = torch.rand(2, 3, 8, 8, dtype=torch.float64)
        torch.testing.assert_close(traced(ann, images)(images), ann(images.clone()), rtol=1e-12, atol=1e-12)


OWN = create_model("resnet8", base_filters=4)


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        (lambda: to_spiking(plain(), IMAGES, "deng"), r"method 'deng' is no method: give METHODS\[NAME\], of deng"),
        (lambda: to_spiking(plain(), [IMAGES], METHODS["deng"]), "calibration images are a list: expected a tensor"),
        (lambda: to_spiking(OWN, IMAGES.numpy(), METHODS["rmp"]), "calibration images are a ndarray"),
        (lambda: to_spiking(OWN, IMAGES.to("meta"), METHODS["deng"]), "calibration images are a tensor on meta"),
        (lambda: to_spiking(OWN, IMAGES[0, 0, 0, 0], METHODS["deng"]), "calibration images are a tensor on cpu, 0-d"),
        (lambda: to_spiking(OWN, IMAGES[:0], METHODS["few-spikes"]), "there are no calibration images"),
        (lambda: rate_coded(OWN, IMAGES, RateConfig()), "the ANN is a SpikingNetwork as it is: read it with"),
        (lambda: few_spikes_coded(plain(), IMAGES, FewSpikesConfig()), "the ANN is a Sequential as it is"),
        (lambda: with_steps(OWN), "the ANN is a SpikingNetwork as it is"),
        (lambda: rewired(plain()), "a Sequential is no network of this package: read it with traced"),
        (lambda: traced(OWN, IMAGES), "read it with rewired"),
    ],
)
def test_calls_with_something_else(call, fault):
    with pytest.raises(UserError, match=fault) as caught:
        call()
    assert "\n" not in str(caught.value)
