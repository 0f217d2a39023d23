"""Lists of pictures: a CSV file that names a picture in each line, its class, and perhaps its part of the data."""

from dataclasses import dataclass
from pathlib import Path

from sresnet.data.lists import (
    LABEL,
    PATH,
    Table,
    called,
    column_of_parts,
    column_of_paths,
    file_called,
    part_called,
    table_of,
)
from sresnet.errors import UserError

ENDINGS = (".csv", ".tsv")
"""Of the files that are taken for lists, in any case."""

_PATH = (*PATH, "image")
"""Names of the column of paths, in any case."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A picture of a list."""

    path: Path
    class_name: str
    part: str
    """train, validation or test; "" where the list has no column for it."""
    line: int
    """Of the list, counted from 1."""


@dataclass(frozen=True, kw_only=True)
class PictureList:
    """What a list names, in its order, each file once."""

    entries: tuple[Entry, ...]
    twice: tuple[int, ...]
    """Lines that say again what an earlier one says."""


def is_list(path: Path) -> bool:
    """Whether a file is taken for a list of pictures, by its name."""
    return path.suffix.lower() in ENDINGS and not path.is_dir()


def read_list(path: Path, label: str = "") -> PictureList:
    """The pictures that a list names, with paths from its folder on.

    The first line names the columns, separated by commas, semicolons or tabs, in any order and among others: one of
    path, file, filename, filepath and image; one of label, class and target; and, if the list is divided, split, whose
    words are those of `tree.PARTS`.

    Args:
        label: name of the column of classes; "": the one that is called so.

    Raises:
        UserError: no such file; no text in UTF-8; columns that are missing or may mean two things; and, with its
            number, a line with too few or too many fields, an empty field, a word that is no part, a file that is
            missing or lies outside the folder of the list, or that is named before with another class or part.
    """
    table = table_of(path, _PATH, "pictures")
    place, class_at, split_at = _columns(table, label)
    found: dict[str, Entry] = {}
    twice = []
    for line, row in table.rows():
        where = f"{path} line {line}"
        part = "" if split_at is None else part_called(row[split_at], where)
        name = row[class_at].strip()
        if not name:
            raise UserError(f"{where} has no {table.header[class_at].strip()}: fill it in, or delete the line")
        file = file_called(row[place], path.parent, where)
        entry = Entry(path=file, class_name=name, part=part, line=line)
        known = found.setdefault(str(file), entry)
        if known is entry:
            continue
        if (known.class_name, known.part) != (name, part):
            before = " ".join(filter(None, (known.class_name, known.part)))
            raise UserError(
                f"{where} has {file.name} as {' '.join(filter(None, (name, part)))}, and line {known.line} as "
                f"{before}: delete one of them"
            )
        twice.append(line)
    if not found:
        raise UserError(f"{path} names no picture: add a line for each below the first, which names the columns")
    return PictureList(entries=tuple(found.values()), twice=tuple(twice))


def _columns(table: Table, label: str) -> tuple[int, int, int | None]:
    """Places of the columns of paths, of classes and, if there is one, of parts."""
    path, header = table.path, table.header
    place, parts = column_of_paths(table, _PATH, "pictures"), column_of_parts(table)
    labels = called(header, (label.strip().lower(),) if label else LABEL)
    listed = ", ".join(each.strip() for each in header)
    if label and not labels:
        raise UserError(f"{path} has no column {label!r}: choose --data.label-column from {listed}")
    if len(labels) > 1:
        names = " and ".join(header[place].strip() for place in labels)
        raise UserError(f"{path} has several columns of classes, {names}: choose one with --data.label-column NAME")
    if not labels:
        raise UserError(f"{path} has no column {', '.join(LABEL)}: choose one of {listed} with --data.label-column")
    return place, labels[0], parts
