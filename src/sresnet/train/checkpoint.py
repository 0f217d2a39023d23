"""Everything that a run needs to go on, in one file that is there whole or not at all."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from sresnet.config import from_dict
from sresnet.errors import UserError
from sresnet.files import write_whole
from sresnet.models.saved import load_tensors, tensors_of

CHECKPOINT = "checkpoint.safetensors"


@dataclass(kw_only=True)
class Position:
    """Where a run stands. Randomness is a function of seed and step, so no generator is part of it."""

    step: int = 0
    """Training steps done, over all epochs."""
    loss_sum: float = 0.0
    """Of the images of this epoch so far."""
    hits: int = 0
    """Of the images of this epoch so far, how many were classified rightly."""
    images: int = 0
    """Images of this epoch so far."""
    metrics_bytes: int = 0
    """Length of metrics.jsonl when this was saved; what a killed run wrote after it is cut off and written again."""
    best_test: dict[str, float] = field(default_factory=dict)
    """Best test epoch so far, where the protocol asks for it."""


def save_checkpoint(
    folder: Path, model: nn.Module, optimiser: torch.optim.SGD, average: dict[str, Tensor], position: Position
) -> None:
    """Replace the checkpoint of a run folder.

    Raises:
        UserError: the file cannot be written; the one before it is kept.
    """
    tensors = {f"model/{name}": tensor for name, tensor in tensors_of(model).items()}
    tensors |= {f"average/{name}": tensor for name, tensor in average.items()}
    for index, state in optimiser.state_dict()["state"].items():
        if state["momentum_buffer"] is not None:
            tensors[f"momentum/{index}"] = state["momentum_buffer"]
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = safetensors.torch.save(tensors, metadata={"position": json.dumps(asdict(position))})
    write_whole(folder / CHECKPOINT, content)


def load_checkpoint(
    folder: Path, model: nn.Module, optimiser: torch.optim.SGD, average: dict[str, Tensor]
) -> Position | None:
    """Put model, optimiser and average where the checkpoint of a run folder left them; None where there is none.

    Raises:
        UserError: the file is damaged, or of another network.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "momentum": {}}
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - not a dictionary
                part, _, rest = name.partition("/")
                parts[part][rest] = file.get_tensor(name)
            position = from_dict(Position, json.loads((file.metadata() or {})["position"]))
    except (safetensors.SafetensorError, KeyError, json.JSONDecodeError, UserError) as error:
        raise UserError(f"{path} is damaged ({error}): delete it to train from the start") from None
    load_tensors(model, parts["model"], where=str(path))
    for name, tensor in parts["average"].items():
        average[name].copy_(tensor)
    state = optimiser.state_dict()
    state["state"] = {int(index): {"momentum_buffer": tensor} for index, tensor in parts["momentum"].items()}
    optimiser.load_state_dict(state)
    return position
