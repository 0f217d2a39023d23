"""The residual block with the paper's three spiking residual connections (Section 3.2.1), and what its skip may be."""

import math
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import nn

from sresnet.config import closest
from sresnet.errors import UserError
from sresnet.nn.graph import Ends, Node, NodeKind, chain, summed
from sresnet.nn.layer import SharedDropout, as_op, check_parts, conv, conv_norm_neuron, is_picked_first, is_watched
from sresnet.nn.neuron import NeuronConfig, make_neuron
from sresnet.nn.norm import NoNorm, NormConfig, OwnNorm, make_norm
from sresnet.nn.signal import Signal
from sresnet.nn.state import ForwardState
from sresnet.ops.conv_bntt_lif import conv_batch_norm
from sresnet.ops.over_time import over_time

Connection = Literal["s2s", "s2m", "v2v", "none"]
SkipKind = Literal["plain", "spiking", "tdbn", "learned"]
AnySkip = Literal[SkipKind, "subsample"]
"""With that which only blocks of as many channels before as after can have."""
SkipScale = Literal["threshold", "one"]
"""What skip spikes of S2M are multiplied by before they join the current."""
Join = Literal["add", "and", "iand"]
"""How skip spikes s of S2S join the spikes o of the block: o + s, o * s, or (1 - o) * s (Fang et al. 2021, SEW)."""
_JOINS: dict[Join, NodeKind] = {"add": "sum of spikes", "and": "and of spikes", "iand": "iand of spikes"}


class Skip(nn.Module):
    """The skip path: [T, N, in_channels, H, W] -> [T, N, out_channels, H / stride, W / stride].

    The identity where the shape stays; where it changes, a 1x1 convolution and a norm. Kinds:

        plain     no neuron and no weight on the path (the paper's choice)
        spiking   a layer of neurons after the 1x1 convolution (Fang et al. 2021, SEW-ResNet)
        tdbn      threshold-dependent batch norm weighs the path, identities too (Zheng et al. 2021)
        learned   a learned weight per channel, 1 at the start: W' of Eq. 7, the paper's "typically non-learnable"
        subsample no convolution: every second pixel where the stride is 2 (Lee et al. 2020); as many channels

    `norm` None leaves the 1x1 convolution bare (Eq. 13 as printed).

    Raises:
        UserError: subsample where the number of channels changes.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        kind: AnySkip,
        norm: NormConfig | None,
        neuron: NeuronConfig,
        shared_leak: nn.Parameter | None,
    ) -> None:
        super().__init__()
        changes_shape = stride != 1 or in_channels != out_channels
        if kind == "subsample" and in_channels != out_channels:
            raise UserError(
                f"skip 'subsample' has no convolution, and channels change from {in_channels} to {out_channels}: use "
                "'plain' there"
            )
        self.every = stride if kind == "subsample" else 1
        changes_shape = changes_shape and kind != "subsample"
        tdbn_scale = neuron.threshold / math.sqrt(2)  # two currents are summed, hence alpha = 1 / sqrt(2)
        self.pick = stride if is_picked_first(in_channels, (1, 1), (stride, stride), (0, 0)) else 1
        self.conv = conv(in_channels, out_channels, 1, stride // self.pick) if changes_shape else None
        if kind == "tdbn":
            norm = replace(norm, kind="tdbn") if norm else NormConfig(kind="tdbn")
        elif not changes_shape:
            norm = None
        self.norm = make_norm(norm, out_channels, tdbn_scale=tdbn_scale) if norm else None
        self.neuron = make_neuron(neuron, shared_leak) if kind == "spiking" and changes_shape else None
        self.weight = nn.Parameter(torch.ones(out_channels, 1, 1)) if kind == "learned" else None

    def forward(self, x: Signal, state: ForwardState | None = None) -> Signal:
        """What the path makes of x.spikes; errors as `conv_norm_neuron`."""
        check_parts(self.norm, self.neuron)
        if self.every > 1:
            x = Signal(x.spikes[..., :: self.every, :: self.every], None)
        if self.conv is not None:
            x = self.convolved(x, state)
        elif self.norm is not None:
            x = Signal(self.norm(x.spikes, state), None)
        if self.neuron is not None:
            x = Signal(self.neuron(x.spikes, state), None)
        return x if self.weight is None else Signal(self.weight * x.spikes, None)

    def convolved(self, x: Signal, state: ForwardState | None) -> Signal:
        """Convolution and norm."""
        assert self.conv is not None
        if self.pick > 1:
            x = Signal(x.spikes[..., :: self.pick, :: self.pick], None)
        norm = self.norm
        if norm is None or isinstance(norm, NoNorm | OwnNorm) or is_watched(self.conv) or is_watched(norm):
            y = over_time(self.conv, x.spikes)
            return Signal(y if norm is None else norm(y, state), None)
        rows = norm.rows(x.spikes.shape[0], state)
        return Signal(conv_batch_norm(x.spikes, as_op(self.conv), rows, packed=x.packed), None)

    def describe(self, name: str, source: str) -> tuple[list[Node], str]:
        """The nodes of the path from what it takes, and the name of the last."""
        if self.every > 1:
            return chain((name, "subsample", self), source=source, every=self.every)
        return chain(
            (f"{name}.conv", "convolution", self.conv),
            (f"{name}.norm", "norm", self.norm),
            (f"{name}.neuron", "neurons", self.neuron),
            (name, "factor", self if self.weight is not None else None),
            source=source,
            every=self.pick,
        )


class ResidualBlock(nn.Module):
    """Two convolution-norm-neuron layers and a skip over them: Signal -> Signal (Fig. 1).

    Args:
        in_channels, out_channels: C before and after.
        norm, neuron: kinds and constants of both layers.
        stride: 1, or 2 to halve H and W.
        connection: s2s (Eq. 10), s2m (Eq. 7), v2v (Eqs. 15-16), or none.
        skip: see `Skip`.
        skip_norm: a norm after the 1x1 convolution of the skip, where there is one.
        skip_scale: of s2m, see `SkipScale`; "one" is that of Zheng et al. 2021 and Lee et al. 2020.
        join: of s2s, see `Join`.
        stride_at: which of the two convolutions has the stride; the second in Lee et al. 2020.
        dropout: probability of 0 in a `SharedDropout` behind each of the two layers; the second is behind the skip too.
        shared_leak: see `Neuron`.

    Raises:
        UserError: as `check_connection`, and `Skip`; in forward, v2v without a current.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        norm: NormConfig,
        neuron: NeuronConfig,
        stride: int = 1,
        connection: Connection = "s2s",
        skip: AnySkip = "plain",
        skip_norm: bool = True,
        skip_scale: SkipScale = "threshold",
        join: Join = "add",
        stride_at: Literal[1, 2] = 1,
        dropout: float = 0.0,
        shared_leak: nn.Parameter | None = None,
    ) -> None:
        super().__init__()
        check_connection(connection, skip, skip_scale, join)
        # tdBN makes the variance of what reaches the threshold 1: a sum of two branches needs half from each.
        summed = connection in ("s2m", "v2v")
        self.connection = connection
        self.join = join
        self.skip_factor = neuron.threshold if skip_scale == "threshold" else 1.0
        self.conv1 = conv(in_channels, out_channels, 3, stride if stride_at == 1 else 1)
        self.norm1 = make_norm(norm, out_channels, tdbn_scale=neuron.threshold)
        self.neuron1 = make_neuron(neuron, shared_leak)
        self.conv2 = conv(out_channels, out_channels, 3, stride if stride_at == 2 else 1)
        self.norm2 = make_norm(norm, out_channels, tdbn_scale=neuron.threshold / (math.sqrt(2) if summed else 1))
        self.neuron2 = make_neuron(neuron, shared_leak)
        self.dropout1, self.dropout2 = SharedDropout(dropout), SharedDropout(dropout)
        if connection != "none":
            self.skip = Skip(
                in_channels,
                out_channels,
                stride=stride,
                kind=skip,
                norm=norm if skip_norm else None,
                neuron=neuron,
                shared_leak=shared_leak,
            )

    def forward(self, x: Signal, state: ForwardState | None = None) -> Signal:
        return self.dropout2(self.both_layers(x, state), state)

    def both_layers(self, x: Signal, state: ForwardState | None) -> Signal:
        """What the block sends, but for the dropout at its end; errors as forward."""
        hidden = self.dropout1(conv_norm_neuron(self.conv1, x, self.norm1, self.neuron1, state), state)
        layer = (self.conv2, hidden, self.norm2, self.neuron2, state)
        if self.connection == "s2m":  # Eq. 7: skip spikes charge the membrane, W' = threshold
            return conv_norm_neuron(*layer, residual_current=self.skip_factor * self.skip(x, state).spikes)
        if self.connection == "v2v":  # Eqs. 15-16: the skipped layer's current charges the membrane, and is passed on
            if x.current is None:
                raise UserError(
                    "v2v passes currents on, and the layer before gives none: build it with return_current=True"
                )
            return conv_norm_neuron(
                *layer, residual_current=self.skip(Signal(x.current, None), state).spikes, return_current=True
            )
        if self.connection == "s2s" and self.join == "add":  # Eqs. 10, 13: skip spikes join the output
            return conv_norm_neuron(*layer, residual=self.skip(x.for_skip(), state))
        if self.connection == "s2s":
            skipped = self.skip(x, state)
            return self.joined(conv_norm_neuron(*layer), skipped, state)
        return conv_norm_neuron(*layer)

    def joined(self, own: Signal, skipped: Signal, state: ForwardState | None) -> Signal:
        """What the block sends where its spikes and those of the skip are not added, see `Join`."""
        spikes = (own.spikes if self.join == "and" else 1 - own.spikes) * skipped.spikes
        if state:
            state.sends(self.neuron2, spikes)
        return Signal(spikes, None)

    def describe(self, name: str, x: Ends) -> tuple[list[Node], Ends]:
        """See `graph.Described`."""
        parts: list[tuple[str, NodeKind, nn.Module]] = [
            (f"{name}.conv1", "convolution", self.conv1),
            (f"{name}.norm1", "norm", self.norm1),
            (f"{name}.neuron1", "neurons", self.neuron1),
        ]
        nodes, hidden = chain(*parts, source=x.spikes)
        second, current = chain(
            (f"{name}.conv2", "convolution", self.conv2), (f"{name}.norm2", "norm", self.norm2), source=hidden
        )
        neurons, total = f"{name}.neuron2", f"{name}.sum"
        reaching: tuple[str, ...] = (current,)
        if self.connection != "none":
            skipped = x.current if self.connection == "v2v" else x.spikes
            assert skipped is not None
            skip, end = self.skip.describe(f"{name}.skip", skipped)
            nodes += skip
        if self.connection == "s2m":
            nodes.append(Node(name=f"{name}.threshold", kind="factor", inputs=(end,), module=name))
            reaching = (current, f"{name}.threshold")
        if self.connection == "v2v":
            second.append(summed(total, "sum of currents", [current, end]))
            reaching = (total,)
        nodes += [*second, Node(name=neurons, kind="neurons", inputs=reaching, module=neurons)]
        if self.connection == "s2s":
            return [*nodes, summed(total, _JOINS[self.join], [neurons, end])], Ends(total)
        return nodes, Ends(neurons, total if self.connection == "v2v" else None)

    def extra_repr(self) -> str:
        return self.connection


def check_connection(connection: str, skip: str, skip_scale: str = "threshold", join: str = "add") -> None:
    """Raise UserError for an unknown connection, skip, scale or join, or two that do not go together."""
    for name, value, kinds in (
        ("connection", connection, Connection),
        ("skip", skip, AnySkip),
        ("skip_scale", skip_scale, SkipScale),
        ("join", join, Join),
    ):
        if value not in get_args(kinds):
            raise UserError(f"{name} {value!r} is unknown: {closest(value, list(get_args(kinds)))}")
    if skip == "spiking" and connection == "v2v":
        raise UserError("skip 'spiking' turns the current of v2v into spikes: use connection s2s or s2m with it")
    if join != "add" and connection != "s2s":
        raise UserError(f"join {join!r} is of spikes, and connection {connection!r} adds currents or nothing: use s2s")
    if skip_scale != "threshold" and connection != "s2m":
        raise UserError(f"skip_scale {skip_scale!r} is of skip spikes on currents: use connection s2m, or 'threshold'")
