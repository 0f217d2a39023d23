"""S-ResNet (Section 3.2.2, Table 1, Fig. 2), and with other units its ANN counterpart (Table 15).

3x3 stem, three stages of n residual blocks with F, 2F, 4F filters, each stage at half the size of the one before,
global average pool, linear readout: depth 6n + 2.
"""

import re
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import nn

from sresnet.config import added_later
from sresnet.errors import UserError
from sresnet.models.network import NetworkConfig, SpikingNetwork, check_size, make_readout, shared_leak_of
from sresnet.models.registry import Family, register_family
from sresnet.nn.layer import Pool, SpikingLayer
from sresnet.nn.residual import Connection, Join, ResidualBlock, SkipKind, SkipScale, check_connection

StemKind = Literal["c3", "c3s2", "c5s2-pool"]

STEMS: dict[str, dict[str, Any]] = {
    "c3": {"kernel_size": 3, "stride": 1},
    "c3s2": {"kernel_size": 3, "stride": 2},
    "c5s2-pool": {"kernel_size": 5, "stride": 2},
}
"""Table 13: for 32x32, for 64x64 (c32k3s2), and for 128x128 (c32k5s2 followed by MPk2s2)."""


ANN_COUNTERPART: dict[str, Any] = {
    "neuron": "relu",
    "connection": "s2m",  # the skip joins before the nonlinearity, as in He et al. 2016
    "norm": "time-averaged",
    "norm_bias": True,
    "num_steps": 1,
}
"""What turns an S-ResNet into the ResNet of He et al. 2016: the same topology code, other units (Table 15)."""

DEPTHS = (8, 14, 20, 26, 32, 38, 44, 56, 110)


@dataclass(frozen=True, kw_only=True)
class SResNetConfig(NetworkConfig):
    """An S-ResNet. The defaults are the paper's S-ResNet38 (634,000 parameters)."""

    family: ClassVar[str] = "sresnet"

    depth: int = 38
    """Layers with weights, 6n + 2: 8, 14, 20, 26, 32, 38, 44, ..."""
    base_filters: int = 16
    """Filters F of the first stage."""
    connection: Connection = "s2s"
    """Residual connection: s2s, s2m, v2v (Section 3.2.1), or none."""
    skip: SkipKind = "plain"
    """What is on the skip path: plain; spiking (Fang et al.); tdbn (Zheng et al.); learned weights."""
    skip_scale: SkipScale = added_later("threshold")
    """What skip spikes of s2m are multiplied by: the threshold (Eq. 7), or one (Zheng et al., Lee et al.)."""
    join: Join = added_later("add")
    """How skip spikes of s2s join those of the block: add (Eq. 10); and; iand, not the block's and the skip's (SEW)."""
    skip_norm: bool = True
    """A norm after the 1x1 convolution of the skip (released code; the parameter counts agree), not bare (Eq. 13)."""
    stem: StemKind = "c3"
    """First layer: c3 for 32x32 inputs, c3s2 for 64x64, c5s2-pool for 128x128 (Table 13)."""
    downsample: Literal["stride", "max", "avg"] = "stride"
    """How stages 2 and 3 halve the size: stride 2 (paper), or a 2x2 pool before the stage."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth > 2000:
            raise UserError(f"depth {self.depth} is more than 2000: the paper uses 38, the deepest ResNet has 1202")
        if self.depth < 8 or (self.depth - 2) % 6:
            below = max(8, (self.depth - 2) // 6 * 6 + 2)
            raise UserError(f"depth {self.depth} is not 6n + 2: the nearest are {below} and {below + 6}")
        if self.base_filters < 1:
            raise UserError(f"base_filters {self.base_filters} is less than 1: the paper uses 16 and 32")
        blocks, filters = (self.depth - 2) // 6, self.base_filters
        weights = blocks * 18 * (1 + 4 + 16) * filters**2 + 25 * self.in_channels * filters
        check_size(self, weights, norms=blocks * 2 * (1 + 2 + 4) * filters, features=4 * filters)
        check_connection(self.connection, self.skip, self.skip_scale, self.join)


def build_sresnet(config: SResNetConfig) -> SpikingNetwork:
    """Build the network that `config` describes, freshly initialised."""
    shared_leak = shared_leak_of(config)
    shared: dict[str, Any] = {"norm": config.norm_config(), "neuron": config.neuron_config(), **shared_leak}
    filters = config.base_filters
    v2v = config.connection == "v2v"
    layers: dict[str, nn.Module] = {
        "stem": SpikingLayer(config.in_channels, filters, **STEMS[config.stem], **shared, return_current=v2v),
    }
    if config.stem == "c5s2-pool":
        layers["stem_pool"] = Pool("max")
    channels = filters
    for stage in (1, 2, 3):
        shrinks = stage > 1
        if shrinks and config.downsample != "stride":
            layers[f"stage{stage}_pool"] = Pool(config.downsample)
        for block in range(1, (config.depth - 2) // 6 + 1):
            layers[f"stage{stage}_block{block}"] = ResidualBlock(
                channels,
                filters * 2 ** (stage - 1),
                stride=2 if shrinks and block == 1 and config.downsample == "stride" else 1,
                connection=config.connection,
                skip=config.skip,
                skip_norm=config.skip_norm,
                skip_scale=config.skip_scale,
                join=config.join,
                **shared,
            )
            channels = filters * 2 ** (stage - 1)
    return SpikingNetwork(config, layers, make_readout(config, channels, **shared_leak))


def _fields_of(name: str) -> dict[str, Any] | None:
    """The depth that is in the name of an S-ResNet, and what makes it a ResNet of He et al. 2016."""
    match = re.fullmatch(r"(s?)resnet(\d+)", name)
    return {"depth": int(match[2])} | ({} if match[1] else ANN_COUNTERPART) if match else None


MODELS = {f"sresnet{depth}": f"S-ResNet of depth {depth} (Table 1, Fig. 2)" for depth in DEPTHS}
MODELS |= {f"resnet{depth}": f"ANN counterpart of sresnet{depth} (Table 15)" for depth in DEPTHS}
register_family(Family(config=SResNetConfig, build=build_sresnet, models=MODELS, fields=_fields_of))
