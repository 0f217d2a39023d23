"""Studies on a page: the paper's numbers beside the measured ones, what they say of its claims, and curves."""

from collections.abc import Mapping, Sequence

from sresnet.report.charts import Line, Photo, Picture
from sresnet.report.document import Block, Facts, Figure, Number, Paragraph, Section, Table, Value
from sresnet.report.figures import ACCURACY, over_steps
from sresnet.report.run_training import over_epochs
from sresnet.report.study_figures import drawings
from sresnet.report.text import study_csv
from sresnet.studies.claims import AFTERWARDS, judge
from sresnet.studies.rows import HEADER, Row, rows_of
from sresnet.studies.scale import SCALES, about
from sresnet.studies.study import Cell, Result, Study, training_runs_of


def study_sections(
    scale: str,
    wanted: Sequence[Study],
    every: Mapping[str, Study],
    results: Mapping[str, Result],
    failures: Mapping[str, str],
) -> tuple[Section, ...]:
    """What stands in front, the claims, a section for each study, the paper's figures if all are shown, and commands.

    Args:
        scale: its name.
        wanted: the studies to show, at that scale.
        every: name -> study at that scale, all of them, for the claims.
        results: key of a training run -> result.
        failures: key of a training run -> why it failed.
    """
    names = {study.name for study in wanted}
    return (
        summary(scale, wanted, results, failures),
        claims(scale, names, every, results),
        *(study_section(study, results, failures) for study in wanted),
        *([pictures(scale, every, results)] if len(wanted) == len(every) else []),
        making(scale, wanted, results),
    )


def trained_for(studies: Sequence[Study], results: Mapping[str, Result]) -> tuple[list[Result], int]:
    """The results that studies look at, each once, and how many there would be."""
    keys = training_runs_of(studies)
    return [results[key] for key in keys if key in results], len(keys)


def summary(
    scale: str, studies: Sequence[Study], results: Mapping[str, Result], failures: Mapping[str, str]
) -> Section:
    """How much of it is there, and what must be known of it."""
    found, total = trained_for(studies, results)
    failed = sum(bool(row.failures) for study in studies for row in rows_of(study, results, failures))
    content: list[Block] = [
        Paragraph(
            f"{len(found)} of {total} training runs are finished"
            + (f"; {failed} rows have seeds that failed" if failed else "")
            + "."
        )
    ]
    if scale in SCALES:
        content.insert(
            0,
            Paragraph(
                f"{about(scale)} Rows may be compared with each other, not with the paper's numbers.",
                strong="These are not the paper's networks, and their accuracies are not the paper's.",
            ),
        )
    return Section(title="Summary", content=tuple(content))


def claims(scale: str, names: set[str], every: Mapping[str, Study], results: Mapping[str, Result]) -> Section:
    """What the paper says that these studies are about, and whether it holds here."""
    rows = [
        (finding.verdict, claim.says, finding.evidence, claim.where)
        for claim, finding in judge(scale, every, results)
        if names.intersection(claim.studies)
    ]
    columns = (("verdict", ""), ("claim", ""), ("evidence", ""), ("where", ""))
    table = Table(name="claims", title="The paper's claims about these rows", columns=columns, rows=tuple(rows))
    note = Paragraph(
        "A difference counts where it exceeds two standard errors; a single run borrows the spread of others. "
        "fails: the contrary was measured."
    )
    content = (note, Paragraph(AFTERWARDS), table)
    return Section(title="Claims", content=content if rows else (Paragraph("None is about these studies."),))


def study_section(study: Study, results: Mapping[str, Result], failures: Mapping[str, str]) -> Section:
    """A study's table and curves."""
    content: list[Block] = [Paragraph(study.note)] if study.note else []
    content.append(table(study, rows_of(study, results, failures)))
    content += curves(study, results)
    title = f"{study.table}. {study.title}" if study.table else study.title
    return Section(title=title, content=tuple(content), short=study.table or study.name)


def table(study: Study, rows: Sequence[Row]) -> Table:
    """A row for each cell."""
    shown: list[tuple[Value, ...]] = []
    for row in rows:
        numbers = row.numbers()
        shown.append(
            tuple(
                text if (number := numbers.get(heading)) is None else Number(number, text)
                for heading, text in row.texts().items()
            )
        )
    return Table(
        name=study.name,
        title="The paper's numbers and the measured ones",
        columns=tuple((heading, "") for heading in HEADER),
        rows=tuple(shown),
        data=study_csv(rows),
    )


def curves(study: Study, results: Mapping[str, Result]) -> list[Figure]:
    """Accuracy on training images by epoch, and on test images by time step, of seed 0 of every row."""
    by_epoch, by_step = [], []
    for style, (name, result) in enumerate(first_results(study, results).items()):
        metrics = [line for line in result.metrics if isinstance(line.get("train_top1"), int | float)]
        if len(metrics) > 1:
            epochs = [number_of(line, "epoch") for line in metrics]
            accuracy = [number_of(line, "train_top1") for line in metrics]
            by_epoch.append(Line(name=name, x=epochs, y=accuracy, style=style))
        if len(result.by_steps) > 1:
            by_step.append(Line(name=name, x=range(1, len(result.by_steps) + 1), y=result.by_steps, style=style))
    charts = {
        "training": over_epochs("Accuracy on training images, seed 0", by_epoch, ACCURACY),
        "steps": over_steps(by_step, "Test accuracy if stopped early, seed 0"),
    }
    return [Figure(name=f"{study.name}-{key}", chart=chart) for key, chart in charts.items() if chart.lines]


def number_of(line: Mapping[str, object], key: str) -> float:
    """A number of an epoch; not a number where there is none."""
    value = line.get(key)
    return float(value) if isinstance(value, int | float) else float("nan")


def first_results(study: Study, results: Mapping[str, Result]) -> dict[str, Result]:
    """Name -> result of seed 0, each run once; at most as many as a chart can tell apart."""
    found: dict[str, Result] = {}
    seen = set()
    for cell in study.cells:
        for training in cell.training_runs():
            key = training.with_seed(0).key()
            if key in results and key not in seen:
                seen.add(key)
                found[name_of(cell, study, training.recipe.model.leak)] = results[key]
    return dict(list(found.items())[:MOST_LINES])


MOST_LINES = 6
"""Lines of a chart that have colour and mark of their own."""


def name_of(cell: Cell, study: Study, leak: float) -> str:
    """What a line is called: the row, and the column where there are several."""
    columns = {each.column for each in study.cells if each.training_runs()}
    leaks = f", leak {leak:g}" if len(cell.training_runs()) > 1 else ""
    short = cell.column.removesuffix(" Accuracy").removesuffix(" Acc")
    return cell.row + (f", {short}" if len(columns) > 1 else "") + leaks


def pictures(scale: str, every: Mapping[str, Study], results: Mapping[str, Result]) -> Section:
    """Figs. 3 to 6 and others, as far as there are results for them; each chart a figure."""
    parts = []
    for drawing in drawings(scale, every, results):
        shown = drawing.picture
        panels = [panel for row in shown.panels for panel in row] if isinstance(shown, Picture) else [shown]
        figures = [
            Figure(name=f"{drawing.name}-{number}", chart=panel)
            for number, panel in enumerate(panels, 1)
            if not isinstance(panel, Photo)
        ]
        parts.append(Section(title=drawing.title, content=(Paragraph(drawing.caption), *figures)))
    return Section(title="Figures", parts=tuple(parts))


def making(scale: str, studies: Sequence[Study], results: Mapping[str, Result]) -> Section:
    """Commands, machine, versions, hours."""
    found, _ = trained_for(studies, results)
    names = " ".join(study.name for study in studies)
    data = "" if scale == "tiny" else " --data-dir DIR"

    def all_of(key: str) -> str:
        return ", ".join(dict.fromkeys(str(result.environment.get(key, "")) for result in found))

    pairs = [("command", f"sresnet study {names} --scale {scale}{data}")]
    if found:
        pairs += [
            ("machine", all_of("device")),
            ("versions", f"sresnet {all_of('sresnet')}, torch {all_of('torch')}, Python {all_of('python')}"),
            ("revision", all_of("revision") or "not known"),
            ("training", f"{sum(result.hours for result in found):.2f} hours, the time of each run added up"),
        ]
    return Section(title="How it was made", content=(Facts(tuple(pairs)),))
