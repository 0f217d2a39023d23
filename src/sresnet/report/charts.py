"""Charts as data: what is shown, with its labels and units. `svg` and `plots` draw them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import stdev
from typing import Literal

from torch import Tensor

from sresnet.printing import printable


@dataclass(frozen=True, kw_only=True)
class Axis:
    """An axis of a chart."""

    label: str
    """With its unit."""
    logarithmic: bool = False
    """Logarithmic to base 10; values that are not positive are left out."""
    limits: tuple[float, float] | None = None
    """(lowest, highest) value; by default those of the data."""
    names: tuple[str, ...] = ()
    """Labels of 0, 1, 2, ...; by default the numbers."""
    told: tuple[str, ...] = ()
    """What is said of 0, 1, 2, ... when a point there is pointed at, where that is more than its label."""

    def place(self, value: float) -> float:
        """Where a value stands: at its logarithm if the axis is logarithmic; NaN where it has none."""
        if not self.logarithmic:
            return value
        return math.log10(value) if value > 0 else math.nan


@dataclass(frozen=True, kw_only=True)
class Line:
    """Points that belong together, such as one network's, with their standard deviations where known."""

    name: str
    """In the legend; "" for none."""
    x: Sequence[float]
    y: Sequence[float]
    form: Literal["line", "dashes", "dots", "points"] = "line"
    """What joins the points: a line, dashes between hollow markers, dots, or nothing."""
    style: int | None = None
    """Number of its colour and marker, so that it looks the same in several charts; by default its place."""
    hollow: bool = False
    """Markers are outlines."""
    own: bool = False
    """The one that all others are compared with: in the colour of text, larger."""
    x_deviation: Sequence[float] = ()
    y_deviation: Sequence[float] = ()
    """Standard deviations, shown to both sides: as a band around a line, as bars at points."""

    @property
    def joined(self) -> bool:
        """Whether it is a curve rather than single points."""
        return self.form in ("line", "dashes")


@dataclass(frozen=True, kw_only=True)
class LineChart:
    """Lines over a common axis."""

    title: str
    """For readers who cannot see it, and above it where charts stand side by side."""
    lines: tuple[Line, ...]
    """At least one, of at least one finite point."""
    x: Axis
    y: Axis
    note: tuple[str, float, float] | None = None
    """(text, x, y): a remark on a point."""
    small: bool = False
    """Stands beside a picture."""
    legend: bool = True
    """Names stand above it; without, what is around it says what the lines are."""

    @property
    def styled(self) -> list[tuple[int, Line]]:
        """The lines, each with the number of its colour and marker."""
        return [(place if line.style is None else line.style, line) for place, line in enumerate(self.lines)]

    def extent(self) -> tuple[list[float], list[float]]:
        """All x and all y of points that can be drawn, with their standard deviations to both sides."""
        xs, ys = [], []
        for line in self.lines:
            for index, (x, y) in enumerate(zip(line.x, line.y, strict=True)):
                dx, dy = (each[index] if each else 0.0 for each in (line.x_deviation, line.y_deviation))
                if math.isfinite(self.x.place(x) + self.y.place(y)):
                    xs += [each for each in (x - dx, x, x + dx) if math.isfinite(self.x.place(each))]
                    ys += [each for each in (y - dy, y, y + dy) if math.isfinite(self.y.place(each))]
        return xs, ys

    @property
    def counts(self) -> bool:
        """Whether the x axis counts something, such as steps or epochs: a line has whole numbers there."""
        return any(all(float(x).is_integer() for x in line.x) for line in self.lines)


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """A number for every row and column, as a colour."""

    title: str
    rows: tuple[tuple[float | None, ...], ...]
    """Equally long; None: no number."""
    row_names: tuple[str, ...]
    x_label: str
    """What the columns are."""
    y_label: str = "layer"
    """What the rows are."""
    unit: str
    """What the numbers are."""
    colours: Literal["viridis", "cividis"] = "viridis"
    limits: tuple[float, float]
    """The numbers that the colours begin and end with."""
    first_column: int = 1
    """Number of the first column."""
    last_column: int | None = None
    """Of the last; by default every number in between has its column, else they are evenly spread."""
    breaks: tuple[int, ...] = ()
    """Rows with a line in front of them."""

    @property
    def last(self) -> int:
        """Number of the last column."""
        return self.first_column + len(self.rows[0]) - 1 if self.last_column is None else self.last_column

    @property
    def spacing(self) -> float:
        """From one column to the next, 0 of a single one."""
        return (self.last - self.first_column) / max(1, len(self.rows[0]) - 1)


@dataclass(frozen=True, kw_only=True)
class Bars:
    """Horizontal bars, one per row, of one or several parts."""

    title: str
    row_names: tuple[str, ...]
    parts: tuple[tuple[str, tuple[float, ...]], ...]
    """(what the part is, its length in each row)."""
    x_label: str
    """What is counted."""
    marks: tuple[str, tuple[float, ...]] | None = None
    """(what they are, a place on each row to mark)."""
    style: int = 0
    """Number of the first part's colour."""
    row_styles: tuple[int, ...] = ()
    """Number of each row's colour, where rows differ in it."""
    samples: tuple[tuple[float, ...], ...] = ()
    """The numbers that each row is the mean of, shown as rings and as one standard deviation to both sides."""


@dataclass(frozen=True, kw_only=True)
class ConfusionMatrix:
    """Rows: the true class; columns: the predicted one."""

    title: str
    counts: tuple[tuple[int, ...], ...]
    class_names: tuple[str, ...]
    x_label: str = "predicted as"
    y_label: str = "true class"

    def strengths(self) -> list[list[float]]:
        """How strongly each cell is coloured: by its share of the row; mistakes relative to the worst of them."""
        shares = [[count / (sum(row) or 1) for count in row] for row in self.counts]
        mistakes = [share for i, row in enumerate(shares) for j, share in enumerate(row) if i != j]
        worst = max(mistakes, default=0.0) or 1.0
        return [
            [share if i == j else (0.25 + 0.75 * share / worst if share else 0.0) for j, share in enumerate(row)]
            for i, row in enumerate(shares)
        ]


@dataclass(frozen=True, kw_only=True)
class Photo:
    """The input of a network, beside a chart on paper."""

    title: str
    pixels: Tensor
    """uint8 [H, W, 3]."""


STRONG = 0.62
"""Cells coloured more strongly than this have their number in the colour of the background."""

Chart = LineChart | HeatMap | Bars | ConfusionMatrix


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Charts side by side and below each other, for a printed page."""

    panels: tuple[tuple[Chart | Photo, ...], ...]
    """Rows, equally long; the last may be shorter."""
    same_x: bool = False
    same_y: bool = False
    """Whether the panels share their axes."""


def readable(value: float) -> str:
    """A number in the short form of axes: 1.2 M, 350 k, 12, 0.25."""
    factor, unit = prefix_of(value)
    return f"{value / factor:.3g}{unit}"


def prefix_of(value: float, least: float = 1e3) -> tuple[float, str]:
    """What a number is divided by, and the prefix for it with a space in front; 1 and none below `least`."""
    prefixes = ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k"))
    return next(((factor, unit) for factor, unit in prefixes if abs(value) >= max(factor, least)), (1.0, ""))


def shortened(text: str, most: int) -> str:
    """A text cut to fit one line: its beginning, and its last character, by which names often differ."""
    text = printable(text)
    return text if len(text) <= most else f"{text[: most - 2]}…{text[-1]}"


def deviation_of(values: Sequence[float]) -> float:
    """Standard deviation, 0 for a single number."""
    return stdev(values) if len(values) > 1 else 0.0
