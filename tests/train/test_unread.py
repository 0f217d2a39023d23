"""Numbers of training steps that stay on an accelerator until many are read at once; on a CPU here."""

import dataclasses
import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sresnet.ops.dispatch import implementation
from sresnet.train import loop
from sresnet.train.loop import Run, train
from tests.train.test_loop import CPU, SPLITS, TINY, changed, final
from tests.train.test_overflow import reading_later


class _Waits(TorchDispatchMode):
    """Operators that wait for all that an accelerator has to do: those whose result the CPU reads."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        if function is torch.ops.aten.index.Tensor and all(each.dtype == torch.int64 for each in arguments[1]):
            return function(*arguments)  # of the size of its indices
        if torch.Tag.data_dependent_output in function.tags or torch.Tag.dynamic_output_shape in function.tags:
            self.found.append(str(function))
        return function(*arguments, **(named or {}))


@pytest.mark.parametrize(
    "fields", [{}, {"clip_norm": 1.0, "muon_lr": 0.02}, {"loss": "per-step", "time_segments": (2,)}]
)
def test_a_training_step_waits_for_nothing_where_numbers_stay_on_the_device(tmp_path, monkeypatch, fields):
    """But for the first of an epoch, whose loss is shown."""
    recipe = dataclasses.replace(changed(**fields), model=dataclasses.replace(TINY.model, neuron="lif"))
    run = Run(recipe, SPLITS, tmp_path, CPU)
    run.model.train()
    to_list, lists = torch.Tensor.tolist, []
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: (lists.append(tensor), to_list(tensor))[1])
    with implementation("reference"), _Waits():
        run.step(torch.arange(16))
    assert lists
    lists.clear()
    run.steps_unread = 50
    with implementation("reference"), _Waits() as unread:
        run.step(torch.arange(16))
    assert unread.found == lists == []
    run.read()
    assert run.position.images == 32


@pytest.mark.parametrize("steps_unread", [2, 50])
def test_numbers_that_are_read_later_are_the_same(tmp_path, monkeypatch, steps_unread):
    """Where a checkpoint falls between two readings too."""
    train(TINY, SPLITS, tmp_path / "at-once", device=CPU)
    monkeypatch.setattr(loop, "Run", reading_later(Run, steps_unread))
    seen = []
    train(TINY, SPLITS, tmp_path / "later", device=CPU, should_stop=lambda: len(seen) == 7, watch=seen.append)
    train(TINY, SPLITS, tmp_path / "later", device=CPU, checkpoint_seconds=0.0)
    assert all(math.isfinite(progress.loss) for progress in seen)
    assert final(tmp_path / "later") == final(tmp_path / "at-once")
