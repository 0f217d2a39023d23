"""Figures and tables of a page as files of their own, for papers and slides."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sresnet.analysis import figures
from sresnet.analysis.prediction import Prediction
from sresnet.analysis.report import is_ours
from sresnet.errors import UserError
from sresnet.files import write_whole
from sresnet.printing import csv_of, printable
from sresnet.report.look import Looked
from sresnet.report.page import Figure, Section, Table
from sresnet.report.run import names_of
from sresnet.report.several import Shown
from sresnet.report.svg import standalone
from sresnet.train.record import read_json, write_json

LIST, KIND = "files.json", "sresnet report files"
"""Name of the list of what was written, and what it says it is."""


def check_folder(folder: Path) -> None:
    """Raise UserError where `folder` holds something and is none that we wrote, or is a file."""
    if folder.is_dir() and any(folder.iterdir()) and not is_ours(folder / LIST, KIND):
        raise UserError(f"{folder} is not empty and holds no files of a report: choose another --files")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: choose another --files")


def save_files(folder: Path, sections: Sequence[Section], runs: Sequence[Shown]) -> list[Path]:
    """Write every figure as SVG, every table as CSV and Markdown, and where matplotlib is there pictures as PNG.

    Returns:
        The files written, in the order of the page.

    Raises:
        UserError: the folder is not ours, a file in it that we did not write is in the way, or the disk refuses.
    """
    check_folder(folder)
    before = read_json(folder / LIST)["files"] if (folder / LIST).exists() else []
    content: dict[str, bytes] = {}
    for section in sections:
        for each in section.walk():
            if isinstance(each, Figure):
                content[f"{each.name}.svg"] = standalone(each.svg).encode()
            elif isinstance(each, Table):
                content[f"{each.name}.csv"] = table_csv(each).encode()
                content[f"{each.name}.md"] = table_markdown(each).encode()
    content |= pictures(runs)
    strangers = [name for name in content if (folder / name).exists() and name not in before]
    if strangers:
        raise UserError(f"{folder / strangers[0]} was not written by sresnet report: choose another --files")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made ({error.strerror}): choose another --files") from None
    listed = {"kind": KIND, "runs": [run.records.name for run in runs], "files": sorted({*before, *content})}
    write_json(folder / LIST, listed)  # first, so that what is written before a fault is known as ours
    for name, whole in content.items():
        write_whole(folder / name, whole)
    return [folder / name for name in content]


def table_csv(table: Table) -> str:
    """All digits of all numbers, headings first."""
    return csv_of([[heading for heading, _ in table.columns], *table.rows])


def table_markdown(table: Table) -> str:
    """A table as it is shown."""
    rows = [[heading for heading, _ in table.columns], *table.texts()]
    cells = [[printable(" ".join(text.split())).replace("|", "\\|") for text in row] for row in rows]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    rule = "| " + " | ".join("---:" if form else "---" for _, form in table.columns) + " |"
    return "\n".join([table.title, "", lines[0], rule, *lines[1:]]) + "\n"


def pictures(runs: Sequence[Shown]) -> Mapping[str, bytes]:
    """Name -> PNG of the figures of `sresnet.analysis`, and of the examples; none without matplotlib."""
    found: dict[str, bytes] = {}
    if not figures.available():
        return found
    for number, (records, looked) in enumerate(runs, 1):
        if not isinstance(looked, Looked):
            continue
        prefix, analysis = f"run{number}-" if len(runs) > 1 else "", looked.analysis
        names = names_of(records, len(looked.confusion.counts))
        examples = [
            Prediction(title=f"{names[each.label]}", picture=picture, class_names=names, by_step=each.by_step)
            for each, picture in looked.examples
        ]
        drawn = {
            "activity": figures.activity_maps({"": analysis.activity}),
            "operations": figures.cost_bars(analysis.activity, analysis.cost),
            "accuracy-over-steps": figures.accuracy_curves({"": (analysis.steps, analysis.cost)}),
            **({"gradients": figures.gradient_curves({"": analysis.gradients})} if analysis.gradients else {}),
            **({"examples": figures.predictions(examples)} if examples else {}),
        }
        found |= {f"{prefix}{name}.png": figures.drawn(figure, ".png") for name, figure in drawn.items()}
    return found
