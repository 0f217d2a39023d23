"""The C++ kernel of the scan, called: its constants, its sizes, and the addresses of what it reads and writes."""

import ctypes
import dataclasses
import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints

import torch
from torch import Tensor

from sresnet.ops.neuron import InputScale, LIFConstants, Reset
from sresnet.ops.norm import NormState
from sresnet.ops.scan import native
from sresnet.ops.scan.rows import empty_rows, is_rows
from sresnet.ops.surrogate import SURROGATES

SOURCE = Path(__file__).with_name("kernel.cpp")
WIDE = {torch.float32: True, torch.bfloat16: False}
"""What the kernel reads and writes activity in; parameters, statistics and potentials are float32."""
STORAGES = (*WIDE, torch.uint8)
"""What it adds spikes up in, by their numbers there."""


# Constants


class KernelConstants(NamedTuple):
    """Numbers of a layer, in the order of the kernel's `struct Constants` and of the operators' arguments."""

    eps: float = 0.0
    leak: float = 1.0
    threshold: float = 1.0
    surrogate: str = "none"
    """A name in `SHAPES`; "none": there are no neurons, and the output is the current."""
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


SHAPES = {surrogate: name for name, surrogate in SURROGATES.items()}
KINDS = (*SURROGATES, "none")
"""The kernel's `enum Surrogate`; its others are `Reset` and `InputScale`, in their order."""
RESETS, INPUT_SCALES = get_args(Reset), get_args(InputScale)
TYPES: dict[type, type] = {float: ctypes.c_float, str: ctypes.c_int, bool: ctypes.c_bool}
HINTS = get_type_hints(KernelConstants)


class _Struct(ctypes.Structure):
    """`KernelConstants` as the kernel's `struct Constants`."""

    _fields_ = [
        (name, ctypes.c_double if name == "eps" else TYPES[HINTS[name]]) for name in KernelConstants._fields
    ]  # fmt: skip


def _struct(constants: KernelConstants) -> _Struct:
    """The constants as the kernel reads them."""
    eps, leak, threshold, surrogate, *others, reset, input_scale = constants
    names = RESETS.index(reset), INPUT_SCALES.index(input_scale)
    return _Struct(eps, leak, threshold, KINDS.index(surrogate), *others, *names)


LATER = [field for field in dataclasses.fields(LIFConstants) if field.name not in KernelConstants._fields]
"""Constants of neurons that this kernel does not know: it computes layers that have their defaults."""


def lacks(neuron: LIFConstants) -> list[str]:
    """What the kernel does not know of neurons with these constants, in words."""
    unknown = [] if type(neuron.surrogate) in SHAPES else [f"surrogate {type(neuron.surrogate).__name__}"]
    values = {each.name: getattr(neuron, each.name) for each in LATER if getattr(neuron, each.name) != each.default}
    return unknown + [f"{name} {value!r}" for name, value in values.items()]


def supports(neuron: LIFConstants) -> bool:
    """The kernel computes neurons with these constants."""
    return not lacks(neuron)


def kernel_constants(norm: NormState | None, neuron: LIFConstants | None) -> KernelConstants:
    """What the kernel is told of a norm and of neurons that it `supports`; a learned leak is put in later."""
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


def with_leak(constants: KernelConstants, learned_leak: Tensor | None) -> KernelConstants:
    """The constants with the value of the learned leak, where there is one."""
    return constants if learned_leak is None else constants._replace(leak=learned_leak.item())


# The kernel


def library(flags: tuple[str, ...] = native.HOST_FLAGS) -> ctypes.CDLL | None:
    """The compiled kernel with the types of its functions; None where there is none."""
    kernel = native.load(SOURCE, flags)
    if kernel is None:
        return None
    flag, size, memory, constants = ctypes.c_bool, ctypes.c_int64, ctypes.c_void_p, ctypes.POINTER(_Struct)
    shape: list[Any] = [flag, *[size] * 5]
    kernel.scan_forward.argtypes = [*shape, *[memory] * 12, flag, constants]
    kernel.scan_backward.argtypes = [*shape, *[memory] * 16, flag, constants]
    kernel.spikes_unpack.argtypes = [ctypes.c_int, size, size, ctypes.POINTER(memory), size, memory, memory]
    kernel.scan_forward.restype = kernel.scan_backward.restype = kernel.spikes_unpack.restype = None
    kernel.packed_size.argtypes, kernel.packed_size.restype = [size], size
    return kernel


kernel = functools.cache(library)


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


class NormRows(NamedTuple):
    """Rows [T, C] or [C] of a layer's norm; all None: there is none."""

    gamma: Tensor | None
    beta: Tensor | None
    mean: Tensor | None
    """Mean and variance are read in evaluation, and written in training."""
    var: Tensor | None


def run_forward(
    x: Tensor,
    norm: NormRows,
    residual_current: Tensor | None,
    residual_spikes: Tensor | None,
    v: Tensor | None,
    given: Sequence[Tensor | None],
    num_steps: int,
    training: bool,
    constants: KernelConstants,
    packed: Tensor | None = None,
) -> None:
    """Call the kernel.

    Args:
        x, residual_current, residual_spikes, v: as `bntt_lif`, in rows.
        norm: see `NormRows`; without gaps.
        given: memory for output, current and the last v; what is None or empty is not wanted.
        num_steps, training, constants: see `bntt_lif`.
        packed: memory for the spikes as bits, see `packed_spikes`.
    """
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
        _address(packed, torch.uint8),
        training,
        _struct(constants),
    )


def run_backward(
    gradients: Sequence[Tensor | None],
    x: Tensor,
    norm: NormRows,
    residual_current: Tensor | None,
    v: Tensor | None,
    given: Sequence[Tensor | None],
    num_steps: int,
    training: bool,
    constants: KernelConstants,
) -> None:
    """Call the kernel's gradient.

    Args:
        gradients: of output, current and the last v, in rows; None is zero.
        x, norm, residual_current, v, num_steps, training, constants: as `run_forward`.
        given: memory for the gradients of x, residual_current, v, gamma, beta and leak; what is None or empty is not
            wanted.
    """
    storage = x.dtype
    d_output, d_current, d_v_last = gradients
    d_x, d_residual_current, *d_others = given
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
        _struct(constants),
    )


# Spikes as bits


def packed_spikes(shape: Sequence[int]) -> Tensor:
    """Memory for the spikes [T, N, C, H, W] of a layer as bits: uint8 [T, bytes], one for each neuron or a few more.

    The order of the bits is the kernel's affair.
    """
    code = kernel()
    assert code is not None
    return torch.empty((shape[0], code.packed_size(math.prod(shape[1:]))), dtype=torch.uint8, device="cpu")


def unpack(planes: Sequence[Tensor], base: Tensor | None, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Spikes of several layers, and `base` in rows, added up in this order: [T, N, C, H, W] of this shape and dtype."""
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
