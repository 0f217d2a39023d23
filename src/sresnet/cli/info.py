"""`sresnet info`."""

import re
from dataclasses import asdict
from pathlib import Path

from sresnet.cli.exported import print_exported
from sresnet.cli.parse import first_word, parse, take_memory_limit, take_option, wants_help
from sresnet.cli.runs import about_run, check_image
from sresnet.cli.terminal import print_table
from sresnet.config import to_dict
from sresnet.errors import UserError
from sresnet.export.target import target_of
from sresnet.models import model_config
from sresnet.models.pretrained import is_shipped
from sresnet.models.saved import load
from sresnet.models.summary import describe, summarise
from sresnet.printing import give, say
from sresnet.train import record
from sresnet.train.recipe_file import as_toml
from sresnet.train.record import recipe_of


def info_verb(words: list[str]) -> int:
    """`sresnet info MODEL|RUN|FILE [--field value ...]`."""
    if wants_help(words):
        say("usage: sresnet info MODEL|RUN|FILE [--image-size 32|16x24] [--field value ...]", "")
        say("MODEL: see sresnet list. FILE: weights, such as those of a run, or what sresnet export has written.")
        say("sresnet info RUN --toml shows the recipe of a run, for sresnet train FILE.toml.")
        say("image-size: side, or height and width; without it that of RUN or MODEL, or 32.")
        say("sresnet info MODEL --help explains every field of a model.")
        return 0
    name = first_word(words, "model", "see sresnet list")
    if target_of(Path(name)) is not None:
        if words[1:]:
            raise UserError(f"{words[1]!r} is not for exported files: leave it out")
        print_exported(name)
        return 0
    compat, rest = take_option(words[1:], "--compat")
    text, rest = take_option(rest, "--image-size")
    memory_limit, rest = take_memory_limit(rest)
    of_run = None
    if Path(name).is_dir():
        of_run = record.read_recipe(Path(name), memory_limit=memory_limit)
    elif is_shipped(name):
        of_run = recipe_of(name, memory_limit=memory_limit)
    if "--toml" in rest:
        if of_run is None or rest != ["--toml"]:
            raise UserError("--toml shows the recipe of a run alone: give a run folder, and no other flags")
        give(to_dict(of_run))
        say(*as_toml(of_run).splitlines())
        return 0
    of_file = load(name, memory_limit=memory_limit) if _is_weights(name) else None
    known = of_run.model if of_run else of_file.config if of_file else None
    config = known or model_config(name, compat=compat or None)
    config = parse(config, rest, f"sresnet info {name}", "A network, its layers and what they cost.")
    usual = getattr(config, "image_size", 32)
    usual = of_file.trained.image_size if of_file and of_file.trained else (usual, usual)
    size = _image_size(text) if text else _image_size_of(name) if of_run else usual
    if of_run and not text:
        check_image(size, config, name, memory_limit)
    summary = summarise(config, size)
    layers = [
        asdict(each) | {"multiply_accumulates": each.multiply_accumulates, "spike_additions": each.spike_additions}
        for each in summary.layers
    ]
    totals = {"parameters": summary.parameters, "neurons": summary.neurons}
    give({"network": describe(config), "model": to_dict(config), "image_size": size, "layers": layers} | totals)
    print_table(
        "layer | kernel | output | parameters:, | input | MAC / step:, | additions / step:,",
        [
            (
                *(layer.name, layer.kernel, "x".join(map(str, layer.output)), layer.parameters, layer.input_kind),
                *(layer.multiply_accumulates or None, layer.spike_additions or None),
            )
            for layer in summary.layers
        ],
    )
    say(
        "",
        f"{describe(config)}, {config.in_channels}x{size[0]}x{size[1]} images",
        f"parameters: {summary.parameters:,}",
        f"spiking neurons: {summary.neurons:,}",
        f"multiply-accumulates per step: {sum(layer.multiply_accumulates for layer in summary.layers):,}",
        f"spike additions per step: {sum(layer.spike_additions for layer in summary.layers):,}, "
        "times the mean number of spikes that an input sends",
    )
    return 0


def _is_weights(name: str) -> bool:
    """Whether a file of weights is meant, there or not."""
    return Path(name).is_file() or name.endswith(".safetensors")


def _image_size(text: str) -> tuple[int, int]:
    """Height and width of an image, from a side such as 32, or both, such as 16x24."""
    found = re.fullmatch(r"([0-9]{1,4})(?:x([0-9]{1,4}))?", text)
    sides = [int(side) for side in found.groups(default=found[1])] if found else [0]
    if min(sides) < 1:
        raise UserError(
            f"image-size {text!r} is neither a side of 1 to 9999 pixels nor height and width: try 32, or 16x24"
        )
    return sides[0], sides[1]


def _image_size_of(run: str) -> tuple[int, int]:
    """Height and width of what a run was trained on; 32 each where none is recorded yet."""
    if not is_shipped(run) and not (Path(run) / record.DATA).exists():
        return 32, 32
    height, width = about_run(run)["image_size"]
    return height, width
