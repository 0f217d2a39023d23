"""`sresnet push` and `sresnet pull`: trained networks on the Hugging Face hub; the only file that knows it."""

import contextlib
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sresnet.cli.parse import name_and_flags, parse
from sresnet.cli.runs import ReadOptions, accuracy, check_image
from sresnet.config import to_dict
from sresnet.errors import UserError, optional
from sresnet.files import (
    LARGEST_JSON,
    LOCK,
    make_folder,
    only_writer,
    read_regular,
    strangers,
    write_json,
    write_whole,
)
from sresnet.limits import check_claim
from sresnet.models import SpikingNetwork
from sresnet.models.pretrained import shipped_names
from sresnet.models.saved import WEIGHTS, load, model_bytes
from sresnet.models.summary import describe
from sresnet.printing import cut, give, going_on, printable, say, unwarned
from sresnet.train import record
from sresnet.train.command import command
from sresnet.train.recipe import Recipe
from sresnet.train.record import recipe_of

CARD = "README.md"
_RECORDS = (record.CONFIG, record.DATA, record.RESULT)
"""What a run folder on the hub holds beside weights, environment and card."""
_NEEDED = (record.CONFIG, record.DATA, WEIGHTS)
_FILES = (*_RECORDS, record.ENVIRONMENT, CARD, WEIGHTS)
"""The weights last: where they are, a folder is complete."""
_LARGEST_CARD = 1 << 20
"""Bytes of a card."""
_ANOTHER_RUN = "another-run"
"""Stands for the place of a run that a network was trained from."""
_LICENCE = re.compile(r"[a-z][a-z0-9.-]*", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class _PushOptions(ReadOptions):
    """Flags of `sresnet push`."""

    out: str = ""
    """Write the files into this folder, which is new, and send nothing."""
    private: bool = False
    """A repository that is made is not shown to others."""
    licence: str = ""
    """Of the weights, as the hub names it, such as apache-2.0; without it the card says that none is given."""


@dataclass(frozen=True, kw_only=True)
class _PullOptions(ReadOptions):
    """Flags of `sresnet pull`."""

    out: str = ""
    """Run folder to make; by default runs/NAME."""
    revision: str = "main"
    """Branch, tag or commit of the repository."""


@going_on()
def push_verb(words: list[str]) -> int:
    """`sresnet push RUN OWNER/NAME`."""
    run, rest = name_and_flags(words, "run", "give the folder of a trained run")
    name, rest = name_and_flags(rest, "name", "say where to on the hub: OWNER/NAME")
    options = parse(_PushOptions(), rest, f"sresnet push {run} {name}", "A trained network onto the Hugging Face hub.")
    _check_name(name)
    _check_licence(options.licence)
    record.check_run(run)
    recipe_of(run, memory_limit=options.memory_limit)
    if options.out:
        _write(Path(run), Path(options.out), name, options)
        say(f"written: {options.out}, which nobody else sees: leave --out out to send it")
        give({"name": name, "sent": False, "folder": options.out})
        return 0
    with tempfile.TemporaryDirectory() as folder, _asking(name):
        from huggingface_hub import HfApi

        _write(Path(run), Path(folder), name, options)
        api = HfApi(library_name="sresnet")
        api.create_repo(name, private=options.private, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="sresnet push")
    say(f"sent: {name}; sresnet pull {name} fetches it")
    give({"name": name, "sent": True})
    return 0


@going_on()
def pull_verb(words: list[str]) -> int:
    """`sresnet pull OWNER/NAME`."""
    name, rest = name_and_flags(words, "name", "say which network of the hub: OWNER/NAME")
    options = parse(_PullOptions(), rest, f"sresnet pull {name}", "A network of the Hugging Face hub as a run folder.")
    _check_name(name)
    folder = Path(options.out or f"runs/{name.partition('/')[2]}")
    if others := strangers(folder):
        raise UserError(f"{folder} is not empty ({others[0]}): choose another --out")
    with _asking(name):
        fetched = _fetched(name, options)
    contents = _read(fetched, name, options.memory_limit)
    with tempfile.TemporaryDirectory() as place:
        for each, content in contents.items():
            write_whole(Path(place) / each, content)
        try:
            model = _checked(Path(place), options.memory_limit)
        except UserError as error:
            raise UserError(f"{name} on the hub: {str(error).replace(f'{place}/', '').replace(place, name)}") from None
        if record.ENVIRONMENT in contents:
            write_json(Path(place) / record.ENVIRONMENT, record.told_of(record.read_environment(Path(place))))
        contents = {each: (Path(place) / each).read_bytes() for each in contents}
        about = record.read_about(Path(place))
    _make_run(folder, contents)
    say(f"{describe(model.config)}, {len(about['class_names'])} classes")
    say(f"run folder: {folder}")
    give({"run": folder, "classes": about["class_names"]})
    return 0


def _fetched(name: str, options: _PullOptions) -> Path:
    """The folder in the hub's cache that has the files; what is larger than it may be is not fetched."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import DryRunError

    revision = options.revision
    try:
        listed = snapshot_download(name, revision=revision, allow_patterns=list(_FILES), dry_run=True)
    except DryRunError:  # offline: it may have been fetched before
        listed = []
    for each in listed:
        _check_size(f"{name}/{each.filename}", each.file_size or 0, options.memory_limit)
        revision = each.commit_hash  # what was looked at is what is fetched
    return Path(snapshot_download(name, revision=revision, allow_patterns=list(_FILES)))


def _check_size(where: str, size: int, memory_limit: float) -> None:
    """Raise UserError for a file of a repository that is too large for what it is."""
    if where.endswith(WEIGHTS):
        check_claim(where, "weights", size, 0, memory_limit)
        return
    limit = _LARGEST_CARD if where.endswith(CARD) else LARGEST_JSON
    if size > limit:
        raise UserError(
            f"{where} has {size:,} bytes, more than the {limit:,} that it may: it is no file of sresnet push"
        )


def _read(fetched: Path, name: str, memory_limit: float) -> dict[str, bytes]:
    """What the expected files of a snapshot hold, others left alone.

    Raises:
        UserError: one is missing, no plain file, too large, or a link that leads out of the repository in the cache.
    """
    contents, home = {}, fetched.resolve().parents[1]  # snapshots/COMMIT/FILE is a link to blobs/...
    for each in _FILES:
        path = fetched / each
        if not path.exists() and not path.is_symlink():
            if each in _NEEDED:
                raise UserError(f"{name} on the hub holds no {each}: it is no network that sresnet push has sent")
            continue
        if not path.resolve().is_relative_to(home):
            raise UserError(f"{name}/{each} is a link to {path.resolve()}, out of the repository: it is not followed")
        try:
            _check_size(f"{name}/{each}", path.stat().st_size, memory_limit)
            contents[each] = read_regular(path)
        except UserError as error:
            raise UserError(str(error).replace(str(path), f"{name}/{each}")) from None
        except OSError as error:
            raise UserError(f"{name}/{each} cannot be read ({error.strerror}): remove {home}, and pull again") from None
    return contents


def _checked(folder: Path, memory_limit: float) -> SpikingNetwork:
    """The network of a folder as `push` writes it; UserError where a file is damaged or of another run."""
    recipe = record.read_recipe(folder, memory_limit=memory_limit)
    model, about = load(folder, memory_limit=memory_limit), record.read_about(folder)
    if to_dict(model.config) != to_dict(recipe.model):
        raise UserError(f"{folder / WEIGHTS} is of another network than {record.CONFIG}: the files are of two runs")
    record.check_about(about, model.config, str(folder))
    check_image(about["image_size"], model.config, str(folder), memory_limit)
    if (folder / record.RESULT).exists():
        record.read_result(folder)
    if (folder / record.ENVIRONMENT).exists():
        record.read_environment(folder)
    return model


def _make_run(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write a run folder; where that fails, as on a full disk, nothing of it is left."""
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    locked = (folder / LOCK).exists()
    try:
        make_folder(folder)
        with only_writer(folder):
            for each in contents:
                write_whole(folder / each, contents[each])
    except BaseException:
        for each in contents:
            (folder / each).unlink(missing_ok=True)
        if not locked:
            (folder / LOCK).unlink(missing_ok=True)
        for place in made:
            with contextlib.suppress(OSError):  # not empty, or not made
                place.rmdir()
        raise


def _check_name(name: str) -> None:
    """Raise UserError for what is no name of a repository."""
    if not _NAME.fullmatch(name):
        raise UserError(f"{name!r} is no name on the hub: give OWNER/NAME, such as me/my-network")


def _check_licence(licence: str) -> None:
    """Raise UserError for what the head of a card would not hold as a text."""
    if licence and (licence in ("true", "false", "null", "yes", "no", "on", "off") or not _LICENCE.fullmatch(licence)):
        raise UserError(f"--licence {licence!r} is no name of a licence on the hub: give one such as apache-2.0 or mit")


@contextlib.contextmanager
def _asking(name: str) -> Iterator[None]:
    """Inside, the hub is asked about `name`; its many errors become one line."""
    with optional("push and pull need", "huggingface_hub", "hub"):
        import huggingface_hub  # noqa: F401
    from huggingface_hub import errors

    where = f"{name} on the Hugging Face hub"
    try:
        with unwarned():
            yield
    except (UserError, MemoryError):
        raise
    except errors.RevisionNotFoundError:
        raise UserError(f"{where} has no such version: see --revision") from None
    except (errors.RepositoryNotFoundError, errors.LocalTokenNotFoundError):
        raise UserError(
            f"{where} is not there, or you may not see it: see that the name is right, and call hf auth login where it "
            "is yours or private"
        ) from None
    except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError, ConnectionError):
        raise UserError(
            f"{where} cannot be reached: go online, or unset HF_HUB_OFFLINE; what was fetched before is there offline"
        ) from None
    except Exception as error:
        reason = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
        raise UserError(f"{where}: {reason}: see that the name is right and that this machine is online") from None


def _write(run: Path, folder: Path, name: str, options: _PushOptions) -> None:
    """Write the files of a run as the hub is to have them into a new folder."""
    if options.out:
        if strangers(folder):
            raise UserError(f"{folder} is not empty: choose another --out")
        make_folder(folder)
    model = _checked(run, options.memory_limit)
    recipe = _recipe_for_others(record.read_recipe(run, memory_limit=options.memory_limit))
    write_json(folder / record.CONFIG, to_dict(recipe))
    write_json(folder / record.DATA, record.read_about(run) | {"channels": model.config.in_channels})
    if (run / record.RESULT).exists():
        write_json(folder / record.RESULT, record.read_result(run))
    if (run / record.ENVIRONMENT).exists():
        write_json(folder / record.ENVIRONMENT, record.told_of(record.read_environment(run)))
    write_whole(folder / CARD, _card(folder, name, recipe, options.licence).encode())
    write_whole(folder / WEIGHTS, model_bytes(model))


def _recipe_for_others(recipe: Recipe) -> Recipe:
    """A recipe without the place of the run that it starts from."""
    known = not recipe.pretrained or recipe.pretrained in shipped_names()
    return recipe if known else replace(recipe, pretrained=_ANOTHER_RUN)


def _inert(text: str) -> str:
    """A text of the user's in Markdown, without its markup: on one line, not too long, links and tags as they read."""
    return re.sub(r"([!-&(-+./:-<>-@\[-`{-~])", r"\\\1", cut(printable(text), 80))


def _card(folder: Path, name: str, recipe: Recipe, licence: str) -> str:
    """The card in Markdown, with the head that the hub reads, of a folder of records for others."""
    about = record.read_about(folder)
    result: dict[str, Any] = record.read_result(folder) if (folder / record.RESULT).exists() else {}
    head = ["---", "library_name: sresnet", "pipeline_tag: image-classification", "tags:", "- spiking-neural-network"]
    head += [f"license: {licence}"] if licence else []
    try:
        made_by = f"`{printable(command(recipe))}`"
    except UserError:
        made_by = ""
    if not made_by or "`" in made_by[1:-1]:
        made_by = "a recipe of its own, in `config.json`"
    classes = ", ".join(map(_inert, about["class_names"][:20]))
    more = f", ... ({len(about['class_names'])} in all)" if len(about["class_names"]) > 20 else ""
    size = "x".join(map(str, (about["channels"], *about["image_size"])))
    kind = "An ANN" if recipe.model.neuron == "relu" else "A spiking neural network"
    trained_on = f"trained on {_inert(recipe.data.name)} by {made_by}"
    lines = [
        *head,
        "---",
        "",
        f"# {name}",
        "",
        f"{kind}: {_inert(describe(recipe.model))}, {trained_on}.",
    ]
    if "test_top1" in result:
        images = f"{result['test_images']:,} test images" if "test_images" in result else "the test images"
        lines += [
            "",
            f"{accuracy('Test', result.get('split', {}))} of the run: {result['test_top1']:.2f} % of {images}; "
            f"one run, seed {recipe.seed}.",
        ]
    lines += ["", f"Input: {size}. Licence of the weights: {licence or 'none is given'}."]
    return "\n".join(
        [
            *lines,
            "",
            f"Classes: {classes}{more}.",
            "",
            "```console",
            f"sresnet pull {name}",
            f"sresnet predict runs/{name.partition('/')[2]} picture.png",
            "```",
            "",
            "```python",
            "import sresnet",
            "",
            f'model = sresnet.load("runs/{name.partition("/")[2]}")',
            'print(model.predict("picture.png"))',
            "```",
            "",
        ]
    )
