"""Both ends of every axis have a number, round where values are not counts, and no two numbers overlap."""

import math
import random
import re
from xml.etree import ElementTree

import pytest

from sresnet.report import plots, svg
from sresnet.report.charts import Axis, Bars, HeatMap, Line, LineChart
from sresnet.report.ticks import scale_of, within

RANGES = [(low, low + span) for low in (0.0, 1.0, 29.47, 94.2) for span in (0.004, 0.31, 7.7, 65.2, 4e3, 8.1e6)]


@pytest.mark.parametrize(
    ("values", "options", "texts"),
    [
        ((29.5, 94.7), {}, "20 40 60 80 100"),
        ((94.21, 94.68), {}, "94.2 94.3 94.4 94.5 94.6 94.7"),
        ((138_000, 555_000), {}, "100 k 200 k 300 k 400 k 500 k 600 k"),
        ((1, 4), {"whole": True}, "1 2 3 4"),
        ((1, 70), {"whole": True}, "1 20 40 60 70"),
        ((1, 1024), {"whole": True}, "1 200 400 600 800 1024"),
        ((1, 20_000), {"whole": True}, "1 5 k 10 k 15 k 20 k"),
        ((23_456, 98_765), {"whole": True}, "20 k 40 k 60 k 80 k 100 k"),
        ((0.012, 38), {"logarithmic": True}, "0.01 0.1 1 10 50"),
        ((23_000, 1.2e6), {"logarithmic": True}, "20 k 100 k 1 M 2 M"),
        ((2e3, 5e4), {"logarithmic": True}, "2 k 5 k 10 k 20 k 50 k"),
        ((0.25, 0.25), {}, "0.235 0.240 0.245 0.250 0.255 0.260 0.265"),
        ((7, 7), {"whole": True}, "7"),
        ((0.3, 0.7), {"limits": (-4.0, 104.0)}, "0 20 40 60 80 100"),
    ],
)
def test_numbers_of_an_axis(values, options, texts):
    assert " ".join(scale_of(values, **options).texts) == texts


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_a_range_holds_its_values_and_ends_at_numbers(low, high):
    for options in ({}, {"whole": True}, *([{"logarithmic": True}] if low > 0 else [])):
        found = scale_of((low, high), **options)
        assert found.low <= low + 1e-9 * high
        assert found.high >= high - 1e-9 * high
        assert (found.ticks[0], found.ticks[-1]) == (found.low, found.high)
        assert list(found.ticks) == sorted(set(found.ticks))
        assert 2 <= len(found.ticks) <= 9
        assert len(set(found.texts)) == len(found.texts)
        if not options:  # not much room is lost
            assert found.high - found.low < 2 * (high - low)


def test_an_axis_of_no_numbers():
    """As where a network of one class has no margins."""
    assert (scale_of([]).low, scale_of([]).high) == (0, 1)
    assert (scale_of([], logarithmic=True).low, scale_of([], logarithmic=True).high) == (1, 10)


def test_colours_end_at_their_own_numbers():
    assert within(0.0, 34.56).texts == ("0", "10", "20", "34.6")
    assert within(0.5, 0.5).texts == ("0.5",)


def charts():
    """Of every kind of axis, over ranges of many sizes."""
    draws = random.Random(3)
    for low, high in RANGES:
        y = [low, high, draws.uniform(low, high)]
        for x, log_x, log_y in (([1, 2, 70], False, False), ([2e3, 5e4, 3e6], True, low > 0), (y, False, low > 0)):
            names = (Axis(label="x", logarithmic=log_x), Axis(label="y", logarithmic=log_y))
            yield LineChart(title="T", lines=(Line(name="a", x=x, y=y),), x=names[0], y=names[1])
    names = tuple(f"block {number}" for number in range(40))
    line = Line(name="", x=range(40), y=range(40))
    yield LineChart(title="T", lines=(line,), x=Axis(label="x", names=names), y=Axis(label="y"))
    for columns in (2, 13, 50, 399):
        rows = (tuple(map(float, range(columns))),) * 40
        yield HeatMap(title="T", rows=rows, row_names=names, x_label="epoch", unit="u", limits=(0, 400))
    for most in (0.0123, 77, 34e6):
        yield Bars(title="T", row_names=("a", "b"), parts=(("p", (most, 0.0)),), x_label="x")


CHARTS = list(charts())


def at(texts):
    """(text, its place across, its place down) of labels that are numbers or names of an axis."""
    return [(each.text, float(each.get("x")), float(each.get("y")), each.get("text-anchor")) for each in texts]


@pytest.mark.parametrize("place", range(len(CHARTS)))
def test_labels_of_a_page_reach_both_ends_and_stand_apart(place):
    chart = CHARTS[place]
    root = ElementTree.fromstring(svg.draw(chart, "n"))
    labels = at(text for text in root.iter("text") if text.get("fill") == "var(--soft)" and text.get("x"))
    *_, (_, _, below, _) = [each for each in labels if each[3] == "middle" and each[0] == _x_label(chart)]
    # Bars and maps have their label 15 or 16 units beneath the numbers.
    row = sorted((x, text) for text, x, y, anchor in labels if anchor == "middle" and 10 < below - y < 20)
    assert len(row) >= 2
    widths = [svg._width_of(text) for _, text in row]
    for (left, _), (right, _), one, other in zip(row, row[1:], widths, widths[1:], strict=False):
        assert right - left >= (one + other) / 2
    grid = [line for line in root.iter("line") if line.get("stroke") == "var(--line)"]
    if not isinstance(chart, HeatMap):
        ends = [float(line.get(side)) for line in grid for side in ("x1", "x2")]
        assert row[0][0] - min(ends) < 20
        assert max(ends) - row[-1][0] < 20
    if isinstance(chart, LineChart):
        beside = sorted(y for text, _, y, anchor in labels if anchor == "end")
        assert all(under - above > 11 for above, under in zip(beside, beside[1:], strict=False))
        top, bottom = [float(line.get("y1")) for line in grid if line.get("y1") == line.get("y2")][:: len(beside) - 1]
        assert {round(top), round(bottom)} == {round(beside[0] - 4), round(beside[-1] - 4)}


def _x_label(chart):
    return chart.x.label if isinstance(chart, LineChart) else chart.x_label


@pytest.mark.skipif(not plots.available(), reason="matplotlib is not installed")
@pytest.mark.parametrize("place", [*range(0, len(CHARTS) - 8, 5), *range(len(CHARTS) - 8, len(CHARTS))])
def test_numbers_on_paper_reach_both_ends_and_stand_apart(place):
    chart = CHARTS[place]
    figure = plots.draw(chart)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    sides = [(axes.xaxis, axes.get_xlim(), axes.get_xscale(), 0)]
    if isinstance(chart, LineChart):
        sides.append((axes.yaxis, axes.get_ylim(), axes.get_yscale(), 1))
    for axis, limits, kind, side in sides:
        place = math.log10 if kind == "log" else float
        low, high = map(place, limits)
        ticks = [place(each) for each in axis.get_majorticklocs()]
        near = 0.5 / chart.last + 1e-9 if isinstance(chart, HeatMap) else 0.12  # the middle of the cell at the end
        assert (min(ticks) - low) / (high - low) < near
        assert (high - max(ticks)) / (high - low) < near
        boxes = sorted([label.get_window_extent().bounds for label in axis.get_ticklabels()], key=lambda box: box[side])
        for one, other in zip(boxes, boxes[1:], strict=False):
            assert other[side] >= one[side] + one[side + 2]
        assert not [text for text in axis.get_ticklabels() if re.search(r"[$\\]", text.get_text())]
