"""Units that were sharpened to steps become neurons that spike once or not at all (Whetstone; Severa et al. 2019)."""

from dataclasses import dataclass, replace

from sresnet.convert.drawing import config_of, fill, weighted
from sresnet.errors import UserError
from sresnet.models import blank
from sresnet.models.families.wired import STEP_THRESHOLD
from sresnet.models.network import SpikingNetwork


@dataclass(frozen=True, kw_only=True)
class WhetstoneConfig:
    """The method that takes a network whose units training has made steps; there is nothing to choose."""


def with_steps(ann: SpikingNetwork) -> SpikingNetwork:
    """The spiking network of one time step that computes what an ANN of steps computes.

    A neuron without leak that receives x at its only step fires where x >= 1/2, which is the unit's output. Weights
    stay what they are.

    Args:
        ann: a wired network, of `rewired`, whose units were trained with neuron "sharpened".

    Returns:
        A network in evaluation mode.

    Raises:
        UserError: a layer of other units.
    """
    before = config_of(ann)
    for step in before.steps:
        if step.kind == "neurons" and step.activation != "step":
            raise UserError(
                f"layer {step.name} computes {step.activation}, not a step: train with --model.neuron sharpened and "
                "--train.sharpen-epochs, or choose another method"
            )
    steps = tuple(
        replace(step, threshold=STEP_THRESHOLD, activation="relu") if step.kind == "neurons" else step
        for step in before.steps
    )
    network = blank(replace(before, steps=steps, num_steps=1, neuron="if", fires_at_threshold=True))
    network = network.to(next(ann.parameters()).dtype).eval()
    fill(network, {name: (module.weight, module.bias) for name, module in weighted(ann).items()})
    return network
