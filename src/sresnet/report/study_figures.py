"""Pictures of results: Figs. 3 to 6 of the paper, and what its text argues about time steps, spikes and gradients.

Several seeds are shown as their mean, with one standard deviation to both sides. A connection has the same colour and
marker in every picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from sresnet.report.charts import Axis, Bars, Line, LineChart, Picture, deviation_of
from sresnet.report.figures import ACCURACY, OPERATIONS, SPIKES, STEPS, LayerMap, activity_maps, gradient_chart
from sresnet.studies import cells, searches
from sresnet.studies.cells import F3, T6, T7, T11, T12, T13, Pick
from sresnet.studies.evidence import Evidence
from sresnet.studies.measures import layers_of, mean_over_seeds, spikes_of, stage1_spikes, training_accuracies
from sresnet.studies.published import TABLE_14, Published
from sresnet.studies.study import Result

ORDER = {"S2S": 0, "S2M": 1, "V2V": 2, "VGG11": 3}
"""Place of a network among colours and markers."""
FIG3: dict[str, Pick] = {"VGG11": F3["vgg"], "S2M": F3["s2m"], "S2S": F3["s2s"], "V2V": F3["v2v"]}
"""In the paper's order of columns."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A picture that there are results for."""

    name: str
    """Of its files, without ending."""
    title: str
    caption: str
    """What must be known to read it."""
    picture: Picture


def drawings(evidence: Evidence) -> list[Drawing]:
    """Every picture whose results are there."""
    makers = (_over_steps, _leaks, _over_operations, _spikes, _gradients, _learning_curves)
    parameters = (over_parameters(evidence, data) for data in SIZES)
    found = [maps(evidence), *parameters, *all_beside_published(evidence), *(make(evidence) for make in makers)]
    return [drawing for drawing in found if drawing]


def _drawing_of(charts: Sequence[LineChart | Bars], name: str, title: str, caption: str) -> Drawing | None:
    """Charts in rows of two; None where there are none."""
    panels = tuple(tuple(charts[at : at + 2]) for at in range(0, len(charts), 2))
    return Drawing(name=name, title=title, caption=caption, picture=Picture(panels=panels)) if charts else None


# Fig. 3 ---------------------------------------------------------------------------------------------------------------


def _mean_maps(results: Sequence[Result]) -> list[LayerMap]:
    """Layers of one network, means over seeds; none where nothing was counted."""
    counted = [found for result in results if (found := layers_of(result))]
    layers = []
    for same in zip(*counted, strict=True):
        gammas = [layer["gamma"] for layer in same if layer["gamma"]]
        active = tuple(mean_over_seeds([layer["active"] for layer in same]))
        gamma = tuple(mean_over_seeds(gammas)) if gammas else None
        layers.append(LayerMap(same[0]["name"], tuple(same[0]["shape"]), active, gamma))
    return layers


def maps(evidence: Evidence) -> Drawing | None:
    """Fig. 3."""
    found = {name: found for name, pick in FIG3.items() if (found := _mean_maps(evidence.of(pick)))}
    if not found:
        return None
    return Drawing(
        name="figure3",
        title="Fig. 3: firing rates over time, and gamma",
        caption="Above: percent of each layer's neurons that fire at each step, by their own spikes, so that in S2S a "
        "sum is not counted twice. Beneath: gamma of the norm in front of them, mean over channels. White lines: the "
        "image size changes. CIFAR-100 test images, mean over seeds.",
        picture=activity_maps(found),
    )


# Figs. 4 to 6 ---------------------------------------------------------------------------------------------------------

SIZES: dict[str, dict[str, Pick]] = {
    "CIFAR-10": {
        "16 filters, 20 layers": cells.T3["shallow"],
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
"""The package's networks in Figs. 4 to 6, data -> label -> cell."""


def over_parameters(evidence: Evidence, data: str) -> Drawing | None:
    """Fig. 4, 5 or 6."""
    ours = {label: row for label, pick in SIZES[data].items() if (row := evidence.row(pick)).values}
    if not ours:
        return None
    simulated = any(row.simulated for row in ours.values())
    here = f"scale {evidence.scale}" + (", simulated recordings" if simulated else "")
    others = [entry for entry in TABLE_14 if entry.data == data and entry.in_figures]
    published = [_published_point(entry, style) for style, entry in enumerate(others)]
    measured = [
        _points(f"{label} ({len(row.values)})", [([float(row.parameters)] * len(row.values), row.values)], style)
        for style, (label, row) in enumerate(ours.items())
    ]
    x, y, same = Axis(label="parameters", logarithmic=True), Axis(label=ACCURACY), evidence.scale == "paper"
    left = LineChart(title="published", lines=tuple(published), x=x, y=y)
    right = LineChart(title=f"measured here, {here}", lines=tuple(measured), x=x, y=y)
    number = 4 + list(SIZES).index(data)
    return Drawing(
        name=f"figure{number}",
        title=f"Fig. {number}: accuracy over parameters, {data}",
        caption="Left, hollow: accuracies as published, by the best test epoch; parameters counted from the authors' "
        "code or, if marked by a dagger, from others' descriptions. None was run here at that size. Right, filled: "
        f"measured here, {here}, after the last epoch."
        + (" All are pre-trained on CIFAR-100." if data == "DVS-CIFAR10" else "")
        + ("" if same else " The axes differ: the two sides are not to be compared."),
        picture=Picture(panels=((left, right),), same_x=same, same_y=same),
    )


def _published_point(entry: Published, style: int) -> Line:
    """A network of others, or the paper's own, hollow."""
    own = entry.reference is None
    dagger = "†" if entry.topology and entry.topology.checked == "not verified" else ""
    name = f"{entry.network}{dagger}" + (" (the paper)" if own else ", converted" if entry.conversion else "")
    line = _points(name, [([float(entry.parameters or 0)], [entry.accuracy])], style)
    return replace(line, hollow=True, own=own)


def all_beside_published(evidence: Evidence) -> list[Drawing]:
    """The pictures of Table 14 that there are results for, one for each data set."""
    return [found for data in SIZES if (found := _beside_published(evidence, data))]


def _beside_published(evidence: Evidence, data: str) -> Drawing | None:
    """Every row of Table 14 on one data set: as published and as measured over parameters, and over operations."""
    study = evidence.studies["table14"]
    rows = {row.cell.row: row for row in evidence.rows(study) if row.cell.column == data and row.values}
    entries = [entry for entry in TABLE_14 if entry.data == data]
    if not rows:
        return None
    published, measured, operations = [], [], []
    for style, entry in enumerate(entries):
        if entry.parameters:
            published.append(_published_point(entry, style))
        row = rows.get(entry.row)
        if row is None or row.mean is None or row.costs is None:
            continue
        point = Line(name="", x=[row.costs.parameters], y=[row.mean], form="points", style=style)
        measured.append(replace(point, own=entry.topology is None))
        if row.costs.operations:
            name = f"{entry.network}, T = {row.costs.num_steps}" + (", converted" if entry.conversion else "")
            operations.append(replace(point, name=name, x=[row.costs.operations], own=entry.topology is None))
    simulated = ", simulated recordings" if any(row.simulated for row in rows.values()) else ""
    x, y = Axis(label="parameters", logarithmic=True), Axis(label=ACCURACY)
    charts = [LineChart(title="hollow: published, filled: measured here", lines=(*published, *measured), x=x, y=y)]
    if operations:
        x = Axis(label=OPERATIONS, logarithmic=True)
        title = f"measured here, scale {evidence.scale}{simulated}"
        charts.append(LineChart(title=title, lines=tuple(operations), x=x, y=y))
    return _drawing_of(
        charts,
        f"table14-{data.lower()}",
        f"Table 14: every network on {data}, published and measured",
        "Left: over trainable parameters, counted by building; of converted networks those of the ANN. Hollow: "
        f"accuracy as published, best test epoch. Filled: measured here at scale {evidence.scale}{simulated}, after "
        "the last epoch. A network has the same colour and form everywhere; a dagger: counted from others' "
        "descriptions. Right: the measured ones over additions and multiply-accumulates of all synapses, all time "
        "steps together. Networks so small, trained so shortly, say little about the published ones.",
    )


Seeds = tuple[Sequence[float], Sequence[float]]
"""Two numbers of a network, such as operations and accuracy, of each seed."""


def _points(name: str, networks: Sequence[Seeds], style: int) -> Line:
    """Networks that belong together: the mean of each over its seeds, and its standard deviation, 0 for one."""
    xs, ys = zip(*networks, strict=True)
    x_deviation, y_deviation = ([deviation_of(seeds) for seeds in each] for each in (xs, ys))
    return Line(
        name=name,
        x=[fmean(seeds) for seeds in xs],
        y=[fmean(seeds) for seeds in ys],
        form="dots" if len(networks) > 1 else "points",
        style=style,
        x_deviation=x_deviation if any(x_deviation) else (),
        y_deviation=y_deviation if any(y_deviation) else (),
    )


# Time steps and operations, Section 5.2 -------------------------------------------------------------------------------


def _over_steps(evidence: Evidence) -> Drawing | None:
    """Table 16 as curves, of the weights that it looks at where they are known."""
    charts = []
    for data, picks in (("CIFAR-100", cells.T16_100), ("CIFAR-10", cells.T16_10)):
        found = [[each.best_by_steps or each.by_steps for each in evidence.of(picks[name])] for name in LENGTHS]
        curves = [whole for each in found if (whole := [curve for curve in each if curve])]
        lines = [_mean_line(f"trained with {len(each[0])} steps", each, style) for style, each in enumerate(curves)]
        if lines:
            charts.append(LineChart(title=data, lines=tuple(lines), x=Axis(label=STEPS), y=Axis(label=ACCURACY)))
    caption = (
        "Networks with boosting, 32 filters in the paper; the weights of the best test epoch. Early stop: the "
        "steps that are left out are the last ones."
    )
    return _drawing_of(charts, "steps", "Accuracy over time steps at inference (Table 16)", caption)


LENGTHS = ("s50of50", "s20of20")
"""Cells of Table 16 at all steps of training."""


def _leaks(evidence: Evidence) -> Drawing | None:
    """Leaks that searches found for several numbers of time steps, Table 17's argument."""
    found = {
        steps: six
        for steps, name in searches.BY_STEPS.items()
        if name in evidence.searches and (six := searches.leaks(evidence.searches[name]))
    }
    if not found:
        return None
    points = [(place, leak) for place, six in enumerate(found.values()) for leak in six]
    trials = Line(
        name="six best trials",
        x=[place for place, _ in points],
        y=[leak for _, leak in points],
        form="points",
        style=1,
        hollow=True,
    )
    means = Line(
        name="mean",
        x=range(len(found)),
        y=[fmean(six) for six in found.values()],
        form="points",
        style=0,
        y_deviation=[deviation_of(six) for six in found.values()],
    )
    chart = LineChart(
        title="Leak over time steps",
        lines=(means, trials),
        x=Axis(label="time steps T that are trained", names=tuple(map(str, found))),
        y=Axis(label="leak"),
    )
    caption = (
        "Of a search of leak and learning rate for each T, the six trials with the highest held-out accuracy; their "
        "mean, with one standard deviation to both sides. The searches are the same at every scale (docs/search.md)."
    )
    return _drawing_of([chart], "leaks", "Searched leaks over time steps (Table 17)", caption)


def _mean_line(label: str, curves: Sequence[Sequence[float]], style: int, first: int = 1) -> Line:
    """Mean of several curves over `first`, `first` + 1, ..., and one standard deviation to both sides."""
    mean = mean_over_seeds(curves)
    return Line(
        name=f"{label} ({len(curves)})",
        x=range(first, first + len(mean)),
        y=mean,
        style=style,
        y_deviation=[deviation_of(column) for column in zip(*curves, strict=True)] if len(curves) > 1 else (),
    )


NETWORKS: dict[str, dict[str, tuple[Pick, ...]]] = {
    "CIFAR-10": {
        "S2S": (cells.T2_10["s2s"],),
        "S2M": (cells.T2_10["s2m"],),
        "V2V": (cells.T2_10["v2v"],),
        "S2S, half the filters, three depths": tuple(cells.T3.values()),
        "no skips, half the filters, three depths": tuple(cells.PLAIN.values()),
        "ANN counterparts, multiply-accumulates": (cells.T15["ann"], cells.T15["wide_ann"]),
    },
    "CIFAR-100": {
        "S2S": (cells.T2_100["s2s"],),
        "S2M": (cells.T2_100["s2m"],),
        "V2V": (cells.T2_100["v2v"],),
        "VGG11": (F3["vgg"],),
        "S2S, norm averaged over time": (cells.T5["averaged"],),
        "S2S, half the filters, image and Poisson": (cells.T4["image"], cells.T4["poisson"]),
    },
}
"""Networks in the picture of operations, data -> label -> cells."""


def _operations_and_accuracy(results: Sequence[Result]) -> Seeds | None:
    """Synaptic operations per image, and accuracy, of each seed that has both; None where none has."""
    found = [((each.activity or {}).get("synaptic_operations"), each.value("last-epoch")) for each in results]
    pairs = [(float(operations), accuracy) for operations, accuracy in found if operations and accuracy is not None]
    return ([operations for operations, _ in pairs], [accuracy for _, accuracy in pairs]) if pairs else None


def _over_operations(evidence: Evidence) -> Drawing | None:
    """Accuracy over synaptic operations."""
    charts = []
    x, y = Axis(label=OPERATIONS, logarithmic=True), Axis(label=ACCURACY)
    for data, groups in NETWORKS.items():
        lines = []
        for style, (label, picks) in enumerate(groups.items()):
            if networks := [seeds for pick in picks if (seeds := _operations_and_accuracy(evidence.of(pick)))]:
                lines.append(_points(label, networks, style))
        if lines:
            charts.append(LineChart(title=data, lines=tuple(lines), x=x, y=y))
    caption = (
        "Per image, all steps together: an addition for each spike at each synapse, a multiply-accumulate for "
        "each real number. Test accuracy after the last epoch. An operation of the ANNs, and of the first "
        "convolution, is a multiply-accumulate and costs more than an addition."
    )
    return _drawing_of(charts, "operations", "Accuracy over synaptic operations", caption)


# Spikes and gradients of the three connections ------------------------------------------------------------------------


def _spikes(evidence: Evidence) -> Drawing | None:
    """Spikes per inference."""
    charts = []
    for title, read in (("own spikes, all layers", spikes_of), ("sent by stem and stage 1", stage1_spikes)):
        found: dict[str, tuple[float, ...]] = {}
        for name, pick in FIG3.items():
            numbers = (read(result, evidence.cell(pick)) for result in evidence.of(pick))
            if values := tuple(value for value in numbers if value is not None):
                found[name] = values
        if found:
            charts.append(_spike_bars(title, found))
    caption = (
        "Per CIFAR-100 test image, all steps. Left: neurons' own spikes, in S2S no sum counted. Right: what "
        "stem and stage 1 send, a sum k counted as k; further on, S2S sends real numbers. Bars: mean; lines: one "
        "standard deviation either side; rings: seeds. The VGG11 has other layers, another number of neurons and no "
        "stages."
    )
    return _drawing_of(charts, "spikes", "Spikes per inference", caption)


def _spike_bars(title: str, found: Mapping[str, tuple[float, ...]]) -> Bars:
    """A bar for each network: the mean over its seeds."""
    return Bars(
        title=title,
        row_names=tuple(found),
        parts=(("spikes", tuple(fmean(values) for values in found.values())),),
        x_label=SPIKES,
        row_styles=tuple(ORDER[name] for name in found),
        samples=tuple(found.values()),
    )


def _gradients(evidence: Evidence) -> Drawing | None:
    """Gradient norm through depth."""
    lines, names = [], []
    for name, pick in FIG3.items():
        runs = [blocks for each in evidence.of(pick) if (blocks := (each.activity or {}).get("gradients"))]
        if runs and name != "VGG11":  # it has other layers
            norms = [[float(block["norm"]) or float("nan") for block in blocks] for blocks in runs]
            lines.append(_mean_line(name, norms, ORDER[name], first=0))
            names = [block["block"] for block in runs[0]]
    caption = (
        "Norm of the loss's gradient in what the stem and each block pass on, in the trained network, with "
        "batch statistics, on a few CIFAR-100 test images. The gradient comes from the right. Image sizes change from "
        "stage to stage, so that levels are best compared between connections, and slopes within a stage."
    )
    charts = [gradient_chart(lines, names)] if lines else []
    return _drawing_of(charts, "gradients", "Gradient through depth (Eqs. 9, 11 and 17)", caption)


# Learning curves, Tables 11 and 12 ------------------------------------------------------------------------------------

STARTS: dict[str, tuple[Pick, Pick]] = {
    "DVS-CIFAR10, 16 filters": (T11["scratch"], T11["tuned"]),
    "DVS-CIFAR10, 32 filters, boosting": (T11["wide_scratch"], T11["wide_tuned"]),
    "CIFAR-10, 16 filters": (T12["scratch"], T12["tuned"]),
    "CIFAR-10, 32 filters, boosting": (T12["wide_scratch"], T12["wide_tuned"]),
}


def _learning_curves(evidence: Evidence) -> Drawing | None:
    """From scratch and fine-tuned."""
    charts, simulated = [], False
    x, y = Axis(label="epoch"), Axis(label="training accuracy (%)")
    for title, picks in STARTS.items():
        scratch, tuned = (
            [curve for result in evidence.of(pick) if (curve := training_accuracies(result))] for pick in picks
        )
        if scratch and tuned:
            lines = _mean_line("from scratch", scratch, 0), _mean_line("from CIFAR-100", tuned, 1)
            charts.append(LineChart(title=title, lines=lines, x=x, y=y))
            simulated |= bool(evidence.cell(picks[0]).simulated)
    caption = (
        "Accuracy on the augmented training images of each epoch, the curve that every training run has. The names "
        "say the paper's filters. Networks of 16 filters are trained for fewer epochs on CIFAR-10 when fine-tuned."
    )
    caption += " DVS-CIFAR10 stands for SIMULATED recordings here." if simulated else ""
    return _drawing_of(
        charts, "learning-curves", "Training from scratch and from CIFAR-100 (Tables 11 and 12)", caption
    )
