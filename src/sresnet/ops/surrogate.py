"""Surrogate derivatives of the spike function (paper Sections 2.2 and 3.3).

The spike o = [u > theta] has no useful derivative; backward uses a bump instead, with its peak at x = 0:

    x = u / theta - center           center = 1: on the threshold (released code); 0: Eq. 24 as printed
    do/du = height * shape(x / width)

`height` is do/du at the peak, in spikes per unit of potential; `width` is in units of the threshold. `integral` is the
smooth step whose true derivative is the surrogate: with it in place of the hard step, finite differences see the same
gradient as backward, which is how the tests check it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from sresnet.config import check_function, check_known, check_own_name
from sresnet.errors import UserError


@runtime_checkable
class Surrogate(Protocol):
    """What a surrogate needs, those below and any of your own; one without a kernel runs in the reference."""

    @property
    def center(self) -> float:
        """Where the surrogate peaks, in units of theta."""
        ...

    def derivative(self, x: Float[Tensor, "*neurons"]) -> Float[Tensor, "*neurons"]:
        """do/du at x = u / theta - center, of the shape of x."""
        ...


@dataclass(frozen=True, kw_only=True)
class Triangle:
    """height * max(0, 1 - |x| / width): Eq. 24, with the paper's height alpha = 0.3."""

    height: float = 0.3
    width: float = 1.0
    center: float = 1.0

    def derivative(self, x: Float[Tensor, "*neurons"]) -> Float[Tensor, "*neurons"]:
        """do/du at x = u / theta - center."""
        return self.height * (1 - x.abs() / self.width).clamp(min=0)

    def integral(self, x: Float[Tensor, "*neurons"]) -> Float[Tensor, "*neurons"]:
        """The integral of `derivative` over x, zero far on the left."""
        z = (x / self.width).clamp(-1, 1)
        return self.height * self.width * (0.5 + z - 0.5 * z * z.abs())


@dataclass(frozen=True, kw_only=True)
class Rectangle:
    """height where |x| < width, else 0. Zheng et al. 2021: height 1, and width 0.5 of potential, 0.5 / theta here."""

    height: float = 1.0
    width: float = 0.5
    center: float = 1.0

    def derivative(self, x: Float[Tensor, "*neurons"]) -> Float[Tensor, "*neurons"]:
        """do/du at x = u / theta - center."""
        return self.height * (x.abs() < self.width).to(x.dtype)

    def integral(self, x: Float[Tensor, "*neurons"]) -> Float[Tensor, "*neurons"]:
        """The integral of `derivative` over x, zero far on the left."""
        return self.height * (x.clamp(-self.width, self.width) + self.width)


@dataclass(frozen=True, kw_only=True)
class ArcTan:
    """height / (1 + (x / width)^2), half its height at |x| = width. Fang et al. 2021 use height 1, width 1/pi."""

    height: float = 1.0
    width: float = 1 / math.pi
    center: float = 1.0

    def derivative(self, x: Float[Tensor, "*neurons"]) -> Float[Tensor, "*neurons"]:
        """do/du at x = u / theta - center."""
        return self.height / (1 + (x / self.width).square())

    def integral(self, x: Float[Tensor, "*neurons"]) -> Float[Tensor, "*neurons"]:
        """The integral of `derivative` over x, zero far on the left."""
        return self.height * self.width * (torch.atan(x / self.width) + math.pi / 2)


@dataclass(frozen=True, kw_only=True)
class Sigmoid:
    """4 * height * s * (1 - s) with s = 1 / (1 + exp(-x / width)), the derivative of a logistic function.

    That of a logistic function of slope k is height k / 4, width 1 / k.
    """

    height: float = 1.0
    width: float = 0.25
    center: float = 1.0

    def derivative(self, x: Float[Tensor, "*neurons"]) -> Float[Tensor, "*neurons"]:
        """do/du at x = u / theta - center."""
        s = torch.sigmoid(-(x / self.width).abs())  # of what is negative, where 1 - s loses no digits
        return 4 * self.height * s * (1 - s)

    def integral(self, x: Float[Tensor, "*neurons"]) -> Float[Tensor, "*neurons"]:
        """The integral of `derivative` over x, zero far on the left."""
        return 4 * self.height * self.width * torch.sigmoid(x / self.width)


@dataclass(frozen=True, kw_only=True)
class FastSigmoid:
    """height / (1 + |x| / width)^2: SuperSpike (Zenke & Ganguli 2018), whose steepness is 1 / width."""

    height: float = 1.0
    width: float = 0.04
    center: float = 1.0

    def derivative(self, x: Float[Tensor, "*neurons"]) -> Float[Tensor, "*neurons"]:
        """do/du at x = u / theta - center."""
        return self.height / (1 + (x / self.width).abs()).square()

    def integral(self, x: Float[Tensor, "*neurons"]) -> Float[Tensor, "*neurons"]:
        """The integral of `derivative` over x, zero far on the left."""
        z = x / self.width
        return self.height * self.width * (1 + z / (1 + z.abs()))


@dataclass(frozen=True, kw_only=True)
class Gaussian:
    """height * exp(-(x / width)^2 / 2), width the standard deviation (Wu et al. 2018)."""

    height: float = 1.0
    width: float = 0.5
    center: float = 1.0

    def derivative(self, x: Float[Tensor, "*neurons"]) -> Float[Tensor, "*neurons"]:
        """do/du at x = u / theta - center."""
        return self.height * torch.exp(-0.5 * (x / self.width).square())

    def integral(self, x: Float[Tensor, "*neurons"]) -> Float[Tensor, "*neurons"]:
        """The integral of `derivative` over x, zero far on the left."""
        return self.height * self.width * math.sqrt(math.pi / 2) * (1 + torch.erf(x / self.width / math.sqrt(2)))


KnownSurrogate = Triangle | Rectangle | ArcTan | Sigmoid | FastSigmoid | Gaussian

SURROGATES: dict[str, type[KnownSurrogate]] = {
    "triangle": Triangle,
    "rectangle": Rectangle,
    "arctan": ArcTan,
    "sigmoid": Sigmoid,
    "fast-sigmoid": FastSigmoid,
    "gaussian": Gaussian,
}
"""In the order of the kernel's `enum Surrogate`."""


def check_surrogate(surrogate: Surrogate) -> None:
    """Raise UserError for a surrogate of the user's own that lacks `center` or `derivative`."""
    name, center = f"surrogate {type(surrogate).__name__}", getattr(surrogate, "center", None)
    if not isinstance(center, int | float | Tensor):
        raise UserError(f"{name} has center {center!r:.100}: expected where it peaks, in units of the threshold")
    check_function(getattr(surrogate, "derivative", None), f"derivative of {name}", "x")


def slope_at(u: Float[Tensor, "*neurons"], threshold: float, surrogate: Surrogate) -> Tensor | float:
    """do/du at potentials u, of their shape; or one number for all.

    Raises:
        UserError: the surrogate, one of the user's own, gives something else.
    """
    slope = surrogate.derivative(u / threshold - surrogate.center)
    if isinstance(slope, int | float) or (isinstance(slope, Tensor) and slope.shape == u.shape):
        return slope
    found = list(slope.shape) if isinstance(slope, Tensor) else type(slope).__name__
    raise UserError(
        f"derivative of surrogate {type(surrogate).__name__} gives {found}: expected numbers of the shape of x, "
        f"{list(u.shape)}"
    )


OWN_SURROGATES: dict[str, Callable[[float, float, float], Surrogate]] = {}
"""Those that `register_surrogate` was given."""


def register_surrogate(name: str, make: Callable[[float, float, float], Surrogate]) -> None:
    """Make a surrogate of your own known under a name, for `create_model(..., surrogate=name)`.

    Layers with it run in PyTorch, as no kernel knows it. The name may be given again, such as in a notebook.

    Args:
        name: a new one.
        make: (height, width, center) -> the surrogate.

    Raises:
        UserError: the name of a surrogate that comes with the package, or no name, or a `make` that does not take three
            numbers.
    """
    check_own_name("surrogate", name, SURROGATES)
    check_function(make, f"make of surrogate {name!r}", "height", "width", "center")
    OWN_SURROGATES[name] = make


def make_surrogate(shape: str, *, height: float, width: float, center: float) -> Surrogate:
    """The surrogate called `shape`, a name in `SURROGATES` or one given to `register_surrogate`.

    Raises:
        UserError: another name, a height or width that is not positive, or a number that is not finite.
    """
    check_known("surrogate", shape, [*SURROGATES, *OWN_SURROGATES])
    for name, value in (("height", height), ("width", width)):
        if not 0 < value < math.inf:
            raise UserError(
                f"surrogate {name} {value} is not positive: no gradient would pass; the paper uses 0.3 and 1"
            )
    if not math.isfinite(center):
        raise UserError(f"surrogate center {center} is not valid: 1 is the threshold, 0 is Eq. 24 as printed")
    if shape in OWN_SURROGATES:
        return OWN_SURROGATES[shape](height, width, center)
    return SURROGATES[shape](height=height, width=width, center=center)
