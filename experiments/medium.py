"""What scale medium of the studies costs: python experiments/medium.py [--tables].

Times a training step of each different network of its tables on random images, in batches of the recipe, with one
thread: images per second of processor time, which other work on the machine does not take part in but for caches and
shared units. The hours of a training run follow: training images times epochs over that speed, and what is looked at
beside them. A forward pass is taken for a third of a training step, an image of the analysis for three. Writes
results/medium.json and the list of runs, in the order in which they are trained, results/medium.md.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from experiment import RESULTS

from sresnet.config import check_fields
from sresnet.data import DataConfig, Splits
from sresnet.data.images import ImageSet
from sresnet.errors import UserError
from sresnet.files import read_json, write_json, write_whole
from sresnet.models import SResNetConfig
from sresnet.report.text import folded, markdown
from sresnet.studies.paper import STUDIES
from sresnet.studies.run import ACTIVITY_IMAGES, to_train
from sresnet.studies.scale import MEDIUM, about, scaled
from sresnet.studies.study import Training
from sresnet.train import record
from sresnet.train.loop import train
from sresnet.train.recipe import Recipe

COMMAND = "python experiments/medium.py"
"""What makes the record."""
SECONDS = 8.0
"""Of processor time for each network, after three steps."""
FORWARD = 1 / 3
"""Time of a forward pass, of a training step."""
ANALYSED = 3.0
"""Time of an image of the analysis, likewise."""
BUDGET = 24.0
"""Hours of a core."""
IMAGES = {"train": 50_000, "test": 10_000}
"""Of either CIFAR."""


def runs() -> dict[str, tuple[str, Training]]:
    """Key -> (name for people, training) of all that the tables of the scale need, in order."""
    nowhere = Path("/nowhere")
    return to_train([scaled(STUDIES[name], "medium") for name in MEDIUM], nowhere, nowhere)


def network_of(recipe: Recipe) -> str:
    """What decides how long a training step takes, in words; recipes of equal words are equally fast."""
    model = recipe.model
    assert isinstance(model, SResNetConfig)
    parts = [f"S-ResNet{model.depth}", f"{model.base_filters} filters", f"T = {model.num_steps}"]
    parts += ["ANN"] if model.neuron == "relu" else [model.connection]
    parts += [model.neuron] if model.neuron.startswith("plif") else []
    parts += ["norm averaged over time"] if model.norm == "time-averaged" and model.num_steps > 1 else []
    parts += ["Poisson spikes"] if model.encoder != "direct" else []
    parts += ["boosting"] if model.boosting else []
    return ", ".join(parts)


def random_images(count: int, classes: int) -> ImageSet:
    """As CIFAR has them."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    names = tuple(f"class {number}" for number in range(classes))
    return ImageSet(images=images, labels=torch.arange(count) % classes, class_names=names)


def images_per_second(recipe: Recipe, seconds: float = SECONDS) -> float:
    """Of processor time, in training steps."""
    assert isinstance(recipe.data, DataConfig)
    count = 20 * recipe.train.batch_size
    splits = Splits(
        train=random_images(count, recipe.model.num_classes),
        validation=None,
        test=random_images(recipe.model.num_classes, recipe.model.num_classes),
    )
    recipe = replace(recipe, train=replace(recipe.train, epochs=1000, protocol="last-epoch"))
    marks: list[float] = []

    def over() -> bool:
        marks.append(time.process_time())
        return len(marks) > 4 and marks[-1] - marks[3] > seconds

    with tempfile.TemporaryDirectory() as folder:
        train(recipe, splits, Path(folder) / "run", device=torch.device("cpu"), should_stop=over)
    return recipe.train.batch_size * (len(marks) - 4) / (marks[-1] - marks[3])


def hours_of(training: Training, speed: float) -> float:
    """Of a core: training, evaluation after the last epoch or each, accuracy by step, and analysis."""
    recipe = training.recipe
    best = recipe.train.protocol == "best-test-epoch"
    passes = (recipe.train.epochs if best else 1) + (2 if best else 1)
    images = IMAGES["train"] * recipe.train.epochs + FORWARD * passes * IMAGES["test"] + ANALYSED * ACTIVITY_IMAGES
    return images / speed / 3600


def page(found: Mapping[str, Any]) -> list[str]:
    """The lines of results/medium.md."""
    speeds: dict[str, float] = found["images_per_second"]
    rows, total, reached = [], 0.0, 0
    for _, training in (left := runs()).values():
        total += hours_of(training, speeds[network_of(training.recipe)])
        reached += total <= BUDGET
    spent = 0.0
    for key, (name, training) in left.items():
        network = network_of(training.recipe)
        hours = hours_of(training, speeds[network])
        spent += hours
        within = "yes" if spent <= BUDGET else "no"
        rows.append((name, key, network, f"{speeds[network]:.0f}", f"{hours:.2f}", f"{spent:.1f}", within))
    environment = found["environment"]
    parts = [
        "# What scale `medium` costs",
        f"Made by `{COMMAND}`. {about('medium')}",
        f"{len(left)} training runs for Tables {', '.join(name.removeprefix('table') for name in MEDIUM)}, "
        f"{total:.1f} hours of one core as reckoned; {BUDGET:g} hours are {reached} of them. They are trained in this "
        "order, seed 0 of every row first, and what is not reached is shown as not run. Images per second of processor "
        f"time in training steps of random images, batches of the recipe, {environment['threads']} thread, on "
        f"{environment['device']}, torch {environment['torch']}. A forward pass is taken for a third of a step, an "
        "image of the analysis for three; nobody has timed whole runs.",
        markdown(("run", "key", "network", "images/s", "hours", "hours so far", f"within {BUDGET:g}"), rows),
        "```console\n"
        f"sresnet study {' '.join(MEDIUM)} --scale medium --data-dir DIR --max-minutes 60\n"
        "sresnet study page --scale medium\n```",
        "The first trains what is missing, for an hour, and goes on when it is called again; OMP_NUM_THREADS=1 keeps "
        "it to one core.",
    ]
    return "\n\n".join(each if each.startswith(("|", "```")) else folded(each) for each in parts).splitlines()


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", action="store_true", help="measure nothing, write the page of the record again")
    path = RESULTS / "medium.json"
    if not parser.parse_args().tables:
        torch.set_num_threads(1)
        speeds: dict[str, float] = {}
        for _, training in runs().values():
            name = network_of(training.recipe)
            if name not in speeds:
                speeds[name] = round(images_per_second(training.recipe), 1)
                print(f"{name}: {speeds[name]} images/s", flush=True)
        environment = record.environment(torch.device("cpu"))
        write_json(path, {"command": COMMAND, "environment": environment, "images_per_second": speeds})
    try:
        found = read_json(path)
        check_fields(
            found, str(path), {"command": str, "environment": dict[str, Any], "images_per_second": dict[str, float]}, {}
        )
    except UserError as error:
        raise SystemExit(f"medium: {error}") from None
    write_whole(path.with_suffix(".md"), ("\n".join(page(found)) + "\n").encode())


if __name__ == "__main__":
    main()
