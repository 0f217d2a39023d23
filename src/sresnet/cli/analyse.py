"""`sresnet analyse`."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from sresnet.analysis import Analysis, analyse, batches_of, spread
from sresnet.cli.parse import at_least, name_and_flags, parse
from sresnet.cli.runs import RuntimeOptions, other_data, part_of, print_split, steps_said, trained
from sresnet.cli.terminal import print_table, signs_of_life
from sresnet.errors import UserError
from sresnet.models.pretrained import is_shipped
from sresnet.ops.dispatch import implementation
from sresnet.ops.memory import keep_freed_memory
from sresnet.printing import give, going_on, say
from sresnet.randomness import seed_of
from sresnet.report.analysis_files import claim, save
from sresnet.report.document import layer_of
from sresnet.studies.conversions import check_steps
from sresnet.train import record
from sresnet.train.record import recipe_of


@dataclass(frozen=True, kw_only=True)
class _AnalyseOptions(RuntimeOptions):
    """Flags of `sresnet analyse`."""

    images: int = 500
    """How many images or clips to analyse, evenly spread over the part."""
    part: str = "test"
    """Part of the data: test, validation or train."""
    num_steps: int = 0
    """Run only this many time steps, the first of those trained; 0: all. More than these are for conversions to rates,
    and for networks whose norms do not count them."""
    batch_size: int = 25
    """Images at a time; affects only memory, and which spikes a Poisson encoder draws."""
    out: str = ""
    """Folder for the numbers and figures; by default RUN/analysis, or analysis-NAME for a shipped network."""
    force: bool = False
    """Overwrite what is in the way, even if sresnet did not make it."""


@going_on()
def analyse_verb(words: list[str]) -> int:
    """`sresnet analyse RUN`."""
    source, rest = name_and_flags(words, "run", "give the folder of a trained run")
    options = parse(
        _AnalyseOptions(), rest, f"sresnet analyse {source}", "Firing rates, operations, energy and hardware needs."
    )
    recipe = recipe_of(source, memory_limit=options.memory_limit)
    at_least(0, num_steps=options.num_steps)
    check_steps(Path(source), recipe.model.num_steps, options.num_steps)
    at_least(1, batch_size=options.batch_size)
    device = options.torch_device()
    splits = options.open_again(recipe, source)
    samples = part_of(splits, options.part)
    samples = samples.subset(spread(len(samples), options.images))
    if device.type == "cpu":
        keep_freed_memory()
    model, scaling, _ = trained(source, device, options.memory_limit, samples)
    folder = Path(options.out or (f"analysis-{source}" if is_shipped(source) else f"{source}/analysis"))
    if not options.out and folder.is_symlink():
        raise UserError(f"{folder} is a link, which is followed only where you name it: add --out DIR")
    claim(folder, force=options.force)
    with implementation(options.engine):
        analysis = analyse(
            model,
            signs_of_life(batches_of(samples, scaling, batch_size=options.batch_size, device=device), len(samples)),
            num_steps=options.num_steps or None,
            seed=seed_of("evaluate", recipe.seed),
        )
    about = {"run": source, "data": recipe.data.name, "part": options.part}
    about |= other_data(splits) | record.provenance(shlex.join(["sresnet", "analyse", *words]), device)
    give(about | analysis.plain())
    _print_analysis(analysis, options.part, recipe.model.num_steps)
    print_split(recipe.data, splits)
    paths = save(analysis, folder, about)
    say("", f"written to {folder}: {', '.join(path.name for path in paths)}")
    if len(paths) == 1:
        say("note: for figures, pip install 'sresnet[report]' and run the same command again")
    return 0


def _print_analysis(analysis: Analysis, part: str, trained_steps: int) -> None:
    """What `sresnet analyse` found, a line per layer and the sums."""
    activity, cost = analysis.activity, analysis.cost
    counts = "active %:.1f | spikes:,.0f | dead %:.1f | saturated %:.1f"
    print_table(
        f"layer | output | {counts} | input | additions:,.0f | MAC:,.0f",
        [
            (
                *(layer_of(layer.name), "x".join(map(str, layer.output))),
                *((100 * n.rate, n.spikes, n.dead, n.saturated) if n else (None,) * 4),
                *(layer.input_kind, layer.additions or None, layer.multiply_accumulates or None),
            )
            for layer, n in analysis.rows()
        ],
    )
    energy, hardware = cost.energy(), _describe_hardware(analysis)
    say(
        "",
        f"per image, of {activity.images:,} {part} images, {steps_said(activity.num_steps, trained_steps)}",
        f"accuracy: {analysis.steps.top1[-1]:.2f} %",
        f"spikes: {activity.spikes:,.0f}, firing rate {activity.rate:.3f} per neuron and step",
        f"synaptic operations: {cost.additions:,.0f} additions, {cost.multiply_accumulates:,.0f} multiply-accumulates "
        f"(MAC); ANN counterpart {cost.ann_multiply_accumulates:,.0f} MAC",
        f"energy of the arithmetic (45 nm, float32): synapses {energy.synapses:.3g} microjoules, neuron updates "
        f"{energy.updates:.3g}; ANN counterpart {energy.ann:.3g}",
        "hardware: " + hardware[0],
        *(f"  {line}" for line in hardware[1:]),
    )


def _describe_hardware(analysis: Analysis) -> list[str]:
    """The hardware view in a few lines."""
    view = analysis.hardware
    if view is None:
        return [analysis.no_hardware]
    lines = [f"{view.connection} sends {view.sends}"]
    if view.extra_connections:
        lines.append(
            f"with single spikes: {view.extra_connections} extra connections, {view.extra_synapses:,} extra synapses "
            f"beside {view.plain_synapses:,}"
        )
    if view.needs_graded_spikes:
        lines.append(
            f"with graded spikes: {view.intermediate_neurons:,} intermediate neurons, {view.intermediate_synapses:,} "
            "extra synapses"
        )
    if view.internal_steps > 1:
        lines.append(f"a spike is worth its weight times the height of one of {view.internal_steps} internal steps")
    if view.weights_per_step:
        lines.append("BNTT makes weights on these paths change with the time step")
    return lines
