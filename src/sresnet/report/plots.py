"""Charts as PNG and SVG for papers and slides, by matplotlib.

It is imported here alone, when something is drawn: the extra `report`. Figures are made without pyplot, so nothing is
kept between calls and no display is needed.
"""

import contextlib
import functools
import importlib.util
import io
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from sresnet.errors import UserError
from sresnet.files import write_whole
from sresnet.printing import escaped, printable, unwarned
from sresnet.report.charts import (
    STRONG,
    Axis,
    Bars,
    Chart,
    ConfusionMatrix,
    HeatMap,
    Line,
    LineChart,
    Photo,
    Picture,
    deviation_of,
    shortened,
)
from sresnet.report.palette import COLOURS, colour_of, dash_of, marker_of
from sresnet.report.ticks import Scale, scale_of, scales_of, within

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")
R = TypeVar("R")

ENDINGS = (".png", ".svg")
"""Kinds of files that figures are written as."""
MARKS = (b"Software\0sresnet", b"<dc:title>sresnet</dc:title>")
"""What files of these kinds have near their beginning where we wrote them."""
MARKERS = {"circle": "o", "square": "s", "triangle": "^", "diamond": "D", "down": "v", "plus": "P"}
"""What matplotlib calls them."""
NAMED_LAYERS = 24
"""Up to this many layers are labelled by name; more get numbers, from 0 as in the paper's Fig. 3."""
_NAMES_ROOM = 75
"""Characters that stand beside each other below an axis of names."""
FONTS = (
    *("DejaVu Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Hiragino Sans", "Yu Gothic", "Microsoft YaHei"),
    *("Malgun Gothic", "PingFang SC", "Apple SD Gothic Neo", "WenQuanYi Zen Hei", "Noto Sans Devanagari"),
    *("Nirmala UI", "Arial Unicode MS"),
)
"""Searched for a character one after the other, as far as installed; matplotlib comes with the first."""
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "figure.facecolor": "white",
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # a $ in the name of a class or file is a dollar
    "svg.hashsalt": "sresnet",  # the same numbers make the same file
}


def available() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


_drawing = threading.RLock()


def _styled(draw: Callable[P, R]) -> Callable[P, R]:
    """`draw` with our style, which is undone afterwards; UserError where matplotlib is not installed."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        if not available():
            raise UserError("figures need matplotlib, which is not installed: pip install 'sresnet[report]'")
        _import_matplotlib()
        from matplotlib import rc_context

        # matplotlib's style is the process's: one thread at a time puts it back as it was.
        with _drawing, rc_context(STYLE | {"font.family": _installed_fonts()}):
            return draw(*args, **kwargs)

    return drawn


def _import_matplotlib() -> None:
    """Import it, whatever MPLBACKEND says: a notebook leaves names there that only it knows, and we need no backend."""
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib  # noqa: F401
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend


def _installed_fonts() -> list[str]:
    """Those of `FONTS` that matplotlib finds here."""
    from matplotlib.font_manager import fontManager

    known = {font.name for font in fontManager.ttflist}
    return [name for name in FONTS if name in known]


def save(figure: "Figure", path: Path) -> list[Path]:
    """Write a figure as PNG and SVG beside each other: `path` without ending; returns both paths.

    Raises:
        UserError: the disk is full or refuses.
    """
    paths = [path.with_name(f"{path.name}{ending}") for ending in ENDINGS]
    for each in paths:
        save_as(figure, each)
    return paths


def save_as(figure: "Figure", path: Path) -> None:
    """Write a figure to `path`, which ends in one of `ENDINGS`; errors as `save`."""
    write_whole(path, written(figure, path.suffix.lower()))


@_styled
def written(figure: "Figure", ending: str) -> bytes:
    """A figure as the content of a file, of one of `ENDINGS`.

    Names in it are other people's text: invisible characters are escaped (`printing.printable`), and in a picture of
    pixels those that no font here has. In SVG text is text, and the reader's fonts show it.
    """
    content = io.BytesIO()
    with _drawable(figure, every_character=ending == ".svg"):
        about: Any = {"Title": "sresnet", "Date": None} if ending == ".svg" else {"Software": "sresnet"}
        figure.savefig(content, format=ending[1:], dpi=200, metadata=about)
    return content.getvalue()


@contextlib.contextmanager
def _drawable(figure: "Figure", *, every_character: bool) -> Iterator[None]:
    """The texts of a figure as they can be drawn, for as long as the context lasts."""
    from matplotlib.font_manager import FontProperties, findfont, get_font
    from matplotlib.text import Text

    fonts = [get_font(findfont(FontProperties(family=[name]))) for name in _installed_fonts()]

    def shown(line: str) -> str:
        line = printable(line)
        if every_character or line.isascii():
            return line
        found = [any(font.get_char_index(ord(char)) for font in fonts) for char in line]
        if all(found):
            return line
        return shortened("".join(char if known else escaped(char) for char, known in zip(line, found, strict=True)), 40)

    texts = [(text, text.get_text()) for text in figure.findobj(Text)]
    try:
        for text, before in texts:
            text.set_text("\n".join(map(shown, before.split("\n"))))
        with unwarned(UserWarning, "Glyph .* missing from font"):  # measured, not drawn
            yield
    finally:
        for text, before in texts:
            text.set_text(before)


# Drawing --------------------------------------------------------------------------------------------------------------


@_styled
def draw(shown: Picture | Chart) -> "Figure":
    """A picture, or one chart, as a figure of matplotlib; charts have titles where there are several."""
    from matplotlib.figure import Figure

    picture = shown if isinstance(shown, Picture) else Picture(panels=((shown,),))
    rows, columns = len(picture.panels), len(picture.panels[0])
    sizes = [[_size_of(chart) for chart in row] for row in picture.panels]
    widths = [max(row[column][0] for row in sizes if column < len(row)) for column in range(columns)]
    heights = [max(height for _, height in row) for row in sizes]
    if rows * columns == 1:
        widths = [6.0]
    figure = Figure(figsize=(sum(widths), sum(heights)), layout="constrained")
    shared: Any = {"sharex": picture.same_x, "sharey": picture.same_y}
    axes = figure.subplots(rows, columns, squeeze=False, **shared, width_ratios=widths, height_ratios=heights)
    pairs = [list(zip(row, charts, strict=False)) for row, charts in zip(axes, picture.panels, strict=True)]
    for row, charts in zip(axes, pairs, strict=True):
        for axis in row[len(charts) :]:
            axis.set_axis_off()
        for axis, chart in charts:
            _fill(chart, axis)
            if rows * columns > 1:
                axis.set_title(chart.title)
        maps = [(axis, chart) for axis, chart in charts if isinstance(chart, HeatMap)]
        if maps:  # one colour bar for all maps of a row
            bar = figure.colorbar(maps[-1][0].images[0], ax=[axis for axis, _ in maps], label=maps[-1][1].unit)
            colours = within(*maps[-1][1].limits)
            bar.set_ticks(list(colours.ticks), labels=list(colours.texts))
    if picture.same_x or picture.same_y:
        _share_axes([pair for row in pairs for pair in row], picture)
    _add_legends(figure, [pair for row in pairs for pair in row])
    return figure


def _size_of(chart: Chart | Photo) -> tuple[float, float]:
    """Width and height in inches."""
    if isinstance(chart, HeatMap):
        return 4.0, min(4.2, 1.2 + 0.16 * len(chart.rows))
    if isinstance(chart, Bars):
        return 4.2, min(14.0, 1.2 + (0.45 if chart.samples else 0.17) * len(chart.row_names))
    if isinstance(chart, Photo):
        return 2.2, 2.2
    if isinstance(chart, ConfusionMatrix):
        return 4.2, 4.2
    return (5.0, 2.2) if chart.small else (4.4, 3.2 + 0.1 * len(chart.lines))


def _add_legends(figure: "Figure", pairs: "Sequence[tuple[Axes, Chart | Photo]]") -> None:
    """One for all charts where their lines have the same names, otherwise one per chart; and of the parts of bars."""
    lines = [(axes, chart) for axes, chart in pairs if isinstance(chart, LineChart)]
    named = [(axes, chart) for axes, chart in lines if chart.legend and any(line.name for line in chart.lines)]
    alike = len({tuple(line.name for line in chart.lines) for _, chart in lines if not chart.small}) == 1
    if named and alike:
        handles = named[0][0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper center", ncols=4, frameon=False)
        return
    for axes, curves in named:
        where: Any = {"loc": "center left", "bbox_to_anchor": (1.02, 0.5)}
        below: Any = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2), "ncols": 2, "fontsize": 7}
        axes.legend(frameon=False, **(where if curves.small else below))
    for axes, chart in pairs:
        if isinstance(chart, Bars) and (len(chart.parts) > 1 or chart.marks):
            figure.legend(*axes.get_legend_handles_labels(), loc="outside lower right", ncols=2, frameon=False)


@functools.singledispatch
def _fill(chart: Chart | Photo, axes: "Axes") -> None:
    """Draw a chart into empty axes."""
    raise TypeError(f"{type(chart).__name__} is not a chart")


@_fill.register(LineChart)
def _fill_lines(chart: LineChart, axes: "Axes") -> None:
    """Lines over a common axis."""
    if chart.x.logarithmic:
        axes.set_xscale("log")
    if chart.y.logarithmic:
        axes.set_yscale("log")
    for style, line in chart.styled:
        _draw_line(axes, line, chart, style)
    axes.set_xlabel(chart.x.label)
    axes.set_ylabel(chart.y.label)
    _set_axes(axes, chart)
    if chart.note:
        text, x, y = chart.note
        axes.annotate(
            text,
            (x, y),
            xytext=(-16, 14),  # a curve that rises ever more slowly leaves this corner free
            textcoords="offset points",
            ha="right",
            arrowprops={"arrowstyle": "-", "color": COLOURS["soft"][0], "shrinkB": 3},
        )
    axes.grid(color=COLOURS["line"][0], linewidth=0.6)
    axes.set_axisbelow(True)


def _draw_line(axes: "Axes", line: Line, chart: LineChart, style: int) -> None:
    """A line with markers no denser than can be told apart, and its standard deviation where known."""
    colour = COLOURS["fg" if line.own else colour_of(style)][0]
    y = [value if value > 0 or not chart.y.logarithmic else float("nan") for value in line.y]
    look: dict[str, Any] = {"color": colour, "marker": "*" if line.own else MARKERS[marker_of(style)]}
    dashes = dash_of(style)
    own = (0, tuple(each / 1.5 for each in dashes)) if dashes else "-"  # in widths of the line
    look["linestyle"] = {"line": own, "dashes": "--", "dots": ":", "points": "none"}[line.form]
    if line.joined:
        look |= {"markersize": 4, "markevery": max(1, len(y) // 12), "linewidth": 1.5}
    else:
        look |= {"markersize": 11 if line.own else 7, "linewidth": 1}
    if line.hollow or line.form == "dashes":
        look |= {"markerfacecolor": COLOURS["bg"][0], "markeredgewidth": 1.5}
    if line.y_deviation and line.joined:
        low = [value - each for value, each in zip(y, line.y_deviation, strict=True)]
        high = [value + each for value, each in zip(y, line.y_deviation, strict=True)]
        axes.fill_between(line.x, low, high, color=colour, alpha=0.2, linewidth=0)
    elif line.x_deviation or line.y_deviation:
        across, up = ([each or float("nan") for each in side] or None for side in (line.x_deviation, line.y_deviation))
        axes.errorbar(line.x, y, up, across, fmt="none", capsize=3, linewidth=1, ecolor=colour)
    axes.plot(line.x, y, label=line.name or None, **look)


def _share_axes(pairs: "Sequence[tuple[Axes, Chart | Photo]]", picture: Picture) -> None:
    """The axes that the curves of a picture share, over the values of all of them."""
    curves = [(axes, chart) for axes, chart in pairs if isinstance(chart, LineChart)]
    x, y = scales_of(*(chart for _, chart in curves))
    for axes, chart in curves:
        _set_axes(axes, chart, x if picture.same_x else None, y if picture.same_y else None)


def _set_axes(axes: "Axes", chart: LineChart, x: Scale | None = None, y: Scale | None = None) -> None:
    """The ranges and numbers of both axes, with room for markers at the ends; by default of the chart's own values."""
    own_x, own_y = scales_of(chart)
    x, y = x or own_x, y or own_y
    points = not all(line.form == "line" for line in chart.lines)
    axes.set_xlim(*_roomy(x, chart.x, 0.08 if points else 0.03))
    axes.set_ylim(*_roomy(y, chart.y, 0.0 if chart.y.limits else 0.06 if points else 0.03))
    if chart.x.names:
        every = max(1, math.ceil(sum(len(name) + 2 for name in chart.x.names) / _NAMES_ROOM))
        last = len(chart.x.names) - 1
        shown = [place for place in range(0, last, every) if place <= last - every] + [last]
        axes.set_xticks(shown, [chart.x.names[place] for place in shown], fontsize=7)
    else:
        _set_ticks(axes.xaxis, x)
    _set_ticks(axes.yaxis, y)


def _roomy(scale: Scale, axis: Axis, share: float) -> tuple[float, float]:
    """The range of an axis with this share of it more at both ends."""
    low, high = axis.place(scale.low), axis.place(scale.high)
    room = share * (high - low)
    low, high = low - room, high + room
    return (10.0**low, 10.0**high) if axis.logarithmic else (low, high)


def _set_ticks(axis: Any, scale: Scale) -> None:
    """The numbers of a scale, and none between them."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    axis.set_major_locator(FixedLocator(scale.ticks))
    axis.set_major_formatter(FixedFormatter(scale.texts))
    axis.set_minor_locator(NullLocator())


@_fill.register(HeatMap)
def _fill_map(chart: HeatMap, axes: "Axes") -> None:
    """A colour for every number, rows down."""
    half = 0.5 * chart.spacing or 0.5
    axes.imshow(
        [[float("nan") if value is None else value for value in row] for row in chart.rows],
        aspect="auto",
        interpolation="nearest",
        cmap=chart.colours,
        vmin=chart.limits[0],
        vmax=chart.limits[1],
        extent=(chart.first_column - half, chart.last + half, len(chart.rows) - 0.5, -0.5),
    )
    _set_ticks(axes.xaxis, scale_of((chart.first_column, chart.last), whole=True))
    axes.set_xlabel(chart.x_label)
    axes.set_ylabel(chart.y_label)
    if len(chart.rows) <= NAMED_LAYERS:
        axes.set_yticks(range(len(chart.rows)), chart.row_names, fontsize=7)
    else:
        _set_ticks(axes.yaxis, scale_of((0, len(chart.rows) - 1), 8, whole=True))
    for row in chart.breaks:
        axes.axhline(row - 0.5, color="white", linewidth=1.2)


@_fill.register(Bars)
def _fill_bars(chart: Bars, axes: "Axes") -> None:
    """Horizontal bars, a row each, the first on top."""
    rows = range(len(chart.row_names))
    before = [0.0] * len(rows)
    for index, (part, lengths) in enumerate(chart.parts):
        styles = chart.row_styles or [chart.style + index] * len(rows)
        colours = [COLOURS[colour_of(style)][0] for style in styles]
        deviations = [deviation_of(values) for values in chart.samples] or None
        name = part if len(chart.parts) > 1 or chart.marks else None
        look: dict[str, Any] = {"color": colours, "height": 0.76, "label": name, "xerr": deviations, "capsize": 3}
        if index:  # told apart in grey too
            look |= {"hatch": "///", "edgecolor": COLOURS["bg"][0], "linewidth": 0}
        axes.barh(rows, lengths, left=before, **look)
        before = [start + length for start, length in zip(before, lengths, strict=True)]
    if chart.marks:
        name, places = chart.marks
        axes.plot(places, rows, "|", markersize=7, color=COLOURS["fg"][0], label=name)
    for row, values in enumerate(chart.samples):
        axes.plot(values, [row] * len(values), "o", color=COLOURS["fg"][0], markerfacecolor="white", markersize=4)
    axes.set_yticks(rows, chart.row_names, fontsize=7 if len(rows) <= 45 else 5)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    ends = [mean + deviation_of(values) for mean, values in zip(map(fmean, chart.samples), chart.samples, strict=True)]
    marked = chart.marks[1] if chart.marks else ()
    samples = [value for values in chart.samples for value in values]
    scale = scale_of((0.0, max([*before, *marked, *ends, *samples]) or 1.0), 4)
    axes.set_xlim(0, scale.high * 1.02)
    _set_ticks(axes.xaxis, scale)
    axes.set_xlabel(chart.x_label)
    axes.grid(axis="x", color=COLOURS["line"][0], linewidth=0.6)
    axes.set_axisbelow(True)


@_fill.register(ConfusionMatrix)
def _fill_confusion(chart: ConfusionMatrix, axes: "Axes") -> None:
    """The diagonal in one colour, mistakes in another."""
    from matplotlib.colors import to_rgb

    panel, right, wrong = (to_rgb(COLOURS[name][0]) for name in ("panel", colour_of(0), colour_of(1)))
    strengths = chart.strengths()

    def mixed(strength: float, full: tuple[float, float, float]) -> list[float]:
        return [base + (channel - base) * strength for base, channel in zip(panel, full, strict=True)]

    axes.imshow(
        [[mixed(each, right if i == j else wrong) for j, each in enumerate(row)] for i, row in enumerate(strengths)]
    )
    for i, row in enumerate(chart.counts if len(chart.counts) <= NAMED_LAYERS else ()):
        for j, count in enumerate(row):
            if count:
                colour = COLOURS["bg" if strengths[i][j] > STRONG else "fg"][0]
                axes.text(j, i, str(count), ha="center", va="center", color=colour, fontsize=7)
    if len(chart.class_names) <= NAMED_LAYERS:
        names = [shortened(name, 10) for name in chart.class_names]
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
        axes.set_yticks(range(len(names)), names, fontsize=7)
    else:
        for axis in (axes.xaxis, axes.yaxis):
            _set_ticks(axis, scale_of((0, len(chart.class_names) - 1), whole=True))
    axes.set_xlabel(chart.x_label)
    axes.set_ylabel(chart.y_label)


@_fill.register(Photo)
def _fill_photo(chart: Photo, axes: "Axes") -> None:
    """The input of a network."""
    axes.set_axis_off()
    axes.imshow(chart.pixels.numpy(), interpolation="nearest")
