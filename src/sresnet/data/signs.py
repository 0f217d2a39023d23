"""Digits and letters: pictures that are something else, or nothing, when they are mirrored."""

import re
from collections.abc import Sequence
from pathlib import Path

_SETS = {
    *("digit", "digits", "number", "numbers", "numeral", "numerals", "letter", "letters", "alphabet", "character"),
    *("characters", "mnist", "nmnist", "qmnist", "emnist", "kmnist", "notmnist", "svhn", "usps", "omniglot"),
}
"""Words in the names of sets of such pictures."""
_OTHERS = {"fashion", "med"}
"""Words in the names of sets that are called so and are none."""


def are_signs(*names: str, class_names: Sequence[str] = ()) -> bool:
    """Whether pictures are of digits or letters, by the names of a set or its folder, or of classes.

    All classes are single digits or letters, or numbers of them as in "07", or a word of a name is that of a known set:
    "nmnist", "digits-dvs", "my_letters", but not "fashion-mnist".
    """
    if class_names and all(_is_letter(name) or _is_digit(name) for name in class_names):
        return True
    words = [set(re.split(r"[^a-z]+", Path(name).name.lower())) for name in names]
    return any(each & _SETS and not each & _OTHERS for each in words)


def _is_letter(name: str) -> bool:
    """One letter of a script with small and capital ones; in others one may be a whole word."""
    return len(name) == 1 and (name.islower() or name.isupper())


def _is_digit(name: str) -> bool:
    """A number from 0 to 9, with zeros in front or none."""
    return name.isascii() and name.isdigit() and len(name) <= 3 and int(name) < 10
