"""Cells of the paper's tables by short names, for what looks at several of them: claims and figures.

Such as T2_10["s2s"]: Table 2, CIFAR-10, S2S.
"""

from dataclasses import dataclass

from sresnet.studies.paper import C10, C100, DVS, SCRATCH, TUNED, WIDE_SCRATCH, WIDE_TUNED


@dataclass(frozen=True, kw_only=True)
class Pick:
    """A cell of a study, and what the evidence calls it."""

    label: str
    study: str
    row: str
    column: str

    @property
    def key(self) -> tuple[str, str]:
        """Of the cell in its study."""
        return self.row, self.column


def _on(study: str, column: str, **rows: str) -> dict[str, Pick]:
    """Cells of one column, by short names: name -> row."""
    short = column.removesuffix(" Accuracy").removesuffix(" Acc")
    return {name: Pick(label=f"{row} ({short})", study=study, row=row, column=column) for name, row in rows.items()}


CONNECTIONS = {name: f"S-ResNet38 {name.upper()}" for name in ("s2m", "s2s", "v2v")}
AT_THRESHOLD = ", u >= theta"
"""What is added to the names of rows of S2M that spike at the threshold; only scale medium has them."""
_S2M_BOTH = {**CONNECTIONS, "s2m_at": CONNECTIONS["s2m"] + AT_THRESHOLD}
T2_10, T2_100 = _on("table2", C10, **_S2M_BOTH), _on("table2", C100, **_S2M_BOTH)
T3 = _on("table3", C10, shallow="S-ResNet20", middle="S-ResNet38", deep="S-ResNet44")
PLAIN = _on("depth-none", "CIFAR-10", **{f"d{depth}": f"plain network, {depth} layers" for depth in (20, 38, 44)})
T4 = _on("table4", C100, poisson="S-ResNet38 Poisson spike generation", image="S-ResNet38 Raw image")
T5 = _on("table5", C100, bntt="S-ResNet38 BN TT", averaged="S-ResNet38 BN time averaged")
SIZES = {
    "narrow": "S-ResNet38",
    "narrow_boosted": "S-ResNet38 + boosting",
    "wide": "S-ResNet38 wider",
    "wide_boosted": "S-ResNet38 wider + boosting",
}
T6, T7 = _on("table6", C100, **SIZES), _on("table7", C10, **SIZES)
T8 = _on("table8", C100, lif="S-ResNet38 LIF", plif="S-ResNet38 Parametric LIF")
T9 = _on("table9", "Leak coefficient", search="Hyper-parameter search", learned="Learned through PLIF")
T10 = _on("table10", C100, lif="S-ResNet38 wider + Boost LIF", plif="S-ResNet38 wider + Boost Single PLIF")
STARTS = {"scratch": SCRATCH, "tuned": TUNED, "wide_scratch": WIDE_SCRATCH, "wide_tuned": WIDE_TUNED}
T11, T12 = _on("table11", DVS, **STARTS), _on("table12", C10, **STARTS)
T13 = _on(
    "table13",
    "DVS-CIFAR10 Accuracy",
    s32="S-ResNet38, 32x32",
    s64="S-ResNet38 c32k3s2, 64x64",
    s128="S-ResNet38 c32k5s2 MPk2s2, 128x128",
)
T14_10 = _on("table14", "CIFAR-10", ours="Ours S-ResNet38")["ours"]
T14_100 = _on("table14", "CIFAR-100", ours="Ours S-ResNet38")["ours"]
T15 = _on(
    "table15",
    C10,
    ann="ResNet38 (ANN)",
    wide_ann="ResNet38 wider (ANN)",
    snn="S-ResNet38 (SNN)",
    wide_snn="S-ResNet38 wider (SNN)",
)
STEPS = {
    f"s{steps}of{trained}": f"{steps} steps of {trained} trained"
    for steps, trained in ((50, 50), (40, 50), (30, 50), (20, 50), (20, 20), (10, 50), (10, 20))
}
T16_10, T16_100 = _on("table16", "CIFAR-10 Acc", **STEPS), _on("table16", "CIFAR-100 Acc", **STEPS)
RISING = ("s10of50", "s20of50", "s30of50", "s40of50", "s50of50")
T17 = _on(
    "table17",
    "CIFAR-10 Acc",
    cut="leak 0.874, 20 steps of 50 trained",
    fixed="leak 0.874, 20 steps of 20 trained",
    learned="learned leak, 20 steps of 20 trained",
)
F3 = _on("figure3", "CIFAR-100", vgg="VGG11", **CONNECTIONS)
RESIDUAL = (F3["s2m"], F3["s2s"], F3["v2v"])
