"""One pass over a run's test data, and all that a page shows of it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sresnet.analysis import Analysis, Batches, analyse, batches_of, spread
from sresnet.analysis.confusion import Confusion, ConfusionCounter, Example, ExampleCounter
from sresnet.data import Samples
from sresnet.data.scaling import Scaling
from sresnet.export.deployment import Deployment, deployment
from sresnet.models.network import SpikingNetwork
from sresnet.randomness import seed_of

EXAMPLES = 4
"""To show of those classified correctly, and of those that were not."""


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What one pass over the test data gives for a page."""

    analysis: Analysis
    confusion: Confusion
    examples: tuple[tuple[Example, Tensor], ...]
    """With their uint8 image [C, H, W] or clip [T, 2, H, W]."""
    deployment: Deployment
    of: int
    """Test images or clips that there are; fewer may have been analysed."""
    other_data: str = ""
    """How the data differ from those of the run, where they do."""


def inspect_network(
    model: SpikingNetwork,
    samples: Samples,
    scaling: Scaling,
    *,
    seed: int,
    images: int = 0,
    watch: Callable[[Batches], Batches] = lambda batches: batches,
) -> Inspection:
    """Classify test images or clips once, and count all that a page shows.

    Args:
        model: a trained network.
        samples: what to classify.
        scaling: as in its training.
        seed: of the run; Poisson encoders draw as in its evaluation.
        images: only this many, evenly spread; 0: all.
        watch: sees the batches go by.
    """
    total, steps = len(samples), model.config.num_steps
    some = samples.subset(spread(total, images)) if images else samples
    confusion, examples = ConfusionCounter(model.config.num_classes, steps), ExampleCounter(steps, EXAMPLES)
    device = next(model.parameters()).device
    analysis = analyse(
        model,
        watch(batches_of(some, scaling, device=device)),
        seed=seed_of("evaluate", seed),
        watchers=[confusion, examples],
    )
    found = examples.result()
    pictures = some.batch(torch.tensor([example.index for example in found], dtype=torch.int64)).cpu()
    return Inspection(
        analysis=analysis,
        confusion=confusion.result(),
        examples=tuple(zip(found, pictures, strict=True)),
        deployment=deployment(model, scaling(some.batch(torch.tensor([0])))),
        of=total,
    )
