"""ResNet-19 with threshold-dependent batch norm of Zheng et al. 2021 (AAAI 2021).

    stem, 3 blocks of 128 filters, 3 of 256 and 2 of 512, the last two stages at half the size of the one before;
    mean over pixels, 256 neurons with bias, a readout with bias whose neurons spike: 19 = 1 + 16 + 2

In a block, skip spikes of height 1 join the current of the second layer; norms of currents that are summed have alpha =
1 / sqrt(2). The authors' code was not found. Two points on which those who read the paper differ are fields: filters of
the stem (128 in the paper's table as one reader gives it, 64 in all three re-implementations found, and in the 12.63
million parameters that later papers quote), and whether identities have a norm too. The threshold, 0.2, 0.4 and 1 in
the re-implementations, is taken to be 0.5.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import nn

from sresnet.errors import UserError
from sresnet.models.dimensions import check_width, scaled
from sresnet.models.network import NetworkConfig, SpikingNetwork, check_size, make_readout, shared_leak_of
from sresnet.models.registry import Family, register_family
from sresnet.nn.layer import GlobalAveragePool, SpikingLayer, SpikingLinear
from sresnet.nn.norm import NormConfig
from sresnet.nn.residual import ResidualBlock

STAGES = ((128, 3), (256, 3), (512, 2))
"""Filters, and how many blocks have them."""
HIDDEN = 256


@dataclass(frozen=True, kw_only=True)
class ResNet19Config(NetworkConfig):
    """A ResNet-19; its names set the fields of the neuron, norm and readout."""

    family: ClassVar[str] = "resnet19"

    stem_filters: int = 128
    """Filters of the stem: 128 or 64, see above."""
    skip: Literal["plain", "tdbn"] = "plain"
    """plain: identities bare; tdbn: threshold-dependent batch norm on identities too."""
    width: float = 1.0
    """Factor by which all numbers of filters, those of the stem too, and hidden neurons are multiplied."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_width(self.width)
        if self.stem_filters < 1:
            raise UserError(f"stem_filters {self.stem_filters} is less than 1: use 128 or 64")
        filters = [scaled(each, self.width) for each, count in STAGES for _ in range(count)]
        stem = scaled(self.stem_filters, self.width)
        weights = 9 * stem * (self.in_channels + filters[0]) + sum(18 * each**2 for each in filters)
        check_size(self, weights, norms=stem + 3 * sum(filters), features=scaled(HIDDEN, self.width))


def _build(config: ResNet19Config) -> SpikingNetwork:
    """Build the network that `config` describes, freshly initialised."""
    shared_leak = shared_leak_of(config)
    shared: dict[str, Any] = {"norm": config.norm_config(), "neuron": config.neuron_config(), **shared_leak}
    channels = scaled(config.stem_filters, config.width)
    layers: dict[str, nn.Module] = {"stem": SpikingLayer(config.in_channels, channels, **shared)}
    for stage, (base, count) in enumerate(STAGES, start=1):
        for block in range(1, count + 1):
            filters = scaled(base, config.width)
            layers[f"stage{stage}_block{block}"] = ResidualBlock(
                channels,
                filters,
                stride=2 if stage > 1 and block == 1 else 1,
                connection="s2m",
                skip=config.skip,
                skip_scale="one",
                **shared,
            )
            channels = filters
    hidden = scaled(HIDDEN, config.width)
    layers["global_pool"] = GlobalAveragePool()
    layers["hidden"] = SpikingLinear(channels, hidden, bias=True, **shared | {"norm": NormConfig(kind="none")})
    return SpikingNetwork(config, layers, make_readout(config, hidden, **shared_leak))


ZHENG: dict[str, Any] = {
    "num_steps": 6,
    "norm": "tdbn",
    "norm_bias": True,
    "norm_eps": 1e-5,
    "leak": 0.25,
    "threshold": 0.5,
    "reset": "zero",
    "detach_reset": False,
    "surrogate": "rectangle",
    "surrogate_height": 1.0,
    "surrogate_width": 1.0,  # 0.5 of potential, half the window a = 1
    "readout": "spikes",
    "readout_bias": True,
    "init": "kaiming",
}
NAMED: dict[str, dict[str, Any]] = {
    "zheng-resnet19": ZHENG,
    "zheng-resnet19-64": ZHENG | {"stem_filters": 64},
    "zheng-resnet19-tdbn": ZHENG | {"skip": "tdbn"},
    "zheng-resnet19-64-tdbn": ZHENG | {"stem_filters": 64, "skip": "tdbn"},
}
MODELS = {
    "zheng-resnet19": "ResNet-19 with tdBN of Zheng et al., T = 6: stem of 128 filters, bare identities",
    "zheng-resnet19-64": "the same with a stem of 64 filters",
    "zheng-resnet19-tdbn": "zheng-resnet19 with tdBN on identities",
    "zheng-resnet19-64-tdbn": "zheng-resnet19-64 with tdBN on identities",
}
register_family(Family(config=ResNet19Config, build=_build, models=MODELS, fields=NAMED.get, others=MODELS))
