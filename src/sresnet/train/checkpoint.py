"""All that a run needs to resume, in one file that is complete or absent."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from sresnet.config import from_dict
from sresnet.errors import UserError
from sresnet.files import parse_json, write_whole
from sresnet.models.saved import load_tensors, tensors_of
from sresnet.models.tensors import read_tensors, tensors_to_bytes
from sresnet.train.record import CHECKPOINT


@dataclass(kw_only=True)
class Position:
    """Where a run stands. Randomness is a function of seed and step, so no generator is part of it."""

    step: int = 0
    """Training steps done, over all epochs."""
    loss_sum: float = 0.0
    """Of the images of this epoch so far."""
    hits: int = 0
    """Images of this epoch so far that were classified correctly."""
    images: int = 0
    """Images of this epoch so far."""
    metrics_bytes: int = 0
    """Length of metrics.jsonl when this was saved; what a killed run wrote later is cut off and written again."""
    metrics_checksum: str = ""
    """Of these bytes, SHA-256; "" in older checkpoints."""
    best_test: dict[str, float] = field(default_factory=dict)
    """Best test epoch so far, where the protocol asks for it."""


STATE = {"momentum_buffer": "momentum", "exp_avg": "adam-mean", "exp_avg_sq": "adam-square", "step": "adam-steps"}
"""What torch's optimisers keep of a parameter -> its name in a checkpoint."""
_SCALE = "loss-scale"
"""The part of `LossScale` in a checkpoint."""
_NONE: dict[str, Tensor] = {}
"""Of a training without one."""


def tensors_of_run(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: Mapping[str, Tensor],
    scale: Mapping[str, Tensor] = _NONE,
) -> dict[str, Tensor]:
    """All numbers that training resumes with.

    Their names are model/NAME, average/NAME, momentum/INDEX, the others of `STATE`, and in float16 loss-scale/NAME.
    """
    tensors = {f"model/{name}": tensor for name, tensor in tensors_of(model).items()}
    tensors |= {f"average/{name}": tensor for name, tensor in average.items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"{STATE[key]}/{index}": tensor for key, tensor in state.items() if tensor is not None}
    return tensors | {f"{_SCALE}/{name}": tensor for name, tensor in scale.items()}


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: Mapping[str, Tensor],
    position: Position,
    scale: Mapping[str, Tensor] = _NONE,
) -> None:
    """Replace the checkpoint of a run folder; UserError where that fails, and the one before is kept."""
    tensors = tensors_of_run(model, optimiser, average, scale)
    write_whole(folder / CHECKPOINT, tensors_to_bytes(tensors, {"position": json.dumps(asdict(position))}))


def load_checkpoint(
    folder: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: dict[str, Tensor],
    scale: dict[str, Tensor] = _NONE,
) -> Position | None:
    """Restore model, optimiser, average and loss scale from a checkpoint, if there is one.

    Raises:
        UserError: it does not fit.
    """
    path = folder / CHECKPOINT
    try:
        tensors, metadata = read_tensors(path, ("position",))
        position = from_dict(Position, parse_json(metadata["position"], "its position"), "position")
        _check_position(position)
        restore(tensors, model, optimiser, average, scale)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError) as error:  # UserError is a ValueError
        raise UserError(f"{path} is damaged ({error}): delete it to train from the start") from None
    return position


def restore(
    tensors: Mapping[str, Tensor],
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: dict[str, Tensor],
    scale: dict[str, Tensor] = _NONE,
) -> None:
    """Put the numbers of `tensors_of_run` back; ValueError or KeyError where they do not fit."""
    kept = ("exp_avg", "exp_avg_sq", "step") if isinstance(optimiser, torch.optim.Adam) else ("momentum_buffer",)
    names = ("model", "average", _SCALE, *(STATE[key] for key in kept))
    parts: dict[str, dict[str, Tensor]] = {name: {} for name in names}
    for name, tensor in tensors.items():
        part, _, rest = name.partition("/")
        parts[part][rest] = tensor
    load_tensors(tensors_of(model), parts["model"], where="model")
    load_tensors(average, parts["average"], where="weight average")
    load_tensors(scale, parts[_SCALE], where="loss scale")
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    found: dict[int, dict[str, Tensor]] = {}
    for key in kept:
        # Parameters that no gradient reached have no momentum. It lies as they do: fused kernels rely on that.
        buffers = {
            str(index): torch.empty((), device=parameter.device) if key == "step" else torch.empty_like(parameter)
            for index, parameter in enumerate(parameters)
            if str(index) in parts[STATE[kept[0]]]
        }
        load_tensors(buffers, parts[STATE[key]], where=STATE[key].replace("-", " "))
        for index, buffer in buffers.items():
            found.setdefault(int(index), {})[key] = buffer.cpu() if key == "step" else buffer
    state = optimiser.state_dict()
    state["state"] = found
    optimiser.load_state_dict(state)


def _check_position(position: Position) -> None:
    """Raise UserError for an impossible position."""
    best = position.best_test
    numbers = (position.step, position.hits, position.images, position.metrics_bytes, *best.values())
    if min(numbers) < 0 or position.hits > position.images or not set(best) <= {"top1", "epoch"} or len(best) == 1:
        raise UserError("no run has its position")
