"""How long event recordings, or the windows that they are cut into, last: what a network has learnt to see in one."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

_OFF = 2.0
"""Shorter or longer than all in training by this factor, a clip is worth a word."""


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Of clips in seconds, from the start to the end that their time steps divide."""

    shortest: float
    usual: float
    """The median."""
    longest: float

    def __str__(self) -> str:
        shortest, usual, longest = (time_said(each, digits=3) for each in self.plain())
        return usual if self.longest < 1.01 * self.shortest else f"{shortest} to {longest}, usually {usual}"

    def divided(self, parts: int) -> "Lengths":
        """Of a time step, where clips have `parts` of them."""
        return Lengths(shortest=self.shortest / parts, usual=self.usual / parts, longest=self.longest / parts)

    def plain(self) -> list[float]:
        """As JSON holds them; `lengths_from_plain` is the inverse."""
        return [self.shortest, self.usual, self.longest]


def lengths_from_plain(values: Any) -> Lengths | None:
    """The inverse of `Lengths.plain`; None for what is none, as in files of earlier versions."""
    if not isinstance(values, list) or len(values) != 3 or not all(isinstance(each, int | float) for each in values):
        return None
    shortest, usual, longest = map(float, values)
    if not 0 < shortest <= usual <= longest < math.inf:
        return None
    return Lengths(shortest=shortest, usual=usual, longest=longest)


def lengths_of(spans: Iterable[tuple[int, int]]) -> Lengths | None:
    """The lengths of clips by their start and end in microseconds, end excluded; None without any."""
    found = sorted(end - start for start, end in spans)
    if not found:
        return None
    return Lengths(shortest=found[0] / 1e6, usual=found[(len(found) - 1) // 2] / 1e6, longest=found[-1] / 1e6)


def lengths_of_all(entries: Iterable[Mapping[str, Any]]) -> Lengths | None:
    """The lengths of the clips of several recordings, by {clips: how many, lasts: `Lengths.plain`} of each.

    The median is that of the recordings' medians, each as often as it has clips. None where those of some recording are
    not known.
    """
    each = [(lengths_from_plain(entry.get("lasts")), entry["clips"]) for entry in entries if entry["clips"]]
    known = sorted(((found, count) for found, count in each if found is not None), key=lambda pair: pair[0].usual)
    if not known or len(known) < len(each):
        return None
    usual = np.repeat([found.usual for found, _ in known], [count for _, count in known])
    return Lengths(
        shortest=min(found.shortest for found, _ in known),
        usual=float(usual[(len(usual) - 1) // 2]),
        longest=max(found.longest for found, _ in known),
    )


def other_lengths(trained: Lengths | None, found: Lengths | None, what: str) -> str:
    """What to say of clips, `what` with its verb, that last much longer or less long than all of training; or ""."""
    if trained is None or found is None:
        return ""
    if trained.shortest <= _OFF * found.usual and found.usual <= _OFF * trained.longest:
        return ""
    return f"note: {what} {found}, and training clips lasted {trained}: the network may be far less accurate"


def time_said(seconds: float, *, digits: int = 6) -> str:
    """A length of time with a unit in which it is not below 1, as far as there is one."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.{digits}g} {unit}"
    return f"{seconds * 1e6:.{digits}g} us"
