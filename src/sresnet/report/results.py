"""Results of studies as a page in Markdown: numbers beside the paper's, what they say of its claims, what they cost.

Everything is a function of the results alone, so that the same results always make the same page.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import get_args

from sresnet.files import beginning, check_free, make_folder, write_whole
from sresnet.report import plots
from sresnet.report.study_figures import drawings
from sresnet.report.text import folded, markdown, study_csv
from sresnet.studies.claims import AFTERWARDS, judge
from sresnet.studies.evidence import STANDARD_ERRORS, Evidence, Verdict
from sresnet.studies.paper import STUDIES
from sresnet.studies.published import REFERENCES, TABLE_14, Topology
from sresnet.studies.rows import DATA_HEADER, header_of, machines_of
from sresnet.studies.scale import MEDIUM, SCALES, ScaleName, scaled
from sresnet.studies.study import Result, Study, training_runs_of

MARK = "<!-- made by sresnet, scale: {scale} -->"
"""First line of a page, by which it is recognised."""
PAGES = [MARK.format(scale=scale).encode() for scale in get_args(ScaleName)]
TABLE = ",".join(DATA_HEADER).encode()
"""What pages and tables that we wrote begin with."""


def page(evidence: Evidence, assets: str = "", other: str = "") -> str:
    """The page of one scale's results, in Markdown.

    Args:
        evidence: all studies and results of the scale.
        assets: where tables and figures lie, as seen from the page; ../results/studies/SCALE by default.
        other: what to say of another scale.
    """
    scale = evidence.scale
    assets = assets or f"../results/studies/{scale}"
    evidence = replace(evidence, results=dict(sorted(evidence.results.items())))
    parts = [
        MARK.format(scale=scale),
        f"# The paper's tables at scale `{scale}`",
        *_opening(evidence),
        *([other] if other else []),
        "## What the paper says, and what these networks say",
        *_claims(evidence),
        "## Tables",
        "Measured: mean and, of several seeds, standard deviation. Target: where the paper has two numbers for one "
        "network, the one that counts. Difference: measured less target, or less the paper's number. Last epoch: test "
        "images were read once, after it; best test epoch: the best of all epochs on the test images.",
    ]
    for study in evidence.studies.values():
        parts += _section(study, evidence, assets)
    parts += ["## Figures", *_pictures(evidence, assets)]
    parts += ["## What it cost", *_costs(evidence.results), "## Commands", *_commands(scale)]
    return "\n\n".join(part if part.startswith(("|", "```")) else folded(part) for part in parts) + "\n"


def other_scale(scale: str, results: Mapping[str, Result]) -> str:
    """What a page at scale small says of scale medium, and the other way round; nothing at others.

    Args:
        scale: of the page.
        results: of the other scale.
    """
    if scale not in OTHER_SCALE:
        return ""
    name = OTHER_SCALE[scale]
    said, studies = _SAID_OF[name]
    wanted = training_runs_of(scaled(STUDIES[each], name) for each in studies).keys()
    done = len(wanted & results.keys())
    state = f"{done} of its {len(wanted)} training runs are finished"
    return f"Scale `{name}`, {said}: {state if done else f'none of its {len(wanted)} training runs has been run yet'}."


OTHER_SCALE = {"small": "medium", "medium": "small"}
"""Scale of a page -> the scale that it mentions."""
_SAID_OF = {
    "medium": (
        "networks of the paper's depth over all training images, is to decide what this one leaves within noise "
        "(results/medium.md)",
        MEDIUM,
    ),
    "small": ("smaller networks, shorter training, and all tables", tuple(STUDIES)),
}
"""What a scale is beside another, and its studies."""


def _opening(evidence: Evidence) -> list[str]:
    """Which networks these are, and how many of them are there."""
    wanted, results = training_runs_of(evidence.studies.values()).keys(), evidence.results
    done, failed = len(wanted & results.keys()), len((wanted & evidence.failures.keys()) - results.keys())
    extra = len(results.keys() - wanted)
    state = f"{done} of {len(wanted)} training runs are finished"
    state += f", {failed} failed" if failed else ""
    state += f"; {extra} more, of other seeds or earlier settings, are kept." if extra else "."
    if evidence.scale == "paper":
        return [f"The paper's own networks, data and epochs. {state}"]
    return [
        "**These are not the paper's networks, and their accuracies are not the paper's.** "
        f"Scale `{evidence.scale}`: {SCALES[evidence.scale].about}",
        "Differences from the paper's numbers are therefore large and mean nothing. What can be compared is rows with "
        "each other: whether one is better than another here, as in the paper. Even that can come out differently in "
        "networks so much smaller and trained so briefly, and neither outcome proves anything about the paper's "
        "networks.",
        "Rows and claims keep the paper's names and numbers: what is called S-ResNet38 is the network that stands for "
        "it here, and 50 steps are as many as it is trained with.",
        state,
    ]


def _claims(evidence: Evidence) -> list[str]:
    """How a verdict comes about, and the table of verdicts."""
    found = judge(evidence)
    count = Counter(finding.verdict for _, finding in found)
    summary = ", ".join(f"{verdict} {count[verdict]}" for verdict in get_args(Verdict))
    rows = [(claim.says, claim.where, f"**{finding.verdict}**", finding.evidence) for claim, finding in found]
    return [
        f"Of {len(found)} claims: {summary}.",
        f"Of two networks, one is better where their means differ by more than {STANDARD_ERRORS:g} standard errors of "
        "the difference. One run may be off by the largest of three standard deviations: that of its own seeds, "
        "that of all training runs with several seeds pooled, and that of counting on so many test images; so a single "
        "seed borrows the spread of others. *Within noise*: the difference is smaller, and nothing is decided. "
        "*Fails*: the contrary was measured, beyond noise. A claim of several parts holds where all do and fails where "
        "one does. Among so many claims, one or two are likely to be decided by chance.",
        AFTERWARDS,
        markdown(("claim", "where", "verdict", "evidence"), rows),
    ]


def _section(study: Study, evidence: Evidence, assets: str) -> list[str]:
    """A study's heading, note and table; below Table 14 its other rows, published numbers not measured here."""
    heading = f"{study.table}. {study.title}" if study.table else f"{study.title} (`{study.name}`)"
    measured = evidence.rows(study)
    rows = [list(row.texts().values()) for row in measured]
    parts = [f"### {heading}", *([study.note] if study.note else [])]
    parts += [
        markdown(header_of(study), rows),
        *filter(None, [machines_of(measured)]),
        f"[{study.name}.csv]({assets}/tables/{study.name}.csv)",
    ]
    if study.name != "table14":
        return parts
    others = [
        (
            *(entry.network, entry.method, entry.data, f"{entry.accuracy:.2f}"),
            *((_counted(entry.topology), entry.topology.checked, entry.topology.note) if entry.topology else [""] * 3),
            REFERENCES[entry.reference],
        )
        for entry in TABLE_14
        if entry.reference is not None
    ]
    header = (
        *("network", "method", "data", "accuracy as published"),
        *("parameters, counted", "counted from", "note", "source"),
    )
    said = (
        "The networks of others as the paper quotes them: what was published, of their own size. Parameters are "
        'counted by building the networks; behind "or" are those of other readings, see docs/zoo.md.'
    )
    return [*parts, said, markdown(header, others)]


def _counted(topology: Topology) -> str:
    """Parameters of a network in all readings."""
    return " or ".join(f"{each.parameters:,}" for each in (topology, *topology.others))


def _pictures(evidence: Evidence, assets: str) -> list[str]:
    """Every figure that there are results for, with its caption."""
    parts = []
    for drawing in drawings(evidence):
        place = f"{assets}/figures/{drawing.name}"
        image = f"![{drawing.title}]({place}.png)"
        parts += [f"### {drawing.title}", image, f"{drawing.caption} [SVG]({place}.svg)"]
    if not parts:
        return ["None yet."]
    conditions = {cell.condition for study in evidence.studies.values() for cell in study.cells} - {""}
    seeds = "Numbers of seeds are in brackets; of several, the mean is shown with one standard deviation to both sides."
    return [f"{seeds} S2M: spikes where {' or '.join(sorted(conditions))}.", *parts]


def _costs(results: Mapping[str, Result]) -> list[str]:
    """Hours of training by machine and versions, and the revisions of the source."""
    if not results:
        return ["Nothing is trained yet."]
    groups: dict[tuple[str, ...], list[Result]] = defaultdict(list)
    names = ("device", "threads", "python", "torch", "numpy", "sresnet")
    for result in results.values():
        groups[tuple(str(result.environment.get(name, "")) for name in names)].append(result)
    rows = [
        (*about, str(len(group)), f"{sum(result.hours for result in group):.1f}")
        for about, group in sorted(groups.items())
    ]
    found = Counter(str(result.environment.get("revision", "")) or "unknown" for result in results.values())
    revisions = ", ".join(f"`{revision}` ({number})" for revision, number in sorted(found.items()))
    return [
        f"{sum(result.hours for result in results.values()):.1f} hours of training in all, the time of each run added "
        "up, without evaluation and analysis of the trained networks.",
        markdown(("machine", "threads", "Python", "torch", "numpy", "sresnet", "training runs", "hours"), rows),
        f"Revisions of the source: {revisions}.",
    ]


def _commands(scale: str) -> list[str]:
    """How to make all this again."""
    data = "" if scale == "tiny" else " --data-dir DIR" + (" --events-dir DIR" if scale == "paper" else "")
    names = " ".join(MEDIUM) if scale == "medium" else "all"
    return [
        f"```console\nsresnet study {names} --scale {scale}{data}\nsresnet study page --scale {scale}\n```",
        "The first trains what is missing, the second makes this page, its tables and figures from the results.",
    ]


def write_page(evidence: Evidence, path: Path, assets: Path, *, other: str = "", force: bool = False) -> list[Path]:
    """Write the page and, beside the results, its tables as CSV and its figures as PNG and SVG.

    Args:
        evidence: as `page`.
        path: the page; its folder is made if need be.
        assets: folder for `tables/` and `figures/`.
        other: as `page`.
        force: whether the user said that what is in the way may go.

    Returns:
        The files written.

    Raises:
        UserError: a file that we did not make is in the way and not `force`, matplotlib is not installed, or the disk
            is full or refuses.
    """
    tables = {assets / "tables" / f"{study.name}.csv": study for study in evidence.studies.values()}
    check_free(path, PAGES, force=force)
    known = any(beginning(table).startswith(TABLE) for table in tables)
    for table in tables:
        check_free(table, [TABLE], force=force, flag="--results")
    figures = {drawing.name: plots.draw(drawing.picture) for drawing in drawings(evidence)}
    for name in figures if not known else ():  # older figures beside our tables have no mark
        for ending in plots.ENDINGS:
            check_free(assets / "figures" / f"{name}{ending}", plots.MARKS, force=force, flag="--results")
    for folder in (path.parent, assets / "tables", assets / "figures"):
        make_folder(folder)
    link = os.path.relpath(assets, path.parent).replace(os.sep, "/")
    contents = {path: page(evidence, link, other)}
    contents |= {table: study_csv(evidence.rows(study)) for table, study in tables.items()}
    for each, text in contents.items():
        write_whole(each, text.encode())
    written = list(contents)
    for name, figure in figures.items():
        written += plots.save(figure, assets / "figures" / name)
    return written
