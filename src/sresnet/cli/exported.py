"""What `info` and `evaluate` do with the files that `export` wrote."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from sresnet.analysis.walk import Batches, batches_of, spread
from sresnet.cli.parse import at_least, parse
from sresnet.cli.runs import RuntimeOptions, accuracy, other_data, part_of, print_split
from sresnet.data import Samples
from sresnet.data.scaling import scaling_from_plain
from sresnet.errors import UserError
from sresnet.export.about import About, encoded
from sresnet.export.target import Runs, Target, about_file, open_file, target_of
from sresnet.models.inference import check_scores
from sresnet.printing import give, say
from sresnet.randomness import seed_of, seeded
from sresnet.report.records import kind_of


def taken_by(about: About, target: Target | None) -> str:
    """What a file takes, with its shape."""
    pixels = "x".join(map(str, (about.in_channels, *about.image_size)))
    if about.takes == "steps" and target == "onnx":
        return f"one time step [N, {pixels}] with potentials, of {about.num_steps}"
    if about.takes == "steps":  # what runs it keeps potentials
        return f"one time step [{pixels}] at a time, of {about.num_steps}"
    return f"images [N, {pixels}]" if about.takes == "images" else f"frames [N, {about.num_steps}x{pixels}]"


def print_exported(source: str) -> None:
    """What a file says of itself: `sresnet info FILE`."""
    about, target = about_file(Path(source)), target_of(Path(source))
    give({"file": source, "target": target, "about": about})
    say(f"{source}: {about.network}, exported by sresnet {about.version}", f"takes {taken_by(about, target)}")
    if about.scale is not None:
        say(f"input: counts of events, times {about.scale:g}; channels: {about.channels}")
    elif about.mean is not None and about.std is not None:
        mean, std = (", ".join(f"{value:.4f}" for value in values) for values in (about.mean, about.std))
        say(f"input: (pixel / 255 - mean) / deviation; mean {mean}; deviation {std}; channels: {about.channels}")
    else:
        say(f"input: pixel / 255; channels: {about.channels}")
    if not about.encodes and about.encoder != "direct":
        say(f"encoder: {about.encoder}, which is not part of the file: it takes what that has made of an image")
    say(f"{len(about.class_names)} classes: {', '.join(about.class_names)}")
    if about.top1_after is not None and about.top1_before is not None:
        say(
            f"{about.part} accuracy on {about.images:,} of {about.data.name}: {about.top1_before:.2f} % before, "
            f"{about.top1_after:.2f} % after export"
        )


@dataclass(frozen=True, kw_only=True)
class _EvaluateFileOptions(RuntimeOptions):
    """Flags of `sresnet evaluate FILE`."""

    part: Literal["test", "validation", "train"] = "test"
    """Images or clips to classify."""
    images: int = 0
    """How many of them, evenly spread; 0: all."""
    batch_size: int = 50
    """Images at a time; affects only memory and speed."""


def evaluate_exported(source: str, words: list[str]) -> int:
    """`sresnet evaluate FILE`: the accuracy of an exported file on its data set."""
    options = parse(_EvaluateFileOptions(), words, f"sresnet evaluate {source}", "Accuracy of an exported network.")
    at_least(1, batch_size=options.batch_size)
    at_least(0, images=options.images)
    about, runs = open_file(Path(source))
    splits = options.open(about.data, about.seed, about.num_steps).matched(list(about.class_names))
    wanted, there = (about.in_channels, *about.image_size), tuple(splits.test.shape[-3:])
    if there != wanted:
        pixels = ("x".join(map(str, each)) for each in (wanted, there))
        raise UserError("{} takes {} pixels, and the data have {}: give such data".format(source, *pixels))
    samples = part_of(splits, options.part)
    samples = samples.subset(spread(len(samples), options.images)) if options.images else samples
    started, hits = time.monotonic(), 0
    for x, labels in _given(about, samples, options.batch_size):
        scores = _scores(source, about, runs, x)[:, -1]
        check_scores(scores)
        hits += int((scores.argmax(1) == labels).sum())
    kind, speed = kind_of(about.data), len(samples) / (time.monotonic() - started)
    about_it = {"file": source, "data": about.data.name, "part": options.part, "images": len(samples)}
    give(about_it | {"num_steps": about.num_steps, "top1": 100 * hits / len(samples)} | other_data(splits))
    say(f"{accuracy(options.part, splits.about)}: {100 * hits / len(samples):.2f} %")
    say(f"{len(samples):,} {kind}, {about.num_steps} time steps, {speed:,.0f} {kind}/s")
    print_split(about.data, splits)
    return 0


def _scores(source: str, about: About, runs: Runs, x: Tensor) -> Tensor:
    """Scores after every step; UserError where the file does not run as it says it does."""
    try:
        scores = runs(x)
        reason = f"its scores are of shape {tuple(scores.shape)}"
    except (UserError, MemoryError):
        raise
    except Exception as error:  # of classes that only each runtime knows
        if "memory" in str(error):
            raise
        reason = " ".join(str(error).split())[:200]
    else:
        if scores.shape == (len(x), about.num_steps, len(about.class_names)):
            return scores
    raise UserError(f"{source} does not do what it says of itself ({reason}): it is damaged, export it again") from None


def _given(about: About, samples: Samples, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches as the file takes them, with their labels."""
    scaling = scaling_from_plain(
        {"scale": about.scale, "shown": about.shown}
        if about.scale is not None
        else {"mean": about.mean, "std": about.std}
    )
    batches: Batches = batches_of(samples, scaling, batch_size=batch_size, device=torch.device("cpu"))
    with seeded(seed_of("evaluate", about.seed), torch.device("cpu")):
        for x, labels in batches:
            yield x if about.takes == "images" else encoded(about, x).transpose(0, 1), labels
