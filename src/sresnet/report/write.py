"""The file of a report."""

from pathlib import Path

from sresnet import files
from sresnet.files import make_folder, write_whole
from sresnet.report.html import GENERATOR

REPORT = "report.html"
"""Name of the page in a run folder."""
MARK = f'<meta name="generator" content="{GENERATOR}">'.encode()
"""What a page that we made begins with, among other things."""


def check_free(path: Path, force: bool = False) -> None:
    """Raise UserError where `path` is something that is not a report of sresnet, unless `force`, or a folder."""
    files.check_free(path, [MARK], force=force)


def save_page(path: Path, html: str, force: bool = False) -> None:
    """Write a page, in place of an older one.

    Raises:
        UserError: something else is there and not `force`, or the disk is full or refuses.
    """
    check_free(path, force)
    make_folder(path.parent)
    write_whole(path, html.encode())
