"""Numbers of trained networks with their noise, and whether two of them differ.

Noise. What one run may be off by is the largest of three standard deviations: that of its own seeds, that of all
runs with several seeds pooled (those on the same data, if there are any), and for accuracies the binomial one of
the test images. Divided by the square root of the number of seeds it is the standard error of a network's mean. A
difference is decided where it exceeds two standard errors of the difference. So a single seed is never taken at its
word: it borrows the spread of others.
"""

import functools
import json
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev, variance
from typing import Literal

from sresnet.search.trials import Outcome
from sresnet.studies.cells import Pick
from sresnet.studies.rows import Row, results_of, row_of, rows_of, spread
from sresnet.studies.study import Cell, Result, Study

Verdict = Literal["holds", "fails", "within noise", "not tested at this scale"]
"""within noise: the difference is smaller than its noise, so that neither is shown."""

STANDARD_ERRORS = 2.0
"""Of a difference, from which on it counts."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What the results say about something, and the numbers that say it, in one line."""

    verdict: Verdict
    evidence: str


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A number to read off a result, and how little of it can be noise."""

    read: Callable[[Result, Cell], float | None]
    """None where it was not measured."""
    least: Callable[[Result, float], float]
    """Result and number -> the smallest standard deviation that is believed."""
    unit: str = ""
    digits: int = 2


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One number for each seed of a network."""

    label: str
    values: tuple[float, ...]
    deviation: float
    """Standard deviation of one run, see the top of this file."""
    digits: int = 2
    unit: str = ""
    each: str = "seed"
    """What there is a number of."""

    @property
    def mean(self) -> float:
        """Over seeds."""
        return fmean(self.values)

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return self.deviation / math.sqrt(len(self.values))

    def __str__(self) -> str:
        count = len(self.values)
        return f"{self.label} {spread(self.values, self.digits)}{self.unit} ({count} {self.each}{'s'[: count - 1]})"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All results of a scale, and the studies that say what they are of."""

    scale: str
    studies: Mapping[str, Study]
    """name -> study at that scale, all of them."""
    results: Mapping[str, Result]
    """Key of a training run -> its result."""
    failures: Mapping[str, str] = field(default_factory=dict)
    """Key of a training run -> why it failed."""
    searches: Mapping[str, Outcome] = field(default_factory=dict)
    """Name -> search of hyper-parameters, whatever the scale."""

    def cell(self, pick: Pick) -> Cell:
        """The cell meant; KeyError where there is none, which is an error in the claim."""
        return self.studies[pick.study].cell(pick.key)

    def has(self, pick: Pick) -> bool:
        """Whether the study has such a row at this scale."""
        return any(cell.key == pick.key for cell in self.studies[pick.study].cells)

    def row(self, pick: Pick) -> Row:
        """The row meant; errors as `cell`."""
        return row_of(self.cell(pick), self.studies[pick.study], self.results, {}, self.searches)

    def rows(self, study: Study) -> tuple[Row, ...]:
        """The rows of a study at that scale."""
        return rows_of(study, self.results, self.failures, self.searches)

    def of(self, pick: Pick) -> list[Result]:
        """The results of a cell's training, a seed each."""
        return results_of(self.cell(pick), self.studies[pick.study].seeds, self.results)

    def sample(self, pick: Pick, measure: Measure) -> Sample | None:
        """A measure of every seed of a cell; None where no seed has it."""
        cell = self.cell(pick)
        read = [(result, value) for result in self.of(pick) if (value := measure.read(result, cell)) is not None]
        if not read:
            return None
        values = tuple(value for _, value in read)
        least = max(measure.least(result, value) for result, value in read)
        own = stdev(values) if len(values) > 1 else 0.0
        deviation = max(own, self.pooled(cell, measure, _data_of(read[0][0])), least)
        said = not cell.condition or cell.condition in pick.label
        label = pick.label if said else f"{pick.label}, {cell.condition}"
        return Sample(label=label, values=values, deviation=deviation, digits=measure.digits, unit=measure.unit)

    def pooled(self, cell: Cell, measure: Measure, data: str) -> float:
        """Standard deviation over seeds of all cells with several, on this data or, failing that, on any; or 0."""
        found: dict[bool, list[tuple[int, float]]] = {True: [], False: []}
        for group in self.repeated:
            values = [value for result in group if (value := measure.read(result, cell)) is not None]
            if len(values) > 1:
                found[_data_of(group[0]) == data].append((len(values) - 1, variance(values)))
        groups = found[True] or found[False]
        freedom = sum(degrees for degrees, _ in groups)
        return math.sqrt(sum(degrees * each for degrees, each in groups) / freedom) if groups else 0.0

    @functools.cached_property
    def repeated(self) -> list[list[Result]]:
        """Results that differ by the seed alone, two or more together."""
        groups = defaultdict(list)
        for result in self.results.values():
            config = {name: value for name, value in result.config.items() if name not in ("seed", "pretrained")}
            groups[json.dumps([config, bool(result.config.get("pretrained"))], sort_keys=True)].append(result)
        return [group for group in groups.values() if len(group) > 1]


def _data_of(result: Result) -> str:
    """Name of the data set that a result is of."""
    return str(result.config.get("data", {}).get("name"))


# What is read -------------------------------------------------------------------------------------------------------


def images_of(result: Result, part: str) -> int:
    """Images of the training or test part; of both CIFARs' test part where a result does not say."""
    return int(result.result.get("split", {}).get(part) or 10_000)


def binomial(percent: float, images: int) -> float:
    """Standard deviation of an accuracy in percent, counted on so many images."""
    share = min(max(percent / 100, 0.0), 1.0)
    return 100 * math.sqrt(share * (1 - share) / images)


ACCURACY = Measure(
    read=lambda result, cell: result.value(cell.quantity, cell.num_steps),
    least=lambda result, value: binomial(value, images_of(result, "test")),
    unit=" %",
)
"""Test accuracy by the cell's protocol."""


# What is concluded --------------------------------------------------------------------------------------------------


def decided(difference: float, noise: float) -> Verdict:
    """Whether a difference is positive (holds) or negative (fails), each beyond its noise."""
    return "holds" if difference > noise else "fails" if difference < -noise else "within noise"


def noise_of(a: Sample, b: Sample) -> float:
    """Of the difference of two means."""
    return STANDARD_ERRORS * math.hypot(a.error, b.error)


def against(a: Sample, b: Sample, difference: float, noise: float) -> str:
    """Two samples and their difference, for people."""
    return f"{a} against {b}: {difference:+,.{a.digits}f}, noise {noise:,.{a.digits}f}"


def versus(a: Sample, b: Sample, margin: float = 0.0) -> Finding:
    """Whether the first is the greater, or less than `margin` smaller."""
    difference, noise = a.mean - b.mean, noise_of(a, b)
    return Finding(verdict=decided(difference + margin, noise), evidence=against(a, b, difference, noise))


def near(a: Sample, b: Sample, margin: float) -> Finding:
    """Whether the two differ by less than `margin`, either way."""
    difference, noise = a.mean - b.mean, noise_of(a, b)
    return Finding(verdict=decided(margin - abs(difference), noise), evidence=against(a, b, difference, noise))


def all_of(findings: Sequence[Finding]) -> Finding:
    """Several findings that a claim needs together: one that fails is enough, then one that is missing."""
    order: tuple[Verdict, ...] = ("fails", "not tested at this scale", "within noise", "holds")
    verdicts = {finding.verdict for finding in findings}
    verdict = next(each for each in order if each in verdicts)
    return Finding(verdict=verdict, evidence="; ".join(dict.fromkeys(finding.evidence for finding in findings)))


def missing(*labels: str) -> Finding:
    """Nothing to conclude from."""
    return Finding(verdict="not tested at this scale", evidence=f"not run: {', '.join(labels)}")
