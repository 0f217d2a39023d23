"""Coefficients with which few-spikes neurons compute a function of one's own, found by gradient descent.

As Stöckl & Maass 2021 found theirs (their released code): many starts at random, a pseudo-derivative in place of that
of the spike, and a learning rate and a weight of the loss that are drawn anew at every step.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from sresnet.config import check_function
from sresnet.errors import UserError
from sresnet.nn.own import checked
from sresnet.ops.few_spikes.published import Coefficients, check_internal_steps
from sresnet.ops.few_spikes.reference import few_spikes_steps
from sresnet.randomness import seed_of


@torch.enable_grad()
def fit_few_spikes(
    function: Callable[[Tensor], Tensor],
    low: float,
    high: float,
    internal_steps: int,
    *,
    name: str,
    steps: int = 5000,
    restarts: int = 20,
    points: int = 1000,
    seed: int = 0,
) -> Coefficients:
    """Coefficients with which few-spikes neurons come close to `function` between `low` and `high`.

    The loss of each start is, over points x evenly on [low, high],

        mean (y - f(x))^2 + c * sum over k of (mean max(|u[k]| - 1, 0))^2,   u = (v - T) / (|v| + 1)

    whose second part keeps potentials where the spike has a pseudo-derivative. At each step of Adam, c is drawn from
    [0.08, 0.12] and the learning rate from [0.09, 0.5]; T starts in [-1, 1], h in [-1, 0], d in [-0.5, 1].

    What is ours: all starts run side by side with the same draws, on fewer points than the authors' 100,000, and
    end after `steps` steps, or a fifth of that after the last step that was better than all before.

    Args:
        function: of tensors, value by value.
        low, high: where neurons are expected to receive currents.
        internal_steps: K; the authors have 12 for a sigmoid and 16 for SiLU.
        name: of the function, for `FewSpikesConfig.functions`: that of the activation it stands for.
        steps, restarts, points: the budget; time is in proportion to each of them.
        seed: of the draws.

    Returns:
        The coefficients of the smallest mean squared error that was met; the last reset, which does nothing, is 0.

    Raises:
        UserError: an empty range, numbers below 1, or a function that does not give a finite number for each point.
    """
    check_internal_steps(internal_steps)
    check_function(function, f"function {name!r}", "x")
    if not low < high:
        raise UserError(f"range {low:g} to {high:g} is empty: give the smallest current first, such as -8, 8")
    for what, number in (("steps", steps), ("restarts", restarts), ("points", points)):
        if number < 1:
            raise UserError(f"{what} {number} is less than 1: a fit needs at least one")
    x = torch.linspace(low, high, points, dtype=torch.float64, device="cpu").float()
    with torch.no_grad():
        wanted = checked(function(x), f"function {name!r}", x)
    if not wanted.isfinite().all():
        where = float(x[~wanted.isfinite()][0])
        raise UserError(f"function {name!r} is not finite at {where:g}: choose a range without that")
    draws = torch.Generator().manual_seed(seed_of("fit", seed))

    def drawn(least: float, most: float, *shape: int) -> Tensor:
        return least + (most - least) * torch.rand(shape, generator=draws, device="cpu", dtype=torch.float32)

    shape = (internal_steps, restarts, 1)
    thresholds, resets, heights = drawn(-1, 1, *shape), drawn(-1, 0, *shape), drawn(-0.5, 1, *shape)
    parameters = [each.requires_grad_() for each in (thresholds, resets, heights)]
    optimiser = torch.optim.Adam(parameters)
    least, found, last = torch.inf, torch.stack(parameters).detach()[..., 0, 0], 0
    step = 0
    while step < max(steps, last + steps // 5):
        errors, far = _losses(x, wanted, thresholds, resets, heights)
        best = int(errors.argmin())
        if float(errors[best].detach()) < least:
            least, last = float(errors[best].detach()), step
            found = torch.stack(parameters).detach()[..., best, 0].clone()
        optimiser.zero_grad()
        (errors + drawn(0.08, 0.12) * far).sum().backward()
        optimiser.param_groups[0]["lr"] = float(drawn(0.09, 0.5))
        optimiser.step()
        step += 1
    found[1, -1] = 0
    lists = (tuple(each.tolist()) for each in found.double())
    return Coefficients(function=name, **dict(zip(("thresholds", "resets", "heights"), lists, strict=True)))


def _losses(x: Tensor, wanted: Tensor, thresholds: Tensor, resets: Tensor, heights: Tensor) -> tuple[Tensor, Tensor]:
    """Both parts of the loss, without c, of several starts at once.

    Args:
        x, wanted: points and what the function gives there, [points].
        thresholds, resets, heights: [K, starts, 1] each.

    Returns:
        The mean squared error, and how far potentials are outside the reach of the pseudo-derivative; [starts] each.
    """
    y, far = x.new_zeros(()), x.new_zeros(())
    steps = few_spikes_steps(x, thresholds, resets, False)
    for (v, z, _), threshold, height in zip(steps, thresholds, heights, strict=True):
        y = y + height * z
        u = (v - threshold) / (v.abs() + 1)
        far = far + (u.abs() - 1).clamp(min=0).mean(-1).square()
    return (y - wanted).square().mean(-1), far
