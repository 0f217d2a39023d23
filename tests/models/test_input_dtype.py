"""Input of another dtype than the weights: one clear error, and autocast as torch has it."""

import itertools

import pytest
import torch

from sresnet import UserError, create_model
from sresnet.models.int8 import to_int8
from sresnet.ops.dispatch import IMPLEMENTATIONS, implementation
from sresnet.ops.scan import cpu

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
DTYPES = (*FLOATS, torch.uint8, torch.int8, torch.int32, torch.int64, torch.bool, torch.complex64)
HALVES = (torch.float16, torch.bfloat16)


@pytest.fixture(scope="module", params=["direct", "poisson", "poisson-signed"])
def model(request):
    torch.manual_seed(0)
    return create_model("sresnet8", base_filters=2, num_steps=2, encoder=request.param).eval()


def image(dtype, *shape):
    return (2 * torch.rand(*(shape or (2, 3, 8, 8)))).to(dtype)


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_input_is_of_the_weights_dtype(model, name):
    for weights, given in itertools.product(FLOATS, DTYPES):
        model.to(weights)
        with torch.no_grad(), implementation(name):
            if given == weights:
                assert model(image(given)).dtype == weights
                continue
            cure = "give x.to" if given in FLOATS else "give numbers of"
            words = f"input is of {given}, and the weights of this network are of {weights}: {cure}"
            for call in (model, model.forward_steps, model.forward_features, model.step):
                with pytest.raises(UserError, match=words):
                    call(image(given))
            with pytest.raises(UserError, match=words):
                model(image(given), record=["stem.neuron"])


def test_event_frames_too():
    model = create_model("sresnet8", base_filters=2, num_steps=2, in_channels=2).eval()
    for given in DTYPES[1:]:
        with pytest.raises(UserError, match=rf"input is of {given}"):
            model(image(given, 2, 2, 2, 8, 8))


@pytest.mark.parametrize("name", ["fastest", "reference"])
@pytest.mark.parametrize("half", HALVES)
def test_autocast_takes_what_it_casts(model, name, half):
    for weights, given in itertools.product(FLOATS, DTYPES):
        if weights in HALVES and weights != half:
            continue  # torch's own norms and convolutions do not mix two half precisions
        model.to(weights)
        with torch.no_grad(), implementation(name), torch.autocast("cpu", dtype=half):
            same = given == weights
            other_half = model.config.encoder == "direct" and given in HALVES
            if same or (weights in (torch.float32, half) and (given in (torch.float32, half) or other_half)):
                assert model(image(given)).dtype == (torch.float64 if weights == torch.float64 else half)
            else:
                with pytest.raises(UserError, match=f"input is of {given}"):
                    model(image(given))


def test_training_under_autocast_still_learns():
    model = create_model("sresnet8", base_filters=2, num_steps=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(image(torch.float32)).float().square().sum()
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.skipif(not cpu.available(), reason="there is no compiled kernel here")
def test_eight_bits():
    model = to_int8(create_model("sresnet8", base_filters=2, num_steps=2))
    with torch.no_grad():
        assert model(image(torch.float32)).dtype == torch.float32
        for given in DTYPES[1:]:
            with pytest.raises(UserError, match=f"input is of {given}"):
                model(image(given))
