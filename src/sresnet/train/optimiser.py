"""The optimiser of a network, the learning rate over training, and the average of the weights."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from sresnet.models.saved import tensors_of
from sresnet.train.muon import OrthogonalSGD
from sresnet.train.recipe import TrainConfig


def make_optimiser(model: nn.Module, config: TrainConfig, *, fused: bool = False) -> torch.optim.Optimizer:
    """SGD with momentum, or Adam, and weight decay on all trainable parameters; with `muon_lr`, `OrthogonalSGD`.

    A group's "peak" is its full rate, see `learning_rate`.

    Args:
        fused: torch's kernels for a whole group at once, which read a rate from the device, so that a step can become
            a CUDA graph, and leave out a step by what lies there. They round otherwise than the usual ones.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    filters = [parameter for parameter in trained if config.muon_lr and parameter.ndim == 4]
    others = [parameter for parameter in trained if not config.muon_lr or parameter.ndim != 4]
    settings: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    settings |= {"fused": True} if fused else {}
    if config.optimiser == "adam":
        group = {"params": others, "peak": config.learning_rate}
        return torch.optim.Adam([group], betas=(config.momentum, 0.999), capturable=fused, **settings)
    settings["momentum"] = config.momentum
    if not filters:
        return _moving(torch.optim.SGD([{"params": others, "peak": config.learning_rate}], **settings), fused)
    optimiser = OrthogonalSGD(
        [
            {"params": filters, "peak": config.muon_lr, "weight_decay": 0.0, "orthogonal": True},
            {"params": others, "peak": config.learning_rate, "orthogonal": False},
        ],
        **settings,
    )
    return _moving(optimiser, fused)


def _moving(optimiser: torch.optim.SGD, fused: bool) -> torch.optim.SGD:
    """The same; a fused one with its momentum, which torch leaves unset where the very first step does not count."""
    if fused and optimiser.defaults["momentum"]:
        for group in optimiser.param_groups:
            for parameter in group["params"]:
                optimiser.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimiser


def learning_rate(config: TrainConfig, step: int, steps_per_epoch: int, *, peak: float | None = None) -> float:
    """Rate of training step `step`, counted from 0 over all epochs; `peak`: the full rate, `config.learning_rate`.

    Milestones act on whole epochs: epoch e (from 0) has lr * drop for every milestone m with e >= m * epochs. The
    released code drops one epoch later, and not at all where m * epochs is not a whole number. With `cosine_epochs` P,
    epoch e after the warm-up has lr / 2 * (1 + cos(pi * e / P)), as torch's CosineAnnealingLR with T_max = P.
    """
    total = config.epochs * steps_per_epoch
    warmup = config.warmup_epochs * steps_per_epoch
    rate = config.learning_rate if peak is None else peak
    if step < warmup:
        return rate * (step + 1) / (warmup + 1)
    if config.cosine_epochs:
        epoch = (step - int(warmup)) // steps_per_epoch
        return rate * 0.5 * (1 + math.cos(math.pi * epoch / config.cosine_epochs))
    if config.schedule == "cosine":
        return rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1.0, total - warmup)))
    epoch = step // steps_per_epoch
    drops = 0
    for milestone in config.milestones:
        at = milestone * config.epochs
        if config.protocol == "released-code":
            drops += at == int(at) and epoch > at
        else:
            drops += epoch >= at - 1e-9  # in binary, 0.7 * 90 is a hair less than 63
    return rate * config.drop**drops


def average_weight(decay: float, step: int) -> float:
    """Weight of the network after training step `step` in the average of those before.

    The decay grows with the steps, up to `decay`, so that early weights are forgotten sooner.
    """
    return 1 - min(decay, (1 + step) / (10 + step))


def update_average(average: dict[str, Tensor], model: nn.Module, weight: float | Tensor) -> None:
    """One step of the exponential moving average of weights and norm statistics; see `average_weight`."""
    with torch.no_grad():
        for name, tensor in tensors_of(model).items():
            average[name].lerp_(tensor, weight)
