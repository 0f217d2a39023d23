from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sresnet import UserError
from sresnet.ops.few_spikes import few_spikes
from sresnet.ops.few_spikes.published import SIGMOID, SILU, Coefficients, binary_places

PUBLISHED = {"relu": binary_places(10), "sigmoid": SIGMOID, "swish": SILU}


@pytest.fixture(scope="module")
def golden():
    """What the authors' code computes; the whole file."""
    with np.load(Path(__file__).parents[1] / "golden" / "zoo" / "stoeckl_fs.npz") as file:
        return dict(file)


def tensors(coefficients):
    lists = (coefficients.thresholds, coefficients.resets, coefficients.heights)
    return [torch.tensor(each, dtype=torch.float64) for each in lists]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_authors_numbers(golden, name):
    coefficients = tensors(PUBLISHED[name])
    for ours, theirs in zip(coefficients, ("T", "h", "d"), strict=True):
        assert (ours.numpy() == golden[f"{name}_{theirs}"]).all()
    found = few_spikes(torch.from_numpy(golden["x"]), *coefficients)
    assert (found.y.numpy() == golden[f"{name}_y"]).all()
    assert (found.number.numpy() == golden[f"{name}_spikes"].sum(0)).all()
    assert (found.v.numpy() == golden[f"{name}_v"]).all()


def test_the_authors_fast_variant(golden):
    found = few_spikes(torch.from_numpy(golden["x"]), *tensors(binary_places(6)), fires_at_threshold=True)
    assert (found.y.numpy() == golden["relu_fast6"]).all()


@given(
    st.integers(1, 16),
    st.floats(0.0009765625, 1024.0, width=32),
    st.lists(st.floats(-3, 3), min_size=1, max_size=20),
    st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_relu_is_its_closed_form(internal_steps, largest, shares, at_threshold):
    """Whole multiples of q are where both ways to fire differ; they are among what is tried where shares are 0 or 1."""
    q = largest * 2.0**-internal_steps
    x = torch.tensor(shares, dtype=torch.float64) * largest
    x = torch.cat([x, (x / q).round() * q])
    found = few_spikes(x, *tensors(binary_places(internal_steps, largest)), fires_at_threshold=at_threshold)
    exact = x / q
    clear = ((exact - exact.round()).abs() > 1e-9) | (exact == exact.round())  # elsewhere rounding decides
    places = torch.floor(exact) if at_threshold else torch.ceil(exact) - 1
    places = places.clamp(0, 2**internal_steps - 1)
    torch.testing.assert_close(found.y[clear], q * places[clear], rtol=1e-12, atol=0)
    ones = [bin(int(each)).count("1") for each in places[clear]]
    assert found.number[clear].tolist() == ones


@pytest.mark.parametrize(("name", "function"), [("swish", torch.nn.functional.silu), ("sigmoid", torch.sigmoid)])
def test_errors_are_the_published_ones(name, function):
    low, high, square, largest = {"swish": (-8, 12, 3.4e-3, 0.30), "sigmoid": (-10, 10, 1.44e-4, 0.058)}[name]
    x = torch.linspace(low, high, 100_000, dtype=torch.float64)
    error = few_spikes(x, *tensors(PUBLISHED[name])).y - function(x)
    assert float(error.square().mean()) == pytest.approx(square, rel=0.02)
    assert float(error.abs().max()) == pytest.approx(largest, rel=0.02)


def test_gradients_are_those_of_the_pseudo_derivative():
    """One spike, by hand: y = d z, v' = x - h z with dz/du = max(0, 1 - |u|), u = (x - T) / (|x| + 1)."""
    x = torch.tensor([-0.4, 0.7, 9.0, -30.0], dtype=torch.float64, requires_grad=True)
    threshold, reset, height = (torch.tensor([each], dtype=torch.float64, requires_grad=True) for each in (0.5, 2, 3))
    y, _, v = few_spikes(x, threshold, reset, height)
    (y + 10 * v).sum().backward()
    given = torch.tensor([-0.4, 0.7, 9.0, -30.0], dtype=torch.float64, requires_grad=True)
    at = torch.tensor([0.5], dtype=torch.float64, requires_grad=True)
    u = (given - at) / (given.abs() + 1)
    slope = (1 - u.abs()).clamp(min=0).detach()
    (slope * u * (3 - 10 * 2) + 10 * given).sum().backward()
    torch.testing.assert_close(x.grad, given.grad)
    torch.testing.assert_close(threshold.grad, at.grad)
    assert height.grad.item() == 2  # spikes
    assert reset.grad.item() == -20


def of_lists(thresholds, resets, heights):
    return Coefficients(function="f", thresholds=thresholds, resets=resets, heights=heights)


def test_dtypes():
    x = torch.tensor([0.3, 24.0], dtype=torch.bfloat16)
    y, number, v = few_spikes(x, *tensors(binary_places(4)))
    assert (y.dtype, number.dtype, v.dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)
    assert number.tolist() == [0, 4]


@pytest.mark.parametrize(
    ("make", "given"),
    [
        (few_spikes, (torch.ones(3), torch.ones(2), torch.ones(2), torch.ones(3))),
        (few_spikes, (torch.ones(3), torch.ones(0), torch.ones(0), torch.ones(0))),
        (of_lists, ((1.0,), (1.0, 2.0), (1.0,))),
        (of_lists, ((), (), ())),
        (of_lists, ((float("nan"),), (1.0,), (1.0,))),
        (binary_places, (0,)),
        (binary_places, (61,)),
        (binary_places, (4, 0.0)),
    ],
    ids=range(8),
)
def test_wrong_coefficients(make, given):
    with pytest.raises(UserError):
        make(*given)
