import importlib.util
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "mutants.py"


@pytest.fixture(scope="module")
def mutants():
    spec = importlib.util.spec_from_file_location("mutants", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutants"] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["mutants"]


SOURCE = '''"""Not a statement: 3 < 4."""

LIMIT = 2.5


@cache(maxsize=3)
def clipped(x: list[int | None], most: int = 3, *, low=True) -> "int < 3":
    """Neither is this."""
    assert len(x) < 4
    if most < len(x) and low:
        raise ValueError(f"{most - 1} is " + "too small")
    x = scale(x, most, strict=True)
    total = 0
    for value in x:
        total += -value
    return total
'''


def changes(mutants, source):
    return {
        (mutant.kind, mutant.before.strip(), mutant.after.strip())
        for mutant in mutants.Finder("a.py", source.encode()).found
    }


def test_every_kind_of_change_and_nothing_else(mutants):
    head = 'def clipped(x: list[int | None], most: int = 3, *, low=True) -> "int < 3":'
    condition = "if most < len(x) and low:"
    call = "x = scale(x, most, strict=True)"
    error = 'raise ValueError(f"{most - 1} is " + "too small")'
    assert changes(mutants, SOURCE) == {
        ("constant", "LIMIT = 2.5", "LIMIT = 3.5"),
        ("keyword", head, head.replace("= 3", "= 4")),
        ("keyword", head, head.replace("True", "False")),
        ("comparison", condition, condition.replace("<", "<=")),
        ("boolean", condition, condition.replace("and", "or")),
        ("negated condition", condition, "if (not (most < len(x) and low)):"),
        ("removed statement", error, "pass"),
        ("removed statement", call, "pass"),
        ("swapped arguments", call, "x = scale(most, x, strict=True)"),
        ("keyword", call, "x = scale(x, most)"),
        ("constant", call, "x = scale(x, most, strict=False)"),
        ("constant", "total = 0", "total = 1"),
        ("removed statement", "total += -value", "pass"),
        ("arithmetic", "total += -value", "total -= -value"),
        ("arithmetic", "total += -value", "total += (value)"),
        ("return None", "return total", "return None"),
    }


def test_one_place_is_changed_and_the_rest_is_kept(mutants):
    source = 'a = "é" ; b = 1 < 2  # ü\nc = (b\n     or not a)\n'.encode()
    found = {mutants.apply(source, mutant).decode() for mutant in mutants.Finder("a.py", source).found}
    assert 'a = "é" ; b = 1 <= 2  # ü\nc = (b\n     or not a)\n' in found
    assert 'a = "é" ; b = 1 < 2  # ü\nc = (b\n     and not a)\n' in found
    assert 'a = "é" ; b = 1 < 2  # ü\nc = (b\n     or (a))\n' in found


def test_native_code_is_changed_outside_comments_and_conditional_parts(mutants):
    source = b"#if A\nx = 1 < 2;\n#endif\ny = a < b;  // 1 < 2\n"
    assert [(m.line, m.after) for m in mutants.native_mutants("k.cpp", source)] == [(4, "y = a <= b;  // 1 < 2")]


def test_a_mutant_keeps_its_id_when_other_lines_move(mutants):
    def ids(source):
        return {mutant.id: mutant.after for mutant in mutants.Finder("a.py", source.encode()).found}

    before, after = ids(SOURCE), ids(SOURCE.replace("LIMIT = 2.5", "LIMIT = 2.5\nOTHER = 0\n"))
    assert before.items() < after.items()
    assert len(ids("a = 1\na = 1\n")) == 2


def test_the_choice_takes_kinds_in_turn_and_follows_the_seed(mutants):
    found = mutants.Finder("a.py", SOURCE.encode()).found
    kinds = {mutant.kind for mutant in found}
    assert {mutant.kind for mutant in mutants.chosen(found, len(kinds), 0)} == kinds
    some = mutants.chosen(found, 8, 0)
    assert some == mutants.chosen(found[::-1], 8, 0)
    assert some != mutants.chosen(found, 8, 1)


def test_tests_that_reach_a_mutant_come_in_order(mutants):
    file = "src/sresnet/ops/a.py"
    found = {m.after.strip(): m for m in mutants.Finder(file, SOURCE.encode()).found}

    def test(seconds, *lines):
        return {"seconds": seconds, "lines": {file: lines}}

    watched = {
        "tests": {
            "tests/ops/test_a.py::slow": test(9, 15),
            "tests/ops/test_a.py::quick": test(1, 12, 15),
            "tests/ops/test_a.py::elsewhere": test(1, 12),
            "tests/ops/test_a.py::broken": test(1, 15),
            "tests/nn/test_b.py::quick": test(0.5, 15),
            "tests/nn/test_b.py::too_slow": test(100, 15),
        },
        "loading": {"tests/ops/test_a.py": {file: [3]}, "tests/nn/test_b.py": {file: []}},
        "failed": ["tests/ops/test_a.py::broken"],
    }

    def order(after):
        groups, reached = mutants.plan(found[after], watched, 60)
        return [[test.rpartition(":")[2] for test in group] for group in groups], reached

    # Those of the same file that execute something else come last: the statement may be behind a cache.
    assert order("total -= -value") == ([["quick", "slow", "elsewhere"], ["quick"]], True)
    assert order("x = scale(x, most)") == ([["elsewhere", "quick", "slow"]], True)
    assert order("LIMIT = 3.5") == ([["elsewhere", "quick", "slow"]], True)
    # Perhaps a process that they start executes it.
    assert order("return None") == ([["elsewhere", "quick", "slow"], ["quick"]], False)


CODE = """def doubled(x):
    if x < 0:
        raise ValueError
    return x * 2


def unused(x):
    return x - 1


def counted(x):
    while x > 0:
        x -= 1
    return x
"""
TESTS = """from sresnet.ops.code import counted, doubled


def test_doubled():
    assert doubled(2) == 4
    assert doubled(0) == 0


def test_counted():
    assert counted(3) == 0
"""


@pytest.mark.slow
def test_the_script(tmp_path):
    """In a repository of its own: what is killed, survives, is never reached, and loops for ever."""
    files = {
        ".gitignore": "build/\n__pycache__/\n",
        "src/sresnet/__init__.py": "",
        "src/sresnet/ops/__init__.py": "",
        "src/sresnet/ops/code.py": CODE,
        "tests/ops/test_code.py": TESTS,
        "results/keep": "",
        "tools/mutants.py": SCRIPT.read_text().replace("int(20 + 5 * seconds)", "3"),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    git = [
        "git",
        "-C",
        str(tmp_path),
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@example.org",
        "-c",
        "commit.gpgsign=false",
    ]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *command], check=True)
    command = [sys.executable, str(tmp_path / "tools" / "mutants.py"), "ops", "--count", "100"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr  # survivors, not judged
    record = json.loads((tmp_path / "results" / "mutants.json").read_text())
    found = record["folders"]["ops"]["mutants"]
    rows = {(row["kind"], row["after"].strip()): row for row in found}
    outcomes = {key: row["outcome"] for key, row in rows.items()}
    assert outcomes["comparison", "if x <= 0:"] == "killed"
    assert rows["comparison", "if x <= 0:"]["by"] == "tests/ops/test_code.py::test_doubled"
    assert {row["before"].strip(): row["outcome"] for row in found if row["kind"] == "removed statement"} == {
        "raise ValueError": "unreached",
        "x -= 1": "killed",
    }
    assert rows["arithmetic", "x += 1"]["by"] == "limit of processor time"
    assert outcomes["arithmetic", "return x + 1"] == "unreached"
    assert outcomes["comparison", "while x >= 0:"] == "killed"
    assert (tmp_path / "src/sresnet/ops/code.py").read_text() == CODE
    assert not subprocess.run([*git, "status", "--porcelain", "src", "tests"], capture_output=True, check=True).stdout
    left = [row["id"] for row in found if row["outcome"] != "killed"]
    judged = "".join(f'["{name}"]\nverdict = "equivalent"\nwhy = "Because."\n' for name in left)
    (tmp_path / "results" / "mutants-judged.toml").write_text(judged)
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "test_code.py" not in again.stdout  # nothing was run again
    assert "**equivalent**. Because." in (tmp_path / "results" / "mutants.md").read_text()


def test_what_no_test_killed_is_judged(mutants):
    record = json.loads(mutants.RESULT.read_text())
    judged = tomllib.loads(mutants.JUDGED.read_text())
    assert set(record["folders"]) == set(mutants.FOLDERS)
    assert all(len(part["mutants"]) == 150 for part in record["folders"].values())
    assert mutants.unjudged(record, judged) == []
    assert mutants.PAGE.read_text() == mutants.page(record, judged)
