"""Ranges of axes and the numbers along them, the same on pages and on paper; both ends of an axis have a number."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sresnet.report.charts import LineChart, prefix_of

_LARGE = 1e4
"""From here on numbers of an axis are written with a prefix: 20 k."""
_NEAR = 0.1
"""A number nearer to an end than this part of a logarithmic axis is left out beside that of the end."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The range of an axis, and where it has numbers."""

    low: float
    high: float
    ticks: tuple[float, ...]
    """From low to high; the first and last stand at the ends, or within a tenth of the range from them where the range
    was given."""
    texts: tuple[str, ...]
    """How each is written."""


def scale_of(
    values: Iterable[float],
    count: int = 5,
    *,
    logarithmic: bool = False,
    whole: bool = False,
    limits: tuple[float, float] | None = None,
) -> Scale:
    """The scale of an axis for these values, with about `count` numbers.

    Its range ends at round numbers: multiples of 1, 2 or 5 times a power of ten, and powers of ten times 1, 2 or 5 on a
    logarithmic axis. Where values are counts, such as epochs, it ends at the first and last; a single one stands
    in the middle.

    Args:
        values: all finite, and positive for a logarithmic axis; of none, as where no curve has a number, 0 to 1, or 1
            to 10.
        count: about how many numbers there is room for.
        logarithmic: whether the axis is.
        whole: whether the values count something.
        limits: the range, where it is given; numbers are the round ones in it.
    """
    if limits:
        low, high = limits
        step = _step(low, high, count)
        return _written(low, high, _multiples(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9), step))
    values = list(values) or ((1.0, 10.0) if logarithmic else (0.0, 1.0))
    low, high = min(values), max(values)
    if low == high and whole:
        return _written(low - 0.5, high + 0.5, [low])
    low, high = _apart(low, high, positive=logarithmic)
    if logarithmic and high > 3 * low:
        return _logarithmic(low, high)
    step = _step(low, high, count, whole=whole)
    if whole and (high < _LARGE or low <= 1):
        low, high = float(math.floor(low)), float(math.ceil(high))
        return _written(low, high, _with_ends(low, high, step))
    ticks = _multiples(math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9), step)
    return _written(ticks[0], ticks[-1], ticks)


def scales_of(chart: LineChart, *others: LineChart) -> tuple[Scale, Scale]:
    """Those of the x and the y axis of a chart, of all of several that share them."""
    extents = [each.extent() for each in (chart, *others)]
    xs, ys = ([value for extent in extents for value in extent[side]] for side in (0, 1))
    if names := chart.x.names:
        low, high = (0.0, len(names) - 1.0) if len(names) > 1 else (-0.5, 0.5)
        x = Scale(low=low, high=high, ticks=tuple(map(float, range(len(names)))), texts=names)
    else:
        x = scale_of(xs, 5, logarithmic=chart.x.logarithmic, whole=chart.counts, limits=chart.x.limits)
    return x, scale_of(ys, 4, logarithmic=chart.y.logarithmic, limits=chart.y.limits)


def within(low: float, high: float, count: int = 4) -> Scale:
    """The scale of colours that begin and end at these numbers, round or not; round ones in between."""
    if not high > low:
        return Scale(low=low, high=high, ticks=(low,), texts=(f"{low:.3g}",))
    step = _step(low, high, count)
    ticks = _with_ends(low, high, step)
    factor, unit = prefix_of(max(map(abs, ticks)), _LARGE)
    return Scale(low=low, high=high, ticks=tuple(ticks), texts=tuple(f"{each / factor:.3g}{unit}" for each in ticks))


def _apart(low: float, high: float, *, positive: bool) -> tuple[float, float]:
    """A range that is more than a point."""
    if high > low:
        return low, high
    room = 0.05 * abs(high) or 1.0
    return (low * 0.9, high * 1.1) if positive else (low - room, high + room)


def _step(low: float, high: float, count: int, *, whole: bool = False) -> float:
    """A multiple of 1, 2 or 5 times a power of ten that divides a range into about `count` parts."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.8)
    return max(step, 1.0) if whole else step


def _multiples(first: int, last: int, step: float) -> list[float]:
    """Multiples of a step."""
    return [number * step for number in range(first, last + 1)]


def _with_ends(low: float, high: float, step: float) -> list[float]:
    """The ends of a range, and the multiples of a step that are half a step or more inside it."""
    inner = _multiples(math.ceil(low / step), math.floor(high / step), step)
    return [low, *(each for each in inner if low + step / 2 <= each <= high - step / 2), high]


def _logarithmic(low: float, high: float) -> Scale:
    """Ends at 1, 2 or 5 times a power of ten, and the powers of ten between them, or all of these for few decades."""
    exponents = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    # 2 * 10 ** -3 as written, not as a product that is a little more
    found = [float(f"{digit}e{exponent}") for exponent in exponents for digit in (1, 2, 5)]
    low = max(each for each in found if each <= low * (1 + 1e-9))
    high = min(each for each in found if each >= high * (1 - 1e-9))
    decades = math.log10(high / low)
    every = max(1, round(decades / 6))
    inner = [each for each in found if low < each < high]
    if decades > 1.5:
        inner = [each for each in inner if f"{each:e}".startswith("1.0") and round(math.log10(each)) % every == 0]
    ticks = [low, *(each for each in inner if low * 10 ** (_NEAR * decades) < each), high]
    ticks = [each for each in ticks if each == high or each * 10 ** (_NEAR * decades) < high]
    return Scale(low=low, high=high, ticks=tuple(ticks), texts=_alone(ticks))


def _written(low: float, high: float, ticks: Sequence[float]) -> Scale:
    """A scale whose numbers are written with one prefix and as many digits behind the point as they need."""
    most = max(map(abs, ticks))
    factor, unit = prefix_of(most, _LARGE)
    if 0 < min(map(abs, ticks)) < most / _LARGE:  # 1 and 20 k have no prefix in common
        return Scale(low=low, high=high, ticks=tuple(ticks), texts=_alone(ticks))
    if most < 1e-3:
        return Scale(low=low, high=high, ticks=tuple(ticks), texts=tuple(f"{each:.3g}" for each in ticks))
    digits = next(
        (
            count
            for count in range(9)
            if all(abs(round(each / factor, count) * factor - each) < 1e-9 * most for each in ticks)
        ),
        9,
    )
    texts = tuple(f"{each / factor:.{digits}f}{unit}" if each else "0" for each in ticks)
    return Scale(low=low, high=high, ticks=tuple(ticks), texts=texts)


def _alone(values: Sequence[float]) -> tuple[str, ...]:
    """Numbers of several orders of magnitude, each with its prefix."""
    least = 1e3 if max(values) >= _LARGE else _LARGE
    pairs = [(value, *prefix_of(value, least)) for value in values]
    return tuple(f"{value / factor:.4g}{unit}" for value, factor, unit in pairs)
