"""Accuracy and loss of a network on a set of images."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sresnet.data import Samples
from sresnet.data.ahead import ReadAhead
from sresnet.data.scaling import Scaling
from sresnet.errors import UserError
from sresnet.models.inference import check_scores, evaluating
from sresnet.models.network import SpikingNetwork
from sresnet.processes import ALONE, Processes


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Of all images of a set."""

    top1: float
    """Percent of images whose class has the highest score."""
    top5: float
    """Percent of images whose class is among the five highest scores."""
    loss: float
    """Mean cross-entropy."""
    images: int
    """Or clips of event frames."""
    batch_mean_top1: float
    """What the released code calls accuracy: the mean of each batch's percentage, the last partial batch left out."""


def evaluate(
    model: SpikingNetwork,
    samples: Samples,
    scaling: Scaling,
    *,
    num_steps: int | None = None,
    batch_size: int = 250,
    precision: str = "fp32",
    seed: int = 0,
    processes: Processes = ALONE,
) -> Evaluation:
    """Classify every image or clip once, in evaluation mode.

    Several processes take whole batches in turn, so that each is computed as one process does, and the numbers are its.

    Args:
        model, samples, scaling: network, uint8 images or event frames on any device, and their scaling.
        num_steps: time steps, the first of those trained (Table 16); None: all.
        batch_size: images at a time; only `batch_mean_top1` depends on it.
        precision: fp32, bf16 or fp16.
        seed: of the Poisson encoders.
        processes: those that evaluate together, with equal weights.

    Raises:
        UserError: no samples, more steps than there are norms for, or scores or a loss that are not finite.
    """
    if not len(samples):
        raise UserError("there are no images to evaluate on: give at least one")
    starts = range(0, len(samples), batch_size)
    # Hits, those among the first five, and loss of each batch.
    found = torch.zeros(len(starts), 3, dtype=torch.float64, device="cpu")
    batches = [torch.arange(start, min(start + batch_size, len(samples)), device="cpu") for start in starts]
    ahead = ReadAhead(samples)
    with evaluating(model, seed, precision) as device:
        for number, chosen in enumerate(batches):
            start = number * batch_size
            if number % processes.count != processes.rank:
                if model.config.encoder.startswith("poisson"):  # what it draws for others' images is drawn here too
                    model.encode(torch.zeros(len(chosen), *samples.shape, device=device), num_steps)
                continue
            ahead.announce(chosen, *batches[number + processes.count :][:1])
            labels = samples.labels[chosen].to(device)
            scores = model(scaling(ahead.batch(chosen).to(device)), num_steps=num_steps).float()
            check_scores(scores, start)
            ranked = scores.topk(min(5, scores.shape[1]), dim=1).indices == labels[:, None]
            loss = float(F.cross_entropy(scores, labels, reduction="sum"))
            found[number] = torch.tensor(
                [int(ranked[:, 0].sum()), int(ranked.sum()), loss], dtype=torch.float64, device="cpu"
            )
    hits_of, top5_of, losses = processes.add_up(found).T.tolist()
    batch_hits, top5_hits = [int(hits) for hits in hits_of], int(sum(top5_of))
    loss = 0.0
    for each in losses:  # Python's sum rounds as its version does
        loss += each
    if not math.isfinite(loss):
        raise UserError(f"loss is {loss}: the weights are out of range")
    hits, count = sum(batch_hits), len(samples)
    whole = batch_hits[: count // batch_size] or batch_hits
    return Evaluation(
        top1=100 * hits / count,
        top5=100 * top5_hits / count,
        loss=loss / count,
        images=count,
        batch_mean_top1=100 * sum(whole) / len(whole) / min(batch_size, count),
    )


@dataclass(frozen=True, kw_only=True)
class Rates:
    """How often neurons fire and what they send, as means over samples, neurons and time steps."""

    spike_rate: dict[str, float]
    """Layer of neurons -> its firing rate, spikes per neuron and step; see `LayerRecord.number`. In [0, 1], but for
    few-spikes neurons."""
    sent: dict[str, float]
    """Layer of neurons -> its output: spikes, or at the end of an S2S block sums of spikes, which may be above 1, or
    real numbers behind a 1x1 skip, which may be below 0."""
    overall: float
    """Firing rate over all neurons of the network, spikes per neuron and step, as `Activity.rate` of the analysis."""


def spike_rates(model: SpikingNetwork, x: Tensor, num_steps: int | None = None) -> Rates:
    """Firing rates and outputs for the batch `x`, in evaluation mode; UserError where a number is not finite."""
    with evaluating(model, seed=0):
        _, records = model(x, num_steps=num_steps, record=model.neuron_names)
    for name, record in records.items():
        potentials = 0.0 if record.membrane is None else record.membrane.sum()
        if not math.isfinite(float(potentials + record.output.float().sum())):
            raise UserError(f"potentials of {name} are not finite: the weights are out of range")
    fired = {name: float(record.number.sum()) for name, record in records.items()}
    return Rates(
        spike_rate={name: fired[name] / record.spikes.numel() for name, record in records.items()},
        sent={name: float(record.output.float().mean()) for name, record in records.items()},
        overall=sum(fired.values()) / sum(record.spikes.numel() for record in records.values()),
    )
