"""What docs/architecture.md and CONTRIBUTING.md say of the code, where that can be looked up in it."""

import ast
import functools
import re
import sys
import tomllib
from pathlib import Path

import pytest

from sresnet import cli
from sresnet.train.loop import train
from tests.train.test_loop import CPU, SPLITS, TINY

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "sresnet"
TEXT = (ROOT / "docs" / "architecture.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FILES = sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py"))
MODULES = {"tomli-w": "tomli_w", "scikit-learn": "sklearn", "pillow": "PIL", "tensorboard": "torch.utils.tensorboard"}
"""Package -> what is imported of it, where that has another name."""


@functools.cache
def tree(file):
    return ast.parse((SOURCE / file).read_text())


def imported(file):
    """Dotted names of all that a file imports, wherever in it: `from a import b` is a and a.b."""
    names = set()
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def importers(module):
    """Files that import a module, or something of it."""
    return {file for file in FILES if any(f"{name}.".startswith(f"{module}.") for name in imported(file))}


def rows(heading):
    """Cells of the first table under a heading."""
    section = TEXT.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_layers_are_those_of_the_contract():
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    (contract,) = [each for each in contracts if each.get("containers") == ["sresnet"]]
    block = TEXT.partition("## Layers")[2].partition("\n\n    ")[2].partition("\n\n")[0]
    assert [re.split(r"\s{2,}", line.strip())[0] for line in block.splitlines()] == contract["layers"]
    folders = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert {row[0].strip("`") for row in rows("Layers")} == folders


@pytest.mark.parametrize("row", rows("Dependencies"), ids=lambda row: row[0])
def test_a_dependency_is_imported_where_the_table_says(row):
    package, extra = re.fullmatch(r"([\w-]+)(?: \(extra `(\w+)`\))?", row[0]).groups()
    project = PROJECT["project"]
    wanted = project["optional-dependencies"][extra] if extra else project["dependencies"]
    assert any(re.split("[<>=]", each)[0] == package for each in wanted)
    if row[2] == "everywhere":
        return
    found, places = importers(MODULES.get(package, package)), re.findall("`([^`]+)`", row[2])
    assert places
    for place in places:
        within = {file for file in found if file == place or file.startswith(f"{place}/")}
        assert within, f"{place} does not import {package}"
        found -= within
    assert not found


def test_nothing_else_is_imported():
    known = {MODULES.get(name, name) for name in (row[0].partition(" ")[0] for row in rows("Dependencies"))}
    known = {name.partition(".")[0] for name in known} | {"sresnet", *sys.stdlib_module_names}
    others = {name for file in FILES for name in imported(file) if name.partition(".")[0] not in known}
    assert not others
    assert len(rows("Dependencies")) == len(PROJECT["project"]["dependencies"]) + 16


def test_only_the_command_line_prints():
    """But for notes that are told once per process, of layers whose neuron or norm has no kernel, or of no compiler."""
    printing = {file for name in ("say", "emit") for file in importers(f"sresnet.printing.{name}")}
    assert len(printing) >= 10
    assert {file for file in printing if not file.startswith("cli/")} == set()
    assert {file.partition("/")[0] for file in importers("sresnet.printing.tell_once")} == {"nn", "ops"}


FILES_AND_PATHS = ("pathlib", "io", "tempfile", "shutil", "sresnet.files")


@pytest.mark.parametrize(
    ("folder", "modules", "but_for"),
    [
        ("ops", FILES_AND_PATHS, {"ops/scan/native.py", "ops/scan/cpu.py", "ops/memory/__init__.py"}),  # native code
        ("nn", FILES_AND_PATHS, set()),
        # The first two read pickles with it; the third scales pictures.
        ("models", ("sresnet.data",), {"models/torch_files.py", "models/released.py", "models/trained.py"}),
        ("cli", ("torch.multiprocessing",), set()),
        ("studies", ("sresnet.printing",), set()),
        ("train", ("sresnet.printing",), set()),
    ],
)
def test_what_a_folder_may_not_import_beside_what_is_above_it(folder, modules, but_for):
    """The last column of the table of layers, where no contract of import-linter can say it."""
    found = set().union(*map(importers, modules))
    assert {file for file in found if file.startswith(f"{folder}/")} <= but_for
    for file in but_for:
        ours = {name for name in imported(file) if name.startswith("sresnet.data.")}
        used = (
            "sresnet.data.events.chips",
            "sresnet.data.events.lengths",
            "sresnet.data.folder",
            "sresnet.data.scaling",
        )
        allowed = used if "trained" in file else ("sresnet.data.pickles",)
        assert all(name.startswith(allowed) for name in ours), file


def test_ops_hold_no_parameters_and_only_printing_writes_to_the_terminal():
    named = {
        (file, node.attr if isinstance(node, ast.Attribute) else node.id)
        for file in FILES
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Attribute | ast.Name)
    }
    assert not {file for file, name in named if file.startswith("ops/") and name in ("Parameter", "Module")}
    streams = {file for file, name in named if name in ("stdout", "stderr")}
    processes = {"train/record.py", "ops/scan/native.py", "export/run_c.py"}  # what another process wrote
    assert {file for file in streams - processes if not file.startswith("cli/")} == {"printing.py"}


def test_torch_is_left_as_it_was():
    settings = {
        "set_default_dtype",
        "set_default_device",
        "set_default_tensor_type",
        "use_deterministic_algorithms",
        "set_float32_matmul_precision",
    }
    used = {(file, node.attr) for file in FILES for node in ast.walk(tree(file)) if isinstance(node, ast.Attribute)}
    assert not {(file, name) for file, name in used if name in settings}


def test_configurations_are_frozen_and_have_keywords_only():
    seen = 0
    for file in FILES:
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.ClassDef) and re.search("Config$|Options$", node.name):
                (decorator,) = node.decorator_list
                said = {keyword.arg: ast.literal_eval(keyword.value) for keyword in decorator.keywords}
                assert said == {"frozen": True, "kw_only": True}, f"{file}: {node.name}"
                seen += 1
    assert seen >= 15


def test_no_file_is_named_after_nothing():
    names = {Path(file).stem for file in FILES} | {path.name for path in SOURCE.rglob("*") if path.is_dir()}
    assert not names & {"utils", "common", "helpers", "misc", "core", "base"}


@pytest.mark.parametrize("document", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_files_that_are_named_are_there(document):
    """By their path in the package or the project, or, without folder, anywhere in it."""
    named = set(re.findall(r"`([\w/.-]+\.(?:py|cpp|toml|md|css|js))`", (ROOT / document).read_text()))
    assert named
    missing = {
        name
        for name in named
        if not ((SOURCE / name).exists() or (ROOT / name).exists() or ("/" not in name and any(SOURCE.rglob(name))))
    }
    assert not missing - {"reference.py"}


@pytest.mark.parametrize(("file", "name"), re.findall(r"`([\w/]+\.py)`, `([\w.]+)`", TEXT))
def test_a_function_that_is_named_is_in_its_file(file, name):
    """Also methods, and names that are assigned."""
    body = tree(file).body
    for part in name.split("."):
        *_, node = [  # the last: in front of it may be overloads
            node
            for node in body
            if getattr(node, "name", None) == part
            or (isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [part])
        ]
        body = getattr(node, "body", [])


def test_a_run_folder_holds_what_the_table_says(tmp_path):
    """A training writes all of it that is not asked for with a flag or by another command."""
    train(TINY, SPLITS, tmp_path / "run", device=CPU)
    told = {row[0].strip("`").rstrip("/") for row in rows("A run folder")}
    found = {path.name for path in (tmp_path / "run").iterdir()}
    later = {
        "tensorboard",
        "wandb",
        "wandb.json",
        "analysis",
        "exports",
        "report.html",
        "weights-best-test-epoch.safetensors",
        ".lock",
    }
    assert found - {".lock"} == told - later


@pytest.mark.parametrize("folder", ["data", "experiments", "models", "ops", "report", "studies", "tools", "train"])
def test_tests_are_where_what_they_test_is(folder):
    assert any((ROOT / "tests" / folder).glob("test_*.py"))


def named(node):
    """Names in the annotations and bases of a function, class or constant."""
    parts = []
    for each in ast.walk(node):
        if isinstance(each, ast.arg | ast.AnnAssign):
            parts.append(each.annotation)
        elif isinstance(each, ast.FunctionDef):
            parts.append(each.returns)
        elif isinstance(each, ast.ClassDef):
            parts += each.bases
        elif isinstance(each, ast.BinOp) and isinstance(each.op, ast.BitOr):  # a union of types
            parts.append(each)
    return set(re.findall(r"\w+", " ".join(ast.unparse(part) for part in parts if part is not None)))


@functools.cache
def used_by_others():
    """Dotted names that a module or script takes from another module: M.N imported, or N of an imported module M."""
    found = set()
    scripts = [path for folder in ("experiments", "tools", "benchmarks") for path in (ROOT / folder).glob("*.py")]
    for path in [*SOURCE.rglob("*.py"), *scripts]:
        content = ast.parse(path.read_text())
        own = ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts) if SOURCE in path.parents else ""
        attributes = {node.attr for node in ast.walk(content) if isinstance(node, ast.Attribute)}
        for node in ast.walk(content):
            if isinstance(node, ast.ImportFrom):
                whole = set() if node.module == own.removesuffix(".__init__") else {""}
                for alias in node.names:
                    found |= {f"{node.module}.{alias.name}.{name}" for name in whole | attributes}
    return {name.rstrip(".") for name in found}


ENGINES = ("ops/scan/cpu.py", "ops/scan/gpu/launch.py")
"""Modules that are called through a protocol."""


def public(file):
    """(Names that others use, that a page or `__all__` names, and types that these name; functions and classes)."""
    module = "sresnet." + file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    pages = "".join(path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    nodes = {}
    for node in tree(file).body:
        for target in getattr(node, "targets", [getattr(node, "target", node)]):
            nodes[getattr(target, "id", getattr(target, "name", ""))] = node
    listed = ast.unparse(nodes["__all__"]) if "__all__" in nodes else ""
    if file in ENGINES:
        (engine,) = [node for node in tree("ops/scan/contract.py").body if getattr(node, "name", "") == "Engine"]
        listed += str([getattr(node, "name", "") for node in engine.body])
    verbs = [f"sresnet.cli.{place}.{verb}_verb" for verb, place in cli.MODULES.items()]
    found = {
        name
        for name in nodes
        if f"{module}.{name}" in (used_by_others() | {*verbs})
        or f"'{name}'" in listed
        or re.search(rf"\b{module.rpartition('.')[2]}\.{name}\b|from {module} import .*\b{name}\b", pages)
    }
    while more := {each for name in found for each in named(nodes[name]) if each in nodes} - found:
        found |= more
    kinds = (ast.FunctionDef, ast.ClassDef)
    return found, {name for name, node in nodes.items() if isinstance(node, kinds) and not name.startswith("_")}


@pytest.mark.parametrize("file", FILES)
def test_what_only_its_own_file_uses_begins_with_an_underscore(file):
    used, names = public(file)
    assert names <= used


def test_no_file_uses_a_private_name_of_another():
    private = {name for name in used_by_others() if name.startswith("sresnet.") and re.search(r"\._[a-z]\w*$", name)}
    theirs = {name for name in private if (SOURCE.parent / f"{name.rpartition('.')[0].replace('.', '/')}.py").exists()}
    assert not {name for name in theirs if name.rpartition(".")[2] in defined(name.rpartition(".")[0])}


def defined(module):
    """Names that a module of the package defines."""
    body = tree(module.removeprefix("sresnet.").replace(".", "/") + ".py").body
    return {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
