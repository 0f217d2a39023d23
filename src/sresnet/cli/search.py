"""`sresnet search`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from sresnet.cli.display import run_lines
from sresnet.cli.parse import at_least, first_word, parse, wants_help
from sresnet.cli.terminal import print_table
from sresnet.cli.train import recipe_fields, recipe_named
from sresnet.cli.workers import Asked, WorkerOptions, work_on_cluster, work_side_by_side
from sresnet.config import to_dict
from sresnet.data import AnyData, EventConfig, Splits
from sresnet.data.opening import has_validation
from sresnet.errors import UserError
from sresnet.files import state_of
from sresnet.ops.dispatch import implementation
from sresnet.printing import give, going_on, say
from sresnet.report.document import Value
from sresnet.search.config import Objective, Sampler, SearchConfig, check_installed, claim, fitted, read_config
from sresnet.search.record import as_record, is_search, write_record
from sresnet.search.space import (
    NAMED,
    Dimension,
    dimension,
    field_named,
    in_short,
    name_of,
    named_space,
    read_space,
    read_values,
)
from sresnet.search.trials import Outcome
from sresnet.studies.cluster import Write, check_cluster
from sresnet.studies.workers import share_of
from sresnet.train.loop import Progress
from sresnet.train.recipe import Recipe
from sresnet.train.recipe_file import as_toml
from sresnet.train.recipes import RECIPES

SHOWN = 10
"""Trials in the table."""
_PREFIX = "--search."


@dataclass(frozen=True, kw_only=True)
class _SearchOptions(Recipe, WorkerOptions):
    """Flags of `sresnet search`: the fields of the recipe, what is searched, and where and how long to run."""

    trials: int = 50
    """How many trainings in all, those that end early included."""
    hours: float = float("inf")
    """Hours of training in all trials, after which no new one begins."""
    space: str = ""
    """What is searched: paper, wide, or a TOML file; --search.FIELD adds to it or changes it. By default paper's, or
    only what --search.FIELD says."""
    sampler: Sampler = "tpe"
    """tpe: Optuna's multivariate TPE, BOHB-style; bohb: the densities of Falkner et al. 2018; random: uniform."""
    objectives: tuple[Objective, ...] = ("accuracy",)
    """accuracy of held-out images, operations, steps. With several, no trial ends early."""
    min_epochs: int = 0
    """Epochs after which a trial may end first; 0: a ninth of all."""
    reduction: int = 3
    """One of so many trials goes on at each rung, and rungs are so many times as long; 0: no trial ends early."""
    enqueue: tuple[str, ...] = ("paper",)
    """Values to try first, such as leak=0.9,num_steps=4; paper: the paper's, where the space has them; none."""
    out: str = ""
    """Folder of the search; by default runs/search-RECIPE-FINGERPRINT, so that the same command finds it again."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_places()
        at_least(1, trials=self.trials)
        at_least(0, min_epochs=self.min_epochs)
        if not self.hours > 0:
            raise UserError(f"hours {self.hours:g} is not a length of time: give hours, or leave it out")


def search_verb(words: list[str]) -> int:
    """`sresnet search RECIPE [--search.FIELD RANGE ...] --trials N`, or `sresnet search FOLDER [--best]`."""
    if wants_help(words) or ("--help" in words and is_search(Path(words[0]))):
        say("usage: sresnet search RECIPE|FILE.toml [--search.FIELD RANGE ...] [--trials N] [--field value ...]")
        say("       sresnet search FOLDER|RECORD.json [--best]")
        say("       sresnet search FOLDER --record RECORD.json [--force]", "")
        say("RANGE: low:high, low:high:log, or a list a,b,c; such as --search.leak 0.5:0.999 --search.num-steps 2,4,8.")
        say("FOLDER: that of a search, whose trials are shown; --best writes the recipe of the best as TOML, --record")
        say("all trials into a small file to keep, which is shown likewise.", "")
        say("sresnet search RECIPE --help explains the other flags.")
        return 0
    word = first_word(words, "recipe", "give a name of sresnet train --help, a TOML file, or the folder of a search")
    if word not in RECIPES and not is_search(Path(word)) and not word.endswith(".toml"):
        cure = "give the folder or the record of a search, a recipe, or a TOML file"
        if word and Path(word).is_dir():
            raise UserError(f"{word} holds no search: {cure}")
        if "/" in word or word.endswith(".json"):
            raise UserError(f"{word} {state_of(Path(word))}: {cure}")
    check_installed("search needs")
    if is_search(Path(word)):
        return _show(Path(word), words[1:])
    options, config, notes = _config_of(word, words[1:])
    say(*(f"note: {note}" for note in notes))
    folder = Path(options.out)
    if stopped := _run(options, config, folder):
        say(f"stopped ({stopped}): run the same command again to go on")
        return {"SIGINT": 130, "SIGTERM": 143}.get(stopped, 0)
    from sresnet.search.outcome import outcome_of

    _show(folder, [])
    if not outcome_of(folder).finished:
        raise UserError(f"no trial in {folder} is finished: give more --trials or --hours, or other ranges and --out")
    return 0


def _config_of(word: str, words: list[str]) -> tuple[_SearchOptions, SearchConfig, list[str]]:
    """All flags behind the recipe `word`, what they search, and lines about what was changed for it."""
    name, line, recipe = recipe_named(word)
    ranges, rest = _ranges(words)
    options = parse(_SearchOptions(**recipe_fields(recipe)), rest, f"sresnet search {word}", f"{line}.")
    recipe = Recipe(**recipe_fields(options))
    space = _space(options.space, ranges, recipe)
    recipe, least, notes = fitted(
        recipe, space, options.min_epochs, held_out=has_validation(recipe.data, options.data_dir)
    )
    first = [read_values(text, space, recipe) for text in options.enqueue if text != "none"]
    config = SearchConfig(
        recipe=recipe,
        space=space,
        sampler=options.sampler,
        objectives=options.objectives,
        min_epochs=least,
        reduction=options.reduction,
        enqueue=tuple(values for values in first if values),
    )
    out = options.out or f"runs/search-{name}-{config.fingerprint()}"
    return replace(options, out=out), config, notes


def _ranges(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """(field as it was typed -> range) of all --search.FIELD, and the other words."""
    found: dict[str, str] = {}
    rest, left = [], list(words)
    while left:
        word = left.pop(0)
        if not word.startswith(_PREFIX):
            rest.append(word)
            continue
        flag, equals, value = word.partition("=")
        if not equals:
            if not left or left[0].startswith("--"):
                raise UserError(f"{flag} has no value: add a range such as 0.5:0.999, or a list a,b,c")
            value = left.pop(0)
        name = flag.removeprefix(_PREFIX)
        if name in found:
            raise UserError(f"{flag} is given twice: leave one out")
        found[name] = value
    return found, rest


def _space(given: str, ranges: dict[str, str], recipe: Recipe) -> dict[str, Dimension]:
    """What is searched."""
    if given in NAMED or (not given and not ranges):
        space = named_space(given or "paper", recipe)
    else:
        space = read_space(Path(given), recipe) if given else {}
    fields = {name: field_named(name, recipe) for name in ranges}
    for name, field in fields.items():
        if other := next((each for each in fields if each != name and fields[each] == field), None):
            raise UserError(f"{_PREFIX}{name} and {_PREFIX}{other} are one field: leave one out")
        space[field] = dimension(field, ranges[name], recipe)
    return space


@going_on()
def _run(options: _SearchOptions, config: SearchConfig, folder: Path) -> str:
    """Run the trials that are wanted and not there yet; returns why it stopped before the end, or ""."""
    splits = options.open(config.recipe.data, config.recipe.seed, config.recipe.model.num_steps)  # says what is missing
    if splits.validation is None:
        raise UserError("the data hold out no images: give the folder that the search began with, or another --out")
    cluster = options.cluster(folder) if options.ray else None
    if cluster is not None:
        check_cluster(cluster)
    claim(config, folder)
    fields = ", ".join(f"{name_of(field)} {each}" for field, each in config.space.items())
    say(f"search over {fields}", f"{options.trials} trials of {config.recipe.train.epochs} epochs, in {folder}")
    if cluster is None:
        return work_side_by_side(partial(_worker, options, folder), options.workers, options.max_minutes)
    from sresnet.search.run import ended

    one, left = partial(_one_trial, options, folder), options.trials - ended(config, folder)
    return work_on_cluster({f"a trial ({n + 1})": (one, ()) for n in range(left)}, cluster, options.max_minutes)


@going_on()
def _worker(options: _SearchOptions, folder: Path, asked: Asked, index: int | None) -> None:
    """Run trials, alone, or beside other processes as number `index`, until `asked` to stop."""
    device = options.torch_device()
    if index is not None:
        device = share_of(device, index, options.workers)
    _work(options, folder, asked, device, run_lines())


def _one_trial(options: _SearchOptions, folder: Path, asked: Asked, write: Write) -> None:
    """Run one trial on a node of a cluster, until `asked` to stop."""
    _work(options, folder, asked, options.device_on_node(), run_lines(write), one=True)


def _work(
    options: _SearchOptions,
    folder: Path,
    asked: Asked,
    device: torch.device,
    tell: Callable[[str, Progress | str], None],
    one: bool = False,
) -> None:
    """Run trials, or `one`, on a device, until `asked` to stop."""
    from sresnet.search.run import work

    opened: dict[tuple[AnyData, int, int], Splits] = {}

    def open_(data: AnyData, seed: int, num_steps: int) -> Splits:
        """A data set, which is read once; images are the same for any number of time steps."""
        key = (data, seed, num_steps if isinstance(data, EventConfig) else 0)
        if key not in opened:
            opened.clear()  # one of them fits in memory
            opened[key] = options.open(data, seed, num_steps)
        return opened[key]

    with implementation(options.engine):
        work(
            read_config(folder),
            folder,
            open_,
            device=device,
            trials=options.trials,
            hours=options.hours,
            one=one,
            tell=tell,
            should_stop=lambda: bool(asked()),
            memory_limit=options.memory_limit,
        )


def _show(folder: Path, words: list[str]) -> int:
    """`sresnet search FOLDER|RECORD`: its trials; --best, the recipe of the best one; or --record, all in a file."""
    from sresnet.search.outcome import importances, outcome_of

    if words[:1] == ["--record"] and folder.is_dir():
        return _record(folder, words[1:])
    if words not in ([], ["--best"]):
        other = next((word for word in words if word != "--best"), words[-1])
        raise UserError(
            f"{other!r} is not for a search that is there: behind its folder give nothing, --best, or --record "
            "FILE.json [--force]; behind its record nothing or --best"
        )
    found = outcome_of(folder)
    if words:
        best = found.best(1)
        if not best:
            raise UserError(f"no trial of {folder} is finished: run the search to its end, or give it more trials")
        give(to_dict(found.recipe(best[0])))
        say(*as_toml(found.recipe(best[0])).splitlines())
        return 0
    _print_trials(found)
    shares = importances(found)
    best = found.front() if len(found.config.objectives) > 1 else found.best(SHOWN)
    give(as_record(found) | {"importances": shares, "best": [each.number for each in best]})
    if shares:
        say("", "what the differences between finished trials come from:")
        say(*(f"  {field} {100 * share:.0f} %" for field, share in shares.items()))
    say("", f"a page: sresnet report {folder}")
    if found.finished:
        say(f"the best recipe: sresnet search {folder} --best > recipe.toml")
    return 0


def _record(folder: Path, words: list[str]) -> int:
    """`sresnet search FOLDER --record FILE`."""
    paths = [word for word in words if word != "--force"]
    if len(paths) != 1 or paths[0].startswith("-") or not paths[0].endswith(".json"):
        raise UserError(f"--record {' '.join(words) or 'without a file'}: give one file to write, such as NAME.json")
    from sresnet.search.outcome import outcome_of

    found = outcome_of(folder)
    write_record(found, Path(paths[0]), force="--force" in words)
    say(f"record: {paths[0]}, {len(found.trials)} trials, {len(found.finished)} of them trained to the end")
    return 0


def _print_trials(found: Outcome) -> None:
    """The best trials, or the Pareto front, and how many there are of each kind."""
    states = [each.state for each in found.trials]
    say("", ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)) or "no trial has begun")
    several = len(found.config.objectives) > 1
    shown = found.front() if several else found.best(SHOWN)
    if not shown:
        return
    say("", "the trials that no other beats in all objectives:" if several else "the best trials:")
    fields = list(found.config.space)
    names = [name_of(field) for field in fields]
    header = " | ".join(["trial:d", *(f"{each}:,.5g" for each in found.config.objectives), *names])
    rows: list[tuple[Value, ...]] = [
        (each.number, *each.objectives, *(in_short(each.values.get(field)) for field in fields)) for each in shown
    ]
    print_table(header, rows)
