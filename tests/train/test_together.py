"""Several processes give what one gives: losses, weights, running averages."""

import functools
import json
import re
import shutil
import socket

import pytest
import safetensors.torch
import torch

from sresnet import UserError
from sresnet.cli import main
from sresnet.files import only_writer, read_json
from sresnet.nn.norm import OWN_NORMS
from sresnet.processes import ALONE, Processes
from sresnet.train import record
from sresnet.train.loop import _check_alike, check_fit, train
from sresnet.train.recipes import RECIPES
from tests.train import together


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """Number of processes -> what they give, a file for each case."""
    return functools.cache(lambda count: computed(count, tmp_path_factory))


def computed(count, tmp_path_factory):
    made = tmp_path_factory.mktemp("together")
    assert together.compute(count, made) == [0] * count
    return made


@pytest.fixture(scope="module")
def alone():
    """What one process gives, by case."""
    return {}


TOLERANCES = {
    "training": {"rtol": 1e-9, "atol": 1e-9},
    "layer": {"rtol": 1e-4, "atol": 1e-5},
    "layer bfloat16": {"rtol": 0.02, "atol": 0.06},
    "float32": {"rtol": 1e-3, "atol": 1e-4},
    "evaluation": {"rtol": 0, "atol": 0},
}


@pytest.mark.parametrize(("count", "name"), [(count, name) for count in (2, 3) for name in together.cases_for(count)])
def test_several_processes_give_what_one_gives(count, name, folder_of, alone):
    folder = folder_of(count)
    expected = alone[name] if name in alone else alone.setdefault(name, together.CASES[name](ALONE))
    found, *others = torch.load(folder / f"{name}.pt")
    assert "error" not in found, found["error"]
    assert set(found) == set(expected)
    tolerance = TOLERANCES.get(name) or TOLERANCES[name.partition(" ")[0]]
    for key, tensor in found.items():
        assert all(torch.equal(tensor, other[key]) for other in others), key
        torch.testing.assert_close(tensor, expected[key], **tolerance, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize("name", together.LAYERS)
def test_a_layer_divided_at_its_statistics_gives_what_it_gives_whole(name):
    given = together.LAYERS[name]
    whole, parts = (together.layer(ALONE, **given, divided=divided) for divided in (False, True))
    tolerance = TOLERANCES.get(f"layer {name}") or TOLERANCES["layer"]
    for key, tensor in whole.items():
        torch.testing.assert_close(parts[key], tensor, **tolerance, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize(("count", "images"), [(1, 5), (2, 5), (3, 16), (5, 5), (7, 100)])
def test_parts_are_the_batch_and_as_even_as_can_be(count, images):
    parts = [Processes(rank=rank, count=count).part(images) for rank in range(count)]
    assert [index for part in parts for index in range(part.first, part.last)] == list(range(images))
    sizes = [part.last - part.first for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) == Processes(count=count).largest_part(images)
    assert {part.whole for part in parts} == {images}
    drawn = torch.rand(images)
    assert torch.equal(torch.cat([part.of(drawn) for part in parts]), drawn)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of two processes."""
    folder = tmp_path_factory.mktemp("runs")
    assert together.compute(2, folder, "runs") == [0, 0]
    return folder


def weights_of(folder):
    return safetensors.torch.load_file(folder / "weights.safetensors")


def metrics_of(folder):
    times = ("seconds", "images_per_second")
    return [{k: v for k, v in line.items() if k not in times} for line in record.read_metrics(folder)]


def test_a_run_of_two_processes_stops_and_resumes_exactly(runs):
    whole, parts = weights_of(runs / "whole"), weights_of(runs / "parts")
    assert all(torch.equal(tensor, parts[name]) for name, tensor in whole.items())
    assert metrics_of(runs / "parts") == metrics_of(runs / "whole")
    assert {path.name for path in (runs / "whole").iterdir()} == {
        ".lock", "config.json", "environment.json", "data.json", "metrics.jsonl", "checkpoint.safetensors",
        "weights.safetensors", "result.json",
    }  # fmt: skip
    assert read_json(runs / "whole" / "environment.json")["processes"] == 2


def close(found, expected):
    """Numbers of lines and results, of one and several processes."""
    assert set(found) == set(expected)
    for name, value in expected.items():
        if isinstance(value, float):
            assert found[name] == pytest.approx(value, rel=1e-3, abs=1e-3), name
        elif not isinstance(value, dict):
            assert found[name] == value, name


def test_what_is_written_is_that_of_one_process(runs, tmp_path):
    outcome = together.run_in_parts(ALONE, tmp_path / "alone")
    close(read_json(runs / "whole" / "result.json"), outcome.result)
    for found, expected in zip(metrics_of(runs / "whole"), metrics_of(tmp_path / "alone"), strict=True):
        close(found, expected)
    whole, alone = weights_of(runs / "whole"), weights_of(tmp_path / "alone")
    for name, tensor in alone.items():
        torch.testing.assert_close(whole[name], tensor, rtol=1e-3, atol=1e-4)


def test_another_number_of_processes_goes_on_to_rounding_and_says_so(runs, tmp_path):
    shutil.copytree(runs / "left", tmp_path / "run")
    notes = []
    train(together.LONG, together.SPLITS, tmp_path / "run", device=together.CPU, note=notes.append)
    assert [line.partition(":")[0] for line in notes] == ["note"]
    assert "processes 1, before 2" in notes[0]
    whole = weights_of(runs / "whole")
    for name, tensor in weights_of(tmp_path / "run").items():
        torch.testing.assert_close(tensor, whole[name], rtol=1e-3, atol=1e-4)
    sessions = read_json(tmp_path / "run" / "environment.json")["sessions"]
    assert [(each["from_step"], each.get("processes", 1)) for each in sessions] == [(0, 2), (1, 1)]


def test_local_statistics_give_other_numbers(runs):
    local, whole = weights_of(runs / "local"), weights_of(runs / "whole")
    assert max(float((local[name] - tensor).abs().max()) for name, tensor in whole.items()) > 0.01
    assert json.loads((runs / "local" / "config.json").read_text())["train"]["statistics"] == "local"


# Errors and wrong starts


@pytest.mark.parametrize(
    ("other", "words"),
    [(("another", "data"), "were given different recipes"), (("recipe", "others"), "have different data")],
)
def test_processes_of_other_commands_or_data_are_told_apart(other, words):
    class Two(Processes):
        def gathered(self, value):
            return [("recipe", "data"), other]

    recipe = RECIPES["digits"][1]
    with pytest.raises(UserError, match=words):
        _check_alike(recipe, {}, Two(count=2))
    _check_alike(recipe, {}, ALONE)


def test_a_mistake_of_one_process_ends_all_with_one_line(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        (tmp_path / "port").write_text(str(free.getsockname()[1]))
    assert together.compute(2, tmp_path, "commands") == [2, 2]
    said = [(tmp_path / f"err{rank}").read_text() for rank in (0, 1)]
    assert said == ["", "sresnet: a picture cannot be read: put it back\n"]
    assert (tmp_path / "out1").read_text() == ""
    assert "2 processes" in (tmp_path / "out0").read_text()


STARTED = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


def wrongly_started(monkeypatch, capsys, words, **variables):
    """The line that is said of a command in this environment."""
    for name, value in (STARTED | variables).items():
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    assert main(words) == 2
    said = capsys.readouterr()
    assert not said.out
    return said.err


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RANK": None}, "WORLD_SIZE is 2, and RANK is not set: start several processes with torchrun"),
        ({"MASTER_PORT": None}, "WORLD_SIZE is 2, and MASTER_PORT is not set"),
        ({"RANK": "2"}, "RANK 2, LOCAL_RANK 0, WORLD_SIZE 2, .* are no processes that can meet"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE two, .* are no processes that can meet"),
        ({"MASTER_PORT": "0"}, "MASTER_PORT 0 are no processes that can meet"),
    ],
)
def test_variables_by_which_no_processes_can_meet(monkeypatch, capsys, variables, message):
    said = wrongly_started(monkeypatch, capsys, ["train", "digits"], **variables)
    assert said.count("\n") == 1
    assert re.search(message, said)


def test_others_that_never_come(monkeypatch, capsys):
    monkeypatch.setattr("sresnet.processes._MEETING", together.datetime.timedelta(seconds=1))
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    said = wrongly_started(monkeypatch, capsys, ["train", "digits"], MASTER_PORT=port)
    assert said.count("\n") == 1
    assert f"2 processes cannot meet at localhost:{port}" in said


@pytest.mark.parametrize("verb", ["study", "search", "evaluate", "convert"])
def test_other_verbs_run_in_one_process(monkeypatch, capsys, verb):
    there = {"TORCHELASTIC_RUN_ID": "none"}
    said = wrongly_started(monkeypatch, capsys, [verb, "x", "--workers", "2"], **there)
    assert said == f"sresnet: sresnet {verb} runs in one process, and torchrun has started 2: call it without\n"
    assert wrongly_started(monkeypatch, capsys, [verb, "x"], **there, LOCAL_RANK="1", RANK="1") == ""


def test_one_process_needs_no_others(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.delenv("RANK", raising=False)
    assert main(["train", "--help"]) == 0


def test_processes_that_were_started_one_by_one_learn_how(tmp_path):
    with only_writer(tmp_path), pytest.raises(UserError, match=r"in use by another process.* by torchrun --nproc-per"):
        train(together.LONG, together.SPLITS, tmp_path, device=together.CPU)


@pytest.mark.parametrize(
    ("count", "fields", "message"),
    [
        (17, {}, "17 processes cannot share 16 images, the batch"),
        (5, {"accumulate": 4}, "5 processes cannot share 4 images, the batch in 4 parts"),
        (1, {"accumulate": 3}, "accumulate 3 does not divide a batch of 16 images"),
        (1, {"accumulate": 32}, "accumulate 32 does not divide"),
    ],
)
def test_batches_that_cannot_be_shared(count, fields, message):
    with pytest.raises(UserError, match=message):
        check_fit(together.recipe_of(**fields), together.SPLITS, Processes(count=count))


def test_a_norm_of_ones_own_sees_one_process(monkeypatch):
    monkeypatch.setitem(OWN_NORMS, "mine", lambda config, channels: lambda x, first_step: x)
    recipe = together.recipe_of({"norm": "mine"})
    with pytest.raises(UserError, match="'mine' is of your own"):
        check_fit(recipe, together.SPLITS, Processes(count=2))
    check_fit(recipe, together.SPLITS)
    check_fit(together.recipe_of({"norm": "mine"}, statistics="local"), together.SPLITS, Processes(count=2))


def test_accumulate_is_at_least_one():
    with pytest.raises(UserError, match="accumulate 0 is less than 1"):
        together.recipe_of(accumulate=0)
