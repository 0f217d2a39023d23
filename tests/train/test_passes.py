"""Training steps that are recorded once and replayed, with a stand-in for CUDA's graphs that computes on the CPU.

Like a graph it reads and writes the memory that it was recorded with, and nothing else tells it what to compute.
"""

import dataclasses
from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sresnet.models.tensors import _absolute_sums
from sresnet.nn import BNTT
from sresnet.train import loop
from sresnet.train.loop import Run, train
from sresnet.train.optimiser import make_optimiser
from tests.train.test_loop import CPU, SPLITS, TINY, changed, final
from tests.train.test_overflow import reading_later, spoiling


class Unread(TorchDispatchMode):
    """Nothing is read from the device inside: a graph could not be recorded."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert function is not torch.ops.aten._local_scalar_dense.default, "a number is read"
        return function(*args, **(kwargs or {}))


class StandIn:
    """Counts what it recorded and replayed."""

    def __init__(self, spoil=lambda run, done: None):
        self.recorded = self.replayed = 0
        self.spoil, self.training = spoil, None

    def __call__(self, run):
        for _ in range(3):  # warming up
            done = run()
        self.recorded += 1

        def replay():
            self.replayed += 1
            again = run()
            for name in ("loss", "hits", "finite", "state_finite"):
                getattr(done, name).copy_(getattr(again, name))
            self.spoil(self.training, done)

        return done, replay


def graphed(run, record):
    """A `Run` with graphs, as on a GPU."""

    class WithGraphs(run):
        def recorder(self):
            record.training = self
            return record

    return WithGraphs


@pytest.fixture(autouse=True)
def _fused(monkeypatch):
    """Trainings without graphs have the optimiser that those with graphs have, and rates of as many digits."""
    rate = loop.learning_rate
    monkeypatch.setattr(loop, "learning_rate", lambda *given, **more: torch.tensor(rate(*given, **more)).item())
    monkeypatch.setattr(loop, "make_optimiser", lambda model, config, fused: make_optimiser(model, config, fused=True))


ADAM = changed(optimiser="adam", learning_rate=0.01, ema=0.0, clip_norm=0.1)
RECIPES = {
    "plain": changed(),
    "muon": changed(ema=0.0, muon_lr=0.02, clip_norm=0.5, progressive_epochs=(1,)),
    "adam": ADAM,
    "poisson": dataclasses.replace(
        changed(), model=dataclasses.replace(TINY.model, encoder="poisson-signed", neuron="lif")
    ),
    "small images": changed(low_res_epochs=1, loss="per-step", warmup_epochs=1),
    "policy": dataclasses.replace(changed(), data=dataclasses.replace(TINY.data, policy="trivial", flip=True)),
    "as they are": dataclasses.replace(changed(), data=dataclasses.replace(TINY.data, crop_padding=0, erase=0.0)),
}


@pytest.mark.parametrize("name", RECIPES)
def test_trainings_are_the_same(tmp_path, monkeypatch, name):
    """Bit for bit, and when numbers are read after many replays too."""
    recipe = RECIPES[name]
    train(recipe, SPLITS, tmp_path / "plain", device=CPU)
    stand_in = StandIn()
    monkeypatch.setattr(loop, "Run", graphed(reading_later(Run), stand_in))
    train(recipe, SPLITS, tmp_path / "graphs", device=CPU)
    assert final(tmp_path / "graphs") == final(tmp_path / "plain")
    kinds = 2 if recipe.train.progressive_epochs or recipe.train.low_res_epochs else 1
    # Of fifteen steps, the first of a kind is not, nor the first of all.
    assert (stand_in.recorded, stand_in.replayed) == (kinds, 15 - kinds)


@pytest.mark.parametrize("name", ["plain", "muon", "adam"])
def test_a_recorded_step_reads_nothing_back(tmp_path, monkeypatch, name):
    """With a constant leak: the kernel for processors takes a learned one as a number."""
    recipe = dataclasses.replace(RECIPES[name], model=dataclasses.replace(TINY.model, neuron="lif"))
    stand_in = StandIn()

    def unread(run):
        def step():
            with Unread():
                return run()

        return stand_in(step)

    monkeypatch.setattr(loop, "Run", graphed(Run, unread))
    train(recipe, SPLITS, tmp_path, device=CPU)
    assert stand_in.recorded


@pytest.mark.parametrize("name", ["plain", "adam"])
def test_a_training_that_is_stopped_ends_as_one_that_is_not(tmp_path, monkeypatch, name):
    """It records anew, over the momentum that it finds."""
    train(RECIPES[name], SPLITS, tmp_path / "whole", device=CPU)
    stand_in = StandIn()
    monkeypatch.setattr(loop, "Run", graphed(reading_later(Run), stand_in))
    for stop in (4, 9, 100):
        seen = []
        train(
            RECIPES[name], SPLITS, tmp_path / "parts", device=CPU, watch=seen.append,
            should_stop=lambda stop=stop, seen=seen: len(seen) + 1 >= stop,
        )  # fmt: skip
    assert stand_in.recorded == 3
    assert final(tmp_path / "parts") == final(tmp_path / "whole")


@pytest.mark.parametrize("name", ["plain", "muon", "adam"])
def test_the_fused_optimiser_is_the_usual_one_but_for_rounding(tmp_path, monkeypatch, name):
    runs = []
    for fused in (True, False):
        monkeypatch.setattr(
            loop, "make_optimiser", lambda *given, fused, chosen=fused: make_optimiser(*given, fused=chosen)
        )
        run = Run(RECIPES[name], SPLITS, tmp_path, CPU)
        run.model.train()
        for first in range(0, 80, 16):
            run.step(torch.arange(first, first + 16))
        runs.append(run.state())
    for key, tensor in runs[0].items():
        torch.testing.assert_close(tensor, runs[1][key], rtol=1e-4, atol=1e-5, msg=key)


def refuse(run):
    raise RuntimeError("operation not permitted when stream is capturing")


def wrong_weight(run, done):
    run.model.layers["stem"].conv.weight.data.mul_(1.5)


def wrong_average(run, done):
    run.average["readout.linear.weight"].neg_()


def no_number(run, done):
    run.optimiser.state_dict()["state"][3]["momentum_buffer"].fill_(torch.nan)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (partial(refuse), "operation not permitted"),
        (StandIn(wrong_weight), "its replay differs in model/layers.stem.conv.weight"),
        (StandIn(wrong_average), "its replay differs in average/readout.linear.weight"),
        (StandIn(no_number), "its replay differs in momentum/3"),
        (StandIn(lambda run, done: done.loss.mul_(1.1)), "its replay differs in loss"),
    ],
)
def test_what_cannot_be_replayed_is_not(tmp_path, monkeypatch, record, reason):
    """It is said once, and the training is as it would have been."""
    recipe = changed(progressive_epochs=(1,))
    train(recipe, SPLITS, tmp_path / "plain", device=CPU)
    monkeypatch.setattr(loop, "Run", graphed(Run, record))
    with pytest.warns(UserWarning, match=f"without a CUDA graph, which is slower .*{reason}") as said:
        train(recipe, SPLITS, tmp_path / "graphs", device=CPU)
    assert len(said) == 1
    assert final(tmp_path / "graphs") == final(tmp_path / "plain")


def test_recording_leaves_running_averages_as_one_step_does(tmp_path, monkeypatch):
    seen = []
    for kind in (Run, graphed(Run, StandIn())):
        run = kind(changed(ema=0.0), SPLITS, tmp_path, CPU)
        norm = next(module for module in run.model.modules() if isinstance(module, BNTT))
        run.model.train()
        for _ in range(2):  # the second records
            run.step(torch.arange(16))
        seen.append(norm.running_mean.clone())
    assert torch.equal(*seen)


UNITS = dataclasses.replace(TINY.model, neuron="sharpened", num_steps=1)


@pytest.mark.parametrize(
    "recipe",
    [
        changed(time_segments=(2,)),
        dataclasses.replace(TINY, model=UNITS, train=dataclasses.replace(TINY.train, sharpen_epochs=(1, 2))),
    ],
)
def test_steps_that_are_not_recorded(tmp_path, monkeypatch, recipe):
    train(recipe, SPLITS, tmp_path / "plain", device=CPU)
    monkeypatch.setattr(loop, "Run", graphed(Run, partial(refuse)))
    train(recipe, SPLITS, tmp_path / "graphs", device=CPU)
    assert final(tmp_path / "graphs") == final(tmp_path / "plain")


def test_overflow_in_a_replay(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "Run", graphed(spoiling("model/layers.stem.conv.weight", 7, float("nan")), StandIn()))
    with pytest.raises(loop.DivergedError, match="is not finite at step 8"):
        train(TINY, SPLITS, tmp_path, device=CPU)


def test_a_gpu_finds_what_is_not_finite_in_a_few_launches():
    tensors = [torch.full((3, 2), value) for value in (1.0, torch.nan, -torch.inf, -2.0)]
    found = torch.stack([*_absolute_sums(tensors)])
    assert found.isfinite().tolist() == [True, False, False, True]
    assert found[[0, 3]].tolist() == [6.0, 12.0]
