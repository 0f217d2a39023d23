"""torch.export: a network as a graph of torch's own operators, which loads without this package."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from sresnet.archives import open_zip, read_member
from sresnet.errors import UserError
from sresnet.export.about import DRAWN, About, about_of, metadata_in
from sresnet.export.source import WriteOut, program_for
from sresnet.models.network import SpikingNetwork, zero_or_nan
from sresnet.models.program import Program, run
from sresnet.nn.encoder import encode


class _Steps(nn.Module):
    """A program: images [N, C, H, W] or encoded frames [N, T, C, H, W] -> scores after every step [N, T, classes]."""

    def __init__(self, program: Program, num_steps: int) -> None:
        super().__init__()
        self.program, self.num_steps = program, num_steps

    def forward(self, x: Tensor) -> Tensor:
        config = self.program.config
        if x.ndim == 5:
            return run(self.program, x.transpose(0, 1)).transpose(0, 1)
        frames = encode(
            config.encoder,
            x,
            self.num_steps,
            first=0,
            total=config.num_steps,
            poisson_scale=config.poisson_scale,
            delta_threshold=config.delta_threshold,
        )
        scores = run(self.program, frames) + zero_or_nan(x, None)[..., 0, 0]  # a code of NaN may be finite
        return scores.transpose(0, 1)


def to_torch_export(
    model: SpikingNetwork, example: Tensor, *, num_steps: int | None = None, write_out: WriteOut = "no"
) -> torch.export.ExportedProgram:
    """A network in evaluation mode as an exported program; N may differ from call to call.

    Args:
        model: stays as it is.
        example: images [N, C, H, W] or event frames [N, T, C, H, W], see `onnx.to_onnx`.
        num_steps: time steps; None: the network's, or those of `example`.
        write_out: "binary" for the form in which all messages are spikes, see `source.program_for`.

    Raises:
        UserError: as `program_for`.
    """
    program, steps = program_for(model, example, num_steps=num_steps, write_out=write_out)
    shape = example.shape[-3:]
    if example.ndim == 5 or model.config.encoder in DRAWN:
        shape = torch.Size((steps, *shape))
    given = torch.zeros(2, *shape, dtype=example.dtype)  # of one, N would be taken for a constant
    with torch.no_grad():
        return torch.export.export(
            _Steps(program, steps), (given,), dynamic_shapes={"x": {0: torch.export.Dim("N", min=1)}}
        )


PT2 = ".pt2"
"""Ending of the files, which `torch.export.load` wants."""
_ABOUT = "sresnet.json"
"""Name of what a file says of itself, within it."""
_ABOUT_LIMIT = 0.01
"""Gigabytes that this may take."""


def scores_of(program: torch.export.ExportedProgram) -> Callable[[Tensor], Tensor]:
    """What runs an exported network: images [N, C, H, W] or frames [N, T, C, H, W] -> scores [N, T, classes]."""
    module = program.module()

    def scores(x: Tensor) -> Tensor:
        with torch.inference_mode():
            return module(x)

    return scores


def saved(program: torch.export.ExportedProgram, about: About) -> bytes:
    """The bytes of a file."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={_ABOUT: json.dumps(about.texts())})
    return buffer.getvalue()


def about_of_torch_export(path: Path) -> About:
    """What a file says of itself; nothing else in it is read.

    Raises:
        UserError: it is damaged, or was not exported by sresnet.
    """
    with open_zip(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(f"/{_ABOUT}")]
        text = read_member(archive, names[0], str(path), memory_limit=_ABOUT_LIMIT) if names else b"{}"
    return about_of(metadata_in(text, f"{_ABOUT} in {path}"), str(path))


def open_torch_export(path: Path) -> Callable[[Tensor], Tensor]:
    """What runs a file; UserError where this torch does not read it."""
    try:
        program = torch.export.load(path)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path} is no file of torch.export that this torch reads ({reason}): export it again"
        ) from None
    return scores_of(program)
