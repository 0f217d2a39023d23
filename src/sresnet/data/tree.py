"""The files of a user's folder, and notes on those that are not used."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sresnet.data.samples import listed
from sresnet.errors import UserError
from sresnet.files import kind_of

PARTS: dict[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "validation": ("val", "valid", "validation"),
}
"""What the folder of each part may be called, in any case; the first that is there is taken."""


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder and not hidden, by name; UserError where it cannot be read."""
    try:
        with os.scandir(folder) as found:
            return sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror}): give a folder that may be read") from None


def folders_in(folder: Path) -> list[Path]:
    """Folders in a folder, and links to folders, that are not hidden, by name; errors as `_entries`."""
    return sorted(Path(entry.path) for entry in _entries(folder) if os.path.isdir(entry))


def files_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """Likewise (files, dead ends): what is neither file nor folder, such as a link that leads nowhere, or a pipe."""
    found = [Path(entry.path) for entry in _entries(folder) if not os.path.isdir(entry)]
    files = [path for path in found if os.path.isfile(path)]
    return sorted(files), sorted(set(found) - set(files))


def files_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """Likewise of all folders below, however deep, through links too.

    A folder with several paths is entered once, by a path without links if there is one, and a link to a folder above
    it is not followed. So circles end. Links that are not followed are among the dead ends.
    """
    resolved = folder.resolve()
    seen = {_identity(parent) for parent in resolved.parents}
    files, dead = list[Path](), list[Path]()
    waiting, links = [folder], list[Path]()
    while waiting or links:
        place = waiting.pop() if waiting else links.pop(0)
        if _identity(place) in seen:
            dead.append(place)
            continue
        seen.add(_identity(place))
        here, nowhere = files_in(place)
        files += here
        dead += nowhere
        for inside in folders_in(place):
            (links if inside.is_symlink() else waiting).append(inside)
    return sorted(files), sorted(dead)


def _identity(folder: Path) -> tuple[int, int]:
    """What two paths to one folder have in common."""
    status = folder.stat()
    return status.st_dev, status.st_ino


def parts_of(root: Path) -> tuple[dict[str, Path], list[str]]:
    """Part -> folder of data that are divided already, and notes on other folders.

    Folders are called as in `PARTS`. Without a test set, the held-out samples are one. A folder that is not exactly
    `train/` is the training part only where another part is beside it: it may be a class.

    Missing parts are left out; errors as `_entries`.
    """
    folders = folders_in(root)
    parts = {part: found[0] for part, names in PARTS.items() if (found := _called(folders, names))}
    if "test" not in parts and "validation" in parts:
        parts["test"] = parts.pop("validation")
    if "test" not in parts and "train" in parts and parts["train"].name != "train":
        del parts["train"]
    parts = {part: parts[part] for part in ("train", "test", "validation") if part in parts}
    others = [f"{folder.name}/" for folder in folders if folder not in parts.values()]
    used = ", ".join(f"{place.name}/" for place in parts.values())
    return parts, [f"left out: {listed(others)} beside {used}"] if others else []


def _called(folders: Sequence[Path], names: Sequence[str]) -> list[Path]:
    """The folders with one of these names, in the order of the names, small letters first."""
    return [
        folder
        for name in names
        for folder in sorted(folders, key=lambda folder: folder.name, reverse=True)
        if folder.name.lower() == name
    ]


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """What was found in a folder while it was read and is to be reported; lists that grow."""

    notes: list[str] = field(default_factory=list)
    unread: list[Path] = field(default_factory=list)
    """Files whose endings are not those that are read."""
    dead: list[Path] = field(default_factory=list)
    """As `files_in`."""

    def sorted_out(self, found: tuple[list[Path], list[Path]], endings: Sequence[str]) -> list[Path]:
        """The files with one of these endings, in any case, of what `files_in` or `files_below` found."""
        files, dead = found
        chosen = [path for path in files if path.suffix.lower() in endings]
        self.unread.extend(path for path in files if path.suffix.lower() not in endings)
        self.dead.extend(dead)
        return chosen

    def said(self, root: Path, kind: str) -> list[str]:
        """All notes, with those on unused files below `root`; `kind`: what is read, such as "pictures"."""
        return [*self.notes, *left_out(root, self.unread, self.dead, kind)]


_DEAD_ENDS = {
    "dead link": "links that lead to no file",
    "folder": "links to folders that are read by another path, or lie above",
}
"""What is said of kinds of dead ends."""


def left_out(root: Path, unread: Sequence[Path], dead: Sequence[Path], kind: str) -> list[str]:
    """Notes on files that are not used, see `LeftOut`."""
    notes = []
    if unread:
        counts = Counter(path.suffix.lower() or "none" for path in unread)
        endings = sorted(counts.items(), key=lambda ending: (-ending[1], ending[0]))
        shown = ", ".join(f"{ending} {count:,}" for ending, count in endings[:5])
        others = f" and {len(endings) - 5} other endings" if len(endings) > 5 else ""
        notes.append(such_as(f"left out: files whose endings are not those of {kind}, {shown}{others}", root, unread))
    kinds: dict[str, list[Path]] = {}
    for path in dead:
        kinds.setdefault(kind_of(path) or "dead link", []).append(path)
    for kind, paths in kinds.items():
        what = _DEAD_ENDS.get(kind, f"{kind}s")
        notes.append(such_as(f"left out: {what}", root, paths))
    return notes


def such_as(what: str, root: Path, paths: Sequence[Path]) -> str:
    """What was found, how many, and the first."""
    return f"{what} ({len(paths):,}), such as {below(root, paths[0])}"


def below(root: Path, path: Path) -> str:
    """Name of a file below a folder, with slashes."""
    return path.relative_to(root).as_posix()
