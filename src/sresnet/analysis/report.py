"""All of the analysis in one pass over the data, and the files that `sresnet analyse` writes."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from torch import Tensor

from sresnet.analysis import figures
from sresnet.analysis.activity import Activity, ActivityCounter, LayerActivity
from sresnet.analysis.cost import ARITHMETIC, Cost, CostCounter, LayerCost, neuron_behind
from sresnet.analysis.early_exit import EarlyExit, Exited, ExitPoint
from sresnet.analysis.gradients import BlockGradient, gradient_norms
from sresnet.analysis.hardware import HardwareView, hardware_view
from sresnet.analysis.steps import StepAccuracy, StepCounter
from sresnet.analysis.walk import Batches, Watcher, walk
from sresnet.errors import UserError
from sresnet.models.network import SpikingNetwork
from sresnet.train.record import write_json

ANALYSIS = "analysis.json"
"""Name of the file with the numbers."""
KIND = "sresnet analysis"
"""What the file says it is, so that it is known again."""
GRADIENT_IMAGES = 8
"""Images of the first batch whose gradients are looked at: their graph over all steps is in memory."""


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """A network on some data."""

    activity: Activity
    cost: Cost
    steps: StepAccuracy
    gradients: tuple[BlockGradient, ...]
    hardware: HardwareView | None
    """None where the network has no such form; `no_hardware` says why."""
    no_hardware: str = ""

    def rows(self) -> list[tuple[LayerCost, LayerActivity | None]]:
        """Each line of the cost with the neurons behind it, where there are any."""
        neurons = {layer.name: layer for layer in self.activity.layers}
        return [(layer, neurons.get(neuron_behind(layer.name))) for layer in self.cost.layers]

    def plain(self) -> dict[str, Any]:
        """As JSON holds it, totals and energies beside the numbers of each layer."""
        cost = self.cost
        return {
            "kind": KIND,
            "images": self.activity.images,
            "num_steps": self.activity.num_steps,
            "totals": {
                "spikes": self.activity.spikes,
                "spikes_per_neuron_and_step": self.activity.rate,
                "additions": cost.additions,
                "multiply_accumulates": cost.multiply_accumulates,
                "synaptic_operations": cost.synaptic_operations,
                "twin_multiply_accumulates": cost.twin_multiply_accumulates,
            },
            "energy_microjoules": {name: asdict(cost.energy(kind)) for name, kind in ARITHMETIC.items()},
            "energy_picojoules_per_operation": {name: asdict(kind) for name, kind in ARITHMETIC.items()},
            "activity": [asdict(layer) for layer in self.activity.layers],
            "cost": [asdict(layer) for layer in cost.layers],
            "by_step": {
                "synaptic_operations": list(cost.by_step),
                "top1": list(self.steps.top1),
                "margin": list(self.steps.margin),
            },
            "gradients": [asdict(block) | {"norm": block.norm} for block in self.gradients],
            "hardware": asdict(self.hardware) if self.hardware else {"not_available": self.no_hardware},
        }


def analyse(
    model: SpikingNetwork,
    batches: Batches,
    *,
    num_steps: int | None = None,
    seed: int = 0,
    watchers: Iterable[Watcher] = (),
) -> Analysis:
    """Look at `model` from all sides; arguments and errors as `walk`, and UserError for no batch at all.

    Gradients are those of the first images of the first batch, over all of the network's steps. `watchers` are others
    who want to see the same pass.
    """
    batches = iter(batches)
    first = next(batches, None)
    if first is None:
        raise UserError("there are no images to look at: give at least one batch")
    counters = ActivityCounter(model), CostCounter(model), StepCounter()
    walk(model, chain([first], batches), [*counters, *watchers], num_steps=num_steps, seed=seed)
    gradients = first_gradients(model, *first, seed=seed)
    height, width = first[0].shape[-2:]
    view, reason = view_of(model, (height, width))
    return Analysis(
        activity=counters[0].result(),
        cost=counters[1].result(),
        steps=counters[2].result(),
        gradients=gradients,
        hardware=view,
        no_hardware=reason,
    )


def first_gradients(model: SpikingNetwork, x: Tensor, labels: Tensor, *, seed: int) -> tuple[BlockGradient, ...]:
    """Gradient norms for the first images of a batch; none for a single image, which has no batch statistics."""
    if len(x) < 2:
        return ()
    return gradient_norms(model, x[:GRADIENT_IMAGES], labels[:GRADIENT_IMAGES], seed=seed)


def view_of(model: SpikingNetwork, size: tuple[int, int]) -> tuple[HardwareView | None, str]:
    """The hardware view, or why there is none."""
    try:
        return hardware_view(model, size), ""
    except UserError as error:
        return None, str(error)


def claim(folder: Path, file: str = ANALYSIS, kind: str = KIND) -> None:
    """Make `folder` for the files of an analysis, or check that it is one already; its own files may be replaced.

    Args:
        folder: where.
        file, kind: name of the file with the numbers, and what it says it is.

    Raises:
        UserError: the folder holds something and no such file, or cannot be made.
    """
    if folder.is_dir() and any(folder.iterdir()) and not is_ours(folder / file, kind):
        raise UserError(f"{folder} is not empty and holds no {kind.removeprefix('sresnet ')}: choose another --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made ({error.strerror}): choose another --out") from None


def is_ours(path: Path, kind: str) -> bool:
    """Whether a file is one that we wrote, of this kind."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("kind") == kind


EARLY_EXIT, EARLY_EXIT_KIND = "early-exit.json", "sresnet early exit"
"""Name of the file with the numbers of `save_early_exit`, and what it says it is."""


def save_early_exit(
    found: EarlyExit, exited: Exited, threshold: float, folder: Path, about: dict[str, Any]
) -> list[Path]:
    """Write a curve of accuracy against mean steps, and its figure where matplotlib is there; `folder` is claimed.

    Args:
        found: the curve.
        exited: what the threshold asked for gave when it was run.
        threshold: that threshold.
        folder: where.
        about: what else the file should say, such as the run and the data.

    Returns:
        The files written.

    Raises:
        UserError: the disk is full or refuses.
    """
    ran = {"threshold": threshold, **asdict(exited)}
    write_json(folder / EARLY_EXIT, {"kind": EARLY_EXIT_KIND, **about, **asdict(found), "ran": ran})
    paths = [folder / EARLY_EXIT]
    if figures.available():
        point = ExitPoint(threshold=threshold, mean_steps=exited.mean_steps, top1=exited.top1)
        paths += figures.save(figures.exit_curves({"": found}, chosen=point), folder / "early-exit")
    return paths


def save(analysis: Analysis, folder: Path, about: dict[str, Any]) -> list[Path]:
    """Write the numbers, and the figures where matplotlib is there, into a folder that `claim` has made.

    Args:
        analysis: what to write.
        folder: where.
        about: what else the file should say, such as the run and the data.

    Returns:
        The files written.

    Raises:
        UserError: the disk is full or refuses.
    """
    write_json(folder / ANALYSIS, {"kind": KIND, **about, **analysis.plain()})
    paths = [folder / ANALYSIS]
    if not figures.available():
        return paths
    drawn = {
        "activity": figures.activity_maps({"": analysis.activity}),
        "cost": figures.cost_bars(analysis.activity, analysis.cost),
        "accuracy": figures.accuracy_curves({"": (analysis.steps, analysis.cost)}),
    }
    if analysis.gradients:
        drawn["gradients"] = figures.gradient_curves({"": analysis.gradients})
    for name, figure in drawn.items():
        paths += figures.save(figure, folder / name)
    return paths
