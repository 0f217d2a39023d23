"""Tables 11 and 13 on simulated recordings: python experiments/event_tables.py DATA_DIR.

DATA_DIR holds CIFAR-10 and CIFAR-100. The networks are those of the tables with 8 layers in place of 38 and T = 4 in
place of 50; the recipe is the paper's for DVS-CIFAR10, 20 epochs. In place of DVS-CIFAR10 a simulated camera of 128
pixels a side records images of CIFAR-10, few to train on, as pre-training is for, and many to test on, so that the
difference of two rows can be told from chance. Pre-training is on all of CIFAR-100, by the fast recipe, shortened.
Three seeds each, of the pre-training too; recordings of the test images are classified once, after the last epoch.

Writes results/event-tables.json and the two tables beside it; `--finished` trains nothing and writes what there is.
Several processes may run it: each run is made once.
"""

from collections.abc import Mapping
from dataclasses import replace
from statistics import fmean, stdev

from experiment import accuracy, carry_out, flags, heading, machine, numbers, save, study

from sresnet.data import AnyData, EventConfig, Splits, open_data
from sresnet.data.events.frames import FrameConfig
from sresnet.data.events.simulate import DVSConfig
from sresnet.models import SResNetConfig
from sresnet.studies.evidence import Sample, binomial, images_of, versus
from sresnet.studies.study import Result, Training
from sresnet.train.recipe import Recipe
from sresnet.train.recipes import FAST_CIFAR100, FAST_SHALLOW, paper_events

COMMAND = "python experiments/event_tables.py DATA_DIR"
"""What makes the records."""

SEEDS, STEPS, DEPTH, EPOCHS = 3, 4, 8, 20

RECORDINGS = EventConfig(
    name="cifar10-dvs-sim",
    split="images",
    damaged="skip",  # images before which the camera sees nothing
    simulation=DVSConfig(size=128, amplitude=8.0, loops=1, duration=100_000, samples=24),
    train_images=1_000,
    test_images=2_000,
)


def _network(size: int) -> SResNetConfig:
    """The paper's for frames of `size` pixels a side."""
    model = paper_events(size).model
    assert isinstance(model, SResNetConfig)
    return model


def source(*, base_filters: int, boosting: bool) -> Recipe:
    """The pre-training on CIFAR-100, of the paper's network, smaller."""
    model = replace(
        _network(32),
        in_channels=3,
        num_classes=100,
        depth=DEPTH,
        base_filters=base_filters,
        num_steps=STEPS,
        boosting=boosting,
        surrogate_height=1.0,
    )
    train = replace(FAST_SHALLOW, epochs=8, progressive_epochs=(7,), ema=0.99)
    data = replace(FAST_CIFAR100.data, validation=0.0)
    return replace(FAST_CIFAR100, model=model, data=data, train=train)


def tuned(size: int, *, base_filters: int = 16, boosting: bool = False, pretrained: bool = True) -> Training:
    """The paper's recipe for frames of `size` pixels a side, on the smaller network, from CIFAR-100 or from scratch."""
    start, own = source(base_filters=base_filters, boosting=boosting), paper_events(size)
    assert isinstance(start.model, SResNetConfig)
    model = replace(start.model, in_channels=2, num_classes=10, stem=_network(size).stem)
    data = replace(RECORDINGS, frames=FrameConfig(size=size))
    train = replace(own.train, epochs=EPOCHS, batch_size=32)
    recipe = replace(own, model=model, data=data, train=train)
    return Training(recipe=recipe, start=Training(recipe=start) if pretrained else None)


AT_32 = "S-ResNet8, 16 filters, pre-trained on CIFAR-100"
TABLE11 = {
    "S-ResNet8, 16 filters, no pre-training": tuned(32, pretrained=False),
    AT_32: tuned(32),
    "S-ResNet8, 32 filters and boosting, no pre-training": tuned(32, base_filters=32, boosting=True, pretrained=False),
    "S-ResNet8, 32 filters and boosting, pre-trained on CIFAR-100": tuned(32, base_filters=32, boosting=True),
}
"""Row -> training; frames of 32x32 pixels."""

TABLE13 = {
    "S-ResNet8 c3s2, 16 filters, frames of 64x64": tuned(64),
    "S-ResNet8 c5s2-pool, 16 filters, frames of 128x128": tuned(128),
}
"""Row -> training, of those beside `AT_32`; all pre-trained on CIFAR-100."""

CLAIMS = (
    ("Pre-training helps, 16 filters (paper: +7.1)", *reversed(list(TABLE11)[:2])),
    ("Pre-training helps, 32 filters and boosting (paper: +4.3)", *reversed(list(TABLE11)[2:])),
    ("Frames of 64x64 are better than of 32x32 (paper: +1.2)", next(iter(TABLE13)), AT_32),
    ("Frames of 64x64 are better than of 128x128 (paper: +0.5)", *TABLE13),
)
"""What the paper says, and the rows to tell it by, the greater first."""


def main() -> None:
    """Run and write."""
    parser = flags(__doc__, "runs/event-tables", "data_dir")
    parser.add_argument("--cache-dir", default="", help="where frames are kept; by default ~/.cache/sresnet/frames")
    options = parser.parse_args()

    def open_(data: AnyData, seed: int, num_steps: int) -> Splits:
        return open_data(data, options.data_dir, seed=0, num_steps=num_steps, cache_dir=options.cache_dir)

    wide = {row: each for row, each in TABLE11.items() if "32 filters" in row}
    narrow = {row: each for row, each in (TABLE11 | TABLE13).items() if row not in wide}
    wanted = [study("tables", narrow, SEEDS), study("tables", wide, SEEDS)]
    # Wide ones take six times as long, so all seeds of the others come first.
    if carry_out(wanted[:1], open_, options) and carry_out(wanted[1:], open_, options):
        save("event-tables", wanted, options, table, COMMAND)


def table(found: Mapping[str, list[Result]]) -> list[str]:
    """The lines of results/event-tables.md."""
    lines = [
        *heading("Tables 11 and 13 on simulated recordings", COMMAND, "event-tables"),
        "Networks are small and recordings SIMULATED;",
        "none of these is an accuracy on DVS-CIFAR10.",
        "",
        "| row | seeds | test accuracy, % | recordings, train / test |",
        "| --- | --- | --- | --- |",
    ]
    for row, group in found.items():
        split = group[0].result["split"]
        lines.append(f"| {row} | {len(group)} | {accuracy(group)} | {split['train']:,} / {split['test']:,} |")
    lines += [
        "",
        "Noise: twice the standard error of the difference, each deviation no less than that of counting.",
        "",
    ]
    for claim, greater, less in CLAIMS:
        if greater in found and less in found:
            finding = versus(_sample(greater, found[greater]), _sample(less, found[less]))
            lines.append(f"- {claim}: **{finding.verdict}**. {finding.evidence}.")
    return [*lines, "", f"{machine(found)}."]


def _sample(row: str, group: list[Result]) -> Sample:
    """The accuracies of a row, and how far one run may be from the mean by chance."""
    values = tuple(numbers(group))
    counting = binomial(fmean(values), images_of(group[0], "test"))
    return Sample(
        label=row, values=values, deviation=max(counting, stdev(values) if len(values) > 1 else 0.0), unit=" %"
    )


if __name__ == "__main__":
    main()
