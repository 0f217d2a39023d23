"""NIR graphs, run with Euler steps of dt = 1; whatever leads to a node is added up there, cycles are one step late."""

from collections.abc import Iterator, Mapping

import nir
import torch
import torch.nn.functional as F
from torch import Tensor

from sresnet.errors import UserError


class NirProgram:
    """A graph of the nodes that `to_nir` uses, and of IF, LIF, LI and I of others.

    Args:
        graph: with one input and one output.
        where: its name, for messages.

    Raises:
        UserError: nodes of another kind, or several inputs or outputs.
    """

    def __init__(self, graph: nir.NIRGraph, where: str) -> None:
        self.nodes = dict(graph.nodes)
        self.order, self.late = _order(graph, where)
        self.given: dict[str, list[str]] = {name: [] for name in self.nodes}
        for source, target in graph.edges:
            self.given[target].append(source)
        inputs, outputs = (
            [name for name, node in self.nodes.items() if isinstance(node, kind)] for kind in (nir.Input, nir.Output)
        )
        if len(inputs) != 1 or len(outputs) != 1:
            raise UserError(f"{where} has {len(inputs)} inputs and {len(outputs)} outputs: one of each is run here")
        (self.input,), (self.output,) = inputs, outputs
        for name, node in self.nodes.items():
            if not isinstance(node, _KNOWN):
                raise UserError(f"{where}: {name} is a {type(node).__name__}, which is not run here")

    def run(self, frames: Tensor) -> Iterator[dict[str, Tensor]]:
        """What every node gives at each step, of frames [N, T, C, H, W]."""
        state: dict[str, Tensor] = {}
        before: dict[str, Tensor] = {}
        for step in range(frames.shape[1]):
            now: dict[str, Tensor] = {}
            for name in self.order:
                node = self.nodes[name]
                if name == self.input:
                    now[name] = frames[:, step]
                    continue
                parts = [
                    before[source] if (source, name) in self.late else now[source]
                    for source in self.given[name]
                    if (source, name) not in self.late or source in before
                ]
                total = parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)
                now[name] = _result(name, node, total, state)
            before = now
            yield now

    def scores(self, frames: Tensor) -> Tensor:
        """Scores after every step [N, T, classes] of frames [N, T, C, H, W]: the output divided by the steps so far."""
        with torch.inference_mode():
            outputs = [now[self.output].flatten(1) / (step + 1) for step, now in enumerate(self.run(frames))]
        return torch.stack(outputs, 1)


_KNOWN = (
    *(nir.Input, nir.Output, nir.Conv2d, nir.Scale, nir.Threshold, nir.AvgPool2d),
    *(nir.I, nir.LI, nir.IF, nir.LIF),
)


def _order(graph: nir.NIRGraph, where: str) -> tuple[list[str], set[tuple[str, str]]]:
    """Nodes in an order in which they can run, and the edges that close cycles."""
    onward: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for source, target in graph.edges:
        if source not in onward or target not in onward:
            raise UserError(f"{where} has an edge from {source!r} to {target!r}, which are not both there")
        onward[source].append(target)
    done: list[str] = []
    late: set[tuple[str, str]] = set()
    open_: dict[str, Iterator[str]] = {}
    finished: set[str] = set()
    for start in [name for name, node in graph.nodes.items() if isinstance(node, nir.Input)]:
        open_[start] = iter(onward[start])
        while open_:
            name = next(reversed(open_))
            for target in open_[name]:
                if target in open_:
                    late.add((name, target))
                elif target not in finished:
                    open_[target] = iter(onward[target])
                    break
            else:
                del open_[name]
                finished.add(name)
                done.append(name)
    return done[::-1], late


def _result(name: str, node: nir.NIRNode, x: Tensor, state: dict[str, Tensor]) -> Tensor:
    """The output of a node at this step, and its potential in `state`."""
    number = _Numbers(node, x)
    match node:
        case nir.Conv2d():
            stride, padding, dilation = (
                tuple(map(int, getattr(node, each))) for each in ("stride", "padding", "dilation")
            )
            return F.conv2d(x, number("weight"), number("bias"), stride, padding, dilation, int(node.groups))
        case nir.Scale():
            return x * number("scale")
        case nir.Threshold():
            return (x > number("threshold")).to(x.dtype)
        case nir.AvgPool2d():
            kernel, stride, padding = (
                tuple(map(int, getattr(node, each))) for each in ("kernel_size", "stride", "padding")
            )
            return F.avg_pool2d(x, kernel, stride, padding)
        case nir.I() | nir.IF():
            v = state.get(name, torch.zeros_like(x)) + number("r") * x
        case nir.LI() | nir.LIF():
            v = state.get(name, torch.zeros_like(x))
            v = v + (number("v_leak") - v + number("r") * x) / number("tau")
        case _:
            return x
    if isinstance(node, nir.IF | nir.LIF):
        spikes = (v > number("v_threshold")).to(x.dtype)
        state[name] = torch.where(spikes > 0, number("v_reset"), v)
        return spikes
    state[name] = v
    return v


class _Numbers:
    """Numbers of a node as tensors like x."""

    def __init__(self, node: nir.NIRNode, x: Tensor) -> None:
        self.values: Mapping[str, object] = vars(node)
        self.x = x

    def __call__(self, name: str) -> Tensor:
        return torch.as_tensor(self.values[name]).to(self.x)
