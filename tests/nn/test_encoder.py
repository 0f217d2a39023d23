"""Encoders that know which time step it is."""

from pathlib import Path

import pytest
import torch

import sresnet
from sresnet import UserError
from sresnet.models import StreamState
from sresnet.nn import delta, first_step, latency, poisson_signed, switched, two_spikes
from tests.golden.zoo.reduce import read

SMALL = {"base_filters": 4, "num_steps": 4}


def test_the_image_comes_once():
    x = torch.randn(2, 3, 4, 5)
    steps = first_step(x, 3)
    assert torch.equal(steps[0], x)
    assert not steps[1:].any()
    assert not first_step(x, 3, first=1).any()


@pytest.mark.parametrize("num_steps", [1, 2, 5])
def test_a_pixel_sends_one_spike_the_earlier_the_brighter(num_steps):
    x = torch.tensor([0.0, 1e-6, 0.3, 0.5, 0.74, 1.0, 7.0, -2.0]).view(1, 1, 2, 4)
    spikes = latency(x, num_steps)
    assert spikes.sum(0).flatten().tolist() == [0, 1, 1, 1, 1, 1, 1, 0]
    for pixel, code in zip(x.flatten().tolist(), spikes.flatten(1).T, strict=True):
        if pixel > 0:
            assert int(code.argmax()) == round((1 - min(pixel, 1)) * (num_steps - 1))
    assert torch.equal(torch.cat([latency(x, 1, step, num_steps) for step in range(num_steps)]), spikes)


def test_two_spikes_of_opposite_sign():
    """The second comes at step floor(|x| (T - 1)) + 1, and between them the pixel drives its layer."""
    golden = read(Path(__file__).parents[1] / "golden" / "zoo" / "reference_conversions.npz")
    x = torch.from_numpy(golden["tsc_x"]).view(1, 1, 1, -1)
    assert (two_spikes(x, 25).flatten(1).numpy() == golden["tsc_25"]).all()
    on = switched(x, 25)
    assert torch.equal(on.sum(0), x.sign() * (x.abs() * 24).floor())
    assert torch.equal(torch.cat([switched(x, 5, first, 25) for first in range(0, 25, 5)]), on)
    assert torch.equal(two_spikes(3 * x.sign(), 4), two_spikes(x.sign(), 4))


def test_the_scale_of_signed_spikes():
    x = torch.tensor([-0.5, 0.5]).repeat(4000).view(1, 1, 80, 100)
    for scale in (1.0, 2.0):
        spikes = poisson_signed(x, 5, scale)
        assert torch.equal(spikes.sign() * spikes.abs(), spikes)
        assert abs(float((spikes * x.sign()).mean()) - 0.5 / scale) < 0.02


@pytest.mark.parametrize("encoder", ["first-step", "latency", "delta", "two-spikes"])
def test_streams_and_segments_see_the_steps_of_the_whole(encoder):
    torch.manual_seed(0)
    model = sresnet.create_model("sresnet8", encoder=encoder, norm="none", threshold=0.3, **SMALL).eval()
    x, state = torch.rand(2, 3, 8, 8), None
    whole = model.forward_steps(x)
    assert whole[1:].any()
    torch.testing.assert_close(model(x, time_segments=2), whole.mean(0))
    for step in range(4):
        scores, state = model.step(x, state)
        torch.testing.assert_close(scores, whole[: step + 1].mean(0))


@pytest.mark.parametrize("encoder", ["direct", "poisson", "poisson-signed", "first-step", "latency", "two-spikes"])
def test_a_pixel_that_is_no_number_gives_no_answer(encoder):
    model = sresnet.create_model("sresnet8", encoder=encoder, **SMALL).eval()
    x = torch.rand(2, 3, 8, 8)
    x[1, 0, 0, 0] = float("nan")
    assert model(x).isnan().any(1).tolist() == [False, True]


def test_the_scale_reaches_the_network():
    model = sresnet.create_model("sresnet8", encoder="poisson-signed", poisson_scale=1.0, **SMALL)
    assert float(model.encode(torch.ones(1, 3, 8, 8), None).mean()) == 1
    with pytest.raises(UserError, match=r"^poisson_scale 0.0 is not above 0: [^\n]*$"):
        sresnet.create_model("sresnet8", poisson_scale=0.0)


def test_pixels_that_change_send_signed_spikes():
    frames = torch.tensor([0.0, 0.5, 0.55, 0.4, -0.6]).view(5, 1, 1, 1, 1)
    assert delta(frames, 0.1).flatten().tolist() == [0, 1, 0, -1, -1]
    assert delta(frames[3:], 0.1, frames[2]).flatten().tolist() == [-1, -1]
    assert delta(frames[3:], 0.3, frames[2]).flatten().tolist() == [0, -1]


def test_delta_of_frames_in_segments_and_streams():
    torch.manual_seed(0)
    model = sresnet.create_model("sresnet8", encoder="delta", norm="none", delta_threshold=0.3, **SMALL)
    frames = torch.rand(2, 4, 3, 8, 8)
    assert torch.equal(model.encode(frames, None), delta(frames.transpose(0, 1), 0.3))
    torch.testing.assert_close(model(frames, time_segments=(2, 2)), model(frames))
    _, state = model(frames[:, :2], state=StreamState())
    with pytest.raises(
        UserError, match=r"^encoder 'delta' compares each frame with [^\n]*: give all frames in one call$"
    ):
        model(frames[:, 2:], state=state)
    with pytest.raises(UserError, match=r"^delta_threshold 0.0 is not above 0: [^\n]*$"):
        sresnet.create_model("sresnet8", delta_threshold=0.0)
