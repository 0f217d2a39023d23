"""What decides which machine code a layer runs on a GPU, and whether that code passed its comparison.

Nothing here imports triton.
"""

import math
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from sresnet.ops.dispatch import triton_chosen
from sresnet.ops.neuron import LIFConstants
from sresnet.ops.norm import NormState
from sresnet.ops.scan.contract import kernel_constants

WIDEST = 64
"""Most channels of a tile."""
LARGEST_TILE, SMALLEST_TILE = 2048, 256
"""Values of a tile: of that of any kernel, which divides the largest, and of that of the backward scan."""


def rows_of(shape: Sequence[int], *, norm: bool) -> tuple[int, int]:
    """M and C of a layer [X, N, C, H, W] as kernels are told them: positions and channels.

    Where no norm tells channels apart, C is what divides a step into full tiles, whatever the axes are.
    """
    values = math.prod(shape[1:])
    C = shape[2] if norm else math.gcd(values, WIDEST)
    return values // C, C


def width_of(C: int) -> int:
    """Channels of a tile, a power of two."""
    return min(WIDEST, 1 << (C - 1).bit_length())


class Variant(NamedTuple):
    """All that decides which machine code a layer runs, but for the number of its positions."""

    storage: str
    num_steps: int
    one_step: bool
    channels: int
    whole: bool
    """Positions and channels of a step fill tiles of every kernel."""
    norm: str
    """per-step, over-time or none."""
    beta: bool
    training: bool
    learned_leak: bool
    residual_current: bool
    residual_spikes: bool
    v: bool
    return_current: bool
    learns: bool
    """With its backward pass."""
    surrogate: str
    fires_at_threshold: bool
    detach_reset: bool
    reset: str
    input_scale: str
    two_ways: bool = False
    """Its output may go two ways, whose gradients the backward pass adds."""

    def words(self) -> str:
        """One line, by which it is remembered and reported."""
        return " ".join(f"{name}={value}" for name, value in self._asdict().items())


def variant_of(
    shape: Sequence[int],
    norm: NormState | None,
    neuron: LIFConstants | None,
    given: Sequence[bool],
    num_steps: int,
    storage: torch.dtype,
    two_ways: bool = False,
) -> Variant:
    """The variant of a layer whose activity has this shape [X, N, C, H, W].

    `given` tells of residual_current, residual_spikes, v and return_current whether they are wanted.
    """
    constants = kernel_constants(norm, neuron)
    residual_current, residual_spikes, v, return_current = given
    M, C = rows_of(shape, norm=norm is not None)
    return Variant(
        storage=str(storage).removeprefix("torch."),
        num_steps=num_steps,
        one_step=shape[0] == 1 < num_steps,
        channels=C,
        whole=C % width_of(C) == 0 and M % (LARGEST_TILE // width_of(C)) == 0,
        norm="none" if norm is None else "per-step" if norm.per_step else "over-time",
        beta=norm is not None and norm.beta is not None,
        training=norm is not None and norm.training,
        learned_leak=neuron is not None and neuron.learned_leak is not None,
        residual_current=residual_current,
        residual_spikes=residual_spikes,
        v=v,
        return_current=return_current,
        learns=torch.is_grad_enabled(),
        surrogate=constants.surrogate,
        fires_at_threshold=constants.fires_at_threshold,
        detach_reset=constants.detach_reset,
        reset=constants.reset,
        input_scale=constants.input_scale,
        two_ways=two_ways,
    )


_known: dict[tuple[Variant, torch.device], bool] = {}
_comparing = threading.RLock()


def passes(values: tuple[Any, ...], device: torch.device) -> bool:
    """The kernels give what the reference gives; compared at the first call for a variant, a GPU and a version.

    Where they do not, or do not compile, a line on stderr says what to report, once per process. Under "triton" they
    are used whatever they give.

    Args:
        values: of the variant; torch.compile can hand on a plain tuple.
        device: where the layer is computed.
    """
    if triton_chosen():
        return True
    variant = Variant(*values)
    found = _known.get((variant, device))
    if found is None:
        with _comparing:
            from sresnet.ops.scan.gpu import check

            found = _known[variant, device] = check.compare(variant, device, first=False not in _known.values())
    return found


# What torch.compiler.assume_constant_result sets, see `cpu.available`.
passes._dynamo_marked_constant = True  # type: ignore[attr-defined]
