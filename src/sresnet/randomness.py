"""Randomness is a function of a seed and a moment, so a run that was stopped resumes as if it had not been."""

import contextlib
import hashlib
import threading
from collections.abc import Iterator

import torch
from torch import Tensor


def seed_of(*parts: int | str) -> int:
    """A seed of 63 bits for one purpose at one moment, such as ("augment", recipe seed, step)."""
    text = "/".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def order(images: int, seed: int, epoch: int) -> Tensor:
    """Indices of all images in the order of one epoch, int64 [images]."""
    return torch.randperm(images, generator=torch.Generator().manual_seed(seed_of("order", seed, epoch)))


# Torch's generators belong to the process: threads draw one after the other.
_drawing = threading.RLock()


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's random generators start at `seed` inside, and are put back after; one thread at a time."""
    with _drawing, torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
