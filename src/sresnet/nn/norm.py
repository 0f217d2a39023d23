"""Normalisation of a layer's current [T, N, C, H, W]: modules that hold the parameters of `ops.norm`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sresnet.config import check_function, check_known, check_own_name
from sresnet.errors import UserError
from sresnet.nn.own import checked
from sresnet.nn.state import ForwardState
from sresnet.ops.bntt_lif import batch_norm
from sresnet.ops.norm import NormState
from sresnet.ops.over_time import constant
from sresnet.printing import tell_once

NormKind = Literal["bntt", "per-step", "time-averaged", "tdbn", "none"]

MOMENTUM = 0.1
EPS = 1e-4
"""Both of Kim & Panda 2021 and the released code; the defaults."""


@dataclass(frozen=True, kw_only=True)
class NormConfig:
    """What all the norms of a network have in common.

    Raises:
        UserError: an unknown kind, no time steps, or eps or momentum outside (0, 1].
    """

    kind: NormKind | str = "bntt"
    """bntt: statistics and gamma per time step; per-step: statistics per time step, one gamma and one running average
    for all (Fang et al. 2021); time-averaged: one set of all; tdbn: the same, scaled to the threshold; none; or a name
    given to `register_norm`."""
    num_steps: int = 50
    """Time steps that "bntt" holds statistics for."""
    bias: bool = False
    """Learn a shift beta as well."""
    eps: float = EPS
    """Added to the variance."""
    momentum: float = MOMENTUM
    """Weight of a batch in the running averages, torch's convention."""

    def __post_init__(self) -> None:
        check_known("norm", self.kind, [*get_args(NormKind), *OWN_NORMS])
        if not 0 < self.eps <= 1:
            raise UserError(f"norm_eps {self.eps} is outside (0, 1]: it keeps a norm from dividing by zero; try 1e-5")
        if not 0 < self.momentum <= 1:
            raise UserError(f"norm_momentum {self.momentum} is outside (0, 1]: it is the weight of a batch; try 0.1")
        if self.num_steps < 1:
            raise UserError(f"num_steps {self.num_steps} is less than 1: a network runs for at least one time step")


def _refused(norm: nn.Module, *_: Any) -> Any:
    """Raise UserError: what tools that put torch's own norm in place of another read or set."""
    raise UserError(
        f"{type(norm).__name__} is computed inside its layer, and no other norm can take its place (SyncBatchNorm, "
        "FrozenBatchNorm, fusion): in several processes each keeps its own statistics; to fix them use freeze"
    )


class BatchNorm(nn.BatchNorm2d):
    """What the norms have in common: to tools they pass for torch's own, and they refuse what they cannot do.

    `torch.optim.swa_utils.update_bn`, `norm.eval()` and `norm.momentum = ...` for every `nn.BatchNorm2d` of a network
    work. With momentum None the running averages are the mean over the batches since `reset_running_stats`.
    """

    frozen = False
    """Whether the statistics must not change."""
    num_features = eps = affine = track_running_stats = property(_refused, _refused)
    running_mean: Tensor
    running_var: Tensor

    # That of torch adds a count of batches to what is loaded, which our files do not have.
    _load_from_state_dict = nn.Module._load_from_state_dict

    def __init__(self, *shape: int, bias: bool, eps: float, momentum: float) -> None:
        nn.Module.__init__(self)
        self.added = eps  # under another name, as `eps` is refused
        self.momentum: float | None = momentum
        self.weight = nn.Parameter(torch.ones(shape))
        self.bias = nn.Parameter(torch.zeros(shape)) if bias else None  # type: ignore[assignment]
        self.register_buffer("running_mean", torch.zeros(shape))
        self.register_buffer("running_var", torch.ones(shape))

    def reset_running_stats(self) -> None:
        """Statistics as those of a new norm.

        Raises:
            UserError: the norm is part of a frozen layer.
        """
        if self.frozen:
            raise UserError("this layer is frozen and keeps its statistics: model.freeze() unfreezes all")
        self.running_mean.zero_()
        self.running_var.fill_(1)
        self.batches: dict[int, int] = {}

    def reset_parameters(self) -> None:
        """All as in a new norm; errors as `reset_running_stats`."""
        self.reset_running_stats()
        nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def share(self, rows: range, state: ForwardState | None) -> float:
        """Weight of the present batch in the running averages of these rows of the statistics.

        Raises:
            UserError: momentum is None, and the rows are averages of different numbers of batches.
        """
        if state and state.again:
            return 0.0
        if self.momentum is not None or not self.training:
            return MOMENTUM if self.momentum is None else self.momentum  # in evaluation no matter which
        counts = self.__dict__.setdefault("batches", {})
        number = 1 + counts.get(rows[0], 0)
        if any(1 + counts.get(row, 0) != number for row in rows):
            raise UserError(
                "momentum is None, and time steps have seen different numbers of batches: give each batch as many steps"
            )
        counts.update(dict.fromkeys(rows, number))
        return 1 / number


class BNTT(BatchNorm):
    """Batch norm through time: statistics and gamma for every step, see `_batch_norm_through_time` of `ops.norm`.

    Parameters are [num_steps, channels]; a call of T steps from `state.first_step` on uses the rows of those steps, so
    the first k steps of a longer run need no more than the first k rows (Table 16).

    Raises:
        UserError: in forward, a step beyond num_steps.
    """

    def __init__(
        self, channels: int, *, num_steps: int, bias: bool = False, eps: float = EPS, momentum: float = MOMENTUM
    ) -> None:
        super().__init__(num_steps, channels, bias=bias, eps=eps, momentum=momentum)

    def forward(self, x: Float[Tensor, "T N C H W"], state: ForwardState | None = None) -> Float[Tensor, "T N C H W"]:
        return batch_norm(x, self.rows(x.shape[0], state))

    def rows(self, num_steps: int, state: ForwardState | None, *, constant: bool = False) -> NormState:
        """What `ops` need for the next `num_steps` steps, see `PerStepNorm.rows`; errors as `forward`."""
        first = state.first_step if state else 0
        last = first + num_steps
        gamma: Tensor
        beta: Tensor | None
        gamma, beta, mean, var = self.weight, self.bias, self.running_mean, self.running_var
        held = gamma.shape[0]
        if last > held:
            raise UserError(
                f"time step {last} has no norm: this network was built for {held}; run fewer steps, or build it with a "
                "larger num_steps or with norm='time-averaged'"
            )
        if num_steps < held:  # else all, without a slice and its gradient
            gamma, mean, var = gamma[first:last], mean[first:last], var[first:last]
            beta = None if beta is None else beta[first:last]
        return NormState(
            gamma=gamma,
            beta=beta,
            running_mean=mean,
            running_var=var,
            training=self.training,
            momentum=self.share(range(first, last), state),
            eps=self.added,
            together=state.together if state else None,
        )

    def extra_repr(self) -> str:
        steps, channels = self.weight.shape
        return f"{channels}, num_steps={steps}, bias={self.bias is not None}"


class PerStepNorm(BatchNorm):
    """Batch norm that every time step passes for itself: torch.nn.BatchNorm2d called T times (Fang et al. 2021, PLIF).

    Every step has its own statistics in training; gamma, beta and the running averages are one for all, and evaluation
    uses the averages at every step. The equation is that of `_batch_norm_through_time` of `ops.norm`.
    """

    def __init__(self, channels: int, *, bias: bool = False, eps: float = EPS, momentum: float = MOMENTUM) -> None:
        super().__init__(channels, bias=bias, eps=eps, momentum=momentum)

    def forward(self, x: Float[Tensor, "T N C H W"], state: ForwardState | None = None) -> Float[Tensor, "T N C H W"]:
        image = constant(x) or (state is not None and self in state.of_images)
        return batch_norm(x, self.rows(x.shape[0], state, constant=image))

    def rows(self, num_steps: int, state: ForwardState | None, *, constant: bool = False) -> NormState:
        """What `ops` need for the next `num_steps` steps.

        Args:
            constant: all steps are one image, which counts as one batch: the first step alone moves the averages.
        """
        first = state.first_step if state else 0
        counts = (step == 0 or not constant for step in range(first, first + num_steps))
        beta = None if self.bias is None else self.bias.expand(num_steps, -1)
        return NormState(
            gamma=self.weight.expand(num_steps, -1),
            beta=beta,
            running_mean=self.running_mean,
            running_var=self.running_var,
            training=self.training,
            momentum=tuple(self.share(range(1), state) if counted else 0.0 for counted in counts),
            eps=self.added,
            together=state.together if state else None,
        )

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, bias={self.bias is not None}"


class TimeAveragedNorm(BatchNorm):
    """Batch norm with one set of statistics for all steps (Table 5), see `_batch_norm_over_time` of `ops.norm`.

    With `scale` it is threshold-dependent batch norm (tdBN, Zheng et al. 2021): y = scale * gamma * (x - mean) / std +
    beta with scale = alpha * threshold, where alpha is 1, or 1 / sqrt(2) where two such currents are summed.
    """

    def __init__(
        self,
        channels: int,
        *,
        bias: bool = False,
        scale: float = 1.0,
        eps: float = EPS,
        momentum: float = MOMENTUM,
    ) -> None:
        super().__init__(channels, bias=bias, eps=eps, momentum=momentum)
        self.scale = scale

    def forward(self, x: Float[Tensor, "T N C H W"], state: ForwardState | None = None) -> Float[Tensor, "T N C H W"]:
        return batch_norm(x, self.rows(x.shape[0], state))

    def rows(self, num_steps: int, state: ForwardState | None, *, constant: bool = False) -> NormState:
        """What `ops` need, the same for all steps, see `PerStepNorm.rows`."""
        return NormState(
            gamma=self.weight if self.scale == 1 else self.weight * self.scale,
            beta=self.bias,
            running_mean=self.running_mean,
            running_var=self.running_var,
            training=self.training,
            momentum=self.share(range(1), state),
            eps=self.added,
            together=state.together if state else None,
        )

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, bias={self.bias is not None}, scale={self.scale:.4g}"


class NoNorm(nn.Module):
    """The current as it is."""

    def forward(self, x: Float[Tensor, "T N C H W"], state: ForwardState | None = None) -> Float[Tensor, "T N C H W"]:
        return x

    def rows(self, num_steps: int, state: ForwardState | None, *, constant: bool = False) -> None:
        """There are none."""


Normalise = Callable[[Tensor, int], Tensor]
"""A norm of your own, a function or module: (x, first step) -> y, both [T, N, C, H, W], x in float32 or wider.

The steps of x are those from this one on: 0, except where a stream continues."""

OWN_NORMS: dict[str, Callable[[NormConfig, int], Normalise]] = {}
"""Those that `register_norm` was given."""


def register_norm(name: str, make: Callable[[NormConfig, int], Normalise]) -> None:
    """Make a norm of your own known under a name, for `create_model(..., norm=name)` and `NormConfig(kind=name)`.

    All else as `neuron.register_neuron`.

    Args:
        name: a new one.
        make: called once for each layer with the network's `NormConfig` and the layer's channels; returns a function or
            module, see `Normalise`.

    Raises:
        UserError: the name of a norm that comes with the package, or no name, or a `make` that does not take a
            configuration and channels.
    """
    check_own_name("norm", name, get_args(NormKind))
    check_function(make, f"make of norm {name!r}", "config", "channels")
    OWN_NORMS[name] = make


class OwnNorm(nn.Module):
    """A norm of your own in place of the others.

    Args:
        normalise: see `Normalise`.
        name: of it, for messages.

    Raises:
        UserError: `normalise` does not take x and the first step, or, in forward, gives something else than `Normalise`
            says.
    """

    def __init__(self, normalise: Normalise, name: str = "of your own") -> None:
        super().__init__()
        check_function(normalise, f"norm {name!r}", "x", "first_step")
        self.normalise, self.name = normalise, name

    def forward(self, x: Float[Tensor, "T N C H W"], state: ForwardState | None = None) -> Float[Tensor, "T N C H W"]:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        return checked(self.normalise(wide, state.first_step if state else 0), f"norm {self.name!r}", x)


AffineNorm = BNTT | PerStepNorm | TimeAveragedNorm
"""Norms that scale and shift each channel in evaluation, see `affine`."""
Norm = AffineNorm | NoNorm | OwnNorm


def affine(
    norm: AffineNorm, *, dtype: torch.dtype | None = None, eps: float | None = None
) -> tuple[Float[Tensor, "S C"], Float[Tensor, "S C"]]:
    """A norm in evaluation as gain and shift of each channel, [S, C] each: y = gain * x + shift.

        gain = gamma / sqrt(var + eps),   shift = beta - gain * mean,   of the running averages

    S is the number of time steps of BNTT, else 1.

    Args:
        norm: the norm.
        dtype: what it is computed in; None: that of its parameters.
        eps: what is added to the variance; None: the norm's own.
    """
    rows = norm.rows(norm.weight.shape[0] if isinstance(norm, BNTT) else 1, None)
    gamma, mean, var = (row.to(dtype or row.dtype) for row in (rows.gamma, rows.running_mean, rows.running_var))
    gain = gamma / torch.sqrt(var + (rows.eps if eps is None else eps))
    shift = -gain * mean
    shift = shift if rows.beta is None else shift + rows.beta
    return (gain, shift) if gain.ndim == 2 else (gain[None], shift[None])


@torch.no_grad()
def set_affine(
    norm: TimeAveragedNorm | PerStepNorm,
    gain: Float[Tensor, "C"],
    shift: Float[Tensor, "C"],
    mean: Float[Tensor, "C"],
    var: Float[Tensor, "C"],
) -> None:
    """Make a norm one that is `gain` * x + `shift` in evaluation, with these statistics of x as running averages.

        gamma = gain * sqrt(var + eps);   beta = shift + gain * mean

    Without a beta, the running mean is -shift / gain. A gamma of less than 1e-4 is taken for that much.
    """
    wide = [each.to(norm.weight.device, torch.float64) for each in (gain, shift, mean, var)]
    gain, shift, mean, var = wide
    std = torch.sqrt(var + norm.added)
    scale = norm.scale if isinstance(norm, TimeAveragedNorm) else 1.0
    gamma = gain * std / scale
    gamma = torch.where(gamma.abs() < _LEAST_GAMMA, torch.where(gamma < 0, -_LEAST_GAMMA, _LEAST_GAMMA), gamma)
    gain = gamma * scale / std
    norm.weight.copy_(gamma)
    norm.running_var.copy_(var)
    if norm.bias is None:
        norm.running_mean.copy_(-shift / gain)
    else:
        norm.running_mean.copy_(mean)
        norm.bias.copy_(shift + gain * mean)


_LEAST_GAMMA = 1e-4
"""Magnitude below which a gain is too near 0 for a shift to be divided by it."""


def merge_steps(norm: BNTT, into: TimeAveragedNorm | PerStepNorm, num_steps: int) -> None:
    """Make one norm of the first `num_steps` of a norm per step: the average of its gains and of its shifts.

    The running variance is that of these steps together, mean(var[t]) + var(mean[t]) over t.
    """
    gain, shift = (rows[:num_steps] for rows in affine(norm, dtype=torch.float64))
    mean, var = (rows[:num_steps].double() for rows in (norm.running_mean, norm.running_var))
    set_affine(into, gain.mean(0), shift.mean(0), mean.mean(0), var.mean(0) + mean.var(0, unbiased=False))


def make_norm(config: NormConfig, channels: int, *, tdbn_scale: float = 1.0) -> Norm:
    """The norm that `config` describes; `tdbn_scale` is alpha * threshold of kind "tdbn"."""
    if config.kind in OWN_NORMS:
        tell_once(f"norm {config.kind!r} has no kernel: its layers run in PyTorch")
        return OwnNorm(OWN_NORMS[config.kind](config, channels), config.kind)
    if config.kind == "none":
        return NoNorm()
    numbers: dict[str, Any] = {"bias": config.bias, "eps": config.eps, "momentum": config.momentum}
    if config.kind == "bntt":
        return BNTT(channels, num_steps=config.num_steps, **numbers)
    if config.kind == "per-step":
        return PerStepNorm(channels, **numbers)
    return TimeAveragedNorm(channels, scale=tdbn_scale if config.kind == "tdbn" else 1.0, **numbers)
