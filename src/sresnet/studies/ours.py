"""What the paper argues and has no table for, as studies in the form of its tables; no cell has a paper's value."""

from dataclasses import replace

from sresnet.data import DataConfig
from sresnet.models import VGGConfig
from sresnet.studies.study import Cell, Study, Training
from sresnet.train.recipes import paper

DEPTH_NONE = Study(
    name="depth-none",
    title="Depth without residual connections, all else as in Table 3",
    cells=tuple(
        Cell(
            f"plain network, {depth} layers",
            "CIFAR-10",
            Training(recipe=paper("cifar10", depth=depth, base_filters=16, connection="none")),
            None,
        )
        for depth in (20, 38, 44)
    ),
    note="Section 4 says that residual connections let depth grow; this is the other half of that comparison.",
)

VGG11 = replace(paper("cifar100"), model=VGGConfig(num_classes=100), data=DataConfig(name="cifar100"))

FIGURE3 = Study(
    name="figure3",
    title="Activity and gamma maps of three connections and a spiking VGG11 (Fig. 3)",
    cells=(
        Cell("VGG11", "CIFAR-100", Training(recipe=VGG11), None),
        *(
            Cell(f"S-ResNet38 {name.upper()}", "CIFAR-100", Training(recipe=paper("cifar100", connection=name)), None)
            for name in ("s2m", "s2s", "v2v")
        ),
    ),
    note="The S-ResNets are those of Table 2 and are not trained again. Maps are means over the test images.",
)

OURS: dict[str, Study] = {study.name: study for study in (DEPTH_NONE, FIGURE3)}
"""name -> study."""
