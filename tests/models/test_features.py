"""Features in place of scores."""

import pytest
import torch

import sresnet
from sresnet import UserError

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
    assert trained(torch.randn(2, 1, 8, 8)).shape == (2, trained.num_features)
    assert not trained.training


def test_what_is_not_there():
    with pytest.raises(UserError, match="of which no stages are known: use num_classes=0"):
        sresnet.create_model("deng-resnet20", width=1 / 16, features_only=True)
    assert sresnet.create_model("deng-resnet20", width=1 / 16, num_classes=0)(torch.randn(2, 3, 32, 32)).shape[0] == 2
    with pytest.raises(UserError, match="has no field"):
        sresnet.create_model("sresnet8", num_classes=0, featurs_only=True)
