"""Progressive tandem learning (Wu et al. 2021): an ANN's layers become spiking one after the other, and learn on.

A tandem layer has two branches that share its weights. The ANN branch receives the counts of the spikes of the layer
before and gives activations; the spiking branch receives the spikes themselves and gives spikes, whose counts are what
the next layer receives. Forward, the counts are used; backward, the gradient of the activations (`ops.tandem`). So the
weights learn with what really arrives, and no surrogate is needed.
"""

import copy
import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sresnet.config import check_fields, check_types, from_dict
from sresnet.data import DataConfig, Splits
from sresnet.data.augmentation import augmented
from sresnet.data.scaling import Scaling
from sresnet.errors import UserError
from sresnet.files import parse_json, write_whole
from sresnet.models.network import SpikingNetwork
from sresnet.models.saved import load_tensors, tensors_of
from sresnet.models.tensors import read_tensors, tensors_to_bytes
from sresnet.nn.layer import is_picked_first
from sresnet.nn.norm import AffineNorm, affine
from sresnet.nn.wiring import Step, Wiring
from sresnet.ops.lif import lif
from sresnet.ops.neuron import LIFConstants
from sresnet.ops.over_time import over_time
from sresnet.ops.surrogate import Triangle
from sresnet.ops.tandem import tandem
from sresnet.randomness import order, seed_of, seeded
from sresnet.train.checkpoint import restore, tensors_of_run

CHECKPOINT = "tandem.safetensors"
"""In the folder of the training: all that it needs to go on, written after every epoch."""


@dataclass(frozen=True, kw_only=True)
class TandemConfig:
    """The schedule; the defaults are the authors'.

    Raises:
        UserError: a field of the wrong type or out of range.
    """

    num_steps: int = 16
    """Time steps T of the spiking branches."""
    epochs: int = 150
    """At most, over all stages. Layers that are not spiking when they are over become so without further training."""
    patience: int = 6
    """Epochs in a row without a better accuracy on the held-out images after which the next layer becomes spiking."""
    stage_epochs: int = 0
    """At most, before the next layer does; 0: only `patience` decides."""
    batch_size: int = 512
    """Images a step."""
    learning_rate: float = 1e-3
    """Of Adam."""
    last_learning_rate: float = 1e-4
    """The same when all layers are spiking and the readout alone learns."""
    weight_decay: float = 1e-5
    """Of all weights that learn."""
    percentile: float = 99.9
    """A threshold is the activation that so many percent of its layer's do not exceed, divided by T."""
    schedule: Literal["paper", "released-code"] = "paper"
    """paper: a layer learns on as a tandem layer, and is frozen when the next becomes spiking, whose threshold comes
    from its own activations. released-code: from the second on it is frozen at once, and its threshold comes from the
    layer before."""

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("num_steps", "epochs", "patience", "batch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} {getattr(self, name)} is less than 1: the authors use {_AUTHORS[name]}")
        if min(self.stage_epochs, self.learning_rate, self.last_learning_rate, self.weight_decay) < 0:
            raise UserError("stage_epochs, rates and weight_decay are at least 0: leave them out for the authors'")
        if not 0 < self.percentile <= 100:
            raise UserError(f"percentile {self.percentile} is outside (0, 100]: the authors use 99.9")


_AUTHORS = {"num_steps": 16, "epochs": 150, "patience": 6, "batch_size": 512}


@dataclass(kw_only=True)
class _Position:
    """Where the training stands."""

    epoch: int = 0
    """Epochs done, over all stages."""
    stage_epoch: int = 0
    """Of this stage."""
    thresholds: dict[str, float] = field(default_factory=dict)
    """Name of each layer that is spiking -> its threshold, in their order."""
    best: float = -1.0
    """Best accuracy on the held-out images in this stage, percent."""
    since: int = 0
    """Epochs since then."""
    seconds: float = field(default=0.0, compare=False)
    """Spent in these epochs."""
    readout_alone: bool = False
    """All layers are spiking and frozen: the last stage."""
    done: bool = False
    """All stages are over."""


class TandemEpoch(NamedTuple):
    """What an epoch gave."""

    epoch: int
    epochs: int
    """At most."""
    spiking: int
    """Layers that are spiking."""
    layers: int
    loss: float
    validation_top1: float


# The hybrid network


def _check_chain(ann: SpikingNetwork) -> Wiring:
    """The steps of an ANN that can be trained so.

    Raises:
        UserError: it is no network of steps, or one with sums.
    """
    wiring = next(iter(ann.layers.values()))
    if not isinstance(wiring, Wiring) or len(ann.layers) > 1 or ann.config.neuron != "relu":
        raise UserError(
            "tandem learning takes an ANN that is wired of steps, such as wu-vgg11, sengupta-vgg16 or one that "
            "sresnet.convert.traced has read"
        )
    for step in wiring.order:
        if step.kind == "sum" or (step.kind == "neurons" and (step.activation != "relu" or step.limit)):
            raise UserError(f"step {step.name} is a {step.kind} that tandem learning has no form for: use a plain VGG")
    return wiring


def _hybrid(
    ann: SpikingNetwork,
    x: Tensor,
    thresholds: Mapping[str, float],
    num_steps: int,
    fired: list[Tensor] | None = None,
    units: dict[str, Tensor] | None = None,
) -> Tensor:
    """Scores [N, classes] of an ANN whose first layers of units are tandem layers.

        ANN branch       y = max(0, norm(W c + b)),            c: counts of the layer before, the image at the first
        spiking branch   I[t] = W' o[t] + b' / T, reset by subtraction, fires at >= threshold

    In training, norms move their running averages first, and the spiking branch uses these.

    Args:
        ann: see `_check_chain`.
        x: images [N, C, H, W].
        thresholds: name -> threshold, of the layers that are spiking, the first ones.
        num_steps: T.
        fired: a list to which the spikes [T, N, ...] of each spiking layer are appended.
        units: a dictionary to which the activations y [N, ...] of each layer's ANN branch are written.
    """
    wiring = _check_chain(ann)
    values = x[None]
    spikes: Tensor | None = torch.cat([values, values.new_zeros(num_steps - 1, *x.shape)])
    before, weight_step, norm = spikes, None, None
    for step in wiring.order:
        if step.kind == "neurons":
            activations = torch.relu(values)
            if units is not None:
                units[step.name] = activations.detach()[0]
            if step.name in thresholds:
                assert weight_step is not None
                assert before is not None
                with torch.no_grad():
                    spikes = _spikes(wiring, weight_step, norm, before, thresholds[step.name], num_steps)
                values = tandem(activations, spikes.sum(0, keepdim=True))
                if fired is not None:
                    fired.append(spikes)
            else:
                values, spikes = activations, None
            before = spikes
        else:
            values = wiring.run(step, [values], None)
            if step.kind in ("convolution", "linear"):
                weight_step, norm = step, None
            elif step.kind == "norm":
                norm = wiring.steps[step.name]
            elif before is not None and step.kind != "dropout":
                before = wiring.run(step, [before], None)
    return ann.readout(values.flatten(2)[..., None, None])[0]


def _spikes(
    wiring: Wiring, step: Step, norm: nn.Module | None, spikes: Tensor, threshold: float, num_steps: int
) -> Tensor:
    """The spiking branch of a layer: spikes [T, N, ...] of those of the layer before."""
    layer = wiring.steps[step.name]
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    weight, bias = layer.weight, layer.weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias
    if isinstance(norm, AffineNorm):
        (gain,), (shift,) = affine(norm, eps=0.0)
        weight = weight * gain.view(-1, *[1] * (weight.ndim - 1))
        bias = bias * gain + shift
    if isinstance(layer, nn.Conv2d):
        padding, stride = layer.padding, layer.stride
        assert not isinstance(padding, str)
        if is_picked_first(step.in_channels, step.kernel, step.stride, step.padding):
            spikes, stride = spikes[..., :: stride[0], :: stride[1]], (1, 1)
        current = over_time(lambda x: F.conv2d(x, weight, None, stride, padding, layer.dilation, layer.groups), spikes)
    else:
        current = over_time(lambda x: F.linear(x.flatten(1), weight)[..., None, None], spikes)
    current = current + bias.view(-1, 1, 1) / num_steps
    constants = LIFConstants(leak=1.0, surrogate=Triangle(), threshold=threshold, fires_at_threshold=True)
    return lif(current, constants).spikes


# The schedule


class TandemRun:
    """One process's work on such a training: what the schedule changes."""

    def __init__(
        self,
        ann: SpikingNetwork,
        data: DataConfig,
        splits: Splits,
        scaling: Scaling,
        config: TandemConfig,
        folder: Path,
        *,
        seed: int,
        device: torch.device,
    ) -> None:
        """Start, or go on where a checkpoint in `folder` is.

        Raises:
            UserError: an ANN that cannot be trained so, no held-out images, or a damaged checkpoint.
        """
        wiring = _check_chain(ann)
        if splits.validation is None:
            raise UserError(
                "tandem learning decides by held-out images, and the run held none out: train the ANN with "
                "--data.validation 0.1"
            )
        self.ann = copy.deepcopy(ann).to(device)
        self.names = [step.name for step in wiring.order if step.kind == "neurons"]
        self.data, self.splits, self.scaling, self.config = data, splits, scaling, config
        self.folder, self.seed, self.device = folder, seed, device
        self.train_set, self.held_out = splits.train.to(device), splits.validation.to(device)
        self.best = {name: tensor.detach().clone() for name, tensor in tensors_of(self.ann).items()}
        digest = hashlib.sha256()
        for name, tensor in sorted(tensors_of(ann).items()):
            digest.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
        self.made = {"config": asdict(config), "seed": seed, "ann": digest.hexdigest()}
        self.position = _Position()
        self.optimiser = self.new_optimiser()
        self.load()
        if not self.position.thresholds:
            self.add_threshold()
            self.begin_stage()

    def go(
        self, watch: Callable[[TandemEpoch], None] = lambda epoch: None, should_stop: Callable[[], bool] = lambda: False
    ) -> bool:
        """Train to the end, or until `should_stop`, which is asked after every epoch; whether it is at the end."""
        while not self.position.done:
            spiking, started = len(self.position.thresholds), time.monotonic()
            loss = self.train_epoch()
            top1 = self.accuracy()
            self.position.seconds += time.monotonic() - started
            self.after_epoch(top1)
            watch(TandemEpoch(self.position.epoch, self.config.epochs, spiking, len(self.names), loss, top1))
            self.save()
            if should_stop() and not self.position.done:
                return False
        return True

    def train_epoch(self) -> float:
        """One epoch of gradient descent; the mean loss."""
        size = min(self.config.batch_size, len(self.train_set))
        steps = len(self.train_set) // size
        indices = order(len(self.train_set), self.seed, self.position.epoch).to(self.device)
        self.ann.train()
        total = 0.0
        for batch in range(steps):
            chosen, step = indices[batch * size : (batch + 1) * size], self.position.epoch * steps + batch
            x = self.scaling(augmented(self.train_set.batch(chosen), self.data, self.seed, step))
            with seeded(seed_of("step", self.seed, step), self.device):
                scores = _hybrid(self.ann, x, self.position.thresholds, self.config.num_steps)
            loss = F.cross_entropy(scores, self.train_set.labels[chosen])
            if not torch.isfinite(loss):
                raise UserError(f"loss is {loss.item()} in epoch {self.position.epoch + 1}: lower the learning rate")
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            total += loss.item()
        return total / max(1, steps)

    @torch.no_grad()
    def accuracy(self) -> float:
        """Percent of the held-out images that the hybrid network classifies correctly."""
        self.ann.eval()
        hits = 0
        for some in torch.arange(len(self.held_out), device=self.device).split(self.config.batch_size):
            x = self.scaling(self.held_out.batch(some))
            scores = _hybrid(self.ann, x, self.position.thresholds, self.config.num_steps)
            hits += int((scores.argmax(1) == self.held_out.labels[some]).sum())
        return 100 * hits / len(self.held_out)

    def after_epoch(self, top1: float) -> None:
        """Note an epoch's accuracy, and begin the next stage where it is time."""
        position, config = self.position, self.config
        position.epoch += 1
        position.stage_epoch += 1
        position.since += 1
        if top1 > position.best:
            position.best, position.since = top1, 0
            for name, tensor in tensors_of(self.ann).items():
                self.best[name].copy_(tensor)
        over = position.epoch >= config.epochs
        waited = position.since >= config.patience
        if not (over or waited or 0 < config.stage_epochs <= position.stage_epoch):
            return
        load_tensors(tensors_of(self.ann), self.best, where="best epoch")
        if over or position.readout_alone:
            while len(position.thresholds) < len(self.names):
                self.add_threshold()
            position.done = True
            self.optimiser = self.new_optimiser()  # of the layers that are spiking now, as the checkpoint has it
        elif len(position.thresholds) == len(self.names):
            position.readout_alone = True
            self.begin_stage()
        else:
            self.add_threshold()
            self.begin_stage()

    @torch.no_grad()
    def add_threshold(self) -> None:
        """The next layer becomes spiking, with a threshold from its activations on a training batch.

        Raises:
            UserError: they are all zero.
        """
        known = self.position.thresholds
        name = self.names[len(known)]
        size = min(self.config.batch_size, len(self.train_set))
        x = self.scaling(self.train_set.batch(order(len(self.train_set), self.seed, 0)[:size].to(self.device)))
        self.ann.eval()
        units: dict[str, Tensor] = {}
        _hybrid(self.ann, x, known, self.config.num_steps, units=units)
        stale = self.config.schedule == "released-code" and known
        found = _percentile(units[self.names[len(known) - 1] if stale else name], self.config.percentile)
        if found <= 0:
            raise UserError(f"layer {name} would never fire: its activations are all zero; train another ANN")
        known[name] = found / self.config.num_steps

    def begin_stage(self) -> None:
        """Weights of layers that are done are frozen, counters start again, and so does the optimiser."""
        self.position.stage_epoch, self.position.since, self.position.best = 0, 0, -1.0
        self.optimiser = self.new_optimiser()

    def new_optimiser(self) -> torch.optim.Adam:
        """Adam for the weights that learn in this stage."""
        position, config = self.position, self.config
        spiking = len(position.thresholds)
        early = config.schedule == "released-code" and spiking > 1  # frozen as soon as they are spiking
        frozen = len(self.names) if position.readout_alone else spiking - (not early)
        layer, wiring = 0, _check_chain(self.ann)
        for step in wiring.order:
            wiring.steps[step.name].requires_grad_(layer >= frozen)
            layer += step.kind == "neurons"
        rate = config.last_learning_rate if position.readout_alone else config.learning_rate
        learning = [parameter for parameter in self.ann.parameters() if parameter.requires_grad]
        return torch.optim.Adam(learning, lr=rate, weight_decay=config.weight_decay)

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        tensors = tensors_of_run(self.ann, self.optimiser, self.best)
        text = json.dumps(self.made | {"position": asdict(self.position)})
        write_whole(self.folder / CHECKPOINT, tensors_to_bytes(tensors, {"tandem": text}))

    def load(self) -> None:
        """Take up the checkpoint, where there is one.

        Raises:
            UserError: it is damaged, or of other settings or another ANN.
        """
        path = self.folder / CHECKPOINT
        try:
            tensors, metadata = read_tensors(path, ("tandem",))
            known = {"position": dict[str, Any], "config": dict[str, Any], "seed": int, "ann": str}
            about = check_fields(parse_json(metadata["tandem"], "its position"), "its position", known, {})
            position = from_dict(_Position, about.pop("position"), "position")
        except FileNotFoundError:
            return
        except (ValueError, KeyError) as error:
            raise _damaged(path, error) from None
        if about != self.made:
            raise UserError(f"{path} is of another ANN, schedule or seed: choose another folder, or the same settings")
        spiking, heights = list(position.thresholds), position.thresholds.values()
        counts = (position.epoch, position.stage_epoch, position.since)
        if spiking != self.names[: len(spiking)] or not all(0 < each < math.inf for each in heights) or min(counts) < 0:
            raise _damaged(path, UserError("no training has its position"))
        self.position = position
        self.optimiser = self.new_optimiser()
        try:
            restore(tensors, self.ann, self.optimiser, self.best)
        except (ValueError, KeyError) as error:
            raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> UserError:
    """The error of a checkpoint that cannot be read."""
    return UserError(f"{path} is damaged ({error}): delete it to train from the start")


def _percentile(values: Tensor, percentile: float) -> float:
    """The value that so many percent of all do not exceed, on the line between two as `numpy.percentile` has it."""
    flat = values.flatten()
    rank = (len(flat) - 1) * percentile / 100
    lower = flat.kthvalue(int(rank) + 1).values
    upper = flat.kthvalue(min(int(rank) + 2, len(flat))).values
    return float(lower + (rank % 1) * (upper - lower))
