"""The files that `sresnet analyse` and the early exit of `sresnet evaluate` write: numbers as JSON, and pictures."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sresnet.analysis import Analysis
from sresnet.analysis.exits import EarlyExit, EarlyExitResult, ExitPoint
from sresnet.analysis.report import KIND
from sresnet.files import claim_folder, write_json
from sresnet.report import plots
from sresnet.report.charts import LineChart, Picture
from sresnet.report.figures import analysis_pictures, conversion_curves, exit_curves
from sresnet.studies.conversions import Point

ANALYSIS = "analysis.json"
"""Name of the file with the numbers."""
EARLY_EXIT, EARLY_EXIT_KIND = "early-exit.json", "sresnet early exit"
"""Name of the file with the numbers of `save_early_exit`, and what it says it is."""
CONVERSIONS, CONVERSIONS_KIND = "conversions.json", "sresnet conversions"
"""Likewise of `save_conversions`."""
FIGURES = {
    CONVERSIONS_KIND: ("conversions",),
    KIND: ("activity", "cost", "accuracy", "gradients"),
    EARLY_EXIT_KIND: ("early-exit",),
}
"""Kind -> names of the figures beside the numbers."""


def claim(folder: Path, file: str = ANALYSIS, kind: str = KIND, *, force: bool = False) -> None:
    """Make `folder` for the files of an analysis, or check that it is one already; its own files may be replaced.

    Args:
        folder: where.
        file, kind: name of the file with the numbers, and what it says it is.
        force: whether the user said that what is in the way may go.

    Raises:
        UserError: the folder holds something and no such file, or others in place of the figures, and not `force`,
            or cannot be made.
    """
    claim_folder(folder, file, kind, _figure_files(FIGURES[kind]), force=force)


def _figure_files(names: Iterable[str]) -> list[str]:
    """The files that figures are written as, none without matplotlib."""
    return [f"{name}{ending}" for name in names for ending in plots.ENDINGS] if plots.available() else []


def save(analysis: Analysis, folder: Path, about: dict[str, Any]) -> list[Path]:
    """Write the numbers of an analysis, and its figures where matplotlib is there, into a folder that `claim` has made.

    Args:
        analysis: what to write.
        folder: where.
        about: what else the file should say, such as the run and the data.

    Returns:
        The files written.

    Raises:
        UserError: the disk is full or refuses.
    """
    return _written(folder, ANALYSIS, {"kind": KIND} | about | analysis.plain(), analysis_pictures(analysis))


def save_early_exit(
    found: EarlyExit, exited: EarlyExitResult, threshold: float, folder: Path, about: dict[str, Any]
) -> list[Path]:
    """Write a curve of accuracy against mean steps and its figure; `folder`, `about` and errors as `save`.

    Args:
        found: the curve.
        exited: what a run with the threshold asked for gave.
        threshold: that threshold.
        folder, about: as `save`.
    """
    point = ExitPoint(threshold=threshold, mean_steps=exited.mean_steps, top1=exited.top1)
    numbers = about | asdict(found) | {"ran": {"threshold": threshold, **asdict(exited)}}
    return _written(
        folder, EARLY_EXIT, {"kind": EARLY_EXIT_KIND} | numbers, {"early-exit": exit_curves({"": found}, point)}
    )


def save_conversions(points: Sequence[Point], ann_top1: float, folder: Path, about: dict[str, Any]) -> list[Path]:
    """Write conversions of one ANN side by side, and their figure; `folder`, `about` and errors as `save`."""
    numbers = {"kind": CONVERSIONS_KIND} | about | {"ann_top1": ann_top1, "points": [asdict(each) for each in points]}
    return _written(folder, CONVERSIONS, numbers, {"conversions": conversion_curves(points, ann_top1)})


def _written(
    folder: Path, file: str, numbers: dict[str, Any], pictures: Mapping[str, Picture | LineChart]
) -> list[Path]:
    """The files written: numbers first, so that what is there after a fault is known as ours."""
    listing = {"kind": numbers["kind"], "files": _figure_files(pictures)}
    write_json(folder / file, listing | numbers)
    paths = [folder / file]
    for name, picture in pictures.items() if plots.available() else ():
        paths += plots.save(plots.draw(picture), folder / name)
    return paths
