"""What a network says of one input after every time step."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sresnet.analysis.early_exit import mean_scores
from sresnet.models.inference import check_scores
from sresnet.models.network import SpikingNetwork
from sresnet.randomness import seeded


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One picture or event recording, and the class probabilities so far after each step."""

    title: str
    picture: Tensor
    """What was classified: uint8 [C, H, W], or event frames [T, 2, H, W] of any type."""
    class_names: tuple[str, ...]
    by_step: tuple[tuple[float, ...], ...]
    """[T][classes], each step adding up to 1: softmax of the mean score so far, not calibrated."""

    def best(self, count: int) -> list[tuple[str, int]]:
        """Name and index of the most likely classes after the last step, the first first."""
        last = torch.tensor(self.by_step[-1])
        return [(self.class_names[index], index) for index in last.topk(min(count, len(last))).indices.tolist()]


def probabilities_by_step(model: SpikingNetwork, x: Tensor) -> Tensor:
    """Class probabilities after every step, float32 [T, classes]: softmax of the mean score so far.

    Args:
        model: in evaluation mode.
        x: one image [1, C, H, W], or the windows of one recording [windows, T, C, H, W], whose mean it is.

    Raises:
        UserError: scores that are not finite.
    """
    device = next(model.parameters()).device
    with torch.inference_mode(), seeded(0, device):
        scores = [mean_scores(model.forward_steps(one[None]))[:, 0] for one in x]
        check_scores(torch.stack(scores, 1))
        return torch.stack([each.softmax(1) for each in scores]).mean(0)
