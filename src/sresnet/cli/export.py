"""`sresnet export`."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from sresnet.analysis.walk import batches_of, spread
from sresnet.cli.exported import taken_by
from sresnet.cli.parse import at_least, name_and_flags, parse
from sresnet.cli.runs import RuntimeOptions, accuracy, print_split, trained
from sresnet.cli.terminal import print_table, signs_of_life
from sresnet.data import EventConfig, Splits
from sresnet.data.config import as_trained
from sresnet.errors import UserError
from sresnet.export.chips import chip_of
from sresnet.export.comparison import NEAR, Comparison, compared, expected
from sresnet.export.fitting import Fit, fit, unchecked
from sresnet.export.source import program_for
from sresnet.export.target import (
    ENDINGS,
    RUNTIMES,
    ExportConfig,
    Target,
    about_export,
    check_installed,
    exported,
    target_of,
)
from sresnet.export.written import EXPORTS, Written, note_written
from sresnet.files import check_free, make_folder, write_whole
from sresnet.models.pretrained import is_shipped
from sresnet.models.summary import describe
from sresnet.ops.dispatch import implementation
from sresnet.printing import give, going_on, say
from sresnet.randomness import seed_of
from sresnet.report.document import Value
from sresnet.report.records import kind_of
from sresnet.train.recipe import Recipe
from sresnet.train.record import recipe_of


@dataclass(frozen=True, kw_only=True)
class _ExportOptions(RuntimeOptions, ExportConfig):
    """Flags of `sresnet export`."""

    out: str = ""
    """File to write; by default the name of the run and the ending of the target."""
    images: int = 1000
    """Test images, evenly spread, that network and file are compared on; 0: all."""
    batch_size: int = 50
    """Images at a time in the comparison; affects only memory and speed."""
    force: bool = False
    """Overwrite what is in the way."""
    check: str | None = None
    """loihi2, spinnaker2, speck, or a .toml file of limits: write nothing, and say what of the network such a chip
    cannot do, and the cure; exit status 0 where it fits, 3 where it does not. With write-out and weight-bits."""


@going_on()
def export_verb(words: list[str]) -> int:
    """`sresnet export RUN --to onnx`."""
    source, rest = name_and_flags(words, "run", "give the folder of a trained network")
    options = parse(_ExportOptions(), rest, f"sresnet export {source}", "A trained network as a file for others.")
    at_least(1, batch_size=options.batch_size)
    at_least(0, images=options.images)
    config = ExportConfig(**{field.name: getattr(options, field.name) for field in fields(ExportConfig)})
    if options.check is not None:
        return _check(source, options.check, options)
    check_installed(options.to)
    recipe = recipe_of(source, memory_limit=options.memory_limit)
    stem = f"{Path(source).name}-streaming" if options.streaming else Path(source).name
    path = Path(options.out) if options.out else Path(source).with_name(stem + ENDINGS[options.to])
    if target_of(path) != options.to:
        raise UserError(f"--out {path} does not end in {ENDINGS[options.to]}: choose such a name")
    check_free(path, None, force=options.force)
    make_folder(path.parent)
    splits = options.open_again(recipe, source)
    model, scaling, about_run = trained(source, torch.device("cpu"), options.memory_limit, splits.test)
    samples = splits.test.subset(spread(len(splits.test), options.images)) if options.images else splits.test
    example = scaling(samples.batch(torch.tensor([0])))
    origin: dict[str, Any] = {
        "class_names": about_run["class_names"],
        "data": as_trained(recipe.data, about_run),
        "seed": recipe.seed,
    }
    about = about_export(model, example, config, scaling=scaling, **origin)
    made = exported(model, example, config)
    batches = batches_of(samples, scaling, batch_size=options.batch_size, device=torch.device("cpu"))
    seed = seed_of("evaluate", recipe.seed)
    with implementation(options.engine):
        found = compared(
            made(about).scores, about, expected(model, signs_of_life(batches, len(samples)), config, seed=seed)
        )
    if found.wrong:
        raise RuntimeError(f"{found.wrong} of {found.images} images have other scores in the exported file")
    about = replace(about, part="test", images=found.images, top1_before=found.top1_before, top1_after=found.top1_after)
    file = made(about)
    write_whole(path, file.content)
    say(
        f"written: {path}, {len(file.content):,} bytes",
        f"{about.network}, takes {taken_by(about, options.to)}",
        *file.notes,
    )
    _print_comparison(found, options.to, splits, recipe)
    written = Written(
        file=path.name, config=config, size=len(file.content), notes=file.notes, comparison=found, version=about.version
    )
    give({"run": source, "path": path} | asdict(written))
    if not is_shipped(source):
        _note(Path(source), written)
    print_split(recipe.data, splits)
    return 0


def _check(source: str, target: str, options: _ExportOptions) -> int:
    """`sresnet export RUN --check TARGET`; returns the exit status."""
    given = [name for name in ("out", "force", "streaming", "strict") if getattr(options, name)]
    if given:
        raise UserError(f"--check writes no file, and --{given[0]} is about one: leave it out")
    chip = chip_of(target)
    recipe = recipe_of(source, memory_limit=options.memory_limit)
    model, _, about = trained(source, torch.device("cpu"), options.memory_limit)
    height, width = about["image_size"]
    example = torch.zeros(1, model.config.in_channels, height, width)
    program, _ = program_for(model.eval(), example, write_out=options.write_out)
    events = isinstance(recipe.data, EventConfig)
    found = fit(model, program, (height, width), chip, weight_bits=options.weight_bits, events=events)
    form = ", written out with single spikes" if options.write_out == "binary" else ""
    bits = f"weights of {options.weight_bits} bits"
    say(f"{describe(model.config)}{form}, {bits}, images of {height}x{width}, on {chip.name}", "")
    say("", *_print_fit(found))
    fits = not found.violations
    give({"run": source, "chip": chip.name, "fits": fits, "cores": found.needed, "violations": found.violations})
    return 0 if fits else _DOES_NOT_FIT


_DOES_NOT_FIT = 3
"""Exit status of a check that found something."""


def _print_fit(found: Fit) -> Iterator[str]:
    """Print the layers; then lines about what is violated."""
    header = "layer | neurons:,d | fan-in:,d | weights:,d | synapses:,d | delay:d | cores:,d | receives | violated"
    rows: list[tuple[Value, ...]] = []
    for layer, cores in zip(found.layers, found.cores, strict=True):
        numbers = (layer.neurons, layer.fan_in, layer.weights(found.chip), layer.synapses, layer.delay, cores)
        violated = ", ".join(each.short for each in found.of(layer)) or "-"
        rows.append((layer.name, *numbers, ", ".join(map(str, layer.messages)), violated))
    print_table(header, rows)
    cures: dict[tuple[str, str], list[str]] = {}
    for each in found.violations:
        cures.setdefault((each.what, each.cure), []).append(each.layer)
    for (what, cure), layers in cures.items():
        where = "the network" if layers == [""] else layers[0] if len(layers) == 1 else f"{len(layers)} layers"
        yield f"{where}: {what}: {cure}"
    there = sum(each.count for each in found.chip.cores)
    neurons, synapses = (sum(getattr(layer, name) for layer in found.layers) for name in ("neurons", "synapses"))
    needed = "" if found.needed is None else f"{found.needed:,} of {there:,} cores, "
    yield f"in all: {needed}{neurons:,} neurons, {synapses:,} synapses"
    if missing := unchecked(found.chip):
        yield f"not published, so not checked: {', '.join(missing)}"
    yield from (f"source: {each}" for each in found.chip.sources)
    count = len(found.reasons)
    yield f"{found.chip.name}: " + ("fits" if not count else f"does not fit, for {count} reason{'s' * (count > 1)}")


def _note(run: Path, written: Written) -> None:
    """Keep what came out in the run folder, for its page; a folder that refuses costs the file nothing."""
    try:
        note_written(run, written)
    except UserError as error:
        say(f"note: {run / EXPORTS} does not know of this file: {error}")


def _print_comparison(found: Comparison, target: Target, splits: Splits, recipe: Recipe) -> None:
    """What came out of the comparison."""
    kind = kind_of(recipe.data)
    say(
        f"{accuracy('test', splits.about)}: {found.top1_before:.2f} % before, {found.top1_after:.2f} % after export in "
        f"{RUNTIMES[target]}, on {found.images:,} {kind}"
    )
    say(
        f"scores after every step are equal on {found.same:,} of {found.apart:,} {kind}, the largest difference "
        f"{found.largest:.1g}",
        f"and on {found.near_and_same:,} of {found.near:,} with a potential within {NEAR:g} of a threshold, where "
        "rounding may decide",
    )
