"""Convolutions, and the layers that have no residual connection."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sresnet.errors import UserError
from sresnet.nn.encoder import like_all
from sresnet.nn.graph import Ends, Node, NodeKind, chain, summed
from sresnet.nn.neuron import AnyNeuron, Neuron, NeuronConfig, make_neuron
from sresnet.nn.norm import BNTT, NoNorm, Norm, NormConfig, OwnNorm, PerStepNorm, TimeAveragedNorm, make_norm
from sresnet.nn.signal import Signal
from sresnet.nn.state import ForwardState
from sresnet.ops.bntt_lif import bntt_lif
from sresnet.ops.conv_bntt_lif import Convolution, conv_bntt_lif, convolve_image
from sresnet.ops.conv_bntt_lif.int8 import Int8Weight, prepare
from sresnet.ops.over_time import constant, over_time

PoolKind = Literal["max", "avg"]


def conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, *, bias: bool = False) -> nn.Conv2d:
    """A convolution that keeps the size (divides it by the stride, rounding up).

    Initialised as the released code: Xavier uniform with gain 2.
    """
    layer = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=bias)
    nn.init.xavier_uniform_(layer.weight, gain=2)
    # So that its output has channels last in memory, as `ops.bntt_lif` wants it, whatever the input has.
    return layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def is_picked_first(
    in_channels: int, kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...]
) -> bool:
    """Whether the pixels that a convolution looks at are to be picked before it runs with stride 1.

    In torch 2.13 on x86, the weight gradient of a 1x1 convolution of stride 2 writes outside its memory where fewer
    than 8 float32 channels come in with channels last.
    """
    return kernel == (1, 1) and stride != (1, 1) and padding == (0, 0) and in_channels < 8


def conv_norm_neuron(
    convolution: nn.Conv2d,
    x: Signal,
    norm: Norm,
    neuron: AnyNeuron,
    state: ForwardState | None = None,
    *,
    residual_current: Float[Tensor, "T N C H W"] | None = None,
    residual: Signal | None = None,
    return_current: bool = False,
) -> Signal:
    """One layer: convolution, norm, residual current, neurons, residual spikes.

        current = norm(convolution(x.spikes)) + residual_current
        spikes  = neuron(current) + residual.spikes

    One op does it all, except where what is in between is recorded, or replaced by the user's own: then
    the modules are called, one after the other.

    Args:
        convolution, norm, neuron: modules of the layer; the convolution has no bias.
        x: what the layer before sends.
        state: see `ForwardState`.
        residual_current: [T, N, C, H, W]; None is zero.
        residual: whose spikes are added to those of the neurons; None is zero.
        return_current: return the current too; it is None otherwise.

    Raises:
        UserError: as `check_parts`, and what the parts raise.
    """
    check_parts(norm, neuron)
    watched = is_watched(norm) or is_watched(neuron) or (state is not None and state.wants(neuron))
    if watched or isinstance(norm, OwnNorm) or not isinstance(neuron, Neuron):
        y = _convolved(convolution, x, state)
        if state is not None and convolution in state.convolved:
            state.of_images.add(norm)
        current = norm(y.to(torch.promote_types(y.dtype, torch.float32)), state)
        current = current if residual_current is None else current + residual_current
        spikes = neuron(current, state)
        if residual is not None:
            spikes = spikes + residual.spikes
            if state:
                state.sends(neuron, spikes)
        # The sums are in float32 at least; what is sent on is of the dtype of the convolution, as the op has it.
        return Signal(spikes.to(y.dtype), current.to(y.dtype) if return_current else None)
    image = constant(x.spikes) or (state is not None and convolution in state.convolved)
    rows, constants = norm.rows(x.spikes.shape[0], state, constant=image), neuron.constants()
    v = state.starts(neuron) if state else None
    residual_spikes = None if residual is None else residual.spikes
    packed = again = None
    if is_watched(convolution):
        output, current, v_last = bntt_lif(
            _convolved(convolution, x, state),
            rows,
            constants,
            residual_current=residual_current,
            residual_spikes=residual_spikes,
            v=v,
            return_current=return_current,
        )
    else:
        known = _known(convolution, state)
        output, current, v_last, packed, again = conv_bntt_lif(
            x.spikes if known is None else known,
            as_op(convolution) if known is None else None,
            rows,
            constants,
            num_steps=x.spikes.shape[0],
            packed=x.packed,
            residual_current=residual_current,
            residual_spikes=residual_spikes,
            residual_packed=None if residual is None else residual.packed,
            v=v,
            return_current=return_current,
        )
    if state:
        state.leaves(neuron, v_last)
    return Signal(output, current, packed, again)


def check_parts(norm: nn.Module | None, neuron: nn.Module | None) -> None:
    """Raise UserError for a module in place of a norm or neurons that is not called as these are; None is no part."""
    if norm is not None and not isinstance(norm, Norm):
        raise UserError(f"{type(norm).__name__} is no norm over time steps: OwnNorm(f) makes one of f(x, first_step)")
    if neuron is not None and not isinstance(neuron, AnyNeuron):
        raise UserError(f"{type(neuron).__name__} is no layer of neurons: OwnNeuron(f) makes one of f(current, v)")


def _convolved(convolution: nn.Conv2d, x: Signal, state: ForwardState | None) -> Float[Tensor, "T N C H W"]:
    """The convolution of every step, by its module, or as the state knows it."""
    known = _known(convolution, state)
    return over_time(convolution, x.spikes) if known is None else known.expand(x.spikes.shape[0], *known.shape[1:])


def _known(convolution: nn.Conv2d, state: ForwardState | None) -> Float[Tensor, "1 N C H W"] | None:
    """The convolution of one step, where the state has it of the image that all steps are."""
    y = state.convolved.get(convolution) if state else None
    return None if y is None else y[None]


def is_watched(module: nn.Module) -> bool:
    """Whether a hook expects this part of a layer to be called as a module, or it is of a kind that no op knows.

    Hooks are those of the module (pruning and spectral norms are such) and those that torch has for all modules.
    """
    unknown = isinstance(module, nn.Conv2d) and not is_plain(module)
    return unknown or type(module) not in KNOWN or has_hooks(module)


def is_plain(convolution: nn.Conv2d) -> bool:
    """Whether the op computes it: without bias, groups and dilation, and with zeros around its input."""
    return (
        convolution.bias is None
        and convolution.groups == 1
        and convolution.dilation == (1, 1)
        and convolution.padding_mode == "zeros"
        and not isinstance(convolution.padding, str)
    )


def has_hooks(module: nn.Module) -> bool:
    """Whether a hook expects this module, or all modules, to be called."""
    of_all = torch.nn.modules.module
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or of_all._global_forward_hooks
        or of_all._global_forward_pre_hooks
        or of_all._global_backward_hooks
        or of_all._global_backward_pre_hooks
    )


def as_op(convolution: nn.Conv2d) -> Convolution:
    """What the layer op needs of a convolution."""
    int8 = convolution.int8 if isinstance(convolution, Int8Conv) else None
    return Convolution(convolution.weight, *_stride_and_padding(convolution), int8)


def _stride_and_padding(convolution: nn.Conv2d) -> tuple[tuple[int, int], tuple[int, int]]:
    """Stride and padding of a convolution."""
    stride, padding = convolution.stride, convolution.padding
    assert not isinstance(padding, str)
    return (stride[0], stride[1]), (padding[0], padding[1])


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
            before = self.rounded = weight.clone(), prepare(weight, *_stride_and_padding(self))
        return before[1]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"rounded": None}  # oneDNN's layout is neither copied nor pickled

    def forward(self, input: Tensor) -> Tensor:
        raise UserError(
            "an 8-bit network computes its convolutions inside its layers only: use hooks, record and analysis "
            "on the network that it was made from"
        )


KNOWN = (nn.Conv2d, Int8Conv, BNTT, PerStepNorm, TimeAveragedNorm, NoNorm, Neuron)
"""What the ops compute; a subclass is called as a module."""


class SpikingLayer(nn.Module):
    """convolution -> norm -> neuron: Signal -> Signal. The stem of an S-ResNet, every layer of a VGG.

    Args:
        in_channels, out_channels: C before and after.
        norm, neuron: kinds and constants.
        kernel_size, stride, bias: of the convolution; one with a bias is called as a module.
        shared_leak: see `Neuron`.
        return_current: return the current too, for a V2V block that follows.
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
        bias: bool = False,
        shared_leak: nn.Parameter | None = None,
        return_current: bool = False,
    ) -> None:
        super().__init__()
        self.return_current = return_current
        self.conv = conv(in_channels, out_channels, kernel_size, stride, bias=bias)
        self.norm = make_norm(norm, out_channels, tdbn_scale=neuron.threshold)
        self.neuron = make_neuron(neuron, shared_leak)

    def forward(self, x: Signal, state: ForwardState | None = None) -> Signal:
        return conv_norm_neuron(self.conv, x, self.norm, self.neuron, state, return_current=self.return_current)

    def convolve_image(self, image: Float[Tensor, "N C_in H W"]) -> dict[nn.Module, Tensor]:
        """What the convolution gives for an image that every step receives; for `ForwardState.convolved`.

        Nothing in an 8-bit network: its stem has to say, as bits, that the next layer receives whole numbers.
        """
        if isinstance(self.conv, Int8Conv):
            return {}
        if is_watched(self.conv):
            return {self.conv: self.conv(image)}
        return {self.conv: convolve_image(image, as_op(self.conv))}

    def describe(self, name: str, x: Ends) -> tuple[list[Node], Ends]:
        """See `graph.Described`."""
        parts: list[tuple[str, NodeKind, nn.Module]] = [
            (f"{name}.conv", "convolution", self.conv), (f"{name}.norm", "norm", self.norm)
        ]  # fmt: skip
        nodes, current = chain(*parts, source=x.spikes)
        if self.return_current:
            nodes.append(summed(f"{name}.sum", "sum of currents", [current]))
            current = f"{name}.sum"
        fired, spikes = chain((f"{name}.neuron", "neurons", self.neuron), source=current)
        return nodes + fired, Ends(spikes, current if self.return_current else None)


class SpikingLinear(SpikingLayer):
    """A fully connected layer: linear -> norm -> neuron, on one pixel, [T, N, C, 1, 1]. See `Flatten`.

    On one pixel a 1x1 convolution is the fully connected layer, and norm and neuron need no second form.

    Args:
        inputs, outputs: neurons before and after.
        norm, neuron, bias, shared_leak: as `SpikingLayer`.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        norm: NormConfig,
        neuron: NeuronConfig,
        bias: bool = False,
        shared_leak: nn.Parameter | None = None,
    ) -> None:
        super().__init__(inputs, outputs, norm=norm, neuron=neuron, kernel_size=1, bias=bias, shared_leak=shared_leak)


class Flatten(nn.Module):
    """All pixels of a Signal as channels of one pixel: [T, N, C, H, W] -> [T, N, C * H * W, 1, 1].

    Args:
        channels, size: C, and H = W, so that an image of another size is refused here.

    Raises:
        UserError: in forward, maps of another shape.
    """

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.shape = (channels, size, size)

    def forward(self, x: Signal, state: ForwardState | None = None) -> Signal:
        if x.spikes.shape[2:] != self.shape:
            raise UserError(
                f"maps before the fully connected layer are {list(x.spikes.shape[2:])}, not {list(self.shape)}: give "
                "images of the size that the network was built for, or build it with their image_size"
            )
        return Signal(x.spikes.flatten(2)[..., None, None], None)

    def describe(self, name: str, x: Ends) -> tuple[list[Node], Ends]:
        """See `graph.Described`."""
        return [Node(name=name, kind="flatten", inputs=(x.spikes,), module=name)], Ends(name)

    def extra_repr(self) -> str:
        return str(list(self.shape))


class SharedDropout(nn.Module):
    """Dropout whose mask is one for all time steps: Signal -> Signal (Lee et al. 2020, Fang et al. 2021).

        spikes[t] * mask,   mask = 0 with probability p, else 1 / (1 - p), for each image and unit

    The mask is drawn from torch's generator, once in each forward pass in training mode; time segments and what a
    backward pass computes again have the same one. In evaluation mode nothing happens.

    Args:
        p: probability of 0, in [0, 1).

    Raises:
        UserError: p out of range; in forward, a stream in training mode that goes on: its mask is gone.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise UserError(f"dropout {p} is outside [0, 1): it is the probability that a unit is silent; try 0.5")
        self.p = p

    def forward(self, x: Signal, state: ForwardState | None = None) -> Signal:
        if not self.training or not self.p:
            return x
        mask = self.mask(x.spikes, state)
        return Signal(x.spikes * mask, None if x.current is None else x.current * mask)

    def mask(self, spikes: Float[Tensor, "T N C H W"], state: ForwardState | None) -> Float[Tensor, "N C H W"]:
        """The mask of this forward pass."""
        known = state.masks.get(self) if state else None
        if known is not None:
            return known
        if state and state.first_step:
            raise UserError(
                "dropout has one mask for all time steps, which a stream does not keep: train on all steps in one call"
            )
        part = state.part if state else None
        if part is None:
            mask = F.dropout(torch.ones_like(spikes[0]), self.p)
        else:
            mask = part.of(F.dropout(like_all(spikes[0], part).fill_(1), self.p))
        if state:
            state.masks[self] = mask
        return mask

    def describe(self, name: str, x: Ends) -> tuple[list[Node], Ends]:
        """See `graph.Described`: no node."""
        return [], x

    def extra_repr(self) -> str:
        return f"{self.p:g}"


class Pool(nn.Module):
    """Pooling of a Signal, H and W halved, rounding up as a convolution of stride 2 does.

    The maximum of spikes is a spike; their average is a real number.

    Args:
        kind: max or avg.
        kernel_size: 2, windows side by side; or 3, windows that overlap, centred on every second pixel.
    """

    def __init__(self, kind: PoolKind, kernel_size: Literal[2, 3] = 2) -> None:
        super().__init__()
        self.kind = kind
        self.kernel_size = kernel_size

    def forward(self, x: Signal, state: ForwardState | None = None) -> Signal:
        current = None if x.current is None else over_time(self.pool, x.current)
        return Signal(over_time(self.pool, x.spikes), current)

    def pool(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C height width"]:
        """Pool one batch [N, C, H, W]."""
        pool = F.max_pool2d if self.kind == "max" else F.avg_pool2d
        if self.kernel_size == 2:
            return pool(x, 2, ceil_mode=True)
        return pool(x, 3, stride=2, padding=1)

    def describe(self, name: str, x: Ends) -> tuple[list[Node], Ends]:
        """See `graph.Described`."""
        spikes = Node(name=name, kind="pool", inputs=(x.spikes,), module=name)
        if x.current is None:
            return [spikes], Ends(name)
        current = Node(name=f"{name}.current", kind="pool", inputs=(x.current,), module=name)
        return [spikes, current], Ends(name, current.name)

    def extra_repr(self) -> str:
        return f"{self.kernel_size}x{self.kernel_size} {self.kind}"


class PoolNeurons(nn.Module):
    """2x2 average and a layer of neurons: Signal -> Signal (Lee et al. 2020, whose pools spike).

    Args:
        neuron: kind and constants.
        shared_leak: see `Neuron`.
    """

    def __init__(self, neuron: NeuronConfig, shared_leak: nn.Parameter | None = None) -> None:
        super().__init__()
        self.pool = Pool("avg")
        self.neuron = make_neuron(neuron, shared_leak)

    def forward(self, x: Signal, state: ForwardState | None = None) -> Signal:
        return Signal(self.neuron(self.pool(x).spikes, state), None)

    def describe(self, name: str, x: Ends) -> tuple[list[Node], Ends]:
        """See `graph.Described`."""
        parts: list[tuple[str, NodeKind, nn.Module]] = [
            (f"{name}.pool", "pool", self.pool), (f"{name}.neuron", "neurons", self.neuron)
        ]  # fmt: skip
        nodes, spikes = chain(*parts, source=x.spikes)
        return nodes, Ends(spikes)


class GlobalAveragePool(nn.Module):
    """Mean over H and W of the spikes of a Signal, kept as [T, N, C, 1, 1]."""

    def forward(self, x: Signal, state: ForwardState | None = None) -> Signal:
        return Signal(pooled(x.spikes)[..., None, None], None)

    def describe(self, name: str, x: Ends) -> tuple[list[Node], Ends]:
        """See `graph.Described`."""
        return [Node(name=name, kind="pool", inputs=(x.spikes,), module=name)], Ends(name)


def pooled(x: Float[Tensor, "T N C H W"]) -> Float[Tensor, "T N C"]:
    """Global average pool: mean over H and W, [T, N, C, H, W] -> [T, N, C]."""
    return x.mean(dim=(-2, -1))
