"""Table 14 at a size for two cores: every network of it, about as large, trained about as long, on the same data.

The rows are those of `published.TABLE_14`. A network that is trained directly has its authors' recipe (`train.zoo`), an
ANN likewise, and its conversion their method; what is changed is here. Widths make about `PARAMETERS` trainable
numbers of each, T is cut to 4 for images as they are, to 8 for Poisson spikes and events, and epochs fill about
`CORE_MINUTES` by the time that a training step took on one core. What else is changed, `_Size.why` says; it was chosen
by accuracy on held-out training images (docs/studies.md) or is what small networks of the kind have elsewhere.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, replace
from typing import NamedTuple

from sresnet.convert import FewSpikesConfig, RateConfig
from sresnet.data import EventConfig
from sresnet.models import SResNetConfig
from sresnet.models.dimensions import scaled as scaled_filters
from sresnet.models.families.anns import ANNConfig
from sresnet.models.families.lee import LeeConfig
from sresnet.models.families.vgg import VGGConfig
from sresnet.studies.paper import TABLE14
from sresnet.studies.published import TABLE_14, Published
from sresnet.studies.study import CONVERSIONS, Conversion, Training
from sresnet.train.recipe import Recipe
from sresnet.train.recipes import RECIPES
from sresnet.train.tandem import TandemConfig

PARAMETERS = 300_000
"""Of each network, within a tenth."""
CORE_MINUTES = 25
"""Of training, about."""
_FRAME = 64
"""Side of event frames before a scale halves it, but of networks that halve 128x128 pixels to the last."""


def _adam_and_low_threshold(recipe: Recipe) -> Recipe:
    """Without norms, few spikes pass so many narrow layers in few steps; plain SGD needs more of them.

    Unclipped, its gradients end in a network that answers at random (docs/log.md).
    """
    assert isinstance(recipe.model, LeeConfig)
    train = replace(
        recipe.train,
        optimiser="adam",
        learning_rate=1e-3,
        momentum=0.9,
        weight_decay=0.0,
        schedule="cosine",
        clip_norm=1.0,
    )
    return replace(recipe, model=replace(recipe.model, threshold=0.4, dropout=0.0), train=train)


def _no_dropout(recipe: Recipe) -> Recipe:
    """So narrow, it underfits; the rate is twice theirs."""
    assert isinstance(recipe.model, ANNConfig)
    train = replace(recipe.train, learning_rate=2 * recipe.train.learning_rate)
    return replace(recipe, model=replace(recipe.model, dropout=0.0), train=train)


def _kaiming(recipe: Recipe) -> Recipe:
    """With torch's initial weights, sixteen layers without norms do not begin to learn."""
    assert isinstance(recipe.model, ANNConfig)
    return replace(recipe, model=replace(recipe.model, init="kaiming"))


def _one_decay(recipe: Recipe) -> Recipe:
    """The rate falls once; the authors' goes down and up every 128 epochs."""
    return replace(recipe, train=replace(recipe.train, cosine_epochs=0))


def _height(recipe: Recipe) -> Recipe:
    """The surrogate's height of all small S-ResNets here."""
    return replace(recipe, model=replace(recipe.model, surrogate_height=1.0))


@dataclass(frozen=True)
class _Size:
    """How small a network of the comparison is, and how short its training."""

    width: float
    """Factor on all numbers of filters and hidden neurons; of an S-ResNet, on its base filters."""
    num_steps: int
    """T; of an ANN that of its conversion, K of few-spikes neurons."""
    epochs: int
    """Of the network, or of the ANN."""
    batch_size: int = 64
    """Images a step. The authors' rate of SGD is multiplied by this over their batch."""
    _: KW_ONLY
    change: Callable[[Recipe], Recipe] | None = None
    """What else differs from their recipe."""
    why: str = ""
    """The same for the reader of the row."""


_SHORT_CYCLE = "one cosine in place of one every 128 epochs"
_SIZES: dict[tuple[str, str], _Size] = {
    ("kim-vgg9", "CIFAR-10"): _Size(0.223, 8, 25),
    ("lee-resnet11", "CIFAR-10"): _Size(
        0.129,
        10,
        8,
        32,
        change=_adam_and_low_threshold,
        why="threshold 0.4, no dropout, Adam with a cosine, clipped gradients",
    ),
    ("zheng-resnet19", "CIFAR-10"): _Size(0.153, 4, 11),
    ("fang-cifar", "CIFAR-10"): _Size(0.087, 4, 36, change=_one_decay, why=_SHORT_CYCLE),
    ("wu-vgg11", "CIFAR-10"): _Size(0.092, 16, 100),
    ("sengupta-vgg16", "CIFAR-10"): _Size(0.086, 128, 200, change=_no_dropout, why="no dropout, twice the rate"),
    ("stoeckl-resnet50", "CIFAR-10"): _Size(0.618, 10, 30),
    ("deng-resnet20", "CIFAR-10"): _Size(0.163, 64, 150),
    ("", "CIFAR-10"): _Size(11 / 32, 4, 12, change=_height, why="surrogate height 1"),
    ("kim-vgg11", "CIFAR-100"): _Size(0.143, 8, 55),
    ("sengupta-vgg16", "CIFAR-100"): _Size(0.082, 128, 200, change=_no_dropout, why="no dropout, twice the rate"),
    ("deng-vgg16", "CIFAR-100"): _Size(0.086, 64, 200, change=_kaiming, why="initial weights of He et al."),
    ("", "CIFAR-100"): _Size(11 / 32, 4, 12, change=_height, why="surrogate height 1"),
    ("kim-vgg9-dvs", "DVS-CIFAR10"): _Size(0.223, 8, 60, 32),
    ("zheng-resnet19", "DVS-CIFAR10"): _Size(0.153, 8, 13, 32),
    ("fang-wide-7b", "DVS-CIFAR10"): _Size(0.497, 8, 8, 32),
    ("fang-dvs", "DVS-CIFAR10"): _Size(0.231, 8, 32, 32, change=_one_decay, why=_SHORT_CYCLE),
    ("", "DVS-CIFAR10"): _Size(11 / 32, 8, 45, 32, change=_height, why="surrogate height 1, no pre-training"),
}
"""(name of the network, "" for S-ResNet38; data) -> size."""
_TANDEM = TandemConfig(epochs=60, stage_epochs=5, batch_size=128)
"""Eleven stages of at most five epochs each, where the authors wait for six without progress."""


class Compared(NamedTuple):
    """A row of Table 14 and what is trained for it, on the paper's data."""

    entry: Published
    training: Training
    note: str


def compared() -> tuple[Compared, ...]:
    """All rows, in the order of the table."""
    return tuple(_compared(entry) for entry in TABLE_14)


def _compared(entry: Published) -> Compared:
    """One row."""
    size = _SIZES[entry.topology.model if entry.topology else "", entry.data]
    recipe = _recipe_of(entry)
    train = replace(recipe.train, epochs=size.epochs, batch_size=size.batch_size, protocol="last-epoch")
    if train.optimiser == "sgd":
        train = replace(train, learning_rate=recipe.train.learning_rate * size.batch_size / recipe.train.batch_size)
    recipe = _narrowed(replace(recipe, train=train), size.width)
    if size.change:
        recipe = size.change(recipe)
    parts = [entry.topology.note if entry.topology else "", f"here {size.epochs} epochs", size.why]
    note = "; ".join(filter(None, parts))
    if not entry.conversion:
        model = replace(recipe.model, num_steps=size.num_steps)
        return Compared(entry, Training(recipe=replace(recipe, model=model)), note)
    ann, method = Training(recipe=recipe), _conversion(entry.conversion, size.num_steps)
    return Compared(entry, Training(recipe=recipe, start=ann, conversion=method), f"{entry.conversion}; {note}")


def _recipe_of(entry: Published) -> Recipe:
    """The authors', for the network as it is published; of the paper's own, that of its row, without pre-training."""
    if entry.topology is None:
        (cell,) = [cell for cell in TABLE14.cells if cell.column == entry.data]
        recipe = cell.training.recipe
    else:
        name, events = entry.topology.model, f"{entry.topology.model}-dvs"
        name = events if entry.data == "DVS-CIFAR10" and events in RECIPES else name
        recipe = RECIPES[name][1]
        recipe = replace(recipe, model=replace(recipe.model, **entry.topology.fields))
    data = recipe.data
    if isinstance(data, EventConfig):
        frames = replace(data.frames, size=_FRAME if data.frames.size else 0, resize="sum")
        return replace(recipe, data=replace(data, frames=frames))
    return replace(recipe, data=replace(data, name="cifar100" if entry.data == "CIFAR-100" else "cifar10"))


def _narrowed(recipe: Recipe, width: float) -> Recipe:
    """The recipe of a narrower network."""
    model = recipe.model
    if isinstance(model, SResNetConfig):
        return replace(recipe, model=replace(model, base_filters=scaled_filters(32, width)))
    if isinstance(model, VGGConfig):
        model = replace(model, hidden=scaled_filters(model.hidden, width))
    return replace(recipe, model=replace(model, width=width))  # type: ignore[call-arg]


def _conversion(name: str, num_steps: int) -> Conversion:
    """The method of this name with so many steps."""
    if name == "tandem":
        return replace(_TANDEM, num_steps=num_steps)
    method = CONVERSIONS[name]
    if isinstance(method, FewSpikesConfig):
        return replace(method, internal_steps=num_steps)
    return replace(method, num_steps=num_steps) if isinstance(method, RateConfig) else method


def resized(recipe: Recipe, side: int) -> Recipe:
    """The recipe on images or frames of another side, which fully connected layers depend on."""
    model = recipe.model
    if isinstance(model, ANNConfig):
        side = max(side, 16)  # halved four times, rounding up, 8 pixels leave one as 16 do
    if not hasattr(model, "image_size"):
        return recipe
    return replace(recipe, model=replace(model, image_size=side))  # type: ignore[call-arg]
