"""`sresnet study`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from sresnet.cli.display import run_lines
from sresnet.cli.parse import at_least, first_word, names_and_flags, parse, wants_help
from sresnet.cli.runs import RuntimeOptions
from sresnet.cli.terminal import print_table
from sresnet.cli.workers import Asked, WorkerOptions, rows_on_cluster, work_side_by_side
from sresnet.config import closest
from sresnet.data import AnyData, DataConfig, Splits
from sresnet.errors import UserError
from sresnet.files import check_no_address
from sresnet.ops.dispatch import implementation
from sresnet.printing import give, going_on, say
from sresnet.report.results import OTHER_SCALE, other_scale, write_page
from sresnet.search.record import read_records
from sresnet.search.trials import Outcome
from sresnet.studies.cluster import check_cluster
from sresnet.studies.evidence import Evidence
from sresnet.studies.paper import STUDIES
from sresnet.studies.results import failures, forget_failures
from sresnet.studies.results import read as read_results
from sresnet.studies.rows import COST_HEADER, machines_of, rows_of
from sresnet.studies.run import to_train, work
from sresnet.studies.scale import ScaleName, about, scaled
from sresnet.studies.study import Study, training_runs_of
from sresnet.studies.workers import share_of
from sresnet.train.recipe import Recipe


def _results_folder(folder: str, scale: str) -> Path:
    """Where results of studies at a scale are by default."""
    return Path(folder or f"results/studies/{scale}")


SEARCHES = "results/searches"
"""Where records of searches are by default."""


def evidence_at(scale: str, folder: str, searches: str) -> Evidence:
    """All studies at a scale, with their results in a folder and the records of searches in another one.

    Raises:
        UserError: there are no results, or a file is damaged.
    """
    kept = _results_folder(folder, scale)
    found = read_results(kept)
    if not found:
        raise UserError(f"{kept} holds no results of scale {scale}: run sresnet study first")
    studies = {name: scaled(study, scale) for name, study in STUDIES.items()}
    records = _searches_in(searches)
    return Evidence(scale=scale, studies=studies, results=found, failures=failures(kept), searches=records)


def _searches_in(folder: str) -> Mapping[str, Outcome]:
    """The records of searches in a folder; UserError as `read_records`, or for another one than usual that is none."""
    if folder != SEARCHES and not Path(folder).is_dir():
        raise UserError(f"searches {folder!r} is no folder: give one of records that sresnet search --record writes")
    return read_records(Path(folder))


@dataclass(frozen=True, kw_only=True)
class _StudyOptions(WorkerOptions):
    """Flags of `sresnet study`."""

    scale: ScaleName = "tiny"
    """paper: the paper's networks and epochs, far more than a CPU can do; medium: the paper's depth and all images, for
    Tables 2 to 5, 8, 15 to 17, about a day of one core; small: Table 14 in about four hours on two cores, all others in
    about two; tiny: a minute a table, on digits, to see that it runs."""
    runs: str = ""
    """Folder of run folders; by default runs/studies/SCALE."""
    results: str = ""
    """Folder of results, small files worth keeping; by default results/studies/SCALE."""
    searches: str = SEARCHES
    """Folder of the records of searches, which Tables 2, 9 and 17 look at (docs/search.md)."""
    events_dir: str = ""
    """Folder of DVS-CIFAR10, for scale paper."""
    seeds: int = 0
    """Seeds 0 to seeds - 1 of every row; 0: as many as the scale has."""
    show: bool = False
    """Train nothing; show the results there are."""
    out: str = "docs/results.md"
    """Page that `sresnet study page` writes; its tables and pictures go beside the results."""
    force: bool = False
    """With `sresnet study page`: overwrite what is in the way, even if sresnet did not make it."""

    def folders(self) -> tuple[Path, Path]:
        """Run folders and results."""
        return Path(self.runs or f"runs/studies/{self.scale}"), _results_folder(self.results, self.scale)

    def options_of(self, data: AnyData) -> RuntimeOptions:
        """These options, with the folder of this data set."""
        return replace(self, data_dir=self.events_dir) if data.name == "dvs-cifar10" else self


MOST_SEEDS = 1000


def study_verb(words: list[str]) -> int:
    """`sresnet study list`, `sresnet study NAME...`."""
    if wants_help(words):
        say(
            "usage: sresnet study list | page | NAME... [--scale tiny|small|medium|paper] [--data-dir DIR] [--show]", ""
        )
        say("NAME: all, or any of those that sresnet study list shows. page: all tables, and what they say of the")
        say("paper's claims, from the results that are there. sresnet study NAME --help explains the flags.")
        return 0
    first_word(words, "study", "sresnet study list shows them")
    names, flags = names_and_flags(words)
    if names == ["list"]:
        give({study.name: {"title": study.title, "runs": len(study.training_runs())} for study in STUDIES.values()})
        for study in STUDIES.values():
            say(f"  {study.name:12} {study.title} ({len(study.training_runs())} training runs)")
        return 0
    options = parse(
        _StudyOptions(), flags, f"sresnet study {' '.join(names)}", "Train what tables need, and show the tables."
    )
    if names == ["page"]:
        return _write_study_page(options)
    studies = _chosen_studies(names, options)
    if not options.show:
        stopped = _run_studies(studies, options)
        if stopped:
            say(f"stopped ({stopped}): run the same command again to resume")
            return {"SIGINT": 130, "SIGTERM": 143}.get(stopped, 0)
    return _show_studies(studies, options.folders()[1], _searches_in(options.searches))


@going_on()
def _write_study_page(options: _StudyOptions) -> int:
    """`sresnet study page`."""
    evidence = evidence_at(options.scale, options.results, options.searches)
    kept = options.folders()[1]
    other = other_scale(options.scale, read_results(kept.parent / OTHER_SCALE.get(options.scale, "")))
    say(*map(str, write_page(evidence, Path(options.out), kept, other=other, force=options.force)))
    return 0


def _chosen_studies(names: Sequence[str], options: _StudyOptions) -> list[Study]:
    """The studies of these names at the scale and with the seeds asked for.

    Raises:
        UserError: no such study, or fewer than one worker or than no seeds.
    """
    at_least(0, seeds=options.seeds)
    options.check_places()
    if options.seeds > MOST_SEEDS:
        raise UserError(f"seeds {options.seeds} is more than {MOST_SEEDS}: the paper shows means of few")
    for name in names:
        if name not in STUDIES and name != "all":
            raise UserError(f"study {name!r} is unknown: {closest(name, [*STUDIES, 'all'])}")
    wanted = list(STUDIES) if "all" in names else names
    studies = [scaled(STUDIES[name], options.scale) for name in wanted]
    return [replace(study, seeds=options.seeds or study.seeds) for study in studies]


@going_on()
def _run_studies(studies: Sequence[Study], options: _StudyOptions) -> str:
    """Train what they need and do not have yet; returns why it stopped before the end, or ""."""
    runs, kept = options.folders()
    check_no_address(runs)
    check_no_address(kept)
    left = to_train(studies, runs, kept)
    if not left:
        return ""
    cluster = options.cluster(runs, kept, reads=[options.events_dir]) if options.ray else None
    _check_data((training.recipe for _, training in left.values()), options)
    if cluster is not None:
        check_cluster(cluster)
    forget_failures(kept, left)
    say(f"{len(left)} training runs, run folders in {runs}, results in {kept}", flush=True)
    if cluster is not None:
        stopped = rows_on_cluster(left, runs, kept, partial(_open, options), options, cluster)
    else:
        names = [study.name for study in studies]
        stopped = work_side_by_side(partial(_study_worker, names, options), options.workers, options.max_minutes)
    return stopped if to_train(studies, runs, kept) else ""


def _check_data(recipes: Iterable[Recipe], options: _StudyOptions) -> None:
    """Open each data set of images once, so that a missing folder is reported before anything is trained.

    Raises:
        UserError: as `open_data`.
    """
    for name, recipe in {recipe.data.name: recipe for recipe in recipes}.items():
        own = options.options_of(recipe.data)
        if isinstance(recipe.data, DataConfig):
            own.open(recipe.data, recipe.seed, recipe.model.num_steps)
        elif name != "digits-dvs" and not own.data_dir:
            flag = "--events-dir" if name == "dvs-cifar10" else "--data-dir"
            raise UserError(f"{name} is read from your own folder: add {flag} DIR, the folder that holds it")


def _open(options: _StudyOptions, data: AnyData, seed: int, num_steps: int) -> Splits:
    """A data set, from its folder."""
    return options.options_of(data).open(data, seed, num_steps)


@going_on()
def _study_worker(names: list[str], options: _StudyOptions, asked: Asked, index: int | None) -> None:
    """Train what studies need, alone, or beside other processes as number `index`, until `asked` to stop."""
    studies = _chosen_studies(names, options)
    runs, kept = options.folders()
    device = options.torch_device()
    if index is not None:
        device = share_of(device, index, options.workers)

    open_ = partial(_open, options)
    left, limit = to_train(studies, runs, kept), options.memory_limit
    with implementation(options.engine):
        tell, should_stop = run_lines(), lambda: bool(asked())
        work(left, runs, kept, open_, device=device, tell=tell, should_stop=should_stop, memory_limit=limit)


def _show_studies(studies: Sequence[Study], kept: Path, searches: Mapping[str, Outcome]) -> int:
    """Print what the studies gave; 1 where a run that they need failed."""
    needed, found = training_runs_of(studies), read_results(kept)
    failed = {key: reason for key, reason in failures(kept).items() if key in needed}
    headings = ("row", "column", "paper", "measured", "seeds")
    given: dict[str, Any] = {}
    for study in studies:
        say("", f"{study.name}: {study.title}", *filter(None, [f"{study.note} {about(study.scale)}".strip()]))
        rows = rows_of(study, found, failed, searches)
        values = [row.texts() | {"values": row.values} for row in rows]
        given[study.name] = {"title": study.title, "scale": study.scale, "rows": values}
        shown, texts = (*headings, *(COST_HEADER if study.costs else ())), [row.texts() for row in rows]
        print_table(" | ".join(shown), [[text[heading] for heading in shown] for text in texts])
        say(*filter(None, [machines_of(rows)]))
    give({"studies": given, "failed": failed})
    if failed:
        say("", "failed training runs:", *(f"  {key}: {reason}" for key, reason in failed.items()))
    return 1 if failed else 0
