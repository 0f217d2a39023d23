"""`sresnet export`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from sresnet import __version__
from sresnet.analysis.walk import batches_of, spread
from sresnet.cli.exported import ENDINGS, check_installed, taken_by
from sresnet.cli.parse import at_least, name_and_flags, parse
from sresnet.cli.runs import RuntimeOptions, accuracy, print_split, read_run, trained
from sresnet.cli.terminal import signs_of_life
from sresnet.data import Splits
from sresnet.data.scaling import Scaling
from sresnet.errors import UserError
from sresnet.export.about import DRAWN, About, Takes, comment
from sresnet.export.c import to_c
from sresnet.export.comparison import NEAR, Comparison, compared
from sresnet.export.run_c import CProgram, find_compiler
from sresnet.export.torch_export import TorchFile, saved, to_torch_export
from sresnet.files import check_free, make_folder, write_whole
from sresnet.models.network import SpikingNetwork
from sresnet.models.summary import describe
from sresnet.ops.dispatch import implementation
from sresnet.printing import going_on, say
from sresnet.randomness import seed_of
from sresnet.report.records import kind_of
from sresnet.train.recipe import Recipe

_CHANNELS = {1: "grey", 2: "events: off, on", 3: "red, green, blue"}


@dataclass(frozen=True, kw_only=True)
class _ExportOptions(RuntimeOptions):
    """Flags of `sresnet export`."""

    to: Literal["onnx", "torch-export", "c"] = "onnx"
    """onnx: for onnxruntime and what else reads ONNX; torch-export: a graph of torch's own operators (.pt2); c: one C99
    file without dependencies."""
    out: str = ""
    """File to write; by default the name of the run and the ending of the target."""
    streaming: bool = False
    """onnx: one time step, with potentials in and out, for live input and for stopping early."""
    weight_bits: Literal[32, 8] = 32
    """onnx, c: 8 rounds weights to eight bits, with a scale for each output channel."""
    num_steps: int = 0
    """Time steps of the file, the first of those trained; 0: all."""
    images: int = 1000
    """Test images, evenly spread, that network and file are compared on; 0: all."""
    batch_size: int = 50
    """Images at a time in the comparison; affects only memory and speed."""
    force: bool = False
    """Overwrite what is in the way."""


@going_on()
def export_verb(words: list[str]) -> int:
    """`sresnet export RUN --to onnx`."""
    source, rest = name_and_flags(words, "run", "give the folder of a trained network")
    options = parse(_ExportOptions(), rest, f"sresnet export {source}", "A trained network as a file for others.")
    at_least(1, batch_size=options.batch_size)
    at_least(0, images=options.images, num_steps=options.num_steps)
    if options.streaming and options.to != "onnx":
        raise UserError(f"--streaming is of --to onnx, and --to is {options.to}: leave one of them out")
    if options.weight_bits == 8 and options.to == "torch-export":
        raise UserError("--weight-bits 8 is of --to onnx and --to c: leave it out")
    check_installed(options.to)
    recipe = read_run(source, options.memory_limit)
    stem = f"{Path(source).name}-streaming" if options.streaming else Path(source).name
    path = Path(options.out) if options.out else Path(source).with_name(stem + ENDINGS[options.to])
    if path.suffix != ENDINGS[options.to]:
        raise UserError(f"--out {path} does not end in {ENDINGS[options.to]}: choose such a name")
    check_free(path, (), force=options.force)
    make_folder(path.parent)
    splits = options.open_again(recipe, source)
    model, scaling, about_run = trained(source, torch.device("cpu"), options.memory_limit, splits.test)
    samples = splits.test.subset(spread(len(splits.test), options.images)) if options.images else splits.test
    num_steps = options.num_steps or recipe.model.num_steps
    example = scaling(samples.batch(torch.tensor([0])))
    about = _about(recipe, model, example, scaling, about_run["class_names"], num_steps, options)
    made = _made(options, model, example, num_steps)
    runs = made(about).scores
    batches = batches_of(samples, scaling, batch_size=options.batch_size, device=torch.device("cpu"))
    settings: dict[str, Any] = {
        "seed": seed_of("evaluate", recipe.seed),
        "eight_bits": options.weight_bits == 8,
    }
    with implementation(options.engine):
        found = compared(model, runs, about, signs_of_life(batches, len(samples)), **settings)
    if found.wrong:
        raise RuntimeError(f"{found.wrong} of {found.images} images have other scores in the exported file")
    about = replace(about, part="test", images=found.images, top1_before=found.top1_before, top1_after=found.top1_after)
    file = made(about)
    write_whole(path, file.content)
    say(f"written: {path}, {len(file.content):,} bytes, {about.network}, takes {taken_by(about)}", *file.notes)
    _print_comparison(found, options.to, splits, recipe)
    print_split(recipe.data, splits)
    return 0


def _about(
    recipe: Recipe,
    model: SpikingNetwork,
    example: Tensor,
    scaling: Scaling,
    class_names: list[str],
    num_steps: int,
    options: _ExportOptions,
) -> About:
    """What the file will say of itself, but for how good it is."""
    frames = example.ndim == 5 or model.config.encoder in DRAWN
    by_step = options.streaming or options.to == "c"
    takes: Takes = "steps" if by_step else "frames" if frames else "images"
    plain = scaling.plain()
    mean, std = plain.get("mean"), plain.get("std")
    return About(
        network=describe(recipe.model),
        version=__version__,
        takes=takes,
        num_steps=num_steps,
        in_channels=model.config.in_channels,
        image_size=(example.shape[-2], example.shape[-1]),
        channels=_CHANNELS.get(model.config.in_channels, ""),
        class_names=tuple(class_names),
        encoder=model.config.encoder,
        encodes=model.config.encoder == "direct" or (options.to != "c" and not frames),
        encoder_steps=model.config.num_steps,
        poisson_scale=model.config.poisson_scale,
        delta_threshold=model.config.delta_threshold,
        mean=None if mean is None else tuple(mean),
        std=None if std is None else tuple(std),
        scale=plain.get("scale"),
        data=recipe.data,
        seed=recipe.seed,
    )


@dataclass(frozen=True, kw_only=True)
class _File:
    """An exported file before it is on the disk."""

    content: bytes
    scores: Callable[[Tensor], Tensor]
    notes: tuple[str, ...] = ()
    """What else to say of it."""


def _made(options: _ExportOptions, model: SpikingNetwork, example: Tensor, num_steps: int) -> Callable[[About], _File]:
    """A function that gives the file, with what it says of itself; the network is written down once."""
    if options.to == "torch-export":
        program = to_torch_export(model, example, num_steps=num_steps)
        return lambda about: _File(content=saved(program, about), scores=TorchFile(program, about).scores)
    if options.to == "c":
        written = to_c(model, example, eight_bits=options.weight_bits == 8)
        memory = f"{written.weights:,} bytes of weights, which may be read-only, {written.state:,} bytes of state"
        if find_compiler() is None:
            raise UserError("--to c compiles the file to compare it, and no C compiler is here: install gcc or set CC")
        program_in_c = CProgram(written.text)

        def in_c(about: About) -> _File:
            text = f"{comment(about)}\n{written.text}"
            return _File(content=text.encode(), scores=program_in_c.scores, notes=(memory,))

        return in_c
    from sresnet.export.onnx import described, to_onnx
    from sresnet.export.run_onnx import OnnxFile

    shape: dict[str, Any] = {"streaming": options.streaming, "num_steps": num_steps}
    graph = to_onnx(model, example, eight_bits=options.weight_bits == 8, **shape)

    def made(about: About) -> _File:
        content = described(graph, about).SerializeToString()
        return _File(content=content, scores=OnnxFile(content, "the file").scores)

    return made


def _print_comparison(found: Comparison, target: str, splits: Splits, recipe: Recipe) -> None:
    """What came out of the comparison."""
    runtime = {"onnx": "onnxruntime", "torch-export": "torch.export", "c": "compiled C"}[target]
    kind = kind_of(recipe.data)
    say(
        f"{accuracy('test', splits.about)}: {found.top1_before:.2f} % before, {found.top1_after:.2f} % after export in "
        f"{runtime}, on {found.images:,} {kind}"
    )
    same, near = found.images - found.near, found.near - found.near_and_other
    say(
        f"scores after every step are equal on {same:,} of {same:,} {kind}, the largest difference {found.largest:.1g}",
        f"and on {near:,} of {found.near:,} with a potential within {NEAR:g} of a threshold, where rounding may decide",
    )
