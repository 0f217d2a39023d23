"""Which implementation of an op runs: the fastest that fits, unless another is asked for."""

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch.autograd import forward_ad

from sresnet.config import closest
from sresnet.errors import UserError

Implementation = Literal["fastest", "low-memory", "reference", "triton"]
IMPLEMENTATIONS = tuple(name for name in get_args(Implementation) if name != "triton")
"""Those that are there on every device."""
VARIABLE = "SRESNET_ENGINE"


def implementation_of_environment() -> Implementation:
    """What $SRESNET_ENGINE asks of all threads of this process, read once; else the fastest.

    Raises:
        UserError: it is no implementation.
    """
    _check(_NAMED, VARIABLE)
    return _NAMED


_NAMED: Implementation = os.environ.get(VARIABLE) or "fastest"  # type: ignore[assignment]


def _check(name: str, what: str) -> None:
    """Raise UserError for a name of no implementation."""
    known = get_args(Implementation)
    if name not in known:
        raise UserError(f"{what} {name!r} is unknown: {closest(name, list(known))}")


class _Choice(threading.local):
    """What runs in this thread."""

    def __init__(self) -> None:
        # Of the object and not of its class: only there torch.compile sees that it has changed.
        self.name: Implementation = implementation_of_environment()


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


def triton_chosen() -> bool:
    """Inside `implementation("triton")`, or "low-memory" with SRESNET_ENGINE=triton: both kernels have that form."""
    return _chosen.name == "triton" or (_NAMED == "triton" and _chosen.name == "low-memory")


@contextlib.contextmanager
def implementation(name: Implementation) -> Iterator[None]:
    """Ops called inside run `name`, in this thread alone: others, those started inside too, have their own choice.

    "reference" is the plain PyTorch that defines them; "low-memory" keeps less for backward, and computes more;
    "triton" is the kernels for GPUs, whatever their comparison with the reference says, or an error. The choice is that
    of the forward pass; a backward pass follows it, wherever and whenever it runs.

    Raises:
        UserError: another name.
    """
    _check(name, "implementation")
    before, _chosen.name = _chosen.name, name
    try:
        yield
    finally:
        _chosen.name = before
