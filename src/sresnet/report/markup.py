"""Text for HTML and SVG: what is not known to be markup is escaped."""

import html
import re

from markupsafe import Markup

from sresnet.printing import printable


def escape(content: str) -> Markup:
    """`content` as it may stand between tags and in quoted attributes; markup stays as it is.

    Line breaks and tabs apart, what shows nothing is written as Python would (`printing.printable`): neither HTML nor
    XML may hold control characters, no file the half of a character, and marks that reorder text would go on beyond it.
    """
    if isinstance(content, Markup):
        return content
    parts = re.split(r"([\n\t])", content)
    return Markup(html.escape("".join(part if part in ("\n", "\t") else printable(part) for part in parts)))


def element(name: str, /, *children: str, **attributes: str | int | float | None) -> Markup:
    """`<name attributes>children</name>`, all that is plain text escaped.

    Args:
        name: of the element.
        children: markup or plain text.
        attributes: by name, `_` for `-` and a trailing `_` for words of Python (`class_`); None: left out.
    """
    words = [name]
    for key, value in attributes.items():
        if value is not None:
            text = shorter(value) if isinstance(value, float) else str(value)
            words.append(f'{key.rstrip("_").replace("_", "-")}="{escape(text)}"')
    opened = " ".join(words)
    if not children and name not in HAVE_CONTENT:
        return Markup(f"<{opened}>" if name in VOID else f"<{opened}/>")
    return Markup(f"<{opened}>{join(*children)}</{name}>")


HAVE_CONTENT = {"td", "th", "div", "span", "script", "style", "title", "p"}
"""Elements of HTML that are closed by a tag of their own even when they hold nothing."""
VOID = {"img", "meta", "br"}
"""Elements of HTML that hold nothing, and that no tag closes."""


def join(*parts: str) -> Markup:
    """Parts one after the other, those that are plain text escaped."""
    return Markup("".join(escape(part) for part in parts))


def shorter(value: float) -> str:
    """A coordinate with as many digits as anybody sees: 12.5, 3, 0.33."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
