"""The template: every kind of block, whatever its text, and nothing that does not exist."""

import re
from dataclasses import dataclass
from typing import ClassVar, get_args

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sresnet.printing import printable
from sresnet.report.charts import Axis, Line, LineChart
from sresnet.report.document import (
    Block,
    Cards,
    Code,
    Differences,
    ExampleCard,
    Examples,
    Facts,
    Figure,
    Number,
    Paragraph,
    Section,
    Table,
)
from sresnet.report.html import page
from tests.report.runs import read_page


def chart_of(text):
    return LineChart(title=text, lines=(Line(name="", x=(1,), y=(1,)),), x=Axis(label="x"), y=Axis(label="y"))


def blocks_of(text):
    """One of every kind, with `text` wherever text goes, and how often that is."""
    number = Number(1.0, text)
    example = ExampleCard(
        name="e", image="data:image/png;base64,", label=text, said=text, right=True, percent=1.0, chart=chart_of("")
    )
    return {
        Paragraph(text, badge=text, strong=text): 3,
        Cards(((text, text),)): 2,
        Facts(((text, text),)): 2,
        Differences(((text, text, text),)): 3,
        Code(text=text): 1,
        Code(text=text, summary=text): 2,
        Examples((example,)): 2,  # and in the picture's description
        Figure(name="f", chart=chart_of(text), caption=text): 3,
        Table(name="t", title=text, columns=((text, ""), (text, "")), rows=((text, number),)): 5,
        Table(name="u", title=text, columns=((text, ""),), rows=((text,),), folded=True): 4,
    }


def test_every_kind_of_block_is_tried():
    assert {type(block) for block in blocks_of("")} == set(get_args(Block))


@settings(deadline=None)
@given(st.text(min_size=1))
def test_text_is_text_wherever_it_stands(tmp_path_factory, text):
    """Read back by a parser: the same text as often as it was put in, and the same elements as for a harmless one."""
    path = tmp_path_factory.getbasetemp() / "page.html"
    found = {}
    for word in ("x", text):
        html = page(word, [Section(title=word, short=word, content=tuple(blocks_of(word)))])
        path.write_bytes(html.encode())
        found[word] = read_page(path)
    assert [tag for tag, _ in found[text][1]] == [tag for tag, _ in found["x"][1]]
    shown = " ".join("".join(part if part in "\n\t" else printable(part) for part in text).split())
    if shown:
        count = 2 + 1 + sum(blocks_of("").values())  # window, heading and section
        assert found[text][0].count(shown) >= count
    images = [values["alt"] for tag, values in found[text][1] if tag == "img"]
    assert [" ".join(alt.split()) for alt in images] == [f"test sample of class {shown}".strip()]


def test_a_name_that_does_not_exist_is_an_error():
    @dataclass(frozen=True)
    class Cards:
        kind: ClassVar = "cards"

    with pytest.raises(jinja2.UndefinedError, match="no attribute 'cards'"):
        page("", [Section(title="", content=(Cards(),))])


def test_only_what_is_marked_as_markup_is_markup():
    html = page("<i>", [Section(title="<b>", content=(Paragraph("<u>"), Figure(name="f", chart=chart_of("<s>"))))])
    assert re.findall(r"<[ibus]>", html) == []
    assert html.count("<svg ") == 1
