"""What every engine of the scan is told, what it keeps, and the functions that it has."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, get_args, get_type_hints, runtime_checkable

import torch
from torch import Tensor

from sresnet.ops.neuron import InputScale, LIFConstants, Reset
from sresnet.ops.norm import NormState
from sresnet.ops.surrogate import SURROGATES

# Constants


class KernelConstants(NamedTuple):
    """Numbers of a layer, in the order of the C++ kernel's `struct Constants` and of the operators' arguments."""

    eps: float = 0.0
    leak: float = 1.0
    threshold: float = 1.0
    surrogate: str = "none"
    """A name in `KINDS`; "none": there are no neurons, and the output is the current."""
    height: float = 1.0
    width: float = 1.0
    center: float = 1.0
    fires_at_threshold: bool = False
    detach_reset: bool = True
    reset: str = "subtract"
    input_scale: str = "one"

    @property
    def neurons(self) -> bool:
        """There are some."""
        return self.surrogate != "none"


HINTS = get_type_hints(KernelConstants)
SHAPES = {surrogate: name for name, surrogate in SURROGATES.items()}
KINDS = (*SURROGATES, "none")
"""The kernels' `Surrogate`, in their order; the C++ kernel's other kinds are `Reset` and `InputScale`, in theirs."""
RESETS, INPUT_SCALES = get_args(Reset), get_args(InputScale)


LATER = [field for field in dataclasses.fields(LIFConstants) if field.name not in KernelConstants._fields]
"""Constants of neurons that no kernel knows: they compute layers that have their defaults."""


def lacks(neuron: LIFConstants) -> list[str]:
    """What the kernels do not know of neurons with these constants, in words."""
    unknown = [] if type(neuron.surrogate) in SHAPES else [f"surrogate {type(neuron.surrogate).__name__}"]
    values = {each.name: getattr(neuron, each.name) for each in LATER if getattr(neuron, each.name) != each.default}
    return unknown + [f"{name} {value!r}" for name, value in values.items()]


def supports(neuron: LIFConstants) -> bool:
    """The kernels compute neurons with these constants."""
    return not lacks(neuron)


def kernel_constants(norm: NormState | None, neuron: LIFConstants | None) -> KernelConstants:
    """What a kernel is told of a norm and of neurons that it `supports`; a learned leak is put in later."""
    eps = norm.eps if norm else 0.0
    if neuron is None:
        return KernelConstants(eps)
    surrogate: Any = neuron.surrogate
    return KernelConstants(
        eps=eps,
        leak=neuron.fixed_leak,
        threshold=neuron.threshold,
        surrogate=SHAPES[type(surrogate)],
        height=surrogate.height,
        width=surrogate.width,
        center=surrogate.center,
        fires_at_threshold=neuron.fires_at_threshold,
        detach_reset=neuron.detach_reset,
        reset=neuron.reset,
        input_scale=neuron.input_scale,
    )


# Tensors


class NormRows(NamedTuple):
    """Rows [T, C] or [C] of a layer's norm, without gaps; all None: there is none."""

    gamma: Tensor | None
    beta: Tensor | None
    mean: Tensor | None
    """Mean and variance are read in evaluation, and written in training."""
    var: Tensor | None


class Kept(NamedTuple):
    """What the forward pass leaves of the neurons for a backward pass, in the engine's own order; None: not wanted."""

    bits: Tensor | None = None
    """The spikes, one bit for each neuron and step."""
    between: Tensor | None = None
    """float32 potentials at some of the steps, where the engine needs them."""


def wanted(tensor: Tensor | None) -> Tensor | None:
    """The tensor; None where it is empty, as the operators have to say it."""
    return tensor if tensor is not None and tensor.numel() else None


@runtime_checkable
class Engine(Protocol):
    """The functions of `cpu.py` and `gpu/launch.py`.

    Streams are [T, N, C, H, W] in rows (`rows.py`), of one dtype; potentials, rows of the norm and the leak are
    float32. None or an empty tensor: there is no such input, or no such output is wanted.
    """

    READS_KEPT: bool
    """The backward pass needs what `new_kept` made; else it computes spikes and potentials again."""
    ADDS_GRADIENTS: bool
    """The backward pass adds the two gradients of an output that went two ways; else the caller does."""

    def new_kept(self, x: Tensor, shape: Sequence[int]) -> Kept:
        """Memory, where x lies, for what the spikes [T, N, C, H, W] of a layer leave."""
        ...

    def run_forward(
        self,
        x: Tensor,
        norm: NormRows,
        residual_current: Tensor | None,
        residual_spikes: Tensor | None,
        v: Tensor | None,
        learned_leak: Tensor | None,
        given: Sequence[Tensor | None],
        kept: Kept,
        num_steps: int,
        training: bool,
        constants: KernelConstants,
    ) -> None:
        """`bntt_lif` of x, of all steps or of one.

        Args:
            x, norm, residual_current, residual_spikes, v, num_steps, training, constants: see `bntt_lif`.
            learned_leak: takes the place of the constant.
            given: memory for output, current and the last v.
            kept: memory for what is kept.
        """
        ...

    def run_backward(
        self,
        gradients: Sequence[Tensor | None],
        x: Tensor,
        norm: NormRows,
        residual_current: Tensor | None,
        v: Tensor | None,
        learned_leak: Tensor | None,
        given: Sequence[Tensor | None],
        kept: Kept,
        num_steps: int,
        training: bool,
        constants: KernelConstants,
    ) -> None:
        """The gradient of `run_forward`.

        Args:
            gradients: of output, current and the last v, in rows; None is zero. A fourth is of the output too, where it
                went two ways: only for an engine that `ADDS_GRADIENTS`.
            x, norm, residual_current, v, learned_leak, kept, num_steps, training, constants: as there.
            given: memory for the gradients of x, residual_current, v, gamma, beta and leak, and for the sum of the two
                gradients of the output, where there are two.
        """
        ...

    def run_statistics(self, x: Tensor, norm: NormRows, num_steps: int, constants: KernelConstants) -> None:
        """Write mean and variance of the images here, as `run_forward` does in training, and nothing else."""
        ...

    def add_through_statistics(
        self, d_x: Tensor, x: Tensor, mean: Tensor, slope: Tensor, offset: Tensor, num_steps: int
    ) -> None:
        """Add to the gradient that `run_backward` gave as in evaluation what goes through mean and variance.

            d_x += slope (x - mean) + offset,   summed over all steps where x is one

        Args:
            d_x, x: [T or 1, N, C, H, W] in rows.
            mean, slope, offset: rows of the norm, see `gradient_through_statistics`.
        """
        ...

    def unpack(self, planes: Sequence[Tensor], base: Tensor | None, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Spikes of several layers, and `base` in rows, added up in this order: [T, N, C, H, W] of this dtype."""
        ...
