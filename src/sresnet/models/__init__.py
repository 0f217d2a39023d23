"""Whole networks, by name."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, overload

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
from sresnet.models.features import FeatureInfo, FeatureNetwork, StageInfo
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
    "FeatureInfo",
    "FeatureNetwork",
    "FourStagesConfig",
    "LeeConfig",
    "ModelConfig",
    "NetworkConfig",
    "ResNet19Config",
    "SResNetConfig",
    "SpikingNetwork",
    "StageInfo",
    "StreamState",
    "VGGConfig",
    "Wide7BConfig",
    "build",
    "compat_fields",
    "create_model",
    "families",
    "list_models",
    "list_pretrained",
    "load_pretrained",
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
        from sresnet.models.pretrained import shipped_names  # it builds on what is here

        raise UserError(f"model {name!r} is unknown: {closest(name, [*list_models(), *shipped_names()])}")
    family, defaults = named[0]
    config = family.config
    if compat is not None and name in family.others:
        raise UserError(f"compat {compat!r} is of the paper's networks, and {name} is one of others: leave it out")
    if compat is not None:
        known = [field.name for field in dataclasses.fields(config)]
        defaults |= {key: value for key, value in compat_fields(compat).items() if key in known}
    _check_fields(name, config, fields)
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


@overload
def create_model(
    name: str,
    *,
    compat: str | None = None,
    pretrained: str | bool | None = None,
    features_only: Literal[False] = False,
    out_indices: int | Sequence[int] | None = None,
    **fields: Any,
) -> SpikingNetwork: ...
@overload
def create_model(
    name: str,
    *,
    compat: str | None = None,
    pretrained: str | bool | None = None,
    features_only: Literal[True],
    out_indices: int | Sequence[int] | None = None,
    **fields: Any,
) -> FeatureNetwork: ...
def create_model(
    name: str,
    *,
    compat: str | None = None,
    pretrained: str | bool | None = None,
    features_only: bool = False,
    out_indices: int | Sequence[int] | None = None,
    **fields: Any,
) -> SpikingNetwork | FeatureNetwork:
    """The network called `name`, freshly initialised from torch's random generator, or trained.

    A fresh one is made in torch's default dtype and on its default device, as any module of torch's; a trained one in
    float32 on the CPU.

    Args:
        name: see `list_models`; or that of a network that comes with the package, see `list_pretrained`.
        pretrained: True: trained, where `name` is that of a network that comes with the package; or its name, and
            `name` that of the model. It is given in evaluation mode. Its fields are what it was trained with; another
            num_classes gives it a fresh readout, to be trained.
        features_only: give a `FeatureNetwork` in its place, whose answer is the maps of each stage.
        out_indices: with features_only, numbers of the stages whose maps are given, or how many of the last.
        compat: None: what reproduces the paper's numbers; "paper": the text to the letter; "released-code": the
            authors' code to the letter. Sets every field on which they differ; `fields` take precedence over it.
        fields: of `SResNetConfig` or `VGGConfig`: num_classes, base_filters, num_steps, connection, norm, leak, ...
            `num_classes=0` gives a `FeatureNetwork`, whose answer is the pooled features of the last layer.

    Raises:
        UserError: an unknown name or field, a value that its configuration refuses, or one that the pretrained network
            does not have.
    """
    pooled = type(classes := fields.get("num_classes")) is int and classes == 0
    if pooled:
        fields = {key: value for key, value in fields.items() if key != "num_classes"}
    network = _network(name, compat, pretrained, fields)
    if out_indices is None and not (pooled or features_only):
        return network
    return FeatureNetwork(network, stages=features_only, out_indices=out_indices)


def _network(name: str, compat: str | None, pretrained: str | bool | None, fields: dict[str, Any]) -> SpikingNetwork:
    """The network itself, see `create_model`."""
    from sresnet.models.pretrained import card_of, config_of, shipped, shipped_names  # they build on what is above

    if not (pretrained is None or isinstance(pretrained, str | bool)):
        raise UserError(
            f"pretrained {pretrained!r} is neither True nor a name: see list_pretrained; sresnet.load reads files"
        )
    names = shipped_names()
    if isinstance(pretrained, str) or (pretrained and name in names):
        fields = fields if compat is None else compat_fields(compat) | fields
        return _trained_model(name, pretrained if isinstance(pretrained, str) else name, fields)
    if name in names:
        config = config_of(card_of(name))
        _check_fields(name, config, fields)
        return build(dataclasses.replace(config, **(fields if compat is None else compat_fields(compat) | fields)))
    config = model_config(name, compat=compat, **fields)
    if pretrained:
        trained = ", ".join(each for each, card in shipped().items() if card.model == name) or "none"
        raise UserError(
            f"{name} is a model of many trained networks: give the name of one, such as {names[0]}; those "
            f"of this model that come with the package: {trained}"
        )
    return build(config)


def _check_fields(name: str, config: ModelConfig | type[ModelConfig], fields: Mapping[str, Any]) -> None:
    """Raise UserError for a field that a configuration does not have."""
    known = [field.name for field in dataclasses.fields(config)]
    for key in fields:
        if key not in known:
            raise UserError(f"{name} has no field {key!r}: {closest(key, known)}")


def load_pretrained(name: str) -> SpikingNetwork:
    """A trained network that comes with the package, ready for `predict`; UserError for an unknown name."""
    from sresnet.models.pretrained import load_shipped

    return load_shipped(name)


def list_pretrained() -> dict[str, str]:
    """Name -> one line about each trained network that comes with the package."""
    from sresnet.models.pretrained import line_of, shipped

    return {name: line_of(card) for name, card in shipped().items()}


def _trained_model(name: str, pretrained: str, fields: dict[str, Any]) -> SpikingNetwork:
    """A shipped network, checked against `name` and fields; see `create_model`."""
    from sresnet.models.pretrained import card_of, load_shipped

    card, model = card_of(pretrained), load_shipped(pretrained)
    if name not in (card.model, pretrained):
        raise UserError(f"{pretrained} is a {card.model}, not a {name}: create that")
    num_classes = fields.pop("num_classes", model.config.num_classes)
    _check_fields(name, model.config, fields)
    for key, value in fields.items():
        if getattr(model.config, key) != value:
            raise UserError(
                f"{key} {value!r}: {pretrained} was trained with {getattr(model.config, key)!r}; leave it out"
            )
    if num_classes != model.config.num_classes:
        model.reset_classifier(num_classes, boosting=model.config.boosting)
    return model
