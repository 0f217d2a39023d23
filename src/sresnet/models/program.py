"""A trained network as a program: what it computes in one time step, in evaluation mode, as operations on numbers.

Everything that a module hides is said: norms are gains and shifts of each channel, and part of the weights before them
where they are the same at every step; skips, joins and pools are operations of their own. Files for other programs are
written from this (`sresnet.export`), so each of them says the same network in its own words. `run` is the definition of
the operations, and the tests hold it to the network.
"""

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sresnet.errors import UserError
from sresnet.models.network import NetworkConfig, SpikingNetwork, zero_or_nan
from sresnet.models.topology import INPUT
from sresnet.nn.graph import Node
from sresnet.nn.layer import Flatten, GlobalAveragePool, Pool, has_hooks
from sresnet.nn.neuron import ACTIVATIONS, AnyNeuron, FewSpikes, Neuron, Rectifier, Sharpened
from sresnet.nn.norm import AffineNorm, affine
from sresnet.nn.readout import Readout
from sresnet.nn.residual import ResidualBlock, Skip
from sresnet.nn.wiring import WeightedSum, Window, Wiring
from sresnet.ops.conv_bntt_lif.int8 import round_weight
from sresnet.ops.few_spikes import few_spikes
from sresnet.ops.neuron import Reset

Pair = tuple[int, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class Operation:
    """One operation of a time step; its inputs and its output are maps [N, C, H, W], or [N, C, 1, 1] of one pixel."""

    name: str
    """That of the node of the topology, unique in its program."""
    inputs: tuple[str, ...]
    """Names of the operations whose outputs it takes, or "input"."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Convolution(Operation):
    """Weights, and zeros around the input."""

    weight: Float[Tensor, "*S O I kh kw"]
    """With S where they change with the time step, which a network that is written out may need."""
    bias: Float[Tensor, "O"] | None
    scale: Float[Tensor, "*S O"] | None = None
    """Of rounded weights: weight = scale * whole number, channel by channel."""
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Linear(Operation):
    """Weights of all values of an image, row by row of each channel."""

    weight: Float[Tensor, "O I"]
    bias: Float[Tensor, "O"] | None
    scale: Float[Tensor, "O"] | None = None
    """See `Convolution`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Affine(Operation):
    """y = gain * x + shift, channel by channel; S is 1, or T where the numbers change with the time step."""

    gain: Float[Tensor, "S C"]
    shift: Float[Tensor, "S C *HW"] | None
    """With H and W where it changes with the pixel."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Spiking(Operation):
    """Neurons whose potential v stays from one step to the next; see `ops.lif.reference.lif_steps`.

    u = leak * v + scale * x;  o = [u > threshold];  v = u - threshold * o, or u * (1 - o)
    """

    leak: float
    scale: float
    threshold: float
    reset: Reset
    fires_at_threshold: bool
    """o = [u >= threshold]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class InternalSteps(Operation):
    """Few-spikes neurons, see `ops.few_spikes`."""

    thresholds: Float[Tensor, "K"]
    resets: Float[Tensor, "K"]
    heights: Float[Tensor, "K"]
    fires_at_threshold: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Units(Operation):
    """Units of an ANN."""

    activation: str
    """A name in `ACTIVATIONS`."""
    limit: float
    """Largest output; 0: none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sum(Operation):
    """The sum of all inputs, each times its factor."""

    factors: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Product(Operation):
    """Spikes a, b of two inputs joined: a * b or, `inverted`, (1 - a) * b."""

    inverted: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Pooling(Operation):
    """The largest value or the average of each window."""

    kind: Literal["max", "avg"]
    kernel: Pair
    stride: Pair
    padding: Pair
    """Zeros that an average counts, and a maximum does not see."""
    ceil: bool
    """Windows that reach over the edge are taken too; an average is then of what lies inside."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GlobalAverage(Operation):
    """The average of each channel."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Picked(Operation):
    """Every second, ... pixel, the first among them."""

    every: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Flattened(Operation):
    """All values of an image as channels of one pixel."""


AnyOperation = (
    Convolution
    | Linear
    | Affine
    | Spiking
    | InternalSteps
    | Units
    | Sum
    | Product
    | Pooling
    | GlobalAverage
    | Picked
    | Flattened
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """Operations of one time step in the order they run, and what becomes of the last one's output.

    The readout keeps a potential p[t] = leak * (p[t-1] + x[t]) of what the last operation gives, or their plain sum
    where leak is 1, and the scores after step t are the average of p[t] / t over the `votes` neighbours of each class.
    A frame that is not finite makes p NaN, see `SpikingNetwork.forward_features`.
    """

    operations: tuple[AnyOperation, ...]
    leak: float
    votes: int
    most_steps: int | None
    """Steps that the norms have numbers for; None: any."""
    config: NetworkConfig
    """Of the network that it was made from."""

    @property
    def neurons(self) -> tuple[Spiking, ...]:
        """The operations that keep a potential."""
        return tuple(each for each in self.operations if isinstance(each, Spiking))

    @property
    def numbers(self) -> int:
        """Weights, biases, gains and shifts."""
        tensors = [value for each in self.operations for value in vars(each).values() if isinstance(value, Tensor)]
        return sum(tensor.numel() for tensor in tensors)


class Stepped(NamedTuple):
    """What `_run_step` gives."""

    outputs: dict[str, Tensor]
    """Of every operation."""
    v: dict[str, Tensor]
    """Potentials of the neurons after the step."""
    u: dict[str, Tensor]
    """The same before they spiked."""


def program_of(model: SpikingNetwork, *, dtype: torch.dtype | None = None) -> Program:
    """The program of a network in evaluation mode.

    Args:
        model: stays as it is.
        dtype: of the numbers; None: that of the network's. Norms are folded in float64.

    Raises:
        UserError: hooks, layers, neurons or norms of the user's own, units that are not sharpened to the end, or
            convolutions that pad with something else than zeros.
    """
    check_hooks(model)
    reader = _Reader(model)
    for node in model.topology.nodes:
        if node.kind != "input":
            reader.read(node)
    readout = model.readout
    program = Program(
        operations=tuple(reader.operations.values()),
        leak=readout.leak,
        votes=readout.votes,
        most_steps=reader.most_steps,
        config=model.config,
    )
    return in_dtype(program, dtype or readout.linear.weight.dtype)


def check_hooks(model: SpikingNetwork) -> None:
    """Raise UserError where a module has a hook, which may change what it computes."""
    for name, module in model.named_modules():
        if has_hooks(module):
            raise UserError(
                f"{name or 'the network'} has a hook, which may change what it computes and is no part of a program: "
                "remove it, or load the network again"
            )


def in_dtype(program: Program, dtype: torch.dtype) -> Program:
    """The program with its numbers in another precision."""
    operations = (_changed(each, lambda tensor: tensor.to(dtype).contiguous()) for each in program.operations)
    return replace(program, operations=tuple(operations))


def _changed(operation: AnyOperation, change: Callable[[Tensor], Tensor]) -> AnyOperation:
    """The operation with its tensors changed."""
    tensors = {name: each for name, each in vars(operation).items() if isinstance(each, Tensor)}
    changed: dict[str, Any] = {name: change(each) for name, each in tensors.items()}
    return replace(operation, **changed)


class _Reader:
    """Reads one network, node by node of its topology."""

    def __init__(self, model: SpikingNetwork) -> None:
        self.model = model
        self.operations: dict[str, AnyOperation] = {}
        self.source = {INPUT: INPUT}
        """Node -> the operation that gives its output."""
        self.takers = Counter(name for node in model.topology.nodes for name in node.inputs)
        self.most_steps: int | None = None

    def read(self, node: Node) -> None:
        """Add the operations of a node, whose inputs have been read."""
        inputs = tuple(self.source[name] for name in node.inputs)
        if node.kind in ("sum of currents", "sum of spikes"):
            factors = self.factors(node)
            if len(inputs) == 1 and factors == (1.0,):
                self.source[node.name] = inputs[0]
            else:
                self.add(node, Sum(name=node.name, inputs=inputs, factors=factors))
        elif node.kind in ("and of spikes", "iand of spikes"):
            self.add(node, Product(name=node.name, inputs=inputs, inverted=node.kind == "iand of spikes"))
        elif node.kind == "neurons":
            if len(inputs) > 1:
                total = Sum(name=f"{node.name}.sum", inputs=inputs, factors=(1.0,) * len(inputs))
                self.operations[total.name] = total
                inputs = (total.name,)
            self.add(node, neurons_of(node.name, inputs, self.model.part(node.module)))
        elif node.kind == "subsample":
            self.add(node, Picked(name=node.name, inputs=inputs, every=node.every))
        else:
            self.computed(node, inputs, self.model.part(node.module))

    def add(self, node: Node, operation: AnyOperation) -> None:
        """One more operation, which gives the output of a node."""
        self.operations[operation.name] = operation
        self.source[node.name] = operation.name

    def factors(self, node: Node) -> tuple[float, ...]:
        """What the inputs of a sum are multiplied by."""
        module = dict(self.model.layers.named_modules()).get(node.name)
        return tuple(module.factors.tolist()) if isinstance(module, WeightedSum) else (1.0,) * len(node.inputs)

    def computed(self, node: Node, inputs: tuple[str, ...], module: nn.Module) -> None:
        """A node that one module computes."""
        name = node.name
        if isinstance(module, nn.Conv2d):
            if module.padding_mode != "zeros" or isinstance(module.padding, str):
                raise UserError(
                    f"{name} pads with {module.padding_mode!r}, {module.padding!r}: pad with zeros, by numbers"
                )
            self.add(node, _convolution(name, inputs, module, node.every))
        elif isinstance(module, nn.Linear):
            weight, bias = _wide(module.weight), module.bias
            self.add(node, Linear(name=name, inputs=inputs, weight=weight, bias=None if bias is None else _wide(bias)))
        elif isinstance(module, AffineNorm):
            gain, shift = (values.detach() for values in affine(module, dtype=torch.float64))
            self.scaled(node, inputs, gain, shift)
        elif isinstance(module, ResidualBlock):  # S2M: what the skip's spikes are worth
            factor = torch.full((1, module.conv2.out_channels), module.skip_factor, dtype=torch.float64)
            if module.skip_factor == 1:
                self.source[name] = inputs[0]
            else:
                self.scaled(node, inputs, factor, None)
        elif isinstance(module, Skip) and module.weight is not None:
            self.scaled(node, inputs, _wide(module.weight).flatten()[None], None)
        elif isinstance(module, Pool):
            kernel, padding = (2, 0) if module.kernel_size == 2 else (3, 1)
            self.add(
                node,
                Pooling(
                    name=name,
                    inputs=inputs,
                    kind=module.kind,
                    kernel=(kernel, kernel),
                    stride=(2, 2),
                    padding=(padding, padding),
                    ceil=kernel == 2,
                ),
            )
        elif isinstance(module, Window) and not module.whole:
            self.add(
                node,
                Pooling(
                    name=name,
                    inputs=inputs,
                    kind="avg",
                    kernel=module.kernel,
                    stride=module.stride,
                    padding=(0, 0),
                    ceil=module.ceil,
                ),
            )
        elif isinstance(module, Readout) and isinstance(list(self.model.layers.values())[-1], Wiring):
            self.add(node, Flattened(name=name, inputs=inputs))  # what a wiring gives has one pixel
        elif isinstance(module, GlobalAveragePool | Readout | Window):
            self.add(node, GlobalAverage(name=name, inputs=inputs))
        elif isinstance(module, Flatten):
            self.add(node, Flattened(name=name, inputs=inputs))
        else:
            raise UserError(
                f"{name} is a {type(module).__name__}, which cannot be written down as a program: use layers, neurons "
                "and norms of this package"
            )

    def scaled(self, node: Node, inputs: tuple[str, ...], gain: Tensor, shift: Tensor | None) -> None:
        """A gain and a shift of each channel: part of the weights before it where nothing else takes their output.

        Numbers of each step stay beside the weights: they are fewer than weights of each step.
        """
        (source,) = inputs
        before = self.operations.get(source)
        steps = len(gain)
        if steps > 1:
            self.most_steps = steps
        alone = self.takers[node.inputs[0]] == 1 and self.source[node.inputs[0]] == node.inputs[0]
        if steps > 1 or not alone or not isinstance(before, Convolution | Linear):
            self.add(node, Affine(name=node.name, inputs=inputs, gain=gain, shift=shift))
            return
        weight = before.weight * gain[0].reshape(-1, *[1] * (before.weight.ndim - 1))
        bias = None if before.bias is None else before.bias * gain[0]
        if shift is not None:
            bias = shift[0] if bias is None else bias + shift[0]
        self.operations[source] = replace(before, weight=weight, bias=bias)
        self.source[node.name] = source


def _wide(tensor: Tensor) -> Tensor:
    """In float64, without a gradient, on the CPU."""
    return tensor.detach().to("cpu", torch.float64)


def _convolution(name: str, inputs: tuple[str, ...], module: nn.Conv2d, every: int) -> Convolution:
    """A convolution; of one by one pixel, it may take every second pixel before its own stride."""
    height, width = pair(module.stride)
    return Convolution(
        name=name,
        inputs=inputs,
        weight=_wide(module.weight),
        bias=None if module.bias is None else _wide(module.bias),
        stride=(height * every, width * every),
        padding=pair(module.padding),
        dilation=pair(module.dilation),
        groups=module.groups,
    )


def pair(value: Sequence[int] | object) -> Pair:
    """Height and width."""
    assert isinstance(value, Sequence)
    return int(value[0]), int(value[1])


def neurons_of(name: str, inputs: tuple[str, ...], module: nn.Module) -> AnyOperation:
    """A layer of neurons, or of units of an ANN."""
    if isinstance(module, Neuron):
        leak, config = module.leak_value(), module.config
        return Spiking(
            name=name,
            inputs=inputs,
            leak=leak,
            scale=1.0 if config.input_scale == "one" else 1 - leak,
            threshold=config.threshold,
            reset=config.reset,
            fires_at_threshold=config.fires_at_threshold,
        )
    if isinstance(module, FewSpikes):
        return InternalSteps(
            name=name,
            inputs=inputs,
            thresholds=_wide(module.thresholds),
            resets=_wide(module.resets),
            heights=_wide(module.heights),
            fires_at_threshold=module.fires_at_threshold,
        )
    if isinstance(module, Rectifier):
        return Units(name=name, inputs=inputs, activation=module.activation, limit=module.limit)
    if isinstance(module, Sharpened):
        if float(module.sharpness) < 1:
            raise UserError(
                f"{name} has sharpness {float(module.sharpness):.2f}, and units become steps at 1: train to the end"
            )
        return Units(name=name, inputs=inputs, activation="step", limit=0.0)
    assert isinstance(module, AnyNeuron)
    raise UserError(f"{name} are neurons of your own, which cannot be written down as a program: use the package's")


def overhang(pooling: Pooling, axis: int, pixels: int, windows: int) -> int:
    """Pixels by which the last window reaches over the edge and the zeros around it.

    Args:
        pooling: the windows.
        axis: 0 along the height, 1 along the width.
        pixels: of the map along it.
        windows: how many there are along it.
    """
    reached = (windows - 1) * pooling.stride[axis] + pooling.kernel[axis]
    return max(0, reached - pixels - 2 * pooling.padding[axis])


def in_few_bits(program: Program, bits: int, dtype: torch.dtype | None = None) -> Program:
    """The program with the weights of all convolutions and linear layers rounded, norms folded before.

    Biases, gains and shifts stay as they are.

    Args:
        program: whose numbers are rounded in their own precision.
        bits: of a weight, up to 8: whole numbers within 127 for 8 and 7 for 4, times a scale of each output channel.
        dtype: of the numbers after that; None: as before.
    """
    rounded = (_rounded(each, 2 ** (bits - 1) - 1) for each in program.operations)
    if dtype is not None:
        rounded = (_changed(each, lambda tensor: tensor.to(dtype)) for each in rounded)
    return replace(program, operations=tuple(map(_dequantised, rounded)))


def _rounded(operation: AnyOperation, largest: int) -> AnyOperation:
    """The operation with whole numbers and their scales as weights, if it has any."""
    if not isinstance(operation, Convolution | Linear):
        return operation
    channels = operation.weight.shape[:-3] if isinstance(operation, Convolution) else operation.weight.shape[:1]
    whole, scale = round_weight(operation.weight.reshape(channels.numel(), -1), largest=largest)
    return replace(operation, weight=whole.to(scale.dtype).view_as(operation.weight), scale=scale.view(channels))


def _dequantised(operation: AnyOperation) -> AnyOperation:
    """The operation with its whole numbers times their scales as weights."""
    if not isinstance(operation, Convolution | Linear) or operation.scale is None:
        return operation
    return replace(operation, weight=operation.weight * _by_channel(operation.scale, operation.weight))


def _by_channel(scale: Tensor, weight: Tensor) -> Tensor:
    """Scales of output channels, shaped to multiply weights."""
    return scale.view(*scale.shape, *[1] * (weight.ndim - scale.ndim))


def integers(operation: Convolution | Linear) -> Tensor | None:
    """The whole numbers of rounded weights, int8 in the weight's shape; None for other weights."""
    if operation.scale is None:
        return None
    return (operation.weight / _by_channel(operation.scale, operation.weight)).round().to(torch.int8)


# Running --------------------------------------------------------------------------------------------------------------


def run(
    program: Program, frames: Float[Tensor, "T N C H W"], watch: Callable[[Stepped], None] | None = None
) -> Float[Tensor, "T N classes"]:
    """Scores after every step of encoded images or event frames; the definition of a program.

    Args:
        program: what to run.
        frames: what the first layer receives.
        watch: called after every step.

    Raises:
        UserError: as `check_steps`.
    """
    check_steps(program, len(frames))
    v: dict[str, Tensor] = {}
    potential, scores = torch.zeros((), dtype=frames.dtype), []
    for step, frame in enumerate(frames):
        stepped = _run_step(program, frame, step, v)
        v = stepped.v
        if watch:
            watch(stepped)
        current = stepped.outputs[program.operations[-1].name].flatten(1) + zero_or_nan(frame, None)[0, ..., 0, 0]
        potential = potential + current if program.leak == 1 else program.leak * (potential + current)
        score = potential / (step + 1)
        scores.append(score if program.votes == 1 else F.avg_pool1d(score, program.votes))
    return torch.stack(scores)


def check_steps(program: Program, num_steps: int) -> None:
    """Raise UserError for fewer time steps than one, or more than the norms have numbers for."""
    if num_steps < 1 or (program.most_steps is not None and num_steps > program.most_steps):
        most = "" if program.most_steps is None else f" to {program.most_steps}, for which there are norms"
        raise UserError(f"num_steps {num_steps} is outside 1{most or ' and more'}: ask for other time steps")


def _run_step(program: Program, frame: Float[Tensor, "N C H W"], step: int, v: Mapping[str, Tensor]) -> Stepped:
    """One time step; `v` are the potentials after the one before, none at the start."""
    outputs, after, before = {INPUT: frame}, dict[str, Tensor](), dict[str, Tensor]()
    for each in program.operations:
        given = [outputs[name] for name in each.inputs]
        if isinstance(each, Spiking):
            before[each.name] = u = _charged(each, given[0], v.get(each.name))
            outputs[each.name] = o = (u >= each.threshold if each.fires_at_threshold else u > each.threshold).to(
                u.dtype
            )
            after[each.name] = u - each.threshold * o if each.reset == "subtract" else u * (1 - o)
        else:
            outputs[each.name] = _result(each, given, step)
    return Stepped(outputs, after, before)


def _charged(neurons: Spiking, x: Tensor, v: Tensor | None) -> Tensor:
    """Potentials before the spikes."""
    charge = x if neurons.scale == 1 else neurons.scale * x
    return charge if v is None else neurons.leak * v + charge


def _result(each: AnyOperation, given: list[Tensor], step: int) -> Tensor:
    """The output of an operation that keeps nothing."""
    x = given[0]
    match each:
        case Convolution():
            weight = each.weight if each.weight.ndim == 4 else each.weight[step]
            return F.conv2d(x, weight, each.bias, each.stride, each.padding, each.dilation, each.groups)
        case Linear():
            return F.linear(x.flatten(1), each.weight, each.bias)[..., None, None]
        case Affine():
            row = step if len(each.gain) > 1 else 0
            y = each.gain[row][:, None, None] * x
            if each.shift is None:
                return y
            return y + (each.shift[row] if each.shift.ndim == 4 else each.shift[row][:, None, None])
        case InternalSteps():
            return few_spikes(
                x, each.thresholds, each.resets, each.heights, fires_at_threshold=each.fires_at_threshold
            ).y
        case Units():
            return x.clamp(0, each.limit) if each.limit else ACTIVATIONS[each.activation](x)
        case Sum():
            parts = [part if factor == 1 else factor * part for factor, part in zip(each.factors, given, strict=True)]
            return functools.reduce(torch.add, parts)
        case Product():
            return (1 - x if each.inverted else x) * given[1]
        case Pooling(kind="max"):
            return F.max_pool2d(x, each.kernel, each.stride, each.padding, ceil_mode=each.ceil)
        case Pooling():
            return F.avg_pool2d(x, each.kernel, each.stride, each.padding, ceil_mode=each.ceil)
        case GlobalAverage():
            return x.mean((-2, -1), keepdim=True)
        case Picked():
            return x[..., :: each.every, :: each.every]
        case Flattened():
            return x.flatten(1)[..., None, None]
    raise AssertionError(each)  # Spiking keeps something


def output_sizes(program: Program, size: Pair) -> dict[str, tuple[int, int, int]]:
    """(C, H, W) of what each operation gives for images of `size` (H, W); nothing is computed.

    Raises:
        UserError: maps that are too small for a kernel or a window, or too many values for a linear layer.
    """
    meta = replace(
        program,
        operations=tuple(
            _changed(each, lambda tensor: torch.empty(tensor.shape, device="meta")) for each in program.operations
        ),
    )
    frame = torch.empty(1, program.config.in_channels, *size, device="meta")
    try:
        outputs = _run_step(meta, frame, 0, {}).outputs
    except RuntimeError as error:
        raise UserError(
            f"images of {size[0]}x{size[1]} do not fit this network: {str(error).splitlines()[0]}"
        ) from None
    return {name: tuple(output.shape[1:]) for name, output in outputs.items() if name != INPUT}  # type: ignore[misc]
