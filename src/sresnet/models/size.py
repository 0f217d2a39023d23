"""How large the network of a configuration is, known before it is made."""

import torch

from sresnet.errors import UserError
from sresnet.limits import MEMORY_LIMIT, check_claim
from sresnet.models import ModelConfig, build
from sresnet.models.network import SpikingNetwork

LAYER_BYTES = 100_000
"""What the modules of a layer take in memory, without its numbers; so many bytes also stand for their time."""
LEAST_PIXELS = 64
"""Of an image that any network is shown."""


def sketch(config: ModelConfig) -> SpikingNetwork:
    """The network of a configuration with parameters that have shapes and take no memory (device "meta").

    Raises:
        UserError: a shape that no tensor can have.
    """
    try:
        with torch.device("meta"):
            return build(config)
    except (RuntimeError, TypeError, OverflowError):
        raise UserError(f"{config} is a network of more numbers than can be counted: choose smaller ones") from None


def check_size(config: ModelConfig, where: str, length: int, memory_limit: float = MEMORY_LIMIT) -> SpikingNetwork:
    """Refuse a configuration whose network takes more memory than the file it stands in may claim.

    Counted are its layers, the spikes of one layer over all time steps for one small image, and its numbers.

    Args:
        config: the configuration.
        where: the file.
        length: bytes of the file with its weights, 0 where there is none.
        memory_limit: gigabytes that it may claim whatever the length.

    Returns:
        The sketch of the network.

    Raises:
        UserError: it claims more.
    """

    def claim(what: str, claimed: int) -> None:
        check_claim(where, what, claimed, length, memory_limit)

    depth = getattr(config, "depth", 0)
    claim(f"a network of {depth:,} layers", LAYER_BYTES * depth)
    filters = getattr(config, "base_filters", 1)
    claim(f"{config.num_steps:,} time steps", 4 * LEAST_PIXELS * filters * config.num_steps)
    try:
        model = sketch(config)
    except UserError:
        raise UserError(f"{where} describes a network of more numbers than can be counted: it is damaged") from None
    numbers = sum(tensor.numel() for tensor in [*model.parameters(), *model.buffers()])
    claim(f"a network of {numbers:,} numbers", 4 * numbers)
    return model
