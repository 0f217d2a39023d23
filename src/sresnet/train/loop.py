"""The training loop."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sresnet.data import Splits
from sresnet.data.ahead import ReadAhead
from sresnet.data.augmentation import changed, numbers_of, training_batch
from sresnet.data.config import CLASSES, DataConfig
from sresnet.data.fingerprint import Fingerprint, fingerprint
from sresnet.data.sampling import balanced_weights, indices_of_epoch
from sresnet.data.scaling import Scaling, make_scaling
from sresnet.data.transforms import shrunk
from sresnet.errors import UserError
from sresnet.files import InUseError, make_folder, only_writer, write_json
from sresnet.limits import MEMORY_LIMIT
from sresnet.models import blank, build
from sresnet.models.inference import check_precision, precision_context
from sresnet.models.network import SpikingNetwork
from sresnet.models.saved import BEST_WEIGHTS, WEIGHTS, load_tensors, save_model, tensors_of
from sresnet.models.segments import segments_within
from sresnet.models.summary import summarise
from sresnet.models.tensors import finite_sums, not_finite
from sresnet.nn import BNTT, Neuron
from sresnet.nn.norm import OWN_NORMS
from sresnet.nn.state import ForwardState
from sresnet.ops.memory import keep_freed_memory
from sresnet.processes import ALONE, Part, Processes
from sresnet.randomness import order, seed_of, seeded
from sresnet.train import record
from sresnet.train.checkpoint import Position, load_checkpoint, save_checkpoint, tensors_of_run
from sresnet.train.evaluate import Evaluation, evaluate, spike_rates
from sresnet.train.finetune import frozen_parameters, load_pretrained, match_currents, pretrained_network
from sresnet.train.loss_scale import LossScale
from sresnet.train.optimiser import average_weight, learning_rate, make_optimiser, update_average
from sresnet.train.passes import Done, Graphs, Record, cuda_graph
from sresnet.train.recipe import Recipe, TrainConfig
from sresnet.train.sharpening import mean_sharpness, sharpen

_CALIBRATION_IMAGES = 1000
"""That norms are set from, see `Run.calibrate`."""

_STEPS_UNREAD = 50
"""Training steps whose numbers stay on an accelerator: to read one there is to wait for all that it has to do."""


_NO_SCALE = "gradients overflow float16 whatever the loss scale is"


class DivergedError(UserError):
    """A training whose numbers have left those of float32."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run stands, after a step or at the end of an epoch."""

    epoch: int
    """Epochs started."""
    epochs: int
    step: int
    """Steps done, over all epochs."""
    steps: int
    loss: float
    """Mean over this epoch so far."""
    accuracy: float
    """Percent, on the augmented training images of this epoch so far."""
    images_per_second: float
    """Of this process, including evaluation and saving."""
    seconds_left: float
    metrics: dict[str, Any] | None = None
    """The line of metrics.jsonl, at the end of an epoch."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How `train` ended."""

    state: Literal["finished", "stopped"]
    """finished: the test images were read after the last epoch. stopped: the same call resumes."""
    folder: Path
    step: int
    result: dict[str, Any]
    """What result.json holds; empty where the run was stopped."""


def train(
    recipe: Recipe,
    splits: Splits,
    folder: Path,
    *,
    device: torch.device,
    watch: Callable[[Progress], None] = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
    checkpoint_seconds: float = 60.0,
    data_dir: str = "",
    cache_dir: str = "",
    note: Callable[[str], None] = lambda line: None,
    memory_limit: float = MEMORY_LIMIT,
    processes: Processes = ALONE,
) -> Outcome:
    """Run `recipe` in `folder`, from its checkpoint if there is one, to the end or until `should_stop`.

    However often it is stopped or killed, weights and metrics (except times) end bit-identical on the same machine.

    Several processes call it alike, each with a part of every batch. Statistics of norms are of the whole batch, and
    random numbers are drawn for all of it, so that losses and weights are those of one process but for rounding. The
    first process alone writes.

    Args:
        folder: run folder, created if missing; see docs/architecture.md.
        watch: called after every step and epoch.
        should_stop: asked after every step.
        checkpoint_seconds: time between checkpoints; the end of an epoch always has one.
        data_dir: where the images came from, noted for `sresnet evaluate`.
        cache_dir: where frames or decoded pictures are kept, noted likewise.
        note: called with a line where the run resumes with other versions, threads, engine, processor or number of
            processes.
        processes: those that train together, see `processes.joined`.

    Raises:
        UserError: the folder holds another run or one on other data, or is in use; network and images do not fit; the
            disk is full; the device has no such precision; torch's default dtype or device is not float32 or the CPU;
            or a batch or norm cannot be shared by so many processes.
        DivergedError: a loss, score, potential, weight, norm statistic, momentum or average is NaN or infinite (the
            last checkpoint is kept).
    """
    check_settings()
    check_precision(recipe.train.precision, device)
    check_fit(recipe, splits, processes)
    with contextlib.ExitStack() as lock:

        def opened() -> dict[str, Any] | None:
            """The result of a run that is finished; the folder is this run's from here."""
            make_folder(folder)
            lock.enter_context(_writer(folder))
            record.claim(folder, recipe)
            record.check_data(folder, data)
            if not (folder / record.RESULT).exists():
                return None
            released = recipe.train.protocol == "released-code"
            scaling = make_scaling(recipe.data, splits.train, released_code=released)
            record.check_statistics(folder, scaling.plain())  # nor is the result of a run that of other data
            return record.read_result(folder)

        data = fingerprint(splits)
        _check_alike(recipe, data, processes)
        result = processes.from_first(opened)
        if result is not None:
            return Outcome(state="finished", folder=folder, step=result.get("steps", 0), result=result)
        if device.type == "cpu":
            keep_freed_memory()
        run = Run(recipe, splits, folder, device, memory_limit, processes)
        if len(set(processes.gathered(run.position.step))) > 1:
            raise UserError(
                f"the processes find different checkpoints in {folder}: choose an --out on a disk that all machines "
                "share"
            )

        def entered() -> None:
            """Note conditions and data in the folder."""
            places = {"data_dir": data_dir, "cache_dir": cache_dir}
            here = record.environment(device, processes.count) | places
            if differing := record.enter_session(folder, here, run.position.step):
                note(
                    f"note: this run resumes under other conditions ({differing}): rounding may differ, so it may not "
                    "end as it would under either alone; environment.json keeps both"
                )
            record.check_statistics(folder, run.scaling.plain())
            about: dict[str, Any] = {"class_names": splits.train.class_names, "image_size": splits.train.shape[-2:]}
            if "parts" in splits.about:
                about |= {"parts": splits.about["parts"], "bits": splits.about.get("bits", 0)}
            elif "counts" in splits.about:
                about |= {"counts": splits.about["counts"]}
            elif isinstance(recipe.data, DataConfig) and recipe.data.name in CLASSES:
                about |= {"bits": 0}  # no picture of these sets has more than 8 bits
            about |= {name: splits.about[name] for name in ("sensor", "clip_seconds") if name in splits.about}
            write_json(folder / record.DATA, about | run.scaling.plain() | {"fingerprint": data})

        processes.from_first(entered)
        return run.go(watch, should_stop, checkpoint_seconds)


def _check_alike(recipe: Recipe, data: Fingerprint, processes: Processes) -> None:
    """Raise UserError where processes were given different recipes or data: they would wait for each other for ever."""
    recipes, sets = zip(*processes.gathered((recipe.fingerprint(), data)), strict=True)
    if len(set(recipes)) > 1:
        raise UserError("the processes were given different recipes: start the same command and version everywhere")
    if any(each != sets[0] for each in sets):
        raise UserError(
            f"the processes have different data: see that {recipe.data.name} in --data-dir is the same on all machines"
        )


@contextlib.contextmanager
def _writer(folder: Path) -> Iterator[None]:
    """`only_writer`, which tells who started processes of one training one by one how they start together."""
    with contextlib.ExitStack() as lock:
        try:
            lock.enter_context(only_writer(folder))
        except InUseError:
            raise InUseError(
                f"{folder} is in use by another process: wait for it, or choose another --out; processes of one "
                "training are started together, by torchrun --nproc-per-node K -m sresnet train ..."
            ) from None
        yield


def check_settings() -> None:
    """Raise UserError where torch's default dtype is not float32 or its default device is not the CPU."""
    if (dtype := torch.get_default_dtype()) != torch.float32:
        raise UserError(
            f"torch's default dtype is {dtype}, and sresnet trains and analyses networks in float32: call "
            "torch.set_default_dtype(torch.float32); --train.precision bf16 stores activity in bfloat16"
        )
    if (device := torch.get_default_device()).type != "cpu":
        raise UserError(
            f"torch's default device is {device}, and sresnet reads data on the CPU: call "
            "torch.set_default_device(None); --device, or device in Python, says where it computes"
        )


def check_fit(recipe: Recipe, splits: Splits, processes: Processes = ALONE) -> None:
    """Raise UserError where the network does not fit the images, or a step of it the memory or the processes."""
    classes, channels = len(splits.train.class_names), splits.train.shape[-3]
    model, name = recipe.model, recipe.data.name
    if model.num_classes != classes:
        raise UserError(
            f"num_classes {model.num_classes}: {name} has {classes} classes: give --model.num-classes {classes}"
        )
    if model.in_channels != channels:
        raise UserError(
            f"in_channels {model.in_channels}: {name} images have {channels}: give --model.in-channels {channels}"
        )
    if not len(splits.train) or not len(splits.test):
        raise UserError(f"{recipe.data.name} leaves no images to train or to test on: choose a smaller validation part")
    if splits.validation is not None and not len(splits.validation):
        raise UserError(f"the validation part of {recipe.data.name} has no images: give some, or none at all")
    if hasattr(recipe.model, "image_size"):  # its fully connected layer may be of images of another size
        whole = torch.zeros(1, 1, *splits.train.shape[-2:])
        for sample in (whole, shrunk(whole)) if recipe.train.low_res_epochs else (whole,):
            height, width = sample.shape[-2:]
            summarise(recipe.model, image_size=(height, width))
    if recipe.freeze:
        frozen_parameters(recipe)
    frames = splits.train.shape[0]
    if len(splits.train.shape) == 4 and frames != recipe.model.num_steps:
        raise UserError(f"num_steps {recipe.model.num_steps}: the clips have {frames} frames, prepare others")
    images, parts = min(recipe.train.batch_size, len(splits.train)), recipe.train.accumulate
    if images % parts:
        raise UserError(
            f"accumulate {parts} does not divide a batch of {images} images into equal parts: choose one that does"
        )
    if images // parts < processes.count:
        raise UserError(
            f"{processes.count} processes cannot share {images // parts} images, the batch"
            f"{f' in {parts} parts' if parts > 1 else ''}: start fewer, or use a larger --train.batch-size"
        )
    if processes.several and recipe.model.norm in OWN_NORMS and recipe.train.statistics == "synchronised":
        raise UserError(
            f"norm {recipe.model.norm!r} is of your own, and sees the images of one process alone: train in one "
            "process, or use --train.statistics local, with which numbers depend on the processes"
        )
    largest = processes.largest_part(images // parts)
    _time_segments(recipe, _neurons(recipe, splits), recipe.model.num_steps, largest)


def _neurons(recipe: Recipe, splits: Splits) -> int:
    """Neurons of the network on these images; 0 where nobody asks."""
    height, width = splits.train.shape[-2:]
    auto = recipe.train.time_segments == "auto"
    return summarise(recipe.model, image_size=(height, width)).neurons if auto else 0


def _time_segments(recipe: Recipe, neurons: int, num_steps: int, images: int) -> tuple[int, ...]:
    """In how many parts so many time steps of a batch go through the network; errors as `segments_within`."""
    config = recipe.train
    if config.time_segments != "auto":
        return config.time_segments
    return segments_within(1e9 * config.step_memory, images * neurons, num_steps, config.precision)


@dataclass(frozen=True, kw_only=True)
class _Unread:
    """Numbers of a training step, on the network's device, that nobody has read."""

    step: int
    """Counted from 0."""
    images: int
    of: Literal["forward", "update"]
    value: Tensor
    """Loss of the forward pass, or hits, which count once the update is there: []."""
    names: tuple[str, ...]
    """Layers of neurons, or tensors that training resumes with."""
    finite: Tensor
    """Whether the sum of each is finite, bool [names]."""


class Run:
    """One process's work on a run: the state that the loop changes."""

    def __init__(
        self,
        recipe: Recipe,
        splits: Splits,
        folder: Path,
        device: torch.device,
        memory_limit: float = MEMORY_LIMIT,
        processes: Processes = ALONE,
    ) -> None:
        self.recipe = recipe
        self.processes = processes
        self.config: TrainConfig = recipe.train
        self.folder = folder
        self.device = device
        released = self.config.protocol == "released-code"
        self.scaling: Scaling = make_scaling(recipe.data, splits.train, released_code=released).to(device)
        self.splits = splits
        self.train_set = splits.train.to(device)
        self.ahead = ReadAhead(self.train_set)
        self.class_weights: Tensor | None = None
        if self.config.class_weights == "balanced":
            weights = balanced_weights(splits.train.labels, len(splits.train.class_names))
            self.class_weights = weights.to(device)
        # As in the released code, the last images of an epoch are left out if they do not fill a batch.
        self.batch_size = min(self.config.batch_size, len(splits.train))
        self.steps_per_epoch = len(splits.train) // self.batch_size
        self.steps = 0 if recipe.calibrate else self.config.epochs * self.steps_per_epoch

        with seeded(recipe.seed, device):
            self.model = build(recipe.model)
            if recipe.pretrained and not (folder / record.CHECKPOINT).exists():
                given: dict[str, Any] = {"layers": recipe.pretrained_layers, "memory_limit": memory_limit}
                load_pretrained(self.model, recipe.pretrained, keep_stem=recipe.keep_stem, **given)
        self.model.freeze(recipe.freeze)
        self.model.to(device)
        if recipe.calibrate:
            self.calibrate(pretrained_network(recipe.pretrained, memory_limit=memory_limit))
        self.neurons = _neurons(recipe, splits)
        self.unread: list[_Unread] = []
        self.steps_unread = 1 if device.type == "cpu" else _STEPS_UNREAD
        alone = not processes.several and self.config.accumulate == 1
        record_step = self.recorder() if alone else None
        self.graphs = None if record_step is None else Graphs(self.state, device, record_step)
        self.scale = LossScale(device) if self.config.precision == "fp16" else None
        fused = self.graphs is not None or self.scale is not None  # these alone can leave out a step
        self.optimiser = make_optimiser(self.model, self.config, fused=fused)
        self.average: dict[str, Tensor] = {}
        if self.config.ema:
            self.average = {name: tensor.detach().clone() for name, tensor in tensors_of(self.model).items()}
        found = load_checkpoint(folder, self.model, self.optimiser, self.average, self.scaled_by())
        self.position = found or Position()
        written = self.position.metrics_bytes, self.position.metrics_checksum
        processes.from_first(lambda: record.cut_metrics(folder, *written))

    def indices(self, epoch: int) -> Tensor:
        """Of the training images in the order of an epoch."""
        return indices_of_epoch(self.splits.train.labels, self.recipe.data.sampling, self.recipe.seed, epoch)

    def recorder(self) -> Record | None:
        """What makes a graph of a training step; None: nothing does, where no launches have to be saved."""
        return cuda_graph if self.device.type == "cuda" else None

    def state(self) -> dict[str, Tensor]:
        """All tensors that a training step changes, by name."""
        buffers = {f"buffer {name}": buffer for name, buffer in self.model.named_buffers()}
        return self.tensors() | buffers

    def tensors(self) -> dict[str, Tensor]:
        """All tensors that training resumes with."""
        return tensors_of_run(self.model, self.optimiser, self.average, self.scaled_by())

    def scaled_by(self) -> dict[str, Tensor]:
        """The tensors of the loss scale, where there is one."""
        return {} if self.scale is None else self.scale.tensors()

    def calibrate(self, source: SpikingNetwork) -> None:
        """Set the norms of the network by what `source` makes of held-out images, or of training images."""
        held_out = self.splits.validation or self.splits.train
        chosen = order(len(held_out), self.recipe.seed, 0)[:_CALIBRATION_IMAGES]

        def batches() -> Iterator[Tensor]:
            for some in chosen.split(2 * self.batch_size):
                yield self.scaling(held_out.batch(some).to(self.device))

        seed = seed_of("calibrate", self.recipe.seed)
        try:
            match_currents(self.model, source.to(self.device), batches, seed=seed, precision=self.config.precision)
        except UserError as error:
            raise UserError(f"{self.recipe.pretrained}: {error}") from None

    def go(
        self, watch: Callable[[Progress], None], should_stop: Callable[[], bool], checkpoint_seconds: float
    ) -> Outcome:
        """Train to the end, or until `should_stop`; see `train`."""
        started = last_saved = epoch_started = time.monotonic()
        first_step = self.position.step
        self.model.train()
        indices, indices_epoch = torch.empty(0), -1
        while self.position.step < self.steps:
            epoch, batch = divmod(self.position.step, self.steps_per_epoch)
            if epoch != indices_epoch:
                indices, indices_epoch = self.indices(epoch).to(self.device), epoch
                epoch_started, epoch_first = time.monotonic(), self.position.step
            batches = indices[: self.steps_per_epoch * self.batch_size].split(self.batch_size)[batch : batch + 3]
            self.ahead.announce(*(part for each in batches for part in self.parts_here(each)))
            self.step(batches[0])

            metrics = None
            if batch + 1 == self.steps_per_epoch:
                self.read()
                metrics = self.end_epoch(epoch, epoch_started, epoch_first)
            now = time.monotonic()
            stopping, due = should_stop(), self.processes.first and now - last_saved >= checkpoint_seconds
            if self.processes.several:
                stopping, due = self.processes.asks(stopping, due)
            saving = metrics or stopping or due
            if saving:
                self.read()
            progress = self.progress(epoch, now - started, first_step, metrics)
            if metrics:
                self.position.loss_sum, self.position.hits, self.position.images = 0.0, 0, 0
            if saving:
                if self.processes.first:
                    scale = self.scaled_by()
                    save_checkpoint(self.folder, self.model, self.optimiser, self.average, self.position, scale)
                last_saved = now
            watch(progress)
            if stopping and self.position.step < self.steps:
                return Outcome(state="stopped", folder=self.folder, step=self.position.step, result={})
        return self.finish()

    def batch(self, indices: Tensor, step: int, part: Part | None = None) -> tuple[Tensor, Tensor]:
        """The network's input for training step `step`, the samples at `indices` or a part of them, augmented, and what
        they are to be taken for."""
        x, target = self.changed_batch(indices, step, part)
        return self.scaled(x, small=step // self.steps_per_epoch < self.config.low_res_epochs), target

    def changed_batch(self, indices: Tensor, step: int, part: Part | None = None) -> tuple[Tensor, Tensor]:
        """As `training_batch`."""
        recipe = self.recipe
        given = self.ahead.batch, self.train_set.labels, indices, recipe.data
        return training_batch(*given, recipe.model.num_classes, recipe.seed, step, part)

    def scaled(self, samples: Tensor, *, small: bool) -> Tensor:
        """The network's input."""
        x = self.scaling(samples)
        return shrunk(x) if small else x

    def step(self, indices: Tensor) -> None:
        """One step of gradient descent on the images at `indices`."""
        step, config = self.position.step, self.config
        epoch, batch = divmod(step, self.steps_per_epoch)
        num_steps = self.recipe.num_steps_in(epoch)
        if epoch and not batch:
            self.start_norms(self.recipe.num_steps_in(epoch - 1), num_steps)
        sharpen(self.model, config, (step + 1) / self.steps_per_epoch)
        parts = config.accumulate
        largest = self.processes.largest_part(len(indices) // parts)
        segments = _time_segments(self.recipe, self.neurons, num_steps, largest)
        peaks = [group["peak"] for group in self.optimiser.param_groups]
        rates = [learning_rate(config, step, self.steps_per_epoch, peak=peak) for peak in peaks]
        weight = average_weight(config.ema, step)
        # Segments look at the generators' states, and sharpness is a number in Python: neither goes into a graph.
        if self.graphs is not None and not segments and not config.sharpen_epochs:
            drawing = partial(seeded, seed_of("step", self.recipe.seed, step), self.device)
            done = self.graphed_step(indices, num_steps, [*rates, weight], drawing)
            self.notice("forward", done.loss, done.names, done.finite, len(indices))
            self.notice("update", done.hits, done.state_names, done.state_finite, len(indices))
        else:
            self.optimiser.zero_grad()
            found = [self.passes(indices, number, num_steps, segments) for number in range(parts)]
            if self.processes.several:
                self.add_up_gradients()
            names, finite = self.update(rates, weight, num_steps)
            self.notice("update", torch.stack(found).sum(), names, finite, len(indices))
        self.position.step += 1

    def passes(self, indices: Tensor, number: int, num_steps: int, segments: tuple[int, ...]) -> Tensor:
        """Add to the gradients those of part `number` of a batch, of its images here; returns their hits, int64 []."""
        step = self.position.step
        part = self.processes.part(len(indices) // self.config.accumulate)
        of_batch = self.part_here(len(indices), number)
        here = of_batch.last - of_batch.first
        x, target = self.batch(indices, step, of_batch if here < len(indices) else None)
        drawn_for = ("step", self.recipe.seed, step, *((number,) if number else ()))
        drawing = partial(seeded, seed_of(*drawn_for), self.device)
        with drawing():
            loss, hits, (names, finite) = self.forward_pass(x, target, num_steps, segments, part)
        if here < len(indices) and self.config.loss != "sse":  # which is a sum over images, and others are a mean
            loss = loss * (here / len(indices))
        self.notice("forward", loss.detach(), names, finite, len(indices))
        # What time segments compute again draws the same spikes and masks again, and no other thread meanwhile.
        with drawing() if segments else contextlib.nullcontext():
            self.scaled_up(loss).backward()
        return hits

    def part_here(self, images: int, number: int) -> Part:
        """Which of a batch's images are of its part `number` and of this process."""
        size = images // self.config.accumulate
        part = self.processes.part(size)
        return Part(number * size + part.first, number * size + part.last, images)

    def parts_here(self, indices: Tensor) -> list[Tensor]:
        """Those of a batch that are taken together, in this process."""
        parts = [self.part_here(len(indices), number) for number in range(self.config.accumulate)]
        return [indices[part.first : part.last] for part in parts]

    @torch.no_grad()
    def add_up_gradients(self) -> None:
        """Make the gradients those of the images of all processes, in one sum, and local running averages their mean.

        All in the order of the parameters, whatever order a backward pass finds them in.
        """
        tensors = [each.grad for each in self.model.parameters() if each.grad is not None]
        if self.config.statistics == "local":
            # Those of frozen layers are no averages, and a third of them added up three times is not them.
            training = (module for module in self.model.modules() if module.training)
            averages = [buffer for module in training for buffer in module.buffers(recurse=False)]
            for average in averages:
                average /= self.processes.count
            tensors += averages
        summed = self.processes.add_up(torch.cat([each.flatten() for each in tensors]))
        for tensor, values in zip(tensors, summed.split([each.numel() for each in tensors]), strict=True):
            tensor.copy_(values.view_as(tensor))

    def graphed_step(
        self,
        indices: Tensor,
        num_steps: int,
        numbers: list[float],
        drawing: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> Done:
        """The same as a CUDA graph, once it is recorded; `numbers` are the rates and the weight in the average."""
        data, seed, step = self.recipe.data, self.recipe.seed, self.position.step
        small = step // self.steps_per_epoch < self.config.low_res_epochs
        drawn = numbers_of((len(indices), *self.train_set.shape), data, seed, step)
        if drawn is None:
            samples, target = self.changed_batch(indices, step)
            drawn = torch.empty(0, device="cpu")
        else:
            samples, target = self.ahead.batch(indices), self.train_set.labels[indices]
        given = samples, target, *(self.pinned(each) for each in (torch.tensor(numbers, device="cpu"), drawn))
        run = partial(self.whole_step, num_steps=num_steps, small=small)
        return self.graphs((num_steps, small), run, given, drawing)  # type: ignore[misc]

    def pinned(self, tensor: Tensor) -> Tensor:
        """In memory that a GPU reads without being waited for."""
        return tensor.pin_memory() if self.device.type == "cuda" else tensor

    def whole_step(self, given: Sequence[Tensor], *, num_steps: int, small: bool) -> Done:
        """A step as a graph has it: samples, their classes, rates and weight in the average, and drawn numbers."""
        samples, target, numbers, drawn = given
        if len(drawn):
            samples = changed(samples, self.recipe.data, iter(drawn))
        loss, hits, (names, finite) = self.forward_pass(self.scaled(samples, small=small), target, num_steps)
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        gradients = torch.autograd.grad(self.scaled_up(loss), parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            # Kernels of optimisers go through memory as it lies.
            apart = gradient is not None and gradient.stride() != parameter.stride()
            parameter.grad = torch.empty_like(parameter).copy_(gradient) if apart else gradient
        *rates, weight = numbers.unbind()
        state_names, state_finite = self.update(rates, weight, num_steps)
        return Done(
            loss=loss.detach(),
            hits=hits,
            names=names,
            finite=finite,
            state_names=state_names,
            state_finite=state_finite,
        )

    def update(
        self, rates: Sequence[float | Tensor], weight: float | Tensor, num_steps: int
    ) -> tuple[tuple[str, ...], Tensor]:
        """Move the weights and their average by the gradients; `finite_sums` of all that training resumes with."""
        for group, rate in zip(self.optimiser.param_groups, rates, strict=True):
            group["lr"] = rate
        overflowed = None
        if self.scale is not None:
            gradients = (parameter.grad for parameter in self.model.parameters())
            overflowed = self.scale.unscale([each for each in gradients if each is not None])
            self.optimiser.found_inf = overflowed  # type: ignore[attr-defined]
        if self.config.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        if self.recipe.pretrained:
            self.hold_norms(num_steps)
        self.optimiser.step()
        if self.average:
            update_average(self.average, self.model, weight)
        # With a NaN weight, neurons fall silent and the loss stays finite.
        names, finite = finite_sums(self.tensors())
        if self.scale is None or overflowed is None:
            return names, finite
        self.scale.follow(overflowed)
        return (*names, _NO_SCALE), torch.cat([finite, (self.scale.factor >= 1)[None]])

    def scaled_up(self, loss: Tensor) -> Tensor:
        """What gradients are taken of."""
        return loss if self.scale is None else loss * self.scale.factor

    def forward_pass(
        self,
        x: Tensor,
        target: Tensor,
        num_steps: int,
        segments: tuple[int, ...] = (),
        part: Part | None = None,
    ) -> tuple[Tensor, Tensor, tuple[tuple[str, ...], Tensor]]:
        """Loss of the images here, hits, and `finite_sums` of the potentials.

        A mixed clip is a hit where the scores are highest for the class of its larger share.
        """
        state = ForwardState(v=None, sums={})
        if self.processes.several:
            state.part = part
            state.processes = self.processes if self.config.statistics == "synchronised" else None
        with precision_context(self.config.precision, self.device):
            outputs = self.model.forward_steps(x, num_steps=num_steps, state=state, time_segments=segments)
            outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
            loss = loss_of(outputs, target, self.config, self.class_weights)
        labels = target.argmax(1) if target.is_floating_point() else target
        hits = (outputs.detach().mean(0).argmax(1) == labels).sum()
        return loss, hits, finite_sums(self.potentials(state))

    def notice(
        self, of: Literal["forward", "update"], value: Tensor, names: tuple[str, ...], finite: Tensor, images: int
    ) -> None:
        """Read numbers of a step: on a CPU at once, elsewhere with those of the steps to come."""
        numbers = _Unread(step=self.position.step, images=images, of=of, value=value, names=names, finite=finite)
        self.unread.append(numbers)
        nothing_to_show = of == "update" and not self.position.images
        at_once = self.steps_unread == 1 and (of == "update" or not self.processes.several)
        if nothing_to_show or at_once or len(self.unread) >= 2 * self.steps_unread:
            self.read()

    def read(self) -> None:
        """Add up the losses and hits that wait on the device; DivergedError where a number is not finite."""
        if not self.unread:
            return
        unread, self.unread = self.unread, []
        numbers = torch.stack([each.value.double() for each in unread])
        are_finite = torch.cat([each.finite.to(self.device) for each in unread])
        if self.processes.several:  # parts of losses and hits, and an overflow anywhere is one of all
            both = self.processes.add_up(torch.cat([numbers, (~are_finite).double()]).cpu())
            numbers, are_finite = both[: len(numbers)], both[len(numbers) :] == 0
        values, finite = numbers.tolist(), iter(are_finite.tolist())
        for each, value in zip(unread, values, strict=True):
            odd = [name for name in each.names if not next(finite)]
            if each.of == "forward":
                if not math.isfinite(value):
                    raise self.diverged(f"loss is {value}", each.step)
                if odd:
                    raise self.diverged(f"potentials of {odd[0]} are not finite", each.step)
                self.position.loss_sum += value * each.images
                continue
            if _NO_SCALE in odd:
                raise self.diverged(_NO_SCALE, each.step)
            if odd and (name := not_finite(self.tensors())):
                raise self.diverged(f"{name} is not finite", each.step)
            self.position.hits += int(value)
            self.position.images += each.images

    @torch.no_grad()
    def start_norms(self, before: int, num_steps: int) -> None:
        """When training goes from `before` time steps to more, the norms of the new ones start as copies of the last.

        Norms of a pretrained network stay as they are (`hold_norms`).
        """
        if num_steps == before or self.recipe.pretrained:
            return
        norms = [name for name, module in self.model.named_modules() if isinstance(module, BNTT)]
        for tensors in (tensors_of(self.model), self.average):
            for name, tensor in tensors.items():
                if name.rpartition(".")[0] in norms:
                    tensor[before:] = tensor[before - 1]

    @torch.no_grad()
    def hold_norms(self, num_steps: int) -> None:
        """Set gradients that cancel weight decay for the norms beyond the first `num_steps` time steps."""
        for module in self.model.modules():
            if isinstance(module, BNTT):
                for parameter in module.parameters():
                    if parameter.grad is not None:
                        parameter.grad[num_steps:] = -self.config.weight_decay * parameter[num_steps:]

    def potentials(self, state: ForwardState) -> dict[str, Tensor]:
        """Layer of neurons -> the sum of its potentials, from the state of a training step."""
        sums = state.sums or {}
        return {name: sums[neurons] for name, neurons in self.model.named_neurons() if neurons in sums}

    def diverged(self, what: str, step: int) -> DivergedError:
        """The error for a number that overflowed in training step `step`, counted from 0, or after it."""
        kept = f"the last checkpoint in {self.folder} is kept"
        if not (self.folder / record.CHECKPOINT).exists():
            kept = f"there was no checkpoint yet in {self.folder}"
        return DivergedError(
            f"{what} at step {step + 1} (epoch {step // self.steps_per_epoch + 1}): try a lower "
            f"--train.learning-rate or --train.clip-norm 1; {kept}"
        )

    def end_epoch(self, epoch: int, epoch_started: float, epoch_first: int) -> dict[str, Any]:
        """Evaluate what the protocol allows, and write the epoch's line of metrics.jsonl."""
        position = self.position
        seconds = time.monotonic() - epoch_started
        metrics: dict[str, Any] = {
            "epoch": epoch + 1,
            "step": position.step,
            "learning_rate": learning_rate(self.config, position.step - 1, self.steps_per_epoch),
            "train_loss": position.loss_sum / position.images,
            "train_top1": 100 * position.hits / position.images,
        }
        model = self.evaluated_model()
        num_steps = self.recipe.num_steps_in(epoch)
        if self.config.progressive_epochs:
            metrics["num_steps"] = num_steps
        if self.config.low_res_epochs:
            metrics["small_images"] = epoch < self.config.low_res_epochs
        if self.splits.validation:
            metrics |= _named("validation", self.evaluate(model, "validation", num_steps))
        if self.config.protocol != "last-epoch":
            test = self.evaluate(model, "test", num_steps)
            shown = test.batch_mean_top1 if self.config.protocol == "released-code" else test.top1
            metrics["test_top1_of_this_epoch"] = shown
            if shown > position.best_test.get("top1", -1.0):
                position.best_test = {"top1": shown, "epoch": epoch + 1}
                if self.processes.first:
                    save_model(model, self.folder / BEST_WEIGHTS)
        # The same images every epoch, without augmentation.
        few = self.scaling(self.train_set.batch(torch.arange(min(64, len(self.train_set)), device=self.device)))
        try:
            rates = spike_rates(model, few, num_steps)
        except UserError as error:
            raise self.diverged(str(error), position.step - 1) from None
        metrics["spikes_per_neuron_and_step"] = round(rates.overall, 5)
        metrics["spike_rate"] = {name: round(rate, 5) for name, rate in rates.spike_rate.items()}
        metrics["sent"] = {name: round(mean, 5) for name, mean in rates.sent.items()}
        leaks = {
            name: round(module.leak_value(), 6)
            for name, module in model.named_neurons()
            if isinstance(module, Neuron) and module.leak_logit is not None
        }
        if leaks:
            metrics["leak"] = leaks
        if self.config.sharpen_epochs:
            metrics["sharpness"] = round(mean_sharpness(model), 4)
        metrics["seconds"] = round(seconds, 2)
        metrics["images_per_second"] = round((position.step - epoch_first) * self.batch_size / seconds, 1)

        def written() -> tuple[int, str]:
            record.append_metrics(self.folder, metrics)
            return record.metrics_so_far(self.folder)

        position.metrics_bytes, position.metrics_checksum = self.processes.from_first(written)
        return metrics

    def finish(self) -> Outcome:
        """Read the test images, save the network, write result.json."""
        model = self.evaluated_model()
        result: dict[str, Any] = {"steps": self.position.step, "epochs": self.position.step // self.steps_per_epoch}
        result |= _named("test", self.evaluate(model, "test", self.recipe.model.num_steps))
        if self.processes.first:
            save_model(model, self.folder / WEIGHTS)
        if lines := self.processes.from_first(
            lambda: record.read_metrics(self.folder)
        ):  # the same network has just been validated
            result |= {name: value for name, value in lines[-1].items() if name.startswith("validation_")}
        elif self.splits.validation:
            result |= _named("validation", self.evaluate(model, "validation", self.recipe.model.num_steps))
        if self.position.best_test:
            result["best_test_epoch_top1"] = self.position.best_test["top1"]
            result["best_test_epoch"] = self.position.best_test["epoch"]
        result["split"] = {
            "train": len(self.splits.train),
            "validation": len(self.splits.validation) if self.splits.validation else 0,
            "test": len(self.splits.test),
            **self.splits.about,
        }
        if self.processes.first:
            write_json(self.folder / record.RESULT, result)
        return Outcome(state="finished", folder=self.folder, step=self.position.step, result=result)

    def evaluated_model(self) -> SpikingNetwork:
        """The network to evaluate: the weight average where there is one."""
        if not self.average:
            return self.model
        model = blank(self.recipe.model).to(self.device)
        load_tensors(tensors_of(model), self.average, where="weight average")
        sharpen(model, self.config, self.position.step / self.steps_per_epoch)  # it is no average
        return model

    def evaluate(self, model: SpikingNetwork, part: Literal["validation", "test"], num_steps: int) -> Evaluation:
        """Accuracy on one part of the data."""
        try:
            return evaluate(
                model,
                getattr(self.splits, part),
                self.scaling,
                num_steps=num_steps,
                batch_size=2 * self.batch_size,
                precision=self.config.precision,
                seed=seed_of("evaluate", self.recipe.seed),
                processes=self.processes,
            )
        except UserError as error:
            raise self.diverged(f"{part} {error}", self.position.step - 1) from None

    def work(self, step: int) -> float:
        """Cost of all batches before training step `step`, in time steps of batches of full size."""
        epoch, batches = divmod(step, self.steps_per_epoch)
        whole = sum(self.recipe.work_in(earlier) for earlier in range(epoch))
        return whole * self.steps_per_epoch + batches * self.recipe.work_in(epoch)

    def progress(self, epoch: int, seconds: float, first_step: int, metrics: dict[str, Any] | None) -> Progress:
        """For `watch`."""
        position = self.position
        done = position.step - first_step
        so_far = self.work(position.step)
        return Progress(
            epoch=epoch + 1,
            epochs=self.config.epochs,
            step=position.step,
            steps=self.steps,
            loss=position.loss_sum / position.images,
            accuracy=100 * position.hits / position.images,
            images_per_second=done * self.batch_size / seconds,
            seconds_left=(self.work(self.steps) - so_far) * seconds / (so_far - self.work(first_step)),
            metrics=metrics,
        )


def loss_of(outputs: Tensor, target: Tensor, config: TrainConfig, weights: Tensor | None = None) -> Tensor:
    """The loss of the readout's input [T, N, classes].

    Cross-entropy of its mean over time, the scores (Eq. 19), or of every step; or the squared distance of the scores to
    0, and 1 for the class: its mean over images and classes, or its sum. Where classes have shares, as in mixed clips,
    cross-entropy is the mean of those with each class, weighted by them, and distances are to the shares.

    Args:
        target: class of each image, int64 [N], or shares of all classes, float [N, classes].
        weights: of classes, float [classes]; the loss of an image is multiplied by that of its class, or by the mean of
            those of its classes by share.
    """
    if weights is not None:
        return _weighted_loss(outputs, target, config, weights)
    shares = target.is_floating_point()
    if config.loss in ("mse", "sse"):
        scores = outputs.mean(0)
        wanted = (target if shares else F.one_hot(target, scores.shape[1])).to(scores.dtype)
        return F.mse_loss(scores, wanted, reduction="mean" if config.loss == "mse" else "sum")
    if config.loss == "mean":
        return F.cross_entropy(outputs.mean(0), target, label_smoothing=config.label_smoothing)
    steps = outputs.shape[0]
    repeated = target.repeat(steps, 1) if shares else target.repeat(steps)
    return F.cross_entropy(outputs.flatten(0, 1), repeated, label_smoothing=config.label_smoothing)


def _weighted_loss(outputs: Tensor, target: Tensor, config: TrainConfig, weights: Tensor) -> Tensor:
    """`loss_of` with each image's part times its weight."""
    shares = target if target.is_floating_point() else F.one_hot(target, outputs.shape[2]).to(outputs.dtype)
    of_image = shares @ weights.to(outputs.dtype)
    if config.loss in ("mse", "sse"):
        squared = of_image[:, None] * (outputs.mean(0) - shares) ** 2
        return squared.mean() if config.loss == "mse" else squared.sum()
    scores = outputs.mean(0)[None] if config.loss == "mean" else outputs
    every = [F.cross_entropy(each, shares, label_smoothing=config.label_smoothing, reduction="none") for each in scores]
    return (of_image * torch.stack(every)).mean()


def _named(part: str, evaluation: Evaluation) -> dict[str, Any]:
    """An evaluation with its part in front of every name."""
    values = dataclasses.asdict(evaluation)
    return {f"{part}_{name}": value for name, value in values.items()}
