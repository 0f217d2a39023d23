import dataclasses

import pytest
import torch

import sresnet
from sresnet import UserError, create_model
from sresnet.analysis import hardware_network
from sresnet.convert import FewSpikesConfig, RateConfig, WhetstoneConfig, rewired, to_spiking
from sresnet.models import model_config
from sresnet.models.saved import load, save_model
from sresnet.nn import Sharpened
from sresnet.train import record
from sresnet.train.loop import train
from sresnet.train.recipe import TrainConfig
from sresnet.train.sharpening import _sharpness, sharpen
from tests.train.test_loop import CPU, SPLITS, TINY, final

UNITS = {"neuron": "sharpened", "num_steps": 1, "base_filters": 4, "in_channels": 1, "num_classes": 4}
RECIPE = dataclasses.replace(
    TINY,
    model=model_config("sresnet8", **UNITS),
    train=dataclasses.replace(TINY.train, sharpen_epochs=(0.5, 2.5)),
)


def sharpened(name="sresnet8", to=1.0, **fields):
    """A network in evaluation, with norms of a few batches and units of one sharpness."""
    torch.manual_seed(0)
    model = create_model(name, **(UNITS | fields)).double()
    for _ in range(3):
        model(torch.rand(8, 1, 32, 32, dtype=torch.float64))
    for module in model.modules():
        if isinstance(module, Sharpened):
            module.sharpness.fill_(to)
    return model.eval()


def test_layers_are_sharpened_one_after_the_other():
    config = TrainConfig(epochs=12, sharpen_epochs=(2, 10))
    assert _sharpness(config, 0, 4) == _sharpness(config, 2, 4) == [0, 0, 0, 0]
    assert _sharpness(config, 3, 4) == [0.5, 0, 0, 0]
    assert _sharpness(config, 7, 4) == [1, 1, 0.5, 0]
    assert _sharpness(config, 10, 4) == _sharpness(config, 12, 4) == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("value", "outputs", "slopes"),
    [
        (0.0, [0, 0, 0.125, 0.25, 0.5, 0.75, 1, 1], [0, 1, 1, 1, 1, 1, 1, 0]),
        (0.5, [0, 0, 0, 0, 0.5, 1, 1, 1], [0, 0, 0, 2, 2, 2, 0, 0]),
        (1.0, [0, 0, 0, 0, 1, 1, 1, 1], None),
    ],
)
def test_a_ramp_around_a_half_that_becomes_a_step(value, outputs, slopes):
    x = torch.tensor([-1, 0, 0.125, 0.25, 0.5, 0.75, 1, 2], requires_grad=True)
    units = Sharpened()
    units.sharpness.fill_(value)
    y = units(x)
    assert y.tolist() == outputs
    assert y.requires_grad == (slopes is not None)
    if slopes:
        y.sum().backward()
        assert x.grad.tolist() == slopes


def test_a_run_ends_with_steps_however_often_it_was_stopped(tmp_path):
    train(RECIPE, SPLITS, tmp_path / "whole", device=CPU)
    outcome = None
    while outcome is None or outcome.state == "stopped":
        steps = []
        outcome = train(
            RECIPE,
            SPLITS,
            tmp_path / "pieces",
            device=CPU,
            watch=steps.append,
            should_stop=lambda steps=steps: len(steps) == 2,
        )
    assert final(tmp_path / "whole") == final(tmp_path / "pieces")
    # Seven layers from epoch 0.5 to 2.5: after epoch 1, 1.75 of them; after epoch 2, 5.25.
    found = [line["sharpness"] for line in record.read_metrics(tmp_path / "whole")]
    assert found == pytest.approx([0.25, 0.75, 1.0], abs=1e-4)
    model = sresnet.load(tmp_path / "whole")  # the average of weights, whose sharpness is none
    assert [float(each.sharpness) for each in model.modules() if isinstance(each, Sharpened)] == 7 * [1.0]


def test_sharpening_to_the_last_epoch_ends_with_steps(tmp_path):
    recipe = dataclasses.replace(RECIPE, train=dataclasses.replace(RECIPE.train, ema=0.0, sharpen_epochs=(0, 3)))
    train(recipe, SPLITS, tmp_path, device=CPU)
    assert record.read_metrics(tmp_path)[-1]["sharpness"] == 1
    rewired(sresnet.load(tmp_path))


NETWORKS = {
    "s2s": ("sresnet8", {}),
    "s2m": ("sresnet8", {"connection": "s2m", "norm_bias": True}),
    "vgg": ("wu-vgg11", {"width": 0.05, "base_filters": None}),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_steps_become_neurons_that_spike_once_or_not_at_all(name, tmp_path):
    model, fields = NETWORKS[name]
    if "base_filters" in fields:
        torch.manual_seed(0)
        given = {key: value for key, value in UNITS.items() if key != "base_filters"} | {"width": fields["width"]}
        ann = create_model(model, **given).double()
        ann(torch.rand(8, 1, 32, 32, dtype=torch.float64))
        ann.eval()
        for module in ann.modules():
            if isinstance(module, Sharpened):
                module.sharpness.fill_(1.0)
    else:
        ann = sharpened(model, **fields)
    images = torch.rand(5, 1, 32, 32, dtype=torch.float64)
    network = to_spiking(ann, images, WhetstoneConfig())
    with torch.no_grad():
        found, records = network(images, record=network.neuron_names)
        torch.testing.assert_close(found, ann(images), rtol=1e-9, atol=1e-9)
    spikes = torch.cat([each.spikes.flatten() for each in records.values()])
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    assert network.config.num_steps == 1
    save_model(network.float(), tmp_path / "weights.safetensors")
    assert torch.equal(load(tmp_path)(images.float()), network(images.float()))


def test_a_neuron_whose_current_is_a_half_spikes():
    ann = sharpened(norm_bias=True)
    for name, parameter in ann.layers.named_parameters():
        if "norm" in name:
            parameter.data.fill_(0.5 if name.endswith("bias") else 0.0)
    images = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    network = to_spiking(ann, images, WhetstoneConfig())
    with torch.no_grad():
        _, records = network(images, record=[network.neuron_names[0]])
    assert next(iter(records.values())).spikes.unique().tolist() == [1.0]


def test_what_is_no_step_is_not_converted():
    images = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    with pytest.raises(UserError, match="has sharpness 0.75, and units become steps at 1"):
        to_spiking(sharpened(to=0.75), images, WhetstoneConfig())
    with pytest.raises(UserError, match="computes step, and rates of spikes .* use the method whetstone"):
        to_spiking(sharpened(), images, RateConfig())
    with pytest.raises(UserError, match="computes step, of which no coefficients"):
        to_spiking(sharpened(), images, FewSpikesConfig())
    with pytest.raises(UserError, match="computes relu, not a step: train with --model.neuron sharpened"):
        to_spiking(sharpened(neuron="relu"), images, WhetstoneConfig())
    with pytest.raises(UserError, match="neuron 'sharpened' sends no spikes"):
        hardware_network(sharpened(), (8, 8), form="binary")


@pytest.mark.parametrize("epochs", [(1,), (1, 1), (-1, 2), (1, 4), (1, 2, 3)], ids=str)
def test_sharpening_within_the_epochs(epochs):
    with pytest.raises(UserError, match="sharpen_epochs"):
        TrainConfig(epochs=3, milestones=(), sharpen_epochs=epochs)


def test_units_and_their_schedule_belong_together():
    for wrong in ({"model": TINY.model}, {"train": TINY.train}):
        with pytest.raises(UserError, match="need both, --model.neuron sharpened and when"):
            dataclasses.replace(RECIPE, **wrong)
    with pytest.raises(UserError, match="num_steps 2: neurons of kind 'sharpened'"):
        create_model("sresnet8", neuron="sharpened", num_steps=2)


def test_a_network_without_a_schedule_stays_as_it_is():
    model = sharpened(to=0.25)
    sharpen(model, TINY.train, 2)
    assert {float(each.sharpness) for each in model.modules() if isinstance(each, Sharpened)} == {0.25}
