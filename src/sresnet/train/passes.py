"""The forward and backward pass of a training step as a CUDA graph.

A step with few time steps is hundreds of kernels on a GPU, and to launch one takes longer than many of them run. A
graph launches all of them at once: it is recorded once for each kind of step, and replayed with other images in the
same memory. What cannot be recorded, or does not give what the pass itself gives, is not replayed.
"""

import warnings
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

_TOLERANCE = 1e-2
"""Largest difference of a gradient, over its largest number, that a replay may have: sums may come in another order."""


@dataclass(frozen=True, kw_only=True)
class Passed:
    """What a pass gives, on the device."""

    loss: Tensor
    """float32 []."""
    hits: Tensor
    """Images that were classified correctly, int64 []."""
    names: tuple[str, ...]
    """Layers of neurons."""
    finite: Tensor
    """Whether the sum of the potentials of each is finite, bool [names]."""
    gradients: tuple[Tensor | None, ...]
    """Of the parameters, in their order; None for one that the loss does not depend on."""


Pass = Callable[[Tensor, Tensor], Passed]
"""Images [N, ...] and labels int64 [N] of a step -> what its pass gives."""
Replay = Callable[[], object]
Record = Callable[[Callable[[], Passed]], tuple[Passed, Replay]]
"""A pass with everything in place -> what each replay leaves its results in, and the replay."""


Given = TypeVar("Given")


def cuda_graph(run: Callable[[], Given]) -> tuple[Given, Replay]:
    """Record what runs on the GPU: what each replay leaves its results in, and the replay.

    Raises:
        RuntimeError: a part of it cannot be recorded, such as one that waits for the device.
    """
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # what compiles or chooses algorithms does so before
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

    x: Tensor
    labels: Tensor
    passed: Passed
    replay: Replay

    def __call__(self, x: Tensor, labels: Tensor) -> Passed:
        """Replay with other images; what was given before is overwritten."""
        self.x.copy_(x)
        self.labels.copy_(labels)
        self.replay()
        return self.passed


class Graphs:
    """Passes of one model, each kind recorded at its second step.

    Args:
        model: its buffers, such as running averages, are put back after what recording takes.
        record: `cuda_graph`.
    """

    def __init__(self, model: nn.Module, record: Record = cuda_graph) -> None:
        self.model = model
        self.record = record
        self.kinds: dict[Hashable, _Recorded | None] = {}
        """None: met once, or not to be recorded."""
        self.refused = ""
        """Why nothing is recorded any more."""

    def __call__(
        self,
        kind: Hashable,
        run: Pass,
        x: Tensor,
        labels: Tensor,
        drawing: Callable[[], AbstractContextManager[None]],
    ) -> Passed:
        """What `run` gives for these images.

        Args:
            kind: tells apart passes that differ in more than their images' numbers, such as in time steps.
            run: the pass; it keeps nothing but what it gives and the model's buffers, and reads nothing else that
                changes from step to step.
            drawing: the random generators as they are for this step.
        """
        kind = (kind, x.shape, x.dtype, labels.shape)
        if (recorded := self.kinds.get(kind)) is not None:
            with drawing():
                return recorded(x, labels)
        if kind not in self.kinds or self.refused:
            self.kinds[kind] = None
            with drawing():
                return run(x, labels)
        before = self.buffers()
        with drawing():
            expected = run(x, labels)
        after = self.buffers()
        try:
            recorded = self._recorded(run, x, labels, drawing, before)
            self.put(before)
            with drawing():
                found = recorded(x, labels)
            self.check(found, expected)
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

    def _recorded(
        self,
        run: Pass,
        x: Tensor,
        labels: Tensor,
        drawing: Callable[[], AbstractContextManager[None]],
        before: list[Tensor],
    ) -> _Recorded:
        """Record a pass in memory of its own for images and labels."""
        x, labels = x.clone(memory_format=torch.preserve_format), labels.clone()
        self.put(before)
        with drawing():
            passed, replay = self.record(lambda: run(x, labels))
        return _Recorded(x=x, labels=labels, passed=passed, replay=replay)

    def buffers(self) -> list[Tensor]:
        """Copies of the model's buffers."""
        return [buffer.clone() for buffer in self.model.buffers()]

    @torch.no_grad()
    def put(self, values: list[Tensor]) -> None:
        """Put buffers back, where they lie."""
        for buffer, value in zip(self.model.buffers(), values, strict=True):
            buffer.copy_(value)

    @staticmethod
    def check(found: Passed, expected: Passed) -> None:
        """Raise RuntimeError where a replay differs from the pass by more than another order of sums can explain."""
        pairs = [(found.loss, expected.loss), *zip(found.gradients, expected.gradients, strict=True)]
        for number, (one, other) in enumerate(pairs):
            if one is None or other is None:
                if one is not other:
                    raise RuntimeError(f"gradient {number} is only in one of replay and pass")
                continue
            scale = other.abs().max()
            if not bool((one - other).abs().max() <= _TOLERANCE * scale) and bool(scale.isfinite()):
                raise RuntimeError(f"its replay differs in {f'gradient {number}' if number else 'the loss'}")
