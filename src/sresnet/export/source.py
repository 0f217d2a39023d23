"""What files are written from: the program of a network, as it is or written out, its weights rounded or not."""

from typing import Literal

import torch
from torch import Tensor

from sresnet.config import check_value
from sresnet.errors import UserError
from sresnet.models.network import SpikingNetwork
from sresnet.models.program import Program, check_hooks, check_steps, in_few_bits, pair, program_of
from sresnet.models.written_out import written_out

WriteOut = Literal["no", "binary"]
"""binary: one connection for every two layers whose spikes meet, so that all messages are spikes of 0 or 1."""
WeightBits = Literal[32, 8, 4]
"""8 and 4: whole numbers times a scale of each output channel."""


def program_for(
    model: SpikingNetwork,
    example: Tensor,
    *,
    num_steps: int | None = None,
    dtype: torch.dtype | None = None,
    write_out: WriteOut = "no",
    weight_bits: WeightBits = 32,
) -> tuple[Program, int]:
    """The program that a file is written from, and how many time steps it is to run on inputs like an example.

    Args:
        model: stays as it is.
        example: images [N, C, H, W] or event frames [N, T, C, H, W].
        num_steps: time steps; None: the network's, or those of `example`.
        dtype: of the numbers; None: that of the network's.
        write_out: in which form.
        weight_bits: of the weights.

    Raises:
        UserError: as `program_of` and `written_out`, more time steps than the norms have numbers for or a conversion
            means anything for, an example that is no input, or a form, bits or time steps of another type.
    """
    check_value("num_steps", num_steps, int | None)
    check_value("write_out", write_out, WriteOut)
    check_value("weight_bits", weight_bits, WeightBits)
    model.count_steps(example, None)  # complains of what is no input
    if write_out == "binary":
        check_hooks(model)
        try:
            program = written_out(model, pair(example.shape[-2:]), dtype=dtype)
        except UserError as error:
            raise UserError(f"{error}; or export it without --write-out") from None
    else:
        program = program_of(model, dtype=dtype)
    steps = num_steps if num_steps is not None else example.shape[1] if example.ndim == 5 else model.config.num_steps
    if example.ndim == 4:
        model.config.check_steps(steps)
    check_steps(program, steps)
    return program if weight_bits == 32 else in_few_bits(program, weight_bits), steps


def packed(whole: Tensor) -> Tensor:
    """Whole numbers within -8 to 7, int8, as uint8: two in a byte, the first in the lower half."""
    flat = whole.flatten().to(torch.uint8) & 15
    flat = torch.cat([flat, flat.new_zeros(len(flat) % 2)])
    return flat[::2] | (flat[1::2] << 4)
