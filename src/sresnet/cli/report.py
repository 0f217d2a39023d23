"""`sresnet report`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sresnet.cli.parse import Page, at_least, first_word, names_and_flags, parse, wants_help
from sresnet.cli.runs import RuntimeOptions, trained
from sresnet.cli.study import SEARCHES, evidence_at
from sresnet.cli.terminal import signs_of_life
from sresnet.data import Splits
from sresnet.errors import UserError
from sresnet.models.pretrained import card_of, is_shipped
from sresnet.models.saved import WEIGHTS
from sresnet.ops.dispatch import implementation
from sresnet.printing import give, going_on, say
from sresnet.report.differing import differences_in_brief
from sresnet.report.document import Section
from sresnet.report.files import REPORT, check_folder, check_page, save_files, save_page
from sresnet.report.html import page
from sresnet.report.inspection import Inspection, inspect_network
from sresnet.report.records import Records, records_of, records_of_card
from sresnet.report.several import Shown, runs_in_brief, sections_of, title_of
from sresnet.report.studies import study_sections
from sresnet.search.config import check_installed
from sresnet.search.record import is_search
from sresnet.studies.paper import STUDIES
from sresnet.studies.scale import ScaleName
from sresnet.train import record


@dataclass(frozen=True, kw_only=True)
class _ReportOptions(RuntimeOptions):
    """Flags of `sresnet report`."""

    out: Page = ""
    """Page to write; by default RUN/report.html, or report-NAME.html for a shipped network."""
    images: int = 0
    """How many test images or clips to analyse, evenly spread; 0: all."""
    files: str = ""
    """Folder for figures (SVG, some as PNG with matplotlib) and tables (CSV, Markdown) as files of their own."""
    scale: ScaleName = "tiny"
    """Scale of studies."""
    results: str = ""
    """Folder of results of studies; by default results/studies/SCALE."""
    searches: str = SEARCHES
    """Folder of the records of searches that studies look at."""
    force: bool = False
    """Overwrite what is in the way, even if sresnet did not make it."""


@going_on()
def report_verb(words: list[str]) -> int:
    """`sresnet report RUN [RUN ...]`, `sresnet report STUDY [STUDY ...]`."""
    if not wants_help(words):
        first_word(words, "run", "give the folder of a run")
    runs, flags = names_and_flags(words)
    prog = f"sresnet report {' '.join(runs) or 'RUN|STUDY ...'}"
    options = parse(_ReportOptions(), flags, prog, "Runs or studies as one self-contained HTML page.")
    if any(_is_study(name) for name in runs):
        return _report_studies(runs, options)
    at_least(0, images=options.images)
    if len(runs) > 1 and not options.out:
        raise UserError("--out is missing: name the page about these runs, such as -o report.html")
    if is_search(Path(runs[0])):
        return _report_search(runs, options)
    path = Path(options.out or (f"report-{runs[0]}.html" if is_shipped(runs[0]) else f"{runs[0]}/{REPORT}"))
    records = [_records_of_run(run, options.memory_limit) for run in runs]
    if len({each.name for each in records}) < len(records):  # folders of one name in several places
        records = [replace(each, name=run) for each, run in zip(records, runs, strict=True)]
    check_page(path, options.force)
    if options.files:
        check_folder(Path(options.files), options.force)
    shown = [
        Shown(each, inspect_run(run, each, options, options.images)) for run, each in zip(runs, records, strict=True)
    ]
    write_report(path, shown, Path(options.files) if options.files else None, force=options.force)
    give({"report": path, "runs": runs_in_brief(shown), "differences": differences_in_brief(records)})
    return 0


def _is_study(name: str) -> bool:
    """Whether a study is meant, and not a folder of that name."""
    return name in (*STUDIES, "all") and not Path(name).exists()


def _report_studies(names: list[str], options: _ReportOptions) -> int:
    """`sresnet report STUDY [STUDY ...]`: from the results that are there; nothing is trained."""
    if others := [name for name in names if not _is_study(name)]:
        raise UserError(f"{others[0]!r} is not a study: give studies or runs, a page for each kind")
    if not options.out:
        raise UserError("--out is missing: name the page about these studies, such as -o report.html")
    path = Path(options.out)
    check_page(path, options.force)
    evidence = evidence_at(options.scale, options.results, options.searches)
    wanted = [evidence.studies[name] for name in (evidence.studies if "all" in names else names)]
    sections = study_sections(wanted, evidence)
    title = wanted[0].title if len(wanted) == 1 else "The paper's tables, run again"
    _write_page(path, f"{title}, scale {options.scale}", sections, options)
    return 0


def _write_page(path: Path, title: str, sections: Sequence[Section], options: _ReportOptions) -> None:
    """Write a page about no run, and its figures and tables if asked for; say where they are."""
    save_page(path, page(title, sections), options.force)
    give({"report": path, "title": title})
    say(f"report: {path}")
    if options.files:
        say(f"files: {len(save_files(Path(options.files), sections, (), force=options.force))} in {options.files}")


def _report_search(runs: list[str], options: _ReportOptions) -> int:
    """`sresnet report FOLDER|RECORD` of a search; nothing is trained."""
    if runs[1:]:
        raise UserError(f"{runs[0]} is a search: give it alone, a page is about one")
    check_installed("the page of a search needs")
    from sresnet.report.search import search_sections
    from sresnet.report.search import title_of as title_of_search
    from sresnet.search.outcome import importances, outcome_of

    place = Path(runs[0])
    path = Path(options.out or (place / REPORT if place.is_dir() else f"report-{place.stem}.html"))
    check_page(path, options.force)
    found = outcome_of(place)
    sections = search_sections(found, importances(found))
    _write_page(path, title_of_search(found), sections, options)
    return 0


def _records_of_run(run: str, memory_limit: float) -> Records:
    """What is known of a run, finished or not, or of a network that comes with the package."""
    if is_shipped(run):
        return records_of_card(card_of(run))
    record.check_run(run)
    return records_of(Path(run), memory_limit=memory_limit)


def inspect_run(
    run: str, records: Records, options: RuntimeOptions, images: int, splits: Splits | None = None
) -> Inspection | str:
    """What a pass over the test data of a run shows, or why there was none; `splits` where they are open already."""
    if not is_shipped(run) and not (Path(run) / WEIGHTS).exists():
        return f"the run has no {WEIGHTS} yet"
    device = options.torch_device()
    try:
        splits = splits or options.open_again(records.recipe, run)
    except UserError as error:
        return f"the data are not available: {error}"
    samples = splits.test
    model, scaling, _ = trained(run, device, options.memory_limit, samples)
    total = min(images, len(samples)) if images else len(samples)
    with implementation(options.engine):
        found = inspect_network(
            model,
            samples,
            scaling,
            seed=records.recipe.seed,
            images=images,
            watch=lambda batches: signs_of_life(batches, total),
        )
    return replace(found, other_data=splits.about.get("other_data", ""))


def write_report(path: Path, runs: Sequence[Shown], files: Path | None = None, *, force: bool = False) -> None:
    """Write the page about runs, and its figures and tables if asked for; say where they are."""
    sections = sections_of(runs)
    save_page(path, page(title_of(runs), sections), force)
    for records, inspection in runs:
        if isinstance(inspection, str):
            name = f"{records.name}: " if len(runs) > 1 else ""
            say(f"note: {name}{inspection}; what needs a pass over the test data is left out")
    say(f"report: {path}")
    if files:
        say(f"files: {len(save_files(files, sections, runs, force=force))} in {files}")
