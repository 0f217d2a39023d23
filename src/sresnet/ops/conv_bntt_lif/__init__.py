"""A whole layer in one op: convolution, and the norm, residual and neurons behind it."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sresnet.errors import UserError
from sresnet.ops import scan
from sresnet.ops.bntt_lif import batch_norm, bntt_lif, check_shapes
from sresnet.ops.conv_bntt_lif import operator
from sresnet.ops.conv_bntt_lif.int8 import Int8Weight
from sresnet.ops.dispatch import low_memory_chosen, reference_chosen
from sresnet.ops.neuron import LIFConstants
from sresnet.ops.norm import NormState, update_averages, values_per_row
from sresnet.ops.over_time import OneStep, constant, over_time
from sresnet.ops.scan.choice import stored_here
from sresnet.ops.scan.contract import kernel_constants, wanted
from sresnet.ops.scan.rows import as_rows

__all__ = ["BitPackedSpikes", "ConvBNTTLIFOutput", "Convolution", "conv_batch_norm", "conv_bntt_lif"]


class Convolution(NamedTuple):
    """A layer's convolution, which has no bias."""

    weight: Float[Tensor, "C inputs rows columns"]
    """[C, C_in, height, width]."""
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    int8: Int8Weight | None = None
    """The weight in eight bits, which is used where x is whole numbers, as `packed` tells."""


class BitPackedSpikes(NamedTuple):
    """Output of a layer in the form in which it is kept for the backward pass: base + the sum of the planes."""

    planes: tuple[Tensor, ...]
    """Spikes of the layer, and of those before it whose spikes residual connections added, first those: a bit each,
    in the order of the engine that made them."""
    base: Float[Tensor, "T N C H W"] | None
    """What a 1x1 skip added at the start of the stage, real numbers [T, N, C, H, W]; None where there is none."""


class ConvBNTTLIFOutput(NamedTuple):
    """What a layer returns."""

    output: Float[Tensor, "T N C H W"]
    """Spikes, with `residual_spikes` added to them, [T, N, C, H, W], channels last in memory."""
    current: Float[Tensor, "T N C H W"] | None
    """Input current of the neurons, as `output`; None unless `return_current`."""
    v: Float[Tensor, "N C H W"]
    """Membrane potential after the last step, [N, C, H, W]: pass it to the next call to continue."""
    packed: BitPackedSpikes | None
    """`output` in bits, for the layers behind; None where none of them would keep it."""
    again: Float[Tensor, "T N C H W"] | None = None
    """`output` once more, in the same memory, for a second way: where both are used, the layer adds their gradients
    without a pass of its own. None where autograd does it."""


def conv_bntt_lif(
    x: Float[Tensor, "T N inputs height width"],
    convolution: Convolution | None,
    norm: NormState | None,
    neuron: LIFConstants,
    *,
    num_steps: int | None = None,
    packed: BitPackedSpikes | None = None,
    residual_current: Float[Tensor, "T N C H W"] | None = None,
    residual_spikes: Float[Tensor, "T N C H W"] | None = None,
    residual_packed: BitPackedSpikes | None = None,
    v: Float[Tensor, "N C H W"] | None = None,
    return_current: bool = False,
) -> ConvBNTTLIFOutput:
    """`bntt_lif` of the convolution of every step of x (Eqs. 3 to 7, 10, 13, 15).

    In float32 and in bfloat16 (autocast, or x of that type), on a GPU also in float16, the backward pass keeps the
    convolution's output and x, as bits where `packed` gives them; under `implementation("low-memory")` only x, and the
    convolution is done again. Where a processor has no bfloat16 convolutions, bfloat16 is how numbers are stored, and
    convolutions are in float32. Everything else is a convolution followed by `bntt_lif`.

    Args:
        x: [T, N, C_in, H, W]; an image expanded over time goes through the convolution once.
        convolution: of the layer; None: x is what it gave, such as once for all calls that get the same image.
        norm, neuron, residual_current, residual_spikes, v, return_current: as in `bntt_lif`.
        num_steps: T, where x is one step [1, N, C, H, W] that every step receives.
        packed: what the layer before gave with x; None keeps x itself for the backward pass.
        residual_packed: what the layer before gave with `residual_spikes`.

    Raises:
        UserError: as `bntt_lif`, a weight that does not fit x, and `int8` where there is no layer of one op, or where
            gradients are wanted.
    """
    streams = (residual_current, residual_spikes)
    if not _runs(x, convolution, norm, neuron, v, *streams, num_steps=num_steps, return_current=return_current):
        behind = bntt_lif(
            _convolved(x, convolution),
            norm,
            neuron,
            num_steps=num_steps,
            residual_current=residual_current,
            residual_spikes=residual_spikes,
            v=v,
            return_current=return_current,
        )
        return ConvBNTTLIFOutput(*behind, None)
    return _run_layer(
        x,
        convolution,
        norm,
        neuron,
        num_steps=num_steps,
        packed=packed,
        residual_current=residual_current,
        residual_spikes=residual_spikes,
        residual_packed=residual_packed,
        v=v,
        return_current=return_current,
    )


def conv_batch_norm(
    x: Float[Tensor, "T N inputs height width"],
    convolution: Convolution,
    norm: NormState,
    *,
    packed: BitPackedSpikes | None = None,
) -> Float[Tensor, "T N C H W"]:
    """Convolution and norm without neurons, such as the 1x1 convolution of a skip: y, [T, N, C, H, W].

    Arguments and errors as `conv_bntt_lif`.
    """
    if not _runs(x, convolution, norm, None, None):
        return batch_norm(_convolved(x, convolution), norm)
    return _run_layer(x, convolution, norm, None, packed=packed).output


def convolve_image(x: Float[Tensor, "N inputs height width"], convolution: Convolution) -> Float[Tensor, "N C H W"]:
    """What the convolution of a layer gives for an image that every step receives, rounded as the layer would."""
    weight, stride, padding, _ = convolution
    storage = _stored(x)
    if reference_chosen() or storage not in stored_here(x):
        return F.conv2d(x, weight, None, stride, padding)
    dtype = operator.arithmetic(storage, x)
    with torch.autocast(x.device.type, enabled=False):
        y = F.conv2d(x.to(storage).to(dtype), weight.to(dtype), None, stride, padding)
    return y.to(storage)


def _convolved(
    x: Float[Tensor, "T N inputs height width"], convolution: Convolution | None
) -> Float[Tensor, "T N C H W"]:
    """The convolution of every step of x [T, N, C, H, W], in plain PyTorch.

    Raises:
        UserError: there is a weight of eight bits, which would not be used.
    """
    if convolution is None:
        return x
    weight, stride, padding, int8 = convolution
    if int8 is not None:
        raise UserError(
            "an 8-bit network runs on a CPU in float32 or bfloat16, by the compiled kernel: leave out "
            "torch.compile, the reference implementation and other types, or use the network that it was made from"
        )
    return over_time(lambda images: F.conv2d(images, weight, None, stride, padding), x)


def _stored(x: Tensor) -> torch.dtype:
    """What a layer stores activity in: what autocast says, else as x."""
    device = x.device.type
    casts = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if casts else x.dtype


def _fitting(packed: BitPackedSpikes | None, storage: torch.dtype) -> BitPackedSpikes | None:
    """`packed`, where its sum is what a layer of this storage got: whole numbers are the same in every type."""
    return packed if packed is not None and (packed.base is None or packed.base.dtype == storage) else None


def _runs(
    x: Tensor,
    convolution: Convolution | None,
    norm: NormState | None,
    neuron: LIFConstants | None,
    v: Tensor | None,
    residual_current: Tensor | None = None,
    residual_spikes: Tensor | None = None,
    *,
    num_steps: int | None = None,
    return_current: bool = False,
) -> bool:
    """These arguments are for the layer of `operator.py`."""
    shape = x.shape
    if convolution is not None and convolution.weight.ndim == 4 and x.ndim == 5:  # else `_run_layer` complains
        shape = torch.Size(operator.output_shape(x, convolution.weight, convolution.stride, convolution.padding))
    return (
        not reference_chosen()
        and not torch.compiler.is_compiling()
        and (convolution is None or convolution.weight.dtype == torch.float32)
        and _stored(x) in stored_here(x)
        and scan.runs(
            x,
            norm,
            neuron,
            v,
            residual_current,
            residual_spikes,
            num_steps=num_steps,
            return_current=return_current,
            shape=shape,
            storage=_stored(x),
            two_ways=neuron is not None and torch.is_grad_enabled(),
        )
    )


def _run_layer(
    x: Tensor,
    convolution: Convolution | None,
    norm: NormState | None,
    neuron: LIFConstants | None,
    *,
    num_steps: int | None = None,
    packed: BitPackedSpikes | None = None,
    residual_current: Tensor | None = None,
    residual_spikes: Tensor | None = None,
    residual_packed: BitPackedSpikes | None = None,
    v: Tensor | None = None,
    return_current: bool = False,
) -> ConvBNTTLIFOutput:
    """The layer of `operator.py`, arguments checked, and the running averages after it."""
    weight, stride, padding, int8 = convolution or (None, (1, 1), (0, 0), None)
    if weight is not None and (weight.ndim != 4 or x.ndim != 5 or weight.shape[1] != x.shape[2]):
        raise UserError(
            f"weight has shape {tuple(weight.shape)} and x {tuple(x.shape)}: expected [C, C_in, height, width] and "
            "[T, N, C_in, H, W]"
        )
    num_steps, learned_leak = num_steps or x.shape[0], neuron.learned_leak if neuron else None
    shape = operator.output_shape(x, weight, stride, padding)
    check_shapes(shape, num_steps, norm, residual_current, residual_spikes, v)
    storage = _stored(x)
    packed, residual_packed = _fitting(packed, storage), _fitting(residual_packed, storage)
    residual_current = None if residual_current is None else as_rows(residual_current, storage)
    residual_spikes = None if residual_spikes is None else as_rows(residual_spikes, storage)
    v = None if v is None else as_rows(v, torch.float32)
    gamma = beta = mean = var = None
    training = norm is not None and norm.training
    if norm is not None:
        gamma, beta = norm.gamma.contiguous(), None if norm.beta is None else norm.beta.contiguous()
        # In training those of the batch are written there.
        mean, var = map(torch.empty_like, (gamma, gamma)) if training else (row.contiguous() for row in norm.averages())
    learns = torch.is_grad_enabled()
    given = (x, weight, gamma, beta, residual_current, residual_spikes, v, learned_leak)
    if learns and int8 is not None and any(each is not None and each.requires_grad for each in given):
        raise UserError("an 8-bit network has no gradients: use torch.no_grad(), or the network that it was made from")
    call = operator.Call(
        num_steps=num_steps,
        stride=stride,
        padding=padding,
        training=training,
        constants=kernel_constants(norm, neuron),
        storage=storage,
        return_current=return_current,
        return_packed=(learns or int8 is not None) and neuron is not None,
        learns=learns,
        recompute=low_memory_chosen(),
        together=norm.together if norm is not None and norm.gathers else None,
        values=values_per_row(norm, shape, num_steps) if norm is not None else 0,
    )
    if constant(x):
        x = OneStep.apply(x)
    planes, plane_base = packed or ((), None)
    inputs = (x, weight, gamma, beta, mean, var, residual_current, residual_spikes, v, learned_leak)
    output, current, v_last, bits, again = operator.Layer.apply(*inputs, planes, plane_base, int8, call)
    if norm is not None and training:
        assert mean is not None
        assert var is not None
        update_averages(norm, mean, var, values_per_row(norm, shape, num_steps))
    sent = None
    if call.return_packed:
        base = None if residual_spikes is None else residual_spikes.detach()
        before = residual_packed or BitPackedSpikes((), base)
        sent = BitPackedSpikes((*before.planes, bits), before.base)
    return ConvBNTTLIFOutput(output, current if return_current else None, v_last, sent, wanted(again))
