"""Every spike and every synapse, counted in loops."""

import pytest
import torch
from torch import nn

from sresnet.analysis import ARITHMETIC, activity, cost
from sresnet.models.synapses import outputs_along, reached_along
from tests.analysis.networks import batch, trained, whole_run


def meetings(conv, size):
    """(output position, input position) of every meeting of a kernel's tap with a pixel inside the image."""
    (height, width), (kernel, _), (stride, _), (padding, _) = size, conv.kernel_size, conv.stride, conv.padding
    for top in range(-padding, height + padding - kernel + 1, stride):
        for left in range(-padding, width + padding - kernel + 1, stride):
            for a in range(kernel):
                for b in range(kernel):
                    if 0 <= top + a < height and 0 <= left + b < width:
                        yield (top, left), (top + a, left + b)


def by_hand(conv, values):
    """(operations per spike, operations per event, all synapses) of inputs [M, C, H, W], one meeting at a time."""
    spikes = events = synapses = 0
    size = values.abs().sum((0, 1)).tolist()
    count = (values != 0).sum((0, 1)).tolist()
    for _, (y, x) in meetings(conv, values.shape[2:]):
        spikes += size[y][x] * conv.out_channels
        events += count[y][x] * conv.out_channels
        synapses += values.shape[1] * conv.out_channels
    return spikes, events, synapses


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("connection", ["s2s", "s2m", "v2v", "none"])
def test_counts_equal_loops_over_every_synapse(connection, stride):
    model = trained(connection=connection, stem="c3" if stride == 1 else "c3s2")
    x, labels = batch(model)
    found = {layer.name: layer for layer in cost(model, [(x, labels)]).layers}
    _, records, received = whole_run(model, x)
    kinds = {"stem.conv": "real"}
    if connection == "s2s":  # Eq. 13: behind the first 1x1 skip
        kinds |= {"stage2_block1.conv1": "sums of spikes", "stage2_block1.skip.conv": "sums of spikes"}
        kinds |= {"stage3_block1.conv1": "real", "stage3_block1.skip.conv": "real"}
    elif connection == "v2v":
        kinds |= {"stage2_block1.skip.conv": "real", "stage3_block1.skip.conv": "real"}
    for name, values in received.items():
        conv, layer = model.get_submodule(f"layers.{name}"), found[name]
        values = values[:1] if name == "stem.conv" else values  # the same image at every step
        per_spike, per_event, synapses = by_hand(conv, values.flatten(0, 1))
        real = kinds.get(name, "spikes") == "real"
        assert layer.input_kind == kinds.get(name, "spikes"), name
        assert layer.additions == pytest.approx(0 if real else per_spike / len(x)), name
        assert layer.multiply_accumulates == pytest.approx(per_event / len(x) if real else 0), name
        assert layer.events == pytest.approx(float((values != 0).sum()) / len(x))
        assert layer.spikes == pytest.approx(0 if real else float(values.sum()) / len(x))
        graded = (values != 0) if real else (values > 1)
        assert layer.graded_events == pytest.approx(float(graded.sum()) / len(x))
        assert layer.dense == synapses
    first_join = found.get("stage1_block1.skip")
    if connection in ("s2s", "s2m"):  # one addition for every spike that takes the identity
        assert first_join.additions == pytest.approx(float(records["stem.neuron"].spikes.sum()) / len(x))
    elif connection == "v2v":  # currents are never 0
        assert first_join.additions == 3 * records["stem.neuron"].spikes[0, 0].numel()
    else:
        assert first_join is None


@pytest.mark.parametrize("connection", ["s2s", "s2m"])
def test_readout(connection):
    """Spikes reach every class one by one; real numbers are pooled, then multiplied, one per channel."""
    model = trained(connection=connection)
    x, labels = batch(model)
    *_, layer = cost(model, [(x, labels)]).layers
    with torch.no_grad():
        features = model.forward_features(x)
    assert layer.name == "readout.linear"
    assert layer.dense == 12 * 5
    if connection == "s2s":
        assert layer.additions == pytest.approx(float((features != 0).sum()) / 3)
        assert layer.multiply_accumulates == 3 * 12 * 5
    else:
        assert layer.additions == pytest.approx(5 * float(features.sum()) / 3)
        assert layer.multiply_accumulates == 0


def test_a_pools_average_counts_as_the_spikes_in_it():
    """Each spike goes through its 2x2 window to the convolution behind, at odd edges too."""
    model = trained("vgg11", width=0.08, hidden=8, num_steps=2, in_channels=2, size=(13, 9))
    x, labels = batch(model, size=(13, 9))
    found = {layer.name: layer for layer in cost(model, [(x, labels)]).layers}
    _, records, _ = whole_run(model, x)
    for before, after in (("conv1", "conv2"), ("conv2", "conv3"), ("conv4", "conv5")):
        spikes = records[f"{before}.neuron"].spikes.flatten(0, 1)
        padded = nn.functional.pad(spikes, (0, spikes.shape[-1] % 2, 0, spikes.shape[-2] % 2))
        sums = padded.unfold(-2, 2, 2).unfold(-2, 2, 2).sum((-2, -1))
        per_spike, _, _ = by_hand(model.layers[after].conv, sums)
        assert found[f"{after}.conv"].additions == pytest.approx(per_spike / len(x))
        assert found[f"{after}.conv"].spikes == pytest.approx(float(spikes.sum()) / len(x))
        assert found[f"{after}.conv"].multiply_accumulates == 0
    last = records["conv8.neuron"].spikes
    assert found["hidden.conv"].additions == pytest.approx(float(last.sum()) / len(x) * 8)


def test_only_a_constant_image_is_computed_once():
    direct = trained()
    x, labels = batch(direct)
    once = cost(direct, [(x, labels)]).layers[0]
    frames = cost(direct, [(x[:, None].repeat(1, 3, 1, 1, 1), labels)]).layers[0]
    assert frames.multiply_accumulates == pytest.approx(3 * once.multiply_accumulates)
    poisson = trained(encoder="poisson")
    stem = cost(poisson, [(x.sigmoid(), labels)]).layers[0]
    assert (stem.input_kind, stem.multiply_accumulates) == ("spikes", 0)
    assert 0.3 < stem.spikes / (3 * x[0].numel()) < 0.7
    signed = cost(trained(encoder="poisson-signed"), [(x, labels)]).layers[0]
    assert signed.input_kind == "spikes"
    assert signed.spikes == signed.events > 0
    counts = cost(direct, [(torch.randint(0, 4, (3, 3, 2, 7, 9)).float(), labels)]).layers[0]
    assert counts.input_kind == "sums of spikes"
    assert counts.spikes > counts.events > counts.graded_events > 0


def test_batches_and_early_stops_add_up():
    model = trained(num_steps=4)
    x, labels = batch(model, images=5)
    whole = cost(model, [(x, labels)])
    parts = cost(model, [(x[:2], labels[:2]), (x[2:], labels[2:])])
    assert parts.images == 5
    for one, other in zip(whole.layers, parts.layers, strict=True):
        assert one.synaptic_operations == pytest.approx(other.synaptic_operations)
    assert sum(whole.by_step) == pytest.approx(whole.synaptic_operations)
    assert cost(model, [(x, labels)], num_steps=2).by_step == pytest.approx(whole.by_step[:2])


@pytest.mark.parametrize(
    ("fields", "multiplications", "shifts"),
    [
        ({"norm": "bntt"}, 2, 1),  # gain and leak
        ({"norm": "bntt", "neuron": "if"}, 1, 1),
        ({"norm": "time-averaged"}, 1, 1),  # the gain is part of the weights
        ({"norm": "none", "neuron": "plif"}, 1, 0),
    ],
)
def test_updates_of_norms_and_neurons(fields, multiplications, shifts):
    model = trained(**fields)
    x, labels = batch(model)
    stem = cost(model, [(x, labels)]).layers[0]
    spikes = activity(model, [(x, labels)]).layers[0].spikes
    values = 3 * 3 * 7 * 9  # steps, channels, pixels
    assert stem.update_multiplications == multiplications * values
    assert stem.update_additions == pytest.approx((1 + shifts) * values + spikes)


def test_energy_is_counts_times_constants():
    found = cost(trained(), [batch(trained())])
    energy = found.energy()
    additions = sum(layer.additions for layer in found.layers)
    products = sum(layer.multiply_accumulates for layer in found.layers)
    assert energy.synapses == pytest.approx((0.9 * additions + 4.6 * products) / 1e6)
    dense = sum(layer.dense for layer in found.layers if layer.kernel != "join")
    joins = sum(layer.dense for layer in found.layers if layer.kernel == "join")
    assert energy.ann == pytest.approx((4.6 * dense + 0.9 * joins) / 1e6)
    assert found.energy(ARITHMETIC["int8"]).synapses < energy.synapses
    assert ARITHMETIC["float32"].multiply_accumulate == pytest.approx(4.6)


def test_the_ann_counterpart_itself():
    ann = trained("resnet8", num_steps=1)
    found = cost(ann, [batch(ann)])
    assert found.num_steps == 1
    stem, *others, readout = found.layers
    assert stem.multiply_accumulates == stem.dense
    assert all(layer.multiply_accumulates <= layer.dense for layer in others)  # zeros behind a rectifier are skipped
    assert readout.input_kind == "real"
    assert all(layer.update_multiplications == 0 for layer in found.layers)


@pytest.mark.parametrize("dilation", [1, 2, 4])
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_reached_is_the_gradient_of_a_convolution_of_ones(kernel, stride, dilation):
    padding = dilation * (kernel // 2)
    for size in range(1, 12):
        x = torch.ones(1, 1, size, requires_grad=True)
        out = nn.functional.conv1d(x, torch.ones(1, 1, kernel), stride=stride, padding=padding, dilation=dilation)
        out.sum().backward()
        shape = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
        assert reached_along(size, **shape).tolist() == x.grad[0, 0].tolist()
        assert outputs_along(size, **shape) == out.shape[-1]
