"""Where the trials of a search are kept: a journal of Optuna's in one file, which any number of processes append to."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from sresnet.errors import UserError
from sresnet.files import one_at_a_time

JOURNAL = "journal.log"
"""Name of the file."""
Direction = Literal["maximize", "minimize"]
NAME = "search"
"""Of the study in it."""


class _Lock:
    """A lock that a killed process does not hold, and behind which the journal has whole lines only.

    Args:
        path: of the journal.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.held = path, ExitStack()

    def acquire(self) -> bool:
        """Wait for the lock, and drop the end of a line whose writer was killed."""
        self.held.enter_context(one_at_a_time(self.path.with_suffix(".lock")))
        size = self.path.stat().st_size
        with self.path.open("rb+") as file:
            while size:
                start = max(0, size - 4096)
                file.seek(start)
                end = file.read(size - start).rfind(b"\n")
                if end >= 0:
                    size = start + end + 1
                    break
                size = start
            if size < os.fstat(file.fileno()).st_size:
                file.truncate(size)
        return True

    def release(self) -> None:
        """Let others write."""
        self.held.close()


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna says nothing of the studies that are made or found."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def open_study(folder: Path, directions: Sequence[Direction], sampler: BaseSampler, pruner: BasePruner) -> optuna.Study:
    """The study in a folder, made where there is none.

    Raises:
        UserError: the journal is damaged, or that of something else.
    """
    path = folder / JOURNAL
    try:
        storage = JournalStorage(JournalFileBackend(str(path), lock_obj=_Lock(path)))  # type: ignore[arg-type]
        with quiet():
            return optuna.create_study(
                storage=storage,
                study_name=NAME,
                directions=directions,
                sampler=sampler,
                pruner=pruner,
                load_if_exists=True,
            )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, UserError):
            raise
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is no journal of a search ({reason}): put it back, or choose another --out") from None
