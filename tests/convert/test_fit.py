import pytest
import torch
from torch import nn

from sresnet import UserError
from sresnet.convert import FewSpikesConfig, RateConfig, fit_few_spikes, to_spiking, traced
from sresnet.convert.fit import _losses
from sresnet.models.saved import load, save_model
from sresnet.nn import neuron, register_activation
from sresnet.ops.few_spikes import few_spikes


def error_of(coefficients, function, low, high):
    """Mean squared error over points that are not those of the fit."""
    x = torch.linspace(low, high, 9_973, dtype=torch.float64)
    lists = (coefficients.thresholds, coefficients.resets, coefficients.heights)
    return float((few_spikes(x, *[torch.tensor(each) for each in lists]).y - function(x)).square().mean())


def sigmoid(internal_steps, **budget):
    return fit_few_spikes(torch.sigmoid, -10, 10, internal_steps, name="sigmoid", **budget)


def test_a_small_budget_finds_a_sigmoid():
    found = sigmoid(5, steps=150, restarts=8, points=150)
    assert found.function == "sigmoid"
    assert (found.internal_steps, found.resets[-1]) == (5, 0)
    assert error_of(found, torch.sigmoid, -10, 10) < 2e-3  # a constant has 0.2, one spike 7e-3


@pytest.mark.slow
def test_a_large_budget_comes_near_the_published_error():
    found = sigmoid(12, steps=3000, restarts=32, points=500)
    assert error_of(found, torch.sigmoid, -10, 10) < 3 * 1.44e-4


def test_more_steps_are_never_worse_and_a_seed_is_all_there_is():
    few, more = (sigmoid(3, steps=steps, restarts=2, points=40) for steps in (10, 60))
    x = torch.linspace(-10, 10, 40)
    errors = []
    for found in (few, more):
        lists = (found.thresholds, found.resets, found.heights)
        errors.append(float((few_spikes(x, *[torch.tensor(each) for each in lists]).y - x.sigmoid()).square().mean()))
    assert errors[1] < errors[0]
    with torch.no_grad():  # of the caller's
        assert sigmoid(3, steps=10, restarts=2, points=40) == few
    assert sigmoid(3, steps=10, restarts=2, points=40, seed=1) != few


def test_the_loss_is_that_of_loops():
    x, generator = torch.linspace(-9, 9, 7, dtype=torch.float64), torch.Generator().manual_seed(0)
    wanted = x.sigmoid()
    lists = 3 * torch.randn(3, 2, 4, 1, dtype=torch.float64, generator=generator)
    errors, far = _losses(x, wanted, *lists)
    for start in range(4):
        squares, outside = [], [[], []]
        for at, f in zip(x.tolist(), wanted.tolist(), strict=True):
            v, y = at, 0.0
            for k, (threshold, reset, height) in enumerate(lists[:, :, start, 0].T.tolist()):
                outside[k].append(max(abs(v - threshold) / (abs(v) + 1) - 1, 0))
                if v > threshold:
                    v, y = v - reset, y + height
            squares.append((y - f) ** 2)
        assert float(errors[start]) == pytest.approx(sum(squares) / 7)
        assert float(far[start]) == pytest.approx(sum((sum(each) / 7) ** 2 for each in outside))


class Hill(nn.Module):
    """A unit of one's own."""

    def forward(self, x):
        return hill(x)


def hill(x):
    return 2 / (1 + (x - 1) ** 2)


@pytest.fixture
def known():
    """It is registered, and forgotten after."""
    register_activation("hill", hill, Hill)
    yield
    del neuron.ACTIVATIONS["hill"], neuron.ACTIVATION_MODULES[Hill]
    neuron._OWN_ACTIVATIONS.clear()


@pytest.mark.usefixtures("known")
def test_a_function_of_ones_own_from_ann_to_spikes(tmp_path):
    torch.manual_seed(0)
    ann = nn.Sequential(nn.Conv2d(3, 8, 1), Hill(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)).eval()
    images = 2 * torch.randn(16, 3, 6, 6)
    read = traced(ann, images)
    torch.testing.assert_close(read(images), ann(images))
    with pytest.raises(UserError, match="computes hill, and rates of spikes"):
        to_spiking(ann, images, RateConfig())
    with pytest.raises(UserError, match="computes hill, of which no coefficients are published"):
        to_spiking(ann, images, FewSpikesConfig())
    fitted = fit_few_spikes(lambda x: 2 / (1 + (x - 1) ** 2), -5, 5, 6, name="hill", steps=150, restarts=8, points=100)
    network = to_spiking(ann, images, FewSpikesConfig(functions=(fitted,)))
    with torch.no_grad():
        constant = ann[4](torch.full((1, 8), float(hill(ann[0](images)).mean())))
        wanted = ann(images)
        assert float((network(images) - wanted).abs().mean()) < float((constant - wanted).abs().mean()) / 2
    save_model(network, tmp_path / "weights.safetensors")
    neuron.ACTIVATIONS.pop("hill")  # coefficients are all that it needs
    assert torch.equal(load(tmp_path)(images), network(images))
    neuron.ACTIVATIONS["hill"] = hill


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ((torch.sigmoid, 3, 3, 4, {}), "range 3 to 3 is empty"),
        ((torch.sigmoid, 0, 1, 0, {}), "internal_steps 0"),
        ((torch.sigmoid, 0, 1, 2, {"restarts": 0}), "restarts 0"),
        ((torch.log, -1, 1, 2, {}), "not finite at -1"),
        ((torch.sum, 0, 1, 2, {}), "expected real numbers of the shape"),
        ((3, 0, 1, 2, {}), "expected a function"),
    ],
    ids=range(6),
)
def test_mistakes(given, fault):
    function, low, high, internal_steps, budget = given
    with pytest.raises(UserError, match=fault):
        fit_few_spikes(function, low, high, internal_steps, name="f", **({"steps": 1} | budget))


@pytest.mark.parametrize(
    ("name", "function", "module"),
    [("relu", hill, Hill), ("", hill, Hill), ("h", 3, Hill), ("h", hill, hill)],
    ids=range(4),
)
def test_what_cannot_be_registered(name, function, module):
    with pytest.raises(UserError):
        register_activation(name, function, module)
