"""The spiking VGG9 and VGG11 of Kim & Panda 2021, without residual connections; Fig. 3 compares with VGG11.

    VGG9    64 64 A 128 128 A 256 256 256 A, flattened,         hidden layer of 1024, readout
    VGG11   64 A 128 A 256 256 A 512 512 A 512 512, averaged,   hidden layer of 4096, readout

Numbers are filters of 3x3 convolutions, A is a 2x2 average. Source: their released code, model.py.
"""

import itertools
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import nn

from sresnet.config import added_later
from sresnet.errors import UserError
from sresnet.models.dimensions import check_image_size, check_width, scaled, size_behind
from sresnet.models.network import NetworkConfig, SpikingNetwork, check_size, make_readout, shared_leak_of
from sresnet.models.registry import Family, register_family
from sresnet.nn.layer import Flatten, GlobalAveragePool, Pool, SpikingLayer, SpikingLinear

STAGES: dict[int, tuple[tuple[int, ...], ...]] = {
    9: ((64, 64), (128, 128), (256, 256, 256)),
    11: ((64,), (128,), (256, 256), (512, 512), (512, 512)),
}
"""Depth -> filters of the convolutions; a 2x2 pool follows each stage, but a global one the last of VGG11."""


@dataclass(frozen=True, kw_only=True)
class VGGConfig(NetworkConfig):
    """A spiking VGG11: eight convolutions, one hidden layer, readout; or VGG9, of seven."""

    family: ClassVar[str] = "vgg"

    depth: Literal[9, 11] = added_later(11)
    """Layers with weights, the hidden layer counted and VGG11's last convolution: 9 or 11."""
    width: float = 1.0
    """Factor by which all numbers of filters are multiplied."""
    hidden: int = 4096
    """Neurons of the fully connected layer before the readout."""
    downsample: Literal["avg", "max"] = "avg"
    """How the image size is halved: average or maximum."""
    image_size: int = added_later(32)
    """Height and width of an image, which the hidden layer of VGG9 depends on; VGG11 takes any."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_width(self.width)
        check_image_size(self.image_size)
        if self.hidden < 1:
            raise UserError(f"hidden {self.hidden} is less than 1: Kim & Panda use 4096 in VGG11, 1024 in VGG9")
        filters = [scaled(each, self.width) for stage in STAGES[self.depth] for each in stage]
        pixels = size_behind(self.image_size, 3) ** 2 if self.depth == 9 else 1
        weights = 9 * sum(a * b for a, b in itertools.pairwise([self.in_channels, *filters]))
        check_size(
            self,
            weights + pixels * filters[-1] * self.hidden,
            norms=sum(filters) + self.hidden,
            features=self.hidden,
        )


def build_vgg(config: VGGConfig) -> SpikingNetwork:
    """Build the network that `config` describes, freshly initialised."""
    shared_leak = shared_leak_of(config)
    shared: dict[str, Any] = {"norm": config.norm_config(), "neuron": config.neuron_config(), **shared_leak}
    layers: dict[str, nn.Module] = {}
    channels = config.in_channels
    number = 0
    for stage, filters in enumerate(STAGES[config.depth], start=1):
        if stage > 1:
            layers[f"pool{stage - 1}"] = Pool(config.downsample)
        for base_width in filters:
            number += 1
            width = scaled(base_width, config.width)
            layers[f"conv{number}"] = SpikingLayer(channels, width, **shared)
            channels = width
    if config.depth == 9:
        size = size_behind(config.image_size, 3)
        layers |= {"pool3": Pool(config.downsample), "flatten": Flatten(channels, size)}
        channels *= size**2
    else:
        layers["global_pool"] = GlobalAveragePool()
    layers["hidden"] = SpikingLinear(channels, config.hidden, **shared)
    return SpikingNetwork(config, layers, make_readout(config, config.hidden, **shared_leak))


KIM_VGG9: dict[str, Any] = {
    "depth": 9, "hidden": 1024, "num_steps": 25, "leak": 0.95, "encoder": "poisson-signed"
}  # fmt: skip
"""As on CIFAR-10, published."""
KIM_VGG11: dict[str, Any] = {"num_classes": 100, "num_steps": 30, "leak": 0.99, "encoder": "poisson-signed"}
"""As on CIFAR-100, by the README of their code."""
NAMED: dict[str, dict[str, Any]] = {
    "vgg11": {},
    "kim-vgg9": KIM_VGG9,
    "kim-vgg11": KIM_VGG11,
    "kim-vgg9-dvs": KIM_VGG9 | {"in_channels": 2, "num_steps": 20, "encoder": "direct"},
}
"""Name -> fields. Which network the authors used for events is not known: the last is our choice."""
MODELS = {
    "vgg11": "spiking VGG11 without residual connections (Fig. 3)",
    "kim-vgg9": "VGG9 with BNTT of Kim & Panda, T = 25, for CIFAR-10",
    "kim-vgg11": "VGG11 with BNTT of Kim & Panda, T = 30, for CIFAR-100",
    "kim-vgg9-dvs": "VGG9 with BNTT for 32x32 event frames, T = 20; ours, as theirs is not known",
}
register_family(
    Family(config=VGGConfig, build=build_vgg, models=MODELS, fields=NAMED.get, others=set(MODELS) - {"vgg11"})
)
