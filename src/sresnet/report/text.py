"""Tables as Markdown and as comma-separated values, and prose in lines."""

from collections.abc import Iterable, Sequence
from textwrap import wrap

from sresnet.printing import csv_of, printable
from sresnet.report.document import Marked, Named, Number, Table, Value
from sresnet.studies.rows import DATA_HEADER, Row


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[bool] = ()) -> str:
    """Lines of a table, no line break after the last; a bar or a line break in a cell does not end it.

    Args:
        header: the headings.
        rows: as long each.
        numeric: whether a column is of numbers, which stand to the right.
    """
    rule = ["---:" if number else "---" for number in numeric] or ["---"] * len(header)
    cells = [[printable(" ".join(text.split())).replace("|", "&#124;") for text in row] for row in (header, *rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (cells[0], rule, *cells[1:]))


def folded(text: str) -> str:
    """Prose in lines of at most 116 characters; headings, comments and pictures stay as they are."""
    if text.startswith(("#", "<", "![")):
        return text
    return "\n".join(wrap(text, 116, break_long_words=False, break_on_hyphens=False))


def study_csv(rows: Sequence[Row]) -> str:
    """Rows of a study with all digits, headings first."""
    header = list(rows[0].data()) if rows else DATA_HEADER
    return csv_of([header, *(list(row.data().values()) for row in rows)])


def table_csv(table: Table) -> str:
    """All digits of all numbers of a table, and own names, headings first."""

    def whole(value: Value) -> str | int | float | None:
        if isinstance(value, Number):
            return value.value
        return value.name if isinstance(value, Named) else value.text if isinstance(value, Marked) else value

    return table.data or csv_of([table.headings, *([whole(each) for each in row] for row in table.rows)])


def table_markdown(table: Table) -> str:
    """A table as it is shown, under its title."""
    return f"{table.title}\n\n{markdown(table.headings, table.texts(), [bool(form) for _, form in table.columns])}\n"
