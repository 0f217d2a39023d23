"""A family of networks is one file that registers itself."""

import json
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

import sresnet
from sresnet.config import from_dict, to_dict
from sresnet.models import FAMILIES, Family, ModelConfig, NetworkConfig, SpikingNetwork, register_family
from sresnet.models.summary import summarise
from sresnet.nn import Readout, SpikingLayer
from sresnet.train.recipe import Recipe, TrainConfig


@dataclass(frozen=True, kw_only=True)
class PlainConfig(NetworkConfig):
    family: ClassVar[str] = "plain-for-tests"

    layers: int = 2


def build_plain(config):
    parts = {"norm": config.norm_config(), "neuron": config.neuron_config()}
    layers = {f"layer{i}": SpikingLayer(4 if i else config.in_channels, 4, **parts) for i in range(config.layers)}
    return SpikingNetwork(config, layers, Readout(4, config.num_classes))


@pytest.fixture
def _plain():
    register_family(
        Family(
            config=PlainConfig,
            build=build_plain,
            models={"plain3": "three layers"},
            fields=lambda name: {"layers": int(name[5:])} if name.startswith("plain") else None,
        )
    )
    yield
    del FAMILIES["plain-for-tests"]


@pytest.mark.usefixtures("_plain")
def test_a_family_of_ones_own(tmp_path):
    assert "plain3" in sresnet.list_models()
    model = sresnet.create_model("plain3", num_steps=2).eval()
    assert len(summarise(model.config).layers) == 4
    x = torch.rand(2, 3, 6, 6)
    sresnet.save_model(model, tmp_path / "weights.safetensors")
    assert torch.equal(sresnet.load(tmp_path / "weights.safetensors")(x), model(x))
    recipe = Recipe(model=model.config, train=TrainConfig(epochs=1))
    assert from_dict(Recipe, json.loads(json.dumps(to_dict(recipe)))) == recipe
    assert json.loads(json.dumps(to_dict(model.config)))["family"] == "plain-for-tests"
    with pytest.raises(sresnet.UserError, match="plain3 has no field 'layer': did you mean 'layers'"):
        sresnet.create_model("plain3", layer=2)


def test_unknown_families_and_models():
    with pytest.raises(
        sresnet.UserError,
        match="family is 'plain-for-tests': choose from sresnet, ann, fang, four-stages, lee, resnet19, ",
    ):
        from_dict(ModelConfig, {"family": "plain-for-tests"}, "model")
    with pytest.raises(sresnet.UserError, match="model 'sresnett8' is unknown: did you mean 'sresnet8'"):
        sresnet.create_model("sresnett8")
    with pytest.raises(ValueError, match="NetworkConfig has no name"):
        register_family(Family(config=NetworkConfig, build=build_plain, models={}, fields=lambda name: None))
