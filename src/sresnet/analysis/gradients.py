"""How much of the gradient of the loss reaches each block (Eqs. 9, 11, 17)."""

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sresnet.models import SResNetConfig, build
from sresnet.models.network import SpikingNetwork
from sresnet.nn.layer import SpikingLayer
from sresnet.nn.residual import Connection, ResidualBlock
from sresnet.nn.signal import Signal
from sresnet.randomness import seeded

CONNECTIONS: tuple[Connection, ...] = get_args(Connection)


@dataclass(frozen=True, kw_only=True)
class BlockGradient:
    """Gradient of the loss in what one layer or block passes on, over all images, steps and neurons."""

    name: str
    spikes: float
    """Norm of dL/do of its output, the skip's spikes included."""
    current: float
    """Norm of dL/dr of the current that V2V passes on; 0 elsewhere."""

    @property
    def norm(self) -> float:
        """Norm of both together: what a V2V block passes on is the pair."""
        return (self.spikes**2 + self.current**2) ** 0.5


def gradient_norms(model: SpikingNetwork, x: Tensor, labels: Tensor, *, seed: int = 0) -> tuple[BlockGradient, ...]:
    """Norms of the gradient of the cross-entropy (Eq. 19) in the output of every layer or block, in network order.

    With batch statistics, as in training, on a copy: `model` does not change. Memory is that of a training step.

    Args:
        x, labels: one batch; images [N, C, H, W] or event frames [N, T, C, H, W], and int64 [N].
        seed: of the Poisson encoders.
    """
    model = copy.deepcopy(model)
    model.freeze_backbone(False)
    model.train()
    signals: dict[str, Signal] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Signal) -> None:
            output.spikes.retain_grad()
            if output.current is not None:
                output.current.retain_grad()
            signals[name] = output

        return hook

    for name, layer in model.layers.items():
        if isinstance(layer, SpikingLayer | ResidualBlock):
            layer.register_forward_hook(keep(name))
    with seeded(seed, x.device):
        F.cross_entropy(model(x), labels).backward()
    return tuple(
        BlockGradient(name=name, spikes=_norm_of(signal.spikes), current=_norm_of(signal.current))
        for name, signal in signals.items()
    )


def _norm_of(tensor: Tensor | None) -> float:
    """Euclidean norm of a tensor's gradient; 0 where none arrived."""
    return 0.0 if tensor is None or tensor.grad is None else float(tensor.grad.double().norm())


def gradients_by_connection(
    config: SResNetConfig,
    x: Tensor,
    labels: Tensor,
    *,
    connections: Sequence[Connection] = CONNECTIONS,
    seed: int = 0,
) -> dict[Connection, tuple[BlockGradient, ...]]:
    """`gradient_norms` of a fresh network for each residual connection, all else as in `config`.

    All start from the same seed. Those with a skip draw the same weights; those of "none", which has no 1x1
    convolutions, differ from stage 2 on.
    """
    norms = {}
    for connection in connections:
        with torch.device("cpu"), seeded(seed, torch.device("cpu")):
            model = build(dataclasses.replace(config, connection=connection)).to(torch.float32)
        norms[connection] = gradient_norms(model.to(x.device), x, labels, seed=seed)
    return norms
