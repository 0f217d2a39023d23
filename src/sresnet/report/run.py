"""The sections that a page has about a run."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sresnet.config import to_dict
from sresnet.models.summary import describe
from sresnet.report.charts import readable
from sresnet.report.document import (
    Block,
    Cards,
    Code,
    Differences,
    Facts,
    Paragraph,
    Section,
)
from sresnet.report.inspection import Inspection
from sresnet.report.paper import Comparison, compare
from sresnet.report.records import Records
from sresnet.report.run_cost import activity, cost, hardware
from sresnet.report.run_test import confusions, examples, over_time
from sresnet.report.run_training import training
from sresnet.studies.rows import parameters


def run_sections(records: Records, inspection: Inspection | str, prefix: str) -> tuple[Section, ...]:
    """The sections about one run.

    Args:
        records: what it wrote.
        inspection: what its test data showed, or why there is none.
        prefix: in front of the names of figures and tables, so that they are unique in the page.
    """
    sections = [summary(records, inspection, prefix)]
    if records.metrics:
        sections.append(training(records, prefix))
    if isinstance(inspection, Inspection):
        sections += [
            over_time(inspection.analysis, prefix),
            confusions(records, inspection.confusion, prefix),
            examples(records, inspection, prefix),
            activity(inspection.analysis, prefix),
            cost(inspection.analysis, prefix),
            hardware(inspection.analysis, prefix),
        ]
    sections.append(origin(records))
    return tuple(sections)


def summary(records: Records, inspection: Inspection | str, prefix: str) -> Section:
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
    content.append(Cards(tuple(cards(records, inspection, comparison))))
    content += remarks(records, inspection)
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


def cards(records: Records, inspection: Inspection | str, comparison: Comparison | None) -> list[tuple[str, str]]:
    """The numbers to see first, each with what it is."""
    result = records.result
    found: list[tuple[str, str]] = []
    if "test_top1" in result:
        on_simulated = "simulated " if records.simulated else ""
        found.append(
            (
                f"{result['test_top1']:.2f} %",
                f"of {result['test_images']:,} {on_simulated}test {records.kind} classified correctly, after the last "
                "epoch",
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
    if isinstance(inspection, Inspection):
        counts, spent = inspection.analysis.activity, inspection.analysis.cost
        energy = spent.energy()
        sent = "units above 0, not spikes," if records.recipe.model.neuron == "relu" else "spikes"
        found += [
            (readable(counts.spikes), f"{sent} per inference, firing rate {counts.rate:.3f} per neuron and step"),
            (
                readable(spent.synaptic_operations),
                f"synaptic operations; the ANN counterpart: {readable(spent.ann_multiply_accumulates)} "
                "multiply-accumulates",
            ),
            (
                f"{energy.synapses + energy.updates:.3g} µJ",
                f"energy of the arithmetic, estimated; the ANN counterpart {energy.ann:.3g} µJ",
            ),
        ]
    return found


def remarks(records: Records, inspection: Inspection | str) -> list[Block]:
    """What a reader has to know about the numbers."""
    found = []
    if not records.result:
        found.append(
            "This run is not finished: there is no test result yet."
            if "imported_from" not in records.environment
            else "An imported network: how it was trained is not on record."
        )
    if isinstance(inspection, str):
        found.append(f"{inspection[:1].upper()}{inspection[1:]}. What needs a pass over the test data is left out.")
    else:
        seen = inspection.confusion.images
        if seen < inspection.of:
            found.append(f"Analysed: {seen:,} of {inspection.of:,} test {records.kind}, evenly spread.")
        top1 = records.result.get("test_top1")
        again = inspection.confusion.top1
        if inspection.other_data:
            found.append(
                f"The pass for this page found {again:.2f} %; it was over data that are not the data of the run "
                f"({inspection.other_data})."
            )
        elif isinstance(top1, int | float) and seen == inspection.of and abs(top1 - again) > 1e-6:
            found.append(
                f"The pass for this page found {again:.2f} %, the end of training {top1:.2f} %: another machine, "
                "precision or engine rounds differently, and Poisson spikes are drawn anew."
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


def origin(records: Records) -> Section:
    """The command, versions and machine, split, and the whole configuration."""
    content: list[Block] = []
    if records.command:
        content += [Paragraph("Trained by"), Code(text=records.command)]
    else:
        content.append(Paragraph("No sresnet command trains this network; its configuration is below."))
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
