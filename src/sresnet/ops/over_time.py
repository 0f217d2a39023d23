"""Layers without memory applied to every time step at once."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


def over_time(layer: Callable[[Tensor], Tensor], x: Float[Tensor, "T N *map"]) -> Float[Tensor, "T N *image"]:
    """Apply `layer` to each step of x [T, N, ...] as one batch of T * N; returns [T, N, ...].

    A constant sequence, as direct encoding makes by expanding an image over time (stride 0), goes through the layer
    once: the stem's convolution would give the same T times.
    """
    num_steps, batch = x.shape[:2]
    if constant(x):
        y = layer(x[0])
        return y.expand(num_steps, *y.shape)
    return layer(x.flatten(0, 1)).unflatten(0, (num_steps, batch))


def constant(x: Float[Tensor, "T ..."]) -> bool:
    """All steps of x [T, ...] are one, so the gradient wanted is that of their sum.

    Where x is itself what gradients are asked of, each step has its own, although all have the same value; only under
    an image that was expanded are they added up. What torch.compile sees tells nothing of that: there it is taken for
    an expanded image.
    """
    if x.shape[0] < 2 or x.stride(0) != 0:
        return False
    if torch.compiler.is_compiling() or not (torch.is_grad_enabled() and x.requires_grad):
        return True
    return x._base is not None and x._base.requires_grad and 0 not in x._base.stride()


class OneStep(torch.autograd.Function):
    """The step [1, ...] of which x [T, ...] is an expanded view, without ever holding T copies of its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.num_steps = x.shape[0]
        return x[:1].view_as(x[:1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # The gradient of expand sums over T.
        return (gradient / ctx.num_steps).expand(ctx.num_steps, *gradient.shape[1:])
