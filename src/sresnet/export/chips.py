"""Limits of neuromorphic chips, as their makers or their software publish them, and of one's own as a TOML file.

What is not published is None and not checked. A chip is taken as it is documented, with the software that its maker
gives; other firmware may do more.
"""

from dataclasses import dataclass
from pathlib import Path

from sresnet.config import check_types, closest, from_dict
from sresnet.errors import UserError
from sresnet.files import read_toml, state_of


@dataclass(frozen=True, kw_only=True)
class Cores:
    """So many cores of one kind.

    Raises:
        UserError: a number below 1.
    """

    count: int
    neurons: int | None = None
    """Of a core."""
    weights: int | None = None
    """Numbers that a core can keep; the kernel of a convolution is kept once for all pixels."""

    def __post_init__(self) -> None:
        check_types(self)
        _check_positive(self)


@dataclass(frozen=True, kw_only=True)
class Chip:
    """What a chip can do; None: not published, and not checked.

    Raises:
        UserError: a number below 1, or no cores.
    """

    name: str
    cores: tuple[Cores, ...]
    one_core_per_layer: bool = False
    """A layer of neurons is on one core and has it to itself; otherwise it may be divided among several."""
    neurons: int | None = None
    """Of the whole chip."""
    synapses: int | None = None
    """Of the whole chip; each synapse of a convolution counts."""
    fan_in: int | None = None
    """Synapses that arrive at one neuron."""
    destinations: int | None = None
    """Layers that a layer may send its spikes to."""
    spike_bits: int = 1
    """Of a message: 1 is a spike, 0 or 1; more are whole numbers."""
    weight_bits: int | None = None
    delay: int | None = None
    """Time steps by which a connection can delay spikes, beyond the one that a spike takes from layer to layer."""
    kernel: int | None = None
    """Largest side of a convolution's kernel, holes of a dilation counted."""
    strides: tuple[int, ...] | None = None
    """Of convolutions."""
    strides_per_layer: int | None = None
    """Different strides of what arrives at one layer."""
    padding: int | None = None
    channels: int | None = None
    """That a layer receives, or has."""
    pixels: int | None = None
    """Largest side of a layer's map."""
    pools: tuple[int, ...] = ()
    """Sides of windows whose spikes can be sent on as those of one pixel."""
    leaks: bool = True
    """Potentials can leak by a factor."""
    reads_potentials: bool = True
    """A potential can be read; otherwise the last neurons have to spike."""
    bias_per_pixel: bool = True
    """Neurons of a channel can have biases of their own."""
    weights_per_step: bool = False
    """Gains or weights can change with the time step."""
    rounds_kernels_up: bool = False
    """A kernel's taps and a layer's channels take memory as if their numbers were the next powers of two."""
    sources: tuple[str, ...] = ()
    """Where these limits are from."""

    def __post_init__(self) -> None:
        check_types(self)
        _check_positive(self)
        if not self.cores:
            raise UserError(f"chip {self.name!r} has no cores: give at least one [[cores]] with its count")


def _check_positive(limits: Chip | Cores) -> None:
    """Raise UserError for a limit below 1; a delay or padding may be 0."""
    for name, value in vars(limits).items():
        least = 0 if name in ("delay", "padding") else 1
        numbers = value if isinstance(value, tuple) else (value,)
        for number in numbers:
            if isinstance(number, int) and not isinstance(number, bool) and number < least:
                raise UserError(f"{name} {number} is less than {least}: leave it out where there is no limit")


_K = 1024

CHIPS: dict[str, Chip] = {
    "loihi2": Chip(
        name="Loihi 2",
        cores=(Cores(count=128, neurons=8192),),
        neurons=1_000_000,
        synapses=120_000_000,
        spike_bits=32,
        weight_bits=8,
        sources=(
            "Intel, Loihi 2 technology brief, 2021: cores, neurons, synapses, graded spikes of up to 32 bits",
            "Lava, process Dense, num_weight_bits: weights of 8 bits",
        ),
    ),
    "spinnaker2": Chip(
        name="SpiNNaker2",
        cores=(Cores(count=152, weights=128 * _K),),
        weight_bits=8,
        sources=(
            "SpiNNaker2 datasheet 0.03, 2021: 152 cores of 128 KB, all of it taken for weights here; spikes as events",
            "Arfa et al., arXiv 2504.06748, 2025: weights of 8 bits",
        ),
    ),
    "speck": Chip(
        name="Speck 2",
        cores=(
            Cores(count=3, neurons=64 * _K, weights=16 * _K),
            Cores(count=2, neurons=32 * _K, weights=32 * _K),
            Cores(count=2, neurons=16 * _K, weights=64 * _K),
            Cores(count=2, neurons=16 * _K, weights=16 * _K),
        ),
        one_core_per_layer=True,
        destinations=2,
        weight_bits=8,
        kernel=16,
        strides=(1, 2, 4, 8),
        strides_per_layer=1,
        padding=7,
        channels=1024,
        pixels=64,
        pools=(1, 2, 4),
        leaks=False,
        reads_potentials=False,
        bias_per_pixel=False,
        rounds_kernels_up=True,
        sources=(
            "sinabs, overview of Speck: weights, kernels, strides, channels, maps, pools, destinations, constant leak",
            "sinabs, get_constraints of backend dynapcnn: memory of each of the nine cores",
        ),
    ),
}
"""Name of a target -> limits."""


def chip_of(target: str) -> Chip:
    """The limits that a target means: a name in `CHIPS`, or a TOML file with the fields of `Chip`.

    Raises:
        UserError: no such name or file, or a file that is not TOML or has other fields.
    """
    if target in CHIPS:
        return CHIPS[target]
    path = Path(target)
    if path.suffix.lower() != ".toml":
        raise UserError(f"check {target!r} is unknown, and no .toml file of limits: {closest(target, list(CHIPS))}")
    if not path.is_file():
        raise UserError(f"{path} {state_of(path)}: give a .toml file of limits, or one of {', '.join(CHIPS)}")
    values = read_toml(path, "write lines such as fan_in = 4096")
    if isinstance(values.get("cores"), dict):
        raise UserError(f"{path} has a table [cores]: write [[cores]], once for each kind of core")
    chip: Chip = from_dict(Chip, {"name": path.stem} | values, str(path))
    return chip
