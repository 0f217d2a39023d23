"""Lists of samples: CSV files whose first line names the columns, and each other line a file of the user's."""

import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sresnet.data.tree import PARTS
from sresnet.errors import UserError
from sresnet.files import read_regular, state_of

PATH = ("path", "file", "filename", "filepath")
LABEL = ("label", "class", "target")
SPLIT = "split"
"""Names of columns, in any case."""
_DELIMITERS = ",;\t"
LARGEST = 1 << 30
"""Bytes that a list may have."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """The text of a list."""

    path: Path
    text: str
    header: list[str]
    """Names of its columns."""
    delimiter: str

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """(line counted from 1, fields) of each line below the first that is not empty.

        Raises:
            UserError: a line with too few or too many fields, or with quotation marks that do not fit.
        """
        reader = csv.reader(io.StringIO(self.text, newline=""), delimiter=self.delimiter, strict=True)
        try:
            next(reader)
            for row in reader:
                if not any(field.strip() for field in row):
                    continue
                if len(row) != len(self.header):
                    where = f"{self.path} line {reader.line_num}"
                    raise UserError(
                        f"{where} has {len(row)} fields, and the first line {len(self.header)}: give it as many"
                    )
                yield reader.line_num, row
        except csv.Error as error:
            where = f"{self.path} line {reader.line_num}"
            raise UserError(f"{where} cannot be read ({error}): mend its quotation marks") from None


def table_of(path: Path, names: Sequence[str], kind: str) -> Table:
    """A list of samples of a `kind`, such as "pictures", whose column of paths has one of `names`.

    UserError for no such file, no text in UTF-8, or no such column.
    """
    text = _text_of(path, kind)
    header, delimiter = _header_of(path, text, names)
    return Table(path=path, text=text, header=header, delimiter=delimiter)


def called(header: Sequence[str], names: Sequence[str]) -> list[int]:
    """Places of the columns with one of these names."""
    return [place for place, each in enumerate(header) if each.strip().lower() in names]


def column_of_paths(table: Table, names: Sequence[str], kind: str) -> int:
    """Place of the column of paths; UserError where several may be it."""
    paths = called(table.header, names)
    if len(paths) > 1:
        listed = " and ".join(table.header[place].strip() for place in paths)
        raise UserError(f"{table.path} line 1 names {listed}, which may all be the {kind}: rename all but one")
    return paths[0]


def column_of_parts(table: Table) -> int | None:
    """Place of the column of parts, if there is one; UserError for two."""
    splits = called(table.header, (SPLIT,))
    if len(splits) > 1:
        raise UserError(f"{table.path} line 1 names split twice: rename one of them")
    return splits[0] if splits else None


def _text_of(path: Path, kind: str) -> str:
    """The list as text."""
    try:
        content = read_regular(path, LARGEST)
    except FileNotFoundError:
        raise UserError(f"list of {kind} {path} {state_of(path)}: give a CSV file, or a folder") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{path} line {line} is no text in UTF-8: save the list as CSV in UTF-8") from None


def _header_of(path: Path, text: str, names: Sequence[str]) -> tuple[list[str], str]:
    """(names of the columns, delimiter): the one with which a column of paths is named, and most columns are."""
    first = io.StringIO(text, newline="").readline()
    rows = []
    for delimiter in _DELIMITERS:
        try:
            rows.append((next(csv.reader([first], delimiter=delimiter, strict=True), []), delimiter))
        except csv.Error:
            continue
    fitting = [each for each in rows if called(each[0], names)]
    if not fitting:
        raise UserError(
            f"{path} line 1 names no column {', '.join(names[:-1])} or {names[-1]}, but {first.strip()[:80]!r}: the "
            "first line of a list names its columns, with commas, semicolons or tabs between them"
        )
    return max(fitting, key=lambda each: len(each[0]))


def part_called(word: str, where: str) -> str:
    """The part that a word of the column of parts names."""
    for part, names in PARTS.items():
        if word.strip().lower() in names:
            return part
    known = ", ".join(name for names in PARTS.values() for name in names)
    raise UserError(f"{where} has split {word.strip()!r}: write one of {known}")


def file_called(name: str, folder: Path, where: str) -> Path:
    """The file that a line names; links in the folder of the list are followed, as in a folder of samples."""
    name = name.strip()
    if not name:
        raise UserError(f"{where} has no path: fill it in, or delete the line")
    if "\0" in name:
        raise UserError(f"{where} has a path with a NUL character: leave it out")
    if "\\" in name and not os.path.exists(folder / name):  # of a list that was written on Windows
        name = name.replace("\\", "/")
    root, target = os.path.abspath(folder), os.path.abspath(folder / name)
    if not Path(target).is_relative_to(root):
        raise UserError(f"{where} names {name}, outside the folder of the list: put the list beside or above it")
    path = folder / Path(target).relative_to(root)
    if not path.is_file():
        raise UserError(f"{where} names {name}, which {state_of(path)}: correct it, or delete the line")
    return path
