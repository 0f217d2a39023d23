"""The layer where an engine runs: a convolution, the scan behind it, and the gradient of both.

For the backward pass it keeps

    fastest       the convolution's output, and its input: one bit for every neuron and step that sent it spikes
    low-memory    the input alone: the convolution is done again

and on a GPU also the layer's own spikes as bits, which the next layer keeps too, and the potentials between segments.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from sresnet.ops.conv_bntt_lif.int8 import LARGEST, Int8Weight, convolve_int8
from sresnet.ops.norm import Together, gather_statistics, gradient_through_statistics
from sresnet.ops.scan.choice import engine_of, on_gpu
from sresnet.ops.scan.contract import Kept, KernelConstants, NormRows
from sresnet.ops.scan.rows import as_rows, empty_rows, in_rows, is_rows
from sresnet.printing import tell_once

BLOCK_BYTES = 2**20
"""Of images: what is converted at a time to the type that convolutions are computed in."""


class Call(NamedTuple):
    """What a layer is told besides tensors."""

    num_steps: int
    stride: tuple[int, int]
    padding: tuple[int, int]
    training: bool
    constants: KernelConstants
    storage: torch.dtype
    """Of what is kept and given."""
    return_current: bool
    return_packed: bool
    learns: bool
    """There may be a backward pass."""
    recompute: bool
    """Keep no convolution for the backward pass."""
    together: Together | None
    """In training: the processes over whose images the statistics are; None: they are of those here."""
    values: int
    """How many values each mean and variance is of."""


def arithmetic(storage: torch.dtype, x: Tensor) -> torch.dtype:
    """What convolutions of x are computed in: where a processor has no bfloat16, float32 is many times faster."""
    return storage if on_gpu(x) or torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32


def _expect_rows(images: Tensor | None, source: Tensor, what: str) -> None:
    """Say once where a convolution on a GPU gives another layout than channels last: then every layer copies it.

    One channel is first and last: torch may take either for meant. Tensors without memory tell no strides.
    """
    if images is None or is_rows(images) or source.shape[1] == 1 or images.is_meta or not on_gpu(images):
        return
    place = torch.cuda.get_device_name(images.device) if images.is_cuda else images.device
    tell_once(
        f"a convolution's {what} of {images.dtype} on {place} is not channels last in memory: layers copy it, slowly. "
        f"Please report this line: torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}"
    )


def _convolve(x: Tensor, weight: Tensor | None, call: Call) -> Tensor:
    """Convolution of x [T, N, C, H, W], the same at every step, channels last in memory; x itself without a weight."""
    if weight is None:
        return x
    images, dtype = x.flatten(0, 1), weight.dtype
    if dtype == x.dtype:
        y = F.conv2d(images, weight, None, call.stride, call.padding)
        _expect_rows(y, images, "output")
        return as_rows(y.view(*x.shape[:2], *y.shape[1:]), call.storage)
    y = empty_rows(x, (len(images), *output_shape(x, weight, call.stride, call.padding)[2:]))
    with torch.autocast("cpu", enabled=False):
        for some in _blocks(images):
            y[some] = F.conv2d(images[some].to(dtype), weight, None, call.stride, call.padding)
    return y.unflatten(0, x.shape[:2])


def _convolve_whole_numbers(planes: Sequence[Tensor], shape: torch.Size, weight: Int8Weight, call: Call) -> Tensor:
    """The same in eight bits, where x of this shape is the sum of `planes`."""
    x = engine_of(planes[0]).unpack(planes, None, shape, torch.uint8)
    y = convolve_int8(x.flatten(0, 1), weight, call.stride, call.padding)
    return as_rows(y.unflatten(0, x.shape[:2]), call.storage)


def _convolve_back(
    dy: Tensor, x: Tensor, weight: Tensor | None, call: Call, need_x: bool, need_weight: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of x, in the storage type, and of weight."""
    if weight is None:
        return dy, None
    shape, dtype = x.shape, weight.dtype
    dy, x = dy.flatten(0, 1), x.flatten(0, 1)
    wanted = [need_x, need_weight, False]
    constants: list[Any] = [None, call.stride, call.padding, (1, 1), False, (0, 0), 1]
    if dtype == x.dtype:
        dx, dweight, _ = torch.ops.aten.convolution_backward(dy, x, weight, *constants, wanted)
        _expect_rows(dx, dy, "input gradient")
        return dx if dx is None else _unflattened(dx, shape), dweight
    dx = empty_rows(x, x.shape) if need_x else None
    dweight = torch.zeros_like(weight) if need_weight else None
    for some in _blocks(x):
        some_dx, some_dweight, _ = torch.ops.aten.convolution_backward(
            dy[some].to(dtype), x[some].to(dtype), weight, *constants, wanted
        )
        if dx is not None:
            dx[some] = some_dx
        if dweight is not None:
            dweight += some_dweight
    return dx if dx is None else _unflattened(dx, shape), dweight


def _unflattened(images: Tensor, shape: Sequence[int]) -> Tensor:
    """Images [T * N, C, H, W] as this [T, N, C, H, W], in place: a view would keep autograd from adding to them."""
    return images.as_strided_(shape, (shape[1] * images.stride(0), *images.stride()))


def _blocks(images: Tensor) -> list[slice]:
    """Images of about BLOCK_BYTES together."""
    length = max(1, BLOCK_BYTES // (images[0].numel() * images.element_size()))
    return [slice(first, first + length) for first in range(0, len(images), length)]


def output_shape(
    x: Tensor, weight: Tensor | None, stride: tuple[int, int], padding: tuple[int, int]
) -> tuple[int, ...]:
    """Shape [T, N, C, H, W] of the convolution of x, or of x itself without a weight."""
    if weight is None:
        return x.shape
    steps, batch, _, height, width = x.shape
    channels, _, rows, columns = weight.shape
    return (
        steps,
        batch,
        channels,
        (height + 2 * padding[0] - rows) // stride[0] + 1,
        (width + 2 * padding[1] - columns) // stride[1] + 1,
    )


class Layer(torch.autograd.Function):
    """The layer and its gradient.

    (x, weight, gamma, beta, mean, var, residual_current, residual_spikes, v, leak, planes, base, int8, call) ->
    (output, current, v, bits, output again)

    Residuals and v are in rows, and parameters without gaps. `mean` and `var` are the statistics used: written in
    training, given in evaluation. `planes` are the spikes of the layers that x is the sum of, as bits, none where x
    itself is to be kept, and `base` what x is besides them; `int8` is the weight to use where x is whole numbers. What
    is not wanted is empty. Without a weight x is the convolution's output. An engine that adds gradients gives the
    output twice, in the same memory, for its two ways: gradients come back apart, and are added where they are read.
    """

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        x, weight, gamma, beta, mean, var, residual_current, residual_spikes, v, leak, planes, base, int8, call = inputs
        norm, engine = NormRows(gamma, beta, mean, var), engine_of(x)
        x = as_rows(x, call.storage)
        weight = weight if weight is None else weight.to(arithmetic(call.storage, x))
        steps, nothing = call.num_steps, x.new_empty(0)
        one_step = x.shape[0] < steps
        step_shape = output_shape(x, weight, call.stride, call.padding)[1:]
        shape = (steps, *step_shape)
        current = empty_rows(x, shape) if call.return_current else nothing
        kept = engine.new_kept(x, shape) if call.return_packed else Kept()
        # Nobody reads the convolution again where there are no gradients: the output takes its place.
        in_place = not one_step and not call.learns and weight is not None
        if int8 is not None and 0 < len(planes) <= LARGEST and base is None:
            y = _convolve_whole_numbers(planes, x.shape, int8, call)
        else:
            y = _convolve(x, weight, call)
        output = y if in_place else empty_rows(x, shape)
        neurons = call.constants.neurons
        v_last = empty_rows(y, step_shape, torch.float32) if neurons else y.new_empty(0, dtype=torch.float32)
        given, streams = (output, current, v_last), (residual_current, residual_spikes, v, leak)
        if call.together is not None:  # the operator is divided here: the scan gets statistics as in evaluation
            engine.run_statistics(y, norm, steps, call.constants)
            gather_statistics(call.together, y.shape[1], mean, var)
        training = call.training and call.together is None
        engine.run_forward(y, norm, *streams, given, kept, steps, training, call.constants)
        packed = nothing if kept.bits is None else kept.bits
        ctx.mark_non_differentiable(packed)
        ctx.set_materialize_grads(False)
        convolved = y if call.learns and not call.recompute else None
        source = (None, base, *planes) if planes else (x, None)
        own = kept if engine.READS_KEPT and call.learns else Kept()
        ctx.save_for_backward(weight, gamma, beta, mean, var, residual_current, v, leak, *own, convolved, *source)
        ctx.call, ctx.shape = call, x.shape
        again = output.view_as(output) if call.learns and neurons and engine.ADDS_GRADIENTS else nothing
        return output, current, v_last, packed, again

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, d_output: Tensor | None, d_current: Tensor | None, d_v: Tensor | None, _: Any, d_again: Tensor | None
    ) -> Any:
        # Once: a checkpoint hands them out no second time.
        weight, gamma, beta, mean, var, residual_current, v, leak, bits, between, y, x, base, *planes = (
            ctx.saved_tensors
        )
        call, wanted = ctx.call, ctx.needs_input_grad
        d_output, d_again = (d_again, None) if d_output is None else (d_output, d_again)
        if d_output is None and d_current is None and d_v is None:
            return (None,) * len(wanted)
        # In rows once for all: the gradient of a sum of spikes is handed on through all blocks of a stage.
        d_output, d_current, d_v, d_again = in_rows(d_output, d_current, d_v, d_again)
        x = engine_of(planes[0]).unpack(planes, base, ctx.shape, call.storage) if x is None else x
        y = _convolve(x, weight, call) if y is None else y
        d_y = empty_rows(y, y.shape)
        d_gamma = None if gamma is None else torch.empty_like(gamma)
        # Its sum is wanted too where the sums of all processes are.
        d_beta = torch.empty_like(gamma) if beta is not None or call.together is not None else None
        d_residual_current = empty_rows(residual_current, residual_current.shape) if wanted[6] else None
        d_start = None if v is None else empty_rows(v, v.shape)
        d_leak = y.new_empty((), dtype=torch.float32) if wanted[9] else None
        d_sum = None if d_again is None or not wanted[7] else empty_rows(d_again, d_again.shape)
        engine_of(y).run_backward(
            (d_output, d_current, d_v, d_again),
            y,
            NormRows(gamma, beta, mean, var),
            residual_current,
            v,
            leak,
            (d_y, d_residual_current, d_start, d_gamma, d_beta, d_leak, d_sum),
            Kept(bits, between),
            call.num_steps,
            call.training and call.together is None,
            call.constants,
        )
        if call.together is not None:
            assert d_gamma is not None
            assert d_beta is not None
            found = gradient_through_statistics(
                call.together, call.values, gamma, var, call.constants.eps, d_gamma, d_beta
            )
            engine_of(y).add_through_statistics(d_y, y, mean, *found, call.num_steps)
        del y  # where it was computed again, its memory is free for the gradient of x
        d_x, d_weight = _convolve_back(d_y, x, weight, call, wanted[0], wanted[1])
        d_norm = (d_gamma, d_beta, None, None)
        d_total = d_output if d_again is None else d_sum
        gradients = (d_x, d_weight, *d_norm, d_residual_current, d_total, d_start, d_leak, *(None,) * 4)
        return tuple(each if need else None for each, need in zip(gradients, wanted, strict=True))
