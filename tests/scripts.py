"""The scripts of experiments/, benchmarks/ and tools/ as modules: they find each other, as when they are run."""

import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def script(path):
    """The script at a path such as experiments/campaign."""
    folder, _, name = path.rpartition("/")
    if str(ROOT / folder) not in sys.path:
        sys.path.insert(0, str(ROOT / folder))
    return importlib.import_module(name)
