"""`sresnet train`."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from sresnet.cli.display import display
from sresnet.cli.parse import Repeated, check_minutes, first_word, parse, take_option, wants_help
from sresnet.cli.report import inspect_run, write_report
from sresnet.cli.runs import RuntimeOptions, accuracy, print_split, trained
from sresnet.cli.terminal import stop_asked
from sresnet.config import closest, to_dict
from sresnet.data import CLASSES, EventConfig, Samples
from sresnet.data.config import AnyData, as_trained
from sresnet.data.samples import listed
from sresnet.data.signs import not_to_mirror
from sresnet.errors import UserError
from sresnet.models.inference import check_precision
from sresnet.models.summary import describe
from sresnet.ops.dispatch import implementation
from sresnet.printing import give, going_on, say
from sresnet.processes import Processes, joined
from sresnet.randomness import seed_of
from sresnet.report.files import REPORT, check_page
from sresnet.report.records import kind_of, records_of
from sresnet.report.several import Shown
from sresnet.train import groups, record
from sresnet.train.evaluate import evaluate
from sresnet.train.finetune import frozen_parameters
from sresnet.train.loggers import LoggerName
from sresnet.train.loop import Outcome, check_fit, train
from sresnet.train.recipe import Recipe, with_compat
from sresnet.train.recipe_file import ENDING, as_toml, read_recipe_file
from sresnet.train.recipes import RECIPES


@dataclass(frozen=True, kw_only=True)
class TrainOptions(Recipe, RuntimeOptions):
    """Flags of `sresnet train`: the fields of the recipe, and where and how long to run."""

    out: str = ""
    """Run folder; by default runs/RECIPE-FINGERPRINT, so that the same command finds its run again."""
    max_minutes: float = float("inf")
    """Minutes after which to stop cleanly; the same command resumes."""
    checkpoint_seconds: float = 60.0
    """Seconds between checkpoints within an epoch."""
    log: Repeated[LoggerName] = ()
    """Also give each epoch to tensorboard, as events in the run folder, or wandb, Weights & Biases; may be repeated."""
    tensorboard: bool = False
    """The same as --log tensorboard."""
    report: bool = False
    """At the end, also write the page of sresnet report into the run folder."""
    every_group: bool = False
    """Of event recordings in groups, train once for each, tested on that group and trained on all others, in folders of
    --out; the mean and deviation of their accuracies are shown and written to groups.json there."""
    toml: bool = False
    """Train nothing: show the recipe, with these fields, as TOML for a file."""
    force: bool = False
    """Overwrite what is in the way, even if sresnet did not make it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_minutes(self.max_minutes)
        if not self.checkpoint_seconds >= 0:
            given = f"checkpoint_seconds {self.checkpoint_seconds:g}"
            raise UserError(f"{given} is not a length of time: 60 is a good choice")

    def recipe(self) -> Recipe:
        """The part that decides the numbers."""
        return Recipe(**recipe_fields(self))

    def loggers(self) -> tuple[LoggerName, ...]:
        """Which loggers are asked for."""
        return ("tensorboard", *self.log) if self.tensorboard else self.log


def recipe_fields(recipe: Recipe) -> dict[str, Any]:
    """The fields of a recipe, without those that the flags add."""
    return {field.name: getattr(recipe, field.name) for field in dataclasses.fields(Recipe)}


def train_verb(words: list[str]) -> int:
    """`sresnet train RECIPE [--field value ...]`."""
    return shared(lambda processes: _train(words, processes))


def shared(work: Callable[[Processes], int]) -> int:
    """The exit status of `work`, in each of the processes that torchrun has started: only the first is heard."""
    with joined(gpu=torch.cuda.is_available()) as processes, contextlib.ExitStack() as quiet:
        if not processes.first:
            nowhere = quiet.enter_context(open(os.devnull, "w", encoding="utf-8"))
            quiet.enter_context(contextlib.redirect_stdout(nowhere))
            quiet.enter_context(contextlib.redirect_stderr(nowhere))
        return work(processes)


def _train(words: list[str], processes: Processes) -> int:
    """`sresnet train` in one of the processes."""
    if wants_help(words):
        say("usage: sresnet train RECIPE|FILE.toml [--field value ...]", "")
        say(*(f"  {name:24} {line}" for name, (line, _) in RECIPES.items()))
        say("", "sresnet train RECIPE --help explains every field, sresnet train RECIPE --toml writes them down.")
        return 0
    name, line, recipe = recipe_named(first_word(words, "recipe", f"choose from {', '.join(RECIPES)}"))
    compat, rest = take_option(words[1:], "--compat")
    recipe = with_compat(recipe, compat) if compat else recipe
    options = parse(TrainOptions(**recipe_fields(recipe)), rest, f"sresnet train {words[0]}", f"{line}.")
    if options.toml:
        return _show_toml(options.recipe())
    return (_train_every_group if options.every_group else train_and_report)(options, name, processes)


@going_on()
def _train_every_group(options: TrainOptions, name: str, processes: Processes) -> int:
    """Train for each group of recordings, show and write their accuracies; the same command resumes."""
    started = time.monotonic()
    whole = groups.tested_on(options.recipe(), "")
    names = groups.groups_of(whole.data, options.data_dir, memory_limit=options.memory_limit)
    folder = Path(options.out or f"runs/{name}-every-group-{whole.fingerprint()}")
    say(f"{len(names)} groups, tested on one after the other: {listed(names)}")
    for group in names:
        own = folder / groups.folder_of(group)
        left = max(0.0, options.max_minutes - (time.monotonic() - started) / 60)
        one = replace(
            options, data=groups.tested_on(whole, group).data, out=str(own), max_minutes=left, every_group=False
        )
        status = train_and_report(one, name, processes, give=lambda found: None)
        if status or not groups.is_finished(own):
            give({"runs": folder, "state": "stopped", "group": group})
            return status
    if not processes.first:
        return 0
    found = groups.write_groups(folder, names)
    say(
        *(
            f"{each['test_top1']:6.2f} %  {each['test_clips']:6,} clips  {group}"
            for group, each in found["groups"].items()
        )
    )
    say(f"test accuracy, mean of {len(names)} groups: {found['mean_top1']:.2f} ± {found['deviation_top1']:.2f} %")
    give({"runs": folder, "state": "finished"} | found)
    say(f"written into {folder / groups.GROUPS}")
    return 0


def _show_toml(recipe: Recipe) -> int:
    """Show a recipe as TOML; 0. UserError where it freezes what `train` would refuse to freeze."""
    if recipe.freeze:
        frozen_parameters(recipe)
    give(to_dict(recipe))
    say(*as_toml(recipe).splitlines())
    return 0


def recipe_named(word: str) -> tuple[str, str, Recipe]:
    """(name for folders, what it is in a line, the recipe) of one that comes with the package, or in a TOML file.

    Raises:
        UserError: there is no such recipe, or as `read_recipe_file`.
    """
    if word.endswith(ENDING):
        return Path(word).stem, f"The recipe in {word}", read_recipe_file(Path(word))
    if word not in RECIPES:
        raise UserError(f"recipe {word!r} is unknown: {closest(word, list(RECIPES))}")
    return word, *RECIPES[word]


def _as_begun(data: AnyData, out: str) -> AnyData:
    """The data as a run that goes on in the folder `out` has them, so that no frames are made that it does not use."""
    if not out or not isinstance(data, EventConfig) or not (Path(out) / record.DATA).exists():
        return data
    return as_trained(data, record.read_about(Path(out)))


@going_on()
def train_and_report(
    options: TrainOptions,
    name: str,
    processes: Processes,
    *,
    run: str = "",
    fitted: Callable[[Recipe, Samples], Recipe] | None = None,
    give: Callable[[Any], None] = give,
) -> int:
    """Train as `options` say; show progress and results, those of `run` beside them, whose data they are.

    `fitted` makes the recipe one for the training samples, before it is shown or trained. `give` receives the result
    for --json.
    """
    device = processes.device(options.torch_device())
    recipe = options.recipe()
    if run:
        options = options.placed_as(recipe.data, run)
        splits = processes.in_turn(lambda: options.open_again(recipe, run))
    else:
        data = _as_begun(recipe.data, options.out)
        splits = processes.in_turn(lambda: options.open(data, recipe.seed, recipe.model.num_steps))
    if recipe.data.name not in CLASSES:  # the number of classes is known from the user's own files alone
        recipe = replace(recipe, model=replace(recipe.model, num_classes=len(splits.train.class_names)))
    if fitted:
        recipe = fitted(recipe, splits.train)
    elif recipe.data.flip and (what := not_to_mirror(recipe.data.name, options.data_dir, splits.train.class_names)):
        say(f"note: samples are mirrored at random, and are {what}: --data.no-flip leaves them as they are")
    if options.toml:
        return _show_toml(recipe)
    if recipe.train.precision == "bf16" and device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        say("note: this processor has no bfloat16 convolutions, bf16 will be several times slower than fp32")
    with implementation(options.engine):
        check_precision(recipe.train.precision, device)
    check_fit(recipe, splits, processes)
    if recipe.freeze:
        frozen, parameters = frozen_parameters(recipe)
        say(f"frozen: {', '.join(recipe.freeze)}; {frozen:,} of {parameters:,} parameters")
    folder = Path(options.out or f"runs/{name}-{recipe.fingerprint()}")
    bits = record.bits_of(folder)
    if bits and splits.about.get("bits", bits) != bits:  # of a run that began with another scale
        splits = processes.in_turn(lambda: options.open(recipe.data, recipe.seed, recipe.model.num_steps, bits))
    begun = record.read_about(folder) if (folder / record.DATA).exists() else {"counts": splits.about.get("counts")}
    if isinstance(recipe.data, EventConfig) and begun.get("counts") != splits.about.get("counts"):
        saturated = as_trained(recipe.data, begun)  # a run that began when all counts did
        splits = processes.in_turn(lambda: options.open(saturated, recipe.seed, recipe.model.num_steps))
    if options.report and processes.first:
        check_page(folder / REPORT, options.force)
    kind = kind_of(recipe.data)
    together = f", {processes.count} processes" if processes.several else ""
    say(f"{describe(recipe.model)} on {device}{together}: {len(splits.train):,} training {kind}, run folder {folder}")
    print_split(recipe.data, splits)
    with (
        implementation(options.engine),
        stop_asked(options.max_minutes) as asked,
        display(options.loggers() if processes.first else (), folder, recipe) as watch,
    ):
        outcome = train(
            recipe,
            splits,
            folder,
            device=device,
            watch=watch,
            should_stop=lambda: bool(asked()),
            checkpoint_seconds=options.checkpoint_seconds,
            data_dir=options.data_dir,
            cache_dir=options.cache_dir,
            note=lambda line: say(line, flush=True),
            memory_limit=options.memory_limit,
            processes=processes,
        )
    if outcome.state == "stopped":
        reason = asked() or "as another process was"
        give({"run": outcome.folder, "state": outcome.state, "step": outcome.step})
        say(f"stopped at step {outcome.step} ({reason}): run the same command again to resume")
        return {"SIGINT": 130, "SIGTERM": 143}.get(reason, 0)
    if not processes.first:
        return 0
    _print_outcome(outcome)
    given = {"run": outcome.folder, "state": outcome.state} | outcome.result
    if run:
        source, scaling, _ = trained(run, device, options.memory_limit, splits.test)
        settings: dict[str, Any] = {"precision": recipe.train.precision, "seed": seed_of("evaluate", recipe.seed)}
        with implementation(options.engine):
            before = evaluate(source, splits.test, scaling, **settings)
        say(f"before, {run}: {before.top1:.2f} %")
        given |= {"from": run, "before_test_top1": before.top1}
    give(given)
    say(f"run folder: {outcome.folder}")
    if options.report:
        records = records_of(folder, memory_limit=options.memory_limit)
        inspection = inspect_run(str(folder), records, options, 0, splits)
        write_report(folder / REPORT, [Shown(records, inspection)], force=options.force)
    return 0


def _print_outcome(outcome: Outcome) -> None:
    """The last lines of a finished run."""
    result = outcome.result
    say(f"{accuracy('test', result.get('split', {}))}: {result['test_top1']:.2f} %")
    if "best_test_epoch_top1" in result:
        say(
            f"best test epoch: {result['best_test_epoch_top1']:.2f} % (epoch {result['best_test_epoch']}; picked on "
            "the test images, as in the paper's Tables 14, 16, 17)"
        )
