"""Synaptic operations counted on data, and the energy they would cost, beside the ANN counterpart.

What is counted, per image:

    addition               one spike arriving over one synapse: the weight is added to the membrane
    multiply-accumulate    one real number arriving over one synapse: weight times number, added to the membrane

An input of 0 costs nothing. A spike costs one addition for each output that it reaches: fewer at the border of an
image, where the kernel reaches over the edge, and fewer with a stride. A whole number k, as S2S sends in stage 1,
counts as k spikes. So do k spikes of a few-spikes neuron: the weight times the height of each of its internal steps is
known before. Real numbers come from the image (direct encoding) and from S2S sums behind a 1x1 skip (Eq. 13).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sresnet.analysis.activity import leak_of
from sresnet.analysis.walk import Batches, Observation, StepSums, walk
from sresnet.models.network import SpikingNetwork
from sresnet.models.summary import InputKind, kernel_of
from sresnet.models.synapses import geometry, outputs_along, reached_along
from sresnet.nn.neuron import FewSpikes
from sresnet.nn.norm import BNTT
from sresnet.nn.wiring import WeightedSum

WHOLE = 1e-3
"""How far from a whole number a count of spikes may be: sums of float32 round, real inputs are farther off."""


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """Energy of one operation, in picojoules."""

    add: float
    multiply: float

    @property
    def multiply_accumulate(self) -> float:
        """A product and an addition."""
        return self.multiply + self.add


ARITHMETIC: dict[str, Arithmetic] = {
    "float32": Arithmetic(add=0.9, multiply=3.7),
    "float16": Arithmetic(add=0.4, multiply=1.1),
    "int32": Arithmetic(add=0.1, multiply=3.1),
    "int8": Arithmetic(add=0.03, multiply=0.2),
}
"""45 nm at 0.9 V: M. Horowitz, Computing's energy problem (and what we can do about it), ISSCC 2014, Fig. 1.1.9.

The arithmetic alone. Fetching a weight costs more (the same figure: 10 pJ for 64 bits from a cache of 8 KB, over 1 nJ
from DRAM), and how often that happens depends on the machine.
"""


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """What one convolution, the readout, or the join of one skip costs. Counts are per image, all steps together."""

    name: str
    """A module's name; a block's "skip" alone is the addition that joins it."""
    neurons: str | None
    """Those that it drives; None at a join, at the end of a skip, and of a readout whose neurons do not spike."""
    kernel: str
    """Such as "3x3", "3x3 /2" (stride 2), "linear"; "join" for a skip."""
    output: tuple[int, ...]
    """(C, H, W), or (outputs,)."""
    input_kind: InputKind
    """What arrived: spikes, sums of spikes (whole numbers), or real numbers."""
    events: float
    """Inputs that are not 0."""
    graded_events: float
    """Those of them that are not single spikes: they need graded spikes, or several."""
    spikes: float
    """Spikes that arrive, a whole number k counted as k; 0 where the input is real."""
    additions: float
    multiply_accumulates: float
    dense: float
    """Of the ANN counterpart: every input over every synapse, once. Multiply-accumulates; additions for a join."""
    update_multiplications: float
    """Of the norm and the neurons behind it: a gain that changes with the step, and the leak."""
    update_additions: float
    """Likewise: the shift of the norm, the current added to what the leak kept, the reset after a spike."""

    @property
    def synaptic_operations(self) -> float:
        """Additions and multiply-accumulates."""
        return self.additions + self.multiply_accumulates


@dataclass(frozen=True, kw_only=True)
class Energy:
    """Microjoules per image, arithmetic alone."""

    synapses: float
    """Additions and multiply-accumulates of all synapses."""
    updates: float
    """Norms, leaks and resets of all neurons, which are computed at every step, spikes or not."""
    ann: float
    """Of the ANN counterpart (the non-spiking network of the same topology): all multiply-accumulates, once; norms are
    part of its weights."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A network on some data, per image.

    Where every step receives the same image (direct encoding), the first convolution is counted once. Hardware that
    cannot keep its result pays `num_steps` times as much for it.
    """

    layers: tuple[LayerCost, ...]
    """In the order they run."""
    by_step: tuple[float, ...]
    """Synaptic operations at each step; their running sum is the cost of stopping there."""
    images: int
    num_steps: int

    @property
    def additions(self) -> float:
        """Of all layers."""
        return sum(layer.additions for layer in self.layers)

    @property
    def multiply_accumulates(self) -> float:
        """Of all layers."""
        return sum(layer.multiply_accumulates for layer in self.layers)

    @property
    def synaptic_operations(self) -> float:
        """Of all layers."""
        return self.additions + self.multiply_accumulates

    @property
    def ann_multiply_accumulates(self) -> float:
        """Of the ANN counterpart, once."""
        return sum(layer.dense for layer in self.layers if layer.kernel != "join")

    def energy(self, arithmetic: Arithmetic = ARITHMETIC["float32"]) -> Energy:
        """Counts times energy per operation."""
        joins = sum(layer.dense for layer in self.layers if layer.kernel == "join")
        ann = self.ann_multiply_accumulates * arithmetic.multiply_accumulate + joins * arithmetic.add
        synapses = self.additions * arithmetic.add + self.multiply_accumulates * arithmetic.multiply_accumulate
        updates = sum(
            layer.update_multiplications * arithmetic.multiply + layer.update_additions * arithmetic.add
            for layer in self.layers
        )
        return Energy(synapses=synapses / 1e6, updates=updates / 1e6, ann=ann / 1e6)


class LayerCounter:
    """Running counts of one convolution, readout or join."""

    def __init__(self, module: nn.Module, values: Tensor) -> None:
        """For the module that receives (a skip: adds) `values` [N, C, H, W]."""
        channels, height, width = values.shape[1:]
        self.module = module
        self.is_join = False
        self.real = False
        self.sums = StepSums()  # events, graded events, spikes, operations per event and per spike
        if isinstance(module, nn.Conv2d):
            tall, wide = geometry(module), geometry(module, axis=1)
            sizes = (outputs_along(height, **tall), outputs_along(width, **wide))
            self.outputs: tuple[int, ...] = (module.out_channels, *sizes)
            pixels = reached_along(height, **tall)[:, None] * reached_along(width, **wide)
            self.fan_out = (pixels.double() * (module.out_channels // module.groups)).to(values.device)
            self.dense = float(self.fan_out.sum()) * channels
        elif isinstance(module, nn.Linear):
            self.outputs = (module.out_features,)
            self.fan_out = torch.tensor(float(module.out_features), dtype=torch.float64, device=values.device)
            self.dense = float(channels * module.out_features)
        else:
            self.outputs = (channels, height, width)
            self.is_join = True
            self.fan_out = torch.ones((), dtype=torch.float64, device=values.device)
            self.dense = float(channels * height * width)

    def add(self, step: int, values: Tensor) -> None:
        """Count what arrived at one step, [N, C, H, W]."""
        size = values.abs()
        self.real = self.real or bool(((size - size.round()).abs() > WHOLE).any())
        # Summed over images and channels first: all inputs of a pixel reach equally many outputs. Whole numbers are
        # summed exactly; where they are not, the sum is not used.
        events = (size > 0).sum((0, 1)).double()
        spikes = size.sum((0, 1)).double().round()
        graded = (size > 1 + WHOLE).sum()
        # Real numbers are pooled before the readout multiplies them, one number per channel.
        multiplied = (size.sum((-2, -1)) > 0).sum().double() if isinstance(self.module, nn.Linear) else events
        per_event, per_spike = (multiplied * self.fan_out).sum(), (spikes * self.fan_out).sum()
        self.sums.add(step, events.sum(), graded, spikes.sum(), per_event, per_spike)

    def operations(self) -> tuple[Tensor, Tensor]:
        """Additions and multiply-accumulates at each step, float64 [steps] each."""
        events, _, _, per_event, per_spike = self.sums.tensor().unbind(1)
        none = torch.zeros_like(events)
        if self.is_join:
            one_by_one = isinstance(self.module, WeightedSum) and not self.real
            return per_spike if one_by_one else per_event, none
        if not self.real:
            return per_spike, none
        return (events if isinstance(self.module, nn.Linear) else none), per_event


class CostCounter:
    """Counts what arrives at every synapse of a network; keeps five numbers per layer and step."""

    def __init__(self, model: SpikingNetwork) -> None:
        self.modules = {name.removeprefix("layers."): module for name, module in model.named_modules()}
        self.places = {name: place for place, name in enumerate(model.layers)}
        self.topology = model.topology
        self.layers: dict[str, LayerCounter] = {}
        self.fired = dict.fromkeys(model.neuron_names, 0.0)  # spikes of each layer of neurons, for the resets
        self.images = 0
        self.num_steps = 0

    def add(self, observation: Observation) -> None:
        """Count one step of one batch."""
        if observation.step == 0:
            self.images += len(observation.labels)
        self.num_steps = max(self.num_steps, observation.step + 1)
        first = next(iter(observation.received))
        for name, values in (observation.received | observation.skipped).items():
            if name not in self.layers:
                self.layers[name] = LayerCounter(self.modules[name], values)
            if not (observation.constant and observation.step and name == first):
                self.layers[name].add(observation.step, values)
        for name, record in observation.records.items():
            self.fired[name] += float(record.spikes.sum())

    def result(self) -> Cost:
        """What was counted."""
        by_step = torch.zeros(self.num_steps, dtype=torch.float64)
        for counter in self.layers.values():
            additions, multiply_accumulates = counter.operations()
            by_step[: len(additions)] += (additions + multiply_accumulates) / self.images
        # A block's join comes behind its convolutions, the readout last.
        names = sorted(self.layers, key=lambda name: self.places.get(name.split(".")[0], len(self.places)))
        return Cost(
            layers=tuple(self.layer(name) for name in names),
            by_step=tuple(by_step.tolist()),
            images=self.images,
            num_steps=self.num_steps,
        )

    def layer(self, name: str) -> LayerCost:
        """The numbers of one layer."""
        counter = self.layers[name]
        module = counter.module
        additions, multiply_accumulates = (float(part.sum()) / self.images for part in counter.operations())
        events, graded, spikes = (counter.sums.tensor().sum(0) / self.images).tolist()[:3]
        update_multiplications, update_additions = self.updates(name)
        return LayerCost(
            name=name,
            neurons=self.topology.neurons_behind(name) if isinstance(module, nn.Conv2d | nn.Linear) else None,
            kernel=kernel_of(module) if isinstance(module, nn.Conv2d | nn.Linear) else "join",
            output=counter.outputs,
            input_kind="real" if counter.real else "sums of spikes" if graded else "spikes",
            events=events,
            graded_events=events if counter.real else graded,
            spikes=0.0 if counter.real else spikes,
            additions=additions,
            multiply_accumulates=multiply_accumulates,
            dense=counter.dense,
            update_multiplications=update_multiplications,
            update_additions=update_additions,
        )

    def updates(self, name: str) -> tuple[float, float]:
        """Multiplications and additions, per image, of the norm and the neurons behind a convolution or the readout.

        A gain that is the same at every step is part of the weights; its shift, or a bias, remains an addition.
        """
        counter = self.layers[name]
        if not isinstance(counter.module, nn.Conv2d | nn.Linear):
            return 0.0, 0.0
        values = float(torch.Size(counter.outputs).numel() * self.num_steps)
        multiplications = additions = 0.0
        norm, neuron = self.topology.norm_behind(name), self.topology.neurons_behind(name)
        if norm is not None:
            multiplications += values if isinstance(self.modules[norm], BNTT) else 0
            additions += values
        elif counter.module.bias is not None:
            additions += values
        leak = None if neuron is None else leak_of(self.modules[neuron])
        if leak is not None:
            multiplications += values if leak != 1 else 0
            assert neuron is not None
            additions += values + self.fired[neuron] / self.images
        elif neuron is not None and isinstance(self.modules[neuron], FewSpikes):
            additions += self.fired[neuron] / self.images
        return multiplications, additions


def cost(model: SpikingNetwork, batches: Batches, *, num_steps: int | None = None, seed: int = 0) -> Cost:
    """Count synaptic operations; arguments and errors as `walk`."""
    counter = CostCounter(model)
    walk(model, batches, [counter], num_steps=num_steps, seed=seed)
    return counter.result()
