"""Wide-7B-Net of Fang et al. 2021 (SEW-ResNet, NeurIPS 2021) for 128x128 frames of DVS-CIFAR10.

    [64 filters of 1x1], (SEW block of 64, M) x 4, [128 filters of 1x1], (SEW block of 128, M) x 3, linear with bias

M is a 2x2 maximum, which leaves one pixel of 128x128. A SEW block is an S2S block whose spikes are added, or joined by
AND or IAND (`nn.residual.Join`). The paper prints 3x3 where the authors' code, which gave their log, has 1x1. Source:
the authors' code, cifar10dvs/smodels.py.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import nn

from sresnet.models.dimensions import check_width, scaled
from sresnet.models.families.fang import PLIF
from sresnet.models.network import NetworkConfig, SpikingNetwork, check_size, make_readout, shared_leak_of
from sresnet.models.registry import Family, register_family
from sresnet.nn.layer import Pool, SpikingLayer
from sresnet.nn.residual import Join, ResidualBlock

BLOCKS = ((64, 4), (128, 3))
"""Filters, and how many blocks have them."""


@dataclass(frozen=True, kw_only=True)
class Wide7BConfig(NetworkConfig):
    """A Wide-7B-Net; its name sets the fields of the neuron, norm and readout."""

    family: ClassVar[str] = "wide-7b"

    width: float = 1.0
    """Factor by which all numbers of filters are multiplied."""
    join: Join = "add"
    """How the spikes of a block and of its skip join: add; and; iand, not the block's and the skip's."""
    widening: Literal[1, 3] = 1
    """Size of the two kernels that change the number of channels: 1 (the authors' code) or 3 (as printed)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_width(self.width)
        blocks = [(scaled(filters, self.width), count) for filters, count in BLOCKS]
        weights = sum(18 * count * filters**2 for filters, count in blocks)
        weights += self.widening**2 * blocks[0][0] * (self.in_channels + blocks[1][0])
        norms = sum((2 * count + 1) * filters for filters, count in blocks)
        check_size(self, weights, norms=norms, features=blocks[1][0])


def _build(config: Wide7BConfig) -> SpikingNetwork:
    """Build the network that `config` describes, freshly initialised."""
    shared_leak = shared_leak_of(config)
    shared: dict[str, Any] = {"norm": config.norm_config(), "neuron": config.neuron_config(), **shared_leak}
    layers: dict[str, nn.Module] = {}
    channels, number = config.in_channels, 0
    for stage, (base, count) in enumerate(BLOCKS, start=1):
        filters = scaled(base, config.width)
        layers[f"conv{stage}"] = SpikingLayer(channels, filters, kernel_size=config.widening, **shared)
        channels = filters
        for _ in range(count):
            number += 1
            layers[f"block{number}"] = ResidualBlock(channels, channels, join=config.join, **shared)
            layers[f"pool{number}"] = Pool("max")
    return SpikingNetwork(config, layers, make_readout(config, channels, **shared_leak))


FANG_WIDE_7B: dict[str, Any] = PLIF | {
    "in_channels": 2,
    "num_steps": 16,
    "norm": "time-averaged",
    "norm_bias": True,
    "norm_eps": 1e-5,
    "readout_bias": True,
    "init": "torch",
}
MODELS = {"fang-wide-7b": "Wide-7B-Net (SEW) of Fang et al., T = 16, for 128x128 frames of DVS-CIFAR10"}
register_family(
    Family(
        config=Wide7BConfig,
        build=_build,
        models=MODELS,
        fields=lambda name: FANG_WIDE_7B if name in MODELS else None,
        others=MODELS,
    )
)
