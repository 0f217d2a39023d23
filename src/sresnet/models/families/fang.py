"""The networks of Fang et al. 2021 for CIFAR-10 and DVS-CIFAR10, with PLIF neurons (ICCV 2021).

    cifar   (256 256 256 M) x 2 on 32x32 images,         flattened, dropout, 2048, 100 neurons that vote
    dvs     (128 M) x 4 on 128x128 frames of events,     flattened, dropout, 2048, dropout, 100 neurons that vote

Numbers are filters of 3x3 convolutions, then neurons of fully connected layers without norm; M is a 2x2 maximum. Ten
neurons vote for each class, and the loss is the mean squared error of their firing rates. Source: the authors' code,
codes/models.py, and their logs.
"""

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from torch import nn

from sresnet.errors import UserError
from sresnet.models.dimensions import check_width, scaled, size_behind
from sresnet.models.network import NetworkConfig, SpikingNetwork, check_size, make_readout, shared_leak_of
from sresnet.models.registry import Family, register_family
from sresnet.nn.layer import Flatten, Pool, SharedDropout, SpikingLayer, SpikingLinear

STAGES: dict[str, tuple[tuple[int, ...], ...]] = {"cifar": ((256,) * 3,) * 2, "dvs": ((128,),) * 4}
"""Layout -> filters of the convolutions; a 2x2 maximum follows each stage."""
HIDDEN = 2048

PLIF: dict[str, Any] = {
    "neuron": "plif",
    "leak": 0.5,  # a time constant of 2
    "input_scale": "one-minus-leak",
    "reset": "zero",
    "fires_at_threshold": True,
    "surrogate": "arctan",
    "surrogate_height": 1.0,
    "surrogate_width": 1 / math.pi,
}
"""Their neuron, in this paper and in that of SEW."""


@dataclass(frozen=True, kw_only=True)
class FangConfig(NetworkConfig):
    """A network of Fang et al.; its names set the fields of the neuron, norm and readout."""

    family: ClassVar[str] = "fang"

    layout: Literal["cifar", "dvs"] = "cifar"
    """cifar: two stages of three convolutions; dvs: four of one."""
    width: float = 1.0
    """Factor by which all numbers of filters and hidden neurons are multiplied."""
    image_size: int = 32
    """Height and width of an image, which the first fully connected layer depends on."""
    dropout: float = 0.5
    """Probability that a unit is silent at all time steps, before the fully connected layers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_width(self.width)
        SharedDropout(self.dropout)
        stages = STAGES[self.layout]
        filters = [scaled(each, self.width) for stage in stages for each in stage]
        if self.layout == "dvs" and self.encoder != "direct":
            raise UserError(f"encoder {self.encoder!r} encodes images, and layout 'dvs' is for events: use 'direct'")
        hidden = scaled(HIDDEN, self.width)
        weights = 9 * sum(a * b for a, b in itertools.pairwise([self.in_channels, *filters]))
        weights += filters[-1] * size_behind(self.image_size, len(stages)) ** 2 * hidden
        check_size(self, weights, norms=sum(filters), features=hidden)


def _build(config: FangConfig) -> SpikingNetwork:
    """Build the network that `config` describes, freshly initialised."""
    shared_leak = shared_leak_of(config)
    norm = config.norm_config()
    shared: dict[str, Any] = {"neuron": config.neuron_config(), **shared_leak}
    layers: dict[str, nn.Module] = {}
    channels, number = config.in_channels, 0
    for stage, filters in enumerate(STAGES[config.layout], start=1):
        for base in filters:
            number += 1
            layers[f"conv{number}"] = SpikingLayer(channels, scaled(base, config.width), norm=norm, **shared)
            channels = scaled(base, config.width)
        layers[f"pool{stage}"] = Pool("max")
    size, hidden = size_behind(config.image_size, len(STAGES[config.layout])), scaled(HIDDEN, config.width)
    layers |= {
        "flatten": Flatten(channels, size),
        "dropout": SharedDropout(config.dropout),
        "hidden": SpikingLinear(channels * size**2, hidden, norm=replace(norm, kind="none"), **shared),
    }
    if config.layout == "dvs":
        layers["hidden_dropout"] = SharedDropout(config.dropout)
    return SpikingNetwork(config, layers, make_readout(config, hidden, **shared_leak))


FANG_CIFAR: dict[str, Any] = PLIF | {
    "num_steps": 8,
    "norm": "per-step",
    "norm_bias": True,
    "norm_eps": 1e-5,
    "readout": "spikes",
    "boosting": True,
    "init": "torch",
}
NAMED: dict[str, dict[str, Any]] = {
    "fang-cifar": FANG_CIFAR,
    "fang-dvs": FANG_CIFAR | {"layout": "dvs", "image_size": 128, "in_channels": 2, "num_steps": 20},
}
MODELS = {
    "fang-cifar": "CifarNet with PLIF neurons of Fang et al., T = 8, for CIFAR-10",
    "fang-dvs": "network with PLIF neurons of Fang et al., T = 20, for 128x128 frames of DVS-CIFAR10",
}
register_family(Family(config=FangConfig, build=_build, models=MODELS, fields=NAMED.get, others=MODELS))
