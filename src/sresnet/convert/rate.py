"""Rates of spikes in place of activations: an ANN's rectifiers become integrate-and-fire neurons without leak.

With a constant current I, soft reset and threshold theta, such a neuron has sent after T steps

    sum over t of o[t] = clip(floor(T I / theta), 0, T)

so theta / T times its spikes is the rectifier's output, rounded down and cut at theta. A spike of a layer therefore
stands for its threshold: the weights behind it are multiplied by that, and currents keep the ANN's units all through.
What the methods differ in is where thresholds come from, and what reset, input and output do: `METHODS`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from sresnet.config import check_types
from sresnet.convert.drawing import READOUT, fill, weighted, wiring_of
from sresnet.errors import UserError
from sresnet.models import build
from sresnet.models.families.wired import WiredConfig
from sresnet.models.network import SpikingNetwork
from sresnet.nn.encoder import EncoderKind, encode
from sresnet.nn.wiring import INPUT, Step, WeightedSum
from sresnet.ops.lif import lif
from sresnet.ops.neuron import LIFConstants, Reset
from sresnet.ops.surrogate import Triangle


@dataclass(frozen=True, kw_only=True)
class RateConfig:
    """How activations become rates.

    Raises:
        UserError: a field of the wrong type or out of range.
    """

    num_steps: int = 32
    """Time steps T of the spiking network."""
    thresholds: Literal["largest", "percentile", "balanced"] = "largest"
    """largest: the layer's largest activation on the calibration images; percentile: one that so many percent of its
    activations do not exceed; balanced: the largest current in the spiking network as far as this layer."""
    percentile: float = 99.9
    """Of "percentile", in percent."""
    factor: float = 1.0
    """What thresholds are multiplied by: a lower one fires sooner, and cuts large activations."""
    reset: Reset = "subtract"
    """subtract keeps what was above the threshold; zero loses it."""
    shift: bool = False
    """Half a step of the rate, theta / (2 T), is added to each layer's current, so that rates are rounded, not cut."""
    encoder: EncoderKind = "direct"
    """What the first layer receives."""
    poisson_scale: float = 1.0
    """Of the encoder "poisson-signed": a pixel x spikes with probability |x| / poisson_scale."""
    spiking_output: bool = False
    """The scores are spikes too, of neurons whose threshold is the largest score."""

    def __post_init__(self) -> None:
        check_types(self)
        if self.num_steps < 1:
            raise UserError(f"num_steps {self.num_steps} is less than 1: a rate needs at least one time step")
        if not 0 < self.percentile <= 100:
            raise UserError(f"percentile {self.percentile} is outside (0, 100]: 99.9 leaves out one in a thousand")
        if not 0 < self.factor < math.inf:
            raise UserError(f"factor {self.factor} is not positive: 1 leaves thresholds as they are, 0.7 lowers them")


METHODS: dict[str, RateConfig] = {
    "deng": RateConfig(shift=True, spiking_output=True),
    "spikenorm": RateConfig(thresholds="balanced", reset="zero", encoder="poisson-signed"),
    "rmp": RateConfig(thresholds="balanced", encoder="poisson-signed"),
}
"""Deng & Gu 2021; Sengupta et al. 2019; Han et al. 2020: residual membrane potential."""


def rate_coded(ann: SpikingNetwork, images: Tensor, config: RateConfig) -> SpikingNetwork:
    """The spiking network whose rates are the activations of an ANN.

    Args:
        ann: a wired network of rectifiers, of `traced` or `rewired`.
        images: some of the training images, [N, C, H, W], from which thresholds are taken.
        config: the method.

    Returns:
        A network of the same steps, with integrate-and-fire neurons, in evaluation mode.

    Raises:
        UserError: no images, or a layer whose activations on them are all zero.
    """
    if not len(images):
        raise UserError("there are no calibration images, from which thresholds are taken: give some training images")
    with torch.no_grad():
        if config.thresholds == "balanced":
            steps = config.num_steps
            x = encode(config.encoder, images, steps, first=0, total=steps, poisson_scale=config.poisson_scale)
            found = _balanced(ann, x, config.reset)
        else:
            percentile = config.percentile if config.thresholds == "percentile" else 100.0
            found = _activations(ann, images, percentile)
        for name, threshold in found.items():
            if not 0 < threshold < math.inf:
                raise UserError(
                    f"layer {name} would never fire: the largest value that it has on the {len(images)} calibration "
                    f"images is {threshold:g}; give more images, or an ANN without dead layers"
                )
        heights = {name: config.factor * threshold for name, threshold in found.items()}
        largest = config.factor * float(ann(images).max()) if config.spiking_output else None
        return _assembled(ann, heights, config, largest)


def _activations(ann: SpikingNetwork, images: Tensor, percentile: float) -> dict[str, float]:
    """Name of each layer of rectifiers -> the activation that `percentile` percent of its activations do not exceed.

    100 is the largest. Between two activations it is on the line between them, as `numpy.percentile` has it.
    """
    batch, kept = 256, dict[str, Tensor]()
    share = 1 - percentile / 100
    for some in images.split(batch):
        _, records = ann(some, record=ann.neuron_names)
        for name, record in records.items():
            values = record.output.flatten()
            most = math.floor(share * (len(values) // len(some) * len(images) - 1)) + 2  # those above it, and two
            together = torch.cat([kept.get(name, values[:0]), values])
            kept[name] = together.topk(min(most, len(together))).values
    found = {}
    for name, largest in kept.items():
        below = len(largest) - 1
        rank = share * (len(records[name].output.flatten()) // len(some) * len(images) - 1)
        upper, lower = largest[math.floor(rank)], largest[min(math.floor(rank) + 1, below)]
        found[name.removeprefix("wiring.modules_of.")] = float(upper + (rank % 1) * (lower - upper))
    return found


def _balanced(ann: SpikingNetwork, x: Tensor, reset: Reset) -> dict[str, float]:
    """Threshold of each layer of neurons: the largest current that reaches one in the spiking network before it.

    Layer after layer, with the thresholds found so far (SpikeNorm of Sengupta et al. 2019; Han et al. 2020).

    Args:
        ann: a wired network of rectifiers.
        x: encoded images [T, N, C, H, W].
        reset: of its neurons.
    """
    wiring = wiring_of(ann)
    values, found = {INPUT: x}, dict[str, float]()
    for step in wiring.steps:
        given = [values[name] for name in step.inputs]
        if step.kind == "neurons":
            found[step.name] = threshold = float(given[0].max())
            if threshold <= 0:
                break
            constants = LIFConstants(
                leak=1.0, surrogate=Triangle(), threshold=threshold, fires_at_threshold=True, reset=reset
            )
            values[step.name] = threshold * lif(given[0], constants).spikes
        else:
            values[step.name] = wiring.run(step, given, None)
    return found


def _assembled(
    ann: SpikingNetwork, heights: Mapping[str, float], config: RateConfig, largest: float | None
) -> SpikingNetwork:
    """The spiking network of an ANN and of the heights of its spikes, its thresholds.

    Args:
        ann: a wired network of rectifiers.
        heights: name of each layer of neurons -> threshold.
        config: the method.
        largest: threshold of spiking neurons that give the scores; None: the readout's potential gives them.
    """
    before = ann.config
    assert isinstance(before, WiredConfig)
    steps = list(before.steps)
    tensors = {name: (module.weight, module.bias) for name, module in weighted(ann).items()}
    heights = dict(heights)
    if largest is not None:
        weight, bias = tensors.pop(READOUT)
        steps.append(
            Step(
                name=SCORES,
                kind="linear",
                inputs=(steps[-1].name if steps else INPUT,),
                in_channels=weight.shape[1],
                out_channels=weight.shape[0],
                bias=bias is not None,
            )
        )
        steps.append(Step(name=f"{SCORES}_neurons", kind="neurons", inputs=(SCORES,)))
        tensors[SCORES] = (weight, bias)
        tensors[READOUT] = (torch.eye(len(weight), dtype=weight.dtype), None)
        heights[f"{SCORES}_neurons"] = largest
    height = {INPUT: 1.0}
    drives = {step.inputs[0]: step.name for step in steps if step.kind == "neurons"}
    factors = dict[str, Tensor]()
    for i, step in enumerate(steps):
        height[step.name] = 1.0
        if step.kind == "neurons":
            height[step.name] = heights[step.name]
            steps[i] = replace(step, threshold=heights[step.name])
        elif step.kind in ("pool", "global pool"):
            height[step.name] = height[step.inputs[0]]
        elif step.kind == "sum":
            factors[step.name] = torch.tensor([height[name] for name in step.inputs], dtype=torch.float64)
        else:
            weight, bias = tensors[step.name]
            if config.shift and step.name in drives:
                half = heights[drives[step.name]] / (2 * config.num_steps)
                bias = half + (weight.new_zeros(len(weight)) if bias is None else bias)
                steps[i] = replace(step, bias=True)
            tensors[step.name] = (weight * height[step.inputs[0]], bias)
    weight, bias = tensors[READOUT]
    tensors[READOUT] = (weight * height[steps[-1].name if steps else INPUT], bias)
    network = build(
        replace(
            before,
            steps=tuple(steps),
            features=weight.shape[1],
            readout_bias=bias is not None,
            num_steps=config.num_steps,
            neuron="if",
            reset=config.reset,
            fires_at_threshold=True,
            encoder=config.encoder,
            poisson_scale=config.poisson_scale,
        )
    )
    network = network.to(weight.dtype).eval()
    fill(network, tensors)
    for name, each in factors.items():
        module = wiring_of(network).modules_of[name]
        assert isinstance(module, WeightedSum)
        module.factors.copy_(each)
    return network


SCORES = "scores"
"""Name of the step that gives the scores where neurons behind it send them as spikes."""
