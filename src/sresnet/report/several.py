"""Several runs side by side: a table of them, and their curves in one chart."""

from collections.abc import Sequence
from typing import NamedTuple

from sresnet.models.summary import describe
from sresnet.report.charts import Line
from sresnet.report.document import Block, Figure, Paragraph, Section, Table, columns
from sresnet.report.figures import ACCURACY, operation_line, over_operations, over_steps, step_line
from sresnet.report.inspection import Inspection
from sresnet.report.paper import compare
from sresnet.report.records import Records
from sresnet.report.run import run_sections
from sresnet.report.run_training import MOST_EPOCHS, line_of, over_epochs, thinned
from sresnet.studies.rows import parameters


class Shown(NamedTuple):
    """A run on a page."""

    records: Records
    inspection: Inspection | str
    """What a pass over its test data showed, or why there was none."""


def sections_of(runs: Sequence[Shown]) -> tuple[Section, ...]:
    """The sections of a page: those of the run, or for several a comparison in front and then a section for each."""
    if len(runs) == 1:
        return run_sections(*runs[0])
    details = [
        Section(title=run.records.name, parts=run_sections(*run, f"run{number}-")) for number, run in enumerate(runs, 1)
    ]
    return (_comparison(runs), *details)


def title_of(runs: Sequence[Shown]) -> str:
    """What a page is about."""
    if len(runs) > 1:
        return f"{len(runs)} runs"
    recipe = runs[0].records.recipe
    return f"{describe(recipe.model).partition(',')[0]} on {recipe.data.name}"


def _comparison(runs: Sequence[Shown]) -> Section:
    """All runs in a table, and their curves in one chart."""
    content: list[Block] = []
    if any(run.records.simulated for run in runs):
        content.append(Paragraph("marks runs on simulated recordings.", badge="SIMULATED"))
    if any(len(run.records.metrics) > MOST_EPOCHS for run in runs):
        content.append(Paragraph(f"Curves show {MOST_EPOCHS} epochs, evenly spread, where a run has more."))
    content += [_table(runs), *_overlaid(runs)]
    return Section(title="Comparison", content=tuple(content))


def _table(runs: Sequence[Shown]) -> Table:
    """A row for each run; empty where something was not measured."""
    rows = []
    for records, inspection in runs:
        recipe, result = records.recipe, records.result
        model, found = recipe.model, compare(recipe)
        published = [cell.paper for _, cell in found.values if cell.quantity == "last-epoch"] if found else []
        counted: tuple[float | None, ...] = (None, None, None)
        if isinstance(inspection, Inspection):
            spent = inspection.analysis.cost
            energy = spent.energy()
            spikes = inspection.analysis.activity.spikes
            counted = (spikes, spent.synaptic_operations, energy.synapses + energy.updates)
        data = f"{recipe.data.name}{' (SIMULATED)' if records.simulated else ''}"
        epochs = 0 if recipe.calibrate else recipe.train.epochs
        trained = (getattr(model, "connection", ""), epochs, recipe.seed, parameters(model))
        accuracies = (result.get("test_top1"), result.get("validation_top1"), next(iter(published), None))
        rows.append((records.name, *accuracies, describe(model), data, *trained, *counted))
    head = "run | test accuracy, %:.2f | held out, %:.2f | paper, %:.2f | network | data | connection | epochs:,d"
    return Table(
        name="runs",
        title="Runs; counts are per inference",
        columns=columns(f"{head} | seed:d | parameters:,d | spikes:,.0f | operations:,.0f | energy, µJ:.3g"),
        rows=tuple(rows),
    )


def _overlaid(runs: Sequence[Shown]) -> list[Figure]:
    """Curves of all runs that have them; a run has the same colour and marker in all."""
    seen = [
        (style, run.records.name, run.inspection.analysis)
        for style, run in enumerate(runs)
        if isinstance(run.inspection, Inspection)
    ]
    steps = [step_line(name, found.steps, style) for style, name, found in seen]
    operations = [operation_line(name, found.steps, found.cost, style) for style, name, found in seen]
    charts = {
        "train-accuracy": over_epochs("Training accuracy", _curves(runs, "train_top1"), ACCURACY),
        "validation-accuracy": over_epochs("Held-out accuracy", _curves(runs, "validation_top1"), ACCURACY),
        "train-loss": over_epochs("Training loss", _curves(runs, "train_loss"), "cross-entropy"),
        "accuracy-over-steps": over_steps(steps, "Test accuracy over time steps"),
        "accuracy-over-operations": over_operations(operations, "Test accuracy over synaptic operations"),
    }
    return [Figure(name=name, chart=chart) for name, chart in charts.items() if chart.lines]


def _curves(runs: Sequence[Shown], key: str) -> list[Line]:
    """A line over epochs for each run in which this was measured in every epoch."""
    found = [(style, run.records.name, thinned(run.records.metrics)) for style, run in enumerate(runs)]
    return [
        line_of(metrics, key, name, style)
        for style, name, metrics in found
        if metrics and all(isinstance(line.get(key), int | float) for line in metrics)
    ]
