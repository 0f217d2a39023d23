"""All of the analysis in one pass over the data."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

from torch import Tensor

from sresnet.analysis.activity import Activity, ActivityCounter, LayerActivity
from sresnet.analysis.cost import ARITHMETIC, Cost, CostCounter, LayerCost
from sresnet.analysis.gradients import BlockGradient, gradient_norms
from sresnet.analysis.hardware import HardwareView, hardware_view
from sresnet.analysis.steps import StepAccuracy, StepCounter
from sresnet.analysis.walk import Batches, Watcher, walk
from sresnet.errors import UserError
from sresnet.models.network import SpikingNetwork

KIND = "sresnet analysis"
"""Marks the file as ours."""
GRADIENT_IMAGES = 8
"""Images of the first batch that gradients are of: their graph over all steps is in memory."""


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
        return [(layer, neurons.get(layer.neurons or "")) for layer in self.cost.layers]

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
                "ann_multiply_accumulates": cost.ann_multiply_accumulates,
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
    """Analyse `model`; arguments and errors as `walk`, and UserError where there is no batch.

    Gradients are of the first images of the first batch, over all of the network's steps. `watchers` see the same pass.
    """
    batches = iter(batches)
    first = next(batches, None)
    if first is None:
        raise UserError("there are no images to analyse: give at least one batch")
    counters = ActivityCounter(model), CostCounter(model), StepCounter()
    walk(model, chain([first], batches), [*counters, *watchers], num_steps=num_steps, seed=seed)
    gradients = _first_gradients(model, *first, seed=seed)
    height, width = first[0].shape[-2:]
    view, reason = _view_of(model, (height, width))
    return Analysis(
        activity=counters[0].result(),
        cost=counters[1].result(),
        steps=counters[2].result(),
        gradients=gradients,
        hardware=view,
        no_hardware=reason,
    )


def _first_gradients(model: SpikingNetwork, x: Tensor, labels: Tensor, *, seed: int) -> tuple[BlockGradient, ...]:
    """Gradient norms of the first images; none if they overflow, or for one image, which has no batch statistics."""
    if len(x) < 2:
        return ()
    found = gradient_norms(model, x[:GRADIENT_IMAGES], labels[:GRADIENT_IMAGES], seed=seed)
    return found if all(math.isfinite(block.norm) for block in found) else ()


def _view_of(model: SpikingNetwork, size: tuple[int, int]) -> tuple[HardwareView | None, str]:
    """The hardware view, or why there is none."""
    try:
        return hardware_view(model, size), ""
    except UserError as error:
        return None, str(error)
