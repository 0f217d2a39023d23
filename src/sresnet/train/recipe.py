"""A recipe: all that decides the numbers of a run."""

import dataclasses
import hashlib
import itertools
import json
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sresnet.config import added_later, check_types, check_value, to_dict
from sresnet.data import AnyData, DataConfig, EventConfig
from sresnet.data.transforms import SHRUNK
from sresnet.errors import UserError
from sresnet.models import ModelConfig, SResNetConfig, compat_fields
from sresnet.models.segments import check_numbers


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a network is trained, by default as in Sections 3.3 to 3.5 and the released code; UserError out of range."""

    epochs: int = 70
    """Passes over the training images."""
    batch_size: int = 21
    """Images per step."""
    optimiser: Literal["sgd", "adam"] = added_later("sgd")
    """sgd: with momentum (Section 3.5); adam: Kingma and Ba 2015."""
    learning_rate: float = 0.0268
    """Learning rate (Section 3.5)."""
    momentum: float = 0.9
    """Momentum of SGD; of Adam's average of gradients, its beta 1."""
    weight_decay: float = 1e-4
    """L2 penalty on every parameter, norms and leaks included (released code), but not filters trained with
    `muon_lr`, whose norm is kept."""
    muon_lr: float = added_later(0.0, once="filter_rate")
    """Learning rate of orthogonal steps (Muon) for the filters, relative to their norm; `learning_rate` is then that of
    the other parameters, and the momentum is Nesterov's. 0: plain SGD for all."""
    progressive_epochs: tuple[int, ...] = added_later((), once="short_epochs")
    """Epochs at the start that run only the first 1, then 2, 4, 8, ... time steps: (10, 4) is ten epochs of one step,
    four of two, and the others of all steps."""
    low_res_epochs: int = added_later(0, once="small_epochs")
    """Epochs at the start that show images at three quarters of their height and width, which costs little more than
    half; Tan and Le 2021."""
    schedule: Literal["milestones", "cosine"] = "milestones"
    """milestones: the rate drops at each; cosine: half a cosine down to zero."""
    cosine_epochs: int = added_later(0)
    """Epochs of the half cosine, which then goes up again, and so on; it changes once an epoch. 0: all, every step."""
    milestones: tuple[float, ...] = (0.7, 0.8, 0.9)
    """Fractions of the epochs where the rate drops (Section 3.5)."""
    drop: float = added_later(0.1)
    """What the rate is multiplied by at each milestone (Section 3.5)."""
    warmup_epochs: float = 0.0
    """Epochs over which the learning rate rises from zero."""
    clip_norm: float = 0.0
    """Gradients are clipped to this norm; 0: no clipping."""
    label_smoothing: float = 0.0
    """Share of the target that is spread evenly over all classes; 0: none."""
    loss: Literal["mean", "per-step", "mse", "sse"] = "mean"
    """mean: cross-entropy of the mean over steps (Eq. 19); per-step: mean of every step's own (Deng et al. 2022); mse:
    mean squared distance of the scores to 0, and 1 for the class (Fang et al. 2021); sse: its sum (Lee et al. 2020)."""
    class_weights: Literal["none", "balanced"] = added_later("none")
    """balanced: the loss of an image is multiplied by N / (K n), for n of N training images of its class, one of K, so
    that all classes count alike."""
    ema: float = 0.0
    """Decay per step of the weight average that is evaluated and saved; 0 is off."""
    time_segments: tuple[int, ...] | Literal["auto"] = added_later(())
    """Parts in which the time steps go through the network, so that memory does not grow with them; all but the last
    are computed twice. 8: eight parts; 4 4: four, each in four in turn; auto: as `step_memory` wants it."""
    step_memory: float = added_later(2.0)
    """Gigabytes that time_segments "auto" lets a training step take beside weights and images; no effect without it."""
    accumulate: int = added_later(1)
    """Equal parts of a batch that go through the network one after the other, their gradients added up, where a whole
    batch does not fit into memory. It changes numbers: norms take their statistics of one part at a time, and move
    their running averages at each."""
    statistics: Literal["synchronised", "local"] = added_later("synchronised")
    """Of norms, where torchrun starts several processes. synchronised: over the images of all, so that numbers are
    those of one process; local: over the images of each, which changes numbers with the number of processes."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """bf16: convolutions in bfloat16, norms and potentials in float32; fp16: in float16, on a GPU, with a loss scale
    that follows the gradients: steps in which they overflow are left out."""
    sharpen_epochs: tuple[float, ...] = added_later(())
    """Whetstone: two numbers of epochs between which units of neuron "sharpened" become steps, one layer after the
    other from the first to the last."""
    protocol: Literal["last-epoch", "best-test-epoch", "released-code"] = "last-epoch"
    """last-epoch: the test images are read once, after the last epoch. best-test-epoch: the best of all epochs is
    reported beside it (Tables 14, 16, 17). released-code: also its late learning-rate drops, its mean of batch means,
    and CIFAR-10's constants for CIFAR-100."""

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("epochs", "batch_size", "accumulate"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} {getattr(self, name)} is less than 1: training needs at least one")
        for name in ("momentum", "label_smoothing", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name} {getattr(self, name)} is outside [0, 1)")
        for name in ("learning_rate", "weight_decay", "muon_lr", "warmup_epochs", "clip_norm"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UserError(f"{name} {getattr(self, name)} is not a number from 0 up")
        if self.loss in ("mse", "sse") and self.label_smoothing:
            raise UserError(
                f"label_smoothing {self.label_smoothing} is for cross-entropy, and loss is {self.loss!r}: use 0"
            )
        if self.muon_lr and self.optimiser != "sgd":
            raise UserError(f"muon_lr {self.muon_lr} goes with SGD, and optimiser is {self.optimiser!r}: use 0")
        if self.cosine_epochs < 0 or (self.cosine_epochs and self.schedule != "cosine"):
            raise UserError(
                f"cosine_epochs {self.cosine_epochs} counts epochs of schedule 'cosine': use 0, or that one"
            )
        if not 0 < self.drop <= 1:
            raise UserError(f"drop {self.drop} is outside (0, 1]: the rate is multiplied by it at milestones; try 0.1")
        if self.time_segments != "auto":
            check_numbers(self.time_segments)
        if not self.step_memory > 0:
            raise UserError(f"step_memory {self.step_memory:g} is not above 0: give gigabytes")
        if (least := min(self.progressive_epochs, default=0)) < 0:
            raise UserError(f"progressive_epochs has {least}, which is below 0: they count epochs")
        if self.low_res_epochs < 0:
            raise UserError(f"low_res_epochs {self.low_res_epochs} is less than 0: it counts epochs")
        if self.epochs <= max(sum(self.progressive_epochs), self.low_res_epochs):
            raise UserError(self.too_few_epochs())
        if self.progressive_epochs and self.protocol != "last-epoch":
            raise UserError(
                f"protocol {self.protocol!r} could choose one of progressive_epochs {self.progressive_epochs}: "
                "use 'last-epoch'"
            )
        if self.sharpen_epochs:
            first, last = self.sharpen_epochs if len(self.sharpen_epochs) == 2 else (-1, -1)
            if not 0 <= first < last <= self.epochs:
                raise UserError(
                    f"sharpen_epochs {self.sharpen_epochs}: give the epochs after which sharpening begins and is done, "
                    f"within {self.epochs}, such as {self.epochs // 4} {self.epochs}"
                )
        for milestone in self.milestones:
            if not 0 < milestone <= 1:
                raise UserError(f"milestones has {milestone:g}, no fraction of training: the paper's are 0.7 0.8 0.9")

    def too_few_epochs(self) -> str:
        """The message where all epochs would be short or small, with flags that fit, in proportion."""
        short, small = self.progressive_epochs, self.low_res_epochs
        faults, cures = [], []
        if sum(short) >= self.epochs:
            faults.append(f"progressive_epochs {short} leave none of {self.epochs} epochs for all time steps")
            fitting = (str((self.epochs - 1) * count // sum(short)) for count in short)
            cures.append(f"--train.progressive-epochs {' '.join(fitting)}")
        if small >= self.epochs:
            faults.append(f"low_res_epochs {small} leave none of {self.epochs} epochs for images of full size")
            cures.append(f"--train.low-res-epochs {self.epochs - 1}")
        most = max(sum(short), small)
        return f"{' and '.join(faults)}: add {' '.join(cures)}, or train for more than {most} epochs"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Network, data, training and seed: two runs of equal recipes on one machine end with equal weights."""

    model: ModelConfig = field(default_factory=SResNetConfig)
    data: AnyData = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    seed: int = 0
    """Seed of the initial weights, order and augmentation of the images, Poisson spikes and held-out split."""
    pretrained: str = ""
    """Run folder, weights file or pretrained network of sresnet list to start from; stem convolution and readout start
    anew (Tables 11, 12). Norms per step become one for all steps where `model.norm` says so."""
    pretrained_layers: Literal["inner", "all"] = added_later("inner")
    """all: stem convolution and readout start from it too."""
    keep_stem: bool = added_later(False)
    """The stem's convolution starts from `pretrained` too. For another number of channels each filter is the average
    over them of its sum over the old ones: an image with equal channels gives the same current."""
    freeze: tuple[str, ...] = added_later(())
    """Layers that stay as they are in `pretrained`, norms and leaks included: stem stage1, or stage1_block1.conv1, or
    other names of sresnet info or what they begin with, separated by spaces or commas."""
    calibrate: bool = added_later(False)
    """Do not train, but set the norms of `pretrained`, made one for all steps, from up to 1,000 held-out images, or
    training images where none are held out."""

    def __post_init__(self) -> None:
        check_value("Recipe.freeze", self.freeze, tuple[str, ...])
        names = dict.fromkeys(name for word in self.freeze for name in word.replace(",", " ").split())
        object.__setattr__(self, "freeze", tuple(names))
        if not 0 <= self.seed < 2**31:
            raise UserError(f"seed {self.seed} is outside 0 to {2**31 - 1}")
        if self.train.class_weights == "balanced" and self.data.sampling == "balanced":
            raise UserError(
                "class_weights 'balanced' with sampling 'balanced' would make up for uneven classes twice: choose one"
            )
        if self.freeze and (not self.pretrained or self.calibrate):
            raise UserError(
                f"freeze {' '.join(self.freeze)}: layers stay as they are in a trained network that trains on: give "
                "--pretrained, and no --calibrate"
            )
        if self.freeze and self.train.sharpen_epochs:
            raise UserError(
                f"freeze {' '.join(self.freeze)} with sharpen_epochs {self.train.sharpen_epochs}: units of frozen "
                "layers would be sharpened: leave --freeze out"
            )
        if self.calibrate and not (self.pretrained and self.pretrained_layers == "all"):
            raise UserError(
                "calibrate sets norms alone and trains nothing: start from a trained network on its own data, "
                "--pretrained RUN --pretrained-layers all"
            )
        if self.calibrate and self.model.norm not in ("time-averaged", "tdbn"):
            raise UserError(
                f"calibrate sets one norm for all steps, and norm is {self.model.norm!r}: use --model.norm "
                "time-averaged"
            )
        short = 2 ** (len(self.train.progressive_epochs) - 1)
        if short >= self.model.num_steps:
            raise UserError(
                f"progressive_epochs {self.train.progressive_epochs} ends with {short} time steps, and the network has "
                f"{self.model.num_steps}: give fewer numbers"
            )
        if self.train.muon_lr and (self.model.norm == "none" or not getattr(self.model, "skip_norm", True)):
            raise UserError(
                f"muon_lr {self.train.muon_lr} keeps the length of filters, which needs a norm after every "
                "convolution: use 0"
            )
        skip = getattr(self.model, "skip", "")
        segments = self.train.time_segments
        divided = segments == "auto" or max(segments, default=1) > 1
        if divided and (self.model.norm in ("time-averaged", "tdbn") or skip == "tdbn"):
            given = segments if segments == "auto" else " ".join(map(str, segments))
            raise UserError(
                f"time_segments {given}: a norm of this network takes its statistics over all time steps, which have "
                "to be there at once: use --model.norm bntt and no tdbn skip, or no segments"
            )
        if self.train.time_segments and self.model.gradient == "spike-based":
            raise UserError(
                f"time_segments {self.train.time_segments}: gradient 'spike-based' counts spikes of all time steps at "
                "once: use no segments"
            )
        if (self.model.neuron == "sharpened") != bool(self.train.sharpen_epochs):
            raise UserError(
                f"neuron {self.model.neuron!r} with sharpen_epochs {self.train.sharpen_epochs}: units that become "
                "steps need both, --model.neuron sharpened and when, such as --train.sharpen-epochs 5 20"
            )
        if isinstance(self.data, EventConfig):
            if self.train.low_res_epochs:
                raise UserError(f"low_res_epochs {self.train.low_res_epochs} are for images, not for events: use 0")
            if self.model.encoder not in ("direct", "delta"):
                raise UserError(f"encoder {self.model.encoder!r} encodes images, not events: use 'direct' or 'delta'")
        elif self.model.encoder in ("poisson", "latency") and self.data.pixels != "intensity":
            raise UserError(
                f"encoder {self.model.encoder!r} takes intensities, not normalised pixels: add --data.pixels intensity"
            )

    def num_steps_in(self, epoch: int) -> int:
        """Time steps that training runs in `epoch`, counted from 0."""
        ends = itertools.accumulate(self.train.progressive_epochs)
        return next((2**doublings for doublings, end in enumerate(ends) if epoch < end), self.model.num_steps)

    def work_in(self, epoch: int) -> float:
        """Cost of an image in `epoch`, in time steps of one of full size."""
        return self.num_steps_in(epoch) * (SHRUNK**2 if epoch < self.train.low_res_epochs else 1.0)

    def effective(self) -> "Recipe":
        """It without fields that have no effect: `step_memory`, where no time segments keep to it, and `keep_stem`,
        where nothing or all starts from a trained network."""
        keep_stem = self.keep_stem and bool(self.pretrained) and self.pretrained_layers == "inner"
        found = replace(self, keep_stem=keep_stem)
        if self.train.time_segments == "auto":
            return found  # it decides how steps are divided, and so how gradients are rounded
        return replace(found, train=replace(self.train, step_memory=TrainConfig.step_memory))

    def fingerprint(self) -> str:
        """Eight hexadecimal digits that change with every field that has an effect."""
        text = json.dumps(to_dict(self.effective(), first_names=True), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


def with_compat(recipe: Recipe, compat: str) -> Recipe:
    """The recipe with every field on which they differ as in "paper" or "released-code"; UserError for others."""
    known = {field.name for field in dataclasses.fields(recipe.model)}
    fields = {key: value for key, value in compat_fields(compat).items() if key in known}
    training: dict[str, Any] = (
        {"protocol": "last-epoch", "learning_rate": 0.0268}
        if compat == "paper"
        else {"protocol": "released-code", "learning_rate": 0.026844}
    )
    return replace(recipe, model=replace(recipe.model, **fields), train=replace(recipe.train, **training))
