"""Checkpoints of the paper's released code (VicenteAlex/Spiking_ResNet) -> our networks.

They are `torch.save` dictionaries {global_step, state_dict, accuracy}. Depth, width, steps, beta and image or event
input are read off the names and shapes; classes, boosting and leak are not in the file.
"""

import _codecs
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sresnet.errors import UserError
from sresnet.models import build, model_config
from sresnet.models.network import SpikingNetwork
from sresnet.models.saved import load_tensors, tensors_of
from sresnet.nn.readout import VOTES_PER_CLASS

# `accuracy` is a numpy float64 scalar. Its pickle names these, under the module names of old and new numpy; none can do
# more than make a number.
SCALAR = np.float64(0).__reduce__()[0]
NUMPY_SCALAR: list[Any] = [
    (SCALAR, "numpy.core.multiarray.scalar"),
    (SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    type(np.dtype(np.float64)),
    (_codecs.encode, "_codecs.encode"),
]


def load_released(
    path: str | Path, num_classes: int = 10, boosting: bool = False, leak: float = 0.874
) -> SpikingNetwork:
    """The network in one of the authors' published checkpoints, on the CPU, in evaluation mode.

    Args:
        path: the file. It is read with torch's restricted unpickler: no code in it can run.
        num_classes, boosting: of the network that was trained.
        leak: likewise; the README of the released code trains with 0.8744.

    Raises:
        UserError: no such file, one that is truncated or no such checkpoint, or another number of classes.
    """
    state = read_state_dict(Path(path))
    stem = state.get("conv1.weight")
    readout = state.get("fc.weight")
    if stem is None or readout is None or stem.ndim != 4 or readout.ndim != 2:
        raise UserError(f"{path} has no conv1.weight and fc.weight: not a checkpoint of the released S-ResNet code")
    convolutions = indices(r"conv_list\.(\d+)\.weight", state)
    steps = indices(r"bntt1\.(\d+)\.weight", state)
    outputs = num_classes * (VOTES_PER_CLASS if boosting else 1)
    if readout.shape[0] != outputs:
        raise UserError(
            f"{path} has {readout.shape[0]} outputs, not the {outputs} of num_classes={num_classes}, "
            f"boosting={boosting}: give the values that it was trained with"
        )
    config = model_config(
        f"sresnet{convolutions + 1}",
        base_filters=stem.shape[0],
        in_channels=stem.shape[1],
        num_classes=num_classes,
        num_steps=steps,
        boosting=boosting,
        leak=leak,
        norm_bias="bntt1.0.bias" in state,
        stem="c3s2" if stem.shape[1] == 2 else "c3",
    )
    model = build(config)
    load_tensors(tensors_of(model), translated(state, convolutions, steps, where=str(path)), where=str(path))
    return model.eval()


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The state dict of a released checkpoint; errors as `load_released`."""
    if not path.is_file():
        raise UserError(f"{path} does not exist: give the checkpoint file that the authors publish")
    try:
        with torch.serialization.safe_globals(NUMPY_SCALAR), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about foreign pickles, which are refused anyway
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is not a whole checkpoint ({reason[:120]}): download it again") from None
    state = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} has no state_dict: not a checkpoint of the released S-ResNet code")
    return state


def indices(pattern: str, state: dict[str, Tensor]) -> int:
    """How many names match `pattern`, whose group is an index counting from 0 without gaps.

    Raises:
        UserError: none, or a gap.
    """
    found = {int(match[1]) for name in state if (match := re.fullmatch(pattern, name))}
    if not found or found != set(range(len(found))):
        raise UserError(f"names like {pattern!r} are missing: not a checkpoint of the released S-ResNet code")
    return len(found)


def translated(state: dict[str, Tensor], convolutions: int, steps: int, *, where: str) -> dict[str, Tensor]:
    """The released names -> ours, the norms of all steps stacked; aliases are left aside."""
    tensors = {}

    def take(theirs: str) -> Tensor:
        if theirs not in state:
            raise UserError(f"{where} lacks {theirs!r}: not a whole checkpoint of the released S-ResNet code")
        return state[theirs]

    def take_norm(theirs: str, ours: str) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            if part != "bias" or "bntt1.0.bias" in state:
                tensors[f"{ours}.{part}"] = torch.stack([take(f"{theirs}.{t}.{part}") for t in range(steps)])

    tensors["layers.stem.conv.weight"] = take("conv1.weight")
    take_norm("bntt1", "layers.stem.norm")
    blocks = (convolutions - 1) // 6
    for index in range(1, convolutions):
        stage, within = divmod(index - 1, 2 * blocks)
        block, layer = divmod(within, 2)
        ours = f"layers.stage{stage + 1}_block{block + 1}"
        tensors[f"{ours}.conv{layer + 1}.weight"] = take(f"conv_list.{index}.weight")
        take_norm(f"bntt_list.{index}", f"{ours}.norm{layer + 1}")
    for skip in (1, 2):
        ours = f"layers.stage{skip + 1}_block1.skip"
        tensors[f"{ours}.conv.weight"] = take(f"conv_resize_{skip}.weight")
        take_norm(f"resize_bn_{skip}", f"{ours}.norm")
    tensors["readout.linear.weight"] = take("fc.weight")
    return tensors
