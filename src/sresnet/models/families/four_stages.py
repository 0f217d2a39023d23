"""ResNet-18 and -34 of He et al. 2016 with spiking blocks: SEW-ResNet (Fang et al. 2021), MS-ResNet (Hu et al. 2021).

    stem, four stages of 64, 128, 256 and 512 filters, each but the first at half the size of the one before, mean over
    pixels, linear with bias

The stem is that for ImageNet, a 7x7 convolution of stride 2 and a 3x3 maximum of stride 2, or for small images a 3x3
convolution. SEW's blocks are S2S, with neurons on 1x1 skips; MS-ResNet's are V2V: the current of a layer is passed on,
and what a block starts with is the neurons of the one before. Neither paper's code was read for this file: topology
and constants are from memory, and no number of theirs is claimed.
"""

import re
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import nn

from sresnet.errors import UserError
from sresnet.models.families.fang import PLIF
from sresnet.models.network import NetworkConfig, SpikingNetwork, check_size, make_readout, shared_leak_of
from sresnet.models.registry import Family, register_family
from sresnet.nn.layer import Pool, SpikingLayer
from sresnet.nn.residual import Connection, Join, ResidualBlock, SkipKind, check_connection

BLOCKS: dict[int, tuple[int, int, int, int]] = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
"""Depth -> blocks in each stage."""
STEMS: dict[str, dict[str, Any]] = {"c7s2-pool": {"kernel_size": 7, "stride": 2}, "c3": {"kernel_size": 3}}


@dataclass(frozen=True, kw_only=True)
class FourStagesConfig(NetworkConfig):
    """A residual network of four stages; its names set the fields of the neuron, norm and connection."""

    family: ClassVar[str] = "four-stages"

    depth: Literal[18, 34] = 18
    """Layers with weights."""
    base_filters: int = 64
    """Filters of the first stage; each stage has twice as many as the one before."""
    connection: Connection = "s2s"
    """Residual connection: s2s (SEW), s2m, v2v (MS-ResNet), or none."""
    join: Join = "add"
    """How skip spikes of s2s join those of the block: add; and; iand, not the block's and the skip's."""
    skip: SkipKind = "spiking"
    """What is on a 1x1 skip besides convolution and norm: spiking, neurons (SEW); plain, nothing (MS-ResNet)."""
    stem: Literal["c7s2-pool", "c3"] = "c7s2-pool"
    """First layer: c7s2-pool for images of 224x224, c3 for small ones."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.base_filters < 1:
            raise UserError(f"base_filters {self.base_filters} is less than 1: the published networks have 64")
        check_connection(self.connection, self.skip, join=self.join)
        filters = [self.base_filters * 2**stage for stage, count in enumerate(BLOCKS[self.depth]) for _ in range(count)]
        weights = sum(18 * each**2 for each in filters) + 49 * self.in_channels * self.base_filters
        check_size(self, weights, norms=self.base_filters + 3 * sum(filters), features=filters[-1])


def _build(config: FourStagesConfig) -> SpikingNetwork:
    """Build the network that `config` describes, freshly initialised."""
    shared_leak = shared_leak_of(config)
    shared: dict[str, Any] = {"norm": config.norm_config(), "neuron": config.neuron_config(), **shared_leak}
    channels, v2v = config.base_filters, config.connection == "v2v"
    stem = SpikingLayer(config.in_channels, channels, **STEMS[config.stem], **shared, return_current=v2v)
    layers: dict[str, nn.Module] = {"stem": stem}
    if config.stem == "c7s2-pool":
        layers["stem_pool"] = Pool("max", 3)
    for stage, count in enumerate(BLOCKS[config.depth], start=1):
        for block in range(1, count + 1):
            filters = config.base_filters * 2 ** (stage - 1)
            layers[f"stage{stage}_block{block}"] = ResidualBlock(
                channels,
                filters,
                stride=2 if stage > 1 and block == 1 else 1,
                connection=config.connection,
                join=config.join,
                skip=config.skip,
                **shared,
            )
            channels = filters
    return SpikingNetwork(config, layers, make_readout(config, channels, **shared_leak))


IMAGENET: dict[str, Any] = {
    "num_classes": 1000, "norm": "time-averaged", "norm_bias": True, "norm_eps": 1e-5, "readout_bias": True,
    "init": "torch",
}  # fmt: skip
SEW: dict[str, Any] = IMAGENET | PLIF | {"neuron": "if", "input_scale": "one", "num_steps": 4}
MS: dict[str, Any] = IMAGENET | {
    "connection": "v2v", "skip": "plain", "num_steps": 6, "leak": 0.25, "threshold": 0.5, "reset": "zero",
    "surrogate": "rectangle", "surrogate_height": 1.0, "surrogate_width": 1.0,
}  # fmt: skip


def _fields_of(name: str) -> dict[str, Any] | None:
    """The depth that is in the name of a SEW-ResNet or MS-ResNet, and the fields of its kind."""
    match = re.fullmatch(r"(sew|ms)_resnet(18|34)", name)
    return {"depth": int(match[2])} | (SEW if match[1] == "sew" else MS) if match else None


MODELS = {
    "sew_resnet18": "SEW-ResNet-18 (Fang et al. 2021), T = 4, for ImageNet; stem c3 for small images",
    "sew_resnet34": "SEW-ResNet-34, likewise",
    "ms_resnet18": "MS-ResNet-18 (Hu et al. 2021), V2V, T = 6, for ImageNet; stem c3 for small images",
    "ms_resnet34": "MS-ResNet-34, likewise",
}
register_family(Family(config=FourStagesConfig, build=_build, models=MODELS, fields=_fields_of, others=MODELS))
