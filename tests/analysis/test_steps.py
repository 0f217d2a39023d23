import pytest
import torch

from sresnet.analysis import accuracy_by_step, analyse, batches_of
from sresnet.data import ImageSet
from sresnet.data.scaling import Pixels
from sresnet.report.analysis_files import save
from sresnet.train.evaluate import evaluate
from tests.analysis.networks import batch, trained


@pytest.mark.parametrize("encoder", ["direct", "poisson"])
def test_every_step_agrees_with_an_evaluation_that_stops_there(encoder):
    model = trained(num_steps=4, encoder=encoder, norm="none" if encoder == "poisson" else "bntt")
    images = ImageSet(
        images=torch.randint(0, 256, (60, 2, 7, 9), dtype=torch.uint8),
        labels=torch.randint(0, 5, (60,)),
        class_names=tuple("abcde"),
    )
    found = accuracy_by_step(model, batches_of(images, Pixels(), batch_size=60), seed=3)
    assert found.images == 60
    assert len(set(found.top1)) > 1
    if encoder == "direct":
        stopped = [evaluate(model, images, Pixels(), num_steps=k, batch_size=60).top1 for k in (1, 2, 3, 4)]
        assert found.top1 == pytest.approx(stopped)
    else:  # the same spikes are drawn when all steps are
        assert found.top1[-1] == pytest.approx(evaluate(model, images, Pixels(), batch_size=60, seed=3).top1)


def test_margins():
    model = trained()
    x, labels = batch(model, images=4)
    labels[:2] = model(x[:2]).argmax(1)  # some right, so that margins of both signs are there
    found = accuracy_by_step(model, [(x[:1], labels[:1]), (x[1:], labels[1:])])
    for k in (1, 2, 3):
        scores = model(x, num_steps=k).tolist()
        margins = [
            row[label] - max(score for other, score in enumerate(row) if other != label)
            for row, label in zip(scores, labels.tolist(), strict=True)
        ]
        assert found.margin[k - 1] == pytest.approx(sum(margins) / 4, abs=1e-5)
        assert found.top1[k - 1] == 25 * sum(margin > 0 for margin in margins)
    assert 50 <= found.top1[-1] < 100
    assert accuracy_by_step(model, [(x, labels)], num_steps=2).margin == pytest.approx(found.margin[:2], abs=1e-5)


def test_one_class_has_no_margin(tmp_path):
    """Nor has it other scores; JSON has no infinity."""
    model = trained(num_classes=1)
    x, labels = batch(model, images=3)
    found = analyse(model, [(x, labels)])
    assert found.steps.top1 == (100, 100, 100)
    assert found.steps.margin == (None, None, None)
    save(found, tmp_path, {})
    assert '"margin": [\n      null,' in (tmp_path / "analysis.json").read_text()


def test_gradients_that_overflow_are_left_out():
    model = trained()
    x, labels = batch(model, images=3)
    assert len(analyse(model, [(x, labels)]).gradients) == 4
    with torch.no_grad():
        model.layers["stem"].norm.weight *= 1e-30
        model.layers["stage3_block1"].norm2.weight *= 3e37
        model.readout.linear.weight *= 10
    assert analyse(model, [(x, labels)]).gradients == ()
