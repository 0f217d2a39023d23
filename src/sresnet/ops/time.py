"""Layers without memory applied to every time step at once."""

from collections.abc import Callable

from torch import Tensor


def over_time(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply `layer` to each step of x [T, N, ...] as one batch of T * N; returns [T, N, ...].

    A constant sequence, as direct encoding makes by expanding an image over time (stride 0), goes through the layer
    once: the stem's convolution would give the same T times.
    """
    num_steps, batch = x.shape[:2]
    if num_steps > 1 and x.stride(0) == 0:
        y = layer(x[0])
        return y.expand(num_steps, *y.shape)
    return layer(x.flatten(0, 1)).unflatten(0, (num_steps, batch))
