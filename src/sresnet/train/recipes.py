"""Named recipes. `sresnet train NAME` runs one; every field of it is a flag."""

from dataclasses import replace

from sresnet.data import DataConfig, EventConfig
from sresnet.data.events.frames import FrameConfig
from sresnet.data.events.sets import USUAL
from sresnet.models import SResNetConfig
from sresnet.train.recipe import Recipe, TrainConfig
from sresnet.train.zoo import ZOO

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

# The fast family: few steps and what is known to help short runs. Values are from trials and the literature, none
# was chosen by its accuracy on test images; results/ablation-fast.md has each alone on held-out images, three seeds.
#   2x2 average instead of stride 2       +4.4 points; the paper's VGG shrinks so too
#   orthogonal steps for the filters      +9.0; Jordan et al. 2024
#   one time step in most epochs          +3.3, for about the same time; docs/log.md
#   three quarters of the size in most    +1.4 alone, undecided beside the others; eight layers; Tan and Le 2021
#   leak 0.5 instead of 0.874             undecided; +0.7 in a single trial of two steps
#   loss of every step                    nothing after all steps, +6.5 after the first; Deng et al. 2022
#   label smoothing                       undecided; Szegedy et al. 2016
#   average of the weights                undecided; Polyak and Juditsky 1992
#   cosine after a warm-up                not measured; Loshchilov and Hutter 2017; Goyal et al. 2017
# `--data.policy trivial` and `--data.erase 0.5` are for training runs several times as long: here they cost accuracy.

FAST = TrainConfig(
    epochs=40,
    progressive_epochs=(33,),
    batch_size=128,
    learning_rate=0.1,
    muon_lr=0.015,
    schedule="cosine",
    warmup_epochs=1,
    label_smoothing=0.1,
    loss="per-step",
    ema=0.999,
)

FAST_SHALLOW = replace(FAST, learning_rate=0.2, muon_lr=0.03)
"""For a few thousand steps. Of these lengths, runs of 14,000 learn little after the third epoch; docs/log.md."""

FAST_S_RESNET20 = replace(S_RESNET20, downsample="avg", leak=0.5)

FAST_CIFAR10 = replace(CIFAR10, model=FAST_S_RESNET20, train=FAST)

FAST_CIFAR10_SMALL = replace(
    FAST_CIFAR10,
    model=replace(FAST_S_RESNET20, depth=8, base_filters=32, num_steps=2),
    train=replace(FAST_SHALLOW, epochs=14, progressive_epochs=(12,), low_res_epochs=10, ema=0.995),
)

FAST_CIFAR10_WIDE = replace(
    FAST_CIFAR10,
    model=replace(FAST_S_RESNET20, depth=8, base_filters=64, num_steps=2),
    train=replace(FAST_SHALLOW, epochs=19, progressive_epochs=(16,), low_res_epochs=14, ema=0.998),
)

FAST_CIFAR100 = replace(
    FAST_CIFAR10,
    model=replace(FAST_S_RESNET20, base_filters=32, num_steps=2, num_classes=100),
    data=CIFAR100.data,
    train=replace(FAST, epochs=17, progressive_epochs=(14,)),
)

FOLDER = replace(CIFAR10, data=DataConfig(name="folder", validation=0.1))

DIGITS_DVS = Recipe(
    model=SResNetConfig(depth=8, base_filters=16, in_channels=2, num_steps=5, surrogate_height=1.0),
    data=USUAL["digits-dvs"],
    train=TrainConfig(epochs=5, batch_size=32, learning_rate=0.1, schedule="cosine", warmup_epochs=1),
)

NMNIST = Recipe(
    model=SResNetConfig(depth=8, base_filters=16, in_channels=2, num_steps=8, surrogate_height=1.0, downsample="max"),
    data=replace(USUAL["nmnist"], frames=FrameConfig(size=17), shift=1, shift_fill="zero"),
    train=TrainConfig(epochs=20, batch_size=32, learning_rate=0.1, schedule="cosine", warmup_epochs=1),
)

DVS_CIFAR10 = Recipe(
    model=SResNetConfig(depth=20, base_filters=16, in_channels=2, num_steps=10, stem="c3s2", surrogate_height=1.0),
    data=EventConfig(frames=FrameConfig(size=64), validation=0.1, flip=True, shift=5, cutout=0.5),
    train=replace(FEW_STEPS, epochs=70, batch_size=32),
)

CIFAR10_DVS_SIM = replace(
    DVS_CIFAR10,
    model=replace(S_RESNET20, in_channels=2, num_steps=8),
    data=replace(USUAL["cifar10-dvs-sim"], validation=0.1, flip=True, shift=4, shift_fill="zero"),
)

DVS_GESTURE = Recipe(
    model=SResNetConfig(
        depth=14, base_filters=16, in_channels=2, num_steps=16, num_classes=11, surrogate_height=1.0, downsample="max"
    ),
    # Not mirrored: left and right hands are classes.
    data=replace(USUAL["dvs-gesture"], shift=4, shift_fill="zero"),
    train=TrainConfig(epochs=60, batch_size=16, learning_rate=0.1, schedule="cosine", warmup_epochs=1),
)

EVENT_FOLDER = Recipe(
    model=SResNetConfig(depth=14, base_filters=16, in_channels=2, num_steps=8, surrogate_height=1.0, downsample="max"),
    data=replace(USUAL["event-folder"], flip=True, shift=4, shift_fill="zero"),
    train=TrainConfig(epochs=30, batch_size=32, learning_rate=0.1, schedule="cosine", warmup_epochs=1),
)


def paper(data: str, **model: object) -> Recipe:
    """The settings of Sections 3.3 to 3.5: all training images, 70 epochs, test images read once after the last."""
    classes = {"cifar10": 10, "cifar100": 100}[data]
    return Recipe(
        model=SResNetConfig(**({"depth": 38, "base_filters": 32, "num_classes": classes} | model)),  # type: ignore[arg-type]
        data=DataConfig(name=data),  # type: ignore[arg-type]
        train=TrainConfig(),
    )


def paper_events(size: int, **model: object) -> Recipe:
    """DVS-CIFAR10 as in Tables 11 and 13: raw counts, no augmentation, drops at 50, 70, 90 %; see `--pretrained`."""
    stem = {32: "c3", 64: "c3s2", 128: "c5s2-pool"}[size]
    fields = {"depth": 38, "base_filters": 32, "in_channels": 2, "stem": stem} | model
    return Recipe(
        model=SResNetConfig(**fields),  # type: ignore[arg-type]
        data=EventConfig(frames=FrameConfig(size=size)),
        train=TrainConfig(milestones=(0.5, 0.7, 0.9)),
    )


RECIPES: dict[str, tuple[str, Recipe]] = {
    "digits": ("S-ResNet8, T = 4, on scikit-learn's digits: half a minute on a laptop", DIGITS),
    "cifar10": ("S-ResNet20, 16 filters, T = 4, a tenth of the training images held out", CIFAR10),
    "cifar100": ("the same on CIFAR-100", CIFAR100),
    "cifar10-small": ("S-ResNet8, 16 filters, T = 4, 5 epochs", SMALL),
    "fast-cifar10": (
        "S-ResNet20, 16 filters, T = 4, 40 epochs, 33 with T = 1: 88.87 ± 0.20 %; estimated 1.7 h on two AVX2 cores",
        FAST_CIFAR10,
    ),
    "fast-cifar10-small": (
        "S-ResNet8, 32 filters, T = 2, 14 epochs, 12 with T = 1: 86.09 ± 0.17 %; estimated 0.39 h on two AVX2 cores",
        FAST_CIFAR10_SMALL,
    ),
    "fast-cifar10-wide": (
        "S-ResNet8, 64 filters, T = 2, 19 epochs, 16 with T = 1: 90.13 ± 0.04 %; estimated 1.8 h on two AVX2 cores",
        FAST_CIFAR10_WIDE,
    ),
    "fast-cifar100": (
        "S-ResNet20, 32 filters, T = 2, 17 epochs, 14 with T = 1: 66.08 %; estimated 2.5 h on two AVX2 cores",
        FAST_CIFAR100,
    ),
    "folder": ("S-ResNet20, T = 4, on your own pictures: --data-dir DIR/CLASS/PICTURE", FOLDER),
    "digits-dvs": ("S-ResNet8, T = 5, on simulated recordings of scikit-learn's digits: a minute", DIGITS_DVS),
    "nmnist": ("S-ResNet8, T = 8, 17x17 frames of N-MNIST", NMNIST),
    "dvs-cifar10": ("S-ResNet20, T = 10, 64x64 frames of DVS-CIFAR10, a tenth held out", DVS_CIFAR10),
    "cifar10-dvs-sim": ("S-ResNet20, T = 8, on simulated recordings of CIFAR-10, a tenth held out", CIFAR10_DVS_SIM),
    "dvs-gesture": ("S-ResNet14, T = 16, 32x32 frames of DVS128 Gesture", DVS_GESTURE),
    "event-folder": (
        "S-ResNet14, T = 8, 32x32 frames of your own recordings: --data-dir DIR or LIST.csv",
        EVENT_FOLDER,
    ),
    "paper-cifar10": (
        "S-ResNet38, 32 filters, boosting, T = 50, 70 epochs: Table 7, 93.77 %; estimated 760 h on two AVX2 cores",
        paper("cifar10", boosting=True),
    ),
    "paper-cifar10-s2m": (
        "S-ResNet38, 32 filters, S2M: Table 2, 89.27 %; estimated 760 h on two AVX2 cores",
        paper("cifar10", connection="s2m"),
    ),
    "paper-cifar10-s2s": (
        "S-ResNet38, 32 filters, S2S: Table 2, 94.01 %; estimated 760 h on two AVX2 cores",
        paper("cifar10"),
    ),
    "paper-cifar10-v2v": (
        "S-ResNet38, 32 filters, V2V: Table 2, 93.83 %; estimated 760 h on two AVX2 cores",
        paper("cifar10", connection="v2v"),
    ),
    "paper-cifar100": (
        "S-ResNet38, 32 filters, T = 50, 70 epochs: Table 2, 74.54 %; estimated 760 h on two AVX2 cores",
        paper("cifar100"),
    ),
    "paper-dvs-cifar10-32": (
        "S-ResNet38, 32 filters, 32x32, --pretrained a paper-cifar100 run: Table 13, 71.80 %; "
        "estimated 140 h on two AVX2 cores",
        paper_events(32),
    ),
    "paper-dvs-cifar10-64": (
        "the same at 64x64, stem of stride 2: Table 13, 72.98 %; estimated 140 h on two AVX2 cores",
        paper_events(64),
    ),
    "paper-dvs-cifar10-128": (
        "the same at 128x128, 5x5 stem of stride 2 and a pool: Table 13, 72.51 %; estimated 140 h on two AVX2 cores",
        paper_events(128),
    ),
    "paper-dvs-cifar10-16f": (
        "16 filters, 32x32: Table 11, 63.3 %; 70.4 % --pretrained a run on CIFAR-100; estimated 44 h on two AVX2 cores",
        paper_events(32, base_filters=16),
    ),
    "paper-dvs-cifar10-boosting": (
        "32 filters, boosting, 32x32: Table 11, 65.5 %; 69.8 % --pretrained a run on CIFAR-100; "
        "estimated 140 h on two AVX2 cores",
        paper_events(32, boosting=True),
    ),
    **ZOO,
}
"""name -> (one line, recipe); `sresnet train NAME --data-dir DIR` is the command. What the paper reports is named in
the line; none of it is measured here. Estimated hours are computed from benchmarks/data by experiments/campaign.py."""
