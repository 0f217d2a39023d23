"""Work on the nodes of a Ray cluster that share folders with this machine; the only file that knows Ray.

Ray queues the tasks, finds each a node that has the CPUs and GPUs it asks for, and sends it again where its process or
its node is lost. Everything else is in the shared folders, as it is for several processes on one machine: a task that
is sent again goes on from the checkpoint there.
"""

import logging
import os
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sresnet.config import check_types
from sresnet.errors import UserError, mendable, optional
from sresnet.files import InUseError, check_no_address, make_folder, only_writer

if TYPE_CHECKING:
    from ray import ObjectRef

_MARK = ".ray"
"""Folder in each shared folder, which is locked while a command has tasks there: how a node knows the folder."""
_LOST = 20
"""How often a task may lose its process or its node."""
_SECONDS = 5.0
"""For an answer from the address of a cluster."""
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else it says that this will be so
    "RAY_NUM_REDIS_GET_RETRIES": "1",  # of 20, a minute each, where nothing answers
    "RAY_py_gcs_connect_timeout_s": "5",
    "RAY_gcs_server_request_timeout_seconds": "10",
}
"""Ray's settings, where the environment has none."""

Write = Callable[[str], object]
"""Takes a line of progress."""


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """A cluster, what a task takes of a node, and folders; UserError for what no node has, or no folder."""

    address: str
    """auto, or HOST:PORT of the head."""
    cpus: int = 1
    """Also the threads of a task."""
    gpus: float = 0.0
    """A number of whole ones, or a part of one."""
    shared: tuple[Path, ...]
    """Folders that the tasks write to."""
    seen: tuple[Path, ...] = ()
    """Folders that they read."""

    def __post_init__(self) -> None:
        check_types(self)
        if self.cpus < 1:
            raise UserError(f"cpus {self.cpus} is less than 1: a task has a thread at least")
        if not 0 <= self.gpus < float("inf") or (self.gpus > 1 and self.gpus % 1):
            raise UserError(f"gpus {self.gpus:g} is no number of GPUs: give 0, 1, 2, ..., or a part of one such as 0.5")
        for folder in self.shared:
            check_no_address(folder)


@dataclass(frozen=True, kw_only=True)
class Task:
    """Something to be done on a node."""

    work: Callable[[Write], None]
    """Leaves what it does in the shared folders, and checkpoints from which it goes on where it is called again. Asked
    to stop by SIGINT, it leaves one and returns."""
    after: tuple[str, ...] = ()
    """Names of the tasks that come first."""


def check_cluster(config: ClusterConfig) -> None:
    """Raise UserError where a cluster cannot be reached or has no node for a task, before anything is begun for it."""
    with _connected(config.address):
        _check_resources(config)


def run_tasks(
    tasks: Mapping[str, Task],
    config: ClusterConfig,
    tell: Write,
    asked: Callable[[], str],
) -> None:
    """Have tasks done on the nodes of a cluster, or as much of them until there is a reason to stop.

    Args:
        tasks: by their names.
        config: the cluster.
        tell: told the lines of all tasks, and what becomes of nodes.
        asked: why to stop, "" while there is no reason.

    Raises:
        UserError: the cluster cannot be reached or has no node for such a task, or a node cannot do one.
        RuntimeError: a task ended with an error of ours.
    """
    with _connected(config.address), ExitStack() as held:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        _check_resources(config)
        for folder in config.shared:
            held.enter_context(_marked(folder))
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        lines = ray.remote(_Lines).options(num_cpus=0, scheduling_strategy=here).remote()
        on_node = ray.remote(_on_node)
        taken = {"num_cpus": config.cpus, "num_gpus": config.gpus, "max_retries": _LOST}
        sent: dict[str, ObjectRef[str]] = {}

        def send(name: str) -> None:
            """Send a task, once, and those that it comes after before it."""
            if name not in sent:
                task = tasks[name]
                for before in task.after:
                    send(before)
                sent[name] = on_node.options(name=name, **taken).remote(
                    task.work, lines, config, os.getcwd(), *(sent[before] for before in task.after)
                )

        for name in tasks:
            send(name)
        try:
            _wait_for(sent, lines, config, tell, asked)
        except ray.exceptions.RayError as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"the cluster is lost ({reason}): start it, and run the same command again") from None


def _wait_for(
    sent: Mapping[str, "ObjectRef[str]"], lines: Any, config: ClusterConfig, tell: Write, asked: Callable[[], str]
) -> None:
    """Wait for all tasks, tell what they say, and have them stop where one has a fault; errors as `run_tasks`."""
    import ray

    waiting = {ref: name for name, ref in sent.items()}
    fault: Exception | None = None
    stopping, fitting = False, _nodes(config)
    while waiting:
        done, _ = ray.wait(list(waiting), timeout=1.0)
        for line in ray.get(lines.take.remote()):
            tell(line)
        before, fitting = fitting, _nodes(config)
        for node in before - fitting:
            tell(f"node {node[0]} is lost: its tasks go on elsewhere")
        if before and not fitting:
            tell("no node is left that a task fits on: waiting for one")
        for ref in done:
            found = _fault_of(ref, waiting.pop(ref))
            fault = fault if stopping else fault or found
        if not stopping and (fault or asked()):
            stopping = True
            for ref in waiting:
                ray.cancel(ref, recursive=False)  # SIGINT: it stops after its step, with a checkpoint
    for line in ray.get(lines.take.remote()):
        tell(line)
    if fault:
        raise fault


def _fault_of(ref: "ObjectRef[str]", name: str) -> Exception | None:
    """What has gone wrong with a task that is done; None where nothing has, or it was stopped."""
    import ray
    from ray.exceptions import RayError, RaySystemError, RayTaskError, TaskCancelledError

    try:
        said = ray.get(ref)
    except TaskCancelledError:
        return None
    except RayTaskError as error:
        reason = " ".join(str(error.cause or error).partition("traceback:")[0].split())[:300]
        if isinstance(error.cause, RaySystemError) or "failed to import" in reason:
            return UserError(f"a node cannot read its task ({reason}): install the same sresnet and Ray on all nodes")
        return RuntimeError(f"{name}: {reason}")
    except RayError as error:
        reason = " ".join(str(error).split())[:300]
        return UserError(f"{name} lost its process or node more than {_LOST} times, the last time so: {reason}")
    return UserError(said) if said else None


class _Lines:
    """Lines of progress on their way here, in a process of this machine."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, line: str) -> None:
        """Keep one."""
        self.lines.append(line)

    def take(self) -> list[str]:
        """Those that have come since the last time."""
        lines, self.lines = self.lines, []
        return lines

    def arrived(self) -> None:
        """Returns when what its caller added before has come."""


def _on_node(work: Callable[[Write], None], lines: Any, config: ClusterConfig, current: str, *after: str) -> str:
    """Do a task on the node that this runs on; returns what the user has to mend before it can be done, or "".

    Args:
        work: what to do.
        lines: takes lines of progress.
        config: threads and folders.
        current: the folder in which the command was given.
        after: of the tasks that came first.
    """
    import ray

    try:
        _enter(current, config)
        torch.set_num_threads(config.cpus)
        work(lines.add.remote)  # not waited for: while a task waits, Ray lends its CPUs to another
    except Exception as error:
        said = str(error) if isinstance(error, UserError) else mendable(error)
        if not said:
            raise
        return f"node {ray.util.get_node_ip_address()}: {said}"
    finally:
        ray.get(lines.arrived.remote())
    return ""


def _enter(current: str, config: ClusterConfig) -> None:
    """Go to the folder in which the command was given, and see that the other folders are the same as there.

    Raises:
        UserError: one is not.
    """
    cure = "use folders on a disk that all nodes share, under the same names"
    if not os.path.isdir(current):
        raise UserError(f"folder {current}, in which the command was given, does not exist here: {cure}")
    os.chdir(current)
    for folder in config.seen:
        if not folder.is_dir():
            raise UserError(f"folder {folder} does not exist here: {cure}")
    for folder in config.shared:
        mark = folder / _MARK
        if not mark.is_dir():
            raise UserError(f"folder {folder} is not the one that the command writes to: {cure}")
        with suppress(InUseError), only_writer(mark):
            raise UserError(f"locks in {folder} do not hold between nodes: use a disk on which they do, such as NFS 4")


@contextmanager
def _connected(address: str) -> Iterator[None]:
    """Inside, this process can send tasks to a cluster; UserError where it cannot be reached."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    with optional("--ray needs", "ray", "ray"):
        import ray
    _check_answers(os.environ.get("RAY_ADDRESS", address) if address == "auto" else address)
    before = signal.getsignal(signal.SIGTERM)
    try:
        try:
            with _quiet():
                ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL)
        except Exception as error:
            if address == "auto" and isinstance(error, ConnectionError):
                raise UserError(
                    "--ray auto finds no cluster on this machine: start one with ray start --head, or give the "
                    "HOST:PORT of one that this machine is a node of"
                ) from None
            reason = " ".join(str(error).split()).rstrip(".")
            raise UserError(
                f"Ray at {address} cannot be used ({reason}): run this on a node of the cluster, see ray status"
            ) from None
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, before)  # Ray's own would end this process
        ray._private.worker._worker_logs_enabled = False  # of lost nodes it is told here
        yield
    finally:
        ray.shutdown()


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing reaches the error output, also from Ray's core, which says there what Ray raises as well."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _check_answers(address: str) -> None:
    """Raise UserError where nothing answers at HOST:PORT; Ray itself would try for long."""
    if address == "auto":
        return
    host, colon, port = address.rpartition(":")
    if "://" in address or not (colon and host and port.isdecimal() and int(port) < 1 << 16):
        raise UserError(f"ray {address!r} is no address: give auto, or HOST:PORT of ray start --head --port=PORT")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS).close()
    except OSError as error:
        reason = error.strerror or "no answer"
        raise UserError(f"no Ray cluster at {address} ({reason}): start one with ray start --head") from None


def _nodes(config: ClusterConfig) -> set[tuple[str, str]]:
    """(address, identity) of the nodes that a task fits on."""
    import ray

    found = set()
    for node in ray.nodes():
        has = node["Resources"]
        if node["Alive"] and has.get("CPU", 0) >= config.cpus and has.get("GPU", 0) >= config.gpus:
            found.add((node["NodeManagerAddress"], node["NodeID"]))
    return found


def _check_resources(config: ClusterConfig) -> None:
    """Raise UserError where no node of the cluster has what a task takes."""
    import ray

    if not _nodes(config):
        there = [each["Resources"] for each in ray.nodes() if each["Alive"]]
        most = [max(each.get(kind, 0) for each in there) for kind in ("CPU", "GPU")]
        raise UserError(
            f"a task takes {config.cpus} CPUs and {config.gpus:g} GPUs, and nodes have {most[0]:g} and {most[1]:g} at "
            "most: give less with --cpus and --gpus, or start a node that has them"
        )


@contextmanager
def _marked(folder: Path) -> Iterator[None]:
    """A mark in a folder, locked by this process, by which a node knows the folder; UserError where it is another's."""
    mark = folder / _MARK
    make_folder(mark)
    with ExitStack() as held:
        try:
            held.enter_context(only_writer(mark))
        except InUseError:
            raise UserError(f"{folder} is used by another command with --ray: wait for it, or stop it") from None
        held.callback(shutil.rmtree, mark, ignore_errors=True)
        yield
