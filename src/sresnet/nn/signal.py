"""What travels through a network: the signal between layers."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from sresnet.ops.conv_bntt_lif import BitPackedSpikes


class Signal(NamedTuple):
    """What one layer passes to the next."""

    spikes: Float[Tensor, "T N C H W"]
    """o, [T, N, C, H, W]: 0 or 1 from a neuron, sums of them behind S2S connections, real numbers behind a 1x1 skip."""
    current: Float[Tensor, "T N C H W"] | None
    """The input current that produced them, [T, N, C, H, W]: the residual stream of V2V; None where unused."""
    packed: BitPackedSpikes | None = None
    """The spikes in bits, for layers that keep them for the backward pass; None where that is not possible."""
    again: Float[Tensor, "T N C H W"] | None = None
    """The spikes once more, for a skip, whose gradient then comes back apart; None: `spikes` go both ways."""

    def for_skip(self) -> "Signal":
        """The signal that a skip gets, where a layer gets this one."""
        return self if self.again is None else Signal(self.again, self.current, self.packed)
