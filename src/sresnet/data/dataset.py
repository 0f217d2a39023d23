"""Any data set of labelled clips or pictures that Python can index, as those of tonic, SpikingJelly and torchvision.

Everything is read once and kept in memory, in one byte for each number where that holds them all, so that a training
is of the same samples each time it resumes, and a digest says which they were.
"""

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sresnet.data.events.clips import ClipSet
from sresnet.data.folder import from_dataset as pictures_of
from sresnet.data.samples import Splits
from sresnet.errors import UserError

_MOST_CHANNELS = 16
"""Of a frame; more is likelier a clip whose axes are in another order."""
_MOST_CLASSES = 1_000_000
"""Labels from here on are numbers of something else."""


def from_dataset(
    train: Any,
    test: Any,
    *,
    validation: Any = None,
    class_names: Sequence[str] | None = None,
    num_steps: int = 0,
) -> Splits:
    """Data sets of (sample, label) pairs for training.

    A sample is a clip, an array or tensor [T, C, H, W] of whole numbers or floats, which a network sees as they are; or
    a picture as `folder.from_dataset` takes it. Random changes that a data set makes are drawn once.

    Args:
        train, test, validation: each has a length and gives a pair for each index; no validation part where it is None.
        class_names: name of class 0, 1, ...; None: the `classes` of the training set if it has some, else numbers.
        num_steps: T of clips that are not all equally long: of longer ones the first T frames, behind shorter ones
            frames without events; 0: all have to be of one length.

    Raises:
        UserError: an empty data set or one without a length, an entry that is no such pair, clips of other shapes or
            types, NaN, or a label that is no whole number or has no class name.
    """
    if num_steps < 0 or isinstance(num_steps, bool) or not isinstance(num_steps, int):
        raise UserError(f"num_steps {num_steps!r} is no number of frames: give T, or 0 where all clips have as many")
    given = {"training": train, "validation": validation, "test": test}
    given = {name: dataset for name, dataset in given.items() if name != "validation" or dataset is not None}
    for name, dataset in given.items():
        _check_length(dataset, name)
    if class_names is None:
        class_names = _class_names(train)
    if _is_picture(train[0]):
        if num_steps:
            raise UserError(f"num_steps {num_steps} is of clips, and these are pictures: leave it out")
        parts = {name: pictures_of(dataset, class_names) for name, dataset in given.items()}
        return Splits(train=parts["training"], validation=parts.get("validation"), test=parts["test"])
    clips = {name: _clips(dataset, name, num_steps) for name, dataset in given.items()}
    shape = clips["training"].clips.shape[1:]
    for name, found in clips.items():
        if found.clips.shape[1:] != shape:
            raise UserError(
                f"{name} clips have shape {_listed(found.clips.shape[1:])}, and training clips {_listed(shape)}: make "
                f"them alike{'; num_steps cuts them' if found.clips.shape[2:] == shape[1:] else ''}"
            )
    most = max(int(found.labels.max()) for found in clips.values())
    names = tuple(class_names) if class_names is not None else tuple(str(label) for label in range(most + 1))
    if most >= len(names):
        raise UserError(f"label {most} has no class name, there are {len(names)}: give class_names, one for each class")
    sets = {name: ClipSet(clips=each.clips, labels=each.labels, class_names=names) for name, each in clips.items()}
    notes = tuple(note for name, each in clips.items() for note in each.notes(name, num_steps))
    about = {"name": "given", "simulated": False}
    held_out = sets.get("validation")
    return Splits(train=sets["training"], validation=held_out, test=sets["test"], about=about, notes=notes)


class _Clips(NamedTuple):
    """What a data set has given."""

    clips: Tensor
    labels: Tensor
    cut: int
    """Clips that were longer than T."""
    filled: int
    """Clips that were shorter."""

    def notes(self, name: str, num_steps: int) -> list[str]:
        """What was done to clips of other lengths."""
        said = []
        if self.cut:
            said.append(f"{self.cut:,} {name} clips were longer: their first {num_steps} frames are used")
        if self.filled:
            said.append(f"{self.filled:,} {name} clips were shorter: frames without events stand behind them")
        return said


def _check_length(dataset: Any, name: str) -> None:
    """Raise UserError for what cannot be indexed up to a length, or has nothing in it."""
    try:
        count = len(dataset)
    except TypeError:
        raise UserError(
            f"the {name} set is of type {type(dataset).__name__}, which has no length: give one that can be indexed, "
            "or list(...) of it"
        ) from None
    if not hasattr(dataset, "__getitem__"):
        raise UserError(
            f"the {name} set is of type {type(dataset).__name__}, which cannot be indexed: give the data set itself, "
            "not a loader of batches"
        )
    if not count:
        raise UserError(f"the {name} set is empty: give one with at least one (clip, label) pair")


def _class_names(dataset: Any) -> Sequence[str] | None:
    """The names that a data set has for its classes, also as a subset of another; None: it has none."""
    while dataset is not None:
        names = getattr(dataset, "classes", None)
        if isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names):
            return tuple(names)
        dataset = getattr(dataset, "dataset", None)
    return None


def _is_picture(entry: Any) -> bool:
    """Whether the first entry of a data set is of pictures: what else is wrong with it is said later."""
    sample = entry[0] if isinstance(entry, tuple | list) and entry else None
    if hasattr(sample, "getbands"):
        return True
    return isinstance(sample, np.ndarray | Tensor) and sample.ndim in (2, 3) and not _is_events(sample)


def _is_events(sample: Any) -> bool:
    """Whether a sample is an array of events, with named fields."""
    return isinstance(sample, np.ndarray) and sample.dtype.names is not None


def _clips(dataset: Any, name: str, num_steps: int) -> _Clips:
    """All clips of a data set; errors as `from_dataset`."""
    count = len(dataset)
    clips: Tensor | None = None
    labels = torch.empty(count, dtype=torch.int64, device="cpu")
    cut = filled = 0
    for index in range(count):
        where = f"entry {index} of the {name} set"
        clip, labels[index] = _pair(dataset[index], where)
        if num_steps:
            cut += len(clip) > num_steps
            filled += len(clip) < num_steps
            missing = clip.new_zeros(max(0, num_steps - len(clip)), *clip.shape[1:])
            clip = torch.cat([clip[:num_steps], missing])
        if clips is None:
            clips = torch.empty(count, *clip.shape, dtype=clip.dtype, device="cpu")
        if clip.shape != clips.shape[1:]:
            shapes = f"{_listed(clip.shape)}, and the first one {_listed(clips.shape[1:])}"
            cure = (
                "num_steps=T takes the first T frames of each"
                if clip.shape[1:] == clips.shape[2:]
                else "make all alike"
            )
            raise UserError(f"{where} has shape {shapes}: {cure}")
        if (wider := torch.promote_types(clips.dtype, clip.dtype)) != clips.dtype:
            clips = clips.to(wider)
        clips[index] = clip
    assert clips is not None
    return _Clips(clips, labels, cut, filled)


def _pair(entry: Any, where: str) -> tuple[Tensor, int]:
    """A clip and its class; errors as `from_dataset`."""
    if not isinstance(entry, tuple | list) or len(entry) != 2:
        raise UserError(f"{where} is {_said(entry)}, not a (clip, label) pair: make it one")
    clip, label = entry
    try:
        single: Any = np.asarray(label).item()  # of arrays and tensors too
        number = operator.index(single)
    except (TypeError, ValueError, RuntimeError):
        raise UserError(
            f"the label of {where} is {_said(label)}, not a whole number: give the number of its class"
        ) from None
    if not 0 <= number < _MOST_CLASSES:
        raise UserError(f"the label of {where} is {number}: classes count from 0, one after the other")
    return _numbers(clip, where), number


def _numbers(clip: Any, where: str) -> Tensor:
    """A clip as uint8 where that holds it, else int32, of floats float32 [T, C, H, W]; errors as `from_dataset`."""
    if _is_events(clip):
        raise UserError(
            f"{where} is an array of events, not of frames: give the data set a transform that makes frames, such as "
            "tonic.transforms.ToFrame"
        )
    if isinstance(clip, Tensor):
        if clip.is_meta or clip.is_quantized or clip.layout != torch.strided:
            raise UserError(f"{where} is a tensor without plain numbers (meta, sparse, ...): give a dense one")
        clip = clip.detach().cpu()
        clip = clip.float().numpy() if clip.dtype == torch.bfloat16 else clip.numpy()
    if not isinstance(clip, np.ndarray) or clip.dtype.kind not in "buif":
        raise UserError(f"{where} is {_said(clip)}: give an array or tensor of numbers [T, C, H, W]")
    if clip.ndim != 4 or not clip.size:
        raise UserError(f"{where} has shape {_listed(clip.shape)}: expected [T, C, H, W], time steps first")
    if clip.shape[1] > _MOST_CHANNELS:
        order = "[T, H, W, C], so move the last axis" if clip.shape[3] <= _MOST_CHANNELS else "in another order"
        raise UserError(
            f"{where} has shape {_listed(clip.shape)}, {clip.shape[1]} channels: expected [T, C, H, W], and this looks "
            f"{order}"
        )
    if clip.dtype.kind == "f" and not np.isfinite(clip).all():
        raise UserError(f"{where} holds NaN or infinity: leave it out, or mend it")
    low, high = clip.min(), clip.max()
    if low >= 0 and high <= 255 and (clip.dtype.kind != "f" or (clip == np.floor(clip)).all()):
        kind: Any = np.uint8
    elif clip.dtype.kind == "f":
        kind = np.float32
        if max(abs(float(low)), abs(float(high))) > float(np.finfo(kind).max):
            raise UserError(f"{where} holds numbers beyond float32: divide them by a constant")
    elif np.iinfo(np.int32).min <= low and high <= np.iinfo(np.int32).max:
        kind = np.int32
    else:
        raise UserError(f"{where} holds numbers beyond 32 bits: divide them by a constant")
    return torch.from_numpy(np.array(clip, dtype=kind, order="C"))  # a copy: torch warns where it may not write


def _said(value: Any) -> str:
    """A value that is something else than expected."""
    if isinstance(value, np.ndarray | Tensor):
        return f"of {value.dtype} {tuple(value.shape)}"
    return f"of type {type(value).__name__}"


def _listed(shape: Sequence[int]) -> str:
    """A shape, as in [10, 2, 34, 34]."""
    return str(list(shape))
