"""Early exit (anytime inference): an image leaves as soon as the network is confident of its class.

The readout has no leak and sends no spikes, so it has an answer after every step t, the mean of its input so far:

    z[t] = (r[1] + ... + r[t]) / t                     class scores after t steps, `mean_scores`
    p[t] = softmax(z[t] / temperature[t])              class probabilities
    confidence[t] = the largest of p[t]
    an image leaves after the first step with confidence[t] >= threshold, after the last step T at the latest

and its prediction is the class of the highest score at the step where it leaves. One pass over all T steps gives the
result of every threshold (`_exit_curve`). `run_early_exit` skips steps that are not needed: images that have left are
taken out of the batch before the next step.

Networks are overconfident. `_calibrate` finds, for every step, the temperature at which the probabilities fit labelled
images best (least cross-entropy; temperature scaling of Guo et al. 2017, with a temperature per step because few steps
spread scores differently from many). Those images must be neither training images, of which the network is more
confident, nor those of the curve. The mean number of steps depends on the mixture of easy and hard images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sresnet.analysis.walk import Batches
from sresnet.errors import UserError
from sresnet.models.inference import check_scores, evaluating
from sresnet.models.network import SpikingNetwork
from sresnet.models.stream import StreamState

THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999)
"""Thresholds of a curve by default."""
COLDEST, HOTTEST = 0.01, 100.0
"""Range of the search for temperatures; that of a network that is always right would be 0."""


@dataclass(frozen=True, kw_only=True)
class ExitPoint:
    """What one threshold gives."""

    threshold: float
    """Confidence at which an image leaves, in (0, 1]."""
    mean_steps: float
    """Time steps per image."""
    top1: float
    """Percent of images whose class has the highest score when they leave."""


@dataclass(frozen=True, kw_only=True)
class EarlyExit:
    """Accuracy against mean steps, of one network on one set of images."""

    points: tuple[ExitPoint, ...]
    """By threshold, lowest first."""
    top1_by_step: tuple[float, ...]
    """Percent, if all images left after 1, 2, ... T steps (Table 16)."""
    temperatures: tuple[float, ...]
    """Of each step; all 1 where nothing was calibrated."""
    images: int
    calibration_images: int
    """How many the temperatures were fitted to; 0: not calibrated."""


@dataclass(frozen=True, kw_only=True)
class EarlyExitResult:
    """Result of a pass in which images really left early."""

    top1: float
    """Percent."""
    mean_steps: float
    images: int
    left_after: tuple[int, ...]
    """Images that left after 1, 2, ... T steps."""


def mean_scores(outputs: Tensor) -> Tensor:
    """Class scores after every step from the readout's input r, both [T, N, classes]: the mean of all steps so far."""
    steps = torch.arange(1, len(outputs) + 1, device=outputs.device)
    return outputs.float().cumsum(0) / steps[:, None, None]


def _confidence(scores: Tensor, temperatures: Tensor) -> Tensor:
    """Largest class probability, [T, N] in float64, from scores [T, N, classes] and one temperature per step [T]."""
    return (scores.double() / temperatures.to(scores.device, torch.float64)[:, None, None]).softmax(2).amax(2)


def _exit_steps(confidences: Tensor, threshold: float) -> Tensor:
    """Steps after which images leave, int64 [N]: the first with confidence [T, N] >= threshold, or else the last, T."""
    confident = confidences >= threshold
    confident[-1] = True
    return confident.int().argmax(0) + 1


def _exit_curve(
    scores: Tensor, labels: Tensor, temperatures: Tensor, thresholds: Sequence[float]
) -> tuple[ExitPoint, ...]:
    """Accuracy and mean steps at every threshold, lowest first, from `mean_scores`, labels [N] and temperatures [T]."""
    confidences, right = _confidence(scores, temperatures), best_class(scores) == labels
    points = []
    for threshold in sorted(map(check_threshold, thresholds)):
        steps = _exit_steps(confidences, threshold)
        hits = right.gather(0, steps[None] - 1)
        points.append(
            ExitPoint(
                threshold=threshold,
                mean_steps=float(steps.double().mean()),
                top1=100 * float(hits.double().mean()),
            )
        )
    return tuple(points)


def best_class(scores: Tensor) -> Tensor:
    """Class of the highest score, [..., classes] -> int64 [...]; ties are broken as in `train.evaluate`."""
    return scores.topk(min(5, scores.shape[-1]), dim=-1).indices[..., 0]


def check_threshold(threshold: float) -> float:
    """The threshold itself; UserError where it is not a probability above 0."""
    if not 0 < threshold <= 1:
        raise UserError(f"exit confidence {threshold:g} is outside (0, 1]: it is a probability, such as 0.95")
    return threshold


def _calibrate(scores: Tensor, labels: Tensor) -> Tensor:
    """The temperature of each step at which the mean cross-entropy is least, float64 [T].

    With b = 1 / temperature, the cross-entropy of softmax(b z) is convex in b, and its derivative, the mean over images
    of (sum of p z) - z of the right class, grows with b: its zero is found by halving an interval of log b, until the
    temperature is known to 1e-9 of itself.
    """
    z = scores.double()
    right = z.gather(2, labels.expand(len(z), -1)[:, :, None])[:, :, 0].mean(1)
    low = torch.full((len(z),), 1 / HOTTEST, dtype=torch.float64, device=z.device).log()
    high = torch.full_like(low, 1 / COLDEST).log()
    for _ in range(40):
        middle = (low + high) / 2
        p = (z * middle.exp()[:, None, None]).softmax(2)
        overconfident = (p * z).sum(2).mean(1) > right
        low, high = torch.where(overconfident, low, middle), torch.where(overconfident, middle, high)
    return (-(low + high) / 2).exp()


def _step_scores(
    model: SpikingNetwork, batches: Batches, *, num_steps: int | None = None, precision: str = "fp32", seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Scores after every step [T, N, classes] and labels [N] of all images, on the CPU, in evaluation mode.

    Args:
        num_steps: time steps, the first of the network's; None: all.
        precision: fp32, bf16 or fp16.
        seed: of the Poisson encoders.

    Raises:
        UserError: no images, scores that are not finite, or as `SpikingNetwork.forward`.
    """
    scores: list[Tensor] = []
    labels: list[Tensor] = []
    with evaluating(model, seed, precision):
        for x, some in batches:
            found = mean_scores(model.forward_steps(x, num_steps=num_steps)).cpu()
            check_scores(found, sum(len(some) for some in labels))
            scores.append(found)
            labels.append(some.cpu())
    if not scores:
        raise UserError("there are no images to analyse: give at least one batch")
    return torch.cat(scores, 1), torch.cat(labels)


def early_exit(
    model: SpikingNetwork,
    batches: Batches,
    *,
    calibration: Batches | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
    num_steps: int | None = None,
    precision: str = "fp32",
    seed: int = 0,
) -> EarlyExit:
    """Accuracy against mean steps over `thresholds`, from one pass; the definition is at the top of this file.

    Args:
        model, batches, num_steps, precision, seed: as `_step_scores`.
        calibration: labelled images to fit the temperatures to: held out, neither trained on nor in `batches`.
            None: the temperatures are 1, and confidences those that the network claims.
        thresholds: each in (0, 1].

    Raises:
        UserError: a threshold out of range, or as `_step_scores`.
    """
    thresholds = [check_threshold(threshold) for threshold in thresholds]
    temperatures, calibration_images = None, 0
    if calibration is not None:
        held_out, labels = _step_scores(model, calibration, num_steps=num_steps, precision=precision, seed=seed)
        temperatures, calibration_images = _calibrate(held_out, labels), len(labels)
    scores, labels = _step_scores(model, batches, num_steps=num_steps, precision=precision, seed=seed)
    if temperatures is None:
        temperatures = torch.ones(len(scores), dtype=torch.float64)
    return EarlyExit(
        points=_exit_curve(scores, labels, temperatures, thresholds),
        top1_by_step=tuple((100 * (best_class(scores) == labels).double().mean(1)).tolist()),
        temperatures=tuple(temperatures.tolist()),
        images=len(labels),
        calibration_images=calibration_images,
    )


def run_early_exit(
    model: SpikingNetwork, x: Tensor, *, threshold: float, temperatures: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Run `model` as it is on one batch and drop each image as soon as its confidence reaches the threshold.

    Later steps are computed for the remaining images only. Results equal those of `_exit_steps` on a pass over all
    steps, apart from rounding and from the spikes that a Poisson encoder draws.

    Args:
        model: any network of the package, in evaluation mode.
        x: images [N, C, H, W] or event frames [N, T, C, H, W].
        threshold: in (0, 1].
        temperatures: one for every step that may be run.

    Returns:
        Scores at the step where each image left, [N, classes], and that step, int64 [N], 1 to T.

    Raises:
        UserError: a threshold out of range, x of the wrong shape, or more steps than the network has norms for.
    """
    check_threshold(threshold)
    heat = torch.tensor(temperatures, dtype=torch.float64, device="cpu")
    steps = torch.full((len(x),), len(heat), dtype=torch.int64, device=x.device)
    found = torch.zeros(len(x), model.config.num_classes, dtype=torch.float32, device=x.device)
    inside = torch.arange(len(x), device=x.device)  # which images are still computed
    state: StreamState | None = None
    for step in range(len(heat)):
        scores, state = model.step(x if x.ndim == 4 else x[:, step], state)
        scores = scores.float()
        stays = _confidence(scores[None], heat[step : step + 1])[0] < threshold
        if step + 1 == len(heat):
            stays = torch.zeros_like(stays)
        found[inside[~stays]], steps[inside[~stays]] = scores[~stays], step + 1
        if not stays.any():
            break
        if not stays.all():
            inside, x = inside[stays], x[stays]
            state = state.of(stays)
    return found, steps


def evaluate_early_exit(
    model: SpikingNetwork,
    batches: Batches,
    *,
    threshold: float,
    temperatures: Sequence[float],
    precision: str = "fp32",
    seed: int = 0,
) -> EarlyExitResult:
    """Classify all images with `run_early_exit`; arguments and errors as there and in `_step_scores`."""
    hits, counts = 0, torch.zeros(len(temperatures), dtype=torch.int64)
    with evaluating(model, seed, precision):
        for x, labels in batches:
            scores, steps = run_early_exit(model, x, threshold=threshold, temperatures=temperatures)
            check_scores(scores, int(counts.sum()))
            hits += int((best_class(scores) == labels).sum())
            counts += torch.bincount(steps.cpu() - 1, minlength=len(counts))
    images = int(counts.sum())
    if not images:
        raise UserError("there are no images to analyse: give at least one batch")
    image_steps = int((counts * torch.arange(1, len(counts) + 1)).sum())
    return EarlyExitResult(
        top1=100 * hits / images, mean_steps=image_steps / images, images=images, left_after=tuple(counts.tolist())
    )
