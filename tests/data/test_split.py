from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sresnet.config import to_dict
from sresnet.data import DataConfig, EventConfig, open_data
from sresnet.data.events.sets import USUAL
from sresnet.data.split import hold_out, some_of_each_class, stratified_split
from sresnet.errors import UserError
from sresnet.train.recipe import Recipe

labels_lists = st.lists(st.integers(0, 5), max_size=80)
seeds = st.integers(0, 2**32)


@given(labels=labels_lists, fraction=st.floats(0, 1), seed=seeds)
def test_split_covers_everything_once_in_order(labels, fraction, seed):
    rest, held_out = stratified_split(torch.tensor(labels, dtype=torch.int64), fraction, seed)
    assert rest.dtype == held_out.dtype == torch.int64
    assert sorted(rest.tolist() + held_out.tolist()) == list(range(len(labels)))
    assert rest.tolist() == sorted(rest.tolist())
    assert held_out.tolist() == sorted(held_out.tolist())


@given(labels=labels_lists, fraction=st.floats(0, 1), seed=seeds)
def test_each_class_gives_its_rounded_share(labels, fraction, seed):
    labels = torch.tensor(labels, dtype=torch.int64)
    _, held_out = stratified_split(labels, fraction, seed)
    for label in range(6):
        count = int((labels == label).sum())
        assert abs(int((labels[held_out] == label).sum()) - count * fraction) <= 0.5 + 1e-9


@given(labels=labels_lists, seed=seeds)
def test_split_depends_only_on_its_arguments(labels, seed):
    labels = torch.tensor(labels, dtype=torch.int64)
    torch.manual_seed(1)
    first = stratified_split(labels, 0.3, seed)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = stratified_split(labels, 0.3, seed)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_half_an_image_is_held_out():
    assert len(stratified_split(torch.zeros(5, dtype=torch.int64), 0.1, 0)[1]) == 1


def test_seeds_give_different_splits():
    labels = torch.zeros(100, dtype=torch.int64)
    assert not torch.equal(stratified_split(labels, 0.5, 0)[1], stratified_split(labels, 0.5, 1)[1])


def test_every_member_of_a_class_is_equally_likely():
    labels = torch.tensor([0, 1] * 5)
    counts = torch.zeros(10)
    for seed in range(2000):
        counts[stratified_split(labels, 0.2, seed)[1]] += 1
    # 400 expected, standard deviation 18
    assert (counts - 400).abs().max() < 90


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_a_fraction_that_is_no_share_is_refused(fraction):
    with pytest.raises(UserError, match=r"fraction .* 0 to 1"):
        stratified_split(torch.zeros(4, dtype=torch.int64), fraction, 0)


def test_what_a_validation_part_does_to_small_classes():
    labels = torch.tensor([0] * 4 + [1] * 10 + [2] * 2 + [3])
    names = ("few", "many", "two", "one", "none")
    rest, held_out, notes = hold_out(labels, names, 0.1, 0)
    assert [part.tolist() for part in stratified_split(labels, 0.1, 0)] == [rest.tolist(), held_out.tolist()]
    assert notes == ["validation 0.1 holds out nothing of classes with few images: few, two, one"]
    rest, held_out, notes = hold_out(labels, names, 0.5, 0, "recordings")
    assert notes == ["validation 0.5 leaves nothing to train on of classes with few recordings: one"]
    assert hold_out(labels[:14], names, 0.3, 0)[2] == []
    with pytest.raises(UserError, match="validation 0.1 holds out none of 4 training images, as no class has enough"):
        hold_out(labels[:4], names, 0.1, 0)


class TestSomeOfEachClass:
    LABELS = torch.tensor([0, 1, 2] * 30 + [0] * 60)

    @pytest.mark.parametrize("count", [1, 2, 3, 30, 31, 89])
    def test_classes_are_alike(self, count):
        chosen = some_of_each_class(self.LABELS, count)
        assert len(chosen) == count
        assert torch.equal(chosen, chosen.unique())
        counts = torch.bincount(self.LABELS[chosen], minlength=3)
        assert counts.max() - counts.min() <= 1

    def test_a_small_class_gives_all_it_has(self):
        counts = torch.bincount(self.LABELS[some_of_each_class(self.LABELS, 120)], minlength=3)
        assert counts.tolist() == [60, 30, 30]

    def test_it_is_spread_and_always_the_same(self):
        chosen = some_of_each_class(self.LABELS, 30)
        torch.manual_seed(1)
        assert torch.equal(chosen, some_of_each_class(self.LABELS, 30))
        assert chosen.max() > 60

    @pytest.mark.parametrize("count", [-1, 0, 151])
    def test_errors(self, count):
        with pytest.raises(UserError, match="give 1 to 150"):
            some_of_each_class(self.LABELS, count)


def test_open_data_takes_so_many_training_images_and_holds_out_some_of_them():
    splits = open_data(DataConfig(name="digits", train_images=100, validation=0.1), "", seed=3)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (90, 10, 359)
    whole = open_data(DataConfig(name="digits"), "", seed=3)
    assert whole.train.labels.bincount().sum() == 1438
    with pytest.raises(UserError, match="train_images -1"):
        DataConfig(name="digits", train_images=-1)


def test_simulated_recordings_of_so_many_images(tmp_path):
    config = replace(USUAL["digits-dvs"], train_images=20, test_images=10)
    splits = open_data(config, "", seed=0, num_steps=2, cache_dir=str(tmp_path))
    assert splits.train.labels.bincount().tolist() == [2] * 10
    assert splits.test.labels.bincount().tolist() == [1] * 10
    for wrong in (replace, EventConfig):
        with pytest.raises(UserError, match="train_images"):
            wrong(config, train_images=-1) if wrong is replace else wrong(train_images=3)


def test_all_images_have_the_fingerprint_that_they_had_before():
    assert Recipe(data=DataConfig(train_images=0)).fingerprint() == Recipe().fingerprint()
    assert Recipe(data=DataConfig(train_images=5)).fingerprint() != Recipe().fingerprint()
    assert not {"train_images", "test_images"} & (to_dict(EventConfig()).keys() | to_dict(DataConfig()).keys())
