"""Layers of neurons: a leak, fixed or learned, and one call of `ops.lif`."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from sresnet.errors import UserError
from sresnet.ops import lif as lif_op
from sresnet.ops.lif import LIFOutput
from sresnet.ops.surrogate import Surrogate, Triangle

NeuronKind = Literal["lif", "if", "plif", "plif-shared", "relu"]


@dataclass(frozen=True, kw_only=True)
class NeuronConfig:
    """What all the neurons of a network have in common."""

    kind: NeuronKind = "lif"
    leak: float = 0.874
    threshold: float = 1.0
    surrogate: Surrogate = Triangle()
    fires_at_threshold: bool = False
    detach_reset: bool = True


def leak_parameter(leak: float) -> nn.Parameter:
    """The learned leak of PLIF (Fang et al. 2021): leak = sigmoid(parameter), starting at `leak`.

    Raises:
        UserError: a start value that no sigmoid reaches.
    """
    if not 0 < leak < 1:
        raise UserError(f"leak {leak} cannot start a learned leak: sigmoid stays inside (0, 1); try 0.874")
    return nn.Parameter(torch.tensor(math.log(leak / (1 - leak))))


class Neuron(nn.Module):
    """IF, LIF or PLIF neurons: current [T, ...] -> spikes [T, ...] and the potential that is left. See `ops.lif`.

    Args:
        config: kind and constants. "if" has no leak (1); "lif" the fixed `leak`; "plif" learns its own, starting there.
        shared_leak: the parameter of "plif-shared", one for the network, made by `leak_parameter`.
    """

    def __init__(self, config: NeuronConfig, shared_leak: nn.Parameter | None = None) -> None:
        super().__init__()
        self.config = config
        self.leak_logit: nn.Parameter | None = None
        if config.kind == "plif":
            self.leak_logit = leak_parameter(config.leak)
        elif config.kind == "plif-shared":
            if shared_leak is None:
                raise UserError("neuron 'plif-shared' needs shared_leak: make one with leak_parameter(0.874) for all")
            self.leak_logit = shared_leak

    def leak(self) -> float | Tensor:
        """The fraction of the potential kept per step."""
        if self.leak_logit is not None:
            return torch.sigmoid(self.leak_logit)
        return 1.0 if self.config.kind == "if" else self.config.leak

    def forward(self, current: Tensor, v: Tensor | None = None) -> LIFOutput:
        """Run the neurons over T steps, from the potential `v` that an earlier call left (None: zero)."""
        return lif_op.lif(current, v=v, **self.constants())

    def membrane(self, current: Tensor, v: Tensor | None = None) -> Tensor:
        """Membrane potentials before reset [T, ...] for the same arguments as `forward`."""
        return lif_op.membrane(current, v=v, **self.constants())

    def constants(self) -> "dict[str, Any]":
        return {
            "leak": self.leak(),
            "threshold": self.config.threshold,
            "surrogate": self.config.surrogate,
            "fires_at_threshold": self.config.fires_at_threshold,
            "detach_reset": self.config.detach_reset,
        }

    def extra_repr(self) -> str:
        return f"{self.config.kind}, leak={float(self.leak()):.4g}, threshold={self.config.threshold:g}"
