"""The spiking VGG11 that Fig. 3 compares with: no residual connections. Topology of Kim & Panda 2021."""

import itertools
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import nn

from sresnet.errors import UserError
from sresnet.models.network import NetworkConfig, SpikingNetwork, check_size, make_readout, shared_leak_of
from sresnet.models.registry import Family, register_family
from sresnet.nn.layer import GlobalAveragePool, Pool, SpikingLayer, SpikingLinear

STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))
"""Filters of VGG11's convolutions; a 2x2 pool follows each stage, a global one the last."""


@dataclass(frozen=True, kw_only=True)
class VGGConfig(NetworkConfig):
    """A spiking VGG11: eight convolutions, one hidden layer, readout."""

    family: ClassVar[str] = "vgg"

    width: float = 1.0
    """Factor by which all numbers of filters are multiplied."""
    hidden: int = 4096
    """Neurons of the fully connected layer before the readout."""
    downsample: Literal["avg", "max"] = "avg"
    """How the image size is halved: average or maximum."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.width <= 16:
            raise UserError(f"width {self.width} is outside (0, 16]: it multiplies the filters, 1 is VGG11")
        if self.hidden < 1:
            raise UserError(f"hidden {self.hidden} is less than 1: Kim & Panda use 4096")
        filters = [math.ceil(self.width * each) for stage in STAGES for each in stage]
        weights = (
            9 * sum(a * b for a, b in itertools.pairwise([self.in_channels, *filters])) + filters[-1] * self.hidden
        )
        check_size(self, weights, norms=sum(filters) + self.hidden, features=self.hidden)


def build_vgg(config: VGGConfig) -> SpikingNetwork:
    """Build the network that `config` describes, freshly initialised."""
    shared_leak = shared_leak_of(config)
    shared: dict[str, Any] = {"norm": config.norm_config(), "neuron": config.neuron_config(), **shared_leak}
    layers: dict[str, nn.Module] = {}
    channels = config.in_channels
    number = 0
    for stage, filters in enumerate(STAGES, start=1):
        if stage > 1:
            layers[f"pool{stage - 1}"] = Pool(config.downsample)
        for base_width in filters:
            number += 1
            width = max(1, round(base_width * config.width))
            layers[f"conv{number}"] = SpikingLayer(channels, width, **shared)
            channels = width
    layers["global_pool"] = GlobalAveragePool()
    layers["hidden"] = SpikingLinear(channels, config.hidden, **shared)
    return SpikingNetwork(config, layers, make_readout(config, config.hidden, **shared_leak))


register_family(
    Family(
        config=VGGConfig,
        build=build_vgg,
        models={"vgg11": "spiking VGG11 without residual connections (Fig. 3)"},
        fields=lambda name: {} if name == "vgg11" else None,
    )
)
