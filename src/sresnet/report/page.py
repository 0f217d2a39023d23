"""One HTML page of sections, each of text, figures and tables; it loads nothing from anywhere."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby

from sresnet.report.markup import Markup, element, join
from sresnet.report.svg import COLOURS

GENERATOR = "sresnet report"
"""What our pages say they were made by, so that they are known again."""


@dataclass(frozen=True)
class Number:
    """A number that is written in a way of its own, such as with its deviation."""

    value: float
    """By which it is sorted."""
    text: str


Value = str | int | float | Number | None


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A chart with what it shows."""

    name: str
    """Unique in the page; of the file, where it becomes one."""
    title: str
    svg: Markup
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under headings. Numbers are sorted as numbers and shown in the form of their column."""

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

    def texts(self) -> list[list[str]]:
        """The cells as they are shown."""
        return [[shown(value, form) for value, (_, form) in zip(row, self.columns, strict=True)] for row in self.rows]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading and what is under it."""

    title: str
    content: tuple[Markup | Figure | Table, ...] = ()
    """From top to bottom; figures that follow each other stand side by side where there is room."""
    parts: "tuple[Section, ...]" = ()
    """Sections below it."""
    short: str = ""
    """What links to it say; by default the title."""

    def walk(self) -> Iterator[Markup | Figure | Table]:
        """All content, that of the parts too."""
        yield from self.content
        for part in self.parts:
            yield from part.walk()


def shown(value: Value, form: str) -> str:
    """A cell of a table as text."""
    if value is None:
        return ""
    if isinstance(value, Number):
        return value.text
    return value if isinstance(value, str) else format(value, form)


def number_of(value: Value) -> float | None:
    """The number in a cell; None where there is text or nothing."""
    if isinstance(value, Number):
        return float(value.value)
    return float(value) if isinstance(value, int | float) else None


def page(title: str, sections: Sequence[Section], *, lead: str = "") -> str:
    """The whole page.

    Args:
        title: heading, and name of the window.
        sections: from top to bottom; where there are several, links in front lead to them.
        lead: what stands in front of them.
    """
    anchors = [f"section{number}" for number in range(1, len(sections) + 1)]
    links = [
        element("a", section.short or section.title, href=f"#{anchor}")
        for section, anchor in zip(sections, anchors, strict=True)
    ]
    body = [
        element("header", element("h1", title), lead),
        element("nav", *links, aria_label="sections") if len(links) > 1 else Markup(""),
        element("main", *(rendered(s, 2, anchor) for s, anchor in zip(sections, anchors, strict=True))),
    ]
    head = [
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="generator", content=GENERATOR),
        element("meta", name="color-scheme", content="light dark"),
        # The page may load nothing, whatever is in it.
        element(
            "meta",
            http_equiv="Content-Security-Policy",
            content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'",
        ),
        element("title", title),
        element("style", Markup(colours() + packaged("style.css"))),
    ]
    script = element("script", Markup(packaged("page.js")))
    html = element("html", element("head", *head), element("body", *body, script), lang="en")
    return f"<!doctype html>\n{html}\n"


def packaged(name: str) -> str:
    """A file that lies beside this one."""
    return (files("sresnet.report") / name).read_text(encoding="utf-8")


def colours() -> str:
    """The colours as variables: for light, which printers get too, and for dark screens."""
    light, dark = ("".join(f"--{name}:{pair[side]};" for name, pair in COLOURS.items()) for side in (0, 1))
    return f":root{{{light}}}\n@media screen and (prefers-color-scheme: dark){{:root{{{dark}}}}}\n"


def rendered(section: Section, level: int, anchor: str | None = None) -> Markup:
    """A section with a heading of `level` and its parts with the next one."""
    parts: list[Markup] = []
    for in_grid, group in groupby(section.content, is_narrow):
        drawn = [block(each) for each in group]
        parts += [element("div", *drawn, class_="grid")] if in_grid else drawn
    parts += [rendered(part, level + 1) for part in section.parts]
    return element("section", element(f"h{min(level, 6)}", section.title), *parts, id=anchor)


def is_narrow(content: Markup | Figure | Table) -> bool:
    """Whether it stands beside others where there is room: figures, and tables of few columns."""
    if isinstance(content, Table):
        prose = any(isinstance(value, str) and len(value) > PROSE for row in content.rows for value in row)
        return not content.folded and not prose and len(content.columns) <= NARROW
    return isinstance(content, Figure)


NARROW = 4
"""Columns that a table may have to stand beside figures."""
PROSE = 60
"""Characters from which on the text of a cell is wrapped."""


def block(content: Markup | Figure | Table) -> Markup:
    """One piece of a section."""
    if isinstance(content, Figure):
        return figure(content)
    return table(content) if isinstance(content, Table) else Markup(content)


def figure(shown: Figure) -> Markup:
    """A chart with its title above and its caption below."""
    caption = [element("p", shown.caption)] if shown.caption else []
    return element(
        "figure", element("figcaption", element("strong", shown.title), *caption), shown.svg, id=f"figure-{shown.name}"
    )


def table(shown: Table) -> Markup:
    """A table in a box that scrolls by itself; the headings are buttons that sort."""
    numeric = [any(number_of(row[at]) is not None for row in shown.rows) for at in range(len(shown.columns))]
    headings = [
        element(
            "th",
            element("button", heading, type="button"),
            scope="col",
            aria_sort="none",
            class_="number" if is_number else None,
        )
        for (heading, _), is_number in zip(shown.columns, numeric, strict=True)
    ]
    rows = [
        element(
            "tr", *(cell(value, text, is_number) for value, text, is_number in zip(row, texts, numeric, strict=True))
        )
        for row, texts in zip(shown.rows, shown.texts(), strict=True)
    ]
    name = f"table-{shown.name}"
    content = element(
        "table", element("thead", element("tr", *headings)), element("tbody", *rows), aria_labelledby=name
    )
    title = element("p", shown.title, class_="title", id=name)
    box = element("div", content, class_="scroll", tabindex=0, role="region", aria_labelledby=name)
    if shown.folded:
        return element("details", element("summary", f"Numbers: {shown.title}"), title, box)
    return element("div", title, box, class_="table")


def cell(value: Value, text: str, is_number: bool) -> Markup:
    """A cell; a number is kept beside its text, for sorting."""
    number = number_of(value)
    kind = "number" if is_number else "prose" if len(text) > PROSE else None
    return element("td", text, class_=kind, data_value=None if number is None else repr(number))


def paragraph(*content: str, class_: str | None = None) -> Markup:
    """A paragraph of text and markup."""
    return element("p", join(*content), class_=class_)


def facts(pairs: Sequence[tuple[str, str]]) -> Markup:
    """Names and what they are, below each other."""
    return element("dl", *(element("div", element("dt", name), element("dd", value)) for name, value in pairs))
