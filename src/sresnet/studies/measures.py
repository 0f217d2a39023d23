"""What is read off results beside accuracies: spikes, their maps, gradients, leaks and learning curves."""

from collections.abc import Sequence
from itertools import pairwise
from math import inf, log10, prod, sqrt
from statistics import fmean
from typing import Any

from sresnet.studies.evidence import Measure, binomial, images_of
from sresnet.studies.study import Cell, Result


def layers_of(result: Result) -> list[dict[str, Any]]:
    """Each layer's counts, in the order they run; empty where nothing was counted."""
    return list((result.activity or {}).get("layers", ()))


def spikes_of(result: Result, cell: Cell) -> float | None:
    """Spikes per image."""
    return (result.activity or {}).get("spikes")


def _sent_in_stage1(result: Result) -> list[tuple[str, float, float]]:
    """Name, neurons and spikes per image of the stem and of each layer of stage 1, as they are sent on.

    In S2S a join sends its own spikes and those that the block before it sent (Eq. 10), a sum k counted as k; until
    the first 1x1 skip that is a whole number and follows from the neurons' own spikes. S2M and V2V send their own.
    """
    sums = _connection_of(result) == "s2s"
    found: list[tuple[str, float, float]] = []
    stream = 0.0
    for layer in layers_of(result):
        name = str(layer["name"])
        if name.startswith(("stem", "stage1")):
            spikes = float(layer["spikes"])
            if not name.endswith("neuron1"):
                stream = spikes = spikes + (stream if sums else 0.0)
            found.append((name, float(prod(layer["shape"])), spikes))
    return found


def _connection_of(result: Result) -> str:
    """Of a residual network; "" of others."""
    return str(result.config.get("model", {}).get("connection", ""))


def stage1_spikes(result: Result, cell: Cell) -> float | None:
    """Spikes per image that the stem and stage 1 send, sums counted as several."""
    sent = _sent_in_stage1(result)
    return sum(spikes for _, _, spikes in sent) if sent else None


def _deep_activity(result: Result, cell: Cell) -> float | None:
    """Percent of neurons that fire at a step, mean over steps and the last third of the layers."""
    layers = layers_of(result)
    return fmean(fmean(layer["active"]) for layer in layers[-max(1, len(layers) // 3) :]) if layers else None


def _evenness(result: Result, cell: Cell) -> float | None:
    """Over how large a part of the steps a layer's activity is spread, mean over layers: 1 / (T sum of p_t^2).

    p_t is the part of its activity at step t: 1 where all steps are alike, 1 / T where one step has all of it.
    """
    parts = []
    for layer in layers_of(result):
        total = sum(layer["active"])
        if total:
            parts.append(total**2 / (len(layer["active"]) * sum(value**2 for value in layer["active"])))
    return fmean(parts) if parts else None


SPIKES = Measure(read=spikes_of, least=lambda result, value: 0.05 * value, digits=0)
STAGE1_SPIKES = Measure(read=stage1_spikes, least=lambda result, value: 0.05 * value, digits=0)
DEEP_ACTIVITY = Measure(read=_deep_activity, least=lambda result, value: 0.05 * value, unit=" %")
EVENNESS = Measure(read=_evenness, least=lambda result, value: 0.02, digits=3)


def mean_over_seeds(rows: Sequence[Sequence[float]]) -> list[float]:
    """Entry by entry."""
    return [fmean(column) for column in zip(*rows, strict=True)]


def _correlation(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Pearson's; None where one of them is constant."""
    dx, dy = [value - fmean(x) for value in x], [value - fmean(y) for value in y]
    size = sqrt(sum(value**2 for value in dx) * sum(value**2 for value in dy))
    return sum(a * b for a, b in zip(dx, dy, strict=True)) / size if size > 1e-12 else None


def gamma_and_activity(result: Result) -> list[float]:
    """Correlation over steps of gamma and activity, for each layer that has both."""
    found = [_correlation(layer["gamma"], layer["active"]) for layer in layers_of(result) if layer["gamma"]]
    return [value for value in found if value is not None]


def stripes_of(result: Result, own: bool = False) -> list[float]:
    """How much more a block's join sends than its first layer, in percent of spikes per neuron and step.

    Of all blocks, by the neurons' own spikes; in S2S of those in stage 1 with sums counted, if not `own`: see
    `_sent_in_stage1`. There a join sends all that the joins before it sent, so that it is hard for it to send less.
    """
    if _connection_of(result) == "s2s" and not own:
        num_steps = len(result.by_steps)
        sent = {name: 100 * spikes / neurons / num_steps for name, neurons, spikes in _sent_in_stage1(result)}
    else:
        sent = {str(layer["name"]): fmean(layer["active"]) for layer in layers_of(result)}
    joins = {name: name.replace("neuron1", "neuron2") for name in sent if name.endswith("neuron1")}
    return [sent[join] - sent[first] for first, join in joins.items() if join in sent]


def jumps_of(result: Result) -> tuple[float, float] | None:
    """How much activity changes from join to join: mean where the image size changes, mean elsewhere; points."""
    joins = [layer for layer in layers_of(result) if layer["name"].endswith("neuron2")]
    found: dict[bool, list[float]] = {True: [], False: []}
    for before, after in pairwise(joins):
        resized = list(before["shape"])[-2:] != list(after["shape"])[-2:]
        found[resized].append(abs(fmean(after["active"]) - fmean(before["active"])))
    return (fmean(found[True]), fmean(found[False])) if found[True] and found[False] else None


def _reach(result: Result, cell: Cell) -> float | None:
    """Logarithm to base 10 of the gradient's norm in what the first layer passes on over that of the last block."""
    gradients = (result.activity or {}).get("gradients", ())
    if len(gradients) < 2:
        return None
    first, last = float(gradients[0]["norm"]), float(gradients[-1]["norm"])
    return log10(first / last) if first > 0 and last > 0 else None


REACH = Measure(read=_reach, least=lambda result, value: 0.1)
LEAK = Measure(read=lambda result, cell: result.value("leak"), least=lambda result, value: 0.001, digits=4)


def training_accuracies(result: Result) -> list[float]:
    """On the augmented training images of each epoch, in percent: the curve that every run has."""
    found = [line.get("train_top1") for line in result.metrics]
    return [float(value) for value in found if isinstance(value, int | float)]


def _first_epoch(result: Result, cell: Cell) -> float | None:
    """Accuracy on the training images of the first epoch."""
    curve = training_accuracies(result)
    return curve[0] if curve else None


FIRST_EPOCH = Measure(
    read=_first_epoch, least=lambda result, value: binomial(value, images_of(result, "train")), unit=" %"
)


def epochs_to(curve: Sequence[float], accuracy: float) -> float:
    """The first epoch at least as accurate; infinity where there is none."""
    return next((epoch for epoch, value in enumerate(curve, start=1) if value >= accuracy), inf)
