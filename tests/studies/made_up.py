"""Results that nobody trained, for tests of what is made of them."""

import functools
from dataclasses import replace

from sresnet.config import to_dict
from sresnet.models import SResNetConfig
from sresnet.studies.evidence import Evidence
from sresnet.studies.paper import STUDIES
from sresnet.studies.scale import scaled
from sresnet.studies.study import Result
from tests.search.made_up import all_searches

ENVIRONMENT = {"sresnet": "0.1.0", "revision": "0" * 40, "torch": "2.0", "device": "a processor, 2 cores", "threads": 1}


@functools.cache
def studies_at(scale):
    """Every study at a scale."""
    return {name: scaled(study, scale) for name, study in STUDIES.items()}


def evidence_of(scale, results, failures=None, searches=None):
    """All studies of a scale with these results, and where there are any and nothing else is said, all searches."""
    if searches is None:
        searches = all_searches() if results else {}
    return Evidence(scale=scale, studies=studies_at(scale), results=results, failures=failures or {}, searches=searches)


def layer_names(recipe):
    """Layers of neurons: the stem, and two for each block; eight and a hidden one for a VGG11."""
    if not isinstance(recipe.model, SResNetConfig):
        return [*(f"conv{number}.neuron" for number in range(1, 9)), "hidden.neuron"]
    blocks = range(1, (recipe.model.depth - 2) // 6 + 1)
    return ["stem.neuron"] + [
        f"stage{stage}_block{block}.neuron{number}" for stage in (1, 2, 3) for block in blocks for number in (1, 2)
    ]


def activity_of(recipe):
    """Striped by blocks, falling with each stage, following gamma over the steps; S2S has the most spikes."""
    steps = recipe.model.num_steps
    factor = {"s2s": 1.5, "v2v": 1.2, "s2m": 1.0}.get(getattr(recipe.model, "connection", ""), 0.5)
    layers = []
    for index, name in enumerate(layer_names(recipe)):
        stage = int(name[5]) if name.startswith("stage") else 1
        level = factor * (16 / stage + (2 if name.endswith("neuron2") else 0) + 0.01 * index)
        gamma = [0.5 + 0.1 * ((step + index) % 3) for step in range(steps)]
        layers.append(
            {
                "name": name,
                "shape": [8 * stage, 32 // stage, 32 // stage],
                "active": [level * value for value in gamma],
                "gamma": gamma,
                "leak": recipe.model.leak,
                "spikes": 100.0 * level,
            }
        )
    blocks = ["stem", *dict.fromkeys(name.split(".")[0] for name in layer_names(recipe) if name.startswith("stage"))]
    slope = {"s2s": 1.0, "v2v": 0.8, "s2m": 0.5}.get(getattr(recipe.model, "connection", ""), 0.4)
    return {
        "images": 100,
        "spikes": sum(layer["spikes"] for layer in layers),
        "synaptic_operations": 1e4 * factor * recipe.model.num_steps,
        "multiply_accumulates": 2e3,
        "layers": layers,
        "gradients": [
            {"block": block, "norm": 0.1 * slope ** (len(blocks) - 1 - place)} for place, block in enumerate(blocks)
        ],
    }


def result_of(training, top1=50.0):
    """A finished training of this test accuracy, which falls by a tenth with every step less."""
    recipe = training.recipe
    steps = recipe.model.num_steps
    by_steps = tuple(top1 * (1 - 0.1 * (steps - step) / steps) for step in range(1, steps + 1))
    learned = recipe.model.neuron != "lif"
    metrics = [
        {"epoch": epoch, "step": 10 * epoch, "train_top1": top1 * (1 - 0.5 / epoch), "seconds": 60.0}
        | ({"leak": {"stem.neuron": 0.99}} if learned else {})
        for epoch in range(1, recipe.train.epochs + 1)
    ]
    result = {"test_top1": top1, "test_images": 10_000, "split": {"train": 10_000, "validation": 0, "test": 10_000}}
    best = recipe.train.protocol == "best-test-epoch"
    if best:
        result |= {"best_test_epoch_top1": top1, "best_test_epoch": recipe.train.epochs}
    if recipe.data.validation:
        result |= {"validation_top1": top1, "split": {"train": 9_000, "validation": 1_000, "test": 10_000}}
    return Result(
        key=training.key(),
        config=to_dict(recipe) | {"pretrained": training.start.key() if training.start else ""},
        environment=ENVIRONMENT,
        metrics=metrics,
        result=result,
        by_steps=by_steps,
        best_by_steps=by_steps if best else (),
        activity=activity_of(recipe),
    )


def all_results(studies, top1=lambda training: 50.0, seeds=None):
    """Key -> result of every training of these studies, `top1(training)` each."""
    found = {}
    for study in studies:
        for training in replace(study, seeds=seeds or study.seeds).training_runs():
            found.setdefault(training.key(), result_of(training, top1(training)))
    return found
