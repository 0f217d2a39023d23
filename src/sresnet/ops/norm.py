"""Batch normalisation of a spiking layer's current [T, N, C, H, W], per time step or over all of them.

The result has the precision of gamma: under autocast, convolutions give bfloat16, but potentials are sums over many
steps and stay in float32.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def batch_norm_through_time(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor | None,
    running_mean: Tensor,
    running_var: Tensor,
    *,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    """BNTT: every time step has its own statistics, gamma and running averages (Section 3.2.2, Kim & Panda 2021).

        y[t] = gamma[t] * (x[t] - mean[t]) / sqrt(var[t] + eps) + beta[t]

    mean[t] and var[t] are over N, H, W of step t in training, the running averages otherwise. The running averages
    (given as [T, C], updated in place in training) take the unbiased variance, as torch.nn.BatchNorm2d does.

    Args:
        x: [T, N, C, H, W].
        gamma, beta, running_mean, running_var: [T, C], the rows of the steps that x holds; beta None is zero.
    """
    return torch.stack(
        [
            normalise(
                x[t].to(gamma.dtype),
                running_mean[t],
                running_var[t],
                gamma[t],
                None if beta is None else beta[t],
                training,
                momentum,
                eps,
            )
            for t in range(x.shape[0])
        ]
    )


def batch_norm_over_time(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor | None,
    running_mean: Tensor,
    running_var: Tensor,
    *,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    """Time-averaged batch norm: one set of statistics over T, N, H, W together (Table 5).

    Args:
        x: [T, N, C, H, W].
        gamma, beta, running_mean, running_var: [C]; beta None is zero.
    """
    y = normalise(x.flatten(0, 1).to(gamma.dtype), running_mean, running_var, gamma, beta, training, momentum, eps)
    return y.unflatten(0, x.shape[:2])


def normalise(x: Tensor, mean: Tensor, var: Tensor, gamma: Tensor, *others: Any) -> Tensor:
    """The batch norm of torch for x [N, C, H, W], whose gradient is right in every memory layout.

    An axis of size 1 may have any stride. torch 2.13 then takes a tensor for channels last by its sizes and for
    contiguous by its strides, and its backward pass reads x in the order of the other gradient. [N, C, H * W] has one
    layout only; it costs some speed, hence only where there is such an axis. A gamma with gaps is read without them.
    """
    gamma = gamma.contiguous()
    if 1 not in x.shape:
        return F.batch_norm(x, mean, var, gamma, *others)
    return F.batch_norm(x.flatten(-2), mean, var, gamma, *others).unflatten(-1, x.shape[-2:])
