"""Layers that do not train."""

import copy

import pytest
import torch
import torch.nn.functional as F

from sresnet import UserError, create_model
from sresnet.models.saved import tensors_of
from sresnet.ops.dispatch import implementation

SMALL = {"base_filters": 4, "num_steps": 2, "num_classes": 3, "surrogate_height": 1.0}
IMAGES, LABELS = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3


def network(**fields):
    torch.manual_seed(0)
    return create_model("sresnet8", **SMALL, **fields)


def frozen(model):
    return {name for name, parameter in model.named_parameters() if not parameter.requires_grad}


def below(model, *parts):
    return {name for name, _ in model.named_parameters() if name.startswith(parts)}


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (["stem"], ["layers.stem."]),
        (["stage1"], ["layers.stage1_block1."]),
        (["stem", "stage2"], ["layers.stem.", "layers.stage2_block1."]),
        (["stage2_block1"], ["layers.stage2_block1."]),
        (["stage2_block1.skip"], ["layers.stage2_block1.skip."]),
        (["stage3_block1.conv2"], [f"layers.stage3_block1.{part}2." for part in ("conv", "norm", "neuron")]),
        (["stem.conv"], ["layers.stem."]),
        (["readout"], ["readout."]),
        ([], ["nothing"]),
    ],
)
def test_names_and_what_they_begin_with(names, parts):
    model = network(neuron="plif")
    model.freeze(names)
    assert frozen(model) == below(model, *parts)
    model.train()
    modules = {name: module for name, module in model.named_modules() if hasattr(module, "running_mean")}
    assert {name for name, module in modules.items() if module.training} == {
        name for name in modules if f"{name}.weight" not in frozen(model)
    }
    model.freeze()
    assert not frozen(model)
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("name", ["stage", "stage12", "conv1", "stem.conv.weight", "", "layers.stem"])
def test_names_of_no_layer(name):
    model = network()
    model.freeze(["stem"])
    with pytest.raises(UserError, match="no layer is called so: choose from stem, stage1_block1, ") as found:
        model.freeze(["stage1", name])
    assert "\n" not in str(found.value)
    assert frozen(model) == below(model, "layers.stem.")  # as before


def test_the_leak_of_all_layers_is_frozen_with_the_first():
    model = network(neuron="plif-shared")
    model.freeze(["stage1"])
    assert not model.shared_leak().requires_grad
    model.freeze()
    assert model.shared_leak().requires_grad


@pytest.mark.parametrize("fields", [{}, {"norm": "time-averaged"}, {"norm": "per-step"}, {"connection": "v2v"}])
@pytest.mark.parametrize("names", [["stem", "stage1"], ["stage2"], ["stage2_block1.conv2", "stage3"]])
def test_a_step_changes_nothing_that_is_frozen_and_all_else(names, fields):
    model = network(neuron="plif", **fields)
    model.freeze(names)
    model.train()
    before = {name: tensor.clone() for name, tensor in tensors_of(model).items()}
    still = tuple(name.rpartition(".")[0] for name in frozen(model))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(2):
        F.cross_entropy(model(IMAGES), LABELS).backward()
        optimiser.step()
    for name, tensor in tensors_of(model).items():
        assert torch.equal(tensor, before[name]) == name.startswith(still), name


@pytest.mark.parametrize("names", [["stem"], ["stage2"], ["stage1", "stage3_block1.conv2"]])
def test_gradients_through_frozen_layers_are_those_of_the_reference(names):
    found = []
    for engine in ("fastest", "low-memory", "reference"):
        model = network(neuron="plif")
        model.freeze(names)
        model.train()
        with implementation(engine):
            F.cross_entropy(model(IMAGES), LABELS).backward()
        found.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[2].keys() == {name for name, p in model.named_parameters() if p.requires_grad}
    for gradients in found[:2]:
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, found[2][name], rtol=1e-4, atol=1e-5)


def test_dropout_in_frozen_blocks_is_off():
    torch.manual_seed(0)
    model = create_model("lee-resnet11", num_steps=2, width=1 / 32, image_size=8, num_classes=3, dropout=0.9)
    names = [name for name in model.layers if name != "readout"]
    model.freeze(names)
    model.train()
    assert torch.equal(model(IMAGES), model(IMAGES))


def test_a_copy_has_its_own_frozen_layers():
    model = network()
    model.freeze(["stem"])
    other = copy.deepcopy(model)
    other.freeze()
    assert other.train().layers["stem"].norm.training
    assert not model.train().layers["stem"].norm.training
