"""Sets of digits and letters, by name."""

import pytest

from sresnet.data.signs import are_signs


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
