"""A whole layer in one op: convolution, and the norm, residual and neurons behind it."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sresnet.errors import UserError
from sresnet.ops.bntt_lif import OneStep, batch_norm, bntt_lif, check_arguments
from sresnet.ops.bntt_lif import cpu as kernel
from sresnet.ops.constants import PAPER_SURROGATE
from sresnet.ops.conv_bntt_lif import cpu
from sresnet.ops.conv_bntt_lif.int8 import Int8Weight
from sresnet.ops.implementation import low_memory_chosen, reference_chosen
from sresnet.ops.surrogate import Surrogate
from sresnet.ops.time import constant, over_time

__all__ = ["ConvBNTTLIFOutput", "Packed", "conv_batch_norm", "conv_bntt_lif"]


class Packed(NamedTuple):
    """Output of a layer as whoever must keep it for the backward pass keeps it: base + the sum of the planes."""

    planes: tuple[Tensor, ...]
    """Spikes of the layer, and of those before it whose spikes residual connections added, first those: uint8
    [T, bytes], a bit each."""
    base: Tensor | None
    """What a 1x1 skip added at the start of the stage, real numbers [T, N, C, H, W]; None where there is none."""


class ConvBNTTLIFOutput(NamedTuple):
    """What a layer gives back."""

    output: Tensor
    """Spikes, with `added` added to them, [T, N, C, H, W], channels last in memory."""
    current: Tensor | None
    """Input current of the neurons, as `output`; None unless `need_current`."""
    v: Tensor
    """Membrane potential after the last step, [N, C, H, W]: give it to the next call to continue."""
    packed: Packed | None
    """`output` in bits, for the layers behind; None where none of them would keep it."""


def conv_bntt_lif(
    x: Tensor,
    weight: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    *,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    packed: Packed | None = None,
    leak: float | Tensor,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-4,
    threshold: float = 1.0,
    surrogate: Surrogate = PAPER_SURROGATE,
    fires_at_threshold: bool = False,
    detach_reset: bool = True,
    charge: Tensor | None = None,
    added: Tensor | None = None,
    added_packed: Packed | None = None,
    v: Tensor | None = None,
    need_current: bool = False,
    int8: Int8Weight | None = None,
) -> ConvBNTTLIFOutput:
    """`bntt_lif` of the convolution of every step of x, without bias (Eqs. 3 to 7, 10, 13, 15).

    On the CPU, in float32 and in bfloat16 (autocast, or x of that type), the backward pass keeps the convolution's
    output and x, as bits where `packed` gives them; under `implementation("low-memory")` only x, and the convolution is
    done again. Where the processor has no bfloat16 convolutions, bfloat16 is how numbers are stored, and convolutions
    are in float32. Everything else is a convolution followed by `bntt_lif`.

    Args:
        x: [T, N, C_in, H, W]; an image expanded over time goes through the convolution once.
        weight: [C, C_in, height, width].
        stride, padding: of the convolution.
        packed: what the layer before gave with x; None keeps x itself for the backward pass.
        added_packed: what the layer before gave with `added`.
        gamma, beta, running_mean, running_var, leak, training, momentum, eps, threshold, surrogate, fires_at_threshold,
            detach_reset, charge, added, v, need_current: as in `bntt_lif`.
        int8: the weight in eight bits, which is used where x is whole numbers, as `packed` tells.

    Raises:
        UserError: as `bntt_lif`, a weight that does not fit x, and `int8` where there is no layer of one op, or where
            gradients are wanted.
    """
    norm: dict[str, Any] = {"training": training, "momentum": momentum, "eps": eps}
    rows = (gamma, beta, running_mean, running_var)
    if not runs(x, weight, rows, leak, v, charge, added):
        refuse(int8)
        y = convolution(x, weight, stride, padding)
        neuron: dict[str, Any] = {
            "leak": leak,
            "threshold": threshold,
            "surrogate": surrogate,
            "fires_at_threshold": fires_at_threshold,
            "detach_reset": detach_reset,
        }
        others: dict[str, Any] = {"charge": charge, "added": added, "v": v, "need_current": need_current}
        return ConvBNTTLIFOutput(*bntt_lif(y, gamma, beta, running_mean, running_var, **norm, **neuron, **others), None)
    return run_layer(
        x,
        weight,
        rows,
        packed=packed,
        constants=kernel.Constants(
            eps,
            1.0 if isinstance(leak, Tensor) else leak,
            threshold,
            *kernel.described(surrogate),
            fires_at_threshold,
            detach_reset,
        ),
        leak=leak,
        stride=stride,
        padding=padding,
        training=training,
        momentum=momentum,
        charge=charge,
        added=added,
        added_packed=added_packed,
        v=v,
        need_current=need_current,
        int8=int8,
    )


def conv_batch_norm(
    x: Tensor,
    weight: Tensor,
    gamma: Tensor,
    beta: Tensor | None,
    running_mean: Tensor,
    running_var: Tensor,
    *,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    packed: Packed | None = None,
    training: bool,
    momentum: float = 0.1,
    eps: float = 1e-4,
    int8: Int8Weight | None = None,
) -> Tensor:
    """Convolution and norm without neurons, such as the 1x1 convolution of a skip: y, [T, N, C, H, W].

    Arguments and errors as `conv_bntt_lif`.
    """
    rows = (gamma, beta, running_mean, running_var)
    if not runs(x, weight, rows, 1.0, None):
        refuse(int8)
        y = convolution(x, weight, stride, padding)
        return batch_norm(y, *rows, training=training, momentum=momentum, eps=eps)
    return run_layer(
        x,
        weight,
        rows,
        packed=packed,
        constants=kernel.Constants(eps, 1.0, 1.0, *kernel.NO_NEURONS, False, True),
        leak=1.0,
        stride=stride,
        padding=padding,
        training=training,
        momentum=momentum,
        int8=int8,
    ).output


def refuse(int8: Int8Weight | None) -> None:
    """Raise UserError where there is a weight of eight bits that would not be used."""
    if int8 is not None:
        raise UserError(
            "a network of eight bits runs on a CPU in float32 or bfloat16, by the compiled kernel: leave out "
            "torch.compile, the reference implementation and other types, or use the network that it was made of"
        )


def convolution(x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
    """The convolution of every step of x [T, N, C, H, W]."""
    return over_time(lambda images: F.conv2d(images, weight, None, stride, padding), x)


def stored(x: Tensor) -> torch.dtype:
    """What a layer stores activity in: what autocast says, else as x."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


def fitting(packed: Packed | None, storage: torch.dtype) -> Packed | None:
    """`packed`, where its sum is what a layer of this storage got: whole numbers are the same in every type."""
    return packed if packed is not None and (packed.base is None or packed.base.dtype == storage) else None


def runs(
    x: Tensor,
    weight: Tensor,
    rows: tuple[Tensor | None, ...],
    leak: float | Tensor,
    v: Tensor | None,
    charge: Tensor | None = None,
    added: Tensor | None = None,
) -> bool:
    """These arguments are for the layer of `cpu.py`."""
    gamma, beta, running_mean, running_var = rows
    return (
        not reference_chosen()
        and not torch.compiler.is_compiling()
        and weight.dtype == torch.float32
        and stored(x) in kernel.WIDE
        and kernel.runs(x, gamma, beta, running_mean, running_var, leak, v, charge, added)
    )


def run_layer(
    x: Tensor,
    weight: Tensor,
    rows: tuple[Tensor | None, ...],
    *,
    packed: Packed | None,
    constants: kernel.Constants,
    leak: float | Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
    training: bool,
    momentum: float,
    charge: Tensor | None = None,
    added: Tensor | None = None,
    added_packed: Packed | None = None,
    v: Tensor | None = None,
    need_current: bool = False,
    int8: Int8Weight | None = None,
) -> ConvBNTTLIFOutput:
    """The layer of `cpu.py`, arguments checked, and the running averages after it."""
    if weight.ndim != 4 or x.ndim != 5 or weight.shape[1] != x.shape[2]:
        raise UserError(
            f"weight has shape {tuple(weight.shape)} and x {tuple(x.shape)}: expected [C, C_in, height, width] and "
            "[T, N, C_in, H, W]"
        )
    gamma, beta, running_mean, running_var = rows
    num_steps = x.shape[0]
    y = cpu.output_like(x, weight, stride, padding).expand(*x.shape[:2], -1, -1, -1)
    check_arguments(
        y, gamma, beta, running_mean, running_var, num_steps, training, leak, constants.threshold, charge, added, v
    )
    storage = stored(x)
    packed, added_packed = fitting(packed, storage), fitting(added_packed, storage)
    added = None if added is None else kernel.as_rows(added, storage)
    mean, var = running_mean, running_var
    if training:  # those of the batch are written there
        mean, var = (row if row is None else row.new_empty(row.shape) for row in (running_mean, running_var))
    learns = torch.is_grad_enabled()
    given = (x, weight, gamma, beta, charge, added, v, leak)
    if learns and int8 is not None and any(isinstance(each, Tensor) and each.requires_grad for each in given):
        raise UserError(
            "a network of eight bits has no gradients: use torch.no_grad(), or the network that it was made of"
        )
    call = cpu.Call(
        num_steps=num_steps,
        stride=stride,
        padding=padding,
        training=training,
        constants=constants,
        storage=storage,
        planes=packed.planes if packed else (),
        base=packed.base if packed else None,
        need_current=need_current,
        need_packed=(learns or int8 is not None) and constants.surrogate != "none",
        learns=learns,
        recompute=low_memory_chosen(),
        int8=int8,
    )
    if constant(x):
        x = OneStep.apply(x)
    with torch.autocast("cpu", enabled=False):
        output, current, v_last, bits = cpu.Layer.apply(
            x,
            weight,
            gamma,
            beta,
            mean,
            var,
            None if charge is None else kernel.as_rows(charge, storage),
            added,
            v,
            leak if isinstance(leak, Tensor) else None,
            call,
        )
    if training and running_mean is not None and running_var is not None:
        assert mean is not None
        assert var is not None
        values = y.shape[1] * y.shape[3] * y.shape[4] * (num_steps if running_mean.ndim == 1 else 1)
        kernel.update_averages(running_mean, running_var, mean, var, momentum, values)
    sent = None
    if call.need_packed:
        before = added_packed or Packed((), None if added is None else added.detach())
        sent = Packed((*before.planes, bits), before.base)
    return ConvBNTTLIFOutput(output, current if need_current else None, v_last, sent)
