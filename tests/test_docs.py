"""What the documents say is run: Python blocks, command lines, links, names of files, and the glossary's derivation."""

import ast
import dataclasses
import importlib
import itertools
import math
import re
import shlex
import tomllib
import warnings
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.distributed import run

import sresnet
from sresnet.cli import VERBS
from sresnet.cli.analyse import _AnalyseOptions
from sresnet.cli.convert import _OPTIONS, _CompareOptions
from sresnet.cli.data import (
    DATA_VERBS,
    _CleanOptions,
    _DataInfoOptions,
    _DataViewOptions,
    _PrepareOptions,
    _PreparePicturesOptions,
)
from sresnet.cli.evaluate import _EvaluateOptions
from sresnet.cli.export import _ExportOptions
from sresnet.cli.hub import _PullOptions, _PushOptions
from sresnet.cli.importing import _ImportOptions
from sresnet.cli.parse import parse, seconds_of, take_option
from sresnet.cli.report import _ReportOptions
from sresnet.cli.search import _ranges, _SearchOptions, _space
from sresnet.cli.study import _StudyOptions
from sresnet.cli.train import TrainOptions
from sresnet.data import DATA_SETS
from sresnet.data.events.sets import USUAL
from sresnet.export.target import target_of
from sresnet.models import model_config, num_parameters
from sresnet.models.size import sketch
from sresnet.ops.lif import lif, membrane
from sresnet.ops.neuron import LIFConstants
from sresnet.ops.surrogate import Triangle
from sresnet.studies.paper import STUDIES
from sresnet.studies.study import CONVERSIONS
from sresnet.train.recipe import Recipe
from sresnet.train.recipes import RECIPES
from tests.golden.reduce import read
from tests.models.test_golden import released_checkpoint

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def name(path):
    return str(path.relative_to(ROOT))


def blocks(path, language):
    """(first line number, text) of every fenced block of a language."""
    text = path.read_text()
    return [
        (text[: match.start(1)].count("\n") + 1, match[1])
        for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    ]


def recipe_options(recipe):
    return TrainOptions(**{field.name: getattr(recipe, field.name) for field in dataclasses.fields(Recipe)})


def check_command(line):
    """Raise if a `sresnet ...` line names a verb, recipe, model, data set or flag that is not there. Runs nothing."""
    program, *words = shlex.split(line, comments=True)
    if program == "torchrun":
        options, words = words[: words.index("-m")], words[words.index("-m") + 1 :]
        run.get_args_parser().parse_args([*options, "program"])
        program = words.pop(0)
    assert program == "sresnet"
    verb, *words = words[: words.index(">")] if ">" in words else words
    words = [word for word in words if word != "--json"]
    assert verb in VERBS, line
    subject = words[0] if words and not words[0].startswith("-") else None
    flags = words[1:]
    match verb:
        case "list":
            assert words == []
        case "train" if subject.endswith(".toml"):
            parse(recipe_options(RECIPES["digits"][1]), flags, line, "")
        case "search":
            given, flags = _ranges(flags)
            recipe = RECIPES.get(subject, RECIPES["digits"])[1]
            assert _space("", given, recipe)
            if flags[:1] == ["--record"]:
                assert len(flags) == 2
            elif flags != ["--best"]:
                fields = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(Recipe)}
                parse(_SearchOptions(**fields), flags, line, "")
        case "train":
            parse(recipe_options(RECIPES[subject][1]), flags, line, "")
        case "finetune":
            name, flags = take_option(flags, "--data")
            assert not name or name in DATA_SETS
            recipe = RECIPES["digits"][1]
            layers = {} if name else {"pretrained_layers": "all"}
            recipe = dataclasses.replace(recipe, pretrained=subject, **layers)
            parse(recipe_options(recipe), flags, line, "")
        case "evaluate" | "info" if subject and target_of(Path(subject)) is not None:
            assert flags == []
        case "evaluate":
            assert subject
            parse(_EvaluateOptions(), flags, line, "")
        case "analyse":
            assert subject
            parse(_AnalyseOptions(), flags, line, "")
        case "report":
            assert subject
            runs = list(itertools.takewhile(lambda word: not word.startswith("-"), words))
            parse(_ReportOptions(), words[len(runs) :], line, "")
        case "export":
            assert subject
            parse(_ExportOptions(), flags, line, "")
        case "import":
            assert subject
            parse(_ImportOptions(), flags, line, "")
        case "push":
            parse(_PushOptions(), flags[1:], line, "")
        case "pull":
            parse(_PullOptions(), flags, line, "")
        case "convert" if "--compare" in flags:
            assert set(parse(_CompareOptions(), flags, line, "").compare) <= set(CONVERSIONS)
        case "convert":
            method, flags = take_option(flags, "--method")
            usual = CONVERSIONS[method]
            parse(_OPTIONS[type(usual)](**dataclasses.asdict(usual)), flags, line, "")
        case "info":
            if "--image-size" in flags:
                at = flags.index("--image-size")
                assert int(flags[at + 1]) > 0
                flags = flags[:at] + flags[at + 2 :]
            parse(model_config(subject), flags, line, "")
        case "data":
            assert subject in DATA_VERBS
            if subject == "clean":
                options, flags = _CleanOptions(), ["", *flags]
            elif subject == "prepare" and flags[0] == "folder":
                options = _PreparePicturesOptions()
            elif subject == "prepare":
                options = _PrepareOptions(data=USUAL[flags[0]], num_steps=1)
            else:
                options = {"info": _DataInfoOptions, "view": _DataViewOptions}[subject]()
            assert not flags[0].startswith("-")
            parse(options, flags[1:], line, "")
        case "predict":
            assert len(words) >= 2
            length, _ = take_option(flags, "--stream")
            assert length in ("", "auto") or seconds_of("--stream", length) > 0
        case "study":
            at = next((index for index, word in enumerate(words) if word.startswith("-")), len(words))
            assert words[:at] in (["list"], ["page"]) or set(words[:at]) <= {*STUDIES, "all"}
            parse(_StudyOptions(), words[at:], line, "")
        case _:
            pytest.fail(f"{line}: teach check_command the verb {verb}")


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if blocks(path, "python")], ids=name)
def test_python_blocks_run(path, tmp_path, monkeypatch):
    """In order, in one namespace, in a folder that holds a checkpoint of the released code and a picture."""
    numbers = read(ROOT / "tests" / "golden" / "plain.safetensors.xz")
    released_checkpoint(numbers, tmp_path / "best.pth.tar")
    Image.new("RGB", (48, 40), "navy").save(tmp_path / "ship.png")
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "document"}
    for line, text in blocks(path, "python"):
        if "import lightning" in text:  # the next test runs it
            continue
        tree = ast.parse(text, filename=str(path))
        ast.increment_lineno(tree, line - 1)
        exec(compile(tree, str(path), "exec"), namespace)


def test_the_example_with_lightning(tmp_path, monkeypatch):
    """What Lightning itself warns of is its own affair."""
    pytest.importorskip("lightning")
    monkeypatch.chdir(tmp_path)
    texts = [text for _, text in blocks(ROOT / "docs" / "python.md", "python")]
    at = next(place for place, text in enumerate(texts) if "import lightning" in text)
    imports = "import torch\nimport sresnet\nfrom torch.utils.data import TensorDataset\n"
    imports += "from sresnet.data import DataConfig\nfrom sresnet.data.scaling import make_scaling\n"
    namespace = {"__name__": "document"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(imports + texts[at - 2] + texts[at], namespace)
    assert sresnet.load(tmp_path / "digits.safetensors").config == namespace["module"].net.config


def test_the_readme_of_a_package_index_has_no_link_to_a_file():
    """There are no other files there; pyproject.toml says what becomes of README."""
    text = (ROOT / "README.md").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    shown = text
    for each in project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        shown = re.sub(each["pattern"], each["replacement"], shown)
    assert "](docs/" in text
    assert re.findall(r"\]\((?!https:)", shown) == []
    assert "all commands" in shown.lower()
    assert len(shown.split()) > 0.9 * len(text.split())


NOTEBOOKS = sorted(ROOT.glob("docs/tutorials/*.md"))
"""`make docs` runs them whole; here their commands and imports are looked up, which takes no time."""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_cells_of_notebooks_are_known_commands_or_python(path):
    seen = 0
    for cell in re.findall(r"^```\{code-cell\} ipython3\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL):
        if cell.startswith("%%sh\n"):
            lines = cell.replace("\\\n", " ").splitlines()
            for line in [line for line in lines if line.startswith("sresnet ")]:
                check_command(re.split(r"\||>", line)[0])
                seen += 1
            continue
        for node in ast.walk(ast.parse(cell, filename=str(path))):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("sresnet"):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)
                seen += 1
    assert seen >= 2


def test_the_front_page_leads_to_every_page():
    """docs/index.md names it under one of its headings; Sphinx takes a page that nothing leads to for a mistake."""
    front = (ROOT / "docs" / "index.md").read_text().splitlines()
    assert len(NOTEBOOKS) >= 5
    pages = {path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in ROOT.glob("docs/**/*.md")}
    assert pages - {"index"} - set(front) == set()


def test_there_are_python_blocks():
    assert len(blocks(ROOT / "README.md", "python")) >= 1
    assert len(blocks(ROOT / "docs" / "python.md", "python")) >= 8


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if blocks(path, "console")], ids=name)
def test_commands_are_known(path):
    lines = [line for _, text in blocks(path, "console") for line in text.splitlines() if line.strip()]
    assert lines
    for line in lines:
        check_command(line)


def test_the_readme_is_short():
    """What is longer has a page of its own."""
    assert len((ROOT / "README.md").read_text().split()) <= 1700


def test_a_command_of_every_verb_is_shown():
    shown = {
        shlex.split(line, comments=True)[1]
        for _, text in blocks(ROOT / "docs" / "commands.md", "console")
        for line in text.splitlines()
        if not line.startswith("torchrun")
    }
    assert shown == set(VERBS)


@pytest.mark.parametrize(
    "line",
    [
        "sresnet trian digits",
        "sresnet train nothing",
        "sresnet train digits --model.leek 0.5",
        "sresnet info sresnet21",
        "sresnet finetune runs/first --data nothing",
        "sresnet evaluate",
        "sresnet convert runs/first --method nothing",
        "sresnet convert runs/first --method deng --reset nothing",
        "sresnet data prepare nothing",
        "sresnet data prepare nmnist --data.frames.side 3",
        "sresnet data infer x.aedat",
        "sresnet data clean --cash-dir x",
        "sresnet data info x.aedat --demaged skip",
    ],
)
def test_an_unknown_command_is_noticed(line):
    with pytest.raises((AssertionError, KeyError, ValueError)):
        check_command(line)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_links_lead_somewhere_and_lines_are_short(path):
    text = path.read_text()
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if not target.startswith("https://"):
            assert (path.parent / target.partition("#")[0]).exists(), target
    prose = [line for line in text.splitlines() if not line.startswith("|")]
    assert max(map(len, prose), default=0) <= 120


def the_map():
    """(folder, entry, line) of each line of the map of docs/architecture.md."""
    ((_, tree),) = [block for block in blocks(ROOT / "docs" / "architecture.md", "text") if "src/sresnet/" in block[1]]
    folders = []
    for line in tree.splitlines():
        depth, entry = (len(line) - len(line.lstrip())) // 2, line.split()[0]
        folders = [*folders[:depth], entry]
        yield ROOT / "".join(f if f.endswith("/") else f"{f}/" for f in folders[:-1]), entry, line


def test_the_map_names_files_that_are_there():
    for folder, entry, line in the_map():
        assert (folder / entry).exists(), line


def test_the_map_names_every_file_of_the_package():
    """But those of verbs and families, which are called as what they are for."""
    package = ROOT / "src" / "sresnet"
    named = {folder / name for folder, _, line in the_map() for name in re.findall(r"[\w./]+\.py", line)}
    named |= {package / "cli" / f"{verb}.py" for verb in VERBS} | set((package / "models" / "families").iterdir())
    files = {path for path in package.rglob("*.py") if path.name not in ("__init__.py", "__main__.py")}
    assert sorted(files - named) == []


def test_leak_is_the_exact_solution_of_eq_2():
    """docs/glossary.md: leak = exp(-dt/tau), current = (1 - leak) R I, and Euler's leak to first order."""
    tau, resistance, drive = 8.0, 2.0, 0.4
    for dt in (1.0, 0.1):
        leak, steps = math.exp(-dt / tau), round(20 / dt)
        neuron = LIFConstants(leak=leak, surrogate=Triangle())
        current = torch.full((steps, 1), (1 - leak) * resistance * drive, dtype=torch.float64)
        assert lif(current, neuron).spikes.sum() == 0
        time = dt * torch.arange(1, steps + 1, dtype=torch.float64)
        expected = resistance * drive * (1 - torch.exp(-time / tau))
        torch.testing.assert_close(membrane(current, neuron)[:, 0], expected)
        assert 0 < leak - (1 - dt / tau) < (dt / tau) ** 2


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_tests_that_are_named_exist(path):
    for file, test in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", path.read_text()):
        assert re.search(rf"^(    )?def {test}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file}::{test}"


def rows_with(column, page):
    """(cells, what is in `column`) of every row of a page's tables that have such a column."""
    at = None
    for line in page.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if column in cells:
            at = cells.index(column)
        elif not cells:
            at = None
        elif at is not None and cells[at].strip("-"):
            yield cells, cells[at]


COUNT = re.compile(r"\d{1,3}(?:,\d{3})+")
ELSEWHERE = {
    "zoo.md": [
        ("kim-vgg9", {"num_classes": 100}),
        ("zheng-resnet19-64", {}),
        ("zheng-resnet19-64", {"in_channels": 2}),
        ("zheng-resnet19-tdbn", {}),
        ("zheng-resnet19-64-tdbn", {}),
        ("fang-wide-7b", {"widening": 3}),
    ],
    "convert.md": [],
}
"""Networks whose parameters the text of a page counts, beside those in its table."""


@pytest.mark.parametrize("page", ELSEWHERE)
def test_parameters_are_those_of_the_networks(page):
    path, found = ROOT / "docs" / page, set()
    for cells, counts in rows_with("parameters", path):
        names = re.findall("`([^`]+)`", cells[0])
        classes = [{"num_classes": int(each)} for each in re.findall(r"with (\d+) classes", counts)]
        networks = [(name, fields) for name in names for fields in ({}, *classes)]
        assert len(networks) == len(COUNT.findall(counts)), names
        for (name, fields), count in zip(networks, COUNT.findall(counts), strict=True):
            assert f"{num_parameters(sketch(model_config(name, **fields))):,}" == count, name
            found.add(count)
    assert len(found) >= 7
    for name, fields in ELSEWHERE[page]:
        count = f"{num_parameters(sketch(model_config(name, **fields))):,}"
        assert count in path.read_text(), name
        found.add(count)
    assert {count for count in COUNT.findall(path.read_text()) if count.count(",") == 2} <= found
