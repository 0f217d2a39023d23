"""The weights that a network starts from."""

from typing import Literal

from torch import nn

InitKind = Literal["xavier", "torch", "kaiming", "normal"]


def initialise(module: nn.Module, kind: InitKind) -> None:
    """Draw the weights of all convolutions and linear layers of `module` anew.

    xavier is how they are made, Xavier uniform with gain 2 (released code, Kim & Panda 2021): nothing is drawn. torch
    is that of torch's own layers, uniform with variance 1 / (3 fan_in) (Fang et al. 2021); kaiming is normal with
    variance 2 / fan_out (He et al. 2015; re-implementations of Zheng et al. 2021), normal with 1 / fan_in (Lee et al.
    2020), biases as torch's.
    """
    if kind == "xavier":
        return
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.reset_parameters()
            if kind == "kaiming":
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if kind == "normal":
                nn.init.kaiming_normal_(part.weight, mode="fan_in", nonlinearity="linear")
