"""A network whose convolutions of spikes have weights of eight bits."""

import copy

import torch
from torch import nn

from sresnet.errors import UserError
from sresnet.models.network import SpikingNetwork
from sresnet.nn import Neuron, NoNorm, OwnNeuron, OwnNorm, Skip
from sresnet.nn.layer import Int8Conv, is_plain
from sresnet.nn.neuron import WITHOUT_TIME
from sresnet.ops.scan import cpu
from sresnet.ops.scan.contract import supports


def to_int8(model: SpikingNetwork) -> SpikingNetwork:
    """A copy of `model` for inference on a CPU, in evaluation mode.

    Where a convolution receives spikes or whole numbers of them (stage 1 of s2s; every layer but the stem of s2m, v2v
    and none), its weight is rounded to eight bits, with a scale per filter, and sums are exact. The stem, convolutions
    behind a 1x1 skip or a pool, and 1x1 skips without a norm stay as they are.

    The copy is saved, loaded, copied and pickled as any network: it keeps the weights of `model` and rounds them again
    when they change. It refuses gradients, `record`, hooks on convolutions, other dtypes, torch.compile and the
    reference implementation.

    Raises:
        UserError: the model is not on a CPU or not in float32, has no spikes, has neurons, norms or surrogates of the
            user's own, or this build of torch or this machine has no such convolutions.
    """
    if next(model.parameters()).device.type != "cpu":
        raise UserError("precision 'int8' is for the CPU: add --device cpu, or choose fp32 or bf16")
    if "onednn" not in torch.backends.quantized.supported_engines:
        raise UserError("precision 'int8' needs oneDNN, which this build of torch lacks: choose fp32")
    if not cpu.available():
        raise UserError("precision 'int8' needs the compiled kernel, and there is none here: choose fp32")
    if model.config.neuron in WITHOUT_TIME:
        raise UserError(
            f"precision 'int8' needs spikes of height 1, and neurons of kind {model.config.neuron!r} send other "
            "numbers: choose fp32"
        )
    for module in model.modules():
        unknown = isinstance(module, Neuron) and not supports(module.constants())
        if unknown or isinstance(module, OwnNeuron | OwnNorm):
            raise UserError(
                "precision 'int8' needs the compiled kernel, which knows no neurons, norms or surrogates of your own "
                "and no spike-based gradient: choose fp32 or bf16"
            )
    model = copy.deepcopy(model).eval().requires_grad_(False)
    for module in list(model.layers.modules()):
        if isinstance(module, Skip) and (module.norm is None or isinstance(module.norm, NoNorm)):
            continue
        for name, child in module.named_children():
            if type(child) is nn.Conv2d and is_plain(child):
                setattr(module, name, Int8Conv(child))
                getattr(module, name).int8  # noqa: B018 - complains about the weight now
    return model
