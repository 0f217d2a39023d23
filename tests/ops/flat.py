"""The ops by keywords alone, as tests draw and change them one by one: the same names as the fields they end up in."""

import dataclasses

from sresnet.ops import bntt_lif as behind
from sresnet.ops import conv_bntt_lif as layer
from sresnet.ops import lif as neurons
from sresnet.ops.neuron import LIFConstants
from sresnet.ops.norm import NormState, _batch_norm_over_time, _batch_norm_through_time
from sresnet.ops.surrogate import Triangle

NEURON = [field.name for field in dataclasses.fields(LIFConstants)]
NORM = [field.name for field in dataclasses.fields(NormState)]
CONVOLUTION = layer.Convolution._fields


def taken(kind, names, given):
    """A value of `kind` made of those among `given` that belong to it, which leave `given`."""
    return kind(**{name: given.pop(name) for name in names if name in given})


def neuron_of(given):
    """The neurons among `given`, with the paper's surrogate unless there is one."""
    given.setdefault("surrogate", Triangle())
    return taken(LIFConstants, NEURON, given)


def norm_of(given):
    """The norm among `given`; None where there is no gamma."""
    if given.get("gamma") is not None:
        return taken(NormState, NORM, given)
    for name in NORM:
        given.pop(name, None)
    return None


def lif(current, **given):
    return neurons.lif(current, neuron_of(given), **given)


def membrane(current, **given):
    return neurons.membrane(current, neuron_of(given), **given)


def bntt_lif(x, gamma=None, beta=None, running_mean=None, running_var=None, **given):
    given |= {"gamma": gamma, "beta": beta, "running_mean": running_mean, "running_var": running_var}
    return behind.bntt_lif(x, norm_of(given), neuron_of(given), **given)


def batch_norm(x, gamma, beta=None, running_mean=None, running_var=None, **given):
    given |= {"gamma": gamma, "beta": beta, "running_mean": running_mean, "running_var": running_var}
    return behind.batch_norm(x, norm_of(given), **given)


def conv_bntt_lif(x, weight, gamma=None, beta=None, running_mean=None, running_var=None, **given):
    given |= {"weight": weight, "gamma": gamma, "beta": beta, "running_mean": running_mean, "running_var": running_var}
    convolution = taken(layer.Convolution, CONVOLUTION, given)
    return layer.conv_bntt_lif(x, convolution, norm_of(given), neuron_of(given), **given)


def conv_batch_norm(x, weight, gamma, beta=None, running_mean=None, running_var=None, **given):
    given |= {"weight": weight, "gamma": gamma, "beta": beta, "running_mean": running_mean, "running_var": running_var}
    convolution = taken(layer.Convolution, CONVOLUTION, given)
    return layer.conv_batch_norm(x, convolution, norm_of(given), **given)


def through_time(x, gamma, beta, running_mean, running_var, **given):
    rows = {"gamma": gamma, "beta": beta, "running_mean": running_mean, "running_var": running_var}
    return _batch_norm_through_time(x, NormState(**rows, **given))


def over_time(x, gamma, beta, running_mean, running_var, **given):
    rows = {"gamma": gamma, "beta": beta, "running_mean": running_mean, "running_var": running_var}
    return _batch_norm_over_time(x, NormState(**rows, **given))
