"""Conversions of trained ANNs on real CIFAR-10: python experiments/conversions.py DATA_DIR [--minutes 60].

A ResNet-20 of rectifiers is trained once and converted by every method at every number of time steps; so is a VGG-11,
by tandem learning, which knows no sums; and a ResNet-20 of units that become steps. A tenth of the training images is
held out; fields, epochs and time steps were fixed before, and test images are read once for each row. A run that was
stopped resumes, a finished one is not repeated. Writes results/conversions.json, a table and a figure beside it.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from experiment import RESULTS, accuracy, carry_out, flags, groups, images_in, machine, numbers, read, save, study

from sresnet.convert import FewSpikesConfig, WhetstoneConfig
from sresnet.convert.rate import RATE_METHODS
from sresnet.models import SResNetConfig
from sresnet.report import plots
from sresnet.report.figures import conversion_curves
from sresnet.studies.conversions import Point
from sresnet.studies.study import Conversion, Result, Study, Training
from sresnet.train.recipe import Recipe
from sresnet.train.recipes import FAST_CIFAR10, RECIPES
from sresnet.train.tandem import TandemConfig

COMMAND = "python experiments/conversions.py DATA_DIR"
"""What makes the record."""
NAME = "conversions"
EPOCHS, LOW_RES_EPOCHS = 36, 22
TIME_STEPS = (8, 16, 32, 64, 256)
INTERNAL_STEPS = (4, 6, 8, 10)
TANDEM_STEPS = (8, 16)
LARGEST_PIXEL = 2.2
"""Poisson spikes stand for this: no normalised pixel is beyond it."""
RATES = {
    "deng": RATE_METHODS["deng"],
    "deng-99.9": replace(RATE_METHODS["deng"], thresholds="percentile"),
    "spikenorm": replace(RATE_METHODS["spikenorm"], poisson_scale=LARGEST_PIXEL),
    "rmp": replace(RATE_METHODS["rmp"], poisson_scale=LARGEST_PIXEL),
    "tsc": RATE_METHODS["tsc"],
}
"""Rows -> methods of firing rates; the second, ours, has a threshold that a thousandth of the activations exceed."""
VGG_EPOCHS = 40
TANDEM = TandemConfig(epochs=60, stage_epochs=5, batch_size=128)
"""Eleven stages of at most five epochs; the authors wait for six epochs without progress in each."""


def ann() -> Recipe:
    """ResNet-20, 16 filters, one time step: its units are rectifiers, its norms have shifts, its pools are averages."""
    model = SResNetConfig(
        depth=20, base_filters=16, neuron="relu", num_steps=1, connection="s2m", downsample="avg", norm_bias=True
    )
    train = replace(
        FAST_CIFAR10.train,
        epochs=EPOCHS,
        low_res_epochs=LOW_RES_EPOCHS,
        progressive_epochs=(),
        loss="mean",
        precision="bf16",
    )
    return replace(FAST_CIFAR10, model=model, train=train)


def sharpened() -> Recipe:
    """The same of units that become steps from a third of the epochs on; the last tenth leaves the readout to learn."""
    recipe = ann()
    return replace(
        recipe,
        model=replace(recipe.model, neuron="sharpened"),
        train=replace(recipe.train, sharpen_epochs=(EPOCHS // 3, EPOCHS - 4)),
    )


def vgg() -> Recipe:
    """The VGG-11 of tandem learning, an eighth as wide."""
    recipe = RECIPES["wu-vgg11-small"][1]
    data = replace(recipe.data, validation=0.1)
    return replace(recipe, data=data, train=replace(recipe.train, epochs=VGG_EPOCHS))


def rows() -> Study:
    """All rows: what the first ANN becomes, every method with few time steps before any with more; then the others."""
    trained = {name: Training(recipe=recipe, name=name) for name, recipe in NETWORKS.items()}
    found = {"ann": trained["ann"]}

    def convert(row: str, start: str, conversion: Conversion) -> None:
        found.setdefault(start, trained[start])
        found[row] = Training(recipe=NETWORKS[start], name=row, start=trained[start], conversion=conversion)

    for steps in INTERNAL_STEPS:
        convert(f"few-spikes-K{steps}", "ann", FewSpikesConfig(internal_steps=steps))
        convert(f"few-spikes-own-K{steps}", "ann", FewSpikesConfig(internal_steps=steps, largest="calibrated"))
    for steps in TIME_STEPS:
        for name, method in RATES.items():
            convert(f"{name}-T{steps}", "ann", replace(method, num_steps=steps))
    convert("whetstone-T1", "ann-sharpened", WhetstoneConfig())
    for steps in TANDEM_STEPS:
        convert(f"tandem-T{steps}", "ann-vgg11", replace(TANDEM, num_steps=steps))
    return study(NAME, found)


NETWORKS = {"ann": ann(), "ann-sharpened": sharpened(), "ann-vgg11": vgg()}
"""What is trained and then converted."""
BEFORE = {"whetstone": "ann-sharpened", "tandem": "ann-vgg11"}
"""Method -> its ANN; "ann" for others."""


def main() -> None:
    """Train, convert and write."""
    options = flags(__doc__, "runs/conversions", "data_dir").parse_args()
    if not carry_out([rows()], images_in(options.data_dir), options):
        return
    save(NAME, [rows()], options, table, COMMAND)
    draw(groups([rows()], read(RESULTS / f"{NAME}.json")), RESULTS / NAME)


def point(row: str, result: Result) -> Point:
    """A row of the figure."""
    counted = result.activity or {}
    return Point(
        name=row.rpartition("-")[0],
        num_steps=int(row.rpartition("-")[2][1:]),
        top1=float(result.result["test_top1"]),
        spikes=float(counted["spikes"]),
        synaptic_operations=float(counted["synaptic_operations"]),
        energy=float(counted["energy"]),
        images=int(result.result["test_images"]),
    )


def draw(found: Mapping[str, list[Result]], path: Path) -> None:
    """The figure of what the ResNet-20 became."""
    of_ann = {row: group[0] for row, group in found.items() if row not in NETWORKS and before(row) == "ann"}
    if not of_ann or "ann" not in found:
        return
    points = [point(row, result) for row, result in of_ann.items()]
    plots.save_as(plots.draw(conversion_curves(points, numbers(found["ann"])[0])), path.with_suffix(".png"))


def before(row: str) -> str:
    """The ANN of a row."""
    return BEFORE.get(row.rpartition("-")[0], "ann")


def table(found: Mapping[str, list[Result]]) -> list[str]:
    """The lines of results/conversions.md."""
    networks = {name: f"{accuracy(found[name])} %" if name in found else "not finished" for name in NETWORKS}
    lines = [
        "# Conversions of trained ANNs on CIFAR-10",
        "",
        f"Made by `{COMMAND}`: test accuracy on all 10,000 test images,",
        f"one seed. The ANN, a ResNet-20 of 16 filters, has {EPOCHS} epochs, {LOW_RES_EPOCHS} at three quarters",
        f"of the size, and nine tenths of the training images: {networks['ann']}. The same of units that become",
        f"steps: {networks['ann-sharpened']}. The VGG-11 of tandem learning, an eighth as wide, {VGG_EPOCHS} epochs:",
        f"{networks['ann-vgg11']}; tandem learning is cut to {TANDEM.stage_epochs} epochs a layer. Spikes,",
        "operations and energy are means over 1,000 test images, as docs/analysis.md counts them: float32 on 45 nm,",
        "arithmetic alone. Rows that are not finished are missing.",
        "",
        "| method, steps | test accuracy, % | less than its ANN | spikes | operations | energy, µJ |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row, group in found.items():
        if row in NETWORKS:
            continue
        each = point(row, group[0])
        lost = float(group[0].result["ann_test_top1"]) - each.top1
        lines.append(
            f"| {row} | {each.top1:.2f} | {lost:.2f} | {each.spikes:,.0f} | {each.synaptic_operations:,.0f} | "
            f"{each.energy:,.1f} |"
        )
    notes = [
        "",
        "T: time steps; K: steps within one. deng takes the largest activations as thresholds; deng-99.9, ours,",
        "those that a thousandth exceed. few-spikes reaches 25 in each layer, as published; few-spikes-own the layer's",
        f"largest activation. A Poisson spike is worth {LARGEST_PIXEL}, beyond any pixel. tsc cuts pixels one",
        "deviation from the mean; what its hidden neurons send is our choice (docs/convert.md).",
        "",
        f"{machine(found)}. The machine did other things meanwhile, so no speeds.",
    ]
    return [*lines, *notes]


if __name__ == "__main__":
    main()
