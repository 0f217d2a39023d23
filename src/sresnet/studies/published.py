"""Table 14: what the paper quotes of others, and how many parameters their networks have (Figs. 4 to 6).

The paper prints the accuracies and draws Figs. 4 to 6 without numbers, "counted using their publicly available code".
Here every network of the table is one of this package (`models.families`), built as its authors have it and counted;
where sources differ, every reading is. Of a converted one it is the ANN, which has as many. What it was taken from is
in `Topology.source`, and whether that is the authors' own code in `Topology.checked`. Converted networks are in no
figure.
"""

from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import Any, Literal

from sresnet.models import ModelConfig, model_config
from sresnet.models.network import num_parameters
from sresnet.models.size import sketch
from sresnet.studies.paper import TABLE14


@dataclass(frozen=True)
class Topology:
    """A network of others."""

    model: str
    """Its name for `create_model`."""
    source: str
    """What its layers were read in."""
    checked: Literal["authors' code", "not verified", "ours"] = "authors' code"
    """not verified: the authors' own code was not found; `source` says what was used in its place. ours: nothing was;
    it is in no figure."""
    _: KW_ONLY
    fields: dict[str, Any] = field(default_factory=dict)
    """Where it differs from what the name gives."""
    note: str = ""
    """What else a reader must know."""
    others: tuple["Topology", ...] = ()
    """Other readings of the same source or of the paper's table."""

    @property
    def config(self) -> ModelConfig:
        """The configuration of the network."""
        return model_config(self.model, **self.fields)

    @property
    def of_theirs(self) -> bool:
        """It is a network of the authors, not one of ours in its place."""
        return self.checked != "ours"

    @cached_property
    def parameters(self) -> int:
        """Trainable numbers, counted by building it."""
        return num_parameters(sketch(self.config))


# ---------------------------------------------------------------------------------------------------------------------

BNTT_CODE = "github.com/Intelligent-Computing-Lab-Yale/BNTT-Batch-Normalization-Through-Time, model.py"
PLIF_CODE = "github.com/fangwei123456/Parametric-Leaky-Integrate-and-Fire-Spiking-Neuron, codes/models.py"
SEW_CODE = "github.com/fangwei123456/Spike-Element-Wise-ResNet, cifar10dvs/smodels.py"
RESNET19_SOURCE = (
    "the paper's table as one reader gives it, and three re-implementations (github.com/thiswinex/STBP-simple among "
    "them)"
)

KIM_CIFAR10 = Topology(
    "kim-vgg9",
    BNTT_CODE,
    note="their 25 time steps; every step has its own gammas. Kim & Panda's own figure for it is 90.5 %, so 90.05 is "
    "likely a slip of Table 14",
)
KIM_CIFAR100 = Topology(
    "kim-vgg11",
    BNTT_CODE,
    note="Table 14 calls it VGG9; the README of the authors' code trains VGG11 on CIFAR-100, with 30 time steps",
    others=(
        Topology(
            "kim-vgg9", BNTT_CODE, "not verified", fields={"num_classes": 100}, note="VGG9, T = 25, as Table 14 says"
        ),
    ),
)
KIM_EVENTS = Topology(
    "kim-vgg9-dvs",
    "our choice: their released code has no network for events",
    "ours",
    note="VGG9 with two input channels, T = 20",
)
LEE = Topology("lee-resnet11", "github.com/chan8972/Enabling_Spikebased_Backpropagation, src/cifar10_ResNet11.py")


def _zheng(in_channels: int, note: str) -> Topology:
    """ResNet-19 in all readings: 128 or 64 filters in the stem, identities with and without a norm."""

    def reading(name: str, note: str, others: tuple[Topology, ...] = ()) -> Topology:
        fields = {"in_channels": in_channels}
        return Topology(name, RESNET19_SOURCE, "not verified", fields=fields, note=note, others=others)

    others = (
        reading("zheng-resnet19-64", "a stem of 64 filters, as all three re-implementations have it"),
        reading("zheng-resnet19-tdbn", "norms on identities, as the paper says of Zheng's skips"),
        reading("zheng-resnet19-64-tdbn", "both"),
    )
    return reading("zheng-resnet19", note, others)


ZHENG = _zheng(
    3, "a stem of 128 filters, as one reader gives the paper's table; later papers quote 12.63 million, that of 64"
)
ZHENG_EVENTS = _zheng(2, "taken to be the network for CIFAR-10 with two input channels")
FANG_CIFAR = Topology("fang-cifar", PLIF_CODE, note="their log: best test epoch 93.50, last 92.40")
FANG_DVS = Topology(
    "fang-dvs",
    PLIF_CODE,
    note="frames of 128x128; four convolutions, as the names of their logs say: best test epoch 74.80, last 72.20",
)
FANG_SEW = Topology(
    "fang-wide-7b",
    SEW_CODE,
    note="1x1 convolutions, as in the code that gave their log: best test epoch 74.40, last 72.80; in print it is 3x3",
    others=(
        Topology("fang-wide-7b", "the paper's text", "not verified", fields={"widening": 3}, note="3x3 as printed"),
    ),
)

DENG_CODE = "github.com/Jackn0/snn_optimal_conversion_pipeline"
RATHI = "the group's later code (github.com/nitin-rathi/hybrid-snn-conversion); that of the paper was not found"
WU = Topology(
    "wu-vgg11", "github.com/deepspike/progressive_tandem_learning", note="counts of 16 time steps are passed on"
)
SENGUPTA = Topology("sengupta-vgg16", RATHI, "not verified")
STOECKL = Topology(
    "stoeckl-resnet50",
    "github.com/christophstoeckl/FS-neurons, and its checkpoint",
    note="the ResNet of depth 6n + 2 for CIFAR, not that for ImageNet",
)
DENG_CIFAR10 = Topology("deng-resnet20", DENG_CODE)
DENG_CIFAR100 = Topology("deng-vgg16", DENG_CODE, fields={"num_classes": 100, "limit": 2.0})
HAN_CIFAR10 = Topology("sengupta-vgg16", RATHI, "not verified", note="taken to be the network of Sengupta et al.")
HAN_CIFAR100 = Topology(
    "sengupta-vgg16",
    RATHI,
    "not verified",
    fields={"num_classes": 100},
    note="taken to be the network of Sengupta et al.; 70.97 is of TSC, as the paper says, RMP-SNN reports 70.93",
)

# ---------------------------------------------------------------------------------------------------------------------

Method = Literal["Spiking BP", "SNN conversion"]

REFERENCES: dict[int, str] = {
    12: "Han & Roy, ECCV 2020 (TSC, not RMP-SNN)",
    13: "Deng & Gu, ICLR 2021",
    14: "Wu et al., IEEE TPAMI 2021 (progressive tandem learning)",
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
    """The network; None: the paper's own."""
    _: KW_ONLY
    conversion: str = ""
    """How the ANN becomes spiking, of `study.CONVERSIONS`; "" where the network is trained as a spiking one."""

    @property
    def row(self) -> str:
        """As the study of the table calls it."""
        return f"Ours {self.network}" if self.topology is None else self.network

    @property
    def method(self) -> Method:
        """As the table has it."""
        return "SNN conversion" if self.conversion else "Spiking BP"

    @property
    def in_figures(self) -> bool:
        """It is one of Figs. 4 to 6: of the paper or of others, trained directly, and known."""
        return not self.conversion and (self.topology is None or self.topology.of_theirs)

    @property
    def parameters(self) -> int | None:
        """Trainable numbers, where they are known."""
        if self.reference is None:
            return _own_parameters(self.data)
        return self.topology.parameters if self.topology and self.topology.of_theirs else None


TABLE_14: tuple[Published, ...] = (
    Published("Kim S-VGG9", "CIFAR-10", 90.05, 19, KIM_CIFAR10),
    Published("Lee Residual SNN (11)", "CIFAR-10", 90.95, 25, LEE),
    Published("Zheng S-ResNet'19", "CIFAR-10", 93.15, 27, ZHENG),
    Published("Fang CifarNet", "CIFAR-10", 93.50, 28, FANG_CIFAR),
    Published("Wu VGG-11", "CIFAR-10", 91.24, 14, WU, conversion="tandem"),
    Published("Sengupta VGG-16", "CIFAR-10", 91.55, 39, SENGUPTA, conversion="spikenorm"),
    Published("Stöckl ResNet-50", "CIFAR-10", 92.42, 16, STOECKL, conversion="few-spikes"),
    Published("Deng ResNet-20", "CIFAR-10", 93.58, 13, DENG_CIFAR10, conversion="deng"),
    Published("Han VGG16", "CIFAR-10", 93.63, 12, HAN_CIFAR10, conversion="tsc"),
    Published("S-ResNet38", "CIFAR-10", 94.14, None),
    Published("Kim S-VGG9", "CIFAR-100", 66.6, 19, KIM_CIFAR100),
    Published("Han VGG16", "CIFAR-100", 70.97, 12, HAN_CIFAR100, conversion="tsc"),
    Published("Deng VGG-16", "CIFAR-100", 72.34, 13, DENG_CIFAR100, conversion="deng"),
    Published("S-ResNet38", "CIFAR-100", 74.65, None),
    Published("Kim S-VGG9", "DVS-CIFAR10", 63.2, 19, KIM_EVENTS),
    Published("Zheng S-ResNet'19", "DVS-CIFAR10", 67.8, 27, ZHENG_EVENTS),
    Published("Fang Wide-7B-Net", "DVS-CIFAR10", 74.4, 29, FANG_SEW),
    Published("Fang CifarDVSNet", "DVS-CIFAR10", 74.8, 28, FANG_DVS),
    Published("S-ResNet38", "DVS-CIFAR10", 72.98, None),
)
"""In the paper's order."""

TOPOLOGIES: tuple[Topology, ...] = tuple(each.topology for each in TABLE_14 if each.topology and each.in_figures)
"""Those that Figs. 4 to 6 need, in the order of the table."""


def published_as(model: str) -> tuple[Published, ...]:
    """The rows of Table 14 that are a network of this name."""
    theirs = [entry for entry in TABLE_14 if entry.topology and entry.topology.of_theirs]
    return tuple(entry for entry in theirs if entry.topology and entry.topology.model == model)


def _own_parameters(data: str) -> int:
    """Parameters of the paper's own network of Table 14, by building it: that of `paper.TABLE14`, which says why.

    The caption names others: boosting on CIFAR-100 too, and 16 filters on DVS-CIFAR10 (docs/paper-and-code.md).
    """
    (cell,) = [cell for cell in TABLE14.cells if cell.column == data]
    return num_parameters(sketch(cell.training.recipe.model))
