"""A study at another size: the same comparison with shallower networks, fewer steps, images and epochs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from sresnet.config import closest
from sresnet.data import AnyData, DataConfig, EventConfig
from sresnet.data.events.frames import FrameConfig
from sresnet.data.events.simulate import DVSConfig
from sresnet.errors import UserError
from sresnet.models import ModelConfig, SResNetConfig
from sresnet.studies.cells import AT_THRESHOLD
from sresnet.studies.comparison import CORE_MINUTES, PARAMETERS, Compared, compared, resized
from sresnet.studies.study import Cell, Study, Training, with_most_steps
from sresnet.train.recipe import Recipe

ScaleName = Literal["paper", "medium", "small", "tiny"]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What a scale changes. Leaks, norms, connections, encoders, boosting and augmentation of images stay."""

    about: str
    """For people, one or two sentences."""
    blocks: int
    """Blocks of each stage are divided by this."""
    num_steps: int
    """Time steps in place of 50; other numbers in proportion."""
    filters: int
    """Base filters are divided by this."""
    most_filters: int
    """And are no more than this, but in the studies that compare widths."""
    vgg: Mapping[str, Any]
    """Fields of a VGG11."""
    stem: Literal["c3", "c3s2"]
    """Stem for images; c3s2 halves the side of all feature maps."""
    epochs: float | int
    """Epochs on images are divided by a number with a point, or are, whatever the paper's, so many."""
    event_epochs: float
    """Epochs on events, where there are fewer recordings, are divided by this."""
    batch_size: int
    """Images per step."""
    train: Mapping[str, Any]
    """Other fields of the training."""
    data: DataConfig | None
    """In place of both CIFARs; None: themselves."""
    train_images: int
    """Training images."""
    events: EventConfig
    """In place of DVS-CIFAR10."""
    frame: int
    """The side of event frames is divided by this."""
    most_epochs: int
    """Of the networks that Table 14 compares, which are small already."""
    most_steps: int
    """Their time steps."""
    seeds: Mapping[str, int]
    """Seeds of a study; 1 for those that are not named."""
    conditions: bool = False
    """Rows of S2M are there twice: spikes where u > theta, and where u >= theta."""
    best_of_all: bool = True
    """Networks whose best test epoch Table 14 alone reads report it; else only those with boosting, of Tables 16 and
    17, do, and the others are one with those of other tables."""


COURSE: Mapping[str, Any] = {"learning_rate": 0.1, "schedule": "cosine", "warmup_epochs": 0.25}
"""Of short training runs."""
SIMULATED = EventConfig(
    name="cifar10-dvs-sim",
    split="images",
    damaged="skip",  # images before which the camera sees nothing
    simulation=DVSConfig(size=64, amplitude=4.0, loops=2, duration=200_000),
    train_images=4_000,
    test_images=2_000,
)
"""In place of DVS-CIFAR10."""

SCALES: dict[str, Scale] = {
    "medium": Scale(
        about="Networks of the paper's depth with 16 filters, 32 where widths are compared; image sides were halved (a "
        "stem of stride 2), T = 50 became 8, 20 became 3; 11 epochs for all over all 50,000 training images, in "
        "bfloat16; surrogate height 1, batch of 64, learning rate 0.1 with a warm-up and a cosine, and orthogonal "
        "steps (Muon, 0.02) for the filters. All test images. S2M with both spike conditions. For Tables 2, 3, 4, 5, "
        "8, 15, 16 and 17; what stands for DVS-CIFAR10 in others is as at scale small.",
        blocks=1,
        num_steps=8,
        filters=1,
        most_filters=16,
        vgg={"width": 0.25, "hidden": 512},
        stem="c3s2",
        epochs=11,
        event_epochs=14.0,
        batch_size=64,
        train={**COURSE, "muon_lr": 0.02, "precision": "bf16"},
        data=None,
        train_images=0,
        events=SIMULATED,
        frame=2,
        most_epochs=1000,
        most_steps=1000,
        seeds={"table3": 2, "table5": 2},
        conditions=True,
        best_of_all=False,
    ),
    "small": Scale(
        about="Depth 20, 38, 44 became 8, 14, 20, filters and image sides were halved (a stem of stride 2), T was "
        "divided by 10, 70, 100, 200 epochs became 2, 3, 6 over 10,000 training images, always the same, each class "
        "alike; surrogate height 1, batch of 64, learning rate 0.1 with a warm-up and a cosine. All test images. "
        "In place of DVS-CIFAR10: simulated recordings of 4,000 training and 2,000 test images of CIFAR-10, 64x64 "
        "pixels, 5 epochs; those in which the camera sees nothing are left out.",
        blocks=3,
        num_steps=5,
        filters=2,
        most_filters=1000,
        vgg={"width": 0.125, "hidden": 256},
        stem="c3s2",
        epochs=35.0,
        event_epochs=14.0,
        batch_size=64,
        train=COURSE,
        data=None,
        train_images=10_000,
        events=SIMULATED,
        frame=2,
        most_epochs=1000,
        most_steps=1000,
        seeds={"table2": 3, "table3": 3, "table5": 3, "table15": 3, "table16": 3},
    ),
    "tiny": Scale(
        about="Depth 20, 38, 44 became 8, 14, 20, 16 and 32 filters 2 and 4, T was divided by 10, one epoch over 300 "
        "of scikit-learn's digits in place of both CIFARs, which are therefore the same; surrogate height 1, batch "
        "of 32, learning rate 0.1 with a warm-up and a cosine. In place of DVS-CIFAR10: simulated recordings of "
        "120 training and 60 test digits. It shows that a study runs, and nothing about networks.",
        blocks=3,
        num_steps=5,
        filters=8,
        most_filters=1000,
        vgg={"width": 0.0625, "hidden": 32},
        stem="c3",
        epochs=200.0,
        event_epochs=200.0,
        batch_size=32,
        train=COURSE,
        data=DataConfig(name="digits", flip=False, crop_padding=1),
        train_images=300,
        events=EventConfig(
            name="digits-dvs",
            split="images",
            simulation=DVSConfig(size=32, amplitude=2.0, loops=1, duration=100_000, samples=12),
            train_images=120,
            test_images=60,
        ),
        frame=4,
        most_epochs=1,
        most_steps=3,
        seeds={},
    ),
}


def scaled(study: Study, scale: str) -> Study:
    """The study at a scale: a function of its recipes, so that equal training runs stay equal, and of whether it
    compares widths.

    Args:
        study: at the paper's scale.
        scale: paper (as it is), medium, small or tiny, see `SCALES`.

    Raises:
        UserError: no such scale.
    """
    if scale == "paper":
        return study
    if scale not in SCALES:
        raise UserError(f"scale {scale!r} is unknown: {closest(scale, list(get_args(ScaleName)))}")
    how = SCALES[scale]
    if study.name == "table14":
        how = SCALES["small"] if scale == "medium" else how  # at one size, which is small whatever the other tables are
        rows = tuple(_compared_cell(each, how) for each in compared())
        study = replace(study, title="All networks of the table at one size, last epoch", note=COMPARISON, cells=rows)
    else:
        how = replace(how, most_filters=1000) if study.name in WIDTHS else how
        cells = [_scaled_cell(cell, how) for cell in study.cells]
        study = replace(study, cells=tuple(both for cell in cells for both in _conditions(cell, how)))
    return replace(study, seeds=how.seeds.get(study.name, 1), scale=scale)


WIDTHS = ("table6", "table7", "table15")
"""Studies that compare widths."""
MEDIUM = ("table2", "table3", "table4", "table5", "table8", "table15", "table16", "table17")
"""Studies that scale medium is for."""


def _conditions(cell: Cell, how: Scale) -> tuple[Cell, ...]:
    """The cell and, where it is of S2M and the scale has both conditions, the same with the other one."""
    model = cell.training.recipe.model
    if not (how.conditions and cell.condition and cell.training.start is None):
        return (cell,)
    recipe = replace(cell.training.recipe, model=replace(model, fires_at_threshold=True))
    return cell, replace(cell, row=cell.row + AT_THRESHOLD, training=replace(cell.training, recipe=recipe))


COMPARISON = (
    f"All networks of the table: each narrowed to about {PARAMETERS:,} parameters and trained for about "
    f"{CORE_MINUTES} minutes of one core at scale small, by its authors' recipe, shortened, on the data of the scale, "
    "images of 32x32 pixels; S-ResNet38 as all others, 38 layers deep and without pre-training. Test images were read "
    "once, after the last epoch; the paper's column has the best test epoch of the published networks. Parameters, "
    "operations and energy are of the network that answers, per image; T of few-spikes neurons is K. Core-minutes are "
    "of the training, that of an ANN and of its conversion together. One seed, small networks and short schedules: "
    "their order says little about that of the published ones. What the scale says of depth, width, T, rates and "
    "epochs is of the other tables."
)
"""Note of Table 14 at a smaller scale."""


def about(scale: str) -> str:
    """What a scale is, for people; nothing at the paper's."""
    return f"Scale {scale}: {SCALES[scale].about}" if scale in SCALES else ""


def _scaled_cell(cell: Cell, how: Scale) -> Cell:
    """A cell of smaller training runs, whose name no longer says all that it is."""
    candidates = tuple(_scaled_training(candidate, how) for candidate in cell.candidates)
    num_steps = _fewer(cell.num_steps, how) if cell.num_steps else None
    training = _scaled_training(cell.training, how)
    return replace(cell, training=training, candidates=candidates, num_steps=num_steps, rescaled=True)


def _compared_cell(each: Compared, how: Scale) -> Cell:
    """A row of Table 14 on the data of a scale."""
    training = _on_data_of(each.training, how)
    column, accuracy = each.entry.data, each.entry.accuracy
    return Cell(each.entry.row, column, training, accuracy, note=each.note, rescaled=True)


def _on_data_of(training: Training, how: Scale) -> Training:
    """A small network of the comparison on the data of a scale, within its epochs and time steps."""
    recipe, data = training.recipe, _scaled_data(training.recipe.data, how)
    epochs = min(recipe.train.epochs, how.most_epochs)
    batch_size = min(recipe.train.batch_size, how.batch_size)
    recipe = replace(recipe, data=data, train=replace(recipe.train, epochs=epochs, batch_size=batch_size))
    fields: dict[str, Any] = {"num_steps": min(recipe.model.num_steps, how.most_steps)}
    if how.data is not None:
        fields |= {"num_classes": 10, "in_channels": 2 if isinstance(data, EventConfig) else 1}
    recipe = resized(replace(recipe, model=replace(recipe.model, **fields)), _side_of(data))
    start = _on_data_of(training.start, how) if training.start else None
    conversion = training.conversion and with_most_steps(training.conversion, how.most_steps, how.most_epochs)
    return Training(recipe=recipe, start=start, conversion=conversion)


def _side_of(data: AnyData) -> int:
    """Height and width of an image or frame."""
    if isinstance(data, EventConfig):
        return data.frames.size or data.simulation.size
    return 8 if data.name == "digits" else 32


def _scaled_training(training: Training, how: Scale) -> Training:
    """A smaller network, and what it starts from likewise."""
    start = _scaled_training(training.start, how) if training.start else None
    return replace(training, recipe=_scaled_recipe(training.recipe, how), start=start)


def _scaled_recipe(recipe: Recipe, how: Scale) -> Recipe:
    """A smaller recipe of the same kind."""
    on_events = isinstance(recipe.data, EventConfig)
    divisor = how.event_epochs if on_events else how.epochs
    epochs = divisor if isinstance(divisor, int) else max(1, round(recipe.train.epochs / divisor))
    train = replace(recipe.train, epochs=epochs, batch_size=how.batch_size, **how.train)
    if not how.best_of_all and not recipe.model.boosting:
        train = replace(train, protocol="last-epoch")
    return replace(recipe, model=_scaled_model(recipe, how), data=_scaled_data(recipe.data, how), train=train)


def _fewer(num_steps: int, how: Scale) -> int:
    """Time steps at a smaller scale, at least one."""
    return max(1, round(num_steps * how.num_steps / 50))


def _scaled_model(recipe: Recipe, how: Scale) -> ModelConfig:
    """A smaller network for the same kind of data."""
    model, on_events = recipe.model, isinstance(recipe.data, EventConfig)
    fields: dict[str, Any] = {"num_steps": _fewer(model.num_steps, how), "surrogate_height": 1.0}
    if how.data is not None:  # digits: ten classes, grey
        fields |= {"num_classes": 10, "in_channels": 2 if on_events else 1}
    if not isinstance(model, SResNetConfig):
        return replace(model, **fields, **how.vgg)
    blocks = (model.depth - 2) // 6
    fields["depth"] = 6 * -(-blocks // how.blocks) + 2  # rounded up
    fields["base_filters"] = min(how.most_filters, max(1, model.base_filters // how.filters))
    if not on_events:
        fields["stem"] = how.stem
    return replace(model, **fields)


def _scaled_data(data: AnyData, how: Scale) -> AnyData:
    """Fewer or smaller images, or simulated recordings; what is held out and how pixels are scaled stays."""
    if isinstance(data, EventConfig):
        frames = FrameConfig(by=data.frames.by, size=data.frames.size // how.frame)
        return replace(
            how.events, frames=frames, validation=data.validation, flip=data.flip, shift=data.shift, cutout=data.cutout
        )
    if how.data is not None:
        data = replace(how.data, validation=data.validation, pixels=data.pixels)
    return replace(data, train_images=how.train_images)
