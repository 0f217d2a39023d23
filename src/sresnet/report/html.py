"""One HTML page of sections; it loads nothing from anywhere."""

import functools
from collections.abc import Iterable, Sequence
from importlib.resources import files
from itertools import groupby

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sresnet.printing import printable_lines
from sresnet.report.document import Block, Figure, Section, Table
from sresnet.report.palette import COLOURS
from sresnet.report.svg import draw, swatch

GENERATOR = "sresnet report"
"""Named in our pages as what made them, so that they are recognised."""
NARROW = 48
"""Most characters of a row of a table that stands beside figures, each column as wide as its longest text."""
WIDE = 10
"""Tables of more columns are set closer."""
PROSE = 60
"""Cells with more characters than this are wrapped."""


def page(title: str, sections: Sequence[Section]) -> str:
    """The whole page.

    Args:
        title: heading, and name of the window.
        sections: from top to bottom; where there are several, links in front lead to them.
    """
    return _environment().get_template("page.html.jinja").render(title=title, sections=sections)


@functools.cache
def _environment() -> Environment:
    """Of the template: everything but known markup is escaped, and a name that does not exist is an error."""
    found = Environment(
        loader=PackageLoader("sresnet.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_legible,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.globals |= {
        "generator": GENERATOR,
        "prose": PROSE,
        "wide": WIDE,
        "kind_of": lambda block: type(block).__name__,
    }
    found.globals |= {"colours": _colours, "draw": draw, "swatch": swatch, "packaged": _packaged, "groups": _groups}
    return found


def _legible(value: object) -> object:
    """What goes into the page, text as it can be shown; markup, and what is not text, stays as it is."""
    return printable_lines(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _packaged(name: str) -> Markup:
    """A file that lies beside this one."""
    return Markup((files("sresnet.report") / name).read_text(encoding="utf-8"))


def _colours() -> Markup:
    """The colours as variables: for light, which printers get too, and for dark screens."""
    light, dark = ("".join(f"--{name}:{pair[side]};" for name, pair in COLOURS.items()) for side in (0, 1))
    return Markup(f":root{{{light}}}\n@media screen and (prefers-color-scheme: dark){{:root{{{dark}}}}}\n")


def _groups(content: Iterable[Block]) -> list[tuple[bool, list[Block]]]:
    """(whether they stand beside each other, blocks that follow each other)."""
    return [(beside, list(blocks)) for beside, blocks in groupby(content, _is_narrow)]


def _is_narrow(block: Block) -> bool:
    """Whether it stands beside others where there is room: figures, and tables of few columns."""
    if isinstance(block, Table):
        columns = zip((f"{heading}  " for heading in block.headings), *block.texts(), strict=True)  # behind it an arrow
        return not block.folded and sum(max(map(len, column)) + 2 for column in columns) <= NARROW
    return isinstance(block, Figure)
