"""Several runs side by side: in which fields they differ, a table of them, and their curves in one chart."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from sresnet.models.summary import describe
from sresnet.report.charts import Line
from sresnet.report.differing import (
    Difference,
    cell_of,
    differences,
    equal_runs,
    labels_of,
    styles_of,
)
from sresnet.report.document import Block, Figure, Marked, Named, Paragraph, Section, Table, Value, columns
from sresnet.report.figures import ACCURACY, operation_line, over_operations, over_steps, step_line
from sresnet.report.inspection import Inspection
from sresnet.report.paper import compare
from sresnet.report.records import Records
from sresnet.report.run import run_sections
from sresnet.report.run_training import MOST_EPOCHS, line_of, over_epochs, thinned
from sresnet.studies.rows import parameters

FEW = 4
"""Up to so many runs, or fewer than fields, fields are rows and runs columns; up to so many the sections of each run
are open."""
LEGENDS = 8
"""With more runs, names stand in the table beside their lines, and not above every chart."""


class Shown(NamedTuple):
    """A run on a page."""

    records: Records
    inspection: Inspection | str
    """What a pass over its test data showed, or why there was none."""


class _Compared(NamedTuple):
    """A run beside others."""

    records: Records
    inspection: Inspection | str
    label: str
    """What it is called, by the fields in which it differs."""
    style: int
    """Number of its colour, marker and dashes."""


def sections_of(runs: Sequence[Shown]) -> tuple[Section, ...]:
    """The sections of a page: those of the run, or for several a comparison in front and then a section for each."""
    if len(runs) == 1:
        return run_sections(*runs[0])
    found = differences([run.records for run in runs])
    compared, told = _compared(runs, found)
    details = [
        Section(
            title=run.label if run.records.name in run.label else f"{run.records.name}: {run.label}",
            short=run.records.name,
            parts=run_sections(run.records, run.inspection, f"run{number}-"),
            folded=len(runs) > FEW,
        )
        for number, run in enumerate(compared, 1)
    ]
    return (_comparison(compared, found, told), *details)


def runs_in_brief(runs: Sequence[Shown]) -> list[dict[str, str | float | None]]:
    """The results of each run, for JSON."""
    return [
        {
            "run": records.name,
            "test_top1": records.result.get("test_top1"),
            "validation_top1": records.result.get("validation_top1"),
            "parameters": parameters(records.recipe.model),
            "spikes": inspection.analysis.activity.spikes if isinstance(inspection, Inspection) else None,
            "synaptic_operations": (
                inspection.analysis.cost.synaptic_operations if isinstance(inspection, Inspection) else None
            ),
        }
        for records, inspection in runs
    ]


def title_of(runs: Sequence[Shown]) -> str:
    """What a page is about."""
    if len(runs) > 1:
        return f"{len(runs)} runs"
    records = runs[0].records
    made = next((how for how in ("converted", "imported") if f"{how}_from" in records.environment), "")
    network = f"{made.capitalize()} network" if made else describe(records.recipe.model).partition(",")[0]
    return f"{network} on {records.recipe.data.name}"


def _compared(runs: Sequence[Shown], found: Sequence[Difference]) -> tuple[list[_Compared], str]:
    """The runs with their names and looks, and what colours tell apart where that is not the runs."""
    records = [run.records for run in runs]
    styles, told = styles_of(records, found)
    looks = zip(runs, labels_of(records, found), styles, strict=True)
    return [_Compared(*run, label, style) for run, label, style in looks], told


def _comparison(runs: Sequence[_Compared], found: Sequence[Difference], told: str) -> Section:
    """All runs in tables, and their curves in one chart."""
    content: list[Block] = []
    if any(run.records.simulated for run in runs):
        content.append(Paragraph("marks runs on simulated recordings.", badge="SIMULATED"))
    if not found:
        content.append(Paragraph("The recipes of these runs are equal in all fields."))
    else:
        content += _differences(runs, found)
        content += [
            Paragraph(f"Equal in all fields: {', '.join(names)}.")
            for names in equal_runs([run.records for run in runs], found)
        ]
    content.append(_table(runs))
    words = "Lines are named by fields in which the runs differ."
    if told:
        words = (
            f"A colour for each value of {told}; markers and dashes tell runs of one colour apart. Their names stand "
        )
        words += "in the table of runs, and beside each point that is pointed at."
    if any(len(run.records.metrics) > MOST_EPOCHS for run in runs):
        words += f" Curves show {MOST_EPOCHS} epochs, evenly spread, where a run has more."
    return Section(title="Comparison", content=(*content, Paragraph(words, style="soft"), *_overlaid(runs)))


def _differences(runs: Sequence[_Compared], found: Sequence[Difference]) -> list[Table]:
    """The fields in which recipes differ, and those that only some kinds of networks or data have, folded."""
    common = [each for each in found if each.everywhere]
    others = [each for each in found if not each.everywhere]
    title = "Fields in which the recipes differ; all others are equal"
    tables = [_fields(runs, common, "differences", title)] if common else []
    if others:
        title = "fields that only some of the recipes have"
        tables.append(replace(_fields(runs, others, "differences-of-kinds", title), folded=True))
    return tables


def _fields(runs: Sequence[_Compared], found: Sequence[Difference], name: str, title: str) -> Table:
    """Fields as rows where there are few runs or many fields, otherwise as columns."""
    if len(runs) <= FEW or len(found) > len(runs):
        head = [("field", ""), *((run.records.name, "") for run in runs)]
        rows = [(Named(each.field, each.flag), *map(cell_of, each.values)) for each in found]
    else:
        head = [("run", ""), *((each.flag, "") for each in found)]
        rows = [
            (Marked(run.records.name, run.style), *(cell_of(each.values[place]) for each in found))
            for place, run in enumerate(runs)
        ]
    return Table(name=name, title=title, columns=tuple(head), rows=tuple(rows))


def _table(runs: Sequence[_Compared]) -> Table:
    """A row for each run; empty where something was not measured, without what none has and what all have alike."""
    rows: list[tuple[Value, ...]] = []
    for records, inspection, label, style in runs:
        recipe, result = records.recipe, records.result
        found = compare(recipe)
        published = [cell.paper for _, cell in found.values if cell.quantity == "last-epoch"] if found else []
        counted: tuple[float | None, ...] = (None, None, None)
        if isinstance(inspection, Inspection):
            spent = inspection.analysis.cost
            energy = spent.energy()
            counted = (inspection.analysis.activity.spikes, spent.synaptic_operations, energy.synapses + energy.updates)
        data = f"{recipe.data.name}{' (SIMULATED)' if records.simulated else ''}"
        accuracies = (result.get("test_top1"), result.get("validation_top1"), next(iter(published), None))
        same = (describe(recipe.model), data, parameters(recipe.model))
        rows.append((Marked(records.name, style), label, *accuracies, *counted, *same))
    head = "run | line | test accuracy, %:.2f | held out, %:.2f | paper, %:.2f | spikes:,.0f | operations:,.0f"
    every = columns(f"{head} | energy, µJ:.3g | network | data | parameters:,d")
    title, shown = "Runs; counts are per inference", []
    for place, (heading, _) in enumerate(every):
        values = {row[place] for row in rows}
        if heading in ("network", "data") and len(values) == 1:
            title += f"; {heading} {values.pop()}"
        elif values != {None} and not (heading == "parameters" and len(values) == 1):
            shown.append(place)
    return Table(
        name="runs",
        title=title,
        columns=tuple(every[place] for place in shown),
        rows=tuple(tuple(row[place] for place in shown) for row in rows),
    )


def _overlaid(runs: Sequence[_Compared]) -> list[Figure]:
    """Curves of all runs that have them; a run has the same colour, marker and dashes in all."""
    seen = [(run.label, run.inspection.analysis, run.style) for run in runs if isinstance(run.inspection, Inspection)]
    steps = [step_line(name, found.steps, style) for name, found, style in seen]
    operations = [operation_line(name, found.steps, found.cost, style) for name, found, style in seen]
    charts = {
        "train-accuracy": over_epochs("Training accuracy", _curves(runs, "train_top1"), ACCURACY),
        "validation-accuracy": over_epochs("Held-out accuracy", _curves(runs, "validation_top1"), ACCURACY),
        "train-loss": over_epochs("Training loss", _curves(runs, "train_loss"), "cross-entropy"),
        "accuracy-over-steps": over_steps(steps, "Test accuracy over time steps"),
        "accuracy-over-operations": over_operations(operations, "Test accuracy over synaptic operations"),
    }
    return [
        Figure(name=name, chart=replace(chart, legend=len(runs) <= LEGENDS))
        for name, chart in charts.items()
        if chart.lines
    ]


def _curves(runs: Sequence[_Compared], key: str) -> list[Line]:
    """A line over epochs for each run in which this was measured in every epoch."""
    found = [(run, thinned(run.records.metrics)) for run in runs]
    return [
        line_of(metrics, key, run.label, run.style)
        for run, metrics in found
        if metrics and all(isinstance(line.get(key), int | float) for line in metrics)
    ]
