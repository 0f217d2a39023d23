"""Samples on disk read by a thread while the network works on those before them."""

from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor

from sresnet.data.samples import Samples
from sresnet.data.stored import StoredSet


class ReadAhead:
    """Batches of `samples`; those that were announced are read meanwhile, unless all are in memory anyway.

    What is read is the same, whoever reads it. The thread leaves an accelerator alone: a CUDA graph may be recorded.
    """

    def __init__(self, samples: Samples) -> None:
        self.samples = samples
        self.stored = samples if isinstance(samples, StoredSet) else None
        self.thread = ThreadPoolExecutor(1, "read ahead") if self.stored else None
        self.read: dict[bytes, Future[Tensor]] = {}
        """By the numbers of the samples."""

    def announce(self, *batches: Tensor) -> None:
        """Begin to read the samples at these indices, int64 [M], the next that are asked for; others are given up."""
        if self.thread is None or self.stored is None:
            return
        wanted = {indices.numpy().tobytes(): indices for indices in (batch.cpu() for batch in batches)}
        for key in self.read.keys() - wanted.keys():
            self.read.pop(key).cancel()
        for key, indices in wanted.items():
            if key not in self.read:
                self.read[key] = self.thread.submit(self.stored.read, indices)

    def batch(self, indices: Tensor) -> Tensor:
        """As `Samples.batch`; errors as there."""
        if self.stored is None:
            return self.samples.batch(indices)
        indices = indices.cpu()
        found = self.read.pop(indices.numpy().tobytes(), None)
        return (self.stored.read(indices) if found is None else found.result()).to(self.stored.device)
