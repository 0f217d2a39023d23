"""Which samples an epoch shows, and what each counts, where some classes have more of them than others."""

import itertools

import torch
from torch import Tensor

from sresnet.randomness import order, seed_of


def indices_of_epoch(labels: Tensor, sampling: str, seed: int, epoch: int) -> Tensor:
    """Indices of the samples of one epoch in their order, int64 [N], for labels int64 [N].

    all: each once, see `randomness.order`. balanced: of K classes each is shown N / K times, rounded down or up. Those
    of a class are shown equally often or once more, so that of a large one only some are, and others in other epochs.
    They are a function of labels, seed and epoch alone: a run that was stopped resumes with the same.
    """
    if sampling == "all":
        return order(len(labels), seed, epoch)
    generator = torch.Generator().manual_seed(seed_of("balanced order", seed, epoch))
    labels = labels.cpu()
    classes = torch.unique(labels)
    quota = torch.full((len(classes),), len(labels) // len(classes))
    quota[torch.randperm(len(classes), generator=generator)[: len(labels) % len(classes)]] += 1
    chosen = []
    for label, wanted in zip(classes.tolist(), quota.tolist(), strict=True):
        members = (labels == label).nonzero().squeeze(1)
        rounds = (members[torch.randperm(len(members), generator=generator)] for _ in itertools.count())
        chosen.append(torch.cat(list(itertools.islice(rounds, -(-wanted // len(members)))))[:wanted])
    found = torch.cat(chosen)
    return found[torch.randperm(len(found), generator=generator)]


def balanced_weights(labels: Tensor, classes: int) -> Tensor:
    """Weight of each class, float32 [classes]: w_c = N / (K n_c) for n_c of N samples, of K classes that are there.

    Their mean over all samples is 1, so that the loss of all is of the size that it has without. Classes without
    samples have 0.
    """
    counts = labels.cpu().bincount(minlength=classes).float()
    present = counts > 0
    return torch.where(present, len(labels) / (present.sum() * counts.clamp(min=1)), torch.zeros_like(counts))
