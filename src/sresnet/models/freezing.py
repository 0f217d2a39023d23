"""Layers that do not train: which modules of a network are meant by the names of layers."""

from collections.abc import Iterable, Iterator

from torch import nn

from sresnet.errors import UserError
from sresnet.models.topology import Topology


def parts_called(
    names: Iterable[str], layers: nn.ModuleDict, readout: nn.Module, topology: Topology
) -> Iterator[nn.Module]:
    """The modules that the names of layers stand for; with a convolution, the norm and the neurons behind it.

    A name is that of a module or what names of modules begin with, up to a dot or underscore: "stem", "stage1",
    "stage1_block2", "stage1_block2.conv1", "readout".

    Raises:
        UserError: no layer is called so.
    """
    modules = dict(layers.named_modules()) | {f"readout.{name}": part for name, part in readout.named_modules()}
    modules = {name.removesuffix("."): part for name, part in modules.items() if name}
    for name in names:
        found = [each for each in modules if each == name or each.startswith((f"{name}.", f"{name}_"))]
        if not name or not found:
            raise UserError(
                f"freeze {name!r}: no layer is called so: choose from {', '.join([*layers, 'readout'])}, what several "
                "begin with, as stage1, or convolutions in them, which sresnet info shows"
            )
        for node in topology.nodes:
            if node.kind in ("convolution", "linear") and node.module in found:
                behind = (topology.norm_behind(node.name), topology.neurons_behind(node.name))
                found += [topology.by_name[each].module for each in behind if each is not None]
        yield from (modules[each] for each in found if each in modules)
