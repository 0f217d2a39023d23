"""Whether a network fits a neuromorphic chip: its layers as populations of neurons, held against the chip's limits.

A layer here is what takes neurons of a chip: the network's own neurons, the readout, and intermediate ones without
threshold or memory where something else than spikes is to be sent: sums of spikes (S2S), currents (V2V) or averages
(Section 3.2.1). A message is what meets weights, or travels from one layer to another. A spike takes a time step from
layer to layer, so what a skip hands on has to wait for the layers that it passes.
"""

import copy
import functools
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from sresnet.errors import UserError
from sresnet.export.chips import Chip, Cores
from sresnet.export.source import WeightBits
from sresnet.models.network import SpikingNetwork
from sresnet.models.program import (
    Affine,
    AnyOperation,
    Convolution,
    Flattened,
    GlobalAverage,
    InternalSteps,
    Linear,
    Pair,
    Picked,
    Pooling,
    Product,
    Program,
    Spiking,
    Sum,
    Units,
    output_sizes,
    pair,
)
from sresnet.models.synapses import hardware_network, reached_along
from sresnet.models.topology import INPUT

Shape = tuple[int, int, int]
"""(C, H, W)."""
MessageKind = Literal["spikes", "signed spikes", "sums of spikes", "real numbers", "pixels"]


class Message(NamedTuple):
    """What a layer sends."""

    kind: MessageKind
    most: int = 1
    """Of sums: the largest."""
    of: str = ""
    """Of real numbers: what they are."""

    @property
    def bits(self) -> int | None:
        """That a message takes; None: as many as real numbers take."""
        if self.kind == "pixels":
            return 8  # before they are scaled, which weights and biases can do
        return {"spikes": 1, "signed spikes": 2, "sums of spikes": self.most.bit_length()}.get(self.kind)

    def __str__(self) -> str:
        return f"sums up to {self.most}" if self.kind == "sums of spikes" else self.of or self.kind


class Connection(NamedTuple):
    """What one layer receives from another, along one path."""

    source: str
    message: Message
    channels: int
    """Of the source."""
    reached: int
    """Channels that one neuron receives from."""
    synapses: int
    weights: int
    """Numbers, those of a convolution once."""
    taps: tuple[frozenset[int], frozenset[int]]
    """Rows and columns of the kernel."""
    stride: Pair
    padding: Pair
    per_step: bool
    """Gains or weights change with the time step."""

    @property
    def fan_in(self) -> int:
        """Synapses at one neuron."""
        return self.reached * math.prod(map(len, self.taps))

    @property
    def extent(self) -> Pair:
        """Sides of the kernel, holes counted."""
        return pair([max(each) + 1 for each in self.taps])


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What takes neurons of a chip."""

    name: str
    role: Literal["neurons", "sum", "readout"]
    shape: Shape
    incoming: tuple[Connection, ...]
    destinations: int
    """Layers that it sends to."""
    delay: int
    """Time steps that its earliest messages have to wait for its latest."""
    leak: float
    bias_per_pixel: bool

    @property
    def neurons(self) -> int:
        """How many."""
        return math.prod(self.shape)

    @property
    def fan_in(self) -> int:
        """Synapses at one neuron."""
        return sum(each.fan_in for each in self.incoming)

    @property
    def synapses(self) -> int:
        """Of all neurons."""
        return sum(each.synapses for each in self.incoming)

    @property
    def messages(self) -> tuple[Message, ...]:
        """What it receives, each kind once."""
        return tuple(dict.fromkeys(each.message for each in self.incoming))

    def weights(self, chip: Chip) -> int:
        """Numbers to keep on a core."""
        if not chip.one_core_per_layer:
            return sum(each.weights for each in self.incoming)
        # One kernel for all that arrives, side by side as channels.
        taps = math.prod(max(each.extent[axis] for each in self.incoming) for axis in (0, 1))
        channels = sum({each.source: each.channels for each in self.incoming}.values())
        if not chip.rounds_kernels_up:
            return channels * taps * self.shape[0]
        return channels * 2 ** (math.ceil(math.log2(taps)) + math.ceil(math.log2(self.shape[0])))


class Violation(NamedTuple):
    """What a chip cannot do."""

    layer: str
    """"" of the whole network."""
    short: str
    """For a table."""
    what: str
    cure: str


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A network held against a chip."""

    chip: Chip
    layers: tuple[Layer, ...]
    cores: tuple[int | None, ...]
    """Of each layer; None where the chip's limits do not say."""
    violations: tuple[Violation, ...]

    @property
    def needed(self) -> int | None:
        """Cores for all layers; None where the limits do not say it of one."""
        known = [each for each in self.cores if each is not None]
        return sum(known) if len(known) == len(self.cores) else None

    @property
    def reasons(self) -> tuple[str, ...]:
        """What is violated, in short, each once; nothing where the network fits."""
        return tuple(dict.fromkeys(each.short for each in self.violations))

    def of(self, layer: Layer) -> tuple[Violation, ...]:
        """The violations of one layer."""
        return tuple(each for each in self.violations if each.layer == layer.name)


def fit(
    model: SpikingNetwork, program: Program, size: Pair, chip: Chip, *, weight_bits: WeightBits, events: bool
) -> Fit:
    """A network held against the limits of a chip.

    Args:
        model: the network.
        program: made of it, as it is or written out.
        size: (H, W) of an image.
        chip: the limits.
        weight_bits: of the weights.
        events: the input is frames of events, which arrive as spikes.

    Raises:
        UserError: images that do not fit the network.
    """
    layers = _layers_of(program, size, pools=chip.pools, events=events)
    rewritten = functools.cache(lambda: _cure_of_messages(model, program, size))  # few layers ask for it, or none
    found = [each for layer in layers for each in _violations(layer, chip, weight_bits, rewritten)]
    cores = tuple(_cores(layer, chip) for layer in layers)
    found += _whole(layers, cores, chip)
    return Fit(chip=chip, layers=layers, cores=cores, violations=tuple(found))


# Layers ---------------------------------------------------------------------------------------------------------------


def _layers_of(program: Program, size: Pair, *, pools: tuple[int, ...] = (), events: bool = False) -> tuple[Layer, ...]:
    """The layers of a program for images of `size`; arguments as `fit`."""
    return _Reader(program, size, pools, events).layers()


class _Reader:
    """Reads one program."""

    def __init__(self, program: Program, size: Pair, pools: tuple[int, ...], events: bool) -> None:
        self.program, self.pools = program, pools
        self.by_name: dict[str, AnyOperation] = {each.name: each for each in program.operations}
        self.sizes = output_sizes(program, size) | {INPUT: (program.config.in_channels, *size)}
        self.takers = Counter(name for each in program.operations for name in each.inputs)
        self.messages = {INPUT: _input(program, events)}
        for each in program.operations:
            self.messages[each.name] = self.message(each)
        self.sending = {INPUT} | {each.name for each in program.operations if self.sends(each)}

    def layers(self) -> tuple[Layer, ...]:
        """In the order they run."""
        last = self.program.operations[-1]
        found, depth = [], {INPUT: 0}
        for each in self.program.operations:
            if each.name not in self.sending and each is not last:
                continue
            incoming = tuple(self.incoming(each))
            depth[each.name] = 1 + max(depth[one.source] for one in incoming)
            found.append(
                Layer(
                    name=each.name,
                    role="neurons" if isinstance(each, Spiking) else "readout" if each is last else "sum",
                    shape=self.sizes[each.name],
                    incoming=incoming,
                    destinations=0,
                    delay=depth[each.name] - 1 - min(depth[one.source] for one in incoming),
                    leak=each.leak if isinstance(each, Spiking) else self.program.leak if each is last else 1.0,
                    bias_per_pixel=self.has_bias_per_pixel(each),
                )
            )
        sent = Counter(source for layer in found for source in {one.source for one in layer.incoming})
        return tuple(replace(layer, destinations=sent[layer.name]) for layer in found)

    def passes(self, each: AnyOperation) -> bool:
        """Whether it hands spikes on to weights as they are, or as those of another pixel."""
        if isinstance(each, Pooling):
            side = each.kernel[0]
            square = each.kernel == each.stride == (side, side) and each.padding == (0, 0)
            return each.kind == "avg" and square and side in self.pools
        return isinstance(each, Picked | Flattened | GlobalAverage)

    def sends(self, each: AnyOperation) -> bool:
        """Whether it needs neurons of its own, whose messages travel."""
        if isinstance(each, Spiking | InternalSteps | Units | Product) or (
            isinstance(each, Pooling) and each.kind == "max"
        ):
            return True
        if self.passes(each):
            return False
        return self.takers[each.name] > 1 or any(self.meets_weights(taker) for taker in self.taking(each.name))

    def taking(self, name: str) -> Iterator[AnyOperation]:
        """What takes an output."""
        return (each for each in self.program.operations if name in each.inputs)

    def meets_weights(self, each: AnyOperation) -> bool:
        """Whether what an operation takes is multiplied by weights."""
        if isinstance(each, Convolution | Linear):
            return True
        return self.passes(each) and any(self.meets_weights(taker) for taker in self.taking(each.name))

    def message(self, each: AnyOperation) -> Message:
        """What an operation gives."""
        given = [self.messages[name] for name in each.inputs]
        match each:
            case Spiking() | Units(activation="step"):
                return Message("spikes")
            case Picked() | Flattened() | Pooling(kind="max"):
                return given[0]
            case Product() if all(one.kind == "spikes" for one in given):
                return Message("spikes")
            case Pooling() if self.passes(each):
                return given[0]
            case Sum() if set(each.factors) == {1.0} and {one.kind for one in given} <= {"spikes", "sums of spikes"}:
                return Message("sums of spikes", sum(one.most for one in given))
            case Sum():
                current = any(isinstance(taker, Spiking) for taker in self.taking(each.name))
                return Message("real numbers", of="currents" if current else "real-valued sums")
            case Pooling() | GlobalAverage():
                return Message("real numbers", of="averages")
            case InternalSteps() | Units():
                return Message("real numbers", of="activations")
        return Message("real numbers", of="currents")

    def has_bias_per_pixel(self, each: AnyOperation) -> bool:
        """Whether neurons of a channel have biases of their own."""
        source = self.by_name.get(each.inputs[0])
        return isinstance(source, Affine) and source.shift is not None and source.shift.ndim == 4

    def incoming(self, each: AnyOperation) -> Iterator[Connection]:
        """What arrives at a layer."""
        one = frozenset({0})
        start = Connection("", Message("spikes"), 0, 1, 0, 0, (one, one), (1, 1), (0, 0), False)
        if each.name in self.sending and not isinstance(each, Pooling):
            ways = [way for name in each.inputs for way in self.ways(name, start, None)]
        else:
            ways = list(self.through(each, start, None))
        for way, only in ways:
            shape, made = self.sizes[way.source], self.sizes[each.name]
            synapses = way.fan_in * math.prod(made)
            if only is not None and made == self.sizes[only.name]:  # none of a convolution reaches over the edge
                sides = (
                    int(
                        reached_along(
                            shape[1 + axis],
                            kernel=only.weight.shape[-2 + axis],
                            stride=only.stride[axis],
                            padding=only.padding[axis],
                            dilation=only.dilation[axis],
                        ).sum()
                    )
                    for axis in (0, 1)
                )
                synapses = math.prod(sides) * made[0] * only.weight.shape[-3]
            yield way._replace(synapses=synapses, channels=shape[0], message=self.messages[way.source])

    def ways(
        self, name: str, way: Connection, only: Convolution | None
    ) -> Iterator[tuple[Connection, Convolution | None]]:
        """All ways back from an output to what was sent, and their convolution where that is all there is."""
        if name in self.sending:
            yield way._replace(source=name), only
        else:
            yield from self.through(self.by_name[name], way, only)

    def through(
        self, each: AnyOperation, way: Connection, only: Convolution | None
    ) -> Iterator[tuple[Connection, Convolution | None]]:
        """The same from an operation on."""
        source = each.inputs[0]
        _, height, width = self.sizes[source]
        match each:
            case Convolution():
                kernel = (each.weight.shape[-2], each.weight.shape[-1])
                alone = way.extent == way.stride == (1, 1)
                way = _behind(way, kernel, each.stride, each.padding, each.dilation)
                way = way._replace(
                    reached=each.weight.shape[-3],
                    weights=way.weights + each.weight.numel(),
                    per_step=way.per_step or each.weight.ndim == 5,
                )
                yield from self.ways(source, way, each if alone else None)
            case Linear():
                whole = isinstance(self.by_name.get(source), Flattened | GlobalAverage)
                before = self.sizes[self.by_name[source].inputs[0]] if whole else self.sizes[source]
                way = way._replace(weights=way.weights + each.weight.numel(), reached=before[0])
                way = _behind(way, before[1:], (1, 1), (0, 0))
                yield from self.ways(self.by_name[source].inputs[0] if whole else source, way, None)
            case GlobalAverage():
                yield from self.ways(source, _behind(way, (height, width), (1, 1), (0, 0)), None)
            case Pooling() if not self.passes(each):
                yield from self.ways(source, _behind(way, each.kernel, each.stride, each.padding), None)
            case Picked():
                yield from self.ways(source, _behind(way, (1, 1), (each.every,) * 2, (0, 0)), None)
            case Affine():
                yield from self.ways(source, way._replace(per_step=way.per_step or len(each.gain) > 1), only)
            case _:
                for name in each.inputs:
                    yield from self.ways(name, way, only)


def _behind(way: Connection, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)) -> Connection:
    """A way whose far end is a window further back."""
    axes = (0, 1)
    rows, columns = (
        frozenset(tap * stride[a] + more * dilation[a] for tap in way.taps[a] for more in range(kernel[a]))
        for a in axes
    )
    strides = pair([way.stride[a] * stride[a] for a in axes])
    paddings = pair([way.padding[a] * stride[a] + padding[a] for a in axes])
    return way._replace(taps=(rows, columns), stride=strides, padding=paddings)


def _input(program: Program, events: bool) -> Message:
    """What the first layer receives."""
    encoder = program.config.encoder
    if encoder in ("poisson", "latency") or (events and encoder == "direct"):
        return Message("spikes")
    if encoder in ("poisson-signed", "delta", "two-spikes"):
        return Message("signed spikes")
    return Message("pixels")


# Limits ---------------------------------------------------------------------------------------------------------------

_ONE_NORM = "sresnet finetune RUN --model.norm time-averaged, with --calibrate if without training"
_POISSON = "--model.encoder poisson --data.pixels intensity"
_SMALLER = "train a narrower network, or on smaller images"


def _cure_of_messages(model: SpikingNetwork, program: Program, size: Pair) -> str:
    """How a network's messages become spikes."""
    rates = [each for each in program.operations if isinstance(each, Units) and each.activation != "step"]
    if rates or any(isinstance(each, InternalSteps) for each in program.operations):
        return "convert the ANN by a method of firing rates, such as sresnet convert RUN --method deng"
    try:
        hardware_network(copy.deepcopy(model).to("meta"), size)
    except UserError:
        return "train a network without such messages, such as an S-ResNet with --model.connection s2m"
    return "--write-out binary"


def _violations(layer: Layer, chip: Chip, bits: WeightBits, rewritten: Callable[[], str]) -> Iterator[Violation]:
    """What of one layer the chip cannot do; `rewritten` gives the cure of messages that it does not carry."""

    def one(short: str, what: str, cure: str) -> Violation:
        return Violation(layer.name, short, what, cure)

    carried = "spikes of 0 or 1" if chip.spike_bits == 1 else f"whole numbers of {chip.spike_bits} bits"
    for message in layer.messages:
        if message.bits is not None and message.bits <= chip.spike_bits:
            continue
        if message.kind == "pixels":
            cure = f"compute the first layer elsewhere, or train with an encoder that spikes: {_POISSON}"
            yield one("pixels", f"the input is pixels, and the chip's messages are {carried}", cure)
        elif message.kind == "signed spikes":
            cure = "give spikes of each sign channels of their own, with weights of opposite sign"
            yield one("signed spikes", "the input is spikes of both signs, and the chip's have none", cure)
        else:
            yield one(str(message), f"messages are {message}, and the chip's are {carried}", rewritten())
    limits = [
        ("fan-in", layer.fan_in, chip.fan_in, _SMALLER),
        ("delay", layer.delay, chip.delay, "train a network without skips: --model.connection none"),
        ("destinations", layer.destinations, chip.destinations, "train with --model.connection s2m or none"),
        ("kernel", max(max(each.extent) for each in layer.incoming), chip.kernel, _SMALLER),
        ("padding", max(max(each.padding) for each in layer.incoming), chip.padding, _SMALLER),
        ("channels", max(layer.shape[0], sum(each.channels for each in layer.incoming)), chip.channels, _SMALLER),
        ("pixels along a side", max(layer.shape[1:]), chip.pixels, _SMALLER),
    ]
    for name, found, limit, cure in limits:
        if limit is not None and found > limit:
            yield one(name, f"{name}: {found:,}, more than {limit:,}", cure)
    strides = {side for each in layer.incoming for side in each.stride}
    if chip.strides is not None and not strides <= set(chip.strides):
        yield one("stride", f"a stride is none of {', '.join(map(str, chip.strides))}", _SMALLER)
    if chip.strides_per_layer is not None and len({each.stride for each in layer.incoming}) > chip.strides_per_layer:
        cure = "train a network without skips over strides: --model.connection none"
        yield one("strides", f"what arrives comes with more than {chip.strides_per_layer} stride", cure)
    if chip.weight_bits is not None and bits > chip.weight_bits and any(each.weights for each in layer.incoming):
        fitting = next(each for each in (8, 4, chip.weight_bits) if each <= chip.weight_bits)
        cure = f"--weight-bits {fitting}" if fitting in (8, 4) else f"round them to {fitting} bits elsewhere"
        yield one(f"{bits}-bit weights", f"weights of {bits} bits, and the chip's have {chip.weight_bits}", cure)
    if not chip.weights_per_step and any(each.per_step for each in layer.incoming):
        yield one("weights per step", "gains or weights change with the time step", _ONE_NORM)
    if not chip.bias_per_pixel and layer.bias_per_pixel:
        cure = "train without norms of skips: --model.no-skip-norm"
        yield one("bias per pixel", "biases differ from pixel to pixel of a channel", cure)
    if not chip.leaks and layer.leak != 1:
        yield one("leak", "potentials leak by a factor", "train neurons that do not leak: --model.neuron if")
    if not chip.reads_potentials and layer.role == "readout":
        cure = "train with --model.readout spikes, or sum up the last layer's spikes elsewhere"
        yield one("potential", "the readout's potentials cannot be read", cure)
    if _cores(layer, chip) == 0:
        weights = layer.weights(chip)
        yield one("core", f"{layer.neurons:,} neurons with {weights:,} weights are more than a core holds", _SMALLER)


def _cores(layer: Layer, chip: Chip) -> int | None:
    """Cores of a layer; 0: it fits none, None: the limits do not say."""
    neurons, weights = layer.neurons, layer.weights(chip)
    if chip.one_core_per_layer:
        return int(any(_fits(layer, chip, each) for each in chip.cores))
    counts = [
        max(-(-neurons // each.neurons) if each.neurons else 0, -(-weights // each.weights) if each.weights else 0)
        for each in chip.cores
    ]
    limited = any(each.neurons or each.weights for each in chip.cores)
    return max(1, min(counts)) if limited else None


def _fits(layer: Layer, chip: Chip, core: Cores) -> bool:
    """Whether a core holds a layer."""
    return (core.neurons is None or layer.neurons <= core.neurons) and (
        core.weights is None or layer.weights(chip) <= core.weights
    )


def _whole(layers: tuple[Layer, ...], cores: tuple[int | None, ...], chip: Chip) -> Iterator[Violation]:
    """What of the whole network the chip cannot do."""
    totals = [
        ("neurons", sum(layer.neurons for layer in layers), chip.neurons),
        ("synapses", sum(layer.synapses for layer in layers), chip.synapses),
        ("cores", sum(each or 0 for each in cores), sum(each.count for each in chip.cores)),
    ]
    for name, found, limit in totals:
        if limit is not None and found > limit:
            yield Violation("", name, f"{found:,} {name} are more than {limit:,}", f"{_SMALLER}, or use more chips")
    placed = chip.one_core_per_layer and all(cores) and len(layers) <= sum(each.count for each in chip.cores)
    if placed and not _can_be_placed(layers, chip):
        what = "the layers fit single cores and cannot all be placed at once"
        yield Violation("", "placement", what, f"{_SMALLER}, or use more chips")


def _can_be_placed(layers: tuple[Layer, ...], chip: Chip) -> bool:
    """Whether every layer gets a core of its own: a matching, layer by layer, along paths that move others."""
    places = [core for core in chip.cores for _ in range(min(core.count, len(layers)))]
    taken: dict[int, int] = {}

    def place(number: int, seen: set[int]) -> bool:
        for at, core in enumerate(places):
            if at not in seen and _fits(layers[number], chip, core):
                seen.add(at)
                if at not in taken or place(taken[at], seen):
                    taken[at] = number
                    return True
        return False

    return all(place(number, set()) for number in range(len(layers)))


def unchecked(chip: Chip) -> tuple[str, ...]:
    """Limits that are not published, in words."""
    found = [words for name, words in _WORDS.items() if getattr(chip, name) is None]
    for name in ("neurons", "weights"):
        if all(getattr(each, name) is None for each in chip.cores):
            found.append(f"{name} of a core")
    return tuple(found)


_WORDS = {
    "neurons": "neurons of the chip",
    "synapses": "synapses of the chip",
    "fan_in": "fan-in",
    "destinations": "destinations of a layer",
    "weight_bits": "bits of a weight",
    "delay": "delays",
}
"""Limit -> in words."""
