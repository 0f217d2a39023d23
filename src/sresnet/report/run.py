"""The sections that a page has about a run."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from statistics import mean
from typing import Any

from sresnet.analysis import ARITHMETIC, Analysis
from sresnet.analysis.confusion import Confusion, Example
from sresnet.analysis.figures import short
from sresnet.config import to_dict
from sresnet.models.summary import describe
from sresnet.report import svg
from sresnet.report.document import (
    LONG,
    Block,
    Cards,
    Code,
    Differences,
    ExampleCard,
    Examples,
    Facts,
    Figure,
    Paragraph,
    Section,
    Table,
)
from sresnet.report.look import Looked
from sresnet.report.paper import Comparison, compare
from sresnet.report.png import data_address, picture_of
from sresnet.report.records import Records
from sresnet.studies.rows import parameters

CLASSES_SHOWN = 4
"""Classes whose probabilities are drawn for an image."""
PAIRS_SHOWN = 8
"""Confusions in the table."""
MOST_EPOCHS = 400
"""Epochs that curves, maps and the table of epochs show; of more, so many that are evenly spread."""


def run_sections(records: Records, looked: Looked | str, prefix: str) -> tuple[Section, ...]:
    """The sections about one run.

    Args:
        records: what it wrote.
        looked: what its test data showed, or why they were not looked at.
        prefix: in front of the names of figures and tables, so that they are unique in the page.
    """
    sections = [summary(records, looked, prefix)]
    if records.metrics:
        sections.append(training(records, prefix))
    if isinstance(looked, Looked):
        sections += [
            over_steps(looked.analysis, prefix),
            confusions(records, looked.confusion, prefix),
            examples(records, looked, prefix),
            activity(looked.analysis, prefix),
            cost(looked.analysis, prefix),
            hardware(looked.analysis, prefix),
        ]
    sections.append(origin(records))
    return tuple(sections)


# ---------------------------------------------------------------------------------------------------------------------


def summary(records: Records, looked: Looked | str, prefix: str) -> Section:
    """What was trained, on what, and what came out; beside the paper."""
    comparison = compare(records.recipe)
    content: list[Block] = []
    if records.simulated:
        content.append(
            Paragraph(
                "These recordings are simulated: the numbers say nothing about a real event camera.",
                badge="SIMULATED",
            )
        )
    content.append(Paragraph(in_words(records), style="lead"))
    content.append(Cards(tuple(cards(records, looked, comparison))))
    content += remarks(records, looked)
    content += beside_the_paper(records, comparison)
    return Section(title="Summary", content=tuple(content))


def in_words(records: Records) -> str:
    """One or two sentences."""
    recipe, split = records.recipe, records.result.get("split", {})
    epochs = counted(recipe.train.epochs, "epoch")
    start = f", starting from {recipe.pretrained}" if recipe.pretrained else ""
    imported = records.environment.get("imported_from")
    trained = f"imported from {imported}, trained on" if imported else f"{epochs} on"
    said = f"{describe(recipe.model)}: {trained} {recipe.data.name}{start}, seed {recipe.seed}."
    parts = [f"{split[part]:,} {word}" for part, word in PARTS.items() if split.get(part)]
    if parts:
        name = f", split {split['name']}" if split.get("name") else ""
        said += f" {records.kind.capitalize()}{name}: {', '.join(parts)}."
    return said


PARTS = {"train": "to train on", "validation": "held out", "test": "to test on"}


def counted(count: int, word: str) -> str:
    """1 epoch, 2 epochs."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def cards(records: Records, looked: Looked | str, comparison: Comparison | None) -> list[tuple[str, str]]:
    """The numbers to see first, each with what it is."""
    result = records.result
    found: list[tuple[str, str]] = []
    if "test_top1" in result:
        on_simulated = "simulated " if records.simulated else ""
        found.append(
            (
                f"{result['test_top1']:.2f} %",
                f"of {result['test_images']:,} {on_simulated}test {records.kind} recognised, after the last epoch",
            )
        )
    if "best_test_epoch_top1" in result:
        found.append(
            (
                f"{result['best_test_epoch_top1']:.2f} %",
                f"in the best test epoch, {result['best_test_epoch']}: picked on the test {records.kind}",
            )
        )
    for value in comparison.values if comparison else ():
        measured = result.get("best_test_epoch_top1" if value.best_epoch else "test_top1")
        if isinstance(measured, int | float):
            protocol = ", best test epoch" if value.best_epoch else ""
            found.append(
                (
                    f"{value.value:.2f} %",
                    f"in the paper ({value.table}{protocol}); here {measured - value.value:+.2f} points",
                )
            )
    if "validation_top1" in result:
        found.append((f"{result['validation_top1']:.2f} %", f"of the held-out {records.kind}"))
    found.append((f"{parameters(records.recipe.model):,}", "parameters"))
    if isinstance(looked, Looked):
        counts, spent = looked.analysis.activity, looked.analysis.cost
        energy = spent.energy()
        sent = "units above 0, not spikes," if records.recipe.model.neuron == "relu" else "spikes"
        found += [
            (svg.readable(counts.spikes), f"{sent} per inference, {counts.rate:.3f} per neuron and step"),
            (
                svg.readable(spent.synaptic_operations),
                f"synaptic operations; the non-spiking twin: {svg.readable(spent.twin_multiply_accumulates)} "
                "multiply-accumulates",
            ),
            (
                f"{energy.synapses + energy.updates:.3g} µJ",
                f"energy of the arithmetic, estimated; the non-spiking twin {energy.twin:.3g} µJ",
            ),
        ]
    return found


def remarks(records: Records, looked: Looked | str) -> list[Block]:
    """What a reader has to know about the numbers."""
    found = []
    if not records.result:
        found.append(
            "This run is not finished: there is no test result yet."
            if "imported_from" not in records.environment
            else "An imported network: there are no records of its training."
        )
    if isinstance(looked, str):
        found.append(f"{looked[:1].upper()}{looked[1:]}. What needs a pass over the test data is left out.")
    else:
        seen = looked.confusion.images
        if seen < looked.of:
            found.append(f"Looked at: {seen:,} of {looked.of:,} test {records.kind}, evenly spread.")
        top1 = records.result.get("test_top1")
        again = looked.confusion.top1
        if looked.other_data:
            found.append(
                f"The pass for this page found {again:.2f} %; it was over data that are not the data of the run "
                f"({looked.other_data})."
            )
        elif isinstance(top1, int | float) and seen == looked.of and abs(top1 - again) > 1e-6:
            found.append(
                f"The pass for this page found {again:.2f} %, the end of the training {top1:.2f} %: another machine, "
                "precision or engine rounds otherwise, and Poisson spikes are drawn anew."
            )
        elif top1 is None:
            found.append(f"The pass for this page found {again:.2f} % of {seen:,} test {records.kind}.")
    return [Paragraph(text, style="soft") for text in found]


def beside_the_paper(records: Records, comparison: Comparison | None) -> list[Block]:
    """The paper's number, or what differs from the paper's nearest recipe."""
    if comparison is None:
        return [Paragraph("The paper has no such network on such data.", style="soft")]
    if not comparison.differences:
        notes = [f"{value.table}, {value.row}: {value.note}." for value in comparison.values if value.note]
        fine = " What it was fine-tuned from is not compared." if records.recipe.pretrained else ""
        said = [f"This recipe is the paper's: {comparison.nearest}.{fine}", *notes]
        return [Paragraph(text) for text in said]
    words = Paragraph(
        "Not one of the paper's recipes, so the paper has no number to compare with. What differs from the nearest of "
        f"them ({comparison.nearest}):"
    )
    fields = [
        (short_field(each.field), plain(each.here), f"paper {plain(each.paper)}") for each in comparison.differences
    ]
    return [words, Differences(tuple(fields))]


def short_field(field: str) -> str:
    """A field of a recipe in words: model.num_steps -> time steps."""
    return FIELDS.get(field, field.partition(".")[2].replace("_", " "))


FIELDS = {
    "model.num_steps": "time steps",
    "model.base_filters": "filters",
    "data.name": "data",
    "data.validation": "held out",
    "model.in_channels": "input channels",
}


def plain(value: Any) -> str:
    """The value of a field in words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list):
        return ", ".join(map(plain, value))
    return "none" if value is None or value == "" else f"{value:g}" if isinstance(value, float) else str(value)


# ---------------------------------------------------------------------------------------------------------------------


def training(records: Records, prefix: str) -> Section:
    """What metrics.jsonl says, epoch by epoch."""
    metrics = thinned(records.metrics)

    def chart(
        name: str, title: str, y_label: str, keys: Mapping[str, str], *, logarithmic: bool = False
    ) -> list[Figure]:
        lines = [line_of(metrics, key, label) for key, label in keys.items()]
        lines = [line for line in lines if any(value > 0 if logarithmic else value == value for value in line.y)]
        if not lines:
            return []
        own = f"{prefix}{name}"
        drawn = svg.line_chart(own, title, lines, x_label="epoch", y_label=y_label, logarithmic=logarithmic)
        return [Figure(name=own, title=title, svg=drawn)]

    losses = {"train_loss": "training (augmented)", "validation_loss": "held out"}
    accuracies = {
        "train_top1": "training (augmented)",
        "validation_top1": "held out",
        "test_top1_of_this_epoch": "test, every epoch",
    }
    content: list[Block] = [
        *thinning(records),
        *chart("loss", "Loss", "cross-entropy", losses),
        *chart("accuracy", "Accuracy", "accuracy, %", accuracies),
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


def line_of(metrics: Sequence[Mapping[str, Any]], key: str, label: str) -> svg.Line:
    """A number of every epoch; NaN where it was not measured."""
    values = [line.get(key) for line in metrics]
    return svg.Line(
        name=label,
        x=[line["epoch"] for line in metrics],
        y=[float(value) if isinstance(value, int | float) else float("nan") for value in values],
    )


def spike_rates(metrics: Sequence[Mapping[str, Any]], prefix: str) -> list[Figure]:
    """Spikes per neuron and step, over the network and layer by layer, and what layers send where that is more."""
    figures = []
    overall = line_of(metrics, "spikes_per_neuron_and_step", "")
    if any(map(math.isfinite, overall.y)):
        name, title = f"{prefix}spike-rate", "Spikes"
        drawn = svg.line_chart(name, title, [overall], x_label="epoch", y_label="spikes per neuron and step")
        caption = "The neurons' own spikes, over all of the network, on 64 training samples."
        figures.append(Figure(name=name, title=title, svg=drawn, caption=caption))
    rates, sent = by_layer(metrics, "spike_rate"), by_layer(metrics, "sent")
    if rates:
        unit = "spikes per neuron and step"
        figures.append(layer_map(metrics, rates, f"{prefix}spike-rate-by-layer", "Spikes by layer", unit))
    if sent and sent != rates:
        caption = "The neurons' spikes, with those of the skip at the end of an S2S block: a sum k counts as k, and a "
        caption += "1x1 skip adds real numbers."
        unit = "mean sent value"
        figures.append(layer_map(metrics, sent, f"{prefix}sent-by-layer", "Sent values by layer", unit, caption))
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
    title = f"{title}, epoch by epoch"
    drawn = svg.heat_map(
        name,
        title,
        list(values.values()),
        [short(layer) for layer in values],
        x_label="epoch",
        unit=unit,
        from_zero=all(value is None or value >= 0 for row in values.values() for value in row),
        first_column=int(metrics[0]["epoch"]),
        last_column=int(metrics[-1]["epoch"]),
    )
    return Figure(name=name, title=title, svg=drawn, caption=caption)


def learned_leaks(metrics: Sequence[Mapping[str, Any]], prefix: str) -> list[Figure]:
    """PLIF: the leak of each layer of neurons, or of all where they share one."""
    leaks = [line.get("leak", {}) for line in metrics]
    layers = list(leaks[-1])
    if not layers or any(list(leak) != layers for leak in leaks):
        return []
    epochs = [line["epoch"] for line in metrics]
    title = "Learned leaks"
    if all(len(set(leak.values())) == 1 for leak in leaks):  # one for the whole network
        lines = [svg.Line(name="", x=epochs, y=[next(iter(leak.values())) for leak in leaks])]
    elif len(layers) <= svg.SERIES:
        lines = [svg.Line(name=short(layer), x=epochs, y=[leak[layer] for leak in leaks]) for layer in layers]
    else:
        lines = [
            svg.Line(name=name, x=epochs, y=[pick(leak.values()) for leak in leaks])
            for name, pick in (("largest of all layers", max), ("mean", mean), ("smallest", min))
        ]
    drawn = svg.line_chart(f"{prefix}leak", title, lines, x_label="epoch", y_label="leak")
    return [Figure(name=f"{prefix}leak", title=title, svg=drawn)]


# ---------------------------------------------------------------------------------------------------------------------


def over_steps(analysis: Analysis, prefix: str) -> Section:
    """Accuracy after every time step, over steps and over what they cost."""
    top1, spent = analysis.steps.top1, list(accumulate(analysis.cost.by_step))
    steps = list(range(1, len(top1) + 1))
    pairs = (
        ("accuracy-over-steps", "Accuracy over time steps", steps, "time steps"),
        ("accuracy-over-operations", "Accuracy over synaptic operations", spent, "synaptic operations per inference"),
    )
    figures = [
        Figure(
            name=f"{prefix}{name}",
            title=title,
            svg=svg.line_chart(
                f"{prefix}{name}", title, [svg.Line(name="", x=x, y=top1)], x_label=x_label, y_label="accuracy, %"
            ),
        )
        for name, title, x, x_label in pairs
    ]
    table = Table(
        name=f"{prefix}steps",
        title="Accuracy after every time step",
        columns=(
            ("time steps", ""),
            ("accuracy, %", ".2f"),
            ("margin", ".3f"),
            ("synaptic operations until then", ",.0f"),
        ),
        rows=tuple(zip(steps, top1, analysis.steps.margin, spent, strict=True)),
        folded=True,
    )
    words = Paragraph(
        "What the network would say if it were stopped early: its answer is the mean of the readout's input so far."
    )
    return Section(title="Accuracy over time", content=(words, *figures, table))


def confusions(records: Records, found: Confusion, prefix: str) -> Section:
    """Which classes are taken for which."""
    names = names_of(records, len(found.counts))
    title = "Confusion matrix"
    drawn = svg.confusion_matrix(f"{prefix}confusion", title, found.counts, names)
    figure = Figure(
        name=f"{prefix}confusion",
        title=title,
        svg=drawn,
        caption="The stronger the colour, the larger the share of the class; mistakes relative to the worst of them.",
    )
    totals = [sum(row) for row in found.counts]
    by_class = Table(
        name=f"{prefix}classes",
        title="Accuracy by class",
        columns=(("class", ""), (records.kind, ",d"), ("right", ",d"), ("right, %", ".1f")),
        rows=tuple(
            (name, total, row[index], 100 * row[index] / total if total else None)
            for index, (name, total, row) in enumerate(zip(names, totals, found.counts, strict=True))
        ),
        folded=len(names) > LONG,
    )
    pairs = found.pairs()
    worst = Table(
        name=f"{prefix}mistakes",
        title="Most frequent mistakes",
        columns=(("class", ""), ("taken for", ""), (records.kind, ",d"), ("share, %", ".1f")),
        rows=tuple((names[a], names[b], count, 100 * count / totals[a]) for a, b, count in pairs[:PAIRS_SHOWN]),
    )
    return Section(title="Classes", content=(figure, *([worst] if pairs else []), by_class))


def names_of(records: Records, classes: int) -> tuple[str, ...]:
    """Names of the classes, or their numbers where no names were noted."""
    names = records.class_names
    return names if len(names) == classes else tuple(f"class {index}" for index in range(classes))


def examples(records: Records, looked: Looked, prefix: str) -> Section:
    """Some images or clips, and how sure the network was of them after every step."""
    names = names_of(records, len(looked.confusion.counts))
    drawn = tuple(
        example_of(f"{prefix}example{n}", each, picture, names) for n, (each, picture) in enumerate(looked.examples)
    )
    clips = (
        " A clip is shown summed over time, more ON events orange, more OFF events blue."
        if records.kind == "clips"
        else ""
    )
    words = Paragraph(
        f"The first test {records.kind} that are recognised, each of another class, and then the first that are not. "
        f"Probabilities are the softmax of the mean score so far, not calibrated.{clips}"
    )
    return Section(title="Examples", content=(words, Examples(drawn)))


def example_of(name: str, example: Example, picture: Any, names: Sequence[str]) -> ExampleCard:
    """A picture, what it is and was taken for, and its chart."""
    steps = list(range(1, len(example.by_step) + 1))
    last = example.by_step[-1]
    likely = sorted(range(len(last)), key=lambda index: -last[index])[:CLASSES_SHOWN]
    shown = [index for index in likely if index == likely[0] or max(step[index] for step in example.by_step) >= 0.01]
    if example.label not in shown:
        shown.append(example.label)
    lines = [svg.Line(name=names[index], x=steps, y=[100 * step[index] for step in example.by_step]) for index in shown]
    said = "recognised" if example.right else f"taken for {names[example.guess]}"
    label = names[example.label]
    return ExampleCard(
        image=data_address(picture_of(picture)),
        label=label,
        said=said,
        right=example.right,
        percent=100 * last[example.guess],
        svg=svg.probabilities(name, f"Probabilities: {label}, {said}", lines),
    )


# ---------------------------------------------------------------------------------------------------------------------


def activity(analysis: Analysis, prefix: str) -> Section:
    """Fig. 3 for this network: who fires when, and what the norms do about it."""
    layers = analysis.activity.layers
    names = [short(layer.name) for layer in layers]
    breaks = [n for n in range(1, len(layers)) if layers[n].shape[-2:] != layers[n - 1].shape[-2:]]

    def drawn(name: str, title: str, rows: Sequence[Sequence[float | None]], caption: str, **options: Any) -> Figure:
        chart = svg.heat_map(f"{prefix}{name}", title, rows, names, x_label="time step", breaks=breaks, **options)
        return Figure(name=f"{prefix}{name}", title=title, svg=chart, caption=caption)

    figures = [
        drawn(
            "activity",
            "Neurons that fire",
            [layer.active for layer in layers],
            "Percent of a layer's neurons that fire at each time step, mean over test data (Fig. 3, above).",
            unit="% of the neurons",
        )
    ]
    if any(layer.gamma for layer in layers):
        none = (None,) * analysis.activity.num_steps
        figures.append(
            drawn(
                "gamma",
                "Gain of the norms",
                [layer.gamma or none for layer in layers],
                "Mean of gamma over the channels of the norm in front of each layer (Fig. 3, beneath).",
                unit="mean gamma",
                colours=svg.CIVIDIS,
                from_zero=False,
            )
        )
    steps = range(1, analysis.activity.num_steps + 1)
    table = Table(
        name=f"{prefix}activity-by-step",
        title="Percent of neurons that fire",
        columns=(("layer", ""), *((f"step {step}", ".2f") for step in steps)),
        rows=tuple((short(layer.name), *layer.active) for layer in layers),
        folded=True,
    )
    return Section(title="Activity", content=(*figures, table))


def cost(analysis: Analysis, prefix: str) -> Section:
    """Spikes and operations layer by layer, and the energy of the arithmetic."""
    counts, spent = analysis.activity, analysis.cost
    convolutions = [layer for layer in spent.layers if layer.kernel != "join"]
    spikes = svg.bars(
        f"{prefix}spikes",
        "Spikes by layer",
        [short(layer.name) for layer in counts.layers],
        [("spikes", [layer.spikes for layer in counts.layers])],
        x_label="spikes per inference",
        first_colour=2,
    )
    operations = svg.bars(
        f"{prefix}operations",
        "Operations by layer",
        [short(layer.name) for layer in convolutions],
        [
            ("additions, one per spike and synapse", [layer.additions for layer in convolutions]),
            ("multiply-accumulates, for real inputs", [layer.multiply_accumulates for layer in convolutions]),
        ],
        x_label="synaptic operations per inference",
        marks=("multiply-accumulates of the non-spiking twin", [layer.dense for layer in convolutions]),
    )
    layers = Table(
        name=f"{prefix}layers",
        title="Layers",
        columns=(
            ("layer", ""),
            ("output", ""),
            ("active, %", ".1f"),
            ("spikes", ",.0f"),
            ("dead, %", ".1f"),
            ("saturated, %", ".1f"),
            ("input", ""),
            ("additions", ",.0f"),
            ("multiply-acc.", ",.0f"),
        ),
        rows=tuple(
            (
                short(layer.name),
                "×".join(map(str, layer.output)),
                *((100 * n.rate, n.spikes, n.dead, n.saturated) if n else (None,) * 4),
                layer.input_kind,
                layer.additions,
                layer.multiply_accumulates,
            )
            for layer, n in analysis.rows()
        ),
        folded=len(counts.layers) > LONG,
    )
    energies = [(name, spent.energy(kind)) for name, kind in ARITHMETIC.items()]
    energy = Table(
        name=f"{prefix}energy",
        title="Energy of the arithmetic, microjoules per inference",
        columns=(
            ("arithmetic", ""),
            ("synapses", ".3g"),
            ("norms and neurons", ".3g"),
            ("together", ".3g"),
            ("non-spiking twin", ".3g"),
            ("of the twin's, %", ".0f"),
        ),
        rows=tuple(
            (name, e.synapses, e.updates, e.synapses + e.updates, e.twin, 100 * (e.synapses + e.updates) / e.twin)
            for name, e in energies
        ),
    )
    words = Paragraph(
        "An estimate: operations counted one by one, times the energy of each in 45 nm (Horowitz 2014). The arithmetic "
        "alone; fetching weights and states costs more, and how much depends on the machine. Where every step receives "
        "the same image, the first convolution is counted once.",
        style="soft",
    )
    return Section(
        title="Spikes, operations, energy",
        content=(
            Figure(name=f"{prefix}spikes", title="Spikes by layer", svg=spikes),
            Figure(name=f"{prefix}operations", title="Operations by layer", svg=operations),
            energy,
            words,
            layers,
        ),
    )


def hardware(analysis: Analysis, prefix: str) -> Section:
    """What the connections ask of a chip (Section 3.2.1)."""
    view = analysis.hardware
    title = "Hardware"
    if view is None:
        reason = analysis.no_hardware
        return Section(title=title, content=(Paragraph(f"{reason[:1].upper()}{reason[1:]}."),))
    synapses = view.plain_synapses
    forms = [("single spikes", synapses, view.extra_connections, view.extra_synapses, 0)]
    if view.needs_graded_spikes:
        forms.append(("sums, as graded spikes", synapses, 0, view.intermediate_synapses, view.intermediate_neurons))
    words = Paragraph(
        f"Between its layers, {view.connection} sends {view.sends}. Written out as populations and synapses, the "
        "network gives the same scores in each of these forms:"
    )
    notes = []
    if view.weights_per_step:
        notes.append("The norms' gains change with the time step, so some of the extra synapses need weights per step.")
    elif view.gains_per_step:
        notes.append("The norms' gains change with the time step: each neuron needs a gain per step.")
    summary = Table(
        name=f"{prefix}hardware",
        title="What the residual connections ask for",
        columns=(
            ("neurons send", ""),
            ("plain synapses", ",d"),
            ("extra connections", ",d"),
            ("extra synapses", ",d"),
            ("extra neurons", ",d"),
        ),
        rows=tuple(forms),
    )
    layers = Table(
        name=f"{prefix}hardware-layers",
        title="With single spikes, layer by layer",
        columns=(
            ("layer", ""),
            ("receives from", ",d"),
            ("of them extra", ",d"),
            ("synapses", ",d"),
            ("of them extra", ",d"),
            ("extra kernels", ""),
        ),
        rows=tuple(
            (
                short(layer.name),
                layer.connections,
                layer.extra_connections,
                layer.synapses,
                layer.extra_synapses,
                ", ".join(f"{count} of {kernel}" for kernel, count in Counter(layer.kernels).items()),
            )
            for layer in view.layers
        ),
        folded=True,
    )
    return Section(title=title, content=(words, summary, *(Paragraph(text) for text in notes), layers))


# ---------------------------------------------------------------------------------------------------------------------


def origin(records: Records) -> Section:
    """The command, versions and machine, split, and the whole configuration."""
    content: list[Block] = []
    if records.command:
        content += [Paragraph("Trained by"), Code(text=records.command)]
    else:
        content.append(Paragraph("No command of ours trains this network; its configuration is below."))
    known = {key: value for key, value in records.environment.items() if value != "" and key != "sessions"}
    names = {
        "device": "machine",
        "revision": "revision of sresnet",
        "data_dir": "data folder",
        "cache_dir": "cache folder",
    }
    content.append(Facts(tuple((names.get(key, key.replace("_", " ")), str(value)) for key, value in known.items())))
    if sessions := records.environment.get("sessions"):
        content.append(Paragraph("Not all of it ran under the same conditions, between which rounding may differ:"))
        content.append(Facts(tuple(conditions_of(sessions))))
    if split := records.result.get("split"):
        content.append(Facts(tuple((f"split: {key.replace('_', ' ')}", said(value)) for key, value in split.items())))
    whole = json.dumps(to_dict(records.recipe), indent=2)
    content.append(Code(text=whole, summary="The whole configuration"))
    return Section(title="How it was made", content=tuple(content))


def conditions_of(sessions: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """From which training step on a run ran how, in what was not the same throughout."""
    names = dict.fromkeys(name for session in sessions for name in session if name != "from_step")
    changed = [name for name in names if len({str(session.get(name, "")) for session in sessions}) > 1]
    return [
        (f"from step {session['from_step']:,}", ", ".join(f"{name} {session.get(name, 'unknown')}" for name in changed))
        for session in sessions
    ]


def said(value: Any) -> str:
    """A value of result.json in words."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {said(each)}" for key, each in value.items()) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
