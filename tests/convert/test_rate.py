import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sresnet import UserError, create_model
from sresnet.convert import METHODS, RateConfig, rate_coded, to_spiking, traced
from sresnet.convert.rate import RATE_METHODS, _assembled, _balanced, activations
from sresnet.models import build
from sresnet.models.saved import load, save_model
from tests.convert.anns import ANNS, trained
from tests.golden.zoo.reduce import read

IMAGES = torch.rand(6, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def golden(name):
    """Numbers of the authors' code, or of another library's."""
    return read(Path(__file__).parents[1] / "golden" / "zoo" / f"{name}.npz")


def thresholds_of(network):
    return [step.threshold for step in network.config.steps if step.kind == "neurons"]


def spikes_of(network, images):
    """Spikes of each layer of neurons at every step, [layers, T]."""
    with torch.no_grad():
        _, records = network(images, record=network.neuron_names)
    return np.array([record.spikes.flatten(1).sum(1).numpy() for record in records.values()])


@pytest.mark.parametrize("name", ANNS)
def test_more_steps_come_closer_to_the_ann(name):
    """Soft reset: each layer of rates is within theta / T of what its input makes of it."""
    ann = traced(trained(ANNS[name]), IMAGES)
    wanted = ann(IMAGES)
    errors = []
    for num_steps in (8, 32, 128):
        network = rate_coded(ann, IMAGES, RateConfig(num_steps=num_steps))
        with torch.no_grad():
            errors.append(float((network(IMAGES) - wanted).abs().max()))
    assert errors[2] < errors[0] / 4


def one_unit():
    """The ANN that is a rectifier."""
    ann = nn.Sequential(nn.Flatten(), nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1)).double()
    for name, parameter in ann.named_parameters():
        parameter.data.fill_(0.0 if "bias" in name else 1.0)
    return traced(ann, torch.ones(1, 1, 1, 1, dtype=torch.float64))


ONE_UNIT = one_unit()


@given(
    st.integers(1, 40),
    st.floats(0.2, 3.0),
    st.lists(st.floats(-1, 2, width=32), min_size=1, max_size=8),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_one_layer_is_the_closed_form(num_steps, threshold, currents, shift):
    """theta / T * clip(floor(T I / theta), 0, T); with the shift, rounded to the nearest."""
    ann = traced(
        nn.Sequential(nn.Flatten(), nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1)).double(),
        torch.ones(1, 1, 1, 1).double(),
    )
    weights = dict(ann.named_parameters())
    for name, parameter in weights.items():
        parameter.data.fill_(0.0 if "bias" in name else 1.0)
    layer = next(step.name for step in ann.config.steps if step.kind == "neurons")
    network = _assembled(ann, {layer: threshold}, RateConfig(num_steps=num_steps, shift=shift), None)
    x = torch.tensor(currents, dtype=torch.float64)
    with torch.no_grad():
        rates = network(x.view(-1, 1, 1, 1)).flatten()
    exact = x * num_steps / threshold + (0.5 if shift else 0.0)
    clear = (exact - exact.round()).abs() > 1e-6  # elsewhere rounding decides
    wanted = threshold / num_steps * exact.floor().clamp(0, num_steps)
    torch.testing.assert_close(rates[clear], wanted[clear], rtol=1e-9, atol=1e-9)


def test_a_spike_stands_for_its_threshold():
    """With T steps and no remainder, rates are exact: 0.25 and 0.5 of threshold 1 in four steps."""

    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(1, 1, bias=False, dtype=torch.float64)
            nn.init.constant_(self.fc.weight, 0.5)

        def forward(self, x):
            x = F.relu(x)
            return self.fc(torch.flatten(F.relu(x + F.relu(x)), 1))

    x = torch.tensor([0.25, 1.0], dtype=torch.float64).view(2, 1, 1, 1)
    network = rate_coded(traced(Half(), x), x, RateConfig(num_steps=8))
    with torch.no_grad():
        assert network(x).flatten().tolist() == [0.25, 1.0]


@pytest.mark.parametrize("method", RATE_METHODS)
def test_methods_give_networks_that_are_saved_and_loaded(method, tmp_path):
    network = to_spiking(trained(ANNS["resnet"]), IMAGES, METHODS[method]).float()
    save_model(network, tmp_path / "weights.safetensors")
    again = load(tmp_path / "weights.safetensors")
    assert again.config == network.config
    torch.manual_seed(0)
    scores = network(IMAGES.float())
    torch.manual_seed(0)
    assert torch.equal(again(IMAGES.float()), scores)
    assert scores.isfinite().all()


@pytest.mark.parametrize("percentile", [100.0, 99.9, 90.0, 12.5])
def test_percentiles_are_those_of_all_images(percentile):
    images = torch.randn(600, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    ann = traced(nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), images[:1])
    with torch.no_grad():
        found = activations(ann, images, percentile)
        _, records = ann(images, record=ann.neuron_names)
    wanted = np.percentile(next(iter(records.values())).output.numpy(), percentile)
    assert list(found.values()) == pytest.approx([wanted], rel=1e-5)


def test_dead_layers_and_no_images():
    ann = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    nn.init.constant_(ann[0].weight, -1.0)
    nn.init.constant_(ann[0].bias, 0.0)
    network = traced(ann, IMAGES)
    for thresholds in ("largest", "percentile", "balanced"):
        with pytest.raises(UserError, match="would never fire: the largest value"):
            rate_coded(network, IMAGES, RateConfig(thresholds=thresholds))
    with pytest.raises(UserError, match="no calibration images"):
        rate_coded(network, IMAGES[:0], RateConfig())


def test_spikes_that_reach_neurons_without_weights_between():
    """They stand for the threshold of the layer that sends them, there too."""
    torch.manual_seed(0)
    parts = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AvgPool2d(2), nn.ReLU(), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)
    ann = nn.Sequential(*parts).double()
    for thresholds in ("largest", "balanced"):
        network = to_spiking(ann, IMAGES, RateConfig(num_steps=1000, thresholds=thresholds))
        torch.testing.assert_close(network(IMAGES), ann(IMAGES), rtol=0, atol=0.02)


@pytest.mark.parametrize("thresholds", ["largest", "percentile", "balanced"])
@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_rates_are_cut_where_units_are(thresholds, factor):
    torch.manual_seed(0)
    ann = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Hardtanh(0, 0.3), nn.Flatten(), nn.Linear(144, 3)).double()
    network = to_spiking(ann, IMAGES, RateConfig(num_steps=500, thresholds=thresholds, factor=factor))
    torch.testing.assert_close(network(IMAGES), ann(IMAGES), rtol=0, atol=0.01)


def test_scores_below_zero_are_no_spikes():
    ann = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 3)).double()
    nn.init.constant_(ann[3].weight, -1.0)
    nn.init.constant_(ann[3].bias, -1.0)
    with pytest.raises(UserError, match="the largest score .* is -.*: leave spiking_output out"):
        to_spiking(ann, IMAGES, METHODS["deng"])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("thresholds", ["largest", "percentile", "balanced"])
def test_images_and_activations_that_are_no_numbers(value, thresholds):
    network = traced(nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 3)).double(), IMAGES)
    images = IMAGES.clone()
    images[1, 0, 0, 0] = value
    with pytest.raises(UserError, match="calibration images hold"):
        rate_coded(network, images, RateConfig(thresholds=thresholds))
    network.get_parameter("layers.wiring.steps._0.weight").data.fill_(value)
    with pytest.raises(UserError, match="on the calibration images: train the ANN again"):
        rate_coded(network, IMAGES, RateConfig(thresholds=thresholds))


@pytest.mark.parametrize("thresholds", ["largest", "balanced"])
def test_drawn_spikes_stand_for_the_scale(thresholds):
    """However large: what a pixel sends on average is the pixel, and biases are of the same measure."""
    torch.manual_seed(0)
    ann = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).double()
    config = RateConfig(num_steps=3000, thresholds=thresholds, encoder="poisson-signed", poisson_scale=5.0)
    with torch.no_grad():
        torch.testing.assert_close(to_spiking(ann, IMAGES, config)(IMAGES), ann(IMAGES), rtol=0, atol=0.05)


@pytest.mark.parametrize("encoder", ["first-step", "latency", "delta"])
def test_codes_whose_mean_is_not_the_image(encoder):
    with pytest.raises(UserError, match="RateConfig.encoder is"):
        RateConfig(encoder=encoder)


@pytest.mark.parametrize(
    "fields",
    [{"num_steps": 0}, {"percentile": 0.0}, {"percentile": 100.5}, {"factor": 0.0}, {"poisson_scale": 0.0}],
    ids=str,
)
def test_settings_out_of_range(fields):
    with pytest.raises(UserError):
        RateConfig(**fields)


# Golden numbers


def drawn(stored):
    """Weights from the frozen stream that a golden file names, in its order."""
    info = json.loads(str(stored["info"]))
    return [
        torch.from_numpy(mean + std * np.random.RandomState(info["seed"] + i).standard_normal(shape))
        for i, (_, shape, _, mean, std) in enumerate(info["params"])
    ]


@pytest.mark.parametrize("name", ["deng_vgg16", "deng_resnet20"])
def test_deng_and_gu(name):
    stored = golden(name)
    info = json.loads(str(stored["info"]))
    ann = create_model(name.replace("_", "-")).double().eval()
    for parameter, values in zip(ann.parameters(), drawn(stored), strict=True):
        parameter.data.copy_(values)
    x, num_steps = torch.from_numpy(stored["x"]), info["T"]
    with torch.no_grad():
        torch.testing.assert_close(ann(x), torch.from_numpy(stored["ann"]), rtol=0, atol=1e-9)
    network = to_spiking(ann, x, replace(METHODS["deng"], num_steps=num_steps))
    assert thresholds_of(network) == pytest.approx(stored["thresholds"], abs=1e-12)
    with torch.no_grad():
        steps = network.forward_steps(x).cumsum(0) / torch.arange(1, num_steps + 1).view(-1, 1, 1)
    torch.testing.assert_close(steps, torch.from_numpy(stored["snn"]), rtol=0, atol=1e-9)
    assert (spikes_of(network, x) == stored["spikes"]).all()


def reference():
    """Weights, images and Poisson spikes [T, N, C, H, W] of the reference conversions, from their frozen stream."""
    stream = np.random.RandomState(41)
    shapes = ((6, 3, 3, 3), (12, 6, 3, 3), (32, 192), (10, 32))
    weights = [stream.standard_normal(each) * 1.5 / np.sqrt(np.prod(each[1:])) for each in shapes]
    x = stream.uniform(-1, 1, (4, 3, 16, 16))
    spikes = (stream.random_sample((100, *x.shape)) <= np.abs(x)) * np.sign(x)
    return [torch.from_numpy(each) for each in weights], torch.from_numpy(x), torch.from_numpy(spikes)


class Reference(nn.Module):
    """The network of the reference conversions."""

    def __init__(self, weights):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.Conv2d(6, 12, 3, padding=1, bias=False)
        self.fc1, self.fc2 = nn.Linear(192, 32, bias=False), nn.Linear(32, 10, bias=False)
        for layer, weight in zip((self.conv1, self.conv2, self.fc1, self.fc2), weights, strict=True):
            layer.weight.data = weight

    def forward(self, x):
        x = F.relu(self.conv2(F.avg_pool2d(F.relu(self.conv1(x)), 2)))
        return self.fc2(F.relu(self.fc1(F.avg_pool2d(x, 2).flatten(1))))


@pytest.mark.parametrize(("name", "reset"), [("spikenorm_hard", "zero"), ("rmp_soft", "subtract")])
@pytest.mark.parametrize("factor", [1.0, 0.7])
def test_balanced_thresholds(name, reset, factor):
    """There, spikes have height 1 and each threshold is that of ours over the one before."""
    stored = golden("reference_conversions")
    weights, x, spikes = reference()
    ann = traced(Reference(weights), x)
    with torch.no_grad():
        frames = spikes.transpose(0, 1)
        found = _balanced(ann, frames, RateConfig(num_steps=len(spikes), reset=reset))
    assert list(found.values()) == pytest.approx(np.cumprod(stored[f"{name}_thresholds"]), rel=1e-12)
    heights = dict(zip(found, np.cumprod(factor * stored[f"{name}_thresholds"]).tolist(), strict=True))
    network = _assembled(ann, heights, RateConfig(num_steps=len(spikes), reset=reset), None)
    with torch.no_grad():
        scores = network(spikes.transpose(0, 1)) / list(heights.values())[-1]
    torch.testing.assert_close(scores, torch.from_numpy(stored[f"{name}_{factor}_scores"]), rtol=0, atol=1e-9)
    assert (spikes_of(network, spikes.transpose(0, 1)).sum(1) == stored[f"{name}_{factor}_counts"]).all()


class Hybrid(nn.Module):
    """The narrow VGG of the group's later code."""

    def __init__(self, weights):
        super().__init__()
        sizes = [each.shape for each in weights]
        self.convolutions = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1, bias=False) for o, i, *_ in sizes[:3])
        self.linear = nn.ModuleList(nn.Linear(i, o, bias=False) for o, i in sizes[3:])
        for layer, weight in zip([*self.convolutions, *self.linear], weights, strict=True):
            layer.weight.data = weight

    def forward(self, x):
        first, second, third = self.convolutions
        x = F.relu(second(F.avg_pool2d(F.relu(first(x)), 2)))
        x = F.avg_pool2d(F.relu(third(x)), 2).flatten(1)
        hidden, last, scores = self.linear
        return scores(F.relu(last(F.relu(hidden(x)))))


@pytest.mark.parametrize(("factor", "scores"), [(1.0, "logits"), (0.7, "logits_scaled07")])
def test_balanced_thresholds_of_neurons_that_fire_late(factor, scores):
    """Theirs fire a step late, o[t] = [v[t-1] > theta]: our spikes, a step later in each layer.

    So of T steps layer k sees the spikes of our first T - k, and the scores are those of our first T - 5.
    """
    stored = golden("rathi_thresholds")
    frames = torch.from_numpy(stored["inputs"]).double().transpose(0, 1)
    num_steps, thresholds = frames.shape[1], factor * stored["thresholds"]
    ann = traced(Hybrid(drawn(stored)), frames[:, 0])
    units = [step.name for step in ann.config.steps if step.kind == "neurons"]
    heights = dict(zip(units, np.cumprod(thresholds).tolist(), strict=True))
    made = _assembled(ann, heights, RateConfig(num_steps=num_steps), None)
    network = build(replace(made.config, fires_at_threshold=False)).double().eval()
    network.load_state_dict(made.state_dict())
    largest = []
    for late, name in enumerate(units):
        module = network.layers["wiring"].steps[name]
        hook = module.register_forward_pre_hook(lambda module, given: largest.append(float(given[0].max())))
        with torch.no_grad():
            network(frames, num_steps=num_steps - late)
        hook.remove()
    if factor == 1:
        assert largest == pytest.approx(list(heights.values()), rel=1e-12)
    with torch.no_grad():
        found = network(frames, num_steps=num_steps - len(units)) * (num_steps - len(units)) / heights[units[-1]]
    torch.testing.assert_close(found, torch.from_numpy(stored[scores]), rtol=0, atol=1e-9)


def test_direct_input():
    stored = golden("reference_conversions")
    weights, x, _ = reference()
    network = rate_coded(traced(Reference(weights), x), x, RateConfig(num_steps=100))
    with torch.no_grad():
        torch.testing.assert_close(network(x), torch.from_numpy(stored["direct_soft_scores"]), rtol=0, atol=1e-9)
    assert (spikes_of(network, x).sum(1) == stored["direct_soft_counts"]).all()


@pytest.mark.parametrize(
    ("mode", "fields"), [("max", {}), ("99.9p", {"thresholds": "percentile"}), ("0.5", {"factor": 0.5})]
)
def test_spikingjelly(mode, fields):
    stored = golden("spikingjelly_ann2snn")
    convolutions = [nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2)]
    convolutions += [nn.Conv2d(8, 16, 3, 1, 1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten()]
    ann = nn.Sequential(*convolutions, nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 10))
    ann.load_state_dict({name[6:]: torch.from_numpy(stored[name]) for name in stored if name.startswith("state/")})
    x = torch.from_numpy(stored["x"])
    network = rate_coded(traced(ann, x), x, RateConfig(num_steps=32, **fields))
    assert thresholds_of(network) == pytest.approx(stored[f"scales_{mode}"][1::2], rel=1e-5)
    if mode != "max":  # there a neuron sits on its threshold
        with torch.no_grad():
            steps = network.forward_steps(x).cumsum(0)
        scale = torch.arange(1, 33).view(-1, 1, 1)
        torch.testing.assert_close(steps / scale, torch.from_numpy(stored[f"snn_{mode}"]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", ["deng", "few-spikes"])
def test_the_generator_is_left_as_it_is(method):
    """Methods that balance with Poisson spikes take seeds from it; others leave it to whoever draws from it."""
    ann = trained(ANNS["resnet"])
    state = torch.get_rng_state()
    to_spiking(ann, IMAGES, METHODS[method])
    assert torch.equal(torch.get_rng_state(), state)
