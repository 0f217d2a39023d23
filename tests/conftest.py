import importlib

import pytest
import torch

from sresnet.cli import MODULES

# Verbs take functions of each other: a file that is imported first while a test has replaced one would keep that.
for verb in MODULES.values():
    importlib.import_module(f"sresnet.cli.{verb}")


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--slow"):
        skip = pytest.mark.skip(reason="slow: run with --slow")
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(autouse=True)
def _seeded():
    # One thread per test process: two processes with two threads each would fight for the cores.
    torch.set_num_threads(1)
    torch.manual_seed(0)
