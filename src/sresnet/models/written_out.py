"""A network written out with single spikes, as a program: every weight meets a spike, 0 or 1, or the input.

The populations and synapses are those of `sresnet.models.synapses` (Eqs. 12, 14, 18); here each set of synapses becomes
a convolution of its own, so that what was a sum of spikes or of currents between two layers is several connections.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sresnet.errors import UserError
from sresnet.models.network import SpikingNetwork
from sresnet.models.program import (
    Affine,
    AnyOperation,
    Convolution,
    GlobalAverage,
    Pair,
    Program,
    Sum,
    check_hooks,
    in_dtype,
    neurons_of,
)
from sresnet.models.synapses import Population, Synapses, hardware_network
from sresnet.nn.neuron import FewSpikes

_SAME = 1e-12
"""How far weights of two time steps that are multiples of each other may be apart, of the largest; in float64."""


def written_out(model: SpikingNetwork, size: Pair, *, dtype: torch.dtype | None = None) -> Program:
    """The program of a network in evaluation mode that is written out with single spikes.

    Args:
        model: an S-ResNet, or a converted network; stays as it is.
        size: (H, W) of an image, on which biases at borders depend.
        dtype: of the numbers, which are composed in float64; None: that of the network's.

    Raises:
        UserError: a hook, few-spikes neurons, or a network that has no such form, see `hardware_network`.
    """
    check_hooks(model)
    if any(isinstance(module, FewSpikes) for module in model.modules()):
        raise UserError(
            "few-spikes neurons send several spikes within a time step, each of another height, and a program has one "
            "number for them: export the network as it is, or convert the ANN to rates"
        )
    wide = copy.deepcopy(model).to("cpu", torch.float64).eval().requires_grad_(False)
    operations: list[AnyOperation] = []
    for population in hardware_network(wide, size, form="binary").populations:
        operations += _operations(population)
    tables = [len(each.gain) for each in operations if isinstance(each, Affine)]
    tables += [len(each.weight) for each in operations if isinstance(each, Convolution) and each.weight.ndim == 5]
    steps = max(tables, default=1)
    program = Program(
        operations=tuple(operations),
        leak=model.readout.leak,
        votes=model.readout.votes,
        most_steps=steps if steps > 1 else None,
        config=model.config,
    )
    return in_dtype(program, dtype or model.readout.linear.weight.dtype)


def _operations(population: Population) -> list[AnyOperation]:
    """Those of one population; the last has its name."""
    name, gain, shift = population.name, population.gain, population.bias
    made: list[AnyOperation] = []
    ends = [_arriving(f"{name}.synapses{number}", each, made) for number, each in enumerate(population.incoming)]
    convolutions = [each for each in made if isinstance(each, Convolution)]
    plain = len(convolutions) == len(ends) and all(each.weight.ndim == 4 for each in convolutions)
    if gain is not None and len(gain) == 1 and plain:  # a norm that is the same at every step is part of the weights
        made = [_scaled(each, gain[0]) for each in made]
        gain = None
    if shift is not None and bool((shift == shift[..., :1, :1]).all()):
        shift = shift[..., 0, 0]
    first = made[0] if made else None
    if gain is None and shift is not None and shift.ndim == 2 and len(shift) == 1 and isinstance(first, Convolution):
        made[0], shift = replace(first, bias=shift[0]), None
    last = ends[0]
    if len(ends) > 1:
        last = f"{name}.sum"
        made.append(Sum(name=last, inputs=tuple(ends), factors=(1.0,) * len(ends)))
    if gain is not None or shift is not None:
        made.append(_affine(f"{name}.norm", last, gain, shift, population.shape[0]))
        last = f"{name}.norm"
    if population.role == "readout":
        return [*made, GlobalAverage(name=name, inputs=(last,))]
    assert population.neurons is not None
    return [*made, neurons_of(name, (last,), population.neurons)]


def _arriving(name: str, synapses: Synapses, made: list[AnyOperation]) -> str:
    """Add the operations of one set of synapses; returns the name of the last, or the source where weights are 1."""
    if synapses.kernel is None:
        return synapses.source
    if not synapses.is_convolution:
        made.append(Affine(name=name, inputs=(synapses.source,), gain=synapses.kernel, shift=None))
        return name
    kernel, gain = _common(synapses.kernel)
    made.append(
        Convolution(
            name=name,
            inputs=(synapses.source,),
            weight=kernel[0] if len(kernel) == 1 else kernel,
            bias=None,
            stride=synapses.stride,
            padding=synapses.padding,
            dilation=synapses.dilation,
            groups=synapses.groups,
        )
    )
    if gain is None:
        return name
    made.append(Affine(name=f"{name}.gain", inputs=(name,), gain=gain, shift=None))
    return f"{name}.gain"


def _common(kernel: Tensor) -> tuple[Tensor, Tensor | None]:
    """A kernel [S, O, I, k, k] as one of a single step and gains [S, O], if all steps are multiples of each other."""
    if len(kernel) == 1:
        return kernel, None
    flat = kernel.flatten(2)  # [S, O, taps]
    largest = flat.square().sum(-1).argmax(0)
    one = flat[largest, torch.arange(flat.shape[1])]  # [O, taps]
    size = one.square().sum(-1)
    gain = (flat * one).sum(-1) / size.where(size > 0, 1.0)
    apart = (flat - gain[..., None] * one).abs().amax(-1)
    if bool((apart > _SAME * one.abs().amax(-1)).any()):
        return kernel, None
    return one.view(1, *kernel.shape[1:]), gain


def _scaled(each: AnyOperation, gain: Tensor) -> AnyOperation:
    """A convolution whose output channels are multiplied by a gain."""
    assert isinstance(each, Convolution)
    return replace(each, weight=each.weight * gain[:, None, None, None])


def _affine(name: str, source: str, gain: Tensor | None, shift: Tensor | None, channels: int) -> Affine:
    """A gain [S, C] and a shift [S, C] or [S, C, H, W], of as many steps as the longer table."""
    tables: Sequence[Tensor] = [each for each in (gain, shift) if each is not None]
    steps = max(map(len, tables))
    gain = torch.ones(1, channels, dtype=tables[0].dtype) if gain is None else gain
    shift = None if shift is None else shift.expand(steps, *shift.shape[1:])
    return Affine(name=name, inputs=(source,), gain=gain.expand(steps, -1), shift=shift)
