"""Modules: parameters and one call of an op each. They fit into anybody's network; see docs/python.md."""

from sresnet.nn.encoder import ENCODERS, direct, poisson, poisson_signed
from sresnet.nn.layer import GlobalAveragePool, Pool, SpikingLayer, conv, pooled
from sresnet.nn.neuron import Neuron, NeuronConfig, Rectifier, leak_parameter, make_neuron
from sresnet.nn.norm import BNTT, NoNorm, NormConfig, TimeAveragedNorm, make_norm
from sresnet.nn.readout import Readout
from sresnet.nn.residual import ResidualBlock, Skip
from sresnet.nn.signal import Signal
from sresnet.nn.state import ForwardState, LayerRecord, Recorder
from sresnet.ops.over_time import over_time

__all__ = [
    "BNTT",
    "ENCODERS",
    "ForwardState",
    "GlobalAveragePool",
    "LayerRecord",
    "Neuron",
    "NeuronConfig",
    "NoNorm",
    "NormConfig",
    "Pool",
    "Readout",
    "Recorder",
    "Rectifier",
    "ResidualBlock",
    "Signal",
    "Skip",
    "SpikingLayer",
    "TimeAveragedNorm",
    "conv",
    "direct",
    "leak_parameter",
    "make_neuron",
    "make_norm",
    "over_time",
    "poisson",
    "poisson_signed",
    "pooled",
]
