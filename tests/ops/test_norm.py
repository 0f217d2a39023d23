import torch

from tests.ops.flat import over_time as batch_norm_over_time
from tests.ops.flat import through_time as batch_norm_through_time

CONSTANTS = {"training": True, "momentum": 0.1, "eps": 1e-4}


def test_bntt_normalises_every_step_by_itself():
    x = torch.randn(3, 8, 5, 6, 7) * torch.tensor([1.0, 2.0, 3.0])[:, None, None, None, None] + 4
    gamma, beta = torch.rand(3, 5), torch.randn(3, 5)
    mean, var = torch.zeros(3, 5), torch.ones(3, 5)
    y = batch_norm_through_time(x, gamma, beta, mean, var, **CONSTANTS)
    for t in range(3):
        m, v = x[t].mean((0, 2, 3)), x[t].var((0, 2, 3), unbiased=False)
        expected = (x[t] - m[:, None, None]) / (v + 1e-4).sqrt()[:, None, None]
        expected = gamma[t][:, None, None] * expected + beta[t][:, None, None]
        torch.testing.assert_close(y[t], expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(mean[t], 0.1 * m)
        torch.testing.assert_close(var[t], 0.9 + 0.1 * x[t].var((0, 2, 3), unbiased=True))


def test_time_averaged_norm_has_one_set_of_statistics():
    x = torch.randn(3, 8, 5, 6, 7) + torch.arange(3.0)[:, None, None, None, None]
    mean, var = torch.zeros(5), torch.ones(5)
    y = batch_norm_over_time(x, torch.ones(5), None, mean, var, **CONSTANTS)
    torch.testing.assert_close(y.mean((0, 1, 3, 4)), torch.zeros(5), atol=1e-5, rtol=0)
    assert (y.mean((1, 3, 4)).abs() > 0.5).any()
    torch.testing.assert_close(mean, 0.1 * x.mean((0, 1, 3, 4)))


def test_evaluation_uses_the_running_statistics():
    x = torch.randn(2, 4, 3, 5, 5)
    mean, var = torch.randn(2, 3), torch.rand(2, 3) + 0.5
    before = mean.clone(), var.clone()
    y = batch_norm_through_time(x, torch.ones(2, 3), None, mean, var, training=False, momentum=0.1, eps=0.0)
    scale = var.rsqrt()[:, None, :, None, None]
    torch.testing.assert_close(y, (x - mean[:, None, :, None, None]) * scale)
    assert torch.equal(mean, before[0])
    assert torch.equal(var, before[1])


def test_low_precision_input_is_normalised_in_the_precision_of_gamma():
    x = torch.randn(2, 4, 3, 5, 5, dtype=torch.bfloat16)
    y = batch_norm_through_time(x, torch.ones(2, 3), None, torch.zeros(2, 3), torch.ones(2, 3), **CONSTANTS)
    assert y.dtype == torch.float32
