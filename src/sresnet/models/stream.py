"""What a network that runs on a live stream hands from one call to the next."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sresnet.errors import UserError
from sresnet.models.segments import Potentials
from sresnet.nn.neuron import AnyNeuron, Neuron

_RETURNED = "give what the call before returned"


class StreamState(NamedTuple):
    """What one call of a network on a live stream passes to the next; without arguments, the start of a stream."""

    steps: int = 0
    """Time steps seen so far."""
    v: Potentials = ()
    """Potentials of every layer of neurons; None for neurons of your own that keep none."""
    potential: Tensor | None = None
    """Potential of the readout neurons, [N, num_classes]."""

    def detach(self) -> "StreamState":
        """The same numbers without their past: gradients end here (truncated backpropagation through time).

        What was made under torch.inference_mode can be trained on afterwards, if this is called outside of it.
        """
        return self._each(lambda values: values.detach().clone() if values.is_inference() else values.detach())

    def of(self, samples: Tensor) -> "StreamState":
        """The state of some samples of the batch, by index or mask; UserError where they are not in it."""
        try:
            return self._each(lambda values: values[samples])
        except (IndexError, TypeError) as error:
            raise UserError(f"samples of a state: {error}: give a tensor of indices, or a mask of the batch") from None

    def _each(self, change: Callable[[Tensor], Tensor]) -> "StreamState":
        v = tuple(None if each is None else change(each) for each in self.v)
        return StreamState(self.steps, v, None if self.potential is None else change(self.potential))


def check_state(
    state: Any, x: Tensor, neurons: Mapping[str, AnyNeuron], dtype: torch.dtype, num_classes: int, *, learns: bool
) -> None:
    """Raise UserError for a state that cannot be continued with x.

    Shapes of potentials within a sample are left to the layers.

    Args:
        state: what the user gave.
        x: the next input, [N, ...].
        neurons: of the network, those that keep a potential, by name.
        dtype: of their potentials.
        num_classes: of the network.
        learns: gradients are wanted.
    """
    if not isinstance(state, StreamState):
        raise UserError(
            f"state is of type {type(state).__name__}: give StreamState() at the start of a stream, then what the call "
            "before returned"
        )
    steps = state.steps
    if not isinstance(steps, int) or isinstance(steps, bool) or not 0 <= steps < 2**31:
        raise UserError(f"state has steps {steps!r:.100}, which is not a number of time steps: {_RETURNED}")
    if not isinstance(state.v, tuple | list):
        raise UserError(f"state has v of type {type(state.v).__name__}, and it is a tuple of tensors: {_RETURNED}")
    if state.v and len(state.v) != len(neurons):
        raise UserError(
            f"state has potentials of {len(state.v)} layers of neurons, and this network has {len(neurons)}: give "
            "what a call of this network returned"
        )
    for (name, module), v in zip(neurons.items(), state.v, strict=False):
        of = f"state has for {name} a potential"
        _check_tensor(v, of, x, (x.shape[0], *((None,) * 3 if isinstance(module, Neuron) else ())), learns)
        if isinstance(v, Tensor) and isinstance(module, Neuron) and v.dtype != dtype:
            raise UserError(f"{of} of {v.dtype}, and this network keeps them in {dtype}: {_RETURNED}")
    of = "state has for the readout a potential"
    _check_tensor(state.potential, of, x, (x.shape[0], num_classes), learns)
    if state.potential is not None and torch.promote_types(state.potential.dtype, dtype) != dtype:
        raise UserError(f"{of} of {state.potential.dtype}, and this network computes in {dtype}: {_RETURNED}")


def _check_tensor(given: Any, of: str, x: Tensor, shape: tuple[int | None, ...], learns: bool) -> None:
    """Raise UserError for anything but None or a tensor that can stand there; None in a shape is any size."""
    if given is None:
        return
    if not isinstance(given, Tensor):
        raise UserError(f"{of} of type {type(given).__name__}, and it is a tensor or None: {_RETURNED}")
    fits = given.ndim == len(shape) or len(shape) == 1 <= given.ndim
    if not fits or any(size not in (None, found) for size, found in zip(shape, given.shape, strict=False)):
        wanted = ", ".join("..." if size is None else str(size) for size in shape)
        raise UserError(
            f"{of} of shape {tuple(given.shape)}, and this batch needs ({wanted}): {_RETURNED} on these samples, or "
            "take some by state.of(samples)"
        )
    if not given.is_floating_point():
        raise UserError(f"{of} of {given.dtype}, and it is a real number: {_RETURNED}")
    if given.device != x.device:
        raise UserError(f"{of} on {given.device}, and x is on {x.device}: move one of them")
    if learns and given.is_inference():
        raise UserError(
            f"{of} that was made under torch.inference_mode, and gradients are wanted: give state.detach(), or go on "
            "under torch.no_grad()"
        )
