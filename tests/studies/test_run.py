"""Trainings of studies: each once, by any number of workers, whatever fails or stops."""

import dataclasses
import json
import threading
import time

import pytest
import torch

from sresnet import UserError
from sresnet.config import to_dict
from sresnet.data import DataConfig, open_data
from sresnet.files import only_writer
from sresnet.models import SResNetConfig
from sresnet.studies import results
from sresnet.studies import run as running
from sresnet.studies.rows import _values
from sresnet.studies.run import ACTIVITY_IMAGES, _run_one, to_train, work
from sresnet.studies.study import Cell, Result, Study, Training
from sresnet.train.recipe import Recipe, TrainConfig

CPU = torch.device("cpu")


def training(start=None, **changed):
    recipe = Recipe(
        model=SResNetConfig(depth=8, base_filters=2, num_steps=2, in_channels=1, surrogate_height=1.0),
        data=DataConfig(name="digits", flip=False, crop_padding=0, train_images=100),
        train=TrainConfig(epochs=2, batch_size=50, learning_rate=0.1),
    )
    model = {key: value for key, value in changed.items() if hasattr(recipe.model, key)}
    train = {key: value for key, value in changed.items() if hasattr(recipe.train, key)}
    recipe = dataclasses.replace(
        recipe,
        model=dataclasses.replace(recipe.model, **model),
        train=dataclasses.replace(recipe.train, **train),
    )
    return Training(recipe=recipe, start=start)


FIRST = training()
SECOND = training(leak=0.5)
TUNED = training(start=FIRST, epochs=1)


def study(*trainings, seeds=1, **fields):
    cells = (
        Cell(row=f"row {number}", column="acc", training=each, paper=50.0, **fields)
        for number, each in enumerate(trainings)
    )
    return Study(name="tried", title="A trial", cells=tuple(cells), seeds=seeds)


def open_digits(data, seed, num_steps):
    return open_data(data, "", seed=seed, num_steps=num_steps)


def made_up(key, top1=50.0):
    return Result(key=key, config={}, environment={}, metrics=(), result={"test_top1": top1})


def test_a_named_training_has_a_folder_and_a_result_of_its_name(tmp_path):
    tuned = dataclasses.replace(TUNED, name="tuned", start=dataclasses.replace(FIRST, name="begun"))
    seeded = tuned.with_seed(2)
    assert [each.key() for each in seeded.chain()] == ["begun-seed2", "tuned-seed2"]
    found = go(tmp_path, study(tuned))[0]
    assert set(found) == {"begun-seed0", "tuned-seed0"}
    assert (tmp_path / "runs" / "begun" / "0" / "weights.safetensors").exists()
    assert (tmp_path / "runs" / "tuned" / "0" / "result.json").exists()
    assert found["tuned-seed0"].config["pretrained"] == "begun-seed0"


class TestToTrain:
    def test_each_once_and_seed_0_of_all_rows_first(self, tmp_path):
        both = [study(FIRST, SECOND, FIRST, seeds=2), study(SECOND, TUNED)]
        left = to_train(both, tmp_path / "runs", tmp_path / "kept")
        order = [FIRST, SECOND, TUNED, FIRST.with_seed(1), SECOND.with_seed(1)]
        assert list(left) == [each.key() for each in order]
        assert [name for name, _ in left.values()][:3] == [
            "tried, row 0, acc, seed 0",
            "tried, row 1, acc, seed 0",
            "tried, row 1, acc, seed 0",
        ]

    def test_what_is_kept_is_not_trained_again(self, tmp_path):
        results.write(tmp_path / "kept", made_up(FIRST.key()))
        assert list(to_train([study(FIRST, SECOND)], tmp_path, tmp_path / "kept")) == [SECOND.key()]

    def test_a_start_is_trained_again_for_its_weights(self, tmp_path):
        results.write(tmp_path / "kept", made_up(FIRST.key()))
        wanted = [study(FIRST, TUNED)]
        assert list(to_train(wanted, tmp_path, tmp_path / "kept")) == [FIRST.key(), TUNED.key()]
        results.write(tmp_path / "kept", made_up(TUNED.key()))
        assert to_train(wanted, tmp_path, tmp_path / "kept") == {}

    def test_candidates_are_told_apart(self, tmp_path):
        sweep = study(FIRST, quantity="best-leak", candidates=(FIRST, SECOND))
        names = [name for name, _ in to_train([sweep], tmp_path, tmp_path / "kept").values()]
        assert names == ["tried, row 0, acc, seed 0 (leak 0.874)", "tried, row 0, acc, seed 0 (leak 0.5)"]


def go(tmp_path, *studies, open_=open_digits, **options):
    runs, kept = tmp_path / "runs", tmp_path / "kept"
    told = []
    work(
        to_train(studies, runs, kept),
        runs,
        kept,
        open_,
        device=CPU,
        tell=lambda name, what: told.append((name, what)),
        **options,
    )
    return results.read(kept), [(name, what) for name, what in told if isinstance(what, str)]


def test_numbers_of_a_training(tmp_path):
    """What is kept is what the run folder holds, and what the network does on the test images."""
    best = training(protocol="best-test-epoch")
    found, told = go(tmp_path, study(best, TUNED))
    result = found[best.key()]
    assert result.by_steps[-1] == pytest.approx(result.result["test_top1"])
    assert result.best_by_steps[-1] == pytest.approx(result.result["best_test_epoch_top1"])
    assert result.best_by_steps[-1] == max(line["test_top1_of_this_epoch"] for line in result.metrics)
    assert len(result.by_steps) == len(result.best_by_steps) == 2
    activity = result.activity
    assert activity["images"] == min(ACTIVITY_IMAGES, result.result["test_images"])
    assert activity["spikes"] == pytest.approx(sum(layer["spikes"] for layer in activity["layers"]))
    assert activity["layers"][0]["name"] == "stem.neuron"
    assert activity["layers"][0]["shape"] == [2, 8, 8]
    assert activity["layers"][0]["leak"] == pytest.approx(best.recipe.model.leak)
    assert [len(layer["gamma"]) for layer in activity["layers"]] == [2] * len(activity["layers"])
    assert [block["block"] for block in activity["gradients"]] == [
        "stem",
        "stage1_block1",
        "stage2_block1",
        "stage3_block1",
    ]
    assert result.config == json.loads(json.dumps(to_dict(best.recipe))) | {"pretrained": ""}
    assert "data_dir" not in result.environment
    assert found[TUNED.key()].best_by_steps == ()
    assert found[TUNED.key()].config["pretrained"] == FIRST.key()
    cell = study(best).cells[0]
    assert _values(cell, 1, found) == (result.result["test_top1"],)
    assert [what.split(",")[0].split(":")[0] for _, what in told] == ["begins", "finished"] * 3


def test_a_failure_is_noted_and_loses_no_other_row(tmp_path):
    diverges = training(learning_rate=1e30)
    child = training(start=diverges, epochs=1)
    wanted = study(child, SECOND)
    found, told = go(tmp_path, wanted)
    assert set(found) == {SECOND.key()}
    failed = results.failures(tmp_path / "kept")
    assert set(failed) == {diverges.key(), child.key()}
    assert "is not finite at step " in failed[diverges.key()]
    assert failed[child.key()].startswith("what it starts from failed: ")
    assert any(what.startswith("failed: ") and "is not finite at step " in what for _, what in told)
    assert _values(wanted.cells[0], 1, found) == ()
    # Asked for again, it is tried again.
    results.forget_failures(tmp_path / "kept", [child.key(), diverges.key()])
    assert list(to_train([wanted], tmp_path / "runs", tmp_path / "kept")) == [diverges.key(), child.key()]


def test_a_fault_of_ours_is_noted_too(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr(running, "_run_one", broken)
    go(tmp_path, study(SECOND))
    assert results.failures(tmp_path / "kept") == {SECOND.key(): "ZeroDivisionError: two lines"}


def test_what_the_system_refuses_is_noted_with_its_cure(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", "x")

    monkeypatch.setattr(running, "_run_one", refuse)
    go(tmp_path, study(SECOND))
    reason = "x: Permission denied: choose a place that you may read and write"
    assert results.failures(tmp_path / "kept") == {SECOND.key(): reason}


def test_stopped_anywhere_it_goes_on_to_the_same_result(tmp_path):
    whole, _ = go(tmp_path / "whole", study(FIRST))
    asked = iter([False, False, True])
    found, told = go(tmp_path / "cut", study(FIRST), should_stop=lambda: next(asked, True))
    assert found == {}
    assert told[-1][1].startswith("stopped")
    found, _ = go(tmp_path / "cut", study(FIRST))
    a, b = (dataclasses.replace(results_[FIRST.key()], environment={}) for results_ in (whole, found))
    times = ("seconds", "images_per_second")
    a, b = (
        dataclasses.replace(
            each, metrics=tuple({k: v for k, v in line.items() if k not in times} for line in each.metrics)
        )
        for each in (a, b)
    )
    assert a == b


def stand_in(training, runs, open_, **_):
    """In place of `run_one`: leaves what a run leaves, in a moment."""
    if training.start:
        assert (runs / training.start.key() / "weights.safetensors").exists()
    time.sleep(0.05)
    folder = runs / training.key()
    folder.mkdir()  # a second time would fail
    (folder / "weights.safetensors").touch()
    return made_up(training.key())


def test_workers_share_and_wait_for_what_others_train(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "_run_one", stand_in)
    wanted = study(TUNED, SECOND, training(leak=0.6), seeds=4)
    workers = [threading.Thread(target=go, args=(tmp_path, wanted)) for _ in range(5)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found = results.read(tmp_path / "kept")
    assert set(found) == {each.key() for each in wanted.training_runs()}
    assert results.failures(tmp_path / "kept") == {}


def test_one_run_is_waited_for_where_another_process_trains_it(tmp_path, monkeypatch):
    """As a task on a cluster does, which is sent again while the process that it had is not quite gone."""
    monkeypatch.setattr(running, "_run_one", stand_in)
    monkeypatch.setattr(running, "WAIT_SECONDS", 0.01)
    claim, kept = tmp_path / "runs" / ".held" / FIRST.key(), tmp_path / "kept"
    claim.mkdir(parents=True)
    task = threading.Thread(target=go, args=(tmp_path, study(FIRST, SECOND)), kwargs={"only": FIRST.key()})
    with only_writer(claim):
        task.start()
        task.join(0.3)
        assert task.is_alive()
        assert results.read(kept) == {}
    task.join()
    assert set(results.read(kept)) == {FIRST.key()}  # and not the other
    found, _ = go(tmp_path, study(FIRST, SECOND), only=FIRST.key())  # there is nothing to wait for
    assert set(found) == {FIRST.key()}


def test_a_start_that_is_trained_again_keeps_its_first_result(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "_run_one", stand_in)
    results.write(tmp_path / "kept", made_up(FIRST.key(), top1=12.5))
    found, _ = go(tmp_path, study(FIRST, TUNED))
    assert found[FIRST.key()].result["test_top1"] == 12.5
    assert TUNED.key() in found


def test_a_run_folder_of_another_recipe_is_refused(tmp_path):
    other = dataclasses.replace(FIRST.recipe, seed=3)
    _run_one(Training(recipe=other), tmp_path, open_digits, device=CPU)
    (tmp_path / Training(recipe=other).key()).rename(tmp_path / FIRST.key())
    with pytest.raises(UserError, match="holds a run with seed 3, not 0"):
        _run_one(FIRST, tmp_path, open_digits, device=CPU)
