"""Scripts do something when they are run, not only when they are imported."""

import ast

import pytest

from tests.scripts import ROOT

FILES = sorted(path for folder in ("experiments", "benchmarks", "tools") for path in (ROOT / folder).glob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_script_with_a_main_calls_it(path):
    body = ast.parse(path.read_text(encoding="utf-8")).body
    if any(isinstance(each, ast.FunctionDef) and each.name == "main" for each in body):
        last = body[-1]
        assert isinstance(last, ast.If)
        assert ast.unparse(last.test) == "__name__ == '__main__'"
        assert any("main()" in ast.unparse(line) for line in last.body)
