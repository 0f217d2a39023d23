"""Evaluation: the network's mode, its precision, and a check of its scores."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from sresnet.errors import UserError
from sresnet.randomness import seeded


@contextlib.contextmanager
def evaluating(model: nn.Module, seed: int, precision: str = "fp32") -> Iterator[torch.device]:
    """`model` in evaluation mode, without gradients, its Poisson encoders drawing from `seed`; gives its device.

    Its mode is put back after.
    """
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    try:
        with torch.inference_mode(), seeded(seed, device), precision_context(precision, device):
            yield device
    finally:
        model.train(was_training)


def precision_context(precision: str, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """fp32 or bf16 for the convolutions and the readout inside."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def check_scores(scores: Tensor, first: int = 0) -> None:
    """Raise UserError where class scores [..., N, classes] are not finite; `first`: index of the first sample."""
    if not scores.isfinite().all():
        odd = int((~scores.isfinite()).any(-1).reshape(-1, scores.shape[-2]).any(0).nonzero()[0])
        raise UserError(f"scores of sample {first + odd} are not finite: its pixels or the weights are out of range")
