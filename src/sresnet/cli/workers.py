"""A verb's work in this process, or in several side by side."""

import sys
from collections.abc import Callable
from functools import partial

from sresnet.cli import answered
from sresnet.cli.terminal import stop_asked
from sresnet.studies.workers import orphaned, run_workers

Asked = Callable[[], str]
"""Why to stop, "" while there is no reason."""
Worker = Callable[[Asked, int | None], None]
"""Works until it is asked to stop, alone, or beside other processes as the number that it is given."""


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
