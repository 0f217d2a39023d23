import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sresnet import UserError
from sresnet.analysis.activity import activity
from sresnet.analysis.cost import cost
from sresnet.convert import FewSpikesConfig, RateConfig, few_spikes_coded, rate_coded, to_spiking, traced
from sresnet.models.saved import load, save_model
from sresnet.models.summary import summarise
from sresnet.nn import FewSpikes
from sresnet.ops.few_spikes import few_spikes
from sresnet.ops.few_spikes.published import SIGMOID, SILU, Coefficients, binary_places
from sresnet.train.evaluate import spike_rates
from tests.convert.anns import ANNS, trained

IMAGES = torch.rand(6, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


class Curved(nn.Module):
    """Units of every kind, as modules, functions and methods."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.SiLU(), nn.Conv2d(4, 4, 1), nn.Sigmoid())
        self.conv, self.gelu, self.out = nn.Conv2d(4, 4, 3, 2), nn.GELU(), nn.Linear(36, 5)

    def forward(self, x):
        x = torch.tanh(self.gelu(self.conv(F.silu(self.layers(x)))))
        return self.out(F.gelu(x.sigmoid(), approximate="tanh").flatten(1))


class Sums(nn.Module):
    """Skips into currents and onto spikes, a pool, groups, a kernel and a stride that are not square."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.conv3 = nn.Conv2d(4, 5, (3, 1), (2, 1), (1, 0))
        self.fc1, self.fc2, self.out = nn.Linear(40, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv3(F.avg_pool2d(F.relu(self.conv2(x) + x), 2)))
        x = F.relu(self.fc1(x.flatten(1)))
        return self.out(F.relu(self.fc2(x)) + x)


def neurons_of(network):
    return {name.split(".")[-1]: module for name, module in network.named_neurons()}


@pytest.mark.parametrize("name", ANNS)
def test_more_internal_steps_come_closer_to_the_ann(name):
    """Each one halves the smallest step of a value."""
    ann = traced(trained(ANNS[name]), IMAGES)
    wanted, errors = ann(IMAGES), []
    for internal_steps in (4, 8, 12):
        config = FewSpikesConfig(internal_steps=internal_steps, largest="calibrated")
        with torch.no_grad():
            errors.append(float((few_spikes_coded(ann, IMAGES, config)(IMAGES) - wanted).abs().max()))
    assert errors[1] < errors[0] / 4
    assert errors[2] < errors[1] / 4


def test_units_of_every_kind_are_read():
    ann = trained(Curved)
    network = traced(ann, IMAGES)
    torch.testing.assert_close(network(IMAGES), ann(IMAGES), rtol=1e-12, atol=1e-12)
    kinds = [step.activation for step in network.config.steps if step.kind == "neurons"]
    assert kinds == ["silu", "sigmoid", "silu", "gelu", "tanh", "sigmoid", "gelu-tanh"]
    with pytest.raises(UserError, match="computes silu, and rates .* use the method few-spikes"):
        rate_coded(network, IMAGES, RateConfig())


def test_published_coefficients_compute_each_layer():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2, self.out = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Linear(4, 5)

        def forward(self, x):
            return self.out(F.relu(torch.sigmoid(self.conv2(F.silu(self.conv1(x))))).mean((2, 3)))

    ann = trained(Two)
    network = to_spiking(ann, IMAGES, FewSpikesConfig(internal_steps=7))
    with torch.no_grad():
        found, records = network(IMAGES, record=network.neuron_names)
        values, layers = IMAGES, [(ann.conv1, SILU), (ann.conv2, SIGMOID), (nn.Identity(), binary_places(7))]
        for record, (layer, each) in zip(records.values(), layers, strict=True):
            lists = (each.thresholds, each.resets, each.heights)
            given = few_spikes(layer(values), *[torch.tensor(one, dtype=torch.float64) for one in lists])
            torch.testing.assert_close(record.output[0], given.y, rtol=1e-12, atol=1e-12)
            assert torch.equal(record.number[0], given.number)
            values = given.y
        torch.testing.assert_close(found, ann.out(values.mean((2, 3))))
    assert [len(each.thresholds) for each in neurons_of(network).values()] == [16, 12, 7]


def test_the_largest_value_is_published_calibrated_or_that_of_clipped_units():
    ann = traced(trained(ANNS["resnet"]), IMAGES)  # the first units are clipped at 6
    found = {}
    for largest in ("published", "calibrated", "percentile"):
        network = few_spikes_coded(ann, IMAGES, FewSpikesConfig(largest=largest, percentile=90.0))
        found[largest] = [2 * float(each.heights[0]) for each in neurons_of(network).values()]
    with torch.no_grad():
        _, records = ann(IMAGES, record=ann.neuron_names)
    outputs = [record.output for record in records.values()]
    assert found["published"] == [6.0] + 4 * [25.0]
    assert found["calibrated"] == [6.0, *[float(each.max()) for each in outputs[1:]]]
    assert found["percentile"] == pytest.approx([6.0, *[float(each.quantile(0.9)) for each in outputs[1:]]])


def test_at_the_threshold_values_are_rounded_down():
    class Unit(nn.Module):
        def __init__(self):
            super().__init__()
            self.out = nn.Linear(1, 1, bias=False, dtype=torch.float64)
            nn.init.constant_(self.out.weight, 1.0)

        def forward(self, x):
            return self.out(F.relu(x).flatten(1))

    x = torch.tensor([12.5, 6.0, -1.0, 40.0], dtype=torch.float64).view(4, 1, 1, 1)
    ann, found = traced(Unit(), x), []
    for fires_at_threshold in (True, False):
        config = FewSpikesConfig(internal_steps=2, fires_at_threshold=fires_at_threshold)
        found.append(few_spikes_coded(ann, x, config)(x).flatten().tolist())
    assert found == [[12.5, 0.0, 0.0, 18.75], [6.25, 0.0, 0.0, 18.75]]


HALF = Coefficients(function="relu", thresholds=(1.0, 2.0), resets=(0.5, 0.25), heights=(0.5, 0.125))


def test_is_saved_and_loaded_with_its_coefficients(tmp_path):
    """Coefficients of one's own in place of the published ones, and those of different numbers of internal steps."""
    network = to_spiking(trained(Sums), IMAGES, FewSpikesConfig(functions=(HALF,))).float()
    save_model(network, tmp_path / "weights.safetensors")
    again = load(tmp_path / "weights.safetensors")
    assert again.config == network.config
    assert torch.equal(again(IMAGES.float()), network(IMAGES.float()))
    assert [each.heights.tolist() for each in neurons_of(again).values()] == 5 * [[0.5, 0.125]]
    config = FewSpikesConfig(internal_steps=5)
    save_model(to_spiking(trained(Sums), IMAGES, config).float(), tmp_path / "weights.safetensors")
    assert [len(each.heights) for each in neurons_of(load(tmp_path)).values()] == 5 * [5]


def test_every_time_step_of_a_stream_starts_anew():
    network = to_spiking(trained(Sums), IMAGES, FewSpikesConfig())
    with torch.no_grad():
        first, state = network.step(IMAGES[:2])
        second, _ = network.step(IMAGES[2:4], state)
        assert not state.v  # nothing is kept
        torch.testing.assert_close(first, network(IMAGES[:2]))
        torch.testing.assert_close(2 * second - first, network(IMAGES[2:4]))


def arriving(layer, spikes):
    """Spikes that arrive at all outputs of a layer: what it gives where all weights are 1."""
    if isinstance(layer, nn.Linear):
        return float(spikes.sum()) * layer.out_features
    ones = torch.ones_like(layer.weight)
    return float(F.conv2d(spikes, ones, None, layer.stride, layer.padding, layer.dilation, layer.groups).sum())


@pytest.mark.parametrize("config", [FewSpikesConfig(), RateConfig(num_steps=3)], ids=["few spikes", "rates"])
def test_operations_and_activity_are_those_of_every_spike(config):
    ann = trained(Sums)
    network = to_spiking(ann, IMAGES, config)
    with torch.no_grad():
        _, records = network(IMAGES, record=network.neuron_names)
    one, two, three, four, five = [record.spikes.sum(0) for record in records.values()]
    pooled = 4 * F.avg_pool2d(two, 2)
    wanted = {
        "conv2": arriving(ann.conv2, one),
        "add": float(one.sum()),  # the skip
        "conv3": arriving(ann.conv3, pooled),
        "fc1": arriving(ann.fc1, three),
        "fc2": arriving(ann.fc2, four),
        "linear": arriving(ann.out, four + five),
    }
    labels = torch.zeros(len(IMAGES), dtype=torch.long)
    counted = cost(network, [(IMAGES, labels)])
    layers = {each.name.split(".")[-1]: each for each in counted.layers}
    assert layers.pop("conv1").multiply_accumulates > 0
    assert {name: layer.additions * len(IMAGES) for name, layer in layers.items()} == pytest.approx(wanted)
    assert all(layer.multiply_accumulates == 0 for layer in layers.values())
    assert layers["conv2"].dense == 8 * 8 * 4 * 2 * 9 - 2 * 4 * 2 * (8 * 3 * 2 - 2)  # without what is outside
    seen = activity(network, [(IMAGES, labels)])
    total = sum(float(record.spikes.sum()) for record in records.values())
    assert seen.spikes * len(IMAGES) == pytest.approx(total)
    assert sum(layer.spikes for layer in seen.layers) == pytest.approx(seen.spikes)
    assert spike_rates(network, IMAGES).overall == pytest.approx(seen.rate)
    if isinstance(config, FewSpikesConfig):
        resets = {layer.neurons: layer.update_additions for layer in counted.layers if layer.neurons}
        biases = 4 * 64  # of the second layer
        assert resets["wiring.steps.relu_1"] * len(IMAGES) == pytest.approx(float(two.sum()) + biases * len(IMAGES))


def test_its_summary_counts_neurons_that_spike():
    found = summarise(to_spiking(trained(Sums), IMAGES, FewSpikesConfig()).config, (8, 8))
    assert found.neurons == 4 * 64 + 4 * 64 + 5 * 8 + 6 + 6
    assert [layer.input_kind for layer in found.layers][1] == "spikes"


def test_linear_layers_of_anns_multiply_every_value_of_a_map():
    network = traced(trained(Sums), IMAGES)
    with torch.no_grad():
        _, records = network(IMAGES, record=network.neuron_names)
    counted = cost(network, [(IMAGES, torch.zeros(len(IMAGES), dtype=torch.long))])
    layer = next(each for each in counted.layers if each.name.endswith("fc1"))
    assert layer.dense == 40 * 6
    above = [float((record.output > 0).sum()) for record in records.values()]
    assert layer.multiply_accumulates * len(IMAGES) == above[2] * 6


def test_activations_without_coefficients_are_named():
    with pytest.raises(UserError, match="layer gelu computes gelu, of which no coefficients are published"):
        to_spiking(trained(Curved), IMAGES, FewSpikesConfig())


def test_dead_layers_and_no_images():
    ann = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    nn.init.constant_(ann[0].weight, -1.0)
    nn.init.constant_(ann[0].bias, 0.0)
    network = traced(ann, IMAGES)
    with pytest.raises(UserError, match="would never fire: the largest value"):
        few_spikes_coded(network, IMAGES, FewSpikesConfig(largest="calibrated"))
    with pytest.raises(UserError, match="no calibration images"):
        few_spikes_coded(network, IMAGES[:0], FewSpikesConfig(largest="percentile"))
    few_spikes_coded(network, IMAGES[:0], FewSpikesConfig())  # which looks at none
    ann[1] = nn.ReLU6()  # whose values end at 6 whatever the images are
    few_spikes_coded(traced(ann, IMAGES), IMAGES, FewSpikesConfig(largest="calibrated"))


@pytest.mark.parametrize(
    "fields",
    [{"internal_steps": 0}, {"internal_steps": 99}, {"percentile": 0.0}, {"functions": (HALF, HALF)}],
    ids=str,
)
def test_settings_out_of_range(fields):
    with pytest.raises(UserError):
        FewSpikesConfig(**fields)


def test_coefficients_of_another_number_of_internal_steps():
    network = to_spiking(trained(Sums), IMAGES, FewSpikesConfig())
    neurons = next(iter(neurons_of(network).values()))
    assert isinstance(neurons, FewSpikes)
    with pytest.raises(UserError, match="for 2 internal steps, and the neurons have 10"):
        neurons.set_coefficients(HALF)
