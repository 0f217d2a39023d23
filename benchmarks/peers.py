"""The S-ResNet with S2S connections and BNTT, written for other libraries, with the weights of a network of ours.

Each as its documentation would have it done fast on a CPU: SpikingJelly in multi-step mode, convolutions of all steps
at once with channels last; snnTorch step by step, as it works.
"""

import importlib.util
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from sresnet.models.network import SpikingNetwork
from sresnet.nn.residual import ResidualBlock

PEERS: dict[str, Callable[[SpikingNetwork], nn.Module]] = {}
"""Those that are installed: name -> network of ours -> theirs."""


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
    """A convolution made by `make` with this one's geometry and weight, channels last."""
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding")
    made = make(**{name: getattr(convolution, name) for name in names}, bias=False, **more)
    made.weight.data.copy_(convolution.weight.data)
    return made.to(memory_format=torch.channels_last)


def blocks_of(model: SpikingNetwork) -> list[str]:
    """Names of the residual blocks in order."""
    return [name for name, block in model.layers.items() if isinstance(block, ResidualBlock)]


def spikingjelly(ours: SpikingNetwork) -> nn.Module:
    """SpikingJelly 2, multi-step."""
    from spikingjelly.activation_based import functional, layer, neuron, surrogate

    config = ours.config

    class Network(nn.Module):
        convs: Any
        norms: Any
        neurons: Any

        def __init__(self) -> None:
            super().__init__()
            self.convs, self.norms, self.neurons = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
            for name, convolution, norm in layers_of(ours):
                self.convs[name] = copied(convolution, layer.Conv2d, step_mode="m")
                through_time = layer.BatchNormThroughTime2d(
                    config.num_steps, convolution.out_channels, eps=1e-4, step_mode="m"
                )
                for t, bn in enumerate(through_time.bn_list):
                    bn.weight.data.copy_(norm.weight.data[t])
                self.norms[name] = through_time
                if not name.endswith("skip"):
                    self.neurons[name] = neuron.LIFNode(
                        tau=1 / (1 - config.leak),
                        decay_input=False,
                        v_reset=None,
                        detach_reset=True,
                        surrogate_function=surrogate.PiecewiseQuadratic(alpha=1.0),
                        step_mode="m",
                    )
            self.linear = nn.Linear(ours.num_features, config.num_classes, bias=False)
            self.linear.weight.data.copy_(ours.readout.linear.weight.data)
            self.blocks = blocks_of(ours)

        def fire(self, name: str, x: Tensor) -> Tensor:
            return self.neurons[name](self.norms[name](self.convs[name](x)))

        def forward(self, x: Tensor) -> Tensor:
            functional.reset_net(self)
            stem = self.convs["stem"](x[None])  # once: every step receives the same image
            x = self.neurons["stem"](self.norms["stem"](stem.expand(config.num_steps, *stem.shape[1:])))
            for name in self.blocks:
                hidden = self.fire(f"{name}_1", x)
                spikes = self.fire(f"{name}_2", hidden)
                skip = f"{name}_skip"
                x = spikes + (self.norms[skip](self.convs[skip](x)) if skip in self.convs else x)
            return self.linear(x.mean((-2, -1))).mean(0)

    return Network()


def snntorch(ours: SpikingNetwork) -> nn.Module:
    """snnTorch, a loop over time steps. A potential of twice the threshold resets differently from ours."""
    import snntorch as snn
    from snntorch import surrogate

    config = ours.config

    class Network(nn.Module):
        convs: Any
        norms: Any
        neurons: Any

        def __init__(self) -> None:
            super().__init__()
            self.convs, self.norms, self.neurons = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
            for name, convolution, norm in layers_of(ours):
                self.convs[name] = copied(convolution, nn.Conv2d)
                self.norms[name] = snn.BatchNormTT2d(convolution.out_channels, config.num_steps, eps=1e-4)
                for t, bn in enumerate(self.norms[name]):
                    bn.weight.data.copy_(norm.weight.data[t])
                if not name.endswith("skip"):
                    # Its reset comes a step late unless reset_delay is off.
                    gradient = surrogate.triangular()
                    self.neurons[name] = snn.Leaky(beta=config.leak, spike_grad=gradient, reset_delay=False)
            self.linear = nn.Linear(ours.num_features, config.num_classes, bias=False)
            self.linear.weight.data.copy_(ours.readout.linear.weight.data)
            self.blocks = blocks_of(ours)

        def forward(self, x: Tensor) -> Tensor:
            potentials = {name: each.reset_mem() for name, each in self.neurons.items()}
            stem = self.convs["stem"](x)
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

    return Network()


for name, build in (("spikingjelly", spikingjelly), ("snntorch", snntorch)):
    if importlib.util.find_spec(name):
        PEERS[name] = build
