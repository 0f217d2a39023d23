"""The gradient of spike-based backpropagation in plain PyTorch. This file is the definition."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def current_gradient(
    gradient: Float[Tensor, "T *neurons"], spikes: Float[Tensor, "T *neurons"], leak: float
) -> Float[Tensor, "T *neurons"]:
    """dL/dI [T, ...] of neurons that reset to zero, from g = dL/do [T, ...] and all their spikes o [T, ...].

    For each neuron and image,

        n        = sum over t of o[t]
        a        = sum over t of leak^(T-t) o[t]                    what is left of its spikes at the end
        F        = [a > 0.001] + ln(leak) a / (n + [n < 0.001])     the leak's part in the gradient
        dL/dI[t] = F g[t*],   t* the first step from t on at which it fires; 0 where there is none

    It is what backpropagation gives with do/du = o, and dv/du = 1 where a neuron did not fire and 0 where it did: a
    spike ends the past, and the leak, left out of the backward pass, comes back as F. Without leak, F is 1.

    Source: Lee et al. 2020, Enabling Spike-Based Backpropagation for Training Deep Neural Network Architectures, and
    their released code.
    """
    num_steps = len(spikes)
    steps = torch.arange(num_steps - 1, -1, -1, device=spikes.device, dtype=spikes.dtype)
    weights = (leak**steps).view(-1, *[1] * (spikes.ndim - 1))
    left, count = (weights * spikes).sum(0), spikes.sum(0)
    factor = (left > 1e-3).to(spikes.dtype) + math.log(leak) * left / (count + (count < 1e-3))
    arriving, found = torch.zeros_like(gradient[0]), []
    for g, o in zip(gradient.flip(0), spikes.flip(0), strict=True):
        arriving = torch.where(o > 0, g, arriving)
        found.append(factor * arriving)
    return torch.stack(found[::-1])
