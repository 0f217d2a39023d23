"""What a residual connection asks of neuromorphic hardware (Section 3.2.1): graded spikes, or extra synapses.

Counted on a network that is written out as populations and synapses, see `sresnet.models.synapses`.
"""

import copy
from dataclasses import dataclass

import torch

from sresnet.models.network import SpikingNetwork
from sresnet.models.synapses import HardwareNetwork, Population, hardware_network
from sresnet.nn.neuron import FewSpikes


@dataclass(frozen=True, kw_only=True)
class HardwareLayer:
    """Connections into one layer of neurons when all messages are spikes."""

    name: str
    connections: int
    """Layers that it receives from."""
    extra_connections: int
    """Those that only residual connections need."""
    synapses: int
    extra_synapses: int
    kernels: tuple[str, ...]
    """Of the extra connections, such as "3x3 /2 dilation 2"."""
    weights_per_step: bool
    """Weights change with the step, which no gain per neuron can express."""
    bias_per_position: bool
    """Its bias depends on the pixel, as a skip's shift meets zeros at the border."""


@dataclass(frozen=True, kw_only=True)
class HardwareView:
    """What a network asks of hardware, for one image size.

    A connection joins two layers. For V2V the paper has (l/n) - 1 extra connections for each r_l (Eq. 18): the number
    of layers in the sum of Eq. 15 if the input is layer 1 and the stem layer 2, so that block k ends at layer
    l = 2k + 2: k extra connections. With the stem as layer 0, as in Fig. 3, Eq. 18 leaves out the stem's current, which
    Eq. 15 passes on; it is counted here. For S2S the paper gives no number: the layer behind block k receives from the
    stem and k blocks, k extra connections. Either way a network of B blocks has B (B + 1) / 2, the "same effect in the
    information flow" of the text. S2M has one per block.
    """

    connection: str
    sends: str
    """Messages without extra connections."""
    needs_graded_spikes: bool
    """Some of these messages are not spikes."""
    layers: tuple[HardwareLayer, ...]
    """In the binary form."""
    synapses: int
    """Of the binary form."""
    extra_connections: int
    extra_synapses: int
    intermediate_neurons: int
    """Of the graded form."""
    intermediate_synapses: int
    """To, between and from them, beyond those of the layers' convolutions."""
    gains_per_step: bool
    """BNTT: every layer's gain changes with the step."""
    weights_per_step: bool
    """Some synapses need weights per step, see `HardwareLayer`."""
    analog_input: bool
    """The first layer multiplies real numbers: the image."""
    internal_steps: int = 1
    """Of few-spikes neurons, the most within one time step: a spike is worth the weight times the height of its own."""

    @property
    def plain_synapses(self) -> int:
        """Those without residual connections."""
        return self.synapses - self.extra_synapses


SENDS = {
    "s2s": "sums of spikes, and real numbers behind the first 1x1 skip",
    "s2m": "spikes",
    "v2v": "spikes, and currents along the skips",
    "none": "spikes",
}


def hardware_view(model: SpikingNetwork, size: tuple[int, int]) -> HardwareView:
    """Count what `model` needs for images of `size` (H, W), without computing weights; errors as `hardware_network`."""
    # Tensors on the meta device have shapes only; composed kernels of all steps would take gigabytes.
    empty = copy.deepcopy(model).to("meta")
    binary = hardware_network(empty, size, form="binary")
    graded = hardware_network(empty, size, form="graded")
    layers = tuple(_layer_of(population, binary) for population in binary.populations)
    converted = model.config.family == "wired"
    connection = "a converted network" if converted else getattr(model.config, "connection", "none")
    extra = sum(layer.extra_synapses for layer in layers)
    with_sums = sum(sum(graded.synapses(population)) for population in graded.populations)
    plain = sum(layer.synapses for layer in layers) - extra
    sums = [population for population in graded.populations if population.role == "sum"]
    return HardwareView(
        connection=connection,
        sends=_sent_by_conversion(bool(sums)) if converted else SENDS[connection],
        needs_graded_spikes=bool(sums),
        layers=layers,
        synapses=plain + extra,
        extra_connections=sum(layer.extra_connections for layer in layers),
        extra_synapses=extra,
        intermediate_neurons=sum(torch.Size(population.shape).numel() for population in sums),
        intermediate_synapses=with_sums - plain if sums else 0,
        gains_per_step=model.config.norm == "bntt",
        weights_per_step=any(layer.weights_per_step for layer in layers),
        analog_input=model.config.encoder in ("direct", "first-step"),
        internal_steps=max(
            (len(module.thresholds) for module in model.modules() if isinstance(module, FewSpikes)), default=1
        ),
    )


def _sent_by_conversion(sums: bool) -> str:
    """What layers of a converted network send, as `SENDS` has it for the others."""
    return "sums of spikes, each of its layer's height" if sums else "spikes"


def _layer_of(population: Population, network: HardwareNetwork) -> HardwareLayer:
    """The counts of one population of the binary form."""
    counts = network.synapses(population)
    extra = population.incoming[1:]
    return HardwareLayer(
        name=population.name,
        connections=len(counts),
        extra_connections=len(extra),
        synapses=sum(counts),
        extra_synapses=sum(counts[1:]),
        kernels=tuple(map(str, extra)),
        weights_per_step=any(synapses.per_step for synapses in population.incoming),
        bias_per_position=population.bias is not None and population.bias.shape[-1] * population.bias.shape[-2] > 1,
    )
