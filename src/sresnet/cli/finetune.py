"""`sresnet finetune`."""

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from sresnet.cli.parse import first_word, parse, take_memory_limit, take_option, wants_help
from sresnet.cli.runs import about_run
from sresnet.cli.train import TrainOptions, recipe_fields, shared, train_and_report
from sresnet.data import CLASSES, DATA_SETS, EVENT_SETS, Samples
from sresnet.data.signs import not_to_mirror
from sresnet.errors import UserError
from sresnet.printing import say
from sresnet.processes import Processes
from sresnet.train.finetune import FINETUNE, check_tunable, finetuning_of, other_data
from sresnet.train.recipe import Recipe
from sresnet.train.record import recipe_of


def finetune_verb(words: list[str]) -> int:
    """`sresnet finetune RUN [--data NAME] [--field value ...]`."""
    return shared(lambda processes: _finetune(words, processes))


def _finetune(words: list[str], processes: Processes) -> int:
    """`sresnet finetune` in one of the processes."""
    if wants_help(words) or ("--help" in words and not take_option(words, "--data")[0]):
        say(f"usage: {_USAGE}", "", "NAME: " + ", ".join(DATA_SETS))
        say("On other data, NAME, all layers of RUN but the readout train on, by a recipe for that, whose fields are")
        say("flags as in sresnet train; the stem's convolution starts anew where channels differ, unless --keep-stem.")
        say("Without --data RUN goes on with its own, for a tenth of its epochs at a tenth of its rates:")
        say("--model.norm time-averaged makes norms per step one, and --calibrate does so without training.")
        return 0
    source = first_word(words, "run", "give the folder of a trained run")
    memory_limit = take_memory_limit(words)[0]
    theirs = recipe_of(source, memory_limit=memory_limit)
    name, rest = take_option(words[1:], "--data")
    if name:
        recipe = _on_other_data(theirs, source, name, rest)
    else:
        check_tunable(theirs, source)
        recipe = replace(_on_its_own(theirs, take_option(rest, "--model.norm")[0]), pretrained=source)
    options = parse(
        TrainOptions(**recipe_fields(recipe)),
        rest,
        f"sresnet finetune {source}{f' --data {name}' if name else ''}",
        f"Fine-tune {source} on {name or 'its own data'}.",
    )
    made = f"{name or recipe.data.name}-from-{Path(source).name}"
    if not name:
        return train_and_report(options, made, processes, run=source)
    asked = {word.partition("=")[0].replace("_", "-").replace("no-", "", 1) for word in rest if word.startswith("--")}
    tell = partial(say, error=options.toml)
    fitted = partial(_fitted, theirs=theirs, source=source, data_dir=options.data_dir, asked=asked, tell=tell)
    return train_and_report(options, made, processes, fitted=fitted)


_USAGE = "sresnet finetune RUN [--data NAME] [--freeze LAYER ...] [--keep-stem] [--calibrate] [--field value ...]"


def _on_other_data(theirs: Recipe, source: str, name: str, words: list[str]) -> Recipe:
    """The recipe on another data set, for as many epochs as `words` say; UserError for an unknown one."""
    if name not in DATA_SETS:
        raise UserError(f"--data {name!r} is not a known data set: choose from {', '.join(DATA_SETS)}")
    classes, channels = CLASSES.get(name, (theirs.model.num_classes, 2 if name in EVENT_SETS else 3))
    epochs = take_option(words, "--train.epochs")[0]
    given = int(epochs) if epochs.isdecimal() and 0 < int(epochs) < 10**6 else FINETUNE.epochs
    data = other_data(name, theirs)
    return finetuning_of(theirs, source, data, num_classes=classes, in_channels=channels, epochs=given)


def _fitted(
    recipe: Recipe,
    samples: Samples,
    *,
    theirs: Recipe,
    source: str,
    data_dir: str,
    asked: Collection[str],
    tell: Callable[[str], None],
) -> Recipe:
    """The recipe with classes, channels, stem and mirroring of the samples, where no flag asks otherwise.

    Args:
        recipe, samples: what is made to fit, and the training samples.
        theirs, source: the recipe that trained the network, and what the user calls it.
        data_dir: folder of the samples.
        asked: the flags that were given, without "no-".
        tell: called with a line about each thing that follows from the samples.
    """
    classes, channels, before = len(samples.class_names), samples.shape[-3], theirs.model.in_channels
    recipe = replace(recipe, model=replace(recipe.model, num_classes=classes, in_channels=channels))
    if "--keep-stem" not in asked:
        recipe = replace(recipe, keep_stem=channels == before)
    if recipe.pretrained_layers == "inner":
        anew = [f"the readout ({classes} classes)"]
        stem = f"{channels} channel{'s' * (channels > 1)}, and {source} has {before}"
        if not recipe.keep_stem:
            cure = "" if "--keep-stem" in asked else ": --keep-stem keeps its filters"
            anew.append(f"the stem's convolution ({stem}){cure}" if channels != before else "the stem's convolution")
        elif channels != before:
            tell(f"the stem's filters are made for {stem}: sums over these, divided by {channels}")
        tell(f"start anew: {' and '.join(anew)}")
    about = about_run(source)["image_size"]
    if list(about) != list(samples.shape[-2:]):
        sizes = ["x".join(map(str, sides)) for sides in (samples.shape[-2:], about)]
        tell(f"samples have {sizes[0]} pixels, {source} was trained on {sizes[1]}: filters keep their size")
    what = not_to_mirror(recipe.data.name, data_dir, samples.class_names)
    if "--data.flip" not in asked and what:
        recipe = replace(recipe, data=replace(recipe.data, flip=False))
        tell(f"samples are not mirrored, as they are {what}: --data.flip mirrors them")
    return recipe


def _on_its_own(recipe: Recipe, norm: str) -> Recipe:
    """The recipe to go on with on the same data, gently; with a norm of all time steps, these are not divided."""
    train = recipe.train
    fields: dict[str, Any] = {"progressive_epochs": (), "low_res_epochs": 0, "warmup_epochs": 0.0, "cosine_epochs": 0}
    fields |= {"epochs": max(1, train.epochs // 10), "muon_lr": train.muon_lr / 10}
    fields |= {"learning_rate": train.learning_rate / 10}
    if train.sharpen_epochs:  # in proportion
        fields |= {"sharpen_epochs": tuple(each * fields["epochs"] / train.epochs for each in train.sharpen_epochs)}
    fields |= {"time_segments": ()} if norm in ("time-averaged", "tdbn") else {}
    return replace(recipe, train=replace(train, **fields), pretrained_layers="all", calibrate=False)
