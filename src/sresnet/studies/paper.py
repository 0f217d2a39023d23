"""Sections 4 and 5 of the paper as data: every table whose numbers come from training, row by row.

Table 14's rows of other authors are in `published`; what the paper has no table for is in `ours`.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sresnet.models import ANN_COUNTERPART
from sresnet.studies.ours import OURS
from sresnet.studies.searches import FOR_TABLE_9
from sresnet.studies.study import Cell, Study, Training
from sresnet.train.recipes import paper, paper_events

C10, C100, DVS = "CIFAR-10 Accuracy", "CIFAR-100 Accuracy", "DVS CIFAR-10 Acc"


def _trained(
    data: str, *, epochs: int = 70, start: Training | None = None, validation: float = 0.0, **model: object
) -> Training:
    """A network on CIFAR with the settings of Sections 3.3 to 3.5: depth 38, 32 filters, T = 50, if not said."""
    recipe = paper(data, **model)
    recipe = replace(recipe, train=replace(recipe.train, epochs=epochs))
    if validation:
        recipe = replace(recipe, data=replace(recipe.data, validation=validation))
    return Training(recipe=recipe, start=start)


def _narrow(data: str, **fields: Any) -> Training:
    """As `_trained`, with 16 filters."""
    return _trained(data, base_filters=16, **fields)


def _on_events(size: int, start: Training | None = None, **model: object) -> Training:
    """A network on DVS-CIFAR10 frames of `size` pixels, 70 epochs: depth 38, 32 filters, T = 50, if not said."""
    return Training(recipe=paper_events(size, **model), start=start)


def _counted(row: str, training: Training, parameters: int) -> Cell:
    """The parameters of a network."""
    return Cell(row, "Parameters", training, float(parameters), quantity="parameters")


# Networks that several tables look at. Settings that the text does not repeat are those of Section 3.5.

WIDER_10 = _trained("cifar10")
WIDER_100 = _trained("cifar100")
BOOSTED_10 = _trained("cifar10", boosting=True)
BOOSTED_100 = _trained("cifar100", boosting=True)
NARROW_10 = _narrow("cifar10")
NARROW_10_LONG = _narrow("cifar10", epochs=200)
NARROW_100_LONG = _narrow("cifar100", epochs=200)
BOOSTED_NARROW_10 = _narrow("cifar10", boosting=True, epochs=200)
BOOSTED_NARROW_100 = _narrow("cifar100", boosting=True, epochs=200)
SHARED_LEAK_100 = _trained("cifar100", boosting=True, neuron="plif-shared")
DVS_64 = _on_events(64, WIDER_100)

TWO_NUMBERS_WIDER_10 = (
    "one network, two numbers in the paper: 94.01 in Table 2, 92.66 in Tables 7 and 15; the target is 94.01, since "
    "Table 2 states the network and its conclusions rest on it"
)
TWO_NUMBERS_WIDER_100 = (
    "one network, two numbers in the paper: 74.54 in Tables 2 and 5, 74.46 in Table 6; the target is 74.54"
)
ONE_NUMBER_NARROW_10 = (
    "the paper gives 91.97 both after 70 epochs (Tables 3, 15) and after 200 (Tables 7, 12): two runs here, with "
    "the same target"
)

TABLE2 = Study(
    name="table2",
    title="Residual connections S2M, S2S and V2V",
    cells=(
        Cell("S-ResNet38 S2M", C10, _trained("cifar10", connection="s2m"), 89.27),
        Cell("S-ResNet38 S2M", C100, _trained("cifar100", connection="s2m"), 68.64),
        Cell("S-ResNet38 S2S", C10, WIDER_10, 94.01, note=TWO_NUMBERS_WIDER_10),
        Cell("S-ResNet38 S2S", C100, WIDER_100, 74.54, note=TWO_NUMBERS_WIDER_100),
        Cell("S-ResNet38 V2V", C10, _trained("cifar10", connection="v2v"), 93.83),
        Cell("S-ResNet38 V2V", C100, _trained("cifar100", connection="v2v"), 73.79),
    ),
    note="32 base filters, 70 epochs.",
)

TABLE3 = Study(
    name="table3",
    title="Depth",
    cells=(
        Cell("S-ResNet20", C10, _narrow("cifar10", depth=20), 90.89),
        Cell("S-ResNet38", C10, NARROW_10, 91.97, note=ONE_NUMBER_NARROW_10),
        Cell("S-ResNet44", C10, _narrow("cifar10", depth=44), 91.96),
    ),
    note="16 base filters, 70 epochs.",
)

TABLE4 = Study(
    name="table4",
    title="Poisson spikes against the image itself as input",
    cells=(
        Cell(
            "S-ResNet38 Poisson spike generation",
            C100,
            _narrow("cifar100", epochs=100, encoder="poisson-signed"),
            64.96,
            note="the released code's encoder, signed spikes of normalised images; the text could also mean unsigned "
            "ones",
        ),
        Cell("S-ResNet38 Raw image", C100, _narrow("cifar100", epochs=100), 69.03),
    ),
    note="100 epochs. The filters are not stated; 16 fit the 68.71 % of Table 6.",
)

TABLE5 = Study(
    name="table5",
    title="Batch norm through time against one set of statistics for all steps",
    cells=(
        Cell("S-ResNet38 BN TT", C100, WIDER_100, 74.54, note=TWO_NUMBERS_WIDER_100),
        Cell("S-ResNet38 BN time averaged", C100, _trained("cifar100", norm="time-averaged"), 70.82),
    ),
    note="32 base filters, 70 epochs.",
)

TABLE6 = Study(
    name="table6",
    title="Width and boosting on CIFAR-100",
    cells=(
        _counted("S-ResNet38", NARROW_100_LONG, 639_760),
        Cell("S-ResNet38", C100, NARROW_100_LONG, 68.71),
        _counted("S-ResNet38 + boosting", BOOSTED_NARROW_100, 697_360),
        Cell("S-ResNet38 + boosting", C100, BOOSTED_NARROW_100, 64.60),
        _counted("S-ResNet38 wider", WIDER_100, 2_399_776),
        Cell("S-ResNet38 wider", C100, WIDER_100, 74.46, target=74.54, note=TWO_NUMBERS_WIDER_100),
        _counted("S-ResNet38 wider + boosting", BOOSTED_100, 2_514_976),
        Cell("S-ResNet38 wider + boosting", C100, BOOSTED_100, 73.21),
    ),
    note="16 base filters and 200 epochs, wider: 32 and 70.",
)

TABLE7 = Study(
    name="table7",
    title="Width and boosting on CIFAR-10",
    cells=(
        _counted("S-ResNet38", NARROW_10_LONG, 634_000),
        Cell("S-ResNet38", C10, NARROW_10_LONG, 91.97, target=91.97, note=ONE_NUMBER_NARROW_10),
        _counted("S-ResNet38 + boosting", BOOSTED_NARROW_10, 639_760),
        Cell("S-ResNet38 + boosting", C10, BOOSTED_NARROW_10, 92.00),
        _counted("S-ResNet38 wider", WIDER_10, 2_388_256),
        Cell("S-ResNet38 wider", C10, WIDER_10, 92.66, target=94.01, note=TWO_NUMBERS_WIDER_10),
        _counted("S-ResNet38 wider + boosting", BOOSTED_10, 2_399_776),
        Cell("S-ResNet38 wider + boosting", C10, BOOSTED_10, 93.77),
    ),
    note="16 base filters and 200 epochs, wider: 32 and 70.",
)

TABLE8 = Study(
    name="table8",
    title="A fixed leak against a leak learned per layer",
    cells=(
        Cell("S-ResNet38 LIF", C100, NARROW_100_LONG, 68.71),
        Cell("S-ResNet38 Parametric LIF", C100, _narrow("cifar100", epochs=200, neuron="plif"), 64.93),
    ),
    note="16 base filters, 200 epochs.",
)

LEAKS = (0.5, 0.7, 0.874, 0.95, 0.995)
"""Tried for Table 9; Section 3.5's is among them."""

SWEEP = tuple(_trained("cifar100", boosting=True, leak=leak, validation=0.1) for leak in LEAKS)

TABLE9 = Study(
    name="table9",
    title="The leak that a search finds and the leak that is learned",
    cells=(
        Cell(
            "Hyper-parameter search",
            "Leak coefficient",
            SWEEP[LEAKS.index(0.874)],
            0.889,
            quantity="best-leak",
            candidates=SWEEP,
            note="the paper: BOHB, mean of the six best configurations, standard deviation 0.003, as in the next row; "
            f"here the leaks {', '.join(map(str, LEAKS))} are tried and the one with the best accuracy on a "
            "held-out tenth of the training images is taken",
        ),
        Cell(
            "Hyper-parameter search, six best trials",
            "Leak coefficient",
            SWEEP[LEAKS.index(0.874)],
            0.889,
            quantity="searched-leak",
            search=FOR_TABLE_9,
            note="mean and standard deviation as the paper has them (0.003), of a search at a size of its own",
        ),
        Cell(
            "Learned through PLIF",
            "Leak coefficient",
            SHARED_LEAK_100,
            0.986,
            quantity="leak",
            note="learning starts at 0.874, which the paper does not state",
        ),
    ),
    note="70 epochs. Filters and boosting are not stated; here those of Table 10, which compares the two leaks.",
)

TABLE10 = Study(
    name="table10",
    title="A leak from a search against one learned leak for all layers",
    cells=(
        Cell("S-ResNet38 wider + Boost LIF", C100, BOOSTED_100, 73.21),
        Cell("S-ResNet38 wider + Boost Single PLIF", C100, SHARED_LEAK_100, 72.44),
    ),
    note="32 base filters, boosting, 70 epochs.",
)

SCRATCH, TUNED = "S-ResNet38, no pre-training", "S-ResNet38, pre-trained on CIFAR-100"
WIDE_SCRATCH = "S-ResNet38 wider + boosting, no pre-training"
WIDE_TUNED = "S-ResNet38 wider + boosting, pre-trained on CIFAR-100"

TABLE11 = Study(
    name="table11",
    title="Pre-training on CIFAR-100 for DVS-CIFAR10",
    cells=(
        Cell(SCRATCH, DVS, _on_events(32, base_filters=16), 63.3),
        Cell(TUNED, DVS, _on_events(32, NARROW_100_LONG, base_filters=16), 70.4),
        Cell(WIDE_SCRATCH, DVS, _on_events(32, boosting=True), 65.5),
        Cell(WIDE_TUNED, DVS, _on_events(32, BOOSTED_100, boosting=True), 69.8),
    ),
    note="70 epochs, frames of 32x32 pixels; what they start from is trained as in Table 6.",
)

TABLE12 = Study(
    name="table12",
    title="Pre-training on CIFAR-100 for CIFAR-10",
    cells=(
        Cell(SCRATCH, C10, NARROW_10_LONG, 91.97, note=ONE_NUMBER_NARROW_10),
        Cell(TUNED, C10, _narrow("cifar10", epochs=100, start=NARROW_100_LONG), 92.44),
        Cell(WIDE_SCRATCH, C10, BOOSTED_10, 93.77),
        Cell(WIDE_TUNED, C10, _trained("cifar10", boosting=True, start=BOOSTED_100), 93.59),
    ),
    note="16 filters: 200 epochs from scratch, 100 fine-tuned; wider: 70. What they start from is trained as in "
    "Table 6.",
)

SIZES = "DVS-CIFAR10 Accuracy"

TABLE13 = Study(
    name="table13",
    title="Size of the event frames",
    cells=(
        Cell("S-ResNet38, 32x32", SIZES, _on_events(32, WIDER_100), 71.80),
        Cell(
            "S-ResNet38 c32k3s2, 64x64",
            SIZES,
            DVS_64,
            72.98,
            note="Table 14 has the same 72.98 for a network of 16 filters; the caption here says 32, which are taken",
        ),
        Cell("S-ResNet38 c32k5s2 MPk2s2, 128x128", SIZES, _on_events(128, WIDER_100), 72.51),
    ),
    note="32 base filters, 70 epochs, pre-trained on CIFAR-100. The paper's column is headed CIFAR-10 Accuracy.",
)


def _best_epoch(row: str, column: str, training: Training, value: float, **fields: Any) -> Cell:
    """A cell of the best epoch on the test images."""
    return Cell(row, column, training, value, quantity="best-test-epoch", **fields)


TABLE14 = Study(
    name="table14",
    title="Our rows beside the state of the art, best test epoch",
    cells=(
        _best_epoch(
            "Ours S-ResNet38", "CIFAR-10", BOOSTED_10, 94.14, note="Table 16 has 94.10 for what seems the same"
        ),
        _best_epoch(
            "Ours S-ResNet38",
            "CIFAR-100",
            WIDER_100,
            74.65,
            note="the caption says boosting, but boosting costs accuracy in Table 6 and Table 16 has 73.40 with it; "
            "Section 3.2.3 keeps boosting for CIFAR-10 alone, so the network here has none",
        ),
        _best_epoch(
            "Ours S-ResNet38",
            "DVS-CIFAR10",
            DVS_64,
            72.98,
            note="the caption says 16 filters; 72.98 is Table 13's number for 32 filters and 64x64 pixels, after the "
            "last epoch, which is the network here",
        ),
    ),
    note="The best of all epochs on the test images, which the paper calls validation accuracy.",
    costs=True,
)

TABLE15 = Study(
    name="table15",
    title="The network against its ANN counterpart",
    cells=(
        Cell("ResNet38 (ANN)", C10, _narrow("cifar10", **ANN_COUNTERPART), 92.33),
        Cell("ResNet38 wider (ANN)", C10, _trained("cifar10", **ANN_COUNTERPART), 93.56),
        Cell("S-ResNet38 (SNN)", C10, NARROW_10, 91.97, note=ONE_NUMBER_NARROW_10),
        Cell("S-ResNet38 wider (SNN)", C10, WIDER_10, 92.66, target=94.01, note=TWO_NUMBERS_WIDER_10),
    ),
    note="16 base filters, wider: 32; 70 epochs and the same hyper-parameters for all.",
)

SHORT_10 = _trained("cifar10", boosting=True, num_steps=20)
SHORT_100 = _trained("cifar100", boosting=True, num_steps=20)


def _fewer_steps(steps: int, trained_with: int, *values: float) -> tuple[Cell, ...]:
    """A row of Table 16."""
    networks = {50: (BOOSTED_100, BOOSTED_10), 20: (SHORT_100, SHORT_10)}[trained_with]
    row = f"{steps} steps of {trained_with} trained"
    return tuple(
        _best_epoch(row, column, training, value, num_steps=steps)
        for column, training, value in zip(("CIFAR-100 Acc", "CIFAR-10 Acc"), networks, values, strict=True)
    )


TABLE16 = Study(
    name="table16",
    title="Fewer time steps at inference",
    cells=(
        *_fewer_steps(50, 50, 73.40, 94.10),
        *_fewer_steps(40, 50, 73.14, 93.96),
        *_fewer_steps(30, 50, 71.75, 93.61),
        *_fewer_steps(20, 50, 65.78, 91.93),
        *_fewer_steps(20, 20, 67.70, 91.28),
        *_fewer_steps(10, 50, 15.15, 63.86),
        *_fewer_steps(10, 20, 62.28, 90.45),
    ),
    note="32 base filters, boosting, 70 epochs; the weights of the epoch that is best on the test images.",
)

SHORT_LEARNED = _trained("cifar10", boosting=True, num_steps=20, neuron="plif-shared")
LEARNED = "learned leak, 20 steps of 20 trained"

TABLE17 = Study(
    name="table17",
    title="A leak for 50 steps and a leak learned for 20, at 20 steps",
    cells=(
        _best_epoch("leak 0.874, 20 steps of 50 trained", "CIFAR-10 Acc", BOOSTED_10, 91.93, num_steps=20),
        _best_epoch("leak 0.874, 20 steps of 20 trained", "CIFAR-10 Acc", SHORT_10, 91.28, num_steps=20),
        Cell(LEARNED, "Leak factor", SHORT_LEARNED, 0.995, quantity="best-test-epoch-leak"),
        _best_epoch(LEARNED, "CIFAR-10 Acc", SHORT_LEARNED, 92.8, num_steps=20),
    ),
    note="32 base filters, boosting, 70 epochs, one leak for all layers; the weights of the best test epoch.",
)


def _sharing_protocols(studies: Iterable[Study]) -> dict[str, Study]:
    """The same studies; a run whose best test epoch is read anywhere reports it everywhere, so that it is one.

    A run by protocol best-test-epoch also reports the last epoch's accuracy, and ends with the same weights.
    """
    studies = tuple(studies)
    cells = [cell for study in studies for cell in study.cells]
    best = {cell.training.key() for cell in cells if cell.quantity in ("best-test-epoch", "best-test-epoch-leak")}

    def with_protocol(training: Training) -> Training:
        start = with_protocol(training.start) if training.start else None
        recipe = training.recipe
        if training.key() in best:
            recipe = replace(recipe, train=replace(recipe.train, protocol="best-test-epoch"))
        return replace(training, recipe=recipe, start=start)

    def changed(cell: Cell) -> Cell:
        candidates = tuple(with_protocol(candidate) for candidate in cell.candidates)
        return replace(cell, training=with_protocol(cell.training), candidates=candidates)

    return {study.name: replace(study, cells=tuple(changed(cell) for cell in study.cells)) for study in studies}


STUDIES: dict[str, Study] = _sharing_protocols(
    [
        *(TABLE2, TABLE3, TABLE4, TABLE5, TABLE6, TABLE7, TABLE8, TABLE9, TABLE10),
        *(TABLE11, TABLE12, TABLE13, TABLE14, TABLE15, TABLE16, TABLE17, *OURS.values()),
    ]
)
"""name -> study, at the paper's full scale."""
