"""Conversions of one ANN side by side: what each method gives after how many time steps, and what it costs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from sresnet.analysis.activity import ActivityCounter
from sresnet.analysis.cost import CostCounter
from sresnet.analysis.steps import StepCounter
from sresnet.analysis.walk import Batches, walk
from sresnet.convert import Method, to_spiking
from sresnet.models.network import SpikingNetwork


@dataclass(frozen=True, kw_only=True)
class Point:
    """A network on some images; numbers are per image."""

    name: str
    """Method, or run of a network that was trained as it is."""
    num_steps: int
    """Time steps; of few-spikes neurons those within the one time step."""
    top1: float
    """Percent of the images whose class has the highest score after all time steps."""
    spikes: float
    synaptic_operations: float
    """Additions and multiply-accumulates."""
    energy: float
    """Microjoules of the arithmetic in float32, estimated: synapses and updates of the neurons."""
    images: int


def measured(name: str, model: SpikingNetwork, batches: Batches, *, seed: int = 0) -> Point:
    """Accuracy, spikes, operations and energy from one pass over the images; arguments and errors as `walk`."""
    steps, activity, cost = StepCounter(), ActivityCounter(model), CostCounter(model)
    walk(model, batches, [steps, activity, cost], seed=seed)
    found, counted, spent = steps.result(), activity.result(), cost.result()
    energy = spent.energy()
    return Point(
        name=name,
        num_steps=len(found.top1),
        top1=found.top1[-1],
        spikes=counted.spikes,
        synaptic_operations=spent.synaptic_operations,
        energy=energy.synapses + energy.updates,
        images=found.images,
    )


def compared(
    ann: SpikingNetwork,
    methods: Mapping[str, Sequence[Method]],
    calibration: Tensor,
    batches: Callable[[], Batches],
    *,
    seed: int = 0,
) -> Iterator[Point]:
    """Every method, one after the other.

    Args:
        ann: the trained ANN.
        methods: name -> the same method with several numbers of steps.
        calibration: some of its training images, [N, C, H, W].
        batches: gives the images to measure on, anew at each call.
        seed: of the Poisson encoders.

    Raises:
        UserError: as `to_spiking` and `walk`.
    """
    for name, versions in methods.items():
        for method in versions:
            point = measured(name, to_spiking(ann, calibration, method), batches(), seed=seed)
            yield replace(point, num_steps=getattr(method, "internal_steps", point.num_steps))
