"""What a network asks of the machine that it is to run on, and which kinds of file can say it: nothing is written."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sresnet.errors import UserError
from sresnet.export.c import memory_of
from sresnet.export.chips import CHIPS
from sresnet.export.fitting import Fit, fit
from sresnet.export.source import WriteOut, program_for
from sresnet.export.target import check_installed
from sresnet.models.network import SpikingNetwork
from sresnet.models.program import Program, in_few_bits, output_sizes, pair
from sresnet.models.topology import INPUT


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """Of one network and one size of images."""

    weights: tuple[tuple[int, int], ...] = ()
    """(bits of a weight, bytes of all constant numbers of the file in C), nothing where the network is `refused`."""
    state: int = 0
    """Bytes that change from step to step: potentials, and the maps of one time step."""
    refused: str = ""
    """Why there is no file of any kind, "" where there is."""
    no_nir: str = ""
    """Why there is no NIR."""
    fits: tuple[tuple[WriteOut, Fit], ...] = ()
    """(form, how it fits) for each chip, the network as it is and written out; with weights of 8 bits."""


def deployment(model: SpikingNetwork, example: Tensor) -> Deployment:
    """What a network asks of a machine.

    Args:
        model: stays as it is.
        example: images [N, C, H, W] or event frames [N, T, C, H, W]; their numbers do not matter.
    """
    try:
        program, _ = program_for(model, example, dtype=torch.float32)
        height, width = pair(example.shape[-2:])
        sizes = output_sizes(program, (height, width)) | {INPUT: (example.shape[-3], height, width)}
    except UserError as error:
        return Deployment(refused=str(error))
    weights, state = memory_of(program, sizes, 32)
    few: tuple[Literal[8, 4], ...] = (8, 4)
    rounded = [(bits, memory_of(in_few_bits(program, bits), sizes, bits)[0]) for bits in few]
    return Deployment(
        weights=((32, weights), *rounded),
        state=state,
        no_nir=_no_nir(model, example),
        fits=tuple(_fits(model, program, example)),
    )


def _fits(model: SpikingNetwork, program: Program, example: Tensor) -> Iterator[tuple[WriteOut, Fit]]:
    """How the network fits each chip, in each form that it has: as its `program` is, and written out."""
    forms: dict[WriteOut, Program] = {"no": program}
    with suppress(UserError):  # it has no other form
        forms["binary"], _ = program_for(model, example, write_out="binary")
    size = pair(example.shape[-2:])
    for form, each in forms.items():
        for chip in CHIPS.values():
            yield form, fit(model, each, size, chip, weight_bits=8, events=example.ndim == 5)


def _no_nir(model: SpikingNetwork, example: Tensor) -> str:
    """Why a network cannot be said in NIR, "" where it can."""
    try:
        check_installed("nir")
        from sresnet.export.nir import to_nir

        to_nir(model, example)
    except UserError as error:
        return str(error)
    return ""
