"""Features in place of scores."""

import pytest
import torch

import sresnet
from sresnet import UserError
from sresnet.models import FeatureNetwork

SMALL = {"num_steps": 2, "base_filters": 4}


def test_pooled_features_are_what_the_classifier_takes():
    model = sresnet.create_model("sresnet8", num_classes=0, **SMALL).eval()
    x = torch.randn(3, 3, 16, 16)
    features = model(x)
    assert features.shape == (3, model.num_features) == (3, 16)
    torch.testing.assert_close(model.network.get_classifier()(features), model.network(x))
    steps = model(x, per_step=True)
    assert steps.shape == (2, 3, 16)
    torch.testing.assert_close(steps.mean(0), features)
    torch.testing.assert_close(model(x, num_steps=1), steps[0])


@pytest.mark.parametrize(
    ("name", "fields", "side", "expected"),
    [
        ("sresnet14", SMALL, 16, [("stage1_block2", 4, 1), ("stage2_block2", 8, 2), ("stage3_block2", 16, 4)]),
        (
            "kim-vgg9",
            {"num_steps": 2, "width": 1 / 16, "encoder": "direct"},
            32,
            [("conv2", 4, 1), ("conv4", 8, 2), ("conv7", 16, 4)],
        ),
        (
            "sew_resnet18",
            {"num_steps": 2, "base_filters": 4},
            64,
            [
                ("stem", 4, 2),
                ("stage1_block2", 4, 4),
                ("stage2_block2", 8, 8),
                ("stage3_block2", 16, 16),
                ("stage4_block2", 32, 32),
            ],
        ),
    ],
)
def test_maps_of_each_stage(name, fields, side, expected):
    model = sresnet.create_model(name, features_only=True, **fields).eval()
    assert [(each.name, each.channels, each.reduction) for each in model.feature_info] == expected
    x = torch.randn(2, 3, side, side)
    maps = model(x)
    assert [tuple(each.shape) for each in maps] == [(2, c, side // r, side // r) for _, c, r in expected]
    for each, steps in zip(maps, model(x, per_step=True), strict=True):
        assert steps.shape[0] == 2
        torch.testing.assert_close(steps.mean(0), each)


def test_the_last_stage_is_what_the_network_pools_and_gradients_reach_the_first_layer():
    model = sresnet.create_model("sresnet8", features_only=True, **SMALL)
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(model(x, per_step=True)[-1], model.network.forward_features(x))
    sum(each.square().mean() for each in model(x)).backward()
    assert model.network.layers["stem"].conv.weight.grad.abs().sum() > 0


def test_an_image_that_is_not_finite_has_no_features():
    x = torch.randn(2, 3, 8, 8)
    x[0, 0, 0, 0] = torch.inf
    for fields in ({"features_only": True}, {"num_classes": 0}):
        model = sresnet.create_model("sresnet8", **SMALL, **fields).eval()
        found = model(x)
        for each in found if isinstance(found, list) else [found]:
            assert each[0].isnan().all()
            assert each[1].isfinite().all()


def test_event_frames_and_trained_networks():
    model = sresnet.create_model("sresnet8", features_only=True, in_channels=2, **SMALL).eval()
    assert [each.shape[:2] for each in model(torch.rand(3, 2, 2, 8, 8), per_step=True)] == [(2, 3)] * 3
    trained = sresnet.create_model("digits-t4", pretrained=True, num_classes=0)
    assert trained.network.trained is not None
    assert trained.pretrained_cfg["input_size"] == (1, 8, 8)
    assert trained(torch.randn(2, 1, 8, 8)).shape == (2, trained.num_features)
    assert not trained.training


def test_stages_under_timms_names():
    """timm: FeatureInfo of timm/models/_features.py."""
    model = sresnet.create_model("sresnet14", features_only=True, out_indices=(0, -1), **SMALL).eval()
    info = model.feature_info
    assert (len(info), info.out_indices) == (3, (0, 2))
    assert info.channels() == [4, 16]
    assert info.reduction() == [1, 4]
    assert info.channels(1) == 8
    assert info.reduction([1, 2]) == [2, 4]
    assert info.module_name() == ["network.layers.stage1_block2", "network.layers.stage3_block2"]
    assert info[1]["num_chs"] == info.get("num_chs", 1) == info[1].channels == 8
    assert info.get_dicts(["index", "reduction"]) == [{"index": 0, "reduction": 1}, {"index": 2, "reduction": 4}]
    assert info.get_dicts(idx=1) == {
        "num_chs": 8,
        "reduction": 2,
        "module": "network.layers.stage2_block2",
        "index": 1,
    }
    sent = []
    for name in info.module_name():
        model.get_submodule(name).register_forward_hook(lambda module, given, signal: sent.append(signal.spikes))
    x = torch.randn(2, 3, 16, 16)
    maps = model(x)
    for each, hooked in zip(maps, sent, strict=True):
        torch.testing.assert_close(each, hooked.mean(0))
    assert [each.shape[1] for each in maps] == info.channels()


@pytest.mark.parametrize(
    ("out_indices", "expected"),
    [
        (None, (0, 1, 2)),
        (1, (2,)),
        (2, (1, 2)),
        (3, (0, 1, 2)),
        ([1], (1,)),
        ((2, 0), (2, 0)),
        (range(2), (0, 1)),
        ((-2,), (1,)),
    ],
)
def test_maps_of_some_stages(out_indices, expected):
    torch.manual_seed(0)
    model = sresnet.create_model("sresnet14", features_only=True, out_indices=out_indices, **SMALL).eval()
    every = FeatureNetwork(model.network, stages=True)
    x = torch.randn(2, 3, 16, 16)
    for per_step in (False, True):
        maps = every(x, per_step=per_step)
        for each, index in zip(model(x, per_step=per_step), expected, strict=True):
            assert torch.equal(each, maps[index])


def test_later_stages_are_not_computed():
    model = sresnet.create_model("sresnet14", features_only=True, out_indices=(0,), **SMALL).eval()
    model.network.layers["stage2_block1"].forward = None
    assert len(model(torch.randn(2, 3, 16, 16))) == 1


@pytest.mark.parametrize("out_indices", [4, 0, -1, (3,), (-4,), (), (0, 0), (0, -3), (0.5,), "01", True, (True,), {0}])
def test_numbers_of_no_stages(out_indices):
    with pytest.raises(UserError, match="are not numbers of the network's 3 stages: give some of 0, 1, 2, each once"):
        sresnet.create_model("sresnet14", features_only=True, out_indices=out_indices, **SMALL)


def test_what_is_not_there():
    for fields in ({}, {"num_classes": 0}):
        with pytest.raises(UserError, match=r"out_indices \(0,\) is of maps of stages: add features_only=True"):
            sresnet.create_model("sresnet8", out_indices=(0,), **fields, **SMALL)

    with pytest.raises(UserError, match="of which no stages are known: use num_classes=0"):
        sresnet.create_model("deng-resnet20", width=1 / 16, features_only=True)
    assert sresnet.create_model("deng-resnet20", width=1 / 16, num_classes=0)(torch.randn(2, 3, 32, 32)).shape[0] == 2
    with pytest.raises(UserError, match="has no field"):
        sresnet.create_model("sresnet8", num_classes=0, featurs_only=True)


@pytest.mark.parametrize("fields", [{"num_classes": 0}, {"features_only": True}])
def test_features_are_no_classes(fields):
    model = sresnet.create_model("digits-t4", pretrained=True, **fields)
    with pytest.raises(UserError, match="gives features: call model\\(x\\) for these, or model.network.predict"):
        model.predict(torch.zeros(1, 1, 8, 8), top=1)
    assert model.network.predict(torch.zeros(1, 8, 8, dtype=torch.uint8))
