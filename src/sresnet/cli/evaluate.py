"""`sresnet evaluate`."""

import contextlib
import shlex
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from sresnet.analysis import EarlyExit, batches_of, early_exit, spread
from sresnet.analysis.exits import THRESHOLDS, check_threshold, evaluate_early_exit
from sresnet.cli.exported import evaluate_exported
from sresnet.cli.parse import at_least, name_and_flags, parse
from sresnet.cli.runs import (
    RuntimeOptions,
    accuracy,
    other_data,
    part_of,
    print_split,
    steps_said,
    trained,
)
from sresnet.cli.terminal import print_table
from sresnet.data import Samples, Splits
from sresnet.data.scaling import Scaling
from sresnet.errors import UserError
from sresnet.export.target import target_of
from sresnet.models import SpikingNetwork
from sresnet.models.int8 import to_int8
from sresnet.models.pretrained import is_shipped
from sresnet.ops.dispatch import implementation
from sresnet.ops.memory import keep_freed_memory
from sresnet.printing import give, going_on, say
from sresnet.randomness import seed_of
from sresnet.report.analysis_files import EARLY_EXIT, EARLY_EXIT_KIND, claim, save_early_exit
from sresnet.report.records import kind_of
from sresnet.studies.conversions import check_steps
from sresnet.train import record
from sresnet.train.evaluate import evaluate
from sresnet.train.recipe import Recipe
from sresnet.train.record import recipe_of


@dataclass(frozen=True, kw_only=True)
class _EvaluateOptions(RuntimeOptions):
    """Flags of `sresnet evaluate`."""

    num_steps: int = 0
    """Run only this many time steps, the first of those trained; 0: all. More than these are for conversions to rates,
    and for networks whose norms do not count them."""
    part: str = "test"
    """Part of the data: test, validation or train."""
    batch_size: int = 250
    """Images at a time; affects only memory and speed, and which spikes a Poisson encoder draws."""
    precision: Literal["trained", "fp32", "bf16", "fp16", "int8"] = "trained"
    """trained: that of the training (fp16 on a CPU: fp32), and for a network of the package fp32, in which its card was
    measured; bf16: convolutions in bfloat16; fp16: in float16, on a GPU; int8: their weights in eight bits where the
    input is spikes, else as bf16."""
    exit_confidence: float = 0.0
    """Early exit: an image stops at the first step with this confidence, such as 0.95; other values are shown
    beside it. 0: no image stops before the last step."""
    calibrate: Literal["validation", "train", "none"] = "validation"
    """Images that exit-confidence is calibrated on; train: those the network was trained on, on
    which it is overconfident."""
    out: str = ""
    """Folder for the curve of accuracy over mean time steps, as numbers and as a figure; with exit-confidence."""
    force: bool = False
    """Overwrite what is in the way, even if sresnet did not make it."""


def evaluate_verb(words: list[str]) -> int:
    """`sresnet evaluate RUN`, or `sresnet evaluate FILE` of an exported network."""
    source, rest = name_and_flags(words, "run", "give the folder of a trained run")
    if target_of(Path(source)) is not None:
        return evaluate_exported(source, rest)
    options = parse(_EvaluateOptions(), rest, f"sresnet evaluate {source}", "Accuracy of a trained network.")
    recipe = recipe_of(source, memory_limit=options.memory_limit)
    at_least(0, num_steps=options.num_steps)
    check_steps(Path(source), recipe.model.num_steps, options.num_steps)
    at_least(1, batch_size=options.batch_size)
    device = options.torch_device()
    splits = options.open_again(recipe, source)
    samples = part_of(splits, options.part)
    if device.type == "cpu":
        keep_freed_memory()
    model, scaling, _ = trained(source, device, options.memory_limit, samples)
    model = to_int8(model) if options.precision == "int8" else model
    settings: dict[str, Any] = {
        "precision": _precision(options.precision, recipe, source, device),
        "seed": seed_of("evaluate", recipe.seed),
    }
    if options.exit_confidence:
        with going_on() if options.out else contextlib.nullcontext():
            line = shlex.join(["sresnet", "evaluate", *words])
            return _evaluate_with_exit(options, line, source, recipe, splits, model, scaling, settings)
    if options.out:
        raise UserError("--out is for the curve of --exit-confidence: add that, such as --exit-confidence 0.95")
    started, num_steps = time.monotonic(), options.num_steps or None
    with implementation(options.engine):
        result = evaluate(model, samples, scaling, num_steps=num_steps, batch_size=options.batch_size, **settings)
    kind, speed = kind_of(recipe.data), result.images / (time.monotonic() - started)
    about = {"run": source, "data": recipe.data.name, "part": options.part, "precision": _shown(options, settings)}
    steps = num_steps or recipe.model.num_steps
    give(about | {"num_steps": steps, "images_per_second": speed} | asdict(result) | other_data(splits))
    say(f"{accuracy(options.part, splits.about)}: {result.top1:.2f} %")
    say(
        f"top-5 {result.top5:.2f} %, loss {result.loss:.4f}, {result.images:,} {kind}, "
        f"{steps_said(num_steps, recipe.model.num_steps)}, {speed:,.0f} {kind}/s{_said(options, settings)}"
    )
    print_split(recipe.data, splits)
    return 0


def _precision(asked: str, recipe: Recipe, source: str, device: torch.device) -> str:
    """What activity is stored and convolved in."""
    if asked == "trained":
        plain = is_shipped(source) or (recipe.train.precision == "fp16" and device.type == "cpu")
        return "fp32" if plain else recipe.train.precision
    return "bf16" if asked == "int8" else asked


def _shown(options: _EvaluateOptions, settings: dict[str, Any]) -> str:
    """The precision."""
    return "int8" if options.precision == "int8" else settings["precision"]


def _said(options: _EvaluateOptions, settings: dict[str, Any]) -> str:
    """The precision, where it is another than float32."""
    precision = _shown(options, settings)
    return "" if precision == "fp32" else f", {precision}"


CALIBRATION_IMAGES = 5000
"""Enough for one number per step."""


def _evaluate_with_exit(
    options: _EvaluateOptions,
    line: str,
    source: str,
    recipe: Recipe,
    splits: Splits,
    model: SpikingNetwork,
    scaling: Scaling,
    settings: dict[str, Any],
) -> int:
    """`sresnet evaluate RUN --exit-confidence 0.95`, which is `line`: the curve over confidences, and what this one
    gives in a real run."""
    threshold = check_threshold(options.exit_confidence)
    folder = Path(options.out) if options.out else None
    if folder:
        claim(folder, EARLY_EXIT, EARLY_EXIT_KIND, force=options.force)
    samples, held_out = part_of(splits, options.part), _calibration_of(options, splits)
    some = partial(batches_of, scaling=scaling, batch_size=options.batch_size, device=options.torch_device())
    with implementation(options.engine):
        found = early_exit(
            model,
            some(samples),
            calibration=some(held_out) if held_out is not None else None,
            thresholds=sorted({*THRESHOLDS, threshold}),
            num_steps=options.num_steps or None,
            **settings,
        )
        started = time.monotonic()
        exited = evaluate_early_exit(
            model, some(samples), threshold=threshold, temperatures=found.temperatures, **settings
        )
    kind, speed = kind_of(recipe.data), exited.images / (time.monotonic() - started)
    steps = len(found.top1_by_step)
    left = ", ".join(f"{count:,} after {step}" for step, count in enumerate(exited.left_after, 1))
    say(f"{accuracy(options.part, splits.about)} with exit at confidence {threshold:g}: {exited.top1:.2f} %")
    say(
        f"{exited.mean_steps:.3f} of {steps} time steps on average ({left}), {exited.images:,} {kind}, "
        f"{speed:,.0f} {kind}/s{_said(options, settings)}; all {steps} steps: {found.top1_by_step[-1]:.2f} %"
    )
    _print_calibration(options, found, kind)
    print_split(recipe.data, splits)
    ran = {"threshold": threshold, "images_per_second": speed} | asdict(exited)
    about = {"run": source, "data": recipe.data.name, "part": options.part, "precision": _shown(options, settings)}
    give(about | asdict(found) | {"ran": ran} | other_data(splits))
    rows = [(point.threshold, point.mean_steps, point.top1) for point in found.points]
    print_table("confidence:g | mean steps:.3f | accuracy %:.2f", rows)
    if folder:
        calibrated = options.calibrate if found.calibration_images else "none"
        about = {"run": source, "data": recipe.data.name, "part": options.part, "calibrated_on": calibrated}
        about |= other_data(splits) | record.provenance(line, options.torch_device())
        paths = save_early_exit(found, exited, threshold, folder, about)
        say(f"written to {folder}: {', '.join(path.name for path in paths)}")
        if len(paths) == 1:
            say("note: for the figure, pip install 'sresnet[report]' and run the same command again")
    return 0


def _calibration_of(options: _EvaluateOptions, splits: Splits) -> Samples | None:
    """The images or clips to calibrate confidences on; None where there are none, or none are asked for."""
    if options.calibrate == options.part:
        raise UserError(
            f"--calibrate {options.calibrate} and --part {options.part} are the same images, so the confidences would "
            "look better than they are: choose another part, or --calibrate none"
        )
    if options.calibrate == "none" or getattr(splits, options.calibrate) is None:
        return None
    samples = part_of(splits, options.calibrate)
    return samples.subset(spread(len(samples), CALIBRATION_IMAGES))


def _print_calibration(options: _EvaluateOptions, found: EarlyExit, kind: str) -> None:
    """What the confidences rest on."""
    if not found.calibration_images:
        say("confidence: as the network claims it, not calibrated")
        if options.calibrate == "validation":
            say(
                f"note: this run held no training {kind} out to calibrate on; train with --data.validation 0.1, or use "
                f"--calibrate train, though the network is overconfident on {kind} that it was trained on"
            )
        return
    temperatures = " ".join(f"{temperature:.3g}" for temperature in found.temperatures)
    on = f"{found.calibration_images:,} {options.calibrate} {kind}"
    say(f"confidence: calibrated on {on}, temperature by step {temperatures}")
    if options.calibrate == "train":
        say(f"warning: the network was trained on these {kind} and is overconfident on them")
