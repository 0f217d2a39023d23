"""Modules: parameters and one call of an op each. They fit into any network; see docs/python.md."""

from sresnet.nn.encoder import delta, direct, encode, first_step, latency, poisson, poisson_signed, switched, two_spikes
from sresnet.nn.layer import (
    Flatten,
    GlobalAveragePool,
    Pool,
    PoolNeurons,
    SharedDropout,
    SpikingLayer,
    SpikingLinear,
    conv,
    pooled,
)
from sresnet.nn.neuron import (
    FewSpikes,
    Neuron,
    NeuronConfig,
    OwnNeuron,
    Rectifier,
    Sharpened,
    leak_parameter,
    make_neuron,
    register_activation,
    register_neuron,
)
from sresnet.nn.norm import (
    BNTT,
    NoNorm,
    NormConfig,
    OwnNorm,
    PerStepNorm,
    TimeAveragedNorm,
    make_norm,
    register_norm,
)
from sresnet.nn.readout import Readout
from sresnet.nn.residual import ResidualBlock, Skip
from sresnet.nn.signal import Signal
from sresnet.nn.state import ForwardState, LayerRecord, Recorder
from sresnet.ops.lif.reference import spike
from sresnet.ops.over_time import over_time
from sresnet.ops.surrogate import Surrogate, register_surrogate

__all__ = [
    "BNTT",
    "FewSpikes",
    "Flatten",
    "ForwardState",
    "GlobalAveragePool",
    "LayerRecord",
    "Neuron",
    "NeuronConfig",
    "NoNorm",
    "NormConfig",
    "OwnNeuron",
    "OwnNorm",
    "PerStepNorm",
    "Pool",
    "PoolNeurons",
    "Readout",
    "Recorder",
    "Rectifier",
    "ResidualBlock",
    "SharedDropout",
    "Sharpened",
    "Signal",
    "Skip",
    "SpikingLayer",
    "SpikingLinear",
    "Surrogate",
    "TimeAveragedNorm",
    "conv",
    "delta",
    "direct",
    "encode",
    "first_step",
    "latency",
    "leak_parameter",
    "make_neuron",
    "make_norm",
    "over_time",
    "poisson",
    "poisson_signed",
    "pooled",
    "register_activation",
    "register_neuron",
    "register_norm",
    "register_surrogate",
    "spike",
    "switched",
    "two_spikes",
]
