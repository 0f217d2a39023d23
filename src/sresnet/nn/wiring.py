"""Layers that are wired as a list of steps says: any network without loops, such as one read from others' code.

Where S-ResNets and VGGs have a class for each block, these have a `Step` for each operation, so that whatever a user's
network looks like, its description is data: it is saved with the weights, and the network is built from it again.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sresnet.config import check_types, closest
from sresnet.errors import UserError
from sresnet.nn.graph import Ends, Node, NodeKind
from sresnet.nn.layer import SharedDropout, is_picked_first, pooled
from sresnet.nn.neuron import ACTIVATIONS, NeuronConfig, Rectifier, make_neuron
from sresnet.nn.norm import NormConfig, make_norm
from sresnet.nn.signal import Signal
from sresnet.nn.state import ForwardState
from sresnet.ops.over_time import over_time

StepKind = Literal["convolution", "linear", "norm", "neurons", "dropout", "pool", "global pool", "sum"]
INPUT = "input"
"""What a step is given that takes the network's input."""
RESERVED = frozenset({INPUT, *dir(nn.ModuleDict())})
"""Names that no step can have: torch's dictionaries of modules have them for their own."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One operation of a wired network; sizes that its kind does not have stay at their defaults.

    Raises:
        UserError: a field of the wrong type, no inputs or too many, or sizes below 1.
    """

    name: str
    """Of its own, without dots, and none of `RESERVED`."""
    kind: StepKind
    """linear takes all values of an image, flattened; pool: the average; sum: of all inputs, each times a number;
    norm: of `out_channels` channels; dropout: with one mask for all time steps."""
    inputs: tuple[str, ...]
    """Names of the steps it takes, or "input"."""
    in_channels: int = 1
    """Channels of a convolution's input, values of a linear layer's."""
    out_channels: int = 1
    """Channels or values of the output."""
    kernel: tuple[int, int] = (1, 1)
    """Height and width of a convolution's kernel or of the window of a pool."""
    stride: tuple[int, int] = (1, 1)
    """Of a convolution or a pool."""
    ceil: bool = False
    """A pool takes the windows that reach over the edge too: the average of what lies inside."""
    padding: tuple[int, int] = (0, 0)
    """Zeros around the input of a convolution."""
    dilation: tuple[int, int] = (1, 1)
    """Of a convolution."""
    groups: int = 1
    """Of a convolution."""
    bias: bool = False
    """A convolution or linear layer adds a number to each channel, at every time step."""
    threshold: float = 1.0
    """Firing threshold of neurons."""
    dropout: float = 0.0
    """Probability that dropout silences a unit."""
    limit: float = 0.0
    """Largest output of neurons that are units of an ANN; 0: there is none."""
    activation: str = "relu"
    """What neurons that are units of an ANN compute; a name in `ACTIVATIONS`."""
    internal_steps: int = 0
    """Of few-spikes neurons, where it is not the network's; 0: it is."""

    def __post_init__(self) -> None:
        check_types(self)
        if not self.name or "." in self.name or self.name in RESERVED:
            raise UserError(f"step {self.name!r} needs a name of its own, without dots, that is not 'input' or taken")
        if not self.inputs or (len(self.inputs) > 1 and self.kind != "sum"):
            raise UserError(
                f"step {self.name!r} ({self.kind}) has {len(self.inputs)} inputs: it takes one, and a sum several"
            )
        sizes = (self.in_channels, self.out_channels, *self.kernel, *self.stride, *self.dilation, self.groups)
        if self.activation not in ACTIVATIONS:
            cure = closest(self.activation, list(ACTIVATIONS))
            raise UserError(f"step {self.name!r} has the unknown activation {self.activation!r}: {cure}")
        if self.limit and self.activation != "relu":
            raise UserError(f"step {self.name!r} has a limit and activation {self.activation!r}: only 'relu' has one")
        if min(sizes) < 1 or min(*self.padding, self.limit, self.internal_steps) < 0:
            raise UserError(f"step {self.name!r} has a size below 1 or a negative padding, limit or internal_steps")


class WeightedSum(nn.Module):
    """Sum of tensors, each times a factor: spikes that come from layers of different thresholds differ in height.

    Args:
        number: of tensors; all factors are 1 at first.
    """

    factors: Tensor

    def __init__(self, number: int) -> None:
        super().__init__()
        self.register_buffer("factors", torch.ones(number))

    def forward(self, *parts: Tensor) -> Tensor:
        total = parts[0] * self.factors[0]
        for part, factor in zip(parts[1:], self.factors[1:], strict=True):
            total = total + part * factor
        return total


class Window(nn.Module):
    """The average of every window of a map, or, without a step's window, of all of it: [N, C, H, W]."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.whole = step.kind == "global pool"
        self.kernel, self.stride, self.ceil = step.kernel, step.stride, step.ceil

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C height width"]:
        if self.whole:
            return pooled(x)[..., None, None]
        return F.avg_pool2d(x, self.kernel, self.stride, ceil_mode=self.ceil)


class _Flat(nn.Linear):
    """A linear layer on all values of a map: [N, C, H, W] -> [N, outputs, 1, 1].

    Raises:
        UserError: in forward, maps of another number of values.
    """

    def forward(self, input: Float[Tensor, "N C H W"]) -> Float[Tensor, "N outputs 1 1"]:
        if math.prod(input.shape[1:]) != self.in_features:
            raise UserError(
                f"maps before a fully connected layer of {self.in_features} inputs are {list(input.shape[1:])}: give "
                "images of the size that the network was built for, or build it with their image_size"
            )
        return super().forward(input.flatten(1))[..., None, None]


class _Picked(nn.Conv2d):
    """A convolution of one by one pixel that picks the pixels it looks at first, see `is_picked_first`."""

    def forward(self, input: Tensor) -> Tensor:
        down, right = self.stride
        return F.conv2d(input[..., ::down, ::right], self.weight, self.bias, 1, 0, 1, self.groups)


def _module_of(step: Step, neuron: NeuronConfig, norm: NormConfig) -> nn.Module:
    """What computes a step."""
    if step.kind == "norm":
        return make_norm(norm, step.out_channels)
    if step.kind == "dropout":
        return SharedDropout(step.dropout)
    if step.kind == "convolution":
        picked = is_picked_first(step.in_channels, step.kernel, step.stride, step.padding)
        layer = (_Picked if picked else nn.Conv2d)(
            step.in_channels,
            step.out_channels,
            step.kernel,
            step.stride,
            step.padding,
            step.dilation,
            step.groups,
            step.bias,
        )
        return layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if step.kind == "linear":
        return _Flat(step.in_channels, step.out_channels, step.bias)
    if step.kind == "neurons":
        if neuron.kind == "relu":
            return Rectifier(step.limit, step.activation)
        internal_steps = step.internal_steps or neuron.internal_steps
        return make_neuron(replace(neuron, threshold=step.threshold, internal_steps=internal_steps))
    return WeightedSum(len(step.inputs)) if step.kind == "sum" else Window(step)


class Wiring(nn.Module):
    """Steps that take each other's outputs: Signal -> Signal, the output of the last step, flattened.

    Args:
        steps: in an order in which they can run.
        neuron: of all layers of neurons, but for their thresholds.
        norm: of all norms.

    Raises:
        UserError: no step, two of one name, or one that takes what does not come before it.
    """

    def __init__(self, steps: Sequence[Step], neuron: NeuronConfig, norm: NormConfig) -> None:
        super().__init__()
        check_order(steps)
        self.order = tuple(steps)
        self.steps = nn.ModuleDict({step.name: _module_of(step, neuron, norm) for step in steps})
        self.uses = Counter(name for step in steps for name in step.inputs)

    def forward(self, x: Signal, state: ForwardState | None = None) -> Signal:
        values, left = {INPUT: x.spikes}, Counter(self.uses)
        for step in self.order:
            given = [values[name] for name in step.inputs]
            values[step.name] = self.run(step, given, state)
            left.subtract(step.inputs)
            for name in step.inputs:
                if left[name] == 0:  # nobody else takes it: its memory is free
                    values.pop(name, None)
        return Signal(values[self.order[-1].name].flatten(2)[..., None, None], None)

    def run(self, step: Step, given: Sequence[Tensor], state: ForwardState | None) -> Float[Tensor, "T N C H W"]:
        """One step on its inputs, [T, N, C, H, W] each."""
        module = self.steps[step.name]
        if step.kind in ("neurons", "norm"):
            return module(*given, state)
        if step.kind == "dropout":
            return module(Signal(given[0], None), state).spikes
        return module(*given) if step.kind == "sum" else over_time(module, *given)

    def describe(self, name: str, x: Ends) -> tuple[list[Node], Ends]:
        """See `graph.Described`."""
        nodes, names = [], {INPUT: x.spikes}
        for step in self.order:
            if step.kind == "dropout":  # nothing in evaluation
                names[step.name] = names[step.inputs[0]]
                continue
            names[step.name] = f"{name}.steps.{step.name}"
            inputs = tuple(names[each] for each in step.inputs)
            module = "" if step.kind == "sum" else names[step.name]
            kind = _NODES[step.kind]
            nodes.append(Node(name=names[step.name], kind=kind, inputs=inputs, module=module))
        return nodes, Ends(names[self.order[-1].name])


_NODES: dict[StepKind, NodeKind] = {
    "convolution": "convolution",
    "linear": "linear",
    "norm": "norm",
    "neurons": "neurons",
    "pool": "pool",
    "global pool": "pool",
    "sum": "sum of currents",
}
"""Kind of a step -> kind of its node in a topology."""


def check_order(steps: Sequence[Step]) -> None:
    """Raise UserError for steps that cannot run one after the other."""
    if not steps:
        raise UserError("a wired network has no steps: give at least one")
    known = {INPUT}
    for step in steps:
        if step.name in known:
            raise UserError(f"two steps are called {step.name!r}: give each a name of its own")
        for name in step.inputs:
            if name not in known:
                raise UserError(f"step {step.name!r} takes {name!r}, which no step before it gives")
        known.add(step.name)
