"""Searches of hyper-parameters that studies read: python experiments/searches.py DATA_DIR [NAME ...] [--minutes 60].

Each is a `sresnet search` of its own, in the folder RUNS/NAME, one after the other; the same command goes on where it
was stopped. What there is of each is written to results/searches/NAME.json, and the page results/searches.md with its
figures is made of these records. --finished searches nothing and writes what is there; --tables makes the page alone.

Hours are of one core: image-epochs over images per second of a training step, measured on random images on one core of
a processor with AMX, in bfloat16 with one thread (an Intel Xeon, 30 November 2026). With Hyperband, 30 trials cost
about as much as 12 that are trained to the end.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from experiment import RESULTS, flags, places_of

from sresnet.cli import main as sresnet
from sresnet.cli.workers import WorkerOptions
from sresnet.errors import UserError
from sresnet.files import make_folder, write_whole
from sresnet.report.document import Figure
from sresnet.report.search import search_sections
from sresnet.report.svg import draw, standalone
from sresnet.report.text import folded, markdown
from sresnet.search.outcome import importances, outcome_of
from sresnet.search.record import is_search, read_records, write_record
from sresnet.search.space import in_short, name_of
from sresnet.search.trials import Outcome
from sresnet.studies.rows import spread
from sresnet.studies.searches import BEST, BY_CONNECTION, BY_STEPS, FOR_TABLE_9, in_words, leaks

COMMAND = "python experiments/searches.py DATA_DIR"
"""What makes the records and the page."""
LEAK_AND_RATE = "--search.leak 0.3:0.999 --search.learning-rate 0.01:1:log"
FEW_IMAGES = "--data.train-images 20000 --data.validation 0.2 --train.epochs 9 --train.precision bf16"


@dataclass(frozen=True)
class Search:
    """A search, and what it costs."""

    words: str
    """Behind `sresnet search`."""
    image_epochs: float
    """Of a trial that is trained to the end."""
    trials: float
    """As many as cost the same, of these."""
    images_per_second: float
    """Of a core."""

    @property
    def hours(self) -> float:
        """Of a core."""
        return self.image_epochs * self.trials / self.images_per_second / 3600


SPEEDS = {2: 919.0, 4: 553.0, 8: 282.0}
"""T -> images per second of a training step of S-ResNet8 with 16 filters; of S-ResNet14 about half as many."""
SEARCHES: dict[str, Search] = {
    **{
        name: Search(
            f"cifar10-small {LEAK_AND_RATE} --sampler bohb --trials 30 --model.num-steps {steps} {FEW_IMAGES}",
            9 * 16_000,
            12,
            SPEEDS[steps],
        )
        for steps, name in BY_STEPS.items()
    },
    FOR_TABLE_9: Search(
        f"cifar100 {LEAK_AND_RATE} --sampler bohb --trials 30 --model.depth 8 --train.batch-size 64 --train.epochs 12 "
        "--train.precision bf16",
        12 * 45_000,
        12,
        SPEEDS[4],
    ),
    **{
        name: Search(
            f"cifar10-small {LEAK_AND_RATE} --sampler bohb --reduction 0 --trials 16 --model.depth 14 "
            f"--model.connection {connection} --model.num-steps 2 {FEW_IMAGES}",
            9 * 16_000,
            16,
            SPEEDS[2] / 2,
        )
        for connection, name in BY_CONNECTION.items()
    },
}
"""Name -> search. With --reduction 0 no trial ends early, so that the paper's values are trained to the end too."""


def carry_out(name: str, data_dir: str, runs: Path, minutes: float, places: WorkerOptions) -> int:
    """Begin a search or go on with it; its exit status, 0 where it is done or the minutes are over."""
    limit = [] if minutes == float("inf") else ["--max-minutes", f"{minutes:.3f}"]
    if places.ray:
        limit += ["--ray", places.ray, "--cpus", str(places.cpus), "--gpus", str(places.gpus)]
    words = SEARCHES[name].words.split()
    return sresnet(["search", *words, "--data-dir", data_dir, "--out", str(runs / name), *limit])


def page(found: Mapping[str, Outcome]) -> list[str]:
    """The lines of results/searches.md."""
    parts = [
        "# Searches of hyper-parameters",
        f"Made by `{COMMAND}`; what studies read of them, and by which measures, is in docs/search.md. Accuracies are "
        "of held-out training images. Hours are of one core, as reckoned and as trained.",
    ]
    rows = []
    for name, search in SEARCHES.items():
        outcome = found.get(name)
        hours = sum(each.seconds for each in outcome.trials) / 3600 if outcome else None
        best = outcome.best(1) if outcome else ()
        six = leaks(outcome) if outcome else ()
        rows.append(
            (
                name,
                f"{search.hours:.1f}",
                "" if hours is None else f"{hours:.1f}",
                f"{len(outcome.trials)}, {len(outcome.finished)} to the end" if outcome else "not run",
                f"{best[0].objectives[0]:.2f}" if best else "",
                spread(six, 3) if six else "",
            )
        )
    header = ("search", "hours, reckoned", "hours", "trials", "best, %", f"leak of the {BEST} best")
    parts.append(markdown(header, rows))
    for name, outcome in found.items():
        parts += _section(name, outcome)
    parts += ["## Commands", f"```console\n{COMMAND}\n```"]
    parts += ["which are, with --data-dir DATA_DIR --out FOLDER each:"]
    parts += ["```console\n" + "\n".join(f"sresnet search {each.words}" for each in SEARCHES.values()) + "\n```"]
    return "\n\n".join(each if each.startswith(("|", "```")) else folded(each) for each in parts).splitlines()


def _section(name: str, found: Outcome) -> list[str]:
    """What has come out of one search."""
    fields = list(found.config.space)
    rows = [
        (str(each.number), f"{each.objectives[0]:.2f}", *(in_short(each.values[field]) for field in fields))
        for each in found.best(BEST)
    ]
    pictures = [f"![{figure.chart.title}](searches/{name}-{figure.name}.svg)" for figure in figures_of(found)]
    return [
        f"## {name}",
        f"{in_words(found)}. {found.environment.get('device', 'A machine that is not known')}.",
        *([markdown(("trial", "accuracy, %", *map(name_of, fields)), rows)] if rows else []),
        *pictures,
    ]


def figures_of(found: Outcome) -> list[Figure]:
    """Curves, each field, and all fields together."""
    sections = search_sections(found, importances(found))
    return [each for section in sections for each in section.walk() if isinstance(each, Figure)]


def write_page(found: Mapping[str, Outcome]) -> None:
    """Write results/searches.md and the figures beside the records."""
    for name, outcome in found.items():
        for figure in figures_of(outcome):
            picture = standalone(draw(figure.chart, figure.name))
            write_whole(RESULTS / "searches" / f"{name}-{figure.name}.svg", picture.encode())
    write_whole(RESULTS / "searches.md", ("\n".join(page(found)) + "\n").encode())


def main() -> None:
    """Search, record and write."""
    parser = flags(__doc__, "runs/searches", "data_dir")
    parser.add_argument("names", nargs="*", help=f"searches, of {', '.join(SEARCHES)}; all by default")
    options = parser.parse_args()
    try:
        places = places_of(options)
    except UserError as error:
        raise SystemExit(f"searches: {error}") from None
    names = options.names or list(SEARCHES)
    if unknown := [name for name in names if name not in SEARCHES]:
        raise SystemExit(f"search {unknown[0]!r} is unknown: choose from {', '.join(SEARCHES)}")
    end, status = time.monotonic() + 60 * options.minutes, 0
    if not (options.finished or options.tables):
        for name in names:
            if (left := (end - time.monotonic()) / 60) > 0 and not status:
                status = carry_out(name, options.data_dir, options.runs, left, places)
    try:
        make_folder(RESULTS / "searches")
        for name in names if not options.tables else ():
            if is_search(options.runs / name):
                write_record(outcome_of(options.runs / name), RESULTS / "searches" / f"{name}.json")
        write_page(read_records(RESULTS / "searches"))
    except UserError as error:
        raise SystemExit(f"searches: {error}") from None
    raise SystemExit(status)


if __name__ == "__main__":
    main()
