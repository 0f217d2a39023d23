"""A network in one file: safetensors weights whose metadata holds the configuration."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from sresnet.config import closest, from_dict, to_dict
from sresnet.errors import UserError
from sresnet.files import parse_json, read_regular, state_of, write_whole
from sresnet.limits import MEMORY_LIMIT
from sresnet.models import ModelConfig, blank
from sresnet.models.network import SpikingNetwork
from sresnet.models.size import check_network, sketch
from sresnet.models.tensors import not_finite, read_tensors, tensors_to_bytes
from sresnet.models.trained import ABOUT, Trained, checked_about, read_about, trained_from_plain
from sresnet.nn import OwnNeuron, OwnNorm

WEIGHTS = "weights.safetensors"
"""Name of the file in a run folder."""
BEST_WEIGHTS = "weights-best-test-epoch.safetensors"
"""Likewise of the best epoch on the test images, where the protocol evaluates them after every epoch."""


TORCH = (b"PK\x03\x04", b"\x80\x02\x8a\n")
"""First bytes of files of `torch.save`, since and before torch 1.6."""


def tensors_of(model: torch.nn.Module) -> dict[str, Tensor]:
    """Name -> parameter or buffer, a shared one under its first name only."""
    return dict(model.named_parameters()) | dict(model.named_buffers())


def save_model(model: SpikingNetwork, path: str | Path) -> None:
    """Write weights and configuration to `path`, complete or not at all.

    Raises:
        UserError: the file cannot be written, or a weight is not the network's own but made anew at every call, by
            pruning or a parametrisation, or a part was replaced by one with other tensors: `load` would not know it.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d) and "weight" not in dict(
            module.named_parameters()
        ):
            raise UserError(
                f"the weight of {name} is made by pruning or a parametrisation, which no file holds: make it permanent "
                "with torch.nn.utils.prune.remove, parametrize.remove_parametrizations or the like, and save then"
            )
    # Parameters of the user's own neurons and norms are made by code that we do not run to save them.
    if not any(isinstance(module, OwnNeuron | OwnNorm) for module in model.modules()):
        try:
            _check_fit(tensors_of(sketch(model.config)), tensors_of(model), where="the network")
        except UserError as error:
            raise UserError(
                f"{error}; a part of it was replaced, and no file could be loaded: keep model.state_dict() by "
                "torch.save, or put the part back"
            ) from None
    write_whole(Path(path), model_bytes(model))


def model_bytes(model: SpikingNetwork) -> bytes:
    """What `save_model` writes, each tensor in its own precision; `load` gives all of them in float32."""
    about = {} if model.trained is None else {"trained": json.dumps(model.trained.plain())}
    return tensors_to_bytes(tensors_of(model), {"model": json.dumps(to_dict(model.config))} | about)


def load(path: str | Path, *, memory_limit: float = MEMORY_LIMIT) -> SpikingNetwork:
    """The network saved in a run folder or weights file, on the CPU, in float32, in evaluation mode.

    Raises:
        UserError: nothing there, a file that is truncated or no safetensors, one without a configuration, or weights
            that do not fit the configuration.
    """
    path = Path(path)
    about = (path.parent if path.name in (WEIGHTS, BEST_WEIGHTS) else path) / ABOUT
    if path.is_dir():
        about = path / ABOUT
        if not (path / WEIGHTS).exists():
            raise UserError(f"{path} holds no {WEIGHTS}: give a run folder whose training has saved, or a weights file")
        path = path / WEIGHTS
    if not path.exists():
        raise UserError(f"{path} {state_of(path)}: give a run folder or a weights file")
    try:
        tensors, metadata = read_tensors(path, ("model", "trained"))
    except UserError:
        raise
    except ValueError as error:
        if read_regular(path).startswith(TORCH):
            raise UserError(
                f"{path} is a file of torch.save, not weights of sresnet: the authors' checkpoints need "
                "sresnet.load_released, or sresnet import"
            ) from None
        raise UserError(
            f"{path} is not a complete safetensors file ({error}): use an intact copy; the weights of a run are made "
            "again from its checkpoint by the same sresnet train, once they and result.json beside them are deleted"
        ) from None
    if "model" not in metadata:
        raise UserError(f"{path} does not describe its network: only files that sresnet saved can be loaded")
    config = from_dict(ModelConfig, parse_json(metadata["model"], f"configuration in {path}"), "model")
    # Before it is built: a short configuration can describe a billion numbers.
    _check_fit(
        tensors_of(check_network(config, str(path), path.stat().st_size, memory_limit)), tensors, where=str(path)
    )
    model = blank(config)
    load_tensors(tensors_of(model), tensors, where=str(path))
    if odd := not_finite(tensors_of(model)):  # the file's are finite, in float64
        raise UserError(f"{path}: {odd} holds numbers that are too large for float32: train it again in float32")
    model.trained = _trained(model, about, metadata.get("trained"), str(path))
    return model.eval()


def _trained(model: SpikingNetwork, about: Path, said: str | None, where: str) -> Trained | None:
    """What a network was trained on, by its file, or `about` beside it in a run folder, where that is whole."""
    try:
        values = read_about(about) if said is None else checked_about(parse_json(said, where), where)
    except UserError:
        if said is not None:
            raise
        return None  # verbs that need it say so
    found = trained_from_plain(values)
    return found if len(found.class_names) in (0, model.config.num_classes) else None


def load_tensors(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Copy `tensors` into those of a network, `own`; UserError for other names, shapes or kinds of numbers."""
    _check_fit(own, tensors, where=where)
    with torch.no_grad():
        for name, target in own.items():
            target.copy_(tensors[name])


def _check_fit(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Refuse `tensors` that are not those of a network, `own`; errors as `load_tensors`."""
    for name in tensors:
        if name not in own:
            raise UserError(f"{where} holds {name!r}, unknown to this network: {closest(name, list(own))}")
    for name, target in own.items():
        if name not in tensors:
            raise UserError(f"{where} lacks {name!r}: it was saved from another network")
        if tensors[name].shape != target.shape:
            raise UserError(
                f"{where}: {name} has shape {tuple(tensors[name].shape)}, this network needs {tuple(target.shape)}"
            )
        if tensors[name].is_floating_point() != target.is_floating_point():
            raise UserError(f"{where}: {name} is {tensors[name].dtype}, this network needs {target.dtype}")
