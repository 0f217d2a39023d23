"""Units that become steps while they are trained (Whetstone; Severa et al. 2019): how sharp they are, and when.

As far as it is known here: units start as min(1, max(0, x)), and layer after layer, from the first to the last, their
ramp narrows around 1/2 until it is a step. What is ours: it narrows evenly over a given time, in equal parts for all
layers, where the authors can also let the loss decide when to go on; and the readout is that of this package, a
potential, not several spiking neurons for each class.
"""

import torch

from sresnet.models.network import SpikingNetwork
from sresnet.nn import Sharpened
from sresnet.train.recipe import TrainConfig


def _sharpness(config: TrainConfig, epochs: float, layers: int) -> list[float]:
    """Sharpness of each of so many layers, in [0, 1], from the first to the last, after so many epochs.

    It is a function of where training stands and nothing else, so that a run resumes exactly.
    """
    first, last = config.sharpen_epochs
    done = (epochs - first) / (last - first) * layers
    return [min(1.0, max(0.0, done - layer)) for layer in range(layers)]


def sharpen(model: SpikingNetwork, config: TrainConfig, epochs: float) -> None:
    """Make the units of `model` as sharp as they are after so many epochs; nothing without `sharpen_epochs`."""
    if not config.sharpen_epochs:
        return
    units = _units(model)
    with torch.no_grad():
        for each, value in zip(units, _sharpness(config, epochs, len(units)), strict=True):
            each.sharpness.fill_(value)


def mean_sharpness(model: SpikingNetwork) -> float:
    """The mean over layers."""
    units = _units(model)
    return sum(float(each.sharpness) for each in units) / len(units)


def _units(model: SpikingNetwork) -> list[Sharpened]:
    """The layers that are sharpened, from the first to the last."""
    return [module for _, module in model.named_neurons() if isinstance(module, Sharpened)]
