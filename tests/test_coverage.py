"""docs/coverage.md is checked: every row is there, and what it names exists."""

import ast
import functools
import importlib
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.test_docs import check_command

ROOT = Path(__file__).parents[1]
HEADER = ["paper", "what it is", "symbol", "test", "command", "state"]
STATES = {"done", "part", "not yet"}
REQUIRED = [
    *(f"Eq. {number}" for number in range(1, 25)),
    *(f"Table {number}" for number in range(1, 18)),
    *(f"Fig. {number}" for number in range(1, 7)),
]


class Row(NamedTuple):
    paper: str
    what: str
    symbols: list[str]
    tests: list[str]
    commands: list[str]
    state: str


def parse_rows(text):
    """The rows of all tables with our header; a row with another number of cells is an error."""
    rows, ours = [], False
    for line in text.splitlines():
        if not line.startswith("|"):
            ours = False
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if cells == HEADER:
            ours = True
        elif ours and not re.fullmatch(r"[-| ]+", line):
            assert len(cells) == len(HEADER), line
            quoted = [re.findall(r"`([^`]+)`", cell) for cell in cells[2:5]]
            rows.append(Row(cells[0], cells[1], *quoted, cells[5]))
    return rows


def resolve(symbol):
    """The object that a dotted name means; AttributeError or ImportError if there is none."""
    parts = symbol.split(".")
    assert parts[0] == "sresnet", symbol
    target = importlib.import_module(parts[0])
    for number in range(2, len(parts) + 1):
        try:  # a module first: a package may export something of the same name
            target = importlib.import_module(".".join(parts[:number]))
        except ModuleNotFoundError:
            return functools.reduce(getattr, parts[number - 1 :], target)
    return target


@functools.cache
def named_tests(path):
    """`test_name` and `TestClass::test_name` of a file; OSError if there is none."""
    names = set()
    for node in ast.parse((ROOT / path).read_text()).body:
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            names |= {f"{node.name}::{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return {name for name in names if name.rpartition("::")[2].startswith("test_")}


def faults(row):
    """What is wrong with one row, in words."""
    found = []
    if row.state not in STATES:
        found.append(f"state {row.state!r}")
    if row.state == "done" and not (row.symbols and row.tests):
        found.append("done without a symbol or a test")
    if row.state == "not yet" and row.symbols:
        found.append("not yet, but a symbol is named")
    for symbol in row.symbols:
        try:
            resolve(symbol)
        except (AttributeError, ImportError):
            found.append(f"no symbol {symbol}")
    for test in row.tests:
        path, _, name = test.partition("::")
        if not (ROOT / path).is_file() or name not in named_tests(path):
            found.append(f"no test {test}")
    for command in row.commands:
        try:
            check_command(command)
        except (AssertionError, KeyError, ValueError) as error:
            found.append(f"no command {command}: {error!r}")
    return found


ROWS = parse_rows((ROOT / "docs" / "coverage.md").read_text())


def test_nothing_is_missing():
    papers = [row.paper for row in ROWS]
    assert [paper for paper in REQUIRED if papers.count(paper) != 1] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.paper}: {row.what[:30]}")
def test_row(row):
    assert row.what
    assert faults(row) == []


GOOD = Row(
    "Eq. 3",
    "neuron",
    ["sresnet.ops.lif.lif"],
    ["tests/ops/test_lif.py::test_equals_the_equations"],
    ["sresnet list"],
    "done",
)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"state": "almost"}, "state 'almost'"),
        ({"symbols": []}, "done without"),
        ({"tests": []}, "done without"),
        ({"state": "not yet"}, "not yet, but"),
        ({"symbols": ["sresnet.ops.lif.lief"]}, "no symbol"),
        ({"symbols": ["sresnet.nothing.lif"]}, "no symbol"),
        ({"symbols": ["sresnet.SResNetConfig.leek"]}, "no symbol"),
        ({"tests": ["tests/ops/test_lif.py::test_nothing"]}, "no test"),
        ({"tests": ["tests/ops/test_lif.py::by_hand"]}, "no test"),
        ({"tests": ["tests/ops/test_none.py::test_equals_the_equations"]}, "no test"),
        ({"tests": ["tests/ops/test_lif.py"]}, "no test"),
        ({"commands": ["sresnet info sresnet21"]}, "no command"),
    ],
)
def test_a_wrong_row_is_noticed(change, fault):
    assert faults(GOOD) == []
    assert fault in " ".join(faults(GOOD._replace(**change)))
