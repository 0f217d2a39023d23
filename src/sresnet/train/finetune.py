"""Fine-tuning: start from a network trained elsewhere (Tables 11, 12), or go on with one whose norms are merged."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from sresnet.data import AnyData, DataConfig, EventConfig, usual_data
from sresnet.data.signs import are_signs
from sresnet.errors import UserError
from sresnet.limits import MEMORY_LIMIT
from sresnet.models.inference import evaluating
from sresnet.models.network import SpikingNetwork
from sresnet.models.pretrained import is_shipped, load_shipped
from sresnet.models.saved import load, tensors_of
from sresnet.models.size import sketch
from sresnet.nn import BNTT, PerStepNorm, TimeAveragedNorm
from sresnet.nn.norm import merge_steps, set_affine
from sresnet.train.recipe import Recipe, TrainConfig
from sresnet.train.record import recipe_of

FINETUNE = TrainConfig(
    epochs=20, batch_size=16, learning_rate=0.05, muon_lr=0.005, schedule="cosine", label_smoothing=0.1
)
"""Low rates, and no curriculum: it means the same for any number of epochs."""


def finetuning(
    source: str,
    data: AnyData | None = None,
    *,
    num_classes: int,
    in_channels: int = 3,
    epochs: int = FINETUNE.epochs,
    memory_limit: float = MEMORY_LIMIT,
) -> Recipe:
    """The recipe that fine-tunes a trained network on other data, `FINETUNE` with what belongs to the network.

    Of the recipe that trained it, network, loss and time segments stay. The readout starts anew, and the stem's
    convolution where the number of channels differs. Where some convolution has no norm, filters cannot keep their
    length, and all parameters are trained as they were, at a tenth of the rate.

    Args:
        source: a run folder, or the name of a network that comes with the package.
        data: what to train on; None: pictures in class folders, see `other_data`.
        num_classes, in_channels: of these data.
        epochs: how long.
        memory_limit: gigabytes that a file may claim.

    Raises:
        UserError: no such run, or an impossible recipe.
    """
    theirs = recipe_of(source, memory_limit=memory_limit)
    return finetuning_of(theirs, source, data, num_classes=num_classes, in_channels=in_channels, epochs=epochs)


def finetuning_of(
    theirs: Recipe, source: str, data: AnyData | None, *, num_classes: int, in_channels: int, epochs: int
) -> Recipe:
    """`finetuning` by the recipe that trained `source`, which has been read; UserError for an impossible one."""
    check_tunable(theirs, source)
    fields: dict[str, Any] = {"num_classes": num_classes, "in_channels": in_channels}
    if isinstance(data, EventConfig):
        fields |= {"encoder": "direct"} if theirs.model.encoder != "delta" else {}  # others make spikes of images
    return Recipe(
        model=replace(theirs.model, **fields),
        data=other_data("folder", theirs) if data is None else data,
        train=_training(theirs, epochs),
        seed=theirs.seed,
        pretrained=source,
        keep_stem=in_channels == theirs.model.in_channels,
    )


def check_tunable(theirs: Recipe, source: str) -> None:
    """UserError where `source`, which a recipe describes, was converted from an ANN.

    Its thresholds fit the ANN's weights and its number of time steps: other weights, and accuracy falls to chance.
    """
    if theirs.model.family == "wired":
        raise UserError(
            f"{source} was converted from an ANN, which does not train on: fine-tune the ANN and convert that"
        )


def _training(theirs: Recipe, epochs: int) -> TrainConfig:
    """`FINETUNE` for the network of a recipe."""
    train, model = theirs.train, theirs.model
    kept = ("loss", "time_segments", "step_memory", "statistics")
    fields: dict[str, Any] = {"epochs": epochs} | {name: getattr(train, name) for name in kept}
    if train.loss in ("mse", "sse"):
        fields |= {"label_smoothing": 0.0}
    if model.norm == "none" or not getattr(model, "skip_norm", True):
        fields |= {name: getattr(train, name) for name in ("optimiser", "momentum", "clip_norm")}
        fields |= {"muon_lr": 0.0, "learning_rate": train.learning_rate / 10}
    if model.neuron == "sharpened":
        fields |= {"sharpen_epochs": (epochs / 4, float(epochs))}
    return replace(FINETUNE, **fields)


def other_data(name: str, theirs: Recipe) -> AnyData:
    """Configuration of a data set to fine-tune a network on: usual augmentation, of the kind of pixels that it takes.

    Pictures of a folder are scaled to the size that a network with a fully connected layer was built for, else to that
    of the recipe that trained it. Those of digits and letters are not mirrored, see `data.signs`.

    Args:
        name: of the set.
        theirs: the recipe that trained the network.

    Raises:
        UserError: no such set.
    """
    usual, signs = usual_data(name), are_signs(name)
    if isinstance(usual, EventConfig):
        like = usual_data(name, theirs.data)
        assert isinstance(like, EventConfig)
        if isinstance(theirs.data, EventConfig) and like is not theirs.data:
            shown = theirs.data.frames
            frames = replace(like.frames, representation=shown.representation, surface_ms=shown.surface_ms)
            like = replace(like, frames=frames)
        return replace(like, flip=False) if signs else like
    before = theirs.data if isinstance(theirs.data, DataConfig) else usual
    size = getattr(theirs.model, "image_size", before.image_size)
    side = {"digits": 8, "folder": size}.get(name, 32)
    return replace(usual, pixels=before.pixels, image_size=size, flip=not signs, crop_padding=max(1, side // 8))


def pretrained_network(path: str, *, memory_limit: float = MEMORY_LIMIT) -> SpikingNetwork:
    """The network of a run folder or weights file, or else the one that comes with the package under this name."""
    if is_shipped(path):
        return load_shipped(path)
    return load(path, memory_limit=memory_limit)


def load_pretrained(
    model: SpikingNetwork,
    path: str,
    *,
    layers: Literal["inner", "all"] = "inner",
    keep_stem: bool = False,
    memory_limit: float = MEMORY_LIMIT,
) -> None:
    """Copy a trained network's weights into the fresh `model`.

    As in the released code, all norms and the 1x1 skips are copied, and everything trains on at the same rate. A
    network of fewer time steps takes the norms of the first ones; one whose norms are the same at every step takes
    the average of norms per step (`merge_steps`). With `progressive_epochs`, the norms of time steps that do not run
    yet stay as loaded.

    Args:
        model: what the weights are copied into.
        path: a run folder, a weights file, or else the name of a network that comes with the package.
        layers: inner: all but the stem's convolution and the readout; all: these too.
        keep_stem: the stem's convolution too. Where C channels become D, with w the trained filters,

                w'[o, d] = (w[o, 1] + ... + w[o, C]) / D,

            so that an image whose channels are all alike gives the current that it gave with C such channels.
        memory_limit: gigabytes that a file may claim.

    Raises:
        UserError: nothing to load at `path`, or a network of another shape or with fewer time steps.
    """
    topology, stem = model.topology, _stem_of(model)
    fresh = () if layers == "all" else ("readout.",) if keep_stem else ("readout.", stem)
    norms = tuple(f"layers.{node.module}." for node in topology.of_kind("norm"))
    trained = pretrained_network(path, memory_limit=memory_limit)
    source, merged = tensors_of(trained), tuple(_merged(trained, model))
    with torch.no_grad():
        for name, target in tensors_of(model).items():
            if name.startswith((*merged, *fresh)):
                continue
            if name not in source:
                raise UserError(
                    f"{path} has no {name!r}: fine-tune the same network, with the same norm and connection"
                )
            weights = source[name]
            if name.startswith(norms) and weights.ndim == 2:  # [num_steps, channels]
                weights = weights[: len(target)]
            if keep_stem and name == f"{stem}weight" and weights.shape[1] != target.shape[1]:
                weights = (weights.sum(1, keepdim=True) / target.shape[1]).expand(-1, target.shape[1], -1, -1)
            if weights.shape != target.shape:
                raise UserError(
                    f"{path}: {name} has shape {tuple(source[name].shape)}, this network needs {tuple(target.shape)}: "
                    "give the same depth, filters and at most as many time steps"
                )
            target.copy_(weights)


def _stem_of(model: SpikingNetwork) -> str:
    """What the names of tensors of the first convolution begin with."""
    return f"layers.{model.topology.of_kind('convolution')[0].module}."


def frozen_parameters(recipe: Recipe) -> tuple[int, int]:
    """How many numbers of the network do not train for `freeze`, and how many there are.

    Raises:
        UserError: names of no layer, or of one that starts anew, or nothing is left to train.
    """
    model = sketch(recipe.model)
    model.freeze(recipe.freeze)
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    said = f"freeze {' '.join(recipe.freeze)}"
    if recipe.pretrained_layers == "inner":
        if not recipe.keep_stem and f"{_stem_of(model)}weight" in frozen:
            raise UserError(
                f"{said}: the stem's convolution would start anew and stay untrained: add --keep-stem, or leave it out"
            )
        if any(name.startswith("readout.") for name in frozen):
            raise UserError(f"{said}: the readout starts anew, and would stay untrained: leave it out")
    counts = {name: parameter.numel() for name, parameter in model.named_parameters()}
    if len(frozen) == len(counts):
        raise UserError(f"{said}: nothing is left to train: leave some layer out")
    return sum(counts[name] for name in frozen), sum(counts.values())


def _merged(trained: SpikingNetwork, model: SpikingNetwork) -> Iterator[str]:
    """What the names of tensors begin with of each norm of `model` that now is one for all steps of a BNTT."""
    theirs = dict(trained.named_modules())
    for name, norm in model.named_modules():
        other = theirs.get(name)
        if not isinstance(norm, TimeAveragedNorm | PerStepNorm) or not isinstance(other, BNTT):
            continue
        if other.weight.shape[1:] == norm.weight.shape:
            merge_steps(other, norm, model.config.num_steps)
            yield f"{name}."


def match_currents(
    model: SpikingNetwork,
    source: SpikingNetwork,
    batches: Callable[[], Iterable[Tensor]],
    *,
    seed: int = 0,
    precision: str = "fp32",
) -> None:
    """Set the norms of `model` so that the currents behind them have the means and deviations that `source` has there.

        gain = std(y) / std(x),   shift = mean(y) - gain * mean(x)

    y are the currents behind a norm of `source`; x are those before the same norm of `model`, whose earlier layers are
    set likewise. Means and deviations are those of a channel, over all time steps, images and pixels. No gradient is
    taken, and nothing but norms changes. It is a moment matching as of batch norm's statistics after a merge of
    networks (REPAIR, Jordan et al. 2023).

    Args:
        model: one with a norm for all steps; a gamma below 0 stays below 0.
        source: the same network with norms of its own.
        batches: gives images [N, C, H, W] or event frames [N, T, C, H, W], the same at each call.
        seed: of encoders that draw.
        precision: of both, fp32, bf16 or fp16.

    Raises:
        UserError: other norms, or currents that are not finite.
    """
    ours, theirs = _norms(model), _norms(source)
    if ours.keys() != theirs.keys() or not all(isinstance(norm, TimeAveragedNorm) for norm in ours.values()):
        raise UserError("currents are matched by norms that are one for all time steps: use --model.norm time-averaged")
    settings = model.config.num_steps, seed, precision
    wanted = _moments(source, theirs, batches, *settings, behind=True)
    kept = {name: norm.bias for name, norm in ours.items()}
    with torch.no_grad():
        for name, norm in ours.items():  # in training, currents then have these moments whatever x has
            sign = torch.where(norm.weight < 0, -1.0, 1.0)
            norm.weight.copy_(sign * wanted[name].var.sqrt() / norm.scale)
            norm.bias = nn.Parameter(wanted[name].mean.to(norm.weight.dtype))
    try:
        given = _moments(model, ours, batches, *settings, behind=False)
    finally:
        for name, norm in ours.items():
            norm.bias = kept[name]
    for name, norm in ours.items():
        mean, var = given[name]
        gain = norm.weight * norm.scale / torch.sqrt(var + norm.added)
        set_affine(norm, gain, wanted[name].mean - gain * mean, mean, var)


class _Moments(NamedTuple):
    """Of each channel's current, over all time steps, images and pixels; [C] each."""

    mean: Tensor
    var: Tensor


def _norms(model: SpikingNetwork) -> dict[str, Any]:
    """All norms by their names."""
    names = [node.module for node in model.topology.of_kind("norm")]
    return {name: model.part(name) for name in names}


def _moments(
    model: SpikingNetwork,
    norms: Mapping[str, nn.Module],
    batches: Callable[[], Iterable[Tensor]],
    num_steps: int,
    seed: int,
    precision: str,
    *,
    behind: bool,
) -> dict[str, _Moments]:
    """Of the currents behind norms in evaluation, or before norms that each use the statistics of their batch."""
    sums: dict[str, list[Tensor]] = {}
    values = dict.fromkeys(norms, 0)

    def add(name: str, current: Tensor) -> None:
        wide = current.double()
        parts = [each.sum((0, 1, 3, 4)) for each in (wide, wide.square())]
        sums[name] = [sum_ + part for sum_, part in zip(sums[name], parts, strict=True)] if name in sums else parts
        values[name] += current.numel() // current.shape[2]

    with ExitStack() as stack:
        stack.enter_context(evaluating(model, seed, precision))
        for name, norm in norms.items():
            norm.train(not behind)
            hook = norm.register_forward_hook(lambda _, x, y, name=name: add(name, y if behind else x[0]))
            stack.callback(hook.remove)
        for x in batches():
            model(x, num_steps=num_steps)
    found = {
        name: _Moments(mean / values[name], square / values[name] - (mean / values[name]) ** 2)
        for name, (mean, square) in sums.items()
    }
    if odd := next((name for name, each in found.items() if not (each.mean + each.var).isfinite().all()), None):
        raise UserError(f"currents of {odd} are not finite: the weights are out of range")
    return {name: _Moments(each.mean.clone(), each.var.clamp(min=0)) for name, each in found.items()}
