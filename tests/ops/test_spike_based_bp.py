"""Spike-based backpropagation: its closed form against autograd, and what it cannot do."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sresnet
from sresnet import UserError
from sresnet.models import model_config
from sresnet.nn import NeuronConfig
from sresnet.ops.spike_based_bp import current_gradient
from sresnet.train.recipe import Recipe, TrainConfig
from tests.ops.flat import lif

NEURON = {"reset": "zero", "gradient": "spike-based"}


class Fires(torch.autograd.Function):
    """u > threshold, with do/du = o."""

    @staticmethod
    def forward(ctx, u, threshold):
        ctx.save_for_backward(o := (u > threshold).to(u.dtype))
        return o

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0], None


class Resets(torch.autograd.Function):
    """leak * u * (1 - o), with dv/du = 1 - o."""

    @staticmethod
    def forward(ctx, u, o, leak):
        ctx.save_for_backward(o)
        return leak * u * (1 - o)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * (1 - ctx.saved_tensors[0]), None, None


class Scaled(torch.autograd.Function):
    """The identity, whose gradient is multiplied by a factor."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.factor, None


def by_autograd(current, leak, threshold):
    """Step by step, the leak behind the reset, and the factor behind all steps."""
    v, spikes = torch.zeros_like(current[0]), []
    for x in current:
        u = v + x
        spikes.append(o := Fires.apply(u, threshold))
        v = Resets.apply(u, o.detach(), leak)
    o = torch.stack(spikes)
    left = sum(leak ** (len(current) - 1 - t) * o[t] for t in range(len(current))).detach()
    count = o.sum(0).detach()
    return Scaled.apply(o, (left > 1e-3) + math.log(leak) * left / (count + (count < 1e-3)))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    num_steps=st.integers(1, 9),
    leak=st.sampled_from([0.3, 0.9, 0.99, 1.0]),
    threshold=st.sampled_from([0.5, 0.75, 1.0]),
)
def test_closed_form_is_what_autograd_gives(seed, num_steps, leak, threshold):
    generator = torch.Generator().manual_seed(seed)
    current = torch.randn(num_steps, 40, dtype=torch.float64, generator=generator) + 0.3
    weight = torch.randn(num_steps, 40, dtype=torch.float64, generator=generator)
    gradients = []
    for run in (
        lambda x: lif(x, leak=leak, threshold=threshold, **NEURON).spikes,
        lambda x: by_autograd(x, leak, threshold),
    ):
        x = current.clone().requires_grad_()
        spikes = run(x)
        (spikes * weight).sum().backward()
        gradients.append((spikes.detach(), x.grad))
    assert torch.equal(gradients[0][0], gradients[1][0])
    torch.testing.assert_close(gradients[0][1], gradients[1][1])


def test_one_neuron_by_hand():
    spikes = torch.tensor([[0.0], [1.0], [0.0], [1.0], [0.0]], dtype=torch.float64)
    gradient = torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0]], dtype=torch.float64)
    factor = 1 + math.log(0.9) * (0.9**3 + 0.9) / 2
    expected = [2 * factor, 2 * factor, 4 * factor, 4 * factor, 0.0]  # the next spike's, none behind the last
    torch.testing.assert_close(current_gradient(gradient, spikes, 0.9).flatten().tolist(), expected)


def test_what_it_is_not_for():
    for fields in ({"reset": "subtract"}, {"reset": "zero", "kind": "plif"}):
        with pytest.raises(UserError, match=r"^gradient 'spike-based' is of neurons that reset to zero, [^\n]*$"):
            NeuronConfig(gradient="spike-based", **fields)
    model = sresnet.create_model("lee-resnet11", width=1 / 32, image_size=8, num_steps=4)
    x = torch.randn(2, 3, 8, 8)
    words = r"^time_segments \(2,\): the spike-based gradient of stem.neuron counts [^\n]*: use no segments$"
    with pytest.raises(UserError, match=words):
        model(x, time_segments=2)
    model.eval()(x, time_segments=2)
    with pytest.raises(UserError, match="gradient 'spike-based' counts spikes of all time steps at once"):
        Recipe(model=model_config("lee-resnet11"), train=TrainConfig(time_segments=(2,)))
