"""The last layer: neurons without leak that never spike (Section 3.3), or that do; and voting (Section 3.2.3)."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sresnet.errors import UserError
from sresnet.nn.graph import Ends, Node
from sresnet.nn.layer import pooled
from sresnet.nn.neuron import NeuronConfig, make_neuron
from sresnet.nn.state import ForwardState

VOTES_PER_CLASS = 10
"""Section 3.2.3: 10 neurons per class."""


class Readout(nn.Module):
    """Global average pool and one linear layer: spikes [T, N, C, H, W] -> [T, N, classes].

    What it gives is the input current of neurons that do not leak or spike. Their potential is the sum of it, so after
    T steps the class scores are

        u[T] / T = mean over t of current[t]     (Section 3.3; Eq. 19 is the loss on them)

    which is left to the caller: the running mean over t gives the scores after every step.

    With `boosting`, 10 neurons vote for each class: their average is its score. With `neuron` the last neurons spike,
    and a class's score is the firing rate of its neurons (Zheng et al. 2021; with votes, Fang et al. 2021).

    With `leak` below 1 the neurons leak, and what is given is what is left of the current after T steps:

        V[t] = leak (V[t-1] + current[t]),   V[T] / T = mean over t of leak^(T-t+1) current[t]     (Lee et al. 2020)

    while the gradient is that without leak. Scores after fewer steps, the mean of the first ones, are then too small by
    a power of the leak, the same for all classes.

    Args:
        channels: C.
        num_classes: classes.
        boosting: 10 neurons per class instead of one.
        bias: of the linear layer.
        leak: of neurons that do not spike.
        neuron: of neurons that spike; None: those that do not.
        shared_leak: see `Neuron`.

    Raises:
        UserError: in forward, maps of another number of channels.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        *,
        boosting: bool = False,
        bias: bool = False,
        leak: float = 1.0,
        neuron: NeuronConfig | None = None,
        shared_leak: nn.Parameter | None = None,
    ) -> None:
        super().__init__()
        self.votes = VOTES_PER_CLASS if boosting else 1
        self.leak = leak
        self.linear = nn.Linear(channels, num_classes * self.votes, bias=bias)
        nn.init.xavier_uniform_(self.linear.weight, gain=2)
        self.neuron = None if neuron is None else make_neuron(neuron, shared_leak)

    def forward(
        self, spikes: Float[Tensor, "T N C H W"], state: ForwardState | None = None
    ) -> Float[Tensor, "T N classes"]:
        features = pooled(spikes)
        if features.shape[-1] != self.linear.in_features:
            raise UserError(
                f"the readout takes {self.linear.in_features} values of an image, and got {features.shape[-1]}: give "
                "images of the size and channels that the network was built for, or build it with their image_size"
            )
        outputs = self.linear(features)
        if self.neuron is not None:
            # Neurons that receive NaN stay silent, which would look like an answer.
            nothing = 0 * outputs.detach()
            outputs = self.neuron(outputs[..., None, None], state)[..., 0, 0] + nothing
        if self.leak != 1:
            outputs = self.leaked(outputs, state)
        return outputs if self.votes == 1 else F.avg_pool1d(outputs, self.votes)

    def leaked(self, current: Float[Tensor, "T N outputs"], state: ForwardState | None) -> Float[Tensor, "T N outputs"]:
        """What will be left of the current of each step at the end of the call."""
        first = state.first_step if state else 0
        last = state.last_step if state and state.last_step else first + len(current)
        left = [self.leak ** (last - step) - 1 for step in range(first, first + len(current))]
        return current + current.new_tensor(left)[:, None, None] * current.detach()

    def describe(self, name: str, x: Ends) -> list[Node]:
        """Its nodes; the average of votes is not a node of its own."""
        pool = Node(name=f"{name}.pool", kind="pool", inputs=(x.spikes,), module=name)
        linear = Node(name=f"{name}.linear", kind="linear", inputs=(pool.name,), module=f"{name}.linear")
        neurons = Node(name=f"{name}.neuron", kind="neurons", inputs=(linear.name,), module=f"{name}.neuron")
        return [pool, linear] if self.neuron is None else [pool, linear, neurons]
