"""The section about taking a run's network elsewhere."""

from sresnet.export.comparison import NEAR
from sresnet.export.deployment import Deployment
from sresnet.export.target import RUNTIMES
from sresnet.export.written import Written
from sresnet.report.document import Block, Paragraph, Section, Table, columns


def deployment(found: Deployment | None, exports: tuple[Written, ...], name: str, kind: str) -> Section:
    """What the network asks of a machine, what kinds of file can say it, and how exported files compared.

    Args:
        found: what it asks; None where that was not looked at.
        exports: what has been exported of it.
        name: of the run, for commands.
        kind: what its data are called.
    """
    content: list[Block] = []
    if found is not None:
        content += _asked(found)
    if exports:
        content += _files(exports, kind)
    else:
        content.append(Paragraph(f"Nothing has been exported yet: sresnet export {name} --to onnx", style="soft"))
    return Section(title="Deployment", content=tuple(content))


def _asked(found: Deployment) -> list[Block]:
    """Memory, and what NIR lacks words for."""
    if found.refused:
        return [Paragraph(f"No file for other programs can be written: {found.refused}.")]
    rows = tuple((bits, weights, found.state, weights + found.state) for bits, weights in found.weights)
    memory = Table(
        name="memory",
        title="Memory of the file in C, bytes",
        columns=columns("bits:d | weights:,d | state:,d | in all:,d"),
        rows=rows,
    )
    words = (
        "Weights of so many bits are constant and may lie in flash memory; the state, potentials and the maps of one "
        "time step, changes. Exact for sresnet export --to c; other programs take more."
    )
    nir = found.no_nir or "the network can be said in it, for simulators and neuromorphic boards"
    return [memory, Paragraph(words, style="soft"), Paragraph(f"{nir}.", strong="NIR:"), *_chips(found)]


def _chips(found: Deployment) -> list[Block]:
    """How the network fits neuromorphic chips."""
    if not found.fits:
        return []
    forms = {"no": "as it is", "binary": "single spikes"}
    rows = []
    for form, each in found.fits:
        there = sum(cores.count for cores in each.chip.cores)
        rows.append((each.chip.name, forms[form], each.needed, there, ", ".join(each.reasons) or "fits"))
    table = Table(
        name="chips",
        title="Neuromorphic chips, weights of 8 bits",
        columns=columns("chip | neurons send | cores needed:,d | of:,d | what does not fit"),
        rows=tuple(rows),
    )
    words = (
        "Held against published limits alone; sresnet export RUN --check CHIP has the table layer by layer, what is "
        "not published, and cures."
    )
    return [table, Paragraph(words, style="soft")]


def _files(exports: tuple[Written, ...], kind: str) -> list[Block]:
    """How exported files compared with the network."""
    rows = []
    for each in exports:
        of = each.comparison
        rows.append(
            (
                each.file,
                f"{RUNTIMES[each.config.to]}{', one step at a time' if each.config.streaming else ''}",
                *(each.config.weight_bits, each.size, of.images, of.top1_before, of.top1_after),
                *(f"{of.same:,} of {of.apart:,}", f"{of.near_and_same:,} of {of.near:,}"),
            )
        )
    header = f"file | run in | bits of a weight:d | bytes:,d | test {kind}:,d | before, %:.2f | after, %:.2f"
    table = Table(
        name="exports",
        title="Exported files",
        columns=columns(f"{header} | same scores | same scores, near"),
        rows=tuple(rows),
    )
    words = (
        f"Each was run beside the network on these {kind} before it was written, and scores after every step compared "
        f"with a program in float64. Near: with a potential within {NEAR:g} of a threshold at some step, where "
        "rounding may decide whether a neuron spikes."
    )
    return [table, Paragraph(words, style="soft")]
