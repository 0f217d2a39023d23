"""Accuracy after every time step, from one pass over the data (Table 16)."""

import math
from dataclasses import dataclass

import torch

from sresnet.analysis.exits import best_class
from sresnet.analysis.walk import Batches, Observation, StepSums, walk
from sresnet.models.network import SpikingNetwork


@dataclass(frozen=True, kw_only=True)
class StepAccuracy:
    """Accuracy of a network that is stopped after each step."""

    top1: tuple[float, ...]
    """Percent of images whose class has the highest score after 1, 2, ... T steps."""
    margin: tuple[float | None, ...]
    """Mean of the score of the right class minus the highest other score, negative for errors; None for one class."""
    images: int


class StepCounter:
    """Counts hits and margins after each step."""

    def __init__(self) -> None:
        self.sums = StepSums()  # images classified correctly, sum of margins
        self.images = 0

    def add(self, observation: Observation) -> None:
        """Count one step of one batch."""
        if observation.step == 0:
            self.images += len(observation.labels)
        scores, labels = observation.scores.double(), observation.labels
        best = best_class(observation.scores)
        right = scores.gather(1, labels[:, None])[:, 0]
        others = scores.scatter(1, labels[:, None], -torch.inf).amax(1)
        self.sums.add(observation.step, (best == labels).sum(), (right - others).sum())

    def result(self) -> StepAccuracy:
        """What was counted."""
        hits, margins = (self.sums.tensor() / self.images).T.tolist()
        return StepAccuracy(
            top1=tuple(100 * hit for hit in hits),
            margin=tuple(margin if math.isfinite(margin) else None for margin in margins),
            images=self.images,
        )


def accuracy_by_step(
    model: SpikingNetwork, batches: Batches, *, num_steps: int | None = None, seed: int = 0
) -> StepAccuracy:
    """Accuracy after every step; `evaluate(num_steps=k)` gives the k-th. Arguments and errors as `walk`.

    The readout neither leaks nor spikes, so its potential after k steps, divided by k, is the mean of its input so far
    (Section 3.3): one pass over T steps has the answers of all T early stops.
    """
    counter = StepCounter()
    walk(model, batches, [counter], num_steps=num_steps, seed=seed)
    return counter.result()
