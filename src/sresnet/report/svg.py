"""Charts as SVG.

Charts are drawn `WIDTH` units wide, the width of a phone, so that their text is readable there; wide screens put them
side by side. Colours are names, `var(--s1)`, to which the page gives values for light and for dark; `standalone` puts
in the light ones for a file of its own.
"""

import functools
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from xml.etree.ElementTree import Element

from markupsafe import Markup

from sresnet.printing import printable_lines
from sresnet.report.charts import (
    STRONG,
    Bars,
    Chart,
    ConfusionMatrix,
    HeatMap,
    Line,
    LineChart,
    deviation_of,
    readable,
    shortened,
)
from sresnet.report.palette import COLOURS, MAPS, colour_of, dash_of, marker_of, rgb
from sresnet.report.ticks import scale_of, scales_of

WIDTH, SMALL = 360, 232
TEXT = 11.0
CHARACTER = 0.62
"""Width of most characters in units of the font's size, as wide as in the widest of the usual fonts."""
WIDE, NARROW = "mwMW@%", "fijlrtI.,:;|!'()[] "
"""Characters about half as wide again, and about two thirds as wide."""
GAP = 5.0
"""Least room between labels below an axis."""
NAME = 26
"""Most characters of the name of a row."""
NAMED_ROWS = 26
"""Maps with more rows than this, and confusion matrices of more classes, name only some of them."""
NUMBERED_CLASSES = 12
"""Confusion matrices of more classes have no numbers in their cells."""
TITLED_CELLS, TITLED_POINTS = 1200, 300
"""Maps and curves of more cells or points than this have their numbers by rows or lines, which the script of a page
shows; those of fewer have titles, which browsers show by themselves."""

Place = tuple[float, float]
"""x and y."""


@functools.singledispatch
def draw(chart: Chart, name: str) -> Markup:
    """A chart as an <svg>; `name`, unique in the page, ties it to its title and description."""
    raise TypeError(f"{type(chart).__name__} is not a chart")


def standalone(svg: str) -> str:
    """A chart as a file of its own: with its name space, and the colours for light."""
    with_colours = re.sub(r"var\(--(\w+)\)", lambda match: COLOURS[match[1]][0], svg)
    return with_colours.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) + "\n"


# Elements -------------------------------------------------------------------------------------------------------------


def _element(tag: str, /, *children: Element | str, **attributes: str | float | None) -> Element:
    """`<tag attributes>children</tag>`; invisible characters in its text are written as Python would.

    Args:
        tag: of the element.
        children: its text, and elements behind it.
        attributes: by name, `_` for `-`; None: left out. Coordinates have at most two decimals.
    """
    found = Element(tag)
    for key, value in attributes.items():
        if value is not None:
            text = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else printable_lines(str(value))
            found.set(key.replace("_", "-"), text)
    for child in children:
        if isinstance(child, str):
            found.text = (found.text or "") + printable_lines(child)
        else:
            found.append(child)
    return found


def _markup(root: Element) -> Markup:
    """An element as text."""
    return Markup(ET.tostring(root, encoding="unicode"))


def _drawing(
    name: str, title: str, description: str, height: float, parts: Iterable[Element], width: float = WIDTH
) -> Markup:
    """The <svg> around a chart."""
    root = _element(
        "svg",
        _element("title", title, id=f"{name}-title"),
        _element("desc", description, id=f"{name}-desc"),
        *parts,
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
        font_family="system-ui, sans-serif",
        font_size=TEXT,
        fill="var(--fg)",
    )
    return _markup(root)


def _label(
    x: float, y: float, text: str, anchor: str | None = None, *, size: float = TEXT, soft: bool = False
) -> Element:
    """A line of text that begins at x, or is anchored there by its "middle" or "end"."""
    look = {"font_size": None if size == TEXT else size, "fill": "var(--soft)" if soft else None}
    return _element("text", text, x=x, y=y, text_anchor=anchor, **look)


def _upright_label(x: float, y: float, text: str, **attributes: str | float) -> Element:
    """A line of text that runs upwards."""
    return _element("text", text, transform=f"translate({x:.1f} {y:.1f}) rotate(-90)", **attributes)


def _line(one: Place, other: Place, stroke: str = "var(--line)", width: float | None = None) -> Element:
    """A straight line, by default one of a grid or an axis."""
    return _element("line", x1=one[0], y1=one[1], x2=other[0], y2=other[1], stroke=stroke, stroke_width=width)


def _rect(
    x: float, y: float, width: float, height: float, fill: str, hint: str = "", **attributes: str | float
) -> Element:
    """A filled rectangle; `hint` is shown where the mouse is on it."""
    hints = [_element("title", hint)] if hint else []
    return _element("rect", *hints, x=x, y=y, width=width, height=height, **attributes, fill=fill)


def _path(places: Iterable[Place]) -> str:
    """Points in SVG's notation."""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _colour(style: int) -> str:
    """The colour of a line or bar, by its name in the page."""
    return f"var(--{colour_of(style)})"


def _width_of(text: str, size: float = TEXT) -> float:
    """About how wide a text is; too wide rather than too narrow."""
    units = sum(1.5 if each in WIDE else 0.65 if each in NARROW else 1.0 for each in text)
    return units * CHARACTER * size


def _apart(labels: Sequence[tuple[float, str]], width: float) -> list[tuple[float, str]]:
    """The labels below an axis that do not run into each other, (x, text); the first and last stay.

    Args:
        labels: from left to right, centred at x where the drawing of this width has room.
        width: of the drawing.
    """

    def box(label: tuple[float, str]) -> tuple[float, float]:
        room = _width_of(label[1]) / 2
        middle = min(max(label[0], room), width - room)
        return middle - room, middle + room

    if len(labels) < 3:
        return list(labels)
    first, *inner, last = labels
    found = [first]
    for each in inner:
        left, right = box(each)
        if left >= box(found[-1])[1] + GAP and right + GAP <= box(last)[0]:
            found.append(each)
    return [*found, last]


def _below_axis(labels: Sequence[tuple[float, str]], y: float, width: float) -> list[Element]:
    """Labels below an axis, as `_apart` leaves them."""
    parts = []
    for x, text in _apart(labels, width):
        room = _width_of(text) / 2
        parts.append(_label(min(max(x, room), width - room), y, text, "middle", soft=True))
    return parts


# Lines ----------------------------------------------------------------------------------------------------------------


@draw.register
def _line_chart(chart: LineChart, name: str) -> Markup:
    """Curves over a common axis."""
    width, height = (SMALL, 80) if chart.small else (WIDTH, 150)
    curves = [_points_of(each, chart) for each in chart.lines]
    x_scale, y_scale = scales_of(chart)
    low, high = chart.y.place(y_scale.low), chart.y.place(y_scale.high)
    left_x, right_x = chart.x.place(x_scale.low), chart.x.place(x_scale.high)
    if any(each.form in ("dots", "points") for each in chart.lines):  # markers do not touch the edge
        left_x, right_x = left_x - 0.04 * (right_x - left_x), right_x + 0.04 * (right_x - left_x)
    left = 8 + max(map(_width_of, y_scale.texts))
    legend, legend_height = _legend_of(chart, width)
    top, right = 22 + legend_height, width - 12.0
    bottom = top + height

    def place(x: float, y: float) -> Place:
        across = left + (x - left_x) / (right_x - left_x) * (right - left)
        return across, top + (high - y) / (high - low) * height

    parts = [_label(0, 12, chart.y.label, soft=True), *legend]
    for tick, text in zip(y_scale.ticks, y_scale.texts, strict=True):
        _, y = place(left_x, chart.y.place(tick))
        parts += [_line((left, y), (right, y)), _label(left - 5, y + 4, text, "end", soft=True)]
    ticks = zip(x_scale.ticks, x_scale.texts, strict=True)
    labels = _apart([(place(chart.x.place(tick), low)[0], text) for tick, text in ticks], width)
    parts += [_line((x, bottom), (x, bottom + 4)) for x, _ in labels]
    parts += _below_axis(labels, bottom + 16, width)
    parts.append(_label((left + right) / 2, bottom + 32, chart.x.label, "middle", soft=True))
    courses, titled = [], sum(map(len, curves)) <= TITLED_POINTS
    for (style, each), points in zip(chart.styled, curves, strict=True):
        parts += _drawn_line(each, points, style, place)
        before = f"{each.name}, " if each.name else ""
        for point in points if titled or not each.joined else ():
            x, y = place(*point.at)
            told = f"{before}{chart.x.label} {point.name}: {point.value}"
            parts.append(_element("circle", _element("title", told), cx=x, cy=y, r=7.0, fill_opacity=0))
        if not titled and each.joined:
            curve = next(part for part in reversed(parts) if part.tag == "polyline")
            said = {"xs": [point.name for point in points], "ys": [point.value for point in points]}
            curve.attrib |= _data(before, chart.x.label, **said)
        if points:
            first, last = points[0], points[-1]
            course = f"{first.value} at {chart.x.label} {first.name}, {last.value} at {last.name}"
            courses.append(f"{each.name + ': ' if each.name else ''}{course}")
    if chart.note:
        text, x, y = chart.note
        x, y = place(chart.x.place(x), chart.y.place(y))
        parts.append(_label(x - 6, y - 8, text, "end", soft=True))
    description = f"{chart.y.label} over {chart.x.label}. {'; '.join(courses)}."
    return _drawing(name, chart.title, description, bottom + 38, parts, width)


def _data(before: str, x_label: str, **lists: Sequence[str]) -> dict[str, str]:
    """Attributes from which the script of a page says what is pointed at: names, and words for each point or cell."""
    found = {"data-name": printable_lines(before), "data-x": printable_lines(x_label)}
    plain = {key: [printable_lines(word).replace("|", "/") for word in words] for key, words in lists.items()}
    return found | {f"data-{key}": "|".join(words) for key, words in plain.items()}


@dataclass(frozen=True, kw_only=True)
class _Point:
    """A point that can be drawn; logarithms where the axis is logarithmic."""

    at: Place
    reach: tuple[Place, ...]
    """The point and, where the standard deviation is known, one to the left, right, below and above."""
    name: str
    """Of its place on the x axis."""
    value: str


def _points_of(line: Line, chart: LineChart) -> list[_Point]:
    """The points of a line that are finite and, on logarithmic axes, positive."""
    found = []
    for index, (x, y) in enumerate(zip(line.x, line.y, strict=True)):
        dx, dy = (each[index] if each else 0.0 for each in (line.x_deviation, line.y_deviation))
        ends = ((x, y), (x - dx, y), (x + dx, y), (x, y - dy), (x, y + dy))
        at, *others = [(chart.x.place(a), chart.y.place(b)) for a, b in (ends if dx or dy else ends[:1])]
        if math.isfinite(sum(at)):
            reach = (at, *(each if math.isfinite(sum(each)) else at for each in others))
            names = chart.x.told or chart.x.names
            name = names[round(x)] if names else readable(x)
            value = readable(y) if chart.y.logarithmic else f"{y:.4g}"
            found.append(_Point(at=at, reach=reach, name=name, value=value))
    return found


def _drawn_line(
    each: Line, points: Sequence[_Point], style: int, place: Callable[[float, float], Place]
) -> list[Element]:
    """A line with its markers, and its standard deviation where known."""
    placed = [place(*point.at) for point in points]
    sides = [[place(*end) for end in point.reach] for point in points]
    parts = []
    if each.y_deviation and each.joined:
        edge = [side[4] for side in sides if len(side) > 1] + [side[3] for side in reversed(sides) if len(side) > 1]
        parts.append(_element("polygon", points=_path(edge), fill=_colour(style), fill_opacity=0.2))
    if not each.joined:
        for side in sides:
            parts += [_line(*ends, _colour(style)) for ends in zip(side[1::2], side[2::2], strict=True)]
    if each.form != "points":
        look: dict[str, str | float | None] = {
            "stroke_width": 1.8 if each.joined else 1.0,
            "stroke_linejoin": "round",
            "stroke_dasharray": _dashes(each.form, style),
        }
        parts.append(_element("polyline", points=_path(placed), fill="none", stroke=_colour(style), **look))
    every = max(1, len(placed) // 10) if each.joined else 1
    return [*parts, *(_marker(each, style, x, y) for x, y in placed[::every])]


def _dashes(form: str, style: int) -> str | None:
    """The dashes and gaps of a line; None for none."""
    own = {"dashes": "6 4", "dots": "1.5 3"}.get(form)
    return own or " ".join(f"{each:g}" for each in dash_of(style)) or None


def swatch(style: int) -> Markup:
    """A piece of a line with its marker, for text that explains lines."""
    look: dict[str, str | float | None] = {"stroke": _colour(style), "stroke_width": 1.8}
    line = _element("line", x1=0.0, y1=6.0, x2=30.0, y2=6.0, stroke_dasharray=_dashes("line", style), **look)
    mark = _marker(Line(name="", x=(), y=()), style, 15, 6)
    return _markup(_element("svg", line, mark, viewBox="0 0 30 12", width=30, height=12, aria_hidden="true"))


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


def _marker(each: Line, style: int, x: float, y: float) -> Element:
    """A marker: it tells lines apart without their colours."""
    paint = "var(--fg)" if each.own else _colour(style)
    look: dict[str, str | float | None] = {"fill": paint}
    if each.hollow or each.own or each.form == "dashes":
        inside = "var(--bg)" if each.hollow or each.form == "dashes" else paint
        look = {"fill": inside, "stroke": paint, "stroke_width": 2.5 if each.own else 1.4}
    kind = marker_of(style)
    if kind == "circle":
        return _element("circle", cx=x, cy=y, r=3.0, **look)
    return _element("polygon", points=_path((x + dx, y + dy) for dx, dy in CORNERS[kind]), **look)


def _legend_of(chart: LineChart, width: float) -> tuple[list[Element], float]:
    """Names with their markers, in as many rows as they need, and how high that is; nothing for nameless lines."""
    left, top = 4.0, 28.0
    parts: list[Element] = []
    x, y = left, top
    for style, each in chart.styled if chart.legend else ():
        if not each.name:
            continue
        text = shortened(each.name, int((width - left - 16) / (CHARACTER * TEXT)))
        needed = 16 + _width_of(text) + 12
        if x > left and x + needed > width + 12:
            x, y = left, y + 16
        parts += [_marker(each, style, x + 4, y - 4), _label(x + 13, y, text)]
        x += needed
    return parts, y - top + 18 if parts else 0.0


# Maps -----------------------------------------------------------------------------------------------------------------


@draw.register
def _heat_map(chart: HeatMap, name: str) -> Markup:
    """A colour for every number, rows down."""
    rows, (low, high) = chart.rows, chart.limits
    few = len(rows) <= NAMED_ROWS
    row_height = 15.0 if len(rows) <= 12 else 12.0 if few else max(4.0, min(8.0, 340 / len(rows)))
    size = TEXT if row_height >= 12 else 9.0
    names, every = chart.row_names, 1 if few else math.ceil((size + 1.5) / row_height)
    left = 8 + max(_width_of(shortened(text, NAME), size) for text in names)
    top, columns = 22.0, len(rows[0])
    titled = len(rows) * columns <= TITLED_CELLS
    cell_width = (WIDTH - 6 - left) / columns
    bottom = top + len(rows) * row_height
    parts = [_label(0, 12, chart.y_label, soft=True)]
    for number, row in enumerate(rows):
        y = top + number * row_height
        if number == len(rows) - 1 or (number % every == 0 and number < len(rows) - every):
            text = shortened(names[number], NAME)
            parts.append(_label(left - 5, y + row_height / 2 + 3.5, text, "end", size=size))
        cells: list[Element] = []
        for column, value in enumerate(row):
            if value is None:
                continue
            place = round(chart.first_column + column * chart.spacing)
            hint = f"{chart.row_names[number]}, {chart.x_label} {place}: {value:.4g}"
            fill = _ramp(MAPS[chart.colours], (value - low) / (high - low) if high > low else 0.0)
            across = left + column * cell_width
            size_of_cell = cell_width + 0.3, row_height + 0.3  # a little over the next: no gap shines through
            cells.append(_rect(across, y, *size_of_cell, fill, hint if titled else "", shape_rendering="crispEdges"))
        if titled:
            parts += cells
        else:
            there = [(column, value) for column, value in enumerate(row) if value is not None]
            group = _element("g", *cells)
            group.attrib |= _data(
                f"{chart.row_names[number]}, ",
                chart.x_label,
                columns=[f"{chart.first_column + column * chart.spacing:.0f}" for column, _ in there],
                values=[f"{value:.4g}" for _, value in there],
            )
            parts.append(group)
    for number in chart.breaks:
        y = top + number * row_height
        parts.append(_line((left, y), (WIDTH - 6, y), "var(--bg)", 2))
    scale = scale_of((chart.first_column, chart.last), max(2, int((WIDTH - 6 - left) / 40)), whole=True)
    places = [left + ((tick - chart.first_column) / (chart.spacing or 1.0) + 0.5) * cell_width for tick in scale.ticks]
    parts += _below_axis(list(zip(places, scale.texts, strict=True)), bottom + 14, WIDTH)
    parts.append(_label((left + WIDTH) / 2, bottom + 29, chart.x_label, "middle", soft=True))
    parts += _colour_bar(MAPS[chart.colours], low, high, chart.unit, bottom + 40)
    least = min((value for row in rows for value in row if value is not None), default=0.0)
    by = f"{chart.y_label} and {chart.x_label}"
    description = f"{chart.unit} by {by}, {len(rows)} {chart.y_label}s, from {least:.4g} to {high:.4g}."
    return _drawing(name, chart.title, description, bottom + 70, parts)


def _ramp(colours: Sequence[str], share: float) -> str:
    """The colour at `share` in [0, 1] of a map, linear between its places."""
    place = min(max(share, 0.0), 1.0) * (len(colours) - 1)
    index = min(int(place), len(colours) - 2)
    before, after = rgb(colours[index]), rgb(colours[index + 1])
    mixed = [round(a + (b - a) * (place - index)) for a, b in zip(before, after, strict=True)]
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def _colour_bar(colours: Sequence[str], low: float, high: float, unit: str, top: float) -> list[Element]:
    """The scale of a map's colours."""
    left, width, count = 8 + _width_of(readable(low)), 130.0, 26
    step = width / count
    return [
        *(_rect(left + at * step, top, step + 0.3, 10, _ramp(colours, at / (count - 1))) for at in range(count)),
        _label(left - 5, top + 9, readable(low), "end", soft=True),
        _label(left + width + 6, top + 9, f"{readable(high)}  {unit}", soft=True),
    ]


# Bars -----------------------------------------------------------------------------------------------------------------


@draw.register
def _bars(chart: Bars, name: str) -> Markup:
    """Horizontal bars, a row each."""
    totals = [sum(lengths) for lengths in zip(*(lengths for _, lengths in chart.parts), strict=True)]
    marked = chart.marks[1] if chart.marks else ()
    spreads = [(fmean(values), deviation_of(values)) for values in chart.samples]
    sampled = [value for values in chart.samples for value in values]
    most = max([*totals, *marked, *sampled, *(mean + deviation for mean, deviation in spreads)])
    row_height = 16.0 if len(chart.row_names) <= NAMED_ROWS else 9.0
    size = TEXT if row_height > 10 else 7.5
    names = [shortened(text, NAME) for text in chart.row_names]
    left, right = 8 + max(_width_of(text, size) for text in names), WIDTH - 14.0
    scale = scale_of((0.0, most or 1.0), max(2, int((right - left) / 60)))
    parts, top = _bar_legend(chart)
    bottom = top + len(names) * row_height

    def across(value: float) -> float:
        return left + value / scale.high * (right - left)

    labels = _apart(list(zip(map(across, scale.ticks), scale.texts, strict=True)), WIDTH)
    parts += [_line((x, top - 2), (x, bottom)) for x, _ in labels]
    parts += _below_axis(labels, bottom + 14, WIDTH)
    parts.append(_label((left + right) / 2, bottom + 30, chart.x_label, "middle", soft=True))
    for row, text in enumerate(names):
        y, before = top + row * row_height, 0.0
        middle = y + row_height / 2
        parts.append(_label(left - 5, middle + size * 0.35, text, "end", size=size))
        for index, (part, lengths) in enumerate(chart.parts):
            fill = _colour(chart.row_styles[row] if chart.row_styles else chart.style + index)
            if lengths[row] > 0:
                place = across(before), y + 0.12 * row_height, across(lengths[row]) - left, 0.76 * row_height
                parts.append(_rect(*place, fill, f"{chart.row_names[row]}, {part}: {_counted(lengths[row])}"))
            before += lengths[row]
        if chart.marks:
            x = across(marked[row])
            parts.append(_line((x, y), (x, y + row_height), "var(--fg)", 2))
        if chart.samples:
            mean, deviation = spreads[row]
            parts.append(_line((across(mean - deviation), middle), (across(mean + deviation), middle), "var(--fg)"))
            look: dict[str, str | float] = {"r": 2.5, "fill": "var(--bg)", "stroke": "var(--fg)"}
            parts += [_element("circle", cx=across(value), cy=middle, **look) for value in chart.samples[row]]
    named = zip(chart.row_names, totals, strict=True)
    description = f"{chart.x_label}. " + "; ".join(f"{text}: {_counted(total)}" for text, total in named) + "."
    return _drawing(name, chart.title, description, bottom + 36, parts)


def _counted(value: float) -> str:
    """The length of a bar: large ones as counts, small ones, such as energies, with their digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.4g}"


def _bar_legend(chart: Bars) -> tuple[list[Element], float]:
    """The legend of the parts of bars, and the y at which the bars begin."""
    if len(chart.parts) == 1 and not chart.marks:
        return [], 6.0
    parts, y = [], 12.0
    for index, (text, _) in enumerate(chart.parts):
        parts += [_rect(2, y - 9, 10, 10, _colour(chart.style + index)), _label(18, y, text)]
        y += 16
    if chart.marks:
        parts += [_line((7, y - 10), (7, y + 2), "var(--fg)", 2), _label(18, y, chart.marks[0])]
        y += 16
    return parts, y


# Classes --------------------------------------------------------------------------------------------------------------


@draw.register
def _confusion_matrix(chart: ConfusionMatrix, name: str) -> Markup:
    """The diagonal in one colour, mistakes in another."""
    classes, strengths = len(chart.counts), chart.strengths()
    short = [shortened(text, 10) for text in chart.class_names]
    longest = max(_width_of(text, 10) for text in short)
    left = 22 + longest
    cell = (WIDTH - 4 - left) / classes
    side = max(cell - 1, 0.8 * cell)
    upright = longest > cell - 2  # names of columns, where they would run into each other
    top = 20.0 + (longest if upright else 14)
    every = 1 if classes <= NAMED_ROWS else math.ceil(11 / cell)
    named = {*range(0, classes - every, every), classes - 1}
    middle = top + classes * cell / 2
    parts = [
        _label(left, 12, chart.x_label, soft=True),
        _upright_label(11, middle, chart.y_label, text_anchor="middle", fill="var(--soft)"),
        _rect(left, top, classes * cell, classes * cell, "var(--panel)"),
    ]
    for i, row in enumerate(chart.counts):
        x, y = left + i * cell, top + i * cell
        if i in named:
            parts.append(_label(left - 5, y + cell / 2 + 3.5, short[i], "end", size=10.0))
            above = x + cell / 2, top - 5
            upwards = _upright_label(x + cell / 2 + 3.5, top - 4, short[i], font_size=10)
            parts.append(upwards if upright else _label(*above, short[i], "middle", size=10.0))
        for j, count in enumerate(row):
            if not count:
                continue
            x = left + j * cell
            hint = f"{chart.class_names[i]}, {chart.x_label} {chart.class_names[j]}: {count} of {sum(row)}"
            fill, strength = _colour(0 if i == j else 1), strengths[i][j]
            parts.append(_rect(x + 0.5, y + 0.5, side, side, fill, hint, fill_opacity=strength))
            if classes <= NUMBERED_CLASSES:
                look = {"pointer_events": "none", "fill": "var(--bg)" if strength > STRONG else "var(--fg)"}
                place = {"x": x + cell / 2, "y": y + cell / 2 + 3.8}
                parts.append(_element("text", str(count), **place, text_anchor="middle", **look))
    total, hits = sum(map(sum, chart.counts)), sum(chart.counts[i][i] for i in range(classes))
    description = f"{hits} of {total} classified correctly, on the diagonal; {total - hits} not, off it."
    return _drawing(name, chart.title, description, top + classes * cell + 4, parts)
