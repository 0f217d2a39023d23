"""Checkpoints of the paper's released code (VicenteAlex/Spiking_ResNet) -> our networks.

They are `torch.save` dictionaries {global_step, state_dict, accuracy}. Depth, width, steps, beta and image or event
input are read off the names and shapes; classes, boosting and leak are not in the file.
"""

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from sresnet.data.pickles import PickleFault
from sresnet.errors import UserError
from sresnet.files import state_of
from sresnet.limits import MEMORY_LIMIT, check_claim
from sresnet.models import blank, model_config
from sresnet.models.network import SpikingNetwork
from sresnet.models.saved import load_tensors, tensors_of
from sresnet.models.size import check_network
from sresnet.models.topology import Topology
from sresnet.models.torch_files import Mark, read_torch_file
from sresnet.nn.readout import VOTES_PER_CLASS


def load_released(
    path: str | Path,
    num_classes: int = 10,
    boosting: bool = False,
    leak: float = 0.874,
    *,
    memory_limit: float = MEMORY_LIMIT,
) -> SpikingNetwork:
    """The network in one of the authors' published checkpoints, on the CPU, in float32, in evaluation mode.

    Args:
        path: the file. No code in it can run, see `torch_files`.
        num_classes, boosting: of the network that was trained.
        leak: likewise; the README of the released code trains with 0.8744.

    Raises:
        UserError: no such file, one that is truncated or no such checkpoint, claims too much, or holds NaN, or another
            number of classes.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} {state_of(path)}: give the checkpoint file that the authors publish")
    try:
        return _released_network(path, num_classes, boosting, leak, memory_limit)
    except PickleFault as fault:
        raise UserError(f"{path} is not a complete checkpoint ({fault}): download it again") from None


def _released_network(path: Path, num_classes: int, boosting: bool, leak: float, memory_limit: float) -> SpikingNetwork:
    """`load_released`; PickleFault for an incomplete file."""
    checkpoint, tensor = read_torch_file(path, memory_limit)
    state = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Mark) for value in state.values()):
        raise UserError(f"{path} has no state_dict: not a checkpoint of the released S-ResNet code")
    claimed = 4 * sum(math.prod(mark.size) for mark in state.values())
    length = path.stat().st_size
    check_claim(str(path), f"{len(state):,} tensors", claimed, length, memory_limit)
    stem, readout = state.get("conv1.weight"), state.get("fc.weight")
    if stem is None or readout is None or len(stem.size) != 4 or len(readout.size) != 2:
        raise UserError(f"{path} has no conv1.weight and fc.weight: not a checkpoint of the released S-ResNet code")
    convolutions = _indices(r"conv_list\.(\d+)\.weight", state)
    steps = _indices(r"bntt1\.(\d+)\.weight", state)
    outputs = num_classes * (VOTES_PER_CLASS if boosting else 1)
    if readout.size[0] != outputs:
        raise UserError(
            f"{path} has {readout.size[0]} outputs, not the {outputs} of num_classes={num_classes}, "
            f"boosting={boosting}: give the values that it was trained with"
        )
    config = model_config(
        f"sresnet{convolutions + 1}",
        base_filters=stem.size[0],
        in_channels=stem.size[1],
        num_classes=num_classes,
        num_steps=steps,
        boosting=boosting,
        leak=leak,
        norm_bias="bntt1.0.bias" in state,
        stem="c3s2" if stem.size[1] == 2 else "c3",
    )
    topology = check_network(config, str(path), length, memory_limit).topology
    tensors = _translated(state, tensor, topology, steps, where=str(path))
    model = blank(config)
    load_tensors(tensors_of(model), tensors, where=str(path))
    return model.eval()


def _indices(pattern: str, state: Mapping[str, Mark]) -> int:
    """Number of names that match `pattern`, whose group counts from 0; UserError for none or a gap."""
    found = {int(match[1]) for name in state if (match := re.fullmatch(pattern, name))}
    if not found or found != set(range(len(found))):
        raise UserError(f"names like {pattern!r} are missing: not a checkpoint of the released S-ResNet code")
    return len(found)


def _translated(
    state: Mapping[str, Mark], tensor: Callable[[Mark], Tensor], topology: Topology, steps: int, *, where: str
) -> dict[str, Tensor]:
    """Tensors under our names, the norms of all steps stacked; aliases are ignored."""
    tensors = {}

    def take(theirs: str) -> Tensor:
        if theirs not in state:
            raise UserError(f"{where} lacks {theirs!r}: not a complete checkpoint of the released S-ResNet code")
        found = tensor(state[theirs])
        if not bool(torch.isfinite(found).all()):
            raise UserError(f"{where}: {theirs} holds NaN or infinity: download it again")
        return found

    def take_norm(theirs: str, ours: str) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            if part != "bias" or "bntt1.0.bias" in state:
                rows = [take(f"{theirs}.{t}.{part}") for t in range(steps)]
                if len({(row.shape, row.dtype) for row in rows}) > 1:
                    raise UserError(f"{where}: {theirs}.*.{part} are not alike: download it again")
                tensors[f"{ours}.{part}"] = torch.stack(rows)

    own, skips = 0, 0
    for node in topology.of_kind("convolution"):
        if topology.neurons_behind(node.name) is None:  # 1x1, at the end of a skip
            skips += 1
            theirs, norm = f"conv_resize_{skips}", f"resize_bn_{skips}"
        else:
            theirs, norm = (f"conv_list.{own}", f"bntt_list.{own}") if own else ("conv1", "bntt1")
            own += 1
        tensors[f"layers.{node.module}.weight"] = take(f"{theirs}.weight")
        take_norm(norm, f"layers.{topology.norm_behind(node.name)}")
    tensors["readout.linear.weight"] = take("fc.weight")
    return tensors
