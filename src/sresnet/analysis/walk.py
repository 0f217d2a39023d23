"""A trained network, one time step at a time, with what every layer receives and sends."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sresnet.data import Samples
from sresnet.data.scaling import Scaling
from sresnet.errors import UserError
from sresnet.models.inference import check_scores, evaluating
from sresnet.models.network import SpikingNetwork, zero_or_nan
from sresnet.nn.layer import Flatten, GlobalAveragePool, Pool
from sresnet.nn.neuron import Rectifier
from sresnet.nn.readout import Readout
from sresnet.nn.residual import Skip
from sresnet.nn.signal import Signal
from sresnet.nn.state import ForwardState, LayerRecord, Recorder
from sresnet.nn.wiring import INPUT, Window, Wiring

Batches = Iterable[tuple[Tensor, Tensor]]
"""(x, labels): images [N, C, H, W] or event frames [N, T, C, H, W], and int64 [N], on the network's device."""


class Observation(NamedTuple):
    """One time step of one batch; its tensors are valid until the next one is made."""

    step: int
    """Index of the time step, from 0."""
    constant: bool
    """Every step receives the same input (direct encoding of images), so the first layer repeats itself."""
    records: dict[str, LayerRecord]
    """Of every layer of neurons, by its name in `neuron_names`; tensors [N, C, H, W]."""
    received: dict[str, Tensor]
    """Input of every convolution, linear layer and of the readout (before its pool), [N, C, H, W], in spikes, see
    `walk`."""
    skipped: dict[str, Tensor]
    """What every skip adds to spikes or currents, and every sum of a wired network of spikes to currents,
    [N, C, H, W]."""
    scores: Tensor
    """Class scores after this step, [N, classes]: the mean of the readout's input up to here."""
    labels: Tensor
    """int64 [N]."""


READOUT = "readout.linear"
"""Name of the readout among those that receive."""


class StepSums:
    """Sums over batches of a few numbers for each time step."""

    def __init__(self) -> None:
        self.rows: list[Tensor] = []

    def add(self, step: int, *numbers: Tensor) -> None:
        """Add the numbers of one step of one batch."""
        row = torch.stack(numbers)
        if step == len(self.rows):
            self.rows.append(torch.zeros_like(row))
        self.rows[step] = self.rows[step] + row

    def tensor(self) -> Tensor:
        """[steps, numbers], on the CPU."""
        return torch.stack(self.rows).cpu()


class Watcher(Protocol):
    """Counts something in each observation."""

    def add(self, observation: Observation) -> None:
        """Count one step of one batch."""


def walk(
    model: SpikingNetwork, batches: Batches, watchers: Iterable[Watcher], *, num_steps: int | None = None, seed: int = 0
) -> None:
    """Run `model` in evaluation mode, one time step at a time, and show every step to every watcher.

    Memory is that of one time step of one batch, whatever T is: about 20 bytes per neuron and image.

    The averages of a pool are shown as sums (an average of four pixels times four): the factor belongs to the weights
    behind the pool, and what travels is spikes. So is the height of a spike: what few-spikes neurons send is shown as
    how many spikes they are, and sums of spikes of different heights likewise.

    Args:
        num_steps: time steps, the first of the network's; None: all.
        seed: of the Poisson encoders.

    Raises:
        UserError: scores that are not finite, or what `SpikingNetwork.forward` raises about x and num_steps.
    """
    watchers, images = list(watchers), 0
    with evaluating(model, seed), _probe(model) as probed:
        for x, labels in batches:
            check_scores(_walk_batch(model, x, labels, probed, watchers, num_steps), images)
            images += len(x)


def _walk_batch(
    model: SpikingNetwork,
    x: Tensor,
    labels: Tensor,
    probed: "_Probed",
    watchers: Iterable[Watcher],
    num_steps: int | None,
) -> Tensor:
    """The steps of one batch; returns the readout's potential after them, [N, classes]."""
    neurons = dict(model.named_neurons())
    encoded = model.encode(x, num_steps)
    constant = encoded.shape[0] > 1 and encoded.stride(0) == 0
    state = ForwardState()
    potential = zero_or_nan(x, num_steps).sum((0, 2, 3, 4))[:, None]
    for step in range(encoded.shape[0]):
        recorder = Recorder(neurons.values())
        state = ForwardState(first_step=step, v=state.v, recorder=recorder)
        signal = model.run_layers(encoded[step : step + 1], state)
        potential = model.readout.leak * potential + model.readout(signal.spikes, state)[0]
        for name, layer in model.layers.items():
            if isinstance(layer, Wiring):
                _note_spikes(layer, f"{name}.steps", recorder.records, probed)
        observation = Observation(
            step=step,
            constant=constant,
            records={name: _only_step(recorder.records[neuron]) for name, neuron in neurons.items()},
            received=dict(probed.received),
            skipped=dict(probed.skipped),
            scores=potential / (step + 1),
            labels=labels,
        )
        for watcher in watchers:
            watcher.add(observation)
    return potential


def _only_step(record: LayerRecord) -> LayerRecord:
    """A record of one step without its time axis; where the output is the spikes, both stay one tensor."""
    spikes = record.spikes[0]
    output = spikes if record.output is record.spikes else record.output[0]
    return LayerRecord(spikes, None if record.membrane is None else record.membrane[0], output, record.several)


class _Probed(NamedTuple):
    """What the hooks of `_probe` saw in the latest step."""

    received: dict[str, Tensor]
    skipped: dict[str, Tensor]


@contextmanager
def _probe(model: SpikingNetwork) -> Iterator[_Probed]:
    """Inside, note what convolutions and readout receive and what skips add, in the order they run."""
    probed = _Probed({}, {})
    windows: dict[str, Tensor] = {}  # of each pool, and behind it: pixels in each window of its average
    names = {module: name.removeprefix("layers.") for name, module in model.named_modules()}
    topology = model.topology

    def note_conv(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        source = topology.source(names[module])
        is_pooled = source.kind in ("pool", "flatten") and source.module in windows
        probed.received[names[module]] = inputs[0] * windows[source.module] if is_pooled else inputs[0]

    def note_pool(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        windows[names[module]] = _pixels_per_window(module, inputs[0][0][0])

    def note_flatten(module: nn.Module, inputs: tuple[Signal, ...], output: Signal) -> None:
        source = topology.source(names[module])
        if source.kind == "pool":
            windows[names[module]] = windows[source.module].expand(inputs[0].spikes.shape[2:]).reshape(-1, 1, 1)

    def note_readout(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        probed.received[READOUT] = inputs[0][0]

    def note_linear(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        probed.received[names[module]] = inputs[0].flatten(1)[..., None, None]

    def note_skip(module: nn.Module, inputs: tuple[Signal, ...], output: Signal) -> None:
        probed.skipped[names[module]] = output.spikes[0]

    handles = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            handles.append(module.register_forward_pre_hook(note_conv))
        elif isinstance(module, nn.Linear) and module is not model.readout.linear:
            handles.append(module.register_forward_pre_hook(note_linear))
        elif isinstance(module, Readout):
            handles.append(module.register_forward_pre_hook(note_readout))
        elif isinstance(module, Skip):
            handles.append(module.register_forward_hook(note_skip))
        elif isinstance(module, Pool | GlobalAveragePool):
            handles.append(module.register_forward_hook(note_pool))
        elif isinstance(module, Flatten):
            handles.append(module.register_forward_hook(note_flatten))
    try:
        yield probed
    finally:
        for handle in handles:
            handle.remove()


def _note_spikes(wiring: Wiring, where: str, records: Mapping[nn.Module, LayerRecord], probed: _Probed) -> None:
    """In a wired network, show what arrives as numbers of spikes, wherever all that arrives are spikes.

    Currents that a sum adds meet in the membrane that they drive: the sum of them costs nothing. Spikes that skip a
    layer are added to it one by one. Where a sum of spikes goes to a layer of synapses, they are counted there.

    Args:
        wiring: that ran.
        where: its name in the network, before those of its steps.
        records: of its neurons.
        probed: is changed.
    """
    spikes: dict[str, Tensor | None] = {INPUT: None}
    drive = {name for step in wiring.order if step.kind == "neurons" for name in step.inputs}
    for step in wiring.order:
        module, given = wiring.steps[step.name], [spikes[name] for name in step.inputs]
        arrived = [each for each in given if each is not None]
        found = None
        if step.kind == "neurons":
            found = None if isinstance(module, Rectifier) else records[module].spikes[0]
        elif arrived and step.kind == "sum":
            total = torch.stack(arrived).sum(0)
            found = total if len(arrived) == len(given) else None
            if found is None or step.name in drive:
                probed.skipped[f"{where}.{step.name}"] = total
        elif step.kind == "dropout":
            found = given[0]
        elif arrived and step.kind in ("pool", "global pool"):
            found = module(arrived[0]) * _pixels_per_window(module, arrived[0])
        elif arrived and step.kind in ("convolution", "linear"):
            shape = probed.received[f"{where}.{step.name}"].shape
            probed.received[f"{where}.{step.name}"] = arrived[0].reshape(shape)
        spikes[step.name] = found
    last = spikes[wiring.order[-1].name]
    if last is not None:
        probed.received[READOUT] = last.flatten(1)[..., None, None]


def _pixels_per_window(pool: nn.Module, x: Tensor) -> Tensor:
    """The factor that turns a pool's averages into sums, [h, w] or a scalar; 1 for a maximum.

    Windows that reach over an odd edge average fewer pixels.
    """
    if isinstance(pool, Window) and not pool.whole:
        ones = torch.ones(1, 1, *x.shape[-2:], dtype=x.dtype, device=x.device)
        return F.avg_pool2d(ones, pool.kernel, pool.stride, ceil_mode=pool.ceil, divisor_override=1)[0, 0]
    if isinstance(pool, GlobalAveragePool | Window):
        return torch.tensor(float(x.shape[-2] * x.shape[-1]), device=x.device)
    assert isinstance(pool, Pool)
    if pool.kind == "max":
        return torch.ones((), device=x.device)
    if pool.kernel_size == 3:  # zeros around the image are averaged too
        return torch.full((), 9.0, device=x.device)
    ones = torch.ones(1, 1, *x.shape[-2:], device=x.device)
    return F.avg_pool2d(ones, 2, ceil_mode=True, divisor_override=1)[0, 0]


def batches_of(
    samples: Samples, scaling: Scaling, *, batch_size: int = 25, device: torch.device | str = "cpu"
) -> Batches:
    """The images or clips of a set in order, scaled as the network wants them, on `device`."""
    for some in torch.arange(len(samples), device="cpu").split(batch_size):
        yield scaling(samples.batch(some).to(device)), samples.labels[some].to(device)


def spread(total: int, count: int) -> Tensor:
    """Indices int64 of `count` of `total` images, evenly spread (over classes in order); UserError for none."""
    if count < 1:
        raise UserError(f"images {count} is less than 1: analyse at least one")
    return torch.linspace(0, total - 1, min(count, total), dtype=torch.float64).round().long()
