"""ANNs of event frames: the spiking network receives a frame at each step, the ANN their mean or sum."""

import pytest
import torch

from sresnet import UserError
from sresnet.convert import METHODS, FewSpikesConfig, RateConfig, to_spiking, traced
from tests.convert.anns import ANNS, trained

GENERATOR = torch.Generator().manual_seed(0)
SUMS = torch.randint(0, 9, (6, 3, 8, 8), generator=GENERATOR).double() / 3
"""What the ANN takes: one frame of all events."""


def steady(num_steps):
    """The same events at every step, [N, T, C, H, W]."""
    return (SUMS / num_steps)[:, None].expand(-1, num_steps, -1, -1, -1)


@pytest.mark.parametrize("thresholds", ["largest", "percentile", "balanced"])
@pytest.mark.parametrize("name", ANNS)
def test_steady_frames_are_an_image_at_every_step(name, thresholds):
    config = RateConfig(num_steps=8, thresholds=thresholds, percentile=99.0, shift=True)
    ann = trained(ANNS[name])
    of_events = to_spiking(ann, steady(8), config, input_scale=8)
    of_images = to_spiking(ann, SUMS, config)
    with torch.no_grad():
        torch.testing.assert_close(of_events(steady(8)), of_images(SUMS), rtol=1e-9, atol=1e-9)
        early = of_events(steady(8), num_steps=3)
        torch.testing.assert_close(early, of_images(SUMS, num_steps=3), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ANNS)
def test_with_more_frames_it_comes_closer_to_the_ann(name):
    """Of events that come when they like, and of those that come evenly."""
    ann = trained(ANNS[name])
    wanted, errors = traced(ann, SUMS)(SUMS), []
    for num_steps in (8, 256):
        share = torch.rand(6, num_steps, 3, 8, 8, generator=GENERATOR, dtype=torch.float64)
        for frames in (steady(num_steps), SUMS[:, None] * share / share.sum(1, keepdim=True)):
            network = to_spiking(ann, frames, RateConfig(num_steps=num_steps), input_scale=num_steps)
            with torch.no_grad():
                errors.append(float((network(frames) - wanted).abs().max()))
    assert errors[2] < errors[0] / 4
    assert errors[3] < errors[1] / 2


def test_an_ann_of_the_mean_of_frames():
    """Without a scale the ANN takes the mean; few spikes take the one frame of all events as an image."""
    ann, frames = trained(ANNS["resnet"]), 64 * steady(64)
    with torch.no_grad():
        found = to_spiking(ann, frames, RateConfig(num_steps=64))(frames)
        torch.testing.assert_close(found, to_spiking(ann, SUMS, RateConfig(num_steps=64))(SUMS))
        few = to_spiking(ann, SUMS[:, None], FewSpikesConfig(largest="calibrated"))
        torch.testing.assert_close(
            few(SUMS[:, None]), to_spiking(ann, SUMS, FewSpikesConfig(largest="calibrated"))(SUMS)
        )


def test_the_scale_is_of_frames_alone():
    ann = trained(ANNS["resnet"])
    with torch.no_grad():
        found = to_spiking(ann, SUMS, RateConfig(num_steps=4), input_scale=4)(SUMS)
        assert torch.equal(found, to_spiking(ann, SUMS, RateConfig(num_steps=4))(SUMS))


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        (METHODS["rmp"], "encoder 'poisson-signed' encodes images, and event frames are .* use encoder 'direct'"),
        (RateConfig(num_steps=4), "the clips have 8 frames, and num_steps is 4: give a frame for each step"),
        (FewSpikesConfig(), "the clips have 8 frames, and this method has one time step: give clips of one"),
    ],
    ids=["rmp", "frames", "few spikes"],
)
def test_frames_that_a_method_does_not_take(config, fault):
    with pytest.raises(UserError, match=fault):
        to_spiking(trained(ANNS["resnet"]), steady(8), config)
