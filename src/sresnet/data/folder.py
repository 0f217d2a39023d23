"""Your own images: a folder of image files for each class, or a data set of Python objects."""

import contextlib
import io
import itertools
import operator
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sresnet.data.cached import Note, Watch
from sresnet.data.depth import DEPTHS, colours_cut, deep_values, depth_of, eight_bit_image, grey_values
from sresnet.data.images import ImageSet
from sresnet.data.picture_list import ENDINGS, Entry, is_list, read_list
from sresnet.data.pictures import Kept, Picture, PictureSet, digest_of, kept_pictures, worth_keeping
from sresnet.data.samples import Splits, listed
from sresnet.data.split import stratified_split
from sresnet.data.tree import PARTS, LeftOut, below, files_below, files_in, folders_in, left_out, parts_of, such_as
from sresnet.errors import UserError, optional
from sresnet.files import read_regular, state_of
from sresnet.limits import MEMORY_LIMIT, check_claim
from sresnet.printing import unwarned

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
"""Endings, in any case, of the files that are read."""

# Formats that Pillow may use, whatever the ending: some others start programs (EPS: Ghostscript).
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")

_PIXEL_BYTES = 8
"""Memory of Pillow for a pixel: four bytes decoded, and four turned upright or as RGB."""
_DEEP_PIXEL_BYTES = 24
"""Likewise for colours of 16 bits: upper and lower bytes, their values, and these as 8 bits."""
_LONGEST = 64
"""A picture is cut to at most this many times the wanted ratio of its sides before it is scaled."""
_PILLOW = threading.Lock()

_TEST_FRACTION = 0.2
_SPLIT_SEED = 0
_DRAWN = {"train": "four fifths of each class", "test": "the other fifth, drawn with a fixed seed"}
"""What the parts are made of where data are not divided."""


def open_folder(
    data_dir: str | Path,
    image_size: int,
    *,
    memory_limit: float = MEMORY_LIMIT,
    label: str = "",
    held_out: bool = True,
    bits: int = 0,
    cache_dir: str = "",
    watch: Watch = lambda done, total, name: None,
    note: Note = lambda line: None,
) -> Splits:
    """Class folders as images for training, validation and testing, uint8 RGB [N, 3, image_size, image_size].

    Either `data_dir/train/<class>/` and `data_dir/test/<class>/`, with an optional `val/` beside them, which is the
    test set where there is no `test/`, other names as `tree.parts_of`; or `data_dir/<class>/`, where a fifth of each
    class, drawn with a fixed seed, is the test set. Class folders may contain folders and links to folders, see
    `tree.files_below`. Classes are numbered and files read in order of their names. Hidden files and folders are
    ignored; `notes` say what else is left out, and "parts" in `about` what each part was made of.

    Or `data_dir` is a file that lists the pictures, see `picture_list.read_list`, divided likewise if it has a column
    for it, and else drawn likewise. Classes are numbered in order of their names, whole numbers by size.

    An image is turned upright as its EXIF data say, scaled (bicubic) so that its shorter side is `image_size`, and cut
    to the square in its middle. Only the first frame of an animation is read; transparency is dropped. A strip longer
    than 64 times its width is cut before it is scaled.

    Few pictures are decoded into memory, many (`pictures.worth_keeping`) once into a file that batches are read from.
    No number depends on it.

    Args:
        image_size: side of the square in pixels.
        label: column of classes in a list, as in `picture_list.read_list`.
        held_out: read val/ beside test/ too.
        bits: of files with 16 bits for each channel, how many count, the same in all; 0: as many as the largest value
            of all parts needs, or a PNG says.
        cache_dir, watch, note: as in `pictures.kept_pictures`; a cache_dir asks for the file however few there are.

    Raises:
        UserError: no such folder, Pillow is not installed, a class without images, fewer than two classes, classes that
            only the test set has, a file that is not an 8- or 16-bit image or claims too many pixels, too few images to
            split, or as `read_list` and `kept_pictures`.
    """
    data_dir = Path(data_dir)
    if image_size < 1:
        raise UserError(f"image_size {image_size} is not a size: choose 1 or more pixels, such as 32")
    # A run's configuration is a file too.
    claimed = 3 * _PIXEL_BYTES // 2 * image_size**2
    check_claim(f"image_size {image_size}", "a scaled picture", claimed, 0, memory_limit)
    listing = data_dir if is_list(data_dir) else None
    if listing is None and not data_dir.is_dir():
        raise UserError(
            f"data folder {data_dir} {state_of(data_dir)}: give the folder that holds the class folders, or a list of "
            f"pictures ({', '.join(ENDINGS)})"
        )
    left = _LeftOut()
    root = data_dir if listing is None else listing.parent

    def read(found: Mapping[str, _Files]) -> dict[str, _Pictures]:
        """The pictures of parts."""
        paths = [path for part in found.values() for path in part.paths]

        def decode(path: Path, bits: int) -> Picture:
            return read_picture(path, (image_size, image_size), bits=bits, memory_limit=memory_limit)

        if worth_keeping(root, len(paths), image_size, _decoder(), cache_dir, note):
            where: Any = {"decoder": _decoder(), "cache_dir": cache_dir, "watch": watch, "note": note, "bits": bits}
            return _kept(found, kept_pictures(root, paths, image_size, decode, **where), left)
        return _decoded(found, image_size, decode, bits, left)

    if listing is not None:
        found, origins = _listed(listing, label, held_out, left)
    else:
        found, origins = _in_folders(data_dir, held_out, left)
    if "train" not in found:
        whole = read(found)[""]
        chosen = stratified_split(whole.images.labels, _TEST_FRACTION, _SPLIT_SEED)
        _check_split(data_dir, whole.images, chosen[1])
        train, test = (whole.subset(indices) for indices in chosen)
        return _splits(root, {"train": train, "test": test}, _DRAWN, left)
    return _splits(root, read(found), origins, left)


@dataclass(frozen=True, kw_only=True)
class _Pictures:
    """The pictures of some class folders."""

    images: ImageSet | PictureSet
    paths: list[Path]
    digests: list[bytes]
    """Of the bytes of each file."""

    def subset(self, indices: Tensor) -> "_Pictures":
        """Those at `indices`, int64 [M], in that order."""
        return _Pictures(
            images=self.images.subset(indices),
            paths=[self.paths[index] for index in indices.tolist()],
            digests=[self.digests[index] for index in indices.tolist()],
        )


@dataclass(frozen=True, kw_only=True)
class _LeftOut(LeftOut):
    """Likewise for pictures."""

    stray: list[Path] = field(default_factory=list)
    """Pictures beside class folders."""
    plain: list[Path] = field(default_factory=list)
    """Pictures that show nothing without their transparency."""
    deep: list[Path] = field(default_factory=list)
    """Pictures with 16 bits for each channel."""
    bits: list[int] = field(default_factory=list)
    """How many of these count: one number, where there are such pictures."""

    def deepened(self, paths: Sequence[Path], used: Sequence[int], bits: int) -> None:
        """Note those of `paths` with 16 bits for each channel, of which `used` is not 0 and `bits` count."""
        self.deep.extend(path for path, own in zip(paths, used, strict=True) if own)
        if self.deep:
            self.bits[:] = [bits]


def _in_folders(data_dir: Path, held_out: bool, left: _LeftOut) -> tuple[dict[str, "_Files"], dict[str, str]]:
    """(part -> its files, part -> its folder) of class folders; part "" where they are not divided.

    Errors as `open_folder`.
    """
    places, notes = parts_of(data_dir)
    # A folder "train" with images right inside is a class of vehicles.
    if "train" not in places or not folders_in(places["train"]):
        return {"": _files(data_dir, left)}, {}
    left.notes.extend(notes)
    if "test" not in places:
        raise UserError(f"{data_dir} has train/ but neither test/ nor val/: add one, with the same class folders")
    train = places["train"].name
    classes = {part: {folder.name for folder in folders_in(place)} for part, place in places.items()}
    for part, place in places.items():
        if unknown := sorted(classes[part] - classes["train"]):
            raise UserError(
                f"{data_dir}: {listed(unknown)} in {place.name}/ and not in {train}/: classes that are not trained on "
                "cannot be recognised, give both the same"
            )
        if missing := sorted(classes["train"] - classes[part]):
            left.notes.append(f"{place.name}/ has no pictures of {listed(missing)}")
    left.stray.extend(path for path in files_in(data_dir)[0] if path.suffix.lower() in SUFFIXES)
    if "validation" in places and not held_out:
        left.notes.append(_not_held_out(f"{places.pop('validation').name}/", f"{train}/"))
    origins = {part: f"{place.name}/" for part, place in places.items()}
    if places["test"].name.lower() in PARTS["validation"]:
        origins["test"] += ", as there is no test/"
    return {part: _files(place, left, least=2 if part == "train" else 1) for part, place in places.items()}, origins


def _listed(listing: Path, label: str, held_out: bool, left: _LeftOut) -> tuple[dict[str, "_Files"], dict[str, str]]:
    """The same of a list of pictures; errors as `open_folder`."""
    found = read_list(listing, label)
    if found.twice:
        lines = f"{len(found.twice):,}, such as line {found.twice[0]:,}"
        left.notes.append(f"left out: lines of {listing.name} that say what earlier ones say ({lines})")
    by_part: dict[str, list[Entry]] = {}
    for entry in found.entries:
        by_part.setdefault(entry.part, []).append(entry)
    origins = {part: f"{part} in {listing.name}" for part in by_part if part}
    if origins and "test" not in by_part and "validation" in by_part:
        by_part["test"] = by_part.pop("validation")
        origins["test"] = f"{origins.pop('validation')}, which has no test"
    if origins and not {"train", "test"} <= set(by_part):
        missing = "train" if "train" not in by_part else "test or val"
        raise UserError(f"{listing} has no line of split {missing}: add some, or leave the column split out")
    if "validation" in by_part and not held_out:
        del by_part["validation"]
        left.notes.append(_not_held_out(origins.pop("validation"), origins["train"]))
    trained = by_part.get("train", list(found.entries))
    names = sorted({entry.class_name for entry in trained})
    if all(name.isdecimal() and len(name) < 18 for name in names):
        names.sort(key=int)
    if len(names) < 2:
        raise UserError(f"{listing} names one class to train on, {names[0]}: two are needed at least")
    files: dict[str, _Files] = {}
    for part in ("train", "test", "validation", ""):
        if part not in by_part:
            continue
        for entry in by_part[part]:
            if entry.class_name not in names:
                raise UserError(
                    f"{listing} line {entry.line} is of class {entry.class_name}, and no line of split train is: "
                    "classes that are not trained on cannot be recognised"
                )
        present = {entry.class_name for entry in by_part[part]}
        if missing_names := [name for name in names if name not in present]:
            left.notes.append(f"{origins[part]} has no pictures of {listed(missing_names)}")
        number = {name: place for place, name in enumerate(names)}
        files[part] = _Files(
            paths=[entry.path for entry in by_part[part]],
            labels=torch.tensor([number[entry.class_name] for entry in by_part[part]]),
            class_names=tuple(names),
        )
    return files, origins


@dataclass(frozen=True, kw_only=True)
class Found:
    """The files of the user's pictures, none of which has been read."""

    root: Path
    files: tuple[tuple[str, Path], ...]
    """(part, file) of each picture."""
    by_class: dict[str, dict[str, int]]
    """Part -> pictures of each class."""
    origins: dict[str, str]
    """Part -> what it is made of."""
    notes: tuple[str, ...]
    """What is left out."""


def pictures_in(data_dir: Path, label: str = "") -> Found:
    """The files that `open_folder` would read, and errors as there."""
    left = _LeftOut()
    if is_list(data_dir):
        root, (found, origins) = data_dir.parent, _listed(data_dir, label, True, left)
    else:
        root, (found, origins) = data_dir, _in_folders(data_dir, True, left)
    if "" in found:
        whole, origins = found[""], _DRAWN
        chosen = stratified_split(whole.labels, _TEST_FRACTION, _SPLIT_SEED)
        found = {part: whole.subset(indices) for part, indices in zip(("train", "test"), chosen, strict=True)}
    counts = {
        part: dict(
            zip(files.class_names, files.labels.bincount(minlength=len(files.class_names)).tolist(), strict=True)
        )
        for part, files in found.items()
    }
    notes = [*left.notes, *_left_out(root, left)]
    if few := [name for name, count in counts.get("test", {}).items() if not count and origins is _DRAWN]:
        notes.append(
            f"too few pictures to hold a fifth out for the test set, which training refuses: {listed(few)}; add some "
            "(3 at least of each class), or divide them into train/ and test/ yourself"
        )
    return Found(
        root=root,
        files=tuple((part, path) for part, files in found.items() for path in files.paths),
        by_class=counts,
        origins=dict(origins),
        notes=tuple(notes),
    )


def _not_held_out(validation: str, train: str) -> str:
    """A note on a held-out part that is not used."""
    return f"{validation} is left out, as a part of {train} is held out: --data.validation 0 uses it instead"


def _splits(data_dir: Path, parts: dict[str, _Pictures], origins: dict[str, str], left: _LeftOut) -> Splits:
    """The parts, made of `origins`, with all notes on them."""
    about: dict[str, Any] = {"parts": origins}
    notes = list(left.notes)
    for bits in left.bits:
        about["bits"] = bits
        found = such_as("pictures of 16 bits for each channel", data_dir, left.deep)
        notes.append(f"{found}: values of 0 to {2**bits - 1:,} ({bits} bits) become 0 to 255, in all of them alike")
    for part in ("validation", "test"):
        if part in parts and (copies := _copies(parts["train"], parts[part])):
            about[f"{part}_images_in_train"] = len(copies)
            found = such_as(f"{part} images whose bytes are those of a training image", data_dir, list(copies))
            notes.append(
                f"{found}, as {below(data_dir, next(iter(copies.values())))}: the network has seen them in training"
            )
    notes += _left_out(data_dir, left)
    return Splits(
        train=parts["train"].images,
        validation=parts["validation"].images if "validation" in parts else None,
        test=parts["test"].images,
        about=about,
        notes=tuple(notes),
    )


def _left_out(root: Path, left: _LeftOut) -> list[str]:
    """Notes on files that are left out, and on what transparency hides."""
    notes = []
    if left.stray:
        notes.append(such_as("left out: pictures beside class folders", root, left.stray))
    notes += left_out(root, left.unread, left.dead, "pictures")
    if left.plain:
        found = such_as("pictures of one colour but for transparency, which is dropped", root, left.plain)
        notes.append(f"{found}: put them onto a background")
    return notes


def _copies(train: _Pictures, others: _Pictures) -> dict[Path, Path]:
    """Path of each of the others that has the bytes of a training picture -> path of that."""
    known = dict(zip(train.digests, train.paths, strict=True))
    return {path: known[key] for key, path in zip(others.digests, others.paths, strict=True) if key in known}


def from_dataset(dataset: Any, class_names: Sequence[str] | None = None, *, bits: int = 16) -> ImageSet:
    """The (image, label) pairs of a sequence, such as a torchvision data set, as one ImageSet.

    An image is a PIL image, or a numpy array [H, W, C] or [H, W], or a tensor [C, H, W] or [H, W], each uint8, or float
    from 0 to 1 (then round(255 * x)). All have one size; give them before any normalisation.

    Args:
        dataset: has a length and gives a pair for each index.
        class_names: name of class 0, 1, ...; None: the `classes` of the data set if it has some, else "0", "1", ...
        bits: of PIL images with 16 bits for each pixel, how many count: 12 where values end at 4095.

    Raises:
        UserError: an empty data set, an entry that is not such a pair, an image of another kind or size, or a label
            that is not a whole number or has no class name.
    """
    images, labels = [], []
    for index in range(len(dataset)):
        entry = dataset[index]
        try:
            image, label = entry
            labels.append(operator.index(label))
        except (TypeError, ValueError):
            raise UserError(f"entry {index} of the data set is not (image, whole-number label): make it one") from None
        images.append(_pixels(image, f"image {index} of the data set", bits))
        if images[-1].shape != images[0].shape:
            shapes = f"{tuple(images[-1].shape)}, but image 0 is {tuple(images[0].shape)}"
            raise UserError(f"image {index} of the data set is {shapes}: scale all to one size")
    if not images:
        raise UserError("the data set is empty: give one with at least one (image, label) pair")
    if class_names is None:
        class_names = getattr(dataset, "classes", None) or [str(label) for label in range(max(labels) + 1)]
    return ImageSet(images=torch.stack(images), labels=torch.tensor(labels), class_names=tuple(class_names))


@dataclass(frozen=True, kw_only=True)
class _Files:
    """The files of a part."""

    paths: list[Path]
    labels: Tensor
    class_names: tuple[str, ...]

    def subset(self, indices: Tensor) -> "_Files":
        """Those at `indices`, int64 [M], in that order."""
        paths = [self.paths[index] for index in indices.tolist()]
        return replace(self, paths=paths, labels=self.labels[indices])


def _files(root: Path, left: _LeftOut, *, least: int = 2) -> _Files:
    """The pictures in all class folders of `root`, `least` folders at least; errors as `open_folder`."""
    files: list[tuple[Path, int]] = []
    folders = folders_in(root)
    for label, folder in enumerate(folders):
        found = files_below(folder)
        images = left.sorted_out(found, SUFFIXES)
        if not images:
            raise UserError(
                f"class folder {folder} has no image ({len(found[0])} other files): add some "
                f"({', '.join(SUFFIXES)}) or remove the folder"
            )
        files += [(path, label) for path in images]
    if len(folders) < least:
        raise UserError(
            f"{root} has {len(folders)} class folders: put the images of each class into a folder of its own, "
            f"{root}/<class>/{', for two classes at least' if least == 2 else ''}"
        )
    left.stray.extend(path for path in files_in(root)[0] if path.suffix.lower() in SUFFIXES)
    return _Files(
        paths=[path for path, _ in files],
        labels=torch.tensor([label for _, label in files]),
        class_names=tuple(folder.name for folder in folders),
    )


def _decoded(
    found: Mapping[str, _Files], image_size: int, decode: Callable[[Path, int], Picture], bits: int, left: _LeftOut
) -> dict[str, _Pictures]:
    """The pictures in memory; `bits` as in `open_folder`."""
    paths = [path for files in found.values() for path in files.paths]
    pixels = torch.empty(len(paths), 3, image_size, image_size, dtype=torch.uint8)
    digests, used, wanted = [], [], bits or DEPTHS[0]
    for index, path in enumerate(paths):
        picture = decode(path, wanted)
        if picture.depth > wanted and not bits:
            wanted = picture.depth
            picture = decode(path, wanted)
        pixels[index] = picture.pixels
        digests.append(picture.digest)
        used.append(picture.bits)
        if picture.plain:
            left.plain.append(path)
    for index, path in enumerate(paths):  # those before the picture with the most bits
        if used[index] not in (0, wanted):
            pixels[index] = decode(path, wanted).pixels
    left.deepened(paths, used, wanted)
    parts, place = {}, 0
    for name, files in found.items():
        own = slice(place, place := place + len(files.paths))
        images = ImageSet(images=pixels[own], labels=files.labels, class_names=files.class_names)
        parts[name] = _Pictures(images=images, paths=files.paths, digests=digests[own])
    return parts


def _kept(found: Mapping[str, _Files], kept: Kept, left: _LeftOut) -> dict[str, _Pictures]:
    """The pictures in a cache, which has those of one part behind those of another."""
    entries, parts = iter(kept.entries), {}
    for name, files in found.items():
        own = list(itertools.islice(entries, len(files.paths)))
        left.plain.extend(path for path, entry in zip(files.paths, own, strict=True) if entry["plain"])
        left.deepened(files.paths, [entry["bits"] for entry in own], kept.bits)
        images = PictureSet(
            file=kept.file,
            numbers=torch.tensor([entry["slot"] for entry in own]),
            labels=files.labels,
            class_names=files.class_names,
            kept=kept,
        )
        digests = [bytes.fromhex(entry["content"]) for entry in own]
        parts[name] = _Pictures(images=images, paths=files.paths, digests=digests)
    return parts


def _check_split(data_dir: Path, everything: ImageSet | PictureSet, test: Tensor) -> None:
    held_out: Mapping[int, int] = Counter(everything.labels[test].tolist())
    for label, count in sorted(Counter(everything.labels.tolist()).items()):
        if not held_out[label]:
            name = everything.class_names[label]
            place = f"{data_dir}: {name}" if is_list(data_dir) else data_dir / name
            raise UserError(
                f"{place} has {count} images, too few to hold a fifth out for the "
                "test set: add some (3 at least), or divide the images into train/ and test/ yourself"
            )


def _decoder() -> str:
    """The version of what decodes pictures."""
    try:
        from PIL import __version__
    except ImportError:
        return ""  # and `read_picture` says so
    return f"Pillow {__version__}"


def read_picture(path: Path, size: tuple[int, int], *, bits: int = 0, memory_limit: float = MEMORY_LIMIT) -> Picture:
    """One picture, scaled so that it just covers `size` (H, W) in pixels, the middle cut out.

    Args:
        bits: of a file with 16 bits for each channel, how many count; 0: as many as its own values need.

    Raises:
        UserError: Pillow is not installed, or the file is missing, does not decode, or claims too many pixels.
    """
    found = decoded_picture(path, bits=bits, memory_limit=memory_limit)
    pixels = _middle(found.image, size)
    return Picture(pixels=pixels, digest=found.digest, plain=found.plain, depth=found.depth, bits=found.bits)


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A picture before it is scaled."""

    image: Any
    """A PIL image in RGB, upright."""
    size: tuple[int, int]
    """Width and height in the file."""
    mode: str
    """Pillow's, of the file."""
    digest: bytes
    plain: bool
    depth: int
    bits: int
    """These as in `pictures.Picture`."""


def decoded_picture(path: Path, *, bits: int = 0, memory_limit: float = MEMORY_LIMIT) -> Decoded:
    """One picture; `bits` and errors as `read_picture`."""
    with optional("image folders need", "Pillow", "images"):
        from PIL import Image, ImageOps
    try:
        content = read_regular(path)
    except FileNotFoundError:
        raise UserError(f"{path} {state_of(path)}: give a picture") from None
    try:
        # Of transparency, which is dropped, of metadata, which are not read, and of size, which is checked here.
        with unwarned(UserWarning), unwarned(Image.DecompressionBombWarning):

            def opening() -> Any:
                with _any_size(Image):
                    return Image.open(io.BytesIO(content), formats=_FORMATS)

            upright = partial(ImageOps.exif_transpose, in_place=True)
            with opening() as opened:
                width, height = opened.size
                mode, depth = opened.mode, 0
                what = f"a picture of {width:,}x{height:,} pixels"
                each = _DEEP_PIXEL_BYTES if colours_cut(opened) else _PIXEL_BYTES
                check_claim(str(path), what, each * width * height, len(content), memory_limit)
                values = deep_values(opened, opening, upright)
                if values is None:
                    upright(opened)
                    image = opened
                else:
                    depth = depth_of(values, content)
                    bits = bits or depth
                    image = eight_bit_image(values, bits)
                plain = _only_transparent(image)
                image = image if image is opened and image.mode == "RGB" else image.convert("RGB")
                image.load()
    except (UserError, MemoryError):
        raise
    # The decoders raise whatever the bytes make them trip over: OSError, SyntaxError, struct.error, ...
    except Exception as error:
        raise UserError(f"{path} does not decode as an image ({error}): replace it or remove it") from None
    return Decoded(
        image=image,
        size=(width, height),
        mode=mode,
        digest=digest_of(content),
        plain=plain,
        depth=depth,
        bits=bits if depth else 0,
    )


def _only_transparent(image: Any) -> bool:
    """Whether a PIL image shows nothing without its transparency."""
    if image.mode not in ("RGBA", "LA", "PA", "RGBa", "La") and "transparency" not in image.info:
        return False
    *colours, alpha = image.convert("RGBA").getextrema()
    return all(low == high for low, high in colours) and alpha[0] != alpha[1]


@contextlib.contextmanager
def _any_size(image_module: Any) -> Iterator[None]:
    """Without Pillow's limit of pixels, which is one for the whole process."""
    with _PILLOW:
        before, image_module.MAX_IMAGE_PIXELS = image_module.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            image_module.MAX_IMAGE_PIXELS = before


def _middle(image: Any, size: tuple[int, int]) -> Tensor:
    """The middle of a PIL image in RGB, scaled until it just covers `size` (H, W): uint8 [3, H, W]."""
    from PIL import Image

    rows, columns = size
    # Of a strip, the middle first: scaled as a whole, one of a million rows would be gigabytes.
    width, height = image.size
    wide = _at_most(width, _LONGEST * height * columns // rows)
    high = _at_most(height, _LONGEST * width * rows // columns)
    if (wide, high) != (width, height):
        left, top = (width - wide) // 2, (height - high) // 2
        image = image.crop((left, top, left + wide, top + high))
    width, height = image.size
    scale = max(rows / height, columns / width)
    if scale != 1:
        width, height = round(width * scale), round(height * scale)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - columns) // 2, (height - rows) // 2
    middle = np.array(image.crop((left, top, left + columns, top + rows)))
    return torch.from_numpy(middle).permute(2, 0, 1)


def _at_most(pixels: int, most: int) -> int:
    """At most about `most` of `pixels`, at least one, so that both sides lose equally many."""
    return pixels if pixels <= most else max(1, most - (pixels - most) % 2)


def _pixels(image: Any, where: str, bits: int) -> Tensor:
    """A PIL image, array or tensor as uint8 [C, H, W]; `bits` as in `from_dataset`."""
    # Recognised without Pillow, which arrays do not need.
    if hasattr(image, "getbands"):
        try:
            values = grey_values(image)
        except ValueError as error:
            raise UserError(f"{where} cannot be read ({error}): convert it first") from None
        if values is not None:
            image = eight_bit_image(values, bits or depth_of(values))
        if _only_transparent(image):
            raise UserError(
                f"{where} is of one colour but for transparency, which is dropped: put it onto a background"
            )
        image = np.array(image.convert("L" if len(image.getbands()) == 1 and image.mode != "P" else "RGB"))
    if isinstance(image, np.ndarray):
        if image.dtype.kind not in "uif":
            raise UserError(f"{where} is of {image.dtype}: give uint8, or float from 0 to 1")
        channels_first = image.transpose(2, 0, 1) if image.ndim == 3 else image
        native = image.dtype.newbyteorder("=")  # torch knows no other order, and no float of more than 64 bits
        kind = native if native.itemsize <= 8 else np.float64
        # A copy: torch warns about arrays that it may not write to, and refuses negative strides.
        planes = torch.from_numpy(np.array(channels_first, dtype=kind, order="C"))
    elif isinstance(image, Tensor):
        if image.is_meta or image.is_nested or image.is_quantized or image.layout != torch.strided:
            raise UserError(f"{where} is a tensor without plain numbers (meta, sparse, ...): give a dense one")
        planes = image.detach().cpu()
    else:
        raise UserError(f"{where} is of type {type(image).__name__}: give a PIL image, a numpy array or a tensor")
    if planes.ndim == 2:
        planes = planes.unsqueeze(0)
    if planes.ndim != 3 or planes.shape[0] > 4 or not planes.numel():
        raise UserError(
            f"{where} has shape {tuple(image.shape)}: expected [H, W, C] for an array, [C, H, W] for a tensor, of 1 "
            "to 4 channels"
        )
    if planes.dtype == torch.uint8:
        return planes
    if not planes.is_floating_point():
        raise UserError(f"{where} is of {planes.dtype}: give uint8, or float from 0 to 1")
    planes = planes.float() if planes.element_size() == 1 else planes  # torch has few functions of so short ones
    # Written so that NaN fails too.
    if not 0 <= float(planes.min()) <= float(planes.max()) <= 1:
        span = f"{float(planes.min()):g} to {float(planes.max()):g}"
        raise UserError(f"{where} runs from {span}: expected float from 0 to 1; give it before any normalisation")
    return (planes * 255).round().to(torch.uint8)


def picture_of(image: Any, size: tuple[int, int], channels: int, bits: int = 16) -> Tensor:
    """One picture for a network: uint8 [channels, H, W] of `size` (H, W), scaled and cut as `read_picture` does.

    Args:
        image: a path; a PIL image, an array [H, W, C] or [H, W], or a tensor [C, H, W] or [H, W], each uint8, or float
            from 0 to 1 (then round(255 * x)).
        size: height and width.
        channels: 1 (of a colour picture their mean), 3 (of a grey picture three times the same), or those it has.
        bits: as in `read_picture`.

    Raises:
        UserError: as `read_picture`; or it is none of these, or has other channels.
    """
    if isinstance(image, str | Path):
        found = read_picture(Path(image), size, bits=bits)
        pixels = found.pixels
        if found.plain:
            raise UserError(
                f"{image} is of one colour but for transparency, which is dropped: put it onto a background"
            )
    else:
        pixels = _pixels(image, "the image", bits)
        if pixels.shape[0] == 4:
            pixels = pixels[:3]
        if tuple(pixels.shape[1:]) != size:
            pixels = _scaled(pixels, size)
    return with_channels(pixels, channels)


def with_channels(pixels: Tensor, channels: int) -> Tensor:
    """A picture uint8 [C, H, W] as [channels, H, W]: of colours their mean, of grey three times the same.

    UserError where neither makes so many of C.
    """
    if pixels.shape[0] == channels:
        return pixels
    if pixels.shape[0] == 3 and channels == 1:
        return pixels.float().mean(0, keepdim=True).round().to(torch.uint8)
    if pixels.shape[0] == 1 and channels == 3:
        return pixels.expand(3, -1, -1).contiguous()
    raise UserError(f"the image has {pixels.shape[0]} channels, and this network takes {channels}: give it so many")


def _scaled(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Pixels [C, H, W] of one or three channels, scaled and cut to `size`."""
    with optional("an image of another size needs", "Pillow", "images"):
        from PIL import Image
    if pixels.shape[0] not in (1, 3):
        sides = f"{pixels.shape[1]}x{pixels.shape[2]}"
        raise UserError(
            f"the image is {sides} in {pixels.shape[0]} channels, and this network takes {size[0]}x{size[1]}: scale it "
            "first"
        )
    image = Image.fromarray(pixels.expand(3, -1, -1).permute(1, 2, 0).numpy())
    return _middle(image, size)[: pixels.shape[0]]
