"""A wired network while it is being drawn up: steps and their tensors, norms folded as they come."""

from collections.abc import Container
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from sresnet.errors import UserError
from sresnet.models import blank
from sresnet.models.families.wired import WiredConfig
from sresnet.models.network import SpikingNetwork
from sresnet.nn.wiring import RESERVED, Step, Wiring


@dataclass
class Drawing:
    """Steps so far, in the order they run; names of steps stand for what they give."""

    steps: dict[str, Step] = field(default_factory=dict)
    """Name -> step."""
    tensors: dict[str, tuple[Tensor, Tensor | None]] = field(default_factory=dict)
    """Weight and bias of convolutions and linear layers."""

    def add(self, step: Step, weight: Tensor | None = None, bias: Tensor | None = None) -> str:
        """One more step; returns its name."""
        self.steps[step.name] = step
        if weight is not None:
            self.tensors[step.name] = (weight.detach(), None if bias is None else bias.detach())
        return step.name

    def convolution(self, name: str, source: str, layer: nn.Conv2d, where: str) -> str:
        """A convolution like `layer`; UserError, which says `where` it is, for padding that is not zeros all around."""
        padding = layer.padding
        if isinstance(padding, str):
            around = [dilation * (size - 1) for dilation, size in zip(layer.dilation, layer.kernel_size, strict=True)]
            whole = padding == "valid" or all(each % 2 == 0 for each in around)
            padding = tuple(each // 2 if padding == "same" else 0 for each in around) if whole else padding
        if layer.padding_mode != "zeros" or isinstance(padding, str):
            raise UserError(f"{where} pads with {layer.padding_mode!r}, {layer.padding!r}: pad with zeros, by numbers")
        step = Step(
            name=name,
            kind="convolution",
            inputs=(source,),
            in_channels=layer.in_channels,
            out_channels=layer.out_channels,
            kernel=pair(layer.kernel_size),
            stride=pair(layer.stride),
            padding=pair(padding),
            dilation=pair(layer.dilation),
            groups=layer.groups,
            bias=layer.bias is not None,
        )
        return self.add(step, layer.weight, layer.bias)

    def linear(self, name: str, source: str, layer: nn.Linear) -> str:
        """A linear layer like `layer`, on all values of an image."""
        step = Step(
            name=name,
            kind="linear",
            inputs=(source,),
            in_channels=layer.in_features,
            out_channels=layer.out_features,
            bias=layer.bias is not None,
        )
        return self.add(step, layer.weight, layer.bias)

    def scaled(self, name: str, source: str, scale: Tensor, shift: Tensor | None, *, alone: bool) -> str:
        """Each channel times `scale`, plus `shift`, in float64 [C]: the norm of a network in evaluation.

        Where `source` is a convolution or linear layer, and `alone`, nobody else takes it, its weights are changed:

            w' = w scale,  b' = b scale + shift

        Elsewhere it is a 1x1 convolution of each channel by itself. Returns the name of the step that gives it.
        """
        if alone and source in self.tensors:
            weight, bias = self.tensors[source]
            wide = weight.double() * scale.view(-1, *[1] * (weight.ndim - 1))
            moved = None if bias is None else bias.double() * scale
            if shift is not None:
                moved = shift if moved is None else moved + shift
            self.tensors[source] = (wide.to(weight.dtype), None if moved is None else moved.to(weight.dtype))
            self.steps[source] = replace(self.steps[source], bias=moved is not None)
            return source
        step = Step(
            name=name,
            kind="convolution",
            inputs=(source,),
            in_channels=len(scale),
            out_channels=len(scale),
            groups=len(scale),
            bias=shift is not None,
        )
        return self.add(step, scale.view(-1, 1, 1, 1), shift)

    def network(
        self, last: str, *, alone: bool, in_channels: int, num_classes: int, dtype: torch.dtype
    ) -> SpikingNetwork:
        """The ANN whose scores step `last` gives, of one time step; its last linear layer becomes the readout.

        Args:
            last: name of a step.
            alone: nobody else takes what it gives.
            in_channels, num_classes: of images, and of the scores.
            dtype: of the weights.

        Raises:
            UserError: weights that are not numbers, or no step but the readout.
        """
        for name, tensors in self.tensors.items():
            if not all(tensor.isfinite().all() for tensor in tensors if tensor is not None):
                raise UserError(f"weights of {name} are infinite or no numbers: give an ANN whose training went well")
        steps = dict(self.steps)
        if alone and last in steps and steps[last].kind == "linear":
            weight, bias = self.tensors[last]
            before = steps.pop(last).inputs[0]
        else:  # a pool, say, gives the scores: a readout that changes nothing
            weight, bias, before = torch.eye(num_classes), None, last
        wanted = {before}  # others, such as those of a second output in training, are left out
        for step in reversed(self.steps.values()):
            wanted.update(step.inputs if step.name in wanted else ())
        steps = {name: step for name, step in steps.items() if name in wanted}
        if not steps:
            raise UserError(
                "the ANN is a linear layer alone, without units that could become neurons: give a deeper one"
            )
        config = WiredConfig(
            steps=tuple(steps.values()),
            features=weight.shape[1],
            readout_bias=bias is not None,
            in_channels=in_channels,
            num_classes=num_classes,
            num_steps=1,
            neuron="relu",
            norm="none",
        )
        network = blank(config).to(dtype).eval()
        fill(network, {**{name: self.tensors[name] for name in steps if name in self.tensors}, READOUT: (weight, bias)})
        return network


READOUT = ".readout"
"""Stands for the readout among the names of steps: no step before it gives it, and `fill` and `tensors_of` mean it."""


def free(name: str, taken: Container[str]) -> str:
    """A name that a step can have: this one, or with underscores behind it."""
    while name in taken or name in RESERVED:
        name += "_"
    return name


def config_of(ann: SpikingNetwork) -> WiredConfig:
    """The configuration of a network of steps; UserError for anything else."""
    config = getattr(ann, "config", None)
    if not isinstance(config, WiredConfig):
        raise UserError(f"the ANN is a {type(ann).__name__} as it is: read it with traced, or rewired for one of ours")
    return config


def wiring_of(network: SpikingNetwork) -> Wiring:
    """The steps of a wired network."""
    wiring = network.layers["wiring"]
    assert isinstance(wiring, Wiring)
    return wiring


def weighted(network: SpikingNetwork) -> dict[str, nn.Conv2d | nn.Linear]:
    """Name of the step -> the module of each convolution and linear layer of a wired network, the readout's last."""
    found: dict[str, nn.Conv2d | nn.Linear] = {}
    for name, module in wiring_of(network).steps.items():
        if isinstance(module, nn.Conv2d | nn.Linear):
            found[name] = module
    return found | {READOUT: network.readout.linear}


def fill(network: SpikingNetwork, tensors: dict[str, tuple[Tensor, Tensor | None]]) -> None:
    """Set weights and biases of a wired network, in its own dtype."""
    modules = weighted(network)
    with torch.no_grad():
        for name, (weight, bias) in tensors.items():
            module = modules[name]
            module.weight.copy_(weight)
            if bias is not None:
                assert module.bias is not None
                module.bias.copy_(bias)


def check_images(images: Tensor) -> None:
    """Raise UserError for calibration images that are no tensor, none, or hold something else than numbers."""
    if not isinstance(images, Tensor) or images.is_meta or not images.ndim:
        what = (
            type(images).__name__ if not isinstance(images, Tensor) else f"tensor on {images.device}, {images.ndim}-d"
        )
        raise UserError(f"calibration images are a {what}: expected a tensor [N, C, H, W] of training images")
    if not len(images):
        raise UserError("there are no calibration images: give some training images, as the ANN takes them")
    if not images.isfinite().all():
        raise UserError("calibration images hold infinite values, or some that are no numbers: leave such images out")


def pair(value: object) -> tuple[int, int]:
    """A size as height and width."""
    if isinstance(value, int):
        return value, value
    assert isinstance(value, tuple | list)
    return int(value[0]), int(value[1])
