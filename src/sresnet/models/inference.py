"""Evaluation: the network's mode, its precision, and a check of its scores."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from sresnet.errors import UserError
from sresnet.ops.scan.choice import stored_here
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
    """fp32, bf16 or fp16 for the convolutions and the readout inside; errors as `check_precision`."""
    check_precision(precision, device)
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16 if precision == "bf16" else torch.float16)


def check_precision(precision: str, device: torch.device) -> None:
    """Raise UserError for fp16 on a processor, where neither convolutions nor the kernel know it."""
    if precision == "fp16" and device.type == "cpu" and torch.float16 not in stored_here(torch.empty(0, device=device)):
        raise UserError("precision 'fp16' is for a GPU, and this network is on a CPU: choose bf16 or fp32")


def check_scores(scores: Tensor, first: int = 0) -> None:
    """Raise UserError where class scores [..., N, classes] are not finite; `first`: index of the first sample."""
    if not scores.isfinite().all():
        odd = int((~scores.isfinite()).any(-1).reshape(-1, scores.shape[-2]).any(0).nonzero()[0])
        raise UserError(f"scores of sample {first + odd} are not finite: its pixels or the weights are out of range")
