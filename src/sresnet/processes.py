"""Several processes that train one network together, as torchrun starts them: each has a part of every batch.

The collectives here are the few that training needs. All are called by all processes in the same order, and give all of
them the same bits: sums come in an order that only the number of processes decides.
"""

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from sresnet.errors import UserError, mendable

T = TypeVar("T")

_TORCHRUN = "torchrun --nproc-per-node K -m sresnet train ..."
_NAMES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun tells each process in its environment."""
_MEETING = timedelta(minutes=5)
"""How long a process waits for the others at the start."""
_PATIENCE = timedelta(days=7)
"""How long it waits for one that is busy, such as with the data; one that has ended is noticed at once."""


class Part(NamedTuple):
    """Consecutive images of a batch, for all of which random numbers are drawn."""

    first: int
    last: int
    """The image behind them."""
    whole: int
    """Images of the batch."""

    def of(self, drawn: Tensor) -> Tensor:
        """What was drawn for these, of what was drawn for all, [whole, ...]."""
        return drawn[self.first : self.last]


class _ProcessEndedError(UserError):
    """Another process of the training has ended while this one waited for it."""


@dataclass(frozen=True, kw_only=True)
class Processes:
    """A process among those that train together; one alone needs no torch.distributed."""

    rank: int = 0
    """The first is 0."""
    local_rank: int = 0
    """Among those of one machine."""
    count: int = 1
    group: Any = None
    """Of torch.distributed; None where there is one process."""

    @property
    def first(self) -> bool:
        """It is the one that writes and prints."""
        return self.rank == 0

    @property
    def several(self) -> bool:
        """There are others."""
        return self.count > 1

    def part(self, images: int) -> Part:
        """Its part of a batch; where parts are not equal, the first ones have an image more."""
        least, more = divmod(images, self.count)
        first = self.rank * least + min(self.rank, more)
        return Part(first, first + least + (self.rank < more), images)

    def largest_part(self, images: int) -> int:
        """Images of the largest part."""
        return -(-images // self.count)

    def add_up(self, tensor: Tensor) -> Tensor:
        """Replace the tensor, which has no gaps, by the sum of those of all processes; returns it."""
        if self.several:
            with _noticed():
                torch.distributed.all_reduce(tensor, group=self.group)
        return tensor

    def asks(self, *here: bool) -> list[bool]:
        """For each of these questions, whether any process says yes."""
        return [number > 0 for number in self.add_up(torch.tensor(here, dtype=torch.int32, device="cpu")).tolist()]

    def gathered(self, value: T) -> list[T]:
        """The values of all processes, in their order."""
        if not self.several:
            return [value]
        values: list[Any] = [None] * self.count
        with _noticed():
            torch.distributed.all_gather_object(values, value, group=self.group)
        return values

    def from_first(self, work: Callable[[], T]) -> T:
        """What `work` gives in the first process, which alone does it, for all; a mistake of the user's is one of all.

        Raises:
            UserError: as `work` does there.
        """
        if not self.several:
            return work()
        answer: list[Any] = [None, None]
        error: Exception | None = None
        if self.first:
            try:
                answer[0] = work()
            except Exception as found:
                error = found
                answer[1] = str(found) if isinstance(found, UserError) else mendable(found) or None
                if answer[1] is None:
                    raise
        with _noticed():
            torch.distributed.broadcast_object_list(answer, src=0, group=self.group)
        if error is not None:
            raise error
        if answer[1] is not None:
            raise UserError(answer[1])
        result: T = answer[0]
        return result

    def in_turn(self, work: Callable[[], T]) -> T:
        """What `work` gives, where it is done first by one process of each machine, such as to fill a cache there."""
        result = work() if self.local_rank == 0 else None
        self.gathered(None)
        return work() if result is None else result

    def device(self, device: torch.device) -> torch.device:
        """The device of this process, where `device` is meant for all: on GPUs one each.

        Raises:
            UserError: more processes than GPUs, or one GPU for all.
        """
        if not self.several or device.type != "cuda":
            return device
        if device.index is not None:
            raise UserError(f"device {str(device)!r} is one GPU, and {self.count} processes need one each: use 'cuda'")
        if self.local_rank >= torch.cuda.device_count():
            raise UserError(
                f"process {self.local_rank + 1} of this machine has no GPU, there are {torch.cuda.device_count()}: "
                "start as many processes as there are GPUs, or use --device cpu"
            )
        torch.cuda.set_device(self.local_rank)
        return torch.device("cuda", self.local_rank)


ALONE = Processes()


@contextlib.contextmanager
def _noticed() -> Iterator[None]:
    """Around a collective: _ProcessEndedError where another process is no longer there to take part."""
    try:
        yield
    except RuntimeError as error:
        raise _ProcessEndedError(
            "another process of this training has ended: what was saved is kept; run the same command again to resume"
        ) from error


def launched() -> int:
    """How many processes torchrun, or whoever set the same variables, has started this one among; 1 where nobody did.

    Raises:
        UserError: there are several, and the variables by which they meet are missing or impossible.
    """
    number = os.environ.get("WORLD_SIZE", "1")
    if number.strip() == "1":
        return 1
    if missing := [name for name in _NAMES if name not in os.environ]:
        raise UserError(
            f"WORLD_SIZE is {number}, and {missing[0]} is not set: start several processes with {_TORCHRUN}, or unset "
            "WORLD_SIZE for one"
        )
    try:
        rank, local_rank, count, port = (int(os.environ[name]) for name in _NAMES if name != "MASTER_ADDR")
        possible = 0 <= local_rank <= rank < count and 0 < port < 2**16
    except ValueError:
        possible = False
    if not possible:
        said = ", ".join(f"{name} {os.environ[name]}" for name in _NAMES)
        raise UserError(f"{said} are no processes that can meet: start them with {_TORCHRUN}")
    return count


@contextlib.contextmanager
def joined(*, gpu: bool) -> Iterator[Processes]:
    """The processes of this training, met as torchrun says; alone where it has not started this one.

    Of an error that several of them run into, the first to do so speaks: others end with status 2 and say nothing.

    Args:
        gpu: there are GPUs, whose tensors go over NCCL.

    Raises:
        UserError: as `launched`, or the others cannot be reached.
    """
    if launched() == 1:
        yield ALONE
        return
    from torch import distributed
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    try:
        store, rank, count = next(rendezvous("env://", timeout=_MEETING))
        store.set_timeout(_MEETING)
        store = PrefixStore(_name_of(store, rank, count), store)
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if gpu else "gloo", store=store, rank=rank, world_size=count, timeout=_PATIENCE
        )
    except (RuntimeError, OSError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        why = " ".join(str(error).split())[:200]
        raise UserError(
            f"{os.environ['WORLD_SIZE']} processes cannot meet at {where} ({why}): start them with {_TORCHRUN}"
        ) from None
    local_rank = int(os.environ["LOCAL_RANK"])
    try:
        yield Processes(rank=rank, local_rank=local_rank, count=count, group=distributed.group.WORLD)
    except Exception as error:
        if not _speaks_first(store, isinstance(error, _ProcessEndedError)):
            raise SystemExit(2) from None
        raise
    finally:
        with contextlib.suppress(RuntimeError):
            distributed.destroy_process_group()


def _name_of(store: Any, rank: int, count: int) -> str:
    """A name that these processes agree on, and none of an earlier start.

    torchrun keeps its store over restarts, with the addresses of processes that are gone. So each says a number that is
    new, the first repeats those of all, and it counts once all have found theirs among them.

    Raises:
        OSError: others do not come.
    """
    own, end = secrets.token_hex(8), time.monotonic() + _MEETING.total_seconds()

    def said(key: str) -> str:
        return store.get(key).decode() if store.check([key]) else ""

    store.set(f"here {rank}", own)
    while time.monotonic() < end:
        if rank == 0:
            store.set("all", " ".join(said(f"here {each}") or "none" for each in range(count)))
        name = said("all")
        if (everyone := name.split())[rank : rank + 1] == [own] and len(everyone) == count:
            store.set(f"agreed {rank}", name)
            if rank == 0 and all(said(f"agreed {each}") == name for each in range(count)):
                store.set("name", name)
            if said("name") == name:
                return name
        time.sleep(0.02)
    raise OSError(f"not all have come within {_MEETING.total_seconds():g} seconds")


def _speaks_first(store: Any, of_another: bool) -> bool:
    """Whether no process has said yet what went wrong; one that only lost another leaves it a moment."""
    try:
        for _ in range(20 if of_another else 0):
            if store.add("said", 0):
                return False
            time.sleep(0.1)
        return bool(store.add("said", 1) == 1)
    except RuntimeError:  # the process that held the store has ended
        return not of_another
