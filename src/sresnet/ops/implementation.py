"""Which implementation of an op runs: the fastest that fits, unless a test or a benchmark asks for the reference."""

import contextlib
from collections.abc import Iterator
from typing import Literal

from sresnet.config import closest
from sresnet.errors import UserError

IMPLEMENTATIONS = ("fastest", "low-memory", "reference")
_chosen = "fastest"


def reference_chosen() -> bool:
    """Inside `implementation("reference")`."""
    return _chosen == "reference"


def low_memory_chosen() -> bool:
    """Inside `implementation("low-memory")`."""
    return _chosen == "low-memory"


@contextlib.contextmanager
def implementation(name: Literal["fastest", "low-memory", "reference"]) -> Iterator[None]:
    """Ops called inside run `name`, for the whole process.

    "reference" is the plain PyTorch that defines them; "low-memory" keeps less for backward, and computes more.

    Raises:
        UserError: another name.
    """
    global _chosen
    if name not in IMPLEMENTATIONS:
        raise UserError(f"implementation {name!r} is unknown: {closest(name, list(IMPLEMENTATIONS))}")
    before, _chosen = _chosen, name
    try:
        yield
    finally:
        _chosen = before
