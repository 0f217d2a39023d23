"""The scan as two operators of torch.library, forward and backward, so that autograd, compile and export know it."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sresnet.ops.neuron import LIFConstants
from sresnet.ops.norm import NormState, update_averages, values_per_row
from sresnet.ops.scan.choice import LARGEST_STEP, engine_of, on_gpu, stored_here
from sresnet.ops.scan.contract import HINTS, Kept, KernelConstants, NormRows, kernel_constants, supports
from sresnet.ops.scan.gpu.variant import passes, variant_of
from sresnet.ops.scan.rows import as_rows, empty_rows, in_rows

CONSTANTS = ", ".join(f"{HINTS[name].__name__} {name}" for name in KernelConstants._fields)

LIBRARY = torch.library.Library("sresnet", "FRAGMENT")
LIBRARY.define(
    "bntt_lif(Tensor x, Tensor? gamma, Tensor? beta, Tensor? mean, Tensor? var, Tensor? residual_current, "
    "Tensor? residual_spikes, Tensor? v, Tensor? learned_leak, SymInt num_steps, bool training, "
    f"{CONSTANTS}, bool return_current, bool learns) "
    "-> (Tensor output, Tensor current, Tensor v_last, Tensor mean, Tensor var, Tensor bits, Tensor between)"
)
LIBRARY.define(
    "bntt_lif_backward(Tensor? grad_output, Tensor? grad_current, Tensor? grad_v_last, Tensor x, Tensor? gamma, "
    "Tensor? beta, Tensor mean, Tensor var, Tensor bits, Tensor between, Tensor? residual_current, Tensor? v, "
    f"Tensor? learned_leak, SymInt num_steps, bool training, {CONSTANTS}, bool residual_current_too) "
    "-> (Tensor x, Tensor gamma, Tensor beta, Tensor residual_current, Tensor v, Tensor leak)"
)


# The call


def runs(
    x: Tensor,
    norm: NormState | None,
    neuron: LIFConstants | None,
    v: Tensor | None,
    residual_current: Tensor | None = None,
    residual_spikes: Tensor | None = None,
    *,
    num_steps: int | None = None,
    return_current: bool = False,
    shape: Sequence[int] | None = None,
    storage: torch.dtype | None = None,
    two_ways: bool = False,
) -> bool:
    """These arguments of `bntt_lif`, or of a norm alone, are for an engine.

    Args:
        shape, storage: of the activity, where x is what a convolution gets that is still to be done.
        two_ways: the output may go two ways, whose gradients come back apart.
    """
    activity = (x, residual_current, residual_spikes)
    rows = (norm.gamma, norm.beta, norm.running_mean, norm.running_var) if norm else ()
    leak = neuron.learned_leak if neuron else None
    others = (*rows, v, leak)
    dtypes = stored_here(x)
    fit = (
        all(each is None or (each.dtype in dtypes and each.device == x.device) for each in activity)
        and all(each is None or (each.dtype == torch.float32 and each.device == x.device) for each in others)
        and (leak is None or leak.ndim == 0)
        and (neuron is None or supports(neuron))
        and x.numel() > 0
    )
    shape = shape or x.shape
    if not fit or not on_gpu(x) or (norm is not None and len(shape) != 5):  # which callers complain about
        return fit
    given = (residual_current is not None, residual_spikes is not None, v is not None, return_current)
    variant = variant_of(shape, norm, neuron, given, num_steps or shape[0], storage or x.dtype, two_ways)
    return math.prod(shape[1:]) < LARGEST_STEP and passes(tuple(variant), x.device)


def scan(
    x: Tensor,
    norm: NormState | None,
    neuron: LIFConstants | None,
    *,
    num_steps: int,
    residual_current: Tensor | None = None,
    residual_spikes: Tensor | None = None,
    v: Tensor | None = None,
    return_current: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """`bntt_lif` of checked arguments that a kernel `runs`; x holds one step or num_steps.

    Without neurons the output is the current.

    Returns:
        Output, current (empty unless `return_current`) and the last v; see `bntt_lif`.
    """
    call = _Eager.apply if torch.is_grad_enabled() and not torch.compiler.is_compiling() else FORWARD
    training = norm is not None and norm.training
    averages = norm.averages() if norm else (None, None)
    output, current, v_last, mean, var, _, _ = call(
        as_rows(x, x.dtype),
        norm.gamma if norm else None,
        norm.beta if norm else None,
        *averages,
        None if residual_current is None else as_rows(residual_current, x.dtype),
        None if residual_spikes is None else as_rows(residual_spikes, x.dtype),
        v,
        neuron.learned_leak if neuron else None,
        num_steps,
        training,
        *kernel_constants(norm, neuron),
        return_current,
        torch.is_grad_enabled(),
    )
    if norm is not None and training:
        update_averages(norm, mean.detach(), var.detach(), values_per_row(norm, x.shape, num_steps))
    return output, current, v_last


# The operators


def _forward_outputs(
    x: Tensor, gamma: Tensor | None, num_steps: int, neurons: bool, return_current: bool, learns: bool
) -> tuple[Tensor, ...]:
    """Memory for what `_forward` gives; what is not wanted is empty."""
    one_step = x.shape[1:]
    statistics = (0,) if gamma is None else gamma.shape
    kept, engine = Kept(), engine_of(x)
    if learns and neurons and engine.READS_KEPT:
        kept = engine.new_kept(x, (num_steps, *one_step))
    return (
        empty_rows(x, (num_steps, *one_step)),
        empty_rows(x, (num_steps, *one_step)) if return_current else x.new_empty(0),
        empty_rows(x, one_step, torch.float32) if neurons else x.new_empty(0, dtype=torch.float32),
        x.new_empty(statistics, dtype=torch.float32),
        x.new_empty(statistics, dtype=torch.float32),
        x.new_empty(0, dtype=torch.int8) if kept.bits is None else kept.bits,
        x.new_empty(0, dtype=torch.float32) if kept.between is None else kept.between,
    )


def _forward(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    residual_current: Tensor | None,
    residual_spikes: Tensor | None,
    v: Tensor | None,
    learned_leak: Tensor | None,
    num_steps: int,
    training: bool,
    *numbers: Any,
) -> tuple[Tensor, ...]:
    """Output, current, the last v, the mean and variance that were used, what is kept; nothing is changed in place."""
    *values, return_current, learns = numbers
    constants = KernelConstants(*values)
    given = _forward_outputs(x, gamma, num_steps, constants.neurons, return_current, learns)
    mean, var = given[3:5]
    if not training and running_mean is not None and running_var is not None:
        mean.copy_(running_mean)
        var.copy_(running_var)
    residual_current, residual_spikes, v = in_rows(residual_current, residual_spikes, v)
    gamma, beta = _contiguous(gamma, beta)
    engine_of(x).run_forward(
        as_rows(x, x.dtype),
        NormRows(gamma, beta, mean, var),
        residual_current,
        residual_spikes,
        v,
        learned_leak,
        given[:3],
        Kept(*given[5:]),
        num_steps,
        training,
        constants,
    )
    return given


def _contiguous(*rows: Tensor | None) -> list[Tensor | None]:
    """Each without gaps."""
    return [row if row is None else row.contiguous() for row in rows]


def _backward_outputs(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    v: Tensor | None,
    learned_leak: Tensor | None,
    num_steps: int,
    residual_current_too: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Memory for what `_backward` gives; what is not wanted is empty."""
    nothing = (0,)
    return (
        empty_rows(x, x.shape),
        x.new_empty(nothing if gamma is None else gamma.shape, dtype=torch.float32),
        x.new_empty(nothing if beta is None else beta.shape, dtype=torch.float32),
        empty_rows(x, (num_steps, *x.shape[1:])) if residual_current_too else x.new_empty(nothing),
        x.new_empty(nothing, dtype=torch.float32) if v is None else empty_rows(x, x.shape[1:], torch.float32),
        x.new_empty(nothing if learned_leak is None else (), dtype=torch.float32),
    )


def _backward(
    grad_output: Tensor | None,
    grad_current: Tensor | None,
    grad_v_last: Tensor | None,
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    mean: Tensor,
    var: Tensor,
    bits: Tensor,
    between: Tensor,
    residual_current: Tensor | None,
    v: Tensor | None,
    learned_leak: Tensor | None,
    num_steps: int,
    training: bool,
    *numbers: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, gamma, beta, residual_current (with `residual_current_too`), v and the learned leak."""
    constants, residual_current_too = KernelConstants(*numbers[:-1]), numbers[-1]
    given = _backward_outputs(x, gamma, beta, v, learned_leak, num_steps, residual_current_too)
    grad_x, grad_gamma, grad_beta, grad_residual_current, grad_v, grad_leak = given
    residual_current, v = in_rows(residual_current, v)
    engine_of(x).run_backward(
        [*in_rows(grad_output, grad_current, grad_v_last), None],
        as_rows(x, x.dtype),
        NormRows(*_contiguous(gamma, beta, mean, var)),
        residual_current,
        v,
        learned_leak,
        (grad_x, grad_residual_current, grad_v, grad_gamma, grad_beta, grad_leak, None),
        Kept(bits, between),
        num_steps,
        training,
        constants,
    )
    return given


def _fake_forward(x: Tensor, gamma: Tensor | None, *others: Any) -> tuple[Tensor, ...]:
    """Shapes, dtypes and strides of `_forward`."""
    num_steps, constants = others[7], KernelConstants(*others[9:-2])
    return _forward_outputs(x, gamma, num_steps, constants.neurons, *others[-2:])


def _fake_backward(*inputs: Any) -> tuple[Tensor, ...]:
    """Shapes, dtypes and strides of `_backward`."""
    x, gamma, beta = inputs[3:6]
    v, learned_leak, num_steps = inputs[11:14]
    return _backward_outputs(x, gamma, beta, v, learned_leak, num_steps, inputs[-1])


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """What the backward pass needs: of full size only x and residual_current."""
    x, gamma, beta, _, _, residual_current, _, v, learned_leak, num_steps, *constants, _, _ = inputs
    ctx.save_for_backward(x, gamma, beta, *output[3:], residual_current, v, learned_leak)
    ctx.constants = num_steps, *constants
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, output: Tensor | None, current: Tensor | None, v_last: Tensor | None, *_: Any) -> Any:
    """Gradients of the inputs of `_forward`, in their order."""
    wanted = ctx.needs_input_grad
    gradients: list[Tensor | None] = [None] * len(wanted)
    if output is None and current is None and v_last is None:
        return tuple(gradients)
    output, current = in_rows(output, current)  # once for all layers that the gradient is handed on to
    found = BACKWARD(output, current, v_last, *ctx.saved_tensors, *ctx.constants, wanted[5])
    x, gamma, beta, residual_current, v, leak = found
    for i, gradient in enumerate((x, gamma, beta, None, None, residual_current, output, v, leak)):
        gradients[i] = gradient if wanted[i] else None
    return tuple(gradients)


for device in ("CPU", "CUDA"):
    LIBRARY.impl("bntt_lif", _forward, device)
    LIBRARY.impl("bntt_lif_backward", _backward, device)
torch.library.register_fake("sresnet::bntt_lif", _fake_forward, lib=LIBRARY)
torch.library.register_fake("sresnet::bntt_lif_backward", _fake_backward, lib=LIBRARY)
torch.library.register_autograd("sresnet::bntt_lif", _differentiate, setup_context=_keep, lib=LIBRARY)
FORWARD, BACKWARD = torch.ops.sresnet.bntt_lif.default, torch.ops.sresnet.bntt_lif_backward.default


class _Eager(torch.autograd.Function):
    """The same as calling the operator; what `register_autograd` puts around it costs up to 0.2 ms a call."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        output = FORWARD(*inputs)
        _keep(ctx, inputs, output)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        return _differentiate(ctx, *gradients)
