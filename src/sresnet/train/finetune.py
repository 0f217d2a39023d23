"""Fine-tuning: start from a network trained elsewhere (Tables 11, 12)."""

from pathlib import Path

import torch

from sresnet.errors import UserError
from sresnet.limits import MEMORY_LIMIT
from sresnet.models.network import SpikingNetwork
from sresnet.models.pretrained import load_shipped, shipped
from sresnet.models.saved import load, tensors_of


def load_pretrained(model: SpikingNetwork, path: str, *, memory_limit: float = MEMORY_LIMIT) -> None:
    """Copy a trained network's weights into the fresh `model`, except the stem's convolution and the readout.

    As in the released code, all norms and the 1x1 skips are copied, and everything trains on at the same rate. A
    network of fewer time steps takes the norms of the first ones. With `progressive_epochs`, the norms of time steps
    that do not run yet stay as loaded.

    Args:
        path: a run folder, a weights file, or else the name of a network that comes with the package.

    Raises:
        UserError: nothing to load at `path`, or a network of another shape or with fewer time steps.
    """
    ours = path in shipped() and not Path(path).exists()
    topology = model.topology
    stem = f"layers.{topology.of_kind('convolution')[0].module}."
    norms = tuple(f"layers.{node.module}." for node in topology.of_kind("norm"))
    source = tensors_of(load_shipped(path) if ours else load(path, memory_limit=memory_limit))
    with torch.no_grad():
        for name, target in tensors_of(model).items():
            if name.startswith((stem, "readout.")):
                continue
            if name not in source:
                raise UserError(
                    f"{path} has no {name!r}: fine-tune the same network, with the same norm and connection"
                )
            weights = source[name]
            if name.startswith(norms) and weights.ndim == 2:  # [num_steps, channels]
                weights = weights[: len(target)]
            if weights.shape != target.shape:
                raise UserError(
                    f"{path}: {name} has shape {tuple(source[name].shape)}, this network needs {tuple(target.shape)}: "
                    "give the same depth, filters and at most as many time steps"
                )
            target.copy_(weights)
