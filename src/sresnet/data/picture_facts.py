"""Facts about pictures in folders or a list: counts, sizes, bits, damaged files, and what is there twice."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sresnet.data.events.read import EXTENSIONS
from sresnet.data.folder import SUFFIXES, Decoded, Found, decoded_picture
from sresnet.data.tree import below, files_below
from sresnet.errors import UserError, optional
from sresnet.limits import MEMORY_LIMIT

_ALIKE_BITS = 24
"""Bits of 128 in which the hashes of two pictures that are alike may differ."""
_ALIKE = 0.95
"""Correlation of their colours, at least."""
_MOST_PAIRS = 20_000_000_000
"""Pairs of pictures that are compared: some eight minutes."""
_AT_ONCE = 1 << 23
"""Pairs at a time."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two pictures of different parts that are the same or alike, paths from the folder on."""

    path: str
    part: str
    other: str
    """In an earlier one of training, held-out and test part."""
    other_part: str
    correlation: float
    """Of their colours; 1 for equal bytes."""


@dataclass(frozen=True, kw_only=True)
class PictureFacts:
    """Pictures as training would take them."""

    parts: dict[str, str]
    """Part -> what it is made of."""
    by_class: dict[str, dict[str, int]]
    """Part -> pictures of each class, damaged ones included."""
    sizes: dict[str, int]
    """Pictures by width and height, such as {"640x480": 12}, the most frequent first."""
    smallest: str
    largest: str
    modes: dict[str, int]
    """Pictures by Pillow's mode, such as {"RGB": 12}."""
    bits: dict[int, int]
    """Pictures by the bits of a channel that count."""
    damaged: tuple[str, ...]
    """Why files do not decode, one reason each."""
    copies_within: dict[str, int]
    """Part -> pictures whose bytes are those of another one in it."""
    copies: tuple[Pair, ...]
    """Pictures whose bytes are those of one in another part."""
    alike: tuple[Pair, ...] | None
    """Pictures that look like one in another part, each with the one it is most like; None: too many to compare."""
    notes: tuple[str, ...]
    """What is left out."""


@dataclass(frozen=True, kw_only=True)
class _Look:
    """What is kept of a picture."""

    path: Path
    part: str
    digest: bytes
    hash: NDArray[np.uint64]
    """Where brightness rises from one of 9x9 areas to the next, to the right and downwards: 128 bits."""
    colours: NDArray[np.uint8]
    """Mean colours of 8x8 areas [192]."""


def more_pictures(folder: Path) -> bool:
    """Whether a folder holds more pictures than recordings of events, by the endings of files."""
    endings = Counter(path.suffix.lower() for path in files_below(folder)[0])
    return sum(endings[each] for each in SUFFIXES) > sum(endings[each] for each in EXTENSIONS)


def describe_pictures(
    found: Found, shown: Iterable[tuple[str, Path]] | None = None, *, memory_limit: float = MEMORY_LIMIT
) -> PictureFacts:
    """Facts about pictures; every file is decoded.

    Args:
        found: what `folder.pictures_in` finds.
        shown: its files, watched while they are read; None: they are read unseen.

    Raises:
        UserError: Pillow is not installed.
    """
    with optional("pictures need", "Pillow", "images"):
        import PIL  # noqa: F401
    sizes: Counter[tuple[int, int]] = Counter()
    modes: Counter[str] = Counter()
    bits: Counter[int] = Counter()
    looks, damaged = [], []
    for part, path in found.files if shown is None else shown:
        try:
            picture = decoded_picture(path, memory_limit=memory_limit)
        except UserError as error:
            damaged.append(str(error))
            continue
        sizes[picture.size] += 1
        modes[picture.mode] += 1
        bits[picture.depth or 8] += 1
        looks.append(_look(path, part, picture))
    known = sorted(sizes, key=lambda size: (math.prod(size), size))
    exact = _copies(looks, found.root)
    return PictureFacts(
        parts=found.origins,
        by_class=found.by_class,
        sizes={_said(size): count for size, count in sizes.most_common()},
        smallest=_said(known[0]) if known else "",
        largest=_said(known[-1]) if known else "",
        modes=dict(modes.most_common()),
        bits=dict(sorted(bits.items())),
        damaged=tuple(damaged),
        copies_within=_within(looks),
        copies=tuple(exact),
        alike=_alike(looks, found.root, {pair.path for pair in exact}),
        notes=found.notes,
    )


def _said(size: tuple[int, int]) -> str:
    """Width and height."""
    return f"{size[0]}x{size[1]}"


def _look(path: Path, part: str, picture: Decoded) -> _Look:
    """What is kept of a picture."""
    from PIL import Image

    box = Image.Resampling.BOX
    grey = np.asarray(picture.image.convert("L").resize((9, 9), box))
    rises = np.concatenate([(grey[:8, 1:] > grey[:8, :-1]).ravel(), (grey[1:, :8] > grey[:-1, :8]).ravel()])
    return _Look(
        path=path,
        part=part,
        digest=picture.digest,
        hash=np.packbits(rises).view(np.uint64),
        colours=np.asarray(picture.image.resize((8, 8), box)).reshape(-1),
    )


def _by_part(looks: Sequence[_Look]) -> dict[str, list[_Look]]:
    """The pictures of each part, training first."""
    found: dict[str, list[_Look]] = {"train": [], "validation": [], "test": []}
    for look in looks:
        found[look.part].append(look)
    return {part: some for part, some in found.items() if some}


def _within(looks: Sequence[_Look]) -> dict[str, int]:
    """Part -> how many of its pictures have the bytes of an earlier one."""
    return {
        part: count
        for part, some in _by_part(looks).items()
        if (count := len(some) - len({look.digest for look in some}))
    }


def _copies(looks: Sequence[_Look], root: Path) -> list[Pair]:
    """Pictures with the bytes of one in an earlier part."""
    known: dict[bytes, _Look] = {}
    pairs = []
    for some in _by_part(looks).values():
        for look in some:
            if look.digest in known:
                pairs.append(_pair(look, known[look.digest], 1.0, root))
        known = {look.digest: look for look in reversed(some)} | known
    return pairs


def _pair(look: _Look, other: _Look, correlation: float, root: Path) -> Pair:
    """Two pictures as they are reported."""
    return Pair(
        path=below(root, look.path),
        part=look.part,
        other=below(root, other.path),
        other_part=other.part,
        correlation=round(correlation, 4),
    )


def _alike(looks: Sequence[_Look], root: Path, exact: set[str]) -> tuple[Pair, ...] | None:
    """Pictures that look like one in an earlier part, without `exact` copies; None where there are too many pairs."""
    parts = list(_by_part(looks).values())
    if sum(len(some) * sum(map(len, parts[:place])) for place, some in enumerate(parts)) > _MOST_PAIRS:
        return None
    pairs = []
    for place, some in enumerate(parts):
        others = [look for part in parts[:place] for look in part]
        for look, other, correlation in _most_alike(some, others):
            pair = _pair(look, other, correlation, root)
            if pair.path not in exact:
                pairs.append(pair)
    return tuple(sorted(pairs, key=lambda pair: (-pair.correlation, pair.path)))


def _most_alike(some: Sequence[_Look], others: Sequence[_Look]) -> Iterable[tuple[_Look, _Look, float]]:
    """For each of `some` that looks like any of `others`, the one that it is most like, and their correlation.

    Few are worth a look at their colours: those whose hashes differ in at most `_ALIKE_BITS` bits.
    """
    if not some or not others:
        return
    hashes = np.stack([look.hash for look in others])
    step = max(1, _AT_ONCE // len(others))
    for start in range(0, len(some), step):
        block = some[start : start + step]
        mine = np.stack([look.hash for look in block])
        differing = sum(
            np.bitwise_count(mine[:, word, None] ^ hashes[None, :, word]).astype(np.uint8) for word in range(2)
        )
        best: dict[int, tuple[float, int]] = {}
        for row, column in np.argwhere(differing <= _ALIKE_BITS).tolist():
            correlation = _correlation(block[row].colours, others[column].colours)
            if correlation >= _ALIKE and correlation > best.get(row, (0.0, 0))[0]:
                best[row] = correlation, column
        for row, (correlation, column) in best.items():
            yield block[row], others[column], correlation


def _correlation(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Of two rows of numbers; 0 where one is constant."""
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / size if size else 0.0
