"""One description, two renderers: each draws every kind of chart, with the same words and in the same colours."""

import re
from dataclasses import replace
from typing import get_args
from xml.etree import ElementTree

import pytest

from sresnet.report import plots, svg
from sresnet.report.charts import Axis, Chart, Line, LineChart, Picture, readable, shortened
from sresnet.report.document import Figure, Section
from sresnet.report.files import save_files
from sresnet.report.html import page
from sresnet.report.palette import COLOURS, SERIES, colour_of, marker_of
from tests.report.charts import every_chart

CHARTS = every_chart()
needs_matplotlib = pytest.mark.skipif(not plots.available(), reason="matplotlib is not installed")


def words(markup):
    return re.findall(r"<text[^>]*>([^<]+)</text>", markup)


def labels_of(chart):
    """What both renderings of a chart have to say."""
    names = {line.name for line in getattr(chart, "lines", ())} - {""}
    axes = [axis.label for axis in (getattr(chart, "x", None), getattr(chart, "y", None)) if axis]
    unit = [getattr(chart, name) for name in ("x_label", "unit") if hasattr(chart, name)]
    marks = [chart.marks[0], *(name for name, _ in chart.parts)] if getattr(chart, "marks", None) else []
    return {*names, *axes, *unit, *marks}


def test_every_kind_is_tried():
    assert {type(chart) for chart in CHARTS} == set(get_args(Chart))


@needs_matplotlib
@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.title)
def test_both_say_the_same(chart):
    """Names of lines and parts, of axes and units."""
    page = words(svg.draw(chart, "name"))
    paper = words(plots.written(plots.draw(chart), ".svg").decode())
    short = {shortened(label, 40) for label in labels_of(chart)}
    assert {label for label in short if not any(label in word for word in page)} == set()
    assert short <= set(paper)


@needs_matplotlib
def test_both_use_one_palette():
    lines = tuple(Line(name=str(at), x=[0, 1], y=[at, at + 1.0]) for at in range(2 * SERIES))
    chart = LineChart(title="", lines=lines, x=Axis(label="x"), y=Axis(label="y"))
    page = re.findall(r'<polyline [^>]*stroke="var\(--(\w+)\)"', svg.draw(chart, "name"))
    paper = [line.get_color() for line in plots.draw(chart).axes[0].lines]
    assert page == [colour_of(at) for at in range(2 * SERIES)]
    assert paper == [COLOURS[name][0] for name in page]
    assert len({(colour_of(at), marker_of(at)) for at in range(SERIES**2)}) == SERIES**2


@needs_matplotlib
def test_numbers_are_where_they_belong():
    line = Line(name="a", x=[1, 2, 3], y=[1.0, float("nan"), 100.0], y_deviation=[0.5, 1.0, 10.0])
    chart = LineChart(title="", lines=(line,), x=Axis(label="x"), y=Axis(label="y", logarithmic=True))
    root = ElementTree.fromstring(svg.draw(chart, "name"))
    assert [circle[0].text for circle in root.iter("circle") if len(circle)] == ["a, x 1: 1", "a, x 3: 100"]
    assert len(root.find("polyline").get("points").split()) == 2
    band = [point.split(",") for point in root.find("polygon").get("points").split()]
    (x1, top1), (x3, top3), (_, low3), (_, low1) = [[float(each) for each in point] for point in band]
    assert x1 < x3
    assert low1 > top1 > low3 > top3
    (drawn,) = plots.draw(chart).axes[0].lines
    assert drawn.get_xdata().tolist() == [1, 2, 3]
    assert drawn.get_ydata()[::2].tolist() == [1.0, 100.0]


@needs_matplotlib
def test_a_picture_has_titles_and_one_legend_where_lines_are_called_the_same():
    charts = [
        LineChart(title=t, lines=(Line(name="a", x=[1], y=[1]),), x=Axis(label="x"), y=Axis(label="y")) for t in "PQ"
    ]
    figure = plots.draw(Picture(panels=(tuple(charts), (charts[0],))))
    assert [axes.get_title() for axes in figure.axes] == ["P", "Q", "P", ""]
    assert [len(figure.legends), sum(axes.get_legend() is not None for axes in figure.axes)] == [1, 0]
    assert not figure.axes[3].axison
    other = replace(charts[1], lines=(replace(charts[1].lines[0], name="b"),))
    figure = plots.draw(Picture(panels=((charts[0], other),)))
    legends = [axes.get_legend() for axes in figure.axes]
    assert [[text.get_text() for text in legend.get_texts()] for legend in legends] == [["a"], ["b"]]
    assert figure.legends == []
    assert plots.draw(charts[0]).axes[0].get_title() == ""


def test_numbers_and_names_as_an_axis_has_room_for():
    assert [readable(value) for value in (1.234e6, 350_000, 12, 0.25)] == ["1.23 M", "350 k", "12", "0.25"]
    assert shortened("sweet_pepper 3", 10) == "sweet_pe…3"
    assert shortened("two\nlines", 20) == r"two\nlines"


@needs_matplotlib
def test_a_new_figure_is_a_description_and_nothing_else(tmp_path):
    """As docs/architecture.md says: a function that returns a chart; the page, its files and pictures need no more."""

    def firing(rates):
        lines = (Line(name="stem", x=range(1, 4), y=rates),)
        return LineChart(title="Firing rates", lines=lines, x=Axis(label="epoch"), y=Axis(label="spikes per step"))

    figure = Figure(name="firing", chart=firing([0.1, 0.3, 0.2]), caption="Of the stem.")
    section = Section(title="New", content=(figure,))
    html = page("T", [section])
    assert "stem, epoch 2: 0.3" in html
    assert '<figure id="figure-firing">' in html
    (written,) = [path for path in save_files(tmp_path / "files", [section], []) if path.suffix == ".svg"]
    assert "Firing rates" in written.read_text()
    assert plots.draw(figure.chart).axes[0].lines[0].get_ydata() == pytest.approx([0.1, 0.3, 0.2])


@pytest.mark.parametrize(("hollow", "fill"), [(True, "var(--bg)"), (False, "var(--fg)")])
def test_the_one_compared_with_is_hollow_where_others_would_be(hollow, fill):
    own = Line(name="", x=[1.0, 2.0], y=[1.0, 2.0], form="points", hollow=hollow, own=True)
    drawn = svg.draw(LineChart(title="A", lines=(own,), x=Axis(label="x"), y=Axis(label="y")), "name")
    assert set(re.findall(r'<circle [^>]*fill="(.*?)"', drawn)) == {fill}
