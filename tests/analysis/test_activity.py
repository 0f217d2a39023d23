"""Firing patterns known beforehand, and the records of whole runs."""

import pytest
import torch
from torch import nn

from sresnet import UserError
from sresnet.analysis import activity, early_exit, spread, walk
from sresnet.analysis.exits import evaluate_early_exit
from sresnet.analysis.prediction import _probabilities_by_step
from sresnet.analysis.walk import batches_of
from sresnet.data import ImageSet
from tests.analysis.networks import batch, trained, whole_run


def passing_on():
    """IF neurons without norms or skips whose kernels pass on their pixel: every layer is the stem, fed with it."""
    model = trained(connection="none", norm="none", neuron="if", base_filters=1, num_steps=5, in_channels=1)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.zeros_(module.weight)
            module.weight.data[0, 0, 1, 1] = 1
    return model


def test_a_pattern_known_beforehand():
    """Under u > 1: a current of 0.5 fires at steps 3 and 5, one of 2 always, none never."""
    image = torch.tensor([[0.0, 0.5, 0.5, 2.0], [0.0, 0.0, 0.0, 0.0]])[None, None]
    found = activity(passing_on(), [(image, torch.zeros(1, dtype=torch.long))])
    stem = found.layers[0]
    assert stem.shape == (1, 2, 4)
    assert stem.active == stem.sending == pytest.approx((12.5, 12.5, 37.5, 12.5, 37.5))
    assert stem.sent == pytest.approx((0.125, 0.125, 0.375, 0.125, 0.375))
    assert stem.spikes == 2 + 2 + 5
    assert stem.rate == pytest.approx(9 / 40)
    assert (stem.dead, stem.saturated) == (62.5, 12.5)
    assert stem.gamma is None
    assert stem.leak == 1


def test_dead_and_saturated_are_over_all_images():
    model = passing_on()
    labels = torch.zeros(1, dtype=torch.long)
    one, other = torch.tensor([[2.0, 0.0, 2.0, 0.0]]), torch.tensor([[2.0, 2.0, 0.0, 0.0]])
    batches = [(image[None, None].repeat(1, 1, 2, 1), labels) for image in (one, other)]
    stem = activity(model, batches).layers[0]
    assert (stem.dead, stem.saturated) == (25, 25)
    assert stem.spikes == 2 * (2 + 2) / 2 * 5


@pytest.mark.parametrize("frames", [0, 3])
@pytest.mark.parametrize(
    "fields",
    [{"connection": c} for c in ("s2s", "s2m", "v2v", "none")] + [{"neuron": "plif"}, {"skip": "spiking"}],
    ids=str,
)
def test_equals_the_records_of_a_whole_run(fields, frames):
    model = trained(**fields)
    x, labels = batch(model, images=4, frames=frames)
    found = activity(model, [(x[:3], labels[:3]), (x[3:], labels[3:])])
    _, records, _ = whole_run(model, x)
    assert found.images == 4
    assert [layer.name for layer in found.layers] == model.neuron_names
    for layer in found.layers:
        record = records[layer.name]
        assert layer.shape == record.spikes.shape[2:]
        assert layer.active == pytest.approx((100 * record.spikes.mean((1, 2, 3, 4))).tolist())
        assert layer.sending == pytest.approx((100 * (record.output != 0).float().mean((1, 2, 3, 4))).tolist())
        assert layer.sent == pytest.approx(record.output.mean((1, 2, 3, 4)).tolist(), abs=1e-6)
        times = record.spikes.sum((0, 1))
        assert layer.dead == pytest.approx(100 * float((times == 0).float().mean()))
        assert layer.saturated == pytest.approx(100 * float((times == 3 * 4).float().mean()))
        norm = model.layers.get_submodule(layer.name.replace("neuron", "norm"))
        assert layer.gamma == pytest.approx(norm.weight.mean(1).tolist())
    assert found.spikes == pytest.approx(sum(float(record.spikes.sum()) for record in records.values()) / 4)
    neurons = sum(layer.neurons for layer in found.layers)
    assert found.rate == pytest.approx(found.spikes / neurons / 3)


def test_gamma_of_other_norms_and_leaks():
    averaged = trained(norm="tdbn", neuron="plif-shared", threshold=2.0)
    layer = activity(averaged, [batch(averaged)]).layers[1]
    assert layer.gamma == pytest.approx([2 * float(averaged.layers["stage1_block1"].norm1.weight.detach().mean())] * 3)
    assert layer.leak == pytest.approx(0.874)


def test_vgg_and_the_ann_counterpart():
    vgg = trained("vgg11", width=0.08, hidden=8, num_steps=2, in_channels=2)
    assert [layer.name for layer in activity(vgg, [batch(vgg)]).layers] == vgg.neuron_names
    ann = trained("resnet8", num_steps=1)
    x, labels = batch(ann)
    _, records, _ = whole_run(ann, x)
    layer = activity(ann, [(x, labels)]).layers[0]
    assert layer.active[0] == pytest.approx(100 * float((records["stem.neuron"].spikes > 0).float().mean()))
    assert layer.leak is None


def test_a_walk_leaves_nothing_behind():
    model = trained().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    activity(model, [batch(model)])
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    with pytest.raises(UserError, match="num_steps 9 is more than the 3 frames"):
        activity(model, [batch(model, frames=3)], num_steps=9)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert model.training


def test_a_walk_gives_the_scores_of_forward():
    model = trained()
    x, labels = batch(model)
    seen = []

    class Watcher:
        def add(self, observation):
            seen.append(observation.scores)

    walk(model, [(x, labels)], [Watcher()])
    for k, scores in enumerate(seen, start=1):
        torch.testing.assert_close(scores, model(x, num_steps=k), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("frames", [0, 3])
def test_an_input_that_is_not_finite_is_named(frames):
    model = trained().train()
    (x, labels), (odd, others) = batch(model, images=4, frames=frames), batch(model, images=3, frames=frames)
    odd.flatten(1)[1, 5] = float("nan")
    batches = [(x, labels), (odd, others)]
    looks = (
        lambda: activity(model, batches),
        lambda: early_exit(model, batches),
        lambda: evaluate_early_exit(model, batches, threshold=0.9, temperatures=[1.0, 1.0, 1.0]),
        lambda: walk(model, batches, []),
    )
    for look in looks:
        with pytest.raises(UserError, match="scores of sample 5 are not finite: its pixels or the weights"):
            look()
        assert model.training
    with pytest.raises(UserError, match="scores of sample 0 are not finite"):
        _probabilities_by_step(model.eval(), odd[1:2])


def test_images_are_spread_over_a_sorted_set():
    labels = torch.arange(10).repeat_interleave(10)
    images = ImageSet(
        images=torch.zeros(100, 1, 2, 2, dtype=torch.uint8), labels=labels, class_names=tuple("abcdefghij")
    )
    some = images.subset(spread(100, 20))
    assert len(some) == 20
    assert set(some.labels.tolist()) == set(range(10))
    assert spread(5, 500).tolist() == [0, 1, 2, 3, 4]
    assert [len(y) for _, y in batches_of(some, lambda x: x.float(), batch_size=8)] == [8, 8, 4]
    with pytest.raises(UserError, match="images 0 is less than 1"):
        spread(5, 0)
