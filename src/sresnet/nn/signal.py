"""What travels through a network: the signal between layers, and what one call carries beside it."""

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor, nn

from sresnet.ops.conv_bntt_lif import Packed


class Signal(NamedTuple):
    """What one layer hands to the next."""

    spikes: Tensor
    """o, [T, N, C, H, W]: 0 or 1 from a neuron, sums of them behind S2S connections, real numbers behind a 1x1 skip."""
    current: Tensor | None
    """The input current that produced them, [T, N, C, H, W]: the residual stream of V2V; None where nobody asks."""
    packed: Packed | None = None
    """The spikes in bits, for layers that keep them for the backward pass; None where that is not possible."""


class LayerRecord(NamedTuple):
    """What `record` keeps of one layer of neurons."""

    spikes: Tensor
    """o of the neurons themselves, [T, N, C, H, W], 0 or 1."""
    membrane: Tensor
    """u, the potential before reset, [T, N, C, H, W]."""
    output: Tensor
    """What the layer sends on: the spikes, with the skip's added at the end of an S2S block."""

    @property
    def fired(self) -> Tensor:
        """Which neurons fire, bool; a unit of the non-spiking twin counts as firing where it is above 0."""
        return self.spikes > 0


@dataclass(kw_only=True)
class Trace:
    """What one call carries beside the signal. Made for the call and dropped after it: modules keep nothing.

    Modules are told apart by identity, so a module that is called twice in one pass cannot be traced.
    """

    first_step: int = 0
    """Index of the first time step of this call: norms with statistics per step start there."""
    v: dict[nn.Module, Tensor] = field(default_factory=dict)
    """Potential of each layer of neurons: what the previous call left, replaced by what this one leaves."""
    wanted: frozenset[nn.Module] = frozenset()
    """Layers of neurons to record."""
    records: dict[nn.Module, LayerRecord] = field(default_factory=dict)
    """Their records, filled during the call."""
    sums: dict[nn.Module, Tensor] | None = None
    """None; or {}: sum of the potentials of each layer, of the currents in the non-spiking twin, in the place of `v`.
    They tell of overflow at any time step: leak and reset leave infinity and NaN as they are."""

    def leaves(self, neurons: nn.Module, v: Tensor) -> None:
        """Note the potential that `neurons` end with."""
        if self.sums is None:
            self.v[neurons] = v
        else:
            self.sums[neurons] = v.detach().sum()

    def sends(self, neurons: nn.Module, output: Tensor) -> None:
        """Note that what `neurons` send on is `output`, not their spikes alone."""
        if neurons in self.records:
            self.records[neurons] = self.records[neurons]._replace(output=output)
