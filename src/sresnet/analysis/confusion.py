"""Which classes are confused, and example images with the network's answer after each step."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sresnet.analysis.exits import best_class
from sresnet.analysis.walk import Observation


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """How often images of each class were classified as each class, after the last step."""

    counts: tuple[tuple[int, ...], ...]
    """[class of the image][class of the highest score]."""

    @property
    def images(self) -> int:
        """All of them."""
        return sum(map(sum, self.counts))

    @property
    def top1(self) -> float:
        """Percent on the diagonal."""
        return 100 * sum(row[index] for index, row in enumerate(self.counts)) / self.images

    def pairs(self) -> list[tuple[int, int, int]]:
        """(class, predicted class, images) of every confusion, the most frequent first."""
        found = [
            (label, guess, count)
            for label, row in enumerate(self.counts)
            for guess, count in enumerate(row)
            if count and label != guess
        ]
        return sorted(found, key=lambda pair: -pair[2])


class ConfusionCounter:
    """Counts pairs of class and predicted class after step `num_steps`."""

    def __init__(self, num_classes: int, num_steps: int) -> None:
        self.num_classes, self.num_steps = num_classes, num_steps
        self.counts = torch.zeros(num_classes**2, dtype=torch.int64)

    def add(self, observation: Observation) -> None:
        """Count one batch, at its last step."""
        if observation.step == self.num_steps - 1:
            pairs = observation.labels * self.num_classes + best_class(observation.scores)
            self.counts += pairs.bincount(minlength=self.num_classes**2).cpu()

    def result(self) -> Confusion:
        """What was counted."""
        rows = self.counts.view(self.num_classes, self.num_classes).tolist()
        return Confusion(counts=tuple(map(tuple, rows)))


@dataclass(frozen=True, kw_only=True)
class Example:
    """One image or clip and the network's answer."""

    index: int
    """Its place among the samples."""
    label: int
    by_step: tuple[tuple[float, ...], ...]
    """Class probabilities [T][classes]: softmax of the mean score so far, not calibrated."""
    guess: int
    """Predicted class after the last step."""

    @property
    def right(self) -> bool:
        """Whether it was classified correctly."""
        return self.guess == self.label


class ExampleCounter:
    """Finds images to show: the first `count` classified correctly, each of another class, and as many others.

    Only class and prediction decide, so the examples are no better than the other images.
    """

    def __init__(self, num_steps: int, count: int) -> None:
        self.num_steps, self.count = num_steps, count
        self.scores: list[Tensor] = []  # of this batch so far
        self.images = 0  # in the batches before it
        self.found: dict[bool, dict[int, Example]] = {True: {}, False: {}}  # right or wrong: class -> example

    def add(self, observation: Observation) -> None:
        """Keep the scores of one step of one batch; choose at its last step."""
        if observation.step == 0:
            self.scores = []
        self.scores.append(observation.scores)
        if observation.step < self.num_steps - 1:
            return
        guesses, labels = best_class(observation.scores).tolist(), observation.labels.tolist()
        for place, (guess, label) in enumerate(zip(guesses, labels, strict=True)):
            chosen = self.found[guess == label]
            if label in chosen or len(chosen) == self.count:
                continue
            probabilities = torch.stack([scores[place] for scores in self.scores]).double().softmax(1)
            chosen[label] = Example(
                index=self.images + place,
                label=label,
                by_step=tuple(map(tuple, probabilities.tolist())),
                guess=guess,
            )
        self.images += len(labels)

    def result(self) -> tuple[Example, ...]:
        """The correct ones, then the others."""
        return (*self.found[True].values(), *self.found[False].values())
