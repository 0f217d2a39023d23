"""`sresnet import`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sresnet.cli.parse import name_and_flags, parse
from sresnet.cli.runs import ReadOptions
from sresnet.data import CLASSES, DataConfig, EventConfig
from sresnet.data.events.frames import FrameConfig, input_scale
from sresnet.data.events.sets import CIFAR10_CLASSES
from sresnet.data.samples import unnamed
from sresnet.data.scaling import CIFAR10_STATISTICS, Counts, Pixels, Scaling
from sresnet.errors import UserError
from sresnet.files import make_folder, only_writer, read_regular, write_json
from sresnet.models.released import load_released
from sresnet.models.saved import WEIGHTS, model_bytes, save_model
from sresnet.models.summary import describe
from sresnet.printing import give, going_on, say
from sresnet.train import record
from sresnet.train.recipe import Recipe, TrainConfig


@dataclass(frozen=True, kw_only=True)
class _ImportOptions(ReadOptions):
    """Flags of `sresnet import`."""

    data: str = "cifar10"
    """Data set that it was trained on: cifar10, cifar100 or dvs-cifar10; event networks are told by their input."""
    boosting: bool = False
    """Whether it was trained with a boosting layer."""
    leak: float = 0.8744
    """Leak that it was trained with; 0.8744 in the README of the released code."""
    out: str = ""
    """Run folder to make; by default runs/NAME."""


@going_on()
def import_verb(words: list[str]) -> int:
    """`sresnet import FILE`."""
    path, rest = name_and_flags(words, "file", "give a checkpoint of the released code")
    options = parse(_ImportOptions(), rest, f"sresnet import {path}", "A checkpoint of the released code as a run.")
    if options.data not in ("cifar10", "cifar100", "dvs-cifar10"):
        raise UserError(f"data {options.data!r} is unknown: choose cifar10, cifar100 or dvs-cifar10")
    classes = CLASSES[options.data][0]
    fields: Any = {"boosting": options.boosting, "leak": options.leak, "memory_limit": options.memory_limit}
    model = load_released(path, num_classes=classes, **fields)
    events = model.config.in_channels == 2
    if options.data == "dvs-cifar10" and not events:
        raise UserError(f"{path} holds a network for images: choose --data cifar10 or cifar100")
    name = "dvs-cifar10" if events else options.data
    recipe = Recipe(
        model=model.config,
        data=RELEASED_EVENTS if events else DataConfig(name=name),  # type: ignore[arg-type]
        train=TrainConfig(protocol="released-code"),
    )
    folder = Path(options.out or f"runs/{Path(path).name.split('.')[0]}")
    names = CIFAR10_CLASSES if classes == 10 else unnamed(classes)
    scaling: Scaling = Pixels(*map(torch.tensor, CIFAR10_STATISTICS))
    size = (32, 32)
    counted: dict[str, Any] = {"counts": RELEASED_EVENTS.frames.counts} if events else {}
    if events:
        scaling, size = Counts(input_scale(128, 128, RELEASED_EVENTS.frames)), (64, 64)
    make_folder(folder)
    with only_writer(folder):
        record.claim(folder, recipe)
        environment = record.read_environment(folder) if (folder / record.ENVIRONMENT).exists() else None
        trained_here = environment is not None and "imported_from" not in environment
        weights = folder / WEIGHTS
        if trained_here or (weights.exists() and read_regular(weights) != model_bytes(model)):
            raise UserError(f"{folder} holds a run: choose another --out")
        # Weights come last: where they are, the import is complete. One that was killed resumes, a complete one stays.
        write_json(folder / record.ENVIRONMENT, {"imported_from": str(path)})
        write_json(folder / record.DATA, {"class_names": names, "image_size": size, **scaling.plain()} | counted)
        save_model(model, weights)
    say(f"{describe(recipe.model)}, trained on {name}", f"run folder: {folder}")
    give({"run": folder, "data": name, "classes": names})
    return 0


RELEASED_EVENTS = EventConfig(
    name="dvs-cifar10",
    split="first900-by-name",
    frames=FrameConfig(by="count", size=64, resize="mean", orientation="spikingjelly"),
)
"""What the released code's event networks were trained on."""
