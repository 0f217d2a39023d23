import dataclasses

import pytest
import torch

from sresnet import UserError
from sresnet.models import SResNetConfig, build
from sresnet.models.saved import tensors_of
from sresnet.train.muon import OrthogonalSGD, _orthogonal
from sresnet.train.optimiser import average_weight, make_optimiser, update_average
from sresnet.train.recipe import Recipe, TrainConfig

MODEL = SResNetConfig(depth=8, base_filters=4, num_steps=2, surrogate_height=1.0)
CONFIG = TrainConfig(learning_rate=0.2, muon_lr=0.05)


@pytest.mark.parametrize("shape", [(16, 27), (64, 576), (32, 16), (5, 5), (1, 9)])
def test_orthogonal(shape):
    """Singular vectors stay, singular values come near 1, as far as they were not tiny."""
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    new = _orthogonal(matrix)
    inside = u.T @ new @ v.T
    torch.testing.assert_close(inside, torch.diag(inside.diagonal()), atol=1e-9, rtol=0)
    strong = inside.diagonal()[values > 0.01 * values.norm()]
    assert len(strong) > 0.8 * len(values)
    assert strong.min() > 0.6
    assert strong.max() < 1.25
    torch.testing.assert_close(_orthogonal(100 * matrix), new)


def test_orthogonal_of_nothing():
    assert torch.equal(_orthogonal(torch.zeros(3, 9)), torch.zeros(3, 9))


def network_with_gradients(seed=0):
    torch.manual_seed(seed)
    model = build(MODEL)
    model(torch.randn(8, 3, 8, 8)).square().sum().backward()
    return model


def test_filters_turn_by_the_rate_and_keep_their_length():
    model = network_with_gradients()
    optimiser = make_optimiser(model, CONFIG)
    assert isinstance(optimiser, OrthogonalSGD)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimiser.param_groups[0]["lr"] = 0.05
    optimiser.step()
    filters = [name for name, parameter in model.named_parameters() if parameter.ndim == 4]
    assert len(filters) == 9
    for name in filters:
        after = model.get_parameter(name).detach()
        torch.testing.assert_close(after.norm(), before[name].norm())
        # Scaling back to the old length changes the way a little.
        assert 0.03 < (after - before[name]).norm() / before[name].norm() < 0.0501


def test_filters_turn_without_momentum_too():
    model = network_with_gradients()
    optimiser = make_optimiser(model, dataclasses.replace(CONFIG, momentum=0.0))
    filters = [parameter for parameter in model.parameters() if parameter.ndim == 4]
    before = [parameter.detach().clone() for parameter in filters]
    optimiser.step()
    assert not any(torch.equal(one, other) for one, other in zip(before, filters, strict=True))


def test_steps_do_not_depend_on_the_size_of_gradients():
    ends = []
    for scale in (1.0, 64.0):
        model = network_with_gradients()
        for parameter in model.parameters():
            parameter.grad *= scale
        optimiser = make_optimiser(model, CONFIG)
        optimiser.step()
        ends.append([p.detach() for p in model.parameters() if p.ndim == 4])
    torch.testing.assert_close(*ends)


def test_the_others_follow_plain_sgd_with_nesterov():
    model, twin = network_with_gradients(), network_with_gradients()
    optimiser = make_optimiser(model, CONFIG)
    plain = torch.optim.SGD(twin.parameters(), lr=0.2, momentum=0.9, weight_decay=1e-4, nesterov=True)
    for _ in range(2):
        for one in (model, twin):
            for index, parameter in enumerate(one.parameters()):
                parameter.grad = torch.full_like(parameter, 0.01 * index)
        optimiser.step()
        plain.step()
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(ours, theirs) == (ours.ndim != 4)


def test_frozen_filters_are_left_alone():
    model = network_with_gradients()
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.ndim != 4)
    assert type(make_optimiser(model, CONFIG)) is torch.optim.SGD


@pytest.mark.parametrize("model", [{"norm": "none"}, {"skip_norm": False}])
def test_filters_without_a_norm_need_their_length(model):
    with pytest.raises(UserError, match="muon_lr"):
        Recipe(model=dataclasses.replace(MODEL, **model), train=CONFIG)


@pytest.mark.parametrize("decay", [0.5, 0.97])
def test_the_weight_average_by_hand(decay):
    """a <- d a + (1 - d) w with d = min(decay, (1 + k) / (10 + k)) at step k, from a copy of the first weights on."""
    model = torch.nn.BatchNorm1d(1)  # parameters, statistics and a count
    del model.num_batches_tracked
    average = {name: tensor.detach().clone() for name, tensor in tensors_of(model).items()}
    expected = {name: tensor.item() for name, tensor in average.items()}
    assert set(average) == {"weight", "bias", "running_mean", "running_var"}
    for step in range(30):
        with torch.no_grad():
            for number, tensor in enumerate(tensors_of(model).values()):
                tensor.fill_((step + 1) * (-2) ** number)
        update_average(average, model, average_weight(decay, step))
        d = decay if decay < (1 + step) / (10 + step) else (1 + step) / (10 + step)
        for number, name in enumerate(average):
            expected[name] = d * expected[name] + (1 - d) * (step + 1) * (-2) ** number
        assert {name: tensor.item() for name, tensor in average.items()} == pytest.approx(expected, rel=1e-5)
    for number, tensor in enumerate(tensors_of(model).values()):
        assert tensor.item() == 30 * (-2) ** number  # the weights themselves are left alone
