"""Whole networks, by name."""

import dataclasses
from typing import Any

import torch

from sresnet.config import closest
from sresnet.errors import UserError
from sresnet.models import families
from sresnet.models.families.anns import ANNConfig
from sresnet.models.families.fang import FangConfig
from sresnet.models.families.four_stages import FourStagesConfig
from sresnet.models.families.lee import LeeConfig
from sresnet.models.families.resnet19 import ResNet19Config
from sresnet.models.families.sresnet import ANN_COUNTERPART, SResNetConfig
from sresnet.models.families.vgg import VGGConfig
from sresnet.models.families.wide7b import Wide7BConfig
from sresnet.models.network import NetworkConfig, SpikingNetwork, num_parameters
from sresnet.models.registry import FAMILIES, Family, register_family
from sresnet.models.stream import StreamState
from sresnet.randomness import seeded

__all__ = [
    "ANN_COUNTERPART",
    "FAMILIES",
    "ANNConfig",
    "Family",
    "FangConfig",
    "FourStagesConfig",
    "LeeConfig",
    "ModelConfig",
    "NetworkConfig",
    "ResNet19Config",
    "SResNetConfig",
    "SpikingNetwork",
    "StreamState",
    "VGGConfig",
    "Wide7BConfig",
    "build",
    "compat_fields",
    "create_model",
    "families",
    "list_models",
    "model_config",
    "num_parameters",
    "register_family",
]

ModelConfig = NetworkConfig
"""The configuration of a network of any registered family."""

COMPAT: dict[str, dict[str, Any]] = {
    "paper": {
        "fires_at_threshold": True,
        "surrogate_center": 0.0,
        "norm_bias": False,
        "skip_norm": False,
        "leak": 0.874,
    },
    "released-code": {
        "fires_at_threshold": False,
        "surrogate_center": 1.0,
        "norm_bias": True,
        "skip_norm": True,
        "leak": 0.8744,
    },
}
"""Where the paper's text and its released code differ on the network: docs/paper-and-code.md."""


def compat_fields(compat: str) -> dict[str, Any]:
    """The fields of a network that `compat` sets; UserError for other than "paper" and "released-code"."""
    if compat not in COMPAT:
        raise UserError(f"compat {compat!r} is unknown: choose from {', '.join(COMPAT)}")
    return COMPAT[compat]


def list_models() -> dict[str, str]:
    """Model name -> one line about it. S-ResNets and ResNets exist at every depth 6n + 2, not only those listed."""
    return {name: line for family in FAMILIES.values() for name, line in family.models.items()}


def model_config(name: str, *, compat: str | None = None, **fields: Any) -> ModelConfig:
    """The configuration called `name`, with some fields changed; arguments and errors as `create_model`."""
    found = [(family, family.fields(name)) for family in FAMILIES.values()]
    named = [(family, dict(defaults)) for family, defaults in found if defaults is not None]
    if not named:
        raise UserError(f"model {name!r} is unknown: {closest(name, list(list_models()))}")
    family, defaults = named[0]
    config = family.config
    known = [field.name for field in dataclasses.fields(config)]
    if compat is not None and name in family.others:
        raise UserError(f"compat {compat!r} is of the paper's networks, and {name} is one of others: leave it out")
    if compat is not None:
        defaults |= {key: value for key, value in compat_fields(compat).items() if key in known}
    for key in fields:
        if key not in known:
            raise UserError(f"{name} has no field {key!r}: {closest(key, known)}")
    return config(**(defaults | fields))


def build(config: ModelConfig) -> SpikingNetwork:
    """The network that `config` describes, freshly initialised from torch's random generator, in its default dtype."""
    return FAMILIES[config.family].build(config)


def blank(config: ModelConfig) -> SpikingNetwork:
    """A network whose weights the caller sets: on the CPU and in float32 whatever torch's defaults are.

    Unlike `build` it leaves torch's random generator as it is, from which another thread may be drawing.
    """
    with torch.device("cpu"), seeded(0, torch.device("cpu")):
        return build(config).to(torch.float32)


def create_model(
    name: str, *, compat: str | None = None, pretrained: str | None = None, **fields: Any
) -> SpikingNetwork:
    """The network called `name`, freshly initialised from torch's random generator, or trained.

    A fresh one is made in torch's default dtype and on its default device, as any module of torch's; a trained one in
    float32 on the CPU.

    Args:
        name: see `list_models`.
        pretrained: a network that comes with the package, see `sresnet list`; it is given in evaluation mode. Its
            fields are what it was trained with; another num_classes gives it a fresh readout, to be trained.
        compat: None: what reproduces the paper's numbers; "paper": the text to the letter; "released-code": the
            authors' code to the letter. Sets every field on which they differ; `fields` take precedence over it.
        fields: of `SResNetConfig` or `VGGConfig`: num_classes, base_filters, num_steps, connection, norm, leak, ...

    Raises:
        UserError: an unknown name or field, a value that its configuration refuses, or one that the pretrained network
            does not have.
    """
    if pretrained is not None:
        return _trained_model(name, pretrained, dict(fields) if compat is None else compat_fields(compat) | fields)
    return build(model_config(name, compat=compat, **fields))


def _trained_model(name: str, pretrained: str, fields: dict[str, Any]) -> SpikingNetwork:
    """A shipped network, checked against `name` and fields; see `create_model`."""
    from sresnet.models.pretrained import card_of, load_shipped  # they build on what is above

    card, model = card_of(pretrained), load_shipped(pretrained)
    if card.model != name:
        raise UserError(f"{pretrained} is a {card.model}, not a {name}: create that")
    num_classes = fields.pop("num_classes", model.config.num_classes)
    known = {field.name for field in dataclasses.fields(model.config)}
    for key, value in fields.items():
        if key not in known:
            raise UserError(f"{name} has no field {key!r}: {closest(key, sorted(known))}")
        if getattr(model.config, key) != value:
            raise UserError(
                f"{key} {value!r}: {pretrained} was trained with {getattr(model.config, key)!r}; leave it out"
            )
    if num_classes != model.config.num_classes:
        model.reset_classifier(num_classes, boosting=model.config.boosting)
    return model
