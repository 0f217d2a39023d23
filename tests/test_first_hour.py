"""A newcomer's first hour, from an installed wheel: the tasks are in first_hour.py."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
for needed in ("hatchling", "sklearn", "PIL", "onnxruntime", "nir", "optuna"):
    pytest.importorskip(needed)


def test_the_first_hour(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    site, here = tmp_path / "site", tmp_path / "here"
    here.mkdir()
    with zipfile.ZipFile(wheel) as archive:  # a wheel of Python alone is installed by being unpacked
        archive.extractall(site)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SRESNET_")}
    done = subprocess.run(
        [sys.executable, "-I", str(ROOT / "tests" / "first_hour.py"), str(site), str(here)],
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert len(done.stdout.splitlines()) >= 20
