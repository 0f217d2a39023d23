"""Charts as SVG.

Charts are drawn `WIDTH` units wide, which is the width of a phone, so that their text is readable there; wide screens
put them side by side. Colours are names, `var(--s1)`, that the page gives values for light and for dark; `standalone`
puts in the light ones for a file of its own.
"""

import functools
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from xml.etree.ElementTree import Element

from markupsafe import Markup

from sresnet.printing import printable_lines
from sresnet.report.charts import (
    Axis,
    Bars,
    Chart,
    ConfusionMatrix,
    HeatMap,
    Line,
    LineChart,
    readable,
    shortened,
)
from sresnet.report.palette import COLOURS, MAPS, colour_of, marker_of, rgb

WIDTH, SMALL = 360, 232
TEXT = 11.0
CHARACTER = 0.62
"""Width of most characters in units of the font's size, as wide as the widest of the usual fonts has them."""
WIDE, NARROW = "mwMW@%", "fijlrtI.,:;|!'()[] "
"""Characters that are about half as wide again, and about two thirds as wide."""
NAMED_ROWS = 26
"""Maps and bars with more rows than this name only some of them."""
TITLED_CELLS = 1200
"""Maps with more cells than this do not show the number of a cell where the mouse is."""


@functools.singledispatch
def draw(chart: Chart, name: str) -> Markup:
    """A chart as an <svg>; `name`, unique in the page, ties it to its title and description."""
    raise TypeError(f"{type(chart).__name__} is not a chart")


def standalone(svg: str) -> str:
    """A chart as a file of its own: with its name space, and the colours for light."""
    with_colours = re.sub(r"var\(--(\w+)\)", lambda match: COLOURS[match[1]][0], svg)
    return with_colours.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) + "\n"


# Elements -------------------------------------------------------------------------------------------------------------


def element(tag: str, /, *children: Element | str, **attributes: str | float | None) -> Element:
    """`<tag attributes>children</tag>`; what shows nothing in its text is written as Python would.

    Args:
        tag: of the element.
        children: elements, and in front of them its text.
        attributes: by name, `_` for `-`; None: left out.
    """
    found = Element(tag)
    for key, value in attributes.items():
        if value is not None:
            text = shorter(value) if isinstance(value, float) else printable_lines(str(value))
            found.set(key.replace("_", "-"), text)
    for child in children:
        if isinstance(child, str):
            found.text = (found.text or "") + printable_lines(child)
        else:
            found.append(child)
    return found


def markup(root: Element) -> Markup:
    """An element as text."""
    return Markup(ET.tostring(root, encoding="unicode"))


def shorter(value: float) -> str:
    """A coordinate with as many digits as anybody sees: 12.5, 3, 0.33."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def colour(style: int) -> str:
    """Of a line or bar, as the page names it."""
    return f"var(--{colour_of(style)})"


def drawing(
    name: str, title: str, description: str, height: float, parts: Iterable[Element], width: float = WIDTH
) -> Markup:
    """The <svg> around a chart."""
    return markup(
        element(
            "svg",
            element("title", title, id=f"{name}-title"),
            element("desc", description, id=f"{name}-desc"),
            *parts,
            viewBox=f"0 0 {width:.0f} {height:.0f}",
            role="img",
            aria_labelledby=f"{name}-title {name}-desc",
            font_family="system-ui, sans-serif",
            font_size=TEXT,
            fill="var(--fg)",
        )
    )


def label(
    x: float, y: float, content: str, *, anchor: str = "start", size: float = TEXT, soft: bool = False
) -> Element:
    """A line of text."""
    return element(
        "text",
        content,
        x=x,
        y=y,
        text_anchor=None if anchor == "start" else anchor,
        font_size=None if size == TEXT else size,
        fill="var(--soft)" if soft else None,
    )


def width_of(content: str, size: float = TEXT) -> float:
    """About how wide a text is, rather too much than too little."""
    units = sum(1.5 if each in WIDE else 0.65 if each in NARROW else 1.0 for each in content)
    return units * CHARACTER * size


def ticks(low: float, high: float, count: int = 5, *, whole: bool = False) -> list[float]:
    """About `count` round numbers from `low` to `high`: multiples of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.8)
    step = max(step, 1.0) if whole else step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


# Lines ----------------------------------------------------------------------------------------------------------------


@draw.register
def line_chart(chart: LineChart, name: str) -> Markup:
    """Curves over a common axis."""
    width, height = (SMALL, 80) if chart.small else (WIDTH, 150)
    styles = [index if line.style is None else line.style for index, line in enumerate(chart.lines)]
    curves = [points_of(line, chart) for line in chart.lines]
    reached = [place for points in curves for point in points for place in point.reach]
    xs, ys = [x for x, _ in reached], [y for _, y in reached]
    low, high = chart.y.limits or padded(min(ys), max(ys))
    left_x, right_x = (min(xs), max(xs)) if max(xs) > min(xs) else (min(xs) - 0.5, max(xs) + 0.5)
    if any(line.form in ("dots", "points") for line in chart.lines):
        left_x, right_x = padded(left_x, right_x)
    y_ticks = ticks(low, high, 4, whole=chart.y.logarithmic)
    y_names = [power(tick) if chart.y.logarithmic else readable(tick) for tick in y_ticks]
    left = 8 + max(width_of(text) for text in y_names)
    legend, legend_height = legend_of(chart.lines, styles, width)
    top, right = 22 + legend_height, width - 12.0

    def place(x: float, y: float) -> tuple[float, float]:
        across = left + (x - left_x) / (right_x - left_x) * (right - left)
        return across, top + (high - y) / (high - low) * height

    parts = [label(0, 12, chart.y.label, soft=True), *legend]
    for tick, text in zip(y_ticks, y_names, strict=True):
        _, y = place(left_x, tick)
        parts.append(rule(left, y, right, y))
        parts.append(label(left - 5, y + 4, text, anchor="end", soft=True))
    for tick, text in x_ticks(chart, left_x, right_x):
        x, _ = place(tick, low)
        room = width_of(text) / 2
        parts.append(rule(x, top + height, x, top + height + 4))
        parts.append(label(min(max(x, room), width - room), top + height + 16, text, anchor="middle", soft=True))
    parts.append(label((left + right) / 2, top + height + 32, chart.x.label, anchor="middle", soft=True))
    for line, points, style in zip(chart.lines, curves, styles, strict=True):
        parts += line_of(line, points, style, place)
        parts += [hover(*place(*point.at), f"{line.name + ', ' if line.name else ''}{point.told}") for point in points]
    if chart.note:
        text, x, y = chart.note
        across, down = place(*(logarithm(value, axis) for value, axis in ((x, chart.x), (y, chart.y))))
        parts.append(label(across - 6, down - 8, text, anchor="end", soft=True))
    courses = [
        f"{line.name + ': ' if line.name else ''}{points[0].value} at {chart.x.label} {points[0].name}, "
        f"{points[-1].value} at {points[-1].name}"
        for line, points in zip(chart.lines, curves, strict=True)
        if points
    ]
    description = f"{chart.y.label} over {chart.x.label}. {'; '.join(courses)}."
    return drawing(name, chart.title, description, top + height + 38, parts, width)


@dataclass(frozen=True, kw_only=True)
class Point:
    """A point that can be drawn; logarithms where the axis is logarithmic."""

    at: tuple[float, float]
    reach: tuple[tuple[float, float], ...]
    """The point, and one standard deviation to each side, where that is known."""
    name: str
    """Of its place on the x axis."""
    value: str
    told: str
    """Both, in words."""


def points_of(line: Line, chart: LineChart) -> list[Point]:
    """The points of a line that are finite and, on logarithmic axes, positive."""
    found = []
    for index, (x, y) in enumerate(zip(line.x, line.y, strict=True)):
        dx, dy = (each[index] if each else 0.0 for each in (line.x_deviation, line.y_deviation))
        ends = ((x, y), (x - dx, y), (x + dx, y), (x, y - dy), (x, y + dy))
        reach = tuple((logarithm(a, chart.x), logarithm(b, chart.y)) for a, b in (ends if dx or dy else ends[:1]))
        if math.isfinite(sum(reach[0])):
            name = chart.x.names[round(x)] if chart.x.names else readable(x)
            value = readable(y) if chart.y.logarithmic else f"{y:.4g}"
            finite = tuple(each if math.isfinite(sum(each)) else reach[0] for each in reach)
            found.append(
                Point(at=reach[0], reach=finite, name=name, value=value, told=f"{chart.x.label} {name}: {value}")
            )
    return found


def logarithm(value: float, axis: Axis) -> float:
    """The place of a value on an axis; NaN where it has none."""
    if not axis.logarithmic:
        return value
    return math.log10(value) if value > 0 else math.nan


def x_ticks(chart: LineChart, low: float, high: float) -> list[tuple[float, str]]:
    """Places along the x axis, and what they are called."""
    if chart.x.names:
        every = max(1, round(sum(width_of(text) + 8 for text in chart.x.names) / WIDTH + 0.5))
        return [(float(place), text) for place, text in enumerate(chart.x.names) if place % every == 0]
    if chart.x.logarithmic:
        values = [digit * 10.0**exponent for exponent in range(math.floor(low), math.ceil(high)) for digit in (1, 2, 5)]
        round_ones = [value for value in values if low <= math.log10(value) <= high]
        shown = round_ones if len(round_ones) > 1 else ticks(10**low, 10**high, 4)
        return [(math.log10(value), readable(value)) for value in shown]
    return [(tick, readable(tick)) for tick in ticks(low, high, 6, whole=chart.counts)]


def power(exponent: float) -> str:
    """A power of ten as an axis has room for."""
    return f"1e{exponent:.0f}"


def line_of(
    line: Line, points: Sequence[Point], style: int, place: Callable[[float, float], tuple[float, float]]
) -> list[Element]:
    """A line with its markers and what is known of its deviation."""
    placed = [place(*point.at) for point in points]
    sides = [[place(*each) for each in point.reach] for point in points]
    parts = []
    joined = line.form in ("line", "dashes")
    if line.y_deviation and joined:
        edge = [side[4] for side in sides if len(side) > 1] + [side[3] for side in reversed(sides) if len(side) > 1]
        parts.append(element("polygon", points=path(edge), fill=colour(style), fill_opacity=0.2))
    for side in sides if not joined else ():
        for one, other in zip(side[1::2], side[2::2], strict=True):
            parts.append(element("line", **between(one, other), stroke=colour(style)))
    if line.form != "points":
        dashes = {"dashes": "6 4", "dots": "1.5 3"}.get(line.form)
        parts.append(
            element(
                "polyline",
                points=path(placed),
                fill="none",
                stroke=colour(style),
                stroke_width=1.8 if joined else 1.0,
                stroke_linejoin="round",
                stroke_dasharray=dashes,
            )
        )
    every = max(1, len(placed) // 10) if joined else 1
    return [*parts, *(marker_of_line(line, style, x, y) for x, y in placed[::every])]


def path(places: Iterable[tuple[float, float]]) -> str:
    """Points of a line as SVG has them."""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def between(one: tuple[float, float], other: tuple[float, float]) -> dict[str, float]:
    """The ends of a line."""
    return {"x1": one[0], "y1": one[1], "x2": other[0], "y2": other[1]}


def padded(low: float, high: float) -> tuple[float, float]:
    """A range with some room at both ends."""
    room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room


def rule(x1: float, y1: float, x2: float, y2: float) -> Element:
    """A thin line of a grid or an axis."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke="var(--line)")


CORNERS = {
    "square": ((-2.7, -2.7), (2.7, -2.7), (2.7, 2.7), (-2.7, 2.7)),
    "triangle": ((0, -3.8), (3.5, 2.6), (-3.5, 2.6)),
    "diamond": ((0, -3.8), (3.8, 0), (0, 3.8), (-3.8, 0)),
    "down": ((0, 3.8), (3.5, -2.6), (-3.5, -2.6)),
    "plus": (
        *((-1.2, -4), (1.2, -4), (1.2, -1.2), (4, -1.2), (4, 1.2), (1.2, 1.2)),
        *((1.2, 4), (-1.2, 4), (-1.2, 1.2), (-4, 1.2), (-4, -1.2), (-1.2, -1.2)),
    ),
}


def marker_of_line(line: Line, style: int, x: float, y: float) -> Element:
    """What tells lines apart without their colour."""
    paint = "var(--fg)" if line.own else colour(style)
    look: dict[str, str | float | None] = {"fill": paint}
    if line.hollow or line.own or line.form == "dashes":
        look = {"fill": "var(--bg)", "stroke": paint, "stroke_width": 2.5 if line.own else 1.4}
    kind = marker_of(style)
    if kind == "circle":
        return element("circle", cx=x, cy=y, r=3.0, **look)
    return element("polygon", points=path((x + dx, y + dy) for dx, dy in CORNERS[kind]), **look)


def hover(x: float, y: float, content: str) -> Element:
    """An area that shows a text where the mouse is."""
    return element("circle", element("title", content), cx=x, cy=y, r=7.0, fill_opacity=0)


def legend_of(lines: Sequence[Line], styles: Sequence[int], width: float) -> tuple[list[Element], float]:
    """Names with their markers, in as many rows as they need, and how high that is; nothing for nameless lines."""
    left, top = 4.0, 28.0
    parts: list[Element] = []
    x, y = left, top
    for style, line in zip(styles, lines, strict=True):
        if not line.name:
            continue
        text = shortened(line.name, int((width - left - 16) / (CHARACTER * TEXT)))
        needed = 16 + width_of(text) + 12
        if x > left and x + needed > width + 12:
            x, y = left, y + 16
        parts += [marker_of_line(line, style, x + 4, y - 4), label(x + 13, y, text)]
        x += needed
    return parts, y - top + 18 if parts else 0.0


# Maps -----------------------------------------------------------------------------------------------------------------


@draw.register
def heat_map(chart: HeatMap, name: str) -> Markup:
    """A colour for every number, rows down."""
    rows, (low, high) = chart.rows, chart.limits
    few = len(rows) <= NAMED_ROWS
    row_height = 15.0 if len(rows) <= 12 else 12.0 if few else max(4.0, min(8.0, 340 / len(rows)))
    size = TEXT if row_height >= 12 else 9.0
    names, every = (chart.row_names, 1) if few else ([str(index) for index in range(len(rows))], 5)
    left = 8 + max(width_of(shortened(text, 18), size) for text in names)
    top, columns = 22.0, len(rows[0])
    cell_width = (WIDTH - 6 - left) / columns
    last_column = chart.first_column + columns - 1 if chart.last_column is None else chart.last_column
    apart = (last_column - chart.first_column) / max(1, columns - 1)
    parts = [label(0, 12, "layer", soft=True)]
    titled = len(rows) * columns <= TITLED_CELLS
    for number, row in enumerate(rows):
        y = top + number * row_height
        if number % every == 0:
            middle = y + row_height / 2 + 3.5
            parts.append(label(left - 5, middle, shortened(names[number], 18), anchor="end", size=size))
        for column, value in enumerate(row):
            if value is None:
                continue
            place = round(chart.first_column + column * apart)
            note = f"{chart.row_names[number]}, {chart.x_label} {place}: {value:.4g}"
            parts.append(
                element(
                    "rect",
                    *([element("title", note)] if titled else []),
                    x=left + column * cell_width,
                    y=y,
                    width=cell_width + 0.3,  # a little over the next, so that no gap shines through
                    height=row_height + 0.3,
                    shape_rendering="crispEdges",
                    fill=ramp(MAPS[chart.colours], (value - low) / (high - low) if high > low else 0.0),
                )
            )
    bottom = top + len(rows) * row_height
    for number in chart.breaks:
        y = top + number * row_height
        parts.append(element("line", x1=left, y1=y, x2=WIDTH - 6, y2=y, stroke="var(--bg)", stroke_width=2))
    for tick in ticks(chart.first_column, last_column, 8, whole=True):
        x = left + ((tick - chart.first_column) / (apart or 1.0) + 0.5) * cell_width
        parts.append(label(x, bottom + 14, f"{tick:.0f}", anchor="middle", soft=True))
    parts.append(label((left + WIDTH) / 2, bottom + 29, chart.x_label, anchor="middle", soft=True))
    parts += colour_bar(MAPS[chart.colours], low, high, chart.unit, bottom + 40)
    least = min((value for row in rows for value in row if value is not None), default=0.0)
    description = f"{chart.unit} by layer and {chart.x_label}, {len(rows)} layers, from {least:.4g} to {high:.4g}."
    return drawing(name, chart.title, description, bottom + 70, parts)


def ramp(colours: Sequence[str], share: float) -> str:
    """The colour at `share` in [0, 1] of a map, linear between its places."""
    place = min(max(share, 0.0), 1.0) * (len(colours) - 1)
    index = min(int(place), len(colours) - 2)
    before, after = rgb(colours[index]), rgb(colours[index + 1])
    mixed = [round(a + (b - a) * (place - index)) for a, b in zip(before, after, strict=True)]
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def colour_bar(colours: Sequence[str], low: float, high: float, unit: str, top: float) -> list[Element]:
    """What the colours of a map mean."""
    left, width, count = 8 + width_of(readable(low)), 130.0, 26
    cells = [
        element(
            "rect",
            x=left + index * width / count,
            y=top,
            width=width / count + 0.3,
            height=10,
            fill=ramp(colours, index / (count - 1)),
        )
        for index in range(count)
    ]
    return [
        *cells,
        label(left - 5, top + 9, readable(low), anchor="end", soft=True),
        label(left + width + 6, top + 9, f"{readable(high)}  {unit}", soft=True),
    ]


# Bars -----------------------------------------------------------------------------------------------------------------


@draw.register
def bars(chart: Bars, name: str) -> Markup:
    """Horizontal bars, a row each."""
    totals = [sum(lengths) for lengths in zip(*(lengths for _, lengths in chart.parts), strict=True)]
    beyond = [value for values in chart.samples for value in (*values, ends_of(values)[1])]
    most = max([*totals, *(chart.marks[1] if chart.marks else []), *beyond]) or 1.0
    row_height = 16.0 if len(chart.row_names) <= NAMED_ROWS else 9.0
    size = TEXT if row_height > 10 else 7.5
    left = 8 + max(width_of(shortened(text, 18), size) for text in chart.row_names)
    right = WIDTH - 14.0
    legend, top = bar_legend(chart)
    bottom = top + len(chart.row_names) * row_height

    def across(value: float) -> float:
        return left + value / most * (right - left)

    drawn = [*legend]
    for tick in ticks(0, most, 4):
        drawn.append(rule(across(tick), top - 2, across(tick), bottom))
        text = readable(tick)
        x = min(across(tick), WIDTH - width_of(text) / 2)
        drawn.append(label(x, bottom + 14, text, anchor="middle", soft=True))
    drawn.append(label((left + right) / 2, bottom + 30, chart.x_label, anchor="middle", soft=True))
    for row, text in enumerate(chart.row_names):
        y, before = top + row * row_height, 0.0
        middle = y + row_height / 2
        drawn.append(label(left - 5, middle + size * 0.35, shortened(text, 18), anchor="end", size=size))
        for index, (part, lengths) in enumerate(chart.parts):
            style = chart.row_styles[row] if chart.row_styles else chart.style + index
            if lengths[row] > 0:
                drawn.append(
                    element(
                        "rect",
                        element("title", f"{text}, {part}: {lengths[row]:,.0f}"),
                        x=across(before),
                        y=y + 0.12 * row_height,
                        width=across(lengths[row]) - left,
                        height=0.76 * row_height,
                        fill=colour(style),
                    )
                )
            before += lengths[row]
        if chart.marks:
            x = across(chart.marks[1][row])
            drawn.append(element("line", x1=x, y1=y, x2=x, y2=y + row_height, stroke="var(--fg)", stroke_width=2))
        if chart.samples:
            low, high = map(across, ends_of(chart.samples[row]))
            drawn.append(element("line", x1=low, y1=middle, x2=high, y2=middle, stroke="var(--fg)"))
            drawn += [
                element("circle", cx=across(value), cy=middle, r=2.5, fill="var(--bg)", stroke="var(--fg)")
                for value in chart.samples[row]
            ]
    named = zip(chart.row_names, totals, strict=True)
    description = f"{chart.x_label}. " + "; ".join(f"{text}: {total:,.0f}" for text, total in named) + "."
    return drawing(name, chart.title, description, bottom + 36, drawn)


def ends_of(values: Sequence[float]) -> tuple[float, float]:
    """The mean less and plus one standard deviation."""
    deviation = stdev(values) if len(values) > 1 else 0.0
    return fmean(values) - deviation, fmean(values) + deviation


def bar_legend(chart: Bars) -> tuple[list[Element], float]:
    """What the parts of bars are, below each other, and where the bars begin."""
    if len(chart.parts) == 1 and not chart.marks:
        return [], 6.0
    parts, y = [], 12.0
    for index, (text, _) in enumerate(chart.parts):
        parts += [
            element("rect", x=2, y=y - 9, width=10, height=10, fill=colour(chart.style + index)),
            label(18, y, text),
        ]
        y += 16
    if chart.marks:
        parts.append(element("line", x1=7, y1=y - 10, x2=7, y2=y + 2, stroke="var(--fg)", stroke_width=2))
        parts.append(label(18, y, chart.marks[0]))
        y += 16
    return parts, y


# Classes --------------------------------------------------------------------------------------------------------------

NUMBERED_CLASSES = 12
"""Confusion matrices of more classes have no numbers in their cells."""
NAMED_CLASSES = 26
"""Of more classes, no names either."""


@draw.register
def confusion_matrix(chart: ConfusionMatrix, name: str) -> Markup:
    """The diagonal in one colour, mistakes in another."""
    classes, strengths = len(chart.counts), chart.strengths()
    named = classes <= NAMED_CLASSES
    short = [shortened(text, 10) for text in chart.class_names]
    longest = max(width_of(text, 10) for text in short)
    left = 22 + (longest if named else 4)
    cell = (WIDTH - 4 - left) / classes
    upright = named and longest > cell - 2  # names of columns, where they would run into each other
    top = 20.0 + (longest if upright else 14 if named else 2)
    middle = top + classes * cell / 2
    parts = [
        label(left, 12, "taken for", soft=True),
        upright_label(11, middle, "class of the image", text_anchor="middle", fill="var(--soft)"),
        element("rect", x=left, y=top, width=classes * cell, height=classes * cell, fill="var(--panel)"),
    ]
    for i, row in enumerate(chart.counts):
        y = top + i * cell
        if named:
            x = left + (i + 0.5) * cell
            parts.append(label(left - 5, y + cell / 2 + 3.5, short[i], anchor="end", size=10.0))
            parts.append(
                upright_label(x + 3.5, top - 4, short[i], font_size=10)
                if upright
                else label(x, top - 5, short[i], anchor="middle", size=10.0)
            )
        for j, count in enumerate(row):
            if not count:
                continue
            note = f"{chart.class_names[i]}, taken for {chart.class_names[j]}: {count} of {sum(row)}"
            parts.append(
                element(
                    "rect",
                    element("title", note),
                    x=left + j * cell + 0.5,
                    y=y + 0.5,
                    width=max(cell - 1, 0.8 * cell),
                    height=max(cell - 1, 0.8 * cell),
                    fill=colour(0 if i == j else 1),
                    fill_opacity=strengths[i][j],
                )
            )
            if classes <= NUMBERED_CLASSES:
                parts.append(
                    element(
                        "text",
                        str(count),
                        x=left + (j + 0.5) * cell,
                        y=y + cell / 2 + 3.8,
                        text_anchor="middle",
                        pointer_events="none",
                        fill="var(--bg)" if strengths[i][j] > 0.62 else "var(--fg)",
                    )
                )
    total, hits = sum(map(sum, chart.counts)), sum(chart.counts[i][i] for i in range(classes))
    description = f"{hits} of {total} images on the diagonal, {total - hits} beside it."
    return drawing(name, chart.title, description, top + classes * cell + 4, parts)


def upright_label(x: float, y: float, content: str, **attributes: str | float) -> Element:
    """A line of text that goes upwards."""
    return element("text", content, transform=f"translate({x:.1f} {y:.1f}) rotate(-90)", **attributes)
