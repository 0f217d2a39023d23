"""Cases that may do their worst, in a worker process with little time and memory.

A case is a function of one argument, such as the bytes of a damaged file. It returns what it found (a word is enough),
raises UserError, or does something that it must not. The worker handles many cases one after the other; where one kills
it, a fresh worker goes on behind that case.

    found = outcomes(case, [damage(SEED, rng) for _ in range(CASES)])
    check(found)

`case` has to be a function of a module: it is sent by name. `functools.partial` adds what it needs beside its argument.
"""

import contextlib
import multiprocessing
import os
import resource
import signal
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sresnet.cli import MODULES

CASES = int(os.environ.get("SRESNET_FUZZ_CASES", "2000"))
"""Of all fuzz tests of a file together."""
CPU_SECONDS = 20
MEMORY = 1 << 30
"""Bytes of address space above what the imports take."""

# A server that has imported everything and started no threads forks the workers: a start costs milliseconds, and no
# fork inherits a pool of threads that is not there any more.
CONTEXT = multiprocessing.get_context("forkserver")
VERBS = [f"sresnet.cli.{name}" for name in MODULES.values()]
CONTEXT.set_forkserver_preload(["torch", "numpy", "safetensors.torch", *VERBS])


class Outcome(NamedTuple):
    """What became of a case."""

    kind: Literal["valid", "refused", "fault"]
    text: str
    """What the case returned; the message of the UserError; the traceback, or what killed the worker."""


def outcomes(
    case: Callable[[Any], Any], arguments: Iterable[Any], *, cpu_seconds: int = CPU_SECONDS, memory: int = MEMORY
) -> list[Outcome]:
    """What becomes of `case` with each of the arguments, in their order.

    Args:
        case: a function of a module, or a partial of one.
        arguments: what it is called with.
        cpu_seconds: for each case; whoever needs more is killed.
        memory: bytes of address space above what is in use before the first case; more is a MemoryError, a fault.
    """
    found: list[Outcome] = []
    with contextlib.ExitStack() as open_now:
        worker = None
        for argument in arguments:
            worker = worker or open_now.enter_context(started(case, cpu_seconds, memory))
            process, connection = worker
            try:
                connection.send(argument)
                found.append(Outcome(*connection.recv()))
            except (EOFError, ConnectionError):
                process.join()
                found.append(Outcome("fault", f"the worker ended: {ending(process.exitcode)}"))
                worker = None
    return found


def check(found: list[Outcome], *, valid: float = 0.02, refused: float = 0.02) -> None:
    """Fail where a case was a fault, a message has more than one line, or one kind of outcome hardly occurs.

    Both kinds happen, or the damage is too slight or too great to test anything.
    """
    faults = [f"case {index}: {text}" for index, (kind, text) in enumerate(found) if kind == "fault"]
    assert not faults, f"{len(faults)} faults of {len(found)} cases\n" + "\n".join(faults[:5])
    messages = [text for kind, text in found if kind == "refused"]
    unclear = [text for text in messages if not text.isprintable() or len(text) > 2000]
    assert not unclear, unclear[:3]
    assert len(messages) >= refused * len(found), Counter(kind for kind, _ in found)
    assert len(found) - len(messages) >= valid * len(found), Counter(messages).most_common(5)


def ending(exitcode: int | None) -> str:
    """Of a process, for people."""
    return signal.Signals(-exitcode).name if exitcode is not None and exitcode < 0 else f"status {exitcode}"


@contextlib.contextmanager
def started(case: Callable[[Any], Any], cpu_seconds: int, memory: int) -> Any:
    """A worker process and the connection to it."""
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=work, args=(theirs, case, cpu_seconds, memory, dict(os.environ)), daemon=True)
    process.start()
    theirs.close()
    try:
        yield process, ours
    finally:
        ours.close()
        process.join()


def work(
    connection: Connection, case: Callable[[Any], Any], cpu_seconds: int, memory: int, environment: dict[str, str]
) -> None:
    """The worker: an outcome for every argument that comes, until the other end is closed."""
    os.environ.clear()
    os.environ.update(environment)
    import torch

    from sresnet.errors import UserError

    torch.set_num_threads(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):  # decoders of other people's complain there
        os.dup2(nowhere, descriptor)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + memory, resource.RLIM_INFINITY))
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", ".*numpy.core.*", DeprecationWarning)
    while True:
        try:
            argument = connection.recv()
        except EOFError:
            return
        used = resource.getrusage(resource.RUSAGE_SELF)
        # The limit counts from the start of the process.
        limit = int(used.ru_utime + used.ru_stime) + 1 + cpu_seconds
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
        try:
            outcome = ("valid", str(case(argument)))
        except UserError as error:
            outcome = ("refused", str(error))
        except BaseException:
            outcome = ("fault", traceback.format_exc())
        connection.send(outcome)
