"""A network whose layers of units have become tandem layers one after the other, as a spiking network.

In training, a tandem layer sends counts of spikes on and its ANN branch is norm and all; what is left at the end is the
spiking branch: weights with the norm in them, a threshold for each layer, and the image at the first of T steps.
"""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from sresnet.convert.drawing import READOUT, fill, weighted
from sresnet.convert.ours import rewired
from sresnet.errors import UserError
from sresnet.models import blank
from sresnet.models.families.wired import WiredConfig
from sresnet.models.network import SpikingNetwork


def tandem_coded(ann: SpikingNetwork, thresholds: Mapping[str, float], num_steps: int) -> SpikingNetwork:
    """The spiking network that tandem training has made (Wu et al. 2021).

        I[t] = W' o[t] + b' / T,   W' = W gamma / sigma,   b' = beta + (b - mu) gamma / sigma,   sigma = sqrt(var)

    Spikes have height 1, and scores are the last layer's of the counts: W c + b.

    Args:
        ann: the trained weights and norms.
        thresholds: of every layer of units, by the names of their steps.
        num_steps: T.

    Raises:
        UserError: as `rewired`, or a layer without a threshold.
    """
    read = rewired(ann, eps=0.0)
    before = read.config
    assert isinstance(before, WiredConfig)
    if missing := [step.name for step in before.steps if step.kind == "neurons" and step.name not in thresholds]:
        raise UserError(f"layer {missing[0]} has no threshold: it is not spiking yet, so let the training go on")
    steps = tuple(
        replace(step, threshold=thresholds[step.name]) if step.kind == "neurons" else step for step in before.steps
    )
    config = replace(
        before, steps=steps, num_steps=num_steps, neuron="if", fires_at_threshold=True, encoder="first-step"
    )
    network = blank(config).to(next(read.parameters()).dtype).eval()
    tensors: dict[str, tuple[Tensor, Tensor | None]] = {}
    for name, module in weighted(read).items():
        if name == READOUT:  # the mean over T of T W o[t] + b
            tensors[name] = (module.weight * num_steps, module.bias)
        else:
            tensors[name] = (module.weight, None if module.bias is None else module.bias / num_steps)
    fill(network, tensors)
    return network
