"""What a study is: numbers that are read off trained networks and set beside the paper's."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from statistics import median
from typing import Any, Literal

from sresnet.config import to_dict
from sresnet.convert import METHODS, FewSpikesConfig, Method, RateConfig
from sresnet.data import EventConfig
from sresnet.train.recipe import Recipe
from sresnet.train.tandem import TandemConfig

Conversion = Method | TandemConfig
"""How a trained ANN becomes a spiking network."""
CONVERSIONS: dict[str, Conversion] = {**METHODS, "tandem": TandemConfig()}
"""Name -> method, as it is by default."""


def with_most_steps(config: Conversion, num_steps: int, epochs: int) -> Conversion:
    """A method with no more time steps than these, and tandem learning of no more epochs."""
    if isinstance(config, TandemConfig):
        epochs = min(config.epochs, epochs)
        return replace(config, num_steps=min(config.num_steps, num_steps), epochs=epochs)
    if isinstance(config, RateConfig):
        return replace(config, num_steps=min(config.num_steps, num_steps))
    if isinstance(config, FewSpikesConfig):
        return replace(config, internal_steps=min(config.internal_steps, num_steps))
    return config


Quantity = Literal[
    "last-epoch", "best-test-epoch", "leak", "best-test-epoch-leak", "best-leak", "searched-leak", "parameters"
]
"""last-epoch, best-test-epoch: test accuracy in percent, by that protocol; leak: what a shared PLIF has learned after
the last epoch; best-test-epoch-leak: the same in the epoch that best-test-epoch reads; best-leak: the leak of the
candidate with the best validation accuracy; searched-leak: leaks of the six best trials of a search; parameters:
trainable numbers, which need no training."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """A network that has to be trained, once for every seed, however many cells look at it."""

    recipe: Recipe
    """With seed 0, and no `pretrained` but a network of the package; `with_seed` sets the seed here and in what it
    starts from."""
    start: "Training | None" = None
    """What it is fine-tuned from (Tables 11 to 13), or the ANN that is converted."""
    name: str = ""
    """What it is called where people look for its result and its run folder; a study's training runs have none."""
    conversion: Conversion | None = None
    """How `start`, an ANN of the same recipe, becomes a spiking network; None where the recipe is trained."""

    def with_seed(self, seed: int) -> "Training":
        """The same with another seed all the way down."""
        start = self.start.with_seed(seed) if self.start else None
        return replace(self, recipe=replace(self.recipe, seed=seed), start=start)

    def key(self) -> str:
        """What it and its result are found by: twelve hexadecimal digits that differ wherever recipe, start or
        conversion do, or NAME-seedSEED."""
        if self.name:
            return f"{self.name}-seed{self.recipe.seed}"
        parts = [to_dict(training.recipe, first_names=True) for training in reversed(self.chain())]
        if self.conversion is not None:  # told apart by the fields of each kind of method
            parts.append({"conversion": to_dict(self.conversion)})
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def folder(self) -> str:
        """Its run folder, within that of all runs: KEY, or NAME/SEED."""
        return f"{self.name}/{self.recipe.seed}" if self.name else self.key()

    @property
    def num_steps(self) -> int:
        """Time steps of the network that it ends with; of few-spikes neurons those within the one time step."""
        if isinstance(self.conversion, FewSpikesConfig):
            return self.conversion.internal_steps
        if isinstance(self.conversion, RateConfig | TandemConfig):
            return self.conversion.num_steps
        return self.recipe.model.num_steps

    def chain(self) -> "tuple[Training, ...]":
        """The training runs it consists of, in order: what it starts from, and itself."""
        return (*(self.start.chain() if self.start else ()), self)


@dataclass(frozen=True)
class Cell:
    """One number of a table."""

    row: str
    """As the paper calls it."""
    column: str
    """Likewise."""
    training: Training
    """What is trained for it."""
    paper: float | None
    """What the paper reports; None for rows that it does not have."""
    _: KW_ONLY
    target: float | None = None
    """Where the paper reports two numbers for one network: the one that a run at its scale should reach."""
    quantity: Quantity = "last-epoch"
    """What is read off."""
    num_steps: int | None = None
    """Time steps at inference where they are fewer than in training (Tables 16, 17)."""
    candidates: tuple[Training, ...] = ()
    """For best-leak: what is trained to choose from, `training` among them."""
    search: str = ""
    """For searched-leak: name of the search, see `sresnet.studies.searches`."""
    note: str = ""
    """What a reader of this number must know: a contradiction in the paper, a choice."""
    rescaled: bool = False
    """Whether `training` is smaller than the row says."""

    @property
    def key(self) -> tuple[str, str]:
        """What it is found by in its study: row and column."""
        return self.row, self.column

    @property
    def goal(self) -> float | None:
        """The number that a run is set beside: the target, or else what the paper reports."""
        return self.paper if self.target is None else self.target

    @property
    def condition(self) -> str:
        """When the neurons of an S2M network fire, on which its identity depends; "" for others."""
        model = self.training.recipe.model
        if getattr(model, "connection", "") != "s2m" or model.neuron == "relu":
            return ""
        return "u >= theta" if model.fires_at_threshold else "u > theta"

    @property
    def simulated(self) -> str:
        """The data set, where its recordings are simulated; "" for others."""
        data = self.training.recipe.data
        return data.name if isinstance(data, EventConfig) and data.simulated else ""

    @property
    def remarks(self) -> str:
        """The note, what the row's name does not say at this scale, and the spike condition of an S2M network."""
        parts = [self.note] if self.note else []
        if self.rescaled and self.num_steps:
            parts.append(f"here {self.num_steps} of {self.training.recipe.model.num_steps} steps")
        if self.simulated:
            parts.append(f"here on SIMULATED recordings ({self.simulated})")
        if self.condition:
            parts.append(f"spikes where {self.condition}")
        return "; ".join(parts)

    def training_runs(self) -> tuple[Training, ...]:
        """What has to be trained for it."""
        if self.quantity in ("parameters", "searched-leak"):
            return ()
        return self.candidates or (self.training,)


@dataclass(frozen=True, kw_only=True)
class Study:
    """A table or figure: cells, and how many seeds each needs."""

    name: str
    """Such as table2; what `sresnet study` is given."""
    title: str
    """One line."""
    cells: tuple[Cell, ...]
    """In the paper's order."""
    seeds: int = 1
    """Seeds 0 to seeds - 1."""
    note: str = ""
    """What holds for all of it."""
    costs: bool = False
    """Its table has what each network costs beside its accuracy."""
    scale: str = "paper"
    """Name of the scale of its training runs."""

    def cell(self, key: tuple[str, str]) -> Cell:
        """The cell of this row and column; KeyError where there is none."""
        return {cell.key: cell for cell in self.cells}[key]

    @property
    def table(self) -> str:
        """As the paper numbers it, such as Table 2; "" for a study that it does not have."""
        number = self.name.removeprefix("table")
        return f"Table {number}" if number.isdigit() else ""

    def training_runs(self) -> tuple[Training, ...]:
        """Each different training once, for every seed, whatever it starts from before it; in an order to run them."""
        found: dict[str, Training] = {}
        for seed in range(self.seeds):
            for cell in self.cells:
                for training in cell.training_runs():
                    for each in training.with_seed(seed).chain():
                        found.setdefault(each.key(), each)
        return tuple(found.values())


def training_runs_of(studies: Iterable[Study]) -> dict[str, Training]:
    """Key -> training, of all that these studies want trained, each once, in an order to run them."""
    return {training.key(): training for study in studies for training in study.training_runs()}


@dataclass(frozen=True, kw_only=True)
class Result:
    """What is kept of a finished training, in the file KEY.json of a folder of results."""

    key: str
    """Of the training run."""
    config: dict[str, Any]
    """The whole recipe; what it started from by its key, as `pretrained`."""
    environment: dict[str, Any]
    """Versions, revision, machine."""
    metrics: Sequence[dict[str, Any]]
    """A line per epoch."""
    result: dict[str, Any]
    """As the run folder's result.json."""
    by_steps: tuple[float, ...] = ()
    """Test accuracy after 1, 2, ... T steps, of the weights of the last epoch."""
    best_by_steps: tuple[float, ...] = ()
    """The same of the best test epoch's weights, where that protocol is used."""
    command: str = ""
    """What trains it again, the folders of data and of what it starts from apart; "" in results of earlier versions."""
    activity: dict[str, Any] | None = None
    """What `studies.run._activity_of` counted: per layer name, shape, active by step, gamma by step, spikes; and
    spikes, operations and energy per image in all."""

    def value(self, quantity: Quantity, num_steps: int | None = None) -> float | None:
        """The number meant, or None where it was not measured."""
        if quantity in ("leak", "best-test-epoch-leak"):
            best = self.result.get("best_test_epoch")
            lines = [line for line in self.metrics if quantity == "leak" or line.get("epoch") == best]
            leaks = lines[-1].get("leak") if lines else None
            return float(next(iter(leaks.values()))) if leaks else None
        if num_steps is not None:
            curve = self.best_by_steps if quantity == "best-test-epoch" else self.by_steps
            return curve[num_steps - 1] if num_steps <= len(curve) else None
        return self.result.get("best_test_epoch_top1" if quantity == "best-test-epoch" else "test_top1")

    @property
    def hours(self) -> float:
        """Spent in the epochs of the training run, or in the conversion."""
        epochs = sum((line.get("seconds", 0.0) for line in self.metrics), 0.0)
        return (epochs + float(self.result.get("conversion_seconds", 0.0))) / 3600

    @property
    def undisturbed_hours(self) -> float:
        """What it takes at the median pace of its epochs, those of as many time steps and as large images together.

        Epochs that other programs slowed down, or that were stopped and begun again, do not count then.
        """
        alike: dict[tuple[Any, Any], list[tuple[int, float]]] = {}
        seconds, last = float(self.result.get("conversion_seconds", 0.0)), 0
        for line in self.metrics:
            step = int(line.get("step", 0))
            if pace := float(line.get("images_per_second", 0.0)):
                kind = line.get("num_steps"), line.get("small_images")
                alike.setdefault(kind, []).append((step - last, pace))
            else:  # of an earlier version
                seconds += float(line.get("seconds", 0.0))
            last = step
        for epochs in alike.values():
            images = sum(steps for steps, _ in epochs) * int(self.config["train"]["batch_size"])
            seconds += images / median(pace for _, pace in epochs)
        return seconds / 3600

    @property
    def threads(self) -> int:
        """Threads that it computed with, each on a core; 1 where it is not known."""
        return int(self.environment.get("threads") or 1)
