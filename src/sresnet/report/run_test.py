"""The sections about the test data of a run: accuracy over time, classes, examples."""

from itertools import accumulate

from sresnet.analysis import Analysis
from sresnet.analysis.confusion import Confusion
from sresnet.report.document import LONG, ExampleCard, Examples, Figure, Paragraph, Section, Table, columns
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
from sresnet.report.svg import NAMED_ROWS

CLASSES_SHOWN = 4
"""Classes whose probabilities are drawn for an image."""
PAIRS_SHOWN, PAIRS_OF_MANY = 8, 20
"""Confusions in the table, and where there are too many classes for their names to stand beside the matrix."""


def over_time(analysis: Analysis) -> Section:
    """Accuracy after every time step, over steps and over what they cost."""
    steps, spent = analysis.steps, analysis.cost
    table = Table(
        name="steps",
        title="Accuracy after every time step",
        columns=columns("time steps | accuracy, %:.2f | margin:.3f | synaptic operations so far:,.0f"),
        rows=tuple(
            zip(range(1, len(steps.top1) + 1), steps.top1, steps.margin, accumulate(spent.by_step), strict=True)
        ),
        folded=True,
    )
    words = "What the network would answer if stopped early: the mean of the readout's input so far."
    charts = (
        Figure(name="accuracy-over-steps", chart=over_steps([step_line("", steps)])),
        Figure(name="accuracy-over-operations", chart=over_operations([operation_line("", steps, spent)])),
    )
    return Section(title="Accuracy over time", content=(Paragraph(words), *charts, table))


def confusions(records: Records, found: Confusion) -> Section:
    """How often each class is predicted as each."""
    names = names_of(records, len(found.counts))
    totals = [sum(row) for row in found.counts]
    by_class = Table(
        name="classes",
        title="Accuracy by class",
        columns=columns(f"class | {records.kind}:,d | correct:,d | correct, %:.1f"),
        rows=tuple(
            (name, total, row[index], 100 * row[index] / total if total else None)
            for index, (name, total, row) in enumerate(zip(names, totals, found.counts, strict=True))
        ),
        folded=len(names) > LONG,
    )
    pairs = found.pairs()
    most = PAIRS_SHOWN if len(names) <= LONG else PAIRS_OF_MANY
    words = "The stronger the colour, the larger the share of the class; mistakes relative to the worst of them."
    if len(names) > NAMED_ROWS:
        words += " Some classes are named; each cell tells its own, and the table the most frequent mistakes."
    figure = Figure(name="confusion", chart=confusion_matrix(found.counts, names), caption=words)
    worst = Table(
        name="mistakes",
        title="Most frequent mistakes" if len(pairs) <= most else f"The {most} most frequent mistakes",
        columns=columns(f"class | predicted as | {records.kind}:,d | in %:.1f"),
        rows=tuple((names[a], names[b], count, 100 * count / totals[a]) for a, b, count in pairs[:most]),
    )
    return Section(title="Classes", content=(figure, *([worst] if pairs else []), by_class))


def names_of(records: Records, classes: int) -> tuple[str, ...]:
    """Names of the classes, or their numbers where no names were recorded."""
    names = records.class_names
    return names if len(names) == classes else tuple(f"class {index}" for index in range(classes))


def examples(records: Records, inspection: Inspection) -> Section:
    """Some images or clips, and how confident the network was of them after every step."""
    names = names_of(records, len(inspection.confusion.counts))
    cards = []
    for number, (each, sample) in enumerate(inspection.examples):
        said = "correct" if each.right else f"predicted as {names[each.guess]}"
        title = f"Probabilities: {names[each.label]}, {said}"
        card = ExampleCard(
            name=f"example{number}",
            image=data_address(picture_of(sample)),
            label=names[each.label],
            said=said,
            right=each.right,
            percent=100 * each.by_step[-1][each.guess],
            chart=probabilities(title, each.by_step, names, CLASSES_SHOWN, also=each.label),
        )
        cards.append(card)
    words = (
        f"The first test {records.kind} classified correctly, each of a different class, then the first that are not. "
        "Probabilities are the softmax of the mean score so far, not calibrated."
    )
    if records.kind == "clips":
        words += " A clip is shown summed over time: more ON events orange, more OFF events blue."
    return Section(title="Examples", content=(Paragraph(words), Examples(tuple(cards))))
