"""The section about the course of training: what metrics.jsonl says, epoch by epoch."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import mean
from typing import Any

from sresnet.models.topology import layer_in_words
from sresnet.report.charts import Axis, HeatMap, Line, LineChart
from sresnet.report.document import Block, Figure, Paragraph, Section, Table
from sresnet.report.figures import ACCURACY
from sresnet.report.palette import SERIES
from sresnet.report.records import Records

MOST_EPOCHS = 400
"""Most epochs in curves, maps and the table of epochs; of more, so many are shown, evenly spread."""
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
CURVES = {
    "loss": ("Loss", "cross-entropy", {"train_loss": "training (augmented)", "validation_loss": "held out"}),
    "accuracy": (
        "Accuracy",
        ACCURACY,
        {
            "train_top1": "training (augmented)",
            "validation_top1": "held out",
            "test_top1_of_this_epoch": "test, every epoch",
        },
    ),
    "learning-rate": ("Learning rate", "learning rate", {"learning_rate": ""}),
}
"""Name of a figure -> its title, y axis, and lines: key in metrics.jsonl -> name."""


def training(records: Records) -> Section:
    """What metrics.jsonl says, epoch by epoch."""
    metrics = thinned(records.metrics)
    content: list[Block] = []
    title = "Epochs"
    if len(metrics) < len(records.metrics):
        count = f"{MOST_EPOCHS} of {len(records.metrics):,} epochs"
        content.append(Paragraph(f"{count} are shown, evenly spread; metrics.jsonl has all of them."))
        title = f"{len(metrics)} of the epochs, evenly spread"
    for name, (heading, y_label, keys) in CURVES.items():
        lines = [line_of(metrics, key, label) for key, label in keys.items()]
        content += _epoch_curves(name, heading, [line for line in lines if any(map(math.isfinite, line.y))], y_label)
    content += [*_spike_rates(metrics), *_learned_leaks(metrics)]
    shown = {key: heading for key, heading in COLUMNS.items() if any(key in line for line in metrics)}
    rows = tuple(tuple(line.get(key) for key in shown) for line in metrics)
    content.append(Table(name="epochs", title=title, columns=tuple(shown.values()), rows=rows, folded=True))
    return Section(title="Training", content=tuple(content))


def thinned(metrics: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The lines of metrics.jsonl that are shown: all, or `MOST_EPOCHS` evenly spread, the first and last included."""
    last, most = len(metrics) - 1, MOST_EPOCHS - 1
    return metrics if last <= most else [metrics[round(index * last / most)] for index in range(MOST_EPOCHS)]


def line_of(metrics: Sequence[Mapping[str, Any]], key: str, label: str, style: int | None = None) -> Line:
    """A number of every epoch; NaN where it was not measured."""
    values = [line.get(key) for line in metrics]
    return Line(
        name=label,
        x=[line["epoch"] for line in metrics],
        y=[float(value) if isinstance(value, int | float) else float("nan") for value in values],
        style=style,
    )


def over_epochs(title: str, lines: Iterable[Line], y_label: str) -> LineChart:
    """Lines with a number for every epoch."""
    return LineChart(title=title, lines=tuple(lines), x=Axis(label="epoch"), y=Axis(label=y_label))


def _epoch_curves(name: str, title: str, lines: Sequence[Line], y_label: str, caption: str = "") -> list[Figure]:
    """A figure of lines over epochs; none without lines."""
    return [Figure(name=name, chart=over_epochs(title, lines, y_label), caption=caption)] if lines else []


def _spike_rates(metrics: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """Firing rates, over the network and layer by layer, and what layers send where that is more."""
    overall = line_of(metrics, "spikes_per_neuron_and_step", "")
    lines = [overall] if any(map(math.isfinite, overall.y)) else []
    caption = "The neurons' own spikes, over the whole network, on 64 training samples."
    figures = _epoch_curves("spike-rate", "Firing rate", lines, "spikes per neuron and time step", caption)
    rates, sent = _by_layer(metrics, "spike_rate"), _by_layer(metrics, "sent")
    if rates:
        chart = _layer_map(metrics, rates, "Firing rate by layer", "firing rate")
        figures.append(Figure(name="spike-rate-by-layer", chart=chart))
    if sent and sent != rates:
        caption = "The neurons' spikes, with those of the skip at the end of an S2S block: a sum k counts as k, and a "
        caption += "1x1 skip adds real numbers."
        chart = _layer_map(metrics, sent, "Sent values by layer", "mean sent value")
        figures.append(Figure(name="sent-by-layer", chart=chart, caption=caption))
    return figures


def _by_layer(metrics: Sequence[Mapping[str, Any]], key: str) -> dict[str, tuple[float | None, ...]]:
    """Layer -> a number for every epoch, None where it was not measured; {} for fewer than two epochs."""
    lines = [line.get(key, {}) for line in metrics]
    layers = dict.fromkeys(layer for line in lines for layer in line)
    return {layer: tuple(_finite(line.get(layer)) for line in lines) for layer in layers} if len(metrics) > 1 else {}


def _finite(value: Any) -> float | None:
    """A number as it can be drawn; None where there is none."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _layer_map(
    metrics: Sequence[Mapping[str, Any]], values: Mapping[str, tuple[float | None, ...]], title: str, unit: str
) -> HeatMap:
    """A map of layers and epochs."""
    numbers = [value for row in values.values() for value in row if value is not None]
    return HeatMap(
        title=f"{title}, epoch by epoch",
        rows=tuple(values.values()),
        row_names=tuple(layer_in_words(layer) for layer in values),
        x_label="epoch",
        unit=unit,
        limits=(min([0.0, *numbers]), max(numbers, default=1.0)),
        first_column=int(metrics[0]["epoch"]),
        last_column=int(metrics[-1]["epoch"]),
    )


def _learned_leaks(metrics: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """PLIF: the leak of each layer of neurons, or of all where they share one."""
    leaks = [line.get("leak", {}) for line in metrics]
    layers = list(leaks[-1])
    if not layers or any(list(leak) != layers for leak in leaks):
        return []
    if all(len(set(leak.values())) == 1 for leak in leaks):  # one for the whole network
        curves = {"": [leak[layers[0]] for leak in leaks]}
    elif len(layers) <= SERIES:
        curves = {layer_in_words(layer): [leak[layer] for leak in leaks] for layer in layers}
    else:
        picks: dict[str, Callable[[Iterable[float]], float]] = {
            "largest of all layers": max,
            "mean": mean,
            "smallest": min,
        }
        curves = {name: [pick(leak.values()) for leak in leaks] for name, pick in picks.items()}
    epochs = [line["epoch"] for line in metrics]
    lines = [Line(name=name, x=epochs, y=values) for name, values in curves.items()]
    return _epoch_curves("leak", "Learned leaks", lines, "leak")
