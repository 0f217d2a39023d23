"""Make the small golden files of this folder from the full ones: python tests/golden/reduce.py FULL_FOLDER.

The full files hold what the paper's released code computes for small networks with random weights; these keep inputs,
weights, logits, spike counts and a few gradients, so that a clone proves the same in little space.
"""

import json
import lzma
import re
import sys
from pathlib import Path

import numpy as np
import safetensors.numpy

KEEP_GRADIENTS = ("conv1.weight", "conv_list.2.weight", "bntt_list.3.1.weight", "conv_resize_1.weight", "fc.weight")
ALIASES = ("bntt_list.0.", "conv1x1_list.", "bn_conv1x1_list.")
BOOSTED_CLASSES = 20
"""Of the 100: each class depends on its own ten neurons alone, the loss and its gradients on all."""


def reduce(name: str, full: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    boosted = name == "boosted"
    small = {"meta": full["meta"], "input": full["input"], "labels": full["labels"]}
    for key, value in full.items():
        part, _, rest = key.partition("/")
        if part == "state" and not rest.startswith(ALIASES) and not rest.endswith("num_batches_tracked"):
            small[key] = value[: 10 * BOOSTED_CLASSES] if boosted and rest == "fc.weight" else value
        elif part in ("train", "eval"):
            kind, _, parameter = rest.partition("/")
            if rest == "logits":
                small[key] = value[:, :BOOSTED_CLASSES] if boosted else value
            elif (
                rest in ("spikes", "margin")
                or (kind == "grad" and parameter in KEEP_GRADIENTS and not boosted)
                or (kind == "state_after" and parameter.startswith("bntt_list.2.1.running"))
            ):
                small[key] = value
    if boosted:
        small["meta"] = np.array(json.dumps(json.loads(str(full["meta"])) | {"classes": BOOSTED_CLASSES}))
    return small


def pack(numbers: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same in fewer bytes: norms of all steps in one array, as hundreds of small ones cost more than they hold, and
    float32 as four planes of bytes, of which the one with the exponents compresses."""
    steps: dict[str, list[np.ndarray]] = {}
    for key, value in numbers.items():
        steps.setdefault(re.sub(r"^(state/(?:bntt1|bntt_list\.\d+|resize_bn_\d))\.\d+\.", r"\1.T.", key), []).append(
            value
        )
    stacked = {key: np.stack(values) if ".T." in key else values[0] for key, values in steps.items()}
    return {
        key: np.moveaxis(np.ascontiguousarray(value)[..., None].view(np.uint8), -1, 0)
        if value.dtype == np.float32
        else value
        for key, value in stacked.items()
    }


def write(path: Path, numbers: dict[str, np.ndarray]) -> None:
    """One compressed file; `meta`, a text, goes into its header."""
    packed = {key: np.ascontiguousarray(value) for key, value in pack(numbers).items() if key != "meta"}
    content = safetensors.numpy.save(packed, metadata={"meta": str(numbers["meta"])})
    path.write_bytes(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))
    print(path.name, path.stat().st_size)


def read(path: Path) -> dict[str, np.ndarray]:
    """A small file, or a full one."""
    if path.suffix == ".npz":
        with np.load(path) as full:
            return dict(full)
    content = lzma.decompress(path.read_bytes())
    length = int.from_bytes(content[:8], "little")
    meta = json.loads(content[8 : 8 + length])["__metadata__"]["meta"]
    return unpack(safetensors.numpy.load(content)) | {"meta": np.array(meta)}


def unpack(packed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inverse of `pack`."""
    numbers: dict[str, np.ndarray] = {}
    for key, value in packed.items():
        if value.dtype == np.uint8:
            value = np.ascontiguousarray(np.moveaxis(value, 0, -1)).view(np.float32)[..., 0]
        if ".T." in key:
            numbers |= {key.replace(".T.", f".{t}."): step for t, step in enumerate(value)}
        else:
            numbers[key] = value
    return numbers


if __name__ == "__main__":
    here = Path(__file__).parent
    for path in sorted(Path(sys.argv[1]).glob("*.npz")):
        with np.load(path) as full:
            write(here / f"{path.stem}.safetensors.xz", reduce(path.stem, dict(full)))
