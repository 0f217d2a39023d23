"""The native op on the CPU: two operators of torch.library around `kernel.cpp`, and their gradient.

Inside, tensors are rows [T, N, H, W, C], channels last; seen from outside they are [T, N, C, H, W] views of them.
"""

import ctypes
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sresnet.ops import native
from sresnet.ops.surrogate import SURROGATES, Surrogate

SOURCE = Path(__file__).with_name("kernel.cpp")
SHAPES = {surrogate: name for name, surrogate in SURROGATES.items()}
WIDE = {torch.float32: True, torch.bfloat16: False}
"""What the kernel reads and writes activity in; parameters, statistics and potentials are float32."""
KINDS = [*SURROGATES, "none"]  # the kernel's enum Surrogate; none: no neurons, the output is the current
NO_NEURONS = ("none", 1.0, 1.0, 1.0)

LIBRARY = torch.library.Library("sresnet", "FRAGMENT")
LIBRARY.define(
    "bntt_lif(Tensor x, Tensor? gamma, Tensor? beta, Tensor? mean, Tensor? var, Tensor? charge, Tensor? added, "
    "Tensor? v, Tensor? learned_leak, SymInt num_steps, bool training, float eps, float leak, float threshold, "
    "str surrogate, float height, float width, float center, bool fires_at_threshold, bool detach_reset, "
    "bool need_current) -> (Tensor output, Tensor current, Tensor v_last, Tensor mean, Tensor var)"
)
LIBRARY.define(
    "bntt_lif_backward(Tensor? grad_output, Tensor? grad_current, Tensor? grad_v_last, Tensor x, Tensor? gamma, "
    "Tensor? beta, Tensor mean, Tensor var, Tensor? charge, Tensor? v, Tensor? learned_leak, SymInt num_steps, "
    "bool training, float eps, float leak, float threshold, str surrogate, float height, float width, float center, "
    "bool fires_at_threshold, bool detach_reset, bool charge_too) "
    "-> (Tensor x, Tensor gamma, Tensor beta, Tensor charge, Tensor v, Tensor leak)"
)


# The kernel


def library(flags: tuple[str, ...] = native.HOST_FLAGS) -> ctypes.CDLL | None:
    """The compiled kernel with the types of its functions; None where there is none."""
    kernel = native.load(SOURCE, flags)
    if kernel is None:
        return None
    flag, size, memory, real = ctypes.c_bool, ctypes.c_int64, ctypes.c_void_p, ctypes.c_float
    shape: list[Any] = [flag, *[size] * 5]
    constants: list[Any] = [flag, ctypes.c_double, real, real, flag]
    kernel.bntt_lif_forward.argtypes = [*shape, *[memory] * 12, *constants, ctypes.c_int]
    kernel.bntt_lif_backward.argtypes = [*shape, *[memory] * 16, *constants, flag, ctypes.c_int, real, real, real]
    kernel.spikes_unpack.argtypes = [ctypes.c_int, size, size, ctypes.POINTER(memory), size, memory, memory]
    kernel.bntt_lif_forward.restype = kernel.bntt_lif_backward.restype = kernel.spikes_unpack.restype = None
    kernel.packed_size.argtypes, kernel.packed_size.restype = [size], size
    return kernel


kernel = functools.cache(library)


def available() -> bool:
    """The kernel is there; compiles it at the first call."""
    return kernel() is not None


# What torch.compiler.assume_constant_result sets; calling it imports the compiler, a second of every start of sresnet.
available._dynamo_marked_constant = True  # type: ignore[attr-defined]


def runs(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    leak: float | Tensor,
    v: Tensor | None,
    charge: Tensor | None = None,
    added: Tensor | None = None,
) -> bool:
    """These arguments of `bntt_lif` are for the kernel."""
    activity = [x, charge, added]
    others = [gamma, beta, running_mean, running_var, v, leak if isinstance(leak, Tensor) else None]
    return (
        all(each is None or (each.dtype in WIDE and each.device.type == "cpu") for each in activity)
        and all(other is None or (other.dtype == torch.float32 and other.device.type == "cpu") for other in others)
        and not (isinstance(leak, Tensor) and leak.ndim > 0)
        and x.numel() > 0
        and available()
    )


# Layout


def is_rows(x: Tensor) -> bool:
    """The memory of x [..., C, H, W] is rows [..., H, W, C]."""
    return x.movedim(-3, -1).is_contiguous()


def rows(x: Tensor) -> Tensor:
    """X [..., C, H, W] as contiguous rows [..., H, W, C]: a view where it is laid out so, else a copy."""
    return x.movedim(-3, -1).contiguous()


def as_rows(x: Tensor, dtype: torch.dtype) -> Tensor:
    """X in this dtype and with channels last in memory; x itself where it is so already."""
    x = x.to(dtype)
    return x if is_rows(x) else rows(x).movedim(-1, -3)


def empty_rows(x: Tensor, *before: int, dtype: torch.dtype | None = None) -> Tensor:
    """Uninitialised [*before, C, H, W] with channels last in memory."""
    channels, height, width = x.shape[-3:]
    return x.new_empty((*before, height, width, channels), dtype=dtype).movedim(-1, -3)


# The operators


def sizes(x: Tensor, num_steps: int, gamma: Tensor | None) -> tuple[int, int, int, int, int]:
    """T, X, M, C, G of the kernel's legend."""
    steps, batch, channels, height, width = x.shape
    groups = 0 if gamma is None else 1 if gamma.ndim == 1 else num_steps
    return num_steps, steps, batch * height * width, channels, groups


def forward_outputs(
    x: Tensor, gamma: Tensor | None, num_steps: int, neurons: bool, need_current: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Memory for what `forward` gives; what is not wanted is empty."""
    batch = x.shape[1]
    statistics = (0,) if gamma is None else gamma.shape
    return (
        empty_rows(x, num_steps, batch),
        empty_rows(x, num_steps, batch) if need_current else x.new_empty(0),
        empty_rows(x, batch, dtype=torch.float32) if neurons else x.new_empty(0, dtype=torch.float32),
        x.new_empty(statistics, dtype=torch.float32),
        x.new_empty(statistics, dtype=torch.float32),
    )


class Constants(NamedTuple):
    """Numbers of a layer, in the order of the operators' arguments."""

    eps: float
    leak: float
    threshold: float
    surrogate: str
    height: float
    width: float
    center: float
    fires_at_threshold: bool
    detach_reset: bool


def pointers(dtype: torch.dtype, *tensors: Tensor | None) -> list[int | None]:
    """Where they lie; None for what is not there, or empty: not wanted.

    The kernel sees addresses only, so this is where it is made sure of what lies there.

    Raises:
        TypeError: another dtype, memory that is no CPU's, or values that do not lie one after the other (of [..., C, H,
            W], as rows); a fault of ours.
    """
    wanted = [None if tensor is None or not tensor.numel() else tensor for tensor in tensors]
    for tensor in wanted:
        if tensor is not None and (
            tensor.dtype != dtype
            or tensor.device.type != "cpu"
            or not (is_rows(tensor) if tensor.ndim > 3 else tensor.is_contiguous())
        ):
            raise TypeError(
                f"the kernel expects {dtype} in rows and got {tensor.dtype} {tuple(tensor.shape)} of strides "
                f"{tensor.stride()} on {tensor.device}"
            )
    return [None if tensor is None else tensor.data_ptr() for tensor in wanted]


def in_rows(*streams: Tensor | None) -> list[Tensor | None]:
    """Each with channels last in memory; the caller must hold them while the kernel runs."""
    return [stream if stream is None else as_rows(stream, stream.dtype) for stream in streams]


def run_forward(
    x: Tensor,
    norm: Sequence[Tensor | None],
    charge: Tensor | None,
    added: Tensor | None,
    v: Tensor | None,
    given: Sequence[Tensor | None],
    num_steps: int,
    training: bool,
    constants: Constants,
    packed: Tensor | None = None,
) -> None:
    """Call the kernel.

    Args:
        x, charge, added, v: as `bntt_lif`.
        norm: gamma, beta, and mean and variance, which are read in evaluation and written in training.
        given: memory for output, current and the last v; what is None or empty is not wanted.
        num_steps, training, constants: see `bntt_lif`.
        packed: memory for the spikes as bits, see `packed_spikes`.
    """
    storage, (gamma, beta, *statistics) = x.dtype, norm
    output, current, v_last = given
    x, charge, added, v = in_rows(x, charge, added, v)  # type: ignore[assignment]
    parameters = [each if each is None else each.contiguous() for each in (gamma, beta)]
    if not training:
        statistics = [each if each is None else each.contiguous() for each in statistics]
    code = kernel()
    assert code is not None
    code.bntt_lif_forward(
        WIDE[storage],
        *sizes(x, num_steps, gamma),
        *pointers(storage, x),
        *pointers(torch.float32, *parameters, *statistics),
        *pointers(storage, charge, added),
        *pointers(torch.float32, v),
        *pointers(storage, output, current),
        *pointers(torch.float32, v_last),
        *pointers(torch.uint8, packed),
        training,
        constants.eps,
        constants.leak,
        constants.threshold,
        constants.fires_at_threshold,
        KINDS.index(constants.surrogate),
    )


def packed_spikes(like: Tensor, num_steps: int, batch: int) -> Tensor:
    """Memory for the spikes of a layer as bits: uint8 [T, bytes], a bit for each neuron of [N, C, H, W] or a few more.

    The order of the bits is the kernel's affair; `like` has the shape [C, H, W].
    """
    code = kernel()
    assert code is not None
    return like.new_empty((num_steps, code.packed_size(batch * like.numel())), dtype=torch.uint8)


def unpack(planes: Sequence[Tensor], base: Tensor | None, like: Tensor, num_steps: int, batch: int) -> Tensor:
    """Spikes of several layers, and `base`, added up in this order: [T, N, C, H, W] in the type of `like` [C, H, W]."""
    output = empty_rows(like, num_steps, batch)
    (base,) = in_rows(base)
    addresses = (ctypes.c_void_p * len(planes))(*pointers(torch.uint8, *planes))
    code = kernel()
    assert code is not None
    kind = (*WIDE, torch.uint8).index(like.dtype)
    places = pointers(like.dtype, base, output)
    code.spikes_unpack(kind, num_steps, batch * like.numel(), addresses, len(planes), *places)
    return output


def forward(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    charge: Tensor | None,
    added: Tensor | None,
    v: Tensor | None,
    learned_leak: Tensor | None,
    num_steps: int,
    training: bool,
    *numbers: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Output, current, the last v, and the mean and variance that were used; nothing is changed in place."""
    constants, need_current = with_leak(Constants(*numbers[:-1]), learned_leak), numbers[-1]
    given = forward_outputs(x, gamma, num_steps, constants.surrogate != "none", need_current)
    mean, var = given[3:]
    if not training and running_mean is not None and running_var is not None:
        mean.copy_(running_mean)
        var.copy_(running_var)
    run_forward(x, (gamma, beta, mean, var), charge, added, v, given[:3], num_steps, training, constants)
    return given


def with_leak(constants: Constants, learned_leak: Tensor | None) -> Constants:
    """The constants with the value of the learned leak, where there is one."""
    return constants if learned_leak is None else constants._replace(leak=learned_leak.item())


def backward_outputs(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    v: Tensor | None,
    learned_leak: Tensor | None,
    num_steps: int,
    charge_too: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Memory for what `backward` gives; what is not wanted is empty."""
    steps, batch = x.shape[:2]
    nothing = (0,)
    return (
        empty_rows(x, steps, batch),
        x.new_empty(nothing if gamma is None else gamma.shape, dtype=torch.float32),
        x.new_empty(nothing if beta is None else beta.shape, dtype=torch.float32),
        empty_rows(x, num_steps, batch) if charge_too else x.new_empty(nothing),
        x.new_empty(nothing, dtype=torch.float32) if v is None else empty_rows(x, batch, dtype=torch.float32),
        x.new_empty(nothing if learned_leak is None else (), dtype=torch.float32),
    )


def run_backward(
    gradients: Sequence[Tensor | None],
    x: Tensor,
    norm: Sequence[Tensor | None],
    charge: Tensor | None,
    v: Tensor | None,
    given: Sequence[Tensor | None],
    num_steps: int,
    training: bool,
    constants: Constants,
) -> None:
    """Call the kernel's gradient.

    Args:
        gradients: of output, current and the last v; None is zero.
        x, norm, charge, v, num_steps, training, constants: as `run_forward`.
        given: memory for the gradients of x, charge, v, gamma, beta and leak; what is None or empty is not wanted.
    """
    storage, (d_x, d_charge, *d_others) = x.dtype, given
    x, charge, v, d_output, d_current, d_v_last = in_rows(x, charge, v, *gradients)  # type: ignore[assignment]
    numbers = [each if each is None else each.contiguous() for each in norm]
    code = kernel()
    assert code is not None
    code.bntt_lif_backward(
        WIDE[storage],
        *sizes(x, num_steps, norm[0]),
        *pointers(storage, x),
        *pointers(torch.float32, *numbers),
        *pointers(storage, charge),
        *pointers(torch.float32, v),
        *pointers(storage, d_output, d_current),
        *pointers(torch.float32, d_v_last),
        *pointers(storage, d_x, d_charge),
        *pointers(torch.float32, *d_others),
        training,
        constants.eps,
        constants.leak,
        constants.threshold,
        constants.fires_at_threshold,
        constants.detach_reset,
        KINDS.index(constants.surrogate),
        constants.height,
        constants.width,
        constants.center,
    )


def backward(
    grad_output: Tensor | None,
    grad_current: Tensor | None,
    grad_v_last: Tensor | None,
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    mean: Tensor,
    var: Tensor,
    charge: Tensor | None,
    v: Tensor | None,
    learned_leak: Tensor | None,
    num_steps: int,
    training: bool,
    *numbers: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, gamma, beta, charge (with `charge_too`), v and the learned leak."""
    constants, charge_too = with_leak(Constants(*numbers[:-1]), learned_leak), numbers[-1]
    given = backward_outputs(x, gamma, beta, v, learned_leak, num_steps, charge_too)
    grad_x, grad_gamma, grad_beta, grad_charge, grad_v, grad_leak = given
    run_backward(
        (grad_output, grad_current, grad_v_last),
        x,
        (gamma, beta, mean, var),
        charge,
        v,
        (grad_x, grad_charge, grad_v, grad_gamma, grad_beta, grad_leak),
        num_steps,
        training,
        constants,
    )
    return given


def fake_forward(x: Tensor, gamma: Tensor | None, *others: Any) -> tuple[Tensor, ...]:
    """Shapes, dtypes and strides of `forward`."""
    num_steps, surrogate, need_current = others[7], others[12], others[-1]
    return forward_outputs(x, gamma, num_steps, surrogate != "none", need_current)


def fake_backward(*inputs: Any) -> tuple[Tensor, ...]:
    """Shapes, dtypes and strides of `backward`."""
    x, gamma, beta = inputs[3:6]
    v, learned_leak, num_steps = inputs[9:12]
    return backward_outputs(x, gamma, beta, v, learned_leak, num_steps, inputs[-1])


def keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """What the backward pass needs: of full size only x and charge."""
    x, gamma, beta, _, _, charge, _, v, learned_leak, num_steps, *constants, _ = inputs
    ctx.save_for_backward(x, gamma, beta, *output[3:], charge, v, learned_leak)
    ctx.constants = num_steps, *constants
    ctx.set_materialize_grads(False)


def differentiate(ctx: Any, output: Tensor | None, current: Tensor | None, v_last: Tensor | None, *_: Any) -> Any:
    """Gradients of the inputs of `forward`, in their order."""
    wanted = ctx.needs_input_grad
    gradients: list[Tensor | None] = [None] * len(wanted)
    if output is None and current is None and v_last is None:
        return tuple(gradients)
    x, gamma, beta, charge, v, leak = BACKWARD(output, current, v_last, *ctx.saved_tensors, *ctx.constants, wanted[5])
    for i, gradient in enumerate((x, gamma, beta, None, None, charge, output, v, leak)):
        gradients[i] = gradient if wanted[i] else None
    return tuple(gradients)


LIBRARY.impl("bntt_lif", forward, "CPU")
LIBRARY.impl("bntt_lif_backward", backward, "CPU")
torch.library.register_fake("sresnet::bntt_lif", fake_forward, lib=LIBRARY)
torch.library.register_fake("sresnet::bntt_lif_backward", fake_backward, lib=LIBRARY)
torch.library.register_autograd("sresnet::bntt_lif", differentiate, setup_context=keep, lib=LIBRARY)
FORWARD, BACKWARD = torch.ops.sresnet.bntt_lif.default, torch.ops.sresnet.bntt_lif_backward.default


class Eager(torch.autograd.Function):
    """The same as calling the operator; what `register_autograd` puts around it costs up to 0.2 ms a call."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        output = FORWARD(*inputs)
        keep(ctx, inputs, output)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        return differentiate(ctx, *gradients)


# The call


def described(surrogate: Surrogate) -> tuple[str, float, float, float]:
    """A surrogate as the operators take it."""
    return SHAPES[type(surrogate)], surrogate.height, surrogate.width, surrogate.center


def bntt_lif_cpu(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    *,
    num_steps: int,
    training: bool,
    momentum: float,
    eps: float,
    leak: float | Tensor,
    threshold: float,
    surrogate: Surrogate | None,
    fires_at_threshold: bool,
    detach_reset: bool,
    charge: Tensor | None,
    added: Tensor | None,
    v: Tensor | None,
    need_current: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """`bntt_lif` of checked arguments that the kernel `runs`; x holds one step or num_steps.

    Without a surrogate there are no neurons and the output is the current.
    """
    learned = leak if isinstance(leak, Tensor) else None
    call = Eager.apply if torch.is_grad_enabled() and not torch.compiler.is_compiling() else FORWARD
    output, current, v_last, mean, var = call(
        as_rows(x, x.dtype),
        gamma,
        beta,
        running_mean,
        running_var,
        None if charge is None else as_rows(charge, x.dtype),
        None if added is None else as_rows(added, x.dtype),
        v,
        learned,
        num_steps,
        training,
        eps,
        1.0 if isinstance(leak, Tensor) else leak,
        threshold,
        *(NO_NEURONS if surrogate is None else described(surrogate)),
        fires_at_threshold,
        detach_reset,
        need_current,
    )
    if training and running_mean is not None and running_var is not None:
        values = x.shape[1] * x.shape[3] * x.shape[4] * (num_steps if running_mean.ndim == 1 else 1)
        update_averages(running_mean, running_var, mean, var, momentum, values)
    return output, current, v_last


def update_averages(
    running_mean: Tensor, running_var: Tensor, mean: Tensor, var: Tensor, momentum: float, values: int
) -> None:
    """Move the running averages towards a batch of so many values, of which `var` is the biased variance."""
    with torch.no_grad():
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(var * (values / (values - 1)), momentum)
