import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sresnet import UserError
from sresnet.data import DataConfig, ImageSet, Splits, open_data
from sresnet.data.fingerprint import difference, fingerprint
from sresnet.data.samples import matched, unnamed


def images(labels, class_names, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (len(labels), 1, 2, 3), generator=generator, dtype=torch.uint8)
    return ImageSet(images=pixels, labels=torch.tensor(labels, dtype=torch.int64), class_names=tuple(class_names))


@given(st.data())
def test_classes_are_matched_by_name(data):
    network = data.draw(st.lists(st.text(min_size=1), min_size=1, max_size=6, unique=True))
    names = data.draw(st.lists(st.sampled_from(network), min_size=1, max_size=6, unique=True))
    labels = data.draw(st.lists(st.integers(0, len(names) - 1), max_size=8))
    found = matched(images(labels, names), network)
    assert found.class_names == tuple(network)
    assert [network[label] for label in found.labels.tolist()] == [names[label] for label in labels]


def test_unknown_classes_are_refused_with_both_lists():
    with pytest.raises(UserError) as caught:
        matched(images([0, 1, 2], ["bee", "owl", "cat"]), ["ant", "bee", "cat"])
    assert str(caught.value).startswith(
        "the data have class owl, unknown to the network: they are of bee, owl, cat, and the network knows ant, bee, "
        "cat"
    )
    # What no sample is of can be unknown; of very many names, the first are enough.
    assert matched(images([0, 2], ["bee", "owl", "cat"]), ["ant", "bee", "cat"]).labels.tolist() == [1, 2]
    many = [f"name {number}" for number in range(1000)]
    with pytest.raises(UserError, match="name 11 and 988 others") as caught:
        matched(images([0], ["owl"]), many)
    assert len(str(caught.value)) < 500


def test_a_name_for_two_classes_matches_nothing():
    twice = images([0, 1, 2], ["crane", "owl", "crane"])
    assert matched(twice, twice.class_names) is twice
    with pytest.raises(UserError, match="'crane' stands for two classes"):
        matched(twice, ["owl", "crane"])
    with pytest.raises(UserError, match="'crane' stands for two classes"):
        matched(images([0], ["owl"]), ["owl", "crane", "crane"])


def test_classes_without_names_are_matched_by_number():
    some = images([1, 0], ["cat", "dog"])
    assert matched(some, unnamed(2)).class_names == ("class 0", "class 1")
    assert matched(some, unnamed(2)).labels.tolist() == [1, 0]
    with pytest.raises(UserError, match="class"):
        matched(some, unnamed(3))


def test_all_parts_have_the_classes_of_those_to_train_on():
    train = images([0, 1, 2], "abc")
    splits = Splits(train=train, validation=images([0], "b"), test=images([0, 1, 0], "ca"))
    assert splits.validation.labels.tolist() == [1]
    assert splits.test.labels.tolist() == [2, 0, 2]
    assert splits.test.class_names == splits.validation.class_names == train.class_names
    with pytest.raises(UserError, match="class d, unknown to the training set"):
        Splits(train=train, validation=None, test=images([0], "d"))
    other = splits.matched("xcba")
    assert other.train.labels.tolist() == [3, 2, 1]
    assert other.test.labels.tolist() == [1, 3, 1]


def changes(splits):
    """(what it says, the same data with one thing changed)."""
    train, validation, test = splits.train, splits.validation, splits.test
    pixels = train.images.clone()
    pixels[-1, 0, -1, -1] += 1
    brighter = ImageSet(images=pixels, labels=train.labels, class_names=train.class_names)
    relabelled = train.renamed(train.labels.roll(1), train.class_names)
    turned = ImageSet(images=test.images.transpose(2, 3), labels=test.labels, class_names=test.class_names)
    return {
        "9 train samples, now 8": Splits(train=train.subset(torch.arange(8)), validation=validation, test=test),
        "9 train samples, now as many others": Splits(train=brighter, validation=validation, test=test),
        "9 train samples, now as many others ": Splits(train=relabelled, validation=validation, test=test),
        "9 train samples, now as many others  ": Splits(
            train=train.subset(torch.arange(8, -1, -1)), validation=validation, test=test
        ),
        "3 validation samples, now 0": Splits(train=train, validation=None, test=test),
        "6 test samples, now 5": Splits(train=train, validation=validation, test=test.subset(torch.arange(5))),
        "test samples of 1x2x3, now 1x3x2": Splits(train=train, validation=validation, test=turned),
        "classes a, b, c, now a, b, d": Splits(
            **{part: getattr(splits, part).renamed(getattr(splits, part).labels, ("a", "b", "d")) for part in PARTS}
        ),
    }


PARTS = ("train", "validation", "test")


def test_a_fingerprint_changes_with_all_that_data_are():
    splits = Splits(
        train=images([0, 1, 2] * 3, "abc"), validation=images([0, 1, 2], "abc", 1), test=images([0, 1, 2] * 2, "abc", 2)
    )
    before = fingerprint(splits)
    assert difference({"fingerprint": before}, fingerprint(splits)) == ""
    for words, other in changes(splits).items():
        assert difference({"fingerprint": before}, fingerprint(other)) == words.strip()
    # Runs of earlier versions know their class names only.
    assert difference({"class_names": ["a", "b", "c"]}, fingerprint(changes(splits)["6 test samples, now 5"])) == ""
    assert difference({"class_names": ["a", "b"]}, before) == "classes a, b, now a, b, c"
    assert difference({}, before) == ""


def test_a_fingerprint_is_the_same_tomorrow():
    splits = open_data(DataConfig(name="digits", validation=0.1), "", seed=0)
    found = fingerprint(splits)
    assert found["train"]["contents"] == "a3467908c023315bd20d0ef36b3b79b3"
    assert found["test"]["by_class"] == splits.test.labels.bincount().tolist()


@pytest.mark.parametrize(
    "damaged",
    [[], {}, "x", {"class_names": ["a"]}, {"class_names": "a", "train": 1, "validation": None, "test": 1}],
)
def test_a_damaged_fingerprint_is_a_mistake_not_a_fault(damaged):
    now = fingerprint(Splits(train=images([0], "a"), validation=None, test=images([0], "a")))
    with pytest.raises(UserError, match="damaged"):
        difference({"fingerprint": damaged}, now)
