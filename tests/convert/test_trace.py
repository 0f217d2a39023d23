import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sresnet import UserError, create_model
from sresnet.convert import rewired, traced
from sresnet.models.saved import load, save_model
from sresnet.models.summary import summarise
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
        (nn.Conv2d(5, 5, 3, padding="same"), "pad with zeros"),
        (nn.Conv2d(5, 5, 3, padding=1, padding_mode="reflect"), "pad with zeros"),
        (lambda x: x if x.sum() > 0 else -x, "torch.fx cannot follow Called"),
        (lambda x: x.transpose(1, 2), "a call of transpose"),
        (lambda x: x.view(-1, 5, 32, 2), "a change of shape"),
    ],
)
def test_what_has_no_spiking_form_is_named(call, fault):
    with pytest.raises(UserError, match=fault):
        traced(Called(call).double(), IMAGES)


def test_an_output_that_is_no_scores():
    with pytest.raises(UserError, match="expected scores"):
        traced(nn.Conv2d(3, 4, 1).double(), IMAGES)


OURS = {
    "resnet": ("resnet8", {"base_filters": 4}),
    "odd sizes and pools": ("resnet8", {"base_filters": 4, "connection": "s2s", "downsample": "avg"}),
    "v2v, votes": ("resnet8", {"base_filters": 4, "connection": "v2v", "boosting": True}),
    "vgg": ("vgg11", {"neuron": "relu", "width": 0.06, "hidden": 8}),
    "learned skip, threshold": ("resnet8", {"base_filters": 8, "skip": "learned", "norm_bias": True, "threshold": 0.7}),
    "tdbn": ("resnet8", {"base_filters": 4, "skip": "tdbn", "norm": "tdbn", "stem": "c3s2"}),
    "no norm": ("resnet8", {"base_filters": 4, "connection": "none", "norm": "none"}),
}


@pytest.mark.parametrize("name", OURS)
def test_ours_compute_the_same(name):
    model, fields = OURS[name]
    torch.manual_seed(2)
    network = create_model(model, num_steps=1, **fields).double()
    images = torch.randn(4, 3, 18, 18, dtype=torch.float64)
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
    ],
)
def test_ours_that_are_no_such_ann(fields, fault):
    with pytest.raises(UserError, match=fault):
        rewired(create_model("resnet8", base_filters=4, **fields))
