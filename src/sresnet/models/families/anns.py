"""The ANNs that Table 14's conversions start from, with rectifiers and one time step; they are trained, then converted.

    deng-vgg16       64 64 A 128 128 A 256 256 256' A 512 512 512' A 512 512 512', 4096, 4096         biases, no norm
    deng-resnet20    64 64 64 A, then two blocks each of 64, 128, 256 and 512                          neither
    sengupta-vgg16   64 64 A 128 128 A 256 x3 A 512 x3 A 512 x3, 4096, 4096                            neither
    wu-vgg11         64 128/2 256 256/2 512 512/2 512 512/2, 4096, 4096                                biases and norms
    stoeckl-resnet50 16, then eight blocks each of 16, 32 and 64, pooled                               norms

Numbers are filters of 3x3 convolutions (' of 1x1), then units of fully connected layers; A is an average of 2x2, /2 a
stride of 2. Sources: the released code of Deng & Gu 2021, of Wu et al. 2021 (progressive tandem learning) and of
Stöckl & Maass 2021, whose ResNet-50 is the one of depth 6n + 2 for CIFAR. That of Sengupta et al. 2019, which Han & Roy
2020 convert too, was not found: the VGG-16 here is that of the same group's later release (Rathi et al. 2020).
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from sresnet.errors import UserError
from sresnet.models.dimensions import check_image_size, check_width, scaled, size_behind
from sresnet.models.network import NetworkConfig, SpikingNetwork, check_size, make_readout
from sresnet.models.registry import Family, register_family
from sresnet.nn.wiring import INPUT, Step, Wiring

Layout = Literal["deng-vgg16", "deng-resnet20", "sengupta-vgg16", "wu-vgg11", "stoeckl-resnet50"]


@dataclass(frozen=True, kw_only=True)
class ANNConfig(NetworkConfig):
    """One of these ANNs; its names set the fields of norm and readout."""

    family: ClassVar[str] = "ann"

    layout: Layout = "deng-vgg16"
    """Which one, see above."""
    width: float = 1.0
    """Factor by which all numbers of filters and hidden units are multiplied."""
    image_size: int = 32
    """Height and width of an image, which the first fully connected layer depends on."""
    dropout: float = 0.0
    """Probability that a unit is silent in training: behind the fully connected layers of a VGG, and between the
    convolutions of a residual block; in sengupta-vgg16 also 0.2 behind convolutions, unless it is 0."""
    limit: float = 0.0
    """Largest output of the units of deng-vgg16 and deng-resnet20; 0: none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_width(self.width)
        check_image_size(self.image_size)
        if self.neuron not in ("relu", "sharpened") or self.num_steps != 1:
            raise UserError(
                f"neuron {self.neuron!r} and num_steps {self.num_steps}: this ANN has rectifiers and one time step; "
                "train it, and sresnet convert makes a spiking network of it"
            )
        if self.limit < 0 or not 0 <= self.dropout < 1:
            raise UserError(f"limit {self.limit} and dropout {self.dropout}: they are at least 0, dropout less than 1")
        steps, features = _steps_of(self)
        weights = sum(
            step.in_channels * step.out_channels * step.kernel[0] * step.kernel[1]
            for step in steps
            if step.kind in ("convolution", "linear")
        )
        norms = sum(step.out_channels for step in steps if step.kind == "norm")
        check_size(self, weights, norms=norms, features=features)


class _Steps:
    """Steps of one network, one behind the other."""

    def __init__(self, config: ANNConfig) -> None:
        self.config = config
        self.steps: list[Step] = []
        self.last, self.channels, self.size = INPUT, config.in_channels, config.image_size
        self.norms, self.biases = config.norm != "none", config.layout in ("deng-vgg16", "wu-vgg11")

    def add(self, name: str, kind: Any, *inputs: str, **sizes: Any) -> str:
        """One more step, which takes the last one unless `inputs` are given."""
        self.steps.append(Step(name=name, kind=kind, inputs=inputs or (self.last,), **sizes))
        self.last = name
        return name

    def convolution(self, name: str, filters: int, *, kernel: int = 3, stride: int = 1, norm: bool = True) -> str:
        """A convolution that keeps the size, or halves it, and its norm."""
        outputs = scaled(filters, self.config.width)
        self.add(
            name,
            "convolution",
            in_channels=self.channels,
            out_channels=outputs,
            kernel=(kernel, kernel),
            stride=(stride, stride),
            padding=(kernel // 2, kernel // 2),
            bias=self.biases,
        )
        self.channels = outputs
        if self.norms and norm:
            self.add(f"{name}_norm", "norm", out_channels=outputs)
        return self.last

    def units(self, name: str) -> str:
        """Rectifiers."""
        return self.add(name, "neurons", limit=self.config.limit)

    def pool(self, name: str) -> None:
        """An average of 2x2, of what there is at the edge of an odd size."""
        self.add(name, "pool", kernel=(2, 2), stride=(2, 2), ceil=True)

    def drop(self, name: str, p: float) -> None:
        """Dropout, where there is some."""
        if p:
            self.add(name, "dropout", dropout=p)

    def block(self, name: str, filters: int, stride: int, *, projected: bool) -> None:
        """A residual block: the skip joins before the last rectifiers."""
        source, channels = self.last, self.channels
        self.convolution(f"{name}_conv1", filters, stride=stride)
        self.units(f"{name}_units1")
        self.drop(f"{name}_dropout", self.config.dropout)
        inner = self.convolution(f"{name}_conv2", filters)
        skip = source
        if projected:
            self.last, self.channels = source, channels
            skip = self.convolution(f"{name}_skip", filters, kernel=1, stride=stride)
        self.add(f"{name}_sum", "sum", inner, skip)
        self.units(f"{name}_units2")

    def hidden(self, name: str, inputs: int, units: int) -> int:
        """A fully connected layer with its rectifiers; returns how many there are."""
        outputs = scaled(units, self.config.width)
        self.add(name, "linear", in_channels=inputs, out_channels=outputs, bias=self.biases)
        if self.norms:
            self.add(f"{name}_norm", "norm", out_channels=outputs)
        self.units(f"{name}_units")
        return outputs


_VGG: dict[str, tuple[tuple[int, ...], ...]] = {
    "deng-vgg16": ((64, 64), (128, 128), (256, 256, -256), (512, 512, -512), (512, 512, -512)),
    "sengupta-vgg16": ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)),
}
"""Filters of the convolutions between pools; -256 is a 1x1 convolution to 256."""
_CONVOLUTION_DROPOUT = 0.2
"""Of sengupta-vgg16, behind every convolution that no pool follows."""
_WU = ((64, 1), (128, 2), (256, 1), (256, 2), (512, 1), (512, 2), (512, 1), (512, 2))
"""Filters and strides."""


def _steps_of(config: ANNConfig) -> tuple[tuple[Step, ...], int]:
    """The steps before the readout, and how many values the last gives an image."""
    steps, layout, p = _Steps(config), config.layout, config.dropout
    if layout == "stoeckl-resnet50":
        steps.convolution("conv1", 16)
        steps.units("units1")
        for stage, filters in enumerate((16, 32, 64), start=1):
            for block in range(1, 9):
                stride = 2 if stage > 1 and block == 1 else 1
                steps.block(f"stage{stage}_block{block}", filters, stride, projected=block == 1)
        steps.add("pool", "global pool")
        return tuple(steps.steps), steps.channels
    if layout == "deng-resnet20":
        for number in (1, 2, 3):
            steps.convolution(f"conv{number}", 64)
            steps.units(f"units{number}")
            steps.drop(f"dropout{number}", p if number < 3 else 0)
        steps.pool("pool")
        for stage, filters in enumerate((64, 128, 256, 512), start=1):
            for block in (1, 2):
                first = stage > 1 and block == 1
                steps.block(f"stage{stage}_block{block}", filters, 2 if first else 1, projected=first)
        return tuple(steps.steps), steps.channels * size_behind(config.image_size, 4) ** 2
    number = 0
    if layout == "wu-vgg11":
        for filters, stride in _WU:
            number += 1
            steps.convolution(f"conv{number}", filters, stride=stride)
            steps.units(f"units{number}")
    else:
        for stage, stage_filters in enumerate(_VGG[layout], start=1):
            if stage > 1:
                steps.pool(f"pool{stage - 1}")
            for place, filters in enumerate(stage_filters, start=1):
                number += 1
                steps.convolution(f"conv{number}", abs(filters), kernel=3 if filters > 0 else 1)
                steps.units(f"units{number}")
                if layout == "sengupta-vgg16" and (place < len(stage_filters) or stage == len(_VGG[layout])):
                    steps.drop(f"dropout{number}", _CONVOLUTION_DROPOUT if p else 0)
    features = steps.channels * size_behind(config.image_size, 4) ** 2
    for fully in (1, 2):
        features = steps.hidden(f"fc{fully}", features, 4096)
        steps.drop(f"fc{fully}_dropout", p)
    return tuple(steps.steps), features


def _build(config: ANNConfig) -> SpikingNetwork:
    """Build the network that `config` describes, freshly initialised."""
    steps, features = _steps_of(config)
    layers = {"wiring": Wiring(steps, config.neuron_config(), config.norm_config())}
    return SpikingNetwork(config, layers, make_readout(config, features))


_ANN: dict[str, Any] = {"neuron": "relu", "num_steps": 1, "norm": "none", "init": "torch"}
_NORMS: dict[str, Any] = _ANN | {"norm": "time-averaged", "norm_bias": True, "readout_bias": True}
_NAMED: dict[str, dict[str, Any]] = {
    "deng-vgg16": _ANN | {"readout_bias": True, "limit": 1.0},
    "deng-resnet20": _ANN | {"init": "kaiming", "limit": 1.0},
    "sengupta-vgg16": _ANN | {"init": "kaiming", "dropout": 0.5},
    "wu-vgg11": _NORMS | {"norm_eps": 1e-4, "norm_momentum": 0.9, "dropout": 0.5},
    "stoeckl-resnet50": _NORMS | {"norm_eps": 1e-5, "norm_momentum": 0.003, "init": "kaiming"},
}
_MODELS = {
    "deng-vgg16": "the ANN that Deng & Gu convert, clipped units, for CIFAR-100",
    "deng-resnet20": "the wide ResNet-20 that Deng & Gu convert, clipped units, for CIFAR-10",
    "sengupta-vgg16": "the ANN of Sengupta et al. and of Han & Roy; layers of the group's later code",
    "wu-vgg11": "the ANN of progressive tandem learning, Wu et al.",
    "stoeckl-resnet50": "the ResNet of depth 50 for CIFAR that Stöckl & Maass convert",
}
register_family(
    Family(
        config=ANNConfig,
        build=_build,
        models=_MODELS,
        fields=lambda name: _NAMED[name] | {"layout": name} if name in _NAMED else None,
    )
)
