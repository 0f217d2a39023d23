"""Pictures of results: Figs. 3 to 6 of the paper, and what its text argues about time steps, spikes and gradients.

Conventions are those of `sresnet.analysis.figures`. Several seeds are shown as their mean, with one standard deviation
to both sides. A connection has the same colour and marker in every picture.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from sresnet.analysis.figures import (
    COLOURS,
    MARKERS,
    activity_maps,
    finish_lines,
    label_bars,
    line_style,
    new_figure,
    short,
    styled,
)
from sresnet.studies.cells import (
    F3,
    PLAIN,
    T2_10,
    T2_100,
    T3,
    T4,
    T5,
    T6,
    T7,
    T11,
    T12,
    T13,
    T15,
    T16_10,
    T16_100,
    Pick,
)
from sresnet.studies.evidence import Evidence
from sresnet.studies.measures import layers_of, mean_over_seeds, spikes_of, stage1_spikes, training_accuracies
from sresnet.studies.published import TABLE_14, Published
from sresnet.studies.rows import Row
from sresnet.studies.study import Result, Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ORDER = {"S2S": 0, "S2M": 1, "V2V": 2, "VGG11": 3}
"""Place of a network among colours and markers."""
FIG3: dict[str, Pick] = {"VGG11": F3["vgg"], "S2M": F3["s2m"], "S2S": F3["s2s"], "V2V": F3["v2v"]}
"""In the paper's order of columns."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A picture that there is enough for."""

    name: str
    """Of its files, without ending."""
    title: str
    caption: str
    """What must be known to read it."""
    draw: Callable[[], "Figure"]
    """UserError where matplotlib is not installed."""


def drawings(scale: str, studies: Mapping[str, Study], results: Mapping[str, Result]) -> list[Drawing]:
    """Every picture whose results are there; nothing is drawn yet.

    Args:
        scale: its name.
        studies: name -> study at that scale, all of them.
        results: key of a training -> result.
    """
    evidence = Evidence(scale=scale, studies=studies, results=results)
    makers: tuple[Callable[[Evidence], Drawing | None], ...] = (
        maps,
        *(partial(over_parameters, data=data) for data in SIZES),
        over_steps,
        over_operations,
        spikes,
        gradients,
        learning_curves,
    )
    return [drawing for make in makers if (drawing := make(evidence))]


# Fig. 3 ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class LayerMap:
    """A layer of neurons; means over seeds."""

    name: str
    shape: tuple[int, ...]
    active: tuple[float, ...]
    """Percent of the neurons that fire at each step."""
    gamma: tuple[float, ...] | None
    """Mean over channels."""


@dataclass(frozen=True, kw_only=True)
class NetworkMap:
    """A network, as `activity_maps` takes it."""

    layers: tuple[LayerMap, ...]

    @property
    def num_steps(self) -> int:
        """Time steps."""
        return len(self.layers[0].active)


def network_map(results: Sequence[Result]) -> NetworkMap | None:
    """Means over seeds of one network; None where nothing was counted."""
    counted = [found for result in results if (found := layers_of(result))]
    if not counted:
        return None
    layers = []
    for same in zip(*counted, strict=True):
        gammas = [layer["gamma"] for layer in same if layer["gamma"]]
        layers.append(
            LayerMap(
                name=same[0]["name"],
                shape=tuple(same[0]["shape"]),
                active=tuple(mean_over_seeds([layer["active"] for layer in same])),
                gamma=tuple(mean_over_seeds(gammas)) if gammas else None,
            )
        )
    return NetworkMap(layers=tuple(layers))


def maps(evidence: Evidence) -> Drawing | None:
    """Fig. 3."""
    found = {name: found for name, pick in FIG3.items() if (found := network_map(evidence.of(pick)))}
    if not found:
        return None
    return Drawing(
        name="figure3",
        title="Fig. 3: who fires when, and gamma",
        caption="Above: percent of each layer's neurons that fire at each step, by their own spikes, so that in S2S a "
        "sum is not counted twice. Beneath: gamma of the norm in front of them, mean over channels. White lines: the "
        "image size changes. CIFAR-100 test images, mean over seeds.",
        draw=lambda: activity_maps(found),
    )


# Figs. 4 to 6 ---------------------------------------------------------------------------------------------------------

SIZES: dict[str, dict[str, Pick]] = {
    "CIFAR-10": {
        "16 filters, 20 layers": T3["shallow"],
        "16 filters": T7["narrow"],
        "16 filters, boosting": T7["narrow_boosted"],
        "32 filters": T7["wide"],
        "32 filters, boosting": T7["wide_boosted"],
    },
    "CIFAR-100": {
        "16 filters": T6["narrow"],
        "16 filters, boosting": T6["narrow_boosted"],
        "32 filters": T6["wide"],
        "32 filters, boosting": T6["wide_boosted"],
    },
    "DVS-CIFAR10": {
        "16 filters, 32x32": T11["tuned"],
        "32 filters, boosting, 32x32": T11["wide_tuned"],
        "32 filters, 32x32": T13["s32"],
        "32 filters, 64x64": T13["s64"],
        "32 filters, 128x128": T13["s128"],
    },
}
"""Networks of ours in Figs. 4 to 6, data -> label -> cell."""
FIGURES = {"CIFAR-10": 4, "CIFAR-100": 5, "DVS-CIFAR10": 6}


def over_parameters(evidence: Evidence, data: str) -> Drawing | None:
    """Fig. 4, 5 or 6."""
    ours = {label: row for label, pick in SIZES[data].items() if (row := evidence.row(pick)).values}
    if not ours:
        return None
    others = [entry for entry in TABLE_14 if entry.data == data and entry.parameters]
    simulated = any(row.simulated for row in ours.values())
    here = f"scale {evidence.scale}" + (", simulated recordings" if simulated else "")
    return Drawing(
        name=f"figure{FIGURES[data]}",
        title=f"Fig. {FIGURES[data]}: accuracy over parameters, {data}",
        caption="Left, hollow: accuracies as published, by the best test epoch; parameters counted from the authors' "
        "code or, where a dagger stands, from others' descriptions. None of them was run here. Right, filled: measured "
        f"here, {here}, after the last epoch."
        + (" All are pre-trained on CIFAR-100." if data == "DVS-CIFAR10" else "")
        + ("" if evidence.scale == "paper" else " The axes differ: the two sides are not to be compared."),
        draw=lambda: draw_over_parameters(others, ours, here, evidence.scale == "paper"),
    )


@styled
def draw_over_parameters(
    others: Sequence[Published],
    ours: Mapping[str, Row],
    here: str,
    same_axes: bool,
) -> "Figure":
    """Published and measured accuracies over parameters, side by side."""
    figure, axes = new_figure(1, 2, width=8.4, height=3.9, sharex=same_axes, sharey=same_axes)
    left, right = axes[0]
    for index, entry in enumerate(others):
        own = entry.reference is None
        dagger = "†" if entry.topology and entry.topology.checked == "not verified" else ""
        left.plot(
            [entry.parameters],
            [entry.accuracy],
            linestyle="none",
            marker="*" if own else MARKERS[index % len(MARKERS)],
            markersize=11 if own else 7,
            markerfacecolor="white",
            color="black" if own else COLOURS[index % len(COLOURS)],
            markeredgewidth=1.5,
            label=f"{entry.network}{dagger}" + (" (the paper)" if own else ""),
        )
    for index, (label, row) in enumerate(ours.items()):
        point(right, [row.parameters] * len(row.values), row.values, index, f"{label} ({len(row.values)})")
    left.set_title("published")
    right.set_title(f"measured here, {here}")
    for axis in (left, right):
        axis.set(xlabel="parameters", ylabel="accuracy (%)")
        axis.margins(x=0.2, y=0.15)
        logarithmic(axis)
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, frameon=False, fontsize=7)
    finish_lines(figure, (left, right), {})
    return figure


def point(axis: "Axes", x: Sequence[float], y: Sequence[float], index: int, label: str) -> None:
    """A network: the mean over its seeds, and one standard deviation to all sides where there are several."""
    style = line_style(index, 1)
    if len(y) > 1:
        ends = {"xerr": stdev(x), "yerr": stdev(y), "ecolor": style["color"]}
        axis.errorbar([fmean(x)], [fmean(y)], fmt="none", capsize=3, linewidth=1, **ends)
    axis.plot([fmean(x)], [fmean(y)], label=label, **{**style, "linestyle": "none", "markersize": 7})


def logarithmic(axis: "Axes") -> None:
    """A logarithmic x axis with round numbers, also where it spans less than a decade; called after drawing."""
    from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator

    axis.set_xscale("log")
    low, high = axis.get_xlim()
    decades = high > 10 * low
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if decades else MaxNLocator(nbins=5, steps=(1, 2, 5, 10)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))


# Time steps and operations, Section 5.2 -------------------------------------------------------------------------------

CURVES = {"CIFAR-100": T16_100, "CIFAR-10": T16_10}


def curve_of(result: Result) -> tuple[float, ...]:
    """Accuracy after each step, by the weights that Table 16 looks at where they are known."""
    return result.best_by_steps or result.by_steps


def over_steps(evidence: Evidence) -> Drawing | None:
    """Table 16 as curves."""
    found: dict[str, dict[str, list[tuple[float, ...]]]] = {}
    for data, picks in CURVES.items():
        for name in ("s50of50", "s20of20"):
            curves = [curve for result in evidence.of(picks[name]) if (curve := curve_of(result))]
            if curves:
                found.setdefault(data, {})[f"trained with {len(curves[0])} steps"] = curves
    if not found:
        return None
    return Drawing(
        name="steps",
        title="Accuracy over time steps at inference (Table 16)",
        caption="Networks with boosting, 32 filters in the paper; the weights of the best test epoch. Early stop: the "
        "steps that are left out are the last ones.",
        draw=lambda: draw_over_steps(found),
    )


@styled
def draw_over_steps(found: Mapping[str, Mapping[str, Sequence[Sequence[float]]]]) -> "Figure":
    """A panel for each data set, a line for each training."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = new_figure(1, len(found), width=1.2 + 3.4 * len(found), height=3.2)
    for axis, (data, lines) in zip(axes[0], found.items(), strict=True):
        for index, (label, curves) in enumerate(lines.items()):
            steps = range(1, len(curves[0]) + 1)
            with_band(axis, steps, curves, f"{label} ({len(curves)})", index)
        axis.set(title=data, xlabel="time steps", ylabel="accuracy (%)")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.legend(frameon=False, loc="lower right")
    finish_lines(figure, axes[0], {})
    return figure


def with_band(axis: "Axes", x: Sequence[float], curves: Sequence[Sequence[float]], label: str, index: int) -> None:
    """Mean of several curves, and one standard deviation to both sides."""
    mean = mean_over_seeds(curves)
    axis.plot(x, mean, label=label, **line_style(index, len(mean)))
    if len(curves) > 1:
        spreads = [stdev(column) for column in zip(*curves, strict=True)]
        low = [value - spread for value, spread in zip(mean, spreads, strict=True)]
        high = [value + spread for value, spread in zip(mean, spreads, strict=True)]
        axis.fill_between(x, low, high, color=COLOURS[index % len(COLOURS)], alpha=0.2, linewidth=0)


OPERATIONS: dict[str, dict[str, tuple[Pick, ...]]] = {
    "CIFAR-10": {
        "S2S": (T2_10["s2s"],),
        "S2M": (T2_10["s2m"],),
        "V2V": (T2_10["v2v"],),
        "S2S, half the filters, three depths": (T3["shallow"], T3["middle"], T3["deep"]),
        "no skips, half the filters, three depths": (PLAIN["d20"], PLAIN["d38"], PLAIN["d44"]),
        "non-spiking twins, multiply-accumulates": (T15["ann"], T15["wide_ann"]),
    },
    "CIFAR-100": {
        "S2S": (T2_100["s2s"],),
        "S2M": (T2_100["s2m"],),
        "V2V": (T2_100["v2v"],),
        "VGG11": (F3["vgg"],),
        "S2S, norm averaged over time": (T5["averaged"],),
        "S2S, half the filters, image and Poisson": (T4["image"], T4["poisson"]),
    },
}
"""Networks in the picture of operations, data -> label -> cells."""


def operations_of(result: Result) -> float | None:
    """Synaptic operations per image."""
    value = (result.activity or {}).get("synaptic_operations")
    return float(value) if isinstance(value, int | float) else None


Points = list[tuple[list[float], list[float]]]
"""Operations and accuracies of each seed, for each network of one label."""


def over_operations(evidence: Evidence) -> Drawing | None:
    """Accuracy over synaptic operations."""
    found: dict[str, dict[str, Points]] = {}
    for data, groups in OPERATIONS.items():
        for label, picks in groups.items():
            for pick in picks:
                pairs = [
                    (operations, accuracy)
                    for result in evidence.of(pick)
                    if (operations := operations_of(result)) and (accuracy := result.value("last-epoch")) is not None
                ]
                if pairs:
                    x, y = (list(column) for column in zip(*pairs, strict=True))
                    found.setdefault(data, {}).setdefault(label, []).append((x, y))
    if not found:
        return None
    return Drawing(
        name="operations",
        title="Accuracy over synaptic operations",
        caption="Per image, all steps together: an addition for each spike at each synapse, a multiply-accumulate for "
        "each real number. Test accuracy after the last epoch. An operation of the twins, and of the first "
        "convolution, is a multiply-accumulate and costs more than an addition.",
        draw=lambda: draw_over_operations(found),
    )


@styled
def draw_over_operations(found: Mapping[str, Mapping[str, Points]]) -> "Figure":
    """A panel for each data set, a point for each network."""
    figure, axes = new_figure(1, len(found), width=1.2 + 3.8 * len(found), height=4.1)
    for axis, (data, groups) in zip(axes[0], found.items(), strict=True):
        for label, points in groups.items():
            index = list(OPERATIONS[data]).index(label)
            for place, (x, y) in enumerate(points):
                point(axis, x, y, index, "" if place else label)
            x, y = [fmean(x) for x, _ in points], [fmean(y) for _, y in points]
            axis.plot(x, y, ":", color=COLOURS[index], linewidth=1)
        axis.set(title=data, xlabel="synaptic operations per image", ylabel="accuracy (%)")
        axis.margins(x=0.1, y=0.12)
        logarithmic(axis)
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=1, frameon=False, fontsize=7)
    finish_lines(figure, axes[0], {})
    return figure


# Spikes and gradients of the three connections ------------------------------------------------------------------------


def spikes(evidence: Evidence) -> Drawing | None:
    """Spikes per inference."""
    panels: dict[str, dict[str, list[float]]] = {}
    for title, read in (("own spikes, all layers", spikes_of), ("sent by stem and stage 1", stage1_spikes)):
        for name, pick in FIG3.items():
            cell = evidence.cell(pick)
            numbers = [value for result in evidence.of(pick) if (value := read(result, cell)) is not None]
            if numbers:
                panels.setdefault(title, {})[name] = numbers
    if not panels:
        return None
    return Drawing(
        name="spikes",
        title="Spikes per inference",
        caption="Per CIFAR-100 test image, all steps. Left: neurons' own spikes, in S2S no sum counted. Right: what "
        "stem and stage 1 send, a sum k counted as k; further on, S2S sends real numbers. Bars: mean; lines: one "
        "standard deviation to both sides; rings: seeds. The VGG11 has other layers, another number of neurons and no "
        "stages.",
        draw=lambda: draw_spikes(panels),
    )


@styled
def draw_spikes(panels: Mapping[str, Mapping[str, Sequence[float]]]) -> "Figure":
    """A bar for each network."""
    rows = max(map(len, panels.values()))
    figure, axes = new_figure(1, len(panels), width=0.6 + 3.7 * len(panels), height=1.1 + 0.45 * rows)
    for axis, (title, found) in zip(axes[0], panels.items(), strict=True):
        for place, (name, numbers) in enumerate(found.items()):
            axis.barh(
                [place],
                [fmean(numbers)],
                xerr=[stdev(numbers)] if len(numbers) > 1 else None,
                height=0.6,
                color=COLOURS[ORDER[name]],
                capsize=3,
            )
            axis.plot(numbers, [place] * len(numbers), "o", color="black", markerfacecolor="white", markersize=4)
        label_bars(axis, list(found), "spikes per image")
        axis.set_title(title)
    return figure


def gradients(evidence: Evidence) -> Drawing | None:
    """Gradient norm through depth."""
    found: dict[str, tuple[list[str], list[list[float]]]] = {}
    for name, pick in FIG3.items():
        if name == "VGG11":  # other layers
            continue
        runs: list[Any] = [
            blocks for result in evidence.of(pick) if (blocks := (result.activity or {}).get("gradients"))
        ]
        if runs:
            norms = [[float(block["norm"]) or float("nan") for block in blocks] for blocks in runs]
            found[name] = [block["block"] for block in runs[0]], norms
    if not found:
        return None
    return Drawing(
        name="gradients",
        title="Gradient through depth (Eqs. 9, 11 and 17)",
        caption="Norm of the loss's gradient in what the stem and each block hand on, in the trained network, with "
        "batch statistics, on a few CIFAR-100 test images. The gradient comes from the right. Image sizes change from "
        "stage to stage, so that levels are best compared between connections, and slopes within a stage.",
        draw=lambda: draw_gradients(found),
    )


@styled
def draw_gradients(found: Mapping[str, tuple[Sequence[str], Sequence[Sequence[float]]]]) -> "Figure":
    """A line for each connection."""
    figure, axes = new_figure(1, 1, width=6.0, height=3.4)
    axis = axes[0, 0]
    for name, (_, runs) in found.items():
        with_band(axis, range(len(runs[0])), runs, f"{name} ({len(runs)})", ORDER[name])
    blocks = next(iter(found.values()))[0]
    every = max(1, len(blocks) // 19)
    axis.set_xticks(range(0, len(blocks), every), [short(block) for block in blocks[::every]], fontsize=7)
    axis.set(yscale="log", ylabel="norm of the loss's gradient", xlabel="in the output of: stem, stage.block")
    finish_lines(figure, axes[0], {"lines need a name": None})
    return figure


# Learning curves, Tables 11 and 12 ------------------------------------------------------------------------------------

STARTS: dict[str, tuple[Pick, Pick]] = {
    "DVS-CIFAR10, 16 filters": (T11["scratch"], T11["tuned"]),
    "DVS-CIFAR10, 32 filters, boosting": (T11["wide_scratch"], T11["wide_tuned"]),
    "CIFAR-10, 16 filters": (T12["scratch"], T12["tuned"]),
    "CIFAR-10, 32 filters, boosting": (T12["wide_scratch"], T12["wide_tuned"]),
}


def learning_curves(evidence: Evidence) -> Drawing | None:
    """From scratch and fine-tuned."""
    found: dict[str, tuple[list[list[float]], list[list[float]]]] = {}
    for title, picks in STARTS.items():
        scratch, tuned = (
            [curve for result in evidence.of(pick) if (curve := training_accuracies(result))] for pick in picks
        )
        if scratch and tuned:
            found[title] = scratch, tuned
    if not found:
        return None
    simulated = any(evidence.cell(STARTS[title][0]).simulated for title in found)
    return Drawing(
        name="learning-curves",
        title="Training from scratch and from CIFAR-100 (Tables 11 and 12)",
        caption="Accuracy on the augmented training images of each epoch, the curve that every training has. The names "
        "say the paper's filters. Networks of 16 filters are trained for fewer epochs on CIFAR-10 when fine-tuned."
        + (" DVS-CIFAR10 stands for SIMULATED recordings here." if simulated else ""),
        draw=lambda: draw_learning_curves(found),
    )


@styled
def draw_learning_curves(found: Mapping[str, tuple[Sequence[Sequence[float]], Sequence[Sequence[float]]]]) -> "Figure":
    """A panel for each network."""
    from matplotlib.ticker import MaxNLocator

    columns = min(2, len(found))
    figure, axes = new_figure(-(-len(found) // 2), columns, width=1.2 + 3.4 * columns, height=3.0 * -(-len(found) // 2))
    panels = list(axes.flat)
    for axis, (title, (scratch, tuned)) in zip(panels, found.items(), strict=False):
        with_band(axis, range(1, len(scratch[0]) + 1), scratch, f"from scratch ({len(scratch)})", 0)
        with_band(axis, range(1, len(tuned[0]) + 1), tuned, f"from CIFAR-100 ({len(tuned)})", 1)
        axis.set(title=title, xlabel="epoch", ylabel="training accuracy (%)")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.legend(frameon=False, loc="lower right")
    for axis in panels[len(found) :]:
        axis.set_axis_off()
    finish_lines(figure, panels[: len(found)], {})
    return figure
