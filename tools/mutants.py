"""Mutation testing: the tests should notice if a line of the package were wrong.

    make mutants
    python tools/mutants.py [ops nn train] [--count 150] [--seed 0] [--workers 2]

Takes `--count` mutants of each folder of src/sresnet, one small change of the source each, and runs for each the tests
that reach the changed statement until one fails. A mutant that no test kills is a hole in the tests, or a change that
changes nothing. Writes results/mutants.json and a page beside it; what people judged of the survivors is kept in
results/mutants-judged.toml under the mutant's id, which stays the same while its statement does. Exit status 1 where
a survivor is not judged. `--list` prints the mutants, `--only ID` runs one and shows what the tests print, `--page`
runs nothing.

How it works:

- Kinds of change (`Finder`): comparison, arithmetic, boolean, constant, negated condition, removed statement, swapped
  arguments, keyword (a default changed, a keyword argument left out), return None, and for C++ an operator or a
  constant. Messages, annotations, decorators and asserts are left alone. The choice is by a hash of the seed and the
  change itself, kind after kind, so it hardly moves when other lines do.
- The tests of `TESTS` (but those marked slow) are run once without a mutant, file by file under a tracer: which test
  executes which lines, and how much processor time it takes. A test that fails here is left out.
- Everything happens in copies of the tracked files in build/mutants, with a cache folder of their own. One process
  imports torch and all else that tests need, but not the package, and forks for every mutant; so a mutant costs
  little more than its tests, and processes that tests start see it too. Tests of the folder's own come first, the
  fastest first, up to `--seconds` of them as traced. Processor time and memory are limited: a mutant that exceeds them
  is killed.
- Outcomes are kept in build/mutants. One is used again as long as the changed file and the file of the test that killed
  it are the same; that of a survivor, as long as the package and all tests that reach it are, or once it is judged.
"""

import argparse
import ast
import collections
import contextlib
import hashlib
import importlib
import importlib.metadata
import itertools
import json
import os
import platform
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "src/sresnet"
WORK = ROOT / "build" / "mutants"
CACHE = WORK / "cache"
"""What tests without a mutant left in the cache folder, the compiled kernel above all; each mutant starts with it."""
RESULT, PAGE, JUDGED = (ROOT / "results" / name for name in ("mutants.json", "mutants.md", "mutants-judged.toml"))
FOLDERS = ("ops", "nn", "train")
TESTS = (
    "tests/ops", "tests/nn", "tests/models", "tests/train", "tests/test_cli.py", "tests/test_cli_faults.py",
    "tests/test_config.py",
)  # fmt: skip
"""What is asked: not the tests of data, analyses, reports, studies and documents, which take longer than all these."""
OF_TRITON = ("scan/gpu/kernels.py", "scan/gpu/launch.py", "scan/gpu/check.py")
"""No test runs them here; of the first two `tools/kernel_faults.py` asks."""
VERDICTS = ("equivalent", "not worth a test")
MEMORY = 16 * 2**30
"""Address space of a process that runs a mutant, in bytes."""

# Mutants


@dataclass(frozen=True)
class Mutant:
    """One change of one file."""

    id: str
    file: str
    """Below the root of the repository."""
    line: int
    function: str
    """Qualified name of what is around it; empty at the top of a module."""
    kind: str
    before: str
    """The changed lines."""
    after: str
    start: int
    """Where the replaced bytes begin and end, and what replaces them."""
    end: int
    text: str
    statement: tuple[int, int]
    """First and last line of the innermost statement; of a compound statement the part before its block."""


def apply(source: bytes, mutant: Mutant) -> bytes:
    """The changed file."""
    return source[: mutant.start] + mutant.text.encode() + source[mutant.end :]


COMPARISONS = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"), ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"), ast.NotIn: ("not in", "in"),
}  # fmt: skip
ARITHMETIC = {
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"), ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "*"), ast.Pow: ("**", "*"), ast.LShift: ("<<", ">>"), ast.RShift: (">>", "<<"),
}  # fmt: skip
UNORDERED = ("isinstance", "issubclass", "hasattr", "getattr", "setattr", "print")
"""Functions whose arguments are not swapped: the change would be an error wherever it is reached."""


class Finder:
    """All mutants of one Python file."""

    def __init__(self, file: str, source: bytes) -> None:
        self.file, self.source = file, source
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.found: list[Mutant] = []
        self.names: list[str] = []
        self.statement = (1, 1)
        self.count: collections.Counter[str] = collections.Counter()
        self.visit(ast.parse(source))

    def span(self, node: ast.expr | ast.stmt | ast.keyword) -> tuple[int, int]:
        """The bytes of a node."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.starts[node.lineno - 1] + node.col_offset, self.starts[node.end_lineno - 1] + node.end_col_offset

    def text(self, start: int, end: int) -> str:
        """Source between two places."""
        return self.source[start:end].decode()

    def add(self, kind: str, start: int, end: int, text: str) -> None:
        """Note a mutant, unless it is not Python."""
        changed = self.source[:start] + text.encode() + self.source[end:]
        with contextlib.suppress(SyntaxError):
            compile(changed, self.file, "exec", dont_inherit=True)
            self.found.append(
                made(self.file, self.source, kind, start, end, text, self.names, self.statement, self.count)
            )

    def operator(self, kind: str, left: ast.expr, right: ast.expr, old: str, new: str) -> None:
        """Replace the operator between two operands."""
        start, end = self.span(left)[1], self.span(right)[0]
        between = self.text(start, end)
        if old in between:
            self.add(kind, start, end, between.replace(old, new, 1))

    def visit(self, node: ast.AST) -> None:
        """Note the mutants of a node, and of those below it."""
        before = self.statement, len(self.names)
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            last = body[0].lineno - 1 if body else node.end_lineno or node.lineno
            self.statement = node.lineno, max(node.lineno, last)
        if not isinstance(node, ast.Assert | ast.JoinedStr | ast.Import | ast.ImportFrom):
            self.mutate(node)
        self.statement = before[0]
        del self.names[before[1] :]

    def below(self, *nodes: ast.AST | None) -> None:
        """Visit those that are there."""
        for node in nodes:
            if node is not None:
                self.visit(node)

    def mutate(self, node: ast.AST) -> None:
        """The mutants of a node by its type."""
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self.function(node)
            case ast.ClassDef():
                self.names.append(node.name)
                self.below(*node.body)
            case ast.AnnAssign():
                self.remove(node)
                self.below(node.value)
            case ast.Raise():
                self.remove(node)
            case _:
                if isinstance(node, ast.stmt):
                    self.remove(node)
                self.expression(node)
                self.below(*ast.iter_child_nodes(node))

    def function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Defaults and body, without annotations and decorators."""
        self.names.append(node.name)
        for default in [*node.args.defaults, *node.args.kw_defaults]:
            if isinstance(default, ast.Constant):
                self.constant(default, "keyword")
            else:
                self.below(default)
        self.below(*node.body)

    def remove(self, node: ast.stmt) -> None:
        """A statement without which the next ones still run; a name that is assigned anew counts among them."""
        match node:
            case ast.Expr(value=ast.Constant()):
                return
            case ast.Assign(targets=[ast.Name(id=name)]):
                if not any(isinstance(part, ast.Name) and part.id == name for part in ast.walk(node.value)):
                    return
            case (
                ast.Assign() | ast.Expr() | ast.AugAssign() | ast.Raise() | ast.Delete() | ast.Break() | ast.Continue()
            ):
                pass
            case _:
                return
        self.add("removed statement", *self.span(node), "pass")

    def constant(self, node: ast.Constant, kind: str = "constant") -> None:
        """Another number, or the other truth."""
        value = node.value
        if isinstance(value, bool):
            self.add(kind, *self.span(node), str(not value))
        elif isinstance(value, int | float):
            self.add(kind, *self.span(node), repr(value + 1))

    def expression(self, node: ast.AST) -> None:
        """The mutants of an expression, and of a statement's own operators."""
        match node:
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                self.operator("comparison", left, right, *COMPARISONS[type(op)])
                if isinstance(right, ast.Constant) and isinstance(right.value, str):
                    self.add("constant", *self.span(right), repr(f"another {right.value}"))
            case ast.BinOp(left=left, op=op, right=right):
                texts = any(
                    isinstance(side, ast.JoinedStr) or isinstance(getattr(side, "value", 0), str)
                    for side in (left, right)
                )
                if type(op) in ARITHMETIC and not texts:
                    self.operator("arithmetic", left, right, *ARITHMETIC[type(op)])
                elif isinstance(op, ast.BitOr) and any(
                    isinstance(side, ast.Dict | ast.DictComp) for side in (left, right)
                ):
                    first, last = self.text(*self.span(left)), self.text(*self.span(right))
                    between = self.text(self.span(left)[1], self.span(right)[0])
                    self.add("swapped arguments", *self.span(node), last + between + first)
            case ast.AugAssign(target=target, op=op, value=value) if type(op) in ARITHMETIC:
                self.operator("arithmetic", target, value, *ARITHMETIC[type(op)])
            case ast.BoolOp(op=op, values=values):
                words = ("and", "or") if isinstance(op, ast.And) else ("or", "and")
                for left, right in itertools.pairwise(values):
                    self.operator("boolean", left, right, *words)
            case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
                kind = "boolean" if isinstance(node.op, ast.Not) else "arithmetic"
                self.add(kind, *self.span(node), f"({self.text(*self.span(operand))})")
            case ast.Constant():
                self.constant(node)
            case ast.Return(value=value) if value is not None and getattr(value, "value", 0) is not None:
                self.add("return None", *self.span(value), "None")
            case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
                self.negate(test)
            case ast.comprehension(ifs=tests):
                for test in tests:
                    self.negate(test)
            case ast.Call():
                self.call(node)

    def negate(self, test: ast.expr) -> None:
        """The opposite condition, where no other kind makes the same."""
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            return
        if isinstance(test, ast.Compare) and not isinstance(test.ops[0], ast.Lt | ast.LtE | ast.Gt | ast.GtE):
            return
        self.add("negated condition", *self.span(test), f"(not ({self.text(*self.span(test))}))")

    def call(self, node: ast.Call) -> None:
        """Arguments swapped or left out."""
        plain = not any(isinstance(each, ast.Starred) for each in node.args)
        if plain and len(node.args) > 1 and getattr(node.func, "id", "") not in UNORDERED:
            (first, first_end), (second, second_end) = self.span(node.args[0]), self.span(node.args[1])
            one, between, two = self.text(first, first_end), self.text(first_end, second), self.text(second, second_end)
            if one != two:
                self.add("swapped arguments", first, second_end, two + between + one)
        for keyword in node.keywords:
            if keyword.arg is None:
                continue
            start, end = self.span(keyword)
            if after := re.match(rb"\s*,\s*", self.source[end:]):
                self.add("keyword", start, end + after.end(), "")
            elif before := re.search(rb",\s*\Z", self.source[:start]):
                self.add("keyword", before.start(), end, "")
            else:
                self.add("keyword", start, end, "")


def made(
    file: str, source: bytes, kind: str, start: int, end: int, text: str, names: list[str],
    statement: tuple[int, int], count: collections.Counter[str],
) -> Mutant:  # fmt: skip
    """A mutant with its id, which is a hash of the change and the statement that it is in, not of the line number."""
    first = source.rfind(b"\n", 0, start) + 1
    last = source.find(b"\n", end)
    last = len(source) if last < 0 else last
    before = source[first:last].decode()
    after = (source[first:start] + text.encode() + source[end:last]).decode()
    name = ".".join(names)
    key = "\0".join((file, name, kind, before.strip(), after.strip()))
    count[key] += 1
    digest = hashlib.sha256(f"{key}\0{count[key]}".encode()).hexdigest()[:10]
    line = source.count(b"\n", 0, start) + 1
    return Mutant(digest, file, line, name, kind, before, after, start, end, text, statement)


NATIVE = (
    (r" < ", " <= "), (r" > ", " >= "), (r" <= ", " < "), (r" == ", " != "), (r" \+ ", " - "), (r" - ", " + "),
    (r" \* ", " + "), (r" / ", " * "), (r" \+= ", " -= "), (r" -= ", " += "), (r" && ", " || "), (r"!(?=\w)", ""),
    (r"std::max\b", "std::min"), (r"std::min\b", "std::max"), (r"(?<![\w.])1(?![\w.])", "2"),
    (r"(?<![\w.])0(?![\w.])", "1"),
)  # fmt: skip


def native_mutants(file: str, source: bytes) -> list[Mutant]:
    """Operators and constants of a C++ file, in lines that every processor compiles."""
    found: list[Mutant] = []
    count: collections.Counter[str] = collections.Counter()
    depth = place = 0
    for number, line in enumerate(source.splitlines(keepends=True), 1):
        code = line.decode().partition("//")[0]
        depth += code.startswith("#if") - code.startswith("#endif")
        if not depth and not re.match(r"#|template|inline|static_assert|using|typedef|struct|EXPORT|constexpr", code):
            for pattern, text in NATIVE:
                for match in re.finditer(pattern, code):
                    at = place + len(code[: match.start()].encode())
                    end = at + len(match[0].encode())
                    found.append(made(file, source, "C++", at, end, text, [], (number, number), count))
        place += len(line)
    return found


def all_mutants(tree: Path, folder: str) -> list[Mutant]:
    """Every mutant of a folder of the package."""
    found: list[Mutant] = []
    for path in sorted((tree / PACKAGE / folder).rglob("*")):
        file = path.relative_to(tree).as_posix()
        if any(file.endswith(name) for name in OF_TRITON):
            continue
        if path.suffix == ".py":
            found += Finder(file, path.read_bytes()).found
        elif path.suffix == ".cpp":
            found += native_mutants(file, path.read_bytes())
    return found


def chosen(mutants: Iterable[Mutant], count: int, seed: int) -> list[Mutant]:
    """`count` of them, in turn of each kind, in the order of a hash; in the order of the source."""
    kinds: dict[str, list[Mutant]] = {}
    for mutant in sorted(mutants, key=lambda mutant: hashlib.sha256(f"{seed} {mutant.id}".encode()).digest()):
        kinds.setdefault(mutant.kind, []).append(mutant)
    turns = [(turn, kind) for kind, group in sorted(kinds.items()) for turn in range(len(group))]
    picked = [kinds[kind][turn] for turn, kind in sorted(turns)[:count]]
    return sorted(picked, key=lambda mutant: (mutant.file, mutant.start, mutant.id))


# Running tests


def digest(tree: Path, *parts: str) -> str:
    """A short hash of files, and of all files below folders, of a tree."""
    total = hashlib.sha256()
    for part in parts:
        path = tree / part
        for each in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if each.is_file() and "__pycache__" not in each.parts:
                total.update(f"{each.relative_to(tree)} {hashlib.sha256(each.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()[:16]


def digests(tree: Path, files: Iterable[str]) -> dict[str, str]:
    """File -> its digest; "" where there is none."""
    return {file: digest(tree, file) if (tree / file).is_file() else "" for file in files}


def make_tree(tree: Path) -> None:
    """A copy of the tracked files, and of new ones that git does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True).stdout
    names = {name for name in listed.split("\0") if name and (ROOT / name).is_file()}
    for path in list(tree.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and path.relative_to(tree).as_posix() not in names:
            path.unlink()
    for name in names:
        to = tree / name
        to.parent.mkdir(parents=True, exist_ok=True)
        if not to.exists() or to.read_bytes() != (ROOT / name).read_bytes():
            shutil.copyfile(ROOT / name, to)
        os.utime(to, (0, 0))  # so that compiled Python fits the file in every tree


def share_bytecode(trees: list[Path]) -> None:
    """Compiled Python of one tree for the others."""
    for tree in trees:
        for path in tree.rglob("__pycache__/*.pyc"):
            for other in trees:
                to = other / path.relative_to(tree)
                if not to.exists():
                    to.parent.mkdir(exist_ok=True)
                    shutil.copyfile(path, to)


class Watcher:
    """A pytest plugin that notes which test executes which lines of the package, and what each takes."""

    def __init__(self, tree: Path, file: str) -> None:
        self.file = file
        self.folder = f"{tree / PACKAGE}/"
        self.start = len(f"{tree}/")
        self.seen: Lines = {}
        self.tests: dict[str, Lines] = {}
        self.fixtures: dict[str, Lines] = {}
        self.names: dict[str, list[str]] = {}
        self.seconds: dict[str, float] = collections.defaultdict(float)
        self.failed: list[str] = []
        self.loading: Lines = {}

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        """Called by Python for every function, and by what it returns for every line."""
        file = frame.f_code.co_filename
        if not file.startswith(self.folder):
            return None
        lines = self.seen.setdefault(file[self.start :], set())
        lines.add(frame.f_lineno)

        def line(frame: FrameType, event: str, _: Any) -> Any:
            lines.add(frame.f_lineno)
            return line

        return line

    def run(self, arguments: list[str]) -> tuple[int, Any]:
        """Run pytest; its status and what was seen."""
        threading.settrace(self.trace)
        sys.settrace(self.trace)
        status = pytest.main([*arguments, self.file], plugins=[self])
        sys.settrace(None)
        found = {}
        for test, lines in self.tests.items():
            for fixture in self.names[test]:
                merge(lines, self.fixtures.get(fixture, {}))
            found[test] = {
                "seconds": round(self.seconds[test], 3),
                "lines": {file: sorted(numbers) for file, numbers in lines.items()},
            }
        loading = {file: sorted(numbers) for file, numbers in self.loading.items()}
        return status, {"tests": found, "loading": loading, "failed": self.failed, "modules": sorted(sys.modules)}

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self) -> Iterator[None]:
        """What importing the test file executes."""
        result = yield
        self.loading, self.seen = self.seen, {}
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        """What a fixture of several tests executes counts for each of them."""
        if fixturedef.scope == "function":
            return (yield)
        before, self.seen = self.seen, self.fixtures.setdefault(fixturedef.argname, {})
        try:
            return (yield)
        finally:
            self.seen = before

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Iterator[None]:
        """A test with its fixtures."""
        self.seen = self.tests.setdefault(item.nodeid, {})
        self.names[item.nodeid] = list(getattr(item, "fixturenames", []))
        before = processor_seconds()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] += processor_seconds() - before

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Outcome."""
        if report.failed:
            self.failed.append(report.nodeid)
        if report.skipped:
            self.tests.pop(report.nodeid, None)


def processor_seconds() -> float:
    """Of this process and of those that it waited for: whatever else the machine does counts for nothing."""
    return sum(os.times()[:4])


Lines = dict[str, set[int]]
"""File -> lines that were executed."""


def merge(lines: Lines, others: Lines) -> None:
    """Add the others."""
    for file, numbers in others.items():
        lines.setdefault(file, set()).update(numbers)


class Killer:
    """A pytest plugin that runs some tests of the collected ones, in this order, and notes which one failed."""

    def __init__(self, groups: list[list[str]]) -> None:
        self.groups = groups
        self.rank: dict[str, int] = {}
        self.by = ""

    def run(self, arguments: list[str]) -> tuple[int, Any]:
        """Run pytest for each group until one fails; its status and the name of the test that failed."""
        status = 0
        for group in self.groups:
            self.rank = {test: rank for rank, test in enumerate(group)}
            if status in (0, 5):  # 5: none of them is there any more
                status = pytest.main(["-q", "-x", *arguments, *files_of(group)], plugins=[self])
        return status, self.by

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Choose and sort."""
        items[:] = sorted((item for item in items if item.nodeid in self.rank), key=lambda item: self.rank[item.nodeid])

    def pytest_collectreport(self, report: Any) -> None:
        """A test file that cannot be imported."""
        if report.failed and not self.by:
            self.by = f"import of {report.nodeid}"

    def pytest_runtest_logreport(self, report: Any) -> None:
        """The first that failed."""
        if report.failed and not self.by:
            self.by = report.nodeid


def files_of(tests: Iterable[str]) -> list[str]:
    """The files that hold these tests."""
    return list(dict.fromkeys(test.partition("::")[0] for test in tests))


How = tuple[int, Any, float]
"""Status of a process (a signal is negative), what the plugin found, and seconds."""


class Fork:
    """Tests in a fork of this process, in a tree of their own."""

    def __init__(self, tree: Path, plugin: Watcher | Killer, seconds: float, show: bool = False) -> None:
        """Start it; `seconds` is the processor time that it should need at most."""
        self.told = tree.with_name(f"{tree.name}.json")
        self.told.unlink(missing_ok=True)
        cache = tree.with_name(f"{tree.name}-cache")
        shutil.rmtree(cache, ignore_errors=True)
        if CACHE.exists():
            shutil.copytree(CACHE, cache)
        self.started = time.monotonic()
        limit = int(20 + 5 * seconds)
        self.patience = 300 + 10 * seconds
        self.child = os.fork()
        if self.child:
            return
        status = 70
        try:
            os.setpgrp()  # not a session: Linux may give those a lower share of the processor
            for stream, name in enumerate((os.devnull, *[str(tree.with_name(f"{tree.name}.log"))] * 2)):
                if not (show and stream):
                    os.dup2(os.open(name, os.O_RDONLY if not stream else os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
            for what, most in ((resource.RLIMIT_CPU, limit), (resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0)):
                resource.setrlimit(what, (most, resource.getrlimit(what)[1]))  # tests may set limits of their own
            os.chdir(tree)
            os.environ |= {
                "XDG_CACHE_HOME": str(cache),
                "PYTHONPATH": str(tree / "src"),
                "GIT_CEILING_DIRECTORIES": str(tree.parent),
            }
            if isinstance(plugin, Killer):  # or a mutant would be kept
                os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
                sys.dont_write_bytecode = True
            sys.path[:0] = [str(tree / "src"), str(tree)]
            status, said = plugin.run(OPTIONS)
            self.told.write_text(json.dumps(said), encoding="utf-8")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def ended(self) -> How | None:
        """How it ended; None while it runs."""
        seconds = time.monotonic() - self.started
        if seconds > self.patience:  # asleep for ever
            os.killpg(self.child, signal.SIGKILL)
        child, status = os.waitpid(self.child, os.WNOHANG)
        if not child:
            return None
        with contextlib.suppress(ProcessLookupError):  # what tests left behind
            os.killpg(self.child, signal.SIGKILL)
        said = json.loads(self.told.read_text(encoding="utf-8")) if self.told.exists() else None
        return os.waitstatus_to_exitcode(status), said, round(seconds, 2)


OPTIONS = ["-p", "no:cacheprovider", "-p", "no:xdist", "-W", "ignore::pytest.PytestAssertRewriteWarning"]


def in_forks(trees: list[Path], jobs: Iterable[Any], start: Any) -> Iterator[tuple[Path, Any, How]]:
    """Run `start(tree, job)` for all jobs, one at a time in each tree; tree, job and how it ended, as they end."""
    waiting = iter(jobs)
    running: dict[Path, tuple[Any, Fork]] = {}
    while True:
        for tree in trees:
            if tree not in running and (job := next(waiting, None)) is not None:
                running[tree] = job, start(tree, job)
        if not running:
            return
        for tree, (job, fork) in list(running.items()):
            if (how := fork.ended()) is not None:
                del running[tree]
                yield tree, job, how
        time.sleep(0.01)


def watch(trees: list[Path], places: list[str]) -> dict[str, Any]:
    """Run tests without a mutant and see what each executes; kept until the test file or what it executes changes."""
    tree = trees[0]
    paths = [path for place in places for path in sorted(tree.glob(place))]
    found = [test for path in paths for test in (sorted(path.rglob("test_*.py")) if path.is_dir() else [path])]
    kept = {file.relative_to(tree).as_posix(): WORK / "watched" / digest(tree, str(file)) for file in found}
    (WORK / "watched").mkdir(exist_ok=True)
    parts = {file: json.loads(path.read_text(encoding="utf-8")) for file, path in kept.items() if path.exists()}
    valid = {file for file, part in parts.items() if part["files"] == digests(tree, part["files"])}

    def start(tree: Path, file: str) -> Fork:
        return Fork(tree, Watcher(tree, file), 600)

    for place, file, (status, said, took) in in_forks(trees, [file for file in kept if file not in valid], start):
        print(f"{file}: {took:.0f} s, status {status}", flush=True)
        parts[file] = said or {"tests": {}, "loading": {}, "failed": [file], "modules": []}
        executed = [parts[file]["loading"], *(about["lines"] for about in parts[file]["tests"].values())]
        parts[file]["files"] = digests(tree, {name for lines in executed for name in lines})
        kept[file].write_text(json.dumps(parts[file]), encoding="utf-8")
        if (cache := place.with_name(f"{place.name}-cache")).exists():
            shutil.copytree(cache, CACHE, dirs_exist_ok=True)
    share_bytecode(trees)
    return {
        "tests": {test: about for part in parts.values() for test, about in part["tests"].items()},
        "loading": {file: part["loading"] for file, part in parts.items()},
        "failed": sorted({test for part in parts.values() for test in part["failed"]}),
        "modules": sorted({name for part in parts.values() for name in part["modules"]}),
    }


def prepare(modules: Iterable[str]) -> None:
    """Import here what tests import of other packages, so that the forks need not."""
    for name in ("torch", "numpy", "hypothesis", *modules):
        if name.partition(".")[0] in IMPORTED:
            with contextlib.suppress(Exception):
                importlib.import_module(name)


IMPORTED = (
    "PIL", "hypothesis", "lz4", "matplotlib", "numpy", "rich", "safetensors", "scipy", "sklearn", "torch", "typeguard",
    "tyro", "zstandard",
)  # fmt: skip


class Plan(NamedTuple):
    """The tests of a mutant."""

    groups: list[list[str]]
    """Those of the same folder, and others, the fastest first, each up to so many seconds."""
    reached: bool
    """They were seen to execute the statement."""


def plan(mutant: Mutant, watched: dict[str, Any], seconds: float, killers: Iterable[str] = ()) -> Plan:
    """The tests that reach a mutant, those of the same folder and then others, the fastest first, `seconds` of each.

    What is executed when a file is imported is reached by all tests whose file imports it, those first that execute
    something of it. A C++ file is reached with the functions of the Python file beside it that calls it. Where no test
    was seen to reach the statement, and processes that tests start or torch.compile might, these are the tests that
    execute something of the file. `killers` come before all others: the tests that killed it, or mutants near it, in an
    earlier run.
    """
    folder = mutant.file.removeprefix(f"{PACKAGE}/").partition("/")[0]
    file, lines = mutant.file, set(range(mutant.statement[0], mutant.statement[1] + 1))
    if mutant.kind == "C++":
        file = str(Path(file).with_name("cpu.py"))
        lines = {line for about in watched["tests"].values() for line in about["lines"].get(file, ())}
    found = []
    for test, about in watched["tests"].items():
        if test in watched["failed"]:
            continue
        executed = set(about["lines"].get(file, ()))
        loaded = lines & set(watched["loading"][test.partition("::")[0]].get(file, ()))
        if executed & lines or loaded or executed:
            rank = 0 if executed & lines else 1 if loaded and executed else 2 if loaded else 3
            found.append((rank, not test.startswith(f"tests/{folder}/"), about["seconds"], test))
    reached = bool(found) and min(found)[0] < 3
    if reached:  # what is cached for the process is executed by the first test of a file alone
        near = {test.partition("::")[0] for rank, _, _, test in found if rank < 3}
        found = [each for each in found if each[0] < 3 or each[3].partition("::")[0] in near]
    groups: list[list[str]] = [[], []]
    total = [0.0, 0.0]
    for _, other, each, test in sorted(found):
        total[other] += each
        if total[other] <= seconds or not any(groups):
            groups[other].append(test)
    groups.insert(0, [test for test in dict.fromkeys(killers) if test in watched["tests"]])
    return Plan([group for group in groups if group], reached)


def try_mutants(
    mutants: list[Mutant],
    trees: list[Path],
    watched: dict[str, Any],
    tests: dict[str, Plan],
    show: bool,
) -> Iterator[dict[str, Any]]:
    """Run the tests of each mutant, given by its id; what became of it, as they end."""
    for mutant in mutants:
        if not tests[mutant.id].groups:
            yield {"id": mutant.id, "outcome": "unreached", "by": "", "tests": 0, "seconds": 0.0}

    def start(tree: Path, mutant: Mutant) -> Fork:
        mine = tests[mutant.id].groups
        path = tree / mutant.file
        path.write_bytes(apply(path.read_bytes(), mutant))
        estimate = sum(watched["tests"][test]["seconds"] for group in mine for test in group)
        return Fork(tree, Killer(mine), estimate + 15 * (mutant.kind == "C++"), show)

    some = [mutant for mutant in mutants if tests[mutant.id].groups]
    originals = {mutant.file: (trees[0] / mutant.file).read_bytes() for mutant in mutants}
    for tree, mutant, (status, by, took) in in_forks(trees, some, start):
        (tree / mutant.file).write_bytes(originals[mutant.file])
        os.utime(tree / mutant.file, (0, 0))
        outcome = "killed" if status in (1, 2, 3) or status < 0 else f"status {status}"
        if status == 0:
            outcome = "survived" if tests[mutant.id].reached else "unreached"
        if status < 0:
            by = LIMITS.get(-status, f"signal {-status}")
        yield {
            "id": mutant.id,
            "outcome": outcome,
            "by": by or "",
            "tests": sum(map(len, tests[mutant.id].groups)),
            "seconds": took,
        }


LIMITS = {int(signal.SIGXCPU): "limit of processor time", int(signal.SIGKILL): "limit of time"}


def key_of(tree: Path, hashes: dict[str, str], file: str, tests: Plan, row: dict[str, Any]) -> str:
    """What an outcome depends on: the changed file and that of the test that killed, or the package and all its tests.

    `hashes` are of the package and its files, without a mutant.
    """
    test = row["by"].partition("::")[0]
    if row["outcome"] == "killed" and (tree / test).is_file():
        return hashes[file] + digest(tree, test)
    names = [test for group in tests.groups for test in group]
    return f"{hashes[PACKAGE]}{digest(tree, *files_of(names))} {len(names)}"


# The record


def machine() -> str:
    """Processor and system."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores, {platform.system()}"


def revision() -> str:
    """Of the source."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
        ).stdout.strip()

    changed = git("status", "--porcelain", "--", PACKAGE, "tests", "tools")
    return git("rev-parse", "HEAD") + ("+changes" if changed else "")


def page(record: dict[str, Any], judged: dict[str, Any]) -> str:
    """results/mutants.md."""
    about = record["environment"]
    lines = [
        "# What the tests notice",
        "",
        f"Made by `{record['command']}` from `mutants.json` and `mutants-judged.toml`; see `tools/mutants.py`.",
        "One small change of the source each; killed: a test fails; unreached: no test executes the statement.",
        f"Asked are the tests of {', '.join(record['tests'])}.",
        f"Revision {about['revision']}, Python {about['python']}, torch {about['torch']}, pytest {about['pytest']}, "
        f"hypothesis {about['hypothesis']}; {about['machine']}.",
        "",
        "| folder | kind | mutants | killed | survived | unreached |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for folder, part in record["folders"].items():
        counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        for row in part["mutants"]:
            for kind in (row["kind"], "all"):
                counts[kind][row["outcome"]] += 1
        for kind in [*sorted(counts.keys() - {"all"}), "all"]:
            count = counts[kind]
            numbers = " | ".join(map(str, (count.total(), count["killed"], count["survived"], count["unreached"])))
            lines.append(f"| {folder} | {kind} | {numbers} |")
    for folder, part in record["folders"].items():
        lines += ["", f"## {folder}", ""]
        lines += [
            f"{len(part['mutants'])} of {part['of']:,} mutants of {len(part['files'])} files, seed {record['seed']}.",
            "",
        ]
        for row in part["mutants"]:
            if row["outcome"] == "killed":
                continue
            about = judged.get(row["id"], {"verdict": "not judged", "why": ""})
            lines += [
                f"- `{row['file']}:{row['line']}` {row['function']}, {row['kind']}, {row['outcome']} "
                f"({row['tests']} tests, {row['id']}): **{about['verdict']}**. {about['why']}",
                "",
                "  ```diff",
                *[f"  -{line}" for line in row["before"].splitlines()],
                *[f"  +{line}" for line in row["after"].splitlines()],
                "  ```",
            ]
    return "\n".join(lines) + "\n"


def unjudged(record: dict[str, Any], judged: dict[str, Any]) -> list[str]:
    """Ids of what no test killed, and that were not judged to be anything but a hole."""
    rows = [row for part in record["folders"].values() for row in part["mutants"]]
    return [
        row["id"]
        for row in rows
        if row["outcome"] != "killed" and judged.get(row["id"], {}).get("verdict") not in VERDICTS
    ]


def main() -> int:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", default=FOLDERS, help="below src/sresnet")
    parser.add_argument("--count", type=int, default=150, help="mutants of each folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--seconds", type=float, default=90, help="of tests of its folder for a mutant, at most, and of others"
    )
    parser.add_argument("--tests", nargs="+", default=TESTS, metavar="PATH", help="which may kill")
    parser.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    parser.add_argument("--only", metavar="ID", help="run this one, and show what the tests print")
    parser.add_argument("--page", action="store_true", help="write the page anew and run nothing")
    options = parser.parse_args()
    judged = tomllib.loads(JUDGED.read_text(encoding="utf-8")) if JUDGED.exists() else {}
    if options.page:
        record = json.loads(RESULT.read_text(encoding="utf-8"))
        PAGE.write_text(page(record, judged), encoding="utf-8")
        return bool(unjudged(record, judged))
    if options.list:
        for folder in options.folders:
            for mutant in chosen(all_mutants(ROOT, folder), options.count, options.seed):
                print(f"{mutant.id} {mutant.file}:{mutant.line} {mutant.kind}\n-{mutant.before}\n+{mutant.after}")
        return 0
    source = revision()  # of what is copied now, whatever happens to it while this runs
    WORK.mkdir(parents=True, exist_ok=True)
    trees = [WORK / f"tree{number}" for number in range(1 if options.only else options.workers)]
    for tree in trees:
        make_tree(tree)
    prepare(())
    watched = watch(trees, options.tests)
    prepare(watched["modules"])
    for test in watched["failed"]:
        print(f"left out, it fails without a mutant: {test}")
    record = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {"folders": {}}
    kept_file = WORK / "outcomes.jsonl"
    kept = (
        [json.loads(line) for line in kept_file.read_text(encoding="utf-8").splitlines()] if kept_file.exists() else []
    )
    for folder in options.folders:
        everything = all_mutants(trees[0], folder)
        mutants = chosen(everything, options.count, options.seed)
        if options.only:
            mutants = [mutant for mutant in everything if mutant.id == options.only]
        files = {mutant.id: mutant.file for mutant in mutants}
        killers = {row["id"]: row["by"] for row in kept if row["outcome"] == "killed"}
        near: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        for id, test in killers.items():
            near[files.get(id, "")][test] += 1
        tests = {}
        for mutant in mutants:
            first = [killers.get(mutant.id, ""), *(test for test, _ in near[mutant.file].most_common(5))]
            tests[mutant.id] = plan(mutant, watched, options.seconds, first)
        hashes = {name: digest(trees[0], name) for name in {PACKAGE, *files.values()}}

        def key(row: dict[str, Any], tests: Any = tests, files: Any = files, hashes: Any = hashes) -> str:
            return key_of(trees[0], hashes, files[row["id"]], tests[row["id"]], row)

        candidates = [] if options.only else kept
        rows = {
            row["id"]: row
            for row in candidates
            if row["id"] in files and (row["key"] == key(row) or (row["outcome"] != "killed" and row["id"] in judged))
        }
        left = [mutant for mutant in mutants if mutant.id not in rows]
        for row in try_mutants(left, trees, watched, tests, bool(options.only)):
            rows[row["id"]] = row | {"key": key(row)}
            mutant = next(mutant for mutant in mutants if mutant.id == row["id"])
            print(
                f"{folder} {len(rows)}/{len(mutants)} {row['outcome']} {mutant.file}:{mutant.line} {mutant.kind} "
                f"{row['id']} {row['seconds']} s {row['by']}",
                flush=True,
            )
            if not options.only:
                with kept_file.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(rows[row["id"]]) + "\n")
        record["folders"][folder] = {
            "of": len(everything),
            "files": sorted({mutant.file for mutant in everything}),
            "mutants": [shown(mutant) | rows[mutant.id] for mutant in mutants],
        }
    if options.only:
        return 0
    record |= {
        "command": "python tools/mutants.py " + " ".join(FOLDERS) + f" --count {options.count} --seed {options.seed}",
        "seed": options.seed,
        "environment": {
            "revision": source,
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("torch", "numpy", "pytest", "hypothesis")},
            "machine": machine(),
        },
        "tests": options.tests,
        "left_out": watched["failed"],
    }
    RESULT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(record, judged), encoding="utf-8")
    return bool(unjudged(record, judged))


def shown(mutant: Mutant) -> dict[str, Any]:
    """What the record says of a mutant besides its outcome."""
    return {"file": mutant.file, "line": mutant.line, "function": mutant.function, "kind": mutant.kind} | {
        "before": mutant.before,
        "after": mutant.after,
    }


if __name__ == "__main__":
    sys.exit(main())
