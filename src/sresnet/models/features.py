"""A network's features in place of its scores."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sresnet.errors import UserError
from sresnet.models.network import SpikingNetwork, zero_or_nan
from sresnet.nn.layer import Flatten, GlobalAveragePool, Pool, SpikingLinear, pooled
from sresnet.nn.signal import Signal
from sresnet.nn.wiring import Wiring
from sresnet.randomness import seeded

_USUAL_SIZE = 32
"""Height and width at which maps are looked at where a network does not say its own."""


@dataclass(frozen=True, kw_only=True)
class StageInfo:
    """What one stage of a network gives."""

    name: str
    """Of its last layer."""
    channels: int
    """C of its maps."""
    reduction: int
    """By how much height and width of its maps are smaller than those of the input."""


class FeatureNetwork(nn.Module):
    """A network without its classifier: what its last layer sends, pooled, or what each of its stages sends.

    A stage ends with the last layer before height and width change. What is given is spikes of a time step (sums of
    spikes behind an S2S connection), or their mean over the time steps.

    Args:
        network: it is not copied.
        stages: give the maps of each stage in place of the pooled features of the last layer.

    Raises:
        UserError: `stages` of a network that is one list of steps; in forward, as `SpikingNetwork.forward`.
    """

    def __init__(self, network: SpikingNetwork, *, stages: bool = False) -> None:
        super().__init__()
        self.network = network
        self.stages = stages
        self.train(network.training)
        self.feature_info = _stages_of(network)
        """One for each stage, the first one first."""
        if stages and not self.feature_info:
            raise UserError("this network is one list of steps, of which no stages are known: use num_classes=0")

    @property
    def num_features(self) -> int:
        """Numbers in the pooled features of an image."""
        return self.network.num_features

    def forward(self, x: Tensor, *, num_steps: int | None = None, per_step: bool = False) -> Tensor | list[Tensor]:
        """Features of images [N, C, H, W] or event frames [N, T, C, H, W].

        Args:
            num_steps: time steps to run, the first of the network's; None: all.
            per_step: those of every time step, with T in front, in place of their mean.

        Returns:
            [N, num_features]; with `stages` a list of [N, channels, H / reduction, W / reduction].
        """
        if self.stages:
            wanted, mark = {each.name for each in self.feature_info}, zero_or_nan(x, num_steps)
            found = [
                sent + mark.to(sent.dtype) for name, _, sent in _maps(self.network, x, num_steps) if name in wanted
            ]
            return found if per_step else [each.mean(0) for each in found]
        features = pooled(self.network.forward_features(x, num_steps=num_steps))
        return features if per_step else features.mean(0)


def _maps(network: SpikingNetwork, x: Tensor, num_steps: int | None) -> Iterator[tuple[str, nn.Module, Tensor]]:
    """(name, layer, what it sends [T, N, C, H, W]) of every layer that sends maps, one after the other."""
    signal = Signal(network.encode(x, num_steps), None)
    for name, layer in network.layers.items():
        if isinstance(layer, Flatten | GlobalAveragePool | SpikingLinear | Wiring):
            return
        signal = layer(signal, None)
        yield name, layer, signal.spikes


def _stages_of(network: SpikingNetwork) -> tuple[StageInfo, ...]:
    """The stages, by running one time step of an empty image."""
    config, trained = network.config, network.trained
    own = getattr(config, "image_size", _USUAL_SIZE)
    size = trained.image_size if trained else (own, own)
    weight = next(network.parameters())
    found: list[StageInfo] = []
    training = network.training
    network.eval()
    with torch.no_grad(), seeded(0, weight.device):
        for name, layer, sent in _maps(network, weight.new_zeros(1, config.in_channels, *size), 1):
            stage = StageInfo(name=name, channels=sent.shape[2], reduction=round(size[0] / sent.shape[-2]))
            if found and found[-1].reduction == stage.reduction:
                found.pop()
            if not isinstance(layer, Pool):
                found.append(stage)
    network.train(training)
    return tuple(found)
