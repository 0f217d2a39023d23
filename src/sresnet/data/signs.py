"""Samples that are something else, or nothing, when they are mirrored: digits, letters, turns to the left."""

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


def not_to_mirror(name: str, data_dir: str, class_names: Sequence[str]) -> str:
    """Why the samples of a set should not be mirrored, in words that follow "samples are"; "" where nothing shows."""
    if are_signs(name, data_dir, class_names=class_names):
        return "of digits or letters"
    pair = _mirror_images(class_names)
    return f"of classes that are each other's mirror images, such as {pair[0]!r} and {pair[1]!r}" if pair else ""


_HANDED = {"left": "right", "l": "r", "clockwise": "anticlockwise", "cw": "ccw"}
_MIRRORED = _HANDED | {to: word for word, to in _HANDED.items()}
_AGAINST = re.compile(r"\b(?:counter|anti)[^a-z]*clockwise\b")


def _mirror_images(class_names: Sequence[str]) -> tuple[str, str] | None:
    """Two classes whose samples become those of the other when they are mirrored, by their names; None without any.

    Left and right are exchanged, and clockwise and anticlockwise: "left arm clockwise" and "right arm counter
    clockwise", "TurnLeft" and "TurnRight", "wave_l" and "wave_r".
    """
    words = {_words(name): name for name in class_names}
    for of, name in words.items():
        other = words.get(tuple(_MIRRORED.get(word, word) for word in of), name)
        if other != name:
            return name, other
    return None


def _words(name: str) -> tuple[str, ...]:
    """The words of a name in lower case, its numbers among them, "counter clockwise" as one."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower().replace("_", " ")
    return tuple(re.findall(r"[^\W\d_]+|\d+", _AGAINST.sub("anticlockwise", spaced)))
