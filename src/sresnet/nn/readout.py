"""The last layer: neurons without leak that never spike (Section 3.3), and its voting form (Section 3.2.3)."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sresnet.nn.graph import Ends, Node
from sresnet.nn.layer import pooled

VOTES_PER_CLASS = 10
"""Section 3.2.3: 10 neurons per class."""


class Readout(nn.Module):
    """Global average pool and one linear layer without bias: spikes [T, N, C, H, W] -> input current [T, N, classes].

    The potential of neurons that do not leak or spike is the sum of their input, so after T steps the class scores are

        u[T] / T = mean over t of current[t]     (Section 3.3; Eq. 19 is the loss on them)

    which is left to the caller: the running mean over t gives the scores after every step.

    With `boosting`, 10 neurons vote for each class: their average is its score.

    Args:
        channels: C.
        num_classes: classes.
        boosting: 10 neurons per class instead of one.
    """

    def __init__(self, channels: int, num_classes: int, *, boosting: bool = False) -> None:
        super().__init__()
        self.votes = VOTES_PER_CLASS if boosting else 1
        self.linear = nn.Linear(channels, num_classes * self.votes, bias=False)
        nn.init.xavier_uniform_(self.linear.weight, gain=2)

    def forward(self, spikes: Float[Tensor, "T N C H W"]) -> Float[Tensor, "T N classes"]:
        current = self.linear(pooled(spikes))
        return current if self.votes == 1 else F.avg_pool1d(current, self.votes)

    def describe(self, name: str, x: Ends) -> list[Node]:
        """Its nodes; the average of votes is not a node of its own."""
        pool = Node(name=f"{name}.pool", kind="pool", inputs=(x.spikes,), module=name)
        return [pool, Node(name=f"{name}.linear", kind="linear", inputs=(pool.name,), module=f"{name}.linear")]
