"""Batch normalisation of a spiking layer's current [T, N, C, H, W], per time step or over all of them.

The result has the precision of gamma: under autocast, convolutions give bfloat16, but potentials are sums over many
steps and stay in float32.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from sresnet.errors import UserError
from sresnet.processes import Processes


class Together(NamedTuple):
    """The processes that have parts of one batch, whose statistics are those of all of it."""

    processes: Processes
    images: int
    """N of the batch, over all processes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NormState:
    """Parameters and statistics of a layer's batch norm, for the time steps that are computed now.

    Rows [T, C] are a norm for each step (BNTT), [C] one over all steps; a factor on gamma such as that of tdBN is
    folded in by the caller.
    """

    gamma: Float[Tensor, "*steps C"]
    """[T, C] or [C]."""
    beta: Float[Tensor, "*steps C"] | None = None
    """As gamma; None is zero."""
    running_mean: Float[Tensor, "*rows C"]
    """As gamma, or [C] beside a gamma [T, C]: one average, which every step moves in turn; updated in training."""
    running_var: Float[Tensor, "*rows C"]
    """As the mean, with the unbiased variance."""
    training: bool = True
    """Statistics are those of the batch; else they are the running averages."""
    momentum: float | tuple[float, ...] = 0.1
    """Weight of the new statistics in the running averages; 0 leaves them as they are. One for each step where all
    steps share an average."""
    eps: float = 1e-4
    """Added to the variance."""
    together: Together | None = None
    """None: statistics in training are of the images here alone."""

    @property
    def per_step(self) -> bool:
        """Statistics for each time step, not one set over all."""
        return self.gamma.ndim == 2

    @property
    def one_average(self) -> bool:
        """All time steps share the running averages, although each has its own statistics."""
        return self.per_step and self.running_mean.ndim == 1

    def averages(self) -> tuple[Float[Tensor, "*steps C"], Float[Tensor, "*steps C"]]:
        """Running mean and variance for every row of gamma."""
        return self.running_mean.expand_as(self.gamma), self.running_var.expand_as(self.gamma)

    @property
    def gathers(self) -> bool:
        """Statistics are of a batch of which other processes have parts."""
        return self.training and self.together is not None


def check_norm(norm: NormState, shape: tuple[int, ...], num_steps: int) -> None:
    """Raise UserError for a norm that does not fit x of this shape [T or 1, N, C, H, W], or too few values for it."""
    channels = shape[2]
    if norm.gamma.shape not in ((num_steps, channels), (channels,)):
        raise UserError(
            f"gamma has shape {tuple(norm.gamma.shape)}: expected {(num_steps, channels)} for a norm per time step, "
            f"or {(channels,)} for one over time"
        )
    for name, row in (("beta", norm.beta), ("running_mean", norm.running_mean), ("running_var", norm.running_var)):
        shared = norm.one_average and name != "beta" and row is not None and row.shape == norm.gamma.shape[1:]
        if row is not None and row.shape != norm.gamma.shape and not shared:
            raise UserError(f"{name} has shape {tuple(row.shape)}: expected that of gamma, {tuple(norm.gamma.shape)}")
    values = values_per_row(norm, shape, num_steps)
    if norm.training and values < 2:
        raise UserError(f"x has shape {tuple(shape)}, {values} value per channel to normalise: use a larger batch")


def values_per_row(norm: NormState, shape: tuple[int, ...], num_steps: int) -> int:
    """How many values of x [T or 1, N, C, H, W] each mean and variance is of, in all processes."""
    images = norm.together.images if norm.together else shape[1]
    return images * shape[3] * shape[4] * (1 if norm.per_step else num_steps)


def update_averages(
    norm: NormState, mean: Float[Tensor, "*steps C"], var: Float[Tensor, "*steps C"], values: int
) -> None:
    """Move the running averages towards a batch of so many values, of which `var` is the biased variance.

    Neither `mean` nor `var` takes a gradient.
    """
    if not norm.momentum:
        return
    var = var * (values / (values - 1))
    if isinstance(norm.momentum, float | int):
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(var, norm.momentum)
        return
    for share, mean_t, var_t in zip(norm.momentum, mean, var, strict=True):
        norm.running_mean.lerp_(mean_t, share)
        norm.running_var.lerp_(var_t, share)


def batch_norm_reference(x: Float[Tensor, "T N C H W"], norm: NormState) -> Float[Tensor, "T N C H W"]:
    """The batch norm that `norm` describes, of x [T, N, C, H, W], in plain PyTorch."""
    if norm.gathers:
        return _batch_norm_together(x, norm)
    return _batch_norm_through_time(x, norm) if norm.per_step else _batch_norm_over_time(x, norm)


def _batch_norm_through_time(x: Float[Tensor, "T N C H W"], norm: NormState) -> Float[Tensor, "T N C H W"]:
    """BNTT: every time step has its own statistics, gamma and running averages (Section 3.2.2, Kim & Panda 2021).

        y[t] = gamma[t] * (x[t] - mean[t]) / sqrt(var[t] + eps) + beta[t]

    mean[t] and var[t] are over N, H, W of step t in training, the running averages otherwise. The running averages
    take the unbiased variance, as torch.nn.BatchNorm2d does. With one average for all steps (Fang et al. 2021), which
    calls of torch.nn.BatchNorm2d at every step have, it moves towards every step's statistics, t = 1, 2, ..., T.

    Args:
        x: [T, N, C, H, W].
        norm: rows [T, C].
    """
    mean, var = norm.averages()
    return torch.stack(
        [
            _normalise(
                x[t].to(norm.gamma.dtype),
                mean[t],
                var[t],
                norm.gamma[t],
                None if norm.beta is None else norm.beta[t],
                norm,
                norm.momentum[t] if isinstance(norm.momentum, tuple) else norm.momentum,
            )
            for t in range(x.shape[0])
        ]
    )


def _batch_norm_over_time(x: Float[Tensor, "T N C H W"], norm: NormState) -> Float[Tensor, "T N C H W"]:
    """Time-averaged batch norm: one set of statistics over T, N, H, W together (Table 5).

    Args:
        x: [T, N, C, H, W].
        norm: rows [C].
    """
    assert not isinstance(norm.momentum, tuple)
    images = x.flatten(0, 1).to(norm.gamma.dtype)
    rows = norm.running_mean, norm.running_var, norm.gamma, norm.beta
    return _normalise(images, *rows, norm, norm.momentum).unflatten(0, x.shape[:2])


def _batch_norm_together(x: Float[Tensor, "T N C H W"], norm: NormState) -> Float[Tensor, "T N C H W"]:
    """Either of both in training, where this process has a part of the images: statistics of the images of all.

        mean = sum(x) / n,   var = sum((x - mean)^2) / n

    with the sums over all processes and n the values in all of them, as each process can have another number of images.
    All time steps go in one sum. The gradient of a sum over processes is the sum of their gradients.
    """
    assert norm.together is not None
    processes, n = norm.together.processes, values_per_row(norm, x.shape, x.shape[0])
    over = (1, 3, 4) if norm.per_step else (0, 1, 3, 4)
    x = x.to(norm.gamma.dtype)

    def spread(row: Float[Tensor, "*steps C"]) -> Float[Tensor, "*steps 1 C 1 1"]:
        return row[..., None, :, None, None]

    mean = _SumOfAll.apply(x.sum(over), processes) / n
    centred = x - spread(mean)
    var = _SumOfAll.apply((centred * centred).sum(over), processes) / n
    update_averages(norm, mean.detach(), var.detach(), n)
    y = centred * spread(norm.gamma / torch.sqrt(var + norm.eps))
    return y if norm.beta is None else y + spread(norm.beta)


class _SumOfAll(torch.autograd.Function):
    """The sum of a tensor over all processes, which each of them goes on with."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, processes: Processes) -> Tensor:
        ctx.processes = processes
        return processes.add_up(x.clone(memory_format=torch.contiguous_format))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.processes.add_up(gradient.clone(memory_format=torch.contiguous_format)), None


def gather_statistics(together: Together, images: int, mean: Tensor, var: Tensor) -> None:
    """Replace mean and biased variance of the images here by those of the images of all processes, in place.

    With m and s of the n_k values of process k, added up in float64,

        mean = sum(n_k m) / n,   var = sum(n_k (s + m^2)) / n - mean^2

    Args:
        images: N here.
    """
    here = torch.stack([mean, var]).double()
    here[1] += here[0] ** 2
    both = together.processes.add_up(here * (images / together.images))
    mean.copy_(both[0])
    var.copy_((both[1] - both[0] ** 2).clamp(min=0))


def gradient_through_statistics(
    together: Together,
    values: int,
    gamma: Tensor,
    var: Tensor,
    eps: float,
    grad_gamma: Tensor,
    grad_beta: Tensor,
) -> tuple[Tensor, Tensor]:
    """What the gradient of x has besides gamma / std * dy, as x moves mean and variance: slope (x - mean) + offset.

        slope = -gamma / std^2 * sum(dy * y') / n,   offset = -gamma / std * sum(dy) / n

    with y' = (x - mean) / std, and both sums, which are the gradients of gamma and beta, over all processes.

    Args:
        values: n.
        var: of the images of all.
        grad_gamma, grad_beta: of the images here.

    Returns:
        Slope and offset, rows as gamma.
    """
    of_gamma, of_beta = together.processes.add_up(torch.stack([grad_gamma, grad_beta]).double())
    std = torch.sqrt(var.double() + eps)
    scale = gamma / std
    return (-scale / std * of_gamma / values).float(), (-scale * of_beta / values).float()


def _normalise(
    x: Float[Tensor, "N C H W"],
    mean: Float[Tensor, " C"],
    var: Float[Tensor, " C"],
    gamma: Float[Tensor, " C"],
    beta: Float[Tensor, " C"] | None,
    norm: NormState,
    momentum: float,
) -> Float[Tensor, "N C H W"]:
    """The batch norm of torch for x [N, C, H, W] and one row [C] each, whose gradient is right in every memory layout.

    An axis of size 1 may have any stride. torch 2.13 then takes a tensor for channels last by its sizes and for
    contiguous by its strides, and its backward pass reads x in the order of the other gradient. [N, C, H * W] has one
    layout only; it costs some speed, hence only where there is such an axis. A gamma with gaps is read without them.
    """
    images = x if 1 not in x.shape else x.flatten(-2)
    y = F.batch_norm(images, mean, var, gamma.contiguous(), beta, norm.training, momentum, norm.eps)
    return y if images is x else y.unflatten(-1, x.shape[-2:])
