"""What one forward pass carries beside the signal: potentials to start from, and what is to be recorded."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from sresnet.ops.norm import Together
from sresnet.processes import Part, Processes


class LayerRecord(NamedTuple):
    """What is recorded of one layer of neurons."""

    spikes: Float[Tensor, "T N C H W"]
    """o of the neurons themselves, [T, N, C, H, W], 0 or 1; of few-spikes neurons how many, see `several`."""
    membrane: Float[Tensor, "T N C H W"] | None
    """u, the potential before reset, [T, N, C, H, W]; None for neurons of your own, which need not have one; of units
    and few-spikes neurons what they received."""
    output: Float[Tensor, "T N C H W"]
    """What the layer sends on: the spikes, with the skip's added at the end of an S2S block; the sum of their heights
    for few-spikes neurons."""
    several: bool = False
    """Neurons may spike several times within a time step."""

    @property
    def fired(self) -> Tensor:
        """Which neurons fire, bool; a unit of the ANN counterpart counts as firing where it is above 0."""
        return self.spikes > 0

    @property
    def number(self) -> Tensor:
        """How many spikes each neuron sends in each step; one for a unit of the ANN counterpart that is above 0."""
        return self.spikes if self.several else self.fired


class Recorder:
    """Records of some layers of neurons, filled during one forward pass.

    Args:
        wanted: modules of the layers.
    """

    def __init__(self, wanted: Iterable[nn.Module]) -> None:
        self.wanted = frozenset(wanted)
        self.records: dict[nn.Module, LayerRecord] = {}


@dataclass(kw_only=True)
class ForwardState:
    """What one call carries beside the signal. Made for the call and dropped after it: modules keep nothing.

    Modules are told apart by identity, so a module that is called twice in one pass can have no state.
    """

    first_step: int = 0
    """Index of the first time step of this call: norms with statistics per step start there."""
    last_step: int | None = None
    """Index behind the last step of the call that this one is a part of; None: it is behind these steps."""
    v: dict[nn.Module, Tensor | None] | None = field(default_factory=dict)
    """Potential of each layer of neurons: what the previous call left, replaced by what this one leaves. None: all
    start at rest, and nobody asks what they are left with."""
    recorder: Recorder | None = None
    """What is to be recorded; None: nothing."""
    sums: dict[nn.Module, Tensor] | None = None
    """None; or {}: sum of the potentials of each layer at the end, of all currents in the ANN counterpart.
    They show overflow at any time step: leak and reset leave infinity and NaN as they are."""
    before: Tensor | None = None
    """The frame [N, C, H, W] before these steps, where the steps are a part of a call; None: there is none."""
    convolved: dict[nn.Module, Tensor] = field(default_factory=dict)
    """Convolution -> what it gave, [N, C, H, W], for an image that is the same at every step."""
    of_images: set[nn.Module] = field(default_factory=set)
    """Norms behind these convolutions: they receive the same at every step, of which a call may have but one."""
    masks: dict[nn.Module, Tensor] = field(default_factory=dict)
    """Dropout -> its mask of this forward pass, once it is drawn; calls for parts of the steps share them."""
    again: bool = False
    """These steps were computed before, and are for a backward pass: norms leave their running averages alone."""
    last: bool = False
    """Nobody asks for the potentials that these steps leave."""
    part: Part | None = None
    """Which images of a batch these are: masks and Poisson spikes are drawn for all of them; None: they are all."""
    processes: Processes | None = None
    """Those that have the other parts, where norms take their statistics over all; None: over the images here."""

    @property
    def together(self) -> Together | None:
        """What norms are told of the other processes."""
        return None if self.processes is None or self.part is None else Together(self.processes, self.part.whole)

    def starts(self, neurons: nn.Module) -> Tensor | None:
        """The potential that `neurons` start from; None is rest."""
        return self.v.get(neurons) if self.v else None

    def leaves(self, neurons: nn.Module, v: Tensor) -> None:
        """Note the potential that `neurons` end with."""
        if self.sums is not None:
            self.sums[neurons] = v.detach().sum()
        if self.v is not None and not self.last:
            self.v[neurons] = v

    def receives(self, rectifiers: nn.Module, current: Tensor) -> None:
        """Note what the units of an ANN counterpart received."""
        if self.sums is not None:
            self.sums[rectifiers] = self.sums.get(rectifiers, 0) + current.detach().sum()

    def wants(self, neurons: nn.Module) -> bool:
        """Whether `neurons` are recorded."""
        return self.recorder is not None and neurons in self.recorder.wanted

    def record(self, neurons: nn.Module, spikes: Tensor, membrane: Tensor | None, *, several: bool = False) -> None:
        """Keep spikes and membrane of `neurons`, if they are recorded."""
        if self.recorder is not None and neurons in self.recorder.wanted:
            self.recorder.records[neurons] = LayerRecord(spikes, membrane, spikes, several)

    def sends(self, neurons: nn.Module, output: Tensor) -> None:
        """Note that what `neurons` send on is `output`, not their spikes alone."""
        if self.recorder is not None and neurons in self.recorder.records:
            self.recorder.records[neurons] = self.recorder.records[neurons]._replace(output=output)
