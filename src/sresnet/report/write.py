"""Files of a report: nothing that is not ours is written over."""

from pathlib import Path

from sresnet.errors import UserError
from sresnet.files import write_whole
from sresnet.report.page import GENERATOR

REPORT = "report.html"
"""Name of the page in a run folder."""


def is_report(path: Path) -> bool:
    """Whether a file is a page that we wrote."""
    mark = f'<meta name="generator" content="{GENERATOR}">'.encode()
    try:
        with path.open("rb") as file:
            return mark in file.read(1000)
    except OSError:
        return False


def check_free(path: Path) -> None:
    """Raise UserError where `path` is something that is no report of ours, or a folder."""
    if path.is_dir():
        raise UserError(f"{path} is a folder: name a file, such as {path / REPORT}")
    if path.exists() and not is_report(path):
        raise UserError(f"{path} exists and is no report of sresnet's: choose another --out")


def save_page(path: Path, html: str) -> None:
    """Write a page, in the place of an older one.

    Raises:
        UserError: something else is there, or the disk is full or refuses.
    """
    check_free(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path.parent} cannot be made ({error.strerror}): choose another --out") from None
    write_whole(path, html.encode())
