"""An ANN of this package, read: a network of rectifiers and one time step -> a wired network that computes the same."""

import copy
from collections import Counter
from collections.abc import Container
from dataclasses import replace

import torch
from torch import Tensor, nn

from sresnet.convert.drawing import Drawing, free, weighted, wiring_of
from sresnet.errors import UserError
from sresnet.models.families.wired import WiredConfig
from sresnet.models.network import NetworkConfig, SpikingNetwork
from sresnet.models.topology import INPUT
from sresnet.nn.graph import Node
from sresnet.nn.layer import GlobalAveragePool, Pool
from sresnet.nn.neuron import Rectifier, Sharpened
from sresnet.nn.norm import AffineNorm, affine
from sresnet.nn.readout import Readout
from sresnet.nn.residual import ResidualBlock, Skip
from sresnet.nn.wiring import Step, Wiring


def rewired(network: SpikingNetwork, *, eps: float | None = None) -> SpikingNetwork:
    """The wired network that computes what an ANN counterpart computes in evaluation mode, its norms folded.

    Args:
        network: with neuron "relu" or "sharpened" and one time step, such as `create_model("resnet20")`; it stays as
            it is.
        eps: what norms of wired networks have beside the variance; None: their own.

    Raises:
        UserError: spiking neurons, several time steps, encoded images, a leaky readout, max pools, products of spikes,
            layers of the user's own, or units that are not sharpened to the end.
    """
    if not isinstance(network, SpikingNetwork):
        raise UserError(f"a {type(network).__name__} is no network of this package: read it with traced")
    config = network.config
    if config.neuron not in ("relu", "sharpened") or config.num_steps != 1:
        raise UserError(
            f"the network has neuron {config.neuron!r} and {config.num_steps} time steps: a conversion starts from an "
            "ANN, trained with --model.neuron relu --model.num-steps 1"
        )
    if config.encoder not in ("direct", "first-step") or config.readout != "potential":
        raise UserError(
            f"the network has encoder {config.encoder!r} and readout {config.readout!r}: a conversion starts from an "
            "ANN of images and plain scores, trained with --model.encoder direct --model.readout potential"
        )
    if isinstance(config, WiredConfig):
        return network
    network = copy.deepcopy(network).eval()
    if any(isinstance(layer, Wiring) for layer in network.layers.values()):
        return _without_norms(network, eps)
    drawing, source = Drawing(), {INPUT: INPUT}
    flattened = set[str]()
    takers: dict[str, int] = {}
    for node in network.topology.nodes:
        for name in node.inputs:
            takers[name] = takers.get(name, 0) + 1
    for node in network.topology.nodes:
        if node.kind != "input":
            if node.kind == "flatten" or (node.kind == "pool" and node.inputs[0] in flattened):
                flattened.add(node.name)
                source[node.name] = source[node.inputs[0]]
            elif node.inputs[0] in flattened and node.kind not in ("convolution", "linear"):
                raise UserError(
                    f"{node.name} takes a flattened map, which only linear layers do here: use SpikingLinear"
                )
            else:
                source[node.name] = _read(drawing, network, node, source, takers, flattened)
    last = network.topology.nodes[-1].name
    weights = next(network.parameters())
    return drawing.network(
        source[last],
        alone=True,
        in_channels=config.in_channels,
        num_classes=config.num_classes,
        dtype=weights.dtype,
    )


def _without_norms(network: SpikingNetwork, eps: float | None) -> SpikingNetwork:
    """A network of steps with its norms folded into the weights, and without dropout."""
    drawing, source = Drawing(), {INPUT: INPUT}
    wiring, modules = wiring_of(network), weighted(network)
    takers = Counter(name for step in wiring.order for name in step.inputs)
    for step in wiring.order:
        inputs = tuple(source[name] for name in step.inputs)
        module = wiring.steps[step.name]
        if isinstance(module, AffineNorm):
            alone = takers[step.inputs[0]] == 1
            source[step.name] = drawing.scaled(step.name, inputs[0], *_scale_and_shift(module, eps), alone=alone)
        elif step.kind == "dropout":
            source[step.name] = inputs[0]
        elif isinstance(module, Sharpened):
            activation = _activation(module, step.name)
            source[step.name] = drawing.add(replace(step, inputs=inputs, activation=activation))
        elif step.name in modules:
            layer = modules[step.name]
            source[step.name] = drawing.add(replace(step, inputs=inputs), layer.weight, layer.bias)
        else:
            source[step.name] = drawing.add(replace(step, inputs=inputs))
    readout, config = _voting(network.readout.linear, network.readout.votes), network.config
    return drawing.network(
        drawing.linear(free("readout", drawing.steps), source[wiring.order[-1].name], readout),
        alone=True,
        in_channels=config.in_channels,
        num_classes=config.num_classes,
        dtype=readout.weight.dtype,
    )


def _read(
    drawing: Drawing,
    network: SpikingNetwork,
    node: Node,
    source: dict[str, str],
    takers: dict[str, int],
    flattened: Container[str],
) -> str:
    """Draw one node; returns the step that gives its value.

    Args:
        source: node -> the step that gives its value.
        takers: node -> how many take it.
        flattened: nodes whose values are a map's, flattened.
    """
    inputs = tuple(source[name] for name in node.inputs)
    name = node.name.replace(".", "_")
    if node.kind in ("sum of currents", "sum of spikes"):
        return inputs[0] if len(inputs) == 1 else drawing.add(Step(name=name, kind="sum", inputs=inputs))
    if node.kind in ("and of spikes", "iand of spikes"):
        raise UserError(
            f"{node.name} multiplies what joins in it, which has no spiking form here: use --model.join add"
        )
    if node.kind == "subsample":
        return drawing.add(Step(name=name, kind="pool", inputs=inputs, stride=(node.every, node.every)))
    if node.kind == "neurons":
        given = inputs[0] if len(inputs) == 1 else drawing.add(Step(name=f"{name}_sum", kind="sum", inputs=inputs))
        units = network.part(node.module)
        return drawing.add(Step(name=name, kind="neurons", inputs=(given,), activation=_activation(units, node.name)))
    module = network.get_submodule(node.module if node.module.startswith("readout") else f"layers.{node.module}")
    alone = takers[node.inputs[0]] == 1
    if isinstance(module, nn.Conv2d) and node.inputs[0] in flattened:  # 1x1, on one pixel
        step = Step(
            name=name,
            kind="linear",
            inputs=inputs,
            in_channels=module.in_channels,
            out_channels=module.out_channels,
            bias=module.bias is not None,
        )
        return drawing.add(step, module.weight.flatten(1), module.bias)
    if isinstance(module, nn.Conv2d):
        drawn = drawing.convolution(name, inputs[0], module, node.name)
        step = drawing.steps[drawn]
        drawing.steps[drawn] = replace(step, stride=(step.stride[0] * node.every, step.stride[1] * node.every))
        return drawn
    if isinstance(module, nn.Linear):
        return drawing.linear(name, inputs[0], _voting(module, network.readout.votes))
    if isinstance(module, AffineNorm):
        return drawing.scaled(name, inputs[0], *_scale_and_shift(module), alone=alone)
    if isinstance(module, ResidualBlock):  # S2M: the skip times a number
        height = torch.full([module.conv2.out_channels], module.skip_factor, dtype=torch.float64)
        return inputs[0] if module.skip_factor == 1 else drawing.scaled(name, inputs[0], height, None, alone=alone)
    if isinstance(module, Skip) and module.weight is not None:
        return drawing.scaled(name, inputs[0], module.weight.detach().double().flatten(), None, alone=alone)
    if isinstance(module, Pool) and module.kind == "avg" and module.kernel_size == 2:
        return drawing.add(Step(name=name, kind="pool", inputs=inputs, kernel=(2, 2), stride=(2, 2), ceil=True))
    if isinstance(module, GlobalAveragePool | Readout):
        return drawing.add(Step(name=name, kind="global pool", inputs=inputs))
    raise UserError(
        f"{node.name} is a {type(module).__name__}, which has no spiking form here: "
        + (_other_pool(network.config, node.name) if isinstance(module, Pool) else "use layers of this package")
    )


def _other_pool(config: NetworkConfig, name: str) -> str:
    """What a network with this max pool does instead."""
    if name.startswith("stem"):
        return "train with --model.stem c3, which has no pool"
    if hasattr(config, "downsample"):
        return "train with --model.downsample avg"
    return f"networks of family {config.family!r} have no other pools, so choose another family"


def _activation(units: nn.Module, name: str) -> str:
    """What a layer of units computes; UserError for spiking ones, or what training has not sharpened to the end."""
    if not isinstance(units, Rectifier | Sharpened):
        raise UserError(f"{name} is a {type(units).__name__}, not the unit of an ANN: give a network of units alone")
    if not isinstance(units, Sharpened):
        return "relu"
    if float(units.sharpness) < 1:
        raise UserError(
            f"{name} has sharpness {float(units.sharpness):.2f}, and units become steps at 1: train to the end, with "
            "--train.sharpen-epochs"
        )
    return "step"


def _scale_and_shift(norm: AffineNorm, eps: float | None = None) -> tuple[Tensor, Tensor]:
    """`affine` of the one time step of an ANN, in float64 [C]."""
    gain, shift = affine(norm, dtype=torch.float64, eps=eps)
    return gain[0].detach(), shift[0].detach()


def _voting(linear: nn.Linear, votes: int) -> nn.Linear:
    """A linear layer whose neurons are the averages of `votes` neighbours of another's."""
    weight = linear.weight.detach().unflatten(0, (-1, votes)).mean(1)
    given = nn.Linear(linear.in_features, len(weight), linear.bias is not None, dtype=weight.dtype)
    with torch.no_grad():
        given.weight.copy_(weight)
        if linear.bias is not None:
            given.bias.copy_(linear.bias.unflatten(0, (-1, votes)).mean(1))
    return given
