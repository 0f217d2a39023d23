"""The sections that a page has about a run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sresnet.config import to_dict
from sresnet.data.events.frames import LOST, SATURATED
from sresnet.models.summary import describe
from sresnet.report.charts import readable
from sresnet.report.differing import field_in_words, value_in_words
from sresnet.report.document import Block, Cards, Code, Differences, Examples, Facts, Figure, Paragraph, Section, Table
from sresnet.report.inspection import Inspection
from sresnet.report.paper import Comparison, compare
from sresnet.report.records import Records
from sresnet.report.run_cost import activity, cost, hardware
from sresnet.report.run_deployment import deployment
from sresnet.report.run_test import confusions, examples, over_time
from sresnet.report.run_training import training
from sresnet.studies.rows import parameters


def run_sections(records: Records, inspection: Inspection | str, prefix: str = "") -> tuple[Section, ...]:
    """The sections about one run.

    Args:
        records: what it wrote.
        inspection: what its test data showed, or why there is none.
        prefix: in front of the names of figures and tables, so that they are unique in the page.
    """
    sections = [_summary(records, inspection)]
    if records.metrics:
        sections.append(training(records))
    if isinstance(inspection, Inspection):
        analysis = inspection.analysis
        sections += [
            over_time(analysis),
            confusions(records, inspection.confusion),
            examples(records, inspection),
            *(each(analysis) for each in (activity, cost, hardware)),
        ]
    asked = None if isinstance(inspection, str) else inspection.deployment
    if asked or records.exports:
        sections.append(deployment(asked, records.exports, records.name, records.kind))
    sections.append(_origin(records))
    return tuple(_prefixed(section, prefix) for section in sections)


def _prefixed(section: Section, prefix: str) -> Section:
    """A section with the names of its figures, tables and examples behind `prefix`."""

    def named(block: Block) -> Block:
        if isinstance(block, Figure | Table):
            return replace(block, name=f"{prefix}{block.name}")
        if isinstance(block, Examples):
            return Examples(tuple(replace(each, name=f"{prefix}{each.name}") for each in block.examples))
        return block

    return replace(section, content=tuple(map(named, section.content)))


def _summary(records: Records, inspection: Inspection | str) -> Section:
    """What was trained, on what, and what came out; beside the paper."""
    comparison = compare(records.recipe)
    content: list[Block] = []
    if records.simulated:
        warning = "These recordings are simulated: the numbers say nothing about a real event camera."
        content.append(Paragraph(warning, badge="SIMULATED"))
    content += _events_lost(records.result.get("split", {}))
    content.append(Paragraph(_in_words(records), style="lead"))
    content.append(Cards(tuple(_cards(records, inspection, comparison))))
    content += [Paragraph(text, style="soft") for text in _remarks(records, inspection)]
    content += _beside_the_paper(records, comparison)
    return Section(title="Summary", content=tuple(content))


def _events_lost(split: Mapping[str, Any]) -> list[Block]:
    """What counts that saturate have lost; before that was counted, nothing is known of it."""
    lost, events = split.get("saturated_events", 0), split.get("events", 0)
    if not 0 < lost <= events:
        return []
    said = (
        f"{lost:,} of {events:,} events ({100 * lost / events:.2g} %) are lost: a pixel of a frame counts up to "
        f"{SATURATED} at a time step here. With --data.frames.counts exact none are."
    )
    return [Paragraph(said, badge="EVENTS LOST") if lost >= LOST * events else Paragraph(said, style="soft")]


def _in_words(records: Records) -> str:
    """One or two sentences."""
    recipe, split = records.recipe, records.result.get("split", {})
    epochs = f"{recipe.train.epochs:,} epoch{'' if recipe.train.epochs == 1 else 's'}"
    epochs = "no training, norms set from images" if recipe.calibrate else epochs
    start = f", starting from {recipe.pretrained}" if recipe.pretrained else ""
    imported, ann = (records.environment.get(f"{how}_from") for how in ("imported", "converted"))
    trained = f"imported from {imported}, trained on" if imported else f"{epochs} on"
    trained = f"converted from {ann}, an ANN trained on" if ann else trained
    said = f"{describe(recipe.model)}: {trained} {recipe.data.name}{start}, seed {recipe.seed}."
    parts = [f"{split[part]:,} {word}" for part, word in PARTS.items() if split.get(part)]
    if parts:
        name = f", split {split['name']}" if split.get("name") else ""
        said += f" {records.kind.capitalize()}{name}: {', '.join(parts)}."
    return said


PARTS = {"train": "to train on", "validation": "held out", "test": "to test on"}


def _cards(records: Records, inspection: Inspection | str, comparison: Comparison | None) -> list[tuple[str, str]]:
    """The numbers to see first, each with what it is."""
    result, kind = records.result, records.kind
    found: list[tuple[str, str]] = []
    if "test_top1" in result:
        of = f"of {result['test_images']:,} {'simulated ' if records.simulated else ''}test {kind}"
        untrained = records.recipe.calibrate or "converted_from" in records.environment
        after = "" if untrained else ", after the last epoch"
        found.append((f"{result['test_top1']:.2f} %", f"{of} classified correctly{after}"))
    if "best_test_epoch_top1" in result:
        picked = f"in the best test epoch, {result['best_test_epoch']}: picked on the test {kind}"
        found.append((f"{result['best_test_epoch_top1']:.2f} %", picked))
    for table, cell in comparison.values if comparison else ():
        best = cell.quantity == "best-test-epoch"
        measured = result.get("best_test_epoch_top1" if best else "test_top1")
        if measured is not None and cell.paper is not None:
            protocol = ", best test epoch" if best else ""
            beside = f"in the paper ({table}{protocol}); here {measured - cell.paper:+.2f} points"
            found.append((f"{cell.paper:.2f} %", beside))
    if "validation_top1" in result:
        found.append((f"{result['validation_top1']:.2f} %", f"of the held-out {kind}"))
    found.append((f"{parameters(records.recipe.model):,}", "parameters"))
    if isinstance(inspection, Inspection):
        counts, spent = inspection.analysis.activity, inspection.analysis.cost
        energy = spent.energy()
        units = records.recipe.model.neuron in ("relu", "sharpened")
        sent = "units above 0, not spikes," if units else "spikes"
        dense = f"{readable(spent.ann_multiply_accumulates)} multiply-accumulates"
        microjoules = f"{energy.synapses + energy.updates:.3g} µJ"
        found += [
            (readable(counts.spikes), f"{sent} per inference, firing rate {counts.rate:.3f} per neuron and step"),
            (readable(spent.synaptic_operations), f"synaptic operations; the ANN counterpart: {dense}"),
            (microjoules, f"energy of the arithmetic, estimated; the ANN counterpart {energy.ann:.3g} µJ"),
        ]
    return found


def _remarks(records: Records, inspection: Inspection | str) -> list[str]:
    """What a reader has to know about the numbers."""
    found = []
    if not records.result:
        imported = "An imported network: how it was trained is not on record."
        unfinished = "This run is not finished: there is no test result yet."
        found.append(imported if "imported_from" in records.environment else unfinished)
    if isinstance(inspection, str):
        return [*found, f"{inspection[:1].upper()}{inspection[1:]}. What needs a pass over the test data is left out."]
    seen, again = inspection.confusion.images, inspection.confusion.top1
    if seen < inspection.of:
        found.append(f"Analysed: {seen:,} of {inspection.of:,} test {records.kind}, evenly spread.")
    top1 = records.result.get("test_top1")
    said = f"The pass for this page found {again:.2f} %"
    if inspection.other_data:
        found.append(f"{said}; it was over data other than the run's own ({inspection.other_data}).")
    elif isinstance(top1, int | float) and seen == inspection.of and abs(top1 - again) > 1e-6:
        found.append(
            f"{said}, the end of training {top1:.2f} %: another machine, precision or engine rounds differently, and "
            "Poisson spikes are drawn anew."
        )
    elif top1 is None:
        found.append(f"{said} of {seen:,} test {records.kind}.")
    return found


def _beside_the_paper(records: Records, comparison: Comparison | None) -> list[Block]:
    """The paper's number, or what differs from the paper's nearest recipe."""
    if comparison is None:
        return [Paragraph("The paper has no such network on such data.", style="soft")]
    if not comparison.differences:
        notes = [f"{table}, {cell.row}: {cell.remarks}." for table, cell in comparison.values if cell.remarks]
        fine = " What it was fine-tuned from is not compared." if records.recipe.pretrained else ""
        return [Paragraph(text) for text in (f"This recipe is the paper's: {comparison.nearest}.{fine}", *notes)]
    words = Paragraph(
        "Not one of the paper's recipes, so the paper has no number to compare with. What differs from the nearest of "
        f"them ({comparison.nearest}):"
    )
    fields = [
        (field_in_words(field), value_in_words(here), f"paper {value_in_words(paper)}")
        for field, here, paper in comparison.differences
    ]
    return [words, Differences(tuple(fields))]


def _origin(records: Records) -> Section:
    """The command, versions and machine, split, and the whole configuration."""
    content: list[Block] = []
    if records.command:
        content += [Paragraph("Trained by"), Code(text=records.command)]
    else:
        content.append(Paragraph("No sresnet command trains this network; its configuration is below."))
    known = {key: value for key, value in records.environment.items() if value != "" and key != "sessions"}
    content.append(Facts(tuple((ORIGINS.get(key, key.replace("_", " ")), str(value)) for key, value in known.items())))
    if sessions := records.environment.get("sessions"):
        content.append(Paragraph("Not all of it ran under the same conditions; rounding may differ between them:"))
        content.append(Facts(tuple(_conditions_of(sessions))))
    if split := records.result.get("split"):
        content.append(Facts(tuple((f"split: {key.replace('_', ' ')}", _said(value)) for key, value in split.items())))
    whole = json.dumps(to_dict(records.recipe), indent=2)
    content.append(Code(text=whole, summary="The whole configuration"))
    return Section(title="How it was made", content=tuple(content))


ORIGINS = {
    "device": "machine",
    "revision": "revision of sresnet",
    "data_dir": "data folder",
    "cache_dir": "cache folder",
}


def _conditions_of(sessions: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The conditions that changed during a run, and from which training step on they held."""
    names = dict.fromkeys(name for session in sessions for name in session if name != "from_step")
    changed = [name for name in names if len({str(session.get(name, "")) for session in sessions}) > 1]
    return [
        (f"from step {session['from_step']:,}", ", ".join(f"{name} {session.get(name, 'unknown')}" for name in changed))
        for session in sessions
    ]


def _said(value: Any) -> str:
    """A value of result.json in words."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_said(each)}" for key, each in value.items()) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
