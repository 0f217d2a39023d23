"""The S-ResNet with S2S connections and BNTT, written for other libraries, with the weights of a network of ours.

Every way to run it that their users would try on a CPU:

    as shipped          SpikingJelly 2 in multi-step mode, snnTorch's loop over time steps; layout as torch has it
    channels-last       the same with weights, images and so all activity channels last
    vectorised norm     SpikingJelly's loop over the norms of the steps as one batch norm over T * C channels
    single-step         SpikingJelly's loop over time steps
    memory-optimised    `memopt.optimize_memory` of SpikingJelly at level 1, as its example has it: every layer is
                        computed again backwards, binary inputs kept as bits (levels 2 to 4 search on CUDA alone)
    compiled            torch.compile

The stem's convolution runs once in all of them, since every step receives the same image.
"""

import importlib.util
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sresnet.models.network import SpikingNetwork
from sresnet.nn.residual import ResidualBlock

Build = Callable[[SpikingNetwork], nn.Module]
EPS = 1e-4


class Peer(NamedTuple):
    """One library in one setting."""

    library: str
    setting: str
    build: Build
    """Network of ours -> theirs."""

    @property
    def compiled(self) -> bool:
        """It is `as shipped` through torch.compile."""
        return self.setting == "compiled"


def layers_of(model: SpikingNetwork) -> Iterable[tuple[str, Any, Any]]:
    """(name, convolution, norm) of everything that both networks have, in one order."""
    stem = model.layers["stem"]
    yield "stem", stem.conv, stem.norm
    for name, block in model.layers.items():
        if isinstance(block, ResidualBlock):
            yield f"{name}_1", block.conv1, block.norm1
            yield f"{name}_2", block.conv2, block.norm2
            if block.skip.conv is not None:
                yield f"{name}_skip", block.skip.conv, block.skip.norm


def copied(convolution: nn.Conv2d, make: Callable[..., Any], **more: Any) -> Any:
    """A convolution made by `make` with this one's geometry and weight, in torch's layout."""
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding")
    made = make(**{name: getattr(convolution, name) for name in names}, bias=False, **more)
    made.weight.data.copy_(convolution.weight.data)
    return made


def blocks_of(model: SpikingNetwork) -> list[str]:
    """Names of the residual blocks in order."""
    return [name for name, block in model.layers.items() if isinstance(block, ResidualBlock)]


class FusedNorm(nn.Module):
    """The batch norms of all T steps as one over T * C channels."""

    def __init__(self, norm: Any, layout: torch.memory_format) -> None:
        super().__init__()
        self.layout = layout
        self.norm: Any = nn.BatchNorm2d(norm.weight.numel(), eps=EPS)
        self.norm.register_parameter("bias", None)
        self.norm.weight.data.copy_(norm.weight.data.flatten())

    def forward(self, x: Tensor) -> Tensor:
        """[T, N, C, H, W] -> the same."""
        T, N, C, H, W = x.shape
        if self.layout is torch.channels_last:
            together = x.permute(1, 3, 4, 0, 2).reshape(N, H, W, T * C).permute(0, 3, 1, 2)
            return self.norm(together).permute(0, 2, 3, 1).view(N, H, W, T, C).permute(3, 0, 4, 1, 2)
        return self.norm(x.transpose(0, 1).reshape(N, T * C, H, W)).view(N, T, C, H, W).transpose(0, 1)


def spikingjelly(
    ours: SpikingNetwork,
    layout: torch.memory_format = torch.contiguous_format,
    *,
    fused_norm: bool = False,
    single_step: bool = False,
    memory_optimised: bool = False,
) -> nn.Module:
    """SpikingJelly 2."""
    from spikingjelly.activation_based import functional, layer, memopt, neuron, surrogate

    config = ours.config

    class Layer(nn.Module):
        def __init__(self, name: str, convolution: Any, norm: Any) -> None:
            super().__init__()
            self.conv = copied(convolution, layer.Conv2d)
            self.norm: Any
            if fused_norm:
                self.norm = FusedNorm(norm, layout)
            else:
                self.norm = layer.BatchNormThroughTime2d(config.num_steps, convolution.out_channels, eps=EPS)
                for t, bn in enumerate(self.norm.bn_list):
                    bn.weight.data.copy_(norm.weight.data[t])
            self.neurons: Any = nn.Identity()
            if not name.endswith("skip"):
                self.neurons = neuron.LIFNode(
                    tau=1 / (1 - config.leak),
                    decay_input=False,
                    v_reset=None,
                    detach_reset=True,
                    surrogate_function=surrogate.PiecewiseQuadratic(alpha=1.0),
                )

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            if y.dim() == 5 and len(y) == 1:  # the stem's: an image for all steps
                y = y.expand(config.num_steps, *y.shape[1:])
            return self.neurons(self.norm(y))

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers: Any = nn.ModuleDict({name: Layer(name, *parts) for name, *parts in layers_of(ours)})
            self.linear = nn.Linear(ours.num_features, config.num_classes, bias=False)
            self.linear.weight.data.copy_(ours.readout.linear.weight.data)
            self.blocks = blocks_of(ours)

        def after_stem(self, x: Tensor) -> Tensor:
            for name in self.blocks:
                spikes = self.layers[f"{name}_2"](self.layers[f"{name}_1"](x))
                skip = f"{name}_skip"
                x = spikes + (self.layers[skip](x) if skip in self.layers else x)
            return self.linear(x.mean((-2, -1)))

        def forward(self, x: Tensor) -> Tensor:
            functional.reset_net(self)
            x = x.contiguous(memory_format=layout)
            stem = self.layers["stem"]
            if not single_step:
                return self.after_stem(stem(x[None])).mean(0)
            y = stem.conv(x)
            scores: Any = 0.0
            for _ in range(config.num_steps):
                scores = scores + self.after_stem(stem.neurons(stem.norm(y)))
            return scores / config.num_steps

    network: nn.Module = Network()
    network.to(memory_format=layout)  # type: ignore[call-overload]
    functional.set_step_mode(network, "s" if single_step else "m")
    if memory_optimised:
        images = torch.randn(8, config.in_channels, 32, 32)  # so many that sums of spikes are seen not to be binary
        memopt.optimize_memory(network, Layer, lambda current: current(images), level=1)
    return network


def snntorch(ours: SpikingNetwork, layout: torch.memory_format = torch.contiguous_format) -> nn.Module:
    """snnTorch, a loop over time steps.

    Unlike ours it has a gradient through the reset, and a potential of twice the threshold resets once more a step
    later. Its own `triangular` is none: the triangle is a custom surrogate.
    """
    import snntorch as snn
    from snntorch import surrogate

    config = ours.config

    def triangle(x: Tensor, gradient: Tensor, spikes: Tensor) -> Tensor:
        return gradient * (1 - x.abs()).clamp(min=0)

    class Network(nn.Module):
        convs: Any
        norms: Any
        neurons: Any

        def __init__(self) -> None:
            super().__init__()
            self.convs, self.norms, self.neurons = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
            for name, convolution, norm in layers_of(ours):
                self.convs[name] = copied(convolution, nn.Conv2d)
                self.norms[name] = snn.BatchNormTT2d(convolution.out_channels, config.num_steps, eps=EPS)
                for t, bn in enumerate(self.norms[name]):
                    bn.weight.data.copy_(norm.weight.data[t])
                if not name.endswith("skip"):
                    # Its reset comes a step late unless reset_delay is off.
                    gradient = surrogate.custom_surrogate(triangle)
                    self.neurons[name] = snn.Leaky(beta=config.leak, spike_grad=gradient, reset_delay=False)
            self.linear = nn.Linear(ours.num_features, config.num_classes, bias=False)
            self.linear.weight.data.copy_(ours.readout.linear.weight.data)
            self.blocks = blocks_of(ours)

        def forward(self, x: Tensor) -> Tensor:
            potentials = {name: each.reset_mem() for name, each in self.neurons.items()}
            stem = self.convs["stem"](x.contiguous(memory_format=layout))
            scores: Any = 0.0
            for t in range(config.num_steps):

                def fire(name: str, y: Tensor, t: int = t) -> Tensor:
                    spikes, potentials[name] = self.neurons[name](self.norms[name][t](y), potentials[name])
                    return spikes

                x = fire("stem", stem)
                for name in self.blocks:
                    hidden = fire(f"{name}_1", self.convs[f"{name}_1"](x))
                    spikes = fire(f"{name}_2", self.convs[f"{name}_2"](hidden))
                    skip = f"{name}_skip"
                    x = spikes + (self.norms[skip][t](self.convs[skip](x)) if skip in self.convs else x)
                scores = scores + self.linear(x.mean((-2, -1)))
            return scores / config.num_steps

    network: nn.Module = Network()
    network.to(memory_format=layout)  # type: ignore[call-overload]
    return network


def compiled(build: Build) -> Build:
    """The same network through torch.compile."""

    def build_compiled(ours: SpikingNetwork) -> nn.Module:
        network = build(ours)
        network.compile()
        return network

    return build_compiled


LAST = torch.channels_last
SETTINGS = (
    Peer("spikingjelly", "as shipped", spikingjelly),
    Peer("spikingjelly", "channels-last", lambda ours: spikingjelly(ours, LAST)),
    Peer("spikingjelly", "vectorised norm", lambda ours: spikingjelly(ours, fused_norm=True)),
    Peer("spikingjelly", "vectorised norm, channels-last", lambda ours: spikingjelly(ours, LAST, fused_norm=True)),
    Peer("spikingjelly", "single-step", lambda ours: spikingjelly(ours, single_step=True)),
    Peer("spikingjelly", "single-step, channels-last", lambda ours: spikingjelly(ours, LAST, single_step=True)),
    Peer("spikingjelly", "memory-optimised", lambda ours: spikingjelly(ours, memory_optimised=True)),
    Peer("spikingjelly", "compiled", compiled(spikingjelly)),
    Peer("snntorch", "as shipped", snntorch),
    Peer("snntorch", "channels-last", lambda ours: snntorch(ours, LAST)),
    Peer("snntorch", "compiled", compiled(snntorch)),
)
PEERS = {f"{each.library} {each.setting}": each for each in SETTINGS if importlib.util.find_spec(each.library)}
"""Those that are installed."""
