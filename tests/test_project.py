"""Files beside the package that nothing else would notice to be wrong."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_hooks_before_a_commit_are_of_the_pinned_versions() -> None:
    pins = dict(line.split("==") for line in _text("constraints.txt").splitlines() if "==" in line)
    found = re.findall(r"\[([\w-]+)==([\d.]+)\]", _text(".pre-commit-config.yaml"))
    assert found
    assert all(pins[name] == version for name, version in found)


def test_the_image_is_built_of_what_is_there() -> None:
    docker = _text("Dockerfile")
    allowed = {line[1:] for line in _text(".dockerignore").splitlines() if line.startswith("!")}
    copied = {name for line in re.findall(r"^COPY (.+)$", docker, re.M) for name in line.split()[:-1]}
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)
    project = tomllib.loads(_text("pyproject.toml"))["project"]
    extras = re.search(r'"\.\[([\w,-]+)\]"', docker)
    assert extras
    assert set(extras[1].split(",")) <= set(project["optional-dependencies"])
    assert {"README.md", *project["license-files"]} <= copied


def test_workflows_name_what_is_there() -> None:
    yaml = pytest.importorskip("yaml")
    workflow = yaml.safe_load(_text(".github/workflows/tests.yml"))
    commands = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    paths = {word for command in commands for word in command.split() if word.startswith("tests/")}
    assert paths
    assert all((ROOT / path).exists() for path in paths)
    targets = {command.removeprefix("make ") for command in commands if command.startswith("make ")}
    assert targets
    assert all(re.search(rf"^{target}:", _text("Makefile"), re.M) for target in targets)
    lowest = tomllib.loads(_text("pyproject.toml"))["project"]["requires-python"].removeprefix(">=")
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"][0] == lowest


@pytest.mark.parametrize("path", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.stem)
def test_forms_of_issues_have_what_they_need(path: Path) -> None:
    form = pytest.importorskip("yaml").safe_load(path.read_text(encoding="utf-8"))
    if path.stem == "config":
        assert set(form) <= {"blank_issues_enabled", "contact_links"}
        return
    assert form["name"]
    assert form["description"]
    assert form["body"]
    for part in form["body"]:
        assert part["type"] in ("textarea", "checkboxes", "input", "dropdown", "markdown")
        assert part["attributes"]["label"]
