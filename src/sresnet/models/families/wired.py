"""Networks that are wired as a list of steps says: those that were read from others' code, and what they become."""

import math
from dataclasses import dataclass
from typing import ClassVar

from sresnet.errors import UserError
from sresnet.models.network import NetworkConfig, SpikingNetwork, check_size, make_readout
from sresnet.models.registry import Family, register_family
from sresnet.nn.wiring import Step, Wiring, check_order

STEP_THRESHOLD = 0.5
"""Of neurons that were units sharpened to steps (Whetstone): where the step is."""


@dataclass(frozen=True, kw_only=True)
class WiredConfig(NetworkConfig):
    """A network of any steps without loops, with one linear layer behind them that gives the scores."""

    family: ClassVar[str] = "wired"

    steps: tuple[Step, ...] = ()
    """Every operation but the last linear layer, in an order in which they can run."""
    features: int = 1
    """Values of the last step, which the readout takes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm != "none":
            raise UserError(f"norm {self.norm!r}: a wired network has its norms folded into its weights: use 'none'")
        if self.features < 1:
            raise UserError(f"features {self.features} is less than 1: they are what the last step gives an image")
        check_order(self.steps)
        for step in self.steps:
            if step.kind == "norm":
                raise UserError(f"step {step.name!r} is a norm: a wired network has them folded into its weights")
        weights = sum(
            step.in_channels * step.out_channels * math.prod(step.kernel) // step.groups
            for step in self.steps
            if step.kind in ("convolution", "linear")
        )
        check_size(self, weights, norms=0, features=self.features)

    def check_steps(self, num_steps: int) -> None:
        """UserError for more than the conversion was made for, but for rates, which approach the ANN further."""
        if num_steps <= self.num_steps:
            return
        said = f"num_steps {num_steps} is more than the {self.num_steps} that this network was converted for"
        if self.neuron == "few-spikes":
            raise UserError(f"{said}, each the same: convert the ANN with more --internal-steps, {self.internal_steps}")
        if self.neuron == "if" and self.encoder == "first-step":
            raise UserError(
                f"{said}, and its image comes at the first step alone: convert with --method tandem --num-steps "
                f"{num_steps}"
            )
        thresholds = {step.threshold for step in self.steps if step.kind == "neurons"}
        if self.neuron == "if" and self.num_steps == 1 and thresholds == {STEP_THRESHOLD}:
            raise UserError(f"{said}: units that are steps need one alone, so leave num_steps out")


def _build(config: WiredConfig) -> SpikingNetwork:
    """Build the network that `config` describes, with weights as torch makes them."""
    layers = {"wiring": Wiring(config.steps, config.neuron_config(), config.norm_config())}
    return SpikingNetwork(config, layers, make_readout(config, config.features))


register_family(Family(config=WiredConfig, build=_build, models={}, fields=lambda name: None))
