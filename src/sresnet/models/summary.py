"""What a network is made of: layers, shapes, parameters, and the operations of one time step."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sresnet.config import to_dict
from sresnet.models import ModelConfig, blank
from sresnet.models.network import num_parameters
from sresnet.nn.neuron import FewSpikes, Neuron, OwnNeuron
from sresnet.randomness import seeded

InputKind = Literal["real", "sums of spikes", "spikes"]


@dataclass(frozen=True, kw_only=True)
class LayerSummary:
    """One convolution or linear layer, with the norm behind it."""

    name: str
    kernel: str
    """Such as "3x3", "3x3 /2" (stride 2), or "linear"."""
    output: tuple[int, ...]
    """Shape of its output for one image and step: (C, H, W), or (outputs,)."""
    parameters: int
    """Its weights and those of the norm behind it, all time steps together."""
    input_kind: InputKind
    """Kind of its inputs."""
    connections: int
    """Products of a weight and an input in one step of one image."""

    @property
    def multiply_accumulates(self) -> int:
        """Per image and step: all connections where the input is real, else none."""
        return self.connections if self.input_kind == "real" else 0

    @property
    def spike_additions(self) -> int:
        """Per image and step if every input neuron spikes; the actual number is this times the mean input."""
        return self.connections - self.multiply_accumulates


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A whole network."""

    layers: tuple[LayerSummary, ...]
    """In the order they run."""
    parameters: int
    """As the paper counts them (Tables 6, 7): convolutions, norms of all steps, readout, learned leaks."""
    neurons: int
    """Spiking neurons, per image."""


def describe(config: ModelConfig) -> str:
    """A network in a few words."""
    fields = to_dict(config)
    name = f"{config.family}{getattr(config, 'depth', '')}"
    name = name.removeprefix("s") if config.neuron == "relu" else name
    width = f", {fields['base_filters']} filters" if "base_filters" in fields else ""
    return f"{name}{width}, T = {config.num_steps}"


def summarise(config: ModelConfig, image_size: tuple[int, int] = (32, 32)) -> Summary:
    """Build the network of `config` and run one time step of one image of `image_size` (H, W); errors as `build`.

    Inputs are observed, not assumed: every neuron sends random spikes, and the values that arrive tell spikes, sums of
    spikes and real numbers apart. Averages of spikes are real numbers.
    """
    model = blank(config).eval()
    generator = torch.Generator().manual_seed(0)
    topology = model.topology
    names = {module: name.removeprefix("layers.") for name, module in model.named_modules()}
    layers: list[LayerSummary] = []
    neurons = []

    def watch(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d | nn.Linear)
        is_convolution = isinstance(module, nn.Conv2d)
        norm = topology.norm_behind(names[module])
        # A convolution sees [1, C, H, W], one step of one image; the readout [1, 1, C].
        shape = tuple(output.shape[1:] if is_convolution else output.shape[2:])
        layers.append(
            LayerSummary(
                name=names[module],
                kernel=kernel_of(module),
                output=shape,
                parameters=num_parameters(module) + (num_parameters(model.layers.get_submodule(norm)) if norm else 0),
                input_kind=_kind_of(inputs[0]),
                connections=module.weight.numel() * (shape[1] * shape[2] if is_convolution else 1),
            )
        )

    def spike_at_random(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        neurons.append(output.numel())
        return torch.randint(0, 2, output.shape, generator=generator, device="cpu").to(output.dtype)

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(watch)
        elif isinstance(module, Neuron | FewSpikes | OwnNeuron):
            module.register_forward_hook(spike_at_random)
    with torch.no_grad(), seeded(0, torch.device("cpu")):  # a Poisson encoder draws
        # Recording makes every layer of neurons run on its own, where its spikes can be replaced.
        image = torch.rand(1, config.in_channels, *image_size, generator=generator, dtype=torch.float32, device="cpu")
        model(image, num_steps=1, record=model.neuron_names)
    return Summary(layers=tuple(layers), parameters=num_parameters(model), neurons=sum(neurons))


def kernel_of(layer: nn.Conv2d | nn.Linear) -> str:
    """Kernel and stride as text."""
    if isinstance(layer, nn.Linear):
        return "linear"
    size = f"{layer.kernel_size[0]}x{layer.kernel_size[1]}"
    return size if layer.stride[0] == 1 else f"{size} /{layer.stride[0]}"


def _kind_of(values: Tensor) -> InputKind:
    """Spikes are 0 and 1 (or -1 from the signed encoder); sums of them are whole numbers."""
    if not torch.equal(values, values.round()):
        return "real"
    return "spikes" if values.abs().max() <= 1 else "sums of spikes"
