"""The section about the course of training: what metrics.jsonl says, epoch by epoch."""

import math
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from sresnet.report.charts import Axis, HeatMap, Line, LineChart, short
from sresnet.report.document import Block, Figure, Paragraph, Section, Table
from sresnet.report.figures import ACCURACY
from sresnet.report.palette import SERIES
from sresnet.report.records import Records

MOST_EPOCHS = 400
"""Epochs that curves, maps and the table of epochs show; of more, so many that are evenly spread."""


def training(records: Records, prefix: str) -> Section:
    """What metrics.jsonl says, epoch by epoch."""
    metrics = thinned(records.metrics)

    def chart(name: str, title: str, y_label: str, keys: Mapping[str, str]) -> list[Figure]:
        lines = [line_of(metrics, key, label) for key, label in keys.items()]
        lines = [line for line in lines if any(map(math.isfinite, line.y))]
        if not lines:
            return []
        return [Figure(name=f"{prefix}{name}", chart=over_epochs(title, lines, y_label))]

    losses = {"train_loss": "training (augmented)", "validation_loss": "held out"}
    accuracies = {
        "train_top1": "training (augmented)",
        "validation_top1": "held out",
        "test_top1_of_this_epoch": "test, every epoch",
    }
    content: list[Block] = [
        *thinning(records),
        *chart("loss", "Loss", "cross-entropy", losses),
        *chart("accuracy", "Accuracy", ACCURACY, accuracies),
        *chart("learning-rate", "Learning rate", "learning rate", {"learning_rate": ""}),
        *spike_rates(metrics, prefix),
        *learned_leaks(metrics, prefix),
    ]
    keys = {key: heading for key, heading in COLUMNS.items() if any(key in line for line in metrics)}
    content.append(
        Table(
            name=f"{prefix}epochs",
            title="Epochs" if len(metrics) == len(records.metrics) else f"{len(metrics)} of the epochs, evenly spread",
            columns=tuple(keys.values()),
            rows=tuple(tuple(line.get(key) for key in keys) for line in metrics),
            folded=True,
        )
    )
    return Section(title="Training", content=tuple(content))


def thinned(metrics: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The lines of metrics.jsonl that are shown: all, or `MOST_EPOCHS` evenly spread, first and last with them."""
    last, most = len(metrics) - 1, MOST_EPOCHS - 1
    return metrics if last <= most else [metrics[round(index * last / most)] for index in range(MOST_EPOCHS)]


def thinning(records: Records) -> list[Block]:
    """A paragraph that says so where not all epochs are shown."""
    count = len(records.metrics)
    if count <= MOST_EPOCHS:
        return []
    said = f"{MOST_EPOCHS} of {count:,} epochs are shown, evenly spread; metrics.jsonl has all of them."
    return [Paragraph(said)]


COLUMNS = {
    "epoch": ("epoch", ""),
    "train_loss": ("training loss", ".4f"),
    "train_top1": ("training accuracy, %", ".2f"),
    "validation_loss": ("held-out loss", ".4f"),
    "validation_top1": ("held-out accuracy, %", ".2f"),
    "test_top1_of_this_epoch": ("test accuracy, %", ".2f"),
    "learning_rate": ("learning rate", ".4g"),
    "seconds": ("seconds", ",.1f"),
    "images_per_second": ("samples/s", ",.0f"),
}
"""Key in metrics.jsonl -> (heading, format)."""


def line_of(metrics: Sequence[Mapping[str, Any]], key: str, label: str) -> Line:
    """A number of every epoch; NaN where it was not measured."""
    values = [line.get(key) for line in metrics]
    return Line(
        name=label,
        x=[line["epoch"] for line in metrics],
        y=[float(value) if isinstance(value, int | float) else float("nan") for value in values],
    )


def over_epochs(title: str, lines: Sequence[Line], y_label: str) -> LineChart:
    """Lines with a number for every epoch."""
    return LineChart(title=title, lines=tuple(lines), x=Axis(label="epoch"), y=Axis(label=y_label))


def spike_rates(metrics: Sequence[Mapping[str, Any]], prefix: str) -> list[Figure]:
    """Firing rates, over the network and layer by layer, and what layers send where that is more."""
    figures = []
    overall = line_of(metrics, "spikes_per_neuron_and_step", "")
    if any(map(math.isfinite, overall.y)):
        caption = "The neurons' own spikes, over all of the network, on 64 training samples."
        chart = over_epochs("Firing rate", [overall], "spikes per neuron and time step")
        figures.append(Figure(name=f"{prefix}spike-rate", chart=chart, caption=caption))
    rates, sent = by_layer(metrics, "spike_rate"), by_layer(metrics, "sent")
    if rates:
        figures.append(layer_map(metrics, rates, f"{prefix}spike-rate-by-layer", "Firing rate by layer", "firing rate"))
    if sent and sent != rates:
        caption = "The neurons' spikes, with those of the skip at the end of an S2S block: a sum k counts as k, and a "
        caption += "1x1 skip adds real numbers."
        title, unit = "Sent values by layer", "mean sent value"
        figures.append(layer_map(metrics, sent, f"{prefix}sent-by-layer", title, unit, caption))
    return figures


def by_layer(metrics: Sequence[Mapping[str, Any]], key: str) -> dict[str, list[float | None]]:
    """Layer -> a number for every epoch, None where it was not measured; {} for fewer than two epochs."""
    lines = [line.get(key, {}) for line in metrics]
    layers = dict.fromkeys(layer for line in lines for layer in line)
    return {layer: [finite(line.get(layer)) for line in lines] for layer in layers} if len(metrics) > 1 else {}


def finite(value: Any) -> float | None:
    """A number as it can be drawn; None where there is none."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def layer_map(
    metrics: Sequence[Mapping[str, Any]],
    values: Mapping[str, Sequence[float | None]],
    name: str,
    title: str,
    unit: str,
    caption: str = "",
) -> Figure:
    """A map of layers and epochs."""
    numbers = [value for row in values.values() for value in row if value is not None]
    chart = HeatMap(
        title=f"{title}, epoch by epoch",
        rows=tuple(map(tuple, values.values())),
        row_names=tuple(short(layer) for layer in values),
        x_label="epoch",
        unit=unit,
        limits=(min([0.0, *numbers]), max(numbers, default=1.0)),
        first_column=int(metrics[0]["epoch"]),
        last_column=int(metrics[-1]["epoch"]),
    )
    return Figure(name=name, chart=chart, caption=caption)


def learned_leaks(metrics: Sequence[Mapping[str, Any]], prefix: str) -> list[Figure]:
    """PLIF: the leak of each layer of neurons, or of all where they share one."""
    leaks = [line.get("leak", {}) for line in metrics]
    layers = list(leaks[-1])
    if not layers or any(list(leak) != layers for leak in leaks):
        return []
    epochs = [line["epoch"] for line in metrics]
    if all(len(set(leak.values())) == 1 for leak in leaks):  # one for the whole network
        lines = [Line(name="", x=epochs, y=[next(iter(leak.values())) for leak in leaks])]
    elif len(layers) <= SERIES:
        lines = [Line(name=short(layer), x=epochs, y=[leak[layer] for leak in leaks]) for layer in layers]
    else:
        lines = [
            Line(name=name, x=epochs, y=[pick(leak.values()) for leak in leaks])
            for name, pick in (("largest of all layers", max), ("mean", mean), ("smallest", min))
        ]
    return [Figure(name=f"{prefix}leak", chart=over_epochs("Learned leaks", lines, "leak"))]
