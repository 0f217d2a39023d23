"""What the paper argues and has no table for, as studies in the form of its tables; no cell has a paper's value."""

from dataclasses import replace

from sresnet.data import DataConfig
from sresnet.models import VGGConfig
from sresnet.studies.study import Cell, Study, Training
from sresnet.train.recipe import Recipe
from sresnet.train.recipes import paper


def cell(row: str, column: str, recipe: Recipe) -> Cell:
    """A cell that the paper has no number for."""
    return Cell(row=row, column=column, training=Training(recipe=recipe), paper=None)


DEPTHS = (20, 38, 44)
"""Of Table 3."""

DEPTH_NONE = Study(
    name="depth-none",
    title="Depth without residual connections, all else as in Table 3",
    cells=tuple(
        cell(
            f"plain network, {depth} layers",
            "CIFAR-10",
            paper("cifar10", depth=depth, base_filters=16, connection="none"),
        )
        for depth in DEPTHS
    ),
    note="Section 4 says that residual connections let depth grow; this is the other half of that comparison.",
)

FIGURE3 = Study(
    name="figure3",
    title="Activity and gamma maps of three connections and a spiking VGG11 (Fig. 3)",
    cells=(
        cell(
            "VGG11",
            "CIFAR-100",
            replace(paper("cifar100"), model=VGGConfig(num_classes=100), data=DataConfig(name="cifar100")),
        ),
        *(
            cell(f"S-ResNet38 {connection.upper()}", "CIFAR-100", paper("cifar100", connection=connection))
            for connection in ("s2m", "s2s", "v2v")
        ),
    ),
    note="The S-ResNets are those of Table 2 and are not trained again. Maps are means over the test images.",
)

OURS: dict[str, Study] = {study.name: study for study in (DEPTH_NONE, FIGURE3)}
"""name -> study."""
