"""Charts as SVG: lines, maps, bars, confusion matrices.

Charts are drawn `WIDTH` units wide, which is the width of a phone, so that their text is readable there; wide screens
put them side by side. Colours are names, `var(--s1)`, that the page gives values for light and for dark; `standalone`
puts in the light ones for a file of its own.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from sresnet.report.markup import element, join

WIDTH = 360
COLOURS: dict[str, tuple[str, str]] = {
    "bg": ("#ffffff", "#12161c"),
    "panel": ("#f6f7f9", "#1a2029"),
    "fg": ("#15191f", "#e9edf2"),
    "soft": ("#55606e", "#a3afbd"),
    "line": ("#d5dae1", "#333d4a"),
    "s1": ("#0072b2", "#56b4e9"),
    "s2": ("#c4500a", "#f0904a"),
    "s3": ("#00795a", "#3cc79d"),
    "s4": ("#a34a80", "#e39cc6"),
    "s5": ("#7a6200", "#e2cf4c"),
    "s6": ("#4a4a4a", "#c6c6c6"),
}
"""name -> (on light, on dark). The series are Okabe and Ito's hues, which people who see colours differently tell
apart, made darker or lighter until each has a contrast of 4.5 to its background."""
SERIES = 6
MARKERS = ("circle", "square", "triangle", "diamond", "down", "bar")
TEXT = 11.0
CHARACTER = 0.62
"""Width of most characters in units of the font's size, as wide as the widest of the usual fonts has them."""
WIDE, NARROW = "mwMW@%", "fijlrtI.,:;|!'()[] "
"""Characters that are about half as wide again, and about two thirds as wide."""
VIRIDIS = ("#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725")
CIVIDIS = ("#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838")
"""Colour maps of matplotlib (van der Walt and Smith; Nunez, Anderton and Renslow 2018) at ten places."""
NAMED_ROWS = 26
"""Maps and bars with more rows than this name only some of them."""
TITLED_CELLS = 1200
"""Maps with more cells than this do not show the number of a cell where the mouse is."""


def series(index: int) -> str:
    """Colour of the line or bar number `index`."""
    return f"var(--s{index % SERIES + 1})"


def standalone(svg: str) -> str:
    """A chart as a file of its own: with its name space, and the colours for light."""
    with_colours = re.sub(r"var\(--(\w+)\)", lambda match: COLOURS[match[1]][0], svg)
    return with_colours.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) + "\n"


def drawing(name: str, title: str, description: str, height: float, *parts: Markup, width: float = WIDTH) -> Markup:
    """The <svg> around a chart; `name`, unique in the page, ties it to its title and description."""
    return element(
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


def label(x: float, y: float, content: str, *, anchor: str = "start", size: float = TEXT, soft: bool = False) -> Markup:
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


def shortened(content: str, most: int) -> str:
    """A text that has room."""
    return content if len(content) <= most else f"{content[: most - 1]}…"


def readable(value: float) -> str:
    """A number as an axis has room for: 1.2 M, 350 k, 12, 0.25."""
    for factor, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= factor:
            return f"{value / factor:.3g}{unit}"
    return f"{value:.3g}"


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


# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Line:
    """One curve of a chart."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    style: int | None = None
    """Number of its colour and marker, where charts beside each other show the same; by default its place."""


def line_chart(
    name: str,
    title: str,
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    width: float = WIDTH,
    height: float = 150,
    y_range: tuple[float, float] | None = None,
    logarithmic: bool = False,
) -> Markup:
    """Curves over a common axis.

    Args:
        name: unique in the page.
        title: what it is, for those who do not see it.
        lines: at least one, of at least one finite point.
        x_label, y_label: with units.
        width: of all of it.
        height: of the plot without its labels.
        y_range: from and to; by default what fits the lines.
        logarithmic: y in powers of ten; values that are not positive are left out.
    """
    curves = [(line, finite_points(line, logarithmic)) for line in lines]
    styles = [index if line.style is None else line.style for index, line in enumerate(lines)]
    xs = [x for _, points in curves for x, _ in points]
    ys = [y for _, points in curves for _, y in points]
    low, high = y_range or padded(min(ys), max(ys))
    left_x, right_x = (min(xs), max(xs)) if max(xs) > min(xs) else (min(xs) - 0.5, max(xs) + 0.5)
    y_ticks = ticks(low, high, 4, whole=logarithmic)
    y_names = [f"1e{tick:.0f}" if logarithmic else readable(tick) for tick in y_ticks]
    whole = all(float(x).is_integer() for x in xs)
    left = 8 + max(width_of(text) for text in y_names)
    legend, legend_height = legend_of([line.name for line in lines], styles, 4, 28, width)
    top, right = 22 + legend_height, width - 12.0

    def across(x: float) -> float:
        return left + (x - left_x) / (right_x - left_x) * (right - left)

    def down(y: float) -> float:
        return top + (high - y) / (high - low) * height

    parts = [label(0, 12, y_label, soft=True), legend]
    for tick, text in zip(y_ticks, y_names, strict=True):
        parts.append(rule(left, down(tick), right, down(tick)))
        parts.append(label(left - 5, down(tick) + 4, text, anchor="end", soft=True))
    for tick in ticks(left_x, right_x, 6, whole=whole):
        text = readable(tick)
        parts.append(rule(across(tick), top + height, across(tick), top + height + 4))
        parts.append(
            label(min(across(tick), width - width_of(text) / 2), top + height + 16, text, anchor="middle", soft=True)
        )
    parts.append(label((left + right) / 2, top + height + 32, x_label, anchor="middle", soft=True))
    for style, (line, points) in zip(styles, curves, strict=True):
        placed = [(across(x), down(y)) for x, y in points]
        parts.append(curve(style, placed))
        every = max(1, len(placed) // 10)
        parts += [marker(style, x, y) for x, y in placed[::every]]
        parts += [
            hover(
                x,
                y,
                f"{line.name + ', ' if line.name else ''}{x_label} {readable(value[0])}: {told(value[1], logarithmic)}",
            )
            for (x, y), value in zip(placed, points, strict=True)
        ]
    described = "; ".join(course(line, points, x_label, logarithmic) for line, points in curves if points)
    return drawing(name, title, f"{y_label} over {x_label}. {described}.", top + height + 38, *parts, width=width)


def told(value: float, logarithmic: bool) -> str:
    """A value of a chart in words."""
    return readable(10**value) if logarithmic else f"{value:.4g}"


def finite_points(line: Line, logarithmic: bool) -> list[tuple[float, float]]:
    """The points that can be drawn, y as its logarithm if asked for."""
    points = [(x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(x) and math.isfinite(y)]
    return [(x, math.log10(y)) for x, y in points if y > 0] if logarithmic else points


def padded(low: float, high: float) -> tuple[float, float]:
    """A range with some room at both ends."""
    room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room


def course(line: Line, points: Sequence[tuple[float, float]], x_label: str, logarithmic: bool) -> str:
    """How a line goes, for those who do not see it."""
    (first, start), (last, end) = points[0], points[-1]
    name = f"{line.name}: " if line.name else ""
    return (
        f"{name}{told(start, logarithmic)} at {x_label} {readable(first)}, {told(end, logarithmic)} at {readable(last)}"
    )


def rule(x1: float, y1: float, x2: float, y2: float) -> Markup:
    """A thin line of a grid or an axis."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke="var(--line)")


def curve(index: int, placed: Sequence[tuple[float, float]]) -> Markup:
    """The line through points."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    return element(
        "polyline", points=path, fill="none", stroke=series(index), stroke_width=1.8, stroke_linejoin="round"
    )


def marker(index: int, x: float, y: float) -> Markup:
    """What tells lines apart without their colour; colour and form together differ for 36 lines."""
    colour, kind = series(index), MARKERS[(index + index // SERIES) % len(MARKERS)]
    if kind == "circle":
        return element("circle", cx=x, cy=y, r=3.0, fill=colour)
    corners = {
        "square": ((-2.7, -2.7), (2.7, -2.7), (2.7, 2.7), (-2.7, 2.7)),
        "triangle": ((0, -3.8), (3.5, 2.6), (-3.5, 2.6)),
        "diamond": ((0, -3.8), (3.8, 0), (0, 3.8), (-3.8, 0)),
        "down": ((0, 3.8), (3.5, -2.6), (-3.5, -2.6)),
        "bar": ((-1.2, -4), (1.2, -4), (1.2, 4), (-1.2, 4)),
    }[kind]
    return element("polygon", points=" ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners), fill=colour)


def hover(x: float, y: float, content: str) -> Markup:
    """An area that shows a text where the mouse is."""
    return element("circle", element("title", content), cx=x, cy=y, r=7.0, fill_opacity=0)


def legend_of(
    names: Sequence[str], styles: Sequence[int], left: float, top: float, width: float
) -> tuple[Markup, float]:
    """Names with their markers, in as many rows as they need, and how high that is; nothing for one nameless line."""
    if not any(names):
        return Markup(""), 0.0
    parts, x, y = [], left, top
    for style, full in zip(styles, names, strict=True):
        text = shortened(full, int((width - left - 16) / (CHARACTER * TEXT)))
        needed = 16 + width_of(text) + 12
        if x > left and x + needed > width + 12:
            x, y = left, y + 16
        parts.append(join(marker(style, x + 4, y - 4), label(x + 13, y, text)))
        x += needed
    return join(*parts), y - top + 18


# ---------------------------------------------------------------------------------------------------------------------


def heat_map(
    name: str,
    title: str,
    rows: Sequence[Sequence[float | None]],
    row_names: Sequence[str],
    *,
    x_label: str,
    unit: str,
    colours: Sequence[str] = VIRIDIS,
    from_zero: bool = True,
    first_column: int = 1,
    last_column: int | None = None,
    breaks: Sequence[int] = (),
) -> Markup:
    """A number for every row and column as a colour.

    Args:
        name: unique in the page.
        title: what it is, for those who do not see it.
        rows: equally long; None: no number.
        row_names: one for each.
        x_label: what the columns are.
        unit: what the numbers are.
        colours: the map.
        from_zero: the map starts at 0, not at the smallest number.
        first_column: number of the first column.
        last_column: of the last; by default every number in between has its column, else they are evenly spread.
        breaks: rows with a line in front of them.
    """
    values = [value for row in rows for value in row if value is not None]
    high = max(values, default=1.0)
    low = 0.0 if from_zero else min(values, default=0.0)
    few = len(rows) <= NAMED_ROWS
    row_height = 15.0 if len(rows) <= 12 else 12.0 if few else max(4.0, min(8.0, 340 / len(rows)))
    size = TEXT if row_height >= 12 else 9.0
    names, every = (row_names, 1) if few else ([str(index) for index in range(len(rows))], 5)
    left = 8 + max(width_of(shortened(text, 18), size) for text in names)
    top, columns = 22.0, len(rows[0])
    cell_width = (WIDTH - 6 - left) / columns
    last_column = first_column + columns - 1 if last_column is None else last_column
    apart = (last_column - first_column) / max(1, columns - 1)
    parts = [label(0, 12, "layer", soft=True)]
    titled = len(rows) * columns <= TITLED_CELLS
    for number, row in enumerate(rows):
        y = top + number * row_height
        if number % every == 0:
            parts.append(
                label(left - 5, y + row_height / 2 + 3.5, shortened(names[number], 18), anchor="end", size=size)
            )
        for column, value in enumerate(row):
            if value is None:
                continue
            note = f"{row_names[number]}, {x_label} {round(first_column + column * apart)}: {value:.4g}"
            parts.append(
                element(
                    "rect",
                    *([element("title", note)] if titled else []),
                    x=left + column * cell_width,
                    y=y,
                    width=cell_width + 0.3,  # a little over the next, so that no gap shines through
                    height=row_height + 0.3,
                    shape_rendering="crispEdges",
                    fill=ramp(colours, (value - low) / (high - low) if high > low else 0.0),
                )
            )
    bottom = top + len(rows) * row_height
    for number in breaks:
        y = top + number * row_height
        parts.append(element("line", x1=left, y1=y, x2=WIDTH - 6, y2=y, stroke="var(--bg)", stroke_width=2))
    for tick in ticks(first_column, last_column, 8, whole=True):
        x = left + ((tick - first_column) / (apart or 1.0) + 0.5) * cell_width
        parts.append(label(x, bottom + 14, f"{tick:.0f}", anchor="middle", soft=True))
    parts.append(label((left + WIDTH) / 2, bottom + 29, x_label, anchor="middle", soft=True))
    parts.append(colour_bar(colours, low, high, unit, bottom + 40))
    description = f"{unit} by layer and {x_label}, {len(rows)} layers, from {min(values, default=0):.4g} to {high:.4g}."
    return drawing(name, title, description, bottom + 70, *parts)


def ramp(colours: Sequence[str], share: float) -> str:
    """The colour at `share` in [0, 1] of a map, linear between its places."""
    place = min(max(share, 0.0), 1.0) * (len(colours) - 1)
    index = min(int(place), len(colours) - 2)
    channels = [[int(colours[index + side][at : at + 2], 16) for at in (1, 3, 5)] for side in (0, 1)]
    mixed = [round(a + (b - a) * (place - index)) for a, b in zip(*channels, strict=True)]
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def colour_bar(colours: Sequence[str], low: float, high: float, unit: str, top: float) -> Markup:
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
    texts = [
        label(left - 5, top + 9, readable(low), anchor="end", soft=True),
        label(left + width + 6, top + 9, f"{readable(high)}  {unit}", soft=True),
    ]
    return join(*cells, *texts)


# ---------------------------------------------------------------------------------------------------------------------


def bars(
    name: str,
    title: str,
    row_names: Sequence[str],
    parts_of_bars: Sequence[tuple[str, Sequence[float]]],
    *,
    x_label: str,
    marks: tuple[str, Sequence[float]] | None = None,
    first_colour: int = 0,
) -> Markup:
    """Horizontal bars, a row each, made of one part or of several.

    Args:
        name: unique in the page.
        title: what it is, for those who do not see it.
        row_names: one for each bar.
        parts_of_bars: (what the part is, its length in each row).
        x_label: what is counted.
        marks: (what they are, a place on each row to mark).
        first_colour: number of the first part's colour.
    """
    totals = [sum(lengths) for lengths in zip(*(lengths for _, lengths in parts_of_bars), strict=True)]
    most = max([*totals, *(marks[1] if marks else [])]) or 1.0
    row_height = 16.0 if len(row_names) <= NAMED_ROWS else 9.0
    size = TEXT if row_height > 10 else 7.5
    left = 8 + max(width_of(shortened(text, 18), size) for text in row_names)
    right = WIDTH - 14.0
    several = len(parts_of_bars) > 1 or marks is not None
    legend, top = bar_legend([text for text, _ in parts_of_bars], marks[0] if marks else "", first_colour, several)
    bottom = top + len(row_names) * row_height
    drawn = [legend]
    for tick in ticks(0, most, 4):
        x = left + tick / most * (right - left)
        drawn.append(rule(x, top - 2, x, bottom))
        text = readable(tick)
        drawn.append(label(min(x, WIDTH - width_of(text) / 2), bottom + 14, text, anchor="middle", soft=True))
    drawn.append(label((left + right) / 2, bottom + 30, x_label, anchor="middle", soft=True))
    for row, text in enumerate(row_names):
        y, x = top + row * row_height, left
        drawn.append(label(left - 5, y + row_height / 2 + size * 0.35, shortened(text, 18), anchor="end", size=size))
        for index, (part, lengths) in enumerate(parts_of_bars):
            width = lengths[row] / most * (right - left)
            note = f"{text}, {part}: {lengths[row]:,.0f}"
            if width > 0:
                drawn.append(
                    element(
                        "rect",
                        element("title", note),
                        x=x,
                        y=y + 0.12 * row_height,
                        width=width,
                        height=0.76 * row_height,
                        fill=series(first_colour + index),
                    )
                )
            x += width
        if marks:
            x = left + marks[1][row] / most * (right - left)
            drawn.append(element("line", x1=x, y1=y, x2=x, y2=y + row_height, stroke="var(--fg)", stroke_width=2))
    description = f"{x_label}. " + "; ".join(f"{n}: {t:,.0f}" for n, t in zip(row_names, totals, strict=True)) + "."
    return drawing(name, title, description, bottom + 36, *drawn)


def bar_legend(names: Sequence[str], mark: str, first_colour: int, shown: bool) -> tuple[Markup, float]:
    """What the parts of bars are, below each other, and where the bars begin."""
    if not shown:
        return Markup(""), 6.0
    parts, y = [], 12.0
    for index, text in enumerate(names):
        parts.append(element("rect", x=2, y=y - 9, width=10, height=10, fill=series(first_colour + index)))
        parts.append(label(18, y, text))
        y += 16
    if mark:
        parts.append(element("line", x1=7, y1=y - 10, x2=7, y2=y + 2, stroke="var(--fg)", stroke_width=2))
        parts.append(label(18, y, mark))
        y += 16
    return join(*parts), y


# ---------------------------------------------------------------------------------------------------------------------

NUMBERED_CLASSES = 12
"""Confusion matrices of more classes have no numbers in their cells."""
NAMED_CLASSES = 26
"""Of more classes, no names either."""


def confusion_matrix(name: str, title: str, counts: Sequence[Sequence[int]], class_names: Sequence[str]) -> Markup:
    """Rows: the class of the image; columns: what it was taken for. The diagonal in one colour, mistakes in another.

    The stronger the colour, the larger the share of the row; mistakes are shown relative to the worst of them.
    """
    classes = len(counts)
    shares = [[count / (sum(row) or 1) for count in row] for row in counts]
    worst = max((share for i, row in enumerate(shares) for j, share in enumerate(row) if i != j), default=0.0) or 1.0
    named = classes <= NAMED_CLASSES
    short = [shortened(text, 10) for text in class_names]
    left = 22 + (max(width_of(text, 10) for text in short) if named else 4)
    cell = (WIDTH - 4 - left) / classes
    # Names of columns stand upright where they would run into each other.
    upright = named and max(width_of(text, 10) for text in short) > cell - 2
    top = 20.0 + (max(width_of(text, 10) for text in short) if upright else 14 if named else 2)
    parts = [label(left, 12, "taken for", soft=True)]
    middle = top + classes * cell / 2
    parts.append(
        element(
            "text",
            "class of the image",
            transform=f"translate(11 {middle:.1f}) rotate(-90)",
            text_anchor="middle",
            fill="var(--soft)",
        )
    )
    parts.append(element("rect", x=left, y=top, width=classes * cell, height=classes * cell, fill="var(--panel)"))
    for i, row in enumerate(counts):
        y = top + i * cell
        if named:
            parts.append(label(left - 5, y + cell / 2 + 3.5, short[i], anchor="end", size=10.0))
            x = left + (i + 0.5) * cell
            if upright:
                parts.append(
                    element(
                        "text", short[i], transform=f"translate({x + 3.5:.1f} {top - 4:.1f}) rotate(-90)", font_size=10
                    )
                )
            else:
                parts.append(label(x, top - 5, short[i], anchor="middle", size=10.0))
        for j, count in enumerate(row):
            if not count:
                continue
            strength = shares[i][j] if i == j else 0.25 + 0.75 * shares[i][j] / worst
            note = f"{class_names[i]}, taken for {class_names[j]}: {count} of {sum(row)}"
            parts.append(
                element(
                    "rect",
                    element("title", note),
                    x=left + j * cell + 0.5,
                    y=y + 0.5,
                    width=max(cell - 1, 0.8 * cell),
                    height=max(cell - 1, 0.8 * cell),
                    fill="var(--s1)" if i == j else "var(--s2)",
                    fill_opacity=strength,
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
                        fill="var(--bg)" if strength > 0.62 else "var(--fg)",
                    )
                )
    total, hits = sum(map(sum, counts)), sum(counts[i][i] for i in range(classes))
    description = f"{hits} of {total} images on the diagonal, {total - hits} beside it."
    return drawing(name, title, description, top + classes * cell + 4, *parts)


def probabilities(name: str, title: str, lines: Sequence[Line]) -> Markup:
    """A small chart of class probabilities, in percent, over time steps."""
    return line_chart(
        name,
        title,
        lines,
        x_label="time step",
        y_label="probability so far, %",
        width=232,
        height=80,
        y_range=(-4.0, 104.0),
    )
