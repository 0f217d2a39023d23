import math

import pytest
import torch
from torch import nn

from sresnet.data import ImageSet
from sresnet.data.scaling import Counts
from sresnet.train.evaluate import evaluate

TABLE = torch.randn(23, 7, generator=torch.Generator().manual_seed(3)).round(decimals=3)
LABELS = (TABLE.argsort(descending=True)[torch.arange(23), torch.arange(23) % 7]).clone()  # rank 0, 1, ..., 6, 0, ...


class Known(nn.Module):
    """Gives the image of number i the scores TABLE[i], times the time steps; notes how it is called."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.calls = []

    def forward(self, x, num_steps=None):
        self.calls.append((len(x), num_steps, self.training, torch.is_inference_mode_enabled()))
        return self.weight * TABLE[x.flatten().long()] * (num_steps or 1)


SAMPLES = ImageSet(
    images=torch.arange(23, dtype=torch.uint8).view(23, 1, 1, 1), labels=LABELS, class_names=tuple("abcdefg")
)


@pytest.mark.parametrize(("batch_size", "whole"), [(5, 20), (23, 23), (22, 22), (1, 23), (250, 23)])
def test_every_number_by_hand(batch_size, whole):
    found = evaluate(Known(), SAMPLES, Counts(), batch_size=batch_size)
    ranks = [i % 7 for i in range(23)]
    assert found.images == 23
    assert found.top1 == pytest.approx(100 * sum(rank == 0 for rank in ranks) / 23)
    assert found.top5 == pytest.approx(100 * sum(rank < 5 for rank in ranks) / 23)
    losses = []
    for scores, label in zip(TABLE.tolist(), LABELS.tolist(), strict=True):
        losses.append(math.log(sum(math.exp(score - scores[label]) for score in scores)))
    assert found.loss == pytest.approx(sum(losses) / 23, rel=1e-5)
    # Batches are of one size but for the last, which is left out where it is not whole.
    assert found.batch_mean_top1 == pytest.approx(100 * sum(rank == 0 for rank in ranks[:whole]) / whole)


def test_how_the_network_is_called():
    model = Known().train()
    evaluate(model, SAMPLES, Counts(), batch_size=10, num_steps=3)
    assert model.calls == [(10, 3, False, True), (10, 3, False, True), (3, 3, False, True)]
    assert model.training
    model.eval()
    evaluate(model, SAMPLES, Counts())
    assert model.calls[3:] == [(23, None, False, True)]
    assert not model.training


def test_generators_go_on_as_if_nothing_had_been():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    evaluate(Known(), SAMPLES, Counts(), seed=1)
    assert torch.equal(torch.rand(3), expected)
