"""The sections about the test data of a run: accuracy over time, classes, examples."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from sresnet.analysis import Analysis
from sresnet.analysis.confusion import Confusion, Example
from sresnet.report.document import LONG, ExampleCard, Examples, Figure, Paragraph, Section, Table
from sresnet.report.figures import (
    confusion_matrix,
    operation_line,
    over_operations,
    over_steps,
    probabilities,
    step_line,
)
from sresnet.report.inspection import Inspection
from sresnet.report.png import data_address, picture_of
from sresnet.report.records import Records

CLASSES_SHOWN = 4
"""Classes whose probabilities are drawn for an image."""


PAIRS_SHOWN = 8
"""Confusions in the table."""


def over_time(analysis: Analysis, prefix: str) -> Section:
    """Accuracy after every time step, over steps and over what they cost."""
    top1, spent = analysis.steps.top1, list(accumulate(analysis.cost.by_step))
    steps = over_steps([step_line("", analysis.steps)])
    operations = over_operations([operation_line("", analysis.steps, analysis.cost)])
    table = Table(
        name=f"{prefix}steps",
        title="Accuracy after every time step",
        columns=(
            ("time steps", ""),
            ("accuracy, %", ".2f"),
            ("margin", ".3f"),
            ("synaptic operations until then", ",.0f"),
        ),
        rows=tuple(zip(range(1, len(top1) + 1), top1, analysis.steps.margin, spent, strict=True)),
        folded=True,
    )
    words = Paragraph(
        "What the network would say if it were stopped early: its answer is the mean of the readout's input so far."
    )
    charts = (
        Figure(name=f"{prefix}accuracy-over-steps", chart=steps),
        Figure(name=f"{prefix}accuracy-over-operations", chart=operations),
    )
    return Section(title="Accuracy over time", content=(words, *charts, table))


def confusions(records: Records, found: Confusion, prefix: str) -> Section:
    """How often each class is predicted as each."""
    names = names_of(records, len(found.counts))
    figure = Figure(
        name=f"{prefix}confusion",
        chart=confusion_matrix(found.counts, names),
        caption="The stronger the colour, the larger the share of the class; mistakes relative to the worst of them.",
    )
    totals = [sum(row) for row in found.counts]
    by_class = Table(
        name=f"{prefix}classes",
        title="Accuracy by class",
        columns=(("class", ""), (records.kind, ",d"), ("right", ",d"), ("right, %", ".1f")),
        rows=tuple(
            (name, total, row[index], 100 * row[index] / total if total else None)
            for index, (name, total, row) in enumerate(zip(names, totals, found.counts, strict=True))
        ),
        folded=len(names) > LONG,
    )
    pairs = found.pairs()
    worst = Table(
        name=f"{prefix}mistakes",
        title="Most frequent mistakes",
        columns=(("class", ""), ("predicted as", ""), (records.kind, ",d"), ("share, %", ".1f")),
        rows=tuple((names[a], names[b], count, 100 * count / totals[a]) for a, b, count in pairs[:PAIRS_SHOWN]),
    )
    return Section(title="Classes", content=(figure, *([worst] if pairs else []), by_class))


def names_of(records: Records, classes: int) -> tuple[str, ...]:
    """Names of the classes, or their numbers where no names were noted."""
    names = records.class_names
    return names if len(names) == classes else tuple(f"class {index}" for index in range(classes))


def examples(records: Records, inspection: Inspection, prefix: str) -> Section:
    """Some images or clips, and how confident the network was of them after every step."""
    names = names_of(records, len(inspection.confusion.counts))
    drawn = tuple(
        example_of(f"{prefix}example{n}", each, picture, names) for n, (each, picture) in enumerate(inspection.examples)
    )
    clips = (
        " A clip is shown summed over time, more ON events orange, more OFF events blue."
        if records.kind == "clips"
        else ""
    )
    words = Paragraph(
        f"The first test {records.kind} classified correctly, each of another class, then the first that are not. "
        f"Probabilities are the softmax of the mean score so far, not calibrated.{clips}"
    )
    return Section(title="Examples", content=(words, Examples(drawn)))


def example_of(name: str, example: Example, picture: Any, names: Sequence[str]) -> ExampleCard:
    """A picture, its class, what it was predicted as, and its chart."""
    said = "correct" if example.right else f"predicted as {names[example.guess]}"
    label = names[example.label]
    title = f"Probabilities: {label}, {said}"
    return ExampleCard(
        name=name,
        image=data_address(picture_of(picture)),
        label=label,
        said=said,
        right=example.right,
        percent=100 * example.by_step[-1][example.guess],
        chart=probabilities(title, example.by_step, names, CLASSES_SHOWN, also=example.label),
    )
