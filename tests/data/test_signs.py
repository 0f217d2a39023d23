"""Sets of digits and letters, by name."""

import pytest

from sresnet.data.events.sets import GESTURES
from sresnet.data.signs import are_signs, not_to_mirror


@pytest.mark.parametrize(
    "name",
    [
        "digits",
        "digits-dvs",
        "nmnist",
        "data/MNIST",
        "emnist_letters",
        "SVHN",
        "n-mnist",
        "my digits",
        "letters2",
        "usps/",
    ],
)
def test_names_of_signs(name):
    assert are_signs("folder", name)


@pytest.mark.parametrize(
    "name", ["", "cifar10", "fashion-mnist", "FashionMNIST", "med-mnist", "pathmnist", "photos", "digitalis", "folder"]
)
def test_names_of_others(name):
    assert not are_signs(name)


@pytest.mark.parametrize(
    ("classes", "signs"),
    [
        (("0", "1", "7"), True),
        (("a", "B", "z"), True),
        (("00", "01", "09"), True),
        (("a", "1"), True),
        (("猫", "犬"), False),  # cats and dogs
        (("α", "Ω"), True),
        (("0", "1", "10"), False),
        (("a", "bee"), False),
        (("cat", "dog"), False),
        (("+", "-"), False),
        ((), False),
    ],
)
def test_names_of_classes(classes, signs):
    assert are_signs("folder", "pictures", class_names=classes) == signs


@pytest.mark.parametrize(
    ("classes", "pair"),
    [
        (GESTURES, ("right hand wave", "left hand wave")),
        (("clap", "left arm clockwise", "right arm counter clockwise"), (1, 2)),
        (("left arm clockwise", "right arm clockwise"), None),
        (("TurnLeft", "TurnRight"), (0, 1)),
        (("wave_l", "wave_r"), (0, 1)),
        (("turn-anti-clockwise", "turn clockwise"), (0, 1)),
        (("CCW", "CW"), (0, 1)),
        (("left 1", "right 2"), None),
        (("left", "straight on"), None),
        (("cat", "dog"), None),
        (("leftover", "rightover"), None),
        ((), None),
    ],
)
def test_classes_that_are_mirror_images(classes, pair):
    names = pair and tuple(classes[each] if isinstance(each, int) else each for each in pair)
    said = f"of classes that are each other's mirror images, such as {names[0]!r} and {names[1]!r}" if names else ""
    assert not_to_mirror("folder", "", classes) == said


def test_signs_are_not_mirrored():
    assert not_to_mirror("nmnist", "", ("0", "1")) == not_to_mirror("folder", "letters", ("left", "right"))
