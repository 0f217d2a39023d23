"""What a page is made of: sections of text, figures and tables, as data; `html` and `text` write them."""

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Literal

from sresnet.models.topology import layer_in_words
from sresnet.report.charts import Chart

LONG = 20
"""Tables of more classes or layers than this are folded."""


@dataclass(frozen=True)
class Number:
    """A number that is written in a way of its own, such as with its deviation."""

    value: float
    """By which it is sorted."""
    text: str


@dataclass(frozen=True)
class Named:
    """Something that files call by its own name and readers by words, such as a layer."""

    name: str
    words: str


def layer_of(name: str) -> Named:
    """A layer as a cell."""
    return Named(name, layer_in_words(name))


@dataclass(frozen=True)
class Marked:
    """Text behind the marker and line of a chart, which it explains."""

    text: str
    style: int
    """Number of their colour and form."""


Value = str | int | float | Number | Named | Marked | None
"""Of a cell."""


def columns(header: str) -> tuple[tuple[str, str], ...]:
    """Columns of a table from its header, `layer | active, %:.1f`: headings, and after a colon the number format."""
    found = (each.strip().partition(":") for each in header.split("|"))
    return tuple((heading, form) for heading, _, form in found)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under headings. Numbers are sorted as numbers and shown in the format of their column."""

    name: str
    """Unique in the page; of the file, where it becomes one."""
    title: str
    columns: tuple[tuple[str, str], ...]
    """(heading, format of the numbers such as ",.1f")."""
    rows: tuple[tuple[Value, ...], ...]
    folded: bool = False
    """Shown when it is asked for: the numbers behind a figure."""
    data: str = ""
    """Content of its file of comma-separated values, where that is more than the cells."""

    @property
    def headings(self) -> list[str]:
        """Of the columns."""
        return [heading for heading, _ in self.columns]

    @property
    def numeric(self) -> list[bool]:
        """Whether a column has numbers."""
        return [any(_number_in(row[at]) is not None for row in self.rows) for at in range(len(self.columns))]

    def texts(self) -> list[list[str]]:
        """The cells as they are shown."""
        return [[shown(value, form) for value, (_, form) in zip(row, self.columns, strict=True)] for row in self.rows]

    def cells(self) -> list[list[tuple[str, float | None, int | None]]]:
        """(text, the number in it or None, the style of the marker in front of it or None), of all cells."""
        return [
            [
                (text, _number_in(value), value.style if isinstance(value, Marked) else None)
                for text, value in zip(texts, row, strict=True)
            ]
            for texts, row in zip(self.texts(), self.rows, strict=True)
        ]


def shown(value: Value, form: str) -> str:
    """A cell of a table as text."""
    if value is None:
        return ""
    if isinstance(value, Number):
        return value.text
    if isinstance(value, Named):
        return value.words
    if isinstance(value, Marked):
        return value.text
    return value if isinstance(value, str) else format(value, form)


def _number_in(value: Value) -> float | None:
    """The number in a cell; None where there is text or nothing."""
    if isinstance(value, Number):
        return float(value.value)
    return float(value) if isinstance(value, int | float) else None


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A chart and what is said below its title."""

    name: str
    """Unique in the page; of the file, where it becomes one."""
    chart: Chart
    caption: str = ""


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of text."""

    text: str
    _: KW_ONLY
    badge: str = ""
    """A word in a frame in front of it."""
    strong: str = ""
    """Words in front of it that matter most."""
    style: Literal["", "lead", "soft"] = ""


@dataclass(frozen=True)
class Cards:
    """Numbers to see first."""

    cards: tuple[tuple[str, str], ...]
    """(the number, what it is)."""


@dataclass(frozen=True)
class Facts:
    """Names and what they are, below each other."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Differences:
    """Fields in which something differs from something else."""

    fields: tuple[tuple[str, str, str], ...]
    """(field, here, there)."""


@dataclass(frozen=True, kw_only=True)
class Code:
    """Lines to copy."""

    text: str
    summary: str = ""
    """What it is, where it is shown only when it is asked for."""


@dataclass(frozen=True, kw_only=True)
class ExampleCard:
    """A test sample, its class, and what the network said of it."""

    name: str
    """Unique in the page."""
    image: str
    """Address of the picture."""
    label: str
    said: str
    right: bool
    percent: float
    """Probability of what the network said."""
    chart: Chart
    """Probabilities by time step."""


@dataclass(frozen=True)
class Examples:
    """Test samples side by side."""

    examples: tuple[ExampleCard, ...]


Block = Paragraph | Cards | Facts | Differences | Code | Examples | Figure | Table


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading and what is under it."""

    title: str
    content: tuple[Block, ...] = ()
    """From top to bottom; figures that follow each other stand side by side where there is room."""
    parts: "tuple[Section, ...]" = ()
    """Sections below it."""
    short: str = ""
    """The text of links to it; by default the title."""
    folded: bool = False
    """All below its heading is shown when it is asked for."""

    def walk(self) -> Iterator[Block]:
        """All content, that of the parts too."""
        yield from self.content
        for part in self.parts:
            yield from part.walk()
