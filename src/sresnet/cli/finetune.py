"""`sresnet finetune`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from sresnet.cli.parse import first_word, parse, take_memory_limit, take_option, wants_help
from sresnet.cli.runs import read_run
from sresnet.cli.train import TrainOptions, recipe_fields, train_and_report
from sresnet.data import CLASSES, DATA_SETS, EVENT_SETS, usual_data
from sresnet.errors import UserError
from sresnet.printing import say


def finetune_verb(words: list[str]) -> int:
    """`sresnet finetune RUN --data NAME [--field value ...]`."""
    prog = "sresnet finetune"
    if wants_help(words) or ("--help" in words and not take_option(words, "--data")[0]):
        say("usage: sresnet finetune RUN --data NAME [--field value ...]", "", "NAME: " + ", ".join(DATA_SETS))
        say("The recipe of RUN, with its fields as flags as in sresnet train. Stem convolution and readout start anew.")
        return 0
    source = first_word(words, "run", "give the folder of a trained run")
    recipe = read_run(source, take_memory_limit(words)[0])
    name, words = take_option(words[1:], "--data")
    if name not in DATA_SETS:
        fault = f"{name!r} is not a known data set" if name else "is missing"
        raise UserError(f"--data {fault}: choose from {', '.join(DATA_SETS)}")
    events = name in EVENT_SETS
    classes, channels = CLASSES.get(name, (recipe.model.num_classes, 2 if events else 3))
    fields: dict[str, Any] = {"num_classes": classes, "in_channels": channels}
    fields |= {"encoder": "direct"} if events else {}  # the others make spikes of images
    recipe = replace(
        recipe,
        pretrained=source,
        data=usual_data(name, recipe.data),
        model=replace(recipe.model, **fields),
        train=replace(recipe.train, low_res_epochs=0) if events else recipe.train,  # only images have them
    )
    options = parse(
        TrainOptions(**recipe_fields(recipe)), words, f"{prog} {source} --data {name}", f"Fine-tune {source} on {name}."
    )
    return train_and_report(options, f"{name}-from-{Path(source).name}")
