"""Processes that work side by side on one machine; `sresnet.studies.run` shares the work out among them."""

import multiprocessing
import signal
from collections.abc import Callable

import torch

from sresnet.errors import UserError

_MOST = 256
"""Processes."""


def check_workers(count: int) -> None:
    """Raise UserError for fewer than one process, or more than any machine has use for."""
    if count < 1:
        raise UserError(f"workers {count} is less than 1: leave --workers out, or give more")
    if count > _MOST:
        raise UserError(f"workers {count} is more than {_MOST}: give one for each core or GPU at most")


def run_workers(count: int, work: Callable[[int], None], asked: Callable[[], str]) -> None:
    """Start processes that each call `work` with their number, and wait for them.

    Args:
        count: how many.
        work: a function of a module, or a partial of one, which ends its process with an exit status.
        asked: why to stop, "" while there is no reason; the processes are told by SIGTERM.

    Raises:
        UserError: one ended with status 2, having said why.
        RuntimeError: one ended with another status than 0.
    """
    start = multiprocessing.get_context("spawn")
    workers = [start.Process(target=work, args=(index,), daemon=True) for index in range(count)]
    for worker in workers:
        worker.start()
    told = False
    while any(worker.is_alive() for worker in workers):
        if asked() and not told:
            for worker in workers:
                worker.terminate()  # SIGTERM: each stops after its step, with a checkpoint
            told = True
        for worker in workers:
            worker.join(0.2)
    statuses = {worker.exitcode for worker in workers} - {0, -signal.SIGTERM}
    if statuses == {2}:
        raise UserError("a worker could not continue: fix what is reported above, and run the same command again")
    if statuses:
        raise RuntimeError("a worker ended with an error, see above")


def orphaned() -> str:
    """Why a child process should stop: its parent is gone; "" while it is there."""
    parent = multiprocessing.parent_process()
    return "" if parent is None or parent.is_alive() else "the process that began it is gone"


def share_of(device: torch.device, index: int, count: int) -> torch.device:
    """The device of worker `index` of `count`: a GPU of its own, or the CPU with its share of the threads."""
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", index % torch.cuda.device_count())
    if device.type == "cpu":
        torch.set_num_threads(max(1, torch.get_num_threads() // count))
    return device
