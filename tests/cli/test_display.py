import sys
import types
from typing import ClassVar

import pytest
import torch

import sresnet
from sresnet.cli import display, main
from sresnet.cli.display import _bar, _line_of, _log_lines, _tensorboard_writer
from sresnet.data import open_data
from sresnet.data.scaling import scaling_from_plain
from sresnet.errors import UserError
from sresnet.train.loop import Progress
from sresnet.train.record import read_about, read_recipe
from tests.report.runs import TINY

METRICS = {
    "spikes_per_neuron_and_step": 0.25,
    "images_per_second": 1234.5,
    "spike_rate": {"stem": 0.125},
    "sent": {"stem": -0.5},
}
STEP = "step 7/20  loss 0.500  train 75.00 %  2,000 images/s  1:15 left"
EPOCH = "epoch 2/4  loss 0.500  train 75.00 %  firing rate 0.250  1,234 images/s"


def progress(step=7, metrics=None):
    numbers = {"loss": 0.5, "accuracy": 75.0, "images_per_second": 2000.0, "seconds_left": 75.2}
    return Progress(epoch=2, epochs=4, step=step, steps=20, metrics=metrics, **numbers)


def test_a_line_of_a_step_and_of_an_epoch():
    assert _line_of(progress()) == STEP
    assert _line_of(progress(metrics=METRICS)) == EPOCH
    assert "  validation 50.00 %  T = 2  3/4 size  " in _line_of(
        progress(metrics=METRICS | {"validation_top1": 50.0, "num_steps": 2, "small_images": True})
    )


def test_lines_come_at_every_epoch_and_every_half_minute(monkeypatch, capsys):
    clock = [1000.0]
    monkeypatch.setattr(display, "time", types.SimpleNamespace(monotonic=lambda: clock[0]))
    watch = _log_lines()
    for seconds, metrics, expected in (
        (30.0, None, ""),
        (0.5, None, STEP),
        (30.0, None, ""),
        (0.1, METRICS, EPOCH),
        (29.9, None, ""),
        (0.2, None, STEP),
    ):
        clock[0] += seconds
        watch(progress(metrics=metrics))
        assert capsys.readouterr().out.strip() == expected


def test_the_bar_ends_each_epoch_with_its_line(monkeypatch, capsys):
    with _bar() as watch:
        watch(progress())
        assert "firing rate" not in capsys.readouterr().out
        watch(progress(metrics=METRICS))
    assert EPOCH in capsys.readouterr().out


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
    with _tensorboard_writer(tmp_path) as watch:
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
    with pytest.raises(UserError, match="is a link"), _tensorboard_writer(tmp_path / "run"):
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
    with pytest.raises(UserError, match="--tensorboard needs TensorBoard"), _tensorboard_writer(tmp_path):
        pass
