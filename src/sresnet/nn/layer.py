"""Convolutions, and the layers that have no residual connection."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from sresnet.nn.neuron import NeuronConfig, make_neuron
from sresnet.nn.norm import NormConfig, make_norm
from sresnet.nn.signal import Signal, Trace
from sresnet.nn.time import over_time

PoolKind = Literal["max", "avg"]


def conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the size (divides it by the stride, rounding up).

    Initialised as the released code: Xavier uniform with gain 2.
    """
    layer = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False)
    nn.init.xavier_uniform_(layer.weight, gain=2)
    return layer


class SpikingLayer(nn.Module):
    """convolution -> norm -> neuron: Signal -> Signal. The stem of an S-ResNet, every layer of a VGG.

    Args:
        in_channels, out_channels: C before and after.
        norm, neuron: kinds and constants.
        kernel_size, stride: of the convolution.
        shared_leak: see `Neuron`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        norm: NormConfig,
        neuron: NeuronConfig,
        kernel_size: int = 3,
        stride: int = 1,
        shared_leak: nn.Parameter | None = None,
    ) -> None:
        super().__init__()
        self.conv = conv(in_channels, out_channels, kernel_size, stride)
        self.norm = make_norm(norm, out_channels, tdbn_scale=neuron.threshold)
        self.neuron = make_neuron(neuron, shared_leak)

    def forward(self, x: Signal, trace: Trace | None = None) -> Signal:
        current = self.norm(over_time(self.conv, x.spikes), trace)
        return Signal(self.neuron(current, trace), current)


class Pool(nn.Module):
    """2x2 pooling of a Signal, H and W halved, rounding up as a convolution of stride 2 does.

    The maximum of spikes is a spike; their average is a real number.

    Args:
        kind: max or avg.
        current: pool the current too, which only V2V goes on to use; without it the spikes stand in its place.
    """

    def __init__(self, kind: PoolKind, *, current: bool = False) -> None:
        super().__init__()
        self.kind = kind
        self.current = current

    def forward(self, x: Signal, trace: Trace | None = None) -> Signal:
        spikes = over_time(self.pool, x.spikes)
        return Signal(spikes, over_time(self.pool, x.current) if self.current else spikes)

    def pool(self, x: Tensor) -> Tensor:
        """Pool one batch [N, C, H, W]."""
        return (F.max_pool2d if self.kind == "max" else F.avg_pool2d)(x, 2, ceil_mode=True)

    def extra_repr(self) -> str:
        return f"2x2 {self.kind}"


class GlobalAveragePool(nn.Module):
    """Mean over H and W of the spikes of a Signal, kept as [T, N, C, 1, 1]."""

    def forward(self, x: Signal, trace: Trace | None = None) -> Signal:
        spikes = pooled(x.spikes)[..., None, None]
        return Signal(spikes, spikes)


def pooled(x: Tensor) -> Tensor:
    """Global average pool: mean over H and W, [T, N, C, H, W] -> [T, N, C]."""
    return x.mean(dim=(-2, -1))
