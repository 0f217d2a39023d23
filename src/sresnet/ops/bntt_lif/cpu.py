"""The native op on the CPU: two operators of torch.library around `kernel.cpp`, and their gradient.

Inside, tensors are rows [T, N, H, W, C], channels last; seen from outside they are [T, N, C, H, W] views of them.
"""

import ctypes
import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sresnet.ops import native
from sresnet.ops.surrogate import SURROGATES, Surrogate

SOURCE = Path(__file__).with_name("kernel.cpp")
SHAPES = {surrogate: name for name, surrogate in SURROGATES.items()}
KINDS = [*SURROGATES, "none"]  # the kernel's enum Surrogate; none: no neurons, the output is the current

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
    kernel.bntt_lif_forward.argtypes = [*shape, *[memory] * 11, *constants, ctypes.c_int]
    kernel.bntt_lif_backward.argtypes = [*shape, *[memory] * 16, *constants, flag, ctypes.c_int, real, real, real]
    kernel.bntt_lif_forward.restype = kernel.bntt_lif_backward.restype = None
    return kernel


kernel = functools.cache(library)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def available() -> bool:
    """The kernel is there; compiles it at the first call."""
    return kernel() is not None


def runs(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    leak: float | Tensor,
    v: Tensor | None,
) -> bool:
    """These arguments of `bntt_lif` are for the kernel."""
    others = [gamma, beta, running_mean, running_var, v, leak if isinstance(leak, Tensor) else None]
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.bfloat16)
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
    eps: float,
    leak: float,
    threshold: float,
    surrogate: str,
    height: float,
    width: float,
    center: float,
    fires_at_threshold: bool,
    detach_reset: bool,
    need_current: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Output, current, the last v, and the mean and variance that were used; nothing is changed in place."""
    neurons = surrogate != "none"
    output, current, v_last, mean, var = given = forward_outputs(x, gamma, num_steps, neurons, need_current)
    if not training and running_mean is not None and running_var is not None:
        mean.copy_(running_mean)
        var.copy_(running_var)
    memory = [rows(x), gamma, beta, mean, var, charge, added, v]
    for i, each in enumerate(memory):
        if each is not None:
            memory[i] = rows(each) if i > 4 else each.contiguous()
    code = kernel()
    assert code is not None
    code.bntt_lif_forward(
        x.dtype == torch.float32,
        *sizes(x, num_steps, gamma),
        *(None if each is None else each.data_ptr() for each in memory),
        output.data_ptr(),
        current.data_ptr() if need_current else None,
        v_last.data_ptr() if neurons else None,
        training,
        eps,
        leak if learned_leak is None else learned_leak.item(),
        threshold,
        fires_at_threshold,
        KINDS.index(surrogate),
    )
    return given


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
    eps: float,
    leak: float,
    threshold: float,
    surrogate: str,
    height: float,
    width: float,
    center: float,
    fires_at_threshold: bool,
    detach_reset: bool,
    charge_too: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, gamma, beta, charge (with `charge_too`), v and the learned leak."""
    given = backward_outputs(x, gamma, beta, v, learned_leak, num_steps, charge_too)
    memory = [rows(x), gamma, beta, mean, var, charge, v, grad_output, grad_current, grad_v_last]
    for i, each in enumerate(memory):
        if each is not None:
            memory[i] = rows(each) if i > 4 else each.contiguous()
    grad_x, grad_gamma, grad_beta, grad_charge, grad_v, grad_leak = (each if each.numel() else None for each in given)
    code = kernel()
    assert code is not None
    code.bntt_lif_backward(
        x.dtype == torch.float32,
        *sizes(x, num_steps, gamma),
        *(None if each is None else each.data_ptr() for each in memory),
        *(None if each is None else each.data_ptr() for each in (grad_x, grad_charge, grad_v)),
        *(None if each is None else each.data_ptr() for each in (grad_gamma, grad_beta, grad_leak)),
        training,
        eps,
        leak if learned_leak is None else learned_leak.item(),
        threshold,
        fires_at_threshold,
        detach_reset,
        KINDS.index(surrogate),
        height,
        width,
        center,
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
        *(("none", 1.0, 1.0, 1.0) if surrogate is None else described(surrogate)),
        fires_at_threshold,
        detach_reset,
        need_current,
    )
    if training and running_mean is not None and running_var is not None:
        values = x.shape[1] * x.shape[3] * x.shape[4] * (num_steps if running_mean.ndim == 1 else 1)
        with torch.no_grad():
            running_mean.lerp_(mean, momentum)
            running_var.lerp_(var * (values / (values - 1)), momentum)
    return output, current, v_last
