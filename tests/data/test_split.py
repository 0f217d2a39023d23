import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sresnet.data.split import stratified_split
from sresnet.errors import UserError

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
