"""Which implementation of an op runs: the fastest that fits, unless a test or a benchmark asks for the reference."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch.autograd import forward_ad

from sresnet.config import closest
from sresnet.errors import UserError

Implementation = Literal["fastest", "low-memory", "reference"]
IMPLEMENTATIONS = get_args(Implementation)


class _Choice(threading.local):
    """What runs in this thread."""

    def __init__(self) -> None:
        # Of the object and not of its class: only there torch.compile sees that it has changed.
        self.name: Implementation = "fastest"


# Of a thread and not of a context (contextvars): torch.compile can look at the one and not at the other.
_chosen = _Choice()


def chosen_implementation() -> Implementation:
    """That of this thread."""
    return _chosen.name


def reference_chosen() -> bool:
    """Inside `implementation("reference")`, or in what no kernel knows: torch.func, forward mode, torch.export.

    A graph that is exported is for other programs, which have no kernel of this package.
    """
    if _chosen.name == "reference" or torch.compiler.is_compiling():
        return _chosen.name == "reference" or torch.compiler.is_exporting()
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def low_memory_chosen() -> bool:
    """Inside `implementation("low-memory")`."""
    return _chosen.name == "low-memory"


@contextlib.contextmanager
def implementation(name: Implementation) -> Iterator[None]:
    """Ops called inside run `name`, in this thread alone: others, those started inside too, have their own choice.

    "reference" is the plain PyTorch that defines them; "low-memory" keeps less for backward, and computes more. The
    choice is that of the forward pass; a backward pass follows it, wherever and whenever it runs.

    Raises:
        UserError: another name.
    """
    if name not in IMPLEMENTATIONS:
        raise UserError(f"implementation {name!r} is unknown: {closest(name, list(IMPLEMENTATIONS))}")
    before, _chosen.name = _chosen.name, name
    try:
        yield
    finally:
        _chosen.name = before
