"""The C++ kernel of the scan, called: its sizes, and the addresses of what it reads and writes."""

import ctypes
import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sresnet.ops.scan import native
from sresnet.ops.scan.contract import HINTS, INPUT_SCALES, KINDS, RESETS, Kept, KernelConstants, NormRows
from sresnet.ops.scan.rows import empty_rows, is_rows

SOURCE = Path(__file__).with_name("kernel.cpp")
WIDE = {torch.float32: True, torch.bfloat16: False}
"""What the kernel reads and writes activity in; parameters, statistics and potentials are float32."""
STORAGES = (*WIDE, torch.uint8)
"""What it adds spikes up in, by their numbers there."""
READS_KEPT = False
"""The backward pass computes spikes and potentials again."""
ADDS_GRADIENTS = False


# Constants

TYPES: dict[type, type] = {float: ctypes.c_float, str: ctypes.c_int, bool: ctypes.c_bool}


class _Struct(ctypes.Structure):
    """`KernelConstants` as the kernel's `struct Constants`."""

    _fields_ = [
        (name, ctypes.c_double if name == "eps" else TYPES[HINTS[name]]) for name in KernelConstants._fields
    ]  # fmt: skip


def _struct(constants: KernelConstants, learned_leak: Tensor | None) -> _Struct:
    """The constants as the kernel reads them, with the value of the learned leak where there is one."""
    eps, leak, threshold, surrogate, *others, reset, input_scale = constants
    leak = leak if learned_leak is None else learned_leak.item()
    names = RESETS.index(reset), INPUT_SCALES.index(input_scale)
    return _Struct(eps, leak, threshold, KINDS.index(surrogate), *others, *names)


# The kernel


def _library(flags: tuple[str, ...] = native.HOST_FLAGS) -> ctypes.CDLL | None:
    """The compiled kernel with the types of its functions; None where there is none."""
    kernel = native.load(SOURCE, flags)
    if kernel is None:
        return None
    flag, size, memory, constants = ctypes.c_bool, ctypes.c_int64, ctypes.c_void_p, ctypes.POINTER(_Struct)
    shape: list[Any] = [flag, *[size] * 5]
    kernel.scan_forward.argtypes = [*shape, *[memory] * 12, flag, constants]
    kernel.scan_backward.argtypes = [*shape, *[memory] * 16, flag, constants]
    kernel.spikes_unpack.argtypes = [ctypes.c_int, size, size, ctypes.POINTER(memory), size, memory, memory]
    kernel.norm_statistics.argtypes = [*shape, *[memory] * 3]
    kernel.norm_add.argtypes = [*shape, *[memory] * 5]
    for function in (kernel.scan_forward, kernel.scan_backward, kernel.spikes_unpack):
        function.restype = None
    kernel.norm_statistics.restype = kernel.norm_add.restype = None
    kernel.packed_size.argtypes, kernel.packed_size.restype = [size], size
    return kernel


kernel = functools.cache(_library)


def available() -> bool:
    """The kernel is there; compiles it at the first call."""
    return kernel() is not None


# What torch.compiler.assume_constant_result sets; calling it imports the compiler, a second of every start of sresnet.
available._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _sizes(x: Tensor, num_steps: int, gamma: Tensor | None) -> tuple[int, int, int, int, int]:
    """T, X, M, C, G of the kernel's legend."""
    steps, batch, channels, height, width = x.shape
    groups = 0 if gamma is None else 1 if gamma.ndim == 1 else num_steps
    return num_steps, steps, batch * height * width, channels, groups


def _address(tensor: Tensor | None, dtype: torch.dtype) -> int | None:
    """Where its values lie; None for what is not there, or empty: not wanted.

    The kernel sees addresses only, so this is where the memory is checked.

    Raises:
        TypeError: another dtype, memory that is not on a CPU, or values that are not contiguous (of [..., C, H,
            W], as rows); a fault of ours.
    """
    if tensor is None or not tensor.numel():
        return None
    ordered = is_rows(tensor) if tensor.ndim > 3 else tensor.is_contiguous()
    if tensor.dtype != dtype or not tensor.is_cpu or not ordered:
        raise TypeError(
            f"the kernel expects {dtype} in rows and got {tensor.dtype} {tuple(tensor.shape)} of strides "
            f"{tensor.stride()} on {tensor.device}"
        )
    return tensor.data_ptr()


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
    storage = x.dtype
    output, current, v_last = given
    code = kernel()
    assert code is not None
    code.scan_forward(
        WIDE[storage],
        *_sizes(x, num_steps, norm.gamma),
        _address(x, storage),
        *(_address(row, torch.float32) for row in norm),
        _address(residual_current, storage),
        _address(residual_spikes, storage),
        _address(v, torch.float32),
        _address(output, storage),
        _address(current, storage),
        _address(v_last, torch.float32),
        _address(kept.bits, torch.uint8),
        training,
        _struct(constants, learned_leak),
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
) -> None:
    """See `contract.Engine`."""
    storage = x.dtype
    d_output, d_current, d_v_last, _ = gradients
    d_x, d_residual_current, *d_others, _ = given
    code = kernel()
    assert code is not None
    code.scan_backward(
        WIDE[storage],
        *_sizes(x, num_steps, norm.gamma),
        _address(x, storage),
        *(_address(row, torch.float32) for row in norm),
        _address(residual_current, storage),
        _address(v, torch.float32),
        _address(d_output, storage),
        _address(d_current, storage),
        _address(d_v_last, torch.float32),
        _address(d_x, storage),
        _address(d_residual_current, storage),
        *(_address(each, torch.float32) for each in d_others),
        training,
        _struct(constants, learned_leak),
    )


def run_statistics(x: Tensor, norm: NormRows, num_steps: int, constants: KernelConstants) -> None:
    """See `contract.Engine`."""
    code = kernel()
    assert code is not None
    rows = (_address(row, torch.float32) for row in (norm.mean, norm.var))
    code.norm_statistics(WIDE[x.dtype], *_sizes(x, num_steps, norm.gamma), _address(x, x.dtype), *rows)


def add_through_statistics(d_x: Tensor, x: Tensor, mean: Tensor, slope: Tensor, offset: Tensor, num_steps: int) -> None:
    """See `contract.Engine`."""
    code = kernel()
    assert code is not None
    streams = (_address(each, x.dtype) for each in (x, d_x))
    rows = (_address(each, torch.float32) for each in (mean, slope, offset))
    code.norm_add(WIDE[x.dtype], *_sizes(x, num_steps, mean), *streams, *rows)


# Spikes as bits


def new_kept(x: Tensor, shape: Sequence[int]) -> Kept:
    """See `contract.Engine`; bits are uint8 [T, bytes], one bit for each neuron or a few more."""
    code = kernel()
    assert code is not None
    size = code.packed_size(math.prod(shape[1:]))
    return Kept(torch.empty((shape[0], size), dtype=torch.uint8, device=x.device))


def unpack(planes: Sequence[Tensor], base: Tensor | None, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """See `contract.Engine`."""
    output = empty_rows(planes[0], shape, dtype)
    addresses = (ctypes.c_void_p * len(planes))(*(_address(plane, torch.uint8) for plane in planes))
    code = kernel()
    assert code is not None
    code.spikes_unpack(
        STORAGES.index(dtype),
        shape[0],
        math.prod(shape[1:]),
        addresses,
        len(planes),
        _address(base, dtype),
        _address(output, dtype),
    )
    return output
