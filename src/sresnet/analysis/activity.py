"""Which neurons fire, where and when (Fig. 3), and which never or always do."""

from dataclasses import dataclass

import torch
from torch import nn

from sresnet.analysis.walk import Batches, Observation, StepSums, walk
from sresnet.models.network import SpikingNetwork
from sresnet.nn.neuron import Neuron
from sresnet.nn.norm import BNTT, PerStepNorm, TimeAveragedNorm
from sresnet.nn.state import LayerRecord


@dataclass(frozen=True, kw_only=True)
class LayerActivity:
    """One layer of neurons. Rates are means over neurons and images, one number per time step."""

    name: str
    shape: tuple[int, ...]
    """Its neurons, (C, H, W)."""
    active: tuple[float, ...]
    """Percent of the neurons that spike at each step: the first row of Fig. 3, see `Activity`."""
    sending: tuple[float, ...]
    """Percent of the neurons whose output is not 0 at each step, the skip of an S2S block included."""
    sent: tuple[float, ...]
    """Mean output per neuron: spikes, sums of spikes, or real numbers behind a 1x1 skip or of few-spikes neurons."""
    gamma: tuple[float, ...] | None
    """Mean of the norm's gamma over channels: the second row of Fig. 3; None without a norm."""
    leak: float | None
    """Fraction of the potential kept per step; None for the ANN counterpart."""
    dead: float
    """Percent of the neurons that never fired on these data."""
    saturated: float
    """Percent of the neurons that fired at every step of every image."""
    spikes: float
    """Spikes per image, all neurons and steps; few-spikes neurons may send several in a step."""

    @property
    def neurons(self) -> int:
        """How many there are."""
        return int(torch.Size(self.shape).numel())

    @property
    def rate(self) -> float:
        """Firing rate: spikes per neuron and time step."""
        return self.spikes / self.neurons / len(self.active)


@dataclass(frozen=True, kw_only=True)
class Activity:
    """A network on some data.

    The paper does not say whether Fig. 3 shows `active` or `sending`: its caption has the "percentage of neurons
    active", and the released code draws no figure. For S2M, V2V and VGG11 both are the same. For S2S the text fits
    outputs better (stripes, "multiple spikes"), but behind a 1x1 skip a layer sends real numbers, hardly any of them 0,
    so half the map would be solid. Spikes mean the same everywhere; `figures.activity_maps` draws either.

    Fig. 3 counts layers from 0, the stem: the 1x1 skips join at 14 and 26, and the joins have even numbers. In the
    ANN counterpart a unit is active where it is above 0.
    """

    layers: tuple[LayerActivity, ...]
    """In the order they run."""
    images: int
    num_steps: int

    @property
    def spikes(self) -> float:
        """Spikes per inference."""
        return sum(layer.spikes for layer in self.layers)

    @property
    def rate(self) -> float:
        """Firing rate of the whole network: spikes per neuron and time step."""
        return self.spikes / sum(layer.neurons for layer in self.layers) / self.num_steps


class LayerCounter:
    """Running counts of one layer of neurons."""

    def __init__(self, shape: torch.Size, device: torch.device) -> None:
        self.shape = shape
        self.fired = torch.zeros(shape, dtype=torch.bool, device=device)
        self.silent = torch.zeros(shape, dtype=torch.bool, device=device)
        self.sums = StepSums()  # neurons that fired, outputs that are not 0, sum of outputs, spikes

    def add(self, step: int, record: LayerRecord) -> None:
        """Count one step, tensors [N, C, H, W]."""
        fires = record.fired.sum(0)  # how many images each neuron fires for
        self.fired |= fires > 0
        self.silent |= fires < len(record.spikes)
        total = fires.sum()
        sending = total if record.output is record.spikes else (record.output != 0).sum()
        spikes = record.spikes.sum(dtype=torch.float64) if record.several else total
        self.sums.add(step, total, sending, record.output.sum(dtype=torch.float64), spikes)


class ActivityCounter:
    """Watches a network's neurons; keeps a few numbers per step and two bits per neuron."""

    def __init__(self, model: SpikingNetwork) -> None:
        self.model = model
        self.layers: dict[str, LayerCounter] = {}
        self.images = 0

    def add(self, observation: Observation) -> None:
        """Count one step of one batch."""
        if observation.step == 0:
            self.images += len(observation.labels)
        for name, record in observation.records.items():
            if name not in self.layers:
                self.layers[name] = LayerCounter(record.spikes.shape[1:], record.spikes.device)
            self.layers[name].add(observation.step, record)

    def result(self) -> Activity:
        """What was counted."""
        layers = tuple(self.layer(name, counter) for name, counter in self.layers.items())
        return Activity(layers=layers, images=self.images, num_steps=len(layers[0].active) if layers else 0)

    def layer(self, name: str, counter: LayerCounter) -> LayerActivity:
        """The numbers of one layer."""
        sums = counter.sums.tensor()
        share = sums / (self.images * counter.shape.numel())
        fired, sending, sent, _ = share.T.tolist()
        return LayerActivity(
            name=name,
            shape=tuple(counter.shape),
            active=tuple(100 * value for value in fired),
            sending=tuple(100 * value for value in sending),
            sent=tuple(sent),
            gamma=_mean_gamma(self.model, name, len(sums)),
            leak=leak_of(self.model.part(name)),
            dead=100 * float((~counter.fired).double().mean()),
            saturated=100 * float((~counter.silent).double().mean()),
            spikes=float(sums[:, 3].sum()) / self.images,
        )


def activity(model: SpikingNetwork, batches: Batches, *, num_steps: int | None = None, seed: int = 0) -> Activity:
    """Count spikes, layer by layer and step by step; arguments and errors as `walk`."""
    counter = ActivityCounter(model)
    walk(model, batches, [counter], num_steps=num_steps, seed=seed)
    return counter.result()


def _mean_gamma(model: SpikingNetwork, neuron: str, num_steps: int) -> tuple[float, ...] | None:
    """Mean over channels of gamma of the norm in front of a layer of neurons, for each of the first steps.

    A norm with one gamma for all steps gives the same number at every step. The scale of tdBN is part of it.
    """
    name = model.topology.norm_before(neuron)
    norm = None if name is None else model.layers.get_submodule(name)
    if isinstance(norm, BNTT):
        return tuple(norm.weight.detach()[:num_steps].double().mean(1).tolist())
    if isinstance(norm, PerStepNorm):
        return (float(norm.weight.detach().double().mean()),) * num_steps
    if isinstance(norm, TimeAveragedNorm):
        return (norm.scale * float(norm.weight.detach().double().mean()),) * num_steps
    return None


def leak_of(neurons: nn.Module) -> float | None:
    """The leak of a layer of neurons; None for neurons without potential and for registered ones."""
    return neurons.leak_value() if isinstance(neurons, Neuron) else None
