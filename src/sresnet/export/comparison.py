"""A network beside what another program makes of its file, on the same images."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sresnet.export.about import About
from sresnet.export.target import ExportConfig, Runs
from sresnet.models.inference import evaluating
from sresnet.models.network import SpikingNetwork
from sresnet.models.program import (
    InternalSteps,
    Program,
    Spiking,
    Stepped,
    Units,
    in_dtype,
    in_few_bits,
    pair,
    program_of,
    run,
)
from sresnet.models.written_out import written_out
from sresnet.ops.few_spikes.reference import few_spikes_steps

NEAR = 2e-5
"""How near to a threshold a potential may come before float32 may decide otherwise whether the neuron spikes; times the
threshold where that is above 1, and the largest of few-spikes neurons."""
TOLERANCE = 1e-4
"""Between scores that are called equal, of those of the largest magnitude in their image, at least 1."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Of all images."""

    images: int
    near: int
    """Images with a potential within `NEAR` of its threshold at some step, computed in float64."""
    near_and_other: int
    """Those of them whose scores the file gives otherwise."""
    wrong: int
    """Others whose scores after some step differ by more than `TOLERANCE`: none, if the file is right."""
    largest: float
    """The largest difference between scores of images that are not near."""
    top1_before: float
    """Accuracy of the network, percent."""
    top1_after: float
    """Of the file."""

    @property
    def apart(self) -> int:
        """Images that are not near."""
        return self.images - self.near

    @property
    def same(self) -> int:
        """Those of them with the same scores."""
        return self.apart - self.wrong

    @property
    def near_and_same(self) -> int:
        """Images that are near, with the same scores."""
        return self.near - self.near_and_other


@dataclass(frozen=True, kw_only=True, eq=False)
class Expected:
    """What a file should give for a batch of images."""

    x: Tensor
    """Images [N, C, H, W] or event frames [N, T, C, H, W]."""
    labels: Tensor
    """Classes [N]."""
    encoded: Tensor
    """What the encoder makes of x, [T, N, C, H, W]."""
    scores: Tensor
    """After every step, in float64, [N, T, classes]."""
    near: Tensor
    """Whether a potential came within `NEAR` of its threshold, [N]."""
    own: Tensor
    """The classes that the network itself gives, [N]."""


def expected(
    model: SpikingNetwork, batches: Iterable[tuple[Tensor, Tensor]], config: ExportConfig, *, seed: int
) -> Iterator[Expected]:
    """What a file should give, batch by batch; files whose weights are of the same bits should give the same.

    Args:
        model: the network, on the CPU.
        batches: (x, labels): images or event frames, and classes.
        config: of the file. Rounded weights are compared with the same ones in float64; a network that is written out
            is compared with the network as it is.
        seed: of encoders that draw.
    """
    program: Program | None = None
    with evaluating(model, seed):
        for x, labels in batches:
            program = program or _program(model, x, config)
            encoded = model.encode(x, config.steps_of(model))
            near = torch.zeros(len(x), dtype=torch.bool)

            def watch(stepped: Stepped, near: Tensor = near, program: Program = program) -> None:
                for distance in _distances(program, stepped):
                    near |= (distance < NEAR).flatten(1).any(1)

            scores = run(program, encoded.double(), watch).transpose(0, 1)
            own = model.readout(model.run_layers(encoded, None).spikes).mean(0).argmax(1)
            yield Expected(x=x, labels=labels, encoded=encoded, scores=scores, near=near, own=own)


def compared(runs: Runs, about: About, batches: Iterable[Expected]) -> Comparison:
    """Run a file on the images of `expected`.

    Spikes are equal where scores after every step are, but for layers that change no score; where a potential comes
    near its threshold, rounding may send a spike a step earlier or later, so such images are counted apart.

    Args:
        runs: the file.
        about: what it says of itself.
        batches: what it should give.
    """
    count = near_count = near_and_other = wrong = before = after = 0
    largest = 0.0
    for each in batches:
        x, near = each.x, each.near
        given = x if about.takes == "images" else each.encoded.transpose(0, 1)
        if about.takes == "steps" and x.ndim == 4 and about.encodes:
            given = x[:, None].expand(-1, about.num_steps, -1, -1, -1)
        found = runs(given).double()
        scale = each.scores.abs().flatten(1).amax(1).clamp(min=1)
        apart = (found - each.scores).abs().flatten(1).amax(1) / scale
        other = ~(apart <= TOLERANCE)  # scores that are not finite too
        count += len(x)
        near_count += int(near.sum())
        near_and_other += int((near & other).sum())
        wrong += int((~near & other).sum())
        largest = max(largest, float(apart[~near].max()) if (~near).any() else 0.0)
        before += int((each.own == each.labels).sum())
        after += int((found[:, -1].argmax(1) == each.labels).sum())
    return Comparison(
        images=count,
        near=near_count,
        near_and_other=near_and_other,
        wrong=wrong,
        largest=largest,
        top1_before=100 * before / count,
        top1_after=100 * after / count,
    )


def _program(model: SpikingNetwork, x: Tensor, config: ExportConfig) -> Program:
    """What a file for inputs like x is to compute, in float64."""
    if config.weight_bits == 32:
        return program_of(model, dtype=torch.float64)
    binary = config.write_out == "binary"
    program = written_out(model, pair(x.shape[-2:])) if binary else program_of(model)
    return in_few_bits(in_dtype(program, torch.float32), config.weight_bits, torch.float64)


def _distances(program: Program, stepped: Stepped) -> Iterator[Tensor]:
    """How far potentials are from each threshold at which something jumps, relative to it where it is above 1."""
    for each in program.operations:
        if isinstance(each, Spiking):
            yield (stepped.u[each.name] - each.threshold).abs() / max(1.0, each.threshold)
        elif isinstance(each, InternalSteps):
            x, largest = stepped.outputs[each.inputs[0]], max(1.0, float(each.thresholds.abs().max()))
            steps = few_spikes_steps(x, each.thresholds, each.resets, each.fires_at_threshold)
            for threshold, (v, _, _) in zip(each.thresholds, steps, strict=True):
                yield (v - threshold).abs() / largest
        elif isinstance(each, Units) and each.activation == "step":
            yield (stepped.outputs[each.inputs[0]] - 0.5).abs()
