"""Rates of spikes in place of activations: an ANN's rectifiers become integrate-and-fire neurons without leak.

With a constant current I, soft reset and threshold theta, such a neuron has sent after T steps

    sum over t of o[t] = clip(floor(T I / theta), 0, T)

so theta / T times its spikes is the rectifier's output, rounded down and cut at theta. A spike of a layer therefore
stands for its threshold: the weights behind it are multiplied by that, and currents keep the ANN's units all through.
What the methods differ in is where thresholds come from, and what reset, input and output do: `RATE_METHODS`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sresnet.config import check_types
from sresnet.convert.drawing import READOUT, check_images, config_of, fill, free, weighted, wiring_of
from sresnet.errors import UserError
from sresnet.models import blank
from sresnet.models.network import SpikingNetwork
from sresnet.nn.encoder import encode
from sresnet.nn.wiring import INPUT, Step, WeightedSum
from sresnet.ops.lif import lif
from sresnet.ops.neuron import LIFConstants, Reset
from sresnet.ops.surrogate import Triangle
from sresnet.randomness import seeded

MOST_STEPS = 10_000


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
    encoder: Literal["direct", "poisson", "poisson-signed", "two-spikes"] = "direct"
    """What the first layer receives: codes whose mean over time is the image; poisson cuts it to [0, 1], two-spikes to
    [-1, 1]."""
    poisson_scale: float = 1.0
    """Of "poisson-signed": a pixel x spikes with probability |x| / poisson_scale, 1 at most, and a spike stands for
    poisson_scale."""
    spiking_output: bool = False
    """The scores are spikes too, of neurons whose threshold is the largest score."""

    def __post_init__(self) -> None:
        check_types(self)
        if not 1 <= self.num_steps <= MOST_STEPS:
            raise UserError(
                f"num_steps {self.num_steps} is outside 1 to {MOST_STEPS:,}: rates of 32 to 2,500 are usual"
            )
        if not 0 < self.percentile <= 100:
            raise UserError(f"percentile {self.percentile} is outside (0, 100]: 99.9 leaves out one in a thousand")
        if not 0 < self.factor < math.inf:
            raise UserError(f"factor {self.factor} is not positive: 1 leaves thresholds as they are, 0.7 lowers them")
        if not self.poisson_scale > 0:
            raise UserError(f"poisson_scale {self.poisson_scale} is not above 0: the largest |pixel| cuts none")

    @property
    def input_height(self) -> float:
        """What a spike of the encoded image stands for."""
        return self.poisson_scale if self.encoder == "poisson-signed" else 1.0


RATE_METHODS: dict[str, RateConfig] = {
    "deng": RateConfig(shift=True, spiking_output=True),
    "spikenorm": RateConfig(thresholds="balanced", reset="zero", encoder="poisson-signed"),
    "tsc": RateConfig(thresholds="balanced", encoder="two-spikes"),
    "rmp": RateConfig(thresholds="balanced", encoder="poisson-signed"),
}
"""Deng & Gu 2021; Sengupta et al. 2019; Han & Roy 2020: temporal-switch coding of the input; Han et al. 2020: residual
membrane potential."""


def rate_coded(ann: SpikingNetwork, images: Tensor, config: RateConfig, *, input_scale: float = 1.0) -> SpikingNetwork:
    """The spiking network whose rates are the activations of an ANN.

    Args:
        ann: a wired network of rectifiers, of `traced` or `rewired`.
        images: some of the training images, [N, C, H, W], or clips of event frames, [N, T, C, H, W], from which
            thresholds are taken. Of frames the ANN takes the mean over time, see `ann_input`.
        config: the method.
        input_scale: what frames are multiplied by on their way into both networks.

    Returns:
        A network of the same steps, with integrate-and-fire neurons, in evaluation mode.

    Raises:
        UserError: no images, a layer whose activations on them are all zero, or one of other units than rectifiers;
            frames for another number of time steps, or an encoder of images for them.
    """
    _check_rectifiers(ann)
    check_images(images)
    if images.ndim == 5:
        _check_frames(images, config)
    else:
        input_scale = 1.0
    with torch.no_grad():
        seen = ann_input(images, input_scale)
        if config.thresholds == "balanced":
            found = _balanced(ann, images, config, input_scale)
        else:
            percentile = config.percentile if config.thresholds == "percentile" else 100.0
            found = activations(ann, seen, percentile)
        check_alive(found, len(images))
        heights = {name: config.factor * threshold for name, threshold in found.items()}
        for step in wiring_of(ann).order:
            if step.limit:  # where the unit is cut, the rate is
                heights[step.name] = min(heights[step.name], step.limit)
        largest = float(ann(seen).max()) if config.spiking_output else None
        if largest is not None and largest <= 0:
            raise UserError(
                f"the largest score on the {len(images)} calibration images is {largest:g}, and spikes give no scores "
                "below 0: leave spiking_output out (--no-spiking-output)"
            )
        return _assembled(ann, heights, config, largest and config.factor * largest, input_scale)


def ann_input(images: Tensor, input_scale: float = 1.0) -> Tensor:
    """What an ANN takes where its spiking network takes images [N, C, H, W] or event frames [N, T, C, H, W].

    Images as they are; of frames the mean over time, times a scale. With the scale T it is their sum, which is the
    one frame of all events that a network of one time step was trained on; the spiking network receives T times each
    frame at its own step, a current of the same mean.
    """
    return input_scale * images.mean(1) if images.ndim == 5 else images


def _check_frames(frames: Tensor, config: RateConfig) -> None:
    """Raise UserError for frames that a method does not take."""
    if config.encoder != "direct":
        raise UserError(
            f"encoder {config.encoder!r} encodes images, and event frames are taken as they are, step by step: use "
            "encoder 'direct' (--encoder direct)"
        )
    if frames.shape[1] != config.num_steps:
        raise UserError(
            f"the clips have {frames.shape[1]} frames, and num_steps is {config.num_steps}: give a frame for each step"
        )


def _check_rectifiers(ann: SpikingNetwork) -> None:
    """Raise UserError for the first layer whose units compute something else: a rate is neither negative nor bent."""
    for step in config_of(ann).steps:
        if step.kind == "neurons" and step.activation != "relu":
            raise UserError(
                f"layer {step.name} computes {step.activation}, and rates of spikes are max(0, x): use the method "
                f"{'whetstone' if step.activation == 'step' else 'few-spikes'}, or train with ReLU"
            )


def check_alive(found: Mapping[str, float], images: int) -> None:
    """Raise UserError where the largest value of a layer on so many calibration images is not above zero."""
    for name, largest in found.items():
        if not math.isfinite(largest):
            raise UserError(f"layer {name} gives {largest} on the calibration images: train the ANN again")
        if largest <= 0:
            raise UserError(
                f"layer {name} would never fire: the largest value that it has on the {images} calibration images is "
                f"{largest:g}; give more images, a higher percentile, or an ANN without dead layers"
            )


def activations(ann: SpikingNetwork, images: Tensor, percentile: float) -> dict[str, float]:
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
        found[name.removeprefix("wiring.steps.")] = float(upper + (rank % 1) * (lower - upper))
    return found


def _balanced(ann: SpikingNetwork, images: Tensor, config: RateConfig, input_scale: float = 1.0) -> dict[str, float]:
    """Threshold of each layer of neurons: the largest current that reaches one in the spiking network before it.

    Layer after layer, with the thresholds found so far (SpikeNorm of Sengupta et al. 2019; Han et al. 2020). What is
    kept of a layer is a bit for each spike; currents are made of them a few images at a time, once for the threshold
    and once for the spikes that follow from it.

    Args:
        ann: a wired network of rectifiers.
        images: [N, C, H, W]; event frames [N, T, C, H, W] are taken as they are, such as spikes drawn before.
        config: encoder, time steps and reset.
        input_scale: see `rate_coded`.
    """
    order, modules = {step.name: step for step in wiring_of(ann).order}, wiring_of(ann)
    parts = images.split(max(1, _IMAGE_STEPS // config.num_steps))
    seeds = torch.randint(2**31, [len(parts)], device="cpu").tolist()
    fired: dict[str, list[_Fired]] = {}
    found: dict[str, float] = {}

    def value(name: str, part: int) -> Tensor:
        """What a step gives, or the encoded images: [T, n, ...] of the images of a part."""
        if name == INPUT:
            return input_scale * config.input_height * _encoded(parts[part], config, seeds[part])
        if name in fired:
            return found[name] * fired[name][part].unpacked(images.dtype)
        return modules.run(order[name], [value(each, part) for each in order[name].inputs], None)

    for step in order.values():
        if step.kind == "neurons":
            (source,) = step.inputs
            largest = torch.stack([value(source, part).max() for part in range(len(parts))])
            found[step.name] = threshold = float(largest.max())
            if not 0 < threshold < math.inf:
                break
            constants = LIFConstants(
                leak=1.0, surrogate=Triangle(), threshold=threshold, fires_at_threshold=True, reset=config.reset
            )
            fired[step.name] = [_Fired.of(lif(value(source, part), constants).spikes) for part in range(len(parts))]
    return found


_IMAGE_STEPS = 2000
"""Images times time steps whose currents are there at once in `_balanced`."""


class _Fired(NamedTuple):
    """Spikes, a bit each."""

    bits: Tensor
    shape: torch.Size

    @classmethod
    def of(cls, spikes: Tensor) -> "_Fired":
        """Of spikes, 0 or 1, of any shape."""
        flat = spikes.flatten().to(torch.uint8)
        bytes_ = F.pad(flat, (0, -len(flat) % 8)).view(-1, 8)
        return cls(
            (bytes_ << torch.arange(8, dtype=torch.uint8, device=flat.device)).sum(1, dtype=torch.uint8), spikes.shape
        )

    def unpacked(self, dtype: torch.dtype) -> Tensor:
        """The spikes again."""
        each = self.bits[:, None] >> torch.arange(8, dtype=torch.uint8, device=self.bits.device) & 1
        return each.flatten()[: self.shape.numel()].to(dtype).view(self.shape)


def _encoded(images: Tensor, config: RateConfig, seed: int) -> Tensor:
    """Encoded images [T, N, C, H, W], spikes drawn with this seed; event frames as they are."""
    if images.ndim == 5:
        return images.transpose(0, 1)
    steps, scale = config.num_steps, config.poisson_scale
    with seeded(seed, images.device):
        return encode(config.encoder, images, steps, first=0, total=steps, poisson_scale=scale)


def _assembled(
    ann: SpikingNetwork,
    heights: Mapping[str, float],
    config: RateConfig,
    largest: float | None,
    input_scale: float = 1.0,
) -> SpikingNetwork:
    """The spiking network of an ANN and of the heights of its spikes, its thresholds.

    Args:
        ann: a wired network of rectifiers.
        heights: name of each layer of neurons -> threshold.
        config: the method.
        largest: threshold of spiking neurons that give the scores; None: the readout's potential gives them.
        input_scale: see `rate_coded`.
    """
    before = config_of(ann)
    steps = list(before.steps)
    tensors = {name: (module.weight, module.bias) for name, module in weighted(ann).items()}
    heights = dict(heights)
    scores = free(SCORES, {step.name for step in steps})
    spiking = free(f"{SCORES}_neurons", {step.name for step in steps})
    if largest is not None:
        weight, bias = tensors.pop(READOUT)
        steps.append(
            Step(
                name=scores,
                kind="linear",
                inputs=(steps[-1].name if steps else INPUT,),
                in_channels=weight.shape[1],
                out_channels=weight.shape[0],
                bias=bias is not None,
            )
        )
        steps.append(Step(name=spiking, kind="neurons", inputs=(scores,)))
        tensors[scores] = (weight, bias)
        tensors[READOUT] = (torch.eye(len(weight), dtype=weight.dtype), None)
        heights[spiking] = largest
    height = {INPUT: input_scale * config.input_height}
    drives = {step.inputs[0]: step.name for step in steps if step.kind == "neurons"}
    factors = dict[str, Tensor]()
    for i, step in enumerate(steps):
        height[step.name] = 1.0
        if step.kind == "neurons":
            height[step.name] = heights[step.name]  # spikes that come without weights have their height yet to get
            steps[i] = replace(step, threshold=heights[step.name] / height[step.inputs[0]])
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
    network = blank(
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
        module = wiring_of(network).steps[name]
        assert isinstance(module, WeightedSum)
        module.factors.copy_(each)
    return network


SCORES = "scores"
"""Name of the step that gives the scores where neurons behind it send them as spikes."""
