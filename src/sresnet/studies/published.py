"""Table 14: what the paper quotes of others, and how many parameters their networks have (Figs. 4 to 6).

The paper prints the accuracies and draws Figs. 4 to 6 without numbers, "counted using their publicly available code".
Here every network of those figures is written out, layer by layer, and counted. What the layers were taken from is in
`Topology.source`, and whether that is the authors' own code in `Topology.checked`. Converted networks are in no figure
and are not counted.
"""

from dataclasses import KW_ONLY, dataclass
from typing import Literal

from sresnet.models import build
from sresnet.models.network import num_parameters
from sresnet.studies.paper import TABLE14


def _conv(inputs: int, outputs: int, kernel: int = 3) -> int:
    """Parameters of a convolution without bias."""
    return inputs * outputs * kernel**2


def _linear(inputs: int, outputs: int, bias: bool = False) -> int:
    """Parameters of a fully connected layer."""
    return (inputs + bias) * outputs


def _norm(channels: int, bias: bool = True, steps: int = 1) -> int:
    """Parameters of a batch norm: gamma and, with `bias`, beta; `steps` norms, one per time step (BNTT)."""
    return channels * (1 + bias) * steps


LEAK = 1
"""What a layer of PLIF neurons learns."""


@dataclass(frozen=True)
class Topology:
    """A network layer by layer; pools, dropout and neurons with a fixed leak have no parameters."""

    name: str
    layers: tuple[int, ...]
    """Parameters of each."""
    source: str
    """What the layers were read in."""
    checked: Literal["authors' code", "not verified"] = "authors' code"
    """not verified: the authors' own code was not found; `source` says what was used in its place."""
    _: KW_ONLY
    note: str = ""
    """What else a reader must know."""

    @property
    def parameters(self) -> int:
        """Trainable numbers."""
        return sum(self.layers)


# ---------------------------------------------------------------------------------------------------------------------


def _kim_vgg9(num_classes: int, num_steps: int) -> tuple[int, ...]:
    """Kim & Panda's VGG9 for 32x32 images: seven convolutions and a hidden layer of 1024; a gamma per step, no beta."""
    layers, channels = [], 3
    for width in (64, 64, 128, 128, 256, 256, 256):
        layers += [_conv(channels, width), _norm(width, bias=False, steps=num_steps)]
        channels = width
    layers += [_linear(4 * 4 * 256, 1024), _norm(1024, bias=False, steps=num_steps)]
    return (*layers, _linear(1024, num_classes))


def _lee_resnet11() -> tuple[int, ...]:
    """Lee et al.'s ResNet-11: four blocks, the first three with a 1x1 convolution on the skip; no norm, no bias."""
    layers, channels = [_conv(3, 64)], 64
    for width in (128, 256, 512, 512):
        layers += [_conv(channels, width), _conv(width, width)]
        layers += [_conv(channels, width, 1)] if width != channels else []
        channels = width
    return (*layers, _linear(512 * 4 * 4, 1024), _linear(1024, 10))


def _zheng_resnet19(in_channels: int, stem: int = 128) -> tuple[int, ...]:
    """Zheng et al.'s ResNet-19 (tdBN): three, three and two blocks, and two fully connected layers with bias."""
    layers, channels = [_conv(in_channels, stem), _norm(stem)], stem
    for width in (128, 128, 128, 256, 256, 256, 512, 512):
        layers += [_conv(channels, width), _norm(width), _conv(width, width), _norm(width)]
        layers += [_conv(channels, width, 1), _norm(width)] if width != channels else []
        channels = width
    return (*layers, _linear(512, 256, bias=True), _linear(256, 10, bias=True))


def _fang_net(in_channels: int, width: int, convolutions: int) -> tuple[int, ...]:
    """Fang et al.'s PLIF networks: convolutions whose last maps are 8x8, and two fully connected layers."""
    layers = []
    for channels in (in_channels, *[width] * (convolutions - 1)):
        layers += [_conv(channels, width), _norm(width), LEAK]
    return (*layers, _linear(width * 8 * 8, 2048), LEAK, _linear(2048, 100), LEAK)


def _fang_wide_7b() -> tuple[int, ...]:
    """Fang et al.'s Wide-7B-Net: four SEW blocks of 64 filters and three of 128, 1x1 convolutions between."""
    layers, channels = [], 2
    for width in (64, 64, 64, 64, 128, 128, 128):
        layers += [_conv(channels, width, 1), _norm(width), LEAK] if width != channels else []
        layers += [_conv(width, width), _norm(width), LEAK] * 2
        channels = width
    return (*layers, _linear(128, 10, bias=True))


BNTT_CODE = "github.com/Intelligent-Computing-Lab-Yale/BNTT-Batch-Normalization-Through-Time, model.py"
PLIF_CODE = "github.com/fangwei123456/Parametric-Leaky-Integrate-and-Fire-Spiking-Neuron, codes/models.py"
RESNET19_SOURCE = (
    "the paper's table as two other re-implementations give it (github.com/thiswinex/STBP-simple among them)"
)
RESNET19_NOTE = "one of the two has 64 filters in the stem, which makes 12.63 million parameters for 3 input channels"

KIM_CIFAR10 = Topology(
    "VGG9 (BNTT, T = 25)", _kim_vgg9(10, 25), BNTT_CODE, note="their 25 time steps; every step has its own gammas"
)
KIM_CIFAR100 = Topology(
    "VGG9 (BNTT, T = 25)",
    _kim_vgg9(100, 25),
    BNTT_CODE,
    note="the network that Table 14 names, at the code's default of 25 time steps; which run gave 66.6 % not verified",
)
LEE = Topology(
    "ResNet-11", _lee_resnet11(), "github.com/chan8972/Enabling_Spikebased_Backpropagation, src/cifar10_ResNet11.py"
)
ZHENG = Topology("ResNet-19 (tdBN)", _zheng_resnet19(3), RESNET19_SOURCE, "not verified", note=RESNET19_NOTE)
ZHENG_EVENTS = Topology(
    "ResNet-19 (tdBN)",
    _zheng_resnet19(2),
    RESNET19_SOURCE,
    "not verified",
    note="taken to be the network for CIFAR-10 with two input channels",
)
FANG_CIFAR = Topology("CifarNet (PLIF)", _fang_net(3, 256, 6), PLIF_CODE)
FANG_DVS = Topology(
    "CifarDVSNet (PLIF)",
    _fang_net(2, 128, 4),
    PLIF_CODE,
    note="frames of 128x128; four convolutions, as the names of their logs say",
)
FANG_SEW = Topology(
    "Wide-7B-Net",
    _fang_wide_7b(),
    "github.com/fangwei123456/Spike-Element-Wise-ResNet, cifar10dvs/smodels.py",
    note="the one network of that file, seven blocks of 64 and 128 filters; the code does not call it by its name",
)

# ---------------------------------------------------------------------------------------------------------------------

Method = Literal["Spiking BP", "SNN conversion"]
CONVERSION: Method = "SNN conversion"

REFERENCES: dict[int, str] = {
    12: "Han & Roy, ECCV 2020",
    13: "Deng & Gu, ICLR 2021",
    14: "Wu et al., IEEE TPAMI 2021",
    16: "Stöckl & Maass, Nature Machine Intelligence 2021",
    19: "Kim & Panda, Frontiers in Neuroscience 2021",
    25: "Lee et al., Frontiers in Neuroscience 2020",
    27: "Zheng et al., AAAI 2021",
    28: "Fang et al., ICCV 2021",
    29: "Fang et al., NeurIPS 2021",
    39: "Sengupta et al.; not in the list of references of the text at hand",
}
"""Number in the paper's list -> who and where."""


@dataclass(frozen=True)
class Published:
    """A row of Table 14."""

    network: str
    """As the table calls it."""
    data: str
    """CIFAR-10, CIFAR-100 or DVS-CIFAR10."""
    accuracy: float
    """Percent, "validation": the best epoch on the test images."""
    reference: int | None
    """In the paper's list; None: the paper's own."""
    topology: Topology | None = None
    """The network written out, where Figs. 4 to 6 show it; None: not counted, or not known."""
    _: KW_ONLY
    method: Method = "Spiking BP"

    @property
    def parameters(self) -> int | None:
        """Trainable numbers, where they are known."""
        if self.reference is None:
            return _own_parameters(self.data)
        return self.topology.parameters if self.topology else None


TABLE_14: tuple[Published, ...] = (
    Published("Kim S-VGG9", "CIFAR-10", 90.05, 19, KIM_CIFAR10),
    Published("Lee Residual SNN (11)", "CIFAR-10", 90.95, 25, LEE),
    Published("Zheng S-ResNet'19", "CIFAR-10", 93.15, 27, ZHENG),
    Published("Fang CifarNet", "CIFAR-10", 93.50, 28, FANG_CIFAR),
    Published("Wu VGG-11", "CIFAR-10", 91.24, 14, method=CONVERSION),
    Published("Sengupta VGG-16", "CIFAR-10", 91.55, 39, method=CONVERSION),
    Published("Stöckl ResNet-50", "CIFAR-10", 92.42, 16, method=CONVERSION),
    Published("Deng ResNet-20", "CIFAR-10", 93.58, 13, method=CONVERSION),
    Published("Han VGG16", "CIFAR-10", 93.63, 12, method=CONVERSION),
    Published("S-ResNet38", "CIFAR-10", 94.14, None),
    Published("Kim S-VGG9", "CIFAR-100", 66.6, 19, KIM_CIFAR100),
    Published("Han VGG16", "CIFAR-100", 70.97, 12, method=CONVERSION),
    Published("Deng VGG-16", "CIFAR-100", 72.34, 13, method=CONVERSION),
    Published("S-ResNet38", "CIFAR-100", 74.65, None),
    Published("Kim S-VGG9", "DVS-CIFAR10", 63.2, 19),  # their released code has no network for events
    Published("Zheng S-ResNet'19", "DVS-CIFAR10", 67.8, 27, ZHENG_EVENTS),
    Published("Fang Wide-7B-Net", "DVS-CIFAR10", 74.4, 29, FANG_SEW),
    Published("Fang CifarDVSNet", "DVS-CIFAR10", 74.8, 28, FANG_DVS),
    Published("S-ResNet38", "DVS-CIFAR10", 72.98, None),
)
"""In the paper's order."""

TOPOLOGIES: tuple[Topology, ...] = tuple(entry.topology for entry in TABLE_14 if entry.topology)
"""Those that Figs. 4 to 6 need, in the order of the table."""


def _own_parameters(data: str) -> int:
    """Parameters of the paper's own network of Table 14, by building it: that of `paper.TABLE14`, which says why.

    The caption names others: boosting on CIFAR-100 too, and 16 filters on DVS-CIFAR10 (docs/paper-and-code.md).
    """
    (cell,) = [cell for cell in TABLE14.cells if cell.column == data]
    return num_parameters(build(cell.training.recipe.model))
