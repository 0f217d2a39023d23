"""Layers of neurons: a leak, fixed or learned, and one call of `ops.lif`; and neurons of your own."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sresnet.config import check_function, check_known, check_own_name, check_types
from sresnet.errors import UserError
from sresnet.nn.own import checked
from sresnet.nn.state import ForwardState
from sresnet.ops.dispatch import implementation
from sresnet.ops.few_spikes import few_spikes
from sresnet.ops.few_spikes.published import Coefficients, binary_places, check_internal_steps
from sresnet.ops.lif import lif, membrane
from sresnet.ops.neuron import Gradient, InputScale, LIFConstants, Reset, check_gradient
from sresnet.ops.scan.contract import lacks
from sresnet.ops.surrogate import Surrogate, Triangle, check_surrogate
from sresnet.printing import tell_once

NeuronKind = Literal["lif", "if", "plif", "plif-shared", "relu", "few-spikes", "sharpened"]
WITHOUT_TIME: tuple[NeuronKind, ...] = ("relu", "few-spikes", "sharpened")
"""Kinds of which no time step leaves anything to the next."""


def _step(x: Tensor) -> Tensor:
    """[x >= 1/2]: what training sharpens units to."""
    return (x >= 0.5).to(x.dtype)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "gelu-tanh": partial(F.gelu, approximate="tanh"),
    "step": _step,
}
"""Name -> activation function of the units of an ANN; `register_activation` adds to them."""
ACTIVATION_MODULES: dict[type[nn.Module], str] = {}
"""Class of the user's own modules -> name of the activation that they compute."""


@dataclass(frozen=True, kw_only=True)
class NeuronConfig:
    """What all the neurons of a network have in common.

    Raises:
        UserError: an unknown kind, a field of the wrong type or not finite, or a surrogate without what it needs.
    """

    kind: NeuronKind | str = "lif"
    """lif: fixed leak; if: no leak; plif: each layer learns its leak; plif-shared: the network learns one; relu: no
    spikes, no memory, the ANN counterpart; few-spikes: up to `internal_steps` spikes that stand for the number that a
    unit of an ANN would send, all within one time step; sharpened: units of an ANN that training sharpens to steps; or
    a name given to `register_neuron`."""
    leak: float = 0.874
    """Fraction of the potential kept per step (Section 3.5); where a learned leak starts."""
    threshold: float = 1.0
    """Firing threshold, in the unit of the potential."""
    surrogate: Surrogate = Triangle()
    """Derivative of the spike in backward (Eq. 24)."""
    fires_at_threshold: bool = False
    """u >= threshold fires (Eq. 4) instead of u > threshold (released code)."""
    detach_reset: bool = True
    """No gradient through the reset."""
    reset: Reset = "subtract"
    """subtract: a spike takes the threshold off the potential (Section 3.1); zero: it sets it to zero."""
    input_scale: InputScale = "one"
    """one: the current as it is; one-minus-leak: times 1 - leak, as in PLIF of Fang et al. 2021."""
    gradient: Gradient = "surrogate"
    """surrogate: of the spike (Eq. 24); spike-based: that of Lee et al. 2020, of neurons that reset to zero."""
    internal_steps: int = 10
    """few-spikes: how often a neuron may spike, K."""

    def __post_init__(self) -> None:
        check_known("neuron", self.kind, [*get_args(NeuronKind), *OWN_NEURONS])
        check_surrogate(self.surrogate)
        check_types(self)
        check_gradient(self.gradient, self.reset, self.kind.startswith("plif"))
        check_internal_steps(self.internal_steps)
        if self.input_scale == "one-minus-leak" and (self.kind == "if" or self.leak == 1):
            raise UserError(
                "input_scale 'one-minus-leak' is 0 for neurons that do not leak: use 'one', or a leak below 1"
            )


def leak_parameter(leak: float) -> nn.Parameter:
    """The learned leak of PLIF (Fang et al. 2021): leak = sigmoid(parameter), starting at `leak`.

    Their w is minus the parameter. Their neuron also resets to zero and takes its input times 1 - leak.

    Raises:
        UserError: a start value that no sigmoid reaches.
    """
    if not 0 < leak < 1:
        raise UserError(f"leak {leak} cannot start a learned leak: sigmoid stays inside (0, 1); try 0.874")
    return nn.Parameter(torch.tensor(math.log(leak / (1 - leak))))


class Neuron(nn.Module):
    """IF, LIF or PLIF neurons: current [T, ...] -> spikes [T, ...]. The equations are in `ops.lif`.

    Args:
        config: kind and constants.
        shared_leak: the parameter of kind "plif-shared", made once for the network by `leak_parameter`.

    Raises:
        UserError: "plif-shared" without `shared_leak`, or a start value outside (0, 1) for a learned leak.
    """

    def __init__(self, config: NeuronConfig, shared_leak: nn.Parameter | None = None) -> None:
        super().__init__()
        self.config = config
        self.leak_logit: nn.Parameter | None = None
        if config.kind == "plif":
            self.leak_logit = leak_parameter(config.leak)
        elif config.kind == "plif-shared":
            if shared_leak is None:
                raise UserError("neuron 'plif-shared' has no shared_leak: make one with leak_parameter(0.874) for all")
            self.leak_logit = shared_leak
        # Sketches, which are counted and never run, have nothing to say.
        if torch.get_default_device().type != "meta" and (unknown := lacks(self.constants())):
            tell_once(
                f"{unknown[0]} has no kernel: layers with it run in PyTorch"
                if len(unknown) == 1
                else f"{' and '.join(unknown)} have no kernel: layers with them run in PyTorch"
            )

    def leak(self) -> float | Tensor:
        """Fraction of the potential kept per step; a scalar tensor where it is learned."""
        if self.leak_logit is not None:
            return torch.sigmoid(self.leak_logit)
        return 1.0 if self.config.kind == "if" else self.config.leak

    def forward(
        self, current: Float[Tensor, "T *neurons"], state: ForwardState | None = None
    ) -> Float[Tensor, "T *neurons"]:
        constants, v = self.constants(), state.starts(self) if state else None
        if state and state.wants(self):
            with implementation("reference"):  # so that spikes and membranes are of one rounding
                spikes, v_last = lif(current, constants, v=v)
                state.record(self, spikes, membrane(current, constants, v=v))
        else:
            spikes, v_last = lif(current, constants, v=v)
        if state:
            state.leaves(self, v_last)
        return spikes

    def constants(self) -> LIFConstants:
        """What `ops` need."""
        config = self.config
        return LIFConstants(
            leak=self.leak(),
            threshold=config.threshold,
            surrogate=config.surrogate,
            fires_at_threshold=config.fires_at_threshold,
            detach_reset=config.detach_reset,
            reset=config.reset,
            input_scale=config.input_scale,
            gradient=config.gradient,
        )

    def leak_value(self) -> float:
        """The leak as a number."""
        with torch.no_grad():
            return float(self.leak())

    def extra_repr(self) -> str:
        return f"{self.config.kind}, leak={self.leak_value():.4g}, threshold={self.config.threshold:g}"


_OWN_ACTIVATIONS: set[str] = set()


def register_activation(name: str, function: Callable[[Tensor], Tensor], module: type[nn.Module]) -> None:
    """Make an activation function of your own known, so that ANNs with it can be read and converted.

    Few-spikes neurons compute it with coefficients that `sresnet.convert.fit_few_spikes` finds. An ANN with it is
    loaded where the name has been registered before; a converted network needs that no longer. The name may be given
    again.

    Args:
        name: a new one.
        function: of tensors, value by value.
        module: class of the modules that compute it in your ANNs; `traced` takes each as one unit.

    Raises:
        UserError: the name of an activation that comes with the package, or no name, something that is no function of
            one tensor, or no class of modules.
    """
    check_own_name("activation", name, [each for each in ACTIVATIONS if each not in _OWN_ACTIVATIONS])
    check_function(function, f"function of activation {name!r}", "x")
    if not (isinstance(module, type) and issubclass(module, nn.Module)):
        raise UserError(f"module of activation {name!r} is {module!r}: give the class of modules that compute it")
    _OWN_ACTIVATIONS.add(name)
    ACTIVATIONS[name] = function
    ACTIVATION_MODULES[module] = name


class Rectifier(nn.Module):
    """max(0, current): the unit of the ANN counterpart (Table 15), in place of a `Neuron`.

    Args:
        limit: the largest output (Deng & Gu 2021), where the gradient ends; 0 is none.
        activation: a name in `ACTIVATIONS`, of another function than max(0, current).
    """

    def __init__(self, limit: float = 0.0, activation: str = "relu") -> None:
        super().__init__()
        self.limit, self.activation = limit, activation

    def forward(
        self, current: Float[Tensor, "T *neurons"], state: ForwardState | None = None
    ) -> Float[Tensor, "T *neurons"]:
        output = current.clamp(0, self.limit) if self.limit else ACTIVATIONS[self.activation](current)
        if state:
            state.receives(self, current)
            state.record(self, output, current)
        return output


class FewSpikes(nn.Module):
    """Few-spikes neurons (Stöckl & Maass 2021) in place of a `Rectifier`: the equations are in `ops.few_spikes`.

    They compute max(0, current) with the published coefficients, or another function with those that
    `set_coefficients` is given. Coefficients are saved with the weights, and not trained. Nothing is left of one time
    step in the next.

    Args:
        config: K, and whether a potential at the threshold fires.
    """

    thresholds: Tensor
    resets: Tensor
    heights: Tensor

    def __init__(self, config: NeuronConfig) -> None:
        super().__init__()
        self.fires_at_threshold = config.fires_at_threshold
        given = binary_places(config.internal_steps)
        for name in ("thresholds", "resets", "heights"):
            self.register_buffer(name, torch.tensor(getattr(given, name)))

    def set_coefficients(self, coefficients: Coefficients) -> None:
        """Compute the function of these coefficients.

        Raises:
            UserError: they are for another number of internal steps.
        """
        if coefficients.internal_steps != len(self.thresholds):
            raise UserError(
                f"coefficients of {coefficients.function!r} are for {coefficients.internal_steps} internal steps, and "
                f"the neurons have {len(self.thresholds)}: build them with as many"
            )
        for name in ("thresholds", "resets", "heights"):
            buffer = getattr(self, name)
            buffer.copy_(torch.tensor(getattr(coefficients, name), dtype=torch.float64))

    def forward(
        self, current: Float[Tensor, "T *neurons"], state: ForwardState | None = None
    ) -> Float[Tensor, "T *neurons"]:
        found = few_spikes(
            current, self.thresholds, self.resets, self.heights, fires_at_threshold=self.fires_at_threshold
        )
        if state:
            state.receives(self, current)
            state.record(self, found.number, current, several=True)
            state.sends(self, found.y)
        return found.y

    def extra_repr(self) -> str:
        return f"internal_steps={len(self.thresholds)}"


Steps = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor | None]]
"""Neurons of your own, a function or module: (current, v) -> (spikes, v).

current is [T, N, C, H, W] in float32 or wider, and spikes have its shape. v is what the call before left, None at the
start of a sequence; the second v is what the next call starts from, [N, ...] (stack several values behind N), or
None."""

OWN_NEURONS: dict[str, Callable[[NeuronConfig], Steps]] = {}
"""Those that `register_neuron` was given."""


def register_neuron(name: str, make: Callable[[NeuronConfig], Steps]) -> None:
    """Make neurons of your own known under a name, for `create_model(..., neuron=name)` and `NeuronConfig(kind=name)`.

    Layers with them have no kernel and run in PyTorch, step after step. A network with them is saved and loaded like
    any other, where the name has been registered before. The name may be given again, such as in a notebook.

    Args:
        name: a new one.
        make: called once for each layer with the network's `NeuronConfig`; returns a function or module, see `Steps`.
            The parameters of a module are trained with the network's.

    Raises:
        UserError: the name of neurons that come with the package, or no name, or a `make` that does not take a
            configuration.
    """
    check_own_name("neuron", name, get_args(NeuronKind))
    check_function(make, f"make of neuron {name!r}", "config")
    OWN_NEURONS[name] = make


class OwnNeuron(nn.Module):
    """Neurons of your own in place of a `Neuron`: current [T, N, C, H, W] -> spikes in its dtype.

    Args:
        steps: see `Steps`.
        name: of them, for messages.

    Raises:
        UserError: `steps` does not take a current and a potential, or, in forward, gives something else than `Steps`
            says.
    """

    def __init__(self, steps: Steps, name: str = "of your own") -> None:
        super().__init__()
        check_function(steps, f"neuron {name!r}", "current", "v")
        self.steps, self.name = steps, name

    def forward(
        self, current: Float[Tensor, "T *neurons"], state: ForwardState | None = None
    ) -> Float[Tensor, "T *neurons"]:
        name = f"neuron {self.name!r}"
        wide = current.to(torch.promote_types(current.dtype, torch.float32))
        given = self.steps(wide, state.starts(self) if state else None)
        if not isinstance(given, tuple | list) or len(given) != 2:
            raise UserError(f"{name} gives {type(given).__name__}: expected two values, (spikes, v)")
        spikes, v = checked(given[0], name, current), given[1]
        if v is not None and not (isinstance(v, Tensor) and v.shape[:1] == current.shape[1:2]):
            found = list(v.shape) if isinstance(v, Tensor) else type(v).__name__
            raise UserError(
                f"{name} leaves {found} for the next call: expected None or a tensor [N, ...], here N = "
                f"{current.shape[1]}; stack several behind N"
            )
        if state:
            state.record(self, spikes, None)
        if state and v is not None:
            state.leaves(self, v)
        return spikes


class Sharpened(nn.Module):
    """Units that training sharpens to steps (Whetstone; Severa et al. 2019), in place of a `Rectifier`.

        y = min(1, max(0, (x - s / 2) / (1 - s)))     with sharpness s in [0, 1): a ramp of width 1 - s around 1/2
        y = [x >= 1/2]                                where s is 1

    The sharpness is saved with the weights; `sresnet.train.sharpening` raises it. From s = 1 on no gradient passes.
    """

    sharpness: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("sharpness", torch.zeros(()))

    def forward(
        self, current: Float[Tensor, "T *neurons"], state: ForwardState | None = None
    ) -> Float[Tensor, "T *neurons"]:
        sharpness = float(self.sharpness)
        output = _step(current) if sharpness >= 1 else ((current - sharpness / 2) / (1 - sharpness)).clamp(0, 1)
        if state:
            state.receives(self, current)
            state.record(self, output, current)
        return output

    def extra_repr(self) -> str:
        return f"sharpness={float(self.sharpness):g}"


AnyNeuron = Neuron | Rectifier | FewSpikes | Sharpened | OwnNeuron
WITHOUT_STATE = (Rectifier, FewSpikes, Sharpened)
"""Neurons of which no time step leaves anything to the next."""


def make_neuron(config: NeuronConfig, shared_leak: nn.Parameter | None = None) -> AnyNeuron:
    """One layer of what `config` describes; errors as `Neuron`."""
    if config.kind in OWN_NEURONS:
        tell_once(f"neurons of kind {config.kind!r} have no kernel: their layers run in PyTorch")
        return OwnNeuron(OWN_NEURONS[config.kind](config), config.kind)
    if config.kind == "few-spikes":
        return FewSpikes(config)
    if config.kind == "sharpened":
        return Sharpened()
    return Rectifier() if config.kind == "relu" else Neuron(config, shared_leak)
