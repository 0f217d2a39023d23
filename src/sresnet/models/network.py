"""The network: encoder -> layers -> readout, for any list of layers, and the configuration that all networks share."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self, overload

import torch
from torch import Tensor, nn

from sresnet.config import added_later, check_types, closest
from sresnet.errors import UserError
from sresnet.models.freezing import parts_called
from sresnet.models.segments import (
    Again,
    Potentials,
    Steps,
    checked_segments,
    free_segments,
    images_at_once,
    run_segments,
)
from sresnet.models.stream import StreamState, check_state
from sresnet.models.topology import Topology, topology_of
from sresnet.models.trained import Trained, look_at_pixels, predicted, pretrained_cfg
from sresnet.nn.encoder import EncoderKind, delta, encode
from sresnet.nn.initial import InitKind, initialise
from sresnet.nn.layer import SpikingLayer
from sresnet.nn.neuron import WITHOUT_STATE, WITHOUT_TIME, AnyNeuron, Neuron, NeuronConfig, NeuronKind, leak_parameter
from sresnet.nn.norm import BatchNorm, NormConfig, NormKind
from sresnet.nn.readout import Readout
from sresnet.nn.signal import Signal
from sresnet.nn.state import ForwardState, LayerRecord, Recorder
from sresnet.ops.neuron import Gradient, InputScale, Reset, check_constants
from sresnet.ops.surrogate import make_surrogate


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The configuration that all networks share, by default as for the paper's numbers; UserError out of range."""

    family: ClassVar[str] = ""
    """Name of the family in files; each has its own."""

    num_classes: int = 10
    """Number of classes."""
    in_channels: int = 3
    """Channels of an image, or the two polarities of event frames."""
    num_steps: int = 50
    """Time steps T (Section 3.5)."""
    norm: NormKind | str = "bntt"
    """bntt: statistics per time step; per-step: the same, with one gamma and one running average; time-averaged: one
    set; tdbn: scaled to the threshold; none."""
    norm_bias: bool = False
    """Norms learn a shift beta. The paper's parameter counts say no; the released code trains it by accident."""
    norm_eps: float = added_later(1e-4)
    """Added to the variance in norms."""
    norm_momentum: float = added_later(0.1)
    """Weight of a batch in the running averages of norms."""
    neuron: NeuronKind | str = "lif"
    """lif: fixed leak; if: no leak; plif, plif-shared: a learned leak per layer or per network; relu: no spikes;
    few-spikes: a few within one time step, as many as make up the ANN's numbers; sharpened: units of an ANN that become
    steps in training (Whetstone)."""
    leak: float = 0.874
    """Fraction of the potential kept per step, in (0, 1] (Section 3.5); where a learned leak starts."""
    threshold: float = 1.0
    """Firing threshold."""
    surrogate: Literal["triangle", "rectangle", "arctan", "sigmoid", "fast-sigmoid", "gaussian"] | str = "triangle"
    """Surrogate gradient: the shape of the spike's derivative in the backward pass (Eq. 24)."""
    surrogate_height: float = 0.3
    """Height of the surrogate, alpha of Eq. 24."""
    surrogate_width: float = 1.0
    """Width of the surrogate, in units of the threshold."""
    surrogate_center: float = 1.0
    """Where the surrogate peaks, in units of the threshold: 1 (released code), or 0 as Eq. 24 is printed."""
    fires_at_threshold: bool = False
    """u >= threshold fires (Eq. 4) instead of u > threshold (released code)."""
    detach_reset: bool = True
    """No gradient through the reset (released code)."""
    reset: Reset = added_later("subtract")
    """subtract: a spike takes the threshold off the potential (Section 3.1); zero: it sets it to zero."""
    input_scale: InputScale = added_later("one")
    """one: the current as it is; one-minus-leak: times 1 - leak, as in PLIF of Fang et al. 2021."""
    internal_steps: int = added_later(10)
    """few-spikes: how often a neuron may spike, K."""
    encoder: EncoderKind = "direct"
    """direct: the image at every step; poisson: spikes drawn from intensities; poisson-signed: the released code's;
    first-step: the image at the first step alone; latency: a spike a pixel, the earlier the brighter; delta: signed
    spikes where frames change; two-spikes: signs, on for the longer the larger a pixel is."""
    poisson_scale: float = added_later(2.0)
    """poisson-signed sends a spike with probability |x| divided by this."""
    delta_threshold: float = added_later(0.1)
    """delta sends a spike where a pixel changes by this or more from one step to the next."""
    boosting: bool = False
    """Ten readout neurons per class, averaged (Section 3.2.3)."""
    gradient: Gradient = added_later("surrogate")
    """surrogate: of the spike (Eq. 24); spike-based: that of Lee et al. 2020, of neurons that reset to zero."""
    readout: Literal["potential", "leaky", "spikes"] = added_later("potential")
    """potential: neurons that do not leak or spike (Section 3.3); leaky: that leak as all others and do not spike;
    spikes: the firing rate of neurons as all others."""
    readout_bias: bool = added_later(False)
    """The readout's linear layer has a bias."""
    init: InitKind = added_later("xavier")
    """Initial weights: xavier, uniform with gain 2 (released code); torch, that of torch's layers; kaiming, normal by
    the outputs (He et al.); normal, by the inputs (Lee et al.)."""

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("num_classes", "in_channels"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} {getattr(self, name)} is less than 1: a network needs at least one")
        if self.readout == "spikes" and self.neuron in WITHOUT_TIME:
            raise UserError(
                f"readout 'spikes' needs neurons that spike over time, and neuron is {self.neuron!r}: use 'potential'"
            )
        if self.neuron == "sharpened" and self.num_steps != 1:
            raise UserError(f"num_steps {self.num_steps}: neurons of kind 'sharpened' are units of an ANN, so use 1")
        if not self.poisson_scale > 0:
            raise UserError(f"poisson_scale {self.poisson_scale} is not above 0: Kim & Panda use 2, Lee et al. 1")
        if not self.delta_threshold > 0:
            raise UserError(
                f"delta_threshold {self.delta_threshold} is not above 0: pixels that stay would send spikes"
            )
        check_constants(self.leak, self.threshold)
        if self.neuron.startswith("plif"):
            leak_parameter(self.leak)
        if self.neuron == "few-spikes" and (self.num_steps != 1 or self.family != "wired"):
            raise UserError(
                f"neuron 'few-spikes' with num_steps {self.num_steps} in a network of family {self.family!r}: such "
                "neurons come from converting an ANN to one time step; train with neuron 'relu' and convert"
            )
        self.norm_config()
        self.neuron_config()

    def check_steps(self, num_steps: int) -> None:
        """Raise UserError for more time steps on an image than mean anything; any do where a family does not say."""

    @staticmethod
    def members() -> tuple[type["NetworkConfig"], ...]:
        """The configurations of all families."""
        from sresnet.models.registry import FAMILIES  # it builds on what is here

        return tuple(family.config for family in FAMILIES.values())

    def norm_config(self) -> NormConfig:
        """The part that the norms need."""
        return NormConfig(
            kind=self.norm,
            num_steps=self.num_steps,
            bias=self.norm_bias,
            eps=self.norm_eps,
            momentum=self.norm_momentum,
        )

    def neuron_config(self) -> NeuronConfig:
        """The part that the neurons need."""
        return NeuronConfig(
            kind=self.neuron,
            leak=self.leak,
            threshold=self.threshold,
            surrogate=make_surrogate(
                self.surrogate,
                height=self.surrogate_height,
                width=self.surrogate_width,
                center=self.surrogate_center,
            ),
            fires_at_threshold=self.fires_at_threshold,
            detach_reset=self.detach_reset,
            reset=self.reset,
            input_scale=self.input_scale,
            gradient=self.gradient,
            internal_steps=self.internal_steps,
        )


MOST_NUMBERS = 10**9
"""Weights and statistics that a network may have (4 GB): more is likelier a typing error."""


def check_size(config: NetworkConfig, weights: int, *, norms: int, features: int) -> None:
    """Raise UserError for a network of more than `MOST_NUMBERS` numbers, before it is built.

    Args:
        weights: of its convolutions, roughly.
        norms: channels of all its norms, each with four numbers per time step.
        features: inputs of its readout.
    """
    readout = features * config.num_classes * (10 if config.boosting else 1)
    count = weights + 4 * config.num_steps * norms + readout
    if count > MOST_NUMBERS:
        raise UserError(
            f"a network of about {count:,} weights and statistics is too large, {MOST_NUMBERS:,} are the most: use "
            "fewer filters, layers, time steps or classes"
        )


def _not_traced(*_: Any, **__: Any) -> Any:
    """Raise UserError: the network is in the hands of torch.jit or of the ONNX exporter that traces."""
    raise UserError(
        "torch.jit and torch.onnx.export(dynamo=False) cannot write down a network of this package: use "
        "torch.export.export(model, (x,)), torch.onnx.export(model, (x,), dynamo=True) or "
        "sresnet.export.to_onnx(model, x)"
    )


class SpikingNetwork(nn.Module):
    """encoder -> layers -> readout. Calls leave no state behind except batch-norm statistics.

    Args:
        config: its configuration, saved beside its weights.
        layers: name -> layer, each Signal -> Signal, in the order they run.
        readout: spikes of the last layer -> class scores per step.
    """

    def __init__(self, config: NetworkConfig, layers: Mapping[str, nn.Module], readout: Readout) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleDict(dict(layers))
        self.readout = readout
        self.trained: Trained | None = None
        """What it was trained on; None: nothing, or nobody said."""
        initialise(self, config.init)

    _looked = False
    """Whether its inputs need no longer be looked at, see `look_at_pixels`."""
    frozen_parts: tuple[nn.Module, ...] = ()
    """What `freeze` keeps from training; modules of the network."""
    __jit_ignored_attributes__ = property(_not_traced)
    """What torch.jit asks a module for before anything else."""
    _slow_forward = _not_traced
    """What torch calls in place of `forward` where a tracer watches."""

    @overload
    def forward(
        self, x: Tensor, *, num_steps: int | None = None, time_segments: int | Sequence[int] = ()
    ) -> Tensor: ...
    @overload
    def forward(
        self, x: Tensor, *, num_steps: int | None = None, record: Sequence[str]
    ) -> tuple[Tensor, dict[str, LayerRecord]]: ...
    @overload
    def forward(
        self, x: Tensor, *, num_steps: int | None = None, state: StreamState, time_segments: int | Sequence[int] = ()
    ) -> tuple[Tensor, StreamState]: ...
    def forward(
        self,
        x: Tensor,
        *,
        num_steps: int | None = None,
        record: Sequence[str] | None = None,
        state: StreamState | None = None,
        time_segments: int | Sequence[int] = (),
    ) -> Tensor | tuple[Tensor, dict[str, LayerRecord]] | tuple[Tensor, StreamState]:
        """Class scores [N, num_classes]: the readout's potential after T steps, divided by T (Section 3.3).

        Args:
            x: images [N, C, H, W], or event frames [N, T, C, H, W].
            num_steps: time steps to run, the first of the network's (Table 16); None: all.
            record: names of layers of neurons (`neuron_names`) to return spikes and membranes of.
            state: of a stream that x continues, `StreamState()` at its start; the scores are those of all its steps.
            time_segments: K: the time steps go through the network in K parts, and in training all but the last are
                computed again in the backward pass, so that memory does not grow with T; (K, k): each part in k parts
                in turn. See `segments`. Without gradients many steps go in parts by themselves.

        Returns:
            Scores; with `record` also {name: LayerRecord}, with `state` the state after x.

        Raises:
            UserError: x of the wrong shape or of another dtype than the weights (autocast apart), more steps than there
                are norms or frames for, an unknown layer, a state of another batch, or segments of a network whose
                norms need all steps at once.
        """
        if state is not None:
            if record is not None:
                raise UserError("record and state exclude each other: record a stream in one call without a state")
            return self.continue_stream(x, num_steps, state, time_segments)
        if record is None:
            return self.forward_steps(x, num_steps=num_steps, time_segments=time_segments).mean(0)
        if time_segments:
            raise UserError("record keeps all time steps, which time_segments exists to avoid: leave one of them out")
        neurons = dict(self.named_neurons())
        for name in record:
            if name not in neurons:
                raise UserError(f"record names {name!r}, not a layer of neurons: {closest(name, list(neurons))}")
        recorder = Recorder(neurons[name] for name in record)
        scores = self.forward_steps(x, num_steps=num_steps, state=ForwardState(recorder=recorder)).mean(0)
        return scores, {name: recorder.records[neurons[name]] for name in record}

    def predict(self, image: Any, *, top: int = 3) -> list[tuple[str, float]]:
        """The likeliest classes of one picture, each with its probability (softmax of its score), the first the best.

        The picture is scaled until it just covers the size that the network was trained on, the middle is cut out, and
        its pixels are scaled as in training.

        Args:
            image: a path; a PIL image; an array [H, W] or [H, W, C], or a tensor [H, W] or [C, H, W], each uint8, or
                float from 0 to 1.
            top: how many classes.

        Raises:
            UserError: the network is of `create_model` alone, in training mode or of event frames, or the image is none
                of these, does not decode, or has other channels.
        """
        return predicted(self, image, top)

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """The input, classes and names of parts of a trained network under timm's names, for code that reads these:
        input_size, mean, std, num_classes, label_names, first_conv, classifier, ...; empty for a fresh one."""
        return pretrained_cfg(self)

    def forward_steps(
        self,
        x: Tensor,
        *,
        num_steps: int | None = None,
        state: ForwardState | None = None,
        time_segments: int | Sequence[int] = (),
    ) -> Tensor:
        """What the readout receives at every step, [T, N, num_classes]; its running mean gives scores at any time."""
        steps = self.count_steps(x, num_steps)
        asked_for = checked_segments(self.layers, time_segments)
        if state is None and not asked_for and not self.config.encoder.startswith("poisson"):  # drawn for all images
            at_once = images_at_once([*self.layers.modules(), *self.readout.modules()], x, steps)
            if at_once != x.shape[0]:
                return torch.cat([self.forward_steps(some, num_steps=steps) for some in x.split(at_once)], 1)
        recorded = state is not None and state.recorder is not None
        # Of the whole batch: processes that share it go through the same segments, whatever their parts.
        images = x.shape[0] if state is None or state.part is None else state.part.whole
        segments = asked_for or (() if recorded else free_segments(self.layers, images, steps))
        if not segments:
            return self.readout(self.forward_features(x, num_steps=steps, state=state), state)
        run = self.forward_segments
        if torch.compiler.is_compiling():  # the compiler does not know how to compute something again
            run = torch.compiler.disable(run)
        return run(x, steps, state or ForwardState(v=None), segments, computed_again=bool(asked_for))

    def forward_segments(
        self, x: Tensor, num_steps: int, state: ForwardState, segments: tuple[int, ...], *, computed_again: bool
    ) -> Tensor:
        """`forward_steps`, segment by segment, each computed again in a backward pass or not; see `segments`."""
        neurons = list(self.neurons_with_state().values())
        again = Again(self.layers) if computed_again and torch.is_grad_enabled() else None
        convolved = {}
        stem = next(iter(self.layers.values()))
        if x.ndim == 4 and self.config.encoder == "direct" and isinstance(stem, SpikingLayer):
            convolved = stem.convolve_image(x)  # once for all segments

        def run(x: Tensor, steps: Steps, v: Potentials, asked: bool) -> tuple[Tensor, Potentials]:
            again_now = again is not None and again.now
            summed = steps.last == num_steps or self.config.neuron in WITHOUT_TIME
            inner = ForwardState(
                first_step=state.first_step + steps.first,
                last_step=state.first_step + num_steps,
                v=dict(zip(neurons, v, strict=True)),
                sums=state.sums if summed and not again_now else None,
                before=x[:, steps.first - 1] if x.ndim == 5 and steps.first else None,
                convolved=convolved,
                masks=state.masks,
                again=again_now,
                last=not asked,
                part=state.part,
                processes=state.processes,
            )
            part = x if x.ndim == 4 else x[:, steps.first : steps.last]
            features = self.forward_features(part, num_steps=steps.last - steps.first, state=inner)
            return self.readout(features, inner), tuple(inner.starts(each) if asked else None for each in neurons)

        v = tuple(state.starts(each) for each in neurons)
        outputs, v = run_segments(run, x, Steps(0, num_steps), segments, again, state.v is not None, *v)
        if state.v is not None:
            state.v.update(zip(neurons, v, strict=True))
        return outputs

    def forward_features(self, x: Tensor, *, num_steps: int | None = None, state: ForwardState | None = None) -> Tensor:
        """Output of the last layer before pooling, [T, N, C, H, W]; arguments as `forward`.

        An image or frame that is not finite gives NaN: neurons that receive NaN stay silent, which would look like an
        answer.
        """
        features = self.run_layers(self.encode(x, num_steps, state), state).spikes
        return features + zero_or_nan(x, num_steps).to(features.dtype)

    def forward_head(self, features: Tensor) -> Tensor:
        """Class scores [N, num_classes] from what `forward_features` returns."""
        return self.readout(features).mean(0)

    def run_layers(self, x: Tensor, state: ForwardState | None) -> Signal:
        """The layers one after the other on encoded input [T, N, C, H, W]."""
        signal = Signal(x, None)
        for layer in self.layers.values():
            signal = layer(signal, state)
        return signal

    def encode(self, x: Tensor, num_steps: int | None, state: ForwardState | None = None) -> Tensor:
        """Input of the first layer [T, N, C, H, W] from images or event frames; errors as `forward`."""
        num_steps, config = self.count_steps(x, num_steps), self.config
        first, before, part = (state.first_step, state.before, state.part) if state else (0, None, None)
        if self.trained is not None and not (self._looked or self.training or first or torch.compiler.is_compiling()):
            self._looked = look_at_pixels(self.trained, x)
        if x.ndim == 5:
            frames = x.transpose(0, 1)[:num_steps]
            if config.encoder != "delta":
                return frames
            if first and before is None:
                raise UserError(
                    "encoder 'delta' compares each frame with the one before, which a stream does not keep: give all "
                    "frames in one call"
                )
            return delta(frames, config.delta_threshold, before)
        scales: dict[str, Any] = {name: getattr(config, name) for name in ("poisson_scale", "delta_threshold")}
        return encode(config.encoder, x, num_steps, first=first, total=config.num_steps, part=part, **scales)

    def count_steps(self, x: Tensor, num_steps: int | None) -> int:
        """T for images or event frames and what the caller asks for; errors as `forward`."""
        if x.ndim not in (4, 5) or x.shape[-3] != self.config.in_channels:
            raise UserError(
                f"input has shape {tuple(x.shape)}: expected images [N, {self.config.in_channels}, H, W] or event "
                f"frames [N, T, {self.config.in_channels}, H, W]"
            )
        _check_dtype(x, next(self.parameters()).dtype, self.config.encoder)
        if num_steps is not None and num_steps < 1:
            raise UserError(f"num_steps {num_steps} is less than 1: a network runs for at least one time step")
        if x.ndim == 4:
            self.config.check_steps(num_steps or 1)
            return self.config.num_steps if num_steps is None else num_steps
        if self.config.encoder not in ("direct", "delta"):
            raise UserError(
                f"encoder {self.config.encoder!r} encodes images, and x is event frames: use 'direct' or 'delta'"
            )
        if num_steps is not None and num_steps > x.shape[1]:
            raise UserError(f"num_steps {num_steps} is more than the {x.shape[1]} frames given: ask for at most that")
        return x.shape[1] if num_steps is None else num_steps

    def step(self, x: Tensor, state: StreamState | None = None) -> tuple[Tensor, StreamState]:
        """One time step of a live stream; after k calls the scores are those of `forward` with num_steps=k.

        Args:
            x: this step's input [N, C, H, W]: an event frame, or the image again, which the encoder then encodes.
            state: what the previous step returned; None starts a stream.

        Returns:
            Scores so far [N, num_classes], and the state for the next step.

        Raises:
            UserError: x of the wrong shape or dtype, a state of another batch, or more steps than the norms were built
                for.
        """
        if x.ndim != 4:
            raise UserError(f"input has shape {tuple(x.shape)}: expected one time step [N, C, H, W]")
        return self.forward(x, num_steps=1, state=StreamState() if state is None else state)

    def continue_stream(
        self, x: Tensor, num_steps: int | None, state: StreamState, time_segments: int | Sequence[int]
    ) -> tuple[Tensor, StreamState]:
        """`forward` of the next steps of a stream."""
        self.count_steps(x, num_steps)  # x is checked before the state is compared with it
        names = self.neurons_with_state()
        neurons = list(names.values())
        weights = next(self.parameters()).dtype
        learns = torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in self.parameters()))
        dtype = torch.promote_types(weights, torch.float32)
        check_state(state, x, names, dtype, self.config.num_classes, learns=learns)
        inner = ForwardState(first_step=state.steps, v=dict(zip(neurons, state.v, strict=True)) if state.v else {})
        outputs = self.forward_steps(x, num_steps=num_steps, state=inner, time_segments=time_segments)
        potential = outputs.sum(0)
        if state.potential is not None:
            potential = potential + self.readout.leak ** len(outputs) * state.potential
        steps = state.steps + len(outputs)
        return potential / steps, StreamState(steps, tuple(inner.starts(each) for each in neurons), potential)

    def neurons_with_state(self) -> dict[str, AnyNeuron]:
        """Name -> module of all layers of neurons but those that keep nothing from one step to the next, as built."""
        return {name: module for name, module in self.named_neurons() if not isinstance(module, WITHOUT_STATE)}

    def named_neurons(self) -> Iterable[tuple[str, AnyNeuron]]:
        """(name, module) of every layer of neurons in the order they were built."""
        for name, module in self.layers.named_modules():
            if isinstance(module, AnyNeuron):
                yield name, module
        if self.readout.neuron is not None:
            yield "readout.neuron", self.readout.neuron

    def part(self, name: str) -> nn.Module:
        """The module that a node of the topology names."""
        return (self if name.partition(".")[0] == "readout" else self.layers).get_submodule(name)

    @property
    def topology(self) -> Topology:
        """What each layer is and what feeds what."""
        return topology_of(self.layers.items(), self.readout)

    @property
    def neuron_names(self) -> list[str]:
        """Names that `record` takes."""
        return [name for name, _ in self.named_neurons()]

    @property
    def num_features(self) -> int:
        """Inputs of the readout."""
        return self.readout.linear.in_features

    def get_classifier(self) -> nn.Linear:
        """The trainable part of the readout."""
        return self.readout.linear

    def reset_classifier(self, num_classes: int, *, boosting: bool = False) -> None:
        """Replace the readout by a new one, freshly initialised, for `num_classes`; `config` follows."""
        self.config = replace(self.config, num_classes=num_classes, boosting=boosting)
        if self.trained is not None:
            self.trained = replace(self.trained, class_names=())
        weight = self.readout.linear.weight
        shared = {"shared_leak": found} if (found := self.shared_leak()) is not None else {}
        with torch.device("cpu"):  # whatever torch's default device is
            readout = make_readout(self.config, self.num_features, **shared)
            initialise(readout, self.config.init)
        self.readout = readout.to(weight.device, weight.dtype)

    def shared_leak(self) -> nn.Parameter | None:
        """The leak of "plif-shared"."""
        if self.config.neuron != "plif-shared":
            return None
        return next(each.leak_logit for _, each in self.named_neurons() if isinstance(each, Neuron))

    def freeze(self, names: Iterable[str] = ()) -> None:
        """Stop training these layers, and train all others.

        They take no gradient, and stay in evaluation mode also after `train()`: norms use their running statistics and
        keep them, dropout does nothing. A learned leak is frozen with the layer whose neurons have it, and the one leak
        of "plif-shared" with the first layer that is: else what frozen layers send would change.

        Args:
            names: of layers, or what their names begin with, as in "stem", "stage1", "stage1_block2",
                "stage1_block2.conv1", "readout"; with a convolution, the norm and the neurons behind it are meant too.
                Without any all train.

        Raises:
            UserError: no layer is called so, and nothing has changed.
        """
        names = tuple(names)
        parts = tuple(parts_called(names, self.layers, self.readout, self.topology)) if names else ()
        self._freeze(parts)

    def freeze_backbone(self, frozen: bool = True) -> None:
        """Stop training all but the readout, see `freeze`."""
        self._freeze((self.layers,) if frozen else ())

    def _freeze(self, parts: tuple[nn.Module, ...]) -> None:
        """Freeze these modules, and no others."""
        for frozen, chosen in ((False, (self.layers, *self.frozen_parts)), (True, parts)):
            for part in chosen:
                part.requires_grad_(not frozen)
                for module in part.modules():
                    if isinstance(module, BatchNorm):
                        module.frozen = frozen
        self.frozen_parts = parts
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Training mode, which frozen layers do not enter."""
        super().train(mode)
        for part in self.frozen_parts:
            part.eval()
        return self


HALVES = (torch.float16, torch.bfloat16)


def _check_dtype(x: Tensor, weights: torch.dtype, encoder: EncoderKind) -> None:
    """Raise UserError where x has another dtype than the weights.

    Under autocast, both may be float32 or its dtype, and images for the direct encoder may have the other half.
    """
    if x.dtype == weights:
        return
    device = x.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        taken = (torch.float32, torch.get_autocast_dtype(device))
        if weights in taken and x.dtype in (*taken, *(HALVES if encoder == "direct" else ())):
            return
    cure = f"give x.to({weights})" if x.is_floating_point() else f"give numbers of {weights}, scaled as in training"
    raise UserError(f"input is of {x.dtype}, and the weights of this network are of {weights}: {cure}")


def zero_or_nan(x: Tensor, num_steps: int | None) -> Tensor:
    """0 for each finite image [N, C, H, W] or event frame [N, T, C, H, W], NaN for others.

    Returns:
        [1, N, 1, 1, 1], or [num_steps, N, 1, 1, 1] for the first frames.
    """
    found = (x.detach() * 0).flatten(-3).sum(-1)
    return (found[None] if x.ndim == 4 else found.T[:num_steps])[..., None, None, None]


def make_readout(config: NetworkConfig, features: int, shared_leak: nn.Parameter | None = None) -> Readout:
    """The readout that `config` describes, of so many features."""
    return Readout(
        features,
        config.num_classes,
        boosting=config.boosting,
        bias=config.readout_bias,
        leak=config.leak if config.readout == "leaky" else 1.0,
        neuron=config.neuron_config() if config.readout == "spikes" else None,
        shared_leak=shared_leak,
    )


def num_parameters(model: nn.Module) -> int:
    """Trainable numbers, shared ones once, as the paper counts them (Tables 6, 7)."""
    return sum(parameter.numel() for parameter in model.parameters())


def shared_leak_of(config: NetworkConfig) -> dict[str, Any]:
    """Keyword argument for every layer: the one leak of "plif-shared", nothing otherwise."""
    return {"shared_leak": leak_parameter(config.leak)} if config.neuron == "plif-shared" else {}
