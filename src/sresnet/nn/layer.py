"""Convolutions, and the layers that have no residual connection."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sresnet.errors import UserError
from sresnet.nn.neuron import Neuron, NeuronConfig, Rectifier, make_neuron
from sresnet.nn.norm import Norm, NormConfig, make_norm
from sresnet.nn.signal import Signal, Trace
from sresnet.ops.bntt_lif import bntt_lif
from sresnet.ops.conv_bntt_lif import conv_bntt_lif
from sresnet.ops.conv_bntt_lif.int8 import Int8Weight, prepare
from sresnet.ops.time import over_time

PoolKind = Literal["max", "avg"]


def conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the size (divides it by the stride, rounding up).

    Initialised as the released code: Xavier uniform with gain 2.
    """
    layer = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False)
    nn.init.xavier_uniform_(layer.weight, gain=2)
    # So that its output has channels last in memory, as `ops.bntt_lif` wants it, whatever the input has.
    return layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def fire(
    convolution: nn.Conv2d,
    x: Signal,
    norm: Norm,
    neuron: Neuron | Rectifier,
    trace: Trace | None = None,
    *,
    charge: Tensor | None = None,
    added: Signal | None = None,
    hand_on: bool = False,
) -> Signal:
    """One layer: convolution, norm, residual current, neurons, residual spikes.

        current = norm(convolution(x.spikes)) + charge
        spikes  = neuron(current) + added.spikes

    One op does it all, except where somebody wants to see what is in between.

    Args:
        convolution, norm, neuron: modules of the layer; the convolution has no bias.
        x: what the layer before sends.
        trace: see `Trace`.
        charge: residual current [T, N, C, H, W]; None is zero.
        added: residual spikes; None is zero.
        hand_on: give the current too; it is None otherwise.
    """
    if isinstance(neuron, Rectifier) or (trace and neuron in trace.wanted):
        y = over_time(convolution, x.spikes)
        current = norm(y.to(torch.promote_types(y.dtype, torch.float32)), trace)
        current = current if charge is None else current + charge
        spikes = neuron(current, trace)
        if added is not None:
            spikes = spikes + added.spikes
            if trace:
                trace.sends(neuron, spikes)
        return Signal(spikes, current if hand_on else None)
    arguments = {
        **norm.arguments(x.spikes.shape[0], trace),
        **neuron.arguments(trace),
        "charge": charge,
        "added": None if added is None else added.spikes,
        "need_current": hand_on,
    }
    packed = None
    if is_watched(convolution):
        output, current, v = bntt_lif(over_time(convolution, x.spikes), **arguments)
    else:
        output, current, v, packed = conv_bntt_lif(
            x.spikes,
            convolution.weight,
            **geometry(convolution),
            packed=x.packed,
            added_packed=None if added is None else added.packed,
            **arguments,
        )
    if trace:
        trace.leaves(neuron, v)
    return Signal(output, current, packed)


def is_watched(convolution: nn.Conv2d) -> bool:
    """Somebody's hook waits for the convolution to be called as a module, or it is a module of another kind."""
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return type(convolution) not in (nn.Conv2d, Int8Conv) or any(getattr(convolution, name) for name in names)


def geometry(convolution: nn.Conv2d) -> dict[str, Any]:
    """What the layer op needs of a convolution besides its weight."""
    int8 = {"int8": convolution.int8} if isinstance(convolution, Int8Conv) else {}
    return places(convolution) | int8


def places(convolution: nn.Conv2d) -> dict[str, Any]:
    """Where a convolution looks."""
    return {"stride": convolution.stride, "padding": convolution.padding}


class Int8Conv(nn.Conv2d):
    """A convolution that also has its weight in eight bits, for layers whose input is whole numbers; inference only.

    The weight stays what it is, to be saved, loaded, copied and pickled; `int8` follows it.

    Args:
        convolution: without bias; its weight is shared.

    Raises:
        UserError: when called as a module, which is what hooks and `record` need, and a weight that is not float32 on a
            CPU.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__(1, 1, 1, device="meta")
        self.__dict__.update(convolution.__dict__)
        self.rounded: tuple[Tensor, Int8Weight] | None = None

    @property
    def int8(self) -> Int8Weight:
        """The weight in eight bits, rounded anew where it is no longer the one that was rounded.

        Values are compared: changes through `.data` leave no other trace.
        """
        weight, before = self.weight.detach(), self.rounded
        alike = before is not None and before[0].dtype == weight.dtype and before[0].device == weight.device
        if before is None or not alike or not torch.equal(before[0], weight):
            before = self.rounded = weight.clone(), prepare(weight, **places(self))
        return before[1]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"rounded": None}  # oneDNN's layout is neither copied nor pickled

    def forward(self, input: Tensor) -> Tensor:
        raise UserError(
            "a network of eight bits computes its convolutions inside its layers only: use hooks, record and analysis "
            "on the network that it was made of"
        )


class SpikingLayer(nn.Module):
    """convolution -> norm -> neuron: Signal -> Signal. The stem of an S-ResNet, every layer of a VGG.

    Args:
        in_channels, out_channels: C before and after.
        norm, neuron: kinds and constants.
        kernel_size, stride: of the convolution.
        shared_leak: see `Neuron`.
        hand_on: give the current too, for a V2V block that follows.
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
        hand_on: bool = False,
    ) -> None:
        super().__init__()
        self.hand_on = hand_on
        self.conv = conv(in_channels, out_channels, kernel_size, stride)
        self.norm = make_norm(norm, out_channels, tdbn_scale=neuron.threshold)
        self.neuron = make_neuron(neuron, shared_leak)

    def forward(self, x: Signal, trace: Trace | None = None) -> Signal:
        return fire(self.conv, x, self.norm, self.neuron, trace, hand_on=self.hand_on)


class Pool(nn.Module):
    """2x2 pooling of a Signal, H and W halved, rounding up as a convolution of stride 2 does.

    The maximum of spikes is a spike; their average is a real number.

    Args:
        kind: max or avg.
    """

    def __init__(self, kind: PoolKind) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Signal, trace: Trace | None = None) -> Signal:
        current = None if x.current is None else over_time(self.pool, x.current)
        return Signal(over_time(self.pool, x.spikes), current)

    def pool(self, x: Tensor) -> Tensor:
        """Pool one batch [N, C, H, W]."""
        return (F.max_pool2d if self.kind == "max" else F.avg_pool2d)(x, 2, ceil_mode=True)

    def extra_repr(self) -> str:
        return f"2x2 {self.kind}"


class GlobalAveragePool(nn.Module):
    """Mean over H and W of the spikes of a Signal, kept as [T, N, C, 1, 1]."""

    def forward(self, x: Signal, trace: Trace | None = None) -> Signal:
        return Signal(pooled(x.spikes)[..., None, None], None)


def pooled(x: Tensor) -> Tensor:
    """Global average pool: mean over H and W, [T, N, C, H, W] -> [T, N, C]."""
    return x.mean(dim=(-2, -1))
