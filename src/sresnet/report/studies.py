"""Studies on a page: the paper's numbers beside the measured ones, what they say of its claims, and curves."""

from collections.abc import Mapping, Sequence

from sresnet.report.charts import Line, Photo
from sresnet.report.document import Block, Facts, Figure, Number, Paragraph, Section, Table, columns
from sresnet.report.figures import ACCURACY, over_steps
from sresnet.report.run_training import line_of, over_epochs
from sresnet.report.study_figures import Drawing, all_beside_published, drawings
from sresnet.report.text import study_csv
from sresnet.studies.claims import AFTERWARDS, judge
from sresnet.studies.evidence import Evidence
from sresnet.studies.rows import Row, header_of, machines_of
from sresnet.studies.scale import SCALES, about
from sresnet.studies.study import Cell, Result, Study, training_runs_of

MOST_LINES = 6
"""Lines of a chart that have colour and mark of their own."""


def study_sections(wanted: Sequence[Study], evidence: Evidence) -> tuple[Section, ...]:
    """A summary, the claims, a section for each study, figures (all if all are shown, Table 14's with it), commands.

    Args:
        wanted: the studies to show, at their scale.
        evidence: all studies and results of that scale.
    """
    names = {study.name for study in wanted}
    runs = training_runs_of(wanted)
    found = [evidence.results[key] for key in runs if key in evidence.results]
    shown = drawings(evidence) if len(wanted) == len(evidence.studies) else []
    if not shown and "table14" in names:
        shown = all_beside_published(evidence)
    return (
        _summary(wanted, evidence, f"{len(found)} of {len(runs)}"),
        claims(names, evidence),
        *(_study_section(study, evidence) for study in wanted),
        *([_pictures(shown)] if shown or len(wanted) == len(evidence.studies) else []),
        _making(evidence.scale, wanted, found),
    )


def _summary(studies: Sequence[Study], evidence: Evidence, finished: str) -> Section:
    """How much of it is there, and what must be known of it."""
    content = []
    if evidence.scale in SCALES:
        warning = "These are not the paper's networks, and their accuracies are not the paper's."
        said = f"{about(evidence.scale)} Rows may be compared with each other, not with the paper's numbers."
        content.append(Paragraph(said, strong=warning))
    failed = sum(bool(row.failures) for study in studies for row in evidence.rows(study))
    failures = f"; {failed} {'row has' if failed == 1 else 'rows have'} seeds that failed" if failed else ""
    content.append(Paragraph(f"{finished} training runs are finished{failures}."))
    return Section(title="Summary", content=tuple(content))


def claims(names: set[str], evidence: Evidence) -> Section:
    """What the paper says that these studies are about, and whether it holds here."""
    rows = [
        (finding.verdict, claim.says, finding.evidence, claim.where)
        for claim, finding in judge(evidence)
        if names.intersection(claim.studies)
    ]
    if not rows:
        return Section(title="Claims", content=(Paragraph("None is about these studies."),))
    table = Table(
        name="claims",
        title="The paper's claims about these rows",
        columns=columns("verdict | claim | evidence | where"),
        rows=tuple(rows),
    )
    note = (
        "A difference counts where it exceeds two standard errors; a single run borrows the spread of others. "
        "fails: the contrary was measured."
    )
    return Section(title="Claims", content=(Paragraph(note), Paragraph(AFTERWARDS), table))


def _study_section(study: Study, evidence: Evidence) -> Section:
    """A study's table and curves."""
    content: list[Block] = [Paragraph(study.note)] if study.note else []
    rows = evidence.rows(study)
    content += [_table(study, rows), *map(Paragraph, filter(None, [machines_of(rows)]))]
    content += _curves(study, evidence.results)
    title = f"{study.table}. {study.title}" if study.table else study.title
    return Section(title=title, content=tuple(content), short=study.table or study.name)


def _table(study: Study, rows: Sequence[Row]) -> Table:
    """A row for each cell; columns that are empty in all of them are in its file alone."""
    shown: list[tuple[str | Number, ...]] = []
    for row in rows:
        cells, numbers = row.texts(), row.numbers()
        values = [(text, numbers.get(heading)) for heading, text in cells.items()]
        shown.append(tuple(text if number is None else Number(number, text) for text, number in values))
    header = header_of(study)
    filled = [place for place in range(len(header)) if any(row[place] != "" for row in shown)]
    return Table(
        name=study.name,
        title="The paper's numbers and the measured ones",
        columns=columns(" | ".join(header[place] for place in filled)),
        rows=tuple(tuple(row[place] for place in filled) for row in shown),
        data=study_csv(rows),
    )


def _curves(study: Study, results: Mapping[str, Result]) -> list[Figure]:
    """Accuracy on training images by epoch, and on test images by time step, of seed 0 of every row."""
    by_epoch, by_step = [], []
    for style, (name, result) in enumerate(_first_results(study, results).items()):
        metrics = [line for line in result.metrics if isinstance(line.get("train_top1"), int | float)]
        if len(metrics) > 1:
            by_epoch.append(line_of(metrics, "train_top1", name, style))
        if len(result.by_steps) > 1:
            by_step.append(Line(name=name, x=range(1, len(result.by_steps) + 1), y=result.by_steps, style=style))
    charts = {
        "training": over_epochs("Accuracy on training images, seed 0", by_epoch, ACCURACY),
        "steps": over_steps(by_step, "Test accuracy if stopped early, seed 0"),
    }
    return [Figure(name=f"{study.name}-{key}", chart=chart) for key, chart in charts.items() if chart.lines]


def _first_results(study: Study, results: Mapping[str, Result]) -> dict[str, Result]:
    """Name -> result of seed 0, each run once; at most as many as a chart can tell apart."""
    found: dict[str, Result] = {}
    seen = set()
    for cell in study.cells:
        for training in cell.training_runs():
            key = training.with_seed(0).key()
            if key in results and key not in seen:
                seen.add(key)
                found[_name_of(cell, study, training.recipe.model.leak)] = results[key]
    return dict(list(found.items())[:MOST_LINES])


def _name_of(cell: Cell, study: Study, leak: float) -> str:
    """What a line is called: the row, and the column where there are several."""
    columns = {each.column for each in study.cells if each.training_runs()}
    leaks = f", leak {leak:g}" if len(cell.training_runs()) > 1 else ""
    short = cell.column.removesuffix(" Accuracy").removesuffix(" Acc")
    return cell.row + (f", {short}" if len(columns) > 1 else "") + leaks


def _pictures(shown: Sequence[Drawing]) -> Section:
    """Figs. 3 to 6 and others, as far as there are results for them; each chart a figure."""
    parts = []
    for drawing in shown:
        panels = [panel for row in drawing.picture.panels for panel in row if not isinstance(panel, Photo)]
        figures = [Figure(name=f"{drawing.name}-{number}", chart=panel) for number, panel in enumerate(panels, 1)]
        parts.append(Section(title=drawing.title, content=(Paragraph(drawing.caption), *figures)))
    return Section(title="Figures", parts=tuple(parts))


def _making(scale: str, studies: Sequence[Study], found: Sequence[Result]) -> Section:
    """Commands, machine, versions, hours."""
    names = " ".join(study.name for study in studies)
    data = "" if scale == "tiny" else " --data-dir DIR"

    def all_of(key: str) -> str:
        return ", ".join(dict.fromkeys(str(result.environment.get(key, "")) for result in found))

    pairs = [("command", f"sresnet study {names} --scale {scale}{data}")]
    if found:
        pairs += [
            ("machine", all_of("device")),
            ("versions", f"sresnet {all_of('sresnet')}, torch {all_of('torch')}, Python {all_of('python')}"),
            ("revision", all_of("revision") or "unknown"),
            ("training", f"{sum(result.hours for result in found):.2f} hours, the time of each run added up"),
        ]
    return Section(title="How it was made", content=(Facts(tuple(pairs)),))
