"""The sections about firing rates, operations and energy, and hardware."""

from collections import Counter

from sresnet.analysis import ARITHMETIC, Analysis
from sresnet.report.charts import short
from sresnet.report.document import LONG, Figure, Paragraph, Section, Table
from sresnet.report.figures import activity_map, gamma_map, operation_bars, own_spikes, spike_bars


def activity(analysis: Analysis, prefix: str) -> Section:
    """Fig. 3 for this network: firing rates over time, and the gain of the norms."""
    layers = analysis.activity.layers
    figures = [
        Figure(
            name=f"{prefix}activity",
            chart=activity_map(own_spikes(analysis.activity)),
            caption="Percent of a layer's neurons that fire at each time step, mean over test data (Fig. 3, above).",
        )
    ]
    if any(layer.gamma for layer in layers):
        figures.append(
            Figure(
                name=f"{prefix}gamma",
                chart=gamma_map(own_spikes(analysis.activity)),
                caption="Mean of gamma over the channels of the norm in front of each layer (Fig. 3, beneath).",
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
            ("ANN counterpart", ".3g"),
            ("% of the ANN's", ".0f"),
        ),
        rows=tuple(
            (name, e.synapses, e.updates, e.synapses + e.updates, e.ann, 100 * (e.synapses + e.updates) / e.ann)
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
            Figure(name=f"{prefix}spikes", chart=spike_bars(counts)),
            Figure(name=f"{prefix}operations", chart=operation_bars(spent)),
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
