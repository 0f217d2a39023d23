"""The file of a page, and its figures and tables as files of their own, for papers and slides."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sresnet.analysis.prediction import Prediction
from sresnet.files import check_free, check_listed, claim_folder, make_folder, write_json, write_whole
from sresnet.report import plots
from sresnet.report.charts import Chart, Picture
from sresnet.report.document import Figure, Section, Table
from sresnet.report.figures import analysis_pictures, confusion_matrix, predictions
from sresnet.report.html import GENERATOR
from sresnet.report.inspection import Inspection
from sresnet.report.run_test import names_of
from sresnet.report.several import Shown
from sresnet.report.svg import draw, standalone
from sresnet.report.text import table_csv, table_markdown

REPORT = "report.html"
"""Name of the page in a run folder."""
MARK = f'<meta name="generator" content="{GENERATOR}">'.encode()
"""What a page that we made has near its beginning."""
LIST, KIND = "files.json", "sresnet report files"
"""Name of the list of what was written, and what it says it is."""


def check_page(path: Path, force: bool = False) -> None:
    """Raise UserError where `path` is a folder or, unless `force`, something other than a report of sresnet."""
    check_free(path, [MARK], force=force)


def save_page(path: Path, html: str, force: bool = False) -> None:
    """Write a page, in place of an older one.

    Raises:
        UserError: something else is there and not `force`, or the disk is full or refuses.
    """
    check_page(path, force)
    make_folder(path.parent)
    write_whole(path, html.encode())


def check_folder(folder: Path, force: bool = False) -> list[str]:
    """Make `folder`, or check that it is one that we made; returns the names of our files in it.

    Raises:
        UserError: it holds something that we did not write, unless `force`, or cannot be made.
    """
    return claim_folder(folder, LIST, KIND, force=force, flag="--files")


def save_files(folder: Path, sections: Sequence[Section], runs: Sequence[Shown], *, force: bool = False) -> list[Path]:
    """Write every figure as SVG, every table as CSV and Markdown, and where matplotlib is there pictures as PNG.

    Returns:
        The files written, in the order of the page.

    Raises:
        UserError: the folder is not ours, or a file in it that we did not write is in the way, and not `force`, or the
            disk refuses.
    """
    before = check_folder(folder, force)
    content: dict[str, bytes] = {}
    for section in sections:
        for each in section.walk():
            if isinstance(each, Figure):
                content[f"{each.name}.svg"] = standalone(draw(each.chart, each.name)).encode()
            elif isinstance(each, Table):
                content[f"{each.name}.csv"] = table_csv(each).encode()
                content[f"{each.name}.md"] = table_markdown(each).encode()
    content |= _pictures(runs)
    check_listed(folder, before, content, force=force, flag="--files")
    listing = {"kind": KIND, "runs": [run.records.name for run in runs], "files": sorted({*before, *content})}
    write_json(folder / LIST, listing)  # first, so that what is written before a fault is known as ours
    for name, whole in content.items():
        write_whole(folder / name, whole)
    return [folder / name for name in content]


def _pictures(runs: Sequence[Shown]) -> Mapping[str, bytes]:
    """Name -> PNG of the pictures of an analysis, and of the examples; none without matplotlib."""
    found: dict[str, bytes] = {}
    if not plots.available():
        return found
    for number, (records, inspection) in enumerate(runs, 1):
        if not isinstance(inspection, Inspection):
            continue
        prefix = f"run{number}-" if len(runs) > 1 else ""
        names = names_of(records, len(inspection.confusion.counts))
        examples = [
            Prediction(title=names[each.label], picture=picture, class_names=names, by_step=each.by_step)
            for each, picture in inspection.examples
        ]
        drawn: dict[str, Picture | Chart] = {
            NAMES.get(name, name): picture for name, picture in analysis_pictures(inspection.analysis).items()
        }
        drawn["confusion"] = confusion_matrix(inspection.confusion.counts, names)
        if examples:
            drawn["examples"] = predictions(examples)
        found |= {f"{prefix}{name}.png": plots.written(plots.draw(each), ".png") for name, each in drawn.items()}
    return found


NAMES = {"cost": "operations", "accuracy": "accuracy-over-steps"}
"""Pictures that are named after a figure of the page."""
