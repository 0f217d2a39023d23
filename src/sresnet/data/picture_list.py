"""Lists of pictures: a CSV file that names a picture in each line, its class, and perhaps its part of the data."""

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sresnet.data.tree import PARTS
from sresnet.errors import UserError
from sresnet.files import read_regular, state_of

ENDINGS = (".csv", ".tsv")
"""Of the files that are taken for lists, in any case."""

_PATH = ("path", "file", "filename", "filepath", "image")
_LABEL = ("label", "class", "target")
_SPLIT = "split"
"""Names of columns, in any case."""
_DELIMITERS = ",;\t"
_LARGEST = 1 << 30
"""Bytes that a list may have."""


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
    text = _text_of(path)
    header, delimiter = _header_of(path, text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    place, class_at, split_at = _columns(path, header, label)
    found: dict[str, Entry] = {}
    twice = []
    try:
        next(reader)
        for row in reader:
            where = f"{path} line {reader.line_num}"
            if not any(field.strip() for field in row):
                continue
            if len(row) != len(header):
                raise UserError(f"{where} has {len(row)} fields, and the first line {len(header)}: give it as many")
            part = "" if split_at is None else _part(row[split_at], where)
            name = row[class_at].strip()
            if not name:
                raise UserError(f"{where} has no {header[class_at].strip()}: fill it in, or delete the line")
            file = _file(row[place], path.parent, where)
            entry = Entry(path=file, class_name=name, part=part, line=reader.line_num)
            known = found.setdefault(str(file), entry)
            if known is entry:
                continue
            if (known.class_name, known.part) != (name, part):
                before = " ".join(filter(None, (known.class_name, known.part)))
                raise UserError(
                    f"{where} has {file.name} as {' '.join(filter(None, (name, part)))}, and line {known.line} as "
                    f"{before}: delete one of them"
                )
            twice.append(reader.line_num)
    except csv.Error as error:
        raise UserError(f"{path} line {reader.line_num} cannot be read ({error}): mend its quotation marks") from None
    if not found:
        raise UserError(f"{path} names no picture: add a line for each below the first, which names the columns")
    return PictureList(entries=tuple(found.values()), twice=tuple(twice))


def _text_of(path: Path) -> str:
    """The list as text."""
    try:
        content = read_regular(path, _LARGEST)
    except FileNotFoundError:
        raise UserError(f"list of pictures {path} {state_of(path)}: give a CSV file, or a folder") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{path} line {line} is no text in UTF-8: save the list as CSV in UTF-8") from None


def _header_of(path: Path, text: str) -> tuple[list[str], str]:
    """(names of the columns, delimiter): the one with which a column of paths is named, and most columns are."""
    first = io.StringIO(text, newline="").readline()
    rows = []
    for delimiter in _DELIMITERS:
        try:
            rows.append((next(csv.reader([first], delimiter=delimiter, strict=True), []), delimiter))
        except csv.Error:
            continue
    fitting = [each for each in rows if _named(each[0], _PATH)]
    if not fitting:
        raise UserError(
            f"{path} line 1 names no column {', '.join(_PATH[:-1])} or {_PATH[-1]}, but {first.strip()[:80]!r}: the "
            "first line of a list names its columns, with commas, semicolons or tabs between them"
        )
    return max(fitting, key=lambda each: len(each[0]))


def _named(header: Sequence[str], names: Sequence[str]) -> list[int]:
    """Places of the columns with one of these names."""
    return [place for place, each in enumerate(header) if each.strip().lower() in names]


def _columns(path: Path, header: list[str], label: str) -> tuple[int, int, int | None]:
    """Places of the columns of paths, of classes and, if there is one, of parts."""
    paths, splits = _named(header, _PATH), _named(header, (_SPLIT,))
    if len(paths) > 1:
        names = " and ".join(header[place].strip() for place in paths)
        raise UserError(f"{path} line 1 names {names}, which may all be the pictures: rename all but one")
    if len(splits) > 1:
        raise UserError(f"{path} line 1 names split twice: rename one of them")
    labels = _named(header, (label.strip().lower(),) if label else _LABEL)
    listed = ", ".join(each.strip() for each in header)
    if label and not labels:
        raise UserError(f"{path} has no column {label!r}: choose --data.label-column from {listed}")
    if len(labels) > 1:
        names = " and ".join(header[place].strip() for place in labels)
        raise UserError(f"{path} has several columns of classes, {names}: choose one with --data.label-column NAME")
    if not labels:
        raise UserError(f"{path} has no column {', '.join(_LABEL)}: choose one of {listed} with --data.label-column")
    return paths[0], labels[0], splits[0] if splits else None


def _part(word: str, where: str) -> str:
    """The part that a word of the column of parts names."""
    for part, names in PARTS.items():
        if word.strip().lower() in names:
            return part
    known = ", ".join(name for names in PARTS.values() for name in names)
    raise UserError(f"{where} has split {word.strip()!r}: write one of {known}")


def _file(name: str, folder: Path, where: str) -> Path:
    """The picture that a line names; links in the folder are followed as in a folder of pictures."""
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
