"""Recipes of the networks that the paper compares with: their authors', as far as they are known, and small ones.

What is known of each, and what is a choice of ours, is in docs/zoo.md. The small ones take minutes on two cores: they
show that a network trains, and nothing of how good it is at its own size.
"""

from dataclasses import replace

from sresnet.data import DataConfig, EventConfig
from sresnet.data.events.frames import FrameConfig
from sresnet.data.events.sets import USUAL
from sresnet.models import model_config
from sresnet.train.recipe import Recipe, TrainConfig

PLIF_TRAIN = TrainConfig(
    epochs=1024,
    batch_size=16,
    optimiser="adam",
    learning_rate=1e-3,
    weight_decay=0.0,
    schedule="cosine",
    cosine_epochs=64,
    loss="mse",
    protocol="best-test-epoch",
)
"""Fang et al. 2021 (PLIF): code and logs. The rate goes down and up again, with a period of 128 epochs."""

FRAMES = EventConfig(frames=FrameConfig(by="count", orientation="spikingjelly"))
"""Frames of 128x128 with equal numbers of events, as SpikingJelly makes them, the first 900 of each class to train."""

FANG_CIFAR = Recipe(model=model_config("fang-cifar"), data=DataConfig(name="cifar10"), train=PLIF_TRAIN)
FANG_DVS = Recipe(model=model_config("fang-dvs"), data=FRAMES, train=PLIF_TRAIN)
FANG_WIDE_7B = Recipe(
    model=model_config("fang-wide-7b"),
    data=FRAMES,
    train=TrainConfig(
        epochs=64,
        batch_size=16,
        learning_rate=0.01,
        weight_decay=0.0,
        schedule="cosine",
        cosine_epochs=64,
        protocol="best-test-epoch",
    ),
)

BNTT_TRAIN = TrainConfig(
    epochs=100, batch_size=256, learning_rate=0.3, milestones=(0.5, 0.7, 0.9), protocol="best-test-epoch"
)
"""Kim & Panda 2021: code and README. They test every tenth epoch."""
KIM_VGG9 = Recipe(model=model_config("kim-vgg9"), data=DataConfig(name="cifar10"), train=BNTT_TRAIN)
KIM_VGG9_DVS = Recipe(
    model=model_config("kim-vgg9-dvs"),
    data=replace(FRAMES, frames=replace(FRAMES.frames, size=32, resize="mean")),
    train=replace(BNTT_TRAIN, batch_size=64),
)
"""Ours: the authors' network and training for events are not known."""
KIM_VGG11 = Recipe(
    model=model_config("kim-vgg11"), data=DataConfig(name="cifar100"), train=replace(BNTT_TRAIN, batch_size=128)
)

LEE_RESNET11 = Recipe(
    model=model_config("lee-resnet11", poisson_scale=2.25),
    data=DataConfig(name="cifar10"),
    train=TrainConfig(
        epochs=150,
        batch_size=16,
        learning_rate=0.0025,
        momentum=0.0,
        weight_decay=5e-4,
        milestones=(70 / 150, 100 / 150, 125 / 150),
        drop=0.2,
        loss="sse",
        protocol="best-test-epoch",
    ),
)
"""Lee et al. 2020: code. They divide images by 2.1 to 2.3 times the deviations that ours are divided by."""

ZHENG_TRAIN = TrainConfig(epochs=100, batch_size=128, learning_rate=0.1, schedule="cosine")
"""Ours: the authors' is not known."""
ZHENG_RESNET19 = Recipe(model=model_config("zheng-resnet19"), data=DataConfig(name="cifar10"), train=ZHENG_TRAIN)
ZHENG_RESNET19_DVS = Recipe(
    model=model_config("zheng-resnet19", in_channels=2, num_steps=10),
    data=replace(FRAMES, frames=replace(FRAMES.frames, size=64, resize="mean")),
    train=replace(ZHENG_TRAIN, batch_size=32),
)

DENG_TRAIN = TrainConfig(
    epochs=200, batch_size=128, learning_rate=0.05, weight_decay=5e-4, milestones=(0.5, 0.7), warmup_epochs=1
)
"""Deng & Gu 2021: the defaults of their code, but for the rate, which is 0.001 there."""
DENG_VGG16 = Recipe(
    model=model_config("deng-vgg16", num_classes=100, limit=2.0), data=DataConfig(name="cifar100"), train=DENG_TRAIN
)
DENG_RESNET20 = Recipe(model=model_config("deng-resnet20"), data=DataConfig(name="cifar10"), train=DENG_TRAIN)
SENGUPTA_VGG16 = Recipe(
    model=model_config("sengupta-vgg16"),
    data=DataConfig(name="cifar10"),
    train=TrainConfig(epochs=300, batch_size=64, learning_rate=0.01, weight_decay=5e-4, milestones=(0.6, 0.8, 0.9)),
)
"""Training of the ANN as in the group's later code (Rathi et al. 2020)."""
WU_VGG11 = Recipe(
    model=model_config("wu-vgg11"),
    data=DataConfig(name="cifar10", validation=0.1),
    train=TrainConfig(
        epochs=100, batch_size=256, optimiser="adam", learning_rate=1e-3, weight_decay=0.0, milestones=()
    ),
)
STOECKL_RESNET50 = Recipe(
    model=model_config("stoeckl-resnet50"),
    data=DataConfig(name="cifar10"),
    train=TrainConfig(
        epochs=292,
        batch_size=128,
        learning_rate=0.1,
        weight_decay=2e-4,
        milestones=(91 / 292, 136 / 292, 182 / 292),
    ),
)
"""Stöckl & Maass 2021: code and checkpoint. They standardise each image by itself; here all have the same constants."""

DIGITS = DataConfig(name="digits", flip=False, crop_padding=1)
FEW_EPOCHS = TrainConfig(epochs=15, batch_size=64, learning_rate=0.1, schedule="cosine", warmup_epochs=1)
PLIF_FEW_EPOCHS = replace(FEW_EPOCHS, optimiser="adam", learning_rate=1e-3, weight_decay=0.0, loss="mse")
FANG_CIFAR_SMALL = Recipe(
    model=model_config("fang-cifar", width=1 / 8, image_size=8, in_channels=1, num_steps=4),
    data=DIGITS,
    train=replace(PLIF_FEW_EPOCHS, epochs=50, learning_rate=3e-3),
)
FANG_DVS_SMALL = Recipe(
    model=model_config("fang-dvs", width=1 / 4, image_size=16, num_steps=5),
    data=USUAL["digits-dvs"],
    train=replace(PLIF_FEW_EPOCHS, batch_size=32),
)
FANG_WIDE_7B_SMALL = Recipe(
    model=model_config("fang-wide-7b", width=1 / 4, num_steps=5),
    data=USUAL["digits-dvs"],
    train=replace(FEW_EPOCHS, batch_size=32),
)
KIM_VGG9_SMALL = Recipe(
    model=model_config("kim-vgg9", width=1 / 8, hidden=128, image_size=8, in_channels=1, num_steps=10),
    data=DIGITS,
    train=replace(FEW_EPOCHS, epochs=60),
)
KIM_VGG11_SMALL = replace(
    KIM_VGG9_SMALL,
    model=model_config("kim-vgg11", width=1 / 8, hidden=128, image_size=8, in_channels=1, num_classes=10, num_steps=10),
)
KIM_VGG9_DVS_SMALL = Recipe(
    model=model_config("kim-vgg9-dvs", width=1 / 8, hidden=128, image_size=16, num_steps=5),
    data=USUAL["digits-dvs"],
    train=FEW_EPOCHS,
)
LEE_RESNET11_SMALL = Recipe(
    model=model_config(
        "lee-resnet11", width=1 / 4, image_size=8, in_channels=1, num_steps=10, threshold=0.4, dropout=0.0
    ),
    data=DIGITS,
    train=TrainConfig(
        epochs=15,
        batch_size=32,
        optimiser="adam",
        learning_rate=1e-3,
        weight_decay=0.0,
        schedule="cosine",
        loss="sse",
    ),
)
"""A lower threshold, no dropout and Adam: without norms, few spikes pass so many narrow layers in few steps."""
ZHENG_RESNET19_SMALL = Recipe(
    model=model_config("zheng-resnet19", width=1 / 8, in_channels=1, num_steps=4),
    data=DIGITS,
    train=replace(FEW_EPOCHS, epochs=40),
)
SEW_RESNET18_SMALL = Recipe(
    model=model_config("sew_resnet18", base_filters=8, stem="c3", in_channels=1, num_classes=10),
    data=DIGITS,
    train=FEW_EPOCHS,
)
MS_RESNET18_SMALL = Recipe(
    model=model_config("ms_resnet18", base_filters=8, stem="c3", in_channels=1, num_classes=10, num_steps=4),
    data=DIGITS,
    train=FEW_EPOCHS,
)

ANN_FEW_EPOCHS = TrainConfig(epochs=10, batch_size=128, learning_rate=0.05, schedule="cosine", warmup_epochs=1)


def _ann_small(name: str, width: float) -> Recipe:
    """An ANN that is converted, of less width, on CIFAR-10."""
    return Recipe(
        model=model_config(name, width=width, dropout=0.0), data=DataConfig(name="cifar10"), train=ANN_FEW_EPOCHS
    )


ZOO: dict[str, tuple[str, Recipe]] = {
    "fang-cifar": ("CifarNet with PLIF neurons of Fang et al. as published: CIFAR-10, 1024 epochs", FANG_CIFAR),
    "fang-cifar-small": ("the same, an eighth as wide, T = 4, on scikit-learn's digits", FANG_CIFAR_SMALL),
    "fang-dvs": ("network with PLIF neurons of Fang et al. as published: DVS-CIFAR10, 1024 epochs", FANG_DVS),
    "fang-dvs-small": ("the same, a quarter as wide, T = 5, on simulated recordings of digits", FANG_DVS_SMALL),
    "fang-wide-7b": ("Wide-7B-Net (SEW) of Fang et al. as published: DVS-CIFAR10, 64 epochs", FANG_WIDE_7B),
    "fang-wide-7b-small": ("the same, a quarter as wide, T = 5, on simulated recordings of digits", FANG_WIDE_7B_SMALL),
    "kim-vgg9": ("VGG9 with BNTT of Kim & Panda as published: CIFAR-10, T = 25, 100 epochs", KIM_VGG9),
    "kim-vgg9-small": ("the same, an eighth as wide, T = 10, on scikit-learn's digits", KIM_VGG9_SMALL),
    "kim-vgg9-dvs": (
        "VGG9 with BNTT on 32x32 frames of DVS-CIFAR10, T = 20: network and training are ours",
        KIM_VGG9_DVS,
    ),
    "kim-vgg9-dvs-small": (
        "the same, an eighth as wide, T = 5, on simulated recordings of digits",
        KIM_VGG9_DVS_SMALL,
    ),
    "kim-vgg11": ("VGG11 with BNTT of Kim & Panda, by the README of their code: CIFAR-100, T = 30", KIM_VGG11),
    "kim-vgg11-small": ("the same, an eighth as wide, T = 10, on scikit-learn's digits", KIM_VGG11_SMALL),
    "lee-resnet11": ("ResNet-11 of Lee et al. as published: CIFAR-10, T = 100, 150 epochs", LEE_RESNET11),
    "lee-resnet11-small": ("the same, a quarter as wide, T = 10, on scikit-learn's digits", LEE_RESNET11_SMALL),
    "zheng-resnet19": ("ResNet-19 with tdBN of Zheng et al.: CIFAR-10, T = 6; training is ours", ZHENG_RESNET19),
    "zheng-resnet19-dvs": ("the same on 64x64 frames of DVS-CIFAR10, T = 10; training is ours", ZHENG_RESNET19_DVS),
    "zheng-resnet19-small": ("the same, an eighth as wide, T = 4, on scikit-learn's digits", ZHENG_RESNET19_SMALL),
    "deng-resnet20": ("the ANN that Deng & Gu convert: CIFAR-10, 200 epochs", DENG_RESNET20),
    "deng-resnet20-small": ("the same, an eighth as wide, 10 epochs", _ann_small("deng-resnet20", 1 / 8)),
    "deng-vgg16": ("the ANN that Deng & Gu convert: CIFAR-100, 200 epochs", DENG_VGG16),
    "deng-vgg16-small": ("the same, an eighth as wide, CIFAR-10, 10 epochs", _ann_small("deng-vgg16", 1 / 8)),
    "sengupta-vgg16": ("the ANN of Sengupta et al. and Han & Roy: CIFAR-10, 300 epochs", SENGUPTA_VGG16),
    "sengupta-vgg16-small": ("the same, an eighth as wide, 10 epochs", _ann_small("sengupta-vgg16", 1 / 8)),
    "stoeckl-resnet50": ("the ResNet-50 that Stöckl & Maass convert: CIFAR-10, 292 epochs", STOECKL_RESNET50),
    "stoeckl-resnet50-small": ("the same, a quarter as wide, 10 epochs", _ann_small("stoeckl-resnet50", 1 / 4)),
    "wu-vgg11": ("the ANN of progressive tandem learning: CIFAR-10, 100 epochs", WU_VGG11),
    "wu-vgg11-small": ("the same, an eighth as wide, 10 epochs", _ann_small("wu-vgg11", 1 / 8)),
    "sew_resnet18-small": ("SEW-ResNet-18, 8 filters, T = 4, on scikit-learn's digits", SEW_RESNET18_SMALL),
    "ms_resnet18-small": ("MS-ResNet-18, 8 filters, T = 4, on scikit-learn's digits", MS_RESNET18_SMALL),
}
"""Name -> (one line, recipe), part of `recipes.RECIPES`."""
