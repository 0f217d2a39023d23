"""The files that `sresnet analyse` writes: numbers as JSON, and pictures of them."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sresnet.analysis import Analysis
from sresnet.analysis.early_exit import EarlyExit, EarlyExitResult, ExitPoint
from sresnet.analysis.report import KIND
from sresnet.files import claim_folder, write_json
from sresnet.report import plots
from sresnet.report.figures import analysis_pictures, exit_curves

ANALYSIS = "analysis.json"
"""Name of the file with the numbers."""
EARLY_EXIT, EARLY_EXIT_KIND = "early-exit.json", "sresnet early exit"
"""Name of the file with the numbers of `save_early_exit`, and what it says it is."""
FIGURES = {KIND: ("activity", "cost", "accuracy", "gradients"), EARLY_EXIT_KIND: ("early-exit",)}
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
    claim_folder(folder, file, kind, figure_files(FIGURES[kind]), force=force)


def figure_files(names: Iterable[str]) -> list[str]:
    """The files that figures are written as, none without matplotlib."""
    return [f"{name}{ending}" for name in names for ending in plots.ENDINGS] if plots.available() else []


def save_early_exit(
    found: EarlyExit, exited: EarlyExitResult, threshold: float, folder: Path, about: dict[str, Any]
) -> list[Path]:
    """Write a curve of accuracy against mean steps, and its figure where matplotlib is there; `folder` is claimed.

    Args:
        found: the curve.
        exited: what the threshold asked for gave when it was run.
        threshold: that threshold.
        folder: where.
        about: what else the file should say, such as the run and the data.

    Returns:
        The files written.

    Raises:
        UserError: the disk is full or refuses.
    """
    ran = {"threshold": threshold, **asdict(exited)}
    listing = {"kind": EARLY_EXIT_KIND, "files": figure_files(FIGURES[EARLY_EXIT_KIND])}
    write_json(folder / EARLY_EXIT, {**listing, **about, **asdict(found), "ran": ran})
    paths = [folder / EARLY_EXIT]
    if plots.available():
        point = ExitPoint(threshold=threshold, mean_steps=exited.mean_steps, top1=exited.top1)
        paths += plots.save(plots.draw(exit_curves({"": found}, point)), folder / "early-exit")
    return paths


def save(analysis: Analysis, folder: Path, about: dict[str, Any]) -> list[Path]:
    """Write the numbers, and the figures where matplotlib is there, into a folder that `claim` has made.

    Args:
        analysis: what to write.
        folder: where.
        about: what else the file should say, such as the run and the data.

    Returns:
        The files written.

    Raises:
        UserError: the disk is full or refuses.
    """
    names = [name for name in FIGURES[KIND] if analysis.gradients or name != "gradients"]
    # First, so that what is written before a fault is known as ours.
    write_json(folder / ANALYSIS, {"kind": KIND, "files": figure_files(names), **about, **analysis.plain()})
    paths = [folder / ANALYSIS]
    if not plots.available():
        return paths
    for name, picture in analysis_pictures(analysis).items():
        paths += plots.save(plots.draw(picture), folder / name)
    return paths
