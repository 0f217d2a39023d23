"""Norm, residual and neurons of a layer in plain PyTorch. This file is the definition of anything faster."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sresnet.ops.lif.reference import lif_reference
from sresnet.ops.norm import batch_norm_over_time, batch_norm_through_time


def bntt_lif_reference(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    *,
    training: bool,
    momentum: float,
    eps: float,
    charge: Tensor | None,
    added: Tensor | None,
    **neuron: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """Output, current and the last v; the arguments are those of `bntt_lif` and of `lif_steps`.

    current[t] = norm(x[t]) + charge[t]
    output[t]  = o[t] + added[t], where the spikes o are those of `lif_steps` driven by current

    Arithmetic is in float32 or wider, whatever x is stored in.
    """
    current = x.to(torch.promote_types(x.dtype, torch.float32))
    if gamma is not None:
        assert running_mean is not None
        assert running_var is not None
        norm = batch_norm_reference(gamma)
        current = norm(current, gamma, beta, running_mean, running_var, training=training, momentum=momentum, eps=eps)
        current = current.to(torch.promote_types(current.dtype, torch.float32))  # of a norm in half precision
    if charge is not None:
        current = current + charge
    spikes, v = lif_reference(current, **neuron)
    output = spikes if added is None else spikes + added
    return output.to(x.dtype), current.to(x.dtype), v


def batch_norm_reference(gamma: Tensor) -> Callable[..., Tensor]:
    """The norm that a gamma of this shape belongs to: [T, C] per time step, [C] over time."""
    return batch_norm_through_time if gamma.ndim == 2 else batch_norm_over_time
