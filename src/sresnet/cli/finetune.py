"""`sresnet finetune`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from sresnet.cli.parse import first_word, parse, take_memory_limit, take_option, wants_help
from sresnet.cli.runs import read_run
from sresnet.cli.train import TrainOptions, recipe_fields, shared, train_and_report
from sresnet.data import CLASSES, DATA_SETS, EVENT_SETS, usual_data
from sresnet.errors import UserError
from sresnet.printing import say
from sresnet.processes import Processes
from sresnet.train.recipe import Recipe


def finetune_verb(words: list[str]) -> int:
    """`sresnet finetune RUN [--data NAME] [--field value ...]`."""
    return shared(lambda processes: _finetune(words, processes))


def _finetune(words: list[str], processes: Processes) -> int:
    """`sresnet finetune` in one of the processes."""
    if wants_help(words) or ("--help" in words and not take_option(words, "--data")[0]):
        say(f"usage: {_USAGE}", "", "NAME: " + ", ".join(DATA_SETS))
        say(
            "The recipe of RUN, with its fields as flags as in sresnet train. On other data, NAME, stem convolution and"
        )
        say("readout start anew. Without --data RUN goes on with its own, for a tenth of its epochs at a tenth of its")
        say("rates: --model.norm time-averaged makes norms per step one, and --calibrate does so without training.")
        return 0
    source = first_word(words, "run", "give the folder of a trained run")
    recipe = read_run(source, take_memory_limit(words)[0])
    name, rest = take_option(words[1:], "--data")
    recipe = _on_other_data(recipe, name) if name else _on_its_own(recipe, take_option(rest, "--model.norm")[0])
    options = parse(
        TrainOptions(**recipe_fields(replace(recipe, pretrained=source))),
        rest,
        f"sresnet finetune {source}{f' --data {name}' if name else ''}",
        f"Fine-tune {source} on {name or 'its own data'}.",
    )
    made = f"{name or recipe.data.name}-from-{Path(source).name}"
    return train_and_report(options, made, processes, run="" if name else source)


_USAGE = "sresnet finetune RUN [--data NAME] [--calibrate] [--field value ...]"


def _on_other_data(recipe: Recipe, name: str) -> Recipe:
    """The recipe on another data set; UserError for an unknown one."""
    if name not in DATA_SETS:
        raise UserError(f"--data {name!r} is not a known data set: choose from {', '.join(DATA_SETS)}")
    events = name in EVENT_SETS
    classes, channels = CLASSES.get(name, (recipe.model.num_classes, 2 if events else 3))
    fields: dict[str, Any] = {"num_classes": classes, "in_channels": channels}
    fields |= {"encoder": "direct"} if events else {}  # the others make spikes of images
    return replace(
        recipe,
        data=usual_data(name, recipe.data),
        model=replace(recipe.model, **fields),
        train=replace(recipe.train, low_res_epochs=0) if events else recipe.train,  # only images have them
        pretrained_layers="inner",
        calibrate=False,
    )


def _on_its_own(recipe: Recipe, norm: str) -> Recipe:
    """The recipe to go on with on the same data, gently; with a norm of all time steps, these are not divided."""
    train = recipe.train
    fields: dict[str, Any] = {"progressive_epochs": (), "low_res_epochs": 0, "warmup_epochs": 0.0, "cosine_epochs": 0}
    fields |= {"epochs": max(1, train.epochs // 10), "muon_lr": train.muon_lr / 10}
    fields |= {"learning_rate": train.learning_rate / 10}
    fields |= {"time_segments": ()} if norm in ("time-averaged", "tdbn") else {}
    return replace(recipe, train=replace(train, **fields), pretrained_layers="all", calibrate=False)
