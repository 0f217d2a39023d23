"""Lists of recordings: CSV or TOML files of file, label, start, stop, split and group; several rows of a file."""

import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sresnet.data.events.read import EXTENSIONS
from sresnet.data.lists import (
    LABEL,
    LARGEST,
    PATH,
    SPLIT,
    called,
    column_of_parts,
    column_of_paths,
    file_called,
    part_called,
    table_of,
)
from sresnet.data.samples import listed
from sresnet.errors import UserError
from sresnet.files import read_regular, state_of

ENDINGS = (".csv", ".tsv", ".toml")
"""Of the files that are taken for lists, in any case."""

TABLE = "recording"
"""Name of a row's table in TOML."""

_PATH = (*PATH, "recording")
_GROUP = "group"
_SECONDS = ("seconds", "s", "sec")
_MICROSECONDS = ("us", "usec", "microseconds")
_START = ("start", "starttime")
_STOP = ("stop", "end", "stoptime", "endtime")
_LATEST = 1 << 62
"""Microseconds."""


@dataclass(frozen=True, kw_only=True)
class ListedRecording:
    """A row of a list: a recording, or a part of one."""

    path: Path
    class_name: str
    start: int | None
    """Microseconds from which on its events count; None: from the first event."""
    stop: int | None
    """Up to which, excluded; None: all that follow."""
    part: str
    """train, validation or test; "" where the list has no column for it."""
    group: str
    """"" where the list has no column for it."""
    row: str
    """Such as "line 7"."""


@dataclass(frozen=True, kw_only=True)
class RecordingList:
    """What a list names, in its order."""

    rows: tuple[ListedRecording, ...]
    from_first: bool
    """Whether times are counted from a recording's first event, not by the clock of its file."""
    divided: bool
    """Whether it has a column of parts."""
    grouped: bool
    """Whether it has one of groups."""
    notes: tuple[str, ...]
    """What is not used, one sentence each."""


def is_recording_list(path: Path) -> bool:
    """Whether a file is taken for a list of recordings, by its name."""
    return path.suffix.lower() in ENDINGS and not path.is_dir()


def names_recordings(path: Path) -> bool:
    """Whether a list is one of recordings, not of pictures, by its first file; errors as `lists.table_of`."""
    if path.suffix.lower() == ".toml":
        return True
    table = table_of(path, (*_PATH, "image"), "recordings or pictures")
    (place, *_) = called(table.header, (*_PATH, "image"))
    _, fields = next(table.rows(), (0, [""] * len(table.header)))
    return Path(fields[place].strip()).suffix.lower() in EXTENSIONS


def read_recording_list(path: Path) -> RecordingList:
    """The recordings that a list names, with paths from its folder on.

    A CSV file as `lists.table_of` reads it, or a TOML file with a table `[[recording]]` for each row, whose keys are
    the columns: one of path, file, filename, filepath and recording; one of label, class and target; start_seconds and
    stop_seconds, counted from the first event of the recording, or start_us and stop_us, by the clock of the file,
    either of which may be left out or empty; split, whose words are those of `tree.PARTS`; and group.

    Raises:
        UserError: no such file; columns that are missing or may mean two things; and, with its number, a row with an
            empty field, a time that is none, a stop that is not behind its start, a word that is no part, a file that
            is missing or lies outside the folder of the list, or that is named before with another class, part or group
            and the same times.
    """
    names, rows = (_read_toml if path.suffix.lower() == ".toml" else _read_csv)(path)
    if not rows:
        below = f"a table [[{TABLE}]] for each" if path.suffix.lower() == ".toml" else "a line for each below the first"
        raise UserError(f"{path} names no recording: add {below}")
    columns = _columns(path, names)
    found: dict[tuple[str, int | None, int | None], ListedRecording] = {}
    twice = []
    for row, fields in rows:
        where = f"{path} {row}"
        each = _recording(path, where, row, fields, columns)
        known = found.setdefault((str(each.path), each.start, each.stop), each)
        if known is each:
            continue
        ours, before = (" ".join(filter(None, (e.class_name, e.part, e.group))) for e in (each, known))
        if ours != before:
            raise UserError(f"{where} has {each.path.name} as {ours}, and {known.row} as {before}: delete one of them")
        twice.append(row)
    notes = []
    if twice:
        notes.append(
            f"left out: rows of {path.name} that say what earlier ones say ({len(twice):,}), such as {twice[0]}"
        )
    if others := [name for name in dict.fromkeys(names) if name.strip().lower() not in columns.used()]:
        notes.append(f"columns of {path.name} that are not read: {listed(others)}")
    return RecordingList(
        rows=tuple(found.values()),
        from_first=columns.from_first,
        divided=bool(columns.split),
        grouped=bool(columns.group),
        notes=tuple(notes),
    )


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """Names of the columns, "" for those that are not there."""

    path: str
    label: str
    start: str
    stop: str
    from_first: bool
    split: str
    group: str

    def used(self) -> set[str]:
        """All that are read, in small letters."""
        names = (self.path, self.label, self.start, self.stop, self.split, self.group)
        return {name.strip().lower() for name in names}


_Rows = list[tuple[str, dict[str, str]]]
"""(which, column -> field) of each row."""


def _read_csv(path: Path) -> tuple[list[str], _Rows]:
    """Names of the columns, one that is there twice twice, and the rows; errors as the functions of `lists`."""
    table = table_of(path, _PATH, "recordings")
    column_of_paths(table, _PATH, "recordings")
    column_of_parts(table)
    return table.header, [(f"line {line}", dict(zip(table.header, row, strict=True))) for line, row in table.rows()]


def _read_toml(path: Path) -> tuple[list[str], _Rows]:
    """Names of all keys and the rows; errors as `_rows_of_toml`."""
    rows = list(_rows_of_toml(path))
    return list(dict.fromkeys(name for _, fields in rows for name in fields)), rows


def _rows_of_toml(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """(which, key -> value) of each table; UserError for no such file, or one that is no TOML or holds other things."""
    try:
        content = read_regular(path, LARGEST)
    except FileNotFoundError:
        raise UserError(f"list of recordings {path} {state_of(path)}: give a CSV or TOML file, or a folder") from None
    try:
        found: dict[str, Any] = tomllib.loads(content.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path} is no TOML ({error}): mend it, or give a CSV file") from None
    if others := [name for name in found if name != TABLE]:
        raise UserError(f"{path} has {others[0]!r}: a list of recordings has nothing but tables [[{TABLE}]]")
    rows = found.get(TABLE, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path} has no list of tables: write [[{TABLE}]] above each row")
    for number, row in enumerate(rows, start=1):
        for name, value in row.items():
            if isinstance(value, bool) or not isinstance(value, str | int | float):
                raise UserError(f"{path} {TABLE} {number} has {name} {value!r:.80}: give a text or a number")
        yield f"{TABLE} {number}", {name: str(value) for name, value in row.items()}


def _columns(path: Path, names: Sequence[str]) -> _Columns:
    """Which columns are which; UserError where one is missing or may mean two things."""
    listed_names = ", ".join(name.strip() for name in names)

    def one(wanted: Sequence[str], what: str, *, needed: bool = False) -> str:
        places = called(names, wanted)
        if len(places) > 1:
            several = " and ".join(names[place].strip() for place in places)
            raise UserError(f"{path} has several columns of {what}, {several}: rename all but one")
        if needed and not places:
            raise UserError(f"{path} has no column of {what} ({', '.join(wanted)}), but {listed_names}: name one so")
        return names[places[0]] if places else ""

    for bare in called(names, (*_START, *_STOP)):
        name = names[bare].strip()
        raise UserError(
            f"{path} has a column {name!r}, which does not say its unit: call it {name}_seconds, counted from the "
            f"recording's first event, or {name}_us, microseconds of its file's clock"
        )
    start, stop = one(_in_units(_START), "starts"), one(_in_units(_STOP), "stops")
    by_clock = [name for name in (start, stop) if name.strip().lower().rpartition("_")[2] in _MICROSECONDS]
    if start and stop and len(by_clock) == 1:
        raise UserError(f"{path} has {start.strip()} and {stop.strip()}: give both in seconds, or both in microseconds")
    return _Columns(
        path=one(_PATH, "files", needed=True),
        label=one(LABEL, "classes", needed=True),
        start=start,
        stop=stop,
        from_first=not by_clock,
        split=one((SPLIT,), "parts"),
        group=one((_GROUP,), "groups"),
    )


def _in_units(names: Sequence[str]) -> list[str]:
    """Names of columns of times."""
    return [f"{name}_{unit}" for name in names for unit in (*_SECONDS, *_MICROSECONDS)]


def _recording(path: Path, where: str, row: str, fields: Mapping[str, str], columns: _Columns) -> ListedRecording:
    """The recording of a row; errors as `read_recording_list`."""

    def needed(name: str) -> str:
        value = fields.get(name, "").strip()
        if not value:
            raise UserError(f"{where} has no {name.strip()}: fill it in, or delete the row")
        return value

    start, stop = (_time(fields, name, where, seconds=columns.from_first) for name in (columns.start, columns.stop))
    if start is not None and stop is not None and stop <= start:
        given = f"{fields[columns.start].strip()} to {fields[columns.stop].strip()}"
        raise UserError(f"{where} goes from {given}: the stop must be later than the start")
    return ListedRecording(
        path=file_called(fields.get(columns.path, ""), path.parent, where),
        class_name=needed(columns.label),
        start=start,
        stop=stop,
        part=part_called(needed(columns.split), where) if columns.split else "",
        group=needed(columns.group) if columns.group else "",
        row=row,
    )


def _time(fields: Mapping[str, str], name: str, where: str, *, seconds: bool) -> int | None:
    """A time in microseconds; None where the field is empty or there is no such column."""
    text = fields.get(name, "").strip() if name else ""
    if not text:
        return None
    try:
        value = float(text) if seconds else int(text)
    except ValueError:
        value = math.nan
    microseconds = 1e6 * value if seconds else value
    if not -_LATEST < microseconds < _LATEST or (seconds and value < 0):
        wanted = "seconds from the first event, such as 1.5" if seconds else "whole microseconds"
        raise UserError(f"{where} has {name.strip()} {text[:40]!r}: give {wanted}")
    return round(microseconds)
