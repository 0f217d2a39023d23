"""Named tensors in one safetensors file with a checksum."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from sresnet.errors import UserError
from sresnet.files import parse_json, read_regular

CHECKSUM = "sha256"
"""Metadata of a file: the SHA-256 of the file without this entry."""


def tensors_to_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file of tensors, texts and a checksum, equal for equal arguments; UserError for NaN or infinity."""
    if odd := not_finite(tensors):
        raise UserError(f"{odd!r} holds NaN or infinity, so nothing is saved: train with a lower learning rate")
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header, data = _parts_of(safetensors.torch.save(plain, metadata=dict(metadata)))
    return b"".join((_header_to_bytes(header, dict(metadata) | {CHECKSUM: _checksum(header, data)}), data))


def _parts_of(content: bytes) -> tuple[dict[str, Any], memoryview]:
    """Header and data of a safetensors file; ValueError where there is no header."""
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 + length:
        raise ValueError(f"{len(content):,} bytes are less than its header")
    try:
        header = parse_json(content[8 : 8 + length], "its header")
    except UserError as error:
        raise ValueError(str(error)) from None
    if not isinstance(header, dict) or not isinstance(header.get("__metadata__", {}), dict):
        raise ValueError("its header names no tensors")
    return header, memoryview(content)[8 + length :]


def _header_to_bytes(header: Mapping[str, Any], metadata: Mapping[str, str]) -> bytes:
    """A header with other metadata, sorted by name (safetensors has a random order)."""
    rest = {name: value for name, value in header.items() if name != "__metadata__"}
    whole = {"__metadata__": dict(sorted(metadata.items()))} | rest
    text = json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at multiples of eight bytes
    return len(text).to_bytes(8, "little") + text


def _checksum(header: Mapping[str, Any], data: memoryview) -> str:
    """SHA-256 of a safetensors file without its checksum, in hexadecimal digits."""
    metadata = {name: text for name, text in header.get("__metadata__", {}).items() if name != CHECKSUM}
    found = hashlib.sha256(_header_to_bytes(header, metadata))
    found.update(data)
    return found.hexdigest()


def read_tensors(path: Path, known: tuple[str, ...]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and texts of a safetensors file, checked against its checksum where it has one.

    Args:
        known: names of texts that it may have; others are damage.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: the file is not whole, or not as it was written, or a number in it is NaN or infinite.
        UserError: it cannot be read at all.
    """
    content = read_regular(path)
    header, data = _parts_of(content)
    metadata = header.get("__metadata__", {})
    try:
        tensors = safetensors.torch.load(content)
    except (safetensors.SafetensorError, KeyError, RuntimeError, AssertionError) as error:
        raise ValueError(" ".join(str(error).split())) from None
    if CHECKSUM in metadata and metadata[CHECKSUM] != _checksum(header, data):
        raise ValueError("it was changed after it was written, its checksum is another")
    for name in metadata:
        if name not in (*known, CHECKSUM, "format"):  # other programs that write such files add a format
            raise ValueError(f"its metadata hold {name!r}")
    if odd := not_finite(tensors):
        raise ValueError(f"{odd!r} holds NaN or infinity")
    return tensors, metadata


def not_finite(tensors: Mapping[str, Tensor]) -> str:
    """Name of the first tensor with a number that is NaN or infinite; "" where there is none."""
    if bool(finite_sums(tensors)[1].all()):
        return ""
    return next((name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())), "")


def finite_sums(tensors: Mapping[str, Tensor]) -> tuple[tuple[str, ...], Tensor]:
    """Names of the tensors of real numbers, and whether the sum of each is finite: bool [names], on their device.

    Sums are fast. One is not finite where a number is not, or where large ones overflow; `not_finite` tells which.
    Nothing is read from the device.
    """
    values = {name: tensor.detach() for name, tensor in tensors.items() if tensor.is_floating_point()}
    if not values:
        return (), torch.ones(0, dtype=torch.bool)
    device = next(iter(values.values())).device
    sums = [each.sum() for each in values.values()] if device.type == "cpu" else _absolute_sums([*values.values()])
    # Torch's Adam may count its steps on the CPU.
    return tuple(values), torch.stack([each.to(device, non_blocking=True) for each in sums]).isfinite()


def _absolute_sums(tensors: list[Tensor]) -> Sequence[Tensor]:
    """The sum of the absolute values of each: on a GPU a few launches for hundreds of tensors."""
    return torch._foreach_norm(tensors, 1)
