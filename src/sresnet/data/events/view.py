"""Pictures of a recording: frames, a raster and the rate of events, drawn with Pillow (extra `images`)."""

import io
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sresnet.data.events.parts import Parts, held, in_time
from sresnet.data.events.recording import Recording
from sresnet.errors import UserError, optional
from sresnet.files import write_whole
from sresnet.limits import MEMORY_LIMIT, check_claim
from sresnet.printing import printable

ENDINGS = (".png", ".gif")
"""A picture: everything on one page, or the frames as an animation."""
COMMENT = b"drawn by sresnet"
MARKS = (b"Software\0sresnet", COMMENT)
"""Found in the beginning of pictures that we wrote."""

# A dark grey that fits light and dark pages; orange and blue can be told apart by the colour-blind.
_PAGE, _PANEL, _TEXT, _LINE = (38, 40, 44), (24, 25, 28), (222, 222, 218), (92, 95, 100)
_ON, _OFF = (255, 170, 60), (80, 165, 255)
_WIDTH, _LEFT, _RIGHT, _GAP = 1200, 76, 24, 8
_RASTER, _CURVE, _ROW = 216, 96, 18


def save_view(
    recording: Recording | Parts,
    path: Path,
    *,
    frames: int = 8,
    window: int = 0,
    title: str = "",
    memory_limit: float = MEMORY_LIMIT,
) -> None:
    """Draw a recording into a file, `.png` (`_draw`) or `.gif` (`_animate`); it is gone through a few times.

    Raises:
        UserError: another ending, frames fewer than 1 or more than 64, a sensor that claims too many pixels, Pillow not
            installed, or a file that cannot be written.
    """
    recording = held(recording) if isinstance(recording, Recording) else recording
    # A frame is counted and coloured in some 150 bytes a pixel, kept in three, and fitted to a cell of the page.
    pixels = recording.width * recording.height
    cell = (_WIDTH // min(max(frames, 1), 8)) ** 2 * max(1.0, recording.height / recording.width)
    what = f"{frames} pictures of {recording.width}x{recording.height} pixels"
    claimed = round(150 * pixels + frames * (3 * pixels + 8 * cell))
    check_claim("the recording", what, claimed, 8 * len(recording), memory_limit)
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise UserError(f"{path} does not end in {' or '.join(ENDINGS)}: choose one of them")
    content = io.BytesIO()
    if ending == ".png":
        from PIL.PngImagePlugin import PngInfo

        about = PngInfo()
        about.add_text("Software", "sresnet")
        _draw(recording, frames=frames, window=window, title=title).save(content, "PNG", pnginfo=about)
    else:
        first, *others = _animate(recording, frames=frames, window=window)
        # Real time, unless that is faster than the eye or slower than patience.
        milliseconds = round(min(max(1000 * recording.seconds / frames, 60), 500))
        settings: dict[str, Any] = {"duration": milliseconds, "loop": 0, "comment": COMMENT}
        first.save(content, "GIF", save_all=True, append_images=others, **settings)
    write_whole(path, content.getvalue())


def _draw(recording: Parts, *, frames: int = 8, window: int = 0, title: str = "") -> Any:
    """A PIL image: frames in a row, below them every event by time and row, below that the rate of ON and OFF events.

    Args:
        recording: with at least one event.
        frames: parts of equal time; each frame shows the beginning of one.
        window: microseconds that a frame shows; 0: the whole part, or less where that would be a blur: about one event
            for every other pixel.
        title: first line of the picture.
    """
    image_module, draw_module, font = _pillow()
    parts = _windows(recording, frames, window)
    columns = min(frames, 8)
    side = (_WIDTH - _LEFT - _RIGHT - _GAP * (columns - 1)) // columns
    cells = [_fit(picture, side, image_module) for picture in _pictures(recording, parts)]
    tall = cells[0].height
    rows = -(-frames // columns)
    top = 10 + 2 * _ROW
    raster_top = top + rows * (tall + _ROW + _GAP) + 12
    curve_top = raster_top + _RASTER + 14
    page = image_module.new("RGB", (_WIDTH, curve_top + _CURVE + 44), _PAGE)
    pen = draw_module.Draw(page)

    def write(x: float, y: float, text: str, anchor: str, fill: tuple[int, int, int] = _TEXT) -> None:
        pen.text((x, y), text, fill=fill, font=font, anchor=anchor)

    # The font that comes with Pillow has Latin signs only.
    write(_LEFT, 10, printable(title or recording.sensor).encode("latin-1", "backslashreplace").decode("latin-1"), "la")
    share = sum(int(np.count_nonzero(part.on)) for part in recording) / len(recording)
    write(
        _LEFT,
        10 + _ROW,
        f"{recording.sensor}, {recording.width}x{recording.height}, {len(recording):,} events in "
        f"{recording.seconds:.3g} s",
        "la",
    )
    write(_WIDTH - _RIGHT, 10 + _ROW, f"OFF {1 - share:.0%}", "ra", _OFF)
    write(_WIDTH - _RIGHT - 80, 10 + _ROW, f"ON {share:.0%}", "ra", _ON)
    unit, divisor = ("s", 1e6) if recording.seconds >= 2 else ("ms", 1e3)
    for index, (cell, (begin, end)) in enumerate(zip(cells, parts, strict=True)):
        x = _LEFT + index % columns * (side + _GAP) + (side - cell.width) // 2
        y = top + index // columns * (tall + _ROW + _GAP)
        page.paste(cell, (x, y))
        since, upto = ((moment - recording.first) / divisor for moment in (begin, end))
        write(x + cell.width / 2, y + tall + 3, f"{since:.3g} to {upto:.3g} {unit}", "ma")
    wide = _WIDTH - _LEFT - _RIGHT
    page.paste(_raster(recording, wide, image_module), (_LEFT, raster_top))
    write(_LEFT - 8, raster_top, "0", "ra")
    write(_LEFT - 8, raster_top + _RASTER / 2, "row", "rm")
    write(_LEFT - 8, raster_top + _RASTER, f"{recording.height - 1}", "rd")
    highest = _curve(pen, recording, (_LEFT, curve_top, _LEFT + wide, curve_top + _CURVE))
    write(_LEFT - 8, curve_top, _short(highest), "ra")
    write(_LEFT - 8, curve_top + _CURVE / 2, "events/s", "rm")
    write(_LEFT - 8, curve_top + _CURVE, "0", "rd")
    length = (recording.last - recording.first) / divisor
    for tick in _ticks(float(length)):
        x = _LEFT + (wide - 1) * tick / length if length else _LEFT
        pen.line([(x, curve_top + _CURVE), (x, curve_top + _CURVE + 4)], fill=_TEXT)
        write(x, curve_top + _CURVE + 7, f"{tick:g}", "ma")
    write(_LEFT + wide / 2, curve_top + _CURVE + 24, f"time ({unit})", "ma")
    return page


def _animate(recording: Parts, *, frames: int = 8, window: int = 0) -> list[Any]:
    """The frames of `_draw` as PIL images, each some 256 pixels wide."""
    image_module, _, _ = _pillow()
    return [_fit(picture, 256, image_module) for picture in _pictures(recording, _windows(recording, frames, window))]


def _pillow() -> tuple[Any, Any, Any]:
    with optional("pictures need", "Pillow", "images"):
        from PIL import Image, ImageDraw, ImageFont
    return Image, ImageDraw, ImageFont.load_default(13)


def _windows(recording: Parts, frames: int, window: int) -> list[tuple[int, int]]:
    """First and last microsecond, not included, of what each frame shows."""
    if not 1 <= frames <= 64:
        raise UserError(f"frames {frames} is out of range: give 1 to 64")
    if window < 0:
        raise UserError(f"window {window} is less than 0: give microseconds, or 0 for a fitting one")
    first, length = recording.first, recording.last - recording.first + 1
    edges = [first + length * index // frames for index in range(frames + 1)]
    part = max(1, length // frames)
    blur = len(recording) / frames / (recording.width * recording.height / 2)
    shown = min(part, window) if window else max(1, round(part / max(1, blur)))
    # A part that only rounding would cut is shown whole.
    return [(begin, end if shown == part else min(begin + shown, end)) for begin, end in itertools.pairwise(edges)]


def _pictures(recording: Parts, spans: list[tuple[int, int]]) -> list[NDArray[np.uint8]]:
    """RGB [height, width, 3] of the events between two times each, which do not overlap."""
    size = recording.height, recording.width

    def counted() -> Iterator[NDArray[np.int64]]:
        """Of each picture; only one of them at a time is in memory as counts."""
        number, counts = 0, np.zeros((2, *size), np.int64)
        for part in recording:
            while number < len(spans):
                some = in_time(part, *spans[number])
                if len(some):
                    counts += _counts(some.y, some.x, some.on, size)
                if int(part.t[-1]) < spans[number][1]:
                    break
                yield counts
                number, counts = number + 1, np.zeros((2, *size), np.int64)
        for _ in range(number, len(spans)):
            yield counts
            counts = np.zeros((2, *size), np.int64)

    # Counted twice: how bright a count is drawn, all of them tell.
    busy: Counter[int] = Counter()
    for each in counted():
        busy.update(_numbers(each))
    most = _brightest(busy)
    return [_colours(counts, most) for counts in counted()]


def _counts(row: NDArray[Any], column: NDArray[Any], on: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.int64]:
    """Events [2, rows, columns], OFF first."""
    index = (on * size[0] + row.astype(np.int64)) * size[1] + column
    return np.bincount(index, minlength=2 * size[0] * size[1]).reshape(2, *size)


def _numbers(counts: NDArray[np.int64]) -> dict[int, int]:
    """How many pixels have each count above 0."""
    found, numbers = np.unique(counts[counts > 0], return_counts=True)
    return dict(zip(found.tolist(), numbers.tolist(), strict=True))


def _brightest(numbers: Mapping[int, int]) -> float:
    """The count that is shown brightest: the 98th percentile of so many of each, as `numpy.percentile` has it."""
    if not numbers:
        return 1.0
    found = sorted(numbers)
    upto = np.cumsum([numbers[each] for each in found])
    place = 0.98 * (int(upto[-1]) - 1)
    low, high = (found[int(np.searchsorted(upto, at, side="right"))] for at in (math.floor(place), math.ceil(place)))
    return low + (high - low) * (place - math.floor(place))


def _colours(counts: NDArray[np.int64], most: float) -> NDArray[np.uint8]:
    """RGB [rows, columns, 3] of counts [2, rows, columns], OFF first; the brightest is `most`."""
    # A square root, so that a single event is not lost beside many.
    strength = np.sqrt(np.minimum(counts / most, 1))[..., None]
    off, on = np.moveaxis(strength, -4, 0)
    ground = np.array(_PANEL, dtype=float)
    light = ground + off * (np.array(_OFF) - ground) + on * (np.array(_ON) - ground)
    coloured: NDArray[np.uint8] = np.clip(light, 0, 255).astype(np.uint8)
    return coloured


def _fit(picture: NDArray[np.uint8], side: int, image_module: Any) -> Any:
    """A picture as a PIL image at most `side` wide: enlarged by a whole factor, reduced by means."""
    image = image_module.fromarray(picture)
    if image.width <= side:
        times = side // image.width
        return image.resize((image.width * times, image.height * times), image_module.Resampling.NEAREST)
    size = (side, max(1, round(image.height * side / image.width)))
    return image.resize(size, image_module.Resampling.BOX)


def _raster(recording: Parts, wide: int, image_module: Any) -> Any:
    """Every event by time and row; where several fall onto a dot, the brighter it is."""
    # Small sensors: dots of several pixels, so that they are seen.
    dot = max(1, _RASTER // recording.height)
    across = min(dot, 3)
    high = min(recording.height, _RASTER)
    counts: Any = 0
    for part in recording:
        row, column = part.y.astype(np.int64) * high // recording.height, _bins(recording, part, wide)
        counts = counts + _counts(row, column // across, part.on, (high, -(-wide // across)))
    picture = _colours(counts, _brightest(_numbers(counts)))
    image = image_module.fromarray(picture)
    image = image.resize((image.width * across, high * dot), image_module.Resampling.NEAREST)
    panel = image_module.new("RGB", (wide, _RASTER), _PANEL)
    panel.paste(image.resize((wide, _RASTER), image_module.Resampling.NEAREST), (0, 0))
    return panel


def _bins(recording: Parts, part: Recording, number: int) -> NDArray[np.int64]:
    """Which of `number` equal parts of the recording's time each event of a part is in."""
    length = max(1, recording.last - recording.first)
    share = (part.t - recording.first) / length
    return np.minimum((share * number).astype(np.int64), number - 1)


def _curve(pen: Any, recording: Parts, box: tuple[int, int, int, int]) -> float:
    """Draw the rates of ON and OFF events into a box (left, top, right, bottom); returns the highest."""
    left, top, right, bottom = box
    pen.rectangle((left, top, right - 1, bottom - 1), fill=_PANEL)
    number = 200
    counts = np.zeros((2, number), np.int64)
    for part in recording:
        bins = part.on * number + _bins(recording, part, number)
        counts += np.bincount(bins, minlength=2 * number).reshape(2, number)
    highest = int(counts.max())
    for series, colour in zip(counts, (_OFF, _ON), strict=True):
        points = [
            (left + (right - 1 - left) * (index + 0.5) / number, bottom - 1 - (bottom - top - 4) * count / highest)
            for index, count in enumerate(series.tolist())
        ]
        pen.line(points, fill=colour, width=2)
    pen.line([(left, bottom), (right, bottom)], fill=_LINE)
    return highest * number / max(recording.seconds, 1e-6)


def _ticks(length: float) -> list[float]:
    """Round numbers from 0 to `length`, five to ten of them."""
    if length <= 0:
        return [0.0]
    step = 10.0 ** np.floor(np.log10(length / 5))
    step *= next(factor for factor in (1, 2, 5, 10) if length / (step * factor) <= 10)
    return [float(step * index) for index in range(int(length / step) + 1)]


def _short(number: float) -> str:
    """12,345 as 12k."""
    for least, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= least:
            return f"{number / least:.3g}{letter}"
    return f"{number:.3g}"
