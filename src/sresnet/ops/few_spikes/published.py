"""Coefficients of few-spikes neurons as published (Stöckl & Maass 2021, their released code)."""

from dataclasses import dataclass

from sresnet.config import check_types
from sresnet.errors import UserError

LARGEST_OUTPUT = 25.0
"""Of the published ReLU: activations beyond are cut."""


@dataclass(frozen=True, kw_only=True)
class Coefficients:
    """What makes few-spikes neurons compute a function; the equations are in `reference.few_spikes_reference`.

    Raises:
        UserError: lists of different lengths, or empty ones.
    """

    function: str
    """Name of the activation function, such as "silu"."""
    thresholds: tuple[float, ...]
    """T, one for each internal step."""
    resets: tuple[float, ...]
    """h: what a spike takes off the potential."""
    heights: tuple[float, ...]
    """d: what a spike is worth where it arrives."""

    def __post_init__(self) -> None:
        check_types(self)
        lengths = [len(each) for each in (self.thresholds, self.resets, self.heights)]
        if min(lengths) < 1 or len(set(lengths)) > 1:
            raise UserError(
                f"coefficients of {self.function!r} are {lengths[0]} thresholds, {lengths[1]} resets and {lengths[2]} "
                "heights: give one of each for every internal step"
            )

    @property
    def internal_steps(self) -> int:
        """K."""
        return len(self.thresholds)


def binary_places(internal_steps: int, largest: float = LARGEST_OUTPUT) -> Coefficients:
    """ReLU: T = h = d = largest * 2^-k, the places of a binary number.

    With q = largest * 2^-K, neurons compute

        y = q * clip(ceil(x / q) - 1, 0, 2^K - 1)       firing above the threshold
        y = q * clip(floor(x / q), 0, 2^K - 1)          firing at the threshold

    Raises:
        UserError: fewer than one or more than 60 internal steps, or a range that is not positive.
    """
    check_internal_steps(internal_steps)
    if not 0 < largest <= 1e30:
        raise UserError(f"largest output {largest:g} is not positive: few-spikes neurons stand for 0 to this; try 25")
    places = tuple(largest * 2.0**-k for k in range(1, internal_steps + 1))
    return Coefficients(function="relu", thresholds=places, resets=places, heights=places)


def check_internal_steps(internal_steps: int) -> None:
    """Raise UserError for numbers of internal steps that make no sense: places of a double end at about 60."""
    if not 1 <= internal_steps <= 60:
        raise UserError(f"internal_steps {internal_steps} is outside 1 to 60: 10 gives 1,024 values")


SILU = Coefficients(
    function="silu",
    thresholds=(
        0.05946945,
        1.6541206,
        1.3066754,
        1.3267198,
        1.1000695,
        1.2308974,
        1.1188028,
        0.9472501,
        0.5447531,
        1.0236325,
        0.11921431,
        -0.12855051,
        -0.44731247,
        -2.1383545,
        1.0,
        -4.109145,
    ),
    resets=(
        0.7844085,
        1.7550646,
        1.4212719,
        1.9244663,
        1.4400164,
        1.9249276,
        1.6100428,
        1.29061,
        0.83985287,
        3.0827985,
        0.43503317,
        0.5155389,
        0.3269445,
        7.618048,
        -14.419675,
        0.0,
    ),
    heights=(
        0.40088242,
        1.8856316,
        1.4915457,
        1.947229,
        1.4717816,
        1.9147849,
        1.6389303,
        1.2934641,
        0.8703124,
        0.68460804,
        0.44262582,
        0.32832766,
        0.13907616,
        -0.26217145,
        0.23736191,
        -0.14830568,
    ),
)
"""x sigmoid(x), also called swish, on [-8, 12]: mean squared error 3.4e-3, largest error 0.30."""

SIGMOID = Coefficients(
    function="sigmoid",
    thresholds=(
        -0.00824843,
        -0.9319625,
        1.0080122,
        -1.2074932,
        -1.7885877,
        -2.7065408,
        -3.2715735,
        0.07132628,
        -3.719372,
        -0.543918,
        -3.7693157,
        -5.5447803,
    ),
    resets=(
        1.6558512,
        1.0989026,
        10.7739,
        1.3579437,
        1.0146959,
        0.8972655,
        2.1207616,
        1.6949341,
        3.6397197,
        -2.1483946,
        5.1177883,
        0.0,
    ),
    heights=(
        0.37689912,
        0.21977554,
        0.40271342,
        0.17005783,
        0.09584032,
        0.06293014,
        0.04360681,
        -0.0443096,
        0.01999909,
        0.07107325,
        0.01502249,
        0.01021793,
    ),
)
"""1 / (1 + exp(-x)) on [-10, 10]: mean squared error 1.44e-4, largest error 0.058."""
