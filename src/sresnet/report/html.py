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
from sresnet.report.svg import draw

GENERATOR = "sresnet report"
"""What our pages say they were made by, so that they are known again."""
NARROW = 4
"""Columns that a table may have to stand beside figures."""
PROSE = 60
"""Characters from which on the text of a cell is wrapped."""


def page(title: str, sections: Sequence[Section]) -> str:
    """The whole page.

    Args:
        title: heading, and name of the window.
        sections: from top to bottom; where there are several, links in front lead to them.
    """
    return environment().get_template("page.html.jinja").render(title=title, sections=sections)


@functools.cache
def environment() -> Environment:
    """Of the template: all that is not known to be markup is escaped, and a name that does not exist is an error."""
    found = Environment(
        loader=PackageLoader("sresnet.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=legible,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.globals |= {
        "generator": GENERATOR,
        "colours": colours,
        "draw": draw,
        "packaged": packaged,
        "groups": groups,
        "prose": PROSE,
    }
    return found


def legible(value: object) -> object:
    """What is put into the page, with text as it can be shown; markup and what is not text stays as it is."""
    return printable_lines(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def packaged(name: str) -> Markup:
    """A file that lies beside this one."""
    return Markup((files("sresnet.report") / name).read_text(encoding="utf-8"))


def colours() -> Markup:
    """The colours as variables: for light, which printers get too, and for dark screens."""
    light, dark = ("".join(f"--{name}:{pair[side]};" for name, pair in COLOURS.items()) for side in (0, 1))
    return Markup(f":root{{{light}}}\n@media screen and (prefers-color-scheme: dark){{:root{{{dark}}}}}\n")


def groups(content: Iterable[Block]) -> list[tuple[bool, list[Block]]]:
    """(whether they stand beside each other, blocks that follow each other)."""
    return [(beside, list(blocks)) for beside, blocks in groupby(content, is_narrow)]


def is_narrow(block: Block) -> bool:
    """Whether it stands beside others where there is room: figures, and tables of few columns."""
    if isinstance(block, Table):
        prose = any(len(text) > PROSE for row in block.texts() for text in row)
        return not block.folded and not prose and len(block.columns) <= NARROW
    return isinstance(block, Figure)
