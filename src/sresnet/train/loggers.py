"""The numbers of a run to where people compare runs: TensorBoard and Weights & Biases.

A logger sees what metrics.jsonl holds, and decides no number. One that fails is told of once and left out.
"""

import contextlib
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from sresnet.config import check_fields, to_dict
from sresnet.errors import UserError, optional
from sresnet.files import read_json, write_json
from sresnet.train import record
from sresnet.train.loop import Progress
from sresnet.train.recipe import Recipe

LoggerName = Literal["tensorboard", "wandb"]

_WANDB = "wandb.json"
"""File of a run folder with the id of its run at W&B and the last step that went there."""
_SECONDS = 60
"""That W&B may take to begin and to end; it sends in a process of its own meanwhile."""

Watch = Callable[[Progress], None]


@contextlib.contextmanager
def logged(
    names: Iterable[LoggerName], folder: Path, recipe: Recipe, note: Callable[[str], None] = lambda line: None
) -> Iterator[Watch]:
    """A function for `watch` of `train`, which gives each epoch to the loggers.

    Args:
        names: which ones; each counts once.
        folder: the run folder, where TensorBoard's events go, and W&B's files.
        recipe: what W&B shows as the configuration.
        note: called with a line where a logger fails, and where W&B keeps the run.

    Raises:
        UserError: a logger is not installed, or would write through a link.
    """
    loggers = {"tensorboard": _TensorBoard, "wandb": _WeightsAndBiases}
    chosen = [(name, loggers[name](folder, recipe, note)) for name in dict.fromkeys(names)]
    failed: set[str] = set()

    def give(what: Callable[[Any], None]) -> None:
        """Have each logger that works do something."""
        for name, logger in chosen:
            if name in failed:
                continue
            try:
                what(logger)
            except Exception as error:
                failed.add(name)
                reason = " ".join(str(error).split())[:300] or type(error).__name__
                note(f"note: {name} failed ({reason}): training goes on without it")

    try:
        yield lambda progress: give(lambda logger: logger.watch(progress))
    finally:
        give(lambda logger: logger.close())


def _place(folder: Path, name: str) -> Path:
    """Where a logger writes in a run folder; UserError for a link."""
    place = folder / name
    if place.is_symlink():
        raise UserError(f"{place} is a link, which is not followed: delete it, or choose another --out")
    return place


def _numbers(line: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of a line of metrics.jsonl, by layer where they are."""
    for name, value in line.items():
        for part, number in value.items() if isinstance(value, dict) else [("", value)]:
            yield f"{name}/{part}".rstrip("/"), number


class _TensorBoard:
    """Events in the run folder, once training has made it."""

    def __init__(self, folder: Path, recipe: Recipe, note: Callable[[str], None]) -> None:
        with optional("--log tensorboard needs", "TensorBoard", "tensorboard"):
            from torch.utils.tensorboard import SummaryWriter
        self.make, self.events = SummaryWriter, _place(folder, "tensorboard")
        self.writer: Any = None

    def watch(self, progress: Progress) -> None:
        """Write the numbers of an epoch."""
        if not progress.metrics:
            return
        if self.writer is None:
            self.writer = self.make(str(self.events))
        for name, number in _numbers(progress.metrics):
            self.writer.add_scalar(name, number, progress.step)

    def close(self) -> None:
        """Write what is left."""
        if self.writer is not None:
            self.writer.close()


class _WeightsAndBiases:
    """A run at W&B, the same one however often training resumes, each epoch once.

    Offline it is kept in the run folder, for `wandb sync`. Epochs of before, of a run that was not logged or was killed
    between its checkpoint and its logger, are sent first.
    """

    def __init__(self, folder: Path, recipe: Recipe, note: Callable[[str], None]) -> None:
        with optional("--log wandb needs", "Weights & Biases", "wandb"):
            import wandb
        self.wandb, self.folder, self.recipe, self.note = wandb, folder, recipe, note
        self.run: Any = None
        self.last = 0
        """Step of the last epoch that was logged."""
        for name in ("wandb", _WANDB):
            _place(folder, name)

    def watch(self, progress: Progress) -> None:
        """Log the numbers of an epoch; begins at the first step, when the run folder is there."""
        if self.run is None:
            self.begin()
        if progress.metrics:
            self.log(progress.metrics)

    def begin(self) -> None:
        """Open the run, and log what metrics.jsonl has and it lacks."""
        path = self.folder / _WANDB
        known: dict[str, Any] = {"id": uuid.uuid4().hex[:16], "step": 0}
        if path.exists():
            known = check_fields(read_json(path), str(path), {"id": str, "step": int}, {})
        own = os.environ.get("WANDB_PROJECT")
        settings = self.wandb.Settings(
            silent=True, console="off", init_timeout=_SECONDS, finish_timeout=_SECONDS, save_code=False
        )
        self.run = self.wandb.init(
            project=own or "sresnet",
            name=self.folder.name,
            id=known["id"],
            resume="allow",
            dir=str(self.folder),
            config=to_dict(self.recipe),
            settings=settings,
        )
        self.last = known["step"]
        write_json(path, known)
        place = f"offline, {Path(self.run.dir).parent}, which wandb sync sends" if self.run.offline else self.run.url
        self.note(f"wandb: {place}")
        for line in record.read_metrics(self.folder):
            self.log(line)

    def log(self, line: Mapping[str, Any]) -> None:
        """Log a line of metrics.jsonl, unless it was."""
        step = line["step"]
        if step <= self.last:
            return
        self.run.log(dict(_numbers(line)), step=step)
        self.last = step
        write_json(self.folder / _WANDB, {"id": self.run.id, "step": step})

    def close(self) -> None:
        """Give the result to the run, and end it; what cannot be sent in time is left in the run folder."""
        if self.run is None:
            return
        if (self.folder / record.RESULT).exists():
            result = record.read_result(self.folder)
            self.run.summary.update({name: value for name, value in result.items() if name != "split"})
        self.run.finish()
