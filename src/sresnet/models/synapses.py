"""What a residual connection asks of neuromorphic hardware (Section 3.2.1): graded spikes, or extra synapses.

A trained network is written out as populations and the synapses between them, in two forms whose outputs equal the
network's:

    binary   every message between neurons is a spike, 0 or 1. S2S sums are taken apart into one connection per block
             before (Eqs. 12, 14), V2V currents into one per layer before (Eq. 18).
    graded   intermediate neurons, without threshold or memory, sum what arrives and send the sum on as a graded spike:
             spikes for S2S, post-synaptic potentials for V2V.

S2M is the same in both: one more synapse per neuron.

How connections are composed. Behind a 1x1 convolution of stride 2, W'' in Eq. 13, the next layer's 3x3 convolution W
acts as one 3x3 convolution of stride 2 and dilation 2 with kernel W W'' (Eq. 14), padded by 2 instead of 1; behind two
of them, of stride and dilation 4. Borders agree too: pixel -1 behind the skip is pixel -2 before it. For V2V the order
is reversed: a 1x1 convolution behind a 3x3 one of stride 1 is one 3x3 convolution of stride 2.

An average of 2x2 pixels is a convolution of stride 2 with a quarter in each of four taps. A 3x3 convolution behind it
is one 6x6 convolution of stride 2, padded by 2; behind two of them, 12x12 of stride 4. A linear layer on all values of
a map is a convolution whose kernel is as large as the map, and groups of channels stay groups.

Converted networks are written out likewise. Spikes that meet in a sum arrive at what is behind it over synapses of
their own, in whose weights their heights are. Few-spikes neurons send a spike, 0 or 1, at each of their K internal
steps; what it is worth, the weight times the height of that internal step, is known before.

The norm of a skip scales and shifts. The scale goes into the kernel. The shift is the same everywhere, but the 3x3
convolution behind it meets zeros outside the image, so at borders it becomes a bias that depends on the position. With
BNTT the scale changes with the step: such synapses need a set of weights per step, which is flagged.
"""

import functools
import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sresnet.config import closest
from sresnet.errors import UserError
from sresnet.models.network import SpikingNetwork
from sresnet.models.program import Pair
from sresnet.models.topology import INPUT
from sresnet.nn.graph import Node
from sresnet.nn.layer import Pool, is_plain
from sresnet.nn.neuron import FewSpikes, Neuron, OwnNeuron, Rectifier, Sharpened
from sresnet.nn.norm import BNTT, NoNorm, Norm, OwnNorm, affine
from sresnet.nn.readout import Readout
from sresnet.nn.residual import ResidualBlock, Skip
from sresnet.nn.wiring import WeightedSum, Window
from sresnet.ops.few_spikes.reference import few_spikes_steps
from sresnet.ops.lif import lif

Form = Literal["binary", "graded"]


def outputs_along(size: int, *, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """Outputs of a convolution along one axis of `size` pixels."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def reached_along(size: int, *, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Tensor:
    """How many outputs along one axis each of `size` pixels reaches, int64 [size].

    Output o sees the pixels o * stride - padding + (0 ... kernel - 1) * dilation, those inside the image.
    """
    outputs = outputs_along(size, kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    seen = (torch.arange(outputs) * stride - padding)[:, None] + torch.arange(kernel) * dilation
    return torch.bincount(seen[(seen >= 0) & (seen < size)], minlength=size)


def geometry(conv: nn.Conv2d, axis: int = 0) -> dict[str, int]:
    """Kernel, stride, padding and dilation of a convolution along the height, or with axis 1 along the width."""
    assert not isinstance(conv.padding, str)
    return {
        "kernel": conv.kernel_size[axis],
        "stride": conv.stride[axis],
        "padding": conv.padding[axis],
        "dilation": conv.dilation[axis],
    }


@dataclass(frozen=True, kw_only=True, eq=False)
class Synapses:
    """All synapses from one population to another: a convolution, or one synapse per neuron."""

    source: str
    kernel: Tensor | None
    """[S, out, in / groups, h, w] of a convolution; [S, C], one weight per neuron; None: one per neuron, of weight 1. S
    is 1, or T where weights change with the step."""
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: Pair = (0, 0)
    groups: int = 1
    """Of a convolution: channels receive from those of their own group alone."""

    @property
    def is_convolution(self) -> bool:
        """Not one synapse per neuron."""
        return self.kernel is not None and self.kernel.ndim == 5

    @property
    def per_step(self) -> bool:
        """Weights change with the step."""
        return self.kernel is not None and self.kernel.shape[0] > 1

    @property
    def taps(self) -> Pair:
        """Height and width of the kernel."""
        if self.kernel is None or not self.is_convolution:
            return 1, 1
        return self.kernel.shape[-2], self.kernel.shape[-1]

    def geometry(self, axis: int) -> dict[str, int]:
        """Along the height, 0, or the width, 1, as `outputs_along` wants it."""
        sizes = {"kernel": self.taps, "stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        return {name: size[axis] for name, size in sizes.items()}

    def __str__(self) -> str:
        if not self.is_convolution:
            return "one to one"
        stride = f" /{_size(self.stride)}" if max(self.stride) > 1 else ""
        dilation = f" dilation {_size(self.dilation)}" if max(self.dilation) > 1 and max(self.taps) > 1 else ""
        groups = f" in {self.groups} groups" if self.groups > 1 else ""
        return f"{self.taps[0]}x{self.taps[1]}{stride}{dilation}{groups}"

    def count(self, source: tuple[int, int, int]) -> int:
        """How many synapses, from a source of shape (C, H, W); none reaches over the edge."""
        if self.kernel is None or not self.is_convolution:
            return torch.Size(source).numel()
        height, width = (
            int(reached_along(pixels, **self.geometry(axis)).sum()) for axis, pixels in enumerate(source[1:])
        )
        return height * width * self.kernel.shape[1] * self.kernel.shape[2]

    def arriving(self, messages: Tensor, step: int) -> Tensor:
        """What the target receives, [N, out, h, w], of the messages [N, in, H, W] of one step."""
        if self.kernel is None:
            return messages
        weight = self.kernel[step if self.per_step else 0]
        if not self.is_convolution:
            return messages * weight[:, None, None]
        return F.conv2d(messages, weight, None, self.stride, self.padding, self.dilation, self.groups)


def _size(pair: Pair) -> str:
    """One number where both are equal, such as "2", else "2x1"."""
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}x{pair[1]}"


def composed(outer: Synapses, inner: Synapses) -> Synapses:
    """One set of synapses that does what `inner` and then `outer` do, from the source of `inner`.

    Tap b of the outer and tap a of the inner kernel together see pixel stride_in * dilation_out * b + dilation_in * a.
    Outside the inner one's output, the outer one meets zeros; an inner kernel wider than its stride would have to be
    cut there, so behind such a kernel the outer one has no padding, see `_Builder.compose`.
    """
    if not inner.is_convolution:
        return replace(
            outer, source=inner.source, kernel=_with_sources_scaled(outer.kernel, inner.kernel, outer.groups)
        )
    assert inner.kernel is not None
    if not outer.is_convolution:
        scale = None if outer.kernel is None else outer.kernel[:, :, None, None, None]
        return inner if scale is None else replace(inner, kernel=inner.kernel * scale)
    assert outer.kernel is not None
    assert all(outer.padding[axis] == 0 or _is_narrow(inner, axis) for axis in (0, 1))
    groups = math.gcd(outer.groups, inner.groups)
    outward, inward = _regrouped(outer.kernel, outer.groups, groups), _regrouped(inner.kernel, inner.groups, groups)
    apart, step, dilation = zip(*(_spacing(outer, inner, axis) for axis in (0, 1)), strict=True)
    return Synapses(
        source=inner.source,
        kernel=_composed_kernel(outward, inward, groups, apart=apart, step=step),
        stride=(outer.stride[0] * inner.stride[0], outer.stride[1] * inner.stride[1]),
        dilation=dilation,
        padding=(
            inner.stride[0] * outer.padding[0] + inner.padding[0],
            inner.stride[1] * outer.padding[1] + inner.padding[1],
        ),
        groups=groups,
    )


def _is_narrow(inner: Synapses, axis: int) -> bool:
    """Whether no pixel is seen by two outputs, none outside the map, so that zeros around the output may be added."""
    return inner.padding[axis] == 0 and inner.dilation[axis] * (inner.taps[axis] - 1) < inner.stride[axis]


def _spacing(outer: Synapses, inner: Synapses, axis: int) -> tuple[int, int, int]:
    """Distance of two taps of the outer and of the inner kernel, in taps of the composed one, and its dilation."""
    apart = inner.stride[axis] * outer.dilation[axis]  # two taps of the outer kernel, in pixels that the inner one sees
    many_outer, many_inner = outer.taps[axis] > 1, inner.taps[axis] > 1
    # A single tap is at no distance from another, so it has no say in how far apart the taps of the result are.
    dilation = math.gcd(apart if many_outer else 0, inner.dilation[axis] if many_inner else 0) or 1
    return apart // dilation, inner.dilation[axis] // dilation if many_inner else 1, dilation


def _regrouped(kernel: Tensor, groups: int, fewer: int) -> Tensor:
    """A kernel [S, out, in / groups, h, w] as one of fewer groups, of which each holds several, with zeros between."""
    if groups == fewer:
        return kernel
    steps, outputs, inputs, height, width = kernel.shape
    each = groups // fewer
    wide = kernel.new_zeros(steps, fewer, each, outputs // groups, each, inputs, height, width)
    given = kernel.unflatten(1, (fewer, each, outputs // groups))
    for one in range(each):
        wide[:, :, one, :, one] = given[:, :, one]
    return wide.reshape(steps, outputs, each * inputs, height, width)


def _composed_kernel(outer: Tensor, inner: Tensor, groups: int, *, apart: Pair, step: Pair) -> Tensor:
    """[S, out, mid, h, w] after [S, mid, in, h', w']: the products of their taps at apart * b + step * a, summed.

    Two taps of the outer kernel are `apart`, of the inner kernel `step` taps of the result. Both are of `groups`.
    """
    span = [step[axis] * (inner.shape[axis - 2] - 1) + 1 for axis in (0, 1)]
    size = [apart[axis] * (outer.shape[axis - 2] - 1) + span[axis] for axis in (0, 1)]
    shape = (max(outer.shape[0], inner.shape[0]), outer.shape[1], inner.shape[2], *size)
    kernel = torch.zeros(shape, dtype=inner.dtype, device=inner.device)
    outer, inner = outer.unflatten(1, (groups, -1)), inner.unflatten(1, (groups, -1))
    for row in range(outer.shape[-2]):
        for column in range(outer.shape[-1]):
            taps = torch.einsum("sgom,sgmiab->sgoiab", outer[..., row, column], inner).flatten(1, 2)
            top, left = apart[0] * row, apart[1] * column
            kernel[..., top : top + span[0] : step[0], left : left + span[1] : step[1]] += taps
    return kernel


def _with_sources_scaled(kernel: Tensor | None, scale: Tensor | None, groups: int) -> Tensor | None:
    """A kernel whose inputs are multiplied by `scale` [S, C] first; None is 1 in both."""
    if kernel is None or scale is None:
        return scale if kernel is None else kernel
    if kernel.ndim == 2:
        return kernel * scale
    by_output = scale.unflatten(1, (groups, -1)).repeat_interleave(kernel.shape[1] // groups, 1)
    return kernel * by_output[..., None, None]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Stream:
    """What travels between blocks: the sum of several populations' messages over their synapses, and a constant."""

    terms: tuple[Synapses, ...]
    shape: tuple[int, int, int]
    """(C, H, W)."""
    offset: Tensor | None = None
    """[S, C], the same at every pixel; None is zero."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Population:
    """Neurons and their incoming synapses."""

    name: str
    role: Literal["neurons", "sum", "readout"]
    """sum: an intermediate neuron without memory, which passes on what it receives."""
    shape: tuple[int, int, int]
    incoming: tuple[Synapses, ...]
    """The first is there without residual connections too."""
    gain: Tensor | None = None
    """[S, C], the factor of a norm in front of the neurons; None is 1."""
    bias: Tensor | None = None
    """[S, C, h, w], added after it; None is zero."""
    neurons: Neuron | FewSpikes | None = None


class HardwareRun(NamedTuple):
    """Result of `HardwareNetwork.run`."""

    scores: Tensor
    """[N, classes], as the network's own."""
    messages: dict[str, Tensor]
    """What each population sent, [T, N, C, H, W]; few-spikes neurons at each internal step, [T * K, N, C, H, W]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class HardwareNetwork:
    """Populations in the order they run, and how to run them."""

    model: SpikingNetwork
    form: Form
    input_shape: tuple[int, int, int]
    populations: tuple[Population, ...]

    def synapses(self, population: Population) -> tuple[int, ...]:
        """Number of synapses in each of a population's incoming sets."""
        shapes = {"input": self.input_shape} | {other.name: other.shape for other in self.populations}
        return tuple(synapses.count(shapes[synapses.source]) for synapses in population.incoming)

    def run(self, x: Tensor, *, num_steps: int | None = None) -> HardwareRun:
        """Scores and messages for images [N, C, H, W] or event frames [N, T, C, H, W]; errors as the model's own."""
        encoded = self.model.encode(x, num_steps)
        for norm in self.model.modules():
            if isinstance(norm, BNTT):
                norm.rows(len(encoded), None)  # complains of steps that it has no statistics for
        potential: Tensor | float = 0.0
        v: dict[str, Tensor | None] = {}
        sent: dict[str, list[Tensor]] = {population.name: [] for population in self.populations[:-1]}
        for step, frame in enumerate(encoded):
            messages = {"input": frame}
            for population in self.populations:
                charge = _charged(population, messages, step)
                if population.role == "readout":
                    potential = self.model.readout.leak * (potential + charge.mean((-2, -1)))
                    continue
                if isinstance(population.neurons, FewSpikes):
                    spikes = _internal_spikes(population.neurons, charge)
                    sent[population.name] += list(spikes)
                    messages[population.name] = torch.einsum("k,k...->...", population.neurons.heights, spikes)
                    continue
                if population.neurons is not None:
                    constants = population.neurons.constants()
                    spikes, v[population.name] = lif(charge[None], constants, v=v.get(population.name))
                    charge = spikes[0]
                messages[population.name] = charge
                sent[population.name].append(charge)
        scores = torch.as_tensor(potential) / len(encoded)
        votes = self.model.readout.votes
        scores = scores if votes == 1 else F.avg_pool1d(scores, votes)
        return HardwareRun(scores, {name: torch.stack(steps) for name, steps in sent.items()})


def _internal_spikes(neurons: FewSpikes, charge: Tensor) -> Tensor:
    """Spikes of each internal step, [K, N, C, H, W]."""
    given = charge, neurons.thresholds, neurons.resets, neurons.fires_at_threshold
    return torch.stack([fired for _, fired, _ in few_spikes_steps(*given)])


def _charged(population: Population, messages: dict[str, Tensor], step: int) -> Tensor:
    """Input of a population at one step, [N, C, h, w]."""
    total = sum(
        (synapses.arriving(messages[synapses.source], step) for synapses in population.incoming), torch.zeros(())
    )
    if population.gain is not None:
        total = total * _at_step(population.gain, step)[:, None, None]
    return total if population.bias is None else total + _at_step(population.bias, step)


def _at_step(values: Tensor, step: int) -> Tensor:
    """Row `step` of values [T, ...], or the only row of [1, ...]."""
    return values[step if values.shape[0] > 1 else 0]


# ---------------------------------------------------------------------------------------------------------------------


def hardware_network(model: SpikingNetwork, size: tuple[int, int], *, form: Form = "binary") -> HardwareNetwork:
    """`model` in evaluation mode as populations and synapses, for images of `size` (H, W).

    Args:
        model: an S-ResNet, or a converted network; kernels have its dtype.
        size: pixels of an image.
        form: binary or graded, see above.

    Raises:
        UserError: an unknown form, or a network without such a form: not spiking, with maxima between its layers (the
            maximum of a sum is not a sum of maxima), or with averages over an odd number of pixels.
    """
    if form not in get_args(Form):
        raise UserError(f"form {form!r} is unknown: {closest(form, list(get_args(Form)))}")
    if any(isinstance(module, Rectifier | Sharpened) for module in model.modules()):
        raise UserError(
            f"neuron {model.config.neuron!r} sends no spikes: the hardware view is of spiking networks, trained or "
            "converted"
        )
    if any(isinstance(module, OwnNeuron | OwnNorm) for module in model.modules()):
        raise UserError("neurons or norms of your own have no hardware view: use those of the package")
    if model.readout.neuron is not None:
        raise UserError("a readout that spikes is not written out: use readout 'potential'")
    if model.config.family != "wired":
        _check_blocks(model)
    with torch.no_grad():
        return _Builder(model, form).build((model.config.in_channels, *size))


def _check_blocks(model: SpikingNetwork) -> None:
    """Raise UserError for a network with other blocks than those of S-ResNets."""
    for node in model.topology.of_kind("convolution"):
        convolution = model.layers.get_submodule(node.module)
        if not isinstance(convolution, nn.Conv2d) or not is_plain(convolution):
            raise UserError(
                f"{node.name} is a convolution of your own or has a bias, which has no hardware view: use the package's"
            )
    for node in model.topology.of_kind("and of spikes", "iand of spikes", "flatten", "subsample", "linear"):
        if not node.name.startswith("readout"):
            raise UserError(
                f"{node.name} ({node.kind}) is not written out: the hardware view is of S-ResNets as in the paper, and "
                "of converted networks"
            )
    for node in model.topology.of_kind("pool"):
        pool = model.part(node.module)
        if not isinstance(pool, Readout) and not (
            isinstance(pool, Pool) and pool.kind == "avg" and pool.kernel_size == 2
        ):
            raise UserError(
                f"{node.module} is a {'max pool' if isinstance(pool, Pool) else type(pool).__name__}: only "
                "convolutions, 2x2 averages and blocks are written out; use downsample 'stride' or 'avg', and stem c3 "
                "or c3s2"
            )


class _Charge(NamedTuple):
    """Output of a convolution, before a norm."""

    terms: tuple[Synapses, ...]
    shape: tuple[int, int, int]
    bias: Tensor | None
    """[S, C, h, w]."""


class _Builder:
    """Writes out one network, node by node of its topology."""

    def __init__(self, model: SpikingNetwork, form: Form) -> None:
        self.model = model
        self.form = form
        self.topology = model.topology
        self.populations: list[Population] = []
        self.streams: dict[str, _Stream] = {}
        """Outputs of nodes that can be added to others."""
        self.charges: dict[str, tuple[_Charge, Norm]] = {}
        """Outputs of convolutions and norms that drive one layer of neurons and nothing else."""
        self.shapes: dict[str, tuple[int, int, int]] = {}
        """(C, H, W) of each source."""
        # Blocks of a stage share composed kernels.
        self.known: dict[tuple[int, int], tuple[Synapses, Synapses, Synapses]] = {}

    def build(self, shape: tuple[int, int, int]) -> HardwareNetwork:
        """All populations for inputs of `shape` (C, H, W)."""
        self.streams[INPUT] = _Stream(terms=(Synapses(source=INPUT, kernel=None),), shape=shape)
        self.shapes[INPUT] = shape
        for node in self.topology.nodes:
            if node.kind == "convolution" or (node.kind == "linear" and node.name != "readout.linear"):
                self.convolution(node)
            elif node.kind == "norm":
                self.norm(node)
            elif node.kind == "neurons":
                self.streams[node.name] = self.fire(node)
            elif node.kind == "factor":
                x = self.streams[node.inputs[0]]
                self.streams[node.name] = self.through(x, Synapses(source="", kernel=self.factor(node, x)))
            elif node.kind in ("sum of currents", "sum of spikes"):
                self.streams[node.name] = self.summed(node.name, self.total(node))
            elif node.kind == "pool" and node.name != "readout.pool":
                self.streams[node.name] = self.averaged(node)
        linear, x = self.model.readout.linear, self.stream(self.topology.source("readout.pool").name)
        size = x.shape[1:] if self.model.config.family == "wired" else (1, 1)  # others average all pixels
        weight = linear.weight.view(1, len(linear.weight), -1, *size)
        scores = self.convolved(x, Synapses(source="", kernel=weight), linear.bias)
        self.add("readout", "readout", scores, bias=scores.bias)
        return HardwareNetwork(model=self.model, form=self.form, input_shape=shape, populations=tuple(self.populations))

    def module(self, node: Node) -> nn.Module:
        """Of a node."""
        return self.model.layers.get_submodule(node.module)

    def convolution(self, node: Node) -> None:
        """A layer's own convolution waits for its norm; the 1x1 convolution of a skip is a stream."""
        layer, x = self.module(node), self.stream(node.inputs[0])
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        synapses = _synapses_of(layer, x.shape, pick=node.every)
        if self.topology.neurons_behind(node.name) is None and max(synapses.padding) == 0:
            x = self.through(x, synapses)
            self.streams[node.name] = x if layer.bias is None else _shifted(x, layer.bias[None])
        else:
            self.charges[node.name] = self.convolved(x, synapses, layer.bias), NoNorm()

    def norm(self, node: Node) -> None:
        """A gain and a shift of a convolution's output, or of a skip."""
        norm, source = self.module(node), node.inputs[0]
        assert isinstance(norm, Norm)
        if source in self.charges:
            self.charges[node.name] = self.charges[source][0], norm
            return
        self.streams[node.name] = self.normed(self.streams[source], norm)

    def stream(self, name: str) -> _Stream:
        """Output of a node, as a stream that can be added to others."""
        if name not in self.charges:
            return self.streams[name]
        charge, norm = self.charges[name]
        bias = charge.bias
        if bias is not None and bias.shape[-2] * bias.shape[-1] > 1:
            raise UserError(
                f"{name} gives currents that other layers take too, with a bias that depends on the pixel: no synapses "
                "have that; put neurons behind it"
            )
        offset = None if bias is None else bias[..., 0, 0]
        return self.normed(_Stream(terms=charge.terms, shape=charge.shape, offset=offset), norm)

    def normed(self, x: _Stream, norm: Norm) -> _Stream:
        """A stream behind a norm, whose gain becomes part of the weights."""
        if isinstance(norm, NoNorm):
            return x
        assert not isinstance(norm, OwnNorm)
        gain, shift = affine(norm)
        return _shifted(self.through(x, Synapses(source="", kernel=gain)), shift)

    def total(self, node: Node) -> _Stream:
        """Sum of a node's inputs, in a converted network each times its factor."""
        streams, summed = list(map(self.stream, node.inputs)), dict(self.model.layers.named_modules()).get(node.name)
        if isinstance(summed, WeightedSum):
            factors = [factor.expand(1, x.shape[0]) for factor, x in zip(summed.factors, streams, strict=True)]
            streams = [
                self.through(x, Synapses(source="", kernel=each)) for x, each in zip(streams, factors, strict=True)
            ]
        return functools.reduce(_added, streams)

    def fire(self, node: Node) -> _Stream:
        """Neurons behind a norm, which is one gain per neuron, or on a sum of streams."""
        neuron, source = self.module(node), node.inputs[0]
        if len(node.inputs) == 1 and source in self.charges:
            charge, norm = self.charges[source]
            gain, bias = None, charge.bias
            assert not isinstance(norm, OwnNorm)
            if not isinstance(norm, NoNorm):
                gain, shift = affine(norm)
                shift = shift[:, :, None, None]
                bias = shift if bias is None else gain[:, :, None, None] * bias + shift
            return self.add(node.name, "neurons", charge, gain=gain, bias=bias, neuron=neuron)
        current = self.total(node)
        bias = None if current.offset is None else current.offset[:, :, None, None]
        return self.add(node.name, "neurons", _Charge(current.terms, current.shape, None), bias=bias, neuron=neuron)

    def factor(self, node: Node, x: _Stream) -> Tensor:
        """A number for each channel, [1, C]: learned weights of a skip, or the threshold that S2M gives its spikes."""
        module = self.module(node)
        if isinstance(module, Skip):
            assert module.weight is not None
            return module.weight[None, :, 0, 0]
        assert isinstance(module, ResidualBlock)
        return torch.full((1, x.shape[0]), module.skip_factor).to(module.conv2.weight)

    def averaged(self, node: Node) -> _Stream:
        """A stream behind averages of windows of pixels; UserError where a window reaches over the edge."""
        x, pool = self.stream(node.inputs[0]), self.module(node)
        channels, *size = x.shape
        whole = isinstance(pool, Window) and pool.whole
        kernel = tuple(size) if whole else pool.kernel if isinstance(pool, Window) else (2, 2)
        stride = (1, 1) if whole else pool.stride if isinstance(pool, Window) else (2, 2)
        ceil = pool.ceil if isinstance(pool, Window) else True
        if ceil and any((pixels - window) % step for pixels, window, step in zip(size, kernel, stride, strict=True)):
            raise UserError(
                f"{node.module} averages {kernel[0]}x{kernel[1]} pixels of {size[0]}x{size[1]}: written out are "
                "windows within the map only, so give images that are halved evenly, such as 32x32"
            )
        linear = self.model.readout.linear.weight
        weight = linear.new_full((1, channels, 1, 1, 1), 1 / (kernel[0] * kernel[1])).expand(-1, -1, -1, *kernel)
        return self.through(x, Synapses(source="", kernel=weight, stride=stride, groups=channels))

    def through(self, x: _Stream, outer: Synapses) -> _Stream:
        """The stream behind a kernel without padding, or a factor per channel: the offset stays uniform."""
        offset = x.offset
        if offset is not None and outer.kernel is not None:
            offset = _seen(outer, offset) if outer.is_convolution else outer.kernel * offset
        terms = self.composed(outer, x)
        return _Stream(terms=terms, shape=_shape_behind(outer, x.shape), offset=offset)

    def composed(self, outer: Synapses, x: _Stream) -> tuple[Synapses, ...]:
        """The terms of a stream behind synapses.

        Raises:
            UserError: they see zeros around a map that is not the image of one set of synapses there.
        """
        for term in x.terms:
            if not outer.is_convolution or not term.is_convolution:
                continue
            for axis, pixels in enumerate(x.shape[1:]):
                seen = pixels * term.stride[axis] < self.shapes[term.source][1 + axis]  # by an output behind the last
                if outer.padding[axis] and (seen or not _is_narrow(term, axis)):
                    raise UserError(
                        f"a convolution padded by {outer.padding[axis]} takes what a {term} convolution or average of "
                        f"{pixels} pixels gives: no synapses have one kernel for both; put neurons between them, or "
                        "leave out the padding"
                    )
        return tuple(self.compose(outer, term) for term in x.terms)

    def compose(self, outer: Synapses, inner: Synapses) -> Synapses:
        """`composed`, the kernel shared with other terms of the same kernels."""
        key = (id(outer.kernel), id(inner.kernel))
        if key not in self.known:
            self.known[key] = (outer, inner, composed(outer, inner))  # the first two keep their ids from being reused
        return replace(self.known[key][2], source=inner.source)

    def convolved(self, x: _Stream, conv: Synapses, added: Tensor | None = None) -> _Charge:
        """Convolution of the stream: one set of synapses per term, and the offset and what is `added` as a bias."""
        terms, bias = self.composed(conv, x), None
        shape = _shape_behind(conv, x.shape)
        assert conv.kernel is not None
        if x.offset is not None and max(conv.padding) == 0:  # nothing reaches over the edge
            bias = _seen(conv, x.offset)[:, :, None, None]
        elif x.offset is not None:
            everywhere = x.offset[:, :, None, None].expand(-1, -1, *x.shape[1:])
            bias = conv.arriving(everywhere, 0)
        if added is not None:
            bias = added[None, :, None, None] if bias is None else bias + added[:, None, None]
        return _Charge(terms, shape, bias)

    def summed(self, name: str, x: _Stream) -> _Stream:
        """In the graded form, the stream through an intermediate neuron; in the binary form, the stream.

        Of a converted network, what a sum gives to neurons alone meets in their membranes.
        """
        takers = self.topology.consumers[name]
        met = self.model.config.family == "wired" and all(node.kind == "neurons" for node in takers)
        if self.form == "binary" or met:
            return x
        bias = None if x.offset is None else x.offset[:, :, None, None]
        return self.add(name, "sum", _Charge(x.terms, x.shape, None), bias=bias)

    def add(
        self,
        name: str,
        role: Literal["neurons", "sum", "readout"],
        charge: _Charge,
        *,
        gain: Tensor | None = None,
        bias: Tensor | None = None,
        neuron: nn.Module | None = None,
    ) -> _Stream:
        """Add a population; returns the stream of its output."""
        assert neuron is None or isinstance(neuron, Neuron | FewSpikes)
        self.shapes[name] = charge.shape
        self.populations.append(
            Population(
                name=name, role=role, shape=charge.shape, incoming=charge.terms, gain=gain, bias=bias, neurons=neuron
            )
        )
        return _Stream(terms=(Synapses(source=name, kernel=None),), shape=charge.shape)


def _synapses_of(layer: nn.Conv2d | nn.Linear, shape: tuple[int, int, int], *, pick: int = 1) -> Synapses:
    """Weights of a convolution, or of a linear layer on all values of a map of `shape`; source not named yet.

    Args:
        layer: whose weights.
        shape: (C, H, W) of what it takes.
        pick: see `Skip`.

    Raises:
        UserError: a linear layer of another number of values.
    """
    if isinstance(layer, nn.Linear):
        if layer.in_features != math.prod(shape):
            raise UserError(
                f"maps before a fully connected layer of {layer.in_features} inputs are {list(shape)}: give the size "
                "of the images that the network takes"
            )
        return Synapses(source="", kernel=layer.weight.view(1, -1, *shape))
    tall, wide = geometry(layer), geometry(layer, axis=1)
    return Synapses(
        source="",
        kernel=layer.weight[None],
        stride=(tall["stride"] * pick, wide["stride"] * pick),
        dilation=(tall["dilation"], wide["dilation"]),
        padding=(tall["padding"], wide["padding"]),
        groups=layer.groups,
    )


def _shape_behind(outer: Synapses, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """(C, H, W) behind synapses; UserError for a map that is smaller than their kernel."""
    channels = outer.kernel.shape[1] if outer.kernel is not None else shape[0]
    height, width = (outputs_along(pixels, **outer.geometry(axis)) for axis, pixels in enumerate(shape[1:]))
    if min(height, width) < 1:
        raise UserError(f"maps of {shape[1]}x{shape[2]} are smaller than a kernel of {outer}: give larger images")
    return channels, height, width


def _seen(outer: Synapses, values: Tensor) -> Tensor:
    """What arrives, [S, out], of values [S, in] that are the same at every pixel, away from the edge."""
    assert outer.kernel is not None
    kernel, by_group = outer.kernel.sum((-2, -1)).unflatten(1, (outer.groups, -1)), (outer.groups, -1)
    return torch.einsum("sgom,sgm->sgo", kernel, values.unflatten(1, by_group)).flatten(1)


def _shifted(x: _Stream, shift: Tensor) -> _Stream:
    """The stream with `shift` [S, C] added at every pixel."""
    return replace(x, offset=shift if x.offset is None else x.offset + shift)


def _added(first: _Stream, second: _Stream) -> _Stream:
    """The sum of two streams."""
    offsets = [stream.offset for stream in (first, second) if stream.offset is not None]
    offset = None if not offsets else offsets[0] if len(offsets) == 1 else offsets[0] + offsets[1]
    return _Stream(terms=first.terms + second.terms, shape=first.shape, offset=offset)
