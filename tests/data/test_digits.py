import builtins
import sys

import pytest
import torch

from sresnet.data.digits import load_digits
from sresnet.errors import UserError


@pytest.fixture(scope="module")
def digits():
    pytest.importorskip("sklearn")
    return load_digits()


def test_shapes_and_sizes(digits):
    train, test = digits
    assert train.images.shape == (1438, 1, 8, 8)
    assert test.images.shape == (359, 1, 8, 8)
    assert train.class_names == tuple("0123456789")


def test_pixels_are_the_originals_scaled(digits):
    from sklearn.datasets import load_digits as originals

    train, test = digits
    bunch = originals()
    expected = sorted(
        (int(label), bytes(int(value * 255 / 16 + 0.5) for value in image.flatten()))
        for image, label in zip(bunch.images, bunch.target, strict=True)
    )
    images, labels = torch.cat([train.images, test.images]), torch.cat([train.labels, test.labels])
    found = sorted(
        (label, bytes(image.flatten().tolist())) for image, label in zip(images, labels.tolist(), strict=True)
    )
    assert found == expected


def test_a_fifth_of_each_class_is_held_out(digits):
    train, test = digits
    whole = train.labels.bincount() + test.labels.bincount()
    assert ((test.labels.bincount() - whole / 5).abs() <= 0.5).all()


def test_the_split_does_not_depend_on_the_global_generators(digits):
    torch.manual_seed(123)
    again = load_digits()
    for one, other in zip(digits, again, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)


def test_without_scikit_learn_the_cure_is_named(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "sklearn", raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UserError, match=r"pip install 'sresnet\[demo\]'"):
        load_digits()
