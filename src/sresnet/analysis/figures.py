"""Pictures of an analysis: activity and gamma maps (Fig. 3), operations, accuracy over steps, gradients over depth.

matplotlib is imported here alone, when a figure is drawn: the extra `report`. Figures are made without pyplot, so
nothing is kept between calls and no display is needed.
"""

import contextlib
import functools
import importlib.util
import io
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Protocol, TypeVar

from sresnet.analysis.activity import Activity
from sresnet.analysis.cost import Cost
from sresnet.analysis.early_exit import EarlyExit, ExitPoint
from sresnet.analysis.gradients import BlockGradient
from sresnet.analysis.prediction import Prediction
from sresnet.analysis.steps import StepAccuracy
from sresnet.errors import UserError
from sresnet.files import write_whole
from sresnet.printing import escaped, printable, unwarned

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")
R = TypeVar("R")

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Okabe and Ito: told apart by people who see colours differently, and in grey by their markers."""
ENDINGS = (".png", ".svg")
"""Kinds of files that figures are written as."""
MARKS = (b"Software\0sresnet", b"<dc:title>sresnet</dc:title>")
"""What these kinds of files begin with, among other things, where we wrote them."""
MARKERS = ("o", "s", "^", "D", "v", "P")
LABELS = {"active": "neurons that fire (%)", "sending": "neurons with an output (%)"}
NAMED_LAYERS = 24
"""Up to this many layers are labelled by name; more get numbers, from 0 as in the paper's Fig. 3."""
FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Hiragino Sans",
    "Yu Gothic",
    "Microsoft YaHei",
    "Malgun Gothic",
    "PingFang SC",
    "Apple SD Gothic Neo",
    "WenQuanYi Zen Hei",
    "Noto Sans Devanagari",
    "Nirmala UI",
    "Arial Unicode MS",
)
"""Where characters are looked for, one after the other, as far as installed; matplotlib comes with the first."""
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


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """`draw` with our style, which is put back after; UserError where matplotlib is not installed."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        if not available():
            raise UserError("figures need matplotlib, which is not installed: pip install 'sresnet[report]'")
        import_matplotlib()
        from matplotlib import rc_context

        # matplotlib's style is the process's: one thread at a time puts it back as it was.
        with _drawing, rc_context(STYLE | {"font.family": installed_fonts()}):
            return draw(*args, **kwargs)

    return drawn


def import_matplotlib() -> None:
    """Import it, whatever MPLBACKEND says: a notebook leaves names there that only it knows, and we need no backend."""
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib  # noqa: F401
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend


def installed_fonts() -> list[str]:
    """Those of `FONTS` that matplotlib finds here."""
    from matplotlib.font_manager import fontManager

    known = {font.name for font in fontManager.ttflist}
    return [name for name in FONTS if name in known]


def new_figure(rows: int, columns: int, *, width: float, height: float, **options: Any) -> "tuple[Figure, Any]":
    """An empty figure of `width` x `height` inches with its axes [rows, columns]."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


@styled
def save(figure: "Figure", path: Path) -> list[Path]:
    """Write a figure as PNG and SVG beside each other: `path` without ending; returns both paths.

    Raises:
        UserError: the disk is full or refuses.
    """
    paths = [path.with_name(f"{path.name}{ending}") for ending in ENDINGS]
    for each in paths:
        save_as(figure, each)
    return paths


@styled
def save_as(figure: "Figure", path: Path) -> None:
    """Write a figure to `path`, which ends in one of `ENDINGS`; errors as `save`."""
    write_whole(path, drawn(figure, path.suffix.lower()))


@styled
def drawn(figure: "Figure", ending: str) -> bytes:
    """A figure as the content of a file, of one of `ENDINGS`.

    Names in it are other people's text: what shows nothing is escaped (`printing.printable`), and in a picture of
    pixels what no font here has a sign for. In SVG text is text, and the reader's fonts show it.
    """
    content = io.BytesIO()
    with drawable(figure, every_character=ending == ".svg"):
        about: Any = {"Title": "sresnet", "Date": None} if ending == ".svg" else {"Software": "sresnet"}
        figure.savefig(content, format=ending[1:], dpi=200, metadata=about)
    return content.getvalue()


@contextlib.contextmanager
def drawable(figure: "Figure", *, every_character: bool) -> Iterator[None]:
    """The texts of a figure as they can be drawn, for as long as the context lasts."""
    from matplotlib.font_manager import FontProperties, findfont, get_font
    from matplotlib.text import Text

    fonts = [get_font(findfont(FontProperties(family=[name]))) for name in installed_fonts()]

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


def short(name: str) -> str:
    """A layer's name as an axis has room for: stage1_block2.neuron1 -> 1.2 first, stem.neuron -> stem."""
    if match := re.fullmatch(r"stage(\d+)_block(\d+)(?:\.(.+))?", name):
        words = {"neuron1": "first", "conv1": "first", "neuron2": "second", "conv2": "second", None: ""}
        part = words.get(match[3], str(match[3]).replace("skip.conv", "1x1 skip").replace("skip.neuron", "skip"))
        return f"{match[1]}.{match[2]} {part}".rstrip()
    return name.removesuffix(".neuron").removesuffix(".conv").removesuffix(".linear")


# ---------------------------------------------------------------------------------------------------------------------


class MappedLayer(Protocol):
    """What a map needs of a layer, beside what it shows: `LayerActivity` has it."""

    @property
    def name(self) -> str:
        """Of its neurons."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W)."""

    @property
    def gamma(self) -> tuple[float, ...] | None:
        """Mean over channels at each step."""


class Mapped(Protocol):
    """A network to be mapped: `Activity`, or something else that has the same numbers."""

    @property
    def layers(self) -> Sequence[MappedLayer]:
        """In the order they run."""

    @property
    def num_steps(self) -> int:
        """Time steps."""


@styled
def activity_maps(activities: Mapping[str, Mapped], *, shown: Literal["active", "sending"] = "active") -> "Figure":
    """Fig. 3: percent of neurons that fire, layers down and steps across, and mean gamma beneath; a column each.

    Colours mean the same in all columns.

    Args:
        activities: title -> network. Networks without norms leave the map beneath empty.
        shown: neurons that fire, or neurons whose output is not 0, skips included; see `Activity`.
    """
    most = max(len(activity.layers) for activity in activities.values())
    height = min(4.2, 1.2 + 0.16 * most)
    figure, axes = new_figure(2, len(activities), width=1.6 + 3.3 * len(activities), height=2 * height)
    top = max(max(getattr(layer, shown)) for activity in activities.values() for layer in activity.layers)
    gammas = [
        value for activity in activities.values() for layer in activity.layers if layer.gamma for value in layer.gamma
    ]
    last: list[Any] = [None, None]
    for column, (title, activity) in enumerate(activities.items()):
        rows = [getattr(layer, shown) for layer in activity.layers]
        last[0] = draw_map(axes[0, column], rows, activity.layers, "viridis", (0.0, top or 1.0))
        axes[0, column].set_title(title)
        rows = [layer.gamma or (float("nan"),) * activity.num_steps for layer in activity.layers]
        scale = (min(gammas), max(gammas)) if gammas else (0.0, 1.0)
        last[1] = draw_map(axes[1, column], rows, activity.layers, "cividis", scale)
        axes[1, column].set_xlabel("time step")
    figure.colorbar(last[0], ax=axes[0, :], label=LABELS[shown])
    figure.colorbar(last[1], ax=axes[1, :], label="mean gamma of the norm")
    return figure


def draw_map(
    axes: "Axes",
    rows: Sequence[Sequence[float]],
    layers: Sequence[MappedLayer],
    colours: str,
    scale: tuple[float, float],
) -> Any:
    """One map: a row per layer, a column per step; lines where the image size changes."""
    from matplotlib.ticker import MaxNLocator

    steps = len(rows[0])
    image = axes.imshow(
        rows,
        aspect="auto",
        interpolation="nearest",
        cmap=colours,
        vmin=scale[0],
        vmax=scale[1],
        extent=(0.5, steps + 0.5, len(rows) - 0.5, -0.5),
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_ylabel("layer")
    if len(rows) <= NAMED_LAYERS:
        axes.set_yticks(range(len(rows)), [short(layer.name) for layer in layers], fontsize=7)
    else:
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
    for row in range(1, len(rows)):
        if layers[row].shape[-2:] != layers[row - 1].shape[-2:]:
            axes.axhline(row - 0.5, color="white", linewidth=1.2)
    return image


@styled
def cost_bars(activity: Activity, cost: Cost) -> "Figure":
    """Spikes per image of each layer of neurons, and the synaptic operations that each convolution spends."""
    height = 1.2 + 0.17 * max(len(activity.layers), len(cost.layers))
    figure, axes = new_figure(1, 2, width=8.0, height=min(height, 14.0))
    spikes, operations = axes[0]
    names = [short(layer.name) for layer in activity.layers]
    spikes.barh(range(len(names)), [layer.spikes for layer in activity.layers], color=COLOURS[2])
    label_bars(spikes, names, "spikes per image")
    layers = [layer for layer in cost.layers if layer.kernel != "join"]
    names = [short(layer.name) for layer in layers]
    additions = [layer.additions for layer in layers]
    operations.barh(range(len(names)), additions, color=COLOURS[4], label="additions (one per spike and synapse)")
    operations.barh(
        range(len(names)),
        [layer.multiply_accumulates for layer in layers],
        left=additions,
        color=COLOURS[1],
        hatch="///",
        edgecolor="white",
        linewidth=0,
        label="multiply-accumulates (real inputs)",
    )
    operations.plot(
        [layer.dense for layer in layers],
        range(len(names)),
        linestyle="none",
        marker="|",
        markersize=7,
        color="black",
        label="non-spiking twin, one pass",
    )
    label_bars(operations, names, "synaptic operations per image")
    figure.legend(loc="outside lower right", ncols=3, frameon=False, fontsize=7)
    return figure


def label_bars(axes: "Axes", names: Sequence[str], quantity: str) -> None:
    """Layers down, the first on top."""
    from matplotlib.ticker import EngFormatter

    axes.set_yticks(range(len(names)), names, fontsize=7 if len(names) <= 45 else 5)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.set_xlabel(quantity)
    axes.grid(axis="x", color="0.85", linewidth=0.6)
    axes.set_axisbelow(True)


@styled
def accuracy_curves(runs: Mapping[str, tuple[StepAccuracy, Cost]]) -> "Figure":
    """Accuracy after every step, over steps and over the synaptic operations spent until then; a line per run."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    figure, axes = new_figure(1, 2, width=8.0, height=3.2, sharey=True)
    for index, (title, (steps, cost)) in enumerate(runs.items()):
        style = line_style(index, len(steps.top1))
        count = range(1, len(steps.top1) + 1)
        axes[0, 0].plot(count, steps.top1, label=title, **style)
        axes[0, 1].plot(list(accumulate(cost.by_step)), steps.top1, label=title, **style)
    axes[0, 0].set(xlabel="time steps", ylabel="accuracy (%)")
    axes[0, 0].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes[0, 1].set(xlabel="synaptic operations per image, cumulative")
    axes[0, 1].xaxis.set_major_formatter(EngFormatter(sep=" "))
    finish_lines(figure, axes[0], runs)
    return figure


@styled
def exit_curves(networks: Mapping[str, EarlyExit], chosen: ExitPoint | None = None) -> "Figure":
    """Accuracy over mean time steps: images that leave when the network is sure, beside all leaving after k steps.

    Args:
        networks: title -> its curve.
        chosen: a threshold to mark, of the first network.
    """
    from matplotlib.ticker import MaxNLocator

    figure, axes = new_figure(1, 1, width=6.0, height=3.6)
    axis = axes[0, 0]
    for index, (title, found) in enumerate(networks.items()):
        style = line_style(index, 1)
        before = f"{title}: " if title else ""
        points = found.points
        axis.plot(
            [point.mean_steps for point in points],
            [point.top1 for point in points],
            label=f"{before}leaves when it is sure",
            **style,
        )
        steps = range(1, len(found.top1_by_step) + 1)
        style |= {"linestyle": "--", "markerfacecolor": "white"}
        axis.plot(steps, found.top1_by_step, label=f"{before}all after the same step", **style)
    if chosen is not None:
        axis.annotate(
            f"confidence {chosen.threshold:g}",
            (chosen.mean_steps, chosen.top1),
            xytext=(-16, 14),  # a curve that rises ever more slowly leaves this corner free
            textcoords="offset points",
            ha="right",
            arrowprops={"arrowstyle": "-", "color": "0.3", "shrinkB": 3},
        )
    axis.set(xlabel="time steps per image, mean", ylabel="accuracy (%)")
    axis.margins(x=0.15, y=0.12)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    finish_lines(figure, axes[0], {"both lines need a name": None})
    return figure


@styled
def predictions(found: Sequence[Prediction], classes: int = 5) -> "Figure":
    """What was classified and, beside it, the probabilities of the likeliest classes after every step; a row for each.

    Classes that never come to 1 % are left out. Event frames are shown summed over time, ON less OFF events.
    """
    from matplotlib.ticker import MaxNLocator

    figure, axes = new_figure(
        len(found), 2, width=7.2, height=0.5 + 2.1 * len(found), gridspec_kw={"width_ratios": (1, 2.2)}
    )
    for (picture, curves), each in zip(axes, found, strict=True):
        show_input(picture, each)
        picture.set_title(shortened(each.title))
        steps = len(each.by_step)
        for index, (name, column) in enumerate(each.best(classes)):
            values = [100 * step[column] for step in each.by_step]
            if index and max(values) < 1:
                continue
            label = f"{shortened(name)}, {values[-1]:.1f} %"
            curves.plot(range(1, steps + 1), values, label=label, **line_style(index, steps))
        curves.set(ylabel="probability so far (%)", ylim=(-3, 103))
        curves.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        curves.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)
        finish_lines(figure, [curves], {})
    axes[-1, 1].set_xlabel("time steps")
    return figure


def show_input(axes: "Axes", prediction: Prediction) -> None:
    """The picture or the event frames of a prediction."""
    picture = prediction.picture.cpu()
    axes.set_axis_off()
    if picture.ndim == 4:
        off, on = picture.float().sum(0)
        most = float((on - off).abs().max()) or 1.0
        axes.imshow((off - on).numpy(), cmap="PuOr", vmin=-most, vmax=most, interpolation="nearest")
    elif len(picture) == 3:
        axes.imshow(picture.permute(1, 2, 0).numpy(), interpolation="nearest")
    else:
        axes.imshow(picture.float().mean(0).numpy(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")


def shortened(text: str, most: int = 26) -> str:
    """A text that has room beside a picture, in one line."""
    text = printable(text)
    return text if len(text) <= most else f"{text[: most - 4]}...{text[-1]}"


@styled
def gradient_curves(networks: Mapping[str, Sequence[BlockGradient]]) -> "Figure":
    """Norm of the loss's gradient in what each block hands on, from the first layer to the last; a line per network."""
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        """0.01 and 1e-05 where the usual one writes formulas, which no text here may be."""

        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

    figure, axes = new_figure(1, 1, width=6.0, height=3.4)
    axis = axes[0, 0]
    for index, (title, blocks) in enumerate(networks.items()):
        norms = [block.norm or float("nan") for block in blocks]  # a logarithm of 0 is left out
        axis.plot(range(len(norms)), norms, label=title, **line_style(index, len(norms)))
    names = [block.name for block in next(iter(networks.values()))]
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter(Plain())
    axis.yaxis.set_minor_formatter(Plain())
    axis.set_ylabel("norm of the loss's gradient")
    every = max(1, len(names) // 19)
    axis.set_xticks(range(0, len(names), every), [short(name) for name in names[::every]], fontsize=7)
    axis.set_xlabel("in the output of: stem, stage.block")
    finish_lines(figure, axes[0], networks)
    return figure


def line_style(index: int, points: int) -> dict[str, Any]:
    """Colour and marker of a line; markers only as dense as can be told apart."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "markersize": 4,
        "markevery": max(1, points // 12),
        "linewidth": 1.5,
    }


def finish_lines(figure: "Figure", axes: "Sequence[Axes]", titles: Mapping[str, Any]) -> None:
    """A grid behind the lines, and a legend above them where there is something to tell apart."""
    for axis in axes:
        axis.grid(color="0.88", linewidth=0.6)
        axis.set_axisbelow(True)
    if any(titles):
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
