"""What a network's layers are and what feeds what.

Summaries, counts of activity and operations, the hardware view, fine-tuning and imports use this instead of names of
attributes. Nodes come from the blocks that compute them (`describe` of `sresnet.nn`).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from torch import nn

from sresnet.errors import UserError
from sresnet.nn.graph import Described, Ends, Node, NodeKind
from sresnet.nn.readout import Readout

INPUT = "input"
"""Name of the node of the encoded input."""


@dataclass(frozen=True, kw_only=True)
class Topology:
    """All nodes of a network in the order they run; names are those of modules, without "layers." in front."""

    nodes: tuple[Node, ...]

    @cached_property
    def by_name(self) -> dict[str, Node]:
        """Name -> node."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def consumers(self) -> dict[str, tuple[Node, ...]]:
        """Name -> the nodes that take its output."""
        found: dict[str, list[Node]] = {node.name: [] for node in self.nodes}
        for node in self.nodes:
            for name in node.inputs:
                found[name].append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    def of_kind(self, *kinds: NodeKind) -> tuple[Node, ...]:
        """The nodes of these kinds, in order."""
        return tuple(node for node in self.nodes if node.kind in kinds)

    def source(self, name: str) -> Node:
        """A node's input; of a sum the layer's own."""
        return self.by_name[self.by_name[name].inputs[0]]

    def norm_behind(self, name: str) -> str | None:
        """The norm that takes what a convolution gives; None where there is none."""
        return next((node.name for node in self.consumers[name] if node.kind == "norm"), None)

    def norm_before(self, name: str) -> str | None:
        """The norm whose output drives a layer of neurons, alone or beside a skip; None where there is none."""
        source = self.source(name)
        while source.kind == "sum of currents":
            source = self.source(source.name)
        return source.name if source.kind == "norm" else None

    def neurons_behind(self, name: str) -> str | None:
        """The neurons that a convolution, its norm and its residual current drive; None at the end of a skip.

        Where a skip joins the current of a layer, the layer's own convolution drives its neurons, not the skip's.
        """
        while True:
            consumers = [node for node in self.consumers[name] if node.inputs[0] == name]
            neurons = next((node for node in consumers if node.kind == "neurons"), None)
            if neurons is not None:
                return neurons.name
            onward = next((node for node in consumers if node.kind in ("norm", "sum of currents")), None)
            if onward is None:
                return None
            name = onward.name


def topology_of(layers: Iterable[tuple[str, nn.Module]], readout: Readout) -> Topology:
    """The topology of consecutive layers, (name, module) each, and a readout.

    Raises:
        UserError: a layer, one of the user's own, has no method `describe`.
    """
    nodes, ends = [Node(name=INPUT, kind="input", inputs=(), module="")], Ends(INPUT)
    for name, module in layers:
        if not isinstance(module, Described):
            raise UserError(
                f"layer {name}, a {type(module).__name__}, does not say what it computes: give its class a method "
                "describe(name, x) beside forward(x, state), as sresnet.nn.graph.Described has it"
            )
        more, ends = module.describe(name, ends)
        nodes += more
    return Topology(nodes=tuple(nodes + readout.describe("readout", ends)))


# Names for people -----------------------------------------------------------------------------------------------------

_BLOCK = re.compile(r"(?:stage(\d+)_)?block(\d+)(?:([._])(.+))?")
_ORDINALS = {"1": "first", "2": "second", "3": "third"}
_PARTS = {
    ".skip.conv": "1x1 skip",
    "_skip": "1x1 skip",
    ".skip.neuron": "neurons of the skip",
    ".skip": "join",
    ".sum": "join",
    "_sum": "join",
}
"""What is in a block beside its layers; a skip alone is the addition that joins it."""
_NUMBERED = {"conv": "convolution", "fc": "linear", "units": "units", "pool": "pool"}


def layer_in_words(name: str) -> str:
    """The name of a layer or block as a person reads it: stage1_block2.neuron1 -> stage 1, block 2, first.

    A convolution and its neurons have one name. What is not built of stages and blocks, and names of the user's own,
    stay as they are.
    """
    name = name.removeprefix("wiring.steps.")
    if match := _BLOCK.fullmatch(name):
        stage, block, mark, part = match.groups()
        place = f"{f'stage {stage}, ' if stage else ''}block {block}"
        return f"{place}, {_part_in_words(mark, part)}" if part else place
    short = _without_kind(name)
    if match := re.fullmatch(r"(conv|fc|units|pool)(\d+)", short):
        return f"{_NUMBERED[match[1]]} {match[2]}"
    return short


def layer_in_short(name: str) -> str:
    """A name for axes that have no room for words, where stage and block are numbers: stage1_block2 -> 1.2."""
    match = _BLOCK.fullmatch(name.removeprefix("wiring.steps."))
    if match is None:
        return layer_in_words(name)
    stage, block, mark, part = match.groups()
    place = ".".join(filter(None, (stage, block)))
    return f"{place} {_part_in_words(mark, part)}" if part else place


def _part_in_words(mark: str, part: str) -> str:
    """What a name says behind its block and `mark`."""
    if match := re.fullmatch(r"(?:conv|neuron|units)([123])", part):
        return _ORDINALS[match[1]]
    return _PARTS.get(mark + part, part)


def _without_kind(name: str) -> str:
    """A name without what kind of module it is."""
    for ending in (".neuron", ".conv", ".linear", "_units"):
        name = name.removesuffix(ending)
    return name
