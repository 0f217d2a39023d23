"""SGD, orthogonal steps for filters, the learning rate over training, and the average of the weights."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from sresnet.models.saved import tensors_of
from sresnet.train.recipe import TrainConfig


def make_optimiser(model: nn.Module, config: TrainConfig) -> torch.optim.SGD:
    """SGD with momentum and weight decay on everything that is trained; with `filter_rate`, `OrthogonalSGD`.

    A group's "peak" is its full rate, see `learning_rate`.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    filters = [parameter for parameter in trained if config.filter_rate and parameter.ndim == 4]
    others = [parameter for parameter in trained if not config.filter_rate or parameter.ndim != 4]
    settings: dict[str, Any] = {
        "lr": config.learning_rate,
        "momentum": config.momentum,
        "weight_decay": config.weight_decay,
    }
    if not filters:
        return torch.optim.SGD([{"params": others, "peak": config.learning_rate}], **settings)
    return OrthogonalSGD(
        [
            {"params": filters, "peak": config.filter_rate, "weight_decay": 0.0, "orthogonal": True},
            {"params": others, "peak": config.learning_rate, "orthogonal": False},
        ],
        **settings,
    )


class OrthogonalSGD(torch.optim.SGD):
    """SGD with Nesterov's momentum whose steps for filters are orthogonal matrices (Muon; Jordan et al. 2024).

    A group with "orthogonal" holds filters w [out, in, k, k], read as matrices [out, in * k * k]. With the gradient g,
    momentum mu and rate lr:

        m <- mu * m + g
        s = orthogonal(g + mu * m)
        w <- w - lr * |w| * s / |s|, then scaled to the length that w had

    A norm follows every such convolution and takes out the length of its filters, so only their direction counts: lr
    is how far one step turns them. Under plain SGD it shrinks with the square of the length, hence with how they were
    initialised.
    """

    def __init__(self, groups: list[dict[str, Any]], *, lr: float, momentum: float, weight_decay: float) -> None:
        super().__init__(groups, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=momentum > 0)

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """One step of every group; the gradients of filters are used up."""
        for group in self.param_groups:
            if not group["orthogonal"]:
                continue
            for w in group["params"]:
                if w.grad is None:
                    continue
                state = self.state[w]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(w)
                m = state["momentum_buffer"]
                m.mul_(group["momentum"]).add_(w.grad)
                s = orthogonal(w.grad.add(m, alpha=group["momentum"]).flatten(1)).view_as(w)
                length = w.norm()
                w.sub_(s * (group["lr"] * length / s.norm().clamp(min=1e-12)))
                w.mul_(length / w.norm().clamp(min=1e-12))
                w.grad = None  # so that plain SGD leaves it alone
        super().step()


def orthogonal(matrix: Tensor) -> Tensor:
    """The matrix with its singular values moved near 1, by five Newton-Schulz steps (Jordan et al. 2024).

    X <- a X + b (X X^T) X + c (X X^T)^2 X with a, b, c = 3.4445, -4.7750, 2.0315: singular values from about 0.003 to 1
    end between 0.7 and 1.2. A matrix of zeros stays as it is.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-12)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (2.0315 * gram @ gram - 4.7750 * gram) @ x
    return x.T if tall else x


def learning_rate(config: TrainConfig, step: int, steps_per_epoch: int, *, peak: float | None = None) -> float:
    """Rate of training step `step`, counted from 0 over all epochs; `peak`: the full rate, `config.learning_rate`.

    Milestones act on whole epochs: epoch e (from 0) has lr / 10 for every milestone m with e >= m * epochs. The
    released code drops one epoch later, and not at all where m * epochs is no whole number.
    """
    total = config.epochs * steps_per_epoch
    warmup = config.warmup_epochs * steps_per_epoch
    rate = config.learning_rate if peak is None else peak
    if step < warmup:
        return rate * (step + 1) / (warmup + 1)
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
    return rate * 0.1**drops


def update_average(average: dict[str, Tensor], model: nn.Module, decay: float, step: int) -> None:
    """One step of the exponential moving average of weights and norm statistics.

    The decay grows with the steps, up to `decay`: early weights, far from any good, are forgotten sooner.
    """
    decay = min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        for name, tensor in tensors_of(model).items():
            average[name].lerp_(tensor, 1 - decay)
