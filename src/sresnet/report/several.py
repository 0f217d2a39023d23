"""Several runs beside each other: a table of them, and their curves over each other."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import NamedTuple

from sresnet.models.summary import describe
from sresnet.report import svg
from sresnet.report.document import Block, Figure, Paragraph, Section, Table
from sresnet.report.look import Looked
from sresnet.report.paper import compare
from sresnet.report.records import Records
from sresnet.report.run import MOST_EPOCHS, line_of, run_sections, thinned
from sresnet.studies.rows import parameters


class Shown(NamedTuple):
    """A run on a page."""

    records: Records
    looked: Looked | str
    """What a pass over its test data showed, or why there was none."""


def sections_of(runs: Sequence[Shown]) -> tuple[Section, ...]:
    """The sections of a page: those of the run, or for several a comparison in front and then a section for each."""
    if len(runs) == 1:
        return run_sections(*runs[0], "")
    details = [
        Section(title=run.records.name, parts=run_sections(*run, f"run{number}-")) for number, run in enumerate(runs, 1)
    ]
    return (comparison(runs), *details)


def title_of(runs: Sequence[Shown]) -> str:
    """What a page is about."""
    if len(runs) > 1:
        return f"{len(runs)} runs"
    recipe = runs[0].records.recipe
    return f"{describe(recipe.model).partition(',')[0]} on {recipe.data.name}"


def comparison(runs: Sequence[Shown]) -> Section:
    """All runs in a table, and their curves over each other."""
    content: list[Block] = []
    if any(run.records.simulated for run in runs):
        content.append(Paragraph("marks runs on simulated recordings.", badge="SIMULATED"))
    if any(len(run.records.metrics) > MOST_EPOCHS for run in runs):
        content.append(Paragraph(f"Curves show {MOST_EPOCHS} epochs, evenly spread, where a run has more."))
    content += [table(runs), *overlaid(runs)]
    return Section(title="Comparison", content=tuple(content))


def table(runs: Sequence[Shown]) -> Table:
    """A row for each run; empty where something was not measured."""
    rows = []
    for records, looked in runs:
        recipe, result = records.recipe, records.result
        found = compare(recipe)
        paper = next((value for value in found.values if not value.best_epoch), None) if found else None
        analysis = looked.analysis if isinstance(looked, Looked) else None
        energy = analysis.cost.energy() if analysis else None
        rows.append(
            (
                records.name,
                result.get("test_top1"),
                result.get("validation_top1"),
                paper.value if paper else None,
                describe(recipe.model),
                f"{recipe.data.name}{' (SIMULATED)' if records.simulated else ''}",
                getattr(recipe.model, "connection", ""),
                recipe.train.epochs,
                recipe.seed,
                parameters(recipe.model),
                analysis.activity.spikes if analysis else None,
                analysis.cost.synaptic_operations if analysis else None,
                energy.synapses + energy.updates if energy else None,
            )
        )
    columns = (
        *(("run", ""), ("test accuracy, %", ".2f"), ("held out, %", ".2f"), ("paper, %", ".2f")),
        *(("network", ""), ("data", ""), ("connection", ""), ("epochs", ",d"), ("seed", "d"), ("parameters", ",d")),
        *(("spikes", ",.0f"), ("operations", ",.0f"), ("energy, µJ", ".3g")),
    )
    return Table(name="runs", title="Runs, per inference where something is counted", columns=columns, rows=tuple(rows))


def overlaid(runs: Sequence[Shown]) -> list[Figure]:
    """Curves of all runs that have them."""
    kinds: tuple[tuple[str, str, str, str, Callable[[Shown], svg.Line | None]], ...] = (
        ("train-accuracy", "Training accuracy", "epoch", "accuracy, %", of_metrics("train_top1")),
        ("validation-accuracy", "Held-out accuracy", "epoch", "accuracy, %", of_metrics("validation_top1")),
        ("train-loss", "Training loss", "epoch", "cross-entropy", of_metrics("train_loss")),
        ("accuracy-over-steps", "Test accuracy over time steps", "time steps", "accuracy, %", over_steps),
        (
            "accuracy-over-operations",
            "Test accuracy over synaptic operations",
            "synaptic operations per inference",
            "accuracy, %",
            over_operations,
        ),
    )
    figures = []
    for name, title, x_label, y_label, read in kinds:
        found = [(number, read(run)) for number, run in enumerate(runs)]
        lines = [replace(line, style=number) for number, line in found if line is not None]
        if lines:
            drawn = svg.line_chart(name, title, lines, x_label=x_label, y_label=y_label)
            figures.append(Figure(name=name, title=title, svg=drawn))
    return figures


def of_metrics(key: str) -> Callable[[Shown], svg.Line | None]:
    """What reads a curve over epochs from a run; None where it was not measured in every epoch."""

    def read(run: Shown) -> svg.Line | None:
        metrics = thinned(run.records.metrics)
        has = bool(metrics) and all(isinstance(line.get(key), int | float) for line in metrics)
        return line_of(metrics, key, run.records.name) if has else None

    return read


def over_steps(run: Shown) -> svg.Line | None:
    """Accuracy after every step."""
    if isinstance(run.looked, str):
        return None
    top1 = run.looked.analysis.steps.top1
    return svg.Line(name=run.records.name, x=list(range(1, len(top1) + 1)), y=top1)


def over_operations(run: Shown) -> svg.Line | None:
    """Accuracy over the operations spent until then."""
    if isinstance(run.looked, str):
        return None
    analysis = run.looked.analysis
    return svg.Line(name=run.records.name, x=list(accumulate(analysis.cost.by_step)), y=analysis.steps.top1)
