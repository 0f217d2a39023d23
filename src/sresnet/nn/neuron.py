"""Layers of neurons: a leak, fixed or learned, and one call of `ops.lif`."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from sresnet.config import check_types, closest
from sresnet.errors import UserError
from sresnet.nn.state import ForwardState
from sresnet.ops.dispatch import implementation
from sresnet.ops.lif import lif, membrane
from sresnet.ops.neuron import LIFConstants
from sresnet.ops.surrogate import Surrogate, Triangle

NeuronKind = Literal["lif", "if", "plif", "plif-shared", "relu"]


@dataclass(frozen=True, kw_only=True)
class NeuronConfig:
    """What all the neurons of a network have in common.

    Raises:
        UserError: an unknown kind, or a field of the wrong type or not finite.
    """

    kind: NeuronKind = "lif"
    """lif: fixed leak; if: no leak; plif: each layer learns its leak; plif-shared: the network learns one; relu: no
    spikes, no memory, the non-spiking twin."""
    leak: float = 0.874
    """Fraction of the potential kept per step (Section 3.5); where a learned leak starts."""
    threshold: float = 1.0
    """Firing threshold, in the unit of the potential."""
    surrogate: Surrogate = Triangle()
    """Derivative of the spike in backward (Eq. 24)."""
    fires_at_threshold: bool = False
    """u >= threshold fires (Eq. 4) instead of u > threshold (released code)."""
    detach_reset: bool = True
    """No gradient through the reset."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(NeuronKind):
            raise UserError(f"neuron {self.kind!r} is unknown: {closest(self.kind, list(get_args(NeuronKind)))}")
        check_types(self)


def leak_parameter(leak: float) -> nn.Parameter:
    """The learned leak of PLIF (Fang et al. 2021): leak = sigmoid(parameter), starting at `leak`.

    Raises:
        UserError: a start value that no sigmoid reaches.
    """
    if not 0 < leak < 1:
        raise UserError(f"leak {leak} cannot start a learned leak: sigmoid stays inside (0, 1); try 0.874")
    return nn.Parameter(torch.tensor(math.log(leak / (1 - leak))))


class Neuron(nn.Module):
    """IF, LIF or PLIF neurons: current [T, ...] -> spikes [T, ...]. The equations are in `ops.lif`.

    Args:
        config: kind and constants.
        shared_leak: the parameter of kind "plif-shared", made once for the network by `leak_parameter`.

    Raises:
        UserError: "plif-shared" without `shared_leak`, or a start value outside (0, 1) for a learned leak.
    """

    def __init__(self, config: NeuronConfig, shared_leak: nn.Parameter | None = None) -> None:
        super().__init__()
        self.config = config
        self.leak_logit: nn.Parameter | None = None
        if config.kind == "plif":
            self.leak_logit = leak_parameter(config.leak)
        elif config.kind == "plif-shared":
            if shared_leak is None:
                raise UserError("neuron 'plif-shared' has no shared_leak: make one with leak_parameter(0.874) for all")
            self.leak_logit = shared_leak

    def leak(self) -> float | Tensor:
        """Fraction of the potential kept per step; a scalar tensor where it is learned."""
        if self.leak_logit is not None:
            return torch.sigmoid(self.leak_logit)
        return 1.0 if self.config.kind == "if" else self.config.leak

    def forward(self, current: Tensor, state: ForwardState | None = None) -> Tensor:
        constants, v = self.constants(), state.v.get(self) if state else None
        if state and state.wants(self):
            with implementation("reference"):  # so that spikes and membranes are of one rounding
                spikes, v_last = lif(current, constants, v=v)
                state.record(self, spikes, membrane(current, constants, v=v))
        else:
            spikes, v_last = lif(current, constants, v=v)
        if state:
            state.leaves(self, v_last)
        return spikes

    def constants(self) -> LIFConstants:
        """What `ops` need."""
        config = self.config
        return LIFConstants(
            leak=self.leak(),
            threshold=config.threshold,
            surrogate=config.surrogate,
            fires_at_threshold=config.fires_at_threshold,
            detach_reset=config.detach_reset,
        )

    def leak_value(self) -> float:
        """The leak as a number."""
        with torch.no_grad():
            return float(self.leak())

    def extra_repr(self) -> str:
        return f"{self.config.kind}, leak={self.leak_value():.4g}, threshold={self.config.threshold:g}"


class Rectifier(nn.Module):
    """max(0, current): the unit of the non-spiking twin (Table 15), in the place of a `Neuron`."""

    def forward(self, current: Tensor, state: ForwardState | None = None) -> Tensor:
        output = torch.relu(current)
        if state and state.sums is not None:
            state.leaves(self, current)
        if state:
            state.record(self, output, current)
        return output


def make_neuron(config: NeuronConfig, shared_leak: nn.Parameter | None = None) -> Neuron | Rectifier:
    """One layer of what `config` describes; errors as `Neuron`."""
    return Rectifier() if config.kind == "relu" else Neuron(config, shared_leak)
