"""Named recipes. `sresnet train NAME` runs one; every field of it is a flag."""

from dataclasses import replace

from sresnet.data import DataConfig
from sresnet.models import SResNetConfig
from sresnet.train.recipe import Recipe, TrainConfig

DIGITS = Recipe(
    model=SResNetConfig(depth=8, base_filters=16, in_channels=1, num_steps=4, surrogate_height=1.0),
    data=DataConfig(name="digits", flip=False, crop_padding=1),
    train=TrainConfig(epochs=15, batch_size=64, learning_rate=0.1, schedule="cosine", warmup_epochs=1),
)

FEW_STEPS = TrainConfig(epochs=100, batch_size=128, learning_rate=0.1, schedule="cosine", warmup_epochs=1)
"""Short sequences train well at a larger rate; the surrogate's height of 1 goes with it."""

S_RESNET20 = SResNetConfig(depth=20, base_filters=16, num_steps=4, surrogate_height=1.0)

CIFAR10 = Recipe(model=S_RESNET20, data=DataConfig(name="cifar10", validation=0.1), train=FEW_STEPS)

CIFAR100 = Recipe(
    model=replace(S_RESNET20, num_classes=100), data=DataConfig(name="cifar100", validation=0.1), train=FEW_STEPS
)

SMALL = replace(CIFAR10, model=replace(S_RESNET20, depth=8), train=replace(FEW_STEPS, epochs=5, batch_size=64))

FOLDER = replace(CIFAR10, data=replace(CIFAR10.data, name="folder"))


def paper(data: str, **model: object) -> Recipe:
    """The settings of Sections 3.3 to 3.5: all training images, 70 epochs, test images read once after the last."""
    classes = {"cifar10": 10, "cifar100": 100}[data]
    return Recipe(
        model=SResNetConfig(**({"depth": 38, "base_filters": 32, "num_classes": classes} | model)),  # type: ignore[arg-type]
        data=DataConfig(name=data),  # type: ignore[arg-type]
        train=TrainConfig(),
    )


RECIPES: dict[str, tuple[str, Recipe]] = {
    "digits": ("S-ResNet8, T = 4, on scikit-learn's digits: half a minute on a laptop", DIGITS),
    "cifar10": ("S-ResNet20, 16 filters, T = 4, a tenth of the training images held out", CIFAR10),
    "cifar100": ("the same on CIFAR-100", CIFAR100),
    "cifar10-small": ("S-ResNet8, 16 filters, T = 4, 5 epochs", SMALL),
    "folder": ("S-ResNet20, T = 4, on your own pictures: --data-dir DIR/CLASS/PICTURE", FOLDER),
    "paper-cifar10": (
        "S-ResNet38, 32 filters, boosting, T = 50, 70 epochs: Table 7, 93.77 %",
        paper("cifar10", boosting=True),
    ),
    "paper-cifar10-s2m": ("S-ResNet38, 32 filters, S2M: Table 2, 89.27 %", paper("cifar10", connection="s2m")),
    "paper-cifar10-s2s": ("S-ResNet38, 32 filters, S2S: Table 2, 94.01 %", paper("cifar10")),
    "paper-cifar10-v2v": ("S-ResNet38, 32 filters, V2V: Table 2, 93.83 %", paper("cifar10", connection="v2v")),
    "paper-cifar100": ("S-ResNet38, 32 filters, T = 50, 70 epochs: Table 2, 74.54 %", paper("cifar100")),
}
"""name -> (one line, recipe). What the paper reports is named in the line; none of it is measured here."""
