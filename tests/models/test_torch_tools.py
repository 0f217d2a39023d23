"""Tools of torch that look for torch's own batch norm: they work, or say that they do not."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.optim.swa_utils import AveragedModel, update_bn

from sresnet import UserError, create_model
from sresnet.ops.dispatch import IMPLEMENTATIONS, implementation

KINDS = {
    "bntt": {},
    "time-averaged": {"norm": "time-averaged"},
    "tdbn": {"norm": "tdbn", "norm_bias": True, "connection": "s2m"},
    "ann": {"neuron": "relu", "norm": "time-averaged", "connection": "s2m"},
}


def make(kind="bntt"):
    return create_model("sresnet8", base_filters=4, num_steps=3, **KINDS[kind])


def norms_of(model):
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def statistics(model):
    return {name: buffer.clone() for name, buffer in model.named_buffers() if "running" in name}


BATCHES = [torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * (1 + seed) for seed in range(3)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_update_bn_averages_over_the_batches(kind, name):
    model = make(kind)
    alone = []
    with implementation(name), torch.no_grad():
        for images in BATCHES:
            single = copy.deepcopy(model)
            for norm in norms_of(single):
                norm.momentum = 1.0
            single(images)
            alone.append(statistics(single))
        model(BATCHES[0])  # forgotten by update_bn
        model.eval()
        for _ in range(2):
            update_bn([(images, 0) for images in BATCHES], model)
            for key, found in statistics(model).items():
                torch.testing.assert_close(found, torch.stack([each[key] for each in alone]).mean(0), msg=key)
    assert not any(module.training for module in model.modules())
    assert len(norms_of(model)) == 9
    assert {norm.momentum for norm in norms_of(model)} == {0.1}


def test_a_weight_average_gets_statistics_of_its_own():
    model = make()
    averaged = AveragedModel(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    averaged.update_parameters(model)
    before = statistics(averaged)
    update_bn(BATCHES, averaged)
    assert all(not torch.equal(found, before[key]) for key, found in statistics(averaged).items())


def test_the_usual_average_goes_on_after_it():
    model = make()
    update_bn(BATCHES, model)
    mean = model.layers["stem"].norm.running_mean.clone()
    with torch.no_grad():
        model(BATCHES[2])
        other = copy.deepcopy(model)
        other.layers["stem"].norm.momentum = 1.0
        other(BATCHES[2])
    torch.testing.assert_close(
        model.layers["stem"].norm.running_mean, mean.lerp(other.layers["stem"].norm.running_mean, 0.1)
    )


def test_only_the_steps_that_ran_are_counted():
    model = make().train()
    for norm in norms_of(model):
        norm.momentum = None
    with torch.no_grad():
        model(BATCHES[0], num_steps=2)
        with pytest.raises(UserError, match="different numbers of batches"):
            model(BATCHES[0])
        frames = BATCHES[0][:, None].expand(-1, 3, -1, -1, -1)
        for norm in norms_of(model):
            norm.reset_running_stats()
        state = None
        for t in range(3):  # step by step, each step has seen one batch
            _, state = model.step(frames[:, t], state)
        found = statistics(model)
        for norm in norms_of(model):
            norm.reset_running_stats()
        model(frames)
    for key, expected in statistics(model).items():
        torch.testing.assert_close(found[key], expected)


def test_a_frozen_backbone_keeps_its_statistics():
    model = make()
    model.freeze_backbone()
    before = statistics(model)
    with pytest.raises(UserError, match="frozen and keeps its statistics"):
        update_bn(BATCHES, copy.deepcopy(model))
    assert all(torch.equal(found, before[key]) for key, found in statistics(model).items())
    model.freeze_backbone(False)
    update_bn(BATCHES, model)
    assert not any(torch.equal(found, before[key]) for key, found in statistics(model).items())


def test_norms_can_be_frozen_and_reset_by_their_class():
    model = make("tdbn").train()
    for norm in norms_of(model):
        norm.eval()
    before = statistics(model)
    model(BATCHES[0])
    assert all(torch.equal(found, before[key]) for key, found in statistics(model).items())
    model.train()(BATCHES[0])
    for norm in norms_of(model):
        nn.init.constant_(norm.weight, 3.0)
        norm.reset_parameters()
    fresh = make("tdbn")
    for norm, new in zip(norms_of(model), norms_of(fresh), strict=True):
        found, expected = norm.state_dict(), new.state_dict()
        assert all(torch.equal(found[key], value) for key, value in expected.items())


@pytest.mark.parametrize(
    "tool",
    [
        nn.SyncBatchNorm.convert_sync_batchnorm,
        lambda model: fuse_conv_bn_eval(model.layers["stem"].conv, model.layers["stem"].norm),
        lambda model: [nn.BatchNorm2d(norm.num_features) for norm in norms_of(model)],
        lambda model: setattr(model.layers["stem"].norm, "eps", 1e-3),
        lambda model: setattr(model.layers["stem"].norm, "track_running_stats", False),
    ],
    ids=["SyncBatchNorm", "fusion", "another norm", "eps", "no statistics"],
)
@pytest.mark.parametrize("kind", ["bntt", "tdbn"])
def test_what_would_change_nothing_or_something_else_is_refused(tool, kind):
    model = make(kind).eval()
    expected = model(BATCHES[0])
    with pytest.raises(UserError, match="no other norm can take its place") as error:
        tool(model)
    assert "\n" not in str(error.value)
    assert torch.equal(model(BATCHES[0]), expected)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.ao
def test_modules_are_not_fused():
    with pytest.raises(AssertionError, match="did not find fuser method"):
        torch.ao.quantization.fuse_modules(make().eval(), ["layers.stem.conv", "layers.stem.norm"])


def test_files_have_no_count_of_batches():
    model, other = make(), make()
    state = dict(model.state_dict())  # without torch's versions, as from a safetensors file
    assert not any("num_batches_tracked" in key for key in state)
    other.load_state_dict(state)
    assert set(state) == set(dict(other.named_parameters()) | dict(other.named_buffers()))
