"""What holds on Windows, as far as another system can show it."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
IMITATION = ROOT / "tests" / "windows.py"


@pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="it needs the open files of a process, as Linux tells them"
)
def test_commands_do_without_what_only_unix_has(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-X",
        "warn_default_encoding",
        "-W",
        "error::EncodingWarning:sresnet",
        IMITATION,
        tmp_path,
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    warned = [line for line in done.stderr.splitlines() if "EncodingWarning" in line and str(ROOT / "src") in line]
    assert not warned
    assert "no native code (not on this system): the slower PyTorch reference is used" in done.stderr
    assert not list((tmp_path / "cache").glob("*")), "data clean left something"


TEXT = {"read_text", "write_text"}


@pytest.mark.parametrize("folder", ["src", "experiments", "tools", "benchmarks"])
def test_text_is_read_and_written_as_utf_8(folder: str) -> None:
    """Ruff's PLW1514 sees only what it can tell to be a path."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        if (isinstance(node.func, ast.Attribute) and node.func.attr in TEXT)
        or any(keyword.arg == "text" and ast.unparse(keyword.value) == "True" for keyword in node.keywords)
        if not any(keyword.arg == "encoding" for keyword in node.keywords)
    ]
    assert not found
