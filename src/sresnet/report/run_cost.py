"""The sections about firing rates, operations and energy, and hardware."""

from collections import Counter

from sresnet.analysis import ARITHMETIC, Analysis
from sresnet.report.document import LONG, Figure, Paragraph, Section, Table, columns, layer_of
from sresnet.report.figures import activity_map, gamma_map, operation_bars, own_spikes, spike_bars


def activity(analysis: Analysis) -> Section:
    """Fig. 3 for this network: firing rates over time, and the gain of the norms."""
    layers = own_spikes(analysis.activity)
    caption = "Percent of a layer's neurons that fire at each time step, mean over the test data (Fig. 3, above)."
    figures = [Figure(name="activity", chart=activity_map(layers), caption=caption)]
    if any(layer.gamma for layer in layers):
        caption = "Mean of gamma over the channels of the norm in front of each layer (Fig. 3, beneath)."
        figures.append(Figure(name="gamma", chart=gamma_map(layers), caption=caption))
    steps = range(1, analysis.activity.num_steps + 1)
    table = Table(
        name="activity-by-step",
        title="Percent of neurons that fire",
        columns=columns(" | ".join(["layer", *(f"step {step}:.2f" for step in steps)])),
        rows=tuple((layer_of(layer.name), *layer.active) for layer in layers),
        folded=True,
    )
    return Section(title="Activity", content=(*figures, table))


def cost(analysis: Analysis) -> Section:
    """Spikes and operations layer by layer, and the energy of the arithmetic."""
    counts, spent = analysis.activity, analysis.cost
    head = "layer | output | active, %:.1f | spikes:,.0f | dead, %:.1f | saturated, %:.1f"
    layers = Table(
        name="layers",
        title="Layers",
        columns=columns(f"{head} | input | additions:,.0f | multiply-acc.:,.0f"),
        rows=tuple(
            (
                layer_of(layer.name),
                "×".join(map(str, layer.output)),
                *((100 * n.rate, n.spikes, n.dead, n.saturated) if n else (None,) * 4),
                *(layer.input_kind, layer.additions, layer.multiply_accumulates),
            )
            for layer, n in analysis.rows()
        ),
        folded=len(counts.layers) > LONG,
    )
    head = "arithmetic | synapses:.3g | norms and neurons:.3g | total:.3g"
    rows = []
    for name, kind in ARITHMETIC.items():
        e = spent.energy(kind)
        total = e.synapses + e.updates
        rows.append((name, e.synapses, e.updates, total, e.ann, 100 * total / e.ann))
    energy = Table(
        name="energy",
        title="Energy of the arithmetic, microjoules per inference",
        columns=columns(f"{head} | ANN counterpart:.3g | % of the ANN:.0f"),
        rows=tuple(rows),
    )
    words = Paragraph(
        "An estimate: operations counted one by one, times the energy of each in 45 nm (Horowitz 2014). Arithmetic "
        "only; fetching weights and states costs more, and how much depends on the machine. Where every step receives "
        "the same image, the first convolution is counted once.",
        style="soft",
    )
    figures = (
        Figure(name="spikes", chart=spike_bars(counts)),
        Figure(name="operations", chart=operation_bars(spent)),
    )
    return Section(title="Spikes, operations, energy", content=(*figures, energy, words, layers))


def hardware(analysis: Analysis) -> Section:
    """What the connections require of a chip (Section 3.2.1)."""
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
    summary = Table(
        name="hardware",
        title="What the residual connections require",
        columns=columns(
            "neurons send | plain synapses:,d | extra connections:,d | extra synapses:,d | extra neurons:,d"
        ),
        rows=tuple(forms),
    )
    notes = []
    if view.internal_steps > 1:
        notes.append(
            f"Neurons may spike in each of {view.internal_steps} internal steps of a time step, and what a spike is "
            "worth, the synapse's weight times the height of that internal step, is known before."
        )
    if view.weights_per_step:
        notes.append("The gain of the norms changes with the time step: some extra synapses need weights per step.")
    elif view.gains_per_step:
        notes.append("The gain of the norms changes with the time step: each neuron needs a gain per step.")
    layers = Table(
        name="hardware-layers",
        title="With single spikes, layer by layer",
        columns=columns("layer | connections:,d | of these extra:,d | synapses:,d | of these extra:,d | extra kernels"),
        rows=tuple(
            (
                layer_of(layer.name),
                *(layer.connections, layer.extra_connections, layer.synapses, layer.extra_synapses),
                ", ".join(f"{count} of {kernel}" for kernel, count in Counter(layer.kernels).items()),
            )
            for layer in view.layers
        ),
        folded=True,
    )
    return Section(title=title, content=(words, summary, *map(Paragraph, notes), layers))
