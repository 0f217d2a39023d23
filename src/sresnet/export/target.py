"""What a network can be exported to: who writes the file, who runs it, and what it says of itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from sresnet.config import check_types
from sresnet.data import AnyData
from sresnet.data.scaling import Scaling
from sresnet.errors import UserError
from sresnet.export.about import DRAWN, About, Takes, about_of_comment, comment
from sresnet.export.c import to_c
from sresnet.export.run_c import CProgram
from sresnet.export.source import WeightBits, WriteOut
from sresnet.export.torch_export import (
    PT2,
    about_of_torch_export,
    open_torch_export,
    saved,
    scores_of,
    to_torch_export,
)
from sresnet.files import read_regular, state_of
from sresnet.models.network import SpikingNetwork
from sresnet.models.summary import describe

Target = Literal["onnx", "torch-export", "c", "nir"]
ENDINGS: dict[Target, str] = {"onnx": ".onnx", "torch-export": PT2, "c": ".c", "nir": ".nir"}
"""Target -> ending of its files."""
RUNTIMES: dict[Target, str] = {
    "onnx": "onnxruntime",
    "torch-export": "torch.export",
    "c": "compiled C",
    "nir": "Euler steps of NIR",
}
"""Target -> what runs its files here."""
_CHANNELS = {1: "grey", 2: "events: off, on", 3: "red, green, blue"}

Runs = Callable[[Tensor], Tensor]
"""What a file makes of images [N, C, H, W] or frames [N, T, C, H, W]: scores after every step [N, T, classes]."""


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """What file to write.

    Raises:
        UserError: a field of the wrong type or out of range, or one that the target does not have.
    """

    to: Target = "onnx"
    """onnx: for onnxruntime and what else reads ONNX; torch-export: a graph of torch's own operators (.pt2); c: one C99
    file without dependencies; nir: the Neuromorphic Intermediate Representation."""
    streaming: bool = False
    """onnx: one time step, with potentials in and out, for live input and for stopping early."""
    write_out: WriteOut = "no"
    """binary: write the network out with single spikes, so that every weight meets 0 or 1 (or the input): a connection
    for every two layers instead of sums of spikes or currents."""
    weight_bits: WeightBits = 32
    """onnx, c: 8 or 4 rounds weights to so many bits, with a scale for each output channel."""
    strict: bool = False
    """nir: refuse neurons that reset by subtraction, which take a cycle."""
    num_steps: int = 0
    """Time steps of the file, the first of those trained; 0: all."""

    def __post_init__(self) -> None:
        check_types(self)
        if self.num_steps < 0:
            raise UserError(f"num_steps {self.num_steps} is less than 0: 0 stands for all that were trained")
        if self.streaming and self.to != "onnx":
            raise UserError(f"streaming is of ONNX files, and the target is {self.to}: leave it out")
        if self.weight_bits != 32 and self.to not in ("onnx", "c"):
            raise UserError(f"weight_bits {self.weight_bits} is of the targets onnx and c: leave it out")
        if self.strict and self.to != "nir":
            raise UserError(f"strict is of NIR files, and the target is {self.to}: leave it out")

    def steps_of(self, model: SpikingNetwork) -> int:
        """Time steps of the file."""
        return self.num_steps or model.config.num_steps


@dataclass(frozen=True, kw_only=True)
class ExportedFile:
    """A file before it is on the disk."""

    content: bytes
    scores: Runs
    notes: tuple[str, ...] = ()
    """What else to say of it."""


def check_installed(target: Target) -> None:
    """Raise UserError where what the target needs is not there."""
    missing = [name for name in _NEEDS.get(target, ()) if find_spec(name) is None]
    if missing:
        needed = " and ".join(missing)
        raise UserError(f"target {target} needs {needed}, not installed here: pip install 'sresnet[{target}]'")


_NEEDS: dict[Target, tuple[str, ...]] = {"onnx": ("onnx", "onnxruntime"), "nir": ("nir",)}
"""Target -> packages of the extra of that name."""


def exported(model: SpikingNetwork, example: Tensor, config: ExportConfig) -> Callable[[About], ExportedFile]:
    """A network as a file: a function of what it is to say of itself, so that the network is written down once.

    Args:
        model: in evaluation mode; it stays as it is.
        example: images [N, C, H, W] or event frames [N, T, C, H, W] of the size that the file is then for.
        config: which file.

    Raises:
        UserError: as `check_installed`, `to_onnx`, `to_torch_export` and `to_c`, or no compiler for C.
    """
    check_installed(config.to)
    steps, form = config.steps_of(model), config.write_out
    if config.to == "torch-export":
        program = to_torch_export(model, example, num_steps=steps, write_out=form)
        run = scores_of(program)
        return lambda about: ExportedFile(content=saved(program, about), scores=run)
    if config.to == "c":
        written = to_c(model, example, num_steps=steps, write_out=form, weight_bits=config.weight_bits)
        memory = f"{written.weights:,} bytes of weights, which may be read-only, {written.state:,} bytes of state"
        compiled = CProgram(written.text)
        return lambda about: ExportedFile(
            content=f"{comment(about)}\n{written.text}".encode(), scores=compiled.scores, notes=(memory,)
        )
    if config.to == "nir":
        from sresnet.export.nir import to_nir, written_as
        from sresnet.export.run_nir import NirProgram

        network = to_nir(model, example, num_steps=steps, strict=config.strict, write_out=form)
        run = NirProgram(network, "the file").scores
        return lambda about: ExportedFile(content=written_as(network, about), scores=run)
    from sresnet.export.onnx import described, to_onnx
    from sresnet.export.run_onnx import OnnxFile

    graph = to_onnx(
        model,
        example,
        streaming=config.streaming,
        num_steps=steps,
        write_out=form,
        weight_bits=config.weight_bits,
    )

    def made(about: About) -> ExportedFile:
        content = described(graph, about).SerializeToString()
        return ExportedFile(content=content, scores=OnnxFile(content, "the file").scores)

    return made


def about_export(
    model: SpikingNetwork,
    example: Tensor,
    config: ExportConfig,
    *,
    scaling: Scaling,
    class_names: Sequence[str],
    data: AnyData,
    seed: int,
) -> About:
    """What a file will say of itself, but for how good it is; arguments as `exported`, and what `About` says."""
    from sresnet import __version__

    frames = example.ndim == 5 or model.config.encoder in DRAWN
    by_step = config.streaming or config.to in ("c", "nir")
    takes: Takes = "steps" if by_step else "frames" if frames else "images"
    plain = scaling.plain()
    mean, std = plain.get("mean"), plain.get("std")
    form = ", written out with single spikes" if config.write_out == "binary" else ""
    bits = f", weights of {config.weight_bits} bits" if config.weight_bits != 32 else ""
    return About(
        network=describe(model.config) + form + bits,
        version=__version__,
        takes=takes,
        num_steps=config.steps_of(model),
        in_channels=model.config.in_channels,
        image_size=(example.shape[-2], example.shape[-1]),
        channels=_CHANNELS.get(model.config.in_channels, ""),
        class_names=tuple(class_names),
        encoder=model.config.encoder,
        encodes=model.config.encoder == "direct" or (config.to not in ("c", "nir") and not frames),
        encoder_steps=model.config.num_steps,
        poisson_scale=model.config.poisson_scale,
        delta_threshold=model.config.delta_threshold,
        mean=None if mean is None else tuple(mean),
        std=None if std is None else tuple(std),
        scale=plain.get("scale"),
        shown=plain.get("shown", "counts"),
        data=data,
        seed=seed,
    )


# Files that are there -------------------------------------------------------------------------------------------------


def target_of(path: Path) -> Target | None:
    """The target whose files have such a name, in small letters or capitals; None: the name is of none."""
    return next((target for target, ending in ENDINGS.items() if path.suffix.lower() == ending), None)


def about_file(path: Path) -> About:
    """What a file says of itself; nothing in it is run.

    Raises:
        UserError: there is none, it is damaged, or it was not exported by sresnet.
    """
    _check_there(path)
    target = target_of(path)
    if target == "torch-export":
        return about_of_torch_export(path)
    if target == "c":
        return about_of_comment(read_regular(path).decode(errors="replace"), str(path))
    if target == "nir":
        return _read_nir(path)[0]
    check_installed("onnx")
    from sresnet.export.onnx import about_of_onnx

    return about_of_onnx(read_regular(path), str(path))


def open_file(path: Path) -> tuple[About, Runs]:
    """What a file says of itself, and what runs it. C is compiled and run here: only for files that you trust.

    Raises:
        UserError: as `about_file`, or a file that cannot be run.
    """
    target = target_of(path)
    if target == "nir":
        _check_there(path)
        about, graph = _read_nir(path)
        from sresnet.export.run_nir import NirProgram

        return about, NirProgram(graph, str(path)).scores
    about = about_file(path)
    if target == "torch-export":
        return about, open_torch_export(path)
    if target == "c":
        program = CProgram(read_regular(path).decode(errors="replace"))
        if 0 < program.most_steps < about.num_steps:
            raise UserError(
                f"{path} says that it runs {about.num_steps} time steps, and has numbers for {program.most_steps}: it "
                "is damaged, export it again"
            )
        return about, program.scores
    from sresnet.export.run_onnx import OnnxFile

    return about, OnnxFile(read_regular(path), str(path)).scores


def _check_there(path: Path) -> None:
    """Raise UserError where there is no such file."""
    if not path.is_file():
        raise UserError(f"{path} {state_of(path)}: give a file that sresnet export wrote")


def _read_nir(path: Path) -> tuple[About, Any]:
    """What a NIR file says of itself, and its graph."""
    check_installed("nir")
    from sresnet.export.nir import read_from

    return read_from(path)
