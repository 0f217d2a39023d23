"""Which data a run was trained on, so that resuming or evaluating it with other data is noticed."""

import hashlib
from collections.abc import Mapping
from typing import Any, TypedDict

from sresnet.config import check_value
from sresnet.data.samples import Samples, Splits, listed
from sresnet.errors import UserError


class PartFingerprint(TypedDict):
    """One part of the data."""

    samples: int
    shape: list[int]
    by_class: list[int]
    contents: str
    """Digest of samples and labels."""


class Fingerprint(TypedDict):
    """The data of a run, as `data.json` holds them under "fingerprint"."""

    class_names: list[str]
    train: PartFingerprint
    validation: PartFingerprint | None
    test: PartFingerprint


def fingerprint(splits: Splits) -> Fingerprint:
    """The data in a few numbers; reads all images once, about a gigabyte a second, but no clips."""
    return {
        "class_names": list(splits.train.class_names),
        "train": _part_fingerprint(splits.train),
        "validation": None if splits.validation is None else _part_fingerprint(splits.validation),
        "test": _part_fingerprint(splits.test),
    }


def _part_fingerprint(samples: Samples) -> PartFingerprint:
    """One part in a few numbers."""
    labels = samples.labels.cpu()
    return {
        "samples": len(samples),
        "shape": list(samples.shape),
        "by_class": labels.bincount(minlength=len(samples.class_names)).tolist(),
        "contents": hashlib.blake2b(
            samples.digest().encode() + labels.contiguous().numpy().tobytes(), digest_size=16
        ).hexdigest(),
    }


def difference(about: Mapping[str, Any], now: Fingerprint) -> str:
    """How the data of a run, by its `data.json`, differ from others, in words; "" where they are the same.

    Before there were fingerprints, `data.json` held class names only. UserError for a damaged fingerprint.
    """
    before = about.get("fingerprint")
    if before is not None:
        try:
            check_value("fingerprint", before, Fingerprint)
        except UserError:
            raise UserError("its fingerprint of the data is damaged") from None
    names = (before or about).get("class_names")
    if isinstance(names, list) and names != now["class_names"]:
        return f"classes {listed([str(name) for name in names])}, now {listed(now['class_names'])}"
    if before is None:
        return ""
    for part, old, new in (
        ("train", before["train"], now["train"]),
        ("validation", before["validation"], now["validation"]),
        ("test", before["test"], now["test"]),
    ):
        if old == new:
            continue
        counts = [each["samples"] if each else 0 for each in (old, new)]
        if counts[0] != counts[1]:
            return f"{counts[0]:,} {part} samples, now {counts[1]:,}"
        sizes = ["x".join(map(str, each["shape"])) for each in (old, new) if each]
        if len(set(sizes)) > 1:
            return f"{part} samples of {sizes[0]}, now {sizes[1]}"
        return f"{counts[0]:,} {part} samples, now as many others"
    return ""
