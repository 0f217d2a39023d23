"""Trials of a search: halving, resuming, several processes, faults."""

import math
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import Counter
from dataclasses import replace

import optuna
import pytest
import torch
from optuna.trial import TrialState

from sresnet.cli import main
from sresnet.data import open_data
from sresnet.errors import UserError
from sresnet.files import only_writer, write_json
from sresnet.search import run as running
from sresnet.search.config import SearchConfig, claim
from sresnet.search.outcome import importances, outcome_of
from sresnet.search.run import ended, run_of, study_of, work
from sresnet.search.space import dimension
from sresnet.search.storage import JOURNAL
from sresnet.train import record
from sresnet.train.loop import DivergedError, Outcome, Progress
from sresnet.train.recipe_file import read_recipe_file
from sresnet.train.recipes import RECIPES
from tests.report.runs import read_page

DIGITS = RECIPES["digits"][1]
TINY = replace(
    DIGITS,
    model=replace(DIGITS.model, base_filters=2, num_steps=2),
    data=replace(DIGITS.data, train_images=100, validation=0.3),
    train=replace(DIGITS.train, epochs=9, batch_size=32),
)
SPACE = {
    field: dimension(field, text, TINY)
    for field, text in {"model.leak": "0.5:0.999", "train.learning_rate": "0.001:1:log"}.items()
}
CONFIG = SearchConfig(recipe=TINY, space=SPACE)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def open_(data, seed, num_steps):
    return open_data(data, "", seed=seed, num_steps=num_steps)


@pytest.fixture
def pretended(monkeypatch):
    """Trainings that only say their accuracy, higher towards leak 0.9 and rate 0.1: (folder, epoch) of each."""
    trained = []

    def train(recipe, splits, folder, *, watch, should_stop, **others):
        done = len(record.read_metrics(folder)) if folder.exists() else 0
        folder.mkdir(parents=True, exist_ok=True)
        for epoch in range(done + 1, recipe.train.epochs + 1):
            trained.append((folder.name, epoch))
            away = abs(recipe.model.leak - 0.9) + abs(math.log10(recipe.train.learning_rate) + 1)
            metrics = {"epoch": epoch, "step": epoch, "validation_top1": 90 - 20 * away + epoch, "seconds": 60.0}
            record.append_metrics(folder, metrics)
            zeros = dict.fromkeys(("loss", "accuracy", "images_per_second", "seconds_left"), 0.0)
            watch(Progress(epoch=epoch, epochs=9, step=epoch, steps=9, metrics=metrics, **zeros))
            if should_stop() and epoch < recipe.train.epochs:
                return Outcome(state="stopped", folder=folder, step=epoch, result={})
        result = {"test_top1": 0.0, "test_images": 1, "validation_top1": metrics["validation_top1"]}
        write_json(folder / record.RESULT, result)
        return Outcome(state="finished", folder=folder, step=9, result=result)

    monkeypatch.setattr(running, "train", train)
    return trained


def searched(folder, trials, config=CONFIG, **others):
    claim(config, folder)
    work(config, folder, open_, device=CPU, trials=trials, **others)
    return outcome_of(folder)


def test_worse_trials_end_early_and_better_ones_are_not_begun_anew(tmp_path, pretended):
    found = searched(tmp_path / "search", 40)
    states = Counter(each.state for each in found.trials)
    assert sum(states.values()) == 40
    assert states["finished"] + states["ended early"] == 40
    assert states["ended early"] > 10
    assert len(set(pretended)) == len(pretended)  # no epoch of a trial is trained twice
    for each in found.trials:
        epochs = [epoch for epoch, _ in each.accuracies]
        assert epochs == list(range(1, len(epochs) + 1))
        assert len(epochs) in ((9,) if each.state == "finished" else (1, 3))  # rungs: 1, 3, 9
        assert record.read_metrics(run_of(tmp_path / "search", each.number))[-1]["epoch"] == len(epochs)
    best = found.best(1)[0]
    assert best.objectives[0] == max(each.objectives[0] for each in found.finished)
    mean = sum(each.accuracies[0][1] for each in found.trials) / 40
    assert sum(each.accuracies[0][1] for each in found.finished) / len(found.finished) > mean
    assert found.recipe(best).model.leak == best.values["model.leak"]


@pytest.mark.parametrize("sampler", ["tpe", "bohb", "random"])
def test_a_search_that_is_stopped_again_and_again_ends_as_one_that_is_not(sampler, tmp_path, pretended):
    config = replace(CONFIG, sampler=sampler, enqueue=({"model.leak": 0.874},))
    whole = searched(tmp_path / "whole", 24, config)
    assert whole.trials[0].values["model.leak"] == 0.874
    for limit in range(1, 400):
        calls = iter(range(limit % 7))
        parts = searched(tmp_path / "parts", 24, config, should_stop=lambda calls=calls: next(calls, None) is None)
        if len(parts.trials) == 24 and all(each.state != "running" for each in parts.trials):
            break
    assert parts.trials == whole.trials


def test_trials_that_cannot_be_are_recorded_and_the_others_go_on(tmp_path, pretended):
    train, model = replace(TINY.train, progressive_epochs=(1, 1)), replace(TINY.model, num_steps=4)
    recipe = replace(TINY, train=train, model=model)
    space = {"model.num_steps": dimension("model.num_steps", "2,3", TINY)}
    found = searched(tmp_path / "search", 8, SearchConfig(recipe=recipe, space=space, min_epochs=3, sampler="random"))
    failed = [each for each in found.trials if each.state == "failed"]
    assert failed
    assert all("progressive_epochs (1, 1) ends with 2 time steps" in each.fault for each in failed)
    assert {each.values["model.num_steps"] for each in failed} == {2}
    assert found.finished


def test_where_the_first_trials_all_fail_the_search_ends(tmp_path, monkeypatch):
    def train(*arguments, **others):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(running, "train", train)
    with pytest.raises(UserError, match="the first 3 trials failed, the last because: .*[Nn]o space"):
        searched(tmp_path / "search", 8)


def test_a_trial_that_diverges_is_worse_than_all_others(tmp_path, monkeypatch, pretended):
    plain = running.train

    def train(recipe, splits, folder, **others):
        if recipe.train.learning_rate > 0.3:
            raise DivergedError("loss is nan at step 3")
        return plain(recipe, splits, folder, **others)

    monkeypatch.setattr(running, "train", train)
    found = searched(tmp_path / "search", 24, replace(CONFIG, sampler="bohb"))
    diverged = [each for each in found.trials if each.state == "diverged"]
    assert diverged
    assert all(each.fault == "loss is nan at step 3" and each.values["train.learning_rate"] > 0.3 for each in diverged)
    later = [each.values["train.learning_rate"] > 0.3 for each in found.trials[12:]]
    assert sum(later) <= sum(each.values["train.learning_rate"] > 0.3 for each in found.trials[:12]) + 1


def test_samplers_are_shown_one_bracket_from_the_first_trial_of_a_process_on(tmp_path, pretended):
    searched(tmp_path / "search", 12)
    study = study_of(CONFIG, tmp_path / "search")
    shown = [optuna.pruners._filter_study(study, each).get_trials() for each in study.trials]
    assert all(len(each) < 12 for each in shown)


def test_hours_end_a_search(tmp_path, pretended):
    config = replace(CONFIG, reduction=0)  # nine minutes a trial
    assert len(searched(tmp_path / "search", 40, config, hours=0.5).trials) == 4
    assert len(searched(tmp_path / "search", 40, config, hours=0.5).trials) == 4
    assert len(searched(tmp_path / "search", 40, config, hours=1.0).trials) == 7


def test_several_objectives_give_a_front(tmp_path):
    config = replace(
        CONFIG,
        recipe=replace(TINY, train=replace(TINY.train, epochs=2)),
        objectives=("accuracy", "operations", "steps"),
        space=SPACE | {"model.num_steps": dimension("model.num_steps", "1,2,4", TINY)},
    )
    found = searched(tmp_path / "search", 8, config)
    assert len(found.finished) == 8
    front = found.front()
    assert 0 < len(front) <= 8
    for each in found.finished:
        accuracy, operations, steps = each.objectives
        assert steps == each.values["model.num_steps"]
        assert operations > 0
        better = [
            other
            for other in front
            if other.objectives[0] >= accuracy and other.objectives[1] <= operations and other.objectives[2] <= steps
        ]
        assert better  # each is on the front or beaten by one that is
        assert (each in front) == all(other.objectives == each.objectives for other in better)
    assert set(importances(found)) <= set(config.space)
    assert main(["search", str(tmp_path / "search")]) == 0
    assert main(["report", str(tmp_path / "search")]) == 0
    text, _ = read_page(tmp_path / "search" / "report.html")
    assert "Pareto front" in text


def _process(config, folder, trials):
    torch.set_num_threads(1)
    work(config, folder, open_, device=CPU, trials=trials)


def test_processes_share_a_search_and_one_may_be_killed(tmp_path):
    """Three of them; one is killed while it trains, and what it held goes on in another."""
    folder, config = tmp_path / "search", replace(CONFIG, sampler="random", reduction=0)
    claim(config, folder)
    start = multiprocessing.get_context("spawn")
    workers = [start.Process(target=_process, args=(config, folder, 9)) for _ in range(3)]
    for worker in workers:
        worker.start()
    while not any((folder / "trials").glob("*/metrics.jsonl")):
        time.sleep(0.02)
    os.kill(workers[0].pid, signal.SIGKILL)
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [-signal.SIGKILL, 0, 0]
    work(config, folder, open_, device=CPU, trials=9)
    found = outcome_of(folder)
    assert [each.state for each in found.trials] == ["finished"] * 9
    alone = searched(tmp_path / "alone", 9, config)
    assert {each.number: (each.values, each.accuracies) for each in found.trials} == {
        each.number: (each.values, each.accuracies) for each in alone.trials
    }


def test_one_trial_is_waited_for_where_another_process_has_the_last(tmp_path, pretended, monkeypatch):
    """As a task on a cluster does, which is sent again while the process that it had is not quite gone."""
    monkeypatch.setattr(running, "WAIT_SECONDS", 0.01)
    folder = tmp_path / "search"
    (stopped,) = searched(folder, 1, one=True, should_stop=lambda: bool(pretended)).trials
    assert stopped.state == "running"
    task = threading.Thread(target=work, args=(CONFIG, folder, open_), kwargs={"device": CPU, "trials": 1, "one": True})
    with only_writer(folder / ".held" / "0"):
        task.start()
        task.join(0.3)
        assert task.is_alive()
        assert [epoch for _, epoch in pretended] == [1]
    task.join()
    assert [epoch for _, epoch in pretended] == list(range(1, 10))
    assert ended(CONFIG, folder) == 1
    assert len(searched(folder, 3, one=True).trials) == ended(CONFIG, folder) == 2  # one, of the two that are left


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_the_end_of_a_journal_that_a_kill_cut_is_dropped(cut, tmp_path, pretended):
    searched(tmp_path / "search", 3)
    journal = tmp_path / "search" / JOURNAL
    journal.write_bytes(journal.read_bytes()[:-cut])
    assert len(searched(tmp_path / "search", 6).trials) == 6
    assert b"\n\n" not in journal.read_bytes()


def test_a_journal_of_something_else(tmp_path, pretended):
    searched(tmp_path / "search", 1)
    (tmp_path / "search" / JOURNAL).write_text('{"a": 1}\n{"b": 2}\n')
    with pytest.raises(UserError, match="is no journal of a search"):
        outcome_of(tmp_path / "search")


def test_optuna_reads_the_journal_by_itself(tmp_path, pretended):
    searched(tmp_path / "search", 3)
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "search" / JOURNAL))
    study = optuna.load_study(study_name="search", storage=optuna.storages.JournalStorage(backend))
    assert [each.state for each in study.trials if each.state == TrialState.COMPLETE]
    assert study_of(CONFIG, tmp_path / "search").trials == study.trials


# The command line -----------------------------------------------------------------------------------------------------

FLAGS = [
    *"--model.base-filters 2 --model.num-steps 2 --train.epochs 3 --train.batch-size 32".split(),
    *"--data.train-images 100 --data.validation 0.3".split(),
    *"--search.leak 0.5:0.999 --search.train.learning-rate 0.001:1:log".split(),
]


def test_the_command_goes_on_shows_and_gives_the_best_recipe(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["search", "digits", *FLAGS, "--trials", "3", "--max-minutes", "0"]) == 0
    assert "stopped (0 minutes are over): run the same command again to go on" in capsys.readouterr().out
    assert main(["search", "digits", *FLAGS, "--trials", "5"]) == 0
    out = capsys.readouterr().out
    assert "trial 0: leak 0.874, learning_rate 0.0268" in out
    assert "the best trials:" in out
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("search-digits-")
    assert main(["search", "digits", *FLAGS, "--trials", "5"]) == 0  # nothing is left
    assert "trial 0:" not in capsys.readouterr().out
    assert main(["search", str(folder), "--best", "extra"]) == 2
    assert "'extra' is not for a search that is there" in capsys.readouterr().err
    assert main(["search", str(folder), "--best"]) == 0
    (tmp_path / "best.toml").write_text(capsys.readouterr().out)
    found = outcome_of(folder)
    assert read_recipe_file(tmp_path / "best.toml") == found.recipe(found.best(1)[0])
    assert main(["train", "best.toml", "--out", "best"]) == 0
    assert main(["report", str(folder)]) == 0
    text, _ = read_page(folder / "report.html")
    assert f"{found.best(1)[0].objectives[0]:.2f} %" in text
    assert "Held-out accuracy over learning_rate" in text
    assert main(["report", str(folder), "--files", "files"]) == 0
    assert (tmp_path / "files" / "all-trials.csv").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["digits", "--search.leek", "0.1:0.2"], "no field 'leek' to search"),
        (["digits", "--search.leak", "0.9:0.1"], "range 0.9:0.1 is empty"),
        (["digits", "--search.leak"], "--search.leak has no value"),
        (["digits", "--search.leak", "--trials", "3"], "--search.leak has no value"),
        (["digits", "--search.leak=0.1:0.2", "--search.leak=0.1:0.3"], "--search.leak is given twice"),
        (["digits", "--space", "narrow"], "narrow does not exist: give paper or wide"),
        (["digits", "--trials", "0"], "trials 0 is less than 1"),
        (["digits", "--workers", "0"], "workers 0 is less than 1"),
        (["digits", "--hours", "nan"], "hours nan is not a length of time"),
        (["digits", "--sampler", "best"], "invalid choice"),
        (["digits", "--enqueue", "leak=2", "--search.leak", "0.5:0.9"], "leak 2.0 is given and outside"),
        (["nothing"], "recipe 'nothing' is unknown"),
        (["nothing.toml"], "nothing.toml does not exist"),
        (["none.json"], "none.json does not exist: give the folder or the record of a search"),
        (["runs/none"], "runs/none does not exist: give the folder or the record"),
        (["digits", "--search.leak", "0.1:0.2", "--search.model.leak", "0.1:0.3"], "are one field: leave one out"),
        (["digits", "--search.leak", "0.1:0.2", "--engine", "triton"], "engine 'triton' "),
        (["."], ". holds no search: give the folder or the record of a search, a recipe, or a TOML file"),
        ([], "recipe is missing"),
    ],
)
def test_mistakes_are_said_in_a_line(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["search", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_processes_may_begin_a_search_at_the_same_moment(tmp_path):
    """The other one has written its search.json, and not yet renamed it."""
    (tmp_path / f".search.json.{'0' * 16}.part").write_text("{")
    claim(CONFIG, tmp_path)
    claim(CONFIG, tmp_path)
    (tmp_path / "search.json").unlink()
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UserError, match="is not empty .mine.txt. and holds no search"):
        claim(CONFIG, tmp_path)


def test_a_folder_of_another_search_is_left_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    claim(CONFIG, tmp_path / "search")
    before = (tmp_path / "search" / "search.json").read_bytes()
    assert main(["search", "digits", *FLAGS, "--out", "search"]) == 2
    assert "holds a search with another" in capsys.readouterr().err
    assert (tmp_path / "search" / "search.json").read_bytes() == before
    assert main(["search", "search", "--best"]) == 2
    assert "no trial of search is finished" in capsys.readouterr().err
    assert main(["search", "search", "--worst"]) == 2
    assert main(["search", "search"]) == 0
    assert "no trial has begun" in capsys.readouterr().out
    assert main(["report", "search", "runs"]) == 2
    assert main(["report", "search"]) == 0


def test_a_search_of_which_nothing_is_finished_ends_with_the_cure(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["search", "digits", "--search.depth", "8:14", "--enqueue", "none", "--trials", "2", "--out", "s"]) == 2
    said = capsys.readouterr()
    assert said.err == "sresnet: no trial in s is finished: give more --trials or --hours, or other ranges and --out\n"
    assert said.out.count("is not 6n + 2") == 2


def test_without_optuna_a_line_says_so(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(["search", "digits"]) == 2
    assert "pip install 'sresnet[search]'" in capsys.readouterr().err
