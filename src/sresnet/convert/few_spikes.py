"""A few spikes in place of each activation: the units of an ANN become few-spikes neurons (Stöckl & Maass 2021).

The heights of a neuron's spikes add up to what its unit would send, in K internal steps that all pass within one time
step. Weights stay what they are. The equations are in `ops.few_spikes`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from sresnet.config import check_types
from sresnet.convert.drawing import check_images, config_of, fill, weighted, wiring_of
from sresnet.convert.rate import activations, check_alive
from sresnet.errors import UserError
from sresnet.models import blank
from sresnet.models.network import SpikingNetwork
from sresnet.nn.neuron import FewSpikes
from sresnet.nn.wiring import Step
from sresnet.ops.few_spikes.published import LARGEST_OUTPUT, SIGMOID, SILU, Coefficients, binary_places


@dataclass(frozen=True, kw_only=True)
class FewSpikesConfig:
    """How activations become a few spikes.

    Raises:
        UserError: a field of the wrong type or out of range, or two lists of coefficients for one function.
    """

    internal_steps: int = 10
    """How often a neuron may spike, K, for ReLU: 2^K values between 0 and the largest. Others have K coefficients."""
    largest: Literal["published", "calibrated", "percentile"] = "published"
    """Where the values of ReLU end: published, at 25; calibrated, at the layer's largest activation on the calibration
    images; percentile, at one that so many percent of its activations do not exceed. Clipped units end where they
    are clipped."""
    percentile: float = 99.9
    """Of "percentile", in percent."""
    fires_at_threshold: bool = False
    """v >= threshold fires, so that ReLU is rounded down; else multiples of its smallest step are rounded down too, to
    the one below."""
    functions: tuple[Coefficients, ...] = ()
    """Coefficients of other activations, or to use in place of the published ones; `fit_few_spikes` finds them."""

    def __post_init__(self) -> None:
        check_types(self)
        binary_places(self.internal_steps)
        if not 0 < self.percentile <= 100:
            raise UserError(f"percentile {self.percentile} is outside (0, 100]: 99.9 leaves out one in a thousand")
        names = [each.function for each in self.functions]
        if len(set(names)) < len(names):
            raise UserError(f"functions has coefficients of {', '.join(names)}: give each function once")


def few_spikes_coded(ann: SpikingNetwork, images: Tensor, config: FewSpikesConfig) -> SpikingNetwork:
    """The network of few-spikes neurons that computes what an ANN computes, up to the smallest step of its values.

    Args:
        ann: a wired network, of `traced` or `rewired`.
        images: some of the training images, [N, C, H, W]; only looked at where `largest` is not "published".
        config: the method.

    Returns:
        A network of the same steps and weights, of one time step, in evaluation mode.

    Raises:
        UserError: a layer whose activation has no coefficients, and, where they are looked at, no images or a layer
            whose activations on them are all zero.
    """
    before = config_of(ann)
    units = [step for step in before.steps if step.kind == "neurons"]
    largest = _largest(ann, units, images, config)
    given = {step.name: _coefficients(step, largest.get(step.name, LARGEST_OUTPUT), config) for step in units}
    # The coefficients say what a layer computes now, so that no registered name is needed to load it.
    steps = tuple(
        replace(step, internal_steps=given[step.name].internal_steps, activation="relu") if step.name in given else step
        for step in before.steps
    )
    network = blank(
        replace(
            before,
            steps=steps,
            neuron="few-spikes",
            internal_steps=config.internal_steps,
            fires_at_threshold=config.fires_at_threshold,
        )
    )
    network = network.to(next(ann.parameters()).dtype).eval()
    fill(network, {name: (module.weight, module.bias) for name, module in weighted(ann).items()})
    for name, module in wiring_of(network).steps.items():
        if isinstance(module, FewSpikes):
            module.set_coefficients(given[name])
    return network


def _largest(ann: SpikingNetwork, units: Iterable[Step], images: Tensor, config: FewSpikesConfig) -> dict[str, float]:
    """Name of each layer of rectifiers -> where its values end, unless that is where the published ones do."""
    limits = {step.name: step.limit for step in units if step.limit}
    if config.largest == "published":
        return limits
    check_images(images)
    with torch.no_grad():
        found = activations(ann, images, config.percentile if config.largest == "percentile" else 100.0)
    endless = (step.name for step in units if step.activation == "relu" and not step.limit)
    rectifiers = {name: found[name] for name in endless}
    check_alive(rectifiers, len(images))
    return rectifiers | limits


def _coefficients(step: Step, largest: float, config: FewSpikesConfig) -> Coefficients:
    """Those of a layer of units; UserError where there are none."""
    known = {each.function: each for each in (SILU, SIGMOID, *config.functions)}
    if step.activation in known and not step.limit:
        return known[step.activation]
    if step.activation == "relu":
        return binary_places(config.internal_steps, largest)
    raise UserError(
        f"layer {step.name} computes {step.activation}, of which no coefficients are published: find some with "
        f"sresnet.convert.fit_few_spikes and give them as functions"
    )
