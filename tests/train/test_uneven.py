"""Classes of uneven size: weights of the loss, and epochs with as many samples of each."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sresnet import UserError
from sresnet.data import Splits
from sresnet.data.sampling import balanced_weights, indices_of_epoch
from sresnet.randomness import order
from sresnet.train.loop import Run, loss_of, train
from sresnet.train.recipe import TrainConfig
from tests.train.test_loop import CPU, SPLITS, TINY, changed, final


@given(counts=st.lists(st.integers(0, 30), min_size=1, max_size=5).filter(any), seed=st.integers(0, 5))
def test_an_epoch_shows_as_many_of_each_class(counts, seed):
    labels = torch.tensor([label for label, count in enumerate(counts) for _ in range(count)])
    chosen = indices_of_epoch(labels, "balanced", seed, 3)
    assert len(chosen) == len(labels)
    shown = labels[chosen].bincount(minlength=len(counts)).tolist()
    present = [n for n, count in zip(shown, counts, strict=True) if count]
    assert max(present) - min(present) <= 1
    assert all(not n for n, count in zip(shown, counts, strict=True) if not count)
    times = chosen.bincount(minlength=len(labels))
    for label, count in enumerate(counts):
        if count:
            of_class = times[labels == label]
            assert int(of_class.max() - of_class.min()) <= 1  # none again before all were shown
    assert torch.equal(chosen, indices_of_epoch(labels, "balanced", seed, 3))


def test_other_epochs_and_seeds_show_others():
    labels = torch.tensor([0] * 50 + [1] * 4)
    first = indices_of_epoch(labels, "balanced", 0, 0)
    for seed, epoch in ((0, 1), (1, 0)):
        other = indices_of_epoch(labels, "balanced", seed, epoch)
        assert set(other.tolist()) != set(first.tolist())
    assert torch.equal(indices_of_epoch(labels, "all", 3, 2), order(54, 3, 2))


def test_weights_make_classes_count_alike():
    labels = torch.tensor([0] * 6 + [2] * 2)
    weights = balanced_weights(labels, 3)
    assert weights.tolist() == pytest.approx([8 / (2 * 6), 0.0, 8 / (2 * 2)])
    assert float(weights[labels].mean()) == pytest.approx(1.0)
    assert weights[labels].reshape(-1)[:6].sum() == pytest.approx(float(weights[labels][6:].sum()))


@pytest.mark.parametrize("loss", ["mean", "per-step", "mse", "sse"])
@pytest.mark.parametrize("mixed", [False, True])
def test_the_weighted_loss_is_that_of_each_image_times_its_weight(loss, mixed):
    torch.manual_seed(0)
    outputs, labels = torch.randn(3, 5, 4, dtype=torch.float64), torch.tensor([0, 1, 1, 3, 2])
    target = torch.softmax(torch.randn(5, 4, dtype=torch.float64), 1) if mixed else labels
    config = TrainConfig(loss=loss, label_smoothing=0.1 if loss in ("mean", "per-step") else 0.0)
    weights = torch.tensor([0.5, 2.0, 1.0, 3.0], dtype=torch.float64)
    of_image = target @ weights if mixed else weights[labels]
    each = torch.stack([loss_of(outputs[:, i : i + 1], target[i : i + 1], config) for i in range(5)])
    expected = (of_image * each).sum() if loss == "sse" else (of_image * each).mean()
    torch.testing.assert_close(loss_of(outputs, target, config, weights), expected)
    ones = torch.ones(4, dtype=torch.float64)
    torch.testing.assert_close(loss_of(outputs, target, config, ones), loss_of(outputs, target, config))


def uneven():
    """Many of the first class, few of the others."""
    labels = SPLITS.train.labels
    kept = torch.cat([(labels == label).nonzero()[: 24 if label == 0 else 3, 0] for label in range(4)])
    return Splits(train=SPLITS.train.subset(kept), validation=SPLITS.validation, test=SPLITS.test)


BALANCED = {
    "weights": changed(class_weights="balanced"),
    "sampling": dataclasses.replace(TINY, data=dataclasses.replace(TINY.data, sampling="balanced")),
}


@pytest.mark.parametrize("name", BALANCED)
def test_a_run_that_is_stopped_ends_as_one_that_is_not(tmp_path, name):
    splits = uneven()
    train(BALANCED[name], splits, tmp_path / "whole", device=CPU)
    train(TINY, splits, tmp_path / "plain", device=CPU)
    assert final(tmp_path / "whole")[0] != final(tmp_path / "plain")[0]
    steps = []
    while True:
        steps.append(0)
        outcome = train(
            BALANCED[name], splits, tmp_path / "parts", device=CPU, should_stop=lambda: True, checkpoint_seconds=0
        )
        if outcome.state == "finished":
            break
    assert len(steps) > 3
    assert final(tmp_path / "parts") == final(tmp_path / "whole")


def test_parts_of_a_batch_add_up_to_the_weighted_loss(tmp_path):
    """As weights are not divided by their sum in a batch, which differs from part to part."""
    splits, losses = uneven(), []
    for parts in (1, 2):
        recipe = dataclasses.replace(
            changed(class_weights="balanced", accumulate=parts, batch_size=10, epochs=1, ema=0.0),
            model=dataclasses.replace(TINY.model, norm="none"),
        )
        run = Run(recipe, splits, tmp_path / str(parts), CPU)
        (tmp_path / str(parts)).mkdir()
        run.model.train()
        run.step(run.indices(0)[:10])
        losses.append(run.position.loss_sum)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_both_at_once_are_refused():
    with pytest.raises(UserError, match="would make up for uneven classes twice: choose one"):
        dataclasses.replace(BALANCED["sampling"], train=BALANCED["weights"].train)


def test_weights_of_the_training_images_alone(tmp_path):
    run = Run(BALANCED["weights"], uneven(), tmp_path, CPU)
    counts = uneven().train.labels.bincount(minlength=4).float()
    torch.testing.assert_close(run.class_weights, counts.sum() / (4 * counts))
    assert Run(TINY, SPLITS, tmp_path / "other", CPU).class_weights is None
