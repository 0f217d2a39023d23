"""Charts of trained networks, from what the analysis counted: each described here once, for the page and for files."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from sresnet.analysis import Analysis
from sresnet.analysis.activity import Activity
from sresnet.analysis.cost import Cost
from sresnet.analysis.exits import EarlyExit, ExitPoint
from sresnet.analysis.gradients import BlockGradient
from sresnet.analysis.prediction import Prediction
from sresnet.analysis.steps import StepAccuracy
from sresnet.models.topology import layer_in_short, layer_in_words
from sresnet.report.charts import (
    Axis,
    Bars,
    ConfusionMatrix,
    HeatMap,
    Line,
    LineChart,
    Photo,
    Picture,
    shortened,
)
from sresnet.report.png import picture_of
from sresnet.streams.walk import Walk
from sresnet.studies.conversions import Point

ACCURACY = "accuracy (%)"
STEPS = "time steps"
OPERATIONS = "synaptic operations per inference"
SPIKES = "spikes per inference"


# Activity and gamma, Fig. 3 -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LayerMap:
    """What the maps show of a layer of neurons."""

    name: str
    shape: tuple[int, ...]
    """(C, H, W)."""
    active: tuple[float, ...]
    """Percent of the neurons at each step."""
    gamma: tuple[float, ...] | None
    """Mean over channels at each step; None without a norm."""


def own_spikes(activity: Activity) -> list[LayerMap]:
    """Layers with their neurons that fire."""
    return [LayerMap(each.name, each.shape, each.active, each.gamma) for each in activity.layers]


def outputs(activity: Activity) -> list[LayerMap]:
    """Layers with their neurons whose output is not 0, skips included."""
    return [LayerMap(each.name, each.shape, each.sending, each.gamma) for each in activity.layers]


def activity_map(layers: Sequence[LayerMap], title: str = "Neurons that fire", most: float = 0) -> HeatMap:
    """Percent of each layer's neurons that fire at each time step (Fig. 3, above); `most` ends the colours, 0: fits."""
    rows = tuple(layer.active for layer in layers)
    limits = (0.0, most or max(map(max, rows)) or 1.0)
    return _map_of(layers, rows, title=title, unit="neurons that fire (%)", limits=limits)


def gamma_map(
    layers: Sequence[LayerMap], title: str = "Gain of the norms", limits: tuple[float, float] | None = None
) -> HeatMap:
    """Mean of gamma over the channels of the norm in front of each layer (Fig. 3, beneath); `limits` of the colours."""
    rows = tuple(layer.gamma or (None,) * len(layer.active) for layer in layers)
    limits = limits or _gamma_limits(layers)
    return _map_of(layers, rows, title=title, unit="mean gamma of the norm", limits=limits, colours="cividis")


def _gamma_limits(layers: Iterable[LayerMap]) -> tuple[float, float]:
    """The lowest and highest gamma; (0, 1) where there is no norm."""
    found = [value for layer in layers for value in layer.gamma or ()]
    return min(found, default=0.0), max(found, default=1.0)


def _map_of(layers: Sequence[LayerMap], rows: tuple[tuple[float | None, ...], ...], **fields: Any) -> HeatMap:
    """Layers down and steps across, with lines where the image size changes; `fields` of the chart."""
    breaks = [row for row in range(1, len(layers)) if layers[row].shape[-2:] != layers[row - 1].shape[-2:]]
    names = tuple(layer_in_words(layer.name) for layer in layers)
    return HeatMap(rows=rows, row_names=names, x_label="time step", breaks=tuple(breaks), **fields)


def activity_maps(networks: Mapping[str, Sequence[LayerMap]]) -> Picture:
    """Maps of activity and beneath of gamma, a column for each network; colours mean the same in all columns.

    Args:
        networks: title -> layers, as `own_spikes` or `outputs` give them.
    """
    every = [layer for layers in networks.values() for layer in layers]
    most, limits = max(max(layer.active) for layer in every), _gamma_limits(every)
    above = [activity_map(layers, title, most) for title, layers in networks.items()]
    beneath = [gamma_map(layers, title and f"{title}, gamma", limits) for title, layers in networks.items()]
    return Picture(panels=(tuple(above), tuple(beneath)))


# Operations and accuracy ----------------------------------------------------------------------------------------------


def spike_bars(activity: Activity) -> Bars:
    """Spikes of each layer of neurons."""
    return Bars(
        title="Spikes by layer",
        row_names=tuple(layer_in_words(layer.name) for layer in activity.layers),
        parts=(("spikes", tuple(layer.spikes for layer in activity.layers)),),
        x_label=SPIKES,
        style=2,
    )


def operation_bars(cost: Cost) -> Bars:
    """Synaptic operations that each convolution spends."""
    layers = [layer for layer in cost.layers if layer.kernel != "join"]
    return Bars(
        title="Operations by layer",
        row_names=tuple(layer_in_words(layer.name) for layer in layers),
        parts=(
            ("additions, one per spike and synapse", tuple(layer.additions for layer in layers)),
            ("multiply-accumulates, for real inputs", tuple(layer.multiply_accumulates for layer in layers)),
        ),
        x_label=OPERATIONS,
        marks=("multiply-accumulates of the ANN counterpart", tuple(layer.dense for layer in layers)),
    )


def step_line(name: str, steps: StepAccuracy, style: int | None = None) -> Line:
    """Accuracy after every step."""
    return Line(name=name, x=range(1, len(steps.top1) + 1), y=steps.top1, style=style)


def operation_line(name: str, steps: StepAccuracy, cost: Cost, style: int | None = None) -> Line:
    """Accuracy after every step over the synaptic operations spent until then."""
    return Line(name=name, x=list(accumulate(cost.by_step)), y=steps.top1, style=style)


def over_steps(lines: Sequence[Line], title: str = "Accuracy over time steps") -> LineChart:
    """Lines as `step_line` gives them."""
    return LineChart(title=title, lines=tuple(lines), x=Axis(label=STEPS), y=Axis(label=ACCURACY))


def over_operations(lines: Sequence[Line], title: str = "Accuracy over synaptic operations") -> LineChart:
    """Lines as `operation_line` gives them."""
    return LineChart(title=title, lines=tuple(lines), x=Axis(label=OPERATIONS), y=Axis(label=ACCURACY))


def accuracy_curves(runs: Mapping[str, tuple[StepAccuracy, Cost]]) -> Picture:
    """Accuracy over steps, and beside it over operations; a line per run."""
    steps = over_steps([step_line(name, found) for name, (found, _) in runs.items()])
    operations = over_operations([operation_line(name, found, cost) for name, (found, cost) in runs.items()])
    return Picture(panels=((steps, operations),), same_y=True)


def exit_curves(networks: Mapping[str, EarlyExit], chosen: ExitPoint | None = None) -> LineChart:
    """Accuracy over mean time steps: images that exit when the network is confident, beside all exiting after k steps.

    Args:
        networks: title -> its curve.
        chosen: a threshold to mark, of the first network.
    """
    lines = []
    for style, (title, found) in enumerate(networks.items()):
        before = f"{title}: " if title else ""
        steps, top1 = [point.mean_steps for point in found.points], [point.top1 for point in found.points]
        every, alike = range(1, len(found.top1_by_step) + 1), f"{before}all images at the same step"
        lines.append(Line(name=f"{before}early exit", x=steps, y=top1, style=style))
        lines.append(Line(name=alike, x=every, y=found.top1_by_step, style=style, form="dashes"))
    return LineChart(
        title="Accuracy over mean time steps",
        lines=tuple(lines),
        x=Axis(label="time steps per image, mean"),
        y=Axis(label=ACCURACY),
        note=(f"confidence {chosen.threshold:g}", chosen.mean_steps, chosen.top1) if chosen else None,
    )


def conversion_curves(points: Sequence[Point], ann_top1: float) -> Picture:
    """Accuracy of conversions over time steps, synaptic operations and energy, beside the ANN's accuracy.

    Args:
        points: those of one method stand together as a line; a network that was trained as it is has one.
        ann_top1: accuracy of the ANN, percent.
    """
    names = list(dict.fromkeys(point.name for point in points))
    panels = []
    for title, label, value in (
        ("Accuracy over time steps", STEPS, lambda point: float(point.num_steps)),
        ("Accuracy over synaptic operations", OPERATIONS, lambda point: point.synaptic_operations),
        ("Accuracy over energy", "energy of the arithmetic per image, µJ", lambda point: point.energy),
    ):
        lines = [
            Line(
                name=name,
                x=[value(point) for point in points if point.name == name],
                y=[point.top1 for point in points if point.name == name],
                style=style,
            )
            for style, name in enumerate(names)
        ]
        ends = [min(map(value, points)), max(map(value, points))]
        lines.append(Line(name="the ANN", x=ends, y=[ann_top1] * 2, form="dashes", own=True))
        panels.append(
            LineChart(title=title, lines=tuple(lines), x=Axis(label=label, logarithmic=True), y=Axis(label=ACCURACY))
        )
    return Picture(panels=(tuple(panels),), same_y=True)


# Gradients and predictions --------------------------------------------------------------------------------------------


def _gradient_curves(networks: Mapping[str, Sequence[BlockGradient]]) -> LineChart:
    """Norm of the loss's gradient in what each block passes on, from first to last; a line per network."""
    norms = {name: [block.norm for block in blocks] for name, blocks in networks.items()}
    lines = [Line(name=name, x=range(len(values)), y=values) for name, values in norms.items()]
    return gradient_chart(lines, [block.name for block in next(iter(networks.values()))])


def gradient_chart(lines: Sequence[Line], blocks: Sequence[str]) -> LineChart:
    """Gradient norms over the blocks of these names."""
    return LineChart(
        title="Gradient through depth",
        lines=tuple(lines),
        x=Axis(
            label="in the output of: stem, stage.block",
            names=tuple(map(layer_in_short, blocks)),
            told=tuple(map(layer_in_words, blocks)),
        ),
        y=Axis(label="norm of the loss's gradient", logarithmic=True),
    )


def confusion_matrix(counts: Sequence[Sequence[int]], class_names: Sequence[str]) -> ConfusionMatrix:
    """How often each class is predicted as each."""
    return ConfusionMatrix(title="Confusion matrix", counts=tuple(map(tuple, counts)), class_names=tuple(class_names))


def probabilities(
    title: str, by_step: Sequence[Sequence[float]], class_names: Sequence[str], classes: int, also: int | None = None
) -> LineChart:
    """Probabilities of the likeliest classes after every step, those left out that never come to 1 %.

    Args:
        title: of the chart.
        by_step: [T][classes].
        class_names: all of them.
        classes: how many to show.
        also: a class to show in any case.
    """
    last = by_step[-1]
    likely = sorted(range(len(last)), key=lambda index: -last[index])[:classes]
    shown = [index for index in likely if index == likely[0] or max(step[index] for step in by_step) >= 0.01]
    if also is not None and also not in shown:
        shown.append(also)
    steps = range(1, len(by_step) + 1)
    lines = [Line(name=class_names[index], x=steps, y=[100 * step[index] for step in by_step]) for index in shown]
    return LineChart(
        title=title,
        lines=tuple(lines),
        x=Axis(label=STEPS),
        y=Axis(label="probability so far (%)", limits=(-4.0, 104.0)),
        small=True,
    )


def predictions(found: Sequence[Prediction], classes: int = 5) -> Picture:
    """What was classified and, beside it, the probabilities of the likeliest classes after every step; a row each."""
    rows = []
    for each in found:
        last = zip(each.class_names, each.by_step[-1], strict=True)
        names = [f"{shortened(name, 26)}, {100 * probability:.1f} %" for name, probability in last]
        photo = Photo(title=shortened(each.title, 26), pixels=picture_of(each.picture.cpu()))
        rows.append((photo, probabilities("", each.by_step, names, classes)))
    return Picture(panels=tuple(rows))


def over_time(walks: Sequence[Walk], classes: int = 5) -> Picture:
    """Probabilities of the classes that were likeliest at some time, at the end of each window; a row each recording.

    Of a recording that is shorter than two windows, after every step.
    """
    rows = []
    for walk in walks:
        whole = [each for each in walk.answers if each.whole]
        shown = whole if len(whole) > 1 else walk.answers
        most = [max(each.probabilities[index] for each in shown) for index in range(len(walk.class_names))]
        likely = sorted(range(len(most)), key=lambda index: -most[index])[:classes]
        # Nothing joins the ends of a silence.
        gaps = [index for index in range(1, len(shown)) if shown[index].start > shown[index - 1].end]
        times = _broken([walk.seconds(each.end) for each in shown], gaps)
        lines = []
        for index in sorted(likely):
            percent = _broken([100 * each.probabilities[index] for each in shown], gaps)
            lines.append(Line(name=shortened(walk.class_names[index], 26), x=times, y=percent, style=index))
        chart = LineChart(
            title=shortened(walk.title, 60),
            lines=tuple(lines),
            x=Axis(label="time since the first event (s)"),
            y=Axis(label="probability (%)", limits=(-4.0, 104.0)),
        )
        rows.append((chart,))
    return Picture(panels=tuple(rows))


def _broken(values: Sequence[float], gaps: Sequence[int]) -> list[float]:
    """Values with NaN in front of those at the indices `gaps`."""
    ends = [0, *gaps, len(values)]
    parts = [list(values[first:end]) for first, end in pairwise(ends)]
    return [value for part in parts for value in (*part, math.nan)][:-1]


def analysis_pictures(analysis: Analysis) -> dict[str, Picture | LineChart]:
    """Name -> picture of all that an analysis has."""
    pictures: dict[str, Picture | LineChart] = {
        "activity": activity_maps({"": own_spikes(analysis.activity)}),
        "cost": Picture(panels=((spike_bars(analysis.activity), operation_bars(analysis.cost)),)),
        "accuracy": accuracy_curves({"": (analysis.steps, analysis.cost)}),
    }
    if analysis.gradients:
        pictures["gradients"] = _gradient_curves({"": analysis.gradients})
    return pictures
