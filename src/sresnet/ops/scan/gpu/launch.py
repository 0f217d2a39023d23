"""Launches of the Triton kernels: tilings, grids, and the memory that goes from one kernel to the next.

Runs on CUDA, and on the CPU under TRITON_INTERPRET=1 (set before triton is imported). Shapes decide every launch and
nothing is read back, so a whole training step can be captured as a CUDA graph.
"""

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from sresnet.ops.scan.contract import KINDS, Kept, KernelConstants, NormRows, wanted
from sresnet.ops.scan.gpu import kernels
from sresnet.ops.scan.gpu.variant import rows_of, width_of
from sresnet.ops.scan.rows import empty_rows, is_rows

READS_KEPT = True
"""The backward pass takes the resets from the bits, and begins each segment with its potential."""
ADDS_GRADIENTS = True
"""The sum of two gradients is made where they are read."""
VERSION: str = triton.__version__


# Tilings


class _Tiling(NamedTuple):
    """How a kernel is cut into programs and threads."""

    warps: int
    vector: int
    """Channels that a thread loads at once."""


FORWARD, BACKWARD, NORM, UNPACK, STATISTICS = _Tiling(4, 8), _Tiling(4, 2), _Tiling(8, 8), _Tiling(4, 8), _Tiling(8, 8)
ROWS_PER_SUM = 1024
"""Positions that one program of `statistics` adds up."""
PROGRAMS = 2048
"""About how many programs `scan_back` is cut into: several for every multiprocessor, and few partial sums."""
SEGMENT = 16
"""Most time steps of a segment: a word of bits each, and as many potentials in registers in backward."""
EXACT_PLANES = {torch.float32: 2**24, torch.bfloat16: 2**8, torch.float16: 2**11}
"""How far a type counts without rounding."""


def _segments(num_steps: int) -> tuple[int, int]:
    """K and SEGMENTS: equal segments where T has a divisor that gives few of them, else the last is shorter."""
    for length in range(min(SEGMENT, num_steps), SEGMENT // 2, -1):
        if num_steps % length == 0:
            return length, num_steps // length
    number = triton.cdiv(num_steps, SEGMENT)
    return triton.cdiv(num_steps, number), number


def _steps(num_steps: int) -> dict[str, Any]:
    """Constants of the segments."""
    K, number = _segments(num_steps)
    return {"K": K, "SEGMENTS": number, "RAGGED": K * number > num_steps}


def _blocks(M: int, C: int, tiling: _Tiling, num_steps: int = 1) -> tuple[tuple[int, int], dict[str, Any]]:
    """Tiles over positions and channels, and the constants of a kernel."""
    width = width_of(C)
    height = max(1, 32 * tiling.warps * tiling.vector // width)
    whole = M % height == 0 and C % width == 0 and not _steps(num_steps)["RAGGED"]
    sizes = {"BM": height, "BC": width, "VECTOR": min(tiling.vector, width)}
    more = {"C": C, "WHOLE": whole, "num_warps": tiling.warps, "enable_fp_fusion": False}
    return (triton.cdiv(M, height), triton.cdiv(C, width)), more | sizes


# Memory


def _in_rows(tensor: Tensor | None, dtype: torch.dtype, x: Tensor) -> Tensor | None:
    """The tensor, which a kernel reads by its address alone; None for what is not there, or empty: not wanted.

    Raises:
        TypeError: another dtype or device than x has, or values that are not contiguous (of [..., C, H, W], as rows);
            a fault of ours.
    """
    if tensor is None or not tensor.numel():
        return None
    ordered = is_rows(tensor) if tensor.ndim > 3 else tensor.is_contiguous()
    if tensor.dtype != dtype or tensor.device != x.device or not ordered:
        raise TypeError(
            f"the kernel expects {dtype} in rows on {x.device} and got {tensor.dtype} {tuple(tensor.shape)} of strides "
            f"{tensor.stride()} on {tensor.device}"
        )
    return tensor


def _on(x: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Launch on the GPU where x lies."""
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()


def new_kept(x: Tensor, shape: Sequence[int]) -> Kept:
    """See `contract.Engine`; bits are [SEGMENTS, N, H, W, C], a word for each neuron and segment."""
    num_steps, batch, channels, height, width = shape
    K, number = _segments(num_steps)
    word = torch.int8 if K <= 8 else torch.int16
    step = (batch, height, width, channels)
    return Kept(x.new_empty((number, *step), dtype=word), x.new_empty((number - 1, *step), dtype=torch.float32))


# The kernels


class _Scaled(NamedTuple):
    """A norm as y = scale * x + shift, rows as gamma; all None: there is none."""

    scale: Tensor | None = None
    shift: Tensor | None = None
    mean: Tensor | None = None
    per_step: bool = True


def _run_norm(x: Tensor, norm: NormRows, num_steps: int, training: bool, eps: float) -> _Scaled:
    """Statistics of x in training, and what they make of gamma and beta."""
    gamma, beta, mean, var = (_in_rows(row, torch.float32, x) for row in norm)
    if gamma is None:
        return _Scaled()
    X, (M, C), per_step = x.shape[0], rows_of(x.shape, norm=True), gamma.ndim == 2
    (_, width), constants = _blocks(M, C, STATISTICS)
    BM, BC = constants["BM"], constants["BC"]
    sums = triton.cdiv(M, ROWS_PER_SUM)
    part = None
    if training:
        whole = constants["WHOLE"] and M % ROWS_PER_SUM == 0 and ROWS_PER_SUM % BM == 0
        part = x.new_empty((X, sums, C, 2), dtype=torch.float32)
        kernels.statistics[sums, X, width](
            x, part, M, ROWS_PER_SUM, C=C, PER_STEP=per_step, WHOLE=whole, BM=BM, BC=BC,
            num_warps=STATISTICS.warps, enable_fp_fusion=False,
        )  # fmt: skip
    scale, shift = torch.empty_like(gamma), torch.empty_like(gamma)
    summed, values = (sums, M) if per_step else (X * sums, M * X)
    kernels.coefficients[num_steps if per_step else 1, width](
        x, part, gamma, beta, mean, var, scale, shift, M, summed, float(values), eps,
        C=C, TRAINING=training, ONE_STEP=X == 1, BS=32, BC=BC, num_warps=4, enable_fp_fusion=False,
    )  # fmt: skip
    return _Scaled(scale, shift, mean, per_step)


def run_forward(
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
    """See `contract.Engine`."""
    storage, (M, C) = x.dtype, rows_of(x.shape, norm=norm.gamma is not None)
    output, current, v_last = given
    bits, between = wanted(kept.bits), wanted(kept.between)
    grid, tiling = _blocks(M, C, FORWARD, num_steps)
    with _on(x):
        rows = _run_norm(x, norm, num_steps, training, constants.eps)
        kernels.scan[grid](
            _in_rows(x, storage, x),
            rows.scale,
            rows.shift,
            _in_rows(residual_current, storage, x),
            _in_rows(residual_spikes, storage, x),
            _in_rows(v, torch.float32, x),
            learned_leak,
            _in_rows(output, storage, x),
            _in_rows(current, storage, x),
            _in_rows(v_last, torch.float32, x),
            bits,
            between,
            constants.leak,
            constants.threshold,
            num_steps,
            M,
            NEURONS=constants.neurons,
            FIRES_AT=constants.fires_at_threshold,
            TO_ZERO=constants.reset == "zero",
            SCALED=constants.input_scale == "one-minus-leak",
            PER_STEP=rows.per_step,
            ONE_STEP=x.shape[0] < num_steps,
            **_steps(num_steps),
            **tiling,
        )


def run_backward(
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
    programs: int = 0,
) -> None:
    """See `contract.Engine`; about so many programs, or `PROGRAMS`."""
    storage, (M, C), T = x.dtype, rows_of(x.shape, norm=norm.gamma is not None), num_steps
    d_output, d_current, d_v_last, d_again = gradients
    d_x, d_residual_current, d_v, d_gamma, d_beta, d_leak, d_sum = map(wanted, given)
    assert d_x is not None
    gamma, _, _, var = norm
    one_step = x.shape[0] < T
    grid, tiling = _blocks(M, C, BACKWARD, T)
    tiles = max(1, grid[0] * grid[1] // (programs or PROGRAMS))
    tiling["WHOLE"] &= grid[0] % tiles == 0
    grid = triton.cdiv(grid[0], tiles), grid[1]
    d_y = d_residual_current if d_residual_current is not None or one_step else d_x
    d_one = x.new_empty((M, C), dtype=torch.float32) if one_step else None
    if d_v is None and constants.neurons and _segments(T)[1] > 1:
        d_v = x.new_empty((M, C), dtype=torch.float32)
    part = None if gamma is None else x.new_empty((T, grid[0], C, 2), dtype=torch.float32)
    leak_part = None if d_leak is None else x.new_empty(grid, dtype=torch.float32)
    with _on(x):
        rows = _run_norm(x, norm, T, False, constants.eps)
        kernels.scan_back[grid](
            _in_rows(x, storage, x),
            rows.scale,
            rows.shift,
            rows.mean,
            _in_rows(residual_current, storage, x),
            _in_rows(v, torch.float32, x),
            learned_leak,
            wanted(kept.bits),
            wanted(kept.between),
            _in_rows(d_output, storage, x),
            _in_rows(d_again, storage, x),
            _in_rows(d_current, storage, x),
            _in_rows(d_v_last, torch.float32, x),
            _in_rows(d_sum, storage, x),
            _in_rows(d_y, storage, x),
            d_one,
            _in_rows(d_v, torch.float32, x),
            part,
            leak_part,
            constants.leak,
            constants.threshold,
            constants.height,
            1 / (constants.threshold * constants.width),
            constants.center / constants.width,
            T,
            tiles,
            M=M,
            SURROGATE=KINDS.index(constants.surrogate),
            DETACH=constants.detach_reset,
            TO_ZERO=constants.reset == "zero",
            SCALED=constants.input_scale == "one-minus-leak",
            PER_STEP=rows.per_step,
            ONE_STEP=one_step,
            **_steps(T),
            **tiling,
        )
        if d_leak is not None:
            kernels.leak_sum[1,](leak_part, d_leak, grid[0] * grid[1], BS=1024, num_warps=4)
        if gamma is None:
            if d_one is not None:
                d_x.copy_(d_one.view(x.shape[1], *x.shape[3:], x.shape[2]).movedim(-1, -3))
            elif d_residual_current is not None:
                d_x.copy_(d_residual_current)
            return
        assert var is not None
        assert d_gamma is not None
        found = [torch.empty_like(gamma) for _ in range(3)]
        summed, values = (grid[0], M) if rows.per_step else (T * grid[0], M * T)
        kernels.gradient_coefficients[T if rows.per_step else 1, grid[1]](
            part, gamma, var, d_gamma, d_beta, *found, summed, float(values), constants.eps,
            C=C, TRAINING=training, BS=32, BC=tiling["BC"], num_warps=4, enable_fp_fusion=False,
        )  # fmt: skip
        _run_norm_back(x, d_y, d_one, d_x, found, rows, T)


def run_statistics(x: Tensor, norm: NormRows, num_steps: int, constants: KernelConstants) -> None:
    """See `contract.Engine`."""
    with _on(x):
        _run_norm(x, norm, num_steps, True, constants.eps)


def add_through_statistics(d_x: Tensor, x: Tensor, mean: Tensor, slope: Tensor, offset: Tensor, num_steps: int) -> None:
    """See `contract.Engine`."""
    per_step = mean.ndim == 2
    if x.shape[0] < num_steps:
        slope, offset = (each.sum(0) if per_step else each * num_steps for each in (slope, offset))
        mean, per_step = mean[0] if per_step else mean, False
    M, C = rows_of(x.shape, norm=True)
    grid, tiling = _blocks(M, C, NORM)
    with _on(x):
        kernels.norm_back[*grid, x.shape[0]](
            x, d_x, d_x, torch.ones_like(slope), slope, offset, mean, M, PER_STEP=per_step, **tiling
        )


def _run_norm_back(
    x: Tensor,
    d_y: Tensor | None,
    d_one: Tensor | None,
    d_x: Tensor,
    found: Sequence[Tensor],
    rows: _Scaled,
    num_steps: int,
) -> None:
    """Gradient of x from that of y, or, where x is one step, from `d_one`, which is the sum of scale * dy already."""
    scale, slope, offset = found
    mean, per_step = rows.mean, rows.per_step
    if d_one is not None:
        assert mean is not None
        scale = torch.ones_like(scale)
        # The statistics of all steps are the same; in evaluation slope and offset are 0.
        slope, offset = (each.sum(0) if per_step else each * num_steps for each in (slope, offset))
        mean, per_step = mean[0] if per_step else mean, False
    M, C = rows_of(x.shape, norm=True)
    grid, tiling = _blocks(M, C, NORM)
    source = d_y if d_one is None else d_one
    kernels.norm_back[*grid, x.shape[0]](
        x, source, d_x, scale, slope, offset, mean, M, PER_STEP=per_step, **tiling
    )  # fmt: skip


# Spikes as bits


def unpack(planes: Sequence[Tensor], base: Tensor | None, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """See `contract.Engine`."""
    output = empty_rows(planes[0], shape, dtype)
    (M, C), T = rows_of(output.shape, norm=False), shape[0]
    K, number = _segments(T)
    grid, tiling = _blocks(M, C, UNPACK, T)
    with _on(output):
        kernels.unpack[*grid, number](
            tuple(planes),
            _in_rows(base, dtype, output),
            output,
            T,
            M,
            ROUNDS=base is not None or len(planes) > EXACT_PLANES[dtype],
            K=K,
            RAGGED=K * number > T,
            **tiling,
        )
    return output
