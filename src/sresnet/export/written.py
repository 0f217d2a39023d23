"""What has been exported of a run, and how it compared with the network: a file each, in the folder `exports` of a run.

A file of its own for each export, so that exports that run side by side need not wait for each other.
"""

from dataclasses import dataclass
from pathlib import Path

from sresnet.config import from_dict, to_dict
from sresnet.errors import UserError
from sresnet.export.comparison import Comparison
from sresnet.export.target import ExportConfig
from sresnet.files import make_folder, read_json, write_json

EXPORTS = "exports"
"""Folder in that of a run."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """One exported file."""

    file: str
    """Its name, without folders; another export of that name takes its place."""
    config: ExportConfig
    size: int
    """Bytes."""
    notes: tuple[str, ...]
    """What else was said of it."""
    comparison: Comparison
    version: str
    """Of sresnet."""


def note_written(run: Path, written: Written) -> None:
    """Keep in a run folder what was exported of it.

    Raises:
        UserError: the folder cannot be written to.
    """
    make_folder(run / EXPORTS)
    write_json(run / EXPORTS / f"{written.file}.json", to_dict(written))


def read_written(run: Path) -> tuple[Written, ...]:
    """What has been exported of a run, by name of the file; nothing where it has no such folder.

    Raises:
        UserError: one of the files is damaged.
    """
    found = []
    for path in sorted((run / EXPORTS).glob("*.json")):
        try:
            written: Written = from_dict(Written, read_json(path), str(path))
        except UserError as error:
            raise UserError(f"{error}; it is no record of an export: delete it, or export again") from None
        found.append(written)
    return tuple(found)
