"""`sresnet push` and `sresnet pull`: trained networks on the Hugging Face hub; the only file that knows it."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sresnet.cli.parse import name_and_flags, parse
from sresnet.cli.runs import ReadOptions, check_run, read_run
from sresnet.errors import UserError, optional
from sresnet.files import make_folder, only_writer, read_json, strangers, write_json, write_whole
from sresnet.models.saved import WEIGHTS, load, model_bytes
from sresnet.models.summary import describe
from sresnet.printing import going_on, printable, say, unwarned
from sresnet.train import record
from sresnet.train.command import command

CARD = "README.md"
_RECORDS = (record.CONFIG, record.DATA, record.RESULT)
"""What a run folder on the hub holds beside weights, environment and card."""
_FILES = (*_RECORDS, record.ENVIRONMENT, WEIGHTS, CARD)
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class _PushOptions(ReadOptions):
    """Flags of `sresnet push`."""

    out: str = ""
    """Write the files into this folder, which is new, and send nothing."""
    private: bool = False
    """A repository that is made is not shown to others."""
    licence: str = ""
    """Of the weights, as the hub names it, such as apache-2.0; without it the card names none."""


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
    check_run(run)
    read_run(run, options.memory_limit)
    if options.out:
        _write(Path(run), Path(options.out), name, options)
        say(f"written: {options.out}, which nobody else sees: leave --out out to send it")
        return 0
    with tempfile.TemporaryDirectory() as folder, _asking(name):
        from huggingface_hub import HfApi

        _write(Path(run), Path(folder), name, options)
        api = HfApi(library_name="sresnet")
        api.create_repo(name, private=options.private, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message=f"sresnet push of {Path(run).name}")
    say(f"sent: {name}; sresnet pull {name} fetches it")
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
        from huggingface_hub import snapshot_download

        fetched = Path(snapshot_download(name, revision=options.revision, allow_patterns=list(_FILES)))
    missing = [each for each in (record.CONFIG, record.DATA, WEIGHTS) if not (fetched / each).is_file()]
    if missing:
        raise UserError(f"{name} on the hub holds no {missing[0]}: it is no network that sresnet push has sent")
    model = load(fetched, memory_limit=options.memory_limit)
    record.check_about(record.read_about(fetched), model.config, name)
    record.read_recipe(fetched, memory_limit=options.memory_limit)
    make_folder(folder)
    with only_writer(folder):
        for each in _FILES:
            if each != WEIGHTS and (fetched / each).is_file():
                write_whole(folder / each, (fetched / each).read_bytes())
        shutil.copyfile(fetched / WEIGHTS, folder / WEIGHTS)  # last: where they are, the folder is complete
    say(f"{describe(model.config)}, {len(read_json(folder / record.DATA)['class_names'])} classes")
    say(f"run folder: {folder}")
    return 0


def _check_name(name: str) -> None:
    """Raise UserError for what is no name of a repository."""
    if not _NAME.fullmatch(name):
        raise UserError(f"{name!r} is no name on the hub: give OWNER/NAME, such as me/my-network")


@contextmanager
def _asking(name: str) -> Iterator[None]:
    """Inside, the hub is asked about `name`; its many errors become one line."""
    with optional("push and pull need", "huggingface_hub", "hub"):
        import huggingface_hub  # noqa: F401
    try:
        with unwarned():
            yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
        raise UserError(
            f"{name} on the Hugging Face hub: {reason}: see that the name is right, that this machine is online, and "
            "that hf auth login was called where it is yours or private"
        ) from None


def _write(run: Path, folder: Path, name: str, options: _PushOptions) -> None:
    """Write the files of a run as the hub is to have them into a new folder."""
    if options.out:
        if strangers(folder):
            raise UserError(f"{folder} is not empty: choose another --out")
        make_folder(folder)
    model = load(run, memory_limit=options.memory_limit)
    record.check_about(record.read_about(run), model.config, str(run))
    write_whole(folder / WEIGHTS, model_bytes(model))
    for each in _RECORDS:
        if (run / each).exists():
            write_whole(folder / each, (run / each).read_bytes())
    if (run / record.ENVIRONMENT).exists():
        write_json(folder / record.ENVIRONMENT, record.without_places(record.read_environment(run)))
    write_whole(folder / CARD, _card(run, name, options).encode())


def _card(run: Path, name: str, options: _PushOptions) -> str:
    """The card in Markdown, with the head that the hub reads."""
    recipe, about = record.read_recipe(run, memory_limit=options.memory_limit), record.read_about(run)
    result = record.read_result(run) if (run / record.RESULT).exists() else {}
    head = ["---", "library_name: sresnet", "pipeline_tag: image-classification", "tags:", "- spiking-neural-network"]
    head += [f"license: {options.licence}"] if re.fullmatch(r"[a-z0-9.-]+", options.licence) else []
    try:
        made_by = f"`{command(recipe)}`"
    except UserError:
        made_by = "a recipe of its own, in `config.json`"
    classes = ", ".join(map(printable, about["class_names"][:20]))
    more = f", ... ({len(about['class_names'])} in all)" if len(about["class_names"]) > 20 else ""
    lines = [
        *head,
        "---",
        "",
        f"# {name}",
        "",
        f"A spiking neural network: {describe(recipe.model)}, trained on {recipe.data.name} by {made_by}.",
    ]
    if "test_top1" in result:
        images = f"{result['test_images']:,} test images" if "test_images" in result else "the test images"
        lines += [
            "",
            f"Test accuracy of the run: {result['test_top1']:.2f} % of {images}; one run, seed {recipe.seed}.",
        ]
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
