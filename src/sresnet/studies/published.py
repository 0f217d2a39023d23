"""Table 14: what the paper quotes of others, and how many parameters their networks have (Figs. 4 to 6).

The paper prints the accuracies and draws Figs. 4 to 6 without numbers, "counted using their publicly available code".
Here every network of those figures is written out, layer by layer, and counted. What the layers were taken from is in
`Topology.source`, and whether that is the authors' own code in `Topology.checked`. Converted networks are in no figure
and are not counted.
"""

from dataclasses import dataclass
from typing import Literal

from sresnet.models import build
from sresnet.models.network import num_parameters
from sresnet.studies.paper import TABLE14


@dataclass(frozen=True, kw_only=True)
class Conv:
    """A convolution without bias."""

    inputs: int
    outputs: int
    kernel: int = 3

    @property
    def parameters(self) -> int:
        """Its weights."""
        return self.inputs * self.outputs * self.kernel**2


@dataclass(frozen=True, kw_only=True)
class Linear:
    """A fully connected layer."""

    inputs: int
    outputs: int
    bias: bool = False

    @property
    def parameters(self) -> int:
        """Its weights, and a bias per output if it has them."""
        return (self.inputs + self.bias) * self.outputs


@dataclass(frozen=True, kw_only=True)
class Norm:
    """A batch norm."""

    channels: int
    bias: bool = True
    """Whether beta is learned beside gamma."""
    steps: int = 1
    """Norms of the same size, one for every time step (BNTT)."""

    @property
    def parameters(self) -> int:
        """Gamma, and beta if it has one, of every channel and step."""
        return self.channels * (1 + self.bias) * self.steps


@dataclass(frozen=True, kw_only=True)
class Leak:
    """The one number that a layer of PLIF neurons learns."""

    @property
    def parameters(self) -> int:
        """One."""
        return 1


Layer = Conv | Linear | Norm | Leak


@dataclass(frozen=True, kw_only=True)
class Topology:
    """A network as a list of what has parameters; pools, dropout and neurons with a fixed leak have none."""

    name: str
    layers: tuple[Layer, ...]
    source: str
    """What the layers were read in."""
    checked: Literal["authors' code", "not verified"]
    """not verified: the authors' own code was not found; `source` says what was used in its place."""
    note: str = ""
    """What else a reader must know."""

    @property
    def parameters(self) -> int:
        """Trainable numbers."""
        return sum(layer.parameters for layer in self.layers)


# ---------------------------------------------------------------------------------------------------------------------


def kim_vgg9(num_classes: int, num_steps: int) -> tuple[Layer, ...]:
    """Kim & Panda's VGG9 for 32x32 images: seven convolutions and a hidden layer of 1024; a gamma per step, no beta."""
    layers: list[Layer] = []
    channels = 3
    for width in (64, 64, 128, 128, 256, 256, 256):
        layers += [Conv(inputs=channels, outputs=width), Norm(channels=width, bias=False, steps=num_steps)]
        channels = width
    layers += [Linear(inputs=4 * 4 * 256, outputs=1024), Norm(channels=1024, bias=False, steps=num_steps)]
    return (*layers, Linear(inputs=1024, outputs=num_classes))


def lee_resnet11() -> tuple[Layer, ...]:
    """Lee et al.'s ResNet-11: four blocks, the first three with a 1x1 convolution on the skip; no norm, no bias."""
    layers: list[Layer] = [Conv(inputs=3, outputs=64)]
    channels = 64
    for width in (128, 256, 512, 512):
        layers += [Conv(inputs=channels, outputs=width), Conv(inputs=width, outputs=width)]
        if width != channels:
            layers.append(Conv(inputs=channels, outputs=width, kernel=1))
        channels = width
    return (*layers, Linear(inputs=512 * 4 * 4, outputs=1024), Linear(inputs=1024, outputs=10))


def zheng_resnet19(in_channels: int, stem: int = 128) -> tuple[Layer, ...]:
    """Zheng et al.'s ResNet-19 (tdBN): three, three and two blocks, and two fully connected layers with bias."""
    layers: list[Layer] = [Conv(inputs=in_channels, outputs=stem), Norm(channels=stem)]
    channels = stem
    for width, blocks in ((128, 3), (256, 3), (512, 2)):
        for _ in range(blocks):
            layers += [Conv(inputs=channels, outputs=width), Norm(channels=width)]
            layers += [Conv(inputs=width, outputs=width), Norm(channels=width)]
            if width != channels:
                layers += [Conv(inputs=channels, outputs=width, kernel=1), Norm(channels=width)]
            channels = width
    return (*layers, Linear(inputs=512, outputs=256, bias=True), Linear(inputs=256, outputs=10, bias=True))


def fang_cifar_net() -> tuple[Layer, ...]:
    """Fang et al.'s PLIF network for CIFAR-10: six convolutions of 256 filters, two fully connected layers."""
    layers: list[Layer] = []
    for channels in (3, 256, 256, 256, 256, 256):
        layers += [Conv(inputs=channels, outputs=256), Norm(channels=256), Leak()]
    layers += [Linear(inputs=256 * 8 * 8, outputs=2048), Leak(), Linear(inputs=2048, outputs=100), Leak()]
    return tuple(layers)


def fang_dvs_net() -> tuple[Layer, ...]:
    """Fang et al.'s PLIF network for DVS-CIFAR10 at 128x128: four convolutions of 128 filters, each with a pool."""
    layers: list[Layer] = []
    for channels in (2, 128, 128, 128):
        layers += [Conv(inputs=channels, outputs=128), Norm(channels=128), Leak()]
    layers += [Linear(inputs=128 * 8 * 8, outputs=2048), Leak(), Linear(inputs=2048, outputs=100), Leak()]
    return tuple(layers)


def fang_wide_7b() -> tuple[Layer, ...]:
    """Fang et al.'s Wide-7B-Net: four SEW blocks of 64 filters and three of 128, 1x1 convolutions between."""
    layers: list[Layer] = []
    channels = 2
    for width in (64, 64, 64, 64, 128, 128, 128):
        if width != channels:
            layers += [Conv(inputs=channels, outputs=width, kernel=1), Norm(channels=width), Leak()]
        layers += [Conv(inputs=width, outputs=width), Norm(channels=width), Leak()] * 2
        channels = width
    return (*layers, Linear(inputs=128, outputs=10, bias=True))


BNTT_CODE = "github.com/Intelligent-Computing-Lab-Yale/BNTT-Batch-Normalization-Through-Time, model.py"
PLIF_CODE = "github.com/fangwei123456/Parametric-Leaky-Integrate-and-Fire-Spiking-Neuron, codes/models.py"
RESNET19_SOURCE = (
    "the paper's table as two other re-implementations give it (github.com/thiswinex/STBP-simple among them)"
)
RESNET19_NOTE = "one of the two has 64 filters in the stem, which makes 12.63 million parameters for 3 input channels"

KIM_CIFAR10 = Topology(
    name="VGG9 (BNTT, T = 25)",
    layers=kim_vgg9(10, 25),
    source=BNTT_CODE,
    checked="authors' code",
    note="their 25 time steps; every step has its own gammas",
)
KIM_CIFAR100 = Topology(
    name="VGG9 (BNTT, T = 25)",
    layers=kim_vgg9(100, 25),
    source=BNTT_CODE,
    checked="authors' code",
    note="the network that Table 14 names, at the code's default of 25 time steps; which run gave 66.6 % not verified",
)
LEE = Topology(
    name="ResNet-11",
    layers=lee_resnet11(),
    source="github.com/chan8972/Enabling_Spikebased_Backpropagation, src/cifar10_ResNet11.py",
    checked="authors' code",
)
ZHENG = Topology(
    name="ResNet-19 (tdBN)",
    layers=zheng_resnet19(3),
    source=RESNET19_SOURCE,
    checked="not verified",
    note=RESNET19_NOTE,
)
ZHENG_EVENTS = Topology(
    name="ResNet-19 (tdBN)",
    layers=zheng_resnet19(2),
    source=RESNET19_SOURCE,
    checked="not verified",
    note="taken to be the network for CIFAR-10 with two input channels",
)
FANG_CIFAR = Topology(name="CifarNet (PLIF)", layers=fang_cifar_net(), source=PLIF_CODE, checked="authors' code")
FANG_DVS = Topology(
    name="CifarDVSNet (PLIF)",
    layers=fang_dvs_net(),
    source=PLIF_CODE,
    checked="authors' code",
    note="four convolutions, as the names of their logs say",
)
FANG_SEW = Topology(
    name="Wide-7B-Net",
    layers=fang_wide_7b(),
    source="github.com/fangwei123456/Spike-Element-Wise-ResNet, cifar10dvs/smodels.py",
    checked="authors' code",
    note="the one network of that file, seven blocks of 64 and 128 filters; the code does not call it by its name",
)

# ---------------------------------------------------------------------------------------------------------------------

Method = Literal["Spiking BP", "SNN conversion"]

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


@dataclass(frozen=True, kw_only=True)
class Published:
    """A row of Table 14."""

    network: str
    """As the table calls it."""
    method: Method
    data: str
    """CIFAR-10, CIFAR-100 or DVS-CIFAR10."""
    accuracy: float
    """Percent, "validation": the best epoch on the test images."""
    reference: int | None
    """In the paper's list; None: the paper's own."""
    topology: Topology | None = None
    """The network written out, where Figs. 4 to 6 show it; None: not counted, or not known."""

    @property
    def parameters(self) -> int | None:
        """Trainable numbers, where they are known."""
        if self.reference is None:
            return own_parameters(self.data)
        return self.topology.parameters if self.topology else None


def row(
    network: str, data: str, accuracy: float, reference: int | None, topology: Topology | None = None, *, by: Method
) -> Published:
    """One line of the table below."""
    return Published(network=network, method=by, data=data, accuracy=accuracy, reference=reference, topology=topology)


TABLE_14: tuple[Published, ...] = (
    row("Kim S-VGG9", "CIFAR-10", 90.05, 19, KIM_CIFAR10, by="Spiking BP"),
    row("Lee Residual SNN (11)", "CIFAR-10", 90.95, 25, LEE, by="Spiking BP"),
    row("Zheng S-ResNet'19", "CIFAR-10", 93.15, 27, ZHENG, by="Spiking BP"),
    row("Fang CifarNet", "CIFAR-10", 93.50, 28, FANG_CIFAR, by="Spiking BP"),
    row("Wu VGG-11", "CIFAR-10", 91.24, 14, by="SNN conversion"),
    row("Sengupta VGG-16", "CIFAR-10", 91.55, 39, by="SNN conversion"),
    row("Stöckl ResNet-50", "CIFAR-10", 92.42, 16, by="SNN conversion"),
    row("Deng ResNet-20", "CIFAR-10", 93.58, 13, by="SNN conversion"),
    row("Han VGG16", "CIFAR-10", 93.63, 12, by="SNN conversion"),
    row("S-ResNet38", "CIFAR-10", 94.14, None, by="Spiking BP"),
    row("Kim S-VGG9", "CIFAR-100", 66.6, 19, KIM_CIFAR100, by="Spiking BP"),
    row("Han VGG16", "CIFAR-100", 70.97, 12, by="SNN conversion"),
    row("Deng VGG-16", "CIFAR-100", 72.34, 13, by="SNN conversion"),
    row("S-ResNet38", "CIFAR-100", 74.65, None, by="Spiking BP"),
    row("Kim S-VGG9", "DVS-CIFAR10", 63.2, 19, by="Spiking BP"),  # their released code has no network for events
    row("Zheng S-ResNet'19", "DVS-CIFAR10", 67.8, 27, ZHENG_EVENTS, by="Spiking BP"),
    row("Fang Wide-7B-Net", "DVS-CIFAR10", 74.4, 29, FANG_SEW, by="Spiking BP"),
    row("Fang CifarDVSNet", "DVS-CIFAR10", 74.8, 28, FANG_DVS, by="Spiking BP"),
    row("S-ResNet38", "DVS-CIFAR10", 72.98, None, by="Spiking BP"),
)
"""In the paper's order."""

TOPOLOGIES: tuple[Topology, ...] = tuple(entry.topology for entry in TABLE_14 if entry.topology)
"""Those that Figs. 4 to 6 need, in the order of the table."""


def own_parameters(data: str) -> int:
    """Parameters of the paper's own network of Table 14, by building it: that of `paper.TABLE14`, which says why.

    The caption names others: boosting on CIFAR-100 too, and 16 filters on DVS-CIFAR10 (docs/paper-and-code.md).
    """
    (cell,) = [cell for cell in TABLE14.cells if cell.column == data]
    return num_parameters(build(cell.training.recipe.model))
