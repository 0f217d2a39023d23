"""Orthogonal steps for filters (Muon)."""

from typing import Any

import torch
from torch import Tensor


class OrthogonalSGD(torch.optim.SGD):
    """SGD with Nesterov's momentum whose steps for filters are orthogonal matrices (Muon; Jordan et al. 2024).

    A group with "orthogonal" holds filters w [out, in, k, k], read as matrices [out, in * k * k]. With the gradient g,
    momentum mu and rate lr:

        m <- mu * m + g
        s = orthogonal(g + mu * m)
        w <- w - lr * |w| * s / |s|, then scaled to the length that w had

    A norm behind every such convolution removes the length of its filters, so only their direction matters, and lr is
    how far one step turns them. With plain SGD that shrinks with the square of their length.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        *,
        lr: float,
        momentum: float,
        weight_decay: float,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            groups, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=momentum > 0, fused=fused
        )

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """One step of every group; the gradients of filters are set to None.

        Where `found_inf` is set, as torch's fused optimisers have it, to a tensor that holds 1, nothing changes.
        """
        skipped = getattr(self, "found_inf", None)
        for group in self.param_groups:
            if not group["orthogonal"]:
                continue
            for w in group["params"]:
                if w.grad is None:
                    continue
                state = self.state[w]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(w)
                m = state["momentum_buffer"]
                before = None if skipped is None else (m.clone(), w.clone())
                m.mul_(group["momentum"]).add_(w.grad)
                s = _orthogonal(w.grad.add(m, alpha=group["momentum"]).flatten(1)).view_as(w)
                length = w.norm()
                w.sub_(s * (group["lr"] * length / s.norm().clamp(min=1e-12)))
                w.mul_(length / w.norm().clamp(min=1e-12))
                if skipped is not None and before is not None:
                    for tensor, old in zip((m, w), before, strict=True):
                        tensor.copy_(torch.where(skipped > 0, old, tensor))
                w.grad = None  # plain SGD below skips it
        super().step()


def _orthogonal(matrix: Tensor) -> Tensor:
    """The matrix with its singular values moved near 1, by five Newton-Schulz steps (Jordan et al. 2024).

    X <- a X + b (X X^T) X + c (X X^T)^2 X with a, b, c = 3.4445, -4.7750, 2.0315: singular values from about 0.003 to 1
    end between 0.7 and 1.2. A matrix of zeros stays as it is.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-12)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (2.0315 * gram @ gram - 4.7750 * gram) @ x
    return x.T if tall else x
