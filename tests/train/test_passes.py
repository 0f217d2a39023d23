"""Passes that are recorded once and replayed, with a stand-in for CUDA's graphs that computes on the CPU.

Like a graph it reads and writes the memory that it was recorded with, and nothing else tells it what to compute.
"""

import dataclasses

import pytest
import torch

from sresnet.nn import BNTT
from sresnet.train import loop
from sresnet.train.loop import Run, train
from sresnet.train.passes import Graphs
from tests.train.test_loop import CPU, SPLITS, TINY, changed, final
from tests.train.test_overflow import reading_later, spoiling


class StandIn:
    """Counts what it recorded and replayed."""

    def __init__(self, spoil=lambda passed: None):
        self.recorded = self.replayed = 0
        self.spoil = spoil

    def __call__(self, run):
        for _ in range(3):  # warming up
            passed = run()
        self.recorded += 1

        def replay():
            self.replayed += 1
            again = run()
            for old, new in zip(tensors_of(passed), tensors_of(again), strict=True):
                old.copy_(new)
            self.spoil(passed)

        return passed, replay


def tensors_of(passed):
    return [passed.loss, passed.hits, passed.finite, *(each for each in passed.gradients if each is not None)]


def graphed(run, record):
    """A `Run` with graphs, as on a GPU."""

    class WithGraphs(run):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.graphs = Graphs(self.model, record)

    return WithGraphs


RECIPES = [
    changed(),
    changed(ema=0.0, muon_lr=0.02, clip_norm=0.5, progressive_epochs=(1,)),
    dataclasses.replace(changed(), model=dataclasses.replace(TINY.model, encoder="poisson-signed", neuron="lif")),
    changed(low_res_epochs=1, loss="per-step"),
]


@pytest.mark.parametrize("recipe", RECIPES)
def test_trainings_are_the_same(tmp_path, monkeypatch, recipe):
    """Bit for bit, and when numbers are read after many replays too."""
    train(recipe, SPLITS, tmp_path / "plain", device=CPU)
    stand_in = StandIn()
    monkeypatch.setattr(loop, "Run", graphed(reading_later(Run), stand_in))
    train(recipe, SPLITS, tmp_path / "graphs", device=CPU)
    assert final(tmp_path / "graphs") == final(tmp_path / "plain")
    kinds = 2 if recipe.train.progressive_epochs or recipe.train.low_res_epochs else 1
    assert (stand_in.recorded, stand_in.replayed) == (kinds, 15 - kinds)  # of fifteen steps, the first of a kind is not


def refuse(run):
    raise RuntimeError("operation not permitted when stream is capturing")


def wrong_gradient(passed):
    passed.gradients[0].neg_()


def no_gradient(passed):
    passed.gradients[3].fill_(torch.nan)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (refuse, "operation not permitted"),
        (StandIn(wrong_gradient), "its replay differs in gradient 1"),
        (StandIn(no_gradient), "its replay differs in gradient 4"),
        (StandIn(lambda passed: passed.loss.mul_(1.1)), "its replay differs in the loss"),
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


def test_recording_leaves_running_averages_as_one_pass_does(tmp_path):
    recipe = changed(ema=0.0)
    run = Run(recipe, SPLITS, tmp_path, CPU)
    norm = next(module for module in run.model.modules() if isinstance(module, BNTT))
    run.model.train()
    seen = []
    for graphs in (None, Graphs(run.model, StandIn())):
        run.graphs, run.position.step = graphs, 0
        for buffer in run.model.buffers():
            buffer.zero_()
        for _ in range(2):  # the second records
            run.passes(torch.ones(4, 1, 8, 8), torch.arange(4), 2)
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
    monkeypatch.setattr(loop, "Run", graphed(Run, refuse))
    train(recipe, SPLITS, tmp_path / "graphs", device=CPU)
    assert final(tmp_path / "graphs") == final(tmp_path / "plain")


def test_overflow_in_a_replay(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "Run", graphed(spoiling("model/layers.stem.conv.weight", 7, float("nan")), StandIn()))
    with pytest.raises(loop.DivergedError, match="is not finite at step 8"):
        train(TINY, SPLITS, tmp_path, device=CPU)
