"""Every verb that writes, killed at any of its file operations, and the same command again.

    python -m tests.kills FOLDER sweep VERB    killed once at every operation
    python -m tests.kills FOLDER some SEED     20 times, several kills one after the other, verbs and moments drawn

A command runs in a fork of this process, which has imported everything and started no threads. There, an audit hook and
a few functions put around Python's own count the operations on files below the command's folder: opening to write,
writing, fsync, renaming, making, removing, truncating, linking, and starting a program. Before the one that was chosen,
or in the middle of a write, the process sends itself SIGKILL. Then the same command has to end as it does undisturbed,
and to leave the same files, those of the user's beside them untouched. What is printed is JSON: a list of what was
wrong after which kill. Figures are not drawn, only written: that takes the time and no file.
"""

import builtins
import contextlib
import functools
import gc
import importlib
import inspect
import io
import itertools
import json
import os
import random
import re
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch

from sresnet.cli import MODULES, main
from sresnet.data.cached import entries_of
from sresnet.ops.scan import cpu, native
from sresnet.report import plots
from sresnet.studies import results
from sresnet.studies.paper import STUDIES
from sresnet.train.checkpoint import CHECKPOINT
from tests.data.events.made_up_sets import small_nmnist
from tests.golden.reduce import read
from tests.models.test_golden import SMALL, released_checkpoint
from tests.studies.made_up import all_results, studies_at
from tests.studies.test_run import FIRST, study

TINY = "--model.base-filters 2 --model.num-steps 1 --data.train-images 60 --train.batch-size 20 --device cpu".split()
RUN = ["train", "digits", *TINY, "--train.epochs", "1", "--data.validation", "0.1", "--out", "run"]
TIMES = ("seconds", "images_per_second", "seen", "frames_seen")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {
    "os.rename": 2,
    "os.mkdir": 1,
    "os.remove": 1,
    "os.rmdir": 1,
    "os.truncate": 1,
    "os.link": 2,
    "os.symlink": 2,
}
"""Audit event -> how many of its arguments are paths."""
KILLED = 20
"""Times, in the test of all verbs."""
IMPORTED_LATE = """matplotlib.backends.backend_agg matplotlib.backends.backend_svg matplotlib.dviread matplotlib.figure
matplotlib.font_manager PIL.Image PIL.PngImagePlugin sklearn.datasets torch._dynamo""".split()
MINE = {"mine.txt": "mine", ".thesis.part": "mine too", "draft.part": "and this"}
"""The user's files beside ours."""


@dataclass(frozen=True)
class Verb:
    """A command that writes."""

    words: list[str]
    before: Callable[[], Any] = lambda: None
    """Makes what it needs in the current folder."""
    beside: tuple[str, ...] = (".",)
    """Folders that are there beforehand, and hold files of the user's as well."""
    least: int = 5
    """Operations that it has at least, or they are no longer counted."""
    call: Callable[[list[str]], int] = main
    settings: dict[str, str] = field(default_factory=dict)
    """Environment variables."""


def tiny_run():
    assert main(RUN) == 0


def pictures():
    """Two classes of four pictures, bright above and bright below."""
    from PIL import Image

    for name, rows in (("above", slice(4)), ("below", slice(4, 8))):
        Path("pictures", name).mkdir(parents=True)
        for index in range(5):
            pixels = np.full((8, 8, 3), 10 * index, np.uint8)
            pixels[rows] = 200
            Image.fromarray(pixels).save(f"pictures/{name}/{index}.png")


def checkpoint():
    released_checkpoint(read(SMALL / "plain.safetensors.xz"), Path("best.pth.tar"))


def kernel():
    Path("op").mkdir()
    Path("op/kernel.cpp").write_text(
        'extern "C" __attribute__((visibility("default"))) int answer() { return 42; }', encoding="utf-8"
    )


def compile_kernel(words):
    library = native.load(Path(words[0]))
    return 0 if library and library.answer() == 42 else 1


def results_of_table_5():
    for result in all_results([studies_at("tiny")["table5"]]).values():
        results.write(Path("results"), result)


VERBS = {
    "train": Verb([*RUN[:-1], "new", "--train.epochs", "2", "--checkpoint-seconds", "0", "--report"], least=60),
    "finetune": Verb(
        ["finetune", "run", "--data", "digits", "--out", "new", "--train.epochs", "2", "--data.train-images", "60"],
        tiny_run,
        beside=(".", "run"),
        least=30,
    ),
    "analyse": Verb(["analyse", "run", "--images", "4", "--device", "cpu"], tiny_run, beside=(".", "run"), least=40),
    "evaluate": Verb(
        "evaluate run --part validation --calibrate train --exit-confidence 0.9 --out curve --device cpu".split(),
        tiny_run,
        beside=(".", "run"),
        least=10,
    ),
    "predict": Verb(["predict", "run", "pictures/above/0.png", "--out", "drawn.png"], lambda: (tiny_run(), pictures())),
    "report": Verb("report run --images 4 --device cpu".split(), tiny_run, beside=(".", "run")),
    "report --files": Verb(
        "report run --images 4 --device cpu --files figures".split(), tiny_run, beside=(".", "run"), least=100
    ),
    "import": Verb(["import", "best.pth.tar", "--out", "imported"], checkpoint, least=20),
    "data prepare": Verb(
        "data prepare nmnist --data-dir recordings --cache-dir frames --num-steps 2".split(),
        lambda: small_nmnist(Path("recordings"), 10, 10),
        least=40,
    ),
    "data prepare folder": Verb(
        "data prepare folder --data-dir pictures --cache-dir kept --data.image-size 8".split(), pictures, least=40
    ),
    "data view": Verb("data view recordings/1.bs2 --out drawn.png".split(), lambda: small_nmnist(Path("recordings"))),
    "study": Verb("study tried --runs runs --results results --device cpu".split(), least=40),
    "study page": Verb("study page --results results --out page.md".split(), results_of_table_5, least=40),
    "kernel": Verb(["op/kernel.cpp"], kernel, call=compile_kernel, settings={"XDG_CACHE_HOME": "cache"}),
}


class Operations:
    """Counts what is done to files below a folder, and ends the process at one of them."""

    def __init__(self, folder: Path, fatal: int | None) -> None:
        self.folder, self.fatal = f"{folder}/", fatal
        self.names: list[str] = []
        self.asleep = False

    def watch(self):
        """Begin to count, in this process, for good."""
        real_open, real_write, real_pwrite = io.open, os.write, os.pwrite

        def counted_open(
            file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None
        ):
            if not set(mode) & set("wax+"):
                return real_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
            raw = CountedFile(file, mode.replace("b", "").replace("t", ""), closefd, opener)
            raw.operations = self
            if buffering == 0:
                return raw
            buffered = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)
            return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

        def fsync(descriptor):  # not done: what a killed process has written is there all the same
            self.happens("fsync", path_of(descriptor))

        def write(descriptor, content):
            self.writes(path_of(descriptor), content, lambda part: real_write(descriptor, part))
            return real_write(descriptor, content)

        def pwrite(descriptor, content, place):
            self.writes(path_of(descriptor), content, lambda part: real_pwrite(descriptor, part, place))
            return real_pwrite(descriptor, content, place)

        io.open = builtins.open = counted_open
        os.fsync, os.write, os.pwrite = fsync, write, pwrite
        sys.addaudithook(self.heard)

    def heard(self, event, arguments):
        """An audit hook."""
        if event == "open" and arguments[2] & WRITING:
            self.happens("open", arguments[0])
        elif event in CHANGES:
            self.happens(event.removeprefix("os."), *arguments[: CHANGES[event]])
        elif event == "subprocess.Popen":
            self.count(f"start {Path(os.fsdecode(arguments[0])).name}")

    def happens(self, what, *paths):
        """Count an operation on paths if one of them is below the folder."""
        below = [path for path in map(self.below, paths) if path]
        if below:
            self.count(f"{what} {' '.join(below)}")

    def writes(self, path, content, put):
        """Count a write twice: before it, and when half of it is done."""
        if below := self.below(path):
            self.count(f"write {below}")
            self.count(f"half of write {below}", lambda: put(memoryview(content).cast("B")[: len(content) // 2]))

    def below(self, path):
        """`path` from the folder on, "" where it is elsewhere."""
        path = os.path.abspath(path_of(path) if isinstance(path, int) else os.fsdecode(path))
        return path.removeprefix(self.folder) if path.startswith(self.folder) else ""

    def count(self, name, last_act=lambda: None):
        """The next operation; the end, if it is the fatal one."""
        if self.asleep:
            return
        self.names.append(name)
        if len(self.names) - 1 == self.fatal:
            last_act()
            os.kill(os.getpid(), signal.SIGKILL)


class CountedFile(io.FileIO):
    """A file whose writes are counted."""

    operations: Operations

    def write(self, content):
        self.operations.writes(self.name, content, super().write)
        return super().write(content)


def path_of(descriptor):
    """The path behind a descriptor."""
    return os.readlink(f"/proc/self/fd/{descriptor}") if isinstance(descriptor, int) else descriptor


def in_fork(action, folder: Path, settings: dict[str, str], log: Path) -> int:
    """How a fork of this process ends that does `action` in `folder`: its status, or less than 0 for a signal."""
    child = os.fork()
    if child == 0:
        status = 99
        try:
            said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(said, 1)
            os.dup2(said, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            os.chdir(folder)
            os.environ |= settings
            status = action() or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


class Trial:
    """One verb in a folder of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        self.verb = VERBS[name]
        self.work, self.before, self.log = folder / "work", folder / "before", folder / "said"
        self.work.mkdir(parents=True)
        assert in_fork(self.prepare, self.work, {}, self.log) == 0, self.log.read_text()
        self.work.rename(self.before)
        self.start()
        status, self.operations = self.run(None)
        assert status == 0, self.log.read_text()
        assert len(self.operations) >= self.verb.least, self.operations
        self.expected = content_of(self.work)
        self.had = content_of(self.before)

    def prepare(self):
        """Make what the verb needs, and the user's files."""
        self.verb.before()
        for folder, name in itertools.product(self.verb.beside, MINE):
            Path(folder, name).write_text(MINE[name], encoding="utf-8")

    def start(self):
        """The folder as it was before the command."""
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.before, self.work)

    def run(self, fatal):
        """(status, operations) of the command, which ends at operation `fatal`."""
        operations = Operations(self.work, fatal)
        told = self.log.with_name("operations")

        def counted():
            operations.watch()
            status = self.verb.call(self.verb.words)
            operations.asleep = True
            told.write_text("\n".join(operations.names))
            return status

        status = in_fork(counted, self.work, self.verb.settings, self.log)
        return status, told.read_text().splitlines() if status >= 0 else []

    def killed(self, moments) -> str:
        """What is wrong after kills at `moments`, one after the other, and the same command once more; "": nothing."""
        self.start()
        for number, fatal in enumerate([*moments, None]):
            status, _ = self.run(fatal)
            if status != -signal.SIGKILL and (status or not number):  # what is half done has fewer operations left
                return f"status {status}: {self.log.read_text()}"
            if fault := torn(self.work, self.had, self.expected):
                return fault
            if status == 0:
                break
        return difference(self.expected, content_of(self.work))


CHANGING = (".json", ".jsonl", ".safetensors", ".begun", ".list", ".pictures")
"""Endings of files that say something else in between than before and in the end; of some, not whole by design."""


def torn(folder: Path, had: dict[str, Any], expected: dict[str, Any]) -> str:
    """The first file under a name of its own that is not whole: neither as it was before, nor as it is to be."""
    for path in sorted(folder.rglob("[!.]*")):
        name = path.relative_to(folder)
        try:
            if path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".safetensors":
                safetensors.safe_open(path, framework="pt")
            elif path.suffix not in CHANGING and not any(part[0] == "." for part in name.parts):
                whole = [each[str(name)] for each in (had, expected) if str(name) in each]
                if path.is_file() and content(path) not in whole:
                    return f"{name} is torn: {path.stat().st_size} bytes"
        except (ValueError, safetensors.SafetensorError) as error:
            return f"{name} is torn: {error}"
    return ""


def content_of(folder: Path) -> dict[str, Any]:
    """Path -> content, times aside."""
    return {str(path.relative_to(folder)): content(path) for path in sorted(folder.rglob("*"))}


def content(path: Path) -> Any:
    """What a file says, without what differs between two equal runs."""
    if path.is_dir():
        return "a folder"
    if path.suffix in (".json", ".jsonl"):
        return [
            timeless(json.loads(line))
            for line in ([path.read_text(encoding="utf-8")] if path.suffix == ".json" else path.open(encoding="utf-8"))
        ]
    if path.name == CHECKPOINT:  # tells how long metrics.jsonl was, and there are times in it
        with safetensors.safe_open(path, framework="np") as file:
            position = json.loads(file.metadata()["position"])
            position = {key: value for key, value in position.items() if not key.startswith("metrics_")}
            return position, {name: file.get_tensor(name).tobytes() for name in list(file.keys())}
    if path.suffix == ".list":  # of decoded pictures: which is where; what may be there twice aside
        lines = [line for line in entries_of(path) if "crc" in line]
        return {line["name"]: [line[name] for name in ("slot", "content", "plain", "crc")] for line in lines}
    if path.suffix == ".html":  # images per second, and a curve over the time
        return re.sub(rb"\d[\d.,]*", b"#", path.read_bytes())
    return path.read_bytes()


def timeless(value: Any) -> Any:
    """JSON without times, in the state of a cached file among them."""
    if isinstance(value, dict) and "frames_seen" in value:
        value = value | dict.fromkeys(("frames", "files", "checksum"), "")
    if isinstance(value, dict):
        return {key: timeless(each) for key, each in value.items() if key not in TIMES}
    return [timeless(each) for each in value] if isinstance(value, list) else value


def difference(expected: dict[str, Any], found: dict[str, Any]) -> str:
    """The first path that is not as expected."""
    for path in sorted({*expected, *found}):
        if path not in found:
            return f"{path} is missing"
        if path not in expected:
            return f"{path} is left over"
        if found[path] != expected[path]:
            return f"{path} is another: {around(str(expected[path]), str(found[path]))}"
    return ""


def around(expected: str, found: str) -> str:
    """Where two texts differ first."""
    at = next((at for at, (one, other) in enumerate(zip(expected, found, strict=False)) if one != other), 0)
    return f"{found[max(0, at - 40) : at + 40]!r} instead of {expected[max(0, at - 40) : at + 40]!r}"


def sweep(name: str, folder: Path) -> list[str]:
    """Faults: a kill at every operation of a verb."""
    trial = Trial(name, folder)
    faults = []
    for moment, operation in enumerate(trial.operations):
        if fault := trial.killed([moment]):
            faults.append(f"killed before {operation} ({moment}): {fault}")
    return faults


def ready():
    """What forks would otherwise do each for itself: imports above all."""
    for name in (*IMPORTED_LATE, *(f"sresnet.cli.{name}" for name in MODULES.values())):
        importlib.import_module(name)
    torch.set_num_threads(1)
    cpu.kernel()
    plots.written = lambda *figure: plots.MARKS[0] + b"drawn" * 100
    STUDIES["tried"] = study(FIRST)
    inspect.getsource = functools.cache(inspect.getsource)  # of which tyro makes help texts, every time anew
    for verb in ("train digits", "import", "analyse", "evaluate", "report", "data prepare nmnist", "data view"):
        with contextlib.redirect_stdout(io.StringIO()):
            assert main([*verb.split(), "--help"]) == 0
    gc.freeze()  # or forks would copy all of it in their first collection


def some(seed: int, folder: Path) -> list[str]:
    """Faults: one or more kills of every verb, 20 times in all."""
    draw = random.Random(seed)
    names = draw.sample(sorted(VERBS), len(VERBS))
    trials = {name: Trial(name, folder / name.replace(" ", "-")) for name in names}
    faults = []
    for name in (names * 2)[:KILLED]:
        trial = trials[name]
        moments = draw.choices(range(len(trial.operations)), k=draw.choice([1, 1, 2, 3]))
        if fault := trial.killed(moments):
            faults.append(f"{name}, killed before {[trial.operations[moment] for moment in moments]}: {fault}")
    return faults


if __name__ == "__main__":
    _, folder, what, which = sys.argv
    ready()
    print(json.dumps(sweep(which, Path(folder)) if what == "sweep" else some(int(which), Path(folder))))
