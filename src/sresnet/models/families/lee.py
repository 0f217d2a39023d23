"""ResNet-11 of Lee et al. 2020, trained with spike-based backpropagation.

    64 filters, 2x2 average behind which neurons without leak fire at 0.75;
    blocks of 128, 256 (halved), 512 and 512 (halved) filters; flattened, 1024, a readout that leaks

In a block, skip spikes join the current of the second layer, whose convolution has the stride; the skip is a 1x1
convolution, in the last block every second pixel. There are no norms and no biases, and dropout with one mask for all
time steps follows every layer of neurons but the pool's. Source: the authors' code, src/cifar10_ResNet11.py.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import nn

from sresnet.models.dimensions import check_width, scaled, size_behind
from sresnet.models.network import NetworkConfig, SpikingNetwork, check_size, make_readout, shared_leak_of
from sresnet.models.registry import Family, register_family
from sresnet.nn.layer import Flatten, PoolNeurons, SharedDropout, SpikingLayer, SpikingLinear
from sresnet.nn.neuron import WITHOUT_TIME
from sresnet.nn.residual import ResidualBlock

STEM = 64
BLOCKS = ((128, 1), (256, 2), (512, 1), (512, 2))
"""Filters and stride."""
HIDDEN = 1024
POOL_THRESHOLD = 0.75
"""Of the neurons behind the average: they fire where three of four pixels do, or what is left adds up to that."""


@dataclass(frozen=True, kw_only=True)
class LeeConfig(NetworkConfig):
    """A ResNet-11 of Lee et al.; its name sets the fields of the neuron, gradient, encoder and readout."""

    family: ClassVar[str] = "lee"

    width: float = 1.0
    """Factor by which all numbers of filters and hidden neurons are multiplied."""
    image_size: int = 32
    """Height and width of an image, which the fully connected layer depends on."""
    dropout: float = 0.25
    """Probability that a unit is silent at all time steps, behind every layer of neurons."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_width(self.width)
        SharedDropout(self.dropout)
        filters = [scaled(each, self.width) for each, _ in BLOCKS]
        hidden, stem = scaled(HIDDEN, self.width), scaled(STEM, self.width)
        weights = 9 * stem * (self.in_channels + filters[0]) + sum(19 * each**2 for each in filters)
        weights += filters[-1] * size_behind(self.image_size, 3) ** 2 * hidden
        check_size(self, weights, norms=stem + sum(filters), features=hidden)


def _build(config: LeeConfig) -> SpikingNetwork:
    """Build the network that `config` describes, freshly initialised."""
    shared_leak, neuron = shared_leak_of(config), config.neuron_config()
    shared: dict[str, Any] = {"norm": config.norm_config(), "neuron": neuron, **shared_leak}
    channels = scaled(STEM, config.width)
    pool_neuron = replace(neuron, kind="if", threshold=POOL_THRESHOLD * config.threshold)
    layers: dict[str, nn.Module] = {
        "stem": SpikingLayer(config.in_channels, channels, **shared),
        "stem_dropout": SharedDropout(config.dropout),
        "pool": PoolNeurons(neuron if neuron.kind in WITHOUT_TIME else pool_neuron),
    }
    for number, (base, stride) in enumerate(BLOCKS, start=1):
        filters = scaled(base, config.width)
        layers[f"block{number}"] = ResidualBlock(
            channels,
            filters,
            stride=stride,
            stride_at=2,
            connection="s2m",
            skip="plain" if filters != channels else "subsample",
            skip_scale="one",
            dropout=config.dropout,
            **shared,
        )
        channels = filters
    size, hidden = size_behind(config.image_size, 3), scaled(HIDDEN, config.width)
    layers |= {
        "flatten": Flatten(channels, size),
        "hidden": SpikingLinear(channels * size**2, hidden, **shared),
        "hidden_dropout": SharedDropout(config.dropout),
    }
    return SpikingNetwork(config, layers, make_readout(config, hidden, **shared_leak))


LEE: dict[str, Any] = {
    "num_steps": 100,
    "norm": "none",
    "leak": 0.99,
    "reset": "zero",
    "gradient": "spike-based",
    "encoder": "poisson-signed",
    "poisson_scale": 1.0,
    "readout": "leaky",
    "init": "normal",
}
MODELS = {"lee-resnet11": "ResNet-11 of Lee et al. with spike-based backpropagation, T = 100, for CIFAR-10"}
register_family(
    Family(
        config=LeeConfig,
        build=_build,
        models=MODELS,
        fields=lambda name: LEE if name in MODELS else None,
        others=MODELS,
    )
)
