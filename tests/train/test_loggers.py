"""TensorBoard and Weights & Biases see the numbers of a run, and decide none."""

import hashlib
import json
import sys
import time
import types
from dataclasses import replace
from typing import ClassVar

import pytest
import torch

import sresnet
from sresnet.cli import main
from sresnet.data import open_data
from sresnet.data.scaling import scaling_from_plain
from sresnet.errors import UserError
from sresnet.train import loop
from sresnet.train.loggers import logged
from sresnet.train.recipes import RECIPES
from sresnet.train.record import read_about, read_metrics, read_recipe
from tests.cli.test_display import METRICS, progress
from tests.report.runs import TINY

RECIPE = RECIPES["digits"][1]
SMALL = replace(
    RECIPE,
    model=replace(RECIPE.model, base_filters=2, num_steps=2),
    data=replace(RECIPE.data, train_images=200),
    train=replace(RECIPE.train, epochs=3, progressive_epochs=()),
)


class Writer:
    """Instead of TensorBoard's, which need not be installed."""

    made: ClassVar = []

    def __init__(self, folder):
        self.folder, self.scalars, self.closed = folder, [], False
        self.made.append(self)

    def add_scalar(self, *values):
        self.scalars.append(values)

    def close(self):
        self.closed = True


def test_tensorboard_gets_every_number_of_an_epoch(tmp_path, monkeypatch):
    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(Writer, "made", [])
    with logged(["tensorboard"], tmp_path, RECIPE) as watch:
        watch(progress())
        assert Writer.made == []  # nothing is written before an epoch is done
        watch(progress(metrics=METRICS))
        watch(progress(step=9))
        watch(progress(step=14, metrics={"train_loss": 0.5}))
    (writer,) = Writer.made
    assert writer.folder == str(tmp_path / "tensorboard")
    assert writer.closed
    assert writer.scalars == [
        ("spikes_per_neuron_and_step", 0.25, 7),
        ("images_per_second", 1234.5, 7),
        ("spike_rate/stem", 0.125, 7),
        ("sent/stem", -0.5, 7),
        ("train_loss", 0.5, 14),
    ]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "tensorboard").symlink_to(tmp_path)
    with pytest.raises(UserError, match="is a link"), logged(["tensorboard"], tmp_path / "run", RECIPE):
        pass


def test_rates_in_tensorboard_are_the_neurons_own(tmp_path, monkeypatch):
    """Of a whole training: a spike rate is of the neurons' own spikes, and what layers send has a name of its own."""
    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(Writer, "made", [])
    run = tmp_path / "run"
    assert main(["train", "digits", *TINY, "--tensorboard", "--out", str(run)]) == 0
    found = {name: value for name, value, _ in Writer.made[0].scalars}  # the last epoch's
    images = open_data(read_recipe(run).data, "", seed=0, num_steps=2).train.batch(torch.arange(64))
    model = sresnet.load(run)
    with torch.inference_mode():
        _, records = model(scaling_from_plain(read_about(run))(images), record=model.neuron_names)
    for name, seen in records.items():
        assert found[f"spike_rate/{name}"] == pytest.approx(float(seen.fired.sum()) / seen.spikes.numel(), abs=1e-5)
        assert found[f"sent/{name}"] == pytest.approx(float(seen.output.float().mean()), abs=1e-5)
    assert len({name for name in records if found[f"spike_rate/{name}"] != found[f"sent/{name}"]}) == 3
    fired = float(sum(seen.fired.sum() for seen in records.values()))
    neurons = sum(seen.spikes.numel() for seen in records.values())
    assert found["spikes_per_neuron_and_step"] == pytest.approx(fired / neurons, abs=1e-5)


def test_tensorboard_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with (
        pytest.raises(UserError, match="--log tensorboard needs TensorBoard"),
        logged(["tensorboard"], tmp_path, RECIPE),
    ):
        pass


class WeightsAndBiases(types.ModuleType):
    """Instead of wandb, which need not be installed: what of its interface is used, offline, kept by id of a run."""

    def __init__(self):
        super().__init__("wandb")
        self.runs, self.sessions, self.faults = {}, [], set()

    def Settings(self, **settings):
        return settings

    def init(self, **given):
        if "init" in self.faults:
            raise RuntimeError("no network,\nno run")
        self.sessions.append(given)
        run = self.runs.setdefault(given["id"], types.SimpleNamespace(id=given["id"], logged=[], summary={}))
        run.offline, run.url, run.dir = False, "https://example.org/run", given["dir"]
        run.finished = False

        def log(values, step):
            if "log" in self.faults:
                raise OSError(28, "No space left on device")
            run.logged.append((step, values))

        def finish():
            run.finished = True

        run.log, run.finish = log, finish
        return run


@pytest.fixture
def wandb(monkeypatch):
    module = WeightsAndBiases()
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    return module


def weights(run):
    return hashlib.sha256((run / "weights.safetensors").read_bytes()).hexdigest()


def train(run, *words):
    return main(["train", "digits", *TINY, "--train.epochs", "3", "--out", str(run), *words])


def steps_of(run):
    return [line["step"] for line in read_metrics(run)]


def test_a_run_at_weights_and_biases(wandb, tmp_path, capsys):
    run = tmp_path / "mine"
    assert train(run, "--log", "wandb", "--log", "wandb") == 0
    assert "wandb: https://example.org/run" in capsys.readouterr().out
    (given,) = wandb.sessions
    assert (given["project"], given["name"], given["dir"]) == ("sresnet", "mine", str(run))
    assert given["config"]["train"]["epochs"] == 3
    (found,) = wandb.runs.values()
    assert [step for step, _ in found.logged] == steps_of(run)
    for (_, values), line in zip(found.logged, read_metrics(run), strict=True):
        assert values["train_loss"] == line["train_loss"]
        for name, rate in line["spike_rate"].items():
            assert values[f"spike_rate/{name}"] == rate
    result = json.loads((run / "result.json").read_text())
    assert found.summary["test_top1"] == result["test_top1"]
    assert found.finished
    assert train(run, "--log", "wandb") == 0  # it is finished, and there is nothing to log
    assert len(wandb.sessions) == 1


def some_epochs(run, epochs, names=("wandb",)):
    """Train until so many epochs are over, as a process that is then stopped; the steps of each line of metrics."""
    splits = open_data(SMALL.data, "", seed=0)
    here = []

    def stop():
        return epochs == 0 or ((run / "metrics.jsonl").exists() and len(read_metrics(run)) >= epochs)

    with logged(names, run, SMALL, here.append) as watch:
        loop.train(SMALL, splits, run, device=torch.device("cpu"), watch=watch, should_stop=stop)
    return here


def test_a_run_that_resumes_goes_on_where_it_was(wandb, tmp_path):
    run = tmp_path / "run"
    assert some_epochs(run, 0) == ["wandb: https://example.org/run"]
    (found,) = wandb.runs.values()
    assert found.logged == []
    some_epochs(run, 1, names=())  # an epoch that the logger does not see
    some_epochs(run, 2)
    some_epochs(run, 9)
    (found,) = wandb.runs.values()
    assert [step for step, _ in found.logged] == steps_of(run)
    assert len(wandb.sessions) == len(steps_of(run)) == 3
    assert json.loads((run / "wandb.json").read_text()) == {"id": found.id, "step": steps_of(run)[-1]}


@pytest.mark.parametrize("fault", ["init", "log", "file"])
def test_a_logger_that_fails_ends_no_training(wandb, tmp_path, capsys, fault):
    wandb.faults.add(fault)
    assert train(tmp_path / "alone") == 0
    run = tmp_path / "run"
    if fault == "file":
        assert train(run, "--max-minutes", "0") == 0
        (run / "wandb.json").write_text("{}")
    capsys.readouterr()
    assert train(run, "--log", "wandb") == 0
    said = capsys.readouterr().out
    reason = {"init": "no network, no run", "log": "No space left on device", "file": "lacks 'id'"}[fault]
    assert said.count("note: wandb failed") == 1
    assert reason in said
    assert weights(run) == weights(tmp_path / "alone")


def test_loggers_decide_no_number(wandb, tmp_path, monkeypatch):
    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(Writer, "made", [])
    for name, words in (("none", []), ("both", ["--log", "wandb", "--log", "tensorboard"]), ("old", ["--tensorboard"])):
        assert train(tmp_path / name, *words) == 0
    assert len(Writer.made) == 2
    assert weights(tmp_path / "none") == weights(tmp_path / "both") == weights(tmp_path / "old")
    lines = [read_metrics(tmp_path / name) for name in ("none", "both")]
    timeless = [[{k: v for k, v in line.items() if "second" not in k} for line in each] for each in lines]
    assert timeless[0] == timeless[1]


def test_a_logger_that_is_not_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert train(tmp_path / "run", "--log", "wandb") == 2
    assert "pip install 'sresnet[wandb]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert train(tmp_path / "run", "--log", "paper") == 2


def test_links_are_not_written_through(wandb, tmp_path):
    for name in ("wandb", "wandb.json"):
        run = tmp_path / f"with {name}"
        run.mkdir()
        (run / name).symlink_to(tmp_path)
        with pytest.raises(UserError, match="is a link"), logged(["wandb"], run, RECIPE):
            pass


def kept(path):
    """The records of a file of W&B's: blocks of 32 KiB of framed parts of protocol buffers."""
    from wandb.proto import wandb_internal_pb2 as protocol

    raw, at, part = path.read_bytes(), 7, b""
    while at + 7 <= len(raw):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        length, kind = int.from_bytes(raw[at + 4 : at + 6], "little"), raw[at + 6]
        part += raw[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            found = protocol.Record()
            found.ParseFromString(part)
            yield found
            part = b""


def test_the_real_one_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = tmp_path / "run"
    for epochs in (1, 9):
        (said,) = some_epochs(run, epochs)
        assert said.startswith(f"wandb: offline, {run}")
        time.sleep(1.1)  # its folders are named by the second
    steps, names = [], set()
    for file in sorted(run.glob("wandb/offline-run-*/*.wandb")):
        end = time.monotonic() + 60
        while "exit" not in [each.WhichOneof("record_type") for each in kept(file)] and time.monotonic() < end:
            time.sleep(0.1)  # a process of W&B's own writes it
        for each in kept(file):
            if each.WhichOneof("record_type") == "history":
                steps.append(each.history.step.num)
            if each.WhichOneof("record_type") == "run":
                names.add((each.run.run_id, each.run.project, each.run.display_name))
    assert sorted(steps) == steps_of(run)
    assert names == {(json.loads((run / "wandb.json").read_text())["id"], "sresnet", "run")}
    some_epochs(tmp_path / "alone", 9, names=())
    assert weights(run) == weights(tmp_path / "alone")


@pytest.mark.parametrize(
    "words", [["--log", "tensorboard,wandb"], ["--log", "tensorboard", "wandb"], ["--log=tensorboard,wandb"]]
)
def test_two_loggers_behind_one_flag_are_told_how_to_be_given(words, tmp_path, capsys):
    assert main(["train", "digits", *words, "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == (
        "sresnet: --log takes one value at a time, and has 2: give --log tensorboard --log wandb\n"
    )
    assert not (tmp_path / "run").exists()


def test_one_unknown_logger_is_told_as_before(tmp_path, capsys):
    assert main(["train", "digits", "--log", "tensorbord", "--out", str(tmp_path / "run")]) == 2
    assert "invalid choice 'tensorbord'" in capsys.readouterr().err
