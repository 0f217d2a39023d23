"""Opens the data that a configuration names: images in memory or on disk, or clips of event frames on disk."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sresnet.data.cached import Note, Watch
from sresnet.data.cifar import load_cifar
from sresnet.data.config import AnyData, DataConfig
from sresnet.data.digits import load_digits
from sresnet.data.download import fetch_cifar
from sresnet.data.events.cache import prepare
from sresnet.data.events.recording_list import is_recording_list, read_recording_list
from sresnet.data.events.sets import EventConfig
from sresnet.data.events.splits import check_split, event_splits
from sresnet.data.folder import open_folder
from sresnet.data.picture_list import is_list, read_list
from sresnet.data.samples import Splits
from sresnet.data.split import hold_out, some_of_each_class
from sresnet.data.tree import parts_of
from sresnet.errors import UserError
from sresnet.limits import MEMORY_LIMIT


def open_data(
    config: AnyData,
    data_dir: str,
    *,
    seed: int,
    num_steps: int = 0,
    download: bool = False,
    bits: int = 0,
    cache_dir: str = "",
    watch: Watch = lambda done, total, name: None,
    note: Note = lambda line: None,
    memory_limit: float = MEMORY_LIMIT,
) -> Splits:
    """The images or clips that `config` names.

    Args:
        data_dir: folder that holds it, or a list of pictures or recordings; "digits" and "digits-dvs" need none.
        num_steps: frames of a clip, for event recordings.
        download: fetch CIFAR from its publisher if it is not in `data_dir`.
        bits: of pictures, as in `open_folder`.
        cache_dir: where frames and decoded pictures are kept; "": in the user's cache folder, pictures only if they are
            many.
        watch: told how far their making is, where they are not in the cache yet.
        note: told how much is going to be written there.

    Raises:
        UserError: no data_dir, or whatever the reader of the data set finds wrong.
    """
    if isinstance(config, EventConfig):
        if download and config.name == "cifar10-dvs-sim":
            fetch_cifar("cifar10", data_dir)
        prepared = prepare(
            config,
            data_dir,
            num_steps,
            cache_dir=cache_dir,
            watch=watch,
            note=note,
            check=check_split,
            memory_limit=memory_limit,
        )
        return event_splits(config, prepared, seed)
    kept: Any = {"bits": bits, "cache_dir": cache_dir, "watch": watch, "note": note, "memory_limit": memory_limit}
    splits = _read(config, data_dir, download, kept)
    if config.train_images:
        splits = replace(
            splits, train=splits.train.subset(some_of_each_class(splits.train.labels, config.train_images))
        )
    if not config.validation:
        return splits
    train = splits.train
    rest, held_out, more = hold_out(train.labels, train.class_names, config.validation, seed)
    about = splits.about
    if "parts" in about:
        parts = about["parts"]
        about = about | {"parts": parts | {"validation": f"a share of {config.validation:g} of {parts['train']}"}}
    validation, notes = train.subset(held_out), (*splits.notes, *more)
    return replace(splits, train=train.subset(rest), validation=validation, about=about, notes=notes)


def has_validation(config: AnyData, data_dir: str) -> bool:
    """Whether a folder of the user's has a held-out part of its own, which `open_data` takes."""
    if config.name == "folder" and data_dir and is_list(Path(data_dir)):
        parts = {entry.part for entry in read_list(Path(data_dir), config.label_column).entries}
        return {"validation", "test"} <= parts
    if config.name == "event-folder" and data_dir and is_recording_list(Path(data_dir)):
        assert isinstance(config, EventConfig)
        parts = {row.part for row in read_recording_list(Path(data_dir)).rows}
        return config.split != "by-group" and {"validation", "test"} <= parts
    own = config.name == "folder" or (
        isinstance(config, EventConfig) and config.name == "event-folder" and config.split != "by-group"
    )
    return own and Path(data_dir).is_dir() and {"train", "validation"} <= parts_of(Path(data_dir))[0].keys()


def _read(config: DataConfig, data_dir: str, download: bool, kept: Mapping[str, Any]) -> Splits:
    """The parts as published, pictures of a folder `kept` as `open_folder` does; errors as `open_data`."""
    if config.name == "digits":
        train, test = load_digits()
        return Splits(train=train, validation=None, test=test)
    if not data_dir:
        raise UserError(f"{config.name} is read from your own folder: add --data-dir DIR, the folder that holds it")
    if config.name == "folder":
        return open_folder(
            data_dir, config.image_size, label=config.label_column, held_out=not config.validation, **kept
        )
    if download:
        fetch_cifar(config.name, data_dir)
    train, test = load_cifar(config.name, data_dir)
    return Splits(train=train, validation=None, test=test)
