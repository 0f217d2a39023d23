"""A training step as a CUDA graph, from augmentation to the average of the weights.

A step with few time steps is hundreds of kernels on a GPU, and to launch one takes longer than many of them run. A
graph launches all of them at once: it is recorded once for each kind of step, and replayed with other images and
numbers in the same memory. What cannot be recorded, or does not do what the step itself does, is not replayed.
"""

import dataclasses
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

_TOLERANCE = 2e-2
"""Largest norm of what a replay changes otherwise, over that of the change: sums may come in another order."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a training step gives, on the device, beside what it changes in place."""

    loss: Tensor
    """float32 []."""
    hits: Tensor
    """Images that were classified correctly, int64 []."""
    names: tuple[str, ...]
    """Layers of neurons."""
    finite: Tensor
    """Whether the sum of the potentials of each is finite, bool [names]."""
    state_names: tuple[str, ...]
    """Tensors that training resumes with."""
    state_finite: Tensor
    """Whether the sum of each is finite after the step, bool [state_names]."""

    def copied(self) -> "Done":
        """In memory that no replay writes."""
        names = ("loss", "hits", "finite", "state_finite")
        return dataclasses.replace(self, **{name: getattr(self, name).clone() for name in names})


Step = Callable[[Sequence[Tensor]], Done]
"""What differs from step to step, on the device -> what the step gives."""
Replay = Callable[[], object]
Record = Callable[[Callable[[], Done]], tuple[Done, Replay]]
"""A step with everything in place -> what each replay leaves its results in, and the replay."""


Given = TypeVar("Given")


def cuda_graph(run: Callable[[], Given]) -> tuple[Given, Replay]:
    """Record what runs on the GPU: what each replay leaves its results in, and the replay.

    It runs twice before, for what compiles or chooses algorithms.

    Raises:
        RuntimeError: a part of it cannot be recorded, such as one that waits for the device.
    """
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(2):
            run()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        given = run()
    return given, graph.replay


@dataclass(frozen=True, kw_only=True)
class _Recorded:
    """A graph and the memory that it reads and writes."""

    given: Sequence[Tensor]
    done: Done
    replay: Replay

    def __call__(self, given: Sequence[Tensor]) -> Done:
        """Replay with other images and numbers."""
        for place, each in zip(self.given, given, strict=True):
            place.copy_(each, non_blocking=True)
        self.replay()
        return self.done.copied()


class Graphs:
    """Steps of one training, each kind recorded at its second one.

    Args:
        state: all tensors that a step changes, by name, where they lie.
        device: of the training.
        record: `cuda_graph`.
    """

    def __init__(self, state: Callable[[], Mapping[str, Tensor]], device: torch.device, record: Record) -> None:
        self.state = state
        self.device = device
        self.record = record
        self.kinds: dict[Hashable, _Recorded | None] = {}
        """None: met once, or not to be recorded."""
        self.refused = ""
        """Why nothing is recorded any more."""

    def __call__(
        self,
        kind: Hashable,
        run: Step,
        given: Sequence[Tensor],
        drawing: Callable[[], AbstractContextManager[None]],
    ) -> Done:
        """What `run` gives for these images and numbers, and does.

        Args:
            kind: tells apart steps that differ in more than `given`, such as in time steps.
            run: the step; it changes nothing but the state, in place, and reads nothing else that changes from step to
                step.
            given: on the device, or pinned in the memory of the host.
            drawing: the random generators as they are for this step.
        """
        kind = (kind, *((each.shape, each.dtype) for each in given))
        if (recorded := self.kinds.get(kind)) is not None:
            with drawing():
                return recorded(given)
        given = [each.to(self.device, non_blocking=True) for each in given]
        met, before = kind in self.kinds, self.copies()
        self.kinds[kind] = None
        with drawing():
            expected = run(given)
        after = self.copies()
        if not met or self.refused or before.keys() != after.keys():  # the first step of all makes what momentum is in
            return expected
        try:
            self.put(before)
            with drawing():
                done, replay = self.record(lambda: run(given))
            self.put(before)
            recorded = _Recorded(given=given, done=done, replay=replay)
            with drawing():
                found = recorded([each.clone() for each in given])
            self.check(found, expected, before, after)
        except RuntimeError as error:
            self.refused = " ".join(str(error).split())
            warnings.warn(
                f"training goes on without a CUDA graph, which is slower ({self.refused[:200]}): please report it with "
                "the recipe, and the versions of torch and sresnet",
                stacklevel=2,
            )
            self.put(after)
            return expected
        self.kinds[kind] = recorded
        return found

    def copies(self) -> dict[str, Tensor]:
        """Of the state as it is."""
        return {name: tensor.detach().clone() for name, tensor in self.state().items()}

    @torch.no_grad()
    def put(self, values: Mapping[str, Tensor]) -> None:
        """Put the state back, where it lies."""
        for name, tensor in self.state().items():
            tensor.copy_(values[name])

    def check(self, found: Done, expected: Done, before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> None:
        """Raise RuntimeError where a replay did something else than another order of sums can explain."""
        pairs = {"loss": (found.loss, expected.loss)}
        for name, tensor in self.state().items():
            start = before[name].double()
            pairs[name] = (tensor.detach().double() - start, after[name].double() - start)
        for name, (one, other) in pairs.items():
            scale = other.norm()
            if not bool((one - other).norm() <= _TOLERANCE * scale) and bool(scale.isfinite()):
                raise RuntimeError(f"its replay differs in {name}")
