"""What is imported when: the version and the help need none of the packages that take seconds."""

import ast
import json
import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import sresnet
from sresnet.cli import MODULES, USAGE, VERBS

SLOW = ("torch", "numpy", "tyro", "rich", "typeguard", "safetensors", "sresnet.models", "sresnet.config")
"""Some of what a verb needs."""


def python(program, *words, **environment):
    command = [sys.executable, "-W", "ignore", "-c", program, *words]
    settings = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"} | environment
    done = subprocess.run(command, capture_output=True, text=True, env=settings, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["-h"], []], ids=str)
def test_version_and_help_need_no_slow_import(words):
    program = "import json, sys; from sresnet.cli import main; status = main(sys.argv[1:]); print(json.dumps({}))"
    program = program.replace("{}", "[status, [name for name in NAMES if name in sys.modules]]").replace(
        "NAMES", repr(SLOW)
    )
    *shown, last = python(program, *words).splitlines()
    assert json.loads(last) == [0, []]
    assert shown[0] == (sresnet.__version__ if words == ["--version"] else "usage: sresnet VERB ...")


def test_each_verb_has_its_file_and_function():
    for verb, module in MODULES.items():
        function = getattr(import_module(f"sresnet.cli.{module}"), f"{verb}_verb")
        assert function.__doc__.startswith(f"`sresnet {verb}")
        assert f"  {verb} " in USAGE
    assert list(VERBS) == list(MODULES)


def test_names_of_the_package_are_imported_when_asked_for():
    program = """
import os, sys, sresnet
assert "torch" not in sys.modules
assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
assert set(sresnet.__all__) < set(dir(sresnet))
from sresnet import create_model
assert "torch" in sys.modules
for name in sresnet.__all__:
    assert getattr(sresnet, name).__module__.startswith("sresnet."), name
assert sresnet.models.create_model is create_model is vars(sresnet)["create_model"]
assert not hasattr(sresnet, "create_modle")
from sresnet import *
print(num_parameters(build(SResNetConfig(depth=8))) > 0)
"""
    assert python(program) == "True\n"


def test_names_for_type_checkers_are_those_of_the_package():
    """What is imported for type checkers only is what `__getattr__` finds, from the same file."""
    source = Path(sresnet.__file__).read_text(encoding="utf-8")
    names, finder = [node for node in ast.parse(source).body if isinstance(node, ast.If)]
    owners = {alias.name: node.module for node in names.body for alias in node.names}
    folders = [name for name, module in owners.items() if module == "sresnet"]
    assert sorted(owners) == sorted([*sresnet.__all__, *folders])
    for name, module in owners.items():
        assert getattr(import_module(module), name) is getattr(sresnet, name)
    # A checker that saw `__getattr__` would take any name for one of the package.
    assert ast.unparse(finder.test) == "not TYPE_CHECKING"
    assert [node.name for node in finder.body] == ["__getattr__"]
    shown = [name for name in dir(sresnet) if not name.startswith("__")]
    assert shown == sorted([*sresnet.__all__, *folders])


def test_a_value_that_is_set_is_kept():
    assert python("import os, sresnet; print(os.environ['OMP_WAIT_POLICY'])", OMP_WAIT_POLICY="ACTIVE") == "ACTIVE\n"


def test_a_verb_is_a_file_and_two_lines(tmp_path):
    """As docs/architecture.md says: a file in cli/, its lines in MODULES and USAGE."""
    package = Path(sresnet.__file__).parent
    (tmp_path / "sresnet").mkdir()
    for path in package.iterdir():
        if path.name != "cli":
            (tmp_path / "sresnet" / path.name).symlink_to(path)
    shutil.copytree(package / "cli", tmp_path / "sresnet" / "cli")
    start = tmp_path / "sresnet" / "cli" / "__init__.py"
    text = start.read_text()
    text = text.replace('    "list": "listing",\n', '    "list": "listing",\n    "greet": "greet",\n', 1)
    text = text.replace("\n  list  ", "\n  greet NAME          greets\n  list  ", 1)
    start.write_text(text)
    (start.parent / "greet.py").write_text(
        "from sresnet.cli.parse import first_word\nfrom sresnet.printing import say\n\n\n"
        'def greet_verb(words):\n    """`sresnet greet NAME`."""\n'
        "    say(f\"hello {first_word(words, 'name', 'give yours')}\")\n    return 0\n"
    )
    program = "import sys; from sresnet.cli import main; sys.exit(main(sys.argv[1:]))"
    assert python(program, "greet", "you", PYTHONPATH=str(tmp_path)) == "hello you\n"
    assert "  greet NAME          greets\n" in python(program, PYTHONPATH=str(tmp_path))
