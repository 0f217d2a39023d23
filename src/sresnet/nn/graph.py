"""What a network does, as data: the nodes that each block describes, in the order they run, and what feeds what.

A block has `describe(name, x)` beside its `forward(x, state)`: the same steps, on names of nodes instead of on tensors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from torch import nn

from sresnet.nn.norm import NoNorm

NodeKind = Literal[
    "input",
    "convolution",
    "norm",
    "neurons",
    "factor",
    "sum of currents",
    "sum of spikes",
    "and of spikes",
    "iand of spikes",
    "pool",
    "subsample",
    "flatten",
    "linear",
]


@dataclass(frozen=True, kw_only=True)
class Node:
    """One step of a forward pass."""

    name: str
    """Of the module that computes it, where that does nothing else; unique in its network."""
    kind: NodeKind
    """norm: also tdBN on a skip; neurons: spiking or rectifiers; factor: a number for each channel, learned or the
    threshold; sum of currents: one that is passed on (V2V), which may be a sum of one; and, iand: products of spikes,
    see `residual.Join`; subsample: pixels picked, see `every`. Dropout, which does nothing in a trained network, is no
    node."""
    inputs: tuple[str, ...]
    """Names of the nodes whose outputs it takes; of a sum the layer's own first, then the skip's. Neurons with two have
    both on their membrane (S2M)."""
    module: str
    """Of the module that computes it; empty for sums and the input."""
    every: int = 1
    """Of a convolution or subsample: it is given every second, ... pixel of its input, counted from the first."""


class Ends(NamedTuple):
    """Names of the nodes that make a `Signal`."""

    spikes: str
    current: str | None = None


@runtime_checkable
class Described(Protocol):
    """A block that can say what it does."""

    def describe(self, name: str, x: Ends) -> tuple[list[Node], Ends]:
        """Its nodes in the order they run, and those that its output is; `name` is its own in the network."""
        ...


def chain(*steps: tuple[str, NodeKind, nn.Module | None], source: str, every: int = 1) -> tuple[list[Node], str]:
    """Nodes one behind the other, (name, kind, module) each, without those that are not there; and the last's name.

    Args:
        steps: None, or a norm that does nothing, stands for no node.
        source: what the first takes.
        every: see `Node`, of the first.
    """
    nodes: list[Node] = []
    for name, kind, module in steps:
        if module is None or isinstance(module, NoNorm):
            continue
        stride = every if kind in ("convolution", "subsample") else 1
        nodes.append(Node(name=name, kind=kind, inputs=(source,), module=name, every=stride))
        source = name
    return nodes, source


def summed(name: str, kind: NodeKind, inputs: Sequence[str]) -> Node:
    """A sum, or what else joins the outputs of nodes without parameters."""
    return Node(name=name, kind=kind, inputs=tuple(inputs), module="")
