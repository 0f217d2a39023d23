"""A verb's work in this process, in several side by side, or on a cluster."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from sresnet.cli import answered
from sresnet.cli.display import run_lines
from sresnet.cli.parse import check_minutes
from sresnet.cli.runs import RuntimeOptions
from sresnet.cli.terminal import stop_asked
from sresnet.errors import UserError
from sresnet.ops.dispatch import implementation
from sresnet.printing import json_asked, say
from sresnet.studies.cluster import ClusterConfig, Task, Write, run_tasks
from sresnet.studies.run import Open
from sresnet.studies.run import work as train_what_is_left
from sresnet.studies.study import Training
from sresnet.studies.workers import check_workers, orphaned, run_workers

Asked = Callable[[], str]
"""Why to stop, "" while there is no reason."""
Worker = Callable[[Asked, int | None], None]
"""Works until it is asked to stop, alone, or beside other processes as the number that it is given."""


@dataclass(frozen=True, kw_only=True)
class WorkerOptions(RuntimeOptions):
    """Where and how long the trainings of a verb run."""

    workers: int = 1
    """Processes that train side by side, each on its share of the cores, or on a GPU of its own."""
    ray: str = ""
    """auto, or HOST:PORT of the head of a Ray cluster whose nodes share the folders: trainings run there, as tasks."""
    cpus: int = 1
    """CPUs and threads of a task, with --ray."""
    gpus: float = 0.0
    """GPUs of a task, with --ray: 1, or 0.5 if two are to share one; 0: it trains on its CPUs."""
    max_minutes: float = float("inf")
    """Minutes after which to stop cleanly; the same command resumes."""

    def check_places(self) -> None:
        """Raise UserError for what does not go together, or is none."""
        check_minutes(self.max_minutes)
        check_workers(self.workers)
        for flag, usual in (("cpus", 1), ("gpus", 0)):
            if not self.ray and getattr(self, flag) != usual:
                raise UserError(f"--{flag} is of tasks on a cluster: add --ray auto, or leave it out")
        if json_asked() and self.workers > 1:
            raise UserError("--json is of one process, and others would print between: leave --workers or --json out")
        if self.ray and self.workers > 1:
            raise UserError("--workers is of this machine and --ray of a cluster: leave one of them out")
        if self.ray and self.device != "auto":
            raise UserError(f"with --ray a task has the device that --gpus gives it: leave --device {self.device} out")
        if not self.ray:
            self.torch_device()  # before anything is begun that another device or engine would have to go on with

    def cluster(self, *shared: Path, reads: Sequence[str] = ()) -> ClusterConfig:
        """The cluster, for tasks that write to `shared` and read data and `reads`; UserError as `ClusterConfig`."""
        seen = tuple(Path(folder) for folder in (self.data_dir, *reads) if folder)
        return ClusterConfig(address=self.ray, cpus=self.cpus, gpus=self.gpus, shared=shared, seen=seen)

    def device_on_node(self) -> torch.device:
        """The device of a task on a node; UserError where Ray lends a GPU that torch does not see."""
        if not self.gpus:
            return torch.device("cpu")
        if not torch.cuda.is_available():
            raise UserError("Ray lends a GPU here, and torch sees none: install a torch for it, or leave --gpus out")
        return torch.device("cuda")


def work_side_by_side(worker: Worker, count: int, max_minutes: float) -> str:
    """Let a worker work, in `count` processes; returns why it stopped before the end, or "".

    Args:
        worker: a function of a module, or a partial of one.
        count: how many processes; 1: this one.
        max_minutes: after which they are asked to stop.
    """
    with stop_asked(max_minutes) as asked:
        if count == 1:
            worker(asked, None)
        else:
            run_workers(count, partial(_process, worker), asked)
        return asked()


def _process(worker: Worker, index: int) -> None:
    """Process number `index` of several; it stops when its parent says so or is gone."""
    with stop_asked(float("inf")) as asked:

        def go_on() -> int:
            worker(lambda: asked() or orphaned(), index)
            return 0

        sys.exit(answered(go_on))


OnNode = Callable[[Asked, Write], None]
"""Works on a node of a cluster until it is asked to stop, and writes lines of progress."""


def work_on_cluster(
    works: Mapping[str, tuple[OnNode, tuple[str, ...]]], config: ClusterConfig, max_minutes: float
) -> str:
    """Have work done on a cluster; returns why it stopped before the end, or "". Errors as `run_tasks`.

    Args:
        works: name -> what is to be done, and the names of what comes first.
        config: the cluster.
        max_minutes: after which it is asked to stop.
    """
    tasks = {name: Task(work=partial(_on_node, work), after=after) for name, (work, after) in works.items()}
    with stop_asked(max_minutes) as asked:
        run_tasks(tasks, config, partial(say, flush=True), asked)
        return asked()


def rows_on_cluster(
    left: Mapping[str, tuple[str, Training]],
    runs: Path,
    kept: Path,
    open_: Open,
    options: WorkerOptions,
    config: ClusterConfig,
) -> str:
    """Have training runs done on a cluster, each a task; returns and raises as `work_on_cluster`.

    Args:
        left: as `to_train` gives it.
        runs: folder of run folders.
        kept: folder of results.
        open_: how data are opened.
        options: what applies to each.
        config: the cluster, which shares both folders.
    """
    works: dict[str, tuple[OnNode, tuple[str, ...]]] = {}
    keys = {key: [each.key() for each in training.chain()] for key, (_, training) in left.items()}
    for key in left:
        near = {other: left[other] for other in left if key in keys[other] or other in keys[key]}
        work = partial(_row, key, near, runs, kept, open_, options)
        works[key] = (work, tuple(start for start in keys[key][:-1] if start in left))
    return work_on_cluster(works, config, options.max_minutes)


def _row(
    key: str,
    left: Mapping[str, tuple[str, Training]],
    runs: Path,
    kept: Path,
    open_: Open,
    options: WorkerOptions,
    asked: Asked,
    write: Write,
) -> None:
    """Do one training run on a node of a cluster, until `asked` to stop."""
    with implementation(options.engine):
        train_what_is_left(
            *(left, runs, kept, open_),
            device=options.device_on_node(),
            only=key,
            tell=run_lines(write),
            should_stop=lambda: bool(asked()),
            memory_limit=options.memory_limit,
        )


def _on_node(work: OnNode, write: Write) -> None:
    """Work in a process of Ray's, which asks it to stop by SIGINT."""
    with stop_asked(float("inf")) as asked:
        work(asked, write)
