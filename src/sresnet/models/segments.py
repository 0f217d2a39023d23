"""Time segments: a few time steps at a time go through all layers, so that memory does not grow with their number.

Between two segments only the potentials of the neurons are kept. In training each segment is computed again when the
backward pass comes to it, all but the last; segments may be divided in turn. While the t steps of a segment go
backwards and n ends of segments before it are still needed, there lie in memory, in bytes per neuron of a batch,

    4 n + 4 + b t

where b is what a step keeps, and the 4 in the middle the gradients of the potentials at the end. The last segment is
the first to go backwards, and ends are freed on the way: the earlier a segment, the more steps it has, so that all take
the same memory. Where every step has its own norm, steps have nothing but potentials in common, and the gradients are
those of all steps at once.
Source: Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost, along time instead of depth.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from operator import index
from types import TracebackType
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sresnet.errors import UserError
from sresnet.nn.layer import has_hooks
from sresnet.nn.neuron import Neuron, OwnNeuron
from sresnet.nn.norm import BatchNorm, OwnNorm, TimeAveragedNorm
from sresnet.ops.dispatch import chosen_implementation, implementation, low_memory_chosen, reference_chosen

Potentials = tuple[Tensor | None, ...]
"""Of every layer of neurons."""


class Steps(NamedTuple):
    """Consecutive time steps."""

    first: int
    last: int
    """The step behind them."""

    def in_parts(self, lengths: Sequence[int]) -> list["Steps"]:
        """Them in consecutive parts of these lengths."""
        return [Steps(*pair) for pair in pairwise(accumulate(lengths, initial=self.first))]


def _even_lengths(count: int, number: int) -> list[int]:
    """`count` steps in `number` parts, as even as can be; fewer where there are fewer steps."""
    number = min(number, count)
    return [count * (i + 1) // number - count * i // number for i in range(number)]


@lru_cache(maxsize=10_000)
def _room(budget: float, segments: tuple[int, ...], end: float) -> int:
    """Steps that go backwards in these segments within `budget`, where a step takes 1 and an end `end`.

    A segment has one step at least.
    """
    if not segments:
        return max(1, int(budget))
    return sum(_room(budget - end * i, segments[1:], end) for i in range(segments[0]))


@lru_cache(maxsize=1_000)
def _lengths_of(count: int, segments: tuple[int, ...], end: float) -> tuple[int, ...]:
    """`count` steps in as many parts as the first of `segments` says, so that they take the least memory.

    Args:
        segments: each part is divided by the others in turn.
        end: what the end of a part takes in memory, in time steps.
    """
    segments = tuple(min(number, count) for number in segments)
    low, high = 0.0, float(count)
    while high - low > 0.02:
        middle = (low + high) / 2
        low, high = (low, middle) if _room(middle, segments, end) >= count else (middle, high)
    lengths, left = [], count
    for i in reversed(range(1, segments[0])):
        lengths.append(min(_room(high - end * i, segments[1:], end), left - i))
        left -= lengths[-1]
    return left, *reversed(lengths)


def _height_of(count: int, segments: tuple[int, ...], end: float) -> float:
    """The most that lies in memory while `count` steps go backwards in `segments`, counted as in `_lengths_of`."""
    if not segments:
        return count
    parts = _lengths_of(count, segments, end)
    return max(end * i + _height_of(length, segments[1:], end) for i, length in enumerate(parts))


Run = Callable[[Tensor, Steps, Potentials, bool], tuple[Tensor, Potentials]]
"""(input of all steps, the steps to run, potentials before them, whether those after them are asked for) ->
(scores [t, N, classes], potentials after them)."""


def run_segments(
    run: Run, x: Tensor, steps: Steps, segments: tuple[int, ...], again: "Again | None", asked: bool, *v: Tensor | None
) -> tuple[Tensor, Potentials]:
    """`run` of all steps, segment by segment.

    Args:
        run, x, asked, v: see `Run`. One argument for each potential: those in a tuple `checkpoint` would keep to the
            end.
        steps: all.
        segments: in how many the steps are divided, in how many each of these, and so on; none: all in one.
        again: around what a backward pass computes again; None: there will be no backward pass.
    """
    if not segments:
        return run(x, steps, v, asked)
    count, inner = steps.last - steps.first, segments[1:]
    parts = steps.in_parts(
        _even_lengths(count, segments[0]) if again is None else _lengths_of(count, segments, again.end)
    )
    outputs = []
    for part in parts:
        last = part is parts[-1]
        if again is None or last:  # a backward pass starts with the last: what it needs is kept
            output, v = run_segments(run, x, part, inner, again, asked or not last, *v)
        else:
            twice = _twice(run, part, inner, again)
            output, v = checkpoint(twice, x, *v, use_reentrant=False, context_fn=again.contexts)
        outputs.append(output)
    return torch.cat(outputs), v


def _twice(
    run: Run, steps: Steps, segments: tuple[int, ...], again: "Again"
) -> Callable[..., tuple[Tensor, Potentials]]:
    """(x, *v) -> `run_segments` of these steps: first for what they leave, then for the backward pass alone."""
    first = True

    def computed(x: Tensor, *v: Tensor | None) -> tuple[Tensor, Potentials]:
        nonlocal first
        asked, first = first, False
        return run_segments(run, x, steps, segments, again, asked, *v)

    return computed


class Again:
    """Around what a backward pass computes again: with the engine of the forward pass, and without a trace.

    Args:
        layers: those of the network.

    Attributes:
        end: what the end of a segment takes in memory, in time steps.

    Raises:
        UserError: on entering, where weights or modes are no longer those of the forward pass.
    """

    def __init__(self, layers: nn.Module) -> None:
        self.layers = layers
        self.chosen = chosen_implementation()
        self.end = _END_BYTES / _kept_bytes()
        self.before = self.look()
        self.entered: list[contextlib.ExitStack] = []

    def contexts(self) -> tuple[contextlib.AbstractContextManager[None], "Again"]:
        """Around what is computed the first time, and again; for `checkpoint`."""
        return contextlib.nullcontext(), self

    @property
    def now(self) -> bool:
        """Something is computed again."""
        return bool(self.entered)

    def look(self) -> tuple[list[tuple[int, int]], list[bool]]:
        """What must not change between the passes: the parameters and their versions, modes of the modules."""
        versions = [(id(parameter), parameter._version) for parameter in self.layers.parameters()]
        return versions, [module.training for module in self.layers.modules()]

    def __enter__(self) -> None:
        if self.look() != self.before:
            raise UserError(
                "weights or modes of the network have changed since the forward pass, which time segments compute "
                "again: call backward() before optimizer.step(), train() and eval(), and inside of what puts other "
                "weights in place for a while (torch.func.functional_call)"
            )
        around = contextlib.ExitStack()
        around.enter_context(implementation(self.chosen))
        around.enter_context(_buffers_kept(self.layers))
        self.entered.append(around)

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.entered.pop().close()


@contextlib.contextmanager
def _buffers_kept(layers: nn.Module) -> Iterator[None]:
    """Put back what modules of the user's own write into their buffers; norms of the package know of `again`."""
    own = [module for module in layers.modules() if not isinstance(module, BatchNorm)]
    kept = [(buffer, buffer.clone()) for module in own for buffer in module.buffers(recurse=False)]
    try:
        yield
    finally:
        for buffer, before in kept:
            buffer.data.copy_(before)  # of .data: autograd may have saved the buffer, whose values it does not read


def check_numbers(segments: Sequence[int]) -> None:
    """Raise UserError for a number of segments below 1."""
    if (least := min(segments, default=1)) < 1:
        raise UserError(f"time_segments has {least}, which is below 1: 1 is all time steps at once")


def _needs_all_steps(module: nn.Module) -> bool:
    """It is a norm that takes its statistics over time, now."""
    return isinstance(module, TimeAveragedNorm) and module.training


def checked_segments(layers: nn.Module, time_segments: int | Sequence[int]) -> tuple[int, ...]:
    """The numbers of segments, as `SpikingNetwork.forward` takes them, without those that divide nothing.

    Raises:
        UserError: no whole numbers from 1 up, norms that need all steps at once, or under a transform of torch.func.
    """
    try:
        segments = tuple(map(index, time_segments if isinstance(time_segments, Sequence) else (time_segments,)))
    except TypeError:
        raise UserError(
            f"time_segments {time_segments!r} is no number of segments: give one, such as 8, or several, such as (4, 4)"
        ) from None
    check_numbers(segments)
    found = tuple(number for number in segments if number > 1)
    if found and torch._C._are_functorch_transforms_active():
        raise UserError(f"time_segments {time_segments}: transforms of torch.func do not know them: leave them out")
    for name, module in layers.named_modules() if found else ():
        if _counts_all_spikes(module):
            raise UserError(
                f"time_segments {segments}: the spike-based gradient of {name} counts the spikes of all time steps at "
                "once: use no segments"
            )
        if _needs_all_steps(module):
            raise UserError(
                f"time_segments {time_segments}: {name} takes its statistics over all time steps, which have to be "
                "there at once: use norm 'bntt' or 'none', or no segments"
            )
        if isinstance(module, OwnNorm) and not getattr(module.normalise, "per_step", False):
            raise UserError(
                f"time_segments {time_segments}: {name} is a norm of your own, which may look at all time steps at "
                "once: if it does not, give it the attribute per_step = True; else use no segments"
            )
    return found


_END_BYTES = 4.0
"""Bytes of a potential."""
_STEP_BYTES = {"fp32": 6.0, "bf16": 4.0, "fp16": 4.0}
"""Precision -> bytes per neuron and time step of a training step at its height, of the default engine."""


def _kept_bytes() -> float:
    """About how much a step keeps per neuron for its backward pass, here and now."""
    if reference_chosen():
        return 20.0
    return 3.0 if torch.is_autocast_enabled("cpu") else 5.5


def segments_within(limit: float, neurons: int, num_steps: int, precision: str) -> tuple[int, ...]:
    """The cheapest division of a training step with which it takes at most `limit` bytes, by the count of this file.

    Args:
        limit: bytes.
        neurons: of the network, times the images of a batch.
        num_steps: T.
        precision: fp32, bf16 or fp16.

    Raises:
        UserError: none does.
    """
    step = _STEP_BYTES[precision]
    least = step * num_steps
    if neurons * least <= limit:
        return ()
    for levels in range(1, 5):
        before = step * num_steps
        for number in range(2, num_steps + 1):
            segments = (number,) * levels
            height = _END_BYTES + step * _height_of(num_steps, segments, _END_BYTES / step)
            if neurons * height <= limit:
                return segments
            least = min(least, height)
            if height > before:  # more segments have too many ends
                break
            before = height
    raise UserError(
        f"a training step of {num_steps} time steps takes {neurons * least / 1e9:.2g} GB in the smallest time "
        f"segments, more than the {limit / 1e9:g} GB of step_memory: use a smaller batch, or allow more"
    )


_IMAGES_AT_ONCE = 256
"""Images times time steps that `free_segments` runs together, where there are so many; more are hardly faster."""


def free_segments(layers: nn.Module, images: int, num_steps: int) -> tuple[int, ...]:
    """Segments of a pass of which nothing is computed again; none where results might depend on them.

    That is with modules of the user's own, with hooks, which see what a module is called with, and under torch.compile.
    The potentials of all layers lie in memory between segments, 4 bytes a neuron, and about four tensors of one layer
    inside, 2 or 4 bytes a neuron and step: where a segment has half as many steps as there are layers of neurons, the
    two weigh the same, and shorter ones save nothing. With gradients, low-memory training goes in such segments: all of
    them keep their bits of spikes, and gradients are of one segment at a time. Other engines keep far more than lies in
    their gradients.
    """
    if torch.compiler.is_compiling():  # compiled code is for any batch
        return ()
    neurons = sum(isinstance(module, Neuron) for module in layers.modules())
    number = num_steps // max(-(-_IMAGES_AT_ONCE // images), neurons // 2) if images else 0
    learns = torch.is_grad_enabled()
    if number < 2 or (learns and not low_memory_chosen()):
        return ()
    whole = any(
        _is_own_or_watched(module) or _needs_all_steps(module) or (learns and _counts_all_spikes(module))
        for module in layers.modules()
    )
    return () if whole else (number,)


_PIXELS_AT_ONCE = 256 * 32 * 32
"""Of images times time steps: what an inference on a CPU computes at once, where there are so many; more are hardly
faster."""


def images_at_once(modules: Iterable[nn.Module], x: Tensor, num_steps: int) -> int:
    """How many images [N, C, H, W] or clips [N, T, C, H, W] go through all time steps together.

    All, but in an inference on a CPU: there no image has to do with another, and of a few at a time neither potentials
    nor activity take much memory. All too where `free_segments` has none, and in training mode, whose statistics are
    those of the batch.
    """
    if torch.compiler.is_compiling() or not x.is_cpu or torch.is_grad_enabled():  # compiled code is for any batch
        return x.shape[0]
    number = max(1, _PIXELS_AT_ONCE // max(1, num_steps * x.shape[-2] * x.shape[-1]))
    if number >= len(x):
        return len(x)
    whole = any(module.training or _is_own_or_watched(module) for module in modules)
    return len(x) if whole else number


def _is_own_or_watched(module: nn.Module) -> bool:
    """It is of the user's own, or has hooks: it might see how many steps or images go together."""
    return isinstance(module, OwnNorm | OwnNeuron) or not _is_ours(module) or has_hooks(module)


def _counts_all_spikes(module: nn.Module) -> bool:
    """It is neurons whose gradient counts the spikes of all steps, now."""
    return isinstance(module, Neuron) and module.config.gradient == "spike-based" and module.training


def _is_ours(module: nn.Module) -> bool:
    """It is of a class of this package or of torch's: in those that this package uses, each step is for itself."""
    return type(module).__module__.partition(".")[0] in ("sresnet", "torch")
