"""The size of a configuration's network, before it is built."""

import torch

from sresnet.limits import MEMORY_LIMIT, check_claim
from sresnet.models import ModelConfig, build
from sresnet.models.network import SpikingNetwork

LEAST_PIXELS = 64
"""Pixels of the smallest image."""


def sketch(config: ModelConfig) -> SpikingNetwork:
    """The network of a configuration on the device "meta": parameters have shapes and take no memory."""
    with torch.device("meta"):
        return build(config)


def check_network(config: ModelConfig, where: str, length: int, memory_limit: float = MEMORY_LIMIT) -> SpikingNetwork:
    """The `sketch` of a configuration in the file `where`; UserError where it claims too much memory.

    Its numbers count, and the spikes of one layer over all time steps for one small image. `length` is that of the file
    with its weights, 0 where there is none.
    """
    model = sketch(config)
    numbers = sum(tensor.numel() for tensor in [*model.parameters(), *model.buffers()])
    check_claim(where, f"a network of {numbers:,} numbers", 4 * numbers, length, memory_limit)
    spikes = LEAST_PIXELS * getattr(config, "base_filters", 1) * config.num_steps
    check_claim(where, f"{config.num_steps:,} time steps", 4 * spikes, length, memory_limit)
    return model
